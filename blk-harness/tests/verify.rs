//! The verifier over drivers with planted bugs: each kind of finding, its report, and what follows it.

#![expect(clippy::needless_raw_string_hashes, reason = "as expect-test writes them")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use blk_core::{Access, DiscardFlags, Disk, Error, Extent, WriteFlags, ZeroFlags};
use blk_harness::generate::{Generator, Limits};
use blk_harness::scenario::{Config, RequestKind, Scenario};
use blk_harness::space::PLAIN;
use blk_harness::testing::{Bug, CANARY, Flat, FlatTarget};
use blk_harness::{Engine, Outcome, RunOptions};
use blk_verify::report::OriginClass;
use blk_verify::stamp;
use blk_verify::{Policy, Signature, Verify};
use expect_test::{Expect, expect};

const SIZE: u64 = 1 << 20;

fn pair(bug: Bug, policy: Policy) -> Disk {
    let verify =
        Verify::new(Flat::open(SIZE, Bug::None).unwrap(), Flat::open(SIZE, bug).unwrap(), policy).unwrap();
    Disk::new(verify, Access::ReadWrite)
}

fn stamped(offset: u64, length: usize, number: u32) -> Vec<u8> {
    let mut data = vec![0; length];
    stamp::fill(&mut data, offset, number);
    data
}

/// Runs a trace on a driver with a bug; returns the finding's report.
fn report_of(bug: Bug, requests: &str) -> String {
    let scenario = Scenario::from_text(&format!("blk-scenario 1\n{requests}")).unwrap();
    match Engine::new(RunOptions::default()).run(&FlatTarget(bug), &scenario) {
        Outcome::Finding(finding) => finding.report(),
        other => panic!("{bug:?}: {other:?}"),
    }
}

fn check(bug: Bug, requests: &str, expected: &Expect) {
    expected.assert_eq(&report_of(bug, requests));
}

#[test]
fn a_misplaced_write_names_where_it_came_from() {
    check(
        Bug::Shifted,
        "write 0 4k\nwrite 8k 4k\nread 8k 1k",
        &expect![[r#"
            blkverify: read offset=8192 bytes=1024 contents mismatch at offset 8192 (sector 16)
              request:   #3 read 8k 1k
              differing: 576 of 1024 compared bytes, in 2 sectors
              expected:  00002000: d2 6d 3c 5a e1 94 c3 a5 d3 6d 3c 5a e1 94 c3 a5  what request #2 (write 8k 4k) wrote to sector 16
              found:     00002000: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  zeroes
        "#]],
    );
}

#[test]
fn data_of_another_place_is_named() {
    let report = report_of(Bug::Shifted, "write 0 4k\nwrite 0 4k\nread 512 1k");
    assert!(
        report.contains("found")
            && report.contains("what request #2 (write 0 4k) wrote to sector 0 (offset 0)"),
        "{report}"
    );
}

#[test]
fn every_other_kind_of_finding_is_told_apart() {
    check(
        Bug::DiscardGarbage,
        "discard 0 512",
        &expect![[r#"
            blkverify: discard offset=0 bytes=512 contents mismatch at offset 0 (sector 0)
              request:   #1 discard 0 512
              differing: 512 of 512 compared bytes, in 1 sector
              expected:  00000000: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  zeroes
              found:     00000000: db db db db db db db db db db db db db db db db  the byte 0xdb, repeated
        "#]],
    );
    check(
        Bug::ReadFails,
        "read 1048064 512",
        &expect![[r#"
            blkverify: read offset=1048064 bytes=512 failed on the disk under test alone: corrupt planted bug at image offset 0xffe00: the last sector cannot be read
              request:   #1 read 1048064 512
        "#]],
    );
    check(
        Bug::StatusLies,
        "write 0 512\nmap 0 4k",
        &expect![[r#"
            blkverify: map offset=0 bytes=4096 claims zero bytes at Extent { offset: 0, length: 4096 } where the content differs from that at offset 0
              request:   #2 map 0 4k
        "#]],
    );
    let panicked = report_of(Bug::Panics, "write 512 1536");
    let [what, said, place, noticed] = panicked.lines().collect::<Vec<_>>()[..] else { panic!("{panicked}") };
    assert_eq!((what, said), ("blkverify: the driver panicked", "  planted panic at 512"));
    let (file, line) = place.split_once(".rs:").expect("a place in a file");
    assert!(file.starts_with("  at ") && line.parse::<u32>().is_ok(), "{place}");
    assert_eq!(noticed, "  noticed:   in or after request #1 (write 512 1536)");
    let grown = report_of(Bug::ResizeShowsOld, "truncate 1049088");
    assert!(grown.contains("comparison of the whole disk") && grown.contains("sector 2048"), "{grown}");
}

#[test]
fn after_a_mismatch_the_default_policy_refuses_everything() {
    let disk = pair(Bug::Shifted, Policy::Fail);
    disk.write(0, &stamped(0, 512, 1), WriteFlags::default()).unwrap();
    assert!(matches!(disk.read(0, &mut [0; 512]), Err(Error::Mismatch { .. })));
    assert!(matches!(disk.flush(), Err(Error::Poisoned { .. })));
}

#[test]
fn the_reporting_policy_goes_on_with_what_the_reference_says() {
    let (reference, test) = (Flat::open(SIZE, Bug::None).unwrap(), Flat::open(SIZE, Bug::Shifted).unwrap());
    let verify = Verify::new(reference, test, Policy::Report).unwrap();
    let journal = Arc::clone(verify.journal());
    let disk = Disk::new(verify, Access::ReadWrite);
    let data = stamped(0, 512, 1);
    disk.write(0, &data, WriteFlags::default()).unwrap();
    let mut read = [0; 512];
    disk.read(0, &mut read).unwrap();
    assert_eq!(read[..], data);
    assert_eq!(journal.findings().len(), 1);
    let Signature::Content { request, found, expected } = &journal.findings()[0].signature else { panic!() };
    assert_eq!(
        (*request, *found, *expected),
        (Some(RequestKind::Read), OriginClass::Zeroes, OriginClass::Written)
    );
}

#[test]
fn the_aborting_policy_calls_its_hook() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let hook = Policy::Abort(Arc::new(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
    }));
    let disk = pair(Bug::Shifted, hook);
    disk.write(0, &stamped(0, 512, 1), WriteFlags::default()).unwrap();
    assert!(disk.read(0, &mut [0; 512]).is_err());
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[test]
fn a_verifier_nests_in_a_verifier() {
    for (inner_bug, found) in [(Bug::None, false), (Bug::SmallZeroesIgnored, true)] {
        let inner = Arc::new(pair(inner_bug, Policy::Fail));
        let outer = Verify::new(Flat::open(SIZE, Bug::None).unwrap(), inner, Policy::Fail).unwrap();
        let disk = Disk::new(outer, Access::ReadWrite);
        disk.write(0, &stamped(0, 4096, 1), WriteFlags::default()).unwrap();
        disk.write_zeroes(Extent::new(10, 20), ZeroFlags::default()).unwrap();
        assert_eq!(disk.read(0, &mut [0; 4096]).is_err(), found, "{inner_bug:?}");
    }
}

#[test]
fn disks_of_different_sizes_are_refused() {
    let (a, b) = (Flat::open(512, Bug::None).unwrap(), Flat::open(513, Bug::None).unwrap());
    assert!(matches!(Verify::new(a, b, Policy::Fail), Err(Error::Mismatch { .. })));
}

#[test]
fn threads_that_overlap_find_nothing_on_right_disks() {
    let disk = pair(Bug::None, Policy::Fail);
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let disk = &disk;
            scope.spawn(move || {
                for round in 0..300u64 {
                    let offset = round * 7919 % (SIZE - 8192);
                    disk.write(offset, &stamped(offset, 5000, thread + 1), WriteFlags::default()).unwrap();
                    disk.read(offset, &mut [0; 6000]).unwrap();
                    disk.discard(Extent::new(offset, 700), DiscardFlags::default()).unwrap();
                }
            });
        }
    });
}

#[test]
fn the_generator_finds_the_canary_and_nothing_in_a_right_driver() {
    let mut engine = Engine::new(RunOptions::default());
    let found = Generator::new(&PLAIN, 1, Limits::default()).take(20_000).find_map(|scenario| {
        let outcome = engine.run(&CANARY, &scenario);
        outcome.finding().cloned()
    });
    assert!(found.is_some(), "the canary's bug was not found");
    for scenario in Generator::new(&PLAIN, 2, Limits::default()).take(500) {
        assert_eq!(engine.run(&FlatTarget(Bug::None), &scenario), Outcome::Clean, "{scenario}");
    }
}

#[test]
fn a_disk_that_is_too_large_is_refused_and_not_made() {
    let scenario =
        Scenario { config: Config { size_bytes: 1 << 60, ..Config::default() }, ..Scenario::default() };
    let outcome = Engine::new(RunOptions::default()).run(&FlatTarget(Bug::None), &scenario);
    assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
}

#[test]
fn a_request_of_an_absurd_length_allocates_nothing() {
    let requests = "blk-scenario 1\nread 0 16383P\nwrite 1 9223372036854775807\ndiscard 0 1E\nread 0 512";
    let scenario = Scenario::from_text(requests).unwrap();
    assert_eq!(Engine::new(RunOptions::default()).run(&FlatTarget(Bug::None), &scenario), Outcome::Clean);
}
