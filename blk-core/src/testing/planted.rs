//! A small driver with clusters, a cache that a kill loses, and room for one bug at a time.

mod bugs;

use std::collections::BTreeMap;
use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Maker;
use crate::driver::status_runs;
use crate::sync::Mutex;
use crate::{
    Access, BlockDriver, BlockStatus, Buffer, Completion, DiscardFlags, Disk, Error, Extent, Limits,
    NativeFlags, Op, Preallocation, Queue, Reply, Resize, Result, WriteFlags, ZeroFlags,
};
pub(super) use bugs::Bug;

const CLUSTER_BYTES: u64 = 4096;
/// Disks up to this size are made; the clusters that are stored are few. Bytes.
const SIZE_MAX: u64 = 1 << 40;

/// A cluster that is there: bytes, or a mark that it reads as zeroes.
type Cluster = Option<Vec<u8>>;

#[derive(Debug, Clone, Default)]
pub(super) struct Image {
    size: u64,
    clusters: BTreeMap<u64, Cluster>,
    zero_requests: u64,
}

/// The cluster, the place in it and the part of the request for each cluster that an extent touches.
fn pieces(extent: Extent) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = extent.offset + done;
        let within = at % CLUSTER_BYTES;
        let length = (CLUSTER_BYTES - within).min(extent.length - done);
        let part = done as usize..(done + length) as usize;
        done += length;
        (length > 0).then_some((at / CLUSTER_BYTES, within as usize, part))
    })
}

impl Image {
    fn write(&mut self, offset: u64, buf: &[u8]) {
        for (index, within, part) in pieces(Extent::new(offset, buf.len() as u64)) {
            let cluster = self.clusters.entry(index).or_default();
            let bytes = cluster.get_or_insert_with(|| vec![0; CLUSTER_BYTES as usize]);
            bytes[within..within + part.len()].copy_from_slice(&buf[part]);
        }
    }

    fn zero(&mut self, extent: Extent, unmap: bool) {
        for (index, within, part) in pieces(extent) {
            if part.len() as u64 == CLUSTER_BYTES {
                if unmap {
                    self.clusters.remove(&index);
                } else {
                    self.clusters.insert(index, None);
                }
            } else if let Some(Some(bytes)) = self.clusters.get_mut(&index) {
                bytes[within..within + part.len()].fill(0);
            }
        }
    }

    fn inside(&self, extent: Extent) -> Extent {
        extent.intersection(Extent::new(0, self.size.next_multiple_of(CLUSTER_BYTES)))
    }

    fn outward(&self, extent: Extent) -> Extent {
        let start = extent.offset / CLUSTER_BYTES * CLUSTER_BYTES;
        self.inside(Extent::between(start, extent.end().next_multiple_of(CLUSTER_BYTES)))
    }
}

/// How a right driver may be, too.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) limits: Limits,
    pub(super) resizes: bool,
    /// Has a queue of its own.
    pub(super) queues: bool,
    /// Refuses zeroes without data.
    pub(super) strict: bool,
}

impl Default for Shape {
    fn default() -> Self {
        let limits = Limits {
            zero_granularity: CLUSTER_BYTES,
            discard_granularity: CLUSTER_BYTES,
            native: NativeFlags::ALL,
            ..Limits::default()
        };
        Self { limits, resizes: true, queues: false, strict: false }
    }
}

#[derive(Debug)]
struct Planted {
    bug: Bug,
    shape: Shape,
    live: Mutex<Image>,
    durable: Arc<Mutex<Image>>,
    drifted: AtomicBool,
    flickers: AtomicBool,
}

impl Planted {
    fn has(&self, bug: Bug) -> bool {
        self.bug == bug
    }

    fn persist(&self) {
        let live = self.live.lock().clone();
        let mut durable = self.durable.lock();
        let size = if self.has(Bug::ResizeForgottenAtReopen) { durable.size } else { live.size };
        let mut clusters = live.clusters;
        if self.has(Bug::DiscardComesBackAtReopen) {
            for (index, old) in std::mem::take(&mut durable.clusters) {
                clusters.entry(index).or_insert(old);
            }
        }
        *durable = Image { size, clusters, zero_requests: live.zero_requests };
    }

    /// Where the bytes are for a driver that may compute it wrong.
    fn place(&self, offset: u64) -> u64 {
        if self.has(Bug::FarOffsetsWrap) { offset & 0xffff_ffff } else { offset }
    }

    fn fua(&self, fua: bool) {
        if fua && !self.has(Bug::FuaIsIgnored) {
            self.persist();
        }
    }

    fn write_wrong(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> bool {
        let mut live = self.live.lock();
        let extent = Extent::new(offset, buf.len() as u64);
        match self.bug {
            Bug::CompressedIsIgnored if flags.compressed => {}
            Bug::CompressedClearsNeighbours if flags.compressed => {
                let wide = live.outward(Extent::new(offset, extent.length + CLUSTER_BYTES));
                live.zero(wide, true);
                live.write(offset, buf);
            }
            Bug::WriteLosesTail if buf.len() > 4096 => live.write(offset, &buf[..buf.len() - 1]),
            Bug::LastByteLost if extent.end() == live.size => live.write(offset, &buf[..buf.len() - 1]),
            Bug::PartialWriteClearsCluster
                if !extent.end().is_multiple_of(CLUSTER_BYTES) && buf.len() > 4000 =>
            {
                let last = live.outward(Extent::new(extent.end() - 1, 1));
                live.zero(last, true);
                live.write(offset, buf);
            }
            Bug::ZeroMarkSticks if buf.len() as u64 == CLUSTER_BYTES => {
                let marked = matches!(live.clusters.get(&(offset / CLUSTER_BYTES)), Some(None));
                if !marked {
                    live.write(offset, buf);
                }
            }
            Bug::ThreadsLoseNeighbours => {
                let mut copy = live.clone();
                drop(live);
                std::thread::yield_now();
                copy.write(offset, buf);
                *self.live.lock() = copy;
            }
            _ => return false,
        }
        true
    }

    fn zero_extent(&self, live: &mut Image, extent: Extent, flags: ZeroFlags) -> Extent {
        live.zero_requests += 1;
        let Extent { offset, length } = extent;
        let nothing = Extent::new(offset, 0);
        match self.bug {
            Bug::ZeroesOneTooMany => live.inside(Extent::new(offset, length + 1)),
            Bug::ZeroesOneTooFew if length > CLUSTER_BYTES => Extent::new(offset, length - 1),
            Bug::ZeroesWholeClusters => live.outward(extent),
            Bug::ZeroesWithoutFallbackIgnored if flags.no_fallback => nothing,
            Bug::EveryHundredthZeroIsIgnored if live.zero_requests.is_multiple_of(100) => nothing,
            _ => extent,
        }
    }
}

impl BlockDriver for Planted {
    fn size(&self) -> u64 {
        let size = self.live.lock().size;
        match self.bug {
            Bug::SizeRoundedUp => size.next_multiple_of(512),
            Bug::SizeDrifts if self.drifted.load(Ordering::SeqCst) => size + 1,
            _ => size,
        }
    }

    fn limits(&self) -> Limits {
        let limits = self.shape.limits;
        if self.has(Bug::LimitsSplitUnits) {
            return Limits { request_alignment: 512, zero_bytes_max: 1000, ..limits };
        }
        limits
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let live = self.live.lock();
        let flicker = self.has(Bug::DiscardIsUnstable) && self.flickers.fetch_xor(true, Ordering::SeqCst);
        for (index, within, part) in pieces(Extent::new(self.place(offset), buf.len() as u64)) {
            if self.has(Bug::ReadStopsAtThirdCluster) && part.start as u64 >= 2 * CLUSTER_BYTES {
                break;
            }
            let length = part.len();
            match live.clusters.get(&index) {
                Some(Some(bytes)) => buf[part].copy_from_slice(&bytes[within..within + length]),
                // The bug's mark of a discarded cluster: it shows what was there, or zeroes.
                None if flicker && self.drifted.load(Ordering::SeqCst) => buf[part].fill(0x55),
                _ => buf[part].fill(0),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        let whole = (offset | buf.len() as u64).is_multiple_of(CLUSTER_BYTES);
        if flags.compressed && !whole {
            return Err(Error::Misaligned { offset, length: buf.len() as u64, alignment: CLUSTER_BYTES });
        }
        assert!(buf.len() as u64 <= self.shape.limits.transfer_bytes_max, "the front door splits");
        let offset = self.place(offset);
        if !self.write_wrong(offset, buf, flags) {
            self.live.lock().write(offset, buf);
        }
        self.drifted.store(self.has(Bug::SizeDrifts), Ordering::SeqCst);
        self.fua(flags.fua);
        Ok(())
    }

    fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        assert!(self.shape.limits.can_write_zeroes, "the front door does not ask");
        if self.shape.strict && flags.may_be_refused() {
            return Err(Error::unsupported("zeroes without data"));
        }
        let mut live = self.live.lock();
        if self.has(Bug::FastZeroIsRefusedAfterwards) && flags.fast_only {
            live.zero(extent.align_inward(CLUSTER_BYTES), false);
            return Err(Error::unsupported("zeroes of a part of a cluster without data"));
        }
        let extent = self.zero_extent(&mut live, extent, flags);
        live.zero(extent, flags.may_unmap || self.has(Bug::ZeroesUnmapAnyway));
        drop(live);
        self.fua(flags.fua);
        Ok(())
    }

    fn discard(&self, extent: Extent, flags: DiscardFlags) -> Result<()> {
        assert!(self.shape.limits.can_discard, "the front door does not ask");
        let mut live = self.live.lock();
        self.drifted.store(self.has(Bug::DiscardIsUnstable), Ordering::SeqCst);
        match self.bug {
            Bug::DiscardLeavesGarbage => live.write(extent.offset, &vec![0xd0; extent.length as usize]),
            Bug::DiscardsWholeClusters => {
                let wide = live.outward(extent);
                live.zero(wide, true);
            }
            _ => {
                let whole = extent.align_inward(CLUSTER_BYTES);
                live.zero(whole, true);
            }
        }
        drop(live);
        self.fua(flags.fua && !self.has(Bug::DiscardFuaIsIgnored));
        Ok(())
    }

    fn prefetch(&self, extent: Extent) -> Result<()> {
        if self.has(Bug::PrefetchClears) {
            self.live.lock().zero(extent.align_inward(CLUSTER_BYTES), true);
        }
        Ok(())
    }

    fn read_vectored(&self, offset: u64, bufs: &mut [IoSliceMut<'_>]) -> Result<()> {
        let mut at = offset;
        let count = if self.has(Bug::PiecesBeyondTheSecondAreLost) { 2 } else { bufs.len() };
        for buf in bufs.iter_mut().take(count) {
            self.read(at, buf)?;
            at += buf.len() as u64;
        }
        Ok(())
    }

    fn write_vectored(&self, offset: u64, bufs: &[IoSlice<'_>], flags: WriteFlags) -> Result<()> {
        let mut bufs: Vec<&[u8]> = bufs.iter().map(|buf| &**buf).collect();
        if self.has(Bug::PiecesAreSwapped) && bufs.len() > 2 {
            bufs.swap(0, 1);
        }
        self.write(offset, &bufs.concat(), flags)
    }

    fn block_status_runs(&self, extent: Extent, runs_max: usize) -> Result<Vec<BlockStatus>> {
        let mut runs = status_runs(extent, runs_max, |rest| self.block_status(rest))?;
        if self.has(Bug::RunsSkipOne) && runs.len() > 2 {
            runs.remove(1);
        }
        if self.has(Bug::RunsAreAllLikeTheFirst) {
            let first = runs[0];
            for run in &mut runs {
                *run = BlockStatus { length: run.length, ..first };
            }
        }
        Ok(runs)
    }

    fn as_queue(&self) -> Option<&dyn Queue> {
        let wrong = [Bug::QueueMixesBuffers, Bug::QueueLosesRequests, Bug::QueueForgetsWrites];
        (self.shape.queues || wrong.contains(&self.bug)).then_some(self)
    }

    fn flush(&self) -> Result<()> {
        if !self.has(Bug::FlushForgets) {
            self.persist();
        }
        Ok(())
    }

    fn close(&self) -> Result<()> {
        if !self.has(Bug::CloseForgets) {
            self.persist();
        }
        Ok(())
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        let live = self.live.lock();
        let state = |index| live.clusters.get(&index).map(Option::is_some);
        let first = state(extent.offset / CLUSTER_BYTES);
        let same = |index| self.has(Bug::StatusLooksAtFirstClusterOnly) || state(index) == first;
        let run = pieces(extent).take(1000).take_while(|(index, ..)| same(*index));
        let length = run.map(|(_, _, part)| part.len() as u64).sum();
        let is_data = first == Some(true);
        Ok(BlockStatus {
            length: if self.has(Bug::StatusIsEmpty) { 0 } else { length },
            allocated: first.is_some() && !self.has(Bug::StatusCallsDataUnallocated),
            zero: !is_data
                || (self.has(Bug::StatusCallsDataZero) && !extent.offset.is_multiple_of(CLUSTER_BYTES)),
            compressed: is_data && self.has(Bug::StatusPlacesCompressed),
            host_offset: match self.bug {
                Bug::StatusPlacesCompressed if is_data => Some(0),
                _ => None,
            },
        })
    }

    fn as_resize(&self) -> Option<&dyn Resize> {
        self.shape.resizes.then_some(self)
    }
}

impl Queue for Planted {
    /// Answers at once.
    fn submit(&self, op: Op, mut buffer: Buffer, completion: Completion) {
        let result = match op {
            Op::Read { .. } if self.has(Bug::QueueLosesRequests) => return,
            Op::Read { extent } => {
                let shift = if self.has(Bug::QueueMixesBuffers) { extent.length } else { 0 };
                self.read(extent.offset.saturating_sub(shift), &mut buffer)
            }
            Op::Write { .. } if self.has(Bug::QueueForgetsWrites) => Ok(()),
            Op::Write { extent, flags } => self.write(extent.offset, &buffer, flags),
            Op::Discard { extent, flags } => self.discard(extent, flags),
            Op::Flush => self.flush(),
            _ => Ok(()),
        };
        completion.complete(result.map(|()| Reply::Done), buffer);
    }
}

impl Resize for Planted {
    fn resize(&self, size: u64) -> Result<()> {
        let mut live = self.live.lock();
        let old = live.size;
        let cut = Extent::between(size.min(old), old.next_multiple_of(CLUSTER_BYTES));
        if !self.has(Bug::ShrinkKeepsBytes) {
            live.zero(cut, true);
        }
        let gained = Extent::between(old, size.max(old));
        match self.bug {
            Bug::GrowthIsGarbage if !gained.is_empty() => {
                live.write(gained.offset, &vec![0x0d; gained.length.min(100) as usize]);
            }
            Bug::GrowthLosesTail if !gained.is_empty() => {
                let tail = Extent::between(old / CLUSTER_BYTES * CLUSTER_BYTES, old);
                live.zero(tail, true);
            }
            _ => {}
        }
        live.size = size;
        if size < old && self.has(Bug::ResizeIsRefusedAfterwards) {
            return Err(Error::unsupported("shrinking"));
        }
        Ok(())
    }

    fn grow(&self, size: u64, preallocation: Preallocation) -> Result<()> {
        let old = self.size();
        self.resize(size)?;
        if preallocation == Preallocation::Metadata && self.has(Bug::GrowthIsRefusedAfterwards) {
            return Err(Error::unsupported("preallocation mode 'metadata'"));
        }
        if preallocation != Preallocation::Off && !self.has(Bug::GrowthAllocatesNothing) {
            self.live.lock().write(old, &vec![0; (size - old) as usize]);
        }
        Ok(())
    }
}

/// Makes disks with a bug.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlantedMaker(pub(super) Bug, pub(super) Shape);

impl Maker for PlantedMaker {
    type Medium = Arc<Mutex<Image>>;

    fn make(&self, size: u64) -> Result<Self::Medium> {
        if !size.is_multiple_of(self.1.limits.request_alignment) || size > SIZE_MAX {
            return Err(Error::invalid_option("size", "not a size of this format"));
        }
        let mut image = Image { size, ..Image::default() };
        if self.0 == Bug::FreshIsGarbage && size > 1 << 20 {
            image.write((1 << 20) - 1, &[1]);
        }
        Ok(Arc::new(Mutex::new(image)))
    }

    fn open(&self, medium: &Self::Medium, access: Access) -> Result<Disk> {
        if self.0 == Bug::ReadOnlyOpenClears && access == Access::ReadOnly {
            medium.lock().clusters.clear();
        }
        let access = if self.0 == Bug::OpenedReadOnlyWrites { Access::ReadWrite } else { access };
        let planted = Planted {
            bug: self.0,
            shape: self.1,
            live: Mutex::new(medium.lock().clone()),
            durable: Arc::clone(medium),
            drifted: AtomicBool::new(false),
            flickers: AtomicBool::new(false),
        };
        Ok(Disk::new(planted, access))
    }
}
