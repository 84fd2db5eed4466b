//! The page at `/`, in Debian's Chromium: served by the agent's own code, of counters that the test moves.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lanekeeper::compile::series::{Direction, LaneEvent, Reading, Refusal, Series};
use lanekeeper::config;
use lanekeeper::lane::{Condition, LaneId};
use lanekeeper::metrics::server::{Source, bind, serve};
use lanekeeper::metrics::{Effort, Format, Scrape, encode};
use lanekeeper::policy::Policy;
use lanekeeper::status::Standing;
use lanekeeper::web::Current;
use lanekeeper_common::latency::{Delays, bucket};
use lanekeeper_common::verdict::BlockReason;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use xtask::lab::browser::{Browser, Log, TAB};
use xtask::lab::metrics::Metrics;

/// Names as odd as a file may have them: in JavaScript every object has one that is called as the first, and a rule's may
/// be markup. The second has the most letters that a name may have.
const FILE: &str = r#"
[[class]]
name = "__proto__"
fallback = "-._"
[[class]]
name = "The_class.of-thirty-1-letters-x"
lanes = 2
[[class]]
name = "-._"
[[class]]
name = "renamed"
[[tunnel]]
name = "constructor"
local = "192.0.2.1"
remote = "192.0.2.2"
classes = ["__proto__", "The_class.of-thirty-1-letters-x", "-._", "renamed"]
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
name = '</td><img src=x onerror="document.title=1">\"} 5'
class = "__proto__"
protocol = "udp"
[default]
class = "-._"
"#;

/// The fourth class's name, which no file may have: the page trusts none.
const MARKUP: &str = "<img src=x onerror=\"document.title='run'\">&amp;\n\\";

/// Until the page shows what it should: it asks every two seconds, and builds may have the processors meanwhile.
const PATIENCE: Duration = Duration::from_secs(40);

/// How far a rate on the page may be from that between two readings of ours: the browser reads at other moments, by a clock
/// of its own, and rounds to three digits.
const BOUND: f64 = 0.1;

/// A gateway whose counters rise evenly, each by a step of its own.
struct Gateway {
    policy: Policy,
    state: Mutex<State>,
    /// Times that it was asked for its metrics.
    asked: AtomicU64,
}

struct State {
    /// Hundredths of a second that had been counted at `since`, and how many each second brings.
    before: f64,
    since: Instant,
    speed: f64,
    lanes: BTreeMap<LaneId, Standing>,
    /// How long packets took, where the file asks for it.
    delays: Option<BTreeMap<LaneId, Delays>>,
    reload_success: bool,
    /// Why there are no metrics.
    trouble: Option<String>,
}

impl Gateway {
    fn new() -> Self {
        let mut policy = config::parse_text("page.toml", FILE).unwrap_or_else(|errors| panic!("{errors}")).policy;
        policy.classes[3].name = MARKUP.to_owned();
        let tunnel = &policy.tunnels[0];
        let lanes = tunnel.lanes.iter().map(|lane| {
            let class = policy.classes[lane.class.0].name.clone();
            let condition = if lane.index == 1 { Condition::OnDemand } else { Condition::Up };
            let id = LaneId { tunnel: tunnel.name.clone(), class, index: lane.index };
            (id, Standing { condition, since: now() - 3_000_000 })
        });
        let lanes = lanes.collect();
        let (before, since, speed) = (1e5, Instant::now(), 100.0);
        let state = State { before, since, speed, lanes, delays: None, reload_success: true, trouble: None };
        Self { policy, state: Mutex::new(state), asked: AtomicU64::new(0) }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap();
        state.before = state.hundredths();
        state.since = Instant::now();
        change(&mut state);
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    fn readings(&self, n: f64) -> Vec<Reading> {
        let mut all = Vec::new();
        let mut count = |series, times: u64, size: u64| {
            let packets = (n * times as f64) as u64;
            all.push(Reading { series, packets, bytes: packets * size });
        };
        for (k, class) in (0..).zip(&self.policy.classes) {
            let name = || class.name.clone();
            for (tenant, more) in [("", 13), ("acme", 5)] {
                let tenant = || tenant.to_owned();
                count(Series::ClassOut { tenant: tenant(), class: name() }, 20 + more * k, 100 + 200 * k);
                count(Series::ClassIn { tenant: tenant(), class: name() }, 7 + more * k, 1000 - 200 * k);
            }
        }
        let tunnel = &self.policy.tunnels[0];
        for (k, lane) in (0..).zip(&tunnel.lanes) {
            let id = || (tunnel.name.clone(), self.policy.classes[lane.class.0].name.clone(), lane.index);
            for (direction, times) in [(Direction::Out, 50 + 30 * k), (Direction::In, 30 + 20 * k)] {
                let (tunnel, class, index) = id();
                count(Series::Lane { tunnel, class, index, direction }, times, 300 + 100 * k);
            }
            for (event, times) in [(LaneEvent::Rekey, 1), (LaneEvent::ReplayError, 2), (LaneEvent::IntegrityError, 3)] {
                let (tunnel, class, index) = id();
                count(Series::Event { tunnel, class, index, event }, times + k, 0);
            }
        }
        let class = |k: usize| self.policy.classes[k].name.clone();
        count(Series::Fallback { tunnel: tunnel.name.clone(), class: class(0), to: class(2) }, 5, 0);
        count(Series::Blocked { tenant: String::new(), class: class(1), reason: BlockReason::NoLane }, 3, 0);
        count(Series::Blocked { tenant: "acme".into(), class: class(1), reason: BlockReason::NotCarried }, 4, 0);
        all
    }
}

impl State {
    /// As many packets of a lane have taken so long.
    fn time(&mut self, class: &str, packets: u64, took: Duration) {
        let nanoseconds = took.as_nanos() as u64;
        let (id, _) = self.lanes.iter().find(|(id, _)| id.class == class && id.index == 0).unwrap();
        let delays = self.delays.get_or_insert_default().entry(id.clone()).or_default();
        delays.buckets[bucket(nanoseconds)] += packets;
        delays.sum += packets * nanoseconds;
    }

    fn hundredths(&self) -> f64 {
        self.before + self.since.elapsed().as_secs_f64() * self.speed
    }
}

impl Source for Gateway {
    fn page(&self, format: Format) -> Result<String, String> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let state = self.state.lock().unwrap();
        if let Some(trouble) = &state.trouble {
            return Err(trouble.clone());
        }
        let latency_every = state.delays.as_ref().map(|_| 1);
        let scrape = Scrape {
            policy: &Policy { latency_every, ..self.policy.clone() },
            lanes: &state.lanes,
            clients: &Default::default(),
            readings: &self.readings(state.hundredths()),
            used: &Default::default(),
            generation: 3,
            reload_success: state.reload_success,
            reload_at: now() - 60,
            xfrm_errors: &[],
            effort: Effort::default(),
            delays: &state.delays.clone().unwrap_or_default(),
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
    fn start(gateway: &Arc<Gateway>, address: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(bind(address.parse().unwrap())).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(serve(listener, Arc::clone(gateway) as Arc<dyn Source>, Arc::new(Current::read(None).unwrap())));
        Self { address, _runtime: runtime }
    }

    fn metrics(&self) -> Metrics {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        Metrics::parse(answer.split_once("\r\n\r\n").expect("a head and a body").1).unwrap()
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A browser that has opened the page of an agent, and seen rates on it. Fields are dropped in this order.
struct Scene {
    browser: Browser,
    agent: Option<Agent>,
    gateway: Arc<Gateway>,
    origin: String,
    _folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        let gateway = Arc::new(Gateway::new());
        let agent = Agent::start(&gateway, "127.0.0.1:0");
        let origin = format!("http://{}/", agent.address);
        let folder = tempfile::tempdir().unwrap();
        let browser = Browser::start(folder.path()).unwrap();
        browser.resize(1280, 800).unwrap();
        browser.open(&origin).unwrap();
        let scene = Self { browser, agent: Some(agent), gateway, origin, _folder: folder };
        let is_known = |(_, cells): &(_, BTreeMap<_, Vec<String>>)| number(&cells["Out"][0]).is_some();
        scene.wait("rates", |page| page.classes.len() == 4 && page.classes.iter().all(is_known));
        scene
    }

    /// A reading, and when it was made.
    fn metrics(&self) -> (Instant, Metrics) {
        let agent = self.agent.as_ref().expect("it runs");
        // One that others kept waiting for a processor does not say when it was made.
        for _ in 0..100 {
            let begun = Instant::now();
            let metrics = agent.metrics();
            if begun.elapsed() < Duration::from_millis(50) {
                return (begun, metrics);
            }
        }
        panic!("no quick reading");
    }

    fn page(&self) -> Page {
        Page::of(&self.browser.run(READ).unwrap())
    }

    /// The page once it is as it should be.
    fn wait(&self, goal: &str, pleases: impl Fn(&Page) -> bool) -> Page {
        let value = self.browser.wait_until(PATIENCE, goal, READ, |value| pleases(&Page::of(value))).unwrap();
        Page::of(&value)
    }

    fn eval(&self, script: &str) -> Value {
        self.browser.run(script).unwrap()
    }

    fn quiet(&self) {
        assert_eq!(self.browser.log(Log::Console).unwrap(), Vec::<Value>::new());
    }
}

/// What is on the page, as text. Names beside each other, because one of them is no key of an object.
const READ: &str = "
    const text = (id) => document.getElementById(id).textContent;
    const cells = (row) => Object.fromEntries([...row.querySelectorAll('td:not([hidden])')].map((td) =>
        [td.dataset.label, [...td.querySelectorAll('span, small')].map((node) => node.textContent)]));
    const rows = (table) => [...document.querySelectorAll(`#${table} tbody tr:has(td)`)].map((row) =>
        [row.querySelector('th').textContent, cells(row)]);
    return { state: text('state'), summary: text('summary'), about: text('about'), read: text('read'), shown: text('shown'),
        classes: rows('classes'), lanes: rows('lanes'),
        tunnels: [...document.querySelectorAll('th[scope=rowgroup]')].map((th) => th.textContent),
        lines: [...document.querySelectorAll('svg path')].map((path) => path.getAttribute('d')) };";

type Rows = Vec<(String, BTreeMap<String, Vec<String>>)>;

#[derive(Debug, Clone, PartialEq)]
struct Page {
    state: String,
    summary: String,
    about: String,
    read: String,
    shown: String,
    classes: Rows,
    lanes: Rows,
    tunnels: Vec<String>,
    lines: Vec<String>,
}

impl Page {
    fn of(value: &Value) -> Self {
        fn part<T: serde::de::DeserializeOwned>(value: &Value, key: &str) -> T {
            serde_json::from_value(value[key].clone()).unwrap_or_else(|error| panic!("{key}: {error}: {value:#}"))
        }
        Self {
            state: part(value, "state"),
            summary: part(value, "summary"),
            about: part(value, "about"),
            read: part(value, "read"),
            shown: part(value, "shown"),
            classes: part(value, "classes"),
            lanes: part(value, "lanes"),
            tunnels: part(value, "tunnels"),
            lines: part(value, "lines"),
        }
    }

    fn lane(&self, name: &str) -> &BTreeMap<String, Vec<String>> {
        &self.lanes.iter().find(|(lane, _)| lane == name).unwrap_or_else(|| panic!("{name}: {self:#?}")).1
    }

    fn class(&self, name: &str) -> &BTreeMap<String, Vec<String>> {
        &self.classes.iter().find(|(class, _)| class == name).unwrap_or_else(|| panic!("{name}: {self:#?}")).1
    }
}

/// The number that a text begins with, in base units; nothing where nothing is known.
fn number(text: &str) -> Option<f64> {
    let mut words = text.split(' ');
    let number: f64 = words.next()?.replace(',', "").parse().ok()?;
    Some(match words.next() {
        Some("kbit/s") => number * 1e3,
        Some("Mbit/s") => number * 1e6,
        Some("Gbit/s") => number * 1e9,
        Some(_) | None => number,
    })
}

/// Says where a rate of the page is another than that between two scrapes.
struct Between<'a> {
    first: &'a Metrics,
    last: &'a Metrics,
    seconds: f64,
    wrong: Vec<String>,
    compared: usize,
}

impl Between<'_> {
    fn rate(&mut self, shown: &str, metric: &str, times: f64, labels: &[(&str, &str)]) {
        let grown = self.last.sum(metric, labels) - self.first.sum(metric, labels);
        let expected = times * grown / self.seconds;
        assert!(expected > 0.0, "{metric} {labels:?} stands still");
        self.compared += 1;
        if number(shown).is_none_or(|shown| (shown / expected - 1.0).abs() > BOUND) {
            self.wrong.push(format!("{metric} {labels:?}: {shown:?} instead of {expected}"));
        }
    }

    /// A count that rises: not below the first reading, not above the last one.
    fn count(&mut self, shown: &str, metric: &str, labels: &[(&str, &str)]) {
        let (least, most) = (self.first.sum(metric, labels), self.last.sum(metric, labels));
        assert!(least < most, "{metric} {labels:?} stands still");
        self.compared += 1;
        if number(shown).is_none_or(|shown| !(least..=most).contains(&shown)) {
            self.wrong.push(format!("{metric} {labels:?}: {shown:?} is not from {least} to {most}"));
        }
    }
}

#[test]
fn see_page_shows_numbers_that_move_and_are_those_of_metrics() {
    let scene = Scene::new();
    let ((begun, first), before) = (scene.metrics(), scene.page());
    let shown = scene.wait("another reading", |page| page.lines != before.lines && page.lanes != before.lanes);
    sleep(Duration::from_secs(1));
    let (ended, last) = scene.metrics();
    let seconds = (ended - begun).as_secs_f64();

    // A label as the text format has it, which is how the lab's reader leaves it.
    let escaped = |name: &str| name.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"");
    let mut between = Between { first: &first, last: &last, seconds, wrong: Vec::new(), compared: 0 };
    let mut all_out = 0.0;
    for (class, cells) in &shown.classes {
        all_out += number(&cells["Out"][0]).unwrap();
        let class = escaped(class);
        for (column, direction) in [("Out", "out"), ("In", "in")] {
            let labels = [("class", class.as_str()), ("direction", direction)];
            between.rate(&cells[column][0], "lanekeeper_class_bytes_total", 8.0, &labels);
            between.rate(&cells[column][1], "lanekeeper_class_packets_total", 1.0, &labels);
        }
    }
    for (lane, cells) in &shown.lanes {
        let (class, index) = lane.rsplit_once('.').unwrap();
        let class = escaped(class);
        for (column, direction) in [("Out", "out"), ("In", "in")] {
            let labels = [("class", class.as_str()), ("lane", index), ("direction", direction)];
            between.rate(&cells[column][0], "lanekeeper_lane_bytes_total", 8.0, &labels);
            between.rate(&cells[column][1], "lanekeeper_lane_packets_total", 1.0, &labels);
        }
        let labels = [("class", class.as_str()), ("lane", index)];
        between.count(&cells["Rekeys"][0], "lanekeeper_lane_rekeys_total", &labels);
        between.count(&cells["Replay errors"][0], "lanekeeper_lane_replay_errors_total", &labels);
        between.count(&cells["Integrity errors"][0], "lanekeeper_lane_integrity_errors_total", &labels);
    }
    let detour = &shown.class("__proto__")["Falls back"];
    assert!(detour[0].ends_with(" pkt/s to -._") && detour[1].ends_with(" to -._ so far"), "{detour:?}");
    between.rate(&detour[0], "lanekeeper_fallback_packets_total", 1.0, &[]);
    between.count(&detour[1], "lanekeeper_fallback_packets_total", &[]);
    let long = "The_class.of-thirty-1-letters-x";
    let blocked = &shown.class(long)["Blocked"];
    between.rate(&blocked[0], "lanekeeper_blocked_packets_total", 1.0, &[]);
    for (part, reason) in blocked[1].strip_suffix(" so far").unwrap().split(", ").zip(["no_lane", "not_carried"]) {
        assert!(part.ends_with(reason), "{blocked:?}");
        between.count(part, "lanekeeper_blocked_packets_total", &[("reason", reason)]);
    }
    assert_eq!(between.wrong, Vec::<String>::new());
    assert_eq!(between.compared, 4 * 4 + 5 * 7 + 2 + 3);
    for (class, cells) in &shown.classes {
        let share = 100.0 * number(&cells["Out"][0]).unwrap() / all_out;
        let told = number(&cells["Share of out"][0]).unwrap();
        // To a whole, or below ten to a tenth, of parts that were rounded themselves.
        assert!((told - share).abs() < if share < 9.9 { 0.2 } else { 0.7 }, "{class}: {told} % instead of {share} %");
        assert!(class == "__proto__" || cells["Falls back"][0] == "no", "{cells:?}");
        assert!(class == long || cells["Blocked"][0] == "no", "{cells:?}");
    }
    assert_eq!(shown.summary, "1 of 1 tunnels and 5 of 5 lanes are up.");
    let states = shown.lanes.iter().map(|(name, cells)| (name.rsplit_once('.').unwrap().1, cells["State"][0].as_str()));
    for (index, state) in states {
        assert_eq!(state, if index == "1" { "\u{25b3} on demand" } else { "\u{25b2} up" });
    }
    assert_eq!(shown.tunnels, ["constructor\u{25b2} up, 5 of 5 lanes"]);
    assert!(
        shown.about.ends_with(&format!(". Version {}, generation 3.", env!("CARGO_PKG_VERSION"))),
        "{}",
        shown.about
    );
    assert_eq!(shown.lines.len(), 2 * shown.classes.len());
    assert!(shown.lines.iter().all(|line| line.starts_with('M') && line.contains('L')), "{:?}", shown.lines);

    // Rates follow: three times as fast.
    scene.gateway.change(|state| state.speed *= 3.0);
    let slow = number(&shown.class("-._")["Out"][0]).unwrap();
    let risen =
        |page: &Page| number(&page.class("-._")["Out"][0]).is_some_and(|fast| (2.7..3.3).contains(&(fast / slow)));
    scene.wait("three times the rate", risen);
    scene.quiet();
}

/// What the page has of a lane's latency.
const P99: &str = "p99 to the wire";

#[test]
fn see_page_shows_what_99_of_100_packets_took_at_most_where_the_file_asks() {
    let scene = Scene::new();
    let heads = "return [...document.querySelectorAll('#lanes thead th')].filter((th) => th.checkVisibility()).length";
    let told = "return document.querySelector('#lanes caption span').checkVisibility()";
    assert!(scene.page().lanes.iter().all(|(_, cells)| !cells.contains_key(P99)));
    assert_eq!((scene.eval(heads), scene.eval(told)), (json!(7), json!(false)));

    // What was counted before the page looked is not of the last minute.
    let (voice, long, calm) = ("__proto__", "The_class.of-thirty-1-letters-x", "-._");
    scene.gateway.change(|state| {
        state.time(voice, 1_000_000, Duration::from_secs(3));
        state.time(long, 7, Duration::from_secs(3));
    });
    let says = |page: &Page, class: &str, large: &str, small: &str| {
        page.lane(&format!("{class}.0")).get(P99).is_some_and(|cell| cell == &[large, small])
    };
    let none = |page: &Page| [voice, long, calm].iter().all(|class| says(page, class, "\u{2013}", "no packet timed"));
    scene.wait("nothing was timed since", none);
    assert_eq!((scene.eval(heads), scene.eval(told)), (json!(8), json!(true)));
    let spans = "return [...document.querySelectorAll('#lanes th[scope=rowgroup]')].map((th) => th.colSpan)";
    assert_eq!(scene.eval(spans), json!([8]));

    // Of 100 packets one may be slower, of 101 two are more than that.
    scene.gateway.change(|state| {
        state.time(voice, 99, Duration::from_micros(150));
        state.time(voice, 1, Duration::from_millis(40));
        state.time(long, 99, Duration::from_micros(8));
        state.time(long, 2, Duration::from_millis(103));
        state.time(calm, 3, Duration::from_secs(2));
    });
    let first = |page: &Page| {
        says(page, voice, "\u{2264} 200 \u{b5}s", "of 100 packets")
            && says(page, long, "\u{2264} 200 ms", "of 101 packets")
            && says(page, calm, "> 1 s", "of 3 packets")
    };
    let page = scene.wait("the first latencies", first);
    assert_eq!(page.lane("The_class.of-thirty-1-letters-x.1")[P99], ["\u{2013}", "no packet timed"]);
    // The bound is one of those that /metrics has, and as many packets are not above it.
    let (_, metrics) = scene.metrics();
    let grown = |le: &str| {
        let labels = [("class", long), ("lane", "0"), ("le", le)];
        metrics.sum("lanekeeper_lane_latency_seconds_bucket", &labels)
    };
    assert_eq!(["0.1", "0.2", "+Inf"].map(grown), [99.0, 101.0, 108.0]);

    // They add up while they are of one minute, and go on where the counters began anew.
    scene.gateway.change(|state| state.time(calm, 297, Duration::from_micros(800)));
    scene.wait("more of them", |page| says(page, calm, "\u{2264} 1 ms", "of 300 packets"));
    scene.gateway.change(|state| {
        state.delays = None;
        state.time(calm, 50, Duration::from_millis(4));
    });
    scene.wait("other counters", |page| says(page, calm, "\u{2264} 5 ms", "of 50 packets"));

    // Who does not ask any more has no column.
    scene.gateway.change(|state| state.delays = None);
    scene.wait("no latencies", |page| page.lanes.iter().all(|(_, cells)| !cells.contains_key(P99)));
    assert_eq!((scene.eval(heads), scene.eval(told)), (json!(7), json!(false)));
    scene.quiet();
}

#[test]
fn see_page_shows_names_as_text_and_asks_nobody_else() {
    let scene = Scene::new();
    let page = scene.page();
    let names: Vec<&str> = page.classes.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["-._", MARKUP, "The_class.of-thirty-1-letters-x", "__proto__"]);
    assert!(page.lanes.iter().any(|(name, _)| name == &format!("{MARKUP}.0")), "{page:#?}");
    assert_eq!(scene.eval("return [document.images.length, document.title]")[0], 0);
    assert!(scene.eval("return document.title").as_str().unwrap().starts_with("Lanekeeper 127.0.0.1:"));
    scene.quiet();
    let requests = scene.browser.requests().unwrap();
    let (inside, outside): (Vec<_>, Vec<_>) = requests.into_iter().partition(|url| url.starts_with(&scene.origin));
    assert!(outside.iter().all(|url| url.starts_with("data:")), "{outside:?}");
    assert!(inside.contains(&scene.origin), "{inside:?}");
    assert!(inside.iter().filter(|url| **url == format!("{}metrics", scene.origin)).count() >= 2, "{inside:?}");
    let others = inside.iter().filter(|url| **url != scene.origin && !url.ends_with("/metrics"));
    assert_eq!(others.count(), 0, "{inside:?}");

    // It could not if it would, and the log would have it.
    let markup = "try { document.body.innerHTML = '<b>'; return 'parsed' } catch (error) { return error.name }";
    assert_eq!(scene.eval(markup), "TypeError");
    let elsewhere = "return fetch('http://127.0.0.1:9/').then(() => 'asked', (error) => error.name)";
    assert_eq!(scene.eval(elsewhere), "TypeError");
    let said = scene.browser.log(Log::Console).unwrap();
    let is_refusal =
        |entry: &&Value| entry["message"].as_str().is_some_and(|text| text.contains("Content Security Policy"));
    assert!(said.iter().filter(is_refusal).count() >= 2, "{said:#?}");
    // An inline handler is not run either.
    let handler = "document.querySelector('h1').setAttribute('onclick', 'document.title = 1');
        document.querySelector('h1').click(); return document.title";
    let attempt = scene.browser.run(handler).map_or_else(|error| format!("{error:#}"), |title| title.to_string());
    assert!(attempt.contains("TrustedScript") || attempt.contains("Lanekeeper 127"), "{attempt}");
}

#[test]
fn see_page_says_that_the_agent_is_gone_and_goes_on_with_counters_that_began_anew() {
    let mut scene = Scene::new();
    assert_eq!(scene.page().state, "Live");
    scene.quiet();

    // It refuses a file, then a lane falls.
    let fallen = now() - 7;
    scene.gateway.change(|state| {
        state.reload_success = false;
        let (_, standing) = state.lanes.iter_mut().find(|(id, _)| id.class == "-._").unwrap();
        *standing = Standing { condition: Condition::Down, since: fallen };
    });
    let page = scene.wait("the lane is down", |page| page.summary.contains("4 of 5 lanes"));
    assert!(page.about.starts_with("The last reload was REFUSED; what was applied "), "{}", page.about);
    let state = |page: &Page| page.lanes.iter().find(|(name, _)| name == "-._.0").unwrap().1["State"].clone();
    let clock = format!("{:02}:{:02}:{:02}", fallen / 3600 % 24, fallen / 60 % 60, fallen % 60);
    assert_eq!(state(&page)[0], "\u{25bc} down");
    assert!(state(&page)[1].starts_with("since ") && state(&page)[1].ends_with(&clock), "{:?}", state(&page));
    scene.quiet();

    // It answers that it has no metrics.
    scene.gateway.change(|state| state.trouble = Some("the map is gone".into()));
    scene.wait("the trouble", |page| page.state.starts_with("The agent does not answer (it says: the map is gone)."));
    scene.gateway.change(|state| state.trouble = None);
    scene.wait("it is live again", |page| page.state == "Live");

    let watch = "window.seen = new Set();
        const look = () => document.querySelectorAll('td span, td small').forEach((node) => seen.add(node.textContent));
        new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true });";
    scene.eval(watch);
    let address = scene.agent.take().map(|agent| agent.address).unwrap();
    let gone =
        scene.wait("the agent is gone", |page| page.state.starts_with("The agent does not answer (Failed to fetch)"));
    let told = format!("What is below is of {}.", gone.read.strip_prefix("Read ").unwrap().trim_end_matches('.'));
    assert!(gone.state.contains(&told), "{gone:#?}");
    assert!(scene.eval("return document.title").as_str().unwrap().starts_with("No answer: "));
    assert!(gone.classes.iter().all(|(_, cells)| number(&cells["Out"][0]).is_some()), "{gone:#?}");
    let low = unreadable(&scene, "light");
    assert!(low.is_empty(), "{low:?}");

    scene.eval("seen.clear()");
    scene.gateway.change(|state| state.before = 0.0);
    scene.agent = Some(Agent::start(&scene.gateway, &address.to_string()));
    scene.wait("it is live again", |page| page.state == "Live");
    let page = scene.wait("rates again", |page| number(&page.class("__proto__")["Out"][0]).is_some());
    let rate = number(&page.class("__proto__")["Out"][0]).unwrap();
    let seen: Vec<String> = serde_json::from_value(scene.eval("return [...seen]")).unwrap();
    // In the moment that counters begin anew nothing is known, and nothing is said.
    assert!(seen.iter().any(|text| text == "\u{2013}"), "{seen:?}");
    let negative = |text: &&String| text.starts_with(['-', '\u{2212}']) && text.contains("/s");
    assert_eq!(seen.iter().filter(negative).collect::<Vec<_>>(), Vec::<&String>::new());
    let most = seen.iter().filter(|text| text.contains("bit/s")).filter_map(|text| number(text)).fold(0.0, f64::max);
    assert!(most < 100.0 * rate, "a leap to {most} beside {rate}: {seen:?}");
    // What the browser itself says of an answer that did not come is all that came to the console.
    for entry in scene.browser.log(Log::Console).unwrap() {
        assert_eq!((&entry["source"], &entry["level"]), (&json!("network"), &json!("SEVERE")), "{entry:#}");
        assert!(entry["message"].as_str().unwrap().starts_with(&format!("{}metrics", scene.origin)), "{entry:#}");
    }
}

#[test]
fn see_page_rests_while_nobody_looks_and_while_it_is_paused() {
    let scene = Scene::new();
    let still = |why: &str| {
        // A question that was on its way is let through.
        sleep(Duration::from_secs(1));
        let before = scene.gateway.asked();
        sleep(Duration::from_secs(6));
        assert_eq!(scene.gateway.asked(), before, "{why}");
    };
    let goes_on = |why: &str| {
        let (before, begun) = (scene.gateway.asked(), Instant::now());
        while scene.gateway.asked() < before + 2 {
            assert!(begun.elapsed() < PATIENCE, "{why}");
            sleep(Duration::from_millis(100));
        }
    };
    goes_on("in front");
    let page = scene.browser.cover().unwrap();
    still("in the background");
    scene.browser.close(&page).unwrap();
    goes_on("in front again");

    press_until(&scene, "pause");
    scene.browser.press(" ").unwrap();
    assert_eq!(scene.page().state, "Paused");
    assert_eq!(scene.eval("return document.activeElement.getAttribute('aria-pressed')"), "true");
    still("paused");
    scene.browser.press(" ").unwrap();
    goes_on("not paused any more");
    scene.wait("it is live again", |page| page.state == "Live");
    scene.quiet();
}

#[test]
fn see_page_fits_a_phone_and_is_read_and_worked_without_eyes_or_mouse() {
    let scene = Scene::new();
    scene.gateway.change(|state| state.delays = Some(BTreeMap::new()));
    scene.wait("latencies", |page| page.lanes.iter().all(|(_, cells)| cells.contains_key(P99)));
    scene.gateway.change(|state| state.time("-._", 1_000, Duration::from_micros(800)));
    scene.wait("a latency", |page| page.lane("-._.0")[P99] == ["\u{2264} 1 ms", "of 1,000 packets"]);
    for (width, height) in [(1280, 800), (360, 740)] {
        scene.browser.resize(width, height).unwrap();
        let inner = "const root = document.documentElement;
            return [innerWidth, Math.max(root.scrollWidth, document.body.scrollWidth)]";
        let widths: Vec<u32> = serde_json::from_value(scene.eval(inner)).unwrap();
        assert!(widths[0] == width && widths[1] <= width, "{widths:?}");

        // Whatever takes the focus is reached by Tab, in the order of the page, and seen to have it.
        let all = "return document.querySelectorAll('a, button, input, select, textarea, summary, [tabindex]').length";
        let all = scene.eval(all).as_u64().unwrap();
        press_until(&scene, "pause");
        let mut reached = Vec::new();
        for _ in 0..all {
            let focus = scene.eval(
                "const node = document.activeElement, style = getComputedStyle(node), box = node.getBoundingClientRect();
                return { name: node.id || node.getAttribute('href'), visible: node.matches(':focus-visible'),
                    outline: style.outlineStyle, width: parseFloat(style.outlineWidth),
                    inside: box.top >= 0 && box.bottom <= innerHeight && box.left >= 0 && box.right <= innerWidth };",
            );
            assert_eq!((&focus["visible"], &focus["inside"]), (&json!(true), &json!(true)), "{focus}");
            assert!(focus["outline"] == "solid" && focus["width"].as_f64().unwrap() >= 2.0, "{focus}");
            reached.push(focus["name"].as_str().unwrap().to_owned());
            scene.browser.press(TAB).unwrap();
        }
        assert_eq!(reached, ["pause", "only", "down", "metrics"], "{width}");
        assert_eq!(scene.eval("return document.activeElement === document.body"), true, "Tab does not lead out");

        let roles = [
            ("header", "banner"),
            ("main", "main"),
            ("footer", "contentinfo"),
            ("form", "search"),
            ("#state", "status"),
            ("#classes", "table"),
            ("#classes thead th", "columnheader"),
            ("#classes tbody th", "rowheader"),
            ("#classes td", "cell"),
            ("#lanes tbody", "rowgroup"),
            ("#lanes th[scope=rowgroup]", "rowheader"),
            ("#lanes tr:has(td)", "row"),
            ("#lanes td", "cell"),
            ("svg", "image"),
            ("#pause", "button"),
        ];
        for (selector, role) in roles {
            assert_eq!(scene.browser.role(selector).unwrap(), role, "{selector} at {width}");
        }
        for scheme in ["light", "dark"] {
            let low = unreadable(&scene, scheme);
            assert!(low.is_empty(), "{scheme} at {width}: {low:?}");
        }
    }
    // Too little contrast would have been seen.
    scene.eval("document.querySelector('h2').style.color = '#999'");
    assert_eq!(unreadable(&scene, "light").len(), 1);

    let tables = "return [...document.querySelectorAll('table')].map((table) => ({
        caption: table.caption?.textContent ?? '',
        loose: [...table.querySelectorAll('th:not([scope])')].length,
        bare: [...table.querySelectorAll('tbody tr')].filter((row) => !row.querySelector('th[scope=row], th[scope=rowgroup]')).length,
        columns: table.querySelectorAll('thead th[scope=col]').length,
        odd: [...table.querySelectorAll('tr:has(td)')].filter((row) => row.children.length !== table.tHead.rows[0].children.length).length,
        rows: table.querySelectorAll('tr:has(td)').length }))";
    let tables = scene.eval(tables);
    for (table, columns, rows) in [(0, 7, 4), (1, 8, 5)] {
        let table = &tables[table];
        assert!(table["caption"].as_str().unwrap().len() > 20, "{table}");
        let counts = ["loose", "bare", "odd", "columns", "rows"].map(|key| table[key].as_u64().unwrap());
        assert_eq!(counts, [0, 0, 0, columns, rows], "{table}");
    }
    let unnamed = "return [...document.querySelectorAll('input, button, a, svg')].filter((node) =>
        !(node.labels?.[0]?.textContent || node.textContent || node.getAttribute('aria-label'))).length";
    assert_eq!(scene.eval(unnamed), 0);
    // What changes at each reading is not read out.
    assert_eq!(
        scene.eval("return document.querySelectorAll('[role=status] td, [aria-live] td, td [aria-live]').length"),
        0
    );
    let page = "return [document.documentElement.lang, document.querySelectorAll('h1').length,
        [...document.querySelectorAll('section')].every((section) => document.getElementById(section.getAttribute('aria-labelledby')))]";
    assert_eq!(scene.eval(page), json!(["en", 1, true]));
    for (motion, moves) in [("no-preference", true), ("reduce", false)] {
        emulate(&scene, &[("prefers-reduced-motion", motion)]);
        let durations = scene.eval(
            "return [...document.querySelectorAll('*')].map((node) => getComputedStyle(node).transitionDuration)",
        );
        let moving = durations.as_array().unwrap().iter().any(|duration| duration != "0s");
        assert_eq!(moving, moves, "{motion}");
    }

    // The filter, by keys alone.
    press_until(&scene, "only");
    for letter in ["T", "h", "i", "r", "t", "y"] {
        scene.browser.press(letter).unwrap();
    }
    let page = scene.page();
    assert_eq!((page.lanes.len(), page.shown.as_str()), (2, "2 of 5 lanes shown"));
    scene.browser.press(TAB).unwrap();
    scene.browser.press(" ").unwrap();
    assert_eq!((scene.page().lanes.len(), scene.page().tunnels.len()), (0, 0));
    scene.browser.press(" ").unwrap();
    assert_eq!((scene.page().lanes.len(), scene.page().tunnels.len()), (2, 1));
    scene.quiet();
}

/// Tab until an element has the focus.
fn press_until(scene: &Scene, id: &str) {
    scene.eval("document.activeElement.blur(); document.getSelection().empty()");
    for _ in 0..10 {
        scene.browser.press(TAB).unwrap();
        if scene.eval("return document.activeElement.id") == id {
            return;
        }
    }
    panic!("Tab does not reach {id}");
}

fn emulate(scene: &Scene, features: &[(&str, &str)]) {
    let features: Vec<Value> = features.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    scene.browser.devtools("Emulation.setEmulatedMedia", &json!({ "features": features })).unwrap();
}

/// Texts whose contrast with what is behind them is below 4.5 (WCAG 2, 1.4.3).
fn unreadable(scene: &Scene, scheme: &str) -> Vec<Value> {
    emulate(scene, &[("prefers-color-scheme", scheme), ("prefers-reduced-motion", "reduce")]);
    let script = "
        const parse = (color) => color.match(/[\\d.]+/g).map(Number);
        const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
            .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
            .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
        const behind = (node) => {
            for (; node; node = node.parentElement) {
                const color = parse(getComputedStyle(node).backgroundColor);
                if (color.length === 3 || color[3] === 1) return color;
            }
            return [255, 255, 255];
        };
        const low = [];
        let seen = 0;
        for (const node of document.querySelectorAll('body *:not(script, style, noscript)')) {
            if (![...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim())) continue;
            seen++;
            const [a, b] = [light(parse(getComputedStyle(node).color)), light(behind(node))];
            const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            if (ratio < 4.5) low.push([node.textContent, ratio]);
        }
        return [seen, low, getComputedStyle(document.body).backgroundColor]";
    let answer = scene.eval(script);
    assert!(answer[0].as_u64().unwrap() > 60, "{answer}");
    assert_eq!(answer[2] == "rgb(14, 18, 23)", scheme == "dark", "{answer}");
    answer[1].as_array().unwrap().clone()
}
