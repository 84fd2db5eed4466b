//! The data path outlives the agent and its version: nothing lost, nothing by another lane, nothing uncounted.
//!
//! The other version is a build of the same agent whose maps have other shapes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use lanekeeper_common::abi::VERSION;
use xtask::demo::stage::warm_up;
use xtask::lab::capture::Capture;
use xtask::lab::gateways::{Gateways, LANES_UP, LanePackets};
use xtask::lab::metrics::{Metrics, Series};
use xtask::lab::netns::run;
use xtask::lab::scenario::{Keying, Scenario};
use xtask::lab::traffic::{Flow, Tally, Traffic};
use xtask::lab::wait::until;
use xtask::lab::{Family, Side};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");
/// Built beside it: see `xtask::test::targets::build_other`.
const OTHER: &str = concat!(env!("CARGO_BIN_EXE_lanekeeper"), "-other-abi");

/// Each class with the mark that a port writes for it, and the port that its probes go to.
const CLASSES: [(&str, u32, u16); 4] =
    [("voice", 1, 5060), ("video", 2, 5004), ("bulk", 3, 9000), ("default", 4, 7000)];

/// Of the programs of this gateway some are put in the place of the other version's by then: both of the tunnel, and tc of the port,
/// in front of which XDP is still the other's.
const HALF_WAY: &str = "program lanekeeper_xdp";

/// A gateway whose agents come and go, under probes of every class.
struct Stage {
    gateways: Gateways,
    last: Metrics,
    rows: Vec<String>,
}

impl Stage {
    fn new() -> Self {
        let scenario = Scenario::four_classes(Keying::Psk);
        let mut gateways = Gateways::idle("upgrade", scenario, Path::new(BINARY)).unwrap();
        let config = gateways.agent_of(Side::A).config();
        let port = "[[port]]\nname = \"lan0\"\nclassify = \"xdp\"\n\n[[class]]";
        let text = fs::read_to_string(&config).unwrap().replacen("[[class]]", port, 1);
        fs::write(&config, text).unwrap();
        for side in [Side::B, Side::A] {
            gateways.agent(side).start().unwrap();
        }
        gateways.wait_for_lanes(LANES_UP).unwrap();
        warm_up(gateways.lab()).unwrap();
        let mut rules = "nft add table inet probe
            nft add counter inet probe right
            nft add counter inet probe astray
            nft add chain inet probe pre '{ type filter hook prerouting priority -150; }'\n"
            .to_owned();
        for (_, mark, port) in CLASSES {
            let probe = format!("nft add rule inet probe pre iifname lan0 udp dport {port} meta mark and 0xff");
            rules += &format!("{probe} == {mark} counter name right\n{probe} != {mark} counter name astray\n");
        }
        gateways.lab().gateway(Side::A).sh(&rules).unwrap();
        let last = gateways.agent_of(Side::A).metrics().unwrap();
        Self { gateways, last, rows: Vec::new() }
    }

    /// Both ways, a class each: the next packet goes when the one before has arrived.
    fn flows(&self) -> Vec<Flow> {
        let lab = self.gateways.lab();
        let families = [Family::V4, Family::V6, Family::V4, Family::V6];
        let out = CLASSES.into_iter().zip(families).map(|((class, _, port), family)| {
            let dscp = if class == "voice" { 46 } else { 0 };
            Flow { dscp, window: Some(1), ..lab.flow(class, Side::A, family, port) }
        });
        let back = Flow { window: Some(1), ..lab.flow("video", Side::B, Family::V4, 5005) };
        out.chain([back]).collect()
    }

    /// The counter of nft's rules.
    fn port_packets(&self, name: &str) -> u64 {
        let text = self.gateways.lab().gateway(Side::A).sh(&format!("nft list counter inet probe {name}")).unwrap();
        let (_, rest) = text.split_once("packets ").unwrap();
        rest.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Takes a look at the metrics, none of which may have fallen, come or gone.
    fn look(&mut self) -> Option<&Metrics> {
        let now = self.gateways.agent_of(Side::A).metrics().ok()?;
        assert_eq!(now.fallen_since(&self.last), []);
        let names = |metrics: &Metrics| metrics.0.keys().cloned().collect::<Vec<Series>>();
        assert_eq!(names(&now), names(&self.last));
        self.last = now;
        Some(&self.last)
    }

    /// Starts an agent, and looks at its metrics from their first answer on until all is in place.
    fn start(&mut self, binary: &str) {
        self.gateways.agent(Side::A).set_binary(Path::new(binary));
        self.launch();
        let lanes = self.gateways.scenario().lanes().count();
        let deadline = Instant::now() + LANES_UP;
        loop {
            if let Some(metrics) = self.look()
                && metrics.sum("lanekeeper_reload_success", &[]) == 1.0
                && metrics.sum("lanekeeper_lane_up", &[]) as usize == lanes
            {
                return;
            }
            let agent = self.gateways.agent_of(Side::A);
            assert!(Instant::now() < deadline, "not in place\n{}", agent.log());
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn launch(&mut self) {
        let agent = self.gateways.agent(Side::A);
        agent.launch().unwrap();
        // The probes leave no processor idle.
        assert!(until(LANES_UP, || agent.id().is_some()), "{}", agent.log());
        let id = agent.id().unwrap().to_string();
        run(Command::new("renice").args(["-n", "-15", "-p", &id])).unwrap();
    }

    /// Starts an agent that dies, as by SIGKILL, at that step.
    fn start_and_break_off(&mut self, binary: &str, step: &str) {
        let agent = self.gateways.agent(Side::A);
        agent.set_binary(Path::new(binary));
        let failpoints = agent.set_failpoints().unwrap();
        failpoints.order("kill", step).unwrap();
        self.launch();
        let ended = self.gateways.agent(Side::A).bury(LANES_UP);
        ended.unwrap_or_else(|error| panic!("it goes on: {error:#}\n{}", self.gateways.agent_of(Side::A).log()));
        let passed = failpoints.passed().unwrap();
        assert!(
            passed.last().is_some_and(|last| last == step),
            "{passed:?}\n{}",
            self.gateways.agent_of(Side::A).log()
        );
        failpoints.clear().unwrap();
    }

    /// Folders of versions on the bpffs.
    fn versions(&self) -> Vec<String> {
        let folder: PathBuf = self.gateways.agent_of(Side::A).bpffs().join("lanekeeper");
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut versions: Vec<String> = names.filter(|name| name.starts_with('v')).collect();
        versions.sort();
        versions
    }

    /// Does it to the agent under the probes, and holds every count to what was sent.
    fn step(&mut self, name: &str, done: impl FnOnce(&mut Self)) {
        self.look().unwrap();
        let (kernel, counted, right) = self.counts();
        let (astray, flows) = (self.port_packets("astray"), self.flows());
        let traffic = Traffic::start(&flows).unwrap();
        let begin = Instant::now();
        thread::sleep(Duration::from_millis(300));
        done(self);
        thread::sleep(Duration::from_millis(300));
        let tallies = traffic.stop().unwrap();
        let took = begin.elapsed();
        self.look().unwrap();

        let (kernel_now, counted_now, right_now) = self.counts();
        let sent_of = |class: &str, from: Side| -> u64 {
            let of = flows
                .iter()
                .zip(&tallies)
                .filter(|(flow, _)| flow.name == class && flow.from == self.gateways.lab().lan(from));
            of.map(|(_, tally)| tally.sent).sum()
        };
        let all = tallies.iter().copied().fold(Tally::default(), Tally::plus);
        let mut unmarked = self.port_packets("astray") - astray;
        let outward: u64 = CLASSES.iter().map(|(class, _, _)| sent_of(class, Side::A)).sum();
        for (class, _, _) in CLASSES {
            let (went, sent) =
                (of_class(&kernel_now, class, true) - of_class(&kernel, class, true), sent_of(class, Side::A));
            unmarked += sent.abs_diff(went);
        }
        let row = format!("{name} | {} | {} | {unmarked} | {:.1} s", all.sent, all.lost(), took.as_secs_f64());
        println!("| {row} |");
        self.rows.push(row);
        assert!(tallies.iter().all(|tally| tally.sent > 10), "{tallies:?}");
        assert_eq!((all.lost(), unmarked), (0, 0), "{name}: {tallies:?}");
        assert_eq!(right_now - right, outward, "{name}: packets with the mark of their class at the port");
        for (class, _, _) in CLASSES {
            for (out, sent) in [(true, sent_of(class, Side::A)), (false, sent_of(class, Side::B))] {
                let counted = of_class(&counted_now, class, out) - of_class(&counted, class, out);
                assert_eq!(counted, sent, "{name}: {class} as /metrics has it, outward: {out}");
            }
        }
    }

    /// Packets by lane as the kernel has them and as the metrics do, and those that a port marked right.
    fn counts(&self) -> (LanePackets, LanePackets, u64) {
        let kernel = self.gateways.kernel_packets(Side::A).unwrap();
        (kernel, self.gateways.metric_packets(Side::A).unwrap(), self.port_packets("right"))
    }
}

fn of_class(packets: &LanePackets, class: &str, out: bool) -> u64 {
    packets.iter().filter(|((of, _, way), _)| *of == class && *way == out).map(|(_, packets)| packets).sum()
}

#[test]
fn fault_agents_of_either_version_follow_each_other_and_no_packet_notices() {
    let mut stage = Stage::new();
    let capture = Capture::start(&stage.gateways.lab().wan()).unwrap();
    let [ours, other] = [VERSION, VERSION + 1000].map(|version| format!("v{version}"));
    println!("| step | sent | lost | unmarked | took |");
    println!("|---|---|---|---|---|");
    stage.step("SIGTERM, start", |stage| {
        stage.gateways.agent(Side::A).stop().unwrap();
        stage.start(BINARY);
    });
    stage.step("kill -9, start", |stage| {
        stage.gateways.agent(Side::A).kill().unwrap();
        stage.start(BINARY);
    });
    stage.step("reload", |stage| drop(stage.gateways.agent_of(Side::A).must(&["reload"]).unwrap()));
    assert_eq!(stage.versions(), [ours.as_str()]);
    stage.step("upgrade", |stage| {
        stage.gateways.agent(Side::A).stop().unwrap();
        stage.start(OTHER);
    });
    assert_eq!(stage.versions(), [other.as_str()]);
    stage.step("downgrade", |stage| {
        stage.gateways.agent(Side::A).stop().unwrap();
        stage.start(BINARY);
    });
    assert_eq!(stage.versions(), [ours.as_str()]);
    stage.step("upgrade, killed half way, start", |stage| {
        stage.gateways.agent(Side::A).kill().unwrap();
        stage.start_and_break_off(OTHER, HALF_WAY);
        let mut both = [ours, other.clone()];
        both.sort();
        assert_eq!(stage.versions(), both);
        stage.start(OTHER);
    });
    assert_eq!(stage.versions(), [other]);
    let seen = capture.stop().unwrap();
    assert!(seen.clear == 0 && seen.esp_total() > 0, "{seen:?}");
}
