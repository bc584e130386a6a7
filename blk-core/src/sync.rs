//! All locks of the workspace come from here.
//!
//! Today they are `parking_lot`'s: small, fair enough, and without the poisoning that would turn one panic of a test into a
//! second one elsewhere. Everything goes through this module so that a deterministic model checker can take their place
//! under a `cfg` without a change in any driver.

pub use parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use std::sync::Arc;
pub use std::sync::atomic;
