//! Who hears what each lane does, and judges it.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;

use blk_core::sync::Mutex;
use blk_core::sync::model::in_one_step;
use blk_core::{CheckReport, Error, Extent};

use super::content::{Bytes, Content, Look, Write, Wrong};
use super::crash::Timeline;
use super::stats::RaceStats;
use crate::journal::Journal;
use crate::oracle::image;
use crate::perform;
use crate::refusal::{is_inside, may_refuse};
use crate::report::{self, Finding, Sides, Signature};
use crate::scenario::{Request, Turn};

/// Requests that a report lists.
const LISTED: usize = 40;

/// What a request has answered.
#[derive(Debug)]
pub(super) enum Answer {
    /// A read: the bytes.
    Bytes(Vec<u8>),
    /// A status: what is claimed to read as zeroes.
    Zeroes(Vec<Extent>),
    /// A check of the image.
    Checked(CheckReport),
    /// All others: that it was done.
    Done,
}

/// A request that a lane is to make.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) number: u32,
    pub(super) request: Request,
    pub(super) turn: Turn,
    /// What is to be written; nothing where it does not fit on the disk.
    pub(super) data: Option<Arc<Vec<u8>>>,
    /// Whether its range lies on the disk.
    pub(super) is_inside: bool,
}

/// A request in flight.
#[derive(Debug)]
struct Flight {
    number: u32,
    request: Request,
    is_inside: bool,
    has_met: bool,
    role: Role,
}

#[derive(Debug)]
enum Role {
    Look(Look),
    Write(Write),
    Neither,
}

/// Hands out requests to lanes, and judges what comes of them.
#[derive(Debug)]
pub(super) struct Court {
    journal: Journal,
    fill_bytes: u64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    content: Content,
    waiting: VecDeque<(Request, Turn)>,
    /// One place for each lane.
    flights: Vec<Option<Flight>>,
    /// Each request with those that it met in flight.
    met: Vec<(u32, Vec<u32>)>,
    finding: Option<Box<Finding>>,
    /// What was in flight when, if the run is to be crashed.
    timeline: Option<Timeline>,
    stats: RaceStats,
}

impl Court {
    /// A court for a disk that shows `initial`.
    pub(super) fn new(initial: Arc<Vec<u8>>, lanes: usize, fill_bytes: u64) -> Self {
        let inner = Inner {
            content: Content::new(initial),
            waiting: VecDeque::new(),
            flights: (0..lanes).map(|_| None).collect(),
            met: Vec::new(),
            finding: None,
            timeline: None,
            stats: RaceStats::default(),
        };
        Self { journal: Journal::new(), fill_bytes, inner: Mutex::new(inner) }
    }

    /// Keeps a timeline from now on.
    pub(super) fn watch(&self, timeline: Timeline) {
        self.inner.lock().timeline = Some(timeline);
    }

    /// The timeline, if one was kept.
    pub(super) fn take_timeline(&self) -> Option<Timeline> {
        self.inner.lock().timeline.take()
    }

    /// Has lanes make these requests next.
    pub(super) fn load(&self, requests: &[(Request, Turn)]) {
        self.inner.lock().waiting.extend(requests);
    }

    /// What lanes did so far.
    pub(super) fn stats(&self) -> RaceStats {
        self.inner.lock().stats.clone()
    }

    /// What was found, if anything was.
    pub(super) fn take_finding(&self) -> Option<Box<Finding>> {
        self.inner.lock().finding.take()
    }

    /// A finding that is no request's own, with the list of all requests.
    pub(super) fn explain(&self, mut finding: Finding) -> Box<Finding> {
        let inner = self.inner.lock();
        let flying = inner.flights.iter().flatten().map(|flight| flight.number).max();
        finding.request_number = finding.request_number.max(flying.unwrap_or(0));
        for flight in inner.flights.iter().flatten() {
            let _ = writeln!(finding.report, "  in flight: #{} {}", flight.number, flight.request);
        }
        finding.report.push_str(&inner.list(&self.journal));
        Box::new(finding)
    }

    /// The disk was resized, with nothing in flight.
    pub(super) fn resized(&self, request: Request, size: u64) {
        self.journal.enter(request);
        let mut inner = self.inner.lock();
        inner.content.resized(size);
        // Its crashes are judged by sequences of requests.
        inner.timeline = None;
    }

    /// The disk was reopened, with nothing in flight.
    pub(super) fn reopened(&self, request: Request) {
        self.journal.enter(request);
        self.inner.lock().timeline = None;
    }

    /// Gives `lane` its next request; `None` when there is no more, or something was found.
    pub(super) fn begin(&self, lane: usize) -> Option<Begun> {
        in_one_step(|| {
            let mut inner = self.inner.lock();
            if inner.finding.is_some() {
                return None;
            }
            let (request, turn) = inner.waiting.pop_front()?;
            let number = self.journal.enter(request);
            Some(inner.begin(lane, number, request, turn, self.fill_bytes))
        })
    }

    /// Hears what came of the request that `lane` had begun.
    pub(super) fn end(&self, lane: usize, answered: Result<Answer, Error>) {
        in_one_step(|| {
            let mut inner = self.inner.lock();
            if let Err(mut finding) = inner.end(lane, answered, &self.journal) {
                finding.report.push_str(&inner.list(&self.journal));
                inner.finding.get_or_insert(finding);
            }
        });
    }

    /// Judges `found`, what the disk shows from `at` on with nothing in flight.
    pub(super) fn judge_quiet(&self, at: u64, found: &[u8]) -> Result<(), Box<Finding>> {
        let mut inner = self.inner.lock();
        let look = inner.content.begin_look(Extent::new(at, found.len() as u64));
        inner.stats.bytes_judged += found.len() as u64;
        inner.content.end_look(&look, found).map_err(|wrong| {
            let mut finding = inner.content_finding(&self.journal, None, at, found, &wrong);
            finding.report.push_str(&inner.list(&self.journal));
            finding
        })
    }
}

impl Inner {
    fn begin(&mut self, lane: usize, number: u32, request: Request, turn: Turn, cluster: u64) -> Begun {
        self.stats.requests += 1;
        let has_met = self.meet(number, request, cluster);
        let size = self.content.size();
        let (offset, length) = request.range().unwrap_or((0, 0));
        let is_inside = is_inside(request, size);
        let extent = if is_inside { Extent::new(offset, length) } else { Extent::new(0, 0) };
        let mut data = None;
        let role = match request {
            _ if !is_inside => Role::Neither,
            Request::Read { .. } | Request::Status { .. } => Role::Look(self.content.begin_look(extent)),
            Request::Write { .. } | Request::WriteCompressed { .. } => {
                let mut bytes = vec![0; length as usize];
                perform::fill(&mut bytes, offset, number, request, cluster);
                let bytes = Arc::new(bytes);
                data = Some(Arc::clone(&bytes));
                self.begin_write(extent, Bytes::Data(bytes))
            }
            Request::WriteZeroes { .. } | Request::Discard { .. } => self.begin_write(extent, Bytes::Zeroes),
            _ => Role::Neither,
        };
        if let Some(timeline) = &mut self.timeline {
            timeline.begin(number, request, extent, data.clone());
        }
        self.flights[lane] = Some(Flight { number, request, is_inside, has_met, role });
        Begun { number, request, turn, data, is_inside }
    }

    fn begin_write(&mut self, extent: Extent, bytes: Bytes) -> Role {
        let looks = self.flights.iter_mut().flatten().filter_map(|flight| match &mut flight.role {
            Role::Look(look) => Some(look),
            Role::Write(_) | Role::Neither => None,
        });
        Role::Write(self.content.begin_write(extent, bytes, looks))
    }

    /// Notes which requests are in flight when another begins. Returns whether there are any.
    fn meet(&mut self, number: u32, request: Request, cluster: u64) -> bool {
        let mut met = Vec::new();
        for flight in self.flights.iter_mut().flatten() {
            if !std::mem::replace(&mut flight.has_met, true) {
                self.stats.met += 1;
            }
            met.push(flight.number);
            if let Some((_, others)) = self.met.iter_mut().rev().find(|(other, _)| *other == flight.number) {
                others.push(number);
            }
            if share_a_cluster(&flight.request, &request, cluster) {
                self.stats.overlap(flight.request.kind(), request.kind());
            }
        }
        let has_met = !met.is_empty();
        self.stats.met += u64::from(has_met);
        self.met.push((number, met));
        has_met
    }

    fn end(
        &mut self,
        lane: usize,
        answered: Result<Answer, Error>,
        journal: &Journal,
    ) -> Result<(), Box<Finding>> {
        let flight = self.flights[lane].take().expect("a lane ends what it has begun");
        let (number, request) = (flight.number, flight.request);
        if let Some(timeline) = &mut self.timeline {
            timeline.end(number, answered.is_ok());
        }
        if let Role::Write(write) = &flight.role {
            let may_stay = answered.is_err() || matches!(request, Request::Discard { .. });
            self.content.end_write(write, may_stay);
        }
        let answer = match answered {
            Ok(_) if !flight.is_inside => {
                return Err(refusal_finding(number, request, "None", "reaches past the end and succeeded"));
            }
            Ok(answer) => answer,
            Err(error) if may_refuse(request, self.content.size(), error.kind()) => return Ok(()),
            Err(error) => {
                let kind = format!("{:?}", error.kind());
                return Err(refusal_finding(number, request, &kind, &format!("failed: {error}")));
            }
        };
        self.stats.accepted += 1;
        match (flight.role, answer) {
            (Role::Look(look), Answer::Bytes(found)) => {
                self.stats.bytes_judged += found.len() as u64;
                let at = request.range().map_or(0, |(offset, _)| offset);
                self.content.end_look(&look, &found).map_err(|wrong| {
                    self.content_finding(journal, Some((number, request)), at, &found, &wrong)
                })
            }
            (Role::Look(look), Answer::Zeroes(zeroes)) => {
                match zeroes.into_iter().find(|zero| !self.content.may_be_zero(&look, *zero)) {
                    Some(zero) => Err(status_finding(number, request, zero)),
                    None => Ok(()),
                }
            }
            (_, Answer::Checked(checked)) if !checked.is_clean() => {
                let mut finding = image::finding(&checked);
                finding.request_number = number;
                Err(Box::new(finding))
            }
            _ => Ok(()),
        }
    }

    /// The finding for content that is not possible. `found` is all that was read from `at` on.
    fn content_finding(
        &self,
        journal: &Journal,
        request: Option<(u32, Request)>,
        at: u64,
        found: &[u8],
        wrong: &Wrong,
    ) -> Box<Finding> {
        let from = (wrong.extent.offset - at) as usize;
        let test = &found[from..from + wrong.extent.length as usize];
        let (reference, others) = wrong.possible.split_last().expect("something is always possible");
        let sides = Sides { offset: wrong.extent.offset, reference, test, size: self.content.size() };
        let mut finding = report::content_finding(
            journal,
            request.map(|(number, request)| (number, request.into())),
            Extent::new(at, found.len() as u64),
            sides,
        );
        for other in others.iter().rev() {
            let (_, origin) = report::origin(journal, other, wrong.extent.offset, 0, self.content.size());
            let _ = writeln!(finding.report, "  or:        {origin}");
        }
        Box::new(finding)
    }

    /// The requests so far, each with those that it was in flight with.
    fn list(&self, journal: &Journal) -> String {
        let mut text = String::new();
        for (number, met) in &self.met[self.met.len().saturating_sub(LISTED)..] {
            let what = journal.request(*number).map_or_else(String::new, |request| request.to_string());
            let _ = write!(text, "  begun:     #{number} {what}");
            let label = if met.is_empty() { "" } else { "   in flight with" };
            let _ = write!(text, "{label}");
            for other in met {
                let _ = write!(text, " #{other}");
            }
            text.push('\n');
        }
        text
    }
}

/// Whether two requests touch the same cluster; one without a range touches all.
fn share_a_cluster(first: &Request, second: &Request, cluster: u64) -> bool {
    let clusters = |request: &Request| {
        request.range().map_or(0..u64::MAX, |(offset, length)| {
            offset / cluster..offset.saturating_add(length).div_ceil(cluster)
        })
    };
    let (first, second) = (clusters(first), clusters(second));
    first.start < second.end && second.start < first.end
}

fn refusal_finding(number: u32, request: Request, error: &str, what: &str) -> Box<Finding> {
    let signature = Signature::Result { request: request.kind(), error: error.to_owned() };
    Box::new(report::request_finding(number, request, signature, what))
}

fn status_finding(number: u32, request: Request, zero: Extent) -> Box<Finding> {
    let signature = Signature::Status { claim: "zero" };
    let what = format!("claims zeroes at {}, {} bytes, where none can be", zero.offset, zero.length);
    Box::new(report::request_finding(number, request, signature, &what))
}
