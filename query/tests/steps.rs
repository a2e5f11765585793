//! A range query and the instant queries at its steps agree, whatever the query: the evaluator computes both over a grid.

use model::{Labels, SampleValue};
use query::{CancelToken, QueryOptions, QueryTime, Request, Value, VectorElement, evaluate};
use storage::memory::MemoryStore;

/// At least one query for each way of evaluating.
const QUERIES: [&str; 52] = [
    "a",
    "a offset 90s",
    "a @ 600",
    "a smoothed",
    "rate(b_total[2m])",
    "increase(b_total[100s] anchored)",
    "rate(b_total[100s] smoothed)",
    "irate(b_total[1m])",
    "deriv(a[3m])",
    "predict_linear(a[3m], 60)",
    "sum by (x) (a)",
    "avg(b_total)",
    "stddev by (x) ({i=~\".+\"})",
    "min(a)",
    "min_over_time(a[2m])",
    "max_over_time(b_total[10m] offset 30s)",
    "a + on (x, i) fill(3) (b_total > 100)",
    "(a > 20) * on (x, i) group_left () fill_left(3) b_total",
    "info(a, {__name__=\"b_total\"})",
    "quantile by (x) (0.3, {i=~\".+\"})",
    "topk by (x) (2, {i=~\".+\"})",
    "bottomk(scalar(count(a) or vector(1)), b_total)",
    "count_values(\"v\", floor(a / 20))",
    "limitk(2, a)",
    "limit_ratio(0.4, {i=~\".+\"})",
    "sum by (x) (a) / on (x) group_right sum by (x, i) (b_total)",
    "a > 30",
    "a > bool on (i) a",
    "a and on (x) (b_total > 100)",
    "(a > 40) or (b_total < 200)",
    "a unless (a > 50)",
    "avg_over_time(a[2m])",
    "stdvar_over_time(a[2m])",
    "quantile_over_time(0.5, a[2m])",
    "mad_over_time(a[1m])",
    "ts_of_max_over_time(a[2m])",
    "changes(a[2m])",
    "resets(b_total[2m])",
    "absent(a > 60)",
    "absent_over_time(a[10s])",
    "max_over_time(rate(b_total[1m])[3m:20s])",
    "sum_over_time(a[2m:7s] offset 30s)",
    "timestamp(a)",
    "-a",
    "scalar(a)",
    "histogram_quantile(0.6, c_bucket)",
    "histogram_fraction(0, 0.7, c_bucket)",
    "sum(a) + on() fill(1) sum(b_total > 300)",
    "label_replace(a, \"x\", \"$1\", \"i\", \"(.*)\")",
    "clamp(a, 10, 50)",
    "round(a, 5)",
    "double_exponential_smoothing(a[2m], 0.4, 0.6)",
];

/// Twelve series of noisy counters with gaps, resets, NaN and stale markers.
fn store() -> MemoryStore {
    let store = MemoryStore::new();
    let mut random = fastrand::Rng::with_seed(7);
    for at in 0..12 {
        let pairs =
            [("__name__", ["a", "b_total", "c_bucket"][at % 3]), ("x", ["1", "2"][at % 2]), ("i", &at.to_string())];
        let labels = Labels::from_pairs(pairs.into_iter().chain([("le", ["0.5", "1", "+Inf", "bad"][at % 4])]));
        let mut value = 0.0;
        let samples: Vec<(i64, f64)> = (0..120i64)
            .filter_map(|n| {
                value += random.f64() * 10.0;
                let sample = match random.u8(0..20) {
                    0 => f64::NAN,
                    1 => model::sample::stale_marker(),
                    2 => {
                        value = 1.0;
                        value
                    }
                    _ => value,
                };
                (random.u8(0..6) > 0).then_some((n * 15_000 + random.i64(0..900), sample))
            })
            .collect();
        store.insert(&labels.expect("valid labels"), &samples);
    }
    store
}

/// A range query is the instant queries of its steps, apart from the order of elements.
#[test]
fn a_range_query_is_its_instant_queries() {
    let store = store();
    let (options, cancel) = (QueryOptions::default(), CancelToken::new());
    let (start_ms, end_ms, step_ms) = (-60_000, 2_100_000, 35_000);
    for query in QUERIES {
        let run = |time| {
            evaluate(
                &store,
                &Request {
                    query,
                    time,
                    options: &options,
                    lookback_ms: None,
                    timeout_ms: None,
                    cancel: &cancel,
                    explain: false,
                },
            )
            .unwrap_or_else(|error| panic!("{query}: {error}"))
            .value
        };
        let mut whole: Vec<(i64, String, f64)> = match run(QueryTime::Range { start_ms, end_ms, step_ms }) {
            Value::Matrix(matrix) => matrix
                .iter()
                .flat_map(|one| one.samples.iter().map(|s| (s.timestamp.0, one.labels.to_string(), s.value)))
                .collect(),
            other => panic!("{other:?}"),
        };
        let mut single = Vec::new();
        for time_ms in (start_ms..=end_ms).step_by(usize::try_from(step_ms).expect("positive")) {
            match run(QueryTime::Instant { time_ms }) {
                Value::Vector(vector) => {
                    single.extend(vector.into_iter().map(|VectorElement { labels, timestamp_ms, value }| {
                        let SampleValue::Float(value) = value else { panic!("a histogram of floats") };
                        (timestamp_ms, labels.to_string(), value)
                    }));
                }
                Value::Scalar { timestamp_ms, value } => single.push((timestamp_ms, "{}".to_owned(), value)),
                other => panic!("{other:?}"),
            }
        }
        let order = |a: &(i64, String, f64), b: &(i64, String, f64)| (a.0, &a.1).cmp(&(b.0, &b.1));
        whole.sort_by(order);
        single.sort_by(order);
        assert!(!whole.is_empty(), "{query} yields nothing");
        let steps = |of: &[(i64, String, f64)]| of.iter().map(|one| (one.0, one.1.clone())).collect::<Vec<_>>();
        assert_eq!(steps(&whole), steps(&single), "{query}");
        for (one, other) in whole.iter().zip(&single) {
            assert!(is_near(one.2, other.2), "{query}: {one:?} is not {other:?}");
        }
    }
}

/// Whether two numbers are the same but for what sums of another order round otherwise.
fn is_near(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
}
