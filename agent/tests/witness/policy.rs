//! Random policies whose rules overlap: values come from small pools, so that most packets match several rules.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use lanekeeper::policy::{
    Class, ClassIndex, Device, DeviceKind, Fallback, Keying, Lane, Policy, Rule, Static, Tenant, TenantIndex, Tunnel,
    TunnelIndex,
};

use super::random::Random;

/// Those that rules and tenants name come first; of the rest some are VRFs, and some tunnels' devices.
pub const INTERFACES: [&str; 8] = ["lan0", "lan1", "vlan12", "unnamed0", "blue", "red", "lk-0", "lk-1"];
/// Of packets; rules name some of them, and one that no packet is of.
pub const CGROUPS: [&str; 7] = ["/", "/a", "/a/b", "/a/b/c", "/a-b", "/d", "/d/b/e"];
pub const PROTOCOLS: [u8; 9] = [6, 17, 132, 1, 58, 50, 47, 136, 59];

/// An address near the others: the high bytes are few, the low ones anything.
pub fn v4(random: &mut Random) -> Ipv4Addr {
    let high = random.pick(&[0x0a01_0000, 0x0a02_0000, 0x0a01_8000, 0xc000_0200, 0, 0xffff_0000]);
    Ipv4Addr::from(high | (random.next() as u32 & random.pick(&[0xf, 0xff, 0xffff])))
}

pub fn v6(random: &mut Random) -> Ipv6Addr {
    let high =
        random.pick(&[0x2001_0db8u128 << 96, (0x2001_0db8u128 << 96) | (1 << 64), 0, u128::MAX << 32, 0xfe80 << 112]);
    Ipv6Addr::from(high | (random.u128() & random.pick(&[0xf, 0xffff, u64::MAX.into(), u128::MAX >> 48])))
}

fn prefix(random: &mut Random) -> IpNet {
    if random.one_in(2) {
        let len = random.pick(&[0, 1, 8, 15, 16, 17, 23, 24, 25, 28, 31, 32]);
        IpNet::V4(Ipv4Net::new(v4(random), len).unwrap().trunc())
    } else {
        let len = random.pick(&[0, 1, 32, 48, 63, 64, 65, 96, 112, 127, 128]);
        IpNet::V6(Ipv6Net::new(v6(random), len).unwrap().trunc())
    }
}

pub fn port(random: &mut Random) -> u16 {
    random.pick(&[0, 1, 53, 80, 443, 1023, 1024, 5060, 16384, 32767, 32768, 65534, 65535])
}

fn ports(random: &mut Random) -> (u16, u16) {
    let (a, b) = (port(random), port(random));
    if random.one_in(3) { (a, a) } else { (a.min(b), a.max(b)) }
}

/// Some of a field's values: none in half of the rules.
fn some<T>(random: &mut Random, one_in: usize, mut value: impl FnMut(&mut Random) -> T) -> Vec<T> {
    if !random.one_in(one_in) {
        return Vec::new();
    }
    (0..=random.below(3)).map(|_| value(random)).collect()
}

pub fn rule(random: &mut Random, place: usize, classes: usize, tenants: usize) -> Rule {
    let tenant = (tenants != 0 && random.one_in(2)).then(|| TenantIndex(random.below(tenants)));
    let interface = some(random, 5, |random| random.pick(&INTERFACES[..3]).to_owned());
    let cgroups = if interface.is_empty() { 6 } else { usize::MAX };
    Rule {
        name: random.one_in(2).then(|| format!("rule {place}")),
        tenant,
        class: ClassIndex(random.below(classes)),
        place: format!("generated:{place}:1"),
        source: some(random, 2, prefix),
        destination: some(random, 2, prefix),
        protocol: random.one_in(3).then(|| random.pick(&PROTOCOLS)),
        source_port: some(random, 4, ports),
        destination_port: some(random, 3, ports),
        dscp: some(random, 4, |random| random.pick(&[0, 8, 34, 46, 63])),
        interface,
        vlan: some(random, 8, |random| random.pick(&[0, 1, 12, 4094])),
        length: some(random, 8, |random| random.pick(&[(0, 50), (51, 65535), (40, 48), (60, 60), (0, 65535)])),
        tcp_flags: random.one_in(8).then(|| random.pick(&[(2, 2), (2, 0x12), (0, 1), (0x10, 0x17)])),
        icmp_type: some(random, 10, |random| random.pick(&[0, 8, 128, 255])),
        fragment: random.one_in(10).then(|| random.one_in(2)),
        mark: random.one_in(10).then(|| random.pick(&[(0, 0xf000_0000), (0x1000_0000, 0xf000_0000), (8, 8), (0, 0)])),
        cgroup: some(random, cgroups, |random| {
            random.pick(&["/", "/a", "/a/b", "/a/b/c", "/d/b", "/nobody"]).to_owned()
        }),
    }
}

/// A policy without fallbacks to `clear` and without loops in them.
pub fn policy(random: &mut Random) -> Policy {
    let classes: Vec<Class> = (0..1 + random.below(6))
        .map(|place| Class {
            name: format!("class{place}"),
            lanes: random.pick(&[1, 1, 2, 3, 8, 32]),
            fallback: if place != 0 && random.one_in(2) {
                Fallback::Class(ClassIndex(random.below(place)))
            } else {
                Fallback::Block
            },
            outer_dscp: random.one_in(3).then_some(46),
            on_demand: None,
        })
        .collect();
    let mut tenants: Vec<Tenant> = (0..random.below(4))
        .map(|place| Tenant {
            name: format!("tenant{place}"),
            interfaces: some(random, 2, |random| random.pick(&INTERFACES[..3]).to_owned()),
            vlans: some(random, 4, |random| random.pick(&[0, 1, 12, 4094])),
            vrfs: some(random, 4, |random| random.pick(&["blue", "red"]).to_owned()),
            sources: some(random, 2, prefix),
            default_class: random.one_in(3).then(|| ClassIndex(random.below(classes.len()))),
            tunnels: Vec::new(),
        })
        .collect();
    let count = if random.one_in(50) { 400 } else { random.pick(&[0, 1, 2, 5, 20, 70, 130]) };
    let rules = (0..count).map(|place| rule(random, place, classes.len(), tenants.len())).collect();
    let mask = random.pick(&[0x0000_00ff, 0x0000_ff00, 0xff00_0000, 0x003f_c000]);
    let mut tunnels: Vec<Tunnel> =
        (0..1 + random.below(2)).map(|place| tunnel(random, place, &classes, mask)).collect();
    for (place, tunnel) in tunnels.iter_mut().enumerate() {
        tunnel.device.addresses = some(random, 2, |random| match random.one_in(2) {
            true => IpNet::new(v4(random).into(), 30).unwrap(),
            false => IpNet::new(v6(random).into(), 64).unwrap(),
        });
        if !tenants.is_empty() && random.one_in(4) {
            let owner = random.below(tenants.len());
            tenants[owner].tunnels.push(TunnelIndex(place));
        }
    }
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
        default_class: ClassIndex(random.below(classes.len())),
        classes,
        tunnels,
        rules,
        tenants,
        ports: Vec::new(),
    }
}

pub fn tunnel(random: &mut Random, place: usize, classes: &[Class], mask: u32) -> Tunnel {
    // Most carry all, in an order of their own.
    let mut carried: Vec<ClassIndex> = (0..classes.len()).map(ClassIndex).filter(|_| !random.one_in(6)).collect();
    let turn = random.below(carried.len());
    carried.rotate_left(turn);
    let mut lanes = Vec::new();
    for class in &carried {
        for index in 0..classes[class.0].lanes {
            let number = lanes.len() as u32 + 1;
            lanes.push(Lane {
                class: *class,
                index,
                mark: number << mask.trailing_zeros(),
                reqid: 0x4c4b_0000 + place as u32 * 1000 + number,
                clients: Default::default(),
                label: format!("{}.{index}", classes[class.0].name),
            });
        }
    }
    Tunnel {
        name: format!("tunnel{place}"),
        local: "192.0.2.1".parse().unwrap(),
        remote: "192.0.2.2".parse().unwrap(),
        classes: carried,
        lanes,
        device: Device {
            kind: DeviceKind::Xfrm { if_id: place as u32 + 1 },
            name: format!("lk-{place}"),
            mtu: 1400,
            addresses: Vec::new(),
            vrf: None,
            external: false,
            joint: false,
            namespace: None,
            link: None,
        },
        routes: Vec::new(),
        keying: Keying::Static(Static { key_file: "/nowhere".into(), consent: true }),
        replay_window: 32,
        local_ts: Vec::new(),
        remote_ts: Vec::new(),
    }
}
