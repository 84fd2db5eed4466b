//! A peer that has strongSwan alone, configured as README.md says.

use std::fs;
use std::path::Path;
use std::process::Command;

use xtask::lab::gateways::{Gateways, LANES_UP};
use xtask::lab::handmade;
use xtask::lab::scenario::{Class, Keying, PSK, Scenario};
use xtask::lab::traffic::{Flow, Traffic};
use xtask::lab::{Family, Side, sa};

/// README's `swanctl.conf`, with the addresses and the secret of the lab and a child for each lane.
fn swanctl_conf(lanes: &[String]) -> String {
    let readme = include_str!("../../README.md");
    let (_, section) = readme.split_once("## A peer without Lanekeeper").unwrap();
    let conf = section.split("```").nth(1).unwrap();
    let (head, rest) = conf.split_once("            voice-0 {").unwrap();
    let (child, tail) = rest.split_once("            # bulk-0").unwrap();
    let (_, tail) = tail.split_once('\n').unwrap();
    let children: String = lanes
        .iter()
        .zip(1..)
        .map(|(lane, mark)| {
            let name = lane.replace('.', "-");
            format!("            {name} {{{}", child.replace("voice.0", lane).replace("0x1/", &format!("{mark:#x}/")))
        })
        .collect();
    format!("{head}{children}{tail}")
        .replace("192.0.2.1", &Side::A.outer(Family::V4).to_string())
        .replace("192.0.2.2", &Side::B.outer(Family::V4).to_string())
        .replace("\"...\"", &format!("\"{PSK}\""))
}

#[test]
fn lanes_come_up_with_a_peer_configured_by_hand() {
    carries("peer", |_, lanes| swanctl_conf(lanes));
}

#[test]
fn attach_swanctl_prints_what_a_peer_needs() {
    carries("printed", |config, _| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lanekeeper"));
        let printed = command.arg("swanctl").arg(config).arg("--peer").output().unwrap();
        assert!(printed.status.success(), "{printed:?}");
        let text = String::from_utf8(printed.stdout).unwrap();
        assert!(!text.contains(PSK), "{text}");
        text.replace("# secret = \"...\"", &format!("secret = \"{PSK}\""))
    });
}

/// Has the far end load a `swanctl.conf` made from our config's path and the labels, and sees packets on their lanes.
fn carries(name: &str, conf_of: impl FnOnce(&Path, &[String]) -> String) {
    let scenario = Scenario {
        classes: vec![Class::new("voice").fallback("default"), Class::new("bulk").lanes(2), Class::new("default")],
        ..Scenario::four_classes(Keying::Psk)
    };
    let scenario = Scenario { rules: "[[rule]]\nclass = \"voice\"\ndscp = [\"ef\"]\n".into(), ..scenario };
    let lanes: Vec<String> = scenario.lanes().map(|(class, index)| format!("{class}.{index}")).collect();
    let mut gateways = Gateways::idle(name, scenario, Path::new(env!("CARGO_BIN_EXE_lanekeeper"))).unwrap();
    let far = gateways.lab().gateway(Side::B);
    let conf = gateways.lab().files(Side::B).join("swanctl.conf");
    let config = gateways.lab().files(Side::A).join("config.toml");
    fs::write(&conf, conf_of(&config, &lanes)).unwrap();
    gateways.charon(Side::B).unwrap().swanctl(&format!("--load-all --file {}", conf.display())).unwrap();
    // What the peer must do by itself: the device, the route, the marks of what it sends (EF on voice, mark 1).
    handmade::peer(gateways.lab(), 4, &[("ip dscp ef", 1)]).unwrap();

    gateways.agent(Side::A).start().unwrap();
    gateways.agent(Side::A).wait_for_lanes(lanes.len(), LANES_UP).unwrap();
    let flow = |from, port, dscp| Flow { dscp, count: Some(40), ..gateways.lab().flow("peer", from, Family::V4, port) };
    let flows = [flow(Side::A, 5060, 46), flow(Side::A, 7000, 0), flow(Side::B, 5060, 46), flow(Side::B, 7000, 0)];
    let tallies = Traffic::run(&flows).unwrap();
    assert!(tallies.iter().all(|tally| tally.lost() == 0), "{tallies:?}\n{:?}", sa::errors(&far));

    let metrics = gateways.agent_of(Side::A).metrics().unwrap();
    let lane = |class, way| metrics.count("lanekeeper_lane_packets_total", &[("class", class), ("direction", way)]);
    assert_eq!((lane("voice", "out"), lane("voice", "in")), (40, 40));
    assert!(lane("default", "out") >= 40 && lane("default", "in") >= 40);
    assert_eq!(lane("bulk", "out") + lane("bulk", "in"), 0);
}
