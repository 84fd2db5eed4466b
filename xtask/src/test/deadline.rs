//! When all of `test` must be done: a run that is stopped from outside has printed no sum.

use std::time::{Duration, Instant, SystemTime};

/// A moment, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// At `unix` seconds of the epoch; none without.
    pub fn at(unix: Option<u64>, now: (SystemTime, Instant)) -> Self {
        let since_epoch = now.0.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(unix.map(|unix| now.1 + Duration::from_secs(unix).saturating_sub(since_epoch)))
    }

    /// Whether it has passed.
    pub fn has_passed(self, now: Instant) -> bool {
        self.left(now) == Some(Duration::ZERO)
    }

    /// How long it is until then.
    pub fn left(self, now: Instant) -> Option<Duration> {
        self.0.map(|end| end.saturating_duration_since(now))
    }

    /// For the first of `parts` that run one after the other: at most `most`, and no more than leaves half as much to each.
    pub fn share(self, now: Instant, parts: usize, most: Duration) -> Duration {
        let parts = u32::try_from(parts.max(1)).unwrap_or(u32::MAX);
        self.left(now).map_or(most, |left| most.min(left * 2 / parts.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_left_is_shared_among_what_is_still_to_run() {
        let now = Instant::now();
        let deadline = |left: Duration| Deadline(Some(now + left));
        assert_eq!(deadline(100 * MINUTE).share(now, 3, 20 * MINUTE), 20 * MINUTE);
        assert_eq!(deadline(30 * MINUTE).share(now, 3, 20 * MINUTE), 15 * MINUTE);
        assert_eq!(deadline(30 * MINUTE).share(now, 1, 20 * MINUTE), 20 * MINUTE);
        assert_eq!(Deadline(Some(now)).share(now + MINUTE, 3, 20 * MINUTE), Duration::ZERO);
        assert_eq!(Deadline(None).share(now, 3, 20 * MINUTE), 20 * MINUTE);
    }

    #[test]
    fn a_time_of_the_clock_is_a_moment_from_now() {
        let now = (SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000), Instant::now());
        let deadline = |unix| Deadline::at(Some(unix), now);
        assert_eq!(deadline(1_000_060).left(now.1), Some(MINUTE));
        assert!(deadline(999_999).has_passed(now.1) && !deadline(1_000_060).has_passed(now.1));
        assert_eq!(Deadline::at(None, now).left(now.1), None);
    }
}
