//! How the disk under test is made, and what all drivers have in common of that.

use serde::{Deserialize, Serialize};

use super::aliases::Document;
use super::bounds::{LANES_MAX, PROBE_FLUSH_MAX};
use super::{Backing, OptionValues, ParseError, ParseResult, Value};

/// How the disk under test is made: what all drivers have in common, and the options of its format by name.
///
/// Which options there are, and what they take, is said by the [`Space`](crate::space::Space) of the driver
/// under test.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", try_from = "Document")]
pub struct Config {
    /// Size of the disk, bytes.
    pub size_bytes: u64,
    /// The options of the format that differ from the usual.
    #[serde(skip_serializing_if = "OptionValues::is_empty")]
    pub options: OptionValues,
    /// What is below the disk.
    pub backing: Backing,
    /// Size of the backing file, bytes; may be smaller or larger than the disk.
    pub backing_bytes: u64,
    /// A discard gives host space back (`discard=unmap`).
    pub discard: bool,
    /// Seed of the driver's own free choices, such as which cached slice is evicted; 0 is its usual ones.
    pub control: u32,
    /// Bytes of the storage that a crash leaves old or new as one: 512 or 4096.
    #[serde(skip_serializing_if = "is_usual_atom")]
    pub atom_bytes: u16,
    /// Requests that are in flight at most, begun in order: each lane takes the next one. 0 and 1: one after
    /// the other.
    #[serde(skip_serializing_if = "is_sequential")]
    pub lanes: u8,
    /// What the host demands of offsets, lengths and buffers, as one does that is opened past its page cache:
    /// 1, or a power of two from 512 to 4096. It refuses all else. Only of drivers that promise to work on
    /// such hosts ([`Promises`](crate::driver::Promises)).
    #[serde(skip_serializing_if = "demands_nothing")]
    pub host_alignment: u16,
    /// After which flush, from 1, it is seen whether space is used again, where the driver promises that: the
    /// first unit of the disk is written, given back, and zero in the end. 0 for none; it is always seen
    /// after all requests.
    #[serde(skip_serializing_if = "is_none")]
    pub probe_flush: u8,
}

/// What most scenarios are need not be said.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_sequential(lanes: &u8) -> bool {
    *lanes == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn demands_nothing(alignment: &u16) -> bool {
    *alignment == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_none(number: &u8) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_usual_atom(bytes: &u16) -> bool {
    *bytes == 512
}

impl Default for Config {
    fn default() -> Self {
        Self {
            size_bytes: 1 << 20,
            options: OptionValues::default(),
            backing: Backing::None,
            backing_bytes: 0,
            discard: true,
            control: 0,
            atom_bytes: 512,
            lanes: 0,
            host_alignment: 1,
            probe_flush: 0,
        }
    }
}

/// Whether a host demands that: in between, a request that fails would tear a sector that it covers in part.
pub(crate) fn is_host_alignment(bytes: u16) -> bool {
    bytes == 1 || (bytes.is_power_of_two() && (512..=4096).contains(&bytes))
}

impl Config {
    /// This configuration with an option of the format, given as in text: `with("cluster_size", "512")`.
    ///
    /// # Panics
    /// If the value is no word.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        let value = Value::parse(value).unwrap_or_else(|| panic!("'{value}' is no word"));
        self.options.set(name, Some(value));
        self
    }

    /// Refuses values that no document may hold: those outside the ranges that the fields' documentation
    /// gives.
    pub(super) fn check_ranges(&self) -> ParseResult<()> {
        let wrong = match self {
            _ if self.lanes > LANES_MAX => format!("lanes is {}, and must be 0 to {LANES_MAX}", self.lanes),
            _ if !matches!(self.atom_bytes, 512 | 4096) => {
                format!("atom-bytes is {}, and must be 512 or 4096", self.atom_bytes)
            }
            _ if !is_host_alignment(self.host_alignment) => {
                let alignment = self.host_alignment;
                format!("host-alignment is {alignment}, and must be 1 or a power of two from 512 to 4096")
            }
            _ if self.probe_flush > PROBE_FLUSH_MAX => {
                format!("probe-flush is {}, and must be 0 to {PROBE_FLUSH_MAX}", self.probe_flush)
            }
            _ => return Ok(()),
        };
        Err(ParseError::document(wrong))
    }
}
