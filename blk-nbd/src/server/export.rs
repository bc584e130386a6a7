//! What a server offers.

use std::sync::Arc;

use blk_core::{Access, Bitmaps, DirtyBitmap, Disk, Error, Extent, Result};

use super::status::Context;
use crate::wire::{PAYLOAD_BYTES_MAX, STRING_BYTES_MAX, export};

/// A disk, under a name.
#[derive(Debug, Clone)]
pub struct Export {
    /// The name that clients ask for.
    pub name: String,
    /// For people who list exports.
    pub description: String,
    /// What is exported.
    pub disk: Arc<Disk>,
    /// Clients may not write, though the disk could be.
    pub read_only: bool,
    /// Clients may ask in which layer of a chain of backing files the bytes are: the context
    /// `qemu:allocation-depth`.
    pub allocation_depth: bool,
    /// Dirty bitmaps that clients may ask for, each by its name: the contexts `qemu:dirty-bitmap:NAME`.
    pub bitmaps: Vec<(String, ExportedBitmap)>,
}

/// A dirty bitmap that clients may ask for.
#[derive(Debug, Clone)]
pub enum ExportedBitmap {
    /// As it was when the export was made.
    Frozen(Arc<DirtyBitmap>),
    /// As this disk has it when a client asks: it follows what is written.
    Live(Arc<Disk>),
}

impl ExportedBitmap {
    /// How many bytes from the start of `extent` are alike, and whether they are dirty.
    pub(super) fn run(&self, name: &str, extent: Extent) -> Result<(u64, bool)> {
        match self {
            Self::Frozen(bitmap) => Ok(bitmap.run(extent)),
            Self::Live(disk) => disk.bitmap_run(name, extent),
        }
    }
}

impl Export {
    /// A disk under a name, as writable as the disk is.
    pub fn new(name: impl Into<String>, disk: Arc<Disk>) -> Self {
        let read_only = disk.access() == Access::ReadOnly;
        Self {
            name: name.into(),
            description: String::new(),
            disk,
            read_only,
            allocation_depth: false,
            bitmaps: Vec::new(),
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let contexts = Context::of(self).into_iter().map(|context| ("bitmap", context.name(self)));
        let strings = [("export", self.name.clone()), ("description", self.description.clone())];
        for (what, text) in strings.into_iter().chain(contexts) {
            if text.len() > STRING_BYTES_MAX || text.contains('\0') {
                let reason = format!(
                    "it has at most {STRING_BYTES_MAX} bytes and no zero byte, not {} bytes",
                    text.len()
                );
                return Err(Error::invalid_option(what, reason));
            }
        }
        for (index, (name, _)) in self.bitmaps.iter().enumerate() {
            if self.bitmaps[..index].iter().any(|(other, _)| other == name) {
                return Err(Error::invalid_option("bitmap", format!("'{name}' is there twice")));
            }
        }
        if self.disk.limits().request_alignment > u64::from(PAYLOAD_BYTES_MAX) {
            let reason = format!("no request is smaller than {}", self.disk.limits().request_alignment);
            return Err(Error::invalid_option("export", reason));
        }
        Ok(())
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.read_only || self.disk.access() == Access::ReadOnly
    }

    /// The transmission flags.
    pub(super) fn flags(&self, is_shared: bool, is_structured: bool, takes_payload: bool) -> u16 {
        let limits = self.disk.limits();
        let mut flags = export::HAS_FLAGS | export::SEND_CACHE | export::SEND_FLUSH | export::SEND_FUA;
        if self.is_read_only() {
            flags |= export::READ_ONLY;
        } else {
            flags |= export::SEND_WRITE_ZEROES | export::SEND_FAST_ZERO;
            if limits.can_discard {
                flags |= export::SEND_TRIM;
            }
        }
        for (is_set, flag) in [
            (limits.rotational, export::ROTATIONAL),
            (is_structured, export::SEND_DF),
            (is_shared, export::CAN_MULTI_CONN),
            (takes_payload, export::BLOCK_STATUS_PAYLOAD),
        ] {
            if is_set {
                flags |= flag;
            }
        }
        flags
    }

    /// The smallest, the best and the largest request, bytes.
    pub(super) fn block_sizes(&self) -> [u32; 3] {
        let limits = self.disk.limits();
        let least = limits.request_alignment as u32;
        let best = limits.preferred_bytes.clamp(u64::from(least), u64::from(PAYLOAD_BYTES_MAX)) as u32;
        [least, best.max(512), PAYLOAD_BYTES_MAX]
    }
}
