//! With the fault gone: what the disk promises from then on.

use std::ops::Range;

use blk_core::ErrorKind;

use super::place::Place;
use super::repair;
use super::sweep::Setting;
use crate::follow_up::FIRST_NUMBER;
use crate::inspect;
use crate::judge::{follow, followed_by, quiet};
use crate::promise::{Kept, Promise, Violation};
use crate::refusal::is_handle_lost;
use crate::run::Run;
use crate::scenario::{Request, Turn};
use crate::statistics::{Counter, Statistics};

/// So many requests are made at least with the fault gone.
const FOLLOW_UPS_MIN: usize = 50;
/// So many where most of the faults are to take less time.
const FEW_FOLLOW_UPS: usize = 8;

/// The stage in which nothing is left but to open the image once more.
const AT_LAST: &str = "by the reopen at the end";

/// A run in which a fault has happened.
pub(super) struct Recovery<'a, 'p> {
    pub(super) setting: &'a Setting<'a>,
    pub(super) run: Run<'a>,
    pub(super) place: &'p mut Place,
    pub(super) stats: &'p mut Statistics,
}

impl Recovery<'_, '_> {
    /// Clears the fault and judges all that follows. `rest` is what is left of the scenario, with its first
    /// number.
    pub(super) fn recover(&mut self, rest: &[(Request, Turn)], number: u32) -> Kept {
        self.place.stage = "by the flush after the fault was cleared";
        self.run.host.clear_fault();
        self.stats.add(Counter::LossySyncs, u64::from(self.run.host.is_lossy()));
        let mut bound = self.run.checker.touched();
        if self.flush()? {
            if self.setting.images.promises.leaks_nothing && !self.run.has_lost_handle {
                bound = 0;
            }
            self.stats.add(Counter::Surfaced, u64::from(self.run.checker.condition().has_surfaced));
            self.judge_what_is_left()?;
        } else {
            self.stats.add(Counter::Surfaced, 1);
            self.stats.add(Counter::Poisoned, u64::from(self.run.checker.condition().is_poisoned));
            self.stats.add(Counter::Reopened, 1);
            self.open_again()?;
        }
        self.run.checker.forget_condition();
        self.place.stage = "by the check after the fault was cleared";
        self.check_leaks(bound)?;
        self.place.stage = "with the fault gone";
        self.go_on(rest, number).map_err(|violation| {
            let violation = followed_by(&self.run, violation);
            match violation.promise {
                Promise::Content | Promise::Consistent | Promise::Answers | Promise::Opens => {
                    violation.of(Promise::Works)
                }
                _ => violation,
            }
        })
    }

    /// Flushes. Returns whether the handle can be used further.
    fn flush(&mut self) -> Kept<bool> {
        let Some(disk) = self.run.disk.clone() else { return Ok(false) };
        let issued = self.run.checker.now();
        match disk.flush() {
            Ok(()) => {
                if self.run.host.is_lossy() && !self.run.checker.condition().has_surfaced {
                    let what = "a sync failed, and neither a request nor the next flush says so";
                    return Err(Violation::new(Promise::Surfaces, what));
                }
                self.run.checker.closed(issued);
                Ok(true)
            }
            Err(error) if is_handle_lost(&error) => {
                self.run.try_poisoned()?;
                self.run.checker.give_up();
                if disk.close().is_ok() && error.kind() == ErrorKind::Poisoned {
                    let what = "the flush says that the handle has failed, and the close that all is well";
                    return Err(Violation::new(Promise::Surfaces, what));
                }
                Ok(false)
            }
            Err(error) => Err(Violation::failed(Promise::Works, "the flush", &error)),
        }
    }

    /// What the flush has promised is there for who opens the image now.
    fn judge_what_is_left(&mut self) -> Kept {
        self.place.stage = "by a second open after the flush";
        let left = self.run.host.surviving_image().map_err(|error| Violation::memory(&error))?;
        self.setting.images.judge_kept_by_others(&left, None)?;
        let opened = self.setting.images.prepared.open(quiet(left));
        let disk = opened.map_err(|error| Violation::failed(Promise::Durable, "a second open", &error))?;
        self.run.compare(&disk, Promise::Durable, "what was flushed is not there")?;
        self.run.judge_left_bitmaps(&disk)?;
        inspect::leaks(&disk, Promise::Durable, "what was flushed").map(drop)
    }

    /// Gives up the handle and opens the image again.
    fn open_again(&mut self) -> Kept {
        self.place.stage = "by the reopen after the fault was cleared";
        self.run.disk = None;
        let has_lost = self.run.host.drop_page_cache().map_err(|error| Violation::memory(&error))?;
        self.run.open()?;
        self.run.adopt(has_lost)
    }

    fn check_leaks(&mut self, bound: u64) -> Kept {
        let Some(disk) = self.run.disk.clone() else { return Ok(()) };
        let leaks = inspect::leaks(&disk, Promise::Consistent, "with no fault at work")?;
        if leaks == 0 {
            return Ok(());
        }
        if leaks > bound {
            let what = format!("{leaks} clusters have leaked, {bound} were touched");
            return Err(Violation::new(Promise::Leaks, what));
        }
        self.stats.add(Counter::Repairs, 1);
        let left = self.run.host.surviving_image().map_err(|error| Violation::memory(&error))?;
        repair::sweep(self.setting, &self.run, &left, self.stats)?;
        inspect::repair(&disk)?;
        self.run.compare(&disk, Promise::Repair, "a repair changes what the guest sees")
    }

    /// Whether all that is left of the scenario is made, and more: the scenario and the fault decide.
    fn goes_on_for_long(&self) -> bool {
        let at = self.place.fault.map_or(0, |(fault, _)| fault.at);
        (at ^ self.setting.seed >> 7).is_multiple_of(self.setting.long_follow_up_one_in)
    }

    /// Makes what is left of the scenario and more, all of it exactly; looks at everything after a few of
    /// them, and where it goes on for long once more in the end. So the long way finds what the short one
    /// does: what a reopen would show then, a second handle shows, and the first one goes on.
    fn go_on(&mut self, rest: &[(Request, Turn)], number: u32) -> Kept {
        let (first, later) = rest.split_at(rest.len().min(FEW_FOLLOW_UPS));
        let few = FEW_FOLLOW_UPS - first.len();
        self.go_through(first, number, 0..few)?;
        if self.goes_on_for_long() {
            let stage = self.place.stage;
            self.judge_what_is_left()?;
            self.place.stage = stage;
            let all = FOLLOW_UPS_MIN.saturating_sub(rest.len()).max(few);
            self.go_through(later, number + first.len() as u32, few..all)?;
        }
        self.place.stage = AT_LAST;
        self.run.reopen(false)?;
        self.run.observe_all()
    }

    /// Makes these requests and follow-up requests; then looks at everything.
    fn go_through(&mut self, rest: &[(Request, Turn)], number: u32, more: Range<usize>) -> Kept {
        for (number, (request, _)) in (number..).zip(rest) {
            self.place.request = Some((number, *request));
            self.run.request(Some(number), *request)?;
        }
        // The flush after the first part has a number, too.
        let first = FIRST_NUMBER + more.start as u32 + u32::from(more.start > 0);
        let follow_ups = &self.setting.follow_ups[more];
        self.place.request = Some((first + follow_ups.len() as u32, Request::Flush));
        self.stats.add(Counter::FollowUps, (rest.len() + follow_ups.len()) as u64);
        follow(&mut self.run, first, follow_ups)?;
        if let Some(disk) = &self.run.disk
            && inspect::leaks(disk, Promise::Consistent, "with the fault gone")? > 0
        {
            return Err(Violation::new(Promise::Consistent, "clusters leak with the fault gone"));
        }
        Ok(())
    }
}
