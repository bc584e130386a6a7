//! How each kind of work grows: over images with ten and a hundred times as many clusters, snapshots, layers.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use blk_core::{
    Access, DenyResolver, Disk, Extent, FileStorage, MapResolver, MemoryStorage, NewSnapshot, Options,
    RepairMode, Storage, WriteFlags,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{median, per_second, print};

const CLUSTER_BYTES: u64 = 64 << 10;
const CLUSTERS: [u64; 3] = [10_000, 100_000, 1_000_000];
const SNAPSHOTS: [u64; 3] = [100, 1_000, 10_000];
const LAYERS: [u64; 3] = [2, 20, 200];
const TIME: Duration = Duration::from_millis(300);
const ROUNDS: usize = 3;

/// A file that is gone when this is.
struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Prints how often a second `work` is done, under its name and the size.
fn measure(name: &str, size: u64, mut work: impl FnMut() -> Result<()>) -> Result<()> {
    let rates: Result<Vec<f64>> = (0..ROUNDS).map(|_| per_second(TIME, || work().map(|()| 1))).collect();
    print(&format!("growth_{name}_{size}"), median(rates?));
    Ok(())
}

fn open(storage: &Arc<dyn Storage>) -> Result<Disk> {
    Ok(blk_qcow2::FORMAT.open(Arc::clone(storage), Access::ReadWrite, Options::new(), &DenyResolver)?)
}

pub(super) fn run(folder: &Path) -> Result<()> {
    for clusters in CLUSTERS {
        of_clusters(folder, clusters)?;
    }
    for snapshots in SNAPSHOTS {
        of_snapshots(snapshots)?;
    }
    LAYERS.into_iter().try_for_each(of_layers)
}

/// An image all of whose clusters are allocated.
fn of_clusters(folder: &Path, clusters: u64) -> Result<()> {
    let file = File(folder.join(format!("blk-bench-{}.growth", std::process::id())));
    let _ = std::fs::remove_file(&file.0);
    let storage: Arc<dyn Storage> = Arc::new(FileStorage::create(&file.0)?);
    let options = Options::new().with("preallocation", "metadata");
    blk_qcow2::FORMAT.create(&storage, clusters * CLUSTER_BYTES, options)?;
    measure("open", clusters, || {
        black_box(open(&storage)?);
        Ok(())
    })?;
    let disk = open(&storage)?;
    let mut buf = vec![0x5a; 4096];
    let mut rng = SmallRng::seed_from_u64(1);
    // As many of each image, so that the host has as many pages.
    let visited: Vec<u64> = (0..1000).map(|_| rng.random_range(0..clusters) * CLUSTER_BYTES).collect();
    for at in &visited {
        disk.write(*at, &buf, WriteFlags::default())?;
    }
    measure("read_4k", clusters, || Ok(visited.iter().try_for_each(|at| disk.read(*at, &mut buf))?))?;
    measure("write_4k", clusters, || {
        Ok(visited.iter().try_for_each(|at| disk.write(*at, &buf, WriteFlags::default()))?)
    })?;
    measure("status", clusters, || {
        let mut at = 0;
        while at < disk.size() {
            at += black_box(disk.block_status(Extent::new(at, disk.size() - at))?).length;
        }
        Ok(())
    })?;
    measure("check", clusters, || {
        black_box(disk.check(RepairMode::None)?);
        Ok(())
    })?;
    Ok(disk.close()?)
}

/// An image with many snapshots of a few clusters.
fn of_snapshots(count: u64) -> Result<()> {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    blk_qcow2::FORMAT.create(&storage, 1 << 20, Options::new())?;
    let disk = open(&storage)?;
    let mut buf = vec![0x5a; 4096];
    disk.write(0, &buf, WriteFlags::default())?;
    let new = |name: String| NewSnapshot { name, ..NewSnapshot::default() };
    let snapshots = disk.as_snapshots().context("qcow2 has snapshots")?;
    for number in 1..count {
        snapshots.create_snapshot(&new(number.to_string()))?;
    }
    measure("snapshot_change", count, || {
        let id = snapshots.create_snapshot(&new("last".to_owned()))?;
        Ok(snapshots.delete_snapshot(&id)?)
    })?;
    measure("snapshot_list", count, || {
        black_box(snapshots.snapshots()?);
        Ok(())
    })?;
    measure("snapshot_read_4k", count, || Ok(disk.read(0, &mut buf)?))?;
    measure("snapshot_check", count, || {
        black_box(disk.check(RepairMode::None)?);
        Ok(())
    })?;
    disk.close()?;
    measure("snapshot_open", count, || {
        black_box(open(&storage)?);
        Ok(())
    })
}

/// A chain whose data lie in the base.
fn of_layers(count: u64) -> Result<()> {
    let size = 1 << 20;
    let storages: Vec<Arc<dyn Storage>> =
        (0..count).map(|_| Arc::new(MemoryStorage::new()) as Arc<dyn Storage>).collect();
    for (number, storage) in storages.iter().enumerate() {
        let options = if number == 0 { Options::new() } else { Options::new().with("backing_file", "below") };
        blk_qcow2::FORMAT.create(storage, size, options)?;
    }
    let mut buf = vec![0x5a; 4096];
    let base = open(&storages[0])?;
    base.write(0, &buf, WriteFlags::default())?;
    base.close()?;
    let open_chain = || -> Result<Arc<Disk>> {
        let mut below: Option<Arc<Disk>> = None;
        for storage in &storages {
            let mut resolver = MapResolver::default();
            if let Some(below) = below.take() {
                resolver.insert("below", below);
            }
            let opened =
                blk_qcow2::FORMAT.open(Arc::clone(storage), Access::ReadOnly, Options::new(), &resolver)?;
            below = Some(Arc::new(opened));
        }
        below.context("there is a layer")
    };
    measure("layers_open", count, || {
        black_box(open_chain()?);
        Ok(())
    })?;
    let top = open_chain()?;
    measure("layers_read_4k", count, || Ok(top.read(0, &mut buf)?))
}
