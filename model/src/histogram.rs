//! Native histograms: one sample that holds a whole distribution.
//!
//! Owns the type, its canonical form and its checks; arithmetic and estimation over histograms are `query`'s, their
//! codings `storage`'s. Counts are floats throughout: whole counts of up to 2^53 observations are exact. Schemas and
//! bucket numbering are those of Prometheus's native histograms (specification "Native Histograms", 2024).

use std::fmt;

/// The schema of histograms whose bucket bounds are listed.
pub const CUSTOM_SCHEMA: i8 = -53;
/// The coarsest exponential schema: buckets grow by a factor of 2^16.
pub const SCHEMA_MIN: i8 = -4;
/// The finest exponential schema: buckets grow by a factor of 2^(1/256).
pub const SCHEMA_MAX: i8 = 8;
/// Most buckets of one histogram, both signs together.
pub const BUCKETS_MAX: usize = 4096;
/// Bucket indexes lie in `-INDEX_MAX..=INDEX_MAX`: at the finest schema a double spans no more.
pub const INDEX_MAX: i32 = 1 << 19;

/// What is known about whether observations were lost since the histogram before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum ResetHint {
    /// Nothing; compare the two.
    #[default]
    Unknown,
    /// The counter began anew.
    Reset,
    /// The counter went on.
    NotReset,
    /// Not a counter: its values go up and down.
    Gauge,
}

/// One populated bucket.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    /// Exponential: the bucket `(base^(index-1), base^index]`, mirrored for negative ones; custom: the bucket that ends
    /// at bound `index`, or at infinity beyond the last.
    pub index: i32,
    /// Observations in it.
    pub count: f64,
}

impl PartialEq for Bucket {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index && self.count.to_bits() == other.count.to_bits()
    }
}

impl Eq for Bucket {}

/// A native histogram. In canonical form buckets ascend by index and none has the count zero.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    /// [`SCHEMA_MIN`] to [`SCHEMA_MAX`], or [`CUSTOM_SCHEMA`].
    pub schema: i8,
    /// What is known about resets.
    pub reset_hint: ResetHint,
    /// Observations in all.
    pub count: f64,
    /// Sum of the observations. The stale marker here marks the series as stale.
    pub sum: f64,
    /// Observations up to this far from zero are in the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// Buckets of positive observations, or the custom buckets.
    pub positive: Vec<Bucket>,
    /// Buckets of negative observations.
    pub negative: Vec<Bucket>,
    /// Upper bounds of custom buckets but the last, strictly ascending and finite; empty otherwise.
    pub custom_bounds: Vec<f64>,
}

/// Equality is bitwise, so that NaN payloads and signed zeros count; the hint counts too.
impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        let bits = |one: &Self| [one.count, one.sum, one.zero_threshold, one.zero_count].map(f64::to_bits);
        self.schema == other.schema
            && self.reset_hint == other.reset_hint
            && bits(self) == bits(other)
            && self.positive == other.positive
            && self.negative == other.negative
            && self.custom_bounds.iter().map(|b| b.to_bits()).eq(other.custom_bounds.iter().map(|b| b.to_bits()))
    }
}

impl Eq for Histogram {}

/// Why a histogram is none.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum HistogramError {
    #[error("histogram schema {schema} is not known; known are {SCHEMA_MIN} to {SCHEMA_MAX} and {CUSTOM_SCHEMA}")]
    Schema { schema: i32 },
    #[error("histogram has {found} buckets, the limit is {BUCKETS_MAX}")]
    TooManyBuckets { found: usize },
    #[error("histogram bucket index {index} is outside of what a double spans")]
    BucketIndex { index: i64 },
    #[error("histogram buckets are not in order at index {index}")]
    Unordered { index: i32 },
    #[error("histogram bucket {index} has the count {count}, which is below zero")]
    NegativeCount { index: i32, count: f64 },
    #[error("histogram zero threshold {threshold} is below zero or no number")]
    ZeroThreshold { threshold: f64 },
    #[error("histogram custom bounds are not ascending and finite at {bound}")]
    CustomBounds { bound: f64 },
    #[error("histogram with custom buckets has {what}")]
    CustomMixed { what: &'static str },
    #[error("histogram count is {count}, its buckets hold {buckets} observations")]
    CountMismatch { count: f64, buckets: f64 },
}

impl Histogram {
    /// Whether the bucket bounds are listed.
    pub fn is_custom(&self) -> bool {
        self.schema == CUSTOM_SCHEMA
    }

    /// Whether this marks the series as stale.
    pub fn is_stale_marker(&self) -> bool {
        crate::sample::is_stale_marker(self.sum)
    }

    /// A histogram that marks its series as stale.
    pub fn stale_marker() -> Self {
        Self { sum: crate::sample::stale_marker(), ..Self::default() }
    }

    /// Brings buckets into canonical form: those with the count zero go. Negative zero counts as zero.
    pub fn compact(&mut self) {
        self.positive.retain(|bucket| bucket.count != 0.0);
        self.negative.retain(|bucket| bucket.count != 0.0);
    }

    /// Checks what comes from outside: the [structure](Self::check_structure), counts not below zero, and a count that
    /// its buckets do not contradict. Stale markers pass.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), HistogramError> {
        if self.is_stale_marker() {
            return Ok(());
        }
        self.check_structure()?;
        let mut observed = self.zero_count;
        for bucket in self.positive.iter().chain(&self.negative) {
            if bucket.count < 0.0 {
                return Err(HistogramError::NegativeCount { index: bucket.index, count: bucket.count });
            }
            observed += bucket.count;
        }
        // Counts are sums of floats in another order; NaN observations are in no bucket.
        if self.count < 0.0 || observed > self.count + self.count.abs() * 1e-9 {
            return Err(HistogramError::CountMismatch { count: self.count, buckets: observed });
        }
        Ok(())
    }

    /// Checks what holds of computed histograms too, whose counts may be anything: known schema, buckets in order, and
    /// custom histograms without what only exponential ones have.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn check_structure(&self) -> Result<(), HistogramError> {
        if !self.is_custom() && !(SCHEMA_MIN..=SCHEMA_MAX).contains(&self.schema) {
            return Err(HistogramError::Schema { schema: i32::from(self.schema) });
        }
        let found = self.positive.len() + self.negative.len();
        if found > BUCKETS_MAX || self.custom_bounds.len() >= BUCKETS_MAX {
            return Err(HistogramError::TooManyBuckets { found: found.max(self.custom_bounds.len()) });
        }
        if self.zero_threshold.is_nan() || self.zero_threshold < 0.0 {
            return Err(HistogramError::ZeroThreshold { threshold: self.zero_threshold });
        }
        for side in [&self.positive, &self.negative] {
            let mut before = None;
            for bucket in side {
                if !(-INDEX_MAX..=INDEX_MAX).contains(&bucket.index) {
                    return Err(HistogramError::BucketIndex { index: i64::from(bucket.index) });
                }
                if before.is_some_and(|before| before >= bucket.index) {
                    return Err(HistogramError::Unordered { index: bucket.index });
                }
                before = Some(bucket.index);
            }
        }
        self.check_kind()
    }

    /// Checks what custom buckets and exponential ones must not have of each other.
    fn check_kind(&self) -> Result<(), HistogramError> {
        if !self.is_custom() {
            let extra =
                (!self.custom_bounds.is_empty()).then_some(HistogramError::Schema { schema: i32::from(self.schema) });
            return extra.map_or(Ok(()), Err);
        }
        let mut before = f64::NEG_INFINITY;
        for &bound in &self.custom_bounds {
            if !bound.is_finite() || bound <= before {
                return Err(HistogramError::CustomBounds { bound });
            }
            before = bound;
        }
        if !self.negative.is_empty() {
            return Err(HistogramError::CustomMixed { what: "negative buckets" });
        }
        if self.zero_count != 0.0 || self.zero_threshold != 0.0 {
            return Err(HistogramError::CustomMixed { what: "a zero bucket" });
        }
        let beyond = self
            .positive
            .iter()
            .find(|bucket| usize::try_from(bucket.index).map_or(true, |index| index > self.custom_bounds.len()));
        beyond.map_or(Ok(()), |bucket| Err(HistogramError::BucketIndex { index: i64::from(bucket.index) }))
    }

    /// Memory in bytes, that of the value itself included.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + (self.positive.capacity() + self.negative.capacity()) * size_of::<Bucket>()
            + self.custom_bounds.capacity() * size_of::<f64>()
    }
}

impl fmt::Display for ResetHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Reset => "reset",
            Self::NotReset => "not_reset",
            Self::Gauge => "gauge",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(of: &[(i32, f64)]) -> Vec<Bucket> {
        of.iter().map(|&(index, count)| Bucket { index, count }).collect()
    }

    #[test]
    fn canonical_form_has_no_empty_buckets() {
        let mut histogram = Histogram { positive: buckets(&[(-1, 0.0), (0, 2.0), (7, -0.0)]), ..Histogram::default() };
        histogram.compact();
        assert_eq!(histogram.positive, buckets(&[(0, 2.0)]));
    }

    #[track_caller]
    fn check(histogram: &Histogram, want: &str) {
        let got = histogram.check().map_or_else(|error| error.to_string(), |()| "fine".to_owned());
        assert!(got.contains(want), "{got}");
    }

    #[test]
    fn what_comes_from_outside_is_checked() {
        let of =
            |positive: &[(i32, f64)], count| Histogram { count, positive: buckets(positive), ..Histogram::default() };
        check(&of(&[(1, 2.0), (3, 1.0)], 3.0), "fine");
        check(&of(&[(1, 2.0)], f64::NAN), "fine");
        check(&of(&[(1, 2.0), (3, 1.0)], 2.0), "its buckets hold 3");
        check(&of(&[(3, 1.0), (3, 1.0)], 2.0), "not in order at index 3");
        check(&of(&[(3, -1.0)], 2.0), "below zero");
        check(&of(&[(i32::MAX, 1.0)], 2.0), "outside");
        check(&Histogram { schema: 9, ..Histogram::default() }, "schema 9");
        check(&Histogram { zero_threshold: -1.0, ..Histogram::default() }, "zero threshold -1");
        let custom = |bounds: &[f64], positive: &[(i32, f64)]| Histogram {
            schema: CUSTOM_SCHEMA,
            custom_bounds: bounds.to_vec(),
            count: 9.0,
            positive: buckets(positive),
            ..Histogram::default()
        };
        check(&custom(&[1.0, 2.0], &[(0, 1.0), (2, 1.0)]), "fine");
        check(&custom(&[], &[(0, 1.0)]), "fine");
        check(&custom(&[1.0, 1.0], &[]), "custom bounds");
        check(&custom(&[f64::INFINITY], &[]), "custom bounds");
        check(&custom(&[1.0, 2.0], &[(3, 1.0)]), "bucket index 3");
        check(&Histogram { zero_count: 1.0, ..custom(&[1.0], &[]) }, "a zero bucket");
        check(&Histogram { schema: 99, ..Histogram::stale_marker() }, "fine");
    }
}
