//! Every device of the box that may lead into an IPsec tunnel, ours and others': XFRM interfaces, VTI and GRE.

mod table;

use std::net::IpAddr;

use serde::Serialize;

/// What is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Devices {
    /// In the kernel's order.
    pub devices: Vec<Device>,
}

/// One of them. What its kind does not have, or what is not set, is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its number.
    pub index: u32,
    /// The kernel's word: `xfrm`, `vti`, `vti6`, `gre`, `gretap`, `ip6gre`, `ip6gretap`.
    pub kind: String,
    /// Whether it carries packets.
    pub state: State,
    /// In bytes.
    pub mtu: u32,
    /// IFLA_XFRM_IF_ID.
    pub if_id: Option<u32>,
    /// Key of what comes in.
    pub ikey: Option<u32>,
    /// Key of what goes out.
    pub okey: Option<u32>,
    /// Outer address here.
    pub local: Option<IpAddr>,
    /// Outer address of the peer.
    pub remote: Option<IpAddr>,
    /// The device below it: its name, or its number where that is of another network namespace.
    pub underlying: Option<String>,
    /// Mark of the outer packet's route lookup.
    pub fwmark: Option<u32>,
    /// Endpoints, keys or if_id come with each packet's route.
    pub external: bool,
    /// The id of the network namespace that the device below it, and its SAs, are in, where that is another.
    pub link_netns: Option<i32>,
    /// The device that it is a port of.
    pub master: Option<String>,
    /// Whether that is a VRF.
    pub master_is_vrf: bool,
    /// `lanekeeper` for ours.
    pub owner: Option<String>,
    /// Whose of ours, as the running agent says; several names with commas between.
    pub tunnel: Option<String>,
    /// What came in by it.
    #[serde(rename = "in")]
    pub inbound: Count,
    /// What went out by it.
    #[serde(rename = "out")]
    pub outbound: Count,
}

/// Whether a device carries packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It does.
    Up,
    /// Nobody has set it up.
    Down,
    /// The device below it is down.
    NoCarrier,
}

impl State {
    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "DOWN",
            Self::NoCarrier => "NO CARRIER",
        }
    }
}

/// Counters of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Packets that were carried.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that could not be carried.
    pub errors: u64,
    /// Packets that were thrown away.
    pub dropped: u64,
}

impl Devices {
    /// For human eyes.
    pub fn table(&self) -> String {
        table::render(&self.devices)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub fn device(name: &str, kind: &str) -> Device {
        Device {
            name: name.to_owned(),
            index: 7,
            kind: kind.to_owned(),
            state: State::Up,
            mtu: 1400,
            if_id: None,
            ikey: None,
            okey: None,
            local: None,
            remote: None,
            underlying: None,
            fwmark: None,
            external: false,
            link_netns: None,
            master: None,
            master_is_vrf: false,
            owner: None,
            tunnel: None,
            inbound: Count::default(),
            outbound: Count::default(),
        }
    }

    #[test]
    fn its_json_has_every_field() {
        let ours = Device { if_id: Some(42), owner: Some("lanekeeper".into()), ..device("lk-b7", "xfrm") };
        let json = serde_json::to_string(&Devices { devices: vec![ours] }).unwrap();
        assert_eq!(
            json,
            concat!(
                r#"{"devices":[{"name":"lk-b7","index":7,"kind":"xfrm","state":"up","mtu":1400,"if_id":42,"ikey":null,"#,
                r#""okey":null,"local":null,"remote":null,"underlying":null,"fwmark":null,"external":false,"#,
                r#""link_netns":null,"master":null,"master_is_vrf":false,"owner":"lanekeeper","tunnel":null,"#,
                r#""in":{"packets":0,"bytes":0,"errors":0,"dropped":0},"out":{"packets":0,"bytes":0,"errors":0,"dropped":0}}]}"#
            )
        );
    }
}
