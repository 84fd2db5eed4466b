//! Rules and tenants.

use super::{same, with};

#[test]
fn a_prefix_with_host_bits() {
    same(
        &with(
            r#"[[rule]]
name = "sip"
class = "voice"
source = ["10.1.0.5/16", "2001:db8::1/32"]
"#,
        ),
        r#"
gw.toml:17:11: error: rule "sip": source "10.1.0.5/16" has host bits set
    did you mean "10.1.0.0/16", or "10.1.0.5/32" for that one host?
gw.toml:17:26: error: rule "sip": source "2001:db8::1/32" has host bits set
    did you mean "2001:db8::/32", or "2001:db8::1/128" for that one host?
"#,
    );
}

#[test]
fn a_prefix_that_is_none() {
    same(
        &with(
            r#"[[rule]]
name = "sip"
class = "voice"
source = ["10.1.0.0/33", "branch", "10.1.0.0/255.255.0.0", ""]
"#,
        ),
        r#"
gw.toml:17:11: error: rule "sip": source "10.1.0.0/33" is not a prefix
    the length of an IPv4 prefix goes from 0 to 32
gw.toml:17:26: error: rule "sip": source "branch" is not a prefix
    write it like "10.1.0.0/16" or "2001:db8::/32"; names are not resolved
gw.toml:17:36: error: rule "sip": source "10.1.0.0/255.255.0.0" is not a prefix
    did you mean "10.1.0.0/16"?
gw.toml:17:60: error: rule "sip": source is empty
    give it a value, or leave the key out
"#,
    );
}

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
fn an_empty_list() {
    same(
        &with(
            r#"[[rule]]
name = "rtp"
class = "voice"
source = []
"#,
        ),
        r#"
gw.toml:17:10: error: rule "rtp": source is an empty list
    leave the key out to match every value
"#,
    );
}

#[test]
fn a_vlan_out_of_range() {
    same(
        &with(
            r#"[[rule]]
name = "rtp"
class = "voice"
vlan = 4095
"#,
        ),
        r#"
gw.toml:17:8: error: rule "rtp": vlan 4095 is outside 0 to 4094
"#,
    );
}

#[test]
fn a_pattern_for_an_interface() {
    same(
        &with(
            r#"[[rule]]
name = "rtp"
class = "voice"
interface = "lan*"
"#,
        ),
        r#"
gw.toml:17:13: error: rule "rtp": interface "lan*" is not supported yet
    name each interface by itself: ["lan0", "lan1"]
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

#[test]
fn marks_that_are_none() {
    same(
        &with(
            r#"[[rule]]
class = "voice"
mark = "green"
[[rule]]
class = "voice"
mark = 0x100000000
[[rule]]
class = "voice"
mark = "0x300/0x100"
[[rule]]
class = "voice"
mark = "0x100/0"
"#,
        ),
        r#"
gw.toml:16:8: error: rule 1: mark "green" is not a mark, nor a mark and a mask
    write it like "0x100/0xf00": the value, then the bits to look at
gw.toml:19:8: error: rule 2: mark 4294967296 is outside 0 to 4294967295
gw.toml:22:8: error: rule 3: mark "0x300/0x100" wants 0x200, which its mask leaves out
    did you mean "0x100/0x100" or "0x300/0x300"?
gw.toml:25:8: error: rule 4: mark "0x100/0" looks at nothing, as its mask is empty
    say which bits to look at: "0/0xf00" is none of these four
"#,
    );
}

#[test]
fn a_mark_of_lanekeepers_own_bits() {
    same(
        &with(
            r#"[[rule]]
class = "voice"
mark = "0x105/0xfff"
[[rule]]
class = "voice"
mark = 0x105
[[rule]]
class = "voice"
mark = "0x5/0xf"
"#,
        ),
        r#"
gw.toml:16:8: error: rule 1: mark 0x105/0xfff overlaps [mark] mask 0x000000ff: those bits are Lanekeeper's own
    did you mean "0x100/0xf00"?
gw.toml:19:8: error: rule 2: mark 0x105 overlaps [mark] mask 0x000000ff: those bits are Lanekeeper's own
    did you mean "0x100"?
gw.toml:22:8: error: rule 3: mark 0x5/0xf overlaps [mark] mask 0x000000ff: those bits are Lanekeeper's own
    match bits of others, or move [mark] mask
"#,
    );
}

#[test]
fn a_mark_where_every_bit_is_lanekeepers_own() {
    let said = with("[mark]\nmask = 0xffffffff\n[[rule]]\nclass = \"voice\"\nmark = 0\n");
    let error =
        "gw.toml:18:8: error: rule 1: mark 0x0 overlaps [mark] mask 0xffffffff: those bits are Lanekeeper's own";
    assert!(said.starts_with(error), "{said}");
}

#[test]
fn a_field_of_a_later_version() {
    same(
        &with(
            r#"[[rule]]
class = "voice"
cgroup = "/system.slice/backup.service"
"#,
        ),
        r#"
gw.toml:16:1: error: rule 1: "cgroup" is not supported yet
    take the line out and tell the packets apart by address, protocol, port, dscp or mark
"#,
    );
}

#[test]
fn a_rule_of_any_one_condition_does_not_take_all() {
    let conditions = [
        "length = 60",
        "tcp-flags = \"syn\"",
        "protocol = \"icmp\"\nicmp-type = 8",
        "fragment = false",
        "mark = \"0x100/0xf00\"",
    ];
    for condition in conditions {
        same(&with(&format!("[[rule]]\nclass = \"voice\"\n{condition}\n[[rule]]\nclass = \"default\"\n")), "");
    }
}

#[test]
fn a_tenant_without_traffic() {
    same(
        &with(
            r#"[[tenant]]
name = "acme"
"#,
        ),
        r#"
gw.toml:14:1: error: tenant "acme" has neither interfaces, vlans, vrfs nor sources, so nothing is its traffic
    add interfaces = ["vlan12"] or sources = ["10.1.12.0/24"]
"#,
    );
}

#[test]
fn a_rule_of_two_families_is_a_warning() {
    same(
        &with(
            r#"[[rule]]
name = "sip"
class = "voice"
source = "10.1.0.0/16"
destination = "2001:db8:2::/48"
"#,
        ),
        r#"
gw.toml:14:1: warning: rule "sip" matches no packet: source is IPv4 only and destination is IPv6 only
    a packet has both addresses of one family: take a prefix out or add one
"#,
    );
}

#[test]
fn a_rule_behind_one_that_takes_all_is_a_warning() {
    same(
        &with(
            r#"[[rule]]
name = "all"
class = "voice"
[[rule]]
name = "sip"
class = "default"
dscp = "ef"
"#,
        ),
        r#"
gw.toml:17:1: warning: rule "sip" is never reached: rule "all" takes everything before it
    first match wins: move it up, or take it out
"#,
    );
}

#[test]
fn a_tenant_behind_another_is_a_warning() {
    same(
        &with(
            r#"[[tenant]]
name = "a"
interfaces = ["lan0"]
sources = ["10.1.0.0/16"]
[[tenant]]
name = "b"
interfaces = ["lan1", "lan0"]
sources = ["10.1.2.0/24", "10.0.0.0/8"]
"#,
        ),
        r#"
gw.toml:20:23: warning: tenant "b" gets nothing of interface lan0: tenant "a" has it first
    the first tenant that matches has the packet: move it up, or take it out
gw.toml:21:12: warning: tenant "b" gets nothing of source 10.1.2.0/24: tenant "a" has it first
    the first tenant that matches has the packet: move it up, or take it out
"#,
    );
}
