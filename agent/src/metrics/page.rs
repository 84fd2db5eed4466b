//! Series under their metrics, and the text that Prometheus reads.

use std::collections::BTreeMap;

use lanekeeper_common::latency::{BOUNDS, Delays};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric as Sample, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

use super::list::{Kind, METRICS, Metric};

/// Values by metric and label values.
#[derive(Debug, Default)]
pub struct Page {
    numbers: BTreeMap<&'static str, BTreeMap<Vec<String>, f64>>,
    delays: BTreeMap<&'static str, BTreeMap<Vec<String>, Delays>>,
}

impl Page {
    /// Sets one series.
    pub fn set(&mut self, metric: &Metric, labels: &[&str], value: f64) {
        debug_assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        self.numbers.entry(metric.name).or_default().insert(labels, value);
    }

    /// Adds to a series that is there. What the policy does not imply any more stays out of the page, yet counted.
    pub fn add(&mut self, metric: &Metric, labels: &[&str], count: u64) {
        debug_assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
        let labels: Vec<String> = labels.iter().map(|&label| label.to_owned()).collect();
        if let Some(value) = self.numbers.get_mut(metric.name).and_then(|series| series.get_mut(&labels)) {
            // Exact up to 2^53: at 100 Gbit/s that is 8 days of bytes short of 23 years of packets; rounding after.
            *value += count as f64;
        }
    }

    /// Sets one series of a histogram.
    pub fn set_delays(&mut self, metric: &Metric, labels: &[&str], delays: Delays) {
        debug_assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        self.delays.entry(metric.name).or_default().insert(labels, delays);
    }

    /// The text format, metric by metric in the order of [`METRICS`], series by series in the order of their labels.
    pub fn encode(mut self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        for metric in &METRICS {
            let numbers = self.numbers.remove(metric.name).unwrap_or_default();
            let numbers = numbers.into_iter().map(|(labels, value)| number(metric, labels, value));
            let delays = self.delays.remove(metric.name).unwrap_or_default();
            let delays = delays.into_iter().map(|(labels, delays)| histogram(metric, labels, &delays));
            let series: Vec<Sample> = numbers.chain(delays).collect();
            if series.is_empty() {
                continue;
            }
            let mut family = MetricFamily::default();
            family.set_name(metric.name.to_owned());
            family.set_help(metric.help.to_owned());
            family.set_field_type(match metric.kind {
                Kind::Counter => MetricType::COUNTER,
                Kind::Gauge => MetricType::GAUGE,
                Kind::Histogram => MetricType::HISTOGRAM,
            });
            family.set_metric(series);
            // One after the other, each gone before the next is made: of thousands of tunnels all together are much memory.
            TextEncoder::new().encode(&[family], &mut text)?;
        }
        Ok(String::from_utf8(text).expect("the text format is UTF-8"))
    }
}

fn sample(metric: &Metric, labels: Vec<String>) -> Sample {
    let pairs = metric.labels.iter().zip(labels).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value(value);
        pair
    });
    Sample::from_label(pairs.collect())
}

fn number(metric: &Metric, labels: Vec<String>, value: f64) -> Sample {
    let mut sample = sample(metric, labels);
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
        // One number is not what it says.
        Kind::Histogram => debug_assert!(false, "{} is a histogram", metric.name),
    }
    sample
}

fn histogram(metric: &Metric, labels: Vec<String>, delays: &Delays) -> Sample {
    const SECOND: f64 = 1e9;
    let mut below = 0;
    let mut buckets = Vec::with_capacity(BOUNDS.len());
    for (bound, n) in BOUNDS.iter().zip(delays.buckets) {
        below += n;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound as f64 / SECOND);
        bucket.set_cumulative_count(below);
        buckets.push(bucket);
    }
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets);
    histogram.set_sample_count(delays.buckets.iter().sum());
    histogram.set_sample_sum(delays.sum as f64 / SECOND);
    let mut sample = sample(metric, labels);
    sample.set_histogram(histogram);
    sample
}

#[cfg(test)]
mod tests {
    use lanekeeper_common::latency::bucket;

    use super::super::list::{GENERATION, LANE_LATENCY, RULE};
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

    #[test]
    fn a_histogram_counts_up_to_each_bound() {
        let mut delays = Delays { sum: 2_000_030_000, ..Delays::default() };
        for nanoseconds in [10_000, 20_000, 2_000_000_000] {
            delays.buckets[bucket(nanoseconds)] += 1;
        }
        let mut page = Page::default();
        page.set_delays(&LANE_LATENCY, &["t", "voice", "0"], delays);
        let text = page.encode().unwrap();
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
}
