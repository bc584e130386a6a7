//! The generator reaches what it is meant to reach, the same way each time.

use std::collections::{BTreeSet, HashSet};

use blk_harness::generate::{Generator, Limits, alphabet, exhaustive};
use blk_harness::scenario::{Backing, Config, Fill, Request, RequestKind, Scenario};
use blk_harness::space::Geometry;
use blk_testbed::QCOW2;

#[test]
fn a_scenario_depends_on_seed_and_index_alone() {
    let all: Vec<Scenario> = Generator::new(&QCOW2, 7, Limits::default()).take(200).collect();
    assert!(
        Generator::new(&QCOW2, 7, Limits::default()).starting_at(150).take(50).eq(all[150..].iter().cloned())
    );
    let distinct: HashSet<&Scenario> = all.iter().collect();
    assert!(distinct.len() > 195, "{} distinct scenarios of 200", distinct.len());
    let other: Vec<Scenario> = Generator::new(&QCOW2, 8, Limits::default()).take(200).collect();
    assert!(other.iter().all(|scenario| !distinct.contains(scenario) || scenario.requests.len() < 2));
}

#[test]
fn every_value_of_every_configuration_field_comes() {
    let mut seen = BTreeSet::new();
    for Scenario { config, .. } in Generator::new(&QCOW2, 1, Limits::default()).take(4000) {
        let geometry = QCOW2.geometry(&config);
        let cluster_bytes = geometry.unit_bytes;
        for knob in QCOW2.knobs {
            let value = config.options.get(knob.name).or(knob.usual.as_ref());
            seen.insert(format!("{} {}", knob.name, value.map_or("unset".to_owned(), ToString::to_string)));
        }
        seen.insert(format!("{:?} {:?}", config.backing, config.backing_bytes.cmp(&config.size_bytes)));
        let preallocates = config.options.get("preallocation").is_some();
        seen.insert(format!("preallocate {preallocates} discard {}", config.discard));
        seen.insert(format!("odd sectors {}", !config.size_bytes.is_multiple_of(512)));
        seen.insert(format!("odd clusters {}", !config.size_bytes.is_multiple_of(cluster_bytes)));
        seen.insert(format!("several slices {}", config.size_bytes > geometry.table_reach_bytes));
        let table = cluster_bytes / 8 * cluster_bytes;
        seen.insert(format!("several tables {}", config.size_bytes > table));
        assert!(QCOW2.is_legal(&config) && config.size_bytes <= 8 << 20, "{config}");
    }
    let wanted = (9..=21).map(|bits| format!("cluster_size {}", 1 << bits));
    let wanted = wanted.chain((0..=6).map(|order| format!("refcount_bits {}", 1 << order)));
    let slices = ["unset", "1", "2", "3", "8"];
    let wanted = wanted.chain(slices.map(|slices| format!("l2-cache-slices {slices}")));
    let wanted = wanted.chain(slices.map(|slices| format!("refcount-cache-slices {slices}")));
    let entries = ["unset", "512", "1024", "2048", "4096", "16384"];
    let wanted = wanted.chain(entries.map(|bytes| format!("l2-cache-entry-size {bytes}")));
    let wanted =
        wanted.chain([Backing::Raw, Backing::Format, Backing::Chain].iter().flat_map(|backing| {
            ["Less", "Equal", "Greater"].map(|ordering| format!("{backing:?} {ordering}"))
        }));
    let booleans = ["odd sectors", "odd clusters", "several slices", "several tables"];
    let wanted =
        wanted.chain(booleans.iter().flat_map(|name| [format!("{name} false"), format!("{name} true")]));
    let flags = ["false discard false", "false discard true", "true discard false", "true discard true"];
    let wanted = wanted.chain(flags.map(|flags| format!("preallocate {flags}")));
    let words = ["compression_type zlib", "compression_type zstd", "lazy_refcounts on", "lazy_refcounts off"];
    let wanted = wanted.chain(words.map(str::to_owned));
    let missing: Vec<String> = wanted.filter(|name| !seen.contains(name)).collect();
    assert!(missing.is_empty(), "never came: {missing:?}");
    assert!(seen.contains("compat 0.10") && seen.contains("compat 1.1"));
}

#[test]
fn every_kind_of_request_comes_and_some_kinds_are_left_out() {
    let mut counts = [0u32; RequestKind::ALL.len()];
    let mut without = [0u32; RequestKind::ALL.len()];
    let limits = Limits { requests_min: 40, requests_max: 40, ..Limits::default() };
    for scenario in Generator::new(&QCOW2, 2, limits).take(1000) {
        let kinds: HashSet<RequestKind> = scenario.requests.iter().map(Request::kind).collect();
        for kind in RequestKind::ALL {
            without[kind.index()] += u32::from(!kinds.contains(&kind));
            counts[kind.index()] += scenario.requests.iter().filter(|r| r.kind() == kind).count() as u32;
        }
    }
    for kind in RequestKind::ALL {
        assert!(counts[kind.index()] > 100, "{kind:?}: {counts:?}");
        assert!(without[kind.index()] > 10 || kind == RequestKind::Read, "{kind:?}: {without:?}");
    }
}

/// What ranges look like, of all generated scenarios: share of requests in percent, at least.
#[test]
fn ranges_have_every_shape() {
    let (mut all, mut whole, mut head, mut tail, mut middle, mut crossing, mut refused, mut odd, mut empty) =
        (0u32, 0u32, 0u32, 0u32, 0u32, 0u32, 0u32, 0u32, 0u32);
    let config = Config { size_bytes: 64 << 12, ..Config::default() }.with("cluster_size", "4k");
    let limits = Limits { config: Some(config), requests_min: 20, ..Limits::default() };
    for scenario in Generator::new(&QCOW2, 3, limits).take(1000) {
        if scenario.requests.iter().any(|request| request.kind() == RequestKind::Resize) {
            continue;
        }
        for (offset, length) in scenario.requests.iter().filter_map(Request::range) {
            let (start, end) = (offset % 4096, (offset + length) % 4096);
            let clusters = (offset + length).div_ceil(4096) - offset / 4096;
            all += 1;
            empty += u32::from(length == 0);
            odd += u32::from(offset % 512 != 0 || length % 512 != 0);
            refused += u32::from(offset + length > 64 << 12);
            whole += u32::from(start == 0 && end == 0 && length > 0);
            head += u32::from(start == 0 && end != 0 && clusters == 1);
            tail += u32::from(start != 0 && end == 0 && clusters == 1);
            middle += u32::from(start != 0 && end != 0 && clusters == 1);
            crossing += u32::from(start != 0 && end != 0 && clusters > 1);
        }
    }
    let shares = [whole, head, tail, middle, crossing, odd].map(|count| count * 100 / all);
    assert!(shares[0] >= 30 && shares[1..].iter().all(|&share| share >= 5), "{shares:?}");
    assert!(refused * 400 > all && refused * 20 < all, "{refused} of {all} are refused");
    assert!(empty * 400 > all && empty * 20 < all, "{empty} of {all} are empty");
}

/// Bugs are in what happens to the same cluster again: half of what changes a cluster must find it changed
/// before.
#[test]
fn clusters_are_changed_again_and_again() {
    let (mut again, mut all) = (0, 0);
    let config = Config { size_bytes: 256 << 9, ..Config::default() }.with("cluster_size", "512");
    let limits = Limits { config: Some(config), requests_min: 20, requests_max: 20, ..Limits::default() };
    for scenario in Generator::new(&QCOW2, 4, limits).take(500) {
        let mut changed = HashSet::new();
        for request in scenario.requests.iter().filter(|request| request.kind().changes_content()) {
            let Some((offset, length)) = request.range().filter(|range| range.1 > 0) else { continue };
            all += 1;
            let clusters = offset / 512..=(offset + length - 1) / 512;
            again += u32::from(clusters.clone().any(|cluster| changed.contains(&cluster)));
            changed.extend(clusters);
        }
    }
    assert!(again * 2 > all, "{again} of {all}");
}

#[test]
fn limits_hold() {
    let limits = Limits {
        requests_min: 3,
        requests_max: 5,
        disk_bytes_max: 1 << 20,
        data_bytes_max: 4096,
        far: false,
        lanes_max: 0,
        laned_one_in: 0,
        resizes: true,
        config: None,
    };
    for Scenario { config, requests, .. } in Generator::new(&QCOW2, 5, limits).take(5000) {
        assert!((3..=5).contains(&requests.len()));
        let Geometry { unit_bytes, table_reach_bytes, .. } = QCOW2.geometry(&config);
        let is_filled_by_a_table = table_reach_bytes <= 1 << 20 && 2 * table_reach_bytes > 1 << 20;
        let disk_bytes_max = unit_bytes.max(if is_filled_by_a_table { 2 << 20 } else { 1 << 20 });
        assert!(config.size_bytes <= disk_bytes_max);
        for request in requests {
            let data_bytes_max = match request {
                Request::WriteCompressed { .. } => unit_bytes.max(4096),
                _ => 4096,
            };
            assert!(request.data_bytes() <= data_bytes_max, "{request}");
            if let Request::Resize { size } = request {
                assert!(size <= disk_bytes_max, "{request}");
            }
        }
    }
}

#[test]
fn all_short_sequences_come_once() {
    let config = Config::default().with("cluster_size", "512");
    let all = exhaustive(&QCOW2, 3, 3, config.clone());
    assert_eq!(all.total(), 25 + 25 * 25 + 25 * 25 * 25);
    let total = all.total();
    let distinct: HashSet<Vec<Request>> = all.map(|scenario| scenario.requests).collect();
    assert_eq!(distinct.len() as u64, total);
    let first = exhaustive(&QCOW2, 3, 3, config).next().expect("there are some");
    assert_eq!(first.config.size_bytes, 3 * 512);
}

#[test]
fn a_partial_last_cluster_stays_and_is_covered() {
    let config = Config { size_bytes: 2 * 4096 + 1, ..Config::default() }.with("cluster_size", "4k");
    let requests = alphabet(&QCOW2, &config);
    assert_eq!(exhaustive(&QCOW2, 3, 1, config.clone()).next().map(|scenario| scenario.config), Some(config));
    let last = |request: &&Request| request.range().is_some_and(|(offset, _)| offset == 2 * 4096);
    assert_eq!(requests.iter().filter(last).count(), 8);
    for request in &requests {
        let (offset, length) = request.range().expect("all have one");
        assert!(length > 0 && offset + length <= 2 * 4096 + 1, "{request}");
    }
    let write = Request::Write { offset: 0, length: 4096, fill: Fill::Stamp, fua: false };
    assert_eq!(requests[0], write);
}
