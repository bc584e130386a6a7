//! What a disk over another one can do: name another backing file, and drop its own content.
//!
//! Write order for the name: the new name goes to a place that nothing in use occupies, and is durable before
//! the header points to it; header and extensions follow in one write. It is one sector, and so all or
//! nothing, unless the extensions are long.
//!
//! Write order for the content: the L1 table without its entries is durable before any count falls, as in
//! `metadata`.

use blk_core::{BackingFile, Error, Extent, Overlay, Result, Storage, name};

use crate::free_space::FreeReason;
use crate::header::{BackingName, Header};
use crate::l2::{self, Entry, RawEntry};
use crate::metadata::Metadata;
use crate::offset::{GuestOffset, HostOffset};
use crate::qcow2::Qcow2;
use crate::roles::Role;
use crate::write::{check_old_freeable, free_old};

/// How many clusters may be pending before they are freed: each takes 16 bytes of memory.
const WAITING_MAX: usize = 1 << 16;

impl Overlay for Qcow2 {
    fn set_backing(&self, backing: Option<&BackingFile>) -> Result<()> {
        let backing = backing.map(check_name).transpose()?;
        let is_raw = self.is_raw_data || self.metadata.read().header.has_raw_data_file();
        if is_raw && backing.is_some() {
            let reason = "a raw data file is all of the disk: it has no backing file";
            return Err(Error::invalid_option("backing_file", reason));
        }
        self.begin_unfollowed()?;
        let mut metadata = self.metadata.write();
        metadata.flush()?;
        let (header, image) = metadata.header.with_backing(&*self.storage, backing)?;
        if let Some(name) = &header.backing
            && header.backing_extent.offset >= metadata.header.backing_extent.end()
        {
            self.storage.write_at(header.backing_extent.offset, &name::to_bytes(&name.name))?;
            metadata.sync()?;
        }
        let written = self.storage.write_at(0, &image);
        written.map_err(|error| metadata.poison(error))?;
        metadata.sync()?;
        metadata.header = header;
        Ok(())
    }

    fn forget_content(&self) -> Result<()> {
        self.noting(self.forget_all())
    }
}

impl Qcow2 {
    fn forget_all(&self) -> Result<()> {
        self.begin_unfollowed()?;
        let mut metadata = self.metadata.write();
        metadata.flush()?;
        if self.is_raw_data {
            // What is not in the file is nowhere: all of it stays mapped.
            self.data.punch_hole(Extent::new(0, metadata.header.size))?;
            return metadata.flush();
        }
        for index in 0..metadata.l1.len() {
            forget_table(&mut metadata, index)?;
            if metadata.free.pending_count() >= WAITING_MAX {
                metadata.write_back()?;
            }
        }
        metadata.flush()?;
        metadata.trim_file()
    }
}

fn check_name(backing: &BackingFile) -> Result<BackingName> {
    BackingName::new(backing.name.clone(), backing.format.clone())
}

/// A table that is about to be given back, and what its entries refer to.
struct GivenUp {
    table: HostOffset,
    entries: Vec<Entry>,
}

/// Drops an L1 entry, and frees its table and all that the table refers to. Nothing changes if one of them
/// cannot be freed.
pub(crate) fn forget_table(metadata: &mut Metadata, index: usize) -> Result<()> {
    let Some(GivenUp { table, entries }) = given_up(metadata, index)? else { return Ok(()) };
    metadata.l1.set(index, 0);
    metadata.forget_cached_table(table);
    metadata.free_later(table, FreeReason::Drop);
    for entry in entries {
        free_old(metadata, entry, FreeReason::Drop);
    }
    Ok(())
}

/// Fails where [`forget_table`] would.
pub(crate) fn check_table(metadata: &mut Metadata, index: usize) -> Result<()> {
    given_up(metadata, index).map(drop)
}

/// What goes with an L1 entry. Its table has been written back.
fn given_up(metadata: &mut Metadata, index: usize) -> Result<Option<GivenUp>> {
    let geometry = metadata.geometry;
    let guest = GuestOffset::new(index as u64 * geometry.l2_table_reach_bytes());
    let Some((table, _)) = metadata.l2_table(guest)? else { return Ok(None) };
    metadata.check_freeable(table.with_length(geometry.cluster_bytes()), Some(Role::L2Table))?;
    let mut bytes = vec![0; geometry.cluster_bytes() as usize];
    metadata.storage.read_at(table.get(), &mut bytes)?;
    let mut entries = Vec::new();
    for (number, raw) in RawEntry::all(&bytes, geometry).enumerate() {
        let at = guest + number as u64 * geometry.cluster_bytes();
        let entry = l2::decode(raw, geometry, metadata.header.version, at)?;
        check_old_freeable(metadata, entry)?;
        entries.push(entry);
    }
    Ok(Some(GivenUp { table, entries }))
}

impl Header {
    /// The same header over another disk, and the bytes from the image's start that say so: the fixed part,
    /// all extensions, and the name unless it lies further on.
    pub(crate) fn with_backing(
        &self,
        storage: &dyn Storage,
        backing: Option<BackingName>,
    ) -> Result<(Self, Vec<u8>)> {
        let mut header = self.clone();
        let mut image = vec![0; self.length as usize];
        storage.read_at(0, &mut image)?;
        self.append_extensions(storage, backing.as_ref(), &mut image)?;
        let name = backing.as_ref().map(|backing| name::to_bytes(&backing.name)).unwrap_or_default();
        let room = self.geometry.cluster_bytes();
        let start = image.len() as u64;
        let length = name.len() as u64;
        // After the old name if it fits there, so that the old one stays whole until the header has changed.
        let after = self.backing_extent.end().next_multiple_of(8).max(start);
        let at = if after + length <= room { after } else { start };
        if at + length > room {
            let reason = format!("header and name take {} bytes, the first cluster has {room}", at + length);
            return Err(Error::invalid_option("backing_file", reason));
        }
        header.backing_extent = if name.is_empty() { Extent::default() } else { Extent::new(at, length) };
        let fixed = header.encode_fixed();
        image[..fixed.len()].copy_from_slice(&fixed);
        if at == start {
            image.extend_from_slice(&name);
        }
        header.backing = backing;
        assert!(image.len() as u64 <= room, "the header lies in the first cluster");
        Ok((header, image))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use blk_core::{Access, DenyResolver, Disk, MemoryStorage, Options, RepairMode, WriteFlags};

    use super::*;

    fn open(storage: &Arc<dyn Storage>) -> Disk {
        let options = Options::new().with("backing", "off");
        crate::FORMAT.open(Arc::clone(storage), Access::ReadWrite, options, &DenyResolver).unwrap()
    }

    fn create(options: Options) -> Arc<dyn Storage> {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        crate::FORMAT.create(&storage, 1 << 20, options).unwrap();
        storage
    }

    fn named(disk: &Disk) -> Option<BackingFile> {
        disk.as_info().unwrap().info().unwrap().backing
    }

    #[test]
    fn the_backing_files_name_changes_and_other_extensions_stay() {
        for compat in ["0.10", "1.1"] {
            let storage = create(Options::new().with("compat", compat).with("backing_file", "a"));
            let names = ["a-longer-name", "b", &"n".repeat(1023), "", "again"];
            for (number, name) in names.into_iter().enumerate() {
                let format = (number % 2 == 0).then(|| "raw".to_owned());
                let wanted = (!name.is_empty()).then(|| BackingFile { name: name.to_owned(), format });
                let disk = open(&storage);
                disk.as_overlay().unwrap().set_backing(wanted.as_ref()).unwrap();
                assert_eq!(named(&disk), wanted);
                disk.close().unwrap();
                let disk = open(&storage);
                assert_eq!(named(&disk), wanted, "{name}");
                assert!(disk.check(RepairMode::None).unwrap().is_clean());
            }
        }
    }

    #[test]
    fn unknown_extensions_survive() {
        let options = Options::new().with("cluster_size", "4096");
        let storage = create(options.with("backing_file", "base0").with("backing_fmt", "raw"));
        // An unknown extension, put in place of the end marker; the name moves to the place after it.
        let mut image = [0; 4];
        storage.read_at(112 + 16, &mut image).unwrap();
        assert_eq!(image, [0; 4], "the list of extensions ends here");
        storage.write_at(128, &[0xab, 0xcd, 0xef, 0x01, 0, 0, 0, 4, 1, 2, 3, 4]).unwrap();
        storage.write_at(160, b"base0").unwrap();
        storage.write_at(8, &160_u64.to_be_bytes()).unwrap();
        let disk = open(&storage);
        disk.as_overlay().unwrap().set_backing(None).unwrap();
        let mut moved = [0; 12];
        storage.read_at(112, &mut moved).unwrap();
        assert_eq!(moved, [0xab, 0xcd, 0xef, 0x01, 0, 0, 0, 4, 1, 2, 3, 4]);
    }

    #[test]
    fn a_name_without_room_is_refused_and_changes_nothing() {
        let storage = create(Options::new().with("cluster_size", "512").with("backing_file", "a"));
        let disk = open(&storage);
        let long = BackingFile { name: "n".repeat(500), format: None };
        assert!(disk.as_overlay().unwrap().set_backing(Some(&long)).is_err());
        assert_eq!(named(&open(&storage)).unwrap().name, "a");
    }

    #[test]
    fn forgotten_content_leaves_a_clean_short_image() {
        let storage = create(Options::new().with("cluster_size", "4096").with("backing_file", "a"));
        let empty = storage.len().unwrap();
        let disk = open(&storage);
        for at in 0..100 {
            disk.write(at * 8192, &[7; 5000], WriteFlags::default()).unwrap();
        }
        disk.write(999_424, &[3; 4096], WriteFlags { compressed: true, ..WriteFlags::default() }).unwrap();
        disk.as_overlay().unwrap().forget_content().unwrap();
        assert!(!disk.block_status(Extent::new(0, 1 << 20)).unwrap().allocated);
        assert_eq!(storage.len().unwrap(), empty);
        disk.write(0, &[9; 10], WriteFlags::default()).unwrap();
        disk.close().unwrap();
        let report = open(&storage).check(RepairMode::None).unwrap();
        assert!(report.is_clean(), "{report}");
        assert_eq!(report.allocated_clusters, 1);
    }
}
