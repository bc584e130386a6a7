//! Differences that are permitted, and bringing the reference to what the disk under test has chosen.

use blk_core::{BlockStatus, Disk, Error, Extent, Result, WriteFlags, ZeroFlags};

use super::{CHUNK_BYTES, UNREAD, Verify};
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
        }
    }

    pub(super) fn write(extent: Extent, data: &'a [u8], flags: WriteFlags) -> Self {
        let optional = flags.compressed;
        Self { extent, new: New::Data(data), may_be_unsupported: optional, may_be_misaligned: optional }
    }

    pub(super) fn zeroes(extent: Extent, no_fallback: bool) -> Self {
        Self { extent, new: New::Zeroes, may_be_unsupported: no_fallback, may_be_misaligned: false }
    }

    pub(super) fn discard(extent: Extent) -> Self {
        Self { extent, new: New::Zeroes, may_be_unsupported: true, may_be_misaligned: false }
    }

    pub(super) fn resize() -> Self {
        Self { may_be_unsupported: true, ..Self::nothing() }
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
}

impl Verify {
    /// Reads back what the disk under test has where it was free to choose, holds each byte against what is allowed, and
    /// brings the reference to the same.
    pub(super) fn adopt(&self, number: u32, request: Request, permitted: Permitted<'_>) -> Result<()> {
        let mut found = self.take_buffer();
        let mut old = self.take_buffer();
        let mut at = permitted.extent.offset;
        while at < permitted.extent.end() {
            let length = (permitted.extent.end() - at).min(CHUNK_BYTES as u64) as usize;
            let (found, old) = (&mut found[..length], &mut old[..length]);
            found.fill(UNREAD);
            if let Err(error) = self.test.read(at, found) {
                return self.read_back_failed(number, request, &error);
            }
            self.reference.read(at, old)?;
            if *found != *old {
                self.adopt_chunk(number, request, permitted, at, found, old)?;
            }
            at += length as u64;
        }
        self.return_buffer(found);
        self.return_buffer(old);
        Ok(())
    }

    fn adopt_chunk(
        &self,
        number: u32,
        request: Request,
        permitted: Permitted<'_>,
        at: u64,
        found: &[u8],
        old: &[u8],
    ) -> Result<()> {
        let mut expected = old.to_vec();
        let first = (at - permitted.extent.offset) as usize;
        for (index, byte) in expected.iter_mut().enumerate() {
            let new = match permitted.new {
                New::Zeroes => 0,
                New::Data(data) => data[first + index],
            };
            if found[index] == new {
                *byte = new;
            }
        }
        if expected != found {
            let sides = Sides { offset: at, reference: &expected, test: found, size: self.reference.size() };
            let noted = Some((number, self.noted(number, request)));
            self.mismatch(report::content_finding(&self.journal, noted, permitted.extent, sides))?;
        }
        write_back(&self.reference, at, &expected)
    }

    fn read_back_failed(&self, number: u32, request: Request, error: &Error) -> Result<()> {
        let what = format!("left bytes on the disk under test that cannot be read: {error}");
        let signature =
            Signature::Result { request: request.kind(), error: format!("read back {:?}", error.kind()) };
        self.mismatch(report::request_finding(number, self.noted(number, request), signature, &what))
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
        let mut content = self.take_buffer();
        let mut below = self.take_buffer();
        let mut at = extent.offset;
        while at < extent.end() {
            let length = (extent.end() - at).min(CHUNK_BYTES as u64) as usize;
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
        self.return_buffer(content);
        self.return_buffer(below);
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
    if content.iter().all(|byte| *byte == 0) {
        reference.write_zeroes(
            Extent::new(at, content.len() as u64),
            ZeroFlags { may_unmap: true, ..ZeroFlags::default() },
        )
    } else {
        reference.write(at, content, WriteFlags::default())
    }
}
