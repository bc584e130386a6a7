//! Lanes of threads that take turns as the tasks of the [scheduler](blk_sim::scheduler) do: for drivers whose
//! threads are not ours, because they are in another process.
//!
//! ```text
//! lanes (threads) ── requests ──► a driver elsewhere ── operations ──► Host
//!        ▲                                                                  │
//!        └──────────────────────────── Relay: which lane runs ◄─────────────┘
//! ```
//! One lane runs at a time: it alone may begin a request, and operations that arrive at the host meanwhile
//! count as its points. Where its [`Turn`] comes, the operation stays where it is, and the next lane runs;
//! the operation goes on when its lane runs again. A lane whose driver stands still, because it waits for
//! what is held, gives way too. That the driver stands still is known from time alone: nothing has arrived
//! for a while, and its threads sleep, if somebody can tell. So a schedule decides the order in which
//! operations complete, and now and then chance does.

use std::fmt;
use std::time::{Duration, Instant};

use blk_core::sync::{Condvar, Mutex};
use blk_sim::Points;

use crate::driver::IsAsleep;
use crate::scenario::Turn;

/// How long nothing has to arrive before the driver is looked at, and then between two looks.
const LOOK_TIME: Duration = Duration::from_micros(300);
/// Looks in a row at which it has to sleep.
const LOOKS: u32 = 3;
/// After this time it stands still, whatever its threads seem to do: some drivers never sleep. It is far
/// longer than a thread has to wait for a processor on a busy machine.
const STILL_TIME: Duration = Duration::from_secs(1);

/// What a lane is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// It waits until it may begin a request.
    Waiting,
    Requesting,
    Gone,
}

#[derive(Debug, Clone, Copy)]
struct Lane {
    doing: Doing,
    turn: Turn,
    /// Points since its request began, while it ran.
    points: u64,
    /// An operation is held until it runs again.
    holds: bool,
}

#[derive(Debug)]
struct State {
    /// None while nobody makes requests in lanes: operations pass.
    running: Option<usize>,
    lanes: Vec<Lane>,
    /// The lanes' threads.
    threads: Vec<u32>,
    /// When something has happened last, and how often the driver has been asleep since.
    last: Instant,
    asleep: u32,
    points: u64,
    switches: u64,
    held: u64,
}

/// Who takes turns.
pub(crate) struct Relay {
    state: Mutex<State>,
    changed: Condvar,
    is_asleep: IsAsleep,
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("state", &*self.state.lock()).finish_non_exhaustive()
    }
}

impl Relay {
    /// A relay of a driver of which `is_asleep` can tell.
    pub(crate) fn new(is_asleep: IsAsleep) -> Self {
        let (lanes, last) = (Vec::new(), Instant::now());
        let (threads, points) = (Vec::new(), 0);
        let state = State { running: None, lanes, threads, last, asleep: 0, points, switches: 0, held: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new(), is_asleep }
    }

    /// Makes so many lanes, of which the first runs.
    pub(crate) fn start(&self, lanes: usize) {
        assert!(lanes > 0, "a relay of no lanes");
        let lane = Lane { doing: Doing::Waiting, turn: Turn::default(), points: 0, holds: false };
        let mut state = self.state.lock();
        state.lanes = vec![lane; lanes];
        state.running = Some(0);
        state.threads.clear();
        state.note();
    }

    /// The thread that calls this is one of the lanes'.
    pub(crate) fn enter(&self) {
        self.state.lock().threads.extend(this_thread());
    }

    /// Waits until `lane` runs: it may begin a request.
    pub(crate) fn await_turn(&self, lane: usize) {
        let mut state = self.state.lock();
        state.lanes[lane].doing = Doing::Waiting;
        while state.running != Some(lane) {
            self.changed.wait(&mut state);
        }
        state.note();
    }

    /// The running lane begins a request, which gives way at `turn`.
    pub(crate) fn begin(&self, lane: usize, turn: Turn) {
        let mut state = self.state.lock();
        let holds = state.lanes[lane].holds;
        state.lanes[lane] = Lane { doing: Doing::Requesting, turn, points: 0, holds };
        state.note();
    }

    /// `lane` makes no more requests.
    pub(crate) fn leave(&self, lane: usize) {
        let mut state = self.state.lock();
        let was_running = state.running == Some(lane);
        (state.lanes[lane].doing, state.lanes[lane].holds) = (Doing::Gone, false);
        if state.lanes.iter().all(|lane| lane.doing == Doing::Gone) {
            state.running = None;
        } else if was_running {
            state.pass_on(1, |lane| lane.doing != Doing::Gone);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Sees to it that lanes which cannot go on give way, until all have left. For a thread of its own.
    pub(crate) fn conduct(&self) {
        let mut state = self.state.lock();
        while state.running.is_some() {
            let next = Instant::now() + LOOK_TIME;
            self.changed.wait_until(&mut state, next);
            if !state.may_stand_still() || state.last.elapsed() < LOOK_TIME {
                continue;
            }
            let (last, threads) = (state.last, state.threads.clone());
            drop(state);
            let is_asleep = (self.is_asleep)(&threads);
            state = self.state.lock();
            if state.last != last {
                continue;
            }
            state.asleep = if is_asleep { state.asleep + 1 } else { 0 };
            if state.asleep >= LOOKS || last.elapsed() >= STILL_TIME {
                state.pass_on(1, |lane| lane.holds || lane.doing == Doing::Waiting);
                state.note();
                self.changed.notify_all();
            }
        }
    }

    /// Points that operations have passed.
    pub(crate) fn points(&self) -> u64 {
        self.state.lock().points
    }

    /// Times that a lane has given way to another.
    pub(crate) fn switches(&self) -> u64 {
        self.state.lock().switches
    }
}

/// The number of this thread, where the kernel is Linux.
fn this_thread() -> Option<u32> {
    std::fs::read_link("/proc/thread-self").ok()?.file_name()?.to_str()?.parse().ok()
}

impl Points for Relay {
    /// An operation is at a point, in whichever thread. It may stay there for a while.
    fn point(&self) {
        let mut state = self.state.lock();
        state.points += 1;
        state.note();
        let Some(running) = state.running else { return };
        let lane = &mut state.lanes[running];
        if lane.doing != Doing::Requesting {
            return;
        }
        lane.points += 1;
        let turn = lane.turn;
        if !turn.comes_at(lane.points) {
            return;
        }
        lane.holds = true;
        state.held += 1;
        let step = if turn.is_back() { state.lanes.len() - 1 } else { 1 };
        state.pass_on(step, |lane| lane.doing != Doing::Gone);
        self.changed.notify_all();
        while state.lanes[running].holds {
            self.changed.wait(&mut state);
        }
        state.note();
    }
}

impl State {
    fn note(&mut self) {
        (self.last, self.asleep) = (Instant::now(), 0);
    }

    /// Whether the running lane may be waiting for what another one holds.
    fn may_stand_still(&self) -> bool {
        let is_requesting = |lane: usize| self.lanes[lane].doing == Doing::Requesting;
        self.running.is_some_and(is_requesting) && self.lanes.iter().any(|lane| lane.holds)
    }

    /// The next lane in the circle that `can` run does, or the same one if none else can. What it holds goes
    /// on.
    fn pass_on(&mut self, step: usize, can: impl Fn(&Lane) -> bool) {
        let Some(before) = self.running else { return };
        let count = self.lanes.len();
        let others = (1..count).map(|times| (before + times * step) % count);
        let next =
            others.filter(|lane| *lane != before).find(|lane| can(&self.lanes[*lane])).unwrap_or(before);
        self.switches += u64::from(next != before);
        self.lanes[next].holds = false;
        self.running = Some(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a lane with one request for each of `turns`, and returns what they say. Lanes that seem to sleep
    /// are passed over once they have done nothing for a millisecond, which a busy machine may bring about.
    fn run(
        turns: &[&str],
        seems_asleep: bool,
        body: impl Fn(&Relay, usize, &Mutex<String>) + Sync,
    ) -> (String, u64) {
        let (relay, log) = (Relay::new(Box::new(move |_| seems_asleep)), Mutex::new(String::new()));
        relay.start(turns.len());
        std::thread::scope(|scope| {
            for (lane, turn) in turns.iter().enumerate() {
                let (relay, log, body) = (&relay, &log, &body);
                scope.spawn(move || {
                    relay.await_turn(lane);
                    relay.begin(lane, Turn::parse(turn).unwrap_or_default());
                    body(relay, lane, log);
                    relay.await_turn(lane);
                    relay.leave(lane);
                });
            }
            relay.conduct();
        });
        relay.point();
        (log.into_inner(), relay.switches())
    }

    fn steps(relay: &Relay, lane: usize, log: &Mutex<String>) {
        for step in 1..=3 {
            relay.point();
            let said = format!("{}{step} ", ["a", "b", "c"][lane]);
            log.lock().push_str(&said);
        }
    }

    #[test]
    fn lanes_take_turns_as_tasks_do() {
        let run = |turns: &[&str]| run(turns, false, steps);
        assert_eq!(run(&["", "", ""]), ("a1 a2 a3 b1 b2 b3 c1 c2 c3 ".to_owned(), 2));
        assert_eq!(run(&["@2", "@1", ""]), ("a1 c1 c2 c3 a2 a3 b1 b2 b3 ".to_owned(), 4));
        assert_eq!(run(&["@3", "@2<", ""]).0, "a1 a2 b1 a3 b2 b3 c1 c2 c3 ");
        assert_eq!(run(&["@1*", "@1*", ""]), ("c1 c2 c3 a1 b1 a2 b2 a3 b3 ".to_owned(), 8));
        assert_eq!(run(&["@1"]), ("a1 a2 a3 ".to_owned(), 0), "no other lane could run");
    }

    #[test]
    fn a_lane_that_waits_for_what_is_held_gives_way() {
        let lock = std::sync::Mutex::new(());
        let (log, _) = run(&["@1", ""], true, |relay, lane, log| {
            let held = lock.lock();
            relay.point();
            log.lock().push_str(["a", "b"][lane]);
            drop(held);
        });
        assert_eq!(log, "ab");
    }

    #[test]
    fn a_lane_that_is_slow_does_not_give_way() {
        let (log, _) = run(&["", ""], true, |relay, lane, log| {
            std::thread::sleep(5 * STILL_TIME / 4);
            steps(relay, lane, log);
        });
        assert_eq!(log, "a1 a2 a3 b1 b2 b3 ", "nothing is held: it waits for nobody");
    }
}
