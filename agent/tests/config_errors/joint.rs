//! XFRM interfaces that several tunnels have: what each tunnel says of it, and of what is behind it.

use super::{FINE, said, same};

/// The fine config's tunnel with `device` more in its device and `more` on line 11.
fn first(device: &str, more: &str) -> String {
    FINE.replacen("if-id = 42", &format!("if-id = 42{device}"), 1).replacen("ike = ", &format!("{more}\nike = "), 1)
}

/// A second tunnel by that device, with `more` on the sixth of seven lines.
fn second(device: &str, more: &str) -> String {
    format!(
        "[[tunnel]]\nname = \"branch-8\"\nlocal = \"192.0.2.1\"\nremote = \"192.0.2.3\"\nclasses = [\"default\"]\n\
         device = {{ type = \"xfrm\", {device} }}\n{more}\nike = {{ auth = {{ psk-file = \"x\" }} }}\n"
    )
}

fn both(one: [&str; 2], other: [&str; 2]) -> String {
    said(&format!("{}{}", first(one[0], one[1]), second(other[0], other[1])))
}

/// A file of both, each with a prefix of its own.
fn external(device: &str) -> String {
    both(
        [", external = true", "routes = \"10.2.0.0/16\""],
        [&format!("external = true, {device}"), "routes = \"10.3.0.0/16\""],
    )
}

const TS: [&str; 2] =
    ["routes = \"10.2.0.0/16\"\nremote-ts = \"10.2.0.0/16\"", "routes = \"10.3.0.0/16\"\nremote-ts = \"10.3.0.0/16\""];

#[test]
fn one_external_interface() {
    same(&external("name = \"lk-branch7\", if-id = 43"), "");
    same(
        &external("name = \"lk-branch8\", if-id = 43"),
        r#"
gw.toml:20:51: error: tunnel "branch-8": its device is external, and so is that of tunnel "branch-7", see gw.toml:10:34: Linux has one such interface
    give both the same name: their if-ids and routes say which tunnel a packet takes
"#,
    );
    same(
        &external("name = \"lk-branch7\", if-id = 42"),
        r#"
gw.toml:20:73: error: tunnel "branch-8": if-id 42 is taken by tunnel "branch-7", see gw.toml:10:56
    43 is free; both ends of a tunnel may differ in it
"#,
    );
    same(
        &external("name = \"lk-branch7\", if-id = 43, mtu = 1300, vrf = \"blue\""),
        r#"
gw.toml:20:83: error: tunnel "branch-8": mtu of its device lk-branch7 is another than that of tunnel "branch-7", see gw.toml:10:34, which has the same device
    write one mtu in both, or give one of them a device of its own
gw.toml:20:95: error: tunnel "branch-8": vrf of its device lk-branch7 is another than that of tunnel "branch-7", see gw.toml:10:34, which has the same device
    write one vrf in both, or give one of them a device of its own
"#,
    );
    same(
        &said(&first(", external = true, link = \"wan0\", namespace = \"red\"", "")),
        r#"
gw.toml:10:84: error: tunnel "branch-7": device: link is not for an external XFRM interface
    take link out, or external
gw.toml:10:104: error: tunnel "branch-7": device: namespace is not for an external XFRM interface
    take namespace out, or external
"#,
    );
    same(
        &said(&first(", external = true", "")),
        r#"
gw.toml:5:1: error: tunnel "branch-7": several tunnels may have its device, and without routes no packet is known to be this one's
    add routes = ["10.2.0.0/16"]: the networks on the peer's side
"#,
    );
}

#[test]
fn one_destination_in_two_tables() {
    let two = |route: &str, vrf: &str| {
        let device = format!("name = \"lk-other\", if-id = 43, vrf = \"{vrf}\"");
        let other = format!("routes = \"{route}\"\nremote-ts = \"{route}\"");
        let third = second(&device, &other.replace("10.", "11.")).replace("branch-8", "branch-9");
        let first = first(", external = true, vrf = \"blue\"", "routes = \"10.2.0.0/16\"");
        said(&format!("{first}{}{third}", second(&device, &other)))
    };
    same(&two("10.3.0.0/16", "green"), "");
    same(&two("10.2.3.0/24", "blue"), "");
    same(
        &two("10.2.3.0/24", "green"),
        r#"
gw.toml:21:10: error: tunnel "branch-8": route 10.2.3.0/24 meets 10.2.0.0/16 of tunnel "branch-7", see gw.toml:11:10, which another table has, and a packet's tunnel is found by its destination alone
    keep them apart, or give the tunnel a device of its own
"#,
    );
}

#[test]
fn one_if_id() {
    same(&both(["", TS[0]], ["name = \"lk-branch7\", if-id = 42", TS[1]]), "");
    same(
        &both(["", TS[0]], ["name = \"lk-branch8\", if-id = 42", TS[1]]),
        r#"
gw.toml:21:56: error: tunnel "branch-8": if-id 42 is taken by tunnel "branch-7", see gw.toml:10:56
    43 is free; both ends of a tunnel may differ in it
"#,
    );
    same(
        &both(["", TS[0]], ["name = \"lk-branch7\", if-id = 43", TS[1]]),
        r#"
gw.toml:21:34: error: tunnel "branch-8": device name "lk-branch7" is taken by tunnel "branch-7", see gw.toml:10:34
    rename one of them; or have both by one XFRM interface: with the same if-id, or external = true, in each
"#,
    );
    same(
        &both(["", TS[0]], ["name = \"lk-branch7\", if-id = 42", "routes = \"10.3.0.0/16\""]),
        r#"
gw.toml:16:1: error: tunnel "branch-8": remote-ts is missing, and another tunnel has its device and if-id
    add remote-ts = ["10.2.0.0/16"], by which the kernel tells their SAs apart; or write external = true in the device of each, and an if-id of its own
"#,
    );
    same(
        &both(
            ["", TS[0]],
            ["name = \"lk-branch7\", if-id = 42", "routes = \"10.2.9.0/24\"\nremote-ts = \"10.2.9.0/24\""],
        ),
        r#"
gw.toml:23:13: error: tunnel "branch-8": 10.2.9.0/24 of its remote-ts meets 10.2.0.0/16 of tunnel "branch-7", see gw.toml:12:13, which has the same device and if-id
    keep them apart, or write external = true in the device of each, and an if-id of its own
"#,
    );
}

#[test]
fn what_only_a_device_of_one_tunnel_has() {
    let of_tenant = "[[tenant]]\nname = \"acme\"\ninterfaces = [\"lan0\"]\ntunnels = [\"branch-7\"]\n";
    same(
        &said(&format!("{}{of_tenant}", first(", external = true", "routes = \"10.2.0.0/16\""))),
        r#"
gw.toml:18:12: error: tenant "acme": the device of tunnel "branch-7" is not for that tunnel alone, and a tenant's own tunnel has one of its own
    give the tunnel a device of its own, or name the tenant's `sources`
"#,
    );
    let adopted = first(", external = true", "routes = \"selectors\"").replacen(
        "ike = { auth = { psk-file = \"branch-7.psk\" } }",
        "adopt = { connection = \"office\", children = [{ class = \"voice\", names = [\"v\"] }, { class = \"default\", names = [\"*\"] }] }",
        1,
    );
    same(
        &said(&adopted),
        r#"
gw.toml:11:10: error: tunnel "branch-7": routes "selectors" say nothing of which tunnel a packet takes of those that have its device
    list the prefixes, or give the tunnel a device of its own
"#,
    );
    same(
        &said(&adopted.replacen("if-id = 42", "if-id = \"%unique\"", 1).replacen("lk-branch7", "lk-%d", 1).replacen(
            "\"selectors\"",
            "\"10.2.0.0/16\"",
            1,
        )),
        r#"
gw.toml:10:51: error: tunnel "branch-7": device: %unique is not for an external XFRM interface
    write a number
"#,
    );
    same(
        &said(
            &FINE
                .replacen(
                    "type = \"xfrm\", name = \"lk-branch7\", if-id = 42",
                    "type = \"gre\", name = \"lk-branch7\", external = true",
                    1,
                )
                .replacen("[\"voice\", \"default\"]", "[\"default\"]", 1),
        ),
        r#"
gw.toml:10:47: error: tunnel "branch-7": device: external is not for type = "gre"
    take external out: it is for type = "xfrm"
"#,
    );
}
