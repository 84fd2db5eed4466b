use super::*;
use crate::policy::{Adopt, Auth, DeviceKind, Distinct, Ike, Start, adopt};
use crate::status::tests::policy as static_policy;

fn ike_policy() -> Policy {
    let mut policy = static_policy();
    policy.tunnels[0].keying = Keying::Ike(Ike {
        local_id: "moon".into(),
        remote_id: "sun".into(),
        distinct: Distinct::Label,
        auth: Auth::Psk { file: "/psk".into() },
        start: Start::Start,
        proposals: vec![],
        esp_proposals: vec![],
        hw_offload: false,
        rekey_time: None,
        idle_timeout: None,
    });
    policy
}

fn id(class: &str, index: u8) -> LaneId {
    LaneId { tunnel: "branch-7".into(), class: class.into(), index }
}

fn back() -> Event {
    Event::CharonBack { version: "5.9.8".into() }
}

fn gone() -> Event {
    Event::CharonGone { reason: "stopped".into() }
}

#[test]
fn static_lanes_open_with_their_policy() {
    let mut lanes = Lanes::default();
    assert_eq!(lanes.install(&static_policy(), &[id("voice", 0)], 5).len(), 3);
    assert!(lanes.down().is_empty());
    assert_eq!(lanes.on(&Event::LaneDown(id("voice", 0)), 6), []);
}

#[test]
fn lanes_of_charon_open_when_it_says_so_and_not_before() {
    let mut lanes = Lanes::default();
    assert_eq!(lanes.install(&ike_policy(), &[], 5), []);
    assert_eq!(lanes.on(&Event::LaneUp(id("bulk", 1)), 7), [Effect::Open(id("bulk", 1))]);
    assert_eq!(lanes.on(&Event::LaneUp(id("bulk", 1)), 8), []);
    assert_eq!(lanes.standing(&id("bulk", 1)), Standing { condition: Condition::Up, since: 7 });
    assert_eq!(lanes.on(&Event::LaneDown(id("bulk", 1)), 9), [Effect::Close(id("bulk", 1))]);
}

fn picture(up: &[LaneId]) -> Vec<TunnelStatus> {
    let condition = |lane: &LaneId| if up.contains(lane) { Condition::Up } else { Condition::Down };
    let lane = |lane: LaneId| LaneStatus { condition: condition(&lane), lane, spis: None };
    let lanes = [("voice", 0), ("bulk", 0), ("bulk", 1), ("default", 0)].map(|(class, index)| lane(id(class, index)));
    vec![TunnelStatus { tunnel: "branch-7".into(), up: true, lanes: lanes.into(), trouble: None }]
}

/// The policy with its tunnel adopted, and what is known of some lanes.
fn adopted_policy(learned: &Learned) -> Policy {
    let mut policy = static_policy();
    policy.tunnels[0].keying = Keying::Adopted(Adopt {
        connection: "office".into(),
        children: vec![],
        routes: false,
        addresses: false,
        inside: adopt::Inside::default(),
    });
    adopt::learn(&mut policy, learned, &adopt::Insides::new());
    policy
}

fn adopted(class: &str, index: u8, mark: u32, reqid: u32) -> Event {
    Event::Adopted(id(class, index), Traits { mark, reqid, ..Traits::default() })
}

#[test]
fn an_adopted_lane_opens_when_the_tables_have_its_values() {
    let mut lanes = Lanes::default();
    assert_eq!(lanes.install(&adopted_policy(&Learned::new()), &[], 5), []);
    assert_eq!(lanes.on(&adopted("voice", 0, 7, 3), 6), []);
    assert!(lanes.down().contains(&&id("voice", 0)));
    let policy = adopted_policy(lanes.learned());
    assert_eq!((policy.tunnels[0].lanes[0].mark, policy.tunnels[0].lanes[0].reqid), (7, 3));
    assert_eq!(lanes.leave(&policy), []);
    assert_eq!(lanes.install(&policy, &[], 7), [Effect::Open(id("voice", 0))]);
    // Told again it is no news; a rekey keeps the values.
    assert_eq!(lanes.on(&adopted("voice", 0, 7, 3), 8), []);
    assert_eq!(lanes.standing(&id("voice", 0)), Standing { condition: Condition::Up, since: 7 });
}

#[test]
fn an_adopted_lane_falls_at_once_and_rises_at_once_where_its_values_stay() {
    let mut lanes = Lanes::default();
    let _ = lanes.on(&adopted("voice", 0, 7, 3), 1);
    let policy = adopted_policy(lanes.learned());
    let _ = lanes.install(&policy, &[], 2);
    assert_eq!(lanes.on(&Event::LaneDown(id("voice", 0)), 3), [Effect::Close(id("voice", 0))]);
    // Nothing is to be loaded for a lane that fell, nor opened by a load.
    assert_eq!(*lanes.learned(), Learned::from([(id("voice", 0), Traits { mark: 7, reqid: 3, ..Traits::default() })]));
    assert_eq!(lanes.install(&policy, &[], 4), []);
    assert_eq!(lanes.on(&adopted("voice", 0, 7, 3), 5), [Effect::Open(id("voice", 0))]);
}

#[test]
fn an_adopted_lane_with_other_values_is_closed_until_the_tables_have_them() {
    let mut lanes = Lanes::default();
    let _ = lanes.on(&adopted("voice", 0, 7, 3), 1);
    let _ = lanes.install(&adopted_policy(lanes.learned()), &[], 2);
    assert_eq!(lanes.on(&adopted("voice", 0, 7, 4), 3), [Effect::Close(id("voice", 0))]);
    let policy = adopted_policy(lanes.learned());
    assert_eq!(lanes.leave(&policy), []);
    assert_eq!(lanes.install(&policy, &[], 4), [Effect::Open(id("voice", 0))]);
}

#[test]
fn a_request_id_is_one_adopted_lanes_alone() {
    let mut lanes = Lanes::default();
    let _ = lanes.on(&adopted("voice", 0, 7, 3), 1);
    let _ = lanes.on(&Event::LaneDown(id("voice", 0)), 2);
    let _ = lanes.on(&adopted("bulk", 1, 8, 3), 3);
    assert_eq!(*lanes.learned(), Learned::from([(id("bulk", 1), Traits { mark: 8, reqid: 3, ..Traits::default() })]));
}

#[test]
fn an_agent_that_has_looked_keeps_the_adopted_lanes_that_it_finds_open() {
    let look = Learned::from([(id("voice", 0), Traits { mark: 7, reqid: 3, ..Traits::default() })]);
    let policy = adopted_policy(&look);
    let mut lanes = Lanes::found(&policy, &[id("voice", 0), id("default", 0)], 1);
    assert_eq!(lanes.on(&adopted("voice", 0, 7, 3), 2), []);
    assert_eq!(lanes.install(&policy, &[id("voice", 0), id("default", 0)], 3), []);
    // The other one closes when charon is heard to lack it.
    assert_eq!(lanes.on(&Event::LaneDown(id("default", 0)), 4), [Effect::Close(id("default", 0))]);
}

#[test]
fn a_lane_on_demand_is_open_and_stays_so_when_it_comes_up() {
    let mut lanes = Lanes::default();
    lanes.install(&ike_policy(), &[], 5);
    let voice = id("voice", 0);
    assert_eq!(lanes.on(&Event::LaneOnDemand(voice.clone()), 6), [Effect::Open(voice.clone())]);
    assert_eq!(lanes.standing(&voice), Standing { condition: Condition::OnDemand, since: 6 });
    assert!(!lanes.down().contains(&&voice));
    assert_eq!(lanes.on(&Event::LaneUp(voice.clone()), 7), []);
    assert_eq!(lanes.on(&Event::LaneOnDemand(voice.clone()), 8), []);
    assert_eq!(lanes.install(&ike_policy(), std::slice::from_ref(&voice), 9), []);
    assert_eq!(lanes.standing(&voice), Standing { condition: Condition::OnDemand, since: 8 });
    assert_eq!(lanes.on(&Event::LaneDown(voice.clone()), 9), [Effect::Close(voice)]);
}

#[test]
fn a_new_agent_keeps_open_lanes_until_charon_has_been_asked() {
    let mut lanes = Lanes::default();
    assert_eq!(lanes.install(&ike_policy(), &[id("voice", 0), id("default", 0)], 5), []);
    assert_eq!(lanes.on(&Event::LaneUp(id("voice", 0)), 6), []);
    assert_eq!(lanes.on(&back(), 7), []);
    assert!(lanes.untold());
    let effects = lanes.believe(&picture(&[id("voice", 0), id("bulk", 0)]), 8);
    assert_eq!(effects, [Effect::Open(id("bulk", 0)), Effect::Close(id("default", 0))]);
    assert!(!lanes.untold());
    assert_eq!(lanes.standing(&id("voice", 0)), Standing { condition: Condition::Up, since: 5 });
}

#[test]
fn lanes_survive_charon() {
    let mut lanes = Lanes::default();
    lanes.install(&ike_policy(), &[], 5);
    lanes.on(&Event::LaneUp(id("voice", 0)), 6);
    assert_eq!(lanes.on(&gone(), 7), []);
    assert_eq!(lanes.on(&back(), 8), []);
    // Of this lane it has told, and a picture says nothing new.
    assert_eq!(lanes.believe(&picture(&[]), 9), []);
    assert!(lanes.standing(&id("voice", 0)).condition.is_open());
}

#[test]
fn a_rekey_is_counted_and_closes_nothing() {
    let mut lanes = Lanes::default();
    lanes.install(&ike_policy(), &[id("voice", 0)], 5);
    assert_eq!(lanes.on(&Event::Rekeyed(id("voice", 0)), 6), [Effect::Tally(id("voice", 0), LaneEvent::Rekey)]);
    assert_eq!(lanes.on(&back(), 7), []);
    assert_eq!(lanes.on(&Event::Rekeyed(id("video", 0)), 6), []);
}

#[test]
fn a_changed_file_keeps_what_stays_and_closes_nothing_of_it() {
    let mut lanes = Lanes::default();
    lanes.install(&ike_policy(), &[], 5);
    lanes.on(&Event::LaneUp(id("voice", 0)), 6);
    let mut other = ike_policy();
    other.tunnels[0].lanes.remove(1);
    assert_eq!(lanes.install(&other, &[id("voice", 0)], 9), []);
    assert_eq!(lanes.standing(&id("voice", 0)), Standing { condition: Condition::Up, since: 6 });
    assert_eq!(lanes.on(&Event::LaneUp(id("bulk", 0)), 9), []);
}

/// A class more, before all others: every mark moves up by one.
fn shifted(mut policy: Policy) -> Policy {
    policy.tunnels[0].lanes.iter_mut().for_each(|lane| lane.mark += 1);
    policy
}

#[test]
fn a_lane_with_another_mark_is_closed_before_the_tables_and_opens_with_its_new_sa() {
    let mut lanes = Lanes::default();
    lanes.install(&ike_policy(), &[], 5);
    lanes.on(&Event::LaneUp(id("voice", 0)), 6);
    let moved = shifted(ike_policy());
    assert_eq!(lanes.leave(&moved), [Effect::Close(id("voice", 0))]);
    assert_eq!(lanes.install(&moved, &[], 7), []);
    assert_eq!(lanes.on(&Event::Rekeyed(id("voice", 0)), 8).len(), 1);
    assert!(!lanes.standing(&id("voice", 0)).condition.is_open() && lanes.untold());
    assert_eq!(lanes.on(&Event::LaneDown(id("voice", 0)), 8), []);
    assert_eq!(lanes.on(&Event::LaneUp(id("voice", 0)), 9), [Effect::Open(id("voice", 0))]);
}

#[test]
fn a_new_mask_or_if_id_is_another_lane_too() {
    let mut mask = ike_policy();
    mask.mark_mask = 0xff00;
    let mut if_id = ike_policy();
    if_id.tunnels[0].device.kind = DeviceKind::Xfrm { if_id: 43 };
    for other in [mask, if_id] {
        let mut lanes = Lanes::found(&ike_policy(), &[id("voice", 0)], 5);
        assert_eq!(lanes.leave(&other), [Effect::Close(id("voice", 0))]);
    }
}

#[test]
fn a_new_agent_knows_by_what_marks_an_open_lane_was_opened() {
    let mut lanes = Lanes::found(&ike_policy(), &[id("voice", 0)], 5);
    assert_eq!(lanes.install(&shifted(ike_policy()), &[id("voice", 0)], 6), [Effect::Close(id("voice", 0))]);
}

#[test]
fn static_lanes_with_other_marks_are_closed_until_their_tables_are_there() {
    let mut lanes = Lanes::default();
    lanes.install(&static_policy(), &[], 5);
    let moved = shifted(static_policy());
    assert_eq!(lanes.leave(&moved).len(), 4);
    assert_eq!(lanes.install(&moved, &[], 6).len(), 4);
    assert!(lanes.down().is_empty());
}

#[test]
fn a_change_that_is_taken_back_brings_lanes_back_as_they_are_now() {
    let mut lanes = Lanes::default();
    lanes.install(&ike_policy(), &[], 5);
    for lane in [id("voice", 0), id("bulk", 0), id("bulk", 1), id("default", 0)] {
        lanes.on(&Event::LaneUp(lane), 6);
    }
    let mut refused = ike_policy();
    refused.tunnels[0].lanes.retain(|lane| lane.class.0 != 1);
    refused.tunnels[0].lanes[1].mark += 1;
    lanes.leave(&refused);
    lanes.install(&refused, &[id("voice", 0)], 7);
    // charon closed one lane that the file does not have any more, and the peer one that it has.
    lanes.on(&Event::LaneDown(id("bulk", 1)), 8);
    lanes.on(&Event::LaneDown(id("voice", 0)), 8);
    assert_eq!(lanes.leave(&ike_policy()), []);
    let effects = lanes.install(&ike_policy(), &[], 9);
    assert_eq!(effects, [Effect::Open(id("bulk", 0)), Effect::Open(id("default", 0))]);
    // What has come back is to be asked about: charon may be about to close it.
    assert!(lanes.untold());
    lanes.settled();
    let effects = lanes.believe(&picture(&[id("default", 0)]), 10);
    assert_eq!(effects, [Effect::Close(id("bulk", 0))]);
    assert_eq!(lanes.standing(&id("default", 0)), Standing { condition: Condition::Up, since: 6 });
}

#[test]
fn lanes_of_another_charon_are_asked_about_again() {
    let mut lanes = Lanes::default();
    lanes.install(&ike_policy(), &[], 5);
    lanes.on(&Event::LaneUp(id("voice", 0)), 6);
    lanes.believe(&picture(&[id("voice", 0)]), 7);
    assert!(!lanes.untold());
    lanes.doubt();
    assert!(lanes.untold() && lanes.standing(&id("voice", 0)).condition.is_open());
    assert_eq!(lanes.believe(&picture(&[]), 8), [Effect::Close(id("voice", 0))]);
}

#[test]
fn tables_that_forgot_an_open_lane_are_told_again() {
    let mut lanes = Lanes::default();
    lanes.install(&ike_policy(), &[], 5);
    lanes.on(&Event::LaneUp(id("voice", 0)), 6);
    assert_eq!(lanes.install(&ike_policy(), &[], 9), [Effect::Open(id("voice", 0))]);
}

#[test]
fn a_tunnel_that_turns_from_static_keys_to_charon_waits_for_it() {
    let mut lanes = Lanes::default();
    lanes.install(&static_policy(), &[], 5);
    let effects = lanes.install(&ike_policy(), &[id("voice", 0)], 6);
    assert_eq!(effects, [Effect::Close(id("voice", 0))]);
}

#[test]
fn clients_come_and_go_and_their_lane_stays_open() {
    let of_clients = |reqids: &[u32]| Traits {
        mark: 7,
        clients: reqids.iter().map(|reqid| (*reqid, std::net::IpAddr::from([192, 0, 2, 9]))).collect(),
        ..Traits::default()
    };
    let policy = |lanes: &Lanes| adopted_policy(lanes.learned());
    let told = |reqids: &[u32]| Event::Adopted(id("voice", 0), of_clients(reqids));
    let mut lanes = Lanes::default();
    lanes.install(&adopted_policy(&Learned::new()), &[], 5);
    assert_eq!(lanes.on(&told(&[3]), 6), []);
    assert_eq!(lanes.leave(&policy(&lanes)), []);
    let opened = lanes.install(&policy(&lanes), &[], 6);
    assert_eq!(opened, [Effect::Open(id("voice", 0))]);
    for reqids in [&[3, 4][..], &[4], &[4, 5, 6]] {
        assert_eq!(lanes.on(&told(reqids), 7), []);
        assert_eq!(lanes.leave(&policy(&lanes)), []);
        assert_eq!(lanes.install(&policy(&lanes), &[id("voice", 0)], 7), []);
    }
    assert_eq!(lanes.learned()[&id("voice", 0)], of_clients(&[4, 5, 6]));
    assert_eq!(lanes.on(&Event::LaneDown(id("voice", 0)), 8), [Effect::Close(id("voice", 0))]);
    // The mark stays known, and nothing of the clients.
    assert_eq!(lanes.learned()[&id("voice", 0)], of_clients(&[]));
    assert_eq!(lanes.on(&told(&[9]), 9), [Effect::Open(id("voice", 0))]);
}
