//! Series under their metrics, and the text that Prometheus reads.

use std::collections::BTreeMap;

use prometheus::proto::{Counter, Gauge, LabelPair, Metric as Sample, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

use super::list::{Kind, METRICS, Metric};

/// Values by metric and label values.
#[derive(Debug, Default)]
pub struct Page(BTreeMap<&'static str, BTreeMap<Vec<String>, f64>>);

impl Page {
    /// Sets one series.
    pub fn set(&mut self, metric: &Metric, labels: &[&str], value: f64) {
        debug_assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        self.0.entry(metric.name).or_default().insert(labels, value);
    }

    /// Adds to a series that is there. What the policy does not imply any more stays out of the page, yet counted.
    pub fn add(&mut self, metric: &Metric, labels: &[&str], count: u64) {
        debug_assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
        let labels: Vec<String> = labels.iter().map(|&label| label.to_owned()).collect();
        if let Some(value) = self.0.get_mut(metric.name).and_then(|series| series.get_mut(&labels)) {
            // Exact up to 2^53: at 100 Gbit/s that is 8 days of bytes short of 23 years of packets; rounding after.
            *value += count as f64;
        }
    }

    /// The text format, metric by metric in the order of [`METRICS`], series by series in the order of their labels.
    pub fn encode(mut self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        for metric in &METRICS {
            let Some(series) = self.0.remove(metric.name).filter(|series| !series.is_empty()) else { continue };
            let mut family = MetricFamily::default();
            family.set_name(metric.name.to_owned());
            family.set_help(metric.help.to_owned());
            family.set_field_type(match metric.kind {
                Kind::Counter => MetricType::COUNTER,
                Kind::Gauge => MetricType::GAUGE,
            });
            family.set_metric(series.into_iter().map(|(labels, value)| sample(metric, labels, value)).collect());
            // One after the other, each gone before the next is made: of thousands of tunnels all together are much memory.
            TextEncoder::new().encode(&[family], &mut text)?;
        }
        Ok(String::from_utf8(text).expect("the text format is UTF-8"))
    }
}

fn sample(metric: &Metric, labels: Vec<String>, value: f64) -> Sample {
    let pairs = metric.labels.iter().zip(labels).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value(value);
        pair
    });
    let mut sample = Sample::from_label(pairs.collect());
    match metric.kind {
        Kind::Counter => {
            let mut counter = Counter::default();
            counter.set_value(value);
            sample.set_counter(counter);
        }
        Kind::Gauge => {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            sample.set_gauge(gauge);
        }
    }
    sample
}

#[cfg(test)]
mod tests {
    use super::super::list::{GENERATION, RULE};
    use super::*;

    #[test]
    fn large_counts_are_written_in_full() {
        let mut page = Page::default();
        page.set(&RULE, &["", "a \"b\""], 0.0);
        page.add(&RULE, &["", "a \"b\""], 9_007_199_254_740_991);
        page.set(&GENERATION, &[], 3.0);
        let text = page.encode().unwrap();
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
    fn what_was_not_set_is_not_added() {
        let mut page = Page::default();
        page.add(&RULE, &["", "gone"], 7);
        assert_eq!(page.encode().unwrap(), "");
    }
}
