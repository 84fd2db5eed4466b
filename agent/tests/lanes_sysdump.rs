//! The file for a bug report, of gateways that have keys: as they run, and when all that has keys is to be made anew.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xtask::lab::gateways::{Gateways, LANES_UP};
use xtask::lab::scenario::{DEVICE, Keying, PSK, Scenario};
use xtask::lab::{Family, Side};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");

/// What the file has, by title, where nothing is missing.
const TITLES: [&str; 9] =
    ["status", "agent's process", "config: ", "rules", "devices", "doctor", "plan", "metrics", "/proc/net/xfrm_stat"];

struct Dump(String);

impl Dump {
    fn of(gateways: &Gateways, more: &[&str]) -> Self {
        let agent = gateways.agent_of(Side::A);
        let file = agent.runtime().join("dump.txt");
        agent.must(&[&["sysdump", "--output", &file.to_string_lossy()], more].concat()).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        fs::remove_file(&file).unwrap();
        Self(text)
    }

    fn section(&self, title: &str) -> &str {
        let (_, rest) = self.0.split_once(&format!("===== {title}")).unwrap_or_else(|| panic!("{title}: {}", self.0));
        rest.split("\n===== ").next().unwrap()
    }

    fn has_none_of(&self, secrets: &[String]) {
        assert!(!secrets.is_empty());
        for secret in secrets {
            assert!(!self.0.to_lowercase().contains(&secret.to_lowercase()), "{secret}: {}", self.0);
        }
    }
}

/// What neither of them may have: the keys of the file, and of each what the kernel may print for them.
fn secrets(gateways: &Gateways, keying: Keying) -> Vec<String> {
    match keying {
        Keying::Psk => vec![PSK.to_owned(), PSK[..12].to_owned(), hex(PSK.as_bytes())],
        Keying::Static => {
            let file = gateways.lab().files(Side::A).join("tunnel.keys");
            let text = fs::read_to_string(file).unwrap();
            text.lines().filter_map(|line| line.strip_prefix("key = \"")).map(str::to_owned).collect()
        }
        Keying::Certificate => Vec::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn has_no_secret(name: &str, keying: Keying) {
    let mut gateways = Gateways::start(name, Scenario::four_classes(keying), Path::new(BINARY)).unwrap();
    gateways.wait_for_lanes(LANES_UP).unwrap();
    let secrets = secrets(&gateways, keying);
    // Those that charon agreed on are in the kernel alone.
    let states = gateways.lab().gateway(Side::A).sh("ip xfrm state").unwrap();
    let transforms =
        states.lines().filter(|line| ["aead ", "enc ", "auth"].iter().any(|it| line.trim().starts_with(it)));
    let keys = transforms.flat_map(str::split_whitespace).filter_map(|word| word.strip_prefix("0x"));
    let agreed: Vec<String> = keys.filter(|key| key.len() >= 32).map(str::to_owned).collect();

    let dump = Dump::of(&gateways, &[]);
    dump.has_none_of(&secrets);
    dump.has_none_of(&agreed);
    for title in TITLES {
        assert!(!dump.section(title).contains("not there"), "{}", dump.section(title));
    }
    let limits = dump.section("agent's process");
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    let outer = [Side::A.outer(Family::V4).to_string(), Side::B.outer(Family::V4).to_string()];
    assert!(outer.iter().all(|address| dump.0.contains(address)), "{}", dump.0);
    assert!(dump.section("plan").contains("\n0 changes"), "{}", dump.section("plan"));

    let masked = Dump::of(&gateways, &["--mask-addresses"]);
    masked.has_none_of(&secrets);
    masked.has_none_of(&agreed);
    masked.has_none_of(&outer);
    let lan = |side: Side, family| side.lan(family).split('/').next().unwrap().to_owned();
    masked.has_none_of(&[Family::V4, Family::V6].map(|family| lan(Side::B, family)));
    if keying == Keying::Psk {
        masked.has_none_of(&[Side::A, Side::B].map(|side| side.identity().to_owned()));
    }

    gateways.agent(Side::A).kill().unwrap();
    let remove = format!("ip link del {DEVICE}; ip xfrm state flush; ip xfrm policy flush");
    gateways.lab().gateway(Side::A).sh(&remove).unwrap();
    // Where the daemon was the unit's, its file was where that systemd's mounts had it.
    let agent = gateways.agent_of(Side::A);
    let file = agent.config().display().to_string();
    let moved: &[&str] = if agent.known_config() == agent.config() { &[] } else { &[&file] };
    let dump = Dump::of(&gateways, moved);
    dump.has_none_of(&secrets);
    assert!(dump.section("status").contains("no lanekeeper answers there"), "{}", dump.section("status"));
    assert!(dump.section("agent's process").contains("no agent runs"), "{}", dump.section("agent's process"));
    assert!(dump.section("plan").contains(DEVICE), "{}", dump.section("plan"));
}

#[test]
fn fault_a_sysdump_of_lanes_by_charon_has_no_key() {
    has_no_secret("dumpike", Keying::Psk);
}

#[test]
fn fault_a_sysdump_of_lanes_with_static_keys_has_no_key() {
    has_no_secret("dumpstat", Keying::Static);
}

/// Its name in the folder that the kernel is told to put cores into.
fn core_of(folder: &Path, words: &[&str], is_ready: impl Fn(&Path) -> bool) -> Vec<String> {
    let limit = "ulimit -c unlimited; exec \"$@\"";
    let mut child = Command::new("sh").args(["-c", limit, "sh"]).args(words).stdin(Stdio::piped()).spawn().unwrap();
    let process = Path::new("/proc").join(child.id().to_string());
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_ready(&process) {
        assert!(Instant::now() < deadline, "{words:?} is not ready");
        std::thread::sleep(Duration::from_millis(20));
    }
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGABRT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::SIGABRT as i32), "{status:?}");
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    names.map(|entry| (fs::remove_file(entry.path()), entry.file_name().into_string().unwrap()).1).collect()
}

#[test]
fn fault_where_others_leave_a_core_we_do_not() {
    const PATTERN: &str = "/proc/sys/kernel/core_pattern";
    let folder = tempfile::tempdir().unwrap();
    let before = fs::read_to_string(PATTERN).unwrap();
    fs::write(PATTERN, format!("{}/core.%e", folder.path().display())).unwrap();
    let runs = |name: &'static str| {
        move |process: &Path| fs::read_to_string(process.join("comm")).is_ok_and(|comm| comm.trim() == name)
    };
    let other = core_of(folder.path(), &["sleep", "60"], runs("sleep"));
    // Reads rules from its standard input, and waits for them.
    let limited = |process: &Path| {
        let limits = fs::read_to_string(process.join("limits")).unwrap_or_default();
        let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap_or_default();
        runs("lanekeeper")(process) && core.split_whitespace().take(2).eq(["0", "0"])
    };
    let own = core_of(folder.path(), &[BINARY, "rules", "add", "-"], limited);
    fs::write(PATTERN, before).unwrap();
    assert_eq!((other, own), (vec!["core.sleep".to_owned()], Vec::new()));
}
