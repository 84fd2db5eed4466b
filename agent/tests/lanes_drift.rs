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
    started(Gateways::idle(name, Scenario::four_classes(Keying::Static), Path::new(BINARY)).unwrap())
}

fn started(mut gateways: Gateways) -> (Gateways, String) {
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
        let left = dump::difference(&alike(in_place), &alike(&gateways.dump(Side::A).unwrap()));
        if left.is_empty() {
            return start.elapsed();
        }
        let log = gateways.agent_of(Side::A).log();
        assert!(start.elapsed() < LIMIT, "{after} is not repaired:\n{}\n{log}", left.join("\n"));
        sleep(Duration::from_millis(100));
    }
}

/// A kind of object that agents have in the kernel: how all of it is taken away, and what shows it.
struct Kind {
    what: &'static str,
    take: String,
    show: String,
}

/// Of a static tunnel that is the default route, and of a port. The device is last: others go with it.
fn kinds(bpffs: &Path, has_tcx: bool) -> Vec<Kind> {
    let kind = |what, take: &str, show: &str| {
        let named = |words: &str| words.replace("DEV", DEVICE).replace("PINS", &bpffs.to_string_lossy());
        Kind { what, take: named(take), show: named(show) }
    };
    let link = "ip -o link show dev DEV | sed -E 's/^[0-9]+: //; s/ qlen [0-9]+//'";
    let addresses = "ip -o addr show dev DEV scope global | sed -E 's/^[0-9]+: //'";
    let (routes, rules) =
        ("ip route show table all proto 76; ip -6 route show table all proto 76", "ip rule; ip -6 rule");
    let filters = "for dev in DEV lan0; do for hook in ingress egress; do tc filter show dev $dev $hook; done; done";
    let (states, policies) = ("ip xfrm state count", "ip xfrm policy count");
    let pins = "find PINS -mindepth 1 | sed -E 's#/links/[0-9]+_#/links/_#' | sort";
    let mut kinds = vec![
        kind("MTU", "ip link set DEV mtu 1300", link),
        kind("addresses of IPv4", "ip -4 addr flush dev DEV", addresses),
        kind("addresses of IPv6", "ip -6 addr flush dev DEV scope global", addresses),
        kind("routes of IPv4", "ip -4 route flush table all proto 76 dev DEV", routes),
        kind("routes of IPv6", "ip -6 route flush table all proto 76 dev DEV", routes),
        kind("routes to nowhere", "ip -4 route flush table all proto 76 type unreachable", routes),
        kind("routes around the peer", "ip -4 route flush table all proto 76 type throw", routes),
        kind("rules of IPv4", "ip -4 rule flush proto 76", rules),
        kind("rules of IPv6", "ip -6 rule flush proto 76", rules),
        kind("states", "ip xfrm state flush", states),
        kind("policies", "ip xfrm policy flush", policies),
        kind("pins of maps", "find PINS -path '*/kept/*' -delete", pins),
    ];
    kinds.extend(if has_tcx {
        vec![kind("pins of programs", "find PINS -path '*/links/*' -delete", pins)]
    } else {
        vec![
            kind("filter of a device", "tc filter del dev DEV egress", filters),
            kind("filter of a port", "tc filter del dev lan0 ingress", filters),
            kind("qdisc", "tc qdisc del dev DEV clsact", filters),
        ]
    });
    kinds.push(kind("device that is up", "ip link set DEV down", link));
    kinds.push(kind("device", "ip link del DEV", link));
    kinds
}

/// Without what a device that is made again has of its own: the number that its links are pinned under, and the address that the
/// kernel gave it.
fn alike(dump: &str) -> String {
    let line = |line: &str| match line.split_once("/links/") {
        Some((before, pin)) => format!("{before}/links/{}", pin.trim_start_matches(|c: char| c.is_ascii_digit())),
        None => line.to_owned(),
    };
    let lines = dump.lines().filter(|line| !(line.contains("fe80::") && line.contains(DEVICE)));
    lines.map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn fault_every_kind_of_object_is_put_back_when_somebody_takes_it_away() {
    let gateways = Gateways::idle("drift", Scenario::four_classes(Keying::Static), Path::new(BINARY)).unwrap();
    let config = gateways.agent_of(Side::A).config();
    let toml = fs::read_to_string(&config).unwrap();
    let routes = [Family::V4, Family::V6].map(|family| format!("{:?}", Side::B.lan(family).to_string())).join(", ");
    assert!(toml.contains(&routes), "{routes} is not in {toml}");
    let toml = toml.replace(&routes, "\"0.0.0.0/0\", \"::/0\"");
    fs::write(&config, format!("{toml}\n[[port]]\nname = \"lan0\"\n")).unwrap();
    let (gateways, in_place) = started(gateways);
    let gateway = gateways.lab().gateway(Side::A);
    let has_tcx = !gateway.sh(&format!("tc filter show dev {DEVICE} egress")).unwrap().contains("bpf");
    for Kind { what, take, show } in kinds(&gateways.agent_of(Side::A).bpffs(), has_tcx) {
        // The words about the last repair have been heard.
        sleep(Duration::from_millis(400));
        let (before, counted) = (gateway.sh(&show).unwrap(), repairs(&gateways));
        let start = Instant::now();
        gateway.sh(&take).unwrap();
        while !gateway.sh(&show).is_ok_and(|now| now == before) {
            let log = gateways.agent_of(Side::A).log();
            assert!(start.elapsed() < LIMIT, "{what}, not put back after {take}:\n{log}");
            sleep(Duration::from_millis(20));
        }
        println!("{what}: there again after {:?}", start.elapsed());
        repaired(&gateways, &in_place, &take);
        // That it had gone at all.
        assert!(repairs(&gateways) > counted, "{take}: no repair of {what} was counted");
    }
}

fn repairs(gateways: &Gateways) -> f64 {
    let metrics = gateways.agent_of(Side::A).metrics().unwrap();
    metrics.matching("lanekeeper_drift_repairs_total", &[]).map(|(_, n)| n).sum()
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
