//! What must change on this machine: desired state, observed state, and the ordered operations between them.
//!
//! Pure. The shell that observes and applies is [`crate::kernel`]; charon's and the data path's operations are executed by
//! [`crate::reconcile`]'s hands. Nothing foreign ever becomes part of [`Observed`] except as a name that must not be taken.

mod desired;
mod diff;
mod link;
mod list;
mod observed;
mod op;
mod route;
mod xfrm;

pub use desired::{Desired, Error, Followed, LeftOut, blocks};
pub use diff::{Conflict, Conflicts, Plan, diff};
pub use link::{Address, Lack, Link, LinkKind};
pub use list::List;
pub use observed::{DeviceInUse, Extent, LaneTraces, Observed};
pub use op::{Op, Room, Spared};
pub use route::{Asks, Route, RouteVia, Rule, Table};
pub use xfrm::{
    Algorithm, Direction, Mark, PolicyDirection, Selector, State, StateId, Treatment, XfrmPolicy, XfrmPolicyId,
    is_our_priority,
};

/// Route protocol id of every route that is ours, and IFA_PROTO of every address.
pub const PROTOCOL: u8 = 76;

/// IFLA_IFALIAS of every device that is ours.
pub const ALIAS: &str = "lanekeeper";

/// Request ids of every state and policy that is ours, charon's for our lanes included.
pub const REQIDS: std::ops::RangeInclusive<u32> = 0x4c4b_0000..=0x4c4b_ffff;

/// Number of the first routing table of ours: that for routes of length 0 which are around a peer.
pub const AROUND_TABLES: u32 = 0x4c4b_0000;

/// Priority of the first rule of ours: that for tables around peers.
pub const AROUND_RULES: u32 = 0x4c00;

/// Priority of the first rule that chooses a table by the mark: all of them come before those around peers.
pub const MARK_RULES: u32 = AROUND_RULES - 2 * 129;

/// Preference of the unreachable route behind each route: any other route to the prefix is preferred.
pub const UNREACHABLE_METRIC: u32 = u32::MAX - 1;

/// XFRM priority of the policies that we install; tells them from charon's, whose priorities lie above 100,000.
pub const POLICY_PRIORITY: u32 = 0x4c4b;

/// Preference of our tc filters, where the kernel has no TCX: low enough to come first.
pub const FILTER_PREFERENCE: u16 = 0x4c;

/// XFRM priority of the policies that block what others would have encrypted: any other one is preferred.
pub const BLOCK_PRIORITY: u32 = u32::MAX - 1;

/// Soft byte limit of the states that we install, which tells them from charon's: never reached, and nobody else's idea.
pub const STATE_TAG: u64 = u64::MAX - PROTOCOL as u64;

/// SPIs that charon draws its own from by default (`charon.spi_min` and `spi_max`); a static SA has none of them.
pub const CHARON_SPIS: std::ops::RangeInclusive<u32> = 0xc000_0000..=0xcfff_ffff;
