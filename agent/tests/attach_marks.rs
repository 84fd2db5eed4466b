//! Tunnels without a device: marks of ports and sockets choose the lane, policies do the rest, and nothing is sent in clear.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use lanekeeper::explain::capture;
use xtask::lab::capture::Capture;
use xtask::lab::cgroup::Cgroup;
use xtask::lab::gateways::{Gateways, LANES_UP};
use xtask::lab::observe::{Observe, Observed};
use xtask::lab::scenario::{Class, Device, Keying, Scenario, TUNNEL};
use xtask::lab::traffic::{Flow, Tally, Traffic};
use xtask::lab::{Family, Side, sa};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");
const SIDES: [Side; 2] = [Side::A, Side::B];
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
const EF: u8 = 46;
const VIDEO: u16 = 5004;
const BULK: u16 = 9000;
/// What the gateway itself sends from this cgroup is bulk.
const CGROUP: &str = "/lanekeeper-marks";

/// Bulk's second lane has a mark behind those of the classes.
fn scenario(keying: Keying, outer: Family) -> Scenario {
    Scenario {
        classes: vec![
            Class::new("voice").fallback("default"),
            Class::new("default"),
            Class::new("bulk").lanes(2).fallback("default"),
            Class::new("video").fallback("default"),
        ],
        rules: format!(
            "[[port]]\nname = \"lan0\"\n\n[host]\nmark-sockets = true\n\n\
             [[rule]]\nname = \"own\"\nclass = \"bulk\"\ncgroup = \"{CGROUP}\"\n\n\
             [[rule]]\nname = \"voice\"\nclass = \"voice\"\nprotocol = \"udp\"\ndscp = [\"ef\"]\n\n\
             [[rule]]\nname = \"video\"\nclass = \"video\"\nprotocol = \"udp\"\ndestination-port = [{VIDEO}]\n\n\
             [[rule]]\nname = \"bulk\"\nclass = \"bulk\"\nprotocol = \"udp\"\ndestination-port = [\"9000-9999\"]\n"
        ),
        device: Device::Bare,
        outer,
        mask: 0xf0,
        ..Scenario::four_classes(keying)
    }
}

/// Every class and both families, each way another number of packets.
fn both_ways(gateways: &Gateways) -> Vec<(Flow, Tally)> {
    let lab = gateways.lab();
    let mut flows = Vec::new();
    for (from, family, dscp, port, count) in [
        (Side::A, Family::V4, EF, 6000, 40),
        (Side::A, Family::V6, EF, 6001, 20),
        (Side::A, Family::V4, 0, VIDEO, 30),
        (Side::A, Family::V6, 0, 6003, 25),
        (Side::B, Family::V4, EF, 6004, 35),
        (Side::B, Family::V6, 0, VIDEO, 45),
        (Side::B, Family::V4, 0, 6006, 15),
    ] {
        flows.push(Flow { dscp, count: Some(count), ..lab.flow("both", from, family, port) });
    }
    for port in BULK..BULK + 8 {
        flows.push(Flow { count: Some(5), ..lab.flow("bulk", Side::A, Family::V4, port) });
    }
    let tallies = Traffic::run(&flows).unwrap();
    flows.into_iter().zip(tallies).collect()
}

fn nothing_is_lost(gateways: &Gateways) {
    for (flow, tally) in both_ways(gateways) {
        assert_eq!((tally.lost(), Some(tally.sent)), (0, flow.count), "{flow:?}");
    }
}

/// From A's LAN to B's; returns how many arrived. From A itself nothing can be sent, as no rule is for it.
fn received(gateways: &Gateways) -> u64 {
    let refused = Traffic::run(&[Flow { count: Some(1), ..own(gateways, 7001) }]).unwrap_err();
    assert!(format!("{refused:#}").contains("Operation not permitted"), "{refused:#}");
    let flows = FAMILIES.map(|family| Flow { count: Some(10), ..gateways.lab().flow("some", Side::A, family, 7000) });
    Traffic::run(&flows).unwrap().iter().map(|tally| tally.received).sum()
}

/// From A itself, by its address in the LAN.
fn own(gateways: &Gateways, port: u16) -> Flow {
    let source = SocketAddr::new([10, 1, 0, 1].into(), port);
    Flow { from: gateways.lab().gateway(Side::A), source, ..gateways.lab().flow("own", Side::A, Family::V4, port) }
}

/// Packets by class and direction of all its lanes.
fn by_class(gateways: &Gateways, side: Side) -> BTreeMap<(&'static str, bool), u64> {
    let mut all = BTreeMap::new();
    for ((class, _, out), packets) in gateways.metric_packets(side).unwrap() {
        *all.entry((class, out)).or_default() += packets;
    }
    all
}

/// What it counts more than `before`, of what is more.
fn more(
    before: &BTreeMap<(&'static str, bool), u64>,
    after: BTreeMap<(&'static str, bool), u64>,
) -> Vec<((&'static str, bool), u64)> {
    after.into_iter().map(|(of, n)| (of, n - before[&of])).filter(|(_, n)| *n != 0).collect()
}

fn carries_both_ways_and_leaves_nothing(name: &str, keying: Keying, outer: Family) {
    let cgroup = Cgroup::new(CGROUP).unwrap();
    let mut gateways = Gateways::idle(name, scenario(keying, outer), Path::new(BINARY)).unwrap();
    let found = gateways.dumps().unwrap();
    let capture = Capture::start(&gateways.lab().wan()).unwrap();

    // The peer is not there yet, and then no agent either.
    let config = gateways.agent_of(Side::A).config().to_string_lossy().into_owned();
    if keying != Keying::Static {
        gateways.agent_of(Side::A).must(&["apply", &config]).unwrap();
        assert_eq!(received(&gateways), 0);
    }
    gateways.agent(Side::A).start().unwrap();
    // Somebody watches, where there is more to see.
    let watch = (keying != Keying::Static)
        .then(|| Observe::start(gateways.agent_of(Side::A), &["--rate", "1000", "--tunnel", TUNNEL]).unwrap());
    assert_eq!(received(&gateways), 0);
    gateways.agent(Side::B).start().unwrap();
    gateways.wait_for_lanes(LANES_UP).unwrap();

    let before = SIDES.map(|side| by_class(&gateways, side));
    nothing_is_lost(&gateways);
    let wanted = [
        (("bulk", true), 40),
        (("default", false), 15),
        (("default", true), 25),
        (("video", false), 45),
        (("video", true), 30),
        (("voice", false), 35),
        (("voice", true), 60),
    ];
    assert_eq!(more(&before[0], by_class(&gateways, Side::A)), wanted);
    let mirrored = wanted.map(|((class, out), packets)| ((class, !out), packets));
    let seen: BTreeMap<_, _> = more(&before[1], by_class(&gateways, Side::B)).into_iter().collect();
    assert_eq!(seen, mirrored.into());
    for side in SIDES {
        let (kernel, counted) = (gateways.kernel_packets(side).unwrap(), gateways.metric_packets(side).unwrap());
        println!("{side:?}: {kernel:?}");
        assert_eq!(kernel, counted, "{side:?}");
        assert!(side == Side::B || (0..2).all(|lane| kernel[&("bulk", lane, true)] > 0), "{kernel:?}");
        let agent = gateways.agent_of(side);
        let output = agent.call(&["plan", &agent.config().to_string_lossy()]).unwrap();
        assert_eq!(output.status.code(), Some(0), "the second plan of {side:?} is not empty: {output:?}");
    }

    // The gateway's own, where its socket has a mark; no port counts it.
    let sent = gateways.kernel_packets(Side::A).unwrap()[&("bulk", 0, true)];
    let tallies = cgroup.during(|| Traffic::run(&[Flow { count: Some(12), ..own(&gateways, 6500) }]).unwrap());
    assert_eq!((tallies[0].sent, tallies[0].lost()), (12, 0));
    assert_eq!(gateways.kernel_packets(Side::A).unwrap()[&("bulk", 0, true)] - sent, 12);

    let agent = gateways.agent_of(Side::A);
    let packet = "udp 10.1.0.2:4000 > 10.2.0.2:5060 dscp ef mark 0x1000 in lan0";
    let explained = agent.must(&["explain", &config, packet]).unwrap();
    for part in
        ["device  wan0\n", "policy  src 10.1.0.0/16 dst 10.2.0.0/16 mark 0x10/0xf0 if_id 0 ", "\nsa      spi 0x"]
    {
        assert!(explained.contains(part), "{part:?} is not in:\n{explained}");
    }
    let status = agent.must(&["status"]).unwrap();
    assert!(status.contains("no device"), "{status}");

    if keying != Keying::Static {
        falls_back_where_the_peer_has_no_lane(&mut gateways);
    }

    if let Some(watch) = &watch {
        watch.wait_for(20, &[7000]).unwrap();
        watch.wait_for(96, &[VIDEO]).unwrap();
    }

    // Without the agent packets keep to their lanes, without charon too.
    gateways.agent(Side::A).kill().unwrap();
    if let Some(watch) = watch {
        all_was_seen(watch);
    }
    nothing_is_lost(&gateways);
    if keying != Keying::Static {
        gateways.take_charon(Side::A).unwrap().kill().unwrap();
        nothing_is_lost(&gateways);
    }
    // Without SAs, and then without their policies, nothing leaves.
    gateways.agent(Side::B).stop().unwrap();
    let gateway = gateways.lab().gateway(Side::A);
    gateway.sh("ip xfrm state flush").unwrap();
    assert_eq!(received(&gateways), 0);
    let delete = "ip xfrm policy list nosock | awk '/^src/ {s = $2; d = $4} /dir/ {way = $2} /mark/ {print way, s, d, $2}' | tr / ' ' | \
                  while read way s sl d dl m mask; do \
                  ip xfrm policy delete dir $way src $s/$sl dst $d/$dl mark $m mask 0xf0; done";
    gateway.sh(delete).unwrap();
    assert_eq!(gateway.sh("ip xfrm policy list nosock | grep -c mark || true").unwrap().trim(), "0");
    let blocked = || sa::errors(&gateways.lab().gateway(Side::A)).unwrap()["XfrmOutPolBlock"];
    let before = blocked();
    assert_eq!(received(&gateways), 0);
    assert!(blocked() >= before + 20, "{} {before}", blocked());
    let seen = capture.stop().unwrap();
    assert_eq!(seen.clear, 0, "{seen:?}");
    assert!(seen.esp_total() > 255, "{seen:?}");

    if keying != Keying::Static {
        gateways.start_charon(Side::A).unwrap();
    }
    gateways.down_to(&found).unwrap();
}

/// B gives video's lane up: A's video goes with default's, and is counted as such.
fn falls_back_where_the_peer_has_no_lane(gateways: &mut Gateways) {
    let config = gateways.agent_of(Side::B).config();
    let file = fs::read_to_string(&config).unwrap();
    let fewer = file.replace(
        "classes = [\"voice\", \"default\", \"bulk\", \"video\"]",
        "classes = [\"voice\", \"default\", \"bulk\"]",
    );
    assert_ne!(file, fewer);
    fs::write(&config, fewer).unwrap();
    gateways.agent(Side::B).hang_up().unwrap();
    gateways.agent(Side::A).wait_for_lanes(4, LANES_UP).unwrap();
    let before = by_class(gateways, Side::A);
    let video = Flow { count: Some(21), ..gateways.lab().flow("video", Side::A, Family::V6, VIDEO) };
    let tallies = Traffic::run(&[video]).unwrap();
    assert_eq!((tallies[0].sent, tallies[0].lost()), (21, 0));
    assert_eq!(more(&before, by_class(gateways, Side::A)), [(("default", true), 21)]);
    let labels = [("tunnel", TUNNEL), ("class", "video"), ("to", "default")];
    let metrics = gateways.agent_of(Side::A).metrics().unwrap();
    assert_eq!(metrics.count("lanekeeper_fallback_packets_total", &labels), 21);
}

/// What was blocked, what went each way, and what fell back, at the port and at the WAN, each packet once.
fn all_was_seen(watch: Observe) {
    let pcap = watch.pcap().to_owned();
    let Observed { code, lines, said } = watch.end().unwrap();
    assert!(code == 2 && said.contains("the agent has ended"), "{code}: {said}");
    let mut frames = 0;
    capture::read(&pcap, |_| frames += 1).unwrap();
    assert_eq!(frames, lines.len());
    let mut seen: BTreeMap<_, u64> = BTreeMap::new();
    for line in lines.iter().filter(|line| line["protocol"] == "udp") {
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let out = text("direction") == "out";
        let (device, interface) = if out { ("lan0", "lan0") } else { ("wan0", "") };
        let at = [text("device"), text("interface"), text("tunnel")];
        assert_eq!(at, [device, interface, TUNNEL], "{line}");
        // The lane's mark under the mask.
        let marks = match (out, text("lane").as_str()) {
            (true, "voice.0") => line["mark"] == 0x10,
            (true, "default.0") => line["mark"] == 0x20,
            (true, lane) => line["mark"].is_u64() != lane.is_empty(),
            (false, _) => line["mark"].is_null(),
        };
        assert!(marks, "{line}");
        let port = line["destination_port"].as_u64().unwrap();
        // Flows of bulk are spread over its lanes.
        let port = if port >= BULK.into() { BULK.into() } else { port };
        let lane = text("lane").split('.').next().unwrap_or_default().to_owned();
        let why = text("blocked") + &text("fallback");
        *seen.entry((port, out, text("class"), text("rule"), lane, why)).or_default() += 1;
    }
    let wanted = [
        (5004, false, "video", "", "video", "", 45),
        (5004, true, "video", "video", "default", "no_lane", 21),
        (5004, true, "video", "video", "video", "", 30),
        (6000, true, "voice", "voice", "voice", "", 40),
        (6001, true, "voice", "voice", "voice", "", 20),
        (6003, true, "default", "", "default", "", 25),
        (6004, false, "voice", "", "voice", "", 35),
        (6006, false, "default", "", "default", "", 15),
        (7000, true, "default", "", "", "no_lane", 20),
        (9000, true, "bulk", "bulk", "bulk", "", 40),
    ];
    let wanted = wanted.map(|(port, out, class, rule, lane, why, n)| {
        ((port, out, class.to_owned(), rule.to_owned(), lane.to_owned(), why.to_owned()), n)
    });
    assert_eq!(seen, wanted.into(), "{said}");
}

/// A host of A's LAN with an address that no selector knows, the one that NAT gives it, and the bits of the mark that its
/// connections have from A's firewall.
const HIDDEN: &str = "192.168.50.2";
const SHOWN: &str = "10.1.0.77";
const CONNECTION: u32 = 0x300;

/// A's firewall goes by the marks of lanes: it gives voice another source, and what came by default's lane another destination; and it
/// keeps a mark of its own with each connection, beside ours.
fn translate(gateways: &Gateways) {
    // Nobody there listens at the address that is given, and nobody is to be told so.
    let host = format!(
        "ip addr add {HIDDEN}/24 dev eth0
         ip addr add {SHOWN}/32 dev eth0
         nft add table ip quiet
         nft add chain ip quiet output '{{ type filter hook output priority filter; }}'
         nft add rule ip quiet output ip protocol icmp drop"
    );
    gateways.lab().lan(Side::A).sh(&host).unwrap();
    let script = format!(
        "ip addr add 192.168.50.1/24 dev lan0
         nft add table ip nat
         nft add chain ip nat post '{{ type nat hook postrouting priority srcnat; }}'
         nft add chain ip nat pre '{{ type nat hook prerouting priority dstnat; }}'
         nft add rule ip nat post ip saddr {HIDDEN} meta mark and 0xf0 == 0x10 snat to {SHOWN}
         nft add rule ip nat pre ip daddr {SHOWN} meta mark and 0xf0 == 0x20 dnat to {HIDDEN}
         iptables -t mangle -A PREROUTING -m conntrack --ctstate NEW -j CONNMARK --set-xmark {CONNECTION:#x}/0xff00
         iptables -t mangle -A PREROUTING -j CONNMARK --restore-mark --nfmask 0xff00 --ctmask 0xff00
         nft add table ip seen
         nft add chain ip seen forward '{{ type filter hook forward priority filter; }}'
         nft add rule ip seen forward iifname lan0 meta mark {out:#x} counter
         nft add rule ip seen forward oifname lan0 ip daddr {HIDDEN} meta mark {back:#x} counter",
        out = CONNECTION | 0x10,
        back = CONNECTION | 0x20,
    );
    gateways.lab().gateway(Side::A).sh(&script).unwrap();
}

#[test]
fn attach_marks_leave_nat_and_marks_of_connections_to_a_firewall() {
    let _cgroup = Cgroup::new(CGROUP).unwrap();
    let scenario = scenario(Keying::Static, Family::V4);
    let mut gateways = Gateways::idle("marksnat", scenario, Path::new(BINARY)).unwrap();
    for side in SIDES {
        gateways.agent(side).start().unwrap();
    }
    gateways.wait_for_lanes(LANES_UP).unwrap();
    let capture = Capture::start(&gateways.lab().wan()).unwrap();
    translate(&gateways);
    let before = by_class(&gateways, Side::A);
    let lab = gateways.lab();
    let at = |address: &str, port: u16| SocketAddr::new(address.parse().unwrap(), port);
    let voice =
        Flow { dscp: EF, source: at(HIDDEN, 26000), count: Some(30), ..lab.flow("out", Side::A, Family::V4, 6000) };
    let back = Flow { destination: at(SHOWN, 7300), count: Some(20), ..lab.flow("back", Side::B, Family::V4, 7300) };
    let received: Vec<u64> = Traffic::run(&[voice, back]).unwrap().iter().map(|tally| tally.received).collect();
    // Who is asked for there is another address of the same host.
    assert_eq!(received, [30, 0]);
    assert_eq!(more(&before, by_class(&gateways, Side::A)), [(("default", false), 20), (("voice", true), 30)]);
    let seen = gateways.lab().gateway(Side::A).sh("nft list chain ip seen forward").unwrap();
    assert!(seen.contains("counter packets 30 ") && seen.contains("counter packets 20 "), "{seen}");
    let seen = capture.stop().unwrap();
    assert!(seen.clear == 0 && seen.esp_total() >= 50, "{seen:?}");
}

#[test]
fn attach_marks_with_charon() {
    carries_both_ways_and_leaves_nothing("marks", Keying::Psk, Family::V4);
}

#[test]
fn attach_marks_with_static_keys() {
    carries_both_ways_and_leaves_nothing("markstat", Keying::Static, Family::V6);
}
