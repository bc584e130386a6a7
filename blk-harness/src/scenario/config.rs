//! How the disk under test is made, and what all drivers have in common of that.

use serde::{Deserialize, Serialize};

use super::aliases::Document;
use super::bounds::LANES_MAX;
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
            options: OptionValues::default(),
            backing: Backing::None,
            backing_bytes: 0,
            discard: true,
            control: 0,
            atom_bytes: 512,
            lanes: 0,
        }
    }
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
            _ => return Ok(()),
        };
        Err(ParseError::document(wrong))
    }
}
