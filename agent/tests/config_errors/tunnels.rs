//! Tunnels: ends, classes, devices, routes, keying.

use super::{FINE, branch_8, changed, said, same, with};

#[test]
fn a_rule_for_a_class_that_no_tunnel_carries() {
    same(
        &with(
            r#"[[class]]
name = "bulk"
[[rule]]
name = "backup"
class = "bulk"
"#,
        ),
        r#"
gw.toml:18:9: error: rule "backup": class "bulk" is carried by no tunnel, so there is no lane for these packets
    add "bulk" to the classes of a tunnel: "branch-7"
"#,
    );
}

#[test]
fn a_default_class_that_no_tunnel_carries() {
    same(
        &changed("[\"voice\", \"default\"]", "[\"voice\"]"),
        r#"
gw.toml:13:9: error: [default]: class "default" is carried by no tunnel, so there is no lane for these packets
    add "default" to the classes of a tunnel: "branch-7"
"#,
    );
}

#[test]
fn overlapping_if_ids() {
    same(
        &with(&branch_8(r#"["voice", "default"]"#, "lk-branch8", 42)),
        r#"
gw.toml:19:56: error: tunnel "branch-8": if-id 42 is taken by tunnel "branch-7", see gw.toml:10:56
    43 is free; both ends of a tunnel may differ in it
"#,
    );
}

/// The fine config, voice with an outer DSCP, and a second tunnel to the same peer.
fn twice_to_one_peer(classes: &str) -> String {
    let fine = FINE.replacen("name = \"voice\"", "name = \"voice\"\nouter-dscp = \"ef\"", 1);
    said(&format!(
        r#"{fine}[[tunnel]]
name = "guests"
local = "192.0.2.1"
remote = "192.0.2.2"
classes = {classes}
device = {{ type = "xfrm", name = "lk-guests", if-id = 43 }}
ike = {{ auth = {{ psk-file = "x" }} }}
"#
    ))
}

#[test]
fn one_mark_for_two_outer_dscps_between_the_same_ends() {
    same(
        &twice_to_one_peer(r#"["default", "voice"]"#),
        r#"
gw.toml:19:12: error: tunnel "guests": its lane default.0 and lane voice.0 of tunnel "branch-7" have mark 0x1 between the same addresses, but not the same outer-dscp, see gw.toml:10:12
    list the same classes in the same order in both tunnels: outgoing ESP packets are told apart by addresses and mark alone
"#,
    );
    same(&twice_to_one_peer(r#"["voice", "default"]"#), "");
    let fewer = twice_to_one_peer(r#"["voice"]"#);
    assert!(!fewer.contains("error"), "{fewer}");
}

#[test]
fn a_device_name_of_two_tunnels() {
    same(
        &with(&branch_8(r#"["voice", "default"]"#, "lk-branch7", 43)),
        r#"
gw.toml:19:34: error: tunnel "branch-8": device name "lk-branch7" is taken by tunnel "branch-7", see gw.toml:10:34
    rename one of them; or have both by one XFRM interface: with the same if-id, or external = true, in each
"#,
    );
}

#[test]
fn a_route_into_two_tunnels() {
    same(
        &changed(
            r#"[[tunnel]]
"#,
            r#"[[tunnel]]
routes = ["10.2.0.0/16"]
name = "branch-8"
local = "192.0.2.1"
remote = "192.0.2.3"
classes = ["voice", "default"]
device = { type = "xfrm", name = "lk-branch8", if-id = 43 }
ike = { auth = { psk-file = "x" } }
[[tunnel]]
routes = ["10.2.0.0/16"]
"#,
        ),
        r#"
gw.toml:14:11: error: tunnel "branch-7": route 10.2.0.0/16 leads into tunnel "branch-8" already, see gw.toml:6:11
    take it out of one of them, or make one more specific
"#,
    );
}

#[test]
fn a_device_of_no_version() {
    same(
        &changed("type = \"xfrm\"", "type = \"xfmr\""),
        r#"
gw.toml:10:19: error: tunnel "branch-7": device: type "xfmr" is not known
    did you mean "xfrm"?
"#,
    );
}

#[test]
fn keying_of_later_versions() {
    same(
        &changed("ike = {", "ike = { mode = \"adopted\","),
        r#"
gw.toml:11:9: error: tunnel "branch-7": ike: "mode" is not supported yet
    for a connection of your own swanctl.conf take [tunnel.adopt] instead of [tunnel.ike]
"#,
    );
}

#[test]
fn lanes_that_are_told_apart_by_identity() {
    same(
        &changed("ike = {", "ike = { distinct = \"labels\","),
        r#"
gw.toml:11:20: error: tunnel "branch-7": ike: distinct "labels" is not known
    did you mean "label"?
"#,
    );
    same(
        &changed(
            "ike = {",
            "ike = { distinct = \"identity\", local-id = \"C=CH, CN=moon\", remote-id = \"sun.example\",",
        ),
        r#"
gw.toml:11:43: error: tunnel "branch-7": local-id "C=CH, CN=moon" is no name that could have a lane's in front, as distinct = "identity" takes it
    take one like "moon.example": lane 0 of voice is then "voice.0.moon.example"
"#,
    );
    same(&changed("ike = {", "ike = { distinct = \"identity\","), "");
}

#[test]
fn lanes_that_come_with_their_first_packet() {
    same(
        &changed("ike = {", "ike = { start = \"tarp\","),
        r#"
gw.toml:11:17: error: tunnel "branch-7": ike: start "tarp" is not known
    did you mean "trap"?
"#,
    );
    same(
        &changed("name = \"voice\"", "name = \"voice\"\nstart = \"none\""),
        r#"
gw.toml:3:9: error: class "voice": start "none" is not known
    values: start, trap
"#,
    );
    same(
        &changed("ike = {", "ike = { start = \"trap\", idle-timeout = 5,"),
        r#"
gw.toml:11:40: error: tunnel "branch-7": ike: idle-timeout 5 is outside 10 to 4294967295
"#,
    );
    same(
        &changed("ike = {", "ike = { idle-timeout = \"10m\","),
        r#"
gw.toml:11:24: error: tunnel "branch-7": idle-timeout, but none of its lanes comes up with its first packet
    write start = "trap" in its [tunnel.ike] or in a [[class]] that it carries
"#,
    );
    let trapped = FINE.replacen("name = \"voice\"", "name = \"voice\"\nstart = \"trap\"", 1);
    let idle = trapped.replacen("ike = {", "ike = { idle-timeout = \"10m\",", 1);
    same(&said(&idle), "");
    let theirs = trapped.replacen("ike = {", "ike = { start = \"none\", idle-timeout = \"10m\",", 1);
    assert!(said(&theirs).contains("none of its lanes"), "the peer begins");
}

#[test]
fn addresses_of_two_families() {
    same(
        &changed("\"192.0.2.2\"", "\"2001:db8::2\""),
        r#"
gw.toml:8:10: error: tunnel "branch-7": local 192.0.2.1 and remote 2001:db8::2 are of different families
    take addresses of one family; what goes inside may be of both
"#,
    );
}

#[test]
fn the_same_address_at_both_ends() {
    same(
        &changed("\"192.0.2.2\"", "\"192.0.2.1\""),
        r#"
gw.toml:8:10: error: tunnel "branch-7": local and remote are both 192.0.2.1
    local is this gateway, remote is its peer
"#,
    );
}

#[test]
fn addresses_of_no_gateway() {
    same(
        &changed("\"192.0.2.2\"", "\"224.0.0.5\""),
        r#"
gw.toml:8:10: error: tunnel "branch-7": remote 224.0.0.5 is a multicast address, not the address of a gateway
    write the gateway's own unicast address
"#,
    );
}

#[test]
fn a_peer_by_name() {
    same(
        &changed("\"192.0.2.2\"", "\"sun.example\""),
        r#"
gw.toml:8:10: error: tunnel "branch-7": remote "sun.example" is not an IP address
    write it like "192.0.2.1" or "2001:db8::1"; names are not resolved
"#,
    );
}

#[test]
fn an_mtu_out_of_range() {
    same(
        &changed("if-id = 42", "if-id = 42, mtu = 500"),
        r#"
gw.toml:10:66: error: tunnel "branch-7": device: mtu 500 is outside 576 to 65535
"#,
    );
}

#[test]
fn an_mtu_too_small_for_ipv6() {
    same(
        &changed("if-id = 42", "if-id = 42, mtu = 1000, addresses = [\"2001:db8::1/64\"]"),
        r#"
gw.toml:10:66: error: tunnel "branch-7": device: mtu 1000 is too small for IPv6, which address 2001:db8::1/64 needs
    take 1280 at least (RFC 8200 section 5), or IPv4 only
"#,
    );
}

#[test]
fn a_replay_window_out_of_range() {
    same(
        &changed(
            "name = \"branch-7\"",
            r#"name = "branch-7"
replay-window = 5000"#,
        ),
        r#"
gw.toml:7:17: error: tunnel "branch-7": replay-window 5000 is outside 0 to 4096
"#,
    );
}

#[test]
fn lanes_out_of_range() {
    same(
        &changed(
            "name = \"voice\"",
            r#"name = "voice"
lanes = 0"#,
        ),
        r#"
gw.toml:3:9: error: class "voice": lanes 0 is outside 1 to 32
"#,
    );
}

#[test]
fn no_keying() {
    same(
        &changed("ike = { auth = { psk-file = \"branch-7.psk\" } }", ""),
        r#"
gw.toml:5:1: error: tunnel "branch-7" has neither "ike", "static" nor "adopt"; it needs one of "ike", "static" and "adopt"
    [tunnel.ike] for strongSwan, [tunnel.adopt] for a connection of your own swanctl.conf, [tunnel.static] for keys from a file
"#,
    );
}

#[test]
fn two_keyings() {
    same(
        &changed(
            "[default]",
            r#"[tunnel.static]
key-file = "x"
[default]"#,
        ),
        r#"
gw.toml:5:1: error: tunnel "branch-7" has both "ike" and "static"; it needs one of "ike", "static" and "adopt"
    [tunnel.ike] for strongSwan, [tunnel.adopt] for a connection of your own swanctl.conf, [tunnel.static] for keys from a file
"#,
    );
}

#[test]
fn no_authentication() {
    same(
        &changed("auth = { psk-file = \"branch-7.psk\" }", "local-id = \"moon.example\""),
        r#"
gw.toml:11:7: error: tunnel "branch-7": ike: auth is missing
    add auth = { psk-file = "/etc/lanekeeper/branch-7.psk" }
"#,
    );
}

#[test]
fn half_an_authentication() {
    same(
        &changed("psk-file = \"branch-7.psk\"", "certificate = \"moon.crt\""),
        r#"
gw.toml:11:16: error: tunnel "branch-7": ike: auth has a part of what a certificate takes: "certificate", "key" and "ca"
    write { psk-file = "..." } or { certificate = "...", key = "...", ca = "..." }
"#,
    );
}

#[test]
fn two_authentications() {
    same(
        &changed(
            "psk-file = \"branch-7.psk\"",
            "psk-file = \"branch-7.psk\", certificate = \"moon.crt\", key = \"moon.key\", ca = \"ca.crt\"",
        ),
        r#"
gw.toml:11:16: error: tunnel "branch-7": ike: auth has both a pre-shared key and a certificate
    write { psk-file = "..." } or { certificate = "...", key = "...", ca = "..." }
"#,
    );
}

#[test]
fn consent_in_other_words() {
    same(
        &changed(
            "ike = { auth = { psk-file = \"branch-7.psk\" } }",
            "static = { key-file = \"lab.keys\", i-know = \"yes\" }",
        ),
        r#"
gw.toml:11:44: error: tunnel "branch-7": static: i-know does not say what has to be said
    read this, and if it is true for you write i-know = "static keys repeat nonces after a reboot"
"#,
    );
}

#[test]
fn durations_and_proposals() {
    same(
        &changed("ike = {", "ike = { rekey-time = \"1 hour\", proposals = \"AES256-SHA256\", esp-proposals = [],"),
        r#"
gw.toml:11:22: error: tunnel "branch-7": ike: rekey-time "1 hour" is not a duration
    write seconds, or "90s", "30m", "4h", "1d"
gw.toml:11:44: error: tunnel "branch-7": ike: proposals "AES256-SHA256" has 'A', but proposals have lower-case letters, digits and "-"
    did you mean "aes256-sha256"?
gw.toml:11:77: error: tunnel "branch-7": ike: esp-proposals is an empty list
    leave the key out for charon's own
"#,
    );
}

#[test]
fn a_card_that_does_all_of_ipsec() {
    same(&changed("ike = {", "ike = { hw-offload = \"crypto\","), "");
    same(
        &changed("ike = {", "ike = { hw-offload = \"packet\","),
        r#"
gw.toml:11:22: error: tunnel "branch-7": ike: hw-offload "packet" may hand SAs to a network card as a whole, which knows neither marks nor if_ids, and so no lanes
    write "crypto", with which the card encrypts alone, or "no"
"#,
    );
    same(
        &changed("ike = {", "ike = { hw-offload = \"on\","),
        r#"
gw.toml:11:22: error: tunnel "branch-7": ike: hw-offload "on" is not known
    did you mean "no"?
"#,
    );
}

#[test]
fn a_class_that_one_tunnel_drops_is_a_warning() {
    same(
        &with(&branch_8(r#"["voice"]"#, "lk-branch8", 43)),
        r#"
gw.toml:18:12: warning: tunnel "branch-8" carries neither class "default" nor its fallbacks: such packets are dropped there
    add "default" to its classes, or give the class a fallback that it carries
"#,
    );
}

#[test]
fn routes_that_go_nowhere_are_warnings() {
    same(
        &changed(
            r#"[[tunnel]]
"#,
            r#"[[tunnel]]
remote-ts = "10.2.0.0/16"
routes = ["10.2.3.0/24", "10.3.0.0/16", "192.0.2.0/24"]
"#,
        ),
        r#"
gw.toml:7:26: warning: tunnel "branch-7": route 10.3.0.0/16 is outside remote-ts, so its packets are dropped
    add the prefix to remote-ts on this end and to local-ts on the other
gw.toml:7:41: warning: tunnel "branch-7": route 192.0.2.0/24 is outside remote-ts, so its packets are dropped
    add the prefix to remote-ts on this end and to local-ts on the other
"#,
    );
}
