//! What a scenario does, told to libFuzzer as code that was reached: it has nothing else to tell two
//! scenarios apart that a driver in another process has run.
//!
//! Each feature of a scenario is a function that does nothing, in a crate whose code is counted.

use std::collections::BTreeMap;
use std::hint::black_box;

use blk_foreign::{FEATURES, features};
use blk_harness::Outcome;
use blk_harness::runner::Runner;
use blk_harness::scenario::Scenario;
use serde_json::Value;

/// Tells what scenarios do, and has another runner run them.
#[derive(Debug)]
pub(crate) struct Telling(pub(crate) Box<dyn Runner>);

impl Runner for Telling {
    fn run(&mut self, scenario: &Scenario) -> Outcome {
        let geometry = super::suite().space().geometry(&scenario.config);
        features(scenario, geometry.unit_bytes.max(1)).into_iter().for_each(tell);
        self.0.run(scenario)
    }

    fn run_from(&mut self, scenario: &Scenario, first: usize) -> Outcome {
        self.0.run_from(scenario, first)
    }

    fn stress(&mut self, scenario: &Scenario) -> Option<Outcome> {
        self.0.stress(scenario)
    }

    fn summary(&self) -> Value {
        self.0.summary()
    }

    fn transitions(&self) -> BTreeMap<String, u64> {
        self.0.transitions()
    }

    fn missing(&self) -> Option<&'static str> {
        self.0.missing()
    }
}

fn tell(feature: usize) {
    TOLD[feature % FEATURES / 16][feature % 16]();
}

/// A function of its own for each feature: it differs from all others, so that none is merged with it.
#[inline(never)]
fn told<const FEATURE: usize>() {
    black_box(FEATURE);
}

macro_rules! sixteen {
    ($first:literal: $($more:literal)*) => { [$(told::<{ $first + $more }>),*] };
    ($first:literal) => { sixteen!($first: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15) };
}

static TOLD: [[fn(); 16]; FEATURES / 16] = [
    sixteen!(0),
    sixteen!(16),
    sixteen!(32),
    sixteen!(48),
    sixteen!(64),
    sixteen!(80),
    sixteen!(96),
    sixteen!(112),
    sixteen!(128),
    sixteen!(144),
    sixteen!(160),
    sixteen!(176),
    sixteen!(192),
    sixteen!(208),
    sixteen!(224),
    sixteen!(240),
];
