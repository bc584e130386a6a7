//! The cipher of sectors: whole sectors of 512 bytes, encrypted and decrypted in place. Each sector's vector
//! comes from its number, so that sectors are independent, and many are worked on at once: a processor has
//! several blocks in flight.

mod blocks;
mod modes;

use std::fmt;

use blk_core::Result;

use crate::algorithm::{Algorithms, IvGenerator, Mode};
pub(crate) use blocks::block_cipher;
use blocks::{Block, Blocks};

/// Bytes of a sector.
pub const SECTOR_BYTES: usize = 512;

/// Sectors that are worked on at once.
const BATCH: usize = 8;

/// A cipher with its key, for whole sectors. The key is overwritten when it is dropped.
pub struct SectorCipher {
    algorithms: Algorithms,
    data: Box<dyn Blocks>,
    /// Of XTS: what encrypts the tweak.
    tweak: Option<Box<dyn Blocks>>,
    /// Of ESSIV: what encrypts the sector's number.
    essiv: Option<Box<dyn Blocks>>,
}

/// Nothing of the key.
impl fmt::Debug for SectorCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SectorCipher").field("algorithms", &self.algorithms).finish_non_exhaustive()
    }
}

impl SectorCipher {
    /// The cipher with the key of a volume.
    ///
    /// # Errors
    /// [`blk_core::Error::Unsupported`] for a key that is not as long as the algorithms say, and for
    /// algorithms that cannot be together.
    pub fn new(algorithms: Algorithms, key: &[u8]) -> Result<Self> {
        algorithms.check().map_err(blk_core::Error::unsupported)?;
        if key.len() != algorithms.volume_key_bytes() {
            let (cipher, mode) = (algorithms.cipher, algorithms.mode.name());
            let what = format!("a key of {} bytes for {cipher} in mode {mode}", key.len());
            return Err(blk_core::Error::unsupported(what));
        }
        let family = algorithms.cipher.family;
        let (first, second) = key.split_at(algorithms.cipher.key_bytes);
        let tweak = if second.is_empty() { None } else { Some(block_cipher(family, second)?) };
        let essiv = match (algorithms.iv, algorithms.iv_hash) {
            (IvGenerator::Essiv, Some(hash)) => Some(block_cipher(family, hash.digest(key).expose())?),
            _ => None,
        };
        Ok(Self { algorithms, data: block_cipher(family, first)?, tweak, essiv })
    }

    /// What it encrypts with.
    pub const fn algorithms(&self) -> &Algorithms {
        &self.algorithms
    }

    /// Encrypts whole sectors in place; the first has the number `sector`.
    ///
    /// # Panics
    /// If `data` is no whole sectors.
    pub fn encrypt(&self, sector: u64, data: &mut [u8]) {
        self.each_batch(sector, data, |batch, vectors| match self.algorithms.mode {
            Mode::Ecb => self.data.encrypt(batch),
            Mode::Cbc => modes::cbc_encrypt(&*self.data, batch, vectors),
            Mode::Xts => modes::xts(batch, vectors, |blocks| self.data.encrypt(blocks)),
            Mode::Ctr => modes::ctr(&*self.data, batch, vectors),
        });
    }

    /// Decrypts whole sectors in place; the first has the number `sector`.
    ///
    /// # Panics
    /// If `data` is no whole sectors.
    pub fn decrypt(&self, sector: u64, data: &mut [u8]) {
        self.each_batch(sector, data, |batch, vectors| match self.algorithms.mode {
            Mode::Ecb => self.data.decrypt(batch),
            Mode::Cbc => modes::cbc_decrypt(&*self.data, batch, vectors),
            Mode::Xts => modes::xts(batch, vectors, |blocks| self.data.decrypt(blocks)),
            Mode::Ctr => modes::ctr(&*self.data, batch, vectors),
        });
    }

    /// Calls `work` with the blocks of a few sectors at a time, and with a vector for each sector.
    fn each_batch(&self, sector: u64, data: &mut [u8], work: impl Fn(&mut [Block], &mut [Block])) {
        let (blocks, rest) = data.as_chunks_mut::<16>();
        assert!(rest.is_empty() && blocks.len().is_multiple_of(BLOCKS), "whole sectors are encrypted");
        let mut number = sector;
        for batch in blocks.chunks_mut(BATCH * BLOCKS) {
            let mut vectors = [[0; 16]; BATCH];
            let vectors = &mut vectors[..batch.len() / BLOCKS];
            for vector in vectors.iter_mut() {
                *vector = self.plain_vector(number);
                number = number.wrapping_add(1);
            }
            for cipher in [&self.essiv, &self.tweak].into_iter().flatten() {
                cipher.encrypt(vectors);
            }
            work(batch, vectors);
        }
    }

    fn plain_vector(&self, sector: u64) -> Block {
        let number = if self.algorithms.iv == IvGenerator::Plain { sector & 0xffff_ffff } else { sector };
        u128::from(number).to_le_bytes()
    }
}

/// Blocks of a sector.
const BLOCKS: usize = SECTOR_BYTES / 16;

#[cfg(test)]
mod tests;
