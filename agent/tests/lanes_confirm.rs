//! What was not confirmed is taken back, what is refused changes nothing, and packets keep to their class meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xtask::demo::stage::warm_up;
use xtask::lab::agent::Agent;
use xtask::lab::capture::Capture;
use xtask::lab::gateways::{Gateways, LANES_UP};
use xtask::lab::scenario::{Class, DEVICE, Keying, Scenario};
use xtask::lab::traffic::{Flow, Traffic};
use xtask::lab::wait::until;
use xtask::lab::{Family, Side, dump, sa};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");

/// Far above what it takes: the CPU is emulated and loading the programs alone takes seconds.
const LIMIT: Duration = Duration::from_secs(120);

/// What the other file has where the first has 1400.
const OTHER_MTU: &str = "mtu 1300";

fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned())
}

fn call(agent: &Agent, arguments: &[&str]) -> (Option<i32>, String) {
    said(&agent.call(arguments).unwrap())
}

/// Without what traffic changes by itself.
fn dump_of(gateways: &Gateways) -> String {
    let all = gateways.dump(Side::A).unwrap();
    let moves = |line: &&str| ["lastused", "anti-replay"].iter().any(|word| line.trim_start().starts_with(word));
    all.lines().filter(|line| !moves(line)).map(|line| format!("{line}\n")).collect()
}

fn wait(what: &str, holds: impl FnMut() -> bool) {
    assert!(until(LIMIT, holds), "not within {LIMIT:?}: {what}");
}

/// A file beside the agent's own, from which it differs by what `change` does to it.
fn beside(agent: &Agent, name: &str, change: impl FnOnce(String) -> String) -> PathBuf {
    let path = agent.config().with_file_name(name);
    fs::write(&path, change(fs::read_to_string(agent.config()).unwrap())).unwrap();
    path
}

fn other_mtu(text: String) -> String {
    text.replace("mtu = 1400", "mtu = 1300")
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn voice(gateways: &Gateways) -> Flow {
    Flow { dscp: 46, rate: 100, ..gateways.lab().flow("voice", Side::A, Family::V4, 5060) }
}

#[test]
fn lanes_confirm_keeps_or_takes_back_what_the_daemon_applied() {
    let gateways = Gateways::start("confirmd", Scenario::four_classes(Keying::Static), Path::new(BINARY)).unwrap();
    warm_up(gateways.lab()).unwrap();
    let agent = gateways.agent_of(Side::A);
    let other = beside(agent, "other.toml", other_mtu);
    let other = other.to_str().unwrap();
    let config = agent.config();
    let config = config.to_str().unwrap();
    let status = || serde_json::from_str::<serde_json::Value>(&agent.must(&["status", "--json"]).unwrap()).unwrap();
    let capture = Capture::start(&gateways.lab().wan()).unwrap();
    let traffic = Traffic::start(&[voice(&gateways)]).unwrap();

    let (code, text) = call(agent, &["confirm"]);
    assert_eq!(code, Some(2), "{text}");
    let (code, text) = call(agent, &["apply", other, "--confirm", "10m"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("it is taken back in 600 s unless `lanekeeper confirm` comes"), "{text}");
    let left = status()["confirm_within"].as_u64().unwrap();
    assert!((1..=600).contains(&left), "{left}");
    let (code, text) = call(agent, &["confirm"]);
    assert_eq!((code, text.contains("other.toml stays")), (Some(0), true), "{text}");
    assert!(status()["confirm_within"].is_null());
    let (code, text) = call(agent, &["confirm"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("nothing was confirmed: nothing waits to be confirmed"), "{text}");
    let confirmed = dump_of(&gateways);
    assert!(confirmed.contains(OTHER_MTU), "{confirmed}");

    let more = beside(agent, "more.toml", |_| "[[rule]]\nname = \"probe\"\nclass = \"voice\"\n".into());
    let rule = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["rules"][0].clone();
    let generation = status()["generation"].clone();
    let (code, text) = call(agent, &["rules", "add", more.to_str().unwrap(), "--first"]);
    assert_eq!((code, text.as_str()), (Some(0), "1 rule added\n"));
    let listed = rule(&agent.must(&["rules", "list", "--json"]).unwrap());
    assert_eq!((&listed["name"], &listed["added"], &listed["kept"]), (&"probe".into(), &true.into(), &false.into()));
    let (code, text) = call(agent, &["rules", "delete", "probe"]);
    assert_eq!((code, text.as_str()), (Some(0), "1 rule deleted\n"));
    assert_ne!(rule(&agent.must(&["rules", "list", "--json"]).unwrap())["name"], "probe");
    assert_eq!(status()["generation"], generation, "both were edits in place");
    let (code, text) = call(agent, &["rules", "delete", "probe"]);
    assert_eq!(code, Some(2), "{text}");

    let (code, text) = call(agent, &["apply", config, "--confirm", "3s"]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = call(agent, &["rules", "add", more.to_str().unwrap()]);
    assert!(code == Some(2) && text.contains("waits to be confirmed"), "{text}");
    wait("going back to what was confirmed", || status()["config"] == other && status()["confirm_within"].is_null());
    assert_eq!(dump::difference(&confirmed, &dump_of(&gateways)), [] as [&str; 0]);

    let tally = traffic.stop().unwrap()[0];
    assert!(tally.sent > 0 && tally.lost() == 0, "{tally:?}");
    assert_eq!(capture.stop().unwrap().clear, 0);
}

#[test]
fn lanes_confirm_is_asked_for_by_a_daemon_that_is_told_to_stop() {
    let mut gateways = Gateways::start("confirmt", Scenario::four_classes(Keying::Static), Path::new(BINARY)).unwrap();
    let agent = gateways.agent_of(Side::A);
    let before = dump_of(&gateways);
    let other = beside(agent, "other.toml", other_mtu);
    agent.must(&["apply", other.to_str().unwrap(), "--confirm", "10m"]).unwrap();
    assert!(dump_of(&gateways).contains(OTHER_MTU));
    gateways.agent(Side::A).stop().unwrap();
    assert_eq!(dump::difference(&before, &dump_of(&gateways)), [] as [&str; 0]);
    let log = gateways.agent_of(Side::A).log();
    assert!(log.contains("told to stop before it was confirmed: going back"), "{log}");
}

/// `apply FILE --confirm SPAN` under way.
fn start_apply(agent: &Agent, file: &str, span: &str) -> Child {
    let mut command = agent.command(&["apply", file, "--confirm", span]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn lanes_confirm_keeps_or_takes_back_what_one_command_applied() {
    let gateways = Gateways::idle("confirmo", Scenario::four_classes(Keying::Static), Path::new(BINARY)).unwrap();
    let agent = gateways.agent_of(Side::A);
    let config = agent.config();
    let config = config.to_str().unwrap();
    // Its keys are its own, to be taken away later.
    let folder = agent.config().parent().unwrap().to_owned();
    let keys = folder.join("other.keys");
    fs::copy(folder.join("tunnel.keys"), &keys).unwrap();
    set_mode(&keys, 0o600);
    let other = beside(agent, "other.toml", |text| other_mtu(text).replace("tunnel.keys", "other.keys"));
    let other = other.to_str().unwrap();
    agent.must(&["apply", config]).unwrap();
    let before = dump_of(&gateways);

    let (code, text) = call(agent, &["apply", other, "--confirm", "3s"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("other.toml is in place"), "{text}");
    assert!(text.contains("not confirmed, what ran before runs again"), "{text}");
    assert_eq!(dump::difference(&before, &dump_of(&gateways)), [] as [&str; 0]);

    // Whoever ends the command says no.
    let mut applying = start_apply(agent, other, "10m");
    wait("the other file is in place", || dump_of(&gateways).contains(OTHER_MTU));
    kill(Pid::from_raw(applying.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(applying.wait().unwrap().code(), Some(1));
    assert_eq!(dump::difference(&before, &dump_of(&gateways)), [] as [&str; 0]);

    let applying = start_apply(agent, other, "10m");
    wait("the command is asked to keep it", || call(agent, &["confirm"]).0 == Some(0));
    let (code, text) = said(&applying.wait_with_output().unwrap());
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = call(agent, &["confirm"]);
    assert_eq!((code, text.contains("no lanekeeper answers there")), (Some(2), true), "{text}");
    let confirmed = dump_of(&gateways);
    assert!(confirmed.contains(OTHER_MTU), "{confirmed}");

    // Without a way back there is no trying.
    set_mode(&keys, 0o644);
    let (code, text) = call(agent, &["apply", config, "--confirm", "3s"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("what was applied last cannot be had any more") && text.contains("other.keys"), "{text}");
    assert_eq!(dump::difference(&confirmed, &dump_of(&gateways)), [] as [&str; 0]);
}

#[test]
fn lanes_confirm_nothing_of_a_refused_file() {
    let mut gateways = Gateways::start("confirmr", Scenario::four_classes(Keying::Psk), Path::new(BINARY)).unwrap();
    warm_up(gateways.lab()).unwrap();
    let capture = Capture::start(&gateways.lab().wan()).unwrap();
    let agent = gateways.agent_of(Side::A);
    let good = fs::read_to_string(agent.config()).unwrap();
    let before = dump_of(&gateways);
    let refused = |agent: &Agent, words: &str| {
        let (code, text) = call(agent, &["reload"]);
        assert_eq!((code, text.contains(words)), (Some(2), true), "{text}");
        assert_eq!(agent.metrics().unwrap().sum("lanekeeper_reload_success", &[]), 0.0);
    };
    let traffic = Traffic::start(&[voice(&gateways)]).unwrap();

    gateways.lab().gateway(Side::A).sh("ip link add taken type veth peer name taken1").unwrap();
    fs::write(agent.config(), good.replace(DEVICE, "taken")).unwrap();
    refused(agent, "device taken exists and is not ours");
    gateways.lab().gateway(Side::A).sh("ip link del taken").unwrap();

    let psk = agent.config().with_file_name("tunnel.psk");
    set_mode(&psk, 0o644);
    fs::write(agent.config(), other_mtu(good.clone())).unwrap();
    refused(agent, "tunnel.psk");
    set_mode(&psk, 0o600);

    // Its own charon is gone: nothing can be changed, and nothing is.
    let reached = |gateways: &Gateways| gateways.agent_of(Side::A).log().matches("charon back").count();
    let before_that = reached(&gateways);
    gateways.take_charon(Side::A).unwrap().kill().unwrap();
    let agent = gateways.agent_of(Side::A);
    refused(agent, "charon");
    assert_eq!(dump::difference(&before, &dump_of(&gateways)), [] as [&str; 0]);
    let tally = traffic.stop().unwrap()[0];
    assert!(tally.sent > 0 && tally.lost() == 0, "{tally:?}");

    // What charon refuses is found out late: all before it is taken back.
    gateways.start_charon(Side::A).unwrap();
    wait("charon is reached again", || reached(&gateways) > before_that);
    gateways.wait_for_lanes(LANES_UP).unwrap();
    let agent = gateways.agent_of(Side::A);
    let unknown =
        other_mtu(good.clone()).replace("start = \"start\"", "start = \"start\"\nesp-proposals = [\"rot13\"]");
    fs::write(agent.config(), unknown).unwrap();
    refused(agent, "esp_proposals");
    assert!(!dump_of(&gateways).contains(OTHER_MTU));
    fs::write(agent.config(), good).unwrap();
    agent.must(&["reload"]).unwrap();
    gateways.wait_for_lanes(LANES_UP).unwrap();
    let flow = Flow { count: Some(50), ..voice(&gateways) };
    assert_eq!(Traffic::run(&[flow]).unwrap()[0].received, 50);
    assert_eq!(capture.stop().unwrap().clear, 0);
}

/// Outbound packets by request id and SPI.
fn sent(gateways: &Gateways) -> BTreeMap<(u32, u32), u64> {
    let ours = Side::A.outer(Family::V4);
    let states = sa::list(&gateways.lab().gateway(Side::A)).unwrap();
    states.iter().filter(|sa| sa.source == ours).map(|sa| ((sa.reqid, sa.spi), sa.packets)).collect()
}

/// Request id of the only lane of a class.
fn reqid(agent: &Agent, class: &str) -> u32 {
    let status: serde_json::Value = serde_json::from_str(&agent.must(&["status", "--json"]).unwrap()).unwrap();
    let lanes = status["tunnels"][0]["lanes"].as_array().unwrap();
    let lane = lanes.iter().find(|lane| lane["class"] == class).unwrap();
    lane["reqid"].as_u64().unwrap() as u32
}

#[test]
fn lanes_confirm_no_packet_to_another_class_while_marks_move() {
    // Nothing falls back: a packet of voice on another class's SA went there by its mark.
    let alone = |classes: Vec<Class>| Scenario { classes, ..Scenario::four_classes(Keying::Psk) };
    let few = alone(vec![Class::new("voice"), Class::new("video"), Class::new("bulk").lanes(2), Class::new("default")]);
    let more = alone(vec![
        Class::new("gold"),
        Class::new("voice"),
        Class::new("video"),
        Class::new("bulk").lanes(3),
        Class::new("default"),
    ]);
    let mut gateways = Gateways::start("confirmm", few, Path::new(BINARY)).unwrap();
    warm_up(gateways.lab()).unwrap();
    let capture = Capture::start(&gateways.lab().wan()).unwrap();
    let own = reqid(gateways.agent_of(Side::A), "voice");
    // Router solicitations and the like are of the default class.
    let default = reqid(gateways.agent_of(Side::A), "default");
    let start = sent(&gateways);
    let strayed = |now: &BTreeMap<(u32, u32), u64>| {
        let moved = now.iter().filter(|((reqid, _), _)| ![own, default].contains(reqid));
        moved.map(|(sa, packets)| packets - start.get(sa).copied().unwrap_or(0)).sum::<u64>()
    };

    let traffic = Traffic::start(&[Flow { rate: 200, ..voice(&gateways) }]).unwrap();
    // The far end stays as it is: it has the same classes, and refuses what it does not know.
    let file = more.toml(Side::A, &gateways.lab().files(Side::A), gateways.lab().shared());
    let agent = gateways.agent_of(Side::A);
    fs::write(agent.config(), file).unwrap();
    thread::scope(|scope| {
        let reload = scope.spawn(|| agent.must(&["reload"]).unwrap());
        while !reload.is_finished() {
            assert_eq!(strayed(&sent(&gateways)), 0);
        }
    });
    let up = || agent.metrics().unwrap().sum("lanekeeper_lane_up", &[("class", "voice")]) == 1.0;
    wait("voice has an SA under its new mark", || {
        assert_eq!(strayed(&sent(&gateways)), 0);
        up()
    });
    traffic.stop().unwrap();
    assert_eq!(strayed(&sent(&gateways)), 0);

    // And from then on each packet is counted where it went.
    let packets = |gateways: &Gateways| {
        let metrics = gateways.agent_of(Side::A).metrics().unwrap();
        let counted = [("class", "voice"), ("direction", "out")];
        let of_voice = sent(gateways).into_iter().filter(|((reqid, _), _)| *reqid == own);
        (metrics.count("lanekeeper_lane_packets_total", &counted), of_voice.map(|(_, packets)| packets).sum::<u64>())
    };
    let before = packets(&gateways);
    let flow = Flow { count: Some(100), ..voice(&gateways) };
    assert_eq!(Traffic::run(&[flow]).unwrap()[0].received, 100);
    let after = packets(&gateways);
    assert_eq!((after.0 - before.0, after.1 - before.1), (100, 100));
    assert_eq!(capture.stop().unwrap().clear, 0);
    gateways.agent(Side::A).stop().unwrap();
}
