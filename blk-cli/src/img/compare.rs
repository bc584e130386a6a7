//! `compare`: compares the content of two images.

use std::ffi::OsString;
use std::process::ExitCode;

use blk_core::Extent;
use clap::Parser;

use super::args::{self, Talk};
use super::chain::{Chain, Cursor, Status};
use super::failure::{Failure, Outcome};
use super::image::{Image, Named, Purpose};
use super::output;
use super::progress::Progress;
use super::size::SECTOR_BYTES;

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
    /// Objects of QEMU; none of them has a use here
    #[arg(long = "object", value_name = "OBJECT")]
    _objects: Vec<String>,
    /// The images
    #[arg(value_name = "IMAGE")]
    names: Vec<String>,
}

/// Exit codes, as scripts know them.
const DIFFERENT: u8 = 1;
const CANNOT_OPEN: u8 = 2;
const CANNOT_ASK: u8 = 3;
const CANNOT_READ: u8 = 4;

/// How many bytes of each image are in memory at once.
const BUFFER_BYTES: u64 = 2 << 20;
/// The progress is shown in steps of so many percent.
const STEP_PERCENT: f64 = 2.0;

/// What a comparison found: a line to print, and whether the images are the same.
type Verdict = (String, bool);

pub(crate) fn run(program: &str, arguments: Vec<OsString>) -> Outcome<ExitCode> {
    let args: Args = args::parse("compare", program, arguments)?;
    args::check_cache_mode(args.cache.as_deref())?;
    let [first, second] = &args.names[..] else {
        return Err(Failure::usage("compare", "expecting two image file names"));
    };
    let open = |name: &String, format: &Option<String>| {
        let (image_opts, force_share) = (args.image_opts, args.force_share);
        let named = Named { name: name.clone(), format: format.clone(), image_opts, force_share };
        named.open(program, Purpose::READ).map_err(|failure| failure.with_code(CANNOT_OPEN))
    };
    let images = [open(first, &args.a_format)?, open(second, &args.b_format)?];
    let mut progress = args.talk.progress(STEP_PERCENT)?;
    let chains = [Chain::of(&images[0]), Chain::of(&images[1])];
    let cursors = [Cursor::new(&chains[0]), Cursor::new(&chains[1])];
    let mut comparison = Comparison { images: &images, cursors, strict: args.strict, quiet: args.talk.quiet };
    let (line, is_same) = comparison.judge(&mut progress)?;
    say(args.talk.quiet, &line)?;
    progress.end()?;
    Ok(ExitCode::from(if is_same { 0 } else { DIFFERENT }))
}

fn say(quiet: bool, line: &str) -> Outcome<()> {
    if quiet { Ok(()) } else { output::line(line) }
}

#[derive(Debug)]
struct Comparison<'a> {
    images: &'a [Image; 2],
    cursors: [Cursor<'a>; 2],
    strict: bool,
    quiet: bool,
}

impl Comparison<'_> {
    fn judge(&mut self, progress: &mut Progress) -> Outcome<Verdict> {
        let sizes = [self.images[0].size(), self.images[1].size()];
        let (common, all) = (sizes[0].min(sizes[1]), sizes[0].max(sizes[1]));
        if self.strict && common < all {
            return Ok(("Strict mode: Image size mismatch!".to_owned(), false));
        }
        let mut at = 0;
        while at < common {
            let rest = Extent::between(at, common);
            let (length, verdict) = self.compare_run(rest)?;
            if let Some(verdict) = verdict {
                return Ok(verdict);
            }
            at += length;
            progress.set(at, all)?;
        }
        if common < all {
            say(self.quiet, "Warning: Image size mismatch!")?;
            let longer = usize::from(sizes[1] > sizes[0]);
            if let Some(verdict) = self.search_rest(longer, common, all, progress)? {
                return Ok(verdict);
            }
        }
        Ok(("Images are identical.".to_owned(), true))
    }

    /// Compares a first part of `extent`; its length, and the verdict if there is a difference.
    fn compare_run(&mut self, extent: Extent) -> Outcome<(u64, Option<Verdict>)> {
        let a = self.status(0, extent)?;
        let b = self.status(1, extent)?;
        let mut length = a.length.min(b.length);
        if self.strict && (a.present, a.zero, a.data) != (b.present, b.zero, b.data) {
            let line = format!("Strict mode: Offset {} block status mismatch!", extent.offset);
            return Ok((length, Some((line, false))));
        }
        if a.zero && b.zero {
            return Ok((length, None));
        }
        length = length.min(BUFFER_BYTES);
        let first = self.read(0, extent.offset, length)?;
        let second = self.read(1, extent.offset, length)?;
        let differs = first_difference(&first, &second);
        Ok((length, differs.map(|sector| mismatch(extent.offset + sector))))
    }

    /// Looks for anything but zeroes behind the end of the shorter image.
    fn search_rest(
        &mut self,
        longer: usize,
        from: u64,
        to: u64,
        progress: &mut Progress,
    ) -> Outcome<Option<Verdict>> {
        let mut at = from;
        while at < to {
            let status = self.status(longer, Extent::between(at, to))?;
            let mut length = status.length;
            if status.present && !status.zero {
                length = length.min(BUFFER_BYTES);
                let bytes = self.read(longer, at, length)?;
                if let Some(sector) = first_difference(&bytes, &vec![0; bytes.len()]) {
                    return Ok(Some(mismatch(at + sector)));
                }
            }
            at += length;
            progress.set(at, to)?;
        }
        Ok(None)
    }

    fn status(&mut self, index: usize, extent: Extent) -> Outcome<Status> {
        let status = self.cursors[index].status(extent);
        status.map_err(|error| self.failed(index, &error, CANNOT_ASK))
    }

    fn read(&self, index: usize, offset: u64, length: u64) -> Outcome<Vec<u8>> {
        let mut bytes = vec![0; length as usize];
        let read = self.images[index].read(offset, &mut bytes);
        read.map_err(|error| self.failed(index, &error, CANNOT_READ))?;
        Ok(bytes)
    }

    fn failed(&self, index: usize, error: &blk_core::Error, code: u8) -> Failure {
        Failure::of(&self.images[index].name, error).with_code(code)
    }
}

fn mismatch(offset: u64) -> Verdict {
    (format!("Content mismatch at offset {offset}!"), false)
}

/// Where the first sector starts that differs.
fn first_difference(a: &[u8], b: &[u8]) -> Option<u64> {
    if a == b {
        return None;
    }
    let mut sectors = a.chunks(SECTOR_BYTES as usize).zip(b.chunks(SECTOR_BYTES as usize));
    sectors.position(|(a, b)| a != b).map(|sector| sector as u64 * SECTOR_BYTES)
}
