//! Counts of tests, and the names of those that failed.

use std::fmt;
use std::time::Duration;

use crate::shell::say;

/// What has passed, what has failed, and how long it took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    passed: usize,
    failures: Vec<String>,
    times: Vec<(String, Duration)>,
}

impl Tally {
    /// Counts one that passed.
    pub fn pass(&mut self) {
        self.passed += 1;
    }

    /// Counts one that failed, and says so at once.
    pub fn fail(&mut self, name: &str, reason: &str) {
        let failure = if reason.is_empty() { name.to_string() } else { format!("{name}: {reason}") };
        say(format!("FAILED {failure}"));
        self.failures.push(failure);
    }

    /// Notes how long a part of it took.
    pub fn took(&mut self, name: &str, time: Duration) {
        self.times.push((name.to_string(), time));
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: Self) {
        self.times.extend(other.times);
        self.passed += other.passed;
        self.failures.extend(other.failures);
    }

    /// The same with `place` before each failure's and each part's name.
    pub fn within(mut self, place: &str) -> Self {
        for name in self.failures.iter_mut().chain(self.times.iter_mut().map(|(name, _)| name)) {
            *name = format!("{place}: {name}");
        }
        self
    }

    /// Whether nothing has run.
    pub fn is_empty(&self) -> bool {
        self.passed == 0 && self.failures.is_empty()
    }

    /// How many failed.
    pub fn failed(&self) -> usize {
        self.failures.len()
    }

    /// Which failed.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// How long each part took, in the order they ran.
    pub fn times(&self) -> &[(String, Duration)] {
        &self.times
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failures.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_keep_each_failures_place() {
        let mut inner = Tally::default();
        inner.pass();
        inner.fail("one", "because");
        inner.took("all", Duration::from_secs(3));
        let mut sum = Tally::default();
        sum.add(inner.within("6.1"));
        sum.pass();
        assert_eq!(sum.to_string(), "2 passed, 1 failed");
        assert_eq!(sum.failures(), ["6.1: one: because"]);
        assert_eq!(sum.times(), [("6.1: all".to_string(), Duration::from_secs(3))]);
    }
}
