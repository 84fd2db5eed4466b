//! Rules.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use ipnet::IpNet;

use super::names::Names;
use crate::config::caution::Caution;
use crate::config::document::{self, Document};
use crate::config::findings::{At, Findings, Spot};
use crate::config::nearest::nearest;
use crate::config::problem::Problem;
use crate::config::value::{IcmpType, Reason};
use crate::policy::{ClassIndex, Rule, TenantIndex, icmp, protocol};

/// Every rule, in the order of the file.
pub fn resolve(
    document: &Document,
    classes: &Names<'_>,
    tenants: &Names<'_>,
    mark_mask: u32,
    findings: &mut Findings<'_>,
) -> Vec<Rule> {
    let mut rules = Vec::with_capacity(document.rules.len());
    let mut names: HashMap<(Option<&str>, &str), Spot> = HashMap::new();
    let mut takes_all: HashMap<Option<&str>, &str> = HashMap::new();
    for rule in &document.rules {
        let tenant_name = rule.tenant.as_ref().map(|tenant| tenant.value.as_str());
        if let Some(name) = &rule.name {
            match names.get(&(tenant_name, name.value.as_str())) {
                Some(&first) => {
                    let first = findings.place(first);
                    findings.problem(name.spot, Problem::NameTaken { object: rule.object.clone(), first });
                }
                None => {
                    names.insert((tenant_name, &name.value), name.spot);
                }
            }
        }
        match takes_all.get(&tenant_name) {
            Some(before) => {
                let (object, before) = (rule.object.clone(), (*before).to_owned());
                findings.caution(rule.spot, Caution::RuleShadowed { object, before });
            }
            None if rule.bare => {
                takes_all.insert(tenant_name, &rule.object);
            }
            None => {}
        }
        check_ports(rule, findings);
        check_families(rule, findings);
        check_tcp(rule, findings);
        check_cgroup(rule, findings);
        let find_class = |name: &At<String>, findings: &mut Findings<'_>| {
            classes.find(name, &rule.object, "class", "classes", findings)
        };
        let find_tenant = |name: &At<String>, findings: &mut Findings<'_>| {
            tenants.find(name, &rule.object, "tenant", "tenants", findings)
        };
        let class = rule.class.as_ref().and_then(|name| find_class(name, findings));
        let tenant = rule.tenant.as_ref().and_then(|name| find_tenant(name, findings));
        rules.push(Rule {
            name: rule.name.as_ref().map(|name| name.value.clone()),
            tenant: tenant.map(TenantIndex),
            class: ClassIndex(class.unwrap_or_default()),
            place: findings.place(rule.spot).to_string(),
            source: values(&rule.source),
            destination: values(&rule.destination),
            protocol: rule.protocol.as_ref().map(|protocol| protocol.value),
            source_port: values(&rule.source_port),
            destination_port: values(&rule.destination_port),
            dscp: values(&rule.dscp),
            interface: values(&rule.interface),
            vlan: values(&rule.vlan),
            length: values(&rule.length),
            tcp_flags: rule.tcp_flags.as_ref().map(|flags| flags.value),
            icmp_type: icmp_types(rule, findings),
            fragment: rule.fragment.as_ref().map(|fragment| fragment.value),
            mark: foreign_mark(rule, mark_mask, findings),
            cgroup: values(&rule.cgroup),
        });
    }
    rules
}

/// The values alone.
pub fn values<T: Clone>(list: &[At<T>]) -> Vec<T> {
    list.iter().map(|at| at.value.clone()).collect()
}

fn check_ports(rule: &document::Rule, findings: &mut Findings<'_>) {
    let Some(given) = &rule.protocol else { return };
    if protocol::has_ports(given.value) {
        return;
    }
    for (key, ports) in [("source-port", &rule.source_port), ("destination-port", &rule.destination_port)] {
        if let Some(first) = ports.first() {
            let (object, protocol) = (rule.object.clone(), protocol::show(given.value));
            findings.problem(first.spot, Problem::NoPorts { object, key, protocol });
        }
    }
}

fn check_families(rule: &document::Rule, findings: &mut Findings<'_>) {
    if let (Some(source_family), Some(destination_family)) = (family(&rule.source), family(&rule.destination))
        && source_family != destination_family
    {
        let object = rule.object.clone();
        findings.caution(rule.spot, Caution::RuleFamilies { object, source_family, destination_family });
    }
}

fn check_tcp(rule: &document::Rule, findings: &mut Findings<'_>) {
    if let (Some(flags), Some(given)) = (&rule.tcp_flags, &rule.protocol)
        && given.value != protocol::TCP
    {
        let (object, protocol) = (rule.object.clone(), protocol::show(given.value));
        findings.problem(flags.spot, Problem::NotTcp { object, protocol });
    }
}

/// What came in by an interface is forwarded.
fn check_cgroup(rule: &document::Rule, findings: &mut Findings<'_>) {
    if let (Some(first), false) = (rule.cgroup.first(), rule.interface.is_empty()) {
        findings.problem(first.spot, Problem::NotOfHost { object: rule.object.clone() });
    }
}

/// The numbers of the rule's ICMP types, which its protocol gives their meaning.
fn icmp_types(rule: &document::Rule, findings: &mut Findings<'_>) -> Vec<u8> {
    let Some(first) = rule.icmp_type.first() else { return Vec::new() };
    let found = match &rule.protocol {
        Some(given) if icmp::names(given.value).is_some() => {
            let given = given.value;
            return rule.icmp_type.iter().filter_map(|written| icmp_type(rule, given, written, findings)).collect();
        }
        Some(given) => format!("protocol is {}", protocol::show(given.value)),
        // It has been reported, and may have been meant to be one of them.
        None if rule.has_protocol => return Vec::new(),
        None => "the rule has no protocol".to_owned(),
    };
    findings.problem(first.spot, Problem::NotIcmp { object: rule.object.clone(), found });
    Vec::new()
}

fn icmp_type(rule: &document::Rule, given: u8, written: &At<IcmpType>, findings: &mut Findings<'_>) -> Option<u8> {
    let name = match &written.value {
        IcmpType::Number(number) => return Some(*number),
        IcmpType::Name(name) => name,
    };
    let number = icmp::number(given, name);
    if number.is_none() {
        let other = if given == protocol::ICMP { protocol::ICMPV6 } else { protocol::ICMP };
        let known = icmp::names(given).unwrap_or_default();
        let cure = match nearest(name, known.iter().map(|&(name, _)| name)) {
            _ if icmp::number(other, name).is_some() => {
                format!("{} has such a type: write a rule with that protocol", protocol::show(other))
            }
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "write its number, 0 to 255 (IANA's lists of ICMP and ICMPv6 types have it)".to_owned(),
        };
        let (object, reason) = (rule.object.clone(), Reason::Unknown { value: name.clone(), cure });
        findings.problem(written.spot, Problem::Value { object, key: "icmp-type", reason });
    }
    number
}

/// The rule's mark and mask, of the bits that others write.
fn foreign_mark(rule: &document::Rule, ours: u32, findings: &mut Findings<'_>) -> Option<(u32, u32)> {
    let written = rule.mark.as_ref()?;
    let (value, mask) = (written.value.0, written.value.1.unwrap_or(!ours));
    if (value | mask) & ours == 0 && mask != 0 {
        return Some((value, mask));
    }
    let show = |value: u32, mask: Option<u32>| match mask {
        Some(mask) => format!("{value:#x}/{mask:#x}"),
        None => format!("{value:#x}"),
    };
    let rest = (value & !ours != 0).then(|| show(value & !ours, written.value.1.map(|mask| mask & !ours)));
    let (object, mark) = (rule.object.clone(), show(value, written.value.1));
    findings.problem(written.spot, Problem::MarkOurs { object, mark, ours, rest });
    None
}

/// The family that all of the prefixes have.
fn family(prefixes: &[At<IpNet>]) -> Option<&'static str> {
    let v4 = prefixes.iter().filter(|prefix| matches!(prefix.value, IpNet::V4(_))).count();
    match v4 {
        _ if prefixes.is_empty() => None,
        0 => Some("IPv6"),
        all if all == prefixes.len() => Some("IPv4"),
        _ => None,
    }
}

/// A value that is in a list twice is an error: one of them was meant to be another.
pub fn no_twice<T: Eq + Hash>(
    list: &[At<T>],
    object: &str,
    key: &'static str,
    show: impl Fn(&T) -> String,
    findings: &mut Findings<'_>,
) {
    let mut seen = HashSet::new();
    for at in list {
        if !seen.insert(&at.value) {
            let (object, value) = (object.to_owned(), show(&at.value));
            findings.problem(at.spot, Problem::Twice { object, key, value });
        }
    }
}
