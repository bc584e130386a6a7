//! What happened in a scenario whose storage has failed.

use blk_harness::Finding;
use blk_harness::finding::{Fault, Provoked, Side, Source};
use blk_harness::scenario::{Request, Scenario};
use blk_harness::stamp::Writer;

use super::{request, units};

fn fault(finding: &Finding) -> Option<&Fault> {
    match &finding.provoked {
        Some(Provoked::Fault(fault)) => Some(fault),
        _ => None,
    }
}

pub(super) fn is_sync_failed(finding: &Finding) -> bool {
    fault(finding).is_some_and(|fault| fault.kind == "Sync")
}

pub(super) fn is_write_failed(finding: &Finding, scenario: &Scenario, unit_bytes: u64) -> bool {
    let Some(fault) = fault(finding) else { return false };
    let (Some((during, _)), Some(difference)) = (&fault.during, &finding.difference) else { return false };
    let is_write =
        |request: Request| request.kind().changes_content() && !matches!(request, Request::Discard { .. });
    let Some(failed) = request(scenario, *during).filter(|request| is_write(*request)) else { return false };
    let is_in_it = |request: &Request| units(request, unit_bytes).contains(&(difference.offset / unit_bytes));
    let later = scenario.requests.iter().skip(*during as usize).copied();
    // Follow-up requests stand in no scenario; what they wrote can be lost as well.
    let is_follow_up = |side: &Side| {
        matches!(side.source, Source::Stamped { writer: Writer::Request(number), .. }
            if number as usize > scenario.requests.len())
    };
    matches!(fault.kind.as_str(), "Write" | "SetLen")
        && (difference.expected.iter().any(is_follow_up)
            || std::iter::once(failed).chain(later).any(|request| is_write(request) && is_in_it(&request)))
}

#[cfg(test)]
mod tests {
    use blk_core::Extent;

    use super::super::tests::{UNIT, deviation, misplaced, scenario};
    use super::super::{Deviation, Happened};
    use super::*;

    fn failed(kind: &str, during: Option<u32>, offset: u64) -> Finding {
        let mut finding = misplaced(offset, 1);
        finding.provoked = Some(Provoked::Fault(Fault {
            operation: 1,
            operations: 1,
            kind: kind.to_owned(),
            step: String::new(),
            extent: Extent::new(0, 512),
            how: String::new(),
            during: during.map(|number| (number, String::new())),
            is_in_flight: false,
            surfaced: None,
        }));
        finding
    }

    #[test]
    fn only_units_that_were_written_since_a_write_of_the_guest_failed_are_explained() {
        let known: Deviation = deviation(Some(Happened::WriteFailed));
        for (text, kind, during, offset, expected) in [
            ("write 0 512", "Write", Some(1), 0, true),
            ("write 0 512", "SetLen", Some(1), 4096, true),
            ("write 0 512\nwrite 64k 512", "Write", Some(1), 64 << 10, true),
            ("write 64k 512\nwrite 0 512", "Write", Some(2), 64 << 10, false),
            ("write 0 512", "Write", Some(1), 64 << 10, false),
            ("write 0 512", "Sync", Some(1), 0, false),
            ("write 0 512", "Write", None, 0, false),
            ("discard 0 64k\nwrite 0 512", "Write", Some(1), 0, false),
            ("flush\nwrite 0 512", "Write", Some(1), 0, false),
        ] {
            let finding = failed(kind, during, offset);
            let explained = known.explains(&finding, &scenario(text), UNIT);
            assert_eq!(explained, expected, "{text}: {kind} during {during:?}, at {offset}");
        }
        let crashed = misplaced(0, 1);
        assert!(!known.explains(&crashed, &scenario("write 0 512"), UNIT), "nothing has failed");
    }

    #[test]
    fn only_a_sync_that_failed_is_one() {
        let known = deviation(Some(Happened::SyncFailed));
        for (kind, expected) in [("Sync", true), ("Write", false)] {
            assert_eq!(known.explains(&failed(kind, Some(1), 0), &scenario("write 0 512"), UNIT), expected);
        }
    }
}
