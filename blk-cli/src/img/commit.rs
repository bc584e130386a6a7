//! `commit`: writes an image's changes to a disk below it.

use std::ffi::OsString;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use blk_core::{Extent, Overlay, Result, WriteFlags, ZeroFlags};
use clap::Parser;

use super::args::{self, OneImage, Talk};
use super::chain::{Chain, Status};
use super::failure::{Failure, Outcome};
use super::image::{Image, Named, Purpose};
use super::output;
use super::progress::Progress;
use super::size::{parse_up_to, ratio};

/// Writes an image's changes to a disk below it
#[derive(Debug, Parser)]
#[command(args_override_self = true, infer_long_args = true)]
pub(super) struct Args {
    #[command(flatten)]
    image: OneImage,
    /// Cache mode of the image
    #[arg(short = 't', long, value_name = "MODE")]
    cache: Option<String>,
    /// The disk that is written; the one right below where it is not given. The image keeps its content
    #[arg(short, long, value_name = "FILE")]
    base: Option<String>,
    /// The image keeps its content
    #[arg(short, long)]
    drop: bool,
    /// Most bytes a second
    #[arg(short, long, value_name = "BYTES")]
    rate: Option<String>,
    #[command(flatten)]
    talk: Talk,
}

const BUFFER_BYTES: u64 = 2 << 20;

pub(crate) fn run(program: &str, arguments: Vec<OsString>) -> Outcome<ExitCode> {
    let args: Args = args::parse("commit", program, arguments)?;
    args::check_cache_mode(args.cache.as_deref())?;
    let rate = args.rate.as_deref().map(|rate| parse_up_to("rate", rate, 1, u64::MAX)).transpose()?;
    let name = args.image.name("commit")?;
    let image = args.image.named(name).open(program, Purpose::WRITE)?;
    let chain = Chain::of(&image);
    let depth = base_depth(name, &chain, args.base.as_deref())?;
    let layer = &image.layers[depth];
    let purpose = Purpose { second: true, ..Purpose::WRITE };
    let base = Named::file(&*layer.name, Some(layer.format)).open(program, purpose)?;
    let progress = args.talk.progress(1.0)?;
    let commit = Commit { image: &image, chain: &chain, depth, base: &base, rate };
    commit.run(progress)?;
    base.close()?;
    if !args.drop && args.base.is_none() {
        let overlay = image.disk.driver().as_overlay();
        let emptied = overlay.map_or(Ok(()), Overlay::forget_content);
        emptied.map_err(|error| Failure::of(name, &error))?;
    }
    image.close()?;
    if !args.talk.quiet {
        output::line("Image committed.")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Which layer of the chain is written.
fn base_depth(name: &str, chain: &Chain, base: Option<&str>) -> Outcome<usize> {
    if chain.layers.len() < 2 {
        return Err(Failure::new(format!("'{name}' has no disk below")));
    }
    let Some(base) = base else { return Ok(1) };
    let below = chain.layers.iter().skip(1).position(|layer| layer.name == base);
    below.map(|index| index + 1).ok_or_else(|| Failure::new(format!("'{base}' is not below '{name}'")))
}

struct Commit<'a> {
    image: &'a Image,
    chain: &'a Chain,
    depth: usize,
    base: &'a Image,
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
        let status = self.chain.status_above(Extent::between(at, self.image.size()), self.depth)?;
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
        if status.zero {
            let flags = ZeroFlags { may_unmap: true, ..ZeroFlags::default() };
            return self.base.disk.write_zeroes(Extent::new(at, status.length), flags);
        }
        let mut bytes = vec![0; status.length as usize];
        self.image.read(at, &mut bytes)?;
        self.base.disk.write(at, &bytes, WriteFlags::default())
    }
}
