//! Whatever happens in whatever order, the machine keeps its promises.

use proptest::prelude::*;

use super::super::*;
use super::bench::*;
use crate::ike::testing;
use crate::lane::Condition;
use crate::policy::Start;

#[derive(Debug, Clone)]
enum Happening {
    Pass(u64),
    ChildUp(usize, u32),
    ChildDown(usize, u32),
    Rekey(usize, u32, u32),
    IkeUp(u32),
    IkeDown(u32),
    IkeRekey(u32, u32),
    List(Vec<(usize, u32)>),
    Initiated(bool),
    Loaded(bool),
    Lost,
    Connected(bool),
    Reload(bool),
    Lacking(bool),
    Acquired(usize),
}

fn happening() -> impl Strategy<Value = Happening> {
    let lane = 0usize..3;
    prop_oneof![
        (1u64..20_000).prop_map(Happening::Pass),
        (lane.clone(), 1u32..9).prop_map(|(lane, id)| Happening::ChildUp(lane, id)),
        (lane.clone(), 1u32..9).prop_map(|(lane, id)| Happening::ChildDown(lane, id)),
        (lane.clone(), 1u32..9, 1u32..9).prop_map(|(lane, old, new)| Happening::Rekey(lane, old, new)),
        (1u32..4).prop_map(Happening::IkeUp),
        (1u32..4).prop_map(Happening::IkeDown),
        (1u32..4, 1u32..4).prop_map(|(old, new)| Happening::IkeRekey(old, new)),
        prop::collection::vec((lane, 1u32..9), 0..5).prop_map(Happening::List),
        any::<bool>().prop_map(Happening::Initiated),
        any::<bool>().prop_map(Happening::Loaded),
        Just(Happening::Lost),
        any::<bool>().prop_map(Happening::Connected),
        any::<bool>().prop_map(Happening::Reload),
        any::<bool>().prop_map(Happening::Lacking),
        (0usize..3).prop_map(Happening::Acquired),
    ]
}

const NAMES: [&str; 3] = ["voice.0", "bulk.0", "bulk.1"];

proptest! {
    /// Whatever happens: lanes rise and fall in turn, one initiation at a time, no endless waking, no panic.
    #[test]
    fn keeps_its_promises(
        happenings in prop::collection::vec(happening(), 0..60),
        start in prop::sample::select(vec![Start::Start, Start::Trap, Start::None]),
    ) {
        let mut policy = testing::policy();
        testing::ike(&mut policy).start = start;
        let mut bench = Bench::new(&policy);
        let mut up = std::collections::BTreeMap::new();
        let (mut loading, mut initiating) = (None, None::<u64>);
        for happening in happenings {
            let result = |good| if good { Ok(()) } else { Err("bad".to_owned()) };
            let one = |lane: usize, id| vec![child(NAMES[lane], id)];
            let actions = match happening {
                Happening::Pass(millis) => bench.pass(Duration::from_millis(millis)),
                Happening::ChildUp(lane, id) => bench.feed(Input::Notice(Notice::ChildUp(ike_with(1, one(lane, id))))),
                Happening::ChildDown(lane, id) => {
                    bench.feed(Input::Notice(Notice::ChildDown(ike_with(1, one(lane, id)))))
                }
                Happening::Rekey(lane, old, new) => bench.feed(Input::Notice(Notice::ChildRekeyed {
                    ike: ike_with(1, vec![]), old, new: child(NAMES[lane], new),
                })),
                Happening::IkeUp(id) => bench.feed(Input::Notice(Notice::IkeUp(ike_with(id, vec![])))),
                Happening::IkeDown(id) => bench.feed(Input::Notice(Notice::IkeDown(ike_with(id, vec![])))),
                Happening::IkeRekey(old, new) => {
                    bench.feed(Input::Notice(Notice::IkeRekeyed { old, new: ike_with(new, vec![]) }))
                }
                Happening::List(children) => {
                    let children = children.into_iter().map(|(lane, id)| child(NAMES[lane], id)).collect();
                    bench.feed(Input::Sas { asked: bench.now, sas: vec![ike_with(1, children)] })
                }
                Happening::Initiated(good) => match initiating.take() {
                    Some(ticket) => {
                        bench.feed(Input::Initiated { tunnel: "b7".to_owned(), ticket, result: result(good) })
                    }
                    None => vec![],
                },
                Happening::Loaded(good) => match loading.take() {
                    Some(ticket) => bench.feed(Input::Loaded { tunnel: "b7".to_owned(), ticket, result: result(good) }),
                    None => vec![],
                },
                Happening::Lost => {
                    initiating = None;
                    bench.feed(Input::Unreachable { reason: "lost".to_owned() })
                }
                Happening::Connected(same) => {
                    let since = if same { "today" } else { "now" }.to_owned();
                    bench.feed(Input::Connected { version: "5.9.8".to_owned(), since })
                }
                Happening::Lacking(one) => {
                    let lack = if one { Lack::States } else { Lack::Policies };
                    let lanes = [(lane("voice", 0), lack)].into();
                    bench.feed(Input::Lacking(lanes))
                }
                Happening::Acquired(lane) => bench.feed(Input::Acquired(0x4c4b_0001 + lane as u32)),
                Happening::Reload(same) => {
                    let mut policy = policy.clone();
                    if !same {
                        policy.tunnels[0].replay_window = 64;
                        initiating = None;
                    }
                    bench.feed(Input::Load(load(&policy), Standing::Adopt))
                }
            };
            for action in actions {
                match action {
                    Action::Load { ticket, .. } => loading = Some(ticket),
                    Action::Initiate { ticket, .. } => {
                        prop_assert!(initiating.is_none(), "two initiations at once");
                        initiating = Some(ticket);
                    }
                    Action::Tell(Event::LaneUp(lane)) => {
                        let before = up.insert(lane.clone(), Condition::Up);
                        prop_assert!(before != Some(Condition::Up), "{lane} rises twice");
                    }
                    Action::Tell(Event::LaneOnDemand(lane)) => {
                        prop_assert_eq!(start, Start::Trap);
                        let before = up.insert(lane.clone(), Condition::OnDemand);
                        prop_assert!(before != Some(Condition::OnDemand), "{lane} waits twice");
                    }
                    Action::Tell(Event::LaneDown(lane)) => {
                        let before = up.insert(lane, Condition::Down);
                        prop_assert!(before.is_some_and(Condition::is_open), "falls without having been open");
                    }
                    _ => {}
                }
            }
        }
    }
}
