//! Mutates and crosses scenarios for a fuzzer that hands out bytes: what libFuzzer's custom mutator and
//! crossover call.
//!
//! libFuzzer's own mutators know bytes; most of what they do to an input is lost on offsets. These know
//! records: they take an input apart, change requests the way bugs need them (the same cluster again, an
//! edge, another kind, a read of what was written), and put it together again. Inputs stay canonical: the
//! encoding of a legal scenario.
//!
//! All is a pure function of the arguments; the randomness is `seed`.

mod records;

use crate::random::Random;

use crate::generate::{Generator, Limits, breeds, is_wanted, random_config, turn};
use crate::scenario::bytes::{RECORD_BYTES, header_bytes};
use crate::scenario::{Request, Scenario, Turn, Value};
use crate::space::{Kind, Space};

/// Changes the input `data[..size]`, a scenario for drivers of `space`, in place and returns its new size: at
/// most `max_size`, and at most `data.len()`.
///
/// `default_mutate(data, size, max_size)` is the fuzzer's own mutator; one in sixteen mutations is left to
/// it. What it makes is made canonical.
pub fn mutate(
    space: &'static Space,
    data: &mut [u8],
    size: usize,
    max_size: usize,
    seed: u32,
    default_mutate: impl FnMut(&mut [u8], usize, usize) -> usize,
) -> usize {
    mutate_within(space, &Limits::default(), data, size, max_size, seed, default_mutate)
}

/// As [`mutate`], for inputs whose new requests, disks and lanes stay within `limits`; racing ones have no
/// more requests than these allow.
pub fn mutate_within(
    space: &'static Space,
    limits: &Limits,
    data: &mut [u8],
    size: usize,
    max_size: usize,
    seed: u32,
    mut default_mutate: impl FnMut(&mut [u8], usize, usize) -> usize,
) -> usize {
    let max_size = max_size.min(data.len());
    let mut size = size.min(max_size);
    let mut rng = Random::new(u64::from(seed));
    // A fresh start: what is evolved step by step from nothing rarely gets as far as what is made whole.
    if size <= header_bytes(space) || rng.chance(1, 8) {
        return store(space, fresh(space, &mut rng, limits), &mut data[..max_size]);
    }
    if rng.chance(1, 16) {
        size = default_mutate(data, size, max_size).min(max_size);
        return store(space, Scenario::decode(space, &data[..size]), &mut data[..max_size]);
    }
    let before = Scenario::decode(space, &data[..size]);
    // What takes long would breed, since it reaches much: most of the time would go to it.
    if !breeds(space, &mut rng, &before) {
        return store(space, fresh(space, &mut rng, limits), &mut data[..max_size]);
    }
    let mut scenario = before.clone();
    // Some changes change nothing; a few tries make sure that something is.
    for _ in 0..4 {
        for _ in 0..=rng.below(8).saturating_sub(4) {
            change(space, &mut rng, &mut scenario, limits);
        }
        if scenario != before {
            break;
        }
    }
    // What races has to be short: each request more is a thousand interleavings more. Others do not become
    // longer than what is made whole: many short scenarios reach more than a few long ones.
    let longest = if limits.lanes_max >= 2 { 0 } else { before.requests.len() }.max(limits.requests_max);
    while scenario.requests.len() > longest {
        let at = rng.below(scenario.requests.len() as u64) as usize;
        scenario.remove_requests(at..at + 1);
    }
    if !breeds(space, &mut rng, &scenario) {
        scenario = fresh(space, &mut rng, limits);
    }
    store(space, scenario, &mut data[..max_size])
}

/// A scenario that is made anew.
fn fresh(space: &'static Space, rng: &mut Random, limits: &Limits) -> Scenario {
    let mut made = Generator::new(space, rng.bits(), limits.clone());
    made.find(|scenario| is_wanted(space, rng, scenario)).expect("there is always another")
}

/// Writes a scenario made of the inputs `first` and `second` to `out`, and returns its size, at most
/// `out.len()`.
pub fn crossover(space: &Space, first: &[u8], second: &[u8], out: &mut [u8], seed: u32) -> usize {
    store(space, crossed(space, first, second, &mut Random::new(u64::from(seed))), out)
}

/// As [`crossover`]; most of what would take long is replaced by scenarios that are made anew, within
/// `limits`.
pub fn crossover_within(
    space: &'static Space,
    limits: &Limits,
    first: &[u8],
    second: &[u8],
    out: &mut [u8],
    seed: u32,
) -> usize {
    let mut rng = Random::new(u64::from(seed));
    let mut scenario = crossed(space, first, second, &mut rng);
    if !breeds(space, &mut rng, &scenario) {
        scenario = fresh(space, &mut rng, limits);
    }
    store(space, scenario, out)
}

/// What has requests, and the configuration, of both.
fn crossed(space: &Space, first: &[u8], second: &[u8], rng: &mut Random) -> Scenario {
    let (mut scenario, other_scenario) = (Scenario::decode(space, first), Scenario::decode(space, second));
    let (mut child, other): (Vec<_>, Vec<_>) = (scenario.turns().collect(), other_scenario.turns().collect());
    let (count, other_count) = (child.len() as u64, other.len() as u64);
    let start = rng.below(other_count + 1) as usize;
    let at = rng.below(count + 1) as usize;
    match rng.below(3) {
        // The beginning of one, the rest of the other.
        0 => {
            child.truncate(at);
            child.extend_from_slice(&other[start..]);
        }
        // A run of the other inside the one.
        1 => {
            let end = start + rng.below(other_count - start as u64 + 1) as usize;
            child.splice(at..at, other[start..end].iter().copied());
        }
        // Both, shuffled together, each in its order.
        _ => {
            let mut rest = other.iter().copied().peekable();
            let mut both = Vec::with_capacity(child.len() + other.len());
            for request in child {
                while rest.peek().is_some() && rng.chance(other_count, count + other_count) {
                    both.extend(rest.next());
                }
                both.push(request);
            }
            both.extend(rest);
            child = both;
        }
    }
    // Not longer than either, so that inputs do not become longer and longer.
    child.truncate(scenario.requests.len().max(other.len()));
    scenario.set_turns(child);
    if rng.chance(1, 4) {
        scenario.config = other_scenario.config;
    }
    scenario
}

/// Writes as much of the scenario as `out` has room for; canonical, also when the form's bounds cut something
/// off.
fn store(space: &Space, mut scenario: Scenario, out: &mut [u8]) -> usize {
    scenario.requests.truncate(out.len().saturating_sub(header_bytes(space)) / RECORD_BYTES);
    scenario.trim_schedule();
    let mut bytes = scenario.encode(space);
    let legal = Scenario::decode(space, &bytes);
    if legal != scenario {
        bytes = legal.encode(space);
    }
    // Less room than a header: its beginning is an input, too.
    let size = bytes.len().min(out.len());
    out[..size].copy_from_slice(&bytes[..size]);
    size
}

fn change(space: &Space, rng: &mut Random, scenario: &mut Scenario, limits: &Limits) {
    let has_lanes = scenario.config.lanes >= 2;
    let takes_lanes = limits.lanes_max >= 2 || (limits.laned_one_in > 0 && has_lanes);
    if takes_lanes && (!has_lanes || rng.chance(1, 3)) {
        change_lanes(space, rng, scenario, limits);
    } else if rng.chance(1, 10) {
        change_config(space, rng, scenario, limits);
    } else {
        let before = scenario.requests.clone();
        let geometry = space.geometry(&scenario.config);
        records::change(rng, scenario, &geometry, limits);
        records::bring_inside(rng, &geometry, &before, scenario);
        keep_turns(&before, scenario);
    }
}

/// Changes when a request gives way, rarely the number of lanes.
fn change_lanes(space: &Space, rng: &mut Random, scenario: &mut Scenario, limits: &Limits) {
    if scenario.config.lanes < 2 || scenario.requests.is_empty() || rng.chance(1, 12) {
        scenario.config.lanes = random_config(space, rng, limits).lanes;
        return;
    }
    let at = rng.below(scenario.requests.len() as u64) as usize;
    let old = scenario.turn(at);
    let moved = |points: u8| Turn::new(points.max(1), old.is_back(), old.is_again());
    let new = match rng.below(8) {
        0 => Turn::default(),
        1 if !old.is_never() => moved(old.points() + 1),
        2 if !old.is_never() => moved(old.points() - 1),
        3 => Turn::new(old.points(), !old.is_back(), old.is_again()),
        4 => Turn::new(old.points(), old.is_back(), !old.is_again()),
        _ => turn(rng),
    };
    scenario.set_turn(at, new);
}

/// After a change of requests: those that are as before keep their turns, wherever they have moved to.
fn keep_turns(before: &[Request], scenario: &mut Scenario) {
    if scenario.schedule.is_empty() {
        return;
    }
    let after = &scenario.requests;
    let end = records::changed(before, after).end;
    let turns = (0..after.len()).map(|at| match at {
        _ if at >= end => scenario.turn(at + before.len() - after.len()),
        _ => scenario.turn(at),
    });
    scenario.schedule = turns.collect();
    scenario.trim_schedule();
}

/// Changes one field or option, mostly to what another configuration has.
fn change_config(space: &Space, rng: &mut Random, scenario: &mut Scenario, limits: &Limits) {
    /// Changes of fields that all drivers have.
    const FIELDS: u64 = 9;
    let other = random_config(space, rng, limits);
    let geometry = space.geometry(&scenario.config);
    let unit = geometry.unit_bytes;
    let config = &mut scenario.config;
    match rng.below(FIELDS + space.knobs.len() as u64) {
        0 => config.size_bytes = other.size_bytes,
        1 => config.size_bytes = near(rng, config.size_bytes, unit),
        2 => (config.backing, config.backing_bytes) = (other.backing, other.backing_bytes),
        3 => config.backing_bytes = near(rng, config.size_bytes, unit),
        4 => config.discard = !config.discard,
        5 => config.atom_bytes = if config.atom_bytes == 512 { 4096 } else { 512 },
        6 => config.control = if config.control == 0 { other.control.max(1) } else { 0 },
        7 => config.host_alignment = if config.host_alignment == 1 { 512 << rng.below(4) } else { 1 },
        8 => config.probe_flush = if config.probe_flush == 0 { 1 + rng.below(3) as u8 } else { 0 },
        dice => {
            let knob = &space.knobs[(dice - FIELDS) as usize];
            if let Some(value) = space.unit(&other).filter(|unit| unit.name == knob.name && rng.chance(1, 2))
            {
                *scenario = scenario.rescale(space, value.value);
            } else if knob.kind == Kind::Switch {
                let is_on =
                    config.options.get(knob.name).or(knob.usual.as_ref()) == Some(&Value::Switch(true));
                config.options.set(knob.name, Some(Value::Switch(!is_on)));
            } else {
                config.options.set(knob.name, other.options.get(knob.name).cloned());
            }
        }
    }
    let config = &mut scenario.config;
    if rng.chance(15, 16) {
        config.size_bytes = geometry.align_down(config.size_bytes);
    }
    space.legalize(config);
}

/// A size a little more or less than `size`: by clusters, by sectors, or by bytes.
fn near(rng: &mut Random, size: u64, cluster: u64) -> u64 {
    let unit = [cluster, 512, 1][rng.below(3) as usize];
    let distance = unit * (1 + rng.below(3));
    if rng.chance(1, 2) { size.saturating_add(distance) } else { size.saturating_sub(distance) }
}
