//! Tunnels without a device: what they need, and what only a device has.

use super::{FINE, said, same};

const PORT: &str = "[[port]]\nname = \"lan0\"\n";

/// The fine config, but its tunnel has no device; what `more` adds to the tunnel begins on line 11.
fn bare(more: &str) -> String {
    FINE.replacen("name = \"lk-branch7\", if-id = 42", "", 1)
        .replacen("type = \"xfrm\", ", "type = \"none\"", 1)
        .replacen("ike = ", &format!("{more}ike = "), 1)
}

/// The same with selectors on lines 11 and 12, and a port.
fn between(local: &str, remote: &str) -> String {
    format!("{}{PORT}", bare(&format!("local-ts = [{local}]\nremote-ts = [{remote}]\n")))
}

/// A second one, in eight lines.
fn second(remote: &str) -> String {
    format!(
        "[[tunnel]]\nname = \"branch-8\"\nlocal = \"192.0.2.1\"\nremote = \"192.0.2.3\"\nclasses = [\"default\"]\n\
         device = {{ type = \"none\" }}\nlocal-ts = [\"10.1.0.0/16\"]\nremote-ts = [\"{remote}\"]\n\
         ike = {{ auth = {{ psk-file = \"x\" }} }}\n"
    )
}

#[test]
fn a_tunnel_without_a_device_says_what_it_is_for() {
    same(&said(&between("\"10.1.0.0/16\"", "\"10.2.0.0/16\"")), "");
    same(
        &said(&format!("{}{PORT}", bare(""))),
        r#"
gw.toml:5:1: error: tunnel "branch-7": local-ts is missing, and without a device nothing else says what the tunnel is for
    add local-ts = ["10.1.0.0/16"]: the networks on this side
gw.toml:5:1: error: tunnel "branch-7": remote-ts is missing, and without a device nothing else says what the tunnel is for
    add remote-ts = ["10.2.0.0/16"]: the networks on the peer's side
"#,
    );
}

#[test]
fn what_only_a_device_has() {
    let fine = between("\"10.1.0.0/16\"", "\"10.2.0.0/16\"");
    same(
        &said(&fine.replacen("type = \"none\"", "type = \"none\", mtu = 1400", 1)),
        r#"
gw.toml:10:27: error: tunnel "branch-7": device: mtu is for a device, and type = "none" has none
    take mtu out, or take type = "xfrm"
"#,
    );
    same(
        &said(&fine.replacen("local-ts", "routes = [\"10.2.0.0/16\"]\nlocal-ts", 1)),
        r#"
gw.toml:11:11: error: tunnel "branch-7": routes is for a device, and type = "none" has none
    take routes out: whatever is for remote-ts enters the tunnel, wherever it is routed to; or take type = "xfrm"
"#,
    );
    same(
        &said(&format!("{fine}[[tenant]]\nname = \"acme\"\ninterfaces = [\"lan0\"]\ntunnels = [\"branch-7\"]\n")),
        r#"
gw.toml:21:12: error: tenant "acme": tunnel "branch-7" has no device, by which what comes out of it would be the tenant's
    take it out: the tunnel is then for all; or give it a device, type = "xfrm"
"#,
    );
}

#[test]
fn selectors_that_lead_back_or_around_the_ends() {
    same(
        &said(&between("\"10.0.0.0/8\"", "\"10.2.0.0/16\"")),
        r#"
gw.toml:12:14: error: tunnel "branch-7": 10.2.0.0/16 of its remote-ts meets 10.0.0.0/8 of its local-ts: what comes out would be sent back into it
    name only what is on each side, or take type = "xfrm", which takes any selectors
"#,
    );
    same(
        &said(&between("\"192.0.2.1/32\"", "\"192.0.2.2/32\"")),
        r#"
gw.toml:12:14: error: tunnel "branch-7": local-ts and remote-ts hold the tunnel's own local and remote
    name the networks behind the two, without their outer addresses, or take type = "xfrm"
"#,
    );
}

#[test]
fn one_destination_of_two_tunnels_without_a_device() {
    let first = between("\"10.1.0.0/16\"", "\"10.2.0.0/16\", \"10.4.0.0/16\"");
    same(&said(&format!("{first}{}", second("10.3.0.0/16"))), "");
    same(
        &said(&format!("{first}{}", second("10.4.9.0/24"))),
        r#"
gw.toml:25:14: error: tunnel "branch-8": 10.4.9.0/24 of its remote-ts meets 10.4.0.0/16 of tunnel "branch-7", see gw.toml:12:29, and neither has a device
    a packet's tunnel is found by its destination: keep them apart, or take type = "xfrm" for one of them, and routes
"#,
    );
}

#[test]
fn nothing_that_marks() {
    let fine = between("\"10.1.0.0/16\"", "\"10.2.0.0/16\"");
    same(
        &said(&fine.replacen(PORT, "", 1)),
        r#"
gw.toml:5:1: error: tunnel "branch-7" has no device, and nothing marks packets before they are routed: all that it is for would be dropped
    add a [[port]] for each interface of the LAN, or mark-sockets = true in [host] for what the host itself sends
"#,
    );
    same(&said(&fine.replacen(PORT, "[host]\nmark-sockets = true\n", 1)), "");
}

#[test]
fn further_lanes_have_marks_behind_those_of_all_classes() {
    let fine =
        between("\"10.1.0.0/16\"", "\"10.2.0.0/16\"").replacen("name = \"voice\"", "name = \"voice\"\nlanes = 2", 1);
    same(&said(&format!("{fine}[mark]\nmask = 0x3\n")), "");
    same(
        &said(&format!("{fine}[[class]]\nname = \"more\"\n[mark]\nmask = 0x3\n")),
        r#"
gw.toml:22:8: error: [mark]: mask 0x00000003 is too small: it has 3 marks, and tunnel "branch-7" needs 4
    take fewer lanes, or a mask of 3 bits such as 0x00000007
"#,
    );
}

#[test]
fn an_adopted_tunnel_without_a_device_says_what_its_sas_are_for() {
    let adopted = |more: &str| {
        let text = format!("{}{PORT}", bare(more));
        said(&text.replacen(
            "ike = { auth = { psk-file = \"branch-7.psk\" } }",
            "adopt = { connection = \"office\" }",
            1,
        ))
    };
    same(&adopted("local-ts = [\"10.1.0.0/16\"]\nremote-ts = [\"10.2.0.0/16\"]\n"), "");
    same(
        &adopted("local-ts = [\"10.1.0.0/16\"]\n"),
        r#"
gw.toml:5:1: error: tunnel "branch-7": remote-ts is missing, and without a device nothing else says what the tunnel is for
    add remote-ts = ["10.2.0.0/16"]: the networks on the peer's side
"#,
    );
}
