//! The driver names to its storage which of its steps come next.

use std::sync::Arc;

use blk_core::storage::Step;
use blk_core::sync::Mutex;
use blk_core::{
    Access, DenyResolver, Disk, Extent, MemoryStorage, Options, Result, Storage, StorageRun, WriteFlags,
};
use blk_qcow2::steps;

/// Keeps what it is named.
#[derive(Debug)]
struct Listener {
    inner: MemoryStorage,
    named: Mutex<Vec<&'static Step>>,
}

impl Storage for Listener {
    fn len(&self) -> Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.inner.set_len(length)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.inner.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.inner.write_at(offset, buf)
    }

    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        self.inner.write_zeroes_at(extent)
    }

    fn punch_hole(&self, extent: Extent) -> Result<()> {
        self.inner.punch_hole(extent)
    }

    fn run_at(&self, offset: u64) -> Result<Option<StorageRun>> {
        self.inner.run_at(offset)
    }

    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    fn step(&self, step: &'static Step) {
        self.named.lock().push(step);
    }
}

struct Subject {
    disk: Disk,
    listener: Arc<Listener>,
}

impl Subject {
    fn new(size: u64, options: Options) -> Self {
        let listener = Arc::new(Listener { inner: MemoryStorage::new(), named: Mutex::default() });
        let storage: Arc<dyn Storage> = Arc::clone(&listener) as Arc<dyn Storage>;
        blk_qcow2::FORMAT.create(&storage, size, options).unwrap();
        let disk = blk_qcow2::FORMAT.open(storage, Access::ReadWrite, Options::new(), &DenyResolver).unwrap();
        Self { disk, listener }
    }

    /// What was named since the last time.
    fn named(&self) -> Vec<&'static Step> {
        std::mem::take(&mut self.listener.named.lock())
    }
}

#[test]
fn the_life_of_a_cluster() {
    let subject = Subject::new(1 << 20, Options::new());
    assert!(subject.named().contains(&&steps::REFTABLE_LOAD));
    subject.disk.write(4096, &[1; 512], WriteFlags::default()).unwrap();
    let first = subject.named();
    for step in [&steps::L2_ALLOC_WRITE, &steps::CLUSTER_ALLOC, &steps::REFBLOCK_LOAD, &steps::WRITE_AIO] {
        assert!(first.contains(&step), "{step}: {first:?}");
    }
    assert_eq!(first.last(), Some(&&steps::WRITE_AIO));
    subject.disk.flush().unwrap();
    let flushed = subject.named();
    assert_eq!(flushed.first(), Some(&&steps::FLUSH_TO_OS));
    assert_eq!(flushed.last(), Some(&&steps::FLUSH_TO_DISK));
    let at = |step: &Step| flushed.iter().position(|named| **named == *step).expect("is named");
    assert!(at(&steps::REFBLOCK_UPDATE_PART) < at(&steps::L2_UPDATE));
    assert!(at(&steps::L2_UPDATE) < at(&steps::L1_UPDATE));
    subject.disk.read(4096, &mut [0; 512]).unwrap();
    assert_eq!(subject.named(), [&steps::READ_AIO]);
    subject.disk.write(0, &[1; 512], WriteFlags::default()).unwrap();
    assert_eq!(subject.named(), [&steps::WRITE_AIO], "in place, nothing else is named");
    subject.disk.discard(Extent::new(0, 65536), blk_core::DiscardFlags::default()).unwrap();
    subject.disk.flush().unwrap();
    assert!(subject.named().contains(&&steps::CLUSTER_FREE));
}

#[test]
fn compressed_clusters_and_growing_tables() {
    let subject = Subject::new(1 << 20, Options::new().with("cluster_size", 512).with("refcount_bits", 64));
    subject.named();
    let compressed = WriteFlags { compressed: true, ..WriteFlags::default() };
    subject.disk.write(0, &[7; 512], compressed).unwrap();
    let named = subject.named();
    for step in [&steps::CLUSTER_ALLOC_BYTES, &steps::WRITE_COMPRESSED, &steps::L2_UPDATE_COMPRESSED] {
        assert!(named.contains(&step), "{step}: {named:?}");
    }
    for _ in 0..2 {
        subject.disk.read(0, &mut [0; 512]).unwrap();
        assert_eq!(
            subject.named(),
            [&steps::READ_COMPRESSED],
            "a whole cluster is inflated into the reader's buffer"
        );
    }
    subject.disk.read(0, &mut [0; 511]).unwrap();
    assert_eq!(subject.named(), [&steps::READ_COMPRESSED]);
    subject.disk.write(100, &[8; 10], WriteFlags::default()).unwrap();
    let named = subject.named();
    assert!(named.contains(&&steps::CLUSTER_ALLOC) && named.contains(&&steps::WRITE_AIO));
    assert!(!named.contains(&&steps::READ_COMPRESSED), "the rest is copied from what was inflated before");
    subject.disk.write(0, &vec![3; 1 << 20], WriteFlags::default()).unwrap();
    subject.disk.resize(64 << 20).unwrap();
    subject.disk.write(1 << 20, &vec![3; 8 << 20], WriteFlags::default()).unwrap();
    subject.disk.flush().unwrap();
    let named = subject.named();
    for step in [
        &steps::REFBLOCK_ALLOC,
        &steps::REFBLOCK_ALLOC_WRITE,
        &steps::REFBLOCK_ALLOC_HOOKUP,
        &steps::REFTABLE_GROW,
        &steps::REFBLOCK_ALLOC_WRITE_BLOCKS,
        &steps::REFBLOCK_ALLOC_WRITE_TABLE,
        &steps::REFBLOCK_ALLOC_SWITCH_TABLE,
        &steps::L1_GROW_ALLOC_TABLE,
        &steps::L1_GROW_WRITE_TABLE,
        &steps::L1_GROW_ACTIVATE_TABLE,
    ] {
        assert!(named.contains(&step), "{step} is not named");
    }
}
