//! QEMU's tools, for tests that need them.

use std::process::Command;

/// Runs a tool of QEMU: whether it has succeeded, and what it has printed; `None` if it is not installed.
///
/// # Panics
/// If it is missing and `BLK_REQUIRE_QEMU` is set.
pub(crate) fn answer(program: &str, arguments: &[&str]) -> Option<(bool, String)> {
    let Ok(output) = Command::new(program).args(arguments).output() else {
        assert!(std::env::var_os("BLK_REQUIRE_QEMU").is_none(), "{program} is required here and missing");
        eprintln!("SKIPPED: {program} is missing (Debian package qemu-utils)");
        return None;
    };
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    Some((output.status.success(), said.into_owned()))
}

/// Runs a tool of QEMU, which has to succeed; `None` if it is not installed.
///
/// # Panics
/// If it fails.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Option<()> {
    let (is_good, said) = answer(program, arguments)?;
    assert!(is_good, "{program} {arguments:?}: {said}");
    Some(())
}
