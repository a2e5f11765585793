//! A native histogram as the API sends it: count, sum, and buckets with their bounds.
//!
//! Owns reading it and what people ask of one at a glance: mean and quantiles. Exact ones are computed by the
//! server, with `histogram_quantile`.

use std::fmt;

use serde::Deserialize;

/// How far the widths of exponential buckets may differ by the rounding of their bounds.
const RATIO_TOLERANCE: f64 = 1e-6;

/// A histogram; counts and sum keep the server's text.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Histogram {
    /// Number of observations.
    pub(crate) count: String,
    /// Sum of the observations.
    pub(crate) sum: String,
    /// Ascending, empty ones left out.
    #[serde(default)]
    pub(crate) buckets: Vec<Bucket>,
}

/// The observations between two bounds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "(u8, String, String, String)")]
pub(crate) struct Bucket {
    bounds: Bounds,
    /// Lower bound; `-Inf` for the first of custom buckets.
    pub(crate) low: f64,
    /// Upper bound; `+Inf` for the last of custom buckets.
    pub(crate) high: f64,
    /// Number of observations; a fraction after `rate`.
    pub(crate) count: f64,
    /// The count as sent.
    pub(crate) text: String,
    low_text: String,
    high_text: String,
}

/// Which bounds belong to a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bounds {
    OpenClosed,
    ClosedOpen,
    Open,
    Closed,
}

impl TryFrom<(u8, String, String, String)> for Bucket {
    type Error = String;

    fn try_from((rule, low_text, high_text, text): (u8, String, String, String)) -> Result<Self, String> {
        let number = |text: &str| text.parse::<f64>().map_err(|_| format!("{text:?} in a bucket is no number"));
        let bounds = match rule {
            0 => Bounds::OpenClosed,
            1 => Bounds::ClosedOpen,
            2 => Bounds::Open,
            3 => Bounds::Closed,
            _ => return Err(format!("boundary rule {rule} is unknown")),
        };
        let (low, high, count) = (number(&low_text)?, number(&high_text)?, number(&text)?);
        Ok(Self { bounds, low, high, count, text, low_text, high_text })
    }
}

impl Bucket {
    /// The bounds around `low` and `high`: `(1, 2]`.
    pub(crate) fn interval(&self, low: &str, high: &str, between: &str) -> String {
        let (open, close) = match self.bounds {
            Bounds::OpenClosed => ('(', ']'),
            Bounds::ClosedOpen => ('[', ')'),
            Bounds::Open => ('(', ')'),
            Bounds::Closed => ('[', ']'),
        };
        format!("{open}{low}{between}{high}{close}")
    }
}

impl Histogram {
    /// The mean observation; `None` without observations.
    pub(crate) fn mean(&self) -> Option<f64> {
        let (count, sum): (f64, f64) = (self.count.parse().ok()?, self.sum.parse().ok()?);
        Some(sum / count).filter(|mean| mean.is_finite())
    }

    /// The quantile `q` (0 to 1) estimated from the buckets: exponential buckets are interpolated by ratio, others
    /// linearly, as `histogram_quantile` does. `None` without observations.
    pub(crate) fn quantile(&self, q: f64) -> Option<f64> {
        let total: f64 = self.buckets.iter().map(|bucket| bucket.count).sum();
        if total.is_nan() || total <= 0.0 {
            return None;
        }
        let rank = q * total;
        let mut below = 0.0;
        let found = self.buckets.iter().find(|bucket| {
            let holds = below + bucket.count >= rank;
            below += if holds { 0.0 } else { bucket.count };
            holds
        });
        // Rounding may leave the rank a hair above the last bucket.
        let bucket = found.or(self.buckets.last())?;
        let share = ((rank - below) / bucket.count).clamp(0.0, 1.0);
        Some(self.within(bucket, if share.is_nan() { 0.0 } else { share }))
    }

    /// The value at `share` of the way through `bucket`.
    fn within(&self, bucket: &Bucket, share: f64) -> f64 {
        let (low, high) = (bucket.low, bucket.high);
        match () {
            // Nothing tells how far an unbounded bucket reaches: its finite bound, or zero below a positive one.
            () if high.is_infinite() => low,
            () if low.is_infinite() => {
                if high > 0.0 {
                    high * share
                } else {
                    high
                }
            }
            () if low < 0.0 && high > 0.0 => {
                // Where observations have one sign, the zero bucket's have it too.
                let low = if self.buckets.iter().any(|other| other.high < 0.0) { low } else { 0.0 };
                let is_last = self.buckets.last().is_some_and(|last| last.high <= high);
                let high = if is_last && low < 0.0 { 0.0 } else { high };
                low + (high - low) * share
            }
            () if self.is_exponential() && low > 0.0 => low * (high / low).powf(share),
            () if self.is_exponential() && high < 0.0 => low * (high / low).powf(share),
            () => low + (high - low) * share,
        }
    }

    /// Whether all buckets beside the zero bucket have one ratio of their bounds. Custom ones hardly ever do.
    fn is_exponential(&self) -> bool {
        let mut ratios = self.buckets.iter().filter_map(|bucket| match (bucket.low, bucket.high) {
            (low, high) if low > 0.0 => Some(high / low),
            (low, high) if high < 0.0 => Some(low / high),
            (low, high) if low < 0.0 && high > 0.0 && (low + high).abs() <= high * RATIO_TOLERANCE => None,
            _ => Some(f64::INFINITY),
        });
        let Some(first) = ratios.next() else { return false };
        first.is_finite() && ratios.all(|ratio| (ratio / first - 1.0).abs() < RATIO_TOLERANCE)
    }
}

/// On one line, as label values made by `count_values` spell it: `{count:3, sum:4, (1,2]:3}`.
impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", self.count, self.sum)?;
        for bucket in &self.buckets {
            write!(f, ", {}:{}", bucket.interval(&bucket.low_text, &bucket.high_text, ","), bucket.text)?;
        }
        f.write_str("}")
    }
}

/// A histogram for tests: its buckets as (rule, low, high, count).
#[cfg(test)]
pub(crate) fn histogram(count: &str, sum: &str, buckets: &[(u8, &str, &str, &str)]) -> Histogram {
    let bucket = |&(rule, low, high, count): &(u8, &str, &str, &str)| {
        Bucket::try_from((rule, low.to_owned(), high.to_owned(), count.to_owned())).expect("a bucket")
    };
    Histogram { count: count.to_owned(), sum: sum.to_owned(), buckets: buckets.iter().map(bucket).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(buckets: &[(u8, &str, &str, &str)], q: f64, want: Option<f64>) {
        let got = histogram("10", "20", buckets).quantile(q);
        let same = match (got, want) {
            (Some(got), Some(want)) => (got - want).abs() < 1e-9,
            (got, want) => got == want,
        };
        assert!(same, "{q} of {buckets:?}: {got:?}, not {want:?}");
    }

    #[test]
    fn quantiles_lie_in_their_bucket() {
        let exponential = [(0, "1", "2", "5"), (0, "2", "4", "5")];
        check(&exponential, 0.0, Some(1.0));
        check(&exponential, 0.5, Some(2.0));
        check(&exponential, 0.75, Some(8f64.sqrt()));
        check(&exponential, 1.0, Some(4.0));
        let custom = [(3, "-Inf", "10", "5"), (0, "10", "25", "4"), (0, "25", "+Inf", "1")];
        check(&custom, 0.25, Some(5.0));
        check(&custom, 0.7, Some(17.5));
        check(&custom, 1.0, Some(25.0));
        check(&[(3, "-Inf", "-5", "4")], 0.5, Some(-5.0));
        check(&[(3, "-0.1", "0.1", "4"), (0, "1", "2", "4")], 0.25, Some(0.05));
        check(&[(1, "-2", "-1", "4"), (3, "-0.1", "0.1", "4")], 0.75, Some(-0.05));
        check(&[(1, "-4", "-2", "4"), (1, "-2", "-1", "4")], 0.25, Some(-8f64.sqrt()));
        check(&[], 0.5, None);
        check(&[(0, "1", "2", "NaN")], 0.5, None);
    }

    #[test]
    fn summaries() {
        let one = histogram("3", "4.5", &[(3, "-0.001", "0.001", "1"), (0, "1", "2", "2")]);
        assert_eq!(one.to_string(), "{count:3, sum:4.5, [-0.001,0.001]:1, (1,2]:2}");
        assert_eq!(one.mean(), Some(1.5));
        assert_eq!(histogram("0", "0", &[]).mean(), None);
    }

    #[test]
    fn odd_buckets_are_refused() {
        for bucket in [r#"[4,"1","2","3"]"#, r#"[0,"one","2","3"]"#, r#"[0,"1","2"]"#, "[0,1,2,3]"] {
            let text = format!(r#"{{"count":"1","sum":"1","buckets":[{bucket}]}}"#);
            assert!(serde_json::from_str::<Histogram>(&text).is_err(), "{bucket}");
        }
    }
}
