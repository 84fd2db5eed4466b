//! Class -> lane: which of the identical CHILD_SAs a flow takes.
//!
//! A flow has a home among its class's lanes and is on it while it is up. A flow whose home is down takes the first lane
//! that is up in an order drawn from its hash: another lane that goes down moves none of them, one that comes up takes
//! only those that have it earlier in their order. (Highest random weight would do the same, but a running maximum over 32
//! lanes leaves the verifier more states than it will look at.) With no lane of the class up, the next class of the
//! fallback chain is tried; at its end the packet is dropped.

use crate::abi::{Generation, Hop, LaneEntry, MAX_HOPS, MAX_LANES, MAX_LANES_OF_CLASS, NO_LANE, REQID_PLACES, Steer};
use crate::classify::mix;
use crate::{blur, opaque};

/// Where a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Over a lane.
    Lane {
        /// Its number in the generation.
        lane: u16,
        /// Counter of the fallback by which it got there; 0 on a lane of its own class.
        fallback: u32,
    },
    /// Nowhere.
    Blocked,
}

/// Picks a lane. `up` gives the bits of a group's lanes; `zero` is the generation's (see `blur`).
#[inline(always)]
pub fn choose(zero: u32, steer: &Steer, hash: u32, up: impl Fn(u32) -> u32) -> Choice {
    let mut found = 0;
    let mut ups = 0;
    for place in 0..MAX_HOPS {
        if place as u32 >= steer.len {
            break;
        }
        let hop = &steer.hops[place];
        // Bits of lanes that this generation does not have are nothing to it.
        ups = up(hop.group) & ((1u64 << (hop.lanes & 63)) - 1) as u32;
        if ups != 0 {
            found = blur(zero, place as u32);
            break;
        }
    }
    if ups == 0 {
        return Choice::Blocked;
    }
    let hop = &steer.hops[found as usize & (MAX_HOPS - 1)];
    Choice::Lane { lane: hop.first.wrapping_add(among(hop, hash, ups)), fallback: hop.counter }
}

/// Lanes that a flow draws, its home first, before it takes the lowest that is up. With half of them down one flow in
/// 65,536 gets that far.
const DRAWS: u64 = 16;

/// A lane among those of a hop that are up; at least one bit of `ups` is set.
#[inline(always)]
fn among(hop: &Hop, hash: u32, ups: u32) -> u16 {
    let mut drawn = u64::from(hash);
    for draw in 0..DRAWS {
        // The hash as a fraction of 2^32, times the lanes: even without a division.
        let lane = ((drawn * u64::from(hop.lanes)) >> 32) as u32 & (MAX_LANES_OF_CLASS as u32 - 1);
        if ups & (1 << lane) != 0 {
            return lane as u16;
        }
        drawn = mix(u64::from(hash), draw + 1) >> 32;
    }
    opaque(ups.trailing_zeros()) as u16
}

/// The lane whose states have that request id.
#[inline(always)]
pub fn of_reqid(generation: &Generation, reqid: u32) -> Option<&LaneEntry> {
    for place in 0..REQID_PLACES {
        let number = generation.reqids[(reqid as usize + place) & 0xffff];
        if number == NO_LANE {
            return None;
        }
        let lane = &generation.lanes[number as usize & (MAX_LANES - 1)];
        if lane.reqid == reqid {
            return Some(lane);
        }
    }
    None
}

/// Files a lane, whose entry is there already, under its request id. False where too many are filed there.
#[cfg(feature = "host")]
pub fn file(generation: &mut Generation, number: u16) -> bool {
    let reqid = generation.lanes[usize::from(number)].reqid as usize;
    let places = (reqid..reqid + REQID_PLACES).map(|place| place & 0xffff);
    match places.into_iter().find(|place| generation.reqids[*place] == NO_LANE) {
        Some(place) => {
            generation.reqids[place] = number;
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "host")]
    #[test]
    fn lanes_whose_request_ids_meet_are_told_apart() {
        let mut generation = Generation::zeroed();
        generation.reqids.fill(NO_LANE);
        let reqids: alloc::vec::Vec<u32> = (0..REQID_PLACES as u32).map(|n| n << 16 | 0xfffe).collect();
        for (number, reqid) in reqids.iter().enumerate() {
            generation.lanes[number] = LaneEntry { reqid: *reqid, counters: number as u32 + 1, ..LaneEntry::default() };
            assert!(file(&mut generation, number as u16));
        }
        for (number, reqid) in reqids.iter().enumerate() {
            assert_eq!(of_reqid(&generation, *reqid).map(|lane| lane.counters), Some(number as u32 + 1));
        }
        for absent in [0, 5, 0x4c4b_fffe, 0xfffd, 0x1_ffff] {
            assert_eq!(of_reqid(&generation, absent), None, "{absent:#x}");
        }
        generation.lanes[100].reqid = 0x9999_fffe;
        assert!(!file(&mut generation, 100));
    }

    fn steer(hops: &[(u32, u16, u16, u32)]) -> Steer {
        let mut steer = Steer { len: hops.len() as u32, ..Steer::default() };
        for (place, &(group, first, lanes, counter)) in hops.iter().enumerate() {
            steer.hops[place] = Hop { group, first, lanes, counter };
        }
        steer
    }

    fn hashes() -> impl Iterator<Item = u32> {
        (0..10_000u64).map(|n| (mix(1, n) >> 32) as u32)
    }

    #[test]
    fn a_flow_whose_home_is_up_never_moves() {
        let steer = steer(&[(0, 100, 8, 0)]);
        for hash in hashes().take(500) {
            let home = ((u64::from(hash) * 8) >> 32) as u16;
            for others in 0..=0xff {
                let at_home = Choice::Lane { lane: 100 + home, fallback: 0 };
                assert_eq!(choose(0, &steer, hash, |_| others | 1 << home), at_home);
            }
        }
    }

    #[test]
    fn a_displaced_flow_stays_while_other_lanes_go_down() {
        let steer = steer(&[(0, 100, 8, 0)]);
        for hash in hashes().take(500) {
            for before in [0xff, 0x7f, 0x81, 0x10, 0x55] {
                let Choice::Lane { lane, .. } = choose(0, &steer, hash, |_| before) else { panic!("blocked") };
                for other in (0..8).filter(|other| *other != u32::from(lane - 100)) {
                    assert_eq!(choose(0, &steer, hash, |_| before & !(1 << other)), Choice::Lane { lane, fallback: 0 });
                }
            }
        }
    }

    #[test]
    fn a_lane_that_is_down_gets_nothing() {
        let steer = steer(&[(0, 0, 32, 0)]);
        for hash in hashes().take(2_000) {
            for ups in [0x8000_0000, 0x0000_0001, 0x00ff_0000, 0xaaaa_aaaa] {
                let Choice::Lane { lane, .. } = choose(0, &steer, hash, |_| ups) else { panic!("blocked") };
                assert_ne!(ups & (1 << lane), 0);
            }
        }
    }

    #[test]
    fn bits_beyond_the_lanes_are_ignored() {
        let steer = steer(&[(0, 10, 2, 0)]);
        for hash in hashes().take(500) {
            assert_eq!(choose(0, &steer, hash, |_| 0xffff_fffe), Choice::Lane { lane: 11, fallback: 0 });
            assert_eq!(choose(0, &steer, hash, |_| 0xffff_fffc), Choice::Blocked);
        }
    }

    #[test]
    fn flows_spread_evenly() {
        let steer = steer(&[(0, 0, 8, 0)]);
        for (ups, lanes) in [(0xff_u32, 8), (0x7f, 7)] {
            let mut count = [0u32; 8];
            for hash in hashes() {
                let Choice::Lane { lane, .. } = choose(0, &steer, hash, |_| ups) else { panic!("blocked") };
                count[lane as usize] += 1;
            }
            let mean = 10_000 / lanes;
            assert!(count.iter().all(|&n| n * 100 <= mean * 110), "{count:?}");
        }
    }

    #[test]
    fn the_chain_is_tried_in_order_and_ends_in_block() {
        let steer = steer(&[(3, 0, 1, 0), (5, 1, 2, 77), (9, 3, 1, 78)]);
        let with = |group, bits| move |asked| if asked == group { bits } else { 0 };
        assert_eq!(choose(0, &steer, 9, with(3, 1)), Choice::Lane { lane: 0, fallback: 0 });
        assert_eq!(choose(0, &steer, 9, with(5, 2)), Choice::Lane { lane: 2, fallback: 77 });
        assert_eq!(choose(0, &steer, 9, with(9, 1)), Choice::Lane { lane: 3, fallback: 78 });
        assert_eq!(choose(0, &steer, 9, |_| 0), Choice::Blocked);
        assert_eq!(choose(0, &Steer::default(), 9, |_| 1), Choice::Blocked);
    }
}
