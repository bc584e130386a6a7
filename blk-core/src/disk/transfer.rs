//! Reads, writes and zeroes that a driver does not take as they are: too large, from buffers at odd
//! addresses, or of zeroes that it can only have as data.

use super::{Disk, parts};
use crate::buffer::is_aligned;
use crate::{Buffer, Error, Extent, Result, WriteFlags, ZeroFlags};

/// How many bytes of zeroes are written at a time where a driver cannot do better.
const ZEROES_BYTES: usize = 64 << 10;
static ZEROES: [u8; ZEROES_BYTES] = [0; ZEROES_BYTES];

impl Disk {
    pub(super) fn read_parts(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let alignment = self.limits.memory_alignment;
        let mut at = offset;
        for part in buf.chunks_mut(self.transfer_bytes()) {
            self.assert_in_units(at, part.len());
            if is_aligned(part, alignment) {
                self.driver.read(at, part)?;
            } else {
                let mut bounce = Buffer::zeroed(part.len(), alignment);
                self.driver.read(at, &mut bounce)?;
                part.copy_from_slice(&bounce);
            }
            at += part.len() as u64;
        }
        Ok(())
    }

    /// A driver is asked for whole units of its request alignment alone, however large the request was.
    fn assert_in_units(&self, offset: u64, length: usize) {
        let unit = self.limits.request_alignment;
        let is_whole = offset.is_multiple_of(unit) && (length as u64).is_multiple_of(unit);
        debug_assert!(is_whole, "{length} bytes at {offset} are no whole units of {unit}");
    }

    pub(super) fn write_parts(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        let native = self.limits.native.write_fua;
        let passed = WriteFlags { fua: flags.fua && native, ..flags };
        let mut at = offset;
        for part in buf.chunks(self.transfer_bytes()) {
            self.write_part(at, part, passed)?;
            at += part.len() as u64;
        }
        self.flush_for_fua(flags.fua, native)
    }

    fn write_part(&self, offset: u64, part: &[u8], flags: WriteFlags) -> Result<()> {
        self.assert_in_units(offset, part.len());
        let alignment = self.limits.memory_alignment;
        if is_aligned(part, alignment) {
            return self.driver.write(offset, part, flags);
        }
        let mut bounce = Buffer::zeroed(part.len(), alignment);
        bounce.copy_from_slice(part);
        self.driver.write(offset, &bounce, flags)
    }

    pub(super) fn zero_part(&self, part: Extent, flags: ZeroFlags) -> Result<()> {
        if self.limits.can_write_zeroes {
            match self.driver.write_zeroes(part, flags) {
                Err(Error::Unsupported { .. }) if !flags.may_be_refused() => {}
                answered => return answered,
            }
        } else if flags.may_be_refused() {
            return Err(Error::unsupported("write zeroes without writing data"));
        }
        self.write_zero_data(part, WriteFlags { fua: flags.fua, compressed: false })
    }

    fn write_zero_data(&self, extent: Extent, flags: WriteFlags) -> Result<()> {
        // A driver of units that are larger gets them from a buffer of its own.
        let unit = self.limits.request_alignment.max(ZEROES_BYTES as u64);
        let own = vec![0; if unit > ZEROES_BYTES as u64 { unit.min(extent.length) as usize } else { 0 }];
        let zeroes = if own.is_empty() { &ZEROES[..] } else { &own };
        for part in parts(extent, self.limits.transfer_bytes_max, self.limits.request_alignment) {
            let mut at = part.offset;
            while at < part.end() {
                // Pieces end between sectors: a sector is never made of two requests' halves.
                let length = (part.end() - at).min(unit - at % unit);
                self.write_part(at, &zeroes[..length as usize], flags)?;
                at += length;
            }
        }
        Ok(())
    }

    pub(super) fn flush_for_fua(&self, fua: bool, is_native: bool) -> Result<()> {
        if fua && !is_native { self.driver.flush() } else { Ok(()) }
    }

    fn transfer_bytes(&self) -> usize {
        usize::try_from(self.limits.transfer_bytes_max).unwrap_or(usize::MAX)
    }
}
