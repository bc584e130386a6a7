//! What is asked of each target.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::sandbox::{Ended, INSIDE, NEW, Sandbox};

/// By this symbol a runner knows a target.
const SYMBOL: &[u8] = b"LLVMFuzzerTestOneInput";
/// What a file of a 64-bit ELF program for x86-64 begins with, and the machine at its place.
const ELF: [u8; 5] = [0x7f, b'E', b'L', b'F', 2];
const MACHINE_AT: usize = 18;
const X86_64: [u8; 2] = [0x3e, 0];
/// Fewer edges say that not all of a target is instrumented.
const EDGES_MIN: u64 = 100;
/// Fewer calls say the same of the address sanitizer.
const CALLS_MIN: usize = 1000;
/// What a runner sets.
const LIMITS: [&str; 2] = ["-rss_limit_mb=2560", "-timeout=25"];
/// How many inputs a target has to stand.
const RUNS: u64 = 1000;
/// How many the canary may take to be found, and how libFuzzer ends then.
const CANARY_RUNS: u64 = 1_000_000;
const FOUND: i32 = 77;

/// What one target came to.
#[derive(Debug, Clone, Default)]
pub(super) struct Checked {
    pub(super) target: String,
    bytes: u64,
    edges: u64,
    seeds: usize,
    seed_seconds: f64,
    /// Words of the dictionary.
    words: u64,
    run_seconds: f64,
    coverage: u64,
    broken: Vec<String>,
}

impl Checked {
    pub(super) fn is_good(&self) -> bool {
        self.broken.is_empty()
    }

    fn expect(&mut self, is_so: bool, otherwise: &str) {
        if !is_so {
            self.broken.push(otherwise.to_owned());
        }
    }

    /// A run has to end well, and to say this.
    fn expect_run(&mut self, ended: &Ended, says: &str, what: &str) {
        if ended.code != Some(0) || !ended.said.contains(says) {
            let said: Vec<&str> = ended.said.lines().rev().take(12).collect();
            let said: Vec<&str> = said.into_iter().rev().collect();
            self.broken.push(format!("{what}: ended with {:?}:\n{}", ended.code, said.join("\n")));
        }
    }
}

/// The targets in a folder, by the symbol, sorted.
pub(super) fn find(folder: &Path) -> Result<Vec<String>> {
    let mut targets = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none() && is_target(&fs::read(&path)?) {
            targets.push(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
        }
    }
    targets.sort();
    Ok(targets)
}

fn is_target(bytes: &[u8]) -> bool {
    let machine = bytes.get(MACHINE_AT..MACHINE_AT + X86_64.len());
    bytes.starts_with(&ELF)
        && machine == Some(&X86_64)
        && bytes.windows(SYMBOL.len()).any(|window| window == SYMBOL)
}

/// Asks a target everything.
pub(super) fn check(sandbox: &Sandbox, target: &str, is_sanitized: bool) -> Result<Checked> {
    let folder = sandbox.folder();
    let (program, out) = (format!("{INSIDE}/out/{target}"), folder.join("out"));
    let (corpus, seeds) =
        (format!("{INSIDE}/corpus/{target}"), fs::read_dir(folder.join("corpus").join(target))?.count());
    let bytes = fs::metadata(out.join(target))?.len();
    let mut checked = Checked { target: target.to_owned(), bytes, seeds, ..Checked::default() };
    if is_sanitized {
        let calls = sanitizer_calls(&out.join(target))?;
        checked.expect(calls >= CALLS_MIN, &format!("only {calls} calls of the address sanitizer"));
    }
    let few = ["-seed=1337", "-runs=4"];
    let alone = sandbox.run(&[&[program.as_str()], &few[..]].concat())?;
    checked.expect_run(&alone, "Done 4 runs", "the first start");
    checked.edges = number_before(&alone.said, " inline 8-bit counters)").unwrap_or(0);
    checked.expect(checked.edges >= EDGES_MIN, &format!("only {} edges are instrumented", checked.edges));
    let options = options(&fs::read_to_string(out.join(format!("{target}.options")))?)?;
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let told = [&[program.as_str()], &LIMITS[..], &options].concat();
    let with_options = sandbox.run(&[&told, &few[..]].concat())?;
    checked.expect_run(&with_options, "Done 4 runs", "with its options");
    if out.join(format!("{target}.dict")).is_file() {
        checked.words = number_after(&with_options.said, "Dictionary: ").unwrap_or(0);
        checked.expect(checked.words > 0, "the dictionary is not read");
    }
    if seeds > 0 {
        let read = sandbox.run(&[&told, &["-runs=0", NEW, &corpus][..]].concat())?;
        checked.expect_run(&read, &format!("seed corpus: files: {seeds} "), "its seeds");
        checked.seed_seconds = read.time.as_secs_f64();
    }
    let runs = format!("-runs={RUNS}");
    let run = sandbox.run(&[&told, &["-seed=1", &runs, NEW, &corpus][..]].concat())?;
    checked.expect_run(&run, &format!("Done {} runs", RUNS.max(seeds as u64 + 1)), "many inputs");
    checked.expect(!run.said.contains("no interesting inputs"), "no input is interesting");
    checked.run_seconds = run.time.as_secs_f64();
    checked.coverage = run.said.lines().rev().find_map(|line| number_after(line, " cov: ")).unwrap_or(0);
    Ok(checked)
}

/// The bug of the canary has to be found there, too; says how fast.
pub(super) fn canary(sandbox: &Sandbox, name: &str) -> Result<String> {
    let (program, runs) = (format!("{INSIDE}/{name}"), format!("-runs={CANARY_RUNS}"));
    let flags =
        ["-seed=1", &runs, "-max_len=1056", "-len_control=0", "-entropic=0", "-artifact_prefix=/tmp/"];
    let ended = sandbox.run(&[&[program.as_str()], &flags[..], &LIMITS].concat())?;
    if ended.code != Some(FOUND) || !ended.said.contains("Test unit written to /tmp/crash-") {
        bail!("the planted bug of {name} was not found: ended with {:?}\n{}", ended.code, ended.said);
    }
    Ok(format!("its bug is found after {:.1} s", ended.time.as_secs_f64()))
}

/// Flags of libFuzzer out of the text of an options file; the dictionary lies in the folder of the target.
fn options(text: &str) -> Result<Vec<String>> {
    let mut lines = text.lines();
    if lines.next() != Some("[libfuzzer]") {
        bail!("options begin with [libfuzzer], and not with:\n{text}");
    }
    let flag = |line: &str| {
        let (name, value) = line.split_once(" = ").with_context(|| format!("'{line}' is no option"))?;
        Ok(if name == "dict" { format!("-dict={INSIDE}/out/{value}") } else { format!("-{name}={value}") })
    };
    lines.map(flag).collect()
}

/// How often a program calls the address sanitizer, as far as the disassembler sees.
fn sanitizer_calls(program: &Path) -> Result<usize> {
    let output = Command::new("objdump").args(["-d", "--no-show-raw-insn"]).arg(program).output();
    let output = output.context("cannot start objdump, of the package binutils")?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter(|line| line.contains("call") && line.contains("<__asan")).count())
}

fn number_after(text: &str, mark: &str) -> Option<u64> {
    let digits: String = text.split_once(mark)?.1.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn number_before(text: &str, mark: &str) -> Option<u64> {
    let before = text.split_once(mark)?.0;
    before.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// A row for each target, and what is wrong below.
pub(super) fn table(checked: &[Checked]) -> String {
    let mut table = format!(
        "{:16} {:>6} {:>7} {:>6} {:>8} {:>6} {:>8} {:>9}  verdict\n",
        "target", "MiB", "edges", "seeds", "read", "words", "1000", "coverage"
    );
    for one in checked {
        let Checked { target, bytes, edges, seeds, seed_seconds, words, run_seconds, coverage, .. } = one;
        let verdict = if one.is_good() { "good" } else { "BROKEN" };
        let _ = writeln!(
            table,
            "{target:16} {:>6} {edges:>7} {seeds:>6} {seed_seconds:>6.1} s {words:>6} {run_seconds:>6.1} s \
             {coverage:>9}  {verdict}",
            bytes >> 20
        );
    }
    for one in checked {
        one.broken.iter().for_each(|line| {
            let _ = writeln!(table, "{}: {line}", one.target);
        });
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_the_symbol_and_the_machine() {
        let mut bytes = vec![0; 64];
        bytes[..5].copy_from_slice(&ELF);
        bytes[MACHINE_AT..MACHINE_AT + 2].copy_from_slice(&X86_64);
        assert!(!is_target(&bytes), "nothing is fuzzed by it");
        bytes.extend(SYMBOL);
        assert!(is_target(&bytes));
        bytes[MACHINE_AT] = 0xb7;
        assert!(!is_target(&bytes), "another machine");
        assert!(!is_target(SYMBOL), "a script that names it");
    }

    #[test]
    fn what_is_said_is_read() {
        let said = "INFO: Loaded 1 modules   (24689 inline 8-bit counters): 24689 [0x5, 0x6),\nDictionary: 9 entries";
        assert_eq!(number_before(said, " inline 8-bit counters)"), Some(24689));
        assert_eq!(number_after(said, "Dictionary: "), Some(9));
        assert_eq!(number_after("#5\tINITED cov: 12 ft: 3", " cov: "), Some(12));
        assert_eq!(number_after(said, "Words: "), None);
        assert_eq!(
            options("[libfuzzer]\nmax_len = 9\ndict = a.dict\n").unwrap(),
            ["-max_len=9", "-dict=/mnt/out/a.dict"]
        );
        options("max_len = 9\n").unwrap_err();
        options("[libfuzzer]\nmax_len 9\n").unwrap_err();
    }

    #[test]
    fn a_run_that_fails_is_broken() {
        let ended = |code, said: &str| Ended { code, said: said.to_owned(), time: std::time::Duration::ZERO };
        for (ended, is_good) in [
            (ended(Some(0), "Done 4 runs in 1 second(s)"), true),
            (ended(Some(77), "Done 4 runs in 1 second(s)"), false),
            (ended(Some(0), "Done 3 runs in 1 second(s)"), false),
            (ended(None, "Done 4 runs"), false),
        ] {
            let mut checked = Checked::default();
            checked.expect_run(&ended, "Done 4 runs", "it");
            assert_eq!(checked.is_good(), is_good, "{}", ended.said);
            assert_eq!(table(&[checked]).contains("BROKEN"), !is_good);
        }
    }
}
