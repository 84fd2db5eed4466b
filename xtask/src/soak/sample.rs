//! What is seen of both gateways at one moment.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::lab::metrics::Metrics;

/// Packets by class.
pub type ByClass = BTreeMap<&'static str, u64>;

/// Packets by SPI, with the class that the SA's mark is of.
pub type Out = BTreeMap<u32, (&'static str, u64)>;

/// Both gateways, and the WAN between them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// Since the soak began.
    pub at: Duration,
    /// Packets that the WAN saw in cleartext.
    pub clear: u64,
    /// The first of them.
    pub first_clear: Option<String>,
    /// At A and B.
    pub ends: [End; 2],
}

/// One gateway.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct End {
    /// Handed to the stack of the host behind it, at least, as it was before the SAs were read.
    pub sent_before: ByClass,
    /// The same, at most, as it was afterwards.
    pub sent_after: ByClass,
    /// Packets of each outbound SA before the agent was asked.
    pub out_before: Out,
    /// What its agent says; nothing while none runs.
    pub metrics: Option<Metrics>,
    /// Packets of each outbound SA afterwards.
    pub out: Out,
}

/// What the agent of one gateway takes of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Resident memory, KiB.
    pub rss: u64,
    /// By name: descriptors, series, pins, and the entries of each map that grows.
    pub counts: BTreeMap<String, u64>,
}
