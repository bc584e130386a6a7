//! The best scenario so far, and the one gate through which a better one comes.

use std::hash::BuildHasher;

use rustc_hash::FxHashSet;

use super::cost::cost;
use crate::scenario::{Request, Scenario};
use crate::space::{Space, Unit};

pub(super) struct Search<'a> {
    /// The smallest scenario that fails in the same way, so far.
    pub(super) best: Scenario,
    pub(super) space: &'static Space,
    is_same: &'a mut dyn FnMut(&Scenario) -> bool,
    should_stop: &'a mut dyn FnMut() -> bool,
    tries: u64,
    tries_max: u64,
    /// What writes of a candidate may move, bytes: larger units make longer writes of it.
    moved_max: u64,
    stopped: bool,
    /// Hashes of what does not fail in the same way: passes come to the same candidates again. A collision
    /// costs a chance to shrink, never a wrong result.
    rejected: FxHashSet<u64>,
}

/// What writes of a candidate may always move, bytes. Both disks have it in memory.
const MOVED_BYTES_MAX: u64 = 64 << 20;

/// What writes move, bytes.
fn moved_bytes(scenario: &Scenario) -> u64 {
    let changes = scenario.requests.iter().filter(|request| request.kind().changes_content());
    changes.map(Request::data_bytes).fold(0, u64::saturating_add)
}

impl<'a> Search<'a> {
    pub(super) fn new(
        space: &'static Space,
        best: Scenario,
        is_same: &'a mut dyn FnMut(&Scenario) -> bool,
        should_stop: &'a mut dyn FnMut() -> bool,
        tries_max: u64,
    ) -> Self {
        let (tries, stopped, rejected) = (0, false, FxHashSet::default());
        let moved_max = moved_bytes(&best).max(MOVED_BYTES_MAX);
        Self { best, space, is_same, should_stop, tries, tries_max, moved_max, stopped, rejected }
    }

    /// Bytes of a unit of allocation of the best.
    pub(super) fn unit_bytes(&self) -> u64 {
        self.space.geometry(&self.best.config).unit_bytes
    }

    /// The option that decides these, where there is one.
    pub(super) fn unit(&self) -> Option<Unit> {
        self.space.unit(&self.best.config)
    }

    pub(super) fn tries(&self) -> u64 {
        self.tries
    }

    /// Whether no more tries are allowed: used up, or stopped by the caller.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Whether the search is over: asked where going on takes long, be it without a try.
    pub(super) fn is_over(&mut self) -> bool {
        self.stopped = self.stopped || (self.should_stop)();
        self.stopped
    }

    /// Takes `candidate` for the best if it is smaller and fails in the same way.
    pub(super) fn accepts(&mut self, candidate: Scenario) -> bool {
        if self.stopped || cost(self.space, &candidate) >= cost(self.space, &self.best) {
            return false;
        }
        if moved_bytes(&candidate) > self.moved_max {
            return false;
        }
        let hash = self.rejected.hasher().hash_one(&candidate);
        if self.rejected.contains(&hash) {
            return false;
        }
        if self.tries == self.tries_max || (self.should_stop)() {
            self.stopped = true;
            return false;
        }
        self.tries += 1;
        if (self.is_same)(&candidate) {
            self.best = candidate;
            return true;
        }
        self.rejected.insert(hash);
        false
    }

    /// Takes the best, changed by `change`, if that is smaller and fails in the same way.
    pub(super) fn accepts_change(&mut self, change: impl FnOnce(&mut Scenario)) -> bool {
        if self.stopped {
            return false;
        }
        let mut candidate = self.best.clone();
        change(&mut candidate);
        self.accepts(candidate)
    }

    /// Takes the best with another request in the place of number `index`.
    pub(super) fn accepts_request(&mut self, index: usize, request: Request) -> bool {
        self.accepts_change(|scenario| scenario.requests[index] = request)
    }

    /// Brings a number down in steps of `unit`, by halves: from all of it to one unit. `set` puts the number
    /// into a scenario.
    pub(super) fn lower(&mut self, mut number: u64, unit: u64, set: impl Fn(&mut Scenario, u64)) {
        let mut step = number / unit;
        while step > 0 {
            let smaller = number.saturating_sub(step * unit);
            if smaller < number && self.accepts_change(|scenario| set(scenario, smaller)) {
                number = smaller;
                step = step.min(number / unit);
            } else {
                step /= 2;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::PLAIN;

    #[test]
    fn what_writes_gigabytes_is_not_tried() {
        let scenario = |text: &str| Scenario::from_text(&format!("blk-scenario 1\n{text}")).unwrap();
        let large = "config size-bytes=4G\nwrite 0 1G\n";
        for (text, expected) in [("config size-bytes=4G\nwrite 0 64k\nread 0 1\n", 0), (large, 1)] {
            let mut tried = 0;
            let mut is_same = |_: &Scenario| {
                tried += 1;
                false
            };
            let best = scenario(&format!("{text}flush\nflush\n"));
            let mut should_stop = || false;
            let mut search = Search::new(&PLAIN, best, &mut is_same, &mut should_stop, 10);
            assert!(!search.accepts(scenario(large)), "{text}");
            assert_eq!(tried, expected, "{text}");
        }
    }
}
