//! Storage that fails at one operation, and forgets what a failed sync did not put on the medium.
//!
//! ```text
//! live:     what the process sees: every change, at once
//! durable:  what the last sync put on the medium
//! waiting:  the changes in between, oldest first
//! ```
//!
//! When a sync fails, Linux reports it once and takes the pages for clean: a later sync neither writes them nor complains. So what
//! was waiting is forgotten here. It still shows while the image stays open, and is gone when it is opened again. That is why
//! this is not [`blk_core::storage::FaultStorage`], which leaves what lies below it alone.

use std::io;

use blk_core::storage::{self, Effect, Operation};
use blk_core::sync::Mutex;
use blk_core::{Error, Extent, MemoryStorage, Result, Storage, StorageRun};

use super::variant::Fault;
use crate::report::SECTOR_BYTES;

/// An operation of the storage, as a run without faults made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) operation: Operation,
    /// The step of the driver that it belongs to: the last that was told before it.
    pub(super) step: &'static storage::Step,
    /// Empty for operations without a range; from 0 to the new length for a change of it.
    pub(super) extent: Extent,
}

/// The storage.
#[derive(Debug)]
pub(super) struct Host {
    state: Mutex<State>,
    cluster_bytes: u64,
}

#[derive(Debug)]
struct State {
    live: MemoryStorage,
    durable: MemoryStorage,
    waiting: Vec<Change>,
    /// A sync has failed since the image was opened, with changes waiting.
    is_lossy: bool,
    step: &'static storage::Step,
    /// Whether operations count, and fail: the oracle's own do not.
    is_watched: bool,
    /// Whether changes are remembered until a sync; it costs a copy of them.
    is_remembering: bool,
    fault: Option<Fault>,
    /// The operations so far, if they are wanted.
    log: Option<Vec<Step>>,
    count: u64,
    failed: u64,
    /// Clusters that were changed since the last flush.
    touched: u64,
}

/// What an operation did.
#[derive(Debug, Clone)]
enum Change {
    Write(u64, Box<[u8]>),
    Zero(Extent),
    Punch(Extent),
    Length(u64),
}

impl Change {
    fn apply(&self, storage: &MemoryStorage) -> Result<()> {
        match self {
            Self::Write(offset, bytes) => storage.write_at(*offset, bytes),
            Self::Zero(extent) => storage.write_zeroes_at(*extent),
            Self::Punch(extent) => storage.punch_hole(*extent),
            Self::Length(length) => storage.set_len(*length),
        }
    }
}

impl Host {
    /// Storage that holds `image`, all of it durable. Nothing counts yet.
    pub(super) fn new(image: &MemoryStorage, fault: Option<Fault>, cluster_bytes: u64) -> Self {
        let state = State {
            live: image.duplicate(),
            durable: image.duplicate(),
            waiting: Vec::new(),
            is_lossy: false,
            step: &storage::Step::NONE,
            is_watched: false,
            is_remembering: fault.is_some_and(Fault::fails_syncs),
            log: fault.is_none().then(Vec::new),
            fault,
            count: 0,
            failed: 0,
            touched: 0,
        };
        Self { state: Mutex::new(state), cluster_bytes }
    }

    /// Whether operations count, and fail, from now on.
    pub(super) fn watch(&self, is_watched: bool) {
        self.state.lock().is_watched = is_watched;
    }

    /// The fault is gone.
    pub(super) fn mend(&self) {
        self.state.lock().fault = None;
    }

    /// The operations of a run without faults.
    pub(super) fn take_log(&self) -> Vec<Step> {
        self.state.lock().log.take().unwrap_or_default()
    }

    /// Operations that counted.
    pub(super) fn count(&self) -> u64 {
        self.state.lock().count
    }

    /// Operations that failed.
    pub(super) fn failed_count(&self) -> u64 {
        self.state.lock().failed
    }

    /// Whether a failed sync has lost something.
    pub(super) fn is_lossy(&self) -> bool {
        self.state.lock().is_lossy
    }

    /// Clusters changed since the last call of [`Host::forget_touched`]; one counts each time.
    pub(super) fn touched(&self) -> u64 {
        self.state.lock().touched
    }

    pub(super) fn forget_touched(&self) {
        self.state.lock().touched = 0;
    }

    /// What somebody would find who opened the image now: without what a failed sync has lost.
    pub(super) fn left(&self) -> Result<MemoryStorage> {
        self.state.lock().left()
    }

    /// The image has been closed and is about to be opened: what a failed sync has lost is gone. Returns whether anything is.
    pub(super) fn evict(&self) -> Result<bool> {
        let mut state = self.state.lock();
        let has_lost = state.is_lossy;
        if has_lost {
            state.live = state.left()?;
            state.is_lossy = false;
        }
        Ok(has_lost)
    }
}

impl State {
    fn left(&self) -> Result<MemoryStorage> {
        if !self.is_lossy {
            return Ok(self.live.duplicate());
        }
        let left = self.durable.duplicate();
        self.waiting.iter().try_for_each(|change| change.apply(&left))?;
        Ok(left)
    }

    /// Counts an operation; returns how it fails.
    fn arrive(&mut self, operation: Operation, extent: Extent) -> Option<(i32, Effect)> {
        if !self.is_watched {
            return None;
        }
        let number = self.count;
        self.count += 1;
        if let Some(log) = &mut self.log {
            log.push(Step { operation, step: self.step, extent });
        }
        let grows = operation == Operation::SetLen && self.live.len().is_ok_and(|old| extent.length > old);
        let fault = self.fault.filter(|fault| fault.hits(number, operation, grows))?;
        self.failed += 1;
        Some((fault.errno, fault.effect))
    }

    /// Makes a change as far as `effect` says.
    fn change(&mut self, change: Change, cluster_bytes: u64, effect: Effect) -> Result<()> {
        let change = match effect {
            Effect::None => return Ok(()),
            Effect::All => change,
            Effect::Half => match change.half() {
                Some(half) => half,
                None => return Ok(()),
            },
        };
        self.touched += change.clusters(&self.live, cluster_bytes)?;
        change.apply(&self.live)?;
        if self.is_remembering {
            let edges = change.edges();
            self.waiting.push(change);
            self.remember_whole_sectors(edges)?;
        }
        Ok(())
    }

    /// A sector that was changed in part is written whole, with what an earlier failed sync did not write.
    fn remember_whole_sectors(&mut self, edges: [u64; 2]) -> Result<()> {
        for edge in edges.into_iter().filter(|edge| edge % SECTOR_BYTES != 0) {
            let start = edge & !(SECTOR_BYTES - 1);
            let length = self.live.len()?.saturating_sub(start).min(SECTOR_BYTES);
            let mut bytes = vec![0; length as usize].into_boxed_slice();
            self.live.read_at(start, &mut bytes)?;
            self.waiting.push(Change::Write(start, bytes));
        }
        Ok(())
    }

    /// Puts the first `count` of the waiting changes on the medium; the others are never put there.
    fn settle(&mut self, count: usize) -> Result<()> {
        self.waiting[..count].iter().try_for_each(|change| change.apply(&self.durable))?;
        self.is_lossy |= count < self.waiting.len();
        self.waiting.clear();
        Ok(())
    }
}

/// The first half of a range that a host can have done when it fails: whole sectors of it.
fn half(offset: u64, length: u64) -> u64 {
    let middle = (offset + length / 2) & !(SECTOR_BYTES - 1);
    middle.saturating_sub(offset)
}

impl Change {
    fn half(self) -> Option<Self> {
        let halved = |extent: Extent| Extent::new(extent.offset, half(extent.offset, extent.length));
        let change = match self {
            Self::Write(offset, bytes) => {
                let length = half(offset, bytes.len() as u64) as usize;
                Self::Write(offset, bytes[..length].into())
            }
            Self::Zero(extent) => Self::Zero(halved(extent)),
            Self::Punch(extent) => Self::Punch(halved(extent)),
            Self::Length(_) => return None,
        };
        Some(change)
    }

    /// Where the range begins and ends.
    fn edges(&self) -> [u64; 2] {
        match self {
            Self::Write(offset, bytes) => [*offset, *offset + bytes.len() as u64],
            Self::Zero(extent) | Self::Punch(extent) => [extent.offset, extent.end()],
            Self::Length(_) => [0, 0],
        }
    }

    fn clusters(&self, live: &MemoryStorage, cluster_bytes: u64) -> Result<u64> {
        let extent = match self {
            Self::Write(offset, bytes) => Extent::new(*offset, bytes.len() as u64),
            Self::Zero(extent) | Self::Punch(extent) => *extent,
            Self::Length(length) => {
                let old = live.len()?;
                Extent::between(old.min(*length), old.max(*length))
            }
        };
        let end = extent.checked_end().unwrap_or(u64::MAX).div_ceil(cluster_bytes);
        Ok(if extent.is_empty() { 0 } else { end - extent.offset / cluster_bytes })
    }
}

fn failure(name: &'static str, offset: u64, errno: i32) -> Error {
    Error::io(name, offset, io::Error::from_raw_os_error(errno))
}

impl Host {
    fn ranged(
        &self,
        operation: Operation,
        name: &'static str,
        extent: Extent,
        change: impl FnOnce() -> Change,
    ) -> Result<()> {
        let mut state = self.state.lock();
        match state.arrive(operation, extent) {
            None => state.change(change(), self.cluster_bytes, Effect::All),
            Some((errno, effect)) => {
                state.change(change(), self.cluster_bytes, effect)?;
                Err(failure(name, extent.offset, errno))
            }
        }
    }
}

impl Storage for Host {
    fn len(&self) -> Result<u64> {
        self.state.lock().live.len()
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.ranged(Operation::SetLen, "truncate", Extent::new(0, length), || Change::Length(length))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut state = self.state.lock();
        match state.arrive(Operation::Read, Extent::new(offset, buf.len() as u64)) {
            None => state.live.read_at(offset, buf),
            Some((errno, effect)) => {
                if effect != Effect::None {
                    state.live.read_at(offset, buf)?;
                }
                Err(failure("read", offset, errno))
            }
        }
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let extent = Extent::new(offset, buf.len() as u64);
        self.ranged(Operation::Write, "write", extent, || Change::Write(offset, buf.into()))
    }

    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        self.ranged(Operation::WriteZeroes, "zero", extent, || Change::Zero(extent))
    }

    fn punch_hole(&self, extent: Extent) -> Result<()> {
        self.ranged(Operation::PunchHole, "punch", extent, || Change::Punch(extent))
    }

    fn run_at(&self, offset: u64) -> Result<Option<StorageRun>> {
        self.state.lock().live.run_at(offset)
    }

    fn sync(&self) -> Result<()> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some((errno, effect)) = state.arrive(Operation::Sync, Extent::default()) else {
            return state.settle(state.waiting.len());
        };
        state.settle(match effect {
            Effect::None => 0,
            Effect::Half => state.waiting.len() / 2,
            Effect::All => state.waiting.len(),
        })?;
        Err(failure("sync", 0, errno))
    }

    fn step(&self, step: &'static storage::Step) {
        self.state.lock().step = step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::variant::EIO;

    fn host(effect: Effect) -> Host {
        let image = MemoryStorage::from_bytes(&[1; 2048]);
        let fault = Fault { at: 2, operation: Operation::Sync, errno: EIO, effect, sticky: false };
        let host = Host::new(&image, Some(fault), 512);
        host.watch(true);
        host
    }

    fn bytes(storage: &dyn Storage) -> [u8; 4] {
        let mut bytes = [0; 4];
        for (sector, byte) in bytes.iter_mut().enumerate() {
            storage.read_at(sector as u64 * 512, std::slice::from_mut(byte)).unwrap();
        }
        bytes
    }

    /// Two changes, a sync that fails, another change, a sync that succeeds.
    fn left_after(effect: Effect) -> [u8; 4] {
        let host = host(effect);
        host.write_at(0, &[2; 512]).unwrap();
        host.write_zeroes_at(Extent::new(512, 512)).unwrap();
        assert!(host.sync().is_err());
        host.write_at(1024, &[4; 512]).unwrap();
        host.sync().unwrap();
        host.watch(false);
        assert_eq!(bytes(&host), [2, 0, 4, 1], "while the image is open nothing has changed");
        host.evict().unwrap();
        bytes(&host)
    }

    #[test]
    fn what_a_failed_sync_was_to_write_is_gone_after_a_reopen() {
        assert_eq!(left_after(Effect::None), [1, 1, 4, 1]);
        assert_eq!(left_after(Effect::Half), [2, 1, 4, 1]);
        assert_eq!(left_after(Effect::All), [2, 0, 4, 1]);
    }

    #[test]
    fn half_of_a_write_is_whole_sectors() {
        let image = MemoryStorage::from_bytes(&[1; 2048]);
        let fault =
            Fault { at: 0, operation: Operation::Write, errno: EIO, effect: Effect::Half, sticky: true };
        let host = Host::new(&image, Some(fault), 512);
        host.watch(true);
        assert!(host.write_at(256, &[2; 1792]).is_err());
        assert!(host.sync().is_err(), "a dead disk syncs nothing");
        assert_eq!(host.failed_count(), 2);
        host.mend();
        let mut read = [0; 2048];
        host.read_at(0, &mut read).unwrap();
        assert!(read[256..1024] == [2; 768] && read[1024..] == [1; 1024]);
    }
}
