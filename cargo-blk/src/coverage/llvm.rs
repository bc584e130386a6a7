//! LLVM's tools for counted lines, which have to be of the version that rustc writes for.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use xshell::{Shell, cmd};

use crate::build::host_triple;

/// What lies outside of the crates under test.
const OTHERS: &str = "/(registry|rustc|rustlib)/";

/// The tools.
#[derive(Debug)]
pub(super) struct Tools {
    profdata: PathBuf,
    cov: PathBuf,
}

impl Tools {
    /// Those of the toolchain's own component, or those of the system if they fit.
    ///
    /// # Errors
    /// What has to be installed.
    pub(super) fn find(shell: &Shell) -> Result<Self> {
        let sysroot = PathBuf::from(cmd!(shell, "rustc --print sysroot").quiet().read()?);
        let own = sysroot.join("lib/rustlib").join(host_triple(shell)?).join("bin");
        let major = major(&cmd!(shell, "rustc -vV").quiet().read()?, "LLVM version: ")?;
        let named = |name: &str| [own.join(name), format!("{name}-{major}").into(), name.into()];
        let find = |name: &str| named(name).into_iter().find(|program| fits(program, major));
        match (find("llvm-profdata"), find("llvm-cov")) {
            (Some(profdata), Some(cov)) => Ok(Self { profdata, cov }),
            _ => bail!(
                "no lines: llvm-profdata and llvm-cov of LLVM {major} are missing, the version that rustc writes \
                 for; `rustup component add llvm-tools` has them, or the package llvm-{major} of Debian"
            ),
        }
    }

    /// Merges the profiles below `folder`, writes `lcov.info` and pages there, and returns a table.
    pub(super) fn report(&self, shell: &Shell, folder: &Path, programs: &[PathBuf]) -> Result<String> {
        let Self { profdata, cov } = self;
        let mut profiles = Vec::new();
        for target in fs::read_dir(folder)? {
            let files = fs::read_dir(target?.path())?;
            let paths: Vec<PathBuf> = files.map(|file| Ok(file?.path())).collect::<Result<_>>()?;
            profiles
                .extend(paths.into_iter().filter(|path| path.extension().is_some_and(|it| it == "profraw")));
        }
        let merged = folder.join("all.profdata");
        cmd!(shell, "{profdata} merge -sparse {profiles...} -o {merged}").quiet().run()?;
        let (first, rest) = programs.split_first().context("there is a target")?;
        let objects: Vec<String> =
            rest.iter().map(|program| format!("--object={}", program.display())).collect();
        let objects = &objects;
        let profile = format!("--instr-profile={}", merged.display());
        let others = format!("--ignore-filename-regex={OTHERS}");
        let lcov = cmd!(shell, "{cov} export {first} {objects...} {profile} {others} --format=lcov");
        fs::write(folder.join("lcov.info"), lcov.quiet().read()?)?;
        let pages = format!("--output-dir={}", folder.join("html").display());
        cmd!(shell, "{cov} show {first} {objects...} {profile} {others} --format=html {pages}")
            .quiet()
            .run()?;
        let summary = cmd!(shell, "{cov} export {first} {objects...} {profile} {others} --summary-only");
        let table = table(&serde_json::from_str(&summary.quiet().read()?)?)?;
        let folder = folder.display();
        Ok(format!("{table}lines: {folder}/lcov.info and {folder}/html/index.html"))
    }
}

/// Whether a program is of that version of LLVM.
fn fits(program: &Path, wanted: u64) -> bool {
    let output = std::process::Command::new(program).arg("--version").output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    major(&said, "LLVM version ").is_ok_and(|major| major == wanted)
}

/// The first number behind a mark.
fn major(said: &str, mark: &str) -> Result<u64> {
    let number = said.split_once(mark).and_then(|(_, rest)| rest.split('.').next()?.trim().parse().ok());
    number.with_context(|| format!("there is no '{mark}' in:\n{said}"))
}

/// Lines by crate, out of a summary as llvm-cov writes it.
fn table(summary: &Value) -> Result<String> {
    let files = summary["data"][0]["files"].as_array().context("llvm-cov tells of files")?;
    let mut crates: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for file in files {
        let path = file["filename"].as_str().unwrap_or_default();
        let Some((folder, _)) = path.rsplit_once("/src/") else { continue };
        let lines = &file["summary"]["lines"];
        let count = |name: &str| lines[name].as_u64().unwrap_or(0);
        let (covered, all) = crates.entry(folder.rsplit('/').next().unwrap_or(folder)).or_default();
        *covered += count("covered");
        *all += count("count");
    }
    let mut table = format!("{:16} {:>8} {:>8} {:>8}\n", "crate", "reached", "lines", "share");
    for (name, (covered, all)) in crates {
        let tenths = covered * 1000 / all.max(1);
        let _ = writeln!(table, "{name:16} {covered:>8} {all:>8} {:>5}.{} %", tenths / 10, tenths % 10);
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_first_number() {
        assert_eq!(major("host: x\nLLVM version: 22.1.2\n", "LLVM version: ").unwrap(), 22);
        assert_eq!(major("Debian LLVM version 14.0.6\n  Optimized", "LLVM version ").unwrap(), 14);
        major("cannot open", "LLVM version ").unwrap_err();
        assert!(!fits(Path::new("/nowhere/llvm-cov"), 22));
    }

    #[test]
    fn lines_are_summed_by_crate() {
        let file = |name: &str, covered: u64| serde_json::json!({ "filename": name, "summary": { "lines": { "count": 8, "covered": covered } } });
        let files =
            [file("/a/blk-raw/src/lib.rs", 8), file("/a/blk-raw/src/deep/er.rs", 2), file("/a/build.rs", 1)];
        let table = table(&serde_json::json!({ "data": [{ "files": files }] })).unwrap();
        assert_eq!(table.lines().count(), 2, "{table}");
        assert!(table.ends_with("blk-raw                10       16    62.5 %\n"), "{table}");
    }
}
