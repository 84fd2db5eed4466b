//! Imported rules decide as the kernel does: a tool loads rules, what it dumps is imported, and the mark that each packet has
//! when the kernel forwards it is that of its class here.

#[allow(dead_code, reason = "each test target uses a part")]
#[path = "witness/random.rs"]
mod random;

mod imported;
#[path = "imported/router.rs"]
mod router;

use imported::packet::INGRESS;
use lanekeeper::import;
use random::Random;
use router::Router;

/// A mangle table of the usual kind: classes by port, some with RETURN behind them, some overruled later.
const IPTABLES: &str = r#"*mangle
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:bulk - [0:0]
:voice - [0:0]
-A PREROUTING -i lan1 -j MARK --set-xmark 0x9/0xffffffff
-A PREROUTING -p tcp -m tcp --tcp-flags SYN,RST,ACK SYN -j MARK --set-xmark 0x1/0xffffffff
-A PREROUTING -p tcp -m tcp --tcp-flags SYN,RST,ACK SYN -j RETURN
-A PREROUTING -p icmp -m icmp --icmp-type 8 -m comment --comment "ping" -j MARK --set-xmark 0x1/0xffffffff
-A PREROUTING -p tcp -m multiport --dports 80,443,8000:8080 -m comment --comment "web" -j MARK --set-xmark 0x3/0xffffffff
-A PREROUTING -p tcp -m multiport --ports 20,21 -j MARK --set-xmark 0x5/0xffffffff
-A PREROUTING -p udp -j voice
-A PREROUTING ! -s 10.0.0.0/8 -d 10.2.0.0/16 -g bulk
-A PREROUTING -m iprange --src-range 10.1.0.5-10.1.0.77 -j MARK --set-xmark 0x6/0xffffffff
-A PREROUTING -m dscp --dscp 0x2e -j MARK --set-xmark 0x10/0x10
-A PREROUTING -p tcp -m length --length 0:64 -j MARK --set-xmark 0x2/0xffffffff
-A voice -p udp -m udp --dport 5060:5061 -j MARK --set-xmark 0x7/0xffffffff
-A voice -m mark --mark 0x7 -j ACCEPT
-A voice ! -i lan0 -p udp -m udp --sport 16384:32767 -j MARK --set-xmark 0x8/0xffffffff
-A voice -m dscp ! --dscp 0x00 -j RETURN
-A voice -j MARK --set-xmark 0x20/0x20
-A bulk -m mark ! --mark 0x3/0xf -j MARK --set-xmark 0x4/0xffffffff
-A bulk -p sctp -m sctp ! --dport 9 -j MARK --set-xmark 0x0/0x1
-A FORWARD -m mark --mark 0x6 -m tos --tos 0x00/0xfc -j MARK --set-xmark 0x66/0xffffffff
-A POSTROUTING -d 192.0.2.0/24 -m mark --mark 0x9 -j MARK --set-xmark 0x0/0xffffffff
COMMIT
"#;

#[test]
fn classify_agrees_with_iptables_on_each_packet() {
    let router = Router::new("lk-import-v4");
    let imported = router.iptables("iptables", IPTABLES);
    assert_eq!(imported.left_out, []);
    let classes = router.agrees(&imported, &INGRESS, 1, 12_000);
    println!("{classes:?}");
    assert!(classes.values().sum::<u32>() > 11_000 && classes.len() > 12, "{classes:?}");
}

/// Tables as people write them for nft: maps of marks, verdict maps, sets, ranges, marks that are counted with.
const NFT: &str = r#"
table inet qos {
    set voip { type ipv4_addr; flags interval; elements = { 10.1.0.0/16, 192.168.5.7, 10.9.0.3-10.9.0.77 } }
    map by-dscp { type dscp : mark; elements = { ef : 7, af41 : 6, cs1 : 1 } }
    map by-port { type inet_proto . inet_service : mark; elements = { tcp . 22 : 3, udp . 53 : 4 } }
    chain voice {
        tcp dport { 5060, 5061 } meta mark set 0x10 return
        udp dport 16384-32767 meta mark set 0x11 comment "rtp"
        meta mark 4 accept
    }
    chain prerouting {
        type filter hook prerouting priority mangle; policy accept;
        meta mark set ip dscp map @by-dscp
        meta mark set ip6 dscp map { ef : 7, cs1 : 1, 3 : 9 }
        meta mark set meta l4proto . th dport map @by-port
        ip saddr @voip jump voice
        meta l4proto . th dport vmap { tcp . 80 : accept, udp . 123 : return, tcp . 81 : goto late }
        ip daddr != 10.0.0.0/8 tcp flags syn / syn,ack meta mark set mark or 0x100
        tcp flags & (fin|syn|rst|ack) == syn counter meta mark set 5
        tcp flags { rst, ack } meta mark set 0x1a
        tcp flags psh meta mark set mark xor 0x40
        tcp flags ! syn,ack,rst meta mark set 0x1b
        meta mark and 0xf == 0x3 ip6 daddr 2001:db8::/32 meta mark set 0x33
        meta mark { 4, 5 } iifname "lan1" meta mark set 0x45
        icmp type { echo-request, echo-reply } meta mark set 0xa
        icmpv6 type echo-request meta mark set 0xb
        meta length > 1000 meta mark set mark and 0xfffffff0
        ip dscp < af11 ip saddr 10.4.0.0/14 meta mark set 0xd
        meta nfproto ipv6 meta l4proto { tcp, udp } th sport 1024-2047 meta mark set 0xe
        iifname != { "lan0", "eth9" } udp sport != 1-65534 meta mark set 0xf0
        ip protocol { tcp, udp } ip saddr . ip daddr { 10.1.1.1 . 10.2.2.2, 10.3.0.0/16 . 10.4.4.4 } meta mark set 0x50
        tcp dport 6000-6063 ct mark set mark log prefix "x" drop
    }
    chain late { ip6 saddr 2001:db8:9::/48 meta mark set 0x61
        ip saddr 10.0.0.0/9 meta mark set 0x62
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established accept
        iifname "lan0" accept
        udp dport 1-1023 accept
        accept
    }
    chain postrouting {
        type filter hook postrouting priority 10;
        meta mark set (mark & 0xfffffffe) | 0x2 comment "odd ones out"
    }
}
table ip four {
    chain post {
        type filter hook postrouting priority -5;
        meta mark 0x11 meta mark set ip daddr map { 10.2.0.0/16 : 0x21, 10.3.0.0-10.3.0.9 : 0x23 }
    }
}
"#;

#[test]
fn classify_agrees_with_nft_on_each_packet() {
    let router = Router::new("lk-import-nft");
    let imported = router.nft(NFT);
    assert_eq!(imported.left_out, []);
    let classes = router.agrees(&imported, &INGRESS, 2, 12_000);
    println!("{classes:?}");
    assert!(classes.values().sum::<u32>() > 9_000 && classes.len() > 12, "{classes:?}");
}

/// What iptables takes as a condition, of few values so that rules overlap.
fn condition(random: &mut Random, chain: &str, six: bool) -> String {
    let not = |random: &mut Random| if random.one_in(4) { "! " } else { "" };
    let net = |random: &mut Random| match six {
        false => random.pick(&["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.128.0.0/9"]),
        true => random.pick(&["2001:db8::/32", "2001:db8:1::/48", "2001:db8::/33", "2001:db8:1::5/128"]),
    };
    let ports = ["53", "1024:65535", "1000:2000", "0:1023"];
    match random.below(12) {
        // iptables refuses it where it is the chain of packets that leave.
        9 if chain == "POSTROUTING" => "-m dscp --dscp 0x08".to_owned(),
        0 => format!("{}-s {}", not(random), net(random)),
        1 => format!("{}-d {}", not(random), net(random)),
        2 => format!("-p udp -m udp {}--dport {}", not(random), random.pick(&ports)),
        3 => format!("-p tcp -m tcp {}--sport {}", not(random), random.pick(&ports)),
        4 => format!("-p tcp -m multiport {}--dports 53,80,1024:1500", not(random)),
        5 => format!("-m dscp {}--dscp {}", not(random), random.pick(&["0x2e", "0x00", "0x08"])),
        6 => format!("-m length {}--length {}", not(random), random.pick(&["0:80", "60:65535", "84"])),
        7 | 8 => format!("-m mark {}--mark {}", not(random), random.pick(&["0x1", "0x0", "0x2/0x2", "0x1/0x3"])),
        9 => format!("{}-i {}", not(random), random.pick(&INGRESS)),
        10 => {
            format!("-p tcp -m tcp {}--tcp-flags {}", not(random), random.pick(&["SYN,ACK SYN", "ALL ACK", "RST NONE"]))
        }
        _ if six => format!("-p ipv6-icmp -m icmp6 --icmpv6-type {}", random.pick(&["128", "129"])),
        _ => format!("-p icmp -m icmp --icmp-type {}", random.pick(&["8", "0", "any"])),
    }
}

/// A mangle table drawn at random: chains that jump, go and return, marks set whole and in part.
fn mangle(random: &mut Random, six: bool) -> String {
    let mut rules = String::from("*mangle\n:one - [0:0]\n:two - [0:0]\n");
    for _ in 0..16 {
        let chain = random.pick(&["PREROUTING", "PREROUTING", "FORWARD", "POSTROUTING", "one", "two"]);
        let chains: &[&str] = match chain {
            "two" => &["RETURN", "ACCEPT"],
            "one" => &["-j two", "-g two", "RETURN"],
            _ => &["-j one", "-g one", "-j two", "-g two"],
        };
        let target = match random.below(10) {
            0 => random.pick(&["ACCEPT", "RETURN"]).to_owned(),
            1 | 2 => random.pick(chains).to_owned(),
            3 => random
                .pick(&["MARK --or-mark 0x4", "MARK --set-xmark 0x1/0x3", "MARK --and-mark 0x2", "MARK --xor-mark 0x1"])
                .to_owned(),
            _ => format!("MARK --set-mark {}", random.below(6)),
        };
        let target = if target.starts_with('-') { target } else { format!("-j {target}") };
        let (one, other) = (condition(random, chain, six), condition(random, chain, six));
        // An option may be there once.
        let twice = ["-s ", "-d ", "-p ", "-i ", "--dscp ", "--length ", "--mark "];
        let other = if twice.iter().any(|word| one.contains(word) && other.contains(word)) { "" } else { &other };
        rules += &format!("-A {chain} {one} {other} {target}\n");
    }
    rules + "COMMIT\n"
}

#[test]
fn classify_agrees_with_iptables_on_tables_drawn_at_random() {
    let router = Router::new("lk-import-random");
    for seed in 0..24 {
        let six = seed % 3 == 2;
        let rules = mangle(&mut Random::new(seed), six);
        let imported = router.iptables(if six { "ip6tables" } else { "iptables" }, &rules);
        let unmet = |lost: &&import::LeftOut| lost.reason != import::Reason::ForeignMark;
        assert_eq!(imported.left_out.iter().find(unmet), None, "{rules}");
        let classes = router.agrees(&imported, &INGRESS, seed, 1_024);
        assert!(classes.values().sum::<u32>() > 900, "{classes:?}\n{rules}");
        router.netns.sh("iptables-legacy -t mangle -F; ip6tables-legacy -t mangle -F").unwrap();
    }
}
