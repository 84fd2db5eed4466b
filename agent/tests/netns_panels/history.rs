//! A day of two gateways, as their pages would have been scraped: an hour in which the WAN was full, a lane that failed and its
//! class fell back, and a rekey of every lane each hour.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::fmt::Write as _;
use std::time::Duration;

use lanekeeper::compile::series::{By, Direction, LaneEvent, Reading, Refusal, Series};
use lanekeeper::config;
use lanekeeper::lane::{Condition, LaneId};
use lanekeeper::metrics::{Effort, Format, Scrape, encode, xfrm_stat};
use lanekeeper::policy::Policy;
use lanekeeper::status::Standing;
use lanekeeper_common::latency::{Delays, bucket};
use xtask::lab::prometheus::JOB;

/// Seconds between two scrapes.
pub const STEP: u64 = 60;

/// All of it, in seconds.
pub const DAY: u64 = 86_400;

/// From when to when voice's lane to branch-7 was down, in seconds of the day.
pub const FAILURE: (u64, u64) = (34_200, 36_600);

/// From when to when there was more than the WAN takes.
pub const CONGESTION: (u64, u64) = (50_400, 54_000);

const FILE: &str = r#"
[metrics]
latency-every = 1024
[[class]]
name = "voice"
fallback = "default"
[[class]]
name = "video"
fallback = "default"
[[class]]
name = "bulk"
lanes = 2
[[class]]
name = "default"
[[tunnel]]
name = "branch-7"
local = "192.0.2.1"
remote = "192.0.2.2"
classes = ["voice", "video", "bulk", "default"]
device = { type = "xfrm", name = "lk-branch7", if-id = 42, mtu = 1400 }
routes = ["10.2.0.0/16"]
[tunnel.ike]
local-id = "moon.example"
remote-id = "sun.example"
auth = { psk-file = "/etc/lanekeeper/branch-7.psk" }
[[tunnel]]
name = "branch-8"
local = "192.0.2.1"
remote = "192.0.2.3"
classes = ["voice", "default"]
device = { type = "xfrm", name = "lk-branch8", if-id = 43, mtu = 1400 }
routes = ["10.3.0.0/16"]
[tunnel.ike]
local-id = "moon.example"
remote-id = "mars.example"
auth = { psk-file = "/etc/lanekeeper/branch-8.psk" }
[[tenant]]
name = "acme"
sources = ["10.1.0.0/16"]
[[rule]]
name = "sip and rtp"
class = "voice"
protocol = "udp"
destination-port = ["5060", "16384-32767"]
[[rule]]
name = "backup"
tenant = "acme"
class = "bulk"
protocol = "tcp"
[[port]]
name = "lan0"
classify = "xdp"
[default]
class = "default"
"#;

/// What leaves the larger gateway's WAN at most, in bytes a second.
const WAN: f64 = 60e6 / 8.0;

/// In bytes a second, at the time of the day, and bytes a packet.
struct Load {
    voice: f64,
    video: f64,
    bulk: f64,
    default: f64,
}

const SIZES: [(&str, f64); 4] = [("voice", 200.0), ("video", 900.0), ("bulk", 1300.0), ("default", 600.0)];

impl Load {
    fn at(second: u64, scale: f64) -> Self {
        let hour = second as f64 / 3600.0;
        let office = |width: f64| (-((hour - 13.0) / width).powi(2)).exp();
        // Not even, and the same in each run.
        let uneven =
            |phase: f64| 1.0 + 0.06 * (TAU * hour * 1.7 + phase).sin() + 0.04 * (TAU * hour * 5.3 + 2.0 * phase).sin();
        let night = (-((hour - 2.0) / 1.0).powi(2)).exp();
        let is_full = (CONGESTION.0..CONGESTION.1).contains(&second);
        let voice = (0.05 + office(3.8)) * 0.3e6 * uneven(0.3);
        let video = (0.1 + office(3.2)) * 1.4e6 * uneven(1.1);
        let default = (0.2 + office(4.2)) * 0.9e6 * uneven(2.2);
        let asked = (0.4 + office(4.5) + 2.5 * night) * 1.2e6 * uneven(0.9) + if is_full { 9e6 } else { 0.0 };
        // The WAN serves bulk last.
        let bulk = asked.min(WAN - voice - video - default);
        Self { voice: voice * scale, video: video * scale, bulk: bulk * scale, default: default * scale }
    }

    fn of(&self, class: &str) -> f64 {
        match class {
            "voice" => self.voice,
            "video" => self.video,
            "bulk" => self.bulk,
            _ => self.default,
        }
    }
}

/// A minute's timed packets: encryption takes some 30 us, and what the WAN serves last waits in its queue while that is full.
fn waits(second: u64, class: &str) -> Delays {
    let is_full = (CONGESTION.0..CONGESTION.1).contains(&second);
    let hour = second as f64 / 3600.0;
    let queue = match (class, is_full) {
        ("bulk", true) => 180e6,
        ("default", true) => 12e6,
        ("bulk" | "default", false) => 0.4e6,
        _ => 0.15e6,
    };
    let mut delays = Delays::default();
    for step in 0..50 {
        // From a third of it to three times as much.
        let part =
            3f64.powf(f64::from(step) / 25.0 - 1.0) * (1.0 + 0.2 * (TAU * hour * 2.9 + class.len() as f64).sin());
        let wait = (30e3 + queue * part) as u64;
        delays.buckets[bucket(wait)] += 1;
        delays.sum += wait;
    }
    delays
}

struct Gateway {
    name: &'static str,
    policy: Policy,
    scale: f64,
    fails: bool,
    /// Packets and bytes so far.
    counted: Vec<(Series, f64, f64)>,
    places: BTreeMap<String, usize>,
    delays: BTreeMap<LaneId, Delays>,
    used: BTreeMap<LaneId, f64>,
}

impl Gateway {
    fn new(name: &'static str, scale: f64, fails: bool) -> Self {
        let policy = config::parse_text("day.toml", FILE).unwrap_or_else(|errors| panic!("{errors}")).policy;
        Self {
            name,
            policy,
            scale,
            fails,
            counted: Vec::new(),
            places: BTreeMap::new(),
            delays: BTreeMap::new(),
            used: BTreeMap::new(),
        }
    }

    fn count(&mut self, series: Series, packets: f64, bytes: f64) {
        let place = *self.places.entry(format!("{series:?}")).or_insert(self.counted.len());
        match self.counted.get_mut(place) {
            Some(counter) => {
                counter.1 += packets;
                counter.2 += bytes;
            }
            None => self.counted.push((series, packets, bytes)),
        }
    }

    fn is_down(&self, second: u64, lane: &LaneId) -> bool {
        let is_time = (FAILURE.0..FAILURE.1).contains(&second);
        self.fails && is_time && lane.tunnel == "branch-7" && lane.class == "voice"
    }

    fn lanes(&self) -> Vec<LaneId> {
        let of = |tunnel: &lanekeeper::policy::Tunnel| {
            let lane = |lane: &lanekeeper::policy::Lane| LaneId {
                tunnel: tunnel.name.clone(),
                class: self.policy.classes[lane.class.0].name.clone(),
                index: lane.index,
            };
            tunnel.lanes.iter().map(lane).collect::<Vec<_>>()
        };
        self.policy.tunnels.iter().flat_map(of).collect()
    }

    /// What the last step brought.
    fn advance(&mut self, second: u64) {
        let load = Load::at(second, self.scale);
        for (class, size) in SIZES {
            // The tenant has a third of it, and a third of voice goes to branch-8.
            for (tenant, share) in [("", 0.67), ("acme", 0.33)] {
                for (out, part) in [(true, 1.0), (false, 0.6)] {
                    let bytes = load.of(class) * STEP as f64 * share * part;
                    let (tenant, class) = (tenant.to_owned(), class.to_owned());
                    let series = match out {
                        true => Series::ClassOut { tenant, class },
                        false => Series::ClassIn { tenant, class },
                    };
                    self.count(series, bytes / size, bytes);
                }
            }
        }
        for lane in self.lanes() {
            let (own, size) = (load.of(&lane.class), SIZES.iter().find(|(class, _)| *class == lane.class).unwrap().1);
            let of_tunnel = match (lane.tunnel.as_str(), lane.class.as_str()) {
                ("branch-7", "voice" | "default") => 0.67,
                ("branch-8", _) => 0.33,
                // Two lanes, which flows are spread over.
                (_, "bulk") => [0.54, 0.46][usize::from(lane.index)],
                _ => 1.0,
            };
            let is_down = self.is_down(second, &lane);
            for (direction, part) in [(Direction::Out, 1.0), (Direction::In, 0.6)] {
                let bytes = own * of_tunnel * STEP as f64 * part;
                let LaneId { tunnel, class, index } = lane.clone();
                if is_down {
                    let (class, index) = ("default".to_owned(), 0);
                    self.count(Series::Lane { tunnel, class, index, direction }, bytes / size, bytes);
                } else {
                    self.count(Series::Lane { tunnel, class, index, direction }, bytes / size, bytes);
                }
                if is_down && direction == Direction::Out {
                    let LaneId { tunnel, class, .. } = lane.clone();
                    self.count(Series::Fallback { tunnel, class, to: "default".into() }, bytes / size, 0.0);
                }
            }
            let LaneId { tunnel, class, index } = lane.clone();
            // Each at a minute of its own.
            let minute = (u64::from(index) * 17 + class.len() as u64 * 7 + tunnel.len() as u64) % 60;
            // Each hour's SA gets as far as its load takes it.
            *self.used.entry(lane.clone()).or_default() += own * of_tunnel * STEP as f64 / size / 2f64.powi(32);
            if second / 60 % 60 == minute && !is_down {
                self.used.insert(lane.clone(), 0.0);
                self.count(Series::Event { tunnel, class, index, event: LaneEvent::Rekey }, 1.0, 0.0);
            }
        }
        for lane in self.lanes() {
            if !self.is_down(second, &lane) {
                let waits = waits(second, &lane.class);
                self.delays.entry(lane).or_default().add(&waits);
            }
        }
        let packets = |class: &str, size: f64| load.of(class) * STEP as f64 / size;
        self.count(Series::Rule { tenant: String::new(), rule: "sip and rtp".into() }, packets("voice", 200.0), 0.0);
        self.count(Series::Rule { tenant: "acme".into(), rule: "backup".into() }, packets("bulk", 1300.0) / 3.0, 0.0);
        self.count(Series::Port { interface: "lan0".into(), by: By::Xdp }, packets("default", 600.0), 0.0);
        if self.fails && second == FAILURE.0 + 600 {
            self.count(Series::Repair { kind: "connection".into() }, 1.0, 0.0);
        }
        if self.fails && second == 61_200 {
            self.count(Series::Overrun, 1.0, 0.0);
            self.count(Series::Refused { reason: Refusal::Password }, 1.0, 0.0);
        }
    }

    fn page(&self, start: u64, second: u64) -> String {
        let standing = |lane: LaneId| {
            let since = |at: u64| start + at;
            let standing = match (self.is_down(second, &lane), self.fails && second >= FAILURE.1) {
                (true, _) => Standing { condition: Condition::Down, since: since(FAILURE.0) },
                (false, true) => Standing { condition: Condition::Up, since: since(FAILURE.1) },
                (false, false) => Standing { condition: Condition::Up, since: start - DAY },
            };
            (lane, standing)
        };
        let lanes: BTreeMap<LaneId, Standing> = self.lanes().into_iter().map(standing).collect();
        let reading = |(series, packets, bytes): &(Series, f64, f64)| Reading {
            series: series.clone(),
            packets: *packets as u64,
            bytes: *bytes as u64,
        };
        let readings: Vec<Reading> = self.counted.iter().map(reading).collect();
        // The file was applied again at eleven.
        let again = second >= 39_600;
        let scrape = Scrape {
            policy: &self.policy,
            lanes: &lanes,
            clients: &BTreeMap::new(),
            readings: &readings,
            delays: &self.delays,
            used: &self.used,
            generation: if again { 4 } else { 3 },
            reload_success: true,
            reload_at: if again { start + 39_600 } else { start - DAY },
            xfrm_errors: &xfrm_stat::parse("XfrmInStateSeqError 0\nXfrmOutPolBlock 0\nXfrmInError 0\n"),
            // At three events could not be counted at once.
            effort: Effort { time: Duration::from_micros(2500), failures: [u64::from(second >= 54_000), 0, 0, 0] },
        };
        encode(&scrape, Format::Prometheus).unwrap()
    }
}

/// The day that began then, in seconds since 1970, as promtool takes it.
pub fn openmetrics(start: u64) -> String {
    // Each metric's samples belong together.
    let mut families: BTreeMap<String, String> = BTreeMap::new();
    for mut gateway in [Gateway::new("moon", 1.0, true), Gateway::new("phobos", 0.4, false)] {
        let target = format!("instance=\"{}:9738\",job=\"{JOB}\"", gateway.name);
        for second in (0..=DAY).step_by(STEP as usize) {
            gateway.advance(second);
            let page = gateway.page(start, second);
            let samples = page.lines().filter(|line| !line.starts_with('#')).count();
            // What Prometheus says of a scrape.
            let page = format!(
                "{page}up 1\nscrape_duration_seconds 0.0{}\nscrape_samples_scraped {samples}\n",
                11 + second / STEP % 7
            );
            for line in page.lines().filter(|line| !line.starts_with('#')) {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let (name, labels) = match series.split_once('{') {
                    Some((name, labels)) => (name, format!("{target},{labels}")),
                    None => (series, format!("{target}}}")),
                };
                let family = families.entry(name.to_owned()).or_default();
                writeln!(family, "{name}{{{labels} {value} {}", start + second).unwrap();
            }
        }
    }
    families.into_values().collect::<String>() + "# EOF\n"
}
