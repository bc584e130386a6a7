//! Mutation and crossover: inputs stay canonical and within their room, and every part of a scenario can
//! change.

use std::collections::HashSet;

use blk_harness::generate::{Generator, Limits};
use blk_harness::mutate::{crossover, mutate};
use blk_harness::random::Random;
use blk_harness::scenario::bytes::{RECORD_BYTES, header_bytes};
use blk_harness::scenario::{Request, RequestKind, Scenario, bounds};
use blk_testbed::QCOW2;

const ROOM: usize = 60 + 17 * 40;

/// Stands for libFuzzer's own mutator: one byte changes, sometimes the end goes.
fn change_byte(data: &mut [u8], size: usize, max_size: usize) -> usize {
    assert!(size <= max_size && max_size <= data.len());
    if size > 0 {
        data[size / 2] ^= 0x55;
    }
    size.saturating_sub(3)
}

fn canonical(bytes: &[u8]) -> Scenario {
    let scenario = Scenario::decode(&QCOW2, bytes);
    assert_eq!(scenario.encode(&QCOW2), bytes, "{scenario}");
    scenario
}

#[test]
fn mutants_are_canonical_and_fit() {
    let mut rng = Random::new(1);
    let mut data = vec![0; ROOM];
    let mut size = 0;
    for seed in 0..100_000 {
        size = mutate(&QCOW2, &mut data, size, ROOM, seed, change_byte);
        assert!(size <= ROOM);
        let scenario = canonical(&data[..size]);
        assert!(QCOW2.is_legal(&scenario.config));
        // From time to time anything at all, or a full input, so that both ends are met.
        if seed % 100 == 0 {
            size = rng.below(ROOM as u64) as usize;
            rng.fill(&mut data[..size]);
        }
    }
}

#[test]
fn mutation_is_a_function_of_its_arguments() {
    let input = Generator::new(&QCOW2, 1, Limits::default()).next().expect("endless").encode(&QCOW2);
    for seed in 0..1000 {
        let mutant = || {
            let mut data = input.clone();
            data.resize(ROOM, 0xaa);
            let size = mutate(&QCOW2, &mut data, input.len(), ROOM, seed, change_byte);
            data.truncate(size);
            data
        };
        assert_eq!(mutant(), mutant());
    }
}

#[test]
fn too_little_room_is_no_failure() {
    for room in 0..100 {
        let mut data = vec![0; room];
        for seed in 0..50 {
            let size = mutate(&QCOW2, &mut data, room / 2, room, seed, change_byte);
            assert!(size <= room);
            let fits = room.saturating_sub(header_bytes(&QCOW2)) / RECORD_BYTES;
            assert!(Scenario::decode(&QCOW2, &data[..size]).requests.len() <= fits);
            assert!(crossover(&QCOW2, &data[..size], &data, &mut vec![0; room], seed) <= room);
        }
    }
}

#[test]
fn nearly_every_mutation_changes_something() {
    // The seed of the driver's choices: every value is another scenario.
    let change_seed = |data: &mut [u8], size: usize, _: usize| {
        data[4] ^= 0x55;
        size
    };
    let mut changed = 0;
    for (seed, scenario) in (0..10_000).zip(Generator::new(&QCOW2, 2, Limits::default())) {
        let mut data = scenario.encode(&QCOW2);
        let size = data.len();
        data.resize(size + 512, 0);
        let room = data.len();
        let size = mutate(&QCOW2, &mut data, size, room, seed, change_seed);
        changed += u32::from(Scenario::decode(&QCOW2, &data[..size]) != scenario);
    }
    assert!(changed > 9900, "{changed} of 10000");
}

/// What a single mutation of one and the same input brings about.
#[test]
fn every_part_can_change() {
    let limits = Limits { requests_min: 20, requests_max: 20, ..Limits::default() };
    let scenario = Generator::new(&QCOW2, 3, limits).next().expect("endless");
    let mut seen = HashSet::new();
    for seed in 0..20_000 {
        let mut data = scenario.encode(&QCOW2);
        let size = data.len();
        data.resize(ROOM, 0);
        let size = mutate(&QCOW2, &mut data, size, ROOM, seed, |_, size, _| size);
        let mutant = Scenario::decode(&QCOW2, &data[..size]);
        let (old, new) = (&scenario.config, &mutant.config);
        let mut note = |what: &'static str, happened: bool| {
            if happened {
                seen.insert(what);
            }
        };
        note("size", old.size_bytes != new.size_bytes);
        note("backing", old.backing != new.backing);
        note("backing bytes", old.backing_bytes != new.backing_bytes);
        for knob in QCOW2.knobs {
            note(knob.name, old.options.get(knob.name) != new.options.get(knob.name));
        }
        note("host", old.host_alignment != new.host_alignment);
        note("probe", old.probe_flush != new.probe_flush);
        note("discard", old.discard != new.discard);
        note("more requests", mutant.requests.len() > 20);
        note("fewer requests", mutant.requests.len() < 20);
        let kinds = |scenario: &Scenario| scenario.requests.iter().map(Request::kind).collect::<Vec<_>>();
        let sorted = |scenario: &Scenario| {
            let mut kinds = kinds(scenario);
            kinds.sort();
            kinds
        };
        note("another order", sorted(&mutant) == sorted(&scenario) && kinds(&mutant) != kinds(&scenario));
        note("another kind", mutant.requests.len() == 20 && sorted(&mutant) != sorted(&scenario));
        note("another range", kinds(&mutant) == kinds(&scenario) && mutant.requests != scenario.requests);
    }
    // Compression, preallocation and backing depend on one another; this input allows all of them. The host's
    // demand is no option any more.
    assert_eq!(seen.len(), 28, "{seen:?} of {}", scenario.config);
}

#[test]
fn mutation_alone_reaches_every_kind_from_nothing() {
    let mut data = vec![0; ROOM];
    let mut size = 0;
    let mut kinds = HashSet::new();
    for seed in 0..2000 {
        size = mutate(&QCOW2, &mut data, size, ROOM, seed, |_, size, _| size);
        kinds.extend(Scenario::decode(&QCOW2, &data[..size]).requests.iter().map(Request::kind));
    }
    assert_eq!(kinds.len(), RequestKind::ALL.len());
}

#[test]
fn crossover_takes_from_both_and_fits() {
    let limits = Limits { requests_min: 5, requests_max: 20, ..Limits::default() };
    let mut generator = Generator::new(&QCOW2, 4, limits);
    let (mut with_both, total) = (0, 5000);
    for seed in 0..total {
        let (first, second) = (generator.next().expect("endless"), generator.next().expect("endless"));
        let mut out = vec![0; ROOM];
        let size = crossover(&QCOW2, &first.encode(&QCOW2), &second.encode(&QCOW2), &mut out, seed);
        let child = canonical(&out[..size]);
        assert!(child.config == first.config || child.config == second.config);
        let from = |parent: &Scenario| child.requests.iter().filter(|r| parent.requests.contains(r)).count();
        with_both += u32::from(from(&first) > 0 && from(&second) > 0);
        assert!(child.requests.iter().all(|r| first.requests.contains(r) || second.requests.contains(r)));
    }
    assert!(with_both * 10 > total * 8, "{with_both} of {total}");
}

#[test]
fn a_crossover_of_full_inputs_is_bounded() {
    let full = Scenario { requests: vec![Request::Flush; bounds::REQUESTS_MAX], ..Scenario::default() }
        .encode(&QCOW2);
    let mut out = vec![0; 4 * full.len()];
    for seed in 0..100 {
        let size = crossover(&QCOW2, &full, &full, &mut out, seed);
        assert!(canonical(&out[..size]).requests.len() <= bounds::REQUESTS_MAX);
    }
}
