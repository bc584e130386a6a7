//! Key slots over any storage: made, opened, added and erased, with the order of writes in which a crash
//! leaves the old slot or the new one.
//!
//! The header is 592 bytes: slots 0 to 5 lie in its first sector, slot 7 in its second, slot 6 in both, its
//! state in the first. A sector is written whole or not at all, so:
//!
//! ```text
//! add:    material → second sector → first sector      (of slot 7: material → second sector)
//! erase:  the sector that has the state → the other → random bytes over the material
//! ```
//!
//! Each arrow is a sync. A slot whose state says active is complete; one that was erased cannot be opened any
//! more as soon as its salt is gone, and its material goes after that.

use std::sync::Arc;
use std::time::Duration;

use blk_core::{Error, Extent, Result, Secret, Storage};
use zeroize::Zeroizing;

use crate::algorithm::{Algorithms, Cipher, IvGenerator, Mode};
use crate::cipher::{SECTOR_BYTES, SectorCipher};
use crate::environment::Environment;
use crate::hash::{Hash, is_same};
use crate::header::{Header, Layout, ROUNDS_MAX, Slot};
use crate::ondisk::{DIGEST_BYTES, SALT_BYTES, SLOTS, slot_offset};
use crate::split::{merge, split};

/// The fewest iterations that the specification recommends.
pub const ITERATIONS_MIN: u32 = 1000;
/// The most rounds of a new header's digest.
const DIGEST_ROUNDS_MAX: u64 = ROUNDS_MAX / 64;
/// The most rounds of a new slot's key: eight such slots, each tried with the digest, are not too many.
const SLOT_ROUNDS_MAX: u64 = ROUNDS_MAX / SLOTS as u64 - DIGEST_ROUNDS_MAX;
/// Stripes of a key, as the specification and QEMU have them.
pub const STRIPES: u32 = 4000;
/// How long a passphrase is hashed where nothing is said.
pub(crate) const ITER_TIME: Duration = Duration::from_secs(2);

/// What a new header is made with.
#[derive(Debug, Clone, Copy)]
pub struct Parameters {
    /// How sectors are encrypted.
    pub algorithms: Algorithms,
    /// What passphrases and digests are hashed with.
    pub hash: Hash,
    /// How long a passphrase is hashed on this machine.
    pub iter_time: Duration,
    /// The fewest iterations, however slow the machine is: [`ITERATIONS_MIN`], but in tests.
    pub iterations_min: u32,
    /// In how many stripes a key is split: [`STRIPES`], but in tests.
    pub stripes: u32,
    /// The header lies in a file of its own: the payload begins at 0 of another.
    pub is_detached: bool,
}

impl Parameters {
    /// What is asked for by the words of a command line; `word` has that of an option, such as `cipher-alg`,
    /// where one is given. All else is as QEMU has it where nothing is said.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a word that is not known, and for what cannot be together.
    pub fn of_words(word: impl Fn(&'static str) -> Option<&'static str>) -> Result<Self> {
        let iv = find("ivgen-alg", word("ivgen-alg").unwrap_or("plain64"), IvGenerator::from_name)?;
        let iv_hash = match word("ivgen-hash-alg") {
            Some(name) => Some(find("ivgen-hash-alg", name, Hash::from_name)?),
            None => (iv == IvGenerator::Essiv).then_some(Hash::Sha256),
        };
        let algorithms = Algorithms {
            cipher: find("cipher-alg", word("cipher-alg").unwrap_or("aes-256"), Cipher::from_name)?,
            mode: find("cipher-mode", word("cipher-mode").unwrap_or("xts"), Mode::from_name)?,
            iv,
            iv_hash,
        };
        algorithms.check().map_err(|reason| Error::invalid_option("ivgen-hash-alg", reason))?;
        Ok(Self {
            algorithms,
            hash: find("hash-alg", word("hash-alg").unwrap_or("sha256"), Hash::from_name)?,
            iter_time: ITER_TIME,
            iterations_min: ITERATIONS_MIN,
            stripes: STRIPES,
            is_detached: false,
        })
    }

    /// Bytes of header and material.
    pub fn header_bytes(&self) -> u64 {
        Layout::new(self.algorithms.volume_key_bytes(), self.stripes).length()
    }
}

fn find<T>(option: &'static str, word: &str, from_name: impl Fn(&str) -> Option<T>) -> Result<T> {
    from_name(word).ok_or_else(|| Error::invalid_option(option, format!("'{word}' is not known")))
}

/// Refuses a passphrase for a new slot that QEMU could not open the slot with: it takes text without a NUL.
///
/// # Errors
/// [`Error::InvalidOption`] of that name.
pub fn check_new_passphrase(option: &'static str, passphrase: &Secret) -> Result<()> {
    let bytes = passphrase.expose();
    let reason = match std::str::from_utf8(bytes) {
        Err(_) => "a passphrase of a new key slot is text in UTF-8, this one is not",
        Ok(_) if bytes.contains(&0) => "a passphrase of a new key slot has no byte 0, this one has",
        Ok(_) => return Ok(()),
    };
    Err(Error::invalid_option(option, reason))
}

/// The header of a volume and its slots, at an offset of a storage.
#[derive(Debug)]
pub struct KeySlots {
    storage: Arc<dyn Storage>,
    offset: u64,
    header: Header,
    environment: &'static dyn Environment,
    rounds_max: u64,
    iterations_min: u32,
}

impl KeySlots {
    /// Makes a new header with a new key for the volume, which `passphrase` opens by slot 0. Nothing is
    /// synced.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for algorithms that cannot be together; those of the storage, and of the
    /// environment.
    pub fn create(
        storage: Arc<dyn Storage>,
        offset: u64,
        parameters: &Parameters,
        passphrase: &Secret,
        environment: &'static dyn Environment,
    ) -> Result<(Self, Secret)> {
        parameters.algorithms.check().map_err(Error::unsupported)?;
        let key_bytes = parameters.algorithms.volume_key_bytes();
        let mut key = Zeroizing::new(vec![0; key_bytes]);
        environment.fill_random(&mut key)?;
        let key = Secret::from(std::mem::take(&mut *key));
        let header = new_header(parameters, &key, environment)?;
        let iterations_min = parameters.iterations_min;
        let mut slots = Self { storage, offset, header, environment, rounds_max: ROUNDS_MAX, iterations_min };
        // Whatever was there is no header while this one is written.
        let header = slots.write_material(0, &key, passphrase, parameters.iter_time)?;
        slots.storage.write_at(offset, &header.to_bytes())?;
        slots.header = header;
        Ok((slots, key))
    }

    /// Reads a header and its slots.
    ///
    /// # Errors
    /// Those of [`Header::read`].
    pub fn open(
        storage: Arc<dyn Storage>,
        offset: u64,
        environment: &'static dyn Environment,
    ) -> Result<Self> {
        let header = Header::read(&*storage, offset)?;
        let iterations_min = ITERATIONS_MIN;
        Ok(Self { storage, offset, header, environment, rounds_max: ROUNDS_MAX, iterations_min })
    }

    /// The same, which makes at most so many rounds of the hash for a passphrase, over all slots.
    #[must_use]
    pub fn with_rounds_max(self, rounds_max: u64) -> Self {
        Self { rounds_max, ..self }
    }

    /// What the header says.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Looks for a slot that the passphrase opens. Returns the slot and the volume's key. The rounds of all
    /// slots that are tried are bounded together, so those that take the fewest are tried first.
    ///
    /// # Errors
    /// Where no slot opens and one could not be tried: [`Error::Unsupported`] if it asks for too many rounds;
    /// those of the storage.
    pub fn unlock(&self, passphrase: &Secret) -> Result<Option<(usize, Secret)>> {
        let mut by_rounds = self.active();
        by_rounds.sort_by_key(|index| self.header.rounds(*index));
        let mut left = self.rounds_max;
        let mut first_error = None;
        for index in by_rounds {
            let tried = match left.checked_sub(self.header.rounds(index)) {
                None => Err(self.takes_too_long(index)),
                Some(rest) => {
                    left = rest;
                    self.try_slot(index, passphrase)
                }
            };
            match tried {
                Ok(Some(key)) => return Ok(Some((index, key))),
                Ok(None) => {}
                Err(error) => drop(first_error.get_or_insert(error)),
            }
        }
        first_error.map_or(Ok(None), Err)
    }

    /// All slots that the passphrase opens.
    ///
    /// # Errors
    /// [`Error::Unsupported`], before any work, where the slots together ask for too many rounds; those of
    /// the storage.
    pub fn matching(&self, passphrase: &Secret) -> Result<Vec<usize>> {
        let mut left = self.rounds_max;
        for index in self.active() {
            let rest = left.checked_sub(self.header.rounds(index));
            left = rest.ok_or_else(|| self.takes_too_long(index))?;
        }
        let mut matching = Vec::new();
        for index in self.active() {
            if self.try_slot(index, passphrase)?.is_some() {
                matching.push(index);
            }
        }
        Ok(matching)
    }

    fn active(&self) -> Vec<usize> {
        (0..SLOTS).filter(|index| self.header.slots[*index].is_active).collect()
    }

    fn takes_too_long(&self, index: usize) -> Error {
        let Header { digest_iterations, hash, slots, .. } = &self.header;
        let (iterations, rounds) = (slots[index].iterations, self.header.rounds(index));
        let (hash, max) = (hash.name(), self.rounds_max);
        Error::unsupported(format!(
            "key slot {index} of {iterations} iterations, with a digest of {digest_iterations}: {rounds} rounds \
             of {hash}, and more than {max} for all slots take too long"
        ))
    }

    /// Adds a slot: the one that is asked for, or the first that is free. Returns which.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a slot that there is not, or that is active; [`Error::NoSpace`] where all
    /// are. After a failure the slot may be there: what the header on the storage says then is read again.
    pub fn add(
        &mut self,
        slot: Option<usize>,
        key: &Secret,
        passphrase: &Secret,
        iter_time: Duration,
    ) -> Result<usize> {
        let free = self.header.slots.iter().position(|slot| !slot.is_active);
        let index = match (slot, free) {
            (Some(index), _) => self.known(index)?,
            (None, Some(free)) => free,
            (None, None) => return Err(Error::NoSpace { what: "all key slots are active".into() }),
        };
        if self.header.slots[index].is_active {
            let reason = format!("Refusing to overwrite active keyslot {index} - please erase it first");
            return Err(Error::invalid_option("keyslot", reason));
        }
        let header = self.write_material(index, key, passphrase, iter_time)?;
        self.storage.sync()?;
        self.replace_header(header, index, true)?;
        Ok(index)
    }

    /// Erases a slot, also the last one: then nobody opens the volume any more.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a slot that there is not; those of the storage. After a failure the slot
    /// may be erased: what the header on the storage says then is read again. One that is erased there loses
    /// its material, too, and can be erased once more.
    pub fn erase(&mut self, slot: usize) -> Result<()> {
        let index = self.known(slot)?;
        let mut header = self.header.clone();
        let slot = &mut header.slots[index];
        let material = slot.material(header.algorithms.volume_key_bytes());
        *slot = Slot { is_active: false, iterations: 0, salt: [0; SALT_BYTES], ..*slot };
        let replaced = self.replace_header(header, index, false);
        if self.header.slots[index].is_active {
            return replaced;
        }
        let overwritten = self.overwrite(material);
        replaced.and(overwritten)
    }

    /// Puts random bytes over the material of a slot.
    fn overwrite(&self, material: Extent) -> Result<()> {
        let mut random = vec![0; material.length as usize];
        self.environment.fill_random(&mut random)?;
        self.storage.write_at(self.offset + material.offset, &random)?;
        self.storage.sync()
    }

    fn known(&self, slot: usize) -> Result<usize> {
        if slot < self.header.slots.len() {
            return Ok(slot);
        }
        let reason = format!("Invalid keyslot {slot} specified, must be between 0 and {}", SLOTS - 1);
        Err(Error::invalid_option("keyslot", reason))
    }

    /// Writes the key into the material of a slot. Returns the header in which the slot is active.
    fn write_material(
        &self,
        index: usize,
        key: &Secret,
        passphrase: &Secret,
        iter_time: Duration,
    ) -> Result<Header> {
        let mut header = self.header.clone();
        let (hash, key_bytes) = (header.hash, header.algorithms.volume_key_bytes());
        let iterations = iterations(hash, key_bytes, iter_time, SLOT_ROUNDS_MAX, self.environment);
        let iterations = iterations.max(self.iterations_min);
        let mut salt = [0; SALT_BYTES];
        self.environment.fill_random(&mut salt)?;
        let slot = &mut header.slots[index];
        *slot = Slot { is_active: true, iterations, salt, ..*slot };
        let extent = slot.material(key_bytes);
        let mut material = Zeroizing::new(vec![0; extent.length as usize]);
        let (stripes, rest) = material.split_at_mut(key_bytes * slot.stripes as usize);
        split(key.expose(), stripes, hash, self.environment)?;
        self.environment.fill_random(rest)?;
        let slot_key = hash.derive(passphrase.expose(), &salt, iterations, key_bytes);
        SectorCipher::new(header.algorithms, slot_key.expose())?.encrypt(0, &mut material);
        self.storage.write_at(self.offset + extent.offset, &material)?;
        Ok(header)
    }

    /// Writes a header in which one slot is another: its sectors in the order that a crash may interrupt.
    fn replace_header(&mut self, header: Header, slot: usize, becomes_active: bool) -> Result<()> {
        let bytes = header.to_bytes();
        let (first, second) = bytes.split_at(SECTOR_BYTES);
        let parts = [(self.offset, first), (self.offset + SECTOR_BYTES as u64, second)];
        let has_state = slot_offset(slot) / SECTOR_BYTES;
        // The state comes last where it opens, and first where it closes.
        let order = if becomes_active { [1 - has_state, has_state] } else { [has_state, 1 - has_state] };
        let written = order.into_iter().try_for_each(|part| {
            let (offset, bytes) = parts[part];
            self.storage.write_at(offset, bytes)?;
            self.storage.sync()
        });
        if written.is_ok() {
            self.header = header;
        } else if let Ok(found) = Header::read(&*self.storage, self.offset) {
            // The storage knows what it has taken.
            self.header = found;
        }
        written
    }

    /// The volume's key, if the passphrase opens that slot, which is active.
    fn try_slot(&self, index: usize, passphrase: &Secret) -> Result<Option<Secret>> {
        let Header { algorithms, hash, slots, .. } = &self.header;
        let slot = &slots[index];
        let key_bytes = algorithms.volume_key_bytes();
        let extent = slot.material(key_bytes);
        let mut material = Zeroizing::new(vec![0; extent.length as usize]);
        self.storage.read_at(self.offset + extent.offset, &mut material)?;
        let slot_key = hash.derive(passphrase.expose(), &slot.salt, slot.iterations, key_bytes);
        SectorCipher::new(*algorithms, slot_key.expose())?.decrypt(0, &mut material);
        let key = merge(&material[..key_bytes * slot.stripes as usize], key_bytes, *hash);
        Ok(is_same(&self.digest_of(&key), &self.header.digest).then_some(key))
    }

    fn digest_of(&self, key: &Secret) -> [u8; DIGEST_BYTES] {
        digest(&self.header, key)
    }
}

/// The digest of a volume's key, as the header has it.
fn digest(header: &Header, key: &Secret) -> [u8; DIGEST_BYTES] {
    let Header { hash, digest_salt, digest_iterations, .. } = header;
    let digest = hash.derive(key.expose(), digest_salt, *digest_iterations, DIGEST_BYTES);
    digest.expose().try_into().expect("a digest of that length was derived")
}

/// A header without an active slot.
fn new_header(parameters: &Parameters, key: &Secret, environment: &dyn Environment) -> Result<Header> {
    let &Parameters { algorithms, hash, stripes, .. } = parameters;
    let layout = Layout::new(key.expose().len(), stripes);
    let (mut digest_salt, mut uuid) = ([0; SALT_BYTES], [0; 16]);
    environment.fill_random(&mut digest_salt)?;
    environment.fill_random(&mut uuid)?;
    let slot = |index| Slot {
        is_active: false,
        iterations: 0,
        material_offset: layout.material_offset(index),
        stripes,
        salt: [0; SALT_BYTES],
    };
    // The digest guards nothing that the slots do not: an eighth of the time is enough, as QEMU has it.
    let time = parameters.iter_time / 8;
    let mut header = Header {
        algorithms,
        hash,
        payload_offset: if parameters.is_detached { 0 } else { layout.length() },
        digest_iterations: iterations(hash, DIGEST_BYTES, time, DIGEST_ROUNDS_MAX, environment)
            .max(parameters.iterations_min),
        uuid: random_uuid(uuid),
        slots: std::array::from_fn(slot),
        mode_name: algorithms.mode_name(),
        digest: [0; DIGEST_BYTES],
        digest_salt,
    };
    header.digest = digest(&header, key);
    Ok(header)
}

/// A random UUID, RFC 9562 version 4, of random bytes.
fn random_uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// How many iterations take as long as asked on this machine, as far as their rounds are allowed.
fn iterations(
    hash: Hash,
    key_bytes: usize,
    time: Duration,
    rounds_max: u64,
    environment: &dyn Environment,
) -> u32 {
    /// A measurement shorter than this says little.
    const ENOUGH: Duration = Duration::from_millis(5);
    let iterations_max = u32::try_from(rounds_max / hash.rounds(1, key_bytes)).unwrap_or(u32::MAX);
    let mut tried = ITERATIONS_MIN;
    let took = loop {
        let took =
            environment.time(&mut || drop(hash.derive(b"passphrase", &[0; SALT_BYTES], tried, key_bytes)));
        if took >= ENOUGH || tried > iterations_max / 4 {
            break took;
        }
        tried *= 2;
    };
    let wanted = u128::from(tried) * time.as_nanos() / took.as_nanos().max(1);
    u32::try_from(wanted).unwrap_or(iterations_max).clamp(1, iterations_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that is as fast as can be measured.
    #[derive(Debug)]
    struct Fast;

    impl Environment for Fast {
        fn fill_random(&self, _bytes: &mut [u8]) -> Result<()> {
            Ok(())
        }

        fn time(&self, _work: &mut dyn FnMut()) -> Duration {
            Duration::ZERO
        }
    }

    /// Whatever time was asked for, all slots of a header that was made here can be tried.
    #[test]
    fn what_is_made_can_be_opened() {
        let hour = Duration::from_hours(1);
        for hash in Hash::ALL {
            for key_bytes in [16, 24, 32, 48, 64] {
                let slot = iterations(hash, key_bytes, hour, SLOT_ROUNDS_MAX, &Fast);
                let digest = iterations(hash, DIGEST_BYTES, hour / 8, DIGEST_ROUNDS_MAX, &Fast);
                let each = hash.rounds(slot, key_bytes) + hash.rounds(digest, DIGEST_BYTES);
                let all = each * SLOTS as u64;
                assert!(all <= ROUNDS_MAX && all > ROUNDS_MAX / 2, "{hash:?} {key_bytes}: {all}");
            }
        }
        assert_eq!(Hash::Sha1.rounds(3, 64), 12);
        assert_eq!(Hash::Sha512.rounds(u32::MAX, 64), u64::from(u32::MAX));
    }
}
