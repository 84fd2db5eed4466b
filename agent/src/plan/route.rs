//! Routes, their tables, and the rules by which those are asked.

use std::fmt;

use ipnet::IpNet;
use serde::Serialize;

use super::{AROUND_RULES, AROUND_TABLES, MARK_RULES, Mark};

/// A route of ours.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Route {
    /// Without host bits.
    pub destination: IpNet,
    /// Where it leads.
    #[serde(flatten)]
    pub via: RouteVia,
    /// RTA_PRIORITY: the lower, the more preferred.
    pub metric: u32,
    /// Where it is looked for.
    pub table: Table,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.via {
            RouteVia::Device(device) => write!(f, "route {} dev {device}", self.destination)?,
            RouteVia::External { device, if_id } => {
                write!(f, "route {} encap xfrm if_id {if_id} dev {device}", self.destination)?;
            }
            RouteVia::Unreachable => write!(f, "route unreachable {}", self.destination)?,
            RouteVia::Throw => write!(f, "route throw {}", self.destination)?,
        }
        write!(f, " metric {}", self.metric)?;
        match self.table {
            Table::Main => Ok(()),
            Table::Around(_) | Table::Marked { .. } | Table::Vrf(_) => write!(f, " table {}", self.table.number()),
        }
    }
}

/// A routing table, and when it is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Table {
    /// RT_TABLE_MAIN.
    #[default]
    Main,
    /// One of ours, for default routes and others around a peer's outer address, of this prefix length. It is asked when the
    /// main table has nothing longer, and passes the peers on, so that what goes to them is routed as without us.
    Around(u8),
    /// One of ours, for what leads into the GRE devices of a class, of prefixes of one length. It is asked for packets with the
    /// mark of that class when the main table has nothing longer.
    Marked {
        /// Number of the class in the file, from 1.
        class: u8,
        /// The length of its prefixes.
        length: u8,
    },
    /// A VRF's, by its number: asked for what came in by the VRF's devices or is bound to it.
    Vrf(u32),
}

impl Table {
    /// RTA_TABLE and FRA_TABLE.
    pub fn number(self) -> u32 {
        match self {
            Self::Main => libc::RT_TABLE_MAIN.into(),
            Self::Around(length) => AROUND_TABLES + u32::from(length),
            Self::Marked { class, length } => AROUND_TABLES + (u32::from(class) << 8) + u32::from(length),
            Self::Vrf(number) => number,
        }
    }

    /// The one with that number. A route of ours in any other table is there for a VRF, even one that is gone.
    pub fn of_number(number: u32) -> Self {
        let main = number == Self::Main.number();
        let ours = || {
            let behind = u16::try_from(number.checked_sub(AROUND_TABLES)?).ok()?;
            let [class, length] = behind.to_be_bytes();
            (length <= 128).then_some(if class == 0 { Self::Around(length) } else { Self::Marked { class, length } })
        };
        if main { Self::Main } else { ours().unwrap_or(Self::Vrf(number)) }
    }
}

/// A rule of ours (`ip rule`), for one of the tables around peers or one that is chosen by the mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Rule {
    /// For packets of IPv4, else of IPv6.
    pub ipv4: bool,
    /// The length of the prefixes in its table.
    pub length: u8,
    /// What is asked.
    pub asks: Asks,
}

impl Rule {
    /// FRA_PRIORITY: tables of long prefixes are asked before those of short ones, all of them before the main table's own
    /// rule (32766).
    pub fn priority(self) -> u32 {
        let (first, behind) = match self.asks {
            Asks::Longer => (AROUND_RULES, 0),
            Asks::Table { .. } => (AROUND_RULES, 1),
            Asks::LongerThanMarked => (MARK_RULES, 0),
            Asks::Marked { .. } => (MARK_RULES, 1),
        };
        first + 2 * (128 - u32::from(self.length)) + behind
    }

    /// FRA_TABLE.
    pub fn table(self) -> Table {
        match self.asks {
            Asks::Longer | Asks::LongerThanMarked => Table::Main,
            Asks::Table { .. } => Table::Around(self.length),
            Asks::Marked { class, .. } => Table::Marked { class, length: self.length },
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.ipv4 { "ipv4" } else { "ipv6" };
        write!(f, "rule {family} priority {} table {}", self.priority(), self.table().number())?;
        match self.asks {
            Asks::Longer | Asks::LongerThanMarked => write!(f, " suppress_prefixlength {}", self.length),
            Asks::Table { but: 0 } => Ok(()),
            Asks::Table { but } => write!(f, " not fwmark {but:#x}/{but:#x}"),
            Asks::Marked { mark, .. } => write!(f, " fwmark {mark}"),
        }
    }
}

/// What a rule has the kernel ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Asks {
    /// The main table, for routes of longer prefixes (FRA_SUPPRESS_PREFIXLEN).
    Longer,
    /// The table itself.
    Table {
        /// Bits of the mark that IKE and ESP packets have, for which it is not asked; 0 for none.
        but: u32,
    },
    /// The main table, as before a table of routes around peers, before those that are chosen by the mark.
    LongerThanMarked,
    /// The table of a class's GRE devices, for packets with this mark: that of the class, or of one that it carries.
    Marked {
        /// Of the packet.
        mark: Mark,
        /// Number of the class in the file, from 1.
        class: u8,
    },
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase", tag = "via", content = "device")]
pub enum RouteVia {
    /// Through this device.
    Device(String),
    /// Through an external XFRM interface, with the if_id for it.
    External {
        /// The interface.
        #[serde(rename = "name")]
        device: String,
        /// LWT_XFRM_IF_ID.
        if_id: u32,
    },
    /// Nowhere: the sender is told so.
    Unreachable,
    /// Out of this table: the rules behind it decide.
    Throw,
}

impl RouteVia {
    /// The device that it leads into, if any.
    pub fn device(&self) -> Option<&str> {
        match self {
            Self::Device(device) | Self::External { device, .. } => Some(device),
            Self::Unreachable | Self::Throw => None,
        }
    }
}
