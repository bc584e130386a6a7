//! A disk that keeps what it reads from below.
//!
//! A read of a part that the top layer does not determine reads whole clusters from below and writes them
//! into the top layer. Nobody writes to these clusters between the two: requests that touch them wait.

use std::sync::Arc;

use blk_core::{
    BackingFile, Check, DiscardFlags, Disk, Extent, Info, Overlay, PassThrough, Preallocation, Result,
    WriteFlags, ZeroFlags, bytes,
};

use crate::spec::{DebugNode, events};
use blk_core::sync::RangeLock;

/// How much is copied at a time at most.
const COPY_BYTES_MAX: u64 = 16 << 20;

/// The driver: everything but reads passes through.
#[derive(Debug)]
pub(crate) struct CopyOnRead {
    inner: Arc<Disk>,
    /// The same, where it is a `blkdebug` node: copies are made below its requests.
    debug: Option<DebugNode>,
    busy: RangeLock,
}

impl CopyOnRead {
    /// Keeps in `inner` what it reads from below it. `debug` is what `inner` is, where that is a `blkdebug`
    /// node.
    pub(crate) fn new(inner: Arc<Disk>, debug: Option<&DebugNode>) -> Self {
        Self { inner, debug: debug.cloned(), busy: RangeLock::default() }
    }

    /// The whole clusters around `extent`, inside the disk.
    fn clusters(&self, extent: Extent) -> Extent {
        let cluster = self.inner.limits().zero_granularity.max(1);
        let start = extent.offset / cluster * cluster;
        let end = extent.end().checked_next_multiple_of(cluster).unwrap_or(u64::MAX);
        Extent::between(start, end.min(self.inner.size()))
    }

    /// Where copies are read and written.
    fn store(&self) -> &Disk {
        self.debug.as_ref().map_or(&self.inner, |node| &node.disk)
    }

    /// The most bytes that are copied at a time.
    fn copy_bytes_max(&self) -> u64 {
        self.debug.as_ref().map_or(COPY_BYTES_MAX, |node| node.transfer_bytes_max.min(COPY_BYTES_MAX))
    }

    fn is_allocated(&self, extent: Extent) -> Result<bool> {
        let mut at = extent.offset;
        while at < extent.end() {
            let status = self.inner.block_status(Extent::between(at, extent.end()))?;
            if !status.allocated {
                return Ok(false);
            }
            at += status.length;
        }
        Ok(true)
    }

    /// Copies what the top layer does not determine of `whole`, and fills `buf` with the bytes from `offset`
    /// on.
    fn copy(&self, whole: Extent, offset: u64, buf: &mut [u8]) -> Result<()> {
        let wanted = Extent::new(offset, buf.len() as u64);
        let mut at = whole.offset;
        while at < whole.end() {
            let rest = Extent::between(at, whole.end().min(at + self.copy_bytes_max()));
            let status = self.store().block_status(rest)?;
            let run = Extent::new(at, status.length);
            let shared = run.intersection(wanted);
            let start = shared.offset.saturating_sub(offset) as usize;
            if status.allocated {
                if !shared.is_empty() {
                    self.store().read(shared.offset, &mut buf[start..start + shared.length as usize])?;
                }
            } else {
                let data = self.copy_run(run)?;
                if !shared.is_empty() {
                    let from = (shared.offset - run.offset) as usize;
                    buf[start..start + shared.length as usize]
                        .copy_from_slice(&data[from..from + shared.length as usize]);
                }
            }
            at = run.end();
        }
        Ok(())
    }

    /// Copies all of `run`, and answers what is in it.
    fn copy_run(&self, run: Extent) -> Result<Vec<u8>> {
        let mut data = vec![0; run.length as usize];
        self.store().read(run.offset, &mut data)?;
        if let Some(node) = &self.debug {
            node.engine.step(&events::COR_WRITE);
        }
        if bytes::is_zero(&data) {
            self.store().write_zeroes(run, ZeroFlags::default())?;
        } else {
            self.store().write(run.offset, &data, WriteFlags::default())?;
        }
        Ok(data)
    }
}

impl PassThrough for CopyOnRead {
    fn inner(&self) -> &Disk {
        &self.inner
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let extent = Extent::new(offset, buf.len() as u64);
        let whole = self.clusters(extent);
        let _alone = self.busy.exclude(whole);
        if self.is_allocated(extent)? {
            return self.inner.read(offset, buf);
        }
        self.copy(whole, offset, buf)
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        let _busy = self.busy.share(Extent::new(offset, buf.len() as u64));
        self.inner.write(offset, buf, flags)
    }

    fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        let _busy = self.busy.share(extent);
        self.inner.write_zeroes(extent, flags)
    }

    fn discard(&self, extent: Extent, flags: DiscardFlags) -> Result<()> {
        let _busy = self.busy.share(extent);
        self.inner.discard(extent, flags)
    }

    fn resize(&self, size: u64) -> Result<()> {
        let _busy = self.busy.exclude(RangeLock::EVERYTHING);
        self.inner.resize(size)
    }

    fn grow(&self, size: u64, preallocation: Preallocation) -> Result<()> {
        let _busy = self.busy.exclude(RangeLock::EVERYTHING);
        self.inner.grow(size, preallocation)
    }

    /// A repair changes no content.
    fn as_check(&self) -> Option<&dyn Check> {
        self.inner.as_check()
    }

    fn as_info(&self) -> Option<&dyn Info> {
        self.inner.as_info()
    }

    fn as_overlay(&self) -> Option<&dyn Overlay> {
        self.inner.as_overlay().map(|_| self as &dyn Overlay)
    }
}

impl Overlay for CopyOnRead {
    fn set_backing(&self, backing: Option<&BackingFile>) -> Result<()> {
        Overlay::set_backing(&*self.inner, backing)
    }

    fn forget_content(&self) -> Result<()> {
        let _busy = self.busy.exclude(RangeLock::EVERYTHING);
        Overlay::forget_content(&*self.inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use blk_core::testing::{Maker, conformance};
    use blk_core::{Access, MapResolver, MemoryStorage, Options, Storage};

    use super::*;

    const BELOW: &str = "below";

    /// A qcow2 image over a raw one that holds `below`, and copies from it.
    fn over(storage: &Arc<dyn Storage>, below: &[u8], access: Access) -> Result<Disk> {
        let base: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(below));
        let base = blk_raw::FORMAT.open(base, Access::ReadOnly, Options::new(), &MapResolver::default())?;
        let resolver = MapResolver::single(BELOW, Arc::new(base));
        let inner = blk_qcow2::FORMAT.open(Arc::clone(storage), access, Options::new(), &resolver)?;
        Ok(match access {
            Access::ReadOnly => inner,
            Access::ReadWrite => Disk::new(CopyOnRead::new(Arc::new(inner), None), access),
        })
    }

    fn create(size: u64) -> Result<Arc<dyn Storage>> {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let options = Options::new().with("backing_file", BELOW).with("cluster_size", "4k");
        blk_qcow2::FORMAT.create(&storage, size, options)?;
        Ok(storage)
    }

    struct OverZeroes;

    impl Maker for OverZeroes {
        type Medium = Arc<dyn Storage>;

        fn make(&self, size: u64) -> Result<Self::Medium> {
            create(size)
        }

        fn open(&self, medium: &Self::Medium, access: Access) -> Result<Disk> {
            over(medium, &vec![0; 100_000], access)
        }
    }

    #[test]
    fn a_disk_that_copies_is_a_disk() {
        conformance(&OverZeroes);
    }

    #[test]
    fn what_is_read_is_kept_in_whole_clusters() {
        let below: Vec<u8> = (0..20_000u32).map(|at| at as u8 | 1).collect();
        let storage = create(20_480).unwrap();
        let disk = over(&storage, &below, Access::ReadWrite).unwrap();
        let mut buf = [0; 2];
        disk.read(8191, &mut buf).unwrap();
        assert_eq!(buf, below[8191..8193]);
        // The last cluster reaches past the end of what lies below.
        let mut end = [9; 500];
        disk.read(19_980, &mut end).unwrap();
        assert_eq!(end[..20], below[19_980..]);
        assert!(end[20..].iter().all(|byte| *byte == 0));
        let allocated =
            |at| disk.block_status(Extent::new(at, 4096)).map(|status| (status.length, status.allocated));
        assert_eq!(allocated(0).unwrap(), (4096, false));
        for at in [4096, 8192, 16_384] {
            assert_eq!(allocated(at).unwrap(), (4096, true), "{at}");
        }
        disk.close().unwrap();
        drop(disk);
        // Over other content, the clusters that were copied keep what they were copied from.
        let disk = over(&storage, &vec![7; 20_000], Access::ReadOnly).unwrap();
        let mut all = vec![0; 20_480];
        disk.read(0, &mut all).unwrap();
        assert_eq!(all[4096..12_288], below[4096..12_288]);
        assert!(all[..4096].iter().chain(&all[12_288..16_384]).all(|byte| *byte == 7));
    }

    #[test]
    fn a_copy_never_undoes_a_write() {
        const CLUSTERS: u64 = 64;
        let storage = create(CLUSTERS * 4096).unwrap();
        let below = vec![1; (CLUSTERS * 4096) as usize];
        let disk = over(&storage, &below, Access::ReadWrite).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                for cluster in 0..CLUSTERS {
                    disk.write(cluster * 4096 + 100, &[2; 100], WriteFlags::default()).unwrap();
                }
            });
            for _ in 0..2 {
                scope.spawn(|| {
                    for cluster in 0..CLUSTERS {
                        disk.read(cluster * 4096, &mut [0; 50]).unwrap();
                    }
                });
            }
        });
        let mut cluster = [0; 4096];
        for index in 0..CLUSTERS {
            disk.read(index * 4096, &mut cluster).unwrap();
            assert!(cluster[100..200].iter().all(|byte| *byte == 2), "cluster {index}");
            assert!(cluster[..100].iter().chain(&cluster[200..]).all(|byte| *byte == 1), "cluster {index}");
        }
    }
}
