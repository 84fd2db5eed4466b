//! What of the kernel room a kernel without ESP and XFRM interfaces shows: devices by a stand-in, addresses, routes, policies,
//! and all that must not be touched. The rest is in `lanes_static`, in a guest.

use std::time::Duration;

use ipnet::IpNet;

use lanekeeper::kernel::{Event, Netlink, Watch, What, apply, snapshot};
use lanekeeper::plan::{
    ALIAS, Asks, Desired, Link, LinkKind, Mark, Observed, Op, POLICY_PRIORITY, Plan, PolicyDirection, REQIDS, Route,
    RouteVia, Rule, Selector, Table, Treatment, UNREACHABLE_METRIC, XfrmPolicy, XfrmPolicyId, diff,
};
use lanekeeper::policy::Mode;
use xtask::lab::dump::{difference, machine};
use xtask::lab::netns::Netns;

/// A pair stands in for the XFRM interface; `out` plays the rest of the machine.
fn gateway(name: &str) -> Netns {
    let netns = Netns::new(&format!("lk-kernel-{name}")).unwrap();
    netns
        .sh("ip link add lk0 type veth peer name out
             ip addr add 192.0.2.1/24 dev out
             ip -6 addr add 2001:db8:77::1/64 dev out nodad
             ip link set out up
             ip route add 10.9.0.0/16 dev out proto static
             ip -6 route add 2001:db8:9::/48 dev out proto static
             ip route add unreachable 10.8.0.0/16 proto 75 metric 4294967294
             ip xfrm policy add dir out src 10.1.0.0/16 dst 10.2.0.0/16 priority 5 mark 0x1 mask 0xff if_id 42 \
                tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 7 mode tunnel
             ip xfrm policy add dir out src 10.1.0.0/16 dst 10.3.0.0/16 priority 19531 \
                tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 0 mode tunnel")
        .unwrap();
    netns
}

fn stand_in(netns: &Netns) {
    netns.sh(&format!("ip link set lk0 alias {ALIAS} mtu 1400 up")).unwrap();
}

fn inside<T: Send>(netns: &Netns, work: impl AsyncFnOnce(&Netlink) -> T + Send) -> T {
    netns
        .ns()
        .run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async { Ok(work(&Netlink::open()?).await) })
        })
        .unwrap()
}

async fn observe(netlink: &Netlink) -> Observed {
    snapshot(netlink).await.unwrap()
}

async fn bring(netlink: &Netlink, desired: &Desired) -> Plan {
    let plan = diff(desired, &observe(netlink).await).unwrap();
    for op in &plan.ops {
        apply(netlink, op).await.unwrap();
    }
    plan
}

fn desired() -> Desired {
    let mut desired = Desired::default();
    // The stand-in has no if_id.
    desired.links.push(Link {
        name: "lk0".into(),
        kind: LinkKind::Other,
        mtu: 1400,
        up: true,
        disable_policy: false,
        source_by_mark: false,
        vrf: None,
        namespace: None,
        link: None,
    });
    for address in ["10.255.0.1/30", "2001:db8:ff::1/64"] {
        let address = address.parse().unwrap();
        desired.addresses.insert(lanekeeper::plan::Address { device: "lk0".into(), address });
    }
    for (destination, metric, table) in [
        ("10.2.0.0/16", 0, Table::Main),
        ("10.3.0.1/32", 0, Table::Main),
        ("2001:db8:2::/48", 1, Table::Main),
        ("198.18.0.0/15", 0, Table::Around(15)),
        ("::/0", 1, Table::Around(0)),
    ] {
        let destination = destination.parse().unwrap();
        desired.routes.insert(Route { destination, via: RouteVia::Device("lk0".into()), metric, table });
        desired.routes.insert(Route { destination, via: RouteVia::Unreachable, metric: UNREACHABLE_METRIC, table });
    }
    // Two peers, each within one of those.
    for (peer, metric, length) in [("198.18.0.2/32", 0, 15), ("2001:db8:77::2/128", 1, 0)] {
        let destination: IpNet = peer.parse().unwrap();
        let table = Table::Around(length);
        desired.routes.insert(Route { destination, via: RouteVia::Throw, metric, table });
        let ipv4 = destination.addr().is_ipv4();
        desired.rules.extend([Asks::Longer, Asks::Table { but: 0 }].map(|asks| Rule { ipv4, length, asks }));
    }
    for lane in 0..2 {
        for any in ["0.0.0.0/0", "::/0"] {
            for direction in [PolicyDirection::In, PolicyDirection::Fwd, PolicyDirection::Out] {
                let (source, destination) = match direction {
                    PolicyDirection::Out => ("192.0.2.1", "192.0.2.2"),
                    PolicyDirection::In | PolicyDirection::Fwd => ("192.0.2.2", "192.0.2.1"),
                };
                let selector = Selector {
                    source: any.parse().unwrap(),
                    destination: any.parse().unwrap(),
                    protocol: 0,
                    icmp: None,
                };
                desired.policies.push(XfrmPolicy {
                    id: XfrmPolicyId { direction, selector, mark: Some(Mark::new(lane + 1, 0xff)), if_id: 42 },
                    priority: POLICY_PRIORITY,
                    source: source.parse().unwrap(),
                    destination: destination.parse().unwrap(),
                    reqid: REQIDS.start() + lane,
                    treatment: Treatment::Encrypt(Mode::Tunnel),
                });
            }
        }
    }
    desired
}

#[test]
fn a_second_plan_is_empty_and_down_leaves_what_others_have() {
    let netns = gateway("whole");
    let before = machine(&netns.ns(), "/nonexistent".as_ref()).unwrap();
    stand_in(&netns);
    let addressed = netns.sh("ip -o addr show dev lk0").unwrap();
    assert!(addressed.contains("fe80"), "the kernel gave the device no address of its own: {addressed}");
    inside(&netns, async |netlink| {
        let first = bring(netlink, &desired()).await;
        assert_eq!(first.ops.len(), 2 + 10 + 2 + 4 + 12, "{first}");
        let second = bring(netlink, &desired()).await;
        assert!(second.is_empty(), "{second}");
    });
    let routes = netns.sh("ip route show; ip -6 route show").unwrap();
    for line in [
        "10.2.0.0/16 dev lk0 proto 76 scope link",
        "unreachable 10.2.0.0/16 proto 76 metric 4294967294",
        "2001:db8:2::/48 dev lk0 proto 76 metric 1",
        "unreachable 2001:db8:2::/48 dev lo proto 76 metric 4294967294",
    ] {
        assert!(routes.contains(line), "{line} is not in\n{routes}");
    }
    // What is around a peer is the tunnel's but for the peer, and for what the main table knows better.
    netns
        .sh("ip route add default dev out; ip route add 198.18.7.0/24 dev out; ip route add 198.16.0.0/13 dev out")
        .unwrap();
    for (to, device) in [
        ("198.18.0.1", "lk0"),
        ("198.18.0.2", "out"),
        ("198.18.7.1", "out"),
        ("198.20.0.1", "out"),
        ("2001:db8:5::1", "lk0"),
        ("2001:db8:77::2", "out"),
        ("2001:db8:9::1", "out"),
    ] {
        let way = netns.sh(&format!("ip route get {to}")).unwrap();
        assert!(way.contains(&format!(" dev {device} ")), "{way}");
    }
    netns.sh("ip route del 198.18.7.0/24; ip route del 198.16.0.0/13; ip route del default").unwrap();
    // While the device is down, what it carried is unreachable and not sent elsewhere.
    netns.sh("ip link set out up; ip route add default dev out; ip link set lk0 down").unwrap();
    assert!(netns.sh("ip route get 10.2.0.1").is_err());
    assert!(netns.sh("ip route get 2001:db8:2::1").is_err());
    assert!(netns.sh("ip route get 198.18.0.1").is_err());
    assert!(netns.sh("ip route get 2001:db8:5::1").is_err());
    netns.sh("ip route del default; ip link set lk0 up").unwrap();
    inside(&netns, async |netlink| {
        let repaired = bring(netlink, &desired()).await;
        assert!(!repaired.is_empty(), "the kernel takes routes and IPv6 addresses away with a device that goes down");
        let again = bring(netlink, &desired()).await;
        assert!(again.is_empty(), "{again}");
        bring(netlink, &Desired::default()).await;
        let left = observe(netlink).await;
        assert_eq!(Observed { others: Default::default(), ..left }, Observed::default());
    });
    // The stand-in's other end went with it.
    let after = machine(&netns.ns(), "/nonexistent".as_ref()).unwrap();
    let changed = difference(&before, &after);
    let foreign =
        changed.iter().filter(|line| !["lk0", "out", "2001:db8:77", "192.0.2"].iter().any(|word| line.contains(word)));
    assert_eq!(foreign.collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn what_others_put_on_our_device_stays() {
    let netns = gateway("foreign");
    stand_in(&netns);
    netns
        .sh("ip addr add 10.66.0.1/24 dev lk0; ip addr add 10.255.0.1/30 dev lk0; ip route add 10.67.0.0/16 dev lk0")
        .unwrap();
    inside(&netns, async |netlink| {
        let first = bring(netlink, &desired()).await;
        // The second of our addresses is there already, if not by us.
        assert!(!first.to_string().contains("10.255.0.1/30"), "{first}");
        bring(netlink, &desired()).await;
        let without = Desired { addresses: Default::default(), routes: Default::default(), ..desired() };
        let removed = bring(netlink, &without).await;
        assert!(removed.ops.iter().all(|op| matches!(op, Op::RemoveAddress(_) | Op::RemoveRoute(_))), "{removed}");
    });
    let left = netns.sh("ip -o addr show dev lk0; ip route show; ip -6 route show").unwrap();
    for foreign in
        ["10.66.0.1/24", "10.255.0.1/30", "10.67.0.0/16 dev lk0", "10.9.0.0/16 dev out", "2001:db8:9::/48 dev out"]
    {
        assert!(left.contains(foreign), "{foreign} is not in\n{left}");
    }
    for ours in ["2001:db8:ff::1", "proto 76"] {
        assert!(!left.contains(ours), "{ours} is in\n{left}");
    }
}

#[test]
fn routes_outlive_the_last_address_of_their_device() {
    let netns = gateway("last");
    stand_in(&netns);
    inside(&netns, async |netlink| {
        bring(netlink, &desired()).await;
        let without = Desired { addresses: Default::default(), ..desired() };
        bring(netlink, &without).await;
        let again = bring(netlink, &without).await;
        assert!(again.is_empty(), "{again}");
    });
    assert!(netns.sh("ip route").unwrap().contains("10.2.0.0/16 dev lk0 proto 76"));
}

#[test]
fn a_changed_policy_is_updated_in_place() {
    let netns = gateway("update");
    stand_in(&netns);
    inside(&netns, async |netlink| {
        bring(netlink, &desired()).await;
        let mut moved = desired();
        for policy in moved.policies.iter_mut().filter(|policy| policy.id.direction == PolicyDirection::Out) {
            policy.destination = "192.0.2.99".parse().unwrap();
        }
        let plan = bring(netlink, &moved).await;
        assert_eq!(plan.ops.iter().filter(|op| matches!(op, Op::UpdatePolicy(_))).count(), 4, "{plan}");
        assert_eq!(plan.ops.len(), 4, "{plan}");
        let again = bring(netlink, &moved).await;
        assert!(again.is_empty(), "{again}");
    });
}

#[test]
fn leftovers_of_charon_are_seen_and_flushed_by_reqid_and_if_id() {
    let netns = gateway("charon");
    for (if_id, mark) in [(42, 1), (43, 2)] {
        netns
            .sh(&format!(
                "for dir in in fwd out; do
                    ip xfrm policy add dir $dir src 10.1.0.0/16 dst 10.2.0.0/16 proto udp priority 375423 if_id {if_id} \
                        mark {mark} mask 0xff tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid {} mode tunnel
                 done",
                REQIDS.start()
            ))
            .unwrap();
    }
    inside(&netns, async |netlink| {
        let observed = observe(netlink).await;
        assert!(observed.policies.is_empty());
        assert_eq!(observed.charon.values().map(|traces| traces.policies).collect::<Vec<_>>(), [3, 3]);
        let mut desired = Desired::default();
        desired.charon_lanes.insert((*REQIDS.start(), 43));
        let plan = bring(netlink, &desired).await;
        assert_eq!(plan.ops, [Op::FlushLane { reqid: *REQIDS.start(), if_id: 42 }]);
        assert_eq!(observe(netlink).await.charon.keys().copied().collect::<Vec<_>>(), [(*REQIDS.start(), 43)]);
    });
    let left = netns.sh("ip xfrm policy").unwrap();
    assert_eq!(left.matches("tmpl ").count(), 3 + 2, "{left}");
}

#[test]
fn what_is_ours_stays_where_charons_leftovers_of_a_lane_are_flushed() {
    let netns = gateway("beside");
    stand_in(&netns);
    inside(&netns, async |netlink| drop(bring(netlink, &desired()).await));
    netns
        .sh(&format!(
            "ip xfrm policy add dir in src 10.1.0.0/16 dst 10.2.0.0/16 proto udp priority 375423 if_id 42 mark 1 mask 0xff \
                tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid {} mode tunnel",
            REQIDS.start()
        ))
        .unwrap();
    inside(&netns, async |netlink| {
        let plan = bring(netlink, &desired()).await;
        assert_eq!(plan.ops, [Op::FlushLane { reqid: *REQIDS.start(), if_id: 42 }]);
        let again = bring(netlink, &desired()).await;
        assert!(again.is_empty(), "{again}");
    });
    assert!(!netns.sh("ip xfrm policy").unwrap().contains("375423"));
}

#[test]
fn a_changed_address_is_settled_in_as_many_passes_as_the_agent_has() {
    let netns = gateway("readdress");
    stand_in(&netns);
    // A secondary address goes with its primary.
    netns.sh("for place in all lk0; do echo 0 > /proc/sys/net/ipv4/conf/$place/promote_secondaries; done").unwrap();
    let mut moved = desired();
    moved.addresses.clear();
    for address in ["10.255.0.2/30", "2001:db8:ff::1/80"] {
        let address = address.parse().unwrap();
        moved.addresses.insert(lanekeeper::plan::Address { device: "lk0".into(), address });
    }
    inside(&netns, async |netlink| {
        bring(netlink, &desired()).await;
        let mut passes = 0;
        while !bring(netlink, &moved).await.is_empty() {
            passes += 1;
            assert!(passes <= lanekeeper::reconcile::PASSES, "{}", diff(&moved, &observe(netlink).await).unwrap());
        }
    });
    let left = netns.sh("ip -o addr show dev lk0; ip route").unwrap();
    for there in ["10.255.0.2/30", "2001:db8:ff::1/80", "10.2.0.0/16 dev lk0 proto 76"] {
        assert!(left.contains(there), "{there} is not in\n{left}");
    }
}

#[test]
fn a_removal_that_comes_too_late_is_no_error() {
    let netns = gateway("late");
    stand_in(&netns);
    inside(&netns, async |netlink| {
        bring(netlink, &desired()).await;
        let plan = diff(&Desired::default(), &observe(netlink).await).unwrap();
        for _ in 0..2 {
            for op in &plan.ops {
                apply(netlink, op).await.unwrap();
            }
        }
    });
}

#[test]
fn a_foreign_route_in_our_place_is_an_error_that_names_it() {
    let netns = gateway("route");
    stand_in(&netns);
    netns
        .sh("ip route add 10.2.0.0/16 dev out proto static; ip -6 route add 2001:db8:2::/48 dev out metric 1")
        .unwrap();
    inside(&netns, async |netlink| {
        let mut said = Vec::new();
        for op in diff(&desired(), &observe(netlink).await).unwrap().ops {
            if let Err(error) = apply(netlink, &op).await {
                said.push(error.to_string());
            }
        }
        assert_eq!(
            said,
            [
                "+ route 10.2.0.0/16 dev lk0 metric 0: File exists (os error 17); another program has a route in its place: see \
                 `ip route show 10.2.0.0/16`, remove it or take the prefix out of the tunnel's routes",
                "+ route 2001:db8:2::/48 dev lk0 metric 1: File exists (os error 17); another program has a route in its place: \
                 see `ip route show 2001:db8:2::/48`, remove it or take the prefix out of the tunnel's routes",
            ]
        );
    });
}

#[test]
fn a_foreign_policy_in_our_place_is_an_error_and_stays() {
    let netns = gateway("policy");
    stand_in(&netns);
    netns
        .sh("ip xfrm policy add dir out src 0.0.0.0/0 dst 0.0.0.0/0 priority 1 if_id 42 mark 1 mask 0xff action block")
        .unwrap();
    inside(&netns, async |netlink| {
        let mut said = Vec::new();
        for op in diff(&desired(), &observe(netlink).await).unwrap().ops {
            if let Err(error) = apply(netlink, &op).await {
                said.push(error.to_string());
            }
        }
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].starts_with("+ policy dir out src 0.0.0.0/0 dst 0.0.0.0/0 mark 0x1/0xff if_id 42 "),
            "{said:?}"
        );
        assert!(said[0].ends_with("give the tunnel another if-id than 42"), "{said:?}");
    });
    assert!(netns.sh("ip xfrm policy").unwrap().contains("action block"));
}

#[test]
fn a_device_without_our_alias_is_not_ours() {
    let netns = gateway("alias");
    inside(&netns, async |netlink| {
        let conflicts = diff(&desired(), &observe(netlink).await).unwrap_err();
        assert!(conflicts.to_string().starts_with("device lk0 exists and is not ours (veth, "), "{conflicts}");
    });
}

#[test]
fn another_namespace_is_another_machine() {
    let (one, two) = (gateway("one"), gateway("two"));
    stand_in(&one);
    inside(&one, async |netlink| drop(bring(netlink, &desired()).await));
    inside(&two, async |netlink| {
        let observed = observe(netlink).await;
        assert!(observed.links.is_empty() && observed.policies.is_empty() && observed.routes.is_empty());
    });
}

/// What a watch hears of one script, each kind once, in the order of first mention.
fn heard(netns: &Netns, script: &str) -> Vec<Event> {
    inside(netns, async |_| {
        let mut watch = Watch::open().unwrap();
        netns.sh(script).unwrap();
        let mut heard = Vec::new();
        while let Ok(event) = tokio::time::timeout(Duration::from_millis(300), watch.next()).await {
            match event.expect("the sockets live") {
                Event::Overrun => panic!("a few messages are no flood"),
                event @ (Event::Changed(_) | Event::Acquire(_)) if !heard.contains(&event) => heard.push(event),
                Event::Changed(_) | Event::Acquire(_) => {}
            }
        }
        heard
    })
}

#[test]
fn a_watch_hears_of_ours_and_of_the_devices_of_others() {
    let netns = gateway("watch");
    stand_in(&netns);
    inside(&netns, async |netlink| drop(bring(netlink, &desired()).await));
    // The kernel tells of addresses once more when it has seen the carrier, up to a second later.
    heard(&netns, "sleep 2");
    for (script, expected) in [
        ("ip link set lk0 mtu 1390", vec![What::Link]),
        ("ip route del 10.2.0.0/16 dev lk0", vec![What::Route]),
        ("ip addr del 10.255.0.1/30 dev lk0", vec![What::Address]),
        ("ip route del unreachable 10.2.0.0/16 proto 76 metric 4294967294", vec![What::Route]),
        ("ip rule del priority 19683", vec![What::Rule]),
        ("ip -6 rule del priority 19713", vec![What::Rule]),
        ("ip xfrm policy delete dir out src ::/0 dst ::/0 mark 1 mask 0xff if_id 42", vec![What::Policy]),
        ("ip xfrm policy flush", vec![What::Policy]),
        (
            "ip link set out mtu 1450; ip addr add 10.44.0.1/24 dev out; ip route add 10.45.0.0/16 dev out
             ip -6 route del 2001:db8:9::/48; ip addr add 10.46.0.1/24 dev lk0; ip rule add from 10.1.0.0/16 table 7
             ip xfrm policy add dir in src 10.1.0.0/16 dst 10.4.0.0/16 \
                tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 8 mode tunnel",
            vec![What::Interface],
        ),
    ] {
        let expected: Vec<Event> = expected.into_iter().map(Event::Changed).collect();
        assert_eq!(heard(&netns, script), expected, "{script}");
    }
}

#[test]
fn a_watch_hears_of_the_state_that_a_packet_asks_for() {
    let netns = gateway("acquire");
    let reqid = REQIDS.start() + 7;
    let policy = |destination, reqid| {
        format!(
            "ip xfrm policy add dir out src 0.0.0.0/0 dst {destination} mark 0x1 mask 0xff \
                tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid {reqid} mode tunnel\n"
        )
    };
    netns.sh(&(policy("10.9.1.0/24", reqid) + &policy("10.9.2.0/24", 7))).unwrap();
    let ping = |host, mark| format!("ping -c 1 -W 1 -m {mark} {host} || true");
    assert_eq!(heard(&netns, &ping("10.9.1.1", 1)), [Event::Acquire(reqid)]);
    // Another's policy, and another mark.
    assert_eq!(heard(&netns, &ping("10.9.2.1", 1)), []);
    assert_eq!(heard(&netns, &ping("10.9.1.1", 2)), []);
}
