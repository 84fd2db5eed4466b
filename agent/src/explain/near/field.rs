//! A rule's fields, one at a time: whether a rule asks for it, whether a packet has what it asks for, and how to say both.

use std::net::IpAddr;

use ipnet::IpNet;
use lanekeeper_common::abi::NO_VLAN;
use lanekeeper_common::packet::{Fragment, Packet};

use crate::explain::route;
use crate::policy::{Rule, cgroup, dscp, icmp, protocol, tcp};

/// Members of a list that are said.
const MEMBERS: usize = 8;

/// A packet, and what of it is not in its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// As it was read.
    pub packet: &'a Packet,
    /// The interface by which it came.
    pub interface: Option<&'a str>,
    /// The mark with which it came.
    pub mark: u32,
    /// The cgroup of its socket, for one that this host sends.
    pub cgroup: Option<&'a str>,
}

/// What a rule can ask for, its tenant aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the rule's field of that name")]
pub enum Field {
    Source,
    Destination,
    Protocol,
    SourcePort,
    DestinationPort,
    Dscp,
    Interface,
    Vlan,
    Length,
    TcpFlags,
    IcmpType,
    Fragment,
    Mark,
    Cgroup,
}

impl Field {
    /// Every one, in the order of a rule.
    pub const ALL: [Self; 14] = [
        Self::Source,
        Self::Destination,
        Self::Protocol,
        Self::SourcePort,
        Self::DestinationPort,
        Self::Dscp,
        Self::Interface,
        Self::Vlan,
        Self::Length,
        Self::TcpFlags,
        Self::IcmpType,
        Self::Fragment,
        Self::Mark,
        Self::Cgroup,
    ];

    /// Those in which the rule does not match.
    pub fn failed(rule: &Rule, seen: &Seen<'_>) -> Vec<Self> {
        Self::ALL.into_iter().filter(|field| field.asks(rule) && !field.fits(rule, seen)).collect()
    }

    /// The rule's key.
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Protocol => "protocol",
            Self::SourcePort => "source-port",
            Self::DestinationPort => "destination-port",
            Self::Dscp => "dscp",
            Self::Interface => "interface",
            Self::Vlan => "vlan",
            Self::Length => "length",
            Self::TcpFlags => "tcp-flags",
            Self::IcmpType => "icmp-type",
            Self::Fragment => "fragment",
            Self::Mark => "mark",
            Self::Cgroup => "cgroup",
        }
    }

    /// Whether the rule has it.
    pub fn asks(self, rule: &Rule) -> bool {
        match self {
            Self::Source => !rule.source.is_empty(),
            Self::Destination => !rule.destination.is_empty(),
            Self::Protocol => rule.protocol.is_some(),
            Self::SourcePort => !rule.source_port.is_empty(),
            Self::DestinationPort => !rule.destination_port.is_empty(),
            Self::Dscp => !rule.dscp.is_empty(),
            Self::Interface => !rule.interface.is_empty(),
            Self::Vlan => !rule.vlan.is_empty(),
            Self::Length => !rule.length.is_empty(),
            Self::TcpFlags => rule.tcp_flags.is_some(),
            Self::IcmpType => !rule.icmp_type.is_empty(),
            Self::Fragment => rule.fragment.is_some(),
            Self::Mark => rule.mark.is_some(),
            Self::Cgroup => !rule.cgroup.is_empty(),
        }
    }

    /// Whether the packet is what a rule asks for that has the field.
    fn fits(self, rule: &Rule, seen: &Seen<'_>) -> bool {
        let packet = seen.packet;
        match self {
            Self::Source => holds(&rule.source, route::source(packet)),
            Self::Destination => holds(&rule.destination, route::destination(packet)),
            Self::Protocol => rule.protocol == Some(packet.protocol),
            Self::SourcePort => packet.ports.is_some_and(|(port, _)| within(&rule.source_port, port)),
            Self::DestinationPort => packet.ports.is_some_and(|(_, port)| within(&rule.destination_port, port)),
            Self::Dscp => rule.dscp.contains(&packet.dscp),
            Self::Interface => seen.interface.is_some_and(|name| rule.interface.iter().any(|known| known == name)),
            Self::Vlan => packet.vlan != NO_VLAN && rule.vlan.contains(&packet.vlan),
            Self::Length => within(&rule.length, packet.length),
            Self::TcpFlags => {
                rule.tcp_flags.zip(packet.tcp_flags).is_some_and(|((flags, mask), own)| own & mask == flags)
            }
            Self::IcmpType => packet.icmp_type.is_some_and(|own| rule.icmp_type.contains(&own)),
            Self::Fragment => rule.fragment == Some(packet.fragment != Fragment::Whole),
            Self::Mark => rule.mark.is_some_and(|(mark, mask)| seen.mark & mask == mark),
            Self::Cgroup => seen.cgroup.is_some_and(|own| rule.cgroup.iter().any(|above| cgroup::is_below(own, above))),
        }
    }

    /// What the rule asks for, as its file has it.
    pub fn wants(self, rule: &Rule) -> String {
        match self {
            Self::Source => list(&rule.source, IpNet::to_string),
            Self::Destination => list(&rule.destination, IpNet::to_string),
            Self::Protocol => list(rule.protocol.as_slice(), |number| protocol::show(*number)),
            Self::SourcePort => list(&rule.source_port, range),
            Self::DestinationPort => list(&rule.destination_port, range),
            Self::Dscp => list(&rule.dscp, |value| dscp::show(*value)),
            Self::Interface => list(&rule.interface, String::clone),
            Self::Vlan => list(&rule.vlan, u16::to_string),
            Self::Length => list(&rule.length, range),
            Self::TcpFlags => list(rule.tcp_flags.as_slice(), |&(flags, mask)| match flags == mask {
                true => tcp::show(flags),
                false => format!("{}/{}", tcp::show(flags), tcp::show(mask)),
            }),
            Self::IcmpType => list(&rule.icmp_type, |kind| icmp::show(rule.protocol, *kind)),
            Self::Fragment => list(rule.fragment.as_slice(), bool::to_string),
            Self::Mark => list(rule.mark.as_slice(), |(mark, mask)| format!("{mark:#x}/{mask:#x}")),
            Self::Cgroup => list(&rule.cgroup, String::clone),
        }
    }

    /// The packet's own, in the same spelling.
    pub fn has(self, seen: &Seen<'_>) -> Option<String> {
        let packet = seen.packet;
        match self {
            Self::Source => Some(route::source(packet).to_string()),
            Self::Destination => Some(route::destination(packet).to_string()),
            Self::Protocol => Some(protocol::show(packet.protocol)),
            Self::SourcePort => packet.ports.map(|(port, _)| port.to_string()),
            Self::DestinationPort => packet.ports.map(|(_, port)| port.to_string()),
            Self::Dscp => Some(dscp::show(packet.dscp)),
            Self::Interface => seen.interface.map(str::to_owned),
            Self::Vlan => (packet.vlan != NO_VLAN).then(|| packet.vlan.to_string()),
            Self::Length => Some(packet.length.to_string()),
            Self::TcpFlags => packet.tcp_flags.map(tcp::show),
            Self::IcmpType => packet.icmp_type.map(|kind| icmp::show(Some(packet.protocol), kind)),
            Self::Fragment => Some((packet.fragment != Fragment::Whole).to_string()),
            Self::Mark => Some(format!("{:#x}", seen.mark)),
            Self::Cgroup => seen.cgroup.map(str::to_owned),
        }
    }
}

fn holds(prefixes: &[IpNet], address: IpAddr) -> bool {
    prefixes.iter().any(|prefix| prefix.contains(&address))
}

fn within(ranges: &[(u16, u16)], value: u16) -> bool {
    ranges.iter().any(|(first, last)| (*first..=*last).contains(&value))
}

fn range(&(first, last): &(u16, u16)) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

fn list<T>(members: &[T], show: impl Fn(&T) -> String) -> String {
    let said: Vec<String> = members.iter().take(MEMBERS).map(show).collect();
    match members.len().saturating_sub(MEMBERS) {
        0 => said.join(", "),
        1 => format!("{} or 1 other", said.join(", ")),
        others => format!("{} or {others} others", said.join(", ")),
    }
}
