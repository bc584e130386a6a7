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
mod crew;
mod dd;
mod failure;
mod image;
mod info;
mod json;
mod map;
mod measure;
mod options;
mod output;
mod pages;
mod progress;
mod rebase;
mod resize;
pub(crate) mod size;
mod snapshot;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::CommandFactory;

use crate::suggest;
use failure::{Failure, Outcome};
use output::append;

/// What the program is for.
const ABOUT: &str = "Makes, checks, converts and compares images; also called qemu-img";

/// What a subcommand is run with: the program's name, and the arguments.
type Run = fn(&str, Vec<OsString>) -> Outcome<ExitCode>;
/// The definition of its arguments.
type Definition = fn() -> clap::Command;

const COMMANDS: &[(&str, &str, Run, Definition)] = &[
    ("amend", "change options of an image's format", amend::run, amend::Args::command),
    ("bench", "measure how fast requests are answered", bench::run, bench::Args::command),
    ("bitmap", "change a dirty bitmap of an image", bitmap::run, bitmap::Args::command),
    ("check", "check an image's metadata", check::run, check::Args::command),
    ("commit", "write an image's changes to its backing file", commit::run, commit::Args::command),
    ("compare", "compare the content of two images", compare::run, compare::Args::command),
    ("convert", "copy images to a new one", convert::run, convert::Args::command),
    ("create", "make a new image", create::run, create::Args::command),
    ("dd", "copy blocks of an image to a new one", dd::run, dd::Args::command),
    ("info", "tell what an image is", info::run, info::Args::command),
    ("map", "tell where an image's content is stored", map::run, map::Args::command),
    ("measure", "tell how large a new image would be", measure::run, measure::Args::command),
    ("rebase", "put an image over another disk", rebase::run, rebase::Args::command),
    ("resize", "change the size of a disk", resize::run, resize::Args::command),
    (
        "snapshot",
        "list, make, apply or delete snapshots inside an image",
        snapshot::run,
        snapshot::Args::command,
    ),
];

/// Subcommands that take the options of a new image.
const MAKING: [&str; 3] = ["convert", "create", "measure"];

/// All that the program understands, for completions and manual pages.
pub fn definition() -> clap::Command {
    let subcommands = COMMANDS.iter().map(|(name, summary, _, definition)| {
        let command = definition().name(*name).about(*summary);
        // Those with options of a new image.
        if MAKING.contains(name) { command.after_help(options::manual()) } else { command }
    });
    clap::Command::new("img").about(ABOUT).subcommands(subcommands)
}

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
    if let Some((_, _, run, _)) = COMMANDS.iter().find(|(command, ..)| *command == first) {
        return run(name, rest);
    }
    let meant = suggest::nearest(&first, COMMANDS.iter().map(|(command, ..)| *command));
    Err(Failure::usage("", suggest::with_nearest(format!("Command not found: {first}"), meant)))
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
    for (command, summary, ..) in COMMANDS {
        append(&mut text, format_args!("  {command:<10} {summary}\n"));
    }
    let formats = crate::formats::registry();
    append(&mut text, format_args!("\nFormats: {}\n", formats.names().join(" ")));
    append(&mut text, format_args!("\n'{name} COMMAND --help' tells the options of a command.\n"));
    text
}
