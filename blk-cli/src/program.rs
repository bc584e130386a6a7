//! Which program it is, by the name that it is called by.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// Runs the program with these arguments, the first of which is its name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let called = arguments.first().map(|name| Path::new(name).file_name().unwrap_or(name).to_owned());
    match called.as_deref().and_then(|name| name.to_str()) {
        Some("qemu-io") => crate::io::run("qemu-io", arguments.split_off(1)),
        Some("qemu-img") => crate::img::run("qemu-img", arguments.split_off(1)),
        _ => subcommand(arguments.split_off(arguments.len().min(1))),
    }
}

fn subcommand(mut arguments: Vec<OsString>) -> ExitCode {
    let rest = arguments.split_off(arguments.len().min(1));
    match arguments.first().and_then(|name| name.to_str()) {
        Some("io") => crate::io::run("blk io", rest),
        Some("img") => crate::img::run("blk img", rest),
        _ => {
            eprintln!("blk: expected a subcommand: io, img");
            ExitCode::FAILURE
        }
    }
}
