//! `map`: tells where an image's content is stored.

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use blk_core::{Extent, name};
use clap::Parser;

use super::args::{self, OneImage, OutputForm};
use super::chain::{Chain, Status};
use super::failure::{Failure, Outcome};
use super::image::{Named, Purpose};
use super::size::parse;

/// Tells where an image's content is stored
#[derive(Debug, Parser)]
#[command(args_override_self = true, infer_long_args = true)]
pub(super) struct Args {
    #[command(flatten)]
    image: OneImage,
    /// First byte to tell about
    #[arg(short, long, value_name = "OFFSET", allow_hyphen_values = true)]
    start_offset: Option<String>,
    /// How many bytes to tell about
    #[arg(short = 'l', long, value_name = "LENGTH", allow_hyphen_values = true)]
    max_length: Option<String>,
    /// How to show it
    #[arg(long, value_enum, default_value = "human")]
    output: OutputForm,
    /// Others may write the image meanwhile
    #[arg(short = 'U', long)]
    force_share: bool,
}

pub(crate) fn run(program: &str, arguments: Vec<OsString>) -> Outcome<ExitCode> {
    let args: Args = args::parse("map", program, arguments)?;
    let name = args.image.name("map")?;
    let start = args.start_offset.as_deref().map_or(Ok(0), |text| parse("start offset", text))?;
    let length = args.max_length.as_deref().map_or(Ok(u64::MAX), |text| parse("max length", text))?;
    let image = Named { force_share: args.force_share, ..args.image.named(name) };
    let image = image.open(program, Purpose::READ)?;
    let chain = Chain::of(&image);
    let end = start.saturating_add(length).min(chain.size());
    let extent = Extent::new(start, end.saturating_sub(start));
    let mut out = BufWriter::new(io::stdout().lock());
    let shown = match args.output {
        OutputForm::Human => show_table(&mut out, &chain, extent),
        OutputForm::Json => show_json(&mut out, &chain, extent),
    };
    out.flush()?;
    shown?;
    Ok(ExitCode::SUCCESS)
}

fn show_table(out: &mut impl Write, chain: &Chain, extent: Extent) -> Outcome<()> {
    writeln!(out, "{:<16}{:<16}{:<16}File", "Offset", "Length", "Mapped to")?;
    for run in chain.runs(extent) {
        let (start, status) = run.map_err(|error| Failure::new(error.to_string()))?;
        if !status.data || status.zero {
            continue;
        }
        let Some(host) = status.host_offset else {
            return Err(Failure::new(
                "the image has compressed clusters, which this form cannot show; --output=json can",
            ));
        };
        write!(out, "{:<16}{:<16}{:<16}", hex(start), hex(status.length), hex(host))?;
        out.write_all(&name::to_bytes(&chain.layers[status.depth].name))?;
        writeln!(out)?;
    }
    Ok(())
}

fn hex(number: u64) -> String {
    if number == 0 { "0".to_owned() } else { format!("{number:#x}") }
}

fn show_json(out: &mut impl Write, chain: &Chain, extent: Extent) -> Outcome<()> {
    write!(out, "[")?;
    let mut separator = "";
    for run in chain.runs(extent) {
        let (start, status) = run.map_err(|error| Failure::new(error.to_string()))?;
        write!(out, "{separator}{}", entry(start, status))?;
        separator = ",\n";
    }
    if separator.is_empty() {
        let nothing = Status {
            length: 0,
            depth: 0,
            present: false,
            zero: false,
            data: false,
            compressed: false,
            host_offset: None,
        };
        write!(out, "{}", entry(extent.offset, nothing))?;
    }
    writeln!(out, "]")?;
    Ok(())
}

fn entry(start: u64, status: Status) -> String {
    let Status { length, depth, present, zero, data, compressed, host_offset } = status;
    let offset = host_offset.map_or_else(String::new, |offset| format!(", \"offset\": {offset}"));
    format!(
        "{{ \"start\": {start}, \"length\": {length}, \"depth\": {depth}, \"present\": {present}, \
         \"zero\": {zero}, \"data\": {data}, \"compressed\": {compressed}{offset}}}"
    )
}
