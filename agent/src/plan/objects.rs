//! The kernel's objects as values: what identifies each, and what it carries.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use super::{AROUND_RULES, AROUND_TABLES, BLOCK_PRIORITY, POLICY_PRIORITY};
use crate::keyfile::Key;
pub use crate::keyfile::{Algorithm, Direction};
use crate::policy::{Masked, Mode};

/// A tunnel's device of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Its kind, and what cannot be changed while it stands.
    #[serde(flatten)]
    pub kind: LinkKind,
    /// In bytes.
    pub mtu: u32,
    /// IFF_UP.
    pub up: bool,
    /// Whether what comes in by it is asked for no policy of its own: the device has done so, by its key.
    pub disable_policy: bool,
    /// The VRF that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vrf: Option<String>,
    /// IFLA_XFRM_LINK: the device whose VRF the outer route is looked for in (`xfrm_dst_lookup`), and nothing more: ESP leaves by
    /// whichever device that route has. The kernel changes it on no device (`xfrmi_change`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// What a device cannot be made without, and nobody but the operator makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Lack {
    /// The VRF that it is to be in.
    Vrf(String),
    /// The same, and a device of another kind has its name.
    NoVrf(String),
    /// The device below it.
    Link(String),
}

/// Kinds of device, with what each is made with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum LinkKind {
    /// An XFRM interface.
    Xfrm {
        /// IFLA_XFRM_IF_ID, not zero.
        if_id: u32,
    },
    /// A VTI, or VTI6 between IPv6 addresses.
    Vti {
        /// Outer address here.
        local: IpAddr,
        /// That of the peer.
        remote: IpAddr,
        /// IFLA_VTI_IKEY.
        input_key: u32,
        /// IFLA_VTI_OKEY.
        output_key: u32,
    },
    /// A GRE device, over IPv4 or IPv6, with multicast.
    Gre {
        /// Outer address here.
        local: IpAddr,
        /// That of the peer.
        remote: IpAddr,
        /// IFLA_GRE_IKEY and IFLA_GRE_OKEY.
        key: Option<u32>,
        /// IFLA_GRE_TTL.
        ttl: u8,
        /// IFLA_GRE_FWMARK: the mark of the outer flow, by which its policy is found.
        fwmark: u32,
    },
    /// One that no tunnel has.
    #[default]
    Other,
}

/// An address of a device of ours.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Address {
    /// The device's name.
    pub device: String,
    /// Address and prefix length.
    pub address: IpNet,
}

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

/// What a rule has the kernel ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Asks {
    /// The main table, for routes of longer prefixes (FRA_SUPPRESS_PREFIXLEN).
    Longer,
    /// The table itself.
    Table,
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

/// A mark under a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Mark {
    /// Within the mask.
    pub value: u32,
    /// The bits that count.
    pub mask: u32,
}

/// What identifies a state in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct StateId {
    /// Outer destination.
    pub destination: IpAddr,
    /// Host byte order.
    #[serde(serialize_with = "hex")]
    pub spi: u32,
    /// XFRMA_MARK, part of the lookup; `None` matches every packet's mark.
    pub mark: Option<Mark>,
}

/// An ESP state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct State {
    /// What the kernel finds it by.
    #[serde(flatten)]
    pub id: StateId,
    /// Outer source.
    pub source: IpAddr,
    /// In [`super::REQIDS`].
    #[serde(serialize_with = "hex")]
    pub reqid: u32,
    /// The interface that it belongs to.
    pub if_id: u32,
    /// Tunnel or transport.
    pub mode: Mode,
    /// XFRMA_SET_MARK: what the packet's mark becomes after the transform.
    pub set_mark: Option<Mark>,
    /// In packets; 0 checks nothing.
    pub replay_window: u32,
    /// The transform.
    pub algorithm: Algorithm,
    /// Its key, salt included. Never shown.
    #[serde(skip)]
    pub key: Key,
}

/// Which packets a policy is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyDirection {
    /// For us.
    In,
    /// Through us, after decryption.
    Fwd,
    /// Into the tunnel.
    Out,
}

/// Source and destination of the packets, of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Selector {
    /// Their source, inner to a tunnel.
    pub source: IpNet,
    /// Their destination.
    pub destination: IpNet,
    /// IP protocol; 0 for any.
    pub protocol: u8,
}

/// What identifies a policy in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct XfrmPolicyId {
    /// Which packets.
    pub direction: PolicyDirection,
    /// Their addresses.
    pub selector: Selector,
    /// Their mark.
    pub mark: Option<Mark>,
    /// Their interface.
    pub if_id: u32,
}

/// What becomes of a policy's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Treatment {
    /// Out, they go to the lane's states; in, they have to come from them.
    Encrypt(Mode),
    /// They are dropped.
    Block,
}

/// A policy that sends packets to one lane's states, or asks that they came from them; or blocks where those are missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct XfrmPolicy {
    /// What the kernel finds it by.
    #[serde(flatten)]
    pub id: XfrmPolicyId,
    /// The lower, the more preferred.
    pub priority: u32,
    /// Outer source of its template.
    pub source: IpAddr,
    /// Outer destination of its template.
    pub destination: IpAddr,
    /// Of its template, which even one that blocks has: it is our sign.
    #[serde(serialize_with = "hex")]
    pub reqid: u32,
    /// What becomes of its packets.
    pub treatment: Treatment,
}

impl XfrmPolicy {
    /// Whether we install it, not charon.
    pub fn is_ours(&self) -> bool {
        is_our_priority(self.priority)
    }
}

/// Whether a policy with a request id of ours and this priority is one that we install.
pub fn is_our_priority(priority: u32) -> bool {
    priority == POLICY_PRIORITY || priority == BLOCK_PRIORITY
}

impl Mark {
    /// `value` under `mask`.
    pub fn new(value: u32, mask: u32) -> Self {
        Self { value: value & mask, mask }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}/{:#x}", self.value, self.mask)
    }
}

impl From<Masked> for Mark {
    fn from((value, mask): Masked) -> Self {
        Self::new(value, mask)
    }
}

impl LinkKind {
    /// Whether there may be only one of the two.
    pub fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Xfrm { if_id }, Self::Xfrm { if_id: other }) => if_id == other,
            // ip_tunnel_find and vti6_locate compare the ends alone.
            (Self::Vti { local, remote, .. }, Self::Vti { local: here, remote: there, .. }) => {
                (local, remote) == (here, there)
            }
            // Those of GRE have the key, too, but our policies are for all GRE between the ends.
            (Self::Gre { local, remote, .. }, Self::Gre { local: here, remote: there, .. }) => {
                (local, remote) == (here, there)
            }
            (Self::Xfrm { .. }, Self::Vti { .. } | Self::Gre { .. } | Self::Other)
            | (Self::Vti { .. }, Self::Xfrm { .. } | Self::Gre { .. } | Self::Other)
            | (Self::Gre { .. }, Self::Xfrm { .. } | Self::Vti { .. } | Self::Other)
            | (Self::Other, Self::Xfrm { .. } | Self::Vti { .. } | Self::Gre { .. } | Self::Other) => false,
        }
    }
}

impl fmt::Display for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Xfrm { if_id } => write!(f, "xfrm if_id {if_id}"),
            Self::Vti { local, remote, input_key, output_key } => {
                write!(f, "vti {local} > {remote} ikey {input_key} okey {output_key}")
            }
            Self::Gre { local, remote, key, ttl, fwmark } => {
                write!(f, "gre {local} > {remote}")?;
                if let Some(key) = key {
                    write!(f, " key {key}")?;
                }
                write!(f, " ttl {ttl} fwmark {fwmark:#x}")
            }
            Self::Other => f.write_str("of another kind"),
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link {} {} mtu {}", self.name, self.kind, self.mtu)?;
        if let Some(link) = &self.link {
            write!(f, " dev {link}")?;
        }
        self.vrf.as_ref().map_or(Ok(()), |vrf| write!(f, " vrf {vrf}"))
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vrf(name) => write!(f, "vrf {name}"),
            Self::NoVrf(name) => write!(f, "vrf {name}, which is a device of another kind"),
            Self::Link(name) => write!(f, "device {name}"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "address {} dev {}", self.address, self.device)
    }
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

impl fmt::Display for StateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spi {:#010x} dst {}", self.spi, self.destination)?;
        self.mark.map_or(Ok(()), |mark| write!(f, " mark {mark}"))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "state {} src {} reqid {:#x} if_id {}", self.id, self.source, self.reqid, self.if_id)?;
        if self.mode == Mode::Transport {
            f.write_str(" mode transport")?;
        }
        if let Some(mark) = self.set_mark {
            write!(f, " set-mark {mark}")?;
        }
        write!(f, " replay-window {} {}", self.replay_window, self.algorithm)
    }
}

impl fmt::Display for PolicyDirection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::In => "in",
            Self::Fwd => "fwd",
            Self::Out => "out",
        })
    }
}

impl fmt::Display for XfrmPolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dir {} src {} dst {}", self.direction, self.selector.source, self.selector.destination)?;
        if self.selector.protocol != 0 {
            write!(f, " proto {}", self.selector.protocol)?;
        }
        if let Some(mark) = self.mark {
            write!(f, " mark {mark}")?;
        }
        write!(f, " if_id {}", self.if_id)
    }
}

impl fmt::Display for XfrmPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.treatment {
            Treatment::Block => return write!(f, "policy {} block", self.id),
            Treatment::Encrypt(Mode::Tunnel) => "",
            Treatment::Encrypt(Mode::Transport) => " mode transport",
        };
        write!(f, "policy {} reqid {:#x} {} > {}{mode}", self.id, self.reqid, self.source, self.destination)
    }
}

fn hex<S: Serializer>(value: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value:#x}"))
}
