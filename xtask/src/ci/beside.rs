//! Steps in a process of their own, beside the others.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, getpgrp, getppid, kill_process_group};

/// How often it looks whether whoever waits for it is still there.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A process that does some of the steps. What it says goes to a file, and is told when it has ended.
pub(super) struct Beside {
    process: Child,
    said: PathBuf,
}

/// Begins these steps.
pub(super) fn begin(steps: &[&str]) -> Result<Beside> {
    let folder = cargo_blk::target_folder(&std::env::current_dir()?).join("tmp");
    fs::create_dir_all(&folder)?;
    let said = folder.join("ci-beside.log");
    let file = File::create(&said).with_context(|| format!("cannot write {}", said.display()))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["ci", "--beside", "--only", &steps.join(",")]).stdin(Stdio::null());
    // With all that it starts it is a group, which can be ended.
    command.stdout(file.try_clone()?).stderr(file).process_group(0);
    let process = command.spawn().context("cannot start another process of this program")?;
    println!("beside what follows: {}; see {}", steps.join(", "), said.display());
    Ok(Beside { process, said })
}

impl Beside {
    /// Waits for the process, and tells what it has said.
    pub(super) fn join(mut self) -> Result<()> {
        let status = self.process.wait()?;
        print!("{}", String::from_utf8_lossy(&fs::read(&self.said)?));
        if status.success() { Ok(()) } else { bail!("what ran beside has failed: {status}") }
    }

    /// Ends the process and all that it has started.
    pub(super) fn stop(mut self) -> Result<()> {
        // It may have ended by itself.
        if let Some(group) = Pid::from_raw(self.process.id().cast_signed()) {
            let _ = kill_process_group(group, Signal::TERM);
        }
        self.process.wait()?;
        Ok(())
    }
}

/// Ends this process, and its group, once the one that has begun it is gone: interrupted, for example.
pub(super) fn end_with_parent() {
    let parent = getppid();
    thread::spawn(move || {
        while getppid() == parent {
            thread::sleep(LOOK_EVERY);
        }
        let _ = kill_process_group(getpgrp(), Signal::TERM);
    });
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn what_it_has_started_ends_with_it() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 100 & echo $!; wait"]).stdout(Stdio::piped()).process_group(0);
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        let output = process.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
        Beside { process, said: PathBuf::new() }.stop().unwrap();
        let status = PathBuf::from(format!("/proc/{}/stat", line.trim()));
        let begun = Instant::now();
        // Whoever inherits it takes note of its end a little later.
        let runs = || fs::read_to_string(&status).is_ok_and(|stat| !stat.contains(") Z"));
        while runs() {
            assert!(begun.elapsed() < Duration::from_secs(5), "it goes on: {line}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}
