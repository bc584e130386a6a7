//! `bench`: measures how fast requests are answered.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use blk_core::{Result, WriteFlags};
use clap::Parser;

use super::args::{self, OneImage};
use super::failure::{Failure, Outcome};
use super::image::{Image, Named, Purpose};
use super::output;
use super::size::{parse, parse_count, parse_up_to};

/// Measures how fast requests are answered
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
#[derive(Debug, Parser)]
#[command(args_override_self = true, infer_long_args = true)]
pub(super) struct Args {
    #[command(flatten)]
    image: OneImage,
    /// Cache mode of the image
    #[arg(short = 't', long, value_name = "MODE")]
    cache: Option<String>,
    /// How many requests
    #[arg(short, long, default_value = "75000")]
    count: String,
    /// How many of them at once
    #[arg(short, long, default_value = "64")]
    depth: String,
    /// Where the first request starts
    #[arg(short, long, default_value = "0")]
    offset: String,
    /// Bytes of a request
    #[arg(short = 's', long, default_value = "4096")]
    buffer_size: String,
    /// How far the next request is from the one before; the bytes of a request where it is not given
    #[arg(short = 'S', long)]
    step_size: Option<String>,
    /// How the host is asked: threads, native or `io_uring`; without effect, threads ask it
    #[arg(short = 'i', long)]
    aio: Option<String>,
    /// The same as -i native
    #[arg(short, long)]
    native: bool,
    /// Write instead of reading
    #[arg(short, long)]
    write: bool,
    /// The byte that is written
    #[arg(long, default_value = "0")]
    pattern: String,
    /// Flush after so many writes
    #[arg(long)]
    flush_interval: Option<String>,
    /// Flush without waiting for what is under way; requests are always waited for here
    #[arg(long = "no-drain")]
    _no_drain: bool,
    /// Print nothing but the result
    #[arg(short, long)]
    quiet: bool,
    /// Others may write the image meanwhile
    #[arg(short = 'U', long)]
    force_share: bool,
}

/// Largest value of a number on the command line.
const NUMBER_MAX: u64 = i32::MAX as u64;
/// Most threads; a deeper queue has requests waiting for one.
const THREADS_MAX: u64 = 64;

/// What is asked.
#[derive(Debug, Clone, Copy)]
struct Load {
    count: u64,
    depth: u64,
    offset: u64,
    buffer_bytes: u64,
    step_bytes: u64,
    /// The byte that is written; `None` to read.
    pattern: Option<u8>,
    /// Writes between flushes; 0 for none.
    flush_interval: u64,
}

pub(crate) fn run(program: &str, arguments: Vec<OsString>) -> Outcome<ExitCode> {
    let args: Args = args::parse("bench", program, arguments)?;
    let cache = args::cache_mode(args.cache.as_deref())?;
    let load = Load::of(&args)?;
    let name = args.image.name("bench")?;
    let named = Named { force_share: args.force_share, cache, ..args.image.named(name) };
    let purpose = Purpose { write: args.write, ..Purpose::READ };
    let image = named.open(program, purpose)?;
    load.announce()?;
    let started = Instant::now();
    load.run(&image).map_err(|error| Failure::new(format!("a request failed: {error}")))?;
    let seconds = started.elapsed().as_secs_f64();
    output::line(&format!("Run completed in {seconds:3.3} seconds."))?;
    if args.write {
        image.close()?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Load {
    fn of(args: &Args) -> Outcome<Self> {
        check_aio(args)?;
        let count = parse_count("request count", &args.count, 1, NUMBER_MAX)?;
        let depth = parse_count("queue depth", &args.depth, 1, NUMBER_MAX)?;
        let buffer_bytes = parse_up_to("buffer size", &args.buffer_size, 1, NUMBER_MAX)?;
        let offset = parse("offset", &args.offset)?;
        let step = args.step_size.as_deref();
        let step_bytes = step.map_or(Ok(0), |step| parse_up_to("step size", step, 0, NUMBER_MAX))?;
        let pattern = parse_count("pattern byte", &args.pattern, 0, 255)? as u8;
        let interval = args.flush_interval.as_deref();
        let flush_interval =
            interval.map_or(Ok(0), |interval| parse_count("flush interval", interval, 0, NUMBER_MAX))?;
        if flush_interval > 0 && !args.write {
            return Err(Failure::new("--flush-interval goes with -w only"));
        }
        if flush_interval > 0 && flush_interval < depth {
            return Err(Failure::new("the flush interval cannot be smaller than the queue depth"));
        }
        Ok(Self {
            count,
            depth,
            offset,
            buffer_bytes,
            step_bytes: if step_bytes == 0 { buffer_bytes } else { step_bytes },
            pattern: args.write.then_some(pattern),
            flush_interval,
        })
    }

    fn announce(&self) -> Outcome<()> {
        let kind = if self.pattern.is_some() { "write" } else { "read" };
        output::line(&format!(
            "Sending {} {kind} requests, {} bytes each, {} in parallel (starting at offset {}, step size {})",
            self.count, self.buffer_bytes, self.depth, self.offset, self.step_bytes
        ))?;
        if self.flush_interval > 0 {
            output::line(&format!("Sending flush every {} requests", self.flush_interval))?;
        }
        Ok(())
    }

    /// Sends all requests, flushing where that is wanted.
    fn run(&self, image: &Image) -> Result<()> {
        let group = if self.flush_interval > 0 { self.flush_interval } else { self.count };
        let mut first = 0;
        while first < self.count {
            let end = self.count.min(first + group);
            self.run_group(image, first, end)?;
            if self.flush_interval > 0 {
                image.disk.flush()?;
            }
            first = end;
        }
        Ok(())
    }

    /// Sends requests `first` to `end`, as many at once as the queue is deep.
    fn run_group(&self, image: &Image, first: u64, end: u64) -> Result<()> {
        let next = AtomicU64::new(first);
        let work = || -> Result<()> {
            let mut buffer = vec![self.pattern.unwrap_or(0); self.buffer_bytes as usize];
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= end {
                    return Ok(());
                }
                self.send(image, number, &mut buffer).inspect_err(|_| next.store(end, Ordering::Relaxed))?;
            }
        };
        let threads = self.depth.min(THREADS_MAX).min(end - first);
        thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let own = work();
            let ended = others.into_iter().map(|other| other.join().expect("a worker does not panic"));
            ended.fold(own, Result::and)
        })
    }

    fn send(&self, image: &Image, number: u64, buffer: &mut [u8]) -> Result<()> {
        let offset = self.place(image.size(), number);
        match self.pattern {
            None => image.disk.read(offset, buffer),
            Some(_) => image.disk.write(offset, buffer, WriteFlags::default()),
        }
    }

    /// Where a request goes. The first may lie anywhere, and fail; later ones wrap around at the end of the
    /// disk.
    fn place(&self, size: u64, number: u64) -> u64 {
        let room = size.saturating_sub(self.buffer_bytes);
        let straight = u128::from(self.offset) + u128::from(number) * u128::from(self.step_bytes);
        if straight <= u128::from(room) || number == 0 {
            return straight as u64;
        }
        if self.offset > room {
            return self.offset;
        }
        // From the offset to the last place that fits, then from the start of the disk.
        let in_first = (room - self.offset) / self.step_bytes + 1;
        let per_round = room / self.step_bytes + 1;
        (number - in_first) % per_round * self.step_bytes
    }
}

/// Requests go to the host by threads, whatever is asked for; what QEMU refuses is refused.
fn check_aio(args: &Args) -> Outcome<()> {
    match args.aio.as_deref() {
        None | Some("threads" | "native" | "io_uring") => {}
        Some(other) => {
            return Err(Failure::new(format!("'{other}' is none of threads, native, io_uring")));
        }
    }
    let is_native = args.native || args.aio.as_deref() == Some("native");
    if is_native && !args::cache_mode(args.cache.as_deref())?.direct {
        return Err(Failure::new("native requests need -t none or -t directsync"));
    }
    Ok(())
}
