//! `dd`: copies blocks of an image to a new one.

use std::ffi::OsString;
use std::process::ExitCode;

use blk_core::WriteFlags;
use clap::Parser;

use super::args::{self, ImageArgs};
use super::create;
use super::failure::{Failure, Outcome, complain};
use super::image::{Image, Named, Purpose};
use super::options::Given;
use super::size::{parse_count, parse_up_to, whole_sectors};
use crate::formats;

/// Copies blocks of an image to a new one
#[derive(Debug, Parser)]
#[command(args_override_self = true, infer_long_args = true)]
pub(super) struct Args {
    #[command(flatten)]
    image: ImageArgs,
    /// Format of the new image
    #[arg(short = 'O', long, value_name = "FORMAT", default_value = formats::DEFAULT)]
    output_format: String,
    /// Others may write the image meanwhile
    #[arg(short = 'U', long)]
    force_share: bool,
    /// if=IMAGE of=FILE, and bs=SIZE count=BLOCKS skip=BLOCKS
    #[arg(value_name = "NAME=VALUE")]
    operands: Vec<String>,
}

/// What the operands say.
#[derive(Debug)]
struct Operands {
    input: String,
    output: String,
    block_bytes: u64,
    count: Option<u64>,
    skip: u64,
}

const BLOCK_BYTES_DEFAULT: u64 = 512;
const BLOCK_BYTES_MAX: u64 = i32::MAX as u64;

pub(crate) fn run(program: &str, arguments: Vec<OsString>) -> Outcome<ExitCode> {
    let args: Args = args::parse("dd", program, arguments)?;
    let operands = Operands::parse(&args.operands)?;
    create::check_format(&args.output_format)?;
    let named = Named { force_share: args.force_share, ..args.image.named(&operands.input) };
    let input = named.open(program, Purpose::READ)?;
    let (start, end) = operands.range(input.size());
    if start > input.size() {
        complain(program, &format!("{}: cannot skip that many blocks: the image is shorter", operands.input));
    }
    let mut given = Given::default();
    given.set("size", &end.saturating_sub(start).to_string());
    let in_use = input.files();
    create::make(&operands.output, &args.output_format, &given, &in_use, args.image.objects())?;
    let output = Named::file(&*operands.output, Some(&args.output_format));
    let output = output.open_beside(program, Purpose::WRITE, &in_use)?;
    copy(&input, &output, (start, end), operands.block_bytes)?;
    output.close()?;
    Ok(ExitCode::SUCCESS)
}

impl Operands {
    fn parse(operands: &[String]) -> Outcome<Self> {
        let (mut input, mut output) = (None, None);
        let (mut block_bytes, mut count, mut skip) = (BLOCK_BYTES_DEFAULT, None, 0);
        for operand in operands {
            let (name, value) = operand.split_once('=').unwrap_or((operand, ""));
            match name {
                "if" => input = Some(value.to_owned()),
                "of" => output = Some(value.to_owned()),
                "bs" => block_bytes = parse_up_to("bs", value, 1, BLOCK_BYTES_MAX)?,
                "count" => count = Some(parse_count(name, value, 0, i64::MAX as u64)?),
                "skip" => skip = parse_count(name, value, 0, i64::MAX as u64)?,
                _ => return Err(Failure::new(format!("there is no operand '{name}'"))),
            }
        }
        match (input, output) {
            (Some(input), Some(output)) => Ok(Self { input, output, block_bytes, count, skip }),
            _ => Err(Failure::new("expecting an input (if=) and an output (of=)")),
        }
    }

    /// Where the copied part starts and ends. The blocks that are skipped count among those that `count`
    /// limits.
    fn range(&self, size: u64) -> (u64, u64) {
        let limit = self.count.map_or(u64::MAX, |count| count.saturating_mul(self.block_bytes));
        (self.skip.saturating_mul(self.block_bytes), size.min(limit))
    }
}

/// Block for block; nothing is left out.
fn copy(input: &Image, output: &Image, (start, end): (u64, u64), block_bytes: u64) -> Outcome<()> {
    let mut block = vec![0; block_bytes.min(end.saturating_sub(start)) as usize];
    let mut at = start;
    while at < end {
        let part = &mut block[..block_bytes.min(end - at) as usize];
        input.read(at, part).map_err(|error| Failure::of(&input.name, &error))?;
        let written = output.disk.write(at - start, part, WriteFlags::default());
        written.map_err(|error| Failure::of(&output.name, &error))?;
        at += part.len() as u64;
    }
    let (size, copied) = (output.size(), whole_sectors(end.saturating_sub(start)));
    // A server keeps the size of its disk.
    if size < copied {
        return Err(Failure::new(format!(
            "{}: it has {size} bytes, of {copied} that are copied",
            output.name
        )));
    }
    Ok(())
}
