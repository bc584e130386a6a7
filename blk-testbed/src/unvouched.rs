//! Bitmaps that nobody vouches for any more. A driver that changes the disk without maintaining them clears
//! the bit that vouches for them. From then on their clusters are leaks to each check, until a repair gives
//! them back. A scenario that starts from such an image is to find other leaks all the same.

use blk_core::{
    Bitmaps, Check, CheckReport, Disk, Info, Overlay, PassThrough, RepairMode, Result, Severity, Snapshots,
    VmState,
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

    fn as_bitmaps(&self) -> Option<&dyn Bitmaps> {
        self.inner.as_bitmaps()
    }

    fn as_vm_state(&self) -> Option<&dyn VmState> {
        self.inner.as_vm_state()
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

    use super::*;
    use blk_core::{Access, Storage};
    use blk_harness::Outcome;
    use blk_harness::driver::{Driver, ImageMaker, Kept, Promises};
    use blk_harness::runner::{self, Purpose, Runner};
    use blk_harness::scenario::{Config, Scenario};
    use blk_harness::space::Space;

    use crate::Qcow2Target;

    /// A driver with a fault: when it opens an image on which the byte 95, that of the autoclear bit, is
    /// this, it changes a byte there.
    #[derive(Debug, Clone, Copy)]
    struct Faulty {
        autoclear: u8,
        at: u64,
    }

    #[derive(Debug)]
    struct Planted {
        images: Box<dyn ImageMaker>,
        fault: Faulty,
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
            let Faulty { autoclear, at } = self.fault;
            let mut found = [0];
            storage.read_at(95, &mut found)?;
            if found == [autoclear] {
                storage.read_at(at, &mut found)?;
                storage.write_at(at, &[found[0] ^ 1])?;
            }
            self.images.open(storage)
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
    fn a_driver_that_drops_them_or_changes_one_is_found() {
        static DROPS: Faulty = Faulty { autoclear: 1, at: 95 };
        static CHANGES: Faulty = Faulty { autoclear: 1, at: 0xd_0007 };
        static RENAMES: Faulty = Faulty { autoclear: 1, at: 0xe_0038 };
        for (driver, requests, what) in [
            (&DROPS, "read 1M 64k\n", "the check of the image is not clean"),
            (&CHANGES, "write 1M 64k\n", "bitmap 1 has changed"),
            (&RENAMES, "flush\n", "bitmap 1 has changed"),
        ] {
            let found = run(driver, BITMAPS, requests).unwrap_or_default();
            assert!(found.contains(what), "{driver:?}: {found}");
        }
    }

    #[test]
    fn nothing_is_found_after_crashes_and_failures() {
        let mut crashed = runner::crashes(&Qcow2Target, Purpose::Fuzz);
        let mut failing = runner::faults(&Qcow2Target, Purpose::Fuzz);
        for image in IMAGES {
            let requests = "write -z -u 0 64k\nflush\nwrite 0 1k\n";
            assert_eq!(run_by(&mut *crashed, image, requests), None, "{image}");
            assert_eq!(run_by(&mut *failing, image, requests), None, "{image}");
        }
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
