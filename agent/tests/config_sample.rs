//! `config.sample.toml`, the JSON Schema and the reader know the same keys, and the documented examples can be used.

use std::collections::BTreeSet;
use std::path::Path;

use lanekeeper::check;
use lanekeeper::config::{self, Finding};
use lanekeeper::policy::{ClassIndex, Classify, TunnelIndex};
use serde_json::Value;

const SAMPLE: &str = include_str!("../../config.sample.toml");

/// Every key that the schema has, as `tunnel.device.if-id`.
fn schema_keys() -> BTreeSet<String> {
    let schema = config::schema();
    let mut keys = BTreeSet::new();
    walk_schema(&schema, &schema, "", &mut keys);
    keys
}

fn walk_schema(root: &Value, at: &Value, path: &str, keys: &mut BTreeSet<String>) {
    if let Some(reference) = at.get("$ref").and_then(Value::as_str) {
        let target = root.pointer(reference.trim_start_matches('#')).expect("a definition");
        walk_schema(root, target, path, keys);
    }
    for part in ["anyOf", "oneOf", "allOf"] {
        for choice in at.get(part).and_then(Value::as_array).into_iter().flatten() {
            walk_schema(root, choice, path, keys);
        }
    }
    if let Some(items) = at.get("items") {
        walk_schema(root, items, path, keys);
    }
    for (key, value) in at.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        walk_schema(root, value, &path, keys);
        keys.insert(path);
    }
}

/// Every key that the text has.
fn text_keys(text: &str) -> BTreeSet<String> {
    let table: toml::Table = text.parse().expect("TOML");
    let mut keys = BTreeSet::new();
    walk_table(&table, "", &mut keys);
    keys
}

fn walk_table(table: &toml::Table, path: &str, keys: &mut BTreeSet<String>) {
    for (key, value) in table {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match value {
            toml::Value::Table(table) => walk_table(table, &path, keys),
            toml::Value::Array(list) => {
                for table in list.iter().filter_map(toml::Value::as_table) {
                    walk_table(table, &path, keys);
                }
            }
            _ => {}
        }
        keys.insert(path);
    }
}

/// Every key that the reader knows, from what it says to one that it does not know.
fn reader_keys() -> BTreeSet<String> {
    let tables = [
        ("", ""),
        ("mark", "[mark]"),
        ("metrics", "[metrics]"),
        ("ike", "[ike]"),
        ("limits", "[limits]"),
        ("host", "[host]"),
        ("default", "[default]"),
        ("class", "[[class]]"),
        ("tunnel", "[[tunnel]]"),
        ("tunnel.device", "[[tunnel]]\n[tunnel.device]"),
        ("tunnel.ike", "[[tunnel]]\n[tunnel.ike]"),
        ("tunnel.ike.auth", "[[tunnel]]\n[tunnel.ike.auth]"),
        ("tunnel.static", "[[tunnel]]\n[tunnel.static]"),
        ("tunnel.adopt", "[[tunnel]]\n[tunnel.adopt]"),
        ("tunnel.adopt.children", "[[tunnel]]\n[tunnel.adopt]\n[[tunnel.adopt.children]]"),
        ("tenant", "[[tenant]]"),
        ("rule", "[[rule]]"),
        ("port", "[[port]]"),
    ];
    let mut keys = BTreeSet::new();
    for (path, head) in tables {
        let errors = config::parse_text("f", &format!("{head}\nnonsense-of-a-key = 1")).expect_err("an unknown key");
        let is_unknown = |finding: &&Finding| finding.message.contains("unknown key \"nonsense-of-a-key\"");
        let finding = errors.0.iter().find(is_unknown).unwrap_or_else(|| panic!("no word about it in {path}"));
        let cure = finding.help.as_deref().expect("a list of keys");
        for key in cure.trim_start_matches("keys here: ").split(", ") {
            keys.insert(if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") });
        }
    }
    keys
}

#[test]
fn the_sample_has_every_key_of_the_schema() {
    assert_eq!(text_keys(SAMPLE), schema_keys());
}

#[test]
fn the_reader_knows_the_keys_of_the_schema() {
    assert_eq!(reader_keys(), schema_keys());
}

#[test]
fn the_schema_allows_what_toml_can_say() {
    assert!(!config::schema().to_string().contains("null"), "TOML has no null");
}

#[test]
fn every_key_of_the_schema_says_what_it_is_for() {
    let schema = config::schema();
    let definitions = schema["$defs"].as_object().expect("definitions");
    let shapes = definitions.values().chain([&schema]);
    for properties in shapes.filter_map(|shape| shape.get("properties")) {
        for (key, value) in properties.as_object().expect("an object") {
            assert!(value["description"].as_str().is_some_and(|text| text.len() > 8), "{key}: {value}");
        }
    }
}

#[test]
fn the_sample_can_be_used() {
    let loaded = config::parse_text("config.sample.toml", SAMPLE).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.warnings.to_string(), "");
    let policy = loaded.policy;
    assert_eq!((policy.classes.len(), policy.tunnels.len(), policy.rules.len(), policy.tenants.len()), (3, 13, 5, 1));
    assert_eq!(policy.tunnels[0].lanes.len(), 4);
    let ports: Vec<_> = policy.ports.iter().map(|port| (port.name.as_str(), port.classify)).collect();
    assert_eq!(ports, [("lan0", Classify::Xdp)]);
    let acme = &policy.tenants[0];
    assert_eq!((acme.vlans.as_slice(), acme.vrfs.as_slice()), ([12, 13].as_slice(), ["blue".to_owned()].as_slice()));
    assert_eq!((acme.default_class, acme.tunnels.as_slice()), (Some(ClassIndex(1)), [TunnelIndex(0)].as_slice()));
}

#[test]
fn the_rules_of_the_sample_say_what_their_comments_say() {
    let policy = config::parse_text("f", SAMPLE).expect("the sample").policy;
    let named = |name: &str| policy.rules.iter().find(|rule| rule.name.as_deref() == Some(name)).expect(name);
    let voice = named("sip and rtp");
    assert_eq!((voice.length.as_slice(), voice.fragment), ([(0, 1400)].as_slice(), Some(false)));
    assert_eq!(voice.mark, Some((0x100, 0xf00)));
    let acks = named("bare acks");
    assert_eq!((acks.length.as_slice(), acks.tcp_flags), ([(0, 60), (72, 72)].as_slice(), Some((0x10, 0x17))));
    assert_eq!(named("ping").icmp_type, [8, 0]);
    assert_eq!(named("backup of this host").cgroup, ["/system.slice/backup.service"]);
}

#[test]
fn an_icmp_type_has_its_protocols_number() {
    for (protocol, types) in [("icmp", [8, 3, 14]), ("ipv6-icmp", [128, 1, 14])] {
        let rule = format!(
            "[[rule]]\nclass = \"default\"\nprotocol = \"{protocol}\"\n\
             icmp-type = [\"echo-request\", \"destination-unreachable\", 14]\n"
        );
        let loaded = config::parse_text("f", &format!("{SAMPLE}\n{rule}")).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(loaded.policy.rules.last().expect("the rule").icmp_type, types);
    }
}

#[test]
fn a_mark_without_a_mask_is_about_all_bits_of_others() {
    for mark in ["0x100", "\"0x100\"", "\"256\""] {
        let rule = format!("[[rule]]\nclass = \"default\"\nmark = {mark}\n");
        let loaded = config::parse_text("f", &format!("{SAMPLE}\n{rule}")).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(loaded.policy.rules.last().expect("the rule").mark, Some((0x100, 0xffff_ff00)));
    }
}

#[test]
fn the_sample_passes_check_on_a_machine_without_its_files() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config.sample.toml");
    let checked = check::check(&path, false);
    assert_eq!(checked.code, 0, "{}", checked.err);
    assert!(checked.out.contains("fine: 3 classes, 13 tunnels with 34 lanes, 5 rules, 1 tenant"), "{}", checked.out);
}

#[test]
fn a_key_left_out_has_the_default_that_the_sample_says() {
    let written = config::parse_text("f", SAMPLE).expect("the sample").policy;
    // Of the first tunnel the sample writes the defaults out; the second one leaves them out.
    let (first, second) = (&written.tunnels[0], &written.tunnels[1]);
    assert_eq!(first.replay_window, second.replay_window);
    assert_eq!(first.device.mtu, second.device.mtu);
    let bare = SAMPLE
        .replace("\n[mark]", "\n#")
        .replace("\nmask", "\n#")
        .replace("\nouter =", "\n#")
        .replace("\n[metrics]", "\n#");
    let bare = bare
        .replace("\nlisten", "\n#")
        .replace("\nweb-config", "\n#")
        .replace("\nlatency-every", "\n#")
        .replace("\n[ike]", "\n#")
        .replace("\nvici", "\n#");
    let bare =
        bare.replace("\n[default]\n", "\n#").replace("\nclass = \"default\"", "\n#").replace("\nlanes = 1", "\n#");
    let bare = config::parse_text("f", &bare).unwrap_or_else(|errors| panic!("{errors}")).policy;
    assert_eq!(written.mark_mask, bare.mark_mask);
    assert_eq!(written.metrics_listen, bare.metrics_listen);
    assert_eq!(written.vici, bare.vici);
    assert_eq!(written.default_class, bare.default_class);
    assert_eq!(written.classes, bare.classes);
}

/// The example that the architecture was written with.
const ARCHITECTURE: &str = r#"
[mark]
mask = 0x000000ff

[metrics]
listen = "127.0.0.1:9738"

[ike]
vici = "/var/run/charon.vici"

[[class]]
name = "voice"
lanes = 1
fallback = "default"
outer-dscp = "ef"

[[class]]
name = "bulk"
lanes = 2

[[class]]
name = "default"

[[tunnel]]
name = "branch-7"
local = "192.0.2.1"
remote = "192.0.2.2"
classes = ["voice", "bulk", "default"]
device = { type = "xfrm", name = "lk-branch7", if-id = 42, mtu = 1400, addresses = ["10.255.0.1/30"] }
routes = ["10.2.0.0/16", "2001:db8:2::/48"]
[tunnel.ike]
local-id = "moon.example"
remote-id = "sun.example"
auth = { psk-file = "/etc/lanekeeper/branch-7.psk" }

[[rule]]
name = "sip and rtp"
class = "voice"
protocol = "udp"
source = ["10.1.0.0/16"]
destination = ["10.2.0.0/16"]
source-port = ["1024-65535"]
destination-port = ["5060", "16384-32767"]
dscp = ["ef", 46]
interface = ["lan0"]
vlan = [12]
tenant = "acme"

[default]
class = "default"

[[tenant]]
name = "acme"
interfaces = ["vlan12"]
sources = ["10.1.12.0/24"]
"#;

#[test]
fn the_example_of_the_architecture_can_be_used() {
    let loaded = config::parse_text("gw.toml", ARCHITECTURE).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.warnings.to_string(), "");
    let policy = loaded.policy;
    let rule = &policy.rules[0];
    assert_eq!(rule.name.as_deref(), Some("sip and rtp"));
    assert_eq!(rule.destination_port, [(5060, 5060), (16384, 32767)]);
    assert_eq!(
        (rule.protocol, rule.dscp.as_slice(), rule.vlan.as_slice()),
        (Some(17), [46, 46].as_slice(), [12].as_slice())
    );
    assert_eq!(policy.tenants[rule.tenant.expect("a tenant").0].name, "acme");
    assert_eq!(rule.place, "gw.toml:36:1");
    let tunnel = &policy.tunnels[0];
    let lanes: Vec<_> = tunnel.lanes.iter().map(|lane| (lane.label.as_str(), lane.mark)).collect();
    assert_eq!(lanes, [("voice.0", 1), ("bulk.0", 2), ("bulk.1", 3), ("default.0", 4)]);
    assert_eq!(tunnel.routes.len(), 2);
}
