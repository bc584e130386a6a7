//! What [`regressions!`](crate::regressions), [`conformance!`](crate::conformance)
//! and [`explore!`](crate::explore) make tests of.

use std::path::Path;
use std::sync::Arc;

use crate::Outcome;
use crate::generate::{Generator, Limits};
use crate::scenario::{Config, Scenario};
use blk_core::testing::{Maker, conformance};
use blk_core::{Access, Disk, MemoryStorage, Result, Storage};

use crate::driver::FormatDriver;
use crate::repro;
use crate::runner::{Purpose, Runner as _};
use crate::suite::Suite;
use crate::watch::{self, Watched};

/// Replays every `*.trace` of a folder in the suite that its line `# target: NAME` says.
///
/// # Panics
/// With all that was found; if the folder has no trace, or a trace names no suite of `suites`.
pub fn replay_all(folder: &Path, suites: &[Suite]) {
    let mut failures = Vec::new();
    let mut count = 0;
    let entries = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("cannot read the folder {}: {error}", folder.display()));
    for entry in entries {
        let path = entry.unwrap_or_else(|error| panic!("{}: {error}", folder.display())).path();
        if path.extension().is_none_or(|extension| extension != "trace") {
            continue;
        }
        count += 1;
        if let Err(failure) = replay_one(&path, suites) {
            failures.push(format!("{}: {failure}", path.display()));
        }
    }
    assert!(count > 0, "{} holds no trace", folder.display());
    assert!(failures.is_empty(), "{} of {count} traces failed\n{}", failures.len(), failures.join("\n\n"));
}

fn replay_one(path: &Path, suites: &[Suite]) -> std::result::Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let named = text.lines().find_map(|line| line.trim_start_matches('#').trim().strip_prefix("target: "));
    let named = named.ok_or("no line '# target: NAME' says what it runs in")?;
    let suite = suites.iter().find(|suite| suite.name() == named);
    let known = || suites.iter().map(Suite::name).collect::<Vec<_>>().join(", ");
    let suite = suite.ok_or_else(|| format!("target '{named}' is unknown; known are {}", known()))?;
    replay_text(suite, &text)
}

/// Where a test writes what it has found, from the crate's root.
const OUT: &str = "repros";
/// How a test ends that ends its process.
const TEST_FAILED: i32 = 101;

/// Replays a scenario given as text.
///
/// # Panics
/// With what is found; if the scenario cannot be run. A driver that hangs ends the process.
pub fn replay(suite: &Suite, text: &str) {
    if let Err(report) = replay_text(suite, text) {
        panic!("{report}");
    }
}

fn replay_text(suite: &Suite, text: &str) -> std::result::Result<(), String> {
    let scenario = Scenario::from_text(text).map_err(|error| error.to_string())?;
    match repro::replay_watched(suite, &scenario, Path::new(OUT), TEST_FAILED) {
        Outcome::Clean => Ok(()),
        Outcome::Finding(finding) => Err(finding.report()),
        Outcome::Refused(why) => Err(format!("the scenario cannot be run: {why}")),
    }
}

/// Runs so many generated scenarios of a seed; a run that compared, crashed, failed or interleaved nothing is
/// no success.
///
/// # Panics
/// With the first finding, which is proven, shrunk and written to the folder `repros` before.
pub fn explore(suite: &Suite, limits: &Limits, seed: u64, count: usize) {
    let on_hang = repro::on_hang(*suite, OUT.into(), TEST_FAILED);
    let mut runner = Watched::new(suite.start(Purpose::Fuzz), watch::limit(), on_hang);
    let (name, mut refused) = (suite.name(), None);
    for scenario in Generator::new(suite.space(), seed, limits.clone()).take(count) {
        match runner.run(&scenario) {
            Outcome::Clean => {}
            Outcome::Refused(why) => refused = Some(why),
            Outcome::Finding(finding) => {
                match repro::reproduce_scenario(suite, scenario.clone(), Path::new(OUT)) {
                    Ok(true) => {
                        panic!("{name}: {}; its report and what was written stand above", finding.headline())
                    }
                    Ok(false) => println!("it is not found again"),
                    Err(error) => println!("it could not be made smaller: {error:#}"),
                }
                panic!("{}\n# target: {name}\n{scenario}", finding.report());
            }
        }
    }
    if let Some(missing) = runner.missing() {
        let why = refused.map_or_else(String::new, |why| format!(": {why}"));
        panic!("{name}: {count} scenarios {missing}{why}: {}", runner.summary());
    }
    println!("{name}: {count} scenarios of seed {seed}: {}", runner.summary());
}

impl Maker for FormatDriver {
    type Medium = Arc<dyn Storage>;

    fn make(&self, size: u64) -> Result<Self::Medium> {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        self.create(&storage, &Config { size_bytes: size, ..Config::default() })?;
        Ok(storage)
    }

    fn open(&self, medium: &Self::Medium, access: Access) -> Result<Disk> {
        Self::open(self, Arc::clone(medium), access, &Config::default())
    }
}

/// Goes through the conformance suite.
///
/// # Panics
/// With the rule that is broken.
pub fn conforms(driver: &FormatDriver) {
    conformance(driver);
}
