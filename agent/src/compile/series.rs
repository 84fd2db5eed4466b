//! What is counted, by names that stay the same over reloads, rekeys and restarts.

use lanekeeper_common::abi::MAX_TENANT_CLASSES;
use lanekeeper_common::verdict::{BlockReason, ParseReason};

/// Which way a packet crosses the tunnel device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Into the tunnel.
    Out,
    /// Out of the tunnel.
    In,
}

/// Who classified a packet at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum By {
    /// XDP, which handed the verdict over.
    Xdp,
    /// tc by itself.
    Tc,
}

/// What the host alone sees happen to a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LaneEvent {
    /// Its CHILD_SA was replaced.
    Rekey,
    /// A packet fell out of the anti-replay window.
    ReplayError,
    /// A packet failed authentication.
    IntegrityError,
}

/// Why the metrics listener turned a caller away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// No password, or a wrong one.
    Password,
    /// No client's certificate, or one of another CA.
    Certificate,
    /// TLS was not spoken, or not in time.
    Handshake,
    /// Too many were there already, or waited for their passwords to be checked.
    Full,
}

impl Refusal {
    /// All of them, so that each has its series from the start.
    pub const ALL: [Self; 4] = [Self::Password, Self::Certificate, Self::Handshake, Self::Full];

    /// As the label says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Certificate => "certificate",
            Self::Handshake => "handshake",
            Self::Full => "full",
        }
    }
}

/// One counter. A tenant of `""` is the traffic of no tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Series {
    /// Sent into a tunnel; what was blocked there is not.
    ClassOut {
        /// Whose packet.
        tenant: String,
        /// Its class, before any fallback.
        class: String,
    },
    /// Came out of a tunnel on a lane of this class.
    ClassIn {
        /// Whose own the tunnel is; of nobody's own, whose `sources` hold the packet's destination.
        tenant: String,
        /// The lane's class.
        class: String,
    },
    /// Went over one lane.
    Lane {
        /// Tunnel's name.
        tunnel: String,
        /// Class's name.
        class: String,
        /// 0..lanes of the class.
        index: u8,
        /// Out or in.
        direction: Direction,
    },
    /// Took another class's lane because none of its own was up.
    Fallback {
        /// Tunnel's name.
        tunnel: String,
        /// The class that the packet has.
        class: String,
        /// The class whose lane it took.
        to: String,
    },
    /// Dropped at the tunnel device.
    Blocked {
        /// Whose packet.
        tenant: String,
        /// Its class; `""` where it was not classified.
        class: String,
        /// Why.
        reason: BlockReason,
    },
    /// Decided by a named rule.
    Rule {
        /// Whose rule.
        tenant: String,
        /// Its name.
        rule: String,
    },
    /// Got the mark of its class at a port.
    Port {
        /// The interface's name.
        interface: String,
        /// Who classified it.
        by: By,
    },
    /// Not, or not wholly, parsed.
    Parse {
        /// Why.
        reason: ParseReason,
    },
    /// Happened to a lane outside the data path; counted by the agent through `tally`.
    Event {
        /// Tunnel's name.
        tunnel: String,
        /// Class's name.
        class: String,
        /// 0..lanes of the class.
        index: u8,
        /// What.
        event: LaneEvent,
    },
    /// Something of ours was changed by others and put back; counted through `tally` too.
    Repair {
        /// Of [`REPAIR_KINDS`].
        kind: String,
    },
    /// The kernel had more to tell than was taken; counted through `tally` too.
    Overrun,
    /// The metrics listener turned a caller away; counted through `tally` too.
    Refused {
        /// Why.
        reason: Refusal,
    },
}

/// In the place of a class: all classes of a tenant that are not counted each by itself. No class is named like it.
pub const ALL_CLASSES: &str = "*";

/// Whether the classes of the tenant of that number are counted each by itself, of so many classes: those of all tenants
/// would be too many series, so tenants from a number on have one for all. It is the file's order that tells them apart, so
/// that a tenant added at the end changes nobody's series.
pub fn counts_by_class(tenant: usize, classes: usize) -> bool {
    (tenant + 1) * classes <= MAX_TENANT_CLASSES
}

/// Kinds of what the agent repairs, so that each has its series from the start.
pub const REPAIR_KINDS: [&str; 8] = ["link", "address", "route", "state", "policy", "tables", "programs", "connection"];

/// A counter as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Which.
    pub series: Series,
    /// Packets, or events.
    pub packets: u64,
    /// Bytes of the inner packet from the network header on; 0 for events.
    pub bytes: u64,
}
