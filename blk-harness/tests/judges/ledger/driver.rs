//! What requests do with a [`Ledger`].

use blk_core::{
    BlockDriver, BlockStatus, Check, CheckReport, DiscardFlags, Error, Extent, Finding, RepairMode, Resize,
    Result, Severity, WriteFlags, ZeroFlags,
};

use super::{Bug, CLUSTER_BYTES, GUEST_CLUSTERS, Ledger, at, clusters};
use crate::SIZE_BYTES;

impl Ledger {
    fn read_part(&self, guest: usize, from: u64, buf: &mut [u8]) -> Result<()> {
        let state = self.state.lock();
        match state.table[guest] as usize {
            0 => buf.fill(0),
            cluster if self.bug == Bug::ReadsAreUnlocked => {
                drop(state);
                self.storage.read_at(at(cluster) + from, buf)?;
            }
            cluster => self.storage.read_at(at(cluster) + from, buf)?,
        }
        Ok(())
    }

    /// Whether a read is the second of its kind, where that is what is wrong.
    fn is_second(&self, length: u64) -> bool {
        let mut state = self.state.lock();
        if length >= SIZE_BYTES {
            state.looks += 1;
        } else {
            state.looks = 0;
            state.reads += u64::from(length == 8 << 10);
        }
        match self.bug {
            Bug::SecondLookDiffers | Bug::SecondLookIsLeftOut => length >= SIZE_BYTES && state.looks == 2,
            Bug::SecondReadIsLeftOut => length == 8 << 10 && state.reads == 2,
            _ => false,
        }
    }

    /// Makes zeroes of whole clusters by letting them go; of parts, if `is_exact`, by writing.
    fn clear(&self, extent: Extent, is_exact: bool) -> Result<()> {
        let size = self.size();
        for (guest, part) in clusters(extent) {
            let mut state = self.state.lock();
            Self::alive(&state)?;
            state.looks = 0;
            let whole = Extent::new(at(guest), CLUSTER_BYTES).intersection(Extent::new(0, size));
            let cluster = state.table[guest] as usize;
            if part == whole {
                state.release(guest);
                if self.bug == Bug::DiscardLeaks && !is_exact {
                    state.freed.clear();
                }
                if self.bug == Bug::ReadsAreUnlocked {
                    let freed = std::mem::take(&mut state.freed);
                    for cluster in &freed {
                        state.used[*cluster] = 0;
                    }
                }
            } else if is_exact && cluster != 0 {
                let from = at(cluster) + part.offset - at(guest);
                self.storage.write_zeroes_at(Extent::new(from, part.length))?;
            }
        }
        Ok(())
    }
}

impl BlockDriver for Ledger {
    fn size(&self) -> u64 {
        self.state.lock().size
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let extent = Extent::new(offset, buf.len() as u64);
        let is_second = self.is_second(extent.length);
        if is_second && self.bug != Bug::SecondLookDiffers {
            return Ok(());
        }
        for (guest, part) in clusters(extent) {
            let range = (part.offset - offset) as usize..(part.end() - offset) as usize;
            self.read_part(guest, part.offset - at(guest), &mut buf[range])?;
        }
        if is_second {
            buf[700] ^= 1;
        }
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        blk_core::refuse_compressed(flags)?;
        clusters(Extent::new(offset, buf.len() as u64)).try_for_each(|(guest, part)| {
            let range = (part.offset - offset) as usize..(part.end() - offset) as usize;
            self.write_part(guest, part.offset - at(guest), &buf[range])
        })
    }

    fn write_zeroes(&self, extent: Extent, _flags: ZeroFlags) -> Result<()> {
        self.clear(extent, true)
    }

    fn discard(&self, extent: Extent, _flags: DiscardFlags) -> Result<()> {
        self.clear(extent, false)
    }

    fn flush(&self) -> Result<()> {
        let mut state = self.state.lock();
        state.looks = 0;
        self.flush_all(&mut state)?;
        if self.bug == Bug::LastSyncIsIgnored {
            let number = state.flushes.to_le_bytes();
            let _ = self.storage.write_at(512, &number).and_then(|()| self.storage.sync());
        }
        Ok(())
    }

    fn close(&self) -> Result<()> {
        self.close_all(&mut self.state.lock())
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        let (guest, part) = clusters(extent).next().expect("the extent is not empty");
        let cluster = self.state.lock().table[guest] as usize;
        let allocated = cluster != 0;
        let host_offset = allocated.then(|| at(cluster) + part.offset - at(guest));
        Ok(BlockStatus { length: part.length, allocated, zero: !allocated, compressed: false, host_offset })
    }

    fn as_resize(&self) -> Option<&dyn Resize> {
        Some(self)
    }

    fn as_check(&self) -> Option<&dyn Check> {
        Some(self)
    }
}

impl Resize for Ledger {
    fn resize(&self, size: u64) -> Result<()> {
        if size > at(GUEST_CLUSTERS) {
            return Err(Error::unsupported("a disk of more than 256 KiB"));
        }
        let mut state = self.state.lock();
        Self::alive(&state)?;
        if self.bug != Bug::GrowthShowsOld {
            self.cut(&mut state, size)?;
        }
        state.has_shrunk |= size < state.size;
        state.size = size;
        Ok(())
    }
}

impl Check for Ledger {
    fn check(&self, repair: RepairMode) -> Result<CheckReport> {
        let mut state = self.state.lock();
        let (leaks, corruptions) = state.wrong(self.bug != Bug::CheckForgetsWhatWaits);
        let repaired = repair != RepairMode::None;
        if repaired && !leaks.is_empty() {
            self.repair(&mut state, &leaks)?;
        }
        let mut report = CheckReport::default();
        let found = |severity, message: &str, offset, repaired| Finding {
            severity,
            offset,
            message: message.to_owned(),
            repaired,
        };
        for cluster in leaks {
            report.add(found(Severity::Leak, "a used cluster belongs to nobody", at(cluster), repaired));
        }
        for cluster in corruptions {
            report.add(found(Severity::Corruption, "the map and the table disagree", at(cluster), false));
        }
        Ok(report)
    }
}
