//! `cargo blk`: fuzzes block drivers that blk-harness tests, and reproduces what is found.

use std::process::ExitCode;

use cargo_blk::{Project, fuzz, repro};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo blk", version, about = "Fuzz block drivers, and reproduce what is found")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fuzz a target: installs what is missing, builds, loads the corpora, and shows what is reached.
    Fuzz(fuzz::Arguments),
    /// Turn a finding into a short, readable, deterministic reproduction.
    Repro(repro::Arguments),
    /// List the fuzz targets.
    Targets,
}

fn run(command: Command) -> anyhow::Result<bool> {
    // Names are those of the folder in which the command was given.
    let command = match command {
        Command::Repro(arguments) => Command::Repro(arguments.from_here()?),
        other => other,
    };
    let project = Project::enter()?;
    match command {
        Command::Fuzz(arguments) => fuzz::run(&project, &arguments),
        Command::Repro(arguments) => repro::run(&project, &arguments),
        Command::Targets => {
            project.targets()?.iter().for_each(|target| println!("{target}"));
            Ok(true)
        }
    }
}

fn main() -> ExitCode {
    // Cargo passes the name of the subcommand on.
    let mut words: Vec<_> = std::env::args_os().collect();
    if words.get(1).is_some_and(|word| word == "blk") {
        words.remove(1);
    }
    let arguments = Arguments::parse_from(words);
    let done = run(arguments.command);
    match done {
        Ok(good) => ExitCode::from(u8::from(!good)),
        Err(error) => {
            eprintln!("cargo blk: {error:#}");
            ExitCode::from(2)
        }
    }
}
