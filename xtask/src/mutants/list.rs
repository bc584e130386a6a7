//! What can be broken, as cargo-mutants lists it.

use std::collections::HashMap;
use std::fmt;
use std::fs;

use anyhow::{Context, Result};
use serde::Deserialize;
use xshell::{Shell, cmd};

use super::PACKAGES;

/// One change to one function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mutant {
    /// As cargo-mutants prints it, with line and column.
    pub(super) printed: String,
    /// The same without line and column: it stays when other functions change.
    pub(super) name: String,
    /// Which of those of the same name in the file, from 1.
    pub(super) nth: usize,
    pub(super) package: String,
    pub(super) file: String,
    /// A hash of the function's text.
    pub(super) hash: String,
    /// What is written where.
    pub(super) change: Change,
}

/// A change of a file's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// What is replaced.
    pub(super) span: Span,
    /// By what.
    pub(super) replacement: String,
    /// The function that it lies in, with its attributes and comments.
    pub(super) function: Option<Span>,
}

/// A mutant in cargo-mutants' own form.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Listed {
    pub(super) name: String,
    package: String,
    file: String,
    function: Option<Function>,
    // Outcomes have neither.
    #[serde(default)]
    span: Span,
    #[serde(default)]
    replacement: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Function {
    span: Span,
}

/// Part of a file, up to the place before its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct Span {
    pub(super) start: Place,
    pub(super) end: Place,
}

/// A place in a file; both numbers are counted from 1, columns in characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// All mutants of the drivers, or those of some files.
pub(super) fn all(shell: &Shell, globs: &[String]) -> Result<Vec<Mutant>> {
    let packages = PACKAGES.iter().flat_map(|package| ["--package", package]);
    let globs = globs.iter().flat_map(|glob| ["--file", glob]);
    let listing = cmd!(shell, "cargo mutants --list --json --no-shuffle {packages...} {globs...}");
    let listed = listing.quiet().read().context("cargo-mutants cannot list the mutants")?;
    parse(&listed, |file| fs::read_to_string(file).with_context(|| format!("cannot read {file}")))
}

fn parse(listed: &str, read: impl Fn(&str) -> Result<String>) -> Result<Vec<Mutant>> {
    let listed: Vec<Listed> =
        serde_json::from_str(listed).context("cargo-mutants lists what is not understood")?;
    let mut texts: HashMap<String, String> = HashMap::new();
    let mut counts: HashMap<String, usize> = HashMap::new();
    let mut mutants = Vec::new();
    for mutant in listed {
        if !texts.contains_key(&mutant.file) {
            texts.insert(mutant.file.clone(), read(&mutant.file)?);
        }
        let name = without_place(&mutant.name, &mutant.file);
        let nth = counts.entry(name.clone()).or_default();
        *nth += 1;
        let mut hash = Hash::default();
        hash.add(mutant.text(&texts[&mutant.file]).as_bytes());
        let function = mutant.function.map(|function| function.span);
        mutants.push(Mutant {
            change: Change { span: mutant.span, replacement: mutant.replacement, function },
            name,
            nth: *nth,
            printed: mutant.name,
            package: mutant.package,
            file: mutant.file,
            hash: hash.to_string(),
        });
    }
    Ok(mutants)
}

/// `FILE:LINE:COLUMN: what` as `FILE: what`.
pub(super) fn without_place(printed: &str, file: &str) -> String {
    let what = printed.strip_prefix(file).and_then(|rest| rest.split_once(": "));
    what.map_or_else(|| printed.to_owned(), |(_, what)| format!("{file}: {what}"))
}

impl Listed {
    /// The function that is changed; the whole file outside of one.
    fn text(&self, file: &str) -> String {
        let Some(Function { span }) = &self.function else { return file.to_owned() };
        let count = (span.end.line + 1).saturating_sub(span.start.line);
        file.lines().skip(span.start.line.saturating_sub(1)).take(count).collect::<Vec<_>>().join("\n")
    }
}

impl Mutant {
    /// What its result is kept under.
    pub(super) fn identity(&self) -> String {
        format!("{} #{}", self.name, self.nth)
    }
}

/// FNV-1a, 64 bits: the same on every machine and in every version.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// All bits depend on all input: FNV's low bits alone are no fair choice.
    pub(super) fn mixed(self) -> u64 {
        let mixed = (self.0 ^ self.0 >> 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed ^ mixed >> 29
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const FILE: &str = "fn a() {\n    1 + 2 + 3\n}\nfn b() {\n    true\n}\n";

    /// Two mutants of one name in `a`, one of `b`.
    pub(in super::super) fn three(file: &str) -> Vec<Mutant> {
        let listed = r#"[
            {"name": "p/src/f.rs:2:7: replace + with - in a", "package": "p", "file": "p/src/f.rs", "genre": "BinaryOperator",
             "function": {"function_name": "a", "return_type": "", "span": {"start": {"line": 1, "column": 1}, "end": {"line": 3, "column": 2}}}},
            {"name": "p/src/f.rs:2:11: replace + with - in a", "package": "p", "file": "p/src/f.rs", "genre": "BinaryOperator",
             "function": {"function_name": "a", "return_type": "", "span": {"start": {"line": 1, "column": 1}, "end": {"line": 3, "column": 2}}}},
            {"name": "p/src/f.rs:5:5: replace b -> bool with false", "package": "p", "file": "p/src/f.rs", "genre": "FnValue",
             "function": {"function_name": "b", "return_type": "-> bool", "span": {"start": {"line": 4, "column": 1}, "end": {"line": 6, "column": 2}}}}
        ]"#;
        parse(listed, |_| Ok(file.to_owned())).unwrap()
    }

    #[test]
    fn mutants_of_one_name_are_told_apart() {
        let mutants = three(FILE);
        let identities: Vec<String> = mutants.iter().map(Mutant::identity).collect();
        assert_eq!(
            identities,
            [
                "p/src/f.rs: replace + with - in a #1",
                "p/src/f.rs: replace + with - in a #2",
                "p/src/f.rs: replace b -> bool with false #1"
            ]
        );
        assert_eq!(mutants[0].hash, mutants[1].hash);
    }

    #[test]
    fn a_change_is_seen_in_its_own_function_alone() {
        let (before, after) = (three(FILE), three(&FILE.replace("true", "false")));
        assert_eq!(before[0].hash, after[0].hash);
        assert_ne!(before[2].hash, after[2].hash);
    }

    #[test]
    fn hashes_are_the_published_ones() {
        let mut hash = Hash::default();
        hash.add(b"foobar");
        assert_eq!(hash.to_string(), "85944171f73967e8");
    }
}
