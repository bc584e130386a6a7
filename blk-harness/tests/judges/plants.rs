//! Faults that the harness plants around any driver are found, each by the engines that it concerns.

use super::{By, Planted, ledger, scenario};
use blk_harness::Outcome;
use blk_harness::crash::{CrashEngine, CrashOptions};
use blk_harness::driver::Driver;
use blk_harness::plant::{Plant, PlantedDriver};
use blk_harness::runner::{self, Purpose};
use blk_harness::scenario::Scenario;

static RIGHT: Planted = Planted::Ledger(ledger::Bug::None, ledger::Way::Dirty);

const REQUESTS: &str = "write 0 2k\nflush\nread 0 2k\nread 1k 1k\nwrite 4k 1k\nflush\nread 4k 1k\nread 0 8k";

fn is_found(driver: &'static dyn Driver, by: By, scenario: &Scenario) -> bool {
    let outcome = match by {
        By::Crashes => CrashEngine::new(CrashOptions::default()).run(driver, scenario),
        _ => runner::requests(driver, Purpose::Replay).run(scenario),
    };
    assert!(!matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
    outcome.finding().is_some()
}

#[test]
fn each_fault_is_found_and_nothing_without_it() {
    static WRONG_REPLY: PlantedDriver = PlantedDriver::new(&RIGHT, Plant::WrongReply(3));
    static WRONG_MEDIUM: PlantedDriver = PlantedDriver::new(&RIGHT, Plant::WrongMedium(3));
    static LOST_SYNCS: PlantedDriver = PlantedDriver::new(&RIGHT, Plant::LostSyncs(2));
    static EARLY_FLUSHES: PlantedDriver = PlantedDriver::new(&RIGHT, Plant::EarlyFlushes(1));
    let scenario = scenario(REQUESTS, 0);
    for (planted, by) in [
        (&WRONG_REPLY, By::Requests),
        (&WRONG_MEDIUM, By::Requests),
        (&LOST_SYNCS, By::Crashes),
        (&EARLY_FLUSHES, By::Crashes),
    ] {
        assert!(is_found(planted, by, &scenario), "{planted:?}");
        assert!(!is_found(&RIGHT, by, &scenario), "{by:?}");
    }
}
