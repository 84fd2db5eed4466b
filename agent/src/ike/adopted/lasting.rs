//! What is told of the inside of a connection's SAs: what comes at once, what goes after a while.
//!
//! While IKE_SAs are reauthenticated or rekeyed, a list may show neither the SA before nor the one after it. Routes and addresses
//! are not to move for that.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::policy::adopt::Ends;

/// How long something has to be missing before it is said to be gone. Meanwhile the device drops what is sent there.
pub const GRACE: Duration = Duration::from_secs(1);

/// Of one connection.
#[derive(Debug, Default)]
pub struct Lasting {
    told: Option<Ends>,
    missing: (Missing<IpNet>, Missing<IpAddr>),
}

/// Since when.
type Missing<T> = BTreeMap<T, Instant>;

impl Lasting {
    /// Takes what there is at that time; returns what is to be told, where that is news.
    pub fn take(&mut self, now: Ends, at: Instant) -> Option<Ends> {
        let ends = match &self.told {
            None => now,
            Some(told) => Ends {
                routes: last(&told.routes, now.routes, &mut self.missing.0, at),
                addresses: last(&told.addresses, now.addresses, &mut self.missing.1, at),
                // A device without its SAs carries nothing: what is routed into it is unreachable as well without it.
                devices: now.devices,
            },
        };
        if self.told.as_ref() == Some(&ends) {
            return None;
        }
        self.told = Some(ends.clone());
        Some(ends)
    }

    /// Something is missing, and it has to be looked again after [`GRACE`].
    pub fn waits(&self) -> bool {
        !self.missing.0.is_empty() || !self.missing.1.is_empty()
    }
}

/// What there is, with what has not been missing for long.
fn last<T: Ord + Copy>(told: &BTreeSet<T>, mut now: BTreeSet<T>, missing: &mut Missing<T>, at: Instant) -> BTreeSet<T> {
    missing.retain(|one, _| !now.contains(one));
    for &one in told.difference(&now) {
        missing.entry(one).or_insert(at);
    }
    missing.retain(|_, since| at.saturating_duration_since(*since) < GRACE);
    now.extend(missing.keys());
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(routes: &[&str], addresses: &[&str]) -> Ends {
        Ends {
            routes: routes.iter().map(|route| route.parse().unwrap()).collect(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            ..Ends::default()
        }
    }

    #[test]
    fn what_comes_is_told_at_once_and_once() {
        let (mut lasting, at) = (Lasting::default(), Instant::now());
        assert_eq!(lasting.take(Ends::default(), at), Some(Ends::default()), "that there is nothing is news, too");
        let one = ends(&["10.2.0.0/16"], &["10.3.0.1"]);
        assert_eq!(lasting.take(one.clone(), at), Some(one.clone()));
        assert_eq!(lasting.take(one, at), None);
        assert!(!lasting.waits());
    }

    #[test]
    fn what_is_missing_for_a_moment_is_not_gone() {
        let (mut lasting, at) = (Lasting::default(), Instant::now());
        let one = ends(&["10.2.0.0/16"], &["10.3.0.1", "2001:db8::1"]);
        lasting.take(one.clone(), at);
        assert_eq!(lasting.take(Ends::default(), at), None);
        assert!(lasting.waits());
        assert_eq!(lasting.take(one, at + GRACE / 2), None);
        assert!(!lasting.waits());
    }

    #[test]
    fn what_is_missing_for_long_goes_and_each_by_its_own_time() {
        let (mut lasting, at) = (Lasting::default(), Instant::now());
        lasting.take(ends(&["10.2.0.0/16", "10.3.0.0/16"], &["10.4.0.1"]), at);
        assert_eq!(lasting.take(ends(&["10.3.0.0/16"], &["10.4.0.1"]), at), None);
        // Another one leaves, and one comes: what is on its way out is told along.
        let later = at + GRACE / 2;
        let all = ends(&["10.2.0.0/16", "10.3.0.0/16", "10.5.0.0/16"], &["10.4.0.1"]);
        assert_eq!(lasting.take(ends(&["10.5.0.0/16"], &["10.4.0.1"]), later), Some(all));
        let left = ends(&["10.3.0.0/16", "10.5.0.0/16"], &["10.4.0.1"]);
        assert_eq!(lasting.take(ends(&["10.5.0.0/16"], &["10.4.0.1"]), at + GRACE), Some(left));
        assert_eq!(
            lasting.take(ends(&["10.5.0.0/16"], &[]), later + GRACE),
            Some(ends(&["10.5.0.0/16"], &["10.4.0.1"]))
        );
        assert!(lasting.waits());
        assert_eq!(lasting.take(ends(&["10.5.0.0/16"], &[]), later + 2 * GRACE), Some(ends(&["10.5.0.0/16"], &[])));
        assert!(!lasting.waits());
    }
}
