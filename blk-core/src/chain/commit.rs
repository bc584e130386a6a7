//! A commit: what the upper layers of a chain store goes to a layer further down.

use std::sync::Arc;

use super::{BUFFER_BYTES, ChainQuery, ChainStatus, SECTOR_BYTES, read_padded, whole_sectors};
use crate::{Disk, Extent, Result, WriteFlags, ZeroFlags};

/// A commit under way. Each [`Commit::step`] writes a part, and [`Commit::finish`] makes all of it durable:
/// only then may the disk give its content up ([`crate::Overlay::forget_content`]).
///
/// A commit may end anywhere: the disk shows the same bytes at any time. Layers between it and the base may
/// show what was written below them. Nobody else writes to the disk meanwhile.
#[derive(Debug)]
pub struct Commit<'a> {
    disk: &'a Arc<Disk>,
    depth: usize,
    base: &'a Disk,
    size: u64,
    /// Where the shortest layer between the disk and the base ends, bytes.
    between: Option<u64>,
    at: u64,
}

impl<'a> Commit<'a> {
    /// Of `disk`, to its layer at `depth`, which `base` has open for writing. The base becomes as large as
    /// the disk, if it is smaller.
    ///
    /// # Errors
    /// Those of [`Disk::resize`] of the base.
    ///
    /// # Panics
    /// If `depth` is 0, which is the disk itself.
    pub fn new(disk: &'a Arc<Disk>, depth: usize, base: &'a Disk) -> Result<Self> {
        assert!(depth > 0, "a commit goes to a layer below the disk");
        let mut between = None;
        let mut layer = disk.backing();
        for _ in 1..depth {
            let Some(disk) = layer else { break };
            let end = whole_sectors(disk.size());
            between = Some(between.map_or(end, |least: u64| least.min(end)));
            layer = disk.backing();
        }
        let size = whole_sectors(disk.size());
        if whole_sectors(base.size()) < size {
            base.resize(size)?;
        }
        Ok(Self { disk, depth, base, size, between, at: 0 })
    }

    /// Bytes that all steps together write.
    ///
    /// # Errors
    /// Those of a block status.
    pub fn bytes(&self) -> Result<u64> {
        let (mut at, mut bytes) = (0, 0);
        while at < self.size {
            let status = self.status(at)?;
            bytes += if status.present { status.length } else { 0 };
            at += status.length;
        }
        Ok(bytes)
    }

    /// Goes on to what is stored next, and writes it. Returns how many bytes that were; `None` at the end.
    ///
    /// # Errors
    /// Those of the disk and the base.
    pub fn step(&mut self) -> Result<Option<u64>> {
        while self.at < self.size {
            let (at, status) = (self.at, self.status(self.at)?);
            if status.present {
                self.write(at, status)?;
            }
            self.at += status.length;
            if status.present {
                return Ok(Some(status.length));
            }
        }
        Ok(None)
    }

    /// Makes what was written to the base durable.
    ///
    /// # Errors
    /// Those of [`Disk::flush`].
    pub fn finish(self) -> Result<()> {
        self.base.flush()
    }

    /// What the layers above the base say, in pieces that fit into the buffer where bytes are copied.
    fn status(&self, at: u64) -> Result<ChainStatus> {
        let query = ChainQuery::new(self.disk).whole_sectors(SECTOR_BYTES).layers_max(self.depth);
        let mut status = query.status(Extent::between(at, self.size))?;
        if let (false, Some(end)) = (status.present, self.between) {
            if end <= at {
                // A disk in between is too short: zeroes show, whatever the base has there.
                status = ChainStatus { present: true, zero: true, data: false, ..status };
            } else {
                status.length = status.length.min(end - at);
            }
        }
        let length = if status.data { status.length.min(BUFFER_BYTES) } else { status.length };
        Ok(ChainStatus { length, ..status })
    }

    fn write(&self, at: u64, status: ChainStatus) -> Result<()> {
        let size = self.base.size();
        if status.zero {
            let flags = ZeroFlags { may_unmap: true, ..ZeroFlags::default() };
            // What a sector lacks at the end reads as zeroes.
            let inside = Extent::between(at, size.min(at + status.length).max(at));
            return self.base.write_zeroes(inside, flags);
        }
        if at + status.length > size {
            self.base.resize(whole_sectors(size))?;
        }
        let mut bytes = vec![0; status.length as usize];
        read_padded(self.disk, at, &mut bytes)?;
        self.base.write(at, &bytes, WriteFlags::default())
    }
}
