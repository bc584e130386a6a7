//! Modes over a few sectors at a time: a vector for each, and as many blocks at once as the mode allows.

use super::blocks::{Block, Blocks};
use super::{BATCH, BLOCKS};

fn xor(one: Block, other: Block) -> Block {
    (u128::from_ne_bytes(one) ^ u128::from_ne_bytes(other)).to_ne_bytes()
}

fn xor_all(blocks: &mut [Block], others: &[Block]) {
    blocks.iter_mut().zip(others).for_each(|(block, other)| *block = xor(*block, *other));
}

/// XTS, IEEE 1619: every block is xored with its tweak before and behind the cipher. The first tweak of a
/// sector is its vector, encrypted with the second key; each further one is the one before it times x in
/// GF(2^128).
pub(super) fn xts(batch: &mut [Block], vectors: &[Block], cipher: impl Fn(&mut [Block])) {
    let mut tweaks = [[0; 16]; BATCH * BLOCKS];
    for (vector, tweaks) in vectors.iter().zip(tweaks.chunks_mut(BLOCKS)) {
        let mut tweak = u128::from_le_bytes(*vector);
        for place in tweaks {
            *place = tweak.to_le_bytes();
            // All ones where a bit leaves at the top: it comes back as x^7 + x^2 + x + 1.
            let carry = tweak.cast_signed() >> 127;
            tweak = (tweak << 1) ^ (carry.cast_unsigned() & 0x87);
        }
    }
    let tweaks = &tweaks[..batch.len()];
    xor_all(batch, tweaks);
    cipher(batch);
    xor_all(batch, tweaks);
}

/// CBC: a block depends on the one before it, so blocks of several sectors go together.
pub(super) fn cbc_encrypt(cipher: &dyn Blocks, batch: &mut [Block], vectors: &mut [Block]) {
    for at in 0..BLOCKS {
        for (sector, last) in batch.chunks(BLOCKS).zip(vectors.iter_mut()) {
            *last = xor(*last, sector[at]);
        }
        cipher.encrypt(vectors);
        for (sector, last) in batch.chunks_mut(BLOCKS).zip(vectors.iter()) {
            sector[at] = *last;
        }
    }
}

/// CBC: all that a block depends on is there already.
pub(super) fn cbc_decrypt(cipher: &dyn Blocks, batch: &mut [Block], vectors: &[Block]) {
    let mut before = [[0; 16]; BATCH * BLOCKS];
    let before = &mut before[..batch.len()];
    let sectors = batch.chunks(BLOCKS).zip(before.chunks_mut(BLOCKS)).zip(vectors);
    for ((sector, before), vector) in sectors {
        before[0] = *vector;
        before[1..].copy_from_slice(&sector[..BLOCKS - 1]);
    }
    cipher.decrypt(batch);
    xor_all(batch, before);
}

/// CTR: the vector is a number whose last byte counts least; each block has the next. Both ways are the same.
pub(super) fn ctr(cipher: &dyn Blocks, batch: &mut [Block], vectors: &[Block]) {
    let mut stream = [[0; 16]; BATCH * BLOCKS];
    let stream = &mut stream[..batch.len()];
    for (vector, places) in vectors.iter().zip(stream.chunks_mut(BLOCKS)) {
        let first = u128::from_be_bytes(*vector);
        for (number, place) in (0_u128..).zip(places) {
            *place = first.wrapping_add(number).to_be_bytes();
        }
    }
    cipher.encrypt(stream);
    xor_all(batch, stream);
}
