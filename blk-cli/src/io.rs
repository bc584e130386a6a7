//! `blk io`, also called `qemu-io`.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the program; `name` stands before its messages.
pub fn run(name: &str, arguments: Vec<OsString>) -> ExitCode {
    eprintln!("{name}: not there yet: {arguments:?}");
    ExitCode::FAILURE
}
