//! Rules that take many requests to break.

use super::subject::Subject;
use super::{Maker, pattern};
use crate::{Access, DiscardFlags, Disk, Extent, WriteFlags, ZeroFlags};

const SEEDS: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0x2545_f491_4f6c_dd1d];
const REQUESTS: u32 = 2000;
const LENGTH_MAX: u64 = 40_000;
/// How far a disk grows here at most. Bytes.
const SIZE_MAX: u64 = 3 << 20;

/// A small random generator (xorshift), so that the suite needs no crate.
struct Random(u64);

impl Random {
    fn next(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn once_in(&mut self, count: u64) -> bool {
        self.next(count) == 0
    }
}

/// A disk does what a vector of bytes does.
pub(super) fn random_requests_agree_with_a_vector<M: Maker>(maker: &M) {
    for seed in SEEDS {
        let mut random = Random(seed);
        let mut subject = Subject::usual(maker);
        for number in 0..REQUESTS {
            let extent = some_extent(&subject, &mut random);
            request(&mut subject, &mut random, extent, number as u8);
        }
        subject.compare_all("after random requests");
        subject.walk_status(subject.size());
        subject.reopen(Access::ReadOnly);
        subject.compare_all("after random requests, opened again");
    }
}

/// Short mostly, and often at the edge of a cluster or at the end of the disk.
fn some_extent<M: Maker>(subject: &Subject<'_, M>, random: &mut Random) -> Extent {
    let (unit, size) = (subject.unit(), subject.size());
    let largest = if random.once_in(4) { LENGTH_MAX } else { 700 };
    let length = if random.once_in(6) { unit.min(1 << 17) } else { 1 + random.next(largest) };
    let offset = match random.next(8) {
        0 | 1 => random.next(size.div_ceil(unit)) * unit,
        2 => (random.next(size.div_ceil(unit)) * unit).saturating_sub(1 + random.next(length)),
        3 => size.saturating_sub(length),
        _ => random.next(size),
    };
    subject.fit(offset.min(size - 1), length)
}

fn request<M: Maker>(subject: &mut Subject<'_, M>, random: &mut Random, extent: Extent, salt: u8) {
    let fua = random.once_in(50);
    match random.next(100) {
        0..=29 => subject.compare(extent, "at a random read"),
        30..=64 => drop(subject.write(extent, salt, WriteFlags { fua, compressed: false })),
        65..=66 => drop(subject.write(extent, salt, WriteFlags { fua, compressed: true })),
        67..=81 => {
            let [may_unmap, no_fallback, fast_only] = [2, 3, 5].map(|count| random.once_in(count));
            let flags = ZeroFlags { fua, may_unmap, no_fallback, fast_only };
            subject.zero(extent, flags);
        }
        82..=91 => drop(subject.discard_with(extent, DiscardFlags { fua })),
        92..=96 => drop(subject.status(extent)),
        97 => subject.flush(),
        98 => {
            let size = subject.size() + 1 + random.next(10_000);
            if random.once_in(2) && size <= SIZE_MAX {
                subject.resize(size.next_multiple_of(subject.alignment().max(512)));
            }
        }
        _ if subject.survives() && random.once_in(3) => {
            subject.flush();
            subject.kill();
            subject.compare_all("after a flush and a kill");
        }
        _ => {
            subject.reopen(Access::ReadWrite);
            subject.compare_all("after opening again");
        }
    }
}

const THREADS: u64 = 4;

/// Threads that write next to one another, also inside one cluster, do not lose each other's bytes.
pub(super) fn threads_on_disjoint_ranges_do_not_meet<M: Maker>(maker: &M) {
    let subject = Subject::usual(maker);
    let piece_bytes = 1000u64.next_multiple_of(subject.alignment());
    let pieces = subject.size() / piece_bytes;
    let disk = subject.disk();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                for piece in (0..pieces).filter(|piece| piece % THREADS == thread) {
                    work_on(disk, Extent::new(piece * piece_bytes, piece_bytes), piece);
                }
            });
        }
    });
    for piece in 0..pieces {
        let extent = Extent::new(piece * piece_bytes, piece_bytes);
        assert!(subject.bytes(extent) == left_by(extent, piece), "the piece at {extent:?} after all threads");
    }
}

/// Writes a piece, discards or zeroes it now and then, and reads it back in between.
fn work_on(disk: &Disk, extent: Extent, piece: u64) {
    let mut bytes = pattern(extent.offset, extent.length as usize, 99);
    if piece.is_multiple_of(5) {
        disk.write(extent.offset, &bytes, WriteFlags::default()).expect("write");
        disk.write_zeroes(extent, ZeroFlags { may_unmap: true, ..ZeroFlags::default() }).expect("zeroes");
    }
    let expected = left_by(extent, piece);
    if !is_left_zero(piece) {
        disk.write(extent.offset, &expected, WriteFlags::default()).expect("write");
    }
    disk.read(extent.offset, &mut bytes).expect("read");
    assert!(bytes == expected, "the piece at {extent:?}, read by the thread that wrote it");
}

fn is_left_zero(piece: u64) -> bool {
    piece.is_multiple_of(10)
}

fn left_by(extent: Extent, piece: u64) -> Vec<u8> {
    if is_left_zero(piece) {
        return vec![0; extent.length as usize];
    }
    pattern(extent.offset, extent.length as usize, piece as u8)
}
