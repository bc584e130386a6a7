//! How much the crash engine tries is what its options say.

use blk_harness::Outcome;
use blk_harness::crash::{CrashEngine, CrashOptions};
use blk_harness::statistics::Counter;

use crate::ledger::{self, Way};
use crate::{Planted, plain, scenario};

/// A driver that is right, and recovers by writing.
const RECOVERING: Planted = Planted::Ledger(ledger::Bug::None, Way::Dirty);

/// What was done with a driver that is right.
fn done(target: Planted, options: CrashOptions, counters: [Counter; 3]) -> [u64; 3] {
    let mut engine = CrashEngine::new(options);
    let outcome = engine.run(&target, &scenario("write 0 2k\nflush\nwrite 4k 1k", 0));
    assert_eq!(outcome, Outcome::Clean, "{options:?}");
    counters.map(|counter| engine.stats().get(counter))
}

#[test]
fn a_recovery_is_crashed_in_as_many_states_as_are_allowed() {
    let states = |states_per_recovery| {
        let options = CrashOptions { states_per_recovery, ..CrashOptions::default() };
        let counters = [Counter::Recoveries, Counter::RecoveryStates, Counter::Opens];
        let [recoveries, states, opens] = done(RECOVERING, options, counters);
        assert!(recoveries > 0 && opens > states);
        (recoveries, states)
    };
    assert_eq!(states(0).1, 0);
    for allowed in [1, 2] {
        let (recoveries, tried) = states(allowed);
        assert!(tried > 0 && tried <= allowed * recoveries, "{allowed}: {tried} states of {recoveries}");
    }
    let (recoveries, all) = states(1 << 20);
    assert!(all > 2 * recoveries, "there are more: {all} states of {recoveries}");
}

#[test]
fn one_image_in_so_many_is_judged_more_closely() {
    let closely = |recovery_one_in, follow_up_one_in| {
        let options = CrashOptions { recovery_one_in, follow_up_one_in, ..CrashOptions::default() };
        done(RECOVERING, options, [Counter::Distinct, Counter::Recoveries, Counter::FollowUps])
    };
    let [distinct, recoveries, follow_ups] = closely(1, 1);
    let some = |part: u64, all: u64| part > 0 && part < all;
    let recovered = closely(4, 1);
    assert!(recovered[0] == distinct && some(recovered[1], recoveries), "{recovered:?} of {recoveries}");
    let followed = closely(1, 4);
    assert!(followed[0] == distinct && some(followed[2], follow_ups), "{followed:?} of {follow_ups}");
}

#[test]
fn an_open_that_writes_nothing_is_no_recovery() {
    let counters = [Counter::Opens, Counter::Recoveries, Counter::RecoveryStates];
    let [opens, recoveries, states] =
        done(Planted::Plain(plain::Bug::OpenSyncs), CrashOptions::default(), counters);
    assert!(opens > 0 && recoveries == 0 && states == 0, "{recoveries} {states}");
}
