//! Prometheus's rules: what is recorded, and what somebody is called for.

mod alerts;
mod recorded;

use lanekeeper::metrics::Metric;

pub use self::alerts::alerts;
pub use self::recorded::recorded;
use crate::query::{Query, TARGET};

/// A series that Prometheus computes at each evaluation.
#[derive(Debug)]
pub struct Recorded {
    /// Its name, `level:metric:operations`, and its labels.
    pub metric: &'static Metric,
    /// What it is.
    pub query: Query,
}

/// How soon somebody has to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Traffic is lost, or nobody can tell.
    Critical,
    /// Traffic suffers, or will.
    Warning,
}

impl Severity {
    /// As the label says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}

/// What somebody is called for. Its section in runbook.md says what to do.
#[derive(Debug)]
pub struct Alert {
    /// Its name, and that of its section.
    pub name: &'static str,
    /// Answers where something is wrong, and where nothing is answers nothing.
    pub query: Query,
    /// How long it must be so.
    pub lasting: &'static str,
    /// How soon to look.
    pub severity: Severity,
    /// One line for the pager; `{class}` is the label's value.
    pub summary: &'static str,
}

impl Alert {
    /// The summary in Prometheus's own words.
    fn annotation(&self) -> String {
        let mut text = String::new();
        let mut rest = self.summary;
        while let Some((before, after)) = rest.split_once('{') {
            let (label, after) = after.split_once('}').expect("a label ends");
            assert!(self.query.labels.contains(label), "{}: {:?} has no label {label}", self.name, self.query.text);
            text.push_str(&format!("{before}{{{{ $labels.{label} }}}}"));
            rest = after;
        }
        text + rest
    }
}

/// rules.yml.
pub fn yaml() -> String {
    let mut text =
        String::from("# Made by `cargo xtask dashboards`.\ngroups:\n  - name: lanekeeper.recorded\n    rules:\n");
    for Recorded { metric, query } in recorded() {
        let mut labels: Vec<&str> = metric.labels.iter().chain(&TARGET).copied().collect();
        labels.sort_unstable();
        assert!(query.labels.iter().copied().eq(labels), "{} is recorded with other labels", metric.name);
        text.push_str(&format!("      # {}\n", metric.help));
        text.push_str(&format!("      - record: {}\n        expr: {}\n", metric.name, quoted(&query.text)));
    }
    text.push_str("  - name: lanekeeper.alerts\n    rules:\n");
    for alert in alerts() {
        let anchor = alert.name.to_lowercase();
        text.push_str(&format!(
            "      - alert: {}\n        expr: {}\n        for: {}\n        labels:\n          severity: {}\n        \
             annotations:\n          summary: {}\n          runbook: {}\n",
            alert.name,
            quoted(&alert.query.text),
            alert.lasting,
            alert.severity.name(),
            quoted(&alert.annotation()),
            quoted(&format!("dashboards/runbook.md#{anchor}")),
        ));
    }
    text
}

/// A string of YAML in which nothing but the quote itself means anything.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const RUNBOOK: &str = include_str!("../runbook.md");
    const TESTS: &str = include_str!("../rules.test.yml");

    #[test]
    fn every_alert_has_its_section_of_the_runbook_and_every_section_its_alert() {
        let told: Vec<&str> = RUNBOOK.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        let there: Vec<&str> = alerts().iter().map(|alert| alert.name).collect();
        assert_eq!(told, there);
    }

    #[test]
    fn every_alert_has_a_case_that_fires_and_one_that_is_silent() {
        let lines: Vec<&str> = TESTS.lines().map(str::trim).collect();
        let (mut fires, mut silent) = (BTreeSet::new(), BTreeSet::new());
        for pair in lines.windows(2) {
            if let Some(name) = pair[0].strip_prefix("alertname: ") {
                match pair[1] {
                    "exp_alerts: []" => silent.insert(name),
                    "exp_alerts:" => fires.insert(name),
                    other => panic!("{name}: {other}"),
                };
            }
        }
        let there: BTreeSet<&str> = alerts().iter().map(|alert| alert.name).collect();
        assert_eq!((fires, silent), (there.clone(), there));
    }

    #[test]
    fn the_summary_names_the_gateway() {
        for alert in alerts() {
            assert!(alert.annotation().contains("{{ $labels.instance }}"), "{}", alert.name);
        }
    }

    #[test]
    fn quotes_within_a_string_are_doubled() {
        assert_eq!(quoted("somebody else's: \"x\""), "'somebody else''s: \"x\"'");
    }
}
