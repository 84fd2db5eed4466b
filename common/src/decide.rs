//! The whole decision for one packet at a tunnel device, the same steps in the kernel and on the host.

use crate::abi::{FragmentKey, FragmentValue, MAX_LANES, MAX_STEERS, MAX_TUNNELS, NO_LANE, NO_RULE, Parsed};
use crate::blur;
use crate::classify::{Classified, classify};
use crate::lane::{Choice, choose};
use crate::packet::{Bytes, Family, Fragment, Layer, Packet, parse};
use crate::rules::{BitVectors, Tables};
use crate::verdict::{BlockReason, ParseReason};

/// What a decision needs beside the tables.
pub trait Surroundings: Tables {
    /// The number of the generation.
    fn number(&self) -> u64;
    /// Bits of the lanes that are up.
    fn up(&self, group: u32) -> u32;
    /// What the first fragment decided.
    fn recall(&self, key: &FragmentKey) -> Option<FragmentValue>;
    /// Gives back what it gets, in the kernel by way of a map: the parser has some hundred ways to an end, each with
    /// constants of its own, and the verifier would follow all that comes after once for each of them. What is read from
    /// a map it knows nothing of, so the ways become one.
    fn settle(&self, parsed: Parsed) -> Parsed {
        parsed
    }
    /// Keeps it for the later ones.
    fn remember(&self, key: &FragmentKey, value: &FragmentValue);
}

/// How a packet came to the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// What its first byte belongs to.
    pub layer: Layer,
    /// Id of a VLAN tag that is no longer in its bytes, or [`crate::abi::NO_VLAN`].
    pub tag: u16,
    /// Number of the ingress interface; 0 where no rule names it and for the host's own packets.
    pub interface: u16,
    /// Number of the tunnel.
    pub tunnel: u32,
    /// ifindex of the tunnel's device: datagrams are put together per device.
    pub device: u32,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The packet as read.
    pub parsed: Parsed,
    /// Number of the [`ParseReason`], for a packet that was not read or whose first fragment was not seen; else 0.
    pub parse: u32,
    /// Tenant, rule and class.
    pub classified: Classified,
    /// The lane, or why none.
    pub outcome: Result<Taken, BlockReason>,
}

/// The lane that a packet takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Its number in the generation.
    pub lane: u16,
    /// Our bits of the mark.
    pub mark: u32,
    /// First counter of the lane.
    pub counters: u32,
    /// Counter of the fallback; 0 without one.
    pub fallback: u32,
}

/// parse -> classify -> choose.
#[inline(always)]
pub fn decide<S: Surroundings, B: Bytes>(surroundings: &S, bytes: &B, arrival: &Arrival) -> Decision {
    let parsed = surroundings.settle(Packet::flatten(parse(bytes, arrival.layer, arrival.tag)));
    let (classified, parse) = if parsed.reason == 0 {
        classify_fragment(surroundings, &Packet::unflatten(&parsed), arrival)
    } else {
        let class = surroundings.generation().head.default_class as u16;
        (Classified { tenant: 0, rule: NO_RULE, class, hash: 0 }, u32::from(parsed.reason))
    };
    let words = [
        u32::from(classified.tenant),
        classified.rule.into(),
        classified.class.into(),
        classified.hash,
        parse,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
    ];
    let [tenant, rule, class, hash, parse, ..] = surroundings.settle_words(words);
    let classified = Classified { tenant: tenant as u16, rule: rule as u16, class: class as u16, hash };
    let outcome = steer(surroundings, arrival.tunnel, &classified);
    Decision { parsed, parse, classified, outcome }
}

/// Later fragments carry no ports: they take what their first one got, lane included. With the number of a reason.
#[inline(always)]
fn classify_fragment<S: Surroundings>(surroundings: &S, packet: &Packet, arrival: &Arrival) -> (Classified, u32) {
    let key = fragment_key(packet, arrival.device);
    let later = matches!(packet.fragment, Fragment::Later(_));
    let recalled = if later { surroundings.recall(&key) } else { None };
    let (classified, parse) = match recalled {
        Some(value) if value.generation == surroundings.number() => {
            (Classified { tenant: value.tenant, rule: value.rule, class: value.class, hash: value.hash }, 0)
        }
        Some(_) | None => {
            let parse = if later { ParseReason::FragmentUnseen as u32 } else { 0 };
            (fresh(surroundings, packet, arrival), parse)
        }
    };
    if matches!(packet.fragment, Fragment::First(_)) {
        let value = FragmentValue {
            generation: surroundings.number(),
            hash: classified.hash,
            rule: classified.rule,
            class: classified.class,
            tenant: classified.tenant,
            _pad: [0; 3],
        };
        surroundings.remember(&key, &value);
    }
    (classified, parse)
}

#[inline(always)]
fn fresh<S: Surroundings>(surroundings: &S, packet: &Packet, arrival: &Arrival) -> Classified {
    let generation = surroundings.generation();
    let interface = blur(generation.head.zero, arrival.interface.into()) as u16;
    classify(&BitVectors(surroundings), generation, packet, interface)
}

#[inline(always)]
fn fragment_key(packet: &Packet, device: u32) -> FragmentKey {
    let id = match packet.fragment {
        Fragment::First(id) | Fragment::Later(id) => id,
        Fragment::Whole => 0,
    };
    let (protocol, family) = match packet.family {
        Family::V4 => (u16::from(packet.protocol), 4),
        Family::V6 => (0, 6),
    };
    FragmentKey { source: packet.source, destination: packet.destination, id, device, protocol, family, _pad: 0 }
}

#[inline(always)]
fn steer<S: Surroundings>(surroundings: &S, tunnel: u32, classified: &Classified) -> Result<Taken, BlockReason> {
    let generation = surroundings.generation();
    let entry = &generation.tunnels[tunnel as usize & (MAX_TUNNELS - 1)];
    if entry.present == 0 {
        return Err(BlockReason::NoTables);
    }
    let steer = &generation.steers[(entry.first as usize + classified.class as usize) & (MAX_STEERS - 1)];
    match choose(generation.head.zero, steer, classified.hash, |group| surroundings.up(group)) {
        Choice::Lane { lane, fallback } if lane != NO_LANE => {
            let entry = &generation.lanes[lane as usize & (MAX_LANES - 1)];
            Ok(Taken { lane, mark: entry.mark, counters: entry.counters, fallback })
        }
        Choice::Lane { .. } | Choice::Blocked => {
            Err(if steer.end == BlockReason::NotCarried as u32 { BlockReason::NotCarried } else { BlockReason::NoLane })
        }
    }
}
