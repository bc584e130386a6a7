//! One request of a disk, as data: what is asked for and where, without the bytes.
//!
//! ```text
//! Op + Data ── Disk::perform ──► Reply      at once, in the caller's buffer
//! Op + Vec  ── Queue::submit ──► Completion later, in a buffer that comes back
//! ```
//!
//! Whoever keeps, counts, repeats or shows requests speaks of [`Op`]: journals, verifiers, queues, servers.
//! It is performed in one place, [`Disk::perform`].

mod act;

use std::fmt;

use crate::{
    Bitmaps, BlockStatus, CheckReport, DirtyBitmap, DiscardFlags, Disk, Error, ExactSize, Extent,
    Preallocation, RepairMode, Result, ShortText, SnapshotInfo, Snapshots, WriteFlags, ZeroFlags,
};
pub use act::{BitmapAct, SnapshotAct, slot_name, slot_of_name};

/// One request of a disk. Nothing about it has been checked: an extent may lie anywhere, and end past 64
/// bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// [`Disk::read`]
    Read {
        /// What is read.
        extent: Extent,
    },
    /// [`Disk::write`], compressed or not.
    Write {
        /// What is written.
        extent: Extent,
        /// How.
        flags: WriteFlags,
    },
    /// [`Disk::write_zeroes`]
    WriteZeroes {
        /// What reads as zeroes afterwards.
        extent: Extent,
        /// How.
        flags: ZeroFlags,
    },
    /// [`Disk::discard`]
    Discard {
        /// What is no longer needed.
        extent: Extent,
        /// How.
        flags: DiscardFlags,
    },
    /// [`Disk::flush`]
    Flush,
    /// [`Disk::block_status`]: of the run at the start of the extent.
    BlockStatus {
        /// What is asked about.
        extent: Extent,
    },
    /// [`Disk::prefetch`]
    Prefetch {
        /// What will be read soon.
        extent: Extent,
    },
    /// [`Disk::resize`], or [`Disk::grow`] where something is to be allocated.
    Resize {
        /// The new size, bytes.
        size: u64,
        /// What is allocated for the bytes that are gained.
        preallocation: Preallocation,
    },
    /// [`Disk::check`]
    Check {
        /// What may be repaired.
        repair: RepairMode,
    },
    /// A change of the snapshots inside the image, by [`crate::Snapshots`].
    Snapshot {
        /// What is done.
        act: SnapshotAct,
        /// Which snapshot: see [`slot_name`].
        slot: u8,
    },
    /// [`Snapshots::read_snapshot`]
    ReadSnapshot {
        /// Which snapshot: see [`slot_name`].
        slot: u8,
        /// What of it is read.
        extent: Extent,
    },
    /// [`crate::Amend::amend`] of one option, which names nothing and loses no data.
    Amend {
        /// The option and its value, `name=value`.
        option: ShortText,
    },
    /// A change of the dirty bitmaps inside the image, by [`crate::Bitmaps`].
    Bitmap {
        /// What is done.
        act: BitmapAct,
        /// Which bitmap: see [`slot_name`].
        slot: u8,
    },
    /// [`Bitmaps::read_bitmap`]
    ReadBitmap {
        /// Which bitmap: see [`slot_name`].
        slot: u8,
    },
}

/// What an [`Op`] does, without its operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OpKind {
    /// [`Op::Read`]
    Read,
    /// [`Op::Write`] of plain data.
    Write,
    /// [`Op::Write`] of data that is stored compressed.
    WriteCompressed,
    /// [`Op::WriteZeroes`]
    WriteZeroes,
    /// [`Op::Discard`]
    Discard,
    /// [`Op::Flush`]
    Flush,
    /// [`Op::BlockStatus`]
    BlockStatus,
    /// [`Op::Prefetch`]
    Prefetch,
    /// [`Op::Resize`]
    Resize,
    /// [`Op::Check`]
    Check,
    /// [`Op::Snapshot`]
    Snapshot,
    /// [`Op::ReadSnapshot`]
    ReadSnapshot,
    /// [`Op::Amend`]
    Amend,
    /// [`Op::Bitmap`]
    Bitmap,
    /// [`Op::ReadBitmap`]
    ReadBitmap,
}

impl OpKind {
    /// All kinds, in the order of their declaration.
    pub const ALL: [Self; 15] = [
        Self::Read,
        Self::Write,
        Self::WriteCompressed,
        Self::WriteZeroes,
        Self::Discard,
        Self::Flush,
        Self::BlockStatus,
        Self::Prefetch,
        Self::Resize,
        Self::Check,
        Self::Snapshot,
        Self::ReadSnapshot,
        Self::Amend,
        Self::Bitmap,
        Self::ReadBitmap,
    ];

    /// Its place in [`OpKind::ALL`], for tables.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its name, as a command line of qemu-io begins.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::WriteCompressed => "write -c",
            Self::WriteZeroes => "write -z",
            Self::Discard => "discard",
            Self::Flush => "flush",
            Self::BlockStatus => "map",
            Self::Prefetch => "prefetch",
            Self::Resize => "truncate",
            Self::Check => "check",
            Self::Snapshot => "snapshot",
            Self::ReadSnapshot => "snapshot -r",
            Self::Amend => "amend",
            Self::Bitmap => "bitmap",
            Self::ReadBitmap => "bitmap --read",
        }
    }

    /// Whether such requests are meant to change what the disk shows. A check changes what is stored at most.
    pub const fn changes_content(self) -> bool {
        matches!(self, Self::Write | Self::WriteCompressed | Self::WriteZeroes | Self::Discard | Self::Resize)
    }
}

impl Op {
    /// A plain write.
    pub const fn write(extent: Extent) -> Self {
        Self::Write { extent, flags: WriteFlags { fua: false, compressed: false } }
    }

    /// A change of the size that allocates nothing. Bytes.
    pub const fn resize(size: u64) -> Self {
        Self::Resize { size, preallocation: Preallocation::Off }
    }

    /// What it does.
    pub const fn kind(&self) -> OpKind {
        match self {
            Self::Read { .. } => OpKind::Read,
            Self::Write { flags: WriteFlags { compressed: false, .. }, .. } => OpKind::Write,
            Self::Write { .. } => OpKind::WriteCompressed,
            Self::WriteZeroes { .. } => OpKind::WriteZeroes,
            Self::Discard { .. } => OpKind::Discard,
            Self::Flush => OpKind::Flush,
            Self::BlockStatus { .. } => OpKind::BlockStatus,
            Self::Prefetch { .. } => OpKind::Prefetch,
            Self::Resize { .. } => OpKind::Resize,
            Self::Check { .. } => OpKind::Check,
            Self::Snapshot { .. } => OpKind::Snapshot,
            Self::ReadSnapshot { .. } => OpKind::ReadSnapshot,
            Self::Amend { .. } => OpKind::Amend,
            Self::Bitmap { .. } => OpKind::Bitmap,
            Self::ReadBitmap { .. } => OpKind::ReadBitmap,
        }
    }

    /// The bytes of the disk that it is about, where it is about some.
    pub const fn extent(&self) -> Option<Extent> {
        match *self {
            Self::Read { extent }
            | Self::Write { extent, .. }
            | Self::WriteZeroes { extent, .. }
            | Self::Discard { extent, .. }
            | Self::BlockStatus { extent }
            | Self::Prefetch { extent } => Some(extent),
            Self::Flush
            | Self::Resize { .. }
            | Self::Check { .. }
            | Self::Snapshot { .. }
            | Self::ReadSnapshot { .. }
            | Self::Amend { .. }
            | Self::Bitmap { .. }
            | Self::ReadBitmap { .. } => None,
        }
    }

    /// The same request of another extent; one without an extent stays as it is.
    #[must_use]
    pub const fn with_extent(mut self, new: Extent) -> Self {
        match &mut self {
            Self::Read { extent }
            | Self::Write { extent, .. }
            | Self::WriteZeroes { extent, .. }
            | Self::Discard { extent, .. }
            | Self::BlockStatus { extent }
            | Self::Prefetch { extent } => *extent = new,
            Self::Flush
            | Self::Resize { .. }
            | Self::Check { .. }
            | Self::Snapshot { .. }
            | Self::ReadSnapshot { .. }
            | Self::Amend { .. }
            | Self::Bitmap { .. }
            | Self::ReadBitmap { .. } => {}
        }
        self
    }

    /// What it costs, as the bytes that it moves between caller and disk: the length of a read or a write,
    /// and 0 for all else. It is also the length of its buffer.
    pub const fn data_bytes(&self) -> u64 {
        match self {
            Self::Read { extent } | Self::Write { extent, .. } | Self::ReadSnapshot { extent, .. } => {
                extent.length
            }
            _ => 0,
        }
    }

    /// Whether it is meant to change what the disk shows.
    pub const fn changes_content(&self) -> bool {
        self.kind().changes_content() || matches!(self, Self::Snapshot { act: SnapshotAct::Apply, .. })
    }

    /// Whether a disk that is open read-only refuses it.
    pub const fn needs_write_access(&self) -> bool {
        match self {
            Self::Check { repair } => !matches!(repair, RepairMode::None),
            Self::Snapshot { .. } | Self::Amend { .. } | Self::Bitmap { .. } => true,
            _ => self.changes_content(),
        }
    }

    /// Whether what it changes is on stable storage when it has succeeded.
    pub const fn is_durable(&self) -> bool {
        match self {
            Self::Write { flags, .. } => flags.fua,
            Self::WriteZeroes { flags, .. } => flags.fua,
            Self::Discard { flags, .. } => flags.fua,
            Self::Flush
            | Self::Snapshot { .. }
            | Self::Bitmap { act: BitmapAct::Add | BitmapAct::Remove, .. } => true,
            _ => false,
        }
    }
}

/// As a command of qemu-io: `write -z -u 0 64k`.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().name())?;
        let mut flag = |is_set: bool, letter: &str| if is_set { f.write_str(letter) } else { Ok(()) };
        match *self {
            Self::Write { flags, .. } => flag(flags.fua, " -f")?,
            Self::WriteZeroes { flags, .. } => {
                flag(flags.may_unmap, " -u")?;
                flag(flags.no_fallback, " -n")?;
                flag(flags.fast_only, " --fast")?;
                flag(flags.fua, " -f")?;
            }
            Self::Discard { flags, .. } => flag(flags.fua, " -f")?,
            Self::Resize { size, preallocation: Preallocation::Off } => {
                return write!(f, " {}", ExactSize(size));
            }
            Self::Resize { size, preallocation } => {
                return write!(f, " -m {preallocation} {}", ExactSize(size));
            }
            Self::Check { repair: RepairMode::Leaks } => f.write_str(" -r leaks")?,
            Self::Check { repair: RepairMode::All } => f.write_str(" -r all")?,
            Self::Snapshot { act, slot } => {
                let act = match act {
                    SnapshotAct::Create => "-c",
                    SnapshotAct::Apply => "-a",
                    SnapshotAct::Delete => "-d",
                };
                return write!(f, " {act} {slot}");
            }
            Self::ReadSnapshot { slot, extent } if extent.is_empty() => return write!(f, " {slot}"),
            Self::ReadSnapshot { slot, extent: Extent { offset, length } } => {
                return write!(f, " {slot} {} {}", ExactSize(offset), ExactSize(length));
            }
            Self::Amend { option } => return write!(f, " -o {option}"),
            Self::Bitmap { act: BitmapAct::Merge { from }, slot } => {
                return write!(f, " --merge {from} {slot}");
            }
            Self::Bitmap { act, slot } => return write!(f, " {} {slot}", act.flag()),
            Self::ReadBitmap { slot } => return write!(f, " {slot}"),
            Self::Read { .. }
            | Self::Flush
            | Self::BlockStatus { .. }
            | Self::Prefetch { .. }
            | Self::Check { repair: RepairMode::None } => {}
        }
        self.extent().map_or(Ok(()), |Extent { offset, length }| {
            write!(f, " {} {}", ExactSize(offset), ExactSize(length))
        })
    }
}

/// The bytes of an [`Op`], in the caller's memory; as long as [`Op::data_bytes`] says.
#[derive(Debug)]
pub enum Data<'a> {
    /// For requests that move none.
    None,
    /// Where a read puts them.
    Read(&'a mut [u8]),
    /// What a write takes.
    Write(&'a [u8]),
}

/// What an [`Op`] that has succeeded answers. The bytes of a read are in its buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Nothing but that it is done.
    Done,
    /// To [`Op::BlockStatus`].
    Status(BlockStatus),
    /// To [`Op::Check`].
    Checked(Box<CheckReport>),
    /// To [`Op::ReadBitmap`].
    Bitmap(Box<DirtyBitmap>),
}

/// Whatever makes requests of a disk: the disk itself, or one that stands before it.
pub trait Perform {
    /// Size of the disk, bytes.
    fn size(&self) -> u64;

    /// Whether [`Op::Check`] has something to check.
    fn can_check(&self) -> bool;

    /// Size of the disk that the snapshot in `slot` holds, bytes.
    ///
    /// # Errors
    /// As [`Disk::slot`]; by this default, that there are none.
    fn slot_size(&self, slot: u8) -> Result<u64> {
        Err(Error::unsupported(format!("snapshots inside the image ('{}')", slot_name(slot))))
    }

    /// Makes a request, as [`Disk::perform`] does.
    fn perform(&self, op: Op, data: Data<'_>) -> Result<Reply>;
}

impl Perform for Disk {
    fn size(&self) -> u64 {
        Self::size(self)
    }

    fn can_check(&self) -> bool {
        self.as_check().is_some()
    }

    fn slot_size(&self, slot: u8) -> Result<u64> {
        Ok(self.slot(slot)?.disk_bytes.unwrap_or_else(|| Self::size(self)))
    }

    fn perform(&self, op: Op, data: Data<'_>) -> Result<Reply> {
        Self::perform(self, op, data)
    }
}

impl Disk {
    /// Makes the request `op`, whose bytes are in `data`. This is the one place where an [`Op`] becomes a
    /// call.
    ///
    /// # Errors
    /// Those of the request. [`Error::InvalidOption`] if `data` is not what the request needs, or has another
    /// length.
    #[inline]
    pub fn perform(&self, op: Op, data: Data<'_>) -> Result<Reply> {
        let done = |result: Result<()>| result.map(|()| Reply::Done);
        match (op, data) {
            (Op::Read { extent }, Data::Read(buf)) if buf.len() as u64 == extent.length => {
                done(self.read(extent.offset, buf))
            }
            (Op::Write { extent, flags }, Data::Write(buf)) if buf.len() as u64 == extent.length => {
                done(self.write(extent.offset, buf, flags))
            }
            (Op::WriteZeroes { extent, flags }, Data::None) => done(self.write_zeroes(extent, flags)),
            (Op::Discard { extent, flags }, Data::None) => done(self.discard(extent, flags)),
            (Op::Flush, Data::None) => done(self.flush()),
            (Op::BlockStatus { extent }, Data::None) => self.block_status(extent).map(Reply::Status),
            (Op::Prefetch { extent }, Data::None) => done(self.prefetch(extent)),
            (Op::Resize { size, preallocation }, Data::None) => done(self.grow(size, preallocation)),
            (Op::Check { repair }, Data::None) => {
                self.check(repair).map(|report| Reply::Checked(Box::new(report)))
            }
            (Op::Snapshot { act, slot }, Data::None) => done(self.change_slot(act, slot)),
            (Op::ReadSnapshot { slot, extent }, Data::Read(buf)) if buf.len() as u64 == extent.length => {
                done(self.slot(slot).and_then(|found| self.read_snapshot(&found.id, extent.offset, buf)))
            }
            (Op::Amend { option }, Data::None) => done(self.amend_option(option)),
            (Op::Bitmap { act, slot }, Data::None) => done(self.change_bitmap_of(slot, act)),
            (Op::ReadBitmap { slot }, Data::None) => {
                self.read_bitmap(&slot_name(slot)).map(|bits| Reply::Bitmap(Box::new(bits)))
            }
            (op, data) => Err(wrong_data(op, &data)),
        }
    }

    /// The snapshot that requests call `slot`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where images have none; [`Error::Unresolved`] where there is none of that name.
    pub fn slot(&self, slot: u8) -> Result<SnapshotInfo> {
        let mut all = self.snapshots()?;
        all.retain(|snapshot| snapshot.name == slot_name(slot));
        SnapshotInfo::find(&all, &slot_name(slot)).cloned()
    }
}

#[cold]
fn wrong_data(op: Op, data: &Data<'_>) -> Error {
    let given = match data {
        Data::None => "no buffer".to_owned(),
        Data::Read(buf) => format!("a buffer of {} bytes to read into", buf.len()),
        Data::Write(buf) => format!("{} bytes to write", buf.len()),
    };
    Error::invalid_option("buffer", format!("'{op}' was given {given}"))
}

#[cfg(test)]
mod tests;
