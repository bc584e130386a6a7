//! Images with external data files and QEMU's tools, both ways: what QEMU makes and writes is read, written,
//! grown and checked here, and the other way; a raw data file is compared as raw.

#[path = "suite/common/mod.rs"]
mod common;
#[path = "suite/common/qemu.rs"]
mod qemu;

use std::sync::Arc;

use blk_core::{
    Access, DiscardFlags, Disk, Extent, MapResolver, MemoryStorage, Options, RepairMode, Storage, WriteFlags,
    ZeroFlags,
};
use blk_qcow2::FORMAT;
use qemu::{Checked, Folder};

const SIZE: u64 = 2 << 20;
const UNMAP: ZeroFlags = ZeroFlags { may_unmap: true, fua: false, no_fallback: false, fast_only: false };
const SHAPES: [&str; 8] = [
    "cluster_size=512",
    "cluster_size=4096",
    "cluster_size=65536",
    "cluster_size=2097152",
    "cluster_size=4096,refcount_bits=1",
    "cluster_size=4096,refcount_bits=64",
    "cluster_size=65536,lazy_refcounts=on",
    "cluster_size=16384,extended_l2=on",
];

/// An image and its data file in memory.
struct Pair {
    image: Arc<MemoryStorage>,
    data: Arc<MemoryStorage>,
}

impl Pair {
    fn resolver(&self) -> MapResolver {
        let mut resolver = MapResolver::default();
        resolver.insert_storage("data", Arc::clone(&self.data) as _, Access::ReadWrite);
        resolver
    }

    fn create(options: &str, raw: &str) -> Self {
        let pair = Self { image: Arc::default(), data: Arc::default() };
        let given = Options::new().with("data_file", "data").with("data_file_raw", raw);
        let options = options.split(',').fold(given, |options, item| {
            let (name, value) = item.split_once('=').unwrap();
            options.with(name, value)
        });
        let image: Arc<dyn Storage> = Arc::clone(&pair.image) as _;
        FORMAT.create_with(&image, SIZE, options, &pair.resolver()).unwrap();
        pair
    }

    fn load(folder: &Folder) -> Self {
        let [image, data] =
            ["t.qcow2", "data"].map(|name| Arc::new(MemoryStorage::from_bytes(&folder.read(name))));
        Self { image, data }
    }

    fn save(&self, folder: &Folder) {
        folder.write("t.qcow2", &self.image.to_bytes(1 << 30).unwrap());
        folder.write("data", &self.data.to_bytes(1 << 30).unwrap());
    }

    fn open(&self) -> Disk {
        let image = Arc::clone(&self.image) as _;
        FORMAT.open(image, Access::ReadWrite, Options::new(), &self.resolver()).unwrap()
    }
}

/// Requests of one round, the same for QEMU and for us.
const REQUESTS: [(&str, u64, u64); 9] = [
    ("write", 0, 300_000),
    ("write", 700_001, 3_333),
    ("zero", 65_536, 131_072),
    ("unmap", 262_144, 65_536),
    ("write", 100_000, 17),
    ("discard", 1 << 20, 262_144),
    ("zero", 5_000, 1_234),
    ("write", 1_500_000, 400_000),
    ("unmap", 1_600_000, 99_999),
];

fn byte(number: usize, round: usize) -> u8 {
    (number * 16 + round + 1) as u8
}

fn ours(disk: &Disk, round: usize, at: u64) {
    for (number, (kind, offset, length)) in REQUESTS.into_iter().enumerate() {
        let extent = Extent::new(at + offset, length);
        match kind {
            "write" => {
                let bytes = vec![byte(number, round); length as usize];
                disk.write(extent.offset, &bytes, WriteFlags::default()).unwrap();
            }
            "zero" => disk.write_zeroes(extent, ZeroFlags::default()).unwrap(),
            "unmap" => disk.write_zeroes(extent, UNMAP).unwrap(),
            _ => disk.discard(extent, DiscardFlags::default()).unwrap(),
        }
    }
}

fn theirs(folder: &Folder, round: usize, at: u64) {
    let command = |(number, (kind, offset, length)): (usize, (&str, u64, u64))| {
        let offset = at + offset;
        match kind {
            "write" => format!("write -P {} {offset} {length}", byte(number, round)),
            "zero" => format!("write -z {offset} {length}"),
            "unmap" => format!("write -z -u {offset} {length}"),
            _ => format!("discard {offset} {length}"),
        }
    };
    let commands: Vec<String> = REQUESTS.into_iter().enumerate().map(command).collect();
    folder.io("t.qcow2", &commands);
}

fn content(disk: &Disk) -> Vec<u8> {
    let mut content = vec![0; disk.size() as usize];
    disk.read(0, &mut content).unwrap();
    content
}

/// Both programs agree on content and check.
fn must_agree(folder: &Folder, pair: &Pair, raw: &str, what: &str) {
    pair.save(folder);
    let disk = pair.open();
    folder.write("expected", &content(&disk));
    let said = folder.img("compare -f raw -F qcow2 expected t.qcow2");
    assert!(said.contains("identical"), "{what}: {said}");
    if raw == "on" {
        let said = folder.img("compare -f raw -F raw expected data");
        assert!(said.contains("identical"), "{what}: {said}");
    }
    let (found, checked) = (disk.check(RepairMode::None).unwrap(), folder.check("t.qcow2"));
    assert_eq!(Checked::from(&found), checked, "{what}");
    assert!(checked.is_clean(), "{what}: {found}");
}

#[test]
fn images_of_either_are_used_by_the_other() {
    let Some(folder) = Folder::for_qemu("data-files") else { return };
    for shape in SHAPES {
        for raw in ["off", "on"] {
            let what = format!("{shape} {raw}");
            let options = format!("{shape},data_file=data,data_file_raw={raw}");
            folder.img(&format!("create -q -f qcow2 -o {options} t.qcow2 {SIZE}"));
            theirs(&folder, 0, 0);
            let pair = Pair::load(&folder);
            must_agree(&folder, &pair, raw, &format!("{what}: theirs"));
            let disk = pair.open();
            ours(&disk, 1, 333);
            disk.resize(2 * SIZE).unwrap();
            ours(&disk, 2, SIZE);
            disk.close().unwrap();
            must_agree(&folder, &pair, raw, &format!("{what}: theirs, then ours"));
            let pair = Pair::create(shape, raw);
            let disk = pair.open();
            ours(&disk, 3, 0);
            disk.close().unwrap();
            must_agree(&folder, &pair, raw, &format!("{what}: ours"));
        }
    }
}
