//! The packaged unit under a real systemd: everything the daemon does works within its sandbox, and it has no more than that.
//!
//! GRE and adopted tunnels are under it in attach_gre and attach_adopted.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use xtask::demo::stage::warm_up;
use xtask::lab::gateways::{Gateways, LANES_UP};
use xtask::lab::netns::run;
use xtask::lab::scenario::{Keying, Scenario};
use xtask::lab::traffic::{Flow, Traffic};
use xtask::lab::wait::until;
use xtask::lab::{Family, Side};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");
const PACKAGING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging");

/// As `/proc/PID/status` has CAP_NET_ADMIN, CAP_PERFMON and CAP_BPF.
const CAPABILITIES: u64 = 1 << 12 | 1 << 38 | 1 << 39;

/// The LAN's port classifies by XDP.
const PORT: &str = "[[port]]\nname = \"lan0\"\nclassify = \"xdp\"\n\n[[class]]";

/// What a class of the file needs beyond lanes: a VTI, whose sysctl is written, and marks of sockets by cgroup.
const MORE: &str = r#"
[host]
mark-sockets = true
missing = "wait"

[[rule]]
name = "backup"
class = "bulk"
cgroup = "/backup.service"

[[tunnel]]
name = "elsewhere"
local = "LOCAL"
remote = "203.0.113.99"
classes = ["default"]
device = { type = "vti", name = "lk-else", key = 0x4c00 }
routes = ["10.99.0.0/16"]
[tunnel.ike]
auth = { psk-file = "tunnel.psk" }
"#;

fn prepare(gateways: &mut Gateways) {
    let files = gateways.lab().files(Side::A);
    let file = fs::read_to_string(files.join("config.toml")).unwrap();
    let more = MORE
        .replace("LOCAL", &Side::A.outer(Family::V4).to_string())
        .replace("tunnel.psk", &files.join("tunnel.psk").to_string_lossy());
    fs::write(files.join("config.toml"), file.replacen("[[class]]", PORT, 1) + &more).unwrap();
    gateways.agent(Side::A).set_under_unit();
}

#[test]
fn fault_the_daemon_does_all_its_work_under_the_packaged_unit_and_has_no_more_than_that() {
    let mut gateways = Gateways::idle("unit", Scenario::four_classes(Keying::Psk), Path::new(BINARY)).unwrap();
    prepare(&mut gateways);
    for side in [Side::B, Side::A] {
        gateways.agent(side).start().unwrap();
    }
    gateways.wait_for_lanes(LANES_UP).unwrap();
    let gateway = gateways.lab().gateway(Side::A);
    let lanes = gateways.scenario().lanes().count();
    let agent = gateways.agent_of(Side::A);
    let unit = agent.unit().unwrap();

    // What it has.
    let status = fs::read_to_string(format!("/proc/{}/status", unit.daemon().unwrap())).unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    for set in ["CapBnd:", "CapEff:", "CapPrm:"] {
        assert_eq!(u64::from_str_radix(&field(set), 16).unwrap(), CAPABILITIES, "{set}");
    }
    assert_eq!((field("Seccomp:"), field("NoNewPrivs:")), ("2".into(), "1".into()));
    let switch = gateway.sh("cat /proc/sys/net/ipv4/conf/lk-else/disable_policy").unwrap();
    assert_eq!(switch.trim(), "1");

    // Whom it lets ask.
    let socket = fs::metadata(agent.runtime().join("control.sock")).unwrap();
    let group = nix::unistd::Group::from_name("lanekeeper").unwrap().expect("made by the packaging").gid;
    assert_eq!((socket.uid(), socket.gid(), socket.mode() & 0o777), (0, group.as_raw(), 0o660));
    let regid = format!("--regid={group}");
    let asks = ["setpriv", "--reuid=65534", &regid, "--clear-groups", "--", "/usr/bin/lanekeeper", "status"];
    let said = unit.run(&asks).unwrap();
    assert!(said.contains("branch-7") || said.contains("elsewhere"), "{said}");

    // What it does: traffic by class over a reload, a crash and a stop.
    warm_up(gateways.lab()).unwrap();
    let flow = |name, port, dscp| Flow { dscp, rate: 50, ..gateways.lab().flow(name, Side::A, Family::V4, port) };
    let traffic = Traffic::start(&[flow("voice", 5060, 46), flow("bulk", 9000, 0)]).unwrap();
    unit.must(&["reload", "lanekeeper"]).unwrap();
    let before = unit.daemon().unwrap();
    unit.must(&["kill", "--kill-whom=main", "--signal=KILL", "lanekeeper"]).unwrap();
    let up = || agent.metrics().is_ok_and(|metrics| metrics.sum("lanekeeper_lane_up", &[]) as usize == lanes);
    let again = || unit.ctl(&["is-active", "lanekeeper"]).is_ok_and(|said| said == "active") && up();
    assert!(until(Duration::from_secs(180), again), "not back\n{}", agent.log());
    assert_ne!(unit.daemon().unwrap(), before);
    unit.must(&["stop", "lanekeeper"]).unwrap();
    let tallies = traffic.stop().unwrap();
    assert!(tallies.iter().all(|tally| tally.sent > 0 && tally.lost() == 0), "{tallies:?}");
    let log = agent.log();
    for word in ["Operation not permitted", "Permission denied", "EPERM", "Read-only file system", "ERROR"] {
        assert!(!log.contains(word), "{word}:\n{log}");
    }
}

#[test]
fn fault_the_packaged_unit_is_hardly_exposed() {
    let unit = format!("{PACKAGING}/lanekeeper.service");
    // In tenths: 2.0.
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["security", "--no-pager", "--offline=true", "--threshold=20", &unit]);
    let said = run(&mut analyze).unwrap();
    assert!(String::from_utf8_lossy(&said.stdout).contains("Overall exposure level"));
}
