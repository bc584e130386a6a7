//! Version 1 of the bytes form, in which the header had a fixed place for each option of one format. It is
//! read, never written, and only for spaces whose drivers had it ([`Space::old_header`]).
//!
//! ```text
//!  0  0xB1                               6  bit 1 discard, bit 3 atoms of 4096 bytes
//!  4  backing: 0 none, 1 raw,            7  lanes; 9 and more: 0
//!     2 format, 3 chain                  8..14  size of the disk
//!                                       14..20  size of the backing file
//! 28..32  control seed                  all else: the space's own
//!
//! then records as in version 2, without ON: 16 bytes
//! ```
//! Golden tests pin what this reads: **it never changes.**

use super::super::Scenario;
use super::super::bounds::LANES_MAX;
use super::super::reach::{self, Frame};
use super::super::{Backing, Config};
use super::{Record, decode_backing, decode_records, number};
use crate::space::{Geometry, OLD_HEADER_BYTES, OldHeader, Space};

/// The scenario that `bytes` stood for. Options that `space` does not have are dropped.
pub(super) fn decode(space: &Space, old: &OldHeader, bytes: &[u8]) -> Scenario {
    let (given, records) = bytes.split_at(bytes.len().min(OLD_HEADER_BYTES));
    let mut header = old.usual;
    header[..given.len()].copy_from_slice(given);
    let unit = (old.unit_bytes)(&header);
    let geometry = Geometry {
        unit_bytes: unit,
        table_reach_bytes: unit / 8 * unit,
        compressed_unit_bytes: Some(unit),
        alignment_bytes: 1,
        size_is_file_length: false,
        snapshots: false,
        bitmaps: false,
        is_dense: false,
        amendments: &[],
    };
    let mut config = common(&header, &geometry);
    config.options = (old.options)(&header, config.backing);
    space.legalize(&mut config);
    let frame = Frame::of(&geometry, config.size_bytes).without_far();
    let records = records.chunks(size_of::<Record>()).map(|record| {
        let mut padded = Record::default();
        padded[..record.len()].copy_from_slice(record);
        padded
    });
    decode_records(config, frame, records)
}

fn common(header: &[u8; OLD_HEADER_BYTES], geometry: &Geometry) -> Config {
    let (unit, reach) = (geometry.unit_bytes, geometry.table_reach_bytes);
    let size_bytes = reach::disk_size(number(&header[8..14]), unit, reach);
    let backing = decode_backing(header[4]);
    Config {
        size_bytes,
        backing,
        backing_bytes: match backing {
            Backing::None => 0,
            _ => reach::backing_size(number(&header[14..20]), size_bytes, unit),
        },
        discard: header[6] & 2 != 0,
        atom_bytes: if header[6] & 8 == 0 { 512 } else { 4096 },
        control: number(&header[28..32]) as u32,
        lanes: if header[7] <= LANES_MAX { header[7] } else { 0 },
        ..Config::default()
    }
}
