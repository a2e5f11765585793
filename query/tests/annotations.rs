//! Annotations as clients see them: text, place, each once, and no more than a few.

use std::sync::Arc;

use model::{FullSample, Histogram, Labels, SampleSink, SampleValue, WriteBatch};
use query::{ANNOTATIONS_TOLD_MAX, Answer, CancelToken, QueryOptions, QueryTime, Request, evaluate};
use storage::memory::MemoryStore;

/// A counter `c_total`, a metric `m` that is none, buckets `b` of which one is malformed, a histogram `h`.
fn store() -> MemoryStore {
    let store = MemoryStore::new();
    let mut batch = WriteBatch::new();
    for (name, le) in [("c_total", ""), ("m", ""), ("b", "1"), ("b", "x"), ("b", "+Inf")] {
        batch.push_series(Labels::from_pairs([("__name__", name), ("le", le)]).expect("valid labels").as_ref());
        (0..10).for_each(|n| batch.push_sample(n * 15_000, 1.0));
    }
    batch.push_series(Labels::from_pairs([("__name__", "h")]).expect("valid labels").as_ref());
    let value = SampleValue::Histogram(Arc::new(Histogram::default()));
    batch.push_full_sample(FullSample { timestamp_ms: 120_000, start_ms: 0, value });
    store.append(&batch).expect("in memory");
    store
}

fn ask(query: &str, time: QueryTime) -> Answer {
    let (options, cancel) = (QueryOptions::default(), CancelToken::new());
    let request = Request {
        query,
        time,
        options: &options,
        lookback_ms: None,
        timeout_ms: None,
        cancel: &cancel,
        explain: false,
    };
    evaluate(&store(), &request).unwrap_or_else(|error| panic!("{query}: {error}"))
}

/// Checks all annotations of a query at two minutes.
#[track_caller]
fn check(query: &str, want: &[&str]) {
    let answer = ask(query, QueryTime::Instant { time_ms: 120_000 });
    let told: Vec<&str> = answer.warnings.iter().chain(&answer.infos).map(String::as_str).collect();
    assert_eq!(told, want, "for {query}");
}

#[test]
fn places() {
    let quantile = |got: &str, place: &str| {
        format!("PromQL warning: quantile value should be between 0 and 1, got {got} ({place})")
    };
    check("quantile(7, m)", &[&quantile("7", "1:10")]);
    check("1 +\n  quantile(-1, m)", &[&quantile("-1", "2:12")]);
    check("histogram_quantile(NaN, b{le!=\"x\"})", &[&quantile("NaN", "1:20")]);
    check("quantile_over_time(2, m[1m])", &[&quantile("2", "1:20")]);
    check(
        "rate(m[1m])",
        &["PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"m\" (1:6)"],
    );
    check(
        "sum(increase(m[1m]))",
        &["PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"m\" (1:14)"],
    );
    check(
        "histogram_quantile(0.5, b)",
        &[
            "PromQL warning: bucket label \"le\" is missing or has a malformed value of \"x\" for metric name \"b\" (1:25)",
        ],
    );
    check(
        "limit_ratio(1.5, m)",
        &["PromQL warning: ratio value should be between -1 and 1, got 1.5, capping to 1 (1:13)"],
    );
    check("rate(c_total[1m])", &[]);
    // Others tell of the histograms they ignore at their argument, these two at themselves.
    for (query, place) in [("max(h)", "1:5"), ("1 + topk(1, h)", "1:5"), ("quantile(0.5, h)", "1:15")] {
        let name = query.trim_start_matches("1 + ").split('(').next().expect("a name");
        check(query, &[&format!("PromQL info: ignored histogram in {name} aggregation ({place})")]);
    }
}

#[test]
fn each_text_once() {
    let answer = ask("quantile(7, m)", QueryTime::Range { start_ms: 0, end_ms: 120_000, step_ms: 15_000 });
    assert_eq!(answer.warnings.len(), 1);
}

#[test]
fn only_so_many_are_told() {
    let terms: Vec<String> = (0..ANNOTATIONS_TOLD_MAX + 5).map(|n| format!("quantile({}, m)", n + 2)).collect();
    let answer = ask(&terms.join(" + "), QueryTime::Instant { time_ms: 120_000 });
    assert_eq!(answer.warnings.len(), ANNOTATIONS_TOLD_MAX + 1);
    assert_eq!(answer.warnings.last().map(String::as_str), Some("5 more warning annotations omitted"));
}
