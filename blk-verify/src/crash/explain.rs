//! What is said of a crash that a disk did not survive.
//!
//! ```text
//! blkverify: crash: C3, flushed data is there and nothing else is: a sector holds Zeroes
//!   crash:     in request #2 (write 512 512), after operation 9 of the storage
//!   lost:      operation 8: write 1536..2048 (refcount block)
//!   persisted: operation 9: write 2048..2560 (L2 table)
//!   differing: sector 0
//!   expected:  00000000: ...  what request #1 (write 0 512) wrote to sector 0
//!   found:     00000000: ...  zeroes
//! ```

use std::fmt::Write;

use super::content::{Content, Wrong};
use super::explore::Place;
use super::violation::Violation;
use crate::journal::Journal;
use crate::medium::{History, Pending};
use crate::report::{self, OriginClass, SECTOR_BYTES};

/// The whole report. `fate` says what was lost and what was not; there is none without a crash.
pub(crate) fn report(
    journal: &Journal,
    violation: &Violation,
    content: &Content,
    place: &Place,
    fate: Option<&str>,
) -> String {
    let mut text = format!("blkverify: crash: {}: {}\n", violation.clause.name(), violation.what);
    text.push_str(&place.describe(journal));
    text.push_str(fate.unwrap_or_default());
    if let Some(wrong) = &violation.wrong {
        bytes(&mut text, journal, wrong, content.size());
    }
    for note in &violation.notes {
        let _ = writeln!(text, "  {note}");
    }
    text
}

fn bytes(text: &mut String, journal: &Journal, wrong: &Wrong, size: u64) {
    let length = wrong.expected.len().min(wrong.found.len());
    let differs = |at: &usize| wrong.expected[*at] != wrong.found[*at];
    let Some(at) = (0..length).find(differs) else {
        let _ = writeln!(text, "  sizes:     {} and {} bytes", wrong.expected.len(), wrong.found.len());
        return;
    };
    let address = wrong.offset + at as u64;
    let _ = writeln!(text, "  differing: offset {address}, sector {}", address / SECTOR_BYTES);
    for (name, side) in [("expected: ", &wrong.expected), ("found:    ", &wrong.found)] {
        let (_, origin) = report::origin(journal, side, wrong.offset, at, size);
        let _ = writeln!(text, "  {name} {}  {origin}", report::dump(side, address, at));
    }
}

/// Where a sector's bytes come from.
pub(crate) fn origin(journal: &Journal, sector: &[u8], address: u64, size: u64) -> (OriginClass, String) {
    report::origin(journal, sector, address, 0, size)
}

/// What of the pending operations was lost, and what persisted.
pub(crate) fn fate(history: &History, kept: &[bool]) -> String {
    let mut text = String::new();
    for pending in history.pending() {
        let fate = &kept[pending.items.clone()];
        let word = match (fate.contains(&true), fate.contains(&false)) {
            (true, true) => "torn:     ",
            (true, false) => "persisted:",
            (false, _) => "lost:     ",
        };
        let _ = write!(text, "  {word} {}", describe(pending));
        if fate.contains(&true) && fate.contains(&false) {
            let of = |wanted: bool| -> Vec<String> {
                pending
                    .items
                    .clone()
                    .filter(|item| kept[*item] == wanted)
                    .map(|item| history.items()[item].extent)
                    .map(|extent| format!("{}..{}", extent.offset, extent.end()))
                    .collect()
            };
            let _ = write!(text, ", lost {}", of(false).join(" "));
        }
        text.push('\n');
    }
    text
}

fn describe(pending: &Pending) -> String {
    let (number, name) = (pending.number, pending.name);
    if name == "truncate" {
        return format!("operation {number}: truncate to {}", pending.extent.offset);
    }
    let (start, end) = (pending.extent.offset, pending.extent.end());
    format!("operation {number}: {name} {start}..{end} ({})", role(pending))
}

/// What is stored there: what the driver says of its step.
fn role(pending: &Pending) -> &'static str {
    if pending.extent.offset < SECTOR_BYTES { "header" } else { pending.step.text }
}
