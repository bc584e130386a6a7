//! What is known to be wrong with a driver, and which findings that explains.

mod crash;
mod fault;

use std::ops::Range;

use blk_harness::Finding;
use blk_harness::finding::{Provoked, Source};
use blk_harness::scenario::{Fill, Request, Scenario};
use blk_harness::stamp::Writer;
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
    /// A part of the range that the finding is about was written, and neither flushed nor closed since; or
    /// may have been, by one of the requests that follow a crash or a fault.
    WrittenNotFlushed,
    /// The crash lost the end of what was appended to the storage, and kept a later write of 4 bytes, with no
    /// sync between the two: an entry of a table that refers past the end. The data of a request after the
    /// crash stands at the wrong address then; one of the two addresses was written before the crash, and
    /// neither flushed nor closed. Of data without a stamp no address is known.
    EntryPastEnd,
    /// The crash lost a write to the first sector of the storage, where a driver marks the image as one that
    /// has to be checked, and after it the end of what was appended, and kept a later write of whole sectors:
    /// a table that refers past the end, and no mark.
    MarkAndEndLost,
    /// The driver was killed, or its storage crashed, and has opened the image again.
    Killed,
    /// The driver was killed and has opened the image again, and data stands where what was written since may
    /// stand if two units share their place: stamped data at a wrong address, where one of the two units was
    /// written since; a byte, repeated, that was written to another unit since; data without a stamp, or
    /// zeroes, if another unit was written at all.
    KilledThenShared,
    /// The first byte that differs was discarded, and not written since.
    Discarded,
    /// A write was in flight with a discard, or with zeroes that may unmap, of the same unit of allocation.
    FreedInFlight,
    /// A read that shows wrong data was in flight with a discard, or with zeroes that may unmap, of the same
    /// unit of allocation.
    FreedUnderRead,
    /// The storage failed a write, or a change of the file's length, that a write of the guest needed, and
    /// the data that is wrong is in a unit of allocation that this request, or one after it, wrote to.
    WriteFailed,
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
            Self::MarkAndEndLost => crash::is_mark_and_end_lost(finding),
            Self::Killed => is_killed(finding, scenario),
            Self::KilledThenShared => is_killed_then_shared(finding, scenario, unit_bytes.max(1)),
            Self::Discarded => is_discarded(finding, scenario),
            Self::FreedInFlight => is_freed_in_flight(finding, scenario, unit_bytes.max(1)),
            Self::FreedUnderRead => is_freed_under_read(finding, scenario, unit_bytes.max(1)),
            Self::WriteFailed => fault::is_write_failed(finding, scenario, unit_bytes.max(1)),
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
    let numbers = finding.history.iter().map(|begun| begun.number);
    numbers.filter(|number| misplaced.is_none_or(|it| it == *number)).any(|number| {
        let is_write = matches!(request(scenario, number), Some(Request::Write { .. }));
        is_write && meets_freeing(finding, scenario, number, unit_bytes)
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
    let (start, length) = request.range().unwrap_or_default();
    start / unit_bytes..start.saturating_add(length).div_ceil(unit_bytes)
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
    let covers = |request: &&Request| {
        let (start, length) = request.range().unwrap_or_default();
        request.kind().changes_content()
            && start <= difference.offset
            && start.saturating_add(length) > difference.offset
    };
    let last = scenario.requests.iter().take(count).rev().find(covers);
    matches!(last, Some(Request::Discard { .. }))
}

fn is_written_not_flushed(finding: &Finding, scenario: &Scenario) -> bool {
    let Some((number, entry)) = finding.request else { return false };
    // Before follow-up requests, which stand in no scenario, others have written, without a flush.
    if number as usize > scenario.requests.len() {
        return true;
    }
    let Some(asked) = entry.extent() else { return false };
    let before = scenario.requests.iter().take((number as usize).saturating_sub(1));
    let writes = |request: &Request| {
        let (start, length) = request.range().unwrap_or_default();
        request.kind().changes_content() && start < asked.end() && start.saturating_add(length) > asked.offset
    };
    before.rev().take_while(|request| !makes_durable(request)).any(writes)
}

fn is_killed(finding: &Finding, scenario: &Scenario) -> bool {
    // What is noticed by no request is noticed at the end.
    let count = finding.request.map_or(scenario.requests.len(), |(number, _)| number as usize);
    let before = scenario.requests.iter().take(count);
    matches!(finding.provoked, Some(Provoked::Crash(_)))
        || before.into_iter().any(|request| matches!(request, Request::Reopen { kill: true }))
}

fn is_killed_then_shared(finding: &Finding, scenario: &Scenario, unit_bytes: u64) -> bool {
    let Some(difference) = &finding.difference else { return false };
    let count = finding.request.map_or(scenario.requests.len(), |(number, _)| number as usize);
    let done = &scenario.requests[..scenario.requests.len().min(count)];
    let Some(kill) = done.iter().position(|request| *request == Request::Reopen { kill: true }) else {
        return false;
    };
    let is_write = |request: &&Request| {
        matches!(
            request,
            Request::Write { .. } | Request::WriteZeroes { .. } | Request::WriteCompressed { .. }
        )
    };
    let touches =
        |request: &Request, address: u64| units(request, unit_bytes).contains(&(address / unit_bytes));
    let leaves_unit = |request: &Request| {
        let (start, length) = request.range().unwrap_or_default();
        let unit = difference.offset / unit_bytes * unit_bytes;
        length > 0 && (start < unit || start.saturating_add(length) > unit + unit_bytes)
    };
    let mut since = done[kill..].iter().filter(is_write);
    match difference.found.source {
        Source::Stamped { writer: Writer::Request(_), address, is_here: false, .. } => {
            since.any(|request| touches(request, difference.offset) || touches(request, address))
        }
        Source::Repeated(byte) => since.any(|request| {
            let fill = match *request {
                Request::Write { fill, .. } | Request::WriteCompressed { fill, .. } => Some(fill),
                _ => None,
            };
            fill == Some(Fill::Byte(byte)) && leaves_unit(request)
        }),
        Source::Zeroes | Source::Unknown => since.any(leaves_unit),
        Source::Stamped { .. } | Source::PastEnd => false,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use blk_harness::Signature;
    use blk_harness::finding::{Begun, Difference, Side};

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
            finding.history = vec![begun];
            assert_eq!(known.explains(&finding, &scenario(text), UNIT), expected, "{text}");
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
            ("write 0 512\ndiscard 512 512\nreopen", false),
            ("write 0 512\nwrite -z -u 0 512\nreopen", false),
        ] {
            assert_eq!(known.explains(&misplaced(0, 1), &scenario(text), UNIT), expected, "{text}");
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
    }

    #[test]
    fn only_what_was_written_after_a_kill_is_shared_by_it() {
        let known = deviation(Some(Happened::KilledThenShared));
        let stamped = misplaced(0, 1).difference.unwrap().found.source;
        for (source, text, expected) in [
            (stamped, "write 64k 512\nkill\nwrite 0 512", true),
            (stamped, "write 0 512\nkill\nwrite 64k 512", true),
            (stamped, "write 0 512\nkill\nread 64k 512", false),
            (stamped, "write 64k 512\nreopen\nwrite 0 512", false),
            (stamped, "write 64k 512\nwrite 0 512\nkill", false),
            (Source::Repeated(7), "kill\nwrite -P 7 64k 512", true),
            (Source::Repeated(7), "kill\nwrite -P 8 64k 512", false),
            (Source::Repeated(7), "kill\nwrite -P 7 4k 512", false),
            (Source::Repeated(7), "write -P 7 64k 512\nkill", false),
            (Source::Zeroes, "kill\nwrite 64k 512", true),
            (Source::Zeroes, "kill\nwrite 4k 512", false),
            (Source::Unknown, "kill\ndiscard 64k 512", false),
            (Source::PastEnd, "kill\nwrite 64k 512", false),
        ] {
            let mut finding = misplaced(0, 1);
            finding.difference.as_mut().unwrap().found.source = source;
            assert_eq!(known.explains(&finding, &scenario(text), UNIT), expected, "{source}: {text}");
        }
        let words = Finding::new(Signature::Size, "wrong");
        assert!(!known.explains(&words, &scenario("kill\nwrite 64k 512"), UNIT), "no bytes are wrong");
    }

    #[test]
    fn a_kill_explains_what_comes_after_it() {
        let known = deviation(Some(Happened::Killed));
        for (text, expected) in [
            ("write 0 512\nkill\nwrite 64k 512", true),
            ("write 0 512\nreopen\nwrite 64k 512", false),
            ("write 0 512\nflush\nwrite 64k 512", false),
        ] {
            let scenario = scenario(text);
            let finding = Finding::new(Signature::Size, "wrong").noticed_by(3, scenario.requests[2]);
            assert_eq!(known.explains(&finding, &scenario, UNIT), expected, "{text}");
        }
        let later = scenario("write 0 512\nwrite 64k 512\nkill");
        let finding = Finding::new(Signature::Size, "wrong").noticed_by(2, later.requests[1]);
        assert!(!known.explains(&finding, &later, UNIT), "the kill came after it");
        assert!(known.explains(&Finding::new(Signature::Size, "wrong"), &later, UNIT), "at the end");
        let nothing = Deviation { report: Vec::new(), ..known };
        assert!(
            !nothing.explains(&finding, &scenario("kill\nflush"), UNIT),
            "without a text nothing is known"
        );
    }
}
