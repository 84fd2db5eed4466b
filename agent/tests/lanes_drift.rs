//! What somebody takes away behind the agent's back is there again.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use xtask::lab::dump;
use xtask::lab::gateways::{Gateways, LANES_UP};
use xtask::lab::sa;
use xtask::lab::scenario::{DEVICE, Keying, Scenario};
use xtask::lab::{Family, Side};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");

/// Far above what it takes: the CPU is emulated, and the dumps alone take seconds.
const LIMIT: Duration = Duration::from_secs(45);

#[test]
fn lanes_are_put_back_when_somebody_takes_them_away() {
    let mut gateways = Gateways::idle("drift", Scenario::four_classes(Keying::Static), Path::new(BINARY)).unwrap();
    gateways.agent(Side::A).start().unwrap();
    // It serves metrics before the file is in place.
    let planned = |gateways: &Gateways| {
        let agent = gateways.agent_of(Side::A);
        let output = agent.call(&["plan", &agent.config().to_string_lossy()]).unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let start = Instant::now();
    loop {
        let (status, plan) = planned(&gateways);
        if status == Some(0) {
            break;
        }
        let log = gateways.agent_of(Side::A).log();
        assert!(start.elapsed() < Duration::from_secs(60), "not in place, plan exits with {status:?}:\n{plan}{log}");
        sleep(Duration::from_millis(500));
    }
    let gateway = gateways.lab().gateway(Side::A);
    let dumped = |gateways: &Gateways| gateways.dump(Side::A).unwrap();
    let in_place = dumped(&gateways);
    let far = Side::B.lan(Family::V4);
    for script in [
        format!("ip route del {far} dev {DEVICE}"),
        format!("ip route del unreachable {far} metric 4294967294"),
        format!("ip addr del {} dev {DEVICE}", Side::A.tunnel_address(Family::V6)),
        format!("ip link set {DEVICE} mtu 1300"),
        "ip xfrm state flush".to_owned(),
        "ip xfrm policy flush".to_owned(),
    ] {
        // The words about the last repair have been heard.
        sleep(Duration::from_millis(400));
        gateway.sh(&script).unwrap();
        let start = Instant::now();
        loop {
            let left = dump::difference(&in_place, &dumped(&gateways));
            if left.is_empty() {
                break;
            }
            assert!(start.elapsed() < LIMIT, "{script} is not repaired:\n{}", left.join("\n"));
            sleep(Duration::from_millis(100));
        }
        println!("{script}: repaired after {:?}", start.elapsed());
    }
}

/// charon itself never notices.
#[test]
fn lanes_of_charon_are_made_anew_when_somebody_flushes_their_sas_or_policies() {
    let mut gateways = Gateways::start("driftike", Scenario::four_classes(Keying::Psk), Path::new(BINARY)).unwrap();
    let lanes = gateways.scenario().lanes().count();
    for flushed in ["state", "policy"] {
        let gateway = gateways.lab().gateway(Side::A);
        gateway.sh(&format!("ip xfrm {flushed} flush")).unwrap();
        let start = Instant::now();
        loop {
            let states = sa::list(&gateway).unwrap().len();
            let policies = gateway.sh("ip xfrm policy").unwrap().matches("tmpl ").count();
            // A state each way; policies in, forward and out of both families.
            if states >= 2 * lanes && policies >= 6 * lanes {
                break;
            }
            let log = gateways.agent_of(Side::A).log();
            assert!(start.elapsed() < LANES_UP, "{flushed}: {states} states, {policies} policies\n{log}");
            sleep(Duration::from_millis(200));
        }
        gateways.wait_for_lanes(LANES_UP).unwrap();
        println!("{flushed} flush: made anew after {:?}", start.elapsed());
    }
}
