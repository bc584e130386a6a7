//! When requests in flight give way to one another.

use rand::rngs::SmallRng;

use super::random::{chance, pick};
use crate::scenario::{POINTS_MAX, Scenario, Turn};

/// Gives the requests of a scenario turns: few in one, many in another. A bug needs few turns, at the right points.
pub(super) fn fill(rng: &mut SmallRng, scenario: &mut Scenario) {
    let eighths = [1, 2, 4, 7][pick(rng, 4) as usize];
    let turns = scenario.requests.iter();
    scenario.schedule =
        turns.map(|_| if chance(rng, eighths, 8) { turn(rng) } else { Turn::default() }).collect();
    scenario.trim_schedule();
}

/// A turn; early points are more likely, since most requests have few.
pub(crate) fn turn(rng: &mut SmallRng) -> Turn {
    let points = match pick(rng, 8) {
        0..=3 => 1 + pick(rng, 8),
        4..=6 => 1 + pick(rng, 20),
        _ => 1 + pick(rng, u64::from(POINTS_MAX)),
    };
    Turn::new(points as u8, chance(rng, 1, 4), chance(rng, 1, 6))
}
