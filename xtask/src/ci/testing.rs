//! The tests of the workspace, built by cargo, and run as many at a time as there are processors: many of
//! them have one thread, or wait for other programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use xshell::{Shell, cmd};

use super::{REQUIRE_QEMU, joined, quick_hash};

/// Programs that take long, the longest first: whoever begins last ends last.
const LONG: [&str; 8] =
    ["jobs", "guide", "differential", "blk_testbed", "findings", "program", "crash", "interop"];

/// A program that tests.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Test {
    package: PathBuf,
    name: String,
    program: PathBuf,
}

/// Packages whose tests depend on nothing but themselves, but for those with QEMU's tools: one that fails now
/// and then has found something.
const ALONE: [&str; 8] =
    ["blk-core", "blk-sim", "blk-verify", "blk-harness", "blk-raw", "blk-qcow2", "blk-luks", "blk-testbed"];

impl Test {
    /// Whether it starts programs of others, or our own ones, and waits for them.
    fn waits_for_others(&self) -> bool {
        const THOSE: [&str; 3] = ["qemu", "interop", "pages"];
        let package = self.package.file_name().unwrap_or_default();
        let is_alone = ALONE.iter().any(|alone| package == *alone);
        !is_alone || THOSE.iter().any(|word| self.name.contains(word))
    }
}

/// Builds all tests, and runs them and those in documentation. A program that waits for other programs, and
/// fails, is run once more, when nothing of ours runs beside it: machines are shared. It is told either way.
///
/// # Errors
/// That some cannot be built, or fail.
pub(super) fn run(shell: &Shell) -> Result<()> {
    let built = cmd!(shell, "cargo test --workspace --no-run --message-format json-render-diagnostics");
    let mut tests = programs(&built.read()?);
    if tests.is_empty() {
        bail!("cargo has built no tests");
    }
    tests.sort_by_key(|test| LONG.iter().position(|name| *name == test.name).unwrap_or(LONG.len()));
    let count = tests.len();
    let preloaded = quick_hash::build(shell, &cargo_blk::target_folder(&shell.current_dir()).join("tmp"))?;
    let (waiting, failed) = (Mutex::new(tests.into_iter()), Mutex::new(Vec::new()));
    let work = || -> Result<()> {
        loop {
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(test) = next else { return Ok(()) };
            if !run_one(&test, &preloaded)? {
                failed.lock().unwrap_or_else(PoisonError::into_inner).push(test);
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let ended: Vec<Result<()>> = workers.into_iter().map(joined).collect();
        ended.into_iter().collect::<Result<()>>()
    })?;
    let once = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let twice = again(&once, |test| run_one(test, &preloaded))?;
    if !twice.is_empty() {
        bail!("{} of {count} test programs have failed: {}", twice.len(), twice.join(", "));
    }
    println!("{count} test programs have passed");
    if !once.is_empty() {
        let names: Vec<&str> = once.iter().map(|test| &*test.name).collect();
        println!("FLAKY, mend them: {} passed at the second try only", names.join(", "));
    }
    Ok(cmd!(shell, "cargo test --workspace --doc --quiet").run()?)
}

/// Runs programs that have failed once more, one after the other, where that is a reason to let them pass;
/// the names of the others, and of those that fail again.
fn again(once: &[Test], mut run: impl FnMut(&Test) -> Result<bool>) -> Result<Vec<&str>> {
    let mut twice = Vec::new();
    for test in once {
        if test.waits_for_others() && run(test)? {
            println!("FLAKY: {} has failed, and passes when it is run again alone", test.name);
        } else {
            twice.push(&*test.name);
        }
    }
    Ok(twice)
}

/// The programs among what cargo says that it has built.
fn programs(messages: &str) -> Vec<Test> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_message = |message: Value| {
        let is_test = message["profile"]["test"] == true;
        let program = message["executable"].as_str().filter(|_| is_test)?;
        let package = Path::new(message["manifest_path"].as_str()?).parent()?;
        let name = message["target"]["name"].as_str()?;
        Some(Test { package: package.into(), name: name.to_owned(), program: program.into() })
    };
    messages.filter_map(of_message).collect()
}

/// Runs a program as cargo does, with a library preloaded, and says how it ended; what it says itself is
/// shown if it fails.
fn run_one(test: &Test, preloaded: &Path) -> Result<bool> {
    let begun = Instant::now();
    let mut command = Command::new(&test.program);
    command.current_dir(&test.package).env("CARGO_MANIFEST_DIR", &test.package).env(REQUIRE_QEMU, "1");
    command.env("LD_PRELOAD", preloaded);
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot start {}", test.program.display()))?;
    let package = test.package.file_name().unwrap_or_default().to_string_lossy();
    println!("{}", verdict(&format!("{package}/{}", test.name), &output, begun.elapsed()));
    Ok(output.status.success())
}

fn verdict(name: &str, output: &Output, time: Duration) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let passed: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("test result: ok. ")).collect();
    let passed = passed.first().and_then(|line| line.split(';').next()).unwrap_or("passed");
    let seconds = time.as_secs_f64();
    if output.status.success() {
        return format!("{seconds:>6.1} s  {name}: {passed}");
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    format!("{text}\n{errors}\n{seconds:>6.1} s  {name}: FAILED, {}", output.status)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn programs_that_test_are_told_from_what_else_is_built() {
        let message = |is_test: bool, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/w/blk-core/Cargo.toml","target":{{"name":"suite"}},"profile":{{"test":{is_test}}},"executable":{executable}}}"#
            )
        };
        let lines = [message(true, "\"/t/suite-1\""), message(false, "\"/t/blk\""), message(true, "null")];
        let expected =
            Test { package: "/w/blk-core".into(), name: "suite".into(), program: "/t/suite-1".into() };
        assert_eq!(programs(&format!("text\n{}", lines.join("\n"))), [expected]);
    }

    #[test]
    fn what_fails_twice_has_failed() {
        let test = |package: &str, name: &str| Test {
            package: package.into(),
            name: name.to_owned(),
            program: format!("/t/{name}").into(),
        };
        let [good, bad, race] = [("/w/blk-nbd", "good"), ("/w/blk-nbd", "bad"), ("/w/blk-harness", "race")]
            .map(|(package, name)| test(package, name));
        assert_eq!(again(&[good, bad, race], |test| Ok(test.name != "bad")).unwrap(), ["bad", "race"]);
        assert!(test("/w/blk-qcow2", "check_qemu").waits_for_others());
    }

    #[test]
    fn what_a_failed_program_says_is_shown() {
        let output = |code: i32, text: &str| Output {
            status: ExitStatus::from_raw(code << 8),
            stdout: text.into(),
            stderr: "why".into(),
        };
        let good =
            verdict("a/b", &output(0, "x\ntest result: ok. 3 passed; 0 failed"), Duration::from_secs(2));
        assert_eq!(good, "   2.0 s  a/b: 3 passed");
        let bad = verdict("a/b", &output(101, "left: 1"), Duration::ZERO);
        assert!(bad.contains("left: 1\nwhy") && bad.contains("FAILED, exit status: 101"), "{bad}");
    }
}
