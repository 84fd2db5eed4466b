//! Policies of a few parts, so that two of them have much in common, and what they want of the machine.

use std::collections::BTreeSet;
use std::path::PathBuf;

use ipnet::IpNet;
use lanekeeper::keyfile::{self, Algorithm, Keys};
use lanekeeper::plan::{Desired, REQIDS};
use lanekeeper::policy::adopt::{Ends, Inside};
use lanekeeper::policy::{
    Adopt, Auth, Class, ClassIndex, Device, DeviceKind, Fallback, Ike, Keying, Lane, Policy, Start, Static, Tunnel,
};
use proptest::prelude::*;

/// What a policy of these tests is made of; small ranges, so that two of them have much in common.
#[derive(Debug, Clone)]
pub struct Sketch {
    pub tunnels: Vec<TunnelSketch>,
    pub tables: Option<u64>,
    pub mask: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Xfrm,
    /// Of all such tunnels the same device.
    External,
    Vti,
    Gre,
}

#[derive(Debug, Clone)]
pub struct TunnelSketch {
    pub name: usize,
    pub if_id: u32,
    pub kind: Kind,
    pub mtu: u32,
    pub lanes: u8,
    pub addresses: usize,
    pub routes: usize,
    pub keyed: bool,
    pub seed: u32,
    pub digest: u64,
    pub vrf: Option<&'static str>,
    pub link: Option<&'static str>,
    /// Of one that is adopted: which of [`INSIDE`] its SAs are for, which they were for, and which of [`GIVEN`] are given.
    pub inside: Option<(usize, usize, usize)>,
}

/// Whole files' prefixes and others, one of them a peer's own.
const INSIDE: [&str; 6] =
    ["10.98.0.0/16", "10.99.0.0/16", "10.99.3.0/24", "0.0.0.0/0", "192.0.2.3/32", "2001:db8:99::/48"];
const GIVEN: [&str; 2] = ["10.254.0.7", "2001:db8:fe::7"];

fn some<T: std::str::FromStr + Ord>(all: &[&str], bits: usize) -> BTreeSet<T>
where
    T::Err: std::fmt::Debug,
{
    all.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1).map(|(_, text)| text.parse().unwrap()).collect()
}

fn tunnel_sketch() -> impl Strategy<Value = TunnelSketch> {
    let kind = (1..5u32, prop_oneof![Just(Kind::Xfrm), Just(Kind::External), Just(Kind::Vti), Just(Kind::Gre)]);
    // One VRF is there, another is not; likewise devices.
    let link = prop_oneof![3 => Just(None), 2 => Just(Some("wan0")), 1 => Just(Some("wan9"))];
    let inside = prop::option::of((0..64usize, 0..64usize, 0..4usize));
    let made = (0..2u64, link, prop_oneof![3 => Just(None), 2 => Just(Some("blue")), 1 => Just(Some("green"))], inside);
    (0..4usize, kind, 1280..1283u32, 1..4u8, 0..3usize, 0..6usize, any::<bool>(), 0..2u32, made).prop_map(
        |(name, (if_id, kind), mtu, lanes, addresses, routes, keyed, seed, (digest, link, vrf, inside))| TunnelSketch {
            name,
            if_id,
            kind,
            mtu: if kind == Kind::External { 1280 } else { mtu },
            lanes: if matches!(kind, Kind::Xfrm | Kind::External) { lanes } else { 1 },
            addresses,
            routes,
            keyed,
            seed,
            digest,
            vrf: vrf.filter(|_| kind == Kind::Xfrm),
            link: link.filter(|_| kind == Kind::Xfrm),
            // What follows SAs is not for a device that several have.
            inside: inside.filter(|_| kind == Kind::Xfrm && !keyed),
        },
    )
}

pub fn sketch() -> impl Strategy<Value = Sketch> {
    let mask = prop_oneof![Just(0xf_u32), Just(0xff)];
    (prop::collection::vec(tunnel_sketch(), 0..4), prop::option::of(0..3u64), mask).prop_map(
        |(mut tunnels, tables, mask)| {
            let mut seen = Vec::new();
            tunnels.retain(|tunnel| {
                let fresh = !seen.iter().any(|(name, if_id)| *name == tunnel.name || *if_id == tunnel.if_id);
                seen.push((tunnel.name, tunnel.if_id));
                fresh
            });
            Sketch { tunnels, tables, mask }
        },
    )
}

pub fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

impl TunnelSketch {
    /// The name of its device.
    pub fn device(&self) -> String {
        match self.kind {
            Kind::External => "lk-all".to_owned(),
            Kind::Xfrm | Kind::Vti | Kind::Gre => format!("lk-t{}", self.name),
        }
    }

    fn tunnel(&self) -> Tunnel {
        let lanes = (0..self.lanes)
            .map(|index| Lane {
                class: ClassIndex(0),
                index,
                mark: u32::from(index) + 1,
                reqid: REQIDS.start() + self.name as u32 * 16 + u32::from(index),
                clients: Default::default(),
                label: format!("voice.{index}"),
            })
            .collect();
        Tunnel {
            name: format!("t{}", self.name),
            local: "192.0.2.1".parse().unwrap(),
            remote: format!("192.0.2.{}", 2 + self.name).parse().unwrap(),
            classes: vec![ClassIndex(0)],
            lanes,
            device: Device {
                kind: match self.kind {
                    Kind::Xfrm | Kind::External => DeviceKind::Xfrm { if_id: self.if_id },
                    Kind::Vti => DeviceKind::Vti { input_key: self.if_id, output_key: self.if_id },
                    Kind::Gre => DeviceKind::Gre { key: Some(self.if_id), ttl: 64 },
                },
                name: self.device(),
                mtu: self.mtu,
                addresses: ["10.255.0.1/30", "2001:db8:ff::1/64"][..self.addresses]
                    .iter()
                    .map(|text| net(text))
                    .collect(),
                vrf: self.vrf.map(str::to_owned),
                external: self.kind == Kind::External,
                joint: self.kind == Kind::External,
                namespace: None,
                link: self.link.map(str::to_owned),
            },
            // The first is another in each tunnel, the others move between tunnels.
            routes: [
                &format!("10.{}.0.0/16", self.name),
                "10.99.0.0/16",
                "2001:db8:99::/48",
                // Around all peers, and around some.
                "0.0.0.0/0",
                "192.0.2.4/31",
            ][..self.routes]
                .iter()
                .map(|text| net(text))
                .collect(),
            keying: if self.keyed {
                Keying::Ike(Ike {
                    local_id: "moon".into(),
                    remote_id: "sun".into(),
                    distinct: lanekeeper::policy::Distinct::Label,
                    auth: Auth::Psk { file: "psk".into() },
                    start: Start::Start,
                    proposals: Vec::new(),
                    esp_proposals: Vec::new(),
                    hw_offload: false,
                    rekey_time: None,
                    idle_timeout: None,
                })
            } else if let Some((now, gone, given)) = self.inside {
                let now = Ends { routes: some(&INSIDE, now), addresses: some(&GIVEN, given), ..Ends::default() };
                let gone = some(&INSIDE, gone).difference(&now.routes).copied().collect();
                Keying::Adopted(Adopt {
                    connection: "office".into(),
                    children: Vec::new(),
                    routes: true,
                    addresses: true,
                    inside: Inside { now, gone },
                })
            } else {
                Keying::Static(Static { key_file: PathBuf::from("t.keys"), consent: true })
            },
            replay_window: 64,
            local_ts: vec![net("0.0.0.0/0"), net("::/0")],
            remote_ts: vec![net("0.0.0.0/0"), net("::/0")],
        }
    }

    pub fn keys(&self) -> Keys {
        let labels: Vec<String> = (0..self.lanes).map(|index| format!("voice.{index}")).collect();
        let mut next = self.seed * 7919 + self.name as u32 + 1;
        let files = keyfile::generate(labels.iter().map(String::as_str), Algorithm::Aes128Gcm16, |bytes| {
            for byte in bytes {
                next = next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = (next >> 24) as u8;
            }
        });
        keyfile::parse("t.keys", &files.here).unwrap()
    }
}

/// No two tunnels share a route in a real policy.
pub fn policy(sketch: &Sketch) -> Policy {
    let mut taken = Vec::new();
    let tunnels = sketch
        .tunnels
        .iter()
        .map(|sketch| {
            let mut tunnel = sketch.tunnel();
            tunnel.routes.retain(|route| !taken.contains(route));
            taken.extend(tunnel.routes.clone());
            tunnel
        })
        .collect();
    Policy {
        mark_mask: sketch.mask,
        mark_outer: 0,
        metrics_listen: None,
        web_config: None,
        vici: "/run/charon.vici".into(),
        latency_every: None,
        memory_limit: None,
        mark_sockets: false,
        missing: Default::default(),
        classes: vec![Class {
            name: "voice".into(),
            lanes: 1,
            fallback: Fallback::Block,
            outer_dscp: None,
            on_demand: None,
        }],
        tunnels,
        rules: Vec::new(),
        default_class: ClassIndex(0),
        tenants: Vec::new(),
        ports: Vec::new(),
    }
}

pub fn desired(sketch: &Sketch) -> Desired {
    let keys = sketch.tunnels.iter().map(|tunnel| (format!("t{}", tunnel.name), tunnel.keys())).collect();
    let mut desired = Desired::new(&policy(sketch), &keys).unwrap();
    desired.tables = sketch.tables;
    desired.connections = sketch
        .tunnels
        .iter()
        .filter(|tunnel| tunnel.keyed)
        .map(|tunnel| (format!("lk-t{}", tunnel.name), tunnel.digest))
        .collect();
    desired
}

/// One tunnel of one lane.
pub fn one(keyed: bool) -> Sketch {
    let tunnel = TunnelSketch {
        name: 0,
        if_id: 42,
        kind: Kind::Xfrm,
        mtu: 1400,
        lanes: 1,
        addresses: 1,
        routes: 1,
        keyed,
        seed: 0,
        digest: 7,
        vrf: None,
        link: None,
        inside: None,
    };
    Sketch { tunnels: vec![tunnel], tables: Some(1), mask: 0xff }
}
