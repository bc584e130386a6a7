//! What is to be done, piece by piece, in the order of the target.

use blk_core::Extent;

use super::super::failure::{Failure, Outcome};
use super::copy::Settings;
use super::sources::{Kind, Located, Sources};

/// How many bytes are read and written at once: what was read is still in its processor's cache when it is
/// written.
pub(super) const BUFFER_BYTES: u64 = 512 << 10;

/// What is to be done with a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// Its bytes are copied.
    Copy,
    /// The target is to read as zeroes there.
    Zero,
    /// The target's backing file shows there.
    Skip,
}

/// A piece of work; the offsets of the target and of the sources laid end to end are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) extent: Extent,
    pub(super) work: Work,
}

/// The pieces of a copy, in order. Ranges to be copied come in pieces that fit into the buffer; compressed
/// ones are whole clusters of the target.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    sources: &'a Sources<'a>,
    settings: Settings,
    /// Where the next piece starts.
    at: u64,
    /// What is known of the bytes from `at` on: a source is asked once for each of its runs. What is known to
    /// be zeroes is used up at once, so that nobody can have written it meanwhile.
    known: Option<Piece>,
    failed: bool,
}

impl<'a> Plan<'a> {
    pub(super) const fn new(sources: &'a Sources<'a>, settings: Settings) -> Self {
        Self { sources, settings, at: 0, known: None, failed: false }
    }

    /// The run at `offset`, which is the one that is known, or is asked for now.
    fn run_at(&mut self, offset: u64) -> std::result::Result<Piece, Located> {
        let is_inside = |known: &Piece| known.extent.offset <= offset && offset < known.extent.end();
        if let Some(known) = self.known.filter(is_inside) {
            return Ok(Piece { extent: Extent::between(offset, known.extent.end()), ..known });
        }
        let rest = Extent::between(offset, self.sources.size());
        let (mut length, kind) = match self.sources.status(rest, self.settings.below_bytes) {
            // The read will tell which bytes cannot be had.
            Err(_) if self.settings.salvage => (rest.length.min(BUFFER_BYTES), Kind::Data),
            answered => answered?,
        };
        let work = match kind {
            Kind::Data => Work::Copy,
            // Zeroes are data where everything is to be stored.
            Kind::Zero if self.settings.sparse_bytes == 0 => Work::Copy,
            Kind::Zero => Work::Zero,
            Kind::Backing => Work::Skip,
        };
        if let (Work::Zero, Some(from)) = (work, self.settings.zeroes_from())
            && offset < from
        {
            length = length.min(from - offset);
        }
        let run = Piece { extent: Extent::new(offset, length), work };
        self.known = Some(run);
        Ok(run)
    }

    fn piece(&mut self) -> std::result::Result<Piece, Located> {
        let first = self.run_at(self.at)?;
        if self.settings.compressed {
            return Ok(self.whole_clusters(first));
        }
        if first.work != Work::Copy {
            return Ok(first);
        }
        // Pieces end where the buffer would end if it were laid over the target again and again.
        let limit = (self.at - self.at % BUFFER_BYTES + BUFFER_BYTES).min(self.sources.size());
        let mut end = first.extent.end();
        while end < limit {
            // An error is said when the piece that it stands at begins.
            match self.run_at(end) {
                Ok(next) if next.work == Work::Copy => end = next.extent.end(),
                _ => break,
            }
        }
        Ok(Piece { extent: Extent::between(self.at, end.min(limit)), ..first })
    }

    /// A compressed cluster is written whole: one that is zero only in part is copied.
    fn whole_clusters(&self, run: Piece) -> Piece {
        let unit = self.settings.cluster_bytes;
        let Piece { extent, mut work } = run;
        let at_most =
            if work == Work::Copy { extent.length.min(BUFFER_BYTES.max(unit)) } else { extent.length };
        let mut length = at_most / unit * unit;
        if extent.offset + at_most == self.sources.size() {
            length = at_most;
        } else if length == 0 {
            length = unit.min(self.sources.size() - extent.offset);
            work = Work::Copy;
        }
        Piece { extent: Extent::new(extent.offset, length), work }
    }
}

impl Iterator for Plan<'_> {
    type Item = Outcome<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.at >= self.sources.size() {
            return None;
        }
        let piece = self.piece().map_err(|Located { name, offset, error }| {
            // Nothing can be said about what follows.
            self.failed = true;
            Failure::new(format!("cannot ask for the status at offset {offset} of '{name}': {error}"))
        });
        if let Ok(piece) = &piece {
            self.at = piece.extent.end();
        }
        Some(piece)
    }
}
