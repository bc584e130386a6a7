//! Making one request of both disks, the one under test first.

use blk_core::{
    BlockDriver, Data, DiscardFlags, Disk, Error, Extent, Op, Perform, Preallocation, RepairMode, Reply,
    Result, WriteFlags, ZeroFlags,
};

use super::permitted::Permitted;
use super::{Numbered, UNREAD, Verify, status};
use blk_core::sync::RangeMode;

/// Like a disk, it refuses what does not lie on the disk.
impl Perform for Numbered<'_> {
    fn size(&self) -> u64 {
        BlockDriver::size(self.verify)
    }

    fn can_check(&self) -> bool {
        self.verify.test.as_check().is_some()
    }

    fn slot_size(&self, slot: u8) -> Result<u64> {
        self.verify.reference.slot_size(slot)
    }

    /// # Errors
    /// As a disk; [`Error::Mismatch`] where the disks differ; [`Error::InvalidOption`] where `data` is not
    /// what the request needs.
    fn perform(&self, op: Op, data: Data<'_>) -> Result<Reply> {
        self.verify.execute(self.number, op, data)
    }
}

impl Verify {
    /// Makes `request` of both disks, as the one of stamp number `number`: see [`Verify::numbered`].
    ///
    /// # Errors
    /// As for [`Numbered`].
    pub fn execute(&self, number: u32, request: Op, data: Data<'_>) -> Result<Reply> {
        self.refuse_what_proves_nothing()?;
        self.admit(request)?;
        self.make(number, request, data)
    }

    /// Refuses what the front door of a disk refuses.
    fn admit(&self, request: Op) -> Result<()> {
        let (size, alignment) = (self.reference.size(), self.alignment);
        let misaligned = |offset, length| Err(Error::Misaligned { offset, length, alignment });
        match (request, request.extent()) {
            (_, Some(Extent { offset, length })) => {
                if (offset | length) & (alignment - 1) != 0 {
                    return misaligned(offset, length);
                }
                if offset.checked_add(length).is_none_or(|end| end > size) {
                    return Err(Error::OutOfRange { offset, length, size });
                }
                Ok(())
            }
            (Op::Resize { size: new, preallocation }, None) => {
                if new & (alignment - 1) != 0 {
                    return misaligned(0, new);
                }
                if self.as_resize().is_none() {
                    return Err(Error::unsupported("resize"));
                }
                if preallocation != Preallocation::Off && new < size {
                    let reason = "it needs a disk that becomes larger";
                    return Err(Error::invalid_option("preallocation", reason));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Makes a request whose extent lies on the disk; `number` is what reports call it.
    #[inline]
    pub(super) fn make(&self, number: u32, request: Op, data: Data<'_>) -> Result<Reply> {
        let done = match (request, data) {
            (Op::Read { extent }, Data::Read(buf)) if buf.len() as u64 == extent.length => {
                self.read_both(number, extent, buf)
            }
            (Op::Write { extent, flags }, Data::Write(buf)) if buf.len() as u64 == extent.length => {
                self.write_both(number, extent, buf, flags)
            }
            (Op::WriteZeroes { extent, flags }, Data::None) => self.write_zeroes_both(number, extent, flags),
            (Op::Discard { extent, flags }, Data::None) => self.discard_both(number, extent, flags),
            (Op::Flush, Data::None) => self.flush_both(number),
            (Op::Prefetch { extent }, Data::None) => self.prefetch_both(number, extent),
            (Op::Resize { size, .. }, Data::None) => self.resize_both(number, request, size),
            (Op::BlockStatus { extent }, Data::None) => return self.judge_block_status(number, extent),
            (Op::Check { repair }, Data::None) => return self.check_test(number, repair),
            (Op::Amend { .. }, Data::None) => self.amend_test(number, request),
            (Op::Bitmap { .. } | Op::ReadBitmap { .. }, Data::None) => {
                return self.ask_test_about_bitmaps(request);
            }
            (Op::Snapshot { .. }, Data::None) => self.change_snapshots_of_both(number, request),
            (Op::ReadSnapshot { extent, .. }, Data::Read(buf)) if buf.len() as u64 == extent.length => {
                self.read_snapshots_of_both(number, (request, extent), buf)
            }
            (request, _) => {
                let reason = format!("'{request}' was given a buffer that it cannot use");
                return Err(Error::invalid_option("buffer", reason));
            }
        };
        done.map(|()| Reply::Done)
    }

    fn read_both(&self, number: u32, extent: Extent, buf: &mut [u8]) -> Result<()> {
        let (request, offset) = (Op::Read { extent }, extent.offset);
        let _ordered = self.order(extent, RangeMode::Shared)?;
        // Bytes that the driver forgets to fill must not be right by accident, nor differ from run to run.
        buf.fill(UNREAD);
        match self.test.read(offset, buf) {
            Ok(()) => self.compare_read(number, request, offset, buf),
            Err(error) => {
                let permitted = Permitted::nothing();
                self.settle(number, request, Err(error), permitted, |reference| reference.read(offset, buf))
            }
        }
    }

    fn write_both(&self, number: u32, extent: Extent, buf: &[u8], flags: WriteFlags) -> Result<()> {
        let (request, offset) = (Op::Write { extent, flags }, extent.offset);
        let _ordered = self.order(extent, RangeMode::Exclusive)?;
        let tested = self.test.write(offset, buf, flags);
        let plain = WriteFlags { compressed: false, ..flags };
        let permitted = Permitted::write(extent, buf, flags);
        self.settle(number, request, tested, permitted, |reference| reference.write(offset, buf, plain))
    }

    fn write_zeroes_both(&self, number: u32, extent: Extent, flags: ZeroFlags) -> Result<()> {
        let request = Op::WriteZeroes { extent, flags };
        let _ordered = self.order(extent, RangeMode::Exclusive)?;
        let tested = self.test.write_zeroes(extent, flags);
        let with_fallback = ZeroFlags { no_fallback: false, fast_only: false, ..flags };
        let permitted = Permitted::zeroes(extent, flags);
        self.settle(number, request, tested, permitted, |reference| {
            reference.write_zeroes(extent, with_fallback)
        })
    }

    fn discard_both(&self, number: u32, extent: Extent, flags: DiscardFlags) -> Result<()> {
        let request = Op::Discard { extent, flags };
        let _ordered = self.order(extent, RangeMode::Exclusive)?;
        let permitted = Permitted::discard(extent);
        match self.test.discard(extent, flags) {
            Ok(()) => self.adopt(number, request, permitted),
            tested => {
                self.settle(number, request, tested, permitted, |reference| reference.discard(extent, flags))
            }
        }
    }

    fn flush_both(&self, number: u32) -> Result<()> {
        let tested = self.test.flush();
        let settled = self.settle(number, Op::Flush, tested, Permitted::flush(), Disk::flush);
        // Differing sizes mean something only while no resize is under way.
        if settled.is_ok() && self.sizes_differ().is_some() {
            let _ordered = self.order_alone()?;
            self.compare_sizes(number, Op::Flush)?;
        }
        settled
    }

    /// It changes nothing, so there is nothing to compare but how it went.
    fn prefetch_both(&self, number: u32, extent: Extent) -> Result<()> {
        let request = Op::Prefetch { extent };
        let _ordered = self.order(extent, RangeMode::Shared)?;
        let tested = self.test.prefetch(extent);
        self.settle(number, request, tested, Permitted::nothing(), |reference| reference.prefetch(extent))
    }

    fn judge_block_status(&self, number: u32, extent: Extent) -> Result<Reply> {
        let request = Op::BlockStatus { extent };
        let _ordered = self.order(extent, RangeMode::Shared)?;
        let status = match self.test.block_status(extent) {
            Ok(status) => self.judge_status(number, request, extent, status)?,
            Err(error) => {
                self.settle(number, request, Err(error), Permitted::nothing(), |reference| {
                    reference.block_status(extent).map(drop)
                })?;
                status::unknown(extent.length)
            }
        };
        Ok(Reply::Status(status))
    }

    /// Only the disk under test allocates: what a disk gains reads as zeroes in any case.
    fn resize_both(&self, number: u32, request: Op, size: u64) -> Result<()> {
        let _ordered = self.order_alone()?;
        let tested = self.test.perform(request, Data::None).map(drop);
        let settled =
            self.settle(number, request, tested, Permitted::resize(), |reference| reference.resize(size));
        if !matches!(settled, Err(Error::Mismatch { .. })) {
            self.compare_sizes(number, request)?;
        }
        settled
    }

    fn change_snapshots_of_both(&self, number: u32, request: Op) -> Result<()> {
        let _ordered = self.order_alone()?;
        let tested = self.test.perform(request, Data::None).map(drop);
        // The same may be unsupported, and so may what a format has no room for be.
        let settled = self.settle(number, request, tested, Permitted::resize(), |reference| {
            reference.perform(request, Data::None).map(drop)
        });
        if !matches!(settled, Err(Error::Mismatch { .. })) {
            self.compare_sizes(number, request)?;
        }
        settled
    }

    fn read_snapshots_of_both(
        &self,
        number: u32,
        (request, extent): (Op, Extent),
        buf: &mut [u8],
    ) -> Result<()> {
        let _ordered = self.order_alone()?;
        buf.fill(UNREAD);
        let tested = self.test.perform(request, Data::Read(buf)).map(drop);
        let mut expected = vec![0; buf.len()];
        self.settle(number, request, tested, Permitted::resize(), |reference| {
            reference.perform(request, Data::Read(&mut expected)).map(drop)
        })?;
        if buf == expected {
            return Ok(());
        }
        self.mismatch(self.content_finding(number, request, extent, extent.offset, &expected, buf))
    }

    /// An image's options show in no disk: the reference stays as it is.
    fn amend_test(&self, number: u32, request: Op) -> Result<()> {
        let _ordered = self.order_alone()?;
        let amended = self.test.perform(request, Data::None).map(drop);
        self.compare_sizes(number, request)?;
        if matches!(amended, Err(Error::InvalidOption { .. })) {
            return amended;
        }
        self.settle(number, request, amended, Permitted::resize(), |_| Ok(()))
    }

    /// The reference has no bitmaps: whoever makes such a request judges its answer.
    fn ask_test_about_bitmaps(&self, request: Op) -> Result<Reply> {
        let _ordered = self.order_alone()?;
        self.test.perform(request, Data::None)
    }

    fn check_test(&self, number: u32, repair: RepairMode) -> Result<Reply> {
        let _ordered = self.order_alone()?;
        let checked = self.test.check(repair);
        self.compare_sizes(number, Op::Check { repair })?;
        checked.map(|report| Reply::Checked(Box::new(report)))
    }
}
