//! Tunnels whose device is in a VRF of the operator's, with routes in its table and none in the main one; and those whose WAN is
//! in a VRF.

use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use xtask::demo::stage::warm_up;
use xtask::lab::capture::Capture;
use xtask::lab::gateways::{Gateways, LANES_UP};
use xtask::lab::netns::{self, Ns};
use xtask::lab::scenario::{Class, DEVICE, Device, IF_ID, Keying, Scenario};
use xtask::lab::traffic::{Flow, Traffic};
use xtask::lab::wait::until;
use xtask::lab::{Family, Side};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");
const SIDES: [Side; 2] = [Side::A, Side::B];
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
/// Within a second of the event, and as much again for an emulated processor.
const REPAIRED: Duration = Duration::from_secs(2);

fn scenario(keying: Keying) -> Scenario {
    Scenario {
        classes: vec![Class::new("voice").fallback("default"), Class::new("default")],
        rules: "[[rule]]\nname = \"voice\"\nclass = \"voice\"\nprotocol = \"udp\"\ndscp = [\"ef\"]\n".to_owned(),
        ..Scenario::four_classes(keying)
    }
}

/// Each gateway has its LAN in a VRF `blue` of another number, and the operator's default route to nowhere in its table.
fn stage(name: &str, device: Device) -> Gateways {
    let scenario = Scenario { device, ..scenario(Keying::Psk) };
    let gateways = Gateways::idle(name, scenario, Path::new(BINARY)).unwrap();
    for (side, table) in SIDES.into_iter().zip([10, 20]) {
        let gateway = gateways.lab().gateway(side);
        join_vrf(&gateway, side, table);
        of_device(&gateways, side, "vrf = \"blue\",");
    }
    gateways
}

/// Writes that into the device of the file.
fn of_device(gateways: &Gateways, side: Side, keys: &str) {
    let config = gateways.agent_of(side).config();
    let toml = fs::read_to_string(&config).unwrap();
    let kind = |line: &&str| line.starts_with("device = ");
    let device = toml.lines().find(kind).unwrap();
    // What was written into it before is between its own keys and its name.
    let (made, rest) = device.split_once(&format!("= {IF_ID},")).unwrap();
    let (_, named) = rest.split_once(" name =").unwrap();
    let ttl = if device.contains("gre") { " ttl = 32," } else { "" };
    fs::write(&config, toml.replace(device, &format!("{made}= {IF_ID},{ttl} {keys} name ={named}"))).unwrap();
}

/// The LAN's port loses its IPv6 address at it.
fn join_vrf(gateway: &Ns, side: Side, table: u32) {
    let IpAddr::V6(host) = side.host(Family::V6) else { unreachable!("{side:?}") };
    let lan = Ipv6Addr::from_bits(host.to_bits() - 1);
    gateway
        .sh(&format!(
            "ip link add blue up address 02:00:00:00:00:{table} type vrf table {table}
             ip route add unreachable default metric 4278198272 table {table}
             ip -6 route add unreachable default metric 4278198272 table {table}
             ip link set lan0 master blue
             ip addr add {lan}/64 dev lan0 nodad"
        ))
        .unwrap();
}

/// Voice and what no rule matches, from both sides, in both families; returns what arrived.
fn received(gateways: &Gateways) -> Vec<u64> {
    let mut flows = Vec::new();
    for (from, port) in SIDES.into_iter().zip([7000, 7100]) {
        for family in FAMILIES {
            for dscp in [46, 0] {
                let flow = gateways.lab().flow("both", from, family, port + u16::from(dscp));
                flows.push(Flow { dscp, count: Some(10), ..flow });
            }
        }
    }
    Traffic::run(&flows).unwrap().iter().map(|tally| tally.received).collect()
}

/// `plan FILE`: its exit status and what it printed.
fn plan(gateways: &Gateways, side: Side) -> (Option<i32>, String) {
    let agent = gateways.agent_of(side);
    let output = agent.call(&["plan", &agent.config().to_string_lossy()]).unwrap();
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// Everything that is ours of device, addresses and routes.
fn ours(gateway: &Ns) -> String {
    gateway
        .sh(&format!(
            "ip -o link show dev {DEVICE} | grep -o 'master [a-z]*'
             ip -o addr show dev {DEVICE} scope global | sed -E 's/^[0-9]+: //; s/(valid|preferred)_lft [^ ]+//g'
             ip route show table all proto 76; ip -6 route show table all proto 76"
        ))
        .unwrap_or_default()
}

fn wait_until(what: &str, limit: Duration, holds: impl Fn() -> bool) {
    assert!(until(limit, holds), "{what}: not within {limit:?}");
}

fn carries_both_ways_and_leaves_nothing(name: &str, device: Device) {
    netns::run(Command::new("modprobe").args(["-a", "ip_gre", "ip6_gre"])).unwrap();
    let mut gateways = stage(name, device);
    let found = gateways.dumps().unwrap();
    let capture = Capture::start(&gateways.lab().wan()).unwrap();
    for side in [Side::B, Side::A] {
        gateways.agent(side).start().unwrap();
    }
    gateways.wait_for_lanes(LANES_UP).unwrap();
    warm_up(gateways.lab()).unwrap();
    let class = if device == Device::Gre { "default" } else { "voice" };
    let sent = |gateways: &Gateways| gateways.kernel_packets(Side::A).unwrap()[&(class, 0, true)];
    let before = sent(&gateways);
    assert_eq!(received(&gateways), [10; 8]);
    match device {
        // What hosts say to each other by multicast is in it, too.
        Device::Gre => assert!(sent(&gateways) - before >= 40),
        _ => assert_eq!(sent(&gateways) - before, 20),
    }
    for side in SIDES {
        if device != Device::Gre {
            assert_eq!(gateways.kernel_packets(side).unwrap(), gateways.metric_packets(side).unwrap(), "{side:?}");
        }
        assert_eq!(
            plan(&gateways, side),
            (Some(0), "nothing to do\n".to_owned()),
            "the second plan of {side:?} is not empty"
        );
    }

    // All routes are in the VRF's table: to the far LAN, and to nowhere behind it and behind the network of the device's address.
    let gateway = gateways.lab().gateway(Side::A);
    for family in ["-4", "-6"] {
        let routes = gateway.sh(&format!("ip {family} route show table all proto 76")).unwrap();
        let main = gateway.sh(&format!("ip {family} route show table main")).unwrap();
        assert!(routes.lines().count() == 3 && routes.lines().all(|route| route.contains(" table 10")), "{routes}");
        assert!(!main.contains(DEVICE) && !main.contains("unreachable"), "{main}");
    }
    let agent = gateways.agent_of(Side::A);
    let config = agent.config().display().to_string();
    let devices = agent.must(&["devices"]).unwrap();
    assert!(devices.contains("vrf blue"), "{devices}");
    let findings = String::from_utf8(agent.call(&["doctor", &config]).unwrap().stdout).unwrap();
    assert!(!findings.contains(DEVICE) && !findings.contains("route"), "{findings}");
    let explained = agent.must(&["explain", &config, "udp 10.1.0.2:4000 > 10.2.0.2:5060 dscp ef in lan0"]).unwrap();
    assert!(explained.contains(&format!("device  {DEVICE}\n")) && explained.contains("sa      spi"), "{explained}");

    // Taken out of the VRF, it comes back, with its addresses and routes.
    let all = ours(&gateway);
    assert!(all.starts_with("master blue\n"), "{all}");
    for script in [
        format!("ip link set {DEVICE} nomaster"),
        "ip route flush table 10 proto 76; ip -6 route flush table 10 proto 76".to_owned(),
    ] {
        gateway.sh(&script).unwrap();
        wait_until(&script, REPAIRED, || ours(&gateway) == all);
    }
    assert_eq!(received(&gateways), [10; 8]);

    // Without its VRF the device is not there, nor any route, and what is said has the way out. With the VRF it comes back.
    gateway.sh("ip link del blue; ip -4 route flush table 10; ip -6 route flush table 10").unwrap();
    wait_until("device without VRF", REPAIRED, || gateway.sh(&format!("ip link show dev {DEVICE}")).is_err());
    assert_eq!(ours(&gateway), "");
    assert_eq!(plan(&gateways, Side::A), (Some(1), format!("+ link {DEVICE} waits for vrf blue\n")));
    let waits = || {
        let status = gateways.agent_of(Side::A).must(&["status"]).unwrap();
        status.contains(&format!("its device {DEVICE} waits for vrf blue"))
    };
    wait_until("status says that it waits", REPAIRED, waits);
    let log = gateways.agent_of(Side::A).log();
    assert!(log.contains("ip link add blue up type vrf table NUMBER"), "{log}");
    let config = gateways.agent_of(Side::A).config().display().to_string();
    let applied = gateways.agent_of(Side::A).call(&["apply", &config]).unwrap();
    let said = String::from_utf8_lossy(&applied.stderr).into_owned();
    assert!(!applied.status.success() && said.contains("take vrf = \"blue\" out"), "{said}");
    join_vrf(&gateway, Side::A, 10);
    wait_until("device with VRF", REPAIRED, || ours(&gateway) == all);
    wait_until("traffic", Duration::from_secs(10), || received(&gateways) == [10; 8]);
    assert!(!waits());

    // Without the device nothing leaves in clear.
    for side in SIDES {
        gateways.agent(side).stop().unwrap();
    }
    gateway.sh(&format!("ip link del {DEVICE}")).unwrap();
    assert_eq!(received(&gateways)[..4], [0; 4]);
    let seen = capture.stop().unwrap();
    assert!(seen.clear == 0 && seen.esp_total() > 0, "{seen:?}");
    gateways.down_to(&found).unwrap();
}

#[test]
fn attach_vrf_carries_both_ways_and_leaves_nothing() {
    carries_both_ways_and_leaves_nothing("vrf", Device::Xfrm);
}

#[test]
fn attach_vrf_has_a_gre_device() {
    carries_both_ways_and_leaves_nothing("vrfgre", Device::Gre);
}

#[test]
fn attach_vrf_of_the_underlying_device_routes_esp() {
    let gateways = Gateways::idle("under", scenario(Keying::Static), Path::new(BINARY)).unwrap();
    let gateway = gateways.lab().gateway(Side::A);
    gateway
        .sh("ip link add red up type vrf table 30
             ip link set wan0 master red
             ip route add default via 198.51.100.1 table 30")
        .unwrap();
    let found = gateways.dumps().unwrap();
    let agent = gateways.agent_of(Side::A);
    let config = agent.config().display().to_string();
    let below = || {
        let link = gateway.sh(&format!("ip -o link show dev {DEVICE}")).unwrap();
        link.split_once(&format!("{DEVICE}@")).and_then(|(_, rest)| rest.split(':').next()).map(str::to_owned)
    };
    let peer = gateways.agent_of(Side::B);
    peer.must(&["apply", &peer.config().to_string_lossy()]).unwrap();
    of_device(&gateways, Side::A, "link = \"wan0\",");
    agent.must(&["apply", &config]).unwrap();
    assert_eq!(below().as_deref(), Some("wan0"));
    assert_eq!(plan(&gateways, Side::A), (Some(0), "nothing to do\n".to_owned()));
    let capture = Capture::start(&gateways.lab().wan()).unwrap();
    assert_eq!(received(&gateways), [10; 8]);

    // LAN and main table have no route to the peer.
    of_device(&gateways, Side::A, "link = \"lan0\",");
    agent.must(&["apply", &config]).unwrap();
    assert_eq!(below().as_deref(), Some("lan0"));
    assert_eq!(received(&gateways), [0, 0, 0, 0, 10, 10, 10, 10]);
    let seen = capture.stop().unwrap();
    assert!(seen.clear == 0 && seen.esp_total() > 0, "{seen:?}");

    // What is not there is said, and what was before stays.
    of_device(&gateways, Side::A, "link = \"wan9\",");
    let refused = agent.call(&["apply", &config]).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("bring wan9 up, or take link = \"wan9\" out"), "{said}");
    assert_eq!(below().as_deref(), Some("lan0"));

    // Somebody makes it by another device: it is made anew.
    of_device(&gateways, Side::A, "link = \"wan0\",");
    agent.must(&["apply", &config]).unwrap();
    gateway
        .sh(&format!(
            "ip link del {DEVICE}
             ip link add {DEVICE} type xfrm dev lan0 if_id {IF_ID}
             ip link set {DEVICE} alias lanekeeper"
        ))
        .unwrap();
    agent.must(&["apply", &config]).unwrap();
    assert_eq!(below().as_deref(), Some("wan0"));
    assert_eq!(received(&gateways), [10; 8]);

    gateways.down_to(&found).unwrap();
}
