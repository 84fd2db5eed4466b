//! The names of lanes and what is known of their state: shared by keying, data path, metrics and status.

use std::fmt;

/// One lane by names, which stay the same over reloads, rekeys and restarts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId {
    /// Name of the tunnel.
    pub tunnel: String,
    /// Name of the class.
    pub class: String,
    /// 0..lanes of the class.
    pub index: u8,
}

/// How a lane is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Condition {
    /// No packet may take it.
    #[default]
    Down,
    /// A packet that takes it brings it up; until then the kernel drops what takes it.
    OnDemand,
    /// Its SAs stand.
    Up,
}

impl Condition {
    /// Whether packets may take the lane.
    pub fn is_open(self) -> bool {
        match self {
            Self::Down => false,
            Self::OnDemand | Self::Up => true,
        }
    }
}

impl fmt::Display for LaneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}.{}", self.tunnel, self.class, self.index)
    }
}
