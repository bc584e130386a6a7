//! What other programs put into an image, and our driver only keeps: a snapshot of all of the disk, and a
//! dirty bitmap.
//!
//! Made by hand, from the specification, for an image of version 3 with 16-bit refcounts, whose counts all
//! lie in one block.

use super::bytes::number;

const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const EXTENSION_BITMAPS: u32 = 0x2385_2875;
/// The snapshot's name.
pub(crate) const SNAPSHOT: &str = "before";
/// The bitmap's name.
pub(crate) const BITMAP: &str = "changes";
/// Guest bytes that a bit of the bitmap stands for, as a power of two.
pub(crate) const GRANULARITY_BITS: u8 = 16;

/// An image that is made larger.
struct Bytes {
    image: Vec<u8>,
    cluster_bytes: usize,
}

/// The image with a snapshot of what it holds, and with a bitmap that says that nothing has changed since.
pub(crate) fn with_snapshot_and_bitmap(image: &[u8]) -> Vec<u8> {
    let cluster_bits = number(image, 20, 4);
    let mut bytes = Bytes { image: image.to_vec(), cluster_bytes: 1 << cluster_bits };
    bytes.image.resize(image.len().next_multiple_of(bytes.cluster_bytes), 0);
    bytes.add_snapshot();
    bytes.add_bitmap();
    bytes.image
}

impl Bytes {
    fn get(&self, at: usize, width: usize) -> u64 {
        number(&self.image, at, width)
    }

    fn put(&mut self, at: usize, width: usize, value: u64) {
        self.image[at..at + width].copy_from_slice(&value.to_be_bytes()[8 - width..]);
    }

    /// A new cluster at the end with these bytes, counted once; where it is.
    fn append(&mut self, content: &[u8]) -> usize {
        let at = self.image.len();
        self.image.extend_from_slice(content);
        self.image.resize(at + self.cluster_bytes, 0);
        self.count(at as u64);
        at
    }

    /// One more reference to the cluster at this offset.
    fn count(&mut self, host_offset: u64) {
        let block = self.get(self.get(48, 8) as usize, 8) as usize;
        let at = block + 2 * (host_offset as usize / self.cluster_bytes);
        self.put(at, 2, self.get(at, 2) + 1);
    }

    /// The snapshot refers to the tables of the disk: each cluster has one more reference, and none is the
    /// disk's alone.
    fn add_snapshot(&mut self) {
        let (l1, l1_entries) = (self.get(40, 8) as usize, self.get(36, 4) as usize);
        for index in 0..l1_entries {
            let entry = self.get(l1 + 8 * index, 8);
            self.put(l1 + 8 * index, 8, entry & !COPIED);
            if entry & OFFSET != 0 {
                self.count(entry & OFFSET);
                self.share_table((entry & OFFSET) as usize);
            }
        }
        let table = self.image[l1..l1 + 8 * l1_entries].to_vec();
        let copy = self.append(&table) as u64;
        let mut entry = Vec::new();
        entry.extend(copy.to_be_bytes());
        entry.extend((l1_entries as u32).to_be_bytes());
        entry.extend(1u16.to_be_bytes());
        entry.extend((SNAPSHOT.len() as u16).to_be_bytes());
        // Seconds and nanoseconds of the date, the machine's clock, the size of its state, bytes of extra
        // data.
        entry.extend(1_700_000_000u32.to_be_bytes());
        entry.extend(5u32.to_be_bytes());
        entry.extend(7u64.to_be_bytes());
        entry.extend(0u32.to_be_bytes());
        entry.extend(24u32.to_be_bytes());
        entry.extend(0u64.to_be_bytes());
        entry.extend(self.get(24, 8).to_be_bytes());
        entry.extend(9u64.to_be_bytes());
        entry.push(b'1');
        entry.extend(SNAPSHOT.as_bytes());
        let at = self.append(&entry) as u64;
        self.put(60, 4, 1);
        self.put(64, 8, at);
    }

    fn share_table(&mut self, l2: usize) {
        for at in (l2..l2 + self.cluster_bytes).step_by(8) {
            let entry = self.get(at, 8);
            if entry & COMPRESSED != 0 {
                // A descriptor: the offset, and above it how many more sectors it reaches into.
                let sector_bits = self.cluster_bytes.ilog2() - 8;
                let offset = entry & ((1 << (62 - sector_bits)) - 1);
                let more = entry >> (62 - sector_bits) & ((1 << sector_bits) - 1);
                let last = (offset & !511) + more * 512;
                let clusters = offset / self.cluster_bytes as u64..=last / self.cluster_bytes as u64;
                for cluster in clusters {
                    self.count(cluster * self.cluster_bytes as u64);
                }
            } else if entry & OFFSET != 0 {
                self.put(at, 8, entry & !COPIED);
                self.count(entry & OFFSET);
            }
        }
    }

    fn add_bitmap(&mut self) {
        let bits = self.append(&[]) as u64;
        let table = self.append(&bits.to_be_bytes()) as u64;
        let mut entry = Vec::new();
        entry.extend(table.to_be_bytes());
        entry.extend(1u32.to_be_bytes());
        // It follows all writes, is of the only kind that there is, and has no extra data.
        entry.extend(2u32.to_be_bytes());
        entry.extend([1, GRANULARITY_BITS]);
        entry.extend((BITMAP.len() as u16).to_be_bytes());
        entry.extend(0u32.to_be_bytes());
        entry.extend(BITMAP.as_bytes());
        entry.resize(entry.len().next_multiple_of(8), 0);
        let directory = self.append(&entry) as u64;
        let mut extension = Vec::new();
        extension.extend(EXTENSION_BITMAPS.to_be_bytes());
        extension.extend(24u32.to_be_bytes());
        extension.extend(1u32.to_be_bytes());
        extension.extend(0u32.to_be_bytes());
        extension.extend((entry.len() as u64).to_be_bytes());
        extension.extend(directory.to_be_bytes());
        // In front of the other extensions; what falls off the end of the first cluster is zeroes.
        let first = self.get(100, 4) as usize;
        let others = self.image[first..self.cluster_bytes - extension.len()].to_vec();
        self.image[first..first + extension.len()].copy_from_slice(&extension);
        self.image[first + extension.len()..self.cluster_bytes].copy_from_slice(&others);
        self.put(88, 8, 1);
    }
}
