//! A storage of the harness, as imago's trait wants it.
//!
//! imago declares the methods that read and write `unsafe fn`: a caller must keep the alignment that the
//! storage asks for, and must not get around imago's own locks. Whoever implements them has to repeat the
//! word. Nothing is done here that would need it: there is no block of that kind in this file, and the lint
//! `unsafe_op_in_unsafe_fn`, which is forbidden to be switched off, would ask for one. `cargo xtask tidy`
//! allows the word on these lines alone.
#![expect(unsafe_code, reason = "the trait to implement has such methods; none of them does anything unsafe")]

use std::fmt;
use std::io;
use std::sync::Arc;

use blk_core::Extent;
use imago::io_buffers::{IoVector, IoVectorMut};
use imago::storage::PreallocateMode;
use imago::storage::drivers::CommonStorageHelper;

use crate::error::to_io;

/// What imago reads and writes: a storage of the harness that takes requests of any alignment.
#[derive(Debug)]
pub struct HostStorage {
    host: Arc<dyn blk_core::Storage>,
    helper: CommonStorageHelper,
}

impl HostStorage {
    /// Over `host`.
    pub fn new(host: Arc<dyn blk_core::Storage>) -> Self {
        Self { host, helper: CommonStorageHelper::default() }
    }
}

impl fmt::Display for HostStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("host")
    }
}

impl imago::Storage for HostStorage {
    fn size(&self) -> io::Result<u64> {
        self.host.len().map_err(to_io)
    }

    async unsafe fn pure_readv(&self, mut bufv: IoVectorMut<'_>, offset: u64) -> io::Result<()> {
        let mut bytes = vec![0; bufv.len() as usize];
        self.host.read_at(offset, &mut bytes).map_err(to_io)?;
        bufv.copy_from_slice(&bytes);
        Ok(())
    }

    async unsafe fn pure_writev(&self, bufv: IoVector<'_>, offset: u64) -> io::Result<()> {
        let mut bytes = vec![0; bufv.len() as usize];
        bufv.copy_into_slice(&mut bytes);
        self.host.write_at(offset, &bytes).map_err(to_io)
    }

    async unsafe fn pure_write_zeroes(&self, offset: u64, length: u64) -> io::Result<()> {
        self.host.write_zeroes_at(Extent::new(offset, length)).map_err(to_io)
    }

    async unsafe fn pure_write_allocated_zeroes(&self, offset: u64, length: u64) -> io::Result<()> {
        self.host.write_zeroes_at(Extent::new(offset, length)).map_err(to_io)
    }

    /// As imago's own files do it, which punch holes.
    async unsafe fn pure_discard(&self, offset: u64, length: u64) -> io::Result<()> {
        self.host.punch_hole(Extent::new(offset, length)).map_err(to_io)
    }

    /// There is no buffer.
    async fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    async fn sync(&self) -> io::Result<()> {
        self.host.sync().map_err(to_io)
    }

    async unsafe fn invalidate_cache(&self) -> io::Result<()> {
        Ok(())
    }

    fn get_storage_helper(&self) -> &CommonStorageHelper {
        &self.helper
    }

    /// What is gained reads as zeroes, whatever is asked for.
    async fn resize(&self, new_size: u64, _prealloc_mode: PreallocateMode) -> io::Result<()> {
        self.host.set_len(new_size).map_err(to_io)
    }
}
