//! `observe` of a real agent under traffic: what it shows is what `explain` says, no more of it than was asked for, and
//! nothing of it stays.

use std::net::UdpSocket;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use aya::programs::loaded_programs;
use lanekeeper::explain::capture;
use nix::sys::signal::Signal;
use serde_json::Value;
use xtask::demo::stage::warm_up;
use xtask::lab::gateways::{Gateways, LANES_UP};
use xtask::lab::observe::{Observe, Observed};
use xtask::lab::scenario::{Class, DEVICE, Keying, Scenario, TUNNEL};
use xtask::lab::traffic::{Flow, Traffic};
use xtask::lab::{Family, Side};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");

const VOICE: u16 = 5060;
const VIDEO: u16 = 5004;
const GOLD: u16 = 6000;

/// Packets of each flow.
const COUNT: u64 = 40;

/// video falls back to default, gold to nothing.
fn scenario() -> Scenario {
    Scenario {
        classes: vec![
            Class::new("voice"),
            Class::new("video").fallback("default"),
            Class::new("gold"),
            Class::new("default"),
        ],
        rules: format!(
            "[[rule]]\nname = \"calls\"\nclass = \"voice\"\ndscp = [\"ef\"]\n\n\
             [[rule]]\nclass = \"video\"\nprotocol = \"udp\"\ndestination-port = [{VIDEO}]\n\n\
             [[rule]]\nname = \"precious\"\nclass = \"gold\"\nprotocol = \"udp\"\ndestination-port = [{GOLD}]\n"
        ),
        ..Scenario::four_classes(Keying::Psk)
    }
}

/// The far end knows neither video nor gold, and refuses their lanes.
fn without_middle() -> Scenario {
    Scenario { classes: vec![Class::new("voice"), Class::new("default")], rules: String::new(), ..scenario() }
}

/// The programs that observe, in the whole kernel.
fn observing() -> usize {
    let names = loaded_programs().filter_map(Result::ok);
    names.filter(|program| program.name_as_str().is_some_and(|name| name.starts_with("lanekeeper_obs"))).count()
}

fn wait_until(what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

const GONE: Duration = Duration::from_secs(10);

/// At A; returns when it observes.
fn observe(gateways: &Gateways, words: &[&str]) -> Observe {
    let observe = Observe::start(gateways.agent_of(Side::A), words).unwrap();
    assert!(observing() > 0);
    observe
}

/// What `explain` says of a packet of this flow.
fn explained(gateways: &Gateways, flow: &Flow) -> Value {
    let agent = gateways.agent_of(Side::A);
    let words = format!("udp {} to {} dscp {} in lan0", flow.source, flow.destination, flow.dscp);
    let config = agent.known_config().to_string_lossy().into_owned();
    serde_json::from_str(&agent.must(&["explain", &config, "--live", "always", "--json", &words]).unwrap()).unwrap()
}

fn of_port(lines: &[Value], port: u16) -> Vec<&Value> {
    lines.iter().filter(|line| line["destination_port"] == port && line["direction"] == "out").collect()
}

/// Packets of gold, which are dropped before they cost anything, as fast as one thread sends them.
fn flood<T>(gateways: &Gateways, meanwhile: impl FnOnce() -> T) -> (T, u64) {
    let flow = gateways.lab().flow("flood", Side::A, Family::V4, GOLD);
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let sender = {
        let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
        thread::spawn(move || {
            flow.from
                .run(|| {
                    let socket = UdpSocket::bind(flow.source)?;
                    socket.connect(flow.destination)?;
                    while !stop.load(Relaxed) {
                        for _ in 0..10 {
                            // A queue that is full for a moment is no matter.
                            sent.fetch_add(socket.send(&[0; 100]).is_ok().into(), Relaxed);
                        }
                        // The agent has the same CPU.
                        thread::sleep(Duration::from_millis(2));
                    }
                    Ok(())
                })
                .unwrap();
        })
    };
    let outcome = meanwhile();
    stop.store(true, Relaxed);
    sender.join().unwrap();
    (outcome, sent.load(Relaxed))
}

#[test]
fn see_observe_shows_what_explain_says_and_leaves_nothing_behind() {
    let mut gateways = Gateways::idle("observe", scenario(), Path::new(BINARY)).unwrap();
    let shared = gateways.lab().shared().to_owned();
    without_middle().write(Side::B, &gateways.lab().files(Side::B), &shared).unwrap();
    for side in [Side::B, Side::A] {
        gateways.agent(side).start().unwrap();
    }
    for side in [Side::A, Side::B] {
        gateways.agent(side).wait_for_lanes(2, LANES_UP).unwrap();
    }
    warm_up(gateways.lab()).unwrap();
    let flow = |name: &str, family, port, dscp| Flow {
        dscp,
        count: Some(COUNT),
        ..gateways.lab().flow(name, Side::A, family, port)
    };
    let flows =
        [flow("voice", Family::V4, VOICE, 46), flow("video", Family::V6, VIDEO, 0), flow("gold", Family::V4, GOLD, 0)];
    assert_eq!(observing(), 0, "nobody observes");

    // A packet that takes its own lane, one that falls back, one that is blocked.
    let watch = observe(&gateways, &["--rate", "1000"]);
    Traffic::run(&flows).unwrap();
    watch.wait_for(3 * COUNT, &[VOICE, VIDEO, GOLD]).unwrap();
    let pcap = watch.pcap().to_owned();
    let Observed { code, lines, said } = watch.stop().unwrap();
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with(&format!("lanekeeper: {} shown; ", lines.len())), "{said}");
    for flow in &flows {
        let seen = of_port(&lines, flow.destination.port());
        assert_eq!(seen.len() as u64, COUNT, "{}: {said}", flow.name);
        let explained = explained(&gateways, flow);
        for line in seen {
            for key in ["tenant", "rule", "class", "mark", "tunnel", "lane", "blocked", "unparsed"] {
                assert_eq!(line[key], explained[key], "{key}: {line} and {explained}");
            }
            let own = [&line["device"], &line["interface"], &line["protocol"], &line["dscp"], &line["length"]];
            let ip_udp = if flow.source.is_ipv4() { 28 } else { 48 };
            let length = Value::from(flow.payload + ip_udp);
            let is =
                [&Value::from(DEVICE), &Value::from("lan0"), &Value::from("udp"), &Value::from(flow.dscp), &length];
            assert_eq!(own, is, "{line}");
            let ends = [&line["source"], &line["destination"], &line["source_port"]];
            let (source, destination) = (flow.source.ip().to_string(), flow.destination.ip().to_string());
            assert_eq!(
                ends,
                [&Value::from(source), &Value::from(destination), &Value::from(flow.source.port())],
                "{line}"
            );
        }
    }
    let first = |port| of_port(&lines, port)[0];
    assert_eq!((&first(VOICE)["rule"], &first(VOICE)["lane"]), (&"calls".into(), &"voice.0".into()));
    assert_eq!((&first(VIDEO)["fallback"], &first(VIDEO)["lane"]), (&"no_lane".into(), &"default.0".into()));
    assert_eq!((&first(GOLD)["blocked"], &first(GOLD)["lane"]), (&"no_lane".into(), &Value::Null));

    // The capture has them, cut.
    let mut frames = Vec::new();
    capture::read(&pcap, |frame| frames.push(frame)).unwrap();
    assert_eq!(frames.len(), lines.len());
    assert!(frames.iter().any(|frame| frame.bytes.len() == 14 + 128));
    wait_until("the programs are gone", GONE, || observing() == 0);

    // Only what was asked for, a number of it, both ways.
    let traffic = Traffic::start(&flows.clone().map(|flow| Flow { count: None, ..flow })).unwrap();
    let only = ["--class", "gold", "--reason", "blocked", "--from", &format!("{}/32", flows[2].source.ip())];
    let some = observe(&gateways, &[&only[..], &["--tunnel", TUNNEL, "--count", "7"]].concat());
    let Observed { code, lines, said } = some.end().unwrap();
    assert_eq!((code, lines.len()), (0, 7), "{said}");
    assert!(lines.iter().all(|line| line["class"] == "gold" && line["blocked"] == "no_lane"), "{lines:?}");
    let agent = gateways.agent_of(Side::A);
    let text = agent.must(&["observe", "--reason", "fallback", "--count", "1"]).unwrap();
    assert!(text.contains(": video by ") && text.contains("falls back to lane default.0: no_lane"), "{text}");
    let refused = agent.call(&["observe", "--class", "glod"]).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(2) && said.contains("no class \"glod\": did you mean \"gold\"?"), "{said}");
    traffic.stop().unwrap();
    // What the far end sends is of no class of its own but the default: it has no rules.
    let back = Flow { count: Some(20), dscp: 46, ..gateways.lab().flow("back", Side::B, Family::V4, VOICE) };
    let to = format!("{}/32", back.destination.ip());
    let watch = observe(&gateways, &["--rate", "1000", "--class", "default", "--to", &to]);
    let tallies = Traffic::run(&[back]).unwrap();
    assert_eq!(tallies[0].lost(), 0, "{tallies:?}");
    watch.wait_for(20, &[VOICE]).unwrap();
    let Observed { lines, said, .. } = watch.stop().unwrap();
    let came: Vec<_> = lines.iter().filter(|line| line["destination_port"] == VOICE).collect();
    assert_eq!(came.len(), 20, "{said}");
    for line in came {
        assert_eq!((&line["direction"], &line["lane"]), (&"in".into(), &"default.0".into()), "{line}");
        assert!(line["rule"].is_null() && line["mark"].is_null(), "{line}");
    }

    // A flood is held to the rate.
    let watch = observe(&gateways, &["--rate", "10"]);
    let begin = Instant::now();
    let (_, sent) = flood(&gateways, || thread::sleep(Duration::from_secs(3)));
    // What was not shown is told twice a second.
    thread::sleep(Duration::from_secs(2));
    let Observed { code, lines, said } = watch.stop().unwrap();
    let most = 10 * (begin.elapsed().as_secs() + 2) as usize;
    assert!(code == 0 && (10..=most).contains(&lines.len()), "{} of {sent} in {:?}", lines.len(), begin.elapsed());
    // By the programs, or where those have let all pass by the agent.
    assert!(sent > 500 && !said.contains("; 0 passed unseen, 0 beyond"), "{sent}: {said}");

    // An agent that does not come to read loses some, and the programs say so.
    let watch = observe(&gateways, &["--class", "gold"]);
    let daemon = |gateways: &mut Gateways, signal| gateways.agent(Side::A).signal(signal).unwrap();
    daemon(&mut gateways, Signal::SIGSTOP);
    let (_, sent) = flood(&gateways, || thread::sleep(Duration::from_millis(2500)));
    daemon(&mut gateways, Signal::SIGCONT);
    wait_until("the agent logs what a program says", GONE, || {
        gateways.agent_of(Side::A).log().contains("program in the kernel: what is observed is not read fast enough: ")
    });
    thread::sleep(Duration::from_secs(1));
    let Observed { said, .. } = watch.stop().unwrap();
    assert!(said.contains(" lost as the ring was full"), "{sent}: {said}");

    // Neither stays when the agent dies.
    wait_until("the programs are gone", GONE, || observing() == 0);
    let watch = observe(&gateways, &[]);
    gateways.agent(Side::A).kill().unwrap();
    let Observed { code, said, .. } = watch.end().unwrap();
    assert!(code == 2 && said.contains("the agent has ended"), "{code}: {said}");
    if has_tcx() {
        wait_until("the programs are gone", GONE, || observing() == 0);
    }
    gateways.agent(Side::A).start().unwrap();
    wait_until("the next agent has taken off what was left", GONE, || observing() == 0);

    // One that has found its tables in place calls the rules by the same names.
    gateways.agent(Side::A).wait_for_lanes(2, LANES_UP).unwrap();
    let watch = observe(&gateways, &["--class", "voice"]);
    Traffic::run(&flows[..1]).unwrap();
    watch.wait_for(1, &[VOICE]).unwrap();
    let Observed { lines, said, .. } = watch.stop().unwrap();
    assert!(lines.iter().any(|line| line["rule"] == "calls"), "{said}: {lines:?}");
    assert!(of_port(&lines, VOICE).iter().all(|line| line["rule"] == "calls"), "{lines:?}");
}

/// Before TCX filters are cls_bpf's, which stay until somebody takes them off.
fn has_tcx() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (6, 6)
}
