//! All the packets of one family that a rule matches, as a set for each field.

use std::sync::LazyLock;

use ipnet::IpNet;
use lanekeeper_common::abi::{MAX_CGROUPS, MAX_INTERFACES, NO_ICMP, NO_TCP, NO_VLAN, Parsed};

use super::set::Set;
use crate::policy::Rule;
use crate::policy::protocol::{ICMP, ICMPV6, TCP};

/// Protocol numbers of the others that have ports.
const UDP_AND_SCTP: [u8; 2] = [17, 132];

/// The fields, the mark aside.
const SOURCE: usize = 0;
const DESTINATION: usize = 1;
const PROTOCOL: usize = 2;
/// 1 where the packet has ports; where it has none these may be any.
const PORTS: usize = 3;
const SOURCE_PORT: usize = 4;
const DESTINATION_PORT: usize = 5;
const DSCP: usize = 6;
/// Its number among the names in rules, 0 for all others and for the host itself.
const INTERFACE: usize = 7;
/// [`NO_VLAN`] for none.
const VLAN: usize = 8;
const LENGTH: usize = 9;
/// [`NO_TCP`] for none.
const TCP_FLAGS: usize = 10;
/// [`NO_ICMP`] for none.
const ICMP_TYPE: usize = 11;
/// 1 for a part of a datagram.
const FRAGMENT: usize = 12;
/// The place of the deepest one in rules that is its own or above it, 0 for none and for what came in by an interface: as no
/// rule asks for both, what covers the packets that there are covers these two as fields of their own.
const CGROUP: usize = 13;
const FIELDS: usize = 14;

/// The packets that have a value of each set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    sets: [Set; FIELDS],
    /// Mark, and the bits of it that count.
    mark: (u32, u32),
}

/// Every value of each field; the addresses are those of IPv6.
static ANY: LazyLock<[Set; FIELDS]> = LazyLock::new(|| {
    let mut any = std::array::from_fn(|_| Set::range(0, u16::MAX.into()));
    for (field, most) in [
        (SOURCE, u128::MAX),
        (DESTINATION, u128::MAX),
        (PROTOCOL, u8::MAX.into()),
        (PORTS, 1),
        (DSCP, 63),
        (INTERFACE, MAX_INTERFACES as u128 - 1),
        (VLAN, NO_VLAN.into()),
        (TCP_FLAGS, NO_TCP.into()),
        (ICMP_TYPE, NO_ICMP.into()),
        (FRAGMENT, 1),
        (CGROUP, MAX_CGROUPS as u128 - 1),
    ] {
        any[field] = Set::range(0, most);
    }
    any
});

/// Kinds of packets by what the parser reads of them. Where a protocol has ports, a packet without them is a later fragment:
/// of any other that lacks them nothing is read. Every packet may be cut before its flags or its type.
static KINDS: LazyLock<[[(usize, Set); 5]; 6]> = LazyLock::new(|| {
    let any = |field: usize| move || ANY[field].clone();
    let (any_flags, any_type, either) = (any(TCP_FLAGS), any(ICMP_TYPE), any(FRAGMENT));
    let (no_flags, no_type) = (|| values_of([NO_TCP]), || values_of([NO_ICMP]));
    let (no, yes) = (|| values_of([false]), || values_of([true]));
    let (tcp, ports, icmp) = (|| values_of([TCP]), || values_of(UDP_AND_SCTP), || values_of([ICMP, ICMPV6]));
    let others = ANY[PROTOCOL].minus(&tcp()).minus(&ports()).minus(&icmp());
    [
        (tcp(), yes(), any_flags(), no_type(), either()),
        (tcp(), no(), no_flags(), no_type(), yes()),
        (ports(), yes(), no_flags(), no_type(), either()),
        (ports(), no(), no_flags(), no_type(), yes()),
        (icmp(), no(), no_flags(), any_type(), either()),
        (others, no(), no_flags(), no_type(), either()),
    ]
    .map(|(protocol, ports, flags, kind, fragment)| {
        [(PROTOCOL, protocol), (PORTS, ports), (TCP_FLAGS, flags), (ICMP_TYPE, kind), (FRAGMENT, fragment)]
    })
});

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    values: [u128; FIELDS],
    /// The mark with which it comes.
    pub mark: u32,
}

impl Region {
    /// What the rule matches of IPv4, or else of IPv6; `None` for nothing. `number` is that of an interface, `places` those of
    /// a cgroup and of all below it.
    pub fn of(
        rule: &Rule,
        v4: bool,
        number: impl Fn(&str) -> Option<u16>,
        places: impl Fn(&str) -> Option<(u16, u16)>,
    ) -> Option<Self> {
        let (source, destination) = (prefixes(&rule.source, v4), prefixes(&rule.destination, v4));
        if source.is_empty() || destination.is_empty() {
            return None;
        }
        let numbers: Vec<u16> = rule.interface.iter().map(|name| number(name)).collect::<Option<_>>()?;
        let cgroups: Vec<(u16, u16)> = rule.cgroup.iter().map(|path| places(path)).collect::<Option<_>>()?;
        if !numbers.is_empty() && !cgroups.is_empty() {
            return None;
        }
        let ports = !rule.source_port.is_empty() || !rule.destination_port.is_empty();
        let mark = rule.mark.unwrap_or((0, 0));
        if mark.0 & !mark.1 != 0 {
            return None;
        }
        let mut sets = ANY.clone();
        let mut narrow = |field: usize, asks: bool, values: &dyn Fn() -> Set| {
            if asks {
                sets[field] = values();
            }
        };
        narrow(SOURCE, true, &|| source.clone());
        narrow(DESTINATION, true, &|| destination.clone());
        narrow(PROTOCOL, rule.protocol.is_some(), &|| values_of(rule.protocol));
        narrow(PORTS, ports, &|| values_of([true]));
        narrow(SOURCE_PORT, !rule.source_port.is_empty(), &|| ranges(&rule.source_port));
        narrow(DESTINATION_PORT, !rule.destination_port.is_empty(), &|| ranges(&rule.destination_port));
        narrow(DSCP, !rule.dscp.is_empty(), &|| values_of(rule.dscp.iter().copied()));
        narrow(INTERFACE, !numbers.is_empty(), &|| values_of(numbers.iter().copied()));
        // No packet has the id that stands for no tag: a rule cannot ask for it.
        let vlans = rule.vlan.iter().copied().filter(|id| *id < NO_VLAN);
        narrow(VLAN, !rule.vlan.is_empty(), &|| values_of(vlans.clone()));
        narrow(LENGTH, !rule.length.is_empty(), &|| ranges(&rule.length));
        let fits = |own: &u8| rule.tcp_flags.is_some_and(|(flags, mask)| own & mask == flags);
        narrow(TCP_FLAGS, rule.tcp_flags.is_some(), &|| values_of((0..=u8::MAX).filter(fits)));
        narrow(ICMP_TYPE, !rule.icmp_type.is_empty(), &|| values_of(rule.icmp_type.iter().copied()));
        narrow(FRAGMENT, rule.fragment.is_some(), &|| values_of(rule.fragment));
        narrow(CGROUP, !cgroups.is_empty(), &|| ranges(&cgroups));
        sets.iter().all(|set| !set.is_empty()).then_some(Self { sets, mark })
    }

    /// What of it there are packets of, by kinds that have every value of each set.
    pub fn parts(&self) -> Vec<Self> {
        KINDS.iter().filter_map(|kind| self.part(kind)).collect()
    }

    fn part(&self, kind: &[(usize, Set); 5]) -> Option<Self> {
        if kind.iter().any(|(field, values)| !self.sets[*field].meets(values)) {
            return None;
        }
        let mut part = self.clone();
        for (field, values) in kind {
            part.sets[*field] = part.sets[*field].and(values);
        }
        Some(part)
    }

    /// Whether all of `other` is in it.
    pub fn holds(&self, other: &Self) -> bool {
        let (mark, mask) = self.mark;
        mask & !other.mark.1 == 0
            && other.mark.0 & mask == mark
            && self.sets.iter().zip(&other.sets).all(|(own, other)| own.holds(other))
    }

    /// Whether the packet is in it.
    pub fn contains(&self, point: &Point) -> bool {
        point.mark & self.mark.1 == self.mark.0
            && self.sets.iter().zip(point.values).all(|(set, value)| set.contains(value))
    }

    /// What of it is not in `other`: regions that have nothing in common.
    pub fn minus(&self, other: &Self) -> Vec<Self> {
        let mut rest = Vec::new();
        let mut inside = self.clone();
        for field in 0..FIELDS {
            if other.sets[field].holds(&inside.sets[field]) {
                continue;
            }
            let outside = inside.sets[field].minus(&other.sets[field]);
            let both = inside.sets[field].and(&other.sets[field]);
            if both.is_empty() {
                return vec![self.clone()];
            }
            let mut piece = inside.clone();
            piece.sets[field] = outside;
            rest.push(piece);
            inside.sets[field] = both;
        }
        let (mark, mask) = other.mark;
        if (inside.mark.0 ^ mark) & inside.mark.1 & mask != 0 {
            return vec![self.clone()];
        }
        let mut left = mask & !inside.mark.1;
        while left != 0 {
            let bit = left & left.wrapping_neg();
            left ^= bit;
            let mut piece = inside.clone();
            piece.mark = (inside.mark.0 | (!mark & bit), inside.mark.1 | bit);
            rest.push(piece);
            inside.mark = (inside.mark.0 | (mark & bit), inside.mark.1 | bit);
        }
        rest
    }

    /// One packet of it, another for another seed.
    pub fn point(&self, seed: u64) -> Point {
        let mut state = seed;
        let mut next = || {
            // splitmix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        let mut values = [0; FIELDS];
        for (value, set) in values.iter_mut().zip(&self.sets) {
            // None is empty.
            let (first, last) = set.ranges()[next() as usize % set.ranges().len()];
            *value = match u64::try_from(last - first) {
                Ok(0) => first,
                // No division of 128 bits where one of 64 does.
                Ok(more) if more < u64::MAX => first + u128::from(next() % (more + 1)),
                Ok(_) | Err(_) => {
                    let drawn = u128::from(next()) << 64 | u128::from(next());
                    (last - first).checked_add(1).map_or(drawn, |size| first + drawn % size)
                }
            };
        }
        Point { values, mark: self.mark.0 | (next() as u32 & !self.mark.1) }
    }
}

impl Point {
    /// As the parser would have read it.
    pub fn parsed(&self, v4: bool) -> Parsed {
        let value = |field: usize| self.values[field];
        let halves = |address: u128| [(address >> 64) as u64, address as u64];
        Parsed {
            source: halves(value(SOURCE)),
            destination: halves(value(DESTINATION)),
            source_port: value(SOURCE_PORT) as u16,
            destination_port: value(DESTINATION_PORT) as u16,
            vlan: value(VLAN) as u16,
            protocol: value(PROTOCOL) as u8,
            dscp: value(DSCP) as u8,
            family: if v4 { 4 } else { 6 },
            ports: value(PORTS) as u8,
            fragment: value(FRAGMENT) as u8,
            length: value(LENGTH) as u16,
            icmp_type: value(ICMP_TYPE) as u16,
            tcp_flags: value(TCP_FLAGS) as u16,
            cgroup: value(CGROUP) as u16,
            ..Parsed::default()
        }
    }

    /// The number of its interface.
    pub fn interface(&self) -> u16 {
        self.values[INTERFACE] as u16
    }
}

fn values_of<T: Into<u128>>(list: impl IntoIterator<Item = T>) -> Set {
    Set::of(list.into_iter().map(Into::into).map(|value| (value, value)))
}

fn ranges(list: &[(u16, u16)]) -> Set {
    Set::of(list.iter().map(|&(first, last)| (first.into(), last.into())))
}

fn prefixes(list: &[IpNet], v4: bool) -> Set {
    let all = if v4 { u128::from(u32::MAX) } else { u128::MAX };
    match list {
        [] => Set::range(0, all),
        list => Set::of(list.iter().filter(|prefix| prefix.addr().is_ipv4() == v4).map(bounds)),
    }
}

/// First and last address, with the lower bits for IPv4.
fn bounds(prefix: &IpNet) -> (u128, u128) {
    match prefix {
        IpNet::V4(prefix) => (u32::from(prefix.network()).into(), u32::from(prefix.broadcast()).into()),
        IpNet::V6(prefix) => (prefix.network().into(), prefix.broadcast().into()),
    }
}
