//! Work in pieces by several threads: what can be done of a piece at any time, then what has to keep the
//! order of the pieces.
//!
//! What is done ahead is kept until its turn comes, so nobody waits for a thread that has lost its processor
//! while there is a buffer to go on with.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::failure::{Failure, Outcome};

/// Work that comes in pieces.
pub(crate) trait Job: Sync {
    /// A piece of it.
    type Piece: Send;
    /// What a piece needs until it is finished; the next one uses it again.
    type Buffer: Send;
    /// A piece that has been prepared.
    type Prepared: Send;

    fn buffer(&self) -> Self::Buffer;

    /// Does what may be done of several pieces at once and in any order.
    fn prepare(&self, piece: Self::Piece, buffer: &mut Self::Buffer) -> Outcome<Self::Prepared>;

    /// Does the rest, when the turn of this piece has come. `false` ends the work.
    fn finish(&self, prepared: Self::Prepared, buffer: &Self::Buffer) -> Outcome<bool>;
}

/// A thread more is not worth its start for fewer bytes.
const THREAD_BYTES_MIN: u64 = 1 << 20;
/// One thread waits for the host while another one works. More than one for a processor contend for the file
/// that they write.
const THREADS_MIN: usize = 2;
/// How many pieces a thread may be ahead, and one more that it works on.
const BUFFERS_PER_THREAD: usize = 4;

/// How many threads `bytes` are worth: one for each processor, and at most `most`.
pub(crate) fn thread_count(bytes: u64, most: usize) -> usize {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let worth = usize::try_from(bytes / THREAD_BYTES_MIN).unwrap_or(usize::MAX);
    most.min(processors.max(THREADS_MIN)).min(worth).max(1)
}

/// Does all pieces of `plan`, by so many threads. They are finished in their order unless `any_order`. What
/// goes wrong is said when all before it is finished; nothing after it is.
pub(crate) fn work<J: Job>(
    job: &J,
    plan: impl Iterator<Item = Outcome<J::Piece>> + Send,
    threads: usize,
    any_order: bool,
) -> Outcome<()> {
    let buffers = if threads == 1 { 1 } else { threads * BUFFERS_PER_THREAD };
    let state = State {
        ready: BTreeMap::new(),
        next: 0,
        is_finishing: false,
        free: Vec::new(),
        unmade: buffers,
        stopped: false,
        result: Ok(()),
    };
    let crew = Crew {
        job,
        plan: Mutex::new((0, plan)),
        any_order,
        state: Mutex::new(state),
        changed: Condvar::new(),
    };
    let ended_early = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(|| crew.work())).collect();
        crew.work();
        others.into_iter().filter_map(|other| other.join().err()).count() > 0
    });
    let result = crew.state.into_inner().unwrap_or_else(PoisonError::into_inner).result;
    if ended_early { result.and(Err(Failure::new("a thread has ended early"))) } else { result }
}

struct Crew<'a, J: Job, P> {
    job: &'a J,
    /// The number of the next piece, and the pieces that nobody has taken.
    plan: Mutex<(u64, P)>,
    any_order: bool,
    state: Mutex<State<J>>,
    /// A buffer is free, or the work is stopped.
    changed: Condvar,
}

struct State<J: Job> {
    /// Pieces whose turn has not come, by their numbers.
    ready: BTreeMap<u64, (Outcome<J::Prepared>, J::Buffer)>,
    /// All with smaller numbers are finished.
    next: u64,
    /// Somebody finishes what is ready.
    is_finishing: bool,
    free: Vec<J::Buffer>,
    /// So many buffers more may be made.
    unmade: usize,
    stopped: bool,
    result: Outcome<()>,
}

impl<J: Job, P: Iterator<Item = Outcome<J::Piece>>> Crew<'_, J, P> {
    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let _guard = StopsOnPanic(self);
        // Who takes a piece has its buffer already: the next one to be finished is never kept waiting by
        // those after it.
        while let Some(mut buffer) = self.take_buffer() {
            let Some((number, piece)) = self.take_piece() else { break };
            let prepared = piece.and_then(|piece| self.job.prepare(piece, &mut buffer));
            if self.any_order {
                let ended = prepared.and_then(|prepared| self.job.finish(prepared, &buffer));
                self.finished(&mut self.lock(), ended, buffer);
            } else {
                self.finish_what_is_ready(number, prepared, buffer);
            }
        }
    }

    /// Waits for one; nothing if the work is stopped.
    fn take_buffer(&self) -> Option<J::Buffer> {
        let is_without = |state: &mut State<J>| !state.stopped && state.free.is_empty() && state.unmade == 0;
        let state = self.changed.wait_while(self.lock(), is_without);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        if state.stopped {
            return None;
        }
        // The one that was used last is still in the processor's cache.
        if let Some(buffer) = state.free.pop() {
            return Some(buffer);
        }
        state.unmade -= 1;
        drop(state);
        Some(self.job.buffer())
    }

    fn take_piece(&self) -> Option<(u64, P::Item)> {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let piece = plan.1.next()?;
        let number = plan.0;
        plan.0 += 1;
        Some((number, piece))
    }

    /// Keeps a piece until its turn comes; finishes all whose turn has come, unless somebody does already.
    fn finish_what_is_ready(&self, number: u64, prepared: Outcome<J::Prepared>, buffer: J::Buffer) {
        let mut state = self.lock();
        state.ready.insert(number, (prepared, buffer));
        if state.is_finishing {
            return;
        }
        state.is_finishing = true;
        while let Some((prepared, buffer)) = state.take_next() {
            drop(state);
            let ended = prepared.and_then(|prepared| self.job.finish(prepared, &buffer));
            state = self.lock();
            state.next += 1;
            self.finished(&mut state, ended, buffer);
        }
        state.is_finishing = false;
    }

    /// A piece is finished, or the work ends with it.
    fn finished(&self, state: &mut State<J>, ended: Outcome<bool>, buffer: J::Buffer) {
        state.free.push(buffer);
        if matches!(ended, Ok(true)) {
            self.changed.notify_one();
            return;
        }
        if !state.stopped {
            state.result = ended.map(|_| ());
        }
        state.stopped = true;
        self.changed.notify_all();
    }
}

impl<J: Job> State<J> {
    fn take_next(&mut self) -> Option<(Outcome<J::Prepared>, J::Buffer)> {
        if self.stopped { None } else { self.ready.remove(&self.next) }
    }
}

/// Stops the work if its thread ends in a panic: the others would wait for ever.
struct StopsOnPanic<'c, 'a, J: Job, P>(&'c Crew<'a, J, P>);

impl<J: Job, P> Drop for StopsOnPanic<'_, '_, J, P> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.state.lock().unwrap_or_else(PoisonError::into_inner).stopped = true;
            self.0.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Finishes numbers, and ends at one of them or fails at it.
    #[derive(Default)]
    struct Numbers {
        finished: Mutex<Vec<u64>>,
        end: Option<u64>,
        failure: Option<u64>,
    }

    impl Job for Numbers {
        type Piece = u64;
        type Buffer = ();
        type Prepared = u64;

        fn buffer(&self) {}

        fn prepare(&self, piece: u64, (): &mut ()) -> Outcome<u64> {
            // The later the number, the sooner it is prepared.
            thread::sleep(std::time::Duration::from_micros(50_u64.saturating_sub(piece)));
            if self.failure == Some(piece) { Err(Failure::new(piece.to_string())) } else { Ok(piece) }
        }

        fn finish(&self, prepared: u64, (): &()) -> Outcome<bool> {
            self.finished.lock().unwrap().push(prepared);
            Ok(self.end != Some(prepared))
        }
    }

    #[test]
    fn pieces_are_finished_in_order_up_to_the_end_or_the_first_failure() {
        for threads in 1..=5 {
            let all = Numbers::default();
            work(&all, (0..100).map(Ok), threads, false).unwrap();
            assert!(all.finished.into_inner().unwrap().into_iter().eq(0..100));
            let ends = Numbers { end: Some(40), ..Numbers::default() };
            work(&ends, (0..100).map(Ok), threads, false).unwrap();
            assert!(ends.finished.into_inner().unwrap().into_iter().eq(0..=40));
            let fails = Numbers { failure: Some(40), ..Numbers::default() };
            let failure = work(&fails, (0..100).map(Ok), threads, false).unwrap_err();
            assert_eq!(failure.lines, ["40"]);
            assert!(fails.finished.into_inner().unwrap().into_iter().eq(0..40));
            let any_order = Numbers::default();
            work(&any_order, (0..100).map(Ok), threads, true).unwrap();
            let mut finished = any_order.finished.into_inner().unwrap();
            finished.sort_unstable();
            assert!(finished.into_iter().eq(0..100));
        }
    }

    /// The first piece takes until all others that there are buffers for are done.
    struct FirstIsLast(Mutex<usize>, Condvar);

    impl Job for FirstIsLast {
        type Piece = usize;
        type Buffer = ();
        type Prepared = usize;

        fn buffer(&self) {}

        fn prepare(&self, piece: usize, (): &mut ()) -> Outcome<usize> {
            let mut prepared = self.0.lock().unwrap();
            if piece == 0 {
                let ahead = 2 * BUFFERS_PER_THREAD - 1;
                prepared = self.1.wait_while(prepared, |prepared| *prepared < ahead).unwrap();
            }
            *prepared += 1;
            self.1.notify_all();
            Ok(piece)
        }

        fn finish(&self, _: usize, (): &()) -> Outcome<bool> {
            Ok(true)
        }
    }

    #[test]
    fn nobody_waits_for_the_first_while_there_are_buffers() {
        let job = FirstIsLast(Mutex::new(0), Condvar::new());
        work(&job, (0..100).map(Ok), 2, false).unwrap();
        assert_eq!(job.0.into_inner().unwrap(), 100);
    }

    #[test]
    fn a_panic_ends_the_work_of_all() {
        struct Panics;
        impl Job for Panics {
            type Piece = u64;
            type Buffer = ();
            type Prepared = u64;

            fn buffer(&self) {}

            fn prepare(&self, piece: u64, (): &mut ()) -> Outcome<u64> {
                Ok(piece)
            }

            fn finish(&self, prepared: u64, (): &()) -> Outcome<bool> {
                assert!(prepared != 20, "the one that panics");
                Ok(true)
            }
        }
        for threads in 1..=4 {
            let ended = std::panic::catch_unwind(|| work(&Panics, (0..2000).map(Ok), threads, false));
            assert!(!matches!(ended, Ok(Ok(()))), "{threads}");
        }
    }
}
