//! Dirty bitmaps inside an image: which bits each has to have, and which it may have.
//!
//! | bits | whose |
//! |---|---|
//! | it has to have | of what has completed while it was enabled, since it was cleared, and of what has failed and is found to have changed the disk; what was merged; all of the disk where a snapshot was applied |
//! | it may have | the same, and of what was issued and has failed, or is in flight |
//!
//! Which bitmaps an image has is a register like the list of snapshots. What it has *of* them is what was
//! saved at the last close, until something happens that the copy does not follow: from then on the bitmap
//! may be inconsistent after a crash, and once that has completed it has to be.

mod bits;
mod follow;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use blk_core::{BitmapAct, DirtyBitmap, Extent};

use bits::{Bits, range};

use super::{NEVER, Time};

/// What a bitmap takes: its share of the directory, its table, its bits, and what counts them.
const UNITS_PER_BITMAP: u64 = 4;

/// A bitmap that requests have made, as it is found.
#[derive(Debug, Clone)]
pub(crate) struct FoundBitmap {
    pub(crate) slot: u8,
    pub(crate) is_enabled: bool,
    /// None of one that is inconsistent.
    pub(crate) bits: Option<DirtyBitmap>,
}

#[derive(Debug, Clone)]
enum State {
    Known { is_enabled: bool, bits: Bits },
    Inconsistent,
}

type Live = BTreeMap<u8, State>;

/// What the image has of a bitmap.
#[derive(Debug, Clone)]
struct Stored {
    /// When that was written, or asked for.
    since: Time,
    state: State,
}

#[derive(Debug, Clone)]
struct List {
    slots: Arc<BTreeMap<u8, Stored>>,
    issued: Time,
    superseded: Time,
    gone: Time,
    /// The change to it has not completed.
    in_flight: bool,
}

/// Something that the image's copy of a bitmap does not follow.
#[derive(Debug, Clone, Copy)]
struct Mark {
    slot: u8,
    issued: Time,
    /// When it has certainly happened.
    completed: Time,
}

/// How a request about a bitmap has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ActEnded {
    Done,
    /// Nothing has changed.
    Refused,
    /// It may have happened, or not.
    Failed,
}

/// A change of the bitmaps, in flight.
#[derive(Debug, Clone)]
pub(crate) struct BitmapChange {
    issued: Time,
    act: BitmapAct,
    /// The bitmaps as they become.
    after: Live,
    /// Whether what is asked for is possible.
    pub(crate) is_possible: bool,
}

/// The bitmaps of an image that requests have made.
#[derive(Debug, Clone)]
pub(crate) struct Bitmaps {
    /// As the open disk has them.
    live: Live,
    /// As the image has them; the live one is the last that is not superseded.
    lists: Vec<List>,
    marks: Vec<Mark>,
    /// Discards are ignored: they ask for nothing.
    pub(crate) ignores_discards: bool,
    /// The bitmaps as they are if a change that has failed has happened.
    doubt: Option<BitmapChange>,
}

impl Default for Bitmaps {
    fn default() -> Self {
        Self {
            live: Live::new(),
            lists: vec![List::of(Arc::default(), 0, false)],
            marks: Vec::new(),
            ignores_discards: false,
            doubt: None,
        }
    }
}

impl State {
    fn bits(&mut self) -> Option<&mut Bits> {
        match self {
            Self::Known { bits, .. } => Some(bits),
            Self::Inconsistent => None,
        }
    }

    fn followed(&mut self) -> Option<&mut Bits> {
        match self {
            Self::Known { is_enabled: true, bits } => Some(bits),
            _ => None,
        }
    }

    fn of(found: &FoundBitmap, size: u64) -> Self {
        match &found.bits {
            None => Self::Inconsistent,
            Some(bits) => Self::Known { is_enabled: found.is_enabled, bits: Bits::of(bits, size) },
        }
    }

    /// What is wrong with what is found.
    fn judge(&self, found: &FoundBitmap, size: u64) -> Result<(), String> {
        let slot = found.slot;
        match (self, &found.bits) {
            (Self::Inconsistent, None) => Ok(()),
            (Self::Inconsistent, Some(_)) => {
                Err(format!("bitmap {slot} was inconsistent, and has bits that nobody knows"))
            }
            (Self::Known { .. }, None) => Err(format!("bitmap {slot} is inconsistent")),
            (Self::Known { is_enabled, bits }, Some(found_bits)) => {
                if *is_enabled != found.is_enabled {
                    let word = |is_enabled| if is_enabled { "enabled" } else { "disabled" };
                    let (is, was) = (word(found.is_enabled), word(*is_enabled));
                    return Err(format!("bitmap {slot} is {is}, and was {was}"));
                }
                bits.judge(slot, found_bits, size)
            }
        }
    }
}

impl List {
    fn of(slots: Arc<BTreeMap<u8, Stored>>, issued: Time, in_flight: bool) -> Self {
        Self { slots, issued, superseded: NEVER, gone: NEVER, in_flight }
    }
}

/// What is wrong where other slots have bitmaps than have to.
fn same_slots<'a>(found: &[FoundBitmap], slots: impl Iterator<Item = &'a u8>) -> Result<(), String> {
    let found: Vec<u8> = found.iter().map(|bitmap| bitmap.slot).collect();
    let expected: Vec<u8> = slots.copied().collect();
    if found == expected {
        return Ok(());
    }
    Err(format!("the dirty bitmaps are {found:?}, expected are {expected:?}"))
}

impl Bitmaps {
    /// Whether the bits of a slot's bitmap are known.
    pub(crate) fn is_known(&self, slot: u8) -> bool {
        matches!(self.live.get(&slot), Some(State::Known { .. }))
    }

    /// Units of the image that its bitmaps may take, in all: a save replaces them.
    pub(crate) fn units_max(&self) -> u64 {
        let most = self.lists.iter().map(|list| list.slots.len() as u64).max().unwrap_or(0);
        most * UNITS_PER_BITMAP
    }

    /// The list that the image has.
    fn stored(&self) -> &Arc<BTreeMap<u8, Stored>> {
        let live = self.lists.iter().rfind(|list| list.superseded == NEVER && !list.in_flight);
        &live.expect("an image has a list, which may be empty").slots
    }

    /// What happens at `now` is not followed by the image's copy of this bitmap.
    fn mark(&mut self, now: Time, slot: u8) {
        let since = self.stored().get(&slot).map_or(0, |stored| stored.since);
        let of_slot = |mark: &&Mark| mark.slot == slot && mark.issued >= since;
        if !self.marks.iter().filter(of_slot).any(|mark| mark.completed < NEVER) {
            self.marks.push(Mark { slot, issued: now, completed: NEVER });
        }
    }

    /// What was issued at `issued` has happened.
    fn has_happened(&mut self, issued: Time, now: Time, slot: u8) {
        let is_it = |mark: &&mut Mark| mark.slot == slot && mark.issued == issued;
        self.marks.iter_mut().filter(is_it).for_each(|mark| mark.completed = now);
    }

    /// A change of the bytes of `extent` is issued.
    pub(crate) fn asked(&mut self, now: Time, extent: Extent) {
        let followed = |(slot, state): (&u8, &mut State)| {
            state.followed().map(|bits| {
                bits.may.add(range(extent));
                *slot
            })
        };
        let slots: Vec<u8> = self.live.iter_mut().filter_map(followed).collect();
        for slot in slots {
            self.mark(now, slot);
        }
    }

    /// It has been done.
    pub(crate) fn followed(&mut self, issued: Time, now: Time, extent: Extent) {
        if extent.is_empty() {
            return;
        }
        let mut slots = Vec::new();
        for (slot, state) in &mut self.live {
            if let Some(bits) = state.followed() {
                bits.must.add(range(extent));
                bits.may.add(range(extent));
                slots.push(*slot);
            }
        }
        for slot in slots {
            self.has_happened(issued, now, slot);
        }
    }

    /// A change of the size is issued: the image's copies of all bitmaps may become too long or too short.
    pub(crate) fn resizing(&mut self, now: Time) {
        let slots: Vec<u8> = self.live.keys().copied().collect();
        for slot in slots {
            self.mark(now, slot);
        }
    }

    /// The disk has `size` bytes: what is past them is forgotten.
    pub(crate) fn resized(&mut self, size: u64) {
        self.live.values_mut().filter_map(State::bits).for_each(|bits| bits.cut(size));
    }

    /// A change of the bitmaps is issued; nothing else is in flight.
    pub(crate) fn begin_act(&mut self, now: Time, act: BitmapAct, slot: u8) -> BitmapChange {
        let is_possible = match act {
            BitmapAct::Add => !self.live.contains_key(&slot),
            BitmapAct::Remove => self.live.contains_key(&slot),
            BitmapAct::Merge { from } => self.is_known(slot) && self.is_known(from),
            BitmapAct::Clear | BitmapAct::Enable | BitmapAct::Disable => self.is_known(slot),
        };
        let mut change = BitmapChange { issued: now, act, after: self.live.clone(), is_possible };
        if !is_possible {
            return change;
        }
        let new = || State::Known { is_enabled: true, bits: Bits::default() };
        let mut stored = BTreeMap::clone(self.stored());
        match act {
            BitmapAct::Add => {
                change.after.insert(slot, new());
                stored.insert(slot, Stored { since: now, state: new() });
            }
            BitmapAct::Remove => {
                change.after.remove(&slot);
                stored.remove(&slot);
            }
            _ => change.alter(slot),
        }
        if change.is_about_the_list() {
            self.lists.push(List::of(Arc::new(stored), now, true));
        }
        if act != BitmapAct::Remove {
            self.marks.push(Mark { slot, issued: now, completed: NEVER });
        }
        change
    }

    /// It has ended.
    pub(crate) fn end_act(&mut self, now: Time, change: &BitmapChange, slot: u8, ended: ActEnded) {
        if !change.is_possible {
            return;
        }
        match ended {
            ActEnded::Done => {
                self.live.clone_from(&change.after);
                if change.is_about_the_list() {
                    self.end_list(now, true);
                } else {
                    self.has_happened(change.issued, now, slot);
                }
            }
            ActEnded::Refused | ActEnded::Failed => {
                let is_certain = ended == ActEnded::Refused;
                for list in self.lists.iter_mut().filter(|list| list.in_flight) {
                    (list.in_flight, list.superseded) = (false, now);
                    list.gone = if is_certain { now } else { NEVER };
                }
                self.doubt = Some(change.clone()).filter(|_| !is_certain);
            }
        }
    }

    /// The list in flight is the image's, if it `is_done`; what was before is gone.
    fn end_list(&mut self, now: Time, is_done: bool) {
        let Some(mut new) = self.lists.pop_if(|list| list.in_flight) else { return };
        new.in_flight = false;
        if is_done {
            for list in &mut self.lists {
                list.superseded = list.superseded.min(now);
                list.gone = list.gone.min(now);
            }
        } else {
            new.superseded = now;
        }
        self.lists.push(new);
    }

    /// A close is issued: it saves all bitmaps.
    pub(crate) fn begin_close(&mut self, now: Time) {
        let stored = |(slot, state): (&u8, &State)| (*slot, Stored { since: now, state: state.clone() });
        let slots = Arc::new(self.live.iter().map(stored).collect());
        self.lists.push(List::of(slots, now, true));
    }

    /// It has completed, or failed.
    pub(crate) fn end_close(&mut self, now: Time, is_done: bool) {
        self.end_list(now, is_done);
    }

    /// A flush that was issued at `issued` has completed.
    pub(crate) fn flushed(&mut self, issued: Time, now: Time) {
        for list in self.lists.iter_mut().filter(|list| list.superseded <= issued) {
            list.gone = list.gone.min(now);
        }
    }
}

impl BitmapChange {
    /// Whether it adds one or removes one.
    fn is_about_the_list(&self) -> bool {
        matches!(self.act, BitmapAct::Add | BitmapAct::Remove)
    }

    /// Changes one that is there.
    fn alter(&mut self, slot: u8) {
        let merged = match self.act {
            BitmapAct::Merge { from } => self.after.get_mut(&from).and_then(State::bits).cloned(),
            _ => None,
        };
        let Some(State::Known { is_enabled, bits }) = self.after.get_mut(&slot) else { return };
        match self.act {
            BitmapAct::Clear => *bits = Bits::default(),
            BitmapAct::Enable => *is_enabled = true,
            BitmapAct::Disable => *is_enabled = false,
            BitmapAct::Merge { .. } => bits.merge(&merged.unwrap_or_default()),
            BitmapAct::Add | BitmapAct::Remove => {}
        }
    }
}

/// Views.
impl Bitmaps {
    /// Judges the bits that the open disk, of `size` bytes, shows of one.
    pub(crate) fn judge_bits(&self, slot: u8, found: &DirtyBitmap, size: u64) -> Result<(), String> {
        match self.live.get(&slot) {
            Some(State::Known { bits, .. }) => bits.judge(slot, found, size),
            _ => Err(format!("bitmap {slot} has bits that nobody knows")),
        }
    }

    /// Judges all that the open disk shows.
    pub(crate) fn judge_live(&self, found: &[FoundBitmap], size: u64) -> Result<(), String> {
        judge_all(&self.live, found, size)
    }

    /// Judges what is found after a change that has failed: it has happened, or not. It is so from now on.
    pub(crate) fn settle(&mut self, now: Time, found: &[FoundBitmap], size: u64) -> Result<(), String> {
        let Some(change) = self.doubt.take() else { return self.judge_live(found, size) };
        let Err(before) = self.judge_live(found, size) else { return Ok(()) };
        judge_all(&change.after, found, size).map_err(|_| before)?;
        self.live = change.after;
        let kept = |bitmap: &FoundBitmap| {
            let stored = self.stored().get(&bitmap.slot).cloned();
            let new = || Stored { since: change.issued, state: State::of(bitmap, size) };
            (bitmap.slot, stored.unwrap_or_else(new))
        };
        let slots = Arc::new(found.iter().map(kept).collect());
        self.lists.push(List::of(slots, now, true));
        self.end_list(now, true);
        Ok(())
    }

    /// Judges what a crash at `time` has left, on a disk of `size` bytes.
    pub(crate) fn judge_crash(&self, found: &[FoundBitmap], size: u64, time: Time) -> Result<(), String> {
        let possible = self.lists.iter().rev().filter(|list| list.issued <= time && list.gone > time);
        let mut first = None;
        for list in possible {
            match self.judge_stored(&list.slots, found, size, time) {
                Ok(()) => return Ok(()),
                Err(what) => drop(first.get_or_insert(what)),
            }
        }
        Err(first.expect("an image has a list, which may be empty"))
    }

    fn judge_stored(
        &self,
        slots: &BTreeMap<u8, Stored>,
        found: &[FoundBitmap],
        size: u64,
        time: Time,
    ) -> Result<(), String> {
        same_slots(found, slots.keys())?;
        for (found, (slot, stored)) in found.iter().zip(slots) {
            let marks = || {
                let since = stored.since;
                self.marks.iter().filter(move |mark| mark.slot == *slot && mark.issued >= since)
            };
            let may_be_lost = marks().any(|mark| mark.issued <= time);
            if found.bits.is_none() && may_be_lost {
                continue;
            }
            stored.state.judge(found, size)?;
            if found.bits.is_some() && marks().any(|mark| mark.completed <= time) {
                let what = "is as it was saved, though more has happened since that it had to follow";
                return Err(format!("bitmap {slot} {what}"));
            }
        }
        Ok(())
    }

    /// The bitmaps are these from `now` on: so they were found after the handle was lost.
    pub(crate) fn adopt(&mut self, now: Time, found: &[FoundBitmap], size: u64) {
        self.doubt = None;
        self.live = found.iter().map(|bitmap| (bitmap.slot, State::of(bitmap, size))).collect();
        let stored = |(slot, state): (&u8, &State)| (*slot, Stored { since: now, state: state.clone() });
        let new = List::of(Arc::new(self.live.iter().map(stored).collect()), now, false);
        for list in &mut self.lists {
            list.superseded = list.superseded.min(now);
            list.in_flight = false;
        }
        self.lists.push(new);
    }
}

fn judge_all(live: &Live, found: &[FoundBitmap], size: u64) -> Result<(), String> {
    same_slots(found, live.keys())?;
    live.values().zip(found).try_for_each(|(state, found)| state.judge(found, size))
}
