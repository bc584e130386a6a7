mod always;
mod looks;
mod sound;

use std::sync::Arc;

use blk_core::{Extent, MemoryStorage};
use blk_sim::Ranges;

use super::*;
use crate::scenario::Fill;

const SIZE: u64 = 4096;

fn model() -> Model {
    let initial = Arc::new(MemoryStorage::from_bytes(&[0xaa; SIZE as usize]));
    Model::new(initial, SIZE, 512, true)
}

fn sectors(first: u64, count: u64) -> Extent {
    Extent::new(first * 512, count * 512)
}

/// A clock, and what is done by it.
struct Bed {
    model: Model,
    now: Time,
}

impl Bed {
    fn new() -> Self {
        Self { model: model(), now: 0 }
    }

    fn tick(&mut self) -> Time {
        self.now += 1;
        self.now
    }

    fn begin(&mut self, extent: Extent, byte: u8) -> Write {
        let request = Request::Write {
            offset: extent.offset,
            length: extent.length,
            fill: Fill::Byte(byte),
            fua: false,
        };
        let now = self.tick();
        self.model.begin_write(now, extent, Source::Request(1, request))
    }

    fn end(&mut self, write: Write, ending: Ending) {
        let now = self.tick();
        self.model.end_write(now, write, ending).unwrap();
    }

    fn write(&mut self, extent: Extent, byte: u8) {
        let write = self.begin(extent, byte);
        self.end(write, Ending::Replaced);
    }

    fn discard(&mut self, extent: Extent) {
        let now = self.tick();
        let write = self.model.begin_write(now, extent, Source::Zeroes);
        self.end(write, Ending::MayStay);
    }

    fn flush(&mut self) {
        let issued = self.tick();
        let now = self.tick();
        self.model.flushed(issued, now);
    }

    fn resize(&mut self, size: u64) {
        let issued = self.tick();
        self.model.begin_resize(issued, size);
        let now = self.tick();
        self.model.end_resize(issued, now, size).unwrap();
    }

    fn look(&mut self, look: Look, found: &[u8]) -> std::result::Result<(), Mismatch> {
        let now = self.tick();
        self.model.end_look(now, look, look.extent.offset, found).unwrap()
    }

    fn begin_look(&mut self, extent: Extent) -> Look {
        let now = self.tick();
        Look::begin(now, extent)
    }

    /// Which bytes a read of `extent` might return now, with nothing else in flight; it settles on the first.
    fn possible(&mut self, extent: Extent, bytes: &[u8]) -> Vec<u8> {
        let mut possible = Vec::new();
        for byte in bytes {
            let look = self.begin_look(extent);
            if self.look(look, &vec![*byte; extent.length as usize]).is_ok() {
                possible.push(*byte);
            }
        }
        possible
    }

    /// Whether a crash now may leave a sector with these bytes.
    fn may_be_left(&self, sector: u64, found: &[u8]) -> bool {
        let extent = sectors(sector, 1);
        let mut disk = vec![0xee; extent.end() as usize];
        disk[extent.offset as usize..].copy_from_slice(found);
        // All others are what the shadow has, which is believed.
        let mut shadow = disk.clone();
        shadow[extent.offset as usize] ^= 0xff;
        let disk = (&MemoryStorage::from_bytes(&disk), disk.len() as u64);
        self.model.judge_crash(disk, self.now, &shadow, &Ranges::default()).unwrap().is_none()
    }

    fn left(&self, sector: u64, bytes: &[u8]) -> Vec<u8> {
        bytes.iter().copied().filter(|byte| self.may_be_left(sector, &[*byte; 512])).collect()
    }
}

#[test]
fn what_is_ordered_is_exact() {
    let mut bed = Bed::new();
    bed.write(sectors(0, 2), 1);
    bed.write(sectors(1, 2), 2);
    assert_eq!(bed.possible(sectors(0, 1), &[0xaa, 2, 0, 1]), [1]);
    assert_eq!(bed.possible(sectors(1, 2), &[0xaa, 1, 0, 2]), [2]);
    assert_eq!(bed.possible(sectors(3, 5), &[1, 2, 0xaa]), [0xaa]);
    assert!(bed.model.is_settled());
}

#[test]
fn of_two_writes_in_flight_either_comes_last_and_a_read_decides_it() {
    for first in [1, 2] {
        let mut bed = Bed::new();
        let (one, two) = (bed.begin(sectors(0, 2), 1), bed.begin(sectors(0, 2), 2));
        bed.end(one, Ending::Replaced);
        bed.end(two, Ending::Replaced);
        assert_eq!(bed.model.unsettled(), [sectors(0, 2)]);
        assert_eq!(bed.possible(sectors(0, 1), &[0xaa, first, 3 - first]), [first]);
        assert_eq!(bed.possible(sectors(1, 1), &[0xaa, 3 - first, first]), [3 - first]);
        assert_eq!(bed.model.unsettled(), []);
    }
}

#[test]
fn a_read_returns_what_was_possible_in_its_time() {
    let mut bed = Bed::new();
    bed.write(sectors(0, 1), 1);
    let early = bed.begin(sectors(0, 4), 2);
    let look = bed.begin_look(sectors(0, 4));
    let late = bed.begin(sectors(2, 1), 3);
    bed.end(late, Ending::Replaced);
    bed.end(early, Ending::Replaced);
    let mut may = |bytes: [u8; 4]| {
        let found: Vec<u8> = bytes.iter().flat_map(|byte| [*byte; 512]).collect();
        bed.look(look, &found).map_err(|mismatch| mismatch.offset / 512)
    };
    assert_eq!(may([1, 0xaa, 0xaa, 0xaa]), Ok(()));
    assert_eq!(may([2, 2, 3, 2]), Ok(()));
    assert_eq!(may([1, 2, 2, 3]), Err(3), "3 was written elsewhere");
    assert_eq!(may([0xaa, 2, 2, 2]), Err(0), "that was over before the read began");
}

#[test]
fn discards_and_failed_writes_are_possible_and_leave_what_was() {
    let mut bed = Bed::new();
    bed.discard(sectors(0, 2));
    assert_eq!(bed.possible(sectors(0, 1), &[1, 0]), [0]);
    assert_eq!(bed.possible(sectors(1, 1), &[1, 0xaa, 0]), [0xaa], "settled by the read");
    let look = bed.begin_look(sectors(0, 2));
    assert!(bed.model.may_be_zero(look, sectors(0, 1)).unwrap());
    assert!(!bed.model.may_be_zero(look, sectors(0, 2)).unwrap());
}

#[test]
fn a_sector_in_flight_twice_is_of_one_writer() {
    let mut bed = Bed::new();
    let (one, two) = (bed.begin(sectors(0, 1), 1), bed.begin(sectors(0, 1), 2));
    bed.end(one, Ending::Replaced);
    bed.end(two, Ending::Replaced);
    let torn: Vec<u8> = [[1; 256], [2; 256]].concat();
    let look = bed.begin_look(sectors(0, 1));
    assert_eq!(bed.look(look, &torn).unwrap_err().possible, [vec![1; 512], vec![2; 512]]);
    bed.write(Extent::new(0, 100), 3);
    let look = bed.begin_look(sectors(0, 1));
    let joined: Vec<u8> = [vec![3; 100], vec![2; 412]].concat();
    assert_eq!(bed.look(look, &joined), Ok(()));
}

#[test]
fn a_crash_leaves_what_was_durable_or_anything_since() {
    let mut bed = Bed::new();
    assert_eq!(bed.left(0, &[0xaa, 1, 2]), [0xaa]);
    bed.write(sectors(0, 1), 1);
    bed.write(sectors(0, 1), 2);
    assert_eq!(bed.left(0, &[0xaa, 1, 2, 3]), [0xaa, 1, 2]);
    bed.flush();
    assert_eq!(bed.left(0, &[0xaa, 1, 2, 3]), [2]);
    let flying = bed.begin(sectors(0, 1), 3);
    assert_eq!(bed.left(0, &[2, 3]), [2, 3]);
    // A flush that was issued before the write had completed does not make it durable.
    let issued = bed.tick();
    bed.end(flying, Ending::Replaced);
    let now = bed.tick();
    bed.model.flushed(issued, now);
    assert_eq!(bed.left(0, &[2, 3]), [2, 3]);
    let durable = bed.begin(sectors(0, 1), 4);
    bed.end(durable, Ending::Durable);
    assert_eq!(bed.left(0, &[1, 2, 3, 4]), [4]);
}

#[test]
fn what_a_read_has_settled_is_durable_after_a_flush() {
    for settled in [0, 0xaa] {
        let mut bed = Bed::new();
        bed.discard(sectors(0, 1));
        assert_eq!(bed.possible(sectors(0, 1), &[settled]), [settled]);
        assert_eq!(bed.left(0, &[0, 0xaa]), [0, 0xaa], "no flush has made it durable");
        bed.flush();
        assert_eq!(bed.left(0, &[0, 0xaa]), [settled]);
    }
}

#[test]
fn a_sector_that_a_crash_leaves_is_of_one_moment() {
    let mut bed = Bed::new();
    bed.write(Extent::new(0, 100), 1);
    bed.write(Extent::new(100, 412), 2);
    let sector = |first: u8, second: u8| [vec![first; 100], vec![second; 412]].concat();
    assert!(bed.may_be_left(0, &sector(0xaa, 0xaa)) && bed.may_be_left(0, &sector(1, 0xaa)));
    assert!(bed.may_be_left(0, &sector(1, 2)));
    assert!(!bed.may_be_left(0, &sector(0xaa, 2)), "the second write came over the first");
}

#[test]
fn a_lost_handle_may_bring_back_what_was_durable() {
    let mut bed = Bed::new();
    bed.write(sectors(0, 2), 1);
    bed.write(sectors(0, 1), 2);
    let mut adopt = |found: &[u8]| {
        let now = bed.tick();
        bed.model.adopt(now, 0, found).unwrap()
    };
    let disk = |first: u8, second: u8| [vec![first; 512], vec![second; 512]].concat();
    assert!(adopt(&disk(3, 1)).is_err());
    assert_eq!(adopt(&disk(0xaa, 1)), Ok(()));
    assert_eq!(bed.possible(sectors(0, 1), &[1, 2, 0xaa]), [0xaa]);
    assert_eq!(bed.left(0, &[1, 2, 0xaa, 3]), [1, 2, 0xaa], "until a flush");
    bed.flush();
    assert_eq!(bed.left(0, &[1, 2, 0xaa, 3]), [0xaa]);
}

#[test]
fn what_a_lost_handle_left_open_is_what_is_found() {
    let mut bed = Bed::new();
    bed.discard(sectors(2, 2));
    let now = bed.tick();
    let found = [[0xaa; 512], [0; 512]].concat();
    assert_eq!(bed.model.adopt(now, 1024, &found).unwrap(), Ok(()));
    assert!(bed.model.unsettled().is_empty());
    assert_eq!(bed.possible(sectors(2, 1), &[0, 0xaa]), [0xaa]);
    assert_eq!(bed.possible(sectors(3, 1), &[0xaa, 0]), [0]);
}

#[test]
fn a_disk_that_is_there_again_is_one_piece() {
    let mut bed = Bed::new();
    bed.write(sectors(2, 1), 3);
    bed.flush();
    bed.resize(0);
    let now = bed.tick();
    bed.model.adopt_size(now, SIZE).unwrap();
    let mut found = vec![0xaa; SIZE as usize];
    found[1024..1536].fill(3);
    assert_eq!(bed.model.adopt(now, 0, &found).unwrap(), Ok(()));
    assert_eq!(bed.model.compare(0, &found).unwrap(), None);
    assert_eq!(bed.model.pieces.len(), 3, "{:?}", bed.model.pieces);
    assert!(bed.model.is_sound());
}

/// Sizes, and what is possible afterwards: what was cut off does not come back.
#[test]
fn a_disk_that_shrinks_forgets_what_is_cut_off() {
    for size in [0, 1, 512, 1000, SIZE - 1, SIZE] {
        let mut bed = Bed::new();
        bed.write(sectors(1, 3), 0xbb);
        bed.resize(size);
        bed.resize(SIZE);
        let gained = Extent::between(size, SIZE);
        let look = bed.begin_look(gained);
        assert!(bed.model.may_be_zero(look, gained).unwrap(), "{size}");
        bed.look(look, &vec![0; gained.length as usize]).unwrap();
        if size < SIZE {
            let look = bed.begin_look(Extent::between(SIZE - 1, SIZE));
            assert!(bed.look(look, &[0xaa]).is_err(), "{size}");
            assert_eq!(bed.left(7, &[0xaa]), [0xaa], "a crash may undo both");
            bed.flush();
            assert!(bed.left(7, &[0xaa]).is_empty());
        }
    }
}

#[test]
fn what_was_cut_off_for_good_is_not_back_while_the_disk_grows() {
    let mut bed = Bed::new();
    bed.resize(2048);
    assert_eq!(bed.left(7, &[0xaa]), [0xaa], "a crash may undo the cut");
    bed.flush();
    let issued = bed.tick();
    bed.model.begin_resize(issued, SIZE);
    assert_eq!(bed.left(7, &[0xaa, 0]), [0], "the cut is durable, and the disk is about to grow");
    let now = bed.tick();
    bed.model.end_resize(issued, now, SIZE).unwrap();
    assert_eq!(bed.left(7, &[0xaa, 0]), [0]);
}

#[test]
fn a_crash_may_leave_what_is_in_flight_where_it_writes_and_once_it_is_issued() {
    let mut bed = Bed::new();
    bed.begin(sectors(0, 1), 3);
    assert_eq!(bed.left(0, &[3, 0xaa]), [3, 0xaa]);
    assert_eq!(bed.left(1, &[3, 0xaa]), [0xaa]);
    bed.now -= 1;
    assert_eq!(bed.left(0, &[3, 0xaa]), [0xaa]);
}

#[test]
fn a_crash_may_find_a_growth_in_flight_done() {
    let mut bed = Bed::new();
    let issued = bed.tick();
    bed.model.begin_resize(issued, SIZE + 512);
    assert_eq!((bed.model.size(), bed.model.sizes_after_crash(issued)), (SIZE, vec![SIZE, SIZE + 512]));
    assert_eq!(bed.left(8, &[0xaa, 0]), [0]);
    assert_eq!(bed.left(7, &[0xaa, 0]), [0xaa]);
}

#[test]
fn a_disk_of_no_bytes_grows() {
    let mut bed = Bed { model: Model::new(Arc::default(), 0, 512, true), now: 0 };
    bed.resize(1024);
    assert_eq!(bed.possible(sectors(0, 2), &[0xaa, 0]), [0]);
    bed.write(sectors(0, 1), 7);
    assert_eq!(bed.possible(sectors(0, 1), &[0, 7]), [7]);
}

#[test]
fn what_a_disk_gains_is_zero() {
    for (old, new) in [(0, 700), (SIZE, SIZE + 700), (1000, SIZE + 5)] {
        let mut bed = Bed::new();
        bed.resize(old);
        bed.resize(new);
        assert_eq!(bed.possible(Extent::between(old, new), &[0xaa, 0]), [0], "{old} {new}");
        assert_eq!(bed.model.size(), new);
        bed.write(Extent::between(old, new), 5);
        assert_eq!(bed.possible(Extent::between(old, new), &[0, 5]), [5]);
        if old > 0 {
            assert_eq!(bed.possible(Extent::new(0, old.min(512)), &[0, 0xaa]), [0xaa]);
        }
    }
}

/// A history of random requests in order, against a disk that is a vector of bytes.
#[test]
fn a_random_history_in_order_is_what_a_vector_of_bytes_is() {
    let mut random = blk_sim::random::Random::new(5);
    for _ in 0..200 {
        let mut bed = Bed::new();
        let mut bytes = vec![0xaa_u8; SIZE as usize];
        for step in 1..12_u8 {
            let size = bytes.len() as u64;
            let start = random.below(size.max(1)).min(size);
            let extent = Extent::between(start, start + random.below(size - start + 1));
            match random.below(6) {
                0 => {
                    let size = random.below(2 * SIZE);
                    bed.resize(size);
                    bytes.resize(size as usize, 0);
                }
                1 => bed.flush(),
                _ if extent.is_empty() => {}
                _ => {
                    bed.write(extent, step);
                    bytes[extent.offset as usize..extent.end() as usize].fill(step);
                }
            }
            assert_eq!(bed.model.compare(0, &bytes).unwrap(), None);
            let look = bed.begin_look(Extent::new(0, bytes.len() as u64));
            assert_eq!(bed.look(look, &bytes), Ok(()));
            if let Some(last) = bytes.last_mut() {
                *last ^= 0x40;
                let look = bed.begin_look(Extent::new(0, bytes.len() as u64));
                assert!(bed.look(look, &bytes).is_err() && bed.model.compare(0, &bytes).unwrap().is_some());
                *bytes.last_mut().unwrap() ^= 0x40;
            }
        }
    }
}

/// A growth that was lost is cut off for good by a flush, as one that was taken back.
#[test]
fn what_a_lost_growth_held_is_not_back_while_the_disk_grows_again() {
    let mut bed = Bed::new();
    bed.resize(2 * SIZE);
    bed.write(sectors(9, 1), 7);
    let now = bed.tick();
    bed.model.adopt_size(now, SIZE).unwrap();
    assert_eq!(bed.model.size(), SIZE);
    bed.flush();
    assert_eq!(bed.model.sizes_after_crash(bed.now), [SIZE]);
    let issued = bed.tick();
    bed.model.begin_resize(issued, 2 * SIZE);
    assert_eq!(bed.left(9, &[7, 0, 0xaa]), [0], "the growth was lost, and that is durable");
    let now = bed.tick();
    bed.model.end_resize(issued, now, 2 * SIZE).unwrap();
    assert_eq!(bed.possible(sectors(9, 1), &[7, 0xaa, 0]), [0]);
}

#[test]
fn a_sector_that_differs_is_said_with_what_it_should_be() {
    let mut bed = Bed::new();
    bed.write(sectors(5, 1), 5);
    let whole: Vec<u8> = (0..8).flat_map(|sector| [if sector == 5 { 5 } else { 0xaa }; 512]).collect();
    for start in [0, 512, 2048, 2560] {
        let mut found = whole[start..].to_vec();
        assert_eq!(bed.model.compare(start as u64, &found).unwrap(), None);
        found[5 * 512 + 300 - start] ^= 1;
        let found_sector = found[5 * 512 - start..][..512].to_vec();
        let mismatch = bed.model.compare(start as u64, &found).unwrap().expect("a byte differs");
        let expected = Mismatch { offset: 5 * 512, found: found_sector, possible: vec![vec![5; 512]] };
        assert_eq!(mismatch, expected, "{start}");
        let look = bed.begin_look(Extent::between(start as u64, SIZE));
        assert_eq!(bed.look(look, &found), Err(expected), "{start}");
    }
}

#[test]
fn what_is_unsettled_is_told_in_whole_sectors_that_meet() {
    let mut bed = Bed::new();
    bed.discard(Extent::new(100, 100));
    bed.discard(Extent::new(700, 10));
    bed.discard(Extent::new(2048, 512));
    bed.discard(Extent::new(4000, 96));
    assert_eq!(bed.model.unsettled(), [sectors(0, 2), sectors(4, 1), sectors(7, 1)]);
    bed.write(sectors(0, 8), 1);
    assert!(bed.model.unsettled().is_empty() && bed.model.is_settled());
    let mut bed = Bed::new();
    bed.resize(1000);
    bed.discard(Extent::new(600, 400));
    assert_eq!(bed.model.unsettled(), [Extent::between(512, 1000)], "no further than the disk");
}

#[test]
fn a_sector_is_uncertain_from_a_write_to_the_flush_after_it() {
    let mut bed = Bed::new();
    bed.write(sectors(1, 1), 1);
    let written = bed.now;
    bed.flush();
    let flushed = bed.now;
    let uncertain = |sector, time| bed.model.is_uncertain(sectors(sector, 1), time);
    assert!(!uncertain(1, 0) && uncertain(1, written) && uncertain(1, flushed - 1));
    assert!(!uncertain(1, flushed) && !uncertain(0, written) && !uncertain(2, written));
    assert!(bed.model.is_uncertain(sectors(0, 3), written));
}

/// The shadow that whole ranges of a crashed disk are compared with, and the sectors in which it may be
/// wrong.
#[test]
fn the_shadow_is_what_was_there_at_a_time() {
    let mut bed = Bed::new();
    bed.write(sectors(2, 2), 1);
    let first = bed.now;
    bed.write(sectors(3, 2), 2);
    let second = bed.now;
    bed.discard(sectors(5, 2));
    let show = |time, extent| {
        let (mut shadow, mut doubtful) = (vec![0xee; SIZE as usize], Ranges::default());
        bed.model.show(extent, time, &mut shadow, &mut doubtful).unwrap();
        let sectors: Vec<u8> = shadow.chunks(512).map(|sector| sector[0]).collect();
        (sectors, doubtful.iter().cloned().collect::<Vec<_>>())
    };
    let (sectors_then, doubtful) = show(first, sectors(0, 6));
    assert_eq!(sectors_then, [0xaa, 0xaa, 1, 1, 0xaa, 0xaa, 0xee, 0xee]);
    assert!(doubtful.is_empty());
    assert_eq!(show(second, sectors(2, 3)).0, [0xee, 0xee, 1, 2, 2, 0xee, 0xee, 0xee]);
    let (sectors_now, doubtful) = show(bed.now, sectors(4, 4));
    assert_eq!(sectors_now, [0xee, 0xee, 0xee, 0xee, 2, 0xee, 0xee, 0xaa]);
    assert_eq!((doubtful.len(), doubtful[0].clone()), (1, 5..7), "a discard may have left what was there");
}
