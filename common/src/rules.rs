//! The first rule that matches a packet.
//!
//! Rules are filed in tuples: sets that agree on how much of the addresses, and which ports, are given whole. Within a
//! tuple a hash of those parts leads to a chain of the few rules that share them, which are compared field by field, ranges
//! included. Which tuples have a rule for a packet at all is the intersection of six small sets, one for each of source,
//! destination, both ports, protocol and tenant. Tuples are tried in the order of their first rule, and no more once that
//! is behind the best match: the cost is that of a few memory accesses, however long the list.
//!
//! Of a tenant that has few rules all are in one chain, which begins at the tenant: to read them one after the other takes
//! fewer accesses than to find out which tuples they are in. Where it has both, the chain comes first.
//!
//! Sets of rules as bit vectors, one for each value of each field, cost nine lookups and a word or two, but 2,048 rules
//! filled their tables and 100,000 would take 1.2 GB; the verifier of 6.1 walked twice the instructions (87,961 to 41,581, both
//! with a quarter of room).
//!
//! [`step`] does a bounded piece of it: the host repeats it in a loop, the kernel by bpf_loop (5.17), so that the verifier
//! follows one step and not all of them.

use crate::abi::{
    ANY_FRAGMENT, ANY_ICMP, ANY_PROTOCOL, ANY_VLAN, Candidates, FRAGMENTS, Generation, MAX_CGROUPS, MAX_HEADS,
    MAX_INTERFACES, MAX_RECORDS, MAX_TUPLES, NO_RULE, Parsed, Record, Search, Tenant, Tuple, TupleSet, field, stage,
};
use crate::classify::mix;
use crate::opaque;
use crate::packet::Address;
use crate::stamp::Stamp;

/// Steps in which every search ends: each looks at a record or passes a tuple.
pub const MAX_STEPS: u32 = (MAX_RECORDS + MAX_TUPLES) as u32;

/// Where a generation comes from.
pub trait Tables {
    /// The one that this packet reads.
    fn generation(&self) -> &Generation;
    /// A tenant; number 0 is there too.
    fn tenant(&self, number: u16) -> Option<&Tenant>;
    /// The tuples by the values of one [`field`].
    fn candidates(&self, field: u32) -> Option<&Candidates>;
    /// The first record of a chain; 0 for none.
    fn head(&self, chain: u32) -> u32;
    /// A record.
    fn record(&self, number: u32) -> Option<&Record>;
}

/// What is asked about a packet that is not in its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Circumstances {
    /// Of the tables that it goes by.
    pub stamp: Stamp,
    /// Whose it is.
    pub tenant: u16,
    /// Number of its ingress interface.
    pub interface: u16,
    /// The mark that it came with.
    pub mark: u32,
}

/// Place in [`Candidates`] of an IPv4 address.
#[inline(always)]
pub fn place4(address: Address) -> u16 {
    (address[1] >> 16) as u16
}

/// Place in [`Candidates`] of an IPv6 address: prefixes of 48 bits and more have one.
#[inline(always)]
pub fn place6(address: Address) -> u16 {
    (mix(0, address[0] >> 16) >> 48) as u16
}

/// The chain of what a tuple looks up: `number` is the tuple's, addresses and ports those of a packet or a rule.
#[inline(always)]
pub fn chain(number: u32, tuple: &Tuple, tenant: u16, source: Address, destination: Address, ports: u32) -> u32 {
    let mut hash = mix(u64::from(number) << 16 | u64::from(tenant), source[0] & tuple.source_mask[0]);
    hash = mix(hash, source[1] & tuple.source_mask[1]);
    hash = mix(hash, destination[0] & tuple.destination_mask[0]);
    hash = mix(hash, destination[1] & tuple.destination_mask[1]);
    hash = mix(hash, u64::from(ports & tuple.ports_mask));
    (hash >> 32) as u32 & (MAX_HEADS as u32 - 1)
}

/// Both ports in one number.
#[inline(always)]
pub fn ports(source: u16, destination: u16) -> u32 {
    u32::from(source) << 16 | u32::from(destination)
}

// Word by word: of whole sets the compiler makes calls to memset and memmove, each a frame more on a stack that is full.

#[inline(always)]
fn and(set: &mut TupleSet, with: &TupleSet) {
    set[0] &= with[0];
    set[1] &= with[1];
}

#[inline(always)]
fn clear(set: &mut TupleSet) {
    let none = opaque(0);
    set[0] = none;
    set[1] = none;
}

#[inline(always)]
fn is_empty(set: &TupleSet) -> bool {
    set[0] | set[1] == 0
}

/// Begins a search; with what is set by its first step, nothing is done yet.
#[inline(always)]
pub fn begin(search: &mut Search, of: &Circumstances) {
    search.stamp = of.stamp.0;
    search.tenant = of.tenant;
    search.interface = of.interface;
    search.mark = of.mark;
    search.rule = NO_RULE;
    search.found = 0;
    search.stage = stage::TENANT;
}

/// Leaves the tuples that may have a rule for the packet.
#[inline(always)]
fn narrow<T: Tables>(tables: &T, packet: &Parsed, left: &mut TupleSet) -> Option<()> {
    let generation = tables.generation();
    let (source, destination, source_place, destination_place) = if packet.family == 4 {
        (field::SOURCE4, field::DESTINATION4, place4(packet.source), place4(packet.destination))
    } else {
        (field::SOURCE6, field::DESTINATION6, place6(packet.source), place6(packet.destination))
    };
    and(left, &tables.candidates(source)?[usize::from(source_place)]);
    and(left, &tables.candidates(destination)?[usize::from(destination_place)]);
    if packet.ports == 0 {
        and(left, &generation.head.portless);
    } else {
        and(left, &tables.candidates(field::SOURCE_PORT)?[usize::from(packet.source_port)]);
        and(left, &tables.candidates(field::DESTINATION_PORT)?[usize::from(packet.destination_port)]);
    }
    and(left, &generation.protocol_tuples[usize::from(packet.protocol)]);
    Some(())
}

/// One step; false at the end of the search, whose result is in `search.rule` and `search.found`.
#[inline(always)]
pub fn step<T: Tables>(tables: &T, packet: &Parsed, search: &mut Search) -> bool {
    if search.stage == stage::TENANT {
        search.stage = stage::CHAIN;
        search.record = 0;
        clear(&mut search.left);
        if let Some(of) = tables.tenant(search.tenant) {
            search.record = of.first;
            search.left[0] = of.tuples[0];
            search.left[1] = of.tuples[1];
        }
    }
    if search.record == 0 && !is_empty(&search.left) {
        enter(tables, packet, search);
    }
    let number = search.record;
    search.record = 0;
    // A chain is in the order of its rules.
    if number != 0
        && let Some(record) = tables.record(number)
        && record.rule < search.rule
    {
        if matches(tables.generation(), record, packet, search) {
            search.rule = record.rule;
            search.found = number;
        } else {
            search.record = record.next;
        }
    }
    search.record != 0 || !is_empty(&search.left)
}

/// To the chain of the next tuple, if that can have an earlier rule than what was found. Which tuples may have a rule for the
/// packet is asked when the first is due.
#[inline(always)]
fn enter<T: Tables>(tables: &T, packet: &Parsed, search: &mut Search) {
    if search.stage == stage::CHAIN {
        search.stage = stage::TUPLES;
        if narrow(tables, packet, &mut search.left).is_none() {
            clear(&mut search.left);
        }
    }
    let Some(number) = next_tuple(&mut search.left) else { return };
    let tuple = &tables.generation().tuples[number as usize & (MAX_TUPLES - 1)];
    if tuple.first_rule >= search.rule {
        clear(&mut search.left);
        return;
    }
    let ports = ports(packet.source_port, packet.destination_port);
    search.record = tables.head(chain(number, tuple, search.tenant, packet.source, packet.destination, ports));
}

#[inline(always)]
fn next_tuple(left: &mut TupleSet) -> Option<u32> {
    if left[0] != 0 {
        let bit = opaque(left[0].trailing_zeros());
        left[0] &= left[0] - 1;
        Some(bit & 63)
    } else if left[1] != 0 {
        let bit = opaque(left[1].trailing_zeros());
        left[1] &= left[1] - 1;
        Some((bit & 63) + 64)
    } else {
        None
    }
}

#[inline(always)]
fn matches(generation: &Generation, record: &Record, packet: &Parsed, search: &Search) -> bool {
    let differs = (packet.source[0] ^ record.source[0]) & record.source_mask[0]
        | (packet.source[1] ^ record.source[1]) & record.source_mask[1]
        | (packet.destination[0] ^ record.destination[0]) & record.destination_mask[0]
        | (packet.destination[1] ^ record.destination[1]) & record.destination_mask[1];
    if differs != 0 {
        return false;
    }
    let ports = if packet.ports == 0 {
        record.ports == 0
    } else {
        within(packet.source_port, record.source_port) && within(packet.destination_port, record.destination_port)
    };
    ports
        && record.tenant == search.tenant
        && (record.family == 0 || record.family == packet.family)
        && (record.protocol == ANY_PROTOCOL || record.protocol == u16::from(packet.protocol))
        && (record.dscp >> (packet.dscp & 63)) & 1 != 0
        && (record.interface == 0 || record.interface == search.interface & (MAX_INTERFACES as u16 - 1))
        && (record.vlan == ANY_VLAN || record.vlan == packet.vlan)
        && (record.mark ^ search.mark) & record.mark_mask == 0
        && within(packet.length, record.length)
        && (record.icmp_type == ANY_ICMP || record.icmp_type == packet.icmp_type)
        && (record.tcp_flags ^ packet.tcp_flags) & record.tcp_flags_mask == 0
        && (record.cgroup == 0
            || is_below(packet.cgroup, generation.cgroups[record.cgroup as usize & (MAX_CGROUPS - 1)]))
        && (record.fragment == ANY_FRAGMENT || (record.fragment == FRAGMENTS) == (packet.fragment != 0))
}

/// Whether a place of a cgroup is among these; 0, which is none, never is.
#[inline(always)]
fn is_below(place: u16, range: [u16; 2]) -> bool {
    place != 0 && within(place, range)
}

#[inline(always)]
fn within(value: u16, range: [u16; 2]) -> bool {
    range[0] <= value && value <= range[1]
}
