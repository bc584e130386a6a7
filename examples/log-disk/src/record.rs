//! Records of the log, as they lie in the file.

use blk_core::{Result, Storage};

pub(crate) const MAGIC: &[u8; 8] = b"logdisk1";
/// Bytes of the header, and of a record without its data.
pub(crate) const HEADER_BYTES: u64 = 512;
const RECORD_MAGIC: u32 = 0x6c6f_6752;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A block of data follows.
    Write,
    /// Blocks are no longer needed, and read as zeroes.
    Discard,
    /// The disk has another size from now on.
    Resize,
}

/// A record without its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    pub(crate) sequence: u64,
    /// The first block; of a resize, the size in bytes.
    pub(crate) first: u64,
    /// How many blocks.
    pub(crate) count: u64,
}

impl Record {
    pub(crate) fn write(sequence: u64, block: u64) -> Self {
        Self { kind: Kind::Write, sequence, first: block, count: 1 }
    }

    pub(crate) fn discard(sequence: u64, first: u64, count: u64) -> Self {
        Self { kind: Kind::Discard, sequence, first, count }
    }

    pub(crate) fn resize(sequence: u64, size: u64) -> Self {
        Self { kind: Kind::Resize, sequence, first: size, count: 0 }
    }

    /// The record and its data, as they are appended.
    pub(crate) fn encode(self, data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES as usize];
        bytes.extend_from_slice(data);
        let kind: u32 = match self.kind {
            Kind::Write => 1,
            Kind::Discard => 2,
            Kind::Resize => 3,
        };
        bytes[0..4].copy_from_slice(&RECORD_MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&kind.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.count.to_le_bytes());
        // The CRC is of the record with a CRC of zero.
        let crc = crc32fast::hash(&bytes);
        bytes[32..36].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The record at `offset`, if there is a whole one with this sequence number.
    pub(crate) fn read(
        storage: &dyn Storage,
        offset: u64,
        sequence: u64,
        block_bytes: u64,
    ) -> Result<Option<Self>> {
        let mut bytes = vec![0; HEADER_BYTES as usize];
        storage.read_at(offset, &mut bytes)?;
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let (magic, kind) = (word(0) as u32, (word(0) >> 32) as u32);
        let kind = match kind {
            1 => Kind::Write,
            2 => Kind::Discard,
            3 => Kind::Resize,
            _ => return Ok(None),
        };
        let record = Self { kind, sequence: word(8), first: word(16), count: word(24) };
        let crc = word(32) as u32;
        if magic != RECORD_MAGIC || record.sequence != sequence {
            return Ok(None);
        }
        bytes[32..36].fill(0);
        let data_bytes = record.data_bytes(block_bytes) as usize;
        bytes.resize(HEADER_BYTES as usize + data_bytes, 0);
        storage.read_at(offset + HEADER_BYTES, &mut bytes[HEADER_BYTES as usize..])?;
        Ok((crc32fast::hash(&bytes) == crc).then_some(record))
    }

    fn data_bytes(self, block_bytes: u64) -> u64 {
        if self.kind == Kind::Write { block_bytes } else { 0 }
    }

    /// Bytes in the file, the data included.
    pub(crate) fn file_bytes(self, block_bytes: u64) -> u64 {
        HEADER_BYTES + self.data_bytes(block_bytes)
    }
}
