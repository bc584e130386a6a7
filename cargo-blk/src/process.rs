//! Processes of a fuzz target: started, listened to, and stopped.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::libfuzzer::{self, Process};

/// How often the status line is shown.
const SHOW_EVERY: Duration = Duration::from_secs(3);

/// A line of a process, by its number; none at its end.
type Line = (usize, Option<String>);

/// What processes came to.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    pub(crate) processes: Vec<Process>,
    /// Exit codes; none of those that were stopped, or killed by a signal.
    pub(crate) codes: Vec<Option<i32>>,
    pub(crate) seconds: f64,
}

/// When the processes are stopped that still run, and where else they speak.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ends {
    /// Those that have forked are asked to end after this time.
    pub(crate) time: Option<Duration>,
    /// After this time all are stopped.
    pub(crate) limit: Option<Duration>,
    /// When one has ended with this exit code.
    pub(crate) with: Option<i32>,
    /// Where the forked processes of the first one write what they count.
    pub(crate) said: Option<PathBuf>,
}

/// Runs processes, whose standard errors are piped, until all have ended, one has found something, or `ends`
/// says so. Every few seconds, `show` gets a line about them, and `look` what they have come to.
///
/// # Errors
/// That one cannot be started.
pub(crate) fn run_all(
    commands: Vec<Command>,
    ends: &Ends,
    show: &mut dyn FnMut(&str),
    look: &mut dyn FnMut(&[Process], f64),
) -> Result<Watched> {
    let (sender, receiver) = mpsc::channel();
    let mut children = Children::default();
    for (number, command) in commands.into_iter().enumerate() {
        children.0.push(spawn(command, number, sender.clone())?);
    }
    drop(sender);
    let (processes, seconds) = watch(&receiver, &mut children, ends, show, look);
    // Forked processes outlive the one that has started them, if that is stopped.
    processes.iter().for_each(Process::ask_to_end);
    let codes = children.stop();
    Ok(Watched { processes, codes, seconds })
}

/// Runs a process whose standard error is piped, and shows what it says, without what libFuzzer says before
/// the target has the word.
///
/// # Errors
/// That it cannot be started.
pub(crate) fn run_shown(mut command: Command) -> Result<ExitStatus> {
    let (mut child, said) = start(&mut command)?;
    for line in said.filter(|line| !libfuzzer::is_greeting(line)) {
        eprintln!("{line}");
    }
    child.wait().with_context(|| format!("cannot wait for {}", command.get_program().display()))
}

fn spawn(mut command: Command, number: usize, lines: Sender<Line>) -> Result<Child> {
    let (child, said) = start(&mut command)?;
    std::thread::spawn(move || {
        for line in said {
            if lines.send((number, Some(line))).is_err() {
                return;
            }
        }
        let _ = lines.send((number, None));
    });
    Ok(child)
}

/// Starts a process whose standard error is piped, and returns the lines that it says there.
fn start(command: &mut Command) -> Result<(Child, impl Iterator<Item = String> + use<>)> {
    let started = command.spawn();
    let mut child = started.with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let said = child.stderr.take().context("the process has a standard error")?;
    let lines = BufReader::new(said).split(b'\n').map_while(Result::ok);
    Ok((child, lines.map(|line| String::from_utf8_lossy(&line).into_owned())))
}

fn watch(
    lines: &Receiver<Line>,
    children: &mut Children,
    ends: &Ends,
    show: &mut dyn FnMut(&str),
    look: &mut dyn FnMut(&[Process], f64),
) -> (Vec<Process>, f64) {
    let started = Instant::now();
    let mut processes = vec![Process::default(); children.0.len()];
    let mut running = processes.len();
    let mut shown = Instant::now();
    let gather = |processes: &mut [Process]| {
        if let (Some(folder), Some(first)) = (&ends.said, processes.first_mut()) {
            first.gather(folder, started.elapsed().as_secs_f64());
        }
    };
    while running > 0 && ends.limit.is_none_or(|limit| started.elapsed() < limit) {
        match lines.recv_timeout(Duration::from_millis(200)) {
            Ok((number, Some(line))) => {
                // A process that is asked to end with a code has words for people.
                if !processes[number].line(&line) && ends.with.is_some() && !libfuzzer::is_greeting(&line) {
                    show(&line);
                }
            }
            Ok((number, None)) => {
                running -= 1;
                let code = children.0[number].wait().ok().and_then(|status| status.code());
                if processes[number].artifact.is_some() || (code.is_some() && code == ends.with) {
                    break;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if ends.time.is_some_and(|time| started.elapsed() >= time) {
            processes.iter().for_each(Process::ask_to_end);
        }
        if shown.elapsed() >= SHOW_EVERY {
            gather(&mut processes);
            let seconds = started.elapsed().as_secs_f64();
            show(&libfuzzer::status(&processes, seconds));
            look(&processes, seconds);
            shown = Instant::now();
        }
    }
    gather(&mut processes);
    (processes, started.elapsed().as_secs_f64())
}

/// Processes that do not outlive this one's interest in them.
#[derive(Debug, Default)]
struct Children(Vec<Child>);

impl Children {
    /// Stops those that still run; returns the exit codes of the others.
    fn stop(&mut self) -> Vec<Option<i32>> {
        let mut codes = Vec::new();
        for child in &mut self.0 {
            if let Ok(Some(status)) = child.try_wait() {
                codes.push(status.code());
            } else {
                let _ = child.kill();
                let _ = child.wait();
                codes.push(None);
            }
        }
        self.0.clear();
        codes
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.stop();
    }
}
