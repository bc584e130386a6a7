//! Encrypted images: what is read is what was written, and lies on the host in no other form than encrypted.

use std::sync::Arc;

use blk_core::{
    Access, BackingFile, DiscardFlags, Disk, ErrorKind, Extent, Format, MapResolver, MemoryStorage,
    NewSnapshot, Options, Preallocation, RepairMode, Result, Secret, Storage, WriteFlags, ZeroFlags,
};
use blk_luks::{
    Algorithms, Cipher, Family, IvGenerator, KeySlots, Mode, Repeatable, SECTOR_BYTES, SectorCipher,
};
use blk_qcow2::Qcow2Format;

use crate::common::Random;

static RANDOM: Repeatable = Repeatable::new(11);
/// Keys of two stripes, and passphrases that are hashed once.
pub(crate) static QUICK: Qcow2Format = Qcow2Format::new(&RANDOM).with_weak_keys(2);
const METHODS: [&str; 2] = ["aes", "luks"];

/// Knows the passphrases of tests: each is its own name.
pub(crate) fn secrets() -> MapResolver {
    let mut resolver = MapResolver::default();
    for name in ["first", "second", "a passphrase longer than sixteen bytes"] {
        resolver.insert_secret(name, Secret::from(name.as_bytes().to_vec()));
    }
    resolver
}

pub(crate) fn key(name: &str) -> Options {
    Options::new().with("encrypt.key-secret", name)
}

pub(crate) fn create(size: u64, method: &str, options: Options) -> Arc<dyn Storage> {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let options = options.with("encrypt.format", method).with("encrypt.key-secret", "first");
    QUICK.create_with(&storage, size, options, &secrets()).unwrap();
    storage
}

pub(crate) fn try_open(storage: &Arc<dyn Storage>, access: Access, options: Options) -> Result<Disk> {
    QUICK.open(Arc::clone(storage), access, options, &secrets())
}

pub(crate) fn open(storage: &Arc<dyn Storage>) -> Disk {
    try_open(storage, Access::ReadWrite, key("first")).unwrap()
}

pub(crate) fn bytes(storage: &dyn Storage) -> Vec<u8> {
    let mut bytes = vec![0; storage.len().unwrap() as usize];
    storage.read_at(0, &mut bytes).unwrap();
    bytes
}

pub(crate) fn field(storage: &dyn Storage, at: u64) -> u64 {
    let mut field = [0; 8];
    storage.read_at(at, &mut field).unwrap();
    u64::from_be_bytes(field)
}

fn content(disk: &Disk) -> Vec<u8> {
    let mut content = vec![0xee; disk.size() as usize];
    disk.read(0, &mut content).unwrap();
    content
}

pub(crate) fn assert_clean(disk: &Disk) {
    let report = disk.check(RepairMode::None).unwrap();
    assert!(report.is_clean(), "{report}");
}

/// Where the LUKS header lies: the extension is the first of an image without a backing file.
pub(crate) fn luks_header(storage: &dyn Storage, version: u64) -> u64 {
    let at = if version == 2 { 72 } else { 112 };
    assert_eq!(field(storage, at) >> 32, 0x0537_be77);
    field(storage, at + 8)
}

/// Bytes that stand nowhere else.
pub(crate) fn unique(number: u64, length: usize) -> Vec<u8> {
    let mut random = Random(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    (0..length).map(|_| random.below(251) as u8).collect()
}

fn shapes() -> Vec<Options> {
    let size = |bytes: u64| Options::new().with("cluster_size", bytes);
    let mut shapes = vec![
        size(512),
        size(4096),
        size(65_536),
        size(2 << 20),
        size(512).with("refcount_bits", 1u64),
        size(4096).with("refcount_bits", 64u64).with("lazy_refcounts", "on"),
        size(16_384).with("extended_l2", "on"),
        size(65_536).with("extended_l2", "on").with("preallocation", "metadata"),
    ];
    for compat in ["0.10", "1.1"] {
        shapes.push(size(4096).with("compat", compat));
        for preallocation in ["metadata", "falloc", "full"] {
            shapes.push(size(4096).with("compat", compat).with("preallocation", preallocation));
        }
    }
    shapes
}

/// Requests of every kind and alignment, against a copy in memory.
#[test]
fn all_requests_do_on_encrypted_images_what_they_do_on_others() {
    const SIZE: usize = (3 << 20) - 300;
    for (number, shape) in shapes().into_iter().enumerate() {
        for method in METHODS {
            let storage = create(SIZE as u64, method, shape.clone());
            let mut disk = open(&storage);
            let mut expected = vec![0; SIZE];
            assert!(content(&disk) == expected, "{method} {shape:?}: a new disk is zeroes");
            let mut random = Random(number as u64 + 1);
            for request in 0..60 {
                let offset = random.below(SIZE as u64) as usize;
                let longest = [40, 600, 5000, 700_000][random.below(4) as usize].min(SIZE - offset);
                let length = 1 + random.below(longest as u64) as usize;
                let extent = Extent::new(offset as u64, length as u64);
                let range = offset..offset + length;
                match random.below(8) {
                    0..=4 => {
                        let data = unique(request + 1, length);
                        disk.write(offset as u64, &data, WriteFlags::default()).unwrap();
                        expected[range].copy_from_slice(&data);
                    }
                    5 => {
                        let may_unmap = request % 2 == 0;
                        let flags = ZeroFlags { may_unmap, ..ZeroFlags::default() };
                        disk.write_zeroes(extent, flags).unwrap();
                        expected[range].fill(0);
                    }
                    6 => {
                        disk.discard(extent, DiscardFlags::default()).unwrap();
                        disk.read(offset as u64, &mut expected[range]).unwrap();
                    }
                    _ => {
                        disk.close().unwrap();
                        drop(disk);
                        disk = open(&storage);
                    }
                }
            }
            assert!(content(&disk) == expected, "{method} {shape:?}");
            disk.close().unwrap();
            assert_clean(&disk);
        }
    }
}

/// A block of the cipher that is on the disk is nowhere in the image.
#[test]
fn nothing_lies_on_the_host_in_plain() {
    for shape in shapes() {
        for method in METHODS {
            let storage = create(1 << 20, method, shape.clone());
            let disk = open(&storage);
            let text: Vec<u8> = b"0123456789abcdef".repeat(5000);
            for (offset, length) in [(0, 16), (1000, 5000), (65_521, 80_000), (1_000_000, 1500)] {
                disk.write(offset, &text[..length], WriteFlags::default()).unwrap();
            }
            disk.close().unwrap();
            let image = bytes(&*storage);
            let found =
                image.windows(16).position(|window| text[..31].windows(16).any(|part| part == window));
            assert_eq!(found, None, "{method} {shape:?}");
        }
    }
}

/// The host offset of the first guest cluster, out of the tables.
fn first_cluster(storage: &dyn Storage) -> u64 {
    const MASK: u64 = 0x00ff_ffff_ffff_fe00;
    let l2 = field(storage, field(storage, 40)) & MASK;
    field(storage, l2) & MASK
}

/// As the specification says, worked out without the driver.
#[test]
fn vectors_come_from_the_guests_sector_or_from_the_files() {
    let text: Vec<u8> = unique(5, 4096);
    for method in METHODS {
        let storage = create(1 << 20, method, Options::new().with("cluster_size", 4096u64));
        let disk = open(&storage);
        disk.write(0, &text, WriteFlags::default()).unwrap();
        disk.close().unwrap();
        let host = first_cluster(&*storage);
        let (cipher, sector) = if method == "luks" {
            let slots = KeySlots::open(Arc::clone(&storage), luks_header(&*storage, 3), &RANDOM).unwrap();
            let (_, key) = slots.unlock(&Secret::from(b"first".to_vec())).unwrap().unwrap();
            (SectorCipher::new(slots.header().algorithms, key.expose()).unwrap(), host / 512)
        } else {
            let aes = Algorithms {
                cipher: Cipher { family: Family::Aes, key_bytes: 16 },
                mode: Mode::Cbc,
                iv: IvGenerator::Plain64,
                iv_hash: None,
            };
            (SectorCipher::new(aes, b"first\0\0\0\0\0\0\0\0\0\0\0").unwrap(), 0)
        };
        let mut stored = vec![0; 4096];
        storage.read_at(host, &mut stored).unwrap();
        assert_ne!(stored, text);
        cipher.decrypt(sector, &mut stored);
        assert_eq!(stored, text, "{method}");
        assert_eq!(stored.len() % SECTOR_BYTES, 0);
    }
}

/// Of the old method, sixteen bytes of the passphrase count.
#[test]
fn the_old_method_uses_the_start_of_a_passphrase() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let name = "a passphrase longer than sixteen bytes";
    QUICK.create_with(&storage, 65_536, key(name).with("encryption", "on"), &secrets()).unwrap();
    let disk = try_open(&storage, Access::ReadWrite, key(name)).unwrap();
    disk.write(0, b"some text", WriteFlags::default()).unwrap();
    disk.close().unwrap();
    let mut resolver = MapResolver::default();
    resolver.insert_secret("start", Secret::from(name.as_bytes()[..16].to_vec()));
    let again = QUICK.open(Arc::clone(&storage), Access::ReadOnly, key("start"), &resolver).unwrap();
    let mut read = [0; 9];
    again.read(0, &mut read).unwrap();
    assert_eq!(&read, b"some text");
}

#[test]
fn snapshots_backing_files_and_sizes_keep_what_was_written() {
    for method in METHODS {
        for cluster_size in [512u64, 65_536] {
            let storage = create(300_000, method, Options::new().with("cluster_size", cluster_size));
            let disk = open(&storage);
            let old = unique(1, 200_000);
            disk.write(1000, &old, WriteFlags::default()).unwrap();
            let snapshots = disk.as_snapshots().unwrap();
            let new = NewSnapshot { name: "one".to_owned(), ..NewSnapshot::default() };
            let id = snapshots.create_snapshot(&new).unwrap();
            let new = unique(2, 777);
            disk.write(50_123, &new, WriteFlags::default()).unwrap();
            let mut expected = old.clone();
            let mut read = vec![0; 200_000];
            snapshots.read_snapshot(&id, 1000, &mut read).unwrap();
            assert!(read == old, "{method} {cluster_size}");
            expected[49_123..49_123 + 777].copy_from_slice(&new);
            disk.read(1000, &mut read).unwrap();
            assert!(read == expected, "{method} {cluster_size}");
            snapshots.apply_snapshot(&id).unwrap();
            disk.read(1000, &mut read).unwrap();
            assert!(read == old, "{method} {cluster_size}");
            snapshots.delete_snapshot(&id).unwrap();
            for preallocation in
                [Preallocation::Off, Preallocation::Metadata, Preallocation::Falloc, Preallocation::Full]
            {
                let before = disk.size();
                disk.as_resize().unwrap().grow(before + 100_001, preallocation).unwrap();
                let mut gained = vec![1; 100_001];
                disk.read(before, &mut gained).unwrap();
                assert!(gained.iter().all(|byte| *byte == 0), "{method} {cluster_size} {preallocation:?}");
            }
            disk.read(1000, &mut read).unwrap();
            assert!(read == old, "{method} {cluster_size}");
            disk.close().unwrap();
            assert_clean(&disk);
        }
    }
}

/// Parts of clusters show the backing file, which has another key.
#[test]
fn an_overlay_has_a_key_of_its_own() {
    for method in METHODS {
        for extended in ["off", "on"] {
            let below = create(200_000, "luks", Options::new());
            let base = open(&below);
            let text = unique(3, 200_000);
            base.write(0, &text, WriteFlags::default()).unwrap();
            let mut resolver = secrets();
            resolver.insert("base", Arc::new(base));
            let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
            let options = Options::new().with("backing_file", "base").with("extended_l2", extended);
            let options = options.with("encrypt.format", method).with("encrypt.key-secret", "second");
            QUICK.create_with(&storage, 250_000, options, &resolver).unwrap();
            let disk = QUICK.open(Arc::clone(&storage), Access::ReadWrite, key("second"), &resolver).unwrap();
            let mut expected = text;
            expected.resize(250_000, 0);
            for (number, (offset, length)) in
                [(7, 5), (2040, 20), (100_000, 3000), (199_990, 300), (130_000, 1024)].into_iter().enumerate()
            {
                let data = unique(number as u64 + 10, length);
                disk.write(offset as u64, &data, WriteFlags::default()).unwrap();
                expected[offset..offset + length].copy_from_slice(&data);
            }
            assert!(content(&disk) == expected, "{method} {extended}");
            disk.as_overlay()
                .unwrap()
                .set_backing(Some(&BackingFile { name: "base".to_owned(), format: Some("qcow2".to_owned()) }))
                .unwrap();
            disk.close().unwrap();
            drop(disk);
            let disk = QUICK.open(storage, Access::ReadWrite, key("second"), &resolver).unwrap();
            assert!(content(&disk) == expected, "{method} {extended}");
            assert_clean(&disk);
        }
    }
}

#[test]
fn without_the_key_an_image_is_only_described() {
    for method in METHODS {
        let storage = create(100_000, method, Options::new());
        open(&storage).write(0, b"text", WriteFlags::default()).unwrap();
        let before = bytes(&*storage);
        for (access, options, said) in [
            (Access::ReadWrite, Options::new(), "'encrypt.key-secret' is required"),
            (Access::ReadOnly, Options::new(), "'encrypt.key-secret' is required"),
            (Access::ReadOnly, key("nobody"), "nobody"),
            (Access::ReadWrite, Options::new().with("locked", "on"), "reading only"),
        ] {
            let refused = try_open(&storage, access, options).unwrap_err().to_string();
            assert!(refused.contains(said), "{method}: {refused}");
        }
        let wrong = try_open(&storage, Access::ReadOnly, key("second"));
        match method {
            "luks" => assert!(wrong.unwrap_err().to_string().contains("Invalid password")),
            // Nothing tells that it is wrong.
            _ => assert_ne!(content(&wrong.unwrap())[..4], *b"text"),
        }
        for other in METHODS.into_iter().filter(|other| *other != method) {
            let refused = try_open(&storage, Access::ReadOnly, key("first").with("encrypt.format", other));
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidOption);
        }
        let locked = try_open(&storage, Access::ReadOnly, Options::new().with("locked", "on")).unwrap();
        assert!(locked.as_info().unwrap().is_encrypted());
        let told = format!("{:?}", locked.info().unwrap().details);
        assert!(told.contains("\"encrypt\"") && told.contains(method), "{told}");
        assert_eq!(locked.read(0, &mut [0; 4]).unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(locked.read(90_000, &mut [0; 4]).unwrap_err().kind(), ErrorKind::Unsupported);
        assert!(bytes(&*storage) == before, "{method}");
    }
}

#[test]
fn what_would_lie_in_plain_is_refused() {
    for method in METHODS {
        let storage = create(100_000, method, Options::new());
        let disk = open(&storage);
        let flags = WriteFlags { compressed: true, ..WriteFlags::default() };
        assert_eq!(disk.write(0, &vec![7; 65_536], flags).unwrap_err().kind(), ErrorKind::Unsupported);
        let status = disk.block_status(Extent::new(0, 100_000)).unwrap();
        assert!(!status.allocated);
        disk.write(0, &[7; 100], WriteFlags::default()).unwrap();
        let status = disk.block_status(Extent::new(0, 100)).unwrap();
        assert!(status.allocated && status.host_offset.is_none(), "{status:?}");
    }
}

#[test]
fn options_that_cannot_be_are_refused() {
    for (options, said) in [
        (Options::new().with("encrypt.format", "luks"), "'encrypt.key-secret' is required"),
        (Options::new().with("encryption", "on"), "'encrypt.key-secret' is required"),
        (key("first"), "'encrypt.format' is missing"),
        (key("first").with("encrypt.format", "des"), "'des'"),
        (key("first").with("encrypt.format", "aes").with("encrypt.cipher-alg", "aes-256"), "encrypt.format"),
        (key("first").with("encrypt.cipher-alg", "aes-256"), "encrypt.format"),
        (key("first").with("encrypt.format", "luks").with("encrypt.cipher-alg", "des"), "'des'"),
        (key("first").with("encrypt.format", "luks").with("encryption", "on"), "encrypt.format"),
        (key("nobody").with("encrypt.format", "luks"), "nobody"),
        (
            key("first")
                .with("encrypt.format", "luks")
                .with("encrypt.cipher-mode", "cbc")
                .with("encrypt.ivgen-alg", "essiv")
                .with("encrypt.ivgen-hash-alg", "sha1"),
            "encrypt.ivgen-hash-alg",
        ),
    ] {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&[5; 100]));
        let refused = QUICK.create_with(&storage, 1 << 20, options, &secrets()).unwrap_err().to_string();
        assert!(refused.contains(said), "{refused}");
        assert_eq!(bytes(&*storage), [5; 100], "what was there stays");
    }
}
