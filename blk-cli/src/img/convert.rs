//! `convert`: copies images, one behind the other, to a new one.

mod copy;
mod plan;
mod sources;
mod sparse;

use std::ffi::OsString;
use std::process::ExitCode;

use blk_core::{Detail, Info, Options, parse_switch};
use clap::Parser;

use super::args::{self, Talk};
use super::bitmap;
use super::create;
use super::failure::{Failure, Outcome};
use super::image::{Image, Named, Purpose};
use super::options::{self, Given};
use super::size::{SECTOR_BYTES, parse_count, parse_rate, parse_up_to};
use crate::formats;
use crate::spec::{FilesInUse, ObjectArgs};
use copy::{Copy, Settings};
use sources::Source;

/// Copies images to a new one
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
#[derive(Debug, Parser)]
#[command(args_override_self = true, infer_long_args = true)]
pub(super) struct Args {
    /// Format of the sources; guessed from their content where it is not given
    #[arg(short = 'f', long, value_name = "FORMAT")]
    source_format: Option<String>,
    /// The names of the sources are lists of options, key=value,...
    #[arg(long, alias = "image-opts")]
    source_image_opts: bool,
    /// Copy this snapshot of the source
    #[arg(short = 'l', long, value_name = "SNAPSHOT")]
    source_snapshot: Option<String>,
    /// Cache mode of the sources
    #[arg(short = 'T', long, value_name = "MODE")]
    source_cache: Option<String>,
    /// Format of the target
    #[arg(short = 'O', long, value_name = "FORMAT")]
    target_format: Option<String>,
    /// The name of the target is a list of options, key=value,...
    #[arg(long)]
    target_image_opts: bool,
    /// Options of the target's format, name=value,...; 'help' lists them
    #[arg(short = 'o', long, value_name = "OPTIONS")]
    target_options: Vec<String>,
    /// Cache mode of the target; unsafe leaves it to the host when the target becomes durable
    #[arg(short = 't', long, value_name = "MODE", default_value = "unsafe")]
    target_cache: String,
    /// Store the content compressed
    #[arg(short, long)]
    compress: bool,
    /// The target lies over this disk, and holds only what it does not
    #[arg(short = 'B', long, value_name = "FILE")]
    backing: Option<String>,
    /// Format of the target's backing file
    #[arg(short = 'F', long, value_name = "FORMAT")]
    backing_format: Option<String>,
    /// The target exists already
    #[arg(short, long)]
    no_create: bool,
    /// The target reads as zeroes throughout
    #[arg(long)]
    target_is_zero: bool,
    /// Zeroes of at least this length are not stored; 0 stores everything
    #[arg(short = 'S', long, value_name = "SIZE", allow_hyphen_values = true)]
    sparse_size: Option<String>,
    /// Copy dirty bitmaps too
    #[arg(long)]
    bitmaps: bool,
    /// Leave out dirty bitmaps that cannot be trusted
    #[arg(long)]
    skip_broken_bitmaps: bool,
    /// Others may write the sources meanwhile
    #[arg(short = 'U', long)]
    force_share: bool,
    /// Most bytes a second; 0 is no limit
    #[arg(short, long, value_name = "BYTES", allow_hyphen_values = true)]
    rate: Option<String>,
    /// How many requests are under way at once, at most one a processor
    #[arg(short = 'm', long, value_name = "COUNT", default_value = "8")]
    parallel: String,
    /// Let the host copy where it can
    #[arg(short = 'C', long)]
    copy_range_offloading: bool,
    /// What cannot be read becomes zeroes
    #[arg(long)]
    salvage: bool,
    /// The target may be written in any order
    #[arg(short = 'W', long)]
    oob_writes: bool,
    #[command(flatten)]
    talk: Talk,
    #[command(flatten)]
    objects: ObjectArgs,
    /// The sources, then the target
    #[arg(value_name = "IMAGE")]
    names: Vec<String>,
}

const SPARSE_DEFAULT: u64 = 4096;
const SPARSE_MAX: u64 = 16 << 20;
const PARALLEL_MAX: u64 = 16;

pub(crate) fn run(program: &str, arguments: Vec<OsString>) -> Outcome<ExitCode> {
    let args: Args = args::parse("convert", program, arguments)?;
    let format = args.target_format.as_deref().unwrap_or(formats::DEFAULT);
    if Given::asks_for_help(&args.target_options) {
        options::help(format)?;
        return Ok(ExitCode::SUCCESS);
    }
    let settings = check(&args)?;
    let (target_name, source_names) = args.names.split_last().expect("checked above");
    create::check_format(format)?;
    let progress = args.talk.progress(1.0)?;
    let sources = open_sources(program, &args, source_names)?;
    let mut in_use: FilesInUse = sources.iter().flat_map(|source| source.image.files()).collect();
    check_bitmaps(&args, &sources)?;
    let size = sources.iter().map(|source| source.image.size()).sum();
    let given = target_options(&args, size)?;
    if !args.no_create {
        given_is_possible(&args, format, &given)?;
        in_use.extend(create::files_of_backing(target_name, &given, args.objects.objects())?);
        create::make(target_name, format, &given, &in_use, args.objects.objects())?;
    }
    let target = open_target(program, &args, target_name, &in_use, given.secrets())?;
    let info = target.info().map_err(|error| Failure::of(target_name, &error))?;
    if args.compress && !formats::features(info.format).compression {
        return Err(Failure::new(format!("not supported: compressed writes to format '{}'", info.format)));
    }
    if args.compress && target.disk.as_info().is_some_and(Info::is_encrypted) {
        return Err(compressed_and_encrypted());
    }
    if args.bitmaps && !has_bitmaps(&target)? {
        return Err(Failure::new(format!(
            "'{target_name}' is of format '{}', and has no bitmaps",
            info.format
        )));
    }
    if target.size() < size {
        let reason = format!("it has {} bytes, the sources have {size}", target.size());
        return Err(Failure::new(format!("{target_name}: the target is too small: {reason}")));
    }
    let starts_as_zeroes = !formats::starts_as_noise(info.format) && info.backing.is_none();
    let target_is_zero = args.target_is_zero || (!args.no_create && starts_as_zeroes);
    let settings = Settings {
        target_is_zero,
        below_bytes: info.backing.as_ref().map(|_| target.disk.backing().map_or(0, |disk| disk.size())),
        is_new: !args.no_create,
        // What has been asked to go through other drivers may look at the order.
        writes_ahead: formats::features(info.format).is_raw && !args.target_image_opts && args.rate.is_none(),
        cluster_bytes: info.cluster_bytes.unwrap_or(SECTOR_BYTES),
        ..settings
    };
    Copy::new(program, &sources, &target, settings).run(progress)?;
    let copied = if args.bitmaps {
        bitmap::copy(program, &sources[0].image, &target, args.skip_broken_bitmaps)
    } else {
        Ok(())
    };
    // The bitmaps that it had are saved all the same.
    let closed = target.close();
    copied.and(closed)?;
    Ok(ExitCode::SUCCESS)
}

/// What is wrong with the options alone, and what they say about the copying.
fn check(args: &Args) -> Outcome<Settings> {
    let refuse = |reason: &str| Err(Failure::new(reason));
    // Sources are only read.
    args::cache_mode(args.source_cache.as_deref())?;
    args::cache_mode(Some(&args.target_cache))?;
    let sparse_bytes = sparse_size(args)?;
    let parallel = parse_count("number of parallel requests", &args.parallel, 1, PARALLEL_MAX)?;
    let rate = args.rate.as_deref().map(parse_rate).transpose()?.flatten();
    if args.names.len() < 2 {
        return refuse("expecting a source and a target");
    }
    if args.target_image_opts && !args.no_create {
        return refuse("--target-image-opts needs -n");
    }
    if args.target_image_opts && args.target_format.is_some() {
        return refuse("--target-image-opts and a format exclude each other");
    }
    if args.target_is_zero && !args.no_create {
        return refuse("--target-is-zero needs -n");
    }
    if args.no_create && !args.target_options.is_empty() {
        return refuse("options of the target (-o) have no effect where it exists (-n)");
    }
    if args.copy_range_offloading && args.compress {
        return refuse("the host cannot copy (-C) what is to be compressed (-c)");
    }
    if args.copy_range_offloading && args.sparse_size.is_some() {
        return refuse("the host cannot copy (-C) and leave out zeroes (-S)");
    }
    if args.skip_broken_bitmaps && !args.bitmaps {
        return refuse("--skip-broken-bitmaps needs --bitmaps");
    }
    if args.names.len() > 2 && args.backing.is_some() {
        return refuse("a target of several sources cannot have a backing file");
    }
    Ok(Settings {
        sparse_bytes,
        rate,
        threads: parallel as usize,
        any_order: args.oob_writes,
        compressed: args.compress,
        salvage: args.salvage,
        quiet: args.talk.quiet,
        ..Settings::default()
    })
}

fn sparse_size(args: &Args) -> Outcome<u64> {
    let Some(text) = &args.sparse_size else { return Ok(SPARSE_DEFAULT) };
    let size = parse_up_to("sparse size", text, 0, SPARSE_MAX)?;
    if size % SECTOR_BYTES != 0 {
        return Err(Failure::new(format!("sparse size {size} is not a multiple of {SECTOR_BYTES}")));
    }
    Ok(size)
}

fn open_sources(program: &str, args: &Args, names: &[String]) -> Outcome<Vec<Source>> {
    if args.source_snapshot.is_some() && names.len() > 1 {
        return Err(Failure::new("a snapshot (-l) is copied from one source"));
    }
    let open = |name: &String| {
        let source = Named {
            name: name.clone(),
            image_opts: args.source_image_opts,
            format: args.source_format.clone(),
            force_share: args.force_share,
            objects: args.objects.objects(),
            snapshot: args.source_snapshot.clone(),
            ..Named::default()
        };
        source.open(program, Purpose { unwritten: true, ..Purpose::READ }).map(Source::new)
    };
    names.iter().map(open).collect()
}

/// Bitmaps are copied from one source, which has to have some that can be.
fn check_bitmaps(args: &Args, sources: &[Source]) -> Outcome<()> {
    if !args.bitmaps {
        return Ok(());
    }
    let [source] = sources else {
        return Err(Failure::new("bitmaps can be copied from a single source alone"));
    };
    if !has_bitmaps(&source.image)? {
        return Err(Failure::new(format!("'{}' is of a format without bitmaps", source.image.name)));
    }
    bitmap::check_copy(&source.image, args.skip_broken_bitmaps)
}

/// Whether an image can have bitmaps: its format and its version.
fn has_bitmaps(image: &Image) -> Outcome<bool> {
    let info = image.info().map_err(|error| Failure::of(&image.name, &error))?;
    let is_old = info.details.iter().any(|(_, detail)| *detail == Detail::Text("0.10".to_owned()));
    Ok(image.disk.as_bitmaps().is_some() && !is_old)
}

fn target_options(args: &Args, size: u64) -> Outcome<Given> {
    let mut given = Given::parse(&args.target_options)?;
    if let Some(backing) = &args.backing {
        given.set("backing_file", backing);
    }
    if let Some(format) = &args.backing_format {
        given.set("backing_fmt", format);
    }
    given.set("size", &size.to_string());
    Ok(given)
}

/// What a target cannot be, before anything is lost.
fn given_is_possible(args: &Args, format: &str, given: &Given) -> Outcome<()> {
    given.clone().check(format)?;
    if args.compress && !formats::features(format).compression {
        return Err(Failure::new(format!("not supported: compressed writes to format '{format}'")));
    }
    let is_encrypted = |name| given.get(name).is_some_and(|value| parse_switch(value) != Some(false));
    if args.compress && ["encryption", "encrypt.format"].into_iter().any(is_encrypted) {
        return Err(compressed_and_encrypted());
    }
    if args.compress && given.get("preallocation").is_some_and(|mode| mode != "off") {
        return Err(Failure::new("what is compressed cannot be preallocated"));
    }
    if given.get("backing_file").is_some() && given.get("backing_fmt").is_none() {
        return Err(Failure::new("the backing file is given without its format (-F)"));
    }
    Ok(())
}

/// What is compressed would lie in plain on the host.
fn compressed_and_encrypted() -> Failure {
    Failure::new("Compression and encryption not supported at the same time")
}

fn open_target(
    program: &str,
    args: &Args,
    name: &str,
    in_use: &FilesInUse,
    options: Options,
) -> Outcome<Image> {
    let format = match (&args.target_format, args.target_image_opts) {
        (_, true) => None,
        (Some(format), false) => Some(format.clone()),
        (None, false) => Some(formats::DEFAULT.to_owned()),
    };
    let cache = args::cache_mode(Some(&args.target_cache))?;
    let named = Named {
        name: name.to_owned(),
        image_opts: args.target_image_opts,
        format,
        cache,
        options,
        objects: args.objects.objects(),
        ..Named::default()
    };
    named.open_beside(program, Purpose::WRITE, in_use)
}
