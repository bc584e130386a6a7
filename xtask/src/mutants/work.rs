//! Runs cargo-mutants, a few mutants at a time, in copies of the workspace that keep their build folders.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use xshell::{Shell, cmd};

use super::list::{Listed, Mutant};
use super::results::{Fate, Results};
use super::{DRIVERS, FOLDER, HARNESS, JUDGES, PACKAGES, switched};
use crate::tree;

/// Mutants that one call of cargo-mutants tests: so many may be begun after the time is over.
const BATCH: usize = 4;
/// Tests of the drivers that no survivor is given: the gauntlet has their rules, or they need programs that
/// are not ours.
const LEFT_OUT: [&str; 4] = ["conformance", "check_qemu", "interop", "block_device"];
/// Of drivers: what they rest on is built once, and fast.
const PROFILE: &str = "mutant";
/// Of what judges them, which is built for each mutant.
const JUDGES_PROFILE: &str = "dev";
/// A test that takes so many times longer than it takes without a mutant does not end. Machines are busy now
/// and then.
const TIMEOUT_FACTOR: f64 = 5.0;
const TIMEOUT_SECONDS_MIN: f64 = 30.0;

/// What became of mutants, by their printed names, and the seconds that it took.
type Fates = HashMap<String, (Fate, f64)>;

/// What is asked to find a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judge<'a> {
    /// The part of the gauntlet that finds nearly all that the whole finds.
    ShortGauntlet,
    LongGauntlet,
    /// The tests of this package.
    OwnTests(&'a str),
}

/// How long each judge may take, seconds.
#[derive(Debug, Clone)]
struct Timeouts {
    short: f64,
    long: f64,
    own: HashMap<&'static str, f64>,
}

/// What a worker needs.
struct Shared<'a> {
    waiting: Mutex<VecDeque<&'a Mutant>>,
    results: Mutex<&'a mut Results>,
    timeouts: Timeouts,
    deadline: Option<Instant>,
    total: usize,
}

/// Tests these, in `jobs` copies at a time, until all are done or the time is over.
pub(super) fn test(
    shell: &Shell,
    waiting: Vec<&Mutant>,
    jobs: usize,
    deadline: Option<Instant>,
    results: &mut Results,
) -> Result<()> {
    let trees: Vec<PathBuf> = (0..jobs.max(1)).map(tree_path).collect::<Result<_>>()?;
    for tree in &trees {
        fs::create_dir_all(tree)?;
        tree::copy(shell, tree)?;
    }
    let is_judge = |mutant: &&Mutant| JUDGES.contains(&mutant.package.as_str());
    let (judges, mut waiting): (Vec<&Mutant>, Vec<&Mutant>) = waiting.into_iter().partition(is_judge);
    if !judges.is_empty() {
        waiting.extend(switched::test(&trees[0], &judges, jobs, deadline, results)?);
    }
    if waiting.is_empty() || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
        return Ok(());
    }
    let timeouts = time_judges(shell, &trees[0], &waiting)?;
    println!("without a mutant: {timeouts:?} (seconds, times {TIMEOUT_FACTOR})");
    let total = waiting.len();
    let (waiting, results) = (Mutex::new(waiting.into()), Mutex::new(results));
    let shared = Shared { waiting, results, timeouts, deadline, total };
    std::thread::scope(|scope| {
        let workers: Vec<_> = trees
            .iter()
            .enumerate()
            .map(|(index, tree)| (scope.spawn(|| work(tree, &shared)), index))
            .collect();
        for (worker, index) in workers {
            worker.join().expect("a worker does not panic").with_context(|| format!("worker {index}"))?;
        }
        Ok(())
    })
}

fn tree_path(index: usize) -> Result<PathBuf> {
    Ok(std::env::current_dir()?.join(FOLDER).join(format!("tree-{index}")))
}

/// All judges have to pass without a mutant, or what they find means nothing.
fn time_judges(shell: &Shell, tree: &Path, mutants: &[&Mutant]) -> Result<Timeouts> {
    let judge = |judge: Judge<'_>| -> Result<f64> {
        let _there = shell.push_dir(tree);
        let (cargo, tests) = judge.words(tree)?;
        let package = judge.package();
        let words = ["--profile", judge.profile(), "--package", package];
        let building = &cargo;
        let build = cmd!(shell, "cargo test --quiet {words...} {building...} --no-run");
        build.env_remove("CARGO_TARGET_DIR").run().context("the judge cannot be built")?;
        let begun = Instant::now();
        let run = cmd!(shell, "cargo test --quiet {words...} {cargo...} {tests...}");
        let output = run.env_remove("CARGO_TARGET_DIR").quiet().ignore_status().output()?;
        if !output.status.success() {
            bail!("{judge:?} fails without a mutant:\n{}", String::from_utf8_lossy(&output.stdout));
        }
        Ok((begun.elapsed().as_secs_f64() * TIMEOUT_FACTOR).max(TIMEOUT_SECONDS_MIN))
    };
    let is_asked = |package: &str| {
        let breaks = |mutant: &&Mutant| {
            mutant.package == package || (package == HARNESS && JUDGES.contains(&mutant.package.as_str()))
        };
        mutants.iter().any(breaks)
    };
    let (short, long) = if DRIVERS.into_iter().any(is_asked) {
        (judge(Judge::ShortGauntlet)?, judge(Judge::LongGauntlet)?)
    } else {
        (0.0, 0.0)
    };
    let asked = PACKAGES.into_iter().filter(|package| is_asked(package));
    let own: Result<_> = asked.map(|package| Ok((package, judge(Judge::OwnTests(package))?))).collect();
    Ok(Timeouts { short, long, own: own? })
}

/// Takes batches until there is none, or no time.
fn work(tree: &Path, shared: &Shared<'_>) -> Result<()> {
    let shell = Shell::new()?;
    loop {
        if shared.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(());
        }
        let batch: Vec<&Mutant> = {
            let mut waiting = shared.waiting.lock().expect("no worker panics");
            let count = waiting.len().min(BATCH);
            waiting.drain(..count).collect()
        };
        if batch.is_empty() {
            return Ok(());
        }
        let fates = judge(&shell, tree, &batch, &shared.timeouts)?;
        note(&batch, &fates, shared)?;
    }
}

/// Asks one judge after the other about what the ones before have not found: the cheapest first.
fn judge(shell: &Shell, tree: &Path, batch: &[&Mutant], timeouts: &Timeouts) -> Result<Fates> {
    let is_driver = |mutant: &&Mutant| DRIVERS.contains(&mutant.package.as_str());
    let (drivers, judges): (Vec<&Mutant>, Vec<&Mutant>) = batch.iter().copied().partition(is_driver);
    let mut fates = judge_drivers(shell, tree, &drivers, timeouts)?;
    fates.extend(judge_judges(shell, tree, &judges, timeouts)?);
    Ok(fates)
}

/// What judges drivers is judged by its own tests, then by the planted drivers of blk-harness.
fn judge_judges(shell: &Shell, tree: &Path, batch: &[&Mutant], timeouts: &Timeouts) -> Result<Fates> {
    let mut fates = Fates::new();
    for package in JUDGES {
        let own: Vec<&Mutant> = batch.iter().filter(|mutant| mutant.package == package).copied().collect();
        if own.is_empty() {
            continue;
        }
        let asked = own_tests_of(shell, tree, package, &own, timeouts)?;
        let survivors = of_fate(&own, &asked, Fate::Survived);
        merge(&mut fates, asked);
        if package != HARNESS && !survivors.is_empty() {
            merge(&mut fates, own_tests_of(shell, tree, HARNESS, &survivors, timeouts)?);
        }
    }
    Ok(fates)
}

/// What the tests of `package` find.
fn own_tests_of(
    shell: &Shell,
    tree: &Path,
    package: &'static str,
    mutants: &[&Mutant],
    timeouts: &Timeouts,
) -> Result<Fates> {
    let mut own = ask_patiently(shell, tree, Judge::OwnTests(package), mutants, timeouts.own[package])?;
    for (fate, _) in own.values_mut().filter(|(fate, _)| *fate == Fate::Engines) {
        *fate = Fate::OwnTests;
    }
    Ok(own)
}

fn judge_drivers(shell: &Shell, tree: &Path, batch: &[&Mutant], timeouts: &Timeouts) -> Result<Fates> {
    if batch.is_empty() {
        return Ok(Fates::new());
    }
    let mut fates = ask_patiently(shell, tree, Judge::ShortGauntlet, batch, timeouts.short)?;
    for package in DRIVERS {
        let mut survivors = of_fate(batch, &fates, Fate::Survived);
        survivors.retain(|mutant| mutant.package == package);
        if !survivors.is_empty() {
            let own = own_tests_of(shell, tree, package, &survivors, timeouts)?;
            if let Some((name, _)) = own.iter().find(|(_, (fate, _))| *fate == Fate::Unviable) {
                bail!("{name}: the driver is built, its own tests are not");
            }
            merge(&mut fates, own);
        }
    }
    let survivors = of_fate(batch, &fates, Fate::Survived);
    if !survivors.is_empty() {
        merge(&mut fates, ask_patiently(shell, tree, Judge::LongGauntlet, &survivors, timeouts.long)?);
    }
    Ok(fates)
}

fn of_fate<'a>(batch: &[&'a Mutant], fates: &Fates, fate: Fate) -> Vec<&'a Mutant> {
    batch
        .iter()
        .filter(|mutant| fates.get(&mutant.printed).is_some_and(|known| known.0 == fate))
        .copied()
        .collect()
}

/// Later fates count; seconds add up.
fn merge(fates: &mut Fates, later: Fates) {
    for (name, (fate, seconds)) in later {
        let earlier = fates.get(&name).map_or(0.0, |known| known.1);
        fates.insert(name, (fate, earlier + seconds));
    }
}

fn note(batch: &[&Mutant], fates: &Fates, shared: &Shared<'_>) -> Result<()> {
    let left = shared.waiting.lock().expect("no worker panics").len();
    let mut results = shared.results.lock().expect("no worker panics");
    for mutant in batch {
        let (fate, seconds) =
            *fates.get(&mutant.printed).with_context(|| format!("{} was not tested", mutant.printed))?;
        println!("[{}/{}] {seconds:5.1} s {fate:?}: {}", shared.total - left, shared.total, mutant.printed);
        results.put(mutant, fate, seconds)?;
    }
    Ok(())
}

impl<'a> Judge<'a> {
    fn package(self) -> &'a str {
        match self {
            Self::ShortGauntlet | Self::LongGauntlet => "blk-testbed",
            Self::OwnTests(package) => package,
        }
    }

    fn profile(self) -> &'static str {
        match self {
            Self::OwnTests(package) if JUDGES.contains(&package) => JUDGES_PROFILE,
            _ => PROFILE,
        }
    }

    /// Arguments for cargo whenever it builds, and those for running alone.
    fn words(self, tree: &Path) -> Result<(Vec<String>, Vec<String>)> {
        match self {
            Self::ShortGauntlet => Ok((vec!["--lib".to_owned()], vec!["short_gauntlet".to_owned()])),
            Self::LongGauntlet => Ok((vec!["--lib".to_owned()], vec!["long_gauntlet".to_owned()])),
            Self::OwnTests(package) => Ok((own_tests(&tree.join(package))?, Vec::new())),
        }
    }
}

/// The tests of a package that are worth the time for each survivor. No documentation tests: they are no
/// judge of a driver, and are linked one by one.
fn own_tests(package: &Path) -> Result<Vec<String>> {
    let mut words = vec!["--lib".to_owned()];
    let folder = package.join("tests");
    let entries = if folder.is_dir() { Some(fs::read_dir(folder)?) } else { None };
    for entry in entries.into_iter().flatten() {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let is_test = path.is_file() || path.join("main.rs").is_file();
        if is_test && !LEFT_OUT.contains(&name.as_str()) {
            words.push(format!("--test={name}"));
        }
    }
    words.sort();
    Ok(words)
}

/// As [`ask`], and once more about those whose tests did not end: the machine may have been busy, or asleep.
fn ask_patiently(
    shell: &Shell,
    tree: &Path,
    judge: Judge<'_>,
    mutants: &[&Mutant],
    timeout: f64,
) -> Result<Fates> {
    let mut fates = ask(shell, tree, judge, mutants, timeout)?;
    let hung = of_fate(mutants, &fates, Fate::Timeout);
    if !hung.is_empty() {
        merge(&mut fates, ask(shell, tree, judge, &hung, timeout)?);
    }
    Ok(fates)
}

/// Has cargo-mutants test these in `tree`.
fn ask(shell: &Shell, tree: &Path, judge: Judge<'_>, mutants: &[&Mutant], timeout: f64) -> Result<Fates> {
    let out = tree.with_extension("out");
    let _ = fs::remove_dir_all(&out);
    fs::create_dir_all(&out)?;
    let (cargo, tests) = judge.words(tree)?;
    let mut words: Vec<String> = Vec::new();
    words.extend(mutants.iter().flat_map(|mutant| ["--re".to_owned(), exactly(&mutant.printed)]));
    // Deleted fields are listed whatever the expressions say: at least those of other files are left out.
    let files: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.file.as_str()).collect();
    words.extend(files.iter().flat_map(|file| ["--file".to_owned(), (*file).to_owned()]));
    words.extend(PACKAGES.iter().flat_map(|package| ["--package".to_owned(), (*package).to_owned()]));
    words.extend(cargo.iter().map(|word| format!("--cargo-arg={word}")));
    words.extend(["--test-package".to_owned(), judge.package().to_owned()]);
    words.extend(["--profile".to_owned(), judge.profile().to_owned(), format!("--timeout={timeout}")]);
    let _there = shell.push_dir(tree);
    let fixed = ["--in-place", "--baseline=skip", "--no-shuffle", "--build-timeout=900", "--colors=never"];
    let asked = cmd!(shell, "cargo mutants {fixed...} --output {out} {words...} -- {tests...}");
    let asked = asked.env_remove("CARGO_TARGET_DIR").env_remove("CARGO_MUTANTS_JOBS").quiet().ignore_status();
    let output = asked.output()?;
    let outcomes = out.join("mutants.out/outcomes.json");
    let text = fs::read_to_string(&outcomes).with_context(|| {
        format!("cargo-mutants did not run: {}", String::from_utf8_lossy(&output.stderr).trim())
    })?;
    fates(&text).with_context(|| format!("in {}", outcomes.display()))
}

/// A regular expression for this text and nothing else.
fn exactly(text: &str) -> String {
    let mut expression = String::from("^");
    for letter in text.chars() {
        if r"\.+*?()|[]{}^$#&-~".contains(letter) {
            expression.push('\\');
        }
        expression.push(letter);
    }
    expression.push('$');
    expression
}

#[derive(Deserialize)]
struct Outcomes {
    outcomes: Vec<Outcome>,
}

#[derive(Deserialize)]
struct Outcome {
    scenario: Scenario,
    summary: String,
    phase_results: Vec<Phase>,
}

#[derive(Deserialize)]
enum Scenario {
    Baseline,
    Mutant(Listed),
}

#[derive(Deserialize)]
struct Phase {
    duration: f64,
}

fn fates(text: &str) -> Result<Fates> {
    let outcomes: Outcomes = serde_json::from_str(text)?;
    let mut fates = HashMap::new();
    for outcome in outcomes.outcomes {
        let Scenario::Mutant(mutant) = outcome.scenario else { continue };
        let fate = match outcome.summary.as_str() {
            "CaughtMutant" => Fate::Engines,
            "MissedMutant" => Fate::Survived,
            "Unviable" => Fate::Unviable,
            "Timeout" => Fate::Timeout,
            other => bail!("'{other}' is no outcome of {}", mutant.name),
        };
        let seconds = outcome.phase_results.iter().map(|phase| phase.duration).sum();
        fates.insert(mutant.name, (fate, seconds));
    }
    Ok(fates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_read() {
        let text = r#"{"outcomes": [
            {"scenario": "Baseline", "summary": "Success", "phase_results": []},
            {"scenario": {"Mutant": {"name": "f.rs:1:2: replace a with b", "package": "p", "file": "f.rs", "function": null}},
             "summary": "CaughtMutant", "phase_results": [{"phase": "Build", "duration": 1.5}, {"phase": "Test", "duration": 0.5}]}
        ]}"#;
        let read = fates(text).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(read["f.rs:1:2: replace a with b"], (Fate::Engines, 2.0));
        assert!(fates(&text.replace("CaughtMutant", "Bored")).is_err());
    }

    #[test]
    fn the_later_judge_decides_and_seconds_add_up() {
        let mut fates =
            Fates::from([("a".to_owned(), (Fate::Survived, 1.0)), ("b".to_owned(), (Fate::Engines, 1.0))]);
        merge(&mut fates, Fates::from([("a".to_owned(), (Fate::OwnTests, 2.5))]));
        assert_eq!((fates["a"], fates["b"]), ((Fate::OwnTests, 3.5), (Fate::Engines, 1.0)));
    }

    #[test]
    fn an_expression_means_the_text_itself() {
        assert_eq!(exactly("a.rs:1:2: replace < with == in f"), r"^a\.rs:1:2: replace < with == in f$");
        assert_eq!(exactly("-> Ok((0, 1))"), r"^\-> Ok\(\(0, 1\)\)$");
    }
}
