//! What one input costs in memory.
//!
//! libFuzzer's own limit counts the corpus that it keeps in memory too, which grows all the time; so the peak is taken for each
//! input, from Linux's counters of this process.

use std::fs;

/// The most that one image may cost, bytes.
pub(crate) const IMAGE_BYTES_MAX: u64 = 256 << 20;

/// Resident memory before an input, bytes; `None` where the kernel does not tell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before(Option<u64>);

/// Starts a measurement: forgets the peak of what ran before.
pub(crate) fn before() -> Before {
    // 5: the peak becomes what is resident now (proc(5)).
    Before(fs::write("/proc/self/clear_refs", "5").ok().and_then(|()| peak()))
}

impl Before {
    /// Bytes that were added at the peak since; 0 where that is not known.
    pub(crate) fn added(self) -> u64 {
        self.0.zip(peak()).map_or(0, |(before, peak)| peak.saturating_sub(before))
    }
}

/// The peak of the resident memory, bytes.
fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}
