//! The driver: requests become records, and an index in memory knows the latest record of each block.

use std::collections::BTreeMap;
use std::sync::Arc;

use blk_core::sync::RwLock;
use blk_core::{
    Access, BlockDriver, BlockStatus, Check, CheckReport, DiscardFlags, Error, Extent, Finding, Limits,
    RepairMode, Resize, Result, Severity, Storage, WriteFlags, refuse_compressed,
};

use crate::read_header;
use crate::record::{HEADER_BYTES, Kind, Record};

/// An open image.
#[derive(Debug)]
pub(crate) struct LogDisk {
    storage: Arc<dyn Storage>,
    block_bytes: u64,
    /// Readers share it while they read the file; whoever appends has it alone.
    log: RwLock<Log>,
}

/// What the log says up to its end.
#[derive(Debug, Default)]
struct Log {
    size: u64,
    /// Where the data of each block lies in the file.
    blocks: BTreeMap<u64, u64>,
    /// Where the next record goes.
    end: u64,
    sequence: u64,
    /// An append has failed: what lies at `end` is unknown until the next open.
    is_poisoned: bool,
}

impl LogDisk {
    pub(crate) fn open(storage: Arc<dyn Storage>, access: Access) -> Result<Self> {
        let block_bytes = read_header(&*storage)?;
        let log = Log::read(&*storage, block_bytes)?;
        if log.sequence == 0 {
            return Err(Error::malformed("log", HEADER_BYTES, "it does not begin with a size"));
        }
        if access == Access::ReadWrite && storage.len()? > log.end {
            // A record that a crash has torn, and what follows it: a later record of the same number must not
            // revive it.
            storage.set_len(log.end)?;
            storage.sync()?;
        }
        Ok(Self { storage, block_bytes, log: RwLock::new(log) })
    }

    /// The part of `extent` in its first block: number of the block, first byte in it, length.
    fn first_part(&self, extent: Extent) -> (u64, usize, usize) {
        let within = extent.offset % self.block_bytes;
        let length = extent.length.min(self.block_bytes - within);
        (extent.offset / self.block_bytes, within as usize, length as usize)
    }

    fn read_block(&self, log: &Log, block: u64, within: usize, buf: &mut [u8]) -> Result<()> {
        match log.blocks.get(&block) {
            Some(at) => self.storage.read_at(at + within as u64, buf),
            None => {
                buf.fill(0);
                Ok(())
            }
        }
    }

    /// Appends a record, and takes over what it says.
    fn append(&self, log: &mut Log, record: Record, data: &[u8]) -> Result<()> {
        log.check_usable()?;
        if let Err(error) = self.storage.write_at(log.end, &record.encode(data)) {
            log.is_poisoned = true;
            return Err(error);
        }
        log.apply(record, self.block_bytes);
        Ok(())
    }

    /// Writes a part of a block: the rest of it is read first.
    fn write_part(&self, log: &mut Log, block: u64, within: usize, part: &[u8]) -> Result<()> {
        let mut data = vec![0; self.block_bytes as usize];
        if part.len() < data.len() {
            self.read_block(log, block, 0, &mut data)?;
        }
        data[within..within + part.len()].copy_from_slice(part);
        self.append(log, Record::write(log.sequence, block), &data)
    }
}

impl Log {
    /// Reads the log up to the first record that is not whole.
    fn read(storage: &dyn Storage, block_bytes: u64) -> Result<Self> {
        let mut log = Self { end: HEADER_BYTES, ..Self::default() };
        let length = storage.len()?;
        while log.end < length {
            let Some(record) = Record::read(storage, log.end, log.sequence, block_bytes)? else { break };
            if log.sequence == 0 && record.kind != Kind::Resize {
                break;
            }
            log.apply(record, block_bytes);
        }
        Ok(log)
    }

    fn apply(&mut self, record: Record, block_bytes: u64) {
        match record.kind {
            Kind::Write => {
                self.blocks.insert(record.first, self.end + HEADER_BYTES);
            }
            Kind::Discard => {
                let mut after = self.blocks.split_off(&record.first);
                self.blocks.append(&mut after.split_off(&record.first.saturating_add(record.count)));
            }
            Kind::Resize => {
                self.size = record.first;
                self.blocks.split_off(&self.size.div_ceil(block_bytes));
            }
        }
        self.end += record.file_bytes(block_bytes);
        self.sequence += 1;
    }

    fn check_usable(&self) -> Result<()> {
        if self.is_poisoned { Err(Error::Poisoned { cause: "an append has failed".into() }) } else { Ok(()) }
    }
}

impl BlockDriver for LogDisk {
    fn size(&self) -> u64 {
        self.log.read().size
    }

    fn limits(&self) -> Limits {
        Limits { discard_granularity: self.block_bytes, can_write_zeroes: false, ..Limits::default() }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let log = self.log.read();
        let mut at = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let (block, within, length) = self.first_part(Extent::new(at, rest.len() as u64));
            let (part, others) = rest.split_at_mut(length);
            self.read_block(&log, block, within, part)?;
            at += length as u64;
            rest = others;
        }
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        refuse_compressed(flags)?;
        let mut log = self.log.write();
        let mut at = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let (block, within, length) = self.first_part(Extent::new(at, rest.len() as u64));
            self.write_part(&mut log, block, within, &rest[..length])?;
            at += length as u64;
            rest = &rest[length..];
        }
        Ok(())
    }

    /// Whole blocks only: the rest of `extent` keeps its bytes.
    fn discard(&self, extent: Extent, _flags: DiscardFlags) -> Result<()> {
        let first = extent.offset.div_ceil(self.block_bytes);
        let end = extent.end() / self.block_bytes;
        if first >= end {
            return Ok(());
        }
        let mut log = self.log.write();
        let record = Record::discard(log.sequence, first, end - first);
        self.append(&mut log, record, &[])
    }

    fn flush(&self) -> Result<()> {
        let mut log = self.log.write();
        log.check_usable()?;
        self.storage.sync().inspect_err(|_| log.is_poisoned = true)
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        let log = self.log.read();
        let (block, within, length) = self.first_part(extent);
        let data = log.blocks.get(&block);
        Ok(BlockStatus {
            length: length as u64,
            allocated: data.is_some(),
            zero: data.is_none(),
            compressed: false,
            host_offset: data.map(|at| at + within as u64),
        })
    }

    fn as_resize(&self) -> Option<&dyn Resize> {
        Some(self)
    }

    fn as_check(&self) -> Option<&dyn Check> {
        Some(self)
    }
}

impl Resize for LogDisk {
    fn resize(&self, size: u64) -> Result<()> {
        let mut log = self.log.write();
        let old = log.size;
        let within = (old % self.block_bytes) as usize;
        if size > old && within > 0 {
            // What the last block holds past the old end must not show.
            let block = old / self.block_bytes;
            if log.blocks.contains_key(&block) {
                self.write_part(&mut log, block, within, &vec![0; self.block_bytes as usize - within])?;
            }
        }
        let record = Record::resize(log.sequence, size);
        self.append(&mut log, record, &[])
    }
}

impl Check for LogDisk {
    /// The log on the storage says what the index says. What follows its end is a leak.
    fn check(&self, repair: RepairMode) -> Result<CheckReport> {
        let log = self.log.write();
        log.check_usable()?;
        let stored = Log::read(&*self.storage, self.block_bytes)?;
        let mut report = CheckReport { image_end_offset: stored.end, ..CheckReport::default() };
        if stored.end != log.end || stored.blocks != log.blocks || stored.size != log.size {
            let message = format!("the log ends at {}, and was written to {}", stored.end, log.end);
            report.add(Finding {
                severity: Severity::Corruption,
                offset: stored.end,
                message,
                repaired: false,
            });
        } else if self.storage.len()? > log.end {
            let message = "bytes after the last record".to_owned();
            let repaired = repair != RepairMode::None;
            if repaired {
                self.storage.set_len(log.end)?;
                report.leaks_fixed = 1;
            }
            report.add(Finding { severity: Severity::Leak, offset: log.end, message, repaired });
        }
        Ok(report)
    }
}
