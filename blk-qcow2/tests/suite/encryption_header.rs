//! The LUKS header of an encrypted image: its key slots change, its clusters are counted and guarded, and one
//! that is hostile does no harm.

use std::sync::Arc;

use blk_core::{
    Access, Amendment, Disk, Error, ErrorKind, Format, MemoryStorage, Options, RepairMode, Result, Storage,
    WriteFlags,
};
use blk_luks::Header;

use crate::encryption::{
    QUICK, assert_clean, bytes, create, field, key, luks_header, open, secrets, try_open, unique,
};

fn amend(disk: &Disk, options: Options, force: bool) -> Result<()> {
    let resolver = secrets();
    disk.as_amend().unwrap().amend(Amendment {
        options,
        force,
        resolver: &resolver,
        progress: &mut |_, _| (),
    })
}

fn slots(storage: &dyn Storage) -> Vec<usize> {
    let header = Header::read(storage, luks_header(storage, 3)).unwrap();
    (0..8).filter(|slot| header.slots[*slot].is_active).collect()
}

#[test]
fn key_slots_are_added_and_erased() {
    let storage = create(1 << 20, "luks", Options::new().with("cluster_size", 512u64));
    let disk = open(&storage);
    let text = unique(9, 300_000);
    disk.write(100, &text, WriteFlags::default()).unwrap();
    let set = |state: &str| Options::new().with("encrypt.state", state);
    amend(&disk, set("active").with("encrypt.new-secret", "second").with("encrypt.iter-time", 0), false)
        .unwrap();
    assert_eq!(slots(&*storage), [0, 1]);
    for (options, said) in [
        (Options::new().with("encrypt.keyslot", 1), "encrypt.state"),
        (set("active"), "encrypt.new-secret"),
        (set("inactive"), "encrypt.keyslot"),
        (set("inactive").with("encrypt.keyslot", 8), "encrypt.keyslot"),
        (set("active").with("encrypt.new-secret", "second").with("encrypt.keyslot", 1), "erase it first"),
        (set("active").with("size", "x"), "size"),
    ] {
        let refused = amend(&disk, options, false).unwrap_err().to_string();
        assert!(refused.contains(said), "{refused}");
        assert_eq!(slots(&*storage), [0, 1]);
    }
    amend(&disk, set("inactive").with("encrypt.old-secret", "first"), false).unwrap();
    assert_eq!(slots(&*storage), [1]);
    assert!(amend(&disk, set("inactive").with("encrypt.keyslot", 1), false).is_err());
    disk.write(5, b"more", WriteFlags::default()).unwrap();
    disk.close().unwrap();
    assert_clean(&disk);
    assert!(try_open(&storage, Access::ReadOnly, key("first")).is_err());
    let disk = try_open(&storage, Access::ReadOnly, key("second")).unwrap();
    let mut read = vec![0; 300_000];
    disk.read(100, &mut read).unwrap();
    assert!(read == text);
    let old = create(1 << 20, "aes", Options::new());
    assert_eq!(amend(&open(&old), set("active"), false).unwrap_err().kind(), ErrorKind::Unsupported);
}

/// Of the header's clusters none is free, whoever looks for one, and none is written over.
#[test]
fn the_header_of_the_encryption_is_counted_and_guarded() {
    for compat in ["0.10", "1.1"] {
        let options = Options::new().with("cluster_size", 4096u64).with("compat", compat);
        let storage = create(1 << 20, "luks", options);
        let version = if compat == "1.1" { 3 } else { 2 };
        let disk = open(&storage);
        disk.write(0, &[7; 4096], WriteFlags::default()).unwrap();
        disk.close().unwrap();
        drop(disk);
        let at = luks_header(&*storage, version);
        let block = field(&*storage, field(&*storage, 48));
        let counts = block + at / 4096 * 2;
        // A count of 0: found, and corrected.
        storage.write_at(counts, &[0; 2]).unwrap();
        let report = QUICK.check(&storage, RepairMode::None).unwrap().unwrap();
        assert_eq!(report.corruptions, 1, "{report}");
        assert!(QUICK.check(&storage, RepairMode::All).unwrap().unwrap().is_repaired());
        // No count at all: all are made anew.
        storage.write_at(field(&*storage, 48), &[0; 8]).unwrap();
        assert!(QUICK.check(&storage, RepairMode::All).unwrap().unwrap().is_repaired());
        assert_clean(&open(&storage));
        // An entry that claims a cluster of it as data.
        let l2 = field(&*storage, field(&*storage, 40)) & 0x00ff_ffff_ffff_fe00;
        storage.write_at(l2, &((at + 4096) | (1 << 63)).to_be_bytes()).unwrap();
        let disk = open(&storage);
        let refused = disk.write(0, &[1; 100], WriteFlags::default()).unwrap_err();
        assert!(refused.to_string().contains("header of the encryption"), "{refused}");
        drop(disk);
        assert!(QUICK.check(&storage, RepairMode::None).unwrap().unwrap().corruptions > 0);
        let repaired = QUICK.check(&storage, RepairMode::All).unwrap().unwrap();
        assert!(repaired.is_repaired(), "{repaired}");
        assert_clean(&open(&storage));
    }
}

/// What no image has: the extension says it, or the LUKS header.
#[test]
fn hostile_headers_are_refused_or_do_no_harm() {
    let healthy = create(1 << 20, "luks", Options::new().with("cluster_size", 4096u64));
    let healthy = bytes(&*healthy);
    let numbers = [
        0,
        1,
        511,
        512,
        592,
        4096,
        8192,
        12_288,
        36_863,
        36_864,
        1 << 20,
        1 << 40,
        (1 << 62) - 4096,
        1 << 62,
        1 << 63,
        u64::MAX - 4095,
        u64::MAX,
    ];
    for offset in numbers.into_iter().chain([20_480]) {
        for length in numbers {
            let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&healthy));
            storage.write_at(120, &offset.to_be_bytes()).unwrap();
            storage.write_at(128, &length.to_be_bytes()).unwrap();
            let opened = try_open(&storage, Access::ReadWrite, key("first"));
            let fits = offset == luks_header(&*Arc::new(MemoryStorage::from_bytes(&healthy)), 3);
            assert_eq!(opened.is_ok(), fits && (36_864..=1 << 61).contains(&length), "{offset} {length}");
            if let Ok(disk) = opened {
                let _ = disk.write(0, &[1; 10_000], WriteFlags::default());
                let _ = disk.close();
            }
            if let Ok(Some(report)) = QUICK.check(&storage, RepairMode::None) {
                assert!(
                    report.is_clean() == (fits && length == 36_864) || length == 0 || fits,
                    "{offset} {length}"
                );
            }
            let _ = QUICK.check(&storage, RepairMode::All);
        }
    }
    // The method and the extension have to fit one another.
    for (method, kind, is_known) in [
        (0u32, 0x0537_be77u32, false),
        (1, 0x0537_be77, false),
        (2, 1, false),
        (3, 1, false),
        (0, 1, true),
        (1, 1, true),
    ] {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&healthy));
        storage.write_at(32, &method.to_be_bytes()).unwrap();
        storage.write_at(112, &kind.to_be_bytes()).unwrap();
        let opened = try_open(&storage, Access::ReadOnly, key("first"));
        assert_eq!(opened.is_ok(), is_known, "{method} {kind:#x}: {opened:?}");
    }
}

/// Nobody works for a header from outside without a key, nor for hours with one.
#[test]
fn iterations_are_bounded() {
    let storage = create(1 << 20, "luks", Options::new());
    let at = luks_header(&*storage, 3);
    // Of slot 0.
    storage.write_at(at + 212, &u32::MAX.to_be_bytes()).unwrap();
    let locked = try_open(&storage, Access::ReadOnly, Options::new().with("locked", "on")).unwrap();
    assert!(format!("{:?}", locked.info().unwrap()).contains("4294967295"));
    let refused = try_open(&storage, Access::ReadWrite, key("first")).unwrap_err();
    assert!(matches!(refused, Error::Unsupported { .. }), "{refused}");
}

/// A slot is not written where the tables say that something else lies, too.
#[test]
fn keys_are_not_written_over_metadata() {
    for (field_at, role) in [(40, "L2 table"), (48, "refcount block")] {
        for cluster in [0, 1, 5] {
            let storage = create(1 << 20, "luks", Options::new().with("cluster_size", 4096u64));
            let disk = open(&storage);
            disk.write(0, &[7; 4096], WriteFlags::default()).unwrap();
            disk.close().unwrap();
            drop(disk);
            let at = luks_header(&*storage, 3);
            let flag = if field_at == 40 { 1 << 63 } else { 0 };
            // A further entry: the first ones stay true.
            let table = field(&*storage, field_at) + if field_at == 40 { 0 } else { 8 };
            storage.write_at(table, &((at + cluster * 4096) | flag).to_be_bytes()).unwrap();
            let disk = open(&storage);
            let before = bytes(&*storage);
            let options = Options::new().with("encrypt.state", "active").with("encrypt.new-secret", "second");
            let refused = amend(&disk, options, false).unwrap_err();
            let what = format!("{role} in cluster {cluster}: {refused}");
            assert!(matches!(refused, Error::Corrupt { .. }) && what.contains("changing the keys"), "{what}");
            drop(disk);
            let after = bytes(&*storage);
            assert!(before[512..] == after[512..] && after[79] & 2 != 0, "{what}");
        }
    }
}
