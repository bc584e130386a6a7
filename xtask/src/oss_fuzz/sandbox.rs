//! A place as that in which others run fuzz targets: nothing can be written but `/tmp`, which is empty, there
//! are no devices, no network, and no environment.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Where the folder lies that is tested, for those inside.
pub(super) const INSIDE: &str = "/mnt";
/// A folder that is there for inputs that are found.
pub(super) const NEW: &str = "/tmp/new";
/// Names the folder, then the words of a command.
const SCRIPT: &str = "\
mount --bind \"$1\" /mnt
mount -o remount,bind,ro /mnt
mount -o remount,bind,ro /
mount -t tmpfs tmpfs /dev
mount -t tmpfs tmpfs /tmp
mkdir /tmp/new
cd /
shift
exec env -i \"$@\"
";
/// How long a command may take, seconds.
const SECONDS_MAX: &str = "300";

/// Such a place for one folder.
pub(super) struct Sandbox {
    folder: PathBuf,
}

/// What a command came to.
pub(super) struct Ended {
    /// Its exit code.
    pub(super) code: Option<i32>,
    /// All that it said.
    pub(super) said: String,
    pub(super) time: Duration,
}

impl Sandbox {
    /// A place for `folder`, of which [`INSIDE`] is the name there. Fails where the system has none.
    pub(super) fn new(folder: &Path) -> Result<Self> {
        let sandbox = Self { folder: std::path::absolute(folder)? };
        let ended = sandbox.run(&["true"])?;
        if ended.code != Some(0) {
            bail!(
                "unshare cannot make name spaces for mounts and the network, as root or as a user: {}",
                ended.said.trim()
            );
        }
        Ok(sandbox)
    }

    /// The folder, by its name outside.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs a command there.
    pub(super) fn run(&self, words: &[&str]) -> Result<Ended> {
        let mut command = Command::new("timeout");
        command.args([SECONDS_MAX, "unshare", "--mount", "--net"]);
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["sh", "-ec", SCRIPT, "sandbox"]).arg(&self.folder).args(words).stdin(Stdio::null());
        let started = Instant::now();
        let Output { status, stdout, stderr } = command.output().context("cannot start timeout")?;
        let said = String::from_utf8_lossy(&[stderr, stdout].concat()).into_owned();
        Ok(Ended { code: status.code(), said, time: started.elapsed() })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn nothing_can_be_written_and_nothing_comes_in() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("there"), "x").unwrap();
        let sandbox = match Sandbox::new(folder.path()) {
            Ok(sandbox) => sandbox,
            Err(error) => {
                assert!(std::env::var_os("BLK_REQUIRE_QEMU").is_none(), "{error:#}");
                eprintln!("skipped: {error:#}");
                return;
            }
        };
        let run = |words: &[&str]| sandbox.run(words).unwrap();
        let outside = folder.path().to_str().unwrap();
        for (good, bad) in [
            ("cat /mnt/there", "echo x >/mnt/new"),
            ("echo x >/tmp/new/file", "echo x >new"),
            ("test -z \"$HOME\"", "test -n \"$HOME\""),
            ("test ! -e /dev/null", "test -e /dev/null"),
            ("test \"$PWD\" = /", &format!("echo x >{outside}/new")),
        ] {
            assert_eq!(run(&["/bin/sh", "-c", good]).code, Some(0), "{good}");
            assert_ne!(run(&["/bin/sh", "-c", bad]).code, Some(0), "{bad}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
