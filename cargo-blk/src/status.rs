//! `status.html`: how a run of the fuzzer goes, and how it went, for people who look at it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use blk_page::{Page, Plot, Shape, scrolling};
use maud::{Markup, html};

use crate::findings::size;
use crate::ledger::{self, Entry, date};
use crate::libfuzzer::{self, Process, Sums};

/// How often the page is written.
const EVERY: Duration = Duration::from_mins(1);
/// And for the first time: somebody may look at once.
const FIRST: Duration = Duration::from_secs(3);
/// Samples that are kept: of more, every other one.
const SAMPLES_MAX: usize = 1000;

/// Counts at one time.
#[derive(Debug, Clone)]
struct Sample {
    seconds: f64,
    sums: Sums,
}

/// The page about one run.
#[derive(Debug)]
pub(crate) struct Status {
    file: PathBuf,
    target: String,
    artifacts: PathBuf,
    began: u64,
    written: Option<Instant>,
    samples: Vec<Sample>,
    /// How many looks are passed over between two samples.
    skip: usize,
    looks: usize,
}

impl Status {
    /// A page in `file` about a run of `target`. The findings are those of the ledger in `artifacts`.
    pub(crate) fn new(file: PathBuf, target: &str, artifacts: &Path) -> Self {
        Self {
            file,
            target: target.to_owned(),
            artifacts: artifacts.to_owned(),
            began: ledger::now(),
            written: None,
            samples: Vec::new(),
            skip: 1,
            looks: 0,
        }
    }

    /// What the processes have come to by now. The page is written if the time has come; that it cannot be
    /// written is no reason to stop.
    pub(crate) fn look(&mut self, processes: &[Process], seconds: f64) {
        self.take(processes, seconds);
        let is_due = match self.written {
            None => seconds >= FIRST.as_secs_f64(),
            Some(written) => written.elapsed() >= EVERY,
        };
        if is_due {
            self.written = Some(Instant::now());
            let state = "It is running. This page is written anew every minute.";
            let _ = self.write(state, &libfuzzer::table(processes, seconds));
        }
    }

    /// The last look; `end` says how the run has ended.
    ///
    /// # Errors
    /// That the page cannot be written.
    pub(crate) fn end(&mut self, processes: &[Process], seconds: f64, end: &str) -> Result<()> {
        self.skip = 1;
        self.take(processes, seconds);
        self.write(end, &libfuzzer::table(processes, seconds))
    }

    fn take(&mut self, processes: &[Process], seconds: f64) {
        self.looks += 1;
        if !self.looks.is_multiple_of(self.skip) {
            return;
        }
        self.samples.push(Sample { seconds, sums: Sums::of(processes) });
        if self.samples.len() > SAMPLES_MAX {
            let mut index = 0_usize;
            self.samples.retain(|_| {
                index += 1;
                !index.is_multiple_of(2)
            });
            self.skip *= 2;
        }
    }

    /// Writes the page, with a table of all counts.
    fn write(&self, state: &str, table: &str) -> Result<()> {
        if let Some(folder) = self.file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut entries = ledger::all(&self.artifacts).unwrap_or_default();
        entries.retain(|entry| entry.target == self.target);
        ledger::replace(&self.file, &self.render(state, table, &entries))
    }

    fn render(&self, state: &str, table: &str, entries: &[Entry]) -> String {
        let sums = self.samples.last().map(|sample| sample.sums.clone()).unwrap_or_default();
        let body = html! {
            dl {
                dt { "Began" } dd { (date(self.began)) " UTC" }
                dt { "Written" } dd { (date(ledger::now())) " UTC" }
                @for (name, value) in sums.figures() {
                    dt { (name) } dd { (value) }
                }
            }
            @if !sums.kinds.is_empty() {
                section aria-labelledby="kinds" {
                    h2 #kinds { "Kinds of cluster that were reached" }
                    ul.legend { @for kind in &sums.kinds { li { span.badge { (kind) } } } }
                }
            }
            section aria-labelledby="plots" {
                h2 #plots { "Over time" }
                div.plots { @for (title, points) in self.curves() { (curve(title, &points)) } }
            }
            (findings(entries))
            section aria-labelledby="counts" {
                h2 #counts { "All counts" }
                (scrolling("All counts", &html! { pre { (table) } }))
            }
        };
        Page { title: &format!("Fuzzing {}", self.target), lead: state }.render(&body)
    }

    /// What is plotted, as far as the target counts it.
    fn curves(&self) -> Vec<(&'static str, Vec<(f64, f64)>)> {
        let of = |value: &dyn Fn(&Sums) -> Option<f64>| -> Vec<(f64, f64)> {
            let points = self.samples.iter().filter_map(|it| Some((it.seconds, value(&it.sums)?)));
            points.collect()
        };
        let curves = vec![
            ("Scenarios a second", self.rates(|sums| sums.scenarios)),
            ("Requests a second", self.rates(|sums| sums.requests)),
            ("Inputs a second", self.rates(|sums| sums.inputs)),
            ("Coverage, edges", of(&|sums| (sums.coverage > 0).then(|| whole(sums.coverage)))),
            ("Features", of(&|sums| (sums.features > 0).then(|| whole(sums.features)))),
            ("Accepted requests, %", of(&|sums| share(sums.accepted, sums.requests))),
            ("Compared bytes, %", of(&|sums| share(sums.compared, sums.bytes_read))),
            ("Transitions", of(&|sums| (sums.transitions > 0).then(|| whole(sums.transitions)))),
        ];
        curves.into_iter().filter(|(_, points)| !points.is_empty()).collect()
    }

    /// How fast a count grows between two samples.
    fn rates(&self, count: fn(&Sums) -> u64) -> Vec<(f64, f64)> {
        let rates = self.samples.windows(2).filter_map(|pair| {
            let time = pair[1].seconds - pair[0].seconds;
            let grown = count(&pair[1].sums).saturating_sub(count(&pair[0].sums));
            (time > 0.1 && count(&pair[1].sums) > 0).then(|| (pair[1].seconds, whole(grown) / time))
        });
        rates.collect()
    }
}

fn curve(title: &str, points: &[(f64, f64)]) -> Markup {
    Plot { title, x: "seconds", points, shape: Shape::Line, words: &[] }.figure()
}

#[expect(clippy::cast_precision_loss, reason = "a plot needs no more than a few digits")]
fn whole(count: u64) -> f64 {
    count as f64
}

fn share(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| whole(part) * 100.0 / whole(of))
}

fn findings(entries: &[Entry]) -> Markup {
    html! {
        section aria-labelledby="findings" {
            h2 #findings { "Findings by signature" }
            @if entries.is_empty() {
                p { "None so far." }
            } @else {
                (scrolling("Findings by signature", &html! {
                    table {
                        thead { tr {
                            @for name in ["Finding", "First seen", "Last seen", "Times", "Seed", "Size"] {
                                th scope="col" { (name) }
                            }
                        } }
                        tbody { @for entry in entries { tr {
                            td { (entry.name) br; span.muted { (entry.what) } }
                            td { (date(entry.first_seen)) }
                            td { (date(entry.last_seen)) }
                            td.number { (entry.times) }
                            td.number { (entry.seed.map(|seed| seed.to_string()).unwrap_or_default()) }
                            td { (size(entry)) }
                        } } }
                    }
                }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use blk_page::testing::{Browser, look_at};

    use super::*;

    fn process(scenarios: u64) -> Process {
        let mut process = Process::default();
        process.line(&format!(
            "#{scenarios}\tNEW cov: {} ft: {} corp: 1/1b",
            2000 + scenarios.isqrt(),
            9000 + scenarios.isqrt() * 5
        ));
        process.line(&format!(
            r#"blk-stats {{"scenarios":{scenarios},"requests":{},"accepted":{},"bytes_read":10,"bytes_compared":9,"kinds":["data","<script>"],"transitions":3,"<b>_max":7,"elapsed_s":2.0}}"#,
            scenarios * 9,
            scenarios * 8
        ));
        process
    }

    fn entry() -> Entry {
        Entry {
            target: "mine".to_owned(),
            name: "<script>alert(1)</script>".to_owned(),
            what: "x".repeat(200),
            times: 1,
            ..Entry::default()
        }
    }

    /// A run of many hours.
    fn status(file: &Path) -> Status {
        let folder = file.parent().unwrap();
        ledger::add(folder, entry()).unwrap();
        let mut status = Status::new(file.to_owned(), "mine", folder);
        for look in 0..5000_u32 {
            let scenarios = u64::from(look) * 900 + u64::from(look * look % 700);
            status.look(&[process(scenarios)], f64::from(look) * 3.0);
        }
        status
    }

    #[test]
    fn a_page_has_plots_and_findings_and_stays_small() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("status.html");
        let mut status = status(&file);
        assert!(std::fs::read_to_string(&file).unwrap().contains("It is running"));
        status.end(&[process(4_500_300)], 15_000.0, "It has ended, and <b>nothing</b> was found.").unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(status.samples.len() <= SAMPLES_MAX + 1, "{}", status.samples.len());
        for wanted in ["Scenarios a second", "Coverage, edges", "&lt;script&gt;alert", "&lt;b&gt;nothing"] {
            assert!(text.contains(wanted), "{wanted}");
        }
        for unwanted in ["<script", "http://", "https://", "<b>"] {
            assert!(!text.contains(unwanted), "{unwanted}");
        }
        assert!(text.matches("<polyline").count() >= 5 && text.len() < 200_000, "{}", text.len());
    }

    #[test]
    fn a_target_that_counts_nothing_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/status.html");
        Status::new(file.clone(), "mine", folder.path()).end(&[Process::default()], 0.0, "Ended.").unwrap();
        assert!(std::fs::read_to_string(file).unwrap().contains("None so far"));
    }

    #[test]
    fn a_browser_shows_the_page() {
        let Some(browser) = Browser::start() else { return };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("status.html");
        status(&file).end(&[process(4_500_300)], 15_000.0, "It has ended.").unwrap();
        look_at(&browser, &file);
        if let Some(kept) = std::env::var_os("BLK_PAGES") {
            std::fs::copy(&file, Path::new(&kept).join("status.html")).unwrap();
            browser.photograph(&file, &Path::new(&kept).join("status.png"), false);
        }
    }
}
