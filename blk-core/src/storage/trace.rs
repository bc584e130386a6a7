//! Storage that keeps a list of what is done to it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::fault::Operation;
use super::{PassThrough, Storage};
use crate::sync::Mutex;
use crate::{ErrorKind, Extent, Result};

/// An operation that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceEntry {
    /// Its number, counted from 1.
    pub number: u64,
    /// What it was.
    pub operation: Operation,
    /// Which bytes; for [`Operation::SetLen`] the new length as the offset.
    pub extent: Extent,
    /// How it failed, if it did.
    pub error: Option<ErrorKind>,
}

impl fmt::Display for TraceEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Extent { offset, length } = self.extent;
        match self.operation {
            Operation::Sync => write!(f, "#{} sync", self.number)?,
            Operation::SetLen => write!(f, "#{} truncate {offset:#x}", self.number)?,
            operation => write!(f, "#{} {operation:?} {offset:#x} {length}", self.number)?,
        }
        match self.error {
            Some(error) => write!(f, ": {error:?}"),
            None => Ok(()),
        }
    }
}

/// A storage over another one that remembers the last operations.
#[derive(Debug)]
pub struct TraceStorage {
    inner: Arc<dyn Storage>,
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    count: u64,
    entries: VecDeque<TraceEntry>,
}

impl TraceStorage {
    /// Remembers the last `capacity` operations on `inner`.
    pub fn new(inner: Arc<dyn Storage>, capacity: usize) -> Self {
        Self { inner, capacity, state: Mutex::new(State::default()) }
    }

    /// The remembered operations, oldest first.
    pub fn entries(&self) -> Vec<TraceEntry> {
        self.state.lock().entries.iter().copied().collect()
    }

    /// Operations so far.
    pub fn operation_count(&self) -> u64 {
        self.state.lock().count
    }

    fn note(&self, operation: Operation, extent: Extent, result: Result<()>) -> Result<()> {
        let mut state = self.state.lock();
        state.count += 1;
        if state.entries.len() == self.capacity {
            state.entries.pop_front();
        }
        let error = result.as_ref().err().map(crate::Error::kind);
        let number = state.count;
        if self.capacity > 0 {
            state.entries.push_back(TraceEntry { number, operation, extent, error });
        }
        result
    }
}

impl PassThrough for TraceStorage {
    fn inner(&self) -> &dyn Storage {
        &*self.inner
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.note(Operation::SetLen, Extent::new(length, 0), self.inner.set_len(length))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let extent = Extent::new(offset, buf.len() as u64);
        self.note(Operation::Read, extent, self.inner.read_at(offset, buf))
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.note(Operation::Write, Extent::new(offset, buf.len() as u64), self.inner.write_at(offset, buf))
    }

    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        self.note(Operation::WriteZeroes, extent, self.inner.write_zeroes_at(extent))
    }

    fn punch_hole(&self, extent: Extent) -> Result<()> {
        self.note(Operation::PunchHole, extent, self.inner.punch_hole(extent))
    }

    fn zero_fast(&self, extent: Extent, unmap: bool) -> Result<()> {
        let operation = if unmap { Operation::PunchHole } else { Operation::WriteZeroes };
        self.note(operation, extent, self.inner.zero_fast(extent, unmap))
    }

    fn sync(&self) -> Result<()> {
        self.note(Operation::Sync, Extent::default(), self.inner.sync())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::TraceStorage;
    use crate::{MemoryStorage, Storage};

    #[test]
    fn the_last_operations_are_kept_with_their_numbers() {
        let full = MemoryStorage::with_capacity_limit(100);
        let storage = TraceStorage::new(Arc::new(full), 3);
        storage.set_len(100).unwrap();
        storage.write_at(16, &[1; 4]).unwrap();
        storage.write_at(99, &[1; 4]).unwrap_err();
        storage.sync().unwrap();
        let lines: Vec<String> = storage.entries().iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["#2 Write 0x10 4", "#3 Write 0x63 4: NoSpace", "#4 sync"]);
    }
}
