//! Interfaces whose packets are classified as they come in.

use super::{same, with};

#[test]
fn ports_of_every_way_to_classify() {
    same(
        &with(
            r#"[[port]]
name = "lan0"
[[port]]
name = "lan1"
classify = "xdp"
[[port]]
name = "eth0.12"
classify = "xdp-generic"
"#,
        ),
        "",
    );
}

#[test]
fn a_port_named_twice() {
    same(
        &with(
            r#"[[port]]
name = "lan0"
[[port]]
name = "lan0"
classify = "xdp"
"#,
        ),
        r#"
gw.toml:17:8: error: port "lan0": duplicate name, the first one is at gw.toml:15:8
    rename one of them
"#,
    );
}

#[test]
fn a_port_that_is_a_tunnels_device() {
    same(
        &with(
            r#"[[port]]
name = "lk-branch7"
"#,
        ),
        r#"
gw.toml:15:8: error: port "lk-branch7" is the device of tunnel "branch-7", see gw.toml:10:34
    ports are the interfaces that packets come in by from the LAN; what comes out of a tunnel is its class's already
"#,
    );
}

#[test]
fn a_mask_too_small_for_the_classes_of_a_port() {
    same(
        &with(
            r#"[mark]
mask = 0x3
[[class]]
name = "bulk"
[[class]]
name = "video"
[[port]]
name = "lan0"
"#,
        ),
        r#"
gw.toml:15:8: error: [mark]: mask 0x00000003 is too small: it has a mark for 3 of the 4 classes, of which port "lan0" writes one on packets
    take fewer classes, or a mask of 3 bits such as 0x00000007
"#,
    );
}

#[test]
fn a_mask_too_small_for_the_classes_of_sockets() {
    same(
        &with(
            r#"[mark]
mask = 0x3
[[class]]
name = "bulk"
[[class]]
name = "video"
[host]
mark-sockets = true
"#,
        ),
        r#"
gw.toml:15:8: error: [mark]: mask 0x00000003 is too small: it has a mark for 3 of the 4 classes, of which [host] writes one on packets
    take fewer classes, or a mask of 3 bits such as 0x00000007
"#,
    );
}

#[test]
fn a_setting_of_the_host_that_is_none() {
    same(
        &with("[host]\nmark-sockets = \"yes\"\nmissing = \"wail\"\n[host.mark]\n"),
        r#"
gw.toml:15:16: error: [host]: mark-sockets takes true or false, not a string
    for example true
gw.toml:16:11: error: [host]: missing "wail" is not known
    did you mean "wait"?
gw.toml:17:7: error: [host]: unknown key "mark"
    keys here: mark-sockets, missing
"#,
    );
}

#[test]
fn a_port_without_a_name_of_a_name_or_of_a_way_that_is_none() {
    same(
        &with(
            r#"[[port]]
classify = "xdp"
[[port]]
name = "lo"
[[port]]
name = "lan*"
[[port]]
name = "lan0"
classify = "xpd"
[[port]]
name = "lan1"
classify = "hardware"
"#,
        ),
        r#"
gw.toml:14:1: error: port 1: name is missing
    add name = "lan0"
gw.toml:17:8: error: port "lo": name "lo" is reserved: it is the loopback device
    take another name
gw.toml:19:8: error: port "lan*": name "lan*" is not supported yet
    name each interface by itself: ["lan0", "lan1"]
gw.toml:22:12: error: port "lan0": classify "xpd" is not known
    did you mean "xdp"?
gw.toml:25:12: error: port "lan1": classify "hardware" is not known
    values: tc, xdp, xdp-generic
"#,
    );
}
