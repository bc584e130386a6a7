//! Repairing what an inspection found.
//!
//! Write order: broken entries go first (nothing refers to what they name any more), then counts rise, then flags follow
//! them, then counts fall, each durable before the next; marks in the header last. A crash in between leaves an image that the
//! same repair finishes.

use blk_core::{Error, RepairMode, Result, Storage};

use super::inspect;
use super::walk::{Fix, Walk};
use crate::geometry::Geometry;
use crate::header::{Header, REFCOUNT_TABLE_BYTES_MAX};
use crate::pointer_table;
use crate::refcount::{count_at, set_count_at};

/// Which way counts may go in one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// Broken entries can hide one another; a few rounds settle all that can be settled.
const ROUNDS_MAX: usize = 4;

/// Repairs what `mode` allows. `fixes` are those of the first inspection. The caller inspects again afterwards.
pub(super) fn repair(
    storage: &dyn Storage,
    header: &mut Header,
    fixes: &[Fix],
    mode: RepairMode,
) -> Result<()> {
    if mode == RepairMode::Leaks {
        let walk = inspect(storage, header)?;
        return if walk.refcounts_unusable { Ok(()) } else { write_counts(&walk, Direction::Down) };
    }
    apply(storage, fixes)?;
    for _ in 0..ROUNDS_MAX {
        let walk = inspect(storage, header)?;
        if walk.report.is_clean() {
            return Ok(());
        }
        if walk.refcounts_unusable {
            let rebuilt = Rebuilt::plan(&walk)?;
            rebuilt.write(&walk)?;
            rebuilt.publish(storage, header)?;
            continue;
        }
        write_counts(&walk, Direction::Up)?;
        apply(storage, &walk.fixes)?;
        write_counts(&walk, Direction::Down)?;
    }
    Ok(())
}

/// Clears the dirty and corrupt bits: nothing is wrong any more.
pub(super) fn clear_marks(storage: &dyn Storage, header: &mut Header) -> Result<()> {
    if !header.is_dirty() && !header.is_corrupt() {
        return Ok(());
    }
    header.set_dirty(false);
    header.set_corrupt(false);
    storage.sync()?;
    header.write_fixed(storage)?;
    storage.sync()
}

fn apply(storage: &dyn Storage, fixes: &[Fix]) -> Result<()> {
    for fix in fixes {
        storage.write_at(fix.host_offset, &fix.entry.to_be_bytes())?;
    }
    if fixes.is_empty() { Ok(()) } else { storage.sync() }
}

/// Writes counted references over stored counts, as far as they go in one direction.
fn write_counts(walk: &Walk<'_>, direction: Direction) -> Result<()> {
    let geometry = walk.geometry;
    let table = walk.refcount_table()?;
    let mut changed = false;
    let mut block = vec![0; geometry.cluster_bytes() as usize];
    for (index, offset) in table.entries().iter().copied().enumerate().filter(|(_, offset)| *offset != 0) {
        walk.storage.read_at(offset, &mut block)?;
        let before = block.clone();
        for entry in 0..geometry.block_entries() {
            let cluster = index as u64 * geometry.block_entries() + entry;
            let counted = walk.counts.get(cluster as usize).map_or(0, |count| u64::from(*count));
            let stored = count_at(&block, entry, geometry.refcount_order());
            let wanted = match direction {
                Direction::Up => stored < counted,
                Direction::Down => stored > counted,
            };
            if wanted && counted <= geometry.refcount_max() {
                set_count_at(&mut block, entry, geometry.refcount_order(), counted);
            }
        }
        if block != before {
            walk.storage.write_at(offset, &block)?;
            changed = true;
        }
    }
    if changed { walk.storage.sync() } else { Ok(()) }
}

/// New refcount structures behind the end of the file.
#[derive(Debug)]
struct Rebuilt {
    geometry: Geometry,
    first_cluster: u64,
    table_clusters: u64,
    /// The range numbers that get a block: those in which something is counted.
    ranges: Vec<u64>,
}

impl Rebuilt {
    /// Chooses which ranges need a block: those with a counted cluster, and those that the new structures lie in.
    fn plan(walk: &Walk<'_>) -> Result<Self> {
        let geometry = walk.geometry;
        let entries = geometry.block_entries();
        let kept = |cluster: usize| kept_count(walk, cluster) > 0;
        let mut ranges: Vec<u64> =
            (0..walk.counts.len()).filter(|cluster| kept(*cluster)).map(|c| c as u64 / entries).collect();
        ranges.dedup();
        let first_cluster = walk.clusters();
        let mut table_clusters = 1;
        let old_ranges = ranges.clone();
        loop {
            let end = first_cluster + table_clusters + ranges.len() as u64;
            let mut wanted = old_ranges.clone();
            wanted.extend(first_cluster / entries..=(end - 1) / entries);
            wanted.sort_unstable();
            wanted.dedup();
            let needed = geometry.clusters_of((wanted.last().copied().unwrap_or(0) + 1) * 8);
            if wanted == ranges && needed <= table_clusters {
                break;
            }
            table_clusters = table_clusters.max(needed);
            ranges = wanted;
        }
        if table_clusters * geometry.cluster_bytes() > REFCOUNT_TABLE_BYTES_MAX {
            return Err(Error::NoSpace { what: "the refcount table would be larger than 8 MiB".into() });
        }
        Ok(Self { geometry, first_cluster, table_clusters, ranges })
    }

    fn end_cluster(&self) -> u64 {
        self.first_cluster + self.table_clusters + self.ranges.len() as u64
    }

    fn write(&self, walk: &Walk<'_>) -> Result<()> {
        let bits = self.geometry.cluster_bits();
        let mut table = vec![0; (self.table_clusters * self.geometry.cluster_bytes() / 8) as usize];
        for (number, range) in self.ranges.iter().enumerate() {
            let block_cluster = self.first_cluster + self.table_clusters + number as u64;
            table[*range as usize] = block_cluster << bits;
            walk.storage.write_at(block_cluster << bits, &self.block(walk, *range))?;
        }
        walk.storage.write_at(self.first_cluster << bits, &pointer_table::encode(&table))?;
        walk.storage.sync()
    }

    fn block(&self, walk: &Walk<'_>, range: u64) -> Vec<u8> {
        let mut block = vec![0; self.geometry.cluster_bytes() as usize];
        let first = range * self.geometry.block_entries();
        for index in 0..self.geometry.block_entries() {
            let cluster = first + index;
            let count = if (self.first_cluster..self.end_cluster()).contains(&cluster) {
                1
            } else if cluster < walk.clusters() {
                kept_count(walk, cluster as usize)
            } else {
                0
            };
            let fits = count.min(self.geometry.refcount_max());
            set_count_at(&mut block, index, self.geometry.refcount_order(), fits);
        }
        block
    }

    fn publish(&self, storage: &dyn Storage, header: &mut Header) -> Result<()> {
        header.refcount_table_offset = self.first_cluster << self.geometry.cluster_bits();
        header.refcount_table_clusters = self.table_clusters as u32;
        header.write_fixed(storage)?;
        storage.sync()
    }
}

/// References to a cluster besides those of the refcount structures that are given up.
fn kept_count(walk: &Walk<'_>, cluster: usize) -> u64 {
    u64::from(walk.counts[cluster] - walk.own_counts[cluster])
}
