//! For each condition, what it must explain and what it must not.

use blk_harness::Signature;
use blk_harness::finding::{Difference, Side};

use super::super::Happened;
use super::super::tests::{UNIT, deviation, followed_by, misplaced, scenario};
use super::*;

const REOPENED: &str = "in request #3 (read 0 512), by the reopen after the fault was cleared";
const CRASHED: &str = "in request #3 (flush), after a crash that follows the failed sync";
const LATER_OPEN: &str = "in request #3 (flush), by a second open after the flush";

/// Bytes that are wrong after operation `kind` on `extent` has failed during a request.
fn failed(kind: &str, extent: Extent, during: Option<u32>, how: &str) -> Finding {
    let mut finding = misplaced(0, 1);
    finding.provoked = Some(Provoked::Fault(Fault {
        operation: 1,
        operations: 1,
        kind: kind.to_owned(),
        step: String::new(),
        extent,
        how: how.to_owned(),
        during: during.map(|number| (number, String::new())),
        is_in_flight: false,
        surfaced: None,
        pending: Vec::new(),
    }));
    finding.noticed = LATER_OPEN.to_owned();
    finding
}

fn written(number: u32) -> Source {
    Source::Stamped { writer: Writer::Request(number), request: None, address: 0, is_here: true }
}

fn of(number: u32, address: u64) -> Source {
    Source::Stamped { writer: Writer::Request(number), request: None, address, is_here: false }
}

/// The same; `found` stands at `offset`, and `expected` should.
fn shows(finding: Finding, offset: u64, found: Source, expected: Source) -> Finding {
    let side = |source| Side { bytes: vec![1], source, sector: Vec::new() };
    let difference =
        Difference { compared: None, offset, expected: vec![side(expected)], found: side(found) };
    Finding { difference: Some(Box::new(difference)), ..finding }
}

fn explains(happened: Happened, finding: &Finding, text: &str) -> bool {
    deviation(Some(happened)).explains(finding, &scenario(text), UNIT)
}

const TABLE: Extent = Extent { offset: 512, length: 512 };
const ONCE: &str = "EIO before any effect, once";
const LASTS: &str = "ENOSPC after half of it, from then on";
const FOLLOW_UP: u32 = FOLLOW_UPS.start;

#[test]
fn only_zeroes_in_a_new_unit_of_a_write_that_failed_are_a_lost_unit() {
    use Source::{Repeated, Zeroes};
    let known = Happened::NewUnitLost;
    for (text, during, how, offset, found, expected, explained) in [
        ("write 0 512\nwrite 0 512", 1, ONCE, 0, Zeroes, written(2), true),
        ("write 0 512", 1, ONCE, 0, Zeroes, written(1), true),
        ("write 0 512", 1, ONCE, 4096, Zeroes, written(FOLLOW_UP), true),
        ("write 0 512\nwrite -P 7 4k 512", 1, ONCE, 4096, Zeroes, Repeated(7), true),
        ("write 0 512\nwrite 64k 512", 1, LASTS, 64 << 10, Zeroes, written(2), true),
        ("write 0 512\nwrite 64k 512", 1, ONCE, 64 << 10, Zeroes, written(2), false),
        ("write 0 512", 1, ONCE, 64 << 10, Zeroes, written(FOLLOW_UP), false),
        ("write 0 512", 1, ONCE, 0, written(1), Zeroes, false),
        ("write 0 512", 1, ONCE, 0, of(FOLLOW_UP, 64 << 10), written(1), false),
        ("write 0 512\nwrite 4k 512", 2, ONCE, 0, Zeroes, written(1), false),
        ("write 0 512\nwrite 4k 512", 2, ONCE, 4096, Zeroes, written(2), false),
        ("write -z 0 512\nwrite 4k 512", 2, ONCE, 4096, Zeroes, written(2), false),
        ("write -z -n 0 512\nwrite 4k 512", 2, ONCE, 4096, Zeroes, written(2), true),
        ("write 0 1M\nwrite 4k 512", 2, ONCE, 4096, Zeroes, written(2), true),
        ("write 512 0\nwrite 4k 512", 2, ONCE, 4096, Zeroes, written(2), true),
        ("write 0 511\nwrite 4k 512", 2, ONCE, 4096, Zeroes, written(2), true),
        ("discard 0 64k\nwrite 0 512", 1, ONCE, 0, Zeroes, written(2), false),
        ("flush\nwrite 0 512", 1, ONCE, 0, Zeroes, written(2), false),
        ("write 0 512", 1, ONCE, 0, Zeroes, Zeroes, false),
    ] {
        let finding = shows(failed("Write", TABLE, Some(during), how), offset, found, expected);
        let told = format!("{text}: {how} during {during}, at {offset} {found}, not {expected}");
        assert_eq!(explains(known, &finding, text), explained, "{told}");
    }
}

#[test]
fn only_what_is_shown_by_a_later_open_is_lost_with_what_was_in_memory() {
    let lost = || shows(failed("Write", TABLE, Some(1), ONCE), 0, Source::Zeroes, written(2));
    for (noticed, text, number, explained) in [
        (LATER_OPEN, "write 0 512\nwrite 0 512", 3, true),
        ("in request #8388608 (flush), by the reopen at the end", "write 0 512\nwrite 0 512", 0, true),
        (REOPENED, "write 0 512\nwrite 0 512\nread 0 512", 3, true),
        ("in request #4 (reopen)", "write 0 512\nwrite 0 512", 4, true),
        (CRASHED, "write 0 512\nwrite 0 512", 3, true),
        ("in request #3 (read 0 512)", "write 0 512\nwrite 0 512\nread 0 512", 3, false),
        ("in request #4 (read 0 512)", "write 0 512\nwrite 0 512\nkill\nread 0 512", 4, true),
        ("in request #3 (read 0 512)", "write 0 512\nwrite 0 512\nread 0 512\nkill", 3, false),
    ] {
        let finding = Finding { noticed: noticed.to_owned(), request_number: number, ..lost() };
        assert_eq!(explains(Happened::NewUnitLost, &finding, text), explained, "{noticed}: {text}");
    }
    let text = "write 0 512\nwrite 0 512";
    for (followed, explained) in [("reopen\nread 0 512", true), ("flush\nread 0 512", false)] {
        let followed_up = Finding { noticed: "in request #8388608 (flush)".to_owned(), ..lost() };
        let finding = followed_by(followed_up, followed);
        assert_eq!(explains(Happened::NewUnitLost, &finding, text), explained, "{followed}");
    }
    for (kind, explained) in [("Sync", true), ("Write", false)] {
        let finding = shows(failed(kind, TABLE, Some(1), ONCE), 0, Source::Zeroes, written(2));
        let noticed = "in request #8388608 (flush), with the fault gone".to_owned();
        let finding = Finding { noticed, ..finding };
        assert_eq!(explains(Happened::NewUnitLost, &finding, text), explained, "{kind}");
    }
    let crashed = misplaced(0, 1);
    assert!(!explains(Happened::NewUnitLost, &crashed, "write 0 512"), "nothing has failed");
    let words = Finding { difference: None, ..lost() };
    assert!(!explains(Happened::NewUnitLost, &words, "write 0 512\nwrite 0 512"), "no bytes are wrong");
    let in_lanes = shows(failed("Write", TABLE, None, ONCE), 0, Source::Zeroes, written(2));
    assert!(!explains(Happened::NewUnitLost, &in_lanes, "write 0 512\nwrite 0 512"));
}

#[test]
fn a_block_status_of_zeroes_is_explained_as_these_are() {
    for (text, number, explained) in [
        ("write 0 512\nwrite 0 512\nreopen\nmap 0 64k", 4, true),
        ("write 0 512\nwrite 0 512\nreopen\nmap 512 4k", 4, false),
        ("write 0 512\nwrite 0 512\nmap 0 64k", 3, false),
        ("write 0 512\nwrite 64k 512\nreopen\nmap 64k 512", 4, false),
        ("write 0 512\nwrite -z 4k 512\nreopen\nmap 4k 512", 4, false),
    ] {
        let request = scenario(text).requests[number as usize - 1];
        let told = Finding::new(Signature::Status { claim: "zero" }, "wrong").noticed_by(number, request);
        let provoked = failed("Write", TABLE, Some(1), ONCE).provoked;
        let finding = Finding { provoked, ..told };
        assert_eq!(explains(Happened::NewUnitLost, &finding, text), explained, "{text}");
    }
}

#[test]
fn zeroes_give_no_place_where_a_format_has_units_of_zeroes() {
    let finding = shows(failed("Write", TABLE, Some(2), ONCE), 4096, Source::Zeroes, written(2));
    for (text, explained) in [("write -z 0 64k\nwrite 4k 512", true), ("write 0 512\nwrite 4k 512", false)] {
        assert_eq!(explains(Happened::NewDataUnitLost, &finding, text), explained, "{text}");
    }
}

#[test]
fn only_a_write_of_the_table_one_unit_into_the_image_loses_all_of_it() {
    for (at, offset, expected, explained) in [
        (UNIT, 0, written(1), true),
        (UNIT, 64 << 10, written(FOLLOW_UP), true),
        (2 * UNIT, 0, written(1), false),
        (0, 0, written(1), false),
        (UNIT, 0, written(0), false),
    ] {
        let finding = failed("Write", Extent::new(at, 512), Some(1), ONCE);
        let finding = shows(finding, offset, Source::Zeroes, expected);
        assert_eq!(
            explains(Happened::FirstTableLost, &finding, "write 0 512"),
            explained,
            "{at}: {offset}, {expected}"
        );
    }
}

#[test]
fn only_a_log_that_failed_loses_new_units_that_were_written_later() {
    let text = "write 0 512\nwrite 64k 512";
    for (kind, extent, during, offset, explained) in [
        ("Sync", Extent::new(0, 0), 2, 64 << 10, true),
        ("Sync", Extent::new(0, 0), 2, 0, false),
        ("Len", Extent::new(0, 0), 2, 64 << 10, true),
        ("SetLen", Extent::new(0, 0), 2, 64 << 10, false),
        ("Write", Extent::new(1 << 20, 4096), 2, 64 << 10, true),
        ("Read", Extent::new(64 << 10, 4096), 2, 64 << 10, true),
        ("Write", Extent::new(0, 512), 2, 64 << 10, false),
        ("Write", Extent::new(8 << 20, 512), 2, 64 << 10, false),
        ("Sync", Extent::new(0, 0), 1, 64 << 10, true),
    ] {
        let expected = written(FOLLOW_UP + 1);
        let finding = shows(failed(kind, extent, Some(during), ONCE), offset, Source::Zeroes, expected);
        let known = explains(Happened::LogUnwritten, &finding, text);
        assert_eq!(known, explained, "{kind} of {extent:?} during {during}, at {offset}");
    }
    let old = shows(failed("Sync", TABLE, Some(2), ONCE), 64 << 10, Source::Zeroes, written(3));
    assert!(!explains(Happened::LogUnwritten, &old, "write 0 512\nwrite 4k 512"), "no log is needed");
}

#[test]
fn only_two_new_units_share_their_place_after_a_write_of_one_that_failed() {
    use Source::{Repeated, Unknown, Zeroes};
    let known = Happened::NewUnitShared;
    let both = "write 0 512\nwrite 64k 512";
    for (text, during, offset, found, explained) in [
        (both, 1, 0, of(2, 64 << 10), true),
        (both, 1, 64 << 10, of(FOLLOW_UP, 0), true),
        (both, 1, 128 << 10, of(FOLLOW_UP, 192 << 10), false),
        (both, 2, 0, of(2, 64 << 10), false),
        (both, 1, 0, of(2, 4096), false),
        (both, 1, 0, written(2), false),
        (both, 2, 64 << 10, of(1, 128 << 10), false),
        ("write 0 512\nwrite -P 7 64k 512", 1, 0, Repeated(7), true),
        ("write 0 512\nwrite -P 8 64k 512", 1, 0, Repeated(7), false),
        ("write 0 512\nwrite -P 7 4k 512", 1, 0, Repeated(7), false),
        ("write -P 7 64k 512\nwrite 0 512", 2, 0, Repeated(7), false),
        (both, 1, 0, Zeroes, false),
        ("write 0 512\nwrite -z 64k 512", 1, 0, Zeroes, true),
        ("write 0 512\nwrite -z 65k 512", 1, 0, Zeroes, false),
        ("write 64k 512\nwrite 0 512\nwrite -z 64k 512", 2, 0, Zeroes, false),
        ("write 0 512\nwrite 64k 3", 1, 0, Unknown, true),
        ("write 0 512\nwrite 65k 3", 1, 0, Unknown, false),
    ] {
        let finding = shows(failed("Write", TABLE, Some(during), ONCE), offset, found, written(1));
        assert_eq!(
            explains(known, &finding, text),
            explained,
            "{text}: during {during}, {offset} has {found}"
        );
    }
}

#[test]
fn only_the_data_of_the_write_that_failed_appears_later() {
    use Source::{Repeated, Unknown, Zeroes};
    let known = Happened::FailedWriteAppears;
    let entry = Extent::new(11_264, 4);
    for (text, during, kind, extent, offset, found, explained) in [
        ("write 0 512", 1, "Write", entry, 0, written(1), true),
        ("write -P 7 0 512", 1, "Write", entry, 0, Repeated(7), true),
        ("write -P 8 0 512", 1, "Write", entry, 0, Repeated(7), false),
        ("write 0 1", 1, "Write", entry, 0, Repeated(7), true),
        ("write 0 4k", 1, "Write", entry, 0, Unknown, false),
        ("write 0 512\nwrite -z 0 64k", 2, "Write", entry, 0, Zeroes, true),
        ("write 0 512\nwrite -z 0 64k\nwrite 0 512", 3, "Write", entry, 0, written(3), true),
        ("write 0 512\nwrite -z 0 32k\nwrite 0 512", 3, "Write", entry, 0, written(3), false),
        ("write 0 512\nwrite -z 0 512", 2, "Write", entry, 0, Zeroes, false),
        ("write 0 512\nwrite 0 64k", 2, "Write", entry, 0, written(2), false),
        ("write 1 512", 1, "Write", entry, 1, Unknown, true),
        ("write 1 512", 1, "Write", entry, 512, Unknown, true),
        ("write 1 1024", 1, "Write", entry, 512, Unknown, false),
        ("write 0 1", 1, "Write", entry, 0, Unknown, true),
        ("write -z 0 64k", 1, "Write", entry, 0, Zeroes, true),
        ("write 0 512", 1, "Write", entry, 0, Zeroes, false),
        ("write 0 512", 1, "Write", entry, 0, written(2), false),
        ("write 0 512", 1, "Write", entry, 4096, written(1), false),
        ("write 0 512", 1, "Write", Extent::new(11_264, 512), 0, written(1), false),
        ("write 0 512", 1, "Sync", entry, 0, written(1), false),
        ("write 0 512\nwrite 4k 512", 2, "Write", entry, 4096, written(2), false),
        ("write 0 512\nwrite 4k 512", 1, "Write", entry, 0, written(1), false),
        ("write 0 512\nwrite 64k 512", 1, "Write", entry, 0, written(1), true),
    ] {
        let finding = shows(failed(kind, extent, Some(during), ONCE), offset, found, Zeroes);
        let told = format!("{text}: {kind} of {extent:?} during {during}, {offset} has {found}");
        assert_eq!(explains(known, &finding, text), explained, "{told}");
    }
    let lasts = shows(failed("Write", entry, Some(1), LASTS), 0, written(1), Source::Zeroes);
    assert!(explains(known, &lasts, "write 0 512\nwrite 4k 512"), "the second one has failed too");
    let discarded = shows(failed("Write", entry, Some(1), ONCE), 0, written(1), Zeroes);
    assert!(explains(known, &discarded, "write 0 512\ndiscard 4k 4k"), "a discard writes no entry");
    let followed =
        followed_by(shows(failed("Write", entry, Some(1), ONCE), 0, written(1), Zeroes), "write 0 512");
    assert!(!explains(known, &followed, "write 0 512"), "it was written again");
}

#[test]
fn only_what_a_lost_unit_held_appears_once_another_part_of_it_is_written() {
    use Source::{Repeated, Unknown, Zeroes};
    let known = Happened::LostUnitAppears;
    let both = "write 0 512\nwrite 4k 512";
    for (text, during, offset, found, followed, explained) in [
        (both, 1, 4096, written(2), "reopen\nwrite 0 512", true),
        (both, 1, 4096, written(2), "reopen\nwrite -z 0 512", true),
        (both, 1, 4096, written(2), "write 0 512", false),
        (both, 1, 4096, written(2), "reopen\nread 0 512", false),
        (both, 1, 4096, written(2), "reopen\nwrite 64k 512", false),
        (both, 2, 4096, written(2), "reopen\nwrite 0 512", false),
        (both, 1, 4096, of(2, 64 << 10), "reopen\nwrite 0 512", false),
        (both, 1, 4096, Zeroes, "reopen\nwrite 0 512", false),
        ("write 0 512\nwrite -P 7 4k 512", 1, 4096, Repeated(7), "reopen\nwrite 0 512", true),
        ("write 0 512\nwrite -P 8 4k 512", 1, 4096, Repeated(7), "reopen\nread 0 512", false),
        ("write 0 512\nwrite 4k 3", 1, 4096, Unknown, "reopen\nwrite 0 512", true),
        ("write 0 512\nwrite 64k 512", 1, 64 << 10, written(2), "reopen\nwrite 68k 512", false),
    ] {
        let finding = shows(failed("Sync", TABLE, Some(during), ONCE), offset, found, Zeroes);
        let finding = followed_by(Finding { noticed: String::new(), ..finding }, followed);
        let told = format!("{text}: during {during}, {offset} has {found}, then {followed}");
        assert_eq!(explains(known, &finding, text), explained, "{told}");
    }
}

#[test]
fn only_units_that_were_given_back_before_a_sync_failed_lose_the_order() {
    let known = Happened::FreedThenSyncFailed;
    for (text, kind, during, explained) in [
        ("discard 64k 64k\nwrite 0 64k", "Sync", 2, true),
        ("write -z -u 64k 64k\nwrite 0 64k", "Sync", 2, true),
        ("write -z 64k 64k\nwrite 0 64k", "Sync", 2, false),
        ("config compat=0.10\nwrite -z 64k 64k\nwrite 0 64k", "Sync", 2, true),
        ("discard 64k 64k\nread 0 512\nwrite 0 64k", "Sync", 1, true),
        ("discard 64k 64k\nread 0 512\nwrite 0 64k", "Sync", 2, true),
        ("read 0 512\ndiscard 64k 64k\nwrite 0 64k", "Sync", 1, true),
        ("discard 64k 64k\nread 0 512\nread 0 512\nwrite 0 64k", "Sync", 1, false),
        ("discard 64k 64k\nwrite 0 64k", "Write", 2, false),
        ("discard 64k 64k\nflush\nwrite 0 64k", "Sync", 3, false),
        ("discard 64k 32k\nwrite 0 64k", "Sync", 2, false),
        ("discard 32k 64k\nwrite 0 64k", "Sync", 2, false),
        ("write 0 64k\ndiscard 64k 64k", "Sync", 2, false),
        ("discard 64k 64k\nread 0 64k", "Sync", 2, false),
        ("write 0 64k", "Sync", 1, false),
    ] {
        for (source, is_of_elsewhere) in
            [(of(1, 64 << 10), true), (Source::Unknown, true), (written(1), false), (Source::Zeroes, false)]
        {
            let finding = shows(failed(kind, TABLE, Some(during), ONCE), 0, source, Source::Zeroes);
            let told = format!("{text}: {kind} during {during}, {source}");
            assert_eq!(explains(known, &finding, text), explained && is_of_elsewhere, "{told}");
        }
        let words = Finding { difference: None, ..failed(kind, TABLE, Some(during), ONCE) };
        assert_eq!(explains(known, &words, text), explained, "{text}: {kind} during {during}");
    }
    let in_lanes = failed("Sync", TABLE, None, ONCE);
    assert!(!explains(known, &in_lanes, "discard 64k 64k\nwrite 0 64k"));
}

#[test]
fn only_a_sync_that_failed_is_one() {
    for (kind, expected) in [("Sync", true), ("Write", false)] {
        let finding = failed(kind, TABLE, Some(1), ONCE);
        assert_eq!(explains(Happened::SyncFailed, &finding, "write 0 512"), expected);
    }
}
