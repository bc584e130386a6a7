//! A scenario survives each of its forms, and every byte string is a scenario.

use arbitrary::{Arbitrary, Unstructured};
use blk_harness::generate::{Generator, Limits};
use blk_harness::random::Random;
use blk_harness::scenario::{Fill, Request, Scenario, bounds, bytes};
use blk_harness::space::PLAIN;
use blk_testbed::QCOW2;

const SCENARIOS: usize = 100_000;

/// Limits within those of the bytes form.
fn small() -> Limits {
    Limits { requests_min: 0, requests_max: 12, ..Limits::default() }
}

fn random_bytes(rng: &mut Random) -> Vec<u8> {
    let mut bytes = vec![0; rng.below(400) as usize];
    rng.fill(&mut bytes);
    if rng.chance(7, 10) && !bytes.is_empty() {
        bytes[0] = bytes::MAGIC;
    }
    // Small numbers too: runs of zeroes.
    for _ in 0..rng.below(8) {
        let start = rng.below(bytes.len() as u64 + 1) as usize;
        let end = (start + rng.below(12) as usize).min(bytes.len());
        bytes[start..end].fill(0);
    }
    bytes
}

#[test]
fn generated_scenarios_survive_bytes() {
    let moves = |scenario: &Scenario| scenario.requests.iter().map(Request::data_bytes).sum::<u64>();
    // Compressed clusters of 2 MiB are soon too many.
    let all = Generator::new(&QCOW2, 1, small()).take(SCENARIOS);
    for scenario in all.filter(|scenario| moves(scenario) <= bounds::DATA_BYTES_MAX) {
        let encoded = scenario.encode(&QCOW2);
        assert_eq!(Scenario::decode(&QCOW2, &encoded), scenario, "{scenario}");
    }
}

#[test]
fn generated_scenarios_survive_text() {
    for scenario in Generator::new(&QCOW2, 2, small()).take(SCENARIOS) {
        let text = scenario.to_text();
        assert_eq!(Scenario::from_text(&text).as_ref(), Ok(&scenario), "{text}");
        assert_eq!(Scenario::parse_any(&QCOW2, text.as_bytes()).as_ref(), Ok(&scenario), "{text}");
    }
}

#[test]
fn generated_scenarios_survive_json() {
    for scenario in Generator::new(&QCOW2, 3, small()).take(SCENARIOS / 5) {
        let json = scenario.to_json();
        assert_eq!(Scenario::from_json(&json).as_ref(), Ok(&scenario), "{json}");
        assert_eq!(Scenario::parse_any(&QCOW2, json.as_bytes()).as_ref(), Ok(&scenario), "{json}");
    }
}

#[test]
fn random_bytes_are_legal_bounded_scenarios() {
    let mut rng = Random::new(4);
    for _ in 0..SCENARIOS {
        let bytes = random_bytes(&mut rng);
        let scenario = Scenario::decode(&QCOW2, &bytes);
        assert!(QCOW2.is_legal(&scenario.config), "{scenario}");
        let size = scenario.config.size_bytes;
        let is_far = (bounds::FAR_BYTES_MIN..=bounds::FAR_BYTES_MAX).contains(&size);
        assert!(size <= bounds::DISK_BYTES_MAX || is_far, "{scenario}");
        assert!(scenario.config.backing_bytes <= bounds::DISK_BYTES_MAX, "{scenario}");
        assert!(scenario.requests.len() <= bounds::REQUESTS_MAX);
        let data_bytes: u64 = scenario.requests.iter().map(Request::data_bytes).sum();
        assert!(data_bytes <= bounds::DATA_BYTES_MAX, "{scenario}");
        // What has been decoded is said exactly by its own bytes.
        assert!(scenario.fits_bytes(&QCOW2), "{scenario}");
        assert_eq!(Scenario::from_text(&scenario.to_text()).as_ref(), Ok(&scenario));
    }
}

#[test]
fn random_records_mostly_land_in_the_disk() {
    let mut rng = Random::new(5);
    let (mut inside, mut outside) = (0, 0);
    for _ in 0..20_000 {
        let mut bytes = [0; 32 + 16 * 8];
        rng.fill(&mut bytes);
        let scenario = Scenario::decode(&QCOW2, &bytes);
        let mut size = scenario.config.size_bytes;
        for request in &scenario.requests {
            if let Request::Resize { size: new } = *request {
                size = new;
            }
            match request.range() {
                Some((offset, length)) if offset + length <= size => inside += 1,
                Some(_) => outside += 1,
                None => {}
            }
        }
    }
    assert!(outside * 6 < inside, "{outside} of {} stick out", inside + outside);
    assert!(outside * 100 > inside, "refusals are tested too: {outside} of {}", inside + outside);
}

#[test]
fn extreme_ranges_survive_bytes_and_text() {
    let mut rng = Random::new(6);
    let end = bounds::OFFSET_BYTES_END;
    for _ in 0..SCENARIOS / 10 {
        let (offset, length) = (rng.below(end), rng.below(end));
        let data = rng.below(bounds::DATA_BYTES_MAX + 1);
        let scenario = Scenario {
            requests: vec![
                Request::Discard { offset, length },
                Request::WriteZeroes {
                    offset: length,
                    length: offset,
                    unmap: true,
                    no_fallback: true,
                    fua: true,
                },
                Request::Status { offset: end - 1, length: end - 1 },
                Request::Write { offset, length: data, fill: Fill::Byte(7), fua: true },
                Request::WriteCompressed { offset, length: bounds::DATA_BYTES_MAX - data, fill: Fill::Stamp },
            ],
            ..Scenario::default()
        };
        assert_eq!(Scenario::decode(&QCOW2, &scenario.encode(&QCOW2)), scenario);
        assert_eq!(Scenario::from_text(&scenario.to_text()), Ok(scenario));
    }
    let largest = Request::Discard { offset: u64::MAX, length: u64::MAX };
    assert_eq!(largest.to_string().parse(), Ok(largest));
}

#[test]
fn what_exceeds_the_bytes_form_is_cut() {
    let fua = false;
    let write = Request::Write { offset: 0, length: bounds::DATA_BYTES_MAX, fill: Fill::Stamp, fua };
    let many = Scenario { requests: vec![Request::Flush; bounds::REQUESTS_MAX + 1], ..Scenario::default() };
    assert!(!many.fits_bytes(&QCOW2));
    assert_eq!(Scenario::decode(&QCOW2, &many.encode(&QCOW2)).requests.len(), bounds::REQUESTS_MAX);
    let heavy = Scenario { requests: vec![write, write, Request::Flush], ..Scenario::default() };
    assert_eq!(Scenario::decode(&QCOW2, &heavy.encode(&QCOW2)).requests, [write, Request::Flush]);
}

#[test]
fn arbitrary_is_decoding() {
    let mut rng = Random::new(7);
    for _ in 0..1000 {
        let bytes = random_bytes(&mut rng);
        let scenario = Scenario::decode(&PLAIN, &bytes);
        assert_eq!(Scenario::arbitrary_take_rest(Unstructured::new(&bytes)).as_ref(), Ok(&scenario));
        assert_eq!(Scenario::arbitrary(&mut Unstructured::new(&bytes)).as_ref(), Ok(&scenario));
        assert_eq!(Scenario::parse_any(&PLAIN, &scenario.encode(&PLAIN)), Ok(scenario));
    }
}
