//! Another name of the data file: the header says the old one or the new one at any time.

use std::sync::Arc;

use blk_core::storage::{FaultRule, FaultStorage};
use blk_core::{
    Access, Amendment, DenyResolver, Detail, Disk, Error, MapResolver, MemoryStorage, Options, RepairMode,
    Result, Storage,
};
use blk_qcow2::FORMAT;

fn image(cluster: u64, backing: usize) -> Vec<u8> {
    let storage = Arc::new(MemoryStorage::new());
    let mut resolver = MapResolver::default();
    resolver.insert_storage("data", Arc::new(MemoryStorage::new()), Access::ReadWrite);
    let mut options = Options::new().with("cluster_size", cluster).with("data_file", "data");
    if backing > 0 {
        options = options.with("backing_file", "b".repeat(backing)).with("backing_fmt", "raw");
    }
    FORMAT.create_with(&(Arc::clone(&storage) as _), 1 << 20, options, &resolver).unwrap();
    storage.to_bytes(1 << 30).unwrap()
}

fn open(storage: Arc<dyn Storage>) -> Result<Disk> {
    let options = Options::new().with("backing", "off").with("open-data-file", "off");
    FORMAT.open(storage, Access::ReadWrite, options, &DenyResolver)
}

fn rename(disk: &Disk, name: &str) -> Result<()> {
    let options = Options::new().with("data_file", name);
    let amendment = Amendment { options, force: false, resolver: &DenyResolver, progress: &mut |_, _| () };
    disk.as_amend().unwrap().amend(amendment)
}

/// The names of both files.
fn names(storage: &Arc<MemoryStorage>, what: &str) -> (String, Option<(String, Option<String>)>) {
    let disk = open(Arc::clone(storage) as _).unwrap_or_else(|error| panic!("{what}: {error}"));
    let info = disk.info().unwrap();
    let named = info.details.iter().find_map(|(name, detail)| match detail {
        Detail::Text(text) if *name == "data-file" => Some(text.clone()),
        _ => None,
    });
    drop(disk);
    let report = FORMAT.check(&(Arc::clone(storage) as _), RepairMode::None).unwrap().unwrap();
    assert!(report.is_clean(), "{what}: {report}");
    (named.unwrap_or_default(), info.backing.map(|backing| (backing.name, backing.format)))
}

/// Renames the data file of `bytes`, cut at each operation. Returns what the image is then.
fn renamed(bytes: &[u8], name: &str, what: &str) -> Vec<u8> {
    let fresh = || Arc::new(MemoryStorage::from_bytes(bytes));
    let before = names(&fresh(), what);
    for cut in 0.. {
        let what = format!("{what}, cut at operation {cut}");
        let storage = fresh();
        let fault = Arc::new(FaultStorage::new(Arc::clone(&storage) as _));
        let disk = open(Arc::clone(&fault) as _).unwrap();
        fault.add_rule(FaultRule::fail(5).after(cut).sticky());
        let answer = rename(&disk, name);
        drop(disk);
        let after = names(&storage, &what);
        assert_eq!(after.1, before.1, "{what}");
        match answer {
            Ok(()) => {
                assert_eq!(after.0, name, "{what}");
                return storage.to_bytes(1 << 30).unwrap();
            }
            Err(Error::InvalidOption { reason, .. }) => {
                assert!(reason.contains("header"), "{what}: {reason}");
                assert!(storage.to_bytes(1 << 30).unwrap() == bytes, "{what}");
                return bytes.to_vec();
            }
            Err(_) => assert!(after.0 == before.0 || after.0 == name, "{what}: {after:?}"),
        }
    }
    unreachable!("it ends without a fault")
}

#[test]
fn a_name_that_is_cut_anywhere_is_the_old_one_or_the_new_one() {
    for cluster in [512, 1024, 4096, 65_536] {
        for backing in [0, 1, 100, 250, 400, 1000] {
            if backing + 200 > cluster as usize {
                continue;
            }
            let mut bytes = image(cluster, backing);
            for (number, length) in [1, 20, 100, 300, 380, 400, 900, 50, 1023, 7].into_iter().enumerate() {
                let what = format!("clusters of {cluster}, backing of {backing}, {number}: {length}");
                bytes = renamed(&bytes, &"n".repeat(length), &what);
            }
        }
    }
}

/// The names of backing files do not move on until there is no room.
#[test]
fn many_names_follow_one_another() {
    for backing in [200, 400, 1000] {
        let mut bytes = image(4096, backing);
        for number in 0..40 {
            let name = format!("data{number}");
            let storage = Arc::new(MemoryStorage::from_bytes(&bytes));
            let disk = open(Arc::clone(&storage) as _).unwrap();
            rename(&disk, &name).unwrap_or_else(|error| panic!("{backing}, {number}: {error}"));
            drop(disk);
            assert_eq!(names(&storage, &name).0, name);
            bytes = storage.to_bytes(1 << 30).unwrap();
        }
    }
}
