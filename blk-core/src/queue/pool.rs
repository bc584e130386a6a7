//! Threads that make requests: any driver gets a queue by them.
//!
//! Invariant: `waiting` and `running` together are the requests that were accepted and not answered; each is
//! counted until its completion has returned.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle, ThreadId};

use super::Completion;
use crate::sync::{Condvar, Mutex};
use crate::{Buffer, Disk, Error, Op, Result};

/// A request that waits for a thread.
struct Job {
    op: Op,
    buffer: Buffer,
    completion: Completion,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    running: usize,
    /// No more requests come.
    is_closed: bool,
    /// Those that may not wait for room: they would wait for themselves.
    workers: Vec<ThreadId>,
    /// What the first completion that panicked said.
    panic: Option<Box<dyn Any + Send>>,
}

struct Shared {
    depth: usize,
    state: Mutex<State>,
    /// There is work, or there will be none.
    work: Condvar,
    /// A request was answered.
    answered: Condvar,
}

/// A bounded pool over one disk.
pub(super) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    pub(super) fn new(disk: &Arc<Disk>, threads: usize, depth: usize) -> Result<Self> {
        assert!(threads > 0 && depth > 0, "{threads} threads, {depth} requests");
        let (work, answered) = (Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { depth, state: Mutex::default(), work, answered });
        // What was started before a failure is ended by the drop.
        let mut pool = Self { shared, threads: Vec::with_capacity(threads) };
        for _ in 0..threads {
            let (disk, shared) = (Arc::clone(disk), Arc::clone(&pool.shared));
            let thread = thread::Builder::new().name("blk-queue".to_owned());
            let started = thread.spawn(move || shared.work(&disk));
            let started = started.map_err(|error| Error::io("start a thread", 0, error))?;
            pool.shared.state.lock().workers.push(started.thread().id());
            pool.threads.push(started);
        }
        Ok(pool)
    }

    pub(super) fn submit(&self, op: Op, buffer: Buffer, completion: Completion) {
        let mut state = self.shared.state.lock();
        assert!(!state.is_closed, "a queue that is being dropped has no more callers");
        if !state.workers.contains(&thread::current().id()) {
            while state.in_flight() >= self.shared.depth {
                self.shared.answered.wait(&mut state);
            }
        }
        state.waiting.push_back(Job { op, buffer, completion });
        drop(state);
        self.shared.work.notify_one();
    }

    pub(super) fn wait(&self) {
        let mut state = self.shared.state.lock();
        while state.in_flight() > 0 {
            self.shared.answered.wait(&mut state);
        }
        let panic = state.panic.take();
        drop(state);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let this = thread::current().id();
        let mut is_worker = false;
        self.shared.state.lock().is_closed = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            // A completion that drops the queue runs in one of its threads, which answers what is left and
            // ends by itself.
            if thread.thread().id() == this {
                is_worker = true;
            } else {
                thread.join().expect("a worker catches all panics");
            }
        }
        let mut state = self.shared.state.lock();
        assert!(is_worker || state.in_flight() == 0, "a queue ends when all is answered");
        let panic = state.panic.take();
        drop(state);
        if let Some(payload) = panic.filter(|_| !thread::panicking()) {
            resume_unwind(payload);
        }
    }
}

impl State {
    fn in_flight(&self) -> usize {
        self.waiting.len() + self.running
    }
}

impl Shared {
    /// What each thread does until the queue is closed and empty.
    fn work(&self, disk: &Disk) {
        while let Some(Job { op, buffer, completion }) = self.next() {
            let completed = catch_unwind(AssertUnwindSafe(|| completion.perform(disk, op, buffer)));
            let mut state = self.state.lock();
            assert!(state.running > 0, "a request that ends was running");
            state.running -= 1;
            if let Err(payload) = completed {
                state.panic.get_or_insert(payload);
            }
            drop(state);
            self.answered.notify_all();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.waiting.pop_front() {
                state.running += 1;
                return Some(job);
            }
            if state.is_closed {
                return None;
            }
            self.work.wait(&mut state);
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state.lock();
        f.debug_struct("Pool")
            .field("threads", &self.threads.len())
            .field("in_flight", &state.in_flight())
            .finish_non_exhaustive()
    }
}
