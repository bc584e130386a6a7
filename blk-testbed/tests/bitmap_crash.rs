//! A crash at every operation of an image with bitmaps: check finds no corruption, and a bitmap that the
//! image vouches for is one that was saved, of the disk as it was then.

use std::collections::BTreeMap;
use std::sync::Arc;

use blk_core::{
    Access, Bitmaps, DenyResolver, DirtyBitmap, DiscardFlags, Disk, Extent, MemoryStorage, Options,
    RepairMode, Storage, WriteFlags, ZeroFlags,
};
use blk_qcow2::FORMAT;
use blk_sim::{Durability, Host, Settings, States};

const SIZE: u64 = 192 << 10;

fn content(disk: &Disk) -> Vec<u8> {
    let mut bytes = vec![0; disk.size() as usize];
    disk.read(0, &mut bytes).expect("the disk is read");
    bytes
}

/// What a bitmap was when it was saved: its bits, whether it was enabled, and what the disk held.
type Saved = (Vec<(u64, bool)>, bool, Vec<u8>);

fn runs(bits: &DirtyBitmap, size: u64) -> Vec<(u64, bool)> {
    let (mut runs, mut at) = (Vec::new(), 0);
    while at < size {
        let (length, is_dirty) = bits.run(Extent::between(at, size));
        runs.push((length, is_dirty));
        at += length;
    }
    runs
}

fn now(disk: &Disk) -> Vec<(String, Saved)> {
    let bitmaps = disk.as_bitmaps().expect("it keeps bitmaps");
    let known = bitmaps.bitmaps().expect("they are read").into_iter().filter(|info| !info.is_inconsistent);
    let saved = |name: &str, is_enabled| {
        (runs(&bitmaps.read_bitmap(name).expect("it is known"), disk.size()), is_enabled, content(disk))
    };
    known.map(|info| (info.name.clone(), saved(&info.name, info.is_enabled))).collect()
}

/// A session: what is done between an open and the close, or the loss of the handle.
type Session = (fn(&Disk), bool);

fn bitmaps(disk: &Disk) -> &dyn Bitmaps {
    disk.as_bitmaps().expect("it keeps bitmaps")
}

fn write(disk: &Disk, offset: u64, length: usize, value: u8) {
    disk.write(offset, &vec![value; length], WriteFlags::default()).expect("a write");
}

const SESSIONS: [Session; 9] = [
    (|disk| write(disk, 0, 700, 1), true),
    (
        |disk| {
            bitmaps(disk).add_bitmap("on", 512, true).unwrap();
            write(disk, 40_000, 9000, 2);
            bitmaps(disk).add_bitmap("off", 4096, false).unwrap();
            disk.flush().unwrap();
            write(disk, 100, 10, 3);
        },
        true,
    ),
    (|disk| write(disk, 90_000, 2000, 4), true),
    (
        |disk| {
            bitmaps(disk).merge_bitmap("off", &bitmaps(disk).read_bitmap("on").unwrap()).unwrap();
            bitmaps(disk).clear_bitmap("on").unwrap();
            disk.discard(Extent::new(0, 65_536), DiscardFlags::default()).unwrap();
        },
        true,
    ),
    (
        |disk| {
            bitmaps(disk).add_bitmap("third", 1 << 16, true).unwrap();
            bitmaps(disk).remove_bitmap("on").unwrap();
            disk.write_zeroes(Extent::new(120_000, 8000), ZeroFlags::default()).unwrap();
            disk.flush().unwrap();
        },
        true,
    ),
    (
        |disk| {
            bitmaps(disk).enable_bitmap("off", true).unwrap();
            bitmaps(disk).enable_bitmap("third", false).unwrap();
            write(disk, 8192, 3000, 5);
        },
        true,
    ),
    (|disk| disk.resize(SIZE + 66_048).unwrap(), true),
    (|disk| write(disk, 0, 512, 6), false),
    (
        |disk| {
            bitmaps(disk).remove_bitmap("off").unwrap();
            bitmaps(disk).remove_bitmap("third").unwrap();
            write(disk, 512, 512, 7);
        },
        true,
    ),
];

#[test]
fn a_crash_leaves_bitmaps_that_were_saved_or_that_say_that_they_were_not() {
    let mut counts = [0_u64; 4];
    for (options, name) in [
        (Options::new().with("cluster_size", 512_u64), ""),
        (Options::new().with("cluster_size", 4096_u64), ""),
        (Options::new().with("cluster_size", 65_536_u64).with("lazy_refcounts", "on"), ""),
        (Options::new().with("cluster_size", 512_u64), "a-name-of-a-backing-file"),
        (Options::new().with("cluster_size", 8192_u64), "a-name"),
    ] {
        let memory = MemoryStorage::new();
        let storage: Arc<dyn Storage> = Arc::new(memory);
        let options = if name.is_empty() { options } else { options.with("backing_file", name) };
        FORMAT.create(&storage, SIZE, options).unwrap();
        let mut image = MemoryStorage::from_bytes(&bytes(&*storage));
        let mut saved: BTreeMap<String, Vec<Saved>> = BTreeMap::new();
        for (number, (session, closes)) in SESSIONS.iter().enumerate() {
            image = crashed(number, &image, (*session, *closes), &mut saved, &mut counts);
        }
    }
    let [states, known, unknown, none] = counts;
    println!("{states} states; {known} bitmaps saved, {unknown} not, {none} images without");
    assert!(states > 3000 && known > 500 && unknown > 500 && none > 100, "{counts:?}");
}

fn bytes(storage: &dyn Storage) -> Vec<u8> {
    let mut bytes = vec![0; storage.len().unwrap() as usize];
    storage.read_at(0, &mut bytes).unwrap();
    bytes
}

fn open_alone(storage: Arc<dyn Storage>, access: Access) -> Disk {
    let options = Options::new().with("backing", "off");
    FORMAT.open(storage, access, options, &DenyResolver).expect("the image opens")
}

/// Runs a session, crashes it everywhere, and returns what it leaves.
fn crashed(
    number: usize,
    image: &MemoryStorage,
    (session, closes): Session,
    saved: &mut BTreeMap<String, Vec<Saved>>,
    counts: &mut [u64; 4],
) -> MemoryStorage {
    let keep = |saved: &mut BTreeMap<String, Vec<Saved>>, image: &MemoryStorage| {
        let disk = open_alone(Arc::new(image.duplicate()), Access::ReadOnly);
        for (name, state) in now(&disk) {
            saved.entry(name).or_default().push(state);
        }
    };
    keep(saved, image);
    let host = Arc::new(Host::new(image.duplicate(), Settings::crashing()));
    let disk = open_alone(Arc::clone(&host) as _, Access::ReadWrite);
    session(&disk);
    if closes {
        disk.close().unwrap();
    }
    drop(disk);
    let log = host.take_log();
    let mut end = Durability::new(image.duplicate(), 512);
    for operation in &log {
        end.apply(operation).unwrap();
    }
    let end = end.survivor().unwrap();
    keep(saved, &end);
    let mut durability = Durability::new(image.duplicate(), 512);
    for cut in 0..=log.len() {
        for kept in States::new(40, false, cut as u64).of(&durability) {
            let (state, _) = durability.image(&kept).unwrap();
            judge(&format!("session {number}, cut {cut}: {:?}", log.get(cut)), &state, saved, counts);
        }
        if let Some(operation) = log.get(cut) {
            durability.apply(operation).unwrap();
        }
    }
    end
}

fn judge(place: &str, state: &MemoryStorage, saved: &BTreeMap<String, Vec<Saved>>, counts: &mut [u64; 4]) {
    counts[0] += 1;
    let disk = open_alone(Arc::new(state.duplicate()), Access::ReadOnly);
    let report = disk.check(RepairMode::None).unwrap();
    let is_dirty = disk.info().unwrap().is_dirty;
    assert!(is_dirty || (report.corruptions == 0 && report.check_errors == 0), "{place}: {report}");
    let infos = bitmaps(&disk).bitmaps().unwrap_or_else(|error| panic!("{place}: {error}"));
    counts[3] += u64::from(infos.is_empty());
    counts[2] += infos.iter().filter(|info| info.is_inconsistent).count() as u64;
    for info in infos.iter().filter(|info| info.is_inconsistent) {
        assert!(info.is_in_use, "{place}: {info:?} is broken");
    }
    for (name, (bits, is_enabled, content)) in now(&disk) {
        counts[1] += 1;
        // A bitmap that has just been added is empty, and follows nothing yet.
        let is_new = !is_enabled && bits.iter().all(|(_, is_dirty)| !is_dirty);
        let was_saved = saved.get(&name).into_iter().flatten().any(|(old_bits, was_enabled, old_content)| {
            // One that is disabled need not follow the disk.
            old_bits == &bits && was_enabled == &is_enabled && (!is_enabled || old_content == &content)
        });
        assert!(was_saved || is_new, "{place}: '{name}' was never saved like that: {bits:?}");
    }
    if !is_dirty {
        let repaired = Arc::new(state.duplicate());
        let disk = open_alone(Arc::clone(&repaired) as _, Access::ReadWrite);
        disk.check(RepairMode::Leaks).unwrap();
        assert!(disk.check(RepairMode::None).unwrap().is_clean(), "{place}");
        assert_eq!(bitmaps(&disk).bitmaps().unwrap(), infos, "{place}: a repair keeps them");
    }
}
