//! How long packets take to the wire, measured by a real agent: a queue of a known length is seen, in the lanes that wait in it
//! and in no others, every packet that was timed is counted once, and packets fare as if nobody had looked.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use aya::programs::loaded_programs;
use serde_json::{Value, json};
use xtask::lab::agent::Agent;
use xtask::lab::gateways::Gateways;
use xtask::lab::metrics::Metrics;
use xtask::lab::netns::Ns;
use xtask::lab::scenario::{Device, Keying, Scenario};
use xtask::lab::traffic::{Flow, Tally, Traffic};
use xtask::lab::wait::until;
use xtask::lab::wan::{self, Bottleneck};
use xtask::lab::{Family, Side};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");

const NAME: &str = "lanekeeper_lane_latency_seconds";
const VOICE: u16 = 5060;
const BULK: u16 = 9000;
const DEFAULT: u16 = 7000;

/// The device by which ESP leaves.
const WAN: &str = "wan0";

/// A bulk packet of the flow below is some 1,290 bytes of ESP and Ethernet: a hundred of them take a second, which an emulated CPU
/// that stalls still sends twice over.
const FULL: Bottleneck = Bottleneck { kilobits: 1000, queue: 40 };
/// 40 of them, in seconds.
const WAIT: f64 = 0.413;

const PATIENCE: Duration = Duration::from_secs(30);

/// The programs that measure, in the whole kernel.
fn measuring() -> Vec<String> {
    let names = loaded_programs().filter_map(Result::ok);
    let names = names.filter_map(|program| program.name_as_str().map(str::to_owned));
    let mut names: Vec<String> =
        names.filter(|name| name.starts_with("lanekeeper_stam") || name.starts_with("lanekeeper_sent")).collect();
    names.sort();
    names
}

fn wait_until(what: &str, is_so: impl FnMut() -> bool) {
    assert!(until(PATIENCE, is_so), "{what}: not within {PATIENCE:?}");
}

/// Writes the line into `[metrics]`, in the place of what was there, and reloads.
fn set(agent: &Agent, line: &str) {
    let config = fs::read_to_string(agent.config()).unwrap();
    let rest: Vec<&str> = config.lines().filter(|line| !line.starts_with("latency-every")).collect();
    let config = rest.join("\n").replace("[metrics]\n", &format!("[metrics]\n{line}\n"));
    fs::write(agent.config(), config).unwrap();
    agent.must(&["reload"]).unwrap();
}

/// What was timed of a class between two looks.
struct Timed {
    count: u64,
    sum: f64,
    /// Up to each bound in seconds, the last of which has none.
    buckets: Vec<(f64, u64)>,
}

impl Timed {
    fn of(before: &Metrics, after: &Metrics, class: &str) -> Self {
        let labels = [("class", class)];
        let grown = |name: &str, labels: &[(&str, &str)]| after.sum(name, labels) - before.sum(name, labels);
        let bucket = format!("{NAME}_bucket");
        let mut bounds: Vec<String> =
            after.matching(&bucket, &labels).map(|(series, _)| series.labels["le"].clone()).collect();
        bounds.sort_by(|a, b| number(a).total_cmp(&number(b)));
        bounds.dedup();
        let buckets =
            bounds.iter().map(|le| (number(le), grown(&bucket, &[("class", class), ("le", le)]) as u64)).collect();
        Self {
            count: grown(&format!("{NAME}_count"), &labels) as u64,
            sum: grown(&format!("{NAME}_sum"), &labels),
            buckets,
        }
    }

    /// The bound that this part of it is not above.
    fn quantile(&self, part: f64) -> f64 {
        let rank = (self.count as f64 * part).ceil() as u64;
        self.buckets.iter().find(|(_, n)| *n >= rank).map_or(f64::INFINITY, |(bound, _)| *bound)
    }

    fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }
}

fn number(le: &str) -> f64 {
    if le == "+Inf" { f64::INFINITY } else { le.parse().unwrap() }
}

/// Sends these and waits for what comes.
fn load(flows: &[Flow]) -> Vec<Tally> {
    Traffic::run(flows).unwrap()
}

/// A TCP connection of the gateways themselves, whose packets bring their own departure times.
fn tcp(from: &Ns, to: &Ns, address: IpAddr) -> Duration {
    const BYTES: usize = 200_000;
    let listener = to.run(|| Ok(TcpListener::bind((address, 7100))?)).unwrap();
    let begin = Instant::now();
    let reader = thread::spawn(move || {
        let mut got = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut got).unwrap();
        got.len()
    });
    let mut stream = from.run(|| Ok(TcpStream::connect((address, 7100))?)).unwrap();
    stream.write_all(&[7; BYTES]).unwrap();
    drop(stream);
    assert_eq!(reader.join().unwrap(), BYTES);
    begin.elapsed()
}

#[test]
fn see_latency_shows_the_queue_of_those_who_wait_in_it_and_changes_nothing() {
    let scenario = Scenario::four_classes(Keying::Static);
    let mut gateways = Gateways::start("latency", scenario, Path::new(BINARY)).unwrap();
    let gateway = gateways.lab().gateway(Side::A);
    let flow = |name: &str, port, count| Flow {
        count: Some(count),
        cpu: Some(0),
        ..gateways.lab().flow(name, Side::A, Family::V4, port)
    };
    let voice = Flow { dscp: 46, rate: 100, ..flow("voice", VOICE, 200) };
    let bulk = Flow { payload: 1172, rate: 200, eager: true, ..flow("bulk", BULK, 600) };
    load(&[Flow { count: Some(5), ..voice.clone() }, Flow { count: Some(5), ..bulk.clone() }]);
    assert!(measuring().is_empty(), "{:?}", measuring());
    let agent = gateways.agent_of(Side::A);
    assert!(agent.metrics().unwrap().matching(&format!("{NAME}_count"), &[]).next().is_none(), "nobody has asked");

    // Each packet is timed, and each lane has its series at once.
    set(agent, "latency-every = 1");
    assert_eq!(measuring(), ["lanekeeper_sent", "lanekeeper_stam"]);
    let zero = agent.metrics().unwrap();
    assert_eq!(zero.matching(&format!("{NAME}_count"), &[]).map(|(_, n)| n).collect::<Vec<_>>(), [0.0; 5]);

    // What `top` says of it, look by look.
    let mut top = agent.command(&["top", "--json", "-d", "1"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut looks = BufReader::new(top.stdout.take().unwrap()).lines();
    let mut look = || serde_json::from_str::<Value>(&looks.next().unwrap().unwrap()).unwrap();
    assert_eq!(look()["classes"][0]["latency"], json!({ "timed": 0, "p99": null }));

    // The queue of what is not urgent is full after 0.4 s of three.
    FULL.set_up(&gateway, WAN).unwrap();
    let begin = Instant::now();
    let tallies = load(&[voice.clone(), bulk.clone()]);
    let took = begin.elapsed();
    let queue = wan::queue(&gateway, WAN, "20:").unwrap();
    wan::clear(&gateway, WAN).unwrap();
    let after = agent.metrics().unwrap();
    let (calls, rest) = (Timed::of(&zero, &after, "voice"), Timed::of(&zero, &after, "bulk"));
    let of_class = |look: &Value, class: &str| {
        let rows = look["classes"].as_array().unwrap();
        rows.iter().find(|row| row["name"] == class).unwrap()["latency"].clone()
    };
    let both = [("voice", &calls), ("bulk", &rest)];
    let last = (0..10)
        .map(|_| look())
        .find(|look| both.iter().all(|(class, timed)| of_class(look, class)["timed"] == timed.count));
    let last = last.expect("top says as many as the metrics");
    top.kill().unwrap();
    top.wait().unwrap();
    for (class, timed) in both {
        assert_eq!(of_class(&last, class)["p99"], json!(timed.quantile(0.99)), "{class}: {:?}", timed.buckets);
    }
    assert_eq!((calls.count, tallies[0].lost()), (tallies[0].sent, 0));
    assert!(queue.dropped > 100, "{queue:?}");
    // A packet of the neighbours' may be among those of the queue.
    let left = tallies[1].sent - queue.dropped;
    assert!((left..=left + 2).contains(&rest.count), "{} timed of {left}, {queue:?}", rest.count);
    assert_eq!(rest.count, tallies[1].received, "{tallies:?}");
    // Who comes waits for 40 others; where the emulated CPU stalls, these leave more slowly than the link would let them, and there
    // are fewer of them while the sender does.
    let stalled = 41.0 * took.as_secs_f64() / rest.count as f64;
    let most = stalled.max(WAIT) * 1.2;
    assert!((0.6 * WAIT..=most).contains(&rest.mean()), "bulk: {} s, at most {most}", rest.mean());
    assert!((WAIT..=2.5 * most).contains(&rest.quantile(0.5)), "{:?}", rest.buckets);
    // The urgent one waits for what is on the wire already, 11 ms at most.
    assert!(calls.mean() < rest.mean() / 5.0, "voice: {} s, bulk: {} s", calls.mean(), rest.mean());
    assert!(calls.quantile(0.5) <= 0.02, "voice: {:?}", calls.buckets);
    assert_eq!((tallies[0].reordered, tallies[1].reordered), (0, 0));

    // fq would hold what has a time to come.
    gateway.sh(&format!("tc qdisc replace dev {WAN} root fq")).unwrap();
    let before = agent.metrics().unwrap();
    let calm = Flow { rate: 100, ..flow("default", DEFAULT, 100) };
    let tallies = load(&[Flow { count: Some(100), ..voice.clone() }, calm]);
    assert!(tallies.iter().all(|tally| tally.lost() == 0 && tally.reordered == 0), "{tallies:?}");
    let after = agent.metrics().unwrap();
    for class in ["voice", "default"] {
        let timed = Timed::of(&before, &after, class);
        assert!(timed.count >= 100 && timed.quantile(0.5) <= 0.005, "{class}: {} {:?}", timed.count, timed.buckets);
    }
    // A connection with times of its own, some hundred packets, keeps them and is not timed; what the kernel says beside it may be.
    let before = after;
    let address = Side::B.tunnel_address(Family::V4).split_once('/').unwrap().0.parse().unwrap();
    let far = gateways.lab().gateway(Side::B);
    let took = tcp(&gateway, &far, address);
    assert!(took < Duration::from_secs(5), "{took:?}");
    let timed = Timed::of(&before, &agent.metrics().unwrap(), "default");
    assert!(timed.count < 10, "{:?}", timed.buckets);
    wan::clear(&gateway, WAN).unwrap();

    // One in eight, on average.
    set(agent, "latency-every = 8");
    let before = agent.metrics().unwrap();
    let many = Flow { rate: 800, ..flow("many", DEFAULT, 800) };
    assert_eq!(load(&[many])[0].lost(), 0);
    let timed = Timed::of(&before, &agent.metrics().unwrap(), "default");
    assert!((60..=145).contains(&timed.count), "{} of 800", timed.count);

    // What was counted outlives an agent that is killed, and nothing of that one's is left beside the next one's.
    let before = agent.metrics().unwrap();
    gateways.agent(Side::A).kill().unwrap();
    gateways.agent(Side::A).start().unwrap();
    wait_until("the next agent measures", || measuring() == ["lanekeeper_sent", "lanekeeper_stam"]);
    let agent = gateways.agent_of(Side::A);
    let after = agent.metrics().unwrap();
    for (series, n) in before.0.iter().filter(|(series, _)| series.name.starts_with(NAME)) {
        assert!(after.0[series] >= *n, "{series:?}");
    }
    assert!(after.sum(&format!("{NAME}_count"), &[]) >= (calls.count + rest.count + 200) as f64);

    // Who asks no more has nothing of it.
    set(agent, "");
    wait_until("the programs are gone", || measuring().is_empty());
    assert!(agent.metrics().unwrap().matching(&format!("{NAME}_count"), &[]).next().is_none());
}

/// Below these the SA is found by the device's own keys, and GRE puts a header of its own before that.
#[test]
fn see_latency_shows_the_queue_behind_a_vti_and_a_gre_device_too() {
    for device in [Device::Vti, Device::Gre] {
        let scenario = Scenario { device, ..Scenario::one_sa(Keying::Static) };
        let gateways = Gateways::start("latency", scenario, Path::new(BINARY)).unwrap();
        let (gateway, agent) = (gateways.lab().gateway(Side::A), gateways.agent_of(Side::A));
        let flow = |name: &str, count, rate| Flow {
            payload: 1172,
            rate,
            eager: true,
            count: Some(count),
            cpu: Some(0),
            ..gateways.lab().flow(name, Side::A, Family::V4, DEFAULT)
        };
        load(&[flow("first", 5, 100)]);
        set(agent, "latency-every = 1");
        let zero = agent.metrics().unwrap();
        FULL.set_up(&gateway, WAN).unwrap();
        let begin = Instant::now();
        let tally = load(&[flow("full", 500, 200)]).remove(0);
        let took = begin.elapsed();
        let queue = wan::queue(&gateway, WAN, "20:").unwrap();
        wan::clear(&gateway, WAN).unwrap();
        let full = agent.metrics().unwrap();
        let timed = Timed::of(&zero, &full, "default");
        println!("{device:?}: {tally:?} {queue:?} mean {} {:?}", timed.mean(), timed.buckets);
        assert!(queue.dropped > 100, "{device:?}: {queue:?}");
        // What the gateway itself says through the device is the default class's, too.
        assert!(
            (tally.received..=tally.received + 3).contains(&timed.count),
            "{device:?}: {} of {tally:?}",
            timed.count
        );
        let most = (41.0 * took.as_secs_f64() / timed.count as f64).max(WAIT) * 1.2;
        assert!((0.6 * WAIT..=most).contains(&timed.mean()), "{device:?}: {} s, at most {most}", timed.mean());

        // And none where nobody has to wait.
        let tally = load(&[flow("calm", 100, 200)]).remove(0);
        let timed = Timed::of(&full, &agent.metrics().unwrap(), "default");
        assert_eq!((tally.lost(), tally.reordered), (0, 0), "{device:?}");
        assert!(timed.count >= 100 && timed.quantile(0.5) <= 0.005, "{device:?}: {} {:?}", timed.count, timed.buckets);
    }
}
