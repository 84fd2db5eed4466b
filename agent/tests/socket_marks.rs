//! The mark of a socket against the naive oracle: what is said before there is a packet holds for every packet.

mod witness;

use lanekeeper::compile::sockets::guides;
use lanekeeper::policy::{Policy, cgroup};
use lanekeeper_common::abi::{ANY_PROTOCOL, Guide};
use lanekeeper_common::mark::of_class;
use lanekeeper_common::socket::{Facts, mapped, mark};
use std::net::IpAddr;
use witness::oracle::Oracle;
use witness::packet::{Packet, Part, packet};
use witness::policy::policy;
use witness::random::Random;

/// What the kernel finds for a socket of that cgroup.
fn guide(policy: &Policy, own: &str) -> Option<Guide> {
    let guides = guides(policy);
    let hints = std::iter::successors(Some(own), |path| cgroup::above(path)).find_map(|path| guides.get(path))?;
    let mut guide = Guide { mask: policy.mark_mask, len: hints.len() as u32, ..Guide::default() };
    guide.hints[..hints.len()].copy_from_slice(hints);
    Some(guide)
}

/// All that may be known of the socket of a packet.
fn facts(packet: &Packet) -> Vec<Facts> {
    let family = if packet.destination.is_ipv4() { 4 } else { 6 };
    let mut all = Vec::new();
    for protocol in [packet.protocol.into(), ANY_PROTOCOL] {
        for family in [0, family] {
            let unaimed = Facts { family, protocol, destination: None };
            let to = match packet.destination {
                IpAddr::V4(address) => mapped(address.to_bits()),
                IpAddr::V6(address) => [(address.to_bits() >> 64) as u64, address.to_bits() as u64],
            };
            all.extend([unaimed, unaimed.to(to, packet.ports.map_or(0, |ports| ports.1))]);
        }
    }
    all
}

#[test]
fn classify_marks_sockets_as_the_oracle_judges_their_packets() {
    let mut random = Random::new(2026);
    let (mut marked, mut aimed, mut unmarked) = (0, 0, 0);
    for _ in 0..3_000 {
        let mut policy = policy(&mut random);
        policy.mark_sockets = true;
        // Half of them without what is seldom certain.
        if random.one_in(2) {
            policy.tenants.clear();
            policy.rules.retain(|rule| rule.tenant.is_none());
            policy.rules.truncate(12);
        }
        for _ in 0..20 {
            let packet = packet(&mut random, &policy);
            let own = packet.ingress.is_none() && packet.vlan.is_none();
            let Some(path) = packet.cgroup.filter(|_| own && !packet.broken) else { continue };
            // A later fragment follows its first one, or is counted as one of which nothing is known.
            let (Part::Whole | Part::First(_)) = packet.part else { continue };
            let Some(guide) = guide(&policy, path) else { continue };
            let ((_, rule, class), _) = Oracle::default().judge(&policy, &packet);
            for facts in facts(&packet) {
                let said = mark(&guide, &facts);
                if said == 0 {
                    unmarked += 1;
                    continue;
                }
                let wanted = of_class(policy.mark_mask, class.0 as u16);
                assert!(rule.is_some() && said == wanted, "{said:#x} for {wanted:#x}: {facts:?} {packet:?} {policy:?}");
                marked += 1;
                aimed += usize::from(facts.destination.is_some());
            }
        }
    }
    assert!(marked > 2_000 && aimed * 2 > marked && unmarked > marked, "{marked} {aimed} {unmarked}");
}

#[test]
fn classify_marks_nothing_where_sockets_are_not_to_be_marked() {
    let mut random = Random::new(7);
    let found = (0..100).map(|_| policy(&mut random)).filter(|policy| !guides(policy).is_empty()).count();
    assert_eq!(found, 0);
}
