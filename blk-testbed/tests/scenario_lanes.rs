//! Lanes and turns in every form of a scenario, and in what makes, changes and shrinks them.

use blk_harness::generate::{Generator, Limits};
use blk_harness::minimise::{self, minimise};
use blk_harness::mutate;
use blk_harness::scenario::{Request, Scenario, Turn, bounds};
use blk_testbed::QCOW2;

const TEXT: &str = "blk-scenario 1
config lanes=3
@3 write 0 64k
flush
@63<* discard 0 64k
read 0 512
";

fn sample() -> Scenario {
    Scenario::from_text(TEXT).unwrap()
}

#[test]
fn turns_stand_before_their_requests() {
    let scenario = sample();
    assert_eq!(scenario.config.lanes, 3);
    let turns = [Turn::new(3, false, false), Turn::default(), Turn::new(63, true, true)];
    assert_eq!(scenario.schedule, turns);
    assert_eq!((scenario.turn(3), scenario.turn(99)), (Turn::default(), Turn::default()));
    assert_eq!(scenario.to_text(), TEXT);
}

#[test]
fn wrong_turns_and_lanes_are_refused_with_their_place() {
    let error =
        |lines: &str| Scenario::from_text(&format!("blk-scenario 1\n{lines}")).unwrap_err().to_string();
    for (lines, expected) in [
        ("@0 flush", "'@0' is no turn"),
        ("@64 flush", "'@64' is no turn"),
        ("flush\n@5", "a turn without a request"),
        ("@5 wipe 0 1", "unknown request 'wipe'"),
        ("config lanes=9", "lanes is 9, and must be 0 to 8"),
    ] {
        assert!(error(lines).contains(expected), "{lines}: {}", error(lines));
    }
    assert!(Scenario::from_json("{\"config\": {\"lanes\": 9}}").is_err());
}

#[test]
fn all_forms_say_the_same() {
    let mut with_turns = 0;
    for scenario in Generator::new(&QCOW2, 1, Limits::racing()).take(2000) {
        assert!((2..=4).contains(&scenario.config.lanes));
        assert_eq!(Scenario::from_text(&scenario.to_text()).unwrap(), scenario);
        assert_eq!(Scenario::from_json(&scenario.to_json()).unwrap(), scenario);
        assert_eq!(Scenario::decode(&QCOW2, &scenario.encode(&QCOW2)), scenario, "{scenario}");
        with_turns += u32::from(!scenario.schedule.is_empty());
    }
    assert!(with_turns > 1000, "{with_turns}");
}

/// Where there are no lanes, the bits that turns are made of mean nothing, as before there were any.
#[test]
fn inputs_without_lanes_have_no_turns() {
    let mut bytes = sample().encode(&QCOW2);
    assert_eq!(Scenario::decode(&QCOW2, &bytes), sample());
    for lanes in [0, 1, bounds::LANES_MAX + 1, 0xff] {
        bytes[3] = lanes;
        let scenario = Scenario::decode(&QCOW2, &bytes);
        assert!(scenario.schedule.is_empty() && scenario.config.lanes < 2, "{scenario}");
        assert_eq!(scenario.requests, sample().requests);
    }
    assert!(!Scenario::default().to_json().contains("lanes"));
    assert!(!Scenario::default().to_json().contains("schedule"));
}

#[test]
fn requests_take_their_turns_with_them() {
    let mut scenario = sample();
    scenario.remove_requests(0..2);
    assert_eq!(scenario.to_text(), "blk-scenario 1\nconfig lanes=3\n@63<* discard 0 64k\nread 0 512\n");
    let mut pairs: Vec<_> = scenario.turns().collect();
    pairs.reverse();
    scenario.set_turns(pairs);
    assert_eq!(scenario.schedule, [Turn::default(), Turn::new(63, true, true)]);
    scenario.remove_requests(1..2);
    assert!(scenario.schedule.is_empty());
}

#[test]
fn mutation_keeps_inputs_racing_and_canonical() {
    let mut data = vec![0; 4096];
    let (mut size, mut turns_changed) = (0, 0);
    for seed in 0..3000 {
        let before = Scenario::decode(&QCOW2, &data[..size]);
        size =
            mutate::mutate_within(&QCOW2, &Limits::racing(), &mut data, size, 4096, seed, |_, size, _| size);
        let scenario = Scenario::decode(&QCOW2, &data[..size]);
        assert_eq!(scenario.encode(&QCOW2), data[..size]);
        assert!(scenario.requests.len() <= Limits::racing().requests_max);
        assert!(scenario.schedule.len() <= scenario.requests.len());
        turns_changed +=
            u32::from(before.requests == scenario.requests && before.schedule != scenario.schedule);
    }
    assert!(turns_changed > 300, "{turns_changed}");
}

#[test]
fn crossed_requests_keep_their_turns() {
    let turned = |limits: Limits| {
        Generator::new(&QCOW2, 9, limits).take(40).map(|mut scenario| {
            // Every request that reads is turned, and no other.
            let turn = |request: &Request| match request {
                Request::Read { .. } => Turn::new(7, false, false),
                _ => Turn::default(),
            };
            scenario.schedule = scenario.requests.iter().map(turn).collect();
            scenario.trim_schedule();
            scenario.encode(&QCOW2)
        })
    };
    let all: Vec<Vec<u8>> = turned(Limits::racing()).collect();
    let mut out = vec![0; 4096];
    for (seed, pair) in (0..).zip(all.windows(2)) {
        let size = mutate::crossover(&QCOW2, &pair[0], &pair[1], &mut out, seed);
        for (request, turn) in Scenario::decode(&QCOW2, &out[..size]).turns() {
            assert_eq!(matches!(request, Request::Read { .. }), !turn.is_never(), "{request}");
        }
    }
}

#[test]
fn what_is_not_needed_of_a_schedule_goes() {
    let text =
        "blk-scenario 1\nconfig lanes=8\n@9 read 0 512\n@17<* write 0 512\n@3 flush\n@4 discard 0 64k\n";
    let scenario = Scenario::from_text(text).unwrap();
    // Fails if a write gives way at its fourth point or later, to something behind it.
    let judge = |scenario: &Scenario| {
        let mut turns = scenario.turns().take(scenario.requests.len().saturating_sub(1));
        let fails =
            turns.any(|(request, turn)| matches!(request, Request::Write { .. }) && turn.points() >= 4);
        (fails && scenario.config.lanes >= 2).then_some(())
    };
    let small = minimise(&QCOW2, &scenario, judge, &minimise::Options::default()).unwrap();
    assert!(small.is_fixed_point);
    assert!(small.scenario.to_text().contains("lanes=2\n@4 write "), "{}", small.scenario);
    assert_eq!((small.scenario.requests.len(), small.scenario.schedule.len()), (2, 1));
}
