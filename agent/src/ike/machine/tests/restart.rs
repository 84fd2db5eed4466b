//! charon's restarts, with the agent's or without.

use super::bench::*;
use super::*;

#[test]
fn lanes_stay_up_while_charon_is_gone_and_through_its_restart() {
    let mut bench = Bench::steady(&testing::policy());
    let actions = bench.feed(Input::Unreachable { reason: "closed".to_owned() });
    assert_eq!(told(&actions), [Event::CharonGone { reason: "closed".to_owned() }]);
    let actions = bench.pass(5 * SECOND);
    assert_eq!(actions, [Action::Connect]);
    let actions = bench.connect("just now", vec![]);
    assert_eq!(told(&actions), [Event::TunnelDown("b7".to_owned()), Event::CharonBack { version: "5.9.8".to_owned() }]);
    let (name, ticket) = initiation(&bench.pass(SECOND)).unwrap();
    assert_eq!(bench.up(&name, 1), [Event::TunnelUp("b7".to_owned())], "its lane was up all the time");
    bench.feed(Input::Initiated { tunnel: "b7".to_owned(), ticket, result: Ok(()) });
    // The new IKE_SA made the peer drop the others' SAs: they fall unless they follow at once.
    let events = told(&bench.pass(2 * SECOND));
    assert_eq!(events.len(), 2, "{events:?}");
}

#[test]
fn after_a_restart_without_success_the_lanes_fall_in_the_end() {
    let mut bench = Bench::steady(&testing::policy());
    bench.feed(Input::Unreachable { reason: "closed".to_owned() });
    bench.pass(5 * SECOND);
    bench.connect("just now", vec![]);
    assert_eq!(told(&bench.pass(14 * SECOND)), []);
    assert_eq!(told(&bench.pass(2 * SECOND)).len(), 3);
}

#[test]
fn an_end_that_does_not_begin_recovers_from_its_own_charons_restart_and_gives_up() {
    let mut policy = testing::policy();
    testing::ike(&mut policy).start = Start::None;
    let mut bench = Bench::steady(&policy);
    bench.feed(Input::Unreachable { reason: "closed".to_owned() });
    bench.pass(5 * SECOND);
    bench.connect("just now", vec![]);
    let mut tries = 0;
    let end = bench.now + 300 * SECOND;
    while bench.now < end {
        if let Some((_, ticket)) = initiation(&bench.pass(SECOND)) {
            tries += 1;
            let result = Err("no answer".to_owned());
            bench.feed(Input::Initiated { tunnel: "b7".to_owned(), ticket, result });
        }
    }
    assert_eq!(tries, 3);
}

#[test]
fn a_lane_is_held_though_the_new_charons_first_connection_breaks_at_once() {
    let mut bench = Bench::steady(&testing::policy());
    bench.feed(Input::Unreachable { reason: "closed".to_owned() });
    bench.pass(5 * SECOND);
    bench.feed(Input::Connected { version: "5.9.8".to_owned(), since: "just now".to_owned() });
    bench.feed(Input::Unreachable { reason: "closed".to_owned() });
    bench.pass(5 * SECOND);
    let events = told(&bench.connect("just now", vec![]));
    assert!(!events.iter().any(|event| matches!(event, Event::LaneDown(_))), "{events:?}");
    assert_eq!(told(&bench.pass(14 * SECOND)), []);
    assert_eq!(told(&bench.pass(2 * SECOND)).len(), 3);
}

#[test]
fn what_is_held_stays_so_for_its_time_though_the_connection_breaks_again() {
    let mut bench = Bench::steady(&testing::policy());
    bench.feed(Input::Unreachable { reason: "closed".to_owned() });
    bench.pass(5 * SECOND);
    bench.connect("just now", vec![]);
    let held = bench.now;
    bench.feed(Input::Unreachable { reason: "closed".to_owned() });
    bench.pass(SECOND);
    let events = told(&bench.connect("just now", vec![]));
    assert!(!events.iter().any(|event| matches!(event, Event::LaneDown(_))), "{events:?}");
    assert_eq!(told(&bench.pass(HOLD + SECOND)).len(), 3);
    assert!(bench.now < held + HOLD + HOLD);
}

/// The agent has ended with charon, and the lanes are open: what it knows of charon's comes before the connection, or after it.
#[test]
fn an_end_that_does_not_begin_recovers_from_a_restart_of_charon_and_agent() {
    let mut policy = testing::policy();
    testing::ike(&mut policy).start = Start::None;
    let open = || [lane("voice", 0), lane("bulk", 1)].into();
    for is_reached_first in [false, true] {
        let mut bench = Bench { machine: Machine::new(1), now: Duration::ZERO };
        bench.feed(Input::Tick);
        let mut actions = if is_reached_first {
            bench.feed(Input::Connected { version: "5.9.8".to_owned(), since: "today".to_owned() });
            bench.feed(Input::Sas { asked: bench.now, sas: vec![] });
            let mut actions = bench.feed(Input::Load(load(&policy), Standing::Lost(open())));
            let Action::Load { ticket, .. } = actions[0] else { panic!("{actions:?}") };
            actions.extend(bench.feed(Input::Loaded { tunnel: "b7".to_owned(), ticket, result: Ok(()) }));
            actions.extend(bench.feed(Input::Sas { asked: bench.now, sas: vec![] }));
            actions
        } else {
            let mut actions = bench.feed(Input::Load(load(&policy), Standing::Lost(open())));
            actions.extend(bench.connect("today", vec![]));
            actions
        };
        let risen = [Event::LaneUp(lane("voice", 0)), Event::LaneUp(lane("bulk", 1))];
        let mut events = told(&actions);
        events.retain(|event| !matches!(event, Event::CharonBack { .. }));
        assert_eq!(events, risen, "one that was closed is none");
        actions = bench.pass(SECOND);
        assert_eq!((initiation(&actions).unwrap().0.as_str(), told(&actions)), ("voice.0", vec![]));
        // The peer does not answer.
        for attempt in 0..3 {
            let (_, ticket) = initiation(&actions).unwrap_or_else(|| panic!("attempt {attempt}: {actions:?}"));
            let result = Err("no answer".to_owned());
            bench.feed(Input::Initiated { tunnel: "b7".to_owned(), ticket, result });
            actions = bench.pass(30 * SECOND);
        }
        assert_eq!(initiation(&actions), None);
        assert_eq!(bench.machine.status()[0].lanes.iter().filter(|lane| lane.condition == Condition::Up).count(), 0);
    }
}

#[test]
fn lanes_that_nobody_left_open_are_not_held() {
    let mut policy = testing::policy();
    testing::ike(&mut policy).start = Start::None;
    let mut bench = Bench { machine: Machine::new(1), now: Duration::ZERO };
    bench.feed(Input::Tick);
    bench.feed(Input::Load(load(&policy), Standing::Lost([].into())));
    let mut actions = bench.connect("today", vec![]);
    actions.extend(bench.pass(100 * SECOND));
    assert_eq!((initiation(&actions), told(&actions).len()), (None, 1));
}
