//! States and policies of XFRM as values: what identifies each, and what it carries.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use super::{BLOCK_PRIORITY, POLICY_PRIORITY};
use crate::keyfile::Key;
pub use crate::keyfile::{Algorithm, Direction};
use crate::policy::{Masked, Mode};

/// A mark under a mask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Mark {
    /// Within the mask.
    pub value: u32,
    /// The bits that count.
    pub mask: u32,
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

impl fmt::Display for StateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spi {:#010x} dst {}", self.spi, self.destination)?;
        self.mark.map_or(Ok(()), |mark| write!(f, " mark {mark}"))
    }
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

impl fmt::Display for PolicyDirection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::In => "in",
            Self::Fwd => "fwd",
            Self::Out => "out",
        })
    }
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
    /// Type and code of ICMP; `None` for any, and for other protocols.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp: Option<(u8, u8)>,
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

impl fmt::Display for XfrmPolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dir {} src {} dst {}", self.direction, self.selector.source, self.selector.destination)?;
        if self.selector.protocol != 0 {
            write!(f, " proto {}", self.selector.protocol)?;
        }
        if let Some((kind, code)) = self.selector.icmp {
            write!(f, " type {kind} code {code}")?;
        }
        if let Some(mark) = self.mark {
            write!(f, " mark {mark}")?;
        }
        write!(f, " if_id {}", self.if_id)
    }
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

/// Whether a policy with a request id of ours and this priority is one that we install.
pub fn is_our_priority(priority: u32) -> bool {
    priority == POLICY_PRIORITY || priority == BLOCK_PRIORITY
}

fn hex<S: Serializer>(value: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value:#x}"))
}
