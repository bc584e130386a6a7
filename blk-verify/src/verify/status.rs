//! Holding a block status against the content, and telling it in whole units of the request alignment.

use blk_core::bytes::{first_difference, is_zero};
use blk_core::{BlockStatus, Disk, Error, Extent, Op, Result};

use super::{ALIGNMENT_BYTES_MAX, Verify};
use crate::report::{self, Signature};

/// What a status says that the content contradicts.
struct Lie {
    claim: &'static str,
    claimed: Extent,
    /// Disk address of the first byte that gives it the lie.
    at: u64,
}

impl Verify {
    /// Checks what the disk under test, asked about `asked`, says in `status`; returns what may be passed on.
    pub(super) fn judge_status(
        &self,
        number: u32,
        request: Op,
        asked: Extent,
        status: BlockStatus,
    ) -> Result<BlockStatus> {
        let (told, lie) = self.in_whole_units(asked, status);
        let Some(Lie { claim, claimed, at }) = lie else { return Ok(told) };
        let what =
            format!("claims {claim} bytes at {claimed:?} where the content differs from that at offset {at}");
        let noted = self.noted(number, request);
        self.mismatch(report::request_finding(number, noted, Signature::Status { claim }, &what))?;
        Ok(unknown(told.length))
    }

    /// Whoever asks goes on behind the bytes that a status is about, and may ask for whole units only. So a
    /// status is cut to whole units, and a unit in which the disk under test tells parts apart is told as
    /// one.
    fn in_whole_units(&self, asked: Extent, status: BlockStatus) -> (BlockStatus, Option<Lie>) {
        let unit = self.alignment;
        let lie = self.lie(Extent::new(asked.offset, status.length), status);
        if status.length.is_multiple_of(unit) || lie.is_some() {
            let length = status.length.next_multiple_of(unit).min(asked.length);
            return (BlockStatus { length, ..status }, lie);
        }
        let length = status.length & !(unit - 1);
        if length > 0 {
            return (BlockStatus { length, ..status }, None);
        }
        let mut whole = BlockStatus { host_offset: None, compressed: false, ..status };
        while whole.length < unit {
            let rest = Extent::new(asked.offset + whole.length, unit - whole.length);
            let Ok(next) = self.test.block_status(rest) else { return (unknown(unit), None) };
            if let Some(lie) = self.lie(Extent::new(rest.offset, next.length), next) {
                return (unknown(unit), Some(lie));
            }
            whole.allocated |= next.allocated;
            whole.zero &= next.zero;
            whole.length += next.length;
        }
        (whole, None)
    }

    /// Holds a status against the content of the reference, as far as that can be read.
    fn lie(&self, claimed: Extent, status: BlockStatus) -> Option<Lie> {
        if status.allocated && !status.zero {
            return None;
        }
        let mut buffers = self.buffers();
        let [content, below] = buffers.get();
        let end = claimed.end().next_multiple_of(self.alignment);
        let mut at = claimed.offset & !(self.alignment - 1);
        while at < end {
            let piece = Extent::new(at, (end - at).min(self.chunk_bytes as u64));
            at = piece.end();
            let content = &mut content[..piece.length as usize];
            // What cannot be read contradicts nothing.
            if self.reference.read(piece.offset, content).is_err() {
                continue;
            }
            let part = piece.intersection(claimed);
            let content = &content[(part.offset - piece.offset) as usize..][..part.length as usize];
            if status.zero && !is_zero(content) {
                let at = part.offset + content.iter().take_while(|byte| **byte == 0).count() as u64;
                return Some(Lie { claim: "zero", claimed, at });
            }
            let below = &mut below[..content.len()];
            if !status.allocated && read_below(&self.test, part.offset, below).is_ok() && *content != *below {
                let same = first_difference(content, below).unwrap_or(0) as u64;
                return Some(Lie { claim: "unallocated", claimed, at: part.offset + same });
            }
        }
        None
    }
}

/// A status that claims nothing.
pub(super) fn unknown(length: u64) -> BlockStatus {
    BlockStatus { length, allocated: true, zero: false, compressed: false, host_offset: None }
}

/// What shows through an unallocated range: the backing file, and zeroes past its end. Whole units of its
/// alignment are read; those that are cut by its end, nobody can read.
fn read_below(disk: &Disk, at: u64, buf: &mut [u8]) -> Result<()> {
    buf.fill(0);
    let Some(below) = disk.backing() else { return Ok(()) };
    let inside = below.size().saturating_sub(at).min(buf.len() as u64);
    let alignment = below.limits().request_alignment;
    if inside == 0 {
        return Ok(());
    }
    let buf = &mut buf[..inside as usize];
    let start = at & !(alignment - 1);
    let length = (at + inside).next_multiple_of(alignment) - start;
    if length == inside {
        return below.read(at, buf);
    }
    if alignment > ALIGNMENT_BYTES_MAX {
        return Err(Error::unsupported("reading from a disk with a request alignment above 16 MiB"));
    }
    let mut wide = vec![0; length as usize];
    below.read(start, &mut wide)?;
    buf.copy_from_slice(&wide[(at - start) as usize..][..buf.len()]);
    Ok(())
}
