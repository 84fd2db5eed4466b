//! What becomes of a packet, and why: tenant, rule, class, lane and mark, by the classifier on the host or by the program
//! itself. All lanes are taken to be up.

pub mod capture;
pub mod engine;
mod frame;
pub mod line;
pub mod route;
pub mod words;

use lanekeeper_common::packet::parse;
use lanekeeper_common::verdict::{BlockReason, ParseReason};

pub use frame::Frame;

use self::engine::Engine;
use self::line::Line;
use crate::kernel::dataplane;
use crate::policy::{Policy, TunnelIndex};

/// What an engine says of a packet; places are those of the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Whose it is.
    pub tenant: Option<usize>,
    /// What decided; `None` where the default applied.
    pub rule: Option<usize>,
    /// Its class.
    pub class: usize,
    /// What it leaves with; `None` where it does not leave.
    pub mark: Option<u32>,
    /// Why it was not wholly read.
    pub unparsed: Option<ParseReason>,
    /// Why it is dropped.
    pub blocked: Option<BlockReason>,
}

/// One packet, from its bytes to its line.
pub fn explain(policy: &Policy, engine: &mut dyn Engine, frame: &Frame) -> Result<Line, dataplane::Error> {
    let packet = parse(&frame.bytes.as_slice(), frame.layer, None).ok();
    let tunnel = route::tunnel(policy, packet.as_ref().map(route::destination));
    // Tenant, rule and class are the same by whatever device it leaves.
    let verdict = engine.decide(frame, tunnel.unwrap_or(TunnelIndex(0)))?;
    Ok(Line::new(policy, frame.number, tunnel, &verdict))
}
