//! Changes to the requests of a scenario.

use crate::random::Random;

use super::near;
use crate::generate::{Aim, Limits, Swarm, aligned, of_kind, push_template, request};
use crate::scenario::{Fill, OnBitmap, OnSnapshot, Repair, Request, RequestKind, Scenario};
use crate::space::{Amendment, Geometry};

/// Makes one change, chosen at random. With few requests, most changes come down to inserting one.
pub(super) fn change(rng: &mut Random, scenario: &mut Scenario, geometry: &Geometry, limits: &Limits) {
    let mut aim = aim_at(rng, scenario, geometry, limits);
    let usual = Swarm::usual().on(geometry);
    let unit = geometry.unit_bytes;
    let requests = &mut scenario.requests;
    if requests.is_empty() {
        return insert_new(rng, requests, &usual, &mut aim);
    }
    let at = index(rng, requests);
    match rng.below(25) {
        0..=3 => insert_new(rng, requests, &usual, &mut aim),
        4..=6 => delete_run(rng, requests),
        7 => requests.insert(index(rng, requests), requests[at]),
        8 => {
            let other = index(rng, requests);
            requests.swap(at, other);
        }
        9 => move_run(rng, requests),
        10..=11 => replay_elsewhere(rng, requests, at, &mut aim),
        12..=14 => move_range(rng, requests, at, unit),
        15..=16 => resize_range(rng, requests, at, unit),
        17..=18 => change_kind(rng, requests, at, &usual, &mut aim),
        19 => change_flags(rng, &mut requests[at], geometry.amendments),
        20..=21 => look_at_what_was_written(rng, requests, at),
        22 => {
            let kind = rng.one_of(&[RequestKind::Reopen, RequestKind::Flush, RequestKind::Check]);
            let pause = of_kind(rng, kind, &mut aim);
            requests.insert(at + 1, pause);
        }
        23 => insert_template(rng, requests, &mut aim),
        _ => {
            let swarm = Swarm::random(rng).on(geometry);
            append_new(rng, requests, &swarm, &mut aim);
        }
    }
}

/// Brings the requests that a change has made, those outside of what `before` begins and ends with too, to
/// the disk and its alignment, but for a few: what a driver refuses teaches little.
pub(super) fn bring_inside(
    rng: &mut Random,
    geometry: &Geometry,
    before: &[Request],
    scenario: &mut Scenario,
) {
    let changed = changed(before, &scenario.requests);
    let mut size = scenario.config.size_bytes;
    for (at, request) in scenario.requests.iter_mut().enumerate() {
        if let Request::Resize { size: new } = request {
            *new = geometry.align_down(*new);
            size = *new;
        } else if let Some((offset, length)) = request.range().filter(|_| changed.contains(&at)) {
            let is_inside = offset.checked_add(length).is_some_and(|end| end <= size);
            let range = if is_inside || rng.chance(1, 32) {
                (offset, length)
            } else {
                let offset = if offset < size { offset } else { offset % size.max(1) };
                (offset, length.min(size - offset.min(size)))
            };
            let (offset, length) = aligned(rng, geometry, size, range);
            *request = request.with_range(offset, length);
        }
    }
}

/// Where `after` differs from `before`: what lies between their common beginning and their common end.
pub(super) fn changed(before: &[Request], after: &[Request]) -> std::ops::Range<usize> {
    let shorter = before.len().min(after.len());
    let head = before.iter().zip(after).take_while(|(old, new)| old == new).count();
    let ends = before.iter().rev().zip(after.iter().rev()).take(shorter - head);
    let tail = ends.take_while(|(old, new)| old == new).count();
    head..after.len() - tail
}

/// Aims mostly at clusters that the scenario uses already.
fn aim_at(rng: &mut Random, scenario: &Scenario, geometry: &Geometry, limits: &Limits) -> Aim {
    let mut aim = Aim::new(rng, &scenario.config, geometry, limits);
    for place in 0..3 {
        if scenario.requests.is_empty() {
            break;
        }
        if let Some((offset, _)) = scenario.requests[index(rng, &scenario.requests)].range() {
            aim.heat(place, offset);
        }
    }
    aim
}

/// The index of one of the requests, of which there must be some.
fn index(rng: &mut Random, requests: &[Request]) -> usize {
    rng.below(requests.len() as u64) as usize
}

/// A run of requests, short ones more often.
fn run(rng: &mut Random, requests: &[Request]) -> std::ops::Range<usize> {
    let start = index(rng, requests);
    let length_max = (requests.len() - start) as u64;
    let length = 1 + rng.below(length_max).min(rng.below(length_max)).min(rng.below(length_max));
    start..start + length as usize
}

fn insert_new(rng: &mut Random, requests: &mut Vec<Request>, usual: &Swarm, aim: &mut Aim) {
    let at = rng.below(requests.len() as u64 + 1) as usize;
    let new = request(rng, usual, aim);
    requests.insert(at, new);
}

fn insert_template(rng: &mut Random, requests: &mut Vec<Request>, aim: &mut Aim) {
    let at = rng.below(requests.len() as u64 + 1) as usize;
    let mut inserted = Vec::new();
    push_template(rng, aim, &mut inserted);
    requests.splice(at..at, inserted);
}

fn append_new(rng: &mut Random, requests: &mut Vec<Request>, swarm: &Swarm, aim: &mut Aim) {
    for _ in 0..=rng.below(8) {
        requests.push(request(rng, swarm, aim));
    }
}

fn delete_run(rng: &mut Random, requests: &mut Vec<Request>) {
    let run = run(rng, requests);
    requests.drain(run);
}

fn move_run(rng: &mut Random, requests: &mut Vec<Request>) {
    let run = run(rng, requests);
    let moved: Vec<Request> = requests.drain(run).collect();
    let at = rng.below(requests.len() as u64 + 1) as usize;
    requests.splice(at..at, moved);
}

/// The same request once more, where another one was, or where the generator would aim.
fn replay_elsewhere(rng: &mut Random, requests: &mut Vec<Request>, at: usize, aim: &mut Aim) {
    let again = requests[at];
    let Some((_, length)) = again.range() else { return };
    let offset = match requests[index(rng, requests)].range() {
        Some((offset, _)) if rng.chance(2, 3) => offset,
        _ => aim.range(rng, again.kind()).0,
    };
    let place = at + 1 + rng.below((requests.len() - at) as u64) as usize;
    requests.insert(place, again.with_range(offset, length));
}

/// Moves the beginning: to an edge, to where another request begins or ends, or a little.
fn move_range(rng: &mut Random, requests: &mut [Request], at: usize, cluster: u64) {
    if let Request::Resize { size } = &mut requests[at] {
        *size = near(rng, *size, cluster);
        return;
    }
    let Some((offset, length)) = requests[at].range() else { return };
    let other = requests[index(rng, requests)].range().unwrap_or((offset, length));
    let new = match rng.below(8) {
        0 => offset / cluster * cluster,
        1 => (offset / cluster * cluster).saturating_add(cluster).saturating_sub(512),
        2 => other.0,
        3 => other.0.saturating_add(other.1),
        4 => (other.0 / cluster * cluster).saturating_add(offset % cluster),
        _ => near(rng, offset, cluster),
    };
    // Half of the time the end stays.
    let end = offset.saturating_add(length);
    let length = if rng.chance(1, 2) && new < end { end - new } else { length };
    requests[at] = requests[at].with_range(new, length);
}

fn resize_range(rng: &mut Random, requests: &mut [Request], at: usize, cluster: u64) {
    let Some((offset, length)) = requests[at].range() else { return };
    let other = requests[index(rng, requests)].range().unwrap_or((offset, length));
    let to_edge = cluster - offset % cluster;
    let length = match rng.below(8) {
        0 => to_edge,
        1 => to_edge + cluster * rng.below(3),
        2 => cluster,
        3 => 512,
        4 => other.1,
        // Up to where another one begins.
        5 if other.0 > offset => other.0 - offset,
        _ => near(rng, length, cluster),
    };
    requests[at] = requests[at].with_range(offset, length);
}

/// Another kind at the same place, or a new one elsewhere when either has no place.
fn change_kind(rng: &mut Random, requests: &mut [Request], at: usize, usual: &Swarm, aim: &mut Aim) {
    let kind = usual.kind(rng);
    let new = of_kind(rng, kind, aim);
    requests[at] = match requests[at].range() {
        Some((offset, length)) => new.with_range(offset, length),
        None => new,
    };
}

fn change_flags(rng: &mut Random, request: &mut Request, amendments: &[Amendment]) {
    let dice = rng.below(3);
    match request {
        Request::Write { fua, .. } if dice == 0 => *fua = !*fua,
        Request::Write { fill, .. } | Request::WriteCompressed { fill, .. } => {
            *fill = [Fill::Stamp, Fill::Byte(0), Fill::Byte(rng.below(256) as u8)][rng.below(3) as usize];
        }
        Request::WriteZeroes { unmap, no_fallback, fua, .. } => {
            let flag = [unmap, no_fallback, fua].into_iter().nth(dice as usize).expect("three flags");
            *flag = !*flag;
        }
        Request::Reopen { kill } => *kill = !*kill,
        Request::Check { repair } => {
            *repair = rng.one_of(&[Repair::None, Repair::Leaks, Repair::All]);
        }
        Request::Amend { option } if !amendments.is_empty() => *option = rng.one_of(amendments).option(),
        Request::Snapshot { act, .. } if dice > 0 => *act = rng.one_of(&OnSnapshot::ALL),
        Request::Bitmap { act, .. } if dice > 0 => {
            *act = match rng.one_of(&OnBitmap::ALL) {
                OnBitmap::Merge(_) => OnBitmap::Merge(rng.below(4) as u8),
                act => act,
            };
        }
        Request::Snapshot { slot, .. } | Request::Bitmap { slot, .. } => *slot = rng.below(4) as u8,
        _ => {}
    }
}

/// Reads, or asks the status of, what a request has changed; now, or at the end.
fn look_at_what_was_written(rng: &mut Random, requests: &mut Vec<Request>, at: usize) {
    let Some((offset, length)) = requests[at].range() else { return };
    let look =
        if rng.chance(1, 4) { Request::Status { offset, length } } else { Request::Read { offset, length } };
    let place = if rng.chance(1, 2) { at + 1 } else { requests.len() };
    requests.insert(place, look);
}
