use super::*;

fn said(text: &str) -> String {
    Words::parse(text).expect_err("no packet").to_string()
}

#[test]
fn the_documented_packet_is_read() {
    let packet = Words::parse("udp 10.1.0.5:4000 > 10.2.0.9:5060 dscp ef in lan0").expect("a packet");
    assert_eq!(packet.protocol, 17);
    assert_eq!(packet.source.to_string(), "10.1.0.5");
    assert_eq!(packet.destination.to_string(), "10.2.0.9");
    assert_eq!(packet.ports, Some((4000, 5060)));
    assert_eq!((packet.dscp, packet.vlan), (46, None));
    assert_eq!(packet.interface.as_deref(), Some("lan0"));
}

#[test]
fn ipv6_stands_in_brackets_where_it_has_a_port() {
    let packet = Words::parse("tcp [2001:db8::1]:4000 to [2001:db8::2]:443 vlan 12").expect("a packet");
    assert_eq!(packet.source.to_string(), "2001:db8::1");
    assert_eq!((packet.ports, packet.vlan), (Some((4000, 443)), Some(12)));
    let packet = Words::parse("icmpv6 2001:db8::1 -> [2001:db8::2]").expect("a packet");
    assert_eq!((packet.protocol, packet.ports), (58, None));
}

#[test]
fn blanks_around_the_arrow_may_be_left_out() {
    let with = Words::parse("esp 192.0.2.1 > 192.0.2.2").expect("a packet");
    assert_eq!(Words::parse("esp 192.0.2.1>192.0.2.2").expect("a packet"), with);
    assert_eq!(Words::parse("50 192.0.2.1->192.0.2.2").expect("a packet"), with);
}

#[test]
fn every_field_of_a_rule_can_be_said() {
    let packet = Words::parse("tcp 10.1.0.5:1 > 10.2.0.9:2 flags SYN,ack length 1200 mark 0x100 in lan0").unwrap();
    assert_eq!((packet.tcp_flags, packet.length, packet.mark), (Some(0x12), Some(1200), 0x100));
    let packet = Words::parse("icmp 10.1.0.5 > 10.2.0.9 type echo-reply fragment first").unwrap();
    assert_eq!((packet.icmp_type, packet.fragment), (Some(0), Some(Part::First)));
    let packet = Words::parse("udp 10.1.0.5 > 10.2.0.9 fragment later").unwrap();
    assert_eq!((packet.ports, packet.fragment), (None, Some(Part::Later)));
}

#[test]
fn a_rules_own_spelling_is_taken() {
    let same = |rule: &str, words: &str| assert_eq!(Words::parse(rule), Words::parse(words), "{rule}");
    let tcp = "tcp 10.1.0.5:1 > 10.2.0.9:2";
    same(&format!("{tcp} tcp-flags syn/syn,ack"), &format!("{tcp} flags syn"));
    same(&format!("{tcp} tcp-flags none/syn"), &format!("{tcp} flags none"));
    same(&format!("{tcp} interface lan0 mark 0x100/0xf00"), &format!("{tcp} in lan0 mark 256"));
    same("icmpv6 2001:db8::1 > 2001:db8::2 icmp-type 128", "icmpv6 2001:db8::1 > 2001:db8::2");
    assert_eq!(Words::parse(tcp).unwrap().tcp_flags, Some(SYN));
    let of_host = Words::parse(&format!("{tcp} cgroup /system.slice/backup.service")).unwrap();
    assert_eq!(of_host.cgroup.as_deref(), Some("/system.slice/backup.service"));
}

#[test]
fn each_mistake_has_its_own_words() {
    let table = [
        ("", "no packet: it begins with a protocol, like \"udp 10.1.0.5:4000 > 10.2.0.9:5060 dscp ef in lan0\""),
        ("upd 10.1.0.5:1 > 10.2.0.9:2", "protocol \"upd\" is not known; did you mean \"udp\"?"),
        (
            "udp",
            "the packet ends where a source address is wanted, like \"udp 10.1.0.5:4000 > 10.2.0.9:5060 dscp ef in lan0\"",
        ),
        (
            "udp 10.1.0.5:4000",
            "the packet ends where \">\" is wanted, like \"udp 10.1.0.5:4000 > 10.2.0.9:5060 dscp ef in lan0\"",
        ),
        (
            "udp 10.1.0.5:1 10.2.0.9:2",
            "\"10.2.0.9:2\" stands where \">\" is wanted between source and destination; in a shell quote it, or write \"to\"",
        ),
        (
            "udp 10.1.0:1 > 10.2.0.9:2",
            "source \"10.1.0:1\" is not an address or ADDRESS:PORT; an IPv6 address with a port is written [2001:db8::1]:5060",
        ),
        ("udp 10.1.0.5 > 10.2.0.9:2", "udp has ports: write source 10.1.0.5:5060"),
        ("udp 2001:db8::1 > [2001:db8::2]:2", "udp has ports: write source [2001:db8::1]:5060"),
        ("icmp 10.1.0.5 > 10.2.0.9:2", "icmp has no ports, but destination 10.2.0.9:2 has one"),
        ("udp 10.1.0.5:1 > [2001:db8::2]:2", "source 10.1.0.5 and destination 2001:db8::2 are of different families"),
        ("icmp 2001:db8::1 > 2001:db8::2", "icmp does not go over IPv6: did you mean icmpv6?"),
        ("icmpv6 10.1.0.5 > 10.2.0.9", "icmpv6 does not go over IPv4: did you mean icmp?"),
        (
            "esp 10.1.0.5 > 10.2.0.9 dscp 70",
            "dscp 70 is above 63; DSCP goes from 0 to 63, or has a name such as \"ef\"",
        ),
        ("esp 10.1.0.5 > 10.2.0.9 dscp ef dscp ef", "\"dscp\" is there twice"),
        (
            "esp 10.1.0.5 > 10.2.0.9 in lan0 cgroup /system.slice",
            "a packet with a cgroup is sent by this host, and one \"in\" by an interface is not: take one of the two out",
        ),
        (
            "esp 10.1.0.5 > 10.2.0.9 cgroup system.slice",
            "cgroup \"system.slice\" is not the path of a cgroup; did you mean \"/system.slice\"?",
        ),
        (
            "esp 10.1.0.5 > 10.2.0.9 tenant acme",
            "a packet does not say its tenant: that follows from \"in INTERFACE\", from its VLAN and from its source",
        ),
        ("esp 10.1.0.5 > 10.2.0.9 dcsp ef", "\"dcsp\" is not known here: did you mean \"dscp\"?"),
        (
            "esp 10.1.0.5 > 10.2.0.9 colour red",
            "\"colour\" is not known here: behind the destination come \"dscp NAME\", \"vlan ID\", \"in INTERFACE\", \"flags NAMES\", \"type NAME\", \"length BYTES\", \"fragment first\" or \"later\", \"mark NUMBER\", and \"cgroup PATH\"",
        ),
        ("tcp 10.1.0.5:1 > 10.2.0.9:2 flag syn", "\"flag\" is not known here: did you mean \"flags\"?"),
        (
            "tcp 10.1.0.5:1 > 10.2.0.9:2 flags syn ack",
            "\"ack\" is not known here: flags are one list with commas, like \"flags syn,ack\"",
        ),
        ("tcp 10.1.0.5:1 > 10.2.0.9:2 flags sym", "flags \"sym\" is not known; did you mean \"syn\"?"),
        ("udp 10.1.0.5:1 > 10.2.0.9:2 flags syn", "\"flags\" is for tcp, but the protocol is udp"),
        ("udp 10.1.0.5:1 > 10.2.0.9:2 icmp-type 8", "\"type\" is for icmp and icmpv6, but the protocol is udp"),
        (
            "icmp 10.1.0.5 > 10.2.0.9 type echo-requst",
            "type \"echo-requst\" is not known; did you mean \"echo-request\"?",
        ),
        (
            "icmp 10.1.0.5 > 10.2.0.9 type packet-too-big",
            "type \"packet-too-big\" is not known; write its number, 0 to 255",
        ),
        ("icmp 10.1.0.5 > 10.2.0.9 type 256", "type 256 is outside 0 to 255"),
        ("udp 10.1.0.5 > 10.2.0.9 fragment frist", "fragment \"frist\" is not known; did you mean \"first\"?"),
        (
            "udp 10.1.0.5 > 10.2.0.9 fragment true",
            "fragment \"true\" is not known; it is its datagram's \"first\" or a \"later\" one",
        ),
        (
            "udp 10.1.0.5:1 > 10.2.0.9 fragment later",
            "a later fragment has no ports: what is behind IP's header is in its first one",
        ),
        (
            "tcp 10.1.0.5 > 10.2.0.9 fragment later flags syn",
            "a later fragment has no flags: what is behind IP's header is in its first one",
        ),
        (
            "icmp 10.1.0.5 > 10.2.0.9 fragment later type 8",
            "a later fragment has no type: what is behind IP's header is in its first one",
        ),
        ("udp 10.1.0.5 > 10.2.0.9:2 fragment first", "udp has ports: write source 10.1.0.5:5060"),
        (
            "udp 10.1.0.5:1 > 10.2.0.9:2 length 27",
            "length \"27\" is none for this packet: it has 28 to 65535 bytes from its IP header on",
        ),
        (
            "tcp [2001:db8::1]:1 > [2001:db8::2]:2 fragment first length 0-200",
            "length \"0-200\" is none for this packet: it has 68 to 65535 bytes from its IP header on",
        ),
        (
            "esp 10.1.0.5 > 10.2.0.9 mark green",
            "mark \"green\" is not a mark, nor a mark and a mask; write it like \"0x100/0xf00\": the value, then the bits to look at",
        ),
        (
            "esp 10.1.0.5 > 10.2.0.9 mark",
            "the packet ends where a mark like 0x100 is wanted, like \"udp 10.1.0.5:4000 > 10.2.0.9:5060 dscp ef in lan0\"",
        ),
    ];
    for (words, expected) in table {
        assert_eq!(said(words), expected, "{words}");
    }
}
