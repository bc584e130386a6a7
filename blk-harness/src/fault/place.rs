//! Where a run with a fault is, for reports.

use std::sync::Arc;

use crate::finding::{self, Begun, Pending, Provoked};
use blk_sim::{Call, Fault};

use crate::checker::Checker;
use crate::explain;
use crate::report::Finding;
use crate::scenario::Request;

/// A place in a run.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    /// What is to fail, and what it was in the run without faults, which has no fault.
    pub(super) fault: Option<(Fault, Call)>,
    /// Operations in the run without faults.
    pub(super) operations: u64,
    /// The request during which the fault happens; `None` while the image is opened first.
    pub(super) during: Option<(u32, Request)>,
    /// The request that is made now.
    pub(super) request: Option<(u32, Request)>,
    /// Requests are in flight together: there is no one request during which it happens.
    pub(super) is_in_lanes: bool,
    /// What is done after that request.
    pub(super) stage: &'static str,
    /// What hears of the requests.
    pub(super) checker: Option<Arc<Checker>>,
    /// So many requests were made in lanes; none where they are in flight yet.
    pub(super) begun: Option<usize>,
}

impl Place {
    /// Adds what is known of the place to a finding, and what a crash has made of `pending` operations.
    /// Numbers above `number_max` are of follow-up requests, which are none of the scenario.
    pub(super) fn tell(&self, mut finding: Finding, pending: Vec<Pending>, number_max: u32) -> Finding {
        let surfaced = self.surfaced();
        let in_lanes = surfaced.filter(|_| self.is_in_lanes);
        let number = self.request.or(in_lanes).map_or(0, |(number, _)| number);
        finding.request_number = if number > number_max { 0 } else { number };
        if let (Some((fault, _)), None) = (self.fault, self.failed()) {
            let at = fault.at + 1;
            finding.notes.push(format!("operation {at} was to fail ({fault}), and was not made before this"));
        }
        if let Some((fault, call)) = self.failed() {
            let named = |(number, request): (u32, Request)| (number, request.to_string());
            finding.provoked = Some(Provoked::Fault(finding::Fault {
                operation: fault.at + 1,
                operations: self.operations,
                kind: format!("{:?}", call.operation),
                step: call.step.to_string(),
                extent: call.extent,
                how: fault.to_string(),
                during: self.during.map(named),
                is_in_flight: self.is_in_lanes,
                surfaced: surfaced.map(named),
                pending,
            }));
        }
        finding.notes.extend(self.other_operation());
        finding.noticed = self.noticed();
        finding.history = self.history();
        finding
    }

    /// What has failed, and how; none as long as the planned operation has not been made.
    pub(super) fn failed(&self) -> Option<(Fault, Call)> {
        let (fault, _) = self.fault?;
        Some((fault, self.checker.as_ref()?.failed()?))
    }

    /// That a driver in another process has made other operations this time.
    fn other_operation(&self) -> Option<String> {
        let ((_, planned), (_, failed)) = (self.fault?, self.failed()?);
        let (operation, extent) = (planned.operation, planned.extent);
        (failed != planned).then(|| {
            let at = format!("{}..{}", extent.offset, extent.end());
            format!("without the fault that operation was another one: {operation:?} of {at}")
        })
    }

    /// The first request that failed because of the fault.
    fn surfaced(&self) -> Option<(u32, Request)> {
        self.fault.and_then(|_| self.checker.as_ref()?.surfaced())
    }

    fn noticed(&self) -> String {
        if self.is_in_lanes && self.request.is_none() {
            let stage = if self.stage.is_empty() { "with requests in flight" } else { self.stage };
            return stage.to_owned();
        }
        let request = match self.request {
            Some((number, request)) => format!("request #{number} ({request})"),
            None => "the first open".to_owned(),
        };
        let after = if self.stage.is_empty() { String::new() } else { format!(", {}", self.stage) };
        format!("in {request}{after}")
    }

    /// The requests that were in flight together.
    fn history(&self) -> Vec<Begun> {
        let Some(checker) = self.checker.as_ref().filter(|_| self.is_in_lanes) else { return Vec::new() };
        let records = checker.records();
        let count = self.begun.unwrap_or(usize::MAX).min(records.len());
        explain::history(&records[..count])
    }
}

#[cfg(test)]
mod tests {
    use blk_core::Extent;
    use blk_core::storage::{Effect, Operation, Step};

    use super::*;
    use crate::report::Signature;

    #[test]
    fn what_was_to_fail_and_was_not_made_has_not_failed() {
        let fault =
            Fault { at: 6, operation: Operation::Write, errno: 5, effect: Effect::None, sticky: false };
        let call = Call { operation: fault.operation, step: &Step::NONE, extent: Extent::new(0, 512) };
        let place = Place { fault: Some((fault, call)), operations: 9, ..Place::default() };
        let told = place.tell(Finding::new(Signature::Size, "wrong"), Vec::new(), 3);
        assert_eq!(told.provoked, None);
        assert!(told.report().contains("operation 7 was to fail (EIO before any effect, once)"), "{told:?}");
    }
}
