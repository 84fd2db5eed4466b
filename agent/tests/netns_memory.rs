//! What an agent of 1,000 tunnels of four lanes keeps in memory, and how many series it shows: P9 of the project's goals.
//!
//! On this machine's kernel, which has neither devices of tunnels nor ESP: tunnels without a device, whose charon never
//! answers. An emulated kernel that has both takes minutes to bring up as many.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use xtask::lab::agent::Agent;
use xtask::lab::metrics::{LISTEN, Metrics};
use xtask::lab::netns::Netns;

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");

const TUNNELS: usize = 1_000;
const CLASSES: [&str; 4] = ["voice", "video", "bulk", "default"];

/// What a release may have in memory, in KiB.
const ALL: usize = 64 << 10;
/// What any build may have of it beside the pages of its program, of which one that is not optimized has several times as
/// many: a release's are 17 MiB.
const OWN: usize = ALL - (18 << 10);
/// By how much that may differ from one look to the next.
const NOISE: usize = 2 << 10;

/// The agent looks at everything every five seconds, and gives back what that took: what it keeps is the least that it has in
/// this time.
const LOOKS: Duration = Duration::from_secs(12);

const SCRAPES: usize = 5;
/// Of a lane; of a tunnel, where no class has a fallback.
const OF_LANE: usize = 11;
const OF_TUNNEL: usize = 1;

fn config(folder: &Path) -> String {
    let mut text = format!(
        "[metrics]\nlisten = \"{LISTEN}\"\n[ike]\nvici = \"{}/none.vici\"\n[[port]]\nname = \"lan0\"\n\
         [default]\nclass = \"default\"\n",
        folder.display()
    );
    for class in CLASSES {
        writeln!(text, "[[class]]\nname = \"{class}\"").unwrap();
    }
    for number in 1..=TUNNELS {
        let (high, low) = (number / 256, number % 256);
        writeln!(
            text,
            "[[tunnel]]\nname = \"branch-{number}\"\nlocal = \"192.0.2.1\"\nremote = \"198.18.{high}.{low}\"\n\
             classes = {CLASSES:?}\ndevice = {{ type = \"none\" }}\n\
             local-ts = [\"10.255.0.0/16\"]\nremote-ts = [\"10.{high}.{low}.0/24\"]\n\
             ike = {{ local-id = \"hub.example\", remote-id = \"branch-{number}.example\", \
             auth = {{ psk-file = \"{}\" }} }}",
            psk(folder).display()
        )
        .unwrap();
    }
    text
}

fn psk(folder: &Path) -> PathBuf {
    folder.join("tunnel.psk")
}

/// A line of a process's status, in KiB.
fn kibibytes(id: u32, name: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()).unwrap().parse().unwrap()
}

/// What it keeps of its own, whatever it takes for a moment.
fn kept(id: u32) -> usize {
    let end = Instant::now() + LOOKS;
    let mut least = usize::MAX;
    while Instant::now() < end {
        least = least.min(kibibytes(id, "RssAnon"));
        sleep(Duration::from_millis(100));
    }
    least
}

fn memory(id: u32) -> String {
    let lines = ["VmHWM", "VmRSS", "RssAnon", "RssFile"];
    lines.map(|name| format!("{name} {} kB", kibibytes(id, name))).join(", ")
}

#[test]
fn memory_of_an_agent_of_a_thousand_tunnels_stays_within_its_bound() {
    let netns = Netns::new("lk-memory").unwrap();
    netns
        .sh("ip link add wan0 type veth peer name lan0
             ip addr add 192.0.2.1/24 dev wan0
             ip link set wan0 up
             ip link set lan0 up
             ip route add default via 192.0.2.254")
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(psk(folder.path()), "secret\n").unwrap();
    fs::set_permissions(psk(folder.path()), fs::Permissions::from_mode(0o600)).unwrap();
    let mut agent = Agent::new(Path::new(BINARY), &netns.ns(), folder.path()).unwrap();
    fs::write(agent.config(), config(folder.path())).unwrap();
    agent.set_level("warn");
    let start = Instant::now();
    agent.start().unwrap();
    let id = agent.id().unwrap();
    println!("in place after {:?}: {}", start.elapsed(), memory(id));

    let before = kept(id);
    println!("at rest: {}", memory(id));
    for _ in 0..SCRAPES {
        let start = Instant::now();
        let text = Metrics::text(&netns.ns()).unwrap();
        println!("scraped in {:?}: {}", start.elapsed(), memory(id));
        let series = |label: &str| text.lines().filter(|line| !line.starts_with('#') && line.contains(label)).count();
        assert_eq!(series("{tunnel=\""), TUNNELS * (CLASSES.len() * OF_LANE + OF_TUNNEL));
        assert!(series("lanekeeper_") - series("{tunnel=\"") < 150, "{} in all", series("lanekeeper_"));
    }
    let after = kept(id);
    println!("after {SCRAPES} scrapes: {}", memory(id));
    assert!(after <= before + NOISE, "{before} kB before the scrapes, {after} behind them");
    assert!(after <= OWN, "{after} kB, {OWN} wanted");
    assert!(cfg!(debug_assertions) || after + kibibytes(id, "RssFile") <= ALL, "{}", memory(id));
}
