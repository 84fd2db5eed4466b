//! Every message of `lanekeeper import`, read as the operator reads it.

mod messages;

use std::collections::BTreeSet;

use lanekeeper::import::{Effect, Error, LeftOut, Reason};
use messages::{declared, variants};

fn s(text: &str) -> String {
    text.to_owned()
}

fn reasons() -> Vec<Reason> {
    vec![
        Reason::Memory { what: s("ct state") },
        Reason::Field { what: s("meta skuid") },
        Reason::Unknown { what: s("--frob") },
        Reason::Value { what: s("--dport"), value: s("http") },
        Reason::Pattern { value: s("eth+") },
        Reason::Fragments,
        Reason::IcmpCode,
        Reason::Ecn,
        Reason::Ports { protocol: s("dccp") },
        Reason::NextHeader,
        Reason::NoSet { name: s("voip") },
        Reason::Lively { name: s("seen") },
        Reason::NoChain { name: s("ip mangle voice") },
        Reason::ForeignMark,
        Reason::MarkFrom { what: s("{\"ct\":{\"key\":\"mark\"}}") },
        Reason::Rewrites { what: s("-j DSCP") },
        Reason::OtherWay { hook: s("output"), cure: Some("for the host's own packets there is `--traffic host`") },
        Reason::Nat,
        Reason::SamePlace { other: s("ip mangle prerouting") },
        Reason::Compat { what: s("match tcp") },
        Reason::Flags { flags: s("0x0200/0x0200") },
    ]
}

fn effects() -> Vec<Effect> {
    vec![
        Effect::Unmarked,
        Effect::Unmatched,
        Effect::Unstopped,
        Effect::Unvisited { chain: s("ip mangle voice") },
        Effect::Changed,
        Effect::Chain { rules: 4 },
    ]
}

fn errors() -> Vec<Error> {
    let file = || s("rules.v4");
    vec![
        Error::Line { file: file(), line: 7, found: s("\"frob\" is no rule"), wanted: "a dump has lines *TABLE" },
        Error::Json { file: file(), reason: s("expected value at line 1 column 1") },
        Error::Shape { file: file(), place: s("object 3"), wanted: "chain" },
        Error::Nothing { file: file(), what: "table", cure: "give it what `iptables-save` writes" },
        Error::Long { place: s("rules.v4:9"), most: 200_000 },
        Error::Deep { place: s("rules.v4:9"), chain: s("ip mangle voice"), most: 16 },
        Error::Again { place: s("rules.v4:9"), chain: s("ip mangle voice"), most: 100_000_000 },
    ]
}

#[test]
fn no_variant_is_left_out_here() {
    let left_out = include_str!("../src/import/left_out.rs");
    assert_eq!(variants(&reasons()), declared(left_out, "Reason"));
    assert_eq!(variants(&effects()), declared(left_out, "Effect"));
    assert_eq!(variants(&errors()), declared(include_str!("../src/import.rs"), "Error"));
}

#[test]
fn every_message_reads_as_it_should() {
    let lost = LeftOut {
        place: s("rules.v4:9"),
        rule: s("-A PREROUTING -m state --state NEW -j MARK --set-mark 1"),
        reason: Reason::Memory { what: s("-m state") },
        effect: Effect::Unmarked,
    };
    let reasons = reasons().into_iter().map(|reason| reason.to_string());
    let effects = effects().into_iter().map(|effect| effect.to_string());
    let errors = errors().into_iter().map(|error| error.to_string());
    let all: Vec<String> = reasons.chain(effects).chain(errors).chain([lost.to_string()]).collect();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "no two have one message");
    for message in &all {
        assert!(!message.ends_with('.') && !message.starts_with(|c: char| c.is_ascii_uppercase()), "{message}");
    }
    let shown = all.join("\n") + "\n";
    println!("{shown}");
    let expected = include_str!("import_messages.txt");
    assert_eq!(shown, expected, "if the new text is better, put it into import_messages.txt");
}
