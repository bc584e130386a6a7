//! Locks that keep other programs from an image, and us from theirs.
//!
//! They are QEMU's, so both refuse each other: byte-range locks of the open file description, all of them shared. Whoever
//! *uses* a permission locks byte 100 + n, whoever cannot bear that others use it byte 200 + n; n is 0 for reading, 1 for
//! writing, 3 for changing the length. First one's own bytes are locked, then it is looked whether others hold bytes that
//! contradict: two that come at once may both be refused, but never both go on.
//!
//! The locks end with the open file.

use std::fs::File;
use std::io;

use blk_core::{Error, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::node::Locking;

const USED: u8 = 100;
const UNSHARED: u8 = 200;

const READ: u8 = 0;
const WRITE: u8 = 1;
const RESIZE: u8 = 3;

/// What somebody does with a file, and what others may not do meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Claim {
    pub(crate) writes: bool,
    pub(crate) resizes: bool,
    /// Nobody else may write it or change its length.
    pub(crate) alone: bool,
}

impl Claim {
    fn used(self) -> impl Iterator<Item = u8> {
        let used = [(READ, true), (WRITE, self.writes), (RESIZE, self.resizes)];
        used.into_iter().filter_map(|(permission, is)| is.then_some(permission))
    }

    fn unshared(self) -> impl Iterator<Item = u8> {
        let unshared = if self.alone { [WRITE, RESIZE].as_slice() } else { &[] };
        unshared.iter().copied()
    }
}

/// Locks `file`, called `name` in messages.
///
/// # Errors
/// [`Error::Unresolved`] if somebody else's use of the file contradicts the claim.
pub(crate) fn lock(file: &File, name: &str, claim: Claim, locking: Locking) -> Result<()> {
    if locking == Locking::Off {
        return Ok(());
    }
    match try_lock(file, name, claim) {
        Err(Error::Io { source, .. }) if locking == Locking::Auto && !is_contended(&source) => Ok(()),
        answered => answered,
    }
}

/// Whether the file system has locks, and somebody holds one.
fn is_contended(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES))
}

fn try_lock(file: &File, name: &str, claim: Claim) -> Result<()> {
    let own = claim.used().map(|n| USED + n);
    for byte in own.chain(claim.unshared().map(|n| UNSHARED + n)) {
        let asked = fcntl(file, FcntlArg::F_OFD_SETLK(&range(libc::F_RDLCK, byte)));
        asked.map_err(|error| Error::io("lock", u64::from(byte), error.into()))?;
    }
    for n in claim.used() {
        if is_locked(file, UNSHARED + n)? {
            return Err(refused(name, &format!("Failed to get \"{}\" lock", permission(n))));
        }
    }
    for n in claim.unshared() {
        if is_locked(file, USED + n)? {
            return Err(refused(name, &format!("Failed to get shared \"{}\" lock", permission(n))));
        }
    }
    Ok(())
}

/// Whether somebody else has locked a byte.
fn is_locked(file: &File, byte: u8) -> Result<bool> {
    let mut lock = range(libc::F_WRLCK, byte);
    let asked: nix::Result<i32> = fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock));
    asked.map_err(|error: Errno| Error::io("lock", u64::from(byte), error.into()))?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

fn range(kind: i32, byte: u8) -> libc::flock {
    libc::flock {
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: i64::from(byte),
        l_len: 1,
        l_pid: 0,
    }
}

fn permission(n: u8) -> &'static str {
    match n {
        READ => "consistent read",
        WRITE => "write",
        _ => "resize",
    }
}

fn refused(name: &str, what: &str) -> Error {
    Error::Unresolved { name: name.to_owned(), reason: format!("{what}: another process is using the image") }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const WRITER: Claim = Claim { writes: true, resizes: true, alone: true };
    const READER: Claim = Claim { writes: false, resizes: false, alone: true };
    const SHARER: Claim = Claim { writes: false, resizes: false, alone: false };
    const SHARED_WRITER: Claim = Claim { writes: true, resizes: false, alone: false };

    fn open(path: &Path) -> File {
        File::options().read(true).write(true).open(path).unwrap()
    }

    /// What the second of two gets to hear.
    fn second(first: Claim, second: Claim) -> Option<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (one, other) = (open(file.path()), open(file.path()));
        lock(&one, "x", first, Locking::On).unwrap();
        let answered = lock(&other, "x", second, Locking::On).err().map(|error| error.to_string());
        drop(one);
        lock(&open(file.path()), "x", SHARER, Locking::Auto).unwrap();
        answered
    }

    #[test]
    fn who_refuses_whom() {
        assert!(second(WRITER, WRITER).unwrap().contains("Failed to get \"write\" lock"));
        assert!(second(WRITER, READER).unwrap().contains("Failed to get shared \"write\" lock"));
        assert!(second(READER, WRITER).unwrap().contains("Failed to get \"write\" lock"));
        assert_eq!(second(READER, READER), None);
        assert_eq!(second(WRITER, SHARER), None);
        assert_eq!(second(SHARED_WRITER, SHARED_WRITER), None);
        assert!(second(SHARED_WRITER, READER).is_some());
    }

    #[test]
    fn without_locking_nobody_is_refused_and_locks_end_with_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let one = open(file.path());
        lock(&one, "x", WRITER, Locking::Auto).unwrap();
        lock(&open(file.path()), "x", WRITER, Locking::Off).unwrap();
        drop(one);
        lock(&open(file.path()), "x", WRITER, Locking::Auto).unwrap();
    }
}
