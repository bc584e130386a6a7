//! The bytes form: what a fuzzer mutates. Every byte string is a scenario, and decoding is a pure function of the bytes.
//!
//! ```text
//!  0  MAGIC: 0xB1, high nibble a mark, low nibble the version of this form
//!  1  version of the image format        8..14  size of the disk            24..28  bytes of an L2 slice
//!  2  cluster bits                      14..20  size of the backing file   28..32  control seed
//!  3  refcount order                    20..22  L2 cache, entries
//!  4  backing: 0 none, 1 raw,           22..24  refcount cache, entries
//!     2 format, 3 chain
//!  5  compression: 0 zlib, 1 zstd       then up to 256 records of 16 bytes:
//!  6  bit 0 preallocate, bit 1 discard,   0  opcode in the low nibble       3  MODE: 0xEE takes the numbers as they are
//!     bit 2 lazy refcounts,               1  flags                          4..10  offset, or the new size
//!     bit 3 atoms of 4096 bytes
//!  7  lanes; 9 and more: 0                2  byte to write                 10..16  length
//! ```
//! All numbers are little-endian, all units bytes. What is missing of the header has the default's values; what is missing of the
//! last record is zero. Opcodes: 1 read, 2 write, 3 compressed write, 4 write zeroes, 5 discard, 6 flush, 7 map, 8 truncate,
//! 9 reopen, 10 check, 11 kill, 12 check and repair leaks, 13 check and repair all; all others are ignored, so that a later opcode cannot change what an old input does to the others.
//! Flags: bit 0 FUA, bit 1 unmap, bit 2 no fallback, bit 3 the byte is written rather than stamps; others are ignored.
//! Where there are two lanes or more, the high nibbles of opcode and flags are the low and high half of the request's turn
//! ([`super::Turn`]).
//! An unknown first byte is read as version 1, the only one: a mutated mark costs nothing.
//!
//! Values that are illegal, and ranges that do not lie in the disk, are brought there ([`Scenario::decode`]); a request that
//! is meant to be refused says so with MODE. Reserved bytes are ignored and written as zero, so that they can get a meaning whose zero is what was meant before.

use super::bounds::{
    CACHE_ENTRIES_MAX, DATA_BYTES_MAX, DISK_BYTES_MAX, LANES_MAX, OFFSET_BYTES_END, REQUESTS_MAX,
};
use super::reach::{self, Frame};
use super::{Backing, Compression, Config, Fill, Repair, Request, Scenario, Turn};

/// First byte of the bytes form. It is not valid UTF-8, so no text begins with it.
pub const MAGIC: u8 = 0xB1;

/// Bytes before the first record.
pub const HEADER_BYTES: usize = 32;

/// Bytes of a record, which is one request.
pub const RECORD_BYTES: usize = 16;

/// In a record's fourth byte: offset and length are meant as they are, wherever they lie.
const MODE_EXACT: u8 = 0xEE;

const FLAG_FUA: u8 = 1;
const FLAG_UNMAP: u8 = 2;
const FLAG_NO_FALLBACK: u8 = 4;
const FLAG_BYTE: u8 = 8;

/// What an illegal byte for the cluster bits stands for: small clusters make many tables out of few bytes.
const CLUSTER_BITS: [u8; 16] = [9, 9, 9, 9, 10, 10, 12, 12, 12, 12, 14, 14, 16, 16, 11, 21];

/// What an illegal byte for the refcount order stands for.
const REFCOUNT_ORDERS: [u8; 8] = [4, 4, 0, 1, 2, 3, 5, 6];

/// What too large a cache stands for.
const CACHE_ENTRIES: [u16; 8] = [0, 0, 1, 1, 2, 2, 3, 8];

impl Scenario {
    /// The scenario that `bytes` stand for. Any bytes do; the result is legal and bounded ([`super::bounds`]).
    pub fn decode(bytes: &[u8]) -> Self {
        let (header, records) = bytes.split_at(bytes.len().min(HEADER_BYTES));
        let config = decode_config(header);
        let mut frame = Frame { size: config.size_bytes, cluster: config.cluster_bytes() };
        let count = records.len().div_ceil(RECORD_BYTES).min(REQUESTS_MAX);
        let mut requests = Vec::with_capacity(count);
        let mut schedule = Vec::with_capacity(count);
        let mut data_bytes_left = DATA_BYTES_MAX;
        for record in records.chunks(RECORD_BYTES).take(count) {
            let mut padded = [0; RECORD_BYTES];
            padded[..record.len()].copy_from_slice(record);
            let Some(request) = decode_record(&padded, frame) else { continue };
            let Some(left) = data_bytes_left.checked_sub(request.data_bytes()) else { continue };
            data_bytes_left = left;
            if let Request::Resize { size } = request {
                frame.size = size;
            }
            requests.push(request);
            schedule.push(decode_turn(&padded, &config));
        }
        let mut scenario = Self { config, requests, schedule };
        scenario.trim_schedule();
        scenario
    }

    /// The bytes that stand for this scenario. [`Scenario::fits_bytes`] tells whether they say all of it: what exceeds
    /// the form's bounds is cut to them.
    pub fn encode(&self) -> Vec<u8> {
        let count = self.requests.len().min(REQUESTS_MAX);
        let mut bytes = Vec::with_capacity(HEADER_BYTES + count * RECORD_BYTES);
        bytes.extend_from_slice(&encode_config(&self.config));
        // Where the records will be held against, so that it is known which of them have to be marked.
        let config = decode_config(&bytes);
        let mut frame = Frame { size: config.size_bytes, cluster: config.cluster_bytes() };
        for (request, turn) in self.turns().take(count) {
            let mut record = encode_record(&request, frame);
            if config.lanes >= 2 {
                record[0] |= turn.byte() << 4;
                record[1] |= turn.byte() & 0xf0;
            }
            bytes.extend_from_slice(&record);
            if let Request::Resize { size } = request {
                frame.size = size.min(DISK_BYTES_MAX);
            }
        }
        bytes
    }

    /// Whether the bytes form says all of this scenario: `decode(encode(s)) == s`.
    pub fn fits_bytes(&self) -> bool {
        Self::decode(&self.encode()) == *self
    }
}

impl<'a> arbitrary::Arbitrary<'a> for Scenario {
    /// Decodes all the bytes that are left. It is ours, so inputs keep their meaning when the types are edited.
    fn arbitrary(u: &mut arbitrary::Unstructured<'a>) -> arbitrary::Result<Self> {
        let bytes = u.bytes(u.len())?;
        Ok(Self::decode(bytes))
    }

    fn arbitrary_take_rest(u: arbitrary::Unstructured<'a>) -> arbitrary::Result<Self> {
        Ok(Self::decode(u.take_rest()))
    }
}

fn decode_config(header: &[u8]) -> Config {
    let mut bytes = encode_config(&Config::default());
    bytes[..header.len()].copy_from_slice(header);
    let cluster_bits = match bytes[2] {
        legal @ 9..=21 => legal,
        raw => CLUSTER_BITS[usize::from(raw) % CLUSTER_BITS.len()],
    };
    let cluster = 1 << cluster_bits;
    let size_bytes = reach::disk_size(number(&bytes[8..14]), cluster);
    let mut config = Config {
        size_bytes,
        version: if bytes[1] == 2 || (bytes[1] > 3 && bytes[1].is_multiple_of(4)) { 2 } else { 3 },
        cluster_bits,
        refcount_order: match bytes[3] {
            legal @ 0..=6 => legal,
            raw => REFCOUNT_ORDERS[usize::from(raw) % REFCOUNT_ORDERS.len()],
        },
        backing: match bytes[4] % 8 {
            1 => Backing::Raw,
            2 => Backing::Format,
            3 => Backing::Chain,
            _ => Backing::None,
        },
        backing_bytes: reach::backing_size(number(&bytes[14..20]), size_bytes, cluster),
        compression: if bytes[5].is_multiple_of(2) { Compression::Zlib } else { Compression::Zstd },
        l2_cache_entries: cache_entries(number(&bytes[20..22])),
        l2_slice_bytes: slice_bytes(number(&bytes[24..28]), cluster_bits),
        refcount_cache_entries: cache_entries(number(&bytes[22..24])),
        preallocate: bytes[6] & 1 != 0,
        discard: bytes[6] & 2 != 0,
        lazy_refcounts: bytes[6] & 4 != 0,
        atom_bytes: if bytes[6] & 8 == 0 { 512 } else { 4096 },
        control: number(&bytes[28..32]) as u32,
        lanes: if bytes[7] <= LANES_MAX { bytes[7] } else { 0 },
    };
    config.normalize();
    config
}

fn encode_config(config: &Config) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[0] = MAGIC;
    bytes[1] = config.version;
    bytes[2] = config.cluster_bits;
    bytes[3] = config.refcount_order;
    bytes[4] = match config.backing {
        Backing::None => 0,
        Backing::Raw => 1,
        Backing::Format => 2,
        Backing::Chain => 3,
    };
    bytes[5] = u8::from(config.compression == Compression::Zstd);
    let switches = [config.preallocate, config.discard, config.lazy_refcounts, config.atom_bytes == 4096];
    bytes[6] = (0..).zip(switches).map(|(bit, is_on)| u8::from(is_on) << bit).sum();
    bytes[7] = config.lanes.min(LANES_MAX);
    bytes[8..14].copy_from_slice(&bytes_of(config.size_bytes.min(DISK_BYTES_MAX)));
    bytes[14..20].copy_from_slice(&bytes_of(config.backing_bytes.min(DISK_BYTES_MAX)));
    bytes[20..22].copy_from_slice(&config.l2_cache_entries.min(CACHE_ENTRIES_MAX).to_le_bytes());
    bytes[22..24].copy_from_slice(&config.refcount_cache_entries.min(CACHE_ENTRIES_MAX).to_le_bytes());
    bytes[24..28].copy_from_slice(&config.l2_slice_bytes.to_le_bytes());
    bytes[28..32].copy_from_slice(&config.control.to_le_bytes());
    bytes
}

fn cache_entries(raw: u64) -> u16 {
    match u16::try_from(raw) {
        Ok(legal) if legal <= CACHE_ENTRIES_MAX => legal,
        _ => CACHE_ENTRIES[(raw % 8) as usize],
    }
}

/// 0 and powers of two from 512 to the cluster size stay; others choose among these.
fn slice_bytes(raw: u64, cluster_bits: u8) -> u32 {
    let legal = raw == 0 || (raw.is_power_of_two() && (512..=1 << cluster_bits).contains(&raw));
    match raw % (u64::from(cluster_bits) - 7) {
        _ if legal => raw as u32,
        0 => 0,
        choice => 256 << choice,
    }
}

fn decode_record(record: &[u8; RECORD_BYTES], frame: Frame) -> Option<Request> {
    let [opcode, flags, byte, mode, ..] = *record;
    let (first, second) = (number(&record[4..10]), number(&record[10..16]));
    let fill = if flags & FLAG_BYTE == 0 { Fill::Stamp } else { Fill::Byte(byte) };
    let fua = flags & FLAG_FUA != 0;
    let (offset, length) = (0, 0);
    let request = match opcode & 0x0f {
        1 => Request::Read { offset, length },
        2 => Request::Write { offset, length, fill, fua },
        3 => Request::WriteCompressed { offset, length, fill },
        4 => {
            let (unmap, no_fallback) = (flags & FLAG_UNMAP != 0, flags & FLAG_NO_FALLBACK != 0);
            Request::WriteZeroes { offset, length, unmap, no_fallback, fua }
        }
        5 => Request::Discard { offset, length },
        6 => Request::Flush,
        7 => Request::Status { offset, length },
        8 => Request::Resize { size: frame.resize(first) },
        9 => Request::Reopen { kill: false },
        10 => Request::Check { repair: Repair::None },
        11 => Request::Reopen { kill: true },
        12 => Request::Check { repair: Repair::Leaks },
        13 => Request::Check { repair: Repair::All },
        _ => return None,
    };
    let range = if mode == MODE_EXACT { (first, second) } else { frame.range(request.kind(), first, second) };
    Some(request.with_range(range.0, range.1))
}

/// When the request of a record gives way; inputs from before there were lanes say nothing about it.
fn decode_turn(record: &[u8; RECORD_BYTES], config: &Config) -> Turn {
    if config.lanes < 2 { Turn::default() } else { Turn::from_byte(record[0] >> 4 | record[1] & 0xf0) }
}

fn encode_record(request: &Request, frame: Frame) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    record[0] = opcode(request);
    let (fill, fua, unmap, no_fallback) = match *request {
        Request::Write { fill, fua, .. } => (fill, fua, false, false),
        Request::WriteCompressed { fill, .. } => (fill, false, false, false),
        Request::WriteZeroes { unmap, no_fallback, fua, .. } => (Fill::Stamp, fua, unmap, no_fallback),
        _ => (Fill::Stamp, false, false, false),
    };
    for (set, flag) in [(fua, FLAG_FUA), (unmap, FLAG_UNMAP), (no_fallback, FLAG_NO_FALLBACK)] {
        record[1] |= if set { flag } else { 0 };
    }
    if let Fill::Byte(byte) = fill {
        record[1] |= FLAG_BYTE;
        record[2] = byte;
    }
    if let Request::Resize { size } = *request {
        record[4..10].copy_from_slice(&bytes_of(size.min(DISK_BYTES_MAX)));
    }
    if let Some((offset, length)) = request.range() {
        if frame.range(request.kind(), offset, length) != (offset, length) {
            record[3] = MODE_EXACT;
        }
        record[4..10].copy_from_slice(&bytes_of(offset));
        record[10..16].copy_from_slice(&bytes_of(length));
    }
    record
}

fn opcode(request: &Request) -> u8 {
    match request {
        Request::Read { .. } => 1,
        Request::Write { .. } => 2,
        Request::WriteCompressed { .. } => 3,
        Request::WriteZeroes { .. } => 4,
        Request::Discard { .. } => 5,
        Request::Flush => 6,
        Request::Status { .. } => 7,
        Request::Resize { .. } => 8,
        Request::Reopen { kill: false } => 9,
        Request::Check { repair: Repair::None } => 10,
        Request::Reopen { kill: true } => 11,
        Request::Check { repair: Repair::Leaks } => 12,
        Request::Check { repair: Repair::All } => 13,
    }
}

/// A little-endian number of up to 8 bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// The low 48 bits of a number; larger ones become the largest.
fn bytes_of(number: u64) -> [u8; 6] {
    let mut low = [0; 6];
    low.copy_from_slice(&number.min(OFFSET_BYTES_END - 1).to_le_bytes()[..6]);
    low
}
