//! Names that are taken, unknown or badly written.

use super::{changed, said, same, with};

#[test]
fn a_duplicate_class() {
    same(
        &with(
            r#"[[class]]
name = "voice"
"#,
        ),
        r#"
gw.toml:15:8: error: class "voice": duplicate name, the first one is at gw.toml:2:8
    rename one of them
"#,
    );
}

#[test]
fn a_duplicate_tunnel() {
    same(
        &with(
            r#"[[tunnel]]
name = "branch-7"
local = "192.0.2.1"
remote = "192.0.2.3"
classes = ["voice"]
device = { type = "xfrm", name = "lk-other", if-id = 43 }
ike = { auth = { psk-file = "x" } }
"#,
        ),
        r#"
gw.toml:15:8: error: tunnel "branch-7": duplicate name, the first one is at gw.toml:6:8
    rename one of them
"#,
    );
}

#[test]
fn a_duplicate_rule_of_one_tenant() {
    same(
        &with(
            r#"[[rule]]
name = "sip"
class = "voice"
dscp = "ef"
[[rule]]
name = "sip"
class = "default"
"#,
        ),
        r#"
gw.toml:19:8: error: rule "sip": duplicate name, the first one is at gw.toml:15:8
    rename one of them
"#,
    );
}

#[test]
fn a_duplicate_tenant() {
    same(
        &with(
            r#"[[tenant]]
name = "acme"
interfaces = ["lan0"]
[[tenant]]
name = "acme"
interfaces = ["lan1"]
"#,
        ),
        r#"
gw.toml:18:8: error: tenant "acme": duplicate name, the first one is at gw.toml:15:8
    rename one of them
"#,
    );
}

#[test]
fn a_rule_for_an_unknown_class() {
    same(
        &with(
            r#"[[rule]]
name = "sip"
class = "vioce"
"#,
        ),
        r#"
gw.toml:16:9: error: rule "sip": no class is named "vioce"
    did you mean "voice"?
"#,
    );
}

#[test]
fn a_rule_for_an_unknown_tenant() {
    same(
        &with(
            r#"[[rule]]
name = "sip"
class = "voice"
tenant = "acme"
"#,
        ),
        r#"
gw.toml:17:10: error: rule "sip": no tenant is named "acme"
    there are no tenants
"#,
    );
}

#[test]
fn a_tunnel_for_an_unknown_class() {
    same(
        &changed("[\"voice\", \"default\"]", "[\"voice\", \"defaults\"]"),
        r#"
gw.toml:9:21: error: tunnel "branch-7": no class is named "defaults"
    did you mean "default"?
"#,
    );
}

#[test]
fn a_fallback_that_leads_round() {
    same(
        &said(
            r#"[[class]]
name = "a"
fallback = "b"
[[class]]
name = "b"
fallback = "c"
[[class]]
name = "c"
fallback = "b"
[[class]]
name = "default"
fallback = "default"
"#,
        ),
        r#"
gw.toml:6:12: error: class "b": its fallback leads back to itself: b -> c -> b
    end the chain with fallback = "block" at one of them
gw.toml:10:1: error: [default]: class "default" is carried by no tunnel, so there is no lane for these packets
    add a [[tunnel]]: this config has none
gw.toml:12:12: error: class "default": its fallback leads back to itself: default -> default
    end the chain with fallback = "block" at one of them
"#,
    );
}

#[test]
fn a_fallback_to_nobody() {
    same(
        &changed(
            "name = \"voice\"",
            r#"name = "voice"
fallback = "bulk""#,
        ),
        r#"
gw.toml:3:12: error: class "voice": no class is named "bulk"
    values: voice, default, block
"#,
    );
}

#[test]
fn a_class_named_like_a_verdict() {
    same(
        &changed("name = \"voice\"", "name = \"block\""),
        r#"
gw.toml:2:8: error: class "block": name "block" is reserved: fallback has a meaning for it
    take another name
gw.toml:9:12: error: tunnel "branch-7": no class is named "voice"
    classes: block, default
"#,
    );
}

#[test]
fn names_of_other_characters() {
    same(
        &changed("name = \"branch-7\"", "name = \"branch 7\""),
        r#"
gw.toml:6:8: error: tunnel "branch 7": name "branch 7" has a space, but names have letters, digits, "_", "." and "-"
    did you mean "branch-7"?
"#,
    );
}

#[test]
fn a_name_too_long() {
    same(
        &changed("name = \"branch-7\"", "name = \"branch-number-seven-of-the-far-west\""),
        r#"
gw.toml:6:8: error: tunnel "branch-number-seven-of-the-far-west": name "branch-number-seven-of-the-far-west" is 35 bytes long, 31 at most
"#,
    );
}

#[test]
fn a_device_name_too_long() {
    same(
        &changed("\"lk-branch7\"", "\"lk-branch-number7\""),
        r#"
gw.toml:10:34: error: tunnel "branch-7": device: name "lk-branch-number7" is 17 bytes long, 15 at most
"#,
    );
}

#[test]
fn a_fallback_to_cleartext() {
    same(
        &changed("name = \"voice\"", "name = \"voice\"\nfallback = \"clear\""),
        r#"
gw.toml:3:12: error: class "voice": fallback "clear" is not supported yet
    an XFRM interface never sends in clear: take "block" or a class
"#,
    );
}
