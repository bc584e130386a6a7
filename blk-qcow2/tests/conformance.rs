//! The conformance suite over the shapes that an image can have.

use std::sync::Arc;

use blk_core::storage::{StorageLimits, StrictStorage};
use blk_core::testing::{Maker, conformance};
use blk_core::{
    Access, DenyResolver, Disk, MapResolver, MemoryStorage, Options, RepairMode, Result, Storage,
};
use blk_qcow2::FORMAT;

/// Makes images with these options; opens them with caches of so many slices.
struct Qcow2 {
    create: Options,
    slices: u64,
}

impl Maker for Qcow2 {
    type Medium = Arc<dyn Storage>;

    fn make(&self, size: u64) -> Result<Self::Medium> {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        FORMAT.create(&storage, size, self.create.clone())?;
        Ok(storage)
    }

    fn open(&self, medium: &Self::Medium, access: Access) -> Result<Disk> {
        let options =
            Options::new().with("l2-cache-slices", self.slices).with("refcount-cache-slices", self.slices);
        FORMAT.open(Arc::clone(medium), access, options, &DenyResolver)
    }
}

#[test]
fn every_cluster_size_conforms() {
    for cluster_size in [512u64, 4096, 65_536, 2 << 20] {
        conformance(&Qcow2 { create: Options::new().with("cluster_size", cluster_size), slices: 0 });
    }
}

#[test]
fn every_refcount_width_conforms_with_the_smallest_caches() {
    for refcount_bits in [1u64, 2, 4, 8, 16, 32, 64] {
        let create = Options::new().with("cluster_size", 1024u64).with("refcount_bits", refcount_bits);
        conformance(&Qcow2 { create, slices: 1 });
    }
}

#[test]
fn subclusters_conform() {
    for cluster_size in [16_384u64, 65_536] {
        let create = || Options::new().with("extended_l2", "on").with("cluster_size", cluster_size);
        conformance(&Qcow2 { create: create(), slices: 2 });
        conformance(&Qcow2 { create: create().with("preallocation", "metadata"), slices: 0 });
    }
}

#[test]
fn version_2_zstd_and_preallocation_conform() {
    let small = || Options::new().with("cluster_size", 4096u64);
    conformance(&Qcow2 { create: small().with("compat", "0.10"), slices: 2 });
    conformance(&Qcow2 { create: small().with("compression_type", "zstd"), slices: 2 });
    conformance(&Qcow2 { create: small().with("preallocation", "metadata"), slices: 0 });
}

/// Images with a data file.
struct WithDataFile(Options);

/// The image file, and what knows its data file.
#[derive(Debug)]
struct Pair {
    image: Arc<dyn Storage>,
    resolver: MapResolver,
}

impl Maker for WithDataFile {
    type Medium = Pair;

    fn make(&self, size: u64) -> Result<Pair> {
        let image: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let mut resolver = MapResolver::default();
        resolver.insert_storage("data", Arc::new(MemoryStorage::new()), Access::ReadWrite);
        FORMAT.create_with(&image, size, self.0.clone().with("data_file", "data"), &resolver)?;
        Ok(Pair { image, resolver })
    }

    fn open(&self, medium: &Pair, access: Access) -> Result<Disk> {
        let options = Options::new().with("l2-cache-slices", 2u64);
        FORMAT.open(Arc::clone(&medium.image), access, options, &medium.resolver)
    }
}

#[test]
fn images_with_a_data_file_conform() {
    for raw in ["off", "on"] {
        let options = || Options::new().with("data_file_raw", raw);
        for cluster_size in [512u64, 4096, 65_536, 2 << 20] {
            conformance(&WithDataFile(options().with("cluster_size", cluster_size)));
        }
        conformance(&WithDataFile(options().with("extended_l2", "on").with("cluster_size", 16_384u64)));
        conformance(&WithDataFile(options().with("lazy_refcounts", "on").with("refcount_bits", 1u64)));
        conformance(&WithDataFile(options().with("preallocation", "metadata").with("cluster_size", 4096u64)));
    }
}

/// Images on a host that refuses what is unaligned: in the file, or in memory.
struct OnStrictHost {
    cluster_size: u64,
    limits: StorageLimits,
}

impl Maker for OnStrictHost {
    type Medium = Arc<dyn Storage>;

    fn make(&self, size: u64) -> Result<Self::Medium> {
        let storage: Arc<dyn Storage> =
            Arc::new(StrictStorage::new(Arc::new(MemoryStorage::new()), self.limits));
        FORMAT.create(&storage, size, Options::new().with("cluster_size", self.cluster_size))?;
        Ok(storage)
    }

    fn open(&self, medium: &Self::Medium, access: Access) -> Result<Disk> {
        let report = FORMAT.check(medium, RepairMode::None)?.expect("qcow2 has a check");
        assert!(report.is_repaired() || report.corruptions == 0, "{report}");
        FORMAT.open(Arc::clone(medium), access, Options::new(), &DenyResolver)
    }
}

#[test]
fn images_on_a_host_that_demands_alignment_conform() {
    for (cluster_size, alignment, memory_alignment) in
        [(512, 512, 1), (512, 4096, 512), (4096, 4096, 4096), (65_536, 512, 4096), (65_536, 4096, 1)]
    {
        let limits = StorageLimits { alignment, memory_alignment };
        conformance(&OnStrictHost { cluster_size, limits });
    }
}
