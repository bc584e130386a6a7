//! Going through the crash points of one request, and the states of each.

use std::fmt::Write;

use blk_core::Extent;
use blk_core::storage;

use super::content::{Wrong, sector_of};
use super::judge::{Analysis, Depth, Judge};
use super::violation::{Clause, Violation};
use super::{Profile, RARE_POINTS, Run, Step, explain};
use crate::journal::Journal;
use crate::medium::{Kept, States};
use crate::report::{Finding, OriginClass, SECTOR_BYTES, Signature};

/// States that are judged to make the set of what was lost smaller.
const SHRINK_MAX: usize = 300;

/// So many states are judged at a crash point that is judged at all, if it has as many.
const SHARE_MIN: u64 = 4;

/// Where the run is.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// The request that runs; 0 while the disk is closed at the end.
    pub(super) request_number: u32,
    /// The newest operation of the storage.
    pub(super) operation: u64,
}

impl Place {
    /// One line for a report.
    pub(super) fn describe(&self, journal: &Journal) -> String {
        let request = match journal.request(self.request_number).filter(|_| self.request_number > 0) {
            Some(request) => format!("request #{} ({request})", self.request_number),
            None => "the close at the end".to_owned(),
        };
        format!("  crash:     in {request}, after operation {} of the storage\n", self.operation)
    }
}

/// A number without rhythm, so that points that are left out are of all kinds.
fn scatter(count: u64) -> u64 {
    count.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32
}

/// Steps that everything else depends on, and that happen on large disks above all, where most crash points are left out: those
/// that the driver calls rare, as the growth of a table, and changes of the first sector, which is the header of most formats.
fn is_of_a_rare_kind(extent: Extent, step: &storage::Step) -> bool {
    step.is_rare || extent.offset < SECTOR_BYTES
}

impl Run<'_> {
    /// Judges the crash points of all operations since the last call.
    pub(super) fn explore(&mut self) -> Step {
        for operation in self.medium.take_log() {
            let is_pending = self.history.apply(&operation).map_err(|error| self.broken(&error))?;
            self.place.operation = self.history.count();
            let Some(newest) = self.history.pending().last().filter(|_| is_pending) else { continue };
            let (extent, step) = (newest.extent, newest.step);
            *self.stats.steps.entry(step).or_default() += 1;
            self.touch(true, extent);
            self.judge_operation(extent, step)?;
        }
        Ok(())
    }

    /// Judges the crash point after the newest operation, as far as states are left.
    fn judge_operation(&mut self, extent: Extent, step: &'static storage::Step) -> Step {
        let is_due = self.states_left > 0 && scatter(self.history.count()).is_multiple_of(self.stride);
        if is_due || (self.is_judging && self.is_rare(extent, step)) {
            self.judge_point(true)
        } else {
            Ok(())
        }
    }

    /// Whether it is one of the first of its step that are judged however large the disk is.
    fn is_rare(&mut self, extent: Extent, step: &'static storage::Step) -> bool {
        if !is_of_a_rare_kind(extent, step) {
            return false;
        }
        let count = self.rare.entry(step).or_default();
        *count += 1;
        *count <= RARE_POINTS
    }

    /// Judges all states of the crash point that has been reached, against what is promised now.
    pub(super) fn explore_all(&mut self) -> Step {
        self.judge_point(false)
    }

    fn judge_point(&mut self, newest_only: bool) -> Step {
        let count = self.history.count();
        if !self.is_judging {
            return Ok(());
        }
        self.stats.points += 1;
        self.stats.pending_max = self.stats.pending_max.max(self.history.pending().len() as u64);
        // What is left of the budget is spread over the crash points that may still come.
        let share = (self.states_left / 16).max(SHARE_MIN);
        let tries_max = usize::try_from(share).unwrap_or(usize::MAX);
        let states = States { tries_max, ..States::new(self.options.states_per_point, newest_only, count) }
            .of(&self.history);
        for kept in states {
            self.states_left = self.states_left.saturating_sub(1);
            if let Some(violation) = self.judge(&kept)? {
                return Err(self.finding(kept, violation));
            }
        }
        Ok(())
    }

    /// Judges one state.
    fn judge(&mut self, kept: &Kept) -> Result<Option<Violation>, Box<Finding>> {
        let (image, hash) = self.history.image(kept).map_err(|error| self.broken(&error))?;
        self.stats.states += 1;
        if self.known.get(hash).is_none() {
            if self.known.meet(hash) {
                self.count_new(kept);
            }
            let mut judge = Judge {
                prepared: self.prepared,
                further: self.further,
                further_one_in: self.options.further_one_in,
                fill_bytes: self.geometry.fill_bytes(),
                performer: &mut self.performer,
                stats: self.stats,
            };
            let analysis = judge.analyse(&image, hash, Depth::First);
            self.known.keep(hash, analysis);
        }
        let analysis = self.known.get(hash).expect("it has been kept");
        Ok(match &analysis.violation {
            Some(violation) => Some(violation.clone()),
            None => self.judge_history(analysis),
        })
    }

    fn count_new(&mut self, kept: &Kept) {
        self.stats.distinct += 1;
        let mut is_lossy = false;
        for pending in self.history.pending() {
            if kept[pending.items.clone()].contains(&false) {
                is_lossy = true;
                *self.stats.lost.entry(pending.step).or_default() += 1;
            }
        }
        self.stats.with_losses += u64::from(is_lossy);
    }

    /// C3, C4 and the bound on leaks: what depends on what was asked.
    fn judge_history(&self, analysis: &Analysis) -> Option<Violation> {
        let size = analysis.content.size();
        if !self.allowed.sizes().contains(&size) {
            let what = format!("the disk has {size} bytes, allowed are {:?}", self.allowed.sizes());
            return Some(Violation::new(Clause::Size, what));
        }
        if analysis.leaks > self.touched.len() as u64 {
            let what = "more clusters have leaked than were touched since the last flush";
            let note = format!("{} leaks, {} clusters touched", analysis.leaks, self.touched.len());
            return Some(Violation::new(Clause::Check, what).with_note(note));
        }
        let sector = self.allowed.first_wrong(&analysis.content.bytes)?;
        let found = sector_of(size, sector);
        let found = &analysis.content.bytes[found.offset as usize..found.end() as usize];
        let (class, _) = explain::origin(self.journal, found, sector * SECTOR_BYTES, size);
        let is_known = matches!(class, OriginClass::Misplaced | OriginClass::InitialMisplaced);
        if self.options.profile == Profile::Qemu && is_known && self.allowed.is_uncertain(sector) {
            return None;
        }
        let values = self.allowed.values(sector);
        let expected = values.last().map(|value| value.to_vec()).unwrap_or_default();
        let mut violation = Violation::new(Clause::Content, format!("a sector holds {class:?}"));
        for value in values {
            let (_, text) = explain::origin(self.journal, value, sector * SECTOR_BYTES, size);
            violation = violation.with_note(format!("may hold {text}"));
        }
        let wrong = Wrong { offset: sector * SECTOR_BYTES, expected, found: found.to_vec() };
        Some(violation.with_bytes(wrong))
    }

    /// Loses as little as possible, as long as the same is wrong.
    fn finding(&mut self, mut kept: Kept, mut violation: Violation) -> Box<Finding> {
        let signature = violation.signature();
        let mut tries = 0;
        let mut is_changed = true;
        while is_changed && tries < SHRINK_MAX {
            is_changed = false;
            for item in 0..kept.len() {
                if kept[item] || tries >= SHRINK_MAX {
                    continue;
                }
                kept[item] = true;
                tries += 1;
                match self.judge(&kept) {
                    Ok(Some(same)) if same.signature() == signature => {
                        violation = same;
                        is_changed = true;
                    }
                    _ => kept[item] = false,
                }
            }
        }
        let signature = Signature::Crash { clause: violation.clause.name(), what: signature };
        let fate = explain::fate(&self.history, &kept);
        let report = explain::report(self.journal, &violation, &self.content, self.place, Some(&fate));
        Box::new(Finding { signature, report, request_number: self.place.request_number })
    }

    /// The medium is memory: it fails only where an image grows without bound.
    fn broken(&self, error: &blk_core::Error) -> Box<Finding> {
        let mut text = format!("the simulated medium failed: {error}");
        let _ = write!(text, "\n{}", self.place.describe(self.journal));
        let signature = Signature::Failed { what: "the medium", error: format!("{:?}", error.kind()) };
        Box::new(crate::report::oracle_finding(signature, "the medium failed", &text))
    }
}
