//! `rebase`: puts an image over another disk.

use std::ffi::OsString;
use std::process::ExitCode;

use blk_core::{BackingFile, Rebase};
use clap::Parser;

use super::args::{self, OneImage, Talk};
use super::create::check_format;
use super::failure::{Failure, Outcome};
use super::image::{Image, Named, Purpose, backing_of};
use crate::spec::Objects;

/// Puts an image over another disk
#[derive(Debug, Parser)]
#[command(args_override_self = true, infer_long_args = true)]
pub(super) struct Args {
    #[command(flatten)]
    image: OneImage,
    /// Cache mode of the image
    #[arg(short = 't', long, value_name = "MODE")]
    cache: Option<String>,
    /// The new backing file; empty for none
    #[arg(short, long, value_name = "FILE")]
    backing: Option<String>,
    /// Format of the new backing file
    #[arg(short = 'F', long, value_name = "FORMAT")]
    backing_format: Option<String>,
    /// Cache mode of the backing files
    #[arg(short = 'T', long, value_name = "MODE")]
    backing_cache: Option<String>,
    /// Change the name alone: the new disk has the content of the old one
    #[arg(short = 'u', long = "backing-unsafe")]
    unchecked: bool,
    /// Store compressed what has to be copied
    #[arg(short, long)]
    compress: bool,
    /// Accepted, and without effect: an image that is written cannot be shared
    #[arg(short = 'U', long = "force-share")]
    _force_share: bool,
    #[command(flatten)]
    talk: Talk,
}

pub(crate) fn run(program: &str, arguments: Vec<OsString>) -> Outcome<ExitCode> {
    let args: Args = args::parse("rebase", program, arguments)?;
    let cache = args::cache_mode(args.cache.as_deref())?;
    // Backing files are only read.
    args::cache_mode(args.backing_cache.as_deref())?;
    let name = args.image.name("rebase")?;
    if !args.unchecked && args.backing.is_none() {
        return Err(Failure::usage("rebase", "expecting the new backing file (-b), or -u"));
    }
    if let Some(format) = &args.backing_format {
        check_format(format)?;
    }
    let purpose = Purpose { write: true, alone: args.unchecked, ..Purpose::READ };
    let image = Named { cache, ..args.image.named(name) }.open(program, purpose)?;
    let backing = new_backing(name, &args)?;
    let overlay = image.disk.as_overlay();
    let overlay =
        overlay.ok_or_else(|| Failure::new(format!("{name}: this format does not support backing files")))?;
    let mut progress = args.talk.progress(1.0)?;
    if !args.unchecked {
        let new = open_new(program, &image, backing.as_ref(), args.image.objects())?;
        let new = new.as_ref().map(|new| &*new.disk);
        let mut rebase = Rebase::new(&image.disk, new, args.compress);
        let failed = |error| Failure::of(&image.name, &error);
        while let Some(done) = rebase.step().map_err(failed)? {
            progress.set(done, image.disk.size())?;
        }
        image.disk.flush().map_err(failed)?;
    }
    let changed = overlay.set_backing(backing.as_ref());
    changed.map_err(|error| Failure::new(format!("cannot change the backing file of '{name}': {error}")))?;
    image.close()?;
    progress.finish()?;
    Ok(ExitCode::SUCCESS)
}

/// What the image is to name; `None` for nothing.
fn new_backing(name: &str, args: &Args) -> Outcome<Option<BackingFile>> {
    let backing = args.backing.as_deref().unwrap_or_default();
    if backing.is_empty() {
        return Ok(None);
    }
    if args.backing_format.is_none() {
        let what = format!("cannot change the backing file of '{name}' to '{backing}'");
        return Err(Failure::new(format!("{what}: its format has to be given (-F)")));
    }
    Ok(Some(BackingFile { name: backing.to_owned(), format: args.backing_format.clone() }))
}

/// Opens the new backing file, which must not lead back to the image itself.
fn open_new(
    program: &str,
    image: &Image,
    backing: Option<&BackingFile>,
    objects: Objects,
) -> Outcome<Option<Image>> {
    let Some(backing) = backing else { return Ok(None) };
    // The old chain is only read, and may well be a part of the new one.
    let own = image.layers.first().map(|layer| layer.files.clone()).unwrap_or_default();
    backing_of(&image.name, backing, objects).open_beside(program, Purpose::READ, &own).map(Some)
}
