//! `bitmap`: dirty bitmaps are read and kept, not changed.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use super::args::{self, ImageArgs};
use super::failure::{Failure, Outcome};
use super::image::Purpose;

/// Changes a dirty bitmap of an image
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
#[derive(Debug, Parser)]
#[command(args_override_self = true, infer_long_args = true)]
pub(super) struct Args {
    #[command(flatten)]
    image: ImageArgs,
    /// Make the bitmap
    #[arg(long)]
    add: bool,
    /// Remove the bitmap
    #[arg(long)]
    remove: bool,
    /// Make the bitmap empty
    #[arg(long)]
    clear: bool,
    /// From now on record what is written
    #[arg(long)]
    enable: bool,
    /// From now on record nothing
    #[arg(long)]
    disable: bool,
    /// Add what another bitmap holds
    #[arg(long, value_name = "BITMAP")]
    merge: Vec<String>,
    /// Guest bytes that a bit stands for
    #[arg(short, long, value_name = "SIZE")]
    granularity: Option<String>,
    /// The image that holds the bitmap to merge
    #[arg(short = 'b', long, value_name = "IMAGE")]
    source_file: Option<String>,
    /// Its format
    #[arg(short = 'F', long, value_name = "FORMAT")]
    source_format: Option<String>,
    /// The image, and the bitmap
    #[arg(value_names = ["IMAGE", "BITMAP"])]
    names: Vec<String>,
}

pub(crate) fn run(program: &str, arguments: Vec<OsString>) -> Outcome<ExitCode> {
    let args: Args = args::parse("bitmap", program, arguments)?;
    let [name, bitmap] = &args.names[..] else {
        return Err(Failure::new("expecting an image file name and the name of a bitmap"));
    };
    let verbs = [args.add, args.remove, args.clear, args.enable, args.disable, !args.merge.is_empty()];
    if !verbs.contains(&true) {
        return Err(Failure::new("one of --add, --remove, --clear, --enable, --disable, --merge is needed"));
    }
    if args.granularity.is_some() && !args.add {
        return Err(Failure::new("a granularity goes with --add only"));
    }
    if args.source_format.is_some() && args.source_file.is_none() {
        return Err(Failure::new("a format of the other image (-F) goes with -b only"));
    }
    if args.source_file.is_some() && args.merge.is_empty() {
        return Err(Failure::new("another image (-b) goes with --merge only"));
    }
    args.image.named(name).open(program, Purpose { write: true, ..Purpose::INSPECT })?;
    Err(Failure::new(format!(
        "bitmap '{bitmap}' of '{name}': not supported: changing the bitmaps of an image"
    )))
}
