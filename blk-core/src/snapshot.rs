//! Snapshots inside an image: what the disk held at a moment, kept by the image itself.

use crate::{Error, Result};

/// A snapshot that lies inside an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Unique in the image; mostly a number.
    pub id: String,
    /// The name that its maker gave it. Several snapshots may have the same.
    pub name: String,
    /// Size of the disk that it holds, in bytes; `None` where the image does not say, which means the size
    /// that the disk has now.
    pub disk_bytes: Option<u64>,
    /// Bytes of the machine state that is stored with it; 0 where there is none.
    pub vm_state_bytes: u64,
    /// When it was made, in seconds since 1970.
    pub date_seconds: u32,
    /// The rest of that time.
    pub date_nanoseconds: u32,
    /// How long the machine had been running.
    pub vm_clock_nanoseconds: u64,
    /// Instructions that the machine had run, where they were counted.
    pub instruction_count: Option<u64>,
}

impl SnapshotInfo {
    /// The snapshot of `snapshots` that `word` means: the one with this ID, or else the first of this name.
    ///
    /// # Errors
    /// [`Error::Unresolved`] where there is none.
    pub fn find<'a>(snapshots: &'a [Self], word: &str) -> Result<&'a Self> {
        let by_id = snapshots.iter().find(|snapshot| snapshot.id == word);
        by_id.or_else(|| snapshots.iter().find(|snapshot| snapshot.name == word)).ok_or_else(|| {
            let reason = "no snapshot of the image has this ID or name".to_owned();
            Error::Unresolved { name: word.to_owned(), reason }
        })
    }
}

/// What a new snapshot is given by its maker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewSnapshot {
    /// Its name; it may be that of another snapshot, and empty.
    pub name: String,
    /// When it is made, in seconds since 1970.
    pub date_seconds: u32,
    /// The rest of that time.
    pub date_nanoseconds: u32,
    /// How long the machine has been running.
    pub vm_clock_nanoseconds: u64,
    /// Bytes of the machine state that was written behind the disk, and goes with the snapshot.
    pub vm_state_bytes: u64,
    /// Instructions that the machine has run, where they were counted.
    pub instruction_count: Option<u64>,
}

/// Keeping snapshots inside the image.
///
/// A change that has succeeded is on stable storage, and with it everything that was written before. A crash
/// in the middle leaves the snapshots, the disk and its size as they were, or as they were to become. Other
/// requests wait meanwhile.
pub trait Snapshots {
    /// The snapshots of the image, oldest first.
    fn snapshots(&self) -> Result<Vec<SnapshotInfo>>;

    /// Keeps what the disk shows now, and its size. Returns the ID of the snapshot.
    ///
    /// # Errors
    /// [`Error::NoSpace`] where the host, or the format, has no room for it; nothing has changed then.
    fn create_snapshot(&self, new: &NewSnapshot) -> Result<String>;

    /// Makes the disk what it was when the snapshot of this ID was made, size and all. The snapshot stays.
    ///
    /// # Errors
    /// [`Error::Unresolved`] where there is none; [`Error::NoSpace`] as for a creation.
    fn apply_snapshot(&self, id: &str) -> Result<()>;

    /// Deletes the snapshot of this ID; space that only it had used is free.
    ///
    /// # Errors
    /// [`Error::Unresolved`] where there is none.
    fn delete_snapshot(&self, id: &str) -> Result<()>;

    /// Fills `buf` with what the snapshot of this ID holds from `offset` on.
    ///
    /// # Errors
    /// [`Error::Unresolved`] where there is none; [`Error::OutOfRange`] past the end of the disk that it
    /// holds.
    fn read_snapshot(&self, id: &str, offset: u64, buf: &mut [u8]) -> Result<()>;
}

/// The state of a virtual machine, which an image keeps behind its disk, and which goes with the snapshots
/// that are made.
///
/// It has no size: bytes that were never written are zeroes. A change of the disk's size may lose it, and a
/// snapshot that is applied brings back the one that was there when it was made. What is written is on stable
/// storage after a flush of the disk.
pub trait VmState {
    /// Fills `buf` with the state from `offset` on, bytes from its beginning.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where no image could have a state that long.
    fn read_vm_state(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// Writes `buf` at `offset` of the state.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] or [`Error::NoSpace`] where the image can have no state that long; nothing has
    /// changed then.
    fn write_vm_state(&self, offset: u64, buf: &[u8]) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_goes_before_a_name() {
        let snapshot = |id: &str, name: &str| SnapshotInfo {
            id: id.to_owned(),
            name: name.to_owned(),
            disk_bytes: None,
            vm_state_bytes: 0,
            date_seconds: 0,
            date_nanoseconds: 0,
            vm_clock_nanoseconds: 0,
            instruction_count: None,
        };
        let all = [snapshot("1", "3"), snapshot("2", "a"), snapshot("3", "a"), snapshot("4", "")];
        let found = |word: &str| SnapshotInfo::find(&all, word).map(|found| found.id.clone());
        assert_eq!(found("3").unwrap(), "3");
        assert_eq!(found("a").unwrap(), "2");
        assert_eq!(found("").unwrap(), "4");
        let error = found("b").unwrap_err().to_string();
        assert!(error.contains('b') && error.contains("no snapshot"), "{error}");
    }
}
