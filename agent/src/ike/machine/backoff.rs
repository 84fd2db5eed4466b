//! When to try again.

use std::time::Duration;

/// Where the delays of a doubling series begin.
const FIRST: Duration = Duration::from_secs(1);
/// Where they end.
const LAST: Duration = Duration::from_secs(60);

/// Failures in a row and the time before which nothing is tried.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    failures: u32,
    /// Nothing is tried before.
    pub not_before: Duration,
}

impl Backoff {
    /// Waits longer after each failure, a quarter more or less by chance so that many tunnels do not try in step.
    pub fn fail(&mut self, now: Duration, chance: &mut Chance) {
        let doubled = FIRST.saturating_mul(1 << self.failures.min(6)).min(LAST);
        self.failures += 1;
        self.not_before = now + doubled.mul_f64(0.75) + chance.up_to(doubled.mul_f64(0.5));
    }

    /// Forgets the failures.
    pub fn succeed(&mut self) {
        *self = Self::default();
    }

    /// The last try failed.
    pub fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// Not before that long from now.
    pub fn wait(&mut self, until: Duration) {
        self.not_before = self.not_before.max(until);
    }
}

/// Chance from a seed (xorshift64*): good enough to keep tunnels out of step, and repeatable.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// Evenly between zero and `limit`.
    pub fn up_to(&mut self, limit: Duration) -> Duration {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let share = (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64;
        limit.mul_f64(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_minute_within_a_quarter() {
        let mut chance = Chance::new(7);
        let mut backoff = Backoff::default();
        for wanted in [1u64, 2, 4, 8, 16, 32, 60, 60, 60] {
            backoff.fail(Duration::ZERO, &mut chance);
            let share = backoff.not_before.as_secs_f64() / wanted as f64;
            assert!((0.75..=1.25).contains(&share), "{wanted} s became {:?}", backoff.not_before);
        }
        backoff.succeed();
        backoff.fail(Duration::ZERO, &mut chance);
        assert!(backoff.not_before <= Duration::from_millis(1250));
    }

    #[test]
    fn seeds_differ() {
        let draw = |seed| Chance::new(seed).up_to(Duration::from_secs(1));
        assert_ne!(draw(2), draw(4));
        assert_eq!(draw(2), draw(2));
    }
}
