//! Conditions of an image that was left without a close, and opened again: by a kill, by a crash, or because
//! of a failure of its storage.

use blk_harness::finding::{Difference, Provoked, Source};
use blk_harness::journal::Entry;
use blk_harness::scenario::{Request, Scenario};
use blk_harness::stamp::Writer;
use blk_harness::{Finding, RequestKind};

use super::fault::is_opened_since;
use super::{changes, disk_bytes, is_filled, is_taken, is_write, made, noticed, units_of};

/// The numbers of requests with which the image was left without a close, up to the finding.
fn unclean(finding: &Finding, scenario: &Scenario) -> Vec<u32> {
    // What is noticed by no request is noticed at the end, or after it.
    let last = finding.request.map_or(u32::MAX, |(number, _)| number);
    let kills = (1..)
        .zip(&scenario.requests)
        .filter(|(number, request)| *number <= last && matches!(request, Request::Reopen { kill: true }));
    let mut unclean: Vec<u32> = kills.map(|(number, _)| number).collect();
    match &finding.provoked {
        Some(Provoked::Crash(crash)) => unclean.push(crash.during.map_or(0, |(number, _)| number)),
        // One read that fails is enough: QEMU's NBD server closes the connection.
        Some(Provoked::Fault(fault)) => unclean.extend(fault.during.as_ref().map(|(number, _)| *number)),
        _ => {}
    }
    unclean.sort_unstable();
    unclean
}

pub(super) fn is_killed_twice(finding: &Finding, scenario: &Scenario) -> bool {
    let unclean = unclean(finding, scenario);
    let is_written = |first: u32, last: u32| {
        made(finding, scenario)
            .any(|(number, entry)| first < number && number <= last && is_write(entry.kind()))
    };
    // After a failure an image is opened a second time while the first handle has it.
    let last = matches!(finding.provoked, Some(Provoked::Fault(_))).then_some(u32::MAX);
    let ends: Vec<u32> = unclean.into_iter().chain(last).collect();
    ends.windows(2).any(|ends| is_written(ends[0], ends[1]))
}

pub(super) fn is_killed_then_freed(finding: &Finding, scenario: &Scenario) -> bool {
    // Data that are found to be zeroes are zeroes.
    let finds_zeroes =
        scenario.config.options.get("detect-zeroes").is_some_and(|value| value.to_string() == "on");
    let is_freeing = |entry: Entry| match entry.kind() {
        RequestKind::Discard | RequestKind::WriteZeroes => true,
        RequestKind::Write => finds_zeroes,
        _ => false,
    };
    !unclean(finding, scenario).is_empty() && noticed(finding).is_some_and(|(_, entry)| is_freeing(entry))
}

pub(super) fn is_shared(finding: &Finding, scenario: &Scenario, unit_bytes: u64) -> bool {
    let (Some(difference), Some(first)) = (&finding.difference, unclean(finding, scenario).first().copied())
    else {
        return false;
    };
    if matches!(finding.provoked, Some(Provoked::Fault(_))) && !is_opened_since(finding, scenario, first) {
        return false;
    }
    let shows = difference.offset / unit_bytes;
    let writes = || made(finding, scenario).filter(|(_, entry)| is_write(entry.kind()));
    let touches = |entry: &Entry, unit: u64| {
        entry.extent().is_some_and(|extent| units_of(extent, unit_bytes).contains(&unit))
    };
    // A crash names the request that it came in, and what follows it was made too.
    let noticed = finding.request.filter(|_| finding.followed.is_empty());
    let last = noticed.map_or(u32::MAX, |(number, _)| number);
    let mut since = writes().filter(|(number, _)| first < *number && *number <= last);
    match difference.found.source {
        Source::Stamped { writer: Writer::Request(_), address, is_here: false, .. } => {
            let other = address / unit_bytes;
            other != shows && since.any(|(_, entry)| touches(&entry, shows) || touches(&entry, other))
        }
        Source::Repeated(byte) => since.any(|(number, entry)| {
            is_filled(scenario, (number, entry), byte) && reaches_place(&entry, difference, unit_bytes)
        }),
        Source::Unknown => since.any(|(_, entry)| reaches_place(&entry, difference, unit_bytes)),
        Source::Zeroes => since.any(|(number, entry)| {
            let is_new = |unit: u64| !has_place(finding, scenario, (unit, unit_bytes), number);
            let units = entry.extent().map(|extent| units_of(extent, unit_bytes)).unwrap_or_default();
            let is_zero = is_filled(scenario, (number, entry), 0);
            units.into_iter().any(|unit| unit != shows && is_new(unit))
                && (is_zero || !reaches_place(&entry, difference, unit_bytes))
        }),
        Source::Stamped { .. } | Source::PastEnd => false,
    }
}

/// Whether a unit had data before request `number`, and was not zeroed or discarded as a whole since.
pub(super) fn has_place(
    finding: &Finding,
    scenario: &Scenario,
    (unit, unit_bytes): (u64, u64),
    number: u32,
) -> bool {
    let start = unit * unit_bytes;
    let end = (start + unit_bytes).min(disk_bytes(scenario));
    let before = made(finding, scenario).filter(|(before, _)| *before < number);
    before.fold(false, |has_place, (_, entry)| {
        let Some(extent) = changes(&entry) else { return has_place };
        let is_whole = extent.offset <= start && end <= extent.end();
        match entry.kind() {
            RequestKind::WriteZeroes | RequestKind::Discard => has_place && !is_whole,
            _ => has_place || (is_taken(extent, scenario) && extent.offset < end && start < extent.end()),
        }
    })
}

/// Whether a request writes to the place of another unit that is at the difference in its own.
pub(super) fn reaches_place(entry: &Entry, difference: &Difference, unit_bytes: u64) -> bool {
    let (shows, at) = (difference.offset / unit_bytes, difference.offset % unit_bytes);
    entry.extent().is_some_and(|extent| {
        let mut others = units_of(extent, unit_bytes).filter(|unit| *unit != shows);
        others.any(|unit| {
            let place = unit * unit_bytes + at;
            extent.offset <= place && place < extent.end()
        })
    })
}

#[cfg(test)]
mod tests {
    use blk_core::Extent;
    use blk_harness::Signature;
    use blk_harness::finding::{Crash, Fault};

    use super::super::Happened;
    use super::super::tests::{UNIT, deviation, followed_by, misplaced, scenario};
    use super::*;

    fn by_fault(kind: &str, during: u32, finding: Finding) -> Finding {
        let fault = Fault {
            operation: 1,
            operations: 1,
            kind: kind.to_owned(),
            step: String::new(),
            extent: Extent::new(0, 512),
            how: String::new(),
            during: Some((during, String::new())),
            is_in_flight: false,
            surfaced: None,
            pending: Vec::new(),
        };
        Finding { provoked: Some(Provoked::Fault(fault)), ..finding }
    }

    fn by_crash(during: u32, finding: Finding) -> Finding {
        let during_number = during;
        let during = Some((during, Request::Flush.into()));
        let crash = Crash { during, operation: 1, pending: Vec::new() };
        Finding {
            provoked: Some(Provoked::Crash(crash)),
            ..finding.noticed_by(during_number, Request::Flush)
        }
    }

    fn repeated() -> Finding {
        let mut finding = misplaced(0, 1);
        finding.difference.as_mut().unwrap().found.source = Source::Repeated(7);
        finding
    }

    fn wrong() -> Finding {
        Finding::new(Signature::Size, "wrong")
    }

    #[test]
    fn only_what_was_written_after_a_kill_is_shared_by_it() {
        let known = deviation(Some(Happened::KilledThenShared));
        let stamped = misplaced(0, 1).difference.unwrap().found.source;
        for (source, text, expected) in [
            (stamped, "write 64k 512\nkill\nwrite 0 512", true),
            (stamped, "write 0 512\nkill\nwrite 64k 512", true),
            (stamped, "write 0 512\nkill\nread 64k 512", false),
            (stamped, "write 64k 512\nreopen\nwrite 0 512", false),
            (stamped, "write 64k 512\nwrite 0 512\nkill", false),
            (Source::Repeated(7), "kill\nwrite -P 7 64k 512", true),
            (Source::Repeated(7), "kill\nwrite -P 7 66k 512", false),
            (Source::Repeated(7), "kill\nwrite -P 8 64k 512", false),
            (Source::Repeated(7), "kill\nwrite -P 7 4k 512", false),
            (Source::Repeated(7), "write -P 7 64k 512\nkill", false),
            (Source::Zeroes, "write 0 512\nkill\nwrite 66k 512", true),
            (Source::Zeroes, "write 0 512\nkill\nwrite 64k 512", false),
            (Source::Zeroes, "write 0 512\nkill\nwrite -z 64k 512", true),
            (Source::Zeroes, "write 0 512\nkill\nwrite -P 0 64k 512", true),
            (Source::Zeroes, "write 66k 512\nkill\nwrite 66k 512", false),
            (Source::Zeroes, "write -z 64k 64k\nkill\nwrite 66k 512", true),
            (Source::Zeroes, "write 64k 64k\ndiscard 64k 64k\nkill\nwrite 66k 512", true),
            (Source::Zeroes, "write 64k 64k\ndiscard 64k 32k\nkill\nwrite 66k 512", false),
            (Source::Zeroes, "write 64k 64k\nkill\ndiscard 64k 64k\nwrite 66k 512", true),
            (Source::Zeroes, "write 64k 511\nkill\nwrite 66k 512", true),
            (Source::Zeroes, "kill\nwrite 4k 512", false),
            (Source::Unknown, "kill\nwrite 64k 512", true),
            (Source::Unknown, "kill\nwrite 66k 512", false),
            (Source::Unknown, "kill\ndiscard 64k 512", false),
            (Source::PastEnd, "kill\nwrite 64k 512", false),
        ] {
            let mut finding = misplaced(0, 1);
            finding.difference.as_mut().unwrap().found.source = source;
            assert_eq!(known.explains(&finding, &scenario(text), UNIT), expected, "{source}: {text}");
        }
        assert!(!known.explains(&wrong(), &scenario("kill\nwrite 64k 512"), UNIT), "no bytes are wrong");
    }

    #[test]
    fn a_failure_or_a_crash_leaves_an_image_unclean_too() {
        let known = deviation(Some(Happened::KilledThenShared));
        let text = scenario("write 0 512\nwrite 64k 512\nwrite 64k 64k\nwrite 128k 64k");
        let opened = |finding| Finding { noticed: "by the reopen at the end".to_owned(), ..finding };
        let zeroes = || {
            let mut finding = misplaced(0, 1);
            finding.difference.as_mut().unwrap().found.source = Source::Zeroes;
            finding
        };
        for (finding, expected) in [
            (opened(by_fault("Write", 1, misplaced(0, 1))), true),
            (by_fault("Write", 1, misplaced(0, 1)), false),
            (by_fault("Write", 1, followed_by(misplaced(0, 1), "reopen\nread 0 512")), true),
            (opened(by_fault("Write", 4, misplaced(0, 1))), false),
            (opened(by_fault("Read", 1, misplaced(0, 1))), true),
            // What comes later in the scenario was not made of what a crash has left.
            (followed_by(by_crash(2, zeroes()), "read 0 512"), false),
            (followed_by(by_crash(2, zeroes()), "write 193k 512\nread 0 512"), true),
            (followed_by(by_crash(2, misplaced(0, 1)), "write 0 512"), true),
            (followed_by(by_crash(2, misplaced(0, 1)), "read 0 512"), false),
            (followed_by(by_crash(2, repeated()), "write 64k 512"), true),
            (followed_by(by_crash(2, repeated()), "write -z 64k 512"), false),
            (by_crash(2, repeated()), false),
        ] {
            assert_eq!(known.explains(&finding, &text, UNIT), expected, "{finding:?}");
        }
    }

    #[test]
    fn only_discards_and_zeroes_after_a_kill_are_explained_by_it() {
        let known = deviation(Some(Happened::KilledThenFreed));
        for (text, expected) in [
            ("kill\ndiscard 64k 512", true),
            ("kill\nwrite -z 64k 512", true),
            ("kill\nwrite 64k 512", false),
            ("config detect-zeroes=on\nkill\nwrite -P 0 64k 512", true),
            ("config detect-zeroes=on\nkill\nread 64k 512", false),
            ("reopen\ndiscard 64k 512", false),
        ] {
            let scenario = scenario(text);
            let finding = wrong().noticed_by(2, scenario.requests[1]);
            assert_eq!(known.explains(&finding, &scenario, UNIT), expected, "{text}");
        }
        let later = scenario("discard 64k 512\nkill");
        let finding = wrong().noticed_by(1, later.requests[0]);
        assert!(!known.explains(&finding, &later, UNIT), "the kill came after it");
        let text = scenario("write 0 512");
        for (followed, expected) in [("discard 0 512", true), ("discard 0 512\nread 0 512", false)] {
            let finding = by_fault("Sync", 1, followed_by(wrong(), followed));
            assert_eq!(known.explains(&finding, &text, UNIT), expected, "{followed}");
        }
        let freed = scenario("discard 0 512");
        let crashed = |finding| by_crash(1, finding).noticed_by(1, freed.requests[0]);
        assert!(
            !known.explains(&crashed(wrong()), &freed, UNIT),
            "the crash came in it, nothing was made after"
        );
        assert!(known.explains(&crashed(followed_by(wrong(), "discard 0 512")), &freed, UNIT));
        assert!(
            !known.explains(&followed_by(wrong(), "discard 0 512"), &text, UNIT),
            "nothing was left unclean"
        );
    }

    #[test]
    fn only_a_second_kill_after_a_write_is_one_too_many() {
        let known = deviation(Some(Happened::KilledTwice));
        for (text, number, expected) in [
            ("write 0 512\nkill\nwrite 64k 512\nkill", 4, true),
            ("write 0 512\nkill\nread 64k 512\nkill", 4, false),
            ("write 0 512\nkill", 2, false),
            ("write 0 512\nkill\nwrite 64k 512\nreopen", 4, false),
            ("write 0 512\nkill\nwrite 64k 512\nkill", 3, false),
        ] {
            let scenario = scenario(text);
            let finding = wrong().noticed_by(number, scenario.requests[number as usize - 1]);
            assert_eq!(known.explains(&finding, &scenario, UNIT), expected, "{text}");
        }
        let killed = scenario("write 0 512\nkill\nwrite 64k 512");
        let crashed = |during| known.explains(&by_crash(during, wrong()), &killed, UNIT);
        assert!(crashed(3) && !crashed(1) && !crashed(2));
        let once = scenario("write 0 512");
        assert!(known.explains(&by_fault("Write", 1, followed_by(wrong(), "write 0 512")), &once, UNIT));
        assert!(!known.explains(&by_fault("Write", 1, wrong()), &once, UNIT), "nothing was written since");
    }
}
