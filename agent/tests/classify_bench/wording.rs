//! Rules in the words of other engines.

use lanekeeper::policy::Rule;

use crate::peer::{ipset, iptables, nft_list, nft_map};

fn rules() -> [Rule; 3] {
    let net = |text: &str| vec![text.parse().unwrap()];
    let range = Rule {
        source: net("10.1.0.0/16"),
        destination: net("10.2.3.0/24"),
        protocol: Some(17),
        destination_port: vec![(5060, 5070)],
        ..Rule::default()
    };
    let one = Rule {
        destination: net("10.2.4.1/32"),
        protocol: Some(6),
        source_port: vec![(1024, 65535)],
        destination_port: vec![(443, 443)],
        ..Rule::default()
    };
    [range, one, Rule { destination: net("10.3.0.0/16"), protocol: Some(1), ..Rule::default() }]
}

fn lines(text: &str, from: usize) -> Vec<&str> {
    text.lines().skip(from).take(3).collect()
}

#[test]
fn classify_bench_says_rules_to_an_nft_list() {
    let expected = [
        "ip saddr 10.1.0.0/16 ip daddr 10.2.3.0/24 udp dport 5060-5070 meta mark set 7 accept",
        "ip daddr 10.2.4.1/32 tcp sport 1024-65535 tcp dport 443 meta mark set 7 accept",
        "ip daddr 10.3.0.0/16 meta l4proto 1 meta mark set 7 accept",
    ];
    assert_eq!(lines(&nft_list(false, &rules()), 3), expected);
}

#[test]
fn classify_bench_says_rules_to_an_nft_map() {
    let expected = [
        "10.2.3.0/24 . 10.1.0.0/16 . 17 . 0-65535 . 5060-5070 : 7,",
        "10.2.4.1/32 . 0.0.0.0/0 . 6 . 1024-65535 . 443 : 7,",
        "10.3.0.0/16 . 0.0.0.0/0 . 1 . 0-65535 . 0-65535 : 7,",
    ];
    let text = nft_map(false, &rules());
    assert_eq!(lines(&text, 5), expected);
    let key = "ip daddr . ip saddr . ip protocol . th sport . th dport";
    assert!(text.contains(&format!("typeof {key} : meta mark")), "{text}");
    assert!(text.contains(&format!("meta mark set {key} map @m")), "{text}");
}

#[test]
fn classify_bench_says_rules_to_iptables() {
    let expected = [
        "-A PREROUTING -s 10.1.0.0/16 -d 10.2.3.0/24 -p 17 -m udp --dport 5060:5070 -j MARK --set-xmark 7",
        "-A PREROUTING -d 10.2.4.1/32 -p 6 -m tcp --sport 1024:65535 --dport 443 -j MARK --set-xmark 7",
        "-A PREROUTING -d 10.3.0.0/16 -p 1 -j MARK --set-xmark 7",
    ];
    assert_eq!(lines(&iptables(&rules()), 1), expected);
}

#[test]
fn classify_bench_says_exact_ports_to_ipset() {
    let text = ipset(
        true,
        &[Rule {
            destination: vec!["2001:db8::/48".parse().unwrap()],
            protocol: Some(17),
            destination_port: vec![(53, 53)],
            ..Rule::default()
        }],
    );
    assert!(text.starts_with("create s hash:net,port family inet6 skbinfo "), "{text}");
    assert_eq!(lines(&text, 1), ["add s 2001:db8::/48,udp:53 skbmark 0x7/0xffffffff"]);
}
