//! How much memory a list takes, before it takes any.
//!
//! Counted is what the agent holds at its most: the policy and the tables that packets go by, and beside them the next ones with
//! all that is only there while they are made. The kernel's maps are as large for one rule as for 100,000. What the text of the
//! files takes while it is read, and what is kept of it to read it faster, is not known here.

use std::mem::size_of;

use ipnet::IpNet;
use lanekeeper_common::abi::{Candidates, FIELDS, Generation, Heads, Record, Tenant};

use super::expand::{Expanded, combinations};
use super::registry::Key;
use super::shape::Shape;
use super::tuples::{Filing, Numbered};
use super::{Error, Registry};
use crate::policy::{self, MIN_MEMORY, Policy, Rule};

/// What one generation takes without rules; beside [`super::Tables`] the value that is about to be loaded is a copy.
const GENERATION: usize =
    2 * size_of::<Generation>() + size_of::<Heads>() + FIELDS * size_of::<Candidates>() + size_of::<Registry>();

/// Generations, each with its policy: the one that packets go by and the next one.
const KEPT: usize = 2;

/// For a record, in each generation. A list that grows is copied into one twice as long: a half of it is empty on average.
const RECORD: usize = (size_of::<Record>() + size_of::<Filing>()) * 3 / 2;

/// For a record, while the next generation is made: itself, its shape, its tuple, and what it accepts of each field.
const MAKING: usize =
    size_of::<Expanded>() + size_of::<Shape>() + 2 * size_of::<usize>() + FIELDS * 2 * size_of::<u32>();

/// Registries that know a name: the data path's, and that of the next generation, which shares the names unless it has others.
const REGISTRIES: usize = 2;

const _: () =
    assert!(KEPT * GENERATION + (4 << 20) < MIN_MEMORY as usize, "the least bound has room for a few tunnels");

/// Bytes that compiling and keeping the policy takes.
pub fn needed(policy: &Policy) -> u64 {
    policy.rules.iter().fold(without_rules(policy), |sum, rule| sum.saturating_add(of(policy, rule)))
}

/// Refuses a policy that takes more than its bound, at the rule that is too much.
pub fn check(policy: &Policy) -> Result<(), Error> {
    let Some(limit) = policy.memory_limit else { return Ok(()) };
    let mut so_far = without_rules(policy);
    for rule in &policy.rules {
        so_far = so_far.saturating_add(of(policy, rule));
        if so_far > limit {
            let needed = mebibytes(needed(policy));
            return Err(Error::Memory { rule: rule.place.clone(), needed, limit: mebibytes(limit) });
        }
    }
    Ok(())
}

/// Rounded up.
fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

fn without_rules(policy: &Policy) -> u64 {
    let tenant = |tenant: &policy::Tenant| {
        let names: usize = tenant.interfaces.iter().chain(&tenant.vrfs).map(|name| name.len() + name_of()).sum();
        size_of::<policy::Tenant>() + KEPT * size_of::<Tenant>() + tenant.sources.len() * size_of::<IpNet>() + names
    };
    (KEPT * GENERATION + policy.tenants.iter().map(tenant).sum::<usize>()) as u64
}

/// What a rule adds to it.
fn of(policy: &Policy, rule: &Rule) -> u64 {
    let lists = (rule.source.len() + rule.destination.len()) * size_of::<IpNet>()
        + (rule.source_port.len() + rule.destination_port.len() + rule.length.len()) * size_of::<(u16, u16)>()
        + rule.vlan.len() * size_of::<u16>()
        + rule.dscp.len()
        + rule.icmp_type.len()
        + rule.interface.iter().chain(&rule.cgroup).map(|name| name.len() + name_of()).sum::<usize>();
    let name = rule.name.as_ref().map_or(0, |name| {
        let tenant = rule.tenant.map_or(0, |tenant| policy.tenants[tenant.0].name.len());
        KEPT * name.len() + REGISTRIES * (name_of() + name.len() + tenant)
    });
    let fixed = size_of::<Rule>() + rule.place.len() + size_of::<Numbered>();
    let records = (combinations(rule) as u64).saturating_mul((KEPT * RECORD + MAKING) as u64);
    ((KEPT * (fixed + lists) + name) as u64).saturating_add(records)
}

/// A name with its number in a registry, beside its bytes.
fn name_of() -> usize {
    size_of::<Key>() + size_of::<u32>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::policy;

    #[test]
    fn a_list_is_refused_at_the_rule_that_is_too_much_with_what_all_of_it_takes() {
        let rule = |number: usize| Rule { place: format!("gw.toml:{number}:1"), ..Rule::default() };
        let mut policy = Policy { rules: (0..10_000).map(rule).collect(), ..policy() };
        check(&policy).unwrap();
        let half = Policy { rules: policy.rules[..5_000].to_vec(), ..policy.clone() };
        policy.memory_limit = Some(needed(&half));
        let error = check(&policy).unwrap_err();
        let (all, half) = (mebibytes(needed(&policy)), mebibytes(needed(&half)));
        assert_eq!(error, Error::Memory { rule: "gw.toml:5000:1".into(), needed: all, limit: half });
        policy.memory_limit = Some(needed(&policy));
        check(&policy).unwrap();
    }

    #[test]
    fn a_rule_of_more_combinations_than_can_be_counted_is_refused() {
        let prefixes = vec!["10.0.0.0/8".parse().unwrap(); 100_000];
        let ports = vec![(1, 1); 60_000];
        let rule = Rule {
            source: prefixes.clone(),
            destination: prefixes,
            source_port: ports.clone(),
            destination_port: ports.clone(),
            length: ports,
            ..Rule::default()
        };
        let policy = Policy { rules: vec![rule], memory_limit: Some(u64::MAX - 1), ..policy() };
        assert!(matches!(check(&policy), Err(Error::Memory { .. })));
    }
}
