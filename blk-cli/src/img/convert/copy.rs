//! The copying: several threads read, compress and decompress; what is written keeps its order.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use blk_core::bytes::is_zero;
use blk_core::{Compressed, Extent, Result, WriteFlags, ZeroFlags};

use super::super::crew::{self, Job, thread_count};
use super::super::failure::{Failure, Outcome, complain};
use super::super::image::Image;
use super::super::pages::Pages;
use super::super::progress::Progress;
use super::super::size::{ratio, whole_sectors};
use super::plan::{BUFFER_BYTES, Piece, Plan, Work};
use super::sources::{Located, Lost, Source, Sources};
use super::sparse;

/// How the copying is to be done.
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Settings {
    /// Zeroes of at least so many bytes are not stored; 0 stores everything.
    pub(super) sparse_bytes: u64,
    /// Most bytes a second.
    pub(super) rate: Option<u64>,
    /// Most threads that read and write.
    pub(super) threads: usize,
    /// The order of writes is open.
    pub(super) any_order: bool,
    /// What is written does not depend on the order, so each thread writes what it has read.
    pub(super) writes_ahead: bool,
    pub(super) compressed: bool,
    /// What cannot be read becomes zeroes.
    pub(super) salvage: bool,
    /// Nothing is said of what cannot be read.
    pub(super) quiet: bool,
    /// The target reads as zeroes now.
    pub(super) target_is_zero: bool,
    /// The size of the target's backing file, where it has one.
    pub(super) below_bytes: Option<u64>,
    /// Nothing is stored in the target now.
    pub(super) is_new: bool,
    /// The unit in which the target allocates.
    pub(super) cluster_bytes: u64,
}

impl Settings {
    /// From where on the target shows zeroes that nobody has written: the end of its backing file, if nothing
    /// is stored in it.
    pub(super) fn zeroes_from(&self) -> Option<u64> {
        self.below_bytes.filter(|_| self.is_new).map(whole_sectors)
    }
}

/// A copy that is under way.
#[derive(Debug)]
pub(super) struct Copy<'a> {
    program: &'a str,
    sources: Sources<'a>,
    target: &'a Image,
    settings: Settings,
}

/// A copy that is under way, and how far it is.
#[derive(Debug)]
struct Running<'a> {
    copy: &'a Copy<'a>,
    state: Mutex<State>,
}

/// A piece whose bytes are in the buffer, and what becomes of them.
#[derive(Debug, Default)]
struct Prepared {
    /// What is left to be written.
    parts: Vec<Part>,
    /// Bytes that were read.
    copied: u64,
    lost: Vec<Lost>,
}

/// A part of the target, and what becomes of it.
#[derive(Debug)]
struct Part {
    at: u64,
    content: Content,
}

/// The ranges are those of the buffer.
#[derive(Debug)]
enum Content {
    Zeroes(u64),
    Data(Range<usize>),
    Compressed(Range<usize>, Compressed),
}

impl<'a> Copy<'a> {
    pub(super) fn new(
        program: &'a str,
        sources: &'a [Source],
        target: &'a Image,
        settings: Settings,
    ) -> Self {
        Self { program, sources: Sources::new(sources), target, settings }
    }

    /// Copies everything.
    pub(super) fn run(&self, progress: Progress) -> Outcome<()> {
        let all = if progress.is_shown() { self.count_copied()? } else { 0 };
        let state = State { progress, done: 0, all, started: Instant::now() };
        let running = Running { copy: self, state: Mutex::new(state) };
        let threads = thread_count(self.sources.size(), self.settings.threads);
        crew::work(&running, self.plan(), threads, self.settings.any_order)?;
        running.state.into_inner().unwrap_or_else(PoisonError::into_inner).progress.finish()
    }

    fn plan(&self) -> Plan<'_> {
        Plan::new(&self.sources, self.settings)
    }

    /// Bytes that will be read: what the progress is measured by.
    fn count_copied(&self) -> Outcome<u64> {
        let mut bytes = 0;
        for piece in self.plan() {
            let piece = piece?;
            bytes += if piece.work == Work::Copy { piece.extent.length } else { 0 };
        }
        Ok(bytes)
    }

    /// What can be done of a piece before its turn: all but writing, where the order of writes matters.
    fn prepare(&self, piece: Piece, buffer: &mut [u8]) -> Outcome<Prepared> {
        let Extent { offset, length } = piece.extent;
        let mut prepared = match piece.work {
            Work::Skip => Prepared::default(),
            Work::Zero => {
                let parts = vec![Part { at: offset, content: Content::Zeroes(length) }];
                Prepared { parts, ..Prepared::default() }
            }
            Work::Copy => {
                let bytes = &mut buffer[..length as usize];
                let lost = self.read(offset, bytes)?;
                Prepared { parts: self.split(offset, bytes)?, copied: length, lost }
            }
        };
        if self.settings.writes_ahead {
            self.write_all(&prepared.parts, buffer)?;
            prepared.parts.clear();
        }
        Ok(prepared)
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> Outcome<Vec<Lost>> {
        match self.sources.read(offset, bytes) {
            Ok(()) => Ok(Vec::new()),
            Err(_) if self.settings.salvage => Ok(self.sources.read_what_can_be(offset, bytes)),
            Err(Located { name, offset, error }) => {
                Err(Failure::new(format!("error while reading at byte {offset} of '{name}': {error}")))
            }
        }
    }

    /// What has to be stored of `bytes`, and how.
    fn split(&self, offset: u64, bytes: &[u8]) -> Outcome<Vec<Part>> {
        if self.settings.compressed {
            let starts = (0..bytes.len()).step_by(self.settings.cluster_bytes as usize);
            return starts.map(|start| self.compress(offset, bytes, start)).collect();
        }
        let part = |(range, is_data): sparse::Part| {
            let at = offset + range.start as u64;
            Part {
                at,
                content: if is_data { Content::Data(range) } else { Content::Zeroes(range.len() as u64) },
            }
        };
        Ok(sparse::split(bytes, offset, self.settings.sparse_bytes).into_iter().map(part).collect())
    }

    /// What becomes of the cluster that starts at `start` of `bytes`, which lie at `offset`.
    fn compress(&self, offset: u64, bytes: &[u8], start: usize) -> Outcome<Part> {
        let cluster_bytes = self.settings.cluster_bytes;
        let range = start..bytes.len().min(start + cluster_bytes as usize);
        let (at, length) = (offset + start as u64, range.len() as u64);
        let cluster = &bytes[range.clone()];
        let content = if self.settings.sparse_bytes > 0 && is_zero(cluster) {
            Content::Zeroes(length)
        } else if length < cluster_bytes && at + length < self.target.disk.size() {
            // The target goes on inside this cluster, so it cannot be compressed.
            Content::Data(range)
        } else {
            let packed = self.target.disk.compress(cluster).map_err(|error| self.write_failed(at, &error))?;
            Content::Compressed(range, packed)
        };
        Ok(Part { at, content })
    }

    /// Does the rest of a piece whose turn has come.
    fn finish(&self, prepared: &Prepared, buffer: &[u8]) -> Outcome<()> {
        if !self.settings.quiet {
            for lost in &prepared.lost {
                complain(self.program, &format!("warning: {lost}"));
            }
        }
        self.write_all(&prepared.parts, buffer)
    }

    fn write_all(&self, parts: &[Part], buffer: &[u8]) -> Outcome<()> {
        for part in parts {
            self.write(part, buffer).map_err(|error| self.write_failed(part.at, &error))?;
        }
        Ok(())
    }

    fn write_failed(&self, at: u64, error: &blk_core::Error) -> Failure {
        Failure::new(format!("error while writing at byte {at} of '{}': {error}", self.target.name))
    }

    fn write(&self, part: &Part, buffer: &[u8]) -> Result<()> {
        let disk = &self.target.disk;
        match &part.content {
            Content::Data(range) => disk.write(part.at, &buffer[range.clone()], WriteFlags::default()),
            Content::Compressed(range, compressed) => {
                disk.write_compressed(part.at, &buffer[range.clone()], compressed)
            }
            Content::Zeroes(_) if self.settings.target_is_zero => Ok(()),
            Content::Zeroes(_) if self.settings.zeroes_from().is_some_and(|from| from <= part.at) => Ok(()),
            Content::Zeroes(length) => {
                let flags = ZeroFlags { may_unmap: true, ..ZeroFlags::default() };
                disk.write_zeroes(Extent::new(part.at, *length), flags)
            }
        }
    }
}

impl Job for Running<'_> {
    type Piece = Piece;
    type Buffer = Pages;
    type Prepared = Prepared;

    fn buffer(&self) -> Pages {
        Pages::new(BUFFER_BYTES.max(self.copy.settings.cluster_bytes) as usize)
    }

    fn prepare(&self, piece: Piece, buffer: &mut Pages) -> Outcome<Prepared> {
        self.copy.prepare(piece, buffer)
    }

    fn finish(&self, prepared: Prepared, buffer: &Pages) -> Outcome<bool> {
        self.copy.finish(&prepared, buffer)?;
        if prepared.copied > 0 {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.advance(prepared.copied, self.copy.settings.rate)?;
        }
        Ok(true)
    }
}

/// How far a copy is.
#[derive(Debug)]
struct State {
    progress: Progress,
    done: u64,
    all: u64,
    started: Instant,
}

impl State {
    /// So many bytes more are done; waits where that was faster than `rate` allows.
    fn advance(&mut self, bytes: u64, rate: Option<u64>) -> Outcome<()> {
        self.done += bytes;
        self.progress.set(self.done, self.all)?;
        if let Some(rate) = rate {
            let due = Duration::from_secs_f64(ratio(self.done, rate));
            thread::sleep(due.saturating_sub(self.started.elapsed()));
        }
        Ok(())
    }
}
