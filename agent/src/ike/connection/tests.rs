use std::path::PathBuf;

use zeroize::Zeroizing;

use super::super::testing;
use super::*;
use crate::policy::{DeviceKind, Distinct, Static};

fn psk() -> Credentials {
    Credentials::Psk(Zeroizing::new(b"hunter2".to_vec()))
}

fn connection(change: impl FnOnce(&mut Policy)) -> Connection {
    let mut policy = testing::policy();
    change(&mut policy);
    Connection::all(&policy, TunnelIndex(0)).remove(0)
}

#[test]
fn a_child_for_each_lane_with_its_own_mark_reqid_and_label() {
    let message = connection(|_| ()).load_conn(&psk());
    let tunnel = message.section("lk-b7").unwrap();
    let children: Vec<_> = tunnel.section("children").unwrap().sections().collect();
    assert_eq!(children.iter().map(|(name, _)| *name).take(3).collect::<Vec<_>>(), ["voice.0", "bulk.0", "bulk.1"]);
    let (_, bulk) = children[2];
    let wanted = [
        ("mark_in", "0x00000003/0x000000ff"),
        ("mark_out", "0x00000003/0x000000ff"),
        ("set_mark_in", "%same/0x000000ff"),
        ("if_id_in", "42"),
        ("if_id_out", "42"),
        ("reqid", "1279983619"),
        ("label", "bulk.1"),
        ("label_mode", "simple"),
        ("replay_window", "128"),
        ("start_action", "none"),
    ];
    for (key, value) in wanted {
        assert_eq!(bulk.text(key), Some(value), "{key}");
    }
    for key in ["local_ts", "remote_ts"] {
        assert_eq!(bulk.list(key).collect::<Vec<_>>(), ["0.0.0.0/0", "::/0"], "{key}");
    }
    // Left to charon where the file says nothing.
    assert_eq!((bulk.text("rekey_time"), bulk.list("esp_proposals").count()), (None, 0));
    assert_eq!(bulk.text("hw_offload"), None);
}

#[test]
fn what_the_file_says_is_what_charon_gets() {
    let message = connection(|policy| {
        let ike = testing::ike(policy);
        ike.proposals = vec!["aes256-sha256-x25519".to_owned()];
        ike.esp_proposals = vec!["aes256gcm16".to_owned(), "aes128gcm16".to_owned()];
        ike.hw_offload = true;
        ike.rekey_time = Some(0);
    })
    .load_conn(&psk());
    let tunnel = message.section("lk-b7").unwrap();
    assert_eq!(tunnel.list("proposals").collect::<Vec<_>>(), ["aes256-sha256-x25519"]);
    assert_eq!(tunnel.list("local_addrs").collect::<Vec<_>>(), ["192.0.2.1"]);
    assert_eq!(tunnel.section("remote").unwrap().text("id"), Some("sun.example"));
    let voice = tunnel.section("children").unwrap().section("voice.0").unwrap();
    assert_eq!((voice.text("rekey_time"), voice.text("hw_offload")), (Some("0s"), Some("crypto")));
    assert_eq!(voice.list("esp_proposals").collect::<Vec<_>>(), ["aes256gcm16", "aes128gcm16"]);
}

#[test]
fn a_lane_that_is_told_by_identity_has_a_connection_without_label() {
    let mut policy = testing::policy();
    testing::ike(&mut policy).distinct = Distinct::Identity;
    let connections = Connection::all(&policy, TunnelIndex(0));
    let names: Vec<&str> = connections.iter().map(|connection| connection.name.as_str()).collect();
    assert_eq!(names, ["lk-b7:voice.0", "lk-b7:bulk.0", "lk-b7:bulk.1"]);
    let bulk = &connections[2];
    assert_eq!((bulk.tunnel.as_str(), bulk.lanes.len(), bulk.lanes[0].reqid), ("b7", 1, 0x4c4b_0003));
    let message = bulk.load_conn(&psk());
    let body = message.section("lk-b7:bulk.1").unwrap();
    let id = |end| body.section(end).and_then(|end: &Message| end.text("id"));
    assert_eq!((id("local"), id("remote")), (Some("bulk.1.moon.example"), Some("bulk.1.sun.example")));
    let children: Vec<_> = body.section("children").unwrap().sections().collect();
    let [(name, child), (digest, _)] = children[..] else { panic!("{message:?}") };
    assert!(name == "bulk.1" && digest.starts_with(DIGEST_PREFIX), "{message:?}");
    assert_eq!((child.text("label"), child.text("label_mode")), (None, None));
    assert_eq!(child.text("mark_out"), Some("0x00000003/0x000000ff"));
    let (_, secret) = bulk.load_secret(&psk());
    assert_eq!(secret.text("id"), Some("lk-b7:bulk.1"));
    assert_eq!(secret.list("owners").collect::<Vec<_>>(), ["bulk.1.moon.example", "bulk.1.sun.example"]);
}

#[test]
fn a_lane_on_demand_is_a_trap_and_may_be_let_go() {
    let connection = connection(|policy| {
        policy.classes[0].on_demand = Some(true);
        testing::ike(policy).idle_timeout = Some(600);
    });
    let message = connection.load_conn(&psk());
    let children = message.section("lk-b7").unwrap().section("children").unwrap();
    let of =
        |name| children.section(name).map(|child: &Message| (child.text("start_action"), child.text("inactivity")));
    assert_eq!(of("voice.0"), Some((Some("trap"), Some("600s"))));
    assert_eq!(of("bulk.0"), Some((Some("none"), None)));
    let starts: Vec<Start> = connection.lanes.iter().map(|lane| lane.start).collect();
    assert_eq!(starts, [Start::Trap, Start::Start, Start::Start]);
}

#[test]
fn the_shared_key_belongs_to_both_identities_and_shows_nowhere() {
    let connection = connection(|_| ());
    let (command, message) = connection.load_secret(&psk());
    assert_eq!((command, message.text("type"), message.text("data")), ("load-shared", Some("IKE"), Some("hunter2")));
    assert_eq!(message.list("owners").collect::<Vec<_>>(), ["moon.example", "sun.example"]);
    let load = super::super::Load { connection, credentials: psk() };
    let shown = format!("{message:?} {load:?} {:?}", load.connection.load_conn(&psk()));
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn certificates_stand_in_the_connection_and_the_key_apart() {
    let path = PathBuf::from("/nowhere");
    let connection = connection(|policy| {
        testing::ike(policy).auth = Auth::Certificate { certificate: path.clone(), key: path.clone(), ca: path };
    });
    let credentials = Credentials::Certificate {
        certificate: b"ours".to_vec(),
        key: Zeroizing::new(b"hunter2".to_vec()),
        ca: b"theirs".to_vec(),
    };
    let message = connection.load_conn(&credentials);
    let tunnel = message.section("lk-b7").unwrap();
    let (local, remote) = (tunnel.section("local").unwrap(), tunnel.section("remote").unwrap());
    assert_eq!((local.text("auth"), remote.text("auth")), (Some("pubkey"), Some("pubkey")));
    assert_eq!(local.list("certs").collect::<Vec<_>>(), ["ours"]);
    assert_eq!(remote.list("cacerts").collect::<Vec<_>>(), ["theirs"]);
    let (command, key) = connection.load_secret(&credentials);
    assert_eq!((command, key.text("data")), ("load-key", Some("hunter2")));
    assert!(!format!("{key:?} {credentials:?}").contains("hunter2"));
}

#[test]
fn the_loaded_connection_shows_its_digest() {
    let connection = connection(|_| ());
    let message = connection.load_conn(&psk());
    let children = message.section("lk-b7").unwrap().section("children").unwrap();
    let name = format!("lanekeeper-{:016x}", connection.digest);
    // Of a label that nobody proposes.
    assert_eq!(children.section(&name).unwrap().text("label"), Some(name.as_str()));
}

/// The digest is compared with what another run of the agent has loaded: it must never change by itself.
#[test]
fn the_digest_is_the_same_at_every_run() {
    assert_eq!(connection(|_| ()).digest, connection(|_| ()).digest);
    assert_eq!(format!("{:016x}", connection(|_| ()).ike_digest), "ff476c29e5148640");
}

#[test]
fn the_digest_changes_with_every_parameter() {
    type Change = fn(&mut Policy);
    let changes: [(&str, Change, bool); 8] = [
        ("remote", |policy| policy.tunnels[0].remote = "192.0.2.9".parse().unwrap(), true),
        ("identity", |policy| testing::ike(policy).local_id.push('x'), true),
        ("proposals", |policy| testing::ike(policy).proposals.push("aes128-sha256-x25519".to_owned()), true),
        ("mask", |policy| policy.mark_mask = 0xfff, false),
        ("window", |policy| policy.tunnels[0].replay_window = 32, false),
        ("rekey", |policy| testing::ike(policy).rekey_time = Some(600), false),
        ("lane", |policy| policy.tunnels[0].lanes.truncate(2), false),
        ("selector", |policy| policy.tunnels[0].local_ts.truncate(1), false),
    ];
    let before = connection(|_| ());
    for (what, change, is_ike) in changes {
        let after = connection(change);
        assert_ne!(after.digest, before.digest, "{what}");
        assert_eq!(after.ike_digest != before.ike_digest, is_ike, "{what}");
    }
}

#[test]
fn static_keys_need_no_connection() {
    let mut policy = testing::policy();
    policy.tunnels[0].keying = Keying::Static(Static { key_file: PathBuf::from("/nowhere"), consent: true });
    assert_eq!(Connection::all(&policy, TunnelIndex(0)), []);
}

#[test]
fn one_end_of_two_yields() {
    let ours = connection(|_| ());
    let theirs = connection(|policy| {
        let ike = testing::ike(policy);
        std::mem::swap(&mut ike.local_id, &mut ike.remote_id);
    });
    assert_eq!((ours.yields, theirs.yields), (false, true));
}

/// Marks are whole keys, and nothing sets one on what was decrypted.
#[test]
fn the_child_of_a_vti_has_its_keys_for_marks() {
    let connection = connection(|policy| {
        policy.tunnels[0].device.kind = DeviceKind::Vti { input_key: 0x2a, output_key: 0x2b };
        policy.tunnels[0].lanes.truncate(1);
    });
    let message = connection.load_conn(&psk());
    let child = message.section("lk-b7").unwrap().section("children").unwrap().section("voice.0").unwrap();
    let said = ["mark_in", "mark_out", "set_mark_in", "if_id_in", "mode"].map(|key| child.text(key));
    let marks = [Some("0x0000002a/0xffffffff"), Some("0x0000002b/0xffffffff"), None];
    assert_eq!(said, [marks[0], marks[1], marks[2], Some("0"), Some("tunnel")]);
    assert_eq!(connection.lanes[0].mark, (0x2a, u32::MAX));
}

#[test]
fn the_child_of_a_gre_device_is_for_gre_between_the_ends_alone() {
    let connection = connection(|policy| {
        policy.tunnels[0].device.kind = DeviceKind::Gre { key: Some(7), ttl: 64 };
        policy.tunnels[0].lanes.truncate(1);
    });
    let message = connection.load_conn(&psk());
    let child = message.section("lk-b7").unwrap().section("children").unwrap().section("voice.0").unwrap();
    let said = ["mode", "mark_in", "mark_out", "set_mark_in", "if_id_in"].map(|key| child.text(key));
    let mark = Some("0x00000001/0x000000ff");
    assert_eq!(said, [Some("transport"), mark, mark, Some("%same/0x000000ff"), Some("0")]);
    let selectors = ["local_ts", "remote_ts"].map(|key| child.list(key).collect::<Vec<_>>());
    assert_eq!(selectors, [["192.0.2.1/32[47]"], ["192.0.2.2/32[47]"]]);
}

#[test]
fn the_children_of_a_tunnel_without_a_device_have_marks_and_selectors_alone() {
    let connection = connection(|policy| {
        let tunnel = &mut policy.tunnels[0];
        tunnel.device.kind = DeviceKind::Bare;
        (tunnel.local_ts, tunnel.remote_ts) =
            (vec!["10.1.0.0/16".parse().unwrap()], vec!["10.2.0.0/16".parse().unwrap()]);
    });
    let message = connection.load_conn(&psk());
    let child = message.section("lk-b7").unwrap().section("children").unwrap().section("voice.0").unwrap();
    let said = ["mode", "mark_in", "mark_out", "set_mark_in", "if_id_in"].map(|key| child.text(key));
    let mark = Some("0x00000001/0x000000ff");
    assert_eq!(said, [Some("tunnel"), mark, mark, Some("%same/0x000000ff"), Some("0")]);
    let selectors = ["local_ts", "remote_ts"].map(|key| child.list(key).collect::<Vec<_>>());
    assert_eq!(selectors, [["10.1.0.0/16"], ["10.2.0.0/16"]]);
}
