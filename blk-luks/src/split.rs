//! The anti-forensic splitter: a key becomes so many stripes that without every bit of them nothing is left
//! of it. What has to be overwritten to forget the key is then long enough that a disk which keeps a part of
//! it aside keeps nothing.
//!
//! ```text
//! d(0) = 0, d(k) = H1(d(k-1) xor s(k)), s(n) = d(n-1) xor key;  s(1) ... s(n-1) are random
//! ```
//!
//! LUKS On-Disk Format Specification 1.2.3, section 2.4.

use blk_core::{Result, Secret};
use zeroize::Zeroizing;

use crate::environment::Environment;
use crate::hash::Hash;

fn xor(into: &mut [u8], other: &[u8]) {
    into.iter_mut().zip(other).for_each(|(byte, other)| *byte ^= other);
}

/// d(n-1), of the stripes that are random.
fn diffused(random: &[u8], key_bytes: usize, hash: Hash) -> Zeroizing<Vec<u8>> {
    let mut sum = Zeroizing::new(vec![0; key_bytes]);
    for stripe in random.chunks(key_bytes) {
        xor(&mut sum, stripe);
        hash.diffuse(&mut sum);
    }
    sum
}

/// Fills `material` with the key, in stripes of the key's length.
pub(crate) fn split(
    key: &[u8],
    material: &mut [u8],
    hash: Hash,
    environment: &dyn Environment,
) -> Result<()> {
    assert!(
        !material.is_empty() && material.len().is_multiple_of(key.len()),
        "material is whole stripes: {} of {}",
        material.len(),
        key.len()
    );
    let random_bytes = material.len() - key.len();
    environment.fill_random(&mut material[..random_bytes])?;
    let (random, last) = material.split_at_mut(random_bytes);
    last.copy_from_slice(key);
    xor(last, &diffused(random, key.len(), hash));
    Ok(())
}

/// The key of `key_bytes` bytes that was split into `material`.
pub(crate) fn merge(material: &[u8], key_bytes: usize, hash: Hash) -> Secret {
    let (random, last) = material.split_at(material.len() - key_bytes);
    let mut sum = diffused(random, key_bytes, hash);
    xor(&mut sum, last);
    Secret::from(std::mem::take(&mut *sum))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Repeatable;

    #[test]
    fn what_was_split_is_merged() {
        for hash in Hash::ALL {
            for (length, stripes) in [(16, 1), (32, 2), (64, 7), (48, 4000)] {
                let key: Vec<u8> = (0..length).collect();
                let mut material = vec![0; key.len() * stripes];
                split(&key, &mut material, hash, &Repeatable::new(1)).unwrap();
                assert_eq!(merge(&material, key.len(), hash).expose(), key);
                material[3] ^= 1;
                assert_ne!(merge(&material, key.len(), hash).expose(), key, "every bit counts");
            }
        }
    }
}
