//! `resize`: changes the size of a disk.

use std::ffi::OsString;
use std::process::ExitCode;

use blk_core::{Extent, WriteFlags, ZeroFlags};
use clap::Parser;

use super::args::{self, ImageArgs};
use super::failure::{Failure, Outcome};
use super::image::{Image, Purpose};
use super::output;
use super::size::{SECTOR_BYTES, parse};

/// Changes the size of a disk
#[derive(Debug, Parser)]
#[command(args_override_self = true, infer_long_args = true)]
pub(super) struct Args {
    #[command(flatten)]
    image: ImageArgs,
    /// What is allocated at once of the part that is gained: off, metadata, falloc or full
    #[arg(long, value_name = "MODE", default_value = "off")]
    preallocation: String,
    /// The disk may become smaller, and lose what lies behind its new end
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
    let args: Args = args::parse("resize", program, arguments)?;
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
    let preallocation = Preallocation::of(&args.preallocation, image)?;
    if size < old && !args.shrink {
        let warning =
            "warning: what lies behind the new end is lost for ever; make sure that nobody needs it";
        return Err(
            Failure::new("the disk would become smaller: that has to be allowed by --shrink").and(warning)
        );
    }
    if size <= old && preallocation != Preallocation::Off {
        return Err(Failure::new("preallocation needs a disk that becomes larger"));
    }
    if !size.is_multiple_of(SECTOR_BYTES) && image.disk.driver().as_overlay().is_some() {
        return Err(Failure::new(format!("the new size, {size}, is not a multiple of {SECTOR_BYTES} bytes")));
    }
    let failed = |error| Failure::of(&image.name, &error);
    image.disk.resize(size).map_err(failed)?;
    if size > old {
        preallocation.apply(image, Extent::between(old, size)).map_err(failed)?;
    }
    Ok(())
}

fn new_size(old: u64, change: &str) -> Outcome<u64> {
    let size = match (change.strip_prefix('+'), change.strip_prefix('-')) {
        (Some(more), _) => old.checked_add(parse("size", more)?),
        (_, Some(less)) => old.checked_sub(parse("size", less)?),
        _ => Some(parse("size", change)?),
    };
    match size {
        Some(size) if (1..=i64::MAX as u64).contains(&size) => Ok(size),
        _ => Err(Failure::new(format!("the new size has to be between 1 and {} bytes", i64::MAX))),
    }
}

/// What is allocated of a part that is gained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Preallocation {
    /// Nothing.
    Off,
    /// All, without writing it where the format can.
    Reserve,
    /// All, by writing zeroes.
    Write,
}

/// Zeroes are written in pieces of this size.
const PIECE_BYTES: u64 = 1 << 20;

impl Preallocation {
    fn of(mode: &str, image: &Image) -> Outcome<Self> {
        let format = image.info().map_err(|error| Failure::of(&image.name, &error))?.format;
        match mode {
            "off" => Ok(Self::Off),
            // A format that keeps tables cannot reserve clusters that it does not write.
            "falloc" if format == "raw" => Ok(Self::Reserve),
            "falloc" | "full" => Ok(Self::Write),
            "metadata" => {
                Err(Failure::new(format!("not supported: preallocation 'metadata' when resizing {format}")))
            }
            _ => Err(Failure::new(format!("preallocation '{mode}' is none of off, metadata, falloc, full"))),
        }
    }

    fn apply(self, image: &Image, gained: Extent) -> blk_core::Result<()> {
        match self {
            Self::Off => Ok(()),
            Self::Reserve => image.disk.write_zeroes(gained, ZeroFlags::default()),
            Self::Write => {
                let zeroes = vec![0; PIECE_BYTES.min(gained.length) as usize];
                let mut at = gained.offset;
                while at < gained.end() {
                    let length = (gained.end() - at).min(PIECE_BYTES);
                    image.disk.write(at, &zeroes[..length as usize], WriteFlags::default())?;
                    at += length;
                }
                Ok(())
            }
        }
    }
}
