//! `cargo xtask bench`: our speed as a ratio to that of peers, measured in the same run.
//!
//! Absolute times mean little on a shared machine; so peers and we take turns, and the median of the ratios
//! counts.

mod content;
mod growth;
mod nbd;
mod programs;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;
use xshell::{Shell, cmd};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// One round instead of three, or five for whole programs.
    #[arg(long)]
    quick: bool,
    /// Measure only one part.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Folders in which programs are measured; a tmpfs and the build folder by default.
    #[arg(long, value_name = "FOLDER")]
    dir: Vec<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Whole programs, against cp and qemu-img.
    Programs,
    /// Servers and clients, against those of others.
    Nbd,
    /// Requests of drivers, against plain files and drivers of others.
    Drivers,
    /// Images that are ten and a hundred times as large.
    Growth,
    /// Generated scenarios, crash states, schedules, faults.
    Engines,
}

/// What is measured, against what, and how much of it we have to reach.
struct Target {
    ours: &'static str,
    peer: &'static str,
    ratio_min: f64,
}

const fn target(ours: &'static str, peer: &'static str, ratio_min: f64) -> Target {
    Target { ours, peer, ratio_min }
}

const TARGETS: [Target; 22] = [
    target("blk_requests_64k", "imago_tmpfs_requests_64k", 1.0),
    target("blk_requests_4k", "imago_tmpfs_requests_4k", 1.0),
    target("blk_requests_512", "imago_tmpfs_requests_512", 1.0),
    target("blk_sequences", "imago_tmpfs_sequences", 1.0),
    target("blk_read_4k", "plain_read_4k", 0.95),
    target("blk_write_4k", "plain_write_4k", 0.97),
    target("blk_alloc_4k", "plain_alloc_4k", 1.2),
    target("blk_alloc_4k_subclusters", "plain_entries_alloc_4k", 2.0),
    target("blk_read_64k", "plain_read_64k", 0.95),
    target("blk_alloc_64k", "plain_alloc_64k", 0.9),
    target("blk_read_1m", "plain_read_1m", 0.97),
    target("blk_write_1m", "plain_write_1m", 0.97),
    target("blk_read_4k_16", "blk_read_4k", 1.8),
    target("blk_read_4k_16", "plain_read_4k_16", 0.95),
    target("blk_read_4k_16", "imago_read_4k_16", 1.3),
    target("blk_read_4k_16", "qcow2_rs_read_4k_16", 1.3),
    target("blk_read_4k_16", "qemu_read_4k_16", 1.3),
    target("blk_read_4k_16", "qemu_uring_read_4k_16", 1.3),
    target("blk_data_file_read_4k", "blk_inside_read_4k", 0.95),
    target("blk_data_file_write_4k", "blk_inside_write_4k", 0.95),
    target("blk_encrypted_read_1m", "blk_luks_read_1m", 0.95),
    target("blk_encrypted_write_1m", "blk_luks_write_1m", 0.95),
];

#[derive(Deserialize)]
struct Measure {
    name: String,
    value: f64,
}

type Measures = BTreeMap<String, f64>;

pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let shell = Shell::new()?;
    let mut all = true;
    let measures = |part: Part| arguments.only.is_none_or(|only| only == part);
    if measures(Part::Programs) {
        all &= measure_programs(&shell, arguments)?;
    }
    if measures(Part::Nbd) {
        all &= measure_nbd(&shell, arguments)?;
    }
    if measures(Part::Drivers) {
        all &= measure_drivers(&shell, arguments)?;
    }
    if measures(Part::Growth) {
        println!("\nhow work grows");
        all &= growth::report(&measure_ours(&shell, "growth", rounds(arguments))?);
    }
    if measures(Part::Engines) {
        println!("\nengines, a second");
        show_medians(&measure_ours(&shell, "engines", rounds(arguments))?);
    }
    Ok(all)
}

fn measure_programs(shell: &Shell, arguments: &Arguments) -> Result<bool> {
    println!("building the program blk, then measuring it");
    cmd!(shell, "cargo build --release -p blk-cli").quiet().run()?;
    let target = cargo_blk::target_folder(&shell.current_dir());
    let folders = match &arguments.dir[..] {
        [] => vec![PathBuf::from("/dev/shm"), target.clone()],
        given => given.to_vec(),
    };
    programs::run(&target.join("release/blk"), &folders, if arguments.quick { 1 } else { 5 })
}

fn measure_nbd(shell: &Shell, arguments: &Arguments) -> Result<bool> {
    println!("building the program blk, then measuring NBD");
    crate::tools::need_programs(shell)?;
    cmd!(shell, "cargo build --release -p blk-cli --bin blk").quiet().run()?;
    let blk = cargo_blk::target_folder(&shell.current_dir()).join("release/blk").canonicalize()?;
    let folder = arguments.dir.first().map_or("/dev/shm".into(), PathBuf::clone);
    nbd::run(&blk, &folder, arguments.quick)
}

fn rounds(arguments: &Arguments) -> usize {
    if arguments.quick { 1 } else { 3 }
}

fn measure_drivers(shell: &Shell, arguments: &Arguments) -> Result<bool> {
    println!("building what measures the drivers, and their peers");
    cmd!(shell, "cargo build --release -p blk-testbed --bin blk-bench").quiet().run()?;
    cmd!(shell, "cargo build --release --manifest-path peers/Cargo.toml").quiet().run()?;
    let mut ours = Vec::new();
    let mut peers = Vec::new();
    let rounds = rounds(arguments);
    for round in 1..=rounds {
        println!("round {round} of {rounds}: the peers, then our drivers");
        peers.push(measure(shell, "cargo run --release --quiet --manifest-path peers/Cargo.toml -- all")?);
        let mut round = measure(shell, &format!("{OURS} memory"))?;
        round.append(&mut measure(shell, &format!("{OURS} files"))?);
        ours.push(round);
    }
    let all = report(&ours, &peers);
    println!("\npeers/README.md says what is measured, and what is not. Others of the same run:");
    show_medians(&peers);
    show_medians(&ours);
    Ok(all)
}

/// Measures one part of what is ours.
fn measure_ours(shell: &Shell, part: &str, rounds: usize) -> Result<Vec<Measures>> {
    cmd!(shell, "cargo build --release -p blk-testbed --bin blk-bench").quiet().run()?;
    (0..rounds).map(|_| measure(shell, &format!("{OURS} {part}"))).collect()
}

fn show_medians(rounds: &[Measures]) {
    for name in rounds.first().into_iter().flat_map(BTreeMap::keys) {
        let value = median(rounds.iter().filter_map(|round| round.get(name).copied()).collect());
        println!("  {name:24} {:>12.0}", value.unwrap_or(0.0));
    }
}

const OURS: &str = "cargo run --release --quiet -p blk-testbed --bin blk-bench --";

fn measure(shell: &Shell, command: &str) -> Result<Measures> {
    let words: Vec<&str> = command.split(' ').collect();
    let (program, rest) = words.split_first().context("a command has a name")?;
    let output = cmd!(shell, "{program} {rest...}").quiet().read()?;
    let parsed = output.lines().filter(|line| line.starts_with('{')).map(|line| {
        let measure: Measure =
            serde_json::from_str(line).with_context(|| format!("not a measure: {line}"))?;
        Ok((measure.name, measure.value))
    });
    parsed.collect()
}

/// Prints a table; returns whether every target is reached.
fn report(ours: &[Measures], peers: &[Measures]) -> bool {
    println!("{:24} {:>12} {:>12}  {:>6} {:>6}", "measure", "ours", "peer", "ratio", "wanted");
    let mut all = true;
    for Target { ours: name, peer, ratio_min } in TARGETS {
        // What is compared within one program was measured there within the same round.
        let side = if peer.starts_with("plain") || peer.starts_with("blk") { ours } else { peers };
        let ratios: Vec<f64> =
            ours.iter().zip(side).filter_map(|(a, b)| Some(a.get(name)? / b.get(peer)?)).collect();
        let value = |all: &[Measures], name: &str| {
            median(all.iter().filter_map(|one| one.get(name).copied()).collect()).unwrap_or(0.0)
        };
        let Some(ratio) = median(ratios) else {
            let (value, why) = (value(ours, name), format!("no measure of {name} or {peer}"));
            println!("{name:24} {value:>12.0} {:>12}  {:>6} {ratio_min:>6.2}  MISSED: {why}", "-", "-");
            all = false;
            continue;
        };
        let verdict = if ratio >= ratio_min { "" } else { "  MISSED" };
        all &= ratio >= ratio_min;
        println!(
            "{name:24} {:>12.0} {:>12.0}  {ratio:>6.2} {ratio_min:>6.2}{verdict}",
            value(ours, name),
            value(side, peer)
        );
    }
    all
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len().is_multiple_of(2) { f64::midpoint(values[middle - 1], upper) } else { upper })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_below_its_target_and_a_missing_measure_fail() {
        let mut ours = Measures::new();
        for Target { ours: name, peer, ratio_min } in TARGETS {
            ours.entry(peer.to_owned()).or_insert(100.0);
            let value = ours.entry(name.to_owned()).or_insert(100.0);
            *value = value.max(100.0 * ratio_min);
        }
        let peers = ours.clone();
        assert!(report(&[ours.clone()], std::slice::from_ref(&peers)));
        ours.insert(TARGETS[0].ours.to_owned(), 99.0);
        assert!(!report(&[ours.clone()], std::slice::from_ref(&peers)));
        ours.remove(TARGETS[0].ours);
        assert!(!report(&[ours], &[peers]));
    }

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(Vec::new()), None);
    }
}
