//! The program `blk` with one more format, `careless`: qcow2 by a driver that has a bug. A discard takes
//! whole clusters, also those of which only a part was meant.
//!
//! ```console
//! $ cargo run --example careless -- io --image-opts \
//!     driver=blkverify,raw.driver=file,raw.filename=raw.img,test.driver=careless,test.file.filename=test.qcow2
//! ```
//!
//! `cargo xtask guest --planted` puts it under a Linux guest.

use std::process::ExitCode;
use std::sync::Arc;

use blk_core::{
    Access, DiscardFlags, Disk, Extent, Format, Limits, Options, PassThrough, Probe, Registry, Resolver,
    Result, Storage,
};

fn main() -> ExitCode {
    let ours = blk_cli::formats::ours();
    let careless: &dyn Format = &CarelessFormat;
    blk_cli::main_with(Registry::new([careless].into_iter().chain(ours.formats())))
}

#[derive(Debug)]
struct CarelessFormat;

impl Format for CarelessFormat {
    fn name(&self) -> &'static str {
        "careless"
    }

    /// Only for those who ask for it by its name.
    fn probe(&self, _: &Probe<'_>) -> u8 {
        0
    }

    fn open(
        &self,
        storage: Arc<dyn Storage>,
        access: Access,
        options: Options,
        resolver: &dyn Resolver,
    ) -> Result<Disk> {
        let disk = Arc::new(blk_qcow2::FORMAT.open(storage, access, options, resolver)?);
        let cluster_bytes = disk.limits().discard_granularity;
        Ok(Disk::new(Careless { disk, cluster_bytes }, access))
    }

    fn create(&self, storage: &Arc<dyn Storage>, size: u64, options: Options) -> Result<()> {
        blk_qcow2::FORMAT.create(storage, size, options)
    }
}

#[derive(Debug)]
struct Careless {
    disk: Arc<Disk>,
    cluster_bytes: u64,
}

impl PassThrough for Careless {
    fn inner(&self) -> &Disk {
        &self.disk
    }

    /// Discards come as they are asked for, and are not cut to whole clusters before.
    fn limits(&self) -> Limits {
        Limits { discard_granularity: 1, ..*self.disk.limits() }
    }

    fn discard(&self, extent: Extent, flags: DiscardFlags) -> Result<()> {
        let start = extent.offset / self.cluster_bytes * self.cluster_bytes;
        let end = extent.end().next_multiple_of(self.cluster_bytes).min(self.disk.size());
        self.disk.discard(Extent::between(start, end), flags)
    }
}
