//! What a disk shows now, and what it has shown since the last flush: that may come back when a handle has to be given up.

use blk_core::{Disk, Extent, Result};

use super::expected::{Expected, Predicted, Wrong, hold};

/// Values of the whole disk.
#[derive(Debug)]
pub(super) struct History {
    pub(super) now: Expected,
    /// Values since the last flush, those of failed requests included as if they had succeeded.
    past: Vec<Expected>,
    /// Sizes since the last flush.
    sizes: Vec<u64>,
    /// Guest clusters that requests since the last flush touched.
    clusters: u64,
}

impl History {
    /// Everything is durable.
    pub(super) fn new(now: Expected) -> Self {
        Self { past: Vec::new(), sizes: vec![now.size()], clusters: 0, now }
    }

    /// A request is about to change, or has changed, what the disk shows; the value before stays possible.
    pub(super) fn keep_value(&mut self) {
        self.past.push(self.now.duplicate());
    }

    /// Another value is possible.
    pub(super) fn allow(&mut self, value: Expected) {
        self.past.push(value);
    }

    pub(super) fn touch(&mut self, extent: Extent, cluster_bytes: u64) {
        let clusters = extent.end().div_ceil(cluster_bytes) - extent.offset / cluster_bytes;
        self.clusters += clusters + 1;
    }

    pub(super) fn clusters(&self) -> u64 {
        self.clusters
    }

    /// The disk may have this size.
    pub(super) fn allow_size(&mut self, size: u64) {
        self.sizes.push(size);
    }

    pub(super) fn allows_size(&self, size: u64) -> bool {
        self.sizes.contains(&size)
    }

    /// Whether the size lies between two that the disk may have.
    pub(super) fn allows_size_between(&self, size: u64) -> bool {
        self.sizes.iter().any(|smaller| *smaller < size) && self.sizes.iter().any(|larger| size < *larger)
    }

    /// What the disk shows is durable.
    pub(super) fn flushed(&mut self) {
        self.past.clear();
        self.sizes = vec![self.now.size()];
        self.clusters = 0;
    }

    /// What the disk shows in `extent` is durable.
    pub(super) fn flushed_part(&mut self, extent: Extent) -> Result<()> {
        self.past.iter_mut().try_for_each(|past| past.take(&self.now, extent))
    }

    /// Takes over what the disk shows in the range of a request that failed or had a choice: each sector is old or new.
    pub(super) fn settle(&mut self, disk: &Disk, predicted: &Predicted) -> Result<Option<Wrong>> {
        let old = self.now.duplicate();
        let mut new = self.now.duplicate();
        new.apply(predicted)?;
        let wrong = hold(disk, &[predicted.extent], &[&new, &old], Some(&mut self.now));
        self.past.extend([old, new]);
        wrong
    }

    /// Takes over what the disk shows after it was opened again: each sector holds one of the values since the last flush.
    pub(super) fn settle_all(&mut self, disk: &Disk, parts: &[Extent]) -> Result<Option<Wrong>> {
        let latest = self.now.duplicate();
        let allowed: Vec<&Expected> = std::iter::once(&latest).chain(self.past.iter().rev()).collect();
        let wrong = hold(disk, parts, &allowed, Some(&mut self.now))?;
        self.past.push(latest);
        Ok(wrong)
    }

    /// Compares what the disk shows with what it has to show.
    pub(super) fn compare(&self, disk: &Disk, parts: &[Extent]) -> Result<Option<Wrong>> {
        hold(disk, parts, &[&self.now], None)
    }
}
