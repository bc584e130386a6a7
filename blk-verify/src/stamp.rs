//! What the verifier writes: data that tells who wrote it and where.
//!
//! ```text
//! each aligned 8 bytes of a disk, little-endian:  (request number, 24 bits | address / 8, 40 bits)  xor  a constant
//! ```
//!
//! So wrong data in a read names the request that it comes from and the place that it was meant for. The
//! constant keeps single bytes from being zero by habit, so that a lost byte shows.

const MASK: u64 = 0xa5c3_96e1_5a3c_69d2;
const ADDRESS_BITS: u32 = 40;
const ADDRESS_MASK: u64 = (1 << ADDRESS_BITS) - 1;

/// Request numbers are below this; a longer run starts again at 1.
pub const NUMBERS_END: u32 = 0xff_ff00;
/// Requests that are made of a disk after a crash or a fault have numbers from here on, far from those
/// before.
pub const FOLLOW_UPS: std::ops::Range<u32> = 0x80_0000..0x80_1000;
/// Initial content of layer `n` has this number plus `n`.
const INITIAL: u32 = 0xff_ff00;

/// Who wrote a word, and for which address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Who.
    pub writer: Writer,
    /// The address that it was written for, in bytes, modulo 2^43.
    pub address: u64,
}

/// Who wrote a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Writer {
    /// The request of that number (modulo [`NUMBERS_END`]).
    Request(u32),
    /// It was there before the first request, in the layer of that number (1 is directly below the disk).
    Initial(u8),
}

/// The stamp number of the `count`-th request of a run, counted from 1.
#[inline]
pub fn number_of(count: u64) -> u32 {
    ((count - 1) % u64::from(NUMBERS_END - 1)) as u32 + 1
}

#[inline]
fn word(number: u32, address: u64) -> u64 {
    ((u64::from(number) << ADDRESS_BITS) | ((address >> 3) & ADDRESS_MASK)) ^ MASK
}

/// Fills `buf`, which is for disk address `address` (bytes), with the stamps of request `number`.
#[inline]
pub fn fill(buf: &mut [u8], address: u64, number: u32) {
    let head = buf.len().min((address.wrapping_neg() % 8) as usize);
    let (first, rest) = buf.split_at_mut(head);
    if !first.is_empty() {
        let within = (address % 8) as usize;
        first.copy_from_slice(&word(number, address).to_le_bytes()[within..within + first.len()]);
    }
    let mut at = address + head as u64;
    let (words, last) = rest.as_chunks_mut::<8>();
    for chunk in words {
        *chunk = word(number, at).to_le_bytes();
        at += 8;
    }
    let length = last.len();
    last.copy_from_slice(&word(number, at).to_le_bytes()[..length]);
}

/// Whether `found`, which lies at disk address `address` (bytes), holds the stamps of request `number`.
pub fn matches(found: &[u8], address: u64, number: u32) -> bool {
    let head = found.len().min((address.wrapping_neg() % 8) as usize);
    let (first, rest) = found.split_at(head);
    let (words, last) = rest.as_chunks::<8>();
    let within = (address % 8) as usize;
    let start = address + head as u64;
    let end = start + 8 * words.len() as u64;
    let is_word =
        |(at, found): (usize, &[u8; 8])| *found == word(number, start + 8 * at as u64).to_le_bytes();
    (first.is_empty() || *first == word(number, address).to_le_bytes()[within..within + first.len()])
        && words.iter().enumerate().all(is_word)
        && *last == word(number, end).to_le_bytes()[..last.len()]
}

/// Fills `buf` with the stamps of initial content of layer `layer`, at most 255.
pub fn fill_initial(buf: &mut [u8], address: u64, layer: u8) {
    fill(buf, address, INITIAL + u32::from(layer));
}

/// Reads a stamp from eight bytes that lie at a disk address which is a multiple of 8; `address` is that
/// address, and makes the origin's address exact as far as the stamp can tell. `None` for bytes that are no
/// plausible stamp on a disk of `size` bytes.
pub fn decode(bytes: [u8; 8], size: u64) -> Option<Origin> {
    let plain = u64::from_le_bytes(bytes) ^ MASK;
    let number = (plain >> ADDRESS_BITS) as u32;
    let address = (plain & ADDRESS_MASK) << 3;
    if number == 0 || address >= size.next_multiple_of(8) {
        return None;
    }
    let writer = match number.checked_sub(INITIAL) {
        None => Writer::Request(number),
        Some(layer) => Writer::Initial(layer as u8),
    };
    Some(Origin { writer, address })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_tell_request_and_address_wherever_they_start() {
        let mut whole = vec![0; 4096];
        fill(&mut whole, 8192, 17);
        for (start, length) in [(0, 4096), (3, 2), (5, 100), (8, 8), (1, 4000), (4095, 1)] {
            let mut part = vec![0; length];
            fill(&mut part, 8192 + start as u64, 17);
            assert_eq!(part, whole[start..start + length], "{start} {length}");
            assert!(matches(&part, 8192 + start as u64, 17));
            // A part of a word need not have the bytes that tell the number.
            assert!(length < 8 || !matches(&part, 8192 + start as u64, 18));
            for at in [0, length / 2, length - 1] {
                part[at] ^= 1;
                assert!(!matches(&part, 8192 + start as u64, 17), "{start} {length} {at}");
                part[at] ^= 1;
            }
        }
        let origin = decode(whole[24..32].try_into().unwrap(), 1 << 20);
        assert_eq!(origin, Some(Origin { writer: Writer::Request(17), address: 8192 + 24 }));
        assert!(!whole.chunks(8).any(|word| word.starts_with(&[0, 0])), "hardly a byte is zero");
    }

    #[test]
    fn initial_content_names_its_layer_and_garbage_nobody() {
        let mut bytes = [0; 8];
        fill_initial(&mut bytes, 512, 2);
        assert_eq!(decode(bytes, 4096), Some(Origin { writer: Writer::Initial(2), address: 512 }));
        assert_eq!(decode([0; 8], 1 << 20), None);
        assert_eq!(decode([0xff; 8], 1 << 20), None);
    }

    #[test]
    fn numbers_wrap_before_they_reach_those_of_initial_content() {
        assert_eq!(number_of(1), 1);
        assert_eq!(number_of(u64::from(NUMBERS_END - 1)), NUMBERS_END - 1);
        assert_eq!(number_of(u64::from(NUMBERS_END)), 1);
    }
}
