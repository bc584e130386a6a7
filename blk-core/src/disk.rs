//! The front door to every driver.
//!
//! Callers talk to a [`Disk`], never to a driver. It checks each request once (range, overflow, alignment, access), splits what
//! is too large, emulates what the driver lacks (zeroes by writing them, FUA by flushing), and asserts what the driver owes.

use std::sync::Arc;

use crate::sync::Mutex;
use crate::{
    BackingFile, BlockDriver, BlockStatus, Check, CheckReport, Error, Extent, ImageInfo, Info, Limits,
    Overlay, Preallocation, RepairMode, Resize, Result, WriteFlags, ZeroFlags,
};

/// Whether a disk may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Requests that write are refused, and opening changes nothing.
    ReadOnly,
    /// All requests.
    #[default]
    ReadWrite,
}

/// How many bytes of zeroes are written at a time where a driver cannot do better.
const ZEROES_BYTES: usize = 64 << 10;
static ZEROES: [u8; ZEROES_BYTES] = [0; ZEROES_BYTES];

/// An open disk: a driver behind the checks that all drivers share.
#[derive(Debug)]
pub struct Disk {
    driver: Box<dyn BlockDriver>,
    access: Access,
    limits: Limits,
    /// Held while the size changes: what the driver reports afterwards is compared with what was asked.
    resizing: Mutex<()>,
}

impl Disk {
    /// Puts the front door before `driver`.
    ///
    /// # Panics
    /// If the driver's limits contradict themselves.
    pub fn new(driver: impl BlockDriver + 'static, access: Access) -> Self {
        Self::from_box(Box::new(driver), access)
    }

    /// As [`Disk::new`], for a driver that is boxed already.
    pub fn from_box(driver: Box<dyn BlockDriver>, access: Access) -> Self {
        let limits = driver.limits();
        assert!(limits.request_alignment.is_power_of_two(), "alignment is a power of two: {limits:?}");
        assert!(limits.transfer_bytes_max > 0, "some transfer must be possible: {limits:?}");
        assert!(limits.transfer_bytes_max.is_multiple_of(limits.request_alignment), "{limits:?}");
        Self { driver, access, limits, resizing: Mutex::new(()) }
    }

    /// Size in bytes.
    #[inline]
    pub fn size(&self) -> u64 {
        self.driver.size()
    }

    /// Whether it may be written.
    pub fn access(&self) -> Access {
        self.access
    }

    /// What the driver takes in one request; this type splits larger ones.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The driver itself, without the checks: prefer the abilities of the disk, such as [`Disk::as_check`].
    pub fn driver(&self) -> &dyn BlockDriver {
        &*self.driver
    }

    /// The disk of the backing file, which shows where this one has nothing.
    pub fn backing(&self) -> Option<&Arc<Disk>> {
        self.driver.backing()
    }

    /// Fills `buf` with the bytes from `offset` on.
    #[inline]
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.check_range(offset, buf.len() as u64)?;
        if buf.len() as u64 <= self.limits.transfer_bytes_max && !buf.is_empty() {
            return self.driver.read(offset, buf);
        }
        let mut at = offset;
        for part in buf.chunks_mut(self.transfer_bytes()) {
            self.driver.read(at, part)?;
            at += part.len() as u64;
        }
        Ok(())
    }

    /// Writes `buf` at `offset`.
    #[inline]
    pub fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        self.check_write(offset, buf.len() as u64)?;
        if !flags.fua && buf.len() as u64 <= self.limits.transfer_bytes_max && !buf.is_empty() {
            return self.driver.write(offset, buf, flags);
        }
        let passed = WriteFlags { fua: flags.fua && self.limits.can_fua, ..flags };
        let mut at = offset;
        for part in buf.chunks(self.transfer_bytes()) {
            self.driver.write(at, part, passed)?;
            at += part.len() as u64;
        }
        self.flush_for_fua(flags.fua)
    }

    /// Makes `extent` read as zeroes.
    pub fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        self.check_write(extent.offset, extent.length)?;
        let passed = ZeroFlags { fua: flags.fua && self.limits.can_fua, ..flags };
        for part in self.parts(extent) {
            self.zero_part(part, passed)?;
        }
        self.flush_for_fua(flags.fua)
    }

    /// Tells that the bytes of `extent` are no longer needed; each keeps its value or becomes zero.
    pub fn discard(&self, extent: Extent) -> Result<()> {
        self.check_write(extent.offset, extent.length)?;
        if !self.limits.can_discard {
            return Err(Error::unsupported("discard"));
        }
        self.parts(extent).try_for_each(|part| self.driver.discard(part))
    }

    /// Puts everything that completed requests wrote on stable storage.
    pub fn flush(&self) -> Result<()> {
        if self.access == Access::ReadOnly { Ok(()) } else { self.driver.flush() }
    }

    /// What the top layer alone knows about the start of `extent`, which must not be empty.
    pub fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        self.check_range(extent.offset, extent.length)?;
        if extent.is_empty() {
            return Err(Error::invalid_option("length", "block status of 0 bytes"));
        }
        let status = self.driver.block_status(extent)?;
        self.assert_coherent(extent, status);
        Ok(status)
    }

    /// What a driver owes about the block status of `extent`.
    fn assert_coherent(&self, extent: Extent, status: BlockStatus) {
        let BlockStatus { length, allocated, zero, compressed, host_offset } = status;
        let unit = self.limits.request_alignment;
        assert!(length > 0 && length <= extent.length, "block status of {extent:?} covers {length} bytes");
        // The extent is whole units, so whoever asks on from where the status ends asks for whole units again.
        assert!(length.is_multiple_of(unit), "block status of {extent:?} ends inside a unit: {status:?}");
        assert!(!compressed || (allocated && host_offset.is_none()), "compressed, not plain: {status:?}");
        assert!(
            !zero || allocated || self.backing().is_none(),
            "whether {extent:?} is zero is the backing file's to say: {status:?}"
        );
        if let Some(host) = host_offset {
            assert!(allocated, "only what is allocated lies somewhere: {status:?}");
            assert!(host.checked_add(length).is_some(), "the host's file ends before 2^64: {status:?}");
        }
    }

    /// Makes the disk `size` bytes long; bytes that are gained read as zeroes.
    pub fn resize(&self, size: u64) -> Result<()> {
        self.change_size(size, |resize| resize.resize(size))
    }

    /// Makes the disk `size` bytes long and allocates what it gains.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if something is to be allocated and the disk would become smaller, and what
    /// [`crate::Resize::grow`] says.
    pub fn grow(&self, size: u64, preallocation: Preallocation) -> Result<()> {
        if preallocation == Preallocation::Off {
            return self.resize(size);
        }
        self.change_size(size, |resize| {
            if size < self.driver.size() {
                return Err(Error::invalid_option("preallocation", "it needs a disk that becomes larger"));
            }
            resize.grow(size, preallocation)
        })
    }

    fn change_size(&self, size: u64, change: impl FnOnce(&dyn Resize) -> Result<()>) -> Result<()> {
        self.check_writable()?;
        if !size.is_multiple_of(self.limits.request_alignment) {
            let alignment = self.limits.request_alignment;
            return Err(Error::Misaligned { offset: 0, length: size, alignment });
        }
        let resize = self.driver.as_resize().ok_or_else(|| Error::unsupported("resize"))?;
        let _alone = self.resizing.lock();
        let old = self.driver.size();
        let changed = change(resize);
        let found = self.driver.size();
        match &changed {
            Ok(()) => assert_eq!(found, size, "driver reports another size than it was resized to"),
            Err(error) if error.is_refusal() => {
                assert_eq!(found, old, "driver refuses to resize to {size} bytes and has changed: {error}");
            }
            Err(error) => {
                assert!(found == old || found == size, "{old} to {size} bytes failed at {found}: {error}");
            }
        }
        changed
    }

    /// Checks the image's metadata, repairing what `repair` allows.
    pub fn check(&self, repair: RepairMode) -> Result<CheckReport> {
        if repair != RepairMode::None {
            self.check_writable()?;
        }
        self.driver.as_check().ok_or_else(|| Error::unsupported("check"))?.check(repair)
    }

    /// What the image says about itself now.
    pub fn info(&self) -> Result<ImageInfo> {
        self.driver.as_info().ok_or_else(|| Error::unsupported("info"))?.info()
    }

    /// Itself, if its driver can change the size.
    pub fn as_resize(&self) -> Option<&dyn Resize> {
        self.driver.as_resize().map(|_| self as &dyn Resize)
    }

    /// Itself, if its driver can check its own metadata.
    pub fn as_check(&self) -> Option<&dyn Check> {
        self.driver.as_check().map(|_| self as &dyn Check)
    }

    /// Itself, if its driver can tell what the image is.
    pub fn as_info(&self) -> Option<&dyn Info> {
        self.driver.as_info().map(|_| self as &dyn Info)
    }

    /// Itself, if its driver can have a backing file.
    pub fn as_overlay(&self) -> Option<&dyn Overlay> {
        self.driver.as_overlay().map(|_| self as &dyn Overlay)
    }

    fn overlay(&self) -> Result<&dyn Overlay> {
        self.check_writable()?;
        self.driver.as_overlay().ok_or_else(|| Error::unsupported("changing the backing file"))
    }

    /// Writes everything back and leaves the image as a clean one.
    pub fn close(&self) -> Result<()> {
        if self.access == Access::ReadOnly { Ok(()) } else { self.driver.close() }
    }

    fn zero_part(&self, part: Extent, flags: ZeroFlags) -> Result<()> {
        if self.limits.can_write_zeroes {
            match self.driver.write_zeroes(part, flags) {
                Err(Error::Unsupported { .. }) if !flags.no_fallback => {}
                answered => return answered,
            }
        } else if flags.no_fallback {
            return Err(Error::unsupported("write zeroes without writing data"));
        }
        let mut at = part.offset;
        while at < part.end() {
            // Pieces end between sectors: a sector is never made of two requests' halves.
            let whole = ZEROES_BYTES as u64 - at % ZEROES_BYTES as u64;
            let length = (part.end() - at).min(whole);
            let write = WriteFlags { fua: flags.fua, compressed: false };
            self.driver.write(at, &ZEROES[..length as usize], write)?;
            at += length;
        }
        Ok(())
    }

    fn flush_for_fua(&self, fua: bool) -> Result<()> {
        if fua && !self.limits.can_fua { self.driver.flush() } else { Ok(()) }
    }

    fn transfer_bytes(&self) -> usize {
        usize::try_from(self.limits.transfer_bytes_max).unwrap_or(usize::MAX)
    }

    fn parts(&self, extent: Extent) -> impl Iterator<Item = Extent> + use<> {
        let max = self.limits.transfer_bytes_max;
        let mut rest = extent;
        std::iter::from_fn(move || {
            let length = rest.length.min(max);
            let part = Extent::new(rest.offset, length);
            rest = Extent::new(rest.offset + length, rest.length - length);
            (length > 0).then_some(part)
        })
    }

    fn check_writable(&self) -> Result<()> {
        if self.access == Access::ReadOnly { Err(Error::ReadOnly) } else { Ok(()) }
    }

    #[inline]
    pub(crate) fn check_write(&self, offset: u64, length: u64) -> Result<()> {
        self.check_writable()?;
        self.check_range(offset, length)
    }

    #[inline]
    fn check_range(&self, offset: u64, length: u64) -> Result<()> {
        let alignment = self.limits.request_alignment;
        if (offset | length) & (alignment - 1) != 0 {
            return Err(Error::Misaligned { offset, length, alignment });
        }
        let size = self.driver.size();
        match offset.checked_add(length) {
            Some(end) if end <= size => Ok(()),
            _ => Err(Error::OutOfRange { offset, length, size }),
        }
    }
}

impl Resize for Disk {
    fn resize(&self, size: u64) -> Result<()> {
        Self::resize(self, size)
    }

    fn grow(&self, size: u64, preallocation: Preallocation) -> Result<()> {
        Self::grow(self, size, preallocation)
    }
}

impl Check for Disk {
    fn check(&self, repair: RepairMode) -> Result<CheckReport> {
        Self::check(self, repair)
    }
}

impl Info for Disk {
    fn info(&self) -> Result<ImageInfo> {
        Self::info(self)
    }
}

impl Overlay for Disk {
    fn set_backing(&self, backing: Option<&BackingFile>) -> Result<()> {
        self.overlay()?.set_backing(backing)
    }

    fn forget_content(&self) -> Result<()> {
        self.overlay()?.forget_content()
    }
}
