//! Ranges of values -> elementary intervals, each with the rules (and the tenant) that cover it.

use std::collections::BTreeSet;

use super::vectors::Set;

/// An inclusive range and what covers it.
#[derive(Debug, Clone, Copy)]
pub struct Cover<K> {
    /// First value.
    pub first: u128,
    /// Last value.
    pub last: u128,
    /// Rule or tenant.
    pub by: K,
}

/// An interval of the result: where it begins, the rules within, the first tenant or 0.
pub type Interval = (u128, Set, u16);

/// Cuts the values from 0 up where anything begins or ends. `always` are the rules that cover everything. A rule may cover
/// a value several times over.
pub fn sweep(always: &Set, rules: &[Cover<usize>], tenants: &[Cover<u16>]) -> Vec<Interval> {
    // (where, begins?, what); ends sort before begins at one place, which is of no consequence: only the state after
    // all events of a place counts.
    let mut events: Vec<(u128, bool, By)> = Vec::new();
    let mut push = |first, last: u128, by| {
        events.push((first, true, by));
        if let Some(after) = last.checked_add(1) {
            events.push((after, false, by));
        }
    };
    rules.iter().for_each(|cover| push(cover.first, cover.last, By::Rule(cover.by)));
    tenants.iter().for_each(|cover| push(cover.first, cover.last, By::Tenant(cover.by)));
    events.sort_unstable_by_key(|event| event.0);

    let mut depth = vec![0u32; rules.iter().map(|cover| cover.by + 1).max().unwrap_or(0)];
    let mut open_tenants: BTreeSet<(u16, usize)> = BTreeSet::new();
    let mut tenant_depth = 0;
    let mut set = *always;
    let mut intervals: Vec<Interval> = vec![(0, set, 0)];
    for (place, (at, begins, by)) in events.iter().enumerate() {
        match (by, begins) {
            (By::Rule(rule), true) => {
                depth[*rule] += 1;
                set.insert(*rule);
            }
            (By::Rule(rule), false) => {
                depth[*rule] -= 1;
                if depth[*rule] == 0 {
                    set.remove(*rule);
                }
            }
            (By::Tenant(tenant), true) => {
                tenant_depth += 1;
                open_tenants.insert((*tenant, tenant_depth));
            }
            (By::Tenant(tenant), false) => {
                if let Some(open) = open_tenants.range((*tenant, 0)..=(*tenant, usize::MAX)).next().copied() {
                    open_tenants.remove(&open);
                }
            }
        }
        if events.get(place + 1).is_some_and(|next| next.0 == *at) {
            continue;
        }
        let tenant = open_tenants.first().map_or(0, |(tenant, _)| *tenant);
        match intervals.last_mut() {
            Some(last) if last.0 == *at => (last.1, last.2) = (set, tenant),
            Some(last) if (last.1, last.2) == (set, tenant) => {}
            _ => intervals.push((*at, set, tenant)),
        }
    }
    intervals
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Rule(usize),
    Tenant(u16),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(rules: &[usize]) -> Set {
        let mut set = Set::default();
        rules.iter().for_each(|rule| set.insert(*rule));
        set
    }

    fn cover<K>(first: u128, last: u128, by: K) -> Cover<K> {
        Cover { first, last, by }
    }

    #[test]
    fn nothing_is_one_interval() {
        assert_eq!(sweep(&set(&[3]), &[], &[]), vec![(0, set(&[3]), 0)]);
    }

    #[test]
    fn overlapping_ranges_are_cut_at_every_edge() {
        let intervals = sweep(&set(&[9]), &[cover(10, 20, 0), cover(15, 30, 1)], &[]);
        assert_eq!(
            intervals,
            vec![
                (0, set(&[9]), 0),
                (10, set(&[0, 9]), 0),
                (15, set(&[0, 1, 9]), 0),
                (21, set(&[1, 9]), 0),
                (31, set(&[9]), 0)
            ]
        );
    }

    #[test]
    fn a_rule_that_covers_twice_ends_with_the_last() {
        let intervals = sweep(&set(&[]), &[cover(0, 10, 0), cover(5, 20, 0), cover(21, 22, 0)], &[]);
        assert_eq!(intervals, vec![(0, set(&[0]), 0), (23, set(&[]), 0)]);
    }

    #[test]
    fn the_last_value_of_all_is_covered() {
        let intervals = sweep(&set(&[]), &[cover(u128::MAX, u128::MAX, 0)], &[]);
        assert_eq!(intervals, vec![(0, set(&[]), 0), (u128::MAX, set(&[0]), 0)]);
    }

    #[test]
    fn the_first_tenant_wins_where_several_cover() {
        let intervals = sweep(&set(&[]), &[], &[cover(0, 100, 2), cover(10, 20, 1), cover(15, 18, 1)]);
        assert_eq!(
            intervals.iter().map(|(at, _, tenant)| (*at, *tenant)).collect::<Vec<_>>(),
            vec![(0, 2), (10, 1), (21, 2), (101, 0)]
        );
    }
}
