//! What the rules said of a flow's earlier packet, kept in front of the search.
//!
//! Each CPU has its own flows, so nobody locks. A key has one place, and a newcomer takes it: there is nothing to evict. The
//! whole key is compared, so flows that share a place cost each other a search and never a verdict; it holds every field
//! that a verdict depends on, and of those that differ between a flow's packets (length, flags, type, DSCP, mark, cgroup) the bits
//! that some rule of the generation looks at ([`Asked`]). What is kept carries the [`crate::stamp::Stamp`] that the search
//! began with, and holds for that stamp alone: a change of the tables costs one write and ends all of it. Fragments are
//! not flows: [`crate::decide`] remembers them by datagram. Nor are lanes part of it: they go up and down by themselves.
//!
//! How many: 4,096 flows in turn, each packet behind a system call, nanoseconds above an empty program, by rules (family acl1;
//! one CPU of an AMD EPYC 9004, Linux 6.18):
//!
//! | places | 10 | 1,000 | 100,000 | memory per CPU |
//! |---|---|---|---|---|
//! | 16,384 | 327 | 385 | 461 | 1.25 MiB |
//! | 32,768 | 323 | 360 | 392 | 2.5 MiB |
//! | 65,536 | 344 | 346 | 355 | 5 MiB |
//!
//! A hit costs the same whatever the list: 90 the second time in a row, 55 repeated. What differs is the searches for flows
//! that share a place, 22, 12 and 6 % of them. Two places for each flow would make that 9 % at 16,384, but the program then
//! needs more stack than there is (560 bytes of 512).

use crate::abi::{ANY_ICMP, Asked, Flow, FlowKey, MAX_CGROUPS, MAX_FLOWS, Parsed, Record};
use crate::classify::Classified;
use crate::decide::{Arrival, Surroundings};

/// Odd, and otherwise of no pattern: one for each word of a key (digits of pi).
const FACTORS: [u64; 7] = [
    0x243f_6a88_85a3_08d3,
    0x1319_8a2e_0370_7345,
    0xa409_3822_299f_31d1,
    0x082e_fa98_ec4e_6c89,
    0x4528_21e6_38d0_1377,
    0xbe54_66cf_34e9_0c6d,
    0xc0ac_29b7_c97c_50dd,
];

impl Asked {
    /// Adds what one more record looks at.
    pub fn add(&mut self, record: &Record) {
        self.mark |= record.mark_mask;
        self.tcp_flags |= record.tcp_flags_mask;
        if record.length != [0, u16::MAX] {
            self.length = u16::MAX;
        }
        if record.icmp_type != ANY_ICMP {
            self.icmp_type = u16::MAX;
        }
        if record.dscp != u64::MAX {
            self.dscp = u16::MAX;
        }
        if record.cgroup != 0 {
            self.cgroup = u16::MAX;
        }
    }
}

impl FlowKey {
    /// Of a packet that is no fragment: all that its verdict depends on.
    #[inline(always)]
    pub fn of(parsed: &Parsed, arrival: &Arrival, asked: &Asked) -> Self {
        let Parsed { source, destination, .. } = *parsed;
        let ports = u64::from(parsed.source_port) << 16 | u64::from(parsed.destination_port);
        let shape = u64::from(parsed.family) << 8 | u64::from(parsed.ports);
        let identity = ports << 32 | u64::from(parsed.protocol) << 24 | shape;
        let mark = u64::from(arrival.mark & asked.mark);
        let place = mark << 32 | u64::from(arrival.interface) << 16 | u64::from(parsed.vlan);
        // Six bits of DSCP leave ten of their sixteen, which are enough.
        const _: () = assert!(MAX_CGROUPS <= 1 << 10);
        let small = (parsed.cgroup & asked.cgroup) << 6 | (u16::from(parsed.dscp) & asked.dscp);
        let lengths = u64::from(parsed.length & asked.length) << 16 | u64::from(small);
        let kinds = u64::from(parsed.tcp_flags & asked.tcp_flags) << 16 | u64::from(parsed.icmp_type & asked.icmp_type);
        Self([source[0], source[1], destination[0], destination[1], identity, place, lengths << 32 | kinds])
    }

    /// The only place where it may be kept. Other keys share it, so finding something there says nothing yet.
    #[inline(always)]
    pub fn place(&self) -> u32 {
        let mut sum: u64 = 0;
        for (word, factor) in self.0.iter().zip(FACTORS) {
            sum = sum.wrapping_add(word.wrapping_mul(factor));
        }
        (sum >> 40) as u32 & (MAX_FLOWS as u32 - 1)
    }

    #[inline(always)]
    fn is(&self, other: &Self) -> bool {
        let mut differs = 0;
        for (one, other) in self.0.iter().zip(other.0) {
            differs |= one ^ other;
        }
        differs == 0
    }
}

/// What was kept of a packet like this one, if it holds for the tables that this one reads.
#[inline(always)]
pub fn recall<S: Surroundings>(surroundings: &S, parsed: &Parsed, arrival: &Arrival) -> Option<Classified> {
    if parsed.fragment != 0 {
        return None;
    }
    let key = FlowKey::of(parsed, arrival, &surroundings.generation().head.asked);
    let flow = surroundings.flow(key.place())?;
    if flow.stamp != surroundings.stamp().0 || !key.is(&flow.key) {
        return None;
    }
    let Flow { tenant, rule, counter, class, hash, .. } = flow;
    Some(Classified { tenant, rule, counter, class, hash })
}

/// Keeps it for the packets that follow.
#[inline(always)]
pub fn keep<S: Surroundings>(surroundings: &S, parsed: &Parsed, arrival: &Arrival, classified: &Classified) {
    let key = FlowKey::of(parsed, arrival, &surroundings.generation().head.asked);
    let Classified { tenant, rule, counter, class, hash } = *classified;
    let place = key.place();
    surroundings.keep_flow(place, &Flow { stamp: surroundings.stamp().0, key, rule, counter, class, tenant, hash });
}

#[cfg(all(test, feature = "host"))]
mod tests;
