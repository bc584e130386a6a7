//! `cargo blk coverage`: which lines the corpora of fuzz targets reach, and which options, requests and
//! transitions of their drivers.

mod llvm;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::json;
use xshell::Shell;

use crate::arguments::Arguments as Told;
use crate::job::{self, Hang};
use crate::libfuzzer::Stats;
use crate::project::Project;
use crate::{build, fuzz, kept};

/// Where what is written lies.
const FOLDER: &str = "fuzz/coverage";
/// Names the file in which a program writes which of its lines were run.
const PROFILE: &str = "LLVM_PROFILE_FILE";

/// Of what.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// The fuzz targets; default: all that are shipped.
    targets: Vec<String>,
}

/// What the inputs of a target ask for and reach, as its process says: `blk_harness::job` is the other side.
#[derive(Debug, Default, Deserialize)]
struct Tally {
    summary: Stats,
    /// Words of configurations, and how many inputs have each.
    options: BTreeMap<String, u64>,
    /// The first words of requests, and how many there are.
    requests: BTreeMap<String, u64>,
    /// Transitions between kinds of cluster, as `write: zero to data`, and how often each was watched.
    #[serde(default)]
    transitions: BTreeMap<String, u64>,
}

/// Runs the corpora of targets: their seeds, their regression traces and what fuzzing has gathered here.
/// Shows what is reached. All is well then.
///
/// # Errors
/// What cannot be built, run or written; where there are no tools for lines, what has to be installed, after
/// all else was shown.
pub fn run(project: &Project, arguments: &Arguments) -> Result<bool> {
    let shell = Shell::new()?;
    let targets = if arguments.targets.is_empty() { project.shipped()? } else { arguments.targets.clone() };
    targets.iter().try_for_each(|target| project.check(target))?;
    let names: Vec<&str> = targets.iter().map(String::as_str).collect();
    let tools = llvm::Tools::find(&shell);
    let _ = fs::remove_dir_all(FOLDER);
    fs::create_dir_all(FOLDER)?;
    let programs = if tools.is_ok() {
        build::build_counted(&shell, &names)?
    } else {
        names.iter().map(|target| build::build_job_target(&shell, target)).collect::<Result<Vec<_>>>()?
    };
    for (target, program) in names.iter().zip(&programs) {
        let inputs = gather(project, target, program)?;
        println!("{target}: {} inputs", inputs.len());
        if let Some(tally) = look(project, target, program, &inputs)? {
            show(&tally);
        }
    }
    let lines = tools?.report(&shell, Path::new(FOLDER), &programs)?;
    println!("\n{lines}");
    Ok(true)
}

/// All inputs of a target that are known here.
fn gather(project: &Project, target: &str, program: &Path) -> Result<Vec<PathBuf>> {
    let told = Told::of(project, target, &[])?;
    let traces = Path::new(FOLDER).join(target).join("traces");
    let mut folders: Vec<PathBuf> = Project::seeds(target).into_iter().collect();
    folders.extend(Some(PathBuf::from(format!("fuzz/corpus/{target}"))).filter(|folder| folder.is_dir()));
    folders.extend(fuzz::regressions_as_bytes(project, program, target, &told, &traces)?.then_some(traces));
    let inputs = folders.iter().map(|folder| kept::inputs(folder)).collect::<Result<Vec<_>>>()?;
    Ok(inputs.concat())
}

/// Has a program run inputs. Returns what it says of them, if they are scenarios.
fn look(project: &Project, target: &str, program: &Path, inputs: &[PathBuf]) -> Result<Option<Tally>> {
    let told = Told::of(project, target, &[])?;
    let profile = |name: &str| std::path::absolute(Path::new(FOLDER).join(target).join(name));
    let job = json!({ "job": "tally", "inputs": inputs });
    let mut command = job::command(program, &job, &Hang::default());
    told.tell(&mut command);
    let output = command.env(PROFILE, profile("job.profraw")?).stderr(Stdio::piped()).output()?;
    if output.status.success() {
        let tally = serde_json::from_slice(&output.stdout).context("a tally is JSON")?;
        return Ok(Some(tally));
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !said.contains("no scenarios") {
        bail!("{target} cannot run its corpus: {}\n{said}", output.status);
    }
    // What comes from the command line is run once each, whatever it reaches.
    let mut command = Command::new(program);
    told.tell(&mut command);
    command.args(inputs).env(PROFILE, profile("inputs.profraw")?);
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if !status.success() {
        bail!("{target} does not stand its corpus: {status}");
    }
    Ok(None)
}

/// More different values of an option than these are counted, and not listed: sizes, for example.
const VALUES_MAX: usize = 12;

fn show(tally: &Tally) {
    let Tally { summary, options, requests, transitions } = tally;
    println!("  options:");
    for (option, values) in by_option(options) {
        println!("    {option:24} {values}");
    }
    let requests: Vec<String> = requests.iter().map(|(name, count)| format!("{name} {count}")).collect();
    println!("  requests:    {}", requests.join(", "));
    if !summary.kinds.is_empty() {
        let kinds: Vec<&str> = summary.kinds.iter().map(String::as_str).collect();
        println!("  clusters:    {}", kinds.join(", "));
    }
    if !transitions.is_empty() {
        println!("  transitions: {}", transitions.len());
        for (request, kinds) in by_request(transitions) {
            println!("    {request:24} {kinds}");
        }
    }
}

/// Each option with its values, and how many inputs have each.
fn by_option(words: &BTreeMap<String, u64>) -> BTreeMap<&str, String> {
    let mut options: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (word, count) in words {
        let (option, value) = word.split_once('=').unwrap_or((word, "on"));
        options.entry(option).or_default().push(format!("{value} ({count})"));
    }
    let told = |values: Vec<String>| {
        if values.len() > VALUES_MAX { format!("{} values", values.len()) } else { values.join(", ") }
    };
    options.into_iter().map(|(option, values)| (option, told(values))).collect()
}

/// The transitions that each kind of request has made, the most frequent ones first.
fn by_request(transitions: &BTreeMap<String, u64>) -> BTreeMap<&str, String> {
    let mut sorted: Vec<_> = transitions.iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut requests: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (transition, count) in sorted {
        let (request, kinds) = transition.split_once(": ").unwrap_or((transition, ""));
        requests.entry(request).or_default().push(format!("{kinds} ({count})"));
    }
    requests.into_iter().map(|(request, kinds)| (request, kinds.join(", "))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transitions_stand_with_their_requests() {
        let told = [("write: zero to data", 3), ("write: data to data", 7), ("discard: data to none", 1)];
        let told = told.map(|(transition, count)| (transition.to_owned(), count)).into();
        let requests = by_request(&told);
        assert_eq!(requests["write"], "data to data (7), zero to data (3)");
        assert_eq!(requests["discard"], "data to none (1)");
    }

    #[test]
    fn options_have_their_values_and_sizes_are_counted() {
        let mut words: BTreeMap<String, u64> = (0..20).map(|size| (format!("size={size}k"), 1)).collect();
        words.insert("backing=raw".to_owned(), 7);
        words.insert("backing=qcow2".to_owned(), 2);
        let options = by_option(&words);
        assert_eq!(options["size"], "20 values");
        assert_eq!(options["backing"], "qcow2 (2), raw (7)");
    }
}
