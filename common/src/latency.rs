//! How long packets wait between a tunnel's device and the wire: the programs that measure it, and the shapes of their maps.
//! They have an object of their own, and share nothing with the programs that steer but the mark that those leave.

use crate::abi::shared;

/// tc egress of a tunnel device, behind [`crate::abi::program::OUT`]: gives some packets a timestamp.
pub const STAMP: &str = "lanekeeper_stamp";
/// Raw tracepoint [`TRACEPOINT`]: knows them again by it.
pub const SENT: &str = "lanekeeper_sent";
/// Where a device is handed a packet that has left its queue.
pub const TRACEPOINT: &str = "net_dev_start_xmit";

/// ARRAY of 1: [`Sampling`].
pub const SAMPLING: &str = "SAMPLING";
/// PERCPU_ARRAY of 1: u64, packets until the next one is stamped.
pub const TURNS: &str = "TURNS";
/// HASH: [`Way`] -> u32, the number of the lane.
pub const WAYS: &str = "WAYS";
/// HASH: u32 ifindex -> u32, devices that hand packets on to others below them.
pub const STACKED: &str = "STACKED";
/// LRU_HASH: u64 timestamp -> [`Stamped`], packets that are on their way.
pub const STAMPS: &str = "STAMPS";
/// PERCPU_HASH: u32, the number of the lane -> [`Delays`]. The only one that is pinned, for all versions of the agent: neither
/// its shape nor [`BOUNDS`] ever change; others would be in a map of another name.
pub const DELAYS: &str = "DELAYS";

/// Packets that are on their way at a time.
pub const MAX_STAMPS: u32 = 16384;
/// Lanes that are counted: as many as a generation has.
pub const MAX_LANES: u32 = 8192;
/// Pairs of device and mark.
pub const MAX_WAYS: u32 = 16384;
/// Devices above others.
pub const MAX_STACKED: u32 = 4096;

/// Upper ends of the buckets in nanoseconds; what waits for longer is in one more.
pub const BOUNDS: [u64; 16] = [
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
];

/// Buckets of [`Delays`].
pub const BUCKETS: usize = BOUNDS.len() + 1;

/// Low bits of a timestamp that say which CPU gave it, so that no two packets have the same.
pub const CPU_BITS: u64 = 0xff;

/// The bucket of so many nanoseconds.
#[inline(always)]
pub fn bucket(nanoseconds: u64) -> usize {
    let mut place = 0;
    while place < BOUNDS.len() && nanoseconds > BOUNDS[place] {
        place += 1;
    }
    place
}

/// The timestamp of a packet that leaves at this moment: never one to come, for which fq would hold it back.
#[inline(always)]
pub const fn timestamp(now: u64, cpu: u32) -> u64 {
    (now.saturating_sub(CPU_BITS + 1) & !CPU_BITS) | (cpu as u64 & CPU_BITS)
}

/// What is measured.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sampling {
    /// Nanoseconds of the monotonic clock: no packet is stamped from then on. The agent moves it on while it lives.
    pub until: u64,
    /// One packet in so many, on average.
    pub every: u32,
    /// The bits of the mark that are ours.
    pub mask: u32,
    /// Where this kernel has `tstamp` in `struct sk_buff`.
    pub tstamp: u32,
    /// Where it has `ifindex` in `struct net_device`.
    pub ifindex: u32,
}

/// How packets leave by a lane.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Way {
    /// ifindex of the tunnel's device.
    pub device: u32,
    /// The lane's mark.
    pub mark: u32,
}

/// A packet on its way.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stamped {
    /// When it was stamped, in nanoseconds of the monotonic clock.
    pub at: u64,
    /// The number of its lane.
    pub lane: u32,
    /// ifindex of its tunnel's device, which sends it first.
    pub device: u32,
}

/// How long packets of one lane have waited.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delays {
    /// Packets by [`bucket`].
    pub buckets: [u64; BUCKETS],
    /// Nanoseconds in all.
    pub sum: u64,
}

impl Delays {
    /// Adds what another CPU has counted.
    pub fn add(&mut self, other: &Delays) {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(all, n)| *all += n);
        self.sum += other.sum;
    }
}

shared! {
    Sampling { u64, u32, u32, u32, u32 }
    Way { u32, u32 }
    Stamped { u64, u32, u32 }
    Delays { [u64; BUCKETS], u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_its_upper_end() {
        for (place, bound) in BOUNDS.into_iter().enumerate() {
            assert_eq!((bucket(bound), bucket(bound + 1)), (place, place + 1));
        }
        assert_eq!((bucket(0), bucket(u64::MAX)), (0, BUCKETS - 1));
    }

    #[test]
    fn a_timestamp_is_never_to_come_and_no_other_cpus() {
        for now in [0x1000u64, 0x10ff, 0x1100, u64::MAX] {
            for cpu in [0, 1, 255, 256, u32::MAX] {
                assert!(timestamp(now, cpu) < now && now - timestamp(now, cpu) <= 512, "{now:#x} {cpu}");
            }
            assert_ne!(timestamp(now, 0), timestamp(now, 1));
        }
    }

    #[test]
    fn what_all_cpus_have_counted_is_added() {
        let mut all = Delays { sum: 3, ..Delays::default() };
        all.buckets[2] = 1;
        all.add(&all.clone());
        assert_eq!((all.buckets[2], all.sum), (2, 6));
    }
}
