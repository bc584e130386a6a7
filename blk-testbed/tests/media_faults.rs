//! Level 3 of the crash model: a medium that lies. qcow2 has no checksums, so a driver owes only this: no
//! panic, no endless work, and no repair that calls a broken image whole.

use std::sync::Arc;

use blk_core::{DiscardFlags, Disk, Extent, MemoryStorage, Storage, WriteFlags, ZeroFlags};
use blk_harness::driver::{Driver, ImageMaker};
use blk_harness::scenario::Config;
use blk_sim::{Change, Durability, Host, Operation, Settings};
use blk_testbed::Qcow2Target;
use blk_testbed::hostile::{self, ImageStats};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const ATOM_BYTES: u64 = 512;

/// What the medium did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    /// An atom holds garbage.
    Garbage,
    /// A flush was answered and not done: of what was pending, any part was lost, and what came later was
    /// not.
    LostFlush,
    /// A write went to another atom.
    Misdirected,
    /// An atom went back to what it was long before.
    Stale,
}

const LIES: [Lie; 4] = [Lie::Garbage, Lie::LostFlush, Lie::Misdirected, Lie::Stale];

/// An image in use, and the log of what was done to it.
fn work(rng: &mut SmallRng, prepared: &dyn ImageMaker) -> (MemoryStorage, Vec<Operation>) {
    let start = prepared.fresh().unwrap();
    let host = Arc::new(Host::new(start.duplicate(), Settings::crashing()));
    let disk = prepared.open(Arc::clone(&host) as _).unwrap();
    for _ in 0..rng.random_range(2..12) {
        change(rng, &disk);
    }
    (start, host.take_log())
}

fn change(rng: &mut SmallRng, disk: &Disk) {
    let size = disk.size();
    let offset = rng.random_range(0..size / 512) * 512;
    let length = (size - offset).min(512 * rng.random_range(1..6));
    let extent = Extent::new(offset, length);
    let zero = ZeroFlags { may_unmap: rng.random(), ..ZeroFlags::default() };
    match rng.random_range(0..6) {
        0 => disk.discard(extent, DiscardFlags::default()).unwrap(),
        1 => disk.write_zeroes(extent, zero).unwrap(),
        2 => disk.flush().unwrap(),
        _ => disk.write(offset, &vec![rng.random(); length as usize], WriteFlags::default()).unwrap(),
    }
}

/// What such a medium holds after the log.
fn lied(rng: &mut SmallRng, start: &MemoryStorage, log: &[Operation], lie: Lie) -> MemoryStorage {
    let mut durability = Durability::new(start.duplicate(), ATOM_BYTES);
    for operation in log {
        let lost = lie == Lie::LostFlush && operation.change == Change::Sync && rng.random_range(0..3) > 0;
        if !lost {
            durability.apply(operation).unwrap();
        }
    }
    let kept: Vec<bool> = durability.items().iter().map(|_| rng.random_range(0..4) > 0).collect();
    let (image, _) = durability.image(&kept).unwrap();
    let atoms = image.len().unwrap() / ATOM_BYTES;
    let mut atom = [0; ATOM_BYTES as usize];
    let (from, to) = (rng.random_range(0..atoms) * ATOM_BYTES, rng.random_range(0..atoms) * ATOM_BYTES);
    match lie {
        Lie::Garbage => rng.fill(&mut atom[..]),
        Lie::Misdirected => image.read_at(from, &mut atom).unwrap(),
        Lie::Stale => start.read_at(to, &mut atom).unwrap(),
        Lie::LostFlush => return image,
    }
    image.write_at(to, &atom).unwrap();
    image
}

#[test]
fn a_medium_that_lies_makes_nothing_panic_and_no_repair_lie() {
    let mut rng = SmallRng::seed_from_u64(3);
    let mut stats = ImageStats::default();
    let config = |cluster_bytes, size_bytes| {
        Config { size_bytes, ..Config::default() }.with("cluster_size", cluster_bytes)
    };
    let lazy = config("512", 64 << 10).with("lazy_refcounts", "on");
    for config in [config("512", 16 << 10), lazy, config("4096", 256 << 10)] {
        let prepared = Qcow2Target.images(&config).unwrap();
        for round in 0..400 {
            let (start, log) = work(&mut rng, &*prepared);
            let lie = LIES[round % LIES.len()];
            let image = lied(&mut rng, &start, &log, lie).to_bytes(1 << 24).unwrap();
            if let Err(report) = hostile::judge(&image, &mut stats) {
                panic!("{lie:?}, {config:?}, round {round}: {report}");
            }
        }
    }
    println!("{stats:?}");
    // Most lies hit data, some the tables, a few the header: all three have to come up.
    assert!(stats.opened_read_write * 10 > stats.images * 7, "{stats:?}");
    assert!(stats.corrupt * 10 > stats.images && stats.repaired * 10 > stats.images, "{stats:?}");
}
