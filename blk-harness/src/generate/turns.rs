//! When requests in flight give way to one another.

use crate::random::Random;

use crate::scenario::{POINTS_MAX, Scenario, Turn};

/// Gives the requests of a scenario turns: one in many scenarios, so that all others happen while one request
/// stands still; few or nearly all in others.
pub(super) fn fill(rng: &mut Random, scenario: &mut Scenario) {
    let count = scenario.requests.len() as u64;
    let eighths = [0, 0, 0, 1, 2, 4, 7][rng.below(7) as usize];
    let alone = if eighths == 0 { rng.below(count.max(1)) } else { count };
    let has_turn = |rng: &mut Random, index: u64| index == alone || rng.chance(eighths, 8);
    scenario.schedule =
        (0..count).map(|index| if has_turn(rng, index) { turn(rng) } else { Turn::default() }).collect();
    scenario.trim_schedule();
}

/// A turn. Early points are more likely: a read and a write in place have no more than four.
pub(crate) fn turn(rng: &mut Random) -> Turn {
    let points = match rng.below(8) {
        0..=3 => 1 + rng.below(4),
        4..=6 => 1 + rng.below(16),
        _ => 1 + rng.below(u64::from(POINTS_MAX)),
    };
    Turn::new(points as u8, rng.chance(1, 4), rng.chance(1, 6))
}
