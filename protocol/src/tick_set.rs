//! A set of ticks as sorted, disjoint, non-touching ranges: what is stored, acknowledged or missing of one boot.

use crate::ids::{Tick, TickRange};
use std::collections::BTreeMap;

/// A set of ticks. Ranges that touch are one range, so an outage costs one entry however long it lasted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TickSet {
    /// First tick of each range to its last.
    ranges: BTreeMap<u64, u64>,
}

impl TickSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `range` and says how many of its ticks were already there.
    pub fn insert(&mut self, range: TickRange) -> u64 {
        let (mut first, mut last) = (range.first.0, range.last.0);
        let mut known = 0;
        // Every range that overlaps or touches the new one is swallowed by it.
        while let Some((&start, &end)) = self.ranges.range(..=last.saturating_add(1)).next_back() {
            if end.saturating_add(1) < range.first.0 {
                break;
            }
            known += overlap(start, end, range);
            self.ranges.remove(&start);
            first = first.min(start);
            last = last.max(end);
        }
        self.ranges.insert(first, last);
        known
    }

    /// Removes the ticks of `range`.
    pub fn remove(&mut self, range: TickRange) {
        let (first, last) = (range.first.0, range.last.0);
        let hit: Vec<(u64, u64)> =
            self.ranges.range(..=last).rev().take_while(|(_, end)| **end >= first).map(|(s, e)| (*s, *e)).collect();
        for (start, end) in hit {
            self.ranges.remove(&start);
            if start < first {
                self.ranges.insert(start, first - 1);
            }
            if end > last {
                self.ranges.insert(last + 1, end);
            }
        }
    }

    /// Whether every tick of `range` is in the set.
    pub fn covers(&self, range: TickRange) -> bool {
        self.ranges.range(..=range.first.0).next_back().is_some_and(|(_, end)| *end >= range.last.0)
    }

    /// The ticks of `range` that are not in the set, oldest first.
    pub fn missing(&self, range: TickRange) -> Vec<TickRange> {
        let mut holes = Vec::new();
        let mut next = range.first.0;
        let from = self.ranges.range(..=next).next_back().map_or(next, |(start, _)| *start);
        for (&start, &end) in self.ranges.range(from..=range.last.0) {
            if start > next {
                holes.push(TickRange { first: Tick(next), last: Tick(start - 1) });
            }
            next = next.max(end.saturating_add(1));
        }
        if next <= range.last.0 {
            holes.push(TickRange { first: Tick(next), last: range.last });
        }
        holes
    }

    /// The ranges, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = TickRange> + '_ {
        self.ranges.iter().map(|(first, last)| TickRange { first: Tick(*first), last: Tick(*last) })
    }

    /// At most `count` ranges, the newest ones, newest first.
    pub fn newest(&self, count: usize) -> Vec<TickRange> {
        self.iter().rev().take(count).collect()
    }

    /// How many ticks the set holds.
    pub fn len(&self) -> u64 {
        self.iter().map(TickRange::len).sum()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The first and the last tick of the set.
    pub fn bounds(&self) -> Option<TickRange> {
        let (first, _) = self.ranges.first_key_value()?;
        let (_, last) = self.ranges.last_key_value()?;
        Some(TickRange { first: Tick(*first), last: Tick(*last) })
    }
}

impl FromIterator<TickRange> for TickSet {
    fn from_iter<I: IntoIterator<Item = TickRange>>(ranges: I) -> Self {
        let mut set = Self::new();
        for range in ranges {
            set.insert(range);
        }
        set
    }
}

fn overlap(start: u64, end: u64, range: TickRange) -> u64 {
    let (from, to) = (start.max(range.first.0), end.min(range.last.0));
    if from <= to { (to - from).saturating_add(1) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn range(first: u64, last: u64) -> TickRange {
        TickRange::new(Tick(first), Tick(last)).expect("a range of the test")
    }

    #[test]
    fn the_last_tick_there_can_be_does_no_harm() {
        let mut set = TickSet::new();
        set.insert(range(u64::MAX - 1, u64::MAX));
        set.insert(range(0, 3));
        assert!(set.covers(range(u64::MAX, u64::MAX)));
        assert_eq!(set.missing(range(2, 5)), vec![range(4, 5)]);
        set.remove(range(u64::MAX, u64::MAX));
        assert_eq!(set.len(), 5);
    }

    proptest! {
        /// The set against a plain set of numbers, through any order of inserts and removals.
        #[test]
        fn agrees_with_a_plain_set(steps in proptest::collection::vec((any::<bool>(), 0u64..60, 0u64..12), 1..40)) {
            let (mut set, mut model) = (TickSet::new(), BTreeSet::new());
            for (add, first, len) in steps {
                let r = range(first, first + len);
                if add {
                    let known = (r.first.0..=r.last.0).filter(|t| model.contains(t)).count() as u64;
                    prop_assert_eq!(set.insert(r), known);
                    model.extend(r.first.0..=r.last.0);
                } else {
                    set.remove(r);
                    model.retain(|t| !(r.first.0..=r.last.0).contains(t));
                }
                let listed: Vec<u64> = set.iter().flat_map(|r| r.first.0..=r.last.0).collect();
                prop_assert_eq!(&listed, &model.iter().copied().collect::<Vec<_>>());
                let ranges: Vec<_> = set.iter().collect();
                prop_assert!(ranges.windows(2).all(|w| w[0].last.0 + 1 < w[1].first.0), "touching ranges are one");
                let probe = range(first, first + 2 * len);
                let holes: Vec<u64> = set.missing(probe).iter().flat_map(|r| r.first.0..=r.last.0).collect();
                let expected: Vec<u64> = (probe.first.0..=probe.last.0).filter(|t| !model.contains(t)).collect();
                prop_assert_eq!(set.covers(probe), expected.is_empty());
                prop_assert_eq!(holes, expected);
            }
        }
    }
}
