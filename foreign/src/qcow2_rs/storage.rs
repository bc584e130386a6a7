//! A storage of the harness, as qcow2-rs's trait wants it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blk_core::Storage;
use qcow2_rs::error::{Qcow2Error, Qcow2Result};
use qcow2_rs::ops::Qcow2IoOps;

use crate::error::to_io;

/// Whether a storage is still there.
#[derive(Debug, Clone, Default)]
pub struct Connection(Arc<AtomicBool>);

impl Connection {
    /// From now on, nothing that is written goes anywhere.
    pub fn cut(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_cut(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What qcow2-rs reads and writes: a storage of the harness that takes requests of any alignment.
#[derive(Debug)]
pub struct HostStorage {
    host: Arc<dyn Storage>,
    connection: Connection,
}

impl HostStorage {
    /// Over `host`, until the connection is cut.
    pub fn new(host: Arc<dyn Storage>, connection: Connection) -> Self {
        Self { host, connection }
    }
}

fn failed(error: blk_core::Error) -> Qcow2Error {
    to_io(error).into()
}

impl Qcow2IoOps for HostStorage {
    /// As `pread`, it reads no further than the file goes; what is missing is zeroed, where `pread` would
    /// leave what was in the buffer.
    async fn read_to(&self, offset: u64, buf: &mut [u8]) -> Qcow2Result<usize> {
        if self.connection.is_cut() {
            buf.fill(0);
            return Ok(buf.len());
        }
        self.host.read_at(offset, buf).map_err(failed)?;
        let left = self.host.len().map_err(failed)?.saturating_sub(offset);
        Ok(left.min(buf.len() as u64) as usize)
    }

    async fn write_from(&self, offset: u64, buf: &[u8]) -> Qcow2Result<()> {
        if self.connection.is_cut() {
            return Ok(());
        }
        self.host.write_at(offset, buf).map_err(failed)
    }

    /// As the crate's own files on Linux: they ask for a hole that extends the file, which no file system
    /// makes, so that the crate writes zeroes instead.
    async fn fallocate(&self, _offset: u64, _len: usize, _flags: u32) -> Qcow2Result<()> {
        Err(io::Error::from(io::ErrorKind::Unsupported).into())
    }

    async fn fsync(&self, _offset: u64, _len: usize, _flags: u32) -> Qcow2Result<()> {
        if self.connection.is_cut() {
            return Ok(());
        }
        self.host.sync().map_err(failed)
    }
}
