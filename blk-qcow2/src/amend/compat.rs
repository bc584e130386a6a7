//! The version of the format: 0.10 is version 2, 1.1 version 3.
//!
//! What version 3 alone can have is gone, durably, before the header says version 2; what it asks for is
//! there before the header says version 3. The header changes as `header::rewrite` states.

use blk_core::{Error, Result};

use super::{Change, Progress, Request};
use crate::header::Header;
use crate::l2::COMPRESSED;
use crate::metadata::Metadata;
use crate::ondisk::{CompressionType, INCOMPATIBLE_COMPRESSION, INCOMPATIBLE_DIRTY};
use crate::qcow2::Qcow2;
use crate::snapshot::describe;

/// The only width of a refcount in version 2.
const REFCOUNT_BITS_V2: u32 = 16;

#[derive(Debug)]
pub(super) struct Upgrade;

impl Change for Upgrade {
    fn names(&self) -> &'static [&'static str] {
        &["compat"]
    }

    fn check(&self, image: &Qcow2, request: &Request<'_>) -> Result<bool> {
        let metadata = image.metadata.read();
        let version = request.version(&metadata.header);
        check_refcount_bits(&metadata.header, version, request.refcount_bits(&metadata.header))?;
        metadata.header.check_version(&*image.storage, version)?;
        Ok(version > metadata.header.version)
    }

    fn make(&self, image: &Qcow2, _: &Request<'_>, _: Progress<'_>) -> Result<()> {
        let mut metadata = image.metadata.write();
        metadata.check_usable()?;
        metadata.flush_all()?;
        metadata.complete_snapshot_entries()?;
        metadata.change_version(3)
    }
}

#[derive(Debug)]
pub(super) struct Downgrade;

impl Change for Downgrade {
    fn names(&self) -> &'static [&'static str] {
        &["compat"]
    }

    fn check(&self, image: &Qcow2, request: &Request<'_>) -> Result<bool> {
        let mut metadata = image.metadata.write();
        if request.version(&metadata.header) >= metadata.header.version {
            return Ok(false);
        }
        let size = request.size().unwrap_or(metadata.header.size);
        image.check_downgrade(&mut metadata, size)?;
        Ok(true)
    }

    fn make(&self, image: &Qcow2, _: &Request<'_>, progress: Progress<'_>) -> Result<()> {
        let mut metadata = image.metadata.write();
        metadata.check_usable()?;
        let size = metadata.header.size;
        image.check_downgrade(&mut metadata, size)?;
        metadata.end_lazy()?;
        metadata.options.set_lazy_refcounts(false);
        // A backing file that is not opened, here, shows at the next open.
        let has_backing = image.backing.is_some() || metadata.header.backing.is_some();
        metadata.expand_zero_clusters(has_backing, image.crypt.as_ref(), progress)?;
        metadata.change_version(2)
    }
}

/// Version 2 has one width of refcounts.
pub(super) fn check_refcount_bits(header: &Header, version: u32, bits: u32) -> Result<()> {
    if version >= 3 || bits == REFCOUNT_BITS_V2 {
        return Ok(());
    }
    if header.version >= 3 {
        let reason = format!("compat=0.10 requires refcount_bits=16, the image is to have {bits}");
        return Err(Error::invalid_option("compat", reason));
    }
    let reason = format!(
        "{bits}: Refcount widths other than 16 bits require compatibility level 1.1 or above \
         (use compat=1.1 or greater)"
    );
    Err(Error::invalid_option("refcount_bits", reason))
}

impl Qcow2 {
    /// Fails if the image, with a disk of `size` bytes, has what version 2 cannot have.
    fn check_downgrade(&self, metadata: &mut Metadata, size: u64) -> Result<()> {
        let refused = |reason: String| Err(Error::invalid_option("compat", reason));
        let header = &metadata.header;
        if header.has_data_file() {
            return refused("Cannot downgrade an image with a data file".to_owned());
        }
        // The dirty bit goes with the counts that it stands for.
        let kept = header.incompatible & !(INCOMPATIBLE_DIRTY | INCOMPATIBLE_COMPRESSION);
        if kept != 0 {
            return refused(format!("Cannot downgrade an image with incompatible features {kept:#x} set"));
        }
        for snapshot in describe(&*self.storage, header)? {
            let has_size = snapshot.disk_bytes.is_none_or(|bytes| bytes == size);
            if !has_size || snapshot.vm_state_bytes > u64::from(u32::MAX) {
                return refused(format!(
                    "Internal snapshots prevent downgrade of image: snapshot '{}' has a disk of {} bytes and a \
                     machine state of {} bytes, allowed are {size} and up to {}",
                    snapshot.id,
                    snapshot.disk_bytes.unwrap_or(size),
                    snapshot.vm_state_bytes,
                    u32::MAX
                ));
            }
        }
        if let Some(directory) = header.vouched_bitmaps().filter(|directory| directory.count > 0) {
            let count = directory.count;
            return refused(format!(
                "Cannot downgrade an image with {count} dirty bitmaps; remove them first"
            ));
        }
        if self.bitmaps.has_any() {
            return refused("Cannot downgrade an image with dirty bitmaps; remove them first".to_owned());
        }
        if header.compression != CompressionType::Zlib && metadata.has_compressed_clusters()? {
            return refused(
                "Cannot downgrade an image with zstd compression type and existing compressed clusters"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

impl Metadata {
    /// Whether the disk, or a snapshot, has a compressed cluster.
    fn has_compressed_clusters(&mut self) -> Result<bool> {
        self.flush_all()?;
        for table in self.all_tables("changing the version")? {
            let bytes = self.read_table(table.at)?;
            let mut entries = bytes.as_chunks::<8>().0.iter();
            if entries.any(|raw| u64::from_be_bytes(*raw) & COMPRESSED != 0) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Has the header say `version`, and the open image know it.
    fn change_version(&mut self, version: u32) -> Result<()> {
        let changed = self.header.write_version(&*self.storage, &self.syncs, version);
        changed.map_err(|error| self.poison(error))?;
        self.reload()
    }
}
