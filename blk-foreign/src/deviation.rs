//! What is known to be wrong with a driver, and which findings that explains.

mod crash;
mod fault;
mod killed;

use std::ops::Range;

use blk_core::Extent;
use blk_harness::finding::{Provoked, Source};
use blk_harness::journal::Entry;
use blk_harness::scenario::{Fill, Request, Scenario};
use blk_harness::stamp::{FOLLOW_UPS, Writer};
use blk_harness::{Finding, RequestKind};
use serde::Deserialize;

/// What is known to be wrong with the driver. Findings that it explains are counted, and not reported: those
/// of which the report has all its texts, and whose scenario is as it says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Deviation {
    /// What it is called in the report.
    pub name: String,
    /// Texts of the report of a finding.
    pub report: Vec<String>,
    /// What has to have happened in the scenario. Without it, the report alone decides: then another bug with
    /// the same symptom goes unseen.
    pub scenario: Option<Happened>,
    /// What is known of it.
    pub about: String,
}

/// What has happened in a scenario before a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Happened {
    /// The unit of allocation that shows the wrong data was given back, by a discard or by zeroes that may
    /// unmap, and then that data was written elsewhere, without a flush or a reopen in between. Data that has
    /// no stamp counts as that of the last write elsewhere.
    FreedThenReused,
    /// A part of the range that the finding is about was written, and neither flushed nor closed since. After
    /// a crash that is one of the requests that follow it.
    WrittenNotFlushed,
    /// The crash lost the end of what was appended to the storage, and kept a later write of 4 bytes, with no
    /// sync between the two: an entry of a table that refers past the end. The data of a request after the
    /// crash stands at the wrong address then; one of the two addresses was written before the crash, and
    /// neither flushed nor closed. Of data without a stamp, the address where it stands is one of the two,
    /// and a request after the crash has changed another unit, which has to be the other one. The crash may
    /// be one that follows a failed sync.
    EntryPastEnd,
    /// The crash lost a write to the first sector of the storage, where a driver marks the image as one that
    /// has to be checked, and after it the end of what was appended, and kept a later write of whole sectors:
    /// a table that refers past the end, and no mark. Something was written, and neither flushed nor closed.
    MarkAndEndLost,
    /// The image was left without a close twice, by kills, crashes or failures, and written to between the
    /// two.
    KilledTwice,
    /// The image was left without a close, and opened again, and the request that noticed is a discard or
    /// zeroes.
    KilledThenFreed,
    /// The image was left without a close, by a kill, a crash or a failure, and opened again, and data stands
    /// where what was written since may stand if two units share their place: stamped data at a wrong address
    /// of another unit, where one of the two was written since; a byte, repeated, that was written to that
    /// place of another unit since; zeroes where a new unit took its place since, and no data was written to
    /// that part of it; data without a stamp, where it was.
    KilledThenShared,
    /// The first byte that differs was discarded, and not written since, and is zero.
    Discarded,
    /// A write was in flight with a discard, or with zeroes that may unmap, of the same unit of allocation.
    /// If it is not data of that write which shows at another address, what differs is in a unit that it
    /// wrote.
    FreedInFlight,
    /// A read that shows wrong data was in flight with a discard, or with zeroes that may unmap, of the same
    /// unit of allocation.
    FreedUnderRead,
    /// The storage failed an operation that a write to a new unit of allocation needed, and what was written
    /// to that unit from then on is zeroes at a later open.
    NewUnitLost,
    /// The same, where zeroes before did not give the unit a place.
    NewDataUnitLost,
    /// The storage failed a write to the table that lies one unit into the image, and what was written from
    /// then on is zeroes at a later open.
    FirstTableLost,
    /// The storage failed an operation that a write to a new unit needed, and that unit shows what was
    /// written to another new one, or the other way round.
    NewUnitShared,
    /// The storage failed a write of 4 bytes, an entry of a table, that a write of the guest needed; and the
    /// data of that write, which has failed, shows at a later open. Nothing was written to its unit since.
    FailedWriteAppears,
    /// The storage failed a sync, a question for its length, or an operation on what lies between 64 KiB and
    /// 2 MiB of the image, the headers and the log of VHDX, which a write to a new unit needed; and what was
    /// written to a new unit from then on is zeroes at a later open.
    LogUnwritten,
    /// A sync of the storage has failed.
    SyncFailed,
}

impl Deviation {
    /// Whether a finding is this one; `unit_bytes` is the unit of allocation.
    pub fn explains(&self, finding: &Finding, scenario: &Scenario, unit_bytes: u64) -> bool {
        let report = finding.report();
        let is_seen = !self.report.is_empty() && self.report.iter().all(|text| report.contains(text));
        is_seen && self.scenario.is_none_or(|happened| happened.is_in(finding, scenario, unit_bytes))
    }
}

impl Happened {
    fn is_in(self, finding: &Finding, scenario: &Scenario, unit_bytes: u64) -> bool {
        match self {
            Self::FreedThenReused => is_freed_then_reused(finding, scenario, unit_bytes.max(1)),
            Self::WrittenNotFlushed => is_written_not_flushed(finding, scenario),
            Self::EntryPastEnd => crash::is_entry_past_end(finding, scenario, unit_bytes.max(1)),
            Self::MarkAndEndLost => crash::is_mark_and_end_lost(finding, scenario),
            Self::KilledTwice => killed::is_killed_twice(finding, scenario),
            Self::KilledThenFreed => killed::is_killed_then_freed(finding, scenario),
            Self::KilledThenShared => killed::is_shared(finding, scenario, unit_bytes.max(1)),
            Self::Discarded => is_discarded(finding, scenario),
            Self::FreedInFlight => is_freed_in_flight(finding, scenario, unit_bytes.max(1)),
            Self::FreedUnderRead => is_freed_under_read(finding, scenario, unit_bytes.max(1)),
            Self::NewUnitLost => fault::is_new_unit_lost(finding, scenario, unit_bytes.max(1)),
            Self::NewDataUnitLost => fault::is_new_data_unit_lost(finding, scenario, unit_bytes.max(1)),
            Self::FirstTableLost => fault::is_first_table_lost(finding, scenario, unit_bytes.max(1)),
            Self::NewUnitShared => fault::is_new_unit_shared(finding, scenario, unit_bytes.max(1)),
            Self::FailedWriteAppears => fault::is_failed_write_there(finding, scenario, unit_bytes.max(1)),
            Self::LogUnwritten => fault::is_log_unwritten(finding, scenario, unit_bytes.max(1)),
            Self::SyncFailed => fault::is_sync_failed(finding),
        }
    }
}

/// Whether all that was written before is durable after it.
fn makes_durable(request: &Request) -> bool {
    matches!(request, Request::Flush | Request::Reopen { .. } | Request::Check { .. })
}

fn is_freeing(request: &Request) -> bool {
    matches!(request, Request::Discard { .. } | Request::WriteZeroes { unmap: true, .. })
}

fn is_freed_in_flight(finding: &Finding, scenario: &Scenario, unit_bytes: u64) -> bool {
    // Data at a wrong place is that of the write that was in flight.
    let misplaced = finding.difference.as_ref().and_then(|difference| match difference.found.source {
        Source::Stamped { writer: Writer::Request(writer), is_here: false, .. } => Some(writer),
        _ => None,
    });
    let differing = finding.difference.as_ref().filter(|_| misplaced.is_none());
    let differing = differing.map(|difference| difference.offset / unit_bytes);
    let numbers = finding.history.iter().map(|begun| begun.number);
    numbers.filter(|number| misplaced.is_none_or(|it| it == *number)).any(|number| {
        let Some(write @ Request::Write { .. }) = request(scenario, number) else { return false };
        let is_there = differing.is_none_or(|unit| units(&write, unit_bytes).contains(&unit));
        is_there && meets_freeing(finding, scenario, number, unit_bytes)
    })
}

fn is_freed_under_read(finding: &Finding, scenario: &Scenario, unit_bytes: u64) -> bool {
    let Some((number, _)) = finding.request else { return false };
    let is_read = matches!(request(scenario, number), Some(Request::Read { .. }));
    let is_of_elsewhere = finding.difference.as_ref().is_some_and(|difference| {
        matches!(
            difference.found.source,
            Source::Stamped { is_here: false, .. } | Source::Repeated(_) | Source::Unknown
        )
    });
    is_read && is_of_elsewhere && meets_freeing(finding, scenario, number, unit_bytes)
}

/// The units of allocation that a request touches.
fn units(request: &Request, unit_bytes: u64) -> Range<u64> {
    match request.range() {
        Some((start, length)) if length > 0 => {
            start / unit_bytes..start.saturating_add(length).div_ceil(unit_bytes)
        }
        _ => 0..0,
    }
}

/// The request of this number, counted from 1.
fn request(scenario: &Scenario, number: u32) -> Option<Request> {
    scenario.requests.get((number as usize).checked_sub(1)?).copied()
}

/// Whether a request was in flight with one that gives back a unit of it.
fn meets_freeing(finding: &Finding, scenario: &Scenario, number: u32, unit_bytes: u64) -> bool {
    let Some(touched) = request(scenario, number) else { return false };
    let touched = units(&touched, unit_bytes);
    let frees_it = |other: Request| {
        let freed = units(&other, unit_bytes);
        is_freeing(&other) && freed.start < touched.end && touched.start < freed.end
    };
    let begun = finding.history.iter().filter(|begun| begun.number == number);
    begun.flat_map(|begun| &begun.met).filter_map(|number| request(scenario, *number)).any(frees_it)
}

fn is_freed_then_reused(finding: &Finding, scenario: &Scenario, unit_bytes: u64) -> bool {
    let Some(difference) = &finding.difference else { return false };
    let unit = difference.offset / unit_bytes * unit_bytes;
    let unit_end = (unit + unit_bytes).min(scenario.config.size_bytes.max(unit + 1));
    let frees = |request: &Request| {
        let (start, length) = request.range().unwrap_or_default();
        is_freeing(request) && start <= unit && start.saturating_add(length) >= unit_end
    };
    let is_elsewhere = |request: &Request| {
        let (start, length) = request.range().unwrap_or_default();
        matches!(request, Request::Write { .. } | Request::WriteCompressed { .. })
            && (start >= unit_end || start.saturating_add(length) <= unit)
    };
    // The first write that may have taken the unit: the one whose data stands there, or, where that has no
    // stamp, the last one before the finding.
    let before = match difference.found.source {
        Source::Stamped { writer: Writer::Request(writer), is_here: false, .. } => {
            &scenario.requests[..scenario.requests.len().min((writer as usize).saturating_sub(1))]
        }
        Source::Unknown => {
            let last = match &finding.provoked {
                Some(Provoked::Crash(crash)) => crash.during.map_or(0, |(number, _)| number as usize),
                _ => finding.request.map_or(scenario.requests.len(), |(number, _)| number as usize),
            };
            let done = &scenario.requests[..scenario.requests.len().min(last)];
            let Some(reuse) = done.iter().rposition(is_elsewhere) else { return false };
            &done[..reuse]
        }
        _ => return false,
    };
    before.iter().rev().take_while(|request| !makes_durable(request)).any(frees)
}

fn is_discarded(finding: &Finding, scenario: &Scenario) -> bool {
    let Some(difference) = &finding.difference else { return false };
    let count = finding.request.map_or(scenario.requests.len(), |(number, _)| number as usize);
    // What reaches past the end is refused, and changes nothing.
    let size = disk_bytes(scenario);
    let covers = |request: &&Request| {
        let (start, length) = request.range().unwrap_or_default();
        let end = start.saturating_add(length);
        request.kind().changes_content()
            && start <= difference.offset
            && difference.offset < end
            && end <= size
    };
    let last = scenario.requests.iter().take(count).rev().find(covers);
    matches!(last, Some(Request::Discard { .. })) && difference.found.bytes.first() == Some(&0)
}

fn is_written_not_flushed(finding: &Finding, scenario: &Scenario) -> bool {
    let is_crashed = matches!(finding.provoked, Some(Provoked::Crash(_)));
    // The request of a finding after a crash is the one that was crashed.
    let asked = if is_crashed { finding.followed.last().copied() } else { finding.request };
    let Some((number, entry)) = asked else { return false };
    let Some(asked) = entry.extent() else { return false };
    let before = made(finding, scenario).filter(|(before, _)| *before < number);
    // What was held back before a crash is gone.
    let before: Vec<Entry> = before
        .filter(|(number, _)| !is_crashed || FOLLOW_UPS.contains(number))
        .map(|(_, entry)| entry)
        .collect();
    let writes = |entry: &&Entry| {
        changes(entry).is_some_and(|extent| extent.offset < asked.end() && asked.offset < extent.end())
    };
    // A check makes nothing durable where the driver has none.
    let is_flushed = |entry: &&Entry| matches!(entry.kind(), RequestKind::Flush | RequestKind::Reopen);
    before.iter().rev().take_while(|entry| !is_flushed(entry)).any(|entry| writes(&entry))
}

/// What was made of the disk: all requests of the scenario, and those after a crash or a fault.
fn made(finding: &Finding, scenario: &Scenario) -> impl Iterator<Item = (u32, Entry)> {
    let requests = (1..).zip(scenario.requests.iter().map(|request| Entry::from(*request)));
    requests.chain(finding.followed.iter().copied())
}

/// Whether a request may have written this byte, and no other; of one that follows a crash or a fault, more
/// than its kind is not known.
fn is_filled(scenario: &Scenario, (number, entry): (u32, Entry), byte: u8) -> bool {
    if entry.kind() == RequestKind::WriteZeroes {
        return byte == 0;
    }
    match request(scenario, number) {
        Some(Request::Write { fill, .. } | Request::WriteCompressed { fill, .. }) => fill == Fill::Byte(byte),
        _ => FOLLOW_UPS.contains(&number) && entry.kind() == RequestKind::Write,
    }
}

/// What a request changes, if it changes some bytes.
fn changes(entry: &Entry) -> Option<Extent> {
    entry.extent().filter(|extent| entry.kind().changes_content() && !extent.is_empty())
}

const SECTOR_BYTES: u64 = 512;

/// How large the disk is: sectors, and one at least.
fn disk_bytes(scenario: &Scenario) -> u64 {
    scenario.config.size_bytes.max(1).next_multiple_of(SECTOR_BYTES)
}

/// Whether each driver takes a request of these bytes: some refuse what is not of whole sectors.
fn is_taken(extent: Extent, scenario: &Scenario) -> bool {
    let is_whole = extent.offset.is_multiple_of(SECTOR_BYTES) && extent.length.is_multiple_of(SECTOR_BYTES);
    is_whole && extent.checked_end().is_some_and(|end| end <= disk_bytes(scenario))
}

/// The units of allocation that some bytes touch.
fn units_of(extent: Extent, unit_bytes: u64) -> Range<u64> {
    extent.offset / unit_bytes..extent.end().div_ceil(unit_bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use blk_harness::Signature;
    use blk_harness::finding::{Begun, Crash, Difference, Side};

    pub(super) const UNIT: u64 = 64 << 10;

    pub(super) fn deviation(scenario: Option<Happened>) -> Deviation {
        let report = vec!["wrong".to_owned()];
        Deviation { name: "x".to_owned(), report, scenario, about: String::new() }
    }

    pub(super) fn scenario(text: &str) -> Scenario {
        Scenario::from_text(&format!("blk-scenario 1\nconfig size-bytes=128k\n{text}")).unwrap()
    }

    /// Data that request `writer` wrote for another place stands at `offset`.
    pub(super) fn misplaced(offset: u64, writer: u32) -> Finding {
        let source = Source::Stamped {
            writer: Writer::Request(writer),
            request: None,
            address: 64 << 10,
            is_here: false,
        };
        let found = Side { bytes: vec![1], source };
        let difference = Difference { compared: None, offset, expected: Vec::new(), found };
        let mut finding = Finding::new(Signature::Size, "wrong");
        finding.difference = Some(Box::new(difference));
        finding
    }

    /// The finding, noticed by the last of these requests after a crash or a fault.
    pub(super) fn followed_by(finding: Finding, text: &str) -> Finding {
        let requests = scenario(text).requests;
        let followed = (FOLLOW_UPS.start..).zip(requests.iter().map(|request| Entry::from(*request)));
        Finding { followed: followed.collect(), ..finding }
    }

    #[test]
    fn only_a_unit_that_was_freed_before_its_reuse_and_not_flushed_is_explained() {
        let known = deviation(Some(Happened::FreedThenReused));
        for (text, offset, expected) in [
            ("write -z -u 0 128k\nwrite 64k 512", 0, true),
            ("discard 0 64k\nwrite 64k 512", 4096, true),
            ("discard 0 64k\nflush\nwrite 64k 512", 0, false),
            ("discard 512 4k\nwrite 64k 512", 512, false),
            ("write -z 0 128k\nwrite 64k 512", 0, false),
            ("write 0 128k\nwrite 64k 512", 0, false),
            ("discard 64k 64k\nwrite 64k 512", 0, false),
        ] {
            let scenario = scenario(text);
            let finding = misplaced(offset, scenario.requests.len() as u32);
            assert_eq!(known.explains(&finding, &scenario, UNIT), expected, "{text}, at {offset}");
            assert!(deviation(None).explains(&finding, &scenario, UNIT));
        }
        let after = scenario("write 64k 512\ndiscard 0 64k");
        assert!(!known.explains(&misplaced(0, 1), &after, UNIT), "it was freed after the write");
    }

    #[test]
    fn only_a_unit_that_was_freed_while_a_write_of_it_was_in_flight_is_explained() {
        let known = deviation(Some(Happened::FreedInFlight));
        for (text, met, expected) in [
            ("write 0 512\ndiscard 0 64k", vec![2], true),
            ("write 0 512\nwrite -z -u 4k 512", vec![2], true),
            ("write 0 512\ndiscard 0 64k", vec![], false),
            ("write 0 512\ndiscard 64k 64k", vec![2], false),
            ("write 0 512\nwrite -z 4k 512", vec![2], false),
            ("read 0 512\ndiscard 0 64k", vec![2], false),
        ] {
            let begun = Begun { number: 1, request: String::new(), is_in_flight: false, met };
            let mut finding = Finding::new(Signature::Size, "wrong");
            finding.history = vec![begun.clone()];
            assert_eq!(known.explains(&finding, &scenario(text), UNIT), expected, "{text}");
            for (offset, is_written) in [(0, true), (UNIT - 1, true), (UNIT, false), (4 * UNIT, false)] {
                let mut finding = misplaced(offset, 1);
                finding.difference.as_mut().unwrap().found.source = Source::Zeroes;
                finding.history = vec![begun.clone()];
                let is_known = known.explains(&finding, &scenario(text), UNIT);
                assert_eq!(is_known, expected && is_written, "{text}: zeroes at {offset}");
            }
        }
    }

    #[test]
    fn only_a_read_in_flight_with_a_discard_of_its_unit_is_freed_under_a_read() {
        let known = deviation(Some(Happened::FreedUnderRead));
        for (text, number, met, expected) in [
            ("read 0 512\ndiscard 0 64k\nwrite 64k 512", 1, vec![2, 3], true),
            ("read 0 512\nwrite -z -u 4k 512\nwrite 64k 512", 1, vec![2, 3], true),
            ("read 0 512\ndiscard 0 64k\nread 0 512", 3, vec![2], false),
            ("read 0 512\ndiscard 64k 64k\nwrite 64k 512", 1, vec![2, 3], false),
            ("write 0 512\ndiscard 0 64k\nwrite 64k 512", 1, vec![2, 3], false),
            ("read 0 512\ndiscard 0 64k\nwrite 64k 512", 1, vec![3], false),
        ] {
            let begun = Begun { number: 1, request: String::new(), is_in_flight: false, met };
            let mut finding = misplaced(0, 3);
            finding.history = vec![begun];
            finding.request = Some((number, scenario(text).requests[number as usize - 1].into()));
            assert_eq!(known.explains(&finding, &scenario(text), UNIT), expected, "{text}");
            finding.difference.as_mut().unwrap().found.source = Source::Zeroes;
            assert!(!known.explains(&finding, &scenario(text), UNIT), "zeroes are of no other address");
        }
    }

    #[test]
    fn data_without_a_stamp_is_that_of_the_last_write_elsewhere() {
        let known = deviation(Some(Happened::FreedThenReused));
        for (text, expected) in [
            ("write 64k 512\nwrite -z -u 64k 64k\nwrite 0 1", true),
            ("write 64k 512\nwrite -z -u 64k 64k\nflush\nwrite 0 1", false),
            ("write 64k 512\nwrite -z -u 64k 64k\nwrite 64k 1", false),
            ("write 64k 512\nwrite 0 1", false),
        ] {
            let mut finding = misplaced(64 << 10, 1);
            finding.difference.as_mut().unwrap().found.source = Source::Unknown;
            assert_eq!(known.explains(&finding, &scenario(text), UNIT), expected, "{text}");
        }
    }

    #[test]
    fn only_what_was_discarded_last_is_explained_by_a_discard() {
        let known = deviation(Some(Happened::Discarded));
        for (text, expected) in [
            ("write 0 512\ndiscard 0 512\nreopen", true),
            ("discard 0 512\nwrite 0 512\nreopen", false),
            ("discard 0 512\nwrite 0 1G\nreopen", true),
            ("write 0 512\ndiscard 512 512\nreopen", false),
            ("write 0 512\nwrite -z -u 0 512\nreopen", false),
        ] {
            let mut finding = misplaced(0, 1);
            assert!(!known.explains(&finding, &scenario(text), UNIT), "{text}: it is no zero");
            finding.difference.as_mut().unwrap().found.bytes = vec![0, 1];
            assert_eq!(known.explains(&finding, &scenario(text), UNIT), expected, "{text}");
        }
    }

    #[test]
    fn only_what_was_written_there_and_not_flushed_is_explained() {
        let known = deviation(Some(Happened::WrittenNotFlushed));
        for (text, expected) in [
            ("write 0 512\nmap 0 512", true),
            ("write 0 512\nwrite 4k 512\nmap 0 64k", true),
            ("write 0 512\nflush\nmap 0 512", false),
            ("write 0 512\nreopen\nmap 0 512", false),
            ("write 0 512\ncheck\nmap 0 512", true),
            ("write 4k 512\nmap 0 512", false),
            ("read 0 512\nmap 0 512", false),
        ] {
            let scenario = scenario(text);
            let number = scenario.requests.len();
            let map = scenario.requests[number - 1];
            let finding = Finding::new(Signature::Status { claim: "zero" }, "wrong");
            let finding = finding.noticed_by(number as u32, map);
            assert_eq!(known.explains(&finding, &scenario, UNIT), expected, "{text}");
        }
        assert!(!known.explains(&Finding::new(Signature::Size, "right"), &scenario("flush"), UNIT));
        let nothing = Deviation { report: Vec::new(), ..known };
        let map = scenario("write 0 512\nmap 0 512");
        let finding = Finding::new(Signature::Size, "wrong").noticed_by(2, map.requests[1]);
        assert!(!nothing.explains(&finding, &map, UNIT), "without a text nothing is known");
    }

    #[test]
    fn a_follow_up_request_is_explained_by_what_was_written_before_it() {
        let known = deviation(Some(Happened::WrittenNotFlushed));
        let scenario = scenario("write 0 512\nwrite 32k 512");
        for (is_crashed, followed, expected) in [
            (true, "write 0 512\nmap 0 512", true),
            (true, "write 4k 512\nmap 0 512", false),
            (true, "write 0 512\nflush\nmap 0 512", false),
            (true, "map 0 512", false),
            (false, "map 0 512", true),
            (false, "map 16k 512", false),
        ] {
            let mut finding =
                followed_by(Finding::new(Signature::Status { claim: "zero" }, "wrong"), followed);
            let crashed = Some((1, scenario.requests[0].into()));
            finding.request = if is_crashed { crashed } else { finding.followed.last().copied() };
            let crash = Crash { during: None, operation: 1, pending: Vec::new() };
            finding.provoked = is_crashed.then_some(Provoked::Crash(crash));
            assert_eq!(known.explains(&finding, &scenario, UNIT), expected, "{is_crashed}: {followed}");
        }
    }
}
