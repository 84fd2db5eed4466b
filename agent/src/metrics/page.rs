//! Series under their metrics.

mod openmetrics;
mod text;

use std::collections::HashMap;
use std::fmt;

use indexmap::IndexMap;
use lanekeeper_common::latency::{BOUNDS, Delays};

use super::format::Format;
use super::list::Metric;

const SECOND: f64 = 1e9;

/// Values by metric and label values.
#[derive(Debug, Default)]
pub struct Page {
    numbers: Values<u64>,
    delays: Values<Delays>,
    floats: Values<f64>,
}

/// As they come, which is mostly the order that they are written in.
type Values<T> = HashMap<&'static str, IndexMap<Labels, T>>;

/// The label values of one series, in the order of its metric: one piece of memory where there are tens of thousands of series.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Labels(Box<str>);

impl Labels {
    /// In no value: names have none.
    const BETWEEN: char = '\0';

    fn of(values: &[&str]) -> Self {
        debug_assert!(values.iter().all(|value| !value.contains(Self::BETWEEN)), "{values:?}");
        Self(values.join(Self::BETWEEN.encode_utf8(&mut [0; 4])).into())
    }

    /// One for each label that the metric has.
    fn values(&self) -> impl Iterator<Item = &str> {
        self.0.split(Self::BETWEEN)
    }
}

/// Why there is no text: nothing that a scraper did.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The library of the one does not take what is in it.
    #[error(transparent)]
    Text(#[from] prometheus::Error),
    /// The library of the other does not.
    #[error("OpenMetrics: {0}")]
    OpenMetrics(#[from] fmt::Error),
}

impl Page {
    /// Sets one series.
    pub fn set(&mut self, metric: &Metric, labels: &[&str], value: u64) {
        debug_assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
        let labels = Labels::of(labels);
        self.numbers.entry(metric.name).or_default().insert(labels, value);
    }

    /// Adds to a series that is there. What the policy does not imply any more stays out of the page, yet counted.
    pub fn add(&mut self, metric: &Metric, labels: &[&str], count: u64) {
        debug_assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
        let Some(series) = self.numbers.get_mut(metric.name) else { return };
        if let Some(value) = series.get_mut(&Labels::of(labels)) {
            *value += count;
        }
    }

    /// Sets one series of a histogram.
    pub fn set_delays(&mut self, metric: &Metric, labels: &[&str], delays: Delays) {
        debug_assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
        let labels = Labels::of(labels);
        self.delays.entry(metric.name).or_default().insert(labels, delays);
    }

    /// Sets one series of a gauge that is no whole number.
    pub fn set_float(&mut self, metric: &Metric, labels: &[&str], value: f64) {
        debug_assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
        let labels = Labels::of(labels);
        self.floats.entry(metric.name).or_default().insert(labels, value);
    }

    /// Metric by metric in the order of [`super::METRICS`], series by series in the order of their labels.
    pub fn encode(mut self, format: Format) -> Result<String, Error> {
        self.numbers.values_mut().for_each(IndexMap::sort_keys);
        self.delays.values_mut().for_each(IndexMap::sort_keys);
        self.floats.values_mut().for_each(IndexMap::sort_keys);
        match format {
            Format::Prometheus => Ok(text::encode(self)?),
            Format::OpenMetrics => Ok(openmetrics::encode(self)?),
        }
    }
}

/// Bounds in seconds but for the last, which has none, with how many are below each.
fn below(delays: &Delays) -> impl Iterator<Item = (f64, u64)> {
    let bounds = BOUNDS.iter().map(|bound| *bound as f64 / SECOND);
    bounds.zip(delays.buckets).scan(0, |below, (bound, n)| {
        *below += n;
        Some((bound, *below))
    })
}

#[cfg(test)]
mod tests {
    use lanekeeper_common::latency::bucket;

    use super::super::list::{GENERATION, LANE_LATENCY, RULE};
    use super::*;

    #[test]
    fn large_counts_are_written_in_full() {
        let mut page = Page::default();
        page.set(&RULE, &["", "a \"b\""], 0);
        // More would be rounded: at 100 Gbit/s that is 8 days of bytes short of 23 years of packets.
        page.add(&RULE, &["", "a \"b\""], 9_007_199_254_740_991);
        page.set(&GENERATION, &[], 3);
        let text = page.encode(Format::Prometheus).unwrap();
        let text: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            text,
            [
                "lanekeeper_rule_packets_total{tenant=\"\",rule=\"a \\\"b\\\"\"} 9007199254740991",
                "lanekeeper_generation 3"
            ],
        );
    }

    #[test]
    fn one_heading_stands_over_many_series() {
        let mut page = Page::default();
        let names: Vec<String> = (0..1000).map(|n| format!("{n:04}")).collect();
        names.iter().for_each(|name| page.set(&RULE, &["", name], 1));
        let text = page.encode(Format::Prometheus).unwrap();
        let (headings, series): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with('#'));
        let expected: Vec<String> = names
            .iter()
            .map(|name| format!("lanekeeper_rule_packets_total{{tenant=\"\",rule=\"{name}\"}} 1"))
            .collect();
        assert_eq!(series, expected);
        assert_eq!(headings.len(), 2, "{headings:?}");
        assert!(text.starts_with("# HELP lanekeeper_rule_packets_total "), "{headings:?}");
    }

    #[test]
    fn what_was_not_set_is_not_added() {
        let mut page = Page::default();
        page.add(&RULE, &["", "gone"], 7);
        assert_eq!(page.encode(Format::Prometheus).unwrap(), "");
    }

    #[test]
    fn a_histogram_counts_up_to_each_bound() {
        let mut delays = Delays { sum: 2_000_030_000, ..Delays::default() };
        for nanoseconds in [10_000, 20_000, 2_000_000_000] {
            delays.buckets[bucket(nanoseconds)] += 1;
        }
        let mut page = Page::default();
        page.set_delays(&LANE_LATENCY, &["t", "voice", "0"], delays);
        let text = page.encode(Format::Prometheus).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let at = |le: &str| {
            format!("lanekeeper_lane_latency_seconds_bucket{{tunnel=\"t\",class=\"voice\",lane=\"0\",le=\"{le}\"}}")
        };
        assert_eq!(lines.len(), BOUNDS.len() + 3);
        assert_eq!(lines[0], format!("{} 1", at("0.00001")));
        assert_eq!(lines[1], format!("{} 2", at("0.00002")));
        assert_eq!(lines[BOUNDS.len() - 1], format!("{} 2", at("1")));
        assert_eq!(lines[BOUNDS.len()], format!("{} 3", at("+Inf")));
        assert!(lines[BOUNDS.len() + 1].ends_with("_sum{tunnel=\"t\",class=\"voice\",lane=\"0\"} 2.00003"), "{text}");
        assert!(lines[BOUNDS.len() + 2].ends_with("_count{tunnel=\"t\",class=\"voice\",lane=\"0\"} 3"), "{text}");
    }

    #[test]
    fn openmetrics_has_the_same_series_in_its_own_words() {
        let mut page = Page::default();
        page.set(&RULE, &["", "a \"b\""], 7);
        page.set(&GENERATION, &[], 3);
        page.set_delays(&LANE_LATENCY, &["t", "voice", "0"], Delays::default());
        let text = page.encode(Format::OpenMetrics).unwrap();
        let lane = "{le=\"0.00001\",tunnel=\"t\",class=\"voice\",lane=\"0\"}";
        for line in [
            "# TYPE lanekeeper_rule_packets counter",
            "lanekeeper_rule_packets_total{tenant=\"\",rule=\"a \\\"b\\\"\"} 7",
            "# TYPE lanekeeper_generation gauge",
            "lanekeeper_generation 3",
            "# TYPE lanekeeper_lane_latency_seconds histogram",
            &format!("lanekeeper_lane_latency_seconds_bucket{lane} 0"),
        ] {
            assert!(text.lines().any(|other| other == line), "{line}: {text}");
        }
        assert_eq!(text.matches("_bucket{").count(), BOUNDS.len() + 1);
        assert!(text.ends_with("\n# EOF\n"), "{text}");
    }
}
