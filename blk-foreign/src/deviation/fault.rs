//! Conditions of what happened in a scenario whose storage has failed.

use blk_core::Extent;
use blk_harness::Finding;
use blk_harness::RequestKind;
use blk_harness::finding::{Fault, Provoked, Source};
use blk_harness::journal::Entry;
use blk_harness::scenario::{Fill, Request, Scenario};
use blk_harness::stamp::{FOLLOW_UPS, Writer};

use super::killed::{has_place, reaches_place};
use super::{
    SECTOR_BYTES, changes, disk_bytes, is_filled, is_freeing, is_taken, is_write, made, makes_durable,
    noticed, request, units, units_of,
};

/// Requests that a failure may strike which lasts: so many are made before it is cleared.
const AFTER_FAULT: u32 = 2;
/// Where the fault engine opens the image again; the reopen of a scenario's end is none of its requests.
const OPENED: [&str; 5] = [
    "(reopen)",
    "after a crash that follows the failed sync",
    "by a second open after the flush",
    "by the reopen after the fault was cleared",
    "by the reopen at the end",
];
/// What the fault engine says once it goes on without the fault.
const FAULT_GONE: &str = "with the fault gone";
/// Headers and log of an image of VHDX, as QEMU makes it.
const VHDX_LOG: std::ops::Range<u64> = 64 << 10..2 << 20;
/// An entry of a table, bytes.
const ENTRY_BYTES: u64 = 4;
/// A shorter write has no stamp.
const STAMPED_BYTES: u64 = 16;

fn fault(finding: &Finding) -> Option<&Fault> {
    match &finding.provoked {
        Some(Provoked::Fault(fault)) => Some(fault),
        _ => None,
    }
}

pub(super) fn is_sync_failed(finding: &Finding) -> bool {
    fault(finding).is_some_and(|fault| fault.kind == "Sync")
}

/// Bytes that are wrong after a write of the guest that the storage has failed.
struct Failed<'a> {
    finding: &'a Finding,
    scenario: &'a Scenario,
    fault: &'a Fault,
    /// The address that shows what is wrong, that, and what may be there.
    offset: u64,
    found: Source,
    expected: Vec<Source>,
    /// The number of that write.
    first: u32,
    unit_bytes: u64,
    /// Zeroes give a unit no place.
    has_zero_units: bool,
}

/// Whether a request gives new units a place, whoever the driver is: some refuse zeroes that must not be
/// written.
fn gives_place(request: Request, scenario: &Scenario) -> bool {
    let is_taken = |(offset, length)| is_taken(Extent { offset, length }, scenario);
    is_write(request.kind())
        && !matches!(request, Request::WriteZeroes { no_fallback: true, .. })
        && request.range().is_some_and(is_taken)
}

impl<'a> Failed<'a> {
    fn of(finding: &'a Finding, scenario: &'a Scenario, unit_bytes: u64) -> Option<Self> {
        let (fault, difference) = (fault(finding)?, finding.difference.as_deref()?);
        let expected = difference.expected.iter().map(|side| side.source).collect();
        let shown = (difference.offset, difference.found.source, expected);
        Self::with(finding, scenario, fault, shown, unit_bytes)
    }

    fn with(
        finding: &'a Finding,
        scenario: &'a Scenario,
        fault: &'a Fault,
        (offset, found, expected): (u64, Source, Vec<Source>),
        unit_bytes: u64,
    ) -> Option<Self> {
        let (first, _) = *fault.during.as_ref()?;
        let is_write = request(scenario, first).is_some_and(|request| is_write(request.kind()));
        let has_zero_units = false;
        let failed =
            Self { finding, scenario, fault, offset, found, expected, first, unit_bytes, has_zero_units };
        is_write.then_some(failed)
    }

    /// The same of data whose block status says that zeroes are there: one for each write since of which that
    /// is said.
    fn claimed(finding: &'a Finding, scenario: &'a Scenario, unit_bytes: u64) -> Vec<Self> {
        let asked = noticed(finding).filter(|(_, entry)| entry.kind() == RequestKind::Status);
        let Some((asked, fault)) = asked.and_then(|(_, entry)| entry.extent()).zip(fault(finding)) else {
            return Vec::new();
        };
        let of = |offset: u64| {
            Self::with(finding, scenario, fault, (offset, Source::Zeroes, vec![Source::Unknown]), unit_bytes)
        };
        let written = made(finding, scenario).filter(|(_, entry)| entry.kind() == RequestKind::Write);
        let both = written.filter_map(|(_, entry)| changes(&entry)).map(|extent| {
            let start = extent.offset.max(asked.offset);
            start..extent.end().min(asked.end())
        });
        both.filter(|both| !both.is_empty()).filter_map(|both| of(both.start)).collect()
    }

    /// Of the bytes that are wrong, or of those whose block status is.
    fn any(finding: &'a Finding, scenario: &'a Scenario, unit_bytes: u64, is: impl Fn(Self) -> bool) -> bool {
        let claimed = Self::claimed(finding, scenario, unit_bytes).into_iter();
        Self::of(finding, scenario, unit_bytes).into_iter().chain(claimed).any(is)
    }

    fn unit(&self) -> u64 {
        self.offset / self.unit_bytes
    }

    /// The writes that the failure may have struck.
    fn struck(&self) -> impl Iterator<Item = (u32, Request)> {
        let lasts = self.fault.how.ends_with("from then on");
        let last = if lasts { self.first + AFTER_FAULT } else { self.first };
        let all = (self.first..=last).filter_map(|number| Some((number, request(self.scenario, number)?)));
        all.filter(|(_, request)| is_write(request.kind()))
    }

    fn strikes(&self, unit: u64) -> bool {
        self.struck().any(|(_, request)| units(&request, self.unit_bytes).contains(&unit))
    }

    /// Whether a unit had no place before.
    fn is_new(&self, unit: u64) -> bool {
        let before = &self.scenario.requests[..self.first as usize - 1];
        let gives = |request: &&Request| {
            let is_zero = matches!(request, Request::WriteZeroes { .. });
            gives_place(**request, self.scenario) && !(is_zero && self.has_zero_units)
        };
        !before.iter().filter(gives).any(|request| units(request, self.unit_bytes).contains(&unit))
    }

    /// What was made since, the write itself included, up to the finding.
    fn since(&self) -> impl Iterator<Item = (u32, Entry)> {
        made_since(self.finding, self.scenario, self.first)
    }

    /// Whether the image was opened again after the failure.
    fn is_opened_again(&self) -> bool {
        is_opened_since(self.finding, self.scenario, self.first)
    }

    /// Whether zeroes stand where other data was written since.
    fn is_lost(&self) -> bool {
        let covers = |entry: Entry| {
            let offset = self.offset;
            changes(&entry).is_some_and(|extent| extent.offset <= offset && offset < extent.end())
        };
        let is_since = |source: Source| match source {
            Source::Stamped { writer: Writer::Request(number), .. } => number >= self.first,
            Source::Repeated(_) | Source::Unknown => self.since().any(|(_, entry)| covers(entry)),
            _ => false,
        };
        self.found == Source::Zeroes
            && self.is_opened_again()
            && self.expected.iter().any(|source| is_since(*source))
    }

    fn is_new_unit_lost(&self) -> bool {
        self.is_lost() && self.strikes(self.unit()) && self.is_new(self.unit())
    }
}

/// What was made from request `first` on, up to the finding.
fn made_since(finding: &Finding, scenario: &Scenario, first: u32) -> impl Iterator<Item = (u32, Entry)> {
    let last = match finding.request_number {
        0 => u32::MAX,
        number => number,
    };
    let is_since = move |number: u32| first <= number && (number <= last || FOLLOW_UPS.contains(&number));
    made(finding, scenario).filter(move |(number, _)| is_since(*number))
}

/// Whether the image was opened again after request `first`, in which its storage has failed.
pub(super) fn is_opened_since(finding: &Finding, scenario: &Scenario, first: u32) -> bool {
    let is_reopen = |(_, entry): (u32, Entry)| entry.kind() == RequestKind::Reopen;
    // No flush succeeds after a sync that has failed: the handle is given up.
    let is_given_up = is_sync_failed(finding) && finding.noticed.ends_with(FAULT_GONE);
    is_given_up
        || OPENED.iter().any(|stage| finding.noticed.ends_with(stage))
        || made_since(finding, scenario, first).any(is_reopen)
}

pub(super) fn is_new_unit_lost(finding: &Finding, scenario: &Scenario, unit_bytes: u64) -> bool {
    Failed::any(finding, scenario, unit_bytes, |failed| failed.is_new_unit_lost())
}

pub(super) fn is_new_data_unit_lost(finding: &Finding, scenario: &Scenario, unit_bytes: u64) -> bool {
    let is = |failed| Failed { has_zero_units: true, ..failed }.is_new_unit_lost();
    Failed::any(finding, scenario, unit_bytes, is)
}

pub(super) fn is_first_table_lost(finding: &Finding, scenario: &Scenario, unit_bytes: u64) -> bool {
    let is = |failed: Failed<'_>| failed.fault.extent.offset == unit_bytes && failed.is_lost();
    Failed::any(finding, scenario, unit_bytes, is)
}

pub(super) fn is_log_unwritten(finding: &Finding, scenario: &Scenario, unit_bytes: u64) -> bool {
    Failed::any(finding, scenario, unit_bytes, |failed| {
        let Fault { kind, extent, .. } = failed.fault;
        // The log has the length of the file.
        let is_log = matches!(kind.as_str(), "Sync" | "Len")
            || (VHDX_LOG.contains(&extent.offset) && extent.end() <= VHDX_LOG.end);
        let is_any_new = |request: Request| units(&request, unit_bytes).any(|unit| failed.is_new(unit));
        let needs_log = failed.struck().any(|(_, request)| is_any_new(request));
        is_log && needs_log && failed.is_lost() && failed.is_new(failed.unit())
    })
}

pub(super) fn is_new_unit_shared(finding: &Finding, scenario: &Scenario, unit_bytes: u64) -> bool {
    let Some(failed) = Failed::of(finding, scenario, unit_bytes) else { return false };
    let unit = failed.unit();
    // One of the two is that of the write that failed; the other one was given the same place later.
    let may_share = |other: u64| {
        other != unit
            && failed.is_new(unit)
            && failed.is_new(other)
            && (failed.strikes(unit) || failed.strikes(other))
    };
    let may_show = |entry: &Entry| {
        let difference = finding.difference.as_deref();
        difference.is_some_and(|difference| reaches_place(entry, difference, unit_bytes))
            && is_of_any(entry, unit_bytes, &may_share)
    };
    match failed.found {
        Source::Stamped { writer: Writer::Request(writer), address, is_here: false, .. } => {
            writer >= failed.first && may_share(address / unit_bytes)
        }
        Source::Repeated(byte) => failed.since().any(|(number, entry)| {
            is_filled(scenario, (number, entry), byte) && is_of_any(&entry, unit_bytes, &may_share)
        }),
        Source::Zeroes => {
            failed.since().any(|(number, entry)| is_filled(scenario, (number, entry), 0) && may_show(&entry))
        }
        Source::Unknown => failed.since().any(|(_, entry)| is_write(entry.kind()) && may_show(&entry)),
        _ => false,
    }
}

fn is_of_any(entry: &Entry, unit_bytes: u64, holds: &dyn Fn(u64) -> bool) -> bool {
    changes(entry).is_some_and(|extent: Extent| units_of(extent, unit_bytes).any(holds))
}

pub(super) fn is_failed_write_there(finding: &Finding, scenario: &Scenario, unit_bytes: u64) -> bool {
    let Some(failed) = Failed::of(finding, scenario, unit_bytes) else { return false };
    let (offset, source) = (failed.offset, failed.found);
    let is_its_data = |number: u32, request: Request| match (source, request) {
        (Source::Stamped { writer: Writer::Request(writer), .. }, _) => writer == number,
        (Source::Repeated(byte), Request::Write { fill: Fill::Byte(fill), .. }) => byte == fill,
        (Source::Repeated(_), Request::Write { fill: Fill::Stamp, length, .. }) => length < STAMPED_BYTES,
        // What is written to a part of a sector is not known again.
        (Source::Unknown, Request::Write { fill: Fill::Stamp, offset: start, length, .. }) => {
            let sector = offset / SECTOR_BYTES * SECTOR_BYTES;
            start > sector || start.saturating_add(length) < sector + SECTOR_BYTES
        }
        (Source::Zeroes, Request::WriteZeroes { .. }) => true,
        _ => false,
    };
    let is_new = !has_place(finding, scenario, (failed.unit(), unit_bytes), failed.first);
    let shows = failed.struck().filter(|(number, request)| {
        let (start, length) = request.range().unwrap_or_default();
        let end = start.saturating_add(length);
        // Zeroes of a whole unit have an entry of their own.
        let unit_end = ((failed.unit() + 1) * unit_bytes).min(disk_bytes(scenario));
        let is_whole = start <= failed.unit() * unit_bytes && unit_end <= end;
        let has_entry = is_new || (is_whole && matches!(request, Request::WriteZeroes { .. }));
        has_entry && start <= offset && offset < end && is_its_data(*number, *request)
    });
    let Some(last) = failed.struck().last().map(|(number, _)| number) else { return false };
    let is_its_unit = |unit| unit == failed.unit();
    let is_written_since = failed.since().any(|(number, entry)| {
        number > last && is_write(entry.kind()) && is_of_any(&entry, unit_bytes, &is_its_unit)
    });
    failed.fault.kind == "Write"
        && failed.fault.extent.length == ENTRY_BYTES
        && failed.is_opened_again()
        && shows.count() > 0
        && !is_written_since
}

pub(super) fn is_lost_unit_there(finding: &Finding, scenario: &Scenario, unit_bytes: u64) -> bool {
    let Some(failed) = Failed::of(finding, scenario, unit_bytes) else { return false };
    let (unit, offset) = (failed.unit(), failed.offset);
    let is_its_unit = |other: u64| other == unit;
    let covers = |entry: &Entry| changes(entry).is_some_and(|it| it.offset <= offset && offset < it.end());
    let wrote = |(number, entry): &(u32, Entry)| match failed.found {
        Source::Stamped { writer: Writer::Request(writer), is_here: true, .. } => *number == writer,
        Source::Repeated(byte) => covers(entry) && is_filled(scenario, (*number, *entry), byte),
        Source::Unknown => covers(entry),
        _ => false,
    };
    let mut since = failed.since().skip_while(|made| !wrote(made));
    // The unit gets a place again by a later write of another part.
    let is_there = since.next().is_some_and(|(_, entry)| is_write(entry.kind()));
    is_there
        && since.any(|(_, entry)| is_write(entry.kind()) && is_of_any(&entry, unit_bytes, &is_its_unit))
        && failed.is_opened_again()
        && failed.strikes(unit)
        && failed.is_new(unit)
}

pub(super) fn is_freed_then_sync_failed(finding: &Finding, scenario: &Scenario, unit_bytes: u64) -> bool {
    let Some(fault) = fault(finding).filter(|fault| fault.kind == "Sync") else { return false };
    let Some((first, _)) = fault.during else { return false };
    let size = disk_bytes(scenario);
    let frees = |request: &Request| {
        let (start, length) = request.range().unwrap_or_default();
        let end = start.saturating_add(length);
        let end = if end >= size { size.next_multiple_of(unit_bytes) } else { end };
        is_freeing(request, scenario) && start.div_ceil(unit_bytes) < end / unit_bytes
    };
    let (before, from) =
        scenario.requests.split_at(scenario.requests.len().min((first as usize).saturating_sub(1)));
    let undurable = before.iter().rev().take_while(|request| !makes_durable(request)).count();
    let until = from.len().min(1 + AFTER_FAULT as usize);
    let at_risk = &scenario.requests[before.len() - undurable..before.len() + until];
    let Some(given_back) = at_risk.iter().position(frees) else { return false };
    let is_of_elsewhere = finding.difference.as_ref().is_none_or(|difference| {
        matches!(difference.found.source, Source::Stamped { is_here: false, .. } | Source::Unknown)
    });
    is_of_elsewhere && at_risk[given_back + 1..].iter().any(|request| is_write(request.kind()))
}

#[cfg(test)]
mod tests;
