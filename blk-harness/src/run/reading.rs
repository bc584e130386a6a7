//! Reading parts of a disk, piece by piece, to have them judged.

use blk_core::{Disk, Extent};

use super::PIECE_BYTES;
use crate::promise::{Kept, Violation};
use crate::report::SECTOR_BYTES;

/// Why reading ended.
pub(crate) enum Trouble {
    Unread(blk_core::Error),
    Broken(Box<Violation>),
}

/// Reads these parts of a disk in pieces, as whole units of what it takes, and has each judged.
pub(crate) fn read_parts(
    disk: &Disk,
    parts: &[Extent],
    buf: &mut Vec<u8>,
    judge: &mut dyn FnMut(u64, &[u8]) -> Kept,
) -> Result<(), Trouble> {
    let alignment = disk.limits().request_alignment.max(SECTOR_BYTES);
    // What the disk has after its last whole unit no request can reach, unless it takes any.
    let size = if disk.limits().request_alignment > SECTOR_BYTES {
        disk.size() & !(alignment - 1)
    } else {
        disk.size()
    };
    let length = PIECE_BYTES.max(alignment).min(size.next_multiple_of(alignment)) as usize;
    if buf.len() < length {
        buf.resize(length, 0);
    }
    for part in parts {
        let end = part.end().next_multiple_of(alignment).min(size);
        let mut at = (part.offset & !(alignment - 1)).min(end);
        while at < end {
            let piece = &mut buf[..(end - at).min(PIECE_BYTES.max(alignment)) as usize];
            piece.fill(crate::verify::UNREAD);
            disk.read(at, piece).map_err(Trouble::Unread)?;
            judge(at, piece).map_err(Trouble::Broken)?;
            at += piece.len() as u64;
        }
    }
    Ok(())
}
