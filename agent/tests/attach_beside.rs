//! Tunnels of every kind beside what others have: their devices, addresses, routes, rules, qdiscs, filters, states, policies, firewall
//! and connections stay as they are while ours come, work and go.

use std::fs;
use std::path::Path;
use std::process::Command;

use xtask::demo::stage::warm_up;
use xtask::lab::dump::difference;
use xtask::lab::gateways::{Gateways, LANES_UP};
use xtask::lab::netns;
use xtask::lab::scenario::{Class, Device, Keying, Scenario};
use xtask::lab::traffic::{Flow, Traffic, assert_whole};
use xtask::lab::{Family, Side};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");
const SIDES: [Side; 2] = [Side::A, Side::B];

fn scenario(device: Device) -> Scenario {
    let port = if device == Device::Bare { "[[port]]\nname = \"lan0\"\n\n" } else { "" };
    Scenario {
        classes: vec![Class::new("voice").fallback("default"), Class::new("default")],
        rules: format!("{port}[[rule]]\nclass = \"voice\"\nprotocol = \"udp\"\ndscp = [\"ef\"]\n"),
        device,
        ..Scenario::four_classes(Keying::Psk)
    }
}

/// What others have at a gateway: each kind of thing that ours are of, next to where ours will be.
fn theirs(gateways: &Gateways, side: Side) {
    let (ours, gateway) = (side.outer(Family::V4), gateways.lab().gateway(side));
    gateway
        .sh(&format!(
            "ip link add their-xfrm type xfrm dev wan0 if_id 900
             ip link add their-vti type vti local {ours} remote 192.0.2.98 key 900
             ip link add their-gre type gre local {ours} remote 192.0.2.97 key 900
             for device in their-xfrm their-vti their-gre; do ip link set $device addrgenmode none up; done
             ip addr add 10.200.0.1/24 dev their-xfrm
             ip route add 10.201.0.0/16 dev their-xfrm metric 7
             ip route add 10.201.0.0/16 dev their-vti table 900
             ip route add unreachable 10.202.0.0/16 proto 77
             ip rule add priority 19000 fwmark 0x100/0x100 lookup 900
             ip -6 rule add priority 19000 fwmark 0x100/0x100 lookup 900
             tc qdisc add dev wan0 root handle 1: prio
             tc qdisc add dev wan0 clsact
             tc filter add dev wan0 egress protocol ip prio 9 u32 match ip dst 192.0.2.77/32 action drop
             tc qdisc add dev lan0 clsact
             tc filter add dev lan0 ingress protocol ip prio 9 u32 match ip dst 192.0.2.77/32 action drop
             ip xfrm state add src {ours} dst 192.0.2.99 proto esp spi 0x900 reqid 900 mode tunnel \
                aead 'rfc4106(gcm(aes))' 0x0102030405060708091011121314151617181920 128
             ip xfrm policy add dir out src 10.201.0.0/16 dst 10.203.0.0/16 tmpl src {ours} dst 192.0.2.99 proto esp reqid 900 mode tunnel
             ip xfrm policy add dir out src 10.201.0.0/16 dst 10.204.0.0/16 mark 1 mask 0xff action block
             nft add table inet theirs
             nft add chain inet theirs forward '{{ type filter hook forward priority 0; }}'
             nft add rule inet theirs forward ip daddr 192.0.2.77 drop"
        ))
        .unwrap();
    // With a trap, so that charon has policies of it in the kernel, too.
    let conf = gateways.lab().files(side).join("theirs.conf");
    let text = format!(
        "connections {{ theirs {{
            version = 2
            local_addrs = {ours}
            remote_addrs = 192.0.2.96
            local {{ auth = psk }}
            remote {{ auth = psk }}
            children {{ theirs {{ local_ts = 10.205.0.0/16
                remote_ts = 10.206.0.0/16
                start_action = trap }} }} }} }}
        secrets {{ ike-theirs {{ secret = theirs }} }}\n"
    );
    fs::write(&conf, text).unwrap();
    gateways.charon(side).unwrap().swanctl(&format!("--load-all --file {}", conf.display())).unwrap();
}

/// All of a gateway, with the firewall and `connections` of charon.
fn machine(gateways: &Gateways, side: Side, connections: &str) -> String {
    let rules = gateways.lab().gateway(side).sh("nft list ruleset").unwrap();
    let known = gateways.charon(side).unwrap().swanctl("--list-conns").unwrap();
    let theirs: String = known
        .lines()
        .skip_while(|line| !line.starts_with(connections))
        .take_while(|line| line.starts_with(connections) || line.starts_with(' '))
        .map(|line| format!("conn {line}\n"))
        .collect();
    assert!(!theirs.is_empty(), "{known}");
    format!("{}# firewall\n{rules}# connections\n{theirs}", gateways.dump(side).unwrap())
}

fn touches_nothing_of_theirs(name: &str, device: Device) {
    // A namespace that is made afterwards has the modules' own devices.
    netns::run(Command::new("modprobe").args(["-a", "ip_vti", "ip6_vti", "ip_gre", "ip6_gre"])).unwrap();
    let mut gateways = Gateways::idle(name, scenario(device), Path::new(BINARY)).unwrap();
    SIDES.iter().for_each(|side| theirs(&gateways, *side));
    let all = |gateways: &Gateways| SIDES.map(|side| machine(gateways, side, "theirs:"));
    let found = all(&gateways);
    assert!(found[0].contains("10.206.0.0/16") && found[0].contains("u32"), "{}", found[0]);
    for side in [Side::B, Side::A] {
        gateways.agent(side).start().unwrap();
    }
    gateways.wait_for_lanes(LANES_UP).unwrap();
    warm_up(gateways.lab()).unwrap();
    let mut flows = Vec::new();
    for (from, port) in [(Side::A, 7000), (Side::B, 7100)] {
        for family in [Family::V4, Family::V6] {
            for dscp in [46, 0] {
                let flow = gateways.lab().flow("beside", from, family, port + u16::from(dscp));
                flows.push(Flow { dscp, count: Some(20), ..flow });
            }
        }
    }
    assert_whole(&Traffic::run(&flows).unwrap());
    for (found, now) in found.iter().zip(all(&gateways)) {
        let lost: Vec<String> = difference(found, &now).into_iter().filter(|line| line.starts_with('-')).collect();
        assert_eq!(lost, Vec::<String>::new());
    }
    for side in SIDES {
        gateways.agent(side).stop().unwrap();
        gateways.agent_of(side).must(&["down"]).unwrap();
    }
    for (found, left) in found.iter().zip(all(&gateways)) {
        assert_eq!(difference(found, &left), Vec::<String>::new());
    }
}

#[test]
fn attach_beside_what_others_have_xfrm() {
    touches_nothing_of_theirs("besidexfrm", Device::Xfrm);
}

#[test]
fn attach_beside_what_others_have_vti() {
    touches_nothing_of_theirs("besidevti", Device::Vti);
}

#[test]
fn attach_beside_what_others_have_gre() {
    touches_nothing_of_theirs("besidegre", Device::Gre);
}

#[test]
fn attach_beside_what_others_have_marks_alone() {
    touches_nothing_of_theirs("besidenone", Device::Bare);
}
