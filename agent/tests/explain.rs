//! What `explain` says beside the verdict, against the naive oracle.

mod witness;

use lanekeeper::explain::near::{Field, Seen};
use lanekeeper_common::abi::NO_VLAN;
use lanekeeper_common::packet::{Layer, parse};
use witness::oracle::Oracle;
use witness::random::Random;

const POLICIES: u64 = 60;
const PACKETS: usize = 200;

#[test]
fn classify_near_fails_no_field_of_the_winner_and_some_of_each_rule_before() {
    let mut by_rule = 0;
    for seed in 0..POLICIES {
        let mut random = Random::new(seed);
        let policy = witness::policy::policy(&mut random);
        for place in 0..PACKETS {
            let packet = witness::packet::packet(&mut random, &policy);
            let tag = packet.stripped.unwrap_or(NO_VLAN);
            let Ok(read) = parse(&packet.frame.as_slice(), Layer::ETHERNET, tag) else { continue };
            let ((tenant, winner, _), _) = Oracle::default().judge(&policy, &packet);
            let seen = Seen { packet: &read, interface: packet.ingress, mark: packet.mark };
            let mut matching = (0..policy.rules.len()).filter(|rule| {
                policy.rules[*rule].tenant == tenant && Field::failed(&policy.rules[*rule], &seen).is_empty()
            });
            assert_eq!(matching.next(), winner, "seed {seed}, packet {place}: {packet:?}");
            by_rule += u64::from(winner.is_some());
        }
    }
    assert!(by_rule > POLICIES * PACKETS as u64 / 4, "{by_rule} packets had a rule");
}
