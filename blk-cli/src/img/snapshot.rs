//! `snapshot`: lists the snapshots inside an image, and changes them.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use blk_core::{Error, NewSnapshot, SnapshotInfo};
use clap::Parser;

use super::args::{self, OneImage};
use super::failure::{Failure, Outcome};
use super::image::{Image, Named, Purpose};
use super::info::snapshot_table;
use super::output;

/// Lists, makes, applies or deletes snapshots inside an image
#[derive(Debug, Parser)]
#[command(args_override_self = true, infer_long_args = true)]
pub(super) struct Args {
    #[command(flatten)]
    image: OneImage,
    /// List the snapshots; this is what happens where nothing else is asked
    #[arg(short, long)]
    list: bool,
    /// Make a snapshot of this name
    #[arg(short, long, value_name = "SNAPSHOT")]
    create: Option<String>,
    /// Go back to the snapshot of this ID or name
    #[arg(short, long, value_name = "SNAPSHOT")]
    apply: Option<String>,
    /// Delete the snapshot of this name
    #[arg(short, long, value_name = "SNAPSHOT")]
    delete: Option<String>,
    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,
    /// Others may write the image meanwhile
    #[arg(short = 'U', long)]
    force_share: bool,
}

/// What is done to the snapshots of an image.
#[derive(Debug, Clone, Copy)]
enum Change<'a> {
    Create(&'a str),
    Apply(&'a str),
    Delete(&'a str),
}

pub(crate) fn run(program: &str, arguments: Vec<OsString>) -> Outcome<ExitCode> {
    let args: Args = args::parse("snapshot", program, arguments)?;
    let wanted = [
        args.create.as_deref().map(Change::Create),
        args.apply.as_deref().map(Change::Apply),
        args.delete.as_deref().map(Change::Delete),
    ];
    let mut wanted = wanted.into_iter().flatten();
    let change = wanted.next();
    if wanted.next().is_some() || (change.is_some() && args.list) {
        return Err(Failure::usage("snapshot", "-l, -a, -c and -d exclude one another"));
    }
    let name = args.image.name("snapshot")?;
    let named = Named { force_share: args.force_share, ..args.image.named(name) };
    if let Some(change) = change {
        let image = named.open(program, Purpose::WRITE)?;
        let changed = change.make(&image);
        // What was not changed is left as clean as before.
        let closed = image.close();
        changed.and(closed)?;
        return Ok(ExitCode::SUCCESS);
    }
    let image = named.open(program, Purpose::READ)?;
    let snapshots = image.info().map_err(|error| Failure::of(name, &error))?.snapshots;
    if !snapshots.is_empty() {
        output::text(&snapshot_table(&snapshots))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Change<'_> {
    fn make(self, image: &Image) -> Outcome<()> {
        let (verb, name) = match self {
            Self::Create(name) => ("create", name),
            Self::Apply(name) => ("apply", name),
            Self::Delete(name) => ("delete", name),
        };
        let failed = |error: &Error| match error {
            Error::Unresolved { reason, .. } => {
                Failure::new(format!("cannot {verb} snapshot '{name}': {reason}"))
            }
            _ => Failure::new(format!("cannot {verb} snapshot '{name}': {error}")),
        };
        let disk = image.disk.as_snapshots();
        let disk = disk.ok_or_else(|| failed(&Error::unsupported("snapshots in an image of this format")))?;
        let changed = match self {
            Self::Create(name) => disk.create_snapshot(&new(name)).map(drop),
            Self::Apply(word) => {
                disk.snapshots().and_then(|all| disk.apply_snapshot(&SnapshotInfo::find(&all, word)?.id))
            }
            // By its name alone, as qemu-img does.
            Self::Delete(name) => disk.snapshots().and_then(|mut all| {
                all.retain(|snapshot| snapshot.name == name);
                disk.delete_snapshot(&SnapshotInfo::find(&all, name)?.id)
            }),
        };
        changed.map_err(|error| failed(&error))
    }
}

/// A snapshot that is made now, without a machine.
fn new(name: &str) -> NewSnapshot {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    NewSnapshot {
        name: name.to_owned(),
        // Until 2106.
        date_seconds: now.as_secs() as u32,
        date_nanoseconds: now.subsec_nanos(),
        // qemu-img says that none has run, not that none was counted.
        instruction_count: Some(0),
        ..NewSnapshot::default()
    }
}
