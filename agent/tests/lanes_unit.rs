//! The packaged unit under a real systemd: everything the daemon does works within its sandbox, and it has no more than that.
//!
//! systemd runs as the first process of a PID namespace in the guest, in a gateway's network, and knows no unit but ours.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use xtask::demo::stage::warm_up;
use xtask::lab::gateways::{Gateways, LANES_UP};
use xtask::lab::netns::{Ns, run};
use xtask::lab::process::Process;
use xtask::lab::scenario::{Keying, Scenario};
use xtask::lab::traffic::{Flow, Traffic};
use xtask::lab::{Family, Side};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");
const PACKAGING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging");

/// Of what systemd reads, and where it says what it does.
const UNITS: &str = "/run/lk-units";
const SERVICE_LOG: &str = "/run/lk-service.log";
const MANAGER_LOG: &str = "/run/lk-systemd.log";

/// Where the sandbox sees the gateway's files: a private /tmp hides the lab's.
const FILES: &str = "/run/lk-files";

/// Until the programs are loaded, on an emulated CPU.
const START: &str = "180";

/// As `/proc/PID/status` has CAP_NET_ADMIN, CAP_PERFMON and CAP_BPF.
const CAPABILITIES: u64 = 1 << 12 | 1 << 38 | 1 << 39;

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

/// A systemd, ended at drop with all that it runs.
struct Systemd {
    unshare: Process,
    ns: Ns,
}

impl Systemd {
    fn start(ns: &Ns) -> Self {
        let mut command = ns.command("unshare");
        command.args(["--fork", "--kill-child", "--pid", "--mount", "--mount-proc", "--"]);
        command.args(["/lib/systemd/systemd", "--system", "--unit=lab.target", "--log-target=console"]);
        command.env_clear().env("container", "lab").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("SYSTEMD_UNIT_PATH", UNITS);
        let mut unshare = Process::start("systemd", &mut command, Path::new(MANAGER_LOG)).unwrap();
        let up = || Path::new("/run/systemd/private").exists();
        unshare.wait_until(Duration::from_secs(60), "systemd listens", up).unwrap();
        let systemd = Self { unshare, ns: ns.clone() };
        let deadline = Instant::now() + Duration::from_secs(60);
        while systemd.ctl(&["is-active", "lab.target"]).is_err() {
            assert!(Instant::now() < deadline, "{}", fs::read_to_string(MANAGER_LOG).unwrap_or_default());
            thread::sleep(Duration::from_millis(200));
        }
        systemd
    }

    /// `systemctl` as one of its own would run it.
    fn ctl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let unshare = self.unshare.id();
        let first = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children"))?;
        let mut command = Command::new("nsenter");
        command.args(["--target", first.trim(), "--pid", "--mount", "--", "systemctl"]).args(arguments);
        Ok(String::from_utf8_lossy(&run(&mut command)?.stdout).trim().to_owned())
    }

    fn must(&self, arguments: &[&str]) -> String {
        self.ctl(arguments).unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", logs(MANAGER_LOG), logs(SERVICE_LOG)))
    }

    /// The daemon's id out here: its own is that of the namespace.
    fn daemon(&self) -> u32 {
        let ours = |entry: std::io::Result<fs::DirEntry>| {
            let id = entry.ok()?.file_name().into_string().ok()?.parse::<u32>().ok()?;
            let text = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
            let field = |name| text.lines().find_map(|line| line.strip_prefix(name));
            // One more id: that in systemd's namespace.
            let deep = field("NSpid:")?.split_whitespace().count() == 2;
            (deep && field("Name:")?.trim() == "lanekeeper").then_some(id)
        };
        let found: Vec<u32> = fs::read_dir("/proc").unwrap().filter_map(ours).collect();
        assert_eq!(found.len(), 1, "{found:?}\n{}", logs(SERVICE_LOG));
        found[0]
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // unshare waits for its child whatever signal comes, and takes it along.
        if let Err(error) = self.unshare.kill() {
            eprintln!("systemd in {}: {error:#}", self.ns.name());
        }
    }
}

fn logs(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

fn prepare(gateways: &Gateways) {
    let files = gateways.lab().files(Side::A);
    fs::create_dir_all(FILES).unwrap();
    run(Command::new("mount").args(["--bind".as_ref(), files.as_os_str(), FILES.as_ref()])).unwrap();
    let file = fs::read_to_string(files.join("config.toml")).unwrap();
    let file = file.replace(&files.display().to_string(), FILES);
    let more = MORE
        .replace("LOCAL", &Side::A.outer(Family::V4).to_string())
        .replace("tunnel.psk", &format!("{FILES}/tunnel.psk"));
    fs::create_dir_all("/etc/lanekeeper").unwrap();
    fs::write("/etc/lanekeeper/config.toml", file + &more).unwrap();
    fs::copy(BINARY, "/usr/bin/lanekeeper").unwrap();
    run(Command::new("systemd-sysusers").arg(format!("{PACKAGING}/lanekeeper.sysusers"))).unwrap();
    fs::create_dir_all(format!("{UNITS}/lanekeeper.service.d")).unwrap();
    for target in ["lab", "sysinit", "basic", "shutdown", "multi-user", "network-pre"] {
        let unit = format!("{UNITS}/{target}.target");
        fs::write(unit, "[Unit]\nDescription=of the lab\nDefaultDependencies=no\n").unwrap();
    }
    fs::copy(format!("{PACKAGING}/lanekeeper.service"), format!("{UNITS}/lanekeeper.service")).unwrap();
    let lab = format!(
        "[Service]\nStandardOutput=append:{SERVICE_LOG}\nStandardError=inherit\nTimeoutStartSec={START}\nWatchdogSec=120\n"
    );
    fs::write(format!("{UNITS}/lanekeeper.service.d/lab.conf"), lab).unwrap();
}

#[test]
fn fault_the_daemon_does_all_its_work_under_the_packaged_unit_and_has_no_more_than_that() {
    let mut gateways = Gateways::idle("unit", Scenario::four_classes(Keying::Psk), Path::new(BINARY)).unwrap();
    prepare(&gateways);
    gateways.agent(Side::B).start().unwrap();
    let gateway = gateways.lab().gateway(Side::A);
    let systemd = Systemd::start(&gateway);
    systemd.must(&["start", "lanekeeper"]);
    let lanes = gateways.scenario().lanes().count();
    let deadline = Instant::now() + LANES_UP;
    let up = |gateways: &Gateways, side| {
        gateways.agent_of(side).metrics().is_ok_and(|metrics| metrics.sum("lanekeeper_lane_up", &[]) as usize == lanes)
    };
    while !(up(&gateways, Side::A) && up(&gateways, Side::B)) {
        assert!(Instant::now() < deadline, "lanes are not up\n{}", logs(SERVICE_LOG));
        thread::sleep(Duration::from_millis(200));
    }

    // What it has.
    let status = fs::read_to_string(format!("/proc/{}/status", systemd.daemon())).unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    for set in ["CapBnd:", "CapEff:", "CapPrm:"] {
        assert_eq!(u64::from_str_radix(&field(set), 16).unwrap(), CAPABILITIES, "{set}");
    }
    assert_eq!((field("Seccomp:"), field("NoNewPrivs:")), ("2".into(), "1".into()));
    let switch = gateway.sh("cat /proc/sys/net/ipv4/conf/lk-else/disable_policy").unwrap();
    assert_eq!(switch.trim(), "1");

    // Whom it lets ask.
    let socket = fs::metadata("/run/lanekeeper/control.sock").unwrap();
    let group = nix::unistd::Group::from_name("lanekeeper").unwrap().expect("made by the packaging").gid;
    assert_eq!((socket.uid(), socket.gid(), socket.mode() & 0o777), (0, group.as_raw(), 0o660));
    let mut asks = gateway.command("setpriv");
    asks.args(["--reuid=65534", &format!("--regid={group}"), "--clear-groups", "--", "/usr/bin/lanekeeper", "status"]);
    let said = String::from_utf8(run(&mut asks).unwrap().stdout).unwrap();
    assert!(said.contains("branch-7") || said.contains("elsewhere"), "{said}");

    // What it does: traffic by class over a reload, a crash and a stop.
    warm_up(gateways.lab()).unwrap();
    let flow = |name, port, dscp| Flow { dscp, rate: 50, ..gateways.lab().flow(name, Side::A, Family::V4, port) };
    let traffic = Traffic::start(&[flow("voice", 5060, 46), flow("bulk", 9000, 0)]).unwrap();
    systemd.must(&["reload", "lanekeeper"]);
    let before = systemd.daemon();
    systemd.must(&["kill", "--kill-whom=main", "--signal=KILL", "lanekeeper"]);
    let deadline = Instant::now() + Duration::from_secs(180);
    let again =
        || systemd.ctl(&["is-active", "lanekeeper"]).is_ok_and(|said| said == "active") && up(&gateways, Side::A);
    while !again() {
        assert!(Instant::now() < deadline, "not back\n{}\n{}", logs(MANAGER_LOG), logs(SERVICE_LOG));
        thread::sleep(Duration::from_millis(200));
    }
    assert_ne!(systemd.daemon(), before);
    systemd.must(&["stop", "lanekeeper"]);
    let tallies = traffic.stop().unwrap();
    assert!(tallies.iter().all(|tally| tally.sent > 0 && tally.lost() == 0), "{tallies:?}");
    let log = logs(SERVICE_LOG);
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
