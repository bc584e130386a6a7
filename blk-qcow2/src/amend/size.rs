//! The size of the disk.

use blk_core::{Error, Resize, Result};

use super::{Change, Progress, Request};
use crate::grow::check_l1_entries;
use crate::qcow2::Qcow2;

const SECTOR_BYTES: u64 = 512;

#[derive(Debug)]
pub(super) struct Size;

impl Change for Size {
    fn names(&self) -> &'static [&'static str] {
        &["size"]
    }

    fn check(&self, image: &Qcow2, request: &Request<'_>) -> Result<bool> {
        let Some(size) = request.size() else { return Ok(false) };
        if !size.is_multiple_of(SECTOR_BYTES) {
            let reason = format!("{size}: The new size must be a multiple of {SECTOR_BYTES}");
            return Err(Error::invalid_option("size", reason));
        }
        check_l1_entries(image.geometry.l1_entries(size))?;
        let is_upgraded = {
            let metadata = image.metadata.read();
            request.version(&metadata.header) > metadata.header.version
        };
        // An upgrade writes them down.
        if !is_upgraded {
            image.check_snapshots_have_sizes()?;
        }
        Ok(size != image.size_bytes())
    }

    fn make(&self, image: &Qcow2, request: &Request<'_>, _: Progress<'_>) -> Result<()> {
        image.resize(request.size().expect("it has been checked"))
    }
}
