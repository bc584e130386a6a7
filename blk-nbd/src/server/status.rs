//! What a block status tells: of a disk and the disks behind it.

use std::sync::Arc;

use blk_core::{Disk, Extent, Result};

use super::Export;
use crate::wire::allocation;

/// Which question a block status answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Context {
    /// Holes and zeroes.
    Allocation,
    /// Which layer of the chain has the bytes: 1 for the first, 0 for none.
    Depth,
}

/// How often the disk is asked for one answer, which may be short.
const LOOKUPS_MAX: usize = 1 << 14;
/// The start of both names, for clients that ask for whatever there is.
const BASE: &str = "base:";
const QEMU: &str = "qemu:";

impl Context {
    /// Those that an export has.
    pub(super) fn of(export: &Export) -> Vec<Self> {
        if export.allocation_depth { vec![Self::Allocation, Self::Depth] } else { vec![Self::Allocation] }
    }

    /// The number that stands for it in a connection.
    pub(super) const fn id(self) -> u32 {
        match self {
            Self::Allocation => 1,
            Self::Depth => 2,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Allocation => "base:allocation",
            Self::Depth => "qemu:allocation-depth",
        }
    }

    /// Whether a query is for it: by its name, or in a list by its namespace.
    pub(super) fn is_meant_by(self, query: &str, lists: bool) -> bool {
        let namespace = match self {
            Self::Allocation => BASE,
            Self::Depth => QEMU,
        };
        query == self.name() || (lists && query == namespace)
    }

    fn flags(self, run: &Run) -> u64 {
        match self {
            Self::Allocation => {
                let hole = if run.has_data { 0 } else { allocation::HOLE };
                hole | if run.is_zero { allocation::ZERO } else { 0 }
            }
            Self::Depth => run.depth,
        }
    }

    /// The flags of the first runs of an extent, which is not empty; neighbours that are alike are one.
    pub(super) fn runs(self, disk: &Arc<Disk>, extent: Extent, runs_max: usize) -> Result<Vec<(u64, u64)>> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        let mut rest = extent;
        for _ in 0..LOOKUPS_MAX {
            if rest.is_empty() {
                break;
            }
            let run = first_run(disk, rest)?;
            let flags = self.flags(&run);
            let is_full = runs.len() == runs_max;
            match runs.last_mut() {
                Some((length, last)) if *last == flags => *length += run.length,
                _ if is_full => break,
                _ => runs.push((run.length, flags)),
            }
            rest = Extent::between(rest.offset + run.length, rest.end());
        }
        Ok(runs)
    }
}

/// Bytes that are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) length: u64,
    /// Which layer has them, from 1 on; 0 where none has.
    depth: u64,
    has_data: bool,
    pub(super) is_zero: bool,
}

/// The first run of an extent, which is not empty and inside the disk.
pub(super) fn first_run(disk: &Arc<Disk>, extent: Extent) -> Result<Run> {
    let (mut layer, mut depth) = (disk, 1);
    let mut rest = extent;
    loop {
        let size = layer.size();
        if rest.offset >= size {
            return Ok(nowhere(rest.length));
        }
        rest.length = rest.length.min(size - rest.offset);
        // A layer may be coarser than the one before, whose runs end anywhere.
        let unit = layer.limits().request_alignment;
        let wide = widened(rest, unit, size);
        let found = layer.block_status(wide)?;
        let length = (wide.offset + found.length).min(rest.end()).saturating_sub(rest.offset);
        if length == 0 {
            return Ok(Run { length: rest.length, depth, has_data: true, is_zero: false });
        }
        rest.length = length;
        if found.allocated {
            let host = match found.host_offset {
                Some(_) if found.has_data() && wide.offset == rest.offset => {
                    layer.host_run(Extent::new(wide.offset, found.length))?
                }
                _ => None,
            };
            let length = host.map_or(length, |run| run.length.min(length));
            let is_zero = found.zero || host.is_some_and(|run| !run.data);
            return Ok(Run { length, depth, has_data: found.has_data(), is_zero });
        }
        let Some(behind) = layer.backing() else { return Ok(nowhere(length)) };
        (layer, depth) = (behind, depth + 1);
    }
}

fn widened(extent: Extent, unit: u64, size: u64) -> Extent {
    let start = extent.offset / unit * unit;
    Extent::between(start, extent.end().next_multiple_of(unit).min(size))
}

const fn nowhere(length: u64) -> Run {
    Run { length, depth: 0, has_data: false, is_zero: true }
}
