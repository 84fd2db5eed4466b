//! OpenMetrics 1.0.0, by the library that writes it.

use std::fmt;

use lanekeeper_common::latency::{BOUNDS, Delays};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    self, DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::super::list::{Kind, METRICS, Metric};
use super::{Labels, Page, SECOND};

/// The page as text.
pub fn encode(page: Page) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(page));
    let mut text = String::new();
    encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for metric in &METRICS {
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let (numbers, delays) = (self.numbers.get(metric.name), self.delays.get(metric.name));
            let floats = self.floats.get(metric.name);
            if numbers.is_none() && delays.is_none() && floats.is_none() {
                continue;
            }
            // It puts the ending of counters there itself.
            let name = metric.name.strip_suffix("_total").unwrap_or(metric.name);
            let mut family = encoder.encode_descriptor(name, metric.help, None, kind)?;
            for (values, value) in numbers.into_iter().flatten() {
                number(metric.kind, family.encode_family(&Named { metric, values })?, *value)?;
            }
            for (values, delays) in delays.into_iter().flatten() {
                histogram(family.encode_family(&Named { metric, values })?, delays)?;
            }
            for (values, value) in floats.into_iter().flatten() {
                family.encode_family(&Named { metric, values })?.encode_gauge(value)?;
            }
        }
        Ok(())
    }
}

/// Those of one series.
struct Named<'a> {
    metric: &'a Metric,
    values: &'a Labels,
}

impl EncodeLabelSet for Named<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        for (name, value) in self.metric.labels.iter().zip(self.values.values()) {
            (*name, value).encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

fn number(kind: Kind, mut encoder: MetricEncoder<'_>, value: u64) -> fmt::Result {
    match kind {
        Kind::Counter => encoder.encode_counter::<NoLabelSet, u64, u64>(&value, None),
        Kind::Gauge => encoder.encode_gauge(&value),
        // One number is not what it says.
        Kind::Histogram => Err(fmt::Error),
    }
}

fn histogram(mut encoder: MetricEncoder<'_>, delays: &Delays) -> fmt::Result {
    let bounds = BOUNDS.iter().map(|bound| *bound as f64 / SECOND).chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(delays.buckets).collect();
    let count = delays.buckets.iter().sum();
    encoder.encode_histogram::<NoLabelSet>(delays.sum as f64 / SECOND, count, &buckets, None)
}
