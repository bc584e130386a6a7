//! Storage in memory: sparse, and fast enough not to be what a fuzzer waits for.
//!
//! Pages are allocated when they are first written. Those of the first [`DENSE_PAGES`] are found by index;
//! the rare ones beyond, as an image with host offsets of many gigabytes has, in a tree.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use super::{Storage, StorageRun};
use crate::sync::RwLock;
use crate::{Error, Extent, Result, bytes, vectored};

const PAGE_BYTES: usize = 4096;
/// Pages that are found by index: 1 GiB of storage costs at most 2 MiB of index.
const DENSE_PAGES: u64 = 1 << 18;

/// How far a run of data is followed at most, so that walking a storage takes linear time however small the
/// steps.
const RUN_PAGES_MAX: u64 = 4096;

/// Duplicates share their pages until one of them writes.
type Page = Arc<[u8; PAGE_BYTES]>;

/// A sparse array of bytes in memory. Its `sync` has nothing to do: what a crash would leave is simulated
/// elsewhere.
#[derive(Default)]
pub struct MemoryStorage {
    pages: RwLock<Pages>,
    /// The length beyond which writes fail as on a full disk.
    capacity_bytes: Option<u64>,
}

#[derive(Default, Clone)]
struct Pages {
    length: u64,
    dense: Vec<Option<Page>>,
    far: BTreeMap<u64, Page>,
}

impl MemoryStorage {
    /// An empty storage.
    pub fn new() -> Self {
        Self::default()
    }

    /// A storage that holds `bytes`.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let storage = Self::new();
        let mut pages = storage.pages.write();
        pages.length = bytes.len() as u64;
        for (index, chunk) in bytes.chunks(PAGE_BYTES).enumerate() {
            if !bytes::is_zero(chunk) {
                pages.page_mut(index as u64)[..chunk.len()].copy_from_slice(chunk);
            }
        }
        drop(pages);
        storage
    }

    /// An empty storage that fails with [`Error::NoSpace`] rather than grow beyond `capacity_bytes`.
    pub fn with_capacity_limit(capacity_bytes: u64) -> Self {
        Self { capacity_bytes: Some(capacity_bytes), ..Self::default() }
    }

    /// A copy of all that it holds.
    ///
    /// # Errors
    /// [`Error::NoSpace`] if that is more than `bytes_max` bytes.
    pub fn to_bytes(&self, bytes_max: u64) -> Result<Vec<u8>> {
        let length = self.pages.read().length;
        if length > bytes_max {
            return Err(Error::NoSpace {
                what: format!("storage of {length} bytes, {bytes_max} allowed").into(),
            });
        }
        let mut bytes = vec![0; length as usize];
        self.read_at(0, &mut bytes)?;
        Ok(bytes)
    }

    /// An independent copy with the same content. It takes memory only where one of the two is written later.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self { pages: RwLock::new(self.pages.read().clone()), capacity_bytes: self.capacity_bytes }
    }

    /// Whether the bytes from `offset` on are those of `expected`; past the end there are zeroes. Nothing is
    /// copied.
    pub fn holds(&self, offset: u64, expected: &[u8]) -> bool {
        let pages = self.pages.read();
        let mut is_same = true;
        for_each_page(offset, expected.len(), |index, within, part| {
            let expected = &expected[part];
            is_same = is_same
                && match pages.page(index) {
                    Some(page) => page[within..within + expected.len()] == *expected,
                    None => crate::bytes::is_zero(expected),
                };
        });
        is_same
    }

    fn check_capacity(&self, end: u64) -> Result<()> {
        match self.capacity_bytes {
            Some(capacity) if end > capacity => {
                Err(Error::NoSpace { what: format!("memory storage is limited to {capacity} bytes").into() })
            }
            _ => Ok(()),
        }
    }
}

/// No storage is longer, as no file is; all arithmetic on offsets inside it is safe.
const LENGTH_MAX: u64 = i64::MAX as u64;

fn end_of(offset: u64, length: u64) -> Result<u64> {
    match offset.checked_add(length) {
        Some(end) if end <= LENGTH_MAX => Ok(end),
        _ => Err(Error::OutOfRange { offset, length, size: LENGTH_MAX }),
    }
}

/// Calls `each` with the page index, the offset in the page and the part of `0..length` for each page of a
/// range.
#[inline]
fn for_each_page(offset: u64, length: usize, mut each: impl FnMut(u64, usize, std::ops::Range<usize>)) {
    let mut done = 0;
    while done < length {
        let at = offset + done as u64;
        let within = (at % PAGE_BYTES as u64) as usize;
        let part = (PAGE_BYTES - within).min(length - done);
        each(at / PAGE_BYTES as u64, within, done..done + part);
        done += part;
    }
}

impl Pages {
    #[inline]
    fn page(&self, index: u64) -> Option<&Page> {
        if index < DENSE_PAGES { self.dense.get(index as usize)?.as_ref() } else { self.far.get(&index) }
    }

    #[inline]
    fn page_mut(&mut self, index: u64) -> &mut [u8; PAGE_BYTES] {
        if index >= DENSE_PAGES {
            return Arc::make_mut(self.far.entry(index).or_insert_with(|| Arc::new([0; PAGE_BYTES])));
        }
        let index = index as usize;
        if index >= self.dense.len() {
            self.dense.resize_with(index + 1, || None);
        }
        Arc::make_mut(self.dense[index].get_or_insert_with(|| Arc::new([0; PAGE_BYTES])))
    }

    #[inline]
    fn read(&self, offset: u64, buf: &mut [u8]) {
        for_each_page(offset, buf.len(), |index, within, part| {
            let length = part.len();
            match self.page(index) {
                Some(page) => buf[part].copy_from_slice(&page[within..within + length]),
                None => buf[part].fill(0),
            }
        });
    }

    #[inline]
    fn write(&mut self, offset: u64, buf: &[u8]) {
        for_each_page(offset, buf.len(), |index, within, part| {
            self.page_mut(index)[within..within + part.len()].copy_from_slice(&buf[part]);
        });
    }

    fn stored_mut(&mut self, index: u64) -> Option<&mut [u8; PAGE_BYTES]> {
        let page = if index < DENSE_PAGES {
            self.dense.get_mut(index as usize)?.as_mut()
        } else {
            self.far.get_mut(&index)
        };
        page.map(Arc::make_mut)
    }

    fn drop_pages(&mut self, range: std::ops::Range<u64>) {
        let stored = |index: u64| usize::try_from(index).unwrap_or(usize::MAX).min(self.dense.len());
        let dense = stored(range.start)..stored(range.end);
        self.dense[dense].fill_with(|| None);
        while let Some((&index, _)) = self.far.range(range.clone()).next() {
            self.far.remove(&index);
        }
    }

    /// Zeroes a range, which ends inside the storage. Whole pages are dropped; an absent page is zero
    /// already. Takes as long as there are pages stored, however long the range is.
    fn clear(&mut self, extent: Extent) {
        assert!(extent.end() <= self.length, "{extent:?} of {} bytes", self.length);
        let inner = extent.align_inward(PAGE_BYTES as u64);
        if inner.is_empty() {
            return self.fill_zero(extent);
        }
        self.fill_zero(Extent::between(extent.offset, inner.offset));
        self.fill_zero(Extent::between(inner.end(), extent.end()));
        self.drop_pages(inner.offset / PAGE_BYTES as u64..inner.end() / PAGE_BYTES as u64);
    }

    /// Zeroes parts of at most two pages.
    fn fill_zero(&mut self, extent: Extent) {
        for_each_page(extent.offset, extent.length as usize, |index, within, part| {
            if let Some(page) = self.stored_mut(index) {
                page[within..within + part.len()].fill(0);
            }
        });
    }

    fn truncate(&mut self, length: u64) {
        self.fill_zero(Extent::between(length, length.next_multiple_of(PAGE_BYTES as u64)));
        let pages = length.div_ceil(PAGE_BYTES as u64);
        self.dense.truncate(usize::try_from(pages).unwrap_or(usize::MAX));
        self.far.split_off(&pages);
        assert!(self.dense.len() as u64 <= pages, "no page is stored past the end");
    }

    /// The first page at or after `index` that is stored.
    fn next_stored(&self, index: u64) -> Option<u64> {
        let start = usize::try_from(index).unwrap_or(usize::MAX).min(self.dense.len());
        let dense = self.dense[start..].iter().position(Option::is_some).map(|found| (start + found) as u64);
        dense.or_else(|| self.far.range(index..).next().map(|(found, _)| *found))
    }
}

impl Storage for MemoryStorage {
    fn len(&self) -> Result<u64> {
        Ok(self.pages.read().length)
    }

    fn set_len(&self, length: u64) -> Result<()> {
        end_of(length, 0)?;
        self.check_capacity(length)?;
        let mut pages = self.pages.write();
        if length < pages.length {
            pages.truncate(length);
        }
        pages.length = length;
        Ok(())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        end_of(offset, buf.len() as u64)?;
        self.pages.read().read(offset, buf);
        Ok(())
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let end = end_of(offset, buf.len() as u64)?;
        if buf.is_empty() {
            return Ok(());
        }
        self.check_capacity(end)?;
        let mut pages = self.pages.write();
        pages.write(offset, buf);
        pages.length = pages.length.max(end);
        Ok(())
    }

    fn read_vectored_at(&self, offset: u64, bufs: &mut [IoSliceMut<'_>]) -> Result<()> {
        end_of(offset, vectored::bytes_of_mut(bufs)?)?;
        let pages = self.pages.read();
        let mut at = offset;
        for buf in bufs {
            pages.read(at, buf);
            at += buf.len() as u64;
        }
        Ok(())
    }

    fn write_vectored_at(&self, offset: u64, bufs: &[IoSlice<'_>]) -> Result<()> {
        let length = vectored::bytes_of(bufs)?;
        let end = end_of(offset, length)?;
        if length == 0 {
            return Ok(());
        }
        self.check_capacity(end)?;
        let mut pages = self.pages.write();
        let mut at = offset;
        for buf in bufs {
            pages.write(at, buf);
            at += buf.len() as u64;
        }
        pages.length = pages.length.max(end);
        Ok(())
    }

    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        let end = end_of(extent.offset, extent.length)?;
        if extent.is_empty() {
            return Ok(());
        }
        self.check_capacity(end)?;
        let mut pages = self.pages.write();
        pages.length = pages.length.max(end);
        pages.clear(extent);
        Ok(())
    }

    fn punch_hole(&self, extent: Extent) -> Result<()> {
        let mut pages = self.pages.write();
        let start = extent.offset.min(pages.length);
        let end = extent.checked_end().unwrap_or(u64::MAX).clamp(start, pages.length);
        pages.clear(Extent::between(start, end));
        Ok(())
    }

    fn run_at(&self, offset: u64) -> Result<Option<StorageRun>> {
        let pages = self.pages.read();
        if offset >= pages.length {
            return Ok(None);
        }
        let index = offset / PAGE_BYTES as u64;
        let data = pages.page(index).is_some();
        let end = if data {
            let mut next = index + 1;
            while next - index < RUN_PAGES_MAX && pages.page(next).is_some() {
                next += 1;
            }
            next.saturating_mul(PAGE_BYTES as u64)
        } else {
            pages.next_stored(index).map_or(u64::MAX, |found| found * PAGE_BYTES as u64)
        };
        assert!(end > offset, "a run has a byte: {offset}");
        Ok(Some(StorageRun { length: end.min(pages.length) - offset, data }))
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }
}

impl fmt::Debug for MemoryStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pages = self.pages.read();
        let stored = pages.dense.iter().flatten().count() + pages.far.len();
        f.debug_struct("MemoryStorage")
            .field("length", &pages.length)
            .field("pages", &stored)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn byte_at(storage: &MemoryStorage, offset: u64) -> u8 {
        let mut byte = [0xaa];
        storage.read_at(offset, &mut byte).unwrap();
        byte[0]
    }

    #[test]
    fn what_was_cut_off_reads_as_zero_after_growing() {
        let storage = MemoryStorage::from_bytes(&[7; 10_000]);
        storage.set_len(5000).unwrap();
        storage.set_len(20_000).unwrap();
        assert_eq!(byte_at(&storage, 4999), 7);
        assert_eq!(byte_at(&storage, 5000), 0);
        assert_eq!(byte_at(&storage, 9000), 0);
    }

    #[test]
    fn writes_past_the_end_leave_a_hole() {
        let storage = MemoryStorage::new();
        let far = 5 << 40;
        storage.write_at(far, b"x").unwrap();
        assert_eq!(storage.len().unwrap(), far + 1);
        assert_eq!(storage.run_at(0).unwrap(), Some(StorageRun { length: far, data: false }));
        assert_eq!(byte_at(&storage, far), b'x');
        assert_eq!(storage.run_at(far + 1).unwrap(), None);
    }

    #[test]
    fn punching_never_grows_and_zeroing_does() {
        let storage = MemoryStorage::from_bytes(&[1; 100]);
        storage.punch_hole(Extent::new(50, 1000)).unwrap();
        assert_eq!(storage.len().unwrap(), 100);
        assert_eq!((byte_at(&storage, 49), byte_at(&storage, 50)), (1, 0));
        storage.write_zeroes_at(Extent::new(10, 190)).unwrap();
        assert_eq!(storage.len().unwrap(), 200);
        assert_eq!((byte_at(&storage, 9), byte_at(&storage, 10)), (1, 0));
    }

    #[test]
    fn what_it_holds_is_what_it_reads() {
        let memory = MemoryStorage::new();
        memory.write_at(4090, &[7; 12]).unwrap();
        for (offset, length) in [(0, 1), (4089, 1), (4089, 14), (4090, 12), (4096, 6), (4102, 9000), (9, 0)] {
            let mut bytes = vec![0; length];
            memory.read_at(offset, &mut bytes).unwrap();
            assert!(memory.holds(offset, &bytes), "{offset} {length}");
            for at in [0, length / 2, length.saturating_sub(1)] {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1;
                    assert!(!memory.holds(offset, &bytes), "{offset} {length} {at}");
                    bytes[at] ^= 1;
                }
            }
        }
    }

    #[test]
    fn huge_ranges_take_no_time_and_overflow_nothing() {
        let storage = MemoryStorage::new();
        let far = 5 << 40;
        storage.set_len(1 << 62).unwrap();
        storage.write_at(100, b"ab").unwrap();
        storage.write_at(far, b"cd").unwrap();
        storage.write_zeroes_at(Extent::new(101, far - 100)).unwrap();
        let near = [100, 101].map(|offset| byte_at(&storage, offset));
        let ends = [far, far + 1].map(|offset| byte_at(&storage, offset));
        assert_eq!((near, ends), ([b'a', 0], [0, b'd']));
        storage.punch_hole(Extent::new(1, u64::MAX)).unwrap();
        assert_eq!(byte_at(&storage, far + 1), 0);
        assert!(matches!(storage.set_len(u64::MAX), Err(Error::OutOfRange { .. })));
        assert!(matches!(storage.write_zeroes_at(Extent::new(9, u64::MAX)), Err(Error::OutOfRange { .. })));
    }

    #[test]
    fn empty_requests_do_not_extend() {
        let storage = MemoryStorage::new();
        storage.write_at(100, &[]).unwrap();
        storage.write_zeroes_at(Extent::new(100, 0)).unwrap();
        assert_eq!(storage.len().unwrap(), 0);
    }

    #[test]
    fn a_full_storage_says_so_and_changes_nothing() {
        let storage = MemoryStorage::with_capacity_limit(1000);
        assert!(matches!(storage.write_at(999, &[1, 2]), Err(Error::NoSpace { .. })));
        assert_eq!(storage.len().unwrap(), 0);
        storage.write_at(998, &[1, 2]).unwrap();
    }
}
