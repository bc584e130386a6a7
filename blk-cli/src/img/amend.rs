//! `amend`: changes options of an image's format.

use std::ffi::OsString;
use std::process::ExitCode;

use blk_core::{Amend, Amendment};
use clap::Parser;

use super::args::{self, OneImage, Talk};
use super::bitmap;
use super::create::Asked;
use super::failure::{Failure, Outcome};
use super::image::{Image, Named, Purpose};
use super::options::{self, Given};

/// Changes options of an image's format
#[derive(Debug, Parser)]
#[command(args_override_self = true, infer_long_args = true)]
pub(super) struct Args {
    #[command(flatten)]
    image: OneImage,
    /// The options and their new values, name=value,...; 'help' lists them
    #[arg(short, long, value_name = "OPTIONS")]
    options: Vec<String>,
    /// Cache mode of the image
    #[arg(short = 't', long, value_name = "MODE")]
    cache: Option<String>,
    /// Allow changes that may lose data
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    talk: Talk,
}

/// Of the format that is given, or that the image has.
fn help(program: &str, args: &Args) -> Outcome<ExitCode> {
    let format = if let Some(format) = args.image.format() {
        format.to_owned()
    } else {
        let name = args.image.name("amend")?;
        let image = args.image.named(name).open(program, Purpose::INSPECT)?;
        image.info().map_err(|error| Failure::of(name, &error))?.format.to_owned()
    };
    options::amend_help(&format)?;
    Ok(ExitCode::SUCCESS)
}

/// Changes the options that are given.
fn amend(image: &Image, given: &Given, args: &Args) -> Outcome<ExitCode> {
    let mut bar = args.talk.progress(1.0)?;
    // What cannot be shown is no reason to stop in the midst of a change.
    let mut shown = Ok(());
    let mut progress = |done, all| {
        if shown.is_ok() {
            shown = bar.set(done, all);
        }
    };
    let secrets = Asked { objects: args.image.objects(), data: None };
    let amendment =
        Amendment { options: given.all(), force: args.force, resolver: &secrets, progress: &mut progress };
    let amended = image.disk.amend(amendment).map_err(|error| Failure::of(&image.name, &error));
    let closed = image.close();
    shown?;
    bar.end()?;
    amended.and(closed).map(|()| ExitCode::SUCCESS)
}

pub(crate) fn run(program: &str, arguments: Vec<OsString>) -> Outcome<ExitCode> {
    let args: Args = args::parse("amend", program, arguments)?;
    let cache = args::cache_mode(args.cache.as_deref())?;
    if args.options.is_empty() {
        return Err(Failure::usage("amend", "no options are given (-o)"));
    }
    if Given::asks_for_help(&args.options) {
        return help(program, &args);
    }
    let given = Given::parse(&args.options)?;
    let name = args.image.name("amend")?;
    let image = Named { cache, ..args.image.named(name) }.open(program, Purpose::WRITE)?;
    let format = image.info().map_err(|error| Failure::of(name, &error))?.format;
    given.check_amendable(format)?;
    if given.get("size").is_some() {
        bitmap::check_resize(&image)?;
    }
    amend(&image, &given, &args)
}
