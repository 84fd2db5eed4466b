//! What somebody takes away behind the agent's back is there again.

use std::fs;
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

/// An agent whose file is in place, and what there is of it.
fn in_place(name: &str) -> (Gateways, String) {
    let mut gateways = Gateways::idle(name, Scenario::four_classes(Keying::Static), Path::new(BINARY)).unwrap();
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
    let dumped = gateways.dump(Side::A).unwrap();
    (gateways, dumped)
}

/// Waits until all is there again, and says how long that took.
fn repaired(gateways: &Gateways, in_place: &str, after: &str) -> Duration {
    let start = Instant::now();
    loop {
        let left = dump::difference(in_place, &gateways.dump(Side::A).unwrap());
        if left.is_empty() {
            return start.elapsed();
        }
        let log = gateways.agent_of(Side::A).log();
        assert!(start.elapsed() < LIMIT, "{after} is not repaired:\n{}\n{log}", left.join("\n"));
        sleep(Duration::from_millis(100));
    }
}

#[test]
fn lanes_are_put_back_when_somebody_takes_them_away() {
    let (gateways, in_place) = in_place("drift");
    let gateway = gateways.lab().gateway(Side::A);
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
        println!("{script}: repaired after {:?}", repaired(&gateways, &in_place, &script));
    }
}

/// The kernel has thousands of words in a moment and a socket keeps a dozen: what was lost is counted, and what was taken away among
/// it is there again.
#[test]
fn fault_words_of_the_kernel_that_are_lost_are_counted_and_made_up_for() {
    const DEFAULT: &str = "/proc/sys/net/core/rmem_default";
    let before = fs::read_to_string(DEFAULT).unwrap();
    fs::write(DEFAULT, "4096").unwrap();
    let (gateways, in_place) = in_place("overrun");
    let overruns = || {
        let metrics = gateways.agent_of(Side::A).metrics().unwrap();
        metrics.matching("lanekeeper_netlink_overruns_total", &[]).map(|(_, n)| n).sum::<f64>()
    };
    // What the agent made itself may have been too much already.
    let own = overruns();
    let gateway = gateways.lab().gateway(Side::A);
    // 2,000 routes come and go, and a device changes its name for people 1,000 times.
    let route = |verb: &str, n: u32| format!("route {verb} blackhole 198.18.{}.{}\n", n / 250, n % 250);
    let all = |verb: &'static str| (0..2000).map(move |n| route(verb, n));
    let links = (0..1000).map(|n| format!("link set dev lo alias {n}\n"));
    let ours = format!("route del {} dev {DEVICE}\n", Side::B.lan(Family::V4));
    let end = "link set dev lo alias \"\"\n".to_owned();
    let batch: String = all("add").chain(links).chain([ours]).chain(all("del")).chain([end]).collect();
    let file = gateways.lab().files(Side::A).join("storm");
    fs::write(&file, batch).unwrap();
    gateway.sh(&format!("ip -batch {}", file.display())).unwrap();
    let took = repaired(&gateways, &in_place, "what went among 5,000 words");
    let start = Instant::now();
    while overruns() == own {
        assert!(start.elapsed() < LIMIT, "no overrun was counted\n{}", gateways.agent_of(Side::A).log());
        sleep(Duration::from_millis(200));
    }
    println!("{} overruns, repaired after {took:?}", overruns() - own);
    fs::write(DEFAULT, before).unwrap();
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
