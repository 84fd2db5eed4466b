//! Medians and percentiles.

use crate::stats::{Spread, mean, percentile};

#[test]
fn classify_bench_takes_medians_whatever_the_order() {
    assert_eq!(Spread::of(&[5.0, 1.0, 3.0]), Spread { median: 3.0, min: 1.0, max: 5.0 });
    assert_eq!(Spread::of(&[2.0]), Spread { median: 2.0, min: 2.0, max: 2.0 });
    assert_eq!(Spread::of(&[4.0, -1.0]), Spread { median: 1.5, min: -1.0, max: 4.0 });
}

#[test]
fn classify_bench_counts_percentiles_from_below() {
    let values: Vec<f64> = (0..1_000).rev().map(f64::from).collect();
    assert_eq!((percentile(&values, 99), percentile(&values, 0), percentile(&values, 100)), (990.0, 0.0, 999.0));
    assert_eq!(percentile(&[7.0], 99), 7.0);
}

#[test]
fn classify_bench_takes_means() {
    assert_eq!(mean([1.0, 2.0, 6.0].into_iter()), 3.0);
}
