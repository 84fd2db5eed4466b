//! Addresses -> a number, by sorted elementary intervals.
//!
//! A prefix list cuts the address space into intervals within which every address is covered by the same prefixes. Finding
//! one is a binary search of 13 steps over an array: cheaper at this size than the kernel's LPM trie (73 ns at 1,000
//! prefixes), and part of the one value that a generation is.

use crate::abi::MAX_INTERVALS;
use crate::blur;

/// Intervals of IPv4 addresses in host byte order.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Intervals4 {
    /// How many there are.
    pub len: u32,
    /// Always 0: see [`search`].
    pub zero: u32,
    /// Where each begins; the first at 0.
    pub starts: [u32; MAX_INTERVALS],
    /// What stands for each.
    pub numbers: [u16; MAX_INTERVALS],
}

/// Intervals of IPv6 addresses, upper and lower half in host byte order.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Intervals6 {
    /// How many there are.
    pub len: u32,
    /// Always 0: see [`search`].
    pub zero: u32,
    /// Where each begins; the first at 0.
    pub starts: [[u64; 2]; MAX_INTERVALS],
    /// What stands for each.
    pub numbers: [u16; MAX_INTERVALS],
}

const LAST: usize = MAX_INTERVALS - 1;
const _: () = assert!(MAX_INTERVALS.is_power_of_two());

/// The last place below `len` for which `begins` holds, where it holds up to some place and not after.
///
/// `zero` comes from the map so that the verifier knows nothing about it: with a constant it would follow all 8,192 ways
/// through the search one by one instead of finding them alike after each step.
#[inline(always)]
fn search(zero: u32, len: u32, begins: impl Fn(usize) -> bool) -> usize {
    let mut place = zero as usize & LAST;
    let mut step = MAX_INTERVALS / 2;
    while step > 0 {
        let probe = (place + step) & LAST;
        if (probe as u32) < len && begins(probe) {
            place = probe;
        }
        step /= 2;
    }
    place & LAST
}

impl Intervals4 {
    /// The place of the interval that holds the address.
    #[inline(always)]
    pub fn place(&self, address: u32) -> usize {
        // A copy: what the comparisons tell the verifier of the address must not stick to the address itself.
        let address = blur(self.zero, address);
        search(self.zero, self.len, |place| self.starts[place & LAST] <= address)
    }
}

impl Intervals6 {
    /// The place of the interval that holds the address.
    #[inline(always)]
    pub fn place(&self, address: [u64; 2]) -> usize {
        let zero = u64::from(self.zero);
        let address = [address[0].wrapping_add(zero), address[1].wrapping_add(zero)];
        search(self.zero, self.len, |place| {
            let start = &self.starts[place & LAST];
            start[0] < address[0] || (start[0] == address[0] && start[1] <= address[1])
        })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    fn four(starts: &[u32]) -> std::boxed::Box<Intervals4> {
        let mut intervals = std::boxed::Box::new(Intervals4 {
            len: starts.len() as u32,
            zero: 0,
            starts: [0; MAX_INTERVALS],
            numbers: [0; MAX_INTERVALS],
        });
        intervals.starts[..starts.len()].copy_from_slice(starts);
        intervals
    }

    #[test]
    fn an_address_belongs_to_the_interval_that_begins_last() {
        let intervals = four(&[0, 10, 11, 4_000_000_000]);
        for (address, place) in
            [(0, 0), (9, 0), (10, 1), (11, 2), (3_999_999_999, 2), (4_000_000_000, 3), (u32::MAX, 3)]
        {
            assert_eq!(intervals.place(address), place, "{address}");
        }
    }

    #[test]
    fn one_interval_holds_everything() {
        let intervals = four(&[0]);
        assert_eq!(intervals.place(0), 0);
        assert_eq!(intervals.place(u32::MAX), 0);
    }

    #[test]
    fn a_full_table_is_searched_to_its_last_place() {
        let starts: std::vec::Vec<u32> = (0..MAX_INTERVALS as u32).map(|n| n * 3).collect();
        let intervals = four(&starts);
        for n in 0..MAX_INTERVALS {
            assert_eq!(intervals.place(n as u32 * 3 + 2), n);
        }
    }

    #[test]
    fn the_lower_half_decides_within_an_upper_half() {
        let mut intervals = std::boxed::Box::new(Intervals6 {
            len: 3,
            zero: 0,
            starts: [[0; 2]; MAX_INTERVALS],
            numbers: [0; MAX_INTERVALS],
        });
        intervals.starts[1] = [5, 100];
        intervals.starts[2] = [6, 0];
        for (address, place) in [([5, 99], 0), ([5, 100], 1), ([5, u64::MAX], 1), ([6, 0], 2), ([u64::MAX, 0], 2)] {
            assert_eq!(intervals.place(address), place, "{address:?}");
        }
    }
}
