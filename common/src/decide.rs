//! The decision for one packet at a tunnel device once its headers are read, the same steps in the kernel and on the host.

use crate::abi::{
    BY_DESTINATION, Flow, FragmentKey, FragmentValue, MAX_LANES, MAX_STEERS, MAX_TUNNELS, NO_LANE, Parsed, Search,
};
use crate::behind;
use crate::blur;
use crate::classify::{Classified, conclude, default, flow_hash, tenant};
use crate::flow;
use crate::lane::{Choice, choose};
use crate::packet::{Family, Fragment, Packet};
use crate::rules::{self, Circumstances, Tables};
use crate::stamp::Stamp;
use crate::verdict::{BlockReason, ParseReason};

/// How long the first fragment of a datagram is remembered, in seconds: Linux puts IPv4 datagrams together for as long
/// (net.ipv4.ipfrag_time), and identifications come again.
pub const FRAGMENT_LIFE: u32 = 30;

/// What a decision needs beside the tables.
pub trait Surroundings: Tables {
    /// Of the tables, read before anything in them.
    fn stamp(&self) -> Stamp;
    /// Whether another is there by now.
    fn is_edited(&self) -> bool {
        false
    }
    /// Bits of the lanes that are up.
    fn up(&self, group: u32) -> u32;
    /// What is kept in a place, of whichever flow.
    fn flow(&self, place: u32) -> Option<Flow>;
    /// Keeps a flow there in place of another.
    fn keep_flow(&self, place: u32, flow: &Flow);
    /// What the first fragment decided.
    fn recall(&self, key: &FragmentKey) -> Option<FragmentValue>;
    /// Keeps it for the later ones.
    fn remember(&self, key: &FragmentKey, value: &FragmentValue);
    /// Seconds, from any beginning.
    fn now(&self) -> u32;
    /// Searches: the record of the first rule that matches, or 0. The kernel steps by bpf_loop.
    fn search(&self, packet: &Parsed, of: &Circumstances) -> u32
    where
        Self: Sized,
    {
        let mut search = Search::default();
        rules::begin(&mut search, of);
        while rules::step(self, packet, &mut search) {}
        search.found
    }
    /// What the rules say of a packet that was read, and the number of a [`ParseReason`] or 0. The kernel does
    /// [`classify_parsed`] in a function of its own, which the verifier follows once and not behind every way to it.
    fn classify_parsed(&self, parsed: &Parsed, arrival: &Arrival) -> (Classified, u32)
    where
        Self: Sized,
    {
        classify_parsed(self, parsed, arrival)
    }
    /// The number of the tunnel that a packet takes of those that have its device. The kernel does [`behind::on_device`] in a
    /// function of its own, too.
    fn behind(&self, parsed: &Parsed) -> Option<u32> {
        behind::on_device(self.generation(), parsed)
    }
}

/// How a packet came to the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Number of the ingress interface; 0 where no rule names it and for the host's own packets.
    pub interface: u16,
    /// Number of the tunnel, or of the device where several have it; of no meaning at a port.
    pub tunnel: u32,
    /// ifindex of the tunnel's device, or of the port: datagrams are put together per device.
    pub device: u32,
    /// The mark that it came with.
    pub mark: u32,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Number of the [`ParseReason`], for a packet that was not read or whose first fragment was not seen; else 0.
    pub parse: u32,
    /// Tenant, rule and class.
    pub classified: Classified,
    /// Number of the tunnel; `None` where several have the device, and it leads to none of them.
    pub tunnel: Option<u32>,
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

/// Classify, then choose, for what [`crate::packet::parse`] said.
#[inline(always)]
pub fn decide<S: Surroundings>(surroundings: &S, parsed: &Parsed, arrival: &Arrival) -> Decision {
    let (classified, parse) = classify(surroundings, parsed, arrival);
    let tunnel = led(surroundings, parsed, arrival.tunnel);
    let outcome = match tunnel {
        Some(tunnel) => steer(surroundings, tunnel, &classified),
        None => Err(BlockReason::NoTables),
    };
    Decision { parse, classified, tunnel, outcome }
}

#[inline(always)]
fn led<S: Surroundings>(surroundings: &S, parsed: &Parsed, tunnel: u32) -> Option<u32> {
    let generation = surroundings.generation();
    let entry = &generation.tunnels[tunnel as usize & (MAX_TUNNELS - 1)];
    if entry.present != BY_DESTINATION {
        return Some(tunnel);
    }
    surroundings.behind(parsed).map(|tunnel| blur(generation.head.zero, tunnel))
}

/// Tenant, rule and class of a packet, from what is remembered of its flow or from the rules, and the number of a
/// [`ParseReason`] or 0.
#[inline(always)]
pub fn classify<S: Surroundings>(surroundings: &S, parsed: &Parsed, arrival: &Arrival) -> (Classified, u32) {
    if parsed.reason != 0 {
        (default(surroundings, 0, 0), u32::from(parsed.reason))
    } else if let Some(classified) = flow::recall(surroundings, parsed, arrival) {
        (classified, 0)
    } else {
        surroundings.classify_parsed(parsed, arrival)
    }
}

/// What the rules say of a packet that was read. Later fragments carry no ports: they take what their first one got, lane
/// included.
#[inline(always)]
pub fn classify_parsed<S: Surroundings>(surroundings: &S, parsed: &Parsed, arrival: &Arrival) -> (Classified, u32) {
    let packet = &Packet::unflatten(parsed);
    let key = fragment_key(packet, arrival);
    let later = matches!(packet.fragment, Fragment::Later(_));
    let recalled = if later { surroundings.recall(&key) } else { None };
    let (classified, parse) = match recalled {
        Some(value) if holds(surroundings, &value) => {
            let FragmentValue { tenant, rule, counter, class, hash, .. } = value;
            (Classified { tenant, rule, counter, class, hash }, 0)
        }
        Some(_) | None => {
            let parse = if later { ParseReason::FragmentUnseen as u32 } else { 0 };
            (fresh(surroundings, parsed, packet, arrival), parse)
        }
    };
    match packet.fragment {
        Fragment::Whole => flow::keep(surroundings, parsed, arrival, &classified),
        Fragment::First(_) => {
            let Classified { tenant, rule, counter, class, hash } = classified;
            let (generation, seen) = (surroundings.stamp().generation(), surroundings.now());
            let value = FragmentValue { generation, seen, hash, rule, counter, class, tenant, _pad: 0 };
            surroundings.remember(&key, &value);
        }
        Fragment::Later(_) => {}
    }
    (classified, parse)
}

#[inline(always)]
fn holds<S: Surroundings>(surroundings: &S, value: &FragmentValue) -> bool {
    // An edit of one rule leaves datagrams that are on their way where they are: a later fragment could be told by less.
    value.generation == surroundings.stamp().generation() && surroundings.now().wrapping_sub(value.seen) < FRAGMENT_LIFE
}

#[inline(always)]
fn fresh<S: Surroundings>(surroundings: &S, parsed: &Parsed, packet: &Packet, arrival: &Arrival) -> Classified {
    let generation = surroundings.generation();
    let interface = blur(generation.head.zero, arrival.interface.into()) as u16;
    let tenant = tenant(generation, packet.family, packet.source, interface, packet.vlan);
    let of = Circumstances { stamp: surroundings.stamp(), tenant, interface, mark: arrival.mark };
    let mut found = surroundings.search(parsed, &of);
    if surroundings.is_edited() {
        // One edit during a search leaves the verdict of the list before or after it. Of two the search may have seen only
        // the second, which makes a list that never was.
        found = surroundings.search(parsed, &of);
    }
    conclude(surroundings, tenant, found, flow_hash(packet))
}

#[inline(always)]
fn fragment_key(packet: &Packet, arrival: &Arrival) -> FragmentKey {
    let id = match packet.fragment {
        Fragment::First(id) | Fragment::Later(id) => id,
        Fragment::Whole => 0,
    };
    let (protocol, family) = match packet.family {
        Family::V4 => (packet.protocol, 4),
        Family::V6 => (0, 6),
    };
    FragmentKey {
        source: packet.source,
        destination: packet.destination,
        id,
        device: arrival.device,
        protocol,
        family,
        vlan: packet.vlan,
        interface: arrival.interface.into(),
    }
}

#[inline(always)]
fn steer<S: Surroundings>(surroundings: &S, tunnel: u32, classified: &Classified) -> Result<Taken, BlockReason> {
    let generation = surroundings.generation();
    let entry = &generation.tunnels[tunnel as usize & (MAX_TUNNELS - 1)];
    if entry.present == 0 {
        return Err(BlockReason::NoTables);
    }
    let tied = surroundings.tenant(classified.tenant).is_some_and(|tenant| tenant.tied != 0);
    if entry.owner != classified.tenant && (entry.owner != 0 || tied) {
        return Err(BlockReason::Tenant);
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
