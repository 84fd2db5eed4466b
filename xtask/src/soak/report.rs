//! What a soak says: what happened, what was broken, and how to have it again.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::Duration;

use super::event::Kind;
use super::judge::{Broken, Invariant};

/// Events before a broken invariant that are printed with it.
const LAST: usize = 12;

/// What has happened so far.
#[derive(Debug, Default)]
pub struct Report {
    /// From which all of it follows.
    pub seed: u64,
    /// The kinds that it was bound to, as an option; empty for all.
    pub only: String,
    /// By kind, how often, and the longest until all was right again.
    kinds: BTreeMap<Kind, (u64, Duration)>,
    steps: u64,
    history: Vec<(Duration, String)>,
    /// Invariants in the order in which they broke, with the time.
    broken: Vec<(Duration, Broken)>,
    /// Looked at, and did not hold.
    pub counts: BTreeMap<Invariant, (u64, u64)>,
    /// Lines about what flowed and what was taken.
    pub notes: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// Of that seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Notes what happened at that time.
    pub fn happened(&mut self, at: Duration, what: String) {
        self.history.push((at, what));
    }

    /// Notes that a step of these kinds was right again after `took`.
    pub fn right(&mut self, kinds: impl Iterator<Item = Kind>, took: Duration) {
        self.steps += 1;
        for kind in kinds {
            let (count, slowest) = self.kinds.entry(kind).or_default();
            (*count, *slowest) = (*count + 1, took.max(*slowest));
        }
    }

    /// Notes what did not hold; the text to print at once.
    pub fn broke(&mut self, at: Duration, broken: Broken) -> String {
        let first = self.broken.iter().all(|(_, earlier)| earlier.invariant != broken.invariant);
        let mut text = format!("{} BROKEN {broken}\n", clock(at));
        if first {
            let _ = writeln!(text, "  seed {}, step {}; the last events:", self.seed, self.steps + 1);
            for (at, what) in &self.history[self.history.len().saturating_sub(LAST)..] {
                let _ = writeln!(text, "  {} {what}", clock(*at));
            }
        }
        self.broken.push((at, broken));
        text
    }

    /// Whether every invariant held.
    pub fn is_clean(&self) -> bool {
        self.broken.is_empty()
    }

    /// What did not hold, a line each.
    pub fn failures(&self) -> Vec<String> {
        self.broken.iter().map(|(at, broken)| format!("{} {broken}", clock(*at))).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let events: u64 = self.kinds.values().map(|(count, _)| count).sum();
        writeln!(f, "\n{events} events in {} steps, {}, seed {}", self.steps, clock(self.took), self.seed)?;
        writeln!(f, "\n  {:<28} {:>6} {:>16}", "event", "times", "slowest to right")?;
        for (kind, (count, slowest)) in &self.kinds {
            writeln!(f, "  {:<28} {count:>6} {:>14.1} s", kind.name(), slowest.as_secs_f64())?;
        }
        writeln!(f, "\n  {:<36} {:>8} {:>8}", "invariant", "looks", "broken")?;
        for invariant in Invariant::ALL {
            let (checks, broken) = self.counts.get(&invariant).copied().unwrap_or_default();
            writeln!(f, "  {:<36} {checks:>8} {broken:>8}", invariant.name())?;
        }
        writeln!(f)?;
        for note in &self.notes {
            writeln!(f, "  {note}")?;
        }
        match self.broken.len() {
            0 => writeln!(f, "\nevery invariant held"),
            count => {
                writeln!(f, "\n{count} times an invariant did not hold:")?;
                self.failures().iter().try_for_each(|line| writeln!(f, "  {line}"))?;
                writeln!(f, "again: cargo xtask soak --seed {}{}", self.seed, self.only)
            }
        }
    }
}

/// `12:34.5`, minutes and seconds.
pub fn clock(at: Duration) -> String {
    format!("{:>2}:{:04.1}", at.as_secs() / 60, at.as_secs_f64() % 60.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken() -> Broken {
        Broken { invariant: Invariant::Cleartext, what: "1 packet".to_owned() }
    }

    #[test]
    fn what_broke_is_told_with_the_events_before_it_and_again_without() {
        let mut report = Report::new(7);
        for minute in 0..20 {
            report.happened(Duration::from_secs(60 * minute), format!("event {minute}"));
        }
        let told = report.broke(Duration::from_secs(1201), broken());
        assert!(told.contains("20:01.0 BROKEN no cleartext on the WAN: 1 packet\n  seed 7, step 1;"), "{told}");
        assert!(told.contains(" 8:00.0 event 8\n") && told.ends_with("19:00.0 event 19\n"), "{told}");
        assert!(!told.contains("event 7\n"), "{told}");
        assert_eq!(report.broke(Duration::from_secs(1202), broken()).lines().count(), 1);
        assert!(!report.is_clean());
    }

    #[test]
    fn summary_counts_kinds_and_keeps_the_slowest() {
        let mut report = Report::new(5);
        for seconds in [2, 9, 3] {
            report.right([Kind::Burst, Kind::RekeyIke].into_iter(), Duration::from_secs(seconds));
        }
        report.counts.insert(Invariant::Lane, (40, 0));
        let text = report.to_string();
        assert!(text.contains("6 events in 3 steps"), "{text}");
        let line = |start: &str| text.lines().find(|line| line.trim_start().starts_with(start)).unwrap().to_owned();
        assert_eq!(line("burst").split_whitespace().collect::<Vec<_>>()[4..], ["3", "9.0", "s"]);
        assert!(line("no packet in another class's lane").ends_with("40        0"), "{text}");
        assert!(text.ends_with("every invariant held\n"), "{text}");
        report.broke(Duration::ZERO, broken());
        assert!(report.to_string().ends_with("again: cargo xtask soak --seed 5\n"));
    }
}
