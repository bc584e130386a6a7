//! Storage that fails on purpose.
//!
//! Rules say which operation fails, with which error, and how much of it happens before, or at which [`Gate`]
//! it waits. A run without rules counts the operations, so that a test can let each of them fail in turn.

use std::io;
use std::sync::Arc;

use super::{Gate, PassThrough, Storage, StorageRun};
use crate::sync::Mutex;
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
    /// [`Storage::len`]
    Len,
    /// [`Storage::run_at`]
    RunAt,
}

impl Operation {
    /// All kinds, in the order of their declaration.
    pub const ALL: [Self; 8] = [
        Self::Read,
        Self::Write,
        Self::WriteZeroes,
        Self::PunchHole,
        Self::SetLen,
        Self::Sync,
        Self::Len,
        Self::RunAt,
    ];

    /// Whether it only asks, and changes nothing.
    pub const fn is_query(self) -> bool {
        matches!(self, Self::Read | Self::Len | Self::RunAt)
    }
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

/// What happens to an operation that a rule picks.
#[derive(Debug, Clone)]
pub enum FaultAction {
    /// It fails.
    Fail {
        /// Linux error number, such as 5 (EIO) or 28 (ENOSPC).
        errno: i32,
        /// What happens before it fails.
        effect: Effect,
    },
    /// It waits at a gate, and then happens.
    Hold(Arc<Gate>),
}

/// Which operations fail or wait. Each rule counts the operations that it matches for itself.
#[derive(Debug, Clone)]
pub struct FaultRule {
    /// Only operations of this kind; `None` for all.
    pub operation: Option<Operation>,
    /// Only operations that touch these bytes; `None` for all. Operations without a range always match.
    pub extent: Option<Extent>,
    /// How many matching operations are left alone first.
    pub skip: u64,
    /// All matching operations from then on, not only one.
    pub sticky: bool,
    /// What happens to them.
    pub action: FaultAction,
}

impl FaultRule {
    /// The next operation fails with `errno` and does nothing.
    pub fn fail(errno: i32) -> Self {
        Self::once(FaultAction::Fail { errno, effect: Effect::None })
    }

    /// The next operation waits at `gate`.
    pub fn hold(gate: &Arc<Gate>) -> Self {
        Self::once(FaultAction::Hold(Arc::clone(gate)))
    }

    fn once(action: FaultAction) -> Self {
        Self { operation: None, extent: None, skip: 0, sticky: false, action }
    }

    /// Only operations of this kind.
    #[must_use]
    pub fn on(self, operation: Operation) -> Self {
        Self { operation: Some(operation), ..self }
    }

    /// Only operations that touch these bytes.
    #[must_use]
    pub fn within(self, extent: Extent) -> Self {
        Self { extent: Some(extent), ..self }
    }

    /// Not before `skip` matching operations have been left alone.
    #[must_use]
    pub fn after(self, skip: u64) -> Self {
        Self { skip, ..self }
    }

    /// All matching operations, not only one.
    #[must_use]
    pub fn sticky(self) -> Self {
        Self { sticky: true, ..self }
    }

    /// What happens before the operation fails; nothing changes for a rule that holds.
    #[must_use]
    pub fn with_effect(mut self, after: Effect) -> Self {
        if let FaultAction::Fail { effect, .. } = &mut self.action {
            *effect = after;
        }
        self
    }

    fn matches(&self, operation: Operation, extent: Option<Extent>) -> bool {
        let touches = match (self.extent, extent) {
            (Some(mine), Some(theirs)) => touch(mine, theirs),
            _ => true,
        };
        self.operation.is_none_or(|only| only == operation) && touches
    }

    /// Whether the rule picks a matching operation now.
    fn count_down(&mut self) -> bool {
        let due = self.skip == 0;
        self.skip = self.skip.saturating_sub(1);
        due
    }
}

/// Whether both share a byte; an end past 64 bits, which only a mistaken caller asks for, is the last byte.
fn touch(a: Extent, b: Extent) -> bool {
    let end = |extent: Extent| extent.checked_end().unwrap_or(u64::MAX);
    a.offset < end(b) && b.offset < end(a) && !a.is_empty() && !b.is_empty()
}

/// A storage over another one, with rules.
#[derive(Debug)]
pub struct FaultStorage {
    inner: Arc<dyn Storage>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<FaultRule>,
    counts: [u64; Operation::ALL.len()],
    failed: u64,
}

/// What the rules say about one operation.
#[derive(Debug, Default)]
struct Decision {
    gates: Vec<Arc<Gate>>,
    failure: Option<(i32, Effect)>,
}

impl FaultStorage {
    /// A storage without rules over `inner`.
    pub fn new(inner: Arc<dyn Storage>) -> Self {
        Self { inner, state: Mutex::new(State::default()) }
    }

    /// Adds a rule. Where several let an operation fail, the first decides how; it waits at all gates before.
    pub fn add_rule(&self, rule: FaultRule) {
        self.state.lock().rules.push(rule);
    }

    /// Takes all rules away: the fault is gone. What waits at a gate goes on waiting.
    pub fn clear_rules(&self) {
        self.state.lock().rules.clear();
    }

    /// Operations so far, failed ones included: after a run without rules, how many there are to let fail in
    /// turn.
    pub fn operation_count(&self) -> u64 {
        self.state.lock().counts.iter().sum()
    }

    /// Operations of one kind so far, failed ones included.
    pub fn count_of(&self, operation: Operation) -> u64 {
        self.state.lock().counts[operation as usize]
    }

    /// Operations that a rule let fail.
    pub fn failed_count(&self) -> u64 {
        self.state.lock().failed
    }

    /// Counts an operation, and decides what happens to it.
    fn decide(&self, operation: Operation, extent: Option<Extent>) -> Decision {
        let mut state = self.state.lock();
        let state = &mut *state;
        state.counts[operation as usize] += 1;
        let mut decision = Decision::default();
        state.rules.retain_mut(|rule| {
            if !rule.matches(operation, extent) || !rule.count_down() {
                return true;
            }
            match &rule.action {
                FaultAction::Fail { errno, effect } => {
                    decision.failure.get_or_insert((*errno, *effect));
                }
                FaultAction::Hold(gate) => decision.gates.push(Arc::clone(gate)),
            }
            rule.sticky
        });
        state.failed += u64::from(decision.failure.is_some());
        decision
    }

    /// Lets an operation arrive: counts it and waits; returns how it fails.
    fn arrive(&self, operation: Operation, extent: Option<Extent>) -> Option<(i32, Effect)> {
        let decision = self.decide(operation, extent);
        decision.gates.iter().for_each(|gate| gate.pass());
        decision.failure
    }

    /// Makes an operation on a range, or fails as a rule says.
    fn ranged(
        &self,
        operation: Operation,
        name: &'static str,
        extent: Extent,
        make: impl FnOnce(Extent) -> Result<()>,
    ) -> Result<()> {
        let Some((errno, effect)) = self.arrive(operation, Some(extent)) else { return make(extent) };
        match effect {
            Effect::None => {}
            Effect::Half => make(Extent::new(extent.offset, extent.length / 2))?,
            Effect::All => make(extent)?,
        }
        Err(Error::io(name, extent.offset, io::Error::from_raw_os_error(errno)))
    }

    /// Makes an operation without a range; half of it is none of it.
    fn whole<R>(
        &self,
        operation: Operation,
        name: &'static str,
        make: impl FnOnce() -> Result<R>,
    ) -> Result<R> {
        let Some((errno, effect)) = self.arrive(operation, None) else { return make() };
        if effect == Effect::All {
            make()?;
        }
        Err(Error::io(name, 0, io::Error::from_raw_os_error(errno)))
    }
}

impl PassThrough for FaultStorage {
    fn inner(&self) -> &dyn Storage {
        &*self.inner
    }

    fn len(&self) -> Result<u64> {
        self.whole(Operation::Len, "length", || self.inner.len())
    }

    fn run_at(&self, offset: u64) -> Result<Option<StorageRun>> {
        self.whole(Operation::RunAt, "status", || self.inner.run_at(offset))
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.whole(Operation::SetLen, "truncate", || self.inner.set_len(length))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let extent = Extent::new(offset, buf.len() as u64);
        self.ranged(Operation::Read, "read", extent, |part| {
            self.inner.read_at(offset, &mut buf[..part.length as usize])
        })
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let extent = Extent::new(offset, buf.len() as u64);
        self.ranged(Operation::Write, "write", extent, |part| {
            self.inner.write_at(offset, &buf[..part.length as usize])
        })
    }

    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        self.ranged(Operation::WriteZeroes, "zero", extent, |part| self.inner.write_zeroes_at(part))
    }

    fn punch_hole(&self, extent: Extent) -> Result<()> {
        self.ranged(Operation::PunchHole, "punch", extent, |part| self.inner.punch_hole(part))
    }

    fn zero_fast(&self, extent: Extent, unmap: bool) -> Result<()> {
        let operation = if unmap { Operation::PunchHole } else { Operation::WriteZeroes };
        self.ranged(operation, "zero", extent, |part| self.inner.zero_fast(part, unmap))
    }

    fn sync(&self) -> Result<()> {
        self.whole(Operation::Sync, "sync", || self.inner.sync())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Effect, FaultRule, FaultStorage, Operation};
    use crate::storage::{Gate, MemoryStorage, Storage};
    use crate::{Error, Extent};

    #[test]
    fn the_nth_write_fails_once_after_half_of_it() {
        let storage = FaultStorage::new(Arc::new(MemoryStorage::new()));
        storage.add_rule(FaultRule::fail(5).on(Operation::Write).after(1).with_effect(Effect::Half));
        storage.write_at(0, &[1; 8]).unwrap();
        let error = storage.write_at(0, &[2; 8]).unwrap_err();
        assert_eq!((error.errno(), storage.failed_count()), (5, 1));
        let mut read = [0; 8];
        storage.read_at(0, &mut read).unwrap();
        assert_eq!(read, [2, 2, 2, 2, 1, 1, 1, 1]);
        storage.write_at(0, &[3; 8]).unwrap();
        assert_eq!((storage.operation_count(), storage.count_of(Operation::Write)), (4, 3));
    }

    #[test]
    fn sticky_rules_stay_until_they_are_cleared_and_ranges_limit_them() {
        let storage = FaultStorage::new(Arc::new(MemoryStorage::new()));
        storage.add_rule(FaultRule::fail(28).on(Operation::Write).within(Extent::new(100, 1)).sticky());
        storage.write_at(0, &[1; 100]).unwrap();
        for _ in 0..2 {
            assert!(matches!(storage.write_at(99, &[1; 2]), Err(Error::NoSpace { .. })));
        }
        storage.clear_rules();
        storage.write_at(99, &[1; 2]).unwrap();
    }

    #[test]
    fn each_rule_counts_for_itself_and_all_of_an_operation_may_happen() {
        let storage = FaultStorage::new(Arc::new(MemoryStorage::new()));
        storage.add_rule(FaultRule::fail(5).after(1).with_effect(Effect::All));
        storage.add_rule(FaultRule::fail(28).on(Operation::SetLen).after(1));
        storage.set_len(1).unwrap();
        assert_eq!(storage.set_len(2).unwrap_err().errno(), 5);
        storage.set_len(3).unwrap();
        assert_eq!(storage.len().unwrap(), 3);
        assert_eq!(storage.failed_count(), 1);
        // A range that ends past 64 bits is the caller's mistake, and nobody's panic.
        storage.add_rule(FaultRule::fail(5).within(Extent::new(7, 1)));
        assert_eq!(storage.write_at(u64::MAX, &[1, 2]).unwrap_err().kind(), crate::ErrorKind::OutOfRange);
    }

    #[test]
    fn held_operations_wait_until_the_gate_opens() {
        let storage = Arc::new(FaultStorage::new(Arc::new(MemoryStorage::new())));
        let gate = Arc::new(Gate::new());
        storage.add_rule(FaultRule::hold(&gate).on(Operation::Write).within(Extent::new(10, 1)));
        let other = Arc::clone(&storage);
        let thread = std::thread::spawn(move || other.write_at(10, b"held"));
        gate.await_arrivals(1);
        assert_eq!(storage.len().unwrap(), 0, "the write waits");
        storage.write_at(0, b"free").unwrap();
        gate.open();
        thread.join().unwrap().unwrap();
        assert_eq!((storage.len().unwrap(), gate.waiting_count()), (14, 0));
    }
}
