//! How a deterministic scheduler takes part: tasks that are coroutines of one thread, of which one runs at a
//! time.
//!
//! A task never blocks its thread. Where it would, it tells its [`Hook`], which lets others run and comes
//! back later. The locks of a model run must not be shared with other threads: the scheduler would take their
//! turn for a deadlock.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::MutexGuard;

/// A scheduler, as its tasks see it. Each call may return after other tasks have run.
pub trait Hook {
    /// The task can go on, and so may others.
    fn point(&self);

    /// The task cannot go on before another one has. It is asked again: being woken for nothing is fine.
    fn blocked(&self);
}

/// Threads in which a hook is installed: nobody else needs to look for one.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static HOOK: RefCell<Option<Rc<dyn Hook>>> = const { RefCell::new(None) };
}

/// Whether there may be a hook. A thread always sees its own.
#[inline]
pub(super) fn is_running() -> bool {
    RUNNING.load(Ordering::Relaxed) != 0
}

fn hook() -> Option<Rc<dyn Hook>> {
    HOOK.with_borrow(Clone::clone)
}

/// Puts back what was installed before, also when what runs between panics.
struct Installed {
    before: Option<Rc<dyn Hook>>,
}

impl Installed {
    fn new(hook: Option<Rc<dyn Hook>>) -> Self {
        RUNNING.fetch_add(1, Ordering::Relaxed);
        Self { before: HOOK.replace(hook) }
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        HOOK.set(self.before.take());
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs `run` with `hook` in charge of this thread's locks and points.
pub fn with_hook<R>(hook: Rc<dyn Hook>, run: impl FnOnce() -> R) -> R {
    let _installed = Installed::new(Some(hook));
    run()
}

/// Runs `run`, which is one step for the scheduler: no point of it lets others go on. Everything that it
/// locks must be free.
pub fn in_one_step<R>(run: impl FnOnce() -> R) -> R {
    if !is_running() {
        return run();
    }
    let _installed = Installed::new(None);
    run()
}

#[cold]
pub(super) fn point() {
    if let Some(hook) = hook() {
        hook.point();
    }
}

/// Takes a lock: `attempt` it until it is free, or `wait` for it where no scheduler is in charge.
#[cold]
pub(super) fn acquire<G>(attempt: impl Fn() -> Option<G>, wait: impl FnOnce() -> G) -> G {
    let Some(hook) = hook() else { return wait() };
    hook.point();
    loop {
        match attempt() {
            Some(guard) => return guard,
            None => hook.blocked(),
        }
    }
}

/// Gives the lock of `guard` away until others have gone on and it is free again. False where no scheduler is
/// in charge.
#[cold]
pub(super) fn wait<T: ?Sized>(guard: &mut MutexGuard<'_, T>) -> bool {
    let Some(hook) = hook() else { return false };
    let mutex = MutexGuard::mutex(guard);
    MutexGuard::unlocked(guard, || {
        hook.blocked();
        while mutex.is_locked() {
            hook.blocked();
        }
    });
    true
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::{Condvar, Mutex, RwLock, point};
    use super::*;

    /// Counts, and opens what blocks.
    #[derive(Default)]
    struct Counting {
        points: Cell<u32>,
        blocked: Cell<u32>,
        open: RefCell<Option<Box<dyn FnOnce()>>>,
    }

    impl Hook for Counting {
        fn point(&self) {
            self.points.set(self.points.get() + 1);
        }

        fn blocked(&self) {
            self.blocked.set(self.blocked.get() + 1);
            if let Some(open) = self.open.take() {
                open();
            }
        }
    }

    #[test]
    fn each_acquisition_is_a_point_of_this_thread_alone() {
        let counting = Rc::new(Counting::default());
        let (mutex, lock) = (Mutex::new(()), RwLock::new(()));
        with_hook(Rc::clone(&counting) as Rc<dyn Hook>, || {
            drop(mutex.lock());
            drop(lock.read());
            drop(lock.write());
            point();
            in_one_step(|| drop((mutex.lock(), lock.write())));
            std::thread::scope(|scope| scope.spawn(|| drop(mutex.lock())).join().unwrap());
        });
        point();
        drop(mutex.lock());
        assert_eq!((counting.points.get(), counting.blocked.get()), (4, 0));
    }

    #[test]
    fn what_is_held_gives_way_until_it_is_free() {
        let lock: &'static RwLock<u32> = Box::leak(Box::new(RwLock::new(0)));
        let held = lock.0.write();
        let counting = Rc::new(Counting::default());
        counting.open.replace(Some(Box::new(move || drop(held))));
        with_hook(Rc::clone(&counting) as Rc<dyn Hook>, || *lock.write() += 1);
        assert_eq!((counting.blocked.get(), *lock.read()), (1, 1));
    }

    #[test]
    fn a_wait_gives_the_lock_away() {
        let mutex: &'static Mutex<bool> = Box::leak(Box::new(Mutex::new(false)));
        let counting = Rc::new(Counting::default());
        counting.open.replace(Some(Box::new(|| *mutex.0.lock() = true)));
        let changed = Condvar::new();
        with_hook(Rc::clone(&counting) as Rc<dyn Hook>, || {
            let mut is_set = mutex.lock();
            while !*is_set {
                changed.wait(&mut is_set);
            }
        });
        assert_eq!(counting.blocked.get(), 1);
        assert!(mutex.try_lock().is_some(), "the guard is gone");
    }

    #[test]
    fn a_panic_leaves_no_hook_behind() {
        let caught = std::panic::catch_unwind(|| {
            with_hook(Rc::new(Counting::default()), || panic!("as planned"));
        });
        assert!(caught.is_err() && hook().is_none());
    }
}
