//! Random reads of 4 KiB with sixteen in flight: threads of a driver that blocks, tasks of one that does not.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use qcow2_rs::dev::{Qcow2Dev, Qcow2DevParams};
use qcow2_rs::utils::qcow2_setup_dev_uring;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::files::{BLOCK_BYTES, DISK_BYTES, Side};
use crate::measure::rate;
use crate::pages::Pages;

/// How many requests are in flight.
pub(crate) const DEPTH: u64 = 16;
const TIME: Duration = Duration::from_millis(700);
/// Requests between two looks at the clock.
const BATCH: u64 = 256;

/// Reads a second that `threads` threads make together.
pub(crate) fn threads(side: &dyn Side, threads: u64) -> Result<f64> {
    let (is_over, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let started = Instant::now();
    let read = |seed: u64| {
        let (mut rng, mut pages) = (SmallRng::seed_from_u64(seed), Pages::new(BLOCK_BYTES as usize));
        while !is_over.load(Ordering::Relaxed) {
            for _ in 0..BATCH {
                side.read(block(&mut rng), pages.get(BLOCK_BYTES as usize))?;
            }
            done.fetch_add(BATCH, Ordering::Relaxed);
        }
        Ok(())
    };
    std::thread::scope(|scope| -> Result<()> {
        let readers: Vec<_> = (0..threads).map(|seed| scope.spawn(move || read(seed))).collect();
        std::thread::sleep(TIME);
        is_over.store(true, Ordering::Relaxed);
        readers.into_iter().try_for_each(|reader| reader.join().map_err(|_| anyhow!("a reader panicked"))?)
    })?;
    Ok(rate(done.into_inner(), started.elapsed()))
}

/// Likewise qcow2-rs over `io_uring`, by tasks of one thread: its device is not to be shared among threads.
pub(crate) fn qcow2_rs(image: &Path, tasks: u64) -> Result<f64> {
    let image = image.to_owned();
    tokio_uring::start(async move {
        let parameters = Qcow2DevParams::new(12, None, None, true, false);
        let opened = qcow2_setup_dev_uring(&image, &parameters).await;
        let device = std::rc::Rc::new(opened.map_err(|error| anyhow!("qcow2-rs: {error:?}"))?);
        let started = Instant::now();
        let readers: Vec<_> =
            (0..tasks).map(|seed| tokio_uring::spawn(reads(device.clone(), seed, started))).collect();
        let mut done = 0;
        for reader in readers {
            done += reader.await??;
        }
        Ok(rate(done, started.elapsed()))
    })
}

/// What one task reads until the time is over.
async fn reads<T: qcow2_rs::ops::Qcow2IoOps>(
    device: std::rc::Rc<Qcow2Dev<T>>,
    seed: u64,
    started: Instant,
) -> Result<u64> {
    let (mut rng, mut pages) = (SmallRng::seed_from_u64(seed), Pages::new(BLOCK_BYTES as usize));
    let mut done = 0;
    while started.elapsed() < TIME {
        for _ in 0..BATCH {
            let read = device.read_at(pages.get(BLOCK_BYTES as usize), block(&mut rng)).await;
            read.map_err(|error| anyhow!("qcow2-rs: {error:?}"))?;
        }
        done += BATCH;
    }
    Ok(done)
}

fn block(rng: &mut SmallRng) -> u64 {
    rng.random_range(0..DISK_BYTES / BLOCK_BYTES) * BLOCK_BYTES
}
