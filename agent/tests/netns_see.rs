//! Debian's Prometheus, 2.x and 3.x, reads the agent's page, asks every query of every dashboard, and runs the rules.
//!
//! The page is made and served by the agent's own code, of a policy that has one of everything and of counters that rise.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lanekeeper::compile::series::{By, Direction, LaneEvent, REPAIR_KINDS, Reading, Refusal, Series};
use lanekeeper::config;
use lanekeeper::lane::{Condition, LaneId};
use lanekeeper::metrics::server::{Source, bind, serve};
use lanekeeper::metrics::{Effort, Format, Scrape, encode, xfrm_stat};
use lanekeeper::policy::Policy;
use lanekeeper::status::Standing;
use lanekeeper::web::Current;
use lanekeeper_common::latency::{Delays, bucket};
use lanekeeper_common::verdict::{BlockReason, ParseReason};
use tokio::runtime::Runtime;
use xtask::lab::board::{Board, NAMES, Query};
use xtask::lab::prometheus::{JOB, Prometheus};
use xtask::setup::prometheus::{Programs, Release, find};
use xtask::workspace::Workspace;

/// One of everything that has a series.
const FILE: &str = r#"
[metrics]
latency-every = 1024
[[class]]
name = "voice"
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
classes = ["voice", "bulk", "default"]
device = { type = "xfrm", name = "lk-branch7", if-id = 42, mtu = 1400 }
routes = ["10.2.0.0/16"]
[tunnel.ike]
local-id = "moon.example"
remote-id = "sun.example"
auth = { psk-file = "/etc/lanekeeper/branch-7.psk" }
[[tenant]]
name = "acme"
sources = ["10.1.0.0/16"]
[[rule]]
name = "sip"
class = "voice"
protocol = "udp"
destination-port = ["5060"]
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

/// A kernel's file with errors of ours and of others.
const XFRM_STAT: &str = "XfrmInError 0\nXfrmInStateSeqError 3\nXfrmOutPolBlock 2\nXfrmOutNoStates 1\n";

/// Counters that rise by the time since the start.
struct Rising {
    policy: Policy,
    start: Instant,
    applied_at: u64,
}

impl Rising {
    fn new() -> Self {
        let loaded = config::parse_text("see.toml", FILE).unwrap_or_else(|errors| panic!("{errors}"));
        Self { policy: loaded.policy, start: Instant::now(), applied_at: now() - 60 }
    }

    /// All lanes but voice's.
    fn lanes(&self) -> BTreeMap<LaneId, Standing> {
        let lane = |class: &str, index, condition| {
            let id = LaneId { tunnel: "branch-7".into(), class: class.into(), index };
            (id, Standing { condition, since: self.applied_at })
        };
        let on_demand = lane("bulk", 1, Condition::OnDemand);
        [lane("bulk", 0, Condition::Up), on_demand, lane("default", 0, Condition::Up)].into()
    }

    /// Each lane's packets wait for 3 ms and for 30.
    fn delays(&self, n: u64) -> BTreeMap<LaneId, Delays> {
        let mut delays = Delays { sum: n * 33_000_000, ..Delays::default() };
        delays.buckets[bucket(3_000_000)] = n;
        delays.buckets[bucket(30_000_000)] = n;
        let lanes = self.policy.tunnels.iter().flat_map(|tunnel| {
            tunnel.lanes.iter().map(|lane| LaneId {
                tunnel: tunnel.name.clone(),
                class: self.policy.classes[lane.class.0].name.clone(),
                index: lane.index,
            })
        });
        lanes.map(|lane| (lane, delays)).collect()
    }

    fn readings(&self, n: u64) -> Vec<Reading> {
        let mut all = Vec::new();
        let mut count = |series, times: u64| {
            all.push(Reading { series, packets: n * times, bytes: n * times * 200 });
        };
        for tenant in ["", "acme"] {
            for class in &self.policy.classes {
                let (tenant, class) = (tenant.to_owned(), class.name.clone());
                count(Series::ClassOut { tenant: tenant.clone(), class: class.clone() }, 40);
                count(Series::ClassIn { tenant: tenant.clone(), class: class.clone() }, 30);
                for reason in BlockReason::ALL {
                    count(Series::Blocked { tenant: tenant.clone(), class: class.clone(), reason }, 2);
                }
            }
        }
        for tunnel in &self.policy.tunnels {
            for lane in &tunnel.lanes {
                let (tunnel, index) = (tunnel.name.clone(), lane.index);
                let class = self.policy.classes[lane.class.0].name.clone();
                for direction in [Direction::Out, Direction::In] {
                    count(Series::Lane { tunnel: tunnel.clone(), class: class.clone(), index, direction }, 50);
                }
                for event in [LaneEvent::Rekey, LaneEvent::ReplayError, LaneEvent::IntegrityError] {
                    count(Series::Event { tunnel: tunnel.clone(), class: class.clone(), index, event }, 1);
                }
            }
        }
        count(Series::Fallback { tunnel: "branch-7".into(), class: "voice".into(), to: "default".into() }, 5);
        for (tenant, rule) in [("", "sip"), ("acme", "backup")] {
            count(Series::Rule { tenant: tenant.into(), rule: rule.into() }, 7);
        }
        for by in [By::Xdp, By::Tc] {
            count(Series::Port { interface: "lan0".into(), by }, 9);
        }
        for reason in ParseReason::ALL {
            count(Series::Parse { reason }, 1);
        }
        for kind in REPAIR_KINDS {
            count(Series::Repair { kind: kind.to_owned() }, 1);
        }
        count(Series::Overrun, 1);
        for reason in Refusal::ALL {
            count(Series::Refused { reason }, 1);
        }
        all
    }
}

impl Source for Rising {
    fn page(&self, format: Format) -> Result<String, String> {
        let n = u64::try_from(self.start.elapsed().as_millis()).expect("a short test") / 10;
        let errors: Vec<(String, u64)> =
            xfrm_stat::parse(XFRM_STAT).into_iter().map(|(name, count)| (name, count * n)).collect();
        let scrape = Scrape {
            policy: &self.policy,
            lanes: &self.lanes(),
            clients: &Default::default(),
            readings: &self.readings(n),
            delays: &self.delays(n),
            used: &self.lanes().into_keys().map(|lane| (lane, 0.5)).collect(),
            generation: 3,
            reload_success: true,
            reload_at: self.applied_at,
            xfrm_errors: &errors,
            effort: Effort { time: Duration::from_micros(2500), failures: [n; 4] },
        };
        encode(&scrape, format).map_err(|error| error.to_string())
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    fn refused(&self, _: Refusal) {}
}

/// Serves until it is dropped.
struct Agent {
    address: SocketAddr,
    _runtime: Runtime,
}

impl Agent {
    fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(bind("127.0.0.1:0".parse().unwrap())).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(serve(listener, Arc::new(Rising::new()), Arc::new(Current::read(None).unwrap())));
        Self { address, _runtime: runtime }
    }

    fn page(&self) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").expect("a head and a page").1.to_owned()
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn programs(release: Release) -> Programs {
    find(&Workspace::find().unwrap(), release).expect("`cargo xtask setup` brings Prometheus")
}

fn dashboards() -> PathBuf {
    Workspace::find().unwrap().root().join("dashboards")
}

fn promtool(release: Release, arguments: &[&str], input: &str) -> (bool, String) {
    let mut command = Command::new(programs(release).promtool);
    command.args(arguments).current_dir(dashboards());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.success(), said)
}

#[test]
fn see_promtool_finds_nothing_wrong_with_the_page() {
    let page = Agent::start().page();
    for release in Release::ALL {
        let (fine, said) = promtool(release, &["check", "metrics"], &page);
        assert!(fine && said.trim().is_empty(), "{release:?}: {said}\n{page}");
        // It would have said something.
        let (fine, said) = promtool(release, &["check", "metrics"], "# TYPE x_total gauge\nx_total 1\n");
        assert!(!fine, "{release:?}: {said}");
    }
}

#[test]
fn see_every_rule_is_one_and_every_alert_fires_and_is_silent() {
    for release in Release::ALL {
        let (fine, said) = promtool(release, &["check", "rules", "rules.yml"], "");
        assert!(fine && said.contains("SUCCESS"), "{release:?}: {said}");
        let (fine, said) = promtool(release, &["test", "rules", "rules.test.yml"], "");
        assert!(fine && said.contains("SUCCESS"), "{release:?}: {said}");
    }
}

#[test]
fn see_every_query_of_every_panel_returns_numbers_in_prometheus_2() {
    every_query_returns_numbers(Release::Two, "2.");
}

#[test]
fn see_every_query_of_every_panel_returns_numbers_in_prometheus_3() {
    every_query_returns_numbers(Release::Three, "3.");
}

fn every_query_returns_numbers(release: Release, version: &str) {
    let agent = Agent::start();
    let folder = tempfile::tempdir().unwrap();
    let rules = dashboards().join("rules.yml");
    let mut prometheus = Prometheus::start(&programs(release), folder.path(), agent.address, &rules).unwrap();
    prometheus
        .wait_until("six scrapes", |asker| {
            let scrapes = asker.now("count_over_time(lanekeeper_generation[1m])").unwrap_or_default();
            scrapes.first().is_some_and(|scrapes| scrapes.values[0] >= 6.0)
        })
        .unwrap();
    let asker = prometheus.asker();
    let built = asker.api("status/buildinfo", &[]).unwrap();
    assert!(built["data"]["version"].as_str().unwrap().starts_with(version), "{built}");
    let mut wrong = Vec::new();
    let mut asked = 0;
    for name in NAMES {
        let board = Board::read(&Workspace::find().unwrap(), name, &asker, "4s").unwrap();
        assert_eq!(board.chosen["job"], JOB);
        for Query { title, text, instant, .. } in board.queries().unwrap() {
            let answer = if instant { asker.now(&text) } else { asker.range(&text, now() - 2, now()) };
            let what = match &answer {
                Err(error) => format!("{error:#}"),
                Ok(series) if series.is_empty() => "no data".to_owned(),
                Ok(series) if series.iter().flat_map(|one| &one.values).any(|value| !value.is_finite()) => {
                    format!("not a number: {series:?}")
                }
                Ok(_) => String::new(),
            };
            asked += 1;
            if !what.is_empty() {
                wrong.push(format!("{name}, {title}: {text}: {what}"));
            }
        }
    }
    assert!(wrong.is_empty() && asked > 80, "{asked} asked\n{}", wrong.join("\n"));
    // The rules run on the same page: what is wrong there on purpose is on its way to an alert, and nothing else.
    let alerts = asker.api("alerts", &[]).unwrap();
    let pending: BTreeSet<&str> = alerts["data"]["alerts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|alert| alert["labels"]["alertname"].as_str().unwrap())
        .collect();
    assert!(pending.contains("LanekeeperLaneDown") && pending.contains("LanekeeperFallingBack"), "{pending:?}");
    for silent in ["LanekeeperTunnelDown", "LanekeeperAgentGone", "LanekeeperReloadFailed", "LanekeeperRekeyOverdue"] {
        assert!(!pending.contains(silent), "{pending:?}");
    }
}
