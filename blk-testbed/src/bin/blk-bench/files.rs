//! The qcow2 driver over a file on tmpfs, beside plain reads and writes of a file: 1 GiB, clusters of 64 KiB,
//! queue depth 1.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use blk_core::{Access, DenyResolver, Disk, FileStorage, MapResolver, Options, Storage, WriteFlags};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::in_flight;
use super::{median, per_second, print};

pub(super) const DISK_BYTES: u64 = 1 << 30;
const TIME: Duration = Duration::from_millis(700);
const ROUNDS: usize = 5;
const PAGE_BYTES: usize = 4096;
pub(super) const BLOCK_BYTES: u64 = 4096;
/// Blocks that an allocating run writes.
const ALLOCATING_BLOCKS: usize = 16_384;
const ALLOCATING_CLUSTERS: u64 = 4096;

/// What is measured: a plain file, or our driver over one.
pub(super) trait Side: Sync {
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()>;
    fn write(&self, offset: u64, buf: &[u8]) -> Result<()>;
}

impl Side for File {
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        Ok(self.read_exact_at(buf, offset)?)
    }

    fn write(&self, offset: u64, buf: &[u8]) -> Result<()> {
        Ok(self.write_all_at(buf, offset)?)
    }
}

impl Side for Disk {
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        Ok(Disk::read(self, offset, buf)?)
    }

    fn write(&self, offset: u64, buf: &[u8]) -> Result<()> {
        Ok(Disk::write(self, offset, buf, WriteFlags::default())?)
    }
}

/// A buffer that starts at a page: one that does not makes reads of tmpfs several times slower.
pub(super) struct Pages {
    bytes: Vec<u8>,
    start: usize,
}

impl Pages {
    pub(super) fn new(length: usize) -> Self {
        let bytes = vec![0x5a; length + PAGE_BYTES];
        let start = bytes.as_ptr().addr().next_multiple_of(PAGE_BYTES) - bytes.as_ptr().addr();
        Self { bytes, start }
    }

    pub(super) fn get(&mut self, length: usize) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + length]
    }
}

/// Files that are gone when this is.
struct Files {
    plain: PathBuf,
    image: PathBuf,
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.plain);
        let _ = std::fs::remove_file(&self.image);
    }
}

impl Files {
    fn fresh_plain(&self) -> Result<File> {
        let _ = std::fs::remove_file(&self.plain);
        let file = File::options().read(true).write(true).create_new(true).open(&self.plain);
        let file = file.with_context(|| format!("cannot make {}", self.plain.display()))?;
        file.set_len(DISK_BYTES)?;
        Ok(file)
    }

    /// An image over the plain file.
    fn fresh_overlay(&self, is_extended: bool) -> Result<Disk> {
        let _ = std::fs::remove_file(&self.image);
        let storage: Arc<dyn Storage> = Arc::new(FileStorage::create(&self.image)?);
        let extended = if is_extended { "on" } else { "off" };
        let options = Options::new().with("backing_file", "plain").with("extended_l2", extended);
        blk_qcow2::FORMAT.create(&storage, DISK_BYTES, options)?;
        let below: Arc<dyn Storage> = Arc::new(FileStorage::open(&self.plain, Access::ReadOnly)?);
        let below = blk_raw::FORMAT.open(below, Access::ReadOnly, Options::new(), &DenyResolver)?;
        let mut resolver = MapResolver::default();
        resolver.insert("plain", Arc::new(below));
        Ok(blk_qcow2::FORMAT.open(storage, Access::ReadWrite, Options::new(), &resolver)?)
    }

    fn fresh_image(&self) -> Result<Disk> {
        let _ = std::fs::remove_file(&self.image);
        let storage: Arc<dyn Storage> = Arc::new(FileStorage::create(&self.image)?);
        blk_qcow2::FORMAT.create(&storage, DISK_BYTES, Options::new())?;
        Ok(blk_qcow2::FORMAT.open(storage, Access::ReadWrite, Options::new(), &DenyResolver)?)
    }
}

pub(super) fn run(folder: &Path) -> Result<()> {
    let name = format!("blk-bench-{}", std::process::id());
    let files =
        Files { plain: folder.join(format!("{name}.raw")), image: folder.join(format!("{name}.qcow2")) };
    let mut pages = Pages::new(1 << 20);
    allocating(&files, &mut pages)?;
    over_a_backing_file(&files, &mut pages)?;
    let (plain, image) = (files.fresh_plain()?, files.fresh_image()?);
    for side in [&plain as &dyn Side, &image] {
        for at in (0..DISK_BYTES).step_by(1 << 20) {
            side.write(at, pages.get(1 << 20))?;
        }
    }
    let sides: [(&str, &dyn Side); 2] = [("plain", &plain), ("blk", &image)];
    compare("read_4k", &sides, |side| random(side, &mut pages, false))?;
    compare("write_4k", &sides, |side| random(side, &mut pages, true))?;
    compare("read_64k", &sides, |side| sequential(side, &mut pages, 64 << 10, false))?;
    compare("read_1m", &sides, |side| sequential(side, &mut pages, 1 << 20, false))?;
    compare("write_1m", &sides, |side| sequential(side, &mut pages, 1 << 20, true))?;
    compare("read_4k_16", &sides, |side| in_flight::reads(side, in_flight::DEPTH))
}

/// Measures all sides in turns, so that they meet the same noise.
pub(super) fn compare(
    name: &str,
    sides: &[(&str, &dyn Side)],
    mut measure: impl FnMut(&dyn Side) -> Result<f64>,
) -> Result<()> {
    let mut rates = vec![Vec::new(); sides.len()];
    for _ in 0..ROUNDS {
        for ((_, side), rates) in sides.iter().zip(&mut rates) {
            rates.push(measure(*side)?);
        }
    }
    for ((prefix, _), rates) in sides.iter().zip(rates) {
        print(&format!("{prefix}_{name}"), median(rates));
    }
    Ok(())
}

fn access(side: &dyn Side, write: bool, at: u64, buf: &mut [u8]) -> Result<()> {
    if write { side.write(at, buf) } else { side.read(at, buf) }
}

pub(super) fn random(side: &dyn Side, pages: &mut Pages, write: bool) -> Result<f64> {
    let mut rng = SmallRng::seed_from_u64(2);
    let buf = pages.get(BLOCK_BYTES as usize);
    per_second(TIME, || {
        for _ in 0..1000 {
            let at = rng.random_range(0..DISK_BYTES / BLOCK_BYTES) * BLOCK_BYTES;
            access(side, write, at, buf)?;
        }
        Ok(1000)
    })
}

pub(super) fn sequential(side: &dyn Side, pages: &mut Pages, length: u64, write: bool) -> Result<f64> {
    let buf = pages.get(length as usize);
    let mut at = 0;
    per_second(TIME, || {
        for _ in 0..100 {
            access(side, write, at, buf)?;
            at = (at + length) % DISK_BYTES;
        }
        Ok(100)
    })
}

/// Where small allocating writes go.
fn small_offsets() -> Vec<u64> {
    let mut blocks: Vec<u64> = (0..DISK_BYTES / BLOCK_BYTES).collect();
    blocks.shuffle(&mut SmallRng::seed_from_u64(3));
    blocks.truncate(ALLOCATING_BLOCKS);
    blocks.iter().map(|block| block * BLOCK_BYTES).collect()
}

/// Small writes that allocate over a full backing file, with plain L2 entries, where each copies the rest of
/// its cluster, and with extended ones.
fn over_a_backing_file(files: &Files, pages: &mut Pages) -> Result<()> {
    let plain = files.fresh_plain()?;
    for at in (0..DISK_BYTES).step_by(1 << 20) {
        plain.write_all_at(pages.get(1 << 20), at)?;
    }
    drop(plain);
    let mut rates = [Vec::new(), Vec::new()];
    for round in 0..2 * ROUNDS {
        let is_extended = round % 2 == 1;
        let image = files.fresh_overlay(is_extended)?;
        rates[usize::from(is_extended)].push(write_once(&image, &small_offsets(), pages.get(4096))?);
    }
    let [plain, extended] = rates;
    print("plain_entries_alloc_4k", median(plain));
    print("blk_alloc_4k_subclusters", median(extended));
    Ok(())
}

/// Writes that allocate: each round on a fresh image, and on a fresh sparse file.
fn allocating(files: &Files, pages: &mut Pages) -> Result<()> {
    let small = small_offsets();
    let large: Vec<u64> = (0..ALLOCATING_CLUSTERS).map(|cluster| cluster << 16).collect();
    for (name, offsets, length) in [("alloc_4k", small, BLOCK_BYTES), ("alloc_64k", large, 64 << 10)] {
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            let plain = files.fresh_plain()?;
            rates[0].push(write_once(&plain, &offsets, pages.get(length as usize))?);
            let image = files.fresh_image()?;
            rates[1].push(write_once(&image, &offsets, pages.get(length as usize))?);
        }
        let [plain, ours] = rates;
        print(&format!("plain_{name}"), median(plain));
        print(&format!("blk_{name}"), median(ours));
    }
    Ok(())
}

fn write_once(side: &dyn Side, offsets: &[u64], buf: &[u8]) -> Result<f64> {
    let started = Instant::now();
    for offset in offsets {
        side.write(*offset, buf)?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than a few digits")]
    Ok(offsets.len() as f64 / started.elapsed().as_secs_f64())
}
