//! With the fault gone: what the disk owes from then on.

use std::sync::Arc;

use blk_core::{Disk, ErrorKind, RepairMode, Storage};

use super::FaultStats;
use super::repair;
use super::run::{Condition, Run, broken, held};
use super::violation::{Judged, Rule, Violation};
use crate::crash::further::FIRST_NUMBER;
use crate::oracle::image::worst;
use crate::scenario::Request;

/// So many requests are made at least with the fault gone.
const FURTHER_MIN: usize = 50;

impl Run<'_> {
    /// Mends the storage and judges all that follows. `rest` is what is left of the scenario, with its first number.
    pub(super) fn recover(&mut self, rest: &[Request], number: u32, stats: &mut FaultStats) -> Judged {
        self.place.stage = "by the flush after the fault was mended";
        self.host.mend();
        stats.lossy += u64::from(self.host.is_lossy());
        let bound = self.touched();
        if self.flush_after()? {
            stats.surfaced += u64::from(self.condition.has_surfaced);
            self.judge_what_is_left()?;
        } else {
            stats.surfaced += 1;
            stats.poisoned += u64::from(self.condition.is_poisoned);
            stats.reopened += 1;
            self.open_again()?;
        }
        self.condition = Condition::default();
        self.place.stage = "by the check after the fault was mended";
        self.check_leaks(bound, stats)?;
        self.place.stage = "with the fault gone";
        self.go_on(rest, number, stats).map_err(|violation| match violation.rule {
            Rule::Content | Rule::Check | Rule::Unprovoked | Rule::Opens => violation.of(Rule::Works),
            _ => violation,
        })
    }

    /// Flushes. Returns whether the handle can be used further.
    fn flush_after(&mut self) -> Judged<bool> {
        let Some(disk) = &self.disk else { return Ok(false) };
        match disk.flush() {
            Ok(()) => {
                if self.host.is_lossy() && !self.condition.has_surfaced {
                    let what = "a sync failed, and neither a request nor the next flush says so";
                    return Err(Violation::new(Rule::Surfaces, what));
                }
                self.history.flushed();
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::Poisoned => {
                self.condition.is_poisoned = true;
                self.condition.has_surfaced = true;
                if disk.close().is_ok() {
                    let what = "the flush says that the handle has failed, and the close that all is well";
                    return Err(Violation::new(Rule::Surfaces, what));
                }
                Ok(false)
            }
            Err(error) => Err(Violation::failed(Rule::Works, "the flush", &error)),
        }
    }

    /// What the flush has promised is there for somebody who opens the image now.
    fn judge_what_is_left(&mut self) -> Judged {
        self.place.stage = "by a second open after the flush";
        let left: Arc<dyn Storage> = Arc::new(self.host.left().map_err(|error| broken(&error))?);
        let opened = self.setting.prepared.open(left);
        let disk = opened.map_err(|error| Violation::failed(Rule::Durable, "a second open", &error))?;
        let is_durable = |violation: Violation| violation.of(Rule::Durable);
        if disk.size() != self.history.now.size() {
            let what =
                format!("the disk has {} bytes, flushed were {}", disk.size(), self.history.now.size());
            return Err(Violation::new(Rule::Durable, what));
        }
        let compared = self.history.compare(&disk, &self.parts());
        held(compared, "what was flushed is not there").map_err(is_durable)?;
        checked(&disk).map(|_| ()).map_err(is_durable)
    }

    /// Gives up the handle and opens the image anew.
    fn open_again(&mut self) -> Judged {
        self.place.stage = "by the reopen after the fault was mended";
        self.disk = None;
        let has_lost = self.host.evict().map_err(|error| broken(&error))?;
        self.open()?;
        self.settle_reopened(has_lost)
    }

    fn check_leaks(&mut self, bound: u64, stats: &mut FaultStats) -> Judged {
        let Some(disk) = &self.disk else { return Ok(()) };
        let leaks = checked(disk)?;
        if leaks == 0 {
            return Ok(());
        }
        if leaks > bound {
            let what = format!("{leaks} clusters have leaked, {bound} were touched");
            return Err(Violation::new(Rule::Leaks, what));
        }
        stats.repairs += 1;
        let left = self.host.left().map_err(|error| broken(&error))?;
        repair::sweep(self, &left, stats)?;
        let Some(disk) = &self.disk else { return Ok(()) };
        repair::repair(disk)?;
        let compared = self.history.compare(disk, &self.parts());
        held(compared, "a repair changes what the guest sees").map_err(|violation| violation.of(Rule::Repair))
    }

    /// Makes what is left of the scenario and more, all of it exactly; then looks at everything once more.
    fn go_on(&mut self, rest: &[Request], number: u32, stats: &mut FaultStats) -> Judged {
        for (number, request) in (number..).zip(rest) {
            self.make(number, *request)?;
        }
        let more = FURTHER_MIN.saturating_sub(rest.len());
        for (number, request) in (FIRST_NUMBER..).zip(&self.setting.further[..more]) {
            self.make(number, *request)?;
        }
        stats.further_requests += (rest.len() + more) as u64;
        self.make(FIRST_NUMBER - 1, Request::Flush)?;
        self.look_at_all()?;
        if let Some(disk) = &self.disk
            && checked(disk)? > 0
        {
            return Err(Violation::new(Rule::Check, "clusters leak with the fault gone"));
        }
        self.make(FIRST_NUMBER + 1001, Request::Reopen { kill: false })?;
        self.look_at_all()
    }

    /// Compares the whole disk.
    pub(super) fn look_at_all(&mut self) -> Judged {
        let Some(disk) = &self.disk else { return Ok(()) };
        held(self.history.compare(disk, &self.parts()), "the whole compare meets wrong bytes")
    }
}

/// Checks the image, if its format can be checked; returns how many clusters have leaked, which is allowed.
pub(super) fn checked(disk: &Disk) -> Judged<u64> {
    if disk.as_check().is_none() {
        return Ok(0);
    }
    let report = disk
        .check(RepairMode::None)
        .map_err(|error| Violation::failed(Rule::Check, "the check, with no fault at work,", &error))?;
    if report.corruptions == 0 && report.check_errors == 0 {
        return Ok(report.leaks + report.leaks_past_end);
    }
    Err(Violation::new(Rule::Check, worst(&report)))
}
