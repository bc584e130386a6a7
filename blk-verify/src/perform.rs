//! Making one request of a disk, as a scenario means it.

use std::fmt;

use blk_core::{DiscardFlags, Disk, Error, Extent, Result, WriteFlags, ZeroFlags};

use crate::progress;
use crate::scenario::{Fill, Request};
use crate::stamp;

/// Largest transfer of a request, bytes: longer ones are cut at its multiples.
const TRANSFER_BYTES: u64 = 4 << 20;

/// Makes requests, with one buffer for all of them.
#[derive(Default)]
pub(crate) struct Performer {
    data: Vec<u8>,
    bytes_read: u64,
    /// Of a compressed cluster, this many bytes have stamps at most, but in every eighth cluster of the disk: compressing
    /// stamps takes more time than all else. `None` for what [`fill`] says.
    hurry_bytes: Option<usize>,
}

impl fmt::Debug for Performer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the data of the last request: that is up to 4 MiB.
        f.debug_struct("Performer").field("bytes_read", &self.bytes_read).finish_non_exhaustive()
    }
}

impl Performer {
    /// For very many requests: most of the data to be compressed is mostly zeroes.
    pub(crate) fn in_a_hurry() -> Self {
        Self { hurry_bytes: Some(2048), ..Self::default() }
    }

    /// Makes `request`, whose writes are stamped with `number`. Reopening and checking are the caller's.
    ///
    /// # Panics
    /// If the request is a reopen or a check.
    pub(crate) fn perform(
        &mut self,
        disk: &Disk,
        number: u32,
        request: Request,
        fill_bytes: u64,
    ) -> Result<()> {
        progress::step();
        match request {
            Request::Read { offset, length } => self.read(disk, offset, length),
            Request::Write { .. } | Request::WriteCompressed { .. } => {
                self.write(disk, number, request, fill_bytes)
            }
            Request::WriteZeroes { offset, length, unmap, no_fallback, fua } => {
                let flags = ZeroFlags { fua, may_unmap: unmap, no_fallback, fast_only: false };
                disk.write_zeroes(Extent::new(offset, length), flags)
            }
            Request::Discard { offset, length } => {
                disk.discard(Extent::new(offset, length), DiscardFlags::default())
            }
            Request::Flush => disk.flush(),
            Request::Status { offset, length } => map(disk, Extent::new(offset, length)),
            Request::Resize { size } => disk.resize(size),
            Request::Reopen { .. } | Request::Check { .. } => unreachable!("made elsewhere"),
        }
    }

    /// Bytes read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    fn read(&mut self, disk: &Disk, offset: u64, length: u64) -> Result<()> {
        for part in transfers(disk, offset, length)? {
            disk.read(part.offset, self.buffer(part.length))?;
            self.bytes_read += part.length;
        }
        Ok(())
    }

    fn write(&mut self, disk: &Disk, number: u32, request: Request, fill_bytes: u64) -> Result<()> {
        let (offset, length) = request.range().expect("a write has a range");
        let (fua, compressed) = match request {
            Request::Write { fua, .. } => (fua, false),
            _ => (false, true),
        };
        let hurry_bytes = self.hurry_bytes.filter(|_| compressed);
        for part in transfers(disk, offset, length)? {
            let buf = self.buffer(part.length);
            fill(buf, part.offset, number, request, fill_bytes);
            for (index, cluster) in (part.offset / fill_bytes..).zip(buf.chunks_mut(fill_bytes as usize)) {
                let kept = hurry_bytes
                    .filter(|_| !index.is_multiple_of(8))
                    .map_or(cluster.len(), |kept| kept.min(cluster.len()));
                cluster[kept..].fill(0);
            }
            disk.write(part.offset, buf, WriteFlags { fua, compressed })?;
        }
        Ok(())
    }

    fn buffer(&mut self, length: u64) -> &mut [u8] {
        let length = length as usize;
        if self.data.len() < length {
            self.data.resize(length, 0);
        }
        &mut self.data[..length]
    }
}

/// Fills `buf` with what a write or compressed write of stamp number `number` puts at `address`, bytes.
pub(crate) fn fill(buf: &mut [u8], address: u64, number: u32, request: Request, fill_bytes: u64) {
    let (Request::Write { fill, .. } | Request::WriteCompressed { fill, .. }) = request else {
        unreachable!("only writes have data");
    };
    match fill {
        Fill::Byte(byte) => buf.fill(byte),
        Fill::Stamp => stamp::fill(buf, address, number),
    }
    if matches!(request, Request::WriteCompressed { .. }) && fill == Fill::Stamp {
        keep_first_quarters(buf, fill_bytes as usize);
    }
}

/// Cuts a range into transfers, once it is known to lie on the disk: nothing is allocated for one that does not.
fn transfers(disk: &Disk, offset: u64, length: u64) -> Result<impl Iterator<Item = Extent> + use<>> {
    let size = disk.size();
    let end = offset.checked_add(length).filter(|end| *end <= size);
    let end = end.ok_or(Error::OutOfRange { offset, length, size })?;
    Ok(cut(offset, end))
}

/// Parts that meet where sectors do: a request whose second transfer fails leaves no sector half written.
fn cut(offset: u64, end: u64) -> impl Iterator<Item = Extent> {
    let meeting = |at: u64| (at / TRANSFER_BYTES + 1) * TRANSFER_BYTES;
    let first = Some(offset).filter(|offset| *offset < end);
    let starts = std::iter::successors(first, move |at| Some(meeting(*at)).filter(|next| *next < end));
    starts.map(move |at| Extent::between(at, end.min(meeting(at))))
}

/// Asks for the status of a range, piece by piece, as a map does.
fn map(disk: &Disk, extent: Extent) -> Result<()> {
    const PIECES_MAX: usize = 1 << 16;
    let mut rest = extent;
    for _ in 0..PIECES_MAX {
        let status = disk.block_status(rest)?;
        if status.length >= rest.length {
            break;
        }
        rest = Extent::between(rest.offset + status.length, rest.end());
    }
    Ok(())
}

/// Makes stamped data compressible: of each cluster only the first quarter keeps its stamps.
fn keep_first_quarters(buf: &mut [u8], fill_bytes: usize) {
    for cluster in buf.chunks_mut(fill_bytes) {
        let kept = cluster.len().div_ceil(4);
        cluster[kept..].fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfers_meet_at_multiples_of_4_mib() {
        const MIB: u64 = 1 << 20;
        for (offset, end, expected) in [
            (5, 5, &[][..]),
            (0, 1, &[(0, 1)]),
            (100, 4 * MIB, &[(100, 4 * MIB)]),
            (0, 4 * MIB + 1, &[(0, 4 * MIB), (4 * MIB, 4 * MIB + 1)]),
            (100, 9 * MIB, &[(100, 4 * MIB), (4 * MIB, 8 * MIB), (8 * MIB, 9 * MIB)]),
        ] {
            let parts: Vec<_> = cut(offset, end).map(|part| (part.offset, part.end())).collect();
            assert_eq!(parts, expected, "{offset}..{end}");
        }
    }
}
