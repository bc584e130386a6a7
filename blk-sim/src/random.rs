//! Random numbers and hashes that are the same on every machine, with every compiler, for ever.
//!
//! A kept seed, a kept trace and a corpus mean what they meant when they were made. So the generator is one
//! whose sequence is promised (xoshiro256++, Blackman and Vigna 2018), and neither rand's distributions nor
//! std's hashers, both of which may change between versions, decide anything here.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};

/// The generator behind every seed of this crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Random(Xoshiro256PlusPlus);

impl Random {
    /// The generator that `seed` stands for.
    pub fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `count`, nearly even (the bias is below `count` / 2^64): one multiplication, no
    /// rejection.
    ///
    /// # Panics
    /// If `count` is 0.
    pub fn below(&mut self, count: u64) -> u64 {
        assert!(count > 0, "a choice among nothing");
        ((u128::from(self.bits()) * u128::from(count)) >> 64) as u64
    }

    /// True `hits` times out of `of`.
    pub fn chance(&mut self, hits: u64, of: u64) -> bool {
        self.below(of) < hits
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// One of `choices`, which must not be empty.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

pub use blk_core::bytes::mix;

/// A hash of `bytes`: FNV-1a with 64 bits, spread by [`mix`].
pub fn hash(bytes: &[u8]) -> u64 {
    let folded = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(folded)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kept seeds hang on these numbers: a change of them is a change of every seed.
    #[test]
    fn the_sequences_are_pinned() {
        let mut random = Random::new(1);
        let found: Vec<u64> = (0..3).map(|_| random.bits()).collect();
        assert_eq!(found, [0xcfc5_d07f_6f03_c29b, 0xbf42_4132_963f_e08d, 0x19a3_7d57_57aa_f520]);
        assert_eq!(mix(1), 0x910a_2dec_8902_5cc1);
        assert_eq!(hash(b"blk"), mix(0x004a_1519_1347_84a0));
    }

    #[test]
    fn choices_stay_below_their_count_and_reach_all() {
        let mut random = Random::new(7);
        let mut seen = [false; 5];
        for _ in 0..200 {
            seen[random.below(5) as usize] = true;
        }
        assert_eq!(seen, [true; 5]);
        assert!((0..100).all(|_| !random.chance(0, 3) && random.chance(3, 3)));
    }

    #[test]
    fn bytes_are_those_of_the_sequence() {
        let mut bytes = [0; 16];
        Random::new(1).fill(&mut bytes);
        let mut random = Random::new(1);
        assert_eq!(bytes.as_chunks::<8>().0, [random.bits().to_le_bytes(), random.bits().to_le_bytes()]);
    }
}
