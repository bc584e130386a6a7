//! Processes of other people: they start, they may die, and they end with us.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use blk_core::sync::Mutex;
use blk_core::{Error, Result};

use crate::asleep;

/// How long a process may take until it listens.
const START_TIME: Duration = Duration::from_secs(20);
/// How long one that is asked to end may take. Its clients have gone.
const END_TIME: Duration = Duration::from_secs(10);
/// How long a program may run that runs to its end.
const RUN_TIME: Duration = Duration::from_mins(1);
/// How much a program may say, bytes.
const SAID_BYTES_MAX: u64 = 1 << 20;
/// How much of what it says last is shown, bytes.
const LAST_BYTES: u64 = 2000;
const PAUSE: Duration = Duration::from_micros(300);

/// A process that runs.
#[derive(Debug)]
pub(crate) struct Process {
    child: Mutex<Child>,
    name: String,
    /// What it says.
    said: Mutex<File>,
}

/// Why a process, or a program, was no use.
pub(crate) fn failed(name: &str, why: impl Into<String>) -> Error {
    Error::Unresolved { name: name.to_owned(), reason: why.into() }
}

/// A command that the kernel ends when we end, however that happens.
fn command(words: &[String]) -> Command {
    let has_setpriv = Path::new("/usr/bin/setpriv").exists();
    let mut command = Command::new(if has_setpriv { "/usr/bin/setpriv" } else { words[0].as_str() });
    if has_setpriv {
        command.args(["--pdeathsig", "KILL", "--"]).arg(&words[0]);
    }
    command.args(&words[1..]).stdin(Stdio::null());
    command
}

impl Process {
    pub(crate) fn start(words: &[String]) -> Result<Self> {
        let name = words[0].clone();
        let said = tempfile::tempfile().map_err(|error| Error::io("create a temporary file", 0, error))?;
        let errors = said.try_clone().and_then(|out| Ok((out, said.try_clone()?)));
        let (out, errors) = errors.map_err(|error| Error::io("create a temporary file", 0, error))?;
        let child = command(words).stdout(out).stderr(errors).spawn();
        let child = child.map_err(|error| failed(&name, format!("it cannot be started: {error}")))?;
        asleep::begin(child.id());
        Ok(Self { child: Mutex::new(child), name, said: Mutex::new(said) })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.lock().id()
    }

    /// Waits until `try_it` succeeds, which is to connect to what the process listens on.
    pub(crate) fn await_ready<T, E: ToString>(
        &self,
        mut try_it: impl FnMut() -> std::result::Result<T, E>,
    ) -> Result<T> {
        let end = Instant::now() + START_TIME;
        loop {
            match try_it() {
                Ok(ready) => return Ok(ready),
                Err(error) => {
                    if let Some(why) = self.death() {
                        return Err(failed(&self.name, why));
                    }
                    if Instant::now() > end {
                        let time = START_TIME.as_secs();
                        let why = format!("it is not ready after {time} s: {}", error.to_string());
                        return Err(failed(&self.name, why));
                    }
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }

    /// How the process has ended, if it has, and what it said last.
    pub(crate) fn death(&self) -> Option<String> {
        let status = self.child.lock().try_wait().ok()??;
        Some(format!("the process has ended, {status}, and said last:\n{}", self.last_words()))
    }

    /// The same of a process that is about to end, because its sockets are closed.
    pub(crate) fn death_soon(&self) -> Option<String> {
        let end = Instant::now() + Duration::from_millis(500);
        loop {
            let death = self.death();
            if death.is_some() || Instant::now() > end {
                return death;
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn last_words(&self) -> String {
        last_words(&mut self.said.lock())
    }

    /// Ends it as a crash does: it can do nothing more.
    pub(crate) fn kill(&self) {
        let mut child = self.child.lock();
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Errors
    /// It ended with a nonzero exit code, by a signal that we did not send, or not in time. It had the image
    /// open, and had to leave it in order.
    pub(crate) fn stop(&self) -> Result<()> {
        let mut child = self.child.lock();
        let id = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(id) = id {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
        let end = Instant::now() + END_TIME;
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(PAUSE);
        }
        let is_late = matches!(child.try_wait(), Ok(None));
        let _ = child.kill();
        let status = child.wait().map_err(|error| Error::io("wait for a process", 0, error))?;
        drop(child);
        if is_late {
            let (time, last) = (END_TIME.as_secs(), self.last_words());
            return Err(failed(
                &self.name,
                format!("it was asked to end, and has not within {time} s: {last}"),
            ));
        }
        if ends_well(status) {
            return Ok(());
        }
        let last = self.last_words();
        Err(failed(&self.name, format!("the process was asked to end, and has ended with {status}: {last}")))
    }
}

/// Whether a process that was sent a signal, or two, has ended by that.
fn ends_well(status: ExitStatus) -> bool {
    use rustix::process::Signal;
    let sent = [Signal::TERM, Signal::KILL].map(|signal| Some(signal.as_raw()));
    status.success() || sent.contains(&status.signal())
}

/// The end of what was said.
fn last_words(said: &mut File) -> String {
    let mut bytes = Vec::new();
    let length = said.seek(SeekFrom::End(0)).unwrap_or(0);
    let from = length.saturating_sub(LAST_BYTES);
    let read = said.seek(SeekFrom::Start(from)).and_then(|_| said.take(LAST_BYTES).read_to_end(&mut bytes));
    read.map_or_else(|error| error.to_string(), |_| String::from_utf8_lossy(&bytes).trim().to_owned())
}

impl Drop for Process {
    fn drop(&mut self) {
        asleep::end(self.child.lock().id());
        self.kill();
    }
}

/// Runs a program to its end; returns how it has ended, and the end of what it has said.
///
/// # Errors
/// That it cannot be started; that it takes too long, or says too much: it is ended then.
pub(crate) fn run(words: &[String]) -> Result<(ExitStatus, String)> {
    run_within(words, RUN_TIME)
}

fn run_within(words: &[String], time: Duration) -> Result<(ExitStatus, String)> {
    let process = Process::start(words)?;
    let end = Instant::now() + time;
    loop {
        let status = process.child.lock().try_wait();
        if let Some(status) = status.map_err(|error| Error::io("wait for a program", 0, error))? {
            return Ok((status, process.last_words()));
        }
        let said = process.said.lock().metadata().map_or(0, |file| file.len());
        let why = if said > SAID_BYTES_MAX {
            format!("it says more than {SAID_BYTES_MAX} bytes")
        } else if Instant::now() > end {
            format!("it has not ended after {} s", time.as_secs_f64())
        } else {
            std::thread::sleep(PAUSE);
            continue;
        };
        process.kill();
        return Err(failed(
            &process.name,
            format!("{}: {why}, and was killed: {}", words.join(" "), process.last_words()),
        ));
    }
}

/// Whether a program can be found.
pub(crate) fn is_there(program: &str) -> bool {
    if program.contains('/') {
        return Path::new(program).exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| fs::metadata(folder.join(program)).is_ok_and(|it| it.is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_process_that_dies_says_what_it_said_last() {
        let process = Process::start(&words(&["sh", "-c", "echo no such disk >&2; exit 3"])).unwrap();
        let error = process.await_ready(|| Err::<(), _>("not there")).unwrap_err().to_string();
        assert!(error.contains("no such disk") && error.contains('3'), "{error}");
        assert!(Process::start(&words(&["/no/such/program"])).map_or_else(
            |error| error.to_string().contains("/no/such/program"),
            |process| process.death_soon().is_some()
        ));
    }

    #[test]
    fn a_process_ends_when_it_is_asked_to() {
        let process = Process::start(&words(&["sleep", "1000"])).unwrap();
        assert!(process.death().is_none());
        process.stop().unwrap();
        assert!(process.death().is_some());
    }

    #[test]
    fn a_process_that_ends_badly_when_it_is_asked_to_is_told() {
        for (script, word) in [
            ("trap 'echo oh >&2; exit 3' TERM; echo up; while :; do sleep 0.01; done", "exit status: 3"),
            ("trap 'kill -SEGV $$' TERM; echo up; while :; do sleep 0.01; done", "signal: 11"),
        ] {
            let process = Process::start(&words(&["sh", "-c", script])).unwrap();
            process
                .await_ready(|| if process.last_words() == "up" { Ok(()) } else { Err("not yet") })
                .unwrap();
            let error = process.stop().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_program_that_hangs_or_never_stops_talking_is_ended_and_named() {
        let hangs = words(&["sh", "-c", "echo so far; exec sleep 1000"]);
        let error = run_within(&hangs, Duration::from_millis(300)).unwrap_err().to_string();
        assert!(
            error.contains("sleep 1000") && error.contains("0.3 s") && error.contains("so far"),
            "{error}"
        );
        let error = run(&words(&["yes"])).unwrap_err().to_string();
        assert!(error.contains("says more than") && error.len() < 5000, "{error}");
        let (status, said) = run(&words(&["sh", "-c", "echo a; echo b >&2; exit 4"])).unwrap();
        assert_eq!((status.code(), said.as_str()), (Some(4), "a\nb"));
    }

    #[test]
    fn programs_are_looked_for() {
        assert!(is_there("sh") && is_there("/bin/sh") && !is_there("no-such-program"));
    }
}
