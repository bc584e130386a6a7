//! Which crates tell libFuzzer what they reach: those under test alone.
//!
//! cargo-fuzz has every crate counted, and so each new state of a model or of a decompressor makes an input
//! look interesting, and most of the time goes to counters and to keeping what they choose. A build by this
//! crate calls this very program in the place of rustc, which takes the flags for counters away from crates
//! of registries and from the harness.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;

/// Says that this program is called in the place of rustc, and which crates of registries are covered all the
/// same, separated by commas.
const COVER: &str = "BLK_COVER";
const WRAPPERS: [&str; 2] = ["RUSTC_WRAPPER", "CARGO_BUILD_RUSTC_WRAPPER"];
const FLAGS: &str = "RUSTFLAGS";
/// Crates that test and are not tested, wherever they lie.
const HARNESS: [&str; 4] = ["blk_harness", "blk_sim", "blk_testbed", "blk_verify"];
/// Where cargo puts what it has downloaded.
const DOWNLOADED: [&str; 2] = ["registry", "git"];

/// This program, if it can be called in the place of rustc. Its file may be replaced while it runs.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// To be called first of all in `main`: where cargo has called this program in the place of rustc, it does
/// that work, and returns with what `main` has to return.
pub fn begin() -> Option<ExitCode> {
    if std::env::var_os(COVER).is_some() {
        return Some(compile());
    }
    if let Ok(program) = std::env::current_exe() {
        let _ = PROGRAM.set(program);
    }
    None
}

/// The environment of a build whose counters are to be in the crates under test alone; `also` names crates of
/// registries that are among these. None for a program that has not called [`begin`], and where the
/// environment names another wrapper of rustc; one in a configuration file of cargo is replaced.
pub(crate) fn environment(also: &[String]) -> Vec<(&'static str, OsString)> {
    let is_wrapped =
        WRAPPERS.iter().any(|name| std::env::var_os(name).is_some_and(|wrapper| !wrapper.is_empty()));
    let Some(program) = PROGRAM.get().filter(|_| !is_wrapped) else { return Vec::new() };
    // Cargo tells builds apart by these flags, and would not by what the wrapper takes away.
    let flags = std::env::var(FLAGS).unwrap_or_default();
    let flags = format!("{flags} --cfg=blk_cover=\"{}\"", also.join("+"));
    vec![(WRAPPERS[0], program.into()), (COVER, also.join(",").into()), (FLAGS, flags.trim_start().into())]
}

/// Calls rustc as cargo has asked for, without the flags for counters where they are not wanted.
fn compile() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let Some(rustc) = words.next() else {
        eprintln!("{COVER} is set: this program is called in the place of rustc");
        return ExitCode::FAILURE;
    };
    let mut words: Vec<OsString> = words.collect();
    let also = std::env::var(COVER).unwrap_or_default();
    let folder = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    if !is_covered(crate_name(&words), Path::new(&folder), &also) {
        words.retain(|word| !is_counting(word));
    }
    match Command::new(&rustc).args(words).status() {
        Ok(status) => ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
        Err(error) => {
            eprintln!("cannot start {}: {error}", rustc.display());
            ExitCode::FAILURE
        }
    }
}

fn crate_name(words: &[OsString]) -> &str {
    let at = words.iter().position(|word| word == "--crate-name");
    at.and_then(|at| words.get(at + 1)?.to_str()).unwrap_or_default()
}

fn is_covered(name: &str, folder: &Path, also: &str) -> bool {
    if also.split(',').any(|also| also.replace('-', "_") == name) {
        return true;
    }
    let is_below = |home: &Path| DOWNLOADED.iter().any(|part| folder.starts_with(home.join(part)));
    !HARNESS.contains(&name) && !cargo_home().is_some_and(|home| is_below(&home))
}

fn cargo_home() -> Option<std::path::PathBuf> {
    let named = std::env::var_os("CARGO_HOME").map(Into::into);
    named.or_else(|| Some(std::env::home_dir()?.join(".cargo")))
}

/// Whether a word of rustc's arguments asks for counters, as cargo-fuzz writes it.
fn is_counting(word: &OsString) -> bool {
    let word = word.to_string_lossy();
    word == "-Cpasses=sancov-module" || word.starts_with("-Cllvm-args=-sanitizer-coverage-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_are_covered_and_what_tests_them_is_not() {
        let home = cargo_home().unwrap();
        let downloaded = home.join("registry/src/index.crates.io/zstd-0.13.0");
        for (name, folder, also, expected) in [
            ("log_disk", Path::new("/somewhere/log-disk"), "", true),
            ("blk_qcow2", Path::new("/somewhere/blk-qcow2"), "", true),
            ("blk_harness", Path::new("/somewhere/blk-harness"), "", false),
            ("blk_harness", downloaded.as_path(), "", false),
            ("zstd", downloaded.as_path(), "", false),
            ("zstd", downloaded.as_path(), "blk-nbd,zstd", true),
            ("blk_nbd", downloaded.as_path(), "blk-nbd,zstd", true),
        ] {
            assert_eq!(is_covered(name, folder, also), expected, "{name} {also}");
        }
    }

    #[test]
    fn only_the_flags_for_counters_are_taken_away() {
        let words = [
            "--crate-name",
            "a",
            "-Cpasses=sancov-module",
            "-Cllvm-args=-sanitizer-coverage-level=4",
            "-Copt-level=3",
        ];
        let mut words = words.map(OsString::from).to_vec();
        assert_eq!(crate_name(&words), "a");
        words.retain(|word| !is_counting(word));
        assert_eq!(words, ["--crate-name", "a", "-Copt-level=3"]);
        assert_eq!(crate_name(&words[2..]), "");
    }

    #[test]
    fn who_has_not_said_so_is_not_called_in_the_place_of_rustc() {
        assert!(environment(&[]).is_empty());
    }
}
