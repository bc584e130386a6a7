//! The medium of a foreign driver: the storage under test, served by our NBD server or mounted as a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use blk_core::sync::RwLock;
use blk_core::{
    Access, BlockDriver, BlockStatus, DiscardFlags, Disk, Error, Extent, Limits, Result, Storage, WriteFlags,
    ZeroFlags, refuse_compressed,
};
use blk_nbd::{Export, Running, Server, ServerOptions};

use crate::fuse::Mounted;
use crate::plant::Planted;

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
    planted: Arc<Planted>,
}

impl Medium {
    /// Serves a storage on the socket `medium` of a folder, by threads of this name.
    pub(crate) fn serve(
        storage: Arc<dyn Storage>,
        folder: &Path,
        planted: Arc<Planted>,
        threads: &str,
    ) -> Result<Self> {
        let line = Arc::new(Line::new(storage, planted)?);
        let disk = Arc::new(Disk::new(OnLine(Arc::clone(&line)), Access::ReadWrite));
        let thread_name = threads.to_owned();
        let options = ServerOptions { stop_time: Duration::ZERO, thread_name, ..ServerOptions::default() };
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
        Ok(Self { storage: RwLock::new(Some(storage)), size, planted })
    }

    /// From now on nothing reaches the storage.
    pub(crate) fn cut(&self) {
        *self.storage.write() = None;
    }

    pub(crate) fn planted(&self) -> &Planted {
        &self.planted
    }

    pub(crate) fn with<R>(&self, work: impl FnOnce(&dyn Storage) -> Result<R>) -> Result<R> {
        let storage = self.storage.read();
        match &*storage {
            Some(storage) => work(&**storage),
            None => Err(Error::Disconnected { what: "the medium: it was cut".into() }),
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

    fn flush(&self) -> Result<()> {
        if self.0.planted.loses_sync() {
            return Ok(());
        }
        self.0.with(|storage| storage.sync())
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        let run = self.0.with(|storage| storage.run_at(extent.offset))?;
        let (length, data) = run.map_or((extent.length, false), |run| (run.length, run.data));
        let length = length.min(extent.length);
        Ok(BlockStatus { length, allocated: true, zero: !data, compressed: false, host_offset: None })
    }
}
