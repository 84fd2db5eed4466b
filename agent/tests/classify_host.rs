//! What a gateway itself sends, by the cgroup of the socket, in a kernel that has SAs to count it.

use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use xtask::lab::cgroup::Cgroup;
use xtask::lab::gateways::Gateways;
use xtask::lab::scenario::{Class, Keying, Scenario};
use xtask::lab::traffic::{Flow, Traffic};
use xtask::lab::{Family, Side};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");

/// Far above what it takes: the CPU is emulated, and the agent looks for cgroups every second.
const LIMIT: Duration = Duration::from_secs(60);

fn scenario() -> Scenario {
    let rule = |class, path| format!("[[rule]]\nclass = \"{class}\"\ncgroup = \"{path}\"\n\n");
    Scenario {
        classes: vec![Class::new("backup"), Class::new("system"), Class::new("default")],
        rules: rule("backup", "/lk-system.slice/lk-backup.service") + &rule("system", "/lk-system.slice"),
        ..Scenario::four_classes(Keying::Static)
    }
}

/// Packets of A's outbound SAs, by the order of the classes.
fn sent(gateways: &Gateways) -> [u64; 3] {
    let packets = gateways.kernel_packets(Side::A).unwrap();
    ["backup", "system", "default"].map(|class| packets[&(class, 0, true)])
}

#[test]
fn classify_host_traffic_of_two_cgroups_takes_two_lanes() {
    let slice = Cgroup::new("/lk-system.slice").unwrap();
    let gateways = Gateways::start("cgroups", scenario(), Path::new(BINARY)).unwrap();
    let address =
        |side: Side, port| SocketAddr::new(side.tunnel_address(Family::V4).parse::<IpNet>().unwrap().addr(), port);
    let flow = |port, count| Flow {
        from: gateways.lab().gateway(Side::A),
        to: gateways.lab().gateway(Side::B),
        source: address(Side::A, port),
        destination: address(Side::B, port),
        count: Some(count),
        ..gateways.lab().flow("host", Side::A, Family::V4, port)
    };
    let send = |flow: Flow| {
        let before = sent(&gateways);
        let tally = Traffic::run(&[flow]).unwrap()[0];
        assert_eq!((tally.sent, tally.lost()), (tally.sent, 0));
        let after = sent(&gateways);
        [0, 1, 2].map(|class| after[class] - before[class])
    };
    // The service is not there when the agent starts, and its packets are of the slice until the agent has seen it.
    let backup = Cgroup::new("/lk-system.slice/lk-backup.service").unwrap();
    let deadline = Instant::now() + LIMIT;
    while backup.during(|| send(flow(7000, 1))) != [1, 0, 0] {
        assert!(Instant::now() < deadline, "the service is not seen within {LIMIT:?}");
        thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(backup.during(|| send(flow(7001, 30))), [30, 0, 0]);
    assert_eq!(slice.during(|| send(flow(7002, 20))), [0, 20, 0]);
    assert_eq!(send(flow(7003, 10)), [0, 0, 10]);
    // What is forwarded is nobody's here, whoever sent it.
    let forwarded = Flow { count: Some(5), ..gateways.lab().flow("forwarded", Side::A, Family::V4, 7004) };
    assert_eq!(backup.during(|| send(forwarded)), [0, 0, 5]);
    drop((gateways, backup, slice));
}
