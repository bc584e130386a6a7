//! Locks that keep other programs from an image, and us from theirs.
//!
//! They are QEMU's, so both refuse each other: byte-range locks of the open file description, all of them
//! shared. Whoever *uses* a permission locks byte 100 + n, whoever cannot bear that others use it byte 200 +
//! n; n is 0 for reading content that is consistent, 1 for writing, 3 for changing the length. First one's
//! own bytes are locked, then it is looked whether others hold bytes that contradict: two that come at once
//! may both be refused, but never both go on.
//!
//! Who uses what, all of it found by watching QEMU's tools:
//!
//! | file | uses | does not share |
//! |---|---|---|
//! | of a format other than raw, read | read | write, resize |
//! | the same, written | read, write, resize | write, resize |
//! | the same, shared (`-U`) | read | |
//! | the same, described (`info`) | | write, resize |
//! | raw, read; written | read; and write | |
//! | raw, resized | and resize | |
//! | raw, described; any file below a new overlay | | |
//! | raw that is converted, or lies below what is | read | write, resize |
//! | the test side of `blkverify`, raw | as raw, and resize if written | resize |
//! | new, of any format | write, resize | resize |
//! | the base of a commit, raw | read, write | resize |
//! | between image and base of a commit | read | read, write, resize |
//!
//! The locks end with the open file.

use std::io;
use std::os::fd::AsFd;

use blk_core::sync::Mutex;
use blk_core::{Error, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::node::Locking;
use crate::formats::has_metadata;

const USED: u8 = 100;
const UNSHARED: u8 = 200;

const READ: u8 = 0;
const WRITE: u8 = 1;
const RESIZE: u8 = 3;
const ALL: [u8; 3] = [READ, WRITE, RESIZE];

/// Some of the permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Permissions {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) resize: bool,
}

impl Permissions {
    pub(crate) const NONE: Self = Self { read: false, write: false, resize: false };
    /// Changing content and length.
    pub(crate) const CHANGES: Self = Self { read: false, write: true, resize: true };
    pub(crate) const RESIZE: Self = Self { read: false, write: false, resize: true };
    pub(crate) const ALL: Self = Self { read: true, write: true, resize: true };

    fn has(self, n: u8) -> bool {
        match n {
            READ => self.read,
            WRITE => self.write,
            _ => self.resize,
        }
    }

    fn each(self) -> impl Iterator<Item = u8> {
        ALL.into_iter().filter(move |n| self.has(*n))
    }

    const fn and(self, other: Self) -> Self {
        Self {
            read: self.read || other.read,
            write: self.write || other.write,
            resize: self.resize || other.resize,
        }
    }
}

/// What somebody does with a file, and what others may not do meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Claim {
    pub(crate) uses: Permissions,
    pub(crate) unshared: Permissions,
}

impl Claim {
    /// The bytes that stand for it.
    fn bytes(self) -> impl Iterator<Item = u8> {
        self.uses.each().map(|n| USED + n).chain(self.unshared.each().map(|n| UNSHARED + n))
    }

    /// Both at once.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self { uses: self.uses.and(other.uses), unshared: self.unshared.and(other.unshared) }
    }
}

/// What a commit does with its base, besides reading it. A file with metadata grows anyway; a raw one only if
/// the base becomes larger.
pub(crate) fn base_claim(format: &str, grows: bool) -> Claim {
    if has_metadata(format) {
        return Claim { uses: Permissions::ALL, unshared: Permissions::CHANGES };
    }
    Claim { uses: Permissions { read: true, write: true, resize: grows }, unshared: Permissions::RESIZE }
}

/// What a commit claims of the images between.
pub(crate) const UNREAD: Claim =
    Claim { uses: Permissions::NONE, unshared: Permissions { read: true, ..Permissions::NONE } };

/// The locks that one open file holds.
#[derive(Debug)]
pub(crate) struct Locks {
    held: Mutex<Claim>,
    locking: Locking,
}

impl Locks {
    /// None yet.
    pub(crate) fn new(locking: Locking) -> Self {
        Self { held: Mutex::default(), locking }
    }

    /// Claims more of `file`, called `name` in messages, than is claimed already.
    ///
    /// # Errors
    /// [`Error::Unresolved`] if somebody else's use of the file contradicts the claim: then nothing more is
    /// held than before.
    pub(crate) fn claim(&self, file: &impl AsFd, name: &str, claim: Claim) -> Result<()> {
        if self.locking == Locking::Off {
            return Ok(());
        }
        let mut held = self.held.lock();
        let had: Vec<u8> = held.bytes().collect();
        let result = try_lock(file, name, claim);
        match &result {
            Ok(()) => *held = held.and(claim),
            Err(_) => unlock(file, claim.bytes().filter(|byte| !had.contains(byte))),
        }
        match result {
            Err(Error::Io { source, .. }) if self.locking == Locking::Auto && !is_contended(&source) => {
                Ok(())
            }
            answered => answered,
        }
    }
}

/// Whether the file system has locks, and somebody holds one.
fn is_contended(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES))
}

fn try_lock(file: &impl AsFd, name: &str, claim: Claim) -> Result<()> {
    for byte in claim.bytes() {
        let asked = fcntl(file, FcntlArg::F_OFD_SETLK(&range(libc::F_RDLCK, byte)));
        asked.map_err(|error| Error::io("lock", u64::from(byte), error.into()))?;
    }
    for n in claim.uses.each() {
        if is_locked(file, UNSHARED + n)? {
            return Err(refused(name, &format!("Failed to get \"{}\" lock", permission(n))));
        }
    }
    for n in claim.unshared.each() {
        if is_locked(file, USED + n)? {
            return Err(refused(name, &format!("Failed to get shared \"{}\" lock", permission(n))));
        }
    }
    Ok(())
}

/// Gives up what a refused claim has locked; the refusal is reported, and what cannot be unlocked ends with
/// the file.
fn unlock(file: &impl AsFd, bytes: impl Iterator<Item = u8>) {
    for byte in bytes {
        let _ = fcntl(file, FcntlArg::F_OFD_SETLK(&range(libc::F_UNLCK, byte)));
    }
}

/// Whether somebody else has locked a byte.
fn is_locked(file: &impl AsFd, byte: u8) -> Result<bool> {
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
    use std::fs::File;
    use std::path::Path;

    use super::*;

    const READS: Permissions = Permissions { read: true, ..Permissions::NONE };
    const WRITES: Permissions = Permissions { read: true, write: true, resize: false };
    const WRITER: Claim = Claim { uses: Permissions::ALL, unshared: Permissions::CHANGES };
    const READER: Claim = Claim { uses: READS, unshared: Permissions::CHANGES };
    const SHARER: Claim = Claim { uses: READS, unshared: Permissions::NONE };
    const SHARED_WRITER: Claim = Claim { uses: WRITES, unshared: Permissions::NONE };

    fn open(path: &Path) -> File {
        File::options().read(true).write(true).open(path).unwrap()
    }

    fn lock(file: &File, claim: Claim, locking: Locking) -> Result<()> {
        Locks::new(locking).claim(file, "x", claim)
    }

    /// What the second of two gets to hear.
    fn second(first: Claim, second: Claim) -> Option<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (one, other) = (open(file.path()), open(file.path()));
        lock(&one, first, Locking::On).unwrap();
        let answered = lock(&other, second, Locking::On).err().map(|error| error.to_string());
        drop(one);
        lock(&open(file.path()), SHARER, Locking::Auto).unwrap();
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
        let between = Claim { uses: READS, unshared: Permissions::ALL };
        assert!(second(between, SHARER).unwrap().contains("\"consistent read\""));
    }

    #[test]
    fn without_locking_nobody_is_refused_and_locks_end_with_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let one = open(file.path());
        lock(&one, WRITER, Locking::Auto).unwrap();
        lock(&open(file.path()), WRITER, Locking::Off).unwrap();
        drop(one);
        lock(&open(file.path()), WRITER, Locking::Auto).unwrap();
    }

    #[test]
    fn a_refused_claim_leaves_what_was_held_before() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (one, other, third) = (open(file.path()), open(file.path()), open(file.path()));
        let (first, second) = (Locks::new(Locking::On), Locks::new(Locking::On));
        first.claim(&one, "x", READER).unwrap();
        second.claim(&other, "x", READER).unwrap();
        // Its own locks do not stand in its way; the other reader's do.
        assert!(first.claim(&one, "x", WRITER).is_err());
        lock(&third, READER, Locking::On).unwrap();
        drop((other, third));
        first.claim(&one, "x", WRITER).unwrap();
        assert!(lock(&open(file.path()), READER, Locking::On).is_err());
    }
}
