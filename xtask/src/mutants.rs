//! `cargo xtask mutants`: are the engines any good? cargo-mutants breaks everything in the drivers that it
//! can break, one at a time, in copies of the workspace; the engines, seeded, have to find each
//! (`blk-testbed/src/gauntlet.rs`), or else the drivers' own tests. What neither finds is explained in
//! `xtask/mutants.toml`, or it is a defect of the generator or of an oracle.

mod explained;
mod list;
mod report;
mod results;
mod rewrite;
mod switched;
mod work;

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::builder::PossibleValuesParser;
use xshell::Shell;

use crate::{tools, tree};
use cargo_blk::units::{parse_count, parse_time};
use explained::Explained;
use list::Mutant;
use results::Results;

const EXPLAINED: &str = "xtask/mutants.toml";
const FOLDER: &str = "target/mutants";
/// The packages that are broken unless others are named. The gauntlet judges them, and their own tests.
const DRIVERS: [&str; 2] = ["blk-qcow2", "blk-raw"];
const HARNESS: &str = "blk-harness";
/// What judges drivers. The tests of each judge it, and those of blk-harness, whose planted drivers it has to
/// find wrong.
const JUDGES: [&str; 4] = ["blk-core", "blk-verify", "blk-sim", HARNESS];
const PACKAGES: [&str; 6] = [DRIVERS[0], DRIVERS[1], JUDGES[0], JUDGES[1], JUDGES[2], JUDGES[3]];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only part K of N, from 0: parts of several machines are disjoint.
    #[arg(long, value_name = "K/N", value_parser = parse_shard)]
    shard: Option<(u64, u64)>,
    /// Copies of the workspace that are tested in at the same time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Packages that are broken.
    #[arg(long, value_name = "NAME", default_values = DRIVERS, value_parser = PossibleValuesParser::new(PACKAGES))]
    package: Vec<String>,
    /// Only mutants of these files.
    #[arg(long, value_name = "GLOB")]
    file: Vec<String>,
    /// Only mutants whose name contains this.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Only one mutant in so many, chosen by the seed.
    #[arg(long, default_value = "1", value_parser = parse_sample)]
    sample: u64,
    /// Seed of the sample, and of the order.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Stops after this time, such as 30m; a rerun goes on. 0 reports only what is known.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    time: Option<Duration>,
    /// Tests what is known already as well.
    #[arg(long)]
    again: bool,
}

fn parse_sample(text: &str) -> Result<u64, String> {
    match parse_count(text)? {
        0 => Err("one mutant in 0 is none".to_owned()),
        sample => Ok(sample),
    }
}

fn parse_shard(text: &str) -> Result<(u64, u64), String> {
    let parsed = text.split_once('/').and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
    match parsed {
        Some((k, n)) if k < n => Ok((k, n)),
        _ => Err("K/N is meant, with K from 0 to N-1".to_owned()),
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let started = Instant::now();
    let shell = Shell::new()?;
    tools::need_cargo_mutants(&shell)?;
    let mut all = list::all(&shell, &[])?;
    let explained = Explained::read(&fs::read_to_string(EXPLAINED)?)?;
    let is_asked = |name: &String| arguments.package.iter().any(|package| name.starts_with(package.as_str()));
    let stale: Vec<String> = explained.stale(&all).into_iter().filter(is_asked).collect();
    if !stale.is_empty() {
        bail!("{EXPLAINED} explains what does not exist:\n{}", stale.join("\n"));
    }
    all.retain(|mutant| arguments.package.contains(&mutant.package));
    let mut results = Results::load(&Path::new(FOLDER).join("results.json"), &tester(&shell)?)?;
    let chosen = choose(&shell, arguments, &all)?;
    let waiting: Vec<&Mutant> = chosen.into_iter().filter(|m| arguments.again || !results.knows(m)).collect();
    println!("{} mutants, {} of them to be tested now", all.len(), waiting.len());
    let deadline = arguments.time.map(|time| started + time);
    let is_late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
    if !waiting.is_empty() && !is_late {
        work::test(&shell, waiting, arguments.jobs, deadline, &mut results)?;
    }
    let report = report::Report::new(&all, &results, &explained);
    fs::create_dir_all(FOLDER)?;
    fs::write(Path::new(FOLDER).join("report.md"), report.to_string())?;
    println!("\n{report}\nwrote {FOLDER}/report.md");
    Ok(report.is_good())
}

/// A hash of everything that judges: where it changes, survivors are tested again.
fn tester(shell: &Shell) -> Result<String> {
    const PARTS: [&str; 11] = [
        "xtask/src/mutants/work.rs",
        "blk-core/src",
        "blk-verify/src",
        "blk-sim/src",
        "blk-harness/src",
        "blk-testbed/src",
        "blk-verify/tests",
        "blk-harness/tests",
        "fuzz/regressions",
        "blk-qcow2/tests",
        "blk-raw/tests",
    ];
    const SOURCES: [&str; 2] = ["blk-qcow2/src", "blk-raw/src"];
    let files = tree::files(shell)?;
    let mut hash = list::Hash::default();
    for file in files.iter().filter(|file| PARTS.iter().any(|part| file.starts_with(part))) {
        hash.add(file.to_string_lossy().as_bytes());
        hash.add(&fs::read(file)?);
    }
    for file in files.iter().filter(|file| SOURCES.iter().any(|part| file.starts_with(part))) {
        let text = fs::read_to_string(file)?;
        // Unit tests stand at the end of what they test.
        hash.add(text.rsplit_once("\n#[cfg(test)]\n").map_or("", |(_, tests)| tests).as_bytes());
    }
    Ok(hash.to_string())
}

/// What the arguments ask for, in an order that depends on the seed alone: whatever part of it is run is a
/// fair sample.
fn choose<'a>(shell: &Shell, arguments: &Arguments, all: &'a [Mutant]) -> Result<Vec<&'a Mutant>> {
    let in_files: Option<HashSet<String>> = if arguments.file.is_empty() {
        None
    } else {
        Some(list::all(shell, &arguments.file)?.into_iter().map(|mutant| mutant.identity()).collect())
    };
    let number = |mutant: &Mutant| {
        let mut hash = list::Hash::default();
        hash.add(&arguments.seed.to_le_bytes());
        hash.add(mutant.identity().as_bytes());
        hash.mixed()
    };
    let is_wanted = |mutant: &&Mutant| {
        in_files.as_ref().is_none_or(|names| names.contains(&mutant.identity()))
            && arguments.name.as_ref().is_none_or(|part| mutant.name.contains(part))
            && arguments.shard.is_none_or(|(k, n)| number(mutant) / arguments.sample % n == k)
            && number(mutant).is_multiple_of(arguments.sample)
    };
    let mut chosen: Vec<&Mutant> = all.iter().filter(is_wanted).collect();
    chosen.sort_by_key(|mutant| number(mutant));
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_understood() {
        assert_eq!(parse_shard("0/4"), Ok((0, 4)));
        assert_eq!(parse_shard("3/4"), Ok((3, 4)));
        for wrong in ["4/4", "1", "a/4", "1/0", "-1/4"] {
            assert!(parse_shard(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_explanation_is_read_and_names_a_file_that_is_there() {
        tools::enter_root().unwrap();
        let explained = Explained::read(&fs::read_to_string(EXPLAINED).unwrap()).unwrap();
        for file in explained.files() {
            assert!(Path::new(file).is_file(), "{file}");
        }
    }
}
