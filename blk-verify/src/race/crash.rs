//! Crashes on top of races: the host's log is crashed at each of its operations, and what is left is judged by what the
//! requests that were in flight, and those that a flush had made durable, allow.
//!
//! Per sector: a value may be left unless it was superseded for good, by a write that began after it had ended and that a
//! flush, which began after that and has ended, made durable. Sectors that some request covers only in part are left out.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use blk_core::{Extent, MemoryStorage, Result};

use crate::crash::{CrashStats, Depth, Further, Judge, Violation};
use crate::medium::{History, Medium, States};
use crate::perform::Performer;
use crate::report::{self, Finding, SECTOR_BYTES, Signature};
use crate::scenario::{Config, Request};
use crate::space::Space;
use crate::target::Prepared;

/// Larger disks are not crashed: each state is read whole. Bytes.
const SIZE_BYTES_MAX: u64 = 256 << 10;
/// States tried after one operation, and in one scenario.
const STATES_PER_POINT: usize = 12;
const STATES_MAX: u64 = 400;

/// A request, and when it was in flight.
#[derive(Debug, Clone)]
struct Timed {
    number: u32,
    request: Request,
    extent: Extent,
    /// What it writes; `None` for zeroes.
    data: Option<Arc<Vec<u8>>>,
    /// Its begin and end among those of all requests.
    begun: u64,
    ended: u64,
    /// Points of the medium at its begin and at its end.
    begun_at: u64,
    ended_at: u64,
    has_succeeded: bool,
}

/// What was in flight when, on one medium.
#[derive(Debug)]
pub(super) struct Timeline {
    medium: Arc<Medium>,
    requests: Vec<Timed>,
    events: u64,
}

impl Timeline {
    pub(super) fn new(medium: Arc<Medium>) -> Self {
        Self { medium, requests: Vec::new(), events: 0 }
    }

    pub(super) fn begin(
        &mut self,
        number: u32,
        request: Request,
        extent: Extent,
        data: Option<Arc<Vec<u8>>>,
    ) {
        self.events += 1;
        let begun_at = self.medium.points();
        let (begun, ended) = (self.events, u64::MAX);
        let ended_at = u64::MAX;
        self.requests.push(Timed {
            number,
            request,
            extent,
            data,
            begun,
            ended,
            begun_at,
            ended_at,
            has_succeeded: false,
        });
    }

    pub(super) fn end(&mut self, number: u32, has_succeeded: bool) {
        self.events += 1;
        let Some(timed) = self.requests.iter_mut().rev().find(|timed| timed.number == number) else { return };
        timed.ended = self.events;
        timed.ended_at = self.medium.points();
        timed.has_succeeded = has_succeeded;
    }

    /// What a sector may hold after a crash right after point `at` of the medium; `None` where that is not known.
    fn allowed(&self, initial: &[u8], sector: Extent, at: u64) -> Option<Vec<(Option<u32>, Vec<u8>)>> {
        let changes = || {
            self.requests
                .iter()
                .filter(|timed| timed.request.kind().changes_content() && timed.begun_at <= at)
                .filter(|timed| timed.extent.overlaps(sector))
        };
        if changes().any(|timed| timed.extent.intersection(sector) != sector) {
            return None;
        }
        let durable_before = self.durable_before(at);
        let settled: Vec<&Timed> = changes().filter(|timed| timed.is_durable(durable_before, at)).collect();
        let mut values = Vec::new();
        if settled.is_empty() {
            values.push((None, initial[sector.offset as usize..sector.end() as usize].to_vec()));
        }
        for timed in changes() {
            let is_superseded = settled.iter().any(|later| later.begun > timed.ended);
            if !is_superseded {
                values.push((Some(timed.number), timed.bytes(sector)));
            }
        }
        Some(values)
    }

    /// Requests that ended before this event are durable at point `at`: a flush began then, and has ended.
    fn durable_before(&self, at: u64) -> u64 {
        let flushes =
            self.requests.iter().filter(|timed| timed.request == Request::Flush && timed.has_succeeded);
        flushes.filter(|flush| flush.ended_at < at).map(|flush| flush.begun).max().unwrap_or(0)
    }
}

impl Timed {
    fn is_durable(&self, durable_before: u64, at: u64) -> bool {
        let fua = match self.request {
            Request::Write { fua, .. } | Request::WriteZeroes { fua, .. } => fua,
            _ => false,
        };
        // A discard may have done nothing.
        let is_discard = matches!(self.request, Request::Discard { .. });
        self.has_succeeded && !is_discard && (self.ended < durable_before || (fua && self.ended_at < at))
    }

    fn bytes(&self, sector: Extent) -> Vec<u8> {
        let from = (sector.offset - self.extent.offset) as usize;
        self.data.as_ref().map_or_else(
            || vec![0; sector.length as usize],
            |data| data[from..from + sector.length as usize].to_vec(),
        )
    }
}

/// What the crash of a race needs.
pub(super) struct Scene<'a> {
    pub(super) prepared: &'a dyn Prepared,
    pub(super) space: &'static Space,
    pub(super) config: &'a Config,
    /// The image before the first request, and what it shows.
    pub(super) fresh: &'a MemoryStorage,
    pub(super) initial: &'a [u8],
    pub(super) further: &'a mut Further,
    pub(super) stats: &'a mut CrashStats,
    pub(super) performer: Performer,
}

impl Scene<'_> {
    /// Crashes what happened on `medium` after each operation.
    pub(super) fn crash(
        &mut self,
        medium: &Medium,
        timeline: &Timeline,
    ) -> std::result::Result<(), Box<Finding>> {
        if self.initial.len() as u64 > SIZE_BYTES_MAX {
            return Ok(());
        }
        self.further.prepare(self.space, self.config);
        let log = medium.take_log();
        self.stats.scenarios += 1;
        let outcome = self.go_through(&log, timeline).unwrap_or_else(|error| {
            let signature = Signature::Failed { what: "the medium", error: format!("{:?}", error.kind()) };
            Some(Box::new(report::oracle_finding(signature, "the medium failed", &error.to_string())))
        });
        outcome.map_or(Ok(()), Err)
    }

    fn judge(&mut self) -> Judge<'_> {
        self.stats.distinct += 1;
        Judge {
            prepared: self.prepared,
            further: self.further,
            further_one_in: 1,
            fill_bytes: self.space.geometry(self.config).fill_bytes(),
            performer: &mut self.performer,
            stats: self.stats,
        }
    }

    fn go_through(
        &mut self,
        log: &[crate::medium::Operation],
        timeline: &Timeline,
    ) -> Result<Option<Box<Finding>>> {
        let mut history = History::new(self.fresh.duplicate(), SECTOR_BYTES)?;
        let mut seen = HashMap::new();
        let mut left = STATES_MAX;
        for operation in log {
            let is_pending = history.apply(operation)?;
            let at = operation.completed.unwrap_or(u64::MAX);
            self.stats.points += 1;
            let states = States::new(STATES_PER_POINT, is_pending, history.count());
            for kept in states.of(&history) {
                if left == 0 {
                    return Ok(None);
                }
                left -= 1;
                let (image, hash) = history.image(&kept)?;
                self.stats.states += 1;
                let analysis = match seen.entry(hash) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => new.insert(self.judge().analyse(&image, hash, Depth::First)),
                };
                let wrong = match &analysis.violation {
                    Some(violation) => Some(violation.clone()),
                    None => wrong_sector(timeline, self.initial, &analysis.content.bytes, at),
                };
                if let Some(violation) = wrong {
                    return Ok(Some(finding(&violation, &history, &kept, timeline, at)));
                }
            }
        }
        Ok(None)
    }
}

/// The first sector that holds what no request could have left.
fn wrong_sector(timeline: &Timeline, initial: &[u8], found: &[u8], at: u64) -> Option<Violation> {
    let size = initial.len() as u64;
    // Most sectors are touched by nobody: what they share is compared at once.
    let changes = timeline.requests.iter().filter(|timed| timed.request.kind().changes_content());
    let touched: HashSet<u64> = changes
        .flat_map(|timed| timed.extent.offset / SECTOR_BYTES..timed.extent.end().div_ceil(SECTOR_BYTES))
        .collect();
    for sector in 0..size.div_ceil(SECTOR_BYTES) {
        let extent = crate::crash::sector_of(size, sector);
        let range = extent.offset as usize..extent.end() as usize;
        let value = &found[range.clone()];
        if !touched.contains(&sector) {
            if value != &initial[range] {
                return Some(Violation::content(format!("sector {sector}, which nobody wrote, has changed")));
            }
            continue;
        }
        let Some(values) = timeline.allowed(initial, extent, at) else { continue };
        if !values.iter().any(|(_, allowed)| allowed == value) {
            let may: Vec<String> = values
                .iter()
                .map(|(number, _)| number.map_or("what was there first".to_owned(), |n| format!("#{n}'s")))
                .collect();
            let what = format!("sector {sector} holds none of: {}", may.join(", "));
            return Some(Violation::content(what));
        }
    }
    None
}

fn finding(
    violation: &Violation,
    history: &History,
    kept: &[bool],
    timeline: &Timeline,
    at: u64,
) -> Box<Finding> {
    let signature = Signature::Crash { clause: violation.clause.name(), what: violation.signature() };
    let mut text = format!("blkverify: crash in a race: {}: {}\n", violation.clause.name(), violation.what);
    text.push_str(&crate::crash::fate(history, kept));
    let mut number = 0;
    for timed in timeline.requests.iter().filter(|timed| timed.begun_at <= at) {
        let state = if timed.ended_at < at { "done" } else { "in flight" };
        let _ = writeln!(text, "  {state}: #{} {}", timed.number, timed.request);
        number = timed.number;
    }
    Box::new(Finding { signature, report: text, request_number: number })
}
