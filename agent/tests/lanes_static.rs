//! Lanes with static keys in a kernel that has them: devices, states, policies, routes of two gateways, steered by the mark of
//! the sender's socket. No data path, no charon: what fails here is netlink's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use lanekeeper::config;
use lanekeeper::kernel::{Event, Netlink, Watch, What, apply, interfaces, snapshot};
use lanekeeper::keyfile::{self, Algorithm, Keys};
use lanekeeper::plan::{Desired, Direction, Observed, Op, Plan, REQIDS, diff};
use lanekeeper::policy::Policy;
use xtask::lab::capture::Capture;
use xtask::lab::dump::{difference, machine};
use xtask::lab::netns::{Netns, Ns};
use xtask::lab::scenario::{DEVICE, IF_ID, Keying, Scenario, TUNNEL};
use xtask::lab::traffic::{Flow, Traffic};
use xtask::lab::{Family, Lab, Side, sa};

const SIDES: [Side; 2] = [Side::A, Side::B];
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

fn inside<T: Send>(ns: &Ns, work: impl AsyncFnOnce(&Netlink) -> T + Send) -> T {
    ns.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { Ok(work(&Netlink::open()?).await) })
    })
    .unwrap()
}

/// Plans and applies; returns what was planned.
fn bring(ns: &Ns, desired: &Desired) -> Plan {
    inside(ns, async |netlink| {
        let plan = diff(desired, &snapshot(netlink).await.unwrap()).unwrap();
        for op in &plan.ops {
            apply(netlink, op).await.unwrap();
        }
        plan
    })
}

fn observe(ns: &Ns) -> Observed {
    inside(ns, async |netlink| snapshot(netlink).await.unwrap())
}

fn found(ns: &Ns) -> String {
    machine(ns, Path::new("/sys/fs/bpf")).unwrap()
}

/// The policy of one side, from the file that an operator would write.
fn policy(lab: &Lab, side: Side, outer: Family) -> Policy {
    let scenario = Scenario { outer, ..Scenario::four_classes(Keying::Static) };
    scenario.write(side, &lab.files(side), lab.shared()).unwrap();
    config::load(&lab.files(side).join("config.toml")).unwrap().policy
}

fn keys_of(lab: &Lab, side: Side) -> BTreeMap<String, Keys> {
    let keys = keyfile::load(&lab.files(side).join("tunnel.keys")).unwrap();
    BTreeMap::from([(TUNNEL.to_owned(), keys)])
}

fn desired(lab: &Lab, side: Side, outer: Family) -> Desired {
    Desired::new(&policy(lab, side, outer), &keys_of(lab, side)).unwrap()
}

/// The address of a side's tunnel device.
fn tunnel_ip(side: Side, family: Family) -> IpAddr {
    side.tunnel_address(family).parse::<IpNet>().unwrap().addr()
}

/// From gateway to gateway, through the tunnel, with a mark.
fn marked(lab: &Lab, from: Side, family: Family, mark: Option<u32>, count: u64) -> Flow {
    let port = 6000 + from as u16 * 100 + mark.unwrap_or_default() as u16;
    Flow {
        from: lab.gateway(from),
        to: lab.gateway(from.other()),
        source: SocketAddr::new(tunnel_ip(from, family), port),
        destination: SocketAddr::new(tunnel_ip(from.other(), family), port),
        mark,
        count: Some(count),
        ..lab.flow("marked", from, family, port)
    }
}

/// Packets by request id, of what one gateway sends and of what it receives.
fn packets(ns: &Ns, side: Side, outer: Family) -> (BTreeMap<u32, u64>, BTreeMap<u32, u64>) {
    let (out, inbound): (Vec<_>, Vec<_>) =
        sa::list(ns).unwrap().into_iter().partition(|state| state.source == side.outer(outer));
    let count = |states: Vec<sa::Sa>| states.into_iter().map(|state| (state.reqid, state.packets)).collect();
    (count(out), count(inbound))
}

fn carries_each_mark_and_leaves_nothing(name: &str, outer: Family) {
    let lab = Lab::new(name).unwrap();
    let before = SIDES.map(|side| found(&lab.gateway(side)));
    let policies = SIDES.map(|side| policy(&lab, side, outer));
    for side in SIDES {
        let desired = desired(&lab, side, outer);
        let first = bring(&lab.gateway(side), &desired);
        assert!(first.ops.iter().any(|op| matches!(op, Op::AddLink(_))), "{first}");
        let second = bring(&lab.gateway(side), &desired);
        assert!(second.is_empty(), "{second}");
    }

    let capture = Capture::start(&lab.wan()).unwrap();
    let lanes = policies[0].tunnels[0].lanes.clone();
    assert_eq!(lanes.len(), 5);
    let mut flows = Vec::new();
    for lane in &lanes {
        for family in FAMILIES {
            flows.push(marked(&lab, Side::A, family, Some(lane.mark), 20 + u64::from(lane.mark)));
        }
    }
    flows.push(marked(&lab, Side::B, Family::V6, Some(lanes[1].mark), 33));
    for (flow, tally) in flows.iter().zip(Traffic::run(&flows).unwrap()) {
        assert_eq!((tally.lost(), Some(tally.sent)), (0, flow.count), "{flow:?}");
    }
    let sent: BTreeMap<u32, u64> = lanes.iter().map(|lane| (lane.reqid, 2 * (20 + u64::from(lane.mark)))).collect();
    assert_eq!(packets(&lab.gateway(Side::A), Side::A, outer).0, sent);
    assert_eq!(packets(&lab.gateway(Side::B), Side::B, outer).1, sent);
    let (back, _) = packets(&lab.gateway(Side::B), Side::B, outer);
    assert_eq!(back.values().sum::<u64>(), 33);
    assert_eq!(back[&lanes[1].reqid], 33);

    // Without a lane's mark the device drops; nothing is sent in clear.
    let unmarked: Vec<Flow> = FAMILIES.map(|family| marked(&lab, Side::A, family, None, 10)).to_vec();
    for tally in Traffic::run(&unmarked).unwrap() {
        assert_eq!(tally.received, 0);
    }
    let seen = capture.stop().unwrap();
    assert_eq!((seen.esp_total(), seen.clear), (sent.values().sum::<u64>() + 33, 0), "{seen:?}");
    for side in SIDES {
        let errors = sa::errors(&lab.gateway(side)).unwrap();
        assert_eq!(
            errors["XfrmInStateSeqError"] + errors["XfrmInTmplMismatch"] + errors["XfrmInNoPols"],
            0,
            "{errors:?}"
        );
    }

    for (side, before) in SIDES.into_iter().zip(before) {
        bring(&lab.gateway(side), &Desired::default());
        assert_eq!(difference(&before, &found(&lab.gateway(side))), Vec::<String>::new());
    }
}

#[test]
fn lanes_static_carry_each_mark_over_ipv4_and_down_leaves_nothing() {
    carries_each_mark_and_leaves_nothing("over4", Family::V4);
}

#[test]
fn lanes_static_carry_each_mark_over_ipv6_and_down_leaves_nothing() {
    carries_each_mark_and_leaves_nothing("over6", Family::V6);
}

#[test]
fn lanes_static_forward_between_the_lans() {
    let lab = Lab::new("forward").unwrap();
    let mut reqids = BTreeSet::new();
    for side in SIDES {
        let policy = policy(&lab, side, Family::V4);
        bring(&lab.gateway(side), &desired(&lab, side, Family::V4));
        // The strictest rp_filter does not mind: the way back leads through the device.
        lab.gateway(side).sh("for conf in /proc/sys/net/ipv4/conf/*; do echo 1 > $conf/rp_filter; done").unwrap();
        // What the data path will do, with tc's own words.
        let lane = &policy.tunnels[0].lanes[2];
        reqids.insert(lane.reqid);
        lab.gateway(side)
            .sh(&format!(
                "tc qdisc add dev {DEVICE} clsact
                 tc filter add dev {DEVICE} egress protocol all matchall action skbedit mark {} pipe action pass",
                lane.mark
            ))
            .unwrap();
    }
    let mut flows = Vec::new();
    for side in SIDES {
        for family in FAMILIES {
            flows.push(Flow { count: Some(25), ..lab.flow("forward", side, family, 7000 + side as u16) });
        }
    }
    for tally in Traffic::run(&flows).unwrap() {
        assert_eq!((tally.sent, tally.received), (25, 25));
    }
    assert_eq!(reqids.len(), 1, "both ends give the lane one request id");
    for side in SIDES {
        for used in [packets(&lab.gateway(side), side, Family::V4).0, packets(&lab.gateway(side), side, Family::V4).1] {
            assert!(used.iter().all(|(reqid, packets)| *packets == 50 * u64::from(reqids.contains(reqid))), "{used:?}");
        }
    }
}

#[test]
fn lanes_static_block_what_is_routed_to_a_device_that_is_gone() {
    let lab = Lab::new("gone").unwrap();
    for side in SIDES {
        bring(&lab.gateway(side), &desired(&lab, side, Family::V4));
    }
    let gateway = lab.gateway(Side::A);
    gateway.sh(&format!("ip link del {DEVICE}")).unwrap();
    let capture = Capture::start(&lab.wan()).unwrap();
    let flows = FAMILIES.map(|family| Flow { count: Some(10), ..lab.flow("gone", Side::A, family, 7000) });
    for tally in Traffic::run(&flows).unwrap() {
        assert_eq!(tally.received, 0);
    }
    assert_eq!(capture.stop().unwrap().clear, 0);
    let repaired = bring(&gateway, &desired(&lab, Side::A, Family::V4));
    assert!(matches!(repaired.ops[0], Op::AddLink(_)), "{repaired}");
    assert!(bring(&gateway, &desired(&lab, Side::A, Family::V4)).is_empty());
}

#[test]
fn lanes_static_take_every_algorithm_and_window() {
    let lab = Lab::new("ciphers").unwrap();
    let gateway = lab.gateway(Side::A);
    let mut seed = 1u32;
    for (algorithm, window) in Algorithm::ALL.into_iter().zip([0, 32, 33, 1024, 4096]) {
        let mut policy = policy(&lab, Side::A, Family::V4);
        policy.tunnels[0].replay_window = window;
        let labels: Vec<String> = policy.tunnels[0].lanes.iter().map(|lane| lane.label.clone()).collect();
        let files = keyfile::generate(labels.iter().map(String::as_str), algorithm, |bytes| {
            for byte in bytes {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = (seed >> 24) as u8;
            }
        });
        let keys = keyfile::parse("here", &files.here).unwrap();
        let desired = Desired::new(&policy, &BTreeMap::from([(TUNNEL.to_owned(), keys)])).unwrap();
        let plan = bring(&gateway, &desired);
        // New SPIs: the new states come before the old ones go, on the same policies.
        let first_removed = plan.ops.iter().position(|op| matches!(op, Op::RemoveState(_)));
        let last_added = plan.ops.iter().rposition(|op| matches!(op, Op::AddState(_)));
        assert!(first_removed.is_none() || first_removed > last_added, "{plan}");
        let again = bring(&gateway, &desired);
        assert!(again.is_empty(), "{algorithm} {window}: {again}");
        assert_eq!(observe(&gateway).states.len(), 10);
    }
    bring(&gateway, &Desired::default());
    assert!(sa::list(&gateway).unwrap().is_empty());
}

#[test]
fn lanes_static_leave_foreign_neighbours_alone() {
    let lab = Lab::new("neighbours").unwrap();
    let gateway = lab.gateway(Side::A);
    gateway
        .sh("ip link add vpn0 type xfrm dev wan0 if_id 7
             ip link set vpn0 up
             ip addr add 10.50.0.1/24 dev vpn0
             ip route add 10.51.0.0/16 dev vpn0
             ip xfrm state add src 198.51.100.2 dst 203.0.113.9 proto esp spi 0x1001 reqid 9 mode tunnel if_id 7 \
                aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128
             ip xfrm policy add dir out src 0.0.0.0/0 dst 0.0.0.0/0 mark 1 mask 0xff if_id 7 \
                tmpl src 198.51.100.2 dst 203.0.113.9 proto esp reqid 9 mode tunnel")
        .unwrap();
    let before = found(&gateway);
    let desired = desired(&lab, Side::A, Family::V4);
    bring(&gateway, &desired);
    let together = found(&gateway);
    let lost: Vec<String> = difference(&before, &together).into_iter().filter(|line| line.starts_with('-')).collect();
    assert_eq!(lost, Vec::<String>::new());
    bring(&gateway, &Desired::default());
    assert_eq!(difference(&before, &found(&gateway)), Vec::<String>::new());

    // An if_id that is taken is a conflict, and nothing is done.
    gateway.sh(&format!("ip link add vpn1 type xfrm dev wan0 if_id {IF_ID}")).unwrap();
    let conflict = inside(&gateway, async |netlink| diff(&desired, &snapshot(netlink).await.unwrap()).unwrap_err());
    assert_eq!(
        conflict.to_string(),
        format!(
            "device {DEVICE} needs if_id {IF_ID}, which the XFRM interface vpn1 has and which is not ours: give the tunnel \
             another if-id, or remove it with `ip link del vpn1`"
        )
    );
}

#[test]
fn lanes_static_down_flushes_what_a_dead_charon_left() {
    let lab = Lab::new("leftovers").unwrap();
    let gateway = lab.gateway(Side::A);
    let before = found(&gateway);
    let reqid = REQIDS.start() + 3;
    gateway
        .sh(&format!(
            "ip xfrm state add src 198.51.100.2 dst 203.0.113.2 proto esp spi 0x00054321 reqid {reqid} mode tunnel if_id 42 \
                mark 1 mask 0xff flag af-unspec aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128
             ip xfrm state add src 203.0.113.2 dst 198.51.100.2 proto esp spi 0xc7654321 reqid {reqid} mode tunnel if_id 42 \
                output-mark 1 mask 0xff flag af-unspec aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111214 128
             for dir in in fwd out; do ip xfrm policy add dir $dir src ::/0 dst ::/0 priority 399999 mark 1 mask 0xff if_id 42 \
                tmpl src 198.51.100.2 dst 203.0.113.2 proto esp reqid {reqid} mode tunnel; done"
        ))
        .unwrap();
    let observed = observe(&gateway);
    // Whatever SPIs that charon was told to use, they are not taken for ours: those have a tag.
    let traces = observed.charon[&(reqid, 42)];
    assert_eq!((traces.states, traces.policies, observed.states.len()), (2, 3, 0));
    let plan = bring(&gateway, &Desired::default());
    assert_eq!(plan.ops, [Op::FlushLane { reqid, if_id: 42 }]);
    assert_eq!(difference(&before, &found(&gateway)), Vec::<String>::new());
}

#[test]
fn lanes_static_repair_a_state_that_somebody_deleted() {
    let lab = Lab::new("drift").unwrap();
    let gateway = lab.gateway(Side::A);
    let desired = desired(&lab, Side::A, Family::V4);
    bring(&gateway, &desired);
    let lost = desired.states.iter().find(|state| state.id.mark.is_none()).unwrap();
    let script = format!("ip xfrm state delete dst {} proto esp spi {}", lost.id.destination, lost.id.spi);
    let heard = inside(&gateway, async |_| {
        let mut watch = Watch::open().unwrap();
        gateway.sh(&script).unwrap();
        tokio::time::timeout(Duration::from_secs(2), watch.next()).await
    });
    assert_eq!(heard, Ok(Some(Event::Changed(What::State))));
    gateway.sh(&format!("ip link set {DEVICE} mtu 1300 down")).unwrap();
    let repaired = bring(&gateway, &desired);
    assert!(repaired.ops.contains(&Op::AddState(lost.clone())), "{repaired}");
    assert!(repaired.to_string().contains(&format!("~ link {DEVICE} mtu 1300 -> 1400\n")), "{repaired}");
    assert!(bring(&gateway, &desired).is_empty());
    let inbound = keys_of(&lab, Side::A)[TUNNEL].find("voice.0", Direction::In).unwrap().spi;
    assert!(sa::list(&gateway).unwrap().iter().any(|state| state.spi == inbound));
}

/// Here because not every kernel that builds this has VLANs and VRFs.
#[test]
fn ports_are_known_with_their_vlan_and_for_as_long_as_they_are_in_it_their_vrf() {
    let netns = Netns::new("lk-ports").unwrap();
    netns
        .sh("ip link add lan0 type veth peer name other
             ip link add link lan0 name lan0.12 type vlan id 12
             ip link add blue type vrf table 100
             ip link set lan0.12 master blue")
        .unwrap();
    let known = || {
        let found = inside(&netns.ns(), async |netlink| interfaces(netlink).await.unwrap());
        let of = |name: &str| found.iter().find(|port| port.name == name).map(|port| (port.vlan, port.vrf.clone()));
        ["lan0", "lan0.12", "blue"].map(of)
    };
    assert_eq!(known(), [Some((None, None)), Some((Some(12), Some("blue".to_owned()))), Some((None, None))]);
    netns.sh("ip link set lan0.12 nomaster").unwrap();
    assert_eq!(known(), [Some((None, None)), Some((Some(12), None)), Some((None, None))]);
}
