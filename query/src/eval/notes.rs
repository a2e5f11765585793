//! Annotations: what a query tells beside its result. They never change it.
//!
//! Owns their texts, which are Prometheus's, because clients compare and suppress them.

use std::cell::RefCell;
use std::fmt::Write as _;

use super::forced::Forced;
use super::summaries::Extent;
use super::told::{Detail, ToldLists};
use crate::ast::Span;

/// The annotations of one query, each text once.
#[derive(Debug)]
pub(crate) struct Notes<'q> {
    query: &'q str,
    told: RefCell<ToldLists>,
}

/// One thing to tell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Note<'a> {
    /// A quantile outside 0 to 1.
    InvalidQuantile(f64),
    /// A ratio outside -1 to 1, and what it was taken for.
    InvalidRatio(f64, f64),
    /// A classic bucket without a readable bound: metric, bound.
    BadBucketLabel(&'a str, &'a str),
    /// Sorting where the result is sorted by labels anyway.
    SortInRangeQuery,
    /// A rate of something that is not named like a counter.
    PossibleNonCounter(&'a str),
    /// A rate of something whose type label does not say counter: that label, metric.
    PossibleNonCounterType(&'a str, &'a str),
    /// A sample that claims to have begun before the one before it, but not with that: metric.
    StartsOverlap(&'a str),
    /// Bucket counts that decreased with the bound: metric, where and when.
    ForcedMonotonicity(&'a str, Forced),
    /// An operator that these kinds of operands do not have: left operand, operator, right operand.
    IncompatibleTypes(&'a str, &'a str, &'a str),
    /// An operator between exponential and custom buckets.
    IncompatibleBuckets(&'a str),
    /// An aggregation that knows floats alone met a histogram.
    IgnoredInAggregation(&'a str),
    /// Floats and histograms in one group of an aggregation.
    MixedInAggregation,
    /// Floats and histograms in one range: metric.
    MixedInRange(&'a str),
    /// Histograms were left out of a range that has floats too: metric.
    IgnoredInRange(&'a str),
    /// Exponential and custom buckets side by side: metric.
    MixedSchemas(&'a str),
    /// Buckets with `le` and a native histogram of the same labels: metric.
    MixedClassicNative(&'a str),
    /// A rate of a histogram that is a gauge: metric.
    NotCounter(&'a str),
    /// A difference of a histogram that is a counter: metric.
    NotGauge(&'a str),
    /// One histogram says that a counter began anew, another that it went on.
    ResetCollision(HistogramOperation),
    /// Custom buckets of different bounds were brought to the common ones.
    BoundsReconciled(HistogramOperation),
    /// NaN observations make a quantile NaN: metric.
    NanQuantile(&'a str),
    /// NaN observations, taken for the largest, raise a quantile: metric.
    NanSkewedQuantile(&'a str),
    /// NaN observations are in no fraction: metric.
    NanFraction(&'a str),
    /// What needs samples was computed where there are none any more: what, and where.
    OfSummaries(&'a str, Extent),
}

/// What was being done with histograms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HistogramOperation {
    Addition,
    Subtraction,
    Aggregation,
}

impl HistogramOperation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Addition => "addition",
            Self::Subtraction => "subtraction",
            Self::Aggregation => "aggregation",
        }
    }
}

impl Note<'_> {
    fn is_warning(self) -> bool {
        matches!(
            self,
            Self::InvalidQuantile(_)
                | Self::InvalidRatio(..)
                | Self::BadBucketLabel(..)
                | Self::SortInRangeQuery
                | Self::StartsOverlap(_)
                | Self::IncompatibleBuckets(_)
                | Self::MixedInAggregation
                | Self::MixedInRange(_)
                | Self::MixedSchemas(_)
                | Self::MixedClassicNative(_)
                | Self::NotCounter(_)
                | Self::NotGauge(_)
                | Self::ResetCollision(_)
        )
    }

    fn text(self) -> String {
        match self {
            Self::InvalidQuantile(q) => {
                format!("PromQL warning: quantile value should be between 0 and 1, got {}", Number(q))
            }
            Self::InvalidRatio(ratio, cap) => format!(
                "PromQL warning: ratio value should be between -1 and 1, got {}, capping to {}",
                Number(ratio),
                Number(cap)
            ),
            Self::BadBucketLabel(metric, bound) => named(
                format!("PromQL warning: bucket label \"le\" is missing or has a malformed value of {bound:?}"),
                metric,
            ),
            Self::SortInRangeQuery => {
                "PromQL warning: sort is ineffective for range queries since results are always ordered by labels"
                    .to_owned()
            }
            Self::PossibleNonCounter(metric) => format!(
                "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {metric:?}"
            ),
            Self::PossibleNonCounterType(kind, metric) => format!(
                "PromQL info: metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", \
                 got {kind:?}: {metric:?}"
            ),
            Self::StartsOverlap(metric) => format!(
                "PromQL warning: sample has start time that overlaps with previous sample timestamp for metric \
                 {metric:?}"
            ),
            Self::ForcedMonotonicity(metric, _) => named(
                "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see \
                 https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)"
                    .to_owned(),
                metric,
            ),
            Self::IncompatibleTypes(left, op, right) => format!(
                "PromQL info: incompatible sample types encountered for binary operator {op:?}: {left} {op} {right}"
            ),
            Self::IncompatibleBuckets(op) => {
                format!("PromQL warning: incompatible bucket layout encountered for binary operator {op}")
            }
            Self::IgnoredInAggregation(name) => format!("PromQL info: ignored histogram in {name} aggregation"),
            Self::MixedInAggregation => {
                "PromQL warning: encountered a mix of histograms and floats for aggregation".to_owned()
            }
            Self::MixedInRange(metric) => {
                format!("PromQL warning: encountered a mix of histograms and floats for metric name {metric:?}")
            }
            Self::IgnoredInRange(metric) => format!(
                "PromQL info: ignored histograms in a range containing both floats and histograms for metric name \
                 {metric:?}"
            ),
            Self::MixedSchemas(metric) => format!(
                "PromQL warning: vector contains a mix of histograms with exponential and custom buckets schemas for \
                 metric name {metric:?}"
            ),
            Self::MixedClassicNative(metric) => {
                named("PromQL warning: vector contains a mix of classic and native histograms".to_owned(), metric)
            }
            Self::NotCounter(metric) => {
                format!("PromQL warning: this native histogram metric is not a counter: {metric:?}")
            }
            Self::NotGauge(metric) => {
                format!("PromQL warning: this native histogram metric is not a gauge: {metric:?}")
            }
            Self::ResetCollision(operation) => {
                format!("PromQL warning: conflicting counter resets during histogram {}", operation.as_str())
            }
            Self::BoundsReconciled(operation) => {
                format!("PromQL info: mismatched custom buckets were reconciled during {}", operation.as_str())
            }
            Self::NanQuantile(metric) => {
                named("PromQL info: input to histogram_quantile has NaN observations, result is NaN".to_owned(), metric)
            }
            Self::NanSkewedQuantile(metric) => named(
                "PromQL info: input to histogram_quantile has NaN observations, result is skewed higher".to_owned(),
                metric,
            ),
            Self::NanFraction(metric) => named(
                "PromQL info: input to histogram_fraction has NaN observations, which are excluded from all fractions"
                    .to_owned(),
                metric,
            ),
            Self::OfSummaries(what, _) => {
                format!("PromQL info: {what} sees the last samples alone of downsampled windows")
            }
        }
    }
}

fn named(mut text: String, metric: &str) -> String {
    if !metric.is_empty() {
        let _ = write!(text, " for metric name {metric:?}");
    }
    text
}

/// A number as annotations and errors show it: the shortest decimal, with an exponent (of two digits at least) for what
/// is below 1e-4 or from 1e6 on. So Go's `%g` shows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Number(pub(crate) f64);

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            value if value == f64::INFINITY => f.write_str("+Inf"),
            value if value == f64::NEG_INFINITY => f.write_str("-Inf"),
            value => match format!("{value:e}").split_once('e') {
                Some((digits, exponent)) => {
                    let exponent: i32 = exponent.parse().unwrap_or(0);
                    if (-4..6).contains(&exponent) {
                        return write!(f, "{value}");
                    }
                    let sign = if exponent < 0 { '-' } else { '+' };
                    write!(f, "{digits}e{sign}{:02}", exponent.unsigned_abs())
                }
                None => write!(f, "{value}"),
            },
        }
    }
}

impl<'q> Notes<'q> {
    pub(crate) fn new(query: &'q str) -> Self {
        Self { query, told: RefCell::default() }
    }

    /// The query's text.
    pub(crate) fn query(&self) -> &'q str {
        self.query
    }

    /// Tells `note` of the expression at `span`, unless that was told before.
    pub(crate) fn add(&self, note: Note<'_>, span: Span) {
        let mut told = self.told.borrow_mut();
        let list = if note.is_warning() { &mut told.warnings } else { &mut told.infos };
        let detail = match note {
            Note::ForcedMonotonicity(_, forced) => Some(Detail::Forced(forced)),
            Note::OfSummaries(_, extent) => Some(Detail::Extent(extent)),
            _ => None,
        };
        list.add(note.text(), span.start, detail);
    }

    /// What was told so far; it is forgotten here.
    pub(crate) fn take(&self) -> ToldLists {
        self.told.take()
    }

    /// Adds what was told elsewhere.
    pub(crate) fn absorb(&self, other: ToldLists) {
        self.told.borrow_mut().absorb(other);
    }

    /// Warnings and infos, each cut to [`ANNOTATIONS_TOLD_MAX`](super::ANNOTATIONS_TOLD_MAX) with a line that says how
    /// many more there were.
    pub(crate) fn finish(self) -> (Vec<String>, Vec<String>) {
        let ToldLists { warnings, infos } = self.told.into_inner();
        let place = |at_byte| line_and_column(self.query, at_byte);
        (warnings.finish("warning", place), infos.finish("info", place))
    }
}

/// Line and column of a byte of the query, both from 1.
fn line_and_column(query: &str, at_byte: usize) -> (usize, usize) {
    let before = &query.as_bytes()[..at_byte.min(query.len())];
    let line = before.split(|&byte| byte == b'\n').count();
    let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    (line, before.len() - line_start + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_once_with_position_and_cut() {
        let notes = Notes::new("a +\nquantile(2, b)");
        for _ in 0..3 {
            notes.add(Note::InvalidQuantile(2.0), Span { start: 13, end: 14 });
        }
        for metric in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"] {
            notes.add(Note::PossibleNonCounter(metric), Span { start: 0, end: 1 });
        }
        let (warnings, infos) = notes.finish();
        assert_eq!(warnings, ["PromQL warning: quantile value should be between 0 and 1, got 2 (2:10)"]);
        assert_eq!(infos.len(), 11);
        assert_eq!(infos[10], "2 more info annotations omitted");
    }

    #[test]
    fn numbers_in_texts() {
        let numbers = [2.0, -0.5, 1e300, 123_456.0, 1_234_567.0, 1e-4, -1.5e-5, f64::NAN, f64::NEG_INFINITY, -0.0];
        assert_eq!(
            numbers.map(|number| Number(number).to_string()),
            ["2", "-0.5", "1e+300", "123456", "1.234567e+06", "0.0001", "-1.5e-05", "NaN", "-Inf", "-0"]
        );
    }
}
