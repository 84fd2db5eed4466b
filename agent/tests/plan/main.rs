//! The plan leads where it should, in an order in which nothing leaks: over random pairs of policies and machines.

mod followed;
mod killed;
mod lanes;
mod machine;
mod ports;
mod sketch;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use lanekeeper::keyfile::{self, Keys};
use lanekeeper::plan::{
    Address, Conflict, Desired, DeviceInUse, Direction, Error, Lack, LaneTraces, LinkKind, Observed, Op, Plan,
    PolicyDirection, REQIDS, Route, RouteVia, State, Table, Treatment, UNREACHABLE_METRIC, XfrmPolicy, diff,
};
use lanekeeper::policy::{DeviceKind, Keying, Policy, Static, Tunnel};
use proptest::prelude::*;

use crate::machine::{bare, carry_out, drift, lookup, machine};
use crate::sketch::{Kind, Sketch, TunnelSketch, desired, net, one, policy, sketch};

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_apply_nothing_remains_to_do(from in sketch(), to in sketch(), drifted in 0..10usize) {
        let mut machine = machine(&desired(&from));
        drift(&mut machine, drifted);
        let wanted = desired(&to);
        for op in diff(&wanted, &machine).unwrap().ops {
            carry_out(&mut machine, &op);
        }
        let again = diff(&wanted, &machine).unwrap();
        prop_assert!(only_waits(&again), "{again}");
    }

    #[test]
    fn down_leaves_nothing(from in sketch(), drifted in 0..10usize) {
        let mut machine = machine(&desired(&from));
        drift(&mut machine, drifted);
        for op in diff(&Desired::default(), &machine).unwrap().ops {
            carry_out(&mut machine, &op);
        }
        prop_assert_eq!(machine, bare());
    }

    #[test]
    fn a_prefix_that_stays_is_never_without_a_route(from in sketch(), to in sketch()) {
        let mut machine = machine(&desired(&from));
        // In one VRF, or outside of all.
        let places = |machine: &Observed| -> BTreeSet<(bool, IpNet)> {
            machine.routes.iter().map(|route| (matches!(route.table, Table::Vrf(_)), route.destination)).collect()
        };
        let ops = diff(&desired(&to), &machine).unwrap().ops;
        let mut end = machine.clone();
        ops.iter().for_each(|op| carry_out(&mut end, op));
        let stays: Vec<_> = places(&machine).intersection(&places(&end)).copied().collect();
        for op in ops {
            carry_out(&mut machine, &op);
            for place in &stays {
                prop_assert!(places(&machine).contains(place), "{place:?} after {op}");
            }
        }
    }

    #[test]
    fn a_route_steers_only_where_a_block_is_behind_it(from in sketch(), to in sketch()) {
        let mut machine = machine(&desired(&from));
        for op in diff(&desired(&to), &machine).unwrap().ops {
            carry_out(&mut machine, &op);
            for route in machine.routes.iter().filter(|route| route.via.device().is_some()) {
                let blocked = machine.routes.iter().any(|other| {
                    (other.table, other.destination) == (route.table, route.destination)
                        && other.metric == UNREACHABLE_METRIC
                });
                prop_assert!(blocked, "{route} after {op}");
            }
        }
    }

    #[test]
    fn what_is_in_a_vrf_is_routed_in_its_table_alone(from in sketch(), to in sketch(), drifted in 0..10usize) {
        let mut machine = machine(&desired(&from));
        drift(&mut machine, drifted);
        for op in diff(&desired(&to), &machine).unwrap().ops {
            carry_out(&mut machine, &op);
            if let Op::AddRoute(route) | Op::FollowRoute(route) = &op && let Some(device) = route.via.device() {
                let table = machine.links[device].vrf.as_ref().map(|vrf| Table::Vrf(machine.vrfs[vrf]));
                prop_assert_eq!(table, Some(route.table).filter(|table| matches!(table, Table::Vrf(_))), "{}", op);
            }
        }
        for link in machine.links.values() {
            let want = to.tunnels.iter().find(|tunnel| tunnel.device() == link.name).unwrap();
            prop_assert_eq!(link.vrf.as_deref(), want.vrf, "{}", link);
        }
    }

    #[test]
    fn what_goes_to_a_peer_enters_no_tunnel(from in sketch(), to in sketch()) {
        let mut machine = machine(&desired(&from));
        let peers = |sketch: &Sketch| policy(sketch).tunnels.into_iter().map(|tunnel| tunnel.remote).collect::<Vec<_>>();
        let (before, after) = (peers(&from), peers(&to));
        for op in diff(&desired(&to), &machine).unwrap().ops {
            carry_out(&mut machine, &op);
            for peer in before.iter().filter(|peer| after.contains(peer)) {
                prop_assert_eq!(lookup(&machine, *peer), None, "{} after {}", peer, op);
            }
        }
        for peer in after {
            prop_assert_eq!(lookup(&machine, peer), None, "{}", peer);
        }
    }

    #[test]
    fn what_is_routed_to_a_tunnel_before_and_after_a_change_never_leaves_elsewhere(from in sketch(), to in sketch()) {
        let mut machine = machine(&desired(&from));
        let peers: Vec<IpAddr> =
            [&from, &to].into_iter().flat_map(|sketch| policy(sketch).tunnels).map(|tunnel| tunnel.remote).collect();
        let hosts: Vec<IpAddr> = ["10.0.0.9", "10.99.0.9", "192.0.2.5", "192.0.2.9", "203.0.113.9", "2001:db8:99::9"]
            .iter().map(|host| host.parse().unwrap()).filter(|host| !peers.contains(host)).collect();
        let wanted = desired(&to);
        let mut end = machine.clone();
        let ops = diff(&wanted, &machine).unwrap().ops;
        ops.iter().for_each(|op| carry_out(&mut end, op));
        let stays: Vec<IpAddr> =
            hosts.into_iter().filter(|host| lookup(&machine, *host).is_some() && lookup(&end, *host).is_some()).collect();
        for op in ops {
            carry_out(&mut machine, &op);
            for host in &stays {
                prop_assert!(lookup(&machine, *host).is_some(), "{host} after {op}");
            }
        }
    }

    #[test]
    fn a_gre_device_is_up_only_before_a_policy_that_blocks(from in sketch(), to in sketch()) {
        let mut machine = machine(&desired(&from));
        for op in diff(&desired(&to), &machine).unwrap().ops {
            carry_out(&mut machine, &op);
            prop_assert_eq!(killed::unblocked_gre(&machine), None, "after {}", op);
        }
    }

    #[test]
    fn a_new_device_gets_traffic_only_with_programs_on_it(to in sketch()) {
        let wanted = desired(&to);
        prop_assume!(wanted.tables.is_some());
        let mut machine = Observed::default();
        for op in diff(&wanted, &machine).unwrap().ops {
            carry_out(&mut machine, &op);
            for (name, link) in &machine.links {
                prop_assert!(!link.up || machine.attached.contains(name), "{name} after {op}");
            }
        }
    }

    #[test]
    fn receiving_comes_before_sending_and_leaves_after_it(from in sketch(), to in sketch()) {
        let mut machine = machine(&desired(&from));
        let wanted = desired(&to);
        let there = diff(&wanted, &machine).unwrap().ops;
        // A policy on its way out because its if_id changes has no device any more: only those that stay are looked at; and
        // on the way down, all.
        let ops = there.iter().map(|op| (op, true)).collect::<Vec<_>>();
        let mut after = machine.clone();
        ops.iter().for_each(|(op, _)| carry_out(&mut after, op));
        let down = diff(&Desired::default(), &after).unwrap().ops;
        for (op, applying) in ops.into_iter().chain(down.iter().map(|op| (op, false))) {
            carry_out(&mut machine, op);
            let looked_at = |policy: &&XfrmPolicy| {
                policy.treatment != Treatment::Block
                    && policy.id.direction == PolicyDirection::Out
                    && (!applying || wanted.policies.contains(policy))
            };
            for policy in machine.policies.iter().filter(looked_at) {
                let of_lane = |state: &&State| (state.reqid, state.if_id) == (policy.reqid, policy.id.if_id);
                let (out, inbound): (Vec<_>, Vec<_>) =
                    machine.states.iter().filter(of_lane).partition(|state| state.id.mark.is_some());
                prop_assert!(!inbound.is_empty(), "{policy} sends and nothing receives after {op}");
                // While a key changes under its SPI the state is away between two operations.
                let away = matches!(&op, Op::RemoveState(id) if id.mark == policy.id.mark);
                prop_assert!(away || !out.is_empty(), "{policy} has no state after {op}");
            }
        }
    }

    #[test]
    fn charon_finds_no_static_policy_in_its_place(from in sketch(), to in sketch()) {
        let mut machine = machine(&desired(&from));
        let wanted = desired(&to);
        for op in diff(&wanted, &machine).unwrap().ops {
            if matches!(op, Op::LoadConnection { .. }) {
                let taken = |policy: &XfrmPolicy| {
                    policy.treatment != Treatment::Block
                        && wanted.charon_lanes.contains(&(policy.reqid, policy.id.if_id))
                };
                prop_assert!(!machine.policies.iter().any(taken), "{op}");
            }
            carry_out(&mut machine, &op);
        }
    }

    #[test]
    fn live_lanes_of_charon_are_left_alone(sketch in sketch()) {
        let wanted = desired(&sketch);
        let mut machine = machine(&wanted);
        machine.charon.values_mut().for_each(|traces| traces.states += 2);
        let plan = diff(&wanted, &machine).unwrap();
        prop_assert!(only_waits(&plan), "{plan}");
    }

    #[test]
    fn what_others_put_on_our_devices_is_left_alone(sketch in sketch()) {
        let wanted = desired(&sketch);
        let mut machine = machine(&wanted);
        for device in machine.links.keys() {
            machine.other_addresses.insert(Address { device: device.clone(), address: net("10.77.0.1/24") });
        }
        let plan = diff(&wanted, &machine).unwrap();
        prop_assert!(only_waits(&plan), "{plan}");
    }
}

/// Nothing is to be done but the operator's part: the VRF that is not there.
fn only_waits(plan: &Plan) -> bool {
    plan.ops.iter().all(|op| matches!(op, Op::Await { lack: Lack::Vrf(name) | Lack::NoVrf(name) | Lack::Link(name), .. } if name == "green" || name == "wan9"))
}

/// Without what differs from key file to key file.
fn lines(ops: &[Op]) -> Vec<String> {
    ops.iter().map(ToString::to_string).collect()
}

#[test]
fn the_diff_of_a_first_apply_reads_in_order() {
    let plan = diff(&desired(&one(true)), &Observed::default()).unwrap();
    assert_eq!(
        lines(&plan.ops),
        [
            "+ route unreachable 10.0.0.0/16 metric 4294967294",
            "+ route unreachable 10.255.0.0/30 metric 4294967294",
            "+ link lk-t0 xfrm if_id 42 mtu 1400",
            "~ tables 0000000000000001",
            "+ programs dev lk-t0",
            "~ link lk-t0 up",
            "+ address 10.255.0.1/30 dev lk-t0",
            "+ route 10.0.0.0/16 dev lk-t0 metric 0",
            "+ connection lk-t0",
        ]
    );
}

#[test]
fn a_device_that_is_in_another_namespace_is_waited_for() {
    let wanted = desired(&one(true));
    let machine = Observed { elsewhere: [("lk-t0".to_owned(), 3)].into(), ..Observed::default() };
    assert_eq!(
        lines(&diff(&wanted, &machine).unwrap().ops),
        [
            "+ route unreachable 10.0.0.0/16 metric 4294967294",
            "+ route unreachable 10.255.0.0/30 metric 4294967294",
            "~ tables 0000000000000001",
            "+ connection lk-t0",
            "+ link lk-t0 waits for its return from network namespace 3",
        ]
    );
    assert_eq!(lines(&diff(&Desired::default(), &machine).unwrap().ops), ["- link lk-t0 in network namespace 3"]);
}

#[test]
fn a_device_is_taken_to_its_namespace_with_its_programs_and_made_anew_where_it_is_not_as_it_should_be() {
    let mut policy = policy(&one(true));
    let tunnel = &mut policy.tunnels[0];
    (tunnel.device.namespace, tunnel.device.addresses, tunnel.routes) = (Some("red".into()), vec![], vec![]);
    let wanted = Desired { tables: Some(1), ..Desired::new(&policy, &BTreeMap::new()).unwrap() };
    let plan = |machine: &Observed| lines(&diff(&wanted, machine).unwrap().ops);
    let waits = |what: &str| vec!["~ tables 0000000000000001".to_owned(), format!("+ link lk-t0 waits for {what}")];
    assert_eq!(
        plan(&Observed::default()),
        waits("Linux 6.6, which leaves programs on a device that changes its namespace")
    );
    let able = Observed { keeps_programs: true, ..Observed::default() };
    assert_eq!(plan(&able), waits("network namespace red"));
    let there = Observed { namespaces: [("red".to_owned(), 7)].into(), ..able };
    let made = [
        "+ link lk-t0 xfrm if_id 42 mtu 1400 netns red",
        "~ tables 0000000000000001",
        "+ programs dev lk-t0",
        "~ link lk-t0 netns red",
    ];
    assert_eq!(plan(&there), made);
    let mut machine = there.clone();
    for op in diff(&wanted, &there).unwrap().ops {
        machine::carry_out(&mut machine, &op);
    }
    assert_eq!(plan(&machine), [""; 0]);
    assert_eq!(machine.links["lk-t0"].namespace.as_deref(), Some("red"));
    // Somebody changed it there, or took its programs off: nobody who is here can mend that.
    let again = |machine: &Observed| {
        let ops = plan(machine);
        assert_eq!((&ops[0][..], &ops[1][..]), ("- link lk-t0 in network namespace 7", made[0]), "{ops:?}");
    };
    again(&Observed { attached: Default::default(), ..machine.clone() });
    machine.links.get_mut("lk-t0").unwrap().mtu = 1300;
    again(&machine);
}

#[test]
fn a_route_around_the_peer_has_a_table_that_passes_it_on() {
    let mut policy = policy(&one(true));
    policy.tunnels[0].routes = vec![net("0.0.0.0/0"), net("10.2.0.0/16")];
    let wanted = Desired::new(&policy, &BTreeMap::new()).unwrap();
    let routes: Vec<String> = lines(&diff(&wanted, &Observed::default()).unwrap().ops);
    assert_eq!(
        routes.iter().filter(|line| line.contains("route") || line.contains("rule")).collect::<Vec<_>>(),
        [
            "+ route throw 192.0.2.2/32 metric 0 table 1279983616",
            "+ route unreachable 0.0.0.0/0 metric 4294967294 table 1279983616",
            "+ route unreachable 10.2.0.0/16 metric 4294967294",
            "+ route unreachable 10.255.0.0/30 metric 4294967294",
            "+ rule ipv4 priority 19712 table 254 suppress_prefixlength 0",
            "+ rule ipv4 priority 19713 table 1279983616",
            "+ route 0.0.0.0/0 dev lk-t0 metric 0 table 1279983616",
            "+ route 10.2.0.0/16 dev lk-t0 metric 0",
        ]
    );
}

#[test]
fn the_diff_of_down_is_the_reverse() {
    let plan = diff(&Desired::default(), &machine(&desired(&one(true)))).unwrap();
    assert_eq!(
        lines(&plan.ops),
        [
            "- route 10.0.0.0/16 dev lk-t0 metric 0",
            "- connection lk-t0",
            "- states and policies of charon, reqid 0x4c4b0000 if_id 42",
            "- programs dev lk-t0",
            "- link lk-t0",
            "- route unreachable 10.0.0.0/16 metric 4294967294",
            "- route unreachable 10.255.0.0/30 metric 4294967294",
            "- tables, programs and pins",
        ]
    );
}

#[test]
fn static_lanes_read_whole_and_without_their_keys() {
    let desired = desired(&one(false));
    let plan = diff(&desired, &Observed::default()).unwrap();
    let text = plan.to_string();
    let inbound = desired.states.iter().find(|state| state.id.mark.is_none()).unwrap();
    assert!(
        text.contains(&format!(
            "+ state spi {:#010x} dst 192.0.2.1 src 192.0.2.2 reqid 0x4c4b0000 if_id 42 set-mark 0x1/0xff replay-window 64 \
             aes128gcm16\n",
            inbound.id.spi
        )),
        "{text}"
    );
    assert!(
        text.contains(
            "+ policy dir out src ::/0 dst ::/0 mark 0x1/0xff if_id 42 reqid 0x4c4b0000 192.0.2.1 > 192.0.2.2\n"
        ),
        "{text}"
    );
    let json = serde_json::to_string(&plan).unwrap();
    assert!(json.contains(&format!("\"spi\":\"{:#x}\"", inbound.id.spi)), "{json}");
    let key: String = inbound.key.expose().iter().map(|byte| format!("{byte:02x}")).collect();
    let decimals = format!("{:?}", inbound.key.expose());
    for shown in [text, json, format!("{plan:?}"), format!("{desired:?}")] {
        assert!(!shown.contains(&key[..12]) && !shown.contains(&decimals[1..12]), "{shown}");
    }
}

#[test]
fn a_new_key_with_the_same_spi_replaces_the_state() {
    let wanted = desired(&one(false));
    let mut machine = machine(&wanted);
    let id = machine.states[0].id;
    machine.states[0].key = keyfile::Key::new(vec![1; 20]);
    let ops = diff(&wanted, &machine).unwrap().ops;
    assert_eq!(ops[0], Op::RemoveState(id));
    assert!(matches!(&ops[1], Op::AddState(state) if state.id == id));
    assert_eq!(ops.len(), 2);
}

#[test]
fn a_resized_mask_replaces_the_state_that_has_the_spi() {
    let mut machine = machine(&desired(&one(false)));
    let wanted = desired(&Sketch { mask: 0xf, ..one(false) });
    let sends = machine.states.iter().find(|state| state.id.mark.is_some()).unwrap().id;
    let ops = diff(&wanted, &machine).unwrap().ops;
    let removed = ops.iter().position(|op| *op == Op::RemoveState(sends)).unwrap();
    assert!(matches!(&ops[removed + 1], Op::AddState(state) if state.id.spi == sends.spi), "{:#?}", lines(&ops));
    ops.iter().for_each(|op| carry_out(&mut machine, op));
    assert!(diff(&wanted, &machine).unwrap().is_empty());
}

#[test]
fn keys_that_a_locked_down_kernel_hides_are_no_difference() {
    let wanted = desired(&one(false));
    let mut machine = machine(&wanted);
    for state in &mut machine.states {
        state.key = keyfile::Key::new(vec![0; 20]);
    }
    assert!(diff(&wanted, &machine).unwrap().is_empty());
}

#[test]
fn charons_leftovers_of_another_lane_are_flushed() {
    let wanted = desired(&one(true));
    let mut machine = machine(&wanted);
    let stray = (REQIDS.start() + 9, 42);
    machine.charon.insert(stray, LaneTraces { states: 1, policies: 0, asked: false });
    assert_eq!(diff(&wanted, &machine).unwrap().ops, [Op::FlushLane { reqid: stray.0, if_id: stray.1 }]);
}

#[test]
fn a_foreign_device_of_our_name_is_an_error_that_names_the_cure() {
    let mut machine = Observed::default();
    let dummy = DeviceInUse { kind: "dummy".into(), link: LinkKind::Other };
    machine.others.insert("lk-t0".into(), dummy);
    machine.others.insert("vpn0".into(), DeviceInUse { kind: "xfrm".into(), link: LinkKind::Xfrm { if_id: 42 } });
    let conflicts = diff(&desired(&one(true)), &machine).unwrap_err();
    assert!(matches!(conflicts.0[..], [Conflict::DeviceTaken { .. }, Conflict::IfIdTaken { .. }]));
    assert_eq!(
        conflicts.to_string(),
        "device lk-t0 exists and is not ours (dummy, without our alias \"lanekeeper\"): give the tunnel another device name, or \
         remove it with `ip link del lk-t0`\n\
         device lk-t0 needs if_id 42, which the XFRM interface vpn0 has and which is not ours: give the tunnel another if-id, \
         or remove it with `ip link del vpn0`"
    );
}

#[test]
fn tunnels_by_an_external_device_have_one_and_an_if_id_in_each_route() {
    let mut sketch = one(true);
    sketch.tunnels[0].kind = Kind::External;
    sketch.tunnels.push(TunnelSketch { name: 1, if_id: 43, ..sketch.tunnels[0].clone() });
    let wanted = desired(&sketch);
    let first = diff(&wanted, &Observed::default()).unwrap().to_string();
    let lines: Vec<&str> = first.lines().filter(|line| line.contains("lk-all")).collect();
    assert_eq!(
        lines,
        [
            "+ link lk-all xfrm external mtu 1400",
            "+ programs dev lk-all",
            "~ link lk-all up",
            "+ address 10.255.0.1/30 dev lk-all",
            "+ route 10.0.0.0/16 encap xfrm if_id 42 dev lk-all metric 0",
            "+ route 10.1.0.0/16 encap xfrm if_id 43 dev lk-all metric 0",
        ]
    );

    // Somebody takes the if_id off a route.
    let mut machine = machine(&wanted);
    let route = machine.routes.iter().find(|route| route.destination == net("10.1.0.0/16")).unwrap().clone();
    machine.routes.remove(&route);
    machine.routes.insert(Route { via: RouteVia::Device("lk-all".into()), ..route.clone() });
    assert_eq!(
        diff(&wanted, &machine).unwrap().to_string(),
        "- route 10.1.0.0/16 dev lk-all metric 0\n+ route 10.1.0.0/16 encap xfrm if_id 43 dev lk-all metric 0\n"
    );

    let mut others = Observed::default();
    others.others.insert("vpn0".into(), DeviceInUse { kind: "xfrm".into(), link: LinkKind::External });
    let conflicts = diff(&wanted, &others).unwrap_err();
    assert!(matches!(conflicts.0[..], [Conflict::ExternalTaken { .. }]));
    assert_eq!(
        conflicts.to_string(),
        "device lk-all is an external XFRM interface, as vpn0 is, which is not ours, and Linux has one in a network namespace: take \
         external out, or remove it with `ip link del vpn0`"
    );
}

#[test]
fn a_vti_is_made_with_its_ends_and_keys_and_excludes_others_between_them() {
    let mut sketch = one(true);
    sketch.tunnels[0].kind = Kind::Vti;
    let wanted = desired(&sketch);
    let mut machine = machine(&wanted);
    let first = diff(&wanted, &Observed::default()).unwrap().to_string();
    let lines: Vec<&str> = first.lines().filter(|line| line.contains("link lk-t0")).collect();
    assert_eq!(
        lines,
        [
            "+ link lk-t0 vti 192.0.2.1 > 192.0.2.2 ikey 42 okey 42 mtu 1400",
            "~ link lk-t0 disable-policy",
            "~ link lk-t0 up",
        ]
    );
    machine.links.get_mut("lk-t0").unwrap().disable_policy = false;
    assert_eq!(diff(&wanted, &machine).unwrap().ops, [Op::DisablePolicy { name: "lk-t0".into() }]);

    let link = LinkKind::Vti {
        local: "192.0.2.1".parse().unwrap(),
        remote: "192.0.2.2".parse().unwrap(),
        input_key: 7,
        output_key: 7,
    };
    let mut machine = Observed::default();
    machine.others.insert("vpn0".into(), DeviceInUse { kind: "vti".into(), link });
    assert_eq!(
        diff(&wanted, &machine).unwrap_err().to_string(),
        "device lk-t0 is a VTI between 192.0.2.1 and 192.0.2.2, as vpn0 is, which is not ours: take other addresses or an XFRM \
         interface, or remove it with `ip link del vpn0`"
    );
}

#[test]
fn a_gre_device_stands_behind_policies_that_block_before_it_and_after_it() {
    let mut sketch = one(false);
    sketch.tunnels[0].kind = Kind::Gre;
    let wanted = desired(&sketch);
    let first = diff(&wanted, &Observed::default()).unwrap().to_string();
    let said: Vec<&str> =
        first.lines().filter(|line| line.starts_with("+ policy") || line.starts_with("+ link")).collect();
    assert_eq!(
        said,
        [
            "+ policy dir in src 192.0.2.2/32 dst 192.0.2.1/32 proto 47 if_id 0 block",
            "+ policy dir out src 192.0.2.1/32 dst 192.0.2.2/32 proto 47 if_id 0 block",
            "+ policy dir out src 192.0.2.1/32 dst 192.0.2.2/32 proto 1 type 3 code 3 if_id 0 block",
            "+ link lk-t0 gre 192.0.2.1 > 192.0.2.2 key 42 ttl 64 fwmark 0x1 mtu 1400",
            "+ policy dir in src 192.0.2.2/32 dst 192.0.2.1/32 proto 47 mark 0x1/0xff if_id 0 reqid 0x4c4b0000 192.0.2.2 > \
             192.0.2.1 mode transport",
            "+ policy dir out src 192.0.2.1/32 dst 192.0.2.2/32 proto 47 mark 0x1/0xff if_id 0 reqid 0x4c4b0000 192.0.2.1 > \
             192.0.2.2 mode transport",
        ]
    );
    let down = diff(&Desired::default(), &machine(&wanted)).unwrap().to_string();
    let gone = down.lines().position(|line| line == "- link lk-t0").unwrap();
    let open = down.lines().position(|line| line.ends_with("proto 47 if_id 0")).unwrap();
    assert!(gone < open, "{down}");
    // What comes by an SA without a device must not be told back.
    let last = down.lines().collect::<Vec<_>>().iter().rposition(|line| line.starts_with("- state")).unwrap();
    let told = down.lines().position(|line| line.ends_with("type 3 code 3 if_id 0")).unwrap();
    assert!(last < told, "{down}");
}

#[test]
fn a_tunnel_without_a_device_is_policies_alone_below_which_others_block() {
    let sketch = one(false);
    let mut policy = policy(&sketch);
    let tunnel = &mut policy.tunnels[0];
    (tunnel.device.kind, tunnel.device.name) = (DeviceKind::Bare, String::new());
    tunnel.device.addresses.clear();
    tunnel.routes.clear();
    (tunnel.local_ts, tunnel.remote_ts) = (vec![net("10.1.0.0/16")], vec![net("10.2.0.0/16"), net("2001:db8:2::/48")]);
    let keys = BTreeMap::from([("t0".to_owned(), sketch.tunnels[0].keys())]);
    let wanted = Desired::new(&policy, &keys).unwrap();
    let first = diff(&wanted, &Observed::default()).unwrap().to_string();
    let said: Vec<&str> = first.lines().filter(|line| !line.starts_with("+ state")).collect();
    let there = "src 10.1.0.0/16 dst 10.2.0.0/16";
    let back = "src 10.2.0.0/16 dst 10.1.0.0/16";
    assert_eq!(
        said,
        [
            format!("+ policy dir in {back} if_id 0 block"),
            format!("+ policy dir fwd {back} if_id 0 block"),
            format!("+ policy dir out {there} if_id 0 block"),
            format!("+ policy dir in {back} mark 0x1/0xff if_id 0 reqid 0x4c4b0000 192.0.2.2 > 192.0.2.1"),
            format!("+ policy dir fwd {back} mark 0x1/0xff if_id 0 reqid 0x4c4b0000 192.0.2.2 > 192.0.2.1"),
            format!("+ policy dir out {there} mark 0x1/0xff if_id 0 reqid 0x4c4b0000 192.0.2.1 > 192.0.2.2"),
        ]
    );
    let down = diff(&Desired::default(), &machine(&wanted)).unwrap().to_string();
    let place = |end: &str| down.lines().position(|line| line.contains("dir out") && line.ends_with(end)).unwrap();
    assert!(place("mark 0x1/0xff if_id 0") < place("dst 10.2.0.0/16 if_id 0"), "{down}");
}

#[test]
fn a_tun_device_is_charons_and_waited_for() {
    let sketch = one(true);
    let mut policy = policy(&sketch);
    let tunnel = &mut policy.tunnels[0];
    (tunnel.device.kind, tunnel.device.name) = (DeviceKind::Tun, "ipsec0".to_owned());
    tunnel.device.addresses.clear();
    tunnel.routes = vec![net("10.2.0.0/16")];
    let wanted = Desired { tables: Some(1), ..Desired::new(&policy, &BTreeMap::new()).unwrap() };
    let mut machine = Observed::default();
    let without = diff(&wanted, &machine).unwrap();
    assert_eq!(
        without.to_string(),
        "+ route unreachable 10.2.0.0/16 metric 4294967294\n~ tables 0000000000000001\n\
         + link ipsec0 waits for charon's kernel-libipsec, which makes it\n"
    );
    machine.others.insert("ipsec0".into(), DeviceInUse { kind: "tun".into(), ..DeviceInUse::default() });
    let with = diff(&wanted, &machine).unwrap().to_string();
    assert!(with.ends_with("+ programs dev ipsec0\n+ route 10.2.0.0/16 dev ipsec0 metric 0\n"), "{with}");
    assert!(!with.contains("link ipsec0"), "{with}");
    // Down takes our route, and leaves the device.
    let down = diff(&Desired::default(), &machine).unwrap().to_string();
    assert!(!down.contains("link ipsec0"), "{down}");
}

#[test]
fn keys_must_fit_the_lanes() {
    let sketch = one(false);
    let mut policy = policy(&sketch);
    let said = |policy: &Policy, keys: &BTreeMap<String, Keys>| Desired::new(policy, keys).unwrap_err().to_string();
    let mut keys = BTreeMap::new();
    assert_eq!(said(&policy, &keys), "tunnel \"t0\": its key file t.keys was not read");
    keys.insert("t0".to_owned(), Keys::default());
    assert_eq!(
        said(&policy, &keys),
        "tunnel \"t0\": t.keys has no sa with lane \"voice.0\" and direction \"in\"; add one"
    );
    keys.insert("t0".to_owned(), sketch.tunnels[0].keys());
    policy.tunnels[0].keying = Keying::Static(Static { key_file: "t.keys".into(), consent: false });
    assert!(matches!(Desired::new(&policy, &keys), Err(Error::NoConsent { .. })));
    assert_eq!(
        said(&policy, &keys),
        "tunnel \"t0\": aes128gcm16 in t.keys repeats its nonces when the machine restarts with the same key; if you can \
         live with that write i-know = \"static keys repeat nonces after a reboot\" in [tunnel.static], else use aes128-sha256"
    );
    policy.tunnels[0].keying = Keying::Static(Static { key_file: "t.keys".into(), consent: true });
    assert!(Desired::new(&policy, &keys).is_ok());
    policy.tunnels[0].lanes[0].label = "bulk.0".into();
    assert_eq!(
        said(&policy, &keys),
        "tunnel \"t0\": t.keys has an sa for lane \"voice.0\", which the tunnel does not have; remove it"
    );
    policy.tunnels[0].lanes[0].label = "voice.0".into();
    let twin = Tunnel { name: "t1".into(), ..policy.tunnels[0].clone() };
    policy.tunnels.push(twin);
    keys.insert("t1".to_owned(), sketch.tunnels[0].keys());
    let spi = keys["t1"].find("voice.0", Direction::In).unwrap().spi;
    assert_eq!(
        said(&policy, &keys),
        format!(
            "tunnel \"t1\": t.keys gives lane \"voice.0\" the spi {spi:#x} at 192.0.2.1, which another static tunnel has too; \
             choose another on both ends"
        )
    );
    let missing = Error::MissingSa {
        tunnel: "t0".into(),
        file: "t.keys".into(),
        lane: "voice.0".into(),
        direction: Direction::Out,
    };
    assert!(missing.to_string().ends_with("direction \"out\"; add one"));
}

#[test]
fn a_device_is_made_in_its_vrf_and_not_without() {
    let mut wanted = one(true);
    wanted.tunnels[0].vrf = Some("blue");
    wanted.tunnels[0].addresses = 2;
    let wanted = desired(&wanted);
    let without = diff(&wanted, &Observed::default()).unwrap().to_string();
    assert!(without.contains("+ link lk-t0 waits for vrf blue\n"), "{without}");
    for word in ["+ route", "+ address", "xfrm", "up", "dev lk-t0"] {
        assert!(!without.contains(word), "{word:?} is in {without}");
    }
    let mut another = bare();
    another.vrfs.clear();
    another.others.insert("blue".into(), Default::default());
    let another = diff(&wanted, &another).unwrap().to_string();
    assert!(another.contains("+ link lk-t0 waits for vrf blue, which is a device of another kind\n"), "{another}");
    let first = lines(&diff(&wanted, &bare()).unwrap().ops);
    for line in [
        "+ link lk-t0 xfrm if_id 42 mtu 1400 vrf blue",
        "+ route 10.0.0.0/16 dev lk-t0 metric 0 table 10",
        "+ route unreachable 10.0.0.0/16 metric 4294967294 table 10",
    ] {
        assert!(first.iter().any(|other| other == line), "{line} is not in {first:?}");
    }

    // Somebody takes it out, and the kernel the addresses and routes.
    let mut machine = machine(&wanted);
    drift(&mut machine, 9);
    let back = lines(&diff(&wanted, &machine).unwrap().ops);
    assert_eq!(
        back,
        [
            "~ link lk-t0 vrf blue",
            "+ address 2001:db8:ff::1/64 dev lk-t0",
            "+ route 10.0.0.0/16 dev lk-t0 metric 0 table 10",
        ]
    );

    // The VRF goes, and another comes under its name.
    machine = bare();
    diff(&wanted, &bare()).unwrap().ops.iter().for_each(|op| carry_out(&mut machine, op));
    machine.vrfs.insert("blue".to_owned(), 11);
    let moved = lines(&diff(&wanted, &machine).unwrap().ops);
    assert_eq!(
        moved,
        [
            "+ route unreachable 10.0.0.0/16 metric 4294967294 table 11",
            "+ route unreachable 10.255.0.0/30 metric 4294967294 table 11",
            "+ route unreachable 2001:db8:ff::/64 metric 4294967294 table 11",
            "+ route 10.0.0.0/16 dev lk-t0 metric 0 table 11",
            "- route 10.0.0.0/16 dev lk-t0 metric 0 table 10",
            "- route unreachable 10.0.0.0/16 metric 4294967294 table 10",
            "- route unreachable 10.255.0.0/30 metric 4294967294 table 10",
            "- route unreachable 2001:db8:ff::/64 metric 4294967294 table 10",
        ]
    );
}

#[test]
fn another_underlying_device_makes_the_device_anew_behind_its_block() {
    let mut sketch = one(true);
    sketch.tunnels[0].link = Some("wan0");
    let wanted = desired(&sketch);
    let mut machine = machine(&wanted);
    assert_eq!(machine.links["lk-t0"].to_string(), "link lk-t0 xfrm if_id 42 mtu 1400 dev wan0");

    machine.links.get_mut("lk-t0").unwrap().link = Some("if7".to_owned());
    let anew = lines(&diff(&wanted, &machine).unwrap().ops);
    assert_eq!(
        anew,
        [
            "- programs dev lk-t0",
            "- link lk-t0",
            "+ link lk-t0 xfrm if_id 42 mtu 1400 dev wan0",
            "+ programs dev lk-t0",
            "~ link lk-t0 up",
            "+ address 10.255.0.1/30 dev lk-t0",
            "+ route 10.0.0.0/16 dev lk-t0 metric 0",
        ]
    );

    // The device below it goes.
    machine.others.clear();
    let without = lines(&diff(&wanted, &machine).unwrap().ops);
    assert_eq!(
        without,
        [
            "- route 10.0.0.0/16 dev lk-t0 metric 0",
            "- programs dev lk-t0",
            "- link lk-t0",
            "+ link lk-t0 waits for device wan0",
        ]
    );
}
