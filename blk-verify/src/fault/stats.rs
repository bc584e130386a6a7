//! What sweeps reached.

use std::collections::BTreeMap;
use std::fmt;

use blk_core::storage::{self, Operation};

use super::host::Step;

/// Counts over all runs of an engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FaultStats {
    /// Scenarios run.
    pub scenarios: u64,
    /// Scenarios of which only a part of the possible faults was tried, spread by a hash of the scenario.
    pub sampled: u64,
    /// Requests made in runs without faults.
    pub requests: u64,
    /// Requests among them that the disk did not refuse.
    pub accepted: u64,
    /// Operations of the storage in runs without faults.
    pub operations: u64,
    /// Faults that are possible: operations times the ways in which each can fail.
    pub possible: u64,
    /// Faults that were tried, a run of the scenario each.
    pub faults: u64,
    /// Of those: some request failed, or a flush did.
    pub surfaced: u64,
    /// Of those: the request in which it happened failed.
    pub failed_requests: u64,
    /// Of those: the handle refused everything afterwards.
    pub poisoned: u64,
    /// Of those: the image had to be opened again.
    pub reopened: u64,
    /// Of those: a failed sync lost what it was to write.
    pub lossy: u64,
    /// Of those: clusters leaked, and a repair gave them back.
    pub repairs: u64,
    /// Faults during such a repair.
    pub repair_faults: u64,
    /// Requests made with the fault gone.
    pub further_requests: u64,
    /// Faults by kind of operation, in the order of [`Operation::ALL`].
    pub kinds: [u64; Operation::ALL.len()],
    /// Faults by step of the driver.
    pub steps: BTreeMap<&'static storage::Step, u64>,
}

impl FaultStats {
    /// Counts a fault at `step`.
    pub(super) fn fault(&mut self, step: &Step) {
        self.faults += 1;
        self.kinds[step.operation as usize] += 1;
        *self.steps.entry(step.step).or_default() += 1;
    }

    /// The counts for the status line of a fuzzer.
    pub fn summary(&self) -> serde_json::Value {
        serde_json::json!({
            "scenarios": self.scenarios,
            "requests": self.requests,
            "accepted": self.accepted,
            "operations": self.operations,
            "possible_faults": self.possible,
            "faults": self.faults,
            "surfaced": self.surfaced,
            "failed_requests": self.failed_requests,
            "poisoned": self.poisoned,
            "reopened": self.reopened,
            "lossy_syncs": self.lossy,
            "repairs": self.repairs,
            "repair_faults": self.repair_faults,
            "steps_faulted_max": self.steps.len(),
        })
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a share in percent needs no more than a few digits")]
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

impl fmt::Display for FaultStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |part| percent(part, self.faults);
        write!(
            f,
            "{} scenarios ({} of them sampled), {} requests, {} operations, {} of {} faults tried: {:.1} % surfaced, {:.1} % \
             failed their request, {:.1} % poisoned, {:.1} % reopened, {:.1} % lost what a sync was to write; {} repairs with \
             {} faults of their own, {} further requests; faults by kind:",
            self.scenarios,
            self.sampled,
            self.requests,
            self.operations,
            self.faults,
            self.possible,
            share(self.surfaced),
            share(self.failed_requests),
            share(self.poisoned),
            share(self.reopened),
            share(self.lossy),
            self.repairs,
            self.repair_faults,
            self.further_requests
        )?;
        for (operation, count) in Operation::ALL.iter().zip(self.kinds) {
            write!(f, " {operation:?} {count}")?;
        }
        write!(f, "; by step:")?;
        self.steps.iter().try_for_each(|(step, count)| write!(f, " {step} {count}"))
    }
}
