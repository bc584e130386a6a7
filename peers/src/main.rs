//! Measures our peers: prints a JSON line for each measure. README.md beside this defines the workloads,
//! which `blk-bench` of blk-testbed runs on our side.

mod files;
mod in_flight;
mod measure;
mod medium;
mod memory;
mod pages;
mod qemu;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Measures the drivers and tools that ours are compared with")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The folder for the files: a tmpfs, so that the disk is not what is measured.
    #[arg(long, global = true, default_value = "/dev/shm")]
    dir: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Many short requests on one image, and many short lives of an image.
    Memory,
    /// A qcow2 image of 1 GiB in a file, beside plain reads and writes of a file.
    Files,
    /// Both.
    All,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder: &Path = &arguments.dir;
    match arguments.command {
        Command::Memory => memory::run(folder),
        Command::Files => files::run(folder),
        Command::All => {
            memory::run(folder)?;
            files::run(folder)
        }
    }
}
