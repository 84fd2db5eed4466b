//! Keys, types and TOML itself.

use super::{said, same, with};

#[test]
fn an_unknown_key_names_the_nearest() {
    same(
        &with(
            r#"[[rule]]
clas = "voice"
destination_port = 5060
colour = "red"
"#,
        ),
        r#"
gw.toml:15:1: error: rule 1: unknown key "clas"
    did you mean "class"?
gw.toml:16:1: error: rule 1: unknown key "destination_port"
    did you mean "destination-port"?
gw.toml:17:1: error: rule 1: unknown key "colour"
    keys here: name, class, tenant, source, destination, protocol, source-port, destination-port, dscp, interface, vlan, length, tcp-flags, icmp-type, fragment, mark, cgroup
"#,
    );
}

#[test]
fn an_unknown_table_names_the_nearest() {
    same(
        &with(
            r#"[[rules]]
class = "voice"
"#,
        ),
        r#"
gw.toml:14:3: error: top level: unknown key "rules"
    did you mean "rule"?
"#,
    );
}

#[test]
fn a_single_table_instead_of_a_list() {
    same(
        &with(
            r#"[rule]
class = "voice"
"#,
        ),
        r#"
gw.toml:14:1: error: top level: rule takes a list of tables, not a table
    for example [[rule]] in double brackets
"#,
    );
}

#[test]
fn a_list_instead_of_a_single_table() {
    same(
        &with(
            r#"[[mark]]
mask = 255
"#,
        ),
        r#"
gw.toml:14:1: error: top level: mark takes a table, not a list
    for example [mark] in single brackets
"#,
    );
}

#[test]
fn a_key_set_twice() {
    same(
        &with(
            r#"[[rule]]
class = "voice"
class = "default"
"#,
        ),
        r#"
gw.toml:16:1: error: duplicate key "class" in the same table
    keep one of them
"#,
    );
}

#[test]
fn a_table_set_twice() {
    same(
        &with(
            r#"[default]
class = "voice"
"#,
        ),
        r#"
gw.toml:14:2: error: duplicate table [default]
    keep one of them
"#,
    );
}

#[test]
fn missing_keys() {
    same(
        &said(
            r#"[[class]]
[[tunnel]]
[[rule]]
[[tenant]]
[default]
"#,
        ),
        r#"
gw.toml:1:1: error: class 1: name is missing
    add name = "voice"
gw.toml:2:1: error: tunnel 1: name is missing
    add name = "branch-7"
gw.toml:2:1: error: tunnel 1: local is missing
    add local = "192.0.2.1"
gw.toml:2:1: error: tunnel 1: remote is missing
    add remote = "192.0.2.2"
gw.toml:2:1: error: tunnel 1: classes is missing
    add classes = ["voice", "default"]
gw.toml:2:1: error: tunnel 1: device is missing
    add device = { type = "xfrm", name = "lk-branch7", if-id = 42 }
gw.toml:2:1: error: tunnel 1 has neither "ike", "static" nor "adopt"; it needs one of "ike", "static" and "adopt"
    [tunnel.ike] for strongSwan, [tunnel.adopt] for a connection of your own swanctl.conf, [tunnel.static] for keys from a file
gw.toml:3:1: error: rule 1: class is missing
    add class = "default"
gw.toml:4:1: error: tenant 1: name is missing
    add name = "acme"
gw.toml:4:1: error: tenant 1 has neither interfaces, vlans, vrfs nor sources, so nothing is its traffic
    add interfaces = ["vlan12"] or sources = ["10.1.12.0/24"]
gw.toml:5:1: error: [default]: class is missing
    add class = "default"
"#,
    );
}

#[test]
fn an_empty_file() {
    same(
        &said(""),
        r#"
gw.toml:1:1: error: no class for traffic that no rule matches
    add [default] with class = "...", or a class named "default"
"#,
    );
}

#[test]
fn wrong_types() {
    same(
        &said(
            r#"mark = 255
metrics.listen = 9738
ike.vici = ["/run/x"]
include = { a = 1 }
[[class]]
name = 5
lanes = "2"
outer-dscp = 4.6
[default]
class = 1979-05-27
"#,
        ),
        r#"
gw.toml:1:8: error: top level: mark takes a table, not a number
    for example mark = { ... }
gw.toml:2:18: error: [metrics]: listen takes an address and a port, not a number
    for example "127.0.0.1:9738"
gw.toml:3:12: error: [ike]: vici takes a path, not a list
    for example "/var/run/charon.vici"
gw.toml:4:11: error: top level: include takes a path or a pattern, not a table
    for example "rules.d/*.toml"
gw.toml:6:8: error: class 1: name takes a name, not a number
    for example "voice"
gw.toml:7:9: error: class 1: lanes takes a number, not a string
    for example 42 or 0x2a
gw.toml:8:14: error: class 1: outer-dscp takes a DSCP's name or number, not a number with a point
    for example "ef" or 46
gw.toml:10:9: error: [default]: class takes a string, not a date
    for example "default"
"#,
    );
}

#[test]
fn a_syntax_error_keeps_company_with_the_others() {
    same(
        &said(
            r#"[[class]]
name = "voice
lanes = 99
[[rule]]
class = "voice"
dscp = [ef]
source = ["10.1.0.5/16"]
"#,
        ),
        r#"
gw.toml:2:14: error: not valid TOML: invalid basic string, expected `"`
    what refers from one part of the config to another is checked once this is right
gw.toml:3:9: error: class "voice": lanes 99 is outside 1 to 32
gw.toml:6:9: error: not valid TOML: string values must be quoted, expected literal string
gw.toml:7:11: error: rule 1: source "10.1.0.5/16" has host bits set
    did you mean "10.1.0.0/16", or "10.1.0.5/32" for that one host?
"#,
    );
}

#[test]
fn an_unclosed_table() {
    same(
        &said(
            r#"[[class]
name = "voice"
"#,
        ),
        r#"
gw.toml:1:9: error: not valid TOML: unclosed array table, expected `]`
    what refers from one part of the config to another is checked once this is right
"#,
    );
}

#[test]
fn bad_settings() {
    same(
        &with(
            r#"[metrics]
listen = "localhost:9738"
[ike]
vici = "unix:///var/run/charon.vici"
"#,
        ),
        r#"
gw.toml:15:10: error: [metrics]: listen "localhost:9738" is not an address and a port
    write it like "127.0.0.1:9738" or "[::1]:9738", or "off"
gw.toml:17:8: error: [ike]: vici "unix:///var/run/charon.vici" is a URI, but a path is wanted
    did you mean "/var/run/charon.vici"?
"#,
    );
}
