//! The suite of a driver in another process. Which driver, and by which engine, is said by arguments.
//!
//! libFuzzer sees nothing of that process. What leads it are the code of our NBD client above the driver and
//! of our NBD server below it, that is: what the driver answers, and how often and in which ways it goes to
//! its medium; and what the scenario does ([`tell`]).

mod tell;

use std::sync::LazyLock;

use blk_foreign::Selection;
use blk_harness::Suite;
use blk_harness::driver::Driver;
use blk_harness::fuzzing;
use blk_harness::scenario::Scenario;
use blk_qcow2::FORMAT;
use nix::sys::signal::{SigSet, Signal};

static SELECTION: LazyLock<Selection> = LazyLock::new(|| {
    let formats = |name: &str| (name == "qcow2").then_some(FORMAT as &dyn blk_core::Format);
    fuzzing::needed(outlive_broken_pipes());
    fuzzing::needed(Selection::parse(&fuzzing::arguments(), formats))
});

static SUITE: Suite = Suite::new("verify_foreign", |purpose| {
    Box::new(tell::Telling(SELECTION.engine.runner(SELECTION.driver, purpose)))
})
.of_space(|| SELECTION.driver.space())
.within(|| SELECTION.engine.limits(*SELECTION.driver))
.with_arguments(|| SELECTION.words())
.with_script("sh", script);

/// A script of programs of others, or one that says why there is none.
fn script(scenario: &Scenario) -> String {
    blk_foreign::script(*SELECTION.driver, SELECTION.engine, scenario)
        .unwrap_or_else(|why| format!("#!/bin/sh\n# There is no script: {why}\nexit 2\n"))
}

/// The suite of the driver that the arguments name. Where they name none, or where it cannot run here, that
/// is said, and the process ends.
pub fn suite() -> &'static Suite {
    LazyLock::force(&SELECTION);
    &SUITE
}

/// From now on a write to a socket that a driver has closed is an error. `main` of a Rust program sees to
/// that; libFuzzer's does not, and the process would be killed.
fn outlive_broken_pipes() -> anyhow::Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGPIPE);
    // Threads inherit it, and programs that are started do not.
    Ok(signals.thread_block()?)
}
