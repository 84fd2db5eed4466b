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

impl fmt::Display for LaneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}.{}", self.tunnel, self.class, self.index)
    }
}
