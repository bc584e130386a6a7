//! All sequences of up to three requests over three clusters of every kind, each crashed at every operation, in every state.
//!
//! A unit of work is one way to make the three clusters, in one configuration, and all sequences on top. A sequence is judged
//! from its last request on: crashes before it are those of the shorter sequence that it begins with.

use blk_harness::Outcome;
use blk_harness::crash::{CrashEngine, CrashOptions};
use blk_harness::generate::{Exhaustive, alphabet, setups};
use blk_harness::scenario::{Backing, Config, Request, Scenario};
use blk_harness::statistics::Statistics;
use blk_verify::Finding;

use crate::{QCOW2, Qcow2Target};

/// Clusters of the disk, and most requests on top of a set-up.
const CLUSTERS: u64 = 3;
const REQUESTS_MAX: u32 = 3;

/// One unit of the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    config: Config,
    setup: Vec<Request>,
}

/// What is run on: the usual configuration, the smallest caches, lazy refcounts, a backing file, and version 2 over one.
fn configs() -> [Config; 5] {
    let usual = Config { size_bytes: CLUSTERS << 9, ..Config::default() }.with("cluster_size", "512");
    let below = Config { backing: Backing::Raw, backing_bytes: 1100, ..usual.clone() };
    [
        usual.clone(),
        small_caches(usual.clone()).with("refcount_bits", "64"),
        usual.with("lazy_refcounts", "on"),
        below.clone(),
        below.with("compat", "0.10"),
    ]
}

fn small_caches(config: Config) -> Config {
    config.with("l2-cache-slices", "1").with("refcount-cache-slices", "1")
}

/// Disks of three clusters, the last of them cut off, on each layout that differs in what a request has to do.
pub fn layouts() -> [Config; 4] {
    let small = Config { size_bytes: (CLUSTERS << 9) - 100, ..Config::default() }.with("cluster_size", "512");
    [
        small.clone(),
        Config { backing: Backing::Raw, backing_bytes: 1000, ..small.clone() },
        Config { backing: Backing::Format, backing_bytes: 2000, ..small.clone() }.with("compat", "0.10"),
        small_caches(small).with("refcount_bits", "1"),
    ]
}

/// All units. Their order does not change, so that a number names one.
pub fn units() -> Vec<Unit> {
    configs()
        .into_iter()
        .flat_map(|config| {
            setups(&QCOW2, &config).into_iter().map(move |setup| Unit { config: config.clone(), setup })
        })
        .collect()
}

impl Unit {
    /// How many sequences there are.
    pub fn total(&self) -> u64 {
        self.sequences().total()
    }

    /// Runs every `step`-th sequence, from the first.
    ///
    /// # Errors
    /// What was found, and the scenario that shows it.
    pub fn run(&self, step: usize) -> Result<Statistics, Box<(Finding, Scenario)>> {
        let mut engine = CrashEngine::new(CrashOptions::exhaustive());
        for sequence in self.sequences().step_by(step) {
            engine.judge_from(self.setup.len() + sequence.requests.len() - 1);
            let requests = self.setup.iter().chain(&sequence.requests).copied().collect();
            let scenario = Scenario { requests, ..sequence };
            match engine.run(&Qcow2Target, &scenario) {
                Outcome::Clean => {}
                Outcome::Finding(finding) => return Err(Box::new((*finding, scenario))),
                Outcome::Refused(why) => unreachable!("these scenarios are legal: {why}"),
            }
        }
        Ok(engine.stats().clone())
    }

    fn sequences(&self) -> Exhaustive {
        let mut requests = alphabet(&QCOW2, &self.config);
        // A read leaves nothing that a crash could undo; a flush leaves everything.
        requests.retain(|request| !matches!(request, Request::Read { .. }));
        requests.push(Request::Flush);
        Exhaustive::new(requests, REQUESTS_MAX, self.config.clone())
    }
}
