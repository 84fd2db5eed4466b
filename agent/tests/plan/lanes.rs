//! A GRE device for each class: what is led into which, and that nothing is led elsewhere while they come and go.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lanekeeper::plan::{Desired, LinkKind, Observed, RouteVia, Table, diff};
use lanekeeper::policy::{Class, ClassIndex, DeviceKind, Fallback, Lane, Policy};

use crate::machine::{bare, carry_out, lookup_marked, machine};
use crate::sketch::{net, one, policy};

/// Voice and bulk have devices, "other" falls back to bulk, and the last is blocked. One route is around the peer.
fn two_devices() -> Policy {
    let mut policy = policy(&one(false));
    let class = |name: &str, fallback| Class { name: name.into(), fallback, ..policy.classes[0].clone() };
    let further = [("bulk", Fallback::Block), ("other", Fallback::Class(ClassIndex(1))), ("last", Fallback::Block)];
    let further: Vec<Class> = further.into_iter().map(|(name, fallback)| class(name, fallback)).collect();
    policy.classes.extend(further);
    let tunnel = &mut policy.tunnels[0];
    tunnel.device.kind = DeviceKind::Gre { key: Some(7), ttl: 64 };
    tunnel.device.addresses = vec![net("10.255.0.1/30")];
    tunnel.routes = vec![net("10.7.0.0/16"), net("2001:db8:7::/48"), net("192.0.2.0/24")];
    tunnel.classes = vec![ClassIndex(0), ClassIndex(1)];
    let first = Lane { mark: 1, ..tunnel.lanes[0].clone() };
    let second =
        Lane { class: ClassIndex(1), mark: 2, reqid: first.reqid + 1, label: "bulk.0".into(), ..first.clone() };
    tunnel.lanes = vec![first, second];
    policy
}

fn wanted() -> Desired {
    let mut wanted = Desired::default();
    wanted.lead(&two_devices());
    wanted
}

/// Where marks from none to that of the last class lead.
fn ways(machine: &Observed, to: &str) -> Vec<String> {
    let to: IpAddr = to.parse().unwrap();
    let way = |mark| match lookup_marked(machine, to, mark) {
        Some(RouteVia::Device(device) | RouteVia::External { device, .. }) => device.clone(),
        Some(RouteVia::Unreachable) => "unreachable".to_owned(),
        Some(RouteVia::Throw) | None => "elsewhere".to_owned(),
    };
    (0..5).map(way).collect()
}

#[test]
fn a_mark_chooses_the_device_of_its_class_or_of_the_one_that_it_falls_back_to() {
    let machine = machine(&wanted());
    for to in ["10.7.0.1", "2001:db8:7::1", "192.0.2.77"] {
        assert_eq!(ways(&machine, to), ["lk-t0", "lk-t0", "lk-t0-2", "lk-t0-2", "lk-t0"], "{to}");
    }
    // ESP goes to the peer.
    assert_eq!(ways(&machine, "192.0.2.2"), ["elsewhere"; 5]);
    let made: BTreeMap<&str, (Option<u32>, u32)> = machine
        .links
        .values()
        .filter_map(|link| match link.kind {
            LinkKind::Gre { key, fwmark, .. } => Some((link.name.as_str(), (key, fwmark))),
            LinkKind::Xfrm { .. } | LinkKind::External | LinkKind::Vti { .. } | LinkKind::Other => None,
        })
        .collect();
    assert_eq!(made, [("lk-t0", (Some(7), 1)), ("lk-t0-2", (Some(8), 2))].into());
    assert_eq!(machine.addresses.iter().map(|address| address.device.as_str()).collect::<Vec<_>>(), ["lk-t0"]);
    assert!(diff(&wanted(), &machine).unwrap().is_empty());
}

#[test]
fn a_longer_route_of_the_main_table_comes_first() {
    let mut machine = machine(&wanted());
    let mut lan = machine.routes.iter().find(|route| route.table == Table::Main).unwrap().clone();
    (lan.destination, lan.via) = (net("10.7.1.0/24"), RouteVia::Device("lan0".into()));
    machine.routes.insert(lan);
    assert_eq!(ways(&machine, "10.7.1.9"), ["lan0"; 5]);
    assert_eq!(ways(&machine, "10.7.2.9")[2], "lk-t0-2");
}

#[test]
fn a_device_that_is_gone_leaves_its_class_unreachable() {
    let mut machine = machine(&wanted());
    machine.links.remove("lk-t0-2");
    machine.routes.retain(|route| route.via != RouteVia::Device("lk-t0-2".into()));
    assert_eq!(ways(&machine, "10.7.0.1"), ["lk-t0", "lk-t0", "unreachable", "unreachable", "lk-t0"]);
    let repair = diff(&wanted(), &machine).unwrap();
    assert!(
        repair.to_string().starts_with("+ link lk-t0-2 gre 192.0.2.1 > 192.0.2.2 key 8 ttl 64 fwmark 0x2"),
        "{repair}"
    );
}

#[test]
fn nothing_is_led_around_the_tunnel_once_it_is_blocked_and_down_leaves_nothing() {
    let mut machine = bare();
    for op in diff(&wanted(), &machine).unwrap().ops {
        let before = ways(&machine, "10.7.0.1");
        carry_out(&mut machine, &op);
        for (before, after) in before.iter().zip(ways(&machine, "10.7.0.1")) {
            assert!(before == "elsewhere" || after != "elsewhere", "{op}");
        }
    }
    for op in diff(&Desired::default(), &machine).unwrap().ops {
        carry_out(&mut machine, &op);
        // Another class's device drops what is not its own; no class is led into that of another but the first one's.
        assert_ne!(ways(&machine, "10.7.0.1")[1], "lk-t0-2", "{op}");
    }
    assert_eq!(machine, bare());
}
