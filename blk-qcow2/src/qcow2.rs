//! An open qcow2 image as a block driver.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use blk_core::sync::Mutex;
use blk_core::{
    Amend, Bitmaps, BlockDriver, BlockStatus, Check, CheckReport, Compress, DiscardFlags, Disk, Extent, Info,
    Limits, NativeFlags, Overlay, RepairMode, Resize, Result, Snapshots, Storage, StorageRun, VmState,
    WriteFlags, ZeroFlags, refuse_compressed,
};

use crate::bitmap::Followed;
use crate::check;
use crate::crypt::Crypt;
use crate::data_file::Opened;
use crate::geometry::Geometry;
use crate::header::Header;
use crate::lock::MetadataLock;
use crate::metadata::Metadata;
use crate::offset::GuestOffset;
use crate::ondisk::CompressionType;
use crate::open_options::OpenOptions;
use crate::steps;

/// An open image. The module `lock` says what its lock guards.
#[derive(Debug)]
pub(crate) struct Qcow2 {
    pub(crate) storage: Arc<dyn Storage>,
    /// What guest data lies in: the data file, or the same.
    pub(crate) data: Arc<dyn Storage>,
    /// The data file is the disk.
    pub(crate) is_raw_data: bool,
    pub(crate) backing: Option<Arc<Disk>>,
    pub(crate) geometry: Geometry,
    pub(crate) compression: CompressionType,
    /// How guest data is encrypted, if it is.
    pub(crate) crypt: Option<Crypt>,
    pub(crate) metadata: MetadataLock,
    pub(crate) resizing: Mutex<()>,
    size_bytes: AtomicU64,
    pub(crate) options: OpenOptions,
    /// Whether the host has much less than the image uses, once that has been asked.
    pub(crate) is_sparse: OnceLock<bool>,
    pub(crate) bitmaps: Followed,
}

impl Qcow2 {
    pub(crate) fn new(
        Opened { storage, data }: Opened,
        header: Header,
        backing: Option<Arc<Disk>>,
        crypt: Option<Crypt>,
        options: OpenOptions,
    ) -> Result<Self> {
        let metadata = Metadata::load(Arc::clone(&storage), header, options)?;
        Ok(Self {
            storage,
            data,
            // Zeroes of an encrypted disk are marks: none lie in its data file.
            is_raw_data: metadata.header.has_raw_data_file() && crypt.is_none(),
            backing,
            geometry: metadata.geometry,
            compression: metadata.header.compression,
            crypt,
            size_bytes: AtomicU64::new(metadata.header.size),
            bitmaps: Followed::new(metadata.header.followed_autoclear()),
            metadata: MetadataLock::new(metadata),
            resizing: Mutex::new(()),
            is_sparse: OnceLock::new(),
            options,
        })
    }

    #[inline]
    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn set_size_bytes(&self, size: u64) {
        self.size_bytes.store(size, Ordering::Relaxed);
    }
}

impl BlockDriver for Qcow2 {
    #[inline]
    fn size(&self) -> u64 {
        self.size_bytes()
    }

    fn limits(&self) -> Limits {
        let cluster = self.geometry.cluster_bytes();
        Limits {
            preferred_bytes: cluster,
            zero_granularity: self.geometry.subcluster_bytes(),
            zero_bytes_max: Limits::ANY_LENGTH,
            discard_granularity: cluster,
            discard_bytes_max: Limits::ANY_LENGTH,
            // Marks are made or refused before anything changes.
            native: NativeFlags { fast_zero: true, ..NativeFlags::default() },
            ..Limits::default()
        }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.noting(self.read_guest(GuestOffset::new(offset), buf))
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        let offset = GuestOffset::new(offset);
        // It would lie in plain on the host.
        if flags.compressed && self.crypt.is_some() {
            return refuse_compressed(flags);
        }
        self.noting(if flags.compressed {
            self.write_compressed_guest(offset, buf)
        } else {
            self.begin_write(offset.with_length(buf.len() as u64))
                .and_then(|_recording| self.write_guest(offset, buf))
        })
    }

    fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        self.noting(if self.is_raw_data {
            self.zero_raw_data(extent, flags)
        } else {
            self.zero_guest(extent, flags)
        })
    }

    fn discard(&self, extent: Extent, _flags: DiscardFlags) -> Result<()> {
        if !self.options.discard_frees {
            return Ok(());
        }
        self.noting(self.begin_write(extent).and_then(|_recording| {
            if self.is_raw_data { self.discard_raw_data(extent) } else { self.discard_guest(extent) }
        }))
    }

    fn flush(&self) -> Result<()> {
        self.storage.step(&steps::FLUSH_TO_OS);
        // Where only data was written, all other requests may go on meanwhile.
        let Some(syncs) = self.metadata.syncs_of_clean() else { return self.metadata.flush() };
        self.storage.step(&steps::FLUSH_TO_DISK);
        syncs.sync(&*self.storage).map_err(|error| self.metadata.poison(error))
    }

    fn close(&self) -> Result<()> {
        self.flush()?;
        self.save_bitmaps()?;
        let mut metadata = self.metadata.write();
        if metadata.is_lazy() { metadata.end_lazy() } else { Ok(()) }
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        self.noting(self.status_of(extent))
    }

    fn block_status_runs(&self, extent: Extent, runs_max: usize) -> Result<Vec<BlockStatus>> {
        self.noting(self.statuses_of(extent, runs_max))
    }

    fn host_run(&self, extent: Extent) -> Result<Option<StorageRun>> {
        self.noting(self.host_run_of(extent))
    }

    fn backing(&self) -> Option<&Arc<Disk>> {
        self.backing.as_ref()
    }

    fn as_resize(&self) -> Option<&dyn Resize> {
        Some(self)
    }

    fn as_check(&self) -> Option<&dyn Check> {
        // A check is about the image.
        if self.options.of_snapshot { None } else { Some(self) }
    }

    fn as_compress(&self) -> Option<&dyn Compress> {
        // A data file has no compressed clusters; of an encrypted disk they would lie in plain.
        if self.geometry.has_data_file() || self.crypt.is_some() { None } else { Some(self) }
    }

    fn as_info(&self) -> Option<&dyn Info> {
        Some(self)
    }

    fn as_amend(&self) -> Option<&dyn Amend> {
        Some(self)
    }

    fn as_overlay(&self) -> Option<&dyn Overlay> {
        Some(self)
    }

    fn as_snapshots(&self) -> Option<&dyn Snapshots> {
        Some(self)
    }

    fn as_bitmaps(&self) -> Option<&dyn Bitmaps> {
        Some(self)
    }

    fn as_vm_state(&self) -> Option<&dyn VmState> {
        // A state would lie behind the disk in the data file, which ends with the disk; and there is no
        // snapshot to keep it.
        if self.geometry.has_data_file() { None } else { Some(self) }
    }
}

impl Check for Qcow2 {
    fn check(&self, repair: RepairMode) -> Result<CheckReport> {
        let mut metadata = self.metadata.write();
        metadata.check_usable()?;
        metadata.flush_all()?;
        assert!(
            !metadata.changes_references() && !metadata.changes_counts(),
            "a check sees the storage alone"
        );
        if repair == RepairMode::None {
            return check::check(&*self.storage, &metadata.header, repair);
        }
        // What a repair that fails has changed, the marks in the header among it, is not known here.
        self.repair(&mut metadata, repair).map_err(|error| metadata.poison(error))
    }
}

impl Qcow2 {
    fn repair(&self, metadata: &mut Metadata, repair: RepairMode) -> Result<CheckReport> {
        let report = check::check(&*self.storage, &metadata.header, repair)?;
        // A repair changes tables without the caches: everything is read again.
        metadata.load_again(Header::read_for(&*self.storage, true))?;
        self.bitmaps.after_repair(metadata);
        Ok(report)
    }
}
