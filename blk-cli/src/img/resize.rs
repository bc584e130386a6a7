//! `resize`: changes the size of a disk.

use std::ffi::OsString;
use std::process::ExitCode;

use blk_core::Preallocation;
use clap::Parser;

use super::args::{self, ImageArgs};
use super::bitmap;
use super::failure::{Failure, Outcome};
use super::image::{Image, Purpose};
use super::output;
use super::size::{DISK_BYTES_MAX, SECTOR_BYTES, parse};

/// Changes the size of a disk
#[derive(Debug, Parser)]
#[command(args_override_self = true, infer_long_args = true)]
pub(super) struct Args {
    #[command(flatten)]
    image: ImageArgs,
    /// What is allocated at once of the part that is gained: off, metadata, falloc or full
    #[arg(long, value_name = "MODE", default_value = "off")]
    preallocation: String,
    /// Allow the image to become smaller: all data past the new end is lost
    #[arg(long)]
    shrink: bool,
    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,
    /// The image, and its new size or the change of it
    #[arg(value_names = ["IMAGE", "[+|-]SIZE"], allow_hyphen_values = true)]
    names: Vec<String>,
}

pub(crate) fn run(program: &str, arguments: Vec<OsString>) -> Outcome<ExitCode> {
    let mut args: Args = args::parse("resize", program, arguments)?;
    // What may begin with a hyphen is an operand already: the end of the options is one, too.
    if let Some(end) = args.names.iter().position(|name| name == "--") {
        args.names.remove(end);
    }
    let (name, change) = match &args.names[..] {
        [name, change] => (name, change),
        [_, _, _, ..] => return Err(Failure::usage("resize", "too many arguments")),
        _ => return Err(Failure::usage("resize", "expecting an image file name and a size")),
    };
    let image = args.image.named(name).open(program, Purpose::WRITE)?;
    resize(&image, change, &args)?;
    image.close()?;
    if !args.quiet {
        output::line("Image resized.")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn resize(image: &Image, change: &str, args: &Args) -> Outcome<()> {
    let old = image.size();
    let size = new_size(old, change)?;
    let preallocation = args.preallocation.parse().map_err(|error| Failure::of(&image.name, &error))?;
    if size < old && !args.shrink {
        let warning = "warning: shrinking an image deletes all data past its new end; make sure that nothing \
                       important is there";
        return Err(Failure::new("use the --shrink option to make the image smaller").and(warning));
    }
    if size <= old && preallocation != Preallocation::Off {
        return Err(Failure::new("preallocation needs a disk that becomes larger"));
    }
    if !size.is_multiple_of(SECTOR_BYTES) && image.disk.as_overlay().is_some() {
        return Err(Failure::new(format!("the new size, {size}, is not a multiple of {SECTOR_BYTES} bytes")));
    }
    bitmap::check_resize(image)?;
    image.claim_resize()?;
    image.disk.grow(size, preallocation).map_err(|error| Failure::of(&image.name, &error))
}

fn new_size(old: u64, change: &str) -> Outcome<u64> {
    let size = match (change.strip_prefix('+'), change.strip_prefix('-')) {
        (Some(more), _) => old.checked_add(parse("size", more)?),
        (_, Some(less)) if less.starts_with(|first: char| first.is_ascii_digit()) => {
            old.checked_sub(parse("size", less)?)
        }
        (_, Some(_)) => return Err(Failure::new(format!("invalid size: '{change}' is not a size"))),
        _ => Some(parse("size", change)?),
    };
    match size {
        Some(size) if (1..=DISK_BYTES_MAX).contains(&size) => Ok(size),
        _ => Err(Failure::new(format!("the new size has to be between 1 and {DISK_BYTES_MAX} bytes"))),
    }
}
