//! Processes of other people: they start, they may die, and they end with us.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use blk_core::sync::Mutex;
use blk_core::{Error, Result};

use crate::asleep;

/// How long a process may take until it listens.
const START_TIME: Duration = Duration::from_secs(20);
/// How long one that is asked to end may take: some wait for their clients, and all has been flushed.
const END_TIME: Duration = Duration::from_millis(100);
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
        let mut said = self.said.lock();
        let mut bytes = Vec::new();
        let length = said.seek(SeekFrom::End(0)).unwrap_or(0);
        let from = length.saturating_sub(LAST_BYTES);
        let read = said.seek(SeekFrom::Start(from)).and_then(|_| said.read_to_end(&mut bytes));
        read.map_or_else(|error| error.to_string(), |_| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(&self) {
        let mut child = self.child.lock();
        let id = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(id) = id {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
        let end = Instant::now() + END_TIME;
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(PAUSE);
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut child = self.child.lock();
        asleep::end(child.id());
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Runs a program to its end.
pub(crate) fn run(words: &[String]) -> Result<Output> {
    let output = command(words).output();
    output.map_err(|error| failed(&words[0], format!("it cannot be started: {error}")))
}

/// What a program has printed, in words.
pub(crate) fn printed(output: &Output) -> String {
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\n{}", out.trim(), errors.trim()).trim().to_owned()
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
        process.stop();
        assert!(process.death().is_some());
    }

    #[test]
    fn programs_are_looked_for() {
        assert!(is_there("sh") && is_there("/bin/sh") && !is_there("no-such-program"));
    }
}
