use super::*;
use blk_harness::Signature;
use blk_harness::finding::{Begun, Crash, Difference, Side};

pub(super) const UNIT: u64 = 64 << 10;

pub(super) fn deviation(scenario: Option<Happened>) -> Deviation {
    let report = vec!["wrong".to_owned()];
    Deviation { name: "x".to_owned(), report, scenario, about: String::new() }
}

/// Requests on a small disk, after a line of options if the text begins with `config`.
pub(super) fn scenario(text: &str) -> Scenario {
    let (options, text) = match text.strip_prefix("config ").and_then(|text| text.split_once('\n')) {
        Some((options, requests)) => (options, requests),
        None => ("", text),
    };
    Scenario::from_text(&format!("blk-scenario 1\nconfig size-bytes=128k {options}\n{text}")).unwrap()
}

/// Data that request `writer` wrote for another place stands at `offset`.
pub(super) fn misplaced(offset: u64, writer: u32) -> Finding {
    let source =
        Source::Stamped { writer: Writer::Request(writer), request: None, address: 64 << 10, is_here: false };
    let found = Side { bytes: vec![1], source, sector: Vec::new() };
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
        ("config compat=0.10\nwrite -z 0 128k\nwrite 64k 512", 0, true),
        ("config compat=1.1\nwrite -z 0 128k\nwrite 64k 512", 0, false),
        ("config compat=0.10 detect-zeroes=on\nwrite -P 0 0 128k\nwrite 64k 512", 0, true),
        ("config compat=0.10 detect-zeroes=on\nwrite -P 1 0 128k\nwrite 64k 512", 0, false),
        ("config compat=0.10\nwrite -P 0 0 128k\nwrite 64k 512", 0, false),
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
    for (text, source, offset, expected) in [
        ("discard 0 64k\nwrite 65552 1", Source::Zeroes, 0, true),
        ("discard 0 64k\nwrite 65552 1", Source::Zeroes, 512, false),
        ("discard 0 64k\nwrite 64k 513", Source::Zeroes, 512, true),
        ("discard 0 64k\nwrite 64k 512", Source::Zeroes, 0, false),
        ("discard 0 64k\nflush\nwrite 65552 1", Source::Zeroes, 0, false),
        ("write 65552 1\ndiscard 0 64k", Source::Zeroes, 0, false),
        ("discard 0 64k\nwrite -P 0 64k 512", Source::Zeroes, 0, true),
        ("discard 0 64k\nwrite -P 7 64k 512", Source::Repeated(7), 0, true),
        ("discard 0 64k\nwrite -P 7 65k 512", Source::Repeated(7), 1024, true),
        ("discard 0 64k\nwrite -P 7 65k 512", Source::Repeated(7), 0, false),
        ("discard 0 64k\nwrite -P 8 64k 512", Source::Repeated(7), 0, false),
        ("discard 0 64k\nflush\nwrite -P 7 64k 512", Source::Repeated(7), 0, false),
        ("discard 0 64k\nwrite -P 7 64k 512\nwrite 64k 512", Source::Repeated(7), 0, true),
    ] {
        let mut finding = misplaced(offset, 1);
        finding.difference.as_mut().unwrap().found.source = source;
        assert_eq!(known.explains(&finding, &scenario(text), UNIT), expected, "{text}, {source} at {offset}");
    }
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
            let is_known = [Happened::FreedInFlight, Happened::FreedInFlightZero]
                .map(|happened| deviation(Some(happened)).explains(&finding, &scenario(text), UNIT));
            assert_eq!(is_known, [expected && is_written; 2], "{text}: zeroes at {offset}");
            finding.difference.as_mut().unwrap().found.source = Source::Unknown;
            let zero = deviation(Some(Happened::FreedInFlightZero));
            assert!(!zero.explains(&finding, &scenario(text), UNIT), "{text}: no zeroes at {offset}");
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
    for (text, during, expected) in [
        ("discard 0 512\nflush\nwrite 0 512\nflush", 4, true),
        ("discard 0 512\nflush\nwrite 0 512\nflush", 3, true),
        ("discard 0 512\nwrite 0 512\nflush\nwrite 512 512", 4, false),
        ("discard 0 512\nflush\nwrite -f 0 512\nflush", 4, false),
        ("write 0 512\nflush\nwrite 0 512\nflush", 4, false),
        ("write 0 512\nflush", 2, false),
    ] {
        let scenario = scenario(text);
        let mut finding = misplaced(0, 1);
        finding.difference.as_mut().unwrap().found.bytes = vec![0, 1];
        let during = Some((during, Entry::from(scenario.requests[during as usize - 1])));
        finding.provoked = Some(Provoked::Crash(Crash { during, operation: 1, pending: Vec::new() }));
        assert_eq!(known.explains(&finding, &scenario, UNIT), expected, "crashed: {text}");
    }
    let text = scenario("discard 0 4k\nflush");
    for (followed, expected) in [("read 0 512", true), ("write 0 4k\nread 0 512", false)] {
        let mut finding = followed_by(misplaced(0, 1), followed);
        finding.difference.as_mut().unwrap().found.bytes = vec![0];
        let crash = Crash { during: Some((2, Request::Flush.into())), operation: 1, pending: Vec::new() };
        for provoked in [None, Some(Provoked::Crash(crash))] {
            finding.provoked = provoked;
            assert_eq!(known.explains(&finding, &text, UNIT), expected, "{followed}");
        }
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
        let mut finding = followed_by(Finding::new(Signature::Status { claim: "zero" }, "wrong"), followed);
        let crashed = Some((1, scenario.requests[0].into()));
        finding.request = if is_crashed { crashed } else { finding.followed.last().copied() };
        let crash = Crash { during: None, operation: 1, pending: Vec::new() };
        finding.provoked = is_crashed.then_some(Provoked::Crash(crash));
        assert_eq!(known.explains(&finding, &scenario, UNIT), expected, "{is_crashed}: {followed}");
    }
}
