//! Tunnels by charon's TUN device: what is charon's to say, and what it cannot do.

use super::{FINE, said, same};

/// The fine config with one class, by a TUN device, and `more` in it; its remote-ts stands on line 11.
fn tun(more: &str) -> String {
    FINE.replacen(
        "type = \"xfrm\", name = \"lk-branch7\", if-id = 42",
        &format!("type = \"tun\", name = \"ipsec0\"{more}"),
        1,
    )
    .replacen("classes = [\"voice\", \"default\"]", "classes = [\"default\"]", 1)
    .replacen("name = \"voice\"", "name = \"voice\"\nfallback = \"default\"", 1)
    .replacen("ike = ", "remote-ts = [\"10.2.0.0/16\"]\nike = ", 1)
}

#[test]
fn a_tun_device_carries_one_lane() {
    same(&said(&tun("")), "");
    let two = tun("").replacen("classes = [\"default\"]", "classes = [\"voice\", \"default\"]", 1);
    same(
        &said(&two),
        r#"
gw.toml:10:21: error: tunnel "branch-7": its device is kernel-libipsec's TUN device, which carries one lane, and class "default" would be one more
    list one class of one lane, which all others fall back to, or take type = "xfrm": an XFRM interface carries any number of lanes
"#,
    );
    let wide = tun("").replacen("name = \"default\"", "name = \"default\"\nlanes = 2", 1);
    same(
        &said(&wide),
        r#"
gw.toml:11:12: error: tunnel "branch-7": its device is kernel-libipsec's TUN device, which carries one lane, and class "default" has 2
    list one class of one lane, which all others fall back to, or take type = "xfrm": an XFRM interface carries any number of lanes
"#,
    );
}

#[test]
fn what_is_charons_to_say_of_a_tun_device() {
    same(
        &said(&tun(", mtu = 1300, addresses = [\"10.255.0.1/30\"], if-id = 42")),
        r#"
gw.toml:11:43: error: tunnel "branch-7": device: mtu is charon's to say, who makes the TUN device
    take mtu out: kernel-libipsec's is 1400
gw.toml:11:55: error: tunnel "branch-7": device: addresses is charon's to say, who makes the TUN device
    take addresses out: a TUN device has charon's virtual IPs
gw.toml:11:86: error: tunnel "branch-7": device: if-id is not for type = "tun"
    take if-id out: it is for type = "xfrm"
"#,
    );
}

#[test]
fn what_would_take_all_into_a_tun_device() {
    same(
        &said(&tun("").replacen("remote-ts = [\"10.2.0.0/16\"]\n", "", 1)),
        r#"
gw.toml:6:1: error: tunnel "branch-7": remote-ts is missing, and charon would route all there is into its TUN device
    add remote-ts = ["10.2.0.0/16"]: the networks on the peer's side
"#,
    );
}

#[test]
fn keys_that_are_not_charons_in_a_tun_device() {
    let keys = "[tunnel.static]\nkey-file = \"x\"\n";
    same(
        &said(&tun("").replacen("ike = { auth = { psk-file = \"branch-7.psk\" } }\n", keys, 1)),
        r#"
gw.toml:6:1: error: tunnel "branch-7": its keys are for the kernel, and what enters a TUN device charon encrypts by itself
    take [tunnel.ike], or type = "xfrm"
"#,
    );
    let adopt = "adopt = { connection = \"b\", children = [{ class = \"default\", names = [\"*\"] }] }\n";
    let adopted = tun("").replacen("remote-ts = [\"10.2.0.0/16\"]\n", "", 1);
    same(
        &said(&adopted.replacen("ike = { auth = { psk-file = \"branch-7.psk\" } }\n", adopt, 1)),
        r#"
gw.toml:11:19: error: tunnel "branch-7": the SAs of an adopted connection are reached by an XFRM interface, a VTI or marks alone
    write type = "xfrm" and the if-id that the children have as if_id_in and if_id_out in swanctl.conf, type = "vti" and the key that one of them has as mark_in and mark_out, or type = "none"
"#,
    );
}

#[test]
fn an_outer_dscp_that_nobody_writes_in_a_tun_device() {
    same(
        &said(&tun("").replacen("name = \"default\"", "name = \"default\"\nouter-dscp = \"af11\"", 1)),
        r#"
gw.toml:11:12: warning: tunnel "branch-7": the outer-dscp of class "default" is not written: charon sends the ESP of its TUN device, with DSCP 0
    take it out of the class, or take type = "xfrm"
"#,
    );
}
