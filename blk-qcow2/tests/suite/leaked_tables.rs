//! L2 tables that are counted once more than they are referred to, as a crash leaves them: a leak, of which
//! nothing else follows, whatever is done to the image.

use std::sync::Arc;

use blk_core::storage::MemoryStorage;
use blk_core::{
    Access, Amendment, DenyResolver, Disk, NewSnapshot, Options, RepairMode, Snapshots, Storage, WriteFlags,
    ZeroFlags,
};
use blk_qcow2::FORMAT;

const CLUSTER: u64 = 512;
const SIZE: u64 = 96 << 10;
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COPIED: u64 = 1 << 63;

fn word(bytes: &[u8], at: u64) -> u64 {
    u64::from_be_bytes(bytes[at as usize..at as usize + 8].try_into().unwrap())
}

fn number(bytes: &[u8], at: u64) -> u64 {
    word(bytes, at) >> 32
}

/// Counts each L2 table of the image, which has counts of 16 bits, once more; those that have one reference
/// alone, so that none is right by accident.
fn leak_tables(bytes: &mut [u8]) -> usize {
    let mut l1_tables = vec![(word(bytes, 40), number(bytes, 36))];
    let mut at = word(bytes, 64);
    for _ in 0..number(bytes, 60) {
        l1_tables.push((word(bytes, at), number(bytes, at + 8)));
        let names = (number(bytes, at + 12) >> 16) + (number(bytes, at + 12) & 0xffff);
        at = (at + 40 + number(bytes, at + 36) + names).next_multiple_of(8);
    }
    let mut leaked = 0;
    for (l1, entries) in l1_tables {
        for at in (l1..l1 + entries * 8).step_by(8) {
            let table = word(bytes, at) & OFFSET;
            let index = table / CLUSTER;
            let block = word(bytes, word(bytes, 48) + index / (CLUSTER / 2) * 8);
            let count = (block + index % (CLUSTER / 2) * 2) as usize;
            if table == 0 || bytes[count..count + 2] != [0, 1] {
                continue;
            }
            bytes[count + 1] = 2;
            // Of two references, none is alone.
            let entry = word(bytes, at) & !COPIED;
            bytes[at as usize..at as usize + 8].copy_from_slice(&entry.to_be_bytes());
            leaked += 1;
        }
    }
    leaked
}

fn open(storage: &Arc<MemoryStorage>) -> Disk {
    FORMAT.open(Arc::clone(storage) as _, Access::ReadWrite, Options::new(), &DenyResolver).unwrap()
}

fn shown(disk: &Disk) -> Vec<u8> {
    let mut bytes = vec![0xee; disk.size() as usize];
    disk.read(0, &mut bytes).unwrap();
    bytes
}

fn id_of(disk: &Disk, name: &str) -> String {
    let listed = disk.snapshots().unwrap();
    listed.into_iter().find(|snapshot| snapshot.name == name).unwrap().id
}

fn held(disk: &Disk, name: &str) -> Vec<u8> {
    let mut bytes = vec![0xee; SIZE as usize];
    disk.read_snapshot(&id_of(disk, name), 0, &mut bytes).unwrap();
    bytes
}

fn create(disk: &Disk, name: &str) {
    disk.create_snapshot(&NewSnapshot { name: name.to_owned(), ..NewSnapshot::default() }).unwrap();
}

/// Data, zeroes that keep their place where the version has them, and two snapshots, the disk with tables of
/// its own; then the leaks.
fn image(compat: &str) -> Arc<MemoryStorage> {
    let storage = Arc::new(MemoryStorage::new());
    let shared: Arc<dyn Storage> = Arc::clone(&storage) as _;
    let options = Options::new().with("cluster_size", CLUSTER).with("compat", compat);
    FORMAT.create(&shared, SIZE, options).unwrap();
    let disk = open(&storage);
    disk.write(0, &vec![1; 60 << 10], WriteFlags::default()).unwrap();
    disk.write_zeroes(blk_core::Extent::new(4096, 8192), ZeroFlags::default()).unwrap();
    create(&disk, "A");
    disk.write(2048, &[2; 4096], WriteFlags::default()).unwrap();
    disk.write(40 << 10, &[3; 512], WriteFlags::default()).unwrap();
    create(&disk, "B");
    disk.write(5000, &[4; 4096], WriteFlags::default()).unwrap();
    disk.write(50 << 10, &[5; 512], WriteFlags::default()).unwrap();
    disk.close().unwrap();
    let mut bytes = storage.to_bytes(1 << 30).unwrap();
    assert!(leak_tables(&mut bytes) >= 4, "tables of the disk and of each snapshot");
    Arc::new(MemoryStorage::from_bytes(&bytes))
}

fn must_have_leaks_alone(disk: &Disk, what: &str) {
    let report = disk.check(RepairMode::None).unwrap();
    assert_eq!((report.corruptions, report.check_errors), (0, 0), "{what}: {report}");
}

/// What is done, in order: `+X` creates a snapshot, `=X` applies one, `-X` deletes one, `v` is a downgrade.
/// Between any two, and at the end, all of the disk is written, so that what it claims to own is seen.
#[test]
fn a_leak_of_a_table_stays_a_leak() {
    for compat in ["1.1", "0.10"] {
        for acts in
            ["+C", "=A", "-A", "=A -A", "=B -B -A", "+C =A -C", "-B +C", "v", "=A v", "=A -A v", "=B +C v -C"]
        {
            let storage = image(compat);
            let disk = open(&storage);
            must_have_leaks_alone(&disk, "made");
            let mut content = shown(&disk);
            let mut snapshots: Vec<(String, Vec<u8>)> =
                ["A", "B"].map(|name| (name.to_owned(), held(&disk, name))).into();
            for (number, act) in (10..).zip(acts.split(' ')) {
                let (what, name) = (format!("{compat}: {act} of {acts}"), &act[1..]);
                match &act[..1] {
                    "+" => {
                        create(&disk, name);
                        snapshots.push((name.to_owned(), content.clone()));
                    }
                    "=" => {
                        disk.apply_snapshot(&id_of(&disk, name)).unwrap();
                        content = snapshots.iter().find(|(known, _)| known == name).unwrap().1.clone();
                    }
                    "-" => {
                        disk.delete_snapshot(&id_of(&disk, name)).unwrap();
                        snapshots.retain(|(known, _)| known != name);
                    }
                    _ => {
                        let options = Options::new().with("compat", "0.10");
                        let mut progress = |_, _| {};
                        let resolver = &DenyResolver;
                        let amendment =
                            Amendment { options, force: false, resolver, progress: &mut progress };
                        disk.as_amend().unwrap().amend(amendment).unwrap();
                    }
                }
                must_have_leaks_alone(&disk, &what);
                let is_right = |disk: &Disk, content: &Vec<u8>| {
                    assert!(shown(disk) == *content, "{what}: the disk");
                    for (name, bytes) in &snapshots {
                        assert!(held(disk, name) == *bytes, "{what}: snapshot {name}");
                    }
                };
                is_right(&disk, &content);
                for at in (0..SIZE as usize).step_by(1536) {
                    let byte = number + (at / 1536) as u8;
                    disk.write(at as u64, &[byte; 512], WriteFlags::default()).unwrap();
                    content[at..at + 512].fill(byte);
                }
                is_right(&disk, &content);
            }
            disk.close().unwrap();
            must_have_leaks_alone(&open(&storage), acts);
        }
    }
}
