mod anything;
mod bench;
mod doubles;
mod identity;
mod lists;
mod restart;
mod trap;

use self::bench::*;
use super::*;
use crate::ike::testing;
use crate::lane::Condition;
use crate::policy::Start;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn lanes_are_initiated_one_after_the_other_in_the_policys_order() {
    let (mut bench, actions) = Bench::synced(&testing::policy(), vec![]);
    assert_eq!(told(&actions), [Event::CharonBack { version: "5.9.8".to_owned() }]);
    let mut order = Vec::new();
    let mut actions = bench.pass(SECOND);
    for id in 1..=3 {
        let initiations = actions.iter().filter(|action| matches!(action, Action::Initiate { .. })).count();
        assert_eq!(initiations, 1, "{actions:?}");
        let (name, ticket) = initiation(&actions).unwrap();
        assert_eq!(initiation(&bench.pass(5 * SECOND)), None, "the first is still under way");
        bench.up(&name, id);
        actions = bench.feed(Input::Initiated { tunnel: "b7".to_owned(), ticket, result: Ok(()) });
        order.push(name);
    }
    assert_eq!(order, ["voice.0", "bulk.0", "bulk.1"], "the policy's order");
    assert_eq!(initiation(&bench.pass(100 * SECOND)), None);
}

#[test]
fn what_is_up_already_is_told_before_charon_is_said_to_be_back() {
    let (_, actions) = Bench::synced(&testing::policy(), vec![all_up()]);
    let events = told(&actions);
    let lanes = [("voice", 0), ("bulk", 0), ("bulk", 1)].map(|(class, index)| Event::LaneUp(lane(class, index)));
    assert_eq!(events[0], Event::TunnelUp("b7".to_owned()));
    assert_eq!(events[1..4], lanes);
    assert_eq!(events[4], Event::CharonBack { version: "5.9.8".to_owned() });
}

/// As when the agent has restarted: charon is reached first, and the policy comes after.
#[test]
fn a_tunnel_that_is_new_to_us_is_not_initiated_before_its_sas_are_known() {
    let mut bench = Bench { machine: Machine::new(1), now: Duration::ZERO };
    bench.feed(Input::Tick);
    bench.feed(Input::Connected { version: "5.9.8".to_owned(), since: "today".to_owned() });
    bench.feed(Input::Sas { asked: bench.now, sas: vec![all_up()] });
    let actions = bench.feed(Input::Load(load(&testing::policy()), Standing::Adopt));
    let [Action::Load { ticket, .. }, Action::ListSas] = actions[..] else { panic!("{actions:?}") };
    bench.feed(Input::Loaded { tunnel: "b7".to_owned(), ticket, result: Ok(()) });
    assert_eq!(initiation(&bench.pass(5 * SECOND)), None);
    let actions = bench.feed(Input::Sas { asked: bench.now, sas: vec![all_up()] });
    assert_eq!(told(&actions).len(), 4);
    assert_eq!(initiation(&bench.pass(60 * SECOND)), None);
}

#[test]
fn the_end_with_the_greater_identity_lets_the_other_begin() {
    let mut policy = testing::policy();
    testing::ike(&mut policy).local_id = "zzz.example".to_owned();
    let (mut bench, _) = Bench::synced(&policy, vec![]);
    assert_eq!(initiation(&bench.pass(Duration::from_millis(2900))), None);
    assert!(initiation(&bench.pass(SECOND)).is_some());
}

#[test]
fn an_end_that_does_not_begin_never_initiates() {
    let mut policy = testing::policy();
    testing::ike(&mut policy).start = Start::None;
    let (mut bench, _) = Bench::synced(&policy, vec![]);
    assert_eq!(initiation(&bench.pass(1000 * SECOND)), None);
}

#[test]
fn a_fallen_lane_is_told_at_once_and_initiated_again() {
    let mut bench = Bench::steady(&testing::policy());
    assert_eq!(bench.down("voice.0", 1), [Event::LaneDown(lane("voice", 0))]);
    let (name, _) = initiation(&bench.pass(Duration::from_millis(250))).unwrap();
    assert_eq!(name, "voice.0");
    assert_eq!(bench.up("voice.0", 9), [Event::LaneUp(lane("voice", 0))]);
}

#[test]
fn failures_are_tried_again_ever_more_seldom() {
    let (mut bench, _) = Bench::synced(&testing::policy(), vec![]);
    let mut tries = Vec::new();
    for _ in 0..10 {
        let mut actions = Vec::new();
        while initiation(&actions).is_none() {
            actions = bench.pass(SECOND / 10);
        }
        tries.push(bench.now);
        let (_, ticket) = initiation(&actions).unwrap();
        let events = bench.feed(Input::Initiated {
            tunnel: "b7".to_owned(),
            ticket,
            result: Err("the peer refuses".to_owned()),
        });
        // Told once, not at every try.
        assert_eq!(told(&events).len(), usize::from(tries.len() == 1));
    }
    let gaps: Vec<f64> = tries.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    assert!(gaps[0] < 1.5 && gaps[4] > 11.0 && gaps[8] > 44.0 && gaps[8] < 76.0, "{gaps:?}");
}

#[test]
fn a_lane_that_falls_as_soon_as_it_rises_does_not_storm() {
    let (mut bench, _) =
        Bench::synced(&testing::policy(), vec![ike_with(1, vec![child("bulk.0", 2), child("bulk.1", 3)])]);
    let mut initiations = 0;
    let mut id = 10;
    let end = bench.now + 60 * SECOND;
    while bench.now < end {
        if let Some((name, ticket)) = initiation(&bench.pass(SECOND / 10)) {
            initiations += 1;
            id += 1;
            bench.up(&name, id);
            bench.feed(Input::Initiated { tunnel: "b7".to_owned(), ticket, result: Ok(()) });
            bench.down(&name, id);
        }
    }
    assert!((3..10).contains(&initiations), "{initiations} in a minute");
}

#[test]
fn a_rekey_leaves_the_lane_up_and_the_old_sa_s_end_is_no_fall() {
    let mut bench = Bench::steady(&testing::policy());
    let rekey = Notice::ChildRekeyed { ike: ike_with(1, vec![]), old: 1, new: child("voice.0", 4) };
    assert_eq!(told(&bench.feed(Input::Notice(rekey))), [Event::Rekeyed(lane("voice", 0))]);
    assert_eq!(bench.down("voice.0", 1), []);
    assert_eq!(bench.down("voice.0", 4), [Event::LaneDown(lane("voice", 0))]);
}

#[test]
fn a_rekey_is_told_though_a_list_has_shown_it_already() {
    let mut bench = Bench::steady(&testing::policy());
    bench.now += SECOND;
    let after = ike_with(1, vec![child("voice.0", 4), child("bulk.0", 2), child("bulk.1", 3)]);
    assert_eq!(told(&bench.feed(Input::Sas { asked: bench.now, sas: vec![after] })), []);
    let rekey = Notice::ChildRekeyed { ike: ike_with(1, vec![]), old: 1, new: child("voice.0", 4) };
    assert_eq!(told(&bench.feed(Input::Notice(rekey))), [Event::Rekeyed(lane("voice", 0))]);
}

#[test]
fn an_ike_rekey_takes_the_lanes_along() {
    let mut bench = Bench::steady(&testing::policy());
    let rekey = Notice::IkeRekeyed { old: 1, new: ike_with(2, vec![]) };
    assert_eq!(told(&bench.feed(Input::Notice(rekey))), []);
    assert_eq!(told(&bench.feed(Input::Notice(Notice::IkeDown(ike_with(1, vec![]))))), []);
    let events = told(&bench.feed(Input::Notice(Notice::IkeDown(ike_with(2, vec![])))));
    assert_eq!(events.len(), 4, "tunnel and lanes fall with the IKE_SA that has them: {events:?}");
}

#[test]
fn late_child_events_of_a_dead_ike_sa_change_nothing() {
    let mut bench = Bench::steady(&testing::policy());
    bench.feed(Input::Notice(Notice::IkeDown(ike_with(1, vec![]))));
    // charon 5.9.8 tells of the children after their IKE_SA, as INSTALLED.
    assert_eq!(bench.down("voice.0", 1), []);
}

#[test]
fn a_child_of_an_older_configuration_is_closed_and_is_no_lane() {
    let mut foreign = child("voice.0", 5);
    foreign.reqid = 1;
    let (_, actions) = Bench::synced(&testing::policy(), vec![ike_with(1, vec![foreign])]);
    assert!(actions.contains(&Action::CloseChild(5)), "{actions:?}");
    assert!(!told(&actions).contains(&Event::LaneUp(lane("voice", 0))));
}

#[test]
fn what_the_same_charon_lost_meanwhile_falls_at_once() {
    let mut bench = Bench::steady(&testing::policy());
    bench.feed(Input::Unreachable { reason: "no answer".to_owned() });
    bench.pass(5 * SECOND);
    let actions = bench.connect("today", vec![ike_with(1, vec![child("bulk.0", 2), child("bulk.1", 3)])]);
    assert_eq!(told(&actions), [Event::LaneDown(lane("voice", 0)), Event::CharonBack { version: "5.9.8".to_owned() }]);
}

#[test]
fn lanes_fall_when_their_lifetime_ends_while_charon_is_gone() {
    let mut mortal = all_up();
    mortal.children[0].life = Some(60);
    let (mut bench, _) = Bench::synced(&testing::policy(), vec![mortal]);
    bench.feed(Input::Unreachable { reason: "closed".to_owned() });
    let mut events = told(&bench.pass(59 * SECOND));
    assert_eq!(events, []);
    bench.feed(Input::Unreachable { reason: "closed".to_owned() });
    events.extend(told(&bench.pass(10 * SECOND)));
    assert_eq!(events, [Event::LaneDown(lane("voice", 0))]);
}

#[test]
fn charon_is_looked_for_again_and_again_and_told_gone_once() {
    let mut bench = Bench::new(&testing::policy());
    let mut events = Vec::new();
    let mut tries = 0;
    for _ in 0..600 {
        tries += 1;
        events.extend(told(&bench.feed(Input::Unreachable { reason: "absent".to_owned() })));
        while !bench.pass(SECOND / 10).contains(&Action::Connect) {}
        if bench.now > 60 * SECOND {
            break;
        }
    }
    assert_eq!(events, [Event::CharonGone { reason: "absent".to_owned() }]);
    assert!((12..40).contains(&tries), "{tries} in a minute");
}

#[test]
fn what_an_attempt_left_half_open_is_closed() {
    let (mut bench, _) = Bench::synced(&testing::policy(), vec![]);
    let (_, ticket) = initiation(&bench.pass(SECOND)).unwrap();
    let result = Err("no answer".to_owned());
    let actions = bench.feed(Input::Initiated { tunnel: "b7".to_owned(), ticket, result });
    assert!(actions.contains(&Action::ListSas));
    let half = IkeSa { state: IkeState::Connecting, ..ike_with(3, vec![]) };
    let actions = bench.feed(Input::Sas { asked: bench.now, sas: vec![half] });
    assert!(actions.contains(&Action::CloseIke { id: 3, force: true }), "{actions:?}");
}

#[test]
fn the_same_configuration_again_disturbs_nothing() {
    let mut bench = Bench::steady(&testing::policy());
    let actions = bench.feed(Input::Load(load(&testing::policy()), Standing::Adopt));
    let [Action::Load { ticket, .. }, Action::ListSas] = actions[..] else { panic!("{actions:?}") };
    assert_eq!(bench.feed(Input::Loaded { tunnel: "b7".to_owned(), ticket, result: Ok(()) }), []);
    assert_eq!(bench.feed(Input::Sas { asked: bench.now, sas: vec![all_up()] }), []);
}

#[test]
fn a_changed_lane_is_closed_once_charon_has_the_change_and_the_others_stay() {
    let mut bench = Bench::steady(&testing::policy());
    let mut policy = testing::policy();
    policy.tunnels[0].lanes.remove(2);
    policy.tunnels[0].lanes[0].reqid += 100;
    let actions = bench.feed(Input::Load(load(&policy), Standing::Adopt));
    assert_eq!(told(&actions), [Event::LaneDown(lane("bulk", 1))]);
    let Action::Load { ticket, .. } = actions[1] else { panic!("{actions:?}") };
    let actions = bench.feed(Input::Loaded { tunnel: "b7".to_owned(), ticket, result: Ok(()) });
    assert_eq!(actions, [Action::CloseChild(1), Action::CloseChild(3)]);
}

#[test]
fn other_identities_mean_another_ike_sa() {
    let mut bench = Bench::steady(&testing::policy());
    let mut policy = testing::policy();
    testing::ike(&mut policy).remote_id = "other.example".to_owned();
    let actions = bench.feed(Input::Load(load(&policy), Standing::Adopt));
    let Action::Load { ticket, .. } = actions[0] else { panic!("{actions:?}") };
    let actions = bench.feed(Input::Loaded { tunnel: "b7".to_owned(), ticket, result: Ok(()) });
    assert_eq!(actions, [Action::CloseIke { id: 1, force: false }]);
}

#[test]
fn a_connection_that_charon_refuses_is_told_and_tried_again() {
    let mut bench = Bench::new(&testing::policy());
    let actions = bench.feed(Input::Connected { version: "5.9.8".to_owned(), since: "today".to_owned() });
    let Action::Load { ticket, .. } = actions[0] else { panic!("{actions:?}") };
    let result = Err("unknown option".to_owned());
    let actions = bench.feed(Input::Loaded { tunnel: "b7".to_owned(), ticket, result });
    assert!(matches!(told(&actions)[..], [Event::Trouble { .. }]));
    bench.feed(Input::Sas { asked: bench.now, sas: vec![] });
    let actions = bench.pass(2 * SECOND);
    assert!(matches!(actions[..], [Action::Load { .. }]), "{actions:?}");
}

#[test]
fn going_back_from_a_refused_connection_closes_nothing() {
    let mut bench = Bench::steady(&testing::policy());
    let mut policy = testing::policy();
    testing::ike(&mut policy).esp_proposals.push("nonsense".to_owned());
    testing::ike(&mut policy).remote_id = "other.example".to_owned();
    policy.tunnels[0].lanes.truncate(1);
    let ticket_of = |actions: &[Action]| {
        let load = actions.iter().find_map(|action| match action {
            Action::Load { ticket, .. } => Some(*ticket),
            _ => None,
        });
        load.unwrap_or_else(|| panic!("{actions:?}"))
    };
    let actions = bench.feed(Input::Load(load(&policy), Standing::Adopt));
    let (ticket, refused) = (ticket_of(&actions), Err("unknown proposal".to_owned()));
    bench.feed(Input::Loaded { tunnel: "b7".to_owned(), ticket, result: refused });
    let mut actions = bench.feed(Input::Load(load(&testing::policy()), Standing::Adopt));
    assert!(actions.contains(&Action::ListSas), "the lanes that were to go are looked for: {actions:?}");
    let ticket = ticket_of(&actions);
    actions.extend(bench.feed(Input::Loaded { tunnel: "b7".to_owned(), ticket, result: Ok(()) }));
    actions.extend(bench.feed(Input::Sas { asked: bench.now, sas: vec![all_up()] }));
    let closes = |action: &&Action| matches!(action, Action::CloseChild(_) | Action::CloseIke { .. });
    assert_eq!(actions.iter().filter(closes).collect::<Vec<_>>(), [] as [&Action; 0]);
    assert!(bench.machine.status()[0].lanes.iter().all(|lane| lane.condition == Condition::Up));
}

#[test]
fn an_unloaded_tunnel_falls_and_is_unloaded() {
    let mut bench = Bench::steady(&testing::policy());
    let actions = bench.feed(Input::Unload("b7".to_owned()));
    assert_eq!(told(&actions).len(), 4);
    let unload = Action::Unload { tunnel: "b7".to_owned(), connection: "lk-b7".to_owned() };
    assert_eq!(actions.last(), Some(&unload));
    assert_eq!(bench.up("voice.0", 9), []);
}

#[test]
fn sas_of_another_form_are_closed_with_the_load_and_told_down() {
    let mut bench = Bench { machine: Machine::new(1), now: Duration::ZERO };
    bench.feed(Input::Tick);
    bench.feed(Input::Load(load(&testing::policy()), Standing::Close));
    let actions = bench.feed(Input::Connected { version: "5.9.8".to_owned(), since: "today".to_owned() });
    let Action::Load { ticket, standing: Standing::Close, .. } = actions[0] else { panic!("{actions:?}") };
    let refused = Err("unknown option".to_owned());
    let actions = bench.feed(Input::Loaded { tunnel: "b7".to_owned(), ticket, result: refused });
    assert!(!told(&actions).contains(&Event::LaneDown(lane("voice", 0))), "nothing is closed yet");
    bench.feed(Input::Sas { asked: bench.now, sas: vec![] });
    let again = bench.pass(2 * SECOND);
    let Action::Load { ticket, standing: Standing::Close, .. } = again[0] else { panic!("{again:?}") };
    let actions = bench.feed(Input::Loaded { tunnel: "b7".to_owned(), ticket, result: Ok(()) });
    let lanes = [("voice", 0), ("bulk", 0), ("bulk", 1)].map(|(class, index)| Event::LaneDown(lane(class, index)));
    assert_eq!(told(&actions), lanes);
    // Once is enough.
    bench.feed(Input::Unreachable { reason: "closed".to_owned() });
    bench.pass(5 * SECOND);
    let actions = bench.feed(Input::Connected { version: "5.9.8".to_owned(), since: "today".to_owned() });
    assert!(matches!(actions[0], Action::Load { standing: Standing::Adopt, .. }), "{actions:?}");
}

#[test]
fn an_outdated_sa_is_closed_though_the_connection_breaks_before_the_load() {
    for (since, closed) in [("today", vec![Action::CloseChild(1)]), ("just now", vec![])] {
        let mut bench = Bench::steady(&testing::policy());
        let mut policy = testing::policy();
        testing::ike(&mut policy).esp_proposals.push("aes128gcm16".to_owned());
        policy.tunnels[0].lanes.truncate(1);
        bench.feed(Input::Load(load(&policy), Standing::Adopt));
        bench.feed(Input::Unreachable { reason: "closed".to_owned() });
        bench.pass(5 * SECOND);
        let actions = bench.connect(since, vec![all_up()]);
        let of_voice = |action: &&Action| **action == Action::CloseChild(1);
        assert_eq!(actions.iter().filter(of_voice).cloned().collect::<Vec<_>>(), closed, "{since}");
    }
}

#[test]
fn a_load_right_after_charons_return_does_not_wait_for_the_charon_before() {
    let mut bench = Bench::steady(&testing::policy());
    bench.feed(Input::Unreachable { reason: "closed".to_owned() });
    assert_eq!(bench.machine.gone(), Some("closed"));
    bench.pass(5 * SECOND);
    bench.feed(Input::Connected { version: "5.9.8".to_owned(), since: "just now".to_owned() });
    assert_eq!(bench.machine.gone(), None);
}

#[test]
fn nothing_is_said_of_a_tunnel_before_a_list_has_told() {
    let mut bench = Bench::new(&testing::policy());
    assert_eq!(bench.machine.status(), []);
    bench.connect("today", vec![all_up()]);
    assert!(bench.machine.status()[0].lanes.iter().all(|lane| lane.condition == Condition::Up));
    bench.feed(Input::Unreachable { reason: "closed".to_owned() });
    assert_eq!(bench.machine.status().len(), 1, "they stay what they were");
    bench.pass(5 * SECOND);
    bench.feed(Input::Connected { version: "5.9.8".to_owned(), since: "today".to_owned() });
    assert_eq!(bench.machine.status(), []);
}

#[test]
fn a_lane_that_the_kernel_lost_is_closed_and_made_anew() {
    let mut bench = Bench::steady(&testing::policy());
    let lost = || Input::Lacking(BTreeMap::from([(lane("voice", 0), Lack::States)]));
    assert_eq!(bench.feed(lost()), []);
    assert!(bench.machine.is_in_doubt());
    bench.now += LACKS / 2;
    assert_eq!(bench.feed(lost()), [], "too soon after the first look");
    bench.now += LACKS;
    assert_eq!(bench.feed(lost()), [Action::CloseChild(1), Action::Tell(Event::LaneDown(lane("voice", 0)))]);
    // A list that was asked before does not bring it back.
    assert_eq!(told(&bench.feed(Input::Sas { asked: bench.now - SECOND, sas: vec![all_up()] })), []);
    let (name, _) = initiation(&bench.pass(SECOND)).unwrap();
    assert_eq!(name, "voice.0");
    assert_eq!(bench.feed(lost()), [], "it is not up");
    assert_eq!(bench.up("voice.0", 9), [Event::LaneUp(lane("voice", 0))]);
    bench.now += 5 * SECOND;
    assert_eq!(bench.feed(lost()), [], "the first look at the new one");
}

#[test]
fn a_lane_that_a_look_found_again_has_not_been_lost() {
    let mut bench = Bench::steady(&testing::policy());
    for _ in 0..5 {
        assert_eq!(told(&bench.feed(Input::Lacking(BTreeMap::from([(lane("voice", 0), Lack::States)])))), []);
        bench.now += 5 * SECOND;
        assert_eq!(told(&bench.feed(Input::Lacking(BTreeMap::new()))), []);
        assert!(!bench.machine.is_in_doubt());
        bench.now += 5 * SECOND;
    }
}
