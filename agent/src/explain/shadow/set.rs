//! Sets of numbers as ranges: the values that a field may have.

use std::sync::Arc;

/// Inclusive ranges, in order, none touching the next. Most sets are passed on from region to region as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set(Arc<[(u128, u128)]>);

impl Set {
    /// All that these ranges hold, in any order.
    pub fn of(ranges: impl IntoIterator<Item = (u128, u128)>) -> Self {
        let mut ranges: Vec<(u128, u128)> = ranges.into_iter().collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged.into())
    }

    /// One range.
    pub fn range(first: u128, last: u128) -> Self {
        Self(Arc::new([(first, last)]))
    }

    /// Its ranges.
    pub fn ranges(&self) -> &[(u128, u128)] {
        &self.0
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the value is in it.
    pub fn contains(&self, value: u128) -> bool {
        self.0.get(self.at(value)).is_some_and(|(first, _)| *first <= value)
    }

    /// Whether all of `other` is in it.
    pub fn holds(&self, other: &Self) -> bool {
        other
            .0
            .iter()
            .all(|(first, last)| self.0.get(self.at(*first)).is_some_and(|own| own.0 <= *first && *last <= own.1))
    }

    /// Whether anything is in both.
    pub fn meets(&self, other: &Self) -> bool {
        self.0.iter().any(|(first, last)| other.0.get(other.at(*first)).is_some_and(|(begins, _)| begins <= last))
    }

    /// What is in both.
    pub fn and(&self, other: &Self) -> Self {
        if other.holds(self) {
            return self.clone();
        }
        if self.holds(other) {
            return other.clone();
        }
        let mut both = Vec::new();
        for &(first, last) in &*self.0 {
            let beside = other.0[other.at(first)..].iter().take_while(|(begins, _)| *begins <= last);
            both.extend(beside.map(|&(begins, ends)| (first.max(begins), last.min(ends))));
        }
        Self(both.into())
    }

    /// What of it is not in `other`.
    pub fn minus(&self, other: &Self) -> Self {
        let mut rest = Vec::new();
        for &(first, last) in &*self.0 {
            let mut from = Some(first);
            for &(begins, ends) in other.0[other.at(first)..].iter().take_while(|(begins, _)| *begins <= last) {
                if let Some(from) = from
                    && from < begins
                {
                    rest.push((from, begins - 1));
                }
                from = ends.checked_add(1);
            }
            if let Some(from) = from
                && from <= last
            {
                rest.push((from, last));
            }
        }
        Self(rest.into())
    }

    /// Place of the first range that does not end before the value.
    fn at(&self, value: u128) -> usize {
        self.0.partition_point(|(_, last)| *last < value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u128 = u128::MAX;

    #[test]
    fn ranges_that_touch_are_one() {
        assert_eq!(Set::of([(5, 9), (0, 4), (20, 30), (22, 23)]).ranges(), [(0, 9), (20, 30)]);
        assert_eq!(Set::of([(7, MAX), (0, 6)]).ranges(), [(0, MAX)]);
    }

    #[test]
    fn a_set_holds_what_one_of_its_ranges_holds() {
        let set = Set::of([(0, 9), (20, 30)]);
        assert!(set.holds(&Set::of([(3, 3), (20, 30)])) && set.holds(&Set::of([])));
        assert!(!set.holds(&Set::range(9, 20)) && !set.holds(&Set::range(31, 31)));
        assert!(set.contains(20) && !set.contains(10) && !set.contains(MAX));
    }

    #[test]
    fn what_is_in_both_and_what_is_left_make_the_whole() {
        let sets = [
            Set::of([]),
            Set::range(0, MAX),
            Set::of([(0, 9), (20, 30)]),
            Set::of([(5, 24), (26, 26), (30, MAX)]),
            Set::range(9, 9),
        ];
        for one in &sets {
            for other in &sets {
                let (both, rest) = (one.and(other), one.minus(other));
                assert_eq!(Set::of(both.ranges().iter().chain(rest.ranges()).copied()), *one, "{one:?} {other:?}");
                assert!(other.holds(&both) && rest.and(other).is_empty(), "{one:?} {other:?}");
                assert_eq!(one.meets(other), !both.is_empty(), "{one:?} {other:?}");
            }
        }
        assert_eq!(sets[2].minus(&sets[3]).ranges(), [(0, 4), (25, 25), (27, 29)]);
    }
}
