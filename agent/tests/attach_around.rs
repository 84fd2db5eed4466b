//! Routes around the peer's own address, up to a default route: IKE and ESP stay out of the tunnel, everything else goes in.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use xtask::demo::stage::warm_up;
use xtask::lab::capture::Capture;
use xtask::lab::dump;
use xtask::lab::gateways::{Gateways, LANES_UP};
use xtask::lab::scenario::{DEVICE, Keying, Scenario};
use xtask::lab::traffic::{Flow, Traffic};
use xtask::lab::{Family, Side};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
/// Within a second of the event, and as much again for an emulated processor.
const REPAIRED: Duration = Duration::from_secs(2);

/// Of a host far away, which is to be reached by way of B.
fn far(family: Family) -> IpAddr {
    match family {
        Family::V4 => "203.0.113.9".parse().unwrap(),
        Family::V6 => "2001:db8:9::9".parse().unwrap(),
    }
}

/// A sends all that it does not know better to B, behind whose LAN host lies the rest of the world.
fn stage(name: &str, keying: Keying, outer: Family) -> Gateways {
    let gateways =
        Gateways::idle(name, Scenario { outer, ..Scenario::four_classes(keying) }, Path::new(BINARY)).unwrap();
    let config = gateways.agent_of(Side::A).config();
    let toml = fs::read_to_string(&config).unwrap();
    let routes = FAMILIES.map(|family| format!("{:?}", Side::B.lan(family).to_string())).join(", ");
    assert!(toml.contains(&routes), "{routes} is not in {toml}");
    fs::write(&config, toml.replace(&routes, "\"0.0.0.0/0\", \"::/0\"")).unwrap();
    for family in FAMILIES {
        let (far, host) = (far(family), Side::B.host(family));
        gateways.lab().lan(Side::B).sh(&format!("ip addr add {far} dev lo")).unwrap();
        gateways.lab().gateway(Side::B).sh(&format!("ip route add {far} via {host}")).unwrap();
    }
    gateways
}

fn flows(gateways: &Gateways) -> Vec<Flow> {
    let near = FAMILIES.map(|family| Flow { count: Some(20), ..gateways.lab().flow("near", Side::A, family, 7000) });
    let far = FAMILIES.map(|family| Flow {
        destination: SocketAddr::new(far(family), 7001),
        count: Some(20),
        ..gateways.lab().flow("far", Side::A, family, 7001)
    });
    near.into_iter().chain(far).collect()
}

fn received(gateways: &Gateways) -> Vec<u64> {
    Traffic::run(&flows(gateways)).unwrap().iter().map(|tally| tally.received).collect()
}

fn goes_around_the_peer(name: &str, keying: Keying, outer: Family) {
    let mut gateways = stage(name, keying, outer);
    let machine = |gateways: &Gateways| gateways.dump(Side::A).unwrap();
    let found = machine(&gateways);
    let capture = Capture::start(&gateways.lab().wan()).unwrap();
    for side in [Side::B, Side::A] {
        gateways.agent(side).start().unwrap();
    }
    gateways.wait_for_lanes(LANES_UP).unwrap();
    warm_up(gateways.lab()).unwrap();
    assert_eq!(received(&gateways), [20; 4]);

    // What goes to the peer, to the LAN and to the WAN's own network goes where it went before.
    let gateway = gateways.lab().gateway(Side::A);
    let device_to = |to: IpAddr| {
        let way = gateway.sh(&format!("ip route get {to}")).unwrap();
        way.split_once(" dev ").and_then(|(_, rest)| rest.split_whitespace().next().map(str::to_owned)).unwrap()
    };
    assert_eq!(device_to(Side::B.outer(outer)), "wan0");
    for family in FAMILIES {
        assert_eq!(device_to(Side::A.host(family)), "lan0");
        assert_eq!(device_to(far(family)), DEVICE);
    }
    if let Ok(charon) = gateways.charon(Side::A) {
        let tunnel = xtask::lab::scenario::TUNNEL;
        charon.swanctl(&format!("--rekey --ike lk-{tunnel}")).unwrap();
        charon.swanctl("--rekey --child voice.0").unwrap();
        assert_eq!(received(&gateways), [20; 4]);
    }
    let agent = gateways.agent_of(Side::A);
    let config = agent.config().display().to_string();
    assert_eq!(agent.call(&["plan", &config]).unwrap().status.code(), Some(0), "the second plan is not empty");
    let findings = String::from_utf8(agent.call(&["doctor", &config]).unwrap().stdout).unwrap();
    assert!(!findings.contains("loop"), "{findings}");
    let explained = |to: IpAddr, from: IpAddr| {
        let packet = format!("udp {} > {}", SocketAddr::new(from, 4000), SocketAddr::new(to, 5060));
        agent.must(&["explain", &config, &packet]).unwrap()
    };
    for family in FAMILIES {
        let text = explained(far(family), Side::A.host(family));
        assert!(text.contains(&format!("device  {DEVICE}\n")) && text.contains("sa      spi"), "{text}");
    }
    let text = explained(Side::B.outer(outer), Side::A.outer(outer));
    assert!(!text.contains(DEVICE) && !text.contains("sa      spi"), "{text}");

    // Taken away, rules and routes come back.
    let rules =
        || gateway.sh("ip rule; ip -6 rule; ip route show table all proto 76; ip -6 route show table all proto 76");
    let all = rules().unwrap();
    for script in [
        "ip rule del priority 19713",
        "ip -6 rule del priority 19712",
        "ip route flush table 1279983616",
        "ip -6 route flush table 1279983616",
    ] {
        gateway.sh(script).unwrap();
        let began = Instant::now();
        while rules().unwrap() != all {
            assert!(began.elapsed() < REPAIRED, "not repaired after `{script}`:\n{}", rules().unwrap());
            thread::sleep(Duration::from_millis(50));
        }
    }
    assert_eq!(received(&gateways), [20; 4]);

    // Without SAs, and without the device, nothing goes by the machine's own default route.
    gateways.agent(Side::A).stop().unwrap();
    gateway.sh("ip xfrm state flush").unwrap();
    assert_eq!(received(&gateways), [0; 4]);
    gateway.sh(&format!("ip link set {DEVICE} down")).unwrap();
    assert_eq!(received(&gateways), [0; 4]);
    gateway.sh(&format!("ip link del {DEVICE}")).unwrap();
    assert_eq!(received(&gateways), [0; 4]);
    let seen = capture.stop().unwrap();
    assert!(seen.clear == 0 && seen.esp_total() > 0, "{seen:?}");

    gateways.agent_of(Side::A).must(&["down"]).unwrap();
    assert_eq!(dump::difference(&found, &machine(&gateways)), Vec::<String>::new());
}

#[test]
fn attach_around_a_peer_over_ipv4_with_charon() {
    goes_around_the_peer("around", Keying::Psk, Family::V4);
}

#[test]
fn attach_around_a_peer_over_ipv6_with_static_keys() {
    goes_around_the_peer("around6", Keying::Static, Family::V6);
}
