//! What is found, as text and as JSON, by each engine. `UPDATE_EXPECT=1` writes the files anew.

use expect_test::expect_file;

use super::ledger::{self, Way};
use super::plain;
use super::{By, Planted, lanes, scenario};
use blk_harness::finding::{self, Finding, Provoked};
use blk_harness::promise::Promise;
use blk_harness::scenario::Scenario;

fn found(engine: By, target: Planted, requests: &str, lanes: u8) -> (Box<Finding>, Scenario) {
    let scenario = scenario(requests, lanes);
    let found = engine.run(target, &scenario);
    let finding = found.finding().unwrap_or_else(|| panic!("{engine:?}, {target:?}: {found:?}"));
    (Box::new(finding.clone()), scenario)
}

fn json((finding, scenario): &(Box<Finding>, Scenario)) -> String {
    let data = finding::to_json(finding, "planted", scenario);
    serde_json::to_string_pretty(&data).unwrap() + "\n"
}

#[test]
fn bytes_that_differ_from_the_reference() {
    let target = Planted::Plain(plain::Bug::WritesOneByteTooMany);
    let found = found(By::Requests, target, "write 0 4k\nwrite 1k 1k", 0);
    assert_eq!(found.0.engine, "sequence");
    expect_file!["findings/sequence.txt"].assert_eq(&found.0.report());
    expect_file!["findings/sequence.json"].assert_eq(&json(&found));
}

#[test]
fn a_crash_with_its_point_and_what_it_has_lost() {
    let target = Planted::Ledger(ledger::Bug::DataAreNotSynced, Way::Dirty);
    let requests = "write 0 2k\nflush\ndiscard 0 1k\nflush\nwrite 4k 1k\nflush";
    let found = found(By::Crashes, target, requests, 0);
    assert_eq!(found.0.engine, "crash");
    assert!(matches!(&found.0.provoked, Some(Provoked::Crash(crash)) if !crash.pending.is_empty()));
    expect_file!["findings/crash.txt"].assert_eq(&found.0.report());
    expect_file!["findings/crash.json"].assert_eq(&json(&found));
}

#[test]
fn a_crash_with_the_bytes_that_are_wrong() {
    let target = Planted::Plain(plain::Bug::ZeroesAreIgnored);
    let found = found(By::Crashes, target, "write 0 4k\nwrite -z 1k 1k", 0);
    assert!(matches!(&found.0.provoked, Some(Provoked::Crash(_))) && found.0.difference.is_some());
    expect_file!["findings/crash_bytes.txt"].assert_eq(&found.0.report());
    expect_file!["findings/crash_bytes.json"].assert_eq(&json(&found));
}

#[test]
fn a_fault_with_the_operation_that_failed() {
    let target = Planted::Plain(plain::Bug::FailedWriteReachesFurther);
    let found = found(By::Faults, target, "write 0 4k\nwrite 1k 512", 0);
    assert_eq!(found.0.engine, "fault");
    expect_file!["findings/fault.txt"].assert_eq(&found.0.report());
    expect_file!["findings/fault.json"].assert_eq(&json(&found));
}

#[test]
fn a_fault_with_requests_in_flight_names_the_one_that_failed() {
    let target = Planted::Plain(plain::Bug::FailedWriteReachesFurther);
    let found = found(By::Faults, target, "write 0 4k\n@1 write 1k 512\nread 8k 512", 3);
    let Some(Provoked::Fault(fault)) = &found.0.provoked else { panic!("{:?}", found.0) };
    assert!(fault.is_in_flight && fault.surfaced.is_some(), "{fault:?}");
    expect_file!["findings/fault_in_flight.txt"].assert_eq(&found.0.report());
    expect_file!["findings/fault_in_flight.json"].assert_eq(&json(&found));
}

#[test]
fn a_race_with_its_requests() {
    let target = Planted::Ledger(ledger::Bug::AllocationIsUnlocked, Way::Ordered);
    let found = found(By::Races, target, "@4 write 0 512\nwrite 512 512\nread 0 1k", lanes(By::Races));
    assert_eq!(found.0.engine, "race");
    assert!(!found.0.history.is_empty());
    expect_file!["findings/race.txt"].assert_eq(&found.0.report());
    expect_file!["findings/race.json"].assert_eq(&json(&found));
}

#[test]
fn a_crash_during_recovery_names_the_promise_and_the_second_crash() {
    let target = Planted::Ledger(ledger::Bug::RecoveryClearsTheBitFirst, Way::Dirty);
    let (found, _) = found(By::Crashes, target, "write 0 2k\nflush\nwrite 4k 1k", 0);
    let broken = [Promise::Consistent, Promise::Opens, Promise::Content].map(Promise::name);
    let named = broken.iter().any(|promise| found.what.ends_with(&format!("({promise})")));
    assert!(named, "{}", found.report());
    assert_eq!(found.promise, Some(Promise::Recovery.name()));
    let second =
        found.notes.iter().find(|note| note.starts_with("the second crash came after the recovery's "));
    assert!(second.is_some_and(|note| note.contains("..")), "{:?}", found.notes);
}

/// A disk that would be too large to be run is not made, and its request is counted.
#[test]
fn a_request_has_the_number_that_it_has_in_the_scenario() {
    let target = Planted::Plain(plain::Bug::FailedWriteIsDone);
    let (fault, _) = found(By::Faults, target, "truncate 2T\nwrite 0 512", 0);
    let Some(Provoked::Fault(fault)) = &fault.provoked else { panic!("{fault:?}") };
    assert_eq!(fault.during, Some((2, "write 0 512".to_owned())));
    let target = Planted::Plain(plain::Bug::ZeroesAreIgnored);
    let (crash, _) = found(By::Crashes, target, "truncate 2T\nwrite 0 4k\nwrite -z 1k 1k", 0);
    assert_eq!(crash.request_number, 2, "{}", crash.report());
    let (race, _) = found(By::Races, target, "truncate 2T\nwrite 0 4k\nwrite -z 1k 1k\nread 0 4k", 0);
    assert_eq!(race.request_number, 4, "{}", race.report());
}
