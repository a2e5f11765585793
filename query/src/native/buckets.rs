//! Buckets as stretches of the number line: their bounds, and a walk over the populated ones in ascending order.
//!
//! Owns bucket numbering; what lies inside a bucket is estimated elsewhere.

use model::Histogram;
use model::histogram::{Bucket, SCHEMA_MAX};

/// How many buckets the finest schema divides a power of two into.
const STEPS: usize = 1 << SCHEMA_MAX;

/// `2^(2^-s)` for the schemas `s` of 1 to 8. The first is the double below the nearest one: Prometheus's libraries have
/// it so, and a bound is shown, compared and used as a label.
const FACTORS: [f64; SCHEMA_MAX as usize] = [
    std::f64::consts::SQRT_2 - f64::EPSILON,
    1.189_207_115_002_721,
    1.090_507_732_665_257_7,
    1.044_273_782_427_413_8,
    1.021_897_148_654_116_6,
    1.010_889_286_051_700_5,
    1.005_429_901_112_802_7,
    1.002_711_275_050_202_5,
];

/// The bounds of schema 8 from 0.5 up to 1. Coarser schemas have every other, every fourth and so on.
const FRACTIONS: [f64; STEPS] = fractions();

/// Every new bound of a schema is the bound before it times the schema's factor, so that errors do not add up.
const fn fractions() -> [f64; STEPS] {
    let mut bounds = [0.5; STEPS];
    let mut schema = 1;
    while schema <= FACTORS.len() {
        let distance = STEPS >> schema;
        let mut at = distance;
        while at < STEPS {
            bounds[at] = bounds[at - distance] * FACTORS[schema - 1];
            at += 2 * distance;
        }
        schema += 1;
    }
    bounds
}

/// The upper bound of the positive bucket `index` at an exponential schema. Powers of two are exact. The bucket of the
/// largest finite numbers ends with them; what is beyond is infinite.
pub(crate) fn bound(schema: i8, index: i32) -> f64 {
    let (fraction, exponent) = if schema <= 0 {
        (0.5, i64::from(index) * (1_i64 << (-schema).min(16)) + 1)
    } else {
        let schema = schema.min(SCHEMA_MAX);
        let steps = 1_i32 << schema;
        let step = index.rem_euclid(steps) << (SCHEMA_MAX - schema);
        let fraction = usize::try_from(step).ok().and_then(|step| FRACTIONS.get(step));
        (fraction.copied().unwrap_or(0.5), i64::from(index >> schema) + 1)
    };
    #[expect(clippy::float_cmp, reason = "the table holds it as it is")]
    if exponent == 1025 && fraction == 0.5 {
        return f64::MAX;
    }
    // In two halves, neither of which leaves the range of a double, so that small bounds are rounded once.
    let exponent = exponent.clamp(-1200, 1200);
    fraction * power_of_two(exponent / 2) * power_of_two(exponent - exponent / 2)
}

fn power_of_two(exponent: i64) -> f64 {
    f64::from_bits(u64::try_from(exponent + 1023).unwrap_or(0) << 52)
}

/// Which ends belong to a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edges {
    /// `(lower, upper]`.
    OpenClosed,
    /// `[lower, upper)`.
    ClosedOpen,
    /// `[lower, upper]`.
    ClosedClosed,
}

impl Edges {
    /// The number the HTTP API has for it; 2, both ends open, does not occur.
    pub fn rule(self) -> u8 {
        match self {
            Self::OpenClosed => 0,
            Self::ClosedOpen => 1,
            Self::ClosedClosed => 3,
        }
    }
}

/// A populated bucket as a stretch of the number line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stretch {
    /// Where it begins; minus infinity for the first custom bucket.
    pub lower: f64,
    /// Where it ends.
    pub upper: f64,
    /// Observations in it.
    pub count: f64,
    /// Which ends belong to it.
    pub edges: Edges,
}

/// The stretch of a bucket of the positive side, which custom buckets are on, too.
pub(crate) fn positive(histogram: &Histogram, bucket: Bucket) -> Stretch {
    if !histogram.is_custom() {
        let (lower, upper) =
            (bound(histogram.schema, bucket.index.saturating_sub(1)), bound(histogram.schema, bucket.index));
        return Stretch { lower, upper, count: bucket.count, edges: Edges::OpenClosed };
    }
    let custom = |index: i32| usize::try_from(index).ok().and_then(|at| histogram.custom_bounds.get(at)).copied();
    let first = bucket.index <= 0;
    let lower = if first { f64::NEG_INFINITY } else { custom(bucket.index - 1).unwrap_or(f64::INFINITY) };
    let edges = if first { Edges::ClosedClosed } else { Edges::OpenClosed };
    Stretch { lower, upper: custom(bucket.index).unwrap_or(f64::INFINITY), count: bucket.count, edges }
}

/// The stretch of a bucket of the negative side.
pub(crate) fn negative(histogram: &Histogram, bucket: Bucket) -> Stretch {
    let (near, far) = (bound(histogram.schema, bucket.index.saturating_sub(1)), bound(histogram.schema, bucket.index));
    Stretch { lower: -far, upper: -near, count: bucket.count, edges: Edges::ClosedOpen }
}

/// The zero bucket.
pub(crate) fn zero(histogram: &Histogram) -> Stretch {
    let (threshold, count) = (histogram.zero_threshold, histogram.zero_count);
    Stretch { lower: -threshold, upper: threshold, count, edges: Edges::ClosedClosed }
}

/// The populated buckets, ascending: negative ones from the farthest, the zero bucket if its count is above zero,
/// positive or custom ones. A bucket the zero bucket overlaps begins where that ends.
pub fn buckets(histogram: &Histogram) -> impl DoubleEndedIterator<Item = Stretch> + '_ {
    let threshold = histogram.zero_threshold;
    let below = histogram.negative.iter().rev().map(move |&bucket| {
        let stretch = negative(histogram, bucket);
        let overlaps = stretch.upper < 0.0 && stretch.upper > -threshold;
        Stretch { upper: if overlaps { -threshold } else { stretch.upper }, ..stretch }
    });
    let zero = (histogram.zero_count > 0.0).then(|| zero(histogram));
    let above = histogram.positive.iter().map(move |&bucket| {
        let stretch = positive(histogram, bucket);
        let overlaps = !histogram.is_custom() && stretch.lower > 0.0 && stretch.lower < threshold;
        Stretch { lower: if overlaps { threshold } else { stretch.lower }, ..stretch }
    });
    below.chain(zero).chain(above)
}

#[cfg(test)]
mod tests {
    use super::super::testing::histogram;
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "exact by design")]
    fn bounds() {
        for (schema, index, want) in [
            (0, 0, 1.0),
            (0, 3, 8.0),
            (0, -1, 0.5),
            (-4, 1, 65536.0),
            (-2, -1, 0.0625),
            (1, 1, std::f64::consts::SQRT_2 - f64::EPSILON),
            (1, 2, 2.0),
            (8, -1, 0.997_296_056_085_469_8),
            (8, -255, 0.501_355_637_525_101_3),
            (8, -2, 0.994_599_423_483_632_8),
            (8, -26, 0.932_023_024_198_894_3),
            (4, -11, 0.620_928_906_036_742),
            (3, -8, 0.5),
            (0, 1023, 2_f64.powi(1023)),
            (0, 1024, f64::MAX),
            (0, 1025, f64::INFINITY),
            (8, 262_144, f64::MAX),
            (-1, 512, f64::MAX),
            (0, -1074, f64::from_bits(1)),
            (0, -1075, 0.0),
            (8, i32::MIN, 0.0),
            (-4, i32::MAX, f64::INFINITY),
        ] {
            assert_eq!(bound(schema, index), want, "schema {schema}, index {index}");
        }
    }

    #[test]
    fn bounds_ascend_over_the_whole_range() {
        for schema in -4..=8_i8 {
            // Below 2^-1022 doubles are too far apart to tell all bounds of fine schemas.
            let span = if schema > 0 { 1022 << schema } else { 1022 >> -schema };
            let mut before = bound(schema, -span - 1);
            for index in -span..=span {
                let here = bound(schema, index);
                assert!(here > before, "schema {schema}, index {index}: {before} {here}");
                before = here;
            }
        }
    }

    #[track_caller]
    fn check(text: &str, want: &[(u8, f64, f64, f64)]) {
        let histogram = histogram(text);
        let got: Vec<_> = buckets(&histogram).map(|b| (b.edges.rule(), b.lower, b.upper, b.count)).collect();
        assert_eq!(got, want, "{text}");
        let mut back: Vec<_> = buckets(&histogram).rev().map(|b| (b.edges.rule(), b.lower, b.upper, b.count)).collect();
        back.reverse();
        assert_eq!(back, want, "{text}, backwards");
    }

    #[test]
    fn buckets_ascend() {
        check(
            "count:9 z_bucket:2 z_bucket_w:0.5 buckets:[1 2 0 1] n_buckets:[0 1 2]",
            &[
                (1, -4.0, -2.0, 2.0),
                (1, -2.0, -1.0, 1.0),
                (3, -0.5, 0.5, 2.0),
                (0, 0.5, 1.0, 1.0),
                (0, 1.0, 2.0, 2.0),
                (0, 4.0, 8.0, 1.0),
            ],
        );
        check("count:3 z_bucket_w:1.5 buckets:[0 1] n_buckets:[0 2]", &[(1, -2.0, -1.5, 2.0), (0, 1.5, 2.0, 1.0)]);
        check(
            "schema:-53 custom_values:[-1 5] buckets:[1 2 3]",
            &[(3, f64::NEG_INFINITY, -1.0, 1.0), (0, -1.0, 5.0, 2.0), (0, 5.0, f64::INFINITY, 3.0)],
        );
        check("schema:-53 buckets:[7]", &[(3, f64::NEG_INFINITY, f64::INFINITY, 7.0)]);
        check("count:0", &[]);
    }
}
