//! What is known of a driver under test: it is counted, and hides nothing else.
//!
//! An engine that can goes on past a known finding, and tells it only if the scenario has no other. What is
//! wrong without a crash and without a fault ends a scenario: all that the disk shows from then on may be
//! wrong by the same. [`Tolerant`] makes a scenario clean of which no more was found than is known.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::Outcome;
use crate::driver::Driver;
use crate::report::Finding;
use crate::runner::Runner;
use crate::scenario::Scenario;
use crate::statistics::{Names, Statistics, Tally};

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

/// Known deviations by the scenarios that have met them, where several engines run each scenario.
#[derive(Debug, Default)]
pub(crate) struct MetOnce {
    scenarios: Statistics,
    /// The last scenario, and what it has met.
    last: Option<(u64, BTreeSet<Names>)>,
}

impl MetOnce {
    /// An engine has counted `after` in a scenario, and `before` until then.
    pub(crate) fn add(
        &mut self,
        scenario: &Scenario,
        before: &BTreeMap<Names, u64>,
        after: &BTreeMap<Names, u64>,
    ) {
        let number = scenario.number();
        let (_, met) = match &mut self.last {
            Some(last) if last.0 == number => last,
            last => last.insert((number, BTreeSet::new())),
        };
        let grown = after.iter().filter(|(names, count)| before.get(*names).copied().unwrap_or(0) < **count);
        for (names, _) in grown {
            if met.insert(*names) {
                self.scenarios.tally(Tally::Known, *names);
            }
        }
    }
    /// What all scenarios have met.
    pub(crate) fn scenarios(&self) -> &Statistics {
        &self.scenarios
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

    fn transitions(&self) -> BTreeMap<String, u64> {
        self.inner.transitions()
    }

    fn missing(&self) -> Option<&'static str> {
        self.inner.missing()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_counts_once_however_many_engines_have_met_what_is_known() {
        let scenario = |text| Scenario::from_text(&format!("blk-scenario 1\n{text}\n")).unwrap();
        let (first, second) = (scenario("flush"), scenario("read 0 512"));
        let counts = |late, early| BTreeMap::from([(["late", "", ""], late), (["early", "", ""], early)]);
        let mut met = MetOnce::default();
        let none = BTreeMap::new();
        met.add(&first, &none, &none);
        assert_eq!(met.scenarios().different(Tally::Known), 0);
        // A race, and then threads; the deviation is met by two engines of the first.
        met.add(&first, &none, &counts(2, 0));
        met.add(&first, &counts(2, 0), &counts(3, 1));
        met.add(&second, &counts(3, 1), &counts(4, 1));
        let counted = |name| met.scenarios().tallied(Tally::Known, [name, "", ""]);
        assert_eq!([counted("late"), counted("early")], [2, 1]);
    }
}
