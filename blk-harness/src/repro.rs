//! From an artifact of the fuzzer to a short, readable, deterministic reproduction.

mod input;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::blame;
use crate::finding;
use crate::page::{self, Paper, Surroundings, Way};
use crate::picture::Picture;
use crate::reproduce::{self, Proof, REPLAYS};
use crate::scenario::Scenario;
use anyhow::{Context, Result, bail};
use blk_verify::Finding;

use crate::job::FOUND;
use crate::runner::{Purpose, Runner as _};
use crate::suite::Suite;
use crate::watch::{self, Deadline, OnHang, Watched};

pub use input::InputTarget;

/// A reproduction takes about this long at most: proving what is found, making it smaller, proving what is
/// left. What the minimiser has when it gives up is still a smaller finding of the same kind.
const REPRODUCE_MAX: Duration = Duration::from_secs(30);
/// The minimiser gets so much however long the proof took.
const MINIMISE_MIN: Duration = Duration::from_secs(5);
/// The prefixes of a finding's requests are run for so long at most, and as long its image is made for.
const BLAME_MAX: Duration = Duration::from_secs(10);
/// What the name of the file ends with that has the finding as data.
const FINDING_EXTENSION: &str = "finding.json";
/// And that of the page about it.
const PAGE_EXTENSION: &str = "finding.html";
/// What users call to reproduce a trace: who starts the process says so.
const COMMAND: &str = "BLK_COMMAND";
const COMMAND_USUAL: &str = "cargo blk";
/// Largest input file, bytes.
const INPUT_BYTES_MAX: u64 = 16 << 20;

/// The bytes of an input.
///
/// # Errors
/// That it cannot be read, or is too large.
pub fn read_input(path: &Path) -> Result<Vec<u8>> {
    let length = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if length > INPUT_BYTES_MAX {
        bail!("{} has {length} bytes, at most {INPUT_BYTES_MAX} are read", path.display());
    }
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// A scenario of `suite` in any of its forms.
///
/// # Errors
/// As [`read_input`], and what is wrong with the form.
pub fn read_scenario(suite: &Suite, path: &Path) -> Result<Scenario> {
    Scenario::parse_any(suite.space(), &read_input(path)?).with_context(|| format!("in {}", path.display()))
}

/// Writes a scenario as the bytes that the fuzz target of `suite` takes. Nothing is found by that.
///
/// # Errors
/// As [`read_scenario`]; that the scenario is larger than the bytes form; what cannot be written.
pub fn to_bytes(suite: &Suite, input: &Path, output: &Path) -> Result<bool> {
    let scenario = read_scenario(suite, input)?;
    if !scenario.fits_bytes(suite.space()) {
        bail!("{} is larger than the bytes form can hold; it is replayed as text only", input.display());
    }
    fs::write(output, scenario.encode(suite.space()))
        .with_context(|| format!("cannot write {}", output.display()))?;
    Ok(false)
}

/// Proves that what an input finds is found each time, makes it as small as it can be, and writes it to the
/// folder `out` in readable forms. Returns whether something is found.
///
/// # Errors
/// What is wrong with the input; that the finding is not deterministic; what cannot be written.
pub fn reproduce(suite: &Suite, input: &Path, out: &Path) -> Result<bool> {
    let scenario = read_scenario(suite, input)?;
    let is_found = reproduce_scenario(suite, scenario, out)?;
    if !is_found {
        println!("{}: nothing is found on {}", input.display(), suite.name());
    }
    Ok(is_found)
}

/// As [`reproduce()`], for a scenario.
///
/// # Errors
/// That the finding is not deterministic; what cannot be written.
pub fn reproduce_scenario(suite: &Suite, scenario: Scenario, out: &Path) -> Result<bool> {
    let started = Instant::now();
    let Some(finding) = prove(suite, &scenario, out)? else { return Ok(false) };
    println!("proven: {REPLAYS} replays, the same report each time");
    let time = minimising_time(started.elapsed());
    let (smallest, is_shrunk) = smallest(suite, scenario.clone(), &finding, out, time);
    let (smallest, last) = if let Some(last) = prove(suite, &smallest, out)? {
        (smallest, last)
    } else {
        if smallest == scenario {
            bail!("a proven scenario passes: the finding is not deterministic");
        }
        println!("not shrunk: what the minimiser found it by passes when it is replayed:\n{smallest}");
        (scenario, finding)
    };
    if !is_shrunk {
        println!("not shrunk: tries with less effort do not find it, or take too long");
    }
    println!("\n{}\n{smallest}", last.report());
    if last.request_number as usize > smallest.requests.len() {
        println!(
            "(requests past #{} are the harness's own: in the end it flushes, opens again and reads all)\n",
            smallest.requests.len()
        );
    }
    for path in write_forms(suite, out, &smallest, &last, &surroundings(suite, &smallest, &last, out))? {
        println!("wrote {}", path.display());
    }
    Ok(true)
}

/// What a watch does about a hang: writes it to the folder `out`, and ends the process with `code`.
pub fn on_hang(suite: Suite, out: PathBuf, code: i32) -> OnHang {
    Box::new(move |hang| {
        let finding = hang.finding();
        // Past what collects the output of tests: nobody would print it.
        let mut stdout = std::io::stdout();
        let _ = writeln!(stdout, "\n{}\n# target: {}\n{}", finding.report(), suite.name(), hang.scenario);
        match write_forms(&suite, &out, &hang.scenario, &finding, &Surroundings::default()) {
            Ok(written) => written.iter().for_each(|path| {
                let _ = writeln!(stdout, "wrote {}", path.display());
            }),
            Err(error) => {
                let _ = writeln!(stdout, "{error:#}");
            }
        }
        let _ = stdout.flush();
        std::process::exit(code)
    })
}

/// As [`Suite::replay`], but a driver that hangs ends the process, with what was found in the folder `out`.
pub fn replay_watched(suite: &Suite, scenario: &Scenario, out: &Path, code: i32) -> Outcome {
    let on_hang = on_hang(*suite, out.to_owned(), code);
    Watched::new(suite.start(Purpose::Replay), watch::limit(), on_hang).run(scenario)
}

/// Replays several times; the reports have to be alike.
fn prove(suite: &Suite, scenario: &Scenario, out: &Path) -> Result<Option<Finding>> {
    match reproduce::prove(|scenario| replay_watched(suite, scenario, out, FOUND), scenario) {
        Proof::Same(finding) => Ok(Some(*finding)),
        Proof::Nothing => Ok(None),
        Proof::Refused(why) => bail!("the scenario cannot be run: {why}"),
        Proof::Varies(first, other) => {
            let text =
                |outcome: &Outcome| outcome.finding().map_or_else(|| "nothing".to_owned(), Finding::report);
            bail!("not deterministic: one replay found\n{}\nanother found\n{}", text(&first), text(&other))
        }
    }
}

/// How long the minimiser may take after a proof that took so long: what is left of it is proven again, and
/// takes no longer.
fn minimising_time(proof: Duration) -> Duration {
    REPRODUCE_MAX.saturating_sub(2 * proof).max(MINIMISE_MIN)
}

/// The smallest scenario of the same finding that is there after `time`, and whether the minimiser could look
/// for one.
fn smallest(
    suite: &Suite,
    scenario: Scenario,
    finding: &Finding,
    out: &Path,
    time: Duration,
) -> (Scenario, bool) {
    let on_hang = on_hang(*suite, out.to_owned(), FOUND);
    let started = Instant::now();
    let runner = suite.start(Purpose::Minimise);
    let mut runner = Watched::until(runner, watch::limit(), on_hang, Some(started + time));
    let judge = |candidate: &Scenario| runner.run(candidate);
    let smallest = reproduce::shrink(suite.space(), judge, &scenario, finding, || started.elapsed() > time);
    let Some(smallest) = smallest else { return (scenario, false) };
    println!("{}", reproduce::shrunk(&scenario, &smallest, started.elapsed()));
    (smallest.scenario, true)
}

/// The name of a finding's files: another finding that is there already stays.
fn free_stem(out: &Path, suite: &Suite, name: &str, trace: &str) -> String {
    let stem = format!("{}-{name}", suite.name().replace('_', "-"));
    let is_free = |stem: &String| {
        fs::read_to_string(out.join(format!("{stem}.trace"))).map_or(true, |other| other == trace)
    };
    let numbered = (2..).map(|number| format!("{stem}-{number}"));
    std::iter::once(stem.clone()).chain(numbered).find(is_free).expect("numbers do not end")
}

/// Runs a proven finding a few times more: for its image, and for what its first requests find.
fn surroundings(suite: &Suite, scenario: &Scenario, finding: &Finding, out: &Path) -> Surroundings {
    let count = page::requests_before(finding, scenario);
    let driver = suite.start(Purpose::Minimise).driver();
    let deadline = Deadline::at(Instant::now() + BLAME_MAX);
    let picture = driver.and_then(|driver| deadline.run(|| Picture::of(driver, scenario, count)).flatten());
    let on_hang = on_hang(*suite, out.to_owned(), FOUND);
    let mut runner = Watched::new(suite.start(Purpose::Replay), watch::limit(), on_hang);
    let blame = blame::prefixes(|prefix| runner.run(prefix), scenario, &finding.signature, BLAME_MAX);
    Surroundings { picture, blame }
}

/// Writes a finding in all its forms; returns their files.
fn write_forms(
    suite: &Suite,
    out: &Path,
    scenario: &Scenario,
    finding: &Finding,
    surroundings: &Surroundings,
) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let story = format!("{}\n{}", suite.headline(), finding.report());
    let trace = scenario.to_text_with_story(&story);
    let stem = free_stem(out, suite, &reproduce::file_name(&finding.signature, scenario), &trace);
    let signature = format!("{:?}", finding.signature);
    let data = finding::to_json(finding, suite.name(), scenario);
    let data = serde_json::to_string_pretty(&data).context("a finding is JSON")? + "\n";
    let mut forms = vec![("trace", trace), ("json", scenario.to_json()), (FINDING_EXTENSION, data)];
    let rust_test = |expression| ("rs", scenario.to_rust_test(expression, suite.name(), &signature));
    forms.extend(suite.expression().map(rust_test));
    forms.extend(suite.script().map(|(extension, script)| (extension, script(scenario))));
    let file = |extension: &str| out.join(format!("{stem}.{extension}"));
    let paper = Paper {
        name: &stem,
        target: suite.name(),
        finding,
        scenario: Some(scenario),
        around: surroundings,
        ways: &ways(&forms, &file),
    };
    let page = paper.render();
    forms.push((PAGE_EXTENSION, page));
    let mut written = Vec::new();
    for (extension, content) in forms {
        let path = file(extension);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        written.push(path);
    }
    Ok(written)
}

/// What users call.
fn command() -> String {
    std::env::var(COMMAND).unwrap_or_else(|_| COMMAND_USUAL.to_owned())
}

/// How to reproduce what is written to these files.
fn ways(forms: &[(&str, String)], file: &dyn Fn(&str) -> PathBuf) -> Vec<Way> {
    let command = format!("{} repro {}", command(), file("trace").display());
    let mut ways = vec![Way::new("In this project: a command", command)];
    ways.extend(forms.iter().filter_map(|(extension, content)| Way::of_file(&file(extension), content)));
    ways
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_proof_leaves_less_for_the_minimiser() {
        let seconds = |proof| minimising_time(Duration::from_secs(proof)).as_secs();
        assert_eq!([0, 5, 12, 40].map(seconds), [30, 20, 6, 5]);
    }
}
