//! Counts of tests, and the names of those that failed.

use std::fmt;

use crate::shell::say;

/// What has passed and what has failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    passed: usize,
    failures: Vec<String>,
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

    /// Adds another's counts.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failures.extend(other.failures);
    }

    /// The same with `place` before each failure's name.
    pub fn within(mut self, place: &str) -> Self {
        for failure in &mut self.failures {
            *failure = format!("{place}: {failure}");
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
        let mut sum = Tally::default();
        sum.add(inner.within("6.1"));
        sum.pass();
        assert_eq!(sum.to_string(), "2 passed, 1 failed");
        assert_eq!(sum.failures(), ["6.1: one: because"]);
    }
}
