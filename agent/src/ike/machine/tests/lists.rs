//! What charon's lists say, and when they are believed.

use super::super::*;
use super::SECOND;
use super::bench::*;
use crate::ike::testing;
use crate::lane::Condition;

#[test]
fn a_list_older_than_an_event_does_not_undo_it() {
    let mut bench = Bench::steady(&testing::policy());
    let asked = bench.now;
    bench.now += SECOND;
    bench.down("voice.0", 1);
    bench.up("bulk.0", 8);
    bench.down("bulk.0", 2);
    bench.now += SECOND;
    let actions = bench.feed(Input::Sas { asked, sas: vec![all_up()] });
    assert!(told(&actions).is_empty(), "{actions:?}");
    let status = &bench.machine.status()[0];
    assert_eq!(
        status.lanes.iter().map(|lane| lane.condition == Condition::Up).collect::<Vec<_>>(),
        [false, true, true]
    );
}

#[test]
fn a_list_repairs_what_events_missed() {
    let mut bench = Bench::steady(&testing::policy());
    let asked = bench.now + SECOND;
    bench.now = asked;
    let actions =
        bench.feed(Input::Sas { asked, sas: vec![ike_with(1, vec![child("bulk.0", 2), child("bulk.1", 3)])] });
    assert_eq!(told(&actions), [Event::LaneDown(lane("voice", 0))]);
}

#[test]
fn a_list_that_has_neither_of_two_ike_sas_during_a_rekey_takes_no_lane() {
    let left = || IkeSa { state: IkeState::Leaving, ..ike_with(1, vec![]) };
    for listed in [vec![left()], vec![]] {
        let mut bench = Bench::steady(&testing::policy());
        bench.now += SECOND;
        assert_eq!(bench.feed(Input::Sas { asked: bench.now, sas: listed.clone() }), [Action::ListSas]);
        // One that was under way already says no more than the one before.
        let asked = bench.now - Duration::from_millis(1);
        assert_eq!(bench.feed(Input::Sas { asked, sas: listed }), [Action::ListSas]);
        let rekey = Notice::IkeRekeyed { old: 1, new: ike_with(2, vec![]) };
        assert_eq!(bench.feed(Input::Notice(rekey)), []);
        let after = IkeSa { id: 2, ..all_up() };
        bench.now += SECOND;
        assert_eq!(bench.feed(Input::Sas { asked: bench.now, sas: vec![after] }), []);
    }
}

#[test]
fn a_list_older_than_an_ike_rekey_takes_no_lane() {
    let mut bench = Bench::steady(&testing::policy());
    bench.now += SECOND;
    let asked = bench.now;
    bench.now += SECOND;
    assert_eq!(bench.feed(Input::Notice(Notice::IkeRekeyed { old: 1, new: ike_with(2, vec![]) })), []);
    assert_eq!(bench.feed(Input::Sas { asked, sas: vec![] }), []);
    assert_eq!(bench.feed(Input::Sas { asked, sas: vec![all_up()] }), []);
}

#[test]
fn what_two_lists_in_a_row_lack_is_gone() {
    let mut bench = Bench::steady(&testing::policy());
    bench.now += SECOND;
    assert_eq!(bench.feed(Input::Sas { asked: bench.now, sas: vec![] }), [Action::ListSas]);
    bench.now += SECOND;
    let events = told(&bench.feed(Input::Sas { asked: bench.now, sas: vec![] }));
    let lanes = [("voice", 0), ("bulk", 0), ("bulk", 1)].map(|(class, index)| Event::LaneDown(lane(class, index)));
    assert_eq!(events, [&[Event::TunnelDown("b7".to_owned())], &lanes[..]].concat());
}
