//! Lanes that come up with their first packet: what becomes of it, what else comes up (nothing), and never cleartext.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use xtask::lab::capture::{Capture, Seen};
use xtask::lab::dump;
use xtask::lab::gateways::{Gateways, LANES_UP};
use xtask::lab::scenario::{Class, Keying, Scenario};
use xtask::lab::traffic::{Flow, Tally, Traffic};
use xtask::lab::{Family, Side, sa};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");

/// Destination ports of the classes.
const VOICE: u16 = 5060;
const VIDEO: u16 = 5004;
const BULK: u16 = 9000;
const OTHER: u16 = 4000;

/// For a lane to be let go: its time without packets is 10 s, and charon looks now and then.
const LET_GO: Duration = Duration::from_secs(60);

/// Packets that are to arrive.
const ENOUGH: u64 = 50;

fn on_demand() -> Scenario {
    let port = |class: &str, port| {
        format!("[[rule]]\nclass = \"{class}\"\nprotocol = \"udp\"\ndestination-port = [{port}]\n\n")
    };
    Scenario {
        classes: vec![
            Class::new("voice").fallback("default"),
            Class::new("video").fallback("default"),
            Class::new("bulk").lanes(2),
            Class::new("default"),
        ],
        rules: port("voice", VOICE) + &port("video", VIDEO) + &port("bulk", BULK),
        begin: "start = \"trap\"\nidle-timeout = \"10s\"",
        ..Scenario::four_classes(Keying::Psk)
    }
}

/// Lanes of A by how they are: with SAs, and on demand.
fn lanes(gateways: &Gateways) -> (Vec<String>, Vec<String>) {
    let metrics = gateways.agent_of(Side::A).metrics().unwrap();
    let named = |metric| -> Vec<String> {
        let series = metrics.matching(metric, &[]).filter(|(_, value)| *value == 1.0);
        series.map(|(series, _)| format!("{}.{}", series.labels["class"], series.labels["lane"])).collect()
    };
    let on_demand = named("lanekeeper_lane_on_demand");
    let mut up = named("lanekeeper_lane_up");
    assert!(on_demand.iter().all(|lane| up.contains(lane)), "up {up:?}, on demand {on_demand:?}");
    up.retain(|lane| !on_demand.contains(lane));
    (up, on_demand)
}

fn wait(goal: &str, limit: Duration, gateways: &Gateways, ready: impl Fn(&(Vec<String>, Vec<String>)) -> bool) {
    let began = Instant::now();
    loop {
        let now = lanes(gateways);
        if ready(&now) {
            return;
        }
        assert!(began.elapsed() < limit, "not within {limit:?}: {goal}; up and on demand: {now:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn wait_for_all_on_demand(gateways: &Gateways, limit: Duration) {
    wait("all lanes wait for packets", limit, gateways, |(up, on_demand)| up.is_empty() && on_demand.len() == 5);
}

fn flow(gateways: &Gateways, port: u16, family: Family) -> Flow {
    Flow { rate: 50, ..gateways.lab().flow("trap", Side::A, family, port) }
}

/// What A's kernel has found no state for.
fn stateless(gateways: &Gateways) -> u64 {
    sa::errors(gateways.agent_of(Side::A).ns()).unwrap()["XfrmOutNoStates"]
}

/// Packets that A has put on its lanes, as the agent counts them.
fn taken(gateways: &Gateways, class: &str) -> u64 {
    let labels = [("class", class), ("direction", "out")];
    gateways.agent_of(Side::A).metrics().unwrap().count("lanekeeper_lane_packets_total", &labels)
}

/// By SPI, as the kernel counts them.
fn encrypted(gateways: &Gateways) -> BTreeMap<u32, u64> {
    let ours = Side::A.outer(Family::V4);
    let states = sa::list(gateways.agent_of(Side::A).ns()).unwrap().into_iter();
    states.filter(|sa| sa.source == ours && sa.spi != 0).map(|sa| (sa.spi, sa.packets)).collect()
}

/// Sends until enough has arrived.
fn until_enough_arrives(gateways: &Gateways, flow: Flow) -> Tally {
    let traffic = Traffic::start(&[flow]).unwrap();
    let began = Instant::now();
    while traffic.tallies()[0].received < ENOUGH {
        assert!(began.elapsed() < LANES_UP, "nothing arrives: {:?}\n{}", traffic.tallies(), story(gateways));
        std::thread::sleep(Duration::from_millis(20));
    }
    traffic.stop().unwrap()[0]
}

/// The same, and what did not arrive held against what the kernel dropped for want of a state: those packets are lost, and no
/// others.
fn send(gateways: &Gateways, class: &str, flow: Flow) -> Tally {
    let before = (stateless(gateways), taken(gateways, class));
    let tally = until_enough_arrives(gateways, flow);
    let dropped = stateless(gateways) - before.0;
    println!("{class}: {dropped} of {} dropped before the SA was there", tally.sent);
    assert_eq!(tally.lost(), dropped, "{class}: {tally:?}");
    assert_eq!(taken(gateways, class) - before.1, tally.sent, "{class}: {tally:?}");
    tally
}

/// What charon and the kernel of A have to say, for messages.
fn story(gateways: &Gateways) -> String {
    let log = gateways.charon(Side::A).unwrap().log().unwrap();
    let lines: Vec<&str> = log.lines().collect();
    let states = gateways.agent_of(Side::A).ns().sh("ip xfrm state list nokeys; ip xfrm policy").unwrap();
    format!("{}\n{states}", lines[lines.len().saturating_sub(80)..].join("\n"))
}

fn start_both(gateways: &mut Gateways) {
    for side in [Side::B, Side::A] {
        gateways.agent(side).start().unwrap();
    }
    wait_for_all_on_demand(gateways, LANES_UP);
}

fn assert_no_leak(capture: Capture) -> Seen {
    let seen = capture.stop().unwrap();
    assert_eq!(seen.clear, 0, "{seen:?}");
    seen
}

#[test]
fn attach_trap_brings_a_lane_up_with_its_first_packet_and_lets_it_go() {
    let mut gateways = Gateways::idle("trap", on_demand(), Path::new(BINARY)).unwrap();
    let machine = |gateways: &Gateways, side: Side| gateways.dump(side).unwrap();
    let found = [Side::A, Side::B].map(|side| machine(&gateways, side));

    // Nothing is up, and nobody has asked the peer for anything.
    let capture = Capture::start(&gateways.lab().wan()).unwrap();
    start_both(&mut gateways);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(assert_no_leak(capture).ike, 0);
    assert_eq!(gateways.charon(Side::A).unwrap().swanctl("--list-sas").unwrap(), "");
    let agent = gateways.agent_of(Side::A);
    let status = agent.must(&["status"]).unwrap();
    assert!(status.contains("\ntunnel branch  on demand  ") && !status.contains("DOWN"), "{status}");
    let config = agent.config().to_string_lossy().into_owned();
    let packet = "udp 10.1.0.2:25060 > 10.2.0.2:5060 in lan0";
    let explained = agent.must(&["explain", &config, "--live", "always", packet]).unwrap();
    assert!(explained.contains("lane    voice.0"), "{explained}");
    assert!(explained.contains("sa      none: the kernel drops this packet, and asks for one"), "{explained}");
    let (status, plan) = (agent.call(&["plan", &config]).unwrap(), "plan of what runs");
    assert_eq!(status.status.code(), Some(0), "{plan}: {status:?}");

    // The first packets of voice bring up voice's lane alone. What comes before its SA is dropped, and nothing else is.
    let capture = Capture::start(&gateways.lab().wan()).unwrap();
    let unreachable = |gateways: &Gateways| {
        let ns = gateways.lab().lan(Side::A);
        ns.sh("nstat -asz IcmpInDestUnreachs | awk '/IcmpIn/ { print $2 }'").unwrap().trim().parse::<u64>().unwrap()
    };
    let told = unreachable(&gateways);
    let tally = send(&gateways, "voice", flow(&gateways, VOICE, Family::V4));
    println!("{} ICMP errors came of them", unreachable(&gateways) - told);
    assert!(tally.lost() >= 1 && unreachable(&gateways) > told, "{tally:?}");
    let (up, on_demand) = lanes(&gateways);
    assert_eq!((up, on_demand.len()), (vec!["voice.0".to_owned()], 4));
    assert_eq!(encrypted(&gateways).into_values().collect::<Vec<_>>(), [tally.received]);

    // A second lane finds the IKE_SA there; each of bulk's two comes up by its own flows. IPv6 takes the same lanes.
    let tally = send(&gateways, "bulk", flow(&gateways, BULK, Family::V6));
    assert!(tally.lost() >= 1, "{tally:?}");
    let (up, _) = lanes(&gateways);
    assert_eq!(up.iter().filter(|lane| lane.starts_with("bulk.")).count(), 1, "{up:?}");
    let other = (0..16).map(|number| {
        let mut flow = flow(&gateways, BULK, Family::V4);
        flow.source.set_port(30_000 + number);
        flow
    });
    for flow in other {
        send(&gateways, "bulk", flow);
        if lanes(&gateways).0.iter().filter(|lane| lane.starts_with("bulk.")).count() == 2 {
            break;
        }
    }
    let (up, _) = lanes(&gateways);
    assert_eq!(up.iter().filter(|lane| lane.starts_with("bulk.")).count(), 2, "{up:?}");

    // Who opens a TCP connection is told so at once.
    let connect = || {
        let port = SocketAddr::new(Side::B.host(Family::V4), OTHER);
        let ns = gateways.lab().lan(Side::A);
        ns.run(|| Ok(TcpStream::connect_timeout(&port, Duration::from_secs(30)).unwrap_err().kind())).unwrap()
    };
    assert_eq!(connect(), ErrorKind::HostUnreachable);
    wait("default's lane is up", LANES_UP, &gateways, |(up, _)| up.contains(&"default.0".to_owned()));
    assert_eq!(connect(), ErrorKind::ConnectionRefused, "nobody listens there");

    // Idle, they are let go, and the IKE_SA stays. Packets are dropped as before where the kernel is told to keep them.
    wait_for_all_on_demand(&gateways, LET_GO);
    assert!(encrypted(&gateways).is_empty());
    gateways.lab().gateway(Side::A).sh("sysctl -qw net.core.xfrm_larval_drop=0").unwrap();
    let tally = send(&gateways, "voice", flow(&gateways, VOICE, Family::V4));
    assert!(tally.lost() >= 1, "{tally:?}");

    // Without an agent charon does the same by itself, once for each lane in an IKE_SA's life.
    wait_for_all_on_demand(&gateways, LET_GO);
    gateways.agent(Side::A).kill().unwrap();
    let before = stateless(&gateways);
    let tally = until_enough_arrives(&gateways, flow(&gateways, VIDEO, Family::V4));
    assert_eq!(tally.lost(), stateless(&gateways) - before, "{tally:?}");
    gateways.agent(Side::A).start().unwrap();
    wait_for_all_on_demand(&gateways, LET_GO);
    assert_no_leak(capture);

    // `down` takes the traps along.
    for side in [Side::A, Side::B] {
        gateways.agent(side).stop().unwrap();
        gateways.agent_of(side).must(&["down"]).unwrap();
        let left = dump::difference(&found[side as usize], &machine(&gateways, side));
        assert!(left.is_empty(), "gateway {side:?} differs:\n{}", left.join("\n"));
    }
}

#[test]
fn attach_trap_is_there_again_after_charons_restart() {
    let mut gateways = Gateways::idle("traprestart", on_demand(), Path::new(BINARY)).unwrap();
    start_both(&mut gateways);
    let capture = Capture::start(&gateways.lab().wan()).unwrap();
    send(&gateways, "voice", flow(&gateways, VOICE, Family::V4));
    gateways.take_charon(Side::A).unwrap().kill().unwrap();
    // What nobody would bring up is not on demand; voice's SA stands in the kernel.
    wait("what waits for packets is closed", LANES_UP, &gateways, |(_, on_demand)| on_demand.is_empty());
    assert_eq!(lanes(&gateways).0, ["voice.0"]);
    gateways.start_charon(Side::A).unwrap();
    wait("voice is up and the rest waits", LANES_UP, &gateways, |(up, on_demand)| {
        *up == ["voice.0"] && on_demand.len() == 4
    });
    let fresh = || gateways.charon(Side::A).unwrap().swanctl("--list-sas").unwrap().contains("voice.0");
    let began = Instant::now();
    while !fresh() {
        assert!(began.elapsed() < LANES_UP, "voice, which was up, was not made anew");
        std::thread::sleep(Duration::from_millis(200));
    }
    send(&gateways, "default", flow(&gateways, OTHER, Family::V4));
    wait_for_all_on_demand(&gateways, LET_GO);
    assert_no_leak(capture);
}

#[test]
fn attach_trap_falls_back_while_a_lane_cannot_be_had() {
    let mut gateways = Gateways::idle("trapback", on_demand(), Path::new(BINARY)).unwrap();
    // The far end knows no video, and refuses its lane.
    let mut without = on_demand();
    without.classes.retain(|class| class.name != "video");
    without.rules.clear();
    let (files, shared) = (gateways.lab().files(Side::B), gateways.lab().shared().to_owned());
    without.write(Side::B, &files, &shared).unwrap();
    start_both(&mut gateways);
    let capture = Capture::start(&gateways.lab().wan()).unwrap();
    let video = || Flow { count: Some(20), rate: 20, ..flow(&gateways, VIDEO, Family::V4) };
    let first = Traffic::run(&[video()]).unwrap()[0];
    assert!(first.lost() >= 1, "{first:?}");
    wait("video is not on demand any more", LANES_UP, &gateways, |(_, on_demand)| {
        !on_demand.contains(&"video.0".to_owned())
    });
    let status = gateways.agent_of(Side::A).must(&["status"]).unwrap();
    assert!(status.contains("video") && status.contains("its lane is down"), "{status}");
    // Its packets take default's lane, which comes up with them.
    let before = taken(&gateways, "default");
    let tally = until_enough_arrives(&gateways, Flow { count: None, ..video() });
    assert_eq!(tally.sent, taken(&gateways, "default") - before);

    // The far end learns video, and it takes its packets back.
    on_demand().write(Side::B, &files, &shared).unwrap();
    gateways.agent(Side::B).hang_up().unwrap();
    wait("video is up", LANES_UP, &gateways, |(up, _)| up.contains(&"video.0".to_owned()));
    let last =
        Traffic::run(&[Flow { count: Some(20), rate: 20, ..gateways.lab().flow("video", Side::A, Family::V4, VIDEO) }]);
    let last = last.unwrap()[0];
    assert_eq!(last.received, 20, "{last:?}");
    assert_no_leak(capture);
}
