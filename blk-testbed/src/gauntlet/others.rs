//! Images with a snapshot and a bitmap: they are described, counted, and outlive whatever is done to the
//! disk.

use std::sync::Arc;

use blk_core::{
    Access, DenyResolver, Detail, DiscardFlags, Disk, Extent, MemoryStorage, Options, RepairMode, Storage,
    WriteFlags, ZeroFlags,
};

use crate::hostile::bytes::number;
use crate::hostile::others::{BITMAP, GRANULARITY_BITS, SNAPSHOT};
use crate::hostile::{SHARED, Template, templates};

const NOTHING: &str = "nothing";

/// The template with both.
fn template() -> &'static Template {
    let found = templates().iter().find(|template| template.name.ends_with(SHARED));
    found.expect("there is a template with a snapshot")
}

fn open(storage: Arc<dyn Storage>, access: Access) -> Disk {
    blk_qcow2::FORMAT.open(storage, access, Options::new(), &DenyResolver).expect("the image opens")
}

fn contents(disk: &Disk) -> Vec<u8> {
    let mut read = vec![1; disk.size() as usize];
    disk.read(0, &mut read).expect("the disk is read");
    read
}

/// The image as it would be with the snapshot applied: its L1 table is the snapshot's.
fn reverted(memory: &MemoryStorage) -> Arc<dyn Storage> {
    let mut image = memory.to_bytes(1 << 20).expect("the image is small");
    let snapshots = number(&image, 64, 8) as usize;
    image.copy_within(snapshots..snapshots + 8, 40);
    Arc::new(MemoryStorage::from_bytes(&image))
}

pub(super) fn snapshots_and_bitmaps() {
    let template = template();
    described(template);
    let cluster = 1u64 << number(&template.image, 20, 4);
    let whole = Extent::new(0, template.content.len() as u64);
    let change = |name: &'static str, action: &dyn Fn(&Disk)| {
        let memory = Arc::new(MemoryStorage::from_bytes(&template.image));
        let disk = open(Arc::clone(&memory) as _, Access::ReadWrite);
        action(&disk);
        let checked = disk.check(RepairMode::None).expect(name);
        assert!(checked.is_clean(), "{name}: {checked}");
        disk.close().expect(name);
        let after = contents(&disk);
        follows(&memory, &template.content, &after, name);
        drop(disk);
        let snapshot = contents(&open(reverted(&memory), Access::ReadOnly));
        assert!(snapshot.starts_with(&template.content), "{name}: the snapshot has changed");
        let again = open(Arc::clone(&memory) as _, Access::ReadWrite);
        assert!(contents(&again) == after, "{name}: the disk has changed");
        assert!(again.check(RepairMode::None).expect(name).is_clean(), "{name}");
        assert!(contents(&again) == after, "{name}: a repair has changed the disk");
    };
    change(NOTHING, &|_| {});
    change("a write", &|disk| disk.write(10, &[9; 100], WriteFlags::default()).expect("a write"));
    change("all is written", &|disk| {
        disk.write(0, &vec![9; template.content.len()], WriteFlags::default()).expect("a write");
    });
    change("compressed", &|disk| {
        let flags = WriteFlags { compressed: true, fua: false };
        disk.write(0, &vec![9; 4 * cluster as usize], flags).expect("a compressed write");
    });
    change("a discard", &|disk| disk.discard(whole, DiscardFlags::default()).expect("a discard"));
    for may_unmap in [false, true] {
        let flags = ZeroFlags { may_unmap, ..ZeroFlags::default() };
        change("zeroes", &|disk| disk.write_zeroes(whole, flags).expect("zeroes"));
    }
    change("a resize", &|disk| disk.resize(64 << 20).expect("a resize"));
}

/// The bitmap has a bit for each part of the disk that differs from what it was.
fn follows(memory: &MemoryStorage, before: &[u8], after: &[u8], name: &str) {
    let copy = Arc::new(memory.duplicate());
    let disk = open(copy, Access::ReadOnly);
    let bitmaps = disk.as_bitmaps().expect("it has a bitmap");
    let infos = bitmaps.bitmaps().expect(name);
    assert_eq!(infos.len(), 1, "{name}");
    assert!(infos[0].is_enabled && !infos[0].is_in_use && !infos[0].is_inconsistent, "{name}: {infos:?}");
    let bits = bitmaps.read_bitmap(BITMAP).expect(name);
    let part = 1 << GRANULARITY_BITS;
    for (number, (old, new)) in before.chunks(part).zip(after.chunks(part)).enumerate() {
        let is_dirty = bits.run(Extent::new((number * part) as u64, 1)).1;
        assert!(is_dirty || new.starts_with(old), "{name}: part {number} has changed, and is clean");
    }
    assert_eq!(infos[0].dirty_bytes == 0, matches!(name, NOTHING | "a resize"), "{name}: {infos:?}");
}

fn described(template: &Template) {
    let disk = open(Arc::new(MemoryStorage::from_bytes(&template.image)), Access::ReadOnly);
    let info = disk.as_info().expect("images are described").info().expect("this one is");
    let snapshot = &info.snapshots[..];
    assert_eq!(snapshot.len(), 1);
    assert_eq!((&*snapshot[0].id, &*snapshot[0].name), ("1", SNAPSHOT));
    assert_eq!((snapshot[0].date_seconds, snapshot[0].date_nanoseconds), (1_700_000_000, 5));
    assert_eq!((snapshot[0].vm_clock_nanoseconds, snapshot[0].vm_state_bytes), (7, 0));
    assert_eq!(snapshot[0].instruction_count, Some(9));
    let bitmaps = info.details.iter().find(|(name, _)| *name == "bitmaps").map(|(_, detail)| detail.clone());
    let bitmap = Detail::Group(vec![
        ("flags", Detail::List(vec![Detail::Text("auto".to_owned())])),
        ("name", Detail::Text(BITMAP.to_owned())),
        ("granularity", Detail::Number(1 << GRANULARITY_BITS)),
    ]);
    assert_eq!(bitmaps, Some(Detail::List(vec![bitmap])));
    let checked = disk.check(RepairMode::None).expect("the image is checked");
    assert!(checked.is_clean(), "{checked}");
    assert!(contents(&disk) == template.content);
}
