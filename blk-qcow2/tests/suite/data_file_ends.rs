//! Where data files end, and what they hold when a disk becomes smaller or empty.

use std::sync::Arc;

use blk_core::storage::PassThrough;
use blk_core::{
    Access, BackingFile, Disk, Error, Extent, Format, MapResolver, MemoryStorage, Options, RepairMode,
    Result, Secret, Storage, WriteFlags,
};

use crate::encryption::QUICK;

const SIZE: u64 = 1 << 20;

/// A device: its length stays.
#[derive(Debug)]
struct Device(Arc<MemoryStorage>);

impl PassThrough for Device {
    fn inner(&self) -> &dyn Storage {
        &*self.0
    }

    fn set_len(&self, _length: u64) -> Result<()> {
        Err(Error::unsupported("another length"))
    }
}

struct Made {
    image: Arc<dyn Storage>,
    data: Arc<MemoryStorage>,
    resolver: MapResolver,
    open: Options,
}

impl Made {
    fn new(cluster: u64, raw: &str, is_encrypted: bool, is_device: bool) -> Self {
        let image: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        // A device has old bytes, before and behind the disk.
        let data = Arc::new(MemoryStorage::from_bytes(&vec![0x99; if is_device { 2 << 20 } else { 0 }]));
        let mut resolver = MapResolver::default();
        let stored: Arc<dyn Storage> =
            if is_device { Arc::new(Device(Arc::clone(&data))) } else { Arc::clone(&data) as _ };
        resolver.insert_storage("data", stored, Access::ReadWrite);
        resolver.insert_secret("first", Secret::from(b"first".to_vec()));
        let mut open = Options::new();
        let mut create = Options::new().with("cluster_size", cluster).with("data_file", "data");
        create = create.with("data_file_raw", raw);
        if is_encrypted {
            create = create.with("encrypt.format", "luks").with("encrypt.key-secret", "first");
            open = open.with("encrypt.key-secret", "first");
        }
        QUICK.create_with(&image, SIZE, create, &resolver).unwrap();
        Self { image, data, resolver, open }
    }

    fn open(&self) -> Disk {
        let (image, options) = (Arc::clone(&self.image), self.open.clone());
        QUICK.open(image, Access::ReadWrite, options, &self.resolver).unwrap()
    }

    fn stored(&self, extent: Extent) -> Vec<u8> {
        let mut bytes = vec![0xee; extent.length as usize];
        self.data.read_at(extent.offset, &mut bytes).unwrap();
        bytes
    }

    fn autoclear(&self) -> u8 {
        let mut bits = [0; 8];
        self.image.read_at(88, &mut bits).unwrap();
        bits[7]
    }
}

fn content(disk: &Disk) -> Vec<u8> {
    let mut bytes = vec![0xee; disk.size() as usize];
    disk.read(0, &mut bytes).unwrap();
    bytes
}

fn must_be_clean(disk: &Disk, what: &str) {
    let report = disk.check(RepairMode::None).unwrap();
    assert!(report.is_clean(), "{what}: {report}");
}

/// Each combination of a raw data file, encryption and a device.
fn each_kind() -> impl Iterator<Item = (&'static str, bool, bool)> {
    let bits = |number: u8| (["off", "on"][usize::from(number & 1)], number & 2 != 0, number & 4 != 0);
    (0..8).map(bits)
}

#[test]
fn a_data_file_ends_with_a_smaller_disk() {
    for (raw, is_encrypted, is_device) in each_kind() {
        for cluster in [512, 4096, 65_536, 2 << 20] {
            for size in [SIZE - 512, 300_032, 65_536, 1000, 512, 0] {
                let what =
                    format!("raw {raw} encrypted {is_encrypted} device {is_device} {cluster} to {size}");
                let made = Made::new(cluster, raw, is_encrypted, is_device);
                let mut disk = made.open();
                disk.write(0, &vec![7; SIZE as usize], WriteFlags::default()).unwrap();
                disk.resize(size).unwrap();
                drop(disk);
                let end = if is_encrypted { size.next_multiple_of(512) } else { size };
                let behind = made.stored(Extent::between(end, SIZE));
                assert!(behind.iter().all(|byte| *byte == 0), "{what}");
                if is_device && cluster <= 65_536 {
                    assert!(made.stored(Extent::new(SIZE, SIZE)) == vec![0x99; SIZE as usize], "{what}");
                } else if !is_device {
                    assert_eq!(made.data.len().unwrap(), end, "{what}");
                }
                disk = made.open();
                assert!(content(&disk) == vec![7; size as usize], "{what}");
                must_be_clean(&disk, &what);
                if raw == "on" && !is_encrypted {
                    assert!(made.stored(Extent::new(0, size)) == vec![7; size as usize], "{what}");
                }
                disk.resize(SIZE).unwrap();
                let mut expected = vec![7; size as usize];
                expected.resize(SIZE as usize, 0);
                assert!(content(&disk) == expected, "{what}, and back");
                disk.close().unwrap();
                must_be_clean(&disk, &what);
            }
        }
    }
}

#[test]
fn what_is_forgotten_is_in_no_data_file_that_is_the_disk() {
    for (raw, is_encrypted, is_device) in each_kind() {
        let what = format!("raw {raw} encrypted {is_encrypted} device {is_device}");
        let made = Made::new(4096, raw, is_encrypted, is_device);
        let disk = made.open();
        disk.write(1000, &vec![7; 300_000], WriteFlags::default()).unwrap();
        disk.as_overlay().unwrap().forget_content().unwrap();
        assert!(content(&disk) == vec![0; SIZE as usize], "{what}");
        if raw == "on" && !is_encrypted {
            assert!(made.stored(Extent::new(0, SIZE)) == vec![0; SIZE as usize], "{what}");
            assert!(disk.block_status(Extent::new(0, SIZE)).unwrap().allocated, "{what}: all is mapped");
        }
        disk.write(5000, &[1; 10], WriteFlags::default()).unwrap();
        disk.close().unwrap();
        let disk = made.open();
        let mut expected = vec![0; SIZE as usize];
        expected[5000..5010].fill(1);
        assert!(content(&disk) == expected, "{what}");
        must_be_clean(&disk, &what);
    }
}

/// The bit stays whatever is written, and beside it there is no backing file.
#[test]
fn a_raw_data_file_has_no_backing_file_also_where_it_is_encrypted() {
    for (raw, is_encrypted, is_device) in each_kind() {
        let what = format!("raw {raw} encrypted {is_encrypted}");
        let made = Made::new(4096, raw, is_encrypted, is_device);
        let disk = made.open();
        disk.write(0, &[1; 5000], WriteFlags::default()).unwrap();
        let backing = BackingFile { name: "b".to_owned(), format: None };
        let named = disk.as_overlay().unwrap().set_backing(Some(&backing));
        assert_eq!(named.is_err(), raw == "on", "{what}: {named:?}");
        disk.as_overlay().unwrap().set_backing(None).unwrap();
        disk.close().unwrap();
        assert_eq!(made.autoclear(), if raw == "on" { 2 } else { 0 }, "{what}");
        assert!(disk.as_vm_state().is_none(), "a state would lie in the data file");
    }
}
