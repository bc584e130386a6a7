//! Notices that a driver waits or loops for ever: a run that makes no step for a while is a finding, and the
//! process ends. A run that goes on, but for longer than there is time, is interrupted.
//!
//! A thread cannot be stopped from outside, so there is no going on after such a finding. This is also the
//! outermost layer of the harness, which may read a clock: what lies below counts its steps
//! ([`crate::progress`]).

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::progress::{Progress, watched};
use crate::scenario::Scenario;
use blk_verify::{Finding, Signature};
use serde_json::Value;

use crate::runner::Runner;

/// How long no request may complete, seconds, unless the environment says another number.
pub const HANG: &str = "BLK_HANG_SECONDS";
const SECONDS_USUAL: u64 = 20;
/// How often the watch looks. Its own looks are counted: while the process is stopped, no time passes for it.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A run that does not go on.
#[derive(Debug, Clone)]
pub struct Hang {
    /// What was run.
    pub scenario: Scenario,
    /// The number of the request, counted from 1; 0 if there was none yet, more than there are if what is
    /// left was judged.
    pub request: u32,
    /// How long nothing has been done.
    pub time: Duration,
}

impl Hang {
    /// The finding, with what to do about it.
    pub fn finding(&self) -> Finding {
        let number = self.request as usize;
        let what = match number.checked_sub(1).map(|index| self.scenario.requests.get(index)) {
            Some(Some(request)) => format!("request #{number} ({request})"),
            Some(None) => "judging what a crash or a fault has left".to_owned(),
            None => "opening the image".to_owned(),
        };
        let notes = format!(
            "a driver that waits: it must take its locks from blk_core::sync, never hold one of std::sync across a call of its \
             storage, and\n  wait for nothing but its locks; requests in flight share one thread here, and a lock that the \
             scheduler does not know stops all of them\n\
             a driver that loops: the stack of this process says where (gdb -p, or SIGABRT under a debugger)\n\
             a driver that is slow: {HANG} gives it more time\n"
        );
        let what = format!("the driver hangs: {what} has not completed for {} s", self.time.as_secs());
        let signature = Signature::Failed { what: "completing a request", error: "Hang".to_owned() };
        Finding { request_number: self.request, ..Finding::new(signature, what) }
            .with_notes(&notes)
            .by("watch")
    }
}

/// A time at which runs end, wherever they are: for what is tried again and again while there is time.
#[derive(Debug)]
pub struct Deadline {
    time: Instant,
    progress: Arc<Progress>,
    /// The thread that waits for the time ends once this is gone.
    _waits: Sender<()>,
}

impl Deadline {
    /// Ends runs at `time`; a thread waits for it, as long as this lives.
    pub fn at(time: Instant) -> Self {
        let progress = Arc::new(Progress::default());
        let (waits, ends) = mpsc::channel();
        let interrupted = Arc::clone(&progress);
        thread::spawn(move || {
            let left = time.saturating_duration_since(Instant::now());
            if ends.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                interrupted.interrupt();
            }
        });
        Self { time, progress, _waits: waits }
    }

    /// Whether no time is left.
    pub fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    /// How much time is left.
    pub fn left(&self) -> Duration {
        self.time.saturating_duration_since(Instant::now())
    }

    /// What `run` returns; `None` if the time comes first: then it ends at its next step
    /// ([`crate::progress`]), also in threads that it has started, by unwinding.
    pub fn run<R>(&self, run: impl FnOnce() -> R) -> Option<R> {
        if self.is_over() {
            return None;
        }
        let run = AssertUnwindSafe(run);
        let ended = watched(&self.progress, || catch_unwind(run));
        // What has caught the unwinding took it for a panic of the driver.
        if self.progress.is_interrupted() {
            return None;
        }
        Some(ended.unwrap_or_else(|payload| resume_unwind(payload)))
    }
}

/// What is done about a hang. It must end the process.
pub type OnHang = Box<dyn Fn(&Hang) + Send>;

/// How long no request may complete: what the environment says, or 20 seconds.
pub fn limit() -> Duration {
    let given = std::env::var(HANG).ok().and_then(|text| text.parse().ok()).filter(|seconds| *seconds > 0);
    Duration::from_secs(given.unwrap_or(SECONDS_USUAL))
}

/// A [`Runner`] under watch.
pub struct Watched {
    runner: Box<dyn Runner>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    progress: Arc<Progress>,
    scenario: Mutex<Scenario>,
    /// When the run is interrupted.
    deadline: Option<Instant>,
    is_running: AtomicBool,
    has_ended: AtomicBool,
}

impl Shared {
    fn scenario(&self) -> MutexGuard<'_, Scenario> {
        self.scenario.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, limit: Duration, on_hang: &dyn Fn(&Hang)) {
        let (mut seen, mut idle) = (0, Duration::ZERO);
        while !self.has_ended.load(Ordering::Relaxed) {
            thread::sleep(LOOK_EVERY);
            if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                self.progress.interrupt();
            }
            let steps = self.progress.steps();
            if steps != seen || !self.is_running.load(Ordering::Relaxed) {
                (seen, idle) = (steps, Duration::ZERO);
                continue;
            }
            idle += LOOK_EVERY;
            if idle >= limit {
                let (scenario, request) = (self.scenario().clone(), self.progress.request());
                return on_hang(&Hang { scenario, request, time: idle });
            }
        }
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.runner).finish()
    }
}

impl Watched {
    /// Watches what `runner` runs. `on_hang` is called once no step has been made for `limit`.
    pub fn new(runner: Box<dyn Runner>, limit: Duration, on_hang: OnHang) -> Self {
        Self::until(runner, limit, on_hang, None)
    }

    /// As [`Watched::new`]. A run that goes on at `deadline`, if there is one, or begins after it, ends at
    /// its next step, and is [`Outcome::Refused`].
    pub fn until(
        runner: Box<dyn Runner>,
        limit: Duration,
        on_hang: OnHang,
        deadline: Option<Instant>,
    ) -> Self {
        let shared = Arc::new(Shared { deadline, ..Shared::default() });
        let watching = Arc::clone(&shared);
        thread::spawn(move || watching.look(limit, &on_hang));
        Self { runner, shared }
    }

    fn watch(&mut self, scenario: &Scenario, run: impl FnOnce(&mut dyn Runner) -> Outcome) -> Outcome {
        self.shared.scenario().clone_from(scenario);
        self.shared.is_running.store(true, Ordering::Relaxed);
        let run = AssertUnwindSafe(|| run(&mut *self.runner));
        let ended = watched(&self.shared.progress, || catch_unwind(run));
        self.shared.is_running.store(false, Ordering::Relaxed);
        if self.shared.progress.is_interrupted() {
            return Outcome::Refused("there was no time left".to_owned());
        }
        ended.unwrap_or_else(|payload| resume_unwind(payload))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::Relaxed);
    }
}

impl Runner for Watched {
    fn run(&mut self, scenario: &Scenario) -> Outcome {
        self.watch(scenario, |runner| runner.run(scenario))
    }

    fn run_from(&mut self, scenario: &Scenario, first: usize) -> Outcome {
        self.watch(scenario, |runner| runner.run_from(scenario, first))
    }

    /// Threads make their own steps: such a run is not watched.
    fn stress(&mut self, scenario: &Scenario) -> Option<Outcome> {
        self.runner.stress(scenario)
    }

    fn summary(&self) -> Value {
        self.runner.summary()
    }

    fn transitions(&self) -> BTreeMap<String, u64> {
        self.runner.transitions()
    }

    fn missing(&self) -> Option<&'static str> {
        self.runner.missing()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Sender};

    use super::*;
    use crate::progress;

    /// Runs a function, whatever the scenario, and finds nothing.
    struct Runs<F>(F);

    impl<F> fmt::Debug for Runs<F> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Runs")
        }
    }

    impl<F: FnMut() + Send> Runner for Runs<F> {
        fn run(&mut self, _scenario: &Scenario) -> Outcome {
            (self.0)();
            Outcome::Clean
        }

        fn summary(&self) -> Value {
            Value::Null
        }

        fn missing(&self) -> Option<&'static str> {
            None
        }
    }

    /// Goes on for ever, step by step, and catches what unwinds now and then, as engines do.
    fn go_on() {
        for _ in 0..3 {
            let unwound: Result<(), _> = crate::run::caught(|| {
                loop {
                    progress::step();
                    thread::sleep(Duration::from_millis(1));
                }
            });
            assert!(unwound.is_err());
        }
    }

    #[test]
    fn what_goes_on_past_the_deadline_is_interrupted() {
        let begun = Instant::now();
        let on_hang: OnHang = Box::new(|_| unreachable!("it makes steps"));
        let deadline = begun + Duration::from_millis(300);
        let runner = Box::new(Runs(go_on));
        let mut runner = Watched::until(runner, Duration::from_mins(1), on_hang, Some(deadline));
        let outcome = runner.run(&Scenario::default());
        assert_eq!(outcome, Outcome::Refused("there was no time left".to_owned()));
        assert!(begun.elapsed() >= Duration::from_millis(300));
        assert!(matches!(runner.run(&Scenario::default()), Outcome::Refused(_)), "there still is none");
    }

    #[test]
    fn a_deadline_ends_what_goes_on_and_leaves_what_ends_before() {
        let deadline = Deadline::at(Instant::now() + Duration::from_mins(1));
        assert_eq!(deadline.run(|| 7), Some(7));
        let panics = catch_unwind(AssertUnwindSafe(|| deadline.run(|| panic!("as planned"))));
        assert!(panics.is_err() && !deadline.is_over());
        let begun = Instant::now();
        let deadline = Deadline::at(begun + Duration::from_millis(300));
        assert_eq!(deadline.run(go_on), None);
        assert!(begun.elapsed() >= Duration::from_millis(300) && deadline.is_over());
        assert_eq!(deadline.run(|| unreachable!("there is no time left")), None::<()>);
    }

    #[test]
    fn what_does_not_go_on_is_noticed_once_it_runs() {
        let (go, wait) = mpsc::channel();
        let (told, hears) = mpsc::channel();
        let on_hang = move |sender: &Sender<()>, hang: &Hang| {
            told.send(hang.clone()).unwrap();
            sender.send(()).unwrap();
        };
        let on_hang: OnHang = Box::new(move |hang| on_hang(&go, hang));
        // Goes on only after it has been noticed that it does not.
        let waits = Runs(move || wait.recv_timeout(Duration::from_mins(1)).expect("the watch calls"));
        let mut runner = Watched::new(Box::new(waits), Duration::from_millis(500), on_hang);
        // As long as nothing runs, nothing hangs.
        thread::sleep(Duration::from_secs(1));
        let begun = Instant::now();
        let scenario = Scenario::from_text("blk-scenario 1\nread 0 512\n").unwrap();
        assert_eq!(runner.run(&scenario), Outcome::Clean);
        assert!(begun.elapsed() >= Duration::from_millis(400));
        let hang = hears.recv().unwrap();
        assert_eq!(hang.scenario, scenario);
        let finding = Hang { request: 1, time: Duration::from_secs(20), ..hang }.finding();
        assert!(
            finding.report().contains("request #1 (read 0 512) has not completed for 20 s"),
            "{finding:?}"
        );
        assert!(finding.report().contains("blk_core::sync"));
    }
}
