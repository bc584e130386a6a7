//! `cargo xtask tidy`: the house rules that no other tool checks.

mod dependencies;
mod sources;

use std::fs;
use std::path::Path;

use anyhow::Result;
use xshell::{Shell, cmd};

use crate::replay;

pub(crate) fn run() -> Result<bool> {
    let shell = Shell::new()?;
    let mut broken = Vec::new();
    // What git does not ignore: files that are about to be committed count too.
    let files = cmd!(shell, "git ls-files --cached --others --exclude-standard -- *.rs").quiet().read()?;
    for path in files.lines().filter(|path| Path::new(path).is_file()) {
        broken.extend(sources::check(path, &fs::read_to_string(path)?));
    }
    broken.extend(dependencies::check()?);
    for trace in replay::traces()? {
        if !trace.with_extension("md").is_file() {
            broken.push(format!("{}: there is no story beside it", trace.display()));
        }
    }
    for line in &broken {
        println!("{line}");
    }
    println!("tidy: {} files, {} broken rules", files.lines().count(), broken.len());
    Ok(broken.is_empty())
}
