//! What this layer knows about a range of guest bytes.

use blk_core::{BlockStatus, Extent, Result};

use crate::l2::Cluster;
use crate::mapping::Lookup;
use crate::qcow2::Qcow2;

impl Qcow2 {
    /// The status of the run at the start of `extent`.
    pub(crate) fn status_of(&self, extent: Extent) -> Result<BlockStatus> {
        let found = self.metadata.read().lookup(extent)?;
        let run = match found {
            Lookup::Found(run) => run,
            Lookup::NotCached => self.metadata.write().find(extent)?,
        };
        let within = self.geometry.in_cluster(extent.offset);
        let (allocated, zero, compressed, host) = match run.cluster {
            Cluster::Unallocated => (false, self.backing.is_none(), false, None),
            Cluster::Zero { host, .. } => (true, true, false, host),
            Cluster::Data { host, .. } => (true, false, false, Some(host)),
            Cluster::Compressed(_) => (true, false, true, None),
        };
        let host_offset = host.map(|host| host + within);
        Ok(BlockStatus { length: run.length, allocated, zero, compressed, host_offset })
    }
}
