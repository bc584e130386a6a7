//! A request that stands still while others change what it rests on: what it looked up before it stopped, it
//! must not rely on after.

use crate::random::Random;

use super::aim::Aim;
use super::swarm;
use super::templates::{read, write};
use crate::scenario::{Request, Turn};

/// Points of a read, a write in place and a flush; later ones are after their end.
const FEW_POINTS: u64 = 8;
/// Points of a discard that writes tables before it gives clusters back.
const MANY_POINTS: u64 = 28;
/// Of what may be held, flushes.
const FLUSHES: u64 = 9;

/// Adds requests of which one is held, and returns its index and its turn: writes; reads, overwrites or gives
/// back the same place, or flushes, and is held; meanwhile the place is given back, and what was there is
/// used again elsewhere, or other flushes come and go. That is what half of them do where the storage fails
/// (`is_failing`): only there it matters which of two flushes hears of a sync.
pub(super) fn push(
    rng: &mut Random,
    aim: &mut Aim,
    is_failing: bool,
    requests: &mut Vec<Request>,
) -> (usize, Turn) {
    let first = requests.len();
    let (here, there) = (aim.hot_range(rng), aim.hot_range(rng));
    let part = aim.inside((here.0, here.1.min(1 + rng.below(4) * 512)));
    requests.push(write(rng, here));
    if rng.chance(1, 2) {
        requests.push(Request::Flush);
    }
    let mut held = requests.len();
    let mut points_max = FEW_POINTS;
    let discard = Request::Discard { offset: here.0, length: here.1 };
    match if is_failing && rng.chance(1, 2) { FLUSHES } else { rng.below(10) } {
        0 | 1 => requests.extend([read(part), discard]),
        2 | 3 => {
            // It has looked up its place, and not written there yet.
            points_max = if rng.chance(1, 2) { 2 } else { FEW_POINTS };
            requests.extend([write(rng, part), discard]);
        }
        4 => requests.extend([Request::Status { offset: here.0, length: here.1 }, discard]),
        5 | 6 => {
            points_max = MANY_POINTS;
            requests.push(discard);
        }
        // Two flushes, each of which answers for what the other has failed to sync.
        _ => {
            // It has looked at what is to be written, and not synced yet.
            points_max = if rng.chance(1, 2) { 2 } else { FEW_POINTS };
            requests.push(Request::Flush);
            requests.push(write(rng, part));
            held = requests.len();
            requests.push(Request::Flush);
        }
    }
    // Some drivers use again at once what is free, others once that is durable.
    if held + 1 == requests.len() || rng.chance(1, 2) {
        requests.push(Request::Flush);
    }
    let again = if aim.compresses() && rng.chance(1, 8) {
        Request::WriteCompressed { offset: there.0, length: there.1, fill: swarm::fill(rng) }
    } else {
        write(rng, there)
    };
    requests.extend([again, read(there), read(here)]);
    requests[first..].iter().for_each(|request| aim.note(request));
    (held, Turn::new((1 + rng.below(points_max)) as u8, false, false))
}
