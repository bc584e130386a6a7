//! The engine, its oracles and the soak over targets that misbehave: each kind of finding, and what is
//! counted.

#![expect(clippy::needless_raw_string_hashes, reason = "as expect-test writes them")]

#[expect(dead_code, reason = "shared with other tests")]
#[path = "../../blk-verify/tests/common/mod.rs"]
mod common;

use std::sync::Arc;

use blk_core::{Disk, Error, Severity, WriteFlags};
use blk_harness::driver::{Bench, Driver};
use blk_harness::engine::{Soak, SoakOptions};
use blk_harness::scenario::{Config, Scenario};
use blk_harness::statistics::{Counter, Tally};
use blk_harness::testing::{Bug, CANARY, Flat, FlatTarget};
use blk_harness::{Engine, Outcome, RunOptions};
use blk_verify::stamp;
use blk_verify::{Finding, Signature};
use common::{Way, rough};
use expect_test::{Expect, expect};

/// What goes wrong with the disks as such.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// The disk under test has a way of its own.
    Rough(Way),
    /// A fresh image does not open.
    FreshImageCorrupt,
    /// There is no room for a fresh image.
    NoRoom,
    /// Opening again fails.
    ReopenFails,
    /// Opening again shows a zeroed sector.
    ReopenLoses,
    /// The first sector of both disks is filled with 0xcd, and then that of the disk under test is zeroed.
    PlantedSector,
    /// Both hold the initial content of a backing file; that of the disk under test lies one sector off.
    InitialOff,
}

#[derive(Debug)]
struct TroubledTarget(Trouble);

#[derive(Debug)]
struct TroubledBench {
    reference: Arc<Disk>,
    test: Arc<Disk>,
    trouble: Trouble,
}

impl Driver for TroubledTarget {
    fn name(&self) -> &'static str {
        "troubled"
    }

    fn bench(&self, config: &Config) -> blk_core::Result<Box<dyn Bench>> {
        let size = config.size_bytes;
        let (reference, test) = (Flat::open(size, Bug::None)?, Flat::open(size, Bug::None)?);
        let way = if let Trouble::Rough(way) = self.0 { way } else { Way::Plain };
        let plain = WriteFlags::default();
        match self.0 {
            Trouble::FreshImageCorrupt => return Err(Error::corrupt("table", 0, "planted")),
            Trouble::NoRoom => return Err(Error::NoSpace { what: "planted".into() }),
            Trouble::PlantedSector => reference.write(0, &[0xcd; 512], plain)?,
            Trouble::InitialOff => {
                let mut data = vec![0; 8192];
                stamp::fill_initial(&mut data, 0, 1);
                reference.write(0, &data, plain)?;
                test.write(512, &data, plain)?;
                test.write(0, &data[..512], plain)?;
            }
            Trouble::Rough(_) | Trouble::ReopenFails | Trouble::ReopenLoses => {}
        }
        Ok(Box::new(TroubledBench { reference, test: rough(test, way), trouble: self.0 }))
    }
}

impl Bench for TroubledBench {
    fn reference(&self) -> Arc<Disk> {
        Arc::clone(&self.reference)
    }

    fn test(&self) -> Arc<Disk> {
        Arc::clone(&self.test)
    }

    fn reopen(&mut self) -> blk_core::Result<()> {
        match self.trouble {
            Trouble::ReopenFails => Err(Error::malformed("header", 4, "planted")),
            Trouble::ReopenLoses => self.test.write(1024, &[0; 512], WriteFlags::default()),
            _ => Ok(()),
        }
    }
}

fn run(trouble: Trouble, requests: &str) -> Outcome {
    let scenario = Scenario::from_text(&format!("blk-scenario 1\n{requests}")).unwrap();
    Engine::new(RunOptions::default()).run(&TroubledTarget(trouble), &scenario)
}

fn finding(trouble: Trouble, requests: &str) -> Finding {
    match run(trouble, requests) {
        Outcome::Finding(finding) => *finding,
        other => panic!("{trouble:?}: {other:?}"),
    }
}

fn check(trouble: Trouble, requests: &str, expected: &Expect) -> Signature {
    let finding = finding(trouble, requests);
    expected.assert_eq(&finding.report());
    finding.signature
}

#[test]
fn the_seeds_example() {
    check(
        Trouble::PlantedSector,
        "read 0 512",
        &expect![[r#"
        blkverify: read offset=0 bytes=512 contents mismatch at offset 0 (sector 0)
          request:   #1 read 0 512
          differing: 512 of 512 compared bytes, in 1 sector
          expected:  00000000: cd cd cd cd cd cd cd cd cd cd cd cd cd cd cd cd  the byte 0xcd, repeated
          found:     00000000: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  zeroes
    "#]],
    );
}

#[test]
fn initial_content_is_named() {
    check(
        Trouble::InitialOff,
        "read 0 8k",
        &expect![[r#"
            blkverify: read offset=0 bytes=8192 contents mismatch at offset 512 (sector 1)
              request:   #1 read 0 8k
              differing: 1152 of 8192 compared bytes, in 15 sectors
              expected:  00000200: 92 69 3c 5a e1 97 3c 5a 93 69 3c 5a e1 97 3c 5a  initial content of layer 1 below the disk, of sector 1
              found:     00000200: d2 69 3c 5a e1 97 3c 5a d3 69 3c 5a e1 97 3c 5a  initial content of layer 1 below the disk, of sector 0 (offset 0)
        "#]],
    );
}

#[test]
fn a_leak_and_a_corruption_are_told_apart_and_found_by_a_request_too() {
    let leak = Trouble::Rough(Way::CheckFinds(Severity::Leak));
    let signature = check(
        leak,
        "write 0 512",
        &expect![[r#"
            blkverify: the check of the image is not clean: Leak: cluster 7 has refcount 1, and 0 references
              leak at image offset 0x70000: cluster 7 has refcount 1, and 0 references
              0 corruptions (0 repaired), 1 leaks (0 repaired), 0 errors
        "#]],
    );
    assert_eq!(signature, finding(leak, "check").signature);
    let corruption = Trouble::Rough(Way::CheckFinds(Severity::Corruption));
    assert_ne!(signature, finding(corruption, "").signature);
}

#[test]
fn an_image_that_does_not_open_again_is_a_finding() {
    let signature = check(
        Trouble::ReopenFails,
        "write 0 512",
        &expect![[r#"
        blkverify: closing and reopening the image failed
          malformed header at image offset 0x4: planted
    "#]],
    );
    assert_eq!(signature, finding(Trouble::ReopenFails, "write 0 512\nreopen\nread 0 512").signature);
}

#[test]
fn what_is_lost_by_opening_again_is_found() {
    check(
        Trouble::ReopenLoses,
        "write 0 4k",
        &expect![[r#"
            blkverify: read offset=0 bytes=1048576 contents mismatch at offset 1024 (sector 2)
              request:   none: comparison of the whole disk
              differing: 512 of 8192 compared bytes, in 1 sector
              expected:  00000400: 52 69 3c 5a e1 97 c3 a5 53 69 3c 5a e1 97 c3 a5  what request #1 (write 0 4k) wrote to sector 2
              found:     00000400: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  zeroes
        "#]],
    );
}

#[test]
fn a_fresh_image_that_is_corrupt_is_a_finding_and_a_full_host_is_none() {
    let signature = finding(Trouble::FreshImageCorrupt, "read 0 512").signature;
    assert_eq!(signature, Signature::Failed { what: "making the disks", error: "Corrupt".to_owned() });
    assert!(matches!(run(Trouble::NoRoom, "read 0 512"), Outcome::Refused(_)));
}

#[test]
fn a_disk_of_coarse_alignment_and_a_size_that_is_no_multiple_of_it_is_compared() {
    for alignment in [512, 64 << 10] {
        let scenario = Scenario {
            config: Config { size_bytes: (200 << 10) + 1, ..Config::default() },
            requests: Scenario::from_text(
                "blk-scenario 1\nwrite 64k 64k\ndiscard 64k 64k\nread 0 128k\nread 1 1",
            )
            .unwrap()
            .requests,
            ..Scenario::default()
        };
        let mut engine = Engine::new(RunOptions::default());
        let outcome = engine.run(&TroubledTarget(Trouble::Rough(Way::Aligned(alignment))), &scenario);
        assert_eq!(outcome, Outcome::Clean);
        assert_eq!(engine.stats().get(Counter::Accepted), 3, "a misaligned read is refused");
    }
}

#[test]
fn a_request_over_two_clusters_counts_the_transition_of_both() {
    let mut engine = Engine::new(RunOptions::default());
    let scenario = Scenario::from_text("blk-scenario 1\nwrite 60k 8k\nwrite 0 64k").unwrap();
    assert_eq!(engine.run(&FlatTarget(Bug::None), &scenario), Outcome::Clean);
    let data = engine.stats().tallied(Tally::Kinds, ["data", "", ""]);
    assert_eq!(data, 2 * (2 + 1), "before and after, of two clusters and of one");
    assert_eq!(engine.stats().different(Tally::Transitions), 1);
}

fn soak(target: &dyn Driver, size_bytes: u64) -> blk_core::Result<Soak> {
    let config = Config { size_bytes, ..Config::default() };
    Soak::new(target, &config, SoakOptions { seed: 1, requests_per_round: 20_000 })
}

#[test]
fn a_soak_finds_the_canary_and_can_say_what_was_asked() {
    let mut soak = soak(&CANARY, 1 << 20).unwrap();
    let report = soak.round().unwrap_err().report();
    assert!(report.contains("contents mismatch"), "{report}");
    let last = soak.last_requests(20);
    assert_eq!(last.len(), 20);
    assert!(report.contains(&format!(" {}\n", last[19])), "{report}\n{last:?}");
}

#[test]
fn a_soak_finds_nothing_in_a_right_driver_and_reaches_the_last_sector() {
    for size in [4096, 4097, 1 << 20] {
        let mut soak = soak(&FlatTarget(Bug::None), size).unwrap();
        soak.round().unwrap();
        soak.round().unwrap();
        assert_eq!(soak.requests(), 40_000);
        let sectors_end = size / 512 * 512;
        let reached = soak
            .last_requests(20_000)
            .iter()
            .filter_map(blk_harness::scenario::Request::range)
            .any(|(o, l)| o + l == sectors_end);
        assert!(reached, "{size}");
    }
    assert!(soak(&FlatTarget(Bug::None), 4095).is_err());
}

#[test]
fn a_panic_during_a_soak_is_a_finding() {
    let found = soak(&FlatTarget(Bug::Panics), 1 << 20).unwrap().round().unwrap_err();
    assert!(matches!(found.signature, Signature::Panic { .. }), "{found:?}");
}
