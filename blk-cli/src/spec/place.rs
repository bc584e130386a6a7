//! Where the bytes of an open file lie, whatever name it was opened by.
//!
//! A regular file is its device and inode: hard links, symbolic links and mounts lead to the same. A block
//! device is its number, and besides what it is made of, as the kernel tells in /sys: a loop device is a
//! range of its file, a partition a range of its disk, and a mapped device takes all of the devices below it.
//! Two places overlap when they share a byte of anything.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use blk_core::Extent;
use nix::libc::{major, minor};

/// Devices that are made of devices are followed so far down.
const DEPTH_MAX: usize = 8;
/// The kernel counts a partition's start and size, and the size of every device, in these.
const SECTOR_BYTES: u64 = 512;
const EVERYTHING: Extent = Extent::new(0, u64::MAX);

/// What holds bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// The device that the file system lies on, and the inode.
    File(u64, u64),
    /// The number of a block device.
    Device(u64),
}

/// All the places that the bytes of one open file have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place {
    areas: Vec<(Holder, Extent)>,
}

impl Place {
    /// Of a file with this metadata.
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let mut place = Self::default();
        place.add(metadata, EVERYTHING, DEPTH_MAX);
        place
    }

    /// Of the file of that name, if it exists.
    pub(crate) fn of_path(path: &Path) -> io::Result<Self> {
        Ok(Self::of(&fs::metadata(path)?))
    }

    /// Whether a byte written to one can be read from the other.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let meets = |(holder, extent): &(Holder, Extent)| {
            other.areas.iter().any(|(theirs, range)| holder == theirs && overlap(*extent, *range))
        };
        self.areas.iter().any(meets)
    }

    fn add(&mut self, metadata: &Metadata, range: Extent, depth: usize) {
        if metadata.file_type().is_block_device() {
            self.add_device(metadata.rdev(), range, depth);
        } else {
            self.areas.push((Holder::File(metadata.dev(), metadata.ino()), range));
        }
    }

    fn add_device(&mut self, number: u64, range: Extent, depth: usize) {
        self.areas.push((Holder::Device(number), range));
        let Some(depth) = depth.checked_sub(1) else { return };
        let folder = folder_of(number);
        if let Some((path, inner)) = loop_file(&folder, range) {
            if let Ok(metadata) = fs::metadata(path) {
                self.add(&metadata, inner, depth);
            }
        } else if let Some((disk, inner)) = partitioned_disk(&folder, range) {
            self.add_device(disk, inner, depth);
        } else {
            for device in devices_below(&folder) {
                self.add_device(device, EVERYTHING, depth);
            }
        }
    }
}

/// Whether it is a block device that the kernel does not let anybody write, though it lets them open it for
/// that.
pub(crate) fn is_read_only_device(metadata: &Metadata) -> bool {
    let device = metadata.rdev();
    metadata.file_type().is_block_device() && number(&folder_of(device).join("ro")) == Some(1)
}

fn folder_of(device: u64) -> PathBuf {
    PathBuf::from(format!("/sys/dev/block/{}:{}", major(device), minor(device)))
}

fn overlap(a: Extent, b: Extent) -> bool {
    let end = |extent: Extent| extent.offset.saturating_add(extent.length);
    a.offset < end(b) && b.offset < end(a)
}

/// The part of what holds a device that `range` of the device stands for; the device starts at `start` of it.
fn shifted(range: Extent, start: u64, size: Option<u64>) -> Extent {
    let length = size.map_or(range.length, |size| range.length.min(size.saturating_sub(range.offset)));
    Extent::new(range.offset.saturating_add(start), length)
}

/// The file of a loop device, and which part of it `range` is.
fn loop_file(folder: &Path, range: Extent) -> Option<(PathBuf, Extent)> {
    let settings = folder.join("loop");
    let mut path = fs::read(settings.join("backing_file")).ok()?;
    if path.last() == Some(&b'\n') {
        path.pop();
    }
    let size = number(&settings.join("sizelimit")).filter(|size| *size > 0);
    let inner = shifted(range, number(&settings.join("offset"))?, size);
    Some((PathBuf::from(OsString::from_vec(path)), inner))
}

/// The number of the disk that a partition lies on, and which part of it `range` is.
fn partitioned_disk(folder: &Path, range: Extent) -> Option<(u64, Extent)> {
    let start = number(&folder.join("start"))?.checked_mul(SECTOR_BYTES)?;
    let size = number(&folder.join("size"))?.checked_mul(SECTOR_BYTES)?;
    // The link leads into the folder of the disk that has the partition.
    let disk = fs::canonicalize(folder).ok()?;
    let disk = device_number(&disk.parent()?.join("dev"))?;
    Some((disk, shifted(range, start, Some(size))))
}

fn devices_below(folder: &Path) -> Vec<u64> {
    let Ok(entries) = fs::read_dir(folder.join("slaves")) else { return Vec::new() };
    entries.flatten().filter_map(|entry| device_number(&entry.path().join("dev"))).collect()
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// From `MAJOR:MINOR`.
fn device_number(path: &Path) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some(nix::libc::makedev(major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range_of(number: u64, offset: u64, length: u64) -> Place {
        Place { areas: vec![(Holder::Device(number), Extent::new(offset, length))] }
    }

    #[test]
    fn names_of_one_file_are_one_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("a"), "x").unwrap();
        fs::write(path("other"), "x").unwrap();
        fs::hard_link(path("a"), path("hard")).unwrap();
        std::os::unix::fs::symlink("a", path("soft")).unwrap();
        fs::create_dir(path("dir")).unwrap();
        let file = fs::File::open(path("a")).unwrap();
        let place = Place::of(&file.metadata().unwrap());
        let through_proc = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        for name in [path("hard"), path("soft"), path("dir/../a"), through_proc.into()] {
            assert!(Place::of_path(&name).unwrap().overlaps(&place), "{}", name.display());
        }
        assert!(!Place::of_path(&path("other")).unwrap().overlaps(&place));
        assert!(Place::of_path(&path("missing")).is_err());
    }

    #[test]
    fn partitions_meet_their_disk_and_not_each_other() {
        let disk = range_of(7, 0, u64::MAX);
        let first = range_of(7, 1 << 20, 1 << 20);
        let second = range_of(7, 2 << 20, 1 << 20);
        assert!(first.overlaps(&disk) && disk.overlaps(&second) && !first.overlaps(&second));
        assert!(!first.overlaps(&range_of(8, 0, u64::MAX)));
        assert_eq!(shifted(EVERYTHING, 512, Some(100)), Extent::new(512, 100));
        assert_eq!(shifted(Extent::new(u64::MAX, 5), 512, None), Extent::new(u64::MAX, 5));
        assert_eq!(shifted(Extent::new(200, 5), 512, Some(100)), Extent::new(712, 0));
    }
}
