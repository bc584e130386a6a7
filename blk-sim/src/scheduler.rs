//! A deterministic scheduler: tasks are coroutines of one thread, of which one runs at a time.
//!
//! A task runs on until it gives way: at a point that its request's [`Turn`] names, where a lock is held by
//! another task, or at its end. Then the next task in a circle goes on (or the one before, where the turn
//! says so). So a schedule is a pure function of the turns, and without turns everything happens in order.
//! Points that are no turn cost a few nanoseconds.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use blk_core::sync::Mutex;
use blk_core::sync::model::{self, Hook};
use generator::{Generator, Gn};

use crate::progress;
use crate::turn::Turn;

/// Stack of a task in words: 512 KiB, of which only what is used costs memory.
const STACK_WORDS: usize = 64 << 10;
/// Points that a run may have: more is a livelock.
const POINTS_END: u64 = 1 << 20;

/// What a panic carries: the message, mostly.
pub type Payload = Box<dyn Any + Send>;

/// How a run of tasks ended.
pub enum Ended {
    /// All tasks have ended.
    Completed,
    /// None can go on.
    Deadlock,
    /// They go on for ever.
    Livelock,
    /// One panicked.
    Panic(Payload),
}

/// The stacks of tasks, kept between runs.
#[derive(Default)]
pub struct Tasks {
    stacks: Vec<Generator<'static, (), ()>>,
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("stacks", &self.stacks.len()).finish()
    }
}

/// Why the running task has stopped running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Stopped {
    Ended,
    Turn,
    TurnBack,
    Blocked,
}

/// The scheduler as its tasks see it. They take turns on one thread: all orderings are relaxed.
#[derive(Debug, Default)]
pub struct Control {
    running: AtomicUsize,
    stopped: AtomicU8,
    /// All tasks have to end now, whatever they are doing.
    is_abandoned: AtomicBool,
    points: AtomicU64,
    switches: AtomicU64,
    panic: Mutex<Option<Payload>>,
    requests: [Request; 8],
}

/// The request that a task is at.
#[derive(Debug, Default)]
struct Request {
    turn: AtomicU8,
    points: AtomicU64,
    /// Its number; 0 before the first.
    number: AtomicU32,
}

/// Ends a task that is abandoned.
struct Abandoned;

impl Control {
    /// The running task begins request number `number`, which gives way at `turn`.
    pub fn begin(&self, number: u32, turn: Turn) {
        let request = &self.requests[self.running.load(Ordering::Relaxed)];
        request.number.store(number, Ordering::Relaxed);
        request.turn.store(turn.byte(), Ordering::Relaxed);
        request.points.store(0, Ordering::Relaxed);
    }

    /// Points passed by all tasks.
    pub fn points(&self) -> u64 {
        self.points.load(Ordering::Relaxed)
    }

    /// Times that a task has given way to another.
    pub fn switches(&self) -> u64 {
        self.switches.load(Ordering::Relaxed)
    }

    /// Keeps the first panic.
    fn note(&self, payload: Payload) {
        self.panic.lock().get_or_insert(payload);
    }

    fn is_livelock(&self) -> bool {
        self.points() >= POINTS_END
    }

    fn stop(&self, why: Stopped) {
        self.stopped.store(why as u8, Ordering::Relaxed);
        #[expect(deprecated, reason = "a scope, which replaces it, cannot be kept where a lock finds it")]
        generator::yield_with(());
        self.end_if_abandoned();
    }

    fn end_if_abandoned(&self) {
        if self.is_abandoned.load(Ordering::Relaxed) {
            // Past the panic hook: nothing is wrong with this task.
            resume_unwind(Box::new(Abandoned));
        }
    }

    fn stopped(&self) -> Stopped {
        match self.stopped.load(Ordering::Relaxed) {
            0 => Stopped::Ended,
            1 => Stopped::Turn,
            2 => Stopped::TurnBack,
            _ => Stopped::Blocked,
        }
    }
}

/// What locks and points call.
struct Points(Arc<Control>);

impl Hook for Points {
    fn point(&self) {
        if std::thread::panicking() {
            return;
        }
        let control = &*self.0;
        control.end_if_abandoned();
        control.points.fetch_add(1, Ordering::Relaxed);
        let request = &control.requests[control.running.load(Ordering::Relaxed)];
        let point = request.points.fetch_add(1, Ordering::Relaxed) + 1;
        let turn = Turn::from_byte(request.turn.load(Ordering::Relaxed));
        if turn.comes_at(point) || control.is_livelock() {
            control.stop(if turn.is_back() { Stopped::TurnBack } else { Stopped::Turn });
        }
    }

    fn blocked(&self) {
        self.0.stop(Stopped::Blocked);
    }
}

impl Tasks {
    /// Runs one task for each of `bodies`, at most eight, until all have ended or nothing more can come of
    /// it.
    pub fn run(&mut self, control: &Arc<Control>, bodies: Vec<Box<dyn FnOnce() + Send>>) -> Ended {
        let count = bodies.len();
        for (index, body) in bodies.into_iter().enumerate() {
            let control = Arc::clone(control);
            let task = move || {
                let guarded = AssertUnwindSafe(|| {
                    // It may be abandoned before it has begun.
                    control.end_if_abandoned();
                    body();
                });
                if let Err(payload) = catch_unwind(guarded)
                    && !payload.is::<Abandoned>()
                {
                    model::in_one_step(|| control.note(payload));
                }
                control.stopped.store(Stopped::Ended as u8, Ordering::Relaxed);
            };
            match self.stacks.get_mut(index) {
                Some(stack) => stack.init_code(task),
                None => self.stacks.push(Gn::<()>::new_opt(STACK_WORDS, task)),
            }
        }
        let hook: Rc<dyn Hook> = Rc::new(Points(Arc::clone(control)));
        self.schedule(control, &hook, count)
    }

    fn schedule(&mut self, control: &Control, hook: &Rc<dyn Hook>, count: usize) -> Ended {
        let mut is_blocked = vec![false; count];
        let (mut left, mut in_vain, mut next, mut before) = (count, 0, 0, 0);
        while left > 0 {
            if self.stacks[next].is_done() {
                next = (next + 1) % count;
                continue;
            }
            control.switches.fetch_add(u64::from(next != before), Ordering::Relaxed);
            before = next;
            let points = control.points();
            let stopped = self.resume(control, hook, next);
            // A task may be blocked at another place than before: what it has released there lets others go
            // on.
            let is_in_vain = stopped == Stopped::Blocked && is_blocked[next] && control.points() == points;
            let panic = control.panic.lock().take();
            if let Some(payload) = panic {
                return self.abandon(control, hook, count, Ended::Panic(payload));
            }
            if control.is_livelock() {
                return self.abandon(control, hook, count, Ended::Livelock);
            }
            in_vain = if is_in_vain { in_vain + 1 } else { 0 };
            is_blocked[next] = stopped == Stopped::Blocked;
            left -= usize::from(stopped == Stopped::Ended);
            if in_vain >= left && left > 0 {
                return self.abandon(control, hook, count, Ended::Deadlock);
            }
            next = if stopped == Stopped::TurnBack { next + count - 1 } else { next + 1 } % count;
        }
        Ended::Completed
    }

    fn resume(&mut self, control: &Control, hook: &Rc<dyn Hook>, task: usize) -> Stopped {
        control.running.store(task, Ordering::Relaxed);
        progress::goes_on_at(control.requests[task].number.load(Ordering::Relaxed));
        model::with_hook(Rc::clone(hook), || self.stacks[task].resume());
        control.stopped()
    }

    /// Ends all tasks where they are.
    fn abandon(&mut self, control: &Control, hook: &Rc<dyn Hook>, count: usize, ended: Ended) -> Ended {
        control.is_abandoned.store(true, Ordering::Relaxed);
        for task in 0..count {
            while !self.stacks[task].is_done() {
                self.resume(control, hook, task);
            }
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use blk_core::sync::{Condvar, RwLock, point};

    use super::*;

    /// Runs bodies that write down what they do, and returns that.
    fn run(turns: &[&str], body: fn(usize, &Mutex<String>)) -> (String, Ended) {
        run_under(&Arc::new(Control::default()), turns, body)
    }

    fn run_under(control: &Arc<Control>, turns: &[&str], body: fn(usize, &Mutex<String>)) -> (String, Ended) {
        let log = Arc::new(Mutex::new(String::new()));
        let bodies = turns.iter().enumerate().map(|(index, turn)| {
            let (control, log) = (Arc::clone(control), Arc::clone(&log));
            let turn = Turn::parse(turn).unwrap_or_default();
            Box::new(move || {
                control.begin(1, turn);
                body(index, &log);
            }) as Box<dyn FnOnce() + Send>
        });
        let ended = Tasks::default().run(control, bodies.collect());
        let log = log.lock().clone();
        (log, ended)
    }

    fn say(log: &Mutex<String>, text: impl fmt::Display) {
        model::in_one_step(|| log.lock().push_str(&text.to_string()));
    }

    fn steps(index: usize, log: &Mutex<String>) {
        for step in 1..=3 {
            point();
            say(log, format_args!("{}{step} ", ["a", "b", "c"][index]));
        }
    }

    #[test]
    fn without_turns_everything_happens_in_order() {
        assert_eq!(run(&["", "", ""], steps).0, "a1 a2 a3 b1 b2 b3 c1 c2 c3 ");
    }

    #[test]
    fn turns_give_way_to_the_next_or_the_one_before() {
        assert_eq!(run(&["@2", "@1", ""], steps).0, "a1 c1 c2 c3 a2 a3 b1 b2 b3 ");
        assert_eq!(run(&["@3", "@2<", ""], steps).0, "a1 a2 b1 a3 b2 b3 c1 c2 c3 ");
        assert_eq!(run(&["@1*", "@1*", ""], steps).0, "c1 c2 c3 a1 b1 a2 b2 a3 b3 ");
    }

    #[test]
    fn changes_of_the_task_that_runs_are_counted() {
        for (turns, expected) in [([""; 3], 2), (["@2", "@1", ""], 4), (["@1*", "@1*", ""], 8)] {
            let control = Arc::new(Control::default());
            run_under(&control, &turns, steps);
            assert_eq!(control.switches(), expected, "{turns:?}");
        }
    }

    #[test]
    fn a_held_lock_is_waited_for_and_a_circle_of_them_found() {
        static LOCK: RwLock<()> = RwLock::new(());
        static LOCKS: [Mutex<()>; 2] = [Mutex::new(()), Mutex::new(())];
        let (log, ended) = run(&["@2", ""], |index, log| {
            let held = LOCK.write();
            say(log, index);
            point();
            drop(held);
        });
        assert!(log == "01" && matches!(ended, Ended::Completed));
        let (_, ended) = run(&["@2", ""], |index, _| {
            let _first = LOCKS[index].lock();
            let _second = LOCKS[1 - index].lock();
        });
        assert!(matches!(ended, Ended::Deadlock));
        assert!(LOCKS.iter().all(|lock| lock.try_lock().is_some()), "abandoned tasks hold nothing");
    }

    #[test]
    fn a_task_that_goes_from_one_wait_to_another_is_no_deadlock() {
        static LOCKS: [Mutex<()>; 3] = [Mutex::new(()), Mutex::new(()), Mutex::new(())];
        let (log, ended) = run(&["@2<", "", "@2<"], |index, log| {
            // The last task waits for the first lock of the first one; then all wait for what the second one
            // has.
            let (first, second) = ([0, 1, 2][index], [1, 2, 0][index]);
            let held = LOCKS[first].lock();
            if index == 0 {
                point();
                drop(held);
                let _last = LOCKS[second].lock();
            } else {
                let other = LOCKS[second].lock();
                drop((held, other));
                let _last = LOCKS[1].lock();
            }
            say(log, index);
        });
        assert!(matches!(ended, Ended::Completed), "{log}");
    }

    #[test]
    fn conditions_are_waited_for_and_found_never_to_come() {
        static STATE: (Mutex<u32>, Condvar) = (Mutex::new(0), Condvar::new());
        let (_, ended) = run(&["", ""], |index, _| {
            let mut count = STATE.0.lock();
            while index == 0 && *count == 0 {
                STATE.1.wait(&mut count);
            }
            *count += 1;
            STATE.1.notify_all();
        });
        assert!(matches!(ended, Ended::Completed) && *STATE.0.lock() == 2);
        let (_, ended) = run(&["", ""], |_, _| {
            let mut count = STATE.0.lock();
            while *count < 9 {
                STATE.1.wait(&mut count);
            }
        });
        assert!(matches!(ended, Ended::Deadlock));
    }

    #[test]
    fn panics_and_endless_tasks_end_the_run() {
        // The first has begun, the second panics, the third never begins.
        let (log, ended) = run(&["@1", "", ""], |index, log| {
            point();
            say(log, index);
            assert!(index == 0, "as planned");
        });
        assert!(log == "1" && matches!(ended, Ended::Panic(_)), "{log}");
        let (_, ended) = run(&["", ""], |_, _| {
            loop {
                point();
            }
        });
        assert!(matches!(ended, Ended::Livelock));
    }
}
