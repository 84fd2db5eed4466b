//! Lanes that are down: fallback, then block, and never cleartext.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use xtask::demo::stage::warm_up;
use xtask::lab::capture::Capture;
use xtask::lab::gateways::{Gateways, LANES_UP};
use xtask::lab::scenario::{Class, Keying, Scenario};
use xtask::lab::traffic::{Flow, Traffic};
use xtask::lab::{Family, Side};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");

/// Ports of the classes `video` and `gold`.
const VIDEO: u16 = 5004;
const GOLD: u16 = 6000;

/// video falls back to bulk, bulk to default; gold to nothing.
fn chain() -> Scenario {
    Scenario {
        classes: vec![
            Class::new("voice"),
            Class::new("video").fallback("bulk"),
            Class::new("bulk").fallback("default"),
            Class::new("gold"),
            Class::new("default"),
        ],
        rules: format!(
            "[[rule]]\nclass = \"voice\"\ndscp = [\"ef\"]\n\n\
             [[rule]]\nclass = \"video\"\nprotocol = \"udp\"\ndestination-port = [{VIDEO}]\n\n\
             [[rule]]\nclass = \"gold\"\nprotocol = \"udp\"\ndestination-port = [{GOLD}]\n"
        ),
        ..Scenario::four_classes(Keying::Psk)
    }
}

/// The far end knows neither video nor bulk nor gold, and refuses their lanes.
fn without_middle() -> Scenario {
    Scenario { classes: vec![Class::new("voice"), Class::new("default")], rules: String::new(), ..chain() }
}

#[test]
fn lanes_that_are_down_fall_back_along_the_chain_or_block_and_never_leak() {
    let mut gateways = Gateways::idle("chain", chain(), Path::new(BINARY)).unwrap();
    let shared = gateways.lab().shared().to_owned();
    without_middle().write(Side::B, &gateways.lab().files(Side::B), &shared).unwrap();
    let capture = Capture::start(&gateways.lab().wan()).unwrap();

    // Nothing is up: A's agent is alone.
    gateways.agent(Side::A).start().unwrap();
    let flow = |name: &str, family, port, dscp| Flow {
        dscp,
        count: Some(60),
        ..gateways.lab().flow(name, Side::A, family, port)
    };
    let flows = [
        flow("video", Family::V4, VIDEO, 0),
        flow("video", Family::V6, VIDEO, 0),
        flow("gold", Family::V4, GOLD, 0),
        flow("voice", Family::V4, 5060, 46),
    ];
    let tallies = Traffic::run(&flows).unwrap();
    assert!(tallies.iter().all(|tally| tally.sent == 60 && tally.received == 0), "{tallies:?}");
    let blocked = |gateways: &Gateways, class: &str| {
        gateways.agent_of(Side::A).metrics().unwrap().count("lanekeeper_blocked_packets_total", &[("class", class)])
    };
    assert_eq!(["video", "gold", "voice"].map(|class| blocked(&gateways, class)), [120, 60, 60]);

    // Two of five come up; the far end refuses the rest.
    gateways.agent(Side::B).start().unwrap();
    for side in [Side::A, Side::B] {
        gateways.agent(side).wait_for_lanes(2, LANES_UP).unwrap();
    }
    warm_up(gateways.lab()).unwrap();
    let tallies = Traffic::run(&flows).unwrap();
    let received: Vec<u64> = tallies.iter().map(|tally| tally.received).collect();
    assert_eq!(received, [60, 60, 0, 60], "{tallies:?}");
    let metrics = gateways.agent_of(Side::A).metrics().unwrap();
    let fell = |class, to| metrics.count("lanekeeper_fallback_packets_total", &[("class", class), ("to", to)]);
    assert_eq!((fell("video", "default"), fell("video", "bulk")), (120, 0));
    assert_eq!(["video", "gold", "voice"].map(|class| blocked(&gateways, class)), [120, 120, 60]);
    let lane = |class| metrics.count("lanekeeper_lane_packets_total", &[("class", class), ("direction", "out")]);
    assert_eq!((lane("video"), lane("gold"), lane("voice")), (0, 0, 60));

    // The far end learns them; the lanes come up and take their packets back.
    chain().write(Side::B, &gateways.lab().files(Side::B), &shared).unwrap();
    gateways.agent(Side::B).hang_up().unwrap();
    gateways.wait_for_lanes(Duration::from_secs(150)).unwrap();
    let tallies = Traffic::run(&flows).unwrap();
    assert!(tallies.iter().all(|tally| tally.lost() == 0), "{tallies:?}");
    let metrics = gateways.agent_of(Side::A).metrics().unwrap();
    let lane = |class| metrics.count("lanekeeper_lane_packets_total", &[("class", class), ("direction", "out")]);
    assert_eq!((lane("video"), lane("gold"), lane("voice")), (120, 60, 120));

    let seen = capture.stop().unwrap();
    assert_eq!(seen.clear, 0, "{seen:?}");
}

#[test]
fn lanes_going_down_and_up_take_effect_within_100_ms() {
    let gateways = Gateways::start("updown", Scenario::four_classes(Keying::Psk), Path::new(BINARY)).unwrap();
    warm_up(gateways.lab()).unwrap();
    let capture = Capture::start(&gateways.lab().wan()).unwrap();
    // 200 packets a second: 20 of them in 100 ms.
    let voice = Flow { dscp: 46, rate: 200, ..gateways.lab().flow("voice", Side::A, Family::V4, 5060) };
    let traffic = Traffic::start(&[voice]).unwrap();
    let mut worst = 0;
    for _ in 0..5 {
        thread::sleep(Duration::from_secs(1));
        let before = traffic.tallies()[0].lost();
        gateways.charon(Side::A).unwrap().swanctl("--terminate --child voice.0").unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let up = |side: Side| {
            let metrics = gateways.agent_of(side).metrics().unwrap();
            metrics.sum("lanekeeper_lane_up", &[]) as usize == gateways.scenario().lanes().count()
        };
        thread::sleep(Duration::from_millis(500));
        while !(up(Side::A) && up(Side::B)) {
            assert!(Instant::now() < deadline, "the lane was not initiated again");
            thread::sleep(Duration::from_millis(50));
        }
        thread::sleep(Duration::from_secs(1));
        // What is under way is no loss: a few packets at most.
        worst = worst.max(traffic.tallies()[0].lost().saturating_sub(before));
    }
    let tally = traffic.stop().unwrap()[0];
    println!("5 times down and up: {tally:?}, at most {worst} packets lost at once");
    assert!(worst <= 20, "{worst} packets of 5 ms each were lost at once: {tally:?}");
    let metrics = gateways.agent_of(Side::A).metrics().unwrap();
    let lane = metrics.count("lanekeeper_lane_packets_total", &[("class", "voice"), ("direction", "out")]);
    assert!(lane > tally.sent / 2, "voice took its lane back: {lane} of {}", tally.sent);
    assert_eq!(capture.stop().unwrap().clear, 0);
}
