//! PromQL over the agent's metrics: each query knows which labels its series carry.
//!
//! A label that the metric does not have, or two sides that would not match, is a panic where the query is made: the source
//! is wrong, and neither a file is written nor a test passes.

use std::collections::BTreeSet;

use lanekeeper::metrics::{Kind, Metric};

use crate::variable::Variable;

/// What Prometheus adds to every series of a target.
pub const TARGET: [&str; 2] = ["job", "instance"];

/// Where queries are asked.
#[derive(Debug, Clone, Copy)]
pub struct Scope {
    /// Variables of the dashboard, named like the labels they filter by.
    pub variables: &'static [Variable],
    /// Over which time rates are taken.
    pub window: &'static str,
}

impl Scope {
    /// On a dashboard: whatever has a label named like a variable is filtered by it.
    pub const fn board(variables: &'static [Variable]) -> Self {
        Self { variables, window: "$__rate_interval" }
    }

    /// In a rule: everything there is.
    pub const fn rule(window: &'static str) -> Self {
        Self { variables: &[], window }
    }

    /// All series of a metric that the variables let through.
    pub fn of(&self, metric: &'static Metric) -> Select {
        let labels = labels(metric);
        let filtering = self.variables.iter().filter(|variable| labels.contains(variable.name));
        let matchers = filtering.map(|variable| variable.matcher()).collect();
        Select { metric, matchers, window: self.window }
    }
}

fn labels(metric: &Metric) -> BTreeSet<&'static str> {
    metric.labels.iter().copied().chain(TARGET).collect()
}

/// Series of one metric.
#[derive(Debug, Clone)]
pub struct Select {
    metric: &'static Metric,
    matchers: Vec<String>,
    window: &'static str,
}

impl Select {
    /// Only those whose label has this value.
    pub fn is(self, label: &str, value: &str) -> Self {
        self.matching(label, "=", value)
    }

    /// Only those whose label has one of these values.
    pub fn among(self, label: &str, values: &[&str]) -> Self {
        self.matching(label, "=~", &values.join("|"))
    }

    fn matching(mut self, label: &str, how: &str, value: &str) -> Self {
        assert!(labels(self.metric).contains(label), "{} has no label {label}", self.metric.name);
        self.matchers.push(format!("{label}{how}\"{value}\""));
        self
    }

    fn text(&self) -> String {
        let Self { metric, matchers, .. } = self;
        if matchers.is_empty() { metric.name.to_owned() } else { format!("{}{{{}}}", metric.name, matchers.join(",")) }
    }

    /// As they are; of a counter that says nothing.
    pub fn now(&self) -> Query {
        assert!(self.metric.kind == Kind::Gauge, "{} is a counter: ask for its rate", self.metric.name);
        Query { text: self.text(), labels: labels(self.metric) }
    }

    /// A second.
    pub fn rate(&self) -> Query {
        self.over("rate", "")
    }

    /// In the window.
    pub fn increase(&self) -> Query {
        self.over("increase", "")
    }

    /// So much of what was timed in the window took no longer, series with the same of these labels together. Nothing where
    /// nothing was timed.
    pub fn quantile(&self, part: &str, by: &[&'static str]) -> Query {
        assert!(self.metric.kind == Kind::Histogram, "{} is no histogram", self.metric.name);
        let labels = labels(self.metric);
        for label in by {
            assert!(labels.contains(label), "{} has no label {label}", self.metric.name);
        }
        let text = self.text();
        let (name, matchers) = text.split_at(self.metric.name.len());
        let by_bucket = by.iter().copied().chain(["le"]).collect::<Vec<_>>().join(", ");
        let rate = format!("sum by ({by_bucket}) (rate({name}_bucket{matchers}[{}]))", self.window);
        // No number is not at least 0.
        Query { text: format!("histogram_quantile({part}, {rate}) >= 0"), labels: by.iter().copied().collect() }
    }

    /// In the window that ended so long ago.
    pub fn increase_before(&self, offset: &str) -> Query {
        self.over("increase", &format!(" offset {offset}"))
    }

    fn over(&self, function: &str, offset: &str) -> Query {
        assert!(self.metric.kind == Kind::Counter, "{} is a gauge and has no rate", self.metric.name);
        let text = format!("{function}({}[{}]{offset})", self.text(), self.window);
        Query { text, labels: labels(self.metric) }
    }

    /// 1 for each that was there at some time in the window.
    pub fn seen(&self) -> Query {
        Query { text: format!("present_over_time({}[{}])", self.text(), self.window), labels: labels(self.metric) }
    }

    /// The variable's values on a dashboard, as Grafana asks for them.
    pub fn values(&self, label: &str) -> String {
        assert!(labels(self.metric).contains(label), "{} has no label {label}", self.metric.name);
        format!("label_values({}, {label})", self.text())
    }
}

/// A query and the labels of what it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// PromQL.
    pub text: String,
    /// Labels that each of its series may carry.
    pub labels: BTreeSet<&'static str>,
}

impl Query {
    /// Summed up but for these labels; none is one number.
    pub fn sum(self, by: &[&'static str]) -> Self {
        self.aggregate("sum", by)
    }

    /// How many.
    pub fn count(self, by: &[&'static str]) -> Self {
        self.aggregate("count", by)
    }

    fn aggregate(self, function: &str, by: &[&'static str]) -> Self {
        for label in by {
            assert!(self.labels.contains(label), "{} has no label {label}", self.text);
        }
        let clause = if by.is_empty() { String::new() } else { format!(" by ({})", by.join(", ")) };
        Self { text: format!("{function}{clause} ({})", self.text), labels: by.iter().copied().collect() }
    }

    /// The largest of them.
    pub fn top(self, n: u8) -> Self {
        Self { text: format!("topk({n}, {})", self.text), ..self }
    }

    /// Bits of bytes.
    pub fn bits(self) -> Self {
        Self { text: format!("8 * {}", self.text), ..self }
    }

    /// 1 where it is 0, and 0 where it is 1.
    pub fn zeros(self) -> Self {
        Self { text: format!("1 - {}", self.text), ..self }
    }

    /// Seconds since it, a time.
    pub fn age(self) -> Self {
        Self { text: format!("time() - {}", self.text), ..self }
    }

    /// The part that it is of `whole`, which has the same labels or fewer. Nothing where there is no whole.
    pub fn of(self, whole: Self) -> Self {
        assert!(whole.labels.is_subset(&self.labels), "{} is no part of {}", self.text, whole.text);
        let words: Vec<&str> = whole.labels.iter().copied().collect();
        let matching = if whole.labels == self.labels {
            String::new()
        } else {
            format!(" on ({}) group_left ()", words.join(", "))
        };
        Self { text: format!("{} /{matching} ({} > 0)", self.text, whole.text), labels: self.labels }
    }

    /// Both together, series by series.
    pub fn plus(self, other: Self) -> Self {
        assert_eq!(self.labels, other.labels, "{} + {}", self.text, other.text);
        Self { text: format!("({} + {})", self.text, other.text), ..self }
    }

    /// Those above a number.
    pub fn above(self, number: &str) -> Self {
        self.compare(">", number)
    }

    /// Those of at least a number.
    pub fn at_least(self, number: &str) -> Self {
        self.compare(">=", number)
    }

    /// Those that are a number.
    pub fn equal(self, number: &str) -> Self {
        self.compare("==", number)
    }

    fn compare(self, how: &str, number: &str) -> Self {
        Self { text: format!("{} {how} {number}", self.text), ..self }
    }

    /// Those for which there is another with the same values of these labels.
    pub fn and(self, on: &[&'static str], other: Self) -> Self {
        for label in on {
            assert!(
                self.labels.contains(label) && other.labels.contains(label),
                "{label}: {} and {}",
                self.text,
                other.text
            );
        }
        Self { text: format!("{} and on ({}) {}", self.text, on.join(", "), other.text), ..self }
    }

    /// Those for which there is no other with the same values of these labels.
    pub fn unless(self, on: &[&'static str], other: Self) -> Self {
        for label in on {
            let both = self.labels.contains(label) && other.labels.contains(label);
            assert!(both, "{label}: {} and {}", self.text, other.text);
        }
        Self { text: format!("{} unless on ({}) {}", self.text, on.join(", "), other.text), ..self }
    }

    /// A word for the empty value of a label, which Prometheus takes for none.
    pub fn naming(self, label: &'static str, word: &str) -> Self {
        assert!(self.labels.contains(label), "{} has no label {label}", self.text);
        Self { text: format!("label_replace({}, \"{label}\", \"{word}\", \"{label}\", \"\")", self.text), ..self }
    }
}

#[cfg(test)]
mod tests {
    use lanekeeper::metrics::list::{BLOCKED, CLASS_BYTES, LANE_LATENCY, LANE_UP};

    use super::*;

    const BOARD: Scope = Scope::board(&[
        Variable::many("job"),
        Variable::one("instance"),
        Variable::one("tunnel"),
        Variable::many("class"),
    ]);

    #[test]
    fn variables_filter_whatever_has_their_label() {
        let query = BOARD.of(&CLASS_BYTES).is("direction", "out").rate().sum(&["class"]);
        assert_eq!(
            query.text,
            "sum by (class) (rate(lanekeeper_class_bytes_total{job=~\"$job\",instance=\"$instance\",class=~\"$class\",\
             direction=\"out\"}[$__rate_interval]))"
        );
        assert_eq!(query.labels, BTreeSet::from(["class"]));
    }

    #[test]
    fn a_part_is_matched_by_the_labels_of_its_whole() {
        let rate = || Scope::rule("5m").of(&BLOCKED).rate();
        let part = rate().sum(&["class", "reason"]).of(rate().sum(&["class"]));
        let whole = "(sum by (class) (rate(lanekeeper_blocked_packets_total[5m])) > 0)";
        assert!(part.text.ends_with(&format!("/ on (class) group_left () {whole}")), "{}", part.text);
    }

    #[test]
    fn a_quantile_is_of_buckets() {
        let query = BOARD.of(&LANE_LATENCY).quantile("0.99", &["class"]);
        assert_eq!(
            query.text,
            "histogram_quantile(0.99, sum by (class, le) (rate(lanekeeper_lane_latency_seconds_bucket{job=~\"$job\",\
             instance=\"$instance\",tunnel=\"$tunnel\",class=~\"$class\"}[$__rate_interval]))) >= 0"
        );
        assert_eq!(query.labels, BTreeSet::from(["class"]));
    }

    #[test]
    #[should_panic(expected = "lanekeeper_lane_up has no label tenant")]
    fn a_label_that_the_metric_does_not_have_cannot_be_asked_for() {
        BOARD.of(&LANE_UP).is("tenant", "acme");
    }

    #[test]
    #[should_panic(expected = "has no label direction")]
    fn a_label_that_was_summed_up_is_gone() {
        BOARD.of(&CLASS_BYTES).rate().sum(&["class"]).sum(&["direction"]);
    }

    #[test]
    #[should_panic(expected = "lanekeeper_class_bytes_total is a counter")]
    fn a_counter_is_not_shown_as_it_is() {
        BOARD.of(&CLASS_BYTES).now();
    }
}
