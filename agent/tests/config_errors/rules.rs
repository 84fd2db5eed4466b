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
fn fields_of_later_versions() {
    same(
        &with(
            r#"[[rule]]
class = "voice"
length = "0-200"
tcp-flags = "syn/syn,ack"
icmp-type = 8
fragment = true
mark = "0x100/0xf00"
cgroup = "/system.slice/backup.service"
"#,
        ),
        r#"
gw.toml:16:1: error: rule 1: "length" is not supported yet
    take the line out and tell the packets apart by address, protocol, port, dscp, interface or vlan
gw.toml:17:1: error: rule 1: "tcp-flags" is not supported yet
    take the line out and tell the packets apart by address, protocol, port, dscp, interface or vlan
gw.toml:18:1: error: rule 1: "icmp-type" is not supported yet
    take the line out and tell the packets apart by address, protocol, port, dscp, interface or vlan
gw.toml:19:1: error: rule 1: "fragment" is not supported yet
    take the line out and tell the packets apart by address, protocol, port, dscp, interface or vlan
gw.toml:20:1: error: rule 1: "mark" is not supported yet
    take the line out and tell the packets apart by address, protocol, port, dscp, interface or vlan
gw.toml:21:1: error: rule 1: "cgroup" is not supported yet
    take the line out and tell the packets apart by address, protocol, port, dscp, interface or vlan
"#,
    );
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
gw.toml:14:1: error: tenant "acme" has neither interfaces nor sources, so nothing is its traffic
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
