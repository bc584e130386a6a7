//! What a host does besides storing bytes: crashes, faults and races are settings of it.

use crate::SECTOR_BYTES;
use crate::fault::Fault;

/// What a host does besides storing bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Keeps a log of changes: for crashes, and for what a failed sync loses. It costs a copy of all that is
    /// written.
    pub logs_changes: bool,
    /// Keeps a list of all calls that are watched, reads too.
    pub lists_calls: bool,
    /// Keeps what writes in flight write: for flushes that requests in flight are judged by.
    pub keeps_in_flight: bool,
    /// What fails.
    pub fault: Option<Fault>,
    /// The unit in which changes are counted, bytes.
    pub unit_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            logs_changes: false,
            lists_calls: false,
            keeps_in_flight: false,
            fault: None,
            unit_bytes: SECTOR_BYTES,
        }
    }
}

impl Settings {
    /// A host that can be crashed.
    pub fn crashing() -> Self {
        Self { logs_changes: true, ..Self::default() }
    }

    /// A host that fails at `fault`, lists its calls, and remembers what it has to for that.
    pub fn failing(fault: Option<Fault>, unit_bytes: u64) -> Self {
        let logs_changes = fault.is_some_and(Fault::fails_syncs);
        Self { logs_changes, lists_calls: true, keeps_in_flight: false, fault, unit_bytes }
    }
}
