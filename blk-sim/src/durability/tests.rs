use super::*;
use crate::random::Random;
use crate::{Host, Kept, Settings, States};

const PINNED: [u64; 3] = [0x0ddb_40cd_57dd_1866, 0x5ba5_f3fe_8bd8_c1d0, 0xaa70_d831_46d4_418c];
const WRITE: Step = Step::new("write_aio", "data");

fn byte(image: &MemoryStorage, at: u64) -> u8 {
    let mut byte = [0];
    image.read_at(at, &mut byte).unwrap();
    byte[0]
}

fn durability(host: &Host, atom_bytes: u64) -> Durability {
    let mut durability = Durability::hashing(image(), atom_bytes).unwrap();
    for operation in host.take_log() {
        durability.apply(&operation).unwrap();
    }
    durability
}

fn image() -> MemoryStorage {
    MemoryStorage::from_bytes(&[9; 2048])
}

fn host() -> Host {
    Host::new(image(), Settings::crashing())
}

fn every(durability: &Durability) -> Vec<Kept> {
    States::new(4096, false, 1).of(durability)
}

#[test]
fn only_what_was_synced_after_it_completed_is_durable() {
    let host = host();
    host.write_at(0, &[1; 512]).unwrap();
    host.sync().unwrap();
    host.write_at(512, &[2; 512]).unwrap();
    let durability = durability(&host, 512);
    assert_eq!((byte(durability.durable(), 0), byte(durability.durable(), 512)), (1, 9));
    assert_eq!((durability.pending().len(), durability.count()), (1, 3));
}

#[test]
fn an_operation_in_flight_at_a_sync_stays_pending() {
    let mut durability = Durability::hashing(MemoryStorage::from_bytes(&[9; 1024]), 512).unwrap();
    let write = |offset, byte| Change::Write { offset, bytes: vec![byte; 512].into() };
    let step = &WRITE;
    let ops = [
        Operation { change: write(0, 1), step, issued: 1, completed: Some(4) },
        Operation { change: write(512, 2), step, issued: 2, completed: Some(3) },
        Operation { change: Change::Sync, step, issued: 3, completed: Some(5) },
    ];
    // The second completed at 3, before no sync was issued at 3 either: only what completed before its issue
    // is durable.
    for operation in &ops {
        durability.apply(operation).unwrap();
    }
    assert_eq!(durability.pending().len(), 2);
    durability.apply(&Operation { change: Change::Sync, step, issued: 6, completed: Some(7) }).unwrap();
    assert_eq!((durability.pending().len(), byte(durability.durable(), 512)), (0, 2));
}

#[test]
fn torn_writes_persist_atom_by_atom_and_whole_ones_at_once() {
    let host = host();
    host.write_at(512, &[5; 1024]).unwrap();
    let fine = durability(&host, 512);
    let seen: Vec<(u8, u8)> = every(&fine)
        .iter()
        .map(|kept| fine.image(kept).unwrap().0)
        .map(|image| (byte(&image, 512), byte(&image, 1024)))
        .collect();
    assert_eq!(seen, [(5, 5), (5, 9), (9, 5), (9, 9)]);
    host.write_at(512, &[5; 1024]).unwrap();
    assert_eq!(every(&durability(&host, 4096)).len(), 2);
}

#[test]
fn lengths_follow_what_persisted() {
    let host = host();
    host.set_len(512).unwrap();
    host.write_at(4096, &[7; 512]).unwrap();
    let durability = durability(&host, 512);
    let lengths: Vec<u64> =
        every(&durability).iter().map(|kept| durability.image(kept).unwrap().0.len().unwrap()).collect();
    assert_eq!(lengths, [4608, 512, 4608, 2048]);
    let (cut, _) = durability.image(&[true, true]).unwrap();
    assert_eq!((byte(&cut, 600), byte(&cut, 4096)), (0, 7));
}

#[test]
fn a_discard_leaves_old_bytes_or_zeroes_and_never_extends() {
    let host = host();
    host.punch_hole(Extent::new(1536, 4096)).unwrap();
    let durability = durability(&host, 512);
    let images: Vec<(u8, u64)> = every(&durability)
        .iter()
        .map(|kept| durability.image(kept).unwrap().0)
        .map(|image| (byte(&image, 1536), image.len().unwrap()))
        .collect();
    assert_eq!(images, [(0, 2048), (9, 2048)]);
}

#[test]
fn hashes_tell_images_apart_and_nothing_else() {
    let host = host();
    host.write_at(0, &[1; 512]).unwrap();
    host.write_at(0, &[2; 512]).unwrap();
    host.write_at(700, &[3; 10]).unwrap();
    let mut durability = durability(&host, 512);
    let hash = |durability: &Durability, kept: &[bool]| durability.image(kept).unwrap().1;
    // The later of two writes of one sector decides, whether or not the earlier persisted.
    assert_eq!(hash(&durability, &[true, true, false]), hash(&durability, &[false, true, false]));
    assert_ne!(hash(&durability, &[true, false, false]), hash(&durability, &[false, true, false]));
    assert_ne!(hash(&durability, &[false, false, true]), hash(&durability, &[false, false, false]));
    let all_kept = hash(&durability, &[true, true, true]);
    host.sync().unwrap();
    for operation in host.take_log() {
        durability.apply(&operation).unwrap();
    }
    assert_eq!(
        hash(&durability, &[]),
        all_kept,
        "a hash that was kept up to date is that of the whole image"
    );
    let fresh = Durability::hashing(durability.durable().duplicate(), 512).unwrap();
    assert_eq!(hash(&fresh, &[]), all_kept);
}

#[test]
fn many_items_are_sampled_and_the_newest_is_always_in() {
    let host = host();
    for at in 0..40 {
        host.write_at(at * 512, &[at as u8; 512]).unwrap();
    }
    let durability = durability(&host, 512);
    let states = States::new(300, true, 3).of(&durability);
    assert!((100..=300).contains(&states.len()), "{}", states.len());
    assert!(states.iter().all(|kept| kept.len() == 40 && kept[39]));
    assert!(states.contains(&vec![true; 40]));
}

/// What a small budget finds is found again with a large one.
#[test]
fn fewer_tries_are_the_first_of_more() {
    let host = host();
    for number in 1..9 {
        host.write_at(number * 512, &[number as u8; 1024]).unwrap();
    }
    let durability = durability(&host, 512);
    for newest_only in [false, true] {
        let all = States::new(64, newest_only, 5);
        let whole = all.of(&durability);
        for tries_max in [1, 4, 50] {
            let first = States { tries_max, ..all }.of(&durability);
            assert_eq!(first, whole[..first.len()], "{tries_max}");
            assert_eq!(first.len(), tries_max.min(whole.len()));
        }
    }
}

fn write(offset: u64, bytes: &[u8], issued: u64) -> Operation {
    let change = Change::Write { offset, bytes: bytes.into() };
    Operation { change, step: &WRITE, issued, completed: Some(issued + 1) }
}

fn other(change: Change, issued: u64) -> Operation {
    Operation { change, step: &WRITE, issued, completed: Some(issued + 1) }
}

/// What a failed sync has lost is part of a sector that is written in part later, until the pages are
/// dropped.
#[test]
fn dropped_pages_are_read_again_from_what_survived() {
    for (is_dropped, rest) in [(false, 2), (true, 9)] {
        let mut durability = Durability::hashing(image(), 512).unwrap();
        let mut log = vec![write(0, &[2; 512], 1), other(Change::LostSync(Effect::None), 3)];
        log.extend(is_dropped.then(|| other(Change::Evict, 5)));
        log.extend([write(0, &[3; 8], 7), other(Change::Sync, 9)]);
        for operation in &log {
            durability.apply(operation).unwrap();
        }
        let found = [byte(durability.durable(), 0), byte(durability.durable(), 511)];
        assert_eq!(found, [3, rest], "{is_dropped}");
    }
}

/// A growth that a failed sync has lost is gone when the pages are dropped: a discard finds no more than what
/// survived.
#[test]
fn dropped_pages_take_the_length_with_them() {
    let mut durability = Durability::hashing(image(), 512).unwrap();
    let discard = Change::Discard(Extent::new(1536, 4096));
    let log = [
        write(4096, &[2; 512], 1),
        other(Change::LostSync(Effect::None), 3),
        other(Change::Evict, 5),
        other(discard, 7),
    ];
    for operation in &log {
        durability.apply(operation).unwrap();
    }
    assert_eq!(durability.pending().last().unwrap().extent, Extent::new(1536, 512));
    assert_eq!(durability.survivor().unwrap().len().unwrap(), 2048);
}

/// The operations of a random history: writes, zeroes, discards, truncations and syncs, some of them in
/// flight.
fn history(random: &mut Random) -> Vec<Operation> {
    let mut log = Vec::new();
    for time in 1..12 {
        let extent = Extent::new(random.below(5000), 1 + random.below(3000));
        let change = match random.below(8) {
            0..=2 => Change::Write {
                offset: extent.offset,
                bytes: vec![random.below(250) as u8 + 1; extent.length as usize].into(),
            },
            3 => Change::Zero(extent),
            4 => Change::Discard(extent),
            5 => Change::Truncate(random.below(6000)),
            6 => Change::LostSync(random.one_of(&[Effect::None, Effect::Half, Effect::All])),
            _ => Change::Sync,
        };
        log.push(other(change, time * 10));
    }
    log
}

/// What is known from the log alone is what reading the whole image gives, and different images have
/// different numbers.
#[test]
fn the_hash_of_a_state_is_that_of_its_image() {
    let mut random = Random::new(17);
    let mut images = std::collections::HashMap::new();
    for round in 0..60 {
        let atom_bytes = [512, 4096][round % 2];
        let mut durability = Durability::hashing(image(), atom_bytes).unwrap();
        for operation in history(&mut random) {
            durability.apply(&operation).unwrap();
        }
        for kept in States::new(24, false, 1).of(&durability) {
            let (state, hash) = durability.image(&kept).unwrap();
            let fresh = Durability::hashing(state.duplicate(), 512).unwrap();
            assert_eq!(fresh.image(&[]).unwrap().1, hash, "{round}: {kept:?}");
            let bytes = state.to_bytes(1 << 20).unwrap();
            assert_eq!(*images.entry(hash).or_insert_with(|| bytes.clone()), bytes, "two images of one hash");
        }
    }
    let different: std::collections::HashSet<&Vec<u8>> = images.values().collect();
    assert!(different.len() == images.len() && images.len() > 300, "{}", images.len());
}

/// Follow-up requests are chosen by it: with another hash, kept traces would mean something else.
#[test]
fn the_hash_of_an_image_is_pinned() {
    let hash = |bytes: &[u8]| {
        Durability::hashing(MemoryStorage::from_bytes(bytes), 512).unwrap().image(&[]).unwrap().1
    };
    let bytes: Vec<u8> = (0..2048_u32).map(|at| (at * 7 / 5) as u8).collect();
    assert_eq!([hash(&[]), hash(&[0; 512]), hash(&bytes)], PINNED);
}

#[test]
fn an_operation_is_cut_into_at_most_eight_pieces_of_whole_atoms() {
    for (atom_bytes, offset, length, expected) in [
        (512, 8192, 512, &[512][..]),
        (512, 8192, 4096, &[512; 8]),
        (512, 8192, 8192, &[1024; 8]),
        (512, 8192, 4608, &[1024; 5]),
        (512, 8100, 600, &[512, 512]),
        (4096, 8192, 512, &[4096]),
        (4096, 12_000, 1000, &[4096, 4096]),
    ] {
        let mut durability = Durability::new(MemoryStorage::from_bytes(&vec![9; 1 << 15]), atom_bytes);
        durability.apply(&write(offset, &vec![1; length], 1)).unwrap();
        let lengths: Vec<u64> = durability.items().iter().map(|item| item.extent.length).collect();
        assert_eq!(lengths, expected, "{atom_bytes} {offset} {length}");
        assert_eq!(durability.items()[0].extent.offset, offset / atom_bytes * atom_bytes);
    }
}

/// A part of an atom that is zeroed or discarded leaves the rest of it.
#[test]
fn zeroes_and_discards_of_a_part_of_an_atom_leave_the_rest() {
    let extent = Extent::new(100, 600);
    for change in [Change::Zero(extent), Change::Discard(extent)] {
        let mut durability = Durability::new(image(), 512);
        durability.apply(&other(change.clone(), 1)).unwrap();
        let (left, _) = durability.image(&[true, true]).unwrap();
        let bytes = left.to_bytes(2048).unwrap();
        let is_right = |(at, byte): (usize, &u8)| *byte == if (100..700).contains(&at) { 0 } else { 9 };
        assert!(bytes.iter().enumerate().all(is_right), "{change:?}");
    }
}

/// Where a growth has not persisted, zeroes behind the end extend the image, and a hole does not.
#[test]
fn only_zeroes_extend_an_image_whose_growth_was_lost() {
    let extent = Extent::new(2048, 1024);
    for (change, length) in [(Change::Zero(extent), 3072), (Change::Discard(extent), 2048)] {
        let mut durability = Durability::new(image(), 512);
        durability.apply(&other(Change::Truncate(4096), 1)).unwrap();
        durability.apply(&other(change.clone(), 3)).unwrap();
        let (left, _) = durability.image(&[false, true, true]).unwrap();
        assert_eq!(left.len().unwrap(), length, "{change:?}");
    }
}

#[test]
fn what_stays_pending_keeps_its_items() {
    let mut durability = Durability::hashing(image(), 512).unwrap();
    let flying = Operation { issued: 4, completed: Some(9), ..write(1024, &[2; 1024], 0) };
    for operation in [write(0, &[1; 1024], 1), flying, other(Change::Sync, 5)] {
        durability.apply(&operation).unwrap();
    }
    assert_eq!((durability.pending().len(), durability.items().len()), (1, 2));
    assert_eq!((durability.pending()[0].items.clone(), durability.pending()[0].number), (0..2, 2));
    let (left, _) = durability.image(&[false, true]).unwrap();
    assert_eq!([0, 1024, 1536].map(|at| byte(&left, at)), [1, 9, 2]);
}

/// A file is cut inside of a sector, and the rest of that sector is written: where the cut is lost and the
/// write is not, what it cut off is not there beside what was written after it.
#[test]
fn a_page_is_written_whole_with_zeroes_behind_the_end_of_the_file() {
    let image = MemoryStorage::from_bytes(&[7; 700]);
    let host = Host::new(image.duplicate(), Settings::crashing());
    host.set_len(600).unwrap();
    host.write_at(512, &[9; 88]).unwrap();
    let mut durability = Durability::new(image, 512);
    for operation in host.take_log() {
        durability.apply(&operation).unwrap();
    }
    let (left, _) = durability.image(&[false, true]).unwrap();
    assert_eq!(left.to_bytes(1024).unwrap(), [vec![7; 512], vec![9; 88], vec![0; 100]].concat());
    // A hole is punched in the page too.
    let image = MemoryStorage::from_bytes(&[7; 700]);
    let host = Host::new(image.duplicate(), Settings::crashing());
    host.set_len(600).unwrap();
    host.punch_hole(Extent::new(512, 88)).unwrap();
    let mut durability = Durability::new(image, 512);
    for operation in host.take_log() {
        durability.apply(&operation).unwrap();
    }
    let (left, _) = durability.image(&[false, true]).unwrap();
    assert_eq!(left.to_bytes(1024).unwrap(), [vec![7; 512], vec![0; 188]].concat());
}

type Damage = fn(&mut Durability);

/// What is asserted after every operation is asserted of each part.
#[test]
fn items_that_are_not_those_of_the_pending_operations_are_told() {
    let host = host();
    host.write_at(0, &[1; 1024]).unwrap();
    host.write_at(1024, &[2; 1024]).unwrap();
    let log = host.take_log();
    let sound = || {
        let mut durability = Durability::new(image(), 512);
        for operation in &log {
            durability.apply(operation).unwrap();
        }
        durability
    };
    assert!(sound().is_sound());
    let damages: [(&str, Damage); 4] = [
        ("an item belongs to no operation", |durability| durability.items.push(durability.items[0].clone())),
        ("an item belongs to two", |durability| durability.pending[1].items.start = 1),
        ("operations are out of order", |durability| durability.pending[1].number = 0),
        ("an operation has more items than it is cut into", |durability| {
            durability.pending.truncate(1);
            durability.items = vec![durability.items[0].clone(); PIECES_MAX as usize + 1];
            durability.pending[0].items = 0..durability.items.len();
        }),
    ];
    for (what, damage) in damages {
        let mut durability = sound();
        damage(&mut durability);
        assert!(!durability.is_sound(), "{what}");
    }
}

#[test]
#[should_panic(expected = "an operation completes after its issue")]
fn an_operation_that_completes_when_it_is_issued_is_told() {
    let operation = Operation { completed: Some(3), ..write(0, &[1; 512], 3) };
    // It never returns.
    let _ = Durability::new(image(), 512).apply(&operation);
}

/// The hash of an image is that of its bytes, wherever they and its holes lie, and however they came there.
#[test]
fn the_hash_of_an_image_with_holes_is_that_of_what_was_written_to_it() {
    const MIB: u64 = 1 << 20;
    let empty = MemoryStorage::new();
    empty.set_len(4 * MIB).unwrap();
    for places in [&[MIB][..], &[0, 2 * MIB], &[MIB, 2 * MIB, 3 * MIB + 512], &[512, 4 * MIB - 512]] {
        let host = Host::new(empty.duplicate(), Settings::crashing());
        for place in places {
            host.write_at(*place, &[7; 512]).unwrap();
        }
        let mut written = Durability::hashing(empty.duplicate(), 512).unwrap();
        for operation in host.take_log() {
            written.apply(&operation).unwrap();
        }
        let (image, hash) = written.image(&vec![true; written.items().len()]).unwrap();
        let as_it_is = Durability::hashing(image, 512).unwrap();
        assert_eq!(as_it_is.image(&[]).unwrap().1, hash, "{places:?}");
    }
}

/// Images that hold a random number: each run has another one, and the same origins.
#[test]
fn origins_are_those_of_operations_whatever_they_write() {
    let write = |durability: &mut Durability, offset, byte: u8, issued| {
        let change = Change::Write { offset, bytes: vec![byte; 1024].into() };
        durability.apply(&Operation { change, step: &WRITE, issued, completed: Some(issued + 1) }).unwrap();
    };
    let origins = |random: u8| {
        let start = MemoryStorage::from_bytes(&[vec![random; 512], vec![9; 1536]].concat());
        let mut durability = Durability::hashing(start, 512).unwrap();
        let mut all = Vec::new();
        for (offset, byte, issued) in [(512, random, 1), (1024, random, 3), (0, 9, 5), (512, random, 7)] {
            write(&mut durability, offset, byte, issued);
            let states = every(&durability);
            let (images, hashes): (Vec<_>, Vec<_>) =
                states.iter().map(|kept| durability.image(kept).unwrap()).unzip();
            let origins: Vec<u64> = images.iter().map(|image| durability.origin(image).unwrap()).collect();
            for (one, hash) in hashes.iter().enumerate() {
                let other = hashes.iter().position(|other| other == hash).unwrap();
                assert_eq!(origins[one], origins[other], "equal images have equal origins");
            }
            all.extend(origins);
        }
        let different: std::collections::BTreeSet<&u64> = all.iter().collect();
        assert!(different.len() >= 12, "{} of {}", different.len(), all.len());
        all
    };
    assert_eq!(origins(1), origins(2));
    let mut durability = Durability::hashing(image(), 512).unwrap();
    let before = durability.origin(&image()).unwrap();
    write(&mut durability, 0, 77, 1);
    let written = durability.survivor().unwrap();
    let pending = durability.origin(&written).unwrap();
    assert_eq!(durability.origin(&image()).unwrap(), before);
    assert_ne!(pending, before);
    let sync = Operation { change: Change::Sync, step: &WRITE, issued: 3, completed: Some(4) };
    durability.apply(&sync).unwrap();
    assert_eq!(durability.origin(&written).unwrap(), pending, "a sync changes no content");
}
