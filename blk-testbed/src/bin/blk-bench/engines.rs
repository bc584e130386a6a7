//! What the engines do a second with generated scenarios, as under a fuzzer but without one.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use blk_harness::generate::Generator;
use blk_harness::runner::Purpose;
use blk_harness::{Outcome, statistics::Counter};
use blk_testbed::suite;

use super::{per_second, print};

const TIME: Duration = Duration::from_secs(5);

/// A suite, and what of it is counted, under which name.
const ENGINES: [(&str, &[(Counter, &str)]); 4] = [
    ("verify_qcow2", &[(Counter::Scenarios, "scenarios")]),
    ("verify_crash", &[(Counter::Scenarios, "crash_scenarios"), (Counter::Distinct, "crash_states")]),
    ("verify_race", &[(Counter::Scenarios, "race_scenarios"), (Counter::Interleaved, "schedules")]),
    ("verify_fault", &[(Counter::Scenarios, "fault_scenarios"), (Counter::Faults, "faults")]),
];

/// All engines, or one.
pub(super) fn run(only: Option<&str>) -> Result<()> {
    for (name, counters) in ENGINES.into_iter().filter(|(name, _)| only.is_none_or(|only| only == *name)) {
        let suite = suite(name).with_context(|| format!("no suite {name}"))?;
        let mut runner = suite.start(Purpose::Fuzz);
        let mut scenarios = Generator::new(suite.space(), 1, suite.limits());
        let rate = per_second(TIME, || {
            let scenario = scenarios.next().context("scenarios do not end")?;
            if let Outcome::Finding(finding) = runner.run(&scenario) {
                bail!("{name}: {}", finding.report());
            }
            Ok(1)
        })?;
        let summary = runner.summary();
        let count = |counter: Counter| summary[counter.key()].as_f64().unwrap_or(0.0);
        let all = count(Counter::Scenarios);
        for (counter, word) in counters {
            print(&format!("blk_{word}"), rate * count(*counter) / all);
        }
    }
    Ok(())
}
