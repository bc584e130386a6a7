//! Version 1 of the bytes form, which knew the options of qcow2 and no others. It is read, never written.
//!
//! ```text
//!  0  0xB1
//!  1  version of the image format        8..14  size of the disk            24..28  bytes of an L2 slice
//!  2  cluster bits                      14..20  size of the backing file   28..32  control seed
//!  3  refcount order                    20..22  L2 cache, entries
//!  4  backing: 0 none, 1 raw,           22..24  refcount cache, entries
//!     2 format, 3 chain
//!  5  compression: 0 zlib, 1 zstd       then records as in version 2, without ON: 16 bytes
//!  6  bit 0 preallocate, bit 1 discard,
//!     bit 2 lazy refcounts,
//!     bit 3 atoms of 4096 bytes
//!  7  lanes; 9 and more: 0
//! ```
//! What is missing of the header has the values of [`USUAL`]. Golden tests pin what this reads: **it never
//! changes.**

use super::super::bounds::LANES_MAX;
use super::super::reach::{self, Frame};
use super::super::{Backing, Config, OptionValues, Scenario, Value};
use super::{Record, decode_backing, decode_records, number};
use crate::space::{Geometry, Space};

const HEADER_BYTES: usize = 32;

/// A disk of 1 MiB, version 3, clusters of 64 KiB, refcounts of 16 bits, with discards.
const USUAL: [u8; HEADER_BYTES] =
    [0xb1, 3, 16, 4, 0, 0, 2, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Cached tables that version 1 can ask for.
const CACHE_ENTRIES_MAX: u16 = 256;

/// What an illegal byte for the cluster bits stands for: small clusters make many tables out of few bytes.
const CLUSTER_BITS: [u8; 16] = [9, 9, 9, 9, 10, 10, 12, 12, 12, 12, 14, 14, 16, 16, 11, 21];

/// What an illegal byte for the refcount order stands for.
const REFCOUNT_ORDERS: [u8; 8] = [4, 4, 0, 1, 2, 3, 5, 6];

/// What too large a cache stands for.
const CACHE_ENTRIES: [u16; 8] = [0, 0, 1, 1, 2, 2, 3, 8];

/// The scenario that `bytes` stood for. Options that `space` does not have are dropped.
pub(super) fn decode(space: &Space, bytes: &[u8]) -> Scenario {
    let (given, records) = bytes.split_at(bytes.len().min(HEADER_BYTES));
    let mut header = USUAL;
    header[..given.len()].copy_from_slice(given);
    let cluster_bits = cluster_bits(header[2]);
    let cluster = 1 << cluster_bits;
    let geometry = Geometry {
        unit_bytes: cluster,
        table_reach_bytes: cluster / 8 * cluster,
        compressed_unit_bytes: Some(cluster),
        alignment_bytes: 1,
        size_is_file_length: false,
    };
    let mut config = common(&header, &geometry);
    config.options = options(&header, cluster_bits, config.backing);
    space.legalize(&mut config);
    let frame = Frame::of(&geometry, config.size_bytes).without_far();
    let records = records.chunks(size_of::<Record>()).map(|record| {
        let mut padded = Record::default();
        padded[..record.len()].copy_from_slice(record);
        padded
    });
    decode_records(config, frame, records)
}

fn common(header: &[u8; HEADER_BYTES], geometry: &Geometry) -> Config {
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

/// Version 2 of qcow2 has 16-bit refcounts and zlib alone, and no lazy refcounts; over a backing file nothing
/// is preallocated.
fn options(header: &[u8; HEADER_BYTES], cluster_bits: u8, backing: Backing) -> OptionValues {
    let is_v2 = header[1] == 2 || (header[1] > 3 && header[1].is_multiple_of(4));
    let order = match header[3] {
        legal @ 0..=6 => legal,
        raw => REFCOUNT_ORDERS[usize::from(raw) % REFCOUNT_ORDERS.len()],
    };
    let slice = slice_bytes(number(&header[24..28]), cluster_bits);
    let has = |bit: u8| header[6] & bit != 0;
    let count = |number: u64| (number != 0).then_some(Value::Number(number));
    let all = [
        ("compat", is_v2.then_some(Value::name("0.10"))),
        ("cluster_size", (cluster_bits != 16).then_some(Value::Number(1 << cluster_bits))),
        ("refcount_bits", (order != 4 && !is_v2).then_some(Value::Number(1 << order))),
        ("compression_type", (!header[5].is_multiple_of(2) && !is_v2).then_some(Value::name("zstd"))),
        ("preallocation", (has(1) && backing == Backing::None).then_some(Value::name("metadata"))),
        ("lazy_refcounts", (has(4) && !is_v2).then_some(Value::Switch(true))),
        ("l2-cache-slices", count(cache_entries(number(&header[20..22])))),
        ("l2-cache-entry-size", count(slice)),
        ("refcount-cache-slices", count(cache_entries(number(&header[22..24])))),
    ];
    let mut options = OptionValues::default();
    for (name, value) in all {
        options.set(name, value);
    }
    options
}

fn cluster_bits(byte: u8) -> u8 {
    match byte {
        legal @ 9..=21 => legal,
        raw => CLUSTER_BITS[usize::from(raw) % CLUSTER_BITS.len()],
    }
}

fn cache_entries(raw: u64) -> u64 {
    match u16::try_from(raw) {
        Ok(legal) if legal <= CACHE_ENTRIES_MAX => raw,
        _ => CACHE_ENTRIES[(raw % 8) as usize].into(),
    }
}

/// 0 and powers of two from 512 to the cluster size stay; others choose among these.
fn slice_bytes(raw: u64, cluster_bits: u8) -> u64 {
    let legal = raw == 0 || (raw.is_power_of_two() && (512..=1 << cluster_bits).contains(&raw));
    match raw % (u64::from(cluster_bits) - 7) {
        _ if legal => raw,
        0 => 0,
        choice => 256 << choice,
    }
}
