//! Mutants that are built together, into one program, and switched on one after the other: a judge takes
//! longer to build than to run.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::HARNESS;
use super::list::{Change, Mutant};
use super::results::{Fate, Results};
use super::rewrite::{self, VARIABLE};

/// A program that takes so many times longer than without a mutant does not end.
const TIMEOUT_FACTOR: u32 = 5;
const TIMEOUT_MIN: Duration = Duration::from_secs(20);
/// A mutant may allocate without end. KiB of addresses.
const ADDRESSES_KIB_MAX: u64 = 6 << 20;
/// Each build shows the errors of one stage of the compiler, for one crate.
const BUILDS_MAX: usize = 24;

/// Mutants by their numbers, from 1.
type Numbered<'a> = BTreeMap<u32, &'a Mutant>;

/// A program of tests.
#[derive(Debug)]
struct Program {
    path: PathBuf,
    /// The folder of its package.
    folder: PathBuf,
    /// How long it takes without a mutant.
    time: Duration,
    timeout: Duration,
    /// Mutants that it has found.
    found: AtomicU32,
}

/// How a program of tests ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Passed,
    /// The first test that failed, if it has said so.
    Failed(Option<String>),
    Late,
}

/// Tests these in `tree`, `jobs` at a time, until all are done or the time is over. Returns those that cannot
/// be switched.
pub(super) fn test<'a>(
    tree: &Path,
    waiting: &[&'a Mutant],
    jobs: usize,
    deadline: Option<Instant>,
    results: &mut Results,
) -> Result<Vec<&'a Mutant>> {
    let numbered: Numbered<'a> = (1..).zip(waiting.iter().copied()).collect();
    let originals = originals(tree, &numbered)?;
    let built = build(tree, &numbered, &originals);
    for (file, text) in &originals {
        fs::write(tree.join(file), text)?;
    }
    let built = built?;
    for number in &built.unviable {
        results.put(numbered[number], Fate::Unviable, 0.0)?;
    }
    println!(
        "{} mutants in one program, {} unviable, {} to be built alone",
        built.switched.len(),
        built.unviable.len(),
        numbered.len() - built.switched.len() - built.unviable.len()
    );
    let programs = timed(built.programs)?;
    let total = built.switched.len();
    let (queue, results) = (Mutex::new(VecDeque::from(built.switched.clone())), Mutex::new(results));
    let next = || queue.lock().expect("no worker panics").pop_front();
    let is_late = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
    let work = || -> Result<()> {
        while let Some(number) = (!is_late()).then(next).flatten() {
            let (mutant, begun) = (numbered[&number], Instant::now());
            let fate = fate(&programs, number)?;
            let seconds = begun.elapsed().as_secs_f64();
            let left = queue.lock().expect("no worker panics").len();
            println!("[{}/{total}] {seconds:5.1} s {fate:?}: {}", total - left, mutant.printed);
            results.lock().expect("no worker panics").put(mutant, fate, seconds)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })?;
    let known: HashSet<u32> = built.switched.into_iter().chain(built.unviable).collect();
    let alone = numbered.into_iter().filter(|(number, _)| !known.contains(number));
    Ok(alone.map(|(_, mutant)| mutant).collect())
}

/// The files that are rewritten, as they are.
fn originals(tree: &Path, numbered: &Numbered<'_>) -> Result<HashMap<String, String>> {
    let mut originals = HashMap::new();
    for mutant in numbered.values() {
        for file in [mutant.file.clone(), root_of(&mutant.package)] {
            let text = fs::read_to_string(tree.join(&file)).with_context(|| format!("cannot read {file}"))?;
            originals.insert(file, text);
        }
    }
    Ok(originals)
}

/// The file that a crate begins with.
fn root_of(package: &str) -> String {
    format!("{package}/src/lib.rs")
}

#[derive(Debug, Default)]
struct Built {
    programs: Vec<(PathBuf, PathBuf)>,
    switched: Vec<u32>,
    unviable: Vec<u32>,
}

/// Builds the tests with as many mutants as can be compiled: leaves out what the compiler complains about
/// until it does not.
fn build(tree: &Path, numbered: &Numbered<'_>, originals: &HashMap<String, String>) -> Result<Built> {
    let packages: BTreeSet<&str> = numbered.values().map(|mutant| mutant.package.as_str()).collect();
    let mut unviable = BTreeSet::new();
    for _ in 0..BUILDS_MAX {
        let arms = write(tree, numbered, originals, &unviable)?;
        let output = cargo(tree, "check", &packages)?;
        let output = if output.errors.is_empty() { cargo(tree, "test", &packages)? } else { output };
        if output.errors.is_empty() {
            // In the order in which they were chosen: whatever part is run is a fair sample.
            let switched: BTreeSet<u32> = arms.values().flat_map(|arms| arms.keys().copied()).collect();
            let switched = switched.into_iter().collect();
            let unviable = unviable.into_iter().collect();
            return Ok(Built { programs: output.programs, switched, unviable });
        }
        let known = unviable.len();
        unviable.extend(output.errors.iter().flat_map(|error| error.culprits(&arms)));
        if unviable.len() == known {
            let text: Vec<&str> = output.errors.iter().filter_map(|e| e.rendered.as_deref()).collect();
            bail!("the tests cannot be built, whatever mutant is left out:\n{}", text.join("\n"));
        }
        println!("{} mutants cannot be compiled so far", unviable.len());
    }
    bail!("after {BUILDS_MAX} builds the tests cannot be built yet")
}

/// Writes all mutants but these into the tree. Returns their lines, by file.
fn write(
    tree: &Path,
    numbered: &Numbered<'_>,
    originals: &HashMap<String, String>,
    unviable: &BTreeSet<u32>,
) -> Result<HashMap<String, BTreeMap<u32, Range<usize>>>> {
    let roots: HashSet<String> = numbered.values().map(|mutant| root_of(&mutant.package)).collect();
    let mut arms = HashMap::new();
    for (file, text) in originals {
        let of_file =
            numbered.iter().filter(|(number, mutant)| mutant.file == *file && !unviable.contains(number));
        let changes: Vec<(u32, &Change)> =
            of_file.map(|(number, mutant)| (*number, &mutant.change)).collect();
        let mut rewritten = rewrite::rewrite(text, &changes);
        if roots.contains(file) {
            rewritten.text.push_str(&rewrite::switch());
        }
        fs::write(tree.join(file), rewritten.text)?;
        arms.insert(file.clone(), rewritten.arms);
    }
    Ok(arms)
}

/// What cargo says, a line each.
#[derive(Debug, Deserialize)]
struct Said {
    reason: String,
    message: Option<Complaint>,
    executable: Option<PathBuf>,
    manifest_path: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Complaint {
    level: String,
    #[serde(default)]
    spans: Vec<Lines>,
    rendered: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Lines {
    file_name: String,
    line_start: usize,
    is_primary: bool,
}

#[derive(Debug, Default)]
struct Output {
    errors: Vec<Complaint>,
    /// Programs, and the folders of their packages.
    programs: Vec<(PathBuf, PathBuf)>,
}

impl Complaint {
    /// The mutants that it is about: those that its primary places lie in, or else the others.
    fn culprits(&self, arms: &HashMap<String, BTreeMap<u32, Range<usize>>>) -> Vec<u32> {
        let at = |span: &Lines| {
            let of_file = arms.get(&span.file_name)?;
            of_file.iter().find(|(_, lines)| lines.contains(&span.line_start)).map(|(number, _)| *number)
        };
        let primary: Vec<u32> = self.spans.iter().filter(|span| span.is_primary).filter_map(at).collect();
        if primary.is_empty() { self.spans.iter().filter_map(at).collect() } else { primary }
    }
}

/// Checks the packages, or builds their tests and those of blk-harness.
fn cargo(tree: &Path, command: &str, packages: &BTreeSet<&str>) -> Result<Output> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(tree).env_remove("CARGO_TARGET_DIR").args([
        command,
        "--quiet",
        "--message-format=json",
    ]);
    match command {
        "check" => cargo.arg("--lib"),
        _ => cargo.args(["--no-run", "--lib", "--tests", "--package", HARNESS]),
    };
    cargo.args(packages.iter().flat_map(|package| ["--package", package]));
    let output = cargo.stderr(Stdio::null()).output().context("cargo does not run")?;
    let mut read = Output::default();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(said) = serde_json::from_str::<Said>(line) else { continue };
        match said {
            Said { reason, message: Some(message), .. }
                if reason == "compiler-message" && message.level == "error" =>
            {
                read.errors.push(message);
            }
            Said { executable: Some(program), manifest_path: Some(manifest), .. } => {
                let folder = manifest.parent().context("a manifest lies in a folder")?.to_owned();
                read.programs.push((program, folder));
            }
            _ => {}
        }
    }
    if !output.status.success() && read.errors.is_empty() {
        bail!("cargo {command} fails without saying why, in {}", tree.display());
    }
    Ok(read)
}

/// The programs without a mutant, which all have to pass.
fn timed(programs: Vec<(PathBuf, PathBuf)>) -> Result<Vec<Program>> {
    let mut timed = Vec::new();
    for (path, folder) in programs {
        let (time, timeout) = (Duration::ZERO, Duration::MAX);
        let mut program = Program { path, folder, time, timeout, found: AtomicU32::new(0) };
        let begun = Instant::now();
        if program.run(0, None)? != End::Passed {
            bail!("{} fails without a mutant", program.path.display());
        }
        program.time = begun.elapsed();
        program.timeout = (program.time * TIMEOUT_FACTOR).max(TIMEOUT_MIN);
        let name = program.path.file_name().unwrap_or_default().to_string_lossy();
        println!("without a mutant: {:5.1} s {name}", program.time.as_secs_f64());
        timed.push(program);
    }
    Ok(timed)
}

/// What becomes of a mutant. A test that fails has to fail twice: some are bounded in time, and the machine
/// may be busy.
fn fate(programs: &[Program], number: u32) -> Result<Fate> {
    let mut programs: Vec<&Program> = programs.iter().collect();
    // First those that have found most in the time that they take.
    programs.sort_by_key(|program| program.time / (program.found.load(Ordering::Relaxed) + 1));
    for program in programs {
        let first = program.run(number, None)?;
        let last = match &first {
            End::Failed(test) => program.run(number, test.as_deref())?,
            _ => first,
        };
        match last {
            End::Passed => {}
            End::Failed(_) => {
                program.found.fetch_add(1, Ordering::Relaxed);
                return Ok(Fate::OwnTests);
            }
            End::Late => return Ok(Fate::Timeout),
        }
    }
    Ok(Fate::Survived)
}

impl Program {
    /// Runs it, or one of its tests, until one fails, with a mutant switched on.
    fn run(&self, number: u32, test: Option<&str>) -> Result<End> {
        let limited = format!("ulimit -v {ADDRESSES_KIB_MAX}; exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.arg("-c").arg(limited).arg(&self.path).current_dir(&self.folder);
        command.args(test.into_iter().flat_map(|test| ["--exact", test]));
        // What cargo tells a test; expected files are looked up by it.
        command.env("CARGO_MANIFEST_DIR", &self.folder);
        command.env(VARIABLE, number.to_string()).stdin(Stdio::null());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        watch(child.with_context(|| format!("cannot run {}", self.path.display()))?, self.timeout)
    }
}

/// Waits for the first test that fails, or the end.
fn watch(mut child: Child, timeout: Duration) -> Result<End> {
    let stdout = child.stdout.take().context("it is piped")?;
    let (send, failed) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            if line.ends_with(b"FAILED") {
                // Whoever listened may have given up.
                let _ = send.send(failed_test(&String::from_utf8_lossy(&line)));
            }
        }
    });
    let end = match failed.recv_timeout(timeout) {
        Ok(test) => End::Failed(test),
        Err(mpsc::RecvTimeoutError::Timeout) => End::Late,
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            if child.wait()?.success() {
                End::Passed
            } else {
                End::Failed(None)
            }
        }
    };
    // It has ended, or has to.
    let _ = child.kill();
    child.wait()?;
    reader.join().expect("the reader does not panic");
    Ok(end)
}

/// The test that a line says has failed.
fn failed_test(line: &str) -> Option<String> {
    let test = line.strip_prefix("test ")?.split(" ... ").next()?;
    Some(test.strip_suffix(" - should panic").unwrap_or(test).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(script: &str, timeout: Duration) -> End {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped());
        watch(command.spawn().unwrap(), timeout).unwrap()
    }

    #[test]
    fn the_first_test_that_fails_decides() {
        let long = Duration::from_mins(1);
        assert_eq!(end("echo 'test a ... ok'", long), End::Passed);
        assert_eq!(end("exit 3", long), End::Failed(None));
        let failed = |line: &str| end(&format!("echo '{line}'; exec sleep 100"), long);
        assert_eq!(failed("test a::b ... FAILED"), End::Failed(Some("a::b".to_owned())));
        assert_eq!(failed("test c - should panic ... FAILED"), End::Failed(Some("c".to_owned())));
        assert_eq!(failed("FAILED"), End::Failed(None));
        assert_eq!(end("exec sleep 100", Duration::from_millis(50)), End::Late);
    }

    #[test]
    fn a_complaint_is_about_the_mutant_whose_lines_it_names() {
        let text = r#"{"level": "error", "spans": [
            {"file_name": "p/src/lib.rs", "line_start": 7, "is_primary": PRIMARY},
            {"file_name": "p/src/lib.rs", "line_start": 12, "is_primary": false},
            {"file_name": "p/src/other.rs", "line_start": 7, "is_primary": true}
        ], "rendered": null}"#;
        let arms = HashMap::from([("p/src/lib.rs".to_owned(), BTreeMap::from([(1, 5..10), (2, 10..15)]))]);
        let culprits = |is_primary: &str| {
            let complaint: Complaint = serde_json::from_str(&text.replace("PRIMARY", is_primary)).unwrap();
            complaint.culprits(&arms)
        };
        assert_eq!(culprits("true"), [1]);
        assert_eq!(culprits("false"), [1, 2]);
    }
}
