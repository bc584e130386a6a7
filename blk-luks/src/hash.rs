//! Hashes, and passphrases made into keys with them.

use blk_core::Secret;
use pbkdf2::pbkdf2_hmac;
use sha2::Digest;
use zeroize::Zeroize;

/// A hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hash {
    /// SHA-1.
    Sha1,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// RIPEMD-160.
    Ripemd160,
}

/// Runs an expression with `$hasher` as the type of the hash.
macro_rules! with_hasher {
    ($hash:expr, $hasher:ident => $body:expr) => {
        match $hash {
            Hash::Sha1 => {
                type $hasher = sha1::Sha1;
                $body
            }
            Hash::Sha224 => {
                type $hasher = sha2::Sha224;
                $body
            }
            Hash::Sha256 => {
                type $hasher = sha2::Sha256;
                $body
            }
            Hash::Sha384 => {
                type $hasher = sha2::Sha384;
                $body
            }
            Hash::Sha512 => {
                type $hasher = sha2::Sha512;
                $body
            }
            Hash::Ripemd160 => {
                type $hasher = ripemd::Ripemd160;
                $body
            }
        }
    };
}

impl Hash {
    /// The names on a command line and in a header.
    pub const NAMES: [&'static str; 6] = ["sha1", "sha224", "sha256", "sha384", "sha512", "ripemd160"];

    /// All of them, as [`Hash::NAMES`] has them.
    pub const ALL: [Self; 6] =
        [Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512, Self::Ripemd160];

    /// The hash of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hash| hash.name() == name)
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// Bytes of a digest.
    pub const fn digest_bytes(self) -> usize {
        match self {
            Self::Sha1 | Self::Ripemd160 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// The digest of `bytes`.
    pub(crate) fn digest(self, bytes: &[u8]) -> Secret {
        with_hasher!(self, Hasher => Secret::from(Hasher::digest(bytes).to_vec()))
    }

    /// Replaces each piece of `bytes`, of the length of a digest, by the digest of its number and itself; the
    /// last may be shorter, and gets the start of its digest. LUKS calls it H1.
    pub(crate) fn diffuse(self, bytes: &mut [u8]) {
        with_hasher!(self, Hasher => {
            for (number, piece) in (0_u32..).zip(bytes.chunks_mut(self.digest_bytes())) {
                let hasher = Hasher::new().chain_update(number.to_be_bytes());
                let mut digest = hasher.chain_update(&*piece).finalize();
                piece.copy_from_slice(&digest[..piece.len()]);
                digest.as_mut_slice().zeroize();
            }
        });
    }

    /// Rounds of the hash for a key of `length` bytes by PBKDF2: each part of it, as long as a digest, takes
    /// all iterations.
    pub(crate) const fn rounds(self, iterations: u32, length: usize) -> u64 {
        iterations as u64 * length.div_ceil(self.digest_bytes()) as u64
    }

    /// A key of `length` bytes from a passphrase, by PBKDF2 with HMAC of this hash.
    pub(crate) fn derive(self, passphrase: &[u8], salt: &[u8], iterations: u32, length: usize) -> Secret {
        let mut key = vec![0; length];
        with_hasher!(self, Hasher => pbkdf2_hmac::<Hasher>(passphrase, salt, iterations, &mut key));
        Secret::from(key)
    }
}

/// Whether two texts are the same, without telling by the time where they differ.
pub(crate) fn is_same(one: &[u8], other: &[u8]) -> bool {
    let differences = one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b));
    one.len() == other.len() && std::hint::black_box(differences) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
    }

    /// The digests of "abc", as the standards have them.
    #[test]
    fn digests_are_those_of_the_standards() {
        for (name, digest) in [
            ("sha1", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            ("sha224", "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"),
            ("sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            ("ripemd160", "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc"),
        ] {
            let hash = Hash::from_name(name).unwrap();
            assert_eq!(hex(hash.digest(b"abc").expose()), digest);
        }
        for hash in Hash::ALL {
            assert_eq!(hash.digest(b"").expose().len(), hash.digest_bytes());
            assert_eq!(Hash::from_name(hash.name()), Some(hash));
        }
        assert_eq!(Hash::from_name("md5"), None);
    }

    /// RFC 6070, the second case.
    #[test]
    fn keys_are_those_of_the_standard() {
        let key = Hash::Sha1.derive(b"password", b"salt", 2, 20);
        assert_eq!(hex(key.expose()), "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957");
    }
}
