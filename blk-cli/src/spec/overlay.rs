//! Changes to a file that never reach it.
//!
//! ```text
//!            read                        write, zero, punch, cut
//!              │                                 │
//!   is it in `ours`? ── yes ──► changes ◄────────┘   memory, or an unnamed temporary file
//!              └─ no ─► inner, up to `inner_end`; zeroes past that
//! ```
//!
//! Invariant: `inner` is only read. What the changes hold outside `ours` means nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use blk_core::sync::RwLock;
use blk_core::{Error, Extent, FileStorage, MemoryStorage, Result, Storage, StorageRun};

/// Bytes copied at a time when the changes move from memory to a file.
const PIECE_BYTES: u64 = 1 << 20;

/// A storage over another one, which it never writes.
pub(super) struct OverlayStorage {
    inner: Arc<dyn Storage>,
    state: RwLock<State>,
    /// Bytes of changes that stay in memory.
    memory_bytes_max: u64,
    /// Why the changes can no longer be kept, once that is so.
    failure: Arc<OnceLock<String>>,
}

struct State {
    length: u64,
    /// Up to here, what is not in `ours` is `inner`'s.
    inner_end: u64,
    ours: Ranges,
    changes: Changes,
}

/// Where the changes are.
enum Changes {
    Memory {
        bytes: MemoryStorage,
        /// Bytes written since it was counted how many are stored.
        written: u64,
    },
    File(FileStorage),
}

impl OverlayStorage {
    pub(super) fn over(
        inner: Arc<dyn Storage>,
        memory_bytes_max: u64,
        failure: Arc<OnceLock<String>>,
    ) -> Result<Self> {
        let length = inner.len()?;
        let changes = Changes::Memory { bytes: MemoryStorage::new(), written: 0 };
        let state = State { length, inner_end: length, ours: Ranges::default(), changes };
        Ok(Self { inner, state: RwLock::new(state), memory_bytes_max, failure })
    }

    /// Keeps what `inner` holds in `extent`: it may change there from now on. Returns how many bytes were not
    /// kept before.
    pub(super) fn pin(&self, extent: Extent) -> Result<u64> {
        let state = &mut *self.state.write();
        let end = extent.checked_end().unwrap_or(u64::MAX).min(state.inner_end);
        let (mut at, mut pinned) = (extent.offset, 0);
        while at < end {
            let (is_ours, next) = state.segment(at);
            let next = next.min(end);
            if !is_ours {
                self.pin_gap(state, Extent::between(at, next))?;
                pinned += next - at;
            }
            at = next;
        }
        Ok(pinned)
    }

    /// Copies what is not ours yet, holes as holes.
    fn pin_gap(&self, state: &mut State, gap: Extent) -> Result<()> {
        let mut at = gap.offset;
        while at < gap.end() {
            let rest = gap.end() - at;
            let hole = StorageRun { length: rest, data: false };
            let run = self.inner.run_at(at)?.unwrap_or(hole);
            let part = Extent::new(at, run.length.min(rest));
            if run.data {
                let part = Extent::new(at, part.length.min(PIECE_BYTES));
                let mut piece = vec![0; part.length as usize];
                self.inner.read_at(at, &mut piece)?;
                self.kept(state.changes.make_room(part.length, self.memory_bytes_max))?;
                self.kept(state.changes.storage().write_at(at, &piece))?;
                state.ours.insert(part);
                at = part.end();
            } else {
                self.zero(state, part)?;
                at = part.end();
            }
        }
        Ok(())
    }

    /// Whether anything is ours.
    pub(super) fn is_changed(&self) -> bool {
        let state = self.state.read();
        !state.ours.0.is_empty() || self.inner.len().is_ok_and(|length| length != state.length)
    }

    /// Remembers that changes are lost: from then on, what the disks above answer says nothing about them.
    fn kept<T>(&self, result: Result<T>) -> Result<T> {
        result.inspect_err(|error| {
            let _ = self.failure.set(error.to_string());
        })
    }

    fn zero(&self, state: &mut State, extent: Extent) -> Result<()> {
        self.kept(state.changes.storage().punch_hole(extent))?;
        state.ours.insert(extent);
        Ok(())
    }
}

impl Storage for OverlayStorage {
    fn len(&self) -> Result<u64> {
        Ok(self.state.read().length)
    }

    fn set_len(&self, length: u64) -> Result<()> {
        let state = &mut *self.state.write();
        if length < state.length {
            state.inner_end = state.inner_end.min(length);
            state.ours.remove_from(length);
        }
        state.length = length;
        Ok(())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let state = &*self.state.read();
        let mut done = 0;
        while done < buf.len() {
            let at = offset.saturating_add(done as u64);
            let (is_ours, end) = state.segment(at);
            let length = (end - at).min((buf.len() - done) as u64).max(1) as usize;
            let part = &mut buf[done..done + length];
            if is_ours {
                self.kept(state.changes.storage().read_at(at, part))?;
            } else if at < state.inner_end {
                self.inner.read_at(at, part)?;
            } else {
                part.fill(0);
            }
            done += length;
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let extent = Extent::new(offset, buf.len() as u64);
        if extent.is_empty() {
            return Ok(());
        }
        let state = &mut *self.state.write();
        self.kept(state.changes.make_room(extent.length, self.memory_bytes_max))?;
        self.kept(state.changes.storage().write_at(offset, buf))?;
        state.ours.insert(extent);
        state.length = state.length.max(extent.end());
        Ok(())
    }

    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        if extent.is_empty() {
            return Ok(());
        }
        let end = extent.checked_end().filter(|end| i64::try_from(*end).is_ok());
        let Extent { offset, length } = extent;
        let end = end.ok_or(Error::OutOfRange { offset, length, size: i64::MAX as u64 })?;
        let state = &mut *self.state.write();
        self.zero(state, extent)?;
        state.length = state.length.max(end);
        Ok(())
    }

    fn punch_hole(&self, extent: Extent) -> Result<()> {
        let state = &mut *self.state.write();
        let start = extent.offset.min(state.length);
        let end = extent.checked_end().unwrap_or(u64::MAX).clamp(start, state.length);
        if start == end { Ok(()) } else { self.zero(state, Extent::between(start, end)) }
    }

    fn run_at(&self, offset: u64) -> Result<Option<StorageRun>> {
        let state = &*self.state.read();
        if offset >= state.length {
            return Ok(None);
        }
        let (is_ours, end) = state.segment(offset);
        let end = end.min(state.length);
        let run = if is_ours {
            self.kept(state.changes.storage().run_at(offset))?
        } else if offset < state.inner_end {
            self.inner.run_at(offset)?
        } else {
            None
        };
        let hole = StorageRun { length: end - offset, data: false };
        let run = run.unwrap_or(hole);
        Ok(Some(StorageRun { length: run.length.min(end - offset), ..run }))
    }

    /// There is nothing that a crash could leave.
    fn sync(&self) -> Result<()> {
        Ok(())
    }
}

impl fmt::Debug for OverlayStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.read();
        f.debug_struct("OverlayStorage")
            .field("inner", &self.inner)
            .field("length", &state.length)
            .field("ranges", &state.ours.0.len())
            .finish_non_exhaustive()
    }
}

impl State {
    /// Whether the byte at `offset` is ours, and where a run of such bytes ends: also at `inner_end`.
    fn segment(&self, offset: u64) -> (bool, u64) {
        let (is_ours, end) = self.ours.at(offset);
        let cut = !is_ours && offset < self.inner_end;
        (is_ours, if cut { end.min(self.inner_end) } else { end })
    }
}

impl Changes {
    fn storage(&self) -> &dyn Storage {
        match self {
            Self::Memory { bytes, .. } => bytes,
            Self::File(file) => file,
        }
    }

    /// Goes over to a file before more than `bytes_max` bytes are kept in memory.
    fn make_room(&mut self, length: u64, bytes_max: u64) -> Result<()> {
        let Self::Memory { bytes, written } = self else { return Ok(()) };
        *written = written.saturating_add(length);
        if *written <= bytes_max {
            return Ok(());
        }
        // Many writes go to the same places; counting takes as long as there are pages, and is due rarely.
        let stored = stored_bytes(bytes)?;
        if stored.saturating_add(length) <= bytes_max {
            *written = stored / 2;
            return Ok(());
        }
        let file = temporary_file()?;
        for run in data_runs(bytes) {
            copy(bytes, &file, run?)?;
        }
        *self = Self::File(file);
        Ok(())
    }
}

fn stored_bytes(storage: &dyn Storage) -> Result<u64> {
    data_runs(storage).try_fold(0, |sum, run| Ok(sum + run?.length))
}

/// Where a storage has data.
fn data_runs(storage: &dyn Storage) -> impl Iterator<Item = Result<Extent>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            match storage.run_at(at) {
                Err(error) => return Some(Err(error)),
                Ok(None) => return None,
                Ok(Some(run)) => {
                    let extent = Extent::new(at, run.length);
                    at += run.length;
                    if run.data {
                        return Some(Ok(extent));
                    }
                }
            }
        }
    })
}

fn copy(from: &dyn Storage, to: &dyn Storage, extent: Extent) -> Result<()> {
    let mut buf = vec![0; extent.length.min(PIECE_BYTES) as usize];
    let mut at = extent.offset;
    while at < extent.end() {
        let part = (extent.end() - at).min(PIECE_BYTES) as usize;
        from.read_at(at, &mut buf[..part])?;
        to.write_at(at, &buf[..part])?;
        at += part as u64;
    }
    Ok(())
}

/// Copies a storage into a file that is made for it, and has holes where the storage has.
pub(super) fn write_new_file(content: &dyn Storage, path: &Path, bytes_max: u64) -> Result<()> {
    let stored = stored_bytes(content)?;
    if stored > bytes_max {
        let what = format!("{stored} bytes are stored, and at most {bytes_max} are kept");
        return Err(Error::NoSpace { what: what.into() });
    }
    let made = std::fs::File::options().read(true).write(true).create_new(true).open(path);
    let file = FileStorage::from_file(made.map_err(|error| Error::io("create", 0, error))?)?;
    file.set_len(content.len()?)?;
    data_runs(content).try_for_each(|run| copy(content, &file, run?))
}

/// A file without a name: nothing of it is left, however the program ends.
fn temporary_file() -> Result<FileStorage> {
    let made = tempfile::tempfile().map_err(|error: io::Error| Error::io("create", 0, error))?;
    FileStorage::from_file(made)
}

/// Ranges of bytes that neither overlap nor touch: end by start.
#[derive(Debug, Default)]
struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    fn insert(&mut self, extent: Extent) {
        let (mut start, mut end) = (extent.offset, extent.checked_end().unwrap_or(u64::MAX));
        while let Some((&other, &other_end)) = self.0.range(..=end).next_back()
            && other_end >= start
        {
            self.0.remove(&other);
            (start, end) = (start.min(other), end.max(other_end));
        }
        self.0.insert(start, end);
    }

    /// Takes out everything from `offset` on.
    fn remove_from(&mut self, offset: u64) {
        self.0.split_off(&offset);
        if let Some(mut last) = self.0.last_entry()
            && *last.get() > offset
        {
            last.insert(offset);
        }
    }

    /// Whether `offset` lies in a range, and where that, or the gap between ranges, ends.
    fn at(&self, offset: u64) -> (bool, u64) {
        if let Some((_, &end)) = self.0.range(..=offset).next_back()
            && end > offset
        {
            return (true, end);
        }
        let next = offset.checked_add(1).and_then(|next| self.0.range(next..).next());
        (false, next.map_or(u64::MAX, |(&start, _)| start))
    }
}

#[cfg(test)]
mod tests;
