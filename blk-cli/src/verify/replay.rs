//! `blk replay`: the requests of a trace, made of two images.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use blk_harness::Outcome as Judged;
use blk_harness::driver::legal_config;
use blk_harness::scenario::Scenario;
use blk_harness::scenario::bounds::DOCUMENT_BYTES_MAX;
use blk_harness::session::{ReplayEnd, Session, SessionOptions};
use blk_harness::space::{PLAIN, Space};

use super::arguments::ReplayArguments;
use super::bench::Pair;
use super::copies::Copies;
use super::foreign;
use super::keep::{Effort, Judge, Kept};
use super::locate;
use super::oracles::{ImageJudge, Oracle};
use super::outcome::{Ended, Outcome};
use super::proof::goes_on;

/// Largest trace, bytes.
const TRACE_BYTES_MAX: u64 = DOCUMENT_BYTES_MAX as u64;

pub(super) fn run(arguments: &ReplayArguments) -> Result<Outcome> {
    if let Some(name) = &arguments.driver {
        return foreign::replay(arguments, name);
    }
    let scenario = read(&arguments.trace, &PLAIN)?;
    let pair = arguments.pair()?;
    if arguments.common.in_place && arguments.oracles.any() {
        bail!("--crash, --faults and --race break what they try: they work on copies, not in place");
    }
    if let Some(outcome) = super::check_first(&pair)? {
        return Ok(outcome);
    }
    let outcome = if arguments.oracles.any() {
        by_oracles(arguments, &pair, &scenario)?
    } else {
        plain(&pair, &scenario)?
    };
    Ok(outcome.with("", vec![("requests".to_owned(), scenario.requests.len().into())]))
}

pub(super) fn read(path: &Path, space: &'static Space) -> Result<Scenario> {
    let length = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if length > TRACE_BYTES_MAX {
        bail!("{} has {length} bytes; a trace has at most {TRACE_BYTES_MAX}", path.display());
    }
    let input = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let scenario = Scenario::parse_any(space, &input).with_context(|| path.display().to_string())?;
    if scenario.requests.is_empty() {
        bail!("{} has no requests: there is nothing to replay", path.display());
    }
    Ok(scenario)
}

/// Requests of several lanes are made by threads, again and again until chance has it that something is
/// found; in place only once.
fn plain(pair: &Pair, scenario: &Scenario) -> Result<Outcome> {
    let lanes = scenario.config.lanes.max(1);
    let (started, mut made) = (Instant::now(), 1);
    let mut outcome = once(pair, scenario, lanes)?;
    while outcome.is_clean() && lanes > 1 && !pair.in_place && goes_on(made, started) {
        made += 1;
        outcome = once(pair, scenario, lanes)?;
    }
    if lanes == 1 {
        return Ok(outcome);
    }
    let facts = [("threads", u32::from(lanes)), ("replays", made)];
    Ok(outcome.with("", facts.map(|(name, count)| (name.to_owned(), count.into())).into()))
}

fn once(pair: &Pair, scenario: &Scenario, lanes: u8) -> Result<Outcome> {
    let opened = pair.open()?;
    let layers = opened.layers();
    let options = SessionOptions { jobs: lanes.into(), ..SessionOptions::default() };
    let mut session = Session::new(opened, options);
    if let Err(finding) = session.compare() {
        let layers = layers.lock().clone();
        return pair.judged(|| Outcome::differ_at_first(&session, &layers, *finding));
    }
    let replayed = session.replay(&scenario.requests, ReplayEnd::WholeDisk);
    pair.sound()?;
    let Err(finding) = replayed else { return Ok(Outcome::new(Ended::Clean)) };
    let place = if locate::is_about_content(&finding.signature) {
        let layers = layers.lock().clone();
        locate::difference(session.bench(), &layers)
    } else {
        String::new()
    };
    Ok(Outcome::found(Kept::seen(*finding, scenario)).at(place))
}

/// The oracles that were asked for run the scenario as they ran it when it was found.
fn by_oracles(arguments: &ReplayArguments, pair: &Pair, scenario: &Scenario) -> Result<Outcome> {
    let opened = pair.open()?;
    let copies = Copies::of(opened.test_image(), &pair.formats.objects.objects())?;
    let config = legal_config(&copies, &scenario.config).map_err(anyhow::Error::msg)?;
    let scenario = Scenario { config, ..scenario.clone() };
    let mut oracles = arguments.oracles.asked();
    if oracles.contains(&Oracle::Race) {
        oracles.push(Oracle::Threads);
    }
    for oracle in oracles {
        let mut judge = ImageJudge::new(oracle, &copies, pair);
        let (started, mut made) = (Instant::now(), 0);
        loop {
            made += 1;
            match judge.judge(&scenario, Effort::Replay) {
                Judged::Clean if judge.has_threads() && goes_on(made, started) => {}
                Judged::Clean => break,
                Judged::Finding(finding) => return Ok(Outcome::found(Kept::seen(*finding, &scenario))),
                Judged::Refused(why) => bail!("the image cannot be tried: {why}"),
            }
        }
    }
    Ok(Outcome::new(Ended::Clean))
}
