//! Tunnels whose devices are GRE over transport-mode SAs: a lane each, and no GRE in clear.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use xtask::demo::stage::warm_up;
use xtask::lab::capture::Capture;
use xtask::lab::gateways::{Gateways, LANES_UP};
use xtask::lab::scenario::{Class, DEVICE, Device, Keying, Scenario};
use xtask::lab::traffic::{Flow, Tally, Traffic};
use xtask::lab::{Family, Side, netns};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");
const SIDES: [Side; 2] = [Side::A, Side::B];
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
const EF: u8 = 46;

/// Both LANs are one tenant's, so that what comes in is counted by what it is for.
fn scenario(keying: Keying, outer: Family) -> Scenario {
    let sources: Vec<String> =
        SIDES.into_iter().flat_map(|side| FAMILIES.map(|f| format!("{:?}", side.lan(f)))).collect();
    let sources = sources.join(", ");
    Scenario {
        classes: vec![Class::new("voice").fallback("default"), Class::new("default")],
        rules: format!(
            "[[tenant]]\nname = \"lans\"\nsources = [{sources}]\n\n\
             [[rule]]\nname = \"voice\"\ntenant = \"lans\"\nclass = \"voice\"\nprotocol = \"udp\"\ndscp = [\"ef\"]\n"
        ),
        device: Device::Gre,
        outer,
        ..Scenario::four_classes(keying)
    }
}

/// Voice and what no rule matches, both families, each way another number of packets, and some of the gateway's own.
fn both_ways(gateways: &Gateways) -> Vec<(Flow, Tally)> {
    let lab = gateways.lab();
    let mut flows = Vec::new();
    for (from, family, dscp, count) in [
        (Side::A, Family::V4, EF, 40),
        (Side::A, Family::V6, EF, 20),
        (Side::A, Family::V4, 0, 30),
        (Side::A, Family::V6, 0, 25),
        (Side::B, Family::V4, EF, 35),
        (Side::B, Family::V6, 0, 45),
    ] {
        let port = 6000 + from as u16 * 100 + u16::from(dscp);
        flows.push(Flow { dscp, count: Some(count), ..lab.flow("both", from, family, port) });
    }
    let source = SocketAddr::new([10, 1, 0, 1].into(), 6500);
    let own = lab.flow("own", Side::A, Family::V4, 6500);
    flows.push(Flow { from: lab.gateway(Side::A), source, count: Some(15), ..own });
    let tallies = Traffic::run(&flows).unwrap();
    flows.into_iter().zip(tallies).collect()
}

/// From A's LAN to B's; returns how many arrived.
fn received(gateways: &Gateways) -> u64 {
    let flows = FAMILIES.map(|family| Flow { count: Some(10), ..gateways.lab().flow("some", Side::A, family, 7000) });
    Traffic::run(&flows).unwrap().iter().map(|tally| tally.received).sum()
}

/// Packets of a class that the tenant has sent into the tunnel of A, or got out of it.
fn of_class(gateways: &Gateways, class: &str, direction: &str) -> u64 {
    let labels = [("tenant", "lans"), ("class", class), ("direction", direction)];
    gateways.agent_of(Side::A).metrics().unwrap().count("lanekeeper_class_packets_total", &labels)
}

fn carries_both_ways_and_leaves_nothing(name: &str, keying: Keying, outer: Family) {
    // The modules make devices of their own in each namespace, which are nobody's to remove.
    netns::run(Command::new("modprobe").args(["-a", "ip_gre", "ip6_gre"])).unwrap();
    let mut gateways = Gateways::idle(name, scenario(keying, outer), Path::new(BINARY)).unwrap();
    if keying == Keying::Psk {
        for side in SIDES {
            gateways.agent(side).set_under_unit();
        }
    }
    let found = gateways.dumps().unwrap();
    let capture = Capture::start(&gateways.lab().wan()).unwrap();

    // The peer is not there yet.
    gateways.agent(Side::A).start().unwrap();
    assert_eq!(received(&gateways), 0);
    gateways.agent(Side::B).start().unwrap();
    gateways.wait_for_lanes(LANES_UP).unwrap();
    warm_up(gateways.lab()).unwrap();
    let (voice, inward) = (of_class(&gateways, "voice", "out"), of_class(&gateways, "default", "in"));
    for (flow, tally) in both_ways(&gateways) {
        assert_eq!((tally.lost(), Some(tally.sent)), (0, flow.count), "{flow:?}");
    }
    assert_eq!(of_class(&gateways, "voice", "out") - voice, 60);
    // What comes in is its lane's class's, and read behind GRE's header.
    assert_eq!(of_class(&gateways, "default", "in") - inward, 80);
    for side in SIDES {
        let (kernel, counted) = (gateways.kernel_packets(side).unwrap(), gateways.metric_packets(side).unwrap());
        println!("{side:?}: {kernel:?}");
        assert!(kernel[&("default", 0, true)] > 0 && kernel[&("default", 0, false)] > 0, "{side:?}: {kernel:?}");
        assert_eq!(kernel, counted, "{side:?}");
        let agent = gateways.agent_of(side);
        let output = agent.call(&["plan", &agent.config().to_string_lossy()]).unwrap();
        assert_eq!(output.status.code(), Some(0), "the second plan of {side:?} is not empty: {output:?}");
    }
    let agent = gateways.agent_of(Side::A);
    let packet = "udp 10.1.0.2:4000 > 10.2.0.2:5060 dscp ef in lan0";
    let explained = agent.must(&["explain", &agent.config().to_string_lossy(), packet]).unwrap();
    let ends = format!("policy  src {}/", Side::A.outer(outer));
    for part in [format!("device  {DEVICE}\n").as_str(), &ends, " mark 0x1/0xff if_id 0 ", "\nsa      spi 0x"] {
        assert!(explained.contains(part), "{part:?} is not in:\n{explained}");
    }
    let gateway = gateways.lab().gateway(Side::A);
    let link = gateway.sh(&format!("ip -d link show {DEVICE}")).unwrap();
    assert!(link.contains("MULTICAST") && link.contains(" 32 "), "{link}");

    // Without SAs and their policies nothing leaves, and nothing that comes in clear is taken.
    for side in SIDES {
        gateways.agent(side).stop().unwrap();
    }
    gateway.sh("ip xfrm state flush").unwrap();
    assert_eq!(received(&gateways), 0);
    let mode = "ip xfrm policy | grep -c 'mode transport' || true";
    let delete = "ip xfrm policy list | awk '/^src/ {s = $2; d = $4} /dir/ {way = $2} /mark/ {print way, s, d}' | \
                  while read way s d; do ip xfrm policy delete dir $way src $s dst $d proto gre mark 1 mask 0xff; done";
    gateway.sh(delete).unwrap();
    assert_eq!(gateway.sh(mode).unwrap().trim(), "0");
    assert_eq!(received(&gateways), 0);
    // Nor without the device.
    gateway.sh(&format!("ip link del {DEVICE}")).unwrap();
    assert_eq!(received(&gateways), 0);
    let seen = capture.stop().unwrap();
    assert_eq!(seen.clear, 0, "{seen:?}");
    assert!(seen.esp_total() > 195, "{seen:?}");
    // The inner DSCP is the outer one's.
    assert!(seen.dscp[&(Side::A.outer(outer), EF)] >= 60, "{seen:?}");

    // What comes by the SAs and finds no device is not told back in clear.
    for side in [Side::B, Side::A] {
        gateways.agent(side).start().unwrap();
    }
    gateways.wait_for_lanes(LANES_UP).unwrap();
    gateways.agent(Side::A).stop().unwrap();
    let capture = Capture::start(&gateways.lab().wan()).unwrap();
    gateways.lab().gateway(Side::A).sh(&format!("ip link del {DEVICE}")).unwrap();
    let back = Flow { count: Some(10), ..gateways.lab().flow("back", Side::B, Family::V4, 7000) };
    assert_eq!(Traffic::run(&[back]).unwrap()[0].received, 0);
    gateways.agent(Side::B).stop().unwrap();
    let seen = capture.stop().unwrap();
    assert!(seen.clear == 0 && seen.esp_total() >= 10, "{seen:?}");

    gateways.down_to(&found).unwrap();
}

#[test]
fn attach_gre_with_charon() {
    carries_both_ways_and_leaves_nothing("gre", Keying::Psk, Family::V4);
}

#[test]
fn attach_gre6_with_static_keys() {
    carries_both_ways_and_leaves_nothing("gre6", Keying::Static, Family::V6);
}

const BULK: u16 = 9000;
/// The device of voice, the second class.
const SECOND: &str = "lk-branch-2";

/// The first class has what has no mark, too.
fn of_lanes(keying: Keying, outer: Family) -> Scenario {
    Scenario {
        classes: vec![Class::new("default"), Class::new("voice"), Class::new("bulk")],
        rules: format!(
            "[[port]]\nname = \"lan0\"\n\n\
             [[rule]]\nname = \"voice\"\nclass = \"voice\"\nprotocol = \"udp\"\ndscp = [\"ef\"]\n\n\
             [[rule]]\nname = \"bulk\"\nclass = \"bulk\"\nprotocol = \"udp\"\ndestination-port = [{BULK}]\n"
        ),
        device: Device::GreLanes,
        outer,
        ..Scenario::four_classes(keying)
    }
}

/// Ten packets of each class and family from A's LAN to B's; returns how many arrived, by class.
fn received_of_lanes(gateways: &Gateways) -> [u64; 3] {
    let of =
        |dscp, port| FAMILIES.map(|f| Flow { dscp, count: Some(10), ..gateways.lab().flow("some", Side::A, f, port) });
    let flows = [of(0, 7000), of(EF, 7001), of(0, BULK)].concat();
    let tallies = Traffic::run(&flows).unwrap();
    [0, 2, 4].map(|at| tallies[at].received + tallies[at + 1].received)
}

fn each_class_takes_its_device(name: &str, keying: Keying, outer: Family) {
    netns::run(Command::new("modprobe").args(["-a", "ip_gre", "ip6_gre"])).unwrap();
    let mut gateways = Gateways::idle(name, of_lanes(keying, outer), Path::new(BINARY)).unwrap();
    for side in SIDES {
        // Strict: what comes in by a further device is routed back by it, as its mark has it.
        gateways.lab().gateway(side).sh("echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter").unwrap();
    }
    let found = gateways.dumps().unwrap();
    let capture = Capture::start(&gateways.lab().wan()).unwrap();
    gateways.agent(Side::A).start().unwrap();
    assert_eq!(received_of_lanes(&gateways), [0; 3]);
    gateways.agent(Side::B).start().unwrap();
    gateways.wait_for_lanes(LANES_UP).unwrap();
    warm_up(gateways.lab()).unwrap();

    let before = SIDES.map(|side| gateways.kernel_packets(side).unwrap());
    let lab = gateways.lab();
    let mut flows = Vec::new();
    for (from, family, dscp, port, count) in [
        (Side::A, Family::V4, EF, 6000, 40),
        (Side::A, Family::V6, EF, 6001, 20),
        (Side::A, Family::V4, 0, BULK, 15),
        (Side::A, Family::V6, 0, 6003, 25),
        (Side::B, Family::V4, EF, 6004, 35),
        (Side::B, Family::V6, 0, BULK, 45),
        (Side::B, Family::V4, 0, 6006, 10),
    ] {
        flows.push(Flow { dscp, count: Some(count), ..lab.flow("lanes", from, family, port) });
    }
    for (flow, tally) in flows.iter().zip(Traffic::run(&flows).unwrap()) {
        assert_eq!((tally.lost(), Some(tally.sent)), (0, flow.count), "{flow:?}");
    }
    for (side, before) in SIDES.into_iter().zip(&before) {
        let (kernel, counted) = (gateways.kernel_packets(side).unwrap(), gateways.metric_packets(side).unwrap());
        println!("{side:?}: {kernel:?}");
        assert_eq!(kernel, counted, "{side:?}");
        // Neighbours are looked for in the first device alone: in the others there is nothing else.
        for (class, from_a, from_b) in [("voice", 60, 35), ("bulk", 15, 45)] {
            let more = |out| kernel[&(class, 0, out)] - before[&(class, 0, out)];
            let wanted = if side == Side::A { (from_a, from_b) } else { (from_b, from_a) };
            assert_eq!((more(true), more(false)), wanted, "{class} at {side:?}");
        }
        let agent = gateways.agent_of(side);
        let output = agent.call(&["plan", &agent.config().to_string_lossy()]).unwrap();
        assert_eq!(output.status.code(), Some(0), "the second plan of {side:?} is not empty: {output:?}");
    }
    let agent = gateways.agent_of(Side::A);
    let packet = "udp 10.1.0.2:4000 > 10.2.0.2:5060 dscp ef in lan0";
    let explained = agent.must(&["explain", &agent.config().to_string_lossy(), packet]).unwrap();
    for part in [format!("device  {SECOND}\n").as_str(), " mark 0x2/0xff if_id 0 ", "\nsa      spi 0x"] {
        assert!(explained.contains(part), "{part:?} is not in:\n{explained}");
    }
    let devices = agent.must(&["devices"]).unwrap();
    assert!(devices.contains(DEVICE) && devices.contains(SECOND) && devices.contains("lk-branch-3"), "{devices}");

    // A device that somebody removes comes again, and its class goes nowhere else meanwhile.
    let gateway = gateways.lab().gateway(Side::A);
    gateway.sh(&format!("ip link del {SECOND}")).unwrap();
    let limit = Instant::now() + Duration::from_secs(60);
    while received_of_lanes(&gateways) != [20; 3] {
        assert!(Instant::now() < limit, "{SECOND} is not repaired");
    }
    // Without the agent, its rules, a device, and then SAs and their policies, nothing leaves in clear or by another class's lane.
    for side in SIDES {
        gateways.agent(side).stop().unwrap();
    }
    assert_eq!(received_of_lanes(&gateways), [20; 3]);
    gateway.sh(&format!("ip link del {SECOND}")).unwrap();
    assert_eq!(received_of_lanes(&gateways), [20, 0, 20]);
    gateway.sh("for f in -4 -6; do while ip $f rule del fwmark 3/0xff 2>/dev/null; do :; done; done").unwrap();
    assert_eq!(received_of_lanes(&gateways), [20, 0, 0]);
    gateway.sh("ip xfrm state flush").unwrap();
    assert_eq!(received_of_lanes(&gateways), [0; 3]);
    let seen = capture.stop().unwrap();
    assert_eq!(seen.clear, 0, "{seen:?}");
    assert!(seen.esp_total() > 190, "{seen:?}");

    gateways.down_to(&found).unwrap();
}

#[test]
fn attach_gre_lanes_with_charon() {
    each_class_takes_its_device("grelanes", Keying::Psk, Family::V4);
}

#[test]
fn attach_gre6_lanes_with_static_keys() {
    each_class_takes_its_device("gre6lanes", Keying::Static, Family::V6);
}
