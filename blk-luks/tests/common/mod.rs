//! Images for tests: small, quick, the same each time.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::sync::Arc;

use blk_core::{
    Access, Disk, Format, MapResolver, MemoryStorage, Options, Result, Secret, Storage, ZeroFlags,
};
use blk_luks::{LuksFormat, Repeatable};

/// Keys of two stripes, and random bytes that are none.
pub(crate) static QUICK: LuksFormat = LuksFormat::new(&Repeatable::new(7)).with_stripes(2);

/// Knows the passphrases of tests: each is its own name.
pub(crate) fn secrets() -> MapResolver {
    let mut resolver = MapResolver::default();
    for name in ["first", "second", "third"] {
        resolver.insert_secret(name, secret(name));
    }
    resolver
}

pub(crate) fn secret(text: &str) -> Secret {
    Secret::from(text.as_bytes().to_vec())
}

pub(crate) fn key(name: &str) -> Options {
    Options::new().with("key-secret", name)
}

/// An image of noise in memory, which `first` opens.
pub(crate) fn image(size: u64, options: Options) -> Arc<dyn Storage> {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let options = options.with("key-secret", "first");
    QUICK.create_with(&storage, size, options, &secrets()).unwrap();
    storage
}

pub(crate) fn open(storage: &Arc<dyn Storage>, name: &str) -> Result<Disk> {
    QUICK.open(Arc::clone(storage), Access::ReadWrite, key(name), &secrets())
}

/// Makes the disk zeroes.
pub(crate) fn clear(disk: &Disk) -> Result<()> {
    disk.write_zeroes(blk_core::Extent::new(0, disk.size()), ZeroFlags::default())
}

pub(crate) fn bytes(storage: &dyn Storage) -> Vec<u8> {
    let mut bytes = vec![0; storage.len().unwrap() as usize];
    storage.read_at(0, &mut bytes).unwrap();
    bytes
}
