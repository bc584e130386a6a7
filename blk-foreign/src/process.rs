//! Processes of other programs. They may die at any time; they, and the processes that they start, end with
//! this program.

mod said;

use std::fs;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use blk_core::sync::Mutex;
use blk_core::{Error, Result};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use crate::asleep::{Workers, Works};
use crate::temporary::{self, Ends, ends_with_us, without_folders};
use said::Said;

/// How long a process may take until it listens.
const START_TIME: Duration = Duration::from_secs(20);
/// How long one that is asked to end may take. Its clients have gone.
const END_TIME: Duration = Duration::from_secs(10);
/// How long a program may run that runs to its end.
const RUN_TIME: Duration = Duration::from_mins(1);
/// How long processes that were killed may take to end.
const KILL_TIME: Duration = Duration::from_millis(500);
/// How much a program may say that runs to its end, bytes.
const SAID_BYTES_MAX: u64 = 1 << 20;
const PAUSE: Duration = Duration::from_micros(300);

/// A process that runs.
#[derive(Debug)]
pub(crate) struct Process {
    group: Mutex<Group>,
    name: String,
    /// The output of it and of the processes that it has started.
    said: Arc<Said>,
    /// Its entry among the workers of its driver, where these are watched.
    works: Option<Works>,
}

/// A process and the processes that it has started, but for those that have left its process group.
#[derive(Debug)]
struct Group {
    leader: Child,
    id: Pid,
    /// How the leader has ended, once it was waited for. From then on another process may have its number.
    status: Option<ExitStatus>,
    /// Has the group killed if this program ends first. None once another process may have its number.
    ends: Option<Ends>,
}

/// Why a process, or a program, was no use.
pub(crate) fn failed(name: &str, why: impl Into<String>) -> Error {
    Error::Unresolved { name: name.to_owned(), reason: why.into() }
}

/// A command whose process is killed when this program ends, however that happens. The shell that removes our
/// folders does it; where there is none, the kernel does, by `setpriv`, which takes a millisecond for each
/// start.
fn command(words: &[String]) -> Command {
    let by_kernel = !temporary::ends_groups() && Path::new("/usr/bin/setpriv").exists();
    let mut command = Command::new(if by_kernel { "/usr/bin/setpriv" } else { words[0].as_str() });
    if by_kernel {
        command.args(["--pdeathsig", "KILL", "--"]).arg(&words[0]);
    }
    command.args(&words[1..]).stdin(Stdio::null()).process_group(0);
    command
}

impl Group {
    fn signal(&self, signal: Signal) {
        if self.status.is_none() {
            // An empty group is no failure.
            let _ = rustix::process::kill_process_group(self.id, signal);
        }
    }

    /// Whether the leader has ended.
    fn is_over(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let ended = || rustix::process::waitid(WaitId::Pid(self.id), options);
        self.status.is_some() || !matches!(ended(), Ok(None))
    }

    /// Whether a process of the group other than the leader still runs.
    fn has_others(&self) -> bool {
        let Ok(processes) = fs::read_dir("/proc") else { return false };
        let group = self.leader.id();
        processes.flatten().any(|process| {
            let number = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
            let stat = || fs::read_to_string(process.path().join("stat")).unwrap_or_default();
            number.is_some_and(|number| number != group) && runs_in(&stat(), group)
        })
    }

    /// Kills the processes of the group that still run; returns how the leader has ended.
    fn end(&mut self) -> std::io::Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        // Before the leader is waited for: until then no other process can have its number.
        self.signal(Signal::KILL);
        // It may have left its group.
        let _ = self.leader.kill();
        self.ends = None;
        let status = self.leader.wait()?;
        self.status = Some(status);
        Ok(status)
    }

    /// How the leader has ended, if it has. The processes that it leaves behind are killed.
    fn ended(&mut self) -> std::io::Result<Option<ExitStatus>> {
        if self.is_over() { self.end().map(Some) } else { Ok(None) }
    }
}

/// Whether a process runs that is of a group, by what `/proc/*/stat` says: after its name, which may hold
/// anything, its state, its parent, its group.
fn runs_in(stat: &str, group: u32) -> bool {
    let mut fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let state = fields.next();
    !matches!(state, None | Some("Z" | "X")) && fields.nth(1).is_some_and(|it| it.parse() == Ok(group))
}

impl Process {
    pub(crate) fn start(words: &[String]) -> Result<Self> {
        let name = words[0].clone();
        let no_pipe = |error| Error::io("make a pipe", 0, error);
        let (reader, out) = std::io::pipe().map_err(no_pipe)?;
        let errors = out.try_clone().map_err(no_pipe)?;
        let leader = command(words).stdout(out).stderr(errors).spawn();
        let leader = leader.map_err(|error| failed(&name, format!("it cannot be started: {error}")))?;
        let mut group = Group { id: Pid::from_child(&leader), leader, status: None, ends: None };
        let said = Said::read(reader).map_err(|error| {
            let _ = group.end();
            Error::io("start a thread", 0, error)
        })?;
        let ends = ends_with_us(group.leader.id()).inspect_err(|_| drop(group.end()))?;
        group.ends = Some(ends);
        Ok(Self { group: Mutex::new(group), name, said, works: None })
    }

    /// The same process, entered among the workers of a driver.
    pub(crate) fn working(mut self, workers: &Arc<Workers>) -> Self {
        self.works = Some(workers.add(self.id()));
        self
    }

    pub(crate) fn id(&self) -> u32 {
        self.group.lock().leader.id()
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
        let status = self.group.lock().ended().ok()??;
        Some(format!("the process has ended, {status}, and said last:\n{}", self.told()))
    }

    /// As [`Process::death`] of a process whose sockets are closed, so that it is about to end: waits a
    /// little.
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

    /// What a process that has ended has said last.
    fn all_said(&self) -> String {
        self.said.await_end(KILL_TIME);
        self.said.last()
    }

    /// The same without names of folders that differ from run to run, for a report.
    fn told(&self) -> String {
        without_folders(&self.all_said())
    }

    /// Kills it and the processes that it has started, as a crash does.
    pub(crate) fn kill(&self) {
        let _ = self.group.lock().end();
        self.said.await_end(KILL_TIME);
    }

    /// Asks it and the processes that it has started to end, and waits until they have.
    ///
    /// # Errors
    /// It ended with a nonzero exit code, by a signal that we did not send, or not in time: then the image
    /// that it had open may not be in order.
    pub(crate) fn stop(&self) -> Result<()> {
        let mut group = self.group.lock();
        if group.status.is_none() {
            let _ = rustix::process::kill_process(group.id, Signal::TERM);
        }
        let end = Instant::now() + END_TIME;
        while !group.is_over() && Instant::now() < end {
            self.said.await_end_or(PAUSE);
        }
        let is_late = !group.is_over();
        // A shell that has started the server may end first, without passing the signal on.
        group.signal(Signal::TERM);
        self.said.await_end(end.saturating_duration_since(Instant::now()));
        // A process that has closed its output is not seen by the end of the pipe.
        while group.has_others() && Instant::now() < end {
            std::thread::sleep(PAUSE);
        }
        let status = group.end().map_err(|error| Error::io("wait for a process", 0, error))?;
        drop(group);
        if is_late {
            let (time, last) = (END_TIME.as_secs(), self.told());
            return Err(failed(
                &self.name,
                format!("it was asked to end, and has not within {time} s: {last}"),
            ));
        }
        if ends_well(status) {
            return Ok(());
        }
        let last = self.told();
        Err(failed(&self.name, format!("the process was asked to end, and has ended with {status}: {last}")))
    }
}

/// Whether a process that was sent SIGTERM, and perhaps SIGKILL, has ended as it should.
fn ends_well(status: ExitStatus) -> bool {
    let sent = [Signal::TERM, Signal::KILL].map(|signal| Some(signal.as_raw()));
    status.success() || sent.contains(&status.signal())
}

impl Drop for Process {
    fn drop(&mut self) {
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
        let status = process.group.lock().ended();
        if let Some(status) = status.map_err(|error| Error::io("wait for a program", 0, error))? {
            return Ok((status, process.all_said()));
        }
        let why = if process.said.count() > SAID_BYTES_MAX {
            format!("it says more than {SAID_BYTES_MAX} bytes")
        } else if Instant::now() > end {
            format!("it has not ended after {} s", time.as_secs_f64())
        } else {
            process.said.await_end_or(PAUSE);
            continue;
        };
        process.kill();
        return Err(failed(
            &process.name,
            format!("{}: {why}, and was killed: {}", words.join(" "), without_folders(&process.said.last())),
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
pub(crate) mod tests {
    use super::*;

    impl Process {
        /// Waits until this is what it has said last.
        pub(crate) fn await_said(&self, text: &str) {
            let has_said = || if self.said.last().ends_with(text) { Ok(()) } else { Err("not yet") };
            self.await_ready(has_said).unwrap();
        }
    }

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
            process.await_said("up");
            let error = process.stop().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_program_that_hangs_or_never_stops_talking_is_ended_and_named() {
        let hangs = words(&["sh", "-c", "echo so far; exec sleep 1000"]);
        // A shell that has to wait for a processor says something in this time, too.
        let error = run_within(&hangs, Duration::from_secs(3)).unwrap_err().to_string();
        assert!(
            error.contains("sleep 1000") && error.contains("after 3 s") && error.contains("so far"),
            "{error}"
        );
        let error = run(&words(&["yes"])).unwrap_err().to_string();
        assert!(error.contains("says more than") && error.len() < 5000, "{error}");
        let (status, said) = run(&words(&["sh", "-c", "echo a; echo b >&2; exit 4"])).unwrap();
        assert_eq!((status.code(), said.as_str()), (Some(4), "a\nb"));
    }

    /// Waits until no process `sleep`s for exactly so many seconds.
    pub(crate) fn await_gone(seconds: &str) {
        let runs = || {
            fs::read_dir("/proc").unwrap().flatten().any(|process| {
                let words = fs::read(process.path().join("cmdline")).unwrap_or_default();
                words == format!("sleep\0{seconds}\0").as_bytes()
            })
        };
        let end = Instant::now() + Duration::from_secs(20);
        while runs() {
            assert!(Instant::now() < end, "sleep {seconds} still runs");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn what_a_program_has_started_ends_with_it() {
        let late = words(&["sh", "-c", "sleep 98761; echo"]);
        let error = run_within(&late, Duration::from_millis(300)).unwrap_err().to_string();
        assert!(error.contains("0.3 s"), "{error}");
        await_gone("98761");
        let (status, said) = run(&words(&["sh", "-c", "sleep 98762 & echo done"])).unwrap();
        assert!(status.success() && said == "done", "{status}, {said}");
        await_gone("98762");
        let process = Process::start(&words(&["sh", "-c", "sleep 98763 & echo up; wait"])).unwrap();
        process.await_said("up");
        drop(process);
        await_gone("98763");
    }

    #[test]
    fn a_server_behind_a_shell_has_time_to_end() {
        let script =
            "(trap 'sleep 0.2; echo flushed; exit' TERM; echo up; while :; do sleep 0.01; done) & wait";
        let process = Process::start(&words(&["sh", "-c", script])).unwrap();
        process.await_said("up");
        process.stop().unwrap();
        assert!(process.said.last().ends_with("flushed"), "{}", process.said.last());
    }

    /// The server holds no pipe of ours, as one that writes to a log.
    #[test]
    fn a_server_behind_a_shell_has_time_to_end_though_it_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let [up, done] = ["up", "done"].map(|name| folder.path().join(name));
        let script = format!(
            "(trap 'sleep 0.3; echo > {}; exit' TERM
              echo > {}; while :; do sleep 0.01; done) >/dev/null 2>&1 & wait",
            done.display(),
            up.display()
        );
        let process = Process::start(&words(&["sh", "-c", &script])).unwrap();
        process.await_ready(|| if up.exists() { Ok(()) } else { Err("not yet") }).unwrap();
        process.stop().unwrap();
        assert!(done.exists(), "it was killed before it had ended");
    }

    #[test]
    fn the_state_and_the_group_of_a_process_are_read_behind_its_name() {
        assert!(runs_in("7 (a) Z 1 (b)) S 1 42 42 0", 42));
        assert!(!runs_in("7 (a) S 1 41 42 0", 42) && !runs_in("7 (a) Z 1 42 42 0", 42) && !runs_in("", 42));
    }

    /// Once it has ended another process may have its number, and must not be killed.
    #[test]
    fn what_has_ended_is_not_to_be_killed_any_more() {
        let process = Process::start(&words(&["sleep", "1000"])).unwrap();
        let is_noted = || process.group.lock().ends.as_ref().is_some_and(Ends::is_there);
        assert!(is_noted());
        process.stop().unwrap();
        assert!(!is_noted());
    }

    #[test]
    fn a_process_that_says_much_is_not_held_up() {
        let script = "yes | head -c 10000000; echo that was all; exec sleep 1000";
        let process = Process::start(&words(&["sh", "-c", script])).unwrap();
        process.await_said("was all");
        assert!(process.said.count() > 10_000_000 && process.said.last().len() <= 2000);
    }

    #[test]
    fn programs_are_looked_for() {
        assert!(is_there("sh") && is_there("/bin/sh") && !is_there("no-such-program"));
    }
}
