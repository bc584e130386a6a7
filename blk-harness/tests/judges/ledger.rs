//! A small format with one planted bug: a header, a map of used clusters, a table, and data.
//!
//! ```text
//! cluster 0       cluster 1          clusters 2, 3            cluster 4 ...
//! magic, size,    a byte for each    a host cluster for each  data
//! ~size, dirty    host cluster       guest cluster; 0: zeroes
//! ```
//! Metadata stay in memory until a flush. [`Way::Ordered`] writes them in an order that leaks and does
//! nothing worse: map, sync, table, sync, header, sync, what is free now, sync. [`Way::Dirty`] writes no map
//! before the close: a dirty bit is durable before the first table that the map does not know, and an open
//! that finds it makes the map anew.
//!
//! A cluster that is freed is given away again after the next flush. What fails in a flush poisons the
//! handle.

mod driver;

use std::sync::Arc;

use blk_core::storage::Step;
use blk_core::sync::Mutex;
use blk_core::{Error, Extent, Result, Storage};

use crate::SIZE_BYTES;

pub(crate) const CLUSTER_BYTES: u64 = 1024;
const MAP: u64 = 1;
const TABLE: u64 = 2;
const DATA: usize = 4;
const HOST_CLUSTERS: usize = 1024;
const GUEST_CLUSTERS: usize = 256;
const MANY: usize = 24;
const MAGIC: u64 = u64::from_le_bytes(*b"ledger 1");

static HEADER_STEP: Step = Step::rare("ledger_header", "header");
static MAP_STEP: Step = Step::new("ledger_map", "map of used clusters");
static TABLE_STEP: Step = Step::new("ledger_table", "table");
static DATA_STEP: Step = Step::new("ledger_data", "data");

/// When metadata reach the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Ordered,
    Dirty,
}

/// What is wrong with [`Ledger`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    None,
    /// The header is written in two parts.
    HeaderInTwoParts,
    /// The table is durable before the map.
    TableBeforeMap,
    /// The table is written before data are durable.
    DataAreNotSynced,
    /// The size is written when the image is closed.
    SizeIsNotFlushed,
    /// A write of a new cluster makes the disk larger.
    WriteGrows,
    /// A close makes the disk larger.
    CloseGrows,
    /// Clusters that are free are marked as used in the file until the image is closed.
    FreedStaysMarked,
    /// A handle that has found leaks when it was opened never gives away again what it frees.
    LeakyImageLeaksOn,
    /// A handle that has made the disk smaller gives nothing away again.
    ShrinkStopsReuse,
    /// What a shrink cuts off is there again when the disk grows.
    GrowthShowsOld,
    /// A recovery clears the dirty bit before it writes the map.
    RecoveryClearsTheBitFirst,
    /// Of two whole reads with nothing in between, the second shows another byte.
    SecondLookDiffers,
    /// Of two whole reads with nothing in between, the second leaves the buffer as it was.
    SecondLookIsLeftOut,
    /// A read of 8 KiB leaves the buffer as it was if it is the second of its kind.
    SecondReadIsLeftOut,
    /// A repair of a leak lets the first cluster of the disk go.
    RepairTouchesTheGuest,
    /// A repair leaves what it has found last.
    RepairLeavesOne,
    /// A repair does not hear of syncs that fail.
    RepairIgnoresSyncs,
    /// A repair that fails clears the map in the file.
    FailedRepairClearsTheMap,
    /// The third flush of a handle fails although nothing else does.
    FlushFails,
    /// A flush writes a number that nobody needs last, and ignores whether that is durable.
    LastSyncIsIgnored,
    /// A close writes what a flush could not write, although the flush has said that the handle is poisoned.
    PoisonedCloseSucceeds,
    /// A flush in which a write fails marks some clusters more as used in the file: more than it could have
    /// touched.
    FailedFlushMarksMany,
    /// What a discard frees is lost.
    DiscardLeaks,
    /// A check takes what waits to be free for leaked.
    CheckForgetsWhatWaits,
    /// A flush that fails writes half a header.
    FailedFlushBreaksTheHeader,
    /// A sync that fails is tried once more.
    SyncIsRepeated,
    /// A write that fails has all later flushes fail.
    FailedWriteBreaksFlushes,
    /// A flush that fails writes half of the size.
    FailedFlushHalvesTheSize,
    /// Writes choose a cluster without the lock.
    AllocationIsUnlocked,
    /// Reads use the cluster that they have found without the lock, and it may be given away at once.
    ReadsAreUnlocked,
}

/// Why the handle takes nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Poison {
    Write,
    Sync,
}

#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
#[derive(Debug, Default)]
struct State {
    size: u64,
    table: Vec<u64>,
    used: Vec<u8>,
    /// Clusters that are free once a flush has succeeded.
    freed: Vec<usize>,
    is_dirty: bool,
    had_leaks: bool,
    has_shrunk: bool,
    poison: Option<Poison>,
    /// Header, map and table as they are in the file.
    written: [Vec<u8>; 3],
    flushes: u64,
    /// Whole reads since anything else was asked, and reads of 8 KiB.
    looks: u64,
    reads: u64,
    is_broken: bool,
}

/// The driver.
#[derive(Debug)]
pub(crate) struct Ledger {
    storage: Arc<dyn Storage>,
    bug: Bug,
    way: Way,
    state: Mutex<State>,
}

fn words(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
}

fn bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn at(cluster: usize) -> u64 {
    cluster as u64 * CLUSTER_BYTES
}

impl State {
    fn header(&self) -> Vec<u8> {
        bytes(&[MAGIC, self.size, !self.size, u64::from(self.is_dirty)])
    }

    fn free_cluster(&self) -> Result<usize> {
        let free = (DATA..HOST_CLUSTERS).find(|cluster| self.used[*cluster] == 0);
        free.ok_or(Error::NoSpace { what: "clusters".into() })
    }

    fn release(&mut self, guest: usize) {
        let cluster = std::mem::take(&mut self.table[guest]) as usize;
        if cluster != 0 {
            self.freed.push(cluster);
        }
    }

    /// Clusters that are used and belong to nobody, and those that are not used and belong to somebody.
    fn wrong(&self, is_told_what_waits: bool) -> (Vec<usize>, Vec<usize>) {
        let mut owners = vec![0; HOST_CLUSTERS];
        for cluster in self.table.iter().filter(|cluster| **cluster != 0) {
            owners[*cluster as usize] += 1;
        }
        let waits = |cluster: &usize| is_told_what_waits && self.freed.contains(cluster);
        let of = |is_wrong: &dyn Fn(&usize) -> bool| (DATA..HOST_CLUSTERS).filter(is_wrong).collect();
        (
            of(&|cluster| self.used[*cluster] != 0 && owners[*cluster] == 0 && !waits(cluster)),
            of(&|cluster| owners[*cluster] > 1 || owners[*cluster] == 1 && self.used[*cluster] == 0),
        )
    }
}

impl Ledger {
    /// An image of a disk that shows zeroes.
    pub(crate) fn create(storage: &dyn Storage) -> Result<()> {
        storage.set_len(at(DATA))?;
        storage.write_at(0, &State { size: SIZE_BYTES, ..State::default() }.header())
    }

    pub(crate) fn open(storage: Arc<dyn Storage>, bug: Bug, way: Way) -> Result<Self> {
        let read = |cluster: u64, length: usize| {
            let mut bytes = vec![0; length];
            storage.read_at(cluster * CLUSTER_BYTES, &mut bytes).map(|()| bytes)
        };
        let header = read(0, 32)?;
        let [magic, size, not_size, dirty] = words(&header)[..] else { unreachable!("four words") };
        if magic != MAGIC || size != !not_size || dirty > 1 {
            let reason = format!("{magic:#x} {size} {not_size} {dirty}");
            return Err(Error::Malformed { structure: "header", offset: 0, reason });
        }
        let (used, table) = (read(MAP, HOST_CLUSTERS)?, read(TABLE, GUEST_CLUSTERS * 8)?);
        let entries = words(&table);
        if let Some(entry) = entries.iter().find(|entry| **entry >= HOST_CLUSTERS as u64) {
            let reason = format!("an entry is {entry}");
            return Err(Error::Corrupt { structure: "table", offset: TABLE * CLUSTER_BYTES, reason });
        }
        let written = [header, used.clone(), table];
        let mut state =
            State { size, table: entries, used, is_dirty: dirty == 1, written, ..State::default() };
        state.had_leaks = !state.wrong(true).0.is_empty();
        let ledger = Self { storage, bug, way, state: Mutex::new(state) };
        ledger.recover(&mut ledger.state.lock())?;
        Ok(ledger)
    }

    /// Makes the map anew, after a crash of a handle that wrote none.
    fn recover(&self, state: &mut State) -> Result<()> {
        if !state.is_dirty {
            return Ok(());
        }
        state.used = vec![0; HOST_CLUSTERS];
        for cluster in state.table.iter().filter(|cluster| **cluster != 0) {
            state.used[*cluster as usize] = 1;
        }
        if self.bug == Bug::RecoveryClearsTheBitFirst {
            state.is_dirty = false;
            self.write_header(state)?;
            self.storage.sync()?;
        }
        self.write_map(state)?;
        self.storage.sync()?;
        state.is_dirty = false;
        self.write_header(state)?;
        self.storage.sync()
    }

    fn write_header(&self, state: &mut State) -> Result<()> {
        let header = state.header();
        self.storage.step(&HEADER_STEP);
        if self.bug == Bug::HeaderInTwoParts {
            self.storage.write_at(0, &header[..16])?;
            self.storage.write_at(16, &header[16..])?;
        } else {
            self.storage.write_at(0, &header)?;
        }
        state.written[0] = header;
        Ok(())
    }

    fn write_map(&self, state: &mut State) -> Result<()> {
        self.storage.step(&MAP_STEP);
        self.storage.write_at(MAP * CLUSTER_BYTES, &state.used)?;
        state.written[1].clone_from(&state.used);
        Ok(())
    }

    fn write_table(&self, state: &mut State) -> Result<()> {
        let table = bytes(&state.table);
        if table != state.written[2] {
            self.storage.step(&TABLE_STEP);
            self.storage.write_at(TABLE * CLUSTER_BYTES, &table)?;
            self.sync(state)?;
            state.written[2] = table;
        }
        Ok(())
    }

    fn sync(&self, state: &mut State) -> Result<()> {
        let synced = match self.bug {
            Bug::SyncIsRepeated => self.storage.sync().or_else(|_| self.storage.sync()),
            _ => self.storage.sync(),
        };
        if synced.is_err() {
            state.poison = Some(Poison::Sync);
        }
        synced
    }

    /// Has everything in the file, and durable.
    fn write_back(&self, state: &mut State) -> Result<()> {
        let is_changed = bytes(&state.table) != state.written[2];
        if self.bug == Bug::TableBeforeMap {
            self.sync(state)?;
            self.write_table(state)?;
        }
        match self.way {
            Way::Ordered if state.used != state.written[1] => self.write_map(state)?,
            Way::Dirty if is_changed && !state.is_dirty => {
                state.is_dirty = true;
                // The size of the header in the file stays as it is.
                let size = std::mem::replace(&mut state.size, words(&state.written[0])[1]);
                let written = self.write_header(state);
                state.size = size;
                written?;
                self.sync(state)?;
            }
            _ => {}
        }
        if self.bug != Bug::DataAreNotSynced {
            self.sync(state)?;
        }
        self.write_table(state)?;
        if state.header() != state.written[0] && self.bug != Bug::SizeIsNotFlushed {
            self.write_header(state)?;
            self.sync(state)?;
        }
        if self.bug == Bug::LeakyImageLeaksOn && state.had_leaks {
            state.freed.clear();
        }
        let keeps_all = self.bug == Bug::ShrinkStopsReuse && state.has_shrunk;
        let freed = if keeps_all { Vec::new() } else { std::mem::take(&mut state.freed) };
        for cluster in &freed {
            state.used[*cluster] = 0;
        }
        if self.way == Way::Ordered && !freed.is_empty() {
            if self.bug == Bug::FreedStaysMarked {
                state.written[1].clone_from(&state.used);
            } else {
                self.write_map(state)?;
                self.sync(state)?;
            }
        }
        Ok(())
    }

    fn flush_all(&self, state: &mut State) -> Result<()> {
        state.flushes += 1;
        Self::alive(state)?;
        if state.is_broken || (self.bug == Bug::FlushFails && state.flushes == 3) {
            return Err(Error::io("flush", 0, std::io::Error::other("planted")));
        }
        let written = self.write_back(state);
        if written.is_err() {
            state.poison.get_or_insert(Poison::Write);
            match self.bug {
                Bug::FailedFlushMarksMany if state.poison == Some(Poison::Write) => {
                    let _ = self.storage.write_at(MAP * CLUSTER_BYTES + 900, &[1; MANY]);
                }
                Bug::FailedFlushBreaksTheHeader => {
                    let _ = self.storage.write_at(8, &[0xdb; 8]);
                }
                Bug::FailedFlushHalvesTheSize => {
                    state.size /= 2;
                    let _ = self.write_header(state);
                }
                _ => {}
            }
        }
        written
    }

    fn alive(state: &State) -> Result<()> {
        match state.poison {
            Some(cause) => Err(Error::Poisoned { cause: format!("{cause:?}") }),
            None => Ok(()),
        }
    }

    /// Puts a part of a guest cluster where it has no cluster yet.
    fn write_new(&self, state: &mut State, guest: usize, from: u64, data: &[u8]) -> Result<()> {
        if state.free_cluster().is_err() {
            self.flush_all(state)?;
        }
        let cluster = state.free_cluster()?;
        let mut whole = vec![0; CLUSTER_BYTES as usize];
        whole[from as usize..][..data.len()].copy_from_slice(data);
        self.storage.step(&DATA_STEP);
        self.storage.write_at(at(cluster), &whole)?;
        state.used[cluster] = 1;
        state.table[guest] = cluster as u64;
        Ok(())
    }

    /// As [`Ledger::write_new`], with the lock given up while data are written.
    fn write_new_unlocked(&self, guest: usize, from: u64, data: &[u8]) -> Result<()> {
        let cluster = {
            let mut state = self.state.lock();
            let cluster = state.free_cluster()?;
            state.used[cluster] = 1;
            cluster
        };
        let mut whole = vec![0; CLUSTER_BYTES as usize];
        whole[from as usize..][..data.len()].copy_from_slice(data);
        self.storage.write_at(at(cluster), &whole)?;
        self.state.lock().table[guest] = cluster as u64;
        Ok(())
    }

    fn write_part(&self, guest: usize, from: u64, data: &[u8]) -> Result<()> {
        let mut state = self.state.lock();
        Self::alive(&state)?;
        state.looks = 0;
        let written = match state.table[guest] as usize {
            0 if self.bug == Bug::AllocationIsUnlocked => {
                drop(state);
                return self.write_new_unlocked(guest, from, data);
            }
            0 => {
                state.size += if self.bug == Bug::WriteGrows { 512 } else { 0 };
                self.write_new(&mut state, guest, from, data)
            }
            cluster => {
                self.storage.step(&DATA_STEP);
                self.storage.write_at(at(cluster) + from, data)
            }
        };
        state.is_broken |= self.bug == Bug::FailedWriteBreaksFlushes && written.is_err();
        written
    }

    /// What is left of the last cluster of a disk that shrinks goes to a new one, with zeroes behind: a
    /// failure changes nothing.
    fn cut(&self, state: &mut State, size: u64) -> Result<()> {
        let (guest, length) = ((size / CLUSTER_BYTES) as usize, (size % CLUSTER_BYTES) as usize);
        if size < state.size && length > 0 && state.table[guest] != 0 {
            let mut kept = vec![0; length];
            self.storage.read_at(at(state.table[guest] as usize), &mut kept)?;
            let old = state.table[guest] as usize;
            self.write_new(state, guest, 0, &kept)?;
            state.freed.push(old);
        }
        (size.div_ceil(CLUSTER_BYTES) as usize..GUEST_CLUSTERS).for_each(|guest| state.release(guest));
        Ok(())
    }

    fn close_all(&self, state: &mut State) -> Result<()> {
        if self.bug == Bug::PoisonedCloseSucceeds && state.poison == Some(Poison::Write) {
            state.poison = None;
        }
        self.flush_all(state)?;
        state.size += if self.bug == Bug::CloseGrows { 512 } else { 0 };
        if state.header() != state.written[0] {
            self.write_header(state)?;
            self.sync(state)?;
        }
        if self.way == Way::Dirty && state.is_dirty {
            self.write_map(state)?;
            self.sync(state)?;
            state.is_dirty = false;
            self.write_header(state)?;
            self.sync(state)?;
        }
        Ok(())
    }

    /// Gives leaked clusters back, those of the file too.
    fn repair(&self, state: &mut State, leaks: &[usize]) -> Result<()> {
        Self::alive(state)?;
        let kept = usize::from(self.bug == Bug::RepairLeavesOne);
        for leak in &leaks[kept..] {
            state.used[*leak] = 0;
        }
        if self.bug == Bug::RepairTouchesTheGuest && !leaks.is_empty() {
            state.release(0);
        }
        let repaired = self.write_map(state).and_then(|()| match self.bug {
            Bug::RepairIgnoresSyncs => self.storage.sync().or(Ok(())),
            _ => self.flush_all(state),
        });
        if repaired.is_err() {
            state.poison.get_or_insert(Poison::Write);
            if self.bug == Bug::FailedRepairClearsTheMap {
                let _ = self.storage.write_at(MAP * CLUSTER_BYTES, &[0; HOST_CLUSTERS]);
            }
        }
        repaired
    }
}

/// The parts of an extent in each guest cluster.
fn clusters(extent: Extent) -> impl Iterator<Item = (usize, Extent)> {
    let first = (extent.offset / CLUSTER_BYTES) as usize;
    let end = extent.end().div_ceil(CLUSTER_BYTES) as usize;
    (first..end).map(move |guest| (guest, Extent::new(at(guest), CLUSTER_BYTES).intersection(extent)))
}
