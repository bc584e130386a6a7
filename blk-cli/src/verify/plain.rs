//! `blk verify` without oracles: one long session of generated requests, in rounds.
//!
//! Copies begin anew after [`EPOCH_REQUESTS`] requests, then after twice as many each time, so that what led
//! to a finding can be replayed and shrunk. In place, what the images hold then is kept as another start.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use blk_harness::Outcome as Judged;
use blk_harness::picture::Picture;
use blk_harness::scenario::bounds::LANES_MAX;
use blk_harness::scenario::{Config, Scenario};
use blk_harness::session::{Counts, ReplayEnd, Session, SessionOptions};
use blk_verify::Finding;
use serde_json::Value;

use super::arguments::VerifyArguments;
use super::bench::{Layers, Pair, SpecBench};
use super::keep::{Clock, Effort, Judge, Kept, keep, keep_unproven};
use super::locate;
use super::outcome::{Ended, Facts, Outcome};
use super::page;
use super::progress::Progress;
use crate::spec::Origins;

/// Requests of a round, after which the image is checked and reopened: at first, and at most.
const ROUND_REQUESTS: u64 = 1000;
const ROUND_REQUESTS_MAX: u64 = 20_000;
/// Requests after which copies begin anew: at first, and at most, with one thread and with several.
const EPOCH_REQUESTS: u64 = 200_000;
const EPOCH_REQUESTS_MAX: u64 = 6_400_000;
const EPOCH_REQUESTS_MAX_OF_THREADS: u64 = 1_600_000;

/// Comparing a disk up to this size takes little time.
const LARGE_DISK_BYTES: u64 = 1 << 30;

/// A run while it goes on.
struct Run<'a> {
    arguments: &'a VerifyArguments,
    pair: &'a Pair,
    clock: Clock,
    counts: Arc<Counts>,
    /// Absent only while the images are closed.
    session: Option<Session>,
    layers: Layers,
    /// That the start cannot be replayed was said.
    is_start_lost: bool,
    /// Sessions before this one.
    epoch: u64,
    /// What the requests had come to when it began.
    began_at: u64,
    /// How long the last round took, and its requests.
    last_round: (Duration, u64),
    /// How long comparing everything took last.
    whole_compare: Duration,
    /// Bytes of the disks, and how many of them were compared in the end.
    compared_at_end: (u64, u64),
}

pub(super) fn run(
    arguments: &VerifyArguments,
    pair: &Pair,
    opened: Box<SpecBench>,
    clock: Clock,
) -> Result<Outcome> {
    let counts: Arc<Counts> = Arc::default();
    let layers = opened.layers();
    let session = Session::with_counts(opened, options(arguments, 0), Arc::clone(&counts));
    let mut run = Run {
        arguments,
        pair,
        clock,
        counts,
        session: Some(session),
        layers,
        is_start_lost: false,
        epoch: 0,
        began_at: 0,
        last_round: (Duration::ZERO, 0),
        whole_compare: Duration::ZERO,
        compared_at_end: (0, 0),
    };
    let progress = Progress::start(arguments.common.quiet, progress_line(clock, Arc::clone(&run.counts)));
    if let Err(finding) = run.session().compare() {
        progress.end();
        let layers = run.layers.lock().clone();
        return pair.judged(|| Outcome::differ_at_first(run.session(), &layers, *finding));
    }
    run.whole_compare = clock.started.elapsed();
    let ended = run.rounds()?;
    progress.end();
    pair.sound()?;
    let facts = run.facts();
    let outcome = match ended {
        Ok(()) => Outcome::new(Ended::Clean),
        Err(finding) => run.found(*finding),
    };
    Ok(outcome.with("", facts))
}

fn options(arguments: &VerifyArguments, epoch: u64) -> SessionOptions {
    let VerifyArguments { seed, jobs, read_only, resize, .. } = *arguments;
    let seed = seed.wrapping_add(epoch.wrapping_mul(u64::from(jobs)));
    SessionOptions { seed, jobs, read_only, resize }
}

impl Run<'_> {
    fn session(&self) -> &Session {
        self.session.as_ref().expect("a run without images has ended")
    }

    /// Makes requests until the run is over.
    fn rounds(&mut self) -> Result<Result<(), Box<Finding>>> {
        loop {
            let requests = self.next_round();
            if requests == 0 {
                let grace = self.clock;
                let finished = self.session().finish(&|| grace.is_over(Duration::ZERO));
                let size = self.session().bench().reference().size();
                return Ok(finished.map(|compared| self.compared_at_end = (size, compared)));
            }
            let (clock, pair, before) = (self.clock, self.pair, self.counts.requests());
            let started = Instant::now();
            let reserve = self.reserve();
            let session = self.session.as_mut().expect("a run without images has ended");
            if let Err(finding) = session.round(requests, &|| clock.is_over(reserve)) {
                return Ok(Err(finding));
            }
            pair.sound()?;
            self.say_lost_start();
            self.last_round = (started.elapsed(), self.counts.requests() - before);
            if self.counts.requests() - self.began_at >= self.epoch_requests() {
                if let Err(finding) = self.session().finish(&|| clock.is_over(Duration::ZERO)) {
                    return Ok(Err(finding));
                }
                self.begin_anew()?;
            }
        }
    }

    fn epoch_requests(&self) -> u64 {
        let has_threads = self.arguments.jobs > 1;
        let most = if has_threads { EPOCH_REQUESTS_MAX_OF_THREADS } else { EPOCH_REQUESTS_MAX };
        EPOCH_REQUESTS.saturating_mul(1 << self.epoch.min(10)).min(most)
    }

    fn begin_anew(&mut self) -> Result<()> {
        self.epoch += 1;
        self.began_at = self.counts.requests();
        self.close();
        self.pair.begin_start();
        self.is_start_lost = false;
        let opened = self.pair.open()?;
        self.layers = opened.layers();
        let options = options(self.arguments, self.epoch);
        self.session = Some(Session::with_counts(opened, options, Arc::clone(&self.counts)));
        Ok(())
    }

    /// Closes both images: in place, their files are locked while they are open.
    fn close(&mut self) {
        self.session = None;
        self.layers.lock().clear();
    }

    /// Why a finding cannot be replayed.
    fn lost_start(&self) -> Option<String> {
        let start = self.pair.start()?;
        if let Some(name) = self.pair.served() {
            return Some(format!(
                "nobody can put back what {name} held before the requests; start the server anew"
            ));
        }
        let why = start.failure()?;
        Some(format!("what the images held before the requests is no longer kept: {why}"))
    }

    fn say_lost_start(&mut self) {
        if let Some(why) = self.lost_start().filter(|_| !self.is_start_lost) {
            self.is_start_lost = true;
            super::outcome::tell(&format!("blk: {why}; a finding could not be proven\n"));
        }
    }

    /// How many requests the next round makes; 0 when the run is over. It is to end in time, with its
    /// comparison.
    fn next_round(&self) -> u64 {
        let made = self.counts.requests();
        let left = self.clock.until.requests.saturating_sub(made);
        let (took, last) = self.last_round;
        let usual = if last == 0 { ROUND_REQUESTS } else { (last * 2).min(ROUND_REQUESTS_MAX) };
        let fits = match self.clock.left() {
            None => u64::MAX,
            Some(_) if made == 0 => u64::MAX,
            Some(time) => {
                let time = time.saturating_sub(self.reserve());
                (u128::from(last) * time.as_micros() / took.as_micros().max(1)).try_into().unwrap_or(u64::MAX)
            }
        };
        // Fewer than these are not worth a check and a reopen.
        let fits = if fits < 20 { 0 } else { fits };
        left.min(usual).min(fits)
    }

    /// Time that is kept for comparing everything at the end.
    fn reserve(&self) -> Duration {
        let most = self.clock.until.time.unwrap_or_default() / 5;
        // What was a hole has data now, and takes longer to be compared.
        let is_large = self.session().config().size_bytes > LARGE_DISK_BYTES;
        if is_large { most } else { (self.whole_compare * 2).max(most / 10).min(most) }
    }

    fn found(mut self, finding: Finding) -> Outcome {
        let is_content = locate::is_about_content(&finding.signature);
        let layers = self.layers.lock().clone();
        let place =
            if is_content { locate::difference(self.session().bench(), &layers) } else { String::new() };
        // What is reported above these lines is the smallest scenario, on other copies.
        let place =
            if place.is_empty() { place } else { format!("  in the run, before it was shrunk:\n{place}") };
        drop(layers);
        let (history, made) = (self.session().history(), self.session().requests_made());
        let config = self.session().config().clone();
        self.close();
        let Some(mut scenario) = history else {
            let mut kept = Kept::new(finding, made);
            kept.notes.push(format!("not proven: {made} requests are more than are made again"));
            return Outcome::found(kept).at(place);
        };
        if self.arguments.jobs > 1 {
            scenario.config.lanes = self.arguments.jobs.min(u32::from(LANES_MAX)) as u8;
        }
        let keeping = self.arguments.keeping();
        if let Some(why) = self.lost_start() {
            let why = format!("not proven and not shrunk: {why}");
            let kept = keep_unproven(finding, scenario, why, &self.pair.words(), keeping.traces);
            return Outcome::found(kept).at(place);
        }
        let pair = self.pair.as_at_first();
        let mut judge = Replays { pair: &pair, config, finding: finding.clone() };
        let mut kept = keep(&mut judge, finding, scenario, keeping);
        if self.pair.in_place {
            kept.notes.push("in place: the images are as the run has left them".to_owned());
        }
        Outcome::found(kept).at(place)
    }

    #[expect(clippy::cast_precision_loss, reason = "shares and rates need no more than a few digits")]
    fn facts(&self) -> Facts {
        let counts = &self.counts;
        let (requests, seconds) = (counts.requests(), self.clock.started.elapsed().as_secs_f64());
        let tenth = |number: f64| (number * 10.0).round() / 10.0;
        let mut facts = Facts::new();
        let mut add = |name: &str, value: Value| facts.push((name.to_owned(), value));
        add("requests", requests.into());
        add("accepted_percent", tenth(counts.accepted() as f64 * 100.0 / requests.max(1) as f64).into());
        add("requests_per_second", (requests as f64 / seconds.max(1e-9)).round().into());
        add("mib_compared", (counts.bytes_compared() >> 20).into());
        let (size, compared) = self.compared_at_end;
        if compared > 0 {
            add("compared_at_the_end_percent", tenth(compared as f64 * 100.0 / size as f64).into());
        }
        add("copies_begun_anew", self.epoch.into());
        add("seed", self.arguments.seed.into());
        add("seconds", tenth(seconds).into());
        facts
    }
}

fn progress_line(clock: Clock, counts: Arc<Counts>) -> impl Fn() -> String + Send + 'static {
    move || {
        let requests = counts.requests();
        let done = format!("{requests} requests, {} MiB compared", counts.bytes_compared() >> 20);
        match clock.left() {
            Some(left) => format!("{:>4} s left  {done}", left.as_secs()),
            None => format!("{:>4} requests left  {done}", clock.until.requests.saturating_sub(requests)),
        }
    }
}

/// Replays a session from the images as they were at first.
pub(super) struct Replays<'a> {
    pub(super) pair: &'a Pair,
    pub(super) config: Config,
    /// What is looked for.
    pub(super) finding: Finding,
}

impl Judge for Replays<'_> {
    fn judge(&mut self, scenario: &Scenario, effort: Effort) -> Judged {
        // The disks are what they are: nothing else can be tried, but fewer threads.
        let lanes = scenario.config.lanes;
        if scenario.config != (Config { lanes, ..self.config.clone() }) {
            return Judged::Clean;
        }
        let opened = match self.pair.open() {
            Ok(opened) => opened,
            Err(error) => return Judged::Refused(format!("{error:#}")),
        };
        // What a request has noticed, another request notices.
        let is_late = self.finding.request_number == 0;
        let end =
            if effort == Effort::Replay || is_late { ReplayEnd::WholeDisk } else { ReplayEnd::LastRequest };
        let options = SessionOptions {
            read_only: self.pair.read_only,
            jobs: u32::from(lanes.max(1)),
            ..SessionOptions::default()
        };
        let mut session = Session::new(opened, options);
        match session.replay(&scenario.requests, end) {
            Ok(()) => Judged::Clean,
            Err(finding) => Judged::Finding(finding),
        }
    }

    fn picture(&mut self, scenario: &Scenario, count: usize) -> Option<Picture> {
        let opened = self.pair.open().ok()?;
        let layers = opened.layers();
        let before = page::look(opened.test_disk(), &layers.lock());
        let mut session = Session::new(opened, SessionOptions::default());
        let requests = &scenario.requests[..count.min(scenario.requests.len())];
        // What is found is known.
        let _ = session.replay(requests, ReplayEnd::LastRequest);
        let disk = session.bench().test();
        let _ = disk.flush();
        let after = page::look(&disk, &layers.lock());
        Some(Picture { before, after, requests: requests.len() })
    }

    fn words(&self) -> String {
        self.pair.words()
    }

    fn has_threads(&self) -> bool {
        true
    }

    fn origins(&self) -> Origins {
        self.pair.origins.clone()
    }
}
