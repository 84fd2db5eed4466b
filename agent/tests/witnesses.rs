//! Two witnesses without privilege: the naive oracle and the host's run of the classifier agree on random policies.

#[path = "../benches/witness/tally.rs"]
#[allow(dead_code, reason = "only what it says of a list is tried here")]
mod tally;
mod witness;

use lanekeeper::compile::{Registry, compile};
use lanekeeper::lane::LaneId;
use lanekeeper::model::{Model, Probe};
use lanekeeper::policy::Policy;
use lanekeeper_common::verdict::{BlockReason, ParseReason};
use tally::Tally;
use witness::columns::Columns;
use witness::hearing::Hearing;
use witness::list::{self, FAMILIES};
use witness::oracle::{Oracle, reaches};
use witness::packet::{Packet, Part};
use witness::random::Random;

const POLICIES: u64 = 60;
const PACKETS: usize = 400;

#[test]
fn oracle_and_host_agree_on_random_policies() {
    let (mut followed, mut alone, mut turned_away) = (0, 0, 0);
    for seed in 0..POLICIES {
        let mut random = Random::new(seed);
        let policy = witness::policy::policy(&mut random);
        let tables = compile(&policy, &mut Registry::default()).unwrap();
        let mut hearing = Hearing::new(&policy, &tables);
        for place in 0..PACKETS {
            let (packet, verdict) = hearing.next(&mut random, || format!("seed {seed}, packet {place}"));
            let context = || format!("seed {seed}, packet {place}: {packet:?}\n{verdict:?}");
            let again = hearing.model.evaluate("tunnel0", &packet.probe());
            assert_eq!(again, verdict, "once its flow is known; {}", context());
            let unseen = verdict.parse == Some(ParseReason::FragmentUnseen);
            assert_eq!(packet.broken, verdict.parse.is_some() && !unseen, "{}", context());
            let barred = verdict.blocked == Some(BlockReason::Tenant);
            assert_eq!(barred, !reaches(&policy, verdict.tenant, 0), "{}", context());
            turned_away += u64::from(barred);
            assert_eq!(verdict.mark & !policy.mark_mask, packet.mark & !policy.mark_mask, "{}", context());
        }
        followed += hearing.oracle.followed;
        alone += hearing.oracle.unseen;
    }
    let all = POLICIES * PACKETS as u64;
    assert!(followed > all / 100 && alone > all / 100, "{followed} followed their first fragment, {alone} did not");
    assert!(turned_away > all / 50, "{turned_away} were turned away from another's tunnel");
}

#[test]
fn the_mark_is_that_of_a_lane_of_the_class_or_of_its_fallback() {
    for seed in 1000..1000 + POLICIES {
        let mut random = Random::new(seed);
        let policy = witness::policy::policy(&mut random);
        let tables = compile(&policy, &mut Registry::default()).unwrap();
        let tunnel = &policy.tunnels[0];
        let mut model = Model::new(&tables);
        let up: Vec<_> = tunnel.lanes.iter().filter(|_| random.one_in(2)).collect();
        let id = |lane: &lanekeeper::policy::Lane| LaneId {
            tunnel: tunnel.name.clone(),
            class: policy.classes[lane.class.0].name.clone(),
            index: lane.index,
        };
        up.iter().for_each(|lane| model.set_up(&id(lane), true));
        for _ in 0..PACKETS {
            let packet = witness::packet::packet(&mut random, &policy);
            let probe = Probe { frame: &packet.frame, mark: packet.mark, ingress: None, stripped: None, cgroup: None };
            let verdict = model.evaluate("tunnel0", &probe);
            if !reaches(&policy, verdict.tenant, 0) {
                assert!(verdict.blocked.is_some() && verdict.lane.is_none() && verdict.mark == packet.mark);
                continue;
            }
            // The first class of the chain with a lane that is up.
            let mut class = Some(verdict.class);
            while let Some(at) = class
                && !up.iter().any(|lane| lane.class == at)
            {
                class = match policy.classes[at.0].fallback {
                    lanekeeper::policy::Fallback::Class(next) => Some(next),
                    lanekeeper::policy::Fallback::Block | lanekeeper::policy::Fallback::Clear => None,
                };
            }
            match class {
                None => assert!(verdict.blocked.is_some() && verdict.lane.is_none() && verdict.mark == packet.mark),
                Some(class) => {
                    let of_class: Vec<_> = up.iter().filter(|lane| lane.class == class).collect();
                    let lane = of_class.iter().find(|lane| lane.mark == verdict.mark & policy.mark_mask);
                    let lane = lane.unwrap_or_else(|| panic!("seed {seed}: {verdict:?}"));
                    assert_eq!(verdict.lane, Some(id(lane)));
                }
            }
        }
    }
}

/// The oracle for many packets says what the one that reads every rule says, also of lists that were edited.
#[test]
fn both_oracles_say_the_same() {
    let agree = |columns: &Columns, policy: &Policy, packets: &[Packet]| {
        let slow = packets.iter().map(|packet| Oracle::default().judge(policy, packet).0).collect::<Vec<_>>();
        assert_eq!(columns.judge(policy, packets), slow);
    };
    for seed in 0..POLICIES {
        let mut random = Random::new(seed);
        let policy = witness::policy::policy(&mut random);
        let packets = (0..200).map(|_| witness::packet::packet(&mut random, &policy));
        let packets: Vec<_> = packets.filter(|packet| !packet.broken && packet.part == Part::Whole).collect();
        agree(&Columns::new(&policy.rules), &policy, &packets);
    }
    for family in &FAMILIES {
        let mut random = Random::new(5);
        let mut policy = list::policy(family, 1_100);
        let mut columns = Columns::new(&policy.rules);
        for rule in list::policy(family, 60).rules {
            let (from, to) = (random.below(policy.rules.len()), random.below(policy.rules.len()));
            policy.rules.remove(from);
            columns.remove(from);
            columns.insert(to, &rule);
            policy.rules.insert(to, rule);
        }
        let packets: Vec<_> = (0..150)
            .map(|place| match place % 3 {
                0 => list::packet(&mut random, family, &policy),
                1 => list::crossed(&mut random, family, &policy),
                _ => list::bordering(&mut random, family, &policy),
            })
            .collect();
        agree(&columns, &policy, &packets);
    }
}

#[test]
fn a_list_that_was_not_wholly_tried_is_as_bad_as_a_wrong_verdict() {
    let good = Tally { packets: 4, edits_between: 3, edits_during: 2, wrong_host: 0, wrong_kernel: 0 };
    let table: [(Tally, &[&str]); 8] = [
        (good, &[]),
        (Tally { packets: 1, edits_between: 1, edits_during: 1, ..good }, &[]),
        (Tally { packets: 0, ..good }, &["no packet was judged"]),
        (Tally { edits_between: 0, ..good }, &["no rule came, went or moved between packets"]),
        (Tally { edits_during: 0, ..good }, &["no rule came, went or moved while packets ran: take more of them"]),
        (Tally { wrong_host: 1, ..good }, &["1 verdicts of the host are wrong"]),
        (Tally { wrong_kernel: 2, ..good }, &["2 verdicts of the kernel are wrong"]),
        (
            Tally { wrong_kernel: 2, wrong_host: 9, ..Tally::default() },
            &[
                "no packet was judged",
                "no rule came, went or moved between packets",
                "no rule came, went or moved while packets ran: take more of them",
                "9 verdicts of the host are wrong",
                "2 verdicts of the kernel are wrong",
            ],
        ),
    ];
    for (tally, faults) in table {
        assert_eq!(tally.faults(), faults, "{tally:?}");
    }
}
