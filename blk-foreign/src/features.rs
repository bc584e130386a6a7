//! What a scenario does, as numbers for a fuzzer that sees nothing of a driver in another process.
//!
//! Of each unit of allocation a number says what is done to it after what, and whether the request covers all
//! of the unit.

use std::collections::HashMap;

use blk_harness::RequestKind;
use blk_harness::scenario::Scenario;

/// Units of one request that are looked at, from both of its ends.
const UNITS_MAX: u64 = 8;
const KINDS: usize = 10;
/// All features are less than this.
pub const FEATURES: usize = 256;

/// What happens to units of so many bytes, in order.
pub fn features(scenario: &Scenario, unit_bytes: u64) -> Vec<usize> {
    let mut features = Vec::new();
    // The last kind of request of each unit; of those that have none, the last that was about all of them.
    let mut last: HashMap<u64, RequestKind> = HashMap::new();
    let mut last_of_all = None;
    for request in &scenario.requests {
        let kind = request.kind();
        let Some((offset, length)) = request.range() else {
            last_of_all = Some(kind);
            last.clear();
            continue;
        };
        for unit in units(offset, length, unit_bytes) {
            let before = last.insert(unit, kind).or(last_of_all);
            let start = unit.saturating_mul(unit_bytes);
            let is_whole =
                offset <= start && offset.saturating_add(length) >= start.saturating_add(unit_bytes);
            let before = before.map_or(0, |before| before as usize + 1);
            features.push((before * KINDS + kind as usize) * 2 + usize::from(is_whole));
        }
    }
    features
}

/// The units of a range, the middle of a long one left out.
fn units(offset: u64, length: u64, unit_bytes: u64) -> impl Iterator<Item = u64> {
    let (first, end) = (offset / unit_bytes, offset.saturating_add(length).div_ceil(unit_bytes));
    let head = first..end.min(first.saturating_add(UNITS_MAX / 2));
    let tail = end.saturating_sub(UNITS_MAX / 2).max(head.end)..end;
    head.chain(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<usize> {
        features(&Scenario::from_text(&format!("blk-scenario 1\n{text}")).unwrap(), 4096)
    }

    #[test]
    fn what_is_done_to_a_unit_after_what_is_a_feature() {
        let (write, discard) = (RequestKind::Write as usize, RequestKind::Discard as usize);
        let after_write = ((write + 1) * KINDS + discard) * 2;
        assert_eq!(of("write 0 512\ndiscard 512 512\n"), [write * 2, after_write]);
        assert_eq!(of("write 0 512\ndiscard 0 4096\n"), [write * 2, after_write + 1]);
        assert_ne!(of("write 0 512\nflush\ndiscard 0 4096\n"), of("write 0 512\ndiscard 0 4096\n"));
        assert_eq!(of("write 0 1M\n").len() as u64, UNITS_MAX);
        assert!(of("write 0 1M\nread 0 8k\nmap 0 1\ncheck\nmap 0 0\n").iter().all(|one| *one < FEATURES));
    }

    #[test]
    fn ranges_that_wrap_around_have_units() {
        assert!(units(u64::MAX - 10, u64::MAX, 512).count() as u64 <= UNITS_MAX);
        assert_eq!(units(1, 512, 512).collect::<Vec<_>>(), [0, 1]);
    }
}
