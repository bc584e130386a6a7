//! One request of a disk, and its reply: the only place where a request of a scenario becomes a call.

use std::fmt;

use blk_core::{CheckReport, Data, DirtyBitmap, Error, Extent, Op, Perform, Result, WriteFlags};
use blk_sim::progress;

use crate::model::fill;
use crate::scenario::Request;
use crate::verify::UNREAD;

/// Largest transfer of a request, bytes: longer ones are cut at its multiples.
const TRANSFER_BYTES: u64 = 4 << 20;
/// Of what a snapshot holds, so many bytes are looked at: generated disks that have snapshots are smaller.
pub(crate) const SNAPSHOT_BYTES_MAX: u64 = 16 << 20;
/// Pieces that a map asks for at most.
const PIECES_MAX: usize = 1 << 16;

/// What a disk has answered. The bytes of a read go to the [`Reader`].
#[derive(Debug)]
pub(crate) enum Reply {
    /// That it was done.
    Done,
    /// A block status: what is claimed to read as zeroes.
    Zeroes(Vec<Extent>),
    /// A check of the image.
    Checked(CheckReport),
    /// What the bitmap in a slot has.
    Bitmap(u8, Box<DirtyBitmap>),
}

/// Who looks at what is read, transfer by transfer.
pub(crate) trait Reader {
    /// This is about to be read. Returns whether bytes that the driver leaves out have to show.
    fn begin(&mut self, extent: Extent) -> bool;

    /// It was read.
    fn end(&mut self, extent: Extent, bytes: &[u8]);

    /// This part of a snapshot was read.
    fn snapshot(&mut self, slot: u8, extent: Extent, bytes: &[u8]);
}

/// Counts the bytes, which somebody else looks at.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    pub(crate) bytes_read: u64,
}

impl Reader for Counting {
    fn begin(&mut self, _extent: Extent) -> bool {
        false
    }

    fn end(&mut self, extent: Extent, _bytes: &[u8]) {
        self.bytes_read += extent.length;
    }

    fn snapshot(&mut self, _slot: u8, extent: Extent, _bytes: &[u8]) {
        self.bytes_read += extent.length;
    }
}

/// Makes requests, with one buffer for all of them.
#[derive(Default)]
pub(crate) struct Executor {
    data: Vec<u8>,
    /// Of a compressed unit, this many bytes have stamps at most, but in every eighth unit of the disk:
    /// compressing stamps takes more time than all else. `None` for what [`fill`] says.
    hurry_bytes: Option<usize>,
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the data of the last request: that is up to 4 MiB.
        f.debug_struct("Executor").field("buffer_bytes", &self.data.len()).finish_non_exhaustive()
    }
}

impl Executor {
    /// For very many requests: most of the data to be compressed is mostly zeroes.
    pub(crate) fn in_a_hurry() -> Self {
        Self { hurry_bytes: Some(2048), ..Self::default() }
    }

    /// Makes `request`, whose writes are stamped with `number`. Reopening is the caller's.
    ///
    /// # Panics
    /// If the request is a reopen.
    pub(crate) fn execute(
        &mut self,
        disk: &dyn Perform,
        number: u32,
        request: Request,
        fill_bytes: u64,
        reader: &mut dyn Reader,
    ) -> Result<Reply> {
        progress::at_request(number);
        let op = request.op().expect("a reopen is no request of one disk");
        match op {
            Op::Read { extent } => self.read(disk, extent, reader)?,
            Op::ReadSnapshot { slot, .. } => self.read_snapshot(disk, slot, reader)?,
            Op::Write { extent, flags } => self.write(disk, number, request, (extent, flags), fill_bytes)?,
            Op::BlockStatus { extent } => return zeroes(disk, extent).map(Reply::Zeroes),
            Op::ReadBitmap { slot } => {
                if let blk_core::Reply::Bitmap(bits) = disk.perform(op, Data::None)? {
                    return Ok(Reply::Bitmap(slot, bits));
                }
            }
            Op::Check { .. } if !disk.can_check() => {}
            Op::Check { .. } => {
                if let blk_core::Reply::Checked(report) = disk.perform(op, Data::None)? {
                    return Ok(Reply::Checked(*report));
                }
            }
            _ => drop(disk.perform(op, Data::None)?),
        }
        Ok(Reply::Done)
    }

    fn read(&mut self, disk: &dyn Perform, extent: Extent, reader: &mut dyn Reader) -> Result<()> {
        for part in transfers(on_disk(disk, extent)?) {
            debug_assert!(part.length <= TRANSFER_BYTES, "{part:?}");
            let buf = self.buffer(part.length);
            if reader.begin(part) {
                buf.fill(UNREAD);
            }
            disk.perform(Op::Read { extent: part }, Data::Read(buf))?;
            reader.end(part, buf);
        }
        Ok(())
    }

    /// Reads all that a snapshot holds, as far as that is looked at.
    fn read_snapshot(&mut self, disk: &dyn Perform, slot: u8, reader: &mut dyn Reader) -> Result<()> {
        let size = disk.slot_size(slot)?.min(SNAPSHOT_BYTES_MAX);
        if size == 0 {
            return disk
                .perform(Op::ReadSnapshot { slot, extent: Extent::default() }, Data::Read(&mut []))
                .map(drop);
        }
        for part in transfers(Extent::new(0, size)) {
            let buf = self.buffer(part.length);
            buf.fill(UNREAD);
            disk.perform(Op::ReadSnapshot { slot, extent: part }, Data::Read(buf))?;
            reader.snapshot(slot, part, buf);
        }
        Ok(())
    }

    fn write(
        &mut self,
        disk: &dyn Perform,
        number: u32,
        request: Request,
        (extent, flags): (Extent, WriteFlags),
        fill_bytes: u64,
    ) -> Result<()> {
        let hurry_bytes = self.hurry_bytes.filter(|_| flags.compressed);
        for part in transfers(on_disk(disk, extent)?) {
            let buf = self.buffer(part.length);
            fill(buf, part.offset, number, request, fill_bytes);
            if let Some(hurry_bytes) = hurry_bytes {
                blank_most(buf, part.offset, fill_bytes, hurry_bytes);
            }
            disk.perform(Op::Write { extent: part, flags }, Data::Write(buf))?;
        }
        Ok(())
    }

    fn buffer(&mut self, length: u64) -> &mut [u8] {
        let length = length as usize;
        self.data.resize(length.max(self.data.len()), 0);
        &mut self.data[..length]
    }
}

fn blank_most(buf: &mut [u8], offset: u64, unit_bytes: u64, kept_bytes: usize) {
    for (index, unit) in (offset / unit_bytes..).zip(buf.chunks_mut(unit_bytes as usize)) {
        if !index.is_multiple_of(8) {
            let kept = kept_bytes.min(unit.len());
            unit[kept..].fill(0);
        }
    }
}

/// The range, if it lies on the disk: nothing is allocated for one that does not.
fn on_disk(disk: &dyn Perform, extent: Extent) -> Result<Extent> {
    let Extent { offset, length } = extent;
    let size = disk.size();
    let is_there = extent.checked_end().is_some_and(|end| end <= size);
    if is_there { Ok(extent) } else { Err(Error::OutOfRange { offset, length, size }) }
}

/// Cuts a range into transfers. They meet where sectors do: a request whose second transfer fails leaves no
/// sector half written.
fn transfers(extent: Extent) -> impl Iterator<Item = Extent> {
    extent.parts(TRANSFER_BYTES)
}

/// Asks for the status of a range, piece by piece, as a map does. Returns what is claimed to read as zeroes.
fn zeroes(disk: &dyn Perform, extent: Extent) -> Result<Vec<Extent>> {
    let mut zeroes = Vec::new();
    let mut rest = extent;
    for _ in 0..PIECES_MAX {
        let replied = disk.perform(Op::BlockStatus { extent: rest }, Data::None)?;
        let blk_core::Reply::Status(status) = replied else { unreachable!("a status is answered with one") };
        let piece = Extent::new(rest.offset, status.length);
        if status.zero {
            zeroes.push(piece);
        }
        if piece.end() >= rest.end() {
            break;
        }
        rest = Extent::between(piece.end(), rest.end());
    }
    Ok(zeroes)
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
            let parts: Vec<_> =
                transfers(Extent::between(offset, end)).map(|part| (part.offset, part.end())).collect();
            assert_eq!(parts, expected, "{offset}..{end}");
        }
    }

    #[test]
    fn what_nobody_looks_at_is_counted() {
        let mut counting = Counting::default();
        for part in [Extent::new(0, 512), Extent::new(4096, 100)] {
            assert!(!counting.begin(part), "no byte has to show");
            counting.end(part, &vec![0; part.length as usize]);
        }
        assert_eq!(counting.bytes_read, 612);
    }

    /// Takes any write, and keeps its bytes.
    #[derive(Default)]
    struct Taker(blk_core::sync::Mutex<Vec<u8>>);

    impl Perform for Taker {
        fn size(&self) -> u64 {
            1 << 20
        }

        fn can_check(&self) -> bool {
            false
        }

        fn perform(&self, _op: Op, data: Data<'_>) -> Result<blk_core::Reply> {
            if let Data::Write(bytes) = data {
                *self.0.lock() = bytes.to_vec();
            }
            Ok(blk_core::Reply::Done)
        }
    }

    /// How many bytes from the start of each unit of 8 KiB of a write are data, to its last one.
    fn data_bytes(executor: &mut Executor, request: Request) -> Vec<usize> {
        const UNIT: u64 = 8 << 10;
        let taker = Taker::default();
        executor.execute(&taker, 1, request, UNIT, &mut Counting::default()).unwrap();
        let bytes = taker.0.lock();
        let units = bytes.chunks(UNIT as usize);
        units.map(|unit| unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)).collect()
    }

    #[test]
    fn in_a_hurry_most_of_what_is_compressed_is_zeroes() {
        use crate::scenario::Fill::Byte;
        let (offset, length) = (7 << 13, 3 << 13);
        let compressed = Request::WriteCompressed { offset, length, fill: Byte(9) };
        let plain = Request::Write { offset, length, fill: Byte(9), fua: false };
        // The unit at 8 times its size is one in eight that stays whole.
        assert_eq!(data_bytes(&mut Executor::in_a_hurry(), compressed), [2048, 8192, 2048]);
        assert_eq!(data_bytes(&mut Executor::in_a_hurry(), plain), [8192; 3]);
        assert_eq!(data_bytes(&mut Executor::default(), compressed), [8192; 3]);
    }
}
