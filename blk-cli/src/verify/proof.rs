//! Replays of a finding on fresh copies: they prove it, or tell how often chance lets it happen, and shrink
//! it.
//!
//! ```text
//! requests of one thread ──► 3 replays, the same report each time ──► shrunk
//! requests of threads ──► in order: as above, if that finds the same
//!                   └───► else with threads: found in n of m replays ──► shrunk, each try repeated as often as that asks for
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use blk_harness::Outcome;
use blk_harness::reproduce::{self, REPLAYS};
use blk_harness::scenario::{Config, Scenario};
use blk_verify::Finding;

use super::keep::{Effort, Judge, Keeping, Kept, NO_TIME};
use super::progress::Progress;

/// How often requests of threads are replayed at least, and at most where that finds it less often
/// than [`CHANCE_FOUND`].
const CHANCE_REPLAYS: u32 = 20;
const CHANCE_REPLAYS_MAX: u32 = 2000;
const CHANCE_FOUND: u32 = 5;
/// How often a try to shrink has to find it.
const CHANCE_HITS: u32 = 3;
/// How long a replay by chance goes on that finds nothing.
const CHANCE_TIME: Duration = Duration::from_secs(10);

/// Whether requests of threads are worth another replay, to see what chance shows seldom.
pub(super) fn goes_on(replays: u32, started: Instant) -> bool {
    replays < CHANCE_REPLAYS || (replays < CHANCE_REPLAYS_MAX && started.elapsed() < CHANCE_TIME)
}

/// Replays one finding, for a while.
pub(super) struct Prover<'a> {
    judge: &'a mut dyn Judge,
    keeping: Keeping<'a>,
    until: Instant,
    replays: Arc<AtomicU64>,
}

/// What replays of one scenario came to.
enum Proof {
    /// Each found the same; how many there were.
    Same(Box<Finding>, u32),
    Nothing,
    Varies,
    Refused(String),
    NoTime,
}

impl<'a> Prover<'a> {
    pub(super) fn new(judge: &'a mut dyn Judge, keeping: Keeping<'a>) -> Self {
        Self { judge, keeping, until: Instant::now() + keeping.time, replays: Arc::default() }
    }

    /// Returns the smallest scenario that shows the same, and notes what was done.
    pub(super) fn prove_and_shrink(mut self, kept: &mut Kept, scenario: Scenario) -> Scenario {
        let (until, replays, count) = (self.until, Arc::clone(&self.replays), scenario.requests.len());
        let progress = Progress::start(self.keeping.quiet, move || {
            let (left, replays) =
                (until.saturating_duration_since(Instant::now()), replays.load(Ordering::Relaxed));
            format!("{:>4} s left  proving and shrinking {count} requests, {replays} replays", left.as_secs())
        });
        let scenario = self.proven(kept, scenario);
        progress.end();
        scenario
    }

    fn proven(&mut self, kept: &mut Kept, scenario: Scenario) -> Scenario {
        if !self.judge.has_threads() || scenario.config.lanes <= 1 {
            return self.in_order(kept, scenario);
        }
        let config = Config { lanes: 0, ..scenario.config.clone() };
        let in_order = Scenario { config, ..scenario.clone() };
        match self.prove(&in_order) {
            Proof::Same(finding, _) if finding.signature == kept.finding.signature => {
                kept.notes.push("threads are not needed: one finds the same".to_owned());
                self.in_order(kept, in_order)
            }
            Proof::Nothing => self.by_chance(kept, scenario, "; in order, by one, none does"),
            _ => self.by_chance(kept, scenario, ""),
        }
    }

    /// Requests that always come to the same.
    fn in_order(&mut self, kept: &mut Kept, scenario: Scenario) -> Scenario {
        let why = match self.prove(&scenario) {
            Proof::Same(finding, replays) => {
                kept.finding = *finding;
                kept.is_proven = true;
                let each = if replays == 1 { "" } else { ", the same report each time" };
                let less = if replays < REPLAYS { self.ended() } else { String::new() };
                kept.notes.push(format!("proven: {replays} replays on fresh copies{each}{less}"));
                return self.shrunk(kept, scenario, None);
            }
            Proof::Nothing => "replayed in order on fresh copies, nothing is found".to_owned(),
            Proof::Varies => "replays on fresh copies find different things".to_owned(),
            Proof::Refused(why) => format!("it cannot be replayed: {why}"),
            Proof::NoTime => {
                format!("{} requests are not made again in time{}", scenario.requests.len(), self.ended())
            }
        };
        kept.notes.push(format!("not proven: {why}"));
        scenario
    }

    /// Requests of threads, which sometimes come to it; `in_order` is what is known of the same by one
    /// thread.
    fn by_chance(&mut self, kept: &mut Kept, scenario: Scenario, in_order: &str) -> Scenario {
        let (found, replays, _) = self.count(kept, &scenario);
        let lanes = scenario.config.lanes;
        kept.seen = Some((found, replays));
        kept.is_proven = found > 0;
        if found == 0 {
            kept.notes.push(format!(
                "not proven: with {lanes} threads, none of {replays} replays on fresh copies finds it again{}",
                if replays < CHANCE_REPLAYS_MAX { self.ended() } else { String::new() }
            ));
            return scenario;
        }
        kept.notes.push(format!(
            "proven: with {lanes} threads, {found} of {replays} replays on fresh copies find it{in_order}"
        ));
        let smallest = self.shrunk(kept, scenario.clone(), Some(tries(found, replays)));
        if smallest == scenario {
            return scenario;
        }
        let (found, replays, finding) = self.count(kept, &smallest);
        if found == 0 {
            kept.notes
                .push(format!("what was shrunk is found in none of {replays} replays: the whole is kept"));
            return scenario;
        }
        kept.seen = Some((found, replays));
        kept.finding = finding.map_or_else(|| kept.finding.clone(), |finding| *finding);
        kept.notes.push(format!("of what was shrunk, {found} of {replays} replays find it"));
        smallest
    }

    /// How many of how many replays find the same, and what one of them found.
    fn count(&mut self, kept: &Kept, scenario: &Scenario) -> (u32, u32, Option<Box<Finding>>) {
        let (mut count, mut replays, mut found) = (0, 0, None);
        let (started, share) = (Instant::now(), self.keeping.time / 4);
        while (replays < CHANCE_REPLAYS || (count < CHANCE_FOUND && replays < CHANCE_REPLAYS_MAX))
            && (started.elapsed() < share || replays == 0)
        {
            if let Outcome::Finding(finding) = self.judge(scenario, Effort::Replay)
                && finding.signature == kept.finding.signature
            {
                count += 1;
                found = Some(finding);
            }
            replays += 1;
        }
        (count, replays, found)
    }

    fn prove(&mut self, scenario: &Scenario) -> Proof {
        let mut first = None;
        let mut replays = 0;
        while replays < REPLAYS {
            let outcome = self.judge(scenario, Effort::Replay);
            if matches!(&outcome, Outcome::Refused(why) if why == NO_TIME) {
                break;
            }
            replays += 1;
            if first.get_or_insert_with(|| outcome.clone()) != &outcome {
                return Proof::Varies;
            }
        }
        match first {
            None => Proof::NoTime,
            Some(Outcome::Clean) => Proof::Nothing,
            Some(Outcome::Finding(finding)) => Proof::Same(finding, replays),
            Some(Outcome::Refused(why)) => Proof::Refused(why),
        }
    }

    /// Makes it smaller. Where chance decides, what is smaller has to be found about as
    /// often: [`CHANCE_HITS`] times among that many times `tries` replays.
    fn shrunk(&mut self, kept: &mut Kept, scenario: Scenario, tries: Option<u32>) -> Scenario {
        let (started, until) = (Instant::now(), self.until);
        let (signature, space) = (kept.finding.signature.clone(), self.judge.space());
        let try_one = |candidate: &Scenario| {
            let Some(tries) = tries else { return self.judge(candidate, Effort::Shrink) };
            if *candidate == scenario {
                // That was counted already.
                return Outcome::Finding(Box::new(kept.finding.clone()));
            }
            let (mut hits, mut misses) = (0, 0);
            loop {
                let outcome = self.judge(candidate, Effort::Shrink);
                let is_same = outcome.finding().is_some_and(|found| found.signature == signature);
                hits += u32::from(is_same);
                misses += u32::from(!is_same);
                if hits == CHANCE_HITS {
                    return outcome;
                }
                if misses > CHANCE_HITS * (tries - 1) || Instant::now() > until {
                    return Outcome::Clean;
                }
            }
        };
        let smallest = reproduce::shrink(space, try_one, &scenario, &kept.finding, || Instant::now() > until);
        let Some(smallest) = smallest else {
            kept.notes.push(if Instant::now() > until {
                format!("not shrunk{}", self.ended())
            } else {
                "not shrunk: the first try did not find it again".to_owned()
            });
            return scenario;
        };
        let mut note = reproduce::shrunk(&scenario, &smallest, started.elapsed());
        if !smallest.is_fixed_point {
            note += "; --shrink TIME gives it more";
        }
        kept.notes.push(note);
        if tries.is_some() {
            return smallest.scenario;
        }
        // What is small is replayed in no time.
        self.until = self.until.max(Instant::now() + Duration::from_secs(10));
        if let Proof::Same(finding, _) = self.prove(&smallest.scenario) {
            kept.finding = *finding;
            smallest.scenario
        } else {
            kept.notes.push("what was shrunk is not found each time: the whole is kept".to_owned());
            scenario
        }
    }

    fn judge(&mut self, scenario: &Scenario, effort: Effort) -> Outcome {
        self.replays.fetch_add(1, Ordering::Relaxed);
        self.judge.judge(scenario, effort, self.until)
    }

    /// Why less was done than could be, and what to do.
    fn ended(&self) -> String {
        format!(": the {} s for it are over, and --shrink TIME gives more", self.keeping.time.as_secs())
    }
}

/// How many replays find what `found` of `replays` have found, in 19 of 20 cases.
fn tries(found: u32, replays: u32) -> u32 {
    if found >= replays {
        return 1;
    }
    let missed = 1.0 - f64::from(found) / f64::from(replays.max(1));
    let wanted = (1..CHANCE_REPLAYS_MAX).find(|tries| missed.powf(f64::from(*tries)) < 0.05);
    wanted.unwrap_or(CHANCE_REPLAYS_MAX)
}
