//! All locks of the workspace come from here.
//!
//! They are `parking_lot`'s: small, fair enough, and without the poisoning that would turn one panic of a
//! test into a second one elsewhere. A task of a deterministic [`model`] run takes the same locks, but never
//! waits in one: each acquisition is a point at which the model's scheduler may let another task go on, and a
//! lock that is held gives way until it is not. That is decided at run time, by one relaxed load and a
//! branch, so that every build can run models.

pub mod model;
mod range_lock;

use std::fmt;
use std::time::Instant;

pub use range_lock::{RangeGuard, RangeLock, RangeMode};

pub use parking_lot::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};
pub use std::sync::Arc;
pub use std::sync::atomic;

/// A point at which the scheduler of a [`model`] run may let another task go on; otherwise nothing. Simulated
/// hardware calls it where an operation is issued and where it completes.
#[inline]
pub fn point() {
    if model::is_running() {
        model::point();
    }
}

/// A mutual exclusion: `parking_lot`'s, that models can schedule.
#[derive(Default)]
pub struct Mutex<T: ?Sized>(parking_lot::Mutex<T>);

impl<T> Mutex<T> {
    /// A free lock around `value`.
    #[inline]
    pub const fn new(value: T) -> Self {
        Self(parking_lot::Mutex::new(value))
    }

    /// The value, without the lock.
    #[inline]
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits until the lock is free, and takes it.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        if model::is_running() {
            return model::acquire(|| self.0.try_lock(), || self.0.lock());
        }
        self.0.lock()
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        point();
        self.0.try_lock()
    }

    /// The value: whoever may change the lock needs not take it.
    #[inline]
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A lock that is shared or exclusive: `parking_lot`'s, that models can schedule.
#[derive(Default)]
pub struct RwLock<T: ?Sized>(parking_lot::RwLock<T>);

impl<T> RwLock<T> {
    /// A free lock around `value`.
    #[inline]
    pub const fn new(value: T) -> Self {
        Self(parking_lot::RwLock::new(value))
    }

    /// The value, without the lock.
    #[inline]
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Waits until nobody has the lock exclusively, and shares it.
    #[inline]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        if model::is_running() {
            return model::acquire(|| self.0.try_read(), || self.0.read());
        }
        self.0.read()
    }

    /// Waits until nobody has the lock, and takes it exclusively.
    #[inline]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        if model::is_running() {
            return model::acquire(|| self.0.try_write(), || self.0.write());
        }
        self.0.write()
    }

    /// The value: whoever may change the lock needs not take it.
    #[inline]
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A condition to wait for. A wait may end without a notification: callers look again, in a loop.
#[derive(Default)]
pub struct Condvar(parking_lot::Condvar);

impl Condvar {
    /// A condition that nobody waits for.
    #[inline]
    pub const fn new() -> Self {
        Self(parking_lot::Condvar::new())
    }

    /// Gives the lock away, waits for a notification, and takes the lock again.
    #[inline]
    pub fn wait<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>) {
        if model::is_running() && model::wait(guard) {
            return;
        }
        self.0.wait(guard);
    }

    /// As [`Condvar::wait`], until `time` at the longest. Returns whether that has come; in a model run,
    /// where no time passes, it never does.
    #[inline]
    pub fn wait_until<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>, time: Instant) -> bool {
        if model::is_running() && model::wait(guard) {
            return false;
        }
        self.0.wait_until(guard, time).timed_out()
    }

    /// Ends one wait, if there is any.
    #[inline]
    pub fn notify_one(&self) {
        self.0.notify_one();
        point();
    }

    /// Ends all waits.
    #[inline]
    pub fn notify_all(&self) {
        self.0.notify_all();
        point();
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
