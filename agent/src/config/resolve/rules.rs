//! Rules.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use ipnet::IpNet;

use super::names::Names;
use crate::config::caution::Caution;
use crate::config::document::{self, Document};
use crate::config::findings::{At, Findings, Spot};
use crate::config::problem::Problem;
use crate::policy::{ClassIndex, Rule, TenantIndex, protocol};

/// Every rule, in the order of the file.
pub fn resolve(
    document: &Document,
    classes: &Names<'_>,
    tenants: &Names<'_>,
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
            ..Rule::default()
        });
    }
    rules
}

fn values<T: Clone>(list: &[At<T>]) -> Vec<T> {
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
