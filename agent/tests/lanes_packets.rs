//! Packets that need care: fragments, segments, marks of others, and what they look like on the WAN.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use xtask::demo::stage::warm_up;
use xtask::lab::capture::Capture;
use xtask::lab::gateways::Gateways;
use xtask::lab::netns::Ns;
use xtask::lab::scenario::{Class, Keying, Scenario};
use xtask::lab::traffic::{Flow, Traffic};
use xtask::lab::{Family, Side};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");

#[test]
fn lanes_take_later_fragments_where_the_first_one_goes() {
    let gateways = Gateways::start("fragment", Scenario::four_classes(Keying::Static), Path::new(BINARY)).unwrap();
    let lab = gateways.lab();
    warm_up(lab).unwrap();
    for side in [Side::A, Side::B] {
        // Fragments that fit the tunnel as they are.
        lab.lan(side).sh("ip link set eth0 mtu 1400").unwrap();
    }
    let before = gateways.kernel_packets(Side::A).unwrap();
    // 2,000 bytes: two fragments each, and only the first one has a port.
    let flow = |family, port| Flow { payload: 2000, count: Some(100), ..lab.flow("video", Side::A, family, port) };
    let tallies = Traffic::run(&[flow(Family::V4, 5004), flow(Family::V6, 5005)]).unwrap();
    assert!(tallies.iter().all(|tally| tally.received == 100), "{tallies:?}");
    let after = gateways.kernel_packets(Side::A).unwrap();
    let lane = ("video", 0, true);
    assert_eq!(after[&lane] - before[&lane], 400);
}

#[test]
fn lanes_leave_the_mark_bits_of_others_alone() {
    let gateways = Gateways::start("foreign", Scenario::four_classes(Keying::Static), Path::new(BINARY)).unwrap();
    let lab = gateways.lab();
    warm_up(lab).unwrap();
    let gateway = lab.gateway(Side::A);
    // voice is the first lane: 1 under the mask 0xff, beside the socket's own 0xab00.
    gateway
        .sh("nft add table inet marks
             nft add counter inet marks kept
             nft add chain inet marks output '{ type filter hook output priority 0; }'
             nft add rule inet marks output meta l4proto esp meta mark 0x0000ab01 counter name kept")
        .unwrap();
    let flow = Flow {
        from: gateway.clone(),
        source: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1)), 5060),
        dscp: 46,
        count: Some(50),
        mark: Some(0xab00),
        ..lab.flow("voice", Side::A, Family::V4, 5060)
    };
    let tally = Traffic::run(&[flow]).unwrap()[0];
    let counter = gateway.sh("nft list counter inet marks kept").unwrap();
    assert!(counter.contains("packets 50 "), "{tally:?}\n{counter}");
    assert_eq!(tally.received, 50, "{tally:?}");
}

#[test]
fn lanes_count_what_comes_in_to_the_byte_and_for_its_tenant() {
    let own = [Family::V4, Family::V6].map(|family| format!("\"{}\"", Side::A.host(family))).join(", ");
    let four = Scenario::four_classes(Keying::Static);
    let rules = format!("{}\n[[tenant]]\nname = \"acme\"\nsources = [{own}]\n", four.rules);
    let gateways = Gateways::start("inward", Scenario { rules, ..four }, Path::new(BINARY)).unwrap();
    let lab = gateways.lab();
    warm_up(lab).unwrap();
    let counted = || {
        let metrics = gateways.agent_of(Side::A).metrics().unwrap();
        let of = |name: &str, labels: &[(&str, &str)]| metrics.count(name, labels);
        let class = [("tenant", "acme"), ("class", "voice"), ("direction", "in")];
        let lane = [("class", "voice"), ("lane", "0"), ("direction", "in")];
        [
            of("lanekeeper_class_packets_total", &class),
            of("lanekeeper_class_bytes_total", &class),
            of("lanekeeper_lane_packets_total", &lane),
            of("lanekeeper_lane_bytes_total", &lane),
        ]
    };
    for (family, headers) in [(Family::V4, 28), (Family::V6, 48)] {
        let before = counted();
        let flow = Flow { dscp: 46, payload: 333, count: Some(50), ..lab.flow("voice", Side::B, family, 5060) };
        let tally = Traffic::run(&[flow]).unwrap()[0];
        assert_eq!(tally.received, 50, "{tally:?}");
        let after = counted();
        let came: Vec<u64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
        let bytes = 50 * (333 + headers);
        assert_eq!(came, [50, bytes, 50, bytes], "{family:?}");
    }
}

/// Packets that came in by a device, an offloaded one counted once.
fn packets_in(ns: &Ns, device: &str) -> u64 {
    let text = ns.sh("cat /proc/net/dev").unwrap();
    let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{device}:"))).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn lanes_count_offloaded_tcp_as_the_segments_that_the_kernel_encrypts() {
    const BYTES: usize = 2 << 20;
    let gateways = Gateways::start("offload", Scenario::four_classes(Keying::Static), Path::new(BINARY)).unwrap();
    let lab = gateways.lab();
    warm_up(lab).unwrap();
    for side in [Side::A, Side::B] {
        // Segments that fit the tunnel.
        lab.lan(side).sh("ip link set eth0 mtu 1400").unwrap();
    }
    let gateway = lab.gateway(Side::A);
    let lane = ("default", 0, true);
    let kernel = || gateways.kernel_packets(Side::A).unwrap()[&lane];
    // Until nothing passes between two looks.
    let counted = || loop {
        let (encrypted, counted) = (kernel(), gateways.metric_packets(Side::A).unwrap()[&lane]);
        if kernel() == encrypted {
            return (encrypted, counted);
        }
    };
    for family in [Family::V4, Family::V6] {
        let (before, came_before) = (counted(), packets_in(&gateway, "lan0"));
        let at = SocketAddr::new(Side::B.host(family), 7000);
        let listener = lab.lan(Side::B).run(|| Ok(TcpListener::bind(at)?)).unwrap();
        let receiver = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = Vec::new();
            // The last word is the sender's, who closes first.
            stream.read_to_end(&mut bytes).unwrap()
        });
        let mut sender = lab.lan(Side::A).run(|| Ok(TcpStream::connect(at)?)).unwrap();
        sender.write_all(&vec![0x4c; BYTES]).unwrap();
        drop(sender);
        assert_eq!(receiver.join().unwrap(), BYTES);
        // The last acknowledgements cross.
        std::thread::sleep(std::time::Duration::from_secs(1));
        let (after, came) = (counted(), packets_in(&gateway, "lan0") - came_before);
        let (encrypted, ours) = (after.0 - before.0, after.1 - before.1);
        println!("{family:?}: {came} packets from the LAN, {encrypted} encrypted, {ours} counted");
        // How many segments come as one depends on how fast the guest is; without offload none do.
        assert!(
            encrypted >= (BYTES / 1400) as u64 && came < encrypted * 9 / 10,
            "{came} packets from the LAN, {encrypted} encrypted"
        );
        assert_eq!(encrypted, ours, "{family:?}");
    }
}

#[test]
fn lanes_with_an_outer_dscp_show_it_on_esp_and_the_others_what_is_inside() {
    const EF: u8 = 46;
    const AF11: u8 = 10;
    const CS1: u8 = 8;
    // By port, so that the inner DSCP is free.
    let scenario = Scenario {
        classes: vec![Class::new("voice").outer_dscp("ef"), Class::new("default")],
        rules: "[[rule]]\nclass = \"voice\"\nprotocol = \"udp\"\ndestination-port = [5060]\n".to_owned(),
        ..Scenario::four_classes(Keying::Static)
    };
    let gateways = Gateways::start("outer", scenario, Path::new(BINARY)).unwrap();
    let lab = gateways.lab();
    warm_up(lab).unwrap();
    let capture = Capture::start(&lab.wan()).unwrap();
    let before = gateways.kernel_packets(Side::A).unwrap();
    let flow = |family, port, dscp, count| Flow { dscp, count: Some(count), ..lab.flow("flow", Side::A, family, port) };
    let flows = [
        flow(Family::V4, 5060, 0, 50),
        flow(Family::V6, 5060, CS1, 60),
        flow(Family::V4, 7000, AF11, 40),
        flow(Family::V6, 7001, AF11, 30),
    ];
    let tallies = Traffic::run(&flows).unwrap();
    assert!(tallies.iter().all(|tally| tally.lost() == 0), "{tallies:?}");
    let after = gateways.kernel_packets(Side::A).unwrap();
    let voice = ("voice", 0, true);
    assert_eq!(after[&voice] - before[&voice], 110);
    let seen = capture.stop().unwrap();
    let by_dscp = |dscp| seen.dscp.get(&(Side::A.outer(Family::V4), dscp)).copied().unwrap_or(0);
    assert_eq!([EF, CS1, AF11].map(by_dscp), [110, 0, 70], "{seen:?}");
}
