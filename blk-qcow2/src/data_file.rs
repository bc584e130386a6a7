//! External data files: guest data lies in a file of its own, at the offsets that it has on the disk.
//!
//! ```text
//! image file:  header, tables, counts, bitmaps      data file:  guest offset = offset in the file
//! ```
//!
//! No cluster of the data file is counted. An entry says what reads as zeroes or shows the backing file; its
//! offset is always that of its guest cluster, and its copied flag is always set: there is nothing to share.
//!
//! A raw data file is the disk, whatever the tables say. All clusters are mapped when the image is made and
//! when it grows, and zeroes are written to the data file alone. Other programs may have left marks: such a
//! cluster is mapped, durably, before the first write to it, so that tables and data file agree after a
//! crash, too.
//!
//! A disk that becomes smaller takes its data file along: that is cut, or zeroed where it cannot be shorter,
//! once the header durably says the new size.
//!
//! Write order: each sync of the image file follows one of the data file ([`Synced`]), so that data are
//! durable before the entries that refer to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blk_core::storage::{self, Step, write_zeroes_as_data};
use blk_core::{
    Access, Error, Extent, Preallocation, Resolver, Result, Storage, StorageLimits, StorageRun, ZeroFlags,
};

use crate::free_space::Allocation;
use crate::geometry::HOST_OFFSET_END;
use crate::header::{Header, SECTOR_BYTES};
use crate::l2::{Entry, Place};
use crate::metadata::Metadata;
use crate::offset::{ClusterCount, GuestOffset, HostCluster, HostOffset};
use crate::ondisk::{AUTOCLEAR_DATA_FILE_RAW, INCOMPATIBLE_DATA_FILE};
use crate::qcow2::Qcow2;
use crate::steps;

/// Longest name of a data file that is written, in bytes: that of a backing file.
pub(crate) const NAME_BYTES_MAX: u64 = 1023;

impl Header {
    /// Whether guest data lies in a file of its own.
    pub(crate) const fn has_data_file(&self) -> bool {
        self.incompatible & INCOMPATIBLE_DATA_FILE != 0
    }

    /// Whether that file is the disk. It is none where a backing file shows.
    pub(crate) const fn has_raw_data_file(&self) -> bool {
        let is_marked = self.autoclear & AUTOCLEAR_DATA_FILE_RAW != 0;
        self.has_data_file() && is_marked && self.backing.is_none()
    }

    /// The autoclear bits but for those that are kept up to date here whatever is written.
    pub(crate) const fn followed_autoclear(&self) -> u64 {
        self.autoclear & !self.kept_autoclear()
    }

    /// The autoclear bits that are kept up to date here whatever is written.
    pub(crate) const fn kept_autoclear(&self) -> u64 {
        if self.has_raw_data_file() { AUTOCLEAR_DATA_FILE_RAW } else { 0 }
    }
}

/// Where data goes: the image file, or its data file.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The image file. Its syncs make the data file durable first.
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) data: Arc<dyn Storage>,
}

/// Opens what the data of an image lies in: its data file, by the name that `given` or the header says.
pub(crate) fn open(
    storage: Arc<dyn Storage>,
    header: &Header,
    (given, is_opened): (Option<&str>, bool),
    access: Access,
    resolver: &dyn Resolver,
) -> Result<Opened> {
    if !header.has_data_file() {
        if given.is_some() {
            let reason = "it can only be given for an image with an external data file";
            return Err(Error::invalid_option("data-file", reason));
        }
        return Ok(Opened { data: Arc::clone(&storage), storage });
    }
    let name = given.or(header.data_file.as_deref());
    if !is_opened {
        let data = Arc::new(Closed { name: name.unwrap_or_default().to_owned() });
        return Ok(Opened { storage, data });
    }
    let Some(name) = name else {
        let reason = "the image has an external data file and does not name it";
        return Err(Error::invalid_option("data-file", reason));
    };
    let data = storage::for_any_alignment(resolver.open_storage(name, access)?);
    Ok(pair(storage, data))
}

/// An image file whose syncs follow those of its data file.
fn pair(storage: Arc<dyn Storage>, data: Arc<dyn Storage>) -> Opened {
    let data = Arc::new(Watched { inner: data, is_changed: AtomicBool::new(false) });
    let storage = Arc::new(Synced { inner: storage, data: Arc::clone(&data) });
    Opened { storage, data }
}

/// A data file that knows whether it has changed since its last sync.
#[derive(Debug)]
struct Watched {
    inner: Arc<dyn Storage>,
    is_changed: AtomicBool,
}

impl Watched {
    /// Some of what has failed may have happened.
    fn changed<T>(&self, answer: Result<T>) -> Result<T> {
        self.is_changed.store(true, Ordering::SeqCst);
        answer
    }

    /// What changes meanwhile needs another sync.
    fn sync_changes(&self) -> Result<()> {
        if !self.is_changed.swap(false, Ordering::SeqCst) {
            return Ok(());
        }
        self.inner.sync().inspect_err(|_| self.is_changed.store(true, Ordering::SeqCst))
    }
}

impl storage::PassThrough for Watched {
    fn inner(&self) -> &dyn Storage {
        &*self.inner
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.changed(self.inner.set_len(length))
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.changed(self.inner.write_at(offset, buf))
    }

    fn read_vectored_at(&self, offset: u64, bufs: &mut [std::io::IoSliceMut<'_>]) -> Result<()> {
        self.inner.read_vectored_at(offset, bufs)
    }

    fn write_vectored_at(&self, offset: u64, bufs: &[std::io::IoSlice<'_>]) -> Result<()> {
        self.changed(self.inner.write_vectored_at(offset, bufs))
    }

    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        self.changed(self.inner.write_zeroes_at(extent))
    }

    fn punch_hole(&self, extent: Extent) -> Result<()> {
        self.changed(self.inner.punch_hole(extent))
    }

    fn discard_at(&self, extent: Extent) -> Result<()> {
        self.changed(self.inner.discard_at(extent))
    }

    fn zero_fast(&self, extent: Extent, unmap: bool) -> Result<()> {
        self.changed(self.inner.zero_fast(extent, unmap))
    }

    fn sync(&self) -> Result<()> {
        self.sync_changes()
    }
}

/// An image file whose syncs make its data file durable first.
#[derive(Debug)]
struct Synced {
    inner: Arc<dyn Storage>,
    data: Arc<Watched>,
}

impl storage::PassThrough for Synced {
    fn inner(&self) -> &dyn Storage {
        &*self.inner
    }

    fn read_vectored_at(&self, offset: u64, bufs: &mut [std::io::IoSliceMut<'_>]) -> Result<()> {
        self.inner.read_vectored_at(offset, bufs)
    }

    fn write_vectored_at(&self, offset: u64, bufs: &[std::io::IoSlice<'_>]) -> Result<()> {
        self.inner.write_vectored_at(offset, bufs)
    }

    fn discard_at(&self, extent: Extent) -> Result<()> {
        self.inner.discard_at(extent)
    }

    fn sync(&self) -> Result<()> {
        self.data.sync_changes()?;
        self.inner.sync()
    }
}

/// A data file that is not opened: an image that is described needs none.
#[derive(Debug)]
struct Closed {
    name: String,
}

impl Closed {
    fn refuse<T>(&self) -> Result<T> {
        let reason = "the image was opened without its data file".to_owned();
        Err(Error::Unresolved { name: self.name.clone(), reason })
    }
}

impl Storage for Closed {
    fn len(&self) -> Result<u64> {
        self.refuse()
    }

    fn set_len(&self, _length: u64) -> Result<()> {
        self.refuse()
    }

    fn read_at(&self, _offset: u64, _buf: &mut [u8]) -> Result<()> {
        self.refuse()
    }

    fn write_at(&self, _offset: u64, _buf: &[u8]) -> Result<()> {
        self.refuse()
    }

    fn write_zeroes_at(&self, _extent: Extent) -> Result<()> {
        self.refuse()
    }

    fn punch_hole(&self, _extent: Extent) -> Result<()> {
        self.refuse()
    }

    fn run_at(&self, _offset: u64) -> Result<Option<StorageRun>> {
        self.refuse()
    }

    fn limits(&self) -> StorageLimits {
        StorageLimits::default()
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }
}

/// Makes `data` a data file of zeroes for a new disk of `size` bytes, durably.
pub(crate) fn create(data: &dyn Storage, size: u64, preallocation: Preallocation) -> Result<()> {
    match data.set_len(0).and_then(|()| data.set_len(size)) {
        Ok(()) => {}
        Err(Error::Unsupported { .. }) => {
            check_fixed_length(data, size)?;
            data.write_zeroes_at(Extent::new(0, size))?;
        }
        Err(error) => return Err(error),
    }
    fill(data, Extent::new(0, size), preallocation)?;
    data.sync()
}

/// Fails where a data file that cannot grow is too short.
fn check_fixed_length(data: &dyn Storage, size: u64) -> Result<()> {
    let length = data.len()?;
    if length >= size {
        return Ok(());
    }
    let what = format!("a disk of {size} bytes: the data file has {length} and cannot grow");
    Err(Error::NoSpace { what: what.into() })
}

/// Has the host set space aside for zeroes, as `preallocation` says.
fn fill(data: &dyn Storage, extent: Extent, preallocation: Preallocation) -> Result<()> {
    match preallocation {
        Preallocation::Off | Preallocation::Metadata => Ok(()),
        Preallocation::Falloc => data.write_zeroes_at(extent),
        Preallocation::Full => write_zeroes_as_data(data, extent),
    }
}

impl Metadata {
    /// Host clusters for the data of up to `wanted` guest clusters from `at` on: one of them at least.
    pub(crate) fn allocate_data(&mut self, at: GuestOffset, wanted: ClusterCount) -> Result<Allocation> {
        if !self.geometry.has_data_file() {
            return self.allocate(wanted);
        }
        let first = HostCluster::new(self.geometry.cluster_start(at).get() >> self.geometry.cluster_bits());
        if first + wanted > self.geometry.cluster_of(HOST_OFFSET_END) {
            return Err(Error::NoSpace { what: "offsets in a data file end at 2^56".into() });
        }
        // What a cluster holds that nothing refers to, nobody knows.
        Ok(Allocation { first, count: wanted, fresh: false })
    }

    /// Undoes an allocation of host clusters for data that nothing refers to.
    pub(crate) fn give_back_data(&mut self, allocation: Allocation) -> Result<()> {
        if self.geometry.has_data_file() { Ok(()) } else { self.give_back(allocation) }
    }
}

impl Qcow2 {
    /// Tells both files about the next step.
    #[inline]
    pub(crate) fn data_step(&self, step: &'static Step) {
        self.storage.step(step);
        if self.geometry.has_data_file() {
            self.data.step(step);
        }
    }

    /// Gives up the bytes of the guest cluster at `at`, which read as zeroes from now on: only a data file
    /// has them at a place that the next write to the cluster uses again. So they go at once, and not when
    /// the entry is durable. Encrypted ones stay: to the old entry, which a crash may bring back, a hole is
    /// noise.
    pub(crate) fn punch_data(&self, metadata: &Metadata, at: GuestOffset) -> Result<()> {
        let discards = metadata.options.discard_policy.discard && self.crypt.is_none();
        if !self.geometry.has_data_file() || !discards {
            return Ok(());
        }
        let start = self.geometry.cluster_start(at);
        self.data.punch_hole(start.with_length(self.geometry.cluster_bytes()))
    }

    /// Makes `extent` of a raw data file zeroes. The tables need not change: what they say are zeroes are
    /// zeroes there, too.
    pub(crate) fn zero_raw_data(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        let _recording = self.begin_write(extent)?;
        // A write that maps a cluster excludes this, and no flush has to be waited for.
        let metadata = self.metadata.read();
        metadata.check_usable()?;
        metadata.check_reach(extent.offset, extent.end())?;
        self.data_step(&steps::WRITE_AIO);
        if flags.may_be_refused() {
            self.data.zero_fast(extent, flags.may_unmap)
        } else if flags.may_unmap {
            self.data.punch_hole(extent)
        } else {
            self.data.write_zeroes_at(extent)
        }
    }

    /// Discards the whole clusters inside `extent` of a raw data file.
    pub(crate) fn discard_raw_data(&self, extent: Extent) -> Result<()> {
        let inner = self.whole_clusters(extent);
        let inner = Extent::between(inner.offset, inner.end().min(extent.end()).max(inner.offset));
        if inner.is_empty() {
            return Ok(());
        }
        let metadata = self.metadata.read();
        metadata.check_usable()?;
        metadata.check_reach(inner.offset, inner.end())?;
        self.data_step(&steps::WRITE_AIO);
        self.data.punch_hole(inner)
    }

    /// Maps the clusters of a raw data file that a write to `extent` meets first, up to the end of their L2
    /// slice, durably. They hold zeroes, as their marks say.
    pub(crate) fn map_raw_durably(&self, metadata: &mut Metadata, extent: Extent) -> Result<()> {
        let at = GuestOffset::new(extent.offset);
        let start = self.geometry.cluster_start(at);
        let end = self.map_raw(metadata, start, GuestOffset::new(extent.end()))?;
        debug_assert!(end > at, "the first cluster is mapped");
        metadata.flush()
    }

    /// Maps the clusters of `at..end` to their place in a raw data file, as far as one L2 slice reaches.
    /// Returns where to go on.
    fn map_raw(&self, metadata: &mut Metadata, at: GuestOffset, end: GuestOffset) -> Result<GuestOffset> {
        let geometry = self.geometry;
        let slot = metadata.l2_for_write(at)?;
        let left = metadata.entries_per_slice() - slot.index;
        let wanted = geometry.clusters_of(at.to(end).length).get().min(left as u64);
        let allocation = metadata.allocate_data(at, ClusterCount::new(wanted))?;
        for number in 0..allocation.count.get() {
            let guest = at + number * geometry.cluster_bytes();
            let host = HostOffset::new(guest.get());
            let mapped = Entry {
                place: Place::Plain { host, copied: true },
                allocated: geometry.all_subclusters(),
                zero: 0,
            };
            let old = metadata.entry_of(guest)?;
            if old != mapped {
                self.zero_unmapped(old, guest)?;
                metadata.set_l2_entry(slot.after(number as usize), mapped);
            }
        }
        Ok(at + geometry.bytes_of(allocation.count))
    }

    /// What a raw data file holds for subclusters that the tables call zeroes should be zeroes already; a
    /// program that did not keep it up to date may have left something else.
    fn zero_unmapped(&self, old: Entry, guest: GuestOffset) -> Result<()> {
        let bytes = self.geometry.subcluster_bytes();
        for number in (0..self.geometry.subclusters()).filter(|number| (old.allocated >> number) & 1 == 0) {
            self.data.punch_hole((guest + u64::from(number) * bytes).with_length(bytes))?;
        }
        Ok(())
    }

    /// Makes a data file long enough for a disk of `size` bytes.
    pub(crate) fn lengthen_data_file(&self, size: u64) -> Result<()> {
        if !self.geometry.has_data_file() || self.data.len()? >= size {
            return Ok(());
        }
        match self.data.set_len(size) {
            Err(Error::Unsupported { .. }) => check_fixed_length(&*self.data, size),
            answer => answer,
        }
    }

    /// Ends a data file where the disk, whose header durably says so, has come to end: at `size` instead of
    /// `old`. One that cannot become shorter has zeroes there.
    pub(crate) fn shorten_data_file(&self, metadata: &mut Metadata, old: u64, size: u64) -> Result<()> {
        if !self.geometry.has_data_file() {
            return Ok(());
        }
        // The last sector is decrypted as a whole.
        let end = if self.crypt.is_some() { size.next_multiple_of(SECTOR_BYTES as u64) } else { size };
        let shortened = self.data.len().and_then(|length| {
            if length <= end {
                return Ok(());
            }
            match self.data.set_len(end) {
                Err(Error::Unsupported { .. }) => {
                    self.data.punch_hole(Extent::between(end, length.min(old).max(end)))
                }
                answer => answer,
            }
        });
        // The size counts: this is no refusal.
        shortened.map_err(|error| metadata.poison(error))?;
        metadata.sync()
    }

    /// Fills what a raw data file gains with zeroes, and maps it.
    pub(crate) fn grow_raw_data(&self, old: u64, size: u64, preallocation: Preallocation) -> Result<()> {
        if !self.is_raw_data {
            return Ok(());
        }
        let gained = Extent::between(old, size);
        // It may have been longer than the disk before.
        self.data.punch_hole(gained)?;
        fill(&*self.data, gained, preallocation)?;
        let mut metadata = self.metadata.write();
        metadata.check_usable()?;
        let mut at = self.geometry.cluster_start(GuestOffset::new(old));
        while at.get() < size {
            at = self.map_raw(&mut metadata, at, GuestOffset::new(size))?;
        }
        Ok(())
    }
}
