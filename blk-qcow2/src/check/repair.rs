//! Repairing what an inspection found.
//!
//! Write order: counts rise, then entries and flags are mended, then counts fall, each durable before the next; marks in the
//! header go last. A crash in between leaves an image that the same repair finishes.

use blk_core::{CheckReport, Result, Storage};

use super::inspect;
use super::rebuild::Rebuilt;
use super::separate;
use super::walk::{Fix, Walk};
use crate::header::Header;
use crate::ondisk::AUTOCLEAR_BITMAPS;
use crate::refcount::{count_at, set_count_at};

/// Which way counts may go in one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// Broken entries can hide one another; a few rounds settle all that can be settled.
const ROUNDS_MAX: usize = 8;

/// `RepairMode::Leaks`: lowers counts that are too high. What is still wrong is returned.
pub(super) fn leaks(storage: &dyn Storage, header: &Header, walk: &Walk<'_>) -> Result<CheckReport> {
    if walk.refcounts_unusable || walk.incomplete || walk.report.leaks == 0 {
        return Ok(walk.report.clone());
    }
    write_counts(walk, Direction::Down)?;
    Ok(inspect(storage, header)?.report)
}

/// `RepairMode::All`: repairs all that can be. What is still wrong is returned.
pub(super) fn all<'a>(storage: &'a dyn Storage, header: &mut Header, first: Walk<'a>) -> Result<CheckReport> {
    let mut copies_max = first.clusters();
    let mut walk = first;
    for _ in 0..ROUNDS_MAX {
        if walk.report.is_clean() {
            break;
        }
        round(&walk, header, &mut copies_max)?;
        walk = inspect(storage, header)?;
    }
    Ok(walk.report)
}

/// Does what can be done about the findings of one inspection.
fn round(walk: &Walk<'_>, header: &mut Header, copies_max: &mut u64) -> Result<()> {
    if walk.bitmaps_unusable {
        // Without this bit all bitmaps are out of date, and their clusters leaks.
        header.autoclear &= !AUTOCLEAR_BITMAPS;
        header.write_fixed(walk.storage)?;
        return walk.storage.sync();
    }
    if separate::house(walk, copies_max)? || separate::separate(walk, copies_max)? {
        return Ok(());
    }
    if !walk.refcounts_unusable {
        write_counts(walk, Direction::Up)?;
        apply(walk.storage, &walk.fixes)?;
        return if walk.incomplete { Ok(()) } else { write_counts(walk, Direction::Down) };
    }
    if !walk.incomplete {
        Rebuilt::write(walk.storage, header)?;
    }
    apply(walk.storage, &walk.fixes)
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

/// Writes entries as they should be, durably.
pub(super) fn apply(storage: &dyn Storage, fixes: &[Fix]) -> Result<()> {
    for fix in fixes {
        storage.write_at(fix.host_offset, &fix.entry.to_be_bytes())?;
    }
    if fixes.is_empty() { Ok(()) } else { storage.sync() }
}

/// Writes counted references over stored counts, durably, as far as they go in one direction.
fn write_counts(walk: &Walk<'_>, direction: Direction) -> Result<()> {
    let mut is_changed = false;
    let mut bytes = vec![0; walk.geometry.cluster_bytes() as usize];
    for (index, &block) in walk.blocks.iter().enumerate().filter(|(_, block)| **block != 0) {
        walk.storage.read_at(block, &mut bytes)?;
        if correct_block(walk, index as u64, &mut bytes, direction) {
            walk.storage.write_at(block, &bytes)?;
            is_changed = true;
        }
    }
    if is_changed { walk.storage.sync() } else { Ok(()) }
}

fn correct_block(walk: &Walk<'_>, index: u64, block: &mut [u8], direction: Direction) -> bool {
    let geometry = walk.geometry;
    let order = geometry.refcount_order();
    let first = index * geometry.block_entries();
    let mut is_changed = false;
    for entry in 0..geometry.block_entries() {
        let counted = walk.counts.get((first + entry) as usize).map_or(0, |count| u64::from(*count));
        let wanted = counted.min(geometry.refcount_max());
        let stored = count_at(block, entry, order);
        let is_wrong = match direction {
            Direction::Up => stored < wanted,
            Direction::Down => stored > wanted,
        };
        if is_wrong {
            set_count_at(block, entry, order, wanted);
            is_changed = true;
        }
    }
    is_changed
}
