//! What images keep inside: snapshots, dirty bitmaps, and the options that they are amended by.

use super::{many_tables, push_pause, read, write, zeroes};
use crate::generate::aim::Aim;
use crate::random::Random;
use crate::scenario::{OnBitmap, OnSnapshot, Request};

pub(super) fn snapshots(rng: &mut Random, aim: &mut Aim, requests: &mut Vec<Request>) {
    let snapshot = |act| Request::Snapshot { act, slot: 0 };
    let [first, second, third] = [(); 3].map(|()| aim.hot_range(rng));
    requests.extend([write(rng, first), snapshot(OnSnapshot::Create), write(rng, second)]);
    let (offset, length) = third;
    requests.push(if rng.chance(1, 2) { zeroes(rng, third) } else { Request::Discard { offset, length } });
    if rng.chance(1, 4) {
        requests.push(Request::Resize { size: aim.resized(aim.size() + (1 + rng.below(3)) * aim.unit()) });
    }
    push_pause(rng, requests);
    let act = rng.one_of(&[OnSnapshot::Apply, OnSnapshot::Apply, OnSnapshot::Delete, OnSnapshot::Read]);
    requests.extend([snapshot(act), write(rng, first)]);
    if act != OnSnapshot::Delete {
        requests.push(snapshot(OnSnapshot::Read));
    }
    requests.push(read(second));
}

pub(super) fn amended(rng: &mut Random, aim: &mut Aim, requests: &mut Vec<Request>) {
    let snapshot = |act| Request::Snapshot { act, slot: 0 };
    let [first, second, third] = [(); 3].map(|()| aim.hot_range(rng));
    let amendment = aim.amendment_of(rng);
    let amend = Request::Amend { option: amendment.option() };
    // All tables change then.
    if amendment.is_alone && aim.tables() > 1 && rng.chance(1, 2) {
        many_tables(rng, aim, requests);
    }
    requests.extend([write(rng, first), zeroes(rng, second)]);
    let has_snapshot = !amendment.is_alone && aim.takes_snapshots() && rng.chance(3, 4);
    if has_snapshot {
        requests.push(snapshot(OnSnapshot::Create));
    }
    let is_zeroed = rng.chance(1, 2);
    requests.push(if is_zeroed { zeroes(rng, first) } else { write(rng, third) });
    push_pause(rng, requests);
    requests.push(amend);
    if has_snapshot {
        requests.push(snapshot(OnSnapshot::Read));
    }
    requests.push(write(rng, third));
    if rng.chance(1, 2) {
        requests.push(if amendment.is_alone { amend } else { aim.amendment(rng) });
    }
    requests.extend([read(first), read(second)]);
}

pub(super) fn bitmaps(rng: &mut Random, aim: &mut Aim, requests: &mut Vec<Request>) {
    let bitmap = |act, slot| Request::Bitmap { act, slot };
    let [first, second, third] = [(); 3].map(|()| aim.hot_range(rng));
    requests.push(bitmap(OnBitmap::Add, 0));
    if rng.chance(1, 3) {
        requests.push(Request::Reopen { kill: false });
    }
    requests.push(changed(rng, first));
    if rng.chance(1, 4) {
        requests.push(Request::Resize { size: aim.resized(aim.size() + (1 + rng.below(3)) * aim.unit()) });
    }
    push_pause(rng, requests);
    requests.push(bitmap(OnBitmap::Read, 0));
    match rng.below(4) {
        0 => requests.push(bitmap(OnBitmap::Disable, 0)),
        1 => requests.push(bitmap(OnBitmap::Clear, 0)),
        2 => {
            requests.extend([bitmap(OnBitmap::Add, 1), changed(rng, second), bitmap(OnBitmap::Merge(0), 1)]);
        }
        _ => requests.extend([bitmap(OnBitmap::Remove, 0), bitmap(OnBitmap::Add, 0)]),
    }
    push_pause(rng, requests);
    // What is written has all of it saved: what was changed is to be so by itself, too.
    if rng.chance(1, 2) {
        requests.push(changed(rng, third));
    }
    requests.push(Request::Reopen { kill: rng.chance(1, 3) });
    requests.push(bitmap(OnBitmap::Read, 0));
}

/// A change of a range, of any kind.
fn changed(rng: &mut Random, range: (u64, u64)) -> Request {
    match rng.below(4) {
        0 => zeroes(rng, range),
        1 => Request::Discard { offset: range.0, length: range.1 },
        _ => write(rng, range),
    }
}
