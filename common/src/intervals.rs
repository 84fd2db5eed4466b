//! Addresses -> a number, by sorted elementary intervals.
//!
//! A prefix list cuts the address space into intervals within which every address is covered by the same prefixes. Finding
//! one is a binary search of 15 steps over an array, the first of which all packets have in common: cheaper than the kernel's
//! LPM trie (73 ns at 1,000 prefixes, 317 ns at 16,000), and part of the one value that a generation is.

use crate::abi::MAX_INTERVALS;
use crate::opaque;

/// Intervals of IPv4 addresses in host byte order. Of how many there is room for is a power of two.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Intervals4<const N: usize = MAX_INTERVALS> {
    /// Where each begins; the first at 0. Unused places begin at the last address, and have the last one's number.
    pub starts: [u32; N],
    /// What stands for each.
    pub numbers: [u16; N],
}

/// Intervals of IPv6 addresses, upper and lower half in host byte order.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Intervals6<const N: usize = MAX_INTERVALS> {
    /// Where each begins; the first at 0. Unused places begin at the last address, and have the last one's number.
    pub starts: [[u64; 2]; N],
    /// What stands for each.
    pub numbers: [u16; N],
}

/// The last place that `begins` holds for, where it holds up to some place and not after; `begins` is 0 or 1.
///
/// There is no branch in it, for the verifier's sake: each would double the ways that it follows, and what a comparison
/// tells it of address and place keeps the ways from ending alike. It also leaves nothing to mispredict.
#[inline(always)]
fn search<const N: usize>(begins: impl Fn(usize) -> u64) -> usize {
    const { assert!(N.is_power_of_two()) };
    let mut place = 0;
    let mut step = N / 2;
    while step > 0 {
        place = (place + step * begins((place + step) & (N - 1)) as usize) & (N - 1);
        step /= 2;
    }
    place
}

/// The borrow of a - b - `borrow`, without a branch (Hacker's Delight, section 2-16): 1 where a < b + `borrow`.
#[inline(always)]
fn borrow(a: u64, b: u64, borrow: u64) -> u64 {
    // Opaque twice, or the compiler sees a comparison in it, or a choice in what is multiplied by 0 or 1.
    let difference = opaque(a.wrapping_sub(b).wrapping_sub(borrow));
    opaque(((!a & b) | ((!a | b) & difference)) >> 63)
}

impl<const N: usize> Intervals4<N> {
    /// The place of the interval that holds the address, or of its double among the unused places at the end.
    #[inline(always)]
    pub fn place(&self, address: u32) -> usize {
        search::<N>(|place| 1 - borrow(address.into(), self.starts[place & (N - 1)].into(), 0))
    }
}

impl<const N: usize> Intervals6<N> {
    /// The place of the interval that holds the address, or of its double among the unused places at the end.
    #[inline(always)]
    pub fn place(&self, address: [u64; 2]) -> usize {
        search::<N>(|place| {
            let start = &self.starts[place & (N - 1)];
            1 - borrow(address[0], start[0], borrow(address[1], start[1], 0))
        })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    fn four(starts: &[u32]) -> std::boxed::Box<Intervals4> {
        let mut intervals =
            std::boxed::Box::new(Intervals4 { starts: [u32::MAX; MAX_INTERVALS], numbers: [0; MAX_INTERVALS] });
        intervals.starts[..starts.len()].copy_from_slice(starts);
        (0..MAX_INTERVALS).for_each(|n| intervals.numbers[n] = n.min(starts.len() - 1) as u16);
        intervals
    }

    fn number(intervals: &Intervals4, address: u32) -> usize {
        intervals.numbers[intervals.place(address)].into()
    }

    #[test]
    fn an_address_belongs_to_the_interval_that_begins_last() {
        let intervals = four(&[0, 10, 11, 4_000_000_000]);
        for (address, place) in
            [(0, 0), (9, 0), (10, 1), (11, 2), (3_999_999_999, 2), (4_000_000_000, 3), (u32::MAX, 3)]
        {
            assert_eq!(number(&intervals, address), place, "{address}");
        }
    }

    #[test]
    fn one_interval_holds_everything() {
        let intervals = four(&[0]);
        assert_eq!(number(&intervals, 0), 0);
        assert_eq!(number(&intervals, u32::MAX), 0);
    }

    #[test]
    fn a_full_table_is_searched_to_its_last_place() {
        let starts: std::vec::Vec<u32> = (0..MAX_INTERVALS as u32).map(|n| n * 3).collect();
        let intervals = four(&starts);
        for n in 0..MAX_INTERVALS {
            assert_eq!(number(&intervals, n as u32 * 3 + 2), n);
        }
    }

    #[test]
    fn the_lower_half_decides_within_an_upper_half() {
        let mut intervals =
            std::boxed::Box::new(Intervals6 { starts: [[u64::MAX; 2]; MAX_INTERVALS], numbers: [0; MAX_INTERVALS] });
        intervals.starts[0] = [0, 0];
        intervals.starts[1] = [5, 100];
        intervals.starts[2] = [6, 0];
        for (address, place) in
            [([5, 99], 0), ([5, 100], 1), ([5, u64::MAX], 1), ([6, 0], 2), ([u64::MAX, 0], 2), ([1 << 63, 0], 2)]
        {
            assert_eq!(intervals.place(address), place, "{address:?}");
        }
    }
}
