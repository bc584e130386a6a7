//! Where a run with a fault is, for reports.

use std::sync::Arc;

use crate::finding::{self, Begun, Provoked};
use blk_sim::{Call, Fault};

use crate::checker::Checker;
use crate::explain;
use crate::report::Finding;
use crate::scenario::Request;

/// A place in a run.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    /// What fails, and what it would have been; there is none in the run without faults.
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
    /// Adds what is known of the place to a finding. Numbers above `number_max` are of follow-up requests,
    /// which are none of the scenario.
    pub(super) fn tell(&self, mut finding: Finding, number_max: u32) -> Finding {
        let surfaced = self.surfaced();
        let in_lanes = surfaced.filter(|_| self.is_in_lanes);
        let number = self.request.or(in_lanes).map_or(0, |(number, _)| number);
        finding.request_number = if number > number_max { 0 } else { number };
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
            }));
        }
        finding.notes.extend(self.other_operation());
        finding.noticed = self.noticed();
        finding.history = self.history();
        finding
    }

    /// What fails, and what it was: what it would have been, as long as nothing has.
    pub(super) fn failed(&self) -> Option<(Fault, Call)> {
        let (fault, planned) = self.fault?;
        let failed = self.checker.as_ref().and_then(|checker| checker.failed());
        Some((fault, failed.unwrap_or(planned)))
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
