//! `blk verify --driver`: scenarios on a driver in another process, which a TOML file describes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use blk_foreign::{EngineKind, ForeignDriver, description};
use blk_harness::Outcome as Judged;
use blk_harness::driver::Driver;
use blk_harness::generate::Generator;
use blk_harness::runner::{Purpose, Runner};
use blk_harness::scenario::Scenario;
use blk_harness::space::Space;
use blk_verify::Finding;

use super::arguments::{ReplayArguments, VerifyArguments};
use super::bench::quoted;
use super::keep::{Clock, Effort, Judge, Kept, keep};
use super::oracles::{Oracle, Oracles};
use super::outcome::{Ended, Facts, Outcome};
use super::progress::Progress;
use super::replay::read;
use crate::formats::registry;

/// All that was asked for: content, if nothing else.
fn asked(oracles: Oracles, driver: ForeignDriver) -> Result<Vec<EngineKind>> {
    let asked = oracles.asked();
    if asked.contains(&Oracle::Race) {
        bail!(
            "--race needs the threads of the driver, and those of '{}' are in another process: no scheduler \
             of ours can order them",
            driver.name()
        );
    }
    let kind = |oracle: &Oracle| {
        if *oracle == Oracle::Crash { EngineKind::Crash } else { EngineKind::Fault }
    };
    let kinds = if asked.is_empty() { vec![EngineKind::Content] } else { asked.iter().map(kind).collect() };
    kinds.iter().try_for_each(|kind| kind.suits(driver))?;
    Ok(kinds)
}

/// The title of what an engine did.
fn title(kind: EngineKind) -> &'static str {
    match kind {
        EngineKind::Content => "content",
        EngineKind::Crash => "crashes",
        EngineKind::Fault => "faults",
    }
}

/// One kind's share of a run.
struct Share {
    kind: EngineKind,
    generator: Generator,
    runner: Box<dyn Runner>,
    spent: Duration,
}

/// The driver of a name, or of a TOML file.
fn driver(name: &str) -> Result<&'static ForeignDriver> {
    ForeignDriver::judged_by(description(name)?, |name| registry().find(name).ok())
}

/// Makes scenarios of the driver until the run is over.
pub(super) fn run(arguments: &VerifyArguments, name: &str, clock: Clock) -> Result<Outcome> {
    let driver = driver(name)?;
    let mut run = Run::new(arguments, driver)?;
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
            if let Some(missing) = run.shares.iter().find_map(|share| share.runner.missing()) {
                let why = run.refused.take().map_or_else(String::new, |why| format!(": {why}"));
                bail!("'{name}': the run {missing}{why}");
            }
            Outcome::new(Ended::Clean)
        }
        Some((kind, finding, scenario)) => {
            let mut judge = ForeignJudge { driver, name, kind, pursuing: None };
            Outcome::found(keep(&mut judge, finding, scenario, arguments.keeping()))
        }
    };
    for share in &run.shares {
        let summary = share.runner.summary();
        outcome = outcome
            .with(title(share.kind), summary.as_object().cloned().unwrap_or_default().into_iter().collect());
    }
    Ok(outcome.with("", run.facts(clock)))
}

/// Runs a trace once more.
pub(super) fn replay(arguments: &ReplayArguments, name: &str) -> Result<Outcome> {
    let driver = driver(name)?;
    let scenario = read(&arguments.trace, driver.space())?;
    let kinds = asked(arguments.oracles, *driver)?;
    for kind in kinds {
        match kind.runner(driver, Purpose::Replay).run(&scenario) {
            Judged::Clean => {}
            Judged::Finding(finding) => return Ok(Outcome::found(Kept::seen(*finding, &scenario))),
            Judged::Refused(why) => bail!("the driver cannot be tried: {why}"),
        }
    }
    Ok(Outcome::new(Ended::Clean))
}

struct Run {
    driver: &'static ForeignDriver,
    shares: Vec<Share>,
    /// Scenarios, and requests.
    done: Arc<[AtomicU64; 2]>,
    /// Why the last scenario was not run, of those that were not.
    refused: Option<String>,
    refusals: u64,
    requests_max: u64,
    seed: u64,
}

type Found = Option<(EngineKind, Finding, Scenario)>;

impl Run {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "runners keep the reference")]
    fn new(arguments: &VerifyArguments, driver: &'static ForeignDriver) -> Result<Self> {
        let share = |kind: EngineKind| Share {
            kind,
            generator: Generator::new(driver.space(), arguments.seed, kind.limits(*driver)),
            runner: kind.runner(driver, Purpose::Fuzz),
            spent: Duration::ZERO,
        };
        Ok(Self {
            driver,
            shares: asked(arguments.oracles, *driver)?.into_iter().map(share).collect(),
            done: Arc::default(),
            refused: None,
            refusals: 0,
            requests_max: arguments.until().requests,
            seed: arguments.seed,
        })
    }

    fn all(&mut self, clock: Clock) -> Result<Found> {
        while self.done[1].load(Ordering::Relaxed) < self.requests_max && !clock.is_over(Duration::ZERO) {
            let next = self.shares.iter_mut().min_by_key(|share| share.spent);
            let next = next.context("nothing was asked for")?;
            let scenario = next.generator.next().context("generators do not end")?;
            let started = Instant::now();
            let outcome = next.runner.run(&scenario);
            next.spent += started.elapsed();
            let kind = next.kind;
            self.done[0].fetch_add(1, Ordering::Relaxed);
            self.done[1].fetch_add(scenario.requests.len() as u64, Ordering::Relaxed);
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

    #[expect(clippy::cast_precision_loss, reason = "rates need no more than a few digits")]
    fn facts(&self, clock: Clock) -> Facts {
        let [scenarios, requests] = [&self.done[0], &self.done[1]].map(|count| count.load(Ordering::Relaxed));
        let seconds = clock.started.elapsed().as_secs_f64();
        let rate = |count: u64| (count as f64 / seconds.max(1e-9)).round();
        let mut facts: Facts = vec![
            ("driver".to_owned(), self.driver.name().into()),
            ("scenarios".to_owned(), scenarios.into()),
            ("requests".to_owned(), requests.into()),
            ("scenarios_per_second".to_owned(), rate(scenarios).into()),
            ("refused".to_owned(), self.refusals.into()),
        ];
        facts.push(("seed".to_owned(), self.seed.into()));
        facts.push(("seconds".to_owned(), seconds.round().into()));
        facts
    }
}

/// Runs scenarios of one kind on the driver.
struct ForeignJudge<'a> {
    driver: &'static ForeignDriver,
    name: &'a str,
    kind: EngineKind,
    /// The engine of all tries of a shrinking.
    pursuing: Option<Box<dyn Runner>>,
}

impl Judge for ForeignJudge<'_> {
    fn judge(&mut self, scenario: &Scenario, effort: Effort, _until: Instant) -> Judged {
        let (driver, kind) = (self.driver, self.kind);
        if effort == Effort::Replay {
            return kind.runner(driver, Purpose::Replay).run(scenario);
        }
        self.pursuing.get_or_insert_with(|| kind.runner(driver, Purpose::Minimise)).run(scenario)
    }

    fn words(&self) -> String {
        let option = match self.kind {
            EngineKind::Content => "",
            EngineKind::Crash => " --crash",
            EngineKind::Fault => " --faults",
        };
        format!("--driver {}{option}", quoted(self.name))
    }

    fn space(&self) -> &'static Space {
        self.driver.space()
    }
}
