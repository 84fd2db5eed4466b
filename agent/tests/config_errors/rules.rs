//! Rules: prefixes, places, marks, and rules that say the same or nothing.

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
fn a_cgroup_that_is_no_path() {
    same(
        &with(
            r#"[[rule]]
name = "backup"
class = "voice"
cgroup = ["backup.service", "/sys/fs/cgroup/system.slice", "/a/../b", "/user.slice/*"]
"#,
        ),
        r#"
gw.toml:17:11: error: rule "backup": cgroup "backup.service" is not the path of a cgroup
    did you mean "/backup.service"?
gw.toml:17:29: error: rule "backup": cgroup "/sys/fs/cgroup/system.slice" is not the path of a cgroup
    did you mean "/system.slice"?
gw.toml:17:60: error: rule "backup": cgroup "/a/../b" is not the path of a cgroup
    write it from the root of the hierarchy on, like "/system.slice/backup.service"
gw.toml:17:71: error: rule "backup": cgroup "/user.slice/*" is not supported yet
    name the cgroup that they are in, which is all of them: "/user.slice"
"#,
    );
}

#[test]
fn a_cgroup_of_what_came_in() {
    same(
        &with("[[rule]]\nclass = \"voice\"\ncgroup = \"/\"\ninterface = \"lan0\"\n"),
        r#"
gw.toml:16:10: error: rule 1: cgroup is for what this host itself sends, but interface for what came in
    take one of the two out, or write a rule for each
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
        "cgroup = \"/\"",
    ];
    for condition in conditions {
        same(&with(&format!("[[rule]]\nclass = \"voice\"\n{condition}\n[[rule]]\nclass = \"default\"\n")), "");
    }
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
