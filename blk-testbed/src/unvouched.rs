//! Bitmaps that nobody vouches for any more. A driver that changes the disk without maintaining them clears
//! the bit that vouches for them. From then on their clusters are leaks to each check, until a repair gives
//! them back. A scenario that starts from such an image is to find other leaks all the same.

use blk_core::{
    Check, CheckReport, Disk, Info, Overlay, PassThrough, RepairMode, Result, Severity, Snapshots,
};

/// A disk whose check does not speak of the clusters of bitmaps, and does not repair where nothing else is
/// wrong.
#[derive(Debug)]
pub(crate) struct Unvouched {
    inner: Disk,
    /// Where these clusters lie.
    clusters: Vec<u64>,
}

impl Unvouched {
    pub(crate) fn new(inner: Disk, clusters: Vec<u64>) -> Self {
        Self { inner, clusters }
    }

    /// Without what the check says of the bitmaps.
    fn forgiven(&self, mut report: CheckReport) -> CheckReport {
        let all = std::mem::take(&mut report.findings);
        for finding in all {
            if finding.severity == Severity::Leak && self.clusters.contains(&finding.offset) {
                report.leaks -= 1;
                report.leaks_fixed -= u64::from(finding.repaired);
            } else {
                report.findings.push(finding);
            }
        }
        report
    }
}

impl PassThrough for Unvouched {
    fn inner(&self) -> &Disk {
        &self.inner
    }

    fn as_check(&self) -> Option<&dyn Check> {
        Some(self)
    }

    fn as_info(&self) -> Option<&dyn Info> {
        self.inner.as_info()
    }

    fn as_overlay(&self) -> Option<&dyn Overlay> {
        self.inner.as_overlay()
    }

    fn as_snapshots(&self) -> Option<&dyn Snapshots> {
        self.inner.as_snapshots()
    }
}

impl Check for Unvouched {
    fn check(&self, repair: RepairMode) -> Result<CheckReport> {
        let found = self.forgiven(self.inner.check(RepairMode::None)?);
        let is_clean = found.is_clean() && found.leaks_past_end == 0;
        if repair == RepairMode::None || is_clean {
            return Ok(found);
        }
        Ok(self.forgiven(self.inner.check(repair)?))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use blk_core::{Access, Storage};
    use blk_harness::Outcome;
    use blk_harness::driver::{Driver, ImageMaker, Kept, Promises};
    use blk_harness::runner::{self, Purpose, Runner};
    use blk_harness::scenario::{Config, Scenario};
    use blk_harness::space::Space;

    use crate::Qcow2Target;

    /// A driver with a fault.
    #[derive(Debug, Clone, Copy)]
    enum Faulty {
        /// When it opens an image on which the byte 95, that of the bit, is this, it changes a byte there.
        Changes { autoclear: u8, at: u64 },
        /// Its first sync does nothing: the bit need not be gone when what it vouches for is stale.
        ForgetsSync,
    }

    #[derive(Debug)]
    struct Planted {
        images: Box<dyn ImageMaker>,
        fault: Faulty,
    }

    /// A storage whose first sync does nothing.
    #[derive(Debug)]
    struct Forgetful {
        inner: Arc<dyn Storage>,
        has_synced: AtomicBool,
    }

    #[expect(clippy::missing_trait_methods, reason = "all else is the inner storage's")]
    impl blk_core::storage::PassThrough for Forgetful {
        fn inner(&self) -> &dyn Storage {
            &*self.inner
        }

        fn sync(&self) -> Result<()> {
            if self.has_synced.swap(true, Ordering::Relaxed) { self.inner.sync() } else { Ok(()) }
        }
    }

    impl Driver for Faulty {
        fn name(&self) -> &'static str {
            "planted"
        }

        fn space(&self) -> &'static Space {
            Qcow2Target.space()
        }

        fn promises(&self, config: &Config) -> Promises {
            Qcow2Target.promises(config)
        }

        fn images(&self, config: &Config) -> Result<Box<dyn ImageMaker>> {
            Ok(Box::new(Planted { images: Qcow2Target.images(config)?, fault: *self }))
        }
    }

    impl ImageMaker for Planted {
        fn create(&self, storage: &Arc<dyn Storage>) -> Result<()> {
            self.images.create(storage)
        }

        fn open(&self, storage: Arc<dyn Storage>) -> Result<Disk> {
            match self.fault {
                Faulty::Changes { autoclear, at } => {
                    let mut found = [0];
                    storage.read_at(95, &mut found)?;
                    if found == [autoclear] {
                        storage.read_at(at, &mut found)?;
                        storage.write_at(at, &[found[0] ^ 1])?;
                    }
                    self.images.open(storage)
                }
                Faulty::ForgetsSync => self
                    .images
                    .open(Arc::new(Forgetful { inner: storage, has_synced: AtomicBool::new(false) })),
            }
        }

        fn reference(&self) -> Result<Disk> {
            self.images.reference()
        }

        fn kept(&self, storage: &dyn Storage) -> Result<Vec<Kept>> {
            self.images.kept(storage)
        }
    }

    fn run(driver: &'static dyn Driver, image: &str, requests: &str) -> Option<String> {
        let mut runner = runner::requests(driver, Purpose::Minimise);
        run_by(&mut *runner, image, requests)
    }

    fn run_by(runner: &mut dyn Runner, image: &str, requests: &str) -> Option<String> {
        let text = format!("blk-scenario 1\nconfig {image}\n{requests}");
        match runner.run(&Scenario::from_text(&text).unwrap()) {
            Outcome::Clean => None,
            Outcome::Finding(finding) => Some(finding.report()),
            Outcome::Refused(why) => panic!("{why}"),
        }
    }

    const BITMAPS: &str = "size-bytes=4M x-image=bitmaps";
    const IMAGES: [&str; 3] = [
        BITMAPS,
        "size-bytes=3M x-image=bitmaps-small cluster_size=512",
        "size-bytes=512k x-image=bitmaps-stale cluster_size=4k",
    ];

    #[test]
    fn nothing_is_found_on_images_with_bitmaps() {
        for requests in [
            "",
            "read 0 64k\ncheck\n",
            "write 0 64k\ncheck\n",
            "write 100k 300k\ncheck -r leaks\nwrite 64k 1k\n",
            "discard 0 64k\ncheck -r all\nwrite 256k 5k\nflush\ncheck -r all\n",
            "write -z -u 0 512k\nreopen\nwrite 1k 100k\ncheck -r all\nreopen\nwrite 200k 10k\n",
            "truncate 5M\nwrite 4M 1M\ntruncate 64k\ncheck -r leaks\ntruncate 8M\nwrite 1M 2M\n",
        ] {
            for image in IMAGES {
                assert_eq!(run(&Qcow2Target, image, requests), None, "{image}: {requests}");
            }
        }
    }

    #[test]
    fn a_driver_that_vouches_for_them_or_changes_one_is_found() {
        static VOUCHES: Faulty = Faulty::Changes { autoclear: 0, at: 95 };
        static CHANGES: Faulty = Faulty::Changes { autoclear: 1, at: 0x4_0000 };
        static RENAMES: Faulty = Faulty::Changes { autoclear: 1, at: 0xe_0010 };
        for (driver, requests, what) in [
            (&VOUCHES, "write 1M 64k\n", "the autoclear feature bits is not what it has to be"),
            (&CHANGES, "read 1M 64k\n", "bitmap 0 is not what it has to be"),
            (&RENAMES, "flush\n", "bitmap 0 is not what it has to be"),
        ] {
            let found = run(driver, BITMAPS, requests).unwrap_or_default();
            assert!(found.contains(what), "{driver:?}: {found}");
        }
    }

    #[test]
    fn after_a_crash_nothing_vouches_for_stale_bitmaps() {
        static FORGETS: Faulty = Faulty::ForgetsSync;
        let mut crashed = runner::crashes(&Qcow2Target, Purpose::Fuzz);
        let mut failing = runner::faults(&Qcow2Target, Purpose::Fuzz);
        for image in IMAGES {
            let requests = "write -z -u 0 64k\nflush\nwrite 0 1k\n";
            assert_eq!(run_by(&mut *crashed, image, requests), None, "{image}");
            assert_eq!(run_by(&mut *failing, image, requests), None, "{image}");
        }
        let mut crashed = runner::crashes(&FORGETS, Purpose::Replay);
        let found = run_by(&mut *crashed, BITMAPS, "write 0 4k\n").unwrap_or_default();
        assert!(found.contains("the autoclear feature bits is not what it has to be"), "{found}");
    }

    #[test]
    fn other_leaks_are_told_and_repaired() {
        let start = crate::images::image("bitmaps", 4 << 20).unwrap();
        let image = Arc::new(start.duplicate());
        let clusters = crate::kept::bitmap_clusters(&*image).unwrap();
        let open = |storage: &Arc<blk_core::MemoryStorage>| {
            let storage: Arc<dyn Storage> = storage.clone();
            let options = blk_core::Options::new();
            let resolver = &blk_core::DenyResolver;
            let disk = blk_qcow2::FORMAT.open(storage, Access::ReadWrite, options, resolver).unwrap();
            Disk::new(Unvouched::new(disk, clusters.clone()), Access::ReadWrite)
        };
        let disk = open(&image);
        disk.write(0, &[1; 512], blk_core::WriteFlags::default()).unwrap();
        disk.close().unwrap();
        assert!(open(&image).check(RepairMode::All).unwrap().is_clean());
        // The refcount of a cluster that nothing uses, past the end of the file: the first block lies at the
        // third cluster.
        image.write_at(0x2_0000 + 2 * 15, &[0, 1]).unwrap();
        image.set_len(16 << 16).unwrap();
        let disk = open(&image);
        let found = disk.check(RepairMode::None).unwrap();
        assert_eq!((found.leaks, found.findings.len()), (1, 1), "{found}");
        let repaired = disk.check(RepairMode::All).unwrap();
        assert_eq!((repaired.leaks, repaired.leaks_fixed), (1, 1), "{repaired}");
        assert!(open(&image).check(RepairMode::None).unwrap().is_clean());
    }
}
