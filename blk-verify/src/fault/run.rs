//! One run of a scenario: its requests are made, and each answer is held against what a failing storage allows.

use std::sync::Arc;

use blk_core::{Disk, Error, ErrorKind, Extent, MemoryStorage};

use super::expected::{Expected, Predicted, Wrong};
use super::explain::Place;
use super::history::History;
use super::host::Host;
use super::variant::Fault;
use super::violation::{Judged, Rule, Violation};
use crate::oracle::image::worst;
use crate::oracle::touched::touched;
use crate::perform::Performer;
use crate::refusal::{is_inside, may_refuse};
use crate::scenario::{Config, Repair, Request};
use crate::space::Geometry;
use crate::target::Prepared;

/// Disks up to this size are compared whole; of larger ones what was touched.
const WHOLE_COMPARE_BYTES_MAX: u64 = 512 << 10;

/// What all runs of a scenario have in common.
#[derive(Debug)]
pub(super) struct Setting<'a> {
    pub(super) prepared: &'a dyn Prepared,
    pub(super) config: &'a Config,
    /// A fresh image.
    pub(super) image: &'a MemoryStorage,
    pub(super) geometry: Geometry,
    /// What is made, and in the end flushed and reopened.
    pub(super) requests: &'a [Request],
    /// What is made once the fault is gone.
    pub(super) further: &'a [Request],
}

/// A scenario on the way.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) setting: &'a Setting<'a>,
    pub(super) place: &'a mut Place,
    pub(super) host: Arc<Host>,
    /// None after an open that failed.
    pub(super) disk: Option<Disk>,
    pub(super) history: History,
    pub(super) condition: Condition,
    performer: Performer,
    buffer: Vec<u8>,
}

/// What has happened to the handle.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Condition {
    /// A fault has happened, and nobody has made up for it yet: requests may fail as poisoned.
    pub(super) is_faulted: bool,
    /// The disk has refused a request because of an earlier failure.
    pub(super) is_poisoned: bool,
    /// A request or a flush has failed since the fault.
    pub(super) has_surfaced: bool,
    /// Clusters touched from before the fault to the last flush.
    touched: u64,
}

impl<'a> Run<'a> {
    /// A run on a fresh image, which shows `expected`. The image is not open yet.
    pub(super) fn new(
        setting: &'a Setting<'a>,
        place: &'a mut Place,
        fault: Option<Fault>,
        expected: Expected,
    ) -> Self {
        Self {
            setting,
            place,
            host: Arc::new(Host::new(setting.image, fault, setting.geometry.unit_bytes)),
            disk: None,
            history: History::new(expected),
            condition: Condition::default(),
            performer: Performer::default(),
            buffer: Vec::new(),
        }
    }

    /// What of the disk is compared.
    pub(super) fn parts(&self) -> Vec<Extent> {
        let size = self.history.now.size();
        if size <= WHOLE_COMPARE_BYTES_MAX {
            return vec![Extent::new(0, size)];
        }
        let all: Vec<Request> = self.setting.requests.iter().chain(self.setting.further).copied().collect();
        touched(&all, size)
    }

    /// Opens the image. That may fail because of the fault.
    pub(super) fn open(&mut self) -> Judged {
        let before = self.host.failed_count();
        self.host.watch(true);
        let opened = self.setting.prepared.open(self.host.clone());
        self.host.watch(false);
        self.notice_fault();
        match opened {
            Ok(disk) => {
                self.disk = Some(disk);
                self.condition.is_poisoned = false;
                Ok(())
            }
            Err(_) if self.host.failed_count() > before => {
                self.condition.has_surfaced = true;
                Ok(())
            }
            Err(error) => Err(Violation::failed(Rule::Opens, "the open", &error)),
        }
    }

    /// Makes a request and judges its answer. Returns whether it succeeded.
    pub(super) fn make(&mut self, number: u32, request: Request) -> Judged<bool> {
        self.place.request = Some((number, request));
        match request {
            Request::Reopen { kill } => return self.reopen(kill),
            Request::Check { repair } => return self.check_as_asked(repair),
            _ => {}
        }
        let Some(disk) = &self.disk else { return Ok(false) };
        let geometry = self.setting.geometry;
        let predicted = self.history.now.predict(number, request, geometry.fill_bytes());
        if let Some(predicted) = &predicted {
            self.history.touch(predicted.extent, geometry.unit_bytes);
        }
        let size = self.history.now.size();
        let before = self.host.failed_count();
        self.host.watch(true);
        let made = match request {
            Request::Read { offset, length } if is_inside(request, size) => {
                self.history.now.read(disk, Extent::new(offset, length), &mut self.buffer)
            }
            _ => self.performer.perform(disk, number, request, geometry.fill_bytes()).map(|()| None),
        };
        self.host.watch(false);
        self.notice_fault();
        let has_failed = self.host.failed_count() > before;
        match made {
            Ok(Some(wrong)) => Err(Violation::bytes(Rule::Content, "a read returns wrong bytes", wrong)),
            Ok(None) => self.succeeded(request, predicted.as_ref()).map(|()| true),
            Err(error) if !has_failed && may_refuse(request, size, error.kind()) => Ok(false),
            Err(error) => {
                self.note_failure(&error, has_failed, request.kind().name())?;
                self.failed(request, predicted.as_ref()).map(|()| false)
            }
        }
    }

    /// Makes a request as [`Run::make`] does, without judging it: the answer is known from the run without faults, after which the
    /// disk has shown `after`.
    pub(super) fn repeat(&mut self, number: u32, request: Request, after: &Expected) -> Judged {
        if matches!(request, Request::Reopen { .. } | Request::Check { .. }) {
            return self.make(number, request).map(|_| ());
        }
        let Some(disk) = &self.disk else { return Ok(()) };
        self.host.watch(true);
        let made = self.performer.perform(disk, number, request, self.setting.geometry.fill_bytes());
        self.host.watch(false);
        match (request, made) {
            // The same reads as in the run without faults: they change what the driver has cached.
            (Request::Discard { offset, length }, Ok(())) => {
                let looked = super::expected::hold(disk, &[Extent::new(offset, length)], &[after], None);
                let wrong = looked.map_err(|error| unprovoked("a read", &error))?;
                wrong.map_or(Ok(()), |wrong| {
                    Err(Violation::bytes(Rule::Unprovoked, "a second run shows other bytes", wrong))
                })
            }
            (Request::Flush, Ok(())) => {
                self.host.forget_touched();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Everything is durable.
    fn flushed(&mut self) {
        if self.condition.is_faulted {
            self.condition.touched = self.touched();
        }
        self.history.flushed();
        self.host.forget_touched();
    }

    /// Clusters that the guest or the driver touched since the last flush before the fault: so many may leak.
    pub(super) fn touched(&self) -> u64 {
        self.condition.touched + self.host.touched() + self.history.clusters()
    }

    fn notice_fault(&mut self) {
        self.condition.is_faulted |= self.host.failed_count() > 0;
    }

    /// Judges that something failed. `has_failed`: an operation of the storage failed in it.
    pub(super) fn note_failure(&mut self, error: &Error, has_failed: bool, what: &str) -> Judged {
        self.condition.has_surfaced = true;
        let is_refused = error.kind() == ErrorKind::Poisoned;
        self.condition.is_poisoned |= is_refused && self.condition.is_faulted;
        if has_failed || self.condition.is_poisoned {
            return Ok(());
        }
        let rule = if self.condition.is_faulted { Rule::Works } else { Rule::Unprovoked };
        Err(Violation::failed(rule, &format!("a {what}, with no fault at work,"), error))
    }

    fn succeeded(&mut self, request: Request, predicted: Option<&Predicted>) -> Judged {
        let Some(disk) = &self.disk else { return Ok(()) };
        match (request, predicted) {
            (Request::Flush, _) => {
                self.flushed();
                Ok(())
            }
            (Request::Resize { size }, _) => {
                self.history.keep_value();
                self.history.allow_size(size);
                self.history.now.resize(size).map_err(|error| broken(&error))
            }
            (_, Some(predicted)) if predicted.may_stay => {
                let settled = self.history.settle(disk, predicted);
                self.looked(settled, "a discarded sector is neither old nor zero")
            }
            (_, Some(predicted)) => {
                self.history.keep_value();
                let mut applied = self.history.now.apply(predicted);
                if is_fua(request) {
                    applied = applied.and_then(|()| self.history.flushed_part(predicted.extent));
                }
                applied.map_err(|error| broken(&error))
            }
            _ => Ok(()),
        }
    }

    /// After a failure: the request's own sectors are old or new.
    fn failed(&mut self, request: Request, predicted: Option<&Predicted>) -> Judged {
        let Some(disk) = &self.disk else { return Ok(()) };
        if let Request::Resize { size } = request {
            let found = disk.size();
            if found != size && found != self.history.now.size() {
                let what = format!("the disk has {found} bytes after a resize to {size} that failed");
                return Err(Violation::new(Rule::Size, what));
            }
            self.history.keep_value();
            self.history.allow_size(size);
            return self.history.now.resize(found).map_err(|error| broken(&error));
        }
        let Some(predicted) = predicted else { return Ok(()) };
        let settled = self.history.settle(disk, predicted);
        self.looked(settled, "a sector of a failed request is neither old nor new")?;
        let Some(disk) = &self.disk else { return Ok(()) };
        let again = self.history.compare(disk, &[predicted.extent]);
        self.looked(again, "reading twice gives different bytes")
            .map_err(|violation| violation.of(Rule::Stable))
    }

    /// As [`held`], of a handle that may be poisoned: one that refuses to be read is given up.
    fn looked(&mut self, compared: blk_core::Result<Option<Wrong>>, what: &str) -> Judged {
        match compared {
            Err(error) if error.kind() == ErrorKind::Poisoned && self.condition.is_faulted => {
                self.condition.is_poisoned = true;
                self.disk = None;
                Ok(())
            }
            compared => held(compared, what),
        }
    }

    /// Closes the image, or leaves it as a killed process does, and opens it.
    fn reopen(&mut self, kill: bool) -> Judged<bool> {
        let before = self.host.failed_count();
        // A handle that was given up is not closed.
        let mut is_closed = self.disk.is_some();
        if let Some(disk) = self.disk.take() {
            self.host.watch(true);
            let closed = if kill { disk.flush() } else { disk.close() };
            drop(disk);
            self.host.watch(false);
            self.notice_fault();
            match closed {
                Ok(()) => self.flushed(),
                Err(error) => {
                    is_closed = false;
                    self.note_failure(&error, self.host.failed_count() > before, "close")?;
                }
            }
        }
        let has_lost = self.host.evict().map_err(|error| broken(&error))?;
        self.open()?;
        if !is_closed {
            self.settle_reopened(has_lost)?;
        }
        Ok(is_closed)
    }

    /// Takes over what the disk shows after its handle had to be given up.
    pub(super) fn settle_reopened(&mut self, has_lost: bool) -> Judged {
        let Some(disk) = &self.disk else { return Ok(()) };
        let size = disk.size();
        // Where the size is the length of the file, as for raw, a growth that a failed sync has lost is undone, and later writes
        // make the file longer again as far as they reach.
        let is_length_of_file = disk.as_check().is_none();
        let is_allowed = self.history.allows_size(size)
            || (is_length_of_file && has_lost && self.history.allows_size_between(size));
        if !is_allowed {
            return Err(Violation::new(Rule::Size, format!("the disk has {size} bytes after a reopen")));
        }
        self.history.now.resize(size).map_err(|error| broken(&error))?;
        let parts = self.parts();
        let settled = self.history.settle_all(disk, &parts);
        held(settled, "after a reopen a sector holds neither what was flushed nor anything later")?;
        let again = self.history.compare(disk, &parts);
        held(again, "reading twice gives different bytes").map_err(|violation| violation.of(Rule::Stable))
    }

    /// A check that the scenario asks for, with its repair.
    fn check_as_asked(&mut self, repair: Repair) -> Judged<bool> {
        let Some(disk) = &self.disk else { return Ok(false) };
        if disk.as_check().is_none() {
            return Ok(true);
        }
        let before = self.host.failed_count();
        self.host.watch(true);
        let checked = disk.check(repair.mode());
        self.host.watch(false);
        self.notice_fault();
        match checked {
            Ok(report) if report.is_repaired() => Ok(true),
            Ok(report)
                if self.condition.is_faulted && report.corruptions == 0 && report.check_errors == 0 =>
            {
                Ok(true)
            }
            Ok(report) => Err(Violation::new(self.rule(Rule::Check), worst(&report))),
            Err(error) => {
                self.note_failure(&error, self.host.failed_count() > before, "check").map(|()| false)
            }
        }
    }

    fn rule(&self, rule: Rule) -> Rule {
        if self.condition.is_faulted { rule } else { Rule::Unprovoked }
    }
}

/// Judges a comparison: the disk must answer, and rightly.
pub(super) fn held(compared: blk_core::Result<Option<Wrong>>, what: &str) -> Judged {
    match compared {
        Ok(None) => Ok(()),
        Ok(Some(wrong)) => Err(Violation::bytes(Rule::Content, what, wrong)),
        Err(error) => Err(Violation::failed(Rule::Content, "reading, with no fault at work,", &error)),
    }
}

/// The oracle's own memory fails only where it grows without bound.
pub(super) fn broken(error: &Error) -> Violation {
    Violation::failed(Rule::Unprovoked, "the oracle's own memory", error)
}

fn unprovoked(what: &str, error: &Error) -> Violation {
    Violation::failed(Rule::Unprovoked, what, error)
}

pub(super) fn is_fua(request: Request) -> bool {
    matches!(request, Request::Write { fua: true, .. } | Request::WriteZeroes { fua: true, .. })
}
