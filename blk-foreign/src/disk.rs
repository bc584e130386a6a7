//! A disk that a foreign driver shows, as our client sees it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use blk_core::sync::Mutex;
use blk_core::{
    Access, Check, CheckReport, Disconnection, Disk, Error, ErrorKind, PassThrough, RepairMode, Result,
    Severity,
};
use blk_nbd::{Address, ClientOptions, connect};

use crate::daemon::{Daemon, Opened};
use crate::description::Description;
use crate::medium::Medium;
use crate::process::Process;
use crate::template::Names;
use blk_harness::plant::Planted;

/// How long an answer may take: a driver that hangs is found.
const ANSWER_TIME: Duration = Duration::from_secs(15);

/// Who has the image open.
#[derive(Debug)]
pub(crate) enum Holder {
    /// A process that opens others too.
    Shared(Arc<Daemon>, Opened),
    /// One of its own.
    Own(Process),
}

/// An image that is open in another process, and all that has to go with it.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) description: &'static Description,
    pub(crate) names: Names,
    pub(crate) holder: Holder,
    pub(crate) medium: Option<Medium>,
    /// Whether the process is killed where it cannot be cut off from a medium.
    pub(crate) is_killed: Arc<AtomicBool>,
    /// Where its sockets are.
    pub(crate) _folder: Option<tempfile::TempDir>,
}

impl Handle {
    /// Has the driver close the image. All that it still has to write is in the medium then.
    fn close(self) -> Result<()> {
        let closed = self.release();
        drop(self.medium);
        closed
    }

    /// Leaves the image as a crash does: the medium changes no more. A file changes no more once the process
    /// is dead, which is killed only if that is asked for: its other images would go with it.
    fn cut(self) {
        if let Some(medium) = &self.medium {
            medium.cut();
        }
        // What fails now is not ours to judge. A process of its own is killed when it is dropped.
        match &self.holder {
            Holder::Shared(daemon, opened) if self.is_killed.load(Ordering::Relaxed) => daemon.kill(opened),
            Holder::Shared(..) => drop(self.release()),
            Holder::Own(_) => {}
        }
    }

    fn release(&self) -> Result<()> {
        match &self.holder {
            Holder::Shared(daemon, opened) => daemon.close(self.description, &self.names, opened),
            Holder::Own(process) => process.stop(),
        }
    }

    fn death(&self) -> Option<String> {
        match &self.holder {
            Holder::Shared(daemon, opened) => daemon.death(opened),
            Holder::Own(process) => process.death_soon(),
        }
    }
}

/// Judges what lies in the medium.
pub(crate) type Inspect = Box<dyn Fn() -> Result<CheckReport> + Send + Sync>;

/// The disk.
pub(crate) struct ForeignDisk {
    client: Disk,
    /// What errors call the export by: another name in each run.
    address: String,
    handle: Mutex<Option<Handle>>,
    planted: Arc<Planted>,
    /// A flush that was answered and not made.
    owes_flush: AtomicBool,
    inspect: Option<Inspect>,
}

impl std::fmt::Debug for ForeignDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ForeignDisk").field("client", &self.client).finish_non_exhaustive()
    }
}

/// Connects to the export at `socket`, which is that of `handle`.
pub(crate) fn open(
    handle: Handle,
    socket: &Path,
    planted: Arc<Planted>,
    inspect: Option<Inspect>,
) -> Result<Disk> {
    let export = handle.names.text(&handle.description.export);
    let address = Address::unix(socket, export);
    let options = ClientOptions { answer_time: Some(ANSWER_TIME), ..ClientOptions::default() };
    let connected = match &handle.holder {
        Holder::Shared(..) => connect(&address, Access::ReadWrite, &options),
        Holder::Own(process) => process.await_ready(|| connect(&address, Access::ReadWrite, &options)),
    };
    match connected {
        Ok(client) => {
            let (handle, address) = (Mutex::new(Some(handle)), address.to_string());
            let owes_flush = AtomicBool::new(false);
            let disk = ForeignDisk { client, address, handle, planted, owes_flush, inspect };
            Ok(Disk::new(disk, Access::ReadWrite))
        }
        Err(error) => {
            handle.cut();
            Err(error)
        }
    }
}

/// The error of a change or a flush; a refusal is that of a lost handle once the medium has failed. A process
/// that is gone, or does not answer, refuses nothing.
fn given_up(error: Error, failed: Option<Error>) -> Error {
    match error.kind() {
        ErrorKind::Io | ErrorKind::NoSpace => failed.unwrap_or(error),
        _ => error,
    }
}

/// A process that has failed.
fn broken(what: String) -> Error {
    Error::Io { operation: "asking the process", offset: 0, source: std::io::Error::other(what) }
}

impl ForeignDisk {
    /// The driver, once what is planted has been made up for.
    fn client(&self) -> Result<&Disk> {
        if self.owes_flush.swap(false, Ordering::Relaxed) {
            self.kept(self.client.flush())?;
        }
        Ok(&self.client)
    }

    /// The result; where the connection is gone, with how the process has ended, and alike in each run. A
    /// process that closes the connection gives up the handle, which is its right after an error of its
    /// storage; one that has ended, does not answer, or says what it must not, has failed.
    fn told<R>(&self, result: Result<R>) -> Result<R> {
        let Err(Error::Disconnected { how, what }) = result else { return result };
        let death = self.handle.lock().as_ref().and_then(Handle::death);
        let what = what.replace(&self.address, "the export");
        match death {
            None if how == Disconnection::Closed => Err(Error::Disconnected { how, what: what.into() }),
            None => Err(broken(what)),
            Some(death) => Err(broken(format!("{what}: {death}"))),
        }
    }

    /// As [`Self::told`], of a change or a flush: once a sync of the medium has failed, a driver that refuses
    /// one has given up the handle, as it should: nothing would bring back what the sync has lost.
    fn kept(&self, result: Result<()>) -> Result<()> {
        self.told(result.map_err(|error| given_up(error, self.medium_failure())))
    }

    /// That a sync of the medium has failed.
    fn medium_failure(&self) -> Option<Error> {
        self.handle.lock().as_ref()?.medium.as_ref()?.check_syncs().err()
    }
}

impl PassThrough for ForeignDisk {
    fn inner(&self) -> &Disk {
        &self.client
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.told(self.client()?.read(offset, buf))?;
        self.planted.reply(buf);
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8], flags: blk_core::WriteFlags) -> Result<()> {
        self.kept(self.client()?.write(offset, buf, flags))
    }

    fn write_zeroes(&self, extent: blk_core::Extent, flags: blk_core::ZeroFlags) -> Result<()> {
        self.kept(self.client()?.write_zeroes(extent, flags))
    }

    fn discard(&self, extent: blk_core::Extent, flags: blk_core::DiscardFlags) -> Result<()> {
        self.kept(self.client()?.discard(extent, flags))
    }

    fn flush(&self) -> Result<()> {
        if self.planted.flushes_late() {
            self.owes_flush.store(true, Ordering::Relaxed);
            return Ok(());
        }
        self.kept(self.client.flush())
    }

    /// Flushes first: a driver may swallow what goes wrong in its own close. Disconnects then: a process that
    /// is asked to end may wait for its clients.
    fn close(&self) -> Result<()> {
        self.flush()?;
        self.told(self.client.close())?;
        let handle = self.handle.lock().take();
        handle.map_or(Ok(()), Handle::close)
    }

    fn as_check(&self) -> Option<&dyn Check> {
        self.inspect.as_ref().map(|_| self as &dyn Check)
    }
}

impl Check for ForeignDisk {
    /// Judges what lies in the medium after a flush, but for leaks: another process has the image open, so
    /// that nothing can be repaired, and nobody is to ask for it. The driver's own check finds leaks.
    fn check(&self, _repair: RepairMode) -> Result<CheckReport> {
        self.flush()?;
        let Some(inspect) = &self.inspect else { return Err(Error::unsupported("checking this format")) };
        let mut report = inspect()?;
        report.findings.retain(|finding| finding.severity != Severity::Leak);
        (report.leaks, report.leaks_fixed, report.leaks_past_end) = (0, 0, 0);
        Ok(report)
    }
}

impl Drop for ForeignDisk {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.lock().take() {
            handle.cut();
        }
    }
}

#[cfg(test)]
mod tests {
    use blk_harness::MemoryDisk;

    use super::*;

    #[test]
    fn only_what_is_refused_after_a_failed_sync_is_a_lost_handle() {
        let poisoned = || Error::Poisoned { cause: "a sync".to_owned() };
        let silent =
            || Error::Disconnected { how: Disconnection::Silent, what: "the server does not answer".into() };
        for (error, failed, expected) in [
            (broken(String::new()), None, ErrorKind::Io),
            (broken(String::new()), Some(poisoned()), ErrorKind::Poisoned),
            (Error::NoSpace { what: "here".into() }, Some(poisoned()), ErrorKind::Poisoned),
            (silent(), Some(poisoned()), ErrorKind::Disconnected),
            (Error::ReadOnly, Some(poisoned()), ErrorKind::ReadOnly),
        ] {
            assert_eq!(given_up(error, failed).kind(), expected);
        }
    }

    #[test]
    fn only_a_connection_that_was_closed_in_good_order_is_a_lost_handle() {
        let disk = ForeignDisk {
            client: MemoryDisk::open(512).unwrap(),
            address: "nbd+unix:///n7?socket=/tmp/x".to_owned(),
            handle: Mutex::new(None),
            planted: Arc::default(),
            owes_flush: AtomicBool::new(false),
            inspect: None,
        };
        for (how, expected) in [
            (Disconnection::Closed, ErrorKind::Disconnected),
            (Disconnection::Silent, ErrorKind::Io),
            (Disconnection::Broken, ErrorKind::Io),
        ] {
            // The words decide nothing.
            let what = format!("{}: the server has closed it", disk.address);
            let error = disk.told::<()>(Err(Error::Disconnected { how, what: what.into() })).unwrap_err();
            assert_eq!(error.kind(), expected, "{how:?}");
            let text = error.to_string();
            assert!(text.contains("has closed it") && !text.contains("/tmp/x"), "{text}");
        }
        assert!(matches!(disk.told::<()>(Err(Error::ReadOnly)), Err(Error::ReadOnly)));
    }
}
