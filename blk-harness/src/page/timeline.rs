//! The requests in the order in which they began: where on the disk, in which lane, what happened in them.

use std::collections::{BTreeMap, BTreeSet};

use blk_core::Extent;
use maud::{Markup, html};

use crate::finding::{Provoked, Source};
use crate::report::Finding;
use crate::scenario::{Request, Scenario, Turn};
use crate::stamp::Writer;

/// Requests that are all shown at once; of more, those around what matters.
const OPEN_MAX: usize = 120;
/// How many around each that matters.
const AROUND: usize = 8;
/// Requests of a page: more stand in the trace alone.
const ROWS_MAX: usize = 5000;
/// Requests of the harness that are shown.
const FOLLOWED_MAX: usize = 40;

/// What is said of a request: the class of a badge, and the words.
type Badge = (&'static str, String);

/// What is known of the requests by their number, from 1.
struct Timeline<'a> {
    scenario: &'a Scenario,
    disk_bytes: u64,
    badges: BTreeMap<u32, Vec<Badge>>,
    /// The lane of each request, and those that it was in flight with.
    lanes: BTreeMap<u32, (usize, Vec<u32>)>,
    lane_count: usize,
}

pub(super) fn section(finding: &Finding, scenario: &Scenario) -> Markup {
    let timeline = Timeline::of(finding, scenario);
    let count = scenario.requests.len();
    let parts = parts(count.min(ROWS_MAX), &timeline.badges.keys().copied().collect());
    html! {
        section aria-labelledby="requests" {
            h2 #requests { "The requests" }
            p.muted { "In the order in which they began. A bar shows the place on the disk, which has " (timeline.disk_bytes) " bytes." }
            @for (range, is_open) in parts {
                @if is_open {
                    (timeline.rows(range))
                } @else {
                    details {
                        summary { "Requests #" (range.start + 1) " to #" (range.end) }
                        (timeline.rows(range))
                    }
                }
            }
            @if count > ROWS_MAX {
                p.muted { "and " (count - ROWS_MAX) " more requests, in the trace beside this page" }
            }
            (afterwards(finding, count))
        }
    }
}

/// Ranges of requests, and whether they are shown at once.
fn parts(count: usize, marked: &BTreeSet<u32>) -> Vec<(std::ops::Range<usize>, bool)> {
    if count <= OPEN_MAX {
        return vec![(0..count, true)];
    }
    let mut is_open = vec![false; count];
    is_open[..AROUND].fill(true);
    is_open[count - AROUND..].fill(true);
    for number in marked {
        let at = (*number as usize).saturating_sub(1);
        if at < count {
            is_open[at.saturating_sub(AROUND)..(at + AROUND + 1).min(count)].fill(true);
        }
    }
    let mut parts: Vec<(std::ops::Range<usize>, bool)> = Vec::new();
    for (at, open) in is_open.into_iter().enumerate() {
        match parts.last_mut() {
            Some((range, same)) if *same == open => range.end = at + 1,
            _ => parts.push((at..at + 1, open)),
        }
    }
    parts
}

/// What the harness did after the requests, where that has noticed.
fn afterwards(finding: &Finding, count: usize) -> Markup {
    let number = finding.request_number as usize;
    let is_after = finding.provoked.is_none() && (number == 0 || number > count);
    let crashed = match &finding.provoked {
        Some(Provoked::Crash(crash)) => crash.during.map(|(number, request)| (number, request.to_string())),
        Some(Provoked::Fault(fault)) => fault.during.clone(),
        None => None,
    };
    let crashed = crashed.filter(|(number, _)| *number as usize > count);
    html! {
        @if is_after {
            p {
                span class="badge bad" { "noticed" }
                " After these requests the harness flushes, opens the image again, and reads everything."
            }
        }
        @if let Some((number, request)) = crashed {
            p {
                span class="badge bad" { "in here" }
                " Request #" (number) " (" (request) ") is the harness's own: it makes it after these requests."
            }
        }
        @if !finding.followed.is_empty() {
            h3 { "What the harness asked of the disk afterwards" }
            ol {
                @for (number, entry) in finding.followed.iter().rev().take(FOLLOWED_MAX).rev() {
                    li { code { "#" (number) " " (entry) } }
                }
            }
            @if finding.followed.len() > FOLLOWED_MAX {
                p.muted { "Before these, " (finding.followed.len() - FOLLOWED_MAX) " others." }
            }
        }
    }
}

impl<'a> Timeline<'a> {
    fn of(finding: &Finding, scenario: &'a Scenario) -> Self {
        let sizes = scenario.requests.iter().map(|request| match request {
            Request::Resize { size } => *size,
            _ => 0,
        });
        let disk_bytes = sizes.chain([scenario.config.size_bytes, 1]).max().unwrap_or(1);
        let lanes = lanes(finding);
        let lane_count = lanes.values().map(|(lane, _)| lane + 1).max().unwrap_or(0);
        Self { scenario, disk_bytes, badges: badges(finding), lanes, lane_count }
    }

    fn rows(&self, range: std::ops::Range<usize>) -> Markup {
        let is_laned = self.lane_count > 1;
        html! {
            ol.requests.laned[is_laned] {
                @for index in range {
                    (self.row(index, is_laned))
                }
            }
        }
    }

    fn row(&self, index: usize, is_laned: bool) -> Markup {
        let (number, request) = (index as u32 + 1, self.scenario.requests[index]);
        let mut badges = own_badges(&request, self.scenario.turn(index));
        badges.extend(self.badges.get(&number).into_iter().flatten().cloned());
        let is_bad = badges.iter().any(|(class, _)| *class == "badge bad");
        html! {
            li.bad[is_bad] {
                span.number { "#" (number) }
                @if is_laned { (self.lane(number)) }
                code.request { (request) }
                (self.bar(&request))
                span.notes {
                    @for (class, words) in &badges {
                        span class=(class) { (words) }
                    }
                    @if let Some((_, met)) = self.lanes.get(&number).filter(|(_, met)| !met.is_empty()) {
                        span.badge { "in flight with" @for other in met { " #" (other) } }
                    }
                }
            }
        }
    }

    /// The lanes as columns: the request's own, and those in which another one is in flight with it.
    fn lane(&self, number: u32) -> Markup {
        let Some((own, met)) = self.lanes.get(&number) else {
            return html! { span.lanes { } };
        };
        let others: BTreeSet<usize> =
            met.iter().filter_map(|other| self.lanes.get(other)).map(|(lane, _)| *lane).collect();
        let sign = |lane: usize| match lane {
            _ if lane == *own => '●',
            _ if others.contains(&lane) => '│',
            _ => '·',
        };
        let signs: String = (0..self.lane_count).map(sign).collect();
        html! { span.lanes role="img" aria-label={ "lane " (own + 1) " of " (self.lane_count) } { (signs) } }
    }

    fn bar(&self, request: &Request) -> Markup {
        let Some(extent) = request.range().map(|(offset, length)| Extent::new(offset, length)) else {
            return html! { span {} };
        };
        // In hundredths of a percent.
        let share = |bytes: u64| (u128::from(bytes) * 10_000 / u128::from(self.disk_bytes)).min(10_000);
        let percent = |share: u128| format!("{}.{:02}%", share / 100, share % 100);
        let (left, width) = (share(extent.offset).min(9950), share(extent.length));
        let style = format!("left:{};width:{}", percent(left), percent(width));
        let class = match request {
            Request::Write { .. } | Request::WriteCompressed { .. } => "",
            Request::Read { .. } | Request::Status { .. } => "look",
            _ => "clear",
        };
        html! {
            span.bar { i class=(class) style=(style) {} }
        }
    }
}

/// What a request is by itself.
fn own_badges(request: &Request, turn: Turn) -> Vec<Badge> {
    let mut badges: Vec<Badge> = Vec::new();
    let is_sync = match request {
        Request::Flush | Request::Reopen { .. } => true,
        Request::Write { fua, .. } | Request::WriteZeroes { fua, .. } => *fua,
        _ => false,
    };
    if is_sync {
        badges.push(("badge good", "sync".to_owned()));
    }
    if !turn.is_never() {
        let to = if turn.is_back() { "the lane before" } else { "the next lane" };
        let again = if turn.is_again() { ", again and again" } else { "" };
        badges.push(("badge warn", format!("turn: gives way to {to} after {} points{again}", turn.points())));
    }
    badges
}

/// What a finding says of requests.
fn badges(finding: &Finding) -> BTreeMap<u32, Vec<Badge>> {
    let mut badges: BTreeMap<u32, Vec<Badge>> = BTreeMap::new();
    let mut add = |number: u32, class, words: &str| {
        badges.entry(number).or_default().push((class, words.to_owned()));
    };
    match &finding.provoked {
        Some(Provoked::Crash(crash)) => {
            crash.during.iter().for_each(|(number, _)| add(*number, "badge bad", "crash in here"));
        }
        Some(Provoked::Fault(fault)) => {
            let operation = format!("operation {} fails in here", fault.operation);
            fault.during.iter().for_each(|(number, _)| add(*number, "badge bad", &operation));
            fault.surfaced.iter().for_each(|(number, _)| add(*number, "badge warn", "reports the failure"));
        }
        None if finding.request_number > 0 => add(finding.request_number, "badge bad", "noticed"),
        None => {}
    }
    if let Some(difference) = &finding.difference {
        for side in &difference.expected {
            if let Some(number) = writer(&side.source) {
                add(number, "badge", "wrote what has to be there");
            }
        }
        if let Some(number) = writer(&difference.found.source) {
            add(number, "badge warn", "wrote what is there");
        }
    }
    for begun in finding.history.iter().filter(|begun| begun.is_in_flight) {
        add(begun.number, "badge warn", "in flight at the end");
    }
    badges
}

fn writer(source: &Source) -> Option<u32> {
    match source {
        Source::Stamped { writer: Writer::Request(number), .. } => Some(*number),
        _ => None,
    }
}

/// The lane of each request: the first that no request in flight with it has.
fn lanes(finding: &Finding) -> BTreeMap<u32, (usize, Vec<u32>)> {
    let mut lanes: BTreeMap<u32, (usize, Vec<u32>)> = BTreeMap::new();
    for begun in &finding.history {
        let taken: BTreeSet<usize> =
            begun.met.iter().filter_map(|other| lanes.get(other)).map(|(lane, _)| *lane).collect();
        let lane = (0..=taken.len()).find(|lane| !taken.contains(lane)).unwrap_or(0);
        lanes.insert(begun.number, (lane, begun.met.clone()));
    }
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_requests_those_around_what_matters_are_shown() {
        assert_eq!(parts(OPEN_MAX, &BTreeSet::new()), [(0..OPEN_MAX, true)]);
        let parts = parts(3000, &BTreeSet::from([1500, 9_000_000]));
        let open: usize = parts.iter().filter(|(_, is_open)| *is_open).map(|(range, _)| range.len()).sum();
        assert_eq!((open, parts.len()), (4 * AROUND + 1, 5));
        assert_eq!(parts.iter().map(|(range, _)| range.len()).sum::<usize>(), 3000);
    }
}
