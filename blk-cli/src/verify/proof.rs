//! Replays of a finding on fresh copies: they prove it, or tell how often chance lets it happen, and shrink
//! it.
//!
//! ```text
//! requests of one thread ──► 3 replays, the same report each time ──► shrunk
//! requests of threads ──► in order: as above, if that finds the same
//!                   └───► else with threads: found in n of m replays ──► shrunk, each try repeated as often as that asks for
//! ```

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use blk_harness::Outcome;
use blk_harness::reproduce::{self, REPLAYS};
use blk_harness::scenario::{Config, Scenario};
use blk_harness::watch::Deadline;
use blk_verify::Finding;

use super::keep::{Effort, Judge, Keeping, Kept};
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
/// What counting by chance takes of all the time at most: a quarter before it is shrunk, and another after.
const COUNT_SHARE: u32 = 4;
/// What was shrunk is proven once more: for that there is so much time at least, whatever was asked for.
const LAST_TIME: Duration = Duration::from_secs(2);
/// Why a scenario was not judged.
const NO_TIME: &str = "the time for it is over";

/// Whether requests of threads are worth another replay, to see what chance shows seldom.
pub(super) fn goes_on(replays: u32, started: Instant) -> bool {
    replays < CHANCE_REPLAYS || (replays < CHANCE_REPLAYS_MAX && started.elapsed() < CHANCE_TIME)
}

/// Replays one finding, for a while.
pub(super) struct Prover<'a> {
    judge: &'a mut dyn Judge,
    keeping: Keeping<'a>,
    deadline: Deadline,
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
        let deadline = Deadline::at(Instant::now() + keeping.time);
        Self { judge, keeping, deadline, replays: Arc::default() }
    }

    /// Returns the smallest scenario that shows the same, and notes what was done.
    pub(super) fn prove_and_shrink(mut self, kept: &mut Kept, scenario: Scenario) -> Scenario {
        let until = Instant::now() + self.deadline.left();
        let (replays, count) = (Arc::clone(&self.replays), scenario.requests.len());
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
        // Where that takes too long, there is time left for threads.
        let (started, left) = (Instant::now(), self.deadline.left());
        self.deadline = Deadline::at(started + left / 2);
        let proof = self.prove(&in_order);
        self.deadline = Deadline::at(started + left);
        match proof {
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
        let started = Instant::now();
        let why = match self.prove(&scenario) {
            Proof::Same(finding, replays) => {
                kept.finding = *finding;
                kept.is_proven = true;
                let each = if replays == 1 { "" } else { ", the same report each time" };
                let less = if replays < REPLAYS { self.ended() } else { String::new() };
                kept.notes.push(format!("proven: {replays} replays on fresh copies{each}{less}"));
                // What is smaller is proven again, and takes no longer.
                return self.shrunk(kept, scenario, None, started.elapsed());
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
        let reserve = self.keeping.time / COUNT_SHARE;
        let smallest = self.shrunk(kept, scenario.clone(), Some(tries(found, replays)), reserve);
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
        let (started, share) = (Instant::now(), self.keeping.time / COUNT_SHARE);
        while (replays < CHANCE_REPLAYS || (count < CHANCE_FOUND && replays < CHANCE_REPLAYS_MAX))
            && (started.elapsed() < share || replays == 0)
        {
            match self.judge(scenario, Effort::Replay) {
                Outcome::Finding(finding) if finding.signature == kept.finding.signature => {
                    count += 1;
                    found = Some(finding);
                }
                outcome if is_out_of_time(&outcome) => break,
                _ => {}
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
            if is_out_of_time(&outcome) {
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

    /// Makes it smaller, but leaves `reserve` of the time for the replays of what comes of it. Where chance
    /// decides, what is smaller has to be found about as often: [`CHANCE_HITS`] times among that many times
    /// `tries` replays.
    fn shrunk(
        &mut self,
        kept: &mut Kept,
        scenario: Scenario,
        tries: Option<u32>,
        reserve: Duration,
    ) -> Scenario {
        let (started, left, space) = (Instant::now(), self.deadline.left(), self.judge.space());
        self.deadline = Deadline::at(started + left.saturating_sub(reserve).max(left / 2));
        let smallest = {
            let prover = RefCell::new(&mut *self);
            let try_one = |candidate: &Scenario| {
                if tries.is_some() && *candidate == scenario {
                    // That was counted already.
                    return Outcome::Finding(Box::new(kept.finding.clone()));
                }
                prover.borrow_mut().try_one(candidate, tries, &kept.finding)
            };
            let is_over = || prover.borrow().deadline.is_over();
            reproduce::shrink(space, try_one, &scenario, &kept.finding, is_over)
        };
        let is_over = self.deadline.is_over();
        let left = left.saturating_sub(started.elapsed()).max(LAST_TIME);
        self.deadline = Deadline::at(Instant::now() + left);
        let Some(smallest) = smallest else {
            kept.notes.push(if is_over {
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
        if tries.is_some() || smallest.scenario == scenario {
            return smallest.scenario;
        }
        match self.prove(&smallest.scenario) {
            Proof::Same(finding, _) => {
                kept.finding = *finding;
                return smallest.scenario;
            }
            Proof::NoTime => kept
                .notes
                .push(format!("what was shrunk is not replayed in time: the whole is kept{}", self.ended())),
            _ => kept.notes.push("what was shrunk is not found each time: the whole is kept".to_owned()),
        }
        scenario
    }

    /// One try to shrink: a replay; where chance decides, so many that what is found about as often is found.
    fn try_one(&mut self, candidate: &Scenario, tries: Option<u32>, finding: &Finding) -> Outcome {
        let Some(tries) = tries else { return self.judge(candidate, Effort::Shrink) };
        let (mut hits, mut misses) = (0, 0);
        loop {
            let outcome = self.judge(candidate, Effort::Shrink);
            let is_same = outcome.finding().is_some_and(|found| found.signature == finding.signature);
            hits += u32::from(is_same);
            misses += u32::from(!is_same);
            if hits == CHANCE_HITS {
                return outcome;
            }
            if misses > CHANCE_HITS * (tries - 1) || is_out_of_time(&outcome) {
                return Outcome::Clean;
            }
        }
    }

    /// Judges a scenario; one that does not end in time is refused as [`NO_TIME`].
    fn judge(&mut self, scenario: &Scenario, effort: Effort) -> Outcome {
        self.replays.fetch_add(1, Ordering::Relaxed);
        let judge = &mut *self.judge;
        let judged = self.deadline.run(|| judge.judge(scenario, effort));
        judged.unwrap_or_else(|| Outcome::Refused(NO_TIME.to_owned()))
    }

    /// Why less was done than could be, and what to do.
    fn ended(&self) -> String {
        format!(": the {} s for it are over, and --shrink TIME gives more", self.keeping.time.as_secs())
    }
}

fn is_out_of_time(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused(why) if why == NO_TIME)
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

#[cfg(test)]
mod tests {
    use blk_harness::progress;
    use blk_harness::scenario::Request;
    use blk_verify::Signature;

    use super::*;

    /// Each request takes a while; a flush is a finding.
    #[derive(Debug)]
    struct Slow {
        step: Duration,
    }

    impl Judge for Slow {
        fn judge(&mut self, scenario: &Scenario, _effort: Effort) -> Outcome {
            for request in &scenario.requests {
                progress::step();
                std::thread::sleep(self.step);
                if *request == Request::Flush {
                    return Outcome::Finding(Box::new(finding()));
                }
            }
            Outcome::Clean
        }

        fn words(&self) -> String {
            String::new()
        }
    }

    fn finding() -> Finding {
        Finding::new(Signature::Size, "a flush")
    }

    /// Proves and shrinks so many reads and a flush; returns what came of it, and the time it took.
    fn proven(requests: usize, step: Duration, time: Duration) -> (Kept, Scenario, Duration) {
        let mut all = vec![Request::Read { offset: 0, length: 512 }; requests];
        all.push(Request::Flush);
        let scenario = Scenario { requests: all, ..Scenario::default() };
        let (mut kept, mut judge) = (Kept::new(finding(), 0), Slow { step });
        let keeping = Keeping { traces: std::path::Path::new("."), quiet: true, time };
        let started = Instant::now();
        let smallest = Prover::new(&mut judge, keeping).prove_and_shrink(&mut kept, scenario);
        (kept, smallest, started.elapsed())
    }

    #[test]
    fn a_replay_that_takes_too_long_is_interrupted() {
        let time = Duration::from_millis(500);
        let (kept, smallest, took) = proven(20_000, Duration::from_millis(1), time);
        assert!((time..time + Duration::from_secs(4)).contains(&took), "{took:?}");
        assert!(!kept.is_proven && smallest.requests.len() == 20_001, "{kept:?}");
        assert!(kept.notes[0].contains("20001 requests are not made again in time"), "{:?}", kept.notes);
    }

    #[test]
    fn a_try_that_takes_too_long_is_interrupted_and_what_was_shrunk_is_proven() {
        // A replay takes 100 ms at least, so there is no time for all tries; on a busy machine a sleep takes
        // several times as long, and there has to be time for some.
        let time = Duration::from_secs(6);
        let (kept, smallest, took) = proven(100, Duration::from_millis(1), time);
        assert!(took < time + LAST_TIME + Duration::from_secs(4), "{took:?}");
        assert!(kept.is_proven && smallest.requests.len() < 101, "{:?}", kept.notes);
    }
}
