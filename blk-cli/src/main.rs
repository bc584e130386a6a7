//! The program `blk`.

use std::process::ExitCode;

fn main() -> ExitCode {
    blk_cli::program::run(std::env::args_os())
}
