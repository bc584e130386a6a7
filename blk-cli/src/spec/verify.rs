//! What the program does when `blkverify` finds that its two disks differ.

use std::io::{self, Write as _};
use std::sync::Arc;

use blk_verify::{Finding, Policy};

/// What follows a mismatch of a `blkverify` node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnMismatch {
    /// The report goes to standard error and the process ends with exit code 1 at once, as QEMU's programs
    /// do: what ran until then is in the past, and nothing may be built on wrong data.
    #[default]
    Exit,
    /// The request fails, and all later ones are refused.
    Fail,
    /// The finding is kept, and the request succeeds with what the reference says.
    Report,
}

impl OnMismatch {
    /// As the verifier takes it.
    pub(super) fn policy(self) -> Policy {
        match self {
            Self::Exit => Policy::Abort(Arc::new(|finding| report_and_exit(&finding.report()))),
            Self::Fail => Policy::Fail,
            Self::Report => Policy::Report,
        }
    }
}

/// The line that scripts look for, without the report that follows it:
/// `blkverify: read offset=0 bytes=512 contents mismatch at offset 0 (sector 0)`.
pub fn mismatch_line(finding: &Finding) -> String {
    finding.headline()
}

/// Ends the process; what it has printed so far comes first.
fn report_and_exit(report: &str) {
    let _ = io::stdout().flush();
    let _ = io::stderr().write_all(report.as_bytes());
    std::process::exit(1);
}
