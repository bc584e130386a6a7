//! `commit`: writes an image's changes to an image of its backing chain.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use blk_core::{Commit, Disk, Error, Overlay};
use clap::Parser;

use super::args::{self, OneImage, Talk};
use super::chain::Chain;
use super::failure::{Failure, Outcome};
use super::image::{Image, Named, Purpose};
use super::output;
use super::progress::Progress;
use super::size::{parse_rate, ratio};
use crate::spec::{self, FilesInUse, Layer, Objects};

/// Writes an image's changes to its backing file, or to one further down
#[derive(Debug, Parser)]
#[command(args_override_self = true, infer_long_args = true)]
pub(super) struct Args {
    #[command(flatten)]
    image: OneImage,
    /// Cache mode of the image
    #[arg(short = 't', long, value_name = "MODE")]
    cache: Option<String>,
    /// The image of the chain that is written, by any of its names; the backing file where it is not given.
    /// The overlay keeps its content
    #[arg(short, long, value_name = "FILE")]
    base: Option<String>,
    /// The image keeps its content
    #[arg(short, long)]
    drop: bool,
    /// Most bytes a second; 0 is no limit
    #[arg(short, long, value_name = "BYTES", allow_hyphen_values = true)]
    rate: Option<String>,
    #[command(flatten)]
    talk: Talk,
}

pub(crate) fn run(program: &str, arguments: Vec<OsString>) -> Outcome<ExitCode> {
    let args: Args = args::parse("commit", program, arguments)?;
    let cache = args::cache_mode(args.cache.as_deref())?;
    let rate = args.rate.as_deref().map(parse_rate).transpose()?.flatten();
    let name = args.image.name("commit")?;
    let image = Named { cache, ..args.image.named(name) }.open(program, Purpose::WRITE)?;
    let depth = base_depth(name, &image, args.base.as_deref())?;
    let base = open_base(&image, depth, args.image.objects())?;
    let progress = args.talk.progress(1.0)?;
    write(&image, depth, &base, rate, progress)?;
    base.close()?;
    if !args.drop && args.base.is_none() {
        let overlay = image.disk.as_overlay();
        let emptied = overlay.map_or(Ok(()), Overlay::forget_content);
        emptied.map_err(|error| Failure::of(name, &error))?;
    }
    image.close()?;
    if !args.talk.quiet {
        output::line("Image committed.")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Which layer of the chain is written. Any name of its file will do.
fn base_depth(name: &str, image: &Image, base: Option<&str>) -> Outcome<usize> {
    if image.layers.len() < 2 {
        return Err(Failure::new(format!("'{name}' has no backing file")));
    }
    let Some(base) = base else { return Ok(1) };
    let named = spec::path_of(base);
    let lower = image.layers.iter().zip(&image.layers[1..]);
    let mut found =
        lower.map(|(overlay, layer)| layer.name == base || is_named(overlay, layer, named.as_deref()));
    let depth = found.position(|is| is).map(|index| index + 1);
    depth.ok_or_else(|| Failure::new(format!("'{base}' is not in the backing chain of '{name}'")))
}

/// Whether a path leads to the layer, counted from the folder of the overlay that names it, or from here.
fn is_named(overlay: &Layer, layer: &Layer, path: Option<&Path>) -> bool {
    let Some(path) = path else { return false };
    let folder = overlay.path.as_deref().and_then(Path::parent);
    folder.is_some_and(|folder| layer.lies_in(&folder.join(path))) || layer.lies_in(path)
}

/// Opens the base for writing, once nobody else uses it, or reads what lies between it and the image.
fn open_base(image: &Image, depth: usize, objects: Objects) -> Outcome<Base> {
    let layer = &image.layers[depth];
    let failed = |error: Error| Failure::new(error.to_string());
    let chain = Chain::of(image);
    // The last sector of a raw base may be there in part alone, and become whole.
    let grows = chain.layers[depth].disk.size() < image.size();
    let others = image.layers.iter().enumerate().filter(|(index, _)| *index != depth);
    let others: FilesInUse = others.flat_map(|(_, layer)| layer.files.iter().cloned()).collect();
    let backing = chain.layers.get(depth + 1).map(|layer| Arc::clone(&layer.disk));
    let disk = layer.open_as_base(grows, &others, backing, objects).map_err(failed)?;
    for between in &image.layers[1..depth] {
        between.claim_unread().map_err(failed)?;
    }
    Ok(Base { disk, name: layer.name.clone() })
}

/// The disk that is written.
struct Base {
    disk: Arc<Disk>,
    name: String,
}

impl Base {
    /// After the commit is finished, which has synced it.
    fn close(&self) -> Outcome<()> {
        self.disk.close().map_err(|error| Failure::of(&self.name, &error))
    }
}

/// Writes to the base, at most so many bytes a second.
fn write(image: &Image, depth: usize, base: &Base, rate: Option<u64>, mut progress: Progress) -> Outcome<()> {
    let failed = |error| Failure::of(&image.name, &error);
    let begun = Commit::new(&image.disk, depth, &base.disk);
    let mut commit = begun.map_err(|error| Failure::of(&base.name, &error))?;
    let all = commit.bytes().map_err(failed)?;
    let started = Instant::now();
    let mut done = 0;
    while let Some(bytes) = commit.step().map_err(failed)? {
        done += bytes;
        progress.set(done, all)?;
        if let Some(rate) = rate {
            let due = Duration::from_secs_f64(ratio(done, rate));
            thread::sleep(due.saturating_sub(started.elapsed()));
        }
    }
    commit.finish().map_err(|error| Failure::of(&base.name, &error))?;
    progress.finish()
}
