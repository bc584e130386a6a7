//! What a library does not have of itself: random bytes, and a clock. Programs get both from the system;
//! tests and fuzzing bring their own, so that the same image comes out each time.

use std::fmt::Debug;
use std::time::Duration;

use blk_core::{Error, Result};
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::time::{ClockId, clock_gettime};

/// Random bytes and a clock.
pub trait Environment: Debug + Send + Sync {
    /// Fills `bytes` with bytes that nobody can guess.
    ///
    /// # Errors
    /// [`Error::Io`] where the system has none.
    fn fill_random(&self, bytes: &mut [u8]) -> Result<()>;

    /// Does `work`, and tells how long the thread has worked on it.
    fn time(&self, work: &mut dyn FnMut()) -> Duration;
}

/// The system's generator and clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Environment for System {
    fn fill_random(&self, bytes: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            match getrandom(&mut bytes[done..], GetRandomFlags::empty()) {
                Ok(count) => done += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(Error::io("read random bytes", 0, errno.into())),
            }
        }
        Ok(())
    }

    fn time(&self, work: &mut dyn FnMut()) -> Duration {
        let begun = worked();
        work();
        worked().saturating_sub(begun)
    }
}

/// How long the calling thread has worked.
fn worked() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// The same bytes in each call, which everybody can guess, and passphrases get the fewest iterations: for
/// tests, never for data of anybody.
#[derive(Debug, Clone, Copy)]
pub struct Repeatable {
    seed: u64,
}

impl Repeatable {
    /// Another seed gives other bytes.
    pub const fn new(seed: u64) -> Self {
        Self { seed }
    }
}

impl Environment for Repeatable {
    /// By `SplitMix64`.
    fn fill_random(&self, bytes: &mut [u8]) -> Result<()> {
        let mut state = self.seed;
        for piece in bytes.chunks_mut(8) {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^= mixed >> 31;
            piece.copy_from_slice(&mixed.to_le_bytes()[..piece.len()]);
        }
        Ok(())
    }

    /// Nothing is done: a machine so slow that the least is too much.
    fn time(&self, _work: &mut dyn FnMut()) -> Duration {
        Duration::from_hours(1)
    }
}
