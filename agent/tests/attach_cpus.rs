//! Per-CPU SAs (RFC 9611) that charon negotiates by itself: one lane of an adopted connection. Kernel 6.13 or later.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use xtask::demo::stage::warm_up;
use xtask::lab::capture::Capture;
use xtask::lab::gateways::{Gateways, LANES_UP};
use xtask::lab::handmade;
use xtask::lab::sa::{self, Sa};
use xtask::lab::scenario::{Class, Keying, Scenario};
use xtask::lab::swanctl::{self, Child};
use xtask::lab::traffic::{Flow, Tally, Traffic, assert_whole};
use xtask::lab::wait::until;
use xtask::lab::{Family, Side};
use xtask::setup::strongswan::Version;

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");

/// Children of the connection, each with its lane's mark.
const CHILDREN: [(&str, &str); 2] = [("voice", "0x1/0xff"), ("rest", "0x2/0xff")];

/// charon makes an SA for each CPU as the first packet of that CPU comes.
const SOON: Duration = Duration::from_secs(60);

fn scenario() -> Scenario {
    Scenario {
        classes: vec![Class::new("voice"), Class::new("default")],
        rules: "[[rule]]\nclass = \"voice\"\nprotocol = \"udp\"\ndscp = [\"ef\"]\n".to_owned(),
        strongswan: Version::V6_1,
        ..Scenario::four_classes(Keying::Psk)
    }
}

/// An operator's own, with an SA for each CPU.
fn swanctl_conf(side: Side) -> String {
    const ALL: &str = "0.0.0.0/0, ::/0";
    let children = CHILDREN.map(|(name, mark)| Child { name, label: name, mark, local_ts: ALL, remote_ts: ALL });
    let each = "set_mark_in = %same\n                per_cpu_sas = yes\n                start_action = trap\n";
    swanctl::office(side, "", &children).replace("set_mark_in = %same\n", each)
}

/// charons have their connections, B marks and routes by itself, A has a file that adopts.
fn stage() -> Gateways {
    let gateways = Gateways::idle("cpus", scenario(), Path::new(BINARY)).unwrap();
    let config = gateways.agent_of(Side::A).config();
    let toml = fs::read_to_string(&config).unwrap();
    let adopt = "connection = \"office\"\nchildren = [\n\
                 { class = \"voice\", names = [\"voice\"] },\n{ class = \"default\", names = [\"rest\"] },\n]";
    fs::write(&config, swanctl::adopting(&toml, adopt).unwrap()).unwrap();
    handmade::peer(gateways.lab(), 2, &[("ip dscp ef", 1)]).unwrap();
    for side in [Side::A, Side::B] {
        let conf = gateways.lab().files(side).join("swanctl.conf");
        fs::write(&conf, swanctl_conf(side)).unwrap();
        gateways.charon(side).unwrap().swanctl(&format!("--load-all --file {}", conf.display())).unwrap();
    }
    gateways
}

/// A's outbound SAs with that mark.
fn outbound(gateways: &Gateways, mark: u32) -> Vec<Sa> {
    let ours = Side::A.outer(Family::V4);
    let states = sa::list(&gateways.lab().gateway(Side::A)).unwrap();
    states.into_iter().filter(|sa| sa.source == ours && sa.mark.0 == mark).collect()
}

#[test]
fn attach_cpus_have_an_sa_each_and_one_lane_counts_them_all() {
    let cpus = std::thread::available_parallelism().unwrap().get();
    let mut gateways = stage();
    let capture = Capture::start(&gateways.lab().wan()).unwrap();
    for (child, _) in CHILDREN {
        gateways.charon(Side::A).unwrap().swanctl(&format!("--initiate --child {child} --timeout 60")).unwrap();
    }
    gateways.agent(Side::A).start().unwrap();
    let up = gateways.agent(Side::A).wait_for_lanes(CHILDREN.len(), LANES_UP);
    up.unwrap_or_else(|error| panic!("{error:#}\n{}", gateways.agent_of(Side::A).log()));
    warm_up(gateways.lab()).unwrap();

    // Voice from each CPU, and back.
    let send = |count: u64| -> Vec<Tally> {
        let of = |from: Side, cpu: usize| Flow {
            dscp: 46,
            cpu: Some(cpu),
            count: Some(count),
            ..gateways.lab().flow("cpus", from, Family::V4, 5060 + cpu as u16)
        };
        let flows: Vec<Flow> = (0..cpus).flat_map(|cpu| [of(Side::A, cpu), of(Side::B, cpu)]).collect();
        Traffic::run(&flows).unwrap()
    };
    // The first packets of a CPU ask for its SA, and some are lost until it is there.
    let all = cpus + 1;
    let asked = || {
        let whole = send(5).iter().all(|tally| tally.lost() == 0);
        whole && outbound(&gateways, 1).len() >= all
    };
    assert!(until(SOON, asked), "{:?}", outbound(&gateways, 1));
    let reqids: BTreeSet<u32> = outbound(&gateways, 1).iter().map(|sa| sa.reqid).collect();
    assert_eq!(reqids.len(), 1, "one lane");

    let metrics = || gateways.agent_of(Side::A).metrics().unwrap();
    let count = |way| metrics().count("lanekeeper_lane_packets_total", &[("class", "voice"), ("direction", way)]);
    let packets = || outbound(&gateways, 1).into_iter().map(|sa| (sa.spi, sa.packets)).collect::<Vec<_>>();
    let (before, counted) = (packets(), [count("out"), count("in")]);
    assert_whole(&send(100));
    let sent = 100 * cpus as u64;
    assert_eq!([count("out") - counted[0], count("in") - counted[1]], [sent, sent]);
    let more: Vec<u64> = packets().iter().zip(&before).map(|(after, before)| after.1 - before.1).collect();
    // The one of all CPUs is idle, and every other one has the packets of its own.
    println!("{cpus} CPUs: {more:?} packets by SA");
    assert_eq!(more.iter().filter(|packets| **packets > 0).count(), cpus, "{more:?}");
    assert_eq!(more.iter().sum::<u64>(), sent, "{more:?}");
    assert_eq!(metrics().sum("lanekeeper_lane_up", &[]) as usize, CHILDREN.len());
    let status = gateways.agent_of(Side::A).must(&["status"]).unwrap();
    assert!(!status.contains("refus"), "{status}");

    let seen = capture.stop().unwrap();
    assert_eq!(seen.clear, 0, "{seen:?}");
    let spis = seen.esp.keys().filter(|(source, _)| *source == Side::A.outer(Family::V4)).count();
    assert!(spis > all, "{seen:?}");
}
