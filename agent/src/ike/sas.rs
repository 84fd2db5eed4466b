//! What charon tells of IKE_SAs and CHILD_SAs, in `list-sa` and in its events.

use crate::vici::Message;

use super::connection::ChildLane;

/// The events that [`Notice`] knows.
pub const EVENTS: [&str; 4] = ["ike-updown", "ike-rekey", "child-updown", "child-rekey"];

/// An IKE_SA, with the CHILD_SAs that were told along with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IkeSa {
    /// Name of its connection.
    pub connection: String,
    /// charon's number for it, never used again in charon's life.
    pub id: u32,
    /// Where it stands.
    pub state: IkeState,
    /// We began it.
    pub initiator: bool,
    /// Its CHILD_SAs.
    pub children: Vec<ChildSa>,
}

/// Where an IKE_SA stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IkeState {
    /// Being negotiated.
    Connecting,
    /// Usable.
    Established,
    /// On its way out, or its place has been taken.
    Leaving,
}

/// A CHILD_SA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildSa {
    /// Name of its configuration.
    pub name: String,
    /// charon's number for it, never used again in charon's life.
    pub id: u32,
    /// Carries traffic: neither half made nor replaced nor deleted.
    pub installed: bool,
    /// Request id of its states and policies.
    pub reqid: u32,
    /// Inbound and outbound SPI.
    pub spis: (u32, u32),
    /// Inbound mark and mask.
    pub mark: (u32, u32),
    /// Inbound if_id.
    pub if_id: u32,
    /// Seconds until the kernel removes it; `None` for never.
    pub life: Option<u32>,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// An IKE_SA stands.
    IkeUp(IkeSa),
    /// An IKE_SA is gone, with all its CHILD_SAs.
    IkeDown(IkeSa),
    /// An IKE_SA took another's place and CHILD_SAs.
    IkeRekeyed {
        /// Number of the old one.
        old: u32,
        /// The new one.
        new: IkeSa,
    },
    /// The one CHILD_SA in it carries traffic.
    ChildUp(IkeSa),
    /// The one CHILD_SA in it is gone.
    ChildDown(IkeSa),
    /// A CHILD_SA took another's place; the old one lingers for packets under way.
    ChildRekeyed {
        /// The IKE_SA, without children.
        ike: IkeSa,
        /// Number of the old one.
        old: u32,
        /// The new one.
        new: ChildSa,
    },
}

impl IkeSa {
    /// Reads the section of a `list-sa` event.
    pub fn read(connection: &str, section: &Message) -> Option<Self> {
        let children = section.section("child-sas").into_iter().flat_map(Message::sections);
        Some(Self {
            connection: connection.to_owned(),
            id: section.text("uniqueid")?.parse().ok()?,
            state: match section.text("state")? {
                "ESTABLISHED" | "REKEYING" => IkeState::Established,
                "CREATED" | "CONNECTING" | "PASSIVE" => IkeState::Connecting,
                _ => IkeState::Leaving,
            },
            initiator: section.text("initiator") == Some("yes"),
            children: children.filter_map(|(_, child)| ChildSa::read(child)).collect(),
        })
    }
}

impl ChildSa {
    fn read(section: &Message) -> Option<Self> {
        let hex = |key| section.text(key).and_then(|text| u32::from_str_radix(text, 16).ok());
        let mark = hex("mark-in").unwrap_or(0);
        Some(Self {
            name: section.text("name")?.to_owned(),
            id: section.text("uniqueid")?.parse().ok()?,
            installed: matches!(section.text("state")?, "INSTALLED" | "UPDATING" | "REKEYING"),
            reqid: section.text("reqid")?.parse().ok()?,
            spis: (hex("spi-in").unwrap_or(0), hex("spi-out").unwrap_or(0)),
            // charon leaves a full mask out.
            mark: (mark, hex("mark-mask-in").unwrap_or(if section.text("mark-in").is_some() { u32::MAX } else { 0 })),
            if_id: hex("if-id-in").unwrap_or(0),
            life: section.text("life-time").and_then(|text| text.parse().ok()),
        })
    }

    /// It is that lane's: made from the configuration that we want now, not from an older one.
    pub fn fits(&self, lane: &ChildLane) -> bool {
        self.name == lane.child && self.reqid == lane.reqid && self.mark == lane.mark && self.if_id == lane.if_id
    }
}

impl Notice {
    /// Reads an event; `None` for one of another kind or form.
    pub fn read(event: &str, message: &Message) -> Option<Self> {
        let (connection, section) = message.sections().next()?;
        let up = message.text("up") == Some("yes");
        match event {
            "ike-updown" => {
                let ike = IkeSa::read(connection, section)?;
                Some(if up { Self::IkeUp(ike) } else { Self::IkeDown(ike) })
            }
            "child-updown" => {
                let ike = IkeSa::read(connection, section)?;
                Some(if up { Self::ChildUp(ike) } else { Self::ChildDown(ike) })
            }
            "ike-rekey" => Some(Self::IkeRekeyed {
                old: section.section("old")?.text("uniqueid")?.parse().ok()?,
                new: IkeSa::read(connection, section.section("new")?)?,
            }),
            "child-rekey" => {
                // Its sections are named by the bare child name and hold `old` and `new`.
                let (_, child) = section.section("child-sas")?.sections().next()?;
                let mut ike = IkeSa::read(connection, section)?;
                ike.children.clear();
                Some(Self::ChildRekeyed {
                    ike,
                    old: child.section("old")?.text("uniqueid")?.parse().ok()?,
                    new: ChildSa::read(child.section("new")?)?,
                })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
