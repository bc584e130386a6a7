//! A crash after a failed sync: what the sync was to write is lost, and what came later may be.
//!
//! The run is over two requests after the fault; the handle may be poisoned. Nothing that was durable before
//! may be missing, and what is left has to open, whatever of the later changes has persisted.

use blk_sim::{Durability, Ranges, States};

use super::sweep::Setting;
use crate::explain;
use crate::follow_up::FollowUps;
use crate::judge::{Depth, Judge};
use crate::promise::{Kept, Promise, Violation};
use crate::run::{Run, Scratch, kept_bitmaps};
use crate::statistics::{Counter, Statistics};

/// States that are tried.
const STATES: usize = 6;
/// Larger disks are not crashed: each state is read whole. Bytes.
const SIZE_BYTES_MAX: u64 = 1 << 20;
/// One state in so many gets follow-up requests.
const FOLLOW_UP_ONE_IN: u64 = 4;

/// Crashes a run in which a sync has failed and lost something.
pub(super) fn crash(
    setting: &Setting<'_>,
    run: &Run<'_>,
    follow_ups: &FollowUps,
    stats: &mut Statistics,
) -> Kept {
    let memory = |error| Violation::memory(&error);
    let images = setting.images;
    if images.size > SIZE_BYTES_MAX {
        return Ok(());
    }
    let atom_bytes = u64::from(images.config.atom_bytes);
    let mut durability = Durability::hashing(images.fresh.duplicate(), atom_bytes).map_err(memory)?;
    for operation in run.host.log() {
        durability.apply(&operation).map_err(memory)?;
    }
    let now = run.checker.now();
    let bound = run.checker.touched();
    let (model, sizes) = run.checker.model(|model, _| (model.clone(), model.sizes_after_crash(now)));
    let mut scratch = Scratch::default();
    for kept in States::new(STATES, false, durability.count()).of(&durability) {
        let (image, _) = durability.image(&kept).map_err(memory)?;
        let origin = durability.origin(&image).map_err(memory)?;
        stats.add(Counter::States, 1);
        let mut judge = Judge {
            images,
            journal: setting.journal,
            follow_ups,
            follow_up_one_in: FOLLOW_UP_ONE_IN,
            recovery_one_in: 1,
            recovery_states_max: 0,
            stats,
            scratch: &mut scratch,
        };
        let analysis = judge.analyse(&image, origin, Depth::Second);
        let left = |violation: Box<Violation>| {
            Box::new(Violation { pending: explain::fates(&durability, &kept), ..*violation })
        };
        if let Some(violation) = analysis.violation {
            return Err(left(violation));
        }
        let size = analysis.content.size;
        let is_between = images.geometry.size_is_file_length
            && sizes.iter().any(|smaller| *smaller < size)
            && sizes.iter().any(|larger| size < *larger);
        if !sizes.contains(&size) && !is_between {
            let what = format!("the disk has {size} bytes, allowed are {sizes:?}");
            return Err(left(Violation::new(Promise::Size, what)));
        }
        if analysis.leaks > bound {
            let what = format!("{} clusters have leaked, {bound} were touched", analysis.leaks);
            return Err(left(Violation::new(Promise::Leaks, what)));
        }
        let content = (&analysis.content.bytes, size);
        let judged = model.judge_crash(content, now, &[], &Ranges::default()).map_err(memory)?;
        if let Some(mismatch) = judged {
            let what = "a sector holds what it must not";
            return Err(left(Violation::bytes(Promise::Content, what, mismatch)));
        }
        if images.geometry.bitmaps {
            let judged = kept_bitmaps(model.bitmaps.judge_crash(&analysis.bitmaps, size, now));
            judged.map_err(left)?;
        }
    }
    Ok(())
}
