//! The image oracle: the metadata is consistent, and nothing has leaked.

use blk_core::{CheckReport, Disk, RepairMode};

use super::content::failed;
use crate::report::{self, Finding, Signature};

/// Flushes and checks the image, if its format can be checked. Leaks count: between requests there is no
/// reason for one.
pub(crate) fn check(test: &Disk) -> Result<(), Box<Finding>> {
    check_and_repair(test, RepairMode::None)
}

/// As [`check`], with a repair that has nothing to do if all is right.
pub(crate) fn check_and_repair(test: &Disk, repair: RepairMode) -> Result<(), Box<Finding>> {
    test.flush().map_err(|error| failed("flushing at the end", &error))?;
    if test.as_check().is_none() {
        return Ok(());
    }
    let checked = test.check(repair).map_err(|error| failed("checking the image", &error))?;
    if checked.is_clean() { Ok(()) } else { Err(Box::new(finding(&checked))) }
}

/// The worst that a check has found, in one line.
pub(crate) fn worst(checked: &CheckReport) -> String {
    worst_finding(checked)
        .map_or_else(|| checked.to_string(), |finding| format!("{:?}: {}", finding.severity, finding.message))
}

fn worst_finding(checked: &CheckReport) -> Option<&blk_core::Finding> {
    checked.findings.iter().max_by_key(|finding| finding.severity)
}

/// The finding for a check that is not clean.
pub(crate) fn finding(checked: &CheckReport) -> Finding {
    let message = worst_finding(checked).map_or_else(String::new, |finding| {
        format!("{:?}: {}", finding.severity, report::without_numbers(&finding.message))
    });
    report::oracle_finding(
        Signature::Image { message },
        "the check of the image is not clean",
        &checked.to_string(),
    )
}
