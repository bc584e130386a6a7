//! `blk share`: manual pages that troff sets without a warning, and completions that shells can read.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const BLK: &str = env!("CARGO_BIN_EXE_blk");

/// What a program says about a file, on both streams; it has to succeed. `None` where the program is missing,
/// which is said; with `BLK_REQUIRE_QEMU=1`, as in CI, a program that is required has to be there.
fn said(program: &str, arguments: &[&str], file: &Path, is_required: bool) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).arg(file).stdin(Stdio::null()).env("LC_ALL", "C.UTF-8");
    let Ok(output) = command.output() else {
        let must_be_there = is_required && std::env::var_os("BLK_REQUIRE_QEMU").is_some();
        assert!(!must_be_there, "{program} is required here and missing");
        eprintln!("SKIPPED: {program} is missing");
        return None;
    };
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?} {}: {said}", file.display());
    Some(said.into_owned())
}

fn share(prefix: &Path) -> PathBuf {
    let output = Command::new(BLK).arg("share").arg(prefix).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 4, "{output:?}");
    prefix.join("share")
}

#[test]
fn manual_pages_are_set_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let pages = share(folder.path()).join("man/man1");
    let mut count = 0;
    for entry in std::fs::read_dir(&pages).unwrap() {
        let page = entry.unwrap().path();
        let text = std::fs::read_to_string(&page).unwrap();
        // What `apropos` shows: a name and what it is.
        let name = text.lines().skip_while(|line| *line != ".SH NAME").nth(1).unwrap_or_default();
        assert!(name.contains(r" \- ") && !name.ends_with(r"\- "), "{}: {name}", page.display());
        count += 1;
        let Some(warnings) = said("groff", &["-ww", "-z", "-man", "-Tutf8"], &page, true) else { return };
        assert_eq!(warnings, "", "{}", page.display());
        if let Some(findings) = said("mandoc", &["-T", "lint", "-W", "error"], &page, false) {
            assert_eq!(findings, "", "{}", page.display());
        }
    }
    // Each command, and each subcommand of `blk img`.
    assert!(count > 20, "{count} pages");
}

#[test]
fn shells_read_their_completions() {
    let folder = tempfile::tempdir().unwrap();
    let share = share(folder.path());
    for (shell, arguments, place) in [
        ("bash", ["-n"].as_slice(), "bash-completion/completions/blk"),
        ("zsh", &["-n"], "zsh/site-functions/_blk"),
        ("fish", &["--no-execute"], "fish/vendor_completions.d/blk.fish"),
    ] {
        let complaints = said(shell, arguments, &share.join(place), false);
        assert_eq!(complaints.unwrap_or_default(), "", "{shell}");
    }
}
