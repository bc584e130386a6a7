//! What a check of an image's metadata finds.

use std::fmt;

/// What a check may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RepairMode {
    /// Nothing.
    #[default]
    None,
    /// Leaked clusters are given back.
    Leaks,
    /// Leaks and corruptions are repaired.
    All,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// What was done about findings: nothing that is wrong.
    Step,
    /// Space that nobody uses: harmless to the data.
    Leak,
    /// The metadata contradicts itself: data is, or will be, lost.
    Corruption,
}

/// One thing that a check found, or did.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// Where in the image file, in bytes.
    pub offset: u64,
    /// What, in one line, which is complete: programs show it as it is.
    pub message: String,
    /// Whether this run repaired it.
    pub repaired: bool,
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckReport {
    /// What was found, in the order in which it was found; the first [`CheckReport::FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// Leaked clusters, those repaired included.
    pub leaks: u64,
    /// Clusters past the end of the file that are counted as used, and still are after this run: they become
    /// leaks when the file grows. No finding, since they take no space yet; a repair of leaks frees them.
    pub leaks_past_end: u64,
    /// Corruptions, those repaired included.
    pub corruptions: u64,
    /// Leaks that this run repaired.
    pub leaks_fixed: u64,
    /// Corruptions that this run repaired.
    pub corruptions_fixed: u64,
    /// Things that could not be checked, such as an unreadable table.
    pub check_errors: u64,
    /// Guest clusters of the disk.
    pub total_clusters: u64,
    /// Guest clusters that have data in this image.
    pub allocated_clusters: u64,
    /// Guest clusters whose data is not next to that of the one before.
    pub fragmented_clusters: u64,
    /// Guest clusters stored compressed.
    pub compressed_clusters: u64,
    /// Where the last cluster in use ends in the image file, in bytes.
    pub image_end_offset: u64,
}

impl CheckReport {
    /// How many findings are kept in full; the counts go on.
    pub const FINDINGS_MAX: usize = 1 << 16;

    /// Counts a finding, and keeps it while there is room.
    pub fn add(&mut self, finding: Finding) {
        match finding.severity {
            Severity::Step => {}
            Severity::Leak => {
                self.leaks += 1;
                self.leaks_fixed += u64::from(finding.repaired);
            }
            Severity::Corruption => {
                self.corruptions += 1;
                self.corruptions_fixed += u64::from(finding.repaired);
            }
        }
        if self.findings.len() < Self::FINDINGS_MAX {
            self.findings.push(finding);
        }
        assert!(self.leaks_fixed <= self.leaks && self.corruptions_fixed <= self.corruptions, "{self}");
    }

    /// Nothing is wrong, leaks included.
    pub fn is_clean(&self) -> bool {
        self.leaks == 0 && self.corruptions == 0 && self.check_errors == 0
    }

    /// Nothing is wrong any more, counting what was repaired as right.
    pub fn is_repaired(&self) -> bool {
        self.leaks == self.leaks_fixed && self.corruptions == self.corruptions_fixed && self.check_errors == 0
    }
}

/// How many findings the short form of a report shows.
const SHOWN_MAX: usize = 1000;

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let findings = self.findings.iter().filter(|finding| finding.severity != Severity::Step);
        for finding in findings.take(SHOWN_MAX) {
            let word = match finding.severity {
                Severity::Leak => "leak",
                _ => "corruption",
            };
            let repaired = if finding.repaired { " (repaired)" } else { "" };
            writeln!(f, "{word} at image offset {:#x}: {}{repaired}", finding.offset, finding.message)?;
        }
        write!(
            f,
            "{} corruptions ({} repaired), {} leaks ({} repaired), {} errors",
            self.corruptions, self.corruptions_fixed, self.leaks, self.leaks_fixed, self.check_errors
        )
    }
}
