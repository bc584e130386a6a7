//! Which subsets of what is pending are tried.
//!
//! All of them while there are few items; else those that find most: prefixes, single drops, single keeps, pairs of both, first
//! by whole operations (a crash between writes), then by items (torn writes), then seeded random ones.

use crate::random::Random;

use crate::durability::Durability;

/// Which items have persisted, in the order of its operations.
pub type Kept = Vec<bool>;

/// Up to so many items, all subsets are tried.
const ALL_ITEMS_MAX: usize = 12;

/// How many subsets are tried, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct States {
    /// At most so many are chosen, where there are too many to try all.
    pub count_max: usize,
    /// So many of them are tried, at least 1: fewer tries are the first ones of more.
    pub tries_max: usize,
    /// Only those in which something of the newest operation has persisted: the others have been tried before it.
    pub newest_only: bool,
    /// Seed of the random ones.
    pub seed: u64,
}

impl States {
    /// At most `count_max` subsets, all of which are tried.
    pub fn new(count_max: usize, newest_only: bool, seed: u64) -> Self {
        Self { count_max, tries_max: count_max, newest_only, seed }
    }

    /// The subsets of `durability`'s items, the most telling first: nothing lost, then as little as possible.
    pub fn of(self, durability: &Durability) -> Vec<Kept> {
        let count = durability.items().len();
        let mut found = if count <= ALL_ITEMS_MAX && 1 << count <= self.count_max {
            all(count)
        } else {
            self.chosen(durability)
        };
        if self.newest_only {
            let newest = durability.pending().last().map_or(0..0, |newest| newest.items.clone());
            found.retain(|kept| kept[newest.clone()].iter().any(|kept| *kept));
        }
        found.truncate(self.count_max.min(self.tries_max).max(1));
        found
    }

    fn chosen(self, durability: &Durability) -> Vec<Kept> {
        let count = durability.items().len();
        let operations: Vec<_> = durability.pending().iter().map(|pending| pending.items.clone()).collect();
        let items: Vec<_> = (0..count).map(|item| item..item + 1).collect();
        let mut found = vec![vec![true; count]];
        for units in [&operations, &items] {
            let number = units.len();
            let of = |is_kept: &dyn Fn(usize) -> bool| {
                let mut kept = vec![false; count];
                for (index, unit) in units.iter().enumerate() {
                    kept[unit.clone()].fill(is_kept(index));
                }
                kept
            };
            for one in (0..number).rev() {
                found.push(of(&|index| index != one));
                found.push(of(&|index| index == one));
                found.push(of(&|index| index < one));
            }
            if number * number <= self.count_max {
                for (first, second) in pairs(number) {
                    found.push(of(&|index| index != first && index != second));
                    found.push(of(&|index| index == first || index == second));
                }
            }
        }
        let mut rng = Random::new(self.seed);
        while found.len() < self.count_max {
            let share = 1 + rng.below(7);
            found.push((0..count).map(|_| rng.chance(share, 8)).collect());
        }
        found
    }
}

/// All subsets, from everything to nothing.
fn all(count: usize) -> Vec<Kept> {
    (0..1_usize << count)
        .map(|dropped| (0..count).map(|item| dropped >> (count - 1 - item) & 1 == 0).collect())
        .collect()
}

fn pairs(number: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..number).rev().flat_map(|second| (0..second).rev().map(move |first| (first, second)))
}
