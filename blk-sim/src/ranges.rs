//! A set of numbers, kept as ranges: which units of an image have been touched.

use std::ops::Range;

/// Numbers, as ranges that neither overlap nor touch, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges {
    ranges: Vec<Range<u64>>,
    count: u64,
}

impl Ranges {
    /// Adds all numbers of `range`.
    pub fn add(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let first = self.ranges.partition_point(|other| other.end < range.start);
        let end = self.ranges.partition_point(|other| other.start <= range.end);
        let replaced = &self.ranges[first..end];
        let merged = match (replaced.first(), replaced.last()) {
            (Some(low), Some(high)) => low.start.min(range.start)..high.end.max(range.end),
            _ => range,
        };
        let before: u64 = replaced.iter().map(|other| other.end - other.start).sum();
        self.count = self.count - before + (merged.end - merged.start);
        self.ranges.splice(first..end, [merged]);
        debug_assert!(self.ranges.is_sorted_by(|one, next| one.end < next.start), "apart and in order");
    }

    /// How many numbers there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Range<u64>> {
        self.ranges.iter()
    }

    /// Whether any of `range` is one of them.
    pub fn overlaps(&self, range: Range<u64>) -> bool {
        let next = self.ranges.partition_point(|other| other.end <= range.start);
        self.ranges.get(next).is_some_and(|other| other.start < range.end && !range.is_empty())
    }

    /// Whether `number` is one of them.
    pub fn contains(&self, number: u64) -> bool {
        self.overlaps(number..number + 1)
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.ranges.clear();
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::random::Random;

    #[test]
    fn ranges_are_what_a_set_of_numbers_is() {
        let mut random = Random::new(3);
        for _ in 0..200 {
            let (mut ranges, mut numbers) = (Ranges::default(), BTreeSet::new());
            for _ in 0..12 {
                let start = random.below(40);
                let range = start..start + random.below(8);
                numbers.extend(range.clone());
                ranges.add(range);
            }
            assert_eq!(ranges.count(), numbers.len() as u64);
            assert!((0..50).all(|number| ranges.contains(number) == numbers.contains(&number)));
            let edges: Vec<_> = ranges.iter().collect();
            assert!(
                edges.windows(2).all(|pair| pair[0].end < pair[1].start),
                "apart and in order: {edges:?}"
            );
        }
    }

    #[test]
    fn what_is_cleared_is_empty() {
        let mut ranges = Ranges::default();
        ranges.add(3..9);
        ranges.clear();
        assert_eq!((ranges.count(), ranges.contains(4), ranges.iter().count()), (0, false, 0));
        ranges.add(1..2);
        assert_eq!((ranges.count(), ranges.contains(1)), (1, true));
    }
}
