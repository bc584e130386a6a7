//! Requests in flight: a thread for each, and reports in the order of completion.
//!
//! A report is not printed when its request completes but when the program next looks, as an event loop does:
//! while a synchronous request runs, while it sleeps, while it waits for input, and before it closes the
//! image. Requests that have just been sent off are given a moment then, so that the order of reports is that
//! of the commands, unless something holds one up.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use blk_core::sync::{Condvar, Mutex};

use super::console::Console;

/// How many may be in flight: each has a thread and a buffer.
const FLIGHTS_MAX: usize = 256;

/// How long the next command waits for a request that has just been sent off: most are done then, in the
/// order of the commands.
const HEAD_START: Duration = Duration::from_millis(1);

/// How long a request counts as one that has just been sent off.
const PATIENCE: Duration = Duration::from_millis(20);

/// Prints what a completed request has to say.
pub(crate) type Report = Box<dyn FnOnce(&Console) + Send>;

/// What a thread leaves: its report, or what it panicked with.
type Landed = Result<Report, Box<dyn Any + Send>>;

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    landing: Condvar,
}

#[derive(Default)]
struct State {
    /// By number, in the order of the commands: since when.
    flying: BTreeMap<u64, Instant>,
    landed: BTreeMap<u64, Landed>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} flying, {} landed", self.flying.len(), self.landed.len())
    }
}

/// The requests in flight of an open image.
#[derive(Debug)]
pub(crate) struct Flights {
    shared: Arc<Shared>,
    /// How old a request must be before reports of later ones are printed without its own.
    patience: Duration,
    /// The number of the next one.
    next: u64,
    /// Completed before the ones in `shared`, in the order in which they are printed.
    settled: Settled,
}

impl Default for Flights {
    fn default() -> Self {
        Self { shared: Arc::default(), patience: PATIENCE, next: 0, settled: Settled::default() }
    }
}

#[derive(Default)]
struct Settled(Vec<Landed>);

impl std::fmt::Debug for Settled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} settled", self.0.len())
    }
}

impl Flights {
    /// Runs `request` on a thread of its own. What it answers is printed later.
    ///
    /// # Errors
    /// Why no request can be sent off now.
    pub(crate) fn send(&mut self, request: impl FnOnce() -> Report + Send + 'static) -> Result<(), String> {
        let number = self.next;
        {
            let mut state = self.shared.state.lock();
            if state.flying.len() >= FLIGHTS_MAX {
                return Err(format!("{FLIGHTS_MAX} requests are in flight already"));
            }
            state.flying.insert(number, Instant::now());
        }
        self.next += 1;
        let shared = Arc::clone(&self.shared);
        let flight = move || {
            // Whoever waits for the landing must hear of a panic too: it goes on in the main thread.
            let landed = catch_unwind(AssertUnwindSafe(request));
            shared.land(number, landed);
        };
        if let Err(error) = thread::Builder::new().name(format!("aio {number}")).spawn(flight) {
            self.shared.state.lock().flying.remove(&number);
            return Err(format!("no thread for it: {error}"));
        }
        self.shared.wait_until(Instant::now() + HEAD_START, |state| !state.flying.contains_key(&number));
        Ok(())
    }

    /// Whether a request is in flight.
    pub(crate) fn is_flying(&self) -> bool {
        !self.shared.state.lock().flying.is_empty()
    }

    /// Whether anything is in flight, or has not been printed.
    pub(crate) fn is_empty(&self) -> bool {
        let state = self.shared.state.lock();
        state.flying.is_empty() && state.landed.is_empty() && self.settled.0.is_empty()
    }

    /// Fixes that what has completed by now is printed before what completes later.
    pub(crate) fn settle(&mut self) {
        let youngest = self.shared.state.lock().flying.values().max().copied();
        if let Some(since) = youngest {
            self.shared.wait_until(since + self.patience, |state| state.flying.is_empty());
        }
        self.take_landed();
    }

    /// Prints the reports of what has completed, without giving anything a moment.
    pub(crate) fn collect(&mut self, console: &Console) {
        self.take_landed();
        for landed in std::mem::take(&mut self.settled.0) {
            match landed {
                Ok(report) => report(console),
                Err(panic) => resume_unwind(panic),
            }
        }
    }

    /// Gives young requests a moment and prints the reports of what has completed.
    pub(crate) fn poll(&mut self, console: &Console) {
        self.settle();
        self.collect(console);
    }

    /// Waits until all have completed, and prints their reports.
    pub(crate) fn finish(&mut self, console: &Console) {
        self.poll(console);
        while !self.is_empty() {
            self.shared.wait_until(Instant::now() + PATIENCE, |state| !state.landed.is_empty());
            self.collect(console);
        }
    }

    fn take_landed(&mut self) {
        self.settled.0.extend(std::mem::take(&mut self.shared.state.lock().landed).into_values());
    }
}

impl Shared {
    fn land(&self, number: u64, landed: Landed) {
        let mut state = self.state.lock();
        state.flying.remove(&number);
        state.landed.insert(number, landed);
        self.landing.notify_all();
    }

    fn wait_until(&self, time: Instant, done: impl Fn(&State) -> bool) {
        let mut state = self.state.lock();
        while !done(&state) {
            if self.landing.wait_until(&mut state, time) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::io::testing::Recorder;

    fn says(text: &'static str) -> Report {
        Box::new(move |console| console.say(text))
    }

    #[test]
    fn reports_come_in_the_order_of_the_commands() {
        let (recorder, console) = Recorder::console();
        let mut flights = Flights { patience: Duration::from_mins(1), ..Flights::default() };
        for (milliseconds, text) in [(9, "slow "), (3, "quick "), (0, "quickest")] {
            let request = move || {
                thread::sleep(Duration::from_millis(milliseconds));
                says(text)
            };
            flights.send(request).unwrap();
        }
        flights.finish(&console);
        assert_eq!(recorder.out(), "slow quick quickest");
        assert!(flights.is_empty());
    }

    #[test]
    fn a_request_that_is_held_does_not_hold_the_reports_of_others() {
        let (recorder, console) = Recorder::console();
        let mut flights = Flights::default();
        let (let_go, held) = mpsc::channel::<()>();
        let request = move || {
            held.recv().unwrap();
            says("held")
        };
        flights.send(request).unwrap();
        flights.send(|| says("free ")).unwrap();
        while recorder.out().is_empty() {
            flights.poll(&console);
        }
        assert!(flights.is_flying());
        let_go.send(()).unwrap();
        flights.finish(&console);
        assert_eq!(recorder.out(), "free held");
    }

    #[test]
    fn a_panic_in_a_request_goes_on_where_reports_are_printed() {
        let (_, console) = Recorder::console();
        let mut flights = Flights::default();
        flights.send(|| resume_unwind(Box::new("broken"))).unwrap();
        let finished = catch_unwind(AssertUnwindSafe(|| flights.finish(&console)));
        assert_eq!(finished.unwrap_err().downcast_ref(), Some(&"broken"));
    }

    #[test]
    fn there_is_an_end_to_what_may_be_in_flight() {
        let (_, console) = Recorder::console();
        let mut flights = Flights::default();
        let gate = Arc::new(Mutex::new(()));
        let closed = gate.lock();
        for _ in 0..FLIGHTS_MAX {
            let gate = Arc::clone(&gate);
            let request = move || {
                drop(gate.lock());
                says("")
            };
            flights.send(request).unwrap();
        }
        let refused = flights.send(|| says("")).unwrap_err();
        assert_eq!(refused, "256 requests are in flight already");
        drop(closed);
        flights.finish(&console);
    }
}
