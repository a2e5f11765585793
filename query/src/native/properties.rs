//! Properties that hold for any histograms.

use model::Histogram;
use model::histogram::{Bucket, CUSTOM_SCHEMA, INDEX_MAX, ResetHint, SCHEMA_MAX, SCHEMA_MIN};
use proptest::prelude::*;
use proptest::sample::select;

use super::testing::near;
use super::*;

/// Buckets at ascending indexes.
fn side(indexes: impl Strategy<Value = i32>, count: impl Strategy<Value = f64>) -> impl Strategy<Value = Vec<Bucket>> {
    proptest::collection::btree_map(indexes, count, 0..12)
        .prop_map(|buckets| buckets.into_iter().map(|(index, count)| Bucket { index, count }).collect())
}

/// Whole counts, of which sums are exact.
fn whole() -> impl Strategy<Value = f64> {
    (1..1000_u32).prop_map(f64::from)
}

/// Exponential histograms that may have been observed.
fn exponential() -> impl Strategy<Value = Histogram> {
    let threshold = select(vec![0.0, 1e-9, 0.001, 0.7, 1.0, 3.0]);
    (SCHEMA_MIN..=SCHEMA_MAX, threshold, 0..50_u32, side(-30..60, whole()), side(-30..60, whole())).prop_map(
        |(schema, zero_threshold, zero_count, positive, negative)| {
            let outside = |side: Vec<Bucket>| -> Vec<Bucket> {
                side.into_iter().filter(|bucket| bound(schema, bucket.index) > zero_threshold).collect()
            };
            let (positive, negative) = (outside(positive), outside(negative));
            let mut histogram = Histogram {
                schema,
                zero_threshold,
                zero_count: f64::from(zero_count),
                positive,
                negative,
                ..Histogram::default()
            };
            histogram.count = observed(&histogram);
            histogram
        },
    )
}

/// Custom histograms that may have been observed.
fn custom() -> impl Strategy<Value = Histogram> {
    proptest::collection::btree_set(-9..30_i32, 0..8).prop_flat_map(|bounds| {
        let last = i32::try_from(bounds.len()).expect("few");
        side(0..=last, whole()).prop_map(move |positive| {
            let mut histogram = Histogram {
                schema: CUSTOM_SCHEMA,
                positive,
                custom_bounds: bounds.iter().map(|&bound| f64::from(bound)).collect(),
                ..Histogram::default()
            };
            histogram.count = observed(&histogram);
            histogram
        })
    })
}

fn any_observed() -> impl Strategy<Value = Histogram> {
    prop_oneof![exponential(), custom()]
}

/// Two histograms of one kind.
fn pair() -> impl Strategy<Value = (Histogram, Histogram)> {
    prop_oneof![(exponential(), exponential()), (custom(), custom())]
}

/// Whatever the type can hold.
fn anything() -> impl Strategy<Value = Histogram> {
    let number = || prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::INFINITY), Just(f64::MAX), -5.0..5.0];
    let index = || prop_oneof![-INDEX_MAX..=INDEX_MAX, -20..20_i32, Just(1 << 18), Just(1024)];
    let schema = prop_oneof![SCHEMA_MIN..=SCHEMA_MAX, Just(CUSTOM_SCHEMA)];
    let hint = select(vec![ResetHint::Unknown, ResetHint::Reset, ResetHint::NotReset, ResetHint::Gauge]);
    let numbers = proptest::array::uniform4(number());
    let bounds = proptest::collection::btree_set(-20..20_i32, 0..6);
    (schema, hint, numbers, bounds, side(index(), number()), side(index(), number())).prop_map(
        |(schema, reset_hint, [count, sum, zero_threshold, zero_count], bounds, positive, negative)| {
            let is_custom = schema == CUSTOM_SCHEMA;
            let mut histogram = Histogram {
                schema,
                reset_hint,
                count,
                sum,
                zero_threshold: if is_custom { 0.0 } else { zero_threshold.abs() },
                zero_count: if is_custom { 0.0 } else { zero_count },
                positive,
                negative: if is_custom { Vec::new() } else { negative },
                custom_bounds: if is_custom { bounds.into_iter().map(f64::from).collect() } else { Vec::new() },
            };
            histogram.compact();
            histogram
        },
    )
}

/// How many observations are in buckets.
fn observed(histogram: &Histogram) -> f64 {
    let sides = histogram.positive.iter().chain(&histogram.negative);
    histogram.zero_count + sides.map(|bucket| bucket.count).sum::<f64>()
}

#[track_caller]
fn assert_canonical(histogram: &Histogram) {
    for side in [&histogram.positive, &histogram.negative] {
        assert!(side.is_sorted_by(|a, b| a.index < b.index), "{side:?}");
        assert!(side.iter().all(|bucket| bucket.count != 0.0), "{side:?}");
    }
}

proptest! {
    #[test]
    fn sums_hold_all_observations((a, b) in pair()) {
        let sum = add(&a, &b).expect("of a kind").histogram;
        assert_canonical(&sum);
        prop_assert!(near(observed(&sum), a.count + b.count));
        prop_assert_eq!(sum.schema, a.schema.min(b.schema));
        let swapped = add(&b, &a).expect("of a kind").histogram;
        prop_assert!(equals(&sum, &swapped));
        let mut many = HistogramSum::starting_at(&a);
        many.add(&b).expect("of a kind");
        prop_assert!(equals(&many.finish().histogram, &sum));
        let mut mean = HistogramMean::starting_at(&a);
        mean.add(&b).expect("of a kind");
        prop_assert!(equals(&multiply(&mean.finish().histogram, 2.0), &sum));
    }

    #[test]
    fn subtracting_what_was_added_gives_back_counts((a, b) in pair()) {
        let sum = add(&a, &b).expect("of a kind").histogram;
        let back = subtract(&sum, &b).expect("of a kind").histogram;
        assert_canonical(&back);
        // In the layout of the sum.
        let nothing = multiply(&sum, 0.0);
        let same = add(&a, &nothing).expect("of a kind").histogram;
        prop_assert!(equals(&back, &same), "{back:?} {same:?}");
    }

    #[test]
    fn counters_that_grow_are_not_reset((a, b) in pair()) {
        let sum = add(&a, &b).expect("of a kind").histogram;
        prop_assert!(!is_reset(&a, &sum), "{a:?} {sum:?}");
        if b.count > 0.0 {
            prop_assert!(is_reset(&sum, &a));
        }
    }

    #[test]
    fn quantiles_ascend_within_bounds(histogram in any_observed(), qs in proptest::collection::vec(0.0..=1.0, 2..8)) {
        let mut qs = qs;
        qs.sort_by(f64::total_cmp);
        let values: Vec<f64> = qs.iter().map(|&q| quantile(q, &histogram).value).collect();
        if histogram.count == 0.0 {
            prop_assert!(values.iter().all(|value| value.is_nan()));
            return Ok(());
        }
        for pair in values.windows(2) {
            prop_assert!(pair[0] <= pair[1] || near(pair[0], pair[1]), "{values:?}");
        }
        let all: Vec<_> = buckets(&histogram).collect();
        for value in values {
            let inside = |Stretch { lower, upper, .. }: &Stretch| {
                (*lower..=*upper).contains(&value) || near(*lower, value) || near(*upper, value)
            };
            prop_assert!(all.iter().any(inside), "{value}");
        }
    }

    #[test]
    fn fractions_are_quantiles_the_other_way(histogram in exponential(), q in 0.01..0.99) {
        prop_assume!(histogram.count > 0.0);
        let value = quantile(q, &histogram).value;
        let below = fraction(f64::NEG_INFINITY, value, &histogram).value;
        let above = fraction(value, f64::INFINITY, &histogram).value;
        prop_assert!(near(below + above, 1.0) && (0.0..=1.0).contains(&below));
        // A zero bucket without width has all its observations at once.
        let at_once = histogram.zero_threshold == 0.0 && value == 0.0;
        prop_assert!((below - q).abs() < 1e-6 || at_once, "{q} {value} {below}");
    }

    #[test]
    fn both_sides_of_a_cut_are_the_whole(
        histogram in exponential(),
        at in prop_oneof![-3000.0..3000.0, -1.5..1.5, select(vec![-4.0, -1.0, -0.001, 0.0, 0.5, 0.7, 1.0, 16.0])],
    ) {
        let (below, above) = (trim(&histogram, Keep::Below, at), trim(&histogram, Keep::Above, at));
        assert_canonical(&below);
        prop_assert!(near(below.count + above.count, histogram.count));
        prop_assert!(near(observed(&below), below.count) && near(observed(&above), above.count));
        // Shares take a bucket that the zero bucket overlaps for what is beyond it, cuts take it as it is.
        let is_overlapped = |bucket: &Bucket| {
            bound(histogram.schema, bucket.index.saturating_sub(1)) < histogram.zero_threshold
        };
        let sides = || histogram.positive.iter().chain(&histogram.negative);
        if histogram.count > 0.0 && !sides().any(is_overlapped) {
            let share = fraction(f64::NEG_INFINITY, at, &histogram).value;
            prop_assert!((below.count - share * histogram.count).abs() < 1e-6);
        }
    }

    #[test]
    fn what_lies_between_holds_between((a, b) in pair(), share in 0.0..=1.0) {
        let sum = add(&a, &b).expect("of a kind").histogram;
        let between = interpolate(&a, &sum, share, false, &mut Findings::default()).expect("of a kind");
        prop_assert!(near(between.count, a.count + b.count * share));
    }

    #[test]
    fn nothing_panics(a in anything(), b in anything(), q in any::<f64>(), at in any::<f64>()) {
        for histogram in [&a, &b] {
            let _ = Text(histogram).to_string();
            let _ = (quantile(q, histogram), fraction(at, q, histogram), variance(histogram));
            let _ = (quantile(q.abs().fract(), histogram), standard_deviation(histogram), average(histogram));
            assert_canonical(&trim(histogram, Keep::Above, at));
            assert_canonical(&trim(histogram, Keep::Below, at));
            assert_canonical(&divide(&multiply(histogram, q), at));
            prop_assert!(equals(histogram, histogram) || histogram.zero_threshold.is_nan());
        }
        let _ = is_reset(&a, &b);
        let mut findings = Findings::default();
        for joined in [add(&a, &b), subtract(&a, &b)] {
            prop_assert_eq!(joined.is_err(), a.is_custom() != b.is_custom());
            if let Ok(joined) = joined {
                assert_canonical(&joined.histogram);
            }
        }
        let mut mean = HistogramMean::starting_at(&a);
        if mean.add(&b).is_ok() && mean.add(&a).is_ok() {
            assert_canonical(&mean.finish().histogram);
        }
        let _ = interpolate_instant(&a, &b, 0.3, &mut findings);
        let samples: Vec<_> = [a, b.clone(), b].into_iter().zip([0, 10, 20]).map(|(histogram, timestamp_ms)| {
            model::HistogramSample { timestamp_ms, start_ms: 0, histogram: std::sync::Arc::new(histogram) }
        }).collect();
        for is_counter in [true, false] {
            let _ = change(&samples, is_counter, &mut findings);
            let _ = last_change(&samples[0], &samples[1], is_counter, &mut findings);
            let _ = extended_change(&samples, (5, 15), is_counter, is_counter, &mut findings);
        }
    }
}
