//! A rule about requests in flight: the driver's own queue, or the pool that any driver has.

use std::sync::{Arc, mpsc};

use super::subject::Subject;
use super::{Maker, pattern};
use crate::{Access, Buffer, Data, DiskQueue, Extent, Op, Reply, WriteFlags};

const PIECES: u64 = 64;

/// Requests in flight are answered once each, with their own buffers, and do what calls do.
pub(super) fn requests_in_flight_are_answered_once<M: Maker>(maker: &M) {
    let mut subject = Subject::usual(maker);
    let piece = 4096.max(subject.alignment());
    let pieces = PIECES.min(subject.size() / piece);
    let queue = DiskQueue::new(Arc::clone(subject.disk_handle()), 3, 16).expect("threads");
    let extent = |number: u64| Extent::new(number * piece, piece);
    let written = |number: u64| pattern(number * piece, piece as usize, number as u8);
    let durable = |number: u64| WriteFlags { fua: number.is_multiple_of(9), compressed: false };
    let write = |number| Op::Write { extent: extent(number), flags: durable(number) };
    for (_, buffer) in answers(&queue, pieces, |number| (write(number), written(number))) {
        assert_eq!(buffer.len() as u64, piece, "the buffer of a write comes back");
    }
    queue.submit(Op::Flush, Buffer::none(), |result, _| drop(result.expect("flush"))).expect("a flush");
    queue.wait();
    let read = |number| (Op::Read { extent: extent(number) }, vec![0xee; piece as usize]);
    for (number, buffer) in answers(&queue, pieces, read) {
        assert!(buffer[..] == written(number), "the buffer of read {number}");
    }
    let mut last = vec![0xee; piece as usize];
    let read = queue.disk().perform(Op::Read { extent: extent(0) }, Data::Read(&mut last));
    assert_eq!(read.expect("a read beside the queue"), Reply::Done);
    assert!(last == written(0));
    drop(queue);
    for number in 0..pieces {
        subject.model[extent(number).offset as usize..extent(number).end() as usize]
            .copy_from_slice(&written(number));
    }
    subject.compare_all("after requests in flight");
    subject.reopen(Access::ReadOnly);
    subject.compare_all("after requests in flight, opened again");
}

/// Submits `count` requests, and takes the buffers of all answers.
fn answers(
    queue: &DiskQueue,
    count: u64,
    request: impl Fn(u64) -> (Op, Vec<u8>),
) -> impl Iterator<Item = (u64, Buffer)> {
    let (sender, receiver) = mpsc::channel();
    for number in 0..count {
        let (op, buffer) = request(number);
        let sender = sender.clone();
        let answered = move |result: crate::Result<Reply>, buffer| {
            sender.send((number, result, buffer)).expect("the rule waits for answers");
        };
        if let Err(refused) = queue.submit(op, Buffer::from(buffer), answered) {
            panic!("{op} in flight: {}", refused.error);
        }
    }
    drop(sender);
    let mut answered: Vec<_> = receiver.iter().collect();
    answered.sort_by_key(|(number, ..)| *number);
    let numbers: Vec<u64> = answered.iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, (0..count).collect::<Vec<_>>(), "each request is answered once");
    answered.into_iter().map(|(number, result, buffer)| {
        result.unwrap_or_else(|error| panic!("request {number} in flight: {error}"));
        (number, buffer)
    })
}
