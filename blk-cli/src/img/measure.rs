//! `measure`: tells how large a new image would be.

use std::ffi::OsString;
use std::process::ExitCode;

use blk_core::{Detail, Extent, Format};
use clap::Parser;

use super::args::{self, OutputForm};
use super::chain::Chain;
use super::failure::{Failure, Outcome};
use super::image::{Image, Named, Purpose};
use super::json::Json;
use super::options::{self, Given};
use super::output::{self, append};
use super::size::{parse, whole_sectors};
use crate::formats;
use crate::spec::ObjectArgs;

/// Tells how large a new image would be
#[derive(Debug, Parser)]
#[command(args_override_self = true, infer_long_args = true)]
pub(super) struct Args {
    /// Format of the new image
    #[arg(short = 'O', long, value_name = "FORMAT", default_value = formats::DEFAULT)]
    target_format: String,
    /// Options of its format, name=value,...; 'help' lists them
    #[arg(short = 'o', long, value_name = "OPTIONS")]
    options: Vec<String>,
    /// Size of the new disk, which is empty
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    size: Option<String>,
    /// Format of the image that is copied; guessed from its content where it is not given
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// The name is a list of options, key=value,...
    #[arg(long)]
    image_opts: bool,
    /// Copy this snapshot of the image
    #[arg(short = 'l', long, value_name = "SNAPSHOT")]
    snapshot: Option<String>,
    /// How to show it
    #[arg(long, value_enum, default_value = "human")]
    output: OutputForm,
    /// Others may write the image meanwhile
    #[arg(short = 'U', long)]
    force_share: bool,
    #[command(flatten)]
    objects: ObjectArgs,
    /// The image that is copied
    #[arg(value_name = "IMAGE")]
    names: Vec<String>,
}

/// Sizes of a new image file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Measure {
    required: u64,
    /// With all clusters of the disk written.
    fully_allocated: u64,
    /// What copied bitmaps would take besides, where source and target can have some.
    bitmaps: Option<u64>,
}

pub(crate) fn run(program: &str, arguments: Vec<OsString>) -> Outcome<ExitCode> {
    let args: Args = args::parse("measure", program, arguments)?;
    if Given::asks_for_help(&args.options) {
        options::help(&args.target_format)?;
        return Ok(ExitCode::SUCCESS);
    }
    let format = formats::registry().find(&args.target_format);
    let format = format.map_err(|error| Failure::new(error.to_string()))?;
    let mut given = Given::parse(&args.options)?;
    given.check(&args.target_format)?;
    let source = open_source(program, &args)?;
    let size = match (&source, &args.size) {
        (Some(source), _) => source.size(),
        (None, size) => whole_sectors(parse("image size", size.as_deref().unwrap_or_default())?),
    };
    let measure = measure(format, size, &given, source.as_ref())?;
    output::text(&match args.output {
        OutputForm::Human => measure.human(),
        OutputForm::Json => measure.json(),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn open_source(program: &str, args: &Args) -> Outcome<Option<Image>> {
    let name = match (&args.names[..], &args.size) {
        ([], None) | ([_, _, ..], _) => {
            return Err(Failure::new("expecting either --size or one image file name"));
        }
        ([_], Some(_)) => return Err(Failure::new("--size and an image exclude each other")),
        ([], Some(_)) if args.format.is_some() || args.image_opts || args.snapshot.is_some() => {
            return Err(Failure::new("-f, -l and --image-opts need an image file name"));
        }
        ([], Some(_)) => return Ok(None),
        ([name], None) => name,
    };
    let (format, force_share) = (args.format.clone(), args.force_share);
    let (image_opts, objects) = (args.image_opts, args.objects.objects());
    let snapshot = args.snapshot.clone();
    let named =
        Named { name: name.clone(), image_opts, format, force_share, objects, snapshot, ..Named::default() };
    named.open(program, Purpose::READ).map(Some)
}

impl Measure {
    fn human(self) -> String {
        let mut text =
            format!("required size: {}\nfully allocated size: {}\n", self.required, self.fully_allocated);
        if let Some(bitmaps) = self.bitmaps {
            append(&mut text, format_args!("bitmaps size: {bitmaps}\n"));
        }
        text
    }

    fn json(self) -> String {
        let mut members: Vec<(&'static str, Json)> = Vec::new();
        members.extend(self.bitmaps.map(|bytes| ("bitmaps", bytes.into())));
        members.push(("required", self.required.into()));
        members.push(("fully-allocated", self.fully_allocated.into()));
        Json::Object(members).render() + "\n"
    }
}

fn measure(format: &dyn Format, size: u64, given: &Given, source: Option<&Image>) -> Outcome<Measure> {
    let image = format.measure(size, given.of_format(format));
    let image = image.map_err(|error| Failure::new(error.to_string()))?;
    let fully_allocated = image.fully_allocated;
    let aligned = size.next_multiple_of(image.unit_bytes);
    // With a backing file zeroes are stored too.
    let hides_nothing = given.get("backing_file").is_some();
    let data = match source {
        _ if image.allocates_all => aligned,
        None => 0,
        Some(_) if hides_nothing => aligned,
        Some(source) => {
            data_bytes(source, image.unit_bytes).map_err(|error| Failure::of(&source.name, &error))?
        }
    };
    let bitmaps = match source.filter(|_| image.bitmaps) {
        Some(source) => bitmap_bytes(source, size, image.unit_bytes)?,
        None => None,
    };
    Ok(Measure { required: fully_allocated - aligned + data, fully_allocated, bitmaps })
}

/// Bytes of the clusters of the target that the source has data for.
fn data_bytes(source: &Image, cluster: u64) -> blk_core::Result<u64> {
    let chain = Chain::of(source);
    let (mut at, mut bytes) = (0, 0);
    while at < source.size() {
        let status = chain.status(Extent::between(at, source.size()))?;
        let mut end = at + status.length;
        if !status.zero && status.present {
            end = end.next_multiple_of(cluster);
            bytes += end - at / cluster * cluster;
        }
        at = end;
    }
    Ok(bytes)
}

/// What the source's bitmaps would take; `None` where its format has none.
fn bitmap_bytes(source: &Image, size: u64, cluster: u64) -> Outcome<Option<u64>> {
    let info = source.info().map_err(|error| Failure::of(&source.name, &error))?;
    if !formats::features(info.format).bitmaps
        || info.details.iter().any(|(_, detail)| *detail == Detail::Text("0.10".to_owned()))
    {
        return Ok(None);
    }
    let bitmaps = info.details.iter().find_map(|(name, detail)| match detail {
        Detail::List(bitmaps) if *name == "bitmaps" => Some(&bitmaps[..]),
        _ => None,
    });
    let (mut bytes, mut directory) = (0, 0);
    for bitmap in bitmaps.unwrap_or_default() {
        let Detail::Group(members) = bitmap else { continue };
        let member = |wanted| members.iter().find(|(name, _)| *name == wanted).map(|(_, detail)| detail);
        let (Some(Detail::Text(name)), Some(Detail::Number(granularity))) =
            (member("name"), member("granularity"))
        else {
            continue;
        };
        let data_clusters = size.div_ceil(*granularity).div_ceil(8).div_ceil(cluster);
        bytes += data_clusters * cluster + (data_clusters * 8).next_multiple_of(cluster);
        directory += (24 + name.len() as u64).next_multiple_of(8);
    }
    Ok(Some(bytes + directory.next_multiple_of(cluster)))
}
