//! The working corpus of a fuzz target: what was interesting once, kept small.
//!
//! libFuzzer reads all of it before it tries anything new, and it only grows. So whenever it has become
//! large, the inputs are kept that reach what no smaller ones reach.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::arguments::Arguments as Told;

/// Makes a corpus small again, if it has more than `most` inputs. `told` is what the target needs.
/// Until the small one is whole and in its place, the large one stays.
pub(crate) fn minimise(program: &Path, corpus: &Path, told: &Told, most: usize) -> Result<()> {
    let old = corpus.with_extension("old");
    if old.is_dir() {
        // Somebody has ended us between the two renames.
        let _ = fs::remove_dir_all(corpus);
        fs::rename(&old, corpus).with_context(|| format!("cannot take back {}", old.display()))?;
    }
    if inputs(corpus)?.len() <= most {
        return Ok(());
    }
    merge(program, corpus, &[], told, most)
}

/// Merges the inputs of other folders into a corpus, and keeps at most `most` that reach what no smaller ones
/// reach. Until the new one is whole and in its place, the old one stays.
pub(crate) fn merge(
    program: &Path,
    corpus: &Path,
    others: &[PathBuf],
    told: &Told,
    most: usize,
) -> Result<()> {
    let (smaller, old) = (corpus.with_extension("smaller"), corpus.with_extension("old"));
    let mut before = inputs(corpus)?.len();
    for folder in others {
        before += inputs(folder)?.len();
    }
    let _ = fs::remove_dir_all(&smaller);
    fs::create_dir_all(&smaller)?;
    // Which lines are reached counts, not how often.
    let merge = ["-merge=1", "-set_cover_merge=0", "-use_counters=0", "-reload=0"];
    let mut command = Command::new(program);
    told.tell(&mut command);
    command.args(merge).args(&told.of_libfuzzer).arg(&smaller).arg(corpus).args(others);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().with_context(|| format!("cannot start {}", program.display()))?;
    if !status.success() {
        bail!("{} cannot merge {}: {status}", program.display(), corpus.display());
    }
    thin_out(&smaller, most)?;
    fs::rename(corpus, &old).with_context(|| format!("cannot replace {}", corpus.display()))?;
    fs::rename(&smaller, corpus).with_context(|| format!("cannot replace {}", corpus.display()))?;
    fs::remove_dir_all(&old)?;
    println!("corpus:    {before} inputs, {} of them kept", inputs(corpus)?.len());
    Ok(())
}

/// What a corpus comes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) inputs: usize,
    pub(crate) bytes: u64,
}

impl Size {
    /// That of a folder; of one that is not there, nothing.
    ///
    /// # Errors
    /// That it cannot be read.
    pub(crate) fn of(folder: &Path) -> Result<Self> {
        let mut size = Self::default();
        if folder.is_dir() {
            for input in inputs(folder)? {
                size.inputs += 1;
                size.bytes += fs::metadata(&input)?.len();
            }
        }
        Ok(size)
    }
}

/// Adds to a corpus what the inputs of other folders reach and its own do not: as few inputs as libFuzzer
/// finds for it. If `anew`, its own are no better than the others. Returns what libFuzzer says of it.
///
/// # Errors
/// What cannot be run, read or written.
pub(crate) fn add(
    program: &Path,
    corpus: &Path,
    others: &[PathBuf],
    told: &Told,
    anew: bool,
) -> Result<String> {
    let old = corpus.with_extension("old");
    let mut folders = vec![corpus.to_owned()];
    fs::create_dir_all(corpus)?;
    if anew {
        let _ = fs::remove_dir_all(&old);
        fs::rename(corpus, &old).with_context(|| format!("cannot move {}", corpus.display()))?;
        fs::create_dir_all(corpus)?;
        folders.push(old.clone());
    }
    let mut command = Command::new(program);
    told.tell(&mut command);
    command.args(["-merge=1", "-set_cover_merge=1", "-use_counters=0", "-reload=0"]);
    command.args(&told.of_libfuzzer).args(folders).args(others);
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot start {}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        if anew {
            fs::remove_dir_all(corpus)?;
            fs::rename(&old, corpus)?;
        }
        bail!("{} cannot merge: {}\n{}", program.display(), output.status, last_lines(&said));
    }
    if anew {
        fs::remove_dir_all(&old)?;
    }
    let verdict = said.lines().rev().find_map(|line| line.strip_prefix("MERGE-OUTER: "));
    Ok(verdict.unwrap_or("nothing was added").to_owned())
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}

/// Of what is still too many, every so many by name, which is a hash: a fair sample.
fn thin_out(corpus: &Path, most: usize) -> Result<()> {
    let inputs = inputs(corpus)?;
    for (index, input) in inputs.iter().enumerate() {
        if index * most / inputs.len() == (index + 1) * most / inputs.len() {
            fs::remove_file(input)?;
        }
    }
    Ok(())
}

/// The files of a corpus, sorted.
pub(crate) fn inputs(corpus: &Path) -> Result<Vec<PathBuf>> {
    let mut inputs = Vec::new();
    for entry in fs::read_dir(corpus).with_context(|| format!("cannot read {}", corpus.display()))? {
        inputs.push(entry?.path());
    }
    inputs.sort();
    Ok(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 100;

    #[test]
    fn a_fair_sample_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        for index in 0..MOST * 3 + 7 {
            fs::write(folder.path().join(format!("{index:04}")), "x").unwrap();
        }
        thin_out(folder.path(), MOST).unwrap();
        assert_eq!(inputs(folder.path()).unwrap().len(), MOST);
        thin_out(folder.path(), MOST).unwrap();
        assert_eq!(inputs(folder.path()).unwrap().len(), MOST);
    }

    #[test]
    fn a_merge_that_fails_leaves_the_corpus() {
        let folder = tempfile::tempdir().unwrap();
        let corpus = folder.path().join("seeds");
        assert_eq!(Size::of(&corpus).unwrap(), Size::default());
        fs::create_dir(&corpus).unwrap();
        fs::write(corpus.join("precious"), "bytes").unwrap();
        for anew in [false, true] {
            add(Path::new("false"), &corpus, &[], &Told::default(), anew).unwrap_err();
            assert_eq!(Size::of(&corpus).unwrap(), Size { inputs: 1, bytes: 5 });
            assert_eq!(inputs(folder.path()).unwrap().len(), 1);
        }
    }

    #[test]
    fn a_corpus_that_was_being_replaced_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let corpus = folder.path().join("mine");
        for (name, is_new) in [("mine", true), ("mine.old", false)] {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join(if is_new { "new" } else { "precious" }), "x").unwrap();
        }
        minimise(Path::new("/nowhere"), &corpus, &Told::default(), MOST).unwrap();
        let left: Vec<_> =
            inputs(&corpus).unwrap().iter().map(|path| path.file_name().unwrap().to_owned()).collect();
        assert_eq!(left, ["precious"]);
        // A program that cannot merge leaves all as it is.
        fs::write(corpus.join("another"), "x").unwrap();
        minimise(Path::new("/nowhere"), &corpus, &Told::default(), 1).unwrap_err();
        assert_eq!(inputs(&corpus).unwrap().len(), 2);
    }
}
