//! What a disk can do besides reading and writing, where its driver can: changing its size, checks, what it
//! says about itself.

use std::sync::{Arc, Weak};

use super::{Access, Disk, SizeWatcher};
use crate::sync::atomic::Ordering;
use crate::{
    Amend, Amendment, BackingFile, BitmapInfo, Bitmaps, Check, CheckReport, DirtyBitmap, Error, Extent,
    ImageInfo, Info, NewSnapshot, Overlay, Preallocation, RepairMode, Resize, Result, SnapshotInfo,
    Snapshots, VmState,
};

impl Disk {
    /// Makes the disk `size` bytes long; bytes that are gained read as zeroes.
    pub fn resize(&self, size: u64) -> Result<()> {
        self.change_size(size, |resize| resize.resize(size))
    }

    /// Makes the disk `size` bytes long and allocates what it gains.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if something is to be allocated and the disk would become smaller, and what
    /// [`crate::Resize::grow`] says.
    pub fn grow(&self, size: u64, preallocation: Preallocation) -> Result<()> {
        if preallocation == Preallocation::Off {
            return self.resize(size);
        }
        self.change_size(size, |resize| {
            if size < self.driver.size() {
                return Err(Error::invalid_option("preallocation", "it needs a disk that becomes larger"));
            }
            resize.grow(size, preallocation)
        })
    }

    fn change_size(&self, size: u64, change: impl FnOnce(&dyn Resize) -> Result<()>) -> Result<()> {
        self.check_writable()?;
        if !size.is_multiple_of(self.limits.request_alignment) {
            let alignment = self.limits.request_alignment;
            return Err(Error::Misaligned { offset: 0, length: size, alignment });
        }
        let resize = self.driver.as_resize().ok_or_else(|| Error::unsupported("resize"))?;
        let alone = self.resizing.lock();
        let old = self.driver.size();
        let changed = change(resize);
        let found = self.driver.size();
        match &changed {
            Ok(()) => assert_eq!(found, size, "driver reports another size than it was resized to"),
            Err(error) if error.is_refusal() => {
                assert_eq!(found, old, "driver refuses to resize to {size} bytes and has changed: {error}");
            }
            Err(error) => {
                assert!(found == old || found == size, "{old} to {size} bytes failed at {found}: {error}");
            }
        }
        drop(alone);
        if found != old {
            self.tell_size();
        }
        changed
    }

    /// Has `watcher` called whenever the size has changed through this disk, also where a change of size
    /// failed midway, as long as the caller keeps it. It is called by the thread that has changed the size,
    /// after that, with the size that the disk has then. It may make requests.
    pub fn watch_size(&self, watcher: &Arc<SizeWatcher>) {
        let mut watchers = self.watchers.lock();
        watchers.retain(|watcher| watcher.strong_count() > 0);
        watchers.push(Arc::downgrade(watcher));
        self.is_watched.store(true, Ordering::Release);
    }

    fn tell_size(&self) {
        if !self.is_watched.load(Ordering::Acquire) {
            return;
        }
        let watchers: Vec<Arc<SizeWatcher>> = self.watchers.lock().iter().filter_map(Weak::upgrade).collect();
        for watcher in watchers {
            watcher(self.size());
        }
    }

    /// Checks the image's metadata, repairing what `repair` allows.
    pub fn check(&self, repair: RepairMode) -> Result<CheckReport> {
        if repair != RepairMode::None {
            self.check_writable()?;
        }
        self.driver.as_check().ok_or_else(|| Error::unsupported("check"))?.check(repair)
    }

    /// What the image says about itself now.
    pub fn info(&self) -> Result<ImageInfo> {
        self.driver.as_info().ok_or_else(|| Error::unsupported("info"))?.info()
    }

    /// Itself, if its driver can change the size.
    pub fn as_resize(&self) -> Option<&dyn Resize> {
        self.driver.as_resize().map(|_| self as &dyn Resize)
    }

    /// Itself, if its driver can check its own metadata.
    pub fn as_check(&self) -> Option<&dyn Check> {
        self.driver.as_check().map(|_| self as &dyn Check)
    }

    /// Itself, if its driver can tell what the image is.
    pub fn as_info(&self) -> Option<&dyn Info> {
        self.driver.as_info().map(|_| self as &dyn Info)
    }

    /// Itself, if its driver can change what the image was made with.
    pub fn as_amend(&self) -> Option<&dyn Amend> {
        self.driver.as_amend().map(|_| self as &dyn Amend)
    }

    /// Itself, if its driver can have a backing file.
    pub fn as_overlay(&self) -> Option<&dyn Overlay> {
        self.driver.as_overlay().map(|_| self as &dyn Overlay)
    }

    /// Itself, if its driver can keep snapshots inside the image.
    pub fn as_snapshots(&self) -> Option<&dyn Snapshots> {
        self.driver.as_snapshots().map(|_| self as &dyn Snapshots)
    }

    fn driver_snapshots(&self) -> Result<&dyn Snapshots> {
        self.driver.as_snapshots().ok_or_else(|| Error::unsupported("snapshots inside the image"))
    }

    /// Itself, if its driver keeps dirty bitmaps.
    pub fn as_bitmaps(&self) -> Option<&dyn Bitmaps> {
        self.driver.as_bitmaps().map(|_| self as &dyn Bitmaps)
    }

    fn bitmap_driver(&self) -> Result<&dyn Bitmaps> {
        self.driver.as_bitmaps().ok_or_else(|| Error::unsupported("dirty bitmaps"))
    }

    fn writable_bitmaps(&self) -> Result<&dyn Bitmaps> {
        self.check_writable()?;
        self.bitmap_driver()
    }

    /// Itself, if its driver keeps the state of a virtual machine.
    pub fn as_vm_state(&self) -> Option<&dyn VmState> {
        self.driver.as_vm_state().map(|_| self as &dyn VmState)
    }

    fn vm_state(&self) -> Result<&dyn VmState> {
        self.driver.as_vm_state().ok_or_else(|| Error::unsupported("the state of a virtual machine"))
    }

    fn overlay(&self) -> Result<&dyn Overlay> {
        self.check_writable()?;
        self.driver.as_overlay().ok_or_else(|| Error::unsupported("changing the backing file"))
    }

    /// Writes everything back and leaves the image as a clean one.
    pub fn close(&self) -> Result<()> {
        if self.access == Access::ReadOnly { Ok(()) } else { self.driver.close() }
    }
}

impl Resize for Disk {
    fn resize(&self, size: u64) -> Result<()> {
        Self::resize(self, size)
    }

    fn grow(&self, size: u64, preallocation: Preallocation) -> Result<()> {
        Self::grow(self, size, preallocation)
    }
}

impl Check for Disk {
    fn check(&self, repair: RepairMode) -> Result<CheckReport> {
        Self::check(self, repair)
    }
}

impl Info for Disk {
    fn info(&self) -> Result<ImageInfo> {
        Self::info(self)
    }

    fn is_encrypted(&self) -> bool {
        self.driver.as_info().is_some_and(Info::is_encrypted)
    }
}

impl Amend for Disk {
    fn amend(&self, amendment: Amendment<'_>) -> Result<()> {
        self.check_writable()?;
        let amend = self.driver.as_amend().ok_or_else(|| Error::unsupported("amend"))?;
        // The size may be one of the options.
        let alone = self.resizing.lock();
        let old = self.driver.size();
        let amended = amend.amend(amendment);
        let size = self.driver.size();
        drop(alone);
        if size != old {
            self.tell_size();
        }
        amended
    }
}

impl Overlay for Disk {
    fn set_backing(&self, backing: Option<&BackingFile>) -> Result<()> {
        self.overlay()?.set_backing(backing)
    }

    fn forget_content(&self) -> Result<()> {
        self.overlay()?.forget_content()
    }
}

impl Snapshots for Disk {
    fn snapshots(&self) -> Result<Vec<SnapshotInfo>> {
        self.driver_snapshots()?.snapshots()
    }

    fn create_snapshot(&self, new: &NewSnapshot) -> Result<String> {
        self.check_writable()?;
        self.driver_snapshots()?.create_snapshot(new)
    }

    fn apply_snapshot(&self, id: &str) -> Result<()> {
        self.check_writable()?;
        let snapshots = self.driver_snapshots()?;
        let alone = self.resizing.lock();
        let old = self.driver.size();
        let applied = snapshots.apply_snapshot(id);
        let size = self.driver.size();
        if let Err(error) = &applied
            && error.is_refusal()
        {
            assert_eq!(size, old, "driver refuses to apply snapshot '{id}' and has changed: {error}");
        }
        drop(alone);
        if size != old {
            self.tell_size();
        }
        applied
    }

    fn delete_snapshot(&self, id: &str) -> Result<()> {
        self.check_writable()?;
        self.driver_snapshots()?.delete_snapshot(id)
    }

    fn read_snapshot(&self, id: &str, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.driver_snapshots()?.read_snapshot(id, offset, buf)
    }
}

impl VmState for Disk {
    fn read_vm_state(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.vm_state()?.read_vm_state(offset, buf)
    }

    fn write_vm_state(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let state = self.vm_state()?;
        self.check_writable()?;
        state.write_vm_state(offset, buf)
    }
}

impl Bitmaps for Disk {
    fn bitmaps(&self) -> Result<Vec<BitmapInfo>> {
        self.bitmap_driver()?.bitmaps()
    }

    fn read_bitmap(&self, name: &str) -> Result<DirtyBitmap> {
        self.bitmap_driver()?.read_bitmap(name)
    }

    fn bitmap_run(&self, name: &str, extent: Extent) -> Result<(u64, bool)> {
        self.check_status(extent)?;
        let (length, is_dirty) = self.bitmap_driver()?.bitmap_run(name, extent)?;
        assert!(length > 0 && length <= extent.length, "a bitmap's run of {extent:?} has {length} bytes");
        Ok((length, is_dirty))
    }

    fn default_granularity_bytes(&self) -> u64 {
        self.driver.as_bitmaps().map_or(0, Bitmaps::default_granularity_bytes)
    }

    fn add_bitmap(&self, name: &str, granularity_bytes: u64, is_enabled: bool) -> Result<()> {
        self.writable_bitmaps()?.add_bitmap(name, granularity_bytes, is_enabled)
    }

    fn remove_bitmap(&self, name: &str) -> Result<()> {
        self.writable_bitmaps()?.remove_bitmap(name)
    }

    fn clear_bitmap(&self, name: &str) -> Result<()> {
        self.writable_bitmaps()?.clear_bitmap(name)
    }

    fn enable_bitmap(&self, name: &str, is_enabled: bool) -> Result<()> {
        self.writable_bitmaps()?.enable_bitmap(name, is_enabled)
    }

    fn merge_bitmap(&self, name: &str, source: &DirtyBitmap) -> Result<()> {
        self.writable_bitmaps()?.merge_bitmap(name, source)
    }
}
