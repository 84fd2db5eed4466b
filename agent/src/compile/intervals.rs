//! Prefixes with a number each -> elementary intervals: of several prefixes around an address the lowest number counts.

use std::collections::BTreeSet;

use lanekeeper_common::intervals::{Intervals4, Intervals6};

use super::{Error, halves, limit};

/// An inclusive range of addresses and the number that stands for it, not 0.
#[derive(Debug, Clone, Copy)]
pub struct Cover {
    pub first: u128,
    pub last: u128,
    pub number: u16,
}

/// Of IPv4 addresses; `what` is counted against the room that there is.
pub fn fill4<const N: usize>(into: &mut Intervals4<N>, covers: &[Cover], what: &'static str) -> Result<(), Error> {
    // They end where a search over 32 bits does.
    let mut found = sweep(covers);
    found.retain(|(first, _)| *first <= u32::MAX.into());
    limit(what, found.len(), N)?;
    into.starts.fill(u32::MAX);
    into.numbers.fill(last(&found));
    for (place, (first, number)) in found.iter().enumerate() {
        (into.starts[place], into.numbers[place]) = (*first as u32, *number);
    }
    Ok(())
}

/// Of IPv6 addresses.
pub fn fill6<const N: usize>(into: &mut Intervals6<N>, covers: &[Cover], what: &'static str) -> Result<(), Error> {
    let found = sweep(covers);
    limit(what, found.len(), N)?;
    into.starts.fill([u64::MAX; 2]);
    into.numbers.fill(last(&found));
    for (place, (first, number)) in found.iter().enumerate() {
        (into.starts[place], into.numbers[place]) = (halves(*first), *number);
    }
    Ok(())
}

/// A search for the last address may stop at any unused place: there it finds what the last interval has.
fn last(intervals: &[Interval]) -> u16 {
    intervals.last().map_or(0, |(_, number)| *number)
}

/// Where an interval begins, and its lowest number or 0.
type Interval = (u128, u16);

/// Cuts the addresses from 0 up where anything begins or ends.
fn sweep(covers: &[Cover]) -> Vec<Interval> {
    // (where, begins?, cover): only the state after all events of a place counts.
    let mut events: Vec<(u128, bool, usize)> = Vec::new();
    for (number, cover) in covers.iter().enumerate() {
        events.push((cover.first, true, number));
        if let Some(after) = cover.last.checked_add(1) {
            events.push((after, false, number));
        }
    }
    events.sort_unstable();
    let mut open: BTreeSet<(u16, usize)> = BTreeSet::new();
    let mut intervals: Vec<Interval> = vec![(0, 0)];
    for (place, (at, begins, number)) in events.iter().enumerate() {
        let of = (covers[*number].number, *number);
        if *begins {
            open.insert(of)
        } else {
            open.remove(&of)
        };
        if events.get(place + 1).is_some_and(|next| next.0 == *at) {
            continue;
        }
        let lowest = open.first().map_or(0, |(lowest, _)| *lowest);
        match intervals.last_mut() {
            Some(last) if last.0 == *at => last.1 = lowest,
            Some(last) if last.1 == lowest => {}
            _ => intervals.push((*at, lowest)),
        }
    }
    intervals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cover(first: u128, last: u128, number: u16) -> Cover {
        Cover { first, last, number }
    }

    #[test]
    fn nothing_is_one_interval() {
        assert_eq!(sweep(&[]), [(0, 0)]);
    }

    #[test]
    fn the_first_tenant_wins_where_several_cover() {
        assert_eq!(
            sweep(&[cover(0, 100, 2), cover(10, 20, 1), cover(15, 18, 1)]),
            [(0, 2), (10, 1), (21, 2), (101, 0)]
        );
    }

    #[test]
    fn a_tenant_that_covers_twice_ends_with_the_last() {
        assert_eq!(sweep(&[cover(0, 10, 1), cover(5, 20, 1), cover(21, 22, 1)]), [(0, 1), (23, 0)]);
    }

    #[test]
    fn the_last_address_of_all_is_covered() {
        assert_eq!(sweep(&[cover(u128::MAX, u128::MAX, 1)]), [(0, 0), (u128::MAX, 1)]);
    }
}
