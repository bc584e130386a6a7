//! Images that are damaged: what a check says of them, and what a repair leaves.

use std::sync::Arc;

use blk_core::{Access, DenyResolver, Disk, MemoryStorage, Options, RepairMode, Storage};

use crate::hostile::bytes::number;
use crate::hostile::{ImageStats, Template, judge, mutate, templates};

pub(super) fn hostile_images() {
    let mut stats = ImageStats::default();
    let mut data = vec![0; 1 << 20];
    let mut size = 0;
    for seed in 0..8000 {
        size = mutate(&mut data, size, 1 << 20, seed, |_, size, _| size);
        if let Err(report) = judge(&data[..size], &mut stats) {
            panic!("{report}");
        }
    }
    assert!(stats.opened_read_write > 800 && stats.corrupt > 250 && stats.repaired > 250, "{stats:?}");
}

/// Each refcount of each template is wrong in turn: it is reported, repaired, and no guest byte changes.
pub(super) fn damaged_images() {
    for template in templates() {
        let places = Places::of(&template.image);
        for index in 0..places.clusters {
            for change in [Change::Up, Change::Down] {
                wrong_count(template, &places, index, change);
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Up,
    Down,
}

/// Where the counts of an image lie that has one refcount block.
struct Places {
    block: usize,
    order: u32,
    /// Clusters of the file.
    clusters: usize,
}

impl Places {
    fn of(image: &[u8]) -> Self {
        let version = number(image, 4, 4);
        let block = number(image, number(image, 48, 8) as usize, 8) as usize;
        let order = if version == 2 { 4 } else { number(image, 96, 4) as u32 };
        let cluster_bytes = 1usize << number(image, 20, 4);
        let counted = (cluster_bytes * 8) >> order;
        Self { block, order, clusters: (image.len() / cluster_bytes).min(counted) }
    }

    fn get(&self, image: &[u8], index: usize) -> u64 {
        let bits = 1usize << self.order;
        if bits >= 8 {
            return number(image, self.block + index * bits / 8, bits / 8);
        }
        let per_byte = 8 / bits;
        u64::from(image[self.block + index / per_byte] >> (index % per_byte * bits)) & ((1 << bits) - 1)
    }

    fn set(&self, image: &mut [u8], index: usize, count: u64) {
        let bits = 1usize << self.order;
        if bits >= 8 {
            let at = self.block + index * bits / 8;
            image[at..at + bits / 8].copy_from_slice(&count.to_be_bytes()[8 - bits / 8..]);
            return;
        }
        let per_byte = 8 / bits;
        let shift = index % per_byte * bits;
        let byte = &mut image[self.block + index / per_byte];
        *byte = *byte & !((((1u16 << bits) - 1) as u8) << shift) | (count as u8) << shift;
    }
}

fn wrong_count(template: &Template, places: &Places, index: usize, change: Change) {
    let mut image = template.image.clone();
    let count = places.get(&image, index);
    let wrong = match change {
        Change::Up if places.order > 0 || count == 0 => count + 1,
        Change::Down if count > 0 => count - 1,
        _ => return,
    };
    places.set(&mut image, index, wrong);
    let what = format!("{}: cluster {index} has count {wrong} for {count}", template.name);
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&image));
    let disk = open(&storage, &what);
    let found = disk.check(RepairMode::None).expect(&what);
    // A copied flag that says something else is one more corruption.
    let (leaks, is_corrupt) = if change == Change::Up { (1, true) } else { (0, found.corruptions > 0) };
    assert!(found.leaks == leaks && is_corrupt, "{what}: {found}");
    if change == Change::Up {
        let left = disk.check(RepairMode::Leaks).expect(&what);
        assert!(left.is_repaired(), "{what}: {left}");
    } else {
        let repaired = disk.check(RepairMode::All).expect(&what);
        assert!(repaired.is_repaired(), "{what}: {repaired}");
    }
    disk.close().expect(&what);
    drop(disk);
    let disk = open(&storage, &what);
    let mut read = vec![1; template.content.len()];
    disk.read(0, &mut read).expect(&what);
    assert!(read == template.content, "{what}: a repair changed guest bytes");
    assert!(disk.check(RepairMode::None).expect(&what).is_clean(), "{what}: not clean after the repair");
}

fn open(storage: &Arc<dyn Storage>, what: &str) -> Disk {
    let options = Options::new().with("backing", "off");
    blk_qcow2::FORMAT.open(Arc::clone(storage), Access::ReadWrite, options, &DenyResolver).expect(what)
}
