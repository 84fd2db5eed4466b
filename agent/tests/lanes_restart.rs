//! What ran keeps running: a bad file, a signal, a kill.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use xtask::demo::stage::warm_up;
use xtask::lab::capture::Capture;
use xtask::lab::gateways::{Gateways, LANES_UP};
use xtask::lab::metrics::{LISTEN, Metrics};
use xtask::lab::scenario::{Keying, Scenario, TUNNEL};
use xtask::lab::traffic::{Flow, Traffic};
use xtask::lab::wait::until;
use xtask::lab::{Family, Side};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");

/// Packets that went out through the lanes of a class, as A's agent counts them.
fn out(gateways: &Gateways, class: &str) -> u64 {
    let metrics = gateways.agent_of(Side::A).metrics().unwrap();
    metrics.count("lanekeeper_lane_packets_total", &[("class", class), ("direction", "out")])
}

/// Since when each lane is as it is, in seconds since 1970.
fn since(metrics: &Metrics) -> Vec<f64> {
    metrics.matching("lanekeeper_lane_change_timestamp_seconds", &[]).map(|(_, at)| at).collect()
}

fn wait(what: &str, limit: Duration, holds: impl FnMut() -> bool) {
    assert!(until(limit, holds), "not within {limit:?}: {what}");
}

#[test]
fn lanes_stay_as_they_were_when_a_reload_is_refused() {
    let gateways = Gateways::start("refuse", Scenario::four_classes(Keying::Static), Path::new(BINARY)).unwrap();
    warm_up(gateways.lab()).unwrap();
    let agent = gateways.agent_of(Side::A);
    let before = agent.metrics().unwrap();
    let voice = Flow { dscp: 46, rate: 100, ..gateways.lab().flow("voice", Side::A, Family::V4, 5060) };
    let traffic = Traffic::start(&[voice]).unwrap();

    let refused = |arguments: &[&str], words: &[&str]| {
        let refused = agent.call(arguments).unwrap();
        let text = String::from_utf8_lossy(&[refused.stdout, refused.stderr].concat()).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{text}");
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    };
    let good = fs::read_to_string(agent.config()).unwrap();
    fs::write(agent.config(), good.replace("fallback =", "falback =")).unwrap();
    refused(&["reload"], &["falback", "fallback"]);
    let slip = "[[rule]]\nname = \"slip\"\nclass = \"voice\"\ninterface = \"lan00\"\n";
    fs::write(agent.config(), format!("{good}\n{slip}")).unwrap();
    let line = good.lines().count() + 2;
    refused(&["reload"], &[&format!("config.toml:{line}:1: error: rule \"slip\": interface \"lan00\""), "\"lan0\"?"]);
    let added = agent.config().with_file_name("slip.toml");
    fs::write(&added, slip).unwrap();
    refused(
        &["rules", "add", &added.display().to_string()],
        &["slip.toml:1:1: error: rule \"slip\": interface \"lan00\""],
    );
    fs::write(&added, slip.replace("interface", "cgroup").replace("lan00", "/lk-slip.service")).unwrap();
    refused(&["rules", "add", &added.display().to_string()], &["cgroup \"/lk-slip.service\""]);
    let after = agent.metrics().unwrap();
    assert_eq!(after.sum("lanekeeper_reload_success", &[]), 0.0);
    let generation = |metrics: &Metrics| metrics.count("lanekeeper_generation", &[]);
    assert_eq!(generation(&after), generation(&before));

    fs::write(agent.config(), good).unwrap();
    agent.must(&["reload"]).unwrap();
    let last = agent.metrics().unwrap();
    assert_eq!(last.sum("lanekeeper_reload_success", &[]), 1.0);
    // Neither was a change to the lanes.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    assert_eq!(since(&last), since(&before));
    assert_eq!(since(&last).len(), gateways.scenario().lanes().count());
    assert!(since(&last).iter().all(|at| (now - 600.0..=now).contains(at)), "{:?} at {now}", since(&last));
    // And there is a page to look at them.
    let page = agent.ns().run(|| {
        let mut stream = TcpStream::connect(LISTEN)?;
        stream.write_all(b"GET / HTTP/1.0\r\nHost: lab\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        Ok(page)
    });
    let page = page.unwrap();
    assert!(page.contains("200 OK") && page.ends_with(lanekeeper::metrics::front::PAGE), "{page}");
    let tally = traffic.stop().unwrap()[0];
    assert!(tally.sent > 0 && tally.lost() == 0, "{tally:?}");
    assert_eq!(
        out(&gateways, "voice")
            - before.count("lanekeeper_lane_packets_total", &[("class", "voice"), ("direction", "out")]),
        tally.sent
    );
}

#[test]
fn lanes_follow_a_changed_file_on_sighup() {
    let scenario = Scenario::four_classes(Keying::Static);
    let mut gateways = Gateways::start("hangup", scenario.clone(), Path::new(BINARY)).unwrap();
    warm_up(gateways.lab()).unwrap();
    let flow = Flow { count: Some(50), ..gateways.lab().flow("web", Side::A, Family::V4, 7000) };
    let before = (out(&gateways, "default"), out(&gateways, "video"));
    assert_eq!(Traffic::run(std::slice::from_ref(&flow)).unwrap()[0].received, 50);
    assert!(out(&gateways, "default") - before.0 >= 50);

    let first = "[[rule]]\nname = \"web\"\nclass = \"video\"\nprotocol = \"udp\"\ndestination-port = [7000]\n\n";
    gateways.rewrite(Scenario { rules: format!("{first}{}", scenario.rules), ..scenario }).unwrap();
    // One rule more is edited into the generation that is there.
    let listed = |gateways: &Gateways| gateways.agent_of(Side::A).must(&["rules", "list", "--json"]).unwrap();
    assert!(!listed(&gateways).contains("\"web\""));
    let reloaded = gateways.agent_of(Side::A).metrics().unwrap().sum("lanekeeper_reload_timestamp_seconds", &[]);
    let traffic = Traffic::start(&[Flow { count: None, ..flow.clone() }]).unwrap();
    gateways.agent(Side::A).hang_up().unwrap();
    wait("the new rule is in force", Duration::from_secs(10), || listed(&gateways).contains("\"web\""));
    let tally = traffic.stop().unwrap()[0];
    assert!(tally.sent > 0 && tally.lost() == 0, "{tally:?}");
    assert!(gateways.agent_of(Side::A).metrics().unwrap().sum("lanekeeper_reload_timestamp_seconds", &[]) >= reloaded);

    let before = out(&gateways, "video");
    assert_eq!(Traffic::run(&[flow]).unwrap()[0].received, 50);
    assert_eq!(out(&gateways, "video") - before, 50);
}

/// The device stays, and its programs are to know whose it is now.
#[test]
fn lanes_follow_a_tunnel_that_is_called_otherwise() {
    let gateways = Gateways::start("rename", Scenario::four_classes(Keying::Static), Path::new(BINARY)).unwrap();
    warm_up(gateways.lab()).unwrap();
    let agent = gateways.agent_of(Side::A);
    let toml = fs::read_to_string(agent.config()).unwrap();
    let renamed = toml.replacen(&format!("name = {TUNNEL:?}"), "name = \"office\"", 1);
    assert_ne!(toml, renamed);
    fs::write(agent.config(), renamed).unwrap();
    agent.must(&["reload"]).unwrap();
    let flow = Flow { dscp: 46, count: Some(50), ..gateways.lab().flow("voice", Side::A, Family::V4, 5060) };
    assert_eq!(Traffic::run(&[flow]).unwrap()[0].received, 50);
    let labels = [("tunnel", "office"), ("class", "voice"), ("direction", "out")];
    assert_eq!(agent.metrics().unwrap().count("lanekeeper_lane_packets_total", &labels), 50);
    assert_eq!(agent.must(&["plan", &agent.config().to_string_lossy()]).unwrap(), "nothing to do\n");
}

/// With charon's lanes: `fault_upgrade`.
#[test]
fn lanes_keep_steering_and_counting_over_a_killed_agent_with_static_keys() {
    let scenario = Scenario::four_classes(Keying::Static);
    let mut gateways = Gateways::start("killst", scenario, Path::new(BINARY)).unwrap();
    warm_up(gateways.lab()).unwrap();
    let capture = Capture::start(&gateways.lab().wan()).unwrap();
    let before = gateways.agent_of(Side::A).metrics().unwrap();
    let (voice_before, video_before) = (out(&gateways, "voice"), out(&gateways, "video"));
    let lab = gateways.lab();
    let flows = [
        Flow { dscp: 46, rate: 100, ..lab.flow("voice", Side::A, Family::V4, 5060) },
        Flow { rate: 100, ..lab.flow("video", Side::A, Family::V6, 5004) },
    ];
    let traffic = Traffic::start(&flows).unwrap();
    thread::sleep(Duration::from_secs(1));
    gateways.agent(Side::A).kill().unwrap();
    thread::sleep(Duration::from_secs(2));
    gateways.agent(Side::A).start().unwrap();
    gateways.wait_for_lanes(xtask::lab::gateways::LANES_UP).unwrap();
    thread::sleep(Duration::from_secs(1));
    let tallies = traffic.stop().unwrap();
    assert!(tallies.iter().all(|tally| tally.sent > 0 && tally.lost() == 0), "{tallies:?}");
    // Also what went out while no agent was there is counted, and in the right lane.
    let moved = (out(&gateways, "voice") - voice_before, out(&gateways, "video") - video_before);
    assert_eq!(moved, (tallies[0].sent, tallies[1].sent));
    assert_eq!(gateways.agent_of(Side::A).metrics().unwrap().fallen_since(&before), []);
    assert_eq!(capture.stop().unwrap().clear, 0);
}

#[test]
fn lanes_of_charon_are_made_with_the_key_that_a_reload_has_read() {
    let mut gateways = Gateways::start("rotate", Scenario::four_classes(Keying::Psk), Path::new(BINARY)).unwrap();
    let rotate = |gateways: &Gateways, side: Side| {
        fs::write(gateways.lab().files(side).join("tunnel.psk"), "rotated by a test\n").unwrap();
        gateways.agent_of(side).must(&["reload"]).unwrap();
    };
    rotate(&gateways, Side::B);
    gateways.charon(Side::A).unwrap().swanctl(&format!("--terminate --ike lk-{TUNNEL}")).unwrap();
    wait("A says that the keys differ", LANES_UP, || {
        let status = gateways.agent_of(Side::A).must(&["status"]).unwrap();
        status.contains("pre-shared key") && !status.contains("  up")
    });
    rotate(&gateways, Side::A);
    gateways.wait_for_lanes(LANES_UP).unwrap();
    let status = gateways.agent_of(Side::A).must(&["status"]).unwrap();
    assert!(!status.contains("pre-shared key"), "{status}");
}

/// B begins nothing. A would notice only when its dead-peer detection gives up, 34 s later.
#[test]
fn lanes_outlive_the_restart_of_the_answering_ends_agent_and_charon_together() {
    let mut gateways = Gateways::start("together", Scenario::four_classes(Keying::Psk), Path::new(BINARY)).unwrap();
    warm_up(gateways.lab()).unwrap();
    let flow = |side| Flow { dscp: 46, rate: 50, ..gateways.lab().flow("voice", side, Family::V4, 5060) };
    let traffic = Traffic::start(&[flow(Side::A), flow(Side::B)]).unwrap();

    gateways.take_charon(Side::B).unwrap().kill().unwrap();
    gateways.agent(Side::B).kill().unwrap();
    gateways.start_charon(Side::B).unwrap();
    gateways.agent(Side::B).start().unwrap();
    let lanes = gateways.scenario().lanes().count();
    for side in [Side::B, Side::A] {
        let charon = gateways.charon(side).unwrap();
        let made = || charon.swanctl("--list-sas").unwrap().matches("INSTALLED").count();
        wait("B's charon has made all lanes anew", Duration::from_secs(20), || made() == lanes);
    }
    thread::sleep(Duration::from_secs(1));
    let tallies = traffic.stop().unwrap();
    // The kernel's SAs carry on until new ones are there, and A lets go of its own a moment before that.
    assert!(tallies.iter().all(|tally| tally.sent > 100 && tally.lost() < 3 * 50), "{tallies:?}");
    gateways.wait_for_lanes(LANES_UP).unwrap();
}
