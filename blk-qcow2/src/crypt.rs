//! Encryption of guest data, a sector of 512 bytes at a time. Metadata are never encrypted, nor are
//! compressed clusters, which other programs write in encrypted images too.
//!
//! ```text
//! aes   the vector of a sector comes from its number on the disk; the key is the passphrase
//! luks  the vector of a sector comes from its number in the image file; the key lies in a LUKS header,
//!       in clusters that a header extension names
//! ```
//!
//! So data that moves in the file is decrypted and encrypted again, and no zeroes of the host are zeroes of
//! the disk: what reads as zeroes has a mark, or is encrypted like all else.
//!
//! A sector is written whole. What is no whole sector is read, changed and written back, with its range
//! locked before the metadata are: whoever reads meanwhile sees no sector half written.

use std::sync::Arc;

use blk_core::bytes::SECTOR_BYTES as SECTOR;
use blk_core::sync::{RangeGuard, RangeLock};
use blk_core::{Access, Error, Extent, Resolver, Result, Secret, Storage};
use blk_luks::{
    Algorithms, Cipher, Environment, Family, IvGenerator, KeySlots, Mode, SECTOR_BYTES, SectorCipher,
};
use zeroize::Zeroizing;

use crate::header::{Encryption, Header};
use crate::offset::{GuestOffset, HostExtent, HostOffset};
use crate::open_options::KeyOptions;

/// What is encrypted and written at once, bytes: it fits into a processor's cache.
const PIECE_BYTES: u64 = 256 << 10;
/// Bytes of a passphrase that the old method uses, and of its key.
const AES_KEY_BYTES: usize = 16;

/// The old method: AES-128 in CBC mode, with the sector's number as vector.
const AES: Algorithms = Algorithms {
    cipher: Cipher { family: Family::Aes, key_bytes: AES_KEY_BYTES },
    mode: Mode::Cbc,
    iv: IvGenerator::Plain64,
    iv_hash: None,
};

/// What opens images, besides what stands in them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Means {
    /// Random numbers and a clock.
    pub(crate) environment: &'static dyn Environment,
    /// The most rounds of a hash that are made to open an image.
    pub(crate) rounds_max: u64,
}

/// How the data of an open image is encrypted.
#[derive(Debug)]
pub(crate) struct Crypt {
    pub(crate) method: Encryption,
    pub(crate) means: Means,
    /// `None` where the image was opened to be described.
    unlocked: Option<Unlocked>,
    /// Of the disk, in whole sectors.
    ranges: RangeLock,
}

/// What it takes to read and write.
#[derive(Debug)]
struct Unlocked {
    cipher: SectorCipher,
    /// The volume's key, for new key slots; the old method has none.
    volume_key: Option<Secret>,
}

/// Where data lies, for the guest and on the host; both at the same place of a sector.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Located {
    pub(crate) host: HostOffset,
    pub(crate) guest: GuestOffset,
}

impl Located {
    fn after(self, bytes: u64) -> Self {
        Self { host: self.host + bytes, guest: self.guest + bytes }
    }

    /// The start of its sector, and the bytes from there.
    fn in_sector(self) -> (Self, usize) {
        let within = self.host.get() % SECTOR;
        debug_assert_eq!(within, self.guest.get() % SECTOR, "clusters begin with a sector");
        let start = Self {
            host: HostOffset::new(self.host.get() - within),
            guest: GuestOffset::new(self.guest.get() - within),
        };
        (start, within as usize)
    }
}

/// The whole sectors that `extent` touches.
pub(crate) fn sectors_of(extent: Extent) -> Extent {
    let start = extent.offset / SECTOR * SECTOR;
    Extent::between(start, extent.end().next_multiple_of(SECTOR))
}

impl Crypt {
    /// Unlocks the image with this header, if it is encrypted, by what the options say.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for options that do not fit the image, where the secret is missing, or opens
    /// nothing; those of the LUKS header.
    pub(crate) fn open(
        storage: &Arc<dyn Storage>,
        header: &Header,
        key: &KeyOptions,
        access: Access,
        means: Means,
        resolver: &dyn Resolver,
    ) -> Result<Option<Self>> {
        key.check_method(header.encryption)?;
        let Some(method) = header.encryption else { return Ok(None) };
        let slots = method.header().map(|extent| open_slots(storage, extent, means)).transpose()?;
        let unlocked = if key.is_locked {
            if access == Access::ReadWrite {
                let reason = "an image is opened without its key for reading only";
                return Err(Error::invalid_option("locked", reason));
            }
            None
        } else {
            Some(unlock(slots.as_ref(), &key.passphrase(resolver)?)?)
        };
        Ok(Some(Self { method, means, unlocked, ranges: RangeLock::default() }))
    }

    /// What encrypts the data of an image that is being made.
    pub(crate) fn of_new(method: Encryption, means: Means, key: NewKey<'_>) -> Result<Self> {
        let unlocked = match key {
            NewKey::Passphrase(passphrase) => unlock(None, passphrase)?,
            NewKey::Volume(algorithms, key) => {
                Unlocked { cipher: SectorCipher::new(algorithms, key.expose())?, volume_key: Some(key) }
            }
        };
        Ok(Self { method, means, unlocked: Some(unlocked), ranges: RangeLock::default() })
    }

    /// Fails where the image was opened without its key.
    pub(crate) fn check_unlocked(&self) -> Result<()> {
        self.unlocked().map(drop)
    }

    fn unlocked(&self) -> Result<&Unlocked> {
        let missing = "reading or writing an encrypted disk that was opened without its key";
        self.unlocked.as_ref().ok_or_else(|| Error::unsupported(missing))
    }

    /// The volume's key of a LUKS image.
    pub(crate) fn volume_key(&self) -> Result<Option<&Secret>> {
        Ok(self.unlocked()?.volume_key.as_ref())
    }

    /// Waits until nobody changes `extent` of the disk, and keeps it so.
    pub(crate) fn share(&self, extent: Extent) -> RangeGuard<'_> {
        self.ranges.share(sectors_of(extent))
    }

    /// Waits until nobody uses `extent` of the disk, and keeps it so.
    pub(crate) fn exclude(&self, extent: Extent) -> RangeGuard<'_> {
        self.ranges.exclude(sectors_of(extent))
    }

    /// The number that a sector's vector is made of.
    fn vector(&self, at: Located) -> u64 {
        match self.method {
            Encryption::Aes => at.guest.get() / SECTOR,
            Encryption::Luks(_) => at.host.get() / SECTOR,
        }
    }

    /// Reads guest data.
    pub(crate) fn read(&self, storage: &dyn Storage, from: Located, buf: &mut [u8]) -> Result<()> {
        let cipher = &self.unlocked()?.cipher;
        let mut done = 0;
        while done < buf.len() {
            let (sector, within) = from.after(done as u64).in_sector();
            let rest = &mut buf[done..];
            let whole = rest.len() / SECTOR_BYTES * SECTOR_BYTES;
            done += if within == 0 && whole > 0 {
                storage.read_at(sector.host.get(), &mut rest[..whole])?;
                cipher.decrypt(self.vector(sector), &mut rest[..whole]);
                whole
            } else {
                let content = self.read_sector(storage, cipher, sector)?;
                let length = rest.len().min(SECTOR_BYTES - within);
                rest[..length].copy_from_slice(&content[within..within + length]);
                length
            };
        }
        Ok(())
    }

    fn read_sector(
        &self,
        storage: &dyn Storage,
        cipher: &SectorCipher,
        at: Located,
    ) -> Result<[u8; SECTOR_BYTES]> {
        let mut sector = [0; SECTOR_BYTES];
        storage.read_at(at.host.get(), &mut sector)?;
        cipher.decrypt(self.vector(at), &mut sector);
        Ok(sector)
    }

    /// Writes guest data over what lies there.
    pub(crate) fn write(&self, storage: &dyn Storage, to: Located, buf: &[u8]) -> Result<()> {
        let cipher = &self.unlocked()?.cipher;
        let data = to.guest.with_length(buf.len() as u64);
        let sectors = sectors_of(data);
        let (start, _) = to.in_sector();
        self.write_sectors(storage, start, sectors.length, |piece, content| {
            let inside = piece.intersection(data);
            let at = |guest: u64| start.after(guest - sectors.offset).in_sector().0;
            if piece.offset < inside.offset {
                let sector = self.read_sector(storage, cipher, at(piece.offset))?;
                content.extend_from_slice(&sector[..(inside.offset - piece.offset) as usize]);
            }
            let from = (inside.offset - data.offset) as usize;
            content.extend_from_slice(&buf[from..from + inside.length as usize]);
            if inside.end() < piece.end() {
                let sector = self.read_sector(storage, cipher, at(inside.end()))?;
                content.extend_from_slice(&sector[(inside.end() % SECTOR) as usize..]);
            }
            Ok(())
        })
    }

    /// Writes `length` bytes, whole sectors, which `fill` appends to a buffer, piece by piece; pieces are
    /// guest bytes.
    pub(crate) fn write_sectors(
        &self,
        storage: &dyn Storage,
        to: Located,
        length: u64,
        mut fill: impl FnMut(Extent, &mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let cipher = &self.unlocked()?.cipher;
        let mut content = Zeroizing::new(Vec::with_capacity(length.min(PIECE_BYTES) as usize));
        for piece in to.guest.with_length(length).parts(PIECE_BYTES) {
            content.clear();
            fill(piece, &mut content)?;
            assert_eq!(content.len() as u64, piece.length, "a piece is whole sectors: {piece:?}");
            let at = to.after(piece.offset - to.guest.get());
            cipher.encrypt(self.vector(at), &mut content);
            storage.write_at(at.host.get(), &content)?;
        }
        Ok(())
    }

    /// Writes zeroes as data, whole clusters.
    pub(crate) fn write_zeroes(&self, storage: &dyn Storage, to: Located, length: u64) -> Result<()> {
        self.write_sectors(storage, to, length, |piece, content| {
            content.resize(piece.length as usize, 0);
            Ok(())
        })
    }
}

/// Reads the LUKS header of an image and its slots, all of which lie in the clusters that are the header's.
pub(crate) fn open_slots(storage: &Arc<dyn Storage>, extent: HostExtent, means: Means) -> Result<KeySlots> {
    let at = extent.start.get();
    let slots = KeySlots::open(Arc::clone(storage), at, means.environment)?.with_rounds_max(means.rounds_max);
    let needed = slots.header().length();
    if needed > extent.length {
        let reason = format!("its key slots reach to {needed}, the image has {} bytes for it", extent.length);
        return Err(Error::malformed("LUKS header", at, reason));
    }
    Ok(slots)
}

/// The key that the passphrase stands for, or that it opens.
fn unlock(slots: Option<&KeySlots>, passphrase: &Secret) -> Result<Unlocked> {
    let Some(slots) = slots else {
        let cipher = SectorCipher::new(AES, aes_key(passphrase).expose())?;
        return Ok(Unlocked { cipher, volume_key: None });
    };
    let (_, key) = slots.unlock(passphrase)?.ok_or_else(|| {
        Error::invalid_option("encrypt.key-secret", "Invalid password, cannot unlock any keyslot")
    })?;
    Ok(Unlocked {
        cipher: SectorCipher::new(slots.header().algorithms, key.expose())?,
        volume_key: Some(key),
    })
}

/// The start of the passphrase, with zeroes behind a short one.
fn aes_key(passphrase: &Secret) -> Secret {
    let mut key = vec![0; AES_KEY_BYTES];
    let used = passphrase.expose().len().min(AES_KEY_BYTES);
    key[..used].copy_from_slice(&passphrase.expose()[..used]);
    Secret::from(key)
}

/// The key of a new image.
#[derive(Debug)]
pub(crate) enum NewKey<'a> {
    /// Of the old method.
    Passphrase(&'a Secret),
    /// Of a LUKS volume.
    Volume(Algorithms, Secret),
}
