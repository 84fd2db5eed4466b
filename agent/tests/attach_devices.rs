//! `lanekeeper devices` beside what iproute2 says of the same devices.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use xtask::lab::capture::Capture;
use xtask::lab::gateways::{Gateways, LANES_UP};
use xtask::lab::netns::{self, Netns, Ns};
use xtask::lab::scenario::{DEVICE, Device, IF_ID, Keying, Scenario, TUNNEL};
use xtask::lab::traffic::{Flow, Traffic};
use xtask::lab::{Family, Side};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");

/// One of every kind, ours told by its alias alone. On those that are up the kernel's own IPv6 would go on sending.
const DEVICES: &str = "
    ip link add wan0 type dummy
    ip addr add 198.51.100.2/24 dev wan0
    ip addr add 2001:db8:a::2/64 dev wan0 nodad
    ip link set wan0 up
    ip link add blue type vrf table 100
    ip link set blue up
    ip link add ours type xfrm dev wan0 if_id 42
    ip link set ours alias lanekeeper
    echo 1 > /proc/sys/net/ipv6/conf/ours/disable_ipv6
    ip link set ours mtu 1400 up
    ip link add lk-theirs type xfrm dev wan0 if_id 0x2b
    ip link set lk-theirs alias 'lanekeeper of old'
    ip link add any type xfrm external
    ip link add v4 type vti local 198.51.100.2 remote 203.0.113.2 ikey 1 okey 2 dev wan0
    ip link add v6 type vti6 local 2001:db8:a::2 remote 2001:db8:b::2 key 3
    ip link add g4 type gre local 198.51.100.2 remote 203.0.113.2 key 7 fwmark 0x20 dev wan0
    echo 1 > /proc/sys/net/ipv6/conf/g4/disable_ipv6
    ip link set g4 master blue up
    ip link add gt4 type gretap local 198.51.100.2 remote 203.0.113.3
    ip link add g6 type ip6gre local 2001:db8:a::2 remote 2001:db8:b::2 ikey 8 okey 9
    ip link add gt6 type ip6gretap remote 2001:db8:b::3
    ip route add 10.2.0.0/16 dev ours
    ! ping -c 3 -i 0.1 -W 1 10.2.0.9 > /dev/null";

fn said(ns: &Ns, arguments: &[&str]) -> String {
    let output = ns.command(BINARY).args(arguments).args(["--runtime-dir", "/nowhere"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn rows(json: &str) -> Vec<Value> {
    let json: Value = serde_json::from_str(json).unwrap();
    json["devices"].as_array().unwrap().clone()
}

fn row<'a>(rows: &'a [Value], name: &str) -> &'a Value {
    rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name} in {rows:#?}"))
}

/// What iproute2 counted.
fn counted(ns: &Ns, name: &str) -> [Value; 2] {
    let json: Value = serde_json::from_str(&ns.sh(&format!("ip -s -j link show dev {name}")).unwrap()).unwrap();
    ["rx", "tx"].map(|way| {
        let of = |what: &str| json[0]["stats64"][way][what].clone();
        json!({"packets": of("packets"), "bytes": of("bytes"), "errors": of("errors"), "dropped": of("dropped")})
    })
}

#[test]
fn attach_devices_lists_every_kind_with_its_ends_and_counts() {
    let netns = Netns::new("lk-devices").unwrap();
    netns.sh(DEVICES).unwrap();
    let ns = netns.ns();
    let text = said(&ns, &["devices"]);
    let rows = rows(&said(&ns, &["devices", "--json"]));
    println!("{text}");
    let expected = [
        (
            "ours",
            json!({"kind": "xfrm", "if_id": 42, "underlying": "wan0", "owner": "lanekeeper", "mtu": 1400, "state": "up"}),
        ),
        ("lk-theirs", json!({"kind": "xfrm", "if_id": 43, "owner": null, "state": "down"})),
        ("any", json!({"kind": "xfrm", "if_id": null, "external": true, "underlying": null})),
        (
            "v4",
            json!({"kind": "vti", "ikey": 1, "okey": 2, "local": "198.51.100.2", "remote": "203.0.113.2", "underlying": "wan0"}),
        ),
        ("v6", json!({"kind": "vti6", "ikey": 3, "okey": 3, "local": "2001:db8:a::2", "remote": "2001:db8:b::2"})),
        (
            "g4",
            json!({"kind": "gre", "ikey": 7, "okey": 7, "fwmark": 32, "master": "blue", "master_is_vrf": true, "state": "up"}),
        ),
        ("gt4", json!({"kind": "gretap", "ikey": null, "okey": null, "remote": "203.0.113.3", "fwmark": null})),
        ("g6", json!({"kind": "ip6gre", "ikey": 8, "okey": 9, "local": "2001:db8:a::2", "master": null})),
        ("gt6", json!({"kind": "ip6gretap", "local": null, "remote": "2001:db8:b::3"})),
    ];
    for (name, fields) in &expected {
        let row = row(&rows, name);
        for (field, value) in fields.as_object().unwrap() {
            assert_eq!(&row[field], value, "{field} of {row:#}");
        }
        assert_eq!([&row["in"], &row["out"]], counted(&ns, name).each_ref(), "{name}");
    }
    assert!(row(&rows, "ours")["out"]["errors"].as_u64().unwrap() >= 3, "pings that no policy takes");
    assert!(rows.iter().all(|row| row["name"] != "wan0" && row["name"] != "blue"), "{rows:#?}");
    assert!(text.contains("ours  xfrm  up  mtu 1400  owner lanekeeper\n  if_id 42  over wan0\n"), "{text}");
    assert!(text.contains("g4  gre  up  mtu ") && text.contains("fwmark 0x20  vrf blue\n"), "{text}");
    let g6 = "  ikey 0x8  okey 0x9  local 2001:db8:a::2  remote 2001:db8:b::2\n";
    assert!(text.contains(g6), "{text}");
}

#[test]
fn attach_devices_needs_no_root_and_follows_a_device_to_another_namespace() {
    let (netns, other) = (Netns::new("lk-devices").unwrap(), Netns::new("lk-other").unwrap());
    netns.sh("ip link add wan0 type dummy && ip link add moved type xfrm dev wan0 if_id 7 && ip link set moved netns lk-other").unwrap();
    let output =
        other.command("setpriv").args(["--reuid", "65534", "--clear-groups", BINARY, "devices", "--json"]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    let rows = rows(&String::from_utf8(output.stdout).unwrap());
    let moved = row(&rows, "moved");
    assert!(moved["link_netns"].is_i64() && moved["underlying"].as_str().unwrap().starts_with("if"), "{moved:#}");
}

/// From the event to the kernel's table, and as much again for an emulated processor.
const FOLLOWED: Duration = Duration::from_secs(10);

fn blocks_until_it_is_back(name: &str, device: Device) {
    // The modules make devices of their own in each namespace, which are nobody's to remove.
    netns::run(Command::new("modprobe").args(["-a", "ip_vti", "ip6_vti", "ip_gre"])).unwrap();
    let scenario = Scenario { device, ..Scenario::one_sa(Keying::Static) };
    let mut gateways = Gateways::idle(name, scenario, Path::new(BINARY)).unwrap();
    let found = gateways.dumps().unwrap();
    for side in [Side::A, Side::B] {
        gateways.agent(side).start().unwrap();
    }
    gateways.wait_for_lanes(LANES_UP).unwrap();
    let received = |gateways: &Gateways| {
        let flow = Flow { count: Some(10), ..gateways.lab().flow("moved", Side::A, Family::V4, 7000) };
        Traffic::run(&[flow]).unwrap()[0].received
    };
    assert_eq!(received(&gateways), 10);
    let capture = Capture::start(&gateways.lab().wan()).unwrap();
    let other = Netns::new("lk-moved").unwrap();
    // There is an agent, too, by its device.
    other.sh("ip link add theirs type xfrm dev lo if_id 7 && ip link set theirs alias lanekeeper").unwrap();
    let (gateway, there) = (gateways.lab().gateway(Side::A), other.ns());
    let away = || gateway.sh(&format!("ip link set {DEVICE} netns lk-moved")).unwrap();
    let troubles = |gateways: &Gateways| gateways.agent_of(Side::A).must(&["status"]).unwrap();
    let wait = |gateways: &Gateways, is_so: &dyn Fn(&Gateways) -> bool| {
        let deadline = Instant::now() + FOLLOWED;
        while !is_so(gateways) {
            let log = gateways.agent_of(Side::A).log();
            assert!(Instant::now() < deadline, "{}\n{log}", troubles(gateways));
            thread::sleep(Duration::from_millis(100));
        }
    };

    away();
    assert_eq!(received(&gateways), 0);
    wait(&gateways, &|gateways| gateways.agent_of(Side::A).log().contains("somebody took it there"));
    let agent = gateways.agent_of(Side::A);
    let plan = agent.call(&["plan", &agent.config().display().to_string()]).unwrap();
    let plan = String::from_utf8_lossy(&plan.stdout).into_owned();
    assert!(plan.starts_with(&format!("+ link {DEVICE} waits for its return from network namespace ")), "{plan}");
    // Meanwhile the rest is kept, and nothing gets by.
    let lan = Side::B.lan(Family::V4);
    gateway.sh(&format!("ip route del unreachable {lan}")).unwrap();
    wait(&gateways, &|_| gateway.sh("ip route").unwrap().contains(&format!("unreachable {lan}")));
    // An agent that begins then does the same.
    gateways.agent(Side::A).stop().unwrap();
    gateways.agent(Side::A).start().unwrap();
    assert_eq!(received(&gateways), 0);

    there.sh(&format!("ip link set {DEVICE} netns {}", gateway.name())).unwrap();
    wait(&gateways, &|gateways| received(gateways) == 10);

    // With it goes what is left of us, and nothing of others.
    away();
    gateways.agent(Side::A).stop().unwrap();
    assert_eq!(capture.stop().unwrap().clear, 0);
    gateways.agent(Side::B).stop().unwrap();
    gateways.down_to(&found).unwrap();
    let left = there.sh("ip -o link").unwrap();
    assert!(left.contains("theirs") && !left.contains(DEVICE), "{left}");
}

#[test]
fn attach_devices_taken_to_another_namespace_block_until_they_are_back() {
    blocks_until_it_is_back("moved", Device::Xfrm);
}

#[test]
fn attach_devices_taken_away_block_as_vti() {
    blocks_until_it_is_back("movedvti", Device::Vti);
}

#[test]
fn attach_devices_taken_away_block_as_gre() {
    blocks_until_it_is_back("movedgre", Device::Gre);
}

#[test]
fn attach_devices_says_whose_tunnel_ours_is() {
    let gateways = Gateways::start("devices", Scenario::one_sa(Keying::Static), Path::new(BINARY)).unwrap();
    let flow = Flow { count: Some(20), ..gateways.lab().flow("devices", Side::A, Family::V4, 7000) };
    assert_eq!(Traffic::run(&[flow]).unwrap()[0].lost(), 0);
    let agent = gateways.agent_of(Side::A);
    let rows = rows(&agent.must(&["devices", "--json"]).unwrap());
    let ours = row(&rows, DEVICE);
    assert_eq!((&ours["tunnel"], &ours["if_id"]), (&json!(TUNNEL), &json!(IF_ID)), "{ours:#}");
    assert!(ours["out"]["packets"].as_u64().unwrap() >= 20, "{ours:#}");
    let text = agent.must(&["devices"]).unwrap();
    assert!(text.contains(&format!("{DEVICE}  xfrm  up  mtu 1400  owner lanekeeper, tunnel {TUNNEL}\n")), "{text}");
    // Without the agent it is ours all the same.
    let mut alone: Command = agent.ns().command(BINARY);
    let alone = alone.args(["devices", "--runtime-dir", "/nowhere"]).output().unwrap();
    assert!(String::from_utf8_lossy(&alone.stdout).contains("owner lanekeeper\n"), "{alone:?}");
}
