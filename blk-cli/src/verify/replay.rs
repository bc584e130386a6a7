//! `blk replay`: the requests of a trace, made of two images.

use std::path::Path;

use anyhow::{Context, Result, bail};
use blk_verify::Outcome as Judged;
use blk_verify::scenario::Scenario;
use blk_verify::session::{ReplayEnd, Session, SessionOptions};

use super::arguments::ReplayArguments;
use super::bench::Pair;
use super::copies::Copies;
use super::keep::{Effort, Judge, Kept};
use super::locate;
use super::oracles::{ImageJudge, Oracle};
use super::outcome::{Ended, Outcome};

/// Largest trace, bytes.
const TRACE_BYTES_MAX: u64 = 16 << 20;

pub(super) fn run(arguments: &ReplayArguments) -> Result<Outcome> {
    let scenario = read(&arguments.trace)?;
    let pair = arguments.pair();
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

fn read(path: &Path) -> Result<Scenario> {
    let length = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if length > TRACE_BYTES_MAX {
        bail!("{} has {length} bytes; a trace has at most {TRACE_BYTES_MAX}", path.display());
    }
    let input = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let scenario = Scenario::parse_any(&input).with_context(|| path.display().to_string())?;
    if scenario.requests.is_empty() {
        bail!("{} has no requests: there is nothing to replay", path.display());
    }
    Ok(scenario)
}

fn plain(pair: &Pair, scenario: &Scenario) -> Result<Outcome> {
    let opened = pair.open()?;
    let layers = opened.layers();
    let mut session = Session::new(opened, SessionOptions::default());
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
    let copies = Copies::of(opened.test_image())?;
    let config = blk_verify::target::ImageTarget::legalize(&copies, &scenario.config);
    let scenario = Scenario { config, ..scenario.clone() };
    let mut oracles = arguments.oracles.asked();
    if oracles.contains(&Oracle::Race) {
        oracles.push(Oracle::Threads);
    }
    for oracle in oracles {
        match ImageJudge::new(oracle, &copies, pair).judge(&scenario, Effort::Replay) {
            Judged::Clean => {}
            Judged::Finding(finding) => return Ok(Outcome::found(Kept::seen(*finding, &scenario))),
            Judged::Refused(why) => bail!("the image cannot be tried: {why}"),
        }
    }
    Ok(Outcome::new(Ended::Clean))
}
