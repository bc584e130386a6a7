//! Rules about what is read after what was written.

use super::Maker;
use super::subject::Subject;
use crate::{Extent, WriteFlags, ZeroFlags};

/// Whatever the medium held before.
pub(super) fn a_fresh_disk_reads_as_zeroes<M: Maker>(maker: &M) {
    let subject = Subject::usual(maker);
    subject.compare_all("fresh");
    subject.walk_status(subject.size());
    subject.assert_clean("fresh");
}

/// Writes of every alignment change their own bytes and no others, on an empty disk as on a full one.
pub(super) fn odd_ranges_keep_their_neighbours<M: Maker>(maker: &M) {
    for mut subject in [Subject::usual(maker), Subject::full(maker, 9)] {
        for (number, offset) in
            [0, 1, 511, 512, 4095, 4096, 65_535, 65_536, 131_071, 524_287].into_iter().enumerate()
        {
            for length in [1, 2, 511, 513, 1024, 4097, 65_537] {
                let flags = WriteFlags { fua: length == 513, compressed: false };
                subject.write(subject.fit(offset, length), 40 + number as u8, flags);
            }
        }
        let last = subject.fit(subject.size() - 1, 1);
        subject.write(last, 60, WriteFlags::default());
        subject.compare_all("after writes at odd offsets");
    }
}

/// Requests around the edges of the format's clusters, of whatever size.
pub(super) fn requests_across_the_edges_of_units<M: Maker>(maker: &M) {
    let unit = Subject::usual(maker).unit();
    let mut subject = Subject::odd_sized(maker, (unit * 5).next_multiple_of(1 << 20));
    let mut salt = 0;
    for round in 0..3u64 {
        for edge in [unit, 2 * unit, 3 * unit, 4 * unit] {
            for (before, after) in
                [(1, 1), (0, 1), (1, 0), (unit, 1), (1, unit), (0, unit), (unit / 2, unit / 2)]
            {
                salt += 1;
                let extent = subject.fit(edge - before, before + after);
                match (salt + round) % 4 {
                    0 => drop(
                        subject.zero(extent, ZeroFlags { may_unmap: round == 1, ..ZeroFlags::default() }),
                    ),
                    1 if round > 0 => drop(subject.discard(extent)),
                    _ => drop(subject.write(extent, salt as u8, WriteFlags::default())),
                }
            }
        }
        subject.compare_all("after requests across edges");
        subject.walk_status(subject.size());
    }
    subject.reopen(crate::Access::ReadOnly);
    subject.compare_all("after opening again");
}

/// A compressed write is refused and changes nothing, or reads back as what was written; either way its
/// neighbours stay.
pub(super) fn compressed_writes_are_right_or_refused<M: Maker>(maker: &M) {
    let flags = WriteFlags { compressed: true, fua: false };
    for mut subject in [Subject::usual(maker), Subject::full(maker, 23)] {
        let unit = subject.unit();
        let mut places: Vec<(u64, u64)> = (0..4)
            .map(|number| (number * unit, unit))
            .filter(|(offset, _)| offset + unit <= subject.size())
            .collect();
        places.extend([(0, subject.size()), (unit / 2, unit), (unit / 2, 100), (subject.size() - 1, 1)]);
        for (number, (offset, length)) in places.into_iter().enumerate() {
            subject.write(subject.fit(offset, length), number as u8 + 1, flags);
        }
        // Over compressed data: plain writes, zeroes, discards.
        subject.write(subject.fit(unit / 2, unit / 2 + 1), 77, WriteFlags::default());
        subject.zero(subject.fit(unit - 1, 2), ZeroFlags::default());
        subject.discard(Extent::new(0, unit.min(subject.size())));
        subject.walk_status(subject.size());
        subject.reopen(crate::Access::ReadWrite);
        subject.compare_all("after compressed writes");
    }
}
