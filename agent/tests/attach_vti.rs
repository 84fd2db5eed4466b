//! Tunnels whose device is a VTI: one lane, found by the device's keys.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use xtask::demo::stage::warm_up;
use xtask::lab::capture::Capture;
use xtask::lab::gateways::{Gateways, LANES_UP};
use xtask::lab::scenario::{Class, DEVICE, Device, IF_ID, Keying, Scenario};
use xtask::lab::traffic::{Flow, Tally, Traffic};
use xtask::lab::{Family, Side, netns};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");
const SIDES: [Side; 2] = [Side::A, Side::B];
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

fn scenario(keying: Keying, outer: Family) -> Scenario {
    Scenario {
        classes: vec![Class::new("voice").fallback("default"), Class::new("default")],
        rules: "[[rule]]\nname = \"voice\"\nclass = \"voice\"\nprotocol = \"udp\"\ndscp = [\"ef\"]\n".to_owned(),
        device: Device::Vti,
        outer,
        ..Scenario::four_classes(keying)
    }
}

/// `plan FILE`: its exit status and what it printed.
fn plan(gateways: &Gateways, side: Side) -> (Option<i32>, String) {
    let agent = gateways.agent_of(side);
    let output = agent.call(&["plan", &agent.config().to_string_lossy()]).unwrap();
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

fn wait_for_empty_plan(gateways: &Gateways, side: Side) {
    let start = Instant::now();
    loop {
        let (status, text) = plan(gateways, side);
        if status == Some(0) {
            return;
        }
        let log = gateways.agent_of(side).log();
        assert!(start.elapsed() < Duration::from_secs(60), "{side:?}: plan exits with {status:?}:\n{text}\n{log}");
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// Voice and what no rule matches, both families, each way another number of packets.
fn both_ways(gateways: &Gateways) -> Vec<(Flow, Tally)> {
    let lab = gateways.lab();
    let mut flows = Vec::new();
    for (from, family, dscp, count) in [
        (Side::A, Family::V4, 46, 40),
        (Side::A, Family::V6, 46, 20),
        (Side::A, Family::V4, 0, 30),
        (Side::A, Family::V6, 0, 25),
        (Side::B, Family::V4, 46, 35),
        (Side::B, Family::V6, 0, 45),
    ] {
        let port = 6000 + from as u16 * 100 + dscp;
        flows.push(Flow { dscp: dscp as u8, count: Some(count), ..lab.flow("both", from, family, port) });
    }
    // The gateway's own.
    let own = lab.flow("own", Side::A, Family::V4, 6500);
    let source = SocketAddr::new([10, 1, 0, 1].into(), 6500);
    flows.push(Flow { from: lab.gateway(Side::A), source, count: Some(15), ..own });
    let tallies = Traffic::run(&flows).unwrap();
    flows.into_iter().zip(tallies).collect()
}

/// From one LAN to the other; returns how many arrived.
fn received_from(gateways: &Gateways, from: Side, families: &[Family]) -> u64 {
    let flow = |&family| Flow { count: Some(10), ..gateways.lab().flow("some", from, family, 7000) };
    let flows: Vec<Flow> = families.iter().map(flow).collect();
    Traffic::run(&flows).unwrap().iter().map(|tally| tally.received).sum()
}

/// A's VTI has one for what comes in and one for what leaves, which is returned; both are A's own affair.
fn give_each_direction_a_key(gateways: &Gateways) -> u32 {
    let config = gateways.agent_of(Side::A).config();
    let toml = fs::read_to_string(&config).unwrap();
    let (input, output) = (IF_ID + 100, IF_ID + 101);
    let keys = toml.replacen(&format!("key = {IF_ID},"), &format!("ikey = {input}, okey = {output},"), 1);
    assert_ne!(toml, keys);
    fs::write(&config, keys).unwrap();
    output
}

fn carries_both_ways_and_leaves_nothing(name: &str, keying: Keying, outer: Family) {
    // The modules make a device of their own in each namespace, which is nobody's to remove.
    netns::run(Command::new("modprobe").args(["-a", "ip_vti", "ip6_vti"])).unwrap();
    let mut gateways = Gateways::idle(name, scenario(keying, outer), Path::new(BINARY)).unwrap();
    let out = if keying == Keying::Static { give_each_direction_a_key(&gateways) } else { IF_ID };
    // Somebody else's policy, which asks no mark and fits what comes out of the VTI.
    gateways
        .lab()
        .gateway(Side::A)
        .sh("ip xfrm policy add dir fwd src 10.2.0.0/16 dst 10.1.0.0/16 \
             tmpl src 198.51.100.9 dst 198.51.100.2 proto esp reqid 9 mode tunnel")
        .unwrap();
    let found = gateways.dumps().unwrap();
    let capture = Capture::start(&gateways.lab().wan()).unwrap();

    // The peer is not there yet.
    gateways.agent(Side::A).start().unwrap();
    assert_eq!(received_from(&gateways, Side::A, &FAMILIES), 0);
    gateways.agent(Side::B).start().unwrap();
    gateways.wait_for_lanes(LANES_UP).unwrap();
    warm_up(gateways.lab()).unwrap();
    let class = |gateways: &Gateways, side: Side, name: &str, class: &str| {
        gateways.agent_of(side).metrics().unwrap().count(name, &[("class", class), ("direction", "out")])
    };
    let voice = |gateways: &Gateways| class(gateways, Side::A, "lanekeeper_class_packets_total", "voice");
    let before = voice(&gateways);
    for (flow, tally) in both_ways(&gateways) {
        assert_eq!((tally.lost(), Some(tally.sent)), (0, flow.count), "{flow:?}");
    }
    assert_eq!(voice(&gateways) - before, 60);
    let metrics = gateways.agent_of(Side::A).metrics().unwrap();
    assert_eq!(
        metrics.count("lanekeeper_fallback_packets_total", &[("class", "voice"), ("to", "default")]),
        60 + before
    );
    for side in SIDES {
        let (kernel, counted) = (gateways.kernel_packets(side).unwrap(), gateways.metric_packets(side).unwrap());
        println!("{side:?}: {kernel:?}");
        assert!(kernel[&("default", 0, true)] > 0 && kernel[&("default", 0, false)] > 0, "{side:?}: {kernel:?}");
        assert_eq!(kernel, counted, "{side:?}");
        let (status, text) = plan(&gateways, side);
        assert_eq!(status, Some(0), "the second plan of {side:?} is not empty:\n{text}");
    }
    let agent = gateways.agent_of(Side::A);
    let packet = "udp 10.1.0.2:4000 > 10.2.0.2:5060 dscp ef in lan0";
    let explained = agent.must(&["explain", &agent.config().to_string_lossy(), packet]).unwrap();
    for part in
        [format!("device  {DEVICE}\n"), format!(" mark {out:#x}/0xffffffff if_id 0 "), "\nsa      spi 0x".to_owned()]
    {
        assert!(explained.contains(&part), "{part:?} is not in:\n{explained}");
    }

    // Somebody changes it, and the daemon puts it back.
    let gateway = gateways.lab().gateway(Side::A);
    let second_look = format!("echo 0 > /proc/sys/net/ipv4/conf/{DEVICE}/disable_policy");
    gateway.sh(&format!("{second_look}; ip link set {DEVICE} mtu 1300")).unwrap();
    wait_for_empty_plan(&gateways, Side::A);
    for side in SIDES {
        gateways.agent(side).stop().unwrap();
    }

    // What a second look at policies would do.
    gateway.sh(&second_look).unwrap();
    assert_eq!(plan(&gateways, Side::A).1, format!("~ link {DEVICE} disable-policy\n"));
    assert_eq!(received_from(&gateways, Side::B, &[Family::V4]), 0);
    let agent = gateways.agent_of(Side::A);
    agent.must(&["apply", &agent.config().to_string_lossy()]).unwrap();
    assert_eq!(received_from(&gateways, Side::B, &FAMILIES), 20);
    // For IPv6 there is no such switch.
    let foreign = "dir fwd src 2001:db8:2::/48 dst 2001:db8:1::/48";
    let template = "tmpl src 198.51.100.9 dst 198.51.100.2 proto esp reqid 9 mode tunnel";
    gateway.sh(&format!("ip xfrm policy add {foreign} {template}")).unwrap();
    assert_eq!(received_from(&gateways, Side::B, &FAMILIES), 10);
    gateway.sh(&format!("ip xfrm policy delete {foreign}")).unwrap();

    // Without the device the route behind it blocks.
    gateway.sh(&format!("ip link del {DEVICE}")).unwrap();
    assert_eq!(received_from(&gateways, Side::A, &FAMILIES), 0);
    let seen = capture.stop().unwrap();
    assert!(seen.esp_total() > 195, "{seen:?}");
    assert_eq!(seen.clear, 0, "{seen:?}");

    gateways.down_to(&found).unwrap();
}

#[test]
fn attach_vti_with_charon() {
    carries_both_ways_and_leaves_nothing("vti", Keying::Psk, Family::V4);
}

#[test]
fn attach_vti6_with_static_keys() {
    carries_both_ways_and_leaves_nothing("vti6", Keying::Static, Family::V6);
}
