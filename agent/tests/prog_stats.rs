//! What an offloaded packet counts for: the segments that the wire will see, each with its headers.

mod witness;

use lanekeeper::compile::series::{Direction, Series};
use lanekeeper::compile::{Registry, compile};
use lanekeeper::kernel::dataplane::{Offload, Trial};
use lanekeeper::model::Probe;
use lanekeeper::policy::{Class, ClassIndex, Fallback, Lane, Policy};
use witness::random::Random;

/// One class of one lane, no rules.
fn policy() -> Policy {
    let mut policy = witness::policy::policy(&mut Random::new(1));
    policy.rules.clear();
    policy.tenants.clear();
    policy.default_class = ClassIndex(0);
    policy.classes =
        vec![Class { name: "all".into(), lanes: 1, fallback: Fallback::Block, outer_dscp: None, on_demand: None }];
    policy.tunnels.truncate(1);
    policy.tunnels[0].classes = vec![ClassIndex(0)];
    let mark = 1 << policy.mark_mask.trailing_zeros();
    policy.tunnels[0].lanes = vec![Lane {
        class: ClassIndex(0),
        index: 0,
        mark,
        reqid: 0x4c4b_0001,
        clients: Default::default(),
        label: "all.0".into(),
    }];
    policy
}

const ETHERNET: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

fn v4(protocol: u8, transport: &[u8]) -> Vec<u8> {
    let [high, low] = (20 + transport.len() as u16).to_be_bytes();
    let header = [0x45, 0, high, low, 0, 1, 0x40, 0, 64, protocol, 0, 0, 10, 1, 0, 5, 10, 2, 0, 9];
    [&ETHERNET[..], &[0x08, 0x00], &header, transport].concat()
}

/// With a destination options header of eight bytes.
fn v6(protocol: u8, transport: &[u8]) -> Vec<u8> {
    let [high, low] = (8 + transport.len() as u16).to_be_bytes();
    let mut header = vec![0x60, 0, 0, 0, high, low, 60, 64];
    header.extend([[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]; 2].concat());
    header.extend([protocol, 0, 1, 4, 0, 0, 0, 0]);
    [&ETHERNET[..], &[0x86, 0xdd], &header, transport].concat()
}

/// A header of `words` times four bytes, and the payload.
fn tcp(words: u8, payload: usize) -> Vec<u8> {
    let mut bytes = vec![0; usize::from(words) * 4 + payload];
    bytes[12] = words << 4;
    bytes
}

#[test]
fn an_offloaded_packet_counts_as_its_segments() {
    let mut trial = Trial::new().unwrap_or_else(|error| panic!("{error}"));
    trial.load(&compile(&policy(), &mut Registry::default()).unwrap()).unwrap();
    trial.set_all_up().unwrap();
    trial.set_tunnel("tunnel0").unwrap();
    let mut before = (0, 0);
    // Name, frame, number of segments, size of one; packets and bytes of the wire, from the IP header on.
    let table = [
        ("whole", v4(6, &tcp(5, 1000)), 0, 0, 1, 1040),
        ("TCP", v4(6, &tcp(5, 1000)), 3, 400, 3, 3 * 40 + 1000),
        ("TCP with 12 bytes of options", v4(6, &tcp(8, 1000)), 3, 400, 3, 3 * 52 + 1000),
        ("TCP behind an extension header", v6(6, &tcp(8, 1000)), 3, 400, 3, 3 * (40 + 8 + 32) + 1000),
        ("TCP without a number", v4(6, &tcp(8, 1000)), 0, 400, 3, 3 * 52 + 1000),
        ("TCP that just fills its segments", v4(6, &tcp(8, 1200)), 0, 400, 3, 3 * 52 + 1200),
        ("TCP of less than one", v4(6, &tcp(8, 100)), 0, 400, 1, 52 + 100),
        ("UDP", v4(17, &[0; 8 + 1000]), 3, 400, 3, 3 * 28 + 1000),
        ("UDP without a number", v4(17, &[0; 8 + 1000]), 0, 400, 3, 3 * 28 + 1000),
        ("UDP behind an extension header", v6(17, &[0; 8 + 1000]), 3, 400, 3, 3 * (40 + 8 + 8) + 1000),
        ("SCTP by its fragments", v4(132, &[0; 12 + 1000]), 4, 0xffff, 4, 4 * 32 + 1000),
        ("SCTP by its fragments without a number", v4(132, &[0; 12 + 1000]), 0, 0xffff, 1, 32 + 1000),
    ];
    for (name, frame, segments, size, packets, bytes) in table {
        let probe = Probe { frame: &frame, mark: 0, ingress: None, stripped: None, cgroup: None };
        let verdict = trial.run_offloaded(&probe, Offload { segments, size }).unwrap();
        assert!(verdict.lane.is_some(), "{name}: {verdict:?}");
        let counters = trial.counters().unwrap();
        let out = |series: &Series| matches!(series, Series::Lane { direction: Direction::Out, .. });
        let lane = counters.iter().find(|reading| out(&reading.series)).unwrap();
        assert_eq!((lane.packets - before.0, lane.bytes - before.1), (packets, bytes), "{name}");
        before = (lane.packets, lane.bytes);
    }
}
