//! Long lists without privilege: right by the naive oracle, and as quick at 100,000 rules as at 1,000, counted in what a
//! search reads.

mod witness;

use std::cell::Cell;

use lanekeeper::compile::{Registry, Tables, compile};
use lanekeeper::model::{Model, Probe};
use lanekeeper::policy::{Policy, TenantIndex};
use lanekeeper_common::abi::{Candidates, Generation, NO_VLAN, Record, Search, Tenant};
use lanekeeper_common::classify;
use lanekeeper_common::packet::{Layer, Packet, parse};
use lanekeeper_common::rules::{self, Circumstances};
use lanekeeper_common::stamp::Stamp;
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
        agree_on(family, &policy, &tables, packets);
    }
}

fn agree_on(family: &Family, policy: &Policy, tables: &Tables, packets: usize) {
    let rules = policy.rules.len();
    let (mut oracle, model) = (Oracle::default(), Model::all_up(tables));
    let mut random = Random::new(rules as u64);
    let mut by_rule = 0;
    for place in 0..packets {
        let packet = list::packet(&mut random, family, policy);
        let probe = Probe { frame: &packet.frame, mark: 0, ingress: None, stripped: None, cgroup: None };
        let verdict = model.evaluate("tunnel0", &probe);
        let (judgement, _) = oracle.judge(policy, &packet);
        let said = (verdict.tenant, verdict.rule, verdict.class);
        assert_eq!(said, judgement, "{} of {rules}, packet {place}: {packet:?}", family.name);
        by_rule += usize::from(verdict.rule.is_some());
    }
    assert!(by_rule > packets / 2, "{} of {rules}: {by_rule} of {packets} hit a rule", family.name);
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

/// Tables that count what is read of them: each lies somewhere else for the next packet.
struct Counting<'a> {
    of: &'a Model<'a>,
    reads: Cell<u32>,
}

impl Counting<'_> {
    fn read(&self) -> &Self {
        self.reads.set(self.reads.get() + 1);
        self
    }
}

impl rules::Tables for Counting<'_> {
    fn generation(&self) -> &Generation {
        self.of.generation()
    }

    fn tenant(&self, number: u16) -> Option<&Tenant> {
        self.read().of.tenant(number)
    }

    fn candidates(&self, field: u32) -> Option<&Candidates> {
        self.read().of.candidates(field)
    }

    fn head(&self, chain: u32) -> u32 {
        self.read().of.head(chain)
    }

    fn record(&self, number: u32) -> Option<&Record> {
        self.read().of.record(number)
    }
}

/// What the searches for packets read: tenants, sets of candidates, heads and records of chains. On average, and at most.
fn reads(family: &Family, policy: &Policy, tables: &Tables) -> (f64, u32) {
    let model = Model::all_up(tables);
    let mut random = Random::new(7);
    let (mut all, mut most) = (0, 0);
    const PACKETS: u32 = 2_000;
    for _ in 0..PACKETS {
        let packet = list::packet(&mut random, family, policy);
        let packet = parse(&&packet.frame[..], Layer::ETHERNET, NO_VLAN).unwrap();
        let tenant = classify::tenant(&tables.generation, packet.family, packet.source, 0, NO_VLAN);
        let parsed = Packet::flatten(Ok(packet));
        let of = Circumstances { stamp: Stamp(1), tenant, interface: 0, mark: 0 };
        let counting = Counting { of: &model, reads: Cell::new(0) };
        let mut search = Search::default();
        rules::begin(&mut search, &of);
        while rules::step(&counting, &parsed, &mut search) {}
        all += counting.reads.get();
        most = most.max(counting.reads.get());
    }
    (f64::from(all) / f64::from(PACKETS), most)
}

#[test]
fn classify_reads_as_much_for_100_000_rules_as_for_1_000() {
    for family in &FAMILIES {
        let of = |rules| {
            let (policy, tables) = tables(family, rules);
            reads(family, &policy, &tables)
        };
        let ((few, few_most), (many, many_most)) = (of(1_000), of(100_000));
        println!(
            "{}: {few:.1} reads, {few_most} at most, over 1,000 rules; {many:.1}, {many_most} at most, over 100,000",
            family.name
        );
        assert!(many <= 4.0 * few, "{}: {few:.1} reads over 1,000 rules, {many:.1} over 100,000", family.name);
    }
}

/// A list of addresses of each version, and one with many rules for any source.
#[test]
fn classify_is_right_and_no_slower_for_10_000_tenants_of_10_rules_than_for_one_of_100_000() {
    for name in ["acl1", "fw2", "acl4"] {
        let family = FAMILIES.iter().find(|family| family.name == name).unwrap();
        let dealt = list::dealt(family, 10_000, 10);
        let tables = compile(&dealt, &mut Registry::default()).unwrap();
        agree_on(family, &dealt, &tables, 30);
        let mut of_one = dealt.clone();
        of_one.tenants.truncate(1);
        of_one.tenants[0].sources = dealt.tenants.iter().flat_map(|tenant| tenant.sources.clone()).collect();
        of_one.rules.iter_mut().for_each(|rule| rule.tenant = Some(TenantIndex(0)));
        let tables_of_one = compile(&of_one, &mut Registry::default()).unwrap();
        let ((one, one_most), (all, all_most)) =
            (reads(family, &dealt, &tables_of_one), reads(family, &dealt, &tables));
        println!(
            "{name}: {all:.1} reads, {all_most} at most, for 10,000 tenants; {one:.1}, {one_most} at most, for one"
        );
        assert!(all <= one, "{name}: {all:.1} reads for 10,000 tenants, {one:.1} for one");
    }
}
