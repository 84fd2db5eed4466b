//! Every message of every error and warning of a config, read as the operator reads it.

mod messages;

use std::collections::BTreeSet;
use std::path::PathBuf;

use lanekeeper::config::value::Reason;
use lanekeeper::config::{Caution, Place, Problem};
use messages::{declared, variants};

fn place() -> Place {
    Place { file: "gw.toml".to_owned(), line: 3, column: 8 }
}

fn s(text: &str) -> String {
    text.to_owned()
}

fn problems() -> Vec<Problem> {
    let (object, key) = (s("tunnel \"b\""), "psk-file");
    let path = || PathBuf::from("/etc/b.psk");
    let other = || s("tunnel \"a\"");
    vec![
        Problem::Unreadable { reason: s("permission denied") },
        Problem::Include { path: s("rules.toml"), reason: s("no such file") },
        Problem::Pattern { pattern: s("a**"), reason: s("recursive wildcards must form a single path component") },
        Problem::NestedInclude { by: s("gw.toml") },
        Problem::Syntax { reason: s("unclosed array, expected `]`"), first: true },
        Problem::DuplicateKey { key: s("class") },
        Problem::DuplicateTable { name: s("default") },
        Problem::UnknownKey { object: s("rule 1"), key: s("clas"), cure: s("did you mean \"class\"?") },
        Problem::NotYet { object: s("tunnel \"b\""), key: s("adopt"), cure: "take the line out" },
        Problem::Value { object: s("rule 1"), key: "source", reason: Reason::Empty },
        Problem::SetTwice { object: s("[mark]"), first: place() },
        Problem::NameTaken { object: s("class \"voice\""), first: place() },
        Problem::Twice { object: object.clone(), key: "classes", value: s("voice") },
        Problem::UnknownName {
            object: object.clone(),
            what: "class",
            name: s("vioce"),
            cure: s("did you mean \"voice\"?"),
        },
        Problem::NoDefault,
        Problem::NotCarried {
            object: s("rule 1"),
            class: s("bulk"),
            whose: String::new(),
            tunnels: vec![s("\"a\""), s("\"b\"")],
        },
        Problem::NotCarried {
            object: s("rule 1"),
            class: s("bulk"),
            whose: s(" that is no tenant's own"),
            tunnels: vec![],
        },
        Problem::OnlyRules { key: "class" },
        Problem::NoRules,
        Problem::Unnamed { object: s("rule 1") },
        Problem::FallbackLoop { class: s("a"), chain: s("a -> b -> a") },
        Problem::MaskZero,
        Problem::MaskGaps { mask: 0x101 },
        Problem::OuterOfLanes { outer: 0x103, mask: 0xff },
        Problem::MaskSmall { mask: 0x300, room: 3, object: object.clone(), lanes: 4 },
        Problem::MaskClasses { mask: 0x300, room: 3, classes: 4, object: s("port \"lan0\"") },
        Problem::PortIsDevice { object: s("port \"lk-a\""), tunnel: other(), first: place() },
        Problem::TooMany {
            object: object.clone(),
            what: "lanes of all tunnels",
            got: 8200,
            limit: 8192,
            cure: "take fewer tunnels, classes or lanes",
        },
        Problem::FallbackLong { class: s("a"), object: object.clone(), length: 9, most: 8, chain: s("a -> b -> c") },
        Problem::IfIdTaken { object: object.clone(), if_id: 42, other: other(), first: place(), free: 43 },
        Problem::KeyTaken { object: object.clone(), key: 42, other: other(), first: place(), free: 43 },
        Problem::KeyIsMark { object: object.clone(), key: 2, by: s("port \"lan0\""), free: 3 },
        Problem::KeyTwice { object: s("tunnel \"b\": device") },
        Problem::OfOtherDevice { object: s("tunnel \"b\": device"), key: "if-id", kind: "vti", of: "xfrm" },
        Problem::NoDevice { object: s("tunnel \"b\": device"), key: "mtu" },
        Problem::NoDevice { object: object.clone(), key: "routes" },
        Problem::OfCharon { object: s("tunnel \"b\": device"), key: "mtu" },
        Problem::OfCharon { object: s("tunnel \"b\": device"), key: "addresses" },
        Problem::TunTakesAll { object: object.clone() },
        Problem::TunKeys { object: object.clone() },
        Problem::NoSelectors { object: object.clone(), key: "local-ts" },
        Problem::NoSelectors { object: object.clone(), key: "remote-ts" },
        Problem::SelectorsMeet { object: object.clone(), remote: s("10.2.0.0/16"), local: s("10.0.0.0/8") },
        Problem::SelectorsAroundEnds { object: object.clone() },
        Problem::BehindBoth {
            object: object.clone(),
            prefix: s("10.2.9.0/24"),
            other: other(),
            theirs: s("10.2.0.0/16"),
            first: place(),
        },
        Problem::NothingMarks { object: object.clone() },
        Problem::BareOwned { object: s("tenant \"acme\""), tunnel: s("b") },
        Problem::OneLane { object: object.clone(), device: "a VTI", what: s("class \"bulk\" has 2") },
        Problem::LanesOfGre { object: object.clone(), class: s("bulk"), lanes: 2 },
        Problem::NoKeys { object: object.clone(), classes: 2 },
        Problem::NumberedLong {
            object: object.clone(),
            name: s("lk-branch-twelv"),
            long: s("lk-branch-twelv-2"),
            most: 15,
        },
        Problem::FallbackOfGre { object: object.clone(), class: s("voice"), to: s("default") },
        Problem::NothingChooses { object: object.clone() },
        Problem::SeveralOwned { object: s("tenant \"acme\""), tunnel: s("b") },
        Problem::EndsTaken {
            object: object.clone(),
            what: "local and remote",
            why: "a VTI takes all ESP between them",
            other: other(),
            first: place(),
        },
        Problem::DeviceTaken { object: object.clone(), name: s("lk-a"), other: other(), first: place() },
        Problem::OuterDscpDiffers {
            object: object.clone(),
            lane: s("bulk.0"),
            mark: 1,
            other: other(),
            other_lane: s("voice.0"),
            first: place(),
        },
        Problem::LinkIsTunnel { object: object.clone(), name: s("lk-a"), of: other() },
        Problem::RouteTaken { object: object.clone(), route: s("10.2.0.0/16"), other: other(), first: place() },
        Problem::Families { object: object.clone(), local: s("192.0.2.1"), remote: s("2001:db8::1") },
        Problem::SameEnds { object: object.clone(), address: s("192.0.2.1") },
        Problem::NotEndpoint {
            object: object.clone(),
            key: "remote",
            address: s("224.0.0.5"),
            what: "a multicast address",
        },
        Problem::OfAdopted { object: object.clone(), key: "routes", word: "selectors" },
        Problem::MtuSmall { object: object.clone(), mtu: 1000, with: s("route 2001:db8::/48") },
        Problem::NoPorts { object: s("rule 1"), key: "source-port", protocol: s("icmp") },
        Problem::NotTcp { object: s("rule 1"), protocol: s("udp") },
        Problem::NotIcmp { object: s("rule 1"), found: s("protocol is udp") },
        Problem::NotOfHost { object: s("rule 1") },
        Problem::MarkOurs { object: s("rule 1"), mark: s("0x105/0xfff"), ours: 0xff, rest: Some(s("0x100/0xf00")) },
        Problem::MarkOurs { object: s("rule 1"), mark: s("0x5/0xf"), ours: 0xff, rest: None },
        Problem::TunnelOwned {
            object: s("tenant \"b\""),
            tunnel: s("branch-7"),
            other: s("tenant \"a\""),
            first: place(),
        },
        Problem::EmptyTenant { object: s("tenant \"acme\"") },
        Problem::Keying { object: object.clone(), found: s("both \"ike\" and \"static\"") },
        Problem::NotOurs { object: object.clone(), key: "replay-window" },
        Problem::EachOfOurs { object: s("tunnel \"b\": device") },
        Problem::OfNamespace { object: s("tunnel \"b\": device"), key: "%unique" },
        Problem::OfNamespace { object: object.clone(), key: "routes" },
        Problem::OfSeveral { object: s("tunnel \"b\": device"), key: "vrf" },
        Problem::JointUnrouted { object: object.clone() },
        Problem::JointLearnt { object: object.clone() },
        Problem::OfJoint { object: s("tunnel \"b\": device"), key: "%unique", external: false },
        Problem::OfJoint { object: s("tunnel \"b\": device"), key: "namespace", external: false },
        Problem::OfJoint { object: s("tunnel \"b\": device"), key: "link", external: true },
        Problem::JointDiffers { object: object.clone(), key: "mtu", name: s("lk-all"), other: other(), first: place() },
        Problem::JointSelectors { object: object.clone() },
        Problem::JointMeet {
            object: object.clone(),
            prefix: s("10.2.0.0/24"),
            other: other(),
            theirs: s("10.2.0.0/16"),
            first: place(),
        },
        Problem::JointTables {
            object: object.clone(),
            prefix: s("10.2.0.0/24"),
            other: other(),
            theirs: s("10.2.0.0/16"),
            first: place(),
        },
        Problem::JointOwned { object: s("tenant \"t\""), tunnel: s("tunnel \"b\"") },
        Problem::SecondExternal { object: object.clone(), other: other(), first: place() },
        Problem::EachOfGre { object: s("tunnel \"b\": device") },
        Problem::EachName { object: s("tunnel \"b\": device"), name: s("lk-rw"), each: true },
        Problem::EachName { object: s("tunnel \"b\": device"), name: s("lk-rw%d"), each: false },
        Problem::EachOwned { object: s("tenant \"a\""), tunnel: object.clone() },
        Problem::AnyPeer { object: object.clone() },
        Problem::Connections { object: object.clone(), name: s("branch-*") },
        Problem::AdoptDevice { object: object.clone() },
        Problem::NoChildren { object: object.clone(), class: s("voice") },
        Problem::ChildrenOfOther { object: s("tunnel \"b\": adopt: children 1"), class: s("bulk") },
        Problem::Auth { object: object.clone(), found: "neither a pre-shared key nor a certificate" },
        Problem::LaneIdentity { object: object.clone(), key: "local-id", id: s("C=CH, CN=moon") },
        Problem::IdleNever { object: object.clone() },
        Problem::KeyFileOpen { object: object.clone(), key, path: path(), mode: 0o644, access: "readable" },
        Problem::FileMissing { object: object.clone(), key, path: path() },
        Problem::FileKind { object: object.clone(), key, path: path(), kind: "a directory" },
        Problem::FileHidden { object, key, path: path() },
    ]
}

fn cautions() -> Vec<Caution> {
    let (object, key) = (s("tunnel \"b\""), "psk-file");
    let path = || PathBuf::from("/etc/b.psk");
    vec![
        Caution::ClientsRouted { object: object.clone(), clients: s("tunnel \"rw\""), route: s("0.0.0.0/0") },
        Caution::Neighbour { mask: 0xff00, bits: 0xf00, neighbour: "Cilium" },
        Caution::RuleFamilies { object: s("rule 1"), source_family: "IPv4", destination_family: "IPv6" },
        Caution::RuleShadowed { object: s("rule 2"), before: s("rule 1") },
        Caution::RuleCovered { object: s("rule \"b\""), before: vec![s("rule \"a\" (gw.toml:3:8)")] },
        Caution::SocketUnseen { object: s("rule \"b\""), fields: s("dscp, length") },
        Caution::SocketOpen { object: s("rule \"b\""), before: s("tenant \"a\"") },
        Caution::SocketRoom { object: s("rule \"b\""), most: 32 },
        Caution::TenantShadowed { object: s("tenant \"b\""), what: s("interface lan0"), before: s("tenant \"a\"") },
        Caution::OuterOfTun { object: object.clone(), class: s("voice") },
        Caution::ClassBlocked { object: object.clone(), class: s("bulk") },
        Caution::RouteOutside { object: object.clone(), route: s("10.3.0.0/16") },
        Caution::MetricsOpen { address: "192.0.2.1:9738".parse().unwrap() },
        Caution::MetricsClear { address: "192.0.2.1:9738".parse().unwrap() },
        Caution::FileMissing { object: object.clone(), key, path: path() },
        Caution::FileHidden { object, key, path: path() },
    ]
}

fn reasons() -> Vec<Reason> {
    vec![
        Reason::Type { wanted: "a path", found: "a number", example: s("\"x.psk\"") },
        Reason::Missing { example: s("name = \"voice\"") },
        Reason::EmptyList { cure: "leave the key out to match every value" },
        Reason::Range { value: 33, least: 1, most: 32 },
        Reason::Empty,
        Reason::Unknown { value: s("upd"), cure: s("did you mean \"udp\"?") },
        Reason::NotYet { value: s("gre"), cure: "take type = \"xfrm\"" },
        Reason::Characters {
            value: s("a b"),
            found: s("a space"),
            what: "names have letters",
            nearest: Some(s("a-b")),
        },
        Reason::Long { value: s("lk-branch-number7"), length: 17, most: 15 },
        Reason::Reserved { value: s("block"), why: "fallback has a meaning for it" },
        Reason::OffloadWhole { value: s("packet") },
        Reason::NotAddress { value: s("sun"), cure: s("write it like \"192.0.2.1\"") },
        Reason::NotPrefix { value: s("10.1.0.0/33"), cure: s("the length of an IPv4 prefix goes from 0 to 32") },
        Reason::HostBits { value: s("10.1.0.5/16"), network: s("10.1.0.0/16"), host: s("10.1.0.5/32") },
        Reason::Mapped { value: s("::ffff:192.0.2.1"), plain: s("192.0.2.1") },
        Reason::NotSocket { value: s("localhost:9738") },
        Reason::NotPorts { value: s("sip") },
        Reason::PortAbove { value: 70000 },
        Reason::NotLengths { value: s("short") },
        Reason::RangeEmpty { what: "port", first: 9, last: 5 },
        Reason::NotMark { value: s("green") },
        Reason::OutsideMask {
            value: s("fin,syn/syn"),
            outside: s("fin"),
            less: s("syn/syn"),
            more: s("fin,syn/fin,syn"),
        },
        Reason::MaskEmpty { value: s("none"), cure: "say which flags to look at" },
        Reason::DscpAbove { value: 184 },
        Reason::NotDuration { value: s("1 hour") },
        Reason::NotMemory { value: s("256 MB") },
        Reason::Consent,
        Reason::NotCgroup { value: s("backup.service"), cure: s("did you mean \"/backup.service\"?") },
        Reason::Uri { value: s("unix:///run/x"), path: s("/run/x") },
    ]
}

#[test]
fn no_variant_is_left_out_here() {
    assert_eq!(variants(&problems()), declared(include_str!("../src/config/problem.rs"), "Problem"));
    assert_eq!(variants(&cautions()), declared(include_str!("../src/config/caution.rs"), "Caution"));
    assert_eq!(variants(&reasons()), declared(include_str!("../src/config/value.rs"), "Reason"));
}

/// Each message with its cure.
fn all() -> Vec<(String, Option<String>)> {
    let reason = |reason| Problem::Value { object: s("tunnel \"b\""), key: "key", reason };
    let problems = problems().into_iter().chain(reasons().into_iter().map(reason));
    let problems = problems.map(|problem| (problem.to_string(), problem.cure()));
    problems.chain(cautions().iter().map(|caution| (caution.to_string(), caution.cure()))).collect()
}

#[test]
fn every_message_reads_as_it_should() {
    let shown: Vec<String> = all()
        .into_iter()
        .map(|(message, cure)| match cure {
            Some(cure) => format!("{message}\n    {cure}\n"),
            None => format!("{message}\n"),
        })
        .collect();
    let shown = shown.concat();
    println!("{shown}");
    assert_eq!(
        shown,
        include_str!("config_messages.txt"),
        "if the new text is better, put it into config_messages.txt"
    );
}

#[test]
fn messages_begin_in_lower_case_and_end_without_a_period() {
    for (message, cure) in all() {
        for text in [Some(message), cure].into_iter().flatten() {
            // A name, an acronym, a mask or a key may begin it.
            let first = text.split_whitespace().next().unwrap_or_default();
            let lower =
                !first.starts_with(|c: char| c.is_ascii_uppercase()) || first.chars().all(|c| !c.is_lowercase());
            assert!(lower, "{text}");
            assert!(!text.ends_with('.') || text.ends_with("..."), "{text}");
            assert!(!text.contains('\n'), "{text}");
        }
    }
}

#[test]
fn no_two_variants_have_one_message() {
    let messages: Vec<String> = all().into_iter().map(|(message, _)| message).collect();
    // A key file's absence has the same words as an error and as a warning, but for the machine.
    assert_eq!(messages.iter().collect::<BTreeSet<_>>().len(), messages.len(), "{messages:#?}");
}
