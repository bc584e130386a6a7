//! The header, read and validated once: what is not as the specification says is an error that names the
//! field, where it lies, and its value.

use blk_core::bytes::SECTOR_BYTES as SECTOR;
use blk_core::{Error, Extent, Result, Storage};
use zerocopy::{FromBytes, IntoBytes};

use crate::algorithm::{Algorithms, Flaw};
use crate::hash::Hash;
use crate::ondisk::{
    ACTIVE, DIGEST_BYTES, HEADER_BYTES, INACTIVE, MAGIC, RawHeader, RawSlot, SALT_BYTES, SLOTS, field,
    slot_offset, text,
};

/// Where the material of the first slot lies in headers that are made here, and what all parts are aligned
/// to, bytes.
const PART_BYTES: u64 = 4096;
/// The most stripes of a key, 16 times what is usual: what is read to open one slot is 4 MiB at most.
const STRIPES_MAX: u32 = 1 << 16;
/// The most rounds that are made to open a volume, where the caller says nothing: some minutes of work for
/// SHA-256 on a processor of today, and room for eight slots of half a minute each. A header from others may
/// ask for days.
pub const ROUNDS_MAX: u64 = 1 << 30;

/// What a header says, validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// How sectors are encrypted.
    pub algorithms: Algorithms,
    /// What passphrases and digests are hashed with.
    pub hash: Hash,
    /// Where the disk begins in its file, bytes; 0 for most headers in a file of their own.
    pub payload_offset: u64,
    /// How often the volume's key is hashed for its digest.
    pub digest_iterations: u32,
    /// The name of the volume that its maker gave it, mostly a UUID.
    pub uuid: String,
    /// The key slots.
    pub slots: [Slot; SLOTS],
    /// Mode and generator as they stand in the header, with a hash that is of no use perhaps.
    pub(crate) mode_name: String,
    pub(crate) digest: [u8; DIGEST_BYTES],
    pub(crate) digest_salt: [u8; SALT_BYTES],
}

/// A place for the volume's key, which one passphrase opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Whether there is a key in it.
    pub is_active: bool,
    /// How often its passphrase is hashed.
    pub iterations: u32,
    /// Where its material lies, bytes from the start of the header.
    pub material_offset: u64,
    /// In how many stripes the key is split.
    pub stripes: u32,
    pub(crate) salt: [u8; SALT_BYTES],
}

impl Slot {
    /// Bytes of the material: whole sectors.
    pub(crate) fn material(&self, key_bytes: usize) -> Extent {
        let length = key_bytes as u64 * u64::from(self.stripes);
        Extent::new(self.material_offset, length.next_multiple_of(SECTOR))
    }
}

/// Where the parts of a new header lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    part_bytes: u64,
}

impl Layout {
    pub(crate) fn new(key_bytes: usize, stripes: u32) -> Self {
        Self { part_bytes: (key_bytes as u64 * u64::from(stripes)).next_multiple_of(PART_BYTES) }
    }

    /// Of the material of a slot, bytes from the start of the header.
    pub(crate) fn material_offset(self, slot: usize) -> u64 {
        PART_BYTES + slot as u64 * self.part_bytes
    }

    /// Bytes of header and material.
    pub(crate) fn length(self) -> u64 {
        self.material_offset(SLOTS)
    }
}

impl Header {
    /// Whether bytes are the start of such a header.
    pub fn is_here(start: &[u8]) -> bool {
        start.starts_with(&MAGIC) && start.get(6..8) == Some(&[0, 1])
    }

    /// Reads the header at `offset` of a storage.
    ///
    /// # Errors
    /// Those of [`Header::parse`], and of the storage.
    pub fn read(storage: &dyn Storage, offset: u64) -> Result<Self> {
        let mut bytes = [0; HEADER_BYTES];
        storage.read_at(offset, &mut bytes)?;
        Self::parse(&bytes, offset)
    }

    /// Reads a header that lies at `offset` of its file.
    ///
    /// # Errors
    /// [`Error::Malformed`] names the field, where it lies, its value, and what is
    /// allowed; [`Error::Unsupported`] a cipher, mode, generator or hash that is not known here.
    pub fn parse(bytes: &[u8; HEADER_BYTES], offset: u64) -> Result<Self> {
        let raw = RawHeader::read_from_bytes(bytes).expect("the length is that of a header");
        let at = |field: usize| offset + field as u64;
        let malformed =
            |field, reason| Error::Malformed { structure: "LUKS header", offset: at(field), reason };
        if raw.magic != MAGIC {
            return Err(malformed(0, format!("magic is {:02x?}, a LUKS header has {MAGIC:02x?}", raw.magic)));
        }
        if raw.version != 1 {
            return Err(Error::unsupported(format!("LUKS version {} (known is 1)", raw.version)));
        }
        let names = [
            (8, "cipher name", &raw.cipher_name),
            (40, "cipher mode", &raw.cipher_mode),
            (72, "hash", &raw.hash_spec),
        ];
        let [cipher, mode, hash] = names.map(|(at, what, bytes)| {
            text(bytes)
                .ok_or_else(|| malformed(at, format!("{what} is {bytes:02x?}, which is no printable text")))
        });
        let key_bytes = raw.key_bytes.get();
        let mode = mode?;
        let algorithms = Algorithms::from_header(cipher?, mode, key_bytes).map_err(|flaw| match flaw {
            Flaw::Unsupported(what) => Error::unsupported(format!("LUKS {what}")),
            Flaw::KeyBytes(reason) => malformed(108, format!("key bytes is {key_bytes}: {reason}")),
        })?;
        let hash = hash?;
        let known = Hash::from_name(hash).ok_or_else(|| {
            Error::unsupported(format!("LUKS hash '{hash}' (known are {})", Hash::NAMES.join(", ")))
        })?;
        let digest_iterations = raw.mk_digest_iterations.get();
        check_iterations(digest_iterations).map_err(|reason| malformed(164, reason))?;
        let uuid = text(&raw.uuid);
        let uuid = uuid.ok_or_else(|| malformed(168, "the UUID is no printable text".to_owned()))?.to_owned();
        let header = Self {
            algorithms,
            hash: known,
            payload_offset: u64::from(raw.payload_offset.get()) * SECTOR,
            digest_iterations,
            uuid,
            slots: read_slots(&raw.slots, offset)?,
            mode_name: mode.to_owned(),
            digest: raw.mk_digest,
            digest_salt: raw.mk_digest_salt,
        };
        header.check_materials(offset)?;
        Ok(header)
    }

    /// The material of each slot.
    fn materials(&self) -> [Extent; SLOTS] {
        let key_bytes = self.algorithms.volume_key_bytes();
        self.slots.map(|slot| slot.material(key_bytes))
    }

    /// No material lies over the header, or over another one.
    fn check_materials(&self, offset: u64) -> Result<()> {
        let materials = self.materials();
        for (index, material) in materials.iter().enumerate() {
            if material.offset < HEADER_BYTES as u64 {
                let reason = format!("lies over the header of {HEADER_BYTES} bytes");
                return Err(misplaced(offset, index, *material, &reason));
            }
            if let Some(other) = materials[..index].iter().position(|other| other.overlaps(*material)) {
                return Err(misplaced(offset, index, *material, &format!("lies over that of slot {other}")));
            }
        }
        Ok(())
    }

    /// The payload lies over nothing of the header at `offset` of the same file. Where the header has a file
    /// of its own, the payload offset counts in the other one, and any is good.
    ///
    /// # Errors
    /// [`Error::Malformed`] names what it lies over.
    pub fn check_payload(&self, offset: u64) -> Result<()> {
        let payload = self.payload_offset;
        let malformed =
            |reason| Err(Error::Malformed { structure: "LUKS header", offset: offset + 104, reason });
        if payload == 0 {
            let reason = "the payload offset is 0: it is a header alone, of a disk in another file (header=)";
            return malformed(reason.to_owned());
        }
        if payload < HEADER_BYTES as u64 {
            return malformed(format!(
                "the payload offset is {payload}, inside the header of {HEADER_BYTES} bytes"
            ));
        }
        let materials = self.materials();
        match materials.iter().position(|material| material.end() > payload) {
            None => Ok(()),
            Some(index) => {
                let reason = format!("lies over the payload from {payload} on");
                Err(misplaced(offset, index, materials[index], &reason))
            }
        }
    }

    /// Rounds that it takes to try a passphrase on a slot: those of the slot's key, and those of the digest,
    /// which tells whether the key is right.
    pub(crate) fn rounds(&self, slot: usize) -> u64 {
        let key_bytes = self.algorithms.volume_key_bytes();
        self.hash.rounds(self.slots[slot].iterations, key_bytes)
            + self.hash.rounds(self.digest_iterations, DIGEST_BYTES)
    }

    /// Bytes from the start of the header to the end of the last material.
    pub fn length(&self) -> u64 {
        self.materials().into_iter().map(Extent::end).max().unwrap_or_default()
    }

    /// As it is on disk.
    pub(crate) fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let sectors = |bytes: u64| {
            let sectors =
                u32::try_from(bytes / SECTOR).expect("offsets were read from sectors, or made small");
            sectors.into()
        };
        let raw = RawHeader {
            magic: MAGIC,
            version: 1.into(),
            cipher_name: field(self.algorithms.cipher.family.name()),
            cipher_mode: field(&self.mode_name),
            hash_spec: field(self.hash.name()),
            payload_offset: sectors(self.payload_offset),
            key_bytes: (self.algorithms.volume_key_bytes() as u32).into(),
            mk_digest: self.digest,
            mk_digest_salt: self.digest_salt,
            mk_digest_iterations: self.digest_iterations.into(),
            uuid: field(&self.uuid),
            slots: self.slots.map(|slot| slot.to_raw(sectors(slot.material_offset))),
        };
        let mut bytes = [0; HEADER_BYTES];
        bytes.copy_from_slice(raw.as_bytes());
        bytes
    }
}

impl Slot {
    fn to_raw(self, material_offset: zerocopy::byteorder::big_endian::U32) -> RawSlot {
        RawSlot {
            state: if self.is_active { ACTIVE } else { INACTIVE }.into(),
            iterations: self.iterations.into(),
            salt: self.salt,
            material_offset,
            stripes: self.stripes.into(),
        }
    }
}

/// The material of a slot of the header at `offset` is where it cannot be.
fn misplaced(offset: u64, slot: usize, material: Extent, reason: &str) -> Error {
    let (start, end) = (material.offset, material.end());
    let reason = format!("the material of slot {slot}, {start} to {end}, {reason}");
    Error::Malformed { structure: "LUKS key slot", offset: offset + slot_offset(slot) as u64, reason }
}

fn check_iterations(iterations: u32) -> std::result::Result<(), String> {
    match iterations {
        0 => Err("the number of iterations is 0, at least one is needed".to_owned()),
        _ => Ok(()),
    }
}

fn read_slots(raw: &[RawSlot; SLOTS], offset: u64) -> Result<[Slot; SLOTS]> {
    let none =
        Slot { is_active: false, iterations: 0, material_offset: 0, stripes: 0, salt: [0; SALT_BYTES] };
    let mut slots = [none; SLOTS];
    for (index, (slot, raw)) in slots.iter_mut().zip(raw).enumerate() {
        let malformed = |field: usize, reason: String| {
            let offset = offset + (slot_offset(index) + field) as u64;
            Error::Malformed { structure: "LUKS key slot", offset, reason: format!("slot {index}: {reason}") }
        };
        let is_active = match raw.state.get() {
            ACTIVE => true,
            INACTIVE => false,
            state => {
                let reason =
                    format!("its state is {state:#010x}, known are {ACTIVE:#010x} and {INACTIVE:#010x}");
                return Err(malformed(0, reason));
            }
        };
        if is_active {
            check_iterations(raw.iterations.get()).map_err(|reason| malformed(4, reason))?;
        }
        let stripes = raw.stripes.get();
        if stripes == 0 || stripes > STRIPES_MAX {
            return Err(malformed(44, format!("it has {stripes} stripes, 1 to {STRIPES_MAX} are allowed")));
        }
        *slot = Slot {
            is_active,
            iterations: raw.iterations.get(),
            material_offset: u64::from(raw.material_offset.get()) * SECTOR,
            stripes,
            salt: raw.salt,
        };
    }
    Ok(slots)
}
