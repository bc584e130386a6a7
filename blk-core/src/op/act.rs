//! What is done with snapshots and dirty bitmaps inside an image, and how requests call them.

use crate::{
    Amend, Amendment, Bitmaps, DenyResolver, Disk, Error, NewSnapshot, Options, Result, ShortText, Snapshots,
};

/// What is done with a dirty bitmap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BitmapAct {
    /// [`crate::Bitmaps::add_bitmap`], enabled, with the granularity that suits the image.
    Add,
    /// [`crate::Bitmaps::remove_bitmap`]
    Remove,
    /// [`crate::Bitmaps::clear_bitmap`]
    Clear,
    /// [`crate::Bitmaps::enable_bitmap`]
    Enable,
    /// The same, to end it.
    Disable,
    /// [`crate::Bitmaps::merge_bitmap`], with what another one has.
    Merge {
        /// Which other one: see [`slot_name`].
        from: u8,
    },
}

/// What is done with a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SnapshotAct {
    /// [`crate::Snapshots::create_snapshot`]; refused where there is one of that name.
    Create,
    /// [`crate::Snapshots::apply_snapshot`]
    Apply,
    /// [`crate::Snapshots::delete_snapshot`]
    Delete,
}

/// What the name of a slot begins with.
const SLOT: &str = "slot-";

/// The name of the snapshot, or of the bitmap, that requests call `slot`.
pub fn slot_name(slot: u8) -> String {
    format!("{SLOT}{slot}")
}

/// The slot whose snapshot or bitmap has this name.
pub fn slot_of_name(name: &str) -> Option<u8> {
    let slot = name.strip_prefix(SLOT)?.parse().ok()?;
    (slot_name(slot) == name).then_some(slot)
}

impl BitmapAct {
    /// As `qemu-img bitmap` calls it.
    pub(super) const fn flag(self) -> &'static str {
        match self {
            Self::Add => "--add",
            Self::Remove => "--remove",
            Self::Clear => "--clear",
            Self::Enable => "--enable",
            Self::Disable => "--disable",
            Self::Merge { .. } => "--merge",
        }
    }
}

impl Disk {
    pub(super) fn amend_option(&self, option: ShortText) -> Result<()> {
        let (name, value) = option.as_str().split_once('=').unwrap_or((option.as_str(), "on"));
        let options = Options::new().with(name, value);
        let mut progress = |_, _| {};
        self.amend(Amendment { options, force: false, resolver: &DenyResolver, progress: &mut progress })
    }

    pub(super) fn change_slot(&self, act: SnapshotAct, slot: u8) -> Result<()> {
        match (act, self.slot(slot)) {
            (SnapshotAct::Create, Ok(found)) => {
                Err(Error::invalid_option("snapshot", format!("there is a '{}'", found.name)))
            }
            (SnapshotAct::Create, Err(Error::Unresolved { .. })) => {
                let new = NewSnapshot { name: slot_name(slot), ..NewSnapshot::default() };
                self.create_snapshot(&new).map(drop)
            }
            (SnapshotAct::Apply, Ok(found)) => self.apply_snapshot(&found.id),
            (SnapshotAct::Delete, Ok(found)) => self.delete_snapshot(&found.id),
            (_, Err(error)) => Err(error),
        }
    }

    pub(super) fn change_bitmap_of(&self, slot: u8, act: BitmapAct) -> Result<()> {
        let name = slot_name(slot);
        match act {
            BitmapAct::Add => self.add_bitmap(&name, self.default_granularity_bytes(), true),
            BitmapAct::Remove => self.remove_bitmap(&name),
            BitmapAct::Clear => self.clear_bitmap(&name),
            BitmapAct::Enable => self.enable_bitmap(&name, true),
            BitmapAct::Disable => self.enable_bitmap(&name, false),
            BitmapAct::Merge { from } => self.merge_bitmap(&name, &self.read_bitmap(&slot_name(from))?),
        }
    }
}
