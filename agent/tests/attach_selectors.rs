//! An adopted connection whose traffic selectors are the routes and whose virtual IPs are the device's addresses: both come and go
//! with the SAs, stay where they are while keys and IKE_SAs change, and leave a block behind.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use xtask::demo::stage::warm_up;
use xtask::lab::capture::Capture;
use xtask::lab::dump;
use xtask::lab::gateways::{Gateways, LANES_UP};
use xtask::lab::handmade;
use xtask::lab::process::Process;
use xtask::lab::scenario::{Class, DEVICE, Keying, Scenario};
use xtask::lab::swanctl::{self, Child};
use xtask::lab::traffic::{Flow, Traffic, assert_whole};
use xtask::lab::{Family, Side};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Of B's site, as it has them in its traffic selectors; each lane has all of them.
const BEHIND: [&str; 3] = ["10.2.0.0/16", "10.22.0.0/16", "2001:db8:2::/48"];
/// In the second of these.
const SECOND: &str = "10.22.0.9";
/// What B's pools give first.
const GIVEN: [&str; 2] = ["10.66.0.1", "2001:db8:66::1"];
/// From the event to the kernel's table: two seconds, and as much again for an emulated processor.
const FOLLOWED: Duration = Duration::from_secs(4);

fn swanctl_conf(side: Side, behind: &str) -> String {
    let (local_ts, remote_ts, virtual_ips) = match side {
        Side::A => ("0.0.0.0/0, ::/0", behind, "vips = 0.0.0.0, ::"),
        Side::B => (behind, "0.0.0.0/0, ::/0", "pools = four, six"),
    };
    let pools = match side {
        Side::A => "",
        Side::B => "pools {\n    four { addrs = 10.66.0.0/24 }\n    six { addrs = 2001:db8:66::/112 }\n}\n",
    };
    let child = |name, label, mark| Child { name, label, mark, local_ts, remote_ts };
    let children = [child("voice", "voice.0", "1/0xff"), child("default", "default.0", "2/0xff")];
    swanctl::office(side, virtual_ips, &children) + pools
}

struct Stage(Gateways);

impl Stage {
    /// B gives addresses and answers for its networks by hand; A's file says neither addresses nor routes.
    fn new() -> Self {
        let scenario = Scenario {
            classes: vec![Class::new("voice").fallback("default"), Class::new("default")],
            rules: "[[rule]]\nclass = \"voice\"\nprotocol = \"udp\"\ndscp = [\"ef\"]\n".to_owned(),
            ..Scenario::four_classes(Keying::Psk)
        };
        let stage = Self(Gateways::idle("selectors", scenario, Path::new(BINARY)).unwrap());
        let config = stage.0.agent_of(Side::A).config();
        let toml = fs::read_to_string(&config).unwrap();
        let quoted = |list: [&str; 2]| list.map(|one| format!("{one:?}")).join(", ");
        let addresses = quoted(FAMILIES.map(|family| Side::A.tunnel_address(family)));
        let routes = quoted(FAMILIES.map(|family| Side::B.lan(family)));
        assert!(toml.contains(&addresses) && toml.contains(&routes), "{toml}");
        let toml = toml.replace(&addresses, "\"virtual\"").replace(&routes, "\"selectors\"");
        fs::write(&config, swanctl::adopting(&toml, "connection = \"office\"").unwrap()).unwrap();
        for side in [Side::A, Side::B] {
            // The new IKE_SA before the old one goes.
            let settings = stage.0.lab().files(side).join("strongswan.conf");
            let text = fs::read_to_string(&settings).unwrap();
            fs::write(&settings, text.replacen("charon {", "charon {\n    make_before_break = yes", 1)).unwrap();
            stage.swanctl(side, "--reload-settings");
            stage.load(side, &BEHIND.join(", "));
        }
        handmade::peer(stage.0.lab(), 2, &[("ip dscp ef", 1)]).unwrap();
        stage.0.lab().lan(Side::B).sh(&format!("ip addr add {SECOND} dev lo")).unwrap();
        let script = format!(
            "ip route add 10.22.0.0/16 via {}
             for net in 10.66.0.0/24 2001:db8:66::/112; do ip route add $net dev {DEVICE}; done",
            Side::B.host(Family::V4)
        );
        stage.0.lab().gateway(Side::B).sh(&script).unwrap();
        stage
    }

    fn load(&self, side: Side, behind: &str) {
        let conf = self.0.lab().files(side).join("swanctl.conf");
        fs::write(&conf, swanctl_conf(side, behind)).unwrap();
        self.swanctl(side, &format!("--load-all --file {}", conf.display()));
    }

    fn swanctl(&self, side: Side, arguments: &str) -> String {
        self.0.charon(side).unwrap().swanctl(arguments).unwrap()
    }

    fn initiate(&mut self) {
        for child in ["voice", "default"] {
            self.swanctl(Side::A, &format!("--initiate --child {child} --timeout 60"));
        }
        self.wait_for_lanes(2);
    }

    fn wait_for_lanes(&mut self, lanes: usize) {
        let done = self.0.agent(Side::A).wait_for_lanes(lanes, LANES_UP);
        done.unwrap_or_else(|error| panic!("{error:#}\n{}", self.0.agent_of(Side::A).log()));
    }

    /// Routes of ours in the main table, as `PREFIX DEVICE` or `unreachable PREFIX`.
    fn routes(&self) -> Vec<String> {
        let gateway = self.0.lab().gateway(Side::A);
        let text = gateway.sh("ip -4 route show proto 76; ip -6 route show proto 76").unwrap();
        let short = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["unreachable", prefix, ..] => format!("unreachable {prefix}"),
                [prefix, "dev", device, ..] => format!("{prefix} {device}"),
                other => other.join(" "),
            }
        };
        text.lines().map(short).collect()
    }

    /// Those of these prefixes that are up, and all that are not to leave in clear.
    fn expected(up: &[&str], blocked: &[&str]) -> Vec<String> {
        let mut lines: Vec<String> = up.iter().map(|prefix| format!("{prefix} {DEVICE}")).collect();
        lines.extend(blocked.iter().map(|prefix| format!("unreachable {prefix}")));
        lines.sort();
        lines
    }

    fn wait_for_routes(&self, limit: Duration, up: &[&str], blocked: &[&str]) {
        let (deadline, wanted) = (Instant::now() + limit, Self::expected(up, blocked));
        loop {
            let mut now = self.routes();
            now.sort();
            if now == wanted {
                return;
            }
            let log = || self.0.agent_of(Side::A).log();
            assert!(Instant::now() < deadline, "not in {limit:?}: {now:?}, wanted {wanted:?}\n{}", log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Addresses on the device, but for the kernel's own.
    fn addresses(&self) -> Vec<String> {
        let text = self.0.lab().gateway(Side::A).sh(&format!("ip -o addr show dev {DEVICE} scope global")).unwrap();
        text.lines().filter_map(|line| line.split_whitespace().nth(3).map(str::to_owned)).collect()
    }

    /// Into each of B's networks, and what its LAN host sends back.
    fn flows(&self, count: u64) -> Vec<Flow> {
        let flow = |from, family, port| Flow { count: Some(count), ..self.0.lab().flow("site", from, family, port) };
        let second = Flow {
            destination: SocketAddr::new(SECOND.parse::<IpAddr>().unwrap(), 7002),
            ..flow(Side::A, Family::V4, 7002)
        };
        let voice = Flow { dscp: 46, ..flow(Side::A, Family::V4, 5060) };
        let ways = [Side::A, Side::B].into_iter().flat_map(|from| FAMILIES.map(|family| flow(from, family, 7000)));
        ways.chain([second, voice]).collect()
    }

    fn received(&self) -> Vec<u64> {
        Traffic::run(&self.flows(20)).unwrap().iter().map(|tally| tally.received).collect()
    }

    /// Nobody else would change what the agent has made; marks of lanes that are down it alone still knows.
    fn assert_planned(&self) {
        let agent = self.0.agent_of(Side::A);
        let plan = agent.call(&["plan", &agent.config().display().to_string()]).unwrap();
        let text = String::from_utf8(plan.stdout).unwrap();
        let down = self.0.agent_of(Side::A).metrics().unwrap().sum("lanekeeper_lane_up", &[]) as usize == 0;
        let fine = |line: &str| line == "nothing to do" || down && line.starts_with("~ tables");
        let more: Vec<&str> = text.lines().filter(|line| !fine(line)).collect();
        assert_eq!(more, [] as [&str; 0], "{}", String::from_utf8_lossy(&plan.stderr));
    }
}

#[test]
fn attach_selectors_and_virtual_ips_follow_the_sas_and_nothing_leaks() {
    let mut stage = Stage::new();
    let gateway = stage.0.lab().gateway(Side::A);
    let machine = |stage: &Stage| stage.0.dump(Side::A).unwrap();
    let found = machine(&stage);
    let capture = Capture::start(&stage.0.lab().wan()).unwrap();
    stage.0.agent(Side::A).start().unwrap();
    stage.wait_for_routes(FOLLOWED, &[], &[]);
    stage.initiate();
    stage.wait_for_routes(FOLLOWED, &BEHIND, &BEHIND);
    let given = GIVEN.map(|address| format!("{address}/{}", if address.contains(':') { 128 } else { 32 }));
    assert_eq!(stage.addresses(), given);
    warm_up(stage.0.lab()).unwrap();
    assert_eq!(stage.received(), [20; 6]);
    // What the gateway itself sends there has the address that it was given.
    for (to, from) in [(Side::B.host(Family::V4), GIVEN[0]), (Side::B.host(Family::V6), GIVEN[1])] {
        let way = gateway.sh(&format!("ip route get {to}; ping -c 1 -W 10 {to}")).unwrap();
        assert!(way.contains(&format!("dev {DEVICE}")) && way.contains(&format!("src {from} ")), "{way}");
    }
    stage.assert_planned();

    // Keys and IKE_SAs change: no route and no address of ours moves, and no packet is lost.
    let mut monitor = gateway.command("ip");
    monitor.args(["-ts", "monitor", "route", "address"]);
    let mut monitor = Process::start("monitor", &mut monitor, &stage.0.lab().shared().join("monitor")).unwrap();
    let traffic = Traffic::start(&stage.flows(1000)).unwrap();
    let established = |stage: &Stage| {
        let sas = stage.swanctl(Side::A, "--list-sas");
        sas.lines().find(|line| line.contains("ESTABLISHED")).map(str::to_owned)
    };
    let before = established(&stage);
    for _ in 0..3 {
        for child in ["voice", "default"] {
            stage.swanctl(Side::A, &format!("--rekey --child {child}"));
        }
        thread::sleep(Duration::from_millis(500));
    }
    stage.swanctl(Side::A, "--rekey --ike office");
    thread::sleep(Duration::from_secs(1));
    stage.swanctl(Side::A, "--rekey --ike office --reauth");
    assert_whole(&traffic.finish().unwrap());
    let now = established(&stage);
    assert!(now.is_some() && now != before, "{before:?} {now:?}");
    monitor.stop().unwrap_or_else(|error| panic!("{error:#}"));
    let moved: Vec<String> = monitor.log().lines().filter(|line| line.contains(DEVICE)).map(str::to_owned).collect();
    assert_eq!(moved, [] as [&str; 0]);
    assert_eq!(stage.addresses(), given);
    stage.assert_planned();

    // The peer narrows: what is left out is unreachable.
    let narrow = ["10.2.0.0/16", "2001:db8:2::/48"];
    stage.swanctl(Side::A, "--terminate --ike office");
    stage.load(Side::B, &narrow.join(", "));
    stage.initiate();
    stage.wait_for_routes(FOLLOWED, &narrow, &BEHIND);
    assert_eq!(stage.received(), [20, 20, 20, 20, 0, 20]);

    // Without SAs there is a block, through a restart, too; with them all is as it was.
    stage.swanctl(Side::A, "--terminate --ike office");
    stage.wait_for_routes(FOLLOWED, &[], &BEHIND);
    assert_eq!(stage.addresses(), [] as [&str; 0]);
    let none = [0; 6];
    assert_eq!(stage.received(), none);
    stage.assert_planned();
    stage.0.agent(Side::A).kill().unwrap();
    let file = stage.0.agent_of(Side::A).config().display().to_string();
    stage.0.agent_of(Side::A).must(&["apply", &file]).unwrap();
    stage.wait_for_routes(FOLLOWED, &[], &BEHIND);
    stage.0.agent(Side::A).start().unwrap();
    stage.wait_for_routes(FOLLOWED, &[], &BEHIND);
    assert_eq!(stage.received(), none);
    stage.assert_planned();
    stage.load(Side::B, &BEHIND.join(", "));
    stage.initiate();
    stage.wait_for_routes(FOLLOWED, &BEHIND, &BEHIND);
    assert_eq!(stage.received(), [20; 6]);
    let seen = capture.stop().unwrap();
    assert!(seen.clear == 0 && seen.esp_total() > 0, "{seen:?}");

    stage.swanctl(Side::A, "--terminate --ike office");
    stage.0.agent(Side::A).stop().unwrap();
    stage.0.agent_of(Side::A).must(&["down"]).unwrap();
    assert_eq!(dump::difference(&found, &machine(&stage)), Vec::<String>::new());
}
