//! How far a run has come, for a watch outside of it. A driver that waits or loops for ever never returns to
//! its engine, and no engine reads a clock: so engines count their steps here, and whoever may read a clock
//! notices that the count stands still. It may also interrupt a run: the next step then unwinds out of it.

use std::cell::RefCell;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Steps of a run: of one thread, and of those that it has started for it.
#[derive(Debug, Default)]
pub struct Progress {
    steps: AtomicU64,
    request: AtomicU32,
    is_interrupted: AtomicBool,
}

/// What unwinds out of a run that is interrupted.
struct Interrupted;

impl Progress {
    /// Steps so far: requests begun, and whatever engines do with an image in between.
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// The number of the request that runs, or has run last, counted from 1 in the order of the scenario; 0
    /// before the first.
    pub fn request(&self) -> u32 {
        self.request.load(Ordering::Relaxed)
    }

    /// Ends the run at its next step, by unwinding. What it comes to means nothing then: engines take what
    /// unwinds for a panic of the driver. Whoever interrupts discards it.
    pub fn interrupt(&self) {
        self.is_interrupted.store(true, Ordering::Relaxed);
    }

    /// Whether the run was interrupted.
    pub fn is_interrupted(&self) -> bool {
        self.is_interrupted.load(Ordering::Relaxed)
    }

    fn end_if_interrupted(&self) {
        if self.is_interrupted() && !std::thread::panicking() {
            // Past the panic hook: nothing is wrong with the driver.
            resume_unwind(Box::new(Interrupted));
        }
    }

    fn go_on_at(&self, number: u32) {
        self.request.store(number, Ordering::Relaxed);
        self.step();
    }

    fn step(&self) {
        // No read-modify-write: one thread writes nearly always, and where several do, a step that gets lost
        // changes the number all the same.
        self.steps.store(self.steps() + 1, Ordering::Relaxed);
    }
}

thread_local! {
    static WATCHED: RefCell<Option<Arc<Progress>>> = const { RefCell::new(None) };
}

/// Puts back what was watched before, also when what runs between panics.
struct Watched(Option<Arc<Progress>>);

impl Drop for Watched {
    fn drop(&mut self) {
        WATCHED.set(self.0.take());
    }
}

/// Runs `run`, which counts its steps in `progress`, from no request on.
pub fn watched<R>(progress: &Arc<Progress>, run: impl FnOnce() -> R) -> R {
    progress.request.store(0, Ordering::Relaxed);
    progress.step();
    let _before = Watched(WATCHED.replace(Some(Arc::clone(progress))));
    run()
}

/// What watches this thread, to be handed to threads that work for it.
pub fn current() -> Option<Arc<Progress>> {
    WATCHED.with_borrow(Clone::clone)
}

/// Runs `run` in a thread that works for the one which [`current`] is of: its steps count there, and it is
/// interrupted as that one is.
pub fn along<R>(progress: Option<&Arc<Progress>>, run: impl FnOnce() -> R) -> R {
    let _before = Watched(WATCHED.replace(progress.cloned()));
    run()
}

fn with_watched(run: impl FnOnce(&Progress)) {
    WATCHED.with_borrow(|watched| watched.as_deref().map_or((), run));
}

/// Something has been done.
pub fn step() {
    with_watched(|progress| {
        progress.step();
        progress.end_if_interrupted();
    });
}

/// Request number `number` begins.
pub fn at_request(number: u32) {
    with_watched(|progress| {
        progress.go_on_at(number);
        progress.end_if_interrupted();
    });
}

/// Request number `number` runs from here on, again maybe. The run is not interrupted here.
pub fn goes_on_at(number: u32) {
    with_watched(|progress| progress.go_on_at(number));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_count_where_they_are_watched() {
        let progress = Arc::new(Progress::default());
        at_request(7);
        watched(&progress, || {
            assert_eq!((progress.steps(), progress.request()), (1, 0));
            at_request(3);
            step();
        });
        step();
        assert_eq!((progress.steps(), progress.request()), (3, 3));
        let caught = std::panic::catch_unwind(|| watched(&progress, || panic!("as planned")));
        step();
        assert!(caught.is_err() && progress.steps() == 4);
    }

    #[test]
    fn an_interrupted_run_ends_at_its_next_step() {
        let progress = Arc::new(Progress::default());
        let mut done = 0;
        let run = std::panic::AssertUnwindSafe(|| {
            watched(&progress, || {
                step();
                progress.interrupt();
                goes_on_at(2);
                done += 1;
                at_request(3);
                done += 1;
            });
        });
        let ended = std::panic::catch_unwind(run);
        assert!(ended.is_err_and(|payload| payload.is::<Interrupted>()));
        assert_eq!((done, progress.request()), (1, 3));
    }

    #[test]
    fn threads_that_work_for_a_run_are_interrupted_with_it() {
        let progress = Arc::new(Progress::default());
        let ended = watched(&progress, || {
            let watched_by = current();
            std::thread::scope(|scope| {
                let works = scope.spawn(|| {
                    along(watched_by.as_ref(), || {
                        at_request(5);
                        progress.interrupt();
                        step();
                    });
                });
                works.join()
            })
        });
        assert!(ended.is_err_and(|payload| payload.is::<Interrupted>()));
        assert_eq!((progress.request(), current().is_none()), (5, true));
        // Of a thread that works for nobody.
        along(None, step);
    }
}
