//! The ways in which the operations of a host fail.

use std::fmt;

use blk_core::storage::{Effect, Operation};

use crate::operation::Call;
use crate::random::mix;

/// Linux's number for an input/output error.
pub const EIO: i32 = 5;
/// Linux's number for a full file system.
pub const ENOSPC: i32 = 28;

/// One way in which one operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The operation's number, from 0, of those that are watched.
    pub at: u64,
    /// Its kind.
    pub operation: Operation,
    /// The error number.
    pub errno: i32,
    /// What happens before it fails.
    pub effect: Effect,
    /// Whether later operations fail in the same way until the fault is cleared.
    pub sticky: bool,
}

impl Fault {
    /// Whether operation `number` fails. `grows` says of a change of length that it needs space.
    ///
    /// A fault that stays is a medium that cannot be read any more, one that takes nothing any more, or one
    /// that is full.
    pub fn hits(self, number: u64, operation: Operation, grows: bool) -> bool {
        if number <= self.at || !self.sticky {
            return number == self.at;
        }
        let is_query = operation.is_query();
        match (self.operation, self.errno) {
            (planned, _) if planned.is_query() => is_query,
            (_, ENOSPC) => {
                operation == self.operation
                    || matches!(operation, Operation::Write | Operation::WriteZeroes)
                    || (operation == Operation::SetLen && grows)
            }
            _ => !is_query,
        }
    }

    /// Whether a sync may fail.
    pub fn fails_syncs(self) -> bool {
        self.operation == Operation::Sync || (self.sticky && !self.operation.is_query())
    }

    /// Whether both are the same but for the number of the operation.
    pub fn is_like(self, other: Self) -> bool {
        Self { at: other.at, ..self } == other
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errno = if self.errno == ENOSPC { "ENOSPC" } else { "EIO" };
        let effect = match self.effect {
            Effect::None => "before any effect",
            Effect::Half => "after half of it",
            Effect::All => "after all of it",
        };
        write!(f, "{errno} {effect}, {}", if self.sticky { "from then on" } else { "once" })
    }
}

/// What kinds of operations can fail with: error numbers and effects.
fn failures(operation: Operation) -> &'static [(i32, Effect)] {
    const IO: [(i32, Effect); 3] = [(EIO, Effect::None), (EIO, Effect::Half), (EIO, Effect::All)];
    const SPACE: [(i32, Effect); 5] = [IO[0], IO[1], IO[2], (ENOSPC, Effect::None), (ENOSPC, Effect::Half)];
    match operation {
        Operation::Read => &[IO[0], IO[2]],
        Operation::Len | Operation::RunAt => &IO[..1],
        Operation::Write | Operation::WriteZeroes => &SPACE,
        Operation::PunchHole => &IO,
        Operation::SetLen => &[IO[0], IO[2], SPACE[3]],
        // A file system that allocates late finds out in the sync that it is full.
        Operation::Sync => &[IO[0], IO[1], IO[2], SPACE[3]],
    }
}

/// Every way in which one of `calls` can fail, in the order in which they are tried: one that depends on
/// `seed`, and takes turns among the steps of the driver, so that the first few of them have the rare ones
/// too.
pub fn faults(seed: u64, calls: &[Call]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (at, call) in (0..).zip(calls) {
        for &(errno, effect) in failures(call.operation) {
            for sticky in [false, true] {
                let order = mix(seed ^ (faults.len() as u64));
                faults.push((order, Fault { at, operation: call.operation, errno, effect, sticky }));
            }
        }
    }
    faults.sort_unstable_by_key(|(order, _)| *order);
    let mut turns = std::collections::HashMap::new();
    for (order, fault) in &mut faults {
        let turn: &mut u64 = turns.entry((calls[fault.at as usize].step, fault.operation)).or_default();
        // Ties, one of each step, stay in the order that they are in.
        *order = *turn;
        *turn += 1;
    }
    faults.sort_by_key(|(turn, _)| *turn);
    debug_assert!(faults.iter().all(|(_, fault)| calls[fault.at as usize].operation == fault.operation));
    faults.into_iter().map(|(_, fault)| fault).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use blk_core::Extent;
    use blk_core::storage::Step;

    use super::*;

    #[test]
    fn every_kind_fails_in_each_of_its_ways_once_and_for_good() {
        let call = |operation| Call { operation, step: &Step::NONE, extent: Extent::default() };
        let calls: Vec<Call> = Operation::ALL.into_iter().map(call).collect();
        let faults = faults(1, &calls);
        assert_eq!(faults.len(), 2 * (2 + 5 + 5 + 3 + 3 + 4 + 1 + 1));
        for (at, operation) in (0..).zip(Operation::ALL) {
            let mine: Vec<&Fault> = faults.iter().filter(|fault| fault.at == at).collect();
            assert!(mine.iter().all(|fault| fault.operation == operation));
            assert_eq!(mine.iter().filter(|fault| fault.sticky).count() * 2, mine.len());
        }
        let first: HashSet<u64> = faults[..8].iter().map(|fault| fault.at).collect();
        assert_eq!(first.len(), 8, "each step has its turn");
    }

    #[test]
    fn a_fault_that_stays_hits_what_its_cause_would() {
        let fault = |operation, errno| Fault { at: 5, operation, errno, effect: Effect::None, sticky: true };
        let unreadable = fault(Operation::Read, EIO);
        assert!(unreadable.hits(6, Operation::Read, false) && !unreadable.hits(6, Operation::Write, false));
        let dead = fault(Operation::PunchHole, EIO);
        assert!(dead.hits(6, Operation::Sync, false) && !dead.hits(6, Operation::Read, false));
        let full = fault(Operation::Write, ENOSPC);
        assert!(full.hits(6, Operation::SetLen, true) && !full.hits(6, Operation::SetLen, false));
        assert!(!full.hits(6, Operation::Sync, false) && !full.hits(4, Operation::Write, false));
    }

    /// How each kind of fault goes on, kind by kind.
    #[test]
    fn what_stays_broken_depends_on_what_broke() {
        use Operation::{Len, PunchHole, Read, RunAt, SetLen, Sync, Write, WriteZeroes};
        let names = |fault: Fault, grows| -> Vec<Operation> {
            Operation::ALL.into_iter().filter(|kind| fault.hits(9, *kind, grows)).collect()
        };
        let fault = |operation, errno| Fault { at: 5, operation, errno, effect: Effect::None, sticky: true };
        assert_eq!(names(fault(Read, EIO), true), [Read, Len, RunAt], "a medium that cannot be read");
        assert_eq!(names(fault(Write, ENOSPC), true), [Write, WriteZeroes, SetLen], "a full host");
        assert_eq!(names(fault(SetLen, ENOSPC), false), [Write, WriteZeroes, SetLen]);
        assert_eq!(names(fault(Sync, ENOSPC), false), [Write, WriteZeroes, Sync]);
        for dead in [Write, WriteZeroes, PunchHole, SetLen, Sync] {
            let hit = names(fault(dead, EIO), false);
            assert!(!hit.contains(&Read) && hit.contains(&Write) && hit.contains(&Sync), "{dead:?}: {hit:?}");
        }
        let once = Fault { sticky: false, ..fault(Write, EIO) };
        assert!(once.hits(5, Write, false) && !once.hits(6, Write, false) && !once.hits(4, Write, false));
    }

    #[test]
    fn syncs_fail_where_one_is_hit_or_the_medium_stays_broken() {
        let fault = |operation, sticky| Fault { at: 0, operation, errno: EIO, effect: Effect::None, sticky };
        assert!(fault(Operation::Sync, false).fails_syncs() && fault(Operation::Sync, true).fails_syncs());
        assert!(!fault(Operation::Write, false).fails_syncs() && fault(Operation::Write, true).fails_syncs());
        assert!(!fault(Operation::Read, false).fails_syncs() && !fault(Operation::Read, true).fails_syncs());
    }

    #[test]
    fn faults_are_alike_whatever_operation_they_hit() {
        let fault =
            Fault { at: 1, operation: Operation::Write, errno: EIO, effect: Effect::Half, sticky: true };
        assert!(fault.is_like(fault) && fault.is_like(Fault { at: 2, ..fault }));
        for other in [
            Fault { operation: Operation::Sync, ..fault },
            Fault { errno: ENOSPC, ..fault },
            Fault { effect: Effect::All, ..fault },
            Fault { sticky: false, ..fault },
        ] {
            assert!(!fault.is_like(other), "{other:?}");
        }
    }

    /// Where only some are tried, a kept trace means those that come first.
    #[test]
    fn the_order_of_faults_is_pinned() {
        static STEPS: [Step; 2] = [Step::new("one", ""), Step::new("two", "")];
        let call = |at: usize| Call {
            operation: Operation::ALL[at % 6],
            step: &STEPS[at / 6 % 2],
            extent: Extent::default(),
        };
        let calls: Vec<Call> = (0..24).map(call).collect();
        let order = |seed| {
            let faults = faults(seed, &calls);
            let text: Vec<String> = faults.iter().map(|fault| format!("{} {fault}", fault.at)).collect();
            crate::random::hash(text.join(";").as_bytes())
        };
        assert_eq!([order(1), order(2)], ORDERS);
    }

    const ORDERS: [u64; 2] = [0xcbe0_6c5b_7626_7188, 0x5aa7_023e_276e_d978];
}
