//! qcow2 images with an external data file, on the host of the image (see `windows`), and what is asked of a
//! raw one: read alone, it is the disk.

use std::sync::Arc;

use blk_core::{Access, Disk, Extent, MapResolver, MemoryStorage, Options, Result, Storage};
use blk_harness::driver::{Kept, Lasts};
use blk_harness::scenario::Config;
use blk_harness::scenario::OptionValues;
use blk_sim::windows;

/// The option of scenarios.
pub(crate) const OPTION: &str = "x-data-file";
/// The name by which an image finds its data file.
const NAME: &str = "data";
/// How much is compared at a time, bytes.
const PIECE_BYTES: u64 = 64 << 10;

/// What an image keeps its data in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DataFile {
    /// The image file itself.
    Inside,
    /// A file that only the image's tables explain.
    Plain,
    /// A file that is the disk.
    Raw,
}

impl DataFile {
    pub(crate) fn of(options: &OptionValues) -> Self {
        if options.is(OPTION, "plain") {
            Self::Plain
        } else if options.is(OPTION, "raw") {
            Self::Raw
        } else {
            Self::Inside
        }
    }

    /// The image file of a host.
    pub(crate) fn image(self, host: &Arc<dyn Storage>) -> Arc<dyn Storage> {
        if self == Self::Inside { Arc::clone(host) } else { windows::image(host) }
    }

    /// Lets `resolver` find the data file of a host.
    pub(crate) fn insert(self, resolver: &mut MapResolver, host: &Arc<dyn Storage>, config: &Config) {
        if self != Self::Inside {
            resolver.insert_storage(
                NAME,
                windows::data(host, windows::data_bytes(config.size_bytes)),
                Access::ReadWrite,
            );
        }
    }

    /// The options of a new image.
    pub(crate) fn create_options(self, options: Options) -> Options {
        match self {
            Self::Inside => options,
            Self::Plain => options.with("data_file", NAME),
            Self::Raw => options.with("data_file", NAME).with("data_file_raw", "on"),
        }
    }

    /// Whether the data file of an image that nothing has open is the disk.
    pub(crate) fn kept(self, host: &dyn Storage, config: &Config) -> Result<Vec<Kept>> {
        if self != Self::Raw {
            return Ok(Vec::new());
        }
        let host: Arc<dyn Storage> = Arc::new(copy(host)?);
        let mut resolver = MapResolver::default();
        self.insert(&mut resolver, &host, config);
        let disk = blk_qcow2::FORMAT.open(self.image(&host), Access::ReadOnly, Options::new(), &resolver)?;
        let name = "what a raw data file shows, read without the image,".to_owned();
        let digest =
            1 + u64::from(!is_disk(&*windows::data(&host, windows::data_bytes(config.size_bytes)), &disk)?);
        Ok(vec![Kept { name, digest, lasts: Lasts::Always }])
    }
}

/// Whether a file shows what a disk does.
fn is_disk(file: &dyn Storage, disk: &Disk) -> Result<bool> {
    let mut at = 0;
    while at < disk.size() {
        let length = (disk.size() - at).min(PIECE_BYTES);
        let (mut found, mut shown) = (vec![0; length as usize], vec![0; length as usize]);
        file.read_at(at, &mut found)?;
        disk.read(at, &mut shown)?;
        if found != shown {
            return Ok(false);
        }
        at += length;
    }
    Ok(true)
}

/// A copy in memory.
pub(crate) fn copy(host: &dyn Storage) -> Result<MemoryStorage> {
    let copy = MemoryStorage::new();
    copy.set_len(host.len()?)?;
    let mut at = 0;
    while let Some(run) = host.run_at(at)? {
        let run_end = Extent::new(at, run.length).end();
        while run.data && at < run_end {
            let mut bytes = vec![0; (run_end - at).min(PIECE_BYTES) as usize];
            host.read_at(at, &mut bytes)?;
            copy.write_at(at, &bytes)?;
            at += bytes.len() as u64;
        }
        at = run_end;
    }
    Ok(copy)
}
