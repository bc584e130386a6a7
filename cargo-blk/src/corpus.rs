//! `cargo blk corpus`: the regression corpus, and the working corpora of the fuzz targets.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use clap::builder::{PathBufValueParser, TypedValueParser};
use serde_json::json;
use xshell::Shell;

use crate::arguments::Arguments as Told;
use crate::job::{self, Hang, Plain};
use crate::kept::Size;
use crate::libfuzzer::grouped;
use crate::project::{Project, SEEDS};
use crate::{build, kept, repro};

/// Inputs that a working corpus is reduced to where the project does not say how many it keeps.
const INPUTS_USUAL: usize = 1000;

/// What to do with a corpus; the default replays the regression corpus.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the traces of the regression corpus.
    List,
    /// Replay traces of the regression corpus: nothing that was found once may come back.
    Check {
        /// Only these, by name.
        names: Vec<String>,
        /// Try everything that can be tried, however long it takes, and say what was.
        #[arg(long)]
        complete: bool,
        #[command(flatten)]
        plain: Plain,
        #[command(flatten)]
        hang: Hang,
    },
    /// Print a trace of the regression corpus, an artifact or a JSON file as text.
    Show {
        /// A name of the corpus, or a file.
        input: PathBuf,
        /// The fuzz target; default: what the artifact's folder or the trace says.
        #[arg(long)]
        target: Option<String>,
        #[command(flatten)]
        plain: Plain,
    },
    /// Put an input into the regression corpus as it is. `repro --save` shrinks it first.
    Add {
        /// Its name there.
        name: String,
        /// An artifact, a trace or a JSON file.
        #[arg(value_parser = PathBufValueParser::new().try_map(std::path::absolute))]
        input: PathBuf,
        /// The fuzz target; default: what the artifact's folder or the trace says.
        #[arg(long)]
        target: Option<String>,
        #[command(flatten)]
        plain: Plain,
    },
    /// Bring what many machines have found into the seeds of a fuzz target: as few inputs as reach it all.
    Merge {
        /// The fuzz target.
        target: String,
        /// Corpora of the target, or folders of corpora with one of its name.
        #[arg(required = true, value_parser = PathBufValueParser::new().try_map(std::path::absolute))]
        folders: Vec<PathBuf>,
        /// Where to; default: the seeds that the repository keeps, `fuzz/seeds/TARGET`.
        #[arg(long, value_parser = PathBufValueParser::new().try_map(std::path::absolute))]
        into: Option<PathBuf>,
        /// What is there already is not kept for its own sake, but for what it reaches.
        #[arg(long)]
        anew: bool,
        /// Told to the target, as of `fuzz`.
        #[arg(last = true, value_parser = crate::arguments::word)]
        words: Vec<String>,
    },
    /// Reduce the working corpus of a fuzz target to inputs that reach what no smaller ones reach.
    Minimise {
        /// The fuzz target.
        target: String,
        /// Folders whose inputs are merged into it.
        #[arg(value_parser = PathBufValueParser::new().try_map(std::path::absolute))]
        folders: Vec<PathBuf>,
        /// Told to the target, as of `fuzz`; each has a corpus of its own.
        #[arg(last = true, value_parser = crate::arguments::word)]
        words: Vec<String>,
    },
}

/// Returns whether all is well: every trace that was replayed passed.
///
/// # Errors
/// That an input or a target is unknown; what cannot be built, read or written.
pub fn run(project: &Project, arguments: &Arguments) -> Result<bool> {
    match &arguments.command {
        None => check(project, &[], false, Plain::default(), &Hang::default()),
        Some(Command::List) => list(project),
        Some(Command::Check { names, complete, plain, hang }) => {
            check(project, names, *complete, *plain, hang)
        }
        Some(Command::Show { input, target, plain }) => show(project, input, target.as_deref(), *plain),
        Some(Command::Add { name, input, target, plain }) => {
            add(project, name, (input, target.as_deref()), *plain)
        }
        Some(Command::Merge { target, folders, into, anew, words }) => {
            merge(project, target, folders, (into.as_deref(), *anew), words)
        }
        Some(Command::Minimise { target, folders, words }) => minimise(project, target, folders, words),
    }
}

fn name_of(trace: &Path) -> String {
    trace.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn list(project: &Project) -> Result<bool> {
    let traces = project.traces()?;
    for trace in &traces {
        let target = project.target_of(trace).unwrap_or_else(|_| "-".to_owned());
        println!("{target:16} {}", name_of(trace));
    }
    println!("{} traces in {}", traces.len(), project.regressions().display());
    Ok(true)
}

/// Replays the traces of those names, or all.
///
/// # Errors
/// That there is none of a name, or none at all; what cannot be built; that a process could not replay.
pub fn check(project: &Project, names: &[String], complete: bool, plain: Plain, hang: &Hang) -> Result<bool> {
    let mut traces = project.traces()?;
    if let Some(unknown) = names.iter().find(|name| !traces.iter().any(|trace| name_of(trace) == **name)) {
        bail!("{} has no trace '{unknown}'", project.regressions().display());
    }
    traces.retain(|trace| names.is_empty() || names.contains(&name_of(trace)));
    if traces.is_empty() {
        bail!("{} holds no trace: nothing was replayed", project.regressions().display());
    }
    let mut of_targets: BTreeMap<(String, Vec<String>), Vec<PathBuf>> = BTreeMap::new();
    for trace in traces {
        let target = project.target_of(&trace)?;
        let told = Told::of_input(project, &target, &trace, &[])?;
        of_targets.entry((target, told.of_target)).or_default().push(trace);
    }
    let shell = Shell::new()?;
    let targets: Vec<&str> = of_targets.keys().map(|(target, _)| target.as_str()).collect();
    targets.iter().try_for_each(|target| project.check(target))?;
    let programs = plain.build(&shell, &targets)?;
    let (mut count, mut failed) = (0, Vec::new());
    for (((target, words), traces), program) in of_targets.iter().zip(&programs) {
        let told = Told::split(words)?;
        count += traces.len();
        let job = json!({ "job": "replay", "inputs": traces, "complete": complete });
        match job::run_one(program, &job, hang, &told)? {
            0 => {}
            1 => failed.push(target.as_str()),
            code => bail!("{target}: the replay has ended with {code}"),
        }
    }
    let verdict = if failed.is_empty() { "all pass".to_owned() } else { format!("findings in {failed:?}") };
    println!("{count} traces of {} targets: {verdict}", of_targets.len());
    Ok(failed.is_empty())
}

/// A trace of the corpus by its name, or the file itself.
fn find(project: &Project, input: &Path) -> Result<PathBuf> {
    let traces = project.traces()?;
    let named = traces.into_iter().find(|trace| Path::new(&name_of(trace)) == input);
    Ok(named.map_or_else(|| std::path::absolute(input), Ok)?)
}

/// An input as text, with the lines that say where it is run.
fn text_of(project: &Project, input: &Path, target: Option<&str>, plain: Plain) -> Result<String> {
    let target = match target {
        Some(target) => target.to_owned(),
        None => repro::infer_target(project, input)?,
    };
    project.check(&target)?;
    let shell = Shell::new()?;
    let program = plain.build(&shell, &[&target])?.remove(0);
    let job = json!({ "job": "show", "input": input });
    let told = Told::of_input(project, &target, input, &[])?;
    let mut command = job::command(&program, &job, &Hang::default());
    told.tell(&mut command);
    let output = command.stderr(Stdio::piped()).output()?;
    if !output.status.success() {
        bail!("{}: {}", input.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(format!("# target: {target}\n{}{}", told.line_of_trace(), String::from_utf8(output.stdout)?))
}

fn show(project: &Project, input: &Path, target: Option<&str>, plain: Plain) -> Result<bool> {
    print!("{}", text_of(project, &find(project, input)?, target, plain)?);
    Ok(true)
}

fn add(project: &Project, name: &str, (input, target): (&Path, Option<&str>), plain: Plain) -> Result<bool> {
    repro::check_name(name)?;
    let text = text_of(project, input, target, plain)?;
    let folder = project.regressions();
    fs::create_dir_all(&folder)?;
    let trace = folder.join(format!("{name}.trace"));
    if trace.exists() {
        bail!("{} exists already", trace.display());
    }
    fs::write(&trace, text).with_context(|| format!("cannot write {}", trace.display()))?;
    let story = trace.with_extension("md");
    let replay = format!("Replay it with `{} corpus check {name}`.", project.command());
    fs::write(&story, format!("# {name}\n\nWhat it is kept for: (tell it here)\n\n{replay}\n"))?;
    println!("saved {} and {}: tell the story there", trace.display(), story.display());
    Ok(true)
}

fn merge(
    project: &Project,
    target: &str,
    folders: &[PathBuf],
    (into, anew): (Option<&Path>, bool),
    words: &[String],
) -> Result<bool> {
    project.check(target)?;
    let told = Told::of(project, target, words)?;
    let told = Told { of_libfuzzer: project.libfuzzer_flags(target), ..told };
    let seeds = Path::new(SEEDS).join(target);
    let into = into.unwrap_or(&seeds);
    let of_target = |folder: &PathBuf| {
        let deeper = folder.join(target);
        if deeper.is_dir() { deeper } else { folder.clone() }
    };
    let folders: Vec<PathBuf> = folders.iter().map(of_target).collect();
    if let Some(missing) = folders.iter().find(|folder| !folder.is_dir()) {
        bail!("there is no folder {}", missing.display());
    }
    let width = folders.iter().map(|folder| folder.display().to_string().len()).max().unwrap_or(0).max(30);
    let say = |name: String, folder: &Path| -> Result<()> {
        let size = Size::of(folder)?;
        println!("{name:width$} {:>8} inputs {:>12} bytes", size.inputs, grouped(size.bytes));
        Ok(())
    };
    say(format!("{}, before", into.display()), into)?;
    folders.iter().try_for_each(|folder| say(folder.display().to_string(), folder))?;
    let program = build::build_fuzz_target(&Shell::new()?, &std::env::current_dir()?, target)?;
    let verdict = kept::add(&program, into, &folders, &told, anew)?;
    say(format!("{}, after", into.display()), into)?;
    println!("{verdict}");
    Ok(true)
}

fn minimise(project: &Project, target: &str, folders: &[PathBuf], words: &[String]) -> Result<bool> {
    project.check(target)?;
    let told = Told::of(project, target, words)?;
    let shell = Shell::new()?;
    let program = build::build_fuzz_target(&shell, &std::env::current_dir()?, target)?;
    let corpus = PathBuf::from(format!("fuzz/corpus/{target}{}", told.suffix()));
    fs::create_dir_all(&corpus)?;
    let most = project.corpus_max().unwrap_or(INPUTS_USUAL);
    let told = Told { of_libfuzzer: project.libfuzzer_flags(target), ..told };
    kept::merge(&program, &corpus, folders, &told, most)?;
    Ok(true)
}
