//! Lanes that have connections of their own.

use zeroize::Zeroizing;

use super::super::*;
use super::bench::*;
use crate::ike::testing;
use crate::ike::{Connection, Credentials};
use crate::policy::{Distinct, Policy, TunnelIndex};

const SECOND: Duration = Duration::from_secs(1);
const VOICE: &str = "b7:voice.0";
const BULK: &str = "b7:bulk.0";

fn by_identity() -> Policy {
    let mut policy = testing::policy();
    testing::ike(&mut policy).distinct = Distinct::Identity;
    policy
}

/// Has it keep the connections of all lanes; charon takes each, and has these SAs.
fn load_each(bench: &mut Bench, sas: Vec<IkeSa>) -> Vec<Action> {
    let mut actions = Vec::new();
    for connection in Connection::all(&by_identity(), TunnelIndex(0)) {
        let credentials = Credentials::Psk(Zeroizing::new(b"secret".to_vec()));
        for action in bench.feed(Input::Load(Arc::new(Load { connection, credentials }), Standing::Adopt)) {
            match action {
                Action::Load { tunnel, ticket, .. } => {
                    actions.extend(bench.feed(Input::Loaded { tunnel, ticket, result: Ok(()) }));
                }
                other => actions.push(other),
            }
        }
    }
    assert!(actions.contains(&Action::ListSas), "{actions:?}");
    actions.extend(bench.feed(Input::Sas { asked: bench.now, sas }));
    actions
}

fn ike_of(key: &str, id: u32, lane: &str) -> IkeSa {
    IkeSa { connection: format!("lk-{key}"), ..ike_with(id, vec![child(lane, id + 100)]) }
}

fn initiations(actions: &[Action]) -> BTreeMap<String, (String, u64)> {
    let of = |action: &Action| match action {
        Action::Initiate { tunnel, child, ticket, .. } => Some((tunnel.clone(), (child.clone(), *ticket))),
        _ => None,
    };
    actions.iter().filter_map(of).collect()
}

/// Connected to a charon that has nothing, with nothing wanted but these lanes.
fn alone() -> (Bench, Vec<Action>) {
    let mut bench = Bench { machine: Machine::new(1), now: Duration::ZERO };
    bench.feed(Input::Tick);
    bench.feed(Input::Connected { version: "5.9.8".to_owned(), since: "today".to_owned() });
    bench.feed(Input::Sas { asked: bench.now, sas: vec![] });
    let actions = load_each(&mut bench, vec![]);
    (bench, actions)
}

#[test]
fn each_lane_is_initiated_at_its_own_connection_and_one_that_fails_stops_no_other() {
    let (mut bench, mut actions) = alone();
    actions.extend(bench.pass(5 * SECOND));
    let tried = initiations(&actions);
    let children: Vec<&str> = tried.values().map(|(child, _)| child.as_str()).collect();
    assert_eq!(children, ["bulk.0", "bulk.1", "voice.0"], "{actions:?}");

    let (_, ticket) = tried[BULK];
    bench.feed(Input::Initiated { tunnel: BULK.to_owned(), ticket, result: Err("no proposal".to_owned()) });
    let up = bench.feed(Input::Notice(Notice::ChildUp(ike_of(VOICE, 1, "voice.0"))));
    assert_eq!(told(&up), [Event::TunnelUp(VOICE.to_owned()), Event::LaneUp(lane("voice", 0))]);
    let again = initiations(&bench.pass(60 * SECOND));
    assert_eq!(
        again.keys().collect::<Vec<_>>(),
        [BULK],
        "the one that failed is tried again, voice is up, bulk.1 under way"
    );
}

#[test]
fn a_lane_that_has_come_up_at_its_own_connection_does_not_fall_with_the_one_before() {
    let mut bench = Bench::steady(&testing::policy());
    load_each(&mut bench, vec![all_up()]);
    let up = bench.feed(Input::Notice(Notice::ChildUp(ike_of(VOICE, 7, "voice.0"))));
    assert_eq!(told(&up).last(), Some(&Event::LaneUp(lane("voice", 0))));
    let down = told(&bench.feed(Input::Unload("b7".to_owned())));
    let [bulk, others @ ..] = [lane("bulk", 0), lane("bulk", 1)].map(Event::LaneDown);
    assert_eq!(down, [bulk, others[0].clone(), Event::TunnelDown("b7".to_owned())]);
}

#[test]
fn what_a_lanes_own_connection_loses_is_its_lane_alone() {
    let (mut bench, _) = alone();
    for (key, id, name) in [(VOICE, 1, "voice.0"), (BULK, 2, "bulk.0"), ("b7:bulk.1", 3, "bulk.1")] {
        bench.feed(Input::Notice(Notice::ChildUp(ike_of(key, id, name))));
    }
    bench.pass(20 * SECOND);
    let down = bench.feed(Input::Notice(Notice::ChildDown(ike_of(BULK, 2, "bulk.0"))));
    assert_eq!(told(&down), [Event::LaneDown(lane("bulk", 0))]);
}
