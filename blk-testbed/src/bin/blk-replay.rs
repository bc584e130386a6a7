//! Replays, minimises and converts scenarios: what `cargo xtask repro` and `cargo xtask corpus` run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use blk_testbed::hostile::{self, ImageStats};
use blk_testbed::{Purpose, Suite};
use blk_verify::reproduce::{self, Proof, REPLAYS};
use blk_verify::scenario::Scenario;
use blk_verify::{Finding, Outcome};
use clap::{Parser, Subcommand};

/// The minimiser gives up after this long; what it has by then is still a smaller finding of the same kind.
const MINIMISE_MAX: Duration = Duration::from_mins(1);
/// Largest input file, bytes.
const INPUT_BYTES_MAX: u64 = 16 << 20;
/// The target whose inputs are images, not scenarios.
const IMAGE_TARGET: &str = "open_qcow2";

#[derive(Parser)]
#[command(about = "Replays, minimises and converts findings of the fuzz targets")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Replays inputs once each. Exit code 0: nothing found; 1: something found; 2: bad input.
    Replay {
        /// The fuzz target that the inputs belong to.
        #[arg(long, default_value = "verify_qcow2")]
        target: String,
        /// Try everything that can be tried, however long it takes, and say what was.
        #[arg(long)]
        complete: bool,
        /// Artifacts, traces or JSON files.
        #[arg(required = true)]
        inputs: Vec<PathBuf>,
    },
    /// Proves that a finding is deterministic, makes it as small as it can be, and writes it in readable forms, named after
    /// what was found. Exit code 0: nothing found; 1: something found; 2: bad input.
    Minimise {
        /// The fuzz target that the input belongs to.
        #[arg(long, default_value = "verify_qcow2")]
        target: String,
        /// An artifact, a trace or a JSON file.
        input: PathBuf,
        /// The folder for NAME.trace, NAME.json, NAME.rs and, of a qcow2 image, NAME.sh.
        #[arg(long, default_value = "fuzz/repros")]
        out: PathBuf,
    },
    /// Converts a scenario to the bytes that fuzz targets take.
    ToBytes {
        /// A trace or JSON file.
        input: PathBuf,
        /// The file to write.
        output: PathBuf,
    },
    /// Prints a scenario as text.
    ToText {
        /// An artifact or JSON file.
        input: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(found) => ExitCode::from(u8::from(found)),
        Err(error) => {
            eprintln!("blk-replay: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Returns whether something was found.
fn run(command: Command) -> Result<bool> {
    match command {
        Command::Replay { target, complete, inputs } => {
            replay_all(&target, if complete { Purpose::Complete } else { Purpose::Replay }, &inputs)
        }
        Command::Minimise { target, input, out } if target == IMAGE_TARGET => minimise_image(&input, &out),
        Command::Minimise { target, input, out } => minimise_scenario(find_suite(&target)?, &input, &out),
        Command::ToBytes { input, output } => {
            let scenario = read_scenario(&input)?;
            if !scenario.fits_bytes() {
                bail!(
                    "{} is larger than the bytes form can hold; it is replayed as text only",
                    input.display()
                );
            }
            fs::write(&output, scenario.encode())
                .with_context(|| format!("cannot write {}", output.display()))?;
            Ok(false)
        }
        Command::ToText { input } => {
            print!("{}", read_scenario(&input)?.to_text());
            Ok(false)
        }
    }
}

fn find_suite(name: &str) -> Result<&'static Suite> {
    let known = || {
        format!(
            "target '{name}' is unknown; known are {}, {IMAGE_TARGET}",
            blk_testbed::suite_names().join(", ")
        )
    };
    blk_testbed::suite(name).with_context(known)
}

fn read_input(path: &Path) -> Result<Vec<u8>> {
    let length = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if length > INPUT_BYTES_MAX {
        bail!("{} has {length} bytes, at most {INPUT_BYTES_MAX} are read", path.display());
    }
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn read_scenario(path: &Path) -> Result<Scenario> {
    Scenario::parse_any(&read_input(path)?).with_context(|| format!("in {}", path.display()))
}

fn replay_all(target: &str, purpose: Purpose, inputs: &[PathBuf]) -> Result<bool> {
    let mut found = false;
    for input in inputs {
        let started = Instant::now();
        let report = if target == IMAGE_TARGET {
            hostile::judge(&read_input(input)?, &mut ImageStats::default()).err()
        } else {
            judge(find_suite(target)?, purpose, &read_scenario(input)?)?.map(|finding| finding.report)
        };
        let verdict = if report.is_some() { "FINDING" } else { "ok" };
        println!("{verdict:8}{:>8.1?}  {}", started.elapsed(), input.display());
        if let Some(report) = report {
            println!("{report}");
            found = true;
        }
    }
    Ok(found)
}

/// Runs a scenario once. A scenario that the suite cannot run is bad input.
fn judge(suite: &Suite, purpose: Purpose, scenario: &Scenario) -> Result<Option<Finding>> {
    let mut runner = suite.start(purpose);
    let outcome = runner.run(scenario);
    if purpose == Purpose::Complete {
        println!("{}", runner.summary());
    }
    match outcome {
        Outcome::Clean => Ok(None),
        Outcome::Finding(finding) => Ok(Some(*finding)),
        Outcome::Refused(why) => bail!("the scenario cannot be run: {why}"),
    }
}

fn minimise_scenario(suite: &Suite, input: &Path, out: &Path) -> Result<bool> {
    let scenario = read_scenario(input)?;
    let Some(finding) = prove(suite, &scenario)? else {
        println!("{}: nothing is found on {}", input.display(), suite.name());
        return Ok(false);
    };
    println!("proven: {REPLAYS} replays, the same report each time");
    let (smallest, is_shrunk) = smallest(suite, scenario, &finding);
    let Some(last) = prove(suite, &smallest)? else {
        bail!("the minimised scenario passes: the finding is not deterministic");
    };
    if !is_shrunk {
        println!("not shrunk: tries with less effort do not find it");
    }
    println!("\n{}\n{smallest}", last.report);
    write_forms(suite, out, &smallest, &last)?;
    Ok(true)
}

/// Replays several times; the reports have to be alike.
fn prove(suite: &Suite, scenario: &Scenario) -> Result<Option<Finding>> {
    match reproduce::prove(|scenario| suite.replay(scenario), scenario) {
        Proof::Same(finding) => Ok(Some(*finding)),
        Proof::Nothing => Ok(None),
        Proof::Refused(why) => bail!("the scenario cannot be run: {why}"),
        Proof::Varies(first, other) => {
            let text = |outcome: &Outcome| outcome.finding().map_or("nothing", |f| &f.report).to_owned();
            bail!("not deterministic: one replay found\n{}\nanother found\n{}", text(&first), text(&other))
        }
    }
}

/// The smallest scenario of the same finding, and whether the minimiser could look for one.
fn smallest(suite: &Suite, scenario: Scenario, finding: &Finding) -> (Scenario, bool) {
    let mut runner = suite.start(Purpose::Minimise);
    let started = Instant::now();
    // The driver's panics are findings here; their messages would drown what matters.
    std::panic::set_hook(Box::new(|_| {}));
    let judge = |candidate: &Scenario| runner.run(candidate);
    let smallest = reproduce::shrink(judge, &scenario, finding, || started.elapsed() > MINIMISE_MAX);
    let _ = std::panic::take_hook();
    let Some(smallest) = smallest else { return (scenario, false) };
    println!("{}", reproduce::shrunk(&scenario, &smallest, started.elapsed()));
    (smallest.scenario, true)
}

fn write_forms(suite: &Suite, out: &Path, scenario: &Scenario, finding: &Finding) -> Result<()> {
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let stem = reproduce::file_name(&finding.signature, scenario);
    let story = format!("target: {}\n{}", suite.name(), finding.report);
    let signature = format!("{:?}", finding.signature);
    let mut forms = vec![
        ("trace", scenario.to_text_with_story(&story)),
        ("json", scenario.to_json()),
        ("rs", scenario.to_rust_test(suite.name(), &signature)),
    ];
    if suite.is_qcow2() {
        forms.push(("sh", scenario.to_qemu_io_script()));
    }
    for (extension, content) in forms {
        let path = out.join(format!("{stem}.{extension}"));
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

/// Images are shrunk towards a template: each byte that differs and does not matter becomes that of the template.
fn minimise_image(input: &Path, out: &Path) -> Result<bool> {
    let image = read_input(input)?;
    let report = |image: &[u8]| hostile::judge(image, &mut ImageStats::default()).err();
    let Some(first) = report(&image) else {
        println!("{}: nothing is found", input.display());
        return Ok(false);
    };
    for _ in 1..REPLAYS {
        if report(&image).as_ref() != Some(&first) {
            bail!("not deterministic");
        }
    }
    println!("proven: {REPLAYS} replays, the same report each time");
    let headline = first.lines().next().unwrap_or_default().to_owned();
    let mut still_fails = |image: &[u8]| report(image).is_some_and(|report| report.starts_with(&headline));
    let (template, smallest) = hostile::nearest_template(&image, &mut still_fails);
    println!("{first}\n\nfrom template: {template}");
    for change in &smallest.changes {
        println!("  {change}");
    }
    fs::create_dir_all(out)?;
    let stem = format!("image-{}", reproduce::slug(&headline));
    let path = out.join(format!("{stem}.qcow2"));
    fs::write(&path, &smallest.image).with_context(|| format!("cannot write {}", path.display()))?;
    println!("wrote {}", path.display());
    Ok(true)
}
