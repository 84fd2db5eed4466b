//! Adopted connections.

use super::{FINE, changed, said, same};

const IKE: &str = "ike = { auth = { psk-file = \"branch-7.psk\" } }";

/// The fine config with its tunnel adopted.
fn adopted(adopt: &str) -> String {
    changed(IKE, &format!("adopt = {adopt}"))
}

#[test]
fn adopted_by_names_or_by_labels_is_fine() {
    same(&adopted("{ connection = \"office\" }"), "");
    let children = "[{ class = \"voice\", names = \"voice*\" }, { class = \"default\", names = [\"a\", \"b\"] }]";
    same(&adopted(&format!("{{ connection = \"office\", children = {children} }}")), "");
}

#[test]
fn an_adopted_connection_without_a_name() {
    same(
        &adopted("{ connection = \"\" }"),
        r#"
gw.toml:11:24: error: tunnel "branch-7": adopt: connection is empty
    give it a value, or leave the key out
"#,
    );
    same(
        &adopted("{ conn = \"office\" }"),
        r#"
gw.toml:11:9: error: tunnel "branch-7": adopt: connection is missing
    add connection = "branch-7"
gw.toml:11:11: error: tunnel "branch-7": adopt: unknown key "conn"
    keys here: connection, children
"#,
    );
}

#[test]
fn a_class_without_children() {
    same(
        &adopted("{ connection = \"office\", children = [{ class = \"voice\", names = [\"voice*\"] }] }"),
        r#"
gw.toml:11:9: error: tunnel "branch-7": no CHILD_SA of the adopted connection is class "default"'s
    add { class = "default", names = ["default*"] } to its children, or take "default" out of the tunnel's classes
"#,
    );
}

#[test]
fn children_of_a_class_that_is_not_there_or_not_carried() {
    let children = "[{ class = \"vioce\", names = [\"v\"] }, { class = \"default\", names = [\"*\"] }]";
    same(
        &adopted(&format!("{{ connection = \"office\", children = {children} }}")),
        r#"
gw.toml:11:56: error: tunnel "branch-7": adopt: children 1: no class is named "vioce"
    did you mean "voice"?
"#,
    );
    let fine = super::FINE.replacen("[\"voice\", \"default\"]", "[\"default\"]", 1);
    let children = "[{ class = \"voice\", names = [\"v\"] }, { class = \"default\", names = [\"*\"] }]";
    same(
        &super::said(&fine.replacen(IKE, &format!("adopt = {{ connection = \"office\", children = {children} }}"), 1)),
        r#"
gw.toml:11:56: error: tunnel "branch-7": adopt: children 1: class "voice" is not among the tunnel's classes
    add "voice" to the classes of the tunnel, or take the entry out
"#,
    );
}

#[test]
fn children_with_too_little_or_twice_the_same() {
    let children = "[{ class = \"voice\" }, { names = [\"*\"] }, { class = \"voice\", names = [\"a\", \"a\"] }, \
                    { class = \"default\", names = [] }]";
    same(
        &adopted(&format!("{{ connection = \"office\", children = {children} }}")),
        r#"
gw.toml:11:46: error: tunnel "branch-7": adopt: children 1: names is missing
    add names = ["voice*"]
gw.toml:11:67: error: tunnel "branch-7": adopt: children 2: class is missing
    add class = "voice"
gw.toml:11:96: error: tunnel "branch-7": adopt: children has "voice" twice
    say it once
gw.toml:11:119: error: tunnel "branch-7": adopt: children 3: names has "a" twice
    say it once
gw.toml:11:156: error: tunnel "branch-7": adopt: children 4: names is an empty list
    name the CHILD_SAs of the class, or take the entry out
"#,
    );
}

#[test]
fn keys_that_swanctl_conf_has_to_say() {
    same(
        &changed(
            IKE,
            "adopt = { connection = \"office\" }\nreplay-window = 64\nlocal-ts = \"10.1.0.0/16\"\nremote-ts = \"10.2.0.0/16\"",
        ),
        r#"
gw.toml:12:17: error: tunnel "branch-7": replay-window is not ours to say: strongSwan makes the SAs of an adopted connection as swanctl.conf has it
    write it as replay_window of the child in swanctl.conf, and take it out here
gw.toml:13:12: error: tunnel "branch-7": local-ts is not ours to say: strongSwan makes the SAs of an adopted connection as swanctl.conf has it
    write it as local_ts of the child in swanctl.conf, and take it out here
gw.toml:14:13: error: tunnel "branch-7": remote-ts is not ours to say: strongSwan makes the SAs of an adopted connection as swanctl.conf has it
    write it as remote_ts of the child in swanctl.conf, and take it out here
"#,
    );
}

#[test]
fn a_device_that_is_neither_an_xfrm_interface_nor_a_vti() {
    let text = super::FINE.replacen(IKE, "adopt = { connection = \"office\" }", 1);
    let text = text.replacen("[\"voice\", \"default\"]", "[\"default\"]", 1);
    same(
        &super::said(&text.replacen(
            "type = \"xfrm\", name = \"lk-branch7\", if-id",
            "type = \"gre\", name = \"lk-branch7\", key",
            1,
        )),
        r#"
gw.toml:10:19: error: tunnel "branch-7": the SAs of an adopted connection are reached by an XFRM interface, a VTI or marks alone
    write type = "xfrm" and the if-id that the children have as if_id_in and if_id_out in swanctl.conf, type = "vti" and the key that one of them has as mark_in and mark_out, or type = "none"
"#,
    );
}

#[test]
fn two_and_three_keyings() {
    let cure = "    [tunnel.ike] for strongSwan, [tunnel.adopt] for a connection of your own swanctl.conf, [tunnel.static] for \
                keys from a file";
    same(
        &changed(IKE, &format!("{IKE}\nadopt = {{ connection = \"office\" }}")),
        &format!(
            "gw.toml:5:1: error: tunnel \"branch-7\" has both \"ike\" and \"adopt\"; it needs one of \"ike\", \"static\" and \
             \"adopt\"\n{cure}"
        ),
    );
    same(
        &changed(IKE, &format!("{IKE}\nadopt = {{ connection = \"office\" }}\nstatic = {{ key-file = \"k\" }}")),
        &format!(
            "gw.toml:5:1: error: tunnel \"branch-7\" has \"ike\", \"static\" and \"adopt\"; it needs one of \"ike\", \"static\" and \
             \"adopt\"\n{cure}"
        ),
    );
}

/// The fine config adopted, with these routes and these parts of its device.
fn following(routes: &str, device: &str) -> String {
    let fine = super::FINE.replacen(IKE, "adopt = { connection = \"office\" }", 1);
    let fine = fine.replacen("if-id = 42", &format!("if-id = 42{device}"), 1);
    super::said(&fine.replacen("local =", &format!("routes = {routes}\nlocal ="), 1))
}

#[test]
fn routes_and_addresses_that_follow_the_sas_are_fine_alone_and_among_others() {
    same(&following("\"selectors\"", ", addresses = \"virtual\""), "");
    same(&following("[\"10.2.0.0/16\", \"selectors\"]", ", addresses = [\"virtual\", \"10.255.0.1/30\"]"), "");
}

#[test]
fn words_for_what_follows_the_sas_twice_or_misspelt() {
    same(
        &following("[\"selectors\", \"selectors\"]", ", addresses = [\"virtual\", \"virtual\"]"),
        r#"
gw.toml:7:24: error: tunnel "branch-7": routes has "selectors" twice
    say it once
gw.toml:11:84: error: tunnel "branch-7": device: addresses has "virtual" twice
    say it once
"#,
    );
    same(
        &following("\"selector\"", ", addresses = \"vips\""),
        r#"
gw.toml:7:10: error: tunnel "branch-7": routes "selector" is not a prefix
    the one word that may stand here is "selectors"
gw.toml:11:72: error: tunnel "branch-7": device: addresses "vips" is not a prefix
    the one word that may stand here is "virtual"
"#,
    );
}

#[test]
fn there_is_nothing_to_follow_where_the_connection_is_ours() {
    let fine = super::FINE.replacen("if-id = 42", "if-id = 42, addresses = \"virtual\"", 1);
    same(
        &super::said(&fine.replacen("local =", "routes = [\"selectors\"]\nlocal =", 1)),
        r#"
gw.toml:7:11: error: tunnel "branch-7": routes "selectors" is what strongSwan has of an adopted connection, and this is none
    write out its routes, or take [tunnel.adopt]
gw.toml:11:72: error: tunnel "branch-7": device: addresses "virtual" is what strongSwan has of an adopted connection, and this is none
    write out its addresses, or take [tunnel.adopt]
"#,
    );
}

#[test]
fn selectors_and_virtual_ips_may_be_of_ipv6() {
    same(
        &following("\"selectors\"", ", mtu = 1200"),
        r#"
gw.toml:11:66: error: tunnel "branch-7": device: mtu 1200 is too small for IPv6, which routes = "selectors" needs
    take 1280 at least (RFC 8200 section 5), or IPv4 only
"#,
    );
    same(
        &following("\"10.2.0.0/16\"", ", mtu = 1200, addresses = \"virtual\""),
        r#"
gw.toml:11:66: error: tunnel "branch-7": device: mtu 1200 is too small for IPv6, which addresses = "virtual" needs
    take 1280 at least (RFC 8200 section 5), or IPv4 only
"#,
    );
}

/// What is said of the fine config, adopted, for clients from anywhere, with more in its tunnel.
fn clients(more: &str) -> String {
    said(&of_clients(more))
}

fn of_clients(more: &str) -> String {
    let children = "[{ class = \"voice\", names = \"voice*\" }, { class = \"default\", names = \"rest\" }]";
    let adopt = format!("adopt = {{ connection = \"office\", children = {children} }}");
    FINE.replacen(IKE, &adopt, 1).replacen("remote = \"192.0.2.2\"", &format!("remote = \"any\"{more}"), 1)
}

#[test]
fn clients_from_anywhere_are_those_of_an_adopted_connection() {
    same(&clients(""), "");
    same(
        &changed("remote = \"192.0.2.2\"", "remote = \"any\""),
        r#"
gw.toml:8:10: error: tunnel "branch-7": remote "any" is for the clients of an adopted connection, and this is none
    write out its remote, or take [tunnel.adopt]
"#,
    );
    same(
        &changed("remote = \"192.0.2.2\"", "remote = \"%any\""),
        r#"
gw.toml:8:10: error: tunnel "branch-7": remote "%any" is not an IP address
    write the address; the peer of an adopted connection may be "any"
"#,
    );
}

#[test]
fn only_clients_have_several_connections() {
    same(&said(&of_clients("").replacen("\"office\"", "\"office-*\"", 1)), "");
    same(
        &adopted("{ connection = \"office-*\" }"),
        r#"
gw.toml:11:24: error: tunnel "branch-7": connection "office-*" may be several, and only clients share a tunnel
    name one connection, or write remote = "any"
"#,
    );
}

#[test]
fn a_default_route_beside_clients_whose_packets_are_marked_is_fine() {
    let everywhere = of_clients("\nroutes = [\"0.0.0.0/0\", \"::/0\"]");
    same(&said(&format!("{everywhere}[mark]\nouter = 0x2000\n")), "");
}

#[test]
fn a_default_route_beside_clients_from_anywhere_is_warned_of() {
    same(
        &clients("\nroutes = [\"10.0.0.0/8\", \"0.0.0.0/0\", \"::/0\"]"),
        r#"
gw.toml:9:25: warning: tunnel "branch-7": IKE and ESP to clients of tunnel "branch-7", which are anywhere, would enter it by route 0.0.0.0/0
    give its device a vrf, take narrower routes, or have IKE and ESP marked and name the mark: outer = 0x00002000 in [mark]
"#,
    );
}

/// What is said of the fine config with a VTI that clients from anywhere share, and with more behind it.
fn shared_vti(more: &str) -> String {
    let text = FINE.replacen(IKE, "adopt = { connection = \"office\" }", 1);
    let text = text.replacen("[\"voice\", \"default\"]", "[\"default\"]", 1);
    let text = text.replacen("remote = \"192.0.2.2\"", "remote = \"any\"", 1);
    let vti = "type = \"vti\", name = \"lk-branch7\", key";
    said(&format!("{}{more}", text.replacen("type = \"xfrm\", name = \"lk-branch7\", if-id", vti, 1)))
}

/// Another tunnel, in seven lines.
fn beside(local: &str, remote: &str, device: &str, keying: &str) -> String {
    format!(
        "[[tunnel]]\nname = \"branch-8\"\nlocal = \"{local}\"\nremote = \"{remote}\"\nclasses = [\"default\"]\n\
         device = {{ name = \"lk-branch8\", {device} }}\n{keying}\n"
    )
}

#[test]
fn a_vti_for_any_peer_has_its_local_address_for_itself() {
    let adopt = "adopt = { connection = \"home\" }";
    same(&shared_vti(""), "");
    same(&shared_vti(&beside("192.0.2.9", "any", "type = \"vti\", key = 43", adopt)), "");
    // One for a peer of its own is asked first.
    same(&shared_vti(&beside("192.0.2.1", "192.0.2.2", "type = \"vti\", key = 43", IKE)), "");
    same(
        &shared_vti(&beside("192.0.2.1", "any", "type = \"vti\", key = 43", adopt)),
        r#"
gw.toml:16:9: error: tunnel "branch-8": tunnel "branch-7" has the same local, see gw.toml:7:9, and the kernel has one VTI for any peer at an address
    give one of the tunnels an address of its own, or make one tunnel with an XFRM interface of them
"#,
    );
    same(
        &shared_vti(&beside("192.0.2.1", "192.0.2.2", "type = \"xfrm\", if-id = 43", IKE)),
        r#"
gw.toml:16:9: error: tunnel "branch-8": tunnel "branch-7" has the same local, see gw.toml:7:9, and a VTI for any peer takes all ESP that comes there
    give one of the tunnels an address of its own, or make one tunnel with an XFRM interface of them
"#,
    );
}

/// What is said of the same with a device for each client.
fn each(name: &str, if_id: &str, adopt: bool) -> String {
    let device = format!("name = \"{name}\", if-id = {if_id}");
    let text = FINE.replacen("name = \"lk-branch7\", if-id = 42", &device, 1);
    said(&if adopt { text.replacen(IKE, "adopt = { connection = \"office\" }", 1) } else { text })
}

#[test]
fn a_device_for_each_client_has_a_name_for_each_and_an_adopted_connection() {
    same(&each("lk-rw%d", "\"%unique\"", true), "");
    same(
        &each("lk-rw%d", "\"%unique\"", false),
        r#"
gw.toml:10:53: error: tunnel "branch-7": device: "%unique" is what strongSwan gives IKE_SAs of an adopted connection, and this is none
    write a number, or take [tunnel.adopt]
"#,
    );
    same(
        &each("lk-rw", "\"%unique\"", true),
        r#"
gw.toml:10:34: error: tunnel "branch-7": device: name "lk-rw" is for one device, and each IKE_SA has one
    write %d in it, like "lk-rw%d": the if_id or key stands there
"#,
    );
    same(
        &each("lk-rw%d", "42", true),
        r#"
gw.toml:10:34: error: tunnel "branch-7": device: name "lk-rw%d" is for several devices, and there is one
    write if-id = "%unique", a VTI's key = "%unique", or take the %d out
"#,
    );
}

#[test]
fn a_vti_for_each_client_has_a_key_for_each() {
    let of = |kind: &str, key: &str| {
        let text = FINE.replacen(IKE, "adopt = { connection = \"office\" }", 1);
        let text =
            text.replacen("[\"voice\", \"default\"]", "[\"default\"]", 1).replacen("\"192.0.2.2\"", "\"any\"", 1);
        let device = format!("type = \"{kind}\", name = \"lk-rw%d\", {key}");
        let text = text.replacen("type = \"xfrm\", name = \"lk-branch7\", if-id = 42", &device, 1);
        // An address is shared by as many as like.
        said(&format!("{text}{}", beside("192.0.2.1", "192.0.2.2", "type = \"xfrm\", if-id = 43", IKE)))
    };
    same(&of("vti", "key = \"%unique\""), "");
    assert!(of("vti", "key = 7").contains("name \"lk-rw%d\" is for several devices, and there is one"));
    assert!(of("gre", "key = \"%unique\"").contains("key \"%unique\" is for VTIs"));
}

#[test]
fn a_tenant_has_no_tunnel_with_a_device_for_each_client() {
    let text = FINE.replacen("name = \"lk-branch7\", if-id = 42", "name = \"lk-rw%d\", if-id = \"%unique\"", 1);
    let text = text.replacen(IKE, "adopt = { connection = \"office\" }", 1);
    let said = said(&format!("{text}[[tenant]]\nname = \"a\"\ntunnels = [\"branch-7\"]\n"));
    let error = "error: tenant \"a\": each IKE_SA of tunnel \"branch-7\" has a device of its own, and a tenant's own tunnel has one";
    assert!(said.contains(error), "{said}");
}
