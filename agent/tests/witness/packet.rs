//! Random packets: what they are, and the bytes that say so. Written apart from the parser.

use std::net::{IpAddr, Ipv4Addr};

use lanekeeper::model::Probe;
use lanekeeper::policy::Policy;

use super::policy::{CGROUPS, INTERFACES, PROTOCOLS, port, v4, v6};
use super::random::Random;

/// Part of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Whole,
    /// With the identification of its datagram.
    First(u32),
    Later(u32),
}

/// A packet as its maker meant it.
#[derive(Debug, Clone)]
pub struct Packet {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    /// Of the transport header, if it has one; a later fragment has none.
    pub ports: Option<(u16, u16)>,
    pub dscp: u8,
    /// Outermost tag, be it in the frame or stripped by the interface.
    pub vlan: Option<u16>,
    pub ingress: Option<&'static str>,
    pub stripped: Option<u16>,
    /// Ids of the tags in the frame, the outermost first.
    pub tags: Vec<u16>,
    pub part: Part,
    /// Nothing can be read from it.
    pub broken: bool,
    pub mark: u32,
    /// Of its socket, for one of the host's own.
    pub cgroup: Option<&'static str>,
    /// From the IP header on, without padding.
    pub length: u16,
    /// Of TCP, if it is there.
    pub tcp_flags: Option<u8>,
    /// Of ICMP or ICMPv6, if it is there.
    pub icmp_type: Option<u8>,
    pub frame: Vec<u8>,
}

impl Packet {
    /// As the classifier gets it.
    pub fn probe(&self) -> Probe<'_> {
        Probe {
            frame: &self.frame,
            mark: self.mark,
            ingress: self.ingress,
            stripped: self.stripped,
            cgroup: self.cgroup,
        }
    }
}

fn has_ports(protocol: u8) -> bool {
    [6, 17, 132].contains(&protocol)
}

/// How many first fragments are remembered for later ones to follow.
const FIRSTS: usize = 8;

/// Makes packets, one after the other; half of the later fragments follow a first one that was made shortly before.
#[derive(Default)]
pub struct Packets {
    firsts: Vec<Packet>,
}

impl Packets {
    /// A packet; addresses are often taken from the edges of the policy's prefixes.
    pub fn next(&mut self, random: &mut Random, policy: &Policy) -> Packet {
        let part = match random.below(20) {
            0 => Part::First(random.next() as u32 & 0xffff),
            1 => Part::Later(random.next() as u32 & 0xffff),
            _ => Part::Whole,
        };
        let follows = matches!(part, Part::Later(_)) && !self.firsts.is_empty() && random.one_in(2);
        let first = follows.then(|| random.pick(&self.firsts));
        let packet = make(random, policy, part, first.as_ref());
        if matches!(part, Part::First(_)) && !packet.broken {
            self.firsts.push(packet.clone());
            if self.firsts.len() > FIRSTS {
                self.firsts.remove(0);
            }
        }
        packet
    }
}

/// A packet that follows none.
pub fn packet(random: &mut Random, policy: &Policy) -> Packet {
    Packets::default().next(random, policy)
}

/// A packet that is this part of a datagram: of `first`'s, where there is one.
fn make(random: &mut Random, policy: &Policy, part: Part, first: Option<&Packet>) -> Packet {
    let six = first.map_or_else(|| random.one_in(2), |first| first.source.is_ipv6());
    let source = first.map_or_else(|| address(random, policy, six, true), |first| first.source);
    let destination = first.map_or_else(|| address(random, policy, six, false), |first| first.destination);
    let other = if random.one_in(3) { random.pick(&PROTOCOLS) } else { random.pick(&[6, 17]) };
    // Another protocol makes another datagram of it in IPv4; in IPv6 it is the first fragment's that counts.
    let protocol = first.filter(|_| !random.one_in(4)).map_or(other, |first| first.protocol);
    let part = match first.map(|first| first.part) {
        Some(Part::First(id)) => Part::Later(id),
        _ => part,
    };
    let ports = (has_ports(protocol) && !matches!(part, Part::Later(_))).then(|| (port(random), port(random)));
    let dscp = random.pick(&[0, 0, 8, 34, 46, 63, 1]);
    let (ingress, stripped) = match first {
        Some(first) => (first.ingress, first.stripped),
        None => ingress(random),
    };
    let of_host = ingress.is_none() && !random.one_in(8);
    let cgroup = first.map_or_else(|| of_host.then(|| random.pick(&CGROUPS)), |first| first.cgroup);
    let tags: Vec<u16> = match first {
        Some(first) if !random.one_in(8) => first.tags.clone(),
        _ => (0..random.pick(&[0, 0, 0, 1, 1, 2])).map(|_| random.pick(&[0, 1, 12, 13, 4094])).collect(),
    };
    let mut made = Packet {
        source,
        destination,
        protocol,
        ports,
        dscp,
        vlan: stripped.or(tags.first().copied()),
        ingress,
        stripped,
        tags,
        part,
        broken: false,
        mark: random.pick(&[0, u32::MAX, 0x1234_5678]),
        cgroup,
        length: 0,
        tcp_flags: None,
        icmp_type: None,
        frame: Vec::new(),
    };
    fill(random, &mut made, six);
    if random.one_in(25) {
        break_it(random, &mut made, six);
    }
    made
}

/// A whole packet without tags, of the host itself.
pub fn whole(random: &mut Random, addresses: (IpAddr, IpAddr), protocol: u8, ports: (u16, u16)) -> Packet {
    let mut made = Packet {
        source: addresses.0,
        destination: addresses.1,
        protocol,
        ports: has_ports(protocol).then_some(ports),
        dscp: 0,
        vlan: None,
        ingress: None,
        stripped: None,
        tags: Vec::new(),
        part: Part::Whole,
        broken: false,
        mark: 0,
        cgroup: None,
        length: 0,
        tcp_flags: None,
        icmp_type: None,
        frame: Vec::new(),
    };
    fill(random, &mut made, addresses.0.is_ipv6());
    made
}

/// The interface by which a packet came in, and the VLAN id that it strips.
fn ingress(random: &mut Random) -> (Option<&'static str>, Option<u16>) {
    let stripped = random.one_in(6).then(|| random.pick(&[1, 12, 4094]));
    let name = (stripped.is_some() || random.one_in(2)).then(|| random.pick(&INTERFACES));
    (name, stripped)
}

fn address(random: &mut Random, policy: &Policy, six: bool, of_source: bool) -> IpAddr {
    let rule = (!policy.rules.is_empty()).then(|| &policy.rules[random.below(policy.rules.len())]);
    let prefixes = rule.map_or(&[][..], |rule| if of_source { &rule.source } else { &rule.destination });
    let prefixes: Vec<_> = prefixes.iter().filter(|prefix| prefix.addr().is_ipv6() == six).collect();
    if prefixes.is_empty() || random.one_in(4) {
        return if six { v6(random).into() } else { v4(random).into() };
    }
    let prefix = random.pick(&prefixes);
    let step = random.below(4);
    match (if step < 2 { prefix.network() } else { prefix.broadcast() }, step) {
        (edge, 0 | 2) => edge,
        // Just outside: the neighbour below the first, above the last.
        (IpAddr::V4(edge), 1) => u32::from(edge).wrapping_sub(1).to_be_bytes().into(),
        (IpAddr::V4(edge), _) => Ipv4Addr::from(u32::from(edge).wrapping_add(1)).into(),
        (IpAddr::V6(edge), 1) => u128::from(edge).wrapping_sub(1).to_be_bytes().into(),
        (IpAddr::V6(edge), _) => u128::from(edge).wrapping_add(1).to_be_bytes().into(),
    }
}

/// Makes the frame, with what only stands there.
fn fill(random: &mut Random, packet: &mut Packet, six: bool) {
    if !matches!(packet.part, Part::Later(_)) {
        packet.tcp_flags = (packet.protocol == 6).then(|| random.pick(&[0x02, 0x12, 0x10, 0x18, 0x01, 0x00]));
        packet.icmp_type = [1, 58].contains(&packet.protocol).then(|| random.pick(&[0, 3, 8, 128, 255]));
    }
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    let tags = packet.tags.len();
    for (place, tag) in packet.tags.iter().enumerate() {
        bytes.extend(if place + 1 < tags { [0x88, 0xa8] } else { [0x81, 0x00] });
        bytes.extend((tag | (random.next() as u16 & 0xf000)).to_be_bytes());
    }
    let transport = transport(random, packet);
    if six {
        ipv6(random, packet, &transport, &mut bytes)
    } else {
        ipv4(random, packet, &transport, &mut bytes)
    }
    packet.length = (bytes.len() - 14 - tags * 4) as u16;
    if random.one_in(8) {
        // Ethernet padding is no part of the packet.
        bytes.extend([0xaa; 10]);
    }
    packet.frame = bytes;
}

fn transport(random: &mut Random, packet: &Packet) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some((source, destination)) = packet.ports {
        bytes.extend(source.to_be_bytes());
        bytes.extend(destination.to_be_bytes());
    }
    // What looks like ports in a protocol or part without any must not be taken for some.
    bytes.extend((0..16 + random.below(16)).map(|_| random.next() as u8));
    if let Some(flags) = packet.tcp_flags {
        bytes[13] = flags;
    }
    if let Some(kind) = packet.icmp_type {
        bytes[0] = kind;
    }
    bytes
}

fn ipv4(random: &mut Random, packet: &Packet, transport: &[u8], bytes: &mut Vec<u8>) {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (packet.source, packet.destination) else { panic!("families") };
    let options = random.pick(&[0, 0, 0, 1, 5, 10]);
    let (id, offset): (u16, u16) = match packet.part {
        Part::Whole => (random.next() as u16, random.pick(&[0, 0x4000])),
        Part::First(id) => (id as u16, 0x2000),
        Part::Later(id) => (id as u16, random.pick(&[1, 0x2001, 0x1fff])),
    };
    bytes.extend([0x08, 0x00, 0x45 + options as u8, packet.dscp << 2 | (random.next() as u8 & 3)]);
    bytes.extend(((20 + options * 4 + transport.len()) as u16).to_be_bytes());
    bytes.extend(id.to_be_bytes());
    bytes.extend(offset.to_be_bytes());
    bytes.extend([64, packet.protocol, 0, 0]);
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    bytes.extend(vec![1; options * 4]);
    bytes.extend(transport);
}

fn ipv6(random: &mut Random, packet: &Packet, transport: &[u8], bytes: &mut Vec<u8>) {
    let (IpAddr::V6(source), IpAddr::V6(destination)) = (packet.source, packet.destination) else { panic!("families") };
    // Pairs of (kind, header without its first byte).
    let mut chain: Vec<(u8, Vec<u8>)> = Vec::new();
    for kind in [0, 43, 60, 51, 135] {
        if random.one_in(8) {
            let units = random.below(3);
            let len = if kind == 51 { units * 4 + 8 } else { units * 8 + 8 };
            let mut header = vec![units as u8];
            header.resize(len - 1, 0);
            chain.push((kind, header));
        }
    }
    if let Part::First(id) | Part::Later(id) = packet.part {
        let place: u16 = if packet.part == Part::First(id) { 1 } else { random.pick(&[0x0008, 0x0009, 0xfff8]) };
        let mut header = vec![0];
        header.extend(place.to_be_bytes());
        header.extend(id.to_be_bytes());
        chain.push((44, header));
    } else if random.one_in(10) {
        chain.push((44, vec![0, 0, 0, 1, 2, 3, 4]));
    }
    let length: usize = chain.iter().map(|(_, header)| header.len() + 1).sum::<usize>() + transport.len();
    let class = packet.dscp << 2 | (random.next() as u8 & 3);
    bytes.extend([0x86, 0xdd, 0x60 | class >> 4, class << 4, 0, 0]);
    bytes.extend((length as u16).to_be_bytes());
    let kinds: Vec<u8> = chain.iter().map(|(kind, _)| *kind).chain([packet.protocol]).collect();
    bytes.extend([kinds[0], 64]);
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    for ((_, header), next) in chain.iter().zip(&kinds[1..]) {
        bytes.push(*next);
        bytes.extend(header);
    }
    bytes.extend(transport);
}

/// Makes it unreadable in one of several ways.
fn break_it(random: &mut Random, packet: &mut Packet, six: bool) {
    let network = 14 + packet.tags.len() * 4;
    packet.broken = true;
    match random.below(5) {
        // Cut within the IP header; a test run wants more than an Ethernet header.
        0 => packet.frame.truncate(network.max(15) + random.below(19)),
        1 => packet.frame[network] = 0x10 | packet.frame[network] & 0x0f,
        2 if !six => packet.frame[network] = 0x44,
        3 if !six => packet.frame[network + 2..network + 4].copy_from_slice(&19u16.to_be_bytes()),
        _ => packet.frame[network - 2..network].copy_from_slice(&[0x08, 0x06]),
    }
}
