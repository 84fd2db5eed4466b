//! Lanes that are down: fallback, then block, and never cleartext.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use lanekeeper::explain::words::Words;
use lanekeeper::vici::{Listener, Timeouts};
use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use tokio::runtime::Builder;
use xtask::demo::stage::warm_up;
use xtask::lab::capture::Capture;
use xtask::lab::charon::vici;
use xtask::lab::gateways::{Gateways, LANES_UP};
use xtask::lab::scenario::{Class, DEVICE, IF_ID, Keying, Scenario};
use xtask::lab::traffic::{Flow, Traffic};
use xtask::lab::{Family, Side, sa};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");

/// Ports of the classes `video` and `gold`.
const VIDEO: u16 = 5004;
const GOLD: u16 = 6000;

/// video falls back to bulk, bulk to default; gold to nothing.
fn chain() -> Scenario {
    Scenario {
        classes: vec![
            Class::new("voice"),
            Class::new("video").fallback("bulk"),
            Class::new("bulk").fallback("default"),
            Class::new("gold"),
            Class::new("default"),
        ],
        rules: format!(
            "[[rule]]\nclass = \"voice\"\ndscp = [\"ef\"]\n\n\
             [[rule]]\nclass = \"video\"\nprotocol = \"udp\"\ndestination-port = [{VIDEO}]\n\n\
             [[rule]]\nclass = \"gold\"\nprotocol = \"udp\"\ndestination-port = [{GOLD}]\n"
        ),
        ..Scenario::four_classes(Keying::Psk)
    }
}

/// The far end knows neither video nor bulk nor gold, and refuses their lanes.
fn without_middle() -> Scenario {
    Scenario { classes: vec![Class::new("voice"), Class::new("default")], rules: String::new(), ..chain() }
}

/// Packets that A's SAs have encrypted, by SPI.
fn carried(gateways: &Gateways) -> BTreeMap<String, u64> {
    let ours = Side::A.outer(Family::V4);
    let states = sa::list(gateways.agent_of(Side::A).ns()).unwrap().into_iter();
    states.filter(|sa| sa.source == ours).map(|sa| (format!("{:#010x}", sa.spi), sa.packets)).collect()
}

/// What `explain` says by which SPI the packets of these flows will leave, in all its forms.
fn announce(gateways: &Gateways, flows: &[Flow]) -> BTreeMap<String, u64> {
    let agent = gateways.agent_of(Side::A);
    let config = agent.config().to_string_lossy().into_owned();
    let words = |flow: &Flow| {
        let dscp = flow.dscp;
        format!("udp {} to {} dscp {dscp} in lan0", flow.source, flow.destination)
    };
    let capture = agent.runtime().join("flows.pcap");
    let header = PcapHeader { datalink: DataLink::ETHERNET, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(File::create(&capture).unwrap(), header).unwrap();
    for flow in flows {
        let frame = Words::parse(&words(flow)).unwrap().frame();
        writer.write_packet(&PcapPacket::new(Duration::ZERO, frame.len() as u32, &frame)).unwrap();
    }
    drop(writer);
    let capture = capture.to_string_lossy();
    let of_capture = ["explain", &config, "--live", "always", "--pcap", &capture, "--interface", "lan0"];
    let by = |engine| agent.must(&[&of_capture[..], &["--json", "--engine", engine]].concat()).unwrap();
    let lines = by("model");
    assert_eq!(lines, by("kernel"));
    assert!(agent.must(&of_capture).unwrap().contains(DEVICE));

    let text = agent.must(&["explain", &config, &words(&flows[0])]).unwrap();
    let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [video, _, gold, voice] = &lines[..] else { panic!("{lines:?}") };
    assert!(text.contains(&format!("device  {DEVICE}\npolicy  src ")), "{text}");
    assert!(text.contains(&format!("\nsa      spi {} ", video["sa"]["spi"].as_str().unwrap())), "{text}");
    assert_eq!((&video["lane"], &video["policy"]["if_id"]), (&"default.0".into(), &IF_ID.into()));
    assert_eq!((&voice["lane"], &voice["policy"]["mark"]["value"]), (&"voice.0".into(), &voice["mark"]));
    assert_eq!((&gold["blocked"], &gold["device"]), (&"no_lane".into(), &DEVICE.into()));
    assert!(gold["policy"].is_null() && gold["sa"].is_null(), "{gold}");

    // Another file does not run here.
    let other = agent.runtime().join("other.toml").to_string_lossy().into_owned();
    std::fs::write(&other, std::fs::read_to_string(&config).unwrap() + "\n[[rule]]\nclass = \"gold\"\n").unwrap();
    let refused = agent.call(&["explain", &other, "--live", "always", &words(&flows[0])]).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("other.toml is not all that runs here: it waits for `lanekeeper reload`"), "{said}");

    let mut announced = BTreeMap::new();
    for (line, flow) in lines.iter().zip(flows) {
        if let Some(spi) = line["sa"]["spi"].as_str() {
            *announced.entry(spi.to_owned()).or_default() += flow.count.unwrap();
        }
    }
    announced
}

#[test]
fn lanes_that_are_down_fall_back_along_the_chain_or_block_and_never_leak() {
    let mut gateways = Gateways::idle("chain", chain(), Path::new(BINARY)).unwrap();
    let shared = gateways.lab().shared().to_owned();
    without_middle().write(Side::B, &gateways.lab().files(Side::B), &shared).unwrap();
    let capture = Capture::start(&gateways.lab().wan()).unwrap();

    // Nothing is up: A's agent is alone.
    gateways.agent(Side::A).start().unwrap();
    let flow = |name: &str, family, port, dscp| Flow {
        dscp,
        count: Some(60),
        ..gateways.lab().flow(name, Side::A, family, port)
    };
    let flows = [
        flow("video", Family::V4, VIDEO, 0),
        flow("video", Family::V6, VIDEO, 0),
        flow("gold", Family::V4, GOLD, 0),
        flow("voice", Family::V4, 5060, 46),
    ];
    let tallies = Traffic::run(&flows).unwrap();
    assert!(tallies.iter().all(|tally| tally.sent == 60 && tally.received == 0), "{tallies:?}");
    let blocked = |gateways: &Gateways, class: &str| {
        gateways.agent_of(Side::A).metrics().unwrap().count("lanekeeper_blocked_packets_total", &[("class", class)])
    };
    assert_eq!(["video", "gold", "voice"].map(|class| blocked(&gateways, class)), [120, 60, 60]);

    // Two of five come up; the far end refuses the rest.
    gateways.agent(Side::B).start().unwrap();
    for side in [Side::A, Side::B] {
        gateways.agent(side).wait_for_lanes(2, LANES_UP).unwrap();
    }
    warm_up(gateways.lab()).unwrap();
    let announced = announce(&gateways, &flows);
    let before = carried(&gateways);
    let tallies = Traffic::run(&flows).unwrap();
    let received: Vec<u64> = tallies.iter().map(|tally| tally.received).collect();
    assert_eq!(received, [60, 60, 0, 60], "{tallies:?}");
    let mut after = carried(&gateways);
    after.iter_mut().for_each(|(spi, packets)| *packets -= before[spi]);
    after.retain(|_, packets| *packets > 0);
    assert_eq!(after, announced, "packets by SPI, as they went and as they were explained");
    let metrics = gateways.agent_of(Side::A).metrics().unwrap();
    let fell = |class, to| metrics.count("lanekeeper_fallback_packets_total", &[("class", class), ("to", to)]);
    assert_eq!((fell("video", "default"), fell("video", "bulk")), (120, 0));
    assert_eq!(["video", "gold", "voice"].map(|class| blocked(&gateways, class)), [120, 120, 60]);
    let lane = |class| metrics.count("lanekeeper_lane_packets_total", &[("class", class), ("direction", "out")]);
    assert_eq!((lane("video"), lane("gold"), lane("voice")), (0, 0, 60));

    // The far end learns them; the lanes come up and take their packets back.
    chain().write(Side::B, &gateways.lab().files(Side::B), &shared).unwrap();
    gateways.agent(Side::B).hang_up().unwrap();
    gateways.wait_for_lanes(Duration::from_secs(150)).unwrap();
    let tallies = Traffic::run(&flows).unwrap();
    assert!(tallies.iter().all(|tally| tally.lost() == 0), "{tallies:?}");
    let metrics = gateways.agent_of(Side::A).metrics().unwrap();
    let lane = |class| metrics.count("lanekeeper_lane_packets_total", &[("class", class), ("direction", "out")]);
    assert_eq!((lane("video"), lane("gold"), lane("voice")), (120, 60, 120));

    let seen = capture.stop().unwrap();
    assert_eq!(seen.clear, 0, "{seen:?}");
}

/// Hears charon's words that a CHILD_SA rose (true) or fell, on a connection of its own, and says when.
fn hear(socket: &Path) -> mpsc::Receiver<(bool, Instant)> {
    let (ready, is_ready) = mpsc::channel();
    let (heard, words) = mpsc::channel();
    let socket = socket.to_owned();
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut charon = Listener::connect(&socket, Timeouts::default(), &["child-updown"]).await.unwrap();
            ready.send(()).unwrap();
            // Until nobody listens any more, or charon ends.
            while let Ok((_, word)) = charon.next().await
                && heard.send((word.text("up").is_some(), Instant::now())).is_ok()
            {}
        });
    });
    is_ready.recv().unwrap();
    words
}

/// The time in which a lane's fall or rise is to reach the data path.
const EFFECT: Duration = Duration::from_millis(100);

#[test]
fn lanes_going_down_and_up_take_effect_within_100_ms() {
    let gateways = Gateways::start("updown", Scenario::four_classes(Keying::Psk), Path::new(BINARY)).unwrap();
    warm_up(gateways.lab()).unwrap();
    let capture = Capture::start(&gateways.lab().wan()).unwrap();
    // 200 packets a second: 20 of them in 100 ms.
    let voice = Flow { dscp: 46, rate: 200, ..gateways.lab().flow("voice", Side::A, Family::V4, 5060) };
    let traffic = Traffic::start(&[voice]).unwrap();
    let lost = || traffic.tallies()[0].lost();
    // What is under way counts as lost for a moment: the least of a few looks is what never came.
    let lost_for_good = || {
        let look = |_| {
            thread::sleep(Duration::from_millis(5));
            lost()
        };
        (0..5).map(look).min().unwrap()
    };
    // Packets on voice's own lane, and on that of another class. Of one reading, which on an emulated CPU may take its time:
    // what the sender says meanwhile is of another moment.
    let taken = || {
        let metrics = gateways.agent_of(Side::A).metrics().unwrap();
        let own = metrics.count("lanekeeper_lane_packets_total", &[("class", "voice"), ("direction", "out")]);
        (own, metrics.count("lanekeeper_fallback_packets_total", &[("class", "voice")]))
    };
    let words = hear(&vici(&gateways.lab().files(Side::A)));
    let next = |up: bool, limit: Duration| {
        let deadline = Instant::now() + limit;
        loop {
            match words.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok((word, at)) if word == up => return at,
                Ok(_) => {}
                Err(error) => panic!("charon did not say that the lane is {}: {error}", if up { "up" } else { "down" }),
            }
        }
    };
    for round in 1..=5 {
        thread::sleep(Duration::from_secs(1));
        let (before, at_fall) = (lost_for_good(), taken());
        words.try_iter().for_each(drop);
        gateways.charon(Side::A).unwrap().swanctl("--terminate --child voice.0").unwrap();
        // From the peer's deletion to charon's word packets go to an SA that is no more: that time is IKE's.
        let fell = next(false, Duration::from_secs(10));
        thread::sleep((fell + EFFECT).saturating_duration_since(Instant::now()));
        let by_then = lost();
        // A lane that falls again at once is tried after 1, 2, 4, 8, 16 s, and a quarter more by chance.
        let rose = next(true, Duration::from_secs(60));
        let at_rise = taken();
        thread::sleep((rose + Duration::from_secs(1)).saturating_duration_since(Instant::now()));
        let a_second_on = taken();
        let (own, beside) = (a_second_on.0 - at_rise.0, a_second_on.1 - at_rise.1);
        let after = lost_for_good();
        println!(
            "round {round}: {} lost by {EFFECT:?} after charon's word, {} in all; in the second after the rise {own} on their own lane and {beside} beside it",
            by_then.saturating_sub(before),
            after - before
        );
        // Two packets are the 10 ms by which two threads of this test wake up apart on an emulated CPU.
        assert!(after <= by_then + 2, "packets were lost later than {EFFECT:?} after the fall, or at the rise");
        assert!(at_rise.1 > at_fall.1, "nothing fell back while the lane was down");
        // 100 ms of a second are ten percent.
        assert!(own >= 9 * beside && own >= 30, "voice took its lane back late: {own} packets, {beside} beside it");
    }
    traffic.stop().unwrap();
    assert_eq!(capture.stop().unwrap().clear, 0);
}
