//! Long lists in the kernel: the loaded program says what the host says, which `classify` holds against the oracle.

mod witness;

use std::time::Instant;

use lanekeeper::compile::{Registry, compile};
use lanekeeper::kernel::dataplane::Trial;
use lanekeeper::model::{Model, Probe};
use lanekeeper::policy::Policy;
use witness::list::{self, FAMILIES, Family};
use witness::random::Random;

/// Rules of the lists and packets over each; fewer in a guest, whose CPU is emulated.
fn sizes() -> &'static [(usize, usize)] {
    if std::env::var_os("LANEKEEPER_GUEST").is_some() {
        &[(1_000, 50), (10_000, 50)]
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
