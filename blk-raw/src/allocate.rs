//! Having the host's space for bytes before they are written.

use blk_core::{Error, Extent, Preallocation, Result, Storage};

const ZEROES_BYTES: u64 = 1 << 20;

/// Allocates `extent`, which reads as zeroes.
///
/// # Errors
/// [`Error::Unsupported`] for metadata, which raw does not have.
pub(crate) fn allocate(storage: &dyn Storage, extent: Extent, preallocation: Preallocation) -> Result<()> {
    match preallocation {
        Preallocation::Off => Ok(()),
        Preallocation::Metadata => Err(Error::unsupported("allocating metadata: raw has none")),
        Preallocation::Falloc => storage.write_zeroes_at(extent),
        Preallocation::Full => write_zeroes_as_data(storage, extent),
    }
}

fn write_zeroes_as_data(storage: &dyn Storage, extent: Extent) -> Result<()> {
    let zeroes = vec![0; extent.length.min(ZEROES_BYTES) as usize];
    let mut at = extent.offset;
    while at < extent.end() {
        let length = (extent.end() - at).min(ZEROES_BYTES);
        storage.write_at(at, &zeroes[..length as usize])?;
        at += length;
    }
    Ok(())
}
