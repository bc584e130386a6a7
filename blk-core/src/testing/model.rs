//! Rules that take many requests to break.

use super::{Maker, USUAL_BYTES, pattern, read, usual};
use crate::{Error, Extent, WriteFlags, ZeroFlags};

const REQUESTS: u32 = 3000;
const LENGTH_MAX: u64 = 40_000;

/// A small random generator, so that the suite needs no crate.
struct Random(u64);

impl Random {
    fn next(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// A disk does what a vector of bytes does.
pub(super) fn random_requests_agree_with_a_vector<M: Maker>(maker: &M) {
    let (_medium, disk) = usual(maker);
    let mut model = vec![0; USUAL_BYTES as usize];
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for number in 0..REQUESTS {
        let offset = random.next(USUAL_BYTES);
        let largest = if random.next(4) == 0 { LENGTH_MAX } else { 700 };
        let length = 1 + random.next(largest.min(USUAL_BYTES - offset));
        let extent = Extent::new(offset, length);
        let range = offset as usize..(offset + length) as usize;
        match random.next(10) {
            0..=3 => {
                let same = read(&disk, offset, length as usize) == model[range];
                assert!(same, "#{number} read {extent:?}");
            }
            4..=7 => {
                let data = pattern(offset, length as usize, number as u8);
                disk.write(offset, &data, WriteFlags::default()).expect("write");
                model[range].copy_from_slice(&data);
            }
            8 => {
                let flags = ZeroFlags { may_unmap: random.next(2) == 0, ..ZeroFlags::default() };
                disk.write_zeroes(extent, flags).expect("write zeroes");
                model[range].fill(0);
            }
            _ => match disk.discard(extent) {
                Ok(()) => disk.read(offset, &mut model[range]).expect("read after a discard"),
                Err(Error::Unsupported { .. }) => {}
                Err(error) => panic!("#{number} discard {extent:?}: {error}"),
            },
        }
    }
    assert!(read(&disk, 0, model.len()) == model, "the whole disk after {REQUESTS} requests");
}

/// Threads that write next to one another, also inside one cluster, do not lose each other's bytes.
pub(super) fn threads_on_disjoint_ranges_do_not_meet<M: Maker>(maker: &M) {
    const THREADS: u64 = 4;
    const PIECE_BYTES: u64 = 1000;
    let (_medium, disk) = usual(maker);
    let pieces = USUAL_BYTES / PIECE_BYTES;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let disk = &disk;
            scope.spawn(move || {
                for piece in (0..pieces).filter(|piece| piece % THREADS == thread) {
                    let offset = piece * PIECE_BYTES;
                    let data = pattern(offset, PIECE_BYTES as usize, thread as u8);
                    disk.write(offset, &data, WriteFlags::default()).expect("write");
                    assert!(read(disk, offset, PIECE_BYTES as usize) == data, "thread {thread}, {offset}");
                }
            });
        }
    });
    for piece in 0..pieces {
        let offset = piece * PIECE_BYTES;
        let expected = pattern(offset, PIECE_BYTES as usize, (piece % THREADS) as u8);
        assert!(read(&disk, offset, PIECE_BYTES as usize) == expected, "piece at {offset}");
    }
}
