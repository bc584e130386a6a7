use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::storage::Gate;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::testing::flat;
use crate::{BlockDriver, BlockStatus, ErrorKind, Extent, Limits, PassThrough, WriteFlags, ZeroFlags};

/// A disk that fails, waits or panics at certain offsets.
#[derive(Debug)]
struct Moody {
    inner: Disk,
    gate: Arc<Gate>,
}

const FAILS: u64 = 1024;
const PANICS: u64 = 2048;
const WAITS: u64 = 3072;

impl PassThrough for Moody {
    fn inner(&self) -> &Disk {
        &self.inner
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        match offset {
            FAILS => return Err(Error::from_errno(5, "read")),
            PANICS => panic!("a bug at {offset}"),
            WAITS => self.gate.pass(),
            _ => {}
        }
        self.inner.read(offset, buf)
    }
}

fn moody() -> (Arc<Disk>, Arc<Gate>) {
    let gate = Arc::new(Gate::new());
    let inner = flat((0..=255).cycle().take(1 << 14).collect(), Limits::default());
    let moody = Moody { inner, gate: Arc::clone(&gate) };
    (Arc::new(Disk::new(moody, Access::ReadWrite)), gate)
}

fn read(offset: u64) -> Op {
    Op::Read { extent: Extent::new(offset, 512) }
}

fn buffer() -> Buffer {
    Buffer::zeroed(512, 512)
}

type Answer = (u64, Result<Reply>, Buffer);

/// Submits reads at these offsets, and takes all answers.
fn answers(queue: &DiskQueue, offsets: &[u64]) -> Vec<Answer> {
    let (sender, receiver) = mpsc::channel();
    for offset in offsets {
        let (sender, offset) = (sender.clone(), *offset);
        let completion = move |result, buffer| sender.send((offset, result, buffer)).unwrap();
        queue.submit(read(offset), buffer(), completion).unwrap();
    }
    drop(sender);
    receiver.iter().collect()
}

#[test]
fn each_request_is_answered_once_with_its_buffer() {
    let (disk, _) = moody();
    for (threads, depth) in [(1, 1), (4, 2), (4, 100)] {
        let queue = DiskQueue::new(Arc::clone(&disk), threads, depth).unwrap();
        let offsets: Vec<u64> = (0..200).map(|number| 4096 + number * 7).collect();
        let mut answered = answers(&queue, &offsets);
        answered.sort_by_key(|(offset, ..)| *offset);
        assert_eq!(answered.len(), offsets.len());
        for ((offset, result, buffer), expected) in answered.into_iter().zip(offsets) {
            assert_eq!(offset, expected);
            assert_eq!(result.unwrap(), Reply::Done);
            assert_eq!((buffer.len(), buffer[0], buffer[511]), (512, offset as u8, (offset + 511) as u8));
        }
    }
}

#[test]
fn errors_and_panics_of_the_driver_are_answers() {
    let (disk, _) = moody();
    let queue = DiskQueue::new(disk, 2, 4).unwrap();
    for (offset, result, buffer) in answers(&queue, &[0, FAILS, PANICS, 4096, PANICS, FAILS]) {
        assert_eq!(buffer.len(), 512, "it comes back whatever happens");
        match (offset, result) {
            (FAILS, Err(error)) => assert_eq!(error.errno(), 5),
            (PANICS, Err(Error::Poisoned { cause })) => {
                assert_eq!(cause, format!("the driver panicked: a bug at {PANICS}"));
            }
            (_, result) => assert_eq!(result.unwrap(), Reply::Done, "{offset}"),
        }
    }
    queue.wait();
}

#[test]
fn what_is_wrong_is_refused_at_once_and_never_answered() {
    let (disk, _) = moody();
    let queue = DiskQueue::new(disk, 1, 1).unwrap();
    let refused = |queue: &DiskQueue, op, length: usize| {
        let never = |_, _: Buffer| panic!("a refused request is not answered");
        let refused = queue.submit(op, Buffer::from(vec![7; length]), never).unwrap_err();
        assert!(refused.buffer[..] == vec![7; length], "the buffer is as it was");
        refused.error.kind()
    };
    assert_eq!(refused(&queue, read(1 << 14), 512), ErrorKind::OutOfRange);
    assert_eq!(refused(&queue, read(u64::MAX), 512), ErrorKind::OutOfRange);
    assert_eq!(refused(&queue, read(0), 511), ErrorKind::InvalidOption);
    assert_eq!(refused(&queue, Op::Flush, 1), ErrorKind::InvalidOption);
    let inner = flat(vec![1; 4096], Limits { request_alignment: 512, ..Limits::default() });
    let read_only = Arc::new(Disk::from_box(Box::new(Filter(inner)), Access::ReadOnly));
    let queue = DiskQueue::new(read_only, 1, 1).unwrap();
    assert_eq!(refused(&queue, Op::write(Extent::new(0, 512)), 512), ErrorKind::ReadOnly);
    assert_eq!(refused(&queue, read(1), 512), ErrorKind::Misaligned);
    queue.submit(Op::Flush, Buffer::none(), |result, _| drop(result.unwrap())).unwrap();
    queue.wait();
}

#[derive(Debug)]
struct Filter(Disk);

impl PassThrough for Filter {
    fn inner(&self) -> &Disk {
        &self.0
    }
}

#[test]
fn a_full_queue_waits_for_room_and_not_for_more() {
    let (disk, gate) = moody();
    let queue = Arc::new(DiskQueue::new(disk, 1, 2).unwrap());
    let answered = Arc::new(AtomicUsize::new(0));
    let submit = |queue: &DiskQueue, offset| {
        let answered = Arc::clone(&answered);
        let count = move |_: Result<Reply>, _| {
            answered.fetch_add(1, Ordering::SeqCst);
        };
        queue.submit(read(offset), buffer(), count).unwrap();
    };
    submit(&queue, WAITS);
    gate.await_arrivals(1);
    submit(&queue, 0);
    std::thread::scope(|scope| {
        let third = scope.spawn(|| submit(&queue, 0));
        std::thread::sleep(Duration::from_millis(20));
        assert!(!third.is_finished(), "two are in flight, which is all that there may be");
        gate.open();
        third.join().unwrap();
    });
    queue.wait();
    assert_eq!(answered.load(Ordering::SeqCst), 3);
}

#[test]
fn dropping_a_queue_answers_all_that_is_in_flight() {
    let (disk, gate) = moody();
    let answered = Arc::new(AtomicUsize::new(0));
    let queue = DiskQueue::new(disk, 2, 50).unwrap();
    for number in 0..40 {
        let answered = Arc::clone(&answered);
        let offset = if number < 2 { WAITS } else { 0 };
        let count = move |result: Result<Reply>, _| {
            result.unwrap();
            answered.fetch_add(1, Ordering::SeqCst);
        };
        queue.submit(read(offset), buffer(), count).unwrap();
    }
    gate.await_arrivals(2);
    std::thread::scope(|scope| {
        let dropping = scope.spawn(|| drop(queue));
        assert_eq!(answered.load(Ordering::SeqCst), 0);
        gate.open();
        dropping.join().unwrap();
    });
    assert_eq!(answered.load(Ordering::SeqCst), 40);
}

#[test]
fn completions_may_submit_more_than_there_is_room_for() {
    let (disk, _) = moody();
    let queue = Arc::new(DiskQueue::new(disk, 1, 1).unwrap());
    let (sender, receiver) = mpsc::channel();
    let again = Arc::clone(&queue);
    let completion = move |_, _| {
        for number in 0..5 {
            let sender = sender.clone();
            let completion = move |_, _| sender.send(number).unwrap();
            again.submit(read(number), buffer(), completion).unwrap();
        }
        // The last handle may go here, in a thread of the queue.
        drop(again);
    };
    queue.submit(read(0), buffer(), completion).unwrap();
    drop(queue);
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

#[test]
fn a_completion_that_panics_takes_nobody_with_it_and_is_told() {
    let (disk, _) = moody();
    let queue = DiskQueue::new(disk, 1, 4).unwrap();
    queue.submit(read(0), buffer(), |_, _| panic!("mine")).unwrap();
    let (sender, receiver) = mpsc::channel();
    queue.submit(read(0), buffer(), move |result, _| sender.send(result.is_ok()).unwrap()).unwrap();
    assert!(receiver.recv().unwrap(), "the thread goes on");
    let payload = catch_unwind(AssertUnwindSafe(|| queue.wait())).unwrap_err();
    assert_eq!(*payload.downcast_ref::<&str>().unwrap(), "mine");
    queue.wait();
}

/// A driver with a queue of its own, which may lose requests.
#[derive(Debug)]
struct Native {
    inner: Arc<Disk>,
    limits: Limits,
    loses: bool,
    queued: Arc<AtomicUsize>,
}

impl BlockDriver for Native {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.inner.read(offset, buf)
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        self.inner.write(offset, buf, flags)
    }

    fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        self.inner.write_zeroes(extent, flags)
    }

    fn flush(&self) -> Result<()> {
        self.inner.flush()
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        self.inner.block_status(extent)
    }

    fn as_queue(&self) -> Option<&dyn Queue> {
        Some(self)
    }
}

impl Queue for Native {
    fn submit(&self, op: Op, buffer: Buffer, completion: Completion) {
        self.queued.fetch_add(1, Ordering::SeqCst);
        if self.loses {
            return drop(completion);
        }
        let disk = Arc::clone(&self.inner);
        std::thread::spawn(move || completion.perform(&disk, op, buffer));
    }
}

fn native(loses: bool, limits: Limits) -> (DiskQueue, Arc<AtomicUsize>) {
    let queued = Arc::new(AtomicUsize::new(0));
    let inner = Arc::new(flat(vec![1; 1 << 14], Limits::default()));
    let driver = Native { inner, limits, loses, queued: Arc::clone(&queued) };
    let disk = Arc::new(Disk::new(driver, Access::ReadWrite));
    (DiskQueue::new(disk, 1, 1).unwrap(), queued)
}

fn result_of(queue: &DiskQueue, op: Op) -> Result<Reply> {
    let (sender, receiver) = mpsc::channel();
    let buffer = Buffer::from(vec![0; op.data_bytes() as usize]);
    queue.submit(op, buffer, move |result, _| sender.send(result).unwrap()).unwrap();
    receiver.recv().expect("each accepted request is answered")
}

#[test]
fn a_native_queue_gets_what_it_can_take_as_it_is_and_calls_do_the_rest() {
    let (queue, queued) = native(false, Limits { transfer_bytes_max: 1024, ..Limits::default() });
    let whole = Extent::new(0, 1 << 14);
    let durable = WriteFlags { fua: true, ..WriteFlags::default() };
    for (op, count) in [
        (read(0), 1),
        (Op::Read { extent: whole }, 1),
        (Op::Read { extent: Extent::new(5, 0) }, 1),
        (Op::write(Extent::new(0, 1024)), 2),
        (Op::Write { extent: Extent::new(0, 1024), flags: durable }, 2),
        (Op::Flush, 3),
        (Op::WriteZeroes { extent: whole, flags: ZeroFlags::default() }, 3),
        (Op::BlockStatus { extent: whole }, 3),
        (Op::Prefetch { extent: whole }, 4),
    ] {
        result_of(&queue, op).unwrap_or_else(|error| panic!("{op}: {error}"));
        assert_eq!(queued.load(Ordering::SeqCst), count, "{op}");
    }
    assert_eq!(result_of(&queue, Op::resize(5)).unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn a_queue_that_loses_a_request_breaks_the_contract_and_its_caller_hears_of_it() {
    let (queue, _) = native(true, Limits::default());
    let (sender, receiver) = mpsc::channel();
    let completion = move |result: Result<Reply>, _| sender.send(result).unwrap();
    let broken = catch_unwind(AssertUnwindSafe(|| drop(queue.submit(read(0), buffer(), completion))));
    assert!(broken.is_err(), "the queue's breach is an assertion");
    assert_eq!(receiver.recv().unwrap().unwrap_err().kind(), ErrorKind::Poisoned);
}
