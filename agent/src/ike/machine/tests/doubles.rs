//! Two CHILD_SAs of one lane.

use super::bench::*;
use super::*;

#[test]
fn doubles_leave_the_lane_up_and_the_older_is_closed_after_a_while() {
    let mut bench = Bench::steady(&testing::policy());
    assert_eq!(bench.up("voice.0", 7), []);
    assert_eq!(bench.pass(4 * SECOND), []);
    assert_eq!(bench.pass(2 * SECOND), [Action::ListSas]);
    assert_eq!(bench.pass(2 * SECOND), []);
    let listed = ike_with(1, vec![child("voice.0", 1), child("voice.0", 7), child("bulk.0", 2), child("bulk.1", 3)]);
    let actions = bench.feed(Input::Sas { asked: bench.now, sas: vec![listed] });
    assert_eq!(actions, [Action::CloseChild(1)]);
    assert_eq!(bench.down("voice.0", 1), []);
    assert_eq!(bench.machine.status()[0].lanes[0].spis, Some((7, 1007)));
}

/// Both ends began at once: the answer to this end's request comes after the other's, whose number is greater.
#[test]
fn of_doubles_the_one_that_was_there_last_is_kept_whatever_its_number() {
    let mut bench =
        Bench::synced(&testing::policy(), vec![ike_with(1, vec![child("bulk.0", 2), child("bulk.1", 3)])]).0;
    bench.up("voice.0", 9);
    bench.pass(SECOND / 10);
    bench.up("voice.0", 8);
    assert_eq!(bench.machine.status()[0].lanes[0].spis, Some((8, 1008)));
    assert_eq!(bench.pass(6 * SECOND), [Action::ListSas]);
    let both = [child("voice.0", 9), child("voice.0", 8), child("bulk.0", 2), child("bulk.1", 3)];
    let listed = Input::Sas { asked: bench.now, sas: vec![ike_with(1, both.to_vec())] };
    assert_eq!(bench.feed(listed), [Action::CloseChild(9)]);

    // An agent that finds both knows when each ends.
    let ending = |mut child: crate::ike::sas::ChildSa, life: u32| {
        child.life = Some(life);
        child
    };
    let found = vec![ike_with(1, vec![ending(child("voice.0", 9), 90), ending(child("voice.0", 8), 91)])];
    let (bench, _) = Bench::synced(&testing::policy(), found);
    assert_eq!(bench.machine.status()[0].lanes[0].spis, Some((8, 1008)));
}

#[test]
fn doubles_that_follow_each_other_have_each_their_own_time() {
    let mut bench = Bench::steady(&testing::policy());
    assert_eq!(bench.up("voice.0", 7), []);
    assert_eq!(bench.pass(4 * SECOND), []);
    let rekey = Notice::ChildRekeyed { ike: ike_with(1, vec![]), old: 7, new: child("voice.0", 8) };
    assert_eq!(told(&bench.feed(Input::Notice(rekey))), [Event::Rekeyed(lane("voice", 0))]);
    assert_eq!(bench.pass(4 * SECOND), []);
    assert_eq!(bench.pass(SECOND), [Action::ListSas]);
}

/// charon 5.9.8 tells of both new CHILD_SAs, and says nothing when the one that has lost goes.
#[test]
fn of_rekeys_that_collide_the_one_that_charon_keeps_is_kept() {
    let mut bench = Bench::steady(&testing::policy());
    for new in [8, 7] {
        let rekey = Notice::ChildRekeyed { ike: ike_with(1, vec![]), old: 1, new: child("voice.0", new) };
        assert_eq!(told(&bench.feed(Input::Notice(rekey))), [Event::Rekeyed(lane("voice", 0))]);
    }
    assert_eq!(bench.pass(6 * SECOND), [Action::ListSas]);
    let listed = ike_with(1, vec![child("voice.0", 7), child("bulk.0", 2), child("bulk.1", 3)]);
    assert_eq!(bench.feed(Input::Sas { asked: bench.now, sas: vec![listed] }), []);
    assert_eq!(bench.pass(20 * SECOND), []);
    assert_eq!(bench.machine.status()[0].lanes[0].spis, Some((7, 1007)));
}
