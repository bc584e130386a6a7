//! What a header names: ciphers, their modes, generators of initialisation vectors, hashes.
//!
//! The names on a command line are QEMU's (`aes-256`); those in a header have the cipher without its key
//! length (`aes`), and mode and generator as one (`xts-plain64`, `cbc-essiv:sha256`).

use std::fmt;

use crate::hash::Hash;

/// A block cipher with the length of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cipher {
    /// Which.
    pub family: Family,
    /// Bytes of one key: 16, 24 or 32. XTS has two keys.
    pub key_bytes: usize,
}

/// A block cipher of blocks of 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// AES.
    Aes,
    /// Serpent.
    Serpent,
    /// Twofish.
    Twofish,
}

/// How blocks of a sector are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Each block by itself: equal blocks show.
    Ecb,
    /// Each block over the ciphertext of the one before it.
    Cbc,
    /// With a tweak for each block, by a second key.
    Xts,
    /// With a stream from a counter: two contents of one sector show their difference.
    Ctr,
}

/// What a sector's number becomes before it starts the mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IvGenerator {
    /// The low 32 bits of the number: sectors 2 TiB apart have the same.
    Plain,
    /// The number.
    Plain64,
    /// The number encrypted with the hash of the key.
    Essiv,
}

/// All that decides how sectors are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Algorithms {
    /// The cipher.
    pub cipher: Cipher,
    /// Its mode.
    pub mode: Mode,
    /// Its initialisation vectors.
    pub iv: IvGenerator,
    /// The hash that the generator has; only [`IvGenerator::Essiv`] uses it.
    pub iv_hash: Option<Hash>,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Aes, Self::Serpent, Self::Twofish];

    /// Its name in a header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes => "aes",
            Self::Serpent => "serpent",
            Self::Twofish => "twofish",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.name() == name)
    }
}

impl Cipher {
    /// The names on a command line.
    pub const NAMES: [&'static str; 9] = [
        "aes-128",
        "aes-192",
        "aes-256",
        "serpent-128",
        "serpent-192",
        "serpent-256",
        "twofish-128",
        "twofish-192",
        "twofish-256",
    ];

    /// The cipher of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        let (family, bits) = name.split_once('-')?;
        let bits: usize = bits.parse().ok()?;
        let cipher = Self { family: Family::from_name(family)?, key_bytes: bits / 8 };
        (matches!(bits, 128 | 192 | 256)).then_some(cipher)
    }
}

impl fmt::Display for Cipher {
    /// The name on a command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.family.name(), self.key_bytes * 8)
    }
}

impl Mode {
    /// The names on a command line and in a header.
    pub const NAMES: [&'static str; 4] = ["ecb", "cbc", "xts", "ctr"];

    /// The mode of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Ecb, Self::Cbc, Self::Xts, Self::Ctr].into_iter().find(|mode| mode.name() == name)
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ecb => "ecb",
            Self::Cbc => "cbc",
            Self::Xts => "xts",
            Self::Ctr => "ctr",
        }
    }
}

impl IvGenerator {
    /// The names on a command line and in a header.
    pub const NAMES: [&'static str; 3] = ["plain", "plain64", "essiv"];

    /// The generator of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Plain, Self::Plain64, Self::Essiv].into_iter().find(|iv| iv.name() == name)
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Plain64 => "plain64",
            Self::Essiv => "essiv",
        }
    }
}

impl Algorithms {
    /// Bytes of the key of a volume.
    pub const fn volume_key_bytes(&self) -> usize {
        match self.mode {
            Mode::Xts => 2 * self.cipher.key_bytes,
            _ => self.cipher.key_bytes,
        }
    }

    /// Mode and generator as a header has them.
    pub fn mode_name(&self) -> String {
        let (mode, iv) = (self.mode.name(), self.iv.name());
        match self.iv_hash {
            Some(hash) => format!("{mode}-{iv}:{}", hash.name()),
            None => format!("{mode}-{iv}"),
        }
    }

    /// Reads the names of a header.
    ///
    /// # Errors
    /// Says which name is unknown, or which key length the cipher does not have.
    pub(crate) fn from_header(cipher: &str, mode: &str, volume_key_bytes: u32) -> Result<Self, Flaw> {
        let family = Family::from_name(cipher).ok_or_else(|| {
            Flaw::Unsupported(format!("cipher '{cipher}' (known are aes, serpent, twofish)"))
        })?;
        // The mode that needs no vector may stand alone.
        let (mode_word, iv_words) = mode.split_once('-').unwrap_or((mode, "plain64"));
        let is_whole = mode.contains('-') || mode == "ecb";
        let known = Mode::from_name(mode_word).filter(|_| is_whole);
        let mode = known.ok_or_else(|| {
            Flaw::Unsupported(format!("cipher mode '{mode}' (known are ecb, cbc, xts, ctr with a generator)"))
        })?;
        let (iv_word, hash_word) = match iv_words.split_once(':') {
            Some((iv, hash)) => (iv, Some(hash)),
            None => (iv_words, None),
        };
        let iv = IvGenerator::from_name(iv_word)
            .ok_or_else(|| Flaw::Unsupported(format!("generator '{iv_word}' of initialisation vectors")))?;
        let iv_hash = match hash_word {
            None => None,
            Some(word) => match Hash::from_name(word) {
                // Whoever has no use for the hash does not need to have it.
                None if iv != IvGenerator::Essiv => None,
                None => return Err(Flaw::Unsupported(format!("hash '{word}' of essiv"))),
                known => known,
            },
        };
        let keys = if mode == Mode::Xts { 2 } else { 1 };
        let key_bytes = volume_key_bytes as usize / keys;
        if !matches!(key_bytes, 16 | 24 | 32) || key_bytes * keys != volume_key_bytes as usize {
            let name = mode.name();
            return Err(Flaw::KeyBytes(format!("{cipher} in mode {name} has no key of this length")));
        }
        let algorithms = Self { cipher: Cipher { family, key_bytes }, mode, iv, iv_hash };
        algorithms.check().map_err(Flaw::Unsupported)?;
        Ok(algorithms)
    }

    /// Refuses what cannot be together.
    ///
    /// # Errors
    /// In words, what.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.iv != IvGenerator::Essiv {
            return Ok(());
        }
        let Some(hash) = self.iv_hash else { return Err("essiv without a hash".to_owned()) };
        let family = self.cipher.family.name();
        match hash.digest_bytes() {
            16 | 24 | 32 => Ok(()),
            bytes => Err(format!("essiv:{}: {family} has no key of {bytes} bytes", hash.name())),
        }
    }
}

/// Why names of a header are refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// One is not known here.
    Unsupported(String),
    /// The length of the key fits none of the names.
    KeyBytes(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cipher: &str, mode: &str, key_bytes: u32) -> Result<String, String> {
        match Algorithms::from_header(cipher, mode, key_bytes) {
            Ok(algorithms) => Ok(format!("{} {}", algorithms.cipher, algorithms.mode_name())),
            Err(Flaw::Unsupported(what) | Flaw::KeyBytes(what)) => Err(what),
        }
    }

    #[test]
    fn names_of_headers_are_read() {
        for (cipher, mode, bytes, said) in [
            ("aes", "xts-plain64", 64, "aes-256 xts-plain64"),
            ("aes", "xts-plain", 32, "aes-128 xts-plain"),
            ("aes", "cbc-essiv:sha256", 24, "aes-192 cbc-essiv:sha256"),
            ("aes", "cbc-plain64:sha512", 16, "aes-128 cbc-plain64:sha512"),
            ("aes", "cbc-plain:md5", 16, "aes-128 cbc-plain"),
            ("aes", "ecb", 16, "aes-128 ecb-plain64"),
            ("serpent", "ctr-plain64", 32, "serpent-256 ctr-plain64"),
            ("twofish", "xts-plain64", 48, "twofish-192 xts-plain64"),
        ] {
            assert_eq!(read(cipher, mode, bytes).as_deref(), Ok(said));
        }
    }

    #[test]
    fn names_that_nobody_knows_are_told() {
        for (cipher, mode, bytes, said) in [
            ("cast5", "cbc-plain64", 16, "'cast5'"),
            ("", "cbc-plain64", 16, "''"),
            ("aes", "xts", 64, "'xts'"),
            ("aes", "lrw-benbi", 48, "'lrw-benbi'"),
            ("aes", "cbc-null", 16, "'null'"),
            ("aes", "cbc-essiv", 16, "essiv without a hash"),
            ("aes", "cbc-essiv:md5", 16, "'md5'"),
            ("aes", "cbc-essiv:sha1", 16, "no key of 20 bytes"),
            ("aes", "cbc-essiv:sha512", 16, "no key of 64 bytes"),
            ("aes", "xts-plain64", 16, "no key of this length"),
            ("aes", "xts-plain64", 65, "no key of this length"),
            ("aes", "cbc-plain64", 0, "no key of this length"),
            ("aes", "cbc-plain64", u32::MAX, "no key of this length"),
        ] {
            let refused = read(cipher, mode, bytes).unwrap_err();
            assert!(refused.contains(said), "{cipher} {mode} {bytes}: {refused}");
        }
        for name in Cipher::NAMES {
            assert_eq!(Cipher::from_name(name).unwrap().to_string(), name);
        }
        assert!(Cipher::from_name("aes-512").is_none() && Cipher::from_name("aes").is_none());
    }
}
