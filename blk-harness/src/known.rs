//! What is known of a driver under test: it is counted, and hides nothing else.
//!
//! An engine that can goes on past a known finding, and tells it only if the scenario has no other. What is
//! wrong without a crash and without a fault ends a scenario: all that the disk shows from then on may be
//! wrong by the same. [`Tolerant`] makes a scenario clean of which no more was found than is known.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::Value;

use crate::Outcome;
use crate::driver::Driver;
use crate::report::Finding;
use crate::runner::Runner;
use crate::scenario::Scenario;
use crate::statistics::{Statistics, Tally};

/// What is known of the findings of one scenario.
#[derive(Debug)]
pub(crate) struct Known<'a> {
    target: &'a dyn Driver,
    scenario: &'a Scenario,
    /// The engine that finds them.
    engine: &'static str,
    /// The deviations that were met.
    met: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Known<'a> {
    pub(crate) fn new(target: &'a dyn Driver, scenario: &'a Scenario, engine: &'static str) -> Self {
        Self { target, scenario, engine, met: RefCell::default() }
    }

    /// A finding of this engine: what is known may depend on that.
    pub(crate) fn named(&self, finding: Box<Finding>) -> Box<Finding> {
        Box::new(finding.by(self.engine))
    }

    /// The known deviation that a finding is.
    pub(crate) fn explains(&self, finding: &Finding) -> Option<&'static str> {
        self.target.known(finding, self.scenario)
    }

    /// Whether a finding is known. If it is, its deviation was met.
    pub(crate) fn meets(&self, finding: &Finding) -> bool {
        let known = self.explains(finding);
        self.met.borrow_mut().extend(known);
        known.is_some()
    }

    /// How the scenario has ended; counts what was met, each deviation once.
    pub(crate) fn end(self, outcome: Outcome, stats: &mut Statistics) -> Outcome {
        let outcome = outcome.by(self.engine);
        if let Some(finding) = outcome.finding() {
            self.meets(finding);
        }
        for name in self.met.into_inner() {
            stats.tally(Tally::Known, [name, "", ""]);
        }
        outcome
    }
}

/// Runs scenarios; one in which nothing was found but what is known of the driver counts as clean. How many
/// have met a deviation stands in the summary, as `known_NAME`.
#[derive(Debug)]
pub struct Tolerant {
    inner: Box<dyn Runner>,
    target: &'static dyn Driver,
}

impl Tolerant {
    /// Over `inner`, which runs scenarios on `target`.
    pub fn new(inner: Box<dyn Runner>, target: &'static dyn Driver) -> Self {
        Self { inner, target }
    }

    fn judge(&self, outcome: Outcome, scenario: &Scenario) -> Outcome {
        match outcome.finding().and_then(|finding| self.target.known(finding, scenario)) {
            Some(_) => Outcome::Clean,
            None => outcome,
        }
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
        self.inner.summary()
    }

    fn missing(&self) -> Option<&'static str> {
        self.inner.missing()
    }
}
