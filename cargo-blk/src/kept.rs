//! The working corpus of a fuzz target: what was interesting once, kept small.
//!
//! libFuzzer reads all of it before it tries anything new, and it only grows. So whenever it has become large, the inputs are
//! kept that reach what no smaller ones reach.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Inputs up to this many are read in a moment, also under a sanitizer.
const INPUTS_MAX: usize = 100;

/// Makes a corpus small again, if it has become large. `flags` are those that the target needs.
pub(crate) fn minimise(program: &Path, corpus: &Path, flags: &[String]) -> Result<()> {
    let before = inputs(corpus)?;
    if before.len() <= INPUTS_MAX {
        return Ok(());
    }
    let smaller = corpus.with_extension("smaller");
    let _ = fs::remove_dir_all(&smaller);
    fs::create_dir_all(&smaller)?;
    // Which lines are reached counts, not how often.
    let merge = ["-merge=1", "-set_cover_merge=0", "-use_counters=0", "-reload=0"];
    let mut command = Command::new(program);
    command.args(merge).args(flags).arg(&smaller).arg(corpus);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().with_context(|| format!("cannot start {}", program.display()))?;
    if !status.success() {
        bail!("{} cannot merge {}: {status}", program.display(), corpus.display());
    }
    thin_out(&smaller)?;
    fs::remove_dir_all(corpus)?;
    fs::rename(&smaller, corpus).with_context(|| format!("cannot replace {}", corpus.display()))?;
    println!("corpus:    {} inputs, {} of them kept", before.len(), inputs(corpus)?.len());
    Ok(())
}

/// Of what is still too many, every so many by name, which is a hash: a fair sample.
fn thin_out(corpus: &Path) -> Result<()> {
    let inputs = inputs(corpus)?;
    for (index, input) in inputs.iter().enumerate() {
        if index * INPUTS_MAX / inputs.len() == (index + 1) * INPUTS_MAX / inputs.len() {
            fs::remove_file(input)?;
        }
    }
    Ok(())
}

/// The files of a corpus, sorted.
fn inputs(corpus: &Path) -> Result<Vec<std::path::PathBuf>> {
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

    #[test]
    fn a_fair_sample_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        for index in 0..INPUTS_MAX * 3 + 7 {
            fs::write(folder.path().join(format!("{index:04}")), "x").unwrap();
        }
        thin_out(folder.path()).unwrap();
        assert_eq!(inputs(folder.path()).unwrap().len(), INPUTS_MAX);
        thin_out(folder.path()).unwrap();
        assert_eq!(inputs(folder.path()).unwrap().len(), INPUTS_MAX);
    }
}
