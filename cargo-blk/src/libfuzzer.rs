//! What fuzzing processes print, and sums over several of them.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

/// What begins a line with counts.
const STATS_PREFIX: &str = "blk-stats ";
/// What begins a report.
pub(crate) const REPORT_PREFIX: &str = "== blk-verify: finding";
/// What begins a line about a finding, as JSON: [`Found`].
const FOUND_PREFIX: &str = "blk-finding ";
/// What begins the line in which libFuzzer says its seed.
const SEED_PREFIX: &str = "INFO: Seed: ";
const ARTIFACT_MARK: &str = "Test unit written to ";
/// What begins the line in which a process says that it forks others.
const FORK_PREFIX: &str = "INFO: -fork=";
/// What stands before the folder of one that forks, and the file there that ends the processes that it has
/// forked, once it has a byte.
const FORK_FOLDER: &str = "starting to fuzz in ";
const FORK_STOP: &str = "STOP";
/// What all lines about the progress of one that forks have, and those of the others do not.
const FORK_PROGRESS: &str = " job: ";

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

impl Stats {
    /// What processes have come to that ran one after the other, and beside each other, for `seconds`.
    fn sum(all: &[Self], seconds: f64) -> Self {
        let sum = |count: fn(&Self) -> u64| all.iter().map(count).sum::<u64>();
        Self {
            scenarios: sum(|stats| stats.scenarios),
            requests: sum(|stats| stats.requests),
            accepted: sum(|stats| stats.accepted),
            bytes_read: sum(|stats| stats.bytes_read),
            bytes_compared: sum(|stats| stats.bytes_compared),
            kinds: all.iter().flat_map(|stats| stats.kinds.iter().cloned()).collect(),
            transitions: all.iter().map(|stats| stats.transitions).max().unwrap_or(0),
            elapsed_s: seconds,
            others: others(all.iter()).into_iter().map(|(name, count)| (name, count.into())).collect(),
        }
    }
}

/// What a target says of a finding besides its report.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Found {
    pub(crate) signature: Value,
    pub(crate) name: String,
    pub(crate) what: String,
    pub(crate) requests: Option<u64>,
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
    /// What it has found, where the target says more than the report.
    pub(crate) found: Option<Found>,
    pub(crate) seed: Option<u64>,
    in_report: bool,
    pub(crate) artifact: Option<String>,
    /// It forks those that fuzz.
    has_forked: bool,
    /// Where it keeps their files.
    folder: Option<PathBuf>,
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
        } else if let Some(json) = line.strip_prefix(FOUND_PREFIX) {
            self.found = serde_json::from_str(json).ok();
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
            if let Some(seed) = line.strip_prefix(SEED_PREFIX) {
                self.seed = seed.trim().parse().ok();
            }
            self.has_forked |= line.starts_with(FORK_PREFIX);
            if let Some((_, folder)) = line.split_once(FORK_FOLDER) {
                self.folder = Some(PathBuf::from(folder.trim()));
            }
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

    /// Asks the processes that it has forked to end after their present inputs. It merges what they have
    /// found, and ends.
    pub(crate) fn ask_to_end(&self) {
        // The folder goes when they have ended.
        if let Some(folder) = self.folder.as_ref().filter(|folder| folder.is_dir()) {
            let _ = std::fs::write(folder.join(FORK_STOP), "1");
        }
    }

    /// Takes in what the processes that it has forked have written to `folder`, a file each.
    pub(crate) fn gather(&mut self, folder: &Path, seconds: f64) {
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let texts = files.filter_map(|file| std::fs::read_to_string(file.path()).ok());
        // A file that is being written is read the next time.
        let all: Vec<Stats> = texts.filter_map(|text| serde_json::from_str(&text).ok()).collect();
        self.stats = Stats::sum(&all, seconds);
    }

    /// `#1234 NEW cov: 12 ft: 34 corp: ...`; with a colon behind the number where processes are forked. What
    /// a forked one says of its own progress is told after a finding.
    fn progress(&mut self, line: &str) {
        if self.has_forked && !line.contains(FORK_PROGRESS) {
            return;
        }
        let mut words = line.split_whitespace();
        if let Some(Ok(executions)) = words.next().map(|word| word[1..].trim_end_matches(':').parse()) {
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

/// What all processes have come to together.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Sums {
    pub(crate) inputs: u64,
    pub(crate) scenarios: u64,
    pub(crate) requests: u64,
    pub(crate) accepted: u64,
    pub(crate) bytes_read: u64,
    pub(crate) compared: u64,
    pub(crate) coverage: u64,
    pub(crate) features: u64,
    pub(crate) transitions: u64,
    pub(crate) kinds: BTreeSet<String>,
    /// A second, since the processes began.
    pub(crate) scenario_rate: f64,
    pub(crate) request_rate: f64,
}

impl Sums {
    pub(crate) fn of(processes: &[Process]) -> Self {
        let sum = |count: fn(&Process) -> u64| processes.iter().map(count).sum::<u64>();
        let longest = |count: fn(&Process) -> u64| processes.iter().map(count).max().unwrap_or(0);
        Self {
            inputs: sum(|process| process.executions),
            scenarios: sum(|process| process.stats.scenarios),
            requests: sum(|process| process.stats.requests),
            accepted: sum(|process| process.stats.accepted),
            bytes_read: sum(|process| process.stats.bytes_read),
            compared: sum(|process| process.stats.bytes_compared),
            coverage: longest(|process| process.coverage),
            features: longest(|process| process.features),
            transitions: longest(|process| process.stats.transitions),
            kinds: processes.iter().flat_map(|process| process.stats.kinds.iter().cloned()).collect(),
            scenario_rate: rate(processes, |process| process.stats.scenarios),
            request_rate: rate(processes, |process| process.stats.requests),
        }
    }

    /// What is told first, by name; what a target does not count is left out.
    pub(crate) fn figures(&self) -> Vec<(&'static str, String)> {
        let counted = |is_counted: bool, name, text: String| is_counted.then_some((name, text));
        let figures = [
            counted(self.inputs > 0, "Inputs", grouped(self.inputs)),
            counted(self.scenarios > 0, "Scenarios", grouped(self.scenarios)),
            counted(self.scenarios > 0, "Scenarios a second", format!("{:.0}", self.scenario_rate)),
            counted(self.requests > 0, "Requests a second", format!("{:.0}", self.request_rate)),
            counted(self.coverage > 0, "Coverage", format!("{} edges", grouped(self.coverage))),
            counted(self.requests > 0, "Accepted requests", percent(self.accepted, self.requests)),
            counted(
                self.bytes_read > 0 && (self.requests > 0 || self.compared > 0),
                "Compared bytes",
                percent(self.compared, self.bytes_read),
            ),
            counted(self.transitions > 0, "Transitions", grouped(self.transitions)),
        ];
        figures.into_iter().flatten().collect()
    }
}

/// One line about all processes.
pub(crate) fn status(processes: &[Process], seconds: f64) -> String {
    let sums = Sums::of(processes);
    let mut fields = vec![format!("{seconds:>6.0} s")];
    // Processes that do not fuzz count no coverage.
    if sums.coverage > 0 {
        fields.push(format!("coverage {}", sums.coverage));
    }
    if sums.requests > 0 {
        fields.push(format!("{:.0} scenarios/s", sums.scenario_rate));
        fields.push(format!("{:.0} requests/s", sums.request_rate));
        fields.push(format!("accepted {}", percent(sums.accepted, sums.requests)));
    } else {
        fields.push(format!("{} inputs", sums.inputs));
    }
    // Not every engine reads, and not every format has kinds of cluster.
    if sums.bytes_read > 0 && (sums.requests > 0 || sums.compared > 0) {
        fields.push(format!("compared {}", percent(sums.compared, sums.bytes_read)));
    }
    if !sums.kinds.is_empty() {
        fields.push(format!("clusters: {}", sums.kinds.into_iter().collect::<Vec<_>>().join(" ")));
        fields.push(format!("transitions {}", sums.transitions));
    }
    let others = others(processes.iter().map(|process| &process.stats)).into_iter();
    fields.extend(others.map(|(name, count)| format!("{} {count}", name.replace('_', " "))));
    fields.join(" | ")
}

/// What libFuzzer says before the target has the word.
pub(crate) fn is_greeting(line: &str) -> bool {
    line.starts_with("INFO: ") || line.starts_with("WARNING: Failed to find function")
}

/// All counts of all processes, one a line.
pub(crate) fn table(processes: &[Process], seconds: f64) -> String {
    let sums = Sums::of(processes);
    let counts = [
        ("inputs", sums.inputs),
        ("coverage", sums.coverage),
        ("bytes read", sums.bytes_read),
        ("bytes compared", sums.compared),
    ];
    let mut rows: Vec<(String, u64)> = counts
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| (name.to_owned(), count))
        .collect();
    if sums.scenarios > 0 {
        let first = [
            ("scenarios", sums.scenarios),
            ("requests", sums.requests),
            ("requests that the driver accepted", sums.accepted),
        ];
        rows.splice(..0, first.map(|(name, count)| (name.to_owned(), count)));
    }
    let others = others(processes.iter().map(|process| &process.stats));
    rows.extend(others.into_iter().map(|(name, count)| (name.replace('_', " "), count)));
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut table = String::new();
    for (name, count) in rows {
        let _ = writeln!(table, "{name:width$}  {:>16}", grouped(count));
    }
    let _ = write!(table, "{:width$}  {seconds:>16.1}", "seconds");
    table
}

/// A number with its digits in groups of three.
pub(crate) fn grouped(number: u64) -> String {
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

/// Counts that only this target has, summed; of those that are a maximum, the largest, and of shares, their
/// mean.
fn others<'a>(all: impl Iterator<Item = &'a Stats>) -> Vec<(String, u64)> {
    let mut sums = std::collections::BTreeMap::new();
    for stats in all {
        for (name, value) in &stats.others {
            let (sum, times) = sums.entry(name.clone()).or_insert((0_u64, 0_u64));
            let value = value.as_u64().unwrap_or(0);
            *sum = if name.ends_with("_max") { value.max(*sum) } else { *sum + value };
            *times += 1;
        }
    }
    let whole = |name: &str, (sum, times)| if name.ends_with("_percent") { sum / times } else { sum };
    sums.into_iter().map(|(name, counted)| (name.clone(), whole(&name, counted))).collect()
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
    fn forked_processes_are_summed_and_their_own_progress_is_not_ours() {
        let folder = tempfile::tempdir().unwrap();
        let greeting =
            format!("INFO: -fork=2: 5 seed inputs, starting to fuzz in {}", folder.path().display());
        let mut process = fed(&[
            "INFO: -fork=2: fuzzing in separate process(s)",
            &greeting,
            "#345: cov: 70 ft: 99 corp: 3 exec/s: 50 oom/timeout/crash: 0/0/0 time: 2s job: 2 dft_time: 0",
            "INFO: log from the inner process:",
            "INFO: Seed: 7",
            "#9\tNEW    cov: 12 ft: 34 corp: 3/4b",
            r#"blk-stats {"scenarios":1}"#,
        ]);
        for (name, scenarios) in [("1.json", 10), ("2.json", 30)] {
            let text = format!(
                r#"{{"scenarios":{scenarios},"transitions":{scenarios},"opened_percent":{scenarios},"elapsed_s":1.0}}"#
            );
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        std::fs::write(folder.path().join("3.json"), r#"{"scenarios":1"#).unwrap();
        process.gather(folder.path(), 4.0);
        assert_eq!((process.executions, process.coverage, process.seed), (345, 70, Some(7)));
        assert_eq!((process.stats.scenarios, process.stats.transitions), (40, 30));
        assert!(status(&[process.clone()], 4.0).contains("opened percent 20"));
        assert!((Sums::of(&[process.clone()]).scenario_rate - 10.0).abs() < 1e-9);
        process.ask_to_end();
        assert_eq!(std::fs::read(folder.path().join(FORK_STOP)).unwrap(), b"1");
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
