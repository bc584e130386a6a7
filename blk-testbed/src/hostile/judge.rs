//! What a hostile image must not do: make anything panic, hang or allocate without bound; and what a repair
//! owes.

use std::sync::Arc;

use blk_core::{
    Access, DiscardFlags, Disk, Error, Extent, MemoryStorage, RepairMode, Result, Storage, WriteFlags,
    ZeroFlags,
};
use serde::{Deserialize, Serialize};

use super::bytes::number;
use super::metadata::Metadata;
use super::templates::{open, open_with};

/// Of a large disk only this many bytes are read, at its start and at its end.
const READ_BYTES_MAX: u64 = 512 << 10;
const PIECE_BYTES: u64 = 64 << 10;
/// Pieces of block status that are asked for.
const STATUS_MAX: usize = 256;
const MAGIC: &[u8] = b"QFI\xfb";
/// The bit of the incompatible features that says that the image is corrupt.
const CORRUPT: u64 = 1 << 1;

/// How far images got.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageStats {
    /// Images judged.
    pub images: u64,
    /// Images with the right magic.
    pub with_magic: u64,
    /// Images that opened read-only.
    pub opened_read_only: u64,
    /// Images that opened read-write.
    pub opened_read_write: u64,
    /// Images whose check ran to its end.
    pub checked: u64,
    /// Images whose check found corruptions.
    pub corrupt: u64,
    /// Images that were repaired entirely.
    pub repaired: u64,
    /// Bytes of guest data read.
    pub bytes_read: u64,
}

/// Judges an image. `Ok(false)` if it is not worth keeping: it failed at the magic.
///
/// # Errors
/// A report, if the driver breaks a promise.
pub fn judge(image: &[u8], stats: &mut ImageStats) -> std::result::Result<bool, String> {
    stats.images += 1;
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(image));
    let with_magic = image.starts_with(MAGIC);
    stats.with_magic += u64::from(with_magic);
    if let Ok(disk) = open(storage, Access::ReadOnly) {
        stats.opened_read_only += 1;
        read_all(&disk, stats);
        if let Ok(checked) = disk.check(RepairMode::None) {
            stats.checked += 1;
            stats.corrupt += u64::from(checked.corruptions > 0);
        }
        drop(disk);
        same_image(image)?;
    }
    write_some(image, "cached", stats)?;
    let has_snapshots = number(image, 60, 4) > 0;
    if has_snapshots {
        write_some(image, "all", stats)?;
    }
    repair(image, stats)?;
    Ok(with_magic)
}

/// Reading changes nothing.
fn same_image(image: &[u8]) -> std::result::Result<(), String> {
    let memory = Arc::new(MemoryStorage::from_bytes(image));
    let storage: Arc<dyn Storage> = Arc::clone(&memory) as _;
    if let Ok(disk) = open(storage, Access::ReadOnly) {
        let _ = disk.read(0, &mut vec![0; disk.size().min(4096) as usize]);
        let _ = disk.check(RepairMode::None);
    }
    let after = memory
        .to_bytes(image.len() as u64)
        .map_err(|error| format!("a read-only open grew the image: {error}"))?;
    if after == image { Ok(()) } else { Err("a read-only open changed the image".to_owned()) }
}

fn read_all(disk: &Disk, stats: &mut ImageStats) {
    let size = disk.size();
    let mut buf = vec![0; PIECE_BYTES as usize];
    let tail = size.saturating_sub(READ_BYTES_MAX).max(READ_BYTES_MAX.min(size));
    for (start, end) in [(0, size.min(READ_BYTES_MAX)), (tail, size)] {
        let mut at = start;
        while at < end {
            let part = &mut buf[..(end - at).min(PIECE_BYTES) as usize];
            if disk.read(at, part).is_ok() {
                stats.bytes_read += part.len() as u64;
            }
            at += part.len() as u64;
        }
    }
    let mut rest = Extent::new(0, size);
    for _ in 0..STATUS_MAX {
        if rest.is_empty() {
            break;
        }
        let Ok(run) = disk.block_status(rest) else { break };
        rest = Extent::between(rest.offset + run.length, rest.end());
    }
}

/// A request that is made of a disk.
type RequestOf<'a> = dyn Fn(&Disk) -> Result<()> + 'a;

/// Every kind of change, at the start, in the middle and at the end; each may fail. Metadata that they have
/// nothing to do with stays as it was.
pub(super) fn write_some(
    image: &[u8],
    overlap_check: &str,
    stats: &mut ImageStats,
) -> std::result::Result<(), String> {
    let start = || {
        let memory = Arc::new(MemoryStorage::from_bytes(image));
        let disk = open_with(Arc::clone(&memory) as _, Access::ReadWrite, overlap_check);
        disk.ok().map(|disk| (memory, disk))
    };
    let Some((mut memory, mut disk)) = start() else { return Ok(()) };
    stats.opened_read_write += 1;
    // An open repairs an image that is marked as dirty: it counts as it is then.
    let bytes = |memory: &MemoryStorage| {
        let mut bytes = vec![0; image.len()];
        memory.read_at(0, &mut bytes).map_or_else(|_| image.to_vec(), |()| bytes)
    };
    let mut metadata = Metadata::of(bytes(&memory), overlap_check == "all");
    let cluster = metadata.cluster_bytes();
    let size = disk.size();
    for at in [0, size / 2, size.saturating_sub(700)] {
        let few = Extent::new(at, (size - at).min(700));
        let whole = Extent::between(at / cluster * cluster, size.min((at / cluster + 2) * cluster));
        metadata.name(few);
        metadata.name(whole);
        let unmapping = ZeroFlags { may_unmap: true, ..ZeroFlags::default() };
        let requests: [&RequestOf<'_>; 8] = [
            &|disk| disk.write(at, &vec![0xab; few.length as usize], WriteFlags::default()),
            &|disk| disk.discard(few, DiscardFlags::default()),
            &|disk| disk.write_zeroes(few, unmapping),
            &Disk::flush,
            &|disk| disk.write_zeroes(whole, ZeroFlags::default()),
            &|disk| disk.write(whole.offset, &vec![0xcd; whole.length as usize], WriteFlags::default()),
            &|disk| disk.discard(whole, DiscardFlags::default()),
            &Disk::flush,
        ];
        for request in requests {
            let Err(error) = request(&disk) else { continue };
            if is_marked(&disk, &error, &bytes(&memory))? {
                metadata.judge(&bytes(&memory))?;
                // The others are tried too, on the image as it was.
                let Some(again) = start() else { return Ok(()) };
                (memory, disk) = again;
            }
        }
        metadata.judge(&bytes(&memory))?;
    }
    read_all(&disk, stats);
    let _ = disk.check(RepairMode::None);
    let _ = disk.close();
    metadata.judge(&bytes(&memory))
}

/// Whether a request has met corrupt metadata, and the image has the mark that it has to have then.
fn is_marked(disk: &Disk, error: &Error, image: &[u8]) -> std::result::Result<bool, String> {
    if !matches!(error, Error::Corrupt { structure, .. } if *structure != "compressed cluster") {
        return Ok(false);
    }
    let refused = disk.write(0, &[], WriteFlags::default()).and_then(|()| disk.flush());
    if !matches!(refused, Err(Error::Poisoned { .. })) {
        return Err(format!("after '{error}' the image can still be written: {refused:?}"));
    }
    if number(image, 4, 4) < 3 {
        return Ok(false);
    }
    if number(image, 72, 8) & CORRUPT == 0 {
        return Err(format!("after '{error}' the image is not marked as corrupt"));
    }
    Ok(true)
}

/// A repair that says it has repaired all leaves an image whose check is clean, and that reads.
fn repair(image: &[u8], stats: &mut ImageStats) -> std::result::Result<(), String> {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(image));
    let Ok(disk) = open(Arc::clone(&storage), Access::ReadWrite) else { return Ok(()) };
    let Ok(first) = disk.check(RepairMode::All) else { return Ok(()) };
    if !first.is_repaired() {
        return Ok(());
    }
    stats.repaired += 1;
    let second =
        disk.check(RepairMode::None).map_err(|error| format!("after a repair, the check failed: {error}"))?;
    if !second.is_clean() {
        return Err(format!("a repair left something to repair\nfirst:\n{first}\nsecond:\n{second}"));
    }
    disk.close().map_err(|error| format!("after a repair, closing failed: {error}"))?;
    drop(disk);
    let reopened = open(storage, Access::ReadWrite)
        .map_err(|error| format!("after a repair, opening failed: {error}"))?;
    read_all(&reopened, stats);
    Ok(())
}
