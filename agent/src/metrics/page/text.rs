//! Prometheus's own text format, 0.0.4, by the library that writes it and no other.

use std::slice;

use lanekeeper_common::latency::Delays;
use prometheus::TextEncoder;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric as Sample, MetricFamily, MetricType};

use super::super::list::{Kind, METRICS, Metric};
use super::{Labels, Page, SECOND, below};

/// Series that are written at a time, each in the place of one before: made of a dozen small pieces of memory, tens of thousands of
/// them would take more time to make and to drop than to write.
const PIECE: usize = 256;

/// Of one series.
enum Value {
    Number(u64),
    Float(f64),
    Delays(Delays),
}

/// The page as text.
pub fn encode(mut page: Page) -> Result<String, prometheus::Error> {
    let mut text = String::new();
    for metric in &METRICS {
        let numbers = page.numbers.remove(metric.name).unwrap_or_default();
        let numbers = numbers.into_iter().map(|(labels, value)| (labels, Value::Number(value)));
        let delays = page.delays.remove(metric.name).unwrap_or_default();
        let delays = delays.into_iter().map(|(labels, delays)| (labels, Value::Delays(delays)));
        let floats = page.floats.remove(metric.name).unwrap_or_default();
        let floats = floats.into_iter().map(|(labels, value)| (labels, Value::Float(value)));
        write(metric, numbers.chain(delays).chain(floats), &mut text)?;
    }
    Ok(text)
}

/// Nothing where there is no series.
fn write(
    metric: &Metric,
    mut series: impl Iterator<Item = (Labels, Value)>,
    text: &mut String,
) -> Result<(), prometheus::Error> {
    let mut family = MetricFamily::default();
    family.set_name(metric.name.to_owned());
    family.set_help(metric.help.to_owned());
    family.set_field_type(match metric.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram => MetricType::HISTOGRAM,
    });
    let (mut piece, mut is_first) = (String::new(), true);
    loop {
        let (samples, mut filled) = (family.mut_metric(), 0);
        for (labels, value) in series.by_ref().take(PIECE) {
            if filled == samples.len() {
                samples.push(blank(metric));
            }
            fill(&mut samples[filled], metric, &labels, &value);
            filled += 1;
        }
        samples.truncate(filled);
        if filled == 0 {
            return Ok(());
        }
        piece.clear();
        TextEncoder::new().encode_utf8(slice::from_ref(&family), &mut piece)?;
        // HELP and TYPE stand above the first, and TYPE alone above what has no help.
        let heading = if is_first { 0 } else { piece.find('\n').map_or(0, |end| end + 1) };
        text.push_str(&piece[heading..]);
        family.set_help(String::new());
        is_first = false;
    }
}

/// Its labels without their values.
fn blank(metric: &Metric) -> Sample {
    let pairs = metric.labels.iter().map(|name| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair
    });
    Sample::from_label(pairs.collect())
}

fn fill(sample: &mut Sample, metric: &Metric, labels: &Labels, value: &Value) {
    for (pair, value) in sample.mut_label().iter_mut().zip(labels.values()) {
        pair.set_value(value.to_owned());
    }
    match value {
        // Exact up to 2^53.
        Value::Number(value) => number(sample, metric, *value as f64),
        Value::Float(value) => number(sample, metric, *value),
        Value::Delays(delays) => sample.set_histogram(histogram(delays)),
    }
}

fn number(sample: &mut Sample, metric: &Metric, value: f64) {
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
}

fn histogram(delays: &Delays) -> Histogram {
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
    histogram
}
