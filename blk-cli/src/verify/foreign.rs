//! `blk verify --driver`: scenarios on a driver in another process, which a TOML file describes.

use std::iter::StepBy;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use blk_core::Format;
use blk_foreign::{EngineKind, ForeignDriver, Plant, description, script};
use blk_harness::Outcome as Judged;
use blk_harness::driver::Driver;
use blk_harness::generate::{Generator, Limits};
use blk_harness::picture::Picture;
use blk_harness::runner::{Purpose, Runner};
use blk_harness::scenario::Scenario;
use blk_harness::space::Space;
use blk_verify::Finding;
use serde_json::Value;

use super::arguments::{ReplayArguments, VerifyArguments};
use super::bench::quoted;
use super::keep::{Clock, Effort, Judge, Kept, keep};
use super::oracles::{Oracle, Oracles};
use super::outcome::{Ended, Facts, Outcome};
use super::progress::Progress;
use super::replay::read;
use crate::formats::registry;

/// Content gets so many times the time of requests in flight, where nothing was asked for.
const CONTENT_SHARE: u32 = 3;

/// All that was asked for; content, and requests in flight where the medium is ours, if nothing was.
fn asked(oracles: Oracles, lanes: Option<u8>, driver: ForeignDriver) -> Result<Vec<EngineKind>> {
    let kind = |oracle: &Oracle| match oracle {
        Oracle::Crash => EngineKind::Crash,
        Oracle::Fault => EngineKind::Fault,
        Oracle::Race | Oracle::Threads => EngineKind::Race,
    };
    let kinds = match oracles.asked().as_slice() {
        [] if lanes.is_some() => vec![EngineKind::Race],
        [] if EngineKind::Race.suits(driver).is_ok() => vec![EngineKind::Content, EngineKind::Race],
        [] => vec![EngineKind::Content],
        asked => asked.iter().map(kind).collect(),
    };
    kinds.iter().try_for_each(|kind| kind.suits(driver))?;
    if lanes.is_some_and(|lanes| lanes > 1) {
        EngineKind::Race.suits(driver)?;
    }
    Ok(kinds)
}

/// What makes engines: those that go on past what is known of a driver, or those that do not.
fn engine_of(is_strict: bool) -> fn(EngineKind, &'static ForeignDriver, Purpose) -> Box<dyn Runner> {
    if is_strict { EngineKind::strict_runner } else { EngineKind::runner }
}

/// What an engine's scenarios are made within, with so many lanes if that was asked for.
fn limits(kind: EngineKind, lanes: Option<u8>, driver: ForeignDriver) -> Limits {
    let limits = kind.limits(driver);
    let lanes_max = lanes.filter(|_| matches!(kind, EngineKind::Crash | EngineKind::Race));
    Limits { lanes_max: lanes_max.unwrap_or(limits.lanes_max), ..limits }
}

/// The title of what an engine did.
fn title(kind: EngineKind) -> &'static str {
    match kind {
        EngineKind::Content => "content",
        EngineKind::Crash => "crashes",
        EngineKind::Fault => "faults",
        EngineKind::Race => "races",
    }
}

/// One kind's share of a run.
struct Share {
    kind: EngineKind,
    scenarios: StepBy<Generator>,
    runner: Box<dyn Runner>,
    spent: Duration,
    /// How many times the time of others it gets.
    weight: u32,
    /// It comes along with what was asked for.
    is_aside: bool,
}

impl Share {
    /// What it has not done, if the run proves nothing without: a small share of a short run may have come to
    /// nothing.
    fn missing(&self) -> Option<&'static str> {
        self.runner.missing().filter(|_| !self.is_aside)
    }
}

/// What number `job` of so many makes of all scenarios: together they make each once.
fn of_job(all: Generator, job: u32, jobs: u32) -> StepBy<Generator> {
    all.starting_at(job.into()).step_by(jobs as usize)
}

/// The driver of a name, or of a TOML file, with a fault that is planted around it.
fn driver(name: &str, plant: Option<Plant>) -> Result<&'static ForeignDriver> {
    let formats: fn(&str) -> Option<&'static dyn Format> = |name| registry().find(name).ok();
    match plant {
        None => ForeignDriver::judged_by(description(name)?, formats),
        Some(plant) => ForeignDriver::planted(description(name)?, formats, plant),
    }
}

/// Makes scenarios of the driver until the run is over.
pub(super) fn run(arguments: &VerifyArguments, name: &str, clock: Clock) -> Result<Outcome> {
    let mut run = Run::new(arguments, name)?;
    let done = Arc::clone(&run.done);
    let progress = Progress::start(arguments.common.quiet, move || {
        let [scenarios, requests] = [&done[0], &done[1]].map(|count| count.load(Ordering::Relaxed));
        let left = clock.left().map_or_else(String::new, |left| format!("{:>4} s left  ", left.as_secs()));
        format!("{left}{scenarios} scenarios, {requests} requests")
    });
    let found = run.all(clock);
    progress.end();
    let mut outcome = match found? {
        None => {
            if let Some(missing) = run.missing() {
                bail!("'{name}': the run {missing}");
            }
            Outcome::new(Ended::Clean)
        }
        Some((kind, finding, scenario)) => {
            let driver = run.workers[0].driver;
            let (is_strict, plant) = (arguments.strict, arguments.planted.plant);
            let mut judge = ForeignJudge { driver, name, kind, is_strict, plant, pursuing: None };
            Outcome::found(keep(&mut judge, finding, scenario, arguments.keeping()))
        }
    };
    for (kind, facts) in run.summaries() {
        outcome = outcome.with(title(kind), facts);
    }
    Ok(outcome.with("", run.facts(clock)))
}

/// Runs a trace once more.
pub(super) fn replay(arguments: &ReplayArguments, name: &str) -> Result<Outcome> {
    let driver = driver(name, arguments.planted.plant)?;
    let scenario = read(&arguments.trace, driver.space())?;
    // Nothing is in flight together in one lane, whose content is compared.
    let lanes = Some(scenario.config.lanes).filter(|lanes| *lanes > 1);
    let kinds = asked(arguments.oracles, lanes, *driver)?;
    let kinds: Vec<EngineKind> = match kinds.as_slice() {
        [EngineKind::Content, ..] => vec![EngineKind::Content],
        _ => kinds,
    };
    if let Some(path) = &arguments.script {
        let kind = kinds.first().copied().unwrap_or(EngineKind::Content);
        let text = script(*driver, kind, &scenario)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    for kind in kinds {
        match kind.runner(driver, Purpose::Replay).run(&scenario) {
            Judged::Clean => {}
            Judged::Finding(finding) => return Ok(Outcome::found(Kept::seen(*finding, &scenario))),
            Judged::Refused(why) => bail!("the driver cannot be tried: {why}"),
        }
    }
    Ok(Outcome::new(Ended::Clean))
}

type Found = Option<(EngineKind, Finding, Scenario)>;

/// One of those that run scenarios at the same time, on drivers of their own.
struct Worker {
    driver: &'static ForeignDriver,
    shares: Vec<Share>,
    /// Why the last scenario was not run, of those that were not.
    refused: Option<String>,
    refusals: u64,
}

impl Worker {
    /// Number `job` of those that share the scenarios of one seed.
    fn new(arguments: &VerifyArguments, name: &str, job: u32) -> Result<Self> {
        let (driver, lanes) = (driver(name, arguments.planted.plant)?, arguments.lanes);
        let kinds = asked(arguments.oracles, lanes, *driver)?;
        let is_with_content = kinds.contains(&EngineKind::Content);
        let engine = engine_of(arguments.strict);
        let scenarios = |kind| Generator::new(driver.space(), arguments.seed, limits(kind, lanes, *driver));
        let share = |kind: EngineKind| Share {
            kind,
            scenarios: of_job(scenarios(kind), job, arguments.jobs),
            runner: engine(kind, driver, Purpose::Fuzz),
            spent: Duration::ZERO,
            weight: if kind == EngineKind::Content { CONTENT_SHARE } else { 1 },
            is_aside: is_with_content && kind != EngineKind::Content,
        };
        let shares = kinds.into_iter().map(share).collect();
        Ok(Self { driver, shares, refused: None, refusals: 0 })
    }

    /// Runs scenarios until something is found, or `is_over` says so.
    fn all(&mut self, done: &[AtomicU64; 2], is_over: &(dyn Fn() -> bool + Sync)) -> Result<Found> {
        while !is_over() {
            let next = self.shares.iter_mut().min_by_key(|share| share.spent / share.weight);
            let next = next.context("nothing was asked for")?;
            let scenario = next.scenarios.next().context("generators do not end")?;
            let started = Instant::now();
            let outcome = next.runner.run(&scenario);
            next.spent += started.elapsed();
            let kind = next.kind;
            done[0].fetch_add(1, Ordering::Relaxed);
            done[1].fetch_add(scenario.requests.len() as u64, Ordering::Relaxed);
            match outcome {
                Judged::Clean => {}
                Judged::Refused(why) => {
                    self.refused = Some(why);
                    self.refusals += 1;
                }
                Judged::Finding(finding) => return Ok(Some((kind, *finding, scenario))),
            }
        }
        Ok(None)
    }
}

struct Run {
    workers: Vec<Worker>,
    /// Scenarios, and requests.
    done: Arc<[AtomicU64; 2]>,
    requests_max: u64,
    seed: u64,
}

impl Run {
    fn new(arguments: &VerifyArguments, name: &str) -> Result<Self> {
        let workers = (0..arguments.jobs).map(|job| Worker::new(arguments, name, job));
        Ok(Self {
            workers: workers.collect::<Result<_>>()?,
            done: Arc::default(),
            requests_max: arguments.until().requests,
            seed: arguments.seed,
        })
    }

    fn all(&mut self, clock: Clock) -> Result<Found> {
        let (done, requests_max, has_found) = (&*self.done, self.requests_max, &AtomicBool::new(false));
        let is_over = || {
            let is_enough = done[1].load(Ordering::Relaxed) >= requests_max;
            is_enough || has_found.load(Ordering::Relaxed) || clock.is_over(Duration::ZERO)
        };
        let work = |worker: &mut Worker| {
            let found = worker.all(done, &is_over);
            has_found.fetch_or(!matches!(found, Ok(None)), Ordering::Relaxed);
            found
        };
        let found: Vec<Result<Found>> = std::thread::scope(|scope| {
            let (first, others) = self.workers.split_first_mut().expect("there is one job at least");
            let others: Vec<_> = others.iter_mut().map(|worker| scope.spawn(|| work(worker))).collect();
            let panicked = |_| Err(anyhow!("a thread that ran scenarios has panicked"));
            let first = std::iter::once(work(first));
            first.chain(others.into_iter().map(|other| other.join().unwrap_or_else(panicked))).collect()
        });
        // What one has found is told, however the others have ended.
        let (mut all, mut failed) = (None, None);
        for found in found {
            match found {
                Ok(found) => all = all.or(found),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match (all, failed) {
            (None, Some(error)) => Err(error),
            (all, _) => Ok(all),
        }
    }

    /// What the run has not done, so that it proves nothing.
    fn missing(&self) -> Option<String> {
        // What one of the workers has done is done.
        let by_all = |share: usize| {
            let of_each = self.workers.iter().map(|worker| worker.shares[share].missing());
            of_each.reduce(Option::and).flatten()
        };
        let missing = (0..self.workers[0].shares.len()).find_map(by_all)?;
        let why = self.workers.iter().find_map(|worker| worker.refused.as_ref());
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        Some(format!("{missing}{why}"))
    }

    /// What the engines of all workers have done.
    fn summaries(&self) -> Vec<(EngineKind, Facts)> {
        let kinds = self.workers[0].shares.iter().map(|share| share.kind);
        let of_kind = |(index, kind): (usize, EngineKind)| {
            let all = self.workers.iter().map(|worker| worker.shares[index].runner.summary());
            (kind, all.reduce(together).and_then(|all| all.as_object().cloned()).unwrap_or_default())
        };
        let all = kinds.enumerate().map(of_kind);
        all.map(|(kind, facts)| (kind, facts.into_iter().collect())).collect()
    }

    #[expect(clippy::cast_precision_loss, reason = "rates need no more than a few digits")]
    fn facts(&self, clock: Clock) -> Facts {
        let [scenarios, requests] = [&self.done[0], &self.done[1]].map(|count| count.load(Ordering::Relaxed));
        let seconds = clock.started.elapsed().as_secs_f64();
        let rate = |count: u64| (count as f64 / seconds.max(1e-9)).round();
        let refusals: u64 = self.workers.iter().map(|worker| worker.refusals).sum();
        vec![
            ("driver".to_owned(), self.workers[0].driver.name().into()),
            ("scenarios".to_owned(), scenarios.into()),
            ("requests".to_owned(), requests.into()),
            ("scenarios_per_second".to_owned(), rate(scenarios).into()),
            ("refused".to_owned(), refusals.into()),
            ("jobs".to_owned(), self.workers.len().into()),
            ("seed".to_owned(), self.seed.into()),
            ("seconds".to_owned(), seconds.round().into()),
        ]
    }
}

/// What two engines have done: numbers are added, of anything else the first is told.
fn together(first: Value, second: Value) -> Value {
    let (Value::Object(mut first), Value::Object(second)) = (first.clone(), second) else { return first };
    for (name, value) in second {
        let sum = first.get(&name).and_then(Value::as_u64).zip(value.as_u64()).map(|(one, two)| one + two);
        match sum {
            Some(sum) => drop(first.insert(name, sum.into())),
            None => drop(first.entry(name).or_insert(value)),
        }
    }
    Value::Object(first)
}

/// Runs scenarios of one kind on the driver.
struct ForeignJudge<'a> {
    driver: &'static ForeignDriver,
    name: &'a str,
    kind: EngineKind,
    is_strict: bool,
    plant: Option<Plant>,
    /// The engine of all tries of a shrinking.
    pursuing: Option<Box<dyn Runner>>,
}

impl Judge for ForeignJudge<'_> {
    fn judge(&mut self, scenario: &Scenario, effort: Effort) -> Judged {
        let (driver, kind) = (self.driver, self.kind);
        if effort == Effort::Replay {
            return kind.runner(driver, Purpose::Replay).run(scenario);
        }
        let engine = engine_of(self.is_strict);
        self.pursuing.get_or_insert_with(|| engine(kind, driver, Purpose::Minimise)).run(scenario)
    }

    /// The order in which another process does things is not all ours.
    fn has_threads(&self) -> bool {
        self.kind == EngineKind::Race
    }

    fn words(&self) -> String {
        let option = match self.kind {
            EngineKind::Content => "",
            EngineKind::Crash => " --crash",
            EngineKind::Fault => " --faults",
            EngineKind::Race => " --race",
        };
        let plant = self.plant.map_or_else(String::new, |plant| format!(" --plant {plant}"));
        format!("--driver {}{option}{plant}", quoted(self.name))
    }

    fn space(&self) -> &'static Space {
        self.driver.space()
    }

    fn picture(&mut self, scenario: &Scenario, count: usize) -> Option<Picture> {
        Picture::of(self.driver, scenario, count)
    }

    fn script(&self, scenario: &Scenario) -> Option<Result<String>> {
        // Programs of others have no fault of ours.
        self.plant.is_none().then(|| script(*self.driver, self.kind, scenario))
    }
}

#[cfg(test)]
mod tests {
    use blk_harness::space::PLAIN;

    use super::*;

    #[test]
    fn jobs_make_each_scenario_once() {
        let all = || Generator::new(&PLAIN, 1, Limits::default());
        let [mut first, mut second, mut third] = [0, 1, 2].map(|job| of_job(all(), job, 3));
        let made: Vec<_> =
            (0..4).flat_map(|_| [&mut first, &mut second, &mut third].map(Iterator::next)).collect();
        let expected: Vec<_> = all().take(12).map(Some).collect();
        assert_eq!(made, expected);
    }
}
