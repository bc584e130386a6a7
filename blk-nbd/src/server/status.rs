//! What a block status tells: of a disk and the disks behind it.

use blk_core::{ChainQuery, Extent, Result};

use super::Export;
use crate::wire::allocation;

/// Which question a block status answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Context {
    /// Holes and zeroes.
    Allocation,
    /// Which layer of the chain has the bytes: 1 for the first, 0 for none.
    Depth,
    /// What is dirty by this bitmap of the export.
    Bitmap(usize),
}

/// How often the disk is asked for one answer, which may be short.
const LOOKUPS_MAX: usize = 1 << 14;
/// Starts of names, for clients that ask for whatever there is.
const BASE: &str = "base:";
const QEMU: &str = "qemu:";
const BITMAPS: &str = "qemu:dirty-bitmap:";

impl Context {
    /// Those that an export has.
    pub(super) fn of(export: &Export) -> Vec<Self> {
        let depth = export.allocation_depth.then_some(Self::Depth);
        let bitmaps = (0..export.bitmaps.len()).map(Self::Bitmap);
        [Self::Allocation].into_iter().chain(depth).chain(bitmaps).collect()
    }

    /// The number that stands for it in a connection.
    pub(super) const fn id(self) -> u32 {
        match self {
            Self::Allocation => 1,
            Self::Depth => 2,
            Self::Bitmap(index) => 3 + index as u32,
        }
    }

    pub(super) fn name(self, export: &Export) -> String {
        match self {
            Self::Allocation => "base:allocation".to_owned(),
            Self::Depth => "qemu:allocation-depth".to_owned(),
            Self::Bitmap(index) => format!("{BITMAPS}{}", export.bitmaps[index].0),
        }
    }

    /// Whether a query is for it: by its name, or in a list by its namespace.
    pub(super) fn is_meant_by(self, query: &str, export: &Export, lists: bool) -> bool {
        let groups: &[&str] = match self {
            Self::Allocation => &[BASE],
            Self::Depth => &[QEMU],
            Self::Bitmap(_) => &[QEMU, BITMAPS],
        };
        query == self.name(export) || (lists && groups.contains(&query))
    }

    /// How long the first run is, and its flags.
    fn first(self, export: &Export, extent: Extent) -> Result<(u64, u64)> {
        if let Self::Bitmap(index) = self {
            let (name, bitmap) = &export.bitmaps[index];
            let (length, is_dirty) = bitmap.run(name, extent)?;
            return Ok((length, u64::from(is_dirty)));
        }
        let run = ChainQuery::new(&export.disk).status(extent)?;
        let hole = if run.data { 0 } else { allocation::HOLE };
        let zero = if run.zero { allocation::ZERO } else { 0 };
        let flags = match self {
            Self::Allocation => hole | zero,
            _ if run.present => run.depth as u64 + 1,
            _ => 0,
        };
        Ok((run.length, flags))
    }

    /// The flags of the first runs of an extent, which is not empty; neighbours that are alike are one.
    pub(super) fn runs(self, export: &Export, extent: Extent, runs_max: usize) -> Result<Vec<(u64, u64)>> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        let mut rest = extent;
        for _ in 0..LOOKUPS_MAX {
            if rest.is_empty() {
                break;
            }
            let (length, flags) = self.first(export, rest)?;
            let is_full = runs.len() == runs_max;
            match runs.last_mut() {
                Some((before, last)) if *last == flags => *before += length,
                _ if is_full => break,
                _ => runs.push((length, flags)),
            }
            rest = Extent::between(rest.offset + length, rest.end());
        }
        Ok(runs)
    }
}
