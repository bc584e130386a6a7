//! The copying: several threads read, compress and decompress; what is written keeps its order.

use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use blk_core::{Compressed, Extent, Result, WriteFlags, ZeroFlags};

use super::super::failure::{Failure, Outcome, complain};
use super::super::image::Image;
use super::super::pages::Pages;
use super::super::progress::Progress;
use super::super::size::ratio;
use super::plan::{BUFFER_BYTES, Piece, Plan, Work};
use super::sources::{Located, Lost, Source, Sources};
use super::sparse;
use super::turns::{StopsOnPanic, Turns};

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
    pub(super) compressed: bool,
    /// What cannot be read becomes zeroes.
    pub(super) salvage: bool,
    /// Nothing is said of what cannot be read.
    pub(super) quiet: bool,
    /// The target reads as zeroes now.
    pub(super) target_is_zero: bool,
    /// The target has a backing file.
    pub(super) over_backing: bool,
    /// The unit in which the target allocates.
    pub(super) cluster_bytes: u64,
}

/// A thread more is not worth its start for fewer bytes.
const THREAD_BYTES_MIN: u64 = 1 << 20;

/// A copy that is under way.
#[derive(Debug)]
pub(super) struct Copy<'a> {
    program: &'a str,
    sources: Sources<'a>,
    target: &'a Image,
    settings: Settings,
}

/// What the threads share.
#[derive(Debug)]
struct Shared<'a> {
    /// And the number of the next piece.
    plan: Mutex<(u64, Plan<'a>)>,
    turns: Turns,
    state: Mutex<State>,
}

/// A piece whose bytes are in the buffer, and what becomes of them.
#[derive(Debug, Default)]
struct Prepared<'b> {
    parts: Vec<(u64, Part<'b>)>,
    /// Bytes that were read.
    copied: u64,
    lost: Vec<Lost>,
}

#[derive(Debug)]
enum Part<'b> {
    Zeroes(u64),
    Data(&'b [u8]),
    Compressed(Compressed<'b>),
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
        let shared = Shared {
            plan: Mutex::new((0, self.plan())),
            turns: Turns::default(),
            state: Mutex::new(State { progress, done: 0, all, started: Instant::now() }),
        };
        thread::scope(|scope| {
            let others: Vec<_> =
                (1..self.thread_count()).map(|_| scope.spawn(|| self.work(&shared))).collect();
            let mut result = self.work(&shared);
            for other in others {
                let ended = other.join().unwrap_or_else(|_| Err(Failure::new("a thread has ended early")));
                result = result.and(ended);
            }
            result
        })?;
        shared.state.into_inner().unwrap_or_else(PoisonError::into_inner).progress.finish()
    }

    fn thread_count(&self) -> usize {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let worth = usize::try_from(self.sources.size() / THREAD_BYTES_MIN).unwrap_or(usize::MAX);
        self.settings.threads.min(processors).min(worth).max(1)
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

    /// Does one piece after the other, until there is none, or one has failed.
    fn work(&self, shared: &Shared<'_>) -> Outcome<()> {
        let _guard = StopsOnPanic(&shared.turns);
        let mut buffer = Pages::new(BUFFER_BYTES.max(self.settings.cluster_bytes) as usize);
        while let Some((number, piece)) = shared.next_piece() {
            // An error too is said when all before it is done.
            let prepared = piece.and_then(|piece| self.prepare(piece, &mut buffer));
            let goes_on =
                if self.settings.any_order { !shared.turns.are_stopped() } else { shared.turns.wait(number) };
            if !goes_on {
                break;
            }
            let done = prepared.and_then(|prepared| self.finish(&prepared, shared));
            if done.is_err() {
                shared.turns.stop();
                return done;
            }
            shared.turns.done();
        }
        Ok(())
    }

    /// What can be done of a piece before its turn: all but writing.
    fn prepare<'b>(&self, piece: Piece, buffer: &'b mut [u8]) -> Outcome<Prepared<'b>> {
        let Extent { offset, length } = piece.extent;
        match piece.work {
            Work::Skip => Ok(Prepared::default()),
            Work::Zero => Ok(Prepared { parts: vec![(offset, Part::Zeroes(length))], ..Prepared::default() }),
            Work::Copy => {
                let bytes = &mut buffer[..length as usize];
                let lost = self.read(offset, bytes)?;
                let parts = self.split(offset, bytes)?;
                Ok(Prepared { parts, copied: length, lost })
            }
        }
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
    fn split<'b>(&self, offset: u64, bytes: &'b [u8]) -> Outcome<Vec<(u64, Part<'b>)>> {
        let sparse_bytes = self.settings.sparse_bytes;
        if self.settings.compressed {
            let clusters = bytes.chunks(self.settings.cluster_bytes as usize).enumerate();
            let parts = clusters.map(|(index, cluster)| {
                let at = offset + index as u64 * self.settings.cluster_bytes;
                let part = self.compress(at, cluster).map_err(|error| self.write_failed(at, &error))?;
                Ok((at, part))
            });
            return parts.collect();
        }
        let part = |(range, is_data): sparse::Part| {
            let at = offset + range.start as u64;
            let length = range.len() as u64;
            (at, if is_data { Part::Data(&bytes[range]) } else { Part::Zeroes(length) })
        };
        Ok(sparse::split(bytes, offset, sparse_bytes).into_iter().map(part).collect())
    }

    fn compress<'b>(&self, at: u64, cluster: &'b [u8]) -> Result<Part<'b>> {
        let length = cluster.len() as u64;
        if self.settings.sparse_bytes > 0 && sparse::is_zero(cluster) {
            return Ok(Part::Zeroes(length));
        }
        if length < self.settings.cluster_bytes && at + length < self.target.disk.size() {
            // The target goes on inside this cluster, so it cannot be compressed.
            return Ok(Part::Data(cluster));
        }
        self.target.disk.compress(cluster).map(Part::Compressed)
    }

    /// Writes a piece whose turn has come.
    fn finish(&self, prepared: &Prepared<'_>, shared: &Shared<'_>) -> Outcome<()> {
        if !self.settings.quiet {
            for lost in &prepared.lost {
                complain(self.program, &format!("warning: {lost}"));
            }
        }
        for (at, part) in &prepared.parts {
            self.write(*at, part).map_err(|error| self.write_failed(*at, &error))?;
        }
        if prepared.copied == 0 {
            return Ok(());
        }
        let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.advance(prepared.copied, self.settings.rate)
    }

    fn write_failed(&self, at: u64, error: &blk_core::Error) -> Failure {
        Failure::new(format!("error while writing at byte {at} of '{}': {error}", self.target.name))
    }

    fn write(&self, offset: u64, part: &Part<'_>) -> Result<()> {
        let disk = &self.target.disk;
        match part {
            Part::Data(bytes) => disk.write(offset, bytes, WriteFlags::default()),
            Part::Compressed(compressed) => disk.write_compressed(offset, compressed),
            Part::Zeroes(_) if self.settings.target_is_zero => Ok(()),
            Part::Zeroes(length) => {
                let flags = ZeroFlags { may_unmap: true, ..ZeroFlags::default() };
                disk.write_zeroes(Extent::new(offset, *length), flags)
            }
        }
    }
}

impl Shared<'_> {
    fn next_piece(&self) -> Option<(u64, Outcome<Piece>)> {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let piece = plan.1.next()?;
        let number = plan.0;
        plan.0 += 1;
        Some((number, piece))
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
