//! Bytes -> what the rules ask about: addresses, protocol, ports, DSCP, VLAN, fragment.
//!
//! Lengths in headers only ever shorten what is looked at: what lies behind the IP packet's own end (Ethernet padding) is
//! not read as ports. A total or payload length of 0 stands for "all that is there" (segmentation offload of more than
//! 64 KiB leaves it so). Ports are those of TCP, UDP and SCTP. A packet that is to be cut into segments has the length of all
//! of them.

use crate::abi::{NO_ICMP, NO_TCP, NO_VLAN, Parsed};
use crate::dscp;
use crate::verdict::ParseReason;

/// Followed before the transport header; RFC 8200 lists seven kinds, each at most once but for destination options.
pub const MAX_EXTENSION_HEADERS: usize = 8;
/// Tags followed within the packet.
pub const MAX_VLAN_TAGS: usize = 2;

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;

/// Protocol number of ICMP.
pub const ICMP: u8 = 1;
/// Protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;
/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;
/// Protocol number of SCTP.
pub const SCTP: u8 = 132;

/// Where a packet's bytes come from.
pub trait Bytes {
    /// Extension headers that are followed; where there are more, a packet is too deep.
    const EXTENSION_HEADERS: usize = MAX_EXTENSION_HEADERS;
    /// `N` bytes at `offset`; `None` unless all of them are there.
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;
    /// How many there are.
    fn len(&self) -> u32;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Bytes for &[u8] {
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let offset = offset as usize;
        self.get(offset..offset.checked_add(N)?)?.try_into().ok()
    }

    fn len(&self) -> u32 {
        (**self).len() as u32
    }
}

/// What the first byte belongs to. A plain number, since the kernel's parser is a global BPF function, which takes those.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer(u16);

impl Layer {
    /// An Ethernet header. 0xffff is reserved, no EtherType (RFC 1701).
    pub const ETHERNET: Layer = Layer(0xffff);

    /// The header of this EtherType.
    #[inline(always)]
    pub const fn network(ethertype: u16) -> Self {
        Self(ethertype)
    }

    /// What [`Layer::network`] makes the same layer of, Ethernet's included.
    #[inline(always)]
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// IP's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Upper and lower half in host byte order; an IPv4 address is the lower half's lower half.
pub type Address = [u64; 2];

/// Whether a packet is part of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fragment {
    /// It is all of it.
    Whole,
    /// The part with the transport header; others follow.
    First(u32),
    /// A part without.
    Later(u32),
}

/// A packet as the rules see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// IP's version.
    pub family: Family,
    /// Inner source.
    pub source: Address,
    /// Inner destination.
    pub destination: Address,
    /// The last header of IPv6's chain; for a later fragment what its fragment header names.
    pub protocol: u8,
    /// 0..=63.
    pub dscp: u8,
    /// Source and destination, where the protocol has them and the packet holds them.
    pub ports: Option<(u16, u16)>,
    /// Id of the outermost tag, or [`NO_VLAN`].
    pub vlan: u16,
    /// With the identification.
    pub fragment: Fragment,
    /// Bytes from the IP header on, as that says; where it does not, all that are there.
    pub length: u16,
    /// Of TCP, where the packet holds them.
    pub tcp_flags: Option<u8>,
    /// Of ICMP or ICMPv6, where the packet holds it.
    pub icmp_type: Option<u8>,
    /// Offset of the IP header.
    pub network: u32,
    /// Offset of what follows IP's headers.
    pub transport: u32,
}

impl Packet {
    /// As plain numbers.
    #[inline(always)]
    pub fn flatten(result: Result<Self, ParseReason>) -> Parsed {
        let packet = match result {
            Ok(packet) => packet,
            Err(reason) => return Parsed { reason: reason as u8, ..Parsed::default() },
        };
        let (source_port, destination_port) = packet.ports.unwrap_or((0, 0));
        let (fragment, id) = match packet.fragment {
            Fragment::Whole => (0, 0),
            Fragment::First(id) => (1, id),
            Fragment::Later(id) => (2, id),
        };
        Parsed {
            source: packet.source,
            destination: packet.destination,
            id,
            network: packet.network,
            transport: packet.transport,
            source_port,
            destination_port,
            vlan: packet.vlan,
            protocol: packet.protocol,
            dscp: packet.dscp,
            family: if packet.family == Family::V4 { 4 } else { 6 },
            ports: packet.ports.is_some() as u8,
            fragment,
            reason: 0,
            length: packet.length,
            icmp_type: packet.icmp_type.map_or(NO_ICMP, u16::from),
            tcp_flags: packet.tcp_flags.map_or(NO_TCP, u16::from),
            cgroup: 0,
        }
    }

    /// The reverse, for one that was read.
    #[inline(always)]
    pub fn unflatten(parsed: &Parsed) -> Self {
        Packet {
            family: if parsed.family == 4 { Family::V4 } else { Family::V6 },
            source: parsed.source,
            destination: parsed.destination,
            protocol: parsed.protocol,
            dscp: parsed.dscp,
            ports: if parsed.ports == 0 { None } else { Some((parsed.source_port, parsed.destination_port)) },
            vlan: parsed.vlan,
            fragment: match parsed.fragment {
                0 => Fragment::Whole,
                1 => Fragment::First(parsed.id),
                _ => Fragment::Later(parsed.id),
            },
            length: parsed.length,
            tcp_flags: if parsed.tcp_flags == NO_TCP { None } else { Some(parsed.tcp_flags as u8) },
            icmp_type: if parsed.icmp_type == NO_ICMP { None } else { Some(parsed.icmp_type as u8) },
            network: parsed.network,
            transport: parsed.transport,
        }
    }
}

/// Reads a packet. `tag` is the id of a tag that was already taken off, by the device or into the skb, or [`NO_VLAN`].
#[inline(always)]
pub fn parse<B: Bytes>(bytes: &B, layer: Layer, tag: u16) -> Result<Packet, ParseReason> {
    let (ethertype, network, vlan) = if layer == Layer::ETHERNET { ethernet(bytes, tag)? } else { (layer.0, 0, tag) };
    match ethertype {
        ETHERTYPE_IPV4 => ipv4(bytes, network, vlan),
        ETHERTYPE_IPV6 => ipv6(bytes, network, vlan),
        _ => Err(ParseReason::NotIp),
    }
}

#[inline(always)]
fn is_vlan(ethertype: u16) -> bool {
    ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_QINQ
}

#[inline(always)]
fn ethernet<B: Bytes>(bytes: &B, tag: u16) -> Result<(u16, u32, u16), ParseReason> {
    let mut ethertype = u16::from_be_bytes(bytes.read(12).ok_or(ParseReason::Truncated)?);
    let mut offset = 14;
    let mut vlan = tag;
    for _ in 0..MAX_VLAN_TAGS {
        if !is_vlan(ethertype) {
            break;
        }
        let [tci0, tci1, type0, type1] = bytes.read(offset).ok_or(ParseReason::Truncated)?;
        if vlan == NO_VLAN {
            vlan = u16::from_be_bytes([tci0, tci1]) & 0x0fff;
        }
        ethertype = u16::from_be_bytes([type0, type1]);
        offset += 4;
    }
    if is_vlan(ethertype) {
        return Err(ParseReason::TooDeep);
    }
    Ok((ethertype, offset, vlan))
}

#[inline(always)]
fn ipv4<B: Bytes>(bytes: &B, network: u32, vlan: u16) -> Result<Packet, ParseReason> {
    let header: [u8; 20] = bytes.read(network).ok_or(ParseReason::Truncated)?;
    let header_len = u32::from(header[0] & 0x0f) * 4;
    let total = u32::from(u16::from_be_bytes([header[2], header[3]]));
    if header[0] >> 4 != 4 || header_len < 20 || (total != 0 && total < header_len) {
        return Err(ParseReason::Malformed);
    }
    let end = if total == 0 { bytes.len() } else { bytes.len().min(network + total) };
    let transport = network + header_len;
    if transport > end {
        return Err(ParseReason::Truncated);
    }
    let id = u32::from(u16::from_be_bytes([header[4], header[5]]));
    let offset = u16::from_be_bytes([header[6], header[7]]);
    let fragment = match (offset & 0x1fff, offset & 0x2000) {
        (0, 0) => Fragment::Whole,
        (0, _) => Fragment::First(id),
        (_, _) => Fragment::Later(id),
    };
    let protocol = header[9];
    let inside = inside(bytes, transport, end, protocol, fragment)?;
    Ok(Packet {
        family: Family::V4,
        source: [0, u64::from(u32::from_be_bytes([header[12], header[13], header[14], header[15]]))],
        destination: [0, u64::from(u32::from_be_bytes([header[16], header[17], header[18], header[19]]))],
        protocol,
        dscp: dscp::of(header[1]),
        ports: inside.ports,
        vlan,
        fragment,
        length: length(if total == 0 { bytes.len().wrapping_sub(network) } else { total }),
        tcp_flags: inside.tcp_flags,
        icmp_type: inside.icmp_type,
        network,
        transport,
    })
}

#[inline(always)]
fn ipv6<B: Bytes>(bytes: &B, network: u32, vlan: u16) -> Result<Packet, ParseReason> {
    let header: [u8; 8] = bytes.read(network).ok_or(ParseReason::Truncated)?;
    let source: [u8; 16] = bytes.read(network + 8).ok_or(ParseReason::Truncated)?;
    let destination: [u8; 16] = bytes.read(network + 24).ok_or(ParseReason::Truncated)?;
    if header[0] >> 4 != 6 {
        return Err(ParseReason::Malformed);
    }
    let payload = u32::from(u16::from_be_bytes([header[4], header[5]]));
    let end = if payload == 0 { bytes.len() } else { bytes.len().min(network + 40 + payload) };
    let (protocol, transport, fragment) = extension_headers(bytes, header[6], network + 40, end)?;
    let inside = inside(bytes, transport, end, protocol, fragment)?;
    Ok(Packet {
        family: Family::V6,
        source: address(source),
        destination: address(destination),
        protocol,
        dscp: dscp::of((header[0] << 4) | (header[1] >> 4)),
        ports: inside.ports,
        vlan,
        fragment,
        length: length(if payload == 0 { bytes.len().wrapping_sub(network) } else { payload + 40 }),
        tcp_flags: inside.tcp_flags,
        icmp_type: inside.icmp_type,
        network,
        transport,
    })
}

/// Follows the chain from `next` at `offset`: the protocol behind it, where that begins, and the fragment header's say.
#[inline(always)]
fn extension_headers<B: Bytes>(
    bytes: &B,
    mut next: u8,
    mut offset: u32,
    end: u32,
) -> Result<(u8, u32, Fragment), ParseReason> {
    let mut fragment = Fragment::Whole;
    for _ in 0..B::EXTENSION_HEADERS {
        let unit = match extension_unit(next) {
            Some(unit) => unit,
            None => return Ok((next, offset, fragment)),
        };
        let header: [u8; 8] = bytes.read(offset).ok_or(ParseReason::Truncated)?;
        let len = match unit {
            ExtensionUnit::Eight => u32::from(header[1]) * 8 + 8,
            ExtensionUnit::Four => u32::from(header[1]) * 4 + 8,
            ExtensionUnit::Fragment => 8,
        };
        if offset + len > end {
            return Err(ParseReason::Truncated);
        }
        next = header[0];
        offset += len;
        if unit == ExtensionUnit::Fragment {
            let id = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            let place = u16::from_be_bytes([header[2], header[3]]);
            if place & 0xfff8 != 0 {
                return Ok((next, offset, Fragment::Later(id)));
            }
            // Neither offset nor more to come: an atomic fragment (RFC 6946), whole in all but name.
            if place & 1 != 0 {
                fragment = Fragment::First(id);
            }
        }
    }
    if extension_unit(next).is_some() { Err(ParseReason::TooDeep) } else { Ok((next, offset, fragment)) }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ExtensionUnit {
    Eight,
    Four,
    Fragment,
}

/// How an extension header states its length; `None` for what is none. ESP (50) is none: behind it all is encrypted.
#[inline(always)]
fn extension_unit(next: u8) -> Option<ExtensionUnit> {
    match next {
        // Hop-by-hop, routing, destination options; mobility, HIP, shim6.
        0 | 43 | 60 | 135 | 139 | 140 => Some(ExtensionUnit::Eight),
        // AH counts in units of four, less two (RFC 4302 section 2.2).
        51 => Some(ExtensionUnit::Four),
        44 => Some(ExtensionUnit::Fragment),
        _ => None,
    }
}

#[inline(always)]
fn address(bytes: [u8; 16]) -> Address {
    let whole = u128::from_be_bytes(bytes);
    [(whole >> 64) as u64, whole as u64]
}

#[inline(always)]
fn length(bytes: u32) -> u16 {
    if bytes > u16::MAX as u32 { u16::MAX } else { bytes as u16 }
}

/// What the header behind IP's says.
struct Inside {
    ports: Option<(u16, u16)>,
    tcp_flags: Option<u8>,
    icmp_type: Option<u8>,
}

#[inline(always)]
fn inside<B: Bytes>(
    bytes: &B,
    transport: u32,
    end: u32,
    protocol: u8,
    fragment: Fragment,
) -> Result<Inside, ParseReason> {
    let mut inside = Inside { ports: None, tcp_flags: None, icmp_type: None };
    if matches!(fragment, Fragment::Later(_)) {
        return Ok(inside);
    }
    if protocol == TCP || protocol == UDP || protocol == SCTP {
        if transport + 4 > end {
            return Err(ParseReason::Truncated);
        }
        let [source0, source1, destination0, destination1] = bytes.read(transport).ok_or(ParseReason::Truncated)?;
        inside.ports = Some((u16::from_be_bytes([source0, source1]), u16::from_be_bytes([destination0, destination1])));
        if protocol == TCP && transport + 14 <= end {
            inside.tcp_flags = bytes.read::<1>(transport + 13).map(|[flags]| flags);
        }
    } else if (protocol == ICMP || protocol == ICMPV6) && transport < end {
        inside.icmp_type = bytes.read::<1>(transport).map(|[kind]| kind);
    }
    Ok(inside)
}

#[cfg(test)]
mod tests;
