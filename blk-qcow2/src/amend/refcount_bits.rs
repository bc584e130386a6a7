//! The width of refcounts: all refcount structures are made again.
//!
//! Write order: the new structures lie behind everything that is counted and are durable before one write of
//! the header's first sector names them, with their width. They do not count the old ones, to which nothing
//! refers from then on; the old ones do not count them. So a crash leaves one or the other, and no leak.

use blk_core::{Error, Result};

use super::{Change, Progress, Request};
use crate::free_space::{Allocation, DiscardPolicy};
use crate::geometry::Geometry;
use crate::header::REFCOUNT_TABLE_BYTES_MAX;
use crate::metadata::Metadata;
use crate::offset::{ClusterCount, HostCluster, HostOffset};
use crate::pointer_table;
use crate::qcow2::Qcow2;
use crate::refcount::{count_at, set_count_at};

#[derive(Debug)]
pub(super) struct RefcountBits;

impl Change for RefcountBits {
    fn names(&self) -> &'static [&'static str] {
        &["refcount_bits"]
    }

    fn check(&self, image: &Qcow2, request: &Request<'_>) -> Result<bool> {
        let mut metadata = image.metadata.write();
        metadata.check_usable()?;
        let bits = request.refcount_bits(&metadata.header);
        let version = request.version(&metadata.header);
        super::compat::check_refcount_bits(&metadata.header, version, bits)?;
        if bits == metadata.geometry.refcount_bits() {
            return Ok(false);
        }
        metadata.flush_all()?;
        metadata.plan_width(bits.ilog2())?;
        Ok(true)
    }

    fn make(&self, image: &Qcow2, request: &Request<'_>, progress: Progress<'_>) -> Result<()> {
        let mut metadata = image.metadata.write();
        metadata.check_usable()?;
        metadata.end_lazy()?;
        let bits = request.refcount_bits(&metadata.header);
        metadata.change_width(bits.ilog2(), progress)
    }
}

/// Where the new structures go.
#[derive(Debug)]
struct Plan {
    geometry: Geometry,
    /// The table, followed by its blocks.
    first: HostCluster,
    table_clusters: ClusterCount,
    /// The ranges that get a block, in order.
    ranges: Vec<u64>,
    /// The clusters of the old structures, in order.
    old: Vec<HostCluster>,
    /// One past the last cluster that is counted.
    counted_end: HostCluster,
}

impl Plan {
    fn first_block(&self) -> HostCluster {
        self.first + self.table_clusters
    }

    fn clusters(&self) -> ClusterCount {
        self.table_clusters + ClusterCount::new(self.ranges.len() as u64)
    }

    fn end(&self) -> HostCluster {
        self.first + self.clusters()
    }

    /// Adds ranges and clusters of the table until the structures count themselves.
    fn complete(mut self) -> Result<Self> {
        let geometry = self.geometry;
        loop {
            let own = geometry.table_index(self.first)..=geometry.table_index(self.end());
            let missing: Vec<u64> = own.filter(|range| self.ranges.binary_search(range).is_err()).collect();
            let last = self.ranges.iter().chain(&missing).max().copied().unwrap_or(0);
            let table_clusters = geometry.clusters_of((last + 1) * 8);
            if missing.is_empty() && table_clusters <= self.table_clusters {
                return Ok(self);
            }
            check_table(geometry, last)?;
            self.ranges.extend(missing);
            self.ranges.sort_unstable();
            self.table_clusters = self.table_clusters.max(table_clusters);
        }
    }
}

impl Metadata {
    /// Replaces the refcount structures by those of counts of `1 << order` bits.
    fn change_width(&mut self, order: u32, progress: Progress<'_>) -> Result<()> {
        let plan = self.plan_width(order)?;
        for cluster in plan.first.until(plan.end()) {
            self.check_losing(cluster, None, "a refcount structure")?;
        }
        let taken = Allocation { first: plan.first, count: plan.clusters(), fresh: false };
        self.free.take(taken.first, taken.count);
        if let Err(error) = self.write_width(&plan, progress) {
            self.free.give_back(taken);
            return Err(error);
        }
        self.sync()?;
        self.header.geometry = plan.geometry;
        self.header.refcount_table_offset = self.geometry.offset_of(plan.first);
        self.header.refcount_table_clusters = plan.table_clusters.get() as u32;
        self.publish_header()?;
        self.reload()?;
        self.punch_old(&plan.old)
    }

    /// Reads all counts. Everything has been flushed.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if a count does not fit, or the table would be too long.
    fn plan_width(&mut self, order: u32) -> Result<Plan> {
        let geometry = Geometry::new(self.geometry.cluster_bits(), order)?
            .with_extended_l2(self.geometry.has_extended_l2())?
            .with_data_file(self.geometry.has_data_file());
        let table = self.header.refcount_table();
        let mut old: Vec<HostCluster> = self.geometry.touched(table).collect();
        let mut ranges: Vec<u64> = Vec::new();
        let mut counted_end = HostCluster::default();
        for index in 0..self.refcounts.table.len() as u64 {
            let start = self.geometry.block_start(index);
            let Some((at, block)) = self.read_block(start)? else { continue };
            old.push(self.geometry.cluster_of(at));
            for entry in 0..self.geometry.block_entries() {
                let count = count_at(&block, entry, self.geometry.refcount_order());
                if count == 0 {
                    continue;
                }
                let cluster = start + ClusterCount::new(entry);
                if count > geometry.refcount_max() {
                    return Err(does_not_fit(geometry, self.geometry.offset_of(cluster), count));
                }
                counted_end = cluster.next();
                let range = geometry.table_index(cluster);
                check_table(geometry, range)?;
                if ranges.last() != Some(&range) {
                    ranges.push(range);
                }
            }
        }
        old.sort_unstable();
        let first = self.free.end().max(counted_end);
        let table_clusters = ClusterCount::default();
        Plan { geometry, first, table_clusters, ranges, old, counted_end }.complete()
    }

    /// The block that counts `cluster`, and where it lies.
    fn read_block(&mut self, cluster: HostCluster) -> Result<Option<(HostOffset, Vec<u8>)>> {
        let Some(at) = self.refcounts.block_offset(cluster)? else { return Ok(None) };
        self.check_structure_inside("refcount block", at)?;
        let mut block = vec![0; self.geometry.cluster_bytes() as usize];
        self.storage.read_at(at.get(), &mut block)?;
        Ok(Some((at, block)))
    }

    /// Writes the new blocks and the new table, to which nothing refers yet.
    fn write_width(&mut self, plan: &Plan, progress: Progress<'_>) -> Result<()> {
        let geometry = plan.geometry;
        let mut table = vec![0; (geometry.bytes_of(plan.table_clusters) / 8) as usize];
        let blocks = plan.first_block().until(plan.end());
        for ((done, &range), cluster) in (1..).zip(&plan.ranges).zip(blocks) {
            let at = geometry.offset_of(cluster);
            table[range as usize] = at.get();
            let block = self.new_block(plan, range)?;
            self.storage.write_at(at.get(), &block)?;
            progress(done, plan.ranges.len() as u64);
        }
        self.storage.write_at(geometry.offset_of(plan.first).get(), &pointer_table::encode(&table))
    }

    /// The counts of a range: those that are stored, without the old structures and with the new ones.
    fn new_block(&mut self, plan: &Plan, range: u64) -> Result<Vec<u8>> {
        let (geometry, old) = (plan.geometry, self.geometry);
        let mut block = vec![0; geometry.cluster_bytes() as usize];
        let (start, end) = (geometry.block_start(range), geometry.block_start(range + 1));
        let mut at = start;
        while at < end.min(plan.counted_end) {
            let next = old.block_start(old.table_index(at) + 1).min(end).min(plan.counted_end);
            if let Some((_, bytes)) = self.read_block(at)? {
                for cluster in at.until(next) {
                    let count = count_at(&bytes, old.block_index(cluster), old.refcount_order());
                    // A structure that is given up has one reference less.
                    let gone = u64::from(plan.old.binary_search(&cluster).is_ok());
                    let left = count.saturating_sub(gone);
                    if left > 0 {
                        set_count_at(
                            &mut block,
                            geometry.block_index(cluster),
                            geometry.refcount_order(),
                            left,
                        );
                    }
                }
            }
            at = next;
        }
        for cluster in plan.first.max(start).until(plan.end().min(end)) {
            set_count_at(&mut block, geometry.block_index(cluster), geometry.refcount_order(), 1);
        }
        Ok(block)
    }

    /// Gives the host what the old structures took.
    fn punch_old(&mut self, old: &[HostCluster]) -> Result<()> {
        if self.options.discard_policy == DiscardPolicy::NONE || !self.options.discard_policy.replace {
            return Ok(());
        }
        for &cluster in old {
            if self.refcount(cluster)? == 0 {
                let extent = self.geometry.extent_of(cluster, ClusterCount::ONE);
                self.storage.punch_hole(extent.on_storage())?;
            }
        }
        Ok(())
    }
}

/// Fails where a refcount table with an entry for `range` is longer than any may be.
fn check_table(geometry: Geometry, range: u64) -> Result<()> {
    let bytes = geometry.bytes_of(geometry.clusters_of((range + 1) * 8));
    if bytes <= REFCOUNT_TABLE_BYTES_MAX {
        return Ok(());
    }
    let reason = format!(
        "{}: the refcount table would have {bytes} bytes, the largest has 8 MiB",
        geometry.refcount_bits()
    );
    Err(Error::invalid_option("refcount_bits", reason))
}

fn does_not_fit(geometry: Geometry, at: HostOffset, count: u64) -> Error {
    let bits = geometry.refcount_bits();
    let reason = format!(
        "Cannot decrease refcount entry width to {bits} bits: Cluster at offset {:#x} has a refcount of {count}",
        at.get()
    );
    Error::invalid_option("refcount_bits", reason)
}
