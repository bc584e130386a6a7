//! A connection that is made again when it is lost, if that is wanted.
//!
//! A request that has no answer is made again: requests may be done twice, which changes nothing. What was
//! written and not flushed may have been lost with the server, though, and nobody would hear of it: so the
//! next flush fails, once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use blk_core::sync::Mutex;
use blk_core::sync::atomic::{AtomicU64, Ordering};
use blk_core::{Access, Error, Extent, Result};

use super::connection::{Connection, Request, Transfer};
use super::handshake::{Agreed, ExportInfo};
use super::receive::Asked;
use super::{ClientOptions, dial, open};
use crate::address::Address;
use crate::wire::command;

/// How long a server is left alone that could not be reached.
const PAUSE: Duration = Duration::from_millis(50);

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
    /// It could not be made again in time: nobody waits for it any more.
    is_given_up: bool,
    is_closed: bool,
}

/// The way to a server.
#[derive(Debug)]
pub(super) struct Link {
    current: Mutex<Current>,
    redial: Option<Redial>,
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
        let current = Current { line, has_lost: false, is_given_up: false, is_closed: false };
        Self { current: Mutex::new(current), redial }
    }

    /// Makes a request, over another connection if one is lost.
    pub(super) fn transact(
        &self,
        command: u16,
        extent: Extent,
        flags: u16,
        mut transfer: Transfer<'_>,
    ) -> Result<Vec<(u64, u64)>> {
        loop {
            let line = self.line(command)?;
            match line.transact(command, extent, flags, transfer.again()) {
                Err(error @ Error::Disconnected { .. }) => self.make_again(&line, error)?,
                answer => {
                    self.done(&line, command);
                    return answer;
                }
            }
        }
    }

    /// The connection as it is now. A flush hears of what was lost with another one.
    fn line(&self, command: u16) -> Result<Arc<Line>> {
        let mut current = self.current.lock();
        if command == command::FLUSH && std::mem::take(&mut current.has_lost) {
            let name = self.redial.as_ref().map_or_else(String::new, |redial| redial.address.to_string());
            let what = format!("{name}: the connection was lost with writes that were not flushed");
            return Err(Error::Disconnected { what: what.into() });
        }
        Ok(Arc::clone(&current.line))
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

    /// Makes a connection in the place of one that is lost; returns `error` where that cannot be done.
    fn make_again(&self, lost: &Arc<Line>, error: Error) -> Result<()> {
        let Some(redial) = &self.redial else { return Err(error) };
        // Others wait meanwhile: they need it, too.
        let mut current = self.current.lock();
        if current.is_closed {
            return Err(error);
        }
        if !Arc::ptr_eq(&current.line, lost) {
            return Ok(());
        }
        let end = Instant::now().checked_add(redial.time);
        loop {
            match redial.dial() {
                Ok(line) => {
                    current.has_lost |= lost.has_unflushed();
                    current.is_given_up = false;
                    current.line = line;
                    return Ok(());
                }
                Err(Error::InvalidOption { .. }) => return Err(error),
                Err(_) if current.is_given_up => return Err(error),
                Err(_) if end.is_some_and(|end| Instant::now() >= end) => {
                    current.is_given_up = true;
                    return Err(error);
                }
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    }

    /// Tells the server that the client leaves, and makes no connection again.
    pub(super) fn leave(&self) {
        let mut current = self.current.lock();
        current.is_closed = true;
        current.line.connection.leave();
    }
}

impl Redial {
    /// A connection to the same export as before.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] where it is another one now.
    fn dial(&self) -> Result<Arc<Line>> {
        let (connection, agreed) =
            open(dial(&self.address, &self.options)?, &self.address, self.access, &self.options)?;
        let is_same = agreed.info.size == self.info.size
            && agreed.info.flags == self.info.flags
            && agreed.info.block_sizes == self.info.block_sizes
            && agreed.info.long_requests == self.info.long_requests;
        if is_same {
            Ok(Line::new(connection, &agreed))
        } else {
            Err(Error::invalid_option("reconnect-delay", "the export is another one than before"))
        }
    }
}
