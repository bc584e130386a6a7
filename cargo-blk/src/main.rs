//! `cargo blk`: fuzzes block drivers that blk-harness tests, and reproduces what is found.

use std::process::ExitCode;

use cargo_blk::Project;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo blk", version, about = "Fuzz block drivers, and reproduce what is found")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Blk(cargo_blk::Command),
    /// List the fuzz targets.
    Targets,
}

fn run(command: &Command) -> anyhow::Result<bool> {
    let project = Project::enter()?;
    match command {
        Command::Blk(command) => command.run(&project),
        Command::Targets => {
            project.targets()?.iter().for_each(|target| println!("{target}"));
            Ok(true)
        }
    }
}

fn main() -> ExitCode {
    if let Some(compiled) = cargo_blk::cover::begin() {
        return compiled;
    }
    // Cargo passes the name of the subcommand on.
    let mut words: Vec<_> = std::env::args_os().collect();
    if words.get(1).is_some_and(|word| word == "blk") {
        words.remove(1);
    }
    match run(&Arguments::parse_from(words).command) {
        Ok(good) => ExitCode::from(u8::from(!good)),
        Err(error) => {
            eprintln!("cargo blk: {error:#}");
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn all_arguments_fit_together() {
        super::Arguments::command().debug_assert();
    }
}
