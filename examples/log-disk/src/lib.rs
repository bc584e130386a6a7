//! A small disk-image format, as an author outside this workspace would write one: an append-only log.
//!
//! ```text
//! 0    header: magic "logdisk1", size of a block
//! 512  records, one after the other, each 512 bytes, followed by a block of data where it is a write:
//!      magic | kind | sequence number | first block, or size | count of blocks | CRC-32 of record and data
//! ```
//! The index from blocks to records lives in memory and is made anew at each open, by reading the log to its
//! first record that is not whole. What follows that record was never flushed; an open for writing cuts it
//! off, so that it never comes back.
//!
//! A block without a record reads as zeroes. Space is never reclaimed.

mod disk;
mod record;
#[cfg(feature = "testing")]
pub mod testing;

use std::sync::Arc;

use blk_core::{
    Access, Disk, Error, Format, OptionKind, OptionSpec, Options, Probe, Range, Resolver, Result, Storage,
};

use disk::LogDisk;
use record::{HEADER_BYTES, MAGIC, Record};

/// The format, for a [`blk_core::Registry`].
pub static FORMAT: &dyn Format = &LogFormat;

const BLOCK_BYTES: Range = Range::powers_of_two(512, 1 << 20);

/// The option that says what is written as one.
pub(crate) const BLOCK_SIZE: &str = "block_size";

// Scenarios choose it more often than not: small blocks make many out of few bytes.
static CREATE_OPTIONS: &[OptionSpec] =
    &[OptionSpec::new(BLOCK_SIZE, OptionKind::Size(BLOCK_BYTES), "Size of a block")
        .with_shown_default("4096")
        .with_weight(12)];

#[derive(Debug)]
struct LogFormat;

impl Format for LogFormat {
    fn name(&self) -> &'static str {
        "log"
    }

    fn probe(&self, probe: &Probe<'_>) -> u8 {
        if probe.start.starts_with(MAGIC) { 100 } else { 0 }
    }

    fn open(
        &self,
        storage: Arc<dyn Storage>,
        access: Access,
        options: Options,
        _resolver: &dyn Resolver,
    ) -> Result<Disk> {
        options.finish(self.name())?;
        Ok(Disk::new(LogDisk::open(storage, access)?, access))
    }

    fn create(&self, storage: &Arc<dyn Storage>, size: u64, options: Options) -> Result<()> {
        let options = options.typed(self.name(), CREATE_OPTIONS)?;
        let block_bytes = options.number(BLOCK_SIZE).expect("it has a default");
        storage.set_len(0)?;
        let mut header = vec![0; HEADER_BYTES as usize];
        header[..8].copy_from_slice(MAGIC);
        header[8..16].copy_from_slice(&block_bytes.to_le_bytes());
        header.extend_from_slice(&Record::resize(0, size).encode(&[]));
        storage.write_at(0, &header)?;
        storage.sync()
    }

    fn create_options(&self) -> &'static [OptionSpec] {
        CREATE_OPTIONS
    }
}

/// The size of a block, as the header says it.
fn read_header(storage: &dyn Storage) -> Result<u64> {
    let mut header = [0; 16];
    storage.read_at(0, &mut header)?;
    let (magic, block_bytes) = header.split_at(8);
    if magic != MAGIC {
        return Err(Error::malformed("header", 0, format!("the magic is {magic:02x?}")));
    }
    let block_bytes = u64::from_le_bytes(block_bytes.try_into().expect("8 bytes"));
    if !BLOCK_BYTES.contains(block_bytes) {
        return Err(Error::malformed("header", 8, format!("the block size is {block_bytes}")));
    }
    Ok(block_bytes)
}
