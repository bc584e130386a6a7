//! The bytes form: what a fuzzer mutates. Every byte string is a scenario, and decoding is a pure function of
//! the bytes and the space of the driver under test.
//!
//! ```text
//!  0  MAGIC: 0xB2, high nibble a mark, low nibble the version of this form
//!  1  bit 0 no discard, bit 1 atoms of 4096 bytes     8..14  size of the disk
//!  2  backing: 0 none, 1 raw, 2 format, 3 chain      14..20  size of the backing file
//!  3  lanes; 9 and more: 0                           20      MODE of the size
//!  4..8  control seed                                21      what the host demands: 1 to 4 for 512 to 4096
//!                                                    22      probed flush,  23  options that follow
//!
//! then the options, 4 bytes each, in the order of the space: 0 the usual value, else the place of a value from 1
//! then up to 256 records of 17 bytes:
//!  0  opcode in the low nibble       3  MODE: 0xEE takes offset and length as they are
//!  1  flags                          4  ON: the disk that the request goes to; reserved, all others are brought to 0
//!  2  byte to write                  5..11  offset, or the new size      11..17  length
//! ```
//! All numbers are little-endian, all units bytes. What is missing of the header has the default's values;
//! what is missing of the last record is zero. The value of an option has the place that its kind gives it:
//! `off`, `on`; the words of a choice in their order; powers of two from the smallest; numbers from 0. A
//! space only ever adds options at the end, or says where each has its place, and so old bytes keep their
//! meaning: options beyond those that
//! are there have their usual values, and options beyond those that the space has are ignored. Opcodes: 1
//! read, 2 write, 3 compressed write, 4 write zeroes, 5 discard, 6 flush, 7 map, 8 truncate, 9 reopen, 10
//! check, 11 kill, 12 check and repair leaks, 13 check and repair all, 14 snapshot if there can be any (4
//! times the slot, plus 0 create, 1 apply, 2 delete, 3 read), 15 with a first number of 1 dirty bitmap if
//! there can be any (8 times the slot, plus 0 add, 1 remove, 2 clear, 3 enable, 4 disable, 5 merge from the
//! slot that the low five bits of the second number say, 6 read), 15 with any other first number amend (its
//! byte is the place of the option in the space's list); all others are ignored, so that a later opcode
//! cannot change what an old input does to the others. Flags: bit 0 FUA, bit 1 unmap, bit 2 no fallback, bit
//! 3 the byte is written rather than stamps; others are ignored. Where there are two lanes or more, the high
//! nibbles of opcode and flags are the low and high half of the request's turn ([`super::Turn`]).
//!
//! MODE 0xEE of the header's size, or of a resize, takes a size from 1 GiB on as it is, up to 64 TiB: of such
//! a disk only what requests have touched is compared, and what would take long is ignored
//! ([`super::bounds`]).
//!
//! Values that are illegal, and ranges that do not lie in the disk, are brought there ([`Scenario::decode`]);
//! a request that is meant to be refused says so with MODE. Reserved bytes are ignored and written as zero,
//! so that they can get a meaning whose zero is what was meant before.
//!
//! Any other first byte is version 1 for drivers that had it, whose header knew the options of one format;
//! `v1` says how it is read. For others the first byte does not matter.

mod v1;

use super::bounds::{
    BITMAP_SLOT_MAX, DATA_BYTES_MAX, DISK_BYTES_MAX, LANES_MAX, OFFSET_BYTES_END, PROBE_FLUSH_MAX,
    REQUESTS_MAX, SLOT_MAX,
};
use super::reach::{self, Frame};
use super::{Backing, Config, Fill, OnBitmap, OnSnapshot, Repair, Request, Scenario, Turn};
use crate::space::{PLAIN, Space};

/// First byte of the bytes form. It is not valid UTF-8, so no text begins with it.
pub const MAGIC: u8 = 0xB2;

/// Bytes of a record, which is one request.
pub const RECORD_BYTES: usize = 17;

/// Bytes of the header before the options.
const COMMON_BYTES: usize = 24;

/// Bytes of an option.
const OPTION_BYTES: usize = 4;

/// In a record's fourth byte: offset and length are meant as they are, wherever they lie. There, and in the
/// header, it also marks the size of a far disk.
const MODE_EXACT: u8 = 0xEE;

/// In a record of opcode 15, the first number of one that is about a dirty bitmap.
const FIRST_BITMAP: u64 = 1;

const FLAG_FUA: u8 = 1;
const FLAG_UNMAP: u8 = 2;
const FLAG_NO_FALLBACK: u8 = 4;
const FLAG_BYTE: u8 = 8;

/// Where the header says how its size is meant.
const SIZE_MODE: usize = 20;

/// Where the header says what the host demands, and which flush is probed.
const HOST_ALIGNMENT: usize = 21;
const PROBE_FLUSH: usize = 22;

const SWITCH_NO_DISCARD: u8 = 1;
const SWITCH_LARGE_ATOMS: u8 = 2;

/// Bytes before the first record of a scenario for drivers of `space`.
pub fn header_bytes(space: &Space) -> usize {
    COMMON_BYTES + OPTION_BYTES * places(space)
}

/// How many options the header of a space has room for.
fn places(space: &Space) -> usize {
    space.places().map(|(place, _)| place + 1).max().unwrap_or(0)
}

/// A record without the byte that names the disk: what both versions have in common.
type Record = [u8; RECORD_BYTES - 1];

impl Scenario {
    /// The scenario that `bytes` stand for, for drivers of `space`. Any bytes do; the result is legal and
    /// bounded ([`super::bounds`]).
    pub fn decode(space: &Space, bytes: &[u8]) -> Self {
        if let Some(old) = space.old_header.filter(|_| bytes.first() != Some(&MAGIC)) {
            return v1::decode(space, old, bytes);
        }
        let count = bytes.get(COMMON_BYTES - 1).copied().map_or(0, usize::from);
        let (header, records) = bytes.split_at(bytes.len().min(COMMON_BYTES + OPTION_BYTES * count));
        let config = decode_config(space, header);
        let frame = frame_of(space, &config);
        let records = records.chunks(RECORD_BYTES).map(|record| {
            let mut padded = [0; RECORD_BYTES];
            padded[..record.len()].copy_from_slice(record);
            without_disk(&padded)
        });
        decode_records(config, frame, records)
    }

    /// The bytes that stand for this scenario. [`Scenario::fits_bytes`] tells whether they say all of it:
    /// what exceeds the form's bounds is cut to them, and options that the space does not have are left out.
    pub fn encode(&self, space: &Space) -> Vec<u8> {
        let count = self.requests.len().min(REQUESTS_MAX);
        let mut bytes = Vec::with_capacity(header_bytes(space) + count * RECORD_BYTES);
        encode_config(space, &self.config, &mut bytes);
        // Where the records will be held against, so that it is known which of them have to be marked.
        let config = decode_config(space, &bytes);
        let mut frame = frame_of(space, &config);
        for (request, turn) in self.turns().take(count) {
            let mut record = encode_record(&request, frame);
            if config.lanes >= 2 {
                record[0] |= turn.byte() << 4;
                record[1] |= turn.byte() & 0xf0;
            }
            bytes.extend_from_slice(&record[..4]);
            bytes.push(0);
            bytes.extend_from_slice(&record[4..]);
            if let Request::Resize { size } = request {
                frame.resized(legal_size(size));
            }
        }
        bytes
    }

    /// Whether the bytes form says all of this scenario: `decode(encode(s)) == s`, where its configuration is
    /// legal.
    pub fn fits_bytes(&self, space: &Space) -> bool {
        let legal = Self { config: space.legal(&self.config), ..self.clone() };
        space.check(&self.config).is_ok() && Self::decode(space, &legal.encode(space)) == legal
    }
}

impl<'a> arbitrary::Arbitrary<'a> for Scenario {
    /// Decodes all the bytes that are left, for a driver without options. It is ours, so inputs keep their
    /// meaning when the types are edited.
    fn arbitrary(u: &mut arbitrary::Unstructured<'a>) -> arbitrary::Result<Self> {
        let bytes = u.bytes(u.len())?;
        Ok(Self::decode(&PLAIN, bytes))
    }

    fn arbitrary_take_rest(u: arbitrary::Unstructured<'a>) -> arbitrary::Result<Self> {
        Ok(Self::decode(&PLAIN, u.take_rest()))
    }
}

/// The requests of records, on a disk of `config`, whose geometry is in `frame`.
fn decode_records(
    config: Config,
    mut frame: Frame,
    records: impl ExactSizeIterator<Item = Record>,
) -> Scenario {
    let count = records.len().min(REQUESTS_MAX);
    let mut requests = Vec::with_capacity(count);
    let mut schedule = Vec::with_capacity(count);
    let mut data_bytes_left = DATA_BYTES_MAX;
    for record in records.take(count) {
        let Some(request) = decode_record(&record, frame) else { continue };
        if request.range().is_some_and(|(_, length)| frame.is_too_long(request.kind(), length)) {
            continue;
        }
        let Some(left) = data_bytes_left.checked_sub(request.data_bytes()) else { continue };
        data_bytes_left = left;
        if let Request::Resize { size } = request {
            frame.resized(size);
        }
        requests.push(request);
        schedule.push(decode_turn(&record, &config));
    }
    let mut scenario = Scenario { config, requests, schedule };
    scenario.trim_schedule();
    scenario
}

/// There is one disk only, so far.
fn without_disk(record: &[u8; RECORD_BYTES]) -> Record {
    let mut without = [0; RECORD_BYTES - 1];
    without[..4].copy_from_slice(&record[..4]);
    without[4..].copy_from_slice(&record[5..]);
    without
}

fn decode_config(space: &Space, header: &[u8]) -> Config {
    let mut common = [0; COMMON_BYTES];
    encode_common(&Config::default(), 0, &mut common);
    let given = header.len().min(COMMON_BYTES);
    common[..given].copy_from_slice(&header[..given]);
    let switches = common[1];
    let mut config = Config {
        backing: decode_backing(common[2]),
        discard: switches & SWITCH_NO_DISCARD == 0,
        atom_bytes: if switches & SWITCH_LARGE_ATOMS == 0 { 512 } else { 4096 },
        control: number(&common[4..8]) as u32,
        lanes: if common[3] <= LANES_MAX { common[3] } else { 0 },
        host_alignment: match common[HOST_ALIGNMENT] {
            code @ 1..=4 => 256 << code,
            _ => 1,
        },
        probe_flush: if common[PROBE_FLUSH] <= PROBE_FLUSH_MAX { common[PROBE_FLUSH] } else { 0 },
        ..Config::default()
    };
    for (place, knob) in space.places() {
        let Some(code) = header[given..].chunks(OPTION_BYTES).nth(place) else { continue };
        let value = knob.value_of(number(code) as u32).filter(|value| knob.usual.as_ref() != Some(value));
        config.options.set(knob.name, value);
    }
    space.legalize(&mut config);
    let geometry = space.geometry(&config);
    let (unit, reach) = (geometry.unit_bytes, geometry.table_reach_bytes);
    let raw = number(&common[8..14]);
    let far = reach::far_size(raw).filter(|_| common[SIZE_MODE] == MODE_EXACT && !geometry.is_dense);
    let size = far.unwrap_or_else(|| reach::disk_size(raw, unit, reach));
    config.size_bytes = geometry.align_down(size);
    config.backing_bytes = reach::backing_size(number(&common[14..20]), config.size_bytes, unit);
    space.legalize(&mut config);
    config
}

fn decode_backing(byte: u8) -> Backing {
    match byte % 8 {
        1 => Backing::Raw,
        2 => Backing::Format,
        3 => Backing::Chain,
        _ => Backing::None,
    }
}

fn encode_config(space: &Space, config: &Config, bytes: &mut Vec<u8>) {
    let mut common = [0; COMMON_BYTES];
    encode_common(config, places(space), &mut common);
    bytes.extend_from_slice(&common);
    bytes.resize(header_bytes(space), 0);
    for (place, knob) in space.places() {
        let code = knob.code(config.options.get(knob.name)).to_le_bytes();
        bytes[COMMON_BYTES + OPTION_BYTES * place..][..OPTION_BYTES].copy_from_slice(&code);
    }
}

fn encode_common(config: &Config, options: usize, bytes: &mut [u8; COMMON_BYTES]) {
    bytes[0] = MAGIC;
    bytes[1] = if config.discard { 0 } else { SWITCH_NO_DISCARD }
        | if config.atom_bytes == 4096 { SWITCH_LARGE_ATOMS } else { 0 };
    bytes[2] = match config.backing {
        Backing::None => 0,
        Backing::Raw => 1,
        Backing::Format => 2,
        Backing::Chain => 3,
    };
    bytes[3] = config.lanes.min(LANES_MAX);
    bytes[4..8].copy_from_slice(&config.control.to_le_bytes());
    bytes[8..14].copy_from_slice(&bytes_of(legal_size(config.size_bytes)));
    bytes[SIZE_MODE] = if reach::far_size(config.size_bytes).is_some() { MODE_EXACT } else { 0 };
    bytes[14..20].copy_from_slice(&bytes_of(config.backing_bytes.min(DISK_BYTES_MAX)));
    bytes[HOST_ALIGNMENT] = (config.host_alignment / 256).checked_ilog2().unwrap_or(0) as u8;
    bytes[PROBE_FLUSH] = config.probe_flush.min(PROBE_FLUSH_MAX);
    bytes[COMMON_BYTES - 1] = u8::try_from(options).expect("a format has fewer than 256 options");
}

fn decode_record(record: &Record, frame: Frame) -> Option<Request> {
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
        8 => Request::Resize { size: frame.resize(first, mode == MODE_EXACT) },
        9 => Request::Reopen { kill: false },
        10 => Request::Check { repair: Repair::None },
        11 => Request::Reopen { kill: true },
        12 => Request::Check { repair: Repair::Leaks },
        13 => Request::Check { repair: Repair::All },
        14 if frame.has_snapshots() => {
            Request::Snapshot { act: OnSnapshot::ALL[usize::from(byte & 3)], slot: byte >> 2 }
        }
        15 if first == FIRST_BITMAP => decode_bitmap(byte, second).filter(|_| frame.has_bitmaps())?,
        15 => Request::Amend { option: frame.amendments().get(usize::from(byte))?.option() },
        _ => return None,
    };
    let range = if mode == MODE_EXACT { (first, second) } else { frame.range(request.kind(), first, second) };
    Some(request.with_range(range.0, range.1))
}

fn decode_bitmap(byte: u8, second: u64) -> Option<Request> {
    let act = match *OnBitmap::ALL.get(usize::from(byte & 7))? {
        OnBitmap::Merge(_) => OnBitmap::Merge(second as u8 & BITMAP_SLOT_MAX),
        act => act,
    };
    Some(Request::Bitmap { act, slot: byte >> 3 })
}

/// When the request of a record gives way; inputs from before there were lanes say nothing about it.
fn decode_turn(record: &Record, config: &Config) -> Turn {
    if config.lanes < 2 { Turn::default() } else { Turn::from_byte(record[0] >> 4 | record[1] & 0xf0) }
}

fn encode_record(request: &Request, frame: Frame) -> Record {
    let mut record = [0; RECORD_BYTES - 1];
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
    if let Request::Snapshot { act, slot } = *request {
        let act = OnSnapshot::ALL.into_iter().position(|known| known == act).unwrap_or_default();
        record[2] = slot.min(SLOT_MAX) << 2 | act as u8;
    }
    if let Request::Amend { option } = *request {
        let place = frame.amendments().iter().position(|known| known.option() == option);
        // One that the space does not have is no request.
        record[2] = place.map_or(u8::MAX, |place| place as u8);
    }
    if let Request::Bitmap { act, slot } = *request {
        record[4] = FIRST_BITMAP as u8;
        record[2] = slot.min(BITMAP_SLOT_MAX) << 3 | act.index();
        if let OnBitmap::Merge(from) = act {
            record[10] = from.min(BITMAP_SLOT_MAX);
        }
    }
    if let Request::Resize { size } = *request {
        record[3] = if reach::far_size(size).is_some() { MODE_EXACT } else { 0 };
        record[4..10].copy_from_slice(&bytes_of(legal_size(size)));
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
        Request::Snapshot { .. } => 14,
        Request::Amend { .. } | Request::Bitmap { .. } => 15,
    }
}

/// The disk as it is made. What is over a backing file does not become far: a driver may have to hide all
/// that it gains. Nor does what holds zeroes as data.
fn frame_of(space: &Space, config: &Config) -> Frame {
    let geometry = space.geometry(config);
    let frame = Frame::of(&geometry, config.size_bytes);
    if config.backing == Backing::None && !geometry.is_dense { frame } else { frame.without_far() }
}

/// The size nearest to `size` that the form can say.
fn legal_size(size: u64) -> u64 {
    reach::far_size(size).unwrap_or(size.min(DISK_BYTES_MAX))
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
