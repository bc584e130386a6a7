//! `blk img`, also called `qemu-img`: a subcommand a module.

mod amend;
mod args;
mod bench;
mod bitmap;
mod chain;
mod check;
mod commit;
mod compare;
mod convert;
mod create;
mod dd;
mod failure;
mod image;
mod info;
mod json;
mod map;
mod measure;
mod options;
mod output;
mod progress;
mod rebase;
mod resize;
mod size;
mod snapshot;

use std::ffi::OsString;
use std::process::ExitCode;

use failure::{Failure, Outcome};
use output::append;

/// What a subcommand is run with: the program's name, and the arguments.
type Command = fn(&str, Vec<OsString>) -> Outcome<ExitCode>;

const COMMANDS: &[(&str, &str, Command)] = &[
    ("amend", "change options of an image's format", amend::run),
    ("bench", "measure how fast requests are answered", bench::run),
    ("bitmap", "change a dirty bitmap of an image", bitmap::run),
    ("check", "check an image's metadata", check::run),
    ("commit", "write an image's changes to the disk below", commit::run),
    ("compare", "compare the content of two images", compare::run),
    ("convert", "copy images to a new one", convert::run),
    ("create", "make a new image", create::run),
    ("dd", "copy blocks of an image to a new one", dd::run),
    ("info", "tell what an image is", info::run),
    ("map", "tell where an image's content is stored", map::run),
    ("measure", "tell how large a new image would be", measure::run),
    ("rebase", "put an image over another disk", rebase::run),
    ("resize", "change the size of a disk", resize::run),
    ("snapshot", "list the snapshots inside an image", snapshot::run),
];

/// Runs the program; `name` stands before its messages.
pub fn run(name: &str, arguments: Vec<OsString>) -> ExitCode {
    match dispatch(name, arguments) {
        Ok(code) => code,
        Err(failure) => failure.report(name),
    }
}

fn dispatch(name: &str, mut arguments: Vec<OsString>) -> Outcome<ExitCode> {
    skip_tracing(&mut arguments)?;
    if arguments.is_empty() {
        return Err(Failure::usage("", "not enough arguments"));
    }
    let rest = arguments.split_off(1);
    let first = arguments[0].to_string_lossy();
    match &*first {
        "-h" | "--help" => {
            output::text(&help(name))?;
            return Ok(ExitCode::SUCCESS);
        }
        "-V" | "--version" => {
            output::line(&format!("qemu-img version 10.0.2 (blk {})", env!("CARGO_PKG_VERSION")))?;
            return Ok(ExitCode::SUCCESS);
        }
        option if option.starts_with('-') => {
            return Err(Failure::usage("", format!("unrecognized option '{option}'")));
        }
        _ => {}
    }
    match COMMANDS.iter().find(|(command, ..)| *command == first) {
        Some((_, _, command)) => command(name, rest),
        None => Err(Failure::usage("", format!("there is no subcommand '{first}'"))),
    }
}

/// Tracing options are accepted in front of the subcommand: there is nothing to trace.
fn skip_tracing(arguments: &mut Vec<OsString>) -> Outcome<()> {
    while let Some(first) = arguments.first().map(|first| first.to_string_lossy().into_owned()) {
        let taken = match &*first {
            "-T" | "--trace" => 2,
            other if other.starts_with("-T") || other.starts_with("--trace=") => 1,
            _ => return Ok(()),
        };
        if arguments.len() < taken {
            return Err(Failure::usage("", format!("option '{first}' needs a value")));
        }
        arguments.drain(..taken);
    }
    Ok(())
}

fn help(name: &str) -> String {
    let mut text = format!("Usage: {name} COMMAND [OPTIONS] ...\n\nCommands:\n");
    for (command, summary, _) in COMMANDS {
        append(&mut text, format_args!("  {command:<10} {summary}\n"));
    }
    let formats = blk_testbed::registry();
    append(&mut text, format_args!("\nFormats: {}\n", formats.names().join(" ")));
    append(&mut text, format_args!("\n'{name} COMMAND --help' tells the options of a command.\n"));
    text
}
