//! Threads that do their work in the order of its numbers.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// All with smaller numbers are done.
    next: u64,
    stopped: bool,
}

impl Turns {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all before `number` are done. `false` if they will not be.
    pub(crate) fn wait(&self, number: u64) -> bool {
        let state = self.changed.wait_while(self.lock(), |state| !state.stopped && state.next != number);
        !state.unwrap_or_else(PoisonError::into_inner).stopped
    }

    /// The one whose turn it is has done it.
    pub(crate) fn done(&self) {
        self.lock().next += 1;
        self.changed.notify_all();
    }

    /// Nobody's turn comes any more.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    pub(crate) fn are_stopped(&self) -> bool {
        self.lock().stopped
    }
}

/// Stops the turns if its thread ends in a panic: the others would wait for ever.
#[derive(Debug)]
pub(crate) struct StopsOnPanic<'a>(pub(crate) &'a Turns);

impl Drop for StopsOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_come_in_order_whoever_waits_first() {
        let turns = Turns::default();
        let seen = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for number in [4, 2, 3, 0, 1] {
                let (turns, seen) = (&turns, &seen);
                scope.spawn(move || {
                    assert!(turns.wait(number));
                    seen.lock().unwrap().push(number);
                    turns.done();
                });
            }
        });
        assert_eq!(seen.into_inner().unwrap(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn who_waits_learns_that_its_turn_does_not_come() {
        let turns = Turns::default();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| turns.wait(1));
            let panicking = scope.spawn(|| {
                let _guard = StopsOnPanic(&turns);
                panic!("the one before");
            });
            assert!(panicking.join().is_err());
            assert!(!waiting.join().unwrap());
        });
        assert!(turns.are_stopped());
    }
}
