//! Temporary folders, which go when the program ends, however it ends.
//!
//! No destructor runs when the program is killed, and some statics live until it ends. So all folders lie in
//! one root folder. A shell waits for the end of a pipe that the program holds; then it kills the process
//! groups that the program has started and not ended, and removes the root folder.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;

use blk_core::{Error, Result};
use tempfile::TempDir;

use crate::medium::SOCKET;

/// The root folder of this program, and the shell that removes it.
static ROOT: OnceLock<std::result::Result<Root, String>> = OnceLock::new();

/// A file system in memory.
const MEMORY: &str = "/dev/shm";
/// How much is free there at least, bytes: a container may have very little, which images would fill.
const ROOM_BYTES_MIN: u64 = 1 << 30;

/// A folder that is removed when the pipe is closed, at the latest by the end of the program.
#[derive(Debug)]
struct Root {
    path: PathBuf,
    /// Held open: the shell removes the folder when it is closed.
    _pipe: Option<ChildStdin>,
    remover: Option<Child>,
}

impl Root {
    fn new() -> std::io::Result<Self> {
        let path = tempfile::Builder::new().prefix("blk").rand_bytes(5).tempdir_in(place())?.keep();
        // The terminal sends its signals to this shell too.
        let script = r#"trap '' INT TERM HUP; cat >/dev/null; sleep 0.2
            for group in "$0"/group-*; do
                [ ! -f "$group" ] || kill -s KILL -- "-${group##*/group-}"
            done
            # A pattern does not match what is mounted and has no server any more.
            for folder in "$0"/*; do
                [ ! -d "$folder" ] || [ -S "$folder/$1" ] || umount -l "$folder/$1" || fusermount3 -uz "$folder/$1"
            done
            rm -rf -- "$0""#;
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(&path).arg(SOCKET).stdin(Stdio::piped()).stdout(Stdio::null());
        // Signals to the program's group do not reach it.
        command.process_group(0);
        // Without a shell the folder stays.
        let mut remover = command.stderr(Stdio::null()).spawn().ok();
        let pipe = remover.as_mut().and_then(|remover| remover.stdin.take());
        Ok(Self { path, _pipe: pipe, remover })
    }
}

/// Where the folder lies: in memory, unless TMPDIR is set or there is little room. Programs sync the images
/// that they make, which takes longer on a disk than all the rest.
fn place() -> PathBuf {
    let is_roomy = |room: rustix::fs::StatVfs| room.f_bavail.saturating_mul(room.f_frsize) >= ROOM_BYTES_MIN;
    let is_chosen = std::env::var_os("TMPDIR").is_some();
    let is_usable =
        || rustix::fs::statvfs(MEMORY).is_ok_and(is_roomy) && tempfile::tempdir_in(MEMORY).is_ok();
    if !is_chosen && is_usable() { MEMORY.into() } else { std::env::temp_dir() }
}

/// Whether a shell kills process groups when the program has ended.
pub(crate) fn ends_groups() -> bool {
    matches!(ROOT.get_or_init(made), Ok(root) if root.remover.is_some())
}

/// A process group that is killed when the program ends. Dropped, it is not any more.
#[derive(Debug)]
pub(crate) struct Ends(PathBuf);

#[cfg(test)]
impl Ends {
    pub(crate) fn is_there(&self) -> bool {
        self.0.exists()
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Has a process group killed when the program has ended.
pub(crate) fn ends_with_us(group: u32) -> Result<Ends> {
    let path = root()?.join(format!("group-{group}"));
    std::fs::write(&path, "").map_err(|error| Error::io("create a temporary file", 0, error))?;
    Ok(Ends(path))
}

/// A folder for files and sockets.
pub(crate) fn folder() -> Result<TempDir> {
    in_folder(root()?).map_err(|error| Error::io("create a temporary folder", 0, error))
}

/// What a program has said, with the names of our temporary folders cut from its paths: they differ from run
/// to run, and the same finding has to read the same.
pub(crate) fn without_folders(text: &str) -> String {
    let Some(Ok(root)) = ROOT.get() else { return text.to_owned() };
    let root = format!("{}/", root.path.display());
    let mut parts = text.split(&root);
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let below = part.trim_start_matches(char::is_alphanumeric);
        masked += below.strip_prefix('/').unwrap_or(below);
    }
    masked
}

fn made() -> std::result::Result<Root, String> {
    Root::new().map_err(|error| error.to_string())
}

fn root() -> Result<&'static Path> {
    let root = ROOT.get_or_init(made);
    let failed = |error: &String| std::io::Error::other(error.clone());
    let root = root.as_ref().map_err(|error| Error::io("create a temporary folder", 0, failed(error)))?;
    Ok(&root.path)
}

/// Names are short: paths of sockets have at most about a hundred bytes, and QEMU reads its commands byte by
/// byte.
fn in_folder(root: &Path) -> std::io::Result<TempDir> {
    tempfile::Builder::new().prefix("").rand_bytes(4).tempdir_in(root)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use std::sync::Arc;

    use super::*;
    use crate::medium::Medium;
    use crate::process::{Process, tests::await_gone};
    use blk_core::MemoryStorage;
    use blk_harness::plant::Planted;

    #[test]
    fn what_is_said_names_no_folder_of_ours() {
        let (one, other) = (folder().unwrap(), folder().unwrap());
        let said = |folder: &TempDir| {
            let (file, folder) = (folder.path().join("m/image"), folder.path());
            format!("cannot open '{}': no room in {}: {}", file.display(), folder.display(), file.display())
        };
        assert_ne!(said(&one), said(&other));
        let masked = "cannot open 'm/image': no room in : m/image";
        assert_eq!([without_folders(&said(&one)), without_folders(&said(&other))], [masked; 2]);
        assert_eq!(without_folders("/etc/passwd and é"), "/etc/passwd and é");
    }

    /// What the test below is called, for itself.
    const NAME: &str = "temporary::tests::a_program_that_is_killed_leaves_no_folder";
    const CHILD: &str = "BLK_TEST_TEMPORARY";

    #[test]
    fn a_program_that_is_killed_leaves_no_folder() {
        if let Some(told) = std::env::var_os(CHILD) {
            let shell = "sleep 98764 & echo up; wait";
            let process = Process::start(&["sh", "-c", shell].map(str::to_owned)).unwrap();
            let folder = folder().unwrap().keep();
            std::fs::write(folder.join("file"), "x").unwrap();
            let storage = Arc::new(MemoryStorage::from_bytes(&[7; 512]));
            let medium = Medium::mount(storage, &folder, Arc::new(Planted::new(None))).unwrap();
            assert_eq!(std::fs::read(medium.path(&folder)).unwrap(), [7; 512]);
            process.await_said("up");
            std::fs::write(told, folder.to_str().unwrap()).unwrap();
            std::process::abort();
        }
        let told = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", NAME, "--nocapture"]).env(CHILD, told.path());
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(!status.success());
        let folder = PathBuf::from(std::fs::read_to_string(told.path()).unwrap());
        let root = folder.parent().unwrap();
        assert!(root.file_name().unwrap().to_str().unwrap().starts_with("blk"), "{}", root.display());
        let end = Instant::now() + Duration::from_secs(20);
        while root.exists() {
            assert!(Instant::now() < end, "{} is still there", root.display());
            std::thread::sleep(Duration::from_millis(20));
        }
        await_gone("98764");
    }
}
