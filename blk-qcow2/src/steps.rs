//! The driver's steps, which it names to its storage. Where QEMU's `blkdebug` has an event for a step, it has
//! that name.

use blk_core::storage::Step;

/// A sector of the L1 table is written.
pub static L1_UPDATE: Step = Step::new("l1_update", "L1 table");
/// A larger L1 table is allocated.
pub static L1_GROW_ALLOC_TABLE: Step = Step::new("l1_grow_alloc_table", "L1 table");
/// A larger L1 table is written.
pub static L1_GROW_WRITE_TABLE: Step = Step::rare("l1_grow_write_table", "L1 table");
/// The header is changed to point to another L1 table, or to another list of snapshots.
pub static L1_GROW_ACTIVATE_TABLE: Step = Step::rare("l1_grow_activate_table", "L1 table");
/// A slice of an L2 table is read.
pub static L2_LOAD: Step = Step::new("l2_load", "L2 table");
/// A slice of an L2 table is written.
pub static L2_UPDATE: Step = Step::new("l2_update", "L2 table");
/// An L2 entry is set to a compressed cluster.
pub static L2_UPDATE_COMPRESSED: Step = Step::new("l2_update_compressed", "L2 table");
/// An L2 table is read to be copied.
pub static L2_ALLOC_COW_READ: Step = Step::new("l2_alloc_cow_read", "L2 table");
/// A new L2 table is made or copied.
pub static L2_ALLOC_WRITE: Step = Step::new("l2_alloc_write", "L2 table");
/// Guest data is read.
pub static READ_AIO: Step = Step::new("read_aio", "data");
/// Guest data is read from the backing file.
pub static READ_BACKING_AIO: Step = Step::new("read_backing_aio", "data");
/// A compressed cluster is read.
pub static READ_COMPRESSED: Step = Step::new("read_compressed", "compressed data");
/// Guest data is written.
pub static WRITE_AIO: Step = Step::new("write_aio", "data");
/// A compressed cluster is written.
pub static WRITE_COMPRESSED: Step = Step::new("write_compressed", "compressed data");
/// The part of a new cluster that a write does not cover is read from the old one.
pub static COW_READ: Step = Step::new("cow_read", "data");
/// The part of a new cluster that a write does not cover is written, apart from the data.
pub static COW_WRITE: Step = Step::new("cow_write", "data");
/// The refcount table is read.
pub static REFTABLE_LOAD: Step = Step::new("reftable_load", "refcount table");
/// A larger refcount table is made.
pub static REFTABLE_GROW: Step = Step::new("reftable_grow", "refcount table");
/// The refcount table is written.
pub static REFTABLE_UPDATE: Step = Step::new("reftable_update", "refcount table");
/// A part of a refcount block is read.
pub static REFBLOCK_LOAD: Step = Step::new("refblock_load", "refcount block");
/// A part of a refcount block is written.
pub static REFBLOCK_UPDATE_PART: Step = Step::new("refblock_update_part", "refcount block");
/// A new refcount block is allocated.
pub static REFBLOCK_ALLOC: Step = Step::new("refblock_alloc", "refcount block");
/// An entry of the refcount table is set to a new refcount block.
pub static REFBLOCK_ALLOC_HOOKUP: Step = Step::rare("refblock_alloc_hookup", "refcount table");
/// A new refcount block is written.
pub static REFBLOCK_ALLOC_WRITE: Step = Step::new("refblock_alloc_write", "refcount block");
/// The blocks that count a larger refcount table are written.
pub static REFBLOCK_ALLOC_WRITE_BLOCKS: Step = Step::rare("refblock_alloc_write_blocks", "refcount block");
/// A larger refcount table is written.
pub static REFBLOCK_ALLOC_WRITE_TABLE: Step = Step::rare("refblock_alloc_write_table", "refcount table");
/// The header is changed to point to the larger refcount table.
pub static REFBLOCK_ALLOC_SWITCH_TABLE: Step = Step::rare("refblock_alloc_switch_table", "refcount table");
/// Clusters are allocated.
pub static CLUSTER_ALLOC: Step = Step::new("cluster_alloc", "data");
/// Space for a compressed cluster is allocated.
pub static CLUSTER_ALLOC_BYTES: Step = Step::new("cluster_alloc_bytes", "compressed data");
/// Clusters are freed.
pub static CLUSTER_FREE: Step = Step::new("cluster_free", "freed clusters");
/// Cached metadata is handed to the host.
pub static FLUSH_TO_OS: Step = Step::new("flush_to_os", "metadata");
/// The host is asked to put everything on stable storage.
pub static FLUSH_TO_DISK: Step = Step::new("flush_to_disk", "everything");

/// All of them.
pub static ALL: [&Step; 32] = [
    &L1_UPDATE,
    &L1_GROW_ALLOC_TABLE,
    &L1_GROW_WRITE_TABLE,
    &L1_GROW_ACTIVATE_TABLE,
    &L2_LOAD,
    &L2_UPDATE,
    &L2_UPDATE_COMPRESSED,
    &L2_ALLOC_COW_READ,
    &L2_ALLOC_WRITE,
    &READ_AIO,
    &READ_BACKING_AIO,
    &READ_COMPRESSED,
    &WRITE_AIO,
    &WRITE_COMPRESSED,
    &COW_READ,
    &COW_WRITE,
    &REFTABLE_LOAD,
    &REFTABLE_GROW,
    &REFTABLE_UPDATE,
    &REFBLOCK_LOAD,
    &REFBLOCK_UPDATE_PART,
    &REFBLOCK_ALLOC,
    &REFBLOCK_ALLOC_HOOKUP,
    &REFBLOCK_ALLOC_WRITE,
    &REFBLOCK_ALLOC_WRITE_BLOCKS,
    &REFBLOCK_ALLOC_WRITE_TABLE,
    &REFBLOCK_ALLOC_SWITCH_TABLE,
    &CLUSTER_ALLOC,
    &CLUSTER_ALLOC_BYTES,
    &CLUSTER_FREE,
    &FLUSH_TO_OS,
    &FLUSH_TO_DISK,
];
