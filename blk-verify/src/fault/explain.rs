//! What is said of a failure that was not survived.
//!
//! ```text
//! blkverify: fault: what a flush has made durable is there: ...
//!   fault:     operation 12 of 31 fails: Sync (flush_to_disk), EIO before any effect, once
//!   during:    request #2 (flush)
//!   noticed:   in request #3 (read 0 512)
//!   differing: offset 0, sector 0
//!   found:     00000000: ...  zeroes
//!   allowed:   00000000: ...  what request #1 (write 0 512) wrote to sector 0
//! ```

use std::fmt::Write;

use super::expected::Wrong;
use super::host::Step;
use super::variant::Fault;
use super::violation::Violation;
use crate::journal::Journal;
use crate::report::{self, SECTOR_BYTES};
use crate::scenario::Request;

/// Where a run is, for reports.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    /// What fails, and what it would have been; there is none in the run without faults.
    pub(super) fault: Option<(Fault, Step)>,
    /// Operations in the run without faults.
    pub(super) operations: u64,
    /// The request during which the fault happens; `None` while the image is opened first.
    pub(super) during: Option<(u32, Request)>,
    /// The request that is made now.
    pub(super) request: Option<(u32, Request)>,
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
        if let Some((fault, step)) = self.fault {
            let _ = write!(
                text,
                "  fault:     operation {} of {} fails: {:?} ({})",
                fault.at + 1,
                self.operations,
                step.operation,
                step.step
            );
            if !step.extent.is_empty() {
                let _ = write!(text, " at {:#x}, {} bytes", step.extent.offset, step.extent.length);
            }
            let _ = writeln!(text, ", {fault}");
            let _ = writeln!(text, "  during:    {}", named(self.during));
        }
        let after = if self.stage.is_empty() { String::new() } else { format!(", {}", self.stage) };
        let _ = writeln!(text, "  noticed:   in {}{after}", named(self.request));
        text
    }
}

/// The whole report.
pub(super) fn report(journal: &Journal, violation: &Violation, place: &Place, size: u64) -> String {
    let mut text = format!("blkverify: fault: {}: {}\n", violation.rule.name(), violation.what);
    text.push_str(&place.describe());
    if let Some(wrong) = &violation.wrong {
        bytes(&mut text, journal, wrong, size);
    }
    text
}

fn bytes(text: &mut String, journal: &Journal, wrong: &Wrong, size: u64) {
    let differs = |at: &usize| wrong.allowed.iter().all(|value| value.get(*at) != wrong.found.get(*at));
    let at = (0..wrong.found.len()).find(differs).unwrap_or(0);
    let address = wrong.offset + at as u64;
    let _ = writeln!(text, "  differing: offset {address}, sector {}", address / SECTOR_BYTES);
    let sides = std::iter::once(("found:  ", &wrong.found));
    for (name, side) in sides.chain(wrong.allowed.iter().map(|value| ("allowed:", value))) {
        let (_, origin) = report::origin(journal, side, wrong.offset, at, size);
        let _ = writeln!(text, "  {name}   {}  {origin}", report::dump(side, address, at));
    }
}
