//! Sessions over disks that are open already: quiet on right ones, and not on a wrong one, with one thread
//! and with several.

use std::time::{Duration, Instant};

use blk_harness::driver::Driver;
use blk_harness::scenario::{Config, Fill, Repair, Request};
use blk_harness::session::{ReplayEnd, Session, SessionOptions};
use blk_harness::testing::{Bug, FlatTarget};
use blk_harness::watch::Deadline;

fn session(target: FlatTarget, options: SessionOptions) -> Session {
    let config = Config { size_bytes: 1 << 20, ..Config::default() };
    Session::new(target.bench(&config).unwrap(), options)
}

#[test]
fn right_disks_are_left_in_peace() {
    for jobs in [1, 4] {
        let options = SessionOptions { jobs, ..SessionOptions::default() };
        let mut session = session(FlatTarget(Bug::None), options);
        session.compare().unwrap();
        for _ in 0..3 {
            session.round(2000, &|| false).unwrap();
        }
        let counts = session.counts();
        assert!(counts.requests() >= 6000, "{counts:?}");
        assert!(counts.accepted() * 10 > counts.requests() * 8, "{counts:?}");
        assert!(counts.bytes_compared() > 3 << 20, "{counts:?}");
    }
}

#[test]
fn a_wrong_disk_is_found() {
    let bugs = [
        (Bug::LostTailAfterDiscard, "contents mismatch"),
        (Bug::DiscardGarbage, "contents mismatch"),
        (Bug::Panics, "panicked"),
        (Bug::StatusLies, "claims zero"),
    ];
    for (bug, word) in bugs {
        for jobs in [1, 4] {
            let options = SessionOptions { jobs, ..SessionOptions::default() };
            let mut session = session(FlatTarget(bug), options);
            let found = (0..20).find_map(|_| session.round(2000, &|| false).err());
            let report = found.unwrap_or_else(|| panic!("{bug:?} with {jobs} threads is not found")).report();
            assert!(report.contains(word), "{bug:?}: {report}");
            // One thread's requests find it again, in the same order.
            let history = session.history().unwrap();
            assert!(!history.requests.is_empty());
            if jobs == 1 {
                let mut again = self::session(FlatTarget(bug), SessionOptions::default());
                let found = again.replay(&history.requests, ReplayEnd::LastRequest).unwrap_err();
                assert_eq!(found.report(), report, "{bug:?}");
            }
        }
    }
}

#[test]
fn a_session_stops_when_it_is_told_and_reads_only_if_that_was_asked() {
    let options = SessionOptions { read_only: true, ..SessionOptions::default() };
    let mut quiet = session(FlatTarget(Bug::None), options);
    quiet.round(u64::MAX, &|| true).unwrap();
    assert_eq!(quiet.counts().requests(), 0);
    quiet.round(500, &|| false).unwrap();
    let made = quiet.history().unwrap().requests;
    assert!(quiet.counts().requests() >= 500 && made.len() >= 400, "{}", made.len());
    let changes = |request: &Request| {
        !matches!(
            request,
            Request::Read { .. } | Request::Status { .. } | Request::Check { .. } | Request::Reopen { .. }
        )
    };
    assert!(!made.iter().any(changes));
}

#[test]
fn a_replay_ends_at_a_deadline_whatever_it_does() {
    let all = vec![Request::Read { offset: 0, length: 1 << 20 }; 2_000_000];
    for jobs in [1, 3] {
        let mut replayed =
            session(FlatTarget(Bug::None), SessionOptions { jobs, ..SessionOptions::default() });
        let begun = Instant::now();
        // Long enough for a first request on a busy machine.
        let deadline = Deadline::at(begun + Duration::from_secs(1));
        assert!(deadline.run(|| replayed.replay(&all, ReplayEnd::WholeDisk)).is_none());
        let (made, took) = (replayed.counts().requests(), begun.elapsed());
        assert!(
            (1..all.len() as u64).contains(&made) && took < Duration::from_secs(10),
            "{made} in {took:?}"
        );
    }
}

#[test]
fn a_replay_makes_what_the_trace_says() {
    let write = Request::Write { offset: 512, length: 1024, fill: Fill::Stamp, fua: false };
    let read = Request::Read { offset: 0, length: 4096 };
    let mut replayed = session(FlatTarget(Bug::None), SessionOptions::default());
    replayed
        .replay(
            &[write, Request::Reopen { kill: false }, read, Request::Check { repair: Repair::None }, read],
            ReplayEnd::WholeDisk,
        )
        .unwrap();
    assert_eq!(replayed.counts().accepted(), 5);
    // More than a transfer may have is refused, not allocated.
    replayed.replay(&[Request::Read { offset: 0, length: u64::MAX }], ReplayEnd::LastRequest).unwrap();
    assert_eq!(replayed.counts().accepted(), 5);
}
