//! Lanes that come up with their first packet.

use super::super::*;
use super::bench::*;
use crate::ike::testing;
use crate::lane::Condition;
use crate::policy::{Policy, Start};

const SECOND: Duration = Duration::from_secs(1);
const VOICE: u32 = 0x4c4b_0001;

fn policy() -> Policy {
    let mut policy = testing::policy();
    testing::ike(&mut policy).start = Start::Trap;
    policy
}

fn on_demand(class: &str, index: u8) -> Event {
    Event::LaneOnDemand(lane(class, index))
}

/// Nothing is up, all waits for packets.
fn idle() -> Bench {
    let (mut bench, actions) = Bench::synced(&policy(), vec![]);
    let all = [on_demand("voice", 0), on_demand("bulk", 0), on_demand("bulk", 1)];
    assert_eq!(told(&actions)[..3], all);
    assert_eq!(bench.pass(100 * SECOND).iter().filter(|action| **action != Action::ListSas).count(), 0);
    bench
}

/// An initiation of voice that is due, and its ticket.
fn attempt(bench: &mut Bench, within: Duration) -> u64 {
    let (name, ticket) = initiation(&bench.pass(within)).unwrap();
    assert_eq!(name, "voice.0");
    ticket
}

fn fail(bench: &mut Bench, ticket: u64) -> Vec<Event> {
    let result = Err("the peer does not answer".to_owned());
    told(&bench.feed(Input::Initiated { tunnel: "b7".to_owned(), ticket, result }))
}

fn conditions(bench: &Bench) -> Vec<Condition> {
    bench.machine.status()[0].lanes.iter().map(|lane| lane.condition).collect()
}

#[test]
fn a_lane_comes_up_with_its_packet_and_goes_back_to_waiting() {
    let mut bench = idle();
    // Without an IKE_SA charon's own attempt has its turn first.
    assert_eq!(initiation(&bench.feed(Input::Acquired(VOICE))), None);
    let ticket = attempt(&mut bench, SECOND);
    assert_eq!(bench.feed(Input::Acquired(VOICE)), [], "it is under way");
    assert_eq!(bench.up("voice.0", 1), [Event::TunnelUp("b7".to_owned()), Event::LaneUp(lane("voice", 0))]);
    bench.feed(Input::Initiated { tunnel: "b7".to_owned(), ticket, result: Ok(()) });
    let later = bench.pass(100 * SECOND);
    assert!(told(&later).is_empty() && initiation(&later).is_none(), "{later:?}");
    // Idle, charon closes it, and its trap stays.
    assert_eq!(bench.down("voice.0", 1), [on_demand("voice", 0)]);
    assert_eq!(initiation(&bench.pass(100 * SECOND)), None);
    // With the IKE_SA there nothing is waited for.
    assert!(initiation(&bench.feed(Input::Acquired(VOICE))).is_some());
}

#[test]
fn a_duplicate_that_charon_has_dropped_is_no_failure() {
    let mut bench = idle();
    bench.feed(Input::Acquired(VOICE));
    let ticket = attempt(&mut bench, SECOND);
    bench.up("voice.0", 1);
    assert_eq!(fail(&mut bench, ticket), []);
    assert_eq!(bench.down("voice.0", 1), [Event::LaneDown(lane("voice", 0))], "too soon");
}

#[test]
fn a_lane_that_was_asked_for_in_vain_is_down_and_initiated_until_it_works() {
    let mut bench = idle();
    bench.feed(Input::Acquired(VOICE));
    let mut ticket = attempt(&mut bench, SECOND);
    assert_eq!(conditions(&bench), [Condition::OnDemand; 3], "nothing has failed yet");
    // Without an IKE_SA it is the peer that does not answer, for any lane.
    let reason = "the peer does not answer".to_owned();
    let mut wanted = vec![Event::Trouble { tunnel: "b7".to_owned(), reason }];
    wanted.extend([("voice", 0), ("bulk", 0), ("bulk", 1)].map(|(class, index)| Event::LaneDown(lane(class, index))));
    assert_eq!(fail(&mut bench, ticket), wanted);
    for _ in 0..3 {
        ticket = attempt(&mut bench, 12 * SECOND);
        assert_eq!(fail(&mut bench, ticket), []);
    }
    ticket = attempt(&mut bench, 20 * SECOND);
    assert!(bench.up("voice.0", 1).contains(&Event::LaneUp(lane("voice", 0))));
    bench.feed(Input::Initiated { tunnel: "b7".to_owned(), ticket, result: Ok(()) });
    assert_eq!(conditions(&bench), [Condition::Up, Condition::OnDemand, Condition::OnDemand]);
    assert_eq!(bench.machine.status()[0].trouble, None);
}

#[test]
fn one_lane_that_the_peer_refuses_leaves_the_others_on_demand() {
    let mut bench = idle();
    bench.feed(Input::Notice(Notice::IkeUp(ike_with(1, vec![]))));
    let (_, ticket) = initiation(&bench.feed(Input::Acquired(VOICE))).unwrap();
    assert_eq!(fail(&mut bench, ticket).last(), Some(&Event::LaneDown(lane("voice", 0))));
    assert_eq!(conditions(&bench), [Condition::Down, Condition::OnDemand, Condition::OnDemand]);
}

#[test]
fn without_charon_nothing_is_on_demand_and_what_was_asked_for_is_initiated_when_it_is_back() {
    let mut bench = idle();
    bench.feed(Input::Acquired(VOICE));
    let events = told(&bench.feed(Input::Unreachable { reason: "gone".to_owned() }));
    assert_eq!(events.iter().filter(|event| matches!(event, Event::LaneDown(_))).count(), 3, "{events:?}");
    bench.pass(SECOND);
    let events = told(&bench.connect("tomorrow", vec![]));
    assert_eq!(events.iter().filter(|event| matches!(event, Event::LaneOnDemand(_))).count(), 3, "{events:?}");
    attempt(&mut bench, SECOND);
}

#[test]
fn a_packet_whose_word_was_lost_is_found_by_a_look() {
    let mut bench = idle();
    bench.feed(Input::Lacking(BTreeMap::from([(lane("voice", 0), Lack::Asked), (lane("bulk", 0), Lack::States)])));
    attempt(&mut bench, SECOND);
}

#[test]
fn lanes_that_were_up_before_charons_restart_are_initiated() {
    let (mut bench, _) = Bench::synced(&policy(), vec![ike_with(1, vec![child("voice.0", 1)])]);
    bench.pass(20 * SECOND);
    bench.feed(Input::Unreachable { reason: "gone".to_owned() });
    bench.pass(SECOND);
    let events = told(&bench.connect("tomorrow", vec![]));
    assert!(!events.contains(&Event::LaneDown(lane("voice", 0))), "its states stand: {events:?}");
    assert_eq!(initiation(&bench.pass(SECOND)).unwrap().0, "voice.0");
}

#[test]
fn a_lane_that_falls_as_soon_as_it_rises_does_not_wait_for_packets() {
    let mut bench = idle();
    bench.up("voice.0", 1);
    bench.pass(SECOND);
    assert_eq!(bench.down("voice.0", 1), [Event::LaneDown(lane("voice", 0))]);
    assert_eq!(initiation(&bench.pass(2 * SECOND)).unwrap().0, "voice.0");
}

#[test]
fn a_class_says_for_itself_how_its_lanes_come_up() {
    let mut policy = policy();
    policy.classes[0].on_demand = Some(false);
    let (mut bench, actions) = Bench::synced(&policy, vec![]);
    assert!(!told(&actions).contains(&on_demand("voice", 0)));
    assert_eq!(initiation(&bench.pass(SECOND)).unwrap().0, "voice.0");
    testing::ike(&mut policy).start = Start::None;
    policy.classes[1].on_demand = Some(true);
    let (mut bench, actions) = Bench::synced(&policy, vec![]);
    assert_eq!(told(&actions).len(), 1, "{actions:?}");
    assert_eq!(initiation(&bench.pass(100 * SECOND)), None);
}

#[test]
fn a_packet_for_a_lane_that_is_not_on_demand_changes_nothing() {
    let (mut bench, _) = Bench::synced(&testing::policy(), vec![all_up()]);
    assert_eq!(bench.feed(Input::Acquired(VOICE)), []);
    assert_eq!(told(&bench.pass(20 * SECOND)), []);
}

#[test]
fn a_trap_that_the_kernel_lost_is_put_back() {
    let mut bench = idle();
    let lost = |lack| Input::Lacking(BTreeMap::from([(lane("voice", 0), lack)]));
    for _ in 0..3 {
        assert_eq!(bench.feed(lost(Lack::States)), [], "it waits for a packet");
        bench.now += 5 * SECOND;
    }
    assert_eq!(bench.feed(lost(Lack::Policies)), []);
    bench.now += 5 * SECOND;
    let again = Action::Trap { connection: "lk-b7".to_owned(), child: "voice.0".to_owned() };
    assert!(bench.feed(lost(Lack::Policies)).contains(&again));
}
