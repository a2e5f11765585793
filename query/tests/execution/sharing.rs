//! Expressions that occur more than once in a query: read once, told of once, and computed again where memory is short.

use std::sync::Arc;

use model::Labels;
use query::{Answer, CancelToken, QueryError, QueryOptions, QueryTime, Resources};
use storage::memory::MemoryStore;

use crate::watched::{Watched, ask};

const SERIES: usize = 12;
const HOUR: QueryTime = QueryTime::Range { start_ms: 600_000, end_ms: 4_200_000, step_ms: 60_000 };

/// Counters `a`, gauges `x`, and `target_info` of all.
fn store() -> MemoryStore {
    let store = MemoryStore::new();
    for at in 0..SERIES {
        for (name, factor) in [("a", 3.0), ("x", -1.0), ("target_info", 0.0)] {
            let labels = [("__name__", name), ("instance", &at.to_string()), ("job", "j")];
            let samples: Vec<(i64, f64)> =
                (0..80).map(|minute: i32| (i64::from(minute) * 60_000, f64::from(minute) * factor + 1.0)).collect();
            store.insert(&Labels::from_pairs(labels).expect("valid labels"), &samples);
        }
    }
    store
}

fn options(bytes_max: usize) -> QueryOptions {
    let resources = Arc::new(Resources::new(bytes_max, 0));
    QueryOptions { bytes_max, resources, ..QueryOptions::default() }
}

fn answer(query: &str, bytes_max: usize) -> (Result<Answer, QueryError>, Vec<(String, usize)>) {
    let source = Watched::new(store(), 1, |_| Ok(()));
    let options = options(bytes_max);
    let answer = ask(&source, query, HOUR, &options, &CancelToken::new());
    let kept = answer.as_ref().ok().and_then(|answer| answer.memory.as_ref()).map_or(0, query::AnswerMemory::bytes);
    assert_eq!(options.resources.bytes(), kept, "{query}: all other memory is given back");
    let reads = source.take_reads().into_iter().map(|(metric, reads)| (metric, reads / SERIES)).collect();
    (answer, reads)
}

/// Checks how often each metric is read, and that the answer is that of the same query written differently.
#[track_caller]
fn check(query: &str, apart: &str, want: &[(&str, usize)]) {
    let (answered, reads) = answer(query, 1 << 30);
    let reads: Vec<(&str, usize)> = reads.iter().map(|(metric, reads)| (metric.as_str(), *reads)).collect();
    assert_eq!(reads, want, "reads of {query}");
    let answered = answered.expect(query);
    let otherwise = answer(apart, 1 << 30).0.expect(apart);
    assert_eq!(format!("{:?}", answered.value), format!("{:?}", otherwise.value), "{query}");
    assert!(format!("{:?}", answered.value).contains("values: ["), "{query} yields something");
}

#[test]
fn what_is_repeated_is_read_once() {
    // The same selector may be written in many ways, and is not recognized then.
    check("x / on () group_left () sum(x)", "x / on () group_left () sum({__name__=\"x\"})", &[("x", 1)]);
    check("rate(a[5m]) > 0.01 and rate(a[5m]) < 5", "rate(a[5m]) > 0.01 and rate(a[300s]) < 5", &[("a", 1)]);
    check("sum(x) / count(x) + max(x)", "sum(x) / count(x{}) + max({__name__=\"x\"})", &[("x", 1)]);
    check("sum(x) + sum(x) + on () group_right () x", "sum(x) + sum(x{}) + on () group_right () x{}", &[("x", 1)]);
    check(
        "sum(rate(a[5m])) / count(rate(a[5m])) * sum(rate(a[5m]))",
        "sum(rate(a[300s])) / count(rate(a[5m])) * sum(rate(a{}[5m]))",
        &[("a", 1)],
    );
    check("scalar(sum(x)) + sum(x) * 2", "scalar(sum(x{})) + sum(x) * 2", &[("x", 1)]);
    check("info(a) - info(a) + a", "info(a) - info(a{}) + {__name__=\"a\"}", &[("a", 1), ("target_info", 2)]);
}

#[test]
fn what_only_looks_the_same_is_not() {
    // The sample's time and its value; the range of `rate` and the value; other grids.
    check("timestamp(x) - x", "timestamp(x) - x{}", &[("x", 2)]);
    check("timestamp(x) - timestamp(x @ 4000)", "timestamp(x) - timestamp(x{} @ 4000)", &[("x", 2)]);
    check("rate(a) / a", "rate(a) / a{}", &[("a", 2)]);
    check("max_over_time(x[10m:2m]) - x", "max_over_time(x[10m:2m]) - x{}", &[("x", 2)]);
    check(
        "max_over_time(sum(x)[10m:2m]) - min_over_time(sum(x)[20m:2m])",
        "max_over_time(sum(x)[10m:2m]) - min_over_time(sum(x{})[20m:2m])",
        &[("x", 2)],
    );
    // The same grid: the same.
    check(
        "max_over_time(sum(x)[10m:2m]) - min_over_time(sum(x)[10m:2m])",
        "max_over_time(sum(x)[10m:2m]) - min_over_time(sum(x{})[10m:2m])",
        &[("x", 1)],
    );
    check("x @ start() - x @ end()", "x{} @ start() - x @ end()", &[("x", 2)]);
    check("x @ start() - x @ start()", "x{} @ start() - x @ start()", &[("x", 1)]);
    check("(x @ 3000) * time() - x @ 3000", "(x @ 3000) * time() - x{} @ 3000", &[("x", 1)]);
}

#[test]
fn what_does_not_fit_is_computed_again() {
    let peak = |query| answer(query, 1 << 30).0.expect(query).cost.bytes_peak;
    for (query, parts) in [
        ("count(x) / sum(x)", &["count(x)", "sum(x)"][..]),
        ("sum(x) / count(x) + max(x)", &["sum(x)", "count(x)", "max(x)"]),
        ("sum(a) + sum(x) + count(a) + count(x)", &["sum(a)", "sum(x)"]),
    ] {
        let (kept, once) = answer(query, 1 << 30);
        let metrics = once.len();
        assert!(once.iter().all(|(_, reads)| *reads == 1), "{once:?}");
        // Room for the results, not for the series.
        let bytes_max = usize::try_from(parts.iter().map(|part| peak(part)).sum::<u64>()).expect("a small number");
        let (again, reads) = answer(query, bytes_max + (2 << 10));
        let again = again.expect(query);
        assert!(reads.iter().map(|(_, reads)| *reads).sum::<usize>() > metrics, "{query}: {reads:?}");
        let kept = kept.expect(query);
        assert_eq!(format!("{:?}", kept.value), format!("{:?}", again.value), "{query}");
        assert!(again.cost.bytes_peak < kept.cost.bytes_peak, "{query}");
    }
}

#[test]
fn all_kept_results_together_are_bounded() {
    // Ten pairs, all of them asked for again at the end only. Each fits, together they would not.
    let terms = |order: &mut dyn Iterator<Item = i32>| -> String {
        order.map(|at| format!("sum(x offset {at}m)")).collect::<Vec<_>>().join(" + ")
    };
    let wide = |order: &mut dyn Iterator<Item = i32>| terms(order).replace("sum(", "count(");
    let query = format!("{} + {}", terms(&mut (0..10)), wide(&mut (0..10)));
    let one = SERIES * (61 * 8 + 120);
    let (found, reads) = answer(&query, 8 * one);
    let found = found.expect("a query that needs little itself");
    assert!(found.cost.bytes_peak < 5 * one as u64, "{} of {}", found.cost.bytes_peak, 8 * one);
    assert!((11..20).contains(&reads[0].1), "some are kept, some are read again: {reads:?}");
    assert_eq!(answer(&query, 1 << 30).1, [("x".to_owned(), 10)]);
}

#[test]
fn annotations_are_those_of_a_query_that_shares_nothing() {
    for (query, apart) in [
        ("rate(x[5m]) > 1 and rate(x[5m]) < 5", "rate(x[5m]) > 1 and rate(x{}[5m]) < 5"),
        ("quantile(7, x) + quantile(7, x)", "quantile(7, x) + quantile(7, x{})"),
        (
            "sum(rate(x[5m]) + rate(a[5m]))\n/ count(rate(x[5m]))",
            "sum(rate(x[5m]) + rate(a[5m]))\n/ count(rate(x{}[5m]))",
        ),
    ] {
        let told = |query| {
            let Answer { warnings, infos, .. } = answer(query, 1 << 30).0.expect(query);
            (warnings, infos)
        };
        assert_eq!(told(query), told(apart), "{query}");
        assert_ne!(told(query), (vec![], vec![]), "{query}");
    }
}
