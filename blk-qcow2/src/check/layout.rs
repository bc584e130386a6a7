//! What each cluster of an image file is for.

use blk_core::{Region, RepairMode, Result, Role as Named, Storage};

use super::walk::Walk;
use crate::header::Header;
use crate::offset::HostCluster;
use crate::overlap::Parts;
use crate::pointer_table::PointerTable;
use crate::roles::{Role, Roles};

/// A cluster with a stored count that nothing refers to.
const LEAKED: Named = Named { name: "leaked", letter: '!' };

/// What the clusters of the image are for, whether or not it can be opened. Time and memory are bounded by
/// the length of the file, as those of a check.
pub(crate) fn layout(storage: &dyn Storage, header: &Header) -> Result<Vec<Region>> {
    let walk = Walk::plain(storage, header, RepairMode::None)?;
    let l1 = PointerTable::read(storage, header.l1_table_offset, header.l1_entries as usize)?;
    let entries = (header.refcount_table().length / 8) as usize;
    let table = PointerTable::read(storage, header.refcount_table_offset, entries)?;
    let roles = Roles::of_image(storage, header, &l1, &table, Parts::all());
    let cluster_bytes = header.geometry.cluster_bytes();
    let mut regions = Vec::new();
    let mut left = storage.len()?;
    for (index, count) in walk.counts.iter().enumerate() {
        let cluster = HostCluster::new(index as u64);
        let role = match roles.of(cluster).or_else(|| roles.kept(cluster)) {
            Some(role) => named(role),
            None if *count > 0 => Named::DATA,
            None if walk.differing.get(&cluster).is_some_and(|stored| *stored > 0) => LEAKED,
            None => Named::FREE,
        };
        let length = left.min(cluster_bytes);
        if length == 0 {
            break;
        }
        left -= length;
        Region::push(&mut regions, length, role);
    }
    Ok(regions)
}

fn named(role: Role) -> Named {
    let (name, letter) = match role {
        Role::Header => ("header", 'H'),
        Role::L1Table => ("L1 table", '1'),
        Role::L2Table => ("L2 table", '2'),
        Role::RefcountTable => ("refcount table", 'T'),
        Role::RefcountBlock => ("refcount block", 'R'),
        Role::SnapshotTable => ("snapshot table", 'S'),
        Role::InactiveL1Table => ("L1 table of a snapshot", 's'),
        Role::InactiveL2Table => ("L2 table of a snapshot", 'z'),
        Role::BitmapDirectory => ("bitmap directory", 'B'),
        Role::EncryptionHeader => ("encryption header", 'E'),
        Role::Contested => ("claimed twice", '?'),
    };
    Named { name, letter }
}
