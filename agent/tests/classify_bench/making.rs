//! Lists that every engine takes.

use ipnet::IpNet;

use crate::bpf::FRAMES;
use crate::lists::{List, disjoint, exact};
use crate::witness::list;
use crate::witness::list::FAMILIES;
use crate::witness::oracle::Oracle;

#[test]
fn classify_bench_makes_lists_of_which_no_two_rules_overlap() {
    for family in &FAMILIES {
        let policy = disjoint(&list::policy(family, 2_000), family.six);
        let mut nets: Vec<IpNet> = policy.rules.iter().map(|rule| rule.destination[0]).collect();
        nets.sort();
        for pair in nets.windows(2) {
            assert!(pair[0].broadcast() < pair[1].network(), "{}: {} and {}", family.name, pair[0], pair[1]);
        }
    }
}

#[test]
fn classify_bench_leaves_ipset_one_port_of_one_protocol() {
    for family in &FAMILIES {
        for rule in exact(&disjoint(&list::policy(family, 500), family.six)).rules {
            assert!(rule.source.is_empty() && rule.source_port.is_empty(), "{rule:?}");
            assert!(matches!(rule.protocol, Some(6 | 17)), "{rule:?}");
            assert!(matches!(rule.destination_port[..], [(first, last)] if first == last), "{rule:?}");
        }
    }
}

#[test]
fn classify_bench_knows_which_packets_hit() {
    let family = &FAMILIES[0];
    let list = List::new(family, disjoint(&list::policy(family, 100), family.six)).unwrap();
    let judged = list.packets.iter().filter(|packet| Oracle::default().judge(&list.policy, packet).0.1.is_some());
    assert_eq!(list.hits, judged.count() as u64);
    assert!(list.hits > FRAMES as u64 * 3 / 4 && list.hits < FRAMES as u64);
}
