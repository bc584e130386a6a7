//! A second crash, while the image recovers from the first.

use blk_core::MemoryStorage;

use super::content::{Content, Wrong};
use super::judge::{Depth, Judge};
use super::violation::{Clause, Violation};
use crate::medium::{History, Operation, States};

/// States that are tried for one recovery, and for one of its operations.
const STATES_MAX: usize = 256;
const STATES_OF_OPERATION_MAX: usize = 32;

/// Crashes the recovery `log` of `image` at each of its operations: what is left recovers to the same `content`.
pub(super) fn crash(
    judge: &mut Judge<'_>,
    image: &MemoryStorage,
    log: &[Operation],
    content: &Content,
) -> Result<(), Violation> {
    let unknown = |error| Violation::new(Clause::Recovery, format!("the medium failed: {error}"));
    let mut history = History::new(image.duplicate(), crate::report::SECTOR_BYTES).map_err(unknown)?;
    let mut left = STATES_MAX;
    let mut seen = std::collections::HashSet::new();
    for operation in log {
        if !history.apply(operation).map_err(unknown)? {
            continue;
        }
        let count_max = left.min(STATES_OF_OPERATION_MAX);
        for kept in States::new(count_max, true, history.count()).of(&history) {
            let (state, hash) = history.image(&kept).map_err(unknown)?;
            if left == 0 || !seen.insert(hash) {
                continue;
            }
            left -= 1;
            judge.stats.recovery_states += 1;
            let analysis = judge.analyse(&state, hash, Depth::Second);
            if let Some(violation) = analysis.violation {
                return Err(again(violation, &history));
            }
            if analysis.content != *content {
                let (expected, found) = (content.bytes.clone(), analysis.content.bytes);
                let what = "after a second crash, during recovery, the guest sees other bytes";
                let wrong = Wrong { offset: 0, expected, found };
                return Err(again(Violation::new(Clause::Recovery, what).with_bytes(wrong), &history));
            }
        }
    }
    Ok(())
}

fn again(violation: Violation, history: &History) -> Violation {
    let pending = history.pending().last();
    let place = pending.map_or_else(String::new, |operation| {
        format!("{} {}..{}", operation.name, operation.extent.offset, operation.extent.end())
    });
    let what = format!("{} ({})", violation.what, violation.clause.name());
    Violation { clause: Clause::Recovery, what, ..violation }
        .with_note(format!("the second crash came after the recovery's {place}"))
}
