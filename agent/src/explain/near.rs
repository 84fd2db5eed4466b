//! The rules that nearly decided: those that come before the one that did, and what in them the packet is not.

mod field;

use std::cmp::Reverse;
use std::fmt;

use lanekeeper_common::abi::NO_VLAN;
use lanekeeper_common::packet::{Layer, parse};
use serde::Serialize;

pub use field::{Field, Seen};

use super::{Frame, line};
use crate::model::Verdict;
use crate::policy::{Policy, Rule};

/// How many are shown.
const SHOWN: usize = 5;
/// A rule that fails in more fields than these is about something else.
const FIELDS: usize = 2;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Near {
    /// Its name, or its place where it has none.
    pub rule: String,
    /// `FILE:LINE:COL`.
    pub place: String,
    /// Where it fails, in the order of a rule's fields.
    pub failed: Vec<Failed>,
}

/// What a rule wants and a packet is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failed {
    /// The rule's key.
    pub field: &'static str,
    /// As the file would have it.
    pub wants: String,
    /// The packet's own; `null` where it has none.
    pub has: Option<String>,
}

impl fmt::Display for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rule == self.place {
            true => write!(f, "{}", self.place)?,
            false => write!(f, "\"{}\" ({})", self.rule, self.place)?,
        }
        for (at, failed) in self.failed.iter().enumerate() {
            let Failed { field, wants, has } = failed;
            let has = has.as_ref().map_or_else(|| "packet has none".to_owned(), |has| format!("packet has {has}"));
            write!(f, "{} {field} wants {wants}, {has}", if at == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}

/// Those of the packet's tenant before the rule that decided, or all where none did: first those that fail in the fewest
/// fields, among them those that match in the most, among these in the order of the file. None for bytes that are no
/// packet; for a later fragment by what it has itself, its first one aside.
pub fn near(policy: &Policy, frame: &Frame, verdict: &Verdict) -> Vec<Near> {
    let Ok(packet) = parse(&frame.bytes.as_slice(), Layer::ETHERNET, NO_VLAN) else { return Vec::new() };
    let seen = Seen {
        packet: &packet,
        interface: frame.interface.as_deref(),
        mark: frame.mark,
        cgroup: frame.cgroup.as_deref(),
    };
    let before = verdict.rule.unwrap_or(policy.rules.len());
    let rules = policy.rules[..before].iter().filter(|rule| rule.tenant == verdict.tenant);
    let mut near: Vec<(&Rule, Vec<Field>, usize)> = rules
        .map(|rule| (rule, Field::failed(rule, &seen), Field::ALL.into_iter().filter(|field| field.asks(rule)).count()))
        .filter(|(_, failed, _)| (1..=FIELDS).contains(&failed.len()))
        .collect();
    near.sort_by_key(|(_, failed, asked)| (failed.len(), Reverse(asked - failed.len())));
    near.truncate(SHOWN);
    near.into_iter().map(|(rule, failed, _)| show(rule, failed, &seen)).collect()
}

fn show(rule: &Rule, failed: Vec<Field>, seen: &Seen<'_>) -> Near {
    let failed =
        failed.into_iter().map(|field| Failed { field: field.name(), wants: field.wants(rule), has: field.has(seen) });
    Near { rule: line::rule_name(rule), place: rule.place.clone(), failed: failed.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::words::Words;
    use crate::policy::{ClassIndex, TenantIndex};
    use crate::status::tests::policy;

    fn verdict(rule: Option<usize>) -> Verdict {
        Verdict { tenant: None, rule, class: ClassIndex(0), lane: None, mark: 0, parse: None, blocked: None, hash: 0 }
    }

    fn said(rules: Vec<Rule>, words: &str, winner: Option<usize>) -> Vec<String> {
        let rules = rules.into_iter().enumerate();
        let rules = rules.map(|(at, rule)| Rule { place: format!("a.toml:{}:1", at + 1), ..rule }).collect();
        let frame = Frame::of(&Words::parse(words).unwrap());
        let near = near(&Policy { rules, ..policy() }, &frame, &verdict(winner));
        near.iter().map(Near::to_string).collect()
    }

    fn sip() -> Rule {
        Rule {
            name: Some("sip".into()),
            protocol: Some(17),
            destination_port: vec![(5060, 5060), (16384, 32767)],
            ..Rule::default()
        }
    }

    const PACKET: &str = "udp 10.1.0.5:4000 > 10.2.0.9:5062 dscp ef in lan0 mark 0x300";

    #[test]
    fn classify_near_says_field_wish_and_packet() {
        assert_eq!(
            said(vec![sip()], PACKET, None),
            [r#""sip" (a.toml:1:1): destination-port wants 5060, 16384-32767, packet has 5062"#]
        );
        let two = Rule { interface: vec!["lan1".into()], vlan: vec![12], ..Rule::default() };
        assert_eq!(
            said(vec![two], PACKET, None),
            ["a.toml:1:1: interface wants lan1, packet has lan0; vlan wants 12, packet has none"]
        );
    }

    #[test]
    fn classify_near_spells_every_field_as_the_file_does() {
        let rule = |rule| said(vec![rule], PACKET, None).pop().unwrap().split_once(": ").unwrap().1.to_owned();
        let any = Rule::default;
        let prefixes = vec!["10.9.0.0/16".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        let all = [
            (
                Rule { source: prefixes.clone(), ..any() },
                "source wants 10.9.0.0/16, 2001:db8::/32, packet has 10.1.0.5",
            ),
            (
                Rule { destination: prefixes[1..].to_vec(), ..any() },
                "destination wants 2001:db8::/32, packet has 10.2.0.9",
            ),
            (Rule { protocol: Some(6), ..any() }, "protocol wants tcp, packet has udp"),
            (Rule { source_port: vec![(1, 2)], ..any() }, "source-port wants 1-2, packet has 4000"),
            (Rule { destination_port: vec![(1, 1)], ..any() }, "destination-port wants 1, packet has 5062"),
            (Rule { dscp: vec![34, 3], ..any() }, "dscp wants af41, 3, packet has ef"),
            (Rule { length: vec![(0, 20)], ..any() }, "length wants 0-20, packet has 28"),
            (Rule { tcp_flags: Some((2, 0x12)), ..any() }, "tcp-flags wants syn/syn,ack, packet has none"),
            (Rule { tcp_flags: Some((2, 2)), ..any() }, "tcp-flags wants syn, packet has none"),
            (Rule { icmp_type: vec![8], ..any() }, "icmp-type wants 8, packet has none"),
            (Rule { fragment: Some(true), ..any() }, "fragment wants true, packet has false"),
            (Rule { mark: Some((0x100, 0xf00)), ..any() }, "mark wants 0x100/0xf00, packet has 0x300"),
        ];
        for (given, expected) in all {
            assert_eq!(rule(given), expected);
        }
        let ping = Rule { protocol: Some(1), icmp_type: vec![8, 200], ..any() };
        assert_eq!(
            said(vec![ping], "icmp 10.1.0.5 > 10.2.0.9 type time-exceeded", None),
            ["a.toml:1:1: icmp-type wants echo-request, 200, packet has time-exceeded"]
        );
    }

    #[test]
    fn classify_near_looks_above_the_winner_and_at_its_tenant_alone() {
        let foreign = Rule { tenant: Some(TenantIndex(0)), ..sip() };
        assert_eq!(said(vec![Rule::default(), sip()], PACKET, Some(0)), [""; 0]);
        assert_eq!(said(vec![foreign, sip(), Rule::default()], PACKET, Some(2)).len(), 1);
    }

    #[test]
    fn classify_near_has_the_nearest_five_first() {
        let port = |port| Rule { destination_port: vec![(port, port)], ..Rule::default() };
        let far = Rule { dscp: vec![0], vlan: vec![1], fragment: Some(true), ..Rule::default() };
        let two = Rule { dscp: vec![0], vlan: vec![1], ..Rule::default() };
        let all = vec![two, far, port(1), sip(), port(2), port(3), port(4)];
        let places: Vec<String> =
            said(all, PACKET, None).iter().map(|near| near[near.find("a.toml").unwrap()..][..8].to_owned()).collect();
        assert_eq!(places, ["a.toml:4", "a.toml:3", "a.toml:5", "a.toml:6", "a.toml:7"]);
    }

    #[test]
    fn a_long_list_is_cut() {
        let many = Rule { dscp: (0..20).collect(), ..Rule::default() };
        assert!(
            said(vec![many], PACKET, None)[0]
                .ends_with("dscp wants df, le, 2, 3, 4, 5, 6, 7 or 12 others, packet has ef")
        );
    }
}
