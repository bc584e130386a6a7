//! The contract between disk-image drivers and everything that uses them.
//!
//! A driver implements [`BlockDriver`] over a [`Storage`]; callers talk to it through a [`Disk`], which
//! checks every request once for all drivers. A driver crate plugs in with one [`Format`]. Everything is
//! synchronous, takes `&self`, and fails with one [`Error`].

mod amend;
mod bitmaps;
mod buffer;
pub mod bytes;
mod chain;
mod check;
mod compress;
mod dirty;
mod disk;
mod driver;
mod error;
mod extent;
mod filter;
mod format;
mod info;
pub mod name;
mod op;
mod options;
mod queue;
mod secret;
mod signature;
mod size;
mod snapshot;
pub mod storage;
pub mod sync;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod units;
mod vectored;

pub use amend::{Amend, Amendment};
pub use bitmaps::{BitmapInfo, Bitmaps};
pub use buffer::Buffer;
pub use chain::{ChainQuery, ChainStatus};
pub use check::{CheckReport, Finding, RepairMode, Severity};
pub use compress::{Compress, Compressed};
pub use dirty::{Bits, DirtyBitmap};
pub use disk::{Access, Disk, SizeWatcher};
pub use driver::{
    BlockDriver, BlockStatus, Check, DiscardFlags, Limits, NativeFlags, Preallocation, Resize, WriteFlags,
    ZeroFlags, refuse_compressed,
};
pub use error::{Disconnection, Error, ErrorKind, Result};
pub use extent::Extent;
pub use filter::PassThrough;
pub use format::{DenyResolver, Features, Format, MapResolver, Measure, Probe, Registry, Resolver};
pub use info::{BackingFile, Detail, Details, ImageInfo, Info, Overlay};
pub use op::{Data, Op, OpKind, Perform, Reply, SnapshotAct, slot_name, slot_of_name};
pub use options::{
    Condition, Conflict, OptionKind, OptionSpec, OptionValue, Options, Range, Step, Support, TypedOptions,
    TypedValue, parse_switch,
};
pub use queue::{Completion, DiskQueue, Queue, Refused};
pub use secret::Secret;
pub use signature::{PROBED_BYTES, format_of, format_of_start};
pub use size::{ExactSize, SizeError, parse_integer, parse_size};
pub use snapshot::{NewSnapshot, SnapshotInfo, Snapshots};
pub use storage::{FileStorage, MemoryStorage, Storage, StorageLimits, StorageRun};

const _: () = assert!(usize::BITS == 64, "offsets in memory are assumed to fit into usize");
