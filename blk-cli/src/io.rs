//! `blk io`, also called `qemu-io`: reads, writes and explores one image, command by command.
//!
//! Commands stand behind `-c` on the command line, or on standard input. One that fails does not stop those
//! behind it; the exit code tells. What the commands print is what qemu-io 10.0 prints, byte for byte, except
//! for the explanations of `help` and for errors that stand behind the program's name.

mod arguments;
mod commands;
mod console;
pub(crate) mod copy_on_read;
mod flights;
mod getopt;
mod input;
mod mode;
mod number;
mod plan;
mod refusal;
mod report;
mod session;
mod snapshot;
mod target;
#[cfg(test)]
mod testing;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use clap::CommandFactory;

use arguments::{Arguments, USAGE};
use console::Console;
use refusal::{Done, Refusal};
use session::{Session, tell_failure};
pub(crate) use snapshot::overlay;

/// All that the program understands, for completions and manual pages.
pub fn definition() -> clap::Command {
    Arguments::command().name("io").about("Reads, writes and explores an image; also called qemu-io")
}

/// Runs the program; `name` stands before its messages.
pub fn run(name: &str, arguments: Vec<OsString>) -> ExitCode {
    let console = Arc::new(Console::of_process(name));
    let arguments = match Arguments::parse_line(arguments) {
        Ok(arguments) => arguments,
        Err(what) => {
            console.error(&what);
            console.say(USAGE);
            return ExitCode::FAILURE;
        }
    };
    if arguments.help {
        console.say(USAGE);
        return ExitCode::SUCCESS;
    }
    if arguments.version {
        console.say(&format!("qemu-io version 10.0.2 (blk {})\n", env!("CARGO_PKG_VERSION")));
        return ExitCode::SUCCESS;
    }
    if arguments.files.len() > 1 {
        console.say(USAGE);
        return ExitCode::FAILURE;
    }
    if run_commands(&console, &arguments) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Opens the image, runs the commands, closes it, and answers whether all of that was possible.
fn run_commands(console: &Arc<Console>, arguments: &Arguments) -> bool {
    let objects = match arguments.objects() {
        Ok(objects) => objects,
        Err(refusal) => return succeeded(console, Err(refusal)),
    };
    let mut session = Session::new(Arc::clone(console), arguments.image_opts, objects.clone());
    let opened = arguments.plan(objects).and_then(|plan| plan.map_or(Ok(()), |plan| session.open(plan)));
    if !succeeded(console, opened) {
        return false;
    }
    let mut all_done = true;
    for command in &arguments.commands {
        if session.is_over {
            break;
        }
        all_done &= session.run_line(&command.to_string_lossy());
    }
    if arguments.commands.is_empty() {
        all_done = input::run(&mut session);
    }
    let closed = session.close();
    succeeded(console, closed) && all_done
}

/// Says what went wrong, if something did.
fn succeeded(console: &Console, done: Done) -> bool {
    match done {
        Ok(()) => return true,
        Err(Refusal::Failed { what, error }) => tell_failure(console, what, &error),
        Err(
            Refusal::Error(what) | Refusal::Line(what) | Refusal::Complaint(what) | Refusal::Misspelt(what),
        ) => {
            console.error(&what);
        }
        Err(Refusal::Usage | Refusal::Said) => {}
    }
    false
}
