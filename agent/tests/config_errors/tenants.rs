//! Tenants: their traffic, and what they have of their own: defaults and tunnels.

use super::{branch_8, same, with};

/// A second tunnel, on lines 14 to 20, and the tenant whose own it is, on lines 21 to 24.
fn tied(classes: &str, more: &str) -> String {
    let tunnel = branch_8(classes, "lk-branch8", 43);
    let tenant = "[[tenant]]\nname = \"acme\"\ninterfaces = [\"lan0\"]\ntunnels = [\"branch-8\"]\n";
    with(&format!("{tunnel}{tenant}{more}"))
}

#[test]
fn a_tenant_with_a_tunnel_of_its_own() {
    same(&tied(r#"["voice", "default"]"#, "[[rule]]\nclass = \"voice\"\ntenant = \"acme\"\n"), "");
}

#[test]
fn an_unknown_tunnel_of_a_tenant() {
    same(
        &with(
            r#"[[tenant]]
name = "acme"
interfaces = ["lan0"]
tunnels = ["branch-8"]
"#,
        ),
        r#"
gw.toml:17:12: error: tenant "acme": no tunnel is named "branch-8"
    did you mean "branch-7"?
"#,
    );
}

#[test]
fn an_unknown_default_class_of_a_tenant() {
    same(
        &with(
            r#"[[tenant]]
name = "acme"
interfaces = ["lan0"]
default = "vioce"
"#,
        ),
        r#"
gw.toml:17:11: error: tenant "acme": no class is named "vioce"
    did you mean "voice"?
"#,
    );
}

#[test]
fn a_tunnel_of_two_tenants() {
    same(
        &with(
            r#"[[tenant]]
name = "a"
interfaces = ["lan0"]
tunnels = ["branch-7"]
[[tenant]]
name = "b"
interfaces = ["lan1"]
tunnels = ["branch-7"]
"#,
        ),
        r#"
gw.toml:21:12: error: tenant "b": tunnel "branch-7" is tenant "a"'s own, see gw.toml:17:12
    take it out of one of them; a tunnel that no tenant names is for all that have none of their own
"#,
    );
}

#[test]
fn a_tunnel_twice_in_one_tenant() {
    same(
        &with(
            r#"[[tenant]]
name = "a"
interfaces = ["lan0"]
tunnels = ["branch-7", "branch-7"]
"#,
        ),
        r#"
gw.toml:17:24: error: tenant "a": tunnels has "branch-7" twice
    say it once
"#,
    );
}

#[test]
fn a_tunnel_that_names_its_tenant() {
    same(
        &with(&(branch_8(r#"["default"]"#, "lk-branch8", 43) + "tenant = \"acme\"\n")),
        r#"
gw.toml:21:1: error: tunnel "branch-8": "tenant" is not supported yet
    the tenant names its tunnels: tunnels = ["branch-7"] in its [[tenant]]
"#,
    );
}

/// What is said where the tunnel of tenant "acme" does not carry voice.
fn uncarried(place: &str, object: &str) -> String {
    format!(
        r#"{place}: error: {object}: class "voice" is carried by no tunnel of tenant "acme", so there is no lane for these packets
    add "voice" to the classes of a tunnel: "branch-8""#
    )
}

#[test]
fn a_rule_for_a_class_that_no_tunnel_of_its_tenant_carries() {
    same(
        &tied(r#"["default"]"#, "[[rule]]\nname = \"sip\"\nclass = \"voice\"\ntenant = \"acme\"\n"),
        &uncarried("gw.toml:27:9", "rule \"sip\""),
    );
}

#[test]
fn a_default_that_no_tunnel_of_its_tenant_carries() {
    same(&tied(r#"["default"]"#, "default = \"voice\"\n"), &uncarried("gw.toml:25:11", "tenant \"acme\""));
}

/// Others' tunnels are no way for a rule of nobody's traffic.
#[test]
fn a_rule_without_a_tenant_where_every_tunnel_is_a_tenants_own() {
    same(
        &with(
            r#"[[tenant]]
name = "a"
interfaces = ["lan0"]
tunnels = ["branch-7"]
[[rule]]
name = "sip"
class = "voice"
"#,
        ),
        r#"
gw.toml:20:9: error: rule "sip": class "voice" is carried by no tunnel that is no tenant's own, so there is no lane for these packets
    add a [[tunnel]] that is no tenant's own: this config has none
"#,
    );
}

#[test]
fn a_tenants_tunnel_that_drops_the_default_is_a_warning() {
    same(
        &tied(r#"["voice"]"#, ""),
        r#"
gw.toml:18:12: warning: tunnel "branch-8" carries neither class "default" nor its fallbacks: such packets are dropped there
    add "default" to its classes, or give the class a fallback that it carries
"#,
    );
    same(&tied(r#"["voice"]"#, "default = \"voice\"\n"), "");
}

#[test]
fn a_vlan_and_a_vrf_that_an_earlier_tenant_has_are_warnings() {
    same(
        &with(
            r#"[[tenant]]
name = "a"
vlans = [12]
vrfs = ["blue"]
[[tenant]]
name = "b"
vlans = [13, 12]
vrfs = "blue"
"#,
        ),
        r#"
gw.toml:20:14: warning: tenant "b" gets nothing of vlan 12: tenant "a" has it first
    the first tenant that matches has the packet: move it up, or take it out
gw.toml:21:8: warning: tenant "b" gets nothing of vrf blue: tenant "a" has it first
    the first tenant that matches has the packet: move it up, or take it out
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
gw.toml:14:1: error: tenant "acme" has neither interfaces, vlans, vrfs nor sources, so nothing is its traffic
    add interfaces = ["vlan12"] or sources = ["10.1.12.0/24"]
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
