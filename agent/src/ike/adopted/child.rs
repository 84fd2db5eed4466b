//! A CHILD_SA of somebody's, as `list-sas` tells it.

use std::net::IpAddr;

use crate::vici::Message;

/// What binds it to a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// Its connection.
    pub connection: String,
    /// Name of its configuration.
    pub name: String,
    /// charon's number for it, never used again in charon's life.
    pub id: u32,
    /// Carries traffic: neither half made nor replaced nor deleted.
    pub installed: bool,
    /// Request id of its states and policies.
    pub reqid: u32,
    /// Value and mask of the mark that its outbound policies ask for; zeros where they ask for none.
    pub mark: (u32, u32),
    /// Those of its inbound state, likewise.
    pub mark_in: (u32, u32),
    /// Outbound if_id; 0 for none.
    pub if_id: u32,
    /// Inbound if_id; 0 for none.
    pub if_id_in: u32,
    /// Its label, a simple one.
    pub label: Option<String>,
    /// Its traffic selectors on the peer's side, as charon writes them.
    pub remote_ts: Vec<String>,
    /// Who has its other end.
    pub peer: Peer,
}

/// The other end of an IKE_SA.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// Its identity: that by EAP, where it has one.
    pub id: String,
    /// Its outer address.
    pub address: Option<IpAddr>,
    /// charon's number for the IKE_SA, never used again in charon's life.
    pub ike_sa: u32,
    /// Virtual IPs that it has given to this side.
    pub given: Vec<IpAddr>,
}

impl Peer {
    fn read(section: &Message) -> Self {
        let id = section.text("remote-eap-id").or_else(|| section.text("remote-id"));
        let address = section.text("remote-host").and_then(|address| address.parse().ok());
        let ike_sa = section.text("uniqueid").and_then(|number| number.parse().ok()).unwrap_or_default();
        let given = section.list("local-vips").filter_map(|address| address.parse().ok()).collect();
        Self { id: id.unwrap_or_default().to_owned(), address, ike_sa, given }
    }
}

impl Child {
    /// Those of one IKE_SA, as a `list-sa` event tells it.
    pub fn read_all(connection: &str, section: &Message) -> Vec<Self> {
        let children = section.section("child-sas").into_iter().flat_map(Message::sections);
        let peer = Peer::read(section);
        children.filter_map(|(_, child)| Self::read(connection, child, &peer)).collect()
    }

    fn read(connection: &str, section: &Message, peer: &Peer) -> Option<Self> {
        let hex = |key| section.text(key).and_then(|text| u32::from_str_radix(text, 16).ok());
        // charon leaves a full mask out.
        let mark = |value, mask| hex(value).map_or((0, 0), |value| (value, hex(mask).unwrap_or(u32::MAX)));
        Some(Self {
            connection: connection.to_owned(),
            name: section.text("name")?.to_owned(),
            id: section.text("uniqueid")?.parse().ok()?,
            installed: matches!(section.text("state")?, "INSTALLED" | "UPDATING" | "REKEYING"),
            reqid: section.text("reqid")?.parse().ok()?,
            mark: mark("mark-out", "mark-mask-out"),
            mark_in: mark("mark-in", "mark-mask-in"),
            if_id: hex("if-id-out").unwrap_or(0),
            if_id_in: hex("if-id-in").unwrap_or(0),
            label: section.text("label").map(label),
            remote_ts: section.list("remote-ts").map(str::to_owned).collect(),
            peer: peer.clone(),
        })
    }
}

/// charon writes labels as hex, with the zero at their end.
fn label(hex: &str) -> String {
    let byte = |at: usize| hex.get(at..at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
    let bytes: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(byte).collect();
    match bytes.map(String::from_utf8) {
        Some(Ok(text)) => text.trim_end_matches('\0').to_owned(),
        Some(Err(_)) | None => hex.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vici::Packet;

    #[test]
    fn a_child_is_read_with_its_outbound_mark_and_its_label() {
        // charon 5.9.8's, see the tests of `ike::sas`.
        let packet = include_bytes!("../sas/child-up.bin");
        let Ok(Packet::Event { message, .. }) = Packet::decode(packet) else { panic!("no event") };
        let (connection, section) = message.sections().next().unwrap();
        let voice = Child {
            connection: "lk-t".to_owned(),
            name: "voice.0".to_owned(),
            id: 1,
            installed: true,
            reqid: 0x4c4b_0001,
            mark: (1, 0xff),
            mark_in: (1, 0xff),
            if_id: 42,
            if_id_in: 42,
            label: Some("voice.0".to_owned()),
            remote_ts: vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()],
            peer: Peer { id: "sun".to_owned(), address: Some("192.0.2.2".parse().unwrap()), ike_sa: 1, given: vec![] },
        };
        assert_eq!(Child::read_all(connection, section), [voice]);
    }

    #[test]
    fn a_label_that_is_no_text_stays_as_it_is_written() {
        assert_eq!(label("766f69636500"), "voice");
        assert_eq!(label("ff"), "ff");
        assert_eq!(label("7"), "7");
    }

    #[test]
    fn a_full_mask_is_left_out_and_no_mark_is_no_mask() {
        let with = |section: Message| {
            let base = section.with("name", "c").with("uniqueid", "1").with("reqid", "1").with("state", "INSTALLED");
            Child::read("a", &base, &Peer::default()).unwrap().mark
        };
        assert_eq!(with(Message::new().with("mark-out", "00000007")), (7, u32::MAX));
        assert_eq!(with(Message::new()), (0, 0));
    }
}
