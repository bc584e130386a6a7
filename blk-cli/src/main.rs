//! The program `blk`.

use std::process::ExitCode;

fn main() -> ExitCode {
    blk_cli::main_with(blk_cli::formats::ours())
}
