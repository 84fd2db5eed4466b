//! Adopted IKE: both gateways' swanctl.conf is written and loaded by hand, and the agent on one side steers to what comes up.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use xtask::demo::stage::warm_up;
use xtask::lab::capture::Capture;
use xtask::lab::dump;
use xtask::lab::gateways::{Gateways, LANES_UP, LanePackets};
use xtask::lab::handmade;
use xtask::lab::sa;
use xtask::lab::scenario::{Class, Keying, Scenario};
use xtask::lab::swanctl::{self, Child};
use xtask::lab::traffic::{Flow, Traffic, assert_whole};
use xtask::lab::wait::until;
use xtask::lab::{Family, Side};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");

/// Children of the connection, in the order of their lanes; each has its place's mark, counted from 1.
const CHILDREN: [&str; 4] = ["voice", "bulk-0", "bulk-1", "rest"];

fn scenario() -> Scenario {
    Scenario {
        classes: vec![Class::new("voice").fallback("default"), Class::new("bulk").lanes(2), Class::new("default")],
        rules: "[[rule]]\nclass = \"voice\"\nprotocol = \"udp\"\ndscp = [\"ef\"]\n\n\
                [[rule]]\nclass = \"bulk\"\nprotocol = \"udp\"\ndestination-port = [\"9000-9999\"]\n"
            .to_owned(),
        ..Scenario::four_classes(Keying::Psk)
    }
}

/// An operator's own: its names and labels are not ours, and charon numbers request ids as it likes.
fn swanctl_conf(side: Side, marks: &[&str]) -> String {
    const ALL: &str = "0.0.0.0/0, ::/0";
    let labels = CHILDREN.map(|name| format!("office {name}"));
    let of = |((name, label), mark)| Child { name, label, mark, local_ts: ALL, remote_ts: ALL };
    let children: Vec<Child<'_>> =
        CHILDREN.into_iter().zip(labels.iter().map(String::as_str)).zip(marks.iter().copied()).map(of).collect();
    swanctl::office(side, "", &children)
}

const MARKS: [&str; 4] = ["0x1/0xff", "0x2/0xff", "0x3/0xff", "0x4/0xff"];

struct Stage(Gateways);

impl Stage {
    /// charons have their connections, B marks and routes by itself, A has a file that adopts; no SA is there yet.
    fn new(name: &str, marks: [&str; 4]) -> Self {
        let gateways = Gateways::idle(name, scenario(), Path::new(BINARY)).unwrap();
        let config = gateways.agent_of(Side::A).config();
        let toml = fs::read_to_string(&config).unwrap();
        let adopt = "connection = \"office\"\nchildren = [\n\
                     { class = \"voice\", names = [\"voice\"] },\n\
                     { class = \"bulk\", names = [\"bulk-0\", \"bulk-1\"] },\n\
                     { class = \"default\", names = [\"re*\"] },\n]";
        fs::write(&config, swanctl::adopting(&toml, adopt).unwrap()).unwrap();
        let stage = Self(gateways);
        for side in [Side::A, Side::B] {
            stage.load(side, &marks);
        }
        let marks = [("udp dport 9000-9499", 2), ("udp dport 9500-9999", 3), ("ip dscp ef", 1)];
        handmade::peer(stage.0.lab(), 4, &marks).unwrap();
        stage
    }

    fn load(&self, side: Side, marks: &[&str]) {
        let conf = self.0.lab().files(side).join("swanctl.conf");
        fs::write(&conf, swanctl_conf(side, marks)).unwrap();
        self.swanctl(side, &format!("--load-all --file {}", conf.display()));
    }

    fn swanctl(&self, side: Side, arguments: &str) -> String {
        self.0.charon(side).unwrap().swanctl(arguments).unwrap()
    }

    fn initiate(&self, children: &[&str]) {
        for child in children {
            self.swanctl(Side::A, &format!("--initiate --child {child} --timeout 60"));
        }
    }

    fn wait_for_lanes(&mut self, lanes: usize) {
        let done = self.0.agent(Side::A).wait_for_lanes(lanes, LANES_UP);
        done.unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", self.status(), self.0.agent_of(Side::A).log()));
    }

    fn status(&self) -> String {
        self.0.agent_of(Side::A).must(&["status"]).unwrap()
    }

    /// Voice, bulk of both lanes and the rest, both ways.
    fn flows(&self, count: u64) -> Vec<Flow> {
        let ports = [(5060, 46), (9000, 0), (9001, 0), (9002, 0), (9500, 0), (9501, 0), (7000, 0)];
        let flow = |from, (port, dscp)| Flow {
            dscp,
            count: Some(count),
            ..self.0.lab().flow("adopted", from, Family::V4, port)
        };
        [Side::A, Side::B].into_iter().flat_map(|from| ports.map(|port| flow(from, port))).collect()
    }

    /// Sends them, and what they add to each lane by our count and by that of the kernel at `side`, which must agree.
    fn send(&self, count: u64, side: Side) -> LanePackets {
        // What one end sends the other one receives.
        let turned = |packets: LanePackets| -> LanePackets {
            packets.into_iter().map(|((class, lane, out), n)| ((class, lane, out == (side == Side::A)), n)).collect()
        };
        let count_all = || (turned(self.0.kernel_packets(side).unwrap()), self.0.metric_packets(Side::A).unwrap());
        let before = count_all();
        let tallies = Traffic::run(&self.flows(count)).unwrap();
        assert_whole(&tallies);
        let after = count_all();
        let more = |after: LanePackets, before: &LanePackets| -> LanePackets {
            after.into_iter().map(|(lane, n)| (lane, n - before.get(&lane).copied().unwrap_or(0))).collect()
        };
        let (kernel, ours) = (more(after.0, &before.0), more(after.1, &before.1));
        assert_eq!(kernel, ours, "the kernel's counters of the SAs, and ours");
        ours
    }
}

fn wait(goal: &str, limit: Duration, holds: impl FnMut() -> bool) {
    assert!(until(limit, holds), "not within {limit:?}: {goal}");
}

#[test]
fn attach_adopted_steers_every_class_to_the_operators_own_sas() {
    let mut stage = Stage::new("adopted", MARKS);
    let capture = Capture::start(&stage.0.lab().wan()).unwrap();
    // Two are there before the agent, two come up while it runs.
    stage.initiate(&["rest", "bulk-1"]);
    stage.0.agent(Side::A).start().unwrap();
    stage.wait_for_lanes(2);
    stage.initiate(&["voice", "bulk-0"]);
    stage.wait_for_lanes(4);
    warm_up(stage.0.lab()).unwrap();
    assert!(stage.status().contains("adopted"), "{}", stage.status());

    let sent = stage.send(50, Side::A);
    for (class, index, out, least) in [("voice", 0, true, 50), ("voice", 0, false, 50), ("default", 0, false, 50)] {
        assert!(sent[&(class, index, out)] >= least, "{class}.{index}: {sent:?}");
    }
    assert_eq!(sent[&("bulk", 0, true)] + sent[&("bulk", 1, true)], 5 * 50, "{sent:?}");
    // Names in a list have the lanes of their places, whichever came up first.
    assert_eq!((sent[&("bulk", 0, false)], sent[&("bulk", 1, false)]), (3 * 50, 2 * 50), "{sent:?}");

    // A rekey by hand, under traffic.
    let rekeys =
        |stage: &Stage| stage.0.agent_of(Side::A).metrics().unwrap().count("lanekeeper_lane_rekeys_total", &[]);
    let before = stage.0.agent_of(Side::A).metrics().unwrap();
    let traffic = Traffic::start(&stage.flows(400)).unwrap();
    for child in CHILDREN {
        stage.swanctl(Side::A, &format!("--rekey --child {child}"));
    }
    wait("four rekeys are counted", Duration::from_secs(30), || rekeys(&stage) == 4);
    stage.swanctl(Side::A, "--rekey --ike office");
    assert_whole(&traffic.finish().unwrap());
    let now = stage.0.agent_of(Side::A).metrics().unwrap();
    assert_eq!(now.fallen_since(&before), []);
    let of_lanes = |way| now.count("lanekeeper_lane_packets_total", &[("direction", way)]);
    let were = |way| before.count("lanekeeper_lane_packets_total", &[("direction", way)]);
    for way in ["in", "out"] {
        assert!(of_lanes(way) - were(way) >= 7 * 400, "{way}: {} after {}", of_lanes(way), were(way));
    }
    assert_eq!(now.sum("lanekeeper_lane_up", &[]) as usize, 4);
    // charon deletes what was rekeyed some seconds later, and the kernel's counts of it go with it.
    wait("the SAs before the rekey are gone", Duration::from_secs(60), || {
        sa::list(&stage.0.lab().gateway(Side::A)).unwrap().len() == 2 * CHILDREN.len()
    });

    // The agent dies and another one comes: no packet is lost.
    let traffic = Traffic::start(&stage.flows(1500)).unwrap();
    stage.0.agent(Side::A).kill().unwrap();
    stage.0.agent(Side::A).start().unwrap();
    assert_whole(&traffic.stop().unwrap());
    stage.wait_for_lanes(4);
    stage.send(20, Side::A);
    let seen = capture.stop().unwrap();
    assert!(seen.esp_total() > 0 && seen.clear == 0, "{seen:?}");
}

#[test]
fn attach_adopted_lanes_fall_and_rise_with_their_children() {
    let mut stage = Stage::new("adoptfall", MARKS);
    let capture = Capture::start(&stage.0.lab().wan()).unwrap();
    stage.0.agent(Side::A).set_under_unit();
    stage.0.agent(Side::A).start().unwrap();
    stage.initiate(&CHILDREN);
    stage.wait_for_lanes(4);
    warm_up(stage.0.lab()).unwrap();

    // Voice falls back to the default class, bulk without a fallback is blocked.
    stage.swanctl(Side::A, "--terminate --child voice");
    stage.wait_for_lanes(3);
    let voice = Flow { dscp: 46, count: Some(40), ..stage.0.lab().flow("fall", Side::A, Family::V4, 5060) };
    let bulk = Flow { count: Some(40), ..stage.0.lab().flow("fall", Side::A, Family::V4, 9000) };
    assert_whole(&Traffic::run(std::slice::from_ref(&voice)).unwrap());
    let metrics = stage.0.agent_of(Side::A).metrics().unwrap();
    assert_eq!(metrics.count("lanekeeper_fallback_packets_total", &[("class", "voice"), ("to", "default")]), 40);
    for child in ["bulk-0", "bulk-1"] {
        stage.swanctl(Side::A, &format!("--terminate --child {child}"));
    }
    stage.wait_for_lanes(1);
    let tallies = Traffic::run(std::slice::from_ref(&bulk)).unwrap();
    assert_eq!(tallies[0].received, 0, "{tallies:?}");

    stage.initiate(&["bulk-1", "voice", "bulk-0"]);
    stage.wait_for_lanes(4);
    assert_whole(&Traffic::run(&[voice, bulk]).unwrap());
    stage.send(20, Side::A);

    // charon dies and is told by hand what it had: what the kernel still has goes on until then.
    stage.0.take_charon(Side::A).unwrap().kill().unwrap();
    thread::sleep(Duration::from_secs(2));
    assert_eq!(stage.0.agent_of(Side::A).metrics().unwrap().sum("lanekeeper_lane_up", &[]) as usize, 4);
    stage.0.start_charon(Side::A).unwrap();
    stage.load(Side::A, &MARKS);
    stage.wait_for_lanes(0);
    stage.initiate(&CHILDREN);
    stage.wait_for_lanes(4);
    // Here the kernel still has the states of the charon before, under request ids that this one gives anew.
    stage.send(20, Side::B);
    let seen = capture.stop().unwrap();
    assert!(seen.esp_total() > 0 && seen.clear == 0, "{seen:?}");
}

#[test]
fn attach_adopted_leaves_charon_as_it_was() {
    let mut stage = Stage::new("adoptdown", MARKS);
    stage.initiate(&CHILDREN);
    let dump = |stage: &Stage| stage.0.dump(Side::A).unwrap();
    let spis = |stage: &Stage| -> Vec<String> {
        let sas = stage.swanctl(Side::A, "--list-sas");
        sas.lines().filter(|line| line.contains("office") || line.contains("INSTALLED")).map(str::to_owned).collect()
    };
    let conns = stage.swanctl(Side::A, "--list-conns");
    let (found, had) = (dump(&stage), spis(&stage));
    let agent = stage.0.agent_of(Side::A);
    let file = agent.config().display().to_string();
    agent.must(&["apply", &file]).unwrap();
    let again = agent.call(&["plan", &file]).unwrap();
    assert_eq!(again.status.code(), Some(0), "the second plan is not empty: {again:?}");
    // What `apply` has looked up is steered to without an agent.
    warm_up(stage.0.lab()).unwrap();
    assert_whole(&Traffic::run(&stage.flows(20)).unwrap());
    stage.0.agent(Side::A).start().unwrap();
    stage.wait_for_lanes(4);
    stage.0.agent(Side::A).stop().unwrap();
    stage.0.agent_of(Side::A).must(&["down"]).unwrap();
    assert_eq!(stage.swanctl(Side::A, "--list-conns"), conns);
    assert_eq!(spis(&stage).len(), had.len());
    // What SAs count changes by itself.
    let counts = ["anti-replay", "lastused", "seq", "bitmap"];
    let without_counters = |text: &str| -> String {
        text.lines()
            .filter(|line| !counts.iter().any(|word| line.contains(word)))
            .map(|line| format!("{line}\n"))
            .collect()
    };
    let (found, left) = (without_counters(&found), without_counters(&dump(&stage)));
    let left = dump::difference(&found, &left);
    assert!(left.is_empty(), "down left the machine different:\n{}", left.join("\n"));
}

#[test]
fn attach_adopted_says_why_a_child_is_not_steered_to() {
    // Voice is outside of the mask, both bulks share a mark.
    let mut stage = Stage::new("adoptwhy", ["0x105/0xfff", "0x2/0xff", "0x2/0xff", "0x4/0xff"]);
    stage.0.agent(Side::A).start().unwrap();
    stage.initiate(&CHILDREN);
    stage.wait_for_lanes(1);
    let says = |text: &str| {
        wait(text, Duration::from_secs(30), || stage.status().contains(text));
        assert!(stage.0.agent_of(Side::A).log().contains(text));
    };
    says("mark 0x105, which is not within [mark] mask 0x000000ff");
    says("\"bulk-0\" has mark 0x2/0xff, by which \"bulk-1\" is found as well");
}
