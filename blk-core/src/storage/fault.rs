//! Storage that fails on purpose.
//!
//! Rules say which operation fails, with which error, and how much of it happens before. A run without rules counts the
//! operations, so that a test can let each of them fail in turn.

use std::io;
use std::sync::Arc;

use super::{Storage, StorageRun};
use crate::sync::{Condvar, Mutex};
use crate::{Error, Extent, Result};

/// The kinds of operations that rules can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// [`Storage::read_at`]
    Read,
    /// [`Storage::write_at`]
    Write,
    /// [`Storage::write_zeroes_at`]
    WriteZeroes,
    /// [`Storage::punch_hole`]
    PunchHole,
    /// [`Storage::set_len`]
    SetLen,
    /// [`Storage::sync`]
    Sync,
}

/// How much of an operation happens before it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effect {
    /// Nothing.
    #[default]
    None,
    /// The first half of its bytes.
    Half,
    /// All of it: only the answer is wrong.
    All,
}

/// Which operations fail, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultRule {
    /// Only operations of this kind; `None` for all.
    pub operation: Option<Operation>,
    /// Only operations that touch these bytes; `None` for all. Operations without a range always match.
    pub extent: Option<Extent>,
    /// How many matching operations succeed first.
    pub skip: u64,
    /// The operation fails every time from then on, not once.
    pub sticky: bool,
    /// Linux error number, such as 5 (EIO) or 28 (ENOSPC).
    pub errno: i32,
    /// What happens before it fails.
    pub effect: Effect,
}

/// A storage over another one, with rules.
#[derive(Debug)]
pub struct FaultStorage {
    below: Arc<dyn Storage>,
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<FaultRule>,
    count: u64,
    failed: u64,
    /// Operations of this kind wait.
    held: Option<Operation>,
    waiting: u64,
}

impl FaultStorage {
    /// A storage without rules over `below`.
    pub fn new(below: Arc<dyn Storage>) -> Self {
        Self { below, state: Mutex::new(State::default()), released: Condvar::new() }
    }

    /// Adds a rule. The first rule that matches an operation decides.
    pub fn add_rule(&self, rule: FaultRule) {
        self.state.lock().rules.push(rule);
    }

    /// Takes all rules away: the fault is gone.
    pub fn clear_rules(&self) {
        self.state.lock().rules.clear();
    }

    /// Operations so far, failed ones included.
    pub fn operation_count(&self) -> u64 {
        self.state.lock().count
    }

    /// Operations that a rule let fail.
    pub fn failed_count(&self) -> u64 {
        self.state.lock().failed
    }

    /// Lets operations of a kind wait from now on, until [`FaultStorage::release`].
    pub fn hold(&self, operation: Operation) {
        self.state.lock().held = Some(operation);
    }

    /// Lets those that wait go on.
    pub fn release(&self) {
        self.state.lock().held = None;
        self.released.notify_all();
    }

    /// How many operations are waiting.
    pub fn waiting_count(&self) -> u64 {
        self.state.lock().waiting
    }

    /// Counts an operation; returns the rule that lets it fail.
    fn arrive(&self, operation: Operation, extent: Option<Extent>) -> Option<FaultRule> {
        let mut state = self.state.lock();
        state.count += 1;
        while state.held == Some(operation) {
            state.waiting += 1;
            self.released.wait(&mut state);
            state.waiting -= 1;
        }
        let index = state.rules.iter().position(|rule| rule.matches(operation, extent))?;
        let rule = &mut state.rules[index];
        if rule.skip > 0 {
            rule.skip -= 1;
            return None;
        }
        let failing = rule.clone();
        if !failing.sticky {
            state.rules.remove(index);
        }
        state.failed += 1;
        Some(failing)
    }

    /// Makes an operation on a range, or fails as a rule says.
    fn ranged(
        &self,
        operation: Operation,
        name: &'static str,
        extent: Extent,
        make: impl FnOnce(Extent) -> Result<()>,
    ) -> Result<()> {
        let Some(rule) = self.arrive(operation, Some(extent)) else { return make(extent) };
        match rule.effect {
            Effect::None => {}
            Effect::Half => make(Extent::new(extent.offset, extent.length / 2))?,
            Effect::All => make(extent)?,
        }
        Err(rule.error(name, extent.offset))
    }

    /// Makes an operation without a range; half of it is none of it.
    fn whole(
        &self,
        operation: Operation,
        name: &'static str,
        make: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let Some(rule) = self.arrive(operation, None) else { return make() };
        if rule.effect == Effect::All {
            make()?;
        }
        Err(rule.error(name, 0))
    }
}

impl FaultRule {
    fn matches(&self, operation: Operation, extent: Option<Extent>) -> bool {
        let touches = match (self.extent, extent) {
            (Some(mine), Some(theirs)) => mine.overlaps(theirs),
            _ => true,
        };
        self.operation.is_none_or(|only| only == operation) && touches
    }

    fn error(&self, name: &'static str, offset: u64) -> Error {
        Error::io(name, offset, io::Error::from_raw_os_error(self.errno))
    }
}

impl Storage for FaultStorage {
    fn len(&self) -> Result<u64> {
        self.below.len()
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.whole(Operation::SetLen, "truncate", || self.below.set_len(length))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let extent = Extent::new(offset, buf.len() as u64);
        self.ranged(Operation::Read, "read", extent, |part| {
            self.below.read_at(offset, &mut buf[..part.length as usize])
        })
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let extent = Extent::new(offset, buf.len() as u64);
        self.ranged(Operation::Write, "write", extent, |part| {
            self.below.write_at(offset, &buf[..part.length as usize])
        })
    }

    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        self.ranged(Operation::WriteZeroes, "zero", extent, |part| self.below.write_zeroes_at(part))
    }

    fn punch_hole(&self, extent: Extent) -> Result<()> {
        self.ranged(Operation::PunchHole, "punch", extent, |part| self.below.punch_hole(part))
    }

    fn run_at(&self, offset: u64) -> Result<Option<StorageRun>> {
        self.below.run_at(offset)
    }

    fn sync(&self) -> Result<()> {
        self.whole(Operation::Sync, "sync", || self.below.sync())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryStorage;

    fn rule(operation: Operation, skip: u64, effect: Effect) -> FaultRule {
        FaultRule { operation: Some(operation), extent: None, skip, sticky: false, errno: 5, effect }
    }

    #[test]
    fn the_nth_write_fails_once_after_half_of_it() {
        let storage = FaultStorage::new(Arc::new(MemoryStorage::new()));
        storage.add_rule(rule(Operation::Write, 1, Effect::Half));
        storage.write_at(0, &[1; 8]).unwrap();
        let error = storage.write_at(0, &[2; 8]).unwrap_err();
        assert_eq!((error.errno(), storage.failed_count()), (5, 1));
        let mut read = [0; 8];
        storage.read_at(0, &mut read).unwrap();
        assert_eq!(read, [2, 2, 2, 2, 1, 1, 1, 1]);
        storage.write_at(0, &[3; 8]).unwrap();
        assert_eq!(storage.operation_count(), 4);
    }

    #[test]
    fn sticky_rules_stay_until_they_are_cleared_and_ranges_limit_them() {
        let storage = FaultStorage::new(Arc::new(MemoryStorage::new()));
        let extent = Some(Extent::new(100, 1));
        storage.add_rule(FaultRule {
            extent,
            sticky: true,
            errno: 28,
            ..rule(Operation::Write, 0, Effect::None)
        });
        storage.write_at(0, &[1; 100]).unwrap();
        for _ in 0..2 {
            assert!(matches!(storage.write_at(99, &[1; 2]), Err(Error::NoSpace { .. })));
        }
        storage.clear_rules();
        storage.write_at(99, &[1; 2]).unwrap();
    }

    #[test]
    fn held_operations_wait_until_they_are_released() {
        let storage = Arc::new(FaultStorage::new(Arc::new(MemoryStorage::new())));
        storage.hold(Operation::Sync);
        let other = Arc::clone(&storage);
        let thread = std::thread::spawn(move || other.sync());
        while storage.waiting_count() == 0 {
            std::thread::yield_now();
        }
        storage.write_at(0, &[1]).unwrap();
        storage.release();
        thread.join().unwrap().unwrap();
    }
}
