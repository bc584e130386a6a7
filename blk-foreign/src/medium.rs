//! The medium of a foreign driver: the storage under test, served by our NBD server or mounted as a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use blk_core::sync::{Mutex, RwLock};
use blk_core::{
    Access, BlockDriver, BlockStatus, DiscardFlags, Disconnection, Disk, Error, Extent, Limits, Result,
    Storage, WriteFlags, ZeroFlags, refuse_compressed,
};
use blk_nbd::{Export, Running, Server, ServerOptions};

use crate::fuse::Mounted;
use blk_harness::plant::Planted;

/// What the socket, or the folder of the file, is called.
pub(crate) const SOCKET: &str = "m";

/// A medium that is served.
#[derive(Debug)]
pub(crate) struct Medium {
    line: Arc<Line>,
    /// Absent once nobody may use it any more.
    serving: Option<Serving>,
}

/// How the driver comes to the storage.
#[derive(Debug)]
enum Serving {
    Nbd(#[expect(dead_code, reason = "it stops when it is dropped")] Running),
    File(Mounted),
}

/// The line to the storage, until it is cut.
#[derive(Debug)]
pub(crate) struct Line {
    /// Held shared by each operation: once it is cut, none is under way, and none will be.
    storage: RwLock<Option<Arc<dyn Storage>>>,
    size: u64,
    /// Why a sync has failed.
    failed: Mutex<Option<String>>,
    planted: Arc<Planted>,
}

impl Medium {
    /// Serves a storage on the socket `medium` of a folder, by threads of this name: by one alone, in the
    /// order in which the driver asks, unless operations of the storage are to be in flight together
    /// (`is_shared`). Threads that take turns cost two changes of them for most operations.
    pub(crate) fn serve(
        storage: Arc<dyn Storage>,
        folder: &Path,
        planted: Arc<Planted>,
        threads: &str,
        is_shared: bool,
    ) -> Result<Self> {
        let line = Arc::new(Line::new(storage, planted)?);
        let disk = Arc::new(Disk::new(OnLine(Arc::clone(&line)), Access::ReadWrite));
        let thread_name = threads.to_owned();
        let usual = ServerOptions::default();
        let requests_max = if is_shared { usual.requests_max } else { 1 };
        let options = ServerOptions { stop_time: Duration::ZERO, thread_name, requests_max, ..usual };
        let running = Server::new([Export::new("", disk)], options)?.listen_unix(&folder.join(SOCKET))?;
        Ok(Self { line, serving: Some(Serving::Nbd(running)) })
    }

    /// Mounts a storage as a file in the folder `medium` of a folder.
    pub(crate) fn mount(storage: Arc<dyn Storage>, folder: &Path, planted: Arc<Planted>) -> Result<Self> {
        let line = Arc::new(Line::new(storage, planted)?);
        let folder = folder.join(SOCKET);
        std::fs::create_dir(&folder).map_err(|error| Error::io("make a folder", 0, error))?;
        let mounted = Mounted::mount(Arc::clone(&line), &folder)?;
        Ok(Self { line, serving: Some(Serving::File(mounted)) })
    }

    /// What a driver opens: the socket, or the file.
    pub(crate) fn path(&self, folder: &Path) -> PathBuf {
        match &self.serving {
            Some(Serving::File(mounted)) => mounted.path(),
            _ => folder.join(SOCKET),
        }
    }

    /// From now on nothing reaches the storage.
    pub(crate) fn cut(&self) {
        self.line.cut();
    }

    /// Whether no sync of it has failed.
    ///
    /// # Errors
    /// [`Error::Poisoned`] if one has: what it was to make durable may be gone.
    pub(crate) fn check_syncs(&self) -> Result<()> {
        self.line.check_syncs()
    }
}

impl Drop for Medium {
    fn drop(&mut self) {
        self.cut();
        drop(self.serving.take());
    }
}

impl Line {
    pub(crate) fn new(storage: Arc<dyn Storage>, planted: Arc<Planted>) -> Result<Self> {
        let size = storage.len()?;
        Ok(Self { storage: RwLock::new(Some(storage)), size, failed: Mutex::default(), planted })
    }

    /// From now on nothing reaches the storage.
    pub(crate) fn cut(&self) {
        *self.storage.write() = None;
    }

    pub(crate) fn planted(&self) -> &Planted {
        &self.planted
    }

    /// Syncs the storage, and notes that it has failed.
    pub(crate) fn sync(&self) -> Result<()> {
        self.with(|storage| storage.sync()).inspect_err(|error| *self.failed.lock() = Some(error.to_string()))
    }

    /// Whether no sync has failed.
    ///
    /// # Errors
    /// [`Error::Poisoned`] if one has.
    pub(crate) fn check_syncs(&self) -> Result<()> {
        let failed = self.failed.lock();
        failed.as_ref().map_or(Ok(()), |cause| Err(Error::Poisoned { cause: cause.clone() }))
    }

    pub(crate) fn with<R>(&self, work: impl FnOnce(&dyn Storage) -> Result<R>) -> Result<R> {
        let storage = self.storage.read();
        match &*storage {
            Some(storage) => work(&**storage),
            None => {
                Err(Error::Disconnected { how: Disconnection::Closed, what: "the medium: it was cut".into() })
            }
        }
    }
}

/// The disk that is exported.
#[derive(Debug)]
struct OnLine(Arc<Line>);

impl BlockDriver for OnLine {
    fn size(&self) -> u64 {
        self.0.size
    }

    fn limits(&self) -> Limits {
        Limits { zero_granularity: 4096, discard_granularity: 4096, ..Limits::default() }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.with(|storage| storage.read_at(offset, buf))?;
        self.0.planted.medium(buf);
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        refuse_compressed(flags)?;
        self.0.with(|storage| storage.write_at(offset, buf))
    }

    fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        self.0.with(|storage| match (flags.may_be_refused(), flags.may_unmap) {
            (true, unmap) => storage.zero_fast(extent, unmap),
            (false, true) => storage.punch_hole(extent),
            (false, false) => storage.write_zeroes_at(extent),
        })
    }

    fn discard(&self, extent: Extent, _flags: DiscardFlags) -> Result<()> {
        self.0.with(|storage| storage.punch_hole(extent))
    }

    /// A flush that succeeds over NBD covers all earlier writes. The storage forgets what a sync could not
    /// make durable, as Linux does: after one that has failed, no other succeeds.
    fn flush(&self) -> Result<()> {
        if self.0.planted.loses_sync() {
            return Ok(());
        }
        self.0.check_syncs()?;
        self.0.sync()?;
        // Another one that was under way may have lost what this one was to cover.
        self.0.check_syncs()
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        let run = self.0.with(|storage| storage.run_at(extent.offset))?;
        let (length, data) = run.map_or((extent.length, false), |run| (run.length, run.data));
        let length = length.min(extent.length);
        Ok(BlockStatus { length, allocated: true, zero: !data, compressed: false, host_offset: None })
    }
}

#[cfg(test)]
mod tests {
    use blk_core::ErrorKind;
    use blk_core::storage::{FaultRule, FaultStorage, MemoryStorage, Operation};

    use super::*;

    #[test]
    fn no_flush_over_nbd_succeeds_after_one_that_has_failed() {
        let storage = Arc::new(FaultStorage::new(Arc::new(MemoryStorage::new())));
        storage.set_len(4096).unwrap();
        storage.add_rule(FaultRule::fail(5).on(Operation::Sync));
        let storage: Arc<dyn Storage> = storage;
        let line = || Arc::new(Line::new(Arc::clone(&storage), Arc::default()).unwrap());
        let disk = OnLine(line());
        let kinds = [(); 3].map(|()| disk.flush().map_err(|error| error.kind()));
        assert_eq!(kinds, [Err(ErrorKind::Io), Err(ErrorKind::Poisoned), Err(ErrorKind::Poisoned)]);
        disk.write(0, &[1; 512], WriteFlags::default()).unwrap();
        assert!(OnLine(line()).flush().is_ok(), "the host itself has forgotten, and a new server with it");
    }
}
