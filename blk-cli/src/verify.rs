//! `blk verify` and `blk replay`: the verifier over any two images.
//!
//! ```text
//! arguments ──► Pair: how both images are opened, on overlays unless in place
//!                 │ check of the image under test, comparison of both
//!                 ├──► plain:   one long session of generated requests
//!                 └──► oracles: scenarios over copies in memory (crashes, faults, races)
//!                        │ a finding, with the scenario that led to it
//!                        ▼
//!                      proof: replays and shrinks it;  keep, page: write it;  locate: where the bytes are
//! ```

mod arguments;
mod bench;
mod copies;
mod foreign;
mod keep;
mod locate;
mod oracles;
mod outcome;
mod page;
mod plain;
mod progress;
mod proof;
mod replay;

use std::process::ExitCode;

use anyhow::{Result, bail};
use blk_core::RepairMode;

use bench::Pair;
use keep::Clock;
use outcome::{Ended, Outcome};

pub(crate) use arguments::parse_path;
pub use arguments::{ReplayArguments, VerifyArguments};

/// Runs `blk verify`.
pub fn verify(arguments: &VerifyArguments) -> ExitCode {
    let output = arguments.output();
    outcome::end(output, run_verify(arguments))
}

/// Runs `blk replay`.
pub fn replay(arguments: &ReplayArguments) -> ExitCode {
    outcome::end(arguments.output(), replay::run(arguments))
}

fn run_verify(arguments: &VerifyArguments) -> Result<Outcome> {
    if arguments.resize && arguments.jobs > 1 {
        bail!("--resize needs --jobs 1: requests past the end would be ordered by chance");
    }
    if arguments.common.in_place && arguments.oracles.any() {
        bail!("--crash, --faults and --race break what they try: they work on copies, not in place");
    }
    arguments.make_traces_folder()?;
    let clock = Clock::start(arguments.until());
    if let Some(name) = &arguments.driver {
        if arguments.common.in_place || arguments.read_only || arguments.resize {
            bail!("--driver has images of its own: --in-place, --read-only and --resize are for two images");
        }
        return foreign::run(arguments, name, clock);
    }
    let pair = arguments.pair();
    if let Some(outcome) = check_first(&pair)? {
        return Ok(outcome);
    }
    if arguments.oracles.any() {
        return oracles::run(arguments, &pair, clock);
    }
    pair.begin_start();
    plain::run(arguments, &pair, pair.open()?, clock)
}

/// Checks the image under test: what is wrong with it already is no fault of a request.
fn check_first(pair: &Pair) -> Result<Option<Outcome>> {
    let Some(report) = pair.check()? else { return Ok(None) };
    let name = pair.test.clone();
    if report.is_clean() {
        return Ok(None);
    }
    if !pair.repair {
        return Ok(Some(Outcome::new(Ended::NotClean { name, report })));
    }
    outcome::tell(&format!("blk: '{name}' is not clean, and is repaired first:\n{report}\n"));
    let repaired = pair.open()?.test_disk().check(RepairMode::None)?;
    let is_clean = repaired.is_clean();
    Ok((!is_clean).then(|| Outcome::new(Ended::NotClean { name, report: repaired })))
}
