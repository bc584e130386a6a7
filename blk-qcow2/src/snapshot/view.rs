//! What a snapshot holds: read beside the active disk, or opened as a disk of its own.

use blk_core::{Error, Extent, Result, SnapshotInfo, Storage, TypedOptions};

use super::SnapshotTable;
use super::change::position;
use crate::crypt::Crypt;
use crate::grow::check_l1_entries;
use crate::header::Header;
use crate::l2::{Entry, RawEntry};
use crate::metadata::Metadata;
use crate::offset::{GuestOffset, HostExtent, HostOffset};
use crate::qcow2::Qcow2;
use crate::steps;

impl Qcow2 {
    /// Nothing of a snapshot is cached: its tables are never changed, and were durable when it was made.
    pub(crate) fn read_from_snapshot(&self, id: &str, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.crypt.as_ref().map_or(Ok(()), Crypt::check_unlocked)?;
        let metadata = self.metadata.read();
        // A change that failed midway may have happened, or not.
        metadata.check_usable()?;
        let table = SnapshotTable::read(&*self.storage, &metadata.header)?;
        let infos = table.describe(&*self.storage)?;
        let index = position(&infos, id)?;
        let size = infos[index].disk_bytes.unwrap_or(metadata.header.size);
        let length = buf.len() as u64;
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(Error::OutOfRange { offset, length, size });
        }
        let l1 = table.l1_tables[index].checked_extent(self.geometry)?;
        // Table by table.
        for part in Extent::new(offset, length).parts(self.geometry.l2_table_reach_bytes()) {
            let entries = metadata.entries_in_snapshot(l1, part)?;
            let buf = &mut buf[(part.offset - offset) as usize..(part.end() - offset) as usize];
            let clusters = part.parts(self.geometry.cluster_bytes());
            for (entry, cluster) in entries.into_iter().zip(clusters) {
                let buf = &mut buf[(cluster.offset - part.offset) as usize..][..cluster.length as usize];
                self.read_entry(&metadata, entry, GuestOffset::new(cluster.offset), buf, &steps::READ_AIO)?;
            }
        }
        Ok(())
    }
}

impl Metadata {
    /// The entries of the clusters that `part`, which one table maps, touches in the snapshot whose L1 table
    /// is `l1`.
    fn entries_in_snapshot(&self, l1: HostExtent, part: Extent) -> Result<Vec<Entry>> {
        let geometry = self.geometry;
        let start = geometry.cluster_start(GuestOffset::new(part.offset));
        let count = geometry.clusters_of(part.end() - start.get()).get() as usize;
        let index = geometry.l1_index(start);
        let entry = if index < l1.length / 8 { self.read_entry(l1.start + index * 8)? } else { 0 };
        let Some(table) = self.table_of_entry(entry, l1.start, index)? else {
            return Ok(vec![Entry::UNALLOCATED; count]);
        };
        let entry_bytes = geometry.l2_entry_bytes();
        let mut bytes = vec![0; count * entry_bytes as usize];
        self.storage.read_at((table + geometry.l2_index(start) * entry_bytes).get(), &mut bytes)?;
        let clusters = (0..).map(|number| start + number * geometry.cluster_bytes());
        let entries = RawEntry::all(&bytes, geometry).zip(clusters);
        entries.map(|(raw, at)| self.decode_inside(raw, at)).collect()
    }

    fn read_entry(&self, at: HostOffset) -> Result<u64> {
        let mut raw = [0; 8];
        self.storage.read_at(at.get(), &mut raw)?;
        Ok(u64::from_be_bytes(raw))
    }
}

/// Which snapshot an open asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Selection {
    /// Its ID or its name.
    word: Option<String>,
    /// Its ID.
    id: Option<String>,
    /// Its name.
    name: Option<String>,
}

impl Selection {
    /// What the options of an open say.
    pub(crate) fn of(options: &TypedOptions) -> Self {
        let text = |name| options.text(name);
        Self { word: text("snapshot"), id: text("snapshot.id"), name: text("snapshot.name") }
    }

    /// Whether a snapshot is asked for.
    pub(crate) fn is_some(&self) -> bool {
        *self != Self::default()
    }

    fn find(&self, snapshots: &[SnapshotInfo]) -> Result<usize> {
        let fits =
            |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        let is_meant = |info: &SnapshotInfo| fits(&self.id, &info.id) && fits(&self.name, &info.name);
        let index = match &self.word {
            Some(word) => {
                let of = |known: fn(&SnapshotInfo) -> &String| {
                    snapshots.iter().position(|info| is_meant(info) && known(info) == word)
                };
                of(|info| &info.id).or_else(|| of(|info| &info.name))
            }
            None => snapshots.iter().position(is_meant),
        };
        index.ok_or_else(|| {
            let words = [&self.word, &self.id, &self.name].into_iter().flatten();
            let name = words.map(String::as_str).collect::<Vec<_>>().join("', '");
            Error::Unresolved { name, reason: "the image has no such snapshot".to_owned() }
        })
    }

    /// The header of the image as it would be if the snapshot were the active disk.
    pub(crate) fn header(&self, storage: &dyn Storage, header: &Header) -> Result<Header> {
        let table = SnapshotTable::read(storage, header)?;
        let infos = table.describe(storage)?;
        let index = self.find(&infos)?;
        let l1 = table.l1_tables[index];
        let mut header = header.clone();
        header.size = infos[index].disk_bytes.unwrap_or(header.size);
        check_l1_entries(header.geometry.l1_entries(header.size))?;
        header.l1_table_offset = l1.checked_extent(header.geometry)?.start;
        header.l1_entries = l1.entries;
        Ok(header)
    }
}
