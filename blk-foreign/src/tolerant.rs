//! Runs that go on past what is known of a driver.

use blk_harness::runner::Runner;
use blk_harness::scenario::Scenario;
use blk_harness::{Finding, Outcome};
use serde_json::Value;

use crate::{Deviation, ForeignDriver};

/// Runs scenarios, and counts known deviations where another runner would report them. A scenario with one
/// counts as clean; how often each was met stands in the summary, as `known_NAME`.
#[derive(Debug)]
pub(crate) struct Tolerant {
    inner: Box<dyn Runner>,
    driver: ForeignDriver,
    /// The known deviations, and how often each was met.
    known: Vec<(&'static Deviation, u64)>,
}

impl Tolerant {
    pub(crate) fn new(inner: Box<dyn Runner>, driver: ForeignDriver) -> Self {
        let known = driver.description().deviations.iter().map(|deviation| (deviation, 0)).collect();
        Self { inner, driver, known }
    }

    fn judge(&mut self, outcome: Outcome, scenario: &Scenario) -> Outcome {
        let Outcome::Finding(finding) = outcome else { return outcome };
        if self.is_known(&finding, scenario) { Outcome::Clean } else { Outcome::Finding(finding) }
    }

    fn is_known(&mut self, finding: &Finding, scenario: &Scenario) -> bool {
        let known = self.driver.deviation(finding, scenario);
        known.is_some_and(|known| {
            self.known[known].1 += 1;
            true
        })
    }
}

impl Runner for Tolerant {
    fn run(&mut self, scenario: &Scenario) -> Outcome {
        let outcome = self.inner.run(scenario);
        self.judge(outcome, scenario)
    }

    fn run_from(&mut self, scenario: &Scenario, first: usize) -> Outcome {
        let outcome = self.inner.run_from(scenario, first);
        self.judge(outcome, scenario)
    }

    fn stress(&mut self, scenario: &Scenario) -> Option<Outcome> {
        let outcome = self.inner.stress(scenario)?;
        Some(self.judge(outcome, scenario))
    }

    fn summary(&self) -> Value {
        let mut summary = self.inner.summary();
        for (known, count) in &self.known {
            summary[format!("known_{}", known.name)] = (*count).into();
        }
        summary
    }

    fn missing(&self) -> Option<&'static str> {
        self.inner.missing()
    }
}
