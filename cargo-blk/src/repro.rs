//! `cargo blk repro`: a finding becomes a short, readable, deterministic reproduction.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use clap::builder::{PathBufValueParser, TypedValueParser};
use xshell::Shell;

use crate::arguments::{self, Arguments as Told};
use crate::fuzz::ARTIFACTS;
use crate::job::{Hang, Plain, REPROS};
use crate::ledger::{self, Entry};
use crate::libfuzzer::is_greeting;
use crate::project::Project;

/// What names standard output in place of a file.
const STANDARD_OUTPUT: &str = "-";

/// What the names of the files end with that have the minimised trace, and the finding as data.
const TRACE: &str = ".trace";
const FINDING: &str = ".finding.json";

/// What to reproduce.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// An artifact of the fuzzer, a trace or a JSON file; default: the newest artifact.
    // Its name is that of the folder in which the command was given; the program leaves it.
    #[arg(value_parser = PathBufValueParser::new().try_map(std::path::absolute))]
    input: Option<PathBuf>,
    /// Put the minimised trace into the regression corpus under this name, with a story beside it.
    #[arg(long)]
    save: Option<String>,
    /// Write the finding as JSON to this file; `-` prints it, and all else to standard error.
    #[arg(long, value_name = "FILE", value_parser = PathBufValueParser::new().try_map(json_path))]
    json: Option<PathBuf>,
    /// The fuzz target; default: what the artifact's folder or the trace says.
    #[arg(long)]
    target: Option<String>,
    #[command(flatten)]
    plain: Plain,
    #[command(flatten)]
    hang: Hang,
    /// Told to the target, as of `fuzz`; default: what it was told when it found this.
    #[arg(last = true, value_parser = crate::arguments::word)]
    words: Vec<String>,
}

/// Where JSON goes: the program leaves the folder that the command was given in.
fn json_path(path: PathBuf) -> std::io::Result<PathBuf> {
    if path == Path::new(STANDARD_OUTPUT) { Ok(path) } else { std::path::absolute(path) }
}

/// Returns whether the finding is still there: then everything was written.
///
/// # Errors
/// What is wrong with the input or its target; that the finding is not deterministic; what cannot be built or
/// written.
pub fn run(project: &Project, arguments: &Arguments) -> Result<bool> {
    let shell = Shell::new()?;
    let input = match &arguments.input {
        Some(input) => input.clone(),
        None => newest_artifact()?,
    };
    let target = match &arguments.target {
        Some(target) => target.clone(),
        None => infer_target(project, &input)?,
    };
    project.check(&target).with_context(|| format!("{} was not tried", input.display()))?;
    if let Some(name) = &arguments.save {
        check_name(name)?;
    }
    let told = Told::of_input(project, &target, &input, &arguments.words)?;
    let says_json = arguments.json.as_deref() == Some(Path::new(STANDARD_OUTPUT));
    let say = |text: &str| if says_json { eprint!("{text}") } else { print!("{text}") };
    say(&format!("{} on {target}\n", input.display()));
    let program = arguments.plain.build(&shell, &[&target])?.remove(0);
    // The target itself proves and shrinks what it has found.
    let mut command = Command::new(&program);
    told.tell(&mut command);
    command
        .env("BLK_REPRODUCE", &input)
        .env("BLK_OUT", REPROS)
        .env("BLK_COMMAND", project.command())
        .env_remove("RUST_BACKTRACE");
    arguments.hang.tell(&mut command);
    let output = command.output().with_context(|| format!("cannot start {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    say(&text);
    for line in String::from_utf8_lossy(&output.stderr).lines().filter(|line| !is_greeting(line)) {
        eprintln!("{line}");
    }
    match output.status.code() {
        Some(0) => return Ok(false),
        Some(1) => {}
        Some(_) => bail!("{}: no verdict, for the reason above", input.display()),
        None => bail!("{} was killed: {}", program.display(), output.status),
    }
    tell_ledger(&target, &text)?;
    if let Some(json) = &arguments.json {
        hand_out(json, &text)?;
    }
    if let Some(name) = &arguments.save {
        say(&save(project, name, &text)?);
    }
    Ok(true)
}

/// The file with this ending that the program says that it wrote.
fn written<'a>(output: &'a str, ending: &str) -> Option<&'a Path> {
    let written = output.lines().filter_map(|line| line.strip_prefix("wrote "));
    written.filter(|name| name.ends_with(ending)).map(Path::new).next()
}

/// Tells the ledger how small a finding has become. What was no scenario has no size.
fn tell_ledger(target: &str, output: &str) -> Result<()> {
    let Some(source) = written(output, FINDING) else { return Ok(()) };
    let text = fs::read_to_string(source).with_context(|| format!("cannot read {}", source.display()))?;
    let data: serde_json::Value =
        serde_json::from_str(&text).with_context(|| format!("in {}", source.display()))?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let what = text(&data["report"]).lines().next().unwrap_or_default().to_owned();
    let entry = Entry {
        shrunk: data["scenario"]["requests"].as_array().map(|requests| requests.len() as u64),
        trace: written(output, TRACE).map(Path::to_owned),
        ..Entry::now(target, data["signature"].to_string(), text(&data["name"]), what)
    };
    ledger::add(Path::new(ARTIFACTS), entry)
}

/// Gives the finding as JSON to whoever has asked for it.
fn hand_out(json: &Path, output: &str) -> Result<()> {
    let source = written(output, FINDING).context("only the finding of a scenario can be told as JSON")?;
    let text = fs::read_to_string(source).with_context(|| format!("cannot read {}", source.display()))?;
    if json == Path::new(STANDARD_OUTPUT) {
        print!("{text}");
        return Ok(());
    }
    fs::write(json, text).with_context(|| format!("cannot write {}", json.display()))
}

/// The newest file below the artifacts' folder.
fn newest_artifact() -> Result<PathBuf> {
    let mut newest: Option<(SystemTime, PathBuf)> = None;
    let folders = fs::read_dir(ARTIFACTS)
        .with_context(|| format!("there is no finding: {ARTIFACTS} does not exist"))?;
    for folder in folders {
        let folder = folder?.path();
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let entry = entry?;
            if entry.path().extension().is_some_and(|extension| extension == arguments::EXTENSION) {
                continue;
            }
            let changed = entry.metadata()?.modified()?;
            if newest.as_ref().is_none_or(|(time, _)| changed > *time) {
                newest = Some((changed, entry.path()));
            }
        }
    }
    Ok(newest.with_context(|| format!("there is no finding in {ARTIFACTS}"))?.1)
}

/// What follows `fuzz/artifacts` in the path, if it is a target; else what a trace says.
pub(crate) fn infer_target(project: &Project, input: &Path) -> Result<String> {
    let parts: Vec<_> = input.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    let is_artifacts =
        |at: &usize| parts[*at..].len() > 2 && parts[*at] == "fuzz" && parts[at + 1] == "artifacts";
    let named = (0..parts.len()).rev().find(is_artifacts).map(|at| parts[at + 2].to_string());
    match named {
        Some(target) if project.check(&target).is_ok() || project.target_of(input).is_err() => Ok(target),
        _ => project.target_of(input),
    }
}

pub(crate) fn check_name(name: &str) -> Result<()> {
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
    if name.is_empty() || !name.chars().all(plain) {
        bail!("'{name}' is not a name: letters, digits, '-' and '_'");
    }
    Ok(())
}

/// Copies the minimised trace, and begins its story; returns what is said about it.
fn save(project: &Project, name: &str, output: &str) -> Result<String> {
    let source = written(output, TRACE).context("only a scenario can be saved: there is no trace")?;
    let folder = project.regressions();
    fs::create_dir_all(&folder)?;
    let (trace, story) = (folder.join(format!("{name}.trace")), folder.join(format!("{name}.md")));
    if trace.exists() {
        bail!("{} exists already", trace.display());
    }
    fs::copy(source, &trace).with_context(|| format!("cannot copy {}", source.display()))?;
    let mut report = String::new();
    let from_report = output.lines().skip_while(|line| !line.starts_with("blkverify:"));
    for line in from_report.take_while(|line| !line.starts_with("wrote ")) {
        report.push_str("    ");
        report.push_str(line);
        report.push('\n');
    }
    let text = format!(
        "# {name}\n\nWhat was wrong, and where it was mended: (tell it here)\n\nFound as:\n\n{report}\nReplay it with `{} repro {}`.\n",
        project.command(),
        trace.display()
    );
    fs::write(&story, text)?;
    Ok(format!("saved {} and {}: tell the story there\n", trace.display(), story.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::tests::project;

    #[test]
    fn the_target_is_in_the_artifacts_path() {
        assert_eq!(
            infer_target(&project(""), Path::new("/x/fuzz/artifacts/open_qcow2/crash-1")).unwrap(),
            "open_qcow2"
        );
    }

    #[test]
    fn the_trace_is_the_one_that_was_written() {
        let output =
            "shrunk: 9 requests to 2\nwrote r/read-shows-zeroes-0.trace\nwrote r/read-shows-zeroes-0.sh\n";
        assert_eq!(written(output, TRACE), Some(Path::new("r/read-shows-zeroes-0.trace")));
        assert_eq!(written("wrote r/image.qcow2\n", TRACE), None);
    }

    #[test]
    fn names_cannot_leave_the_folder() {
        assert!(check_name("known-07").is_ok());
        assert!(check_name("../evil").is_err());
        assert!(check_name("").is_err());
    }
}
