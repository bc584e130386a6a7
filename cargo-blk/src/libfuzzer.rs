//! What fuzzing processes print, and sums over several of them.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde::Deserialize;
use serde_json::{Map, Value};

/// What begins a line with counts.
const STATS_PREFIX: &str = "blk-stats ";
/// What begins a report.
pub(crate) const REPORT_PREFIX: &str = "== blk-verify: finding";
const ARTIFACT_MARK: &str = "Test unit written to ";

/// Counts of one process since its start. All are optional: targets differ.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Stats {
    pub(crate) scenarios: u64,
    pub(crate) requests: u64,
    pub(crate) accepted: u64,
    pub(crate) bytes_read: u64,
    pub(crate) bytes_compared: u64,
    pub(crate) kinds: BTreeSet<String>,
    pub(crate) transitions: u64,
    pub(crate) elapsed_s: f64,
    /// Counts that only some targets have.
    #[serde(flatten)]
    pub(crate) others: Map<String, Value>,
}

/// What is known of one process.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Process {
    pub(crate) stats: Stats,
    pub(crate) coverage: u64,
    pub(crate) features: u64,
    pub(crate) executions: u64,
    /// The report of a finding, line by line, while it is printed.
    pub(crate) report: Vec<String>,
    in_report: bool,
    pub(crate) artifact: Option<String>,
    /// The last lines that are of no known kind.
    words: Vec<String>,
}

/// How many lines of a process are kept that are of no known kind.
const WORDS_MAX: usize = 8;

impl Process {
    /// Takes in a line that the process printed. Returns whether it is of a known kind.
    pub(crate) fn line(&mut self, line: &str) -> bool {
        if let Some(json) = line.strip_prefix(STATS_PREFIX) {
            if let Ok(stats) = serde_json::from_str(json) {
                self.stats = stats;
            }
        } else if let Some((_, path)) = line.split_once(ARTIFACT_MARK) {
            self.artifact = Some(path.trim().to_owned());
        } else if line.starts_with(REPORT_PREFIX) {
            self.in_report = true;
            self.report.push(line.to_owned());
        } else if line.starts_with("==") {
            // libFuzzer's own words, `==PID== ERROR: ...`, end ours; for a panic or a limit they are all
            // there is.
            self.in_report = false;
            if self.report.is_empty() && line.contains("ERROR") {
                self.report.push(line.to_owned());
            }
        } else if self.in_report {
            self.report.push(line.to_owned());
        } else if line.contains("panicked at") {
            self.in_report = true;
            self.report.push(line.to_owned());
        } else if line.starts_with('#') {
            self.progress(line);
        } else {
            if !is_greeting(line) {
                self.words.push(line.to_owned());
                self.words.drain(..self.words.len().saturating_sub(WORDS_MAX));
            }
            return false;
        }
        true
    }

    /// What it said last that is of no known kind: why it has ended, perhaps.
    pub(crate) fn last_words(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(String::as_str)
    }

    /// `#1234 NEW cov: 12 ft: 34 corp: ...`
    fn progress(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        if let Some(Ok(executions)) = words.next().map(|word| word[1..].parse()) {
            self.executions = executions;
        }
        while let Some(word) = words.next() {
            let slot = match word {
                "cov:" => &mut self.coverage,
                "ft:" => &mut self.features,
                _ => continue,
            };
            if let Some(Ok(number)) = words.next().map(str::parse) {
                *slot = number;
            }
        }
    }
}

/// One line about all processes.
pub(crate) fn status(processes: &[Process], seconds: f64) -> String {
    let sum = |count: fn(&Process) -> u64| processes.iter().map(count).sum::<u64>();
    let longest = |count: fn(&Process) -> u64| processes.iter().map(count).max().unwrap_or(0);
    let mut fields = vec![format!("{seconds:>6.0} s")];
    // Processes that do not fuzz count no coverage.
    let coverage = longest(|process| process.coverage);
    if coverage > 0 {
        fields.push(format!("coverage {coverage}"));
    }
    let requests = sum(|process| process.stats.requests);
    if requests > 0 {
        fields.push(format!("{:.0} scenarios/s", rate(processes, |process| process.stats.scenarios)));
        fields.push(format!("{:.0} requests/s", rate(processes, |process| process.stats.requests)));
        fields.push(format!("accepted {}", percent(sum(|process| process.stats.accepted), requests)));
    } else {
        fields.push(format!("{} inputs", sum(|process| process.executions)));
    }
    // Not every engine reads, and not every format has kinds of cluster.
    let (bytes_read, compared) =
        (sum(|process| process.stats.bytes_read), sum(|process| process.stats.bytes_compared));
    if bytes_read > 0 && (requests > 0 || compared > 0) {
        fields.push(format!("compared {}", percent(compared, bytes_read)));
    }
    let kinds: BTreeSet<&str> =
        processes.iter().flat_map(|process| process.stats.kinds.iter().map(String::as_str)).collect();
    if !kinds.is_empty() {
        fields.push(format!("clusters: {}", kinds.into_iter().collect::<Vec<_>>().join(" ")));
        fields.push(format!("transitions {}", longest(|process| process.stats.transitions)));
    }
    let others = others(processes).into_iter();
    fields.extend(others.map(|(name, count)| format!("{} {count}", name.replace('_', " "))));
    fields.join(" | ")
}

/// What libFuzzer says before the target has the word.
pub(crate) fn is_greeting(line: &str) -> bool {
    line.starts_with("INFO: ") || line.starts_with("WARNING: Failed to find function")
}

/// All counts of all processes, one a line.
pub(crate) fn table(processes: &[Process], seconds: f64) -> String {
    let sum = |count: fn(&Process) -> u64| processes.iter().map(count).sum::<u64>();
    let (scenarios, requests) =
        (sum(|process| process.stats.scenarios), sum(|process| process.stats.requests));
    let counts = [
        ("inputs", sum(|process| process.executions)),
        ("coverage", processes.iter().map(|process| process.coverage).max().unwrap_or(0)),
        ("bytes read", sum(|process| process.stats.bytes_read)),
        ("bytes compared", sum(|process| process.stats.bytes_compared)),
    ];
    let mut rows: Vec<(String, u64)> = counts
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| (name.to_owned(), count))
        .collect();
    if scenarios > 0 {
        let accepted = sum(|process| process.stats.accepted);
        let first = [("scenarios", scenarios), ("requests", requests)];
        let first = first.into_iter().chain([("requests that the driver accepted", accepted)]);
        rows.splice(..0, first.map(|(name, count)| (name.to_owned(), count)));
    }
    rows.extend(others(processes).into_iter().map(|(name, count)| (name.replace('_', " "), count)));
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut table = String::new();
    for (name, count) in rows {
        let _ = writeln!(table, "{name:width$}  {:>16}", grouped(count));
    }
    let _ = write!(table, "{:width$}  {seconds:>16.1}", "seconds");
    table
}

/// A number with its digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What the status line says, for whoever reads it the first time.
pub const LEGEND: &str = "\
status: what an engine does not count is left out
  coverage       edges of the code that were reached
  scenarios      sequences of requests, each on a fresh disk
  accepted       requests that the driver did not refuse
  compared       bytes read that were held against the reference
  clusters       kinds of cluster that were met
  transitions    changes of a cluster from one kind to another, by a kind of request";

/// Counts that only this target has, summed; of those that are a maximum, the largest.
fn others(processes: &[Process]) -> Vec<(String, u64)> {
    let mut sums = std::collections::BTreeMap::new();
    for process in processes {
        for (name, value) in &process.stats.others {
            let (sum, value) = (sums.entry(name.clone()).or_insert(0), value.as_u64().unwrap_or(0));
            *sum = if name.ends_with("_max") { value.max(*sum) } else { *sum + value };
        }
    }
    sums.into_iter().collect()
}

#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than a few digits")]
fn rate(processes: &[Process], count: fn(&Process) -> u64) -> f64 {
    processes
        .iter()
        .filter(|process| process.stats.elapsed_s > 0.0)
        .map(|process| count(process) as f64 / process.stats.elapsed_s)
        .sum()
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no more than a few digits")]
fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.1} %", part as f64 * 100.0 / whole as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(lines: &[&str]) -> Process {
        let mut process = Process::default();
        for line in lines {
            process.line(line);
        }
        process
    }

    #[test]
    fn counts_of_several_processes_are_summed() {
        let stats = r#"blk-stats {"scenarios":10,"requests":100,"accepted":90,"bytes_read":10,"bytes_compared":5,"kinds":["data"],"transitions":3,"elapsed_s":2.0}"#;
        let one = fed(&["#12\tNEW    cov: 70 ft: 99 corp: 3/4b", stats]);
        assert_eq!((one.executions, one.coverage, one.features), (12, 70, 99));
        let line = status(&[one.clone(), one], 4.0);
        assert!(
            line.contains(
                "coverage 70 | 10 scenarios/s | 100 requests/s | accepted 90.0 % | compared 50.0 %"
            ),
            "{line}"
        );
        assert!(line.ends_with(" | clusters: data | transitions 3"), "{line}");
    }

    #[test]
    fn counts_of_an_image_target_are_passed_through() {
        let stats = r#"blk-stats {"images":7,"opened_read_only":5,"bytes_read":9,"elapsed_s":1.5}"#;
        let line = status(&[fed(&[stats])], 1.0);
        assert!(!line.contains("compared"), "nothing is compared, and nothing was to be: {line}");
        assert!(line.contains("images 7") && line.contains("opened read only 5"), "{line}");
    }

    #[test]
    fn counts_are_a_table() {
        let stats =
            r#"blk-stats {"scenarios":1234567,"requests":100,"accepted":90,"states_max":7,"elapsed_s":2.0}"#;
        let table = table(&[fed(&[stats]), fed(&[stats])], 2.0);
        let rows: Vec<&str> = table.lines().collect();
        assert_eq!(rows.len(), 5, "{table}");
        assert!(rows[0].starts_with("scenarios ") && rows[0].ends_with(" 2,469,134"), "{table}");
        assert!(rows[3].starts_with("states max") && rows[3].ends_with(" 7"), "{table}");
        assert_eq!(grouped(12), "12");
    }

    #[test]
    fn a_report_ends_where_libfuzzer_begins() {
        let process = fed(&[
            "== blk-verify: finding in verify_qcow2",
            "blkverify: read offset=0",
            "write 0 512",
            "==123== ERROR: libFuzzer: deadly signal",
            "NOTE: libFuzzer has rudimentary signal handlers.",
            "artifact_prefix='x/'; Test unit written to x/crash-1",
        ]);
        assert_eq!(process.report.len(), 3, "{:?}", process.report);
        assert_eq!(process.artifact.as_deref(), Some("x/crash-1"));
    }
}
