//! The server of the disk under test, and the machine that boots over it.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::system::System;

/// How often it is looked whether the server still lives while the guest says nothing.
const LOOK: Duration = Duration::from_millis(200);

/// The two images under `blkverify`.
pub(super) struct Images {
    /// What is right by definition.
    pub(super) raw: PathBuf,
    /// The image of the driver under test, and its format.
    pub(super) test: PathBuf,
    pub(super) format: String,
}

impl Images {
    /// Both of them as one image, in the form of `--image-opts`.
    fn options(&self) -> String {
        let (raw, test, format) = (self.raw.display(), self.test.display(), &self.format);
        format!(
            "driver=blkverify,raw.driver=raw,raw.file.driver=file,raw.file.filename={raw},raw.discard=unmap,\
             test.driver={format},test.file.driver=file,test.file.filename={test},test.discard=unmap"
        )
    }
}

/// A process that ends with this.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How a guest has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It has done all that it was to do, and turned itself off.
    Well,
    /// The server has ended before, with this report.
    Found(String),
}

/// What a run needs besides images.
pub(super) struct Machine<'a> {
    /// The program that serves the images.
    pub(super) blk: &'a Path,
    /// Where the machine's emulator was unpacked.
    pub(super) emulator: &'a Path,
    pub(super) system: &'a System,
    /// Where sockets and logs are.
    pub(super) folder: &'a Path,
    /// How long a guest may take.
    pub(super) time: Duration,
}

/// What the verifier says of bytes that differ.
const MISMATCH: &str = "contents mismatch";

impl Machine<'_> {
    /// Boots the guest with a job; prints each step that is done, and how long it took.
    pub(super) fn boot(&self, images: &Images, archive: &Path, job: &str) -> Result<End> {
        let (socket, said) = (self.folder.join("socket"), self.folder.join(format!("{job}.server")));
        let mut server = self.serve(images, &socket, &said)?;
        let mut guest = self.start(&socket, archive, job)?;
        let ended = self.follow(&mut server, &mut guest, job)?;
        if let Some(why) = ended {
            // What is not found by the verifier is no finding of it: the guest itself has noticed something.
            return if server.0.try_wait()?.is_some() { found(&said) } else { bail!("the guest: {why}") };
        }
        stop(server, &said)
    }

    fn serve(&self, images: &Images, socket: &Path, said: &Path) -> Result<Process> {
        let mut command = Command::new(self.blk);
        command.args(["nbd", "--persistent", "--discard=unmap", "--image-opts", "--socket"]);
        command.arg(socket).arg(images.options()).stdin(Stdio::null()).stderr(File::create(said)?);
        let mut server =
            Process(command.spawn().with_context(|| format!("cannot start {}", self.blk.display()))?);
        let begun = Instant::now();
        while !socket.exists() {
            if server.0.try_wait()?.is_some() || begun.elapsed() > Duration::from_secs(20) {
                bail!("the server does not listen: {}", fs::read_to_string(said)?);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    fn start(&self, socket: &Path, archive: &Path, job: &str) -> Result<Process> {
        let files = |name: &str| self.emulator.join("usr/share").join(name);
        let disk =
            format!("if=none,id=disk,format=raw,discard=unmap,file=nbd+unix:///?socket={}", socket.display());
        let packed = format!("if=none,id=packed,format=raw,readonly=on,file={}", archive.display());
        let mut command = Command::new(self.emulator.join("usr/bin/qemu-system-x86_64"));
        command
            .env("LD_LIBRARY_PATH", super::system::library_path(self.emulator))
            .arg("-L")
            .arg(files("qemu"))
            .arg("-L")
            .arg(files("seabios"))
            .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"])
            .args(["-accel", "tcg", "-m", "768", "-drive", &disk, "-device", "virtio-blk-pci,drive=disk"])
            .args(["-drive", &packed, "-device", "virtio-blk-pci,drive=packed"])
            .arg("-kernel")
            .arg(&self.system.kernel)
            .arg("-initrd")
            .arg(&self.system.initramfs)
            .args(["-append", &format!("console=ttyS0 quiet panic=-1 job={job}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        Ok(Process(command.spawn().context("cannot start the machine's emulator")?))
    }

    /// Shows the steps that the guest tells of. `None` if it has ended well; why not otherwise.
    fn follow(&self, server: &mut Process, guest: &mut Process, job: &str) -> Result<Option<String>> {
        let console = guest.0.stdout.take().context("a guest has a console")?;
        let mut log = File::create(self.folder.join(format!("{job}.console")))?;
        let (line, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let mut console = BufReader::new(console);
            let mut bytes = Vec::new();
            while console.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
                let _ = std::io::Write::write_all(&mut log, &bytes);
                if line.send(String::from_utf8_lossy(&bytes).trim().to_owned()).is_err() {
                    return;
                }
                bytes.clear();
            }
        });
        let begun = Instant::now();
        let mut last = begun;
        let mut failed = None;
        let mut is_well = false;
        loop {
            match lines.recv_timeout(LOOK) {
                Ok(line) => match read_line(&line) {
                    Said::Done(step) => {
                        println!("  {:>7.1} s  {step}", last.elapsed().as_secs_f64());
                        last = Instant::now();
                    }
                    Said::End(true) => {
                        // It turns itself off now: what that writes is verified too.
                        is_well = true;
                    }
                    // What follows until the end goes into the log.
                    Said::Failed(why) => failed = Some(why),
                    Said::End(false) => {
                        return Ok(Some(failed.unwrap_or_else(|| "it has failed".to_owned())));
                    }
                    Said::Other => {}
                },
                Err(RecvTimeoutError::Disconnected) if is_well => {
                    println!("  {:>7.1} s  in all, turned off", begun.elapsed().as_secs_f64());
                    return Ok(None);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Ok(Some("it has ended without a word".to_owned()));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if server.0.try_wait()?.is_some() {
                return Ok(Some("its disk has gone".to_owned()));
            }
            if begun.elapsed() > self.time {
                return Ok(Some(format!("it has taken more than {} s", self.time.as_secs())));
            }
        }
    }
}

/// A line of the guest's console.
enum Said<'a> {
    Done(&'a str),
    Failed(String),
    End(bool),
    Other,
}

fn read_line(line: &str) -> Said<'_> {
    // What the kernel prints may stand before it.
    let Some((_, told)) = line.split_once('@') else { return Said::Other };
    match told.split_once(' ') {
        Some(("done", step)) => Said::Done(step),
        Some(("failed", why)) => Said::Failed(why.to_owned()),
        Some(("end", how)) => Said::End(how == "well"),
        _ => Said::Other,
    }
}

/// The report of a server that has ended because of what it has found.
fn found(said: &Path) -> Result<End> {
    let report = fs::read_to_string(said)?;
    if !report.contains(MISMATCH) {
        bail!("the server has ended, and has found nothing: {report}");
    }
    Ok(End::Found(report))
}

/// Tells the server to end in order, which flushes and closes both images.
fn stop(mut server: Process, said: &Path) -> Result<End> {
    if let Some(pid) = rustix::process::Pid::from_raw(server.0.id().cast_signed()) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    let status = server.0.wait()?;
    if status.success() { Ok(End::Well) } else { found(said) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_console_is_read_for_what_the_guest_tells() {
        assert!(matches!(read_line("[    1.2] x@done ext4: make it"), Said::Done("ext4: make it")));
        assert!(matches!(read_line("@end well"), Said::End(true)));
        assert!(matches!(read_line("@end failed"), Said::End(false)));
        assert!(matches!(read_line("@failed x: why"), Said::Failed(why) if why == "x: why"));
        assert!(matches!(read_line("SeaBIOS (version x)"), Said::Other));
        assert!(matches!(read_line("mail@host"), Said::Other));
    }
}
