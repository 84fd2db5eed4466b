//! Routes, their tables, and the rules by which those are asked.

use std::fmt;

use ipnet::IpNet;
use serde::Serialize;

use super::{AROUND_RULES, AROUND_TABLES};

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
            RouteVia::Unreachable => write!(f, "route unreachable {}", self.destination)?,
            RouteVia::Throw => write!(f, "route throw {}", self.destination)?,
        }
        write!(f, " metric {}", self.metric)?;
        match self.table {
            Table::Main => Ok(()),
            Table::Around(_) | Table::Vrf(_) => write!(f, " table {}", self.table.number()),
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
    /// A VRF's, by its number: asked for what came in by the VRF's devices or is bound to it.
    Vrf(u32),
}

impl Table {
    /// RTA_TABLE and FRA_TABLE.
    pub fn number(self) -> u32 {
        match self {
            Self::Main => libc::RT_TABLE_MAIN.into(),
            Self::Around(length) => AROUND_TABLES + u32::from(length),
            Self::Vrf(number) => number,
        }
    }

    /// The one with that number. A route of ours in any other table is there for a VRF, even one that is gone.
    pub fn of_number(number: u32) -> Self {
        let main = number == Self::Main.number();
        let around = || u8::try_from(number.checked_sub(AROUND_TABLES)?).ok().filter(|length| *length <= 128);
        if main { Self::Main } else { around().map_or(Self::Vrf(number), Self::Around) }
    }
}

/// A rule of ours (`ip rule`), for one of the tables around peers.
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
        let behind = match self.asks {
            Asks::Longer => 0,
            Asks::Table => 1,
        };
        AROUND_RULES + 2 * (128 - u32::from(self.length)) + behind
    }

    /// FRA_TABLE.
    pub fn table(self) -> Table {
        match self.asks {
            Asks::Longer => Table::Main,
            Asks::Table => Table::Around(self.length),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.ipv4 { "ipv4" } else { "ipv6" };
        write!(f, "rule {family} priority {} table {}", self.priority(), self.table().number())?;
        match self.asks {
            Asks::Longer => write!(f, " suppress_prefixlength {}", self.length),
            Asks::Table => Ok(()),
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
    Table,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase", tag = "via", content = "device")]
pub enum RouteVia {
    /// Through this device.
    Device(String),
    /// Nowhere: the sender is told so.
    Unreachable,
    /// Out of this table: the rules behind it decide.
    Throw,
}
