//! Routes and addresses that follow the SAs of somebody else's connection.

use std::collections::BTreeMap;

use lanekeeper::plan::{Address, Desired, Observed, Op, Plan, RouteVia, diff};
use lanekeeper::policy::adopt::{Ends, Inside, OwnDevice};
use lanekeeper::policy::{Adopt, DeviceKind, Keying, Policy};
use proptest::prelude::*;

use crate::machine::{carry_out, lookup, machine};
use crate::sketch::{net, one, policy};

/// Tunnels `t0`, `t1` and on, adopted, without routes of the file's.
fn adopted(insides: &[Inside]) -> Policy {
    let mut policy = policy(&one(true));
    let first = policy.tunnels.remove(0);
    for (at, inside) in insides.iter().enumerate() {
        let mut tunnel = first.clone();
        tunnel.name = format!("t{at}");
        tunnel.remote = format!("192.0.2.{}", at + 2).parse().unwrap();
        tunnel.device.name = format!("lk-t{at}");
        tunnel.device.kind = DeviceKind::Xfrm { if_id: 42 + at as u32 };
        tunnel.device.addresses.clear();
        tunnel.routes.clear();
        tunnel.keying = Keying::Adopted(Adopt {
            connection: "office".into(),
            children: Vec::new(),
            routes: true,
            addresses: true,
            inside: inside.clone(),
        });
        policy.tunnels.push(tunnel);
    }
    policy
}

fn inside(now: &[&str], gone: &[&str]) -> Inside {
    let nets = |texts: &[&str]| texts.iter().map(|text| net(text)).collect();
    Inside { now: Ends { routes: nets(now), ..Ends::default() }, gone: nets(gone) }
}

fn desired(policy: &Policy) -> Desired {
    Desired { tables: Some(1), ..Desired::new(policy, &BTreeMap::new()).unwrap() }
}

/// What the change from one to the other does to routes, rules and addresses.
fn changes(from: &Policy, to: &Policy) -> Vec<String> {
    let plan = diff(&desired(to), &machine(&desired(from))).unwrap();
    let of_them = |op: &&Op| ["route", "rule", "address"].iter().any(|what| op.to_string().contains(what));
    plan.ops.iter().filter(of_them).map(ToString::to_string).collect()
}

/// Where it sends what is for that host: a device of ours, `unreachable`, or where it went before us.
fn way(machine: &Observed, host: &str) -> String {
    match lookup(machine, host.parse().unwrap()) {
        Some(RouteVia::Device(device) | RouteVia::External { device, .. }) => device.clone(),
        Some(RouteVia::Unreachable) => "unreachable".to_owned(),
        Some(RouteVia::Throw) | None => "as before".to_owned(),
    }
}

fn left_out(policy: &Policy) -> Vec<String> {
    desired(policy).left_out.iter().map(ToString::to_string).collect()
}

#[test]
fn routes_come_with_the_sas_and_when_they_go_the_block_stays() {
    let none = adopted(&[Inside::default()]);
    let up = adopted(&[inside(&["10.2.0.0/16", "10.3.0.0/16", "2001:db8:2::/48"], &[])]);
    assert_eq!(
        changes(&none, &up),
        [
            "+ route unreachable 10.2.0.0/16 metric 4294967294",
            "+ route unreachable 10.3.0.0/16 metric 4294967294",
            "+ route unreachable 2001:db8:2::/48 metric 4294967294",
            "+ route 10.2.0.0/16 dev lk-t0 metric 0",
            "+ route 10.3.0.0/16 dev lk-t0 metric 0",
            "+ route 2001:db8:2::/48 dev lk-t0 metric 1",
        ]
    );
    let gone = adopted(&[inside(&["10.3.0.0/16"], &["10.2.0.0/16", "2001:db8:2::/48"])]);
    assert_eq!(
        changes(&up, &gone),
        ["- route 10.2.0.0/16 dev lk-t0 metric 0", "- route 2001:db8:2::/48 dev lk-t0 metric 1"]
    );
    assert_eq!(
        changes(&gone, &up),
        ["+ route 10.2.0.0/16 dev lk-t0 metric 0", "+ route 2001:db8:2::/48 dev lk-t0 metric 1"]
    );
    // Another file, where nothing follows SAs.
    let mut other = up.clone();
    other.tunnels[0].keying = policy(&one(true)).tunnels[0].keying.clone();
    assert_eq!(changes(&gone, &other).len(), 4, "{:?}", changes(&gone, &other));
}

#[test]
fn narrowed_selectors_leave_the_rest_unreachable() {
    let wide = adopted(&[inside(&["10.2.0.0/16"], &[])]);
    let narrow = adopted(&[inside(&["10.2.3.0/24"], &["10.2.0.0/16"])]);
    let end = machine(&desired(&narrow));
    assert_eq!(["10.2.3.9", "10.2.4.9"].map(|host| way(&end, host)), ["lk-t0", "unreachable"]);
    assert_eq!(
        changes(&wide, &narrow),
        [
            "+ route unreachable 10.2.3.0/24 metric 4294967294",
            "+ route 10.2.3.0/24 dev lk-t0 metric 0",
            "- route 10.2.0.0/16 dev lk-t0 metric 0",
        ]
    );
}

#[test]
fn a_prefix_of_two_tunnels_is_the_files_or_the_first_ones() {
    let both = adopted(&[inside(&["10.2.0.0/16"], &[]), inside(&["10.2.0.0/16", "10.3.0.0/16"], &[])]);
    let said = "tunnel \"t1\": 10.2.0.0/16 of its traffic selectors is not routed into it: tunnel \"t0\" has that prefix; give \
                each its own in swanctl.conf, or its device a vrf";
    assert_eq!(left_out(&both), [said]);
    let into = |policy: &Policy, host: &str| way(&machine(&desired(policy)), host);
    assert_eq!(into(&both, "10.2.0.9"), "lk-t0");
    assert_eq!(into(&both, "10.3.0.9"), "lk-t1");
    // Written down, it is the second one's.
    let mut written = both.clone();
    written.tunnels[1].routes = vec![net("10.2.0.0/16")];
    let swapped = said.replace("\"t1\"", "\"\"").replace("\"t0\"", "\"t1\"").replace("\"\"", "\"t0\"");
    assert_eq!(left_out(&written), [swapped]);
    assert_eq!(into(&written, "10.2.0.9"), "lk-t1");
    // Each in its own VRF, both have it.
    let mut apart = both;
    apart.tunnels[1].device.vrf = Some("blue".into());
    assert_eq!(left_out(&apart), [] as [&str; 0]);
    let table = |plan: Plan| plan.ops.iter().filter(|op| op.to_string().contains("route 10.2.0.0/16 dev")).count();
    assert_eq!(table(diff(&desired(&apart), &machine(&desired(&adopted(&[])))).unwrap()), 2);
}

#[test]
fn what_goes_to_a_peer_is_not_routed_into_a_tunnel_by_selectors() {
    let policy = adopted(&[inside(&["0.0.0.0/0", "192.0.2.2/32", "192.0.2.3/32"], &[]), Inside::default()]);
    assert_eq!(
        left_out(&policy),
        ["192.0.2.2/32", "192.0.2.3/32"].map(|prefix| format!(
            "tunnel \"t0\": {prefix} of its traffic selectors is not routed into it: that is a peer's own address, to which ESP \
             and IKE go"
        ))
    );
    let hosts = ["192.0.2.2", "192.0.2.3", "192.0.2.4"];
    let end = machine(&desired(&policy));
    assert_eq!(hosts.map(|host| way(&end, host)), ["as before", "as before", "lk-t0"]);
    // A table that does not pass them on is not asked.
    let plan = diff(&desired(&policy), &machine(&desired(&adopted(&[])))).unwrap();
    let is_throw = |op: &&Op| op.to_string().contains("throw");
    assert_eq!(plan.ops.iter().filter(is_throw).map(Op::spared).collect::<Vec<_>>(), [None, None]);
    // Gone, the peers are still passed on, and all else is unreachable.
    let end = machine(&desired(&adopted(&[inside(&[], &["0.0.0.0/0", "192.0.2.2/32"]), Inside::default()])));
    assert_eq!(hosts.map(|host| way(&end, host)), ["as before", "as before", "unreachable"]);
}

#[test]
fn what_a_prefix_of_the_file_takes_care_of_needs_no_block() {
    let mut policy = adopted(&[inside(&[], &["10.2.0.7/32"]), Inside::default()]);
    let blocks =
        |policy: &Policy| desired(policy).routes.iter().filter(|route| route.destination == net("10.2.0.7/32")).count();
    assert_eq!(blocks(&policy), 1);
    policy.tunnels[0].routes = vec![net("10.2.0.0/24")];
    assert_eq!(blocks(&policy), 0);
    // Another tunnel's would take it to the wrong peer.
    policy.tunnels[1].routes = std::mem::take(&mut policy.tunnels[0].routes);
    assert_eq!(blocks(&policy), 1);
    policy.tunnels[0].routes = vec![net("10.2.0.0/16")];
    assert_eq!(blocks(&policy), 1, "the other tunnel's is nearer");
}

#[test]
fn virtual_ips_are_addresses_of_the_device_and_go_with_it() {
    let none = adopted(&[inside(&["10.2.0.0/16"], &[])]);
    let given = |addresses: &[&str]| {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        adopted(&[Inside { now: Ends { addresses, ..inside(&["10.2.0.0/16"], &[]).now }, ..Inside::default() }])
    };
    let both = given(&["10.3.0.1", "2001:db8:3::1"]);
    assert_eq!(changes(&none, &both), ["+ address 10.3.0.1/32 dev lk-t0", "+ address 2001:db8:3::1/128 dev lk-t0"]);
    assert_eq!(
        changes(&both, &given(&["10.3.0.2", "2001:db8:3::1"])),
        ["+ address 10.3.0.2/32 dev lk-t0", "- address 10.3.0.1/32 dev lk-t0"]
    );
    // With the last one of IPv4 the kernel takes the routes, and the block is there meanwhile.
    assert_eq!(
        changes(&both, &none),
        [
            "- address 10.3.0.1/32 dev lk-t0",
            "- address 2001:db8:3::1/128 dev lk-t0",
            "+ route 10.2.0.0/16 dev lk-t0 metric 0",
        ]
    );
}

#[test]
fn what_follows_sas_stops_nothing_else_where_it_cannot_be_had() {
    let mut policy = adopted(&[inside(&["10.2.0.0/16"], &["10.4.0.0/16"])]);
    policy.tunnels[0].routes = vec![net("10.3.0.0/16")];
    let plan = diff(&desired(&policy), &machine(&desired(&adopted(&[])))).unwrap();
    let spared = |op: &&Op| op.to_string().contains("route") && op.spared().is_some();
    let spared: Vec<_> = plan.ops.iter().filter(spared).map(ToString::to_string).collect();
    assert_eq!(
        spared,
        [
            "+ route unreachable 10.2.0.0/16 metric 4294967294",
            "+ route unreachable 10.4.0.0/16 metric 4294967294",
            "+ route 10.2.0.0/16 dev lk-t0 metric 0",
        ]
    );
    let address = Address { device: "lk-t0".into(), address: net("10.3.0.1/32") };
    let said = [plan.ops.into_iter().find(|op| op.spared().is_some()).unwrap(), Op::FollowAddress(address)]
        .map(|op| op.spared().unwrap().to_string());
    assert_eq!(
        said,
        [
            "route unreachable 10.2.0.0/16 metric 4294967294, of traffic selectors, is not there",
            "address 10.3.0.1/32 dev lk-t0, a virtual IP, is not there",
        ]
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// In whatever order SAs tell it and however many of them do, what was routed once never leaves in clear.
    #[test]
    fn what_was_once_inside_is_inside_or_unreachable(steps in prop::collection::vec((0..2usize, 0..32usize), 1..12)) {
        const ALL: [(&str, &str); 5] = [
            ("10.2.0.0/16", "10.2.9.9"), ("10.2.3.0/24", "10.2.3.9"), ("10.2.3.4/32", "10.2.3.4"),
            ("2001:db8:2::/48", "2001:db8:2:9::9"), ("2001:db8:2:3::/64", "2001:db8:2:3::9"),
        ];
        let mut insides = [Inside::default(), Inside::default()];
        let mut machine = machine(&desired(&adopted(&insides)));
        let mut once = [false; ALL.len()];
        for (tunnel, bits) in steps {
            let is_in = |at: usize| bits >> at & 1 == 1;
            let now: Vec<&str> = ALL.iter().enumerate().filter(|(at, _)| is_in(*at)).map(|(_, (net, _))| *net).collect();
            insides[tunnel].take(inside(&now, &[]).now);
            let wanted = desired(&adopted(&insides));
            for op in diff(&wanted, &machine).unwrap().ops {
                carry_out(&mut machine, &op);
                for (at, (_, host)) in ALL.iter().enumerate().filter(|(at, _)| once[*at]) {
                    prop_assert_ne!(way(&machine, host), "as before", "{} ({}) after {}", host, at, op);
                }
            }
            prop_assert!(diff(&wanted, &machine).unwrap().is_empty());
            for (at, (prefix, host)) in ALL.iter().enumerate() {
                once[at] |= is_in(at);
                let held = insides.iter().position(|inside| inside.now.routes.contains(&net(prefix)));
                if let Some(holder) = held {
                    prop_assert_eq!(way(&machine, host), format!("lk-t{holder}"), "{} of {}", host, prefix);
                }
            }
        }
    }
}

/// Clients, each with a device of its own: the if_id, and what is routed into it. The file has the pool.
fn clients(each: &[(u32, &str)]) -> Policy {
    let mut inside = Inside::default();
    for (if_id, prefix) in each {
        let own = OwnDevice { if_id: *if_id, routes: [net(prefix)].into(), ..OwnDevice::default() };
        inside.now.devices.insert(format!("lk-rw{if_id}"), own);
        inside.now.routes.insert(net(prefix));
    }
    let mut policy = adopted(&[inside]);
    let tunnel = &mut policy.tunnels[0];
    tunnel.remote = "0.0.0.0".parse().unwrap();
    tunnel.device.name = "lk-rw%d".into();
    tunnel.device.kind = DeviceKind::Xfrm { if_id: 0 };
    tunnel.routes = vec![net("10.66.0.0/24")];
    policy
}

#[test]
fn a_client_has_its_device_and_what_is_for_nobody_is_unreachable() {
    let two = machine(&desired(&clients(&[(7, "10.66.0.1/32"), (8, "10.66.0.2/32")])));
    assert_eq!(two.links.keys().collect::<Vec<_>>(), ["lk-rw7", "lk-rw8"]);
    assert_eq!(two.attached.iter().collect::<Vec<_>>(), ["lk-rw7", "lk-rw8"]);
    assert_eq!(
        ["10.66.0.1", "10.66.0.2", "10.66.0.3"].map(|host| way(&two, host)),
        ["lk-rw7", "lk-rw8", "unreachable"]
    );
    // One who comes back, and for a moment is there twice: the newer device has it.
    let twice = machine(&desired(&clients(&[(7, "10.66.0.1/32"), (10, "10.66.0.1/32")])));
    assert_eq!(way(&twice, "10.66.0.1"), "lk-rw10");
}

#[test]
fn nothing_stays_of_a_client_that_has_gone_and_nothing_leaks_meanwhile() {
    let (two, one, none) =
        (clients(&[(7, "10.66.0.1/32"), (8, "10.66.0.2/32")]), clients(&[(8, "10.66.0.2/32")]), clients(&[]));
    for (from, to) in [(&none, &two), (&two, &one), (&one, &none), (&two, &none), (&none, &one)] {
        let mut machine = machine(&desired(from));
        for op in diff(&desired(to), &machine).unwrap().ops {
            carry_out(&mut machine, &op);
            for host in ["10.66.0.1", "10.66.0.2", "10.66.0.3"] {
                assert_ne!(way(&machine, host), "as before", "{host} after {op}");
            }
        }
        assert_eq!(machine, self::machine(&desired(to)));
    }
    assert_eq!(machine(&desired(&none)).links.len(), 0);
}
