//! What evaluation tells of native histograms, and what it accounts for: the parts that no script says.

use std::sync::Arc;

use model::histogram::{Bucket, CUSTOM_SCHEMA};
use model::{FullSample, Histogram, Labels, SampleValue};
use query::{Answer, CancelToken, QueryError, QueryOptions, QueryTime, Request, Value, evaluate};
use storage::memory::MemoryStore;

const STEPS: i64 = 60;
const HOUR: QueryTime = QueryTime::Range { start_ms: 0, end_ms: STEPS * 60_000, step_ms: 60_000 };

/// Observations 1 to `buckets`, each in a bucket of its own.
fn histogram(buckets: i32) -> Histogram {
    let positive: Vec<Bucket> = (0..buckets).map(|index| Bucket { index: index * 2, count: 1.0 }).collect();
    let count = f64::from(buckets);
    Histogram { schema: 3, count, sum: count, positive, ..Histogram::default() }
}

fn custom() -> Histogram {
    let positive = vec![Bucket { index: 0, count: 3.0 }];
    Histogram {
        schema: CUSTOM_SCHEMA,
        count: 3.0,
        sum: 1.0,
        positive,
        custom_bounds: vec![1.0],
        ..Histogram::default()
    }
}

/// Ten series `h` of histograms with 80 buckets, `c` with custom buckets, a float `f`; `mix` is both in turn.
fn store() -> MemoryStore {
    let store = MemoryStore::new();
    let add = |name: &str, at: i32, value: &dyn Fn(i64) -> SampleValue| {
        let labels = Labels::from_pairs([("__name__", name), ("i", &at.to_string())]).expect("valid labels");
        let sample = |minute: i64| FullSample { timestamp_ms: minute * 60_000, start_ms: 0, value: value(minute) };
        store.insert_full(&labels, &(0..=STEPS).map(sample).collect::<Vec<_>>());
    };
    for at in 0..10 {
        add("h", at, &|_| SampleValue::Histogram(Arc::new(histogram(80))));
    }
    add("c", 0, &|_| SampleValue::Histogram(Arc::new(custom())));
    add("f", 0, &|_| SampleValue::Float(1.0));
    add("mix", 0, &|minute| match minute % 2 {
        0 => SampleValue::Float(1.0),
        _ => SampleValue::Histogram(Arc::new(histogram(4))),
    });
    store
}

fn ask(query: &str, options: &QueryOptions) -> Result<Answer, QueryError> {
    let cancel = CancelToken::new();
    let request =
        Request { query, time: HOUR, options, lookback_ms: None, timeout_ms: None, cancel: &cancel, explain: false };
    evaluate(&store(), &request)
}

#[track_caller]
fn check_told(query: &str, warnings: &[&str], infos: &[&str]) {
    let answer = ask(query, &QueryOptions::default()).expect(query);
    assert_eq!(answer.warnings, warnings, "{query}");
    assert_eq!(answer.infos, infos, "{query}");
}

#[test]
fn annotations_and_their_places() {
    let mixed = "PromQL warning: encountered a mix of histograms and floats for aggregation (1:5)";
    check_told("sum({i=\"0\", __name__=~\"h|f\"})", &[mixed], &[]);
    check_told("avg({i=\"0\", __name__=~\"h|f\"})", &[mixed], &[]);
    check_told("sum(mix)", &[], &[]);
    let schemas = "PromQL warning: vector contains a mix of histograms with exponential and custom buckets schemas for \
                   metric name \"h\" (1:5)";
    check_told("sum({__name__=~\"c|h\", i=\"0\"})", &[schemas], &[]);
    check_told("min(mix)", &[], &["PromQL info: ignored histogram in min aggregation (1:5)"]);
    check_told("stddev((mix))", &[], &["PromQL info: ignored histogram in stddev aggregation (1:9)"]);
    check_told("quantile(0.5, mix)", &[], &["PromQL info: ignored histogram in quantile aggregation (1:15)"]);
    check_told("bottomk(0, mix)", &[], &[]);
    check_told("count(mix)", &[], &[]);
    let types = "PromQL info: incompatible sample types encountered for binary operator \"+\": histogram + float (1:5)";
    check_told("abs(h + 1)", &[], &[types]);
    check_told("abs(h + on (i) f)", &[], &[types]);
    check_told("abs(h + on (i) fill (1) h)", &[], &[]);
    check_told(
        "f > on (i) mix",
        &[],
        &["PromQL info: incompatible sample types encountered for binary operator \">\": float > histogram (1:1)"],
    );
    let layouts = "PromQL warning: incompatible bucket layout encountered for binary operator - (1:1)";
    check_told("h - on (i) c", &[layouts], &[]);
    check_told("abs(h) or floor(mix) or sgn(f)", &[], &[]);
}

/// The series of an answer: how many floats and histograms each has.
fn kinds(query: &str) -> Vec<(usize, usize)> {
    let answer = ask(query, &QueryOptions::default()).expect(query);
    let Value::Matrix(series) = answer.value else { panic!("a range query yields a matrix") };
    series.iter().map(|one| (one.samples.values.len(), one.samples.histograms.len())).collect()
}

#[test]
fn steps_of_each_kind() {
    assert_eq!(kinds("mix"), [(31, 30)]);
    assert_eq!(kinds("sum(mix)"), [(31, 30)]);
    assert_eq!(kinds("sum({__name__=~\"mix|f\"})"), [(31, 0)]);
    assert_eq!(kinds("avg({__name__=~\"mix|c\"})"), [], "a float beside custom buckets, exponential ones beside them");
    assert_eq!(kinds("count(mix)"), [(61, 0)]);
    assert_eq!(kinds("mix * 2"), [(31, 30)]);
    assert_eq!(kinds("mix / on (i) f"), [(31, 30)]);
    assert_eq!(kinds("mix == on (i) mix"), [(31, 30)]);
    assert_eq!(kinds("mix == bool on (i) mix"), [(61, 0)]);
    assert_eq!(kinds("mix and on (i) f"), [(31, 30)]);
    assert_eq!(kinds("mix unless on (i) (mix > 0)"), [(0, 30)]);
    assert_eq!(kinds("histogram_count(mix)"), [(30, 0)]);
    assert_eq!(kinds("limitk(1, mix)"), [(31, 30)]);
    assert_eq!(kinds("topk(1, mix)"), [(31, 0)]);
    assert_eq!(kinds("sort(mix)"), [(31, 0)]);
    assert_eq!(kinds("sort_by_label(mix, \"i\")"), [(31, 30)]);
    assert_eq!(kinds("label_replace(mix, \"j\", \"1\", \"\", \"\")"), [(31, 30)]);
    assert_eq!(kinds("mix + on (i) fill_right (1) (f > 1)"), [(31, 0)]);
    assert_eq!(kinds("count_values(\"v\", mix)"), [(31, 0), (30, 0)]);
}

#[test]
fn duplicates_are_found_among_histograms() {
    for query in ["f + on () h", "h * on () h", "f * on () group_left h"] {
        let error = ask(query, &QueryOptions::default()).expect_err(query);
        assert!(error.to_string().contains("duplicate series"), "{query}: {error}");
    }
}

#[test]
fn histograms_in_the_making_are_accounted_for() {
    let peak = |query: &str| ask(query, &QueryOptions::default()).expect(query).cost.bytes_peak;
    // 61 sums of 80 compensated buckets against 61 numbers.
    assert!(peak("sum(h)") > 61 * 80 * 16, "{}", peak("sum(h)"));
    assert!(peak("sum(f)") < 10_000, "{}", peak("sum(f)"));
    for query in ["sum(h)", "avg(h)", "sum by (i) (h)", "h + on (i) h", "h or f"] {
        let error = ask(query, &QueryOptions { bytes_max: 40_000, ..QueryOptions::default() }).expect_err(query);
        assert!(matches!(error, QueryError::Limit { .. }), "{query}: {error}");
    }
}
