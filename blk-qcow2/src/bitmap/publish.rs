//! The header extension that names the directory of bitmaps.
//!
//! Write order: an extension that is changed is so in one write inside a sector. A new one is complete behind
//! the last of the others before its type is written over their end mark; the autoclear bit is durable after
//! that. The bit is cleared before the extension goes, or before one is changed that lies in two sectors: a
//! crash then leaves an image without bitmaps that anyone vouches for, and their clusters as leaks.

use blk_core::bytes::SECTOR_BYTES;
use blk_core::{Error, Extent, Result, Storage, name};

use crate::extension::{self, BitmapDirectory};
use crate::header::Header;
use crate::metadata::Metadata;
use crate::ondisk::{AUTOCLEAR_BITMAPS, EXTENSION_BITMAPS, EXTENSION_END};

/// Type and length of an extension.
const HEAD_BYTES: u64 = 8;
/// An extension that names a directory.
const BITMAPS_BYTES: u64 = HEAD_BYTES + 24;

impl Metadata {
    /// The header names this directory from now on, or none. What it names is durable.
    pub(super) fn publish_bitmaps(&mut self, directory: Option<BitmapDirectory>) -> Result<()> {
        let published = match directory {
            Some(directory) => self.name_directory(directory),
            None => self.forget_directory(),
        };
        published.map_err(|error| match error {
            // There is no room in the first cluster, and nothing has changed. A full host poisons where it is
            // met: what it has left is not known.
            Error::NoSpace { .. } => error,
            error => self.poison(error),
        })
    }

    /// Writes a part of the header. A failure, whatever its reason, leaves what nobody knows.
    fn write_part_of_header(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        self.storage.write_at(at, bytes).map_err(|error| self.poison(error))
    }

    fn name_directory(&mut self, directory: BitmapDirectory) -> Result<()> {
        let data = extension::encode_bitmaps(directory);
        match place(&*self.storage, &self.header)? {
            Some(at) => {
                if at.offset / SECTOR_BYTES != (at.end() - 1) / SECTOR_BYTES {
                    self.vouch(false)?;
                }
                self.write_part_of_header(at.offset, &data)?;
            }
            None => self.add_extension(&data)?,
        }
        self.sync()?;
        self.header.bitmaps = Some(directory);
        self.vouch(true)
    }

    fn forget_directory(&mut self) -> Result<()> {
        self.vouch(false)?;
        self.header.bitmaps = None;
        let Some(at) = place(&*self.storage, &self.header)? else { return Ok(()) };
        let area = self.header.extension_area();
        let start = at.offset - HEAD_BYTES;
        let behind = Extent::between(at.end().min(area.end()), area.end());
        let mut rest = Vec::new();
        for (kind, data) in extension::read_raw(&*self.storage, behind)? {
            extension::push(&mut rest, kind, &data);
        }
        extension::push(&mut rest, EXTENSION_END, &[]);
        self.write_part_of_header(start, &rest)?;
        self.sync()
    }

    /// Sets or clears the bit that vouches for the bitmaps, durably.
    fn vouch(&mut self, is_current: bool) -> Result<()> {
        let bit = if is_current { AUTOCLEAR_BITMAPS } else { 0 };
        if self.header.autoclear & AUTOCLEAR_BITMAPS != bit {
            self.header.autoclear = self.header.autoclear & !AUTOCLEAR_BITMAPS | bit;
            self.publish_header()?;
        }
        Ok(())
    }

    /// Adds the extension with `data` behind the others.
    fn add_extension(&mut self, data: &[u8]) -> Result<()> {
        let area = self.header.extension_area();
        let storage = &*self.storage;
        let end = extension::list(storage, area)?
            .last()
            .map_or(area.offset, |(_, data)| data.offset + data.length.next_multiple_of(8));
        let new_end = end + BITMAPS_BYTES;
        if new_end + HEAD_BYTES > area.end() && new_end != area.end() {
            self.move_name(end, new_end + HEAD_BYTES)?;
        }
        let mut extension = Vec::new();
        extension::push(&mut extension, EXTENSION_BITMAPS, data);
        if new_end + HEAD_BYTES <= self.header.extension_area().end() {
            extension::push(&mut extension, EXTENSION_END, &[]);
        }
        let (head, rest) = extension.split_at(HEAD_BYTES as usize);
        self.write_part_of_header(end + HEAD_BYTES, rest)?;
        self.sync()?;
        self.write_part_of_header(end, head)
    }

    /// Makes room for extensions up to `new_end`, which end at `end` now: the backing file's name moves.
    fn move_name(&mut self, end: u64, new_end: u64) -> Result<()> {
        let (room, old) = (self.geometry.cluster_bytes(), self.header.backing_extent);
        let no_room = || {
            let needed = new_end + old.length;
            let what =
                format!("header and extensions would take {needed} bytes, the first cluster has {room}");
            Err(Error::NoSpace { what: what.into() })
        };
        let Some(backing) = &self.header.backing else { return no_room() };
        let name = name::to_bytes(&backing.name).to_vec();
        // Behind the old one, which stays whole until the header names the other.
        let at = old.end().next_multiple_of(8).max(new_end);
        let has_end_mark = end + HEAD_BYTES <= old.offset;
        if !has_end_mark || at + name.len() as u64 > room {
            return if new_end + name.len() as u64 <= room {
                self.move_name_at_once(end, new_end)
            } else {
                no_room()
            };
        }
        self.write_part_of_header(at, &name)?;
        self.sync()?;
        self.header.backing_extent = Extent::new(at, name.len() as u64);
        self.publish_header()
    }

    /// The same where there is no room for both names: one write has header, end mark and name.
    fn move_name_at_once(&mut self, end: u64, at: u64) -> Result<()> {
        let backing = self.header.backing.as_ref().expect("the caller has seen it");
        let name = name::to_bytes(&backing.name).to_vec();
        let mut image = vec![0; end as usize];
        self.storage.read_at(0, &mut image)?;
        self.header.backing_extent = Extent::new(at, name.len() as u64);
        let fixed = self.header.encode_fixed();
        image[..fixed.len()].copy_from_slice(&fixed);
        image.resize(at as usize, 0);
        image.extend_from_slice(&name);
        self.write_part_of_header(0, &image)?;
        self.sync()
    }
}

/// Where the data of the extension lies that names the directory.
fn place(storage: &dyn Storage, header: &Header) -> Result<Option<Extent>> {
    let extensions = extension::list(storage, header.extension_area())?;
    Ok(extensions.into_iter().find(|(kind, _)| *kind == EXTENSION_BITMAPS).map(|(_, data)| data))
}
