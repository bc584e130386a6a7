//! Having the host's space for bytes before they are written.

use blk_core::storage::write_zeroes_as_data;
use blk_core::{Error, Extent, Preallocation, Result, Storage};

/// Allocates `extent`, which reads as zeroes.
///
/// # Errors
/// [`Error::Unsupported`] for metadata, which raw does not have.
pub(crate) fn allocate(storage: &dyn Storage, extent: Extent, preallocation: Preallocation) -> Result<()> {
    match preallocation {
        Preallocation::Off => Ok(()),
        Preallocation::Metadata => Err(Error::unsupported("preallocation mode 'metadata' for raw images")),
        Preallocation::Falloc => storage.write_zeroes_at(extent),
        Preallocation::Full => write_zeroes_as_data(storage, extent),
    }
}
