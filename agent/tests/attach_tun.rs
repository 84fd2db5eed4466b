//! Tunnels by the TUN device of charon's kernel-libipsec: one lane, which charon encrypts by itself.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use xtask::demo::stage::warm_up;
use xtask::lab::capture::Capture;
use xtask::lab::gateways::{Gateways, LANES_UP};
use xtask::lab::scenario::{Class, Device, Keying, Scenario, TUN};
use xtask::lab::traffic::{Flow, Traffic};
use xtask::lab::{Family, Side, netns, wait};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");
const SIDES: [Side; 2] = [Side::A, Side::B];
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// A daemon has seen what changed, and done what follows.
const SETTLES: Duration = Duration::from_secs(60);

fn scenario() -> Scenario {
    Scenario {
        classes: vec![Class::new("voice").fallback("default"), Class::new("default")],
        rules: "[[rule]]\nname = \"voice\"\nclass = \"voice\"\nprotocol = \"udp\"\ndscp = [\"ef\"]\n".to_owned(),
        device: Device::Tun,
        ..Scenario::four_classes(Keying::Psk)
    }
}

/// `plan FILE`: its exit status and what it printed.
fn plan(gateways: &Gateways, side: Side) -> (Option<i32>, String) {
    let agent = gateways.agent_of(side);
    let output = agent.call(&["plan", &agent.config().to_string_lossy()]).unwrap();
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// From one LAN to the other; returns how many arrived.
fn received_from(gateways: &Gateways, from: Side) -> u64 {
    let flow = |&family| Flow { count: Some(10), ..gateways.lab().flow("some", from, family, 7000) };
    let flows: Vec<Flow> = FAMILIES.iter().map(flow).collect();
    Traffic::run(&flows).unwrap().iter().map(|tally| tally.received).sum()
}

/// Packets of `class`, and of the lane, that went out of A and came in there.
fn counted(gateways: &Gateways, class: &str) -> [u64; 4] {
    let metrics = gateways.agent_of(Side::A).metrics().unwrap();
    let count =
        |name: &str, class: &str, direction: &str| metrics.count(name, &[("class", class), ("direction", direction)]);
    [("lanekeeper_class_packets_total", class), ("lanekeeper_lane_packets_total", "default")]
        .map(|(name, class)| [count(name, class, "out"), count(name, class, "in")])
        .concat()
        .try_into()
        .unwrap()
}

#[test]
fn attach_tun_counts_classes_in_one_lane_and_blocks_while_charon_is_away() {
    netns::run(Command::new("modprobe").arg("tun")).unwrap();
    let mut gateways = Gateways::idle("tun", scenario(), Path::new(BINARY)).unwrap();
    let found = gateways.dumps().unwrap();
    let capture = Capture::start(&gateways.lab().wan()).unwrap();

    // The peer has no agent yet, and knows nothing of the tunnel.
    gateways.agent(Side::A).start().unwrap();
    assert_eq!(received_from(&gateways, Side::A), 0);
    gateways.agent(Side::B).start().unwrap();
    gateways.wait_for_lanes(LANES_UP).unwrap();
    warm_up(gateways.lab()).unwrap();

    let before = counted(&gateways, "voice");
    let flow = |from: Side, family: Family, dscp: u8, count: u64| {
        let port = 6000 + from as u16 * 100 + u16::from(dscp);
        Flow { dscp, count: Some(count), ..gateways.lab().flow("both", from, family, port) }
    };
    let flows = [
        flow(Side::A, Family::V4, 46, 40),
        flow(Side::A, Family::V6, 46, 20),
        flow(Side::A, Family::V4, 0, 30),
        flow(Side::A, Family::V6, 0, 25),
        flow(Side::B, Family::V4, 46, 35),
        flow(Side::B, Family::V6, 0, 45),
        // The gateway's own.
        Flow {
            from: gateways.lab().gateway(Side::A),
            source: SocketAddr::new([10, 1, 0, 1].into(), 6500),
            ..flow(Side::A, Family::V4, 1, 15)
        },
    ];
    for (flow, tally) in flows.iter().zip(Traffic::run(&flows).unwrap()) {
        assert_eq!((tally.lost(), Some(tally.sent)), (0, flow.count), "{flow:?}");
    }
    let after = counted(&gateways, "voice");
    let moved: Vec<u64> = before.iter().zip(after).map(|(before, after)| after - before).collect();
    // What comes in is of the lane's class.
    assert_eq!(moved, [60, 0, 130, 80], "voice out and in, the lane out and in");
    for side in SIDES {
        let states = gateways.lab().gateway(side).sh("ip xfrm state; ip xfrm policy list nosock").unwrap();
        assert_eq!(states, "", "{side:?}: the kernel has no part in it");
        let (status, text) = plan(&gateways, side);
        assert_eq!(status, Some(0), "the second plan of {side:?} is not empty:\n{text}");
    }
    let agent = gateways.agent_of(Side::A);
    let packet = "udp 10.1.0.2:4000 > 10.2.0.2:5060 dscp ef in lan0";
    let explained = agent.must(&["explain", &agent.config().to_string_lossy(), packet]).unwrap();
    assert!(explained.contains(&format!("device  {TUN}\n")), "{explained}");

    let doctor = agent.call(&["doctor", &agent.config().to_string_lossy()]).unwrap();
    let found_wrong = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert_eq!(doctor.status.code(), Some(0), "{found_wrong}");

    // Somebody takes our route away, and the daemon puts it back.
    let gateway = gateways.lab().gateway(Side::A);
    gateway.sh(&format!("ip route del 10.2.0.0/16 dev {TUN}")).unwrap();
    assert!(wait::until(SETTLES, || plan(&gateways, Side::A).0 == Some(0)), "{}", plan(&gateways, Side::A).1);

    for side in SIDES {
        gateways.agent(side).stop().unwrap();
    }
    gateways.down_to(&found).unwrap();
    for side in SIDES {
        gateways.agent(side).start().unwrap();
    }
    gateways.wait_for_lanes(LANES_UP).unwrap();

    // With charon goes its device: the routes behind it block, and the status says what is missing.
    gateways.take_charon(Side::A).unwrap().kill().unwrap();
    assert_eq!(received_from(&gateways, Side::A), 0);
    let waits = format!("its device {TUN} waits for charon's kernel-libipsec, which makes it");
    let status = || gateways.agent_of(Side::A).must(&["status"]).unwrap();
    assert!(wait::until(SETTLES, || status().contains(&waits)), "{}", status());
    gateways.start_charon(Side::A).unwrap();
    gateways.wait_for_lanes(LANES_UP).unwrap();
    assert!(wait::until(SETTLES, || received_from(&gateways, Side::A) == 20), "{}", gateways.agent_of(Side::A).log());
    assert_eq!(received_from(&gateways, Side::B), 20);
    assert!(wait::until(SETTLES, || plan(&gateways, Side::A).0 == Some(0)), "{}", plan(&gateways, Side::A).1);

    let seen = capture.stop().unwrap();
    assert_eq!(seen.clear, 0, "{seen:?}");
    assert!(seen.esp_total() >= 210 + 40, "{seen:?}");
    // charon copies no DSCP, so that nobody on the way can tell voice from the rest.
    let outer: BTreeSet<u8> = seen.dscp.keys().map(|(_, dscp)| *dscp).collect();
    assert_eq!(outer, BTreeSet::from([0]), "{seen:?}");
}
