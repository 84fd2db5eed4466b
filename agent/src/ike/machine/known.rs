//! What a tunnel knows of charon's SAs beside its lanes: which IKE_SAs stand, and which SAs have gone.

use std::collections::BTreeMap;
use std::time::Duration;

/// Numbers of closed SAs are remembered at least as long as a list-sas may be under way.
const REMEMBER: Duration = Duration::from_secs(20);

/// One of charon's SAs, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sa {
    Ike(u32),
    Child(u32),
}

/// IKE_SAs that stand and SAs that have gone, each with when that was learned.
#[derive(Debug, Default)]
pub(super) struct Known {
    ikes: BTreeMap<u32, Duration>,
    /// IKE_SAs that the last list did not have, and when it came.
    doubted: BTreeMap<u32, Duration>,
    gone: BTreeMap<Sa, Duration>,
}

impl Known {
    /// No IKE_SA stands.
    pub(super) fn is_empty(&self) -> bool {
        self.ikes.is_empty()
    }

    /// That one stands.
    pub(super) fn has(&self, ike: u32) -> bool {
        self.ikes.contains_key(&ike)
    }

    /// All that stand.
    pub(super) fn ikes(&self) -> impl Iterator<Item = u32> {
        self.ikes.keys().copied()
    }

    /// charon has told that it stands.
    pub(super) fn up(&mut self, now: Duration, ike: u32) {
        self.ikes.insert(ike, now);
    }

    /// charon has told that it has gone, or it was told to.
    pub(super) fn went(&mut self, now: Duration, sa: Sa) {
        if let Sa::Ike(ike) = sa {
            self.ikes.remove(&ike);
        }
        self.gone.insert(sa, now);
    }

    /// It went after the list was asked for, which may still have it.
    pub(super) fn has_gone(&self, sa: Sa, asked: Duration) -> bool {
        self.gone.get(&sa).is_some_and(|at| *at >= asked)
    }

    /// A list has it.
    pub(super) fn found(&mut self, now: Duration, ike: u32) {
        self.ikes.entry(ike).or_insert(now);
    }

    /// Lets go of IKE_SAs that `listed`, which was asked for then, lacks; whether another list has to say whether one has gone.
    ///
    /// charon lists one IKE_SA after the other, and waits for who works on one: while it is rekeyed, a list may have neither the
    /// old one nor the one that has its CHILD_SAs by then (5.9.8). What a list lacks is gone if the next one lacks it, too.
    pub(super) fn compare(&mut self, now: Duration, asked: Duration, listed: &[Sa]) -> bool {
        let doubted = std::mem::take(&mut self.doubted);
        self.ikes.retain(|id, learned| {
            if *learned >= asked || listed.contains(&Sa::Ike(*id)) {
                return true;
            }
            let since = doubted.get(id).copied();
            self.doubted.insert(*id, since.unwrap_or(now));
            since.is_none_or(|since| since > asked)
        });
        self.doubted.retain(|id, _| self.ikes.contains_key(id));
        self.gone.retain(|_, at| *at + REMEMBER > now);
        !self.doubted.is_empty()
    }

    /// Nothing is known of the charon that comes.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
