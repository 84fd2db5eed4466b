//! A tunnel's device in another network namespace: its SAs, and charon, stay where they are.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use xtask::lab::capture::Capture;
use xtask::lab::gateways::{Gateways, LANES_UP};
use xtask::lab::netns::{self, Netns, Ns};
use xtask::lab::scenario::{Class, DEVICE, Device, Keying, Scenario};
use xtask::lab::traffic::{Flow, Traffic};
use xtask::lab::{Family, Side};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");
/// Where A's device goes.
const ELSEWHERE: &str = "lk-red";
/// Of that namespace, in A's network.
const HOST: &str = "10.1.0.77";
/// From the event to the kernel's table, and as much again for an emulated processor.
const FOLLOWED: Duration = Duration::from_secs(10);

fn stage(name: &str, device: Device) -> Gateways {
    let scenario = Scenario {
        device,
        classes: vec![Class::new("voice").fallback("default"), Class::new("default")],
        rules: "[[rule]]\nclass = \"voice\"\nprotocol = \"udp\"\ndscp = [\"ef\"]\n\n\
                [[rule]]\nclass = \"voice\"\ninterface = [\"lan0\"]\nprotocol = \"udp\"\ndestination-port = [7100]\n"
            .to_owned(),
        ..Scenario::four_classes(Keying::Psk)
    };
    let gateways = Gateways::idle(name, scenario, Path::new(BINARY)).unwrap();
    let config = gateways.agent_of(Side::A).config();
    let toml = fs::read_to_string(&config).unwrap();
    let lines = toml.lines().filter(|line| !line.starts_with("routes = "));
    let line = |line: &str| match line.split_once(", addresses = ") {
        Some((device, _)) if line.starts_with("device = ") => format!("{device}, namespace = \"{ELSEWHERE}\" }}\n"),
        _ => format!("{line}\n"),
    };
    let toml: String = lines.map(line).collect();
    assert!(toml.contains(ELSEWHERE), "{toml}");
    fs::write(&config, toml).unwrap();
    gateways
}

/// The namespace's own part: a way to B's network.
fn lead(red: &Ns) {
    let lan = Side::B.lan(Family::V4);
    red.sh(&format!("ip route add {lan} dev {DEVICE} src {HOST}")).unwrap();
}

/// From the namespace to B's LAN and back: voice, and what no rule matches.
fn flows(gateways: &Gateways, red: &Ns) -> Vec<Flow> {
    let lan = gateways.lab().lan(Side::B);
    let (host, there): (IpAddr, IpAddr) = (HOST.parse().unwrap(), Side::B.host(Family::V4));
    let flow = |from: &Ns, to: &Ns, source, destination, port: u16, dscp| Flow {
        name: format!("{source} to {destination}, {port}"),
        from: from.clone(),
        to: to.clone(),
        source: SocketAddr::new(source, 20_000 + port),
        destination: SocketAddr::new(destination, port),
        dscp,
        count: Some(20),
        ..gateways.lab().flow("", Side::A, Family::V4, port)
    };
    vec![
        flow(red, &lan, host, there, 7000, 46),
        flow(red, &lan, host, there, 7001, 0),
        // By lan0, as rules say it, only what comes in here.
        flow(red, &lan, host, there, 7100, 0),
        flow(&lan, red, there, host, 7200, 0),
    ]
}

fn received(gateways: &Gateways, red: &Ns) -> Vec<u64> {
    Traffic::run(&flows(gateways, red)).unwrap().iter().map(|tally| tally.received).collect()
}

fn wait_for(what: &str, gateways: &Gateways, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + FOLLOWED;
    while !is_so() {
        assert!(Instant::now() < deadline, "not {what}:\n{}", gateways.agent_of(Side::A).log());
        thread::sleep(Duration::from_millis(100));
    }
}

fn plan(gateways: &Gateways) -> String {
    let agent = gateways.agent_of(Side::A);
    let output = agent.call(&["plan", &agent.config().display().to_string()]).unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// `sent` are packets of voice and others that a device of that kind takes to lanes of their own.
fn has_the_device(name: &str, device: Device, sent: [u64; 2]) {
    // A namespace that is made afterwards has the modules' own devices.
    netns::run(Command::new("modprobe").args(["-a", "ip_vti", "ip6_vti", "ip_gre", "ip6_gre"])).unwrap();
    let mut gateways = stage(name, device);
    let found = gateways.dumps().unwrap();
    let capture = Capture::start(&gateways.lab().wan()).unwrap();
    // The namespace is not there yet: nor is the device.
    for side in [Side::B, Side::A] {
        gateways.agent(side).start().unwrap();
    }
    assert!(plan(&gateways).contains(&format!("+ link {DEVICE} waits for network namespace {ELSEWHERE}\n")));
    let red = Netns::new(ELSEWHERE).unwrap();
    red.sh(&format!("ip link set lo up && ip addr add {HOST}/32 dev lo")).unwrap();
    let is_there = || red.sh(&format!("ip -o link show {DEVICE}")).is_ok_and(|line| line.contains(",UP"));
    wait_for("taken there", &gateways, is_there);
    gateways.wait_for_lanes(LANES_UP).unwrap();
    lead(&red.ns());
    wait_for("at rest", &gateways, || plan(&gateways) == "nothing to do\n");

    let out = |gateways: &Gateways, class| {
        let metrics = gateways.agent_of(Side::A).metrics().unwrap();
        metrics.count("lanekeeper_lane_packets_total", &[("class", class), ("direction", "out")])
    };
    let before = ["voice", "default"].map(|class| out(&gateways, class));
    assert_eq!(received(&gateways, &red.ns()), [20; 4]);
    let after = ["voice", "default"].map(|class| out(&gateways, class));
    let counted = [after[0] - before[0], after[1] - before[1]];
    match device {
        // What hosts say to each other by multicast is in it, too.
        Device::Gre => assert!(counted[1] >= sent[1], "{counted:?}"),
        _ => assert_eq!(counted, sent),
    }

    // It stays through the agent's end, and where somebody removes it, it is made and taken there anew.
    gateways.agent(Side::A).kill().unwrap();
    assert_eq!(received(&gateways, &red.ns()), [20; 4]);
    gateways.agent(Side::A).start().unwrap();
    gateways.wait_for_lanes(LANES_UP).unwrap();
    assert_eq!(received(&gateways, &red.ns()), [20; 4]);
    assert_eq!(plan(&gateways), "nothing to do\n");
    red.sh(&format!("ip link del {DEVICE}")).unwrap();
    wait_for("back", &gateways, is_there);
    lead(&red.ns());
    wait_for("at rest", &gateways, || plan(&gateways) == "nothing to do\n");
    assert_eq!(received(&gateways, &red.ns()), [20; 4]);

    // And back: the file says so.
    let config = gateways.agent_of(Side::A).config();
    let toml = fs::read_to_string(&config).unwrap();
    let here = toml.replace(&format!(", namespace = \"{ELSEWHERE}\""), "");
    fs::write(&config, here).unwrap();
    gateways.agent_of(Side::A).must(&["reload"]).unwrap();
    assert!(!is_there() && gateways.lab().gateway(Side::A).sh("ip -o link").unwrap().contains(DEVICE));
    assert_eq!(plan(&gateways), "nothing to do\n");
    fs::write(&config, toml).unwrap();
    gateways.agent_of(Side::A).must(&["reload"]).unwrap();
    wait_for("there again", &gateways, is_there);

    for side in [Side::A, Side::B] {
        gateways.agent(side).stop().unwrap();
    }
    let seen = capture.stop().unwrap();
    assert!(seen.clear == 0 && seen.esp_total() > 0, "{seen:?}");
    gateways.down_to(&found).unwrap();
    assert!(red.sh(&format!("ip -o link show {DEVICE}")).is_err());
}

#[test]
fn attach_namespace_has_the_device_and_its_lanes_while_their_sas_stay() {
    has_the_device("red", Device::Xfrm, [20, 40]);
}

#[test]
fn attach_namespace_has_a_vti() {
    has_the_device("redvti", Device::Vti, [0, 60]);
}

#[test]
fn attach_namespace_has_a_gre_device() {
    has_the_device("redgre", Device::Gre, [0, 60]);
}
