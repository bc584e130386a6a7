//! Dirty bitmaps that an image keeps: what a driver that follows them can do.

use crate::{DirtyBitmap, Extent, Result};

/// What is known of a bitmap besides its bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BitmapInfo {
    /// Its name, unique in the image.
    pub name: String,
    /// Bytes of the disk that a bit stands for, a power of two.
    pub granularity_bytes: u64,
    /// It follows what is written.
    pub is_enabled: bool,
    /// The image says that what it has of the bitmap need not be what the bitmap is.
    pub is_in_use: bool,
    /// Its bits are unknown: the program that followed it has not saved it, or its table lies where none can,
    /// or it is of an unknown kind. It can be removed, and nothing else.
    pub is_inconsistent: bool,
    /// Bytes of the disk that are dirty; 0 of an inconsistent one.
    pub dirty_bytes: u64,
}

/// Keeping dirty bitmaps. One that is enabled has a bit set for whatever a write, zeroes or a discard has
/// asked for since, also where that has failed; a discard that the disk ignores asks for nothing. Where a
/// snapshot was applied all of the disk is dirty. Another size sets no bit: what is cut off may be forgotten,
/// what is gained is clean unless it was dirty before.
///
/// After a crash a bitmap is as it was saved last, at a close, if nothing that it had to follow has happened
/// since; else it is inconsistent. Which bitmaps there are is durable at once. One that was added enabled,
/// one that was cleared, enabled, disabled or merged into, and all of them after another size, may be
/// inconsistent until the next close, too. What marks an image's copy as out of date is durable before what
/// makes it so.
///
/// # Errors
/// All methods: [`Error::Unresolved`](crate::Error::Unresolved) for a bitmap that is not there, or that is
/// inconsistent where its bits are needed; what the storage reports.
pub trait Bitmaps {
    /// All of them, in the order of the image.
    fn bitmaps(&self) -> Result<Vec<BitmapInfo>>;

    /// The bits of one as they are now: a copy.
    fn read_bitmap(&self, name: &str) -> Result<DirtyBitmap>;

    /// How many bytes from the start of `extent`, which is not empty, are alike now, and whether they are
    /// dirty.
    fn bitmap_run(&self, name: &str, extent: Extent) -> Result<(u64, bool)> {
        Ok(self.read_bitmap(name)?.run(extent))
    }

    /// The granularity that suits the image, bytes: its cluster size between 4 KiB and 64 KiB, as QEMU has
    /// it.
    fn default_granularity_bytes(&self) -> u64;

    /// Makes a bitmap without dirty bits. It is there after a crash, and may be inconsistent then if it is
    /// enabled.
    ///
    /// # Errors
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) for a name that is there already or that the
    /// format does not take, and for a granularity that it does not take or that needs too many bits;
    /// [`Error::Unsupported`](crate::Error::Unsupported) where the image cannot have one.
    fn add_bitmap(&self, name: &str, granularity_bytes: u64, is_enabled: bool) -> Result<()>;

    /// Removes one; an inconsistent one too. It stays so after a crash.
    fn remove_bitmap(&self, name: &str) -> Result<()>;

    /// Makes all of the disk clean. After a crash before the next close the bitmap is inconsistent, or as it
    /// was before; so are those that are changed in another way.
    fn clear_bitmap(&self, name: &str) -> Result<()>;

    /// Begins or ends following what is written.
    fn enable_bitmap(&self, name: &str, is_enabled: bool) -> Result<()>;

    /// Makes dirty what `source` has as dirty, of whatever granularity.
    fn merge_bitmap(&self, name: &str, source: &DirtyBitmap) -> Result<()>;
}
