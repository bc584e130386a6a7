//! `blk nbd`: exports an image, with the grammar of qemu-nbd.

mod arguments;
mod background;
mod list;
mod passed;
mod serve;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use arguments::Arguments;
use serve::Place;

/// What went wrong, in a line.
type Done<T> = Result<T, String>;

/// Runs the program `program` with these arguments, its name not among them.
pub fn run(program: &str, arguments: Vec<OsString>) -> ExitCode {
    let parsed = match Arguments::try_parse_from(arguments) {
        Ok(parsed) => parsed,
        Err(error) => {
            eprintln!(
                "{program}: {}\nTry '{program} --help' for more information.",
                crate::suggest::first_line(&error)
            );
            return ExitCode::FAILURE;
        }
    };
    if parsed.help {
        let help = definition().bin_name(program.to_owned()).render_help();
        print!("{help}");
        return ExitCode::SUCCESS;
    }
    if parsed.version {
        println!("{program} {} (blk)", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    match execute(program, &parsed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{program}: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// The command line, for completions and the manual.
pub(crate) fn definition() -> clap::Command {
    Arguments::command().no_binary_name(false).name("nbd")
}

fn execute(program: &str, arguments: &Arguments) -> Done<()> {
    let passed = passed::socket()?;
    if passed.is_some() {
        arguments.check_passed()?;
    }
    let place = arguments.place()?;
    if arguments.list {
        return list::print(&place, arguments);
    }
    let plan = arguments.plan()?;
    if arguments.fork && !background::is_child() {
        return background::start();
    }
    let place = passed.map_or(Place::Named(place), Place::Passed);
    serve::serve(program, place, &plan)
}
