//! The suites that a scenario can run in, known by name: a target, and the engine that judges it.

use blk_harness::Suite;
use blk_harness::generate::Limits;
use blk_harness::runner::{crashes, faults, races, requests};

use crate::exhaust::configs;
use crate::qemu_io::qemu_io_script;
use crate::{LUKS, LuksTarget, QCOW2, Qcow2Target, RAW, RawTarget};

/// Everything that a scenario can run in.
static SUITES: [Suite; 7] = [
    of_qcow2(
        Suite::new("verify_qcow2", |purpose| requests(&Qcow2Target, purpose))
            .with_expression("blk_testbed::suite(\"verify_qcow2\").unwrap()"),
    ),
    Suite::new("verify_raw", |purpose| requests(&RawTarget, purpose))
        .of_space(|| &RAW)
        .with_expression("blk_testbed::suite(\"verify_raw\").unwrap()"),
    of_qcow2(
        Suite::new("verify_crash", |purpose| crashes(&Qcow2Target, purpose))
            .exhausting(configs)
            .with_expression("blk_testbed::suite(\"verify_crash\").unwrap()"),
    ),
    of_qcow2(
        Suite::new("verify_fault", |purpose| faults(&Qcow2Target, purpose))
            .within(Limits::failing)
            .with_expression("blk_testbed::suite(\"verify_fault\").unwrap()"),
    ),
    Suite::new("verify_fault_raw", |purpose| faults(&RawTarget, purpose))
        .of_space(|| &RAW)
        .with_expression("blk_testbed::suite(\"verify_fault_raw\").unwrap()"),
    of_qcow2(
        Suite::new("verify_race", |purpose| races(&Qcow2Target, purpose))
            .within(Limits::racing)
            .exhausting(|| configs()[..1].to_vec())
            .with_expression("blk_testbed::suite(\"verify_race\").unwrap()"),
    ),
    Suite::new("verify_luks", |purpose| requests(&LuksTarget { is_rigid: false }, purpose))
        .of_space(|| &LUKS)
        .with_expression("blk_testbed::suite(\"verify_luks\").unwrap()"),
];

/// QEMU's tools can be asked about qcow2 images too.
const fn of_qcow2(suite: Suite) -> Suite {
    suite.of_space(|| &QCOW2).with_script("sh", qemu_io_script)
}

/// The suite of that name.
pub fn suite(name: &str) -> Option<&'static Suite> {
    SUITES.iter().find(|suite| suite.name() == name)
}

/// The names of all suites.
pub fn suite_names() -> Vec<&'static str> {
    SUITES.iter().map(Suite::name).collect()
}

/// Runs a scenario given as text in the suite of that name.
///
/// # Errors
/// The report of what was found, or what is wrong with the names or the text.
pub fn replay_text(suite_name: &str, text: &str) -> Result<(), String> {
    let suite = suite(suite_name)
        .ok_or_else(|| format!("target '{suite_name}' is unknown; known are {}", suite_names().join(", ")))?;
    suite.replay_text(text)
}
