//! Images in memory, for tests that look into them.

#![allow(dead_code, reason = "each test file uses a part of this")]

pub(crate) mod handmade;
pub(crate) mod log;

use std::sync::Arc;

use blk_core::{Access, DenyResolver, Disk, MemoryStorage, Options, Resolver, Result, Storage};
use blk_qcow2::FORMAT;

/// An image in memory.
#[derive(Debug)]
pub(crate) struct Image(Arc<MemoryStorage>);

impl Image {
    pub(crate) fn new(size: u64, create: Options) -> Self {
        Self::try_new(size, create).expect("the options are legal")
    }

    pub(crate) fn try_new(size: u64, create: Options) -> Result<Self> {
        let image = Self(Arc::new(MemoryStorage::new()));
        FORMAT.create(&image.storage(), size, create)?;
        Ok(image)
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self(Arc::new(MemoryStorage::from_bytes(bytes)))
    }

    /// On a host that is full at so many bytes.
    pub(crate) fn limited(size: u64, create: Options, capacity_bytes: u64) -> Self {
        let image = Self(Arc::new(MemoryStorage::with_capacity_limit(capacity_bytes)));
        FORMAT.create(&image.storage(), size, create).expect("there is room for an empty image");
        image
    }

    pub(crate) fn storage(&self) -> Arc<dyn Storage> {
        Arc::clone(&self.0) as _
    }

    pub(crate) fn open(&self, options: Options) -> Disk {
        FORMAT.open(self.storage(), Access::ReadWrite, options, &DenyResolver).expect("the image opens")
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.to_bytes(1 << 30).expect("images of tests are small")
    }

    /// The 8-byte field at an image offset.
    pub(crate) fn field(&self, offset: usize) -> u64 {
        let mut field = [0; 8];
        self.0.read_at(offset as u64, &mut field).expect("memory does not fail");
        u64::from_be_bytes(field)
    }
}

/// Xorshift: the sequence is the tests' own.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next number, below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Puts bytes into an image.
pub(crate) fn patch(image: &mut [u8], offset: usize, bytes: &[u8]) {
    image[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// Gives a backing file to an image that names none.
#[derive(Debug)]
pub(crate) struct OneBacking(pub(crate) Option<Arc<Disk>>);

impl Resolver for OneBacking {
    fn open_backing(&self, _name: &str, _format: Option<&str>) -> Result<Arc<Disk>> {
        unreachable!("the images name no file")
    }

    fn default_backing(&self) -> Result<Option<Arc<Disk>>> {
        Ok(self.0.clone())
    }
}
