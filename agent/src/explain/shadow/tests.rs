use super::*;
use crate::compile::{Registry, compile};
use crate::policy::{Rule, Tenant, TenantIndex};
use crate::status::tests::policy;

/// What shadows what, by their places.
fn found(rules: &[Rule]) -> Vec<(usize, Vec<usize>)> {
    let tenant = |name: &str| Tenant { name: name.into(), interfaces: vec![name.into()], ..Tenant::default() };
    let policy = Policy { rules: rules.to_vec(), tenants: vec![tenant("a"), tenant("b")], ..policy() };
    let tables = compile(&policy, &mut Registry::default()).unwrap();
    let Shadows { rules, unseen } = shadows(&policy, &tables);
    assert_eq!(unseen, None);
    rules.into_iter().map(|Shadowed { rule, by }| (rule, by)).collect()
}

fn any() -> Rule {
    Rule::default()
}

fn from(prefixes: &[&str]) -> Rule {
    Rule { source: prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect(), ..any() }
}

fn to_port(ranges: &[(u16, u16)]) -> Rule {
    Rule { destination_port: ranges.to_vec(), ..any() }
}

fn protocol(number: u8, rule: Rule) -> Rule {
    Rule { protocol: Some(number), ..rule }
}

/// The last rule is shadowed by all of the others together, and by no fewer of them.
fn all_shadow_the_last(rules: &[Rule]) {
    let last = rules.len() - 1;
    assert_eq!(found(rules), [(last, (0..last).collect())], "{rules:#?}");
    for without in 0..last {
        let mut fewer = rules.to_vec();
        fewer.remove(without);
        assert_eq!(found(&fewer), [], "without rule {without} of {rules:#?}");
    }
}

#[test]
fn classify_shadow_of_one_rule_that_takes_more() {
    let sip = Rule { dscp: vec![46], interface: vec!["lan0".into()], ..protocol(17, to_port(&[(5060, 5061)])) };
    all_shadow_the_last(&[from(&["10.0.0.0/8"]), from(&["10.1.0.0/16"])]);
    all_shadow_the_last(&[protocol(17, any()), sip.clone()]);
    all_shadow_the_last(&[to_port(&[(5000, 6000)]), sip.clone()]);
    all_shadow_the_last(&[Rule { dscp: vec![34, 46], ..any() }, sip.clone()]);
    all_shadow_the_last(&[Rule { interface: vec!["lan1".into(), "lan0".into()], ..any() }, sip.clone()]);
    all_shadow_the_last(&[sip.clone(), sip]);
    all_shadow_the_last(&[Rule { tcp_flags: Some((2, 2)), ..any() }, Rule { tcp_flags: Some((2, 0x12)), ..any() }]);
    all_shadow_the_last(&[Rule { mark: Some((0x100, 0x100)), ..any() }, Rule { mark: Some((0x300, 0xf00)), ..any() }]);
    all_shadow_the_last(&[any(), Rule { vlan: vec![12], fragment: Some(true), ..any() }]);
    let of_a = |rule| Rule { tenant: Some(TenantIndex(0)), ..rule };
    all_shadow_the_last(&[of_a(any()), of_a(from(&["10.1.0.0/16"]))]);
}

#[test]
fn classify_shadow_of_several_rules_together() {
    let udp_or = |ports: &[(u16, u16)]| protocol(17, to_port(ports));
    all_shadow_the_last(&[from(&["10.0.0.0/9"]), from(&["10.128.0.0/9"]), from(&["10.0.0.0/8"])]);
    all_shadow_the_last(&[udp_or(&[(0, 99)]), udp_or(&[(100, 300)]), udp_or(&[(50, 200)])]);
    all_shadow_the_last(&[from(&["10.1.0.0/16"]), from(&["10.2.0.0/16"]), from(&["10.2.0.0/24", "10.1.0.0/24"])]);
    all_shadow_the_last(&[from(&["0.0.0.0/0"]), from(&["::/0"]), Rule { dscp: vec![46], ..any() }]);
    let port = to_port(&[(53, 53)]);
    all_shadow_the_last(&[protocol(17, any()), protocol(6, any()), protocol(132, any()), port]);
    let length = |first, last| Rule { length: vec![(first, last)], ..any() };
    all_shadow_the_last(&[length(0, 99), length(100, 65535), protocol(47, any())]);
    let fragment = |is| Rule { fragment: Some(is), ..any() };
    all_shadow_the_last(&[fragment(true), fragment(false), protocol(6, any())]);
    let flags = |flags, mask| Rule { tcp_flags: Some((flags, mask)), ..any() };
    all_shadow_the_last(&[flags(0x12, 0x12), flags(0x02, 0x12), flags(0x02, 0x02)]);
    let mark = |mark, mask| Rule { mark: Some((mark, mask)), ..any() };
    all_shadow_the_last(&[mark(0x100, 0x300), mark(0x300, 0x300), mark(0x100, 0x100)]);
    // A whole TCP packet has ports; only later fragments do not.
    let whole = Rule { fragment: Some(false), ..protocol(6, any()) };
    all_shadow_the_last(&[to_port(&[(0, 1023)]), to_port(&[(1024, 65535)]), whole]);
    // A checkerboard: each takes what the other leaves, in two fields at once.
    let square = |source, dscp: &[u8]| Rule { dscp: dscp.to_vec(), ..from(&[source]) };
    let (low, high): (Vec<u8>, Vec<u8>) = ((0..32).collect(), (32..64).collect());
    let (left, right) = ("10.0.0.0/9", "10.128.0.0/9");
    let squares =
        [square(left, &low), square(left, &high), square(right, &low), square(right, &high), from(&["10.0.0.0/8"])];
    all_shadow_the_last(&squares);
}

#[test]
fn classify_no_shadow_where_a_packet_is_left() {
    let all_ports = to_port(&[(0, 65535)]);
    let of = |tenant, rule| Rule { tenant: Some(TenantIndex(tenant)), ..rule };
    let types: Vec<u8> = (0..=255).collect();
    let reached = [
        // A later fragment has no ports, and a cut packet neither flags nor type.
        vec![all_ports.clone(), protocol(6, any())],
        vec![
            Rule { tcp_flags: Some((2, 2)), ..any() },
            Rule { tcp_flags: Some((0, 2)), ..any() },
            protocol(6, all_ports),
        ],
        vec![Rule { icmp_type: types, ..any() }, protocol(1, any())],
        vec![Rule { vlan: (0..4095).collect(), ..any() }, any()],
        vec![Rule { interface: vec!["lan0".into()], ..any() }, any()],
        vec![of(0, any()), of(1, any()), any()],
        vec![any(), of(0, any())],
        vec![from(&["10.1.0.0/16"]), from(&["10.0.0.0/8"])],
        vec![from(&["10.0.0.0/8"]), from(&["10.1.0.0/16", "11.0.0.0/32"])],
        vec![from(&["0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/3"]), from(&["0.0.0.0/0"])],
        vec![from(&["0.0.0.0/0"]), any()],
        vec![to_port(&[(0, 99)]), to_port(&[(101, 65535)]), to_port(&[(100, 100)])],
        vec![Rule { mark: Some((0x100, 0x300)), ..any() }, Rule { mark: Some((0x100, 0x100)), ..any() }],
        vec![Rule { dscp: (1..64).collect(), ..any() }, any()],
    ];
    for rules in reached {
        assert_eq!(found(&rules), [], "{rules:#?}");
    }
}

#[test]
fn a_rule_that_matches_nothing_is_not_said_to_be_shadowed() {
    let mixed = Rule { destination: vec!["2001:db8::/32".parse().unwrap()], ..from(&["10.0.0.0/8"]) };
    let flags_of_udp = Rule { tcp_flags: Some((2, 2)), ..protocol(17, any()) };
    assert_eq!(found(&[any(), mixed, flags_of_udp]), []);
}

#[test]
fn those_that_are_not_needed_are_not_named() {
    let rules = [from(&["10.1.0.0/24"]), to_port(&[(5060, 5060)]), from(&["10.0.0.0/8"]), from(&["10.1.0.0/16"])];
    assert_eq!(found(&rules), [(3, vec![2])]);
    let thirds = [from(&["10.64.0.0/10"]), from(&["10.0.0.0/9"]), from(&["10.128.0.0/9"]), from(&["10.0.0.0/8"])];
    assert_eq!(found(&thirds), [(3, vec![1, 2])]);
}

#[test]
fn many_small_ones_shadow_a_large_one() {
    let one = |port: u16| to_port(&[(port, port)]);
    let mut rules: Vec<Rule> = (1000..1200).map(one).collect();
    rules.push(to_port(&[(1000, 1199)]));
    rules.push(to_port(&[(1000, 1200)]));
    assert_eq!(found(&rules), [(200, (0..200).collect())]);
}
