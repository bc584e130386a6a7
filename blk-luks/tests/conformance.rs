//! The conformance suite over LUKS disks that have been filled with zeroes: a new one is noise.

mod common;

use std::sync::Arc;

use blk_core::storage::{StorageLimits, StrictStorage};
use blk_core::testing::{Maker, conformance};
use blk_core::{Access, Disk, Error, Format, MemoryStorage, Options, Result, Storage};
use common::{QUICK, clear, key, open, secrets};

struct Luks {
    mode: &'static str,
    iv: &'static str,
    alignment: u64,
}

impl Maker for Luks {
    type Medium = Arc<dyn Storage>;

    fn make(&self, size: u64) -> Result<Self::Medium> {
        if !size.is_multiple_of(512) {
            return Err(Error::invalid_option("size", "the disk is whole sectors"));
        }
        let limits = StorageLimits { alignment: self.alignment, memory_alignment: self.alignment };
        let storage: Arc<dyn Storage> = Arc::new(StrictStorage::new(Arc::new(MemoryStorage::new()), limits));
        let options = Options::new().with("cipher-mode", self.mode).with("ivgen-alg", self.iv);
        QUICK.create_with(&storage, size, options.with("key-secret", "first"), &secrets())?;
        let disk = open(&storage, "first")?;
        clear(&disk)?;
        disk.close()?;
        Ok(storage)
    }

    fn open(&self, medium: &Self::Medium, access: Access) -> Result<Disk> {
        QUICK.open(Arc::clone(medium), access, key("first"), &secrets())
    }

    /// All of it is written.
    fn large_bytes(&self) -> u64 {
        (16 << 20) + 512
    }
}

#[test]
fn xts_conforms() {
    conformance(&Luks { mode: "xts", iv: "plain64", alignment: 1 });
}

#[test]
fn cbc_with_essiv_conforms() {
    conformance(&Luks { mode: "cbc", iv: "essiv", alignment: 1 });
}

#[test]
fn xts_on_a_host_that_demands_alignment_conforms() {
    conformance(&Luks { mode: "xts", iv: "plain64", alignment: 4096 });
}
