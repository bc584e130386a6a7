//! A disk under test beside what it should hold. Each request is made on both, and compared.

use std::sync::Arc;

use super::{Maker, USUAL_BYTES, pattern};
use crate::{
    Access, DiscardFlags, Disk, Error, Extent, Preallocation, RepairMode, WriteFlags, ZeroFlags, bytes,
};

/// What lies before and behind a request and is compared after it, in bytes.
const AROUND_BYTES: u64 = 1100;

/// A disk of moderate size and its content.
pub(super) struct Subject<'m, M: Maker> {
    maker: &'m M,
    medium: M::Medium,
    disk: Option<Arc<Disk>>,
    /// What the disk should hold.
    pub(super) model: Vec<u8>,
}

impl<'m, M: Maker> Subject<'m, M> {
    /// A fresh disk, open for writing; `None` if the format has no disks of that size.
    pub(super) fn fresh(maker: &'m M, size: u64) -> Option<Self> {
        let (medium, disk) = open_fresh(maker, size)?;
        Some(Self { maker, medium, disk: Some(Arc::new(disk)), model: vec![0; size as usize] })
    }

    /// A fresh disk of a size that is no multiple of a cluster if the format has such disks.
    pub(super) fn usual(maker: &'m M) -> Self {
        Self::odd_sized(maker, USUAL_BYTES - 512)
    }

    /// A fresh disk of a little more than `size` bytes, a multiple of 1 MiB.
    pub(super) fn odd_sized(maker: &'m M, size: u64) -> Self {
        [512, 4096, 0]
            .into_iter()
            .find_map(|more| Self::fresh(maker, size + more))
            .expect("every format has disks of whole mebibytes")
    }

    /// A disk as [`Subject::usual`], full of bytes that are not 0.
    pub(super) fn full(maker: &'m M, salt: u8) -> Self {
        let mut subject = Self::usual(maker);
        subject.write(Extent::new(0, subject.size()), salt, WriteFlags::default());
        subject
    }

    pub(super) fn disk(&self) -> &Disk {
        self.disk_handle()
    }

    pub(super) fn disk_handle(&self) -> &Arc<Disk> {
        self.disk.as_ref().expect("a subject is open but for the moment of its reopening")
    }

    pub(super) fn size(&self) -> u64 {
        self.model.len() as u64
    }

    pub(super) fn alignment(&self) -> u64 {
        self.disk().limits().request_alignment
    }

    /// What the format handles as a whole, as a cluster; 4096 where it has nothing such. Bytes.
    pub(super) fn unit(&self) -> u64 {
        let limits = self.disk().limits();
        let unit = limits.zero_granularity.max(limits.discard_granularity).max(limits.request_alignment);
        if unit < 512 { 4096 } else { unit }
    }

    /// The aligned request around `length` bytes from `offset` on, inside the disk.
    pub(super) fn fit(&self, offset: u64, length: u64) -> Extent {
        let alignment = self.alignment();
        let start = offset.min(self.size()) / alignment * alignment;
        let end = (offset + length).next_multiple_of(alignment).clamp(start, self.size());
        Extent::between(start, end)
    }

    /// Reads the bytes, over two different fillings of the buffer so that none that is left out goes
    /// unnoticed, and into buffers at an even and at an odd address.
    pub(super) fn bytes(&self, extent: Extent) -> Vec<u8> {
        let [first, second] = [(0xee, 0), (0x11, 1)].map(|(filling, shift)| {
            let mut bytes = vec![filling; extent.length as usize + shift];
            self.disk()
                .read(extent.offset, &mut bytes[shift..])
                .unwrap_or_else(|error| panic!("read {extent:?}: {error}"));
            bytes.split_off(shift)
        });
        assert!(
            first == second,
            "two reads of {extent:?} differ {}",
            first_difference(extent.offset, &first, &second)
        );
        first
    }

    /// Reads and compares.
    pub(super) fn compare(&self, extent: Extent, when: &str) {
        let bytes = self.bytes(extent);
        let expected = &self.model[extent.offset as usize..extent.end() as usize];
        assert!(
            bytes == expected,
            "wrong bytes in {extent:?} {}, {when}",
            first_difference(extent.offset, expected, &bytes)
        );
    }

    pub(super) fn compare_all(&self, when: &str) {
        assert_eq!(self.disk().size(), self.size(), "the disk has another size, {when}");
        self.compare(Extent::new(0, self.size()), when);
    }

    fn compare_around(&self, extent: Extent, when: &str) {
        let start = extent.offset.saturating_sub(AROUND_BYTES);
        self.compare(self.fit(start, extent.end() - start + AROUND_BYTES), when);
    }

    fn model_part(&mut self, extent: Extent) -> &mut [u8] {
        &mut self.model[extent.offset as usize..extent.end() as usize]
    }

    /// Writes a pattern; false if a compressed write was refused.
    pub(super) fn write(&mut self, extent: Extent, salt: u8, flags: WriteFlags) -> bool {
        let data = pattern(extent.offset, extent.length as usize, salt);
        // From an odd address now and then.
        let shift = usize::from(salt % 2);
        let buf = [&vec![0; shift], &data[..]].concat();
        let written = match self.disk().write(extent.offset, &buf[shift..], flags) {
            Ok(()) => {
                self.model_part(extent).copy_from_slice(&data);
                true
            }
            Err(error) if flags.compressed && error.is_refusal() => {
                self.adopt_refused(extent, &data);
                false
            }
            Err(error) => panic!("write {extent:?} {flags:?}: {error}"),
        };
        self.compare_around(extent, &format!("after a write of {extent:?} {flags:?}, accepted: {written}"));
        written
    }

    /// Writes zeroes; false if they were refused as they may be when no data may be written.
    pub(super) fn zero(&mut self, extent: Extent, flags: ZeroFlags) -> bool {
        let done = match self.disk().write_zeroes(extent, flags) {
            Ok(()) => {
                self.model_part(extent).fill(0);
                true
            }
            // Who refuses because it would not be fast has changed nothing.
            Err(Error::Unsupported { .. }) if flags.fast_only => false,
            Err(Error::Unsupported { .. }) if flags.no_fallback => {
                self.adopt(extent, "refused zeroes");
                false
            }
            Err(error) => panic!("write zeroes {extent:?} {flags:?}: {error}"),
        };
        self.compare_around(extent, &format!("after zeroes over {extent:?} {flags:?}, accepted: {done}"));
        done
    }

    /// Discards; false if the driver does not.
    pub(super) fn discard(&mut self, extent: Extent) -> bool {
        self.discard_with(extent, DiscardFlags::default())
    }

    /// As [`Subject::discard`], with flags.
    pub(super) fn discard_with(&mut self, extent: Extent, flags: DiscardFlags) -> bool {
        let done = match self.disk().discard(extent, flags) {
            Ok(()) => true,
            Err(Error::Unsupported { .. }) => false,
            Err(error) => panic!("discard {extent:?}: {error}"),
        };
        if done {
            self.adopt(extent, "a discard");
        }
        self.compare_around(extent, &format!("after a discard of {extent:?}, accepted: {done}"));
        done
    }

    /// Takes over what a request left that may leave each byte as it was or zero.
    fn adopt(&mut self, extent: Extent, what: &str) {
        let bytes = self.bytes(extent);
        for (at, (now, old)) in bytes.iter().zip(self.model_part(extent)).enumerate() {
            assert!(
                now == old || *now == 0,
                "{what} of {extent:?} made byte {} {now:#x} from {old:#x}",
                extent.offset + at as u64
            );
            *old = *now;
        }
    }

    /// Takes over what a refused write left: a large one may have been split, and a part of it accepted.
    fn adopt_refused(&mut self, extent: Extent, data: &[u8]) {
        let bytes = self.bytes(extent);
        for (at, ((now, new), old)) in bytes.iter().zip(data).zip(self.model_part(extent)).enumerate() {
            let place = extent.offset + at as u64;
            assert!(now == old || now == new, "a refused write of {extent:?} made byte {place} {now:#x}");
            *old = *now;
        }
    }

    /// Resizes; false if the driver does not do that.
    pub(super) fn resize(&mut self, size: u64) -> bool {
        self.grow(size, Preallocation::Off)
    }

    /// Resizes and allocates what is gained; false if the driver does not do that.
    pub(super) fn grow(&mut self, size: u64, preallocation: Preallocation) -> bool {
        let done = match self.disk().grow(size, preallocation) {
            Ok(()) => {
                self.model.resize(size as usize, 0);
                true
            }
            Err(error) if error.is_refusal() => false,
            Err(error) => panic!("resize to {size}, {preallocation:?}: {error}"),
        };
        assert_eq!(self.disk().size(), self.size(), "after a resize to {size}, accepted: {done}");
        done
    }

    /// Holds the status of the extent's start against the content; returns it.
    pub(super) fn status(&self, extent: Extent) -> crate::BlockStatus {
        let status = self
            .disk()
            .block_status(extent)
            .unwrap_or_else(|error| panic!("block status of {extent:?}: {error}"));
        let part = &self.model[extent.offset as usize..(extent.offset + status.length) as usize];
        let below = self.disk().backing().is_some();
        if status.zero || (!status.allocated && !below) {
            assert!(bytes::is_zero(part), "{extent:?} is not zero: {status:?}");
        }
        status
    }

    /// Holds the status of the whole disk against its content, asking for `step` bytes at a time.
    pub(super) fn walk_status(&self, step: u64) {
        let mut at = 0;
        while at < self.size() {
            let asked = self.fit(at, step);
            at += self.status(Extent::between(at, asked.end())).length;
        }
        assert_eq!(at, self.size(), "the status ends elsewhere than the disk");
    }

    pub(super) fn flush(&self) {
        self.disk().flush().expect("flush");
    }

    /// Closes and opens again.
    pub(super) fn reopen(&mut self, access: Access) {
        self.disk().close().expect("close");
        self.open_again(access);
        self.assert_clean("after a close");
    }

    /// Drops the handle without closing it, and opens again.
    pub(super) fn kill(&mut self) {
        self.open_again(Access::ReadWrite);
    }

    /// Whether [`Subject::kill`] keeps what was flushed.
    pub(super) fn survives(&self) -> bool {
        self.maker.survives()
    }

    fn open_again(&mut self, access: Access) {
        drop(self.disk.take());
        let disk = self.maker.open(&self.medium, access);
        let disk = disk.unwrap_or_else(|error| panic!("the disk does not open again: {error}"));
        assert_eq!(disk.size(), self.size(), "the disk has another size after it was opened again");
        self.disk = Some(Arc::new(disk));
    }

    /// The driver's own check, if it has one, finds nothing.
    pub(super) fn assert_clean(&self, when: &str) {
        if self.disk().as_check().is_some() {
            let report = self.disk().check(RepairMode::None).expect("check");
            assert!(report.is_clean(), "{when}: {report}");
        }
    }
}

/// A fresh disk and its medium; `None` if the format has no disks of that size.
pub(super) fn open_fresh<M: Maker>(maker: &M, size: u64) -> Option<(M::Medium, Disk)> {
    let medium = match maker.make(size) {
        Ok(medium) => medium,
        Err(error) if error.is_refusal() => return None,
        Err(error) => panic!("a disk of {size} bytes cannot be made: {error}"),
    };
    let disk = maker.open(&medium, Access::ReadWrite);
    let disk = disk.unwrap_or_else(|error| panic!("a fresh disk of {size} bytes does not open: {error}"));
    assert_eq!(disk.size(), size, "a fresh disk has another size than it was made with");
    Some((medium, disk))
}

fn first_difference(offset: u64, expected: &[u8], found: &[u8]) -> String {
    let at = bytes::first_difference(expected, found).unwrap_or(0);
    format!("from {}: {:#x} instead of {:#x}", offset + at as u64, found[at], expected[at])
}
