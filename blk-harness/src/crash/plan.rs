//! Which crash points of a log are judged, where these are too many.

/// So many states are judged at a crash point that is judged at all, if it has as many.
const SHARE_MIN: u64 = 4;

/// Which crash points of a log are judged, and how many states of each. What is judged with a smaller budget
/// is judged with a larger one too, and nothing depends on what was judged before.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Plan {
    /// One point in so many is judged; a power of two.
    stride: u64,
    /// States of each.
    pub(super) share: u64,
    /// States of a rare point that is not one of them.
    pub(super) rare_share: u64,
    /// Which points.
    seed: u64,
}

impl Plan {
    /// For `points` crash points; about `budget` states are judged.
    pub(super) fn new(budget: u64, points: u64, seed: u64) -> Self {
        let (budget, points) = (budget.max(1), points.max(1));
        let stride = points.saturating_mul(SHARE_MIN).div_ceil(budget).next_power_of_two();
        let share = if stride > 1 { SHARE_MIN } else { budget / points };
        // One state is nothing lost; the second has nothing but the newest operation.
        let rare_share = (budget / 8).clamp(2, SHARE_MIN);
        Self { stride, share, rare_share, seed }
    }

    /// Whether the point after operation number `count` is judged: without rhythm, so that what is left out
    /// is of all kinds, and other points in other scenarios.
    pub(super) fn takes(&self, count: u64) -> bool {
        ((count ^ self.seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32).is_multiple_of(self.stride)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So a replay finds what fuzzing has found.
    #[test]
    fn what_a_smaller_budget_judges_a_larger_one_does_too() {
        for points in [0, 1, 3, 10, 40, 100, 1000, 5000] {
            for (smaller, larger) in [(0, 1), (1, 4), (24, 400), (48, 2000), (48, u64::MAX), (2000, 2001)] {
                let [few, many] = [smaller, larger].map(|budget| Plan::new(budget, points, 7));
                assert!(few.share <= many.share && few.rare_share <= many.rare_share, "{few:?} {many:?}");
                assert!(
                    (0..2 * points).all(|count| !few.takes(count) || many.takes(count)),
                    "{few:?} {many:?}"
                );
            }
        }
    }

    #[test]
    fn the_budget_holds_about_and_the_seed_decides_which_points_are_taken() {
        let taken = |seed| {
            let plan = Plan::new(48, 1000, seed);
            (0..1000).filter(|count| plan.takes(*count)).collect::<Vec<u64>>()
        };
        let (first, second) = (taken(1), taken(2));
        assert!((3..=24).contains(&first.len()) && (3..=24).contains(&second.len()), "{first:?} {second:?}");
        assert_ne!(first, second);
        assert_eq!(Plan::new(48, 3, 1).share, 16);
    }
}
