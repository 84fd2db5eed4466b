//! Long lists in the kernel: the loaded program says what the host says, which `classify` holds against the oracle.

mod witness;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use lanekeeper::compile::edit::Beside;
use lanekeeper::compile::{Registry, compile};
use lanekeeper::kernel::dataplane::{Dataplane, Trial};
use lanekeeper::model::{Model, Probe, Verdict};
use lanekeeper::policy::{ClassIndex, Policy};
use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};
use witness::list::{self, FAMILIES, Family};
use witness::oracle::Oracle;
use witness::packet::Packet;
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
        let probe = Probe { frame: &packet.frame, mark: packet.mark, ingress: None, stripped: None, cgroup: None };
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
                    let probe =
                        Probe { frame: &packet.frame, mark: packet.mark, ingress: None, stripped: None, cgroup: None };
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

/// The length of the lists that are reloaded under traffic; shorter in a guest, whose CPU is emulated.
fn reloaded() -> usize {
    if std::env::var_os("LANEKEEPER_GUEST").is_some() { 1_000 } else { 100_000 }
}

/// Runs on a thread with a bpffs of its own, which vanishes with it.
fn on_bpffs(test: impl FnOnce(&Path) + Send) {
    let body = || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        let folder = tempfile::tempdir().unwrap();
        mount(Some("bpf"), folder.path(), Some("bpf"), MsFlags::empty(), None::<&str>).unwrap();
        test(folder.path());
        umount(folder.path()).unwrap();
    };
    if let Err(panic) = std::thread::scope(|scope| scope.spawn(body).join()) {
        std::panic::resume_unwind(panic);
    }
}

/// A packet, and its verdict by each of two lists.
type Judged = (Packet, [Verdict; 2]);

/// Packets whose class, rule and mark differ between the lists: as many as take a pass longer than a reload, so that most are
/// met for the first time in each generation.
fn told_apart(family: &Family, policy: &Policy, models: &[Model<'_>; 2]) -> Vec<Judged> {
    let mut random = Random::new(1);
    let mut judged = Vec::new();
    while judged.len() < 10_000 {
        let packet = list::packet(&mut random, family, policy);
        let probe = Probe { frame: &packet.frame, mark: packet.mark, ingress: None, stripped: None, cgroup: None };
        let [one, other] = [0, 1].map(|list: usize| models[list].evaluate("tunnel0", &probe));
        if one.class != other.class && one.rule != other.rule && one.mark != other.mark {
            judged.push((packet, [one, other]));
        }
    }
    judged
}

/// Runs them, each twice, until there have been so many steps. Even steps are times at which one list is loaded, odd ones those
/// at which the other takes its place. How many packets had a verdict of each list, at each step.
fn traffic(trial: &mut Trial, judged: &[Judged], step: &AtomicUsize, steps: usize) -> Vec<[u32; 2]> {
    let mut seen = vec![[0; 2]; steps];
    let mut packets = judged.iter().cycle();
    loop {
        let (packet, verdicts) = packets.next().expect("they begin again");
        let probe = Probe { frame: &packet.frame, mark: packet.mark, ingress: None, stripped: None, cgroup: None };
        for time in ["searched", "remembered"] {
            let first = step.load(Ordering::SeqCst);
            let verdict = trial.run(&probe).unwrap();
            let last = step.load(Ordering::SeqCst);
            if last >= steps {
                return seen;
            }
            let list = verdicts.iter().position(|of_list| *of_list == verdict);
            let list = list.unwrap_or_else(|| panic!("step {first}, {time}: {verdict:?} is neither of {verdicts:?}"));
            if first == last && first.is_multiple_of(2) {
                assert_eq!(list, first / 2 % 2, "step {first}, {time}: the verdict of the list that is not loaded");
            }
            seen[first][list] += 1;
        }
    }
}

#[test]
fn classify_follows_the_old_or_the_new_list_while_long_ones_are_reloaded() {
    on_bpffs(|root| {
        let family = &FAMILIES[0];
        let policy = list::policy(family, reloaded());
        // The same prefixes and ports lead elsewhere, from other places of the list.
        let mut other = policy.clone();
        other.rules.reverse();
        other.rules.iter_mut().for_each(|rule| rule.class = ClassIndex((rule.class.0 + 1) % 4));
        let mut dataplane = Dataplane::open(root).unwrap_or_else(|error| panic!("{error}"));
        let mut registry = dataplane.registry().unwrap();
        let tables = [&policy, &other].map(|policy| compile(policy, &mut registry).unwrap());
        dataplane.load(&tables[0]).unwrap();
        let mut trial = Trial::over(root, &tables[0]).unwrap();
        trial.set_all_up().unwrap();
        trial.set_tunnel("tunnel0").unwrap();
        let judged = told_apart(family, &policy, &[Model::all_up(&tables[0]), Model::all_up(&tables[1])]);

        const RELOADS: usize = 4;
        let step = AtomicUsize::new(0);
        let seen = std::thread::scope(|scope| {
            let packets = scope.spawn(|| traffic(&mut trial, &judged, &step, 2 * RELOADS + 1));
            for reload in 1..=RELOADS {
                std::thread::sleep(std::time::Duration::from_millis(50));
                step.store(2 * reload - 1, Ordering::SeqCst);
                let loaded = dataplane.load(&tables[reload % 2]);
                // Whatever happens, the packets come to an end.
                let next = if loaded.is_ok() { 2 * reload } else { usize::MAX };
                step.store(next, Ordering::SeqCst);
                assert_eq!(loaded.unwrap(), reload as u64 + 1, "a whole generation");
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
            step.store(usize::MAX, Ordering::SeqCst);
            packets.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        println!("{} of {}: packets by step and list: {seen:?}", family.name, reloaded());
        for (step, of_lists) in seen.iter().enumerate() {
            assert!(of_lists.iter().sum::<u32>() > 0, "packets came at every step: {step}");
        }
    });
}
