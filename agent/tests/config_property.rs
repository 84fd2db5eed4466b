//! Whatever a file says, the answer is a policy or a list of errors, never a panic.

use std::collections::HashSet;

use lanekeeper::config::{self, Facts, Source};
use lanekeeper::policy::{DeviceKind, Keying, Policy};
use proptest::prelude::*;

const SAMPLE: &str = include_str!("../../config.sample.toml");

/// Judges the text, and checks what holds of every answer.
fn judge(text: &str) {
    match config::parse(&[Source::new("gw.toml", text)], &Facts::default()) {
        Ok(loaded) => sound(&loaded.policy),
        Err(errors) => {
            assert!(!errors.0.is_empty(), "an error without errors");
            let lines = text.split('\n').count();
            for finding in &errors.0 {
                assert!((1..=lines).contains(&finding.place.line), "{finding:?} is on none of {lines} lines");
                assert!(finding.place.column >= 1, "{finding:?}");
            }
        }
    }
}

/// What everybody behind the config relies on.
fn sound(policy: &Policy) {
    let shift = policy.mark_mask.trailing_zeros();
    assert!(policy.mark_mask != 0 && policy.default_class.0 < policy.classes.len());
    for tunnel in &policy.tunnels {
        let lanes: usize = tunnel.classes.iter().map(|class| usize::from(policy.classes[class.0].lanes)).sum();
        assert_eq!(tunnel.lanes.len(), lanes);
        if let Keying::Adopted(_) = tunnel.keying {
            // Marks and request ids are charon's, and not known yet.
            assert!(tunnel.lanes.iter().all(|lane| (lane.mark, lane.reqid) == (0, 0)));
            continue;
        }
        for (position, lane) in tunnel.lanes.iter().enumerate() {
            let of_class = tunnel.device.kind == DeviceKind::Bare;
            match (of_class, lane.index) {
                (false, _) => assert_eq!(lane.mark, (position as u32 + 1) << shift),
                (true, 0) => assert_eq!(lane.mark, (lane.class.0 as u32 + 1) << shift),
                (true, _) => assert!(lane.mark >> shift > policy.classes.len() as u32),
            }
            assert_eq!(lane.mark & !policy.mark_mask, 0);
        }
        let marks: HashSet<u32> = tunnel.lanes.iter().map(|lane| lane.mark).collect();
        assert_eq!(marks.len(), lanes);
    }
    let ours = policy.tunnels.iter().filter(|tunnel| !matches!(tunnel.keying, Keying::Adopted(_)));
    let mut reqids: Vec<u32> = ours.flat_map(|tunnel| &tunnel.lanes).map(|lane| lane.reqid).collect();
    let count = reqids.len();
    reqids.sort_unstable();
    reqids.dedup();
    assert_eq!(reqids.len(), count);
    let owned: usize = policy.tenants.iter().map(|tenant| tenant.tunnels.len()).sum();
    assert_eq!(policy.owners().len(), owned);
    assert!(policy.owners().keys().all(|tunnel| tunnel.0 < policy.tunnels.len()));
    assert!(policy.tenants.iter().all(|tenant| tenant.default_class.is_none_or(|at| at.0 < policy.classes.len())));
    for rule in &policy.rules {
        assert!(rule.class.0 < policy.classes.len());
        assert!(rule.tenant.is_none_or(|tenant| tenant.0 < policy.tenants.len()));
        let ranges = rule.source_port.iter().chain(&rule.destination_port).chain(&rule.length);
        assert!(ranges.clone().all(|(first, last)| first <= last));
        assert!(rule.icmp_type.is_empty() || matches!(rule.protocol, Some(1 | 58)));
        assert!(rule.tcp_flags.is_none_or(|(set, mask)| mask != 0 && set & !mask == 0));
        assert!(rule.tcp_flags.is_none() || matches!(rule.protocol, None | Some(6)));
        assert!(rule.cgroup.is_empty() || rule.interface.is_empty());
        assert!(rule.cgroup.iter().all(|path| path.starts_with('/') && (path == "/" || !path.ends_with('/'))));
        assert!(rule.mark.is_none_or(|(value, mask)| mask != 0 && value & !mask == 0 && mask & policy.mark_mask == 0));
    }
}

/// Pieces of TOML that mean something, and some that do not.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "[[class]]\n",
            "[[tunnel]]\n",
            "[[rule]]\n",
            "[[tenant]]\n",
            "[mark]\n",
            "[default]\n",
            "[metrics]\n",
            "[limits]\n",
            "[host]\n",
            "[tunnel.ike]\n",
            "[tunnel.device]\n",
            "[tunnel.static]\n",
            "[tunnel.adopt]\n",
            "[[tunnel.adopt.children]]\n",
            "[tunnel.ike.auth]\n",
            "[rule]\n",
            "[[mark]]\n",
            "[rule.x]\n",
            "[[tunnel.ike]]\n",
            "[",
            "]]",
            "{",
            "}",
            "\"",
            "'''",
            "\\",
            "=",
            ",",
            "\n",
            "\r\n",
            "#",
            "\u{feff}",
        ])
        .prop_map(str::to_owned),
        (key(), value()).prop_map(|(key, value)| format!("{key} = {value}\n")),
    ]
}

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "name",
        "class",
        "classes",
        "lanes",
        "fallback",
        "outer-dscp",
        "local",
        "remote",
        "device",
        "type",
        "if-id",
        "mtu",
        "addresses",
        "vrf",
        "link",
        "routes",
        "local-ts",
        "remote-ts",
        "replay-window",
        "ike",
        "static",
        "auth",
        "psk-file",
        "key-file",
        "i-know",
        "start",
        "proposals",
        "rekey-time",
        "source",
        "destination",
        "protocol",
        "source-port",
        "dscp",
        "vlan",
        "interface",
        "tenant",
        "interfaces",
        "sources",
        "vlans",
        "vrfs",
        "tunnels",
        "mask",
        "listen",
        "include",
        "length",
        "tcp-flags",
        "icmp-type",
        "fragment",
        "mark",
        "cgroup",
        "mark-sockets",
        "a.b.c",
        "rule.name",
        "\"\"",
    ])
    .prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<u32>().prop_map(|number| format!("{number:#x}")),
        any::<f64>().prop_map(|number| number.to_string()),
        any::<bool>().prop_map(|flag| flag.to_string()),
        "\\PC{0,24}".prop_map(|text| format!("{text:?}")),
        prop::sample::select(vec![
            "\"voice\"",
            "\"default\"",
            "\"block\"",
            "\"clear\"",
            "\"10.1.0.0/16\"",
            "\"10.1.0.5/16\"",
            "\"::/0\"",
            "\"192.0.2.1\"",
            "\"192.0.2.2\"",
            "\"5060-5061\"",
            "\"9-5\"",
            "\"ef\"",
            "\"/a/b\"",
            "\"udp\"",
            "\"tcp\"",
            "\"icmp\"",
            "\"echo-request\"",
            "\"syn/syn,ack\"",
            "\"syn/ack\"",
            "\"0x100/0xf00\"",
            "\"0x100/0xfff\"",
            "\"xfrm\"",
            "\"1h\"",
            "12",
            "1979-05-27",
            "999999999999999999999999",
            "0xfffffffffffffffffffffffff",
            "",
            "ef",
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|list| format!("[{}]", list.join(", "))),
            prop::collection::vec((key(), inner), 0..4).prop_map(|entries| {
                let entries: Vec<String> = entries.into_iter().map(|(key, value)| format!("{key} = {value}")).collect();
                format!("{{ {} }}", entries.join(", "))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_text_has_an_answer(text in any::<String>()) {
        judge(&text);
    }

    #[test]
    fn any_heap_of_toml_has_an_answer(pieces in prop::collection::vec(piece(), 0..24)) {
        judge(&pieces.concat());
    }

    #[test]
    fn a_damaged_sample_has_an_answer(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0usize..40, piece()), 1..4)
    ) {
        let mut text: Vec<char> = SAMPLE.chars().collect();
        for (at, length, instead) in cuts {
            let start = at.index(text.len());
            let end = (start + length).min(text.len());
            text.splice(start..end, instead.chars());
        }
        judge(&text.into_iter().collect::<String>());
    }

    #[test]
    fn a_sample_with_other_lines_has_an_answer(
        lines in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..6)
    ) {
        let mut text: Vec<&str> = SAMPLE.lines().collect();
        for (from, to) in lines {
            let line = text.remove(from.index(text.len()));
            text.insert(to.index(text.len()), line);
        }
        judge(&text.join("\n"));
    }
}
