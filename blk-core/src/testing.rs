//! The conformance suite: what every driver owes, whatever its format. A driver crate runs it with one line:
//!
//! ```text
//! blk_core::testing::conformance(&MyMaker);
//! ```
//!
//! Each rule is a function that panics where the driver breaks it. The suite is proven by drivers with a planted bug each,
//! which it has to catch.

mod content;
mod model;
mod shape;

use crate::{Access, Disk, Error, Result};

/// Makes disks of the driver under test. One medium lives as long as the maker's value for it.
pub trait Maker {
    /// What a disk is kept on.
    type Medium: Sync;

    /// A medium with a fresh disk of `size` zero bytes.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] or [`Error::Unsupported`] if the format has no disks of that size.
    fn make(&self, size: u64) -> Result<Self::Medium>;

    /// Opens the disk; an earlier handle has been closed.
    fn open(&self, medium: &Self::Medium, access: Access) -> Result<Disk>;
}

/// Runs every rule.
///
/// # Panics
/// With the rule that is broken.
pub fn conformance<M: Maker>(maker: &M) {
    shape::sizes(maker);
    shape::requests_outside_the_disk_are_refused(maker);
    shape::a_read_only_disk_refuses_to_change(maker);
    shape::status_covers_the_disk_and_agrees(maker);
    content::a_fresh_disk_reads_as_zeroes(maker);
    content::odd_ranges_keep_their_neighbours(maker);
    content::zeroes_are_zeroes_with_every_flag(maker);
    content::a_discard_leaves_old_bytes_or_zeroes(maker);
    content::growing_shows_only_zeroes(maker);
    content::compressed_writes_are_right_or_refused(maker);
    content::a_reopened_disk_keeps_everything(maker);
    model::random_requests_agree_with_a_vector(maker);
    model::threads_on_disjoint_ranges_do_not_meet(maker);
}

/// A fresh disk, open for writing; `None` if the format has no disks of that size.
fn fresh<M: Maker>(maker: &M, size: u64) -> Option<(M::Medium, Disk)> {
    let medium = match maker.make(size) {
        Ok(medium) => medium,
        Err(Error::InvalidOption { .. } | Error::Unsupported { .. } | Error::Misaligned { .. }) => {
            return None;
        }
        Err(error) => panic!("a disk of {size} bytes cannot be made: {error}"),
    };
    let disk = maker
        .open(&medium, Access::ReadWrite)
        .unwrap_or_else(|error| panic!("a fresh disk does not open: {error}"));
    assert_eq!(disk.size(), size, "a fresh disk has another size than it was made with");
    Some((medium, disk))
}

/// A fresh disk of a size that every format has.
fn usual<M: Maker>(maker: &M) -> (M::Medium, Disk) {
    fresh(maker, USUAL_BYTES).expect("every format has disks of 1 MiB and 512 bytes")
}

/// The size of most disks here: a few clusters of every cluster size, and a part of one.
const USUAL_BYTES: u64 = (1 << 20) + 512;

fn read(disk: &Disk, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0xee; length];
    disk.read(offset, &mut bytes).unwrap_or_else(|error| panic!("read {offset} {length}: {error}"));
    bytes
}

/// Bytes that differ from place to place and are never 0.
fn pattern(offset: u64, length: usize, salt: u8) -> Vec<u8> {
    (offset..offset + length as u64).map(|at| ((at ^ at >> 9) as u8 ^ salt) | 1).collect()
}

#[cfg(test)]
mod tests;
