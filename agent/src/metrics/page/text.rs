//! Prometheus's own text format, 0.0.4, by the library that writes it and no other.

use lanekeeper_common::latency::Delays;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric as Sample, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

use super::super::list::{Kind, METRICS, Metric};
use super::{Labels, Page, SECOND, below};

/// The page as text.
pub fn encode(mut page: Page) -> Result<String, prometheus::Error> {
    let mut text = Vec::new();
    for metric in &METRICS {
        let numbers = page.numbers.remove(metric.name).unwrap_or_default();
        let numbers = numbers.into_iter().map(|(labels, value)| number(metric, &labels, value));
        let delays = page.delays.remove(metric.name).unwrap_or_default();
        let delays = delays.into_iter().map(|(labels, delays)| histogram(metric, &labels, &delays));
        let floats = page.floats.remove(metric.name).unwrap_or_default();
        let floats = floats.into_iter().map(|(labels, value)| gauge(sample(metric, &labels), value));
        let series: Vec<Sample> = numbers.chain(delays).chain(floats).collect();
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

fn sample(metric: &Metric, labels: &Labels) -> Sample {
    let pairs = metric.labels.iter().zip(labels.values()).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value(value.to_owned());
        pair
    });
    Sample::from_label(pairs.collect())
}

fn number(metric: &Metric, labels: &Labels, value: u64) -> Sample {
    // Exact up to 2^53.
    let (mut sample, value) = (sample(metric, labels), value as f64);
    match metric.kind {
        Kind::Counter => {
            let mut counter = Counter::default();
            counter.set_value(value);
            sample.set_counter(counter);
        }
        Kind::Gauge => return gauge(sample, value),
        // One number is not what it says.
        Kind::Histogram => debug_assert!(false, "{} is a histogram", metric.name),
    }
    sample
}

fn gauge(mut sample: Sample, value: f64) -> Sample {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    sample.set_gauge(gauge);
    sample
}

fn histogram(metric: &Metric, labels: &Labels, delays: &Delays) -> Sample {
    let buckets = below(delays).map(|(bound, n)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(n);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(delays.buckets.iter().sum());
    histogram.set_sample_sum(delays.sum as f64 / SECOND);
    let mut sample = sample(metric, labels);
    sample.set_histogram(histogram);
    sample
}
