//! Hostile LUKS images: the judge of the `open_luks` fuzz target.
//!
//! An input is changes to an image that opens, three bytes each: where (in the header and the first material,
//! a number of two bytes), and what stands there. So most inputs get far. One whose first byte is a multiple
//! of 4 is the bytes of an image instead.

use std::sync::{Arc, LazyLock};

use blk_core::{
    Access, Amend, Amendment, Disk, Error, ErrorKind, Extent, Format, MemoryStorage, Options, Result,
    Storage, WriteFlags, ZeroFlags,
};
use blk_luks::{Header, LuksFormat};
use serde::Serialize;

use crate::luks_target::{QUICK, key, secrets};

/// What became of inputs.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct LuksStats {
    /// Inputs.
    pub images: u64,
    /// Their header was accepted.
    pub parsed: u64,
    /// And the passphrase opened them.
    pub opened: u64,
    /// And what was written was read, by another passphrase.
    pub compared: u64,
}

/// No work of hours: what a header asks for is refused from here on.
const HASTY: LuksFormat = QUICK.with_rounds_max(48_000);
/// Bytes that changes reach: the header and some material.
const CHANGED_BYTES: usize = 9 << 10;
const DISK_BYTES: u64 = 4096;

static TEMPLATE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    QUICK.create_with(&storage, DISK_BYTES, key(), &secrets()).expect("it is made in memory");
    let mut bytes = vec![0; storage.len().expect("memory has a length") as usize];
    storage.read_at(0, &mut bytes).expect("memory is read");
    bytes
});

fn image(data: &[u8]) -> Vec<u8> {
    match data.split_first() {
        Some((first, image)) if first % 4 == 0 => image.to_vec(),
        _ => {
            let mut image = TEMPLATE.clone();
            for change in data.get(1..).unwrap_or_default().chunks_exact(3) {
                let place = usize::from(u16::from_le_bytes([change[0], change[1]])) % CHANGED_BYTES;
                image[place] = change[2];
            }
            image
        }
    }
}

/// Opens an image, and uses it in every way. Returns whether its header was accepted.
///
/// # Errors
/// What an image that opens does not do: keep what is written to it.
pub fn judge_luks(data: &[u8], stats: &mut LuksStats) -> std::result::Result<bool, String> {
    stats.images += 1;
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&image(data)));
    let header = Header::read(&*storage, 0);
    let open = |options: Options| HASTY.open(Arc::clone(&storage), Access::ReadWrite, options, &secrets());
    let locked = open(Options::new().with("locked", "on"));
    if let Ok(locked) = &locked {
        let shown = locked.read(0, &mut [0; 1]).is_ok() && locked.size() > 0;
        if shown || locked.info().is_err() {
            return Err("a disk without its key shows something, or does not say what it is".to_owned());
        }
    }
    let Ok(header) = header else { return Ok(false) };
    stats.parsed += 1;
    let Ok(disk) = open(key()) else { return Ok(true) };
    stats.opened += 1;
    let slots = header.slots.iter().filter(|slot| slot.is_active).count();
    // The disk is larger afterwards: what it gains is noise.
    let written = disk.size().min(700) as usize;
    match used(&disk, slots).and_then(|()| open(Options::new().with("key-secret", "key"))) {
        // Bytes that are noise may be anything; a slot that was free may lie past what a header can name.
        Err(error) if matches!(error.kind(), ErrorKind::NoSpace | ErrorKind::OutOfRange) => Ok(true),
        Err(error) => Err(format!("an image that opens cannot be used: {error}")),
        Ok(again) => {
            let mut read = [0; 700];
            again.read(0, &mut read[..written]).map_err(|error| error.to_string())?;
            if read[..written].iter().any(|byte| *byte != 0x5a) {
                return Err("what was written is not read".to_owned());
            }
            stats.compared += 1;
            Ok(true)
        }
    }
}

/// Writes, zeroes, grows, adds a slot and erases it.
fn used(disk: &Disk, active: usize) -> Result<()> {
    let size = disk.size().min(DISK_BYTES);
    disk.write_zeroes(Extent::new(0, size), ZeroFlags::default())?;
    disk.write(0, &vec![0x5a; size.min(700) as usize], WriteFlags::default())?;
    if disk.size() < 1 << 20 {
        disk.resize(disk.size() + 512)?;
    }
    let resolver = secrets();
    let amend = |options: Options| {
        let mut progress = |_, _| ();
        disk.amend(Amendment { options, force: false, resolver: &resolver, progress: &mut progress })
    };
    let add = Options::new().with("state", "active").with("new-secret", "key").with("iter-time", 0);
    match amend(add) {
        Err(Error::NoSpace { .. }) if active == 8 => return disk.close(),
        added => added?,
    }
    let free = active.min(7).to_string();
    // The slot may be one that was active before, and the only one: both are refused.
    let _ = amend(Options::new().with("state", "inactive").with("keyslot", free.as_str()));
    disk.close()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_gets_to_the_end_and_noise_does_not() {
        let mut stats = LuksStats::default();
        assert_eq!(judge_luks(&[], &mut stats), Ok(true));
        // A change in the digest's salt.
        assert_eq!(judge_luks(&[1, 140, 0, 9], &mut stats), Ok(true));
        assert_eq!(judge_luks(&[0, 1, 2, 3], &mut stats), Ok(false));
        let LuksStats { images, parsed, opened, compared } = stats;
        assert_eq!((images, parsed, opened, compared), (3, 2, 1, 1));
    }

    /// One change in each byte of the header, and two at once in some.
    #[test]
    fn single_changes_of_the_header_are_survived() {
        let mut stats = LuksStats::default();
        for place in 0..592_u16 {
            for value in [0, 1, 0x7f, 0xff] {
                let [low, high] = place.to_le_bytes();
                judge_luks(&[1, low, high, value], &mut stats).unwrap();
            }
        }
        assert!(stats.opened * 10 > stats.images * 3 && stats.parsed < stats.images, "{stats:?}");
    }
}
