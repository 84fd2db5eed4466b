//! The `.bin` files beside this one are packets that charon 5.9.8 (Debian 12) sent: of a tunnel with fixed request ids,
//! marks under a mask, if_id 42 and labels, one after the other in the life of its IKE_SA.

use super::*;
use crate::vici::Packet;

fn notice(packet: &[u8]) -> Notice {
    match Packet::decode(packet) {
        Ok(Packet::Event { name, message }) => Notice::read(&name, &message).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn child(id: u32, spis: (u32, u32), life: u32) -> ChildSa {
    ChildSa {
        name: "voice.0".to_owned(),
        id,
        installed: true,
        reqid: 0x4c4b_0001,
        spis,
        mark: (1, 0xff),
        if_id: 42,
        life: Some(life),
    }
}

fn ike(id: u32, state: IkeState, children: Vec<ChildSa>) -> IkeSa {
    IkeSa { connection: "lk-t".to_owned(), id, state, initiator: true, children }
}

#[test]
fn an_ike_sa_rises() {
    let packet = include_bytes!("ike-up.bin");
    assert_eq!(notice(packet), Notice::IkeUp(ike(1, IkeState::Established, vec![])));
}

#[test]
fn a_child_rises_with_its_mark_if_id_and_spis() {
    let voice = child(1, (0xc325_ac4b, 0xcbde_04d0), 3960);
    let packet = include_bytes!("child-up.bin");
    assert_eq!(notice(packet), Notice::ChildUp(ike(1, IkeState::Established, vec![voice])));
}

#[test]
fn a_child_is_rekeyed_under_its_bare_name() {
    let voice = child(4, (0xc9d8_7b16, 0xcf52_4ae4), 3960);
    let packet = include_bytes!("child-rekey.bin");
    let ike = ike(1, IkeState::Established, vec![]);
    assert_eq!(notice(packet), Notice::ChildRekeyed { ike, old: 1, new: voice });
}

#[test]
fn an_ike_sa_is_rekeyed() {
    let packet = include_bytes!("ike-rekey.bin");
    assert_eq!(notice(packet), Notice::IkeRekeyed { old: 1, new: ike(2, IkeState::Established, vec![]) });
}

#[test]
fn falls_have_no_up() {
    let Notice::ChildDown(child) = notice(include_bytes!("child-down.bin")) else { panic!("no fall of a child") };
    assert_eq!(
        (child.children[0].name.as_str(), child.children[0].id, child.children[0].installed),
        ("bulk.1", 3, false)
    );
    let packet = include_bytes!("ike-down.bin");
    assert_eq!(notice(packet), Notice::IkeDown(ike(2, IkeState::Leaving, vec![])));
}

#[test]
fn a_full_mask_is_left_out_and_no_mark_is_no_mask() {
    let with = |section: Message| {
        let base = section.with("name", "c").with("uniqueid", "1").with("reqid", "1").with("state", "INSTALLED");
        ChildSa::read(&base).unwrap().mark
    };
    assert_eq!(with(Message::new().with("mark-in", "00000007")), (7, u32::MAX));
    assert_eq!(with(Message::new()), (0, 0));
}

#[test]
fn half_made_and_replaced_children_are_not_installed() {
    for state in ["CREATED", "INSTALLING", "REKEYED", "DELETING", "DELETED"] {
        let section = Message::new().with("name", "c").with("uniqueid", "1").with("reqid", "1").with("state", state);
        assert!(!ChildSa::read(&section).unwrap().installed, "{state}");
    }
}

#[test]
fn events_of_another_form_are_nothing() {
    let empty = Message::new().with_section("lk-t", Message::new());
    for event in EVENTS {
        assert_eq!(Notice::read(event, &empty), None, "{event}");
        assert_eq!(Notice::read(event, &Message::new()), None, "{event}");
    }
    assert_eq!(Notice::read("log", &empty), None);
}
