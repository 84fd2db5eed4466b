//! Rules -> what they say of the sockets of each cgroup that they name, before there is a packet.
//!
//! What a socket sends comes in by no interface and has no VLAN tag. Whose it is follows from its source, which is not known:
//! where a tenant is told by that, nothing is certain of what may be the tenant's.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use lanekeeper_common::abi::{ANY_PROTOCOL, Hint, MAX_HINTS, hint_flag};
use lanekeeper_common::mark::of_class;

use super::expand::{mask, network};
use crate::policy::{Policy, Rule, cgroup};

/// TCP, which alone has flags.
const TCP: u8 = 6;

/// What a hint comes from, by its place in the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// A rule.
    Rule(usize),
    /// A tenant that may have the packets.
    Tenant(usize),
}

/// The hints for each cgroup that rules name, in their order; none where sockets are not to be marked.
pub fn guides(policy: &Policy) -> BTreeMap<&str, Vec<Hint>> {
    if !policy.mark_sockets {
        return BTreeMap::new();
    }
    let of = |hints: Vec<(Hint, From)>| hints.into_iter().map(|(hint, _)| hint).collect();
    traced(policy).into_iter().map(|(path, hints)| (path, of(hints))).collect()
}

/// The same with where each comes from.
fn traced(policy: &Policy) -> BTreeMap<&str, Vec<(Hint, From)>> {
    let mut by_path: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for path in policy.rules.iter().flat_map(|rule| &rule.cgroup) {
        by_path.entry(path).or_default();
    }
    // A rule has a hint at least, so that of each kind no more are needed than hints fit.
    let mut general = Vec::new();
    for (place, rule) in policy.rules.iter().enumerate().filter(|(_, rule)| concerns_sockets(rule)) {
        if rule.cgroup.is_empty() && general.len() < MAX_HINTS {
            general.push(place);
        }
        for path in rule.cgroup.iter().map(String::as_str).collect::<BTreeSet<_>>() {
            by_path.entry(path).or_default().push(place);
        }
    }
    let tenants = tenants(policy);
    let guide = |path: &str| {
        let above = std::iter::successors(Some(path), |path| cgroup::above(path));
        let named = above.filter_map(|path| by_path.get(path)).flat_map(|places| places.iter().take(MAX_HINTS));
        let places: BTreeSet<usize> = named.chain(&general).copied().collect();
        let mut all = tenants.clone();
        for place in places {
            let more = hints(policy, &policy.rules[place]).take(MAX_HINTS - all.len());
            all.extend(more.map(|hint| (hint, From::Rule(place))));
            if all.len() == MAX_HINTS {
                break;
            }
        }
        all
    };
    by_path.keys().map(|path| (*path, guide(path))).collect()
}

/// Whether it may match what a socket sends that is no tenant's.
fn concerns_sockets(rule: &Rule) -> bool {
    rule.tenant.is_none() && rule.interface.is_empty() && rule.vlan.is_empty() && !families(rule).is_empty()
}

/// One for each family of which a tenant has sources, at odds with every rule's.
fn tenants(policy: &Policy) -> Vec<(Hint, From)> {
    let mut found = BTreeMap::new();
    for (place, tenant) in policy.tenants.iter().enumerate() {
        let own = tenant.tunnels.iter().flat_map(|tunnel| policy.tunnels[tunnel.0].all_addresses());
        for prefix in tenant.sources.iter().copied().chain(own) {
            found.entry(family(&prefix)).or_insert(place);
        }
    }
    let hint = |family| Hint { family, flags: hint_flag::UNSEEN, mark: u32::MAX, ..any() };
    found.into_iter().map(|(family, place)| (hint(family), From::Tenant(place))).collect()
}

fn any() -> Hint {
    Hint { protocol: ANY_PROTOCOL, destination_port: [0, u16::MAX], ..Hint::default() }
}

fn family(prefix: &IpNet) -> u8 {
    if prefix.addr().is_ipv4() { 4 } else { 6 }
}

/// Of the packets that it may match; 0 for both together.
fn families(rule: &Rule) -> Vec<u8> {
    let of = |prefixes: &[IpNet]| prefixes.iter().map(family).collect::<BTreeSet<u8>>();
    match (of(&rule.source), of(&rule.destination)) {
        (source, destination) if source.is_empty() && destination.is_empty() => vec![0],
        (source, destination) if source.is_empty() || destination.is_empty() => {
            source.into_iter().chain(destination).collect()
        }
        (source, destination) => source.intersection(&destination).copied().collect(),
    }
}

/// One for each combination of the members of its lists.
fn hints<'a>(policy: &Policy, rule: &'a Rule) -> impl Iterator<Item = Hint> + use<'a> {
    let ports = !rule.source_port.is_empty() || !rule.destination_port.is_empty();
    let unseen = if unseen(rule).is_empty() { 0 } else { hint_flag::UNSEEN };
    let base = Hint {
        protocol: rule.tcp_flags.map(|_| TCP).or(rule.protocol).map_or(ANY_PROTOCOL, u16::from),
        flags: unseen | if ports { hint_flag::PORTS } else { 0 },
        mark: of_class(policy.mark_mask, rule.class.0 as u16),
        ..any()
    };
    let families = families(rule);
    let destinations = move || -> Box<dyn Iterator<Item = Hint> + 'a> {
        let (fits, families) = (families.clone(), families.clone());
        if rule.destination.is_empty() {
            return Box::new(families.into_iter().map(move |family| Hint { family, ..base }));
        }
        let prefixes = rule.destination.iter().filter(move |prefix| fits.contains(&family(prefix)));
        Box::new(prefixes.map(move |prefix| Hint {
            family: family(prefix),
            destination: network(prefix),
            destination_mask: mask(prefix),
            ..base
        }))
    };
    let ranges = if rule.destination_port.is_empty() { &[(0, u16::MAX)] } else { &rule.destination_port[..] };
    ranges.iter().flat_map(move |(first, last)| {
        destinations().map(move |hint| Hint { destination_port: [*first, *last], ..hint })
    })
}

/// The fields of it that only packets show.
fn unseen(rule: &Rule) -> Vec<&'static str> {
    let all = |ranges: &[(u16, u16)]| ranges.is_empty() || ranges.contains(&(0, u16::MAX));
    let fields = [
        ("source", !rule.source.is_empty()),
        ("source-port", !all(&rule.source_port)),
        ("dscp", !rule.dscp.is_empty()),
        ("length", !all(&rule.length)),
        ("tcp-flags", rule.tcp_flags.is_some()),
        ("icmp-type", !rule.icmp_type.is_empty()),
        ("fragment", rule.fragment.is_some()),
        ("mark", rule.mark.is_some()),
    ];
    fields.into_iter().filter_map(|(name, asked)| asked.then_some(name)).collect()
}

/// Why a rule that names a cgroup gives no socket its mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// These fields of it only packets show.
    Unseen(Vec<&'static str>),
    /// Only packets show whether that has them first.
    Open(From),
    /// The rules before it are as many as are looked at.
    Room,
}

/// The rules that name cgroups and give no socket their mark, by their places; none where none is to have one. Rules that
/// others shadow are not for this to find.
pub fn unmarked(policy: &Policy) -> Vec<(usize, Why)> {
    if !policy.mark_sockets {
        return Vec::new();
    }
    let guides = traced(policy);
    let mut found = Vec::new();
    for (place, rule) in policy.rules.iter().enumerate() {
        if rule.cgroup.is_empty() || rule.tenant.is_some() || !concerns_sockets(rule) {
            continue;
        }
        let fields = unseen(rule);
        if !fields.is_empty() {
            found.push((place, Why::Unseen(fields)));
            continue;
        }
        let whys: Option<Vec<Why>> = rule.cgroup.iter().map(|path| hindered(&guides[path.as_str()], place)).collect();
        found.extend(whys.and_then(|whys| whys.into_iter().next()).map(|why| (place, why)));
    }
    found
}

/// What keeps the rule from marking any socket of the guide's cgroup.
fn hindered(guide: &[(Hint, From)], place: usize) -> Option<Why> {
    let own = || guide.iter().enumerate().filter(|(_, (_, from))| *from == From::Rule(place));
    let mut why = Why::Room;
    for (at, (hint, _)) in own() {
        let before = guide[..at]
            .iter()
            .find(|(other, _)| other.flags & hint_flag::UNSEEN != 0 && other.mark != hint.mark && covers(other, hint));
        why = Why::Open(before?.1);
    }
    Some(why)
}

/// Whether it may match whatever the other one matches.
fn covers(one: &Hint, other: &Hint) -> bool {
    let bits = |place: usize| {
        let mask = one.destination_mask[place];
        mask & !other.destination_mask[place] == 0 && (one.destination[place] ^ other.destination[place]) & mask == 0
    };
    (one.family == 0 || one.family == other.family)
        && (one.protocol == ANY_PROTOCOL || one.protocol == other.protocol)
        && one.flags & hint_flag::PORTS & !other.flags == 0
        && one.destination_port[0] <= other.destination_port[0]
        && other.destination_port[1] <= one.destination_port[1]
        && bits(0)
        && bits(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{ClassIndex, Tenant, TenantIndex};
    use crate::status::tests::policy;

    fn rule(class: usize, cgroup: &[&str]) -> Rule {
        let cgroup = cgroup.iter().map(|path| (*path).to_owned()).collect();
        Rule { class: ClassIndex(class), cgroup, ..Rule::default() }
    }

    fn marking(rules: Vec<Rule>) -> Policy {
        Policy { mark_sockets: true, rules, ..policy() }
    }

    #[test]
    fn a_cgroup_has_the_rules_that_name_it_or_one_above_it_or_none() {
        let rules = vec![rule(0, &["/a/b"]), rule(1, &["/a", "/c"]), rule(2, &["/ab"]), rule(2, &[])];
        let policy = marking(rules);
        let marks = |path: &str| guides(&policy)[path].iter().map(|hint| hint.mark).collect::<Vec<_>>();
        assert_eq!((marks("/a/b"), marks("/a"), marks("/ab")), (vec![1, 2, 3], vec![2, 3], vec![3, 3]));
        assert_eq!(guides(&Policy { mark_sockets: false, ..policy.clone() }), BTreeMap::new());
    }

    #[test]
    fn lists_become_hints_one_by_one_and_end_where_no_more_fit() {
        let prefixes = ["10.0.0.0/8", "2001:db8::/32"].map(|prefix| prefix.parse().unwrap()).to_vec();
        let one =
            Rule { destination: prefixes.clone(), destination_port: vec![(53, 53), (80, 81)], ..rule(0, &["/a"]) };
        let four = guides(&marking(vec![one.clone()]))["/a"].clone();
        let ports: Vec<_> = four.iter().map(|hint| (hint.family, hint.destination_port)).collect();
        assert_eq!(ports, [(4, [53, 53]), (6, [53, 53]), (4, [80, 81]), (6, [80, 81])]);
        let of_one = Rule { source: prefixes[..1].to_vec(), ..one.clone() };
        assert!(guides(&marking(vec![of_one]))["/a"].iter().all(|hint| hint.family == 4));
        let many = (0..100).map(|_| one.clone()).collect();
        assert_eq!(guides(&marking(many))["/a"].len(), MAX_HINTS);
    }

    #[test]
    fn what_comes_in_or_is_a_tenants_is_no_sockets() {
        let rules = vec![
            rule(0, &["/a"]),
            Rule { interface: vec!["lan0".into()], ..rule(1, &[]) },
            Rule { vlan: vec![5], ..rule(1, &[]) },
            Rule { tenant: Some(TenantIndex(0)), ..rule(1, &["/a"]) },
        ];
        let tenant = Tenant { name: "t".into(), ..Tenant::default() };
        let mut policy = Policy { tenants: vec![tenant], ..marking(rules) };
        assert_eq!(guides(&policy)["/a"].len(), 1);
        assert_eq!(unmarked(&policy), []);
        policy.tenants[0].sources = vec!["10.1.0.0/16".parse().unwrap()];
        let hints = guides(&policy)["/a"].clone();
        assert_eq!(hints.iter().map(|hint| (hint.family, hint.mark)).collect::<Vec<_>>(), [(4, u32::MAX), (0, 1)]);
        policy.tenants[0].sources.push("2001:db8::/32".parse().unwrap());
        let by_ipv6 = Rule { destination: vec!["2001:db8:2::/48".parse().unwrap()], ..rule(0, &["/a"]) };
        policy.rules.push(by_ipv6);
        assert_eq!(unmarked(&policy), [(4, Why::Open(From::Tenant(0)))]);
    }

    #[test]
    fn a_rule_that_marks_no_socket_is_found_with_the_reason() {
        let dscp = Rule { dscp: vec![46], ..rule(1, &[]) };
        let to_dns = Rule { destination_port: vec![(53, 53)], ..dscp.clone() };
        let cases = [
            (
                vec![Rule { dscp: vec![46], length: vec![(0, 99)], ..rule(0, &["/a"]) }],
                Some(Why::Unseen(vec!["dscp", "length"])),
            ),
            (vec![dscp.clone(), rule(0, &["/a"])], Some(Why::Open(From::Rule(0)))),
            (vec![dscp, rule(1, &["/a"])], None),
            (vec![to_dns.clone(), rule(0, &["/a"])], None),
            (
                vec![to_dns, Rule { destination_port: vec![(53, 53)], ..rule(0, &["/a"]) }],
                Some(Why::Open(From::Rule(0))),
            ),
            (vec![rule(0, &["/a"])], None),
        ];
        for (rules, wanted) in cases {
            let at = rules.len() - 1;
            let wanted: Vec<_> = wanted.into_iter().map(|why| (at, why)).collect();
            assert_eq!(unmarked(&marking(rules.clone())), wanted, "{rules:?}");
        }
        let many: Vec<Rule> =
            (0..MAX_HINTS as u16).map(|port| Rule { destination_port: vec![(port, port)], ..rule(1, &[]) }).collect();
        let policy = marking([many, vec![rule(0, &["/a"])]].concat());
        assert_eq!(unmarked(&policy), [(MAX_HINTS, Why::Room)]);
    }
}
