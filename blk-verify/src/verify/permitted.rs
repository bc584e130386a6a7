//! Differences that are permitted, and bringing the reference to what the disk under test has chosen.

use std::sync::atomic::Ordering;

use blk_core::bytes::is_zero;
use blk_core::{Error, Extent, Op, Result, WriteFlags, ZeroFlags};

use super::settle::alike;
use super::{UNREAD, Verify};
use crate::report::Finding;

/// What a request may leave where it did not simply succeed.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is about another refusal")]
pub(super) struct Permitted<'a> {
    /// Where bytes may be old or new.
    extent: Extent,
    new: New<'a>,
    /// The driver may lack the ability.
    may_be_unsupported: bool,
    /// The driver may want whole units.
    may_be_misaligned: bool,
    /// The host may be full.
    may_lack_space: bool,
    /// A part may be done when the driver says that it cannot do it.
    refusal_changes: bool,
}

/// What bytes become when a request does its work.
#[derive(Debug, Clone, Copy)]
enum New<'a> {
    /// What they were.
    Nothing,
    Zeroes,
    Data(&'a [u8]),
}

impl<'a> Permitted<'a> {
    /// Of a request that reads: no refusal, and no other content.
    pub(super) fn nothing() -> Self {
        Self {
            extent: Extent::default(),
            new: New::Zeroes,
            may_be_unsupported: false,
            may_be_misaligned: false,
            may_lack_space: false,
            refusal_changes: true,
        }
    }

    /// Of a request that writes: a full host is nobody's bug.
    fn of_writing(extent: Extent) -> Self {
        Self { extent, may_lack_space: true, ..Self::nothing() }
    }

    pub(super) fn write(extent: Extent, data: &'a [u8], flags: WriteFlags) -> Self {
        let optional = flags.compressed;
        let new = New::Data(data);
        Self { new, may_be_unsupported: optional, may_be_misaligned: optional, ..Self::of_writing(extent) }
    }

    pub(super) fn zeroes(extent: Extent, flags: ZeroFlags) -> Self {
        let refusal_changes = !flags.fast_only;
        Self { may_be_unsupported: flags.may_be_refused(), refusal_changes, ..Self::of_writing(extent) }
    }

    pub(super) fn discard(extent: Extent) -> Self {
        Self { may_be_unsupported: true, ..Self::of_writing(extent) }
    }

    pub(super) fn resize() -> Self {
        Self { may_be_unsupported: true, ..Self::of_writing(Extent::default()) }
    }

    /// Of a flush or a close, which write what earlier requests left in caches.
    pub(super) fn flush() -> Self {
        Self::of_writing(Extent::default())
    }

    /// Where bytes may be old or new.
    pub(super) fn extent(&self) -> Extent {
        self.extent
    }

    /// Whether the disk under test may refuse the request in this way.
    pub(super) fn refusal(&self, error: &Error) -> bool {
        match error {
            Error::Unsupported { .. } => self.may_be_unsupported,
            Error::Misaligned { .. } => self.may_be_misaligned,
            Error::NoSpace { .. } => self.may_lack_space,
            _ => false,
        }
    }

    /// What may be left when the disk under test refuses in this way.
    pub(super) fn after(self, error: &Error) -> Self {
        let is_refusal = matches!(error, Error::Unsupported { .. });
        if is_refusal && !self.refusal_changes { Self { new: New::Nothing, ..self } } else { self }
    }

    /// Makes `old`, the reference's bytes from disk address `at` on, what is allowed and nearest to `found`,
    /// the bytes of the disk under test.
    fn choose(&self, at: u64, found: &[u8], old: &mut [u8]) {
        match self.new {
            New::Nothing => {}
            // Most requests end up here: kept simple, so that it is done for many bytes at once.
            New::Zeroes => {
                old.iter_mut().zip(found).for_each(|(old, found)| *old = if *found == 0 { 0 } else { *old });
            }
            New::Data(data) => {
                let new = &data[(at - self.extent.offset) as usize..];
                let choose = |(old, (found, new)): (&mut u8, (&u8, &u8))| {
                    if found == new {
                        *old = *found;
                    }
                };
                old.iter_mut().zip(found.iter().zip(new)).for_each(choose);
            }
        }
    }
}

/// A piece of both disks, which starts at disk address `at`.
struct Piece<'a> {
    at: u64,
    /// What the disk under test holds there.
    found: &'a mut [u8],
    /// What the reference holds there.
    old: &'a mut [u8],
}

/// What reading a piece from the disk under test, and from the reference, came to.
type ReadBoth = (Result<()>, Result<()>);

impl Verify {
    /// Reads `extent` from both disks, piece by piece: small pieces where neither can read a large one, so
    /// that a bad sector hides no more than itself. What both can read is for `visit`, the rest for
    /// `unreadable`.
    #[inline]
    fn for_pieces(
        &self,
        extent: Extent,
        mut visit: impl FnMut(Piece<'_>) -> Result<()>,
        unreadable: impl Fn(ReadBoth) -> Result<()>,
    ) -> Result<()> {
        let mut buffers = self.buffers();
        let [found, old] = buffers.get();
        let (mut at, mut small_until) = (extent.offset, 0);
        while at < extent.end() {
            let longest = if at < small_until {
                self.small_bytes - at % self.small_bytes
            } else {
                self.chunk_bytes as u64
            };
            let length = (extent.end() - at).min(longest) as usize;
            let (found, old) = (&mut found[..length], &mut old[..length]);
            found.fill(UNREAD);
            let end = at + length as u64;
            match (self.test.read(at, found), self.reference.read(at, old)) {
                (Ok(()), Ok(())) => visit(Piece { at, found, old })?,
                (Err(_), Err(_)) if at >= small_until => {
                    small_until = end;
                    continue;
                }
                read => unreadable(read)?,
            }
            at = end;
        }
        Ok(())
    }

    /// Reads back what the disk under test has where it was free to choose, holds each byte against what is
    /// allowed, and brings the reference to the same.
    pub(super) fn adopt(&self, number: u32, request: Op, permitted: Permitted<'_>) -> Result<()> {
        let adopt = |piece: Piece<'_>| {
            if piece.found == piece.old {
                Ok(())
            } else {
                self.adopt_piece(number, request, permitted, piece)
            }
        };
        self.for_pieces(permitted.extent, adopt, |read| self.judge_unreadable(number, request, read))
    }

    /// Looks for a byte that is neither old nor new on the disk under test, while the reference still has the
    /// old ones.
    pub(super) fn third_value(&self, number: u32, request: Op, permitted: Permitted<'_>) -> Option<Finding> {
        let mut third = None;
        let look = |Piece { at, found, old }: Piece<'_>| {
            if third.is_none() && *found != *old {
                permitted.choose(at, found, old);
                if *found != *old {
                    third = Some(self.content_finding(number, request, permitted.extent, at, old, found));
                }
            }
            Ok(())
        };
        // It is judged later whether what cannot be read may be so; neither closure fails.
        let _ = self.for_pieces(permitted.extent, look, |_| Ok(()));
        third
    }

    /// Brings the reference to what the disk under test holds, after a request of which both may have done
    /// any part.
    pub(super) fn copy_to_reference(&self, number: u32, request: Op, extent: Extent) -> Result<()> {
        let copy = |Piece { at, found, old }: Piece<'_>| {
            if found == old { Ok(()) } else { self.write_back(at, found) }
        };
        self.for_pieces(extent, copy, |read| self.judge_unreadable(number, request, read))
    }

    #[cold]
    fn judge_unreadable(&self, number: u32, request: Op, read: ReadBoth) -> Result<()> {
        match read {
            // What neither can read back cannot differ.
            (Err(one), Err(other)) if alike(&one, &other) => Ok(()),
            (Err(error), _) if self.excused(&error) => Err(self.give_up(&format!(
                "what the disk under test holds after a failure of both disks cannot be read back: {error}"
            ))),
            (Err(error), _) => self.read_back_failed(number, request, &error),
            (Ok(()), Err(error)) => self.only_reference_failed(number, request, error),
            (Ok(()), Ok(())) => Ok(()),
        }
    }

    fn adopt_piece(
        &self,
        number: u32,
        request: Op,
        permitted: Permitted<'_>,
        Piece { at, found, old }: Piece<'_>,
    ) -> Result<()> {
        permitted.choose(at, found, old);
        let expected = old;
        if *expected != *found {
            self.mismatch(self.content_finding(number, request, permitted.extent, at, expected, found))?;
        }
        self.write_back(at, expected)
    }

    fn write_back(&self, at: u64, content: &[u8]) -> Result<()> {
        let written = if is_zero(content) {
            let flags = ZeroFlags { may_unmap: true, ..ZeroFlags::default() };
            self.reference.write_zeroes(Extent::new(at, content.len() as u64), flags)
        } else {
            self.reference.write(at, content, WriteFlags::default())
        };
        written.map_err(|error| {
            self.give_up(&format!("the reference cannot follow the disk under test: {error}"))
        })
    }

    /// From here on the disks may differ for a reason that is nobody's bug: nothing is proven any more.
    fn give_up(&self, cause: &str) -> Error {
        self.failed.store(true, Ordering::Relaxed);
        Error::Poisoned { cause: cause.to_owned() }
    }
}
