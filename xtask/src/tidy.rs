//! `cargo xtask tidy`: the house rules that no other tool checks.

mod crates;
mod dependencies;
mod formats;
mod layers;
mod seeds;
mod sources;
mod width;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use xshell::{Shell, cmd};

#[derive(Default, clap::Args)]
pub(crate) struct Arguments {
    /// Break the lines of comments and documents that are too wide.
    #[arg(long)]
    fix: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let shell = Shell::new()?;
    let mut broken = Vec::new();
    // What git does not ignore: files that are about to be committed count too.
    let kinds = ["*.rs", "*.md", "*.toml"];
    let files =
        cmd!(shell, "git ls-files --cached --others --exclude-standard -- {kinds...}").quiet().read()?;
    let read = |path: &str| Ok((path.to_owned(), fs::read_to_string(path)?));
    let files: Result<Vec<_>> = files.lines().filter(|path| Path::new(path).is_file()).map(read).collect();
    let mut files = files?;
    for (path, text) in &mut files {
        let fixed = if arguments.fix { width::fix(path, text) } else { text.clone() };
        if fixed != *text {
            fs::write(&*path, &fixed)?;
            *text = fixed;
        }
        broken.extend(width::check(path, text));
    }
    files.retain(|(path, _)| Path::new(path).extension().is_some_and(|extension| extension == "rs"));
    let tests: BTreeSet<String> =
        files.iter().flat_map(|(path, text)| sources::test_modules(path, text)).collect();
    for (path, text) in &files {
        broken.extend(sources::check(path, text, tests.contains(path)));
        broken.extend(layers::check(path, text));
        broken.extend(formats::check(path, text));
    }
    broken.extend(dependencies::check()?);
    broken.extend(crates::check(&shell)?);
    broken.extend(seeds::check()?);
    broken.extend(without_story(&crate::project()?.traces()?));
    for line in &broken {
        println!("{line}");
    }
    println!("tidy: {} source files, {} broken rules", files.len(), broken.len());
    Ok(broken.is_empty())
}

/// A trace without its story is a riddle in a year.
fn without_story(traces: &[PathBuf]) -> Vec<String> {
    let lonely = traces.iter().filter(|trace| !trace.with_extension("md").is_file());
    lonely.map(|trace| format!("{}: there is no story beside it", trace.display())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_without_a_story_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let traces = [folder.path().join("a.trace"), folder.path().join("b.trace")];
        fs::write(folder.path().join("a.md"), "# a").unwrap();
        let broken = without_story(&traces);
        assert_eq!(broken.len(), 1);
        assert!(broken[0].contains("b.trace"), "{broken:?}");
    }
}
