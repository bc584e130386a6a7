//! A simulated medium: storage that remembers what a crash could undo.
//!
//! ```text
//! driver -> Medium: applies each operation at once, and keeps a log of them
//! log    -> History: which operations are durable, which are pending   -> what may be left (states)
//! ```
//!
//! An operation is durable when a sync that was issued after it had completed has itself completed. All others are pending:
//! after a crash each atom of the image holds its durable value, or its value after any pending operation that touches it.

mod history;
mod states;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blk_core::storage::Step;
use blk_core::sync::model::in_one_step;
use blk_core::sync::{Mutex, point};
use blk_core::{Extent, MemoryStorage, Result, Storage, StorageRun};

pub use history::{History, Item, Pending};
pub use states::{Kept, States};

/// What an operation did to the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Bytes were written from an offset on.
    Write {
        /// First byte.
        offset: u64,
        /// What was written.
        bytes: Arc<[u8]>,
    },
    /// A range was made zero; it may have extended the image.
    Zero(Extent),
    /// A range was given back: after a crash it holds old bytes or zeroes. Never extends the image.
    Discard(Extent),
    /// The image was cut or extended to so many bytes.
    Truncate(u64),
    /// Everything before became durable.
    Sync,
}

/// One operation of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// What it did.
    pub change: Change,
    /// The step of the driver that it belongs to: the last that was named before it.
    pub step: &'static Step,
    /// Its place in the order of all points, issues and completions alike.
    pub issued: u64,
    /// Where in that order it completed; `None` while it is in flight.
    pub completed: Option<u64>,
}

/// Storage in memory with a log. Operations apply when they complete.
#[derive(Debug)]
pub struct Medium {
    live: MemoryStorage,
    /// Whether operations are logged.
    is_logging: AtomicBool,
    log: Mutex<Log>,
}

#[derive(Debug)]
struct Log {
    operations: Vec<Operation>,
    points: u64,
    step: &'static Step,
}

impl Medium {
    /// A medium that holds `image`, all of it durable.
    pub fn new(image: MemoryStorage) -> Self {
        let log = Log { operations: Vec::new(), points: 0, step: &Step::NONE };
        Self { live: image, is_logging: AtomicBool::new(true), log: Mutex::new(log) }
    }

    /// The operations that were logged since the last call, in the order in which they happened; those in flight come last.
    pub fn take_log(&self) -> Vec<Operation> {
        let mut operations = std::mem::take(&mut self.log.lock().operations);
        operations.sort_by_key(|operation| operation.completed.unwrap_or(u64::MAX));
        operations
    }

    /// How many issues and completions there were.
    pub fn points(&self) -> u64 {
        in_one_step(|| self.log.lock().points)
    }

    /// Logs nothing more: nobody is going to ask what a crash would leave.
    pub fn stop_logging(&self) {
        self.is_logging.store(false, Ordering::Relaxed);
    }

    fn is_logging(&self) -> bool {
        self.is_logging.load(Ordering::Relaxed)
    }

    /// Logs the issue, makes the change, logs the completion. One that fails has not happened.
    fn log(&self, change: Change, make: impl FnOnce(&MemoryStorage) -> Result<()>) -> Result<()> {
        let issued = in_one_step(|| self.log.lock().issue(change));
        // Where requests race, others go on between issue and completion.
        point();
        let result = in_one_step(|| {
            let result = make(&self.live);
            self.log.lock().complete(issued, result.is_ok());
            result
        });
        point();
        result
    }
}

impl Log {
    fn point(&mut self) -> u64 {
        self.points += 1;
        self.points
    }

    fn issue(&mut self, change: Change) -> u64 {
        let issued = self.point();
        self.operations.push(Operation { change, step: self.step, issued, completed: None });
        issued
    }

    fn complete(&mut self, issued: u64, has_happened: bool) {
        let completed = self.point();
        // The latest operations complete first, mostly.
        let place = self.operations.iter().rposition(|operation| operation.issued == issued);
        let Some(place) = place else { return };
        if has_happened {
            self.operations[place].completed = Some(completed);
        } else {
            self.operations.remove(place);
        }
    }
}

impl Storage for Medium {
    fn len(&self) -> Result<u64> {
        in_one_step(|| self.live.len())
    }

    fn set_len(&self, length: u64) -> Result<()> {
        if !self.is_logging() {
            return self.live.set_len(length);
        }
        self.log(Change::Truncate(length), |live| live.set_len(length))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        point();
        in_one_step(|| self.live.read_at(offset, buf))
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        if buf.is_empty() || !self.is_logging() {
            return self.live.write_at(offset, buf);
        }
        self.log(Change::Write { offset, bytes: buf.into() }, |live| live.write_at(offset, buf))
    }

    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        if extent.is_empty() || !self.is_logging() {
            return self.live.write_zeroes_at(extent);
        }
        self.log(Change::Zero(extent), |live| live.write_zeroes_at(extent))
    }

    fn punch_hole(&self, extent: Extent) -> Result<()> {
        if extent.is_empty() || !self.is_logging() {
            return self.live.punch_hole(extent);
        }
        self.log(Change::Discard(extent), |live| live.punch_hole(extent))
    }

    fn run_at(&self, offset: u64) -> Result<Option<StorageRun>> {
        in_one_step(|| self.live.run_at(offset))
    }

    fn sync(&self) -> Result<()> {
        if self.is_logging() { self.log(Change::Sync, |_| Ok(())) } else { Ok(()) }
    }

    fn step(&self, step: &'static Step) {
        if self.is_logging() {
            in_one_step(|| self.log.lock().step = step);
        }
    }
}
