use blk_core::{CheckReport, Finding, MemoryStorage, Severity, Storage as _};
use blk_sim::fault::EIO;
use blk_sim::{Fault, Settings};

use super::record::share_a_unit;
use super::*;
use crate::scenario::{Fill, Repair};
use crate::statistics::Tally;

const SIZE: u64 = 16 << 10;
const UNIT: u64 = 1024;

/// A checker of a disk of zeroes whose first operation of the storage fails.
fn checker() -> (Checker, Arc<Host>) {
    let initial = Arc::new(MemoryStorage::new());
    let model = Model::new(initial, SIZE, UNIT, true);
    let operation = blk_core::storage::Operation::Write;
    let effect = blk_core::storage::Effect::None;
    let fault = Fault { at: 0, operation, errno: EIO, effect, sticky: false };
    let host = Arc::new(Host::new(MemoryStorage::new(), Settings::failing(Some(fault), UNIT)));
    let geometry = Geometry { unit_bytes: UNIT, alignment_bytes: 1, ..Geometry::default() };
    (Checker::new(Arc::new(Journal::new()), model, Arc::clone(&host), geometry, 2), host)
}

fn write(offset: u64, length: u64) -> Request {
    Request::Write { offset, length, fill: Fill::Byte(7), fua: false }
}

fn make(checker: &Checker, request: Request, replied: Result<Reply, Error>) -> Ended {
    checker.begin(0, None, request, Turn::default());
    checker.end(0, SIZE, replied)
}

/// The storage fails once.
fn fail(host: &Host) {
    host.watch(true);
    assert!(host.write_at(0, &[1; 512]).is_err());
    host.watch(false);
}

fn promise(kept: Kept) -> Option<Promise> {
    kept.err().map(|violation| violation.promise)
}

fn io() -> Error {
    Error::io("write", 0, std::io::Error::from_raw_os_error(EIO))
}

#[test]
fn a_request_past_the_end_that_succeeds_is_noticed_and_one_that_is_refused_is_not() {
    let beyond = Error::OutOfRange { offset: SIZE, length: 512, size: SIZE };
    let (checker, _) = checker();
    assert_eq!(make(&checker, write(SIZE, 512), Err(beyond)), Ended::Refused);
    assert_eq!(promise(checker.take_violation()), None);
    make(&checker, write(SIZE - 511, 512), Ok(Reply::Done));
    assert_eq!(promise(checker.take_violation()), Some(Promise::Answers));
    let (checker, _) = self::checker();
    let zeroes = vec![Extent::new(0, 512)];
    make(&checker, Request::Status { offset: SIZE, length: 512 }, Ok(Reply::Zeroes(zeroes)));
    assert_eq!(promise(checker.take_violation()), Some(Promise::Answers));
}

#[test]
fn zeroes_are_claimed_where_they_may_be() {
    let (checker, _) = checker();
    make(&checker, write(1024, 512), Ok(Reply::Done));
    let status = |from: u64, to: u64| {
        let request = Request::Status { offset: 0, length: 4096 };
        make(&checker, request, Ok(Reply::Zeroes(vec![Extent::between(from, to)])));
        promise(checker.take_violation())
    };
    assert_eq!((status(0, 1024), status(1536, 4096)), (None, None));
    for (from, to) in [(0, 1025), (1024, 1536), (1535, 4096), (0, 4096)] {
        assert_eq!(status(from, to), Some(Promise::Answers), "{from} {to}");
    }
}

#[test]
fn a_size_changes_by_a_resize_alone() {
    let (checker, _) = checker();
    checker.begin(0, None, Request::Flush, Turn::default());
    checker.end(0, SIZE + 512, Ok(Reply::Done));
    assert_eq!(promise(checker.take_violation()), Some(Promise::Size));
    for (found, replied, expected) in [
        (SIZE / 2, Ok(Reply::Done), None),
        (SIZE, Ok(Reply::Done), Some(Promise::Size)),
        (SIZE, Err(Error::unsupported("it")), None),
        (SIZE / 2 + 1, Err(io()), Some(Promise::Size)),
    ] {
        let (checker, _) = self::checker();
        checker.begin(0, None, Request::Resize { size: SIZE / 2 }, Turn::default());
        checker.end(0, found, replied);
        assert_eq!(promise(checker.take_violation()), expected, "{found}");
    }
}

/// What a check may find, without and with a failure before.
#[test]
fn a_failure_excuses_leaks_and_no_corruption() {
    let report = |severity, repaired| {
        let mut report = CheckReport::default();
        report.add(Finding { severity, offset: 0, message: "planted".to_owned(), repaired });
        report
    };
    let broken = CheckReport { check_errors: 1, ..CheckReport::default() };
    for (found, healthy, faulted) in [
        (CheckReport::default(), None, None),
        (report(Severity::Leak, false), Some(Promise::Answers), None),
        (report(Severity::Leak, true), Some(Promise::Answers), None),
        (report(Severity::Corruption, false), Some(Promise::Answers), Some(Promise::Consistent)),
        (report(Severity::Corruption, true), Some(Promise::Answers), None),
        (broken, Some(Promise::Answers), Some(Promise::Consistent)),
    ] {
        for (is_faulted, expected) in [(false, healthy), (true, faulted)] {
            let (checker, host) = checker();
            if is_faulted {
                fail(&host);
                checker.notice_failures();
            }
            make(&checker, Request::Check { repair: Repair::None }, Ok(Reply::Checked(found.clone())));
            assert_eq!(promise(checker.take_violation()), expected, "{is_faulted}: {found}");
        }
    }
}

#[test]
fn a_failure_is_excused_by_one_of_the_storage_until_that_is_made_up_for() {
    let (checker, _) = checker();
    assert_eq!(make(&checker, write(0, 512), Err(io())), Ended::InFlight, "not judged to the end");
    assert_eq!(promise(checker.take_violation()), Some(Promise::Answers));
    assert!(checker.condition().has_surfaced && !checker.condition().is_faulted);
    let (checker, _) = self::checker();
    let poisoned = || Error::Poisoned { cause: "planted".to_owned() };
    make(&checker, Request::Flush, Err(poisoned()));
    assert_eq!(promise(checker.take_violation()), Some(Promise::Answers), "nothing has failed");
    let (checker, host) = self::checker();
    checker.begin(0, None, write(0, 512), Turn::default());
    fail(&host);
    assert_eq!(checker.failures(), 1);
    assert_eq!(checker.end(0, SIZE, Err(io())), Ended::Failed);
    assert_eq!(make(&checker, Request::Flush, Err(poisoned())), Ended::Failed);
    assert_eq!(promise(checker.take_violation()), None);
    assert!(checker.condition().is_poisoned && checker.condition().is_faulted);
    assert_eq!(checker.provoked(Promise::Opens), Promise::Opens);
    checker.forget_condition();
    assert_eq!((checker.failures(), checker.condition()), (0, Condition::default()));
    assert_eq!(checker.provoked(Promise::Opens), Promise::Answers);
    make(&checker, Request::Flush, Err(poisoned()));
    assert_eq!(promise(checker.take_violation()), Some(Promise::Answers), "that was made up for");
    checker.give_up();
    assert!(checker.condition().is_poisoned && checker.condition().has_surfaced);
}

/// So many clusters may have leaked.
#[test]
fn units_are_counted_until_a_flush_makes_them_durable() {
    let (checker, host) = checker();
    let touched = || checker.touched_by_requests();
    make(&checker, write(100, 512), Ok(Reply::Done));
    assert_eq!(touched(), 2, "one unit, and one more for what it moves");
    make(&checker, write(1000, 3000), Ok(Reply::Done));
    assert_eq!(touched(), 2 + 5);
    make(&checker, Request::Read { offset: 0, length: 8192 }, Ok(Reply::Done));
    assert_eq!(touched(), 7);
    host.watch(false);
    host.write_at(0, &[1; 3000]).unwrap();
    assert_eq!(checker.touched(), 7 + 3);
    make(&checker, Request::Flush, Ok(Reply::Done));
    assert_eq!((touched(), checker.touched()), (0, 0));
    make(&checker, write(0, 512), Ok(Reply::Done));
    make(&checker, Request::Flush, Err(io()));
    assert_eq!(touched(), 2, "a flush that fails makes nothing durable");
    let closings = checker.closings().len();
    checker.closed(checker.now());
    assert_eq!((touched(), checker.closings().len()), (0, closings + 1));
    // Once something has failed, what a later flush covers may have leaked before.
    let (checker, host) = self::checker();
    make(&checker, write(0, 512), Ok(Reply::Done));
    fail(&host);
    checker.notice_failures();
    make(&checker, Request::Flush, Ok(Reply::Done));
    assert_eq!((checker.touched_by_requests(), checker.touched()), (0, 2));
}

#[test]
fn what_is_closed_is_durable() {
    let (checker, _) = checker();
    make(&checker, write(0, 512), Ok(Reply::Done));
    let may_be_zero = |checker: &Checker| {
        let found = MemoryStorage::new();
        found.set_len(SIZE).unwrap();
        let judged = checker.model(|model, now| {
            model.judge_crash((&found, SIZE), now, &[], &blk_sim::Ranges::default()).unwrap()
        });
        judged.is_none()
    };
    assert!(may_be_zero(&checker));
    checker.closed(checker.now());
    assert!(!may_be_zero(&checker));
}

#[test]
fn requests_meet_where_they_are_in_flight_together() {
    let (checker, _) = checker();
    let first = checker.begin(0, None, write(0, 512), Turn::default());
    let second = checker.begin(1, None, write(512, 512), Turn::default());
    checker.end(0, SIZE, Ok(Reply::Done));
    checker.end(1, SIZE, Ok(Reply::Done));
    make(&checker, write(0, 512), Ok(Reply::Done));
    let met: Vec<Vec<u32>> = checker.records().iter().map(|record| record.met.clone()).collect();
    assert_eq!(met, [vec![second.number], vec![first.number], vec![]]);
    assert_eq!(checker.stats().get(Counter::Met), 2);
    assert_eq!(checker.stats().tallied(Tally::Overlaps, ["write", "write", ""]), 1);
}

#[test]
fn requests_share_a_unit_by_their_ranges() {
    for (one, other, expected) in [
        ((0, 1024), (1024, 1024), false),
        ((0, 1025), (1024, 1024), true),
        ((0, 1024), (1023, 1), true),
        ((3000, 10), (2048, 10), true),
        ((3000, 10), (3072, 10), false),
        ((0, 8192), (4096, 1), true),
    ] {
        let (one, other) = (write(one.0, one.1), write(other.0, other.1));
        assert_eq!(share_a_unit(&one, &other, UNIT), expected, "{one} {other}");
        assert_eq!(share_a_unit(&other, &one, UNIT), expected, "{other} {one}");
        assert!(share_a_unit(&one, &Request::Flush, UNIT) && share_a_unit(&Request::Flush, &other, UNIT));
    }
}

#[test]
fn a_failure_of_the_storage_is_noticed_without_a_request() {
    let (checker, host) = checker();
    checker.notice_failures();
    assert!(!checker.condition().is_faulted, "nothing has failed");
    fail(&host);
    checker.notice_failures();
    checker.notice_failures();
    assert!(checker.condition().is_faulted);
}

#[test]
fn what_is_no_request_is_excused_by_a_failure_since_it_began() {
    let (checker, host) = checker();
    let before = checker.failures();
    fail(&host);
    let after = checker.failures();
    assert_eq!((before, after), (0, 1));
    assert_eq!(promise(checker.excuse("closing the image", after, &io())), Some(Promise::Answers));
    assert_eq!(promise(checker.excuse("closing the image", before, &io())), None);
    // From then on the handle is one that has failed, and has to work for all that.
    assert_eq!(promise(checker.excuse("closing the image", after, &io())), Some(Promise::Works));
}

#[test]
fn the_first_request_that_fails_because_of_the_storage_is_the_one_that_surfaced_it() {
    let (checker, host) = checker();
    assert_eq!(make(&checker, write(0, 512), Ok(Reply::Done)), Ended::Done);
    assert_eq!(checker.surfaced(), None);
    for offset in [1024, 2048] {
        checker.begin(0, None, write(offset, 512), Turn::default());
        if offset == 1024 {
            fail(&host);
        }
        checker.end(0, SIZE, Err(io()));
    }
    assert_eq!(checker.surfaced(), Some((2, write(1024, 512))));
}
