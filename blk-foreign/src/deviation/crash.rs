//! Conditions of what a crash has lost, and kept.

use blk_core::Extent;
use blk_harness::finding::{Fate, Finding, Pending, Provoked, Source};
use blk_harness::scenario::{Request, Scenario};
use blk_harness::stamp::{FOLLOW_UPS, Writer};

use super::{changes, disk_bytes, is_freeing, makes_durable, units, units_of};

/// An entry of a table, bytes.
const ENTRY_BYTES: u64 = 4;
const SECTOR_BYTES: u64 = 512;

/// What a crash has made of operations, and the number of the request that had begun last; 0 before the
/// first. A failed sync may be followed by a crash.
fn crashed(finding: &Finding) -> Option<(&[Pending], usize)> {
    match &finding.provoked {
        Some(Provoked::Crash(crash)) => {
            Some((&crash.pending, crash.during.map_or(0, |(number, _)| number as usize)))
        }
        Some(Provoked::Fault(fault)) if !fault.pending.is_empty() => {
            Some((&fault.pending, finding.request_number as usize))
        }
        _ => None,
    }
}

/// Changes of the guest that a crash may have lost, the last one first.
fn in_doubt<'a>(
    finding: &'a Finding,
    scenario: &'a Scenario,
    begun: usize,
) -> impl Iterator<Item = &'a Request> {
    // Another sync that has failed made nothing durable.
    let failed = match &finding.provoked {
        Some(Provoked::Fault(fault)) => fault.during.as_ref().map_or(0, |(number, _)| *number as usize),
        _ => 0,
    };
    let before = scenario.requests.iter().enumerate().take(begun).rev();
    // What is in flight at the crash may be the flush itself.
    let in_doubt = before.enumerate().take_while(move |(back, (index, request))| {
        *back == 0 || index + 1 == failed || !makes_durable(request)
    });
    in_doubt.map(|(_, (_, request))| request).filter(|request| request.kind().changes_content())
}

pub(super) fn is_entry_past_end(finding: &Finding, scenario: &Scenario, unit_bytes: u64) -> bool {
    let Some((pending, begun)) = crashed(finding) else { return false };
    let is_entry = |(at, entry): (usize, &Pending)| {
        let is_short = entry.extent.length == ENTRY_BYTES;
        is_short && entry.fate == Fate::Persisted && loses_end(&pending[..at])
    };
    pending.iter().enumerate().any(is_entry) && is_shared(finding, scenario, begun, unit_bytes)
}

/// Whether data of a request after the crash may stand where it does because two addresses share a unit, one
/// of which was written before the crash.
fn is_shared(finding: &Finding, scenario: &Scenario, begun: usize, unit_bytes: u64) -> bool {
    let Some(difference) = &finding.difference else { return false };
    let shows = difference.offset / unit_bytes;
    let is_doubted = |unit: u64| {
        in_doubt(finding, scenario, begun).any(|request| units(request, unit_bytes).contains(&unit))
    };
    match difference.found.source {
        Source::Stamped { writer: Writer::Request(writer), address, is_here: false, .. }
            if FOLLOW_UPS.contains(&writer) =>
        {
            is_doubted(shows) || is_doubted(address / unit_bytes)
        }
        Source::Stamped { .. } | Source::PastEnd => false,
        Source::Zeroes | Source::Repeated(_) | Source::Unknown => {
            let since = finding.followed.iter().filter_map(|(_, entry)| changes(entry));
            let mut others =
                since.flat_map(|extent| units_of(extent, unit_bytes)).filter(|unit| *unit != shows);
            if is_doubted(shows) { others.next().is_some() } else { others.any(is_doubted) }
        }
    }
}

pub(super) fn is_mark_and_end_lost(finding: &Finding, scenario: &Scenario) -> bool {
    let Some((pending, begun)) = crashed(finding) else { return false };
    if in_doubt(finding, scenario, begun).next().is_none() {
        return false;
    }
    let Some(mark) = pending.iter().position(is_lost_first_sector) else { return false };
    let later = &pending[mark + 1..];
    later.iter().enumerate().any(|(at, pending)| is_kept_table(pending) && loses_end(&later[..at]))
}

pub(super) fn is_count_lost(finding: &Finding, scenario: &Scenario, unit_bytes: u64) -> bool {
    let Some((pending, begun)) = crashed(finding) else { return false };
    let Some(count) = pending.iter().position(is_lost_first_sector) else { return false };
    pending[count + 1..].iter().any(is_kept_table) && is_shared(finding, scenario, begun, unit_bytes)
}

/// Whether data stands where it may stand if a unit that was written before the crash shares its place.
pub(super) fn shows_shared(finding: &Finding, scenario: &Scenario, unit_bytes: u64) -> bool {
    crashed(finding).is_some_and(|(_, begun)| is_shared(finding, scenario, begun, unit_bytes))
}

pub(super) fn is_lazy_unit_lost(finding: &Finding, scenario: &Scenario, unit_bytes: u64) -> bool {
    let (Some((pending, begun)), Some(difference)) = (crashed(finding), &finding.difference) else {
        return false;
    };
    let is_lazy =
        scenario.config.options.get("lazy_refcounts").is_some_and(|value| value.to_string() == "on");
    let start = difference.offset / unit_bytes * unit_bytes;
    let end = (start + unit_bytes).min(disk_bytes(scenario));
    let is_lost_unit = |pending: &Pending| {
        pending.fate != Fate::Persisted && range(pending).is_some_and(|extent| extent.length >= end - start)
    };
    let lost = pending.iter().position(is_lost_unit);
    let keeps_entry =
        lost.is_some_and(|lost| pending[lost + 1..].iter().any(|later| later.fate == Fate::Persisted));
    let is_whole = |request: &Request| {
        let (from, length) = request.range().unwrap_or_default();
        matches!(request, Request::Write { .. }) && from <= start && end <= from.saturating_add(length)
    };
    let mut before = scenario.requests.iter().take(begun);
    let is_old = !matches!(difference.found.source, Source::Zeroes | Source::PastEnd);
    is_lazy
        && is_old
        && keeps_entry
        && before.any(|request| is_freeing(request, scenario))
        && in_doubt(finding, scenario, begun).any(is_whole)
}

fn is_lost_first_sector(pending: &Pending) -> bool {
    pending.fate != Fate::Persisted && range(pending).is_some_and(|extent| extent.offset == 0)
}

/// Whether whole sectors behind the first one were written and kept.
fn is_kept_table(pending: &Pending) -> bool {
    let is_whole = |extent: Extent| {
        extent.offset > 0
            && extent.offset.is_multiple_of(SECTOR_BYTES)
            && extent.end().is_multiple_of(SECTOR_BYTES)
    };
    pending.fate == Fate::Persisted && range(pending).is_some_and(is_whole)
}

/// Whether of some operations none has kept its end that reaches as far as any of them.
fn loses_end(pending: &[Pending]) -> bool {
    let end_max = pending.iter().filter_map(range).map(Extent::end).max();
    let keeps_end = |pending: &Pending| {
        let is_last = range(pending).map(Extent::end) == end_max;
        is_last
            && match &pending.fate {
                Fate::Persisted => true,
                Fate::Lost => false,
                Fate::Torn(lost) => lost.iter().all(|lost| Some(lost.end()) != end_max),
            }
    };
    end_max.is_some() && !pending.iter().any(keeps_end)
}

/// The bytes of an operation; none of a change of the length.
fn range(pending: &Pending) -> Option<Extent> {
    Some(pending.extent).filter(|extent| !extent.is_empty())
}

#[cfg(test)]
mod tests {
    use blk_harness::Signature;
    use blk_harness::finding::{Crash, Difference, Fault, Side};

    use super::super::Happened;
    use super::super::tests::{UNIT, deviation, followed_by, misplaced, scenario};
    use super::*;

    fn after_crash(pending: Vec<(Fate, String)>) -> Finding {
        let mut finding = Finding::new(Signature::Size, "wrong");
        let pending = pending.into_iter().map(|(fate, operation)| Pending {
            fate,
            extent: extent_of(&operation).unwrap_or_default(),
            operation,
        });
        finding.provoked = Some(Provoked::Crash(Crash {
            during: Some((1, Request::Flush.into())),
            operation: 4,
            pending: pending.collect(),
        }));
        finding
    }

    /// The bytes of `operation 4: write 13824..13828`.
    fn extent_of(operation: &str) -> Option<Extent> {
        let (start, end) = operation.split_whitespace().find_map(|word| word.split_once(".."))?;
        Some(Extent::between(start.parse().ok()?, end.parse().ok()?))
    }

    fn lost(operation: &str) -> (Fate, String) {
        (Fate::Lost, operation.to_owned())
    }

    fn kept(operation: &str) -> (Fate, String) {
        (Fate::Persisted, operation.to_owned())
    }

    fn torn(operation: &str, lost: std::ops::Range<u64>) -> (Fate, String) {
        (Fate::Torn(vec![Extent::new(lost.start, lost.end - lost.start)]), operation.to_owned())
    }

    #[test]
    fn only_a_table_that_outlived_the_mark_and_what_it_refers_to_is_a_lost_mark() {
        let known = deviation(Some(Happened::MarkAndEndLost));
        let (mark, data) = ("operation 3: write 0..512", "operation 4: write 589824..655360");
        let table = "operation 5: write 327680..328192";
        for (pending, expected) in [
            (vec![lost(mark), lost(data), kept(table)], true),
            (vec![lost(mark), torn(data, 647_168..655_360), kept(table)], true),
            (vec![lost(mark), torn(data, 589_824..647_168), kept(table)], false),
            (vec![lost(mark), kept(data), kept(table)], false),
            (vec![lost(mark), lost(data), lost(table)], false),
            (vec![kept(mark), lost(data), kept(table)], false),
            (vec![lost(data), lost(mark), kept(table)], false),
            (vec![lost(mark), kept(table), lost(data)], false),
            (vec![lost(mark), kept(table)], false),
            (vec![lost(mark), lost(data), kept("operation 5: write 327680..327688")], false),
        ] {
            let text = format!("{pending:?}");
            let finding = after_crash(pending);
            assert_eq!(known.explains(&finding, &scenario("write 0 512"), UNIT), expected, "{text}");
            assert!(
                !known.explains(&finding, &scenario("flush\nwrite 0 512"), UNIT),
                "{text}: nothing in doubt"
            );
        }
    }

    /// Data that a request after the crash wrote for `address`, or of which that is not known, at `offset`.
    fn shared(pending: Vec<(Fate, String)>, offset: u64, address: Option<u64>) -> Finding {
        let found = misplaced(offset, FOLLOW_UPS.start + 3).difference.unwrap();
        let source = match found.found.source {
            Source::Stamped { writer, request, is_here, .. } if address.is_some() => {
                Source::Stamped { writer, request, address: address.unwrap_or_default(), is_here }
            }
            _ => Source::Unknown,
        };
        let difference = Difference { found: Side { source, ..found.found }, ..*found };
        let mut finding = Finding { difference: Some(Box::new(difference)), ..after_crash(pending) };
        let Some(Provoked::Crash(crash)) = &mut finding.provoked else { unreachable!("it was crashed") };
        crash.during = Some((2, Request::Flush.into()));
        finding
    }

    const DATA: &str = "operation 3: write 65536..131072";
    const ENTRY: &str = "operation 4: write 13824..13828 (table)";

    #[test]
    fn only_an_entry_that_outlived_the_end_that_it_refers_to_is_past_the_end() {
        let known = deviation(Some(Happened::EntryPastEnd));
        let more = "operation 2: write 131072..196608";
        for (pending, expected) in [
            (vec![lost(DATA), kept(ENTRY)], true),
            (vec![kept(more), lost(DATA), kept(ENTRY)], false),
            (vec![lost(more), kept(DATA), kept(ENTRY)], true),
            (vec![torn(DATA, 120_000..131_072), kept(ENTRY)], true),
            (vec![torn(DATA, 65_536..120_000), kept(ENTRY)], false),
            (vec![kept(ENTRY), lost(DATA)], false),
            (vec![kept(DATA), kept(ENTRY)], false),
            (vec![lost(DATA), lost(ENTRY)], false),
            (vec![lost(DATA), kept("operation 4: write 13824..13832")], false),
            (vec![lost(DATA), kept("operation 4: truncate to 512")], false),
        ] {
            let text = format!("{pending:?}");
            let finding = shared(pending, 0, Some(UNIT));
            assert_eq!(known.explains(&finding, &scenario("write 0 512\nflush"), UNIT), expected, "{text}");
        }
    }

    #[test]
    fn a_unit_whose_table_outlived_the_mark_is_shared_with_one_that_is_written_after_the_crash() {
        let known = deviation(Some(Happened::MarkAndEndLostShared));
        let pending = || {
            let (mark, data) = ("operation 3: write 0..512", "operation 4: write 589824..655360");
            vec![lost(mark), lost(data), kept("operation 5: write 327680..328192")]
        };
        for (offset, address, text, expected) in [
            (0, Some(UNIT), "write 0 512\nflush", true),
            (UNIT, Some(0), "write 0 512\nflush", true),
            (UNIT, Some(3 * UNIT), "write 0 512\nflush", false),
            (0, Some(UNIT), "flush\nread 0 512", false),
        ] {
            let finding = shared(pending(), offset, address);
            assert_eq!(known.explains(&finding, &scenario(text), UNIT), expected, "{offset}: {text}");
        }
        let kept_mark = shared(pending()[1..].to_vec(), 0, Some(UNIT));
        assert!(!known.explains(&kept_mark, &scenario("write 0 512\nflush"), UNIT));
    }

    #[test]
    fn only_a_table_that_outlived_the_count_shares_units() {
        let known = deviation(Some(Happened::CountLost));
        let (header, table) = ("operation 3: write 0..512", "operation 4: write 512..1024");
        for (pending, expected) in [
            (vec![lost(header), kept(table)], true),
            (vec![torn("operation 2: write 1024..1049600", 1024..132_096), lost(header), kept(table)], true),
            (vec![kept(header), kept(table)], false),
            (vec![lost(header), lost(table)], false),
            (vec![kept(table), lost(header)], false),
            (vec![lost(header), kept("operation 4: write 512..516")], false),
            (vec![lost(DATA), kept(table)], false),
        ] {
            let text = format!("{pending:?}");
            let finding = shared(pending, 0, Some(UNIT));
            assert_eq!(known.explains(&finding, &scenario("write 0 512\nflush"), UNIT), expected, "{text}");
            let other = scenario("read 0 512\nflush");
            assert!(!known.explains(&finding, &other, UNIT), "{text}: nothing in doubt");
        }
    }

    #[test]
    fn only_a_whole_unit_whose_entry_outlived_its_data_shows_what_was_there() {
        let known = deviation(Some(Happened::LazyUnitLost));
        let requests = "write 0 64k\nwrite -z -u 0 64k\nflush\nwrite 0 64k\nflush";
        let lazy = format!("config lazy_refcounts=on\n{requests}");
        let entry = "operation 4: write 262144..327680";
        let made = |pending: Vec<(Fate, String)>, text: &str| {
            let mut finding = Finding { difference: misplaced(4096, 1).difference, ..after_crash(pending) };
            let Some(Provoked::Crash(crash)) = &mut finding.provoked else { unreachable!("it was crashed") };
            crash.during = Some((5, Request::Flush.into()));
            known.explains(&finding, &scenario(text), UNIT)
        };
        for (pending, expected) in [
            (vec![lost(DATA), kept(entry)], true),
            (vec![torn(DATA, 70_000..131_072), kept(entry)], true),
            (vec![kept(DATA), kept(entry)], false),
            (vec![kept(entry), lost(DATA)], false),
            (vec![lost(DATA), lost(entry)], false),
            (vec![lost("operation 3: write 65536..66048"), kept(entry)], false),
        ] {
            let text = format!("{pending:?}");
            assert_eq!(made(pending, &lazy), expected, "{text}");
        }
        for text in [
            requests,
            "config lazy_refcounts=on\nwrite 0 64k\nread 0 64k\nflush\nwrite 0 64k\nflush",
            "config lazy_refcounts=on\nwrite 0 64k\ndiscard 0 64k\nflush\nwrite 0 32k\nflush",
            "config lazy_refcounts=on\nwrite 0 64k\ndiscard 0 64k\nwrite 0 64k\nflush\nflush\nread 0 1",
        ] {
            assert!(!made(vec![lost(DATA), kept(entry)], text), "{text}");
        }
    }

    #[test]
    fn only_data_after_the_crash_at_what_was_written_before_it_is_shared() {
        let known = deviation(Some(Happened::EntryPastEnd));
        let pending = || vec![lost(DATA), kept(ENTRY)];
        let explains = |finding: &Finding, text| known.explains(finding, &scenario(text), UNIT);
        for (offset, address, text, expected) in [
            (0, Some(UNIT), "write 0 512\nwrite 0 512", true),
            (UNIT, Some(0), "write 0 512\nwrite 0 512", true),
            (UNIT, Some(512), "write 0 512\nread 0 512", true),
            (UNIT, Some(0), "flush\nwrite 0 512", true),
            (UNIT, Some(0), "write 0 512\nflush", true),
            (UNIT, Some(0), "flush\nread 0 512\nwrite 0 512", false),
            (UNIT, Some(3 * UNIT), "write 0 512\nflush", false),
            (UNIT, Some(0), "read 0 512\nflush", false),
        ] {
            let finding = shared(pending(), offset, address);
            assert_eq!(explains(&finding, text), expected, "{offset}, {address:?}: {text}");
        }
        for (offset, text, followed, expected) in [
            (0, "write 0 512\nflush", "write 64k 512", true),
            (0, "write 0 512\nflush", "write 0 512", false),
            (0, "write 0 512\nflush", "read 64k 512", false),
            (UNIT, "write 0 512\nflush", "write 0 512", true),
            (UNIT, "write 0 512\nflush", "write 64k 512", false),
            (UNIT, "read 0 512\nflush", "write 0 512\nwrite 64k 512", false),
        ] {
            let finding = followed_by(shared(pending(), offset, None), followed);
            assert_eq!(explains(&finding, text), expected, "no stamp at {offset}: {text}, then {followed}");
        }
        let write = "write 0 512\nflush";
        let before = Finding { difference: misplaced(0, 1).difference, ..shared(pending(), 0, Some(UNIT)) };
        assert!(!explains(&before, write), "what was written before the crash has never been past its end");
        let words = Finding { difference: None, ..shared(pending(), 0, Some(UNIT)) };
        assert!(!explains(&words, write), "no bytes are wrong");
    }

    #[test]
    fn a_crash_that_follows_a_failed_sync_is_one() {
        let known = deviation(Some(Happened::EntryPastEnd));
        let finding = |pending: Vec<(Fate, String)>| {
            let crashed = shared(pending, UNIT, Some(0));
            let Some(Provoked::Crash(crash)) = crashed.provoked else { unreachable!("it was crashed") };
            let fault = Fault {
                operation: 1,
                operations: 1,
                kind: "Sync".to_owned(),
                step: String::new(),
                extent: Extent::new(0, 0),
                how: String::new(),
                during: Some((2, String::new())),
                is_in_flight: false,
                surfaced: None,
                pending: crash.pending,
            };
            Finding { provoked: Some(Provoked::Fault(fault)), request_number: 3, ..crashed }
        };
        for (text, expected) in [
            ("write 0 512\nflush\nread 0 512", true),
            ("flush\nwrite 0 512\nread 0 512", true),
            ("write 64k 512\nflush\nread 0 512", true),
            ("read 64k 512\nflush\nread 0 512", false),
        ] {
            let known = known.explains(&finding(vec![lost(DATA), kept(ENTRY)]), &scenario(text), UNIT);
            assert_eq!(known, expected, "{text}");
        }
        let text = scenario("write 0 512\nflush\nread 0 512");
        assert!(!known.explains(&finding(vec![kept(DATA), kept(ENTRY)]), &text, UNIT));
        assert!(!known.explains(&finding(Vec::new()), &text, UNIT), "nothing was crashed");
    }
}
