//! `compare`: compares the content of two images.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use blk_core::Extent;
use blk_core::bytes::{self, is_zero};
use clap::Parser;

use super::args::{self, Talk};
use super::chain::{Chain, Cursor, Status};
use super::crew::{self, Job, thread_count};
use super::failure::{Failure, Outcome};
use super::image::{Image, Named, Purpose};
use super::output;
use super::pages::Pages;
use super::progress::Progress;
use super::size::SECTOR_BYTES;
use crate::spec::ObjectArgs;

/// Compares the content of two images
#[derive(Debug, Parser)]
#[command(args_override_self = true, infer_long_args = true)]
pub(super) struct Args {
    /// Format of the first image
    #[arg(short = 'f', long, value_name = "FORMAT")]
    a_format: Option<String>,
    /// Format of the second image
    #[arg(short = 'F', long, value_name = "FORMAT")]
    b_format: Option<String>,
    /// The names are lists of options, key=value,...
    #[arg(long)]
    image_opts: bool,
    /// Different sizes, and different allocation, are differences too
    #[arg(short, long)]
    strict: bool,
    /// Cache mode of the images
    #[arg(short = 'T', long, value_name = "MODE")]
    cache: Option<String>,
    #[command(flatten)]
    talk: Talk,
    /// Others may write the images meanwhile
    #[arg(short = 'U', long)]
    force_share: bool,
    #[command(flatten)]
    objects: ObjectArgs,
    /// The images
    #[arg(value_name = "IMAGE")]
    names: Vec<String>,
}

/// Exit codes, as scripts know them.
const DIFFERENT: u8 = 1;
const CANNOT_OPEN: u8 = 2;
const CANNOT_ASK: u8 = 3;
const CANNOT_READ: u8 = 4;

/// How many bytes of each image a thread compares at once: what it has read is still in its processor's cache
/// then.
const BUFFER_BYTES: u64 = 256 << 10;
/// The progress is shown in steps of so many percent.
const STEP_PERCENT: f64 = 2.0;

/// What a comparison found: a line to print, and whether the images are the same.
type Verdict = (String, bool);

pub(crate) fn run(program: &str, arguments: Vec<OsString>) -> Outcome<ExitCode> {
    let args: Args = args::parse("compare", program, arguments).map_err(refused)?;
    let cache = args::cache_mode(args.cache.as_deref()).map_err(refused)?;
    let [first, second] = &args.names[..] else {
        return Err(Failure::usage("compare", "expecting two image file names"));
    };
    let open = |name: &String, format: &Option<String>| {
        let (image_opts, force_share) = (args.image_opts, args.force_share);
        let objects = args.objects.objects();
        let named = Named {
            name: name.clone(),
            format: format.clone(),
            image_opts,
            force_share,
            cache,
            objects,
            ..Named::default()
        };
        named.open(program, Purpose::READ).map_err(|failure| failure.with_code(CANNOT_OPEN))
    };
    let images = [open(first, &args.a_format)?, open(second, &args.b_format)?];
    let mut progress = args.talk.progress(STEP_PERCENT)?;
    let chains = [Chain::of(&images[0]), Chain::of(&images[1])];
    let comparison =
        Comparison { images: &images, chains: &chains, strict: args.strict, quiet: args.talk.quiet };
    let (line, is_same) = comparison.judge(&mut progress)?;
    say(args.talk.quiet, &line)?;
    progress.end()?;
    Ok(ExitCode::from(if is_same { 0 } else { DIFFERENT }))
}

/// 1 says that the images differ: a value that no option takes has the code of images that cannot be opened.
fn refused(failure: Failure) -> Failure {
    if failure.code == DIFFERENT && failure.help.is_none() { failure.with_code(CANNOT_OPEN) } else { failure }
}

fn say(quiet: bool, line: &str) -> Outcome<()> {
    if quiet { Ok(()) } else { output::line(line) }
}

#[derive(Debug)]
struct Comparison<'a> {
    images: &'a [Image; 2],
    chains: &'a [Chain; 2],
    strict: bool,
    quiet: bool,
}

impl Comparison<'_> {
    fn judge(&self, progress: &mut Progress) -> Outcome<Verdict> {
        let sizes = [self.images[0].size(), self.images[1].size()];
        let (common, all) = (sizes[0].min(sizes[1]), sizes[0].max(sizes[1]));
        if self.strict && common < all {
            return Ok(("Strict mode: Image size mismatch!".to_owned(), false));
        }
        if let Some(verdict) = self.compare(Extent::new(0, common), [true, true], all, progress)? {
            return Ok(verdict);
        }
        if common < all {
            if !self.quiet {
                output::line("Warning: Image size mismatch!")?;
            }
            let is_longer = sizes.map(|size| size == all);
            if let Some(verdict) = self.compare(Extent::between(common, all), is_longer, all, progress)? {
                return Ok(verdict);
            }
        }
        Ok(("Images are identical.".to_owned(), true))
    }

    /// Compares a range of both images, or looks in one for anything but zeroes.
    fn compare(
        &self,
        extent: Extent,
        asked: [bool; 2],
        all: u64,
        progress: &mut Progress,
    ) -> Outcome<Option<Verdict>> {
        let plan =
            Plan { comparison: self, cursors: self.chains.each_ref().map(Cursor::new), asked, rest: extent };
        let running = Running { comparison: self, all, state: Mutex::new((progress, None)) };
        crew::work(&running, plan, thread_count(extent.length, usize::MAX), false)?;
        Ok(running.state.into_inner().unwrap_or_else(PoisonError::into_inner).1)
    }

    fn failed(&self, index: usize, error: &blk_core::Error, code: u8) -> Failure {
        Failure::of(&self.images[index].name, error).with_code(code)
    }
}

/// A range of both images.
#[derive(Debug)]
struct Piece {
    extent: Extent,
    /// Whose bytes have to be looked at; the others are zeroes.
    read: [bool; 2],
    /// What is known without looking.
    verdict: Option<Verdict>,
}

/// The pieces of a comparison, in order.
#[derive(Debug)]
struct Plan<'a> {
    comparison: &'a Comparison<'a>,
    cursors: [Cursor<'a>; 2],
    /// The images that are looked at; another one is shorter, and counts as zeroes.
    asked: [bool; 2],
    rest: Extent,
}

impl Plan<'_> {
    fn piece(&mut self) -> Outcome<Piece> {
        let mut extent = self.rest;
        let mut found: [Option<Status>; 2] = [None; 2];
        for index in (0..2).filter(|index| self.asked[*index]) {
            let status = self.cursors[index].status(extent);
            let status = status.map_err(|error| self.comparison.failed(index, &error, CANNOT_ASK))?;
            extent.length = extent.length.min(status.length);
            found[index] = Some(status);
        }
        let read = found.map(|status| status.is_some_and(|status| !status.zero && status.present));
        if let (true, [Some(a), Some(b)]) = (self.comparison.strict, found)
            && (a.present, a.zero, a.data, a.compressed) != (b.present, b.zero, b.data, b.compressed)
        {
            let line = format!("Strict mode: Offset {} block status mismatch!", extent.offset);
            return Ok(Piece { extent, read, verdict: Some((line, false)) });
        }
        if read.contains(&true) {
            extent.length = extent.length.min(BUFFER_BYTES);
        }
        Ok(Piece { extent, read, verdict: None })
    }
}

impl Iterator for Plan<'_> {
    type Item = Outcome<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let piece = self.piece();
        let end = piece.as_ref().map_or(self.rest.end(), |piece| piece.extent.end());
        self.rest = Extent::between(end, self.rest.end());
        Some(piece)
    }
}

/// A comparison by several threads: its progress, and the first difference.
#[derive(Debug)]
struct Running<'a, 'p> {
    comparison: &'a Comparison<'a>,
    /// Bytes of the longer image.
    all: u64,
    state: Mutex<(&'p mut Progress, Option<Verdict>)>,
}

impl Job for Running<'_, '_> {
    type Piece = Piece;
    type Buffer = [Pages; 2];
    type Prepared = (u64, Option<Verdict>);

    fn buffer(&self) -> [Pages; 2] {
        [BUFFER_BYTES; 2].map(|bytes| Pages::new(bytes as usize))
    }

    fn prepare(&self, piece: Piece, buffer: &mut [Pages; 2]) -> Outcome<(u64, Option<Verdict>)> {
        let Piece { extent, read, verdict } = piece;
        if verdict.is_some() || read == [false; 2] {
            return Ok((extent.end(), verdict));
        }
        let length = extent.length as usize;
        for index in (0..2).filter(|index| read[*index]) {
            let done = self.comparison.images[index].read(extent.offset, &mut buffer[index][..length]);
            done.map_err(|error| self.comparison.failed(index, &error, CANNOT_READ))?;
        }
        let differs = match read {
            [true, true] => first_difference(&buffer[0][..length], &buffer[1][..length]),
            [true, false] => first_non_zero(&buffer[0][..length]),
            _ => first_non_zero(&buffer[1][..length]),
        };
        Ok((extent.end(), differs.map(|sector| mismatch(extent.offset + sector))))
    }

    fn finish(&self, (end, verdict): (u64, Option<Verdict>), _: &[Pages; 2]) -> Outcome<bool> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if verdict.is_some() {
            state.1 = verdict;
            return Ok(false);
        }
        state.0.set(end, self.all)?;
        Ok(true)
    }
}

fn mismatch(offset: u64) -> Verdict {
    (format!("Content mismatch at offset {offset}!"), false)
}

/// Where the first sector starts that differs.
fn first_difference(a: &[u8], b: &[u8]) -> Option<u64> {
    bytes::first_difference(a, b).map(|at| at as u64 / SECTOR_BYTES * SECTOR_BYTES)
}

/// Where the first sector starts that is not zero.
fn first_non_zero(bytes: &[u8]) -> Option<u64> {
    if is_zero(bytes) {
        return None;
    }
    bytes
        .chunks(SECTOR_BYTES as usize)
        .position(|sector| !is_zero(sector))
        .map(|sector| sector as u64 * SECTOR_BYTES)
}
