//! So many a second, and as many at once after a second of rest.

use std::time::Duration;

/// Whose turn it is.
#[derive(Debug, Clone)]
pub struct Pace {
    interval: Duration,
    /// When the next one is due.
    due: Duration,
}

/// What may be made up for.
const BURST: Duration = Duration::from_secs(1);

impl Pace {
    /// From `now` on.
    pub fn new(rate: u32, now: Duration) -> Self {
        Self { interval: Duration::from_secs(1) / rate.max(1), due: now.saturating_sub(BURST) }
    }

    /// Whether one more may pass now.
    pub fn admits(&mut self, now: Duration) -> bool {
        let due = self.due.max(now.saturating_sub(BURST));
        let admits = due <= now;
        if admits {
            self.due = due + self.interval;
        }
        admits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(pace: &mut Pace, from: u64, milliseconds: u64) -> usize {
        (from..from + milliseconds).filter(|&ms| pace.admits(Duration::from_millis(ms))).count()
    }

    #[test]
    fn a_flood_is_held_to_the_rate_and_a_second_of_it() {
        let mut pace = Pace::new(10, Duration::from_secs(100));
        let first = admitted(&mut pace, 100_000, 1000);
        assert!((20..=21).contains(&first), "{first}");
        let second = admitted(&mut pace, 101_000, 1000);
        assert!((9..=10).contains(&second), "{second}");
    }

    #[test]
    fn what_was_not_used_is_not_saved_up() {
        let mut pace = Pace::new(10, Duration::from_secs(100));
        let late = admitted(&mut pace, 1_000_000, 1);
        assert_eq!(late, 1);
        let more = (0..100).filter(|_| pace.admits(Duration::from_millis(1_000_000))).count();
        assert_eq!(more, 10);
    }
}
