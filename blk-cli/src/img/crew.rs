//! Work in pieces by several threads: what can be done of a piece at any time, then what has to keep the order of the pieces.

use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::failure::{Failure, Outcome};
use super::turns::{StopsOnPanic, Turns};

/// Work that comes in pieces.
pub(crate) trait Job: Sync {
    /// A piece of it.
    type Piece: Send;
    /// What a thread keeps from one piece to the next.
    type Buffer;
    /// A piece that has been prepared.
    type Prepared<'b>;

    fn buffer(&self) -> Self::Buffer;

    /// Does what may be done of several pieces at once and in any order.
    fn prepare<'b>(&self, piece: Self::Piece, buffer: &'b mut Self::Buffer) -> Outcome<Self::Prepared<'b>>;

    /// Does the rest, when the turn of this piece has come. `false` ends the work.
    fn finish(&self, prepared: Self::Prepared<'_>) -> Outcome<bool>;
}

/// A thread more is not worth its start for fewer bytes.
const THREAD_BYTES_MIN: u64 = 1 << 20;

/// How many threads `bytes` are worth: one a processor, and `most`.
pub(crate) fn thread_count(bytes: u64, most: usize) -> usize {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let worth = usize::try_from(bytes / THREAD_BYTES_MIN).unwrap_or(usize::MAX);
    most.min(processors).min(worth).max(1)
}

/// Does all pieces of `plan`, by so many threads. They are finished in their order unless `any_order`. What goes wrong is said when
/// all before it is finished; nothing after it is.
pub(crate) fn work<J: Job>(
    job: &J,
    plan: impl Iterator<Item = Outcome<J::Piece>> + Send,
    threads: usize,
    any_order: bool,
) -> Outcome<()> {
    let crew = Crew { job, plan: Mutex::new((0, plan)), turns: Turns::default(), any_order };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(|| crew.work())).collect();
        let mut result = crew.work();
        for other in others {
            let ended = other.join().unwrap_or_else(|_| Err(Failure::new("a thread has ended early")));
            result = result.and(ended);
        }
        result
    })
}

struct Crew<'a, J, P> {
    job: &'a J,
    /// The number of the next piece, and the pieces that nobody has taken.
    plan: Mutex<(u64, P)>,
    turns: Turns,
    any_order: bool,
}

impl<J: Job, P: Iterator<Item = Outcome<J::Piece>>> Crew<'_, J, P> {
    fn take(&self) -> Option<(u64, P::Item)> {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let piece = plan.1.next()?;
        let number = plan.0;
        plan.0 += 1;
        Some((number, piece))
    }

    fn work(&self) -> Outcome<()> {
        let _guard = StopsOnPanic(&self.turns);
        let mut buffer = self.job.buffer();
        while let Some((number, piece)) = self.take() {
            let prepared = piece.and_then(|piece| self.job.prepare(piece, &mut buffer));
            let goes_on = if self.any_order { !self.turns.are_stopped() } else { self.turns.wait(number) };
            if !goes_on {
                break;
            }
            match prepared.and_then(|prepared| self.job.finish(prepared)) {
                Ok(true) => self.turns.done(),
                ended => {
                    self.turns.stop();
                    return ended.map(|_| ());
                }
            }
        }
        Ok(())
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
        type Prepared<'b> = u64;

        fn buffer(&self) {}

        fn prepare(&self, piece: u64, (): &mut ()) -> Outcome<u64> {
            // The later the number, the sooner it is prepared.
            thread::sleep(std::time::Duration::from_micros(50_u64.saturating_sub(piece)));
            if self.failure == Some(piece) { Err(Failure::new(piece.to_string())) } else { Ok(piece) }
        }

        fn finish(&self, prepared: u64) -> Outcome<bool> {
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
}
