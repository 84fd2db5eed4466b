//! A rule with lists -> one record for each combination of their members.

use std::collections::BTreeMap;

use ipnet::IpNet;
use lanekeeper_common::abi::{
    ANY_FRAGMENT, ANY_ICMP, ANY_PROTOCOL, ANY_VLAN, FRAGMENTS, MAX_RECORDS, NO_FRAGMENTS, NO_TCP, NO_VLAN, Record,
};
use lanekeeper_common::packet::Address;

use super::registry::{Key, Registry};
use super::{Error, halves};
use crate::policy::{Policy, Rule};

/// A record, and how long its prefixes are.
#[derive(Debug, Clone, Copy)]
pub struct Expanded {
    /// Without a place in a chain.
    pub record: Record,
    /// Bits of the source; 0 where the rule has none.
    pub source: u8,
    /// Bits of the destination.
    pub destination: u8,
}

/// Every record of every rule, in the order of the rules, of which each has its place for a number.
pub fn expand(policy: &Policy, registry: &mut Registry) -> Result<Vec<Expanded>, Error> {
    let mut records = Vec::with_capacity(policy.rules.len());
    for (place, rule) in policy.rules.iter().enumerate() {
        one(policy, rule, place as u32, registry, &mut records)?;
        let got = records.len();
        if got >= MAX_RECORDS {
            return Err(Error::TooManyRules { rule: rule.place.clone(), got, limit: MAX_RECORDS - 1 });
        }
    }
    Ok(records)
}

/// What a rule has numbers for.
pub fn names(policy: &Policy, rule: &Rule) -> Vec<Key> {
    let counted = rule.name.as_ref().map(|name| Key::Rule { tenant: tenant_name(policy, rule), rule: name.clone() });
    let interfaces = rule.interface.iter().map(|name| Key::Interface(name.clone()));
    interfaces.chain(rule.cgroup.iter().map(|path| Key::Cgroup(path.clone()))).chain(counted).collect()
}

/// The records of one rule of that number.
pub fn one(
    policy: &Policy,
    rule: &Rule,
    number: u32,
    registry: &mut Registry,
    records: &mut Vec<Expanded>,
) -> Result<(), Error> {
    let mut interfaces = BTreeMap::new();
    for name in &rule.interface {
        interfaces.insert(name.as_str(), registry.number(Key::Interface(name.clone()))? as u16);
    }
    let mut cgroups = Vec::new();
    for path in &rule.cgroup {
        cgroups.push(registry.number(Key::Cgroup(path.clone()))? as u16);
    }
    let counter = match &rule.name {
        Some(name) => registry.number(Key::Rule { tenant: tenant_name(policy, rule), rule: name.clone() })?,
        None => 0,
    };
    let (tcp_flags, tcp_flags_mask) =
        rule.tcp_flags.map_or((0, 0), |(flags, mask)| (u16::from(flags), u16::from(mask) | NO_TCP));
    let (mark, mark_mask) = rule.mark.unwrap_or((0, 0));
    let base = Record {
        rule: number,
        counter,
        class: rule.class.0 as u16,
        tenant: rule.tenant.map_or(0, |tenant| tenant.0 as u16 + 1),
        protocol: rule.protocol.map_or(ANY_PROTOCOL, u16::from),
        dscp: dscps(rule),
        ports: u8::from(!rule.source_port.is_empty() || !rule.destination_port.is_empty()),
        mark,
        mark_mask,
        tcp_flags,
        tcp_flags_mask,
        fragment: match rule.fragment {
            None => ANY_FRAGMENT,
            Some(true) => FRAGMENTS,
            Some(false) => NO_FRAGMENTS,
        },
        ..Record::default()
    };
    let got = records.len().saturating_add(combinations(rule));
    if got >= MAX_RECORDS {
        return Err(Error::TooManyRules { rule: rule.place.clone(), got, limit: MAX_RECORDS - 1 });
    }
    combine(rule, &base, &interfaces, &cgroups, records);
    Ok(())
}

/// How many records it takes, at most: they are counted before there are any.
pub fn combinations(rule: &Rule) -> usize {
    let of = |prefixes: &[IpNet], v4: bool| prefixes.iter().filter(|prefix| prefix.addr().is_ipv4() == v4).count();
    let (source, destination) = (&rule.source[..], &rule.destination[..]);
    let pairs = match (source, destination) {
        ([], one) | (one, []) => one.len().max(1),
        _ => [true, false].iter().map(|v4| of(source, *v4).saturating_mul(of(destination, *v4))).sum(),
    };
    let lists = [
        rule.source_port.len(),
        rule.destination_port.len(),
        rule.interface.len(),
        rule.vlan.len(),
        rule.length.len(),
        rule.icmp_type.len(),
        rule.cgroup.len(),
    ];
    lists.iter().fold(pairs, |all, len| all.saturating_mul((*len).max(1)))
}

fn combine(rule: &Rule, base: &Record, interfaces: &BTreeMap<&str, u16>, cgroups: &[u16], records: &mut Vec<Expanded>) {
    let ranges = |ranges: &[(u16, u16)]| match ranges {
        [] => vec![[0, u16::MAX]],
        ranges => ranges.iter().map(|(first, last)| [*first, *last]).collect(),
    };
    let (source_ports, destination_ports) = (ranges(&rule.source_port), ranges(&rule.destination_port));
    let icmp_types = match &rule.icmp_type[..] {
        [] => vec![ANY_ICMP],
        types => types.iter().copied().map(u16::from).collect(),
    };
    let cgroups = if cgroups.is_empty() { &[0] } else { cgroups };
    // The fields with lists that are rarely given all together.
    let mut rest = Vec::new();
    for length in ranges(&rule.length) {
        for icmp_type in &icmp_types {
            rest.extend(cgroups.iter().map(|cgroup| (length, *icmp_type, *cgroup)));
        }
    }
    let interfaces = match &rule.interface[..] {
        [] => vec![0],
        names => names.iter().map(|name| interfaces[name.as_str()]).collect(),
    };
    // No packet has the id that stands for no tag: a rule cannot ask for it.
    let vlans = match &rule.vlan[..] {
        [] => vec![ANY_VLAN],
        ids => ids.iter().copied().filter(|id| *id < NO_VLAN).collect(),
    };
    for (source, destination) in pairs(&rule.source, &rule.destination) {
        let with_addresses = Expanded {
            record: Record {
                source: source.map_or([0; 2], |prefix| network(&prefix)),
                source_mask: source.map_or([0; 2], |prefix| mask(&prefix)),
                destination: destination.map_or([0; 2], |prefix| network(&prefix)),
                destination_mask: destination.map_or([0; 2], |prefix| mask(&prefix)),
                family: source.or(destination).map_or(0, |prefix| if prefix.addr().is_ipv4() { 4 } else { 6 }),
                ..*base
            },
            source: source.map_or(0, |prefix| prefix.prefix_len()),
            destination: destination.map_or(0, |prefix| prefix.prefix_len()),
        };
        for source_port in &source_ports {
            for destination_port in &destination_ports {
                for interface in &interfaces {
                    for vlan in &vlans {
                        for (length, icmp_type, cgroup) in &rest {
                            let mut one = with_addresses;
                            one.record.source_port = *source_port;
                            one.record.destination_port = *destination_port;
                            one.record.interface = *interface;
                            one.record.vlan = *vlan;
                            one.record.length = *length;
                            one.record.icmp_type = *icmp_type;
                            one.record.cgroup = *cgroup;
                            records.push(one);
                        }
                    }
                }
            }
        }
    }
}

/// Every pair of prefixes of one family; a list that is empty matches all.
fn pairs(sources: &[IpNet], destinations: &[IpNet]) -> Vec<(Option<IpNet>, Option<IpNet>)> {
    let any = |prefixes: &[IpNet]| match prefixes {
        [] => vec![None],
        prefixes => prefixes.iter().copied().map(Some).collect(),
    };
    let mut pairs = Vec::new();
    for source in any(sources) {
        for destination in any(destinations) {
            match (source, destination) {
                (Some(source), Some(destination)) if source.addr().is_ipv4() != destination.addr().is_ipv4() => {}
                pair => pairs.push(pair),
            }
        }
    }
    pairs
}

fn dscps(rule: &Rule) -> u64 {
    match &rule.dscp[..] {
        [] => u64::MAX,
        values => values.iter().fold(0, |set, dscp| set | 1 << (dscp & 63)),
    }
}

/// Its address as records have it.
pub(super) fn network(prefix: &IpNet) -> Address {
    match prefix {
        IpNet::V4(prefix) => halves(u32::from(prefix.network()).into()),
        IpNet::V6(prefix) => halves(prefix.network().into()),
    }
}

/// Its mask likewise.
pub(super) fn mask(prefix: &IpNet) -> Address {
    match prefix {
        IpNet::V4(prefix) => halves(u32::from(prefix.netmask()).into()),
        IpNet::V6(prefix) => halves(prefix.netmask().into()),
    }
}

/// Name of a tenant as counters have it.
fn tenant_name(policy: &Policy, rule: &Rule) -> String {
    rule.tenant.map_or_else(String::new, |tenant| policy.tenants[tenant.0].name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::policy;

    fn prefixes(v4: u32, v6: u32) -> Vec<IpNet> {
        let four = (0..v4).map(|number| IpNet::from(std::net::IpAddr::from(std::net::Ipv4Addr::from_bits(number))));
        let six =
            (0..v6).map(|number| IpNet::from(std::net::IpAddr::from(std::net::Ipv6Addr::from_bits(number.into()))));
        four.chain(six).collect()
    }

    #[test]
    fn records_are_counted_as_they_will_be() {
        let lists = [prefixes(0, 0), prefixes(3, 0), prefixes(2, 3)];
        for (source, destination) in lists.iter().flat_map(|source| lists.iter().map(move |to| (source, to))) {
            let rule = Rule {
                source: source.clone(),
                destination: destination.clone(),
                source_port: vec![(1, 2), (3, 4)],
                length: vec![(0, 9), (11, 12), (14, 15)],
                cgroup: vec!["/a".into(), "/a/b".into()],
                ..Rule::default()
            };
            let mut records = Vec::new();
            one(&policy(), &rule, 0, &mut Registry::default(), &mut records).unwrap();
            assert_eq!(records.len(), combinations(&rule), "{rule:?}");
        }
    }

    #[test]
    fn a_rule_of_more_than_fit_is_refused_before_there_are_any() {
        let rule = Rule { source: prefixes(60_000, 0), destination: prefixes(60_000, 0), ..Rule::default() };
        let error = one(&policy(), &rule, 0, &mut Registry::default(), &mut Vec::new()).unwrap_err();
        assert!(matches!(error, Error::TooManyRules { got: 3_600_000_000, .. }), "{error}");
    }
}
