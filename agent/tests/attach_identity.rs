//! A peer that knows no labels: each lane has an IKE_SA of its own, told apart by identity.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use xtask::lab::capture::Capture;
use xtask::lab::dump;
use xtask::lab::gateways::{Gateways, LANES_UP};
use xtask::lab::scenario::{Keying, PSK, Scenario, TUNNEL};
use xtask::lab::traffic::{Flow, Traffic};
use xtask::lab::wait::until;
use xtask::lab::{Family, Side, sa};

fn by_identity() -> Scenario {
    Scenario { begin: "start = \"start\"\ndistinct = \"identity\"", ..Scenario::four_classes(Keying::Psk) }
}

fn lanes(scenario: &Scenario) -> Vec<String> {
    scenario.lanes().map(|(class, index)| format!("{class}.{index}")).collect()
}

/// The far end's `swanctl.conf`, by hand: no label, no mark, no device, a connection for each lane.
fn swanctl_conf(lanes: &[String]) -> String {
    let (ours, theirs) = (Side::B, Side::A);
    let selectors = |side: Side| format!("{}, {}", side.lan(Family::V4), side.lan(Family::V6));
    let (mut connections, mut secrets) = (String::new(), String::new());
    for lane in lanes {
        let name = lane.replace('.', "-");
        let (id, peer) = (format!("{lane}.{}", ours.identity()), format!("{lane}.{}", theirs.identity()));
        let _ = writeln!(
            connections,
            "    {name} {{
        local_addrs = {}
        remote_addrs = {}
        local {{
            auth = psk
            id = {id}
        }}
        remote {{
            auth = psk
            id = {peer}
        }}
        children {{
            all {{
                local_ts = {}
                remote_ts = {}
            }}
        }}
    }}",
            ours.outer(Family::V4),
            theirs.outer(Family::V4),
            selectors(ours),
            selectors(theirs)
        );
        let _ = writeln!(
            secrets,
            "    ike-{name} {{\n        id-1 = {id}\n        id-2 = {peer}\n        secret = \"{PSK}\"\n    }}"
        );
    }
    format!("connections {{\n{connections}}}\nsecrets {{\n{secrets}}}\n")
}

/// Inbound and outbound SPIs of A's SAs by request id.
fn spis(gateways: &Gateways) -> BTreeMap<u32, Vec<u32>> {
    let mut spis = BTreeMap::<u32, Vec<u32>>::new();
    for state in sa::list(&gateways.lab().gateway(Side::A)).unwrap() {
        spis.entry(state.reqid).or_default().push(state.spi);
    }
    spis.values_mut().for_each(|spis| spis.sort_unstable());
    spis
}

fn wait(goal: &str, ready: impl Fn() -> bool) {
    assert!(until(LANES_UP, ready), "not within {LANES_UP:?}: {goal}");
}

fn flows(gateways: &Gateways, from: Side) -> Vec<Flow> {
    let flow = |port, dscp, count| Flow {
        dscp,
        count: Some(count),
        rate: 50,
        ..gateways.lab().flow("identity", from, Family::V4, port)
    };
    let mut flows = vec![flow(5060, 46, 40), flow(5004, 0, 60), flow(4000, 0, 50)];
    // Both lanes of bulk.
    flows.extend((0..8).map(|number| {
        let mut flow = flow(9000 + number, 0, 20);
        flow.source.set_port(30_000 + number);
        flow
    }));
    flows
}

/// Sends both ways, and holds what the kernel counted on each lane's SAs against the agent's metrics.
fn carry(gateways: &Gateways) {
    let count = || (gateways.kernel_packets(Side::A).unwrap(), gateways.metric_packets(Side::A).unwrap());
    let before = count();
    let flows: Vec<Flow> = [flows(gateways, Side::A), flows(gateways, Side::B)].concat();
    let tallies = Traffic::run(&flows).unwrap();
    assert!(tallies.iter().all(|tally| tally.lost() == 0), "{tallies:?}");
    let after = count();
    let mut out = BTreeMap::<&str, u64>::new();
    let mut back = 0;
    for (lane @ (class, index, is_out), packets) in &after.0 {
        let kernel = packets - before.0.get(lane).unwrap_or(&0);
        let metric = after.1[lane] - before.1[lane];
        assert_eq!(kernel, metric, "{class}.{index}, out {is_out}");
        match is_out {
            true => *out.entry(class).or_default() += kernel,
            false => back += kernel,
        }
        assert!(!is_out || kernel > 0, "nothing on {class}.{index}");
    }
    // The far end cannot tell lanes apart: what it sends comes by whichever SA it takes.
    assert_eq!(out, [("voice", 40), ("video", 60), ("default", 50), ("bulk", 160)].into());
    assert_eq!(back, 40 + 60 + 50 + 160);
}

#[test]
fn attach_identity_keeps_an_ike_sa_for_each_lane_with_a_peer_that_knows_no_labels() {
    let scenario = by_identity();
    let lanes = lanes(&scenario);
    let mut gateways = Gateways::idle("identity", scenario, Path::new(env!("CARGO_BIN_EXE_lanekeeper"))).unwrap();
    let machine = |gateways: &Gateways| gateways.dump(Side::A).unwrap();
    let found = machine(&gateways);
    let conf = gateways.lab().files(Side::B).join("swanctl.conf");
    fs::write(&conf, swanctl_conf(&lanes)).unwrap();
    gateways.charon(Side::B).unwrap().swanctl(&format!("--load-all --file {}", conf.display())).unwrap();
    let capture = Capture::start(&gateways.lab().wan()).unwrap();

    gateways.agent(Side::A).start().unwrap();
    gateways.agent(Side::A).wait_for_lanes(lanes.len(), LANES_UP).unwrap();
    let charon = |side: Side, arguments: &str| gateways.charon(side).unwrap().swanctl(arguments).unwrap();
    let sas = charon(Side::B, "--list-sas");
    assert_eq!(
        (sas.matches("ESTABLISHED").count(), sas.matches("INSTALLED").count()),
        (lanes.len(), lanes.len()),
        "{sas}"
    );
    assert!(sas.contains("'voice.0.sun.example'") && sas.contains("'bulk.1.moon.example'"), "{sas}");
    let agent = gateways.agent_of(Side::A);
    let plan = agent.call(&["plan", &agent.config().to_string_lossy()]).unwrap();
    assert_eq!(plan.status.code(), Some(0), "plan of what runs: {plan:?}");
    carry(&gateways);

    // A rekey of a lane's CHILD_SA and of its IKE_SA, and a reauthentication, are the lane's alone.
    let voice = format!("lk-{TUNNEL}:voice.0");
    let before = spis(&gateways);
    charon(Side::A, &format!("--rekey --ike {voice} --child voice.0"));
    let rekeys = |class| {
        let metrics = gateways.agent_of(Side::A).metrics().unwrap();
        metrics.count("lanekeeper_lane_rekeys_total", &[("class", class)])
    };
    wait("voice is rekeyed", || rekeys("voice") == 1);
    charon(Side::A, &format!("--rekey --ike {voice}"));
    let others_stay = |before: &BTreeMap<u32, Vec<u32>>| {
        let now = spis(&gateways);
        let changed: Vec<_> = now.iter().filter(|(reqid, spis)| before.get(reqid) != Some(spis)).collect();
        assert!(changed.len() <= 1 && now.len() == before.len(), "{before:x?}\n{now:x?}");
    };
    // The old inbound SA goes after five seconds.
    std::thread::sleep(Duration::from_secs(7));
    others_stay(&before);
    let up = || gateways.agent_of(Side::A).metrics().unwrap().sum("lanekeeper_lane_up", &[]) as usize;
    assert_eq!(up(), lanes.len());
    carry(&gateways);
    charon(Side::A, &format!("--rekey --reauth --ike {voice}"));
    std::thread::sleep(Duration::from_secs(2));
    wait("all lanes are up after the reauthentication", || up() == lanes.len());
    others_stay(&before);

    // The far end closes one: that lane is made anew, and the others stay.
    let before = spis(&gateways);
    charon(Side::B, "--terminate --ike video-0");
    wait("video has new SAs", || up() == lanes.len() && spis(&gateways) != before);
    others_stay(&before);
    carry(&gateways);

    // A new agent takes over what is there.
    let before = spis(&gateways);
    gateways.agent(Side::A).kill().unwrap();
    gateways.agent(Side::A).start().unwrap();
    gateways.agent(Side::A).wait_for_lanes(lanes.len(), LANES_UP).unwrap();
    std::thread::sleep(Duration::from_secs(10));
    assert_eq!(spis(&gateways), before);
    carry(&gateways);

    gateways.agent(Side::A).stop().unwrap();
    gateways.agent_of(Side::A).must(&["down"]).unwrap();
    let left = dump::difference(&found, &machine(&gateways));
    assert!(left.is_empty(), "down left the machine different:\n{}", left.join("\n"));
    let names = gateways.charon(Side::A).unwrap().swanctl("--list-conns").unwrap();
    assert_eq!(names, "");
    let seen = capture.stop().unwrap();
    assert_eq!(seen.clear, 0, "{seen:?}");
}

#[test]
fn attach_identity_leaves_the_other_lanes_alone_where_one_cannot_be_had() {
    let scenario = by_identity();
    let (all, video) = (lanes(&scenario), "video.0");
    let mut gateways = Gateways::idle("oneless", scenario, Path::new(env!("CARGO_BIN_EXE_lanekeeper"))).unwrap();
    let conf = gateways.lab().files(Side::B).join("swanctl.conf");
    let load = |gateways: &Gateways, lanes: &[String]| {
        fs::write(&conf, swanctl_conf(lanes)).unwrap();
        gateways.charon(Side::B).unwrap().swanctl(&format!("--load-all --file {}", conf.display())).unwrap();
    };
    let without: Vec<String> = all.iter().filter(|lane| *lane != video).cloned().collect();
    load(&gateways, &without);
    gateways.agent(Side::A).start().unwrap();
    gateways.agent(Side::A).wait_for_lanes(without.len(), LANES_UP).unwrap();
    wait("the trouble is told", || {
        let status = gateways.agent_of(Side::A).must(&["status", "--all"]).unwrap();
        status.contains("video.0    DOWN") && status.contains("initiating video.0")
    });
    load(&gateways, &all);
    gateways.agent(Side::A).wait_for_lanes(all.len(), LANES_UP).unwrap();
    carry(&gateways);
}
