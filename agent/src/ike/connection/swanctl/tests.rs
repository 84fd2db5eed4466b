use std::path::PathBuf;

use super::super::super::testing;
use super::*;
use crate::policy::{DeviceKind, Distinct, Static};

fn text(change: impl FnOnce(&mut Policy), end: End) -> String {
    let mut policy = testing::policy();
    change(&mut policy);
    conf(&policy, end, Path::new("/etc/lanekeeper")).unwrap()
}

#[test]
fn a_lane_is_printed_as_it_is_loaded_but_for_reqid_and_restarts() {
    let text = text(|_| (), End::Ours);
    let (_, child) = text.split_once("            voice-0 {\n").unwrap();
    let (child, _) = child.split_once("            }\n").unwrap();
    assert_eq!(
        child.lines().map(str::trim).collect::<Vec<_>>(),
        [
            "mode = tunnel",
            "local_ts = 0.0.0.0/0, ::/0",
            "remote_ts = 0.0.0.0/0, ::/0",
            "mark_in = 0x00000001/0x000000ff",
            "mark_out = 0x00000001/0x000000ff",
            "set_mark_in = %same/0x000000ff",
            "if_id_in = 42",
            "if_id_out = 42",
            "label = voice.0",
            "label_mode = simple",
            "replay_window = 128",
            "start_action = start",
            "close_action = start",
            "dpd_action = restart",
        ]
    );
}

#[test]
fn the_end_that_waits_restarts_nothing() {
    let text = text(|policy| testing::ike(policy).start = Start::None, End::Ours);
    assert!(text.contains("start_action = none") && text.contains("keyingtries = 1"), "{text}");
    assert!(!text.contains("= start\n") && !text.contains("= restart"), "{text}");
}

#[test]
fn lanes_that_are_told_by_identity_have_a_connection_and_a_secret_each() {
    let identity = |policy: &mut Policy| testing::ike(policy).distinct = Distinct::Identity;
    let text = text(identity, End::Peer);
    for line in ["    b7-voice-0 {", "    b7-bulk-1 {", "    ike-b7-bulk-1 {", "        id-1 = bulk.1.sun.example"] {
        assert!(text.contains(&format!("\n{line}\n")), "{line}: {text}");
    }
    assert!(!text.contains("label") && text.matches("ip link add").count() == 1, "{text}");
}

#[test]
fn a_lane_on_demand_is_a_trap_by_hand_too() {
    let text = text(
        |policy| {
            policy.classes[1].on_demand = Some(true);
            testing::ike(policy).idle_timeout = Some(600);
        },
        End::Ours,
    );
    let (voice, bulk) = text.split_once("            bulk-0 {\n").unwrap();
    let (bulk, _) = bulk.split_once("            }\n").unwrap();
    assert!(voice.contains("start_action = start\n") && !voice.contains("inactivity"), "{text}");
    for line in ["start_action = trap", "close_action = none", "dpd_action = none", "inactivity = 600s"] {
        assert!(bulk.contains(line), "{line}: {text}");
    }
}

#[test]
fn the_peer_has_the_ends_swapped_and_waits_where_we_begin() {
    let change = |policy: &mut Policy| policy.tunnels[0].local_ts.truncate(1);
    let text = text(change, End::Peer);
    for line in ["local_addrs = 192.0.2.2", "remote_addrs = 192.0.2.1", "id-1 = sun.example", "id-2 = moon.example"] {
        assert!(text.contains(&format!(" {line}\n")), "{line}: {text}");
    }
    assert!(text.contains(" local_ts = 0.0.0.0/0, ::/0\n") && text.contains(" remote_ts = 0.0.0.0/0\n"), "{text}");
    assert!(text.contains(" start_action = none\n"), "{text}");
    assert!(text.contains("\n#   ip link add lk-b7 type xfrm dev WAN if_id 42\n"), "{text}");
}

#[test]
fn a_secret_is_named_by_its_file_and_left_out() {
    let psk = |policy: &mut Policy| testing::ike(policy).auth = Auth::Psk { file: PathBuf::from("b7.psk") };
    let ours = text(psk, End::Ours);
    assert!(
        ours.contains("# what is in /etc/lanekeeper/b7.psk, up to") && ours.contains("# secret = \"...\""),
        "{ours}"
    );
    let peer = text(psk, End::Peer);
    assert!(peer.contains("# what is in /etc/lanekeeper/b7.psk of our end,"), "{peer}");
}

fn certificates(policy: &mut Policy) {
    let path = |name: &str| PathBuf::from(name);
    testing::ike(policy).auth =
        Auth::Certificate { certificate: path("moon.pem"), key: path("moon.key"), ca: path("/ca dir/ca.pem") };
}

#[test]
fn certificates_are_named_where_swanctl_reads_them() {
    let ours = text(certificates, End::Ours);
    assert!(ours.contains(" certs = /etc/lanekeeper/moon.pem\n"), "{ours}");
    assert!(ours.contains(" cacerts = /ca dir/ca.pem\n"), "{ours}");
    assert!(ours.contains("# b7: put /etc/lanekeeper/moon.key into /etc/swanctl/private\n"), "{ours}");
    let peer = text(certificates, End::Peer);
    assert!(!peer.contains("moon.pem") && peer.contains("certificate of sun.example"), "{peer}");
}

#[test]
fn a_path_that_swanctl_cannot_take_is_refused() {
    let mut policy = testing::policy();
    certificates(&mut policy);
    let error = conf(&policy, End::Ours, Path::new("/a,b")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "connection \"b7\": swanctl.conf ends a file's name at a comma: rename /a,b/moon.pem"
    );
}

#[test]
fn static_keys_alone_have_no_file() {
    let mut policy = testing::policy();
    policy.tunnels[0].keying = Keying::Static(Static { key_file: PathBuf::new(), consent: true });
    let error = conf(&policy, End::Ours, Path::new("/")).unwrap_err();
    assert_eq!(error.to_string(), "charon keys no tunnel of this file; swanctl.conf knows no static keys");
}

#[test]
fn names_without_dots_stay_apart() {
    let mut names = Names::default();
    assert_eq!(["a.b.0", "a-b.0", "a.b-0"].map(|name| names.free(name)), ["a-b-0", "a-b-0-2", "a-b-0-3"]);
}

#[test]
fn what_the_parser_would_cut_is_quoted() {
    for (text, wanted) in [
        ("moon.example", "moon.example"),
        ("", "\"\""),
        ("CN=moon, O=a \"b\" \\", r#""CN=moon, O=a \"b\" \\""#),
        ("a # b", "\"a # b\""),
        ("two  spaces", "\"two  spaces\""),
        ("{}", "\"{}\""),
    ] {
        assert_eq!(quoted(text), wanted);
    }
}

#[test]
fn the_peer_of_a_tunnel_without_a_device_blocks_what_has_no_lane() {
    let bare = |policy: &mut Policy| {
        let tunnel = &mut policy.tunnels[0];
        tunnel.device.kind = DeviceKind::Bare;
        (tunnel.local_ts, tunnel.remote_ts) =
            (vec!["10.1.0.0/16".parse().unwrap()], vec!["10.2.0.0/16".parse().unwrap()]);
    };
    let text = text(bare, End::Peer);
    let said: Vec<&str> = text.lines().filter(|line| line.starts_with("#   ip ")).collect();
    let end = "priority 4294967294 action block";
    assert_eq!(
        said,
        [
            format!("#   ip xfrm policy add dir in src 10.1.0.0/16 dst 10.2.0.0/16 {end}"),
            format!("#   ip xfrm policy add dir fwd src 10.1.0.0/16 dst 10.2.0.0/16 {end}"),
            format!("#   ip xfrm policy add dir out src 10.2.0.0/16 dst 10.1.0.0/16 {end}"),
        ],
        "{text}"
    );
}
