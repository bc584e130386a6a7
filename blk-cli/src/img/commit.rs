//! `commit`: writes an image's changes to an image of its backing chain.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use blk_core::{Disk, Error, Extent, Overlay, Result, WriteFlags, ZeroFlags};
use clap::Parser;

use super::args::{self, OneImage, Talk};
use super::chain::{Chain, Status};
use super::failure::{Failure, Outcome};
use super::image::{Image, Named, Purpose};
use super::output;
use super::progress::Progress;
use super::size::{parse_rate, ratio, whole_sectors};
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

const BUFFER_BYTES: u64 = 2 << 20;

pub(crate) fn run(program: &str, arguments: Vec<OsString>) -> Outcome<ExitCode> {
    let args: Args = args::parse("commit", program, arguments)?;
    let cache = args::cache_mode(args.cache.as_deref())?;
    let rate = args.rate.as_deref().map(parse_rate).transpose()?.flatten();
    let name = args.image.name("commit")?;
    let image = Named { cache, ..args.image.named(name) }.open(program, Purpose::WRITE)?;
    let chain = Chain::of(&image);
    let depth = base_depth(name, &image, args.base.as_deref())?;
    let base = open_base(&image, depth, args.image.objects())?;
    let progress = args.talk.progress(1.0)?;
    let commit = Commit { image: &image, chain: &chain, depth, base: &base, rate };
    commit.run(progress)?;
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
    fn size(&self) -> u64 {
        whole_sectors(self.disk.size())
    }

    fn close(&self) -> Outcome<()> {
        let closed = self.disk.flush().and_then(|()| self.disk.close());
        closed.map_err(|error| Failure::of(&self.name, &error))
    }
}

struct Commit<'a> {
    image: &'a Image,
    chain: &'a Chain,
    depth: usize,
    base: &'a Base,
    rate: Option<u64>,
}

impl Commit<'_> {
    fn run(&self, mut progress: Progress) -> Outcome<()> {
        let failed = |error| Failure::of(&self.image.name, &error);
        if self.base.size() < self.image.size() {
            self.base.disk.resize(self.image.size()).map_err(|error| Failure::of(&self.base.name, &error))?;
        }
        let all = self.count().map_err(failed)?;
        let started = Instant::now();
        let (mut at, mut done) = (0, 0);
        while at < self.image.size() {
            let status = self.status(at).map_err(failed)?;
            if status.present {
                self.write(at, status).map_err(failed)?;
                done += status.length;
                progress.set(done, all)?;
                if let Some(rate) = self.rate {
                    let due = Duration::from_secs_f64(ratio(done, rate));
                    thread::sleep(due.saturating_sub(started.elapsed()));
                }
            }
            at += status.length;
        }
        progress.finish()
    }

    /// What the layers above the base say, in pieces that fit into the buffer where bytes are copied.
    fn status(&self, at: u64) -> Result<Status> {
        let mut status = self.chain.status_above(Extent::between(at, self.image.size()), self.depth)?;
        let between = self.chain.layers[1..self.depth].iter().map(|layer| whole_sectors(layer.disk.size()));
        if let (false, Some(end)) = (status.present, between.min()) {
            if end <= at {
                // A disk in between is too short: zeroes show, whatever the base has there.
                status = Status { present: true, zero: true, data: false, ..status };
            } else {
                status.length = status.length.min(end - at);
            }
        }
        let length = if status.data { status.length.min(BUFFER_BYTES) } else { status.length };
        Ok(Status { length, ..status })
    }

    fn count(&self) -> Result<u64> {
        let (mut at, mut bytes) = (0, 0);
        while at < self.image.size() {
            let status = self.status(at)?;
            bytes += if status.present { status.length } else { 0 };
            at += status.length;
        }
        Ok(bytes)
    }

    fn write(&self, at: u64, status: Status) -> Result<()> {
        let size = self.base.disk.size();
        if status.zero {
            let flags = ZeroFlags { may_unmap: true, ..ZeroFlags::default() };
            // What a sector lacks at the end reads as zeroes.
            let inside = Extent::between(at, size.min(at + status.length).max(at));
            return self.base.disk.write_zeroes(inside, flags);
        }
        if at + status.length > size {
            self.base.disk.resize(self.base.size())?;
        }
        let mut bytes = vec![0; status.length as usize];
        self.image.read(at, &mut bytes)?;
        self.base.disk.write(at, &bytes, WriteFlags::default())
    }
}
