//! Packets that need care: fragments, and marks of others.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use xtask::demo::stage::warm_up;
use xtask::lab::gateways::Gateways;
use xtask::lab::scenario::{Keying, Scenario};
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
