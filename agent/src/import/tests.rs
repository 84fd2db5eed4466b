//! Chains and what they come to, by a naive walk over the chains themselves.

use std::rc::Rc;

use proptest::prelude::*;

use super::condition::{Condition, MarkTest};
use super::decision::{Resolved, Rewrite};
use super::program::{Act, Base, Chain, Line, Program, Step, Verdict};
use super::{Origin, Traffic};

/// All that these packets have.
#[derive(Debug, Clone, Copy)]
struct Packet {
    dscp: u8,
    protocol: u8,
    length: u16,
}

fn packets() -> impl Iterator<Item = Packet> {
    let of = |protocol, length| (0..3).map(move |dscp| Packet { dscp, protocol, length });
    (0..3).flat_map(move |protocol| (0..3).flat_map(move |length| of(protocol, length)))
}

fn like(condition: &Condition, packet: Packet, mark: u32) -> bool {
    (condition.dscp.is_empty() || condition.dscp.contains(&packet.dscp))
        && (condition.protocol.is_empty() || condition.protocol.contains(&packet.protocol))
        && (condition.length.is_empty()
            || condition.length.iter().any(|(low, high)| (*low..=*high).contains(&packet.length)))
        && condition.marks.iter().all(|test| (mark & test.mask == test.value) == test.equal)
}

/// Where a chain's walk ends.
#[derive(PartialEq)]
enum Way {
    Back,
    Accepted,
    Dropped,
}

/// The packet's way through a chain, as the kernel goes it.
fn walk(program: &Program, chain: &str, packet: Packet, mark: &mut u32) -> Way {
    'lines: for line in &program.chains[chain].lines {
        for step in &line.steps {
            let verdict = match step {
                Step::If { any, holds } => {
                    if any.iter().any(|condition| like(condition, packet, *mark)) != *holds {
                        continue 'lines;
                    }
                    continue;
                }
                Step::Mark(rewrite) => {
                    *mark = *mark & rewrite.keep ^ rewrite.flip;
                    continue;
                }
                Step::Choose(arms) => match arms.iter().find(|(when, _)| like(when, packet, *mark)) {
                    None => continue 'lines,
                    Some((_, Act::Mark(rewrite))) => {
                        *mark = *mark & rewrite.keep ^ rewrite.flip;
                        continue;
                    }
                    Some((_, Act::End(verdict))) => verdict,
                },
                Step::End(verdict) => verdict,
            };
            match verdict {
                Verdict::Accept => return Way::Accepted,
                Verdict::Drop => return Way::Dropped,
                Verdict::Return => return Way::Back,
                Verdict::Continue => continue 'lines,
                Verdict::Jump(chain) => match walk(program, chain, packet, mark) {
                    Way::Back => continue 'lines,
                    way => return way,
                },
                Verdict::Goto(chain) => return walk(program, chain, packet, mark),
            }
        }
    }
    Way::Back
}

/// Both base chains; `None` of a packet that is dropped.
fn walked(program: &Program, packet: Packet) -> Option<u32> {
    let mut mark = 0;
    for base in ["early", "late"] {
        if walk(program, base, packet, &mut mark) == Way::Dropped {
            return None;
        }
    }
    Some(mark)
}

fn decided(resolved: &Resolved, packet: Packet) -> u32 {
    resolved.rulings.iter().find(|ruling| like(&ruling.when, packet, 0)).map_or(0, |ruling| ruling.mark)
}

fn condition() -> impl Strategy<Value = Condition> {
    let test = (0u32..4, prop_oneof![Just(3u32), Just(1), Just(u32::MAX)], any::<bool>());
    let test = test.prop_map(|(value, mask, equal)| MarkTest { value, mask, equal });
    let some = |values: std::ops::Range<u8>| prop::collection::vec(values, 0..2);
    (some(0..3), some(0..3), prop::collection::vec((0u16..3, 0u16..3), 0..2), prop::collection::vec(test, 0..2))
        .prop_map(|(dscp, protocol, length, marks)| Condition {
            dscp,
            protocol,
            length: length.into_iter().map(|(a, b)| (a.min(b), a.max(b))).collect(),
            marks,
            ..Condition::default()
        })
}

fn rewrite() -> impl Strategy<Value = Rewrite> {
    prop_oneof![
        3 => (0u32..4).prop_map(Rewrite::set),
        1 => (0u32..4, 0u32..4).prop_map(|(keep, flip)| Rewrite { keep: !3 | keep, flip }),
    ]
}

/// Chains lead to later ones only, as in every tree that the kernel takes.
fn verdict(chain: usize) -> impl Strategy<Value = Verdict> {
    let plain =
        prop_oneof![Just(Verdict::Accept), Just(Verdict::Return), Just(Verdict::Continue), Just(Verdict::Drop),];
    (plain, chain + 1..4usize, 0..3u8).prop_map(move |(plain, to, kind)| match kind {
        1 if to < 3 => Verdict::Jump(format!("user{to}")),
        2 if to < 3 => Verdict::Goto(format!("user{to}")),
        _ => plain,
    })
}

fn step(chain: usize) -> impl Strategy<Value = Step> {
    let act = prop_oneof![rewrite().prop_map(Act::Mark), verdict(chain).prop_map(Act::End)];
    prop_oneof![
        4 => (prop::collection::vec(condition(), 0..3), prop_oneof![3 => Just(true), 1 => Just(false)])
            .prop_map(|(any, holds)| Step::If { any, holds }),
        3 => rewrite().prop_map(Step::Mark),
        1 => prop::collection::vec((condition(), act), 0..3).prop_map(Step::Choose),
        1 => verdict(chain).prop_map(Step::End),
    ]
}

fn lines(chain: usize) -> impl Strategy<Value = Vec<Line>> {
    let line = prop::collection::vec(step(chain), 1..4).prop_map(|steps| Line {
        origin: Rc::new(Origin::default()),
        steps,
        missing: None,
        rewrites: None,
    });
    prop::collection::vec(line, 0..5)
}

/// Two base chains, then two that only jumps lead to.
fn program() -> impl Strategy<Value = Program> {
    (lines(0), lines(0), lines(1), lines(2)).prop_map(|(early, late, first, second)| {
        let base = |hook: &str| {
            Some(Base { hook: hook.into(), priority: 0, family: "ip".into(), is_nat: false, place: String::new() })
        };
        let chains = [
            ("early", base("prerouting"), early),
            ("late", base("postrouting"), late),
            ("user1", None, first),
            ("user2", None, second),
        ];
        let chains = chains.map(|(name, base, lines)| (name.to_owned(), Chain { base, lines }));
        Program { chains: chains.into() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn the_list_says_what_a_walk_through_the_chains_says(program in program()) {
        let resolved = program.decide(Traffic::Forwarded, &mut Vec::new()).unwrap();
        for packet in packets() {
            if let Some(mark) = walked(&program, packet) {
                prop_assert_eq!(decided(&resolved, packet), mark, "{:?} of {:#?}\n{:#?}", packet, program, resolved);
            }
        }
    }
}

/// `--mark 3/1`, which no mark is like, beside a test that could make it one that some mark is like.
#[test]
fn a_mark_beside_its_mask_is_never_met() {
    let marks = |value, mask, equal| Condition { marks: vec![MarkTest { value, mask, equal }], ..Condition::default() };
    assert_eq!(marks(3, 1, true).and(&marks(1, u32::MAX, true)), None);
    assert_eq!(marks(3, 1, false).and(&marks(1, u32::MAX, true)), Some(marks(1, u32::MAX, true)));
}

/// Rules that ask for one length each and set one mark each.
fn marking(rules: u16, end: Option<Verdict>) -> Program {
    let line = |number: u16| {
        let when = Condition { length: vec![(number, number)], ..Condition::default() };
        let mut steps =
            vec![Step::If { any: vec![when], holds: true }, Step::Mark(Rewrite::set(u32::from(number) + 1))];
        steps.extend(end.clone().map(Step::End));
        Line { origin: Rc::new(Origin::default()), steps, missing: None, rewrites: None }
    };
    let base =
        Base { hook: "prerouting".into(), priority: 0, family: "ip".into(), is_nat: false, place: String::new() };
    let chain = Chain { base: Some(base), lines: (0..rules).map(line).collect() };
    Program { chains: [("early".to_owned(), chain)].into() }
}

#[test]
fn rules_that_go_on_are_reversed_and_rules_that_end_are_not() {
    let marks = |end| {
        let resolved = marking(20_000, end).decide(Traffic::Forwarded, &mut Vec::new()).unwrap();
        resolved.rulings.iter().map(|ruling| ruling.mark).collect::<Vec<_>>()
    };
    assert!(marks(None).into_iter().eq((0..=20_000).rev()));
    assert!(marks(Some(Verdict::Accept)).into_iter().eq((1..=20_000).chain([0])));
}

#[test]
fn bits_that_combine_without_end_are_an_error_that_names_the_rule() {
    let mut program = marking(32, None);
    for (bit, line) in program.chains.get_mut("early").unwrap().lines.iter_mut().enumerate() {
        let when = Condition { interface: vec![format!("lan{bit}")], ..Condition::default() };
        let free = Condition { dscp: vec![bit as u8], ..Condition::default() };
        line.steps = vec![
            Step::If {
                any: vec![
                    if bit < 2 { when } else { free },
                    Condition { length: vec![(bit as u16, 99)], ..Condition::default() },
                ],
                holds: true,
            },
            Step::Mark(Rewrite { keep: !(1 << bit), flip: 1 << bit }),
        ];
        line.origin = Rc::new(Origin { place: format!("f:{bit}"), ..Origin::default() });
    }
    let error = program.decide(Traffic::Forwarded, &mut Vec::new()).unwrap_err();
    assert!(
        error.to_string().contains("from here on the combinations of marks take more than 200000 rules"),
        "{error}"
    );
}

/// Chains of two rules each that jump to the next one, if need be in a circle.
fn jumping(chains: usize, next: impl Fn(usize) -> usize) -> Program {
    let mut program = marking(1, None);
    let name = |chain: usize| if chain == 0 { "early".to_owned() } else { format!("user{chain}") };
    for chain in 0..chains {
        let line = |number: usize| Line {
            origin: Rc::new(Origin { place: format!("f:{chain}.{number}"), ..Origin::default() }),
            steps: vec![
                Step::If { any: vec![Condition { dscp: vec![number as u8], ..Condition::default() }], holds: true },
                Step::End(Verdict::Jump(name(next(chain)))),
            ],
            missing: None,
            rewrites: None,
        };
        program.chains.entry(name(chain)).or_default().lines.extend((0..4).map(line));
    }
    program
}

#[test]
fn jumps_without_end_are_an_error_that_names_the_chain() {
    let error = |program: Program| program.decide(Traffic::Forwarded, &mut Vec::new()).unwrap_err().to_string();
    // Four jumps at each of fifteen levels: a billion.
    let said = error(jumping(15, |chain| chain + 1));
    assert!(
        said.starts_with("f:")
            && said.contains(
                "is one too many: each jump puts the rules behind it in order anew, with this one more than 100000000"
            ),
        "{said}"
    );
    let said = error(jumping(2, |chain| (chain + 1) % 2));
    assert!(said.contains("is reached by more than 16 jumps"), "{said}");
    // Five thousand are followed.
    let followed = jumping(7, |chain| chain + 1).decide(Traffic::Forwarded, &mut Vec::new()).unwrap();
    assert_eq!(followed.rulings[0].mark, 1);
}
