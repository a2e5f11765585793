//! Native histograms told the classic way, for who does not know them: `_bucket` series with `le`, `_sum` and `_count`.
//!
//! Every number told is exact; what is lost is resolution. Of custom bounds at most [`BUCKETS_MAX`] are told, chosen by
//! their place among the bounds alone, so that a metric has the same series whatever was observed. Exponential buckets
//! are told at powers of two, or of a power of two where they span more, from the lowest populated one to the highest:
//! more series come when observations spread.

use std::collections::HashMap;

use model::{Histogram, LabelsRef};

/// Most `le` of one histogram beside `+Inf`.
pub const BUCKETS_MAX: usize = 32;

/// One series of a classic histogram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Part {
    /// `NAME_bucket` with this `le`.
    Bucket(f64),
    /// `NAME_sum`.
    Sum,
    /// `NAME_count`.
    Count,
}

impl Part {
    /// What comes behind the metric's name.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Bucket(_) => "_bucket",
            Self::Sum => "_sum",
            Self::Count => "_count",
        }
    }

    /// The value of label `le`, where there is one.
    pub fn le(self) -> Option<String> {
        match self {
            Self::Bucket(bound) if bound == f64::INFINITY => Some("+Inf".to_owned()),
            Self::Bucket(bound) if bound != 0.0 && !(1e-4..1e21).contains(&bound.abs()) => Some(exponent(bound)),
            Self::Bucket(bound) => Some(bound.to_string()),
            _ => None,
        }
    }
}

/// As Go prints it: the exponent signed, with two digits at least.
fn exponent(bound: f64) -> String {
    let text = format!("{bound:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

/// The series of `histogram`, which is no stale marker, with their values.
pub fn parts(histogram: &Histogram) -> Vec<(Part, f64)> {
    let counts = if histogram.is_custom() { custom(histogram) } else { exponential(histogram) };
    let mut below = 0.0;
    let mut parts: Vec<(Part, f64)> = counts
        .into_iter()
        .map(|(bound, count)| {
            below += count;
            (Part::Bucket(bound), below)
        })
        .collect();
    parts.extend([
        (Part::Bucket(f64::INFINITY), histogram.count),
        (Part::Sum, histogram.sum),
        (Part::Count, histogram.count),
    ]);
    parts
}

/// Most native series whose classic ones are remembered; the ends of others are not told, they fade out.
const TOLD_SERIES_MAX: usize = 20_000;

/// Which classic series were told, so that their end can be: a stale marker knows no buckets.
#[derive(Debug, Default)]
pub struct Told(HashMap<Box<str>, ToldSeries>);

#[derive(Debug, Default)]
struct ToldSeries {
    /// Every `le`, in order of appearance.
    bounds: Vec<f64>,
    ended: bool,
}

impl Told {
    /// The [`parts`] of the next histogram of the series with `labels`; for a stale marker the ends of all that were told,
    /// nothing when there were none. The same again gives the same.
    pub fn parts(&mut self, labels: LabelsRef<'_>, histogram: &Histogram) -> Vec<(Part, f64)> {
        if histogram.is_stale_marker() {
            let Some(told) = self.0.get_mut(labels.packed()) else { return Vec::new() };
            told.ended = true;
            let buckets = told.bounds.iter().map(|&bound| Part::Bucket(bound));
            return buckets.chain([Part::Sum, Part::Count]).map(|part| (part, histogram.sum)).collect();
        }
        let parts = parts(histogram);
        if self.0.len() >= TOLD_SERIES_MAX && !self.0.contains_key(labels.packed()) {
            self.0.retain(|_, told| !told.ended);
            if self.0.len() >= TOLD_SERIES_MAX {
                return parts;
            }
        }
        if !self.0.contains_key(labels.packed()) {
            self.0.insert(labels.packed().into(), ToldSeries::default());
        }
        if let Some(told) = self.0.get_mut(labels.packed()) {
            told.ended = false;
            for (part, _) in &parts {
                if let Part::Bucket(bound) = part
                    && !told.bounds.contains(bound)
                {
                    told.bounds.push(*bound);
                }
            }
        }
        parts
    }

    /// Whether series were told of the one with `labels`.
    pub fn contains(&self, labels: LabelsRef<'_>) -> bool {
        self.0.contains_key(labels.packed())
    }
}

/// Bounds that are told, ascending, with what was observed above the one before.
fn custom(histogram: &Histogram) -> Vec<(f64, f64)> {
    let bounds = &histogram.custom_bounds;
    let step = bounds.len().div_ceil(BUCKETS_MAX).max(1);
    // The last bound is among those told: beyond it lies what is out of range.
    let first = bounds.len().saturating_sub(1) % step;
    let mut told: Vec<(f64, f64)> = bounds.iter().skip(first).step_by(step).map(|&bound| (bound, 0.0)).collect();
    for bucket in &histogram.positive {
        let at = usize::try_from(bucket.index).unwrap_or(0).saturating_sub(first).div_ceil(step);
        // Beyond the last bound only `+Inf` tells of it.
        if let Some((_, count)) = told.get_mut(at) {
            *count += bucket.count;
        }
    }
    told
}

/// As [`custom`], of exponential buckets: negative ones mirrored, then the zero bucket, then positive ones.
fn exponential(histogram: &Histogram) -> Vec<(f64, f64)> {
    // Bounds are 2^(index * 2^shift) after as many halvings of the resolution as it takes.
    let mut shift = i32::from(-histogram.schema).max(0);
    let halvings = u32::from(histogram.schema.max(0).unsigned_abs());
    let coarser = |index: i32, by: u32| ((i64::from(index) - 1) >> by.min(63)) + 1;
    let mut more = 0;
    let span = |buckets: &[model::Bucket], by: u32| match (buckets.first(), buckets.last()) {
        (Some(first), Some(last)) => coarser(last.index, by) - coarser(first.index, by) + 2,
        _ => 0,
    };
    while span(&histogram.positive, halvings + more) + span(&histogram.negative, halvings + more) > SPAN_MAX {
        more += 1;
        shift += 1;
    }
    #[expect(clippy::cast_precision_loss, reason = "indexes are below 2^20")]
    let bound = |index: i64| (index as f64 * f64::from(shift).exp2()).exp2();
    let merged = |buckets: &[model::Bucket]| {
        let mut all: Vec<(i64, f64)> = Vec::new();
        for bucket in buckets {
            let index = coarser(bucket.index, halvings + more);
            // Every index of the span, so that a bucket that is empty for now has its series.
            while all.last().is_some_and(|(last, _)| *last < index) {
                let next = all.last().map_or(index, |(last, _)| last + 1);
                all.push((next, 0.0));
            }
            match all.last_mut() {
                Some((_, count)) => *count += bucket.count,
                None => all.push((index, bucket.count)),
            }
        }
        all
    };
    let mut told: Vec<(f64, f64)> = Vec::new();
    let negative = merged(&histogram.negative);
    if let Some((lowest, _)) = negative.last() {
        told.push((-bound(*lowest), 0.0));
    }
    // The mirrored bucket (-base^index, -base^(index-1)] ends nearer to zero.
    told.extend(negative.iter().rev().map(|&(index, count)| (-bound(index - 1), count)));
    if histogram.zero_count > 0.0 || !negative.is_empty() {
        told.push((histogram.zero_threshold, histogram.zero_count));
    }
    let positive = merged(&histogram.positive);
    if let Some((lowest, _)) = positive.first() {
        told.push((bound(lowest - 1), 0.0));
    }
    told.extend(positive.iter().map(|&(index, count)| (bound(index), count)));
    ordered(told)
}

/// Most buckets that exponential ones are told in, their lower ends included.
const SPAN_MAX: i64 = 31;

/// Bounds ascending, each once and finite: a zero bucket may be wider than buckets beside it, and the widest bounds
/// overflow.
fn ordered(mut told: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    told.retain(|(bound, _)| bound.is_finite());
    // A threshold of negative zero is one of zero.
    for (bound, _) in &mut told {
        *bound += 0.0;
    }
    told.sort_by(|a, b| a.0.total_cmp(&b.0));
    told.dedup_by(|next, kept| {
        let same = next.0.to_bits() == kept.0.to_bits();
        if same {
            kept.1 += next.1;
        }
        same
    });
    told
}

#[cfg(test)]
mod tests {
    use model::Bucket;
    use model::histogram::CUSTOM_SCHEMA;

    use super::*;

    fn buckets(of: &[(i32, f64)]) -> Vec<Bucket> {
        of.iter().map(|&(index, count)| Bucket { index, count }).collect()
    }

    fn shown(histogram: &Histogram) -> Vec<String> {
        let show = |(part, value): (Part, f64)| format!("{}{} {value}", part.suffix(), part.le().unwrap_or_default());
        parts(histogram).into_iter().map(show).collect()
    }

    #[test]
    fn custom_bounds_are_told_as_they_are() {
        let histogram = Histogram {
            schema: CUSTOM_SCHEMA,
            count: 7.0,
            sum: 3.5,
            positive: buckets(&[(0, 1.0), (2, 2.0), (3, 4.0)]),
            custom_bounds: vec![-1.0, 0.0, 1e-9],
            ..Histogram::default()
        };
        let want = ["_bucket-1 1", "_bucket0 1", "_bucket1e-09 3", "_bucket+Inf 7", "_sum 3.5", "_count 7"];
        assert_eq!(shown(&histogram), want);
        let empty = Histogram { positive: Vec::new(), count: 0.0, sum: 0.0, ..histogram };
        assert_eq!(shown(&empty)[..3], ["_bucket-1 0", "_bucket0 0", "_bucket1e-09 0"], "the same series");
    }

    #[test]
    fn many_custom_bounds_are_thinned_and_stay_exact() {
        let bounds: Vec<f64> = (1..=160).map(f64::from).collect();
        let positive: Vec<Bucket> = (0..=160).map(|index| Bucket { index, count: 1.0 }).collect();
        let histogram =
            Histogram { schema: CUSTOM_SCHEMA, count: 161.0, positive, custom_bounds: bounds, ..Histogram::default() };
        let told = parts(&histogram);
        let les: Vec<(f64, f64)> = told
            .iter()
            .filter_map(|(part, value)| match part {
                Part::Bucket(bound) => Some((*bound, *value)),
                _ => None,
            })
            .collect();
        assert_eq!(les.len(), BUCKETS_MAX + 1);
        assert_eq!(les.get(31), Some(&(160.0, 160.0)), "the last bound is told");
        // One observation lies at or below each bound and none between: the count is the bound.
        assert!(les.iter().take(32).all(|(bound, below)| bound.to_bits() == below.to_bits()), "{les:?}");
    }

    #[test]
    fn exponential_buckets_are_told_at_powers_of_two() {
        let histogram = Histogram {
            schema: 3,
            count: 10.0,
            sum: 1.0,
            zero_count: 2.0,
            zero_threshold: 1e-10,
            // Schema 3: 8 buckets an octave; index 8 ends at 2, index 9 begins there.
            positive: buckets(&[(1, 1.0), (8, 1.0), (9, 1.0), (25, 3.0)]),
            negative: buckets(&[(8, 2.0)]),
            ..Histogram::default()
        };
        let want = [
            "_bucket-2 0",
            "_bucket-1 2",
            "_bucket1e-10 4",
            "_bucket1 4",
            "_bucket2 6",
            "_bucket4 7",
            "_bucket8 7",
            "_bucket16 10",
            "_bucket+Inf 10",
            "_sum 1",
            "_count 10",
        ];
        assert_eq!(shown(&histogram), want);
        let wide = Histogram {
            schema: 8,
            count: 2.0,
            positive: buckets(&[(-200_000, 1.0), (200_000, 1.0)]),
            ..Histogram::default()
        };
        let told = parts(&wide);
        assert!(told.len() <= BUCKETS_MAX + 3, "{} series", told.len());
        assert!(told.is_sorted_by(|(a, x), (b, y)| match (a, b) {
            (Part::Bucket(a), Part::Bucket(b)) => a < b && x <= y,
            _ => true,
        }));
    }

    #[test]
    fn a_stale_marker_ends_what_was_told() {
        let labels = model::Labels::from_pairs([("__name__", "h")]).expect("valid");
        let mut told = Told::default();
        assert_eq!(told.parts(labels.as_ref(), &Histogram::stale_marker()), []);
        let at = |index| Histogram { count: 1.0, positive: buckets(&[(index, 1.0)]), ..Histogram::default() };
        told.parts(labels.as_ref(), &at(1));
        told.parts(labels.as_ref(), &at(2));
        for _ in 0..2 {
            let ends = told.parts(labels.as_ref(), &Histogram::stale_marker());
            assert!(ends.iter().all(|(_, value)| model::sample::is_stale_marker(*value)));
            let ends: Vec<Part> = ends.into_iter().map(|(part, _)| part).collect();
            let bounds = [1.0, 2.0, f64::INFINITY, 4.0].map(Part::Bucket);
            assert_eq!(ends, [bounds.as_slice(), &[Part::Sum, Part::Count]].concat());
        }
        assert!(told.contains(labels.as_ref()));
    }
}
