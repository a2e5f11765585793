//! Histograms for tests, in the notation of the PromQL test scripts.

use std::sync::Arc;

use model::histogram::{Bucket, ResetHint};
use model::{Histogram, HistogramSample};

use super::findings::{Finding, Findings};

/// Reads `schema:1 count:5 sum:3 z_bucket:1 z_bucket_w:0.1 buckets:[1 2] offset:1 n_buckets:[1] n_offset:0
/// custom_values:[5 10] counter_reset_hint:gauge`, any part left out.
#[track_caller]
pub(super) fn histogram(text: &str) -> Histogram {
    let mut histogram = Histogram::default();
    let (mut offset, mut n_offset) = (0, 0);
    let mut rest = text.trim();
    while let Some((key, after)) = rest.split_once(':') {
        let end = if after.starts_with('[') { after.find(']').map(|at| at + 1) } else { after.find(' ') };
        let (value, next) = after.split_at(end.unwrap_or(after.len()));
        let number = || value.parse::<f64>().expect("a number");
        let index = || value.parse::<i32>().expect("an index");
        let list = || -> Vec<f64> {
            value.trim_matches(['[', ']']).split_whitespace().map(|n| n.parse().expect("a number")).collect()
        };
        let buckets = || (0..).zip(list()).map(|(index, count)| Bucket { index, count }).collect();
        match key {
            "schema" => histogram.schema = value.parse().expect("a schema"),
            "count" => histogram.count = number(),
            "sum" => histogram.sum = number(),
            "z_bucket" => histogram.zero_count = number(),
            "z_bucket_w" => histogram.zero_threshold = number(),
            "buckets" => histogram.positive = buckets(),
            "n_buckets" => histogram.negative = buckets(),
            "offset" => offset = index(),
            "n_offset" => n_offset = index(),
            "custom_values" => histogram.custom_bounds = list(),
            "counter_reset_hint" => {
                histogram.reset_hint = match value {
                    "gauge" => ResetHint::Gauge,
                    "reset" => ResetHint::Reset,
                    "not_reset" => ResetHint::NotReset,
                    _ => ResetHint::Unknown,
                }
            }
            other => panic!("{other} is no part of a histogram"),
        }
        rest = next.trim_start();
    }
    histogram.positive.iter_mut().for_each(|bucket| bucket.index += offset);
    histogram.negative.iter_mut().for_each(|bucket| bucket.index += n_offset);
    histogram.compact();
    histogram
}

/// Whether two numbers are the same but for rounding.
pub(super) fn near(a: f64, b: f64) -> bool {
    #[expect(clippy::float_cmp, reason = "infinities are equal or not")]
    let equal = a == b || a.is_nan() && b.is_nan();
    equal || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1e-9)
}

/// Checks a histogram against the notation, numbers but for rounding; the hint only where it is written.
#[track_caller]
pub(super) fn check(got: &Histogram, want: &str) {
    let wanted = histogram(want);
    let sides = |h: &Histogram| -> Vec<(i32, bool)> {
        let side = |list: &[Bucket], is_positive| list.iter().map(move |b| (b.index, is_positive)).collect::<Vec<_>>();
        [side(&h.positive, true), side(&h.negative, false)].concat()
    };
    let numbers = |h: &Histogram| -> Vec<f64> {
        let counts = h.positive.iter().chain(&h.negative).map(|bucket| bucket.count);
        [h.count, h.sum, h.zero_threshold, h.zero_count].into_iter().chain(counts).collect()
    };
    let same = got.schema == wanted.schema
        && got.custom_bounds == wanted.custom_bounds
        && sides(got) == sides(&wanted)
        && numbers(got).iter().zip(&numbers(&wanted)).all(|(a, b)| near(*a, *b))
        && (!want.contains("counter_reset_hint") || got.reset_hint == wanted.reset_hint);
    assert!(same, "{got:?}\nis not {want}");
}

/// Samples every 60 s from 0 on, `-` for none.
pub(super) fn samples(texts: &[&str]) -> Vec<HistogramSample> {
    let timed = (0..).map(|at| at * 60_000).zip(texts);
    let some = timed.filter(|(_, text)| **text != "-");
    some.map(|(timestamp_ms, text)| HistogramSample { timestamp_ms, start_ms: 0, histogram: Arc::new(histogram(text)) })
        .collect()
}

/// Checks a result, which is a gauge, and what was met.
#[track_caller]
pub(super) fn check_outcome(got: Option<Histogram>, findings: Findings, want: Option<&str>, met: &[Finding]) {
    match (got, want) {
        (Some(got), Some(want)) => check(&got, &format!("{want} counter_reset_hint:gauge")),
        (got, want) => assert_eq!(got.is_some(), want.is_some(), "{got:?}"),
    }
    assert_eq!(findings.iter().collect::<Vec<_>>(), met);
}
