//! A backing file on the host of the image: where that fails, the backing file fails too.

use std::sync::Arc;

use blk_core::{Access, Buffer, Disk, PassThrough, Result, Storage};

/// What a host demands at most of a buffer, bytes.
const ALIGNMENT: u64 = 4096;
/// Behind everything that an image has there.
const NOWHERE: u64 = (1 << 63) - 2 * ALIGNMENT;

/// A backing disk whose reads are reads of the image's host as well: what is planned to fail there can be one
/// of them.
#[derive(Debug)]
struct OnHost {
    inner: Arc<Disk>,
    host: Arc<dyn Storage>,
}

impl PassThrough for OnHost {
    fn inner(&self) -> &Disk {
        &self.inner
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        // Nothing is learnt but whether it fails.
        self.host.read_at(NOWHERE, &mut Buffer::zeroed(ALIGNMENT as usize, ALIGNMENT))?;
        self.inner.read(offset, buf)
    }
}

/// `inner`, whose reads fail where those of `host` do.
pub(crate) fn on_host(inner: &Arc<Disk>, host: &Arc<dyn Storage>) -> Arc<Disk> {
    let driver = OnHost { inner: Arc::clone(inner), host: Arc::clone(host) };
    Arc::new(Disk::new(driver, Access::ReadOnly))
}
