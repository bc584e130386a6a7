//! A finding as a page that people look at: one HTML file, which loads nothing.
//!
//! It is made of what is known of a finding: its data ([`Finding`]), the scenario, what disk and image file
//! look like before and after ([`Picture`]), which prefixes of the requests fail ([`Prefix`]). What is not
//! known is left out.

mod map;
mod prefixes;
mod sector;
mod story;
mod timeline;

use std::path::Path;

use blk_page::{Page, scrolling};
use maud::{Markup, html};

use crate::blame::Prefix;
use crate::finding::{Fate, Pending, Provoked};
use crate::picture::Picture;
use crate::report::Finding;
use crate::scenario::Scenario;

/// Lines of a listing that are shown; the file beside the page has all of them.
const LISTED_LINES_MAX: usize = 4000;

/// What a page is made of.
#[derive(Debug, Clone, Copy)]
pub struct Paper<'a> {
    /// What the finding is called, as its files are.
    pub name: &'a str,
    /// What it was found on.
    pub target: &'a str,
    /// What was found.
    pub finding: &'a Finding,
    /// The requests that show it, where there are any.
    pub scenario: Option<&'a Scenario>,
    /// What replays of it show.
    pub around: &'a Surroundings,
    /// How to reproduce it.
    pub ways: &'a [Way],
}

/// What replays of a finding show around it; empty where it was not replayed.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// What disk and image file look like.
    pub picture: Option<Picture>,
    /// Prefixes of the requests that were tried.
    pub blame: Vec<Prefix>,
}

/// One way to reproduce a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// What it takes, such as `With QEMU's tools`.
    pub title: String,
    /// A command, or the content of a file.
    pub text: String,
}

impl Way {
    /// With this title and text.
    pub fn new(title: impl Into<String>, text: impl Into<String>) -> Self {
        Self { title: title.into(), text: text.into() }
    }

    /// A file beside the page, by what its name ends with; none for data that only programs read.
    pub fn of_file(path: &Path, text: impl Into<String>) -> Option<Self> {
        let title = match path.extension()?.to_str()? {
            "json" => return None,
            "trace" => "The trace",
            "rs" => "A Rust test",
            _ => "With programs of others: a script",
        };
        let name = path.file_name()?.to_string_lossy();
        Some(Self::new(format!("{title}, {name}"), text))
    }
}

impl Paper<'_> {
    /// The whole file.
    pub fn render(&self) -> String {
        let lead = story::sentence(self.finding);
        let body = html! {
            (self.facts())
            @if let Some(scenario) = self.scenario {
                (timeline::section(self.finding, scenario))
            }
            (provoked(self.finding))
            @if let Some(difference) = &self.finding.difference {
                (sector::section(difference))
            }
            @if let Some(picture) = &self.around.picture {
                (map::section(picture, self.finding))
            }
            @if let Some(scenario) = self.scenario {
                (prefixes::section(&self.around.blame, scenario))
            }
            (self.reproduce())
            section aria-labelledby="report" {
                h2 #report { "The report" }
                (listing("The report", &self.finding.report()))
            }
        };
        Page { title: self.name, lead: &lead }.render(&body)
    }

    fn facts(&self) -> Markup {
        let finding = self.finding;
        html! {
            dl {
                dt { "Found on" } dd { (self.target) }
                @if !finding.engine.is_empty() { dt { "By the engine" } dd { (finding.engine) } }
                @if let Some(promise) = finding.promise { dt { "Broken promise" } dd { (promise) } }
                @if let Some(scenario) = self.scenario {
                    dt { "Configuration" } dd { code { (scenario.config) } }
                    dt { "Requests" } dd { (scenario.requests.len()) }
                }
                @if !finding.noticed.is_empty() { dt { "Noticed" } dd { (finding.noticed) } }
                dt { "Signature" } dd { code { (format!("{:?}", finding.signature)) } }
            }
            @if !finding.notes.is_empty() {
                h3 { "What was said" }
                (listing("What was said", &finding.notes.join("\n")))
            }
        }
    }

    fn reproduce(&self) -> Markup {
        html! {
            @if !self.ways.is_empty() {
                section aria-labelledby="reproduce" {
                    h2 #reproduce { "How to reproduce it" }
                    @for way in self.ways {
                        h3 { (way.title) }
                        (listing(&way.title, &way.text))
                    }
                }
            }
        }
    }
}

/// How many requests of a scenario were made, or begun, when it happened.
pub fn requests_before(finding: &Finding, scenario: &Scenario) -> usize {
    let count = scenario.requests.len();
    let number = match &finding.provoked {
        Some(Provoked::Crash(crash)) => crash.during.map_or(0, |(number, _)| number),
        Some(Provoked::Fault(fault)) if fault.is_in_flight => return count,
        Some(Provoked::Fault(fault)) => fault.during.as_ref().map_or(0, |(number, _)| *number),
        None if finding.request_number == 0 => return count,
        None => finding.request_number,
    };
    count.min(number as usize)
}

/// Lines as they are. The first ones of very many.
fn listing(name: &str, text: &str) -> Markup {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let shown = lines[..lines.len().min(LISTED_LINES_MAX)].join("\n");
    scrolling(
        name,
        &html! {
            pre {
                (shown)
                @if lines.len() > LISTED_LINES_MAX {
                    "\n... and " (lines.len() - LISTED_LINES_MAX) " more lines, in the file beside this page"
                }
            }
        },
    )
}

/// What was done to the storage, and what became of what was not durable.
fn provoked(finding: &Finding) -> Markup {
    let (title, pending) = match &finding.provoked {
        None => return html! {},
        Some(Provoked::Crash(crash)) => ("The crash", &crash.pending),
        Some(Provoked::Fault(fault)) => ("The fault", &fault.pending),
    };
    html! {
        section aria-labelledby="provoked" {
            h2 #provoked { (title) }
            p { (story::provoked(finding).unwrap_or_default()) "." }
            @if !pending.is_empty() {
                p { "These operations of the storage were not durable when it crashed:" }
                (scrolling("What the crash persisted and lost", &fates(pending)))
            }
        }
    }
}

/// The class of a badge, and the word, for how an operation fared.
fn fate(fate: &Fate) -> (&'static str, &'static str) {
    match fate {
        Fate::Persisted => ("badge good", "persisted"),
        Fate::Lost => ("badge bad", "lost"),
        Fate::Torn(_) => ("badge warn", "torn"),
    }
}

fn fates(pending: &[Pending]) -> Markup {
    html! {
        table {
            thead { tr { th scope="col" { "Fate" } th scope="col" { "Operation" } } }
            tbody {
                @for pending in pending {
                    @let (class, word) = fate(&pending.fate);
                    tr {
                        td { span class=(class) { (word) } }
                        td {
                            (pending.operation)
                            @if let Fate::Torn(lost) = &pending.fate {
                                ", lost "
                                @for lost in lost { (lost.offset) ".." (lost.end()) " " }
                            }
                        }
                    }
                }
            }
        }
    }
}
