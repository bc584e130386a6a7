//! Random reads of 4 KiB by many threads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::files::{BLOCK_BYTES, DISK_BYTES, Pages, Side};

/// How many requests are in flight.
pub(super) const DEPTH: u64 = 16;
const TIME: Duration = Duration::from_millis(700);
/// Requests between two looks at the clock.
const BATCH: u64 = 256;

/// Reads a second that `threads` threads make together.
pub(super) fn reads(side: &dyn Side, threads: u64) -> Result<f64> {
    let (is_over, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let read = |seed: u64| {
        let (mut rng, mut pages) = (SmallRng::seed_from_u64(seed), Pages::new(BLOCK_BYTES as usize));
        while !is_over.load(Ordering::Relaxed) {
            for _ in 0..BATCH {
                let at = rng.random_range(0..DISK_BYTES / BLOCK_BYTES) * BLOCK_BYTES;
                side.read(at, pages.get(BLOCK_BYTES as usize))?;
            }
            done.fetch_add(BATCH, Ordering::Relaxed);
        }
        Ok(())
    };
    let started = Instant::now();
    std::thread::scope(|scope| -> Result<()> {
        let read = &read;
        let readers: Vec<_> = (0..threads).map(|seed| scope.spawn(move || read(seed))).collect();
        std::thread::sleep(TIME);
        is_over.store(true, Ordering::Relaxed);
        readers.into_iter().try_for_each(|reader| reader.join().map_err(|_| anyhow!("a reader panicked"))?)
    })?;
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than a few digits")]
    Ok(done.into_inner() as f64 / started.elapsed().as_secs_f64())
}
