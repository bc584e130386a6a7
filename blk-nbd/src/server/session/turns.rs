//! Who reads the next request.
//!
//! ```text
//! reading ──► making a request, quick as those before ──► reading           the watch looks each millisecond
//!         ──► making one that may take long: another thread is called to read meanwhile
//! standing by: the watch, and others until they are called, or not needed for some time
//! ```
//!
//! To wake another thread costs as much as a small request. So it is done only where requests take long;
//! where they are quick, one thread goes on alone, and the watch takes over from one that has made a request
//! for too long after all.

use std::time::{Duration, Instant};

use blk_core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use blk_core::sync::{Condvar, Mutex};

/// Requests that take so long are worth another thread, nanoseconds.
const LONG_NS: u64 = 25_000;
/// No request counts as longer, so that one that was interrupted does not decide for many, nanoseconds.
const COUNTED_NS_MAX: u64 = 200_000;
/// How often the watch looks.
const TICK: Duration = Duration::from_millis(1);
/// The watch looks so often without anything to see before it sleeps.
const TICKS_IDLE: u32 = 20;
/// Who was not called for so long ends.
const IDLE: Duration = Duration::from_secs(5);

/// Why a thread that stands by goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Called {
    /// To read.
    Read,
    /// It is not needed.
    End,
}

/// The threads of a session, and what is known of their requests.
#[derive(Debug, Default)]
pub(super) struct Turns {
    standing_by: Mutex<StandingBy>,
    called: Condvar,
    /// Grows with each request that was read.
    progress: AtomicU64,
    is_reading: AtomicBool,
    /// The watch looks by itself.
    is_watched: AtomicBool,
    /// How long requests take, nanoseconds.
    usual_ns: AtomicU64,
}

#[derive(Debug, Default)]
struct StandingBy {
    threads: usize,
    /// How many of them were called, and have not gone on yet.
    calls: usize,
    has_watch: bool,
    is_over: bool,
}

/// What the watch has seen.
struct Watch {
    progress: u64,
    /// How often it has looked since.
    ticks: u32,
}

impl Turns {
    /// This thread, which has the socket's lock, begins to read.
    pub(super) fn begin_reading(&self) {
        self.is_reading.store(true, Ordering::SeqCst);
    }

    /// It has read, and still has the lock.
    pub(super) fn end_reading(&self) {
        self.progress.fetch_add(1, Ordering::SeqCst);
        self.is_reading.store(false, Ordering::SeqCst);
    }

    /// Provides for another thread to read while this one, which no longer has the lock, makes its request.
    /// `is_quick`: the request is of a kind that mostly takes no longer than the others. Returns whether one
    /// stands by; if not, a new one is missing.
    pub(super) fn provide(&self, is_quick: bool) -> bool {
        let goes_alone = is_quick && self.usual_ns.load(Ordering::Relaxed) < LONG_NS;
        if goes_alone && self.is_watched.load(Ordering::SeqCst) {
            return true;
        }
        let mut standing_by = self.standing_by.lock();
        if standing_by.threads <= standing_by.calls {
            return false;
        }
        if goes_alone {
            // The watch sleeps: from now on it looks.
            self.is_watched.store(true, Ordering::SeqCst);
            self.called.notify_all();
        } else {
            standing_by.calls += 1;
            self.called.notify_one();
        }
        true
    }

    /// Notes how long a request has taken.
    pub(super) fn note(&self, time: Duration) {
        let taken = (time.as_nanos() as u64).min(COUNTED_NS_MAX);
        let usual = self.usual_ns.load(Ordering::Relaxed);
        self.usual_ns.store((usual * 7 + taken) / 8, Ordering::Relaxed);
    }

    /// No request comes any more.
    pub(super) fn end(&self) {
        self.standing_by.lock().is_over = true;
        self.called.notify_all();
    }

    /// Waits until this thread is to read, or is not needed any more.
    pub(super) fn stand_by(&self) -> Called {
        let mut standing_by = self.standing_by.lock();
        standing_by.threads += 1;
        let mut watch = None;
        let mut idle_since = Instant::now();
        let called = loop {
            if standing_by.is_over {
                break Called::End;
            }
            if standing_by.calls > 0 {
                standing_by.calls -= 1;
                break Called::Read;
            }
            if watch.is_none() && !standing_by.has_watch {
                standing_by.has_watch = true;
                self.is_watched.store(true, Ordering::SeqCst);
                watch = Some(Watch { progress: self.progress.load(Ordering::SeqCst), ticks: 0 });
            }
            let looks = watch.as_mut().filter(|_| self.is_watched.load(Ordering::SeqCst));
            let until = if looks.is_some() { Instant::now() + TICK } else { idle_since + IDLE };
            if !self.called.wait_until(&mut standing_by, until) || standing_by.calls > 0 {
                continue;
            }
            if let Some(watch) = looks {
                idle_since = Instant::now();
                if self.takes_over(watch) {
                    break Called::Read;
                }
            } else if !self.is_watched.load(Ordering::SeqCst) || (watch.is_none() && standing_by.has_watch) {
                break Called::End;
            }
        };
        standing_by.threads -= 1;
        if watch.is_some() {
            standing_by.has_watch = false;
            self.is_watched.store(false, Ordering::SeqCst);
            // Another one takes its place.
            self.called.notify_one();
        }
        called
    }

    /// What the watch sees: whether whoever makes a request takes long, and nobody reads. If there is nothing
    /// to see for some time, it is to look no more until a request has come.
    fn takes_over(&self, watch: &mut Watch) -> bool {
        let progress = self.progress.load(Ordering::SeqCst);
        if progress != watch.progress {
            *watch = Watch { progress, ticks: 0 };
            return false;
        }
        if !self.is_reading.load(Ordering::SeqCst) {
            return true;
        }
        watch.ticks += 1;
        if watch.ticks >= TICKS_IDLE {
            watch.ticks = 0;
            self.is_watched.store(false, Ordering::SeqCst);
            // A request may have come meanwhile.
            if !self.is_reading.load(Ordering::SeqCst) {
                self.is_watched.store(true, Ordering::SeqCst);
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn stands_by(turns: &Arc<Turns>, threads: usize) -> std::thread::JoinHandle<Called> {
        let standing = Arc::clone(turns);
        let thread = std::thread::spawn(move || standing.stand_by());
        while turns.standing_by.lock().threads < threads {
            std::thread::yield_now();
        }
        thread
    }

    #[test]
    fn the_watch_takes_over_from_a_request_that_takes_long() {
        let turns = Arc::new(Turns::default());
        turns.begin_reading();
        let watch = stands_by(&turns, 1);
        turns.end_reading();
        assert!(turns.provide(true));
        assert_eq!(watch.join().unwrap(), Called::Read);
    }

    #[test]
    fn a_watch_that_sleeps_is_woken_by_a_request() {
        let turns = Arc::new(Turns::default());
        turns.begin_reading();
        let watch = stands_by(&turns, 1);
        while turns.is_watched.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        turns.end_reading();
        assert!(turns.provide(true));
        assert_eq!(watch.join().unwrap(), Called::Read);
        assert!(!turns.provide(true), "nobody is left");
    }

    #[test]
    fn where_requests_take_long_another_thread_is_called_for_each() {
        let turns = Arc::new(Turns::default());
        turns.begin_reading();
        let threads = [stands_by(&turns, 1), stands_by(&turns, 2)];
        for _ in 0..30 {
            turns.note(Duration::from_millis(5));
        }
        assert!(turns.provide(true) && turns.provide(false));
        assert!(!turns.provide(true), "both were called");
        assert_eq!(threads.map(|thread| thread.join().unwrap()), [Called::Read; 2]);
        for _ in 0..60 {
            turns.note(Duration::from_micros(5));
        }
        assert!(turns.usual_ns.load(Ordering::Relaxed) < LONG_NS);
    }

    #[test]
    fn all_end_with_the_session() {
        let turns = Arc::new(Turns::default());
        turns.begin_reading();
        let threads = [stands_by(&turns, 1), stands_by(&turns, 2)];
        turns.end();
        assert_eq!(threads.map(|thread| thread.join().unwrap()), [Called::End; 2]);
        assert_eq!(turns.stand_by(), Called::End);
    }
}
