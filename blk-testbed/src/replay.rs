//! Replaying scenarios on a target that is known by name.

use blk_verify::scenario::Scenario;
use blk_verify::target::Target;
use blk_verify::testing::CANARY;
use blk_verify::{Engine, Outcome, RunOptions};

use crate::{Qcow2Target, RawTarget};

/// Everything that a scenario can run on.
static TARGETS: [&dyn Target; 3] = [&Qcow2Target, &RawTarget, &CANARY];

/// The target of that name.
pub fn target(name: &str) -> Option<&'static dyn Target> {
    TARGETS.into_iter().find(|target| target.name() == name)
}

/// The names of all targets.
pub fn target_names() -> Vec<&'static str> {
    TARGETS.iter().map(|target| target.name()).collect()
}

/// Runs a scenario once, on a fresh engine.
pub fn replay(target: &dyn Target, scenario: &Scenario) -> Outcome {
    Engine::new(RunOptions::default()).run(target, scenario)
}

/// Runs a scenario given as text on the target of that name.
///
/// # Errors
/// The report of what was found, or what is wrong with the names or the text.
pub fn replay_text(target_name: &str, text: &str) -> Result<(), String> {
    let target = target(target_name).ok_or_else(|| {
        format!("target '{target_name}' is unknown; known are {}", target_names().join(", "))
    })?;
    let scenario = Scenario::from_text(text).map_err(|error| error.to_string())?;
    match replay(target, &scenario) {
        Outcome::Clean => Ok(()),
        Outcome::Finding(finding) => Err(finding.report),
        Outcome::Refused(why) => Err(format!("the scenario cannot be run: {why}")),
    }
}
