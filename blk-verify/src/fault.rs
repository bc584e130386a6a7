//! Failing storage: every operation of a scenario fails in turn, and what the disk then says and shows is judged.
//!
//! A run without faults counts the operations of the storage, from the open to the close at the end. Then each one fails: with EIO
//! before any effect, after half and after all of it; with ENOSPC where space can run out; once, or until the fault is mended
//! (module `variant`). The run goes on for two requests more, the fault is mended, and the [rules](Rule) hold from then on: what a
//! failed request touched is old or new, all else is exact, no failure is swallowed, and the disk goes on working. A
//! sync that fails is taken as Linux takes it: what it was to write is lost, and no later sync says so (module `host`).

mod expected;
mod explain;
mod history;
mod host;
mod recover;
mod repair;
mod run;
mod stats;
mod variant;
mod violation;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::Outcome;
use crate::crash::further::Further;
use crate::engine::panic_finding;
use crate::journal::Journal;
use crate::report::{Finding, Signature};
use crate::scenario::{Request, Scenario};
use crate::target::{ImageTarget, legal_config};
use expected::Expected;
use explain::Place;
use history::History;
use host::Step;
use run::{Run, Setting};
use variant::Fault;
use violation::{Judged, Violation};

pub use stats::FaultStats;
pub use violation::Rule;

/// Requests that are made after the one in which a fault happens, before it is mended.
const AFTER_FAULT: usize = 2;

/// How a scenario is swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultOptions {
    /// Faults tried in one scenario; all that are possible where these are fewer. What is tried with a smaller number is tried
    /// first with a larger one.
    pub faults_max: usize,
    /// Operations of the storage that the sweep of one scenario may take, about; it bounds the faults further.
    pub operations_max: u64,
    /// Largest disk that is run, bytes.
    pub size_bytes_max: u64,
    /// Once something was found, only faults like that one are tried, and only the same finding counts: for a minimiser.
    pub pursues: bool,
}

impl Default for FaultOptions {
    fn default() -> Self {
        Self { faults_max: 512, operations_max: 1 << 20, size_bytes_max: 1 << 40, pursues: false }
    }
}

/// Sweeps scenarios.
#[derive(Debug, Default)]
pub struct FaultEngine {
    options: FaultOptions,
    further: Further,
    stats: FaultStats,
    pursued: Option<(Option<Fault>, Signature)>,
}

/// What the run without faults has shown.
#[derive(Debug)]
struct Dry {
    steps: Vec<Step>,
    /// Operations so far when a request is made; the first is after the open.
    counts: Vec<u64>,
    /// What the disk shows before each request, and at the end.
    states: Vec<Expected>,
    /// Whether the request succeeded.
    succeeded: Vec<bool>,
}

impl FaultEngine {
    /// An engine with these options.
    pub fn new(options: FaultOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// What all runs so far did.
    pub fn stats(&self) -> &FaultStats {
        &self.stats
    }

    /// Runs a scenario on a fresh image without faults, then with each. A panic of the driver is a finding.
    pub fn run(&mut self, target: &dyn ImageTarget, scenario: &Scenario) -> Outcome {
        self.stats.scenarios += 1;
        let config = match legal_config(target, &scenario.config) {
            Ok(config) => config,
            Err(why) => return Outcome::Refused(why),
        };
        let size = config.size_bytes.max(config.backing_bytes);
        if size > self.options.size_bytes_max {
            return Outcome::Refused(format!("a disk of {size} bytes is too large here"));
        }
        let prepared = match target.prepare(&config) {
            Ok(prepared) => prepared,
            Err(error) => return Outcome::Refused(format!("the images cannot be made: {error}")),
        };
        self.further.prepare(target.space(), &config);
        let made = prepared.fresh().and_then(|image| Ok((image, Expected::of(&prepared.reference()?)?)));
        let (image, expected) = match made {
            Ok(made) => made,
            Err(error) => return Outcome::Refused(format!("the image cannot be made: {error}")),
        };
        let mut requests = scenario.requests.clone();
        requests.retain(|request| !self.is_too_large(*request));
        requests.extend([Request::Flush, Request::Reopen { kill: false }]);
        let further = self.further.requests(requests.len() as u64).to_vec();
        let setting = Setting {
            prepared: &*prepared,
            config: &config,
            geometry: target.space().geometry(&config),
            image: &image,
            requests: &requests,
            further: &further,
        };
        match self.sweep(&setting, scenario, &expected) {
            None => Outcome::Clean,
            Some(finding) => Outcome::Finding(finding),
        }
    }

    fn is_too_large(&self, request: Request) -> bool {
        matches!(request, Request::Resize { size } if size > self.options.size_bytes_max)
    }

    fn sweep(
        &mut self,
        setting: &Setting<'_>,
        scenario: &Scenario,
        expected: &Expected,
    ) -> Option<Box<Finding>> {
        let journal = Journal::new();
        let mut place = Place::default();
        let dry = guarded(&journal, &mut place, setting, |place| dry_run(setting, &journal, place, expected));
        let dry = match dry {
            Ok(dry) => dry,
            Err(finding) => return self.found(None, finding),
        };
        self.stats.requests += setting.requests.len() as u64;
        self.stats.accepted += dry.succeeded.iter().filter(|succeeded| **succeeded).count() as u64;
        self.stats.operations += dry.steps.len() as u64;
        for fault in self.chosen(scenario, &dry) {
            let step = dry.steps[fault.at as usize];
            self.stats.fault(&step);
            place =
                Place { fault: Some((fault, step)), operations: dry.steps.len() as u64, ..Place::default() };
            let stats = &mut self.stats;
            let swept = guarded(&journal, &mut place, setting, |place| {
                faulted_run(setting, &dry, fault, place, expected, stats)
            });
            if let Err(finding) = swept
                && let Some(found) = self.found(Some(fault), finding)
            {
                return Some(found);
            }
        }
        None
    }

    /// The faults that are tried.
    fn chosen(&mut self, scenario: &Scenario, dry: &Dry) -> Vec<Fault> {
        let mut faults = variant::faults(scenario, &dry.steps);
        self.stats.possible += faults.len() as u64;
        let affordable = self.options.operations_max / (dry.steps.len() as u64).max(1);
        let count_max = self.options.faults_max.min(usize::try_from(affordable).unwrap_or(usize::MAX).max(4));
        if let Some((Some(pursued), _)) = &self.pursued {
            faults.retain(|fault| fault.is_like(*pursued));
        }
        self.stats.sampled += u64::from(faults.len() > count_max);
        faults.truncate(count_max);
        faults
    }

    /// The finding, unless another one is pursued.
    fn found(&mut self, fault: Option<Fault>, finding: Box<Finding>) -> Option<Box<Finding>> {
        match &self.pursued {
            Some((_, signature)) if *signature != finding.signature => return None,
            None if self.options.pursues => self.pursued = Some((fault, finding.signature.clone())),
            _ => {}
        }
        Some(finding)
    }
}

/// Turns violations and panics into findings.
fn guarded<T>(
    journal: &Journal,
    place: &mut Place,
    setting: &Setting<'_>,
    run: impl FnOnce(&mut Place) -> Judged<T>,
) -> std::result::Result<T, Box<Finding>> {
    let caught = catch_unwind(AssertUnwindSafe(|| run(place)));
    let request_number = place.request.map_or(0, |(number, _)| number);
    // Numbers of further requests stand for none of the scenario.
    let request_number = if request_number as usize > setting.requests.len() { 0 } else { request_number };
    match caught {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(violation)) => {
            Err(Box::new(finding(journal, &violation, place, setting.config.size_bytes, request_number)))
        }
        Err(payload) => {
            let mut finding = panic_finding(payload.as_ref());
            finding.report.push_str(&place.describe());
            finding.request_number = request_number;
            Err(Box::new(finding))
        }
    }
}

fn finding(
    journal: &Journal,
    violation: &Violation,
    place: &Place,
    size: u64,
    request_number: u32,
) -> Finding {
    let step = place.fault.map_or("none", |(_, step)| step.step.name);
    let signature = Signature::Fault { rule: violation.rule.name(), step };
    Finding { signature, report: explain::report(journal, violation, place, size), request_number }
}

/// Runs the scenario with nothing failing.
fn dry_run(setting: &Setting<'_>, journal: &Journal, place: &mut Place, expected: &Expected) -> Judged<Dry> {
    let mut run = Run::new(setting, place, None, expected.duplicate());
    run.open()?;
    let (mut counts, mut states, mut succeeded) = (Vec::new(), Vec::new(), Vec::new());
    for request in setting.requests {
        counts.push(run.host.count());
        states.push(run.history.now.duplicate());
        succeeded.push(run.make(journal.enter(*request), *request)?);
    }
    run.place.stage = "at the end";
    run.look_at_all()?;
    states.push(run.history.now.duplicate());
    Ok(Dry { steps: run.host.take_log(), counts, states, succeeded })
}

/// Runs the scenario with one fault.
fn faulted_run(
    setting: &Setting<'_>,
    dry: &Dry,
    fault: Fault,
    place: &mut Place,
    expected: &Expected,
    stats: &mut FaultStats,
) -> Judged {
    let mut run = Run::new(setting, place, Some(fault), expected.duplicate());
    // The request during which the operation is made; none for the open.
    let index = dry.counts.partition_point(|count| *count <= fault.at).checked_sub(1);
    run.place.during = index.map(|index| (report_number(index), setting.requests[index]));
    run.open()?;
    let mut next = 0;
    if let Some(index) = index {
        for (at, request) in setting.requests[..index].iter().enumerate() {
            run.repeat(report_number(at), *request, &dry.states[at + 1])?;
        }
        run.history = remembered(setting, dry, index)?;
        let succeeded = run.make(report_number(index), setting.requests[index])?;
        stats.failed_requests += u64::from(!succeeded);
        next = index + 1;
    }
    let after = setting.requests.len().min(next + AFTER_FAULT);
    for (at, request) in setting.requests.iter().enumerate().take(after).skip(next) {
        run.make(report_number(at), *request)?;
    }
    run.recover(&setting.requests[after..], report_number(after), stats)
}

/// The number of the request at `index`.
fn report_number(index: usize) -> u32 {
    crate::stamp::number_of(index as u64 + 1)
}

/// What the disk has shown since the last flush before the request at `index`.
fn remembered(setting: &Setting<'_>, dry: &Dry, index: usize) -> Judged<History> {
    let is_flush = |at: &usize| {
        matches!(setting.requests[*at], Request::Flush | Request::Reopen { .. }) && dry.succeeded[*at]
    };
    let first = (0..index).rev().find(is_flush).map_or(0, |at| at + 1);
    let mut history = History::new(dry.states[first].duplicate());
    for at in first..index {
        let predicted =
            dry.states[at].predict(report_number(at), setting.requests[at], setting.geometry.fill_bytes());
        if let Some(predicted) = &predicted {
            history.touch(predicted.extent, setting.geometry.unit_bytes);
        }
        history.keep_value();
        if let Some(predicted) = predicted.as_ref().filter(|predicted| predicted.may_stay) {
            let mut zeroed = history.now.duplicate();
            zeroed.apply(predicted).map_err(|error| run::broken(&error))?;
            history.allow(zeroed);
        }
        history.now = dry.states[at + 1].duplicate();
        history.allow_size(history.now.size());
        if let Some(predicted) = predicted.filter(|_| dry.succeeded[at] && run::is_fua(setting.requests[at]))
        {
            history.flushed_part(predicted.extent).map_err(|error| run::broken(&error))?;
        }
    }
    Ok(history)
}
