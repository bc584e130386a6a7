//! Which program it is, by the name that it is called by, and the subcommands of `blk`.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use blk_core::{Registry, name};
use clap::builder::PossibleValuesParser;
use clap::{CommandFactory, Parser, Subcommand};

use crate::formats::registry;
use crate::share;
use crate::verify::{ReplayArguments, VerifyArguments};

/// Looks into disk images and verifies block drivers, with the grammar of qemu-io and qemu-img.
#[derive(Debug, Parser)]
#[command(name = "blk", version)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The program qemu-io: reads, writes and explores an image
    #[command(disable_help_flag = true)]
    Io(Rest),
    /// The program qemu-img: makes, checks, converts and compares images
    #[command(disable_help_flag = true)]
    Img(Rest),
    /// The program qemu-nbd: exports an image to other programs
    #[command(disable_help_flag = true)]
    Nbd(Rest),
    Verify(VerifyArguments),
    Replay(ReplayArguments),
    /// Prints a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Writes the manual pages blk.1, blk-verify.1, ... into a folder
    Man {
        /// The folder, which is made if it is not there
        #[arg(value_parser = crate::verify::parse_path, value_hint = clap::ValueHint::DirPath)]
        folder: PathBuf,
    },
    /// Writes manual pages and completions (bash, zsh, fish) to where programs look for them
    Share {
        /// They go below its folder `share`; such as ~/.local, or /usr/local
        #[arg(value_parser = crate::verify::parse_path, value_hint = clap::ValueHint::DirPath)]
        prefix: PathBuf,
    },
}

/// What the program has that is called.
#[derive(Debug, clap::Args)]
struct Rest {
    /// As of the program itself; --help tells
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// All that the program understands, the two programs inside it included.
fn definition() -> clap::Command {
    Arguments::command()
        .mut_subcommand("io", |_| with_formats(crate::io::definition()))
        .mut_subcommand("nbd", |_| with_formats(crate::nbd::definition()))
        .mut_subcommand("img", |_| crate::img::definition().mut_subcommands(with_formats))
}

/// The same with the names of the formats wherever one is expected: completions and the manual show them.
/// What is given is judged where it is used.
fn with_formats(command: clap::Command) -> clap::Command {
    let is_format = |arg: &clap::Arg| {
        arg.get_value_names().is_some_and(|names| names.iter().any(|name| name.ends_with("FORMAT")))
    };
    command.mut_args(|arg| {
        if is_format(&arg) { arg.value_parser(PossibleValuesParser::new(registry().names())) } else { arg }
    })
}

/// Runs the program `blk`, as the process was called, with these formats: for a program of its own that has
/// other formats besides
/// [`crate::formats::ours`]. Formats come in the order in which they are preferred when an image is probed.
///
/// Nothing of this crate may have been used before: a process has one list of formats.
///
/// ```no_run
/// use blk_core::Registry;
///
/// fn main() -> std::process::ExitCode {
///     let mine = []; // The `FORMAT`s of other crates.
///     blk_cli::main_with(Registry::new(mine.into_iter().chain(blk_cli::formats::ours().formats())))
/// }
/// ```
pub fn main_with(formats: Registry) -> ExitCode {
    if !crate::formats::set(formats) {
        eprintln!("blk: the formats of this process are known already");
        return ExitCode::FAILURE;
    }
    run(std::env::args_os())
}

/// Runs the program with these arguments, the first of which is its name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let called = arguments.first().map(|name| Path::new(name).file_name().unwrap_or(name).to_owned());
    match called.as_deref().and_then(|name| name.to_str()) {
        Some("qemu-io") => return crate::io::run("qemu-io", as_text(&arguments[1..])),
        Some("qemu-img") => return crate::img::run("qemu-img", as_text(&arguments[1..])),
        Some("qemu-nbd") => return crate::nbd::run("qemu-nbd", as_text(&arguments[1..])),
        _ => {}
    }
    // Both have a grammar of their own, in which the order of arguments matters.
    match arguments.get(1).and_then(|name| name.to_str()) {
        Some("io") => return crate::io::run("blk io", as_text(&arguments[2..])),
        Some("img") => return crate::img::run("blk img", as_text(&arguments[2..])),
        Some("nbd") => return crate::nbd::run("blk nbd", as_text(&arguments[2..])),
        _ => {}
    }
    let arguments = Arguments::parse_from(as_text(&arguments));
    match arguments.command {
        Command::Io(rest) => crate::io::run("blk io", as_text(&rest.arguments)),
        Command::Img(rest) => crate::img::run("blk img", as_text(&rest.arguments)),
        Command::Nbd(rest) => crate::nbd::run("blk nbd", as_text(&rest.arguments)),
        Command::Verify(arguments) => crate::verify::verify(&arguments),
        Command::Replay(arguments) => crate::verify::replay(&arguments),
        Command::Completions { shell } => {
            let script = share::completions(&mut definition(), shell);
            match std::io::stdout().write_all(&script) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            }
        }
        Command::Man { folder } => written(share::manual(definition(), &folder).map(|()| Vec::new())),
        Command::Share { prefix } => written(share::install(definition(), &prefix)),
    }
}

/// Says what was written, or why it could not be.
fn written(places: anyhow::Result<Vec<PathBuf>>) -> ExitCode {
    match places {
        Ok(places) => {
            let mut out = std::io::stdout();
            match places.iter().try_for_each(|place| writeln!(out, "{}", place.display())) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            }
        }
        Err(error) => {
            eprintln!("blk: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Arguments that are text throughout: names of files may hold any bytes, and are carried as [`name`] says.
fn as_text(arguments: &[OsString]) -> Vec<OsString> {
    arguments.iter().map(|argument| name::from_os(argument).into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_and_manual_pages_know_every_subcommand() {
        definition().debug_assert();
        let script = share::completions(&mut definition(), clap_complete::Shell::Bash);
        let script = String::from_utf8_lossy(&script);
        for word in ["--read-only", "--backing-chain", "--target-is-zero", "--requests", "--reference"] {
            assert!(script.contains(word), "{word}");
        }
        let folder = tempfile::tempdir().unwrap();
        share::manual(definition(), folder.path()).unwrap();
        let convert = std::fs::read_to_string(folder.path().join("blk-img-convert.1")).unwrap();
        for word in ["Possible values", "qcow2", "compression_type=<str>", "power of two from 512"] {
            assert!(convert.contains(word), "{word}: {convert}");
        }
        for page in ["blk.1", "blk-io.1", "blk-img-convert.1", "blk-verify.1", "blk-replay.1"] {
            assert!(folder.path().join(page).exists(), "{page}");
        }
    }
}
