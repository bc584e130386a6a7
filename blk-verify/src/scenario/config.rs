//! What configurations are legal.

use super::bounds::LANES_MAX;
use super::{Backing, Compression, Config, ParseResult};
use crate::scenario::ParseError;

/// Smallest unit of metadata that is cached, bytes.
pub(crate) const SLICE_BYTES_MIN: u32 = 512;

impl Config {
    /// Bytes of a cluster.
    ///
    /// # Panics
    /// If `cluster_bits` is far from legal; see [`Config::normalize`].
    pub fn cluster_bytes(&self) -> u64 {
        1u64.checked_shl(u32::from(self.cluster_bits)).expect("a cluster size that fits into 64 bits")
    }

    /// Guest bytes that one cached slice of an L2 table maps; of a whole table when no slice size is set.
    pub fn slice_reach_bytes(&self) -> u64 {
        let entries = match self.l2_slice_bytes {
            0 => self.cluster_bytes() / 8,
            slice => u64::from(slice) / 8,
        };
        entries * self.cluster_bytes()
    }

    /// Makes the configuration legal for qcow2, changing nothing that already is. Sizes stay: what is too large for the
    /// format is for the driver to refuse.
    ///
    /// Version 2 has 16-bit refcounts and zlib alone, and no lazy refcounts; a slice is a power of two between 512 bytes and a cluster; without a
    /// backing there is no size of it, and with one nothing is preallocated (it would hide the backing).
    pub fn normalize(&mut self) {
        self.version = if self.version == 2 { 2 } else { 3 };
        self.cluster_bits = self.cluster_bits.clamp(9, 21);
        self.refcount_order = self.refcount_order.min(6);
        if self.version == 2 {
            self.refcount_order = 4;
            self.compression = Compression::Zlib;
            self.lazy_refcounts = false;
        }
        self.lanes = self.lanes.min(LANES_MAX);
        self.atom_bytes = if self.atom_bytes == 4096 { 4096 } else { 512 };
        if self.l2_slice_bytes != 0 {
            let slice = self.l2_slice_bytes.clamp(SLICE_BYTES_MIN, 1 << self.cluster_bits);
            self.l2_slice_bytes = 1 << slice.ilog2();
        }
        match self.backing {
            Backing::None => self.backing_bytes = 0,
            Backing::Raw | Backing::Format | Backing::Chain => self.preallocate = false,
        }
    }

    /// Whether [`Config::normalize`] would change nothing.
    pub fn is_normal(&self) -> bool {
        let mut normal = self.clone();
        normal.normalize();
        normal == *self
    }

    /// Refuses values that no document may hold: those outside the ranges that the fields' documentation gives.
    pub(super) fn check_ranges(&self) -> ParseResult<()> {
        let slice = self.l2_slice_bytes;
        let slice_is_legal = slice == 0 || (slice.is_power_of_two() && (512..=1 << 21).contains(&slice));
        let wrong = match self {
            _ if !matches!(self.version, 2 | 3) => format!("version is {}, and must be 2 or 3", self.version),
            _ if !(9..=21).contains(&self.cluster_bits) => {
                format!("cluster-bits is {}, and must be 9 to 21", self.cluster_bits)
            }
            _ if self.refcount_order > 6 => {
                format!("refcount-order is {}, and must be 0 to 6", self.refcount_order)
            }
            _ if self.lanes > LANES_MAX => format!("lanes is {}, and must be 0 to {LANES_MAX}", self.lanes),
            _ if !matches!(self.atom_bytes, 512 | 4096) => {
                format!("atom-bytes is {}, and must be 512 or 4096", self.atom_bytes)
            }
            _ if !slice_is_legal => {
                format!("l2-slice-bytes is {slice}, and must be 0 or a power of two from 512 to 2M")
            }
            _ => return Ok(()),
        };
        Err(ParseError::document(wrong))
    }
}
