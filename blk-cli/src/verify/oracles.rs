//! `blk verify --crash --faults --race`: scenarios over copies of the image under test, each judged by the oracles that were asked
//! for.

use std::time::{Duration, Instant};

use anyhow::Result;
use blk_verify::crash::{CrashEngine, CrashOptions};
use blk_verify::fault::{FaultEngine, FaultOptions};
use blk_verify::generate::{Generator, Limits};
use blk_verify::race::{RaceEngine, StressOptions, stress};
use blk_verify::scenario::{Config, Scenario};
use blk_verify::{Finding, Outcome};
use clap::Args;

use super::copies::Copies;

/// Requests of a run that is limited by nothing else.
const REQUESTS: u64 = 20_000;
/// Requests of the threads that end a run with races.
const STRESS_REQUESTS: usize = 2000;
/// Faults tried in one scenario: many scenarios find more than all faults of few.
const FAULTS_PER_SCENARIO: usize = 64;
/// Bytes of disk opened and read in the crashes of one scenario: enough for each of its operations.
const CRASH_BYTES_PER_SCENARIO: u64 = 1 << 30;
/// Requests in flight at most.
const LANES: u8 = 3;
const SAY_EVERY: Duration = Duration::from_secs(5);

/// Which oracles are asked.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Oracles {
    /// Crash copies of the image under test after every operation of their storage, and judge what is left; the images stay
    #[arg(long)]
    crash: bool,
    /// Let each operation of the storage of copies fail in turn, and judge what follows; the images stay as they are
    #[arg(long)]
    faults: bool,
    /// Have several requests in flight on copies, under a deterministic scheduler and with threads; the images stay as they are
    #[arg(long)]
    race: bool,
}

/// When a run ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Until {
    pub(super) requests: Option<u64>,
    pub(super) time: Option<Duration>,
    pub(super) seed: u64,
    pub(super) quiet: bool,
}

impl Oracles {
    /// Whether any was asked for.
    pub(super) fn any(self) -> bool {
        self.crash || self.faults || self.race
    }

    /// Asks the oracles about copies of an image. Returns what was found, with the scenario that shows it;
    /// threads follow none.
    pub(super) fn run(self, copies: &Copies, until: Until) -> Result<Option<(Finding, Option<Scenario>)>> {
        let mut engines = Engines::default();
        let started = Instant::now();
        let mut said = started;
        let mut requests = 0;
        let limits = |racing| limits_of(copies, racing);
        let mut plain = Generator::new(until.seed, limits(false));
        let mut racing = Generator::new(until.seed, limits(true));
        let most = until.requests.unwrap_or(if until.time.is_some() { u64::MAX } else { REQUESTS });
        while requests < most && until.time.is_none_or(|time| started.elapsed() < time) {
            let mut plans = Vec::new();
            if self.crash || self.faults {
                let scenario = plain.next().expect("generators do not end");
                if self.crash {
                    plans.push((Oracle::Crash, scenario.clone()));
                }
                if self.faults {
                    plans.push((Oracle::Fault, scenario));
                }
            }
            if self.race {
                plans.push((Oracle::Race, racing.next().expect("generators do not end")));
            }
            for (oracle, scenario) in plans {
                requests += scenario.requests.len() as u64;
                if let Some(finding) = engines.run(oracle, copies, &scenario)? {
                    return Ok(Some((finding, Some(scenario))));
                }
            }
            if !until.quiet && said.elapsed() >= SAY_EVERY {
                engines.say(self, |line| eprintln!("{line}"));
                said = Instant::now();
            }
        }
        if self.race
            && let Some(finding) = threads(copies, until.seed)
        {
            return Ok(Some((*finding, None)));
        }
        engines.say(self, |line| println!("{line}"));
        Ok(None)
    }
}

#[derive(Debug, Clone, Copy)]
enum Oracle {
    Crash,
    Fault,
    Race,
}

#[derive(Debug)]
struct Engines {
    crash: CrashEngine,
    fault: FaultEngine,
    race: RaceEngine,
}

impl Default for Engines {
    fn default() -> Self {
        let crashes = CrashOptions {
            states_per_point: 16,
            bytes_per_scenario: CRASH_BYTES_PER_SCENARIO,
            ..CrashOptions::default()
        };
        let faults = FaultOptions { faults_max: FAULTS_PER_SCENARIO, ..FaultOptions::default() };
        Self {
            crash: CrashEngine::new(crashes),
            fault: FaultEngine::new(faults),
            race: RaceEngine::with_crashes(8),
        }
    }
}

impl Engines {
    fn run(&mut self, oracle: Oracle, copies: &Copies, scenario: &Scenario) -> Result<Option<Finding>> {
        let outcome = match oracle {
            Oracle::Crash => self.crash.run(copies, scenario),
            Oracle::Fault => self.fault.run(copies, scenario),
            Oracle::Race => self.race.run(copies, scenario),
        };
        match outcome {
            Outcome::Clean => Ok(None),
            Outcome::Finding(finding) => Ok(Some(*finding)),
            Outcome::Refused(why) => anyhow::bail!("the image cannot be tried: {why}"),
        }
    }

    fn say(&self, asked: Oracles, say: impl Fn(String)) {
        if asked.crash {
            say(format!("crashes: {}", self.crash.stats()));
        }
        if asked.faults {
            say(format!("faults: {}", self.fault.stats()));
        }
        if asked.race {
            say(format!("races: {}", self.race.stats()));
        }
    }
}

/// What fits the image: few requests at a time, so that each crash is near to its cause.
fn limits_of(copies: &Copies, racing: bool) -> Limits {
    let config = Config { lanes: if racing { LANES } else { 0 }, ..copies.config().clone() };
    let usual = if racing { Limits::racing() } else { Limits { requests_max: 16, ..Limits::default() } };
    Limits {
        disk_bytes_max: config.size_bytes,
        data_bytes_max: usual.data_bytes_max.min(256 << 10),
        config: Some(config),
        ..usual
    }
}

/// Real threads, on a copy.
fn threads(copies: &Copies, seed: u64) -> Option<Box<Finding>> {
    let options =
        StressOptions { seed, lanes: 4, requests: STRESS_REQUESTS, config: copies.config().clone() };
    stress(copies, &options).err()
}
