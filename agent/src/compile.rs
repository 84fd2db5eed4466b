//! Policy -> the tables that the data path reads. Pure.

pub mod registry;
pub mod series;
mod steering;
mod sweep;
mod vectors;

use std::collections::BTreeMap;
use std::fmt;

use ipnet::IpNet;
use lanekeeper_common::abi::{
    Generation, MAX_CLASSES, MAX_INTERVALS, MAX_RULES, MAX_TENANTS, NO_VLAN, OuterKey, RuleEntry, Vector,
};
use lanekeeper_common::intervals::{Intervals4, Intervals6};
use lanekeeper_common::packet::Address;

use crate::lane::LaneId;
use crate::policy::{Policy, Rule};
use registry::Key;
pub use registry::Registry;
use sweep::{Cover, Interval, sweep};
use vectors::{Set, Vectors};

/// One generation of everything that the data path reads.
#[derive(Clone)]
pub struct Tables {
    /// Differs when anything in the tables differs.
    pub digest: u64,
    /// Everything but the sets of rules.
    pub generation: Box<Generation>,
    /// Sets of rules by number.
    pub vectors: Vec<Vector>,
    /// Outer DSCP by what a lane leaves on its ESP packets.
    pub outer: Vec<(OuterKey, u32)>,
    /// Group and bit of each lane in the map of lanes that are up.
    pub lanes: BTreeMap<LaneId, (u32, u8)>,
    /// The lanes by their number in the generation.
    pub lane_ids: Vec<LaneId>,
    /// The names that the numbers in the tables stand for.
    pub registry: Registry,
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").field("digest", &self.digest).field("lanes", &self.lanes).finish_non_exhaustive()
    }
}

impl Tables {
    /// The lane of that number.
    pub fn lane(&self, number: u16) -> Option<LaneId> {
        self.lane_ids.get(usize::from(number)).cloned()
    }
}

/// Why a policy has no tables.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A limit of the tables.
    #[error("{what}: {got} are more than the {limit} that the data path holds")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many the policy has.
        got: usize,
        /// How many fit.
        limit: usize,
    },
    /// A limit of the registry, in which old names stay.
    #[error(
        "the registry holds no more than {limit} {what}, those of earlier configurations included; `lanekeeper down` empties it"
    )]
    RegistryFull {
        /// Of what.
        what: &'static str,
        /// How many fit.
        limit: usize,
    },
    /// Names that do not fit the registry.
    #[error("{name:?}: the names of one counter may have {limit} bytes together and no zero byte")]
    LongName {
        /// The names.
        name: String,
        /// Most bytes.
        limit: usize,
    },
    /// A request id that the ingress program would not look for.
    #[error("lane {lane}: request id {reqid:#x} is outside of 0x4c4b0000..0x4c4bffff")]
    Reqid {
        /// The lane.
        lane: LaneId,
        /// Its request id.
        reqid: u32,
    },
    /// The kernel drops what leaves an XFRM interface without a policy; the way around is not built.
    #[error(
        "class {class:?}: fallback \"clear\" does not work on XFRM interfaces, which never send in clear; use \"block\" or a class"
    )]
    Clear {
        /// The class.
        class: String,
    },
}

/// The tables for a policy; new names get numbers from `registry`, known ones keep theirs.
pub fn compile(policy: &Policy, registry: &mut Registry) -> Result<Tables, Error> {
    limit("rules", policy.rules.len(), MAX_RULES)?;
    limit("tenants", policy.tenants.len(), MAX_TENANTS - 1)?;
    limit("classes", policy.classes.len(), MAX_CLASSES)?;
    let mut generation = Generation::zeroed();
    let mut vectors = Vectors::default();
    addresses(policy, &mut generation, &mut vectors)?;
    ports(policy, &mut generation, &mut vectors)?;
    small_fields(policy, registry, &mut generation, &mut vectors)?;
    rules(policy, registry, &mut generation)?;
    let steering = steering::steering(policy, registry, &mut generation)?;
    let vectors = vectors.into_sets();
    let digest = digest(&generation, &vectors, &steering.outer);
    let (outer, lanes, lane_ids) = (steering.outer, steering.lanes, steering.lane_ids);
    Ok(Tables { digest, generation, vectors, outer, lanes, lane_ids, registry: registry.clone() })
}

fn limit(what: &'static str, got: usize, limit: usize) -> Result<(), Error> {
    if got > limit { Err(Error::TooMany { what, got, limit }) } else { Ok(()) }
}

/// The rules that do not restrict a field, by `restricts`.
fn unrestricted(policy: &Policy, restricts: impl Fn(&Rule) -> bool) -> Set {
    let mut set = Set::default();
    policy.rules.iter().enumerate().filter(|(_, rule)| !restricts(rule)).for_each(|(place, _)| set.insert(place));
    set
}

/// First and last address of a prefix, with the lower bits for IPv4.
fn bounds(prefix: &IpNet) -> (u128, u128) {
    match prefix {
        IpNet::V4(prefix) => (u32::from(prefix.network()).into(), u32::from(prefix.broadcast()).into()),
        IpNet::V6(prefix) => (prefix.network().into(), prefix.broadcast().into()),
    }
}

fn halves(address: u128) -> Address {
    [(address >> 64) as u64, address as u64]
}

fn addresses(policy: &Policy, generation: &mut Generation, vectors: &mut Vectors) -> Result<(), Error> {
    let covers = |field: fn(&Rule) -> &Vec<IpNet>, v4: bool| -> Vec<Cover<usize>> {
        let of_family = |(by, rule): (usize, _)| {
            let prefixes: &Vec<IpNet> = field(rule);
            let prefixes = prefixes.iter().filter(move |prefix| matches!(prefix, IpNet::V4(_)) == v4);
            prefixes
                .map(move |prefix| Cover { first: bounds(prefix).0, last: bounds(prefix).1, by })
                .collect::<Vec<_>>()
        };
        policy.rules.iter().enumerate().flat_map(of_family).collect()
    };
    let tenants = |v4: bool| -> Vec<Cover<u16>> {
        let mut covers = Vec::new();
        for (place, tenant) in policy.tenants.iter().enumerate() {
            for prefix in tenant.sources.iter().filter(|prefix| matches!(prefix, IpNet::V4(_)) == v4) {
                let (first, last) = bounds(prefix);
                covers.push(Cover { first, last, by: place as u16 + 1 });
            }
        }
        covers
    };
    let any_source = unrestricted(policy, |rule| !rule.source.is_empty());
    let any_destination = unrestricted(policy, |rule| !rule.destination.is_empty());
    let intervals = sweep(&any_source, &covers(|rule| &rule.source, true), &tenants(true));
    fill4(&mut generation.source4, Some(&mut generation.tenant4), &intervals, vectors)?;
    let intervals = sweep(&any_source, &covers(|rule| &rule.source, false), &tenants(false));
    fill6(&mut generation.source6, Some(&mut generation.tenant6), &intervals, vectors)?;
    let intervals = sweep(&any_destination, &covers(|rule| &rule.destination, true), &[]);
    fill4(&mut generation.destination4, None, &intervals, vectors)?;
    let intervals = sweep(&any_destination, &covers(|rule| &rule.destination, false), &[]);
    fill6(&mut generation.destination6, None, &intervals, vectors)
}

const DISTINCT_PREFIXES: &str = "intervals between the ends of prefixes";

fn fill4(
    table: &mut Intervals4,
    mut tenants: Option<&mut [u16; MAX_INTERVALS]>,
    intervals: &[Interval],
    vectors: &mut Vectors,
) -> Result<(), Error> {
    let intervals = intervals.iter().filter(|interval| interval.0 <= u32::MAX.into());
    limit(DISTINCT_PREFIXES, intervals.clone().count(), MAX_INTERVALS)?;
    let mut used = 0;
    for (place, (first, set, tenant)) in intervals.enumerate() {
        table.starts[place] = *first as u32;
        table.numbers[place] = vectors.number(set)?;
        used = place + 1;
        if let Some(tenants) = &mut tenants {
            tenants[place] = *tenant;
        }
    }
    table.starts[used..].fill(u32::MAX);
    fill_unused(used, &mut table.numbers, tenants);
    Ok(())
}

fn fill6(
    table: &mut Intervals6,
    mut tenants: Option<&mut [u16; MAX_INTERVALS]>,
    intervals: &[Interval],
    vectors: &mut Vectors,
) -> Result<(), Error> {
    limit(DISTINCT_PREFIXES, intervals.len(), MAX_INTERVALS)?;
    for (place, (first, set, tenant)) in intervals.iter().enumerate() {
        table.starts[place] = halves(*first);
        table.numbers[place] = vectors.number(set)?;
        if let Some(tenants) = &mut tenants {
            tenants[place] = *tenant;
        }
    }
    table.starts[intervals.len()..].fill([u64::MAX; 2]);
    fill_unused(intervals.len(), &mut table.numbers, tenants);
    Ok(())
}

/// A search for the last address may stop at any unused place: there it finds what the last interval has.
fn fill_unused(used: usize, numbers: &mut [u16; MAX_INTERVALS], tenants: Option<&mut [u16; MAX_INTERVALS]>) {
    for table in [Some(numbers), tenants].into_iter().flatten() {
        let last = table[used - 1];
        table[used..].fill(last);
    }
}

fn ports(policy: &Policy, generation: &mut Generation, vectors: &mut Vectors) -> Result<(), Error> {
    let mut fill = |table: &mut [u16; 65536], field: fn(&Rule) -> &Vec<(u16, u16)>| -> Result<u16, Error> {
        let any = unrestricted(policy, |rule| !field(rule).is_empty());
        let covers: Vec<_> = policy
            .rules
            .iter()
            .enumerate()
            .flat_map(|(by, rule)| {
                field(rule).iter().map(move |(first, last)| Cover { first: (*first).into(), last: (*last).into(), by })
            })
            .collect();
        let intervals = sweep(&any, &covers, &[]);
        for (place, (first, set, _)) in intervals.iter().enumerate() {
            let end = intervals.get(place + 1).map_or(65536, |next| next.0 as usize);
            if *first <= u16::MAX.into() {
                table[*first as usize..end.min(65536)].fill(vectors.number(set)?);
            }
        }
        vectors.number(&any)
    };
    generation.head.portless_source = fill(&mut generation.source_port, |rule| &rule.source_port)?;
    generation.head.portless_destination = fill(&mut generation.destination_port, |rule| &rule.destination_port)?;
    Ok(())
}

fn small_fields(
    policy: &Policy,
    registry: &mut Registry,
    generation: &mut Generation,
    vectors: &mut Vectors,
) -> Result<(), Error> {
    let mut fill = |table: &mut [u16], restricts: fn(&Rule) -> bool, values: &dyn Fn(&Rule) -> Vec<usize>| {
        let any = unrestricted(policy, restricts);
        let mut sets = BTreeMap::new();
        for (place, rule) in policy.rules.iter().enumerate().filter(|(_, rule)| restricts(rule)) {
            for value in values(rule) {
                sets.entry(value).or_insert(any).insert(place);
            }
        }
        table.fill(vectors.number(&any)?);
        for (value, set) in sets {
            table[value] = vectors.number(&set)?;
        }
        Ok(())
    };
    fill(&mut generation.protocol, |rule| rule.protocol.is_some(), &|rule| {
        rule.protocol.iter().map(|protocol| usize::from(*protocol)).collect()
    })?;
    fill(&mut generation.dscp, |rule| !rule.dscp.is_empty(), &|rule| {
        rule.dscp.iter().map(|dscp| usize::from(dscp & 63)).collect()
    })?;
    // 4095 is where packets without a tag look: a rule cannot ask for it.
    fill(&mut generation.vlan, |rule| !rule.vlan.is_empty(), &|rule| {
        rule.vlan.iter().filter(|vlan| **vlan < NO_VLAN).map(|vlan| usize::from(*vlan)).collect()
    })?;
    let mut numbers = BTreeMap::new();
    let named = policy.rules.iter().flat_map(|rule| &rule.interface);
    for name in named.chain(policy.tenants.iter().flat_map(|tenant| &tenant.interfaces)) {
        numbers.insert(name.as_str(), registry.number(Key::Interface(name.clone()))? as usize);
    }
    fill(&mut generation.interface, |rule| !rule.interface.is_empty(), &|rule| {
        rule.interface.iter().map(|name| numbers[name.as_str()]).collect()
    })?;
    for (place, tenant) in policy.tenants.iter().enumerate().rev() {
        for name in &tenant.interfaces {
            generation.interface_tenant[numbers[name.as_str()]] = place as u16 + 1;
        }
    }
    // A rule belongs to one tenant, or to the traffic of none (0): no rule is for all.
    let mut own = vec![Set::default(); policy.tenants.len() + 1];
    for (place, rule) in policy.rules.iter().enumerate() {
        own[rule.tenant.map_or(0, |tenant| tenant.0 + 1)].insert(place);
    }
    for (tenant, set) in own.iter().enumerate() {
        generation.tenant[tenant] = vectors.number(set)?;
    }
    Ok(())
}

/// Name of a tenant as counters have it.
fn tenant_name(policy: &Policy, rule: &Rule) -> String {
    rule.tenant.map_or_else(String::new, |tenant| policy.tenants[tenant.0].name.clone())
}

fn rules(policy: &Policy, registry: &mut Registry, generation: &mut Generation) -> Result<(), Error> {
    for (place, rule) in policy.rules.iter().enumerate() {
        let counter = match &rule.name {
            Some(name) => registry.number(Key::Rule { tenant: tenant_name(policy, rule), rule: name.clone() })?,
            None => 0,
        };
        generation.rules[place] = RuleEntry { counter, class: rule.class.0 as u16, _pad: 0 };
    }
    Ok(())
}

/// FNV-1a over words: tells tables apart, protects against nothing.
fn digest(generation: &Generation, vectors: &[Vector], outer: &[(OuterKey, u32)]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |word: u64| hash = (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    for bytes in generation.bytes().chunks_exact(8) {
        add(u64::from_ne_bytes(bytes.try_into().expect("eight bytes")));
    }
    vectors.iter().flat_map(|vector| vector.words).for_each(&mut add);
    for (key, dscp) in outer {
        key.local.iter().chain(&key.remote).for_each(|word| add(*word));
        add(u64::from(key.mark) << 32 | u64::from(key.mask));
        add((*dscp).into());
    }
    hash
}
