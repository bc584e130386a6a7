//! Where a run with a fault is, for reports.

use std::fmt::Write;

use blk_sim::{Call, Fault};

use crate::scenario::Request;

/// A place in a run.
#[derive(Debug, Clone, Copy, Default)]
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
}

impl Place {
    /// Some lines for a report.
    pub(super) fn describe(&self) -> String {
        let mut text = String::new();
        let named = |request: Option<(u32, Request)>| match request {
            Some((number, request)) => format!("request #{number} ({request})"),
            None => "the first open".to_owned(),
        };
        if let Some((fault, call)) = self.fault {
            let _ = write!(
                text,
                "  fault:     operation {} of {} fails: {:?} ({})",
                fault.at + 1,
                self.operations,
                call.operation,
                call.step
            );
            if !call.extent.is_empty() {
                let _ = write!(text, " at {:#x}, {} bytes", call.extent.offset, call.extent.length);
            }
            let _ = writeln!(text, ", {fault}");
            if !self.is_in_lanes {
                let _ = writeln!(text, "  during:    {}", named(self.during));
            }
        }
        if self.is_in_lanes && self.request.is_none() {
            let stage = if self.stage.is_empty() { "with requests in flight" } else { self.stage };
            let _ = writeln!(text, "  noticed:   {stage}");
            return text;
        }
        let after = if self.stage.is_empty() { String::new() } else { format!(", {}", self.stage) };
        let _ = writeln!(text, "  noticed:   in {}{after}", named(self.request));
        text
    }
}
