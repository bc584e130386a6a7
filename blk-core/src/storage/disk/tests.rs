use super::*;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::{Access, BlockDriver, BlockStatus, DiscardFlags, Limits, MemoryStorage, Resize};

/// A disk over memory that takes only whole sectors, and grows if it may.
#[derive(Debug)]
struct Sectors {
    bytes: MemoryStorage,
    size: AtomicU64,
    grows: bool,
}

const SECTOR_BYTES: u64 = 512;
const DISCARDED: u8 = 0xdd;

impl BlockDriver for Sectors {
    fn size(&self) -> u64 {
        self.size.load(Ordering::SeqCst)
    }

    fn limits(&self) -> Limits {
        Limits { request_alignment: SECTOR_BYTES, ..Limits::default() }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        std::thread::yield_now();
        self.bytes.read_at(offset, buf)
    }

    fn write(&self, offset: u64, buf: &[u8], _flags: WriteFlags) -> Result<()> {
        std::thread::yield_now();
        self.bytes.write_at(offset, buf)
    }

    fn write_zeroes(&self, extent: Extent, _flags: ZeroFlags) -> Result<()> {
        self.bytes.write_zeroes_at(extent)
    }

    /// Leaves a mark, where a driver may leave the bytes as they are or make zeroes of them.
    fn discard(&self, extent: Extent, _flags: DiscardFlags) -> Result<()> {
        self.bytes.write_at(extent.offset, &vec![DISCARDED; extent.length as usize])
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    /// Sector by sector, so that callers have to be content with little.
    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        let mut sector = [0; SECTOR_BYTES as usize];
        self.bytes.read_at(extent.offset, &mut sector)?;
        let zero = crate::bytes::is_zero(&sector);
        Ok(BlockStatus { length: SECTOR_BYTES, allocated: true, zero, compressed: false, host_offset: None })
    }

    fn as_resize(&self) -> Option<&dyn Resize> {
        self.grows.then_some(self)
    }
}

impl Resize for Sectors {
    fn resize(&self, size: u64) -> Result<()> {
        self.bytes.set_len(size)?;
        self.size.store(size, Ordering::SeqCst);
        Ok(())
    }
}

fn storage(size: u64, grows: bool) -> DiskStorage {
    let bytes = MemoryStorage::new();
    bytes.set_len(size).unwrap();
    let sectors = Sectors { bytes, size: AtomicU64::new(size), grows };
    DiskStorage::new(Arc::new(Disk::new(sectors, Access::ReadWrite)))
}

fn read(storage: &DiskStorage, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0xee; length];
    storage.read_at(offset, &mut bytes).unwrap();
    bytes
}

#[test]
fn odd_requests_on_a_disk_of_sectors_change_their_own_bytes_only() {
    let storage = storage(8192, false);
    let mut model = vec![7; 8192];
    storage.write_at(0, &model).unwrap();
    for (number, (offset, length)) in
        [(1, 3), (510, 4), (511, 514), (512, 512), (513, 1500), (4000, 4192), (0, 8191), (1023, 1)]
            .into_iter()
            .enumerate()
    {
        let range = offset as usize..offset as usize + length;
        let data = vec![number as u8 + 10; length];
        storage.write_at(offset, &data).unwrap();
        model[range.clone()].copy_from_slice(&data);
        assert!(read(&storage, 0, 8192) == model, "write {offset} {length}");
        assert!(read(&storage, offset, length) == data, "read {offset} {length}");
        let zeroes = Extent::new(offset + 1, length as u64 / 2);
        if number % 2 == 0 {
            storage.write_zeroes_at(zeroes).unwrap();
        } else {
            storage.punch_hole(zeroes).unwrap();
        }
        model[zeroes.offset as usize..zeroes.end() as usize].fill(0);
        assert!(read(&storage, 0, 8192) == model, "zeroes {zeroes:?}");
    }
}

/// A discard is the disk's discard, of whole sectors; a hole is zeroes.
#[test]
fn a_discard_stays_one() {
    let storage = storage(4096, false);
    storage.write_at(0, &[7; 4096]).unwrap();
    storage.discard_at(Extent::new(1, 1535)).unwrap();
    storage.discard_at(Extent::new(3584, u64::MAX)).unwrap();
    storage.discard_at(Extent::new(2049, 510)).unwrap();
    storage.punch_hole(Extent::new(2560, 512)).unwrap();
    for (at, byte) in [(511, 7), (512, DISCARDED), (1535, DISCARDED), (1536, 7), (2049, 7), (2560, 0)] {
        assert_eq!(read(&storage, at, 1), [byte], "{at}");
    }
    assert_eq!(read(&storage, 3583, 513), [&[7][..], &[DISCARDED; 512]].concat());
}

#[test]
fn past_the_end_it_reads_zeroes_grows_or_is_full() {
    let fixed = storage(1024, false);
    fixed.write_at(1000, &[5; 24]).unwrap();
    assert_eq!(read(&fixed, 1020, 8), [5, 5, 5, 5, 0, 0, 0, 0]);
    assert_eq!(read(&fixed, 1029, 3), [0; 3]);
    assert_eq!(read(&fixed, 1 << 40, 3), [0; 3]);
    assert!(matches!(fixed.write_at(1020, &[6; 8]), Err(Error::NoSpace { .. })));
    assert!(matches!(fixed.write_zeroes_at(Extent::new(1024, 1)), Err(Error::NoSpace { .. })));
    assert!(matches!(fixed.write_at(u64::MAX, &[1]), Err(Error::OutOfRange { .. })));
    assert!(matches!(fixed.set_len(2048), Err(Error::Unsupported { .. })));
    fixed.punch_hole(Extent::new(1010, u64::MAX)).unwrap();
    assert_eq!(read(&fixed, 1009, 3), [5, 0, 0]);

    let grows = storage(1024, true);
    grows.write_at(3000, &[6; 10]).unwrap();
    assert_eq!(grows.len().unwrap(), 3072);
    assert_eq!(read(&grows, 2998, 4), [0, 0, 6, 6]);
    grows.write_zeroes_at(Extent::new(3005, 100)).unwrap();
    assert_eq!((grows.len().unwrap(), read(&grows, 3004, 2)), (3584, vec![6, 0]));
    grows.set_len(512).unwrap();
    assert_eq!((grows.len().unwrap(), read(&grows, 3000, 1)), (512, vec![0]));
    assert!(matches!(grows.set_len(100), Err(Error::Misaligned { .. })));
}

#[test]
fn runs_cover_the_disk_from_any_offset() {
    let storage = storage(4096, false);
    storage.write_at(1024, &[1; 512]).unwrap();
    for start in [0, 1, 511, 1023, 1024, 1030, 4095] {
        let mut at = start;
        while let Some(run) = storage.run_at(at).unwrap() {
            assert_eq!(run.data, (1024..1536).contains(&at), "at {at} from {start}");
            at += run.length;
        }
        assert_eq!(at, 4096);
    }
}

/// Once a whole sector was written beside a byte of it, the bytes that were only read and written back undid
/// it; and of two writers past the end the one with the nearer end cut off what the other had written.
#[test]
fn writers_of_one_sector_and_past_the_end_lose_nothing() {
    for round in 0..200u64 {
        let storage = storage(512, true);
        std::thread::scope(|scope| {
            scope.spawn(|| storage.write_at(0, &[1; 512]).unwrap());
            scope.spawn(|| storage.write_at(7, &[1]).unwrap());
            scope.spawn(|| storage.write_at(512 * (1 + round % 3), &[2; 512]).unwrap());
            scope.spawn(|| storage.write_at(5000, &[3; 100]).unwrap());
        });
        assert!(read(&storage, 0, 512).iter().all(|byte| *byte == 1), "round {round}");
        assert!(read(&storage, 512 * (1 + round % 3), 512).iter().all(|byte| *byte == 2), "round {round}");
        assert!(read(&storage, 5000, 100).iter().all(|byte| *byte == 3), "round {round}");
    }
}
