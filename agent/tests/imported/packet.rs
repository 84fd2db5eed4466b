//! Packets at the corners of imported rules, whole ones that a router forwards; their bytes are made here, apart from the
//! parser.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use lanekeeper::policy::{Policy, Rule};

use crate::random::Random;

/// A packet as its maker meant it.
#[derive(Debug, Clone)]
pub struct Packet {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub ports: Option<(u16, u16)>,
    pub dscp: u8,
    pub tcp_flags: u8,
    pub icmp_type: u8,
    pub ingress: String,
    /// From the IP header on.
    pub length: usize,
    pub frame: Vec<u8>,
}

/// Interfaces that packets come in by.
pub const INGRESS: [&str; 2] = ["lan0", "lan1"];

/// A packet for a rule drawn at random, with some fields of another one, that comes in by one of these links; `id` are its
/// last four bytes.
pub fn packet(random: &mut Random, policy: &Policy, links: &[&str], id: u32) -> Packet {
    let any = Rule::default();
    let draw = |random: &mut Random| match policy.rules.len() {
        0 => &any,
        rules if random.one_in(12) => &policy.rules[rules - 1],
        rules => &policy.rules[random.below(rules)],
    };
    let (one, other) = (draw(random), draw(random));
    let of = |random: &mut Random| if random.one_in(5) { other } else { one };
    let v4 = match of(random).source.first().or(one.destination.first()) {
        Some(net) => matches!(net, IpNet::V4(_)),
        None => random.one_in(2),
    };
    let (from, to) = (of(random), of(random));
    let source = address(random, &from.source, v4);
    let destination = address(random, &to.destination, v4);
    let protocol =
        of(random).protocol.filter(|_| !random.one_in(15)).unwrap_or_else(|| random.pick(&[6, 17, 17, 132, 1, 58, 47]));
    let (from, to) = (of(random), of(random));
    let source_port = port(random, &from.source_port);
    let destination_port = port(random, &to.destination_port);
    let dscp = match of(random).dscp.as_slice() {
        [] => random.pick(&[0, 0, 8, 46, 63]),
        _ if random.one_in(6) => random.below(64) as u8,
        list => random.pick(list),
    };
    let tcp_flags = match of(random).tcp_flags {
        Some((set, mask)) if !random.one_in(4) => set | (random.next() as u8 & !mask),
        _ => random.pick(&[0x02, 0x10, 0x12, 0x18, 0x14, 0]),
    };
    let icmp_type = match of(random).icmp_type.as_slice() {
        [] => random.pick(&[0, 8, 3, 128, 129]),
        list => random.pick(list),
    };
    let ingress = match of(random).interface.as_slice() {
        [] => random.pick(links),
        list => links.iter().find(|name| list.iter().any(|own| own == *name)).unwrap_or(&links[links.len() - 1]),
    }
    .to_owned();
    let lengths: Vec<(u16, u16)> = of(random).length.clone();
    let length = corner(random, &lengths, 100);
    whole(Packet {
        source,
        destination,
        protocol,
        ports: [6, 17, 132].contains(&protocol).then_some((source_port, destination_port)),
        dscp,
        tcp_flags,
        icmp_type,
        ingress,
        length: usize::from(length),
        frame: id.to_be_bytes().into(),
    })
}

/// A bound of one of the ranges, one off it, or anything within.
fn corner(random: &mut Random, ranges: &[(u16, u16)], else_below: u16) -> u16 {
    let Some(&(low, high)) = (!ranges.is_empty()).then(|| &ranges[random.below(ranges.len())]) else {
        return random.below(usize::from(else_below)) as u16;
    };
    match random.below(5) {
        0 => low,
        1 => high,
        2 => low.wrapping_sub(1),
        3 => high.wrapping_add(1),
        _ => low + random.below(usize::from(high - low) + 1) as u16,
    }
}

fn port(random: &mut Random, ranges: &[(u16, u16)]) -> u16 {
    corner(random, ranges, u16::MAX)
}

/// Within one of the prefixes, at their ends, or just outside; one that a router forwards.
fn address(random: &mut Random, nets: &[IpNet], v4: bool) -> IpAddr {
    let nets: Vec<&IpNet> = nets.iter().filter(|net| matches!(net, IpNet::V4(_)) == v4).collect();
    for _ in 0..8 {
        let net = if nets.is_empty() { None } else { Some(*random.pick(&nets)) };
        let address = match net {
            None if v4 => IpAddr::V4(Ipv4Addr::from(random.next() as u32)),
            None => IpAddr::V6(Ipv6Addr::from(0x2001_0db8 << 96 | random.u128() >> 64)),
            Some(IpNet::V4(net)) => {
                let (low, high) = (u32::from(net.network()), u32::from(net.broadcast()));
                IpAddr::V4(Ipv4Addr::from(match random.below(6) {
                    0 => low,
                    1 => high,
                    2 => low.wrapping_sub(1),
                    3 => high.wrapping_add(1),
                    _ => low | (random.next() as u32 & u32::from(net.hostmask())),
                }))
            }
            Some(IpNet::V6(net)) => {
                let (low, high) = (u128::from(net.network()), u128::from(net.broadcast()));
                IpAddr::V6(Ipv6Addr::from(match random.below(6) {
                    0 => low,
                    1 => high,
                    2 => low.wrapping_sub(1),
                    3 => high.wrapping_add(1),
                    _ => low | (random.u128() & u128::from(net.hostmask())),
                }))
            }
        };
        if is_forwarded(address) {
            return address;
        }
    }
    if v4 { IpAddr::V4(Ipv4Addr::new(192, 0, 2, 77)) } else { "2001:db8::77".parse().unwrap() }
}

fn is_forwarded(address: IpAddr) -> bool {
    match address {
        // 10.255.255.0/24 is the test's own.
        IpAddr::V4(v4) => {
            let [first, second, third, _] = v4.octets();
            (1..224).contains(&first)
                && first != 127
                && [first, second, third] != [10, 255, 255]
                && [first, second] != [169, 254]
        }
        IpAddr::V6(v6) => v6.segments()[0] & 0xe000 == 0x2000,
    }
}

/// The bytes, the identification behind them.
pub fn whole(mut packet: Packet) -> Packet {
    let id = std::mem::take(&mut packet.frame);
    let mut transport = Vec::new();
    if let Some((source, destination)) = packet.ports {
        transport.extend(source.to_be_bytes());
        transport.extend(destination.to_be_bytes());
    }
    match packet.protocol {
        6 => transport.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, packet.tcp_flags, 0xff, 0xff, 0, 0, 0, 0]),
        17 => transport.extend([0, 0, 0, 0]),
        1 | 58 => transport.extend([packet.icmp_type, 0, 0, 0, 0, 0, 0, 0]),
        _ => transport.extend([0; 8]),
    }
    let header = if packet.source.is_ipv4() { 20 } else { 40 };
    let least = header + transport.len() + id.len();
    packet.length = packet.length.clamp(least, 1400);
    transport.resize(packet.length - header - id.len(), 0);
    transport.extend(id);
    if packet.protocol == 17 {
        let length = (transport.len() as u16).to_be_bytes();
        transport[4..6].copy_from_slice(&length);
    }
    let mut frame = vec![2, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 0];
    match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut ip = vec![0x45, packet.dscp << 2];
            ip.extend((packet.length as u16).to_be_bytes());
            ip.extend([0, 0, 0, 0, 64, packet.protocol, 0, 0]);
            ip.extend(source.octets());
            ip.extend(destination.octets());
            let sum: u32 = ip.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
            let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
            frame.extend([0x08, 0x00]);
            frame.extend(ip);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            frame.extend([0x86, 0xdd, 0x60 | packet.dscp >> 2, packet.dscp << 6, 0, 0]);
            frame.extend((transport.len() as u16).to_be_bytes());
            frame.extend([packet.protocol, 64]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        _ => unreachable!("one family"),
    }
    frame.extend(transport);
    packet.frame = frame;
    packet
}
