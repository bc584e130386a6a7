//! The medium of a foreign driver: our NBD server over the storage under test.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use blk_core::sync::RwLock;
use blk_core::{
    Access, BlockDriver, BlockStatus, DiscardFlags, Disk, Error, Extent, Limits, Result, Storage, WriteFlags,
    ZeroFlags, refuse_compressed,
};
use blk_nbd::{Export, Running, Server, ServerOptions};

use crate::plant::Planted;

/// A medium that is served.
#[derive(Debug)]
pub(crate) struct Medium {
    line: Arc<Line>,
    /// Absent once nobody may use it any more.
    running: Option<Running>,
}

/// The line to the storage, until it is cut.
#[derive(Debug)]
struct Line {
    /// Held shared by each operation: once it is cut, none is under way, and none will be.
    storage: RwLock<Option<Arc<dyn Storage>>>,
    size: u64,
    planted: Arc<Planted>,
}

impl Medium {
    /// Serves a storage on a socket.
    pub(crate) fn serve(storage: Arc<dyn Storage>, socket: &Path, planted: Arc<Planted>) -> Result<Self> {
        let size = storage.len()?;
        let line = Arc::new(Line { storage: RwLock::new(Some(storage)), size, planted });
        let disk = Arc::new(Disk::new(OnLine(Arc::clone(&line)), Access::ReadWrite));
        let options = ServerOptions { stop_time: Duration::ZERO, ..ServerOptions::default() };
        let running = Server::new([Export::new("", disk)], options)?.listen_unix(socket)?;
        Ok(Self { line, running: Some(running) })
    }

    /// From now on nothing reaches the storage.
    pub(crate) fn cut(&self) {
        *self.line.storage.write() = None;
    }
}

impl Drop for Medium {
    fn drop(&mut self) {
        self.cut();
        drop(self.running.take());
    }
}

impl Line {
    fn with<R>(&self, work: impl FnOnce(&dyn Storage) -> Result<R>) -> Result<R> {
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
