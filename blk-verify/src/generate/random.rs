//! Small numbers out of a generator, fast: one multiplication each, no division, no rejection.

use rand::RngCore;
use rand::rngs::SmallRng;

/// A number below `count`, nearly even (the bias is below `count` / 2^64).
///
/// # Panics
/// If `count` is 0.
pub(crate) fn pick(rng: &mut SmallRng, count: u64) -> u64 {
    assert!(count > 0, "a choice among nothing");
    ((u128::from(rng.next_u64()) * u128::from(count)) >> 64) as u64
}

/// True `hits` times out of `of`.
pub(crate) fn chance(rng: &mut SmallRng, hits: u64, of: u64) -> bool {
    pick(rng, of) < hits
}

/// One of `choices`.
pub(crate) fn one_of<T: Copy>(rng: &mut SmallRng, choices: &[T]) -> T {
    choices[pick(rng, choices.len() as u64) as usize]
}
