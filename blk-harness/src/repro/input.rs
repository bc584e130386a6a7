//! Inputs that are no scenarios: hostile images, conversations, names. A finding of one is proven, the input
//! made smaller, and both are written.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use blk_verify::{Finding, Signature, report};

use super::{PAGE_EXTENSION, read_input};
use crate::page::{Paper, Surroundings, Way};
use crate::reproduce::{REPLAYS, slug};
use crate::run::guarded;

/// An input is made smaller for so long at most.
const SHRINK_MAX: Duration = Duration::from_secs(20);

/// A fuzz target whose inputs are no scenarios.
pub struct InputTarget<'a> {
    /// Its name.
    pub name: &'a str,
    /// What the inputs are, such as `a conversation of NBD`.
    pub kind: &'a str,
    /// What the name of a file with an input ends with, without a dot.
    pub extension: &'a str,
    /// What it finds in an input: a headline, and lines with more.
    pub judge: &'a dyn Fn(&[u8]) -> Option<String>,
    /// An input in words.
    pub show: &'a dyn Fn(&[u8]) -> String,
}

impl std::fmt::Debug for InputTarget<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InputTarget").field("name", &self.name).finish_non_exhaustive()
    }
}

impl InputTarget<'_> {
    /// Proves that what an input finds is found each time, makes the input as small as it can be, and writes
    /// it to the folder `out`, with a page about it. Returns whether something is found.
    ///
    /// # Errors
    /// What is wrong with the input; that the finding is not deterministic; what cannot be written.
    pub fn reproduce(&self, input: &Path, out: &Path) -> Result<bool> {
        let bytes = read_input(input)?;
        let Some(first) = self.report(&bytes) else {
            println!("{}\n{}: nothing is found", (self.show)(&bytes), input.display());
            return Ok(false);
        };
        self.prove(&bytes, &first)?;
        println!("proven: {REPLAYS} replays, the same finding each time");
        let begun = Instant::now();
        let what = headline(&first);
        let is_found = |bytes: &[u8]| self.report(bytes).is_some_and(|report| headline(&report) == what);
        let smallest = shrink(&bytes, is_found, || begun.elapsed() >= SHRINK_MAX);
        let (smallest, last) = if let Some(last) = self.report(&smallest) {
            println!("shrunk: {} bytes to {}", bytes.len(), smallest.len());
            (smallest, last)
        } else {
            println!("not shrunk: the smaller input passes when it is tried again");
            (bytes, first)
        };
        println!("\n{last}\n{}: {}", self.kind, (self.show)(&smallest));
        for path in self.write(out, &smallest, &last)? {
            println!("wrote {}", path.display());
        }
        Ok(true)
    }

    /// What is found in an input; a panic is a finding.
    fn report(&self, bytes: &[u8]) -> Option<String> {
        let run = || (self.judge)(bytes);
        let told = |finding: Box<Finding>| {
            let notes = finding.report().lines().skip(1).map(str::trim).collect::<Vec<_>>().join("\n");
            let message = notes.lines().next().unwrap_or_default();
            format!("the driver panicked: {message}\n{notes}")
        };
        guarded(run, |finding| Some(told(finding)))
    }

    fn prove(&self, bytes: &[u8], first: &str) -> Result<()> {
        for _ in 1..REPLAYS {
            match self.report(bytes) {
                Some(report) if headline(&report) == headline(first) => {}
                Some(report) => bail!("not deterministic:\n{first}\nand then\n{report}"),
                None => bail!("not deterministic: nothing, after\n{first}"),
            }
        }
        Ok(())
    }

    fn write(&self, out: &Path, bytes: &[u8], report: &str) -> Result<[PathBuf; 2]> {
        fs::create_dir_all(out)?;
        let stem = format!("{}-{}", self.name, slug(&headline(report)));
        let input = out.join(format!("{stem}.{}", self.extension));
        fs::write(&input, bytes).with_context(|| format!("cannot write {}", input.display()))?;
        let page = out.join(format!("{stem}.{PAGE_EXTENSION}"));
        fs::write(&page, self.page(&stem, bytes, report, &input))
            .with_context(|| format!("cannot write {}", page.display()))?;
        Ok([input, page])
    }

    fn page(&self, stem: &str, bytes: &[u8], report: &str, input: &Path) -> String {
        let (what, rest) = report.split_once('\n').unwrap_or((report, ""));
        let signature = Signature::Image { message: headline(report) };
        let finding = Finding::new(signature, what).with_notes(rest.trim()).by("input");
        let command = format!("{} repro --target {} {}", super::command(), self.name, input.display());
        let ways = [
            Way::new("A command", command),
            Way::new(format!("The input: {}", self.kind), (self.show)(bytes)),
        ];
        Paper {
            name: stem,
            target: self.name,
            finding: &finding,
            scenario: None,
            around: &Surroundings::default(),
            ways: &ways,
        }
        .render()
    }
}

/// What a finding is, without what may differ from one input to the next.
fn headline(report: &str) -> String {
    report::without_numbers(report.lines().next().unwrap_or_default())
}

/// An input without the bytes that `is_found` does not need, and with zeroes for those that may be anything.
fn shrink(bytes: &[u8], is_found: impl Fn(&[u8]) -> bool, is_over: impl Fn() -> bool) -> Vec<u8> {
    let mut smallest = bytes.to_vec();
    let keep = |candidate: Vec<u8>, smallest: &mut Vec<u8>| {
        let is_smaller = candidate != *smallest && is_found(&candidate);
        if is_smaller {
            *smallest = candidate;
        }
        is_smaller
    };
    let mut step = smallest.len().next_power_of_two();
    while step > 0 && !is_over() {
        let mut at = 0;
        while at < smallest.len() && !is_over() {
            let end = smallest.len().min(at + step);
            let without = [&smallest[..at], &smallest[end..]].concat();
            if keep(without, &mut smallest) {
                continue;
            }
            let mut cleared = smallest.clone();
            cleared[at..end].fill(0);
            keep(cleared, &mut smallest);
            at = end;
        }
        step /= 2;
    }
    smallest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seven(bytes: &[u8]) -> Option<String> {
        assert!(!bytes.contains(&13), "thirteen");
        let at = bytes.iter().position(|byte| *byte == 7)?;
        Some(format!("a seven at {at}\nof {} bytes", bytes.len()))
    }

    const SEVENS: InputTarget<'_> = InputTarget {
        name: "sevens",
        kind: "numbers",
        extension: "bin",
        judge: &seven,
        show: &|bytes| format!("{bytes:?} <all>"),
    };

    #[test]
    fn only_what_matters_is_left() {
        let bytes: Vec<u8> = (0..100).filter(|byte| *byte != 13).collect();
        assert_eq!(shrink(&bytes, |bytes| seven(bytes).is_some(), || false), [7]);
        let far = |bytes: &[u8]| bytes.get(3) == Some(&7);
        assert_eq!(shrink(&[1, 2, 3, 7, 9, 7], far, || false), [0, 0, 0, 7]);
        assert_eq!(shrink(&[1, 7], |_| true, || true), [1, 7], "there was no time");
    }

    #[test]
    fn a_finding_and_a_panic_are_written_with_a_page() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        for (bytes, stem, left) in
            [(&[1, 2, 7, 3][..], "a-seven-at", &[7][..]), (&[4, 13], "the-driver-panicked-thirteen", &[13])]
        {
            let input = folder.path().join("input");
            fs::write(&input, bytes).unwrap();
            assert!(SEVENS.reproduce(&input, &out).unwrap());
            let names: Vec<_> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            let smallest = fs::read(out.join(format!("sevens-{stem}.bin")));
            assert_eq!(smallest.unwrap_or_else(|error| panic!("{error}: {names:?}")), left);
            let page = fs::read_to_string(out.join(format!("sevens-{stem}.finding.html"))).unwrap();
            assert!(page.contains(&format!("{left:?} &lt;all&gt;")), "{page}");
        }
    }

    #[test]
    fn nothing_and_what_changes_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("input");
        fs::write(&input, [1, 2]).unwrap();
        assert!(!SEVENS.reproduce(&input, folder.path()).unwrap());
        let count = std::cell::Cell::new(0);
        let judge = |_: &[u8]| {
            count.set(count.get() + 1);
            (count.get() == 1).then(|| "once".to_owned())
        };
        let changes = InputTarget { judge: &judge, ..SEVENS };
        let error = changes.reproduce(&input, folder.path()).unwrap_err();
        assert_eq!(error.to_string(), "not deterministic: nothing, after\nonce");
    }
}
