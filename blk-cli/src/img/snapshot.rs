//! `snapshot`: lists the snapshots inside an image.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use super::args::{self, OneImage};
use super::failure::{Failure, Outcome};
use super::image::{Named, Purpose};
use super::info::snapshot_table;
use super::output;

/// Lists the snapshots inside an image
#[derive(Debug, Parser)]
#[command(args_override_self = true, infer_long_args = true)]
pub(super) struct Args {
    #[command(flatten)]
    image: OneImage,
    /// List the snapshots; this is what happens where nothing else is asked
    #[arg(short, long)]
    list: bool,
    /// Make a snapshot
    #[arg(short, long, value_name = "SNAPSHOT")]
    create: Option<String>,
    /// Go back to a snapshot
    #[arg(short, long, value_name = "SNAPSHOT")]
    apply: Option<String>,
    /// Delete a snapshot
    #[arg(short, long, value_name = "SNAPSHOT")]
    delete: Option<String>,
    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,
    /// Others may write the image meanwhile
    #[arg(short = 'U', long)]
    force_share: bool,
}

pub(crate) fn run(program: &str, arguments: Vec<OsString>) -> Outcome<ExitCode> {
    let args: Args = args::parse("snapshot", program, arguments)?;
    let changes = [("create", &args.create), ("apply", &args.apply), ("delete", &args.delete)];
    let mut wanted = changes.iter().filter_map(|(verb, name)| name.as_ref().map(|name| (*verb, name)));
    let change = wanted.next();
    if wanted.next().is_some() || (change.is_some() && args.list) {
        return Err(Failure::usage("snapshot", "-l, -a, -c and -d exclude one another"));
    }
    let name = args.image.name("snapshot")?;
    let named = Named { force_share: args.force_share, ..args.image.named(name) };
    if let Some((verb, snapshot)) = change {
        named.open(program, Purpose::WRITE)?;
        let what =
            format!("cannot {verb} snapshot '{snapshot}': not supported: changing the snapshots of an image");
        return Err(Failure::new(what));
    }
    let image = named.open(program, Purpose::READ)?;
    let snapshots = image.info().map_err(|error| Failure::of(name, &error))?.snapshots;
    if !snapshots.is_empty() {
        output::text(&snapshot_table(&snapshots))?;
    }
    Ok(ExitCode::SUCCESS)
}
