//! `rebase`: puts an image over another disk.

use std::ffi::OsString;
use std::ops::Range;
use std::process::ExitCode;

use blk_core::{BackingFile, Disk, Extent, Result, WriteFlags, ZeroFlags};
use clap::Parser;

use super::args::{self, OneImage, Talk};
use super::create::check_format;
use super::failure::{Failure, Outcome};
use super::image::{Image, Named, Purpose, backing_of, read_padded};
use super::progress::Progress;
use super::size::whole_sectors;
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

const BUFFER_BYTES: u64 = 2 << 20;

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
        let rebase = Rebase {
            image: &image,
            old: image.disk.backing().map(|disk| &**disk),
            new,
            compressed: args.compress,
        };
        rebase.run(&mut progress)?;
        image.disk.flush().map_err(|error| Failure::of(name, &error))?;
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

/// Copies into the image what it would lose.
struct Rebase<'a> {
    image: &'a Image,
    old: Option<&'a Disk>,
    new: Option<Image>,
    compressed: bool,
}

impl Rebase<'_> {
    fn run(&self, progress: &mut Progress) -> Outcome<()> {
        let failed = |error| Failure::of(&self.image.name, &error);
        let size = self.image.disk.size();
        let limits = self.image.disk.limits();
        // What is compressed is compressed by the cluster; all else may be a part of one.
        let cluster = limits.discard_granularity.max(limits.zero_granularity);
        let unit = if self.compressed { cluster } else { limits.zero_granularity }.max(1);
        let mut at = 0;
        while at < size {
            let status = self.image.disk.block_status(Extent::between(at, size)).map_err(failed)?;
            let mut length = status.length;
            if !status.allocated {
                // Each piece but the last ends where a cluster does.
                length = length.min(BUFFER_BYTES - at % unit);
                // A piece past the end of the old backing file is all zeroes.
                let shown = whole_sectors(self.old.map_or(0, Disk::size)).next_multiple_of(unit);
                if at < shown {
                    length = length.min(shown - at);
                }
                self.keep(at, length, unit).map_err(failed)?;
            }
            at += length;
            progress.set(at, size)?;
        }
        Ok(())
    }

    /// Writes those clusters of a range that the image does not hold, and that differ between the two backing
    /// files.
    fn keep(&self, at: u64, length: u64, unit: u64) -> Result<()> {
        let shows = |disk: Option<&Disk>| disk.is_some_and(|disk| at < disk.size());
        let new = self.new.as_ref().map(|new| &*new.disk);
        if !shows(self.old) && !shows(new) {
            return Ok(());
        }
        let old_bytes = bytes_of(self.old, at, length)?;
        let new_bytes = bytes_of(new, at, length)?;
        if old_bytes == new_bytes {
            return Ok(());
        }
        let mut start = 0;
        while start < old_bytes.len() {
            let end = cluster_end(at, start, unit, old_bytes.len());
            if old_bytes[start..end] == new_bytes[start..end] {
                start = end;
                continue;
            }
            let is_compressed = self.is_compressed(at, start..end, unit);
            // Neighbours that differ too are written in one piece, so that they lie in one.
            let mut last = end;
            while last < old_bytes.len() {
                let next = cluster_end(at, last, unit, old_bytes.len());
                let is_equal = old_bytes[last..next] == new_bytes[last..next];
                if is_equal || self.is_compressed(at, last..next, unit) != is_compressed {
                    break;
                }
                last = next;
            }
            let extent = Extent::new(at + start as u64, (last - start) as u64);
            if shows(self.old) {
                let flags = WriteFlags { compressed: is_compressed, ..WriteFlags::default() };
                self.image.disk.write(extent.offset, &old_bytes[start..last], flags)?;
            } else {
                self.hold_zeroes(extent, &old_bytes[start..last])?;
            }
            start = last;
        }
        Ok(())
    }

    /// Zeroes that the image itself holds, so that no backing file shows. A format without a mark for them
    /// stores nothing as long as there is no backing file: what it has not, it gets as data. `zeroes` are as
    /// many.
    fn hold_zeroes(&self, extent: Extent, zeroes: &[u8]) -> Result<()> {
        let disk = &self.image.disk;
        disk.write_zeroes(extent, ZeroFlags::default())?;
        let mut rest = extent;
        while !rest.is_empty() {
            let status = disk.block_status(rest)?;
            if !status.allocated {
                disk.write(rest.offset, &zeroes[..status.length as usize], WriteFlags::default())?;
            }
            rest = Extent::between(rest.offset + status.length, extent.end());
        }
        Ok(())
    }

    /// Whether a part of a buffer, which begins at `at` of the disk, can be stored compressed: a whole
    /// cluster of which the image holds nothing.
    fn is_compressed(&self, at: u64, part: Range<usize>, cluster: u64) -> bool {
        let (start, end) = (at + part.start as u64, at + part.end as u64);
        let ends_whole = end.is_multiple_of(cluster) || end == self.image.disk.size();
        self.compressed && start.is_multiple_of(cluster) && ends_whole
    }
}

/// Where the cluster ends that byte `start` of a buffer lies in; the buffer begins at `at` of the disk.
fn cluster_end(at: u64, start: usize, unit: u64, length: usize) -> usize {
    let rest = unit - (at + start as u64) % unit;
    length.min(start + rest as usize)
}

/// The bytes that `disk` shows; zeroes where it ends, or where there is none.
fn bytes_of(disk: Option<&Disk>, at: u64, length: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length as usize];
    if let Some(disk) = disk {
        read_padded(disk, at, &mut bytes)?;
    }
    Ok(bytes)
}
