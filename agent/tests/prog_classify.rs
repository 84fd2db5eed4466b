//! Long lists in the kernel: the loaded program says what the host says, which `classify` holds against the oracle.

mod witness;

use std::time::Instant;

use lanekeeper::compile::edit::Beside;
use lanekeeper::compile::{Registry, compile};
use lanekeeper::kernel::dataplane::Trial;
use lanekeeper::model::{Model, Probe};
use lanekeeper::policy::Policy;
use witness::list::{self, FAMILIES, Family};
use witness::oracle::Oracle;
use witness::random::Random;

/// Rules of the lists and packets over each; fewer in a guest, whose CPU is emulated.
fn sizes() -> &'static [(usize, usize)] {
    if std::env::var_os("LANEKEEPER_GUEST").is_some() {
        &[(1_000, 50)]
    } else {
        &[(1_000, 2_000), (10_000, 2_000), (100_000, 2_000)]
    }
}

/// Loads the tables, and holds the program against the host.
fn agree(trial: &mut Trial, family: &Family, policy: &Policy, packets: usize) {
    let rules = policy.rules.len();
    let tables = compile(policy, &mut Registry::default()).unwrap();
    let start = Instant::now();
    trial.load(&tables).unwrap();
    println!("{} of {rules}: {} records loaded in {:?}", family.name, tables.rules.records.len(), start.elapsed());
    trial.set_all_up().unwrap();
    trial.set_tunnel("tunnel0").unwrap();
    let model = Model::all_up(&tables);
    let mut random = Random::new(rules as u64);
    for place in 0..packets {
        let packet = list::packet(&mut random, family, policy);
        let probe = Probe { frame: &packet.frame, mark: packet.mark, ingress: None, stripped: None };
        let host = model.evaluate("tunnel0", &probe);
        for time in ["searched", "remembered"] {
            let kernel = trial.run(&probe).unwrap();
            assert_eq!(host, kernel, "{} of {rules}, packet {place}, {time}: {packet:?}", family.name);
        }
    }
}

#[test]
fn classify_agrees_in_the_kernel_on_long_lists() {
    let mut trial = Trial::new().unwrap_or_else(|error| panic!("{error}"));
    for (rules, packets) in sizes() {
        for family in &FAMILIES {
            agree(&mut trial, family, &list::policy(family, *rules), *packets);
        }
    }
}

#[test]
fn classify_agrees_in_the_kernel_on_many_tenants() {
    let mut trial = Trial::new().unwrap_or_else(|error| panic!("{error}"));
    for (rules, packets) in sizes() {
        for family in FAMILIES.iter().filter(|family| ["fw2", "acl4"].contains(&family.name)) {
            agree(&mut trial, family, &list::dealt(family, rules / 10, 10), *packets);
        }
    }
}

/// Rules of the list that is edited, and edits of it.
fn edits() -> &'static [(usize, usize)] {
    if std::env::var_os("LANEKEEPER_GUEST").is_some() { &[(1_000, 20)] } else { &[(1_000, 100), (10_000, 50)] }
}

#[test]
fn classify_agrees_in_the_kernel_on_lists_that_are_edited_in_place() {
    let mut trial = Trial::new().unwrap_or_else(|error| panic!("{error}"));
    for (rules, edits) in edits() {
        for family in &FAMILIES {
            let mut policy = list::policy(family, *rules);
            let others = list::policy(family, edits * 2).rules;
            trial.load(&compile(&policy, &mut Registry::default()).unwrap()).unwrap();
            trial.set_all_up().unwrap();
            trial.set_tunnel("tunnel0").unwrap();
            let mut random = Random::new(*rules as u64);
            let (mut took, mut only) = (Vec::new(), list::policy(family, 1));
            for rule in others.into_iter().take(*edits) {
                let places = policy.rules.len();
                let place = [0, places, random.below(places), random.below(places)][random.below(4)];
                let (comes, gone) = (random.one_in(2), random.below(places));
                let start = Instant::now();
                let edited = match comes {
                    true => trial.insert(&policy, &rule, place, Beside::Next).unwrap(),
                    false => trial.remove(gone).unwrap(),
                };
                took.push(start.elapsed());
                assert!(edited, "{} of {rules}: there is room for it", family.name);
                only.rules[0] = if comes { rule.clone() } else { policy.rules.remove(gone) };
                if comes {
                    policy.rules.insert(place, rule);
                }
                // Half of the packets at what came or went.
                for place in 0..8 {
                    let packet = list::packet(&mut random, family, if place % 2 == 0 { &only } else { &policy });
                    let probe = Probe { frame: &packet.frame, mark: packet.mark, ingress: None, stripped: None };
                    let kernel = trial.run(&probe).unwrap();
                    let (judgement, _) = Oracle::default().judge(&policy, &packet);
                    assert_eq!((kernel.tenant, kernel.rule, kernel.class), judgement, "{}: {packet:?}", family.name);
                }
            }
            took.sort();
            println!("{} of {rules}: edits took {:?}, {:?} at most", family.name, took[took.len() / 2], took.last());
        }
    }
}
