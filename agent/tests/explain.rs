//! What `explain` says beside the verdict, against the naive oracle.

mod witness;

use std::collections::BTreeSet;

use lanekeeper::compile::{Registry, compile};
use lanekeeper::explain::near::{Field, Seen};
use lanekeeper::explain::shadow::{self, Shadowed};
use lanekeeper::policy::{Policy, Rule};
use lanekeeper_common::abi::NO_VLAN;
use lanekeeper_common::packet::{Layer, parse};
use witness::list::{self, FAMILIES};
use witness::oracle::{Oracle, matches};
use witness::packet::{Packet, Part};
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
            let seen = Seen { packet: &read, interface: packet.ingress, mark: packet.mark, cgroup: packet.cgroup };
            let mut matching = (0..policy.rules.len()).filter(|rule| {
                policy.rules[*rule].tenant == tenant && Field::failed(&policy.rules[*rule], &seen).is_empty()
            });
            assert_eq!(matching.next(), winner, "seed {seed}, packet {place}: {packet:?}");
            by_rule += u64::from(winner.is_some());
        }
    }
    assert!(by_rule > POLICIES * PACKETS as u64 / 4, "{by_rule} packets had a rule");
}

fn shadows(policy: &Policy) -> Vec<Shadowed> {
    let found = shadow::shadows(policy, &compile(policy, &mut Registry::default()).unwrap());
    assert_eq!(found.unseen, None);
    found.rules
}

#[test]
fn classify_shadowed_rules_win_no_packet_of_random_policies() {
    let mut matched = 0;
    for seed in 0..2 * POLICIES {
        let mut random = Random::new(seed);
        let policy = witness::policy::policy(&mut random);
        let rules: Vec<usize> = shadows(&policy).iter().map(|one| one.rule).collect();
        // Only such packets are of interest as some shadowed rule would take.
        let of_them =
            Policy { rules: rules.iter().map(|rule| policy.rules[*rule].clone()).collect(), ..policy.clone() };
        for place in 0..if rules.is_empty() { 0 } else { 4 * PACKETS } {
            let packet = witness::packet::packet(&mut random, &of_them);
            let ((_, winner, _), _) = Oracle::default().judge(&policy, &packet);
            assert!(winner.is_none_or(|rule| !rules.contains(&rule)), "seed {seed}, packet {place}: {packet:?}");
            matched += usize::from(of_them.rules.iter().any(|rule| matches(rule, &packet)));
        }
    }
    assert!(matched > 1_000, "{matched} packets matched a shadowed rule");
}

#[test]
fn classify_shadowed_are_found_in_lists_of_10_000_rules() {
    for family in FAMILIES.iter().step_by(4) {
        let mut policy = list::policy(family, 10_000);
        let copies: Vec<Rule> = policy.rules.iter().step_by(100).cloned().collect();
        policy.rules.extend(copies);
        let rules: BTreeSet<usize> = shadows(&policy).iter().map(|one| one.rule).collect();
        assert!((10_000..10_100).all(|copy| rules.contains(&copy)), "{}: {rules:?}", family.name);
        let of_them =
            Policy { rules: rules.iter().map(|rule| policy.rules[*rule].clone()).collect(), ..policy.clone() };
        let mut random = Random::new(1);
        for place in 0..500 {
            let packet = list::packet(&mut random, family, &of_them);
            let winner = policy.rules.iter().position(|rule| matches(rule, &packet));
            assert!(winner.is_none_or(|rule| !rules.contains(&rule)), "{}, packet {place}: {packet:?}", family.name);
        }
    }
}

/// Policies of few values each, over one packet of every cell that these cut a few fields into.
const SMALL: u64 = 200;

#[test]
fn classify_shadowed_are_all_rules_that_no_packet_reaches() {
    let (mut said, mut together) = (0, 0);
    for seed in 0..SMALL {
        let mut random = Random::new(seed);
        let fields: BTreeSet<usize> = (0..3).map(|_| random.below(12)).collect();
        let rules = (0..3 + random.below(16)).map(|_| small_rule(&mut random, &fields)).collect();
        let policy = Policy { rules, tenants: Vec::new(), ..witness::policy::policy(&mut random) };
        let (mut matched, mut won) = (BTreeSet::new(), BTreeSet::new());
        for packet in cells(&fields) {
            let of = (0..policy.rules.len()).filter(|rule| matches(&policy.rules[*rule], &packet));
            let of: Vec<usize> = of.collect();
            won.extend(of.first());
            matched.extend(of);
        }
        let found = shadows(&policy);
        let rules: Vec<usize> = found.iter().map(|one| one.rule).collect();
        let expected: Vec<usize> = matched.difference(&won).copied().collect();
        assert_eq!(rules, expected, "seed {seed}: {:#?}", policy.rules);
        said += rules.len();
        together += found.iter().filter(|one| one.by.len() > 1).count();
    }
    assert!(said > 100 && together > 20, "{said} rules were shadowed, {together} of them by several");
}

fn small_rule(random: &mut Random, fields: &BTreeSet<usize>) -> Rule {
    let mut rule = Rule::default();
    let prefixes = |random: &mut Random| {
        let all = ["10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9", "10.192.0.0/10", "0.0.0.0/0", "::/0", "2001:db8::/32"];
        (0..=random.below(2)).map(|_| random.pick(&all).parse().unwrap()).collect()
    };
    let ports = |random: &mut Random| {
        let all = [(0, 99), (100, 199), (200, 65535), (0, 65535), (50, 150)];
        (0..=random.below(2)).map(|_| random.pick(&all)).collect()
    };
    for field in fields {
        if random.one_in(6) {
            continue;
        }
        match field {
            0 => rule.source = prefixes(random),
            1 => rule.destination = prefixes(random),
            2 => rule.protocol = Some(random.pick(&[6, 17, 132, 1])),
            3 => rule.source_port = ports(random),
            4 => rule.destination_port = ports(random),
            5 => rule.dscp = random.pick(&[vec![46], vec![0], vec![0, 46]]),
            6 => rule.interface = random.pick(&[vec!["lan0".into()], vec!["lan1".into(), "lan0".into()]]),
            7 => rule.length = random.pick(&[vec![(0, 99)], vec![(100, 65535)], vec![(50, 200)]]),
            8 => rule.tcp_flags = Some(random.pick(&[(2, 2), (0, 2), (2, 0x12), (0x12, 0x12)])),
            9 => rule.fragment = Some(random.one_in(2)),
            11 if rule.interface.is_empty() => {
                rule.cgroup = random.pick(&[vec!["/".into()], vec!["/a".into()], vec!["/a/b".into(), "/d".into()]]);
            }
            11 => {}
            _ => rule.mark = Some(random.pick(&[(0, 0x100), (0x100, 0x100), (0x100, 0x300), (0x300, 0x300)])),
        }
    }
    rule
}

/// One packet of each cell of these fields, of each family, protocol and part of a datagram.
fn cells(fields: &BTreeSet<usize>) -> Vec<Packet> {
    let four = ["192.0.2.1", "10.1.0.1", "10.129.0.1", "10.200.0.1"].map(|text| text.parse().unwrap());
    let six = ["2001:db9::1", "2001:db8::1"].map(|text| text.parse().unwrap());
    let mut random = Random::new(1);
    let mut made = Vec::new();
    for address in [four[0], six[0]] {
        for protocol in [6, 17, 132, 1, 47] {
            let whole = witness::packet::whole(&mut random, (address, address), protocol, (1, 1));
            let whole = Packet { length: 10, tcp_flags: None, icmp_type: None, ..whole };
            made.push(Packet { part: Part::First(1), ..whole.clone() });
            made.push(Packet { part: Part::Later(1), ports: None, ..whole.clone() });
            made.push(whole);
        }
    }
    for field in fields {
        let mut cut = Vec::new();
        for packet in &made {
            let mut with = |change: &dyn Fn(&mut Packet)| {
                let mut packet = packet.clone();
                change(&mut packet);
                cut.push(packet);
            };
            let addresses = if packet.source.is_ipv4() { &four[..] } else { &six[..] };
            match field {
                0 => addresses.iter().for_each(|address| with(&|packet| packet.source = *address)),
                1 => addresses.iter().for_each(|address| with(&|packet| packet.destination = *address)),
                3 | 4 => [1, 60, 120, 170, 300].iter().for_each(|port| {
                    with(&|packet| {
                        if let Some((from, to)) = &mut packet.ports {
                            *(if *field == 3 { from } else { to }) = *port;
                        }
                    })
                }),
                5 => [46, 0, 5].iter().for_each(|dscp| with(&|packet| packet.dscp = *dscp)),
                6 => [None, Some("lan0"), Some("lan1"), Some("unnamed0")]
                    .iter()
                    .for_each(|name| with(&|packet| packet.ingress = *name)),
                11 => [None, Some("/"), Some("/a"), Some("/a/b"), Some("/d")].iter().for_each(|path| {
                    with(&|packet| packet.cgroup = path.filter(|_| packet.ingress.is_none()));
                }),
                7 => [10, 60, 120, 300].iter().for_each(|length| with(&|packet| packet.length = *length)),
                8 => [None, Some(0x02), Some(0x12), Some(0x10), Some(0)].iter().for_each(|flags| {
                    with(&|packet| {
                        if packet.protocol == 6 && packet.ports.is_some() {
                            packet.tcp_flags = *flags;
                        }
                    })
                }),
                10 => [0, 0x100, 0x200, 0x300].iter().for_each(|mark| with(&|packet| packet.mark = *mark)),
                // Protocol and fragment: each packet is one already.
                _ => with(&|_| ()),
            }
        }
        made = cut;
    }
    made
}
