//! Fields of packets that rules ask for: ports, protocols, DSCP, lengths, flags, types, fragments.

use super::{same, with};

#[test]
fn an_empty_port_range() {
    same(
        &with(
            r#"[[rule]]
name = "rtp"
class = "voice"
protocol = "udp"
destination-port = ["32767-16384"]
"#,
        ),
        r#"
gw.toml:18:21: error: rule "rtp": destination-port "32767-16384" is an empty port range: 32767 is above 16384
    did you mean "16384-32767"?
"#,
    );
}

#[test]
fn ports_that_are_none() {
    same(
        &with(
            r#"[[rule]]
name = "rtp"
class = "voice"
source-port = ["sip", 70000, "70000", true]
"#,
        ),
        r#"
gw.toml:17:16: error: rule "rtp": source-port "sip" is not a port or a range of ports
    write it like 5060, "5060" or "16384-32767"
gw.toml:17:23: error: rule "rtp": source-port 70000 is above 65535
    ports go from 0 to 65535
gw.toml:17:30: error: rule "rtp": source-port 70000 is above 65535
    ports go from 0 to 65535
gw.toml:17:39: error: rule "rtp": source-port takes a port or a range of ports, not true or false
    for example "16384-32767"
"#,
    );
}

#[test]
fn ports_of_a_protocol_without_ports() {
    same(
        &with(
            r#"[[rule]]
name = "ping"
class = "voice"
protocol = "icmp"
destination-port = 5060
"#,
        ),
        r#"
gw.toml:18:20: error: rule "ping": destination-port is for tcp, udp and sctp, but protocol is icmp
    take the ports out, or write a rule with one of these protocols
"#,
    );
}

#[test]
fn a_dscp_above_63() {
    same(
        &with(
            r#"[[rule]]
name = "rtp"
class = "voice"
dscp = [70, 184, "eff", -1]
"#,
        ),
        r#"
gw.toml:17:9: error: rule "rtp": dscp 70 is above 63
    DSCP goes from 0 to 63, or has a name such as "ef"
gw.toml:17:13: error: rule "rtp": dscp 184 is above 63
    DSCP goes from 0 to 63; 184 as a TOS byte is dscp 46 (ef)
gw.toml:17:18: error: rule "rtp": dscp "eff" is not known
    did you mean "ef"?
gw.toml:17:25: error: rule "rtp": dscp -1 is outside 0 to 63
"#,
    );
}

#[test]
fn an_unknown_protocol() {
    same(
        &with(
            r#"[[rule]]
name = "rtp"
class = "voice"
protocol = "upd"
[[rule]]
class = "voice"
protocol = ["tcp", "udp"]
"#,
        ),
        r#"
gw.toml:17:12: error: rule "rtp": protocol "upd" is not known
    did you mean "udp"?
gw.toml:20:12: error: rule 2: protocol takes a protocol's name or number, not a list
    for example "udp" or 17
"#,
    );
}

#[test]
fn an_empty_length_range() {
    same(
        &with(
            r#"[[rule]]
name = "short"
class = "voice"
length = ["200-0"]
"#,
        ),
        r#"
gw.toml:17:11: error: rule "short": length "200-0" is an empty length range: 200 is above 0
    did you mean "0-200"?
"#,
    );
}

#[test]
fn lengths_that_are_none() {
    same(
        &with(
            r#"[[rule]]
name = "short"
class = "voice"
length = ["short", 65536, "0-70000", -1, true]
"#,
        ),
        r#"
gw.toml:17:11: error: rule "short": length "short" is not a length or a range of lengths
    write it like 200 or "0-200", in bytes
gw.toml:17:20: error: rule "short": length 65536 is outside 0 to 65535
gw.toml:17:27: error: rule "short": length 70000 is outside 0 to 65535
gw.toml:17:38: error: rule "short": length -1 is outside 0 to 65535
gw.toml:17:42: error: rule "short": length takes a length or a range of lengths, not true or false
    for example "0-200"
"#,
    );
}

#[test]
fn tcp_flags_that_are_none() {
    same(
        &with(
            r#"[[rule]]
class = "voice"
tcp-flags = "sny/syn,ack"
[[rule]]
class = "voice"
tcp-flags = "0x02"
[[rule]]
class = "voice"
tcp-flags = 2
"#,
        ),
        r#"
gw.toml:16:13: error: rule 1: tcp-flags "sny" is not known
    did you mean "syn"?
gw.toml:19:13: error: rule 2: tcp-flags "0x02" is not known
    flags: fin, syn, rst, psh, ack, urg, ece, cwr
gw.toml:22:13: error: rule 3: tcp-flags takes TCP flags, not a number
    for example "syn/syn,ack"
"#,
    );
}

#[test]
fn tcp_flags_outside_their_mask() {
    same(
        &with(
            r#"[[rule]]
class = "voice"
tcp-flags = "fin,syn/syn,ack"
[[rule]]
class = "voice"
tcp-flags = "none"
"#,
        ),
        r#"
gw.toml:16:13: error: rule 1: tcp-flags "fin,syn/syn,ack" wants fin, which its mask leaves out
    did you mean "syn/syn,ack" or "fin,syn/fin,syn,ack"?
gw.toml:19:13: error: rule 2: tcp-flags "none" looks at nothing, as its mask is empty
    say which flags to look at: "none/syn,ack" is neither of the two
"#,
    );
}

#[test]
fn tcp_flags_of_another_protocol() {
    same(
        &with(
            r#"[[rule]]
name = "opens"
class = "voice"
protocol = "udp"
tcp-flags = "syn/syn,ack"
[[rule]]
class = "default"
tcp-flags = "syn/syn,ack"
"#,
        ),
        r#"
gw.toml:18:13: error: rule "opens": tcp-flags is for tcp, but protocol is udp
    take the flags out, or write a rule with protocol = "tcp"
"#,
    );
}

#[test]
fn icmp_types_without_their_protocol() {
    same(
        &with(
            r#"[[rule]]
name = "ping"
class = "voice"
icmp-type = "echo-request"
[[rule]]
name = "pong"
class = "voice"
protocol = "udp"
icmp-type = [0, 8]
[[rule]]
name = "slip"
class = "voice"
protocol = "icpm"
icmp-type = "echo-request"
"#,
        ),
        r#"
gw.toml:17:13: error: rule "ping": icmp-type is for icmp and icmpv6, but the rule has no protocol
    write protocol = "icmp" or "icmpv6": a type has another meaning in each of them
gw.toml:22:14: error: rule "pong": icmp-type is for icmp and icmpv6, but protocol is udp
    write protocol = "icmp" or "icmpv6": a type has another meaning in each of them
gw.toml:26:12: error: rule "slip": protocol "icpm" is not known
    did you mean "icmp"?
"#,
    );
}

#[test]
fn unknown_icmp_types() {
    same(
        &with(
            r#"[[rule]]
class = "voice"
protocol = "icmp"
icmp-type = ["echo-requst", "packet-too-big", "nonsense", 256, ""]
[[rule]]
class = "voice"
protocol = "ipv6-icmp"
icmp-type = "source-quench"
"#,
        ),
        r#"
gw.toml:17:14: error: rule 1: icmp-type "echo-requst" is not known
    did you mean "echo-request"?
gw.toml:17:29: error: rule 1: icmp-type "packet-too-big" is not known
    icmpv6 has such a type: write a rule with that protocol
gw.toml:17:47: error: rule 1: icmp-type "nonsense" is not known
    write its number, 0 to 255 (IANA's lists of ICMP and ICMPv6 types have it)
gw.toml:17:59: error: rule 1: icmp-type 256 is outside 0 to 255
gw.toml:17:64: error: rule 1: icmp-type is empty
    give it a value, or leave the key out
gw.toml:21:13: error: rule 2: icmp-type "source-quench" is not known
    icmp has such a type: write a rule with that protocol
"#,
    );
}

#[test]
fn a_fragment_that_is_not_true_or_false() {
    same(
        &with(
            r#"[[rule]]
class = "voice"
fragment = "first"
"#,
        ),
        r#"
gw.toml:16:12: error: rule 1: fragment takes true or false, not a string
    for example true
"#,
    );
}
