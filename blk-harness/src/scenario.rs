//! A scenario: a configuration and the requests that are made of it. One value, three forms: bytes, text,
//! JSON.
//!
//! - [bytes](mod@bytes): what a fuzzer mutates. Every byte string is a scenario.
//! - [text](mod@text): what is kept in git and shown to people; requests in qemu-io's grammar.
//! - [JSON](mod@json): what other programs read.
//!
//! One more form is only written: a Rust test ([`Scenario::to_rust_test`]). A suite may have another, a
//! script for other programs ([`crate::Suite::with_script`]).

mod aliases;
pub mod bounds;
pub mod bytes;
mod config;
mod error;
pub mod json;
mod kind;
mod options;
mod reach;
mod rescale;
mod rust_test;
mod schedule;
mod short_text;
pub mod text;

use blk_core::{BitmapAct, RepairMode, ShortText, SnapshotAct};
use serde::{Deserialize, Serialize};

use crate::space::Space;

pub use aliases::OLD_OPTIONS;
pub use blk_sim::{POINTS_MAX, Turn};
pub use config::Config;
pub use error::ParseError;
pub use kind::RequestKind;
pub use options::{OptionValues, Value};

/// The result of reading a scenario from one of its forms.
pub type ParseResult<T> = std::result::Result<T, ParseError>;

/// What is under a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backing {
    /// Nothing: unallocated bytes read as zero.
    #[default]
    None,
    /// A raw disk full of stamps.
    Raw,
    /// A disk of the format under test, half of its clusters written.
    Format,
    /// A disk of the format under test over another one over a raw disk.
    Chain,
}

/// What a write writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fill {
    /// Each 8 bytes tell the number of the request and their own address, so that misplaced data names its
    /// origin.
    #[default]
    Stamp,
    /// The same byte everywhere, as qemu-io's `-P`.
    Byte(u8),
}

/// One request to a disk. Offsets and lengths in bytes; a scenario may hold requests that a disk has to
/// refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// `read OFFSET LENGTH`
    Read {
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// `write [-f] [-P BYTE] OFFSET LENGTH`
    Write {
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
        /// What is written.
        #[serde(default)]
        fill: Fill,
        /// Force unit access (`-f`).
        #[serde(default)]
        fua: bool,
    },
    /// `write -c [-P BYTE] OFFSET LENGTH`: stored compressed. Only a stamp's leading part is used where it
    /// must shrink.
    WriteCompressed {
        /// First byte, a multiple of the unit that is compressed.
        offset: u64,
        /// Bytes.
        length: u64,
        /// What is written.
        #[serde(default)]
        fill: Fill,
    },
    /// `write -z [-u] [-n] [-f] OFFSET LENGTH`
    WriteZeroes {
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
        /// Host space may be given back (`-u`).
        #[serde(default)]
        unmap: bool,
        /// Fail rather than write data (`-n`).
        #[serde(default)]
        no_fallback: bool,
        /// Force unit access (`-f`).
        #[serde(default)]
        fua: bool,
    },
    /// `discard OFFSET LENGTH`
    Discard {
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// `flush`
    Flush,
    /// `map OFFSET LENGTH`: block status, held against the content.
    Status {
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// `truncate SIZE`
    Resize {
        /// The new size.
        size: u64,
    },
    /// `reopen`: closes and opens the disk under test. `kill`: flushes it, drops it without a close, and
    /// opens what is left.
    Reopen {
        /// Without a close.
        #[serde(default)]
        kill: bool,
    },
    /// `check [-r leaks|all]`: checks the metadata of the disk under test, and repairs it.
    Check {
        /// What is repaired.
        #[serde(default)]
        repair: Repair,
    },
    /// `snapshot -c|-a|-d|-r SLOT`: a snapshot inside the image is made, applied, deleted, or read as a
    /// whole.
    Snapshot {
        /// What is done.
        act: OnSnapshot,
        /// Its number, which its name has.
        slot: u8,
    },
    /// `amend -o NAME=VALUE`: an option of the image is changed, which shows in no disk.
    Amend {
        /// The option and its value.
        #[serde(with = "short_text")]
        option: ShortText,
    },
    /// `bitmap --add|--remove|--clear|--enable|--disable|--read SLOT`, `bitmap --merge FROM SLOT`: a dirty
    /// bitmap inside the image is added, removed, changed, or read.
    Bitmap {
        /// What is done.
        act: OnBitmap,
        /// Its number, which its name has.
        slot: u8,
    },
}

/// What is done with a dirty bitmap inside the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnBitmap {
    /// It is added, and follows what is written.
    Add,
    /// It is removed.
    Remove,
    /// All of it becomes clean.
    Clear,
    /// It follows what is written.
    Enable,
    /// It follows no more.
    Disable,
    /// What the one in this slot has as dirty becomes dirty.
    Merge(u8),
    /// It is read.
    Read,
}

impl OnBitmap {
    /// All of them, merging what slot 0 has.
    pub const ALL: [Self; 7] =
        [Self::Add, Self::Remove, Self::Clear, Self::Enable, Self::Disable, Self::Merge(0), Self::Read];

    /// The change of the bitmap, if it is one.
    pub fn change(self) -> Option<BitmapAct> {
        match self {
            Self::Add => Some(BitmapAct::Add),
            Self::Remove => Some(BitmapAct::Remove),
            Self::Clear => Some(BitmapAct::Clear),
            Self::Enable => Some(BitmapAct::Enable),
            Self::Disable => Some(BitmapAct::Disable),
            Self::Merge(from) => Some(BitmapAct::Merge { from }),
            Self::Read => None,
        }
    }

    /// The flag of a request line, in the words of `qemu-img bitmap` where that has one.
    fn flag(self) -> &'static str {
        match self {
            Self::Add => "--add",
            Self::Remove => "--remove",
            Self::Clear => "--clear",
            Self::Enable => "--enable",
            Self::Disable => "--disable",
            Self::Merge(_) => "--merge",
            Self::Read => "--read",
        }
    }

    /// Its place in [`OnBitmap::ALL`].
    pub(crate) fn index(self) -> u8 {
        match self {
            Self::Add => 0,
            Self::Remove => 1,
            Self::Clear => 2,
            Self::Enable => 3,
            Self::Disable => 4,
            Self::Merge(_) => 5,
            Self::Read => 6,
        }
    }
}

impl From<BitmapAct> for OnBitmap {
    fn from(act: BitmapAct) -> Self {
        match act {
            BitmapAct::Add => Self::Add,
            BitmapAct::Remove => Self::Remove,
            BitmapAct::Clear => Self::Clear,
            BitmapAct::Enable => Self::Enable,
            BitmapAct::Disable => Self::Disable,
            BitmapAct::Merge { from } => Self::Merge(from),
        }
    }
}

/// What is done with a snapshot inside the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnSnapshot {
    /// It is made.
    Create,
    /// The disk becomes what it holds.
    Apply,
    /// It is deleted.
    Delete,
    /// It is read.
    Read,
}

impl OnSnapshot {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Create, Self::Apply, Self::Delete, Self::Read];

    /// The change of the image, if it is one.
    pub fn change(self) -> Option<SnapshotAct> {
        match self {
            Self::Create => Some(SnapshotAct::Create),
            Self::Apply => Some(SnapshotAct::Apply),
            Self::Delete => Some(SnapshotAct::Delete),
            Self::Read => None,
        }
    }

    /// The flag of a request line.
    fn flag(self) -> &'static str {
        match self {
            Self::Create => "-c",
            Self::Apply => "-a",
            Self::Delete => "-d",
            Self::Read => "-r",
        }
    }
}

/// What a check repairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Repair {
    /// Nothing.
    #[default]
    None,
    /// Leaked clusters.
    Leaks,
    /// Everything.
    All,
}

impl From<RepairMode> for Repair {
    fn from(mode: RepairMode) -> Self {
        match mode {
            RepairMode::None => Self::None,
            RepairMode::Leaks => Self::Leaks,
            RepairMode::All => Self::All,
        }
    }
}

impl Repair {
    /// As a disk takes it.
    pub fn mode(self) -> RepairMode {
        match self {
            Self::None => RepairMode::None,
            Self::Leaks => RepairMode::Leaks,
            Self::All => RepairMode::All,
        }
    }
}

/// A configuration and the requests that are made of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// How the disk under test is made.
    #[serde(default)]
    pub config: Config,
    /// What is asked of it, in order.
    #[serde(default)]
    pub requests: Vec<Request>,
    /// When each request gives way to those in flight with it, where there are lanes. What is missing never
    /// does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedule: Vec<Turn>,
}

impl Scenario {
    /// Reads a scenario in whichever of its three forms `input` is; bytes have the options of `space`.
    ///
    /// Bytes that a fuzzer has written begin with [`bytes::MAGIC`] and are never mistaken for the others,
    /// whose first byte is printable. Input that is wholly printable is JSON if it begins with `{`, else
    /// text; all other input is bytes.
    ///
    /// # Errors
    /// Text or JSON that is malformed; the bytes form has no errors.
    pub fn parse_any(space: &Space, input: &[u8]) -> ParseResult<Self> {
        let printable =
            |text: &&str| !text.is_empty() && !text.chars().any(|c| c.is_control() && !c.is_whitespace());
        match std::str::from_utf8(input).ok().filter(printable) {
            Some(json) if json.trim_start().starts_with('{') => Self::from_json(json),
            Some(text) => Self::from_text(text),
            None => Ok(Self::decode(space, input)),
        }
    }
}
