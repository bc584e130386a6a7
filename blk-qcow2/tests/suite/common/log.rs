//! Storage that writes down what is done to it.

use std::fmt::Write;

use blk_core::sync::Mutex;
use blk_core::{Extent, MemoryStorage, Result, Storage, StorageRun};

/// Storage in memory with a list of the operations on it, as text. Unlike a trace it also has the questions
/// for the length.
#[derive(Debug)]
pub(crate) struct LogStorage {
    inner: MemoryStorage,
    text: Mutex<String>,
}

impl LogStorage {
    pub(crate) fn new(inner: MemoryStorage) -> Self {
        Self { inner, text: Mutex::default() }
    }

    /// What was done since the last time; `-` for nothing.
    pub(crate) fn take(&self) -> String {
        let text = std::mem::take(&mut *self.text.lock());
        if text.is_empty() { "-".to_owned() } else { text }
    }

    fn note(&self, what: &str) {
        let mut text = self.text.lock();
        let separator = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{separator}{what}");
    }

    fn note_extent(&self, what: &str, offset: u64, length: u64) {
        self.note(&format!("{what} {offset:x}+{length:x}"));
    }
}

impl Storage for LogStorage {
    fn len(&self) -> Result<u64> {
        self.note("len");
        self.inner.len()
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.note(&format!("set_len {length:x}"));
        self.inner.set_len(length)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.note_extent("read", offset, buf.len() as u64);
        self.inner.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.note_extent("write", offset, buf.len() as u64);
        self.inner.write_at(offset, buf)
    }

    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        self.note_extent("zero", extent.offset, extent.length);
        self.inner.write_zeroes_at(extent)
    }

    fn punch_hole(&self, extent: Extent) -> Result<()> {
        self.note_extent("punch", extent.offset, extent.length);
        self.inner.punch_hole(extent)
    }

    fn run_at(&self, offset: u64) -> Result<Option<StorageRun>> {
        self.inner.run_at(offset)
    }

    fn sync(&self) -> Result<()> {
        self.note("sync");
        self.inner.sync()
    }
}
