//! imago over a file on tmpfs, beside plain reads and writes of a file: 1 GiB, clusters of 64 KiB, queue
//! depth 1.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use imago::qcow2::Qcow2;
use imago::{
    DenyImplicitOpenGate, FormatAccess, FormatCreateBuilder, FormatDriverBuilder, StorageOpenOptions,
};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::in_flight::{self, DEPTH};
use crate::measure::{median, per_second, print, rate};
use crate::pages::Pages;
use crate::qemu;

pub(crate) const DISK_BYTES: u64 = 1 << 30;
pub(crate) const BLOCK_BYTES: u64 = 4096;
const CLUSTER_BYTES: usize = 64 << 10;
const TIME: Duration = Duration::from_millis(700);
const ROUNDS: usize = 5;
/// Blocks and clusters that an allocating run writes.
const ALLOCATING_BLOCKS: usize = 16_384;
const ALLOCATING_CLUSTERS: u64 = 4096;

type Image = FormatAccess<imago::file::File>;

/// What is measured: a plain file, or a driver over one.
pub(crate) trait Side: Sync {
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

impl Side for Image {
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        Ok(FormatAccess::read(self, buf, offset)?)
    }

    fn write(&self, offset: u64, buf: &[u8]) -> Result<()> {
        Ok(FormatAccess::write(self, buf, offset)?)
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
        let file = fresh(&self.plain)?;
        file.set_len(DISK_BYTES)?;
        Ok(file)
    }

    fn fresh_image(&self) -> Result<Image> {
        let file = fresh(&self.image)?;
        let storage = |file| imago::file::File::from_open_file(file, StorageOpenOptions::new().write(true));
        let builder = Qcow2::<imago::file::File>::create_builder(storage(file.try_clone()?)?);
        builder.size(DISK_BYTES).cluster_size(CLUSTER_BYTES).create()?;
        let builder = Qcow2::<imago::file::File>::builder(storage(file)?).write(true);
        Ok(FormatAccess::new(builder.open(DenyImplicitOpenGate::default())?))
    }
}

fn fresh(path: &Path) -> Result<File> {
    let _ = std::fs::remove_file(path);
    let file = File::options().read(true).write(true).create_new(true).open(path);
    file.with_context(|| format!("cannot make {}", path.display()))
}

pub(crate) fn run(folder: &Path) -> Result<()> {
    let name = format!("peers-{}", std::process::id());
    let files =
        Files { plain: folder.join(format!("{name}.raw")), image: folder.join(format!("{name}.qcow2")) };
    let mut pages = Pages::new(1 << 20);
    allocating(&files, &mut pages)?;
    {
        let (plain, image) = (files.fresh_plain()?, files.fresh_image()?);
        for side in [&plain as &dyn Side, &image] {
            for at in (0..DISK_BYTES).step_by(1 << 20) {
                side.write(at, pages.get(1 << 20))?;
            }
        }
        let sides: [(&str, &dyn Side); 2] = [("plain", &plain), ("imago", &image)];
        compare("read_4k", sides, |side| random(side, &mut pages, false))?;
        compare("write_4k", sides, |side| random(side, &mut pages, true))?;
        compare("read_64k", sides, |side| sequential(side, &mut pages, 64 << 10))?;
        compare("read_1m", sides, |side| sequential(side, &mut pages, 1 << 20))?;
        image.flush()?;
        compare("read_4k_16", sides, |side| in_flight::threads(side, DEPTH))?;
    }
    for (name, tasks) in [("qcow2_rs_read_4k", 1), ("qcow2_rs_read_4k_16", DEPTH)] {
        let rates: Result<Vec<f64>> = (0..ROUNDS).map(|_| in_flight::qcow2_rs(&files.image, tasks)).collect();
        print(name, median(rates?));
    }
    qemu::run(&files.image)
}

/// Measures both sides in turns, so that both meet the same noise.
fn compare(
    name: &str,
    sides: [(&str, &dyn Side); 2],
    mut measure: impl FnMut(&dyn Side) -> Result<f64>,
) -> Result<()> {
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (rates, (_, side)) in rates.iter_mut().zip(sides) {
            rates.push(measure(side)?);
        }
    }
    for ((prefix, _), rates) in sides.iter().zip(rates) {
        print(&format!("{prefix}_{name}"), median(rates));
    }
    Ok(())
}

fn random(side: &dyn Side, pages: &mut Pages, write: bool) -> Result<f64> {
    let mut rng = SmallRng::seed_from_u64(2);
    let buf = pages.get(BLOCK_BYTES as usize);
    per_second(TIME, || {
        for _ in 0..1000 {
            let at = rng.random_range(0..DISK_BYTES / BLOCK_BYTES) * BLOCK_BYTES;
            if write { side.write(at, buf)? } else { side.read(at, buf)? }
        }
        Ok(1000)
    })
}

fn sequential(side: &dyn Side, pages: &mut Pages, length: u64) -> Result<f64> {
    let buf = pages.get(length as usize);
    let mut at = 0;
    per_second(TIME, || {
        for _ in 0..100 {
            side.read(at, buf)?;
            at = (at + length) % DISK_BYTES;
        }
        Ok(100)
    })
}

/// Writes that allocate: each round on a fresh image, and on a fresh sparse file.
fn allocating(files: &Files, pages: &mut Pages) -> Result<()> {
    let mut blocks: Vec<u64> = (0..DISK_BYTES / BLOCK_BYTES).collect();
    blocks.shuffle(&mut SmallRng::seed_from_u64(3));
    blocks.truncate(ALLOCATING_BLOCKS);
    let small: Vec<u64> = blocks.iter().map(|block| block * BLOCK_BYTES).collect();
    let large: Vec<u64> = (0..ALLOCATING_CLUSTERS).map(|cluster| cluster << 16).collect();
    for (name, offsets, length) in [("alloc_4k", small, BLOCK_BYTES), ("alloc_64k", large, 64 << 10)] {
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            let plain = files.fresh_plain()?;
            rates[0].push(write_once(&plain, &offsets, pages.get(length as usize))?);
            let image = files.fresh_image()?;
            rates[1].push(write_once(&image, &offsets, pages.get(length as usize))?);
        }
        let [plain, imago] = rates;
        print(&format!("plain_{name}"), median(plain));
        print(&format!("imago_{name}"), median(imago));
    }
    Ok(())
}

fn write_once(side: &dyn Side, offsets: &[u64], buf: &[u8]) -> Result<f64> {
    let started = Instant::now();
    for offset in offsets {
        side.write(*offset, buf)?;
    }
    Ok(rate(offsets.len() as u64, started.elapsed()))
}
