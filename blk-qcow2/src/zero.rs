//! Writing zeroes: whole clusters get a mark where the version has one, parts of clusters get data.

use blk_core::{Error, Extent, Result, ZeroFlags};

use crate::l2::{Cluster, ZERO, data_entry};
use crate::mapping::{Lookup, Run};
use crate::metadata::Metadata;
use crate::qcow2::Qcow2;
use crate::write::{check_old_freeable, free_old};

const ZEROES_BYTES: usize = 64 << 10;
static ZEROES: [u8; ZEROES_BYTES] = [0; ZEROES_BYTES];

/// What becomes of a whole cluster that is to read as zeroes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// It does already.
    Keep,
    /// The entry becomes this; the old host clusters go if `free`.
    Entry { entry: u64, free: bool },
    /// Only data will do.
    Write,
}

impl Qcow2 {
    /// Makes `extent` read as zeroes.
    pub(crate) fn zero_guest(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        let inner = self.whole_clusters(extent);
        let (head, tail) = if inner.is_empty() {
            (extent, Extent::new(extent.end(), 0))
        } else {
            let inner_end = inner.end().min(extent.end());
            (Extent::between(extent.offset, inner.offset), Extent::between(inner_end, extent.end()))
        };
        if flags.no_fallback {
            self.check_zero_part(head)?;
            self.check_zero_part(tail)?;
        }
        self.zero_part(head)?;
        self.zero_clusters(inner, flags)?;
        self.zero_part(tail)
    }

    /// The whole clusters inside `extent`. The last cluster of the disk counts as whole once all of it that belongs to the
    /// disk is covered.
    pub(crate) fn whole_clusters(&self, extent: Extent) -> Extent {
        let cluster_bytes = self.geometry.cluster_bytes();
        let at_end = extent.end() == self.size_bytes();
        let end = if at_end { extent.end().next_multiple_of(cluster_bytes) } else { extent.end() };
        Extent::between(extent.offset, end).align_inward(cluster_bytes)
    }

    /// Fails if a part of a cluster could only be zeroed by writing data.
    fn check_zero_part(&self, part: Extent) -> Result<()> {
        let mut rest = part;
        while !rest.is_empty() {
            let run = self.metadata.write().find(rest)?;
            if !self.run_is_zero(run, rest.offset) {
                return Err(Error::unsupported("write zeroes to a part of a cluster without writing data"));
            }
            rest = Extent::between(rest.offset + run.length, rest.end());
        }
        Ok(())
    }

    fn run_is_zero(&self, run: Run, at: u64) -> bool {
        match run.cluster {
            Cluster::Zero { .. } => true,
            Cluster::Unallocated => self.below_is_zero(Extent::new(at, run.length)),
            Cluster::Data { .. } | Cluster::Compressed(_) => false,
        }
    }

    /// Zeroes a part of a cluster: nothing where it reads as zeroes, else data.
    fn zero_part(&self, part: Extent) -> Result<()> {
        let mut rest = part;
        while !rest.is_empty() {
            let found = self.metadata.read().lookup(rest)?;
            let run = match found {
                Lookup::Found(run) => run,
                Lookup::NotCached => self.metadata.write().find(rest)?,
            };
            let done = Extent::new(rest.offset, run.length);
            if !self.run_is_zero(run, rest.offset) {
                self.write_zero_data(done)?;
            }
            rest = Extent::between(done.end(), rest.end());
        }
        Ok(())
    }

    /// Writes zeroes as data.
    pub(crate) fn write_zero_data(&self, extent: Extent) -> Result<()> {
        let mut at = extent.offset;
        while at < extent.end() {
            let length = (extent.end() - at).min(ZEROES_BYTES as u64);
            self.write_guest(at, &ZEROES[..length as usize])?;
            at += length;
        }
        Ok(())
    }

    /// Zeroes whole clusters.
    pub(crate) fn zero_clusters(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        if extent.is_empty() {
            return Ok(());
        }
        let mut metadata = self.metadata.write();
        metadata.check_usable()?;
        let mut at = extent.offset;
        while at < extent.end() {
            at = self.zero_next(&mut metadata, at, extent.end(), flags)?;
        }
        Ok(())
    }

    /// Zeroes the clusters at the start of `at..end` that can be done at once. Returns where to go on.
    fn zero_next(&self, metadata: &mut Metadata, at: u64, end: u64, flags: ZeroFlags) -> Result<u64> {
        let run = metadata.find(Extent::between(at, end))?;
        if matches!(run.cluster, Cluster::Zero { host: None, .. })
            || (run.cluster == Cluster::Unallocated && self.below_is_zero(Extent::new(at, run.length)))
        {
            return Ok(at + run.length);
        }
        let cluster_bytes = metadata.geometry.cluster_bytes();
        match self.plan(metadata.header.version, run.cluster, at, flags) {
            Plan::Keep => {}
            Plan::Entry { entry, free } => {
                if free {
                    check_old_freeable(metadata, run.cluster)?;
                }
                let located = metadata.l2_for_write(at)?;
                metadata.set_l2_entry(located, entry);
                if free {
                    free_old(metadata, run.cluster);
                }
            }
            Plan::Write if flags.no_fallback => {
                return Err(Error::unsupported(
                    "version 2 has no mark for zero clusters; data would have to be written",
                ));
            }
            Plan::Write => self.overwrite_with_zeroes(metadata, at)?,
        }
        Ok(at + cluster_bytes)
    }

    fn plan(&self, version: u32, cluster: Cluster, at: u64, flags: ZeroFlags) -> Plan {
        let below_is_zero = self.below_is_zero(Extent::new(at, 1));
        match cluster {
            Cluster::Zero { host: None, .. } => Plan::Keep,
            Cluster::Unallocated if below_is_zero => Plan::Keep,
            Cluster::Zero { host: Some(_), .. } if !flags.may_unmap => Plan::Keep,
            _ if version < 3 && below_is_zero && flags.may_unmap => Plan::Entry { entry: 0, free: true },
            _ if version < 3 => Plan::Write,
            Cluster::Data { host, copied: true } if !flags.may_unmap => {
                Plan::Entry { entry: data_entry(host) | ZERO, free: false }
            }
            _ => Plan::Entry { entry: ZERO, free: true },
        }
    }

    fn overwrite_with_zeroes(&self, metadata: &mut Metadata, at: u64) -> Result<()> {
        let end = at + metadata.geometry.cluster_bytes();
        let mut at = at;
        while at < end {
            let length = (end - at).min(ZEROES_BYTES as u64) as usize;
            at += self.write_exclusively(metadata, at, &ZEROES[..length])? as u64;
        }
        Ok(())
    }
}
