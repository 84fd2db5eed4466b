//! The program that writes outer DSCPs, over ESP packets of a lane and over others.

mod witness;

use lanekeeper::compile::{Registry, compile};
use lanekeeper::kernel::dataplane::Trial;
use lanekeeper::policy::{Class, ClassIndex, Fallback, Lane, Policy};
use witness::random::Random;

const MASK: u32 = 0xff;

fn policy(local: &str, remote: &str) -> Policy {
    let mut policy = witness::policy::policy(&mut Random::new(1));
    policy.rules.clear();
    policy.tenants.clear();
    policy.mark_mask = MASK;
    policy.default_class = ClassIndex(0);
    policy.classes = [("voice", Some(46)), ("bulk", None)]
        .map(|(name, outer_dscp)| Class {
            name: name.into(),
            lanes: 1,
            fallback: Fallback::Block,
            outer_dscp,
            on_demand: None,
        })
        .into();
    policy.tunnels.truncate(1);
    let tunnel = &mut policy.tunnels[0];
    (tunnel.local, tunnel.remote) = (local.parse().unwrap(), remote.parse().unwrap());
    tunnel.classes = vec![ClassIndex(0), ClassIndex(1)];
    tunnel.lanes = [0, 1]
        .map(|class| Lane {
            class: ClassIndex(class),
            index: 0,
            mark: class as u32 + 1,
            reqid: 0x4c4b_0001 + class as u32,
            clients: Default::default(),
            label: format!("lane{class}"),
        })
        .into();
    policy
}

fn trial(policy: &Policy) -> Trial {
    let mut trial = Trial::new().unwrap_or_else(|error| panic!("{error}"));
    trial.load(&compile(policy, &mut Registry::default()).unwrap()).unwrap();
    trial
}

/// RFC 1071 over a header: 0 where its checksum is right.
fn checksum(header: &[u8]) -> u16 {
    let sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

fn v4(protocol: u8, tos: u8) -> Vec<u8> {
    let mut ip = vec![0x45, tos, 0, 60, 0x12, 0x34, 0x40, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00];
    frame.extend(ip);
    frame.extend([0x55; 40]);
    frame
}

#[test]
fn esp_of_a_lane_gets_its_class_dscp_and_a_right_checksum() {
    let mut trial = trial(&policy("192.0.2.1", "192.0.2.2"));
    // ECN is the path's, not ours; foreign bits of the mark do not matter.
    for (tos, mark) in [(0x00, 1), (0x03, 1), (0x28, 0xabcd_ef01)] {
        let frame = v4(50, tos);
        let out = trial.run_wan(&frame, mark).unwrap();
        assert_eq!(out[15], 46 << 2 | tos & 3);
        assert_eq!(checksum(&out[14..34]), 0);
        assert_eq!((&out[..15], &out[16..24], &out[26..]), (&frame[..15], &frame[16..24], &frame[26..]));
    }
}

#[test]
fn other_packets_stay_as_they_are() {
    let mut trial = trial(&policy("192.0.2.1", "192.0.2.2"));
    let same = v4(50, 46 << 2 | 2);
    // Right already; a class without one; no mark of ours; a mark of no lane; not ESP.
    for (frame, mark) in [(same, 1), (v4(50, 0), 2), (v4(50, 0), 0x100), (v4(50, 0), 9), (v4(6, 0), 1)] {
        assert_eq!(trial.run_wan(&frame, mark).unwrap(), frame, "mark {mark:#x}");
    }
    let mut elsewhere = v4(50, 0);
    elsewhere[33] = 3;
    assert_eq!(trial.run_wan(&elsewhere, 1).unwrap(), elsewhere);
}

#[test]
fn esp_over_ipv6_gets_it_in_the_traffic_class() {
    let mut trial = trial(&policy("2001:db8::1", "2001:db8::2"));
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd, 0x60, 0x1a, 0xbc, 0xde, 0, 40, 50, 64];
    let address = |last: u8| [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    frame.extend(address(1));
    frame.extend(address(2));
    frame.extend([0x55; 40]);
    let out = trial.run_wan(&frame, 1).unwrap();
    // Traffic class 0x01 (ECN 1) becomes 46 << 2 | 1 = 0xb9; the flow label stays.
    assert_eq!(out[14..18], [0x6b, 0x9a, 0xbc, 0xde]);
    assert_eq!(out[18..], frame[18..]);
}
