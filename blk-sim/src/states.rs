//! Which subsets of what is pending are tried.
//!
//! All of them while there are few items; else those that find most: prefixes, single drops, single keeps,
//! pairs of both, first by whole operations (a crash between writes), then runs that fall back together, then
//! by items (torn writes), then seeded random ones.

use blk_core::Extent;

use crate::durability::Durability;
use crate::random::Random;

/// Which items have persisted, in the order of its operations.
pub type Kept = Vec<bool>;

/// Up to so many items, all subsets are tried.
const ALL_ITEMS_MAX: usize = 12;
/// Media forget runs of so many bytes together, aligned to their length: from a page to what a drive's cache
/// or a stripe holds.
const RUN_BYTES: [u64; 6] = [4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10];

/// How many subsets are tried, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct States {
    /// At most so many are chosen, where there are too many to try all.
    pub count_max: usize,
    /// So many of them are tried, at least 1: fewer tries are the first ones of more.
    pub tries_max: usize,
    /// Only those in which something of the newest operation has persisted: the others have been tried before
    /// it.
    pub newest_only: bool,
    /// So many of those are runs that a medium forgets together, by the seed: all else has persisted.
    pub runs_max: usize,
    /// Seed of the random ones.
    pub seed: u64,
}

impl States {
    /// At most `count_max` subsets, all of which are tried.
    pub fn new(count_max: usize, newest_only: bool, seed: u64) -> Self {
        Self { count_max, tries_max: count_max, newest_only, runs_max: 0, seed }
    }

    /// The same, with so many runs that fall back together.
    #[must_use]
    pub fn forgetting(self, runs_max: usize) -> Self {
        Self { runs_max, ..self }
    }

    /// The subsets of `durability`'s items, the most telling first: nothing lost, then as little as possible.
    pub fn of(self, durability: &Durability) -> Vec<Kept> {
        let count = durability.items().len();
        let mut found = if count <= ALL_ITEMS_MAX && 1 << count <= self.count_max {
            all(count)
        } else {
            self.chosen(durability)
        };
        found.retain(|kept| self.counts(durability, kept));
        found.truncate(self.limit());
        debug_assert!(found.iter().all(|kept| kept.len() == count), "one answer for each item");
        found
    }

    /// How many subsets there are at most.
    fn limit(self) -> usize {
        self.count_max.min(self.tries_max).max(1)
    }

    /// Whether a subset is one of those that are asked for.
    fn counts(self, durability: &Durability, kept: &Kept) -> bool {
        let newest = durability.pending().last().map_or(0..0, |newest| newest.items.clone());
        !self.newest_only || kept[newest].iter().any(|kept| *kept)
    }

    /// Those that are chosen where there are too many, and a few more. Of very many items, no more than are
    /// asked for are made: each takes a byte for each item.
    fn chosen(self, durability: &Durability) -> Vec<Kept> {
        let count = durability.items().len();
        let operations: Vec<_> = durability.pending().iter().map(|pending| pending.items.clone()).collect();
        let items: Vec<_> = (0..count).map(|item| item..item + 1).collect();
        let mut found = vec![vec![true; count]];
        let asked_for = |kept: &[Kept]| kept.iter().filter(|kept| self.counts(durability, kept)).count();
        let mut counted = asked_for(&found);
        for (round, units) in [&operations, &items].into_iter().enumerate() {
            if round == 1 {
                let runs = self.runs(durability);
                counted += asked_for(&runs);
                found.extend(runs);
            }
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
                counted += asked_for(&found[found.len() - 3..]);
                if counted >= self.limit() {
                    return found;
                }
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

impl States {
    /// Runs that fall back: to what is durable, or to what was there after one of the operations. An item
    /// that reaches out of the run falls back as a whole.
    fn runs(self, durability: &Durability) -> Vec<Kept> {
        let items = durability.items();
        let mut rng = Random::new(self.seed ^ RUN_BYTES[0]);
        let mut found: Vec<Kept> = Vec::new();
        // Most are tried once, and some twice: a few tries more find what there is.
        for _ in 0..self.runs_max * 2 {
            if found.len() == self.runs_max || items.is_empty() {
                break;
            }
            let bytes = rng.one_of(&RUN_BYTES);
            // Each operation is as likely as another, however long it is.
            let pending = durability.pending();
            let own = pending[rng.below(pending.len() as u64) as usize].items.clone();
            let item = own.start + rng.below(own.len().max(1) as u64) as usize;
            let start = items.get(item).map_or(0, |item| item.extent.offset) / bytes * bytes;
            let run = Extent::new(start, bytes);
            let since = if rng.chance(3, 4) { 0 } else { rng.below(pending.len() as u64) as usize };
            let is_forgotten = |item: usize| items[item].extent.overlaps(run);
            let mut kept = vec![true; items.len()];
            for item in pending[since..].iter().flat_map(|pending| pending.items.clone()) {
                kept[item] = !is_forgotten(item);
            }
            let lost = kept.iter().filter(|kept| !**kept).count();
            if lost > 1 && !found.contains(&kept) {
                found.push(kept);
            }
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

#[cfg(test)]
mod tests {
    use blk_core::{MemoryStorage, Storage};

    use super::*;
    use crate::{Host, Settings};

    /// What is pending after writes of so many sectors each.
    fn pending(writes: &[u64]) -> Durability {
        let image = MemoryStorage::from_bytes(&vec![0; 1 << 15]);
        let host = Host::new(image.duplicate(), Settings::crashing());
        let mut at = 0;
        for sectors in writes {
            host.write_at(at, &vec![7; *sectors as usize * 512]).unwrap();
            at = Extent::new(at, sectors * 512).end();
        }
        let mut durability = Durability::new(image, 512);
        for operation in host.take_log() {
            durability.apply(&operation).unwrap();
        }
        durability
    }

    #[test]
    fn all_subsets_are_tried_while_they_are_few() {
        for (items, count_max, expected) in
            [(0, 1, 1), (3, 8, 8), (3, 7, 7), (12, 4096, 4096), (12, 4095, 4095)]
        {
            let states = States::new(count_max, false, 1).of(&pending(&vec![1; items]));
            assert_eq!(states.len(), expected, "{items} items, {count_max}");
            if expected == 1 << items {
                let mut distinct = states.clone();
                distinct.sort_unstable();
                distinct.dedup();
                assert_eq!(distinct.len(), expected);
            }
            assert!(states[0].iter().all(|kept| *kept), "nothing is lost in the first");
        }
    }

    /// The subsets that find most, for operations of one item and of several.
    #[test]
    fn prefixes_single_losses_single_survivors_and_pairs_are_tried_first() {
        let writes = [1, 1, 2, 1, 1, 1, 3, 1, 1, 1, 1, 1];
        let durability = pending(&writes);
        let items = durability.items().len();
        assert_eq!(items, 15);
        let states = States::new(1200, false, 1).of(&durability);
        assert_eq!(states.len(), 1200);
        let has = |is_kept: &dyn Fn(usize) -> bool| {
            let wanted: Kept = (0..items).map(is_kept).collect();
            states.contains(&wanted)
        };
        let operations: Vec<_> = durability.pending().iter().map(|pending| pending.items.clone()).collect();
        let single: Vec<_> = (0..items).map(|item| item..item + 1).collect();
        for units in [&operations, &single] {
            for one in units {
                assert!(has(&|item| !one.contains(&item)), "all but {one:?}");
                assert!(has(&|item| one.contains(&item)), "only {one:?}");
                assert!(has(&|item| item < one.start), "all before {one:?}");
                for other in units.iter().filter(|other| *other != one) {
                    assert!(has(&|item| !one.contains(&item) && !other.contains(&item)), "{one:?} {other:?}");
                    assert!(has(&|item| one.contains(&item) || other.contains(&item)), "{one:?} {other:?}");
                }
            }
        }
        let kept: Vec<usize> =
            states[1000..].iter().map(|kept| kept.iter().filter(|kept| **kept).count()).collect();
        assert!(kept.iter().any(|count| *count < 4) && kept.iter().any(|count| *count > 11), "{kept:?}");
    }

    #[test]
    fn pairs_are_left_out_where_they_are_too_many() {
        let durability = pending(&[1; 20]);
        for (count_max, has_pairs) in [(399, false), (400, true)] {
            let states = States::new(count_max, false, 1).of(&durability);
            let lost = |kept: &Kept| kept.iter().filter(|kept| !**kept).count();
            let first = &states[1 + 3 * 20..][..60];
            assert_eq!(first.iter().step_by(2).all(|kept| lost(kept) == 2), has_pairs, "{count_max}");
            assert_eq!(states.len(), count_max);
        }
    }

    /// Where not all are tried, each item is lost and kept alone, the first ones too.
    #[test]
    fn few_of_few_items_are_the_most_telling() {
        let states = States::new(64, false, 1).of(&pending(&[1; 8]));
        assert_eq!(states.len(), 64);
        for one in 0..8 {
            for is_kept in [false, true] {
                let wanted: Kept = (0..8).map(|item| (item == one) == is_kept).collect();
                assert!(states.contains(&wanted), "{one} {is_kept}");
            }
        }
    }

    /// With the newest operation alone, fewer of the same are left: the seed stands for no other ones.
    #[test]
    fn what_has_something_of_the_newest_is_a_part_of_all() {
        for seed in 0..32 {
            let durability = pending(&[1; 14]);
            let mut all = States::new(100, false, seed).of(&durability);
            all.retain(|kept| kept[13]);
            assert_eq!(States::new(100, true, seed).of(&durability), all, "{seed}");
        }
    }

    #[test]
    fn no_more_runs_are_tried_than_were_asked_for_and_none_where_nothing_is_pending() {
        let durability = pending(&[1; 20]);
        let without = States::new(200, false, 3).of(&durability);
        for runs_max in [1, 2, 3] {
            let with = States::new(200, false, 3).forgetting(runs_max).of(&durability);
            // Of what is tried item by item, all comes later by so much.
            assert_eq!(with[1 + 3 * 20 + runs_max..], without[1 + 3 * 20..200 - runs_max], "{runs_max}");
        }
        let nothing = States::new(0, false, 3).forgetting(2).of(&pending(&[]));
        assert_eq!(nothing, [Kept::new()]);
    }

    /// 20 sectors in a row: runs of 8, 16 and all of them fall back together, also to what was there between.
    #[test]
    fn aligned_runs_fall_back_together_while_all_else_persists() {
        let durability = pending(&[1; 20]);
        let with = States::new(200, false, 3).forgetting(12).of(&durability);
        let without = States::new(200, false, 3).of(&durability);
        let runs = &with[1 + 3 * 20..][..5];
        for kept in runs {
            let lost: Vec<usize> = (0..20).filter(|at| !kept[*at]).collect();
            assert!(lost.len() > 1 && lost.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{lost:?}");
            assert!((lost[lost.len() - 1] + 1).is_multiple_of(8) || lost.ends_with(&[19]), "{lost:?}");
        }
        assert_eq!(with[..=3 * 20], without[..=3 * 20], "the most telling come first");
        assert_eq!(with, States::new(200, false, 3).forgetting(12).of(&durability), "the seed decides");
    }
    /// A trace of a crash names none of its states: with others, kept traces would mean something else.
    #[test]
    fn the_states_of_a_seed_are_pinned() {
        let durability = pending(&[1, 2, 1, 3, 1, 1, 4, 1, 1, 2]);
        let chosen = States::new(700, false, 7).forgetting(16).of(&durability);
        let bytes: Vec<u8> = chosen.concat().into_iter().map(u8::from).collect();
        assert_eq!((chosen.len(), crate::random::hash(&bytes)), (700, 0x1e9f_d5d9_d156_f1f8));
        let runs: Vec<String> = chosen[1 + 3 * 10 + 2 * 45..]
            .iter()
            .map(|kept| kept.iter().map(|kept| if *kept { '+' } else { '.' }).collect())
            .take(7)
            .collect();
        let expected = [
            "........+++++++++",
            "++++++++........+",
            ".................",
            "+++++++..........",
            "+++++++++++++....",
            "................+",
            "+++..............",
        ];
        assert_eq!(runs, expected, "what falls back together");
    }
}
