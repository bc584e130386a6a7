//! The seeded engine with everything on: verifier, journal, compare and check.

use std::time::Duration;

use anyhow::{Result, bail};
use blk_harness::engine::{Soak, SoakOptions};
use blk_harness::scenario::{Config, Fill, Request, Scenario};
use blk_harness::{Engine, Outcome, RunOptions};
use blk_testbed::Qcow2Target;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{median, per_second, print};

const TIME: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 3;

pub(super) fn run() -> Result<()> {
    for (name, cluster_bytes) in
        [("blk_requests_64k", "65536"), ("blk_requests_4k", "4096"), ("blk_requests_512", "512")]
    {
        let rates: Result<Vec<f64>> = (0..ROUNDS).map(|_| requests(cluster_bytes)).collect();
        print(name, median(rates?));
    }
    let rates: Result<Vec<f64>> = (0..ROUNDS).map(|_| sequences()).collect();
    print("blk_sequences", median(rates?));
    Ok(())
}

fn requests(cluster_bytes: &str) -> Result<f64> {
    let config = Config::default().with("cluster_size", cluster_bytes);
    let options = SoakOptions { seed: 1, requests_per_round: 200_000 };
    let mut soak = Soak::new(&Qcow2Target, &config, options)?;
    per_second(TIME, || {
        if let Err(finding) = soak.round() {
            bail!("{}", finding.report());
        }
        Ok(options.requests_per_round)
    })
}

/// Create, 20 requests, flush, check, reopen, full compare.
fn sequences() -> Result<f64> {
    let mut engine = Engine::new(RunOptions {
        track_kinds: false,
        compare_before_reopen: false,
        probes_reuse: false,
        ..RunOptions::default()
    });
    let mut rng = SmallRng::seed_from_u64(1);
    let config = Config { size_bytes: 256 << 10, ..Config::default() }.with("cluster_size", "4096");
    let mut scenario = Scenario { config, ..Scenario::default() };
    per_second(TIME, || {
        for _ in 0..100 {
            scenario.requests.clear();
            scenario.requests.extend((0..20).map(|_| request(&mut rng)));
            if let Outcome::Finding(finding) = engine.run(&Qcow2Target, &scenario) {
                bail!("{}", finding.report());
            }
        }
        Ok(100)
    })
}

fn request(rng: &mut SmallRng) -> Request {
    let random: u64 = rng.random();
    let count = (random >> 8) % 8 + 1;
    let (offset, length) = ((random >> 16) % (512 - count) * 512, count * 512);
    match random as u8 % 20 {
        0..8 => Request::Read { offset, length },
        8..16 => Request::Write { offset, length, fill: Fill::Stamp, fua: false },
        unmap @ (16 | 17) => {
            Request::WriteZeroes { offset, length, unmap: unmap == 17, no_fallback: false, fua: false }
        }
        _ => Request::Discard { offset, length },
    }
}
