//! Rules about requests whose buffers are in pieces, about several runs a block status, and about what
//! changes nothing.

use std::io::{IoSlice, IoSliceMut};

use super::subject::Subject;
use super::{Maker, pattern};
use crate::{Access, BlockStatus, Extent, WriteFlags, ZeroFlags};

/// How a request is cut: lengths of the first pieces, which are of any length; a last piece has the rest.
const CUTS: [&[usize]; 5] = [&[], &[0, 1], &[512, 512], &[4096, 0, 3, 5000], &[1, 1, 1, 65_536]];

/// The ends of the pieces of `length` bytes.
fn ends(cut: &[usize], length: usize) -> Vec<usize> {
    let ends = cut.iter().scan(0, |end, piece| {
        *end = (*end + piece).min(length);
        Some(*end)
    });
    ends.chain([length]).collect()
}

/// Cuts a buffer into pieces.
fn pieces<'b>(cut: &[usize], mut buf: &'b mut [u8]) -> Vec<IoSliceMut<'b>> {
    let mut start = 0;
    let length = buf.len();
    let mut pieces = Vec::new();
    for end in ends(cut, length) {
        let (piece, rest) = buf.split_at_mut(end - start);
        pieces.push(IoSliceMut::new(piece));
        (buf, start) = (rest, end);
    }
    pieces
}

/// Requests in pieces do what they do in one buffer.
pub(super) fn pieces_are_read_and_written_in_order<M: Maker>(maker: &M) {
    for mut subject in [Subject::usual(maker), Subject::full(maker, 31)] {
        let unit = subject.unit();
        let places = [(0, 512), (511, 70_000), (unit - 1, 2 * unit), (300_000, 9000), (1_040_000, 9000)];
        for (number, (cut, (offset, length))) in CUTS.into_iter().cycle().zip(places.repeat(2)).enumerate() {
            let extent = subject.fit(offset, length);
            let flags = WriteFlags { fua: number % 3 == 0, compressed: false };
            subject.write_pieces(extent, number as u8 | 32, cut, flags);
            let expected = subject.bytes(extent);
            let mut read = vec![0xee; extent.length as usize];
            let mut bufs = pieces(cut, &mut read);
            let done = subject.disk().read_vectored(extent.offset, &mut bufs);
            done.unwrap_or_else(|error| panic!("read {extent:?} in pieces of {cut:?}: {error}"));
            assert!(read == expected, "{extent:?} read in pieces of {cut:?}");
        }
        subject.compare_all("after writes in pieces");
        subject.reopen(Access::ReadOnly);
        subject.compare_all("after writes in pieces, opened again");
    }
}

impl<M: Maker> Subject<'_, M> {
    fn write_pieces(&mut self, extent: Extent, salt: u8, cut: &[usize], flags: WriteFlags) {
        let data = pattern(extent.offset, extent.length as usize, salt);
        let mut start = 0;
        let bufs: Vec<IoSlice<'_>> = ends(cut, data.len())
            .into_iter()
            .map(|end| IoSlice::new(&data[std::mem::replace(&mut start, end)..end]))
            .collect();
        let done = self.disk().write_vectored(extent.offset, &bufs, flags);
        done.unwrap_or_else(|error| panic!("write {extent:?} in pieces of {cut:?}: {error}"));
        self.model[extent.offset as usize..extent.end() as usize].copy_from_slice(&data);
        self.compare_all(&format!("after a write of {extent:?} in pieces of {cut:?}"));
    }
}

/// Several runs a call are the runs that come one by one.
pub(super) fn runs_are_those_that_come_one_by_one<M: Maker>(maker: &M) {
    let mut subject = Subject::usual(maker);
    let unit = subject.unit();
    for number in 0..6 {
        subject.write(subject.fit(number * 3 * unit, unit), number as u8, WriteFlags::default());
        let zeroes = subject.fit((number * 3 + 1) * unit, unit / 2);
        subject.zero(zeroes, ZeroFlags { may_unmap: number % 2 == 0, ..ZeroFlags::default() });
    }
    for (offset, runs_max) in [(0, 1), (0, 3), (0, 1000), (unit, 2), (unit / 2, 5)] {
        let asked = Extent::between(subject.fit(offset.min(subject.size() / 2), 0).offset, subject.size());
        let mut runs = subject
            .disk()
            .block_status_runs(asked, runs_max)
            .unwrap_or_else(|error| panic!("{runs_max} runs of {asked:?}: {error}"))
            .into_iter()
            .peekable();
        assert!(runs.peek().is_some(), "no runs of {asked:?}");
        // The two ways may cut one run in other places.
        let mut at = asked.offset;
        for run in runs {
            let end = at + run.length;
            while at < end {
                let one = subject.status(Extent::between(at, end));
                let known = |status: BlockStatus| (status.allocated, status.zero, status.compressed);
                assert!(known(one) == known(run), "{at} in a run of {asked:?} is {one:?}: {run:?}");
                at += one.length;
            }
        }
    }
}

/// To be told of what will be read changes nothing.
pub(super) fn a_prefetch_changes_nothing<M: Maker>(maker: &M) {
    let mut subject = Subject::usual(maker);
    subject.write(subject.fit(70_000, 90_000), 33, WriteFlags::default());
    for (offset, length) in [(0, subject.size()), (69_000, 2000), (subject.size(), 0), (500_000, 1)] {
        let extent = subject.fit(offset, length);
        subject.disk().prefetch(extent).unwrap_or_else(|error| panic!("prefetch {extent:?}: {error}"));
        subject.compare_all("after a prefetch");
    }
    subject.reopen(Access::ReadOnly);
    subject.disk().prefetch(Extent::new(0, subject.size())).expect("a prefetch of a read-only disk");
    subject.compare_all("after a prefetch, opened again");
}
