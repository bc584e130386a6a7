//! The minimiser against judges whose smallest failing scenario is known.

use blk_harness::generate::{Generator, Limits};
use blk_harness::minimise::{Minimised, Options, minimise, minimise_until};
use blk_harness::scenario::{Backing, Config, Fill, Repair, Request, RequestKind, Scenario};
use blk_testbed::QCOW2;

/// Long random scenarios, in which the judges below find their bug or not.
fn long(seed: u64) -> impl Iterator<Item = Scenario> {
    let limits = Limits { requests_min: 100, requests_max: 100, ..Limits::default() };
    Generator::new(&QCOW2, seed, limits)
}

/// Minimises the first `count` scenarios that fail, and checks what holds for every result.
fn minimised<S: Eq + Clone + std::fmt::Debug>(
    seed: u64,
    count: usize,
    mut judge: impl FnMut(&Scenario) -> Option<S>,
) -> Vec<Minimised<S>> {
    let failing: Vec<Scenario> =
        long(seed).filter(|scenario| judge(scenario).is_some()).take(count).collect();
    let mut check = |scenario: &Scenario| {
        let signature = judge(scenario);
        let result = minimise(&QCOW2, scenario, &mut judge, &Options::default()).expect("it fails");
        assert_eq!(Some(&result.signature), signature.as_ref());
        assert_eq!(judge(&result.scenario), signature, "{}", result.scenario);
        assert!(result.is_fixed_point && result.tries < 5000, "{} tries", result.tries);
        let again = minimise(&QCOW2, &result.scenario, &mut judge, &Options::default()).expect("it fails");
        assert_eq!(again.scenario, result.scenario, "a fixed point");
        result
    };
    failing.iter().map(&mut check).collect()
}

fn text(scenario: &Scenario) -> Vec<String> {
    scenario.to_text().lines().skip(1).map(str::to_owned).collect()
}

fn overlap(first: &Request, second: &Request) -> bool {
    match (first.range(), second.range()) {
        (Some(a), Some(b)) => a.1 > 0 && b.1 > 0 && a.0 < b.0 + b.1 && b.0 < a.0 + a.1,
        _ => false,
    }
}

/// The requests that lie in the disk: a driver does nothing for the others.
fn accepted(scenario: &Scenario) -> impl Iterator<Item = &Request> {
    let size = scenario.config.size_bytes;
    scenario.requests.iter().filter(move |request| {
        request
            .range()
            .is_none_or(|(offset, length)| offset.checked_add(length).is_some_and(|end| end <= size))
    })
}

/// Fails at a read of what was written after a discard of it: three requests in that order.
fn write_after_discard(scenario: &Scenario) -> Option<&'static str> {
    let requests: Vec<&Request> = accepted(scenario).collect();
    let of = |kind| (0..requests.len()).filter(|&at| requests[at].kind() == kind).collect::<Vec<usize>>();
    let (discards, writes, reads) = (of(RequestKind::Discard), of(RequestKind::Write), of(RequestKind::Read));
    discards.iter().find_map(|&discard| {
        let write = *writes.iter().find(|&&at| at > discard && overlap(requests[at], requests[discard]))?;
        reads.iter().find(|&&at| at > write && overlap(requests[at], requests[write])).map(|_| "bug")
    })
}

#[test]
fn three_requests_out_of_a_hundred() {
    for result in minimised(1, 20, write_after_discard) {
        let lines = text(&result.scenario);
        let core = ["discard 0 512", "write 0 512", "read 0 512"];
        assert_eq!(&lines[lines.len() - 3..], core, "{lines:?}");
        assert_eq!(lines[0], "config size-bytes=512", "{lines:?}");
    }
}

#[test]
fn a_hint_spares_tries() {
    let judge = write_after_discard;
    let scenario = long(1).find(|scenario| judge(scenario).is_some()).expect("some fail");
    let prefix_fails = |&length: &usize| {
        let requests = scenario.requests[..length].to_vec();
        judge(&Scenario { config: scenario.config.clone(), requests, ..Scenario::default() }).is_some()
    };
    let first_failure = (0..=100).find(prefix_fails).expect("the whole fails") - 1;
    let with = Options { failing_request: Some(first_failure), ..Options::default() };
    let hinted = minimise(&QCOW2, &scenario, judge, &with).expect("it fails");
    let plain = minimise(&QCOW2, &scenario, judge, &Options::default()).expect("it fails");
    assert_eq!(hinted.scenario, plain.scenario);
    assert!(hinted.tries <= plain.tries + 1, "{} and {}", hinted.tries, plain.tries);
}

/// Two bugs in one scenario: the search must not slip from the one to the other.
#[test]
fn the_signature_is_kept() {
    #[derive(Debug, Clone, PartialEq, Eq)]
    enum Bug {
        Compressed,
        Plain,
    }
    let judge = |scenario: &Scenario| {
        let kinds: Vec<RequestKind> = scenario.requests.iter().map(Request::kind).collect();
        let after = |kind| {
            kinds.iter().position(|&k| k == kind).is_some_and(|at| kinds[at..].contains(&RequestKind::Reopen))
        };
        match () {
            () if after(RequestKind::WriteCompressed) => Some(Bug::Compressed),
            () if kinds.contains(&RequestKind::Write) => Some(Bug::Plain),
            () => None,
        }
    };
    for result in minimised(2, 20, judge) {
        let lines = text(&result.scenario);
        match result.signature {
            Bug::Compressed => assert_eq!(lines[1..], ["write -c 0 0", "reopen"], "{lines:?}"),
            Bug::Plain => assert_eq!(lines[1..], ["write 0 0"], "{lines:?}"),
        }
    }
}

#[test]
fn configuration_goes_back_to_the_default_as_far_as_it_may() {
    let judge = |scenario: &Scenario| {
        let config = &scenario.config;
        let fails = config.options.number("l2-cache-slices") == Some(1)
            && config.backing != Backing::None
            && config.options.number("refcount_bits").is_some_and(|bits| bits < 16);
        (fails && !scenario.requests.is_empty()).then_some("bug")
    };
    for result in minimised(3, 20, judge) {
        let config = &result.scenario.config;
        let refcount_bits = config.options.get("refcount_bits").expect("it is needed").to_string();
        let expected = Config { size_bytes: 0, backing: Backing::Raw, ..Config::default() }
            .with("l2-cache-slices", "1")
            .with("refcount_bits", &refcount_bits);
        assert_eq!(*config, expected);
        assert_eq!(result.scenario.requests.len(), 1);
    }
}

/// Two clusters at a distance, not at the beginning: geometry must come down without losing who is whose
/// neighbour.
#[test]
fn geometry_comes_down() {
    let judge = |scenario: &Scenario| {
        let cluster = QCOW2.geometry(&scenario.config).unit_bytes;
        let whole: Vec<u64> = accepted(scenario)
            .filter_map(|request| match *request {
                Request::Write { offset, length, .. } if length >= cluster && offset >= cluster => {
                    Some(offset / cluster)
                }
                _ => None,
            })
            .collect();
        whole.iter().any(|&a| whole.iter().any(|&b| b > a + 1)).then_some("two far writes")
    };
    for result in minimised(4, 20, judge) {
        let lines = text(&result.scenario);
        let mut requests = lines[1..].to_vec();
        requests.sort();
        assert_eq!(requests, ["write 192k 64k", "write 64k 64k"], "{lines:?}");
        assert_eq!(lines[0], "config size-bytes=256k");
    }
}

/// A bug of unaligned ranges and flags: what is needed stays.
#[test]
fn flags_and_odd_bytes_stay_when_they_matter() {
    let judge = |scenario: &Scenario| {
        let hits = |request: &Request| match *request {
            Request::WriteZeroes { offset, length, unmap, .. } => unmap && offset % 512 == 1 && length > 3,
            _ => false,
        };
        scenario.requests.iter().any(hits).then_some("odd zeroes")
    };
    for result in minimised(5, 10, judge) {
        assert_eq!(text(&result.scenario)[1..], ["write -z -u 1 512"]);
    }
}

#[test]
fn requests_that_need_one_another_go_in_pairs() {
    // Fails while there are as many reopens as checks, and a flush.
    let judge = |scenario: &Scenario| {
        let count = |kind| scenario.requests.iter().filter(|request| request.kind() == kind).count();
        let balanced = count(RequestKind::Reopen) == count(RequestKind::Check);
        (balanced && count(RequestKind::Resize) > 0).then_some("balanced")
    };
    let requests = vec![
        Request::Reopen { kill: false },
        Request::Resize { size: 5000 },
        Request::Check { repair: Repair::None },
        Request::Check { repair: Repair::None },
        Request::Reopen { kill: false },
    ];
    let scenario = Scenario { requests, ..Scenario::default() };
    let result = minimise(&QCOW2, &scenario, judge, &Options::default()).expect("it fails");
    assert_eq!(text(&result.scenario)[1..], ["truncate 0"]);
}

#[test]
fn tries_are_bounded_and_the_caller_may_stop() {
    let judge = write_after_discard;
    let scenario = long(1).find(|scenario| judge(scenario).is_some()).expect("some fail");
    let mut asked = 0;
    let counting = |scenario: &Scenario| {
        asked += 1;
        judge(scenario)
    };
    let few = minimise(&QCOW2, &scenario, counting, &Options { tries_max: 10, ..Options::default() })
        .expect("it fails");
    assert!(asked == 11 && few.tries == 11 && !few.is_fixed_point, "{asked} {few:?}");
    let mut left = 5;
    let stopped = minimise_until(&QCOW2, &scenario, judge, &Options::default(), || {
        left -= 1;
        left == 0
    });
    assert!(stopped.is_some_and(|result| !result.is_fixed_point && result.tries == 5));
}

#[test]
fn what_passes_is_not_minimised() {
    assert_eq!(minimise(&QCOW2, &Scenario::default(), |_| None::<()>, &Options::default()), None);
}

#[test]
fn extreme_numbers_do_no_harm() {
    let (offset, length) = (u64::MAX, u64::MAX);
    let requests = vec![
        Request::Discard { offset, length },
        Request::Write { offset, length: 1, fill: Fill::Byte(255), fua: true },
        Request::Resize { size: u64::MAX },
        Request::Read { offset: 0, length },
    ];
    let config = Config {
        size_bytes: u64::MAX,
        backing: Backing::Chain,
        backing_bytes: u64::MAX,
        ..Config::default()
    };
    let scenario = Scenario { config, requests, ..Scenario::default() };
    let judge = |scenario: &Scenario| (scenario.requests.len() == 4).then_some(());
    let result = minimise(&QCOW2, &scenario, judge, &Options::default()).expect("it fails");
    assert_eq!(text(&result.scenario)[1..], ["read 0 0", "read 0 0", "flush", "read 0 0"]);
}

#[test]
fn rescaling_keeps_who_is_at_which_edge() {
    let text = "blk-scenario 1\nconfig size-bytes=32769 cluster-bits=12\nwrite 4k 4k\nread 8191 2\ndiscard 100 12k\ntruncate 40k\n";
    let scenario: Scenario = text.parse().expect("a well-formed text");
    let scaled = scenario.rescale(&QCOW2, 1 << 16).to_text();
    let expected = "blk-scenario 1\nconfig size-bytes=524289\nwrite 64k 64k\nread 131071 2\ndiscard 100 192k\ntruncate 640k\n";
    assert_eq!(scaled, expected);
    assert_eq!(scenario.rescale(&QCOW2, 1 << 16).rescale(&QCOW2, 1 << 12), scenario);
    let small = scenario.rescale(&QCOW2, 1 << 9).to_text();
    let expected = "blk-scenario 1\nconfig size-bytes=4097 cluster_size=512\nwrite 512 512\nread 1023 2\ndiscard 100 1536\ntruncate 5k\n";
    assert_eq!(small, expected);
}
