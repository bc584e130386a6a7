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
    let unit = disk.limits().request_alignment;
    let alignment = unit.max(SECTOR_BYTES);
    // What the disk has after its last whole unit no request can reach.
    let size = disk.size() & !(unit - 1);
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

#[cfg(test)]
mod tests {
    use super::*;
    use blk_core::{Access, BlockDriver, BlockStatus, Error, Limits, Result, WriteFlags};

    /// A disk that takes whole units alone, and shows which unit of 256 bytes each byte is of.
    #[derive(Debug)]
    struct Coarse {
        size: u64,
        unit: u64,
    }

    impl BlockDriver for Coarse {
        fn size(&self) -> u64 {
            self.size
        }

        fn limits(&self) -> Limits {
            let (zero_granularity, discard_granularity) = (self.unit, self.unit);
            let limits = Limits { zero_granularity, discard_granularity, ..Limits::default() };
            Limits { request_alignment: self.unit, preferred_bytes: self.unit.max(4096), ..limits }
        }

        fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
            for (at, byte) in (offset..).zip(buf) {
                *byte = (at / 256) as u8;
            }
            Ok(())
        }

        fn write(&self, _offset: u64, _buf: &[u8], _flags: WriteFlags) -> Result<()> {
            Err(Error::unsupported("writing"))
        }

        fn flush(&self) -> Result<()> {
            Ok(())
        }

        fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
            let length = extent.length;
            Ok(BlockStatus { length, allocated: true, zero: false, compressed: false, host_offset: None })
        }
    }

    /// What is read of these parts: where, and how much, each byte being what the disk shows there.
    fn read(size: u64, unit: u64, parts: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let disk = Disk::new(Coarse { size, unit }, Access::ReadOnly);
        let parts: Vec<Extent> = parts.iter().map(|(start, end)| Extent::between(*start, *end)).collect();
        let mut read = Vec::new();
        let read_all = read_parts(&disk, &parts, &mut Vec::new(), &mut |at, found| {
            assert!((at..).zip(found).all(|(at, byte)| *byte == (at / 256) as u8), "{at}");
            read.push((at, at + found.len() as u64));
            Ok(())
        });
        assert!(read_all.is_ok(), "a disk of {size} bytes in units of {unit}");
        read
    }

    #[test]
    fn parts_are_read_in_whole_sectors_and_units_as_far_as_requests_reach() {
        assert_eq!(read(10_000, 1, &[(0, 10_000)]), [(0, 10_000)]);
        assert_eq!(read(10_000, 1, &[(600, 700), (9_990, 20_000)]), [(512, 1024), (9_728, 10_000)]);
        assert_eq!(read(10_000, 512, &[(0, 10_000)]), [(0, 9_728)]);
        assert_eq!(read(10_000, 4096, &[(0, 10_000)]), [(0, 8192)]);
        assert_eq!(read(10_000, 4096, &[(5000, 5001), (9000, 9001)]), [(4096, 8192)]);
        assert_eq!(read(0, 1, &[(0, 100)]), []);
    }

    #[test]
    fn long_parts_are_read_in_pieces() {
        let size = 3 * PIECE_BYTES + 1000;
        let pieces = read(size, 1, &[(0, size)]);
        assert_eq!(pieces.len(), 4);
        assert!(pieces.windows(2).all(|pair| pair[0].1 == pair[1].0), "{pieces:?}");
        assert_eq!(pieces.last(), Some(&(3 * PIECE_BYTES, size)));
    }
}
