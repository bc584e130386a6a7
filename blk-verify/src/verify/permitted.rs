//! Differences that are permitted, and bringing the reference to what the disk under test has chosen.

use std::sync::atomic::Ordering;

use blk_core::{BlockStatus, Disk, Error, Extent, Result, WriteFlags, ZeroFlags};

use super::settle::alike;
use super::{UNREAD, Verify};
use crate::report::{self, Sides, Signature};
use crate::scenario::Request;

/// What a request may leave where it did not simply succeed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Permitted<'a> {
    /// Where bytes may be old or new.
    extent: Extent,
    new: New<'a>,
    /// The driver may lack the ability.
    may_be_unsupported: bool,
    /// The driver may want whole units.
    may_be_misaligned: bool,
    /// The reference has failed too, and may itself have done part of the request.
    failed_on_both: bool,
}

/// What bytes become when a request does its work.
#[derive(Debug, Clone, Copy)]
enum New<'a> {
    Zeroes,
    Data(&'a [u8]),
}

impl<'a> Permitted<'a> {
    /// No refusal, and no other content.
    pub(super) fn nothing() -> Self {
        Self {
            extent: Extent::default(),
            new: New::Zeroes,
            may_be_unsupported: false,
            may_be_misaligned: false,
            failed_on_both: false,
        }
    }

    pub(super) fn write(extent: Extent, data: &'a [u8], flags: WriteFlags) -> Self {
        let optional = flags.compressed;
        let new = New::Data(data);
        Self { extent, new, may_be_unsupported: optional, may_be_misaligned: optional, ..Self::nothing() }
    }

    pub(super) fn zeroes(extent: Extent, no_fallback: bool) -> Self {
        Self { extent, may_be_unsupported: no_fallback, ..Self::nothing() }
    }

    pub(super) fn discard(extent: Extent) -> Self {
        Self { extent, may_be_unsupported: true, ..Self::nothing() }
    }

    pub(super) fn resize() -> Self {
        Self { may_be_unsupported: true, ..Self::nothing() }
    }

    /// The same for a request that has failed on the reference too.
    pub(super) fn failed_on_both(self) -> Self {
        Self { failed_on_both: true, ..self }
    }

    /// Whether the disk under test may refuse the request in this way. A full host is nobody's bug.
    pub(super) fn refusal(&self, error: &Error) -> bool {
        match error {
            Error::Unsupported { .. } => self.may_be_unsupported,
            Error::Misaligned { .. } => self.may_be_misaligned,
            Error::NoSpace { .. } => true,
            _ => false,
        }
    }

    /// Makes `old`, the reference's bytes from disk address `at` on, what is allowed and nearest to `found`, the bytes of
    /// the disk under test.
    fn choose(&self, at: u64, found: &[u8], old: &mut [u8]) {
        let choose = |(old, (found, new)): (&mut u8, (&u8, &u8))| {
            // Where the reference has become new, what was there before is no longer known: anything may have stayed.
            if found == new || (self.failed_on_both && old == new) {
                *old = *found;
            }
        };
        match self.new {
            // Most requests end up here: kept simple, so that it is done for many bytes at once.
            New::Zeroes if !self.failed_on_both => {
                old.iter_mut().zip(found).for_each(|(old, found)| *old = if *found == 0 { 0 } else { *old });
            }
            New::Zeroes => old.iter_mut().zip(found.iter().zip(std::iter::repeat(&0))).for_each(choose),
            New::Data(data) => {
                let new = &data[(at - self.extent.offset) as usize..];
                old.iter_mut().zip(found.iter().zip(new)).for_each(choose);
            }
        }
    }
}

impl Verify {
    /// Reads back what the disk under test has where it was free to choose, holds each byte against what is allowed, and
    /// brings the reference to the same.
    pub(super) fn adopt(&self, number: u32, request: Request, permitted: Permitted<'_>) -> Result<()> {
        let mut buffers = self.buffers();
        let [found, old] = buffers.get();
        let mut at = permitted.extent.offset;
        while at < permitted.extent.end() {
            let length = (permitted.extent.end() - at).min(self.chunk_bytes as u64) as usize;
            let (found, old) = (&mut found[..length], &mut old[..length]);
            found.fill(UNREAD);
            match (self.test.read(at, found), self.reference.read(at, old)) {
                (Ok(()), Ok(())) if found == old => {}
                (Ok(()), Ok(())) => self.adopt_chunk(number, request, permitted, at, found, old)?,
                // What neither can read back cannot differ.
                (Err(one), Err(other)) if permitted.failed_on_both && alike(&one, &other) => {}
                (Err(error), _) => return self.read_back_failed(number, request, &error),
                (Ok(()), Err(error)) => return self.only_reference_failed(number, request, error),
            }
            at += length as u64;
        }
        Ok(())
    }

    fn adopt_chunk(
        &self,
        number: u32,
        request: Request,
        permitted: Permitted<'_>,
        at: u64,
        found: &[u8],
        old: &mut [u8],
    ) -> Result<()> {
        permitted.choose(at, found, old);
        let expected = old;
        if *expected != *found {
            let sides = Sides { offset: at, reference: expected, test: found, size: self.reference.size() };
            let noted = Some((number, self.noted(number, request)));
            self.mismatch(report::content_finding(&self.journal, noted, permitted.extent, sides))?;
        }
        write_back(&self.reference, at, expected).map_err(|error| {
            // From here on the disks may differ for a reason that is nobody's bug.
            self.failed.store(true, Ordering::Relaxed);
            Error::Poisoned { cause: format!("the reference cannot follow the disk under test: {error}") }
        })
    }

    /// Holds a block status against the content of the reference.
    pub(super) fn check_status(
        &self,
        number: u32,
        request: Request,
        extent: Extent,
        status: BlockStatus,
    ) -> Result<()> {
        let claim = if status.zero {
            "zero"
        } else if status.allocated {
            return Ok(());
        } else {
            "unallocated"
        };
        let mut buffers = self.buffers();
        let [content, below] = buffers.get();
        let mut at = extent.offset;
        while at < extent.end() {
            let length = (extent.end() - at).min(self.chunk_bytes as u64) as usize;
            let (content, below) = (&mut content[..length], &mut below[..length]);
            self.reference.read(at, content)?;
            below.fill(0);
            if claim == "unallocated" {
                read_below(&self.test, at, below)?;
            }
            if *content != *below {
                let what = format!("claims {claim} bytes at {extent:?} where the content differs from that");
                let noted = self.noted(number, request);
                return self.mismatch(report::request_finding(
                    number,
                    noted,
                    Signature::Status { claim },
                    &what,
                ));
            }
            at += length as u64;
        }
        Ok(())
    }
}

/// What shows through an unallocated range: the disk below, and zeroes behind its end.
fn read_below(disk: &Disk, at: u64, buf: &mut [u8]) -> Result<()> {
    let Some(below) = disk.backing() else { return Ok(()) };
    let inside = usize::try_from(below.size().saturating_sub(at)).unwrap_or(usize::MAX).min(buf.len());
    if inside == 0 { Ok(()) } else { below.read(at, &mut buf[..inside]) }
}

fn write_back(reference: &Disk, at: u64, content: &[u8]) -> Result<()> {
    if is_zero(content) {
        reference.write_zeroes(
            Extent::new(at, content.len() as u64),
            ZeroFlags { may_unmap: true, ..ZeroFlags::default() },
        )
    } else {
        reference.write(at, content, WriteFlags::default())
    }
}

/// Whether all bytes are zero; a block at a time, so that many are looked at at once.
fn is_zero(content: &[u8]) -> bool {
    content.chunks(512).all(|block| block.iter().fold(0, |any, byte| any | byte) == 0)
}
