//! What the operator reads for each kind of bad input: the whole text.

mod adopt;
mod bare;
mod devices;
mod files;
mod joint;
mod mark;
mod names;
mod packets;
mod ports;
mod room;
mod rules;
mod shape;
mod tenants;
mod tun;
mod tunnels;

use lanekeeper::config;

/// A config that is fine. Its classes are on lines 1 and 3, its tunnel is on lines 5 to 11, `[default]` on line 12; what
/// a test adds begins on line 14.
const FINE: &str = r#"[[class]]
name = "voice"
[[class]]
name = "default"
[[tunnel]]
name = "branch-7"
local = "192.0.2.1"
remote = "192.0.2.2"
classes = ["voice", "default"]
device = { type = "xfrm", name = "lk-branch7", if-id = 42 }
ike = { auth = { psk-file = "branch-7.psk" } }
[default]
class = "default"
"#;

/// A second tunnel, to another peer, in seven lines.
fn branch_8(classes: &str, device: &str, if_id: u32) -> String {
    format!(
        r#"[[tunnel]]
name = "branch-8"
local = "192.0.2.1"
remote = "192.0.2.3"
classes = {classes}
device = {{ type = "xfrm", name = "{device}", if-id = {if_id} }}
ike = {{ auth = {{ psk-file = "x" }} }}
"#
    )
}

/// What is said about `text`, errors or else warnings.
fn said(text: &str) -> String {
    match config::parse_text("gw.toml", text) {
        Ok(loaded) => loaded.warnings.to_string(),
        Err(errors) => errors.to_string(),
    }
}

/// What is said about the fine config with `more` behind it.
fn with(more: &str) -> String {
    said(&format!("{FINE}{more}"))
}

/// What is said about the fine config with one part replaced.
fn changed(from: &str, to: &str) -> String {
    assert!(FINE.contains(from), "{from} is not in the config");
    said(&FINE.replacen(from, to, 1))
}

#[track_caller]
fn same(said: &str, expected: &str) {
    let expected = expected.trim();
    assert!(said == expected, "said:\n{said}\n\nexpected:\n{expected}");
}

/// Nothing is said about what the others start from.
#[test]
fn the_fine_config_is_fine() {
    same(&with(""), "");
}
