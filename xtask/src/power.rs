//! `cargo xtask power`: is the fuzzer any good? Breaks one line of the driver at a time, in a copy of the
//! workspace, and sees how fast the fuzzer finds it from an empty corpus, and into how few requests the
//! finding shrinks.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cargo_blk::fuzz;
use cargo_blk::job::Hang;
use serde::{Deserialize, Serialize};
use xshell::{Shell, cmd};

use crate::tree;
use cargo_blk::units::parse_time;

const MUTANTS: &str = "xtask/power.toml";
const FOLDER: &str = "target/power";
/// What a typical finding has to shrink to.
const REQUESTS_MAX: usize = 6;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only these mutants.
    names: Vec<String>,
    /// How long each may take to be found.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_time)]
    time: Duration,
    /// Seeds of the fuzzer, such as 1,2,3: each line is tried with each of them.
    #[arg(long, default_value = "1", value_delimiter = ',')]
    seed: Vec<u32>,
}

#[derive(Deserialize)]
struct Mutants {
    mutant: Vec<Mutant>,
}

/// One broken line.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Mutant {
    name: String,
    file: String,
    find: String,
    replace: String,
    note: String,
    /// The fuzz target that has to find it.
    #[serde(default = "usual_target")]
    target: String,
    /// What no oracle looks at yet: the line is reached and cannot be found. It is tried only where it is
    /// named.
    waits_for: Option<String>,
}

fn usual_target() -> String {
    "verify_qcow2".to_owned()
}

/// How a mutant fared with one seed.
#[derive(Debug, Serialize)]
struct Fate {
    seed: u32,
    seconds: Option<f64>,
    requests: Option<usize>,
    headline: String,
}

impl Fate {
    /// Found, and shrunk to what a typical finding has to shrink to.
    fn is_good(&self) -> bool {
        self.seconds.is_some() && self.requests.is_some_and(|requests| requests <= REQUESTS_MAX)
    }
}

/// One row of the report: what each seed took, the longest scenario that was left, and what was seen first.
fn row(mutant: &Mutant, fates: &[Fate]) -> String {
    let seconds =
        |fate: &Fate| fate.seconds.map_or_else(|| "not found".into(), |took| format!("{took:.1} s"));
    let seconds: Vec<String> = fates.iter().map(seconds).collect();
    let requests = fates.iter().filter_map(|fate| fate.requests).max();
    let requests = requests.map_or_else(|| "-".to_owned(), |requests| requests.to_string());
    let seen = fates.iter().find(|fate| !fate.headline.is_empty()).map_or("", |fate| &fate.headline);
    format!("| {} ({}) | {} | {requests} | {seen} |", mutant.note, mutant.name, seconds.join(", "))
}

pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let shell = Shell::new()?;
    cargo_blk::need_cargo_fuzz(&shell)?;
    let mutants = read_mutants(&fs::read_to_string(MUTANTS)?, &arguments.names)?;
    let tree = std::env::current_dir()?.join(FOLDER).join("tree");
    let (count, seeds) = (mutants.len(), arguments.seed.len());
    println!("{count} broken lines, {seeds} seeds each: built, fuzzed, shrunk in {}", tree.display());
    tree::copy(&shell, &tree)?;
    let mut report =
        String::from("| broken line | found after | requests | what was seen |\n|---|---|---|---|\n");
    let mut all = true;
    let mut fates = BTreeMap::new();
    for (number, mutant) in (1..).zip(&mutants) {
        println!("[{number}/{count}] {}: {}", mutant.name, mutant.note);
        let tried = try_mutant(&shell, &tree, mutant, arguments)
            .with_context(|| format!("mutant {}", mutant.name))?;
        let row = row(mutant, &tried);
        println!("    {row}");
        let _ = writeln!(report, "{row}");
        all &= tried.iter().all(Fate::is_good);
        fates.insert(mutant.name.as_str(), tried);
    }
    fs::write(Path::new(FOLDER).join("report.md"), &report)?;
    fs::write(Path::new(FOLDER).join("report.json"), serde_json::to_string_pretty(&fates)?)?;
    println!("\n{report}\nwrote {FOLDER}/report.md and report.json");
    Ok(all)
}

fn read_mutants(text: &str, names: &[String]) -> Result<Vec<Mutant>> {
    let all: Mutants = toml::from_str(text).with_context(|| format!("in {MUTANTS}"))?;
    if let Some(unknown) = names.iter().find(|name| !all.mutant.iter().any(|mutant| mutant.name == **name)) {
        bail!("there is no mutant '{unknown}' in {MUTANTS}");
    }
    let is_wanted = |mutant: &Mutant| {
        if names.is_empty() { mutant.waits_for.is_none() } else { names.contains(&mutant.name) }
    };
    Ok(all.mutant.into_iter().filter(is_wanted).collect())
}

fn try_mutant(shell: &Shell, tree: &Path, mutant: &Mutant, arguments: &Arguments) -> Result<Vec<Fate>> {
    let path = tree.join(&mutant.file);
    let original = fs::read_to_string(&path).with_context(|| format!("cannot read {}", mutant.file))?;
    fs::write(&path, break_line(&original, mutant)?)?;
    let fates = cargo_blk::build_fuzz_target(shell, tree, &mutant.target).and_then(|program| {
        arguments
            .seed
            .iter()
            .map(|seed| judge(shell, tree, &program, mutant, *seed, arguments.time))
            .collect()
    });
    fs::write(&path, original)?;
    fates
}

/// The file with its one line broken.
fn break_line(original: &str, mutant: &Mutant) -> Result<String> {
    match original.matches(&mutant.find).count() {
        1 => Ok(original.replacen(&mutant.find, &mutant.replace, 1)),
        count => bail!("'{}' stands {count} times in {}, and has to stand once", mutant.find, mutant.file),
    }
}

fn judge(
    shell: &Shell,
    tree: &Path,
    program: &Path,
    mutant: &Mutant,
    seed: u32,
    time: Duration,
) -> Result<Fate> {
    println!("    seed {seed}: fuzzing {} for {:.0} s at most", mutant.target, time.as_secs_f64());
    let runs = tree.parent().context("the tree lies in a folder")?.join("runs");
    let folder = runs.join(format!("{}-{seed}", mutant.name));
    let _ = fs::remove_dir_all(&folder);
    let folders = fuzz::Folders {
        corpus: folder.join("corpus"),
        seeds: Vec::new(),
        artifacts: folder.join("artifacts"),
        flags: crate::project()?.libfuzzer_flags(&mutant.target),
        status: None,
    };
    fs::create_dir_all(&folders.corpus)?;
    fs::create_dir_all(&folders.artifacts)?;
    let fuzzing = fuzz::Arguments {
        target: mutant.target.clone(),
        time: Some(time),
        jobs: 1,
        seed: Some(seed),
        empty_corpus: true,
        hang: Hang::default(),
        words: Vec::new(),
    };
    let ended = fuzz::drive(program, &folders, &fuzzing, &mut |_| {})?;
    let Some(artifact) = ended.artifact else {
        return Ok(Fate { seed, seconds: None, requests: None, headline: String::new() });
    };
    let headline = ended.report.iter().find(|line| line.starts_with("blkverify")).or(ended.report.first());
    let headline = headline.cloned().unwrap_or_default();
    let requests = minimised_requests(shell, program, &artifact, &folder)?;
    Ok(Fate { seed, seconds: Some(ended.seconds), requests, headline })
}

/// Minimises with the broken driver; returns how many requests are left.
fn minimised_requests(shell: &Shell, program: &Path, artifact: &Path, out: &Path) -> Result<Option<usize>> {
    // The target proves and shrinks its own findings.
    let minimise = cmd!(shell, "{program}").env("BLK_REPRODUCE", artifact).env("BLK_OUT", out);
    let output = minimise.quiet().ignore_status().output()?;
    fs::write(out.join("minimise.txt"), &output.stdout)?;
    let Some(text) = trace_in(out)?.and_then(|trace| fs::read_to_string(trace).ok()) else {
        println!("    not minimised: {}", String::from_utf8_lossy(&output.stderr).trim());
        return Ok(None);
    };
    let is_request = |line: &&str| {
        let line = line.trim();
        !line.is_empty()
            && !line.starts_with('#')
            && !line.starts_with("blk-scenario")
            && !line.starts_with("config")
    };
    Ok(Some(text.lines().filter(is_request).count()))
}

/// The trace that was written to a folder which had none.
fn trace_in(folder: &Path) -> Result<Option<PathBuf>> {
    let paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok(paths.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "trace")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(find: &str) -> Mutant {
        let word = |text: &str| text.to_owned();
        Mutant {
            name: word("m"),
            file: word("f"),
            find: word(find),
            replace: word("z"),
            note: word("n"),
            target: usual_target(),
            waits_for: None,
        }
    }

    #[test]
    fn a_line_that_is_missing_or_stands_twice_is_an_error() {
        assert_eq!(break_line("a b c", &mutant("b")).unwrap(), "a z c");
        assert!(break_line("a b b", &mutant("b")).is_err());
        assert!(break_line("a", &mutant("b")).is_err());
    }

    #[test]
    fn every_mutant_of_the_list_matches_today_s_code() {
        crate::tools::enter_root().unwrap();
        let all: Mutants = toml::from_str(&fs::read_to_string(MUTANTS).unwrap()).unwrap();
        assert!(all.mutant.len() >= 70, "{}", all.mutant.len());
        for mutant in all.mutant {
            let text = fs::read_to_string(&mutant.file).unwrap();
            break_line(&text, &mutant).unwrap();
        }
    }
}
