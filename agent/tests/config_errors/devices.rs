//! Devices of tunnels: what each kind needs, what it cannot carry, what two of them cannot share.

use super::{FINE, changed, said, same};

/// The fine config, but its device is a VTI that carries one class.
fn vti(keys: &str) -> String {
    FINE.replacen("classes = [\"voice\", \"default\"]", "classes = [\"default\"]", 1)
        .replacen("name = \"voice\"", "name = \"voice\"\nfallback = \"default\"", 1)
        .replacen("type = \"xfrm\"", "type = \"vti\"", 1)
        .replacen("if-id = 42", keys, 1)
}

/// A second tunnel, in seven lines.
fn second(remote: &str, device: &str) -> String {
    format!(
        "[[tunnel]]\nname = \"branch-8\"\nlocal = \"192.0.2.1\"\nremote = \"{remote}\"\nclasses = [\"default\"]\n\
         device = {{ name = \"lk-branch8\", {device} }}\nike = {{ auth = {{ psk-file = \"x\" }} }}\n"
    )
}

#[test]
fn a_vti_has_a_key_or_one_for_each_direction() {
    same(&said(&vti("key = 42")), "");
    same(&said(&vti("ikey = 42, okey = 43")), "");
    same(
        &said(&vti("mtu = 1400")),
        r#"
gw.toml:11:10: error: tunnel "branch-7": device: key is missing
    add key = 42
"#,
    );
    same(
        &said(&vti("okey = 42")),
        r#"
gw.toml:11:10: error: tunnel "branch-7": device: ikey is missing
    add ikey = 42
"#,
    );
    same(
        &said(&vti("key = 42, okey = 43")),
        r#"
gw.toml:11:47: error: tunnel "branch-7": device: key is for both directions, but ikey or okey is there, too
    write key alone, or ikey and okey
"#,
    );
    same(
        &said(&vti("key = 0")),
        r#"
gw.toml:11:53: error: tunnel "branch-7": device: key 0 is outside 1 to 4294967295
"#,
    );
}

#[test]
fn each_kind_has_its_own_keys() {
    same(
        &said(&vti("key = 42, if-id = 7")),
        r#"
gw.toml:11:57: error: tunnel "branch-7": device: if-id is not for type = "vti"
    take if-id out: it is for type = "xfrm"
"#,
    );
    same(
        &changed("if-id = 42", "if-id = 42, key = 7"),
        r#"
gw.toml:10:60: error: tunnel "branch-7": device: key is not for type = "xfrm"
    take key out: it is for type = "vti"
"#,
    );
}

#[test]
fn a_second_lane_in_a_vti() {
    let two = vti("key = 42").replacen("classes = [\"default\"]", "classes = [\"voice\", \"default\"]", 1);
    same(
        &said(&two),
        r#"
gw.toml:10:21: error: tunnel "branch-7": its device is a VTI, which carries one lane, and class "default" would be one more
    list one class of one lane, which all others fall back to, or take type = "xfrm": an XFRM interface carries any number of lanes
"#,
    );
    let wide = vti("key = 42").replacen("name = \"default\"", "name = \"default\"\nlanes = 2", 1);
    same(
        &said(&wide),
        r#"
gw.toml:11:12: error: tunnel "branch-7": its device is a VTI, which carries one lane, and class "default" has 2
    list one class of one lane, which all others fall back to, or take type = "xfrm": an XFRM interface carries any number of lanes
"#,
    );
}

#[test]
fn a_vti_shares_its_ends_with_no_other_tunnel() {
    let vtis = format!("{}{}", vti("key = 42"), second("192.0.2.2", "type = \"vti\", key = 43"));
    same(
        &said(&vtis),
        r#"
gw.toml:18:10: error: tunnel "branch-8": tunnel "branch-7" has the same local and remote, see gw.toml:8:9, and a VTI takes all ESP between them
    give one of the tunnels an address of its own, or make one tunnel with an XFRM interface of them
"#,
    );
    let xfrm = format!("{}{}", vti("key = 42"), second("192.0.2.2", "type = \"xfrm\", if-id = 43"));
    same(
        &said(&xfrm),
        r#"
gw.toml:18:10: error: tunnel "branch-8": tunnel "branch-7" has the same local and remote, see gw.toml:8:9, and a VTI takes all ESP between them
    give one of the tunnels an address of its own, or make one tunnel with an XFRM interface of them
"#,
    );
    let apart = format!("{}{}", vti("key = 42"), second("192.0.2.3", "type = \"vti\", key = 43"));
    same(&said(&apart), "");
}

/// The fine config with its device in another namespace; `device` and `tunnel` are more of the two.
fn elsewhere(device: &str, tunnel: &str) -> String {
    let text = FINE.replacen("if-id = 42", &format!("if-id = 42, namespace = \"red\"{device}"), 1);
    said(&text.replacen("ike = ", &format!("{tunnel}ike = "), 1))
}

#[test]
fn a_device_in_another_namespace_has_nothing_of_this_one() {
    same(&elsewhere("", ""), "");
    same(
        &elsewhere(", vrf = \"blue\", addresses = \"10.255.0.1/30\"", "routes = \"10.2.0.0/16\"\n"),
        r#"
gw.toml:10:85: error: tunnel "branch-7": device: vrf is not ours to say for a device in another namespace
    take vrf out, and have it there: `ip -n NAME`, or whatever makes the namespace
gw.toml:10:105: error: tunnel "branch-7": device: addresses is not ours to say for a device in another namespace
    take addresses out, and have it there: `ip -n NAME`, or whatever makes the namespace
gw.toml:11:10: error: tunnel "branch-7": routes is not ours to say for a device in another namespace
    take routes out, and have it there: `ip -n NAME`, or whatever makes the namespace
"#,
    );
    same(
        &said(&FINE.replacen("if-id = 42", "if-id = 42, namespace = \"/run/netns/red\"", 1)),
        r#"
gw.toml:10:72: error: tunnel "branch-7": device: namespace "/run/netns/red" has '/', but namespaces are files below /run/netns
    did you mean "red"?
"#,
    );
    same(&said(&vti("key = 42, namespace = \"red\"")), "");
    same(&said(&gre("namespace = \"red\"")), "");
    let several = gre("key = 42, namespace = \"red\"")
        .replacen("classes = [\"default\"]", "classes = [\"voice\", \"default\"]", 1)
        .replacen("fallback = \"default\"\n", "", 1);
    same(
        &said(&format!("{several}[[port]]\nname = \"lan0\"\n")),
        r#"
gw.toml:10:69: error: tunnel "branch-7": device: namespace is for one GRE device, and each class of the tunnel has one
    list one class, which all others fall back to, or take namespace out
"#,
    );
}

#[test]
fn one_key_in_two_vtis() {
    let both = format!("{}{}", vti("key = 42"), second("192.0.2.3", "type = \"vti\", key = 42"));
    same(
        &said(&both),
        r#"
gw.toml:20:53: error: tunnel "branch-8": key 42 is taken by tunnel "branch-7", see gw.toml:11:53
    43 is free; both ends of a tunnel may differ in it
"#,
    );
    let one = format!("{}{}", vti("ikey = 42, okey = 43"), second("192.0.2.3", "type = \"vti\", ikey = 43, okey = 43"));
    same(
        &said(&one),
        r#"
gw.toml:20:65: error: tunnel "branch-8": key 43 is taken by tunnel "branch-7", see gw.toml:11:65
    44 is free; both ends of a tunnel may differ in it
"#,
    );
}

#[test]
fn a_key_that_is_a_mark() {
    let port = "[[port]]\nname = \"lan0\"\n";
    same(
        &said(&format!("{}{port}", vti("key = 2"))),
        r#"
gw.toml:11:53: error: tunnel "branch-7": key 0x2 is a mark that port "lan0" gives to packets
    whatever has its mark enters a VTI, wherever it is routed to: take 0x3
"#,
    );
    same(&said(&format!("{}{port}", vti("key = 3"))), "");
    same(
        &said(&format!("{}[host]\nmark-sockets = true\n", vti("key = 2"))),
        r#"
gw.toml:11:53: error: tunnel "branch-7": key 0x2 is a mark that [host] gives to packets
    whatever has its mark enters a VTI, wherever it is routed to: take 0x3
"#,
    );
    same(&said(&vti("key = 2")), "");
    // Its bits under the mask are a lane's, whatever the others are.
    let beside = |key: &str| format!("{}{}", vti(key), second("192.0.2.3", "type = \"xfrm\", if-id = 42"));
    same(
        &said(&beside("key = 0x101")),
        r#"
gw.toml:11:53: error: tunnel "branch-7": key 0x101 is a mark that tunnel "branch-8" gives to packets
    whatever has its mark enters a VTI, wherever it is routed to: take 0x102
"#,
    );
    same(&said(&beside("key = 0x100")), "");
}

/// The fine config, but its device is GRE and carries one class.
fn gre(keys: &str) -> String {
    vti(keys).replacen("type = \"vti\"", "type = \"gre\"", 1)
}

#[test]
fn a_gre_device_has_a_key_and_a_ttl_at_will() {
    same(&said(&gre("key = 7, ttl = 32")), "");
    same(&said(&gre("mtu = 1400")), "");
    same(
        &said(&gre("ttl = 256")),
        r#"
gw.toml:11:53: error: tunnel "branch-7": device: ttl 256 is outside 1 to 255
"#,
    );
    same(
        &said(&gre("okey = 7")),
        r#"
gw.toml:11:47: error: tunnel "branch-7": device: okey is not for type = "gre"
    take okey out: it is for type = "vti"
"#,
    );
    same(
        &changed("if-id = 42", "if-id = 42, ttl = 7"),
        r#"
gw.toml:10:60: error: tunnel "branch-7": device: ttl is not for type = "xfrm"
    take ttl out: it is for type = "gre"
"#,
    );
    let inside = gre("key = 7").replacen("[[tunnel]]", "[[tunnel]]\nlocal-ts = \"10.1.0.0/16\"", 1);
    same(
        &said(&inside),
        r#"
gw.toml:7:12: error: tunnel "branch-7": local-ts is not for type = "gre"
    take local-ts out: it is for type = "xfrm"
"#,
    );
}

#[test]
fn gre_is_of_one_tunnel_between_two_ends_and_esp_of_others_goes_there_too() {
    let both = format!("{}{}", gre("key = 42"), second("192.0.2.2", "type = \"gre\", key = 43"));
    same(
        &said(&both),
        r#"
gw.toml:18:10: error: tunnel "branch-8": tunnel "branch-7" has the same local and remote, see gw.toml:8:9, and the SAs of both would be for all GRE between them
    give one of the tunnels an address of its own, or make one tunnel with an XFRM interface of them
"#,
    );
    same(&said(&format!("{}{}", gre("key = 42"), second("192.0.2.2", "type = \"xfrm\", if-id = 43"))), "");
    let vti = format!("{}{}", gre("key = 42"), second("192.0.2.2", "type = \"vti\", key = 43"));
    same(
        &said(&vti),
        r#"
gw.toml:18:10: error: tunnel "branch-8": tunnel "branch-7" has the same local and remote, see gw.toml:8:9, and a VTI takes all ESP between them
    give one of the tunnels an address of its own, or make one tunnel with an XFRM interface of them
"#,
    );
}

#[test]
fn a_vrf_is_for_xfrm_interfaces_and_gre_and_has_routes_of_its_own() {
    same(&changed("if-id = 42", "if-id = 42, vrf = \"blue\""), "");
    same(&said(&gre("vrf = \"blue\"")), "");
    same(
        &said(&vti("key = 42, vrf = \"blue\"")),
        r#"
gw.toml:11:57: error: tunnel "branch-7": device: vrf is not for type = "vti"
    take vrf out: it is for type = "xfrm"
"#,
    );
    same(
        &changed("if-id = 42", "if-id = 42, link = \"lk-branch7\""),
        r#"
gw.toml:10:67: error: tunnel "branch-7": link = "lk-branch7" is the device of tunnel "branch-7", which leads into a tunnel
    name the device by which ESP leaves the machine, or take link out: its packets are then routed by the main table
"#,
    );
    same(
        &changed("if-id = 42", "if-id = 42, vrf = \"a-name-beyond-fifteen\""),
        r#"
gw.toml:10:66: error: tunnel "branch-7": device: vrf "a-name-beyond-fifteen" is 21 bytes long, 15 at most
"#,
    );
    let twice = |vrf: &str| {
        let routes = "routes = \"10.2.0.0/16\"\n";
        let first = FINE.replacen("if-id = 42", "if-id = 42, vrf = \"blue\"", 1).replacen(
            "ike =",
            &format!("{routes}ike ="),
            1,
        );
        let second = second("192.0.2.8", &format!("type = \"xfrm\", if-id = 43, vrf = \"{vrf}\""));
        said(&format!("{first}{second}{routes}"))
    };
    same(&twice("green"), "");
    same(
        &twice("blue"),
        r#"
gw.toml:22:10: error: tunnel "branch-8": route 10.2.0.0/16 leads into tunnel "branch-7" already, see gw.toml:11:10
    take it out of one of them, or make one more specific
"#,
    );
}

/// README's table of kinds says no to them.
#[test]
fn what_a_kind_does_not_have() {
    let of = |kind: &str, more: &str| {
        let device = format!("type = \"{kind}\", name = \"lk-branch7\", {more}");
        said(&vti("").replacen("type = \"vti\", name = \"lk-branch7\", ", &device, 1))
    };
    for (kind, key, cure) in [
        ("vti", "vrf", "take vrf out: it is for type = \"xfrm\""),
        ("tun", "vrf", "take vrf out: it is for type = \"xfrm\""),
        ("tun", "namespace", "take namespace out: it is for type = \"xfrm\""),
        ("tun", "mtu", "take mtu out: kernel-libipsec's is 1400"),
        ("none", "vrf", "take vrf out, or take type = \"xfrm\""),
        ("none", "namespace", "take namespace out, or take type = \"xfrm\""),
        ("none", "mtu", "take mtu out, or take type = \"xfrm\""),
    ] {
        let value = if key == "mtu" { "1400" } else { "\"blue\"" };
        let said = of(kind, &format!("{key} = {value}"));
        assert!(said.contains(cure), "{kind} {key}: {said}");
    }
    let adopt = "adopt = { connection = \"b\", children = [{ class = \"default\", names = [\"*\"] }] }";
    for kind in ["gre", "tun"] {
        let text = vti("").replacen("type = \"vti\"", &format!("type = \"{kind}\""), 1);
        let clients = text.replacen("remote = \"192.0.2.2\"", "remote = \"any\"", 1).replacen(
            "ike = { auth = { psk-file = \"branch-7.psk\" } }",
            adopt,
            1,
        );
        let said = said(&clients);
        assert!(said.contains("are reached by an XFRM interface, a VTI or marks alone"), "{kind}: {said}");
    }
}

#[test]
fn an_underlying_device_is_for_xfrm_interfaces() {
    same(&changed("if-id = 42", "if-id = 42, link = \"wan0\""), "");
    same(
        &said(&vti("key = 42, link = \"wan0\"")),
        r#"
gw.toml:11:57: error: tunnel "branch-7": device: link is not for type = "vti"
    take link out: it is for type = "xfrm"
"#,
    );
}

/// The fine config, but each of its two classes has a GRE device, and a port chooses.
fn several(keys: &str) -> String {
    let port = "[[port]]\nname = \"lan0\"\n";
    FINE.replacen("type = \"xfrm\"", "type = \"gre\"", 1).replacen("if-id = 42", keys, 1) + port
}

#[test]
fn each_class_has_a_gre_device_with_a_key_and_a_name_of_its_own() {
    same(&said(&several("key = 7")), "");
    same(
        &said(&several("ttl = 7")),
        r#"
gw.toml:5:1: error: tunnel "branch-7": each of its 2 classes has a GRE device, and without a key nothing tells those apart
    add key = 1 to the device, on both ends: the first device has that key, and the next ones those behind it
"#,
    );
    same(
        &said(&several("key = 7").replacen("lk-branch7", "lk-branch-seven", 1)),
        r#"
gw.toml:10:33: error: tunnel "branch-7": one of its GRE devices, of which each class has one, would be "lk-branch-seven-2", longer than 15 bytes
    take a name of 13 bytes at most: further devices are called NAME-2, NAME-3 and so on
"#,
    );
    let beside = second("192.0.2.3", "type = \"gre\"").replacen("lk-branch8", "lk-branch7-2", 1);
    same(
        &said(&format!("{}{beside}", several("key = 7"))),
        r#"
gw.toml:21:19: error: tunnel "branch-8": device name "lk-branch7-2" is taken by tunnel "branch-7", see gw.toml:10:33
    rename one of them; or have both by one XFRM interface: with the same if-id, or external = true, in each
"#,
    );
}

#[test]
fn a_class_keeps_to_its_gre_device_and_something_has_to_choose_it() {
    same(
        &said(&several("key = 7").replacen("name = \"voice\"", "name = \"voice\"\nfallback = \"default\"", 1)),
        r#"
gw.toml:10:12: error: tunnel "branch-7": class "voice" falls back to "default", which has another GRE device: a packet's device is chosen as it is routed, and stays the same while its lane is down
    write fallback = "block" for the class, list one class alone, or take type = "xfrm": an XFRM interface carries both
"#,
    );
    same(
        &said(&several("key = 7").replacen("name = \"voice\"", "name = \"voice\"\nlanes = 2", 1)),
        r#"
gw.toml:10:12: error: tunnel "branch-7": its device is a GRE device, of which each class has one with one lane, and class "voice" has 2
    write lanes = 1 for the class, or take type = "xfrm": an XFRM interface carries any number of lanes
"#,
    );
    same(
        &said(&several("key = 7").replacen("[[port]]\nname = \"lan0\"\n", "", 1)),
        r#"
gw.toml:5:1: error: tunnel "branch-7": each of its classes has a GRE device, and nothing marks packets before they are routed to one of them
    add a [[port]] for each interface of the LAN, or mark-sockets = true in [host] for what the host itself sends; or list one class alone
"#,
    );
    let owned = "[[tenant]]\nname = \"acme\"\nsources = \"10.1.0.0/16\"\ntunnels = \"branch-7\"\n";
    same(
        &said(&format!("{}{owned}", several("key = 7"))),
        r#"
gw.toml:19:11: error: tenant "acme": tunnel "branch-7" has a GRE device for each class, and cannot be a tenant's own
    take it out: the tunnel is then for all; or list one class alone, or take type = "xfrm"
"#,
    );
}
