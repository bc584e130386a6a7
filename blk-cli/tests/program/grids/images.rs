//! qcow2 images that QEMU has made, and places in them.

use std::path::Path;

use crate::qemu;

pub(crate) const COPIED: u64 = 1 << 63;
pub(crate) const COMPRESSED: u64 = 1 << 62;
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// The bytes of an image with 16-bit refcounts, all of them in one block.
#[derive(Clone)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Bytes {
    /// Plain data in one piece and apart, a compressed cluster, data in a second L2 table; with `snapshot`,
    /// also that.
    pub(crate) fn made_by_qemu(folder: &Path, compat: &str, cluster: u64, snapshot: bool) -> Self {
        let options = format!("compat={compat},cluster_size={cluster}");
        let reach = cluster / 8 * cluster;
        qemu::qemu_img(
            folder,
            &["create", "-q", "-f", "qcow2", "-o", &options, "made", &(3 * reach).to_string()],
        );
        let write = |how: &str, at: u64, length: u64| format!("write -q {how} {at} {length}");
        let commands = [
            write("-P 17", 0, 2 * cluster),
            write("-c -P 34", 3 * cluster, cluster),
            write("-P 51", 5 * cluster, cluster),
            write("-P 1", reach, cluster),
        ];
        qemu::qemu_io(folder, &["made"], &commands);
        if snapshot {
            qemu::qemu_img(folder, &["snapshot", "-c", "s0", "made"]);
            qemu::qemu_io(folder, &["made"], &[write("-P 5", 0, cluster)]);
        }
        Self(std::fs::read(folder.join("made")).expect("it was made"))
    }

    pub(crate) fn get(&self, at: u64, width: usize) -> u64 {
        self.0[at as usize..][..width].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    /// Writes a big-endian number; the image gets longer where it has to.
    pub(crate) fn put(&mut self, at: u64, width: usize, value: u64) {
        let end = at as usize + width;
        if self.0.len() < end {
            self.0.resize(end, 0);
        }
        self.0[at as usize..end].copy_from_slice(&value.to_be_bytes()[8 - width..]);
    }

    pub(crate) fn cluster(&self) -> u64 {
        1 << self.get(20, 4)
    }

    pub(crate) fn end(&self) -> u64 {
        self.0.len() as u64
    }

    pub(crate) fn l1(&self) -> u64 {
        self.get(40, 8)
    }

    pub(crate) fn l2(&self) -> u64 {
        self.get(self.l1(), 8) & OFFSET
    }

    pub(crate) fn refcount_table(&self) -> u64 {
        self.get(48, 8)
    }

    pub(crate) fn refcount_block(&self) -> u64 {
        self.get(self.refcount_table(), 8)
    }

    /// The first cluster of data.
    pub(crate) fn data(&self) -> u64 {
        self.get(self.l2(), 8) & OFFSET
    }

    /// Where the refcount of the cluster at `host_offset` stands.
    pub(crate) fn refcount_of(&self, host_offset: u64) -> u64 {
        self.refcount_block() + 2 * (host_offset / self.cluster())
    }

    /// What an entry of an L1 table refers to.
    pub(crate) fn target(&self, at: u64) -> u64 {
        self.get(at, 8) & OFFSET
    }
}
