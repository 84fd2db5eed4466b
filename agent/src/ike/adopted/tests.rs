use std::net::IpAddr;

use super::*;
use crate::ike::testing;
use crate::policy::ClassIndex;
use crate::policy::adopt::{Children, Ends, Inside, Learned, OwnDevice, Traits};

/// Tunnel `b7` of the tests of this room, adopted: voice has one lane and bulk two; if_id 42, mask 0xff.
fn followed(children: &[(usize, &[&str])]) -> Followed {
    let mut policy = testing::policy();
    let entry = |&(class, names): &(usize, &[&str])| Children {
        class: ClassIndex(class),
        names: names.iter().map(|name| Pattern((*name).to_owned())).collect(),
    };
    let children = children.iter().map(entry).collect();
    policy.tunnels[0].keying = Keying::Adopted(Adopt {
        connection: "office".to_owned(),
        children,
        routes: true,
        addresses: true,
        inside: Inside::default(),
    });
    Followed::all(&policy).remove(0)
}

fn by_name() -> Followed {
    followed(&[(0, &["voice*"]), (1, &["bulk-*"])])
}

fn child(name: &str, reqid: u32, mark: u32) -> Child {
    Child {
        connection: "office".to_owned(),
        name: name.to_owned(),
        id: reqid * 10,
        installed: true,
        reqid,
        mark: (mark, 0xff),
        mark_in: (mark, 0xff),
        if_id: 42,
        if_id_in: 42,
        label: None,
        remote_ts: Vec::new(),
        peer: Peer::default(),
    }
}

/// `CLASS.INDEX=REQID` of each lane, and what stands against the others.
fn bound(followed: &Followed, children: &[Child], known: &Learned) -> (Vec<String>, Vec<String>) {
    let Bound { lanes, refusals, .. } = followed.bind(children, known);
    let lane = |(lane, traits): (LaneId, Traits)| format!("{}.{}={}", lane.class, lane.index, traits.reqid);
    (lanes.into_iter().map(lane).collect(), refusals.iter().map(ToString::to_string).collect())
}

fn lanes(followed: &Followed, children: &[Child]) -> Vec<String> {
    let (lanes, refusals) = bound(followed, children, &Learned::new());
    assert_eq!(refusals, [] as [&str; 0]);
    lanes
}

fn refusal(followed: &Followed, children: &[Child]) -> Vec<String> {
    bound(followed, children, &Learned::new()).1
}

#[test]
fn children_are_the_lanes_of_the_class_whose_pattern_fits() {
    let children = [child("bulk-1", 7, 3), child("voice", 5, 1), child("bulk-0", 6, 2), child("management", 9, 9)];
    assert_eq!(lanes(&by_name(), &children), ["bulk.0=6", "bulk.1=7", "voice.0=5"]);
    assert_eq!(lanes(&by_name(), &[]), [] as [&str; 0]);
}

#[test]
fn the_first_entry_that_fits_has_a_child() {
    let followed = followed(&[(1, &["bulk*", "voice-bulk"]), (0, &["voice*"])]);
    assert_eq!(lanes(&followed, &[child("voice-bulk", 5, 1), child("voice", 6, 2)]), ["bulk.0=5", "voice.0=6"]);
}

#[test]
fn a_name_in_a_list_of_names_has_the_lane_of_its_place() {
    let followed = followed(&[(0, &["voice"]), (1, &["day", "night"])]);
    assert_eq!(lanes(&followed, &[child("night", 5, 1)]), ["bulk.1=5"]);
    // Initiated twice under %unique marks.
    assert_eq!(lanes(&followed, &[child("night", 5, 1), child("night", 6, 2)]), ["bulk.0=6", "bulk.1=5"]);
}

#[test]
fn a_child_stays_on_its_lane_while_others_come_and_go() {
    let lane = |index| LaneId { tunnel: "b7".into(), class: "bulk".into(), index };
    let known = Learned::from([(lane(1), Traits { mark: 2, reqid: 6, ..Traits::default() })]);
    let one = bound(&by_name(), &[child("bulk-0", 6, 2)], &known);
    assert_eq!(one.0, ["bulk.1=6"]);
    assert_eq!(bound(&by_name(), &[child("bulk-1", 7, 3), child("bulk-0", 6, 2)], &known).0, ["bulk.0=7", "bulk.1=6"]);
    // The same request id under another mark is another.
    assert_eq!(bound(&by_name(), &[child("bulk-0", 6, 4)], &known).0, ["bulk.0=6"]);
}

#[test]
fn labels_say_whose_lane_a_child_is_where_no_names_do() {
    let labelled = |label: &str, reqid| Child { label: Some(label.to_owned()), ..child("net", reqid, reqid) };
    let followed = followed(&[]);
    assert_eq!(lanes(&followed, &[labelled("bulk.1", 5), labelled("voice.0", 6)]), ["bulk.1=5", "voice.0=6"]);
    for label in ["bulk.2", "video.0", "bulk.", "bulk"] {
        let said = refusal(&followed, &[labelled(label, 5)]);
        assert!(said.len() == 1 && said[0].contains(&format!("has label {label:?}")), "{said:?}");
    }
    assert_eq!(refusal(&followed, &[child("net", 5, 1)]).len(), 1);
    let (lanes, refusals) = bound(&followed, &[labelled("voice.0", 5), labelled("voice.0", 6)], &Learned::new());
    assert_eq!((lanes.as_slice(), refusals.len()), (["voice.0=5".to_owned()].as_slice(), 1));
}

#[test]
fn a_rekey_is_no_second_child() {
    let old = child("voice", 5, 1);
    let new = Child { id: 99, ..old.clone() };
    assert_eq!(lanes(&by_name(), &[old.clone(), new.clone()]), ["voice.0=5"]);
    assert_eq!(lanes(&by_name(), &[Child { installed: false, ..old }, new]), ["voice.0=5"]);
}

#[test]
fn children_of_other_connections_and_half_made_ones_are_nothing_to_us() {
    let strange = Child { connection: "home".to_owned(), ..child("voice", 5, 1) };
    let half = Child { installed: false, ..child("voice", 6, 1) };
    assert_eq!(lanes(&by_name(), &[strange, half]), [] as [&str; 0]);
}

#[test]
fn children_that_the_kernel_does_not_tell_apart_are_all_refused() {
    let (voice, bulk) = (child("voice", 5, 1), child("bulk-0", 6, 2));
    let marked = |child: &Child, mark| Child { mark, ..child.clone() };
    for (one, other) in [
        (marked(&voice, (1, 0xff)), marked(&bulk, (1, 0xff))),
        (marked(&voice, (0x10, 0xf0)), marked(&bulk, (0x11, 0xff))),
        (marked(&voice, (1, 0xff)), marked(&bulk, (0, 0))),
        // One that nothing is steered to takes packets all the same.
        (marked(&voice, (1, 0xff)), marked(&child("management", 9, 0), (1, u32::MAX))),
    ] {
        let (lanes, refusals) = bound(&by_name(), &[one, other.clone()], &Learned::new());
        assert_eq!(lanes, [] as [&str; 0]);
        assert!(refusals.iter().all(|said| said.contains("is found as well")), "{refusals:?}");
        assert_eq!(refusals.len(), if other.name == "management" { 1 } else { 2 }, "{refusals:?}");
    }
    // Other devices are other policies.
    let elsewhere = Child { if_id: 43, ..child("management", 9, 1) };
    assert_eq!(lanes(&by_name(), &[voice.clone(), elsewhere]), ["voice.0=5"]);
    // Alone, a child without a mark has all packets.
    assert_eq!(lanes(&by_name(), &[marked(&voice, (0, 0))]), ["voice.0=5"]);
}

#[test]
fn what_cannot_be_steered_to_is_said_with_the_cure() {
    let voice = child("voice", 5, 1);
    let refused = |change: fn(&mut Child)| {
        let mut child = voice.clone();
        change(&mut child);
        refusal(&by_name(), &[child]).join("\n")
    };
    assert_eq!(
        refused(|child| child.if_id = 0),
        "CHILD_SA \"voice\" has if_id 0, and the device 42: write if_id_in = 42 and if_id_out = 42 in swanctl.conf"
    );
    assert!(refused(|child| child.if_id = 43).ends_with("in swanctl.conf, or if-id = 43 here"));
    assert_eq!(
        refused(|child| child.mark = (0x101, u32::MAX)),
        "CHILD_SA \"voice\" has mark 0x101, which is not within [mark] mask 0x000000ff: take another mark_out in \
         swanctl.conf, or a wider mask here"
    );
    assert_eq!(
        refused(|child| child.reqid = 0x4c4b_0001),
        "CHILD_SA \"voice\" has reqid 0x4c4b0001, one of those by which lanekeeper knows its own: take another reqid in \
         swanctl.conf, or none"
    );
    let other = child("voice-2", 6, 2);
    assert_eq!(
        refusal(&by_name(), &[voice.clone(), other]),
        ["CHILD_SA \"voice-2\" is one more than the 1 of class \"voice\": raise its lanes, or have fewer"]
    );
    assert_eq!(
        refusal(&by_name(), &[voice.clone(), child("bulk-0", 6, 1)])[1],
        "CHILD_SA \"voice\" has mark 0x1/0xff, by which \"bulk-0\" is found as well: give each a mark_out of its own in \
         swanctl.conf, and mark_in with set_mark_in = %same"
    );
    assert_eq!(
        refusal(&followed(&[]), &[Child { label: Some("office".into()), ..voice.clone() }]),
        [
            "CHILD_SA \"voice\" has label \"office\", which is not that of a lane without one: write label = CLASS.INDEX in \
          swanctl.conf, or name the child in `children` here"
        ]
    );
    assert_eq!(
        Refusal::NoConnection { connection: "office".into() }.to_string(),
        "strongSwan has no connection \"office\": `swanctl --load-conns` loads what swanctl.conf has; see its name there"
    );
}

#[test]
fn a_mark_that_counts_foreign_bits_is_used_and_warned_of() {
    let wide = Child { mark: (7, u32::MAX), ..child("voice", 5, 7) };
    let Bound { lanes, refusals, cautions } = by_name().bind(&[wide], &Learned::new());
    assert_eq!(
        (lanes.into_values().next(), refusals),
        (Some(Traits { mark: 7, reqid: 5, ..Traits::default() }), vec![])
    );
    assert_eq!(
        cautions.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "CHILD_SA \"voice\" is found by all bits of its mark_out 0x7: packets on which others have set some are dropped; \
          write mark_out = 0x7/0x000000ff in swanctl.conf"
        ]
    );
}

/// Voice has one lane, by a VTI with these keys.
fn by_vti() -> Followed {
    Followed { keys: Some((0x4c00, 0x4d00)), if_id: 0, ..followed(&[(0, &["voice"])]) }
}

#[test]
fn a_vti_has_the_child_whose_marks_are_its_keys() {
    let whole = |mark| (mark, u32::MAX);
    let keyed = Child { if_id: 0, if_id_in: 0, mark_in: whole(0x4c00), mark: whole(0x4d00), ..child("voice", 5, 0) };
    let Bound { lanes, refusals, cautions } = by_vti().bind(std::slice::from_ref(&keyed), &Learned::new());
    let traits = lanes.into_values().next();
    // The first one under the mask: the device looks for its key, whatever packets have.
    assert_eq!(traits, Some(Traits { mark: 1, reqid: 5, ..Traits::default() }));
    assert_eq!((refusals, cautions), (vec![], vec![]));
    let said = "CHILD_SA \"voice\" is not that of the VTI with ikey 19456 and okey 19712: write mark_in = 19456 and mark_out = 19712 in \
                swanctl.conf, without masks, and neither if_id_in nor if_id_out";
    for other in [
        Child { mark_in: keyed.mark, ..keyed.clone() },
        Child { mark: (0x4d00, 0xffff), ..keyed.clone() },
        Child { mark: (0, 0), ..keyed.clone() },
        Child { if_id: 42, ..keyed.clone() },
    ] {
        assert_eq!(refusal(&by_vti(), &[other]), [said]);
    }
    // What asks for no mark is found by the VTI's packets as well.
    let unmarked = Child { mark: (0, 0), mark_in: (0, 0), if_id: 0, ..child("management", 9, 0) };
    assert!(refusal(&by_vti(), &[keyed, unmarked])[0].contains("by which \"management\" is found as well"));
}

#[test]
fn each_client_has_a_vti_by_its_mark_and_none_shares_its_ends() {
    let device = crate::policy::Device {
        name: "lk-rw%d".to_owned(),
        kind: crate::policy::DeviceKind::Vti { input_key: 0, output_key: 0 },
        ..testing::policy().tunnels[0].device.clone()
    };
    let each = Followed { each: Some(device), keys: Some((0, 0)), if_id: 0, ..shared(&[(0, &["voice"])]) };
    let of = |client: u8, reqid: u32, key: u32| {
        let whole = (key, u32::MAX);
        let child = Child { mark: whole, mark_in: whole, if_id: 0, if_id_in: 0, ..child("voice", reqid, 0) };
        with_ts(of_client(client, child), &[&format!("10.66.0.{client}/32")])
    };
    let both = [of(1, 5, 71), of(2, 6, 72)];
    assert_eq!(clients(&each, &both, &Learned::new()), (vec![("voice.0".to_owned(), 1, vec![5, 6])], vec![]));
    let Inner { ends, .. } = each.inner(&both, []);
    let said =
        |(name, own): (&String, &OwnDevice)| format!("{name} {} {:?} {:?}", own.if_id, own.peer.unwrap(), own.routes);
    assert_eq!(
        ends.devices.iter().map(said).collect::<Vec<_>>(),
        ["lk-rw71 71 198.51.100.1 {10.66.0.1/32}", "lk-rw72 72 198.51.100.2 {10.66.0.2/32}"]
    );
    // Behind the same address: the one that was there first has it.
    let late = Child { peer: Peer { address: both[0].peer.address, ..of(3, 7, 73).peer }, ..of(3, 7, 73) };
    let three = [both[0].clone(), late];
    assert_eq!(each.inner(&three, []).ends.devices.len(), 1);
    let refusals = clients(&each, &three, &Learned::new()).1;
    assert_eq!(
        refusals,
        [
            "CHILD_SA \"voice\" of \"client-3\" comes from 198.51.100.1, as another one does, and the kernel has one VTI between there \
          and here: take XFRM interfaces, or one VTI for all"
        ]
    );
    let unmarked = Child { mark: (0, 0), mark_in: (0, 0), ..both[0].clone() };
    assert!(
        clients(&each, &[unmarked], &Learned::new()).1[0].contains("write mark_in = %unique and mark_out = %unique")
    );
}

#[test]
fn without_a_device_a_child_has_no_if_id() {
    let bare = Followed { if_id: 0, ..by_name() };
    let voice = Child { if_id: 0, if_id_in: 0, ..child("voice", 5, 1) };
    assert_eq!(lanes(&bare, std::slice::from_ref(&voice)), ["voice.0=5"]);
    assert_eq!(
        refusal(&bare, &[Child { if_id: 7, ..voice }]),
        [
            "CHILD_SA \"voice\" has if_id 7, and the tunnel no device: take if_id_in and if_id_out out of swanctl.conf, or write type = \
          \"xfrm\" and if-id = 7 here"
        ]
    );
}

fn with_ts(child: Child, remote_ts: &[&str]) -> Child {
    Child { remote_ts: remote_ts.iter().map(|text| (*text).to_owned()).collect(), ..child }
}

/// Routes of the connection, and what is said of its selectors.
fn inner(children: &[Child]) -> (Vec<String>, Vec<String>) {
    let Inner { ends, refusals, cautions } = by_name().inner(children, []);
    let said = refusals.iter().chain(&cautions).map(ToString::to_string).collect();
    (ends.routes.iter().map(ToString::to_string).collect(), said)
}

#[test]
fn what_several_children_are_for_is_routed_once() {
    let behind = ["10.2.0.0/16", "10.3.0.0/16", "2001:db8:2::/48"];
    let voice = with_ts(child("voice", 5, 1), &behind);
    let bulk = with_ts(child("bulk-0", 6, 2), &["10.3.0.0/16", "10.4.0.0..10.4.1.255"]);
    let both = [voice.clone(), bulk.clone()];
    let all = ["10.2.0.0/16", "10.3.0.0/16", "10.4.0.0/23", "2001:db8:2::/48"];
    assert_eq!(inner(&both), (all.map(str::to_owned).to_vec(), vec![]));
    assert_eq!(inner(&[bulk, voice.clone()]), inner(&both), "whatever comes first");
    // The one that takes its place, while both are there and when only that one is.
    let new = Child { id: 99, ..voice.clone() };
    let old = Child { installed: false, ..voice.clone() };
    assert_eq!(inner(&[voice.clone(), new.clone()]), inner(std::slice::from_ref(&voice)));
    assert_eq!(inner(&[old, new]), inner(&[voice]));
}

#[test]
fn children_are_routed_for_that_have_the_devices_if_id_steered_to_or_not() {
    let unmarked = with_ts(Child { mark: (0, 0), ..child("other", 7, 0) }, &["10.7.0.0/16"]);
    assert_eq!(inner(std::slice::from_ref(&unmarked)).0, ["10.7.0.0/16"]);
    let beside = Child { if_id: 0, ..unmarked.clone() };
    let strange = Child { connection: "home".to_owned(), ..unmarked };
    assert_eq!(inner(&[beside, strange]), (vec![], vec![]));
}

#[test]
fn selectors_that_are_no_routes_are_said() {
    let voice = with_ts(child("voice", 5, 1), &["10.2.0.0/16[udp/5060]", "dynamic"]);
    let (routes, said) = inner(&[voice.clone(), Child { id: 99, ..voice }]);
    assert_eq!(routes, ["10.2.0.0/16"]);
    assert!(said[0].starts_with("CHILD_SA \"voice\" has remote_ts \"dynamic\", of which no route"), "{said:?}");
    assert!(said[1].contains("\"10.2.0.0/16[udp/5060]\", and a route knows no protocols"), "{said:?}");
}

#[test]
fn only_what_is_asked_for_is_followed() {
    let voice = [with_ts(child("voice", 5, 1), &["10.2.0.0/16"])];
    let given: [IpAddr; 2] = ["10.3.0.1", "2001:db8:3::1"].map(|address| address.parse().unwrap());
    let ends = |routes, addresses| Followed { routes, addresses, ..by_name() }.inner(&voice, given).ends;
    assert_eq!(ends(true, false), Ends { routes: ["10.2.0.0/16".parse().unwrap()].into(), ..Ends::default() });
    assert_eq!(ends(false, true), Ends { addresses: given.into(), ..Ends::default() });
    assert_eq!(ends(false, false), Ends::default());
    assert!(!Followed { routes: false, addresses: false, ..by_name() }.follows());
}

/// The same tunnel, shared by clients.
fn shared(children: &[(usize, &[&str])]) -> Followed {
    Followed { shared: true, ..followed(children) }
}

#[test]
fn clients_of_several_connections_are_told_apart_by_other_bits_than_ours() {
    let several = Followed { connection: Pattern("roads-*".into()), ..shared(&[(0, &["voice"]), (1, &["bulk-0"])]) };
    let of = |client: u8, name: &str, reqid: u32, mark: u32| Child {
        connection: format!("roads-{client}"),
        mark: (u32::from(client) << 8 | mark, 0xfff),
        ..of_client(client, child(name, reqid, mark))
    };
    let all = [of(1, "voice", 5, 1), of(2, "voice", 6, 1), of(1, "bulk-0", 7, 2)];
    let lane = |name: &str, mark, reqids: &[u32]| (name.to_owned(), mark, reqids.to_vec());
    let wanted = [lane("bulk.0", 2, &[7]), lane("voice.0", 1, &[5, 6])];
    assert_eq!(clients(&several, &all, &Learned::new()), (wanted.to_vec(), vec![]));
    assert_eq!(several.bind(&all, &Learned::new()).cautions, []);
    // Of one client two lanes cannot have one mark, nor of two.
    let clash = [of(1, "voice", 5, 1), of(2, "bulk-0", 8, 1)];
    assert_eq!(clients(&several, &clash, &Learned::new()).1.len(), 2);
    // Neither somebody else's, nor what an agent has loaded.
    let strange = ["home", "lk-roads-1"].map(|name| Child { connection: name.to_owned(), ..all[0].clone() });
    assert_eq!(clients(&several, &strange, &Learned::new()), (vec![], vec![]));
    let anybodys = Followed { connection: Pattern("*".into()), ..several };
    assert!(anybodys.has("home") && !anybodys.has("lk-roads-1"));
}

fn of_client(client: u8, child: Child) -> Child {
    let address = Some(IpAddr::from([198, 51, 100, client]));
    Child {
        peer: Peer { id: format!("client-{client}"), address, ike_sa: client.into(), given: vec![] },
        id: child.reqid * 10,
        ..child
    }
}

/// `CLASS.INDEX`, its mark and the request ids of its clients.
type SharedLane = (String, u32, Vec<u32>);

fn clients(followed: &Followed, children: &[Child], known: &Learned) -> (Vec<SharedLane>, Vec<String>) {
    let Bound { lanes, refusals, .. } = followed.bind(children, known);
    let lane = |(lane, traits): (LaneId, Traits)| {
        assert_eq!(traits.reqid, 0);
        (format!("{}.{}", lane.class, lane.index), traits.mark, traits.clients.into_keys().collect())
    };
    (lanes.into_iter().map(lane).collect(), refusals.iter().map(ToString::to_string).collect())
}

#[test]
fn a_lane_that_clients_share_is_what_each_of_them_has_of_it() {
    let shared = shared(&[(0, &["voice"]), (1, &["bulk-0", "bulk-1"])]);
    let all = [
        of_client(1, child("voice", 5, 1)),
        of_client(2, child("voice", 6, 1)),
        of_client(1, child("bulk-1", 7, 3)),
        of_client(2, child("bulk-1", 8, 3)),
        of_client(2, child("bulk-0", 9, 2)),
    ];
    let lane = |name: &str, mark, reqids: &[u32]| (name.to_owned(), mark, reqids.to_vec());
    let wanted = [lane("bulk.0", 2, &[9]), lane("bulk.1", 3, &[7, 8]), lane("voice.0", 1, &[5, 6])];
    assert_eq!(clients(&shared, &all, &Learned::new()), (wanted.to_vec(), vec![]));
    let Bound { lanes, .. } = shared.bind(&all, &Learned::new());
    let voice = LaneId { tunnel: "b7".into(), class: "voice".into(), index: 0 };
    assert_eq!(lanes[&voice].clients[&6], IpAddr::from([198, 51, 100, 2]));
    // A rekey, and one who leaves.
    let new = Child { id: 99, ..all[0].clone() };
    let (lanes, refusals) = clients(&shared, &[all[0].clone(), new], &Learned::new());
    assert_eq!((lanes, refusals), (vec![lane("voice.0", 1, &[5])], vec![]));
    // Labels do as well as names.
    let labelled = |child: &Child| Child { label: Some("voice.0".to_owned()), ..child.clone() };
    let by_label = Followed { shared: true, ..followed(&[]) };
    let (lanes, refusals) = clients(&by_label, &[labelled(&all[0]), labelled(&all[1])], &Learned::new());
    assert_eq!((lanes, refusals), (vec![lane("voice.0", 1, &[5, 6])], vec![]));
}

#[test]
fn a_client_with_another_mark_than_the_others_is_left_out() {
    let shared = shared(&[(0, &["voice"]), (1, &["bulk-*"])]);
    let (one, two, other) =
        (of_client(1, child("voice", 5, 1)), of_client(2, child("voice", 6, 1)), of_client(3, child("voice", 7, 4)));
    let all = [one.clone(), two, other.clone()];
    let (lanes, refusals) = clients(&shared, &all, &Learned::new());
    assert_eq!(lanes, [("voice.0".to_owned(), 1, vec![5, 6])]);
    assert_eq!(
        refusals,
        [
            "CHILD_SA \"voice\" of a client has mark 0x4, and that of others 0x1: clients of one device have the same; write one \
          mark_out for all in swanctl.conf, not %unique, and have them connect again"
        ]
    );
    // What the lane has had stays, whoever is more.
    let voice = LaneId { tunnel: "b7".into(), class: "voice".into(), index: 0 };
    let known = Learned::from([(voice, Traits { mark: 4, ..Traits::default() })]);
    assert_eq!(clients(&shared, &all, &known).0, [("voice.0".to_owned(), 4, vec![7])]);
    assert_eq!(clients(&shared, &[one], &known).0, [("voice.0".to_owned(), 1, vec![5])]);
    // Of different lanes the marks must differ, clients or not.
    let bulk = of_client(1, child("bulk-0", 8, 4));
    let (lanes, refusals) = clients(&shared, &[other, bulk], &Learned::new());
    assert_eq!((lanes, refusals.len()), (vec![], 2), "{refusals:?}");
}

#[test]
fn clients_of_the_same_addresses_are_said() {
    let shared = shared(&[(0, &["voice"]), (1, &["bulk-*"])]);
    let one = of_client(1, child("voice", 5, 1));
    let other = Child { id: 77, ..of_client(2, child("voice", 5, 1)) };
    let again = Child { id: 78, ..one.clone() };
    assert_eq!(clients(&shared, &[one.clone(), again], &Learned::new()).1, [] as [&str; 0]);
    assert_eq!(
        clients(&shared, &[one, other], &Learned::new()),
        (
            vec![("voice.0".to_owned(), 1, vec![5])],
            vec![
                "CHILD_SA \"voice\" of \"client-1\" and that of \"client-2\" are for the same addresses: only the newer one gets \
                 packets; give each client its own, as a pool does"
                    .to_owned()
            ]
        )
    );
}

/// The same, each IKE_SA with a device of its own; the file has a device with if_id 44.
fn each(children: &[(usize, &[&str])]) -> Followed {
    let mut device = testing::policy().tunnels[0].device.clone();
    device.name = "lk-road%d".to_owned();
    device.kind = crate::policy::DeviceKind::Xfrm { if_id: 0 };
    Followed { each: Some(device), taken: [0, 44].into(), if_id: 0, ..shared(children) }
}

fn in_device(client: u8, if_ids: (u32, u32), child: Child) -> Child {
    let (if_id_in, if_id) = if_ids;
    of_client(client, Child { if_id_in, if_id, remote_ts: vec![format!("10.66.0.{client}/32")], ..child })
}

/// `NAME if_id ROUTES` of each device.
fn devices(followed: &Followed, children: &[Child]) -> Vec<String> {
    let Inner { ends, .. } = followed.inner(children, []);
    let device = |(name, own): (String, OwnDevice)| {
        let routes: Vec<String> = own.routes.iter().map(ToString::to_string).collect();
        format!("{name} {} {}", own.if_id, routes.join(" "))
    };
    ends.devices.into_iter().map(device).collect()
}

#[test]
fn each_ike_sa_has_a_device_of_its_own_and_all_have_the_same_lanes() {
    let each = each(&[(0, &["voice"]), (1, &["bulk-*"])]);
    let all = [
        in_device(1, (7, 7), child("voice", 5, 1)),
        in_device(1, (7, 7), child("bulk-0", 6, 2)),
        in_device(2, (8, 8), child("voice", 9, 1)),
    ];
    let (lanes, refusals) = clients(&each, &all, &Learned::new());
    assert_eq!(lanes, [("bulk.0".to_owned(), 2, vec![6]), ("voice.0".to_owned(), 1, vec![5, 9])]);
    assert_eq!(refusals, [] as [&str; 0]);
    assert_eq!(devices(&each, &all), ["lk-road7 7 10.66.0.1/32", "lk-road8 8 10.66.0.2/32"]);
    assert_eq!(devices(&each, &all[2..]), ["lk-road8 8 10.66.0.2/32"]);
    // What comes in has another one, which leads nowhere.
    let apart = [in_device(1, (7, 9), child("voice", 5, 1))];
    assert_eq!(devices(&each, &apart), ["lk-road7 7 ", "lk-road9 9 10.66.0.1/32"]);
    assert_eq!(clients(&each, &apart, &Learned::new()).1, [] as [&str; 0]);
    assert_eq!(devices(&shared(&[(0, &["voice"])]), &all), [] as [&str; 0]);
}

#[test]
fn an_ike_sa_that_can_have_no_device_is_said_with_the_cure() {
    let each = each(&[(0, &["voice"]), (1, &["bulk-*"])]);
    let said = |children: &[Child]| (devices(&each, children).len(), clients(&each, children, &Learned::new()).1);
    let voice = |if_ids| in_device(1, if_ids, child("voice", 5, 1));
    let says = |found: (usize, Vec<String>), text: &str| {
        assert_eq!((found.0, found.1.as_slice()), (0, [text.to_owned()].as_slice()));
    };
    let none = "CHILD_SA \"voice\" has no if_id, and so its IKE_SA no device: write if_id_in = %unique and if_id_out = %unique \
                in the connection in swanctl.conf, or an if-id here";
    says(said(&[voice((0, 0))]), none);
    says(said(&[voice((7, 0))]), none);
    says(
        said(&[voice((44, 44))]),
        "CHILD_SA \"voice\" has got if_id 44 by %unique, which a device of this file has: give that one a number that \
         strongSwan does not get to, as 1000000",
    );
    says(
        said(&[voice((4_000_000_000, 4_000_000_000))]),
        "CHILD_SA \"voice\" would have the device lk-road4000000000, whose name is too long: take a shorter one before %d",
    );
    // Unique in each child, and not in the connection.
    let (_, said) = said(&[voice((7, 7)), in_device(1, (8, 8), child("bulk-0", 6, 2))]);
    assert_eq!(
        said,
        [
            "CHILD_SA \"bulk-0\" has another if_id than others of its IKE_SA, and so another device, without lanes for their \
             classes: write if_id_in = %unique and if_id_out = %unique in the connection in swanctl.conf, not in its children"
        ]
    );
}
