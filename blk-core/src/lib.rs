#![doc = include_str!("../README.md")]
//!
//! ## Where to start
//!
//! - To use disks: [`Disk`], and a [`Format`] of a driver crate that opens one over a [`Storage`]. A program
//!   that knows several formats has a [`Registry`], which also tells whose a file is.
//! - To write a driver: [`BlockDriver`], whose documentation says what a driver may rely on and what it owes;
//!   then [`Format`], and `testing::conformance` (feature `testing`) in its tests.
//! - To put something between a disk and its user, or under a driver: [`PassThrough`] and
//!   [`storage::PassThrough`] forward all that a filter does not change.
//! - To keep requests as data, or to have several in flight: [`Op`] and [`DiskQueue`].
//! - What can go wrong: [`Error`].
//!
//! Bytes are the unit everywhere, of offsets, lengths and sizes.

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
mod layout;
pub mod name;
mod op;
mod options;
mod queue;
mod secret;
mod short_text;
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
pub use chain::{ChainQuery, ChainStatus, Commit, Rebase, read_padded};
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
pub use layout::{Region, Role};
pub use op::{BitmapAct, Data, Op, OpKind, Perform, Reply, SnapshotAct, slot_name, slot_of_name};
pub use options::{
    Condition, Conflict, OptionKind, OptionSpec, OptionValue, Options, Range, Step, Support, TypedOptions,
    TypedValue, parse_switch,
};
pub use queue::{Completion, DiskQueue, Queue, Refused};
pub use secret::Secret;
pub use short_text::ShortText;
pub use signature::{PROBED_BYTES, format_of, format_of_start};
pub use size::{ExactSize, SizeError, parse_integer, parse_size};
pub use snapshot::{NewSnapshot, SnapshotInfo, Snapshots, VmState};
pub use storage::{FileStorage, MemoryStorage, Storage, StorageLimits, StorageRun};

const _: () = assert!(usize::BITS == 64, "offsets in memory are assumed to fit into usize");
