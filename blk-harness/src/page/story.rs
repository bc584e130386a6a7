//! A finding in one sentence.

use crate::finding::{Difference, Fate, Pending, Provoked};
use crate::report::{Finding, SECTOR_BYTES, Signature};

/// The whole story.
pub(super) fn sentence(finding: &Finding) -> String {
    let mut text = String::new();
    if let Some(provoked) = provoked(finding) {
        text = format!("{provoked}; then ");
    }
    text += &match &finding.difference {
        Some(difference) => shows(finding, difference),
        None => says(finding),
    };
    let mut characters = text.trim_end().chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", characters.as_str().trim_end_matches('.'))
}

/// What was done to the storage.
pub(super) fn provoked(finding: &Finding) -> Option<String> {
    Some(match finding.provoked.as_ref()? {
        Provoked::Crash(crash) => {
            let during = crash.during.map_or_else(
                || "the first open".to_owned(),
                |(number, request)| format!("request #{number} ({request})"),
            );
            let lost = lost(&crash.pending);
            format!("The host crashes in {during}, after operation {} of the storage{lost}", crash.operation)
        }
        Provoked::Fault(fault) => {
            let step = if fault.step == "none" { String::new() } else { format!(" ({})", fault.step) };
            let during = match &fault.during {
                Some((number, request)) => format!(" in request #{number} ({request})"),
                None if fault.is_in_flight => " while requests are in flight".to_owned(),
                None => " in the first open".to_owned(),
            };
            let lost = lost(&fault.pending);
            format!(
                "Operation {} of {} of the storage, {}{step}, fails{during}: {}{lost}",
                fault.operation, fault.operations, fault.kind, fault.how
            )
        }
    })
}

fn lost(pending: &[Pending]) -> String {
    let lost = pending.iter().filter(|pending| pending.fate != Fate::Persisted).count();
    match pending.len() {
        0 => String::new(),
        all => {
            format!(", and loses {lost} of {all} operations that no sync has made durable, wholly or in part")
        }
    }
}

fn shows(finding: &Finding, difference: &Difference) -> String {
    let by = match finding.request {
        Some((number, request)) if finding.provoked.is_none() => format!("request #{number} ({request})"),
        _ => "the disk".to_owned(),
    };
    let expected = difference.expected.first().map(|side| format!(", and has to show {}", side.source));
    let (offset, sector) = (difference.offset, difference.offset / SECTOR_BYTES);
    format!(
        "at offset {offset} (sector {sector}) {by} shows {}{}",
        difference.found.source,
        expected.unwrap_or_default()
    )
}

/// Where no bytes are wrong.
fn says(finding: &Finding) -> String {
    if matches!(finding.signature, Signature::Panic { .. }) {
        let said = finding.notes.first().map(|note| format!(": {}", note.trim())).unwrap_or_default();
        let during = finding
            .request
            .map(|(number, request)| format!(", when the last request was #{number} ({request})"))
            .unwrap_or_default();
        return format!("{}{said}{during}", finding.what);
    }
    let promise =
        finding.promise.map(|promise| format!("a promise is broken, {promise}: ")).unwrap_or_default();
    let by = match finding.request {
        Some((number, request)) if finding.provoked.is_none() => format!("request #{number} ({request}): "),
        _ => String::new(),
    };
    format!("{by}{promise}{}", finding.what)
}
