//! A point at which operations can be stopped and let go again: how tests put two threads into a chosen order
//! without a clock.

use crate::sync::{Condvar, Mutex};

/// Stops whoever passes while it is closed.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    open: bool,
    waiting: u64,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets go all that wait, and all that come until the gate is closed again.
    pub fn open(&self) {
        self.state.lock().open = true;
        self.changed.notify_all();
    }

    /// Stops those that come from now on.
    pub fn close(&self) {
        self.state.lock().open = false;
    }

    /// How many are waiting at the gate.
    pub fn waiting_count(&self) -> u64 {
        self.state.lock().waiting
    }

    /// Returns once at least `count` are waiting at the gate.
    pub fn await_arrivals(&self, count: u64) {
        let mut state = self.state.lock();
        while state.waiting < count {
            self.changed.wait(&mut state);
        }
    }

    /// Goes through; waits while the gate is closed.
    pub fn pass(&self) {
        let mut state = self.state.lock();
        state.waiting += 1;
        self.changed.notify_all();
        while !state.open {
            self.changed.wait(&mut state);
        }
        state.waiting -= 1;
    }
}
