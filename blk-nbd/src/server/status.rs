//! What a block status tells: of a disk and the disks behind it.

use std::sync::Arc;

use blk_core::{ChainQuery, ChainStatus, Disk, Extent, Result};

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

    fn flags(self, run: &ChainStatus) -> u64 {
        match self {
            Self::Allocation => {
                let hole = if run.data { 0 } else { allocation::HOLE };
                hole | if run.zero { allocation::ZERO } else { 0 }
            }
            Self::Depth if run.present => run.depth as u64 + 1,
            Self::Depth => 0,
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
            let run = ChainQuery::new(disk).status(rest)?;
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
