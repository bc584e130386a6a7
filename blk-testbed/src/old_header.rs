//! How version 1 of the bytes form had the options of qcow2. It was the form of raw's scenarios too.
//!
//! ```text
//!  1  version of the image format         6  bit 0 preallocate, bit 2 lazy refcounts
//!  2  cluster bits                       20..22  L2 cache, entries
//!  3  refcount order                     22..24  refcount cache, entries
//!  5  compression: 0 zlib, 1 zstd        24..28  bytes of an L2 slice
//! ```
//! Golden tests pin what this reads: **it never changes.**

use blk_harness::scenario::{Backing, OptionValues, Value};
use blk_harness::space::{OLD_HEADER_BYTES, OldHeader};

type Header = [u8; OLD_HEADER_BYTES];

/// A disk of 1 MiB, version 3, clusters of 64 KiB, refcounts of 16 bits, with discards.
const USUAL: Header =
    [0xb1, 3, 16, 4, 0, 0, 2, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Cached tables that version 1 can ask for.
const CACHE_ENTRIES_MAX: u16 = 256;

/// What an illegal byte for the cluster bits stands for: small clusters make many tables out of few bytes.
const CLUSTER_BITS: [u8; 16] = [9, 9, 9, 9, 10, 10, 12, 12, 12, 12, 14, 14, 16, 16, 11, 21];

/// What an illegal byte for the refcount order stands for.
const REFCOUNT_ORDERS: [u8; 8] = [4, 4, 0, 1, 2, 3, 5, 6];

/// What too large a cache stands for.
const CACHE_ENTRIES: [u16; 8] = [0, 0, 1, 1, 2, 2, 3, 8];

/// The header of version 1.
pub(crate) static OLD_HEADER: OldHeader =
    OldHeader { usual: USUAL, unit_bytes: |header| 1 << cluster_bits(header[2]), options };

/// Version 2 of qcow2 has 16-bit refcounts and zlib alone, and no lazy refcounts; over a backing file nothing
/// is preallocated.
fn options(header: &Header, backing: Backing) -> OptionValues {
    let cluster_bits = cluster_bits(header[2]);
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

/// A number of little-endian bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
