//! Images to which a test adds by hand what the driver never makes: written from the specification.

use blk_core::{Options, RepairMode};

use super::Image;

pub(crate) const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
pub(crate) const COPIED: u64 = 1 << 63;

/// The bytes of an image with 16-bit refcounts, all of them in one block.
#[derive(Debug, Clone)]
pub(crate) struct Handmade {
    pub(crate) bytes: Vec<u8>,
    cluster_bytes: usize,
}

impl Handmade {
    pub(crate) fn new(image: &Image) -> Self {
        let mut made = Self { bytes: image.bytes(), cluster_bytes: 1 };
        made.cluster_bytes = 1 << made.get(20, 4);
        made.bytes.resize(made.bytes.len().next_multiple_of(made.cluster_bytes), 0);
        made
    }

    pub(crate) fn get(&self, at: usize, width: usize) -> u64 {
        self.bytes[at..at + width].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    pub(crate) fn put(&mut self, at: usize, width: usize, value: u64) {
        self.bytes[at..at + width].copy_from_slice(&value.to_be_bytes()[8 - width..]);
    }

    /// New clusters at the end that begin with `content`, each counted once; where they are.
    pub(crate) fn append(&mut self, content: &[u8]) -> u64 {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(content);
        self.bytes.resize((at + content.len()).next_multiple_of(self.cluster_bytes), 0);
        for cluster in (at..self.bytes.len()).step_by(self.cluster_bytes) {
            self.count(cluster as u64, 1);
        }
        at as u64
    }

    /// Changes the refcount of the cluster at this offset.
    pub(crate) fn count(&mut self, host_offset: u64, change: i64) {
        let block = self.get(self.get(48, 8) as usize, 8) as usize;
        let at = block + 2 * (host_offset as usize / self.cluster_bytes);
        self.put(at, 2, self.get(at, 2).wrapping_add_signed(change));
    }

    pub(crate) fn image(&self) -> Image {
        Image::from_bytes(&self.bytes)
    }

    /// What a check says of it, and of what a repair leaves: that has to be nothing.
    pub(crate) fn checked_and_repaired(&self) -> (String, Image) {
        let image = self.image();
        let disk = image.open(Options::new().with("backing", "off"));
        let found = disk.check(RepairMode::None).expect("an image in memory is checked");
        assert_eq!(image.bytes(), self.bytes, "a check without repair changes nothing");
        let repaired = disk.check(RepairMode::All).expect("an image in memory is repaired");
        assert!(repaired.is_repaired(), "{repaired}");
        let again = disk.check(RepairMode::None).expect("an image in memory is checked");
        assert!(again.is_clean(), "after {found}\n{again}");
        drop(disk);
        (found.to_string(), image)
    }
}
