//! What of a log is durable, and what is pending.
//!
//! An operation is durable when a sync that was issued after it had completed has itself completed. All
//! others are pending: after a crash each atom of the image holds its durable value, or its value after any
//! pending operation that touches it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use blk_core::storage::{Effect, Step};
use blk_core::{Extent, MemoryStorage, Result, Storage};

use crate::SECTOR_BYTES;
use crate::operation::{Change, Operation};

/// An operation is cut into at most so many pieces that persist apart; longer ones into larger pieces.
const PIECES_MAX: u64 = 8;

/// The part that is all of a storage.
const EVERYWHERE: Extent = Extent::new(0, u64::MAX);

/// Whether an operation is one of a part of the storage: none reaches from one part into another.
fn begins_in(part: Extent, extent: Extent) -> bool {
    extent.offset >= part.offset && extent.offset - part.offset < part.length
}

/// What an item leaves where it persists.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Bytes(Vec<u8>),
    Zeroes,
    /// Zeroes that never extend the image.
    Hole,
    Length(u64),
}

/// A part of a pending operation that persists as a whole or not at all: an atom, or a run of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Where it lies; empty, at the new length, for a truncation.
    pub extent: Extent,
    /// What of the atom lay behind the end of the file, where it ended in it: a host writes all of its page,
    /// with zeroes there.
    behind: Extent,
    content: Content,
}

/// An operation that is not durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Its number in the history, from 1.
    pub number: u64,
    /// The driver's step.
    pub step: &'static Step,
    /// What it is, in a word: `write`, `zero`, `discard`, `truncate`.
    pub name: &'static str,
    /// All that it touches.
    pub extent: Extent,
    /// Which items of the history are its own.
    pub items: Range<usize>,
    completed: u64,
}

/// The durable image, and the operations on top of it that a crash may undo.
#[derive(Debug)]
pub struct Durability {
    durable: MemoryStorage,
    live: MemoryStorage,
    atom_bytes: u64,
    pending: Vec<Pending>,
    items: Vec<Item>,
    count: u64,
    hashes: Option<Hashes>,
}

/// What is needed to tell the hash of an image without reading all of it.
#[derive(Debug)]
struct Hashes {
    /// Of the durable content of every sector that something pending touches.
    touched: BTreeMap<u64, u64>,
    durable: u64,
    /// The first operation that gave a sector a content, by sector and hash; 0 of what it held at the start.
    origins: HashMap<(u64, u64), u64>,
    /// As `durable`, but of origins in place of contents.
    durable_origin: u64,
}

impl Hashes {
    /// What a sector of this content counts in the sum of origins: nothing if it is as it was at the start.
    fn origin(&self, sector: u64, hash: u64) -> u64 {
        match self.origins.get(&(sector, hash)) {
            Some(0) => 0,
            Some(number) => mix(sector, *number),
            None => mix(sector, u64::MAX),
        }
    }
}

impl Durability {
    /// Nothing but a durable image. Atoms have `atom_bytes` bytes, a power of two and at least 512.
    ///
    /// # Panics
    /// If they have not.
    pub fn new(durable: MemoryStorage, atom_bytes: u64) -> Self {
        assert!(atom_bytes.is_power_of_two() && atom_bytes >= SECTOR_BYTES, "atoms of {atom_bytes} bytes");
        let live = durable.duplicate();
        let (pending, items) = (Vec::new(), Vec::new());
        Self { durable, live, atom_bytes, pending, items, count: 0, hashes: None }
    }

    /// The same; images come with their hashes.
    ///
    /// # Errors
    /// Those of memory.
    pub fn hashing(durable: MemoryStorage, atom_bytes: u64) -> Result<Self> {
        let (touched, origins) = (BTreeMap::new(), HashMap::new());
        let hashes = Hashes { touched, durable: hash_all(&durable)?, origins, durable_origin: 0 };
        Ok(Self { hashes: Some(hashes), ..Self::new(durable, atom_bytes) })
    }

    /// Operations that are pending, oldest first.
    pub fn pending(&self) -> &[Pending] {
        &self.pending
    }

    /// The parts of all pending operations, in their order.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// How many operations there were, syncs included.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What a crash without anything pending leaves.
    pub fn durable(&self) -> &MemoryStorage {
        &self.durable
    }

    /// Goes on by one operation. Returns whether something is pending because of it: a sync makes things
    /// durable instead.
    ///
    /// # Errors
    /// Those of memory that cannot grow so far.
    pub fn apply(&mut self, operation: &Operation) -> Result<bool> {
        let in_time = operation.completed.is_none_or(|completed| completed > operation.issued);
        assert!(in_time, "an operation completes after its issue: {operation:?}");
        self.count += 1;
        let old_length = self.live.len()?;
        let (name, extent) = match &operation.change {
            Change::Sync => return self.sync(operation, Effect::All, EVERYWHERE).map(|()| false),
            Change::LostSync(effect) => return self.sync(operation, *effect, EVERYWHERE).map(|()| false),
            Change::SyncPart(part) => return self.sync(operation, Effect::All, *part).map(|()| false),
            Change::LostSyncPart(part, effect) => {
                return self.sync(operation, *effect, *part).map(|()| false);
            }
            Change::Evict => {
                self.live = self.survivor()?;
                return Ok(false);
            }
            Change::Write { offset, bytes } => ("write", Extent::new(*offset, bytes.len() as u64)),
            Change::Zero(extent) => ("zero", *extent),
            Change::Discard(extent) => ("discard", extent.intersection(Extent::new(0, old_length))),
            Change::Truncate(length) => {
                ("truncate", Extent::new(*length, old_length.saturating_sub(*length)))
            }
        };
        operation.change.apply(&self.live)?;
        let first = self.items.len();
        match &operation.change {
            Change::Truncate(length) => {
                let content = Content::Length(*length);
                let extent = Extent::new(*length, 0);
                self.items.push(Item { extent, behind: Extent::default(), content });
            }
            change => self.cut(change, extent)?,
        }
        self.touch(extent)?;
        self.pending.push(Pending {
            number: self.count,
            step: operation.step,
            name,
            extent,
            items: first..self.items.len(),
            completed: operation.completed.unwrap_or(u64::MAX),
        });
        debug_assert!(self.is_sound(), "each item belongs to one pending operation");
        Ok(true)
    }

    /// What is left when nothing crashes: the durable image and all that is pending, without what a failed
    /// sync has lost.
    ///
    /// # Errors
    /// Those of memory.
    pub fn survivor(&self) -> Result<MemoryStorage> {
        let image = self.durable.duplicate();
        self.items.iter().try_for_each(|item| item.persist(&image))?;
        Ok(image)
    }

    /// The image in which only the items for which `kept` says so have persisted, and its hash: 0 unless it
    /// is
    /// [`Durability::hashing`].
    ///
    /// # Errors
    /// Those of memory.
    pub fn image(&self, kept: &[bool]) -> Result<(MemoryStorage, u64)> {
        assert_eq!(kept.len(), self.items.len(), "one answer for each item");
        let image = self.durable.duplicate();
        for (item, _) in self.items.iter().zip(kept).filter(|(_, kept)| **kept) {
            item.persist(&image)?;
        }
        let Some(hashes) = &self.hashes else { return Ok((image, 0)) };
        let mut hash = hashes.durable;
        for (&sector, &durable) in &hashes.touched {
            hash = hash.wrapping_sub(durable).wrapping_add(hash_sector(&image, sector)?);
        }
        let length = image.len()?;
        Ok((image, hash ^ mix(length, u64::MAX)))
    }

    /// A hash of which operations have made the content of an image that [`Durability::image`] has given, in
    /// place of the content itself: the same from run to run where images hold random numbers or times. Equal
    /// images have equal ones. 0 unless it is [`Durability::hashing`].
    ///
    /// # Errors
    /// Those of memory.
    pub fn origin(&self, image: &MemoryStorage) -> Result<u64> {
        let Some(hashes) = &self.hashes else { return Ok(0) };
        let mut origin = hashes.durable_origin;
        for (&sector, &durable) in &hashes.touched {
            let new = hashes.origin(sector, hash_sector(image, sector)?);
            origin = origin.wrapping_sub(hashes.origin(sector, durable)).wrapping_add(new);
        }
        Ok(origin ^ mix(image.len()?, u64::MAX))
    }

    /// Cuts what an operation did into items.
    fn cut(&mut self, change: &Change, extent: Extent) -> Result<()> {
        if extent.is_empty() {
            return Ok(());
        }
        let length = self.live.len()?;
        let start = extent.offset / self.atom_bytes * self.atom_bytes;
        let atoms = (extent.end() - start).div_ceil(self.atom_bytes);
        let piece = atoms.div_ceil(PIECES_MAX) * self.atom_bytes;
        let mut at = start;
        while at < extent.end() {
            let whole = Extent::between(at, (at + piece).min(length.max(at)));
            let own = whole.intersection(extent);
            let content = match change {
                Change::Zero(_) if own == whole => Content::Zeroes,
                Change::Discard(_) if own == whole => Content::Hole,
                _ => {
                    let mut bytes = vec![0; whole.length as usize];
                    self.live.read_at(whole.offset, &mut bytes)?;
                    Content::Bytes(bytes)
                }
            };
            let behind = Extent::between(whole.end(), whole.end().next_multiple_of(self.atom_bytes));
            self.items.push(Item { extent: whole, behind, content });
            at += piece;
        }
        Ok(())
    }

    /// Remembers the durable content of what becomes uncertain, and what has made its newest content.
    fn touch(&mut self, extent: Extent) -> Result<()> {
        let Some(hashes) = self.hashes.as_mut().filter(|_| !extent.is_empty()) else { return Ok(()) };
        // A whole atom is what persists.
        let first = extent.offset / self.atom_bytes * self.atom_bytes / SECTOR_BYTES;
        let last = extent.end().next_multiple_of(self.atom_bytes) / SECTOR_BYTES;
        for sector in first..last {
            if let std::collections::btree_map::Entry::Vacant(new) = hashes.touched.entry(sector) {
                let durable = hash_sector(&self.durable, sector)?;
                new.insert(durable);
                hashes.origins.entry((sector, durable)).or_insert(0);
            }
            let live = hash_sector(&self.live, sector)?;
            hashes.origins.entry((sector, live)).or_insert(self.count);
        }
        Ok(())
    }

    /// A sync of a part: of what had completed there before it was issued, as much as it had an effect on is
    /// durable now. The rest of that is lost.
    fn sync(&mut self, operation: &Operation, effect: Effect, part: Extent) -> Result<()> {
        if operation.completed.is_none() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        let items = std::mem::take(&mut self.items);
        let is_done =
            |pending: &Pending| pending.completed < operation.issued && begins_in(part, pending.extent);
        let (done, rest): (Vec<_>, Vec<_>) = pending.into_iter().partition(is_done);
        let persisted = match effect {
            Effect::None => 0,
            Effect::Half => done.len() / 2,
            Effect::All => done.len(),
        };
        for done in &done[..persisted] {
            for item in &items[done.items.clone()] {
                item.persist(&self.durable)?;
            }
        }
        if let Some(hashes) = &mut self.hashes {
            for (sector, old) in std::mem::take(&mut hashes.touched) {
                let new = hash_sector(&self.durable, sector)?;
                hashes.durable = hashes.durable.wrapping_sub(old).wrapping_add(new);
                let (old, new) = (hashes.origin(sector, old), hashes.origin(sector, new));
                hashes.durable_origin = hashes.durable_origin.wrapping_sub(old).wrapping_add(new);
            }
        }
        for rest in rest {
            let first = self.items.len();
            self.items.extend_from_slice(&items[rest.items.clone()]);
            self.touch(rest.extent)?;
            self.pending.push(Pending { items: first..self.items.len(), ..rest });
        }
        debug_assert!(self.is_sound(), "each item belongs to one pending operation");
        Ok(())
    }

    /// What holds between any two operations: the items are those of the pending operations, one after the
    /// other.
    fn is_sound(&self) -> bool {
        let mut end = 0;
        self.pending.iter().all(|pending| {
            let follows = pending.items.start == end && pending.items.len() as u64 <= PIECES_MAX;
            end = pending.items.end;
            follows
        }) && end == self.items.len()
            && self.pending.is_sorted_by_key(|pending| pending.number)
    }
}

impl Item {
    fn persist(&self, image: &MemoryStorage) -> Result<()> {
        match &self.content {
            Content::Bytes(bytes) => image.write_at(self.extent.offset, bytes)?,
            Content::Zeroes => image.write_zeroes_at(self.extent)?,
            Content::Hole => image.punch_hole(self.extent)?,
            Content::Length(length) => return image.set_len(*length),
        }
        let behind = self.behind.intersection(Extent::new(0, image.len()?));
        if behind.is_empty() { Ok(()) } else { image.punch_hole(behind) }
    }
}

/// A sum over the sectors, so that it can follow changes; sectors of zeroes count nothing.
fn hash_all(image: &MemoryStorage) -> Result<u64> {
    let mut hash = 0_u64;
    let mut at = 0;
    while let Some(run) = image.run_at(at)? {
        if run.data {
            for sector in at / SECTOR_BYTES..(at + run.length).div_ceil(SECTOR_BYTES) {
                hash = hash.wrapping_add(hash_sector(image, sector)?);
            }
        }
        at += run.length;
    }
    Ok(hash)
}

fn hash_sector(image: &MemoryStorage, sector: u64) -> Result<u64> {
    let mut bytes = [0; SECTOR_BYTES as usize];
    image.read_at(sector * SECTOR_BYTES, &mut bytes)?;
    let words = bytes.as_chunks::<8>().0;
    if words.iter().all(|word| *word == [0; 8]) {
        return Ok(0);
    }
    let mut lanes = [mix(sector, 1), mix(sector, 2), mix(sector, 3), mix(sector, 4)];
    for chunk in words.as_chunks::<4>().0 {
        for (lane, word) in lanes.iter_mut().zip(chunk) {
            *lane = mix(*lane, u64::from_le_bytes(*word));
        }
    }
    Ok(mix(mix(lanes[0], lanes[1]), mix(lanes[2], lanes[3])))
}

/// Two numbers into one, by a folded multiplication.
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x9E37_79B9_7F4A_7C15) * u128::from(b ^ 0xD6E8_FEB8_6659_FD93);
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests;
