//! What others keep in a qcow2 image: snapshots, dirty bitmaps, feature bits and header extensions that
//! nobody knows. It is read from the bytes as the specification has them, without the driver: what both took
//! for right would not be noticed.

use blk_core::{Error, Extent, Result, Storage, slot_of_name};
use blk_harness::driver::{Kept, Lasts};
use blk_harness::random::{hash, mix};

/// Entries of a snapshot's L1 table that are walked; the images here have a few.
const L1_ENTRIES_MAX: u32 = 1 << 16;
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;
/// The bit of the compatible features that our driver knows: lazy refcounts, which it sets and clears.
const COMPATIBLE_KNOWN: u64 = 1;
/// The bit of the incompatible features that says that L2 entries are extended.
const INCOMPATIBLE_EXTENDED_L2: u64 = 1 << 4;
/// Header extensions that our driver knows, and may write anew: the end, the backing format, names of
/// features, bitmaps, the data file.
const EXTENSIONS_KNOWN: [u32; 5] = [0, 0xe279_2aca, 0x6803_f857, BITMAPS, 0x4441_5441];
/// Where the extensions of version 2 begin, which has no field for it.
const HEADER_BYTES_V2: u64 = 72;
/// The autoclear bit that says that the bitmaps are up to date.
const AUTOCLEAR_BITMAPS: u64 = 1;
const BITMAPS: u32 = 0x2385_2875;
/// Flags of a bitmap: its copy in the image may be stale; it follows what is written.
const IN_USE: u32 = 1;
const AUTO: u32 = 2;
/// Bytes of an entry of the directory of bitmaps without extra data and name.
const BITMAP_BYTES: u64 = 24;
/// Entries of a bitmap's table that are walked.
const BITMAP_ENTRIES_MAX: u32 = 1 << 20;

/// Reads numbers from an image.
struct Image<'a> {
    storage: &'a dyn Storage,
    version: u32,
    cluster_bits: u32,
    /// L2 entries have bitmaps of subclusters.
    is_extended: bool,
}

/// What others keep in the image.
pub(crate) fn kept(storage: &dyn Storage) -> Result<Vec<Kept>> {
    let image = Image::of(storage)?;
    let mut kept = image.snapshots()?;
    if image.version >= 3 {
        let compatible = image.number64(80)? & !COMPATIBLE_KNOWN;
        let name = "compatible feature bits that nobody knows".to_owned();
        kept.push(Kept { name, digest: compatible, lasts: Lasts::UntilAmended });
        let autoclear = image.number64(88)?;
        let name = "autoclear feature bits that nobody knows".to_owned();
        kept.push(Kept { name, digest: autoclear & !AUTOCLEAR_BITMAPS, lasts: Lasts::UntilChanged });
        // Without the bit nobody reads them.
        let bitmaps = if autoclear & AUTOCLEAR_BITMAPS != 0 { image.bitmaps()? } else { Vec::new() };
        // Those that requests have made follow those of others.
        let still = bitmaps.into_iter().filter(|bitmap| !bitmap.follows && !bitmap.is_of_requests);
        kept.extend(still.map(|bitmap| always(bitmap.name, bitmap.digest)));
    }
    kept.extend(image.unknown_extensions()?);
    Ok(kept)
}

/// Where the clusters of bitmaps lie that nobody vouches for: they belong to nobody.
pub(crate) fn bitmap_clusters(storage: &dyn Storage) -> Result<Vec<u64>> {
    let image = Image::of(storage)?;
    if image.version < 3 || image.number64(88)? & AUTOCLEAR_BITMAPS != 0 {
        return Ok(Vec::new());
    }
    let mut clusters: Vec<u64> = image.bitmaps()?.into_iter().flat_map(|bitmap| bitmap.clusters).collect();
    clusters.sort_unstable();
    clusters.dedup();
    Ok(clusters)
}

fn always(name: impl Into<String>, digest: u64) -> Kept {
    Kept { name: name.into(), digest, lasts: Lasts::Always }
}

/// Joins a value to a digest.
fn joined(digest: u64, value: u64) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&digest.to_le_bytes());
    bytes[8..].copy_from_slice(&value.to_le_bytes());
    hash(&bytes)
}

/// A digest of long data, by words: it is only compared with others of the same run.
fn digest(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let folded = words.iter().fold(hash(rest), |digest, word| {
        (digest.rotate_left(23) ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    mix(folded)
}

/// A dirty bitmap.
struct Bitmap {
    name: String,
    /// It follows what is written, and so is not kept as it is.
    follows: bool,
    /// Requests have made it.
    is_of_requests: bool,
    /// Of what it says, and of its bits, wherever they lie.
    digest: u64,
    /// Where its clusters lie, those of its part of the directory too.
    clusters: Vec<u64>,
}

impl<'a> Image<'a> {
    fn of(storage: &'a dyn Storage) -> Result<Self> {
        let mut image = Self { storage, version: 0, cluster_bits: 0, is_extended: false };
        (image.version, image.cluster_bits) = (image.number32(4)?, image.number32(20)?);
        image.is_extended = image.version >= 3 && image.number64(72)? & INCOMPATIBLE_EXTENDED_L2 != 0;
        if !(9..=21).contains(&image.cluster_bits) {
            return Err(Error::malformed("qcow2 header", 20, "the cluster size is none"));
        }
        Ok(image)
    }
}

impl Image<'_> {
    fn bytes<const N: usize>(&self, at: u64) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.storage.read_at(at, &mut bytes)?;
        Ok(bytes)
    }

    fn number32(&self, at: u64) -> Result<u32> {
        self.bytes(at).map(u32::from_be_bytes)
    }

    fn number64(&self, at: u64) -> Result<u64> {
        self.bytes(at).map(u64::from_be_bytes)
    }

    /// The hash of a cluster of zeroes.
    fn zeroes(&self) -> u64 {
        digest(&vec![0; self.cluster_bytes() as usize])
    }

    fn hashed(&self, at: u64, length: u64) -> Result<u64> {
        let mut bytes = vec![0; length as usize];
        self.storage.read_at(at, &mut bytes)?;
        Ok(digest(&bytes))
    }

    fn cluster_bytes(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// The content of each snapshot.
    fn snapshots(&self) -> Result<Vec<Kept>> {
        let (count, mut at) = (self.number32(60)?, self.number64(64)?);
        let mut kept = Vec::new();
        for number in 0..count {
            let (table, entries) = (self.number64(at)?, self.number32(at + 8)?);
            let (id, name) = (self.bytes::<2>(at + 12)?, self.bytes::<2>(at + 14)?);
            let lengths = [id, name].map(|length| u64::from(u16::from_be_bytes(length)));
            let extra = u64::from(self.number32(at + 36)?);
            let name_at = at + 40 + extra + lengths[0];
            // Those that requests have made follow those of others.
            if slot_of_name(&self.text(name_at, lengths[1])?).is_none() {
                kept.push(always(format!("the content of snapshot {number}"), self.content(table, entries)?));
            }
            at = (at + 40 + extra + lengths[0] + lengths[1]).next_multiple_of(8);
        }
        kept.push(always("the number of snapshots", kept.len() as u64));
        Ok(kept)
    }

    fn text(&self, at: u64, length: u64) -> Result<String> {
        let mut bytes = vec![0; length.min(u16::MAX.into()) as usize];
        self.storage.read_at(at, &mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A digest of all that an L1 table shows.
    fn content(&self, table: u64, entries: u32) -> Result<u64> {
        if entries > L1_ENTRIES_MAX {
            return Err(Error::malformed("snapshot table", table, "an L1 table is too long"));
        }
        let has_backing = self.number64(8)? != 0;
        let zeroes = self.zeroes();
        let mut digest = 1;
        for index in 0..u64::from(entries) {
            let l2 = self.number64(table + index * 8)? & OFFSET_MASK;
            if l2 == 0 {
                continue;
            }
            let entry_bytes = if self.is_extended { 16 } else { 8 };
            for slot in 0..self.cluster_bytes() / entry_bytes {
                let entry = self.number64(l2 + slot * entry_bytes)?;
                let found = if self.is_extended && entry & COMPRESSED == 0 {
                    self.subclusters(entry, self.number64(l2 + slot * entry_bytes + 8)?)?
                } else {
                    self.cluster(entry)?
                };
                // A version without marks has zeroes for them; without a backing file, both are no cluster.
                let found = if found == zeroes { ZERO } else { found };
                if found != 0 && (has_backing || found != ZERO) {
                    digest = joined(joined(digest, index << 32 | slot), found);
                }
            }
        }
        Ok(digest)
    }

    /// A digest of what an entry of an L2 table shows; 0 where it shows nothing.
    fn cluster(&self, entry: u64) -> Result<u64> {
        if entry & COMPRESSED != 0 {
            let bits = 62 - (self.cluster_bits - 8);
            let (start, sectors) = (entry & ((1 << bits) - 1), ((entry & !(3 << 62)) >> bits) + 1);
            // It ends somewhere in its last sector, behind which another may begin.
            let length = (sectors * 512 - start % 512).saturating_sub(512);
            return Ok(joined(COMPRESSED, self.hashed(start, length)?));
        }
        if self.version >= 3 && entry & ZERO != 0 {
            return Ok(ZERO);
        }
        match entry & OFFSET_MASK {
            0 => Ok(0),
            host => self.hashed(host, self.cluster_bytes()),
        }
    }

    /// As [`Image::cluster`] of an entry with a bitmap.
    fn subclusters(&self, entry: u64, bitmap: u64) -> Result<u64> {
        if bitmap == 0 {
            return Ok(0);
        }
        let (host, bytes) = (entry & OFFSET_MASK, self.cluster_bytes() / 32);
        let mut digest = joined(ZERO, bitmap);
        for number in (0..32).filter(|number| bitmap >> number & 1 != 0) {
            digest = joined(digest, self.hashed(host + number * bytes, bytes)?);
        }
        Ok(digest)
    }

    /// The header extensions: the kind of each, and where what it says lies.
    fn extensions(&self) -> Result<Vec<(u32, Extent)>> {
        let mut found = Vec::new();
        let mut at = if self.version >= 3 { self.number32(100)?.into() } else { HEADER_BYTES_V2 };
        loop {
            let (kind, length) = (self.number32(at)?, u64::from(self.number32(at + 4)?));
            if kind == 0 || at + 8 + length > self.cluster_bytes() {
                return Ok(found);
            }
            found.push((kind, Extent::new(at + 8, length)));
            at = (at + 8 + length).next_multiple_of(8);
        }
    }

    /// Header extensions that our driver does not know.
    fn unknown_extensions(&self) -> Result<Vec<Kept>> {
        let extensions = self.extensions()?.into_iter().filter(|(kind, _)| !EXTENSIONS_KNOWN.contains(kind));
        let digest = |(kind, Extent { offset, length })| {
            Ok(always(format!("header extension {kind:#x}"), self.hashed(offset, length)?))
        };
        extensions.map(digest).collect()
    }

    /// The bitmaps, whether the bit that vouches for them is set or not.
    fn bitmaps(&self) -> Result<Vec<Bitmap>> {
        let extensions = self.extensions()?;
        let Some((_, extent)) = extensions.iter().find(|(kind, _)| *kind == BITMAPS) else {
            return Ok(Vec::new());
        };
        let (count, mut at) = (self.number32(extent.offset)?, self.number64(extent.offset + 16)?);
        let mut bitmaps = Vec::new();
        for number in 0..count {
            let (bitmap, end) = self.bitmap(number, at)?;
            bitmaps.push(bitmap);
            at = end;
        }
        Ok(bitmaps)
    }

    /// The bitmap of an entry of the directory, and where the entry ends.
    fn bitmap(&self, number: u32, at: u64) -> Result<(Bitmap, u64)> {
        let (table, entries) = (self.number64(at)?, self.number32(at + 8)?);
        if entries > BITMAP_ENTRIES_MAX {
            return Err(Error::malformed("bitmap directory", at, "a table is too long"));
        }
        let name = u64::from(u16::from_be_bytes(self.bytes(at + 18)?));
        let extra = u64::from(self.number32(at + 20)?);
        let bytes = BITMAP_BYTES + extra + name;
        let flags = self.number32(at + 12)?;
        // Kind and granularity, then extra data and name. Whether it is in use is its follower's business.
        let mut digest = joined(self.hashed(at + 16, 8 + extra + name)?, u64::from(flags & !IN_USE));
        let whole = self.cluster_bytes();
        let spanned =
            |at: u64, bytes: u64| (at / whole..(at + bytes).div_ceil(whole)).map(|index| index * whole);
        let mut clusters: Vec<u64> =
            spanned(at, bytes).chain(spanned(table, u64::from(entries) * 8)).collect();
        for index in 0..u64::from(entries) {
            let entry = self.number64(table + index * 8)?;
            let host = entry & OFFSET_MASK;
            let bits = if host == 0 { entry } else { self.hashed(host, whole)? };
            // A table may become longer with the disk.
            if bits != 0 && bits != self.zeroes() {
                digest = joined(joined(digest, index), bits);
            }
            clusters.extend((host != 0).then_some(host));
        }
        let follows = flags & AUTO != 0 && flags & IN_USE == 0;
        let is_of_requests = slot_of_name(&self.text(at + BITMAP_BYTES + extra, name)?).is_some();
        let bitmap = Bitmap { name: format!("bitmap {number}"), follows, is_of_requests, digest, clusters };
        Ok((bitmap, (at + bytes).next_multiple_of(8)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images;
    use blk_core::MemoryStorage;

    /// The names of what differs from the image as it was.
    fn changed(image: &MemoryStorage, at: u64) -> Vec<String> {
        let before = kept(image).unwrap();
        let mut byte = [0];
        image.read_at(at, &mut byte).unwrap();
        image.write_at(at, &[byte[0] ^ 0x40]).unwrap();
        let after = kept(image).unwrap();
        let differs = |(old, new): &(Kept, Kept)| old != new;
        before.into_iter().zip(after).filter(differs).map(|(old, _)| old.name).collect()
    }

    #[test]
    fn what_a_snapshot_shows_is_read_and_a_change_of_it_is_seen() {
        let image = images::image("snapshots", 1 << 20).unwrap().duplicate();
        let names: Vec<String> = kept(&image).unwrap().into_iter().map(|kept| kept.name).collect();
        assert!(names.contains(&"the content of snapshot 1".to_owned()), "{names:?}");
        // Where the first snapshot's data lies is found by its bytes: 40 KiB of 0x11.
        let mut bytes = vec![0; image.len().unwrap() as usize];
        image.read_at(0, &mut bytes).unwrap();
        let at = bytes.windows(4096).position(|window| window.iter().all(|byte| *byte == 0x11)).unwrap();
        let seen = changed(&image, at as u64);
        assert!(seen.contains(&"the content of snapshot 0".to_owned()), "{seen:?}");
        assert_eq!(changed(&image, 95), ["autoclear feature bits that nobody knows"]);
    }

    #[test]
    fn bits_and_extensions_that_nobody_knows_are_read() {
        let image = images::image("features", 1 << 20).unwrap().duplicate();
        let kept = kept(&image).unwrap();
        let of = |name: &str| kept.iter().find(|kept| kept.name == name).map(|kept| kept.digest);
        assert_eq!(of("compatible feature bits that nobody knows"), Some(1 << 3));
        assert_eq!(of("autoclear feature bits that nobody knows"), Some(1 << 9));
        assert!(of("header extension 0x2b4c0de5").is_some(), "{kept:?}");
    }

    #[test]
    fn bitmaps_are_read_and_a_change_of_one_is_seen() {
        let image = images::image("bitmaps", 4 << 20).unwrap().duplicate();
        // The first follows what is written, the second stays: its table, its granularity.
        assert_eq!(changed(&image, 0x4_0000), [""; 0]);
        assert_eq!(changed(&image, 0xd_0007), ["bitmap 1"]);
        let (mut directory, mut name) = (vec![0; 64], Vec::new());
        image.read_at(0xe_0000, &mut directory).unwrap();
        name.extend(directory.windows(3).position(|window| window == b"two"));
        assert_eq!(changed(&image, 0xe_0000 + name[0] as u64), ["bitmap 1"], "the name");
        assert!(bitmap_clusters(&image).unwrap().is_empty(), "they are in use");
        let image = images::image("bitmaps", 4 << 20).unwrap().duplicate();
        image.write_at(95, &[0]).unwrap();
        assert!(kept(&image).unwrap().iter().all(|kept| !kept.name.starts_with("bitmap")));
        // As qemu-img check and a look at the bytes have it: directory, tables, and the data of the first.
        assert_eq!(bitmap_clusters(&image).unwrap(), [0x4_0000, 0x5_0000, 0xd_0000, 0xe_0000]);
    }
}
