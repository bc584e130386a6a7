//! The conformance suite over images in memory.

use std::sync::Arc;

use blk_core::testing::{Maker, conformance};
use blk_core::{Access, DenyResolver, Disk, Format, MemoryStorage, Options, Result, Storage};

/// Makes images of a format with these options, and opens them with those.
struct Images {
    format: &'static dyn Format,
    create: Options,
    open: Options,
}

impl Maker for Images {
    type Medium = Arc<dyn Storage>;

    fn make(&self, size: u64) -> Result<Self::Medium> {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        self.format.create(&storage, size, self.create.clone())?;
        Ok(storage)
    }

    fn open(&self, medium: &Self::Medium, access: Access) -> Result<Disk> {
        self.format.open(Arc::clone(medium), access, self.open.clone(), &DenyResolver)
    }
}

pub(super) fn raw_conforms() {
    for discard in ["unmap", "ignore"] {
        let open = Options::new().with("discard", discard);
        conformance(&Images { format: blk_raw::FORMAT, create: Options::new(), open });
    }
}

pub(super) fn qcow2_conforms() {
    let clusters = |bytes: u64| Options::new().with("cluster_size", bytes);
    let slices =
        |count: u64| Options::new().with("l2-cache-slices", count).with("refcount-cache-slices", count);
    let kinds = [
        (clusters(4096), Options::new()),
        (clusters(512).with("refcount_bits", 1u64), slices(1)),
        (clusters(1024).with("refcount_bits", 64u64).with("lazy_refcounts", "on"), slices(2)),
        (clusters(4096).with("compat", "0.10"), slices(2)),
        (clusters(4096).with("compression_type", "zstd").with("preallocation", "metadata"), slices(0)),
    ];
    for (create, open) in kinds {
        conformance(&Images { format: blk_qcow2::FORMAT, create, open });
    }
}
