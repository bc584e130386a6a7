//! The copying: which ranges, in which pieces, by how many threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use blk_core::{Error, Extent, Result, WriteFlags, ZeroFlags};

use super::super::chain::Chain;
use super::super::failure::{Failure, Outcome, complain};
use super::super::image::Image;
use super::super::progress::Progress;
use super::super::size::{SECTOR_BYTES, ratio};
use super::sparse;

/// How many bytes are read and written at once.
const BUFFER_BYTES: u64 = 2 << 20;

/// How the copying is to be done.
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Settings {
    /// Zeroes of at least so many bytes are not stored; 0 stores everything.
    pub(super) sparse_bytes: u64,
    /// Most bytes a second.
    pub(super) rate: Option<u64>,
    /// Threads that read and write; with more than one the order of writes is open.
    pub(super) writers: usize,
    pub(super) compressed: bool,
    /// What cannot be read becomes zeroes.
    pub(super) salvage: bool,
    /// Nothing is said of what cannot be read.
    pub(super) quiet: bool,
    /// The target reads as zeroes now.
    pub(super) target_is_zero: bool,
    /// The target lies over another disk.
    pub(super) over_backing: bool,
    /// The unit in which the target allocates.
    pub(super) cluster_bytes: u64,
}

/// An image that is read.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) image: Image,
    pub(super) chain: Chain,
}

impl Source {
    pub(super) fn new(image: Image) -> Self {
        let chain = Chain::of(&image);
        Self { image, chain }
    }
}

/// What is to be done with a range of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// Its bytes are copied.
    Copy,
    /// The target is to read as zeroes there.
    Zero,
    /// The disk below the target shows there.
    Skip,
}

/// A piece of work: from which source, where in it, and where in the target.
#[derive(Debug, Clone, Copy)]
struct Piece {
    source: usize,
    extent: Extent,
    target_offset: u64,
    work: Work,
}

/// A copy that is under way.
#[derive(Debug)]
pub(super) struct Copy<'a> {
    program: &'a str,
    sources: &'a [Source],
    target: &'a Image,
    settings: Settings,
}

impl<'a> Copy<'a> {
    pub(super) fn new(
        program: &'a str,
        sources: &'a [Source],
        target: &'a Image,
        settings: Settings,
    ) -> Self {
        Self { program, sources, target, settings }
    }

    /// Copies everything.
    pub(super) fn run(&self, progress: Progress) -> Outcome<()> {
        let all = self.count_copied()?;
        let state = Mutex::new(State { progress, done: 0, all, started: Instant::now() });
        let plan = Mutex::new(Plan::new(self));
        let failed = AtomicBool::new(false);
        let work = || -> Outcome<()> {
            while !failed.load(Ordering::Relaxed) {
                let next = plan.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(piece) = next else { break };
                let done = piece.and_then(|piece| self.carry_out(piece, &state));
                if done.is_err() {
                    failed.store(true, Ordering::Relaxed);
                    return done;
                }
            }
            Ok(())
        };
        thread::scope(|scope| {
            let others: Vec<_> = (1..self.settings.writers).map(|_| scope.spawn(work)).collect();
            let mut result = work();
            for other in others {
                let ended = other.join().unwrap_or_else(|_| Err(Failure::new("a thread has ended early")));
                result = result.and(ended);
            }
            result
        })?;
        state.into_inner().unwrap_or_else(PoisonError::into_inner).progress.finish()
    }

    /// Bytes that will be read: what the progress is measured by.
    fn count_copied(&self) -> Outcome<u64> {
        let mut bytes = 0;
        for piece in Plan::new(self) {
            let piece = piece?;
            bytes += if piece.work == Work::Copy { piece.extent.length } else { 0 };
        }
        Ok(bytes)
    }

    /// What is to be done at the start of `extent`, and for how far.
    fn plan_run(&self, source: &Source, extent: Extent) -> Result<(u64, Work)> {
        if self.settings.over_backing && extent.offset < source.image.disk.size() {
            // Only the source's own layer counts: the disks below are to be alike.
            let inside = extent.length.min(source.image.disk.size() - extent.offset);
            let status = source.image.disk.block_status(Extent::new(extent.offset, inside))?;
            let work = match (status.zero, status.allocated) {
                (true, _) => self.zero_work(),
                (false, true) => Work::Copy,
                (false, false) => Work::Skip,
            };
            return Ok((status.length, work));
        }
        let status = source.chain.status(extent)?;
        Ok((status.length, if status.zero { self.zero_work() } else { Work::Copy }))
    }

    /// Zeroes are data where everything is to be stored.
    fn zero_work(&self) -> Work {
        if self.settings.sparse_bytes == 0 { Work::Copy } else { Work::Zero }
    }

    fn carry_out(&self, piece: Piece, state: &Mutex<State>) -> Outcome<()> {
        let failed = |error: &Error| {
            Failure::new(format!("error at byte {} of the target: {error}", piece.target_offset))
        };
        match piece.work {
            Work::Skip => Ok(()),
            Work::Zero => self.zero(piece.target_offset, piece.extent.length).map_err(|error| failed(&error)),
            Work::Copy => {
                let source = &self.sources[piece.source];
                let mut bytes = vec![0; piece.extent.length as usize];
                self.read(source, piece.extent.offset, &mut bytes)?;
                self.write(piece.target_offset, &bytes).map_err(|error| failed(&error))?;
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                state.advance(piece.extent.length, self.settings.rate)
            }
        }
    }

    fn read(&self, source: &Source, offset: u64, bytes: &mut [u8]) -> Outcome<()> {
        let failed = |error: &Error| {
            Failure::new(format!("error at byte {offset} of '{}': {error}", source.image.name))
        };
        match source.image.read(offset, bytes) {
            Ok(()) => Ok(()),
            Err(error) if !self.settings.salvage => Err(failed(&error)),
            Err(_) => {
                self.read_what_can_be(source, offset, bytes);
                Ok(())
            }
        }
    }

    /// Sector by sector; those that cannot be read become zeroes.
    fn read_what_can_be(&self, source: &Source, offset: u64, bytes: &mut [u8]) {
        for (index, sector) in bytes.chunks_mut(SECTOR_BYTES as usize).enumerate() {
            let at = offset + index as u64 * SECTOR_BYTES;
            if let Err(error) = source.image.read(at, sector) {
                sector.fill(0);
                if !self.settings.quiet {
                    complain(
                        self.program,
                        &format!("warning: byte {at} of '{}': {error}", source.image.name),
                    );
                }
            }
        }
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let flags = WriteFlags { compressed: self.settings.compressed, ..WriteFlags::default() };
        if self.settings.compressed {
            let stored = self.settings.sparse_bytes == 0 || !sparse::is_zero(bytes);
            return if stored {
                self.target.disk.write(offset, bytes, flags)
            } else {
                self.zero(offset, bytes.len() as u64)
            };
        }
        for (range, is_data) in sparse::split(bytes, offset, self.settings.sparse_bytes) {
            let at = offset + range.start as u64;
            if is_data {
                self.target.disk.write(at, &bytes[range], flags)?;
            } else {
                self.zero(at, range.len() as u64)?;
            }
        }
        Ok(())
    }

    fn zero(&self, offset: u64, length: u64) -> Result<()> {
        if self.settings.target_is_zero {
            return Ok(());
        }
        self.target
            .disk
            .write_zeroes(Extent::new(offset, length), ZeroFlags { may_unmap: true, ..ZeroFlags::default() })
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

/// The pieces of a copy, in order. Ranges to be copied come in pieces that fit into the buffer; compressed ones are whole
/// clusters of the target.
#[derive(Debug)]
struct Plan<'a> {
    copy: &'a Copy<'a>,
    source: usize,
    /// Where in the source the next piece starts.
    at: u64,
    /// Where in the target the source starts.
    base: u64,
}

impl<'a> Plan<'a> {
    const fn new(copy: &'a Copy<'a>) -> Self {
        Self { copy, source: 0, at: 0, base: 0 }
    }

    fn piece(&self, rest: Extent) -> Outcome<Piece> {
        let source = &self.copy.sources[self.source];
        let failed = |error| Failure::of(&source.image.name, &error);
        let (mut length, mut work) = self.copy.plan_run(source, rest).map_err(failed)?;
        if work == Work::Copy {
            length = length.min(BUFFER_BYTES);
        }
        let unit = self.copy.settings.cluster_bytes;
        if self.copy.settings.compressed {
            // A compressed cluster is written whole: one that is zero only in part is copied.
            let whole = (unit - (self.base + self.at) % unit).min(rest.length);
            if work == Work::Copy || length < whole {
                (length, work) = (whole, Work::Copy);
            } else {
                length = if length == rest.length { length } else { whole + (length - whole) / unit * unit };
            }
        }
        let extent = Extent::new(rest.offset, length);
        Ok(Piece { source: self.source, extent, target_offset: self.base + self.at, work })
    }
}

impl Iterator for Plan<'_> {
    type Item = Outcome<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut size = self.copy.sources.get(self.source)?.image.size();
        while self.at >= size {
            self.source += 1;
            self.base += size;
            self.at = 0;
            size = self.copy.sources.get(self.source)?.image.size();
        }
        let piece = self.piece(Extent::between(self.at, size));
        match &piece {
            Ok(piece) => self.at += piece.extent.length,
            // Nothing can be said about what follows.
            Err(_) => self.source = self.copy.sources.len(),
        }
        Some(piece)
    }
}
