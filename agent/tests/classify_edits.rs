//! Rules that come, go and move one at a time in tables that are in use: the same verdicts as a whole compile of the list
//! that results, and at every moment in between those of the list before or of the one after.

mod witness;

use lanekeeper::compile::edit::{Beside, Edit, Full};
use lanekeeper::compile::{Registry, Tables, compile};
use lanekeeper::model::{Model, Verdict};
use lanekeeper::policy::{Policy, Rule};
use witness::list::{self, FAMILIES};
use witness::oracle::Oracle;
use witness::packet::{self, Packet};
use witness::random::Random;

/// What happens to a packet, whatever the place of the rule is by then.
fn effects(tables: &Tables, packets: &[Packet]) -> Vec<Verdict> {
    let model = Model::all_up(tables);
    let verdict = |packet: &Packet| Verdict { rule: None, ..model.evaluate("tunnel0", &packet.probe()) };
    packets.iter().map(verdict).collect()
}

/// A list as it is edited: the policy as a whole, and its tables one edit after the other.
struct Edited {
    policy: Policy,
    tables: Tables,
}

impl Edited {
    fn new(policy: Policy) -> Self {
        let tables = compile(&policy, &mut Registry::default()).unwrap();
        Self { policy, tables }
    }

    fn insert(&mut self, place: usize, rule: Rule) -> Edit {
        let beside = if place.is_multiple_of(2) { Beside::Next } else { Beside::Previous };
        let edit = Edit::insert(&self.policy, &rule, place, beside, &mut self.tables.registry).unwrap();
        self.policy.rules.insert(place, rule);
        edit
    }

    fn remove(&mut self, place: usize) -> Edit {
        self.policy.rules.remove(place);
        Edit::Remove { place }
    }

    /// Carries it out, a store at a time: none leaves a packet with what neither of the two lists says. False where it took
    /// a whole compile.
    fn step(&mut self, edit: &Edit, packets: &[Packet]) -> bool {
        let mut between = self.tables.clone();
        let before = effects(&between, packets);
        let stores = match self.tables.edit(edit) {
            Ok(stores) => stores,
            Err(Full::Fields | Full::Cgroups) => {
                self.tables = compile(&self.policy, &mut self.tables.registry.clone()).unwrap();
                return false;
            }
            Err(full) => panic!("{full}: {edit:?}"),
        };
        let after = effects(&self.tables, packets);
        for store in &stores {
            between.store(store);
            for (place, verdict) in effects(&between, packets).iter().enumerate() {
                assert!([&before[place], &after[place]].contains(&verdict), "{store:?}: {:?}", packets[place]);
            }
        }
        assert_eq!(effects(&between, packets), after, "the stores are all of {edit:?}");
        true
    }

    fn agrees(&self, packets: &[Packet]) {
        let whole = compile(&self.policy, &mut self.tables.registry.clone()).unwrap();
        assert_eq!(self.tables.digest, whole.digest);
        let model = Model::all_up(&self.tables);
        for packet in packets {
            let verdict = model.evaluate("tunnel0", &packet.probe());
            let (judgement, _) = Oracle::default().judge(&self.policy, packet);
            assert_eq!((verdict.tenant, verdict.rule, verdict.class), judgement, "{packet:?}");
        }
    }
}

#[test]
fn classify_says_what_the_list_before_or_after_says_throughout_an_edit() {
    let mut in_place = 0;
    for seed in 0..12 {
        let mut random = Random::new(seed);
        let mut policy = witness::policy::policy(&mut random);
        policy.rules.truncate(40);
        let (classes, tenants) = (policy.classes.len(), policy.tenants.len());
        let mut edited = Edited::new(policy);
        for number in 0..12 {
            let rules = edited.policy.rules.len();
            // The packets are drawn at the values of the rules, the new one's and the old one's included.
            let mut aim = edited.policy.clone();
            let edits = match random.below(4) {
                0 | 1 => {
                    let rule = witness::policy::rule(&mut random, 1000 + number, classes, tenants);
                    vec![edited.insert(random.below(rules + 1), rule)]
                }
                2 if rules > 0 => vec![edited.remove(random.below(rules))],
                _ if rules > 0 => {
                    let (from, to) = (random.below(rules), random.below(rules + 1));
                    let insert = edited.insert(to, edited.policy.rules[from].clone());
                    vec![insert, edited.remove(if to <= from { from + 1 } else { from })]
                }
                _ => continue,
            };
            aim.rules.extend(edited.policy.rules.iter().cloned());
            let packets: Vec<Packet> = (0..60).map(|_| packet::packet(&mut random, &aim)).collect();
            for edit in &edits {
                in_place += usize::from(edited.step(edit, &packets));
            }
            edited.agrees(&packets);
        }
    }
    assert!(in_place > 100, "{in_place} edits were done in place");
}

#[test]
fn classify_agrees_with_the_oracle_on_lists_that_were_edited() {
    for family in &FAMILIES {
        let mut random = Random::new(3);
        let others = list::policy(family, 400);
        let mut edited = Edited::new(list::policy(family, 300));
        for rule in others.rules {
            let rules = edited.policy.rules.len();
            let place = [0, rules, random.below(rules + 1), random.below(rules + 1)][random.below(4)];
            let mut edits = vec![edited.insert(place, rule)];
            if random.one_in(2) {
                edits.push(edited.remove(random.below(rules)));
            }
            for edit in &edits {
                edited.tables.edit(edit).unwrap();
            }
        }
        let packets: Vec<Packet> = (0..300).map(|_| list::packet(&mut random, family, &edited.policy)).collect();
        edited.agrees(&packets);
    }
}

#[test]
fn one_rule_of_two_lists_is_found_whatever_was_done_to_it() {
    let family = &FAMILIES[5];
    let policy = list::policy(family, 50);
    let mut registry = Registry::default();
    let tables = compile(&policy, &mut registry).unwrap();
    let mut check = |edits: Option<usize>, change: &dyn Fn(&mut Vec<Rule>)| {
        let mut changed = policy.clone();
        change(&mut changed.rules);
        let changed = compile(&changed, &mut registry).unwrap();
        let found = tables.edits_to(&changed);
        assert_eq!(found.as_ref().map(Vec::len), edits);
        if let Some(found) = found {
            let mut edited = tables.clone();
            found.iter().for_each(|edit| drop(edited.edit(edit).unwrap()));
            assert_eq!(edited.digest, changed.digest);
        }
    };
    let other = || list::policy(family, 51).rules[50].clone();
    check(Some(1), &|rules| rules.insert(0, other()));
    check(Some(1), &|rules| rules.insert(17, other()));
    check(Some(1), &|rules| rules.push(other()));
    check(Some(1), &|rules| drop(rules.remove(0)));
    check(Some(1), &|rules| drop(rules.pop()));
    check(Some(2), &|rules| rules[8] = other());
    check(Some(2), &|rules| rules.swap(7, 8));
    check(Some(2), &|rules| rules[3..20].rotate_left(1));
    check(Some(2), &|rules| rules[3..20].rotate_right(1));
    check(None, &|_| ());
    check(None, &|rules| rules[3..20].reverse());
    check(None, &|rules| drop(rules.drain(4..6)));
}

#[test]
fn more_rules_than_numbers_between_two_are_refused_and_change_nothing() {
    for beside in [Beside::Next, Beside::Previous] {
        let mut edited = Edited::new(list::policy(&FAMILIES[0], 2));
        let rule = edited.policy.rules[0].clone();
        let mut fitted = 0;
        loop {
            let place = if beside == Beside::Next { fitted + 1 } else { 1 };
            let edit = Edit::insert(&edited.policy, &rule, place, beside, &mut edited.tables.registry).unwrap();
            let digest = edited.tables.digest;
            match edited.tables.edit(&edit) {
                Ok(_) => fitted += 1,
                Err(full) => {
                    assert_eq!(full.to_string(), "no number is left between the rules beside it");
                    assert_eq!(edited.tables.digest, digest);
                    break;
                }
            }
        }
        assert!(fitted > 150, "{fitted} rules beside one");
    }
}
