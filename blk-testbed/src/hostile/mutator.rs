//! Mutates images where it hurts: header fields, table entries, refcounts.
//!
//! An input that is no image any more becomes a template again, so that little work is spent on what fails at
//! the magic.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::bytes::number;
use super::templates::templates;

/// Offset and width in bytes of the header's fields, and of what follows it.
const HEADER_FIELDS: [(usize, usize); 21] = [
    (4, 4),
    (8, 8),
    (16, 4),
    (20, 4),
    (24, 8),
    (32, 4),
    (36, 4),
    (40, 8),
    (48, 8),
    (56, 4),
    (60, 4),
    (64, 8),
    (72, 8),
    (80, 8),
    (88, 8),
    (96, 4),
    (100, 4),
    (104, 1),
    (112, 4),
    (116, 4),
    (120, 8),
];
const L1_SIZE: usize = 36;
const L1_OFFSET: usize = 40;
const REFCOUNT_TABLE_OFFSET: usize = 48;
const SNAPSHOTS_OFFSET: usize = 64;
const CLUSTER_BITS: usize = 20;
const REFCOUNT_ORDER: usize = 96;

/// One mutation in so many starts from a template. What is kept has many wrong fields, since each was new
/// once, and fails at the first of them: one that is wrong alone gets further.
const FRESH_ONE_IN: u32 = 4;

/// Changes `data[..size]` in place and returns its new size, at most `max_size`.
pub fn mutate(
    data: &mut [u8],
    size: usize,
    max_size: usize,
    seed: u32,
    mut default_mutate: impl FnMut(&mut [u8], usize, usize) -> usize,
) -> usize {
    let mut rng = SmallRng::seed_from_u64(u64::from(seed));
    let max_size = max_size.min(data.len());
    let is_image = size >= 512 && data.starts_with(b"QFI\xfb");
    let mut size = size;
    if !is_image || rng.random_ratio(1, FRESH_ONE_IN) {
        match load_template(&mut rng, data, max_size) {
            Some(template) => size = template,
            None => return default_mutate(data, size, max_size),
        }
    } else if rng.random_ratio(1, 16) {
        return default_mutate(data, size, max_size);
    }
    let image = &mut data[..size];
    for _ in 0..rng.random_range(1..=3) {
        change(&mut rng, image);
    }
    size
}

fn load_template(rng: &mut SmallRng, data: &mut [u8], max_size: usize) -> Option<usize> {
    let all = templates();
    // The last one has what others keep, and most structures.
    let at = if rng.random_ratio(2, 5) { all.len() - 1 } else { rng.random_range(0..all.len()) };
    let image = &all[at].image;
    if image.len() > max_size {
        return None;
    }
    data[..image.len()].copy_from_slice(image);
    Some(image.len())
}

/// Changes one field or entry.
fn change(rng: &mut SmallRng, image: &mut [u8]) {
    let cluster_bytes = 1usize << number(image, CLUSTER_BITS, 4).clamp(9, 21);
    let l1 = number(image, L1_OFFSET, 8) as usize;
    let l1_entries = number(image, L1_SIZE, 4).clamp(1, 1 << 16) as usize;
    let table = number(image, REFCOUNT_TABLE_OFFSET, 8) as usize;
    let (at, width) = match rng.random_range(0..10) {
        0 | 1 => HEADER_FIELDS[rng.random_range(0..HEADER_FIELDS.len())],
        2 => (entry(rng, l1, l1_entries), 8),
        3 | 4 => {
            let l2 = pointed(image, entry(rng, l1, l1_entries));
            (entry(rng, l2, cluster_bytes / 8), 8)
        }
        5 => (entry(rng, table, 4), 8),
        6 => {
            let block = pointed(image, entry(rng, table, 2));
            let width = 1 << rng.random_range(0..4);
            (entry(rng, block, 64) & !(width - 1), width)
        }
        7 | 8 => {
            let l2 = pointed(image, entry(rng, l1, l1_entries));
            let first = entry(rng, l2, cluster_bytes / 8);
            return share(rng, image, first);
        }
        _ => (rng.random_range(0..image.len()) & !7, 8),
    };
    if at.checked_add(width).is_some_and(|end| end <= image.len()) {
        let value = value(rng, image, at, width, cluster_bytes);
        put(image, at, width, value);
    }
}

/// Lets some entries in a row, from `first` on, refer to one structure of the image, and counts that about as
/// often as they do: a cluster that more refer to than are counted, all of whom think that they hold it.
fn share(rng: &mut SmallRng, image: &mut [u8], first: usize) {
    let cluster_bytes = 1usize << number(image, CLUSTER_BITS, 4).clamp(9, 21);
    let (target, count) = (structure(rng, image), rng.random_range(1..=3usize));
    let copied = u64::from(rng.random_ratio(1, 2)) << 63;
    for number in 0..count {
        put(image, first.saturating_add(8 * number), 8, target | copied);
    }
    let width = if number(image, 4, 4) < 3 { 2 } else { (1 << number(image, REFCOUNT_ORDER, 4).min(6)) / 8 };
    let block = pointed(image, number(image, REFCOUNT_TABLE_OFFSET, 8) as usize);
    let at = block.saturating_add(target as usize / cluster_bytes * width);
    if width > 0 && rng.random_ratio(3, 4) {
        put(image, at, width, (count + rng.random_range(0..2)) as u64);
    }
}

/// Writes a number of `width` bytes, if the image reaches as far.
fn put(image: &mut [u8], at: usize, width: usize, value: u64) {
    if let Some(bytes) = at.checked_add(width).and_then(|end| image.get_mut(at..end)) {
        bytes.copy_from_slice(&value.to_be_bytes()[8 - width..]);
    }
}

/// One of the first entries of a table, mostly; now and then one further on.
fn entry(rng: &mut SmallRng, table: usize, count: usize) -> usize {
    let count = if rng.random_ratio(3, 4) { count.min(8) } else { count };
    table.saturating_add(8 * rng.random_range(0..count.max(1)))
}

/// Where the entry at `at` points.
fn pointed(image: &[u8], at: usize) -> usize {
    (number(image, at, 8) & 0x00ff_ffff_ffff_fe00) as usize
}

/// A value that is likely to mean something in that place.
fn value(rng: &mut SmallRng, image: &[u8], at: usize, width: usize, cluster_bytes: usize) -> u64 {
    let old = number(image, at, width);
    let clusters = image.len() / cluster_bytes + 2;
    let some_cluster = (rng.random_range(0..clusters) * cluster_bytes) as u64;
    match rng.random_range(0..15) {
        0 => 0,
        1 => old ^ (1 << rng.random_range(0..width * 8)),
        2 => old.wrapping_add(1 << rng.random_range(0..width * 8)),
        3 => old.wrapping_sub(1),
        4 => some_cluster,
        5 => some_cluster | 1 << 63,
        6 => some_cluster | 1 << 62 | rng.random_range(0..4u64) << rng.random_range(48..62),
        7 => old ^ 1 << 63,
        8 => u64::MAX >> rng.random_range(0..64),
        9 => number(image, at.wrapping_sub(width), width),
        10 => rng.random_range(0..300),
        11 | 12 => structure(rng, image),
        13 => structure(rng, image) | 1 << 63,
        _ => rng.random(),
    }
}

/// Where a structure of the image lies: one entry that leads to another's cluster.
fn structure(rng: &mut SmallRng, image: &[u8]) -> u64 {
    let l1 = number(image, L1_OFFSET, 8) as usize;
    let table = number(image, REFCOUNT_TABLE_OFFSET, 8) as usize;
    let snapshots = number(image, SNAPSHOTS_OFFSET, 8) as usize;
    let place = match rng.random_range(0..8) {
        0 => l1,
        1 => pointed(image, l1),
        2 => table,
        3 => pointed(image, table),
        // A snapshot begins with where its L1 table lies.
        4 => pointed(image, snapshots),
        5 => pointed(image, pointed(image, snapshots)),
        _ => snapshots,
    };
    place as u64
}

#[cfg(test)]
mod tests {
    use super::super::{ImageStats, judge};
    use super::*;

    /// However much has been changed before, many images are wrong in little; and of some, several entries
    /// refer to one cluster.
    #[test]
    fn many_images_are_templates_with_little_changed() {
        let (mut near, mut shared) = (0, 0);
        let worn = {
            let mut worn = templates()[6].image.clone();
            worn.iter_mut().skip(512).for_each(|byte| *byte ^= 0x5a);
            worn
        };
        for seed in 0..1000 {
            let mut data = vec![0; 1 << 20];
            data[..worn.len()].copy_from_slice(&worn);
            let size = mutate(&mut data, worn.len(), 1 << 20, seed, |_, size, _| size);
            let differing = |image: &[u8]| (0..size).filter(|at| image[*at] != data[*at]).count();
            let alike = |image: &&[u8]| image.len() == size && (1..100).contains(&differing(image));
            let Some(template) = templates().iter().map(|template| &*template.image).find(alike) else {
                continue;
            };
            near += 1;
            let entry = |image: &[u8], at: usize| number(image, at, 8);
            let is_new = |at: &usize| entry(&data, *at) != entry(template, *at);
            shared += usize::from(
                (0..size - 8)
                    .step_by(8)
                    .any(|at| is_new(&at) && is_new(&(at + 8)) && entry(&data, at) == entry(&data, at + 8)),
            );
        }
        assert!(near > 150 && shared > 10, "{near}, {shared}");
    }

    #[test]
    fn mutated_images_mostly_stay_images_and_reach_the_repair() {
        let mut stats = ImageStats::default();
        let mut data = vec![0; 1 << 20];
        let mut size = 0;
        for seed in 0..3000 {
            size = mutate(&mut data, size, 1 << 20, seed, |_, size, _| size);
            judge(&data[..size], &mut stats).unwrap();
        }
        assert!(stats.with_magic > 2900, "{stats:?}");
        assert!(stats.opened_read_write > 300, "{stats:?}");
        assert!(stats.corrupt > 100, "{stats:?}");
        assert!(stats.repaired > 100, "{stats:?}");
    }
}
