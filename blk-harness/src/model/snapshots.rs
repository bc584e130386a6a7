//! Snapshots inside an image, as copies: each holds what the disk held when it was made.
//!
//! The list is a register like the size: a crash in the middle of a change finds the old list or the new one.

use std::collections::BTreeMap;
use std::sync::Arc;

use blk_core::{Extent, MemoryStorage, Result, SnapshotAct, Storage};
use smallvec::smallvec;

use super::{Entry, Model, NEVER, Piece, Source, Time, Write};

/// What a snapshot holds.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) content: Arc<MemoryStorage>,
    /// Size of the disk that it holds, bytes.
    pub(crate) size: u64,
}

/// The snapshots of an image by their slots.
pub(crate) type Slots = BTreeMap<u8, Held>;

#[derive(Debug, Clone)]
struct List {
    slots: Arc<Slots>,
    issued: Time,
    superseded: Time,
    gone: Time,
    /// The change to it has not completed.
    in_flight: bool,
}

/// The lists of snapshots that an image has had and may have.
#[derive(Debug, Clone)]
pub(super) struct Lists {
    /// The live one is the last that is not superseded.
    all: Vec<List>,
}

impl Default for Lists {
    fn default() -> Self {
        Self { all: vec![List::of(Arc::default(), 0, false)] }
    }
}

impl List {
    fn of(slots: Arc<Slots>, issued: Time, in_flight: bool) -> Self {
        Self { slots, issued, superseded: NEVER, gone: NEVER, in_flight }
    }
}

impl Lists {
    fn live(&self) -> &Arc<Slots> {
        let live = self.all.iter().rfind(|list| list.superseded == NEVER && !list.in_flight);
        &live.expect("an image has a list, which may be empty").slots
    }

    fn begin(&mut self, now: Time, slots: Arc<Slots>) {
        self.all.push(List::of(slots, now, true));
    }

    fn end(&mut self, now: Time, slots: Arc<Slots>) {
        for list in &mut self.all {
            list.superseded = list.superseded.min(now);
            list.in_flight = false;
        }
        self.all.push(List::of(slots, now, false));
    }

    pub(super) fn flushed(&mut self, issued: Time, now: Time) {
        for list in self.all.iter_mut().filter(|list| list.superseded <= issued) {
            list.gone = list.gone.min(now);
        }
    }
}

/// A change of the snapshots, in flight.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// The list as it becomes.
    slots: Arc<Slots>,
    /// What an apply puts on the disk: it replaces all of it.
    applied: Option<(Write, u64)>,
    /// Whether what is asked for is possible: the slot is free for a new one, and taken for all else.
    pub(crate) is_possible: bool,
}

impl Model {
    /// The snapshot in a slot.
    pub(crate) fn slot(&self, slot: u8) -> Option<&Held> {
        self.lists.live().get(&slot)
    }

    /// The snapshots that the image has now.
    pub(crate) fn slots(&self) -> Arc<Slots> {
        Arc::clone(self.lists.live())
    }

    /// The lists that a crash at `time` may leave, the latest last.
    pub(crate) fn slots_after_crash(&self, time: Time) -> Vec<Arc<Slots>> {
        let lists = self.lists.all.iter().filter(|list| list.issued <= time && list.gone > time);
        lists.map(|list| Arc::clone(&list.slots)).collect()
    }

    /// The list is this one from `now` on: so it was found after the handle was lost.
    pub(crate) fn adopt_slots(&mut self, now: Time, slots: Arc<Slots>) {
        self.lists.end(now, slots);
    }

    /// A change is issued; nothing else is in flight, and a look has settled what all of the disk shows.
    pub(crate) fn begin_change(&mut self, now: Time, act: SnapshotAct, slot: u8) -> Change {
        assert!(self.in_flight.is_empty(), "snapshots change alone");
        let live = Arc::clone(self.lists.live());
        let is_possible = live.contains_key(&slot) != (act == SnapshotAct::Create);
        let mut slots = Slots::clone(&live);
        let mut applied = None;
        match act {
            _ if !is_possible => {}
            SnapshotAct::Create => {
                let content = Arc::new(self.newest.duplicate());
                slots.insert(slot, Held { content, size: self.size() });
            }
            SnapshotAct::Delete => drop(slots.remove(&slot)),
            SnapshotAct::Apply => applied = Some(self.begin_apply(now, live[&slot].clone())),
        }
        let slots = Arc::new(slots);
        self.lists.begin(now, Arc::clone(&slots));
        Change { slots, applied, is_possible }
    }

    /// Until it completes, each sector may be the old or the new one, and the size too.
    fn begin_apply(&mut self, now: Time, held: Held) -> (Write, u64) {
        let (size, old) = (held.size, self.size());
        let reached = self.reached();
        self.sizes.begin(now, size);
        self.bitmaps.resizing(now);
        self.bitmaps.asked(now, Extent::new(0, size.max(old)));
        if size > reached {
            // As for a resize: what the disk has never had was zero all the time.
            let value = self.add(Extent::between(reached, size), Source::Zeroes);
            let entry = Entry { value, issued: 0, completed: 0, superseded: NEVER, gone: NEVER };
            self.pieces.retain(|piece| piece.start < reached);
            self.pieces.push(Piece { start: reached, entries: smallvec![entry] });
        }
        self.held.push(held.content);
        let extent = Extent::new(0, size);
        let write = Write { value: self.add(extent, Source::Held(self.held.len() - 1)), extent, issued: now };
        if !extent.is_empty() {
            self.in_flight.push(write);
            self.split(extent.end());
        }
        (write, size)
    }

    /// It has completed, or failed with the disk at `found` bytes. What has succeeded is durable.
    ///
    /// # Errors
    /// Those of the memory for the content.
    pub(crate) fn end_change(&mut self, now: Time, change: &Change, is_done: bool, found: u64) -> Result<()> {
        let before = Arc::clone(self.lists.live());
        if let Some((write, size)) = change.applied {
            self.in_flight.retain(|other| other.value != write.value);
            if is_done {
                self.end_apply(now, write, size)?;
            } else {
                self.sizes.end(now, found);
                self.bitmaps.resized(found);
                self.may_hold(now, write);
            }
        }
        self.lists.end(now, if is_done { Arc::clone(&change.slots) } else { before });
        if is_done {
            self.flushed(now, now);
        }
        Ok(())
    }

    fn end_apply(&mut self, now: Time, write: Write, size: u64) -> Result<()> {
        let old = self.size();
        self.sizes.end(now, size);
        self.bitmaps.resized(size);
        self.bitmaps.followed(write.issued, now, write.extent);
        self.newest.set_len(size)?;
        if size < old {
            self.cut_off(write.issued, now, Extent::between(size, old));
        }
        if write.extent.is_empty() {
            return Ok(());
        }
        self.put(now, write, super::Ending::Replaced);
        self.make_newest(write.value, write.extent)
    }

    /// A change that failed may have happened, or not: the handle is lost, and what is found is taken over.
    fn may_hold(&mut self, now: Time, write: Write) {
        if !write.extent.is_empty() {
            self.put(now, write, super::Ending::MayStay);
        }
    }
}
