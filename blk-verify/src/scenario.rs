//! A scenario: a configuration and the requests that are made of it. One value, three forms: bytes, text, JSON.
//!
//! - [bytes](mod@bytes): what a fuzzer mutates. Every byte string is a scenario.
//! - [text](mod@text): what is kept in git and shown to people; requests in qemu-io's grammar.
//! - [JSON](mod@json): what other programs read.
//!
//! Two more forms are only written: a shell script for QEMU's tools ([`Scenario::to_qemu_io_script`]) and a Rust test
//! ([`Scenario::to_rust_test`]).

pub mod bounds;
pub mod bytes;
mod config;
mod error;
pub mod json;
mod kind;
mod qemu_io;
mod reach;
mod rescale;
mod rust_test;
mod schedule;
pub mod text;
mod turn;

use blk_core::RepairMode;
use serde::{Deserialize, Serialize};

pub use error::ParseError;
pub use kind::RequestKind;
pub use turn::{POINTS_MAX, Turn};

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

/// How compressed clusters are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// deflate
    #[default]
    Zlib,
    /// zstd
    Zstd,
}

/// How the disk under test is made. A driver takes what it knows; a raw disk only the size.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Size of the disk, bytes.
    pub size_bytes: u64,
    /// Version of the format: 2 or 3 for qcow2.
    pub version: u8,
    /// The cluster size is 2 to this power: 9 to 21.
    pub cluster_bits: u8,
    /// A refcount has 2 to this power bits: 0 to 6.
    pub refcount_order: u8,
    /// What is below the disk.
    pub backing: Backing,
    /// Size of the backing file, bytes; may be smaller or larger than the disk.
    pub backing_bytes: u64,
    /// How compressed clusters are stored.
    pub compression: Compression,
    /// L2 slices kept in memory; 0 is the driver's own choice.
    pub l2_cache_entries: u16,
    /// Bytes of an L2 slice; 0 is the driver's own choice (a whole table).
    pub l2_slice_bytes: u32,
    /// Refcount blocks kept in memory; 0 is the driver's own choice.
    pub refcount_cache_entries: u16,
    /// Metadata of the whole disk is allocated at creation.
    pub preallocate: bool,
    /// A discard gives host space back (`discard=unmap`).
    pub discard: bool,
    /// Refcounts may be out of date while the image is open (`lazy_refcounts=on`).
    pub lazy_refcounts: bool,
    /// Seed of the driver's own free choices, such as which cached slice is evicted; 0 is its usual ones.
    pub control: u32,
    /// Bytes of the storage that a crash leaves old or new as one: 512 or 4096.
    #[serde(skip_serializing_if = "is_usual_atom")]
    pub atom_bytes: u16,
    /// Requests that are in flight at most, begun in order: each lane takes the next one. 0 and 1: one after the other.
    #[serde(skip_serializing_if = "is_sequential")]
    pub lanes: u8,
}

/// What most scenarios are need not be said.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_sequential(lanes: &u8) -> bool {
    *lanes == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_usual_atom(bytes: &u16) -> bool {
    *bytes == 512
}

impl Default for Config {
    fn default() -> Self {
        Self {
            size_bytes: 1 << 20,
            version: 3,
            cluster_bits: 16,
            refcount_order: 4,
            backing: Backing::None,
            backing_bytes: 0,
            compression: Compression::Zlib,
            l2_cache_entries: 0,
            l2_slice_bytes: 0,
            refcount_cache_entries: 0,
            preallocate: false,
            discard: true,
            lazy_refcounts: false,
            control: 0,
            atom_bytes: 512,
            lanes: 0,
        }
    }
}

/// What a write writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fill {
    /// Each 8 bytes tell the number of the request and their own address, so that misplaced data names its origin.
    #[default]
    Stamp,
    /// The same byte everywhere, as qemu-io's `-P`.
    Byte(u8),
}

/// One request to a disk. Offsets and lengths in bytes; a scenario may hold requests that a disk has to refuse.
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
    /// `write -c [-P BYTE] OFFSET LENGTH`: stored compressed. Only a stamp's leading part is used where it must shrink.
    WriteCompressed {
        /// First byte, a multiple of the cluster size.
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
    /// `reopen`: closes and opens the disk under test. `kill`: flushes it, drops it without a close, and opens what is left.
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
    /// When each request gives way to those in flight with it, where there are lanes. What is missing never does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedule: Vec<Turn>,
}

impl Scenario {
    /// Reads a scenario in whichever of its three forms `input` is.
    ///
    /// Bytes that a fuzzer has written begin with [`bytes::MAGIC`] and are never mistaken for the others, whose first byte is
    /// printable. Input that is wholly printable is JSON if it begins with `{`, else text; all other input is bytes.
    ///
    /// # Errors
    /// Text or JSON that is malformed; the bytes form has no errors.
    pub fn parse_any(input: &[u8]) -> ParseResult<Self> {
        let printable =
            |text: &&str| !text.is_empty() && !text.chars().any(|c| c.is_control() && !c.is_whitespace());
        match std::str::from_utf8(input).ok().filter(printable) {
            Some(json) if json.trim_start().starts_with('{') => Self::from_json(json),
            Some(text) => Self::from_text(text),
            None => Ok(Self::decode(input)),
        }
    }
}
