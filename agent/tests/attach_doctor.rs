//! `lanekeeper doctor`: what it finds really breaks, and what it prints really cures.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use xtask::lab::agent::Agent;
use xtask::lab::gateways::Gateways;
use xtask::lab::metrics::Metrics;
use xtask::lab::scenario::{Keying, Scenario};
use xtask::lab::traffic::{Flow, Traffic};
use xtask::lab::{Family, Side};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");

/// Whether anything is found, and what.
fn examined(agent: &Agent) -> (bool, Value) {
    let file = agent.config();
    let output = agent.call(&["doctor", &file.to_string_lossy(), "--json"]).unwrap();
    let found = match output.status.code() {
        Some(0) => false,
        Some(1) => true,
        _ => panic!("{output:?}"),
    };
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found, !report["findings"].as_array().unwrap().is_empty(), "{report:#}");
    (found, report)
}

/// A way to break a gateway.
struct Break {
    check: &'static str,
    /// What does it.
    by: &'static str,
    /// Part of what is said of it.
    said: &'static str,
    /// Whether packets are lost meanwhile.
    loses: bool,
    /// What mends it, where the cure is in words.
    undo: Option<&'static str>,
}

const BREAKS: &[Break] = &[
    Break {
        check: "sysctl",
        by: "sysctl -qw net/ipv4/conf/lk-branch/rp_filter=1",
        said: "rp_filter is strict on lk-branch (all 0, its own 1)",
        loses: false,
        undo: None,
    },
    Break {
        check: "sysctl",
        by: "sysctl -qw net/ipv4/ip_forward=0",
        said: "no interface forwards IPv4",
        loses: true,
        undo: None,
    },
    Break {
        check: "rule",
        by: "ip rule add pref 100 fwmark 0x1/0xff lookup 7 && ip route add unreachable default table 7",
        said: "fwmark 0x1/0xff lookup 7, looks at bits of our mask 0xff",
        loses: true,
        undo: None,
    },
    Break {
        check: "loop",
        by: "ip route add 203.0.113.0/24 dev lk-branch",
        said: "the peer of tunnel \"branch\", 203.0.113.2, is routed into a tunnel: 203.0.113.0/24 dev lk-branch",
        loses: true,
        undo: None,
    },
    Break {
        check: "program",
        by: "tc qdisc add dev lk-branch clsact 2> /dev/null || true; tc filter add dev lk-branch egress pref 10 matchall action drop",
        said: "pref 10 matchall, is on lk-branch egress",
        loses: true,
        undo: None,
    },
    // As charon's install_routes makes them.
    Break {
        check: "route",
        by: "ip rule add pref 220 lookup 220 && ip route add 10.2.0.0/16 via 198.51.100.1 dev wan0 table 220",
        said: "10.2.0.0/16 dev wan0 table 220 goes before it",
        loses: true,
        undo: None,
    },
    Break {
        check: "xfrm-default",
        by: "ip xfrm policy setdefault fwd block",
        said: "what the LAN sends is dropped",
        loses: true,
        undo: None,
    },
    Break {
        check: "firewall",
        by: "nft add table inet fw; nft add chain inet fw pre '{ type filter hook prerouting priority -150; }'
             nft add rule inet fw pre iifname lk-branch meta mark set 0x7",
        said: "nft table inet fw chain pre writes bits 0xff of our mask",
        loses: true,
        undo: Some("nft delete table inet fw"),
    },
];

#[test]
fn attach_doctor_finds_what_breaks_and_its_cures_mend_it() {
    let gateways = Gateways::start("doctor", Scenario::one_sa(Keying::Static), Path::new(BINARY)).unwrap();
    let agent = gateways.agent_of(Side::A);
    let lost = |port| {
        let flow = |from| Flow { count: Some(20), ..gateways.lab().flow("doctor", from, Family::V4, port) };
        Traffic::run(&[Side::A, Side::B].map(flow)).unwrap().iter().map(|tally| tally.lost()).sum::<u64>()
    };
    let (found, report) = examined(agent);
    assert!(!found, "{report:#}");
    assert_eq!(lost(7000), 0);
    for (number, Break { check, by, said, loses, undo }) in (1..).zip(BREAKS) {
        agent.ns().sh(by).unwrap();
        let (_, report) = examined(agent);
        println!("{report:#}");
        let findings = report["findings"].as_array().unwrap();
        assert_eq!(findings.len(), 1, "{by}: {report:#}");
        let finding = &findings[0];
        assert!(finding["check"] == *check && finding["problem"].as_str().unwrap().contains(said), "{by}: {finding:#}");
        assert_eq!(lost(7000 + number) > 0, *loses, "{by}");
        assert_eq!(finding["is_command"], undo.is_none(), "{finding:#}");
        let cure = undo.unwrap_or(finding["cure"].as_str().unwrap());
        agent.ns().sh(cure).unwrap();
        let (found, report) = examined(agent);
        assert!(!found, "after {cure}: {report:#}");
        assert_eq!(lost(7100 + number), 0, "after {cure}");
    }
    let text = agent.must(&["doctor"]).unwrap();
    assert!(text.ends_with("nothing found\n"), "{text}");
}

/// A kernel without BTF, for as long as this lives.
struct WithoutBtf;

/// Where the kernel has it.
const BTF: &str = "/sys/kernel/btf";

impl Drop for WithoutBtf {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(BTF).status();
    }
}

#[test]
fn attach_doctor_says_that_nothing_is_timed_without_btf_and_all_else_goes_on() {
    let mut gateways = Gateways::start("doctor", Scenario::one_sa(Keying::Static), Path::new(BINARY)).unwrap();
    let config = gateways.agent_of(Side::A).config();
    let text = fs::read_to_string(&config).unwrap();
    assert!(text.contains("[metrics]\n"), "{text}");
    fs::write(&config, text.replace("[metrics]\n", "[metrics]\nlatency-every = 1\n")).unwrap();
    let (found, report) = examined(gateways.agent_of(Side::A));
    assert!(!found, "{report:#}");

    gateways.agent_of(Side::A).hide(Path::new(BTF)).unwrap();
    let _shown_again = WithoutBtf;
    let (_, report) = examined(gateways.agent_of(Side::A));
    println!("{report:#}");
    let [finding] = report["findings"].as_array().unwrap().as_slice() else { panic!("{report:#}") };
    let (problem, cure) = (finding["problem"].as_str().unwrap(), finding["cure"].as_str().unwrap());
    assert!(finding["check"] == "kernel" && problem.contains("/sys/kernel/btf/vmlinux: No such file"), "{finding:#}");
    assert!(cure.contains("CONFIG_DEBUG_INFO_BTF") && cure.contains("leave latency-every out"), "{finding:#}");
    // Who does not ask for it misses nothing.
    let bare = gateways.agent_of(Side::A).must(&["doctor"]).unwrap();
    assert!(bare.ends_with("nothing found\n"), "{bare}");

    // An agent starts, and carries packets; it times none, and says so.
    gateways.agent(Side::A).kill().unwrap();
    gateways.agent(Side::A).start().unwrap();
    let flow = |port| Flow { count: Some(20), ..gateways.lab().flow("doctor", Side::A, Family::V4, port) };
    let timed = |metrics: &Metrics| {
        let name = "lanekeeper_lane_latency_seconds_count";
        metrics.matching(name, &[]).next().map(|_| metrics.sum(name, &[]))
    };
    let agent = gateways.agent_of(Side::A);
    assert_eq!(Traffic::run(&[flow(7000)]).unwrap()[0].lost(), 0);
    assert_eq!(timed(&agent.metrics().unwrap()), Some(0.0));
    let log = agent.log();
    let said = "packets are not timed, trying again: latencies cannot be measured: /sys/kernel/btf/vmlinux";
    assert_eq!(log.matches(said).count(), 1, "{log}");

    // The cure works without another start.
    agent.unmount(Path::new(BTF)).unwrap();
    assert!(!examined(agent).0);
    let deadline = Instant::now() + Duration::from_secs(60);
    for port in 7100.. {
        assert_eq!(Traffic::run(&[flow(port)]).unwrap()[0].lost(), 0);
        if timed(&agent.metrics().unwrap()).is_some_and(|timed| timed > 0.0) {
            break;
        }
        assert!(Instant::now() < deadline, "{}", agent.log());
        sleep(Duration::from_millis(500));
    }
}

#[test]
fn attach_doctor_reads_charons_own_settings_and_misses_it() {
    let mut gateways = Gateways::idle("doctor", Scenario::one_sa(Keying::Psk), Path::new(BINARY)).unwrap();
    let (found, report) = examined(gateways.agent_of(Side::A));
    assert!(!found, "{report:#}");
    let conf = gateways.lab().files(Side::A).join("strongswan.conf");
    let text = fs::read_to_string(&conf).unwrap();
    let wished = "    install_routes = yes\n    plugins {\n        kernel-netlink {\n            install_routes_xfrmi = yes\n        }\n";
    let changed = text.replace("    install_routes = no\n", "").replace("    plugins {\n", wished);
    assert_ne!(changed, text);
    fs::write(&conf, changed).unwrap();
    let (_, report) = examined(gateways.agent_of(Side::A));
    let problem = report["findings"][0]["problem"].as_str().unwrap();
    assert!(problem.contains("install_routes_xfrmi"), "{report:#}");
    assert!(report["findings"][0]["cure"].as_str().unwrap().contains(&*conf.to_string_lossy()), "{report:#}");
    fs::write(&conf, text).unwrap();
    assert!(!examined(gateways.agent_of(Side::A)).0);

    gateways.take_charon(Side::A).unwrap().kill().unwrap();
    let (_, report) = examined(gateways.agent_of(Side::A));
    let problem = report["findings"][0]["problem"].as_str().unwrap();
    let cure = report["findings"][0]["cure"].as_str().unwrap();
    assert!(problem.contains("no lane can come up") && cure.contains("charon has stopped"), "{report:#}");
}
