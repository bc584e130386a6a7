//! Images go from the drivers of others to ours and to QEMU's tools, and back.

mod qemu;

use std::path::Path;
use std::sync::Arc;

use blk_core::{
    Access, DenyResolver, Disk, FileStorage, MemoryStorage, Options, RepairMode, Storage, WriteFlags,
};
use blk_harness::driver::Driver as _;
use blk_harness::scenario::Config;
use foreign::image::{self, Foreign};
use foreign::testing::{IMAGO, QCOW2_RS};

const SIZE_BYTES: u64 = 1 << 20;
const SECTOR: u64 = 512;

/// Every fifth of the sectors, and one run across clusters.
fn extents() -> Vec<(u64, usize)> {
    let mut extents: Vec<_> =
        (0..SIZE_BYTES / SECTOR).step_by(5).map(|sector| (sector * SECTOR, 512)).collect();
    extents.push((300 * SECTOR, 150 << 10));
    extents
}

fn content(offset: u64, length: usize) -> Vec<u8> {
    (offset..).take(length).map(|at| (at / 512 % 251 + 1) as u8).collect()
}

fn fill(disk: &Disk) {
    for (offset, length) in extents() {
        disk.write(offset, &content(offset, length), WriteFlags::default()).unwrap();
    }
    disk.flush().unwrap();
}

fn expected() -> Vec<u8> {
    let mut all = vec![0; SIZE_BYTES as usize];
    for (offset, length) in extents() {
        all[offset as usize..][..length].copy_from_slice(&content(offset, length));
    }
    all
}

fn shows(disk: &Disk, who: &str) {
    let mut all = vec![1; SIZE_BYTES as usize];
    disk.read(0, &mut all).unwrap();
    assert!(all == expected(), "{who} reads something else");
}

fn ours(storage: &Arc<dyn Storage>, access: Access) -> Disk {
    blk_qcow2::FORMAT.open(Arc::clone(storage), access, Options::new(), &DenyResolver).unwrap()
}

fn configs() -> Vec<Config> {
    let mut configs = Vec::new();
    for cluster in ["512", "4096", "65536"] {
        for maker in ["blk", "own"] {
            for bits in ["1", "16", "64"] {
                let config = Config { size_bytes: SIZE_BYTES, ..Config::default() };
                let config = config.with("cluster_size", cluster).with("refcount_bits", bits);
                configs.push(config.with(image::MAKER, maker));
            }
        }
    }
    configs
}

fn both_ways(driver: &Foreign) {
    for config in configs() {
        let images = driver.images(&config).unwrap();
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        // Written by them, read and checked by us.
        images.create(&storage).unwrap();
        let disk = images.open(Arc::clone(&storage)).unwrap();
        fill(&disk);
        disk.close().unwrap();
        let report = image::check(&storage, RepairMode::None).unwrap();
        assert!(report.is_clean(), "{config:?}: {report}");
        shows(&ours(&storage, Access::ReadOnly), "blk-qcow2");
        // Written by us, read by them.
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        images.create(&storage).unwrap();
        fill(&ours(&storage, Access::ReadWrite));
        shows(&images.open(storage).unwrap(), driver.name);
    }
}

#[test]
fn imago_and_we_read_what_the_other_writes() {
    both_ways(&IMAGO);
}

#[test]
fn qcow2_rs_and_we_read_what_the_other_writes() {
    both_ways(&QCOW2_RS);
}

fn with_qemu(driver: &Foreign) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("expected.raw"), expected()).unwrap();
    for config in configs().into_iter().filter(|config| config.options.number("refcount_bits") == Some(16)) {
        let (theirs, qemus) = (path("theirs.qcow2"), path("qemus.qcow2"));
        let images = driver.images(&config).unwrap();
        let storage: Arc<dyn Storage> = Arc::new(FileStorage::create(Path::new(&theirs)).unwrap());
        images.create(&storage).unwrap();
        fill(&images.open(storage).unwrap());
        let raw = path("expected.raw");
        if qemu::run("qemu-img", &["check", "-q", &theirs]).is_none() {
            return;
        }
        qemu::run("qemu-img", &["compare", "-q", "-f", "raw", "-F", "qcow2", &raw, &theirs]);
        let cluster = config.options.number("cluster_size").unwrap_or(64 << 10);
        let option = format!("cluster_size={cluster}");
        qemu::run("qemu-img", &["convert", "-q", "-f", "raw", "-O", "qcow2", "-o", &option, &raw, &qemus]);
        let storage = FileStorage::open(Path::new(&qemus), Access::ReadWrite).unwrap();
        shows(&images.open(Arc::new(storage)).unwrap(), driver.name);
    }
}

#[test]
fn imago_and_qemu_read_what_the_other_writes() {
    with_qemu(&IMAGO);
}

#[test]
fn qcow2_rs_and_qemu_read_what_the_other_writes() {
    with_qemu(&QCOW2_RS);
}
