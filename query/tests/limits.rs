//! Limits, cancellation, errors and annotations of the evaluator: each names what was too much and the limit, or the place.

use model::Labels;
use query::{Answer, CancelToken, DEPTH_MAX, QueryError, QueryOptions, QueryTime, Request, Value, evaluate, parse};
use storage::memory::MemoryStore;

/// 20 series of 100 samples, one a minute.
fn store() -> MemoryStore {
    let store = MemoryStore::new();
    for at in 0..20 {
        let labels = Labels::from_pairs([("__name__", "m_total"), ("i", &at.to_string())]).expect("valid labels");
        let samples: Vec<(i64, f64)> = (0..100i32).map(|n| (i64::from(n) * 60_000, f64::from(n))).collect();
        store.insert(&labels, &samples);
    }
    store
}

const HOUR: QueryTime = QueryTime::Range { start_ms: 0, end_ms: 3_600_000, step_ms: 60_000 };
const INSTANT: QueryTime = QueryTime::Instant { time_ms: 3_600_000 };

fn ask(query: &str, time: QueryTime, options: &QueryOptions) -> Result<Answer, QueryError> {
    let cancel = CancelToken::new();
    let request =
        Request { query, time, options, lookback_ms: None, timeout_ms: None, cancel: &cancel, explain: false };
    evaluate(&store(), &request)
}

#[track_caller]
fn check_limit(query: &str, time: QueryTime, options: &QueryOptions, want: &str) {
    let error = ask(query, time, options).expect_err(query);
    assert!(matches!(error, QueryError::Limit { .. }), "{query}: {error}");
    assert!(error.to_string().contains(want), "{error}");
}

#[test]
fn each_limit_is_told() {
    let base = QueryOptions::default();
    check_limit("m_total", HOUR, &QueryOptions { series_max: 19, ..base.clone() }, "19 series");
    check_limit("sum(m_total)", HOUR, &QueryOptions { samples_max: 500, ..base.clone() }, "500 samples");
    check_limit("m_total", HOUR, &QueryOptions { points_max: 60, ..base.clone() }, "60 steps");
    let small = QueryOptions { bytes_max: 4096, ..base.clone() };
    for query in [
        "m_total",
        "topk(3, m_total)",
        "quantile(0.5, m_total)",
        "m_total + m_total",
        "m_total and m_total",
        "m_total or m_total",
        "count_values(\"v\", m_total)",
        "limitk by (i) (1, m_total)",
        "label_replace(m_total, \"x\", \"y\", \"\", \"\")",
        "info(m_total)",
    ] {
        check_limit(query, HOUR, &small, "4096 bytes");
    }
    check_limit("m_total[100m]", INSTANT, &small, "4096 bytes");
    check_limit("sort(m_total * 2)", INSTANT, &QueryOptions { bytes_max: 500, ..base.clone() }, "500 bytes");
    // A subquery's grid is refused before it is filled.
    check_limit("sum_over_time(vector(1)[200y:1ms])", INSTANT, &base, "bytes");
    // Every level of what is inside needs a column of its own.
    let (flat, deep) =
        ("sum_over_time(vector(1)[100s:1s])", "sum_over_time(abs(abs(abs(vector(1 + (1 + 1)))))[100s:1s])");
    let options = QueryOptions { bytes_max: 6000, ..base };
    ask(flat, INSTANT, &options).expect("5 columns of 100 steps");
    check_limit(deep, INSTANT, &options, "6000 bytes");
}

#[test]
fn no_label_grows_without_bound() {
    let mut query = "m_total".to_owned();
    for _ in 0..30 {
        query = format!("label_replace({query}, \"i\", \"$1$1\", \"i\", \"(.*)\")");
    }
    let wide = format!(
        "label_join(label_join({}, \"j\", \"{}\", \"i\", \"i\"), \"k\", \"\"{})",
        "m_total",
        "x".repeat(200_000),
        ", \"j\"".repeat(6)
    );
    for query in [query, wide] {
        let error = ask(&query, INSTANT, &QueryOptions::default()).expect_err("too long");
        assert!(error.to_string().ends_with("is longer than 1048576 bytes"), "{error}");
    }
}

#[test]
fn memory_follows_the_result() {
    // The selection takes 5 kB of it.
    let options = QueryOptions { bytes_max: 9 << 10, ..QueryOptions::default() };
    for query in ["sum(m_total)", "avg(rate(m_total[5m]))", "count(m_total > 3)", "topk(1, m_total)"] {
        let time = if query.starts_with("topk") { INSTANT } else { HOUR };
        let answer = ask(query, time, &options).expect(query);
        assert_eq!(answer.cost.series, 20);
        assert!(answer.cost.bytes_peak > 0 && answer.cost.bytes_peak <= 9 << 10, "{:?}", answer.cost);
        assert!(answer.cost.read.samples >= 20, "{:?}", answer.cost);
    }
}

#[test]
fn canceled_and_timed_out() {
    let (options, cancel) = (QueryOptions::default(), CancelToken::new());
    let request = Request {
        query: "m_total",
        time: HOUR,
        options: &options,
        lookback_ms: None,
        timeout_ms: Some(0),
        cancel: &cancel,
        explain: false,
    };
    // Work enough for the clock to be seen moving.
    let long = Request { query: "sum_over_time(vector(1)[10d:1s])", ..request };
    assert!(matches!(evaluate(&store(), &long), Err(QueryError::Timeout { limit_ms: 0 })));
    cancel.cancel();
    assert!(matches!(evaluate(&store(), &request), Err(QueryError::Canceled)));
}

#[test]
fn requests_that_make_no_sense() {
    let options = QueryOptions::default();
    let range = |start_ms, end_ms, step_ms| QueryTime::Range { start_ms, end_ms, step_ms };
    for (query, time) in [
        ("m_total", range(0, 10, 0)),
        ("m_total", range(0, 10, -5)),
        ("m_total", range(10, 0, 1)),
        ("m_total[5m]", HOUR),
        ("\"text\"", HOUR),
    ] {
        assert!(matches!(ask(query, time, &options), Err(QueryError::Request { .. })), "{query} {time:?}");
    }
    assert!(matches!(ask("sum(", INSTANT, &options), Err(QueryError::Parse(_))));
    assert!(matches!(ask("m_total + on() m_total", INSTANT, &options), Err(QueryError::Execution { .. })));
}

#[test]
fn times_at_the_ends_of_time_do_no_harm() {
    let options = QueryOptions::default();
    for time_ms in [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX] {
        for query in [
            "m_total",
            "rate(m_total[5m])",
            "m_total offset 100y",
            "m_total offset -100y",
            "sum_over_time(m_total[1h:1m] offset -100y)",
            "increase(m_total[5m] anchored)",
            "increase(m_total[5m] smoothed)",
            "m_total smoothed",
            "timestamp(m_total) + hour()",
            "absent_over_time(m_total[5m])",
        ] {
            ask(query, QueryTime::Instant { time_ms }, &options).unwrap_or_else(|error| panic!("{query}: {error}"));
        }
    }
    let all = QueryTime::Range { start_ms: i64::MIN, end_ms: i64::MAX, step_ms: i64::MAX };
    ask("rate(m_total[5m]) or vector(time())", all, &options).expect("three steps");
}

#[test]
fn lookback_can_be_chosen() {
    let (options, cancel) = (QueryOptions::default(), CancelToken::new());
    let count = |lookback_ms| {
        let time = QueryTime::Instant { time_ms: 99 * 60_000 + 30_000 };
        let request = Request {
            query: "m_total",
            time,
            options: &options,
            lookback_ms,
            timeout_ms: None,
            cancel: &cancel,
            explain: false,
        };
        match evaluate(&store(), &request).expect("a vector").value {
            Value::Vector(elements) => elements.len(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((count(None), count(Some(30_000)), count(Some(30_001))), (20, 0, 20));
}

#[test]
fn deep_queries_fit_the_stack_of_a_worker() {
    let options = QueryOptions::default();
    let nested = |open: &str, close: &str, levels: usize| {
        format!("{}m_total{{i=\"1\"}}{}", open.repeat(levels), close.repeat(levels))
    };
    let mut deepest = 0;
    for (open, close) in [
        ("abs(", ")"),
        ("sum(", ")"),
        ("-(", ")"),
        ("(1 + ", ")"),
        ("(m_total{i=\"1\"} or ", ")"),
        ("topk(1, ", ")"),
        ("max_over_time(", "[2m:1m])"),
        ("(m_total{i=\"1\"} + on() ", ")"),
        ("label_replace(", ", \"a\", \"b\", \"\", \"\")"),
    ] {
        // As deep as the parser lets it be.
        let levels = (1..=4).map(|nodes| (DEPTH_MAX - 1) / nodes);
        let levels =
            levels.into_iter().find(|&levels| parse(&nested(open, close, levels)).is_ok()).expect("some depth");
        deepest = deepest.max(levels);
        ask(&nested(open, close, levels), INSTANT, &options).unwrap_or_else(|error| panic!("{levels} {open}: {error}"));
    }
    assert!(deepest > 50, "only {deepest} levels");
}

#[test]
fn annotations_point_into_the_query() {
    for (query, want) in [
        ("quantile(7, m_total)", "(1:10)"),
        ("1 +\n  quantile_over_time(((7)), (m_total[5m]))", "(2:24)"),
        ("histogram_quantile(0.5, (m_total))", "(1:26)"),
        ("limit_ratio((3), m_total)", "(1:14)"),
    ] {
        let answer = ask(query, INSTANT, &QueryOptions::default()).expect(query);
        assert!(answer.warnings.iter().all(|text| text.ends_with(want)), "{query}: {:?}", answer.warnings);
        assert!(!answer.warnings.is_empty(), "{query}");
    }
}
