//! A connection that is made again when it is lost, if that is wanted.
//!
//! A request that has no answer is made again, so a server may do it twice. Where a server outlives its
//! connection it may even do the first one late, after others over the new connection: that hazard is the
//! protocol's. What was written and not flushed may have been lost with the server, and nobody would hear of
//! it: so flushes that were in flight fail, and the next one after the loss does, too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use blk_core::sync::Mutex;
use blk_core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use blk_core::{Access, Disconnection, Error, Extent, Result};

use super::connection::{Connection, Request, Transfer};
use super::handshake::{Agreed, ExportInfo};
use super::receive::Asked;
use super::{ClientOptions, dial, open};
use crate::address::Address;
use crate::wire::command;

/// How long a server is left alone that could not be reached.
const PAUSE: Duration = Duration::from_millis(50);
/// After so long one that was given up is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How a connection is made again.
#[derive(Debug)]
pub(super) struct Redial {
    pub(super) address: Address,
    pub(super) access: Access,
    pub(super) options: ClientOptions,
    /// How long requests wait for it.
    pub(super) time: Duration,
    /// What the export has to be then.
    pub(super) info: ExportInfo,
    /// A block status has to be told then, and whether it is that of a dirty bitmap.
    pub(super) context: Option<bool>,
}

/// One connection, and what was done over it.
#[derive(Debug)]
struct Line {
    connection: Connection,
    /// The number of the context that a block status is asked in.
    context: u32,
    /// Changes that were done, but for those that were durable at once.
    changes: AtomicU64,
    /// How many of them a flush covers.
    flushed: AtomicU64,
}

#[derive(Debug)]
struct Current {
    line: Arc<Line>,
    /// Changes that no flush covered went with a connection, and no flush has said so.
    has_lost: bool,
    /// It could not be made again in time, at this moment: nobody waits for it any more, and it is tried now
    /// and then.
    given_up: Option<Instant>,
}

/// The way to a server.
#[derive(Debug)]
pub(super) struct Link {
    current: Mutex<Current>,
    redial: Option<Redial>,
    is_closed: AtomicBool,
}

impl Line {
    fn new(connection: Connection, agreed: &Agreed) -> Arc<Self> {
        let context = agreed.context.map_or(0, |(id, _)| id);
        Arc::new(Self { connection, context, changes: AtomicU64::new(0), flushed: AtomicU64::new(0) })
    }

    fn has_unflushed(&self) -> bool {
        self.changes.load(Ordering::Acquire) > self.flushed.load(Ordering::Acquire)
    }

    fn transact(
        &self,
        command: u16,
        extent: Extent,
        flags: u16,
        transfer: Transfer<'_>,
    ) -> Result<Vec<(u64, u64)>> {
        let Extent { offset, length } = extent;
        let covered = self.changes.load(Ordering::Acquire);
        let asked = Asked { command, offset, length, context: self.context };
        let answer = self.connection.transact(Request { asked, flags }, transfer)?;
        match command {
            command::FLUSH => {
                self.flushed.fetch_max(covered, Ordering::AcqRel);
            }
            command::WRITE | command::WRITE_ZEROES | command::TRIM if flags & command::FLAG_FUA == 0 => {
                self.changes.fetch_add(1, Ordering::AcqRel);
            }
            _ => {}
        }
        Ok(answer)
    }
}

impl Link {
    pub(super) fn new(connection: Connection, agreed: &Agreed, redial: Option<Redial>) -> Self {
        let line = Line::new(connection, agreed);
        let current = Current { line, has_lost: false, given_up: None };
        Self { current: Mutex::new(current), redial, is_closed: AtomicBool::new(false) }
    }

    /// Makes a request, over another connection if one is lost.
    pub(super) fn transact(
        &self,
        command: u16,
        extent: Extent,
        flags: u16,
        mut transfer: Transfer<'_>,
    ) -> Result<Vec<(u64, u64)>> {
        let mut end = None;
        loop {
            if command == command::FLUSH {
                self.tell_loss()?;
            }
            let line = Arc::clone(&self.current.lock().line);
            match line.transact(command, extent, flags, transfer.again()) {
                Err(error @ Error::Disconnected { .. }) if line.connection.is_lost() => {
                    let is_first = end.is_none();
                    let end = *end.get_or_insert_with(|| self.end());
                    if !is_first {
                        std::thread::sleep(PAUSE);
                    }
                    self.make_again(&line, error, end)?;
                    if command == command::FLUSH && line.has_unflushed() {
                        // That is told now; other flushes of that connection tell it, too.
                        let _ = self.tell_loss();
                        return Err(self.loss());
                    }
                }
                answer => {
                    self.done(&line, command);
                    return answer;
                }
            }
        }
    }

    /// Until when a request waits that has lost its connection now; `None` for a time too far away.
    fn end(&self) -> Option<Instant> {
        self.redial.as_ref().and_then(|redial| Instant::now().checked_add(redial.time))
    }

    /// Tells once that changes may have been lost with a connection.
    ///
    /// # Errors
    /// [`Error::Disconnected`] if that is so.
    pub(super) fn tell_loss(&self) -> Result<()> {
        if std::mem::take(&mut self.current.lock().has_lost) { Err(self.loss()) } else { Ok(()) }
    }

    fn loss(&self) -> Error {
        let name = self.redial.as_ref().map_or_else(String::new, |redial| redial.address.to_string());
        let what = format!("{name}: the connection was lost with writes that were not flushed");
        Error::Disconnected { how: Disconnection::Broken, what: what.into() }
    }

    /// A request is done. A change that was answered right before its connection was lost may have gone with
    /// it.
    fn done(&self, line: &Arc<Line>, command: u16) {
        if self.redial.is_some() && matches!(command, command::WRITE | command::WRITE_ZEROES | command::TRIM)
        {
            let mut current = self.current.lock();
            current.has_lost |= !Arc::ptr_eq(&current.line, line) && line.has_unflushed();
        }
    }

    /// Makes a connection in the place of one that is lost; returns `error` where that cannot be done until
    /// `end`.
    fn make_again(&self, lost: &Arc<Line>, error: Error, end: Option<Instant>) -> Result<()> {
        let Some(redial) = &self.redial else { return Err(error) };
        // Others wait meanwhile: they need it, too.
        let mut current = self.current.lock();
        if !Arc::ptr_eq(&current.line, lost) {
            let is_late = end.is_some_and(|end| Instant::now() >= end);
            return if is_late { Err(error) } else { Ok(()) };
        }
        if current.given_up.is_some_and(|then| then.elapsed() < RETRY) {
            return Err(error);
        }
        loop {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            let has_time = left.is_none_or(|left| !left.is_zero()) && current.given_up.is_none();
            // Whoever comes after it was given up tries once, shortly.
            let time = if has_time { left } else { Some(PAUSE) };
            if self.is_closed.load(Ordering::Acquire) {
                return Err(error);
            }
            match redial.dial(time) {
                Ok(line) => {
                    current.has_lost |= lost.has_unflushed();
                    current.given_up = None;
                    current.line = line;
                    return Ok(());
                }
                Err(Error::InvalidOption { .. }) => return Err(error),
                Err(_) if !has_time => {
                    current.given_up = Some(Instant::now());
                    return Err(error);
                }
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    }

    /// Tells the server that the client leaves, and makes no connection again.
    pub(super) fn leave(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.current.lock().line.connection.leave();
    }
}

impl Redial {
    /// A connection to the same export as before, which has so long to come about.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] where it is another one now.
    fn dial(&self, time: Option<Duration>) -> Result<Arc<Line>> {
        let connect_time = [time, self.options.connect_time].into_iter().flatten().min();
        let options = ClientOptions { connect_time, ..self.options.clone() };
        let (connection, agreed) =
            open(dial(&self.address, &options)?, &self.address, self.access, &options)?;
        let is_same = agreed.info.size == self.info.size
            && agreed.info.flags == self.info.flags
            && agreed.info.block_sizes == self.info.block_sizes
            && agreed.info.long_requests == self.info.long_requests
            && agreed.dirty_bitmap() == self.context;
        if is_same {
            Ok(Line::new(connection, &agreed))
        } else {
            Err(Error::invalid_option("reconnect-delay", "the export is another one than before"))
        }
    }
}
