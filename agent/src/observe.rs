//! Verdicts on packets as they pass, by the file's names: what of them somebody wants to see, and how it is shown. The
//! programs that look are in [`crate::kernel::dataplane`], and who asks them in [`crate::reconcile`].

mod filter;
mod names;
mod pace;
mod pcap;
mod sighting;

pub use filter::Filter;
pub use names::Names;
pub use pace::Pace;
pub use pcap::{Error as PcapError, Writer};
pub use sighting::{Direction, Sighting};

use serde::{Deserialize, Serialize};

/// Packets a second that are shown unless more are asked for.
pub const RATE: u32 = 20;
/// And at most.
pub const MOST: u32 = 1000;

/// What somebody wants to see.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// Which packets.
    #[serde(default)]
    pub filter: Filter,
    /// How many a second, 1 to [`MOST`].
    pub rate: u32,
    /// Their first bytes, too.
    pub bytes: bool,
}

/// Packets that were not shown, from when one began to look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unseen {
    /// Passed while none was due to be looked at.
    pub passed: u64,
    /// Looked at, and lost as the agent did not read the ring fast enough.
    pub ring_full: u64,
    /// Decided by tables that were exchanged before the names were looked up.
    pub stale: u64,
    /// Of those asked for, more than the rate.
    pub beyond_rate: u64,
    /// Not taken by the one who asked.
    pub not_taken: u64,
}

impl Unseen {
    /// A sentence.
    pub fn text(&self, shown: u64) -> String {
        let Self { passed, ring_full, stale, beyond_rate, not_taken } = self;
        let mut text = format!("{shown} shown; {passed} passed unseen, {beyond_rate} beyond the rate");
        for (count, why) in [
            (ring_full, "lost as the ring was full"),
            (stale, "lost as the tables changed"),
            (not_taken, "lost as nobody took them"),
        ] {
            if *count != 0 {
                text += &format!(", {count} {why}");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_shown_is_said_with_its_reason() {
        let unseen = Unseen { passed: 3, beyond_rate: 2, ..Unseen::default() };
        assert_eq!(unseen.text(1), "1 shown; 3 passed unseen, 2 beyond the rate");
        let all = Unseen { ring_full: 4, stale: 5, not_taken: 6, ..unseen };
        assert_eq!(
            all.text(1),
            "1 shown; 3 passed unseen, 2 beyond the rate, 4 lost as the ring was full, 5 lost as the tables changed, \
             6 lost as nobody took them"
        );
    }
}
