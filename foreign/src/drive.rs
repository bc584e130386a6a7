//! Runs a future to its end on the thread that asks for it.
//!
//! A future that cannot go on gives way: to other tasks, where a scheduler of the harness is in charge, or to
//! other threads. One that nobody wakes within [`PATIENCE`] waits for ever: that is a deadlock of the driver,
//! and a panic, which the harness reports as a finding.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use blk_core::sync::{Condvar, Mutex, model};

/// How long a future may wait to be woken.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// Set by a waker, and waited for.
#[derive(Default)]
struct Woken {
    called: AtomicBool,
    changes: Condvar,
    lock: Mutex<()>,
}

impl Wake for Woken {
    /// No other task may go on here: who wakes may hold a lock that the scheduler does not know.
    fn wake(self: Arc<Self>) {
        model::in_one_step(|| {
            let _guard = self.lock.lock();
            self.called.store(true, Ordering::Release);
            self.changes.notify_all();
        });
    }
}

impl Woken {
    /// Gives way until the waker has been called; false if nobody has done it in time. In a run of the
    /// scheduler, which sees for itself that nothing goes on, no time passes.
    fn wait(&self) -> bool {
        let end = Instant::now() + PATIENCE;
        let mut guard = self.lock.lock();
        while !self.called.swap(false, Ordering::Acquire) {
            if self.changes.wait_until(&mut guard, end) {
                return self.called.load(Ordering::Acquire);
            }
        }
        true
    }
}

/// Runs `future` to its end.
///
/// # Panics
/// If it waits for something that does not happen.
pub fn drive<F: Future>(future: F) -> F::Output {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => assert!(woken.wait(), "a deadlock: the driver waits for itself"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_future_that_is_woken_goes_on() {
        let mut rounds = 0;
        let answer = drive(std::future::poll_fn(|context| {
            rounds += 1;
            context.waker().wake_by_ref();
            if rounds < 5 { Poll::Pending } else { Poll::Ready(7) }
        }));
        assert_eq!((answer, rounds), (7, 5));
    }

    #[test]
    fn another_thread_may_wake_it() {
        let mut thread = None;
        let mut polls = 0;
        drive(std::future::poll_fn(|context| {
            polls += 1;
            if polls > 1 {
                return Poll::Ready(());
            }
            let waker = context.waker().clone();
            thread = Some(std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(20));
                waker.wake();
            }));
            Poll::Pending
        }));
        thread.unwrap().join().unwrap();
    }

    #[test]
    #[should_panic(expected = "a deadlock")]
    fn a_future_that_nobody_wakes_is_a_deadlock() {
        drive(std::future::pending::<()>());
    }
}
