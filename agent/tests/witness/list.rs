//! Long rule lists of twelve families, in the manner of ClassBench's (Taylor and Turner, 2007): access lists with specific
//! pairs of prefixes, firewalls with many wildcards, and chains of both; and packets that hit them. Own shapes, own seeds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use lanekeeper::policy::{Class, ClassIndex, Fallback, Policy, Rule, Tenant, TenantIndex};

use super::packet::{self, Packet};
use super::policy::tunnel;
use super::random::Random;

/// What the rules of a list look like. Weights are relative.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    pub name: &'static str,
    pub six: bool,
    /// In a hundred rules, those with any source and with any destination.
    any: (usize, usize),
    /// Lengths of prefixes, one as likely as the other.
    source: &'static [u8],
    destination: &'static [u8],
    /// Any, one, a range of unprivileged ones, an arbitrary range.
    source_port: [usize; 4],
    destination_port: [usize; 4],
    /// TCP, UDP, ICMP, any.
    protocol: [usize; 4],
}

const ACL4: &[u8] = &[32, 32, 32, 30, 29, 28, 27, 26, 24, 24, 24, 23, 22, 20, 16];
const SITE4: &[u8] = &[24, 24, 24, 22, 21, 20, 19, 16, 16, 14, 12, 8];
const HOST4: &[u8] = &[32, 32, 32, 32, 31, 30, 28];
const ACL6: &[u8] = &[128, 128, 64, 64, 64, 60, 56, 48, 48, 44, 40, 32];
const SITE6: &[u8] = &[64, 56, 48, 48, 40, 36, 32, 32, 29];

const fn family(name: &'static str, any: (usize, usize), source: &'static [u8], destination: &'static [u8]) -> Family {
    Family {
        name,
        six: false,
        any,
        source,
        destination,
        source_port: [97, 1, 1, 1],
        destination_port: [30, 55, 5, 10],
        protocol: [70, 20, 3, 7],
    }
}

pub const FAMILIES: [Family; 12] = [
    family("acl1", (0, 0), ACL4, ACL4),
    Family { destination_port: [10, 80, 2, 8], ..family("acl2", (10, 2), ACL4, HOST4) },
    Family { destination_port: [20, 40, 10, 30], ..family("acl3", (5, 5), SITE4, ACL4) },
    Family { six: true, ..family("acl4", (2, 2), ACL6, ACL6) },
    Family { six: true, destination_port: [10, 50, 10, 30], ..family("acl5", (8, 1), SITE6, ACL6) },
    Family { source_port: [50, 30, 15, 5], ..family("fw1", (40, 20), ACL4, ACL4) },
    Family { source_port: [60, 30, 5, 5], ..family("fw2", (60, 5), SITE4, HOST4) },
    Family {
        source_port: [40, 40, 15, 5],
        destination_port: [30, 40, 20, 10],
        ..family("fw3", (20, 50), HOST4, SITE4)
    },
    Family { source_port: [80, 10, 5, 5], ..family("fw4", (30, 30), SITE4, SITE4) },
    Family { six: true, source_port: [50, 30, 15, 5], ..family("fw5", (40, 15), ACL6, ACL6) },
    Family { protocol: [40, 30, 10, 20], ..family("ipc1", (5, 10), ACL4, SITE4) },
    Family { source_port: [70, 10, 10, 10], protocol: [30, 30, 5, 35], ..family("ipc2", (15, 15), HOST4, HOST4) },
];

/// A place in `weights`, each as likely as its weight says.
fn weighted(random: &mut Random, weights: [usize; 4]) -> usize {
    let mut left = random.below(weights.iter().sum());
    for (place, weight) in weights.into_iter().enumerate() {
        if left < weight {
            return place;
        }
        left -= weight;
    }
    unreachable!("weights add up to their sum")
}

/// Networks that the prefixes of a list lie in: as many as make some share one.
fn prefix(random: &mut Random, family: &Family, lengths: &[u8], networks: usize) -> IpNet {
    let length = random.pick(lengths);
    let network = Random::new(random.below(networks) as u64 + 1).next();
    let host = random.u128();
    if family.six {
        let address = 0x2000u128 << 112 | u128::from(network & 0x0fff_ffff_ffff) << 76 | host & ((1 << 76) - 1);
        IpNet::V6(Ipv6Net::new(Ipv6Addr::from(address), length).unwrap().trunc())
    } else {
        let address = (network as u32 & 0xffff_f000) | (host as u32 & 0x0fff);
        IpNet::V4(Ipv4Net::new(Ipv4Addr::from(address), length).unwrap().trunc())
    }
}

fn ports(random: &mut Random, weights: [usize; 4]) -> Vec<(u16, u16)> {
    let well_known = [22, 25, 53, 80, 110, 123, 143, 161, 389, 443, 445, 993, 1433, 1521, 3306, 3389, 5060, 8080];
    match weighted(random, weights) {
        0 => Vec::new(),
        1 => {
            let port = if random.one_in(2) { random.pick(&well_known) } else { random.next() as u16 };
            vec![(port, port)]
        }
        2 => vec![(1024, 65535)],
        _ => {
            let (first, span) = (random.next() as u16, random.below(2000) as u16);
            vec![(first, first.saturating_add(span))]
        }
    }
}

fn rule(random: &mut Random, family: &Family, place: usize, networks: usize) -> Rule {
    let mut addresses = |any: usize, lengths: &[u8]| match random.below(100) < any {
        true => Vec::new(),
        false => vec![prefix(random, family, lengths, networks)],
    };
    let source = addresses(family.any.0, family.source);
    let destination = addresses(family.any.1, family.destination);
    let protocol = weighted(random, family.protocol);
    let has_ports = protocol < 2;
    Rule {
        class: ClassIndex(random.below(4)),
        place: format!("{}:{place}:1", family.name),
        source,
        destination,
        protocol: [Some(6), Some(17), Some(if family.six { 58 } else { 1 }), None][protocol],
        source_port: if has_ports { ports(random, family.source_port) } else { Vec::new() },
        destination_port: if has_ports { ports(random, family.destination_port) } else { Vec::new() },
        ..Rule::default()
    }
}

/// A policy of four classes with a list of that many rules.
pub fn policy(family: &Family, rules: usize) -> Policy {
    let mut random = Random::new(rules as u64 ^ family.name.bytes().fold(0, |seed, byte| seed << 8 | u64::from(byte)));
    let classes: Vec<Class> = (0..4)
        .map(|place| Class {
            name: format!("class{place}"),
            lanes: 2,
            fallback: Fallback::Block,
            outer_dscp: None,
            on_demand: None,
        })
        .collect();
    let mask = 0x0000_00ff;
    let mut tunnel = tunnel(&mut random, 0, &classes, mask);
    while tunnel.classes.len() < classes.len() {
        tunnel = super::policy::tunnel(&mut random, 0, &classes, mask);
    }
    let networks = (rules / 4).max(8);
    Policy {
        mark_mask: mask,
        mark_outer: 0,
        metrics_listen: None,
        web_config: None,
        latency_every: None,
        vici: "/nowhere".into(),
        memory_limit: None,
        mark_sockets: false,
        missing: Default::default(),
        default_class: ClassIndex(0),
        classes,
        tunnels: vec![tunnel],
        rules: (0..rules).map(|place| rule(&mut random, family, place, networks)).collect(),
        tenants: Vec::new(),
        ports: Vec::new(),
    }
}

/// The same list dealt out to so many tenants, each with a network of its own that its rules are about.
pub fn dealt(family: &Family, tenants: usize, each: usize) -> Policy {
    let mut policy = policy(family, tenants * each);
    for (place, rule) in policy.rules.iter_mut().enumerate() {
        let tenant = TenantIndex(place % tenants);
        rule.tenant = Some(tenant);
        rule.source = rule.source.iter().map(|_| home(family, tenant)).collect();
    }
    policy.tenants = (0..tenants)
        .map(|place| Tenant {
            name: format!("tenant{place}"),
            sources: vec![home(family, TenantIndex(place))],
            ..Tenant::default()
        })
        .collect();
    policy
}

/// No two of them touch.
fn home(family: &Family, tenant: TenantIndex) -> IpNet {
    let place = tenant.0 as u32 * 2;
    if family.six {
        IpNet::V6(Ipv6Net::new(Ipv6Addr::from(0x2001_0db8u128 << 96 | u128::from(place) << 80), 48).unwrap())
    } else {
        IpNet::V4(Ipv4Net::new(Ipv4Addr::from(0x0a00_0000 | place << 8), 24).unwrap())
    }
}

/// A packet that hits a rule drawn at random, or an earlier one; one in eight goes anywhere.
pub fn packet(random: &mut Random, family: &Family, policy: &Policy) -> Packet {
    let rule = random.below(policy.rules.len());
    let anywhere = Rule::default();
    let rule = if random.one_in(8) { &anywhere } else { &policy.rules[rule] };
    hit(random, family, rule)
}

fn hit(random: &mut Random, family: &Family, rule: &Rule) -> Packet {
    let mut within = |prefixes: &[IpNet]| match prefixes.first() {
        Some(prefix) => inside(random, *prefix),
        None if family.six => IpAddr::V6((0x2000u128 << 112 | random.u128() >> 4).into()),
        None => IpAddr::V4((random.next() as u32).into()),
    };
    let own: Vec<IpNet> = rule.tenant.map(|tenant| home(family, tenant)).into_iter().collect();
    let source = within(if rule.source.is_empty() { &own } else { &rule.source });
    let destination = within(&rule.destination);
    let protocol = rule.protocol.unwrap_or_else(|| random.pick(&[6, 6, 17, 47]));
    let mut port = |ranges: &[(u16, u16)]| match ranges.first() {
        Some((first, last)) => first + (random.below(usize::from(last - first) + 1)) as u16,
        None => random.next() as u16,
    };
    let ports = (port(&rule.source_port), port(&rule.destination_port));
    packet::whole(random, (source, destination), protocol, ports)
}

/// A packet of which each field fits another rule: it agrees with many rules in part, and so keeps a search longest.
pub fn crossed(random: &mut Random, family: &Family, policy: &Policy) -> Packet {
    let [source, destination, rest] = [(); 3].map(|()| packet(random, family, policy));
    let ports = rest.ports.unwrap_or((random.next() as u16, random.next() as u16));
    packet::whole(random, (source.source, destination.destination), rest.protocol, ports)
}

/// A packet at the ends of all that a rule drawn at random gives, or one step beyond some of them.
pub fn bordering(random: &mut Random, family: &Family, policy: &Policy) -> Packet {
    let rule = &policy.rules[random.below(policy.rules.len())];
    let hit = hit(random, family, rule);
    let mut edge = |prefixes: &[IpNet], own: IpAddr| match (prefixes.first(), random.below(4)) {
        (None, _) => own,
        (Some(prefix), 0) => prefix.network(),
        (Some(prefix), 1) => prefix.broadcast(),
        (Some(prefix), 2) => beyond(prefix.network(), -1),
        (Some(prefix), _) => beyond(prefix.broadcast(), 1),
    };
    let addresses = (edge(&rule.source, hit.source), edge(&rule.destination, hit.destination));
    let mut port = |ranges: &[(u16, u16)], own: u16| match (ranges.first(), random.below(4)) {
        (None, _) => own,
        (Some((first, _)), 0) => *first,
        (Some((_, last)), 1) => *last,
        (Some((first, _)), 2) => first.wrapping_sub(1),
        (Some((_, last)), _) => last.wrapping_add(1),
    };
    let own = hit.ports.unwrap_or_default();
    let ports = (port(&rule.source_port, own.0), port(&rule.destination_port, own.1));
    packet::whole(random, addresses, hit.protocol, ports)
}

fn beyond(address: IpAddr, step: i8) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from(address.to_bits().wrapping_add_signed(step.into())).into(),
        IpAddr::V6(address) => Ipv6Addr::from(address.to_bits().wrapping_add_signed(step.into())).into(),
    }
}

fn inside(random: &mut Random, prefix: IpNet) -> IpAddr {
    match prefix {
        IpNet::V4(net) => {
            IpAddr::V4((u32::from(net.network()) | (random.next() as u32 & u32::from(net.hostmask()))).into())
        }
        IpNet::V6(net) => IpAddr::V6((u128::from(net.network()) | (random.u128() & u128::from(net.hostmask()))).into()),
    }
}
