//! What a driver tells the storage below it: which of its steps the next operations belong to.
//!
//! The names are those of QEMU's `BlkdebugEvent`, so that its rules for injecting errors mean the same here.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// A step of a driver, told to [`crate::Storage::event`] right before the operation that it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Event {
    /// A sector of the L1 table is written.
    L1Update,
    /// A larger L1 table gets its place.
    L1GrowAllocTable,
    /// A larger L1 table is written.
    L1GrowWriteTable,
    /// The header comes to name the larger L1 table.
    L1GrowActivateTable,
    /// A part of an L2 table is read.
    L2Load,
    /// A part of an L2 table is written.
    L2Update,
    /// An L2 entry comes to name a compressed cluster.
    L2UpdateCompressed,
    /// An L2 table that is about to be copied is read.
    L2AllocCowRead,
    /// A new L2 table is made or copied.
    L2AllocWrite,
    /// Guest data is read.
    ReadAio,
    /// Guest data is read from the backing disk.
    ReadBackingAio,
    /// A compressed cluster is read.
    ReadCompressed,
    /// Guest data is written.
    WriteAio,
    /// A compressed cluster is written.
    WriteCompressed,
    /// The state of a machine is read.
    VmstateLoad,
    /// The state of a machine is written.
    VmstateSave,
    /// What a write does not cover of a new cluster is read from the old one.
    CowRead,
    /// What a write does not cover of a new cluster is written, apart from the data.
    CowWrite,
    /// The refcount table is read.
    ReftableLoad,
    /// A larger refcount table is made.
    ReftableGrow,
    /// The refcount table is written.
    ReftableUpdate,
    /// A part of a refcount block is read.
    RefblockLoad,
    /// A whole refcount block is written.
    RefblockUpdate,
    /// A part of a refcount block is written.
    RefblockUpdatePart,
    /// A new refcount block gets its place.
    RefblockAlloc,
    /// The refcount table comes to name a new refcount block.
    RefblockAllocHookup,
    /// A new refcount block is written.
    RefblockAllocWrite,
    /// The blocks that count a larger refcount table are written.
    RefblockAllocWriteBlocks,
    /// A larger refcount table is written.
    RefblockAllocWriteTable,
    /// The header comes to name the larger refcount table.
    RefblockAllocSwitchTable,
    /// Clusters are allocated.
    ClusterAlloc,
    /// Room for a compressed cluster is allocated.
    ClusterAllocBytes,
    /// Clusters are given back.
    ClusterFree,
    /// What is cached of the metadata is handed to the host.
    FlushToOs,
    /// The host is asked to put everything on stable storage.
    FlushToDisk,
    /// The start of an unaligned write is read.
    PwritevRmwHead,
    /// The start of an unaligned write has been read.
    PwritevRmwAfterHead,
    /// The end of an unaligned write is read.
    PwritevRmwTail,
    /// The end of an unaligned write has been read.
    PwritevRmwAfterTail,
    /// Any data reaches the storage.
    Pwritev,
    /// Any request to zero reaches the storage.
    PwritevZero,
    /// A write, or a request to zero, is done.
    PwritevDone,
    /// An image is about to be emptied.
    EmptyImagePrepare,
    /// A smaller L1 table is written.
    L1ShrinkWriteTable,
    /// The L2 tables that a smaller L1 table no longer names are given back.
    L1ShrinkFreeL2Clusters,
    /// What was read from the backing disk is kept in the image.
    CorWrite,
    /// Space on the host is reserved for new clusters.
    ClusterAllocSpace,
    /// Never told by a driver: rules that name it hold from the beginning.
    None,
}

impl Event {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 48] = [
        Self::L1Update,
        Self::L1GrowAllocTable,
        Self::L1GrowWriteTable,
        Self::L1GrowActivateTable,
        Self::L2Load,
        Self::L2Update,
        Self::L2UpdateCompressed,
        Self::L2AllocCowRead,
        Self::L2AllocWrite,
        Self::ReadAio,
        Self::ReadBackingAio,
        Self::ReadCompressed,
        Self::WriteAio,
        Self::WriteCompressed,
        Self::VmstateLoad,
        Self::VmstateSave,
        Self::CowRead,
        Self::CowWrite,
        Self::ReftableLoad,
        Self::ReftableGrow,
        Self::ReftableUpdate,
        Self::RefblockLoad,
        Self::RefblockUpdate,
        Self::RefblockUpdatePart,
        Self::RefblockAlloc,
        Self::RefblockAllocHookup,
        Self::RefblockAllocWrite,
        Self::RefblockAllocWriteBlocks,
        Self::RefblockAllocWriteTable,
        Self::RefblockAllocSwitchTable,
        Self::ClusterAlloc,
        Self::ClusterAllocBytes,
        Self::ClusterFree,
        Self::FlushToOs,
        Self::FlushToDisk,
        Self::PwritevRmwHead,
        Self::PwritevRmwAfterHead,
        Self::PwritevRmwTail,
        Self::PwritevRmwAfterTail,
        Self::Pwritev,
        Self::PwritevZero,
        Self::PwritevDone,
        Self::EmptyImagePrepare,
        Self::L1ShrinkWriteTable,
        Self::L1ShrinkFreeL2Clusters,
        Self::CorWrite,
        Self::ClusterAllocSpace,
        Self::None,
    ];

    /// The name in rules and commands.
    pub const fn as_str(self) -> &'static str {
        NAMES[self as usize]
    }
}

/// In the order of the declaration.
const NAMES: [&str; Event::ALL.len()] = [
    "l1_update",
    "l1_grow_alloc_table",
    "l1_grow_write_table",
    "l1_grow_activate_table",
    "l2_load",
    "l2_update",
    "l2_update_compressed",
    "l2_alloc_cow_read",
    "l2_alloc_write",
    "read_aio",
    "read_backing_aio",
    "read_compressed",
    "write_aio",
    "write_compressed",
    "vmstate_load",
    "vmstate_save",
    "cow_read",
    "cow_write",
    "reftable_load",
    "reftable_grow",
    "reftable_update",
    "refblock_load",
    "refblock_update",
    "refblock_update_part",
    "refblock_alloc",
    "refblock_alloc_hookup",
    "refblock_alloc_write",
    "refblock_alloc_write_blocks",
    "refblock_alloc_write_table",
    "refblock_alloc_switch_table",
    "cluster_alloc",
    "cluster_alloc_bytes",
    "cluster_free",
    "flush_to_os",
    "flush_to_disk",
    "pwritev_rmw_head",
    "pwritev_rmw_after_head",
    "pwritev_rmw_tail",
    "pwritev_rmw_after_tail",
    "pwritev",
    "pwritev_zero",
    "pwritev_done",
    "empty_image_prepare",
    "l1_shrink_write_table",
    "l1_shrink_free_l2_clusters",
    "cor_write",
    "cluster_alloc_space",
    "none",
];

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Event {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|event| event.as_str() == name)
            .ok_or_else(|| Error::invalid_option("event", format!("'{name}' is not the name of an event")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_events_belong_together() {
        for (index, event) in Event::ALL.into_iter().enumerate() {
            assert_eq!(event as usize, index);
            assert_eq!(event.as_str().parse::<Event>().unwrap(), event);
        }
        assert_eq!((Event::L1Update.as_str(), Event::ReadAio.as_str()), ("l1_update", "read_aio"));
        assert_eq!(Event::RefblockAllocSwitchTable.to_string(), "refblock_alloc_switch_table");
        assert_eq!(Event::ClusterAllocSpace.to_string(), "cluster_alloc_space");
        assert!("read-aio".parse::<Event>().unwrap_err().to_string().contains("read-aio"));
    }
}
