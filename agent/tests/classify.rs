//! Long lists without privilege: right by the naive oracle, and as quick at 100,000 rules as at 1,000, counted in steps.

mod witness;

use lanekeeper::compile::{Registry, Tables, compile};
use lanekeeper::model::{Model, Probe};
use lanekeeper_common::abi::NO_VLAN;
use lanekeeper_common::packet::{Layer, Packet, parse};
use lanekeeper_common::rules::{self, Circumstances};
use witness::list::{self, FAMILIES, Family};
use witness::oracle::Oracle;
use witness::random::Random;

fn tables(family: &Family, rules: usize) -> (lanekeeper::policy::Policy, Tables) {
    let policy = list::policy(family, rules);
    let tables = compile(&policy, &mut Registry::default()).unwrap();
    (policy, tables)
}

/// Host and oracle over the lists of every family.
fn agree(rules: usize, packets: usize) {
    for family in &FAMILIES {
        let (policy, tables) = tables(family, rules);
        let (mut oracle, model) = (Oracle::default(), Model::all_up(&tables));
        let mut random = Random::new(rules as u64);
        let mut by_rule = 0;
        for place in 0..packets {
            let packet = list::packet(&mut random, family, &policy);
            let probe = Probe { frame: &packet.frame, mark: 0, ingress: None, stripped: None };
            let verdict = model.evaluate("tunnel0", &probe);
            let (judgement, _) = oracle.judge(&policy, &packet);
            let said = (verdict.tenant, verdict.rule, verdict.class);
            assert_eq!(said, judgement, "{} of {rules}, packet {place}: {packet:?}", family.name);
            by_rule += usize::from(verdict.rule.is_some());
        }
        assert!(by_rule > packets / 2, "{} of {rules}: {by_rule} of {packets} hit a rule", family.name);
    }
}

#[test]
fn classify_agrees_with_the_oracle_on_lists_of_1_000_rules() {
    agree(1_000, 2_000);
}

#[test]
fn classify_agrees_with_the_oracle_on_lists_of_10_000_rules() {
    agree(10_000, 300);
}

#[test]
fn classify_agrees_with_the_oracle_on_lists_of_100_000_rules() {
    agree(100_000, 30);
}

/// Steps of the searches for packets: tuples and records that are looked at, each some memory accesses. On average, and
/// at most.
fn steps(family: &Family, rules: usize) -> (f64, u32) {
    let (policy, tables) = tables(family, rules);
    let model = Model::all_up(&tables);
    let mut random = Random::new(7);
    let (mut all, mut most) = (0, 0);
    const PACKETS: u32 = 2_000;
    for _ in 0..PACKETS {
        let packet = list::packet(&mut random, family, &policy);
        let parsed = Packet::flatten(parse(&&packet.frame[..], Layer::ETHERNET, NO_VLAN));
        let of = Circumstances { generation: 1, tenant: 0, interface: 0, mark: 0 };
        let mut search = rules::begin(&model, &parsed, &of);
        let mut own = 1;
        while rules::step(&model, &parsed, &mut search) {
            own += 1;
        }
        all += own;
        most = most.max(own);
    }
    (f64::from(all) / f64::from(PACKETS), most)
}

#[test]
fn classify_takes_as_many_steps_for_100_000_rules_as_for_1_000() {
    for family in &FAMILIES {
        let ((few, few_most), (many, many_most)) = (steps(family, 1_000), steps(family, 100_000));
        println!(
            "{}: {few:.1} steps, {few_most} at most, over 1,000 rules; {many:.1}, {many_most} at most, over 100,000",
            family.name
        );
        assert!(many <= 4.0 * few, "{}: {few:.1} steps over 1,000 rules, {many:.1} over 100,000", family.name);
    }
}
