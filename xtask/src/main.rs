//! Development commands: `cargo xtask --help`.

mod api;
mod bench;
mod ci;
mod guest;
mod mutants;
mod oss_fuzz;
mod package;
mod power;
mod published;
mod tidy;
mod tools;
mod tree;
mod workflows;

use std::process::ExitCode;

use cargo_blk::Project;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Development commands of the blk workspace")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Blk(cargo_blk::Command),
    /// Set up and pass everything that a change has to pass.
    Ci(ci::Arguments),
    /// Check the house rules: sizes and widths, dependencies and their licences, forbidden words, stories.
    Tidy(tidy::Arguments),
    /// Hold the public items of the published crates against docs/api.
    Api(api::Arguments),
    /// Pack the published crates, and check what crates.io would get; link `blk` without libraries.
    Package(package::Arguments),
    /// Compare speed with peers, measured in the same run.
    Bench(bench::Arguments),
    /// Boot a Linux guest over our drivers, each beside the other: file systems, a Debian, a planted bug.
    Guest(guest::Arguments),
    /// Prove the fuzzer's power: break one line of the driver at a time, and see how fast it is found.
    Power(power::Arguments),
    /// Prove the engines' power: break everything that cargo-mutants can break in the drivers, one at a time.
    Mutants(mutants::Arguments),
    /// Build the fuzz targets as OSS-Fuzz and `ClusterFuzzLite` do, and ask of them what these ask.
    OssFuzz(oss_fuzz::Arguments),
}

/// Our fuzz targets.
fn project() -> anyhow::Result<Project> {
    Project::here("cargo xtask")
}

fn run(command: Command) -> anyhow::Result<bool> {
    tools::enter_root()?;
    match command {
        Command::Blk(command) => command.run(&project()?),
        Command::Ci(arguments) => ci::run(&arguments),
        Command::Tidy(arguments) => tidy::run(&arguments),
        Command::Api(arguments) => api::run(&arguments),
        Command::Package(arguments) => package::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Guest(arguments) => guest::run(&arguments),
        Command::Power(arguments) => power::run(&arguments),
        Command::Mutants(arguments) => mutants::run(&arguments),
        Command::OssFuzz(arguments) => oss_fuzz::run(&arguments),
    }
}

fn main() -> ExitCode {
    if let Some(compiled) = cargo_blk::cover::begin() {
        return compiled;
    }
    match run(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
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
