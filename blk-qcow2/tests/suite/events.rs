//! The driver tells the storage below which of its steps come next.

use std::sync::Arc;

use blk_core::storage::Event;
use blk_core::sync::Mutex;
use blk_core::{
    Access, DenyResolver, Disk, Extent, MemoryStorage, Options, Result, Storage, StorageRun, WriteFlags,
};

/// Keeps what it is told.
#[derive(Debug)]
struct Listener {
    below: MemoryStorage,
    told: Mutex<Vec<Event>>,
}

impl Storage for Listener {
    fn len(&self) -> Result<u64> {
        self.below.len()
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.below.set_len(length)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.below.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.below.write_at(offset, buf)
    }

    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        self.below.write_zeroes_at(extent)
    }

    fn punch_hole(&self, extent: Extent) -> Result<()> {
        self.below.punch_hole(extent)
    }

    fn run_at(&self, offset: u64) -> Result<Option<StorageRun>> {
        self.below.run_at(offset)
    }

    fn sync(&self) -> Result<()> {
        self.below.sync()
    }

    fn event(&self, event: Event) {
        self.told.lock().push(event);
    }
}

struct Subject {
    disk: Disk,
    listener: Arc<Listener>,
}

impl Subject {
    fn new(size: u64, options: Options) -> Self {
        let listener = Arc::new(Listener { below: MemoryStorage::new(), told: Mutex::default() });
        let storage: Arc<dyn Storage> = Arc::clone(&listener) as Arc<dyn Storage>;
        blk_qcow2::FORMAT.create(&storage, size, options).unwrap();
        let disk = blk_qcow2::FORMAT.open(storage, Access::ReadWrite, Options::new(), &DenyResolver).unwrap();
        Self { disk, listener }
    }

    /// What was told since the last time.
    fn told(&self) -> Vec<Event> {
        std::mem::take(&mut self.listener.told.lock())
    }
}

#[test]
fn the_life_of_a_cluster() {
    let subject = Subject::new(1 << 20, Options::new());
    assert!(subject.told().contains(&Event::ReftableLoad));
    subject.disk.write(4096, &[1; 512], WriteFlags::default()).unwrap();
    let first = subject.told();
    for event in [Event::L2AllocWrite, Event::ClusterAlloc, Event::RefblockLoad, Event::WriteAio] {
        assert!(first.contains(&event), "{event}: {first:?}");
    }
    assert_eq!(first.last(), Some(&Event::WriteAio));
    subject.disk.flush().unwrap();
    let flushed = subject.told();
    assert_eq!(flushed.first(), Some(&Event::FlushToOs));
    assert_eq!(flushed.last(), Some(&Event::FlushToDisk));
    let at = |event| flushed.iter().position(|told| *told == event).expect("is told");
    assert!(at(Event::RefblockUpdatePart) < at(Event::L2Update));
    assert!(at(Event::L2Update) < at(Event::L1Update));
    subject.disk.read(4096, &mut [0; 512]).unwrap();
    assert_eq!(subject.told(), [Event::ReadAio]);
    subject.disk.write(0, &[1; 512], WriteFlags::default()).unwrap();
    assert_eq!(subject.told(), [Event::WriteAio], "in place, nothing else is told");
    subject.disk.discard(Extent::new(0, 65536)).unwrap();
    subject.disk.flush().unwrap();
    assert!(subject.told().contains(&Event::ClusterFree));
}

#[test]
fn compressed_clusters_and_growing_tables() {
    let subject = Subject::new(1 << 20, Options::new().with("cluster_size", 512).with("refcount_bits", 64));
    subject.told();
    let compressed = WriteFlags { compressed: true, ..WriteFlags::default() };
    subject.disk.write(0, &[7; 512], compressed).unwrap();
    let told = subject.told();
    for event in [Event::ClusterAllocBytes, Event::WriteCompressed, Event::L2UpdateCompressed] {
        assert!(told.contains(&event), "{event}: {told:?}");
    }
    for _ in 0..2 {
        subject.disk.read(0, &mut [0; 512]).unwrap();
        assert_eq!(
            subject.told(),
            [Event::ReadCompressed],
            "a whole cluster is inflated into the reader's buffer"
        );
    }
    subject.disk.read(0, &mut [0; 511]).unwrap();
    assert_eq!(subject.told(), [Event::ReadCompressed]);
    subject.disk.write(100, &[8; 10], WriteFlags::default()).unwrap();
    let told = subject.told();
    assert!(told.contains(&Event::ClusterAlloc) && told.contains(&Event::WriteAio));
    assert!(!told.contains(&Event::ReadCompressed), "the rest is copied from what was inflated before");
    subject.disk.write(0, &vec![3; 1 << 20], WriteFlags::default()).unwrap();
    subject.disk.resize(64 << 20).unwrap();
    subject.disk.write(1 << 20, &vec![3; 8 << 20], WriteFlags::default()).unwrap();
    subject.disk.flush().unwrap();
    let told = subject.told();
    for event in [
        Event::RefblockAlloc,
        Event::RefblockAllocWrite,
        Event::RefblockAllocHookup,
        Event::ReftableGrow,
        Event::RefblockAllocWriteBlocks,
        Event::RefblockAllocWriteTable,
        Event::RefblockAllocSwitchTable,
        Event::L1GrowAllocTable,
        Event::L1GrowWriteTable,
        Event::L1GrowActivateTable,
    ] {
        assert!(told.contains(&event), "{event} is not told");
    }
}
