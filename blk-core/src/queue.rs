//! Requests in flight: submitted now, answered later, in any order.
//!
//! ```text
//! DiskQueue::submit ─► Disk: is it right? ─┬─► the driver's own Queue, if it has one
//!      │ no                                └─► a bounded pool of threads
//!      ▼                                          │
//!   Refused, with the buffer                      ▼
//!                               completion(result, buffer), once
//! ```
//!
//! A buffer is owned by whoever works on it, and comes back with the answer: so a kernel may write into it
//! while nobody here can.

mod pool;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::buffer::is_aligned;
use crate::{Access, Buffer, Data, Disk, Error, Op, Reply, Result};
use pool::Pool;

/// Called with the answer to a request, and with its buffer.
type Callback = Box<dyn FnOnce(Result<Reply>, Buffer) + Send>;

/// The right and the duty to answer a request, once. Whoever drops it instead breaks the contract: the caller
/// is told that the request is lost, then the thread panics.
pub struct Completion(Option<Callback>);

impl Completion {
    fn new(callback: impl FnOnce(Result<Reply>, Buffer) + Send + 'static) -> Self {
        Self(Some(Box::new(callback)))
    }

    /// Answers the request. `buffer` is the one that came with it: a read has filled it.
    pub fn complete(mut self, result: Result<Reply>, buffer: Buffer) {
        let callback = self.0.take().expect("a completion is there until it is used");
        callback(result, buffer);
    }

    /// Makes the request of `disk`, and answers it. A driver that panics answers with [`Error::Poisoned`].
    fn perform(self, disk: &Disk, op: Op, mut buffer: Buffer) {
        let made = catch_unwind(AssertUnwindSafe(|| {
            let data = match op {
                Op::Read { .. } => Data::Read(&mut buffer),
                Op::Write { .. } => Data::Write(&buffer),
                _ => Data::None,
            };
            disk.perform(op, data)
        }));
        let result = made.unwrap_or_else(|payload| Err(panicked(&*payload)));
        self.complete(result, buffer);
    }
}

fn panicked(payload: &(dyn std::any::Any + Send)) -> Error {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("without a message");
    Error::Poisoned { cause: format!("the driver panicked: {text}") }
}

impl Drop for Completion {
    fn drop(&mut self) {
        let Some(callback) = self.0.take() else { return };
        callback(Err(Error::Poisoned { cause: "the request was lost".to_owned() }), Buffer::none());
        assert!(std::thread::panicking(), "a queue has dropped an accepted request without answering it");
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Completion")
    }
}

/// The ability of a driver to take requests and answer them later.
///
/// It gets reads, writes, discards, flushes and prefetches that [`Disk`] has checked, with flags that the
/// driver honours and buffers that it can use; what has to be split or emulated is made by calls.
pub trait Queue: Send + Sync {
    /// Takes a request. It is answered once by `completion`, from any thread, also from this one before the
    /// call returns. Requests in flight together are not ordered; a flush covers those that were answered
    /// before it was submitted. The call may wait while too many requests are in flight.
    fn submit(&self, op: Op, buffer: Buffer, completion: Completion);
}

/// A request that was not accepted: nothing was done, and nothing will be answered.
#[derive(Debug)]
pub struct Refused {
    /// What is wrong with it.
    pub error: Error,
    /// The buffer that came with it, as it was.
    pub buffer: Buffer,
}

/// Requests in flight on one disk: by the driver's own queue, or by a pool of threads.
///
/// Dropping it waits until all requests are answered.
#[derive(Debug)]
pub struct DiskQueue {
    disk: Arc<Disk>,
    /// `None` where the driver has a queue of its own.
    pool: Option<Pool>,
}

impl DiskQueue {
    /// A queue for `disk`. Where the driver has none, `threads` threads make the requests, and at most
    /// `depth` of these are waiting or being made at a time: [`DiskQueue::submit`] waits for room.
    ///
    /// # Panics
    /// If there are to be no threads, or no requests in flight.
    ///
    /// # Errors
    /// [`Error::Io`] where the host has no thread left.
    pub fn new(disk: Arc<Disk>, threads: usize, depth: usize) -> Result<Self> {
        let is_native = disk.driver().as_queue().is_some();
        let pool = if is_native { None } else { Some(Pool::new(&disk, threads, depth)?) };
        Ok(Self { disk, pool })
    }

    /// The disk.
    pub fn disk(&self) -> &Arc<Disk> {
        &self.disk
    }

    /// Submits a request with its buffer, which has to be as long as [`Op::data_bytes`] says. `completion` is
    /// called once, by any thread, with the answer and the buffer. It may submit others.
    ///
    /// # Errors
    /// [`Refused`] with the error that [`Disk::perform`] would give without having asked the driver: then
    /// `completion` is never called.
    pub fn submit(
        &self,
        op: Op,
        buffer: Buffer,
        completion: impl FnOnce(Result<Reply>, Buffer) + Send + 'static,
    ) -> std::result::Result<(), Box<Refused>> {
        if let Err(error) = self.disk.admit(op, &buffer) {
            return Err(Box::new(Refused { error, buffer }));
        }
        let completion = Completion::new(completion);
        match &self.pool {
            Some(pool) => pool.submit(op, buffer, completion),
            None => match self.disk.driver().as_queue() {
                Some(queue) if self.disk.takes_as_it_is(op, &buffer) => queue.submit(op, buffer, completion),
                _ => completion.perform(&self.disk, op, buffer),
            },
        }
        Ok(())
    }

    /// Waits until no request of the pool is in flight. A driver's own queue is waited for by a flush, or by
    /// one's own count.
    ///
    /// # Panics
    /// With the panic of a completion, if there was one: once.
    pub fn wait(&self) {
        if let Some(pool) = &self.pool {
            pool.wait();
        }
    }
}

impl Disk {
    /// Whether the disk may take a request at all: its buffer, its range, its access.
    fn admit(&self, op: Op, buffer: &Buffer) -> Result<()> {
        if buffer.len() as u64 != op.data_bytes() {
            let length = buffer.len();
            return Err(Error::invalid_option(
                "buffer",
                format!("'{op}' was given a buffer of {length} bytes"),
            ));
        }
        if op.needs_write_access() && self.access() == Access::ReadOnly {
            return Err(Error::ReadOnly);
        }
        op.extent().map_or(Ok(()), |extent| self.check_range(extent.offset, extent.length))
    }

    /// Whether an admitted request can go to the driver's queue: nothing is to be split or emulated, nor an
    /// answer to be checked.
    fn takes_as_it_is(&self, op: Op, buffer: &Buffer) -> bool {
        let limits = self.limits();
        let fits = |max: u64| (1..=max).contains(&op.extent().map_or(1, |extent| extent.length));
        let can = match op {
            Op::Read { .. } => fits(limits.transfer_bytes_max),
            Op::Write { flags, .. } => {
                fits(limits.transfer_bytes_max) && (!flags.fua || limits.native.write_fua)
            }
            Op::Discard { flags, .. } => {
                let can_fua = !flags.fua || limits.native.discard_fua;
                limits.can_discard && can_fua && fits(limits.discard_bytes_max)
            }
            Op::Prefetch { .. } => fits(u64::MAX),
            Op::Flush => self.access() == Access::ReadWrite,
            Op::WriteZeroes { .. }
            | Op::BlockStatus { .. }
            | Op::Resize { .. }
            | Op::Check { .. }
            | Op::Snapshot { .. }
            | Op::ReadSnapshot { .. }
            | Op::Amend { .. }
            | Op::Bitmap { .. }
            | Op::ReadBitmap { .. } => false,
        };
        can && is_aligned(buffer, limits.memory_alignment)
    }
}

#[cfg(test)]
mod tests;
