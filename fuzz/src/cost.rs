//! What one input costs: memory and processor time.
//!
//! libFuzzer's own limits count other things too: the corpus that it keeps in memory, and the time in which
//! others had the processor. So both are taken for each input, from Linux's counters of this process.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The most that any input may cost, bytes.
pub(crate) const BYTES_MAX: u64 = 256 << 20;

/// The most that an image of `length` bytes may cost, bytes: whatever its length, the largest tables that a
/// header can name (40 MiB), caches and buffers; and a few bytes for each of its own.
pub(crate) fn image_bytes_max(length: usize) -> u64 {
    (64 << 20) + 8 * length as u64
}

/// The most processor time that one image may take.
const IMAGE_TIME_MAX: Duration = Duration::from_secs(1);

/// The counters before an input.
#[derive(Debug, Clone, Copy)]
struct Before {
    /// Resident memory, bytes; `None` where the kernel does not tell.
    resident: Option<u64>,
    time: Duration,
}

/// What an input cost, or the most that any did.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// Bytes that were added at the peak; 0 where that is not known.
    pub(crate) bytes: u64,
    /// Processor time of this thread.
    pub(crate) time: Duration,
}

/// How often an input that takes too long is run again: the clock of a virtual machine's processor also runs
/// while the host has taken it away. What an input costs is the least of what it cost.
const REPEATS: u32 = 2;

/// Runs an input, and again where that seems to take too long.
pub(crate) fn of<T>(mut run: impl FnMut() -> T) -> (T, Cost) {
    let (mut result, mut cost) = measure(&mut run);
    for _ in 0..REPEATS {
        if cost.time <= IMAGE_TIME_MAX {
            break;
        }
        let again;
        (result, again) = measure(&mut run);
        cost.time = cost.time.min(again.time);
    }
    (result, cost)
}

fn measure<T>(run: &mut impl FnMut() -> T) -> (T, Cost) {
    let before = before();
    let result = run();
    (result, before.cost())
}

/// Starts a measurement: forgets the peak of what ran before.
fn before() -> Before {
    // 5: the peak becomes what is resident now (proc(5)).
    let resident = fs::write("/proc/self/clear_refs", "5").ok().and_then(|()| peak());
    Before { resident, time: time() }
}

impl Before {
    /// What was spent since.
    fn cost(self) -> Cost {
        let time = time().saturating_sub(self.time);
        Cost {
            bytes: self.resident.zip(peak()).map_or(0, |(before, peak)| peak.saturating_sub(before)),
            time,
        }
    }
}

impl Cost {
    /// The larger of both, each by itself.
    pub(crate) fn max(self, other: Self) -> Self {
        Self { bytes: self.bytes.max(other.bytes), time: self.time.max(other.time) }
    }

    /// What is too much, as a report says it: more than `bytes_max` bytes, or too much time.
    pub(crate) fn excess(self, bytes_max: u64) -> Option<String> {
        if self.bytes > bytes_max {
            let (cost, allowed) = (self.bytes >> 20, bytes_max >> 20);
            return Some(format!("the image cost {cost} MiB of memory, allowed are {allowed}"));
        }
        (self.time > IMAGE_TIME_MAX).then(|| format!("the image took {:?} of processor time", self.time))
    }
}

/// Processor time of this thread so far.
fn time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The peak of the resident memory, bytes.
fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}
