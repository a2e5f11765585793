//! Queries on several threads: the answer, its annotations, its errors and its end are those of one thread.

use std::sync::Arc;

use model::histogram::Bucket;
use model::{
    FullSample, Histogram, Labels, Matcher, ReadCost, SampleValue, Samples, SeriesSet, SeriesSource, SourceError,
    TimeRange,
};
use query::{Answer, CancelToken, QueryError, QueryOptions, QueryTime, Resources};
use storage::memory::MemoryStore;

use crate::watched::{Watched, ask, ending};

/// So many that a selector is worth threads.
const SERIES: usize = 300;
const HOUR: QueryTime = QueryTime::Range { start_ms: 600_000, end_ms: 4_200_000, step_ms: 60_000 };
const INSTANT: QueryTime = QueryTime::Instant { time_ms: 3_600_000 };

fn histogram(count: f64) -> SampleValue {
    let positive = vec![Bucket { index: 0, count }, Bucket { index: 3, count: 1.0 }];
    SampleValue::Histogram(Arc::new(Histogram { count: count + 1.0, sum: count, positive, ..Histogram::default() }))
}

/// Counters `c_total`, gauges `g` of very different sizes with gaps, histograms `h`, and metrics `odd_…`, each in turn
/// of both kinds.
fn store() -> MemoryStore {
    let store = MemoryStore::new();
    let mut random = fastrand::Rng::with_seed(3);
    for (at, step) in (0..SERIES).zip((0..7).cycle()) {
        let add = |name: &str, is_kept: &dyn Fn(i32) -> bool, value: &mut dyn FnMut(i32) -> SampleValue| {
            let (i, job) = (at.to_string(), (at % 5).to_string());
            let labels = [("__name__", name), ("i", &i), ("job", &job)];
            let sample = |minute: i32| FullSample {
                timestamp_ms: i64::from(minute) * 60_000,
                start_ms: 0,
                value: value(minute),
            };
            let samples: Vec<FullSample> = (0..70).filter(|&minute| is_kept(minute)).map(sample).collect();
            store.insert_full(&Labels::from_pairs(labels).expect("valid labels"), &samples);
        };
        let always = |_| true;
        add("c_total", &always, &mut |minute| SampleValue::Float(f64::from(minute * step % 100)));
        let gaps = |minute: i32| (minute / 10 + step) % 4 != 0;
        let mut size = || SampleValue::Float((random.f64() - 0.5) * 10f64.powi(random.i32(-8..9)));
        add("g", &gaps, &mut |_| size());
        add("h", &|minute| minute % 6 == 0, &mut |minute| histogram(f64::from(minute % 25)));
        add(&format!("odd_{at}"), &|minute| minute % 5 == 0, &mut |minute| match minute % 2 {
            0 => SampleValue::Float(1.0),
            _ => histogram(2.0),
        });
    }
    store
}

/// Queries whose selectors are pipelines of all kinds, alone and within others.
const QUERIES: &[&str] = &[
    "g",
    "-g",
    "g * 2 > 1",
    "2 ^ -(g)",
    "g offset 3m",
    "g @ 2000",
    "g @ end() * 2",
    "g smoothed",
    "abs(g)",
    "clamp(g, -1, 1)",
    "round(g, 0.1)",
    "timestamp(g)",
    "hour(c_total)",
    "h",
    "h * 2",
    "histogram_count(h)",
    "{job=\"1\"}",
    "rate(c_total[5m])",
    "rate(c_total)",
    "increase(c_total[7m] anchored)",
    "rate(g[5m])",
    "rate(h[20m])",
    "irate({__name__=~\"odd_.*\"}[20m])",
    "sum_over_time({__name__=~\"odd_.*\"}[20m])",
    "stddev_over_time(g[30m])",
    "quantile_over_time(7, g[30m])",
    "predict_linear(g[20m], 600)",
    "max_over_time(rate(c_total[5m])[10m:2m])",
    "absent_over_time(g[5m])",
    "sum(g)",
    "avg by (job) (g)",
    "sum by (job) (rate(g[5m]))",
    "sum(rate({__name__=~\"odd_.*\"}[20m]))",
    "sum({__name__=~\"odd_.*\"})",
    "avg by (job) ({__name__=~\"odd_.*\"} * 2)",
    "min({__name__=~\"odd_.*\"} atan2 2)",
    "histogram_quantile(0.9, sum by (job) (rate(h[20m])))",
    "topk by (job) (2, g)",
    "quantile(0.5, g)",
    "count_values(\"v\", c_total)",
    "limitk(3, g)",
    "g - on (i, job) c_total",
    "g / on (job) group_left () sum by (job) (g)",
    "g > 0 and g < 5",
    "rate(g[5m]) > 0 or -rate(g[5m])",
    "c_total unless on (i) (g > 0)",
    "label_replace(g, \"x\", \"$1\", \"i\", \"(.).*\")",
    "sort(g)",
    "scalar(sum(g)) * g",
    "info(g)",
    // And such that fail.
    "{__name__=~\"g|c_total\"} * 2",
    "rate({__name__=~\"g|c_total\"}[5m])",
    "g + on (job) c_total",
];

fn options(threads: usize, bytes_max: usize) -> QueryOptions {
    let resources = Arc::new(Resources::new(1 << 30, 7));
    QueryOptions { threads_max: threads, bytes_max, resources, ..QueryOptions::default() }
}

fn shown(result: Result<Answer, QueryError>) -> String {
    match result {
        Ok(Answer { value, warnings, infos, .. }) => format!("{warnings:#?}\n{infos:#?}\n{value:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn answers_are_those_of_one_thread() {
    let store = store();
    for time in [HOUR, INSTANT] {
        for query in QUERIES {
            let answer = |threads, bytes_max| {
                let (options, token) = (options(threads, bytes_max), CancelToken::new());
                let answer = shown(ask(&store, query, time, &options, &token));
                assert_eq!(options.resources.bytes(), 0, "{query}: all memory is given back");
                answer
            };
            let one = answer(1, 1 << 30);
            for threads in [2, 8] {
                let several = answer(threads, 1 << 30);
                assert!(one == several, "{query} with {threads} threads:\n{several:.3000}\nwith one:\n{one:.3000}");
            }
        }
    }
}

#[test]
fn what_threads_gather_ahead_is_not_more_than_fits() {
    let store = store();
    for query in ["sum(g)", "sum by (job) (rate(c_total[5m]))", "sum(rate(h[20m]))", "count(h)", "g * 2"] {
        let answer = |threads, bytes_max| {
            let (options, token) = (options(threads, bytes_max), CancelToken::new());
            let answer = ask(&store, query, HOUR, &options, &token);
            let peak = answer.as_ref().map_or(0, |answer| answer.cost.bytes_peak);
            assert!(peak <= bytes_max as u64, "{query}: {peak} of {bytes_max} bytes");
            (shown(answer), peak)
        };
        let (one, needed) = answer(1, 1 << 30);
        let needed = usize::try_from(needed).expect("a small number");
        assert!(answer(1, needed - 1).0.contains(&format!("more than {} bytes of memory", needed - 1)), "{query}");
        // And what eight threads decode at a time.
        let bytes_max = needed + needed / 2 + (64 << 10);
        assert!(answer(8, bytes_max).0 == one, "{query} with {bytes_max} bytes");
    }
}

#[test]
fn pipelines_run_on_several_threads() {
    for query in ["g", "rate(c_total[5m])", "sum(abs(g) * 2)", "max_over_time(rate(c_total[5m])[10m:2m])"] {
        for threads in [2, 3] {
            // No read ends before that many threads have begun one.
            let source = Watched::new(store(), threads, |_| Ok(()));
            let token = CancelToken::new();
            let answer = ask(&source, query, HOUR, &options(threads, 1 << 30), &token).expect(query);
            assert_eq!((source.threads(), answer.cost.series), (threads, SERIES as u64), "{query}");
        }
    }
    let source = Watched::new(store(), 1, |_| Ok(()));
    let few = "sum({__name__=\"g\", i=~\"1.\"})";
    ask(&source, few, HOUR, &options(8, 1 << 30), &CancelToken::new()).expect("ten series");
    assert_eq!(source.threads(), 1, "little work is done by the caller");
    let none_free = QueryOptions { resources: Arc::new(Resources::new(1 << 30, 0)), ..options(8, 1 << 30) };
    ask(&source, "g", HOUR, &none_free, &CancelToken::new()).expect("all series");
    assert_eq!(source.threads(), 1, "without others the caller does all");
}

fn damaged(at: usize) -> SourceError {
    SourceError::Damaged { detail: format!("series {at}") }
}

#[test]
fn a_read_that_fails_fails_the_query() {
    for threads in [1, 2, 8] {
        for bad in (0..SERIES).step_by(7).chain([SERIES - 1]) {
            // All reads from there on fail; told is the first.
            let source = Watched::new(store_of_one(), 1, move |at| if at >= bad { Err(damaged(at)) } else { Ok(()) });
            let ask = move || {
                let options = options(threads, 1 << 30);
                let result = ask(&source, "sum(rate(g[5m]))", HOUR, &options, &CancelToken::new());
                (shown(result), options.resources.bytes())
            };
            let ended = ending(ask).expect("no panic");
            assert_eq!(ended, (format!("stored data is damaged: series {bad}"), 0), "{threads} threads");
        }
    }
}

#[test]
fn a_read_that_panics_ends_the_query() {
    for threads in [1, 2, 8] {
        for bad in [0, 1, 80, 150, 299] {
            let on_read = move |at| {
                assert!(at != bad, "series {at}");
                Ok(())
            };
            let source = Watched::new(store_of_one(), threads.min(2), on_read);
            let options = options(threads, 1 << 30);
            let resources = options.resources.clone();
            let ask = move || ask(&source, "sum(g)", HOUR, &options, &CancelToken::new()).map(drop);
            let panic = ending(ask).expect_err("a panic");
            assert_eq!(panic.downcast_ref::<String>().map(String::as_str), Some(&*format!("series {bad}")));
            assert_eq!(resources.bytes(), 0, "all memory is given back");
        }
    }
}

/// The gauges alone.
fn store_of_one() -> MemoryStore {
    let store = MemoryStore::new();
    for at in 0..SERIES {
        let labels = Labels::from_pairs([("__name__", "g"), ("i", &format!("{at:03}"))]).expect("valid labels");
        let samples: Vec<(i64, f64)> = (0..20).map(|n| (n * 180_000, 1.0)).collect();
        store.insert(&labels, &samples);
    }
    store
}

/// More series than anybody reads, each of ten samples, made up as they are read.
#[derive(Debug)]
struct Endless(Labels);

impl SeriesSet for Endless {
    fn len(&self) -> usize {
        2_000_000
    }

    fn labels(&self, _: usize) -> &Labels {
        &self.0
    }

    fn read(&self, _: usize, into: &mut Samples) -> Result<ReadCost, SourceError> {
        into.clear();
        (0..10).for_each(|n| into.push(n * 60_000 + 600_000, 1.0));
        Ok(ReadCost { chunks: 1, bytes: 10, samples: 10, ..ReadCost::default() })
    }
}

impl SeriesSource for Endless {
    fn select(&self, _: &[Matcher], _: TimeRange, _: usize) -> Result<Box<dyn SeriesSet>, SourceError> {
        Ok(Box::new(Self(self.0.clone())))
    }
}

fn endless() -> Endless {
    Endless(Labels::from_pairs([("__name__", "g")]).expect("valid labels"))
}

#[test]
fn limits_and_cancel_end_a_query_on_all_threads() {
    for threads in [1, 2, 8] {
        let token = Arc::new(CancelToken::new());
        let canceled = token.clone();
        let source = Watched::new(endless(), threads.min(2), move |at| {
            if at == 2_000 {
                canceled.cancel();
            }
            Ok(())
        });
        let result = ask(&source, "sum(g)", INSTANT, &options(threads, 1 << 30), &token).map(drop);
        assert!(matches!(result, Err(QueryError::Canceled)), "{result:?}");
        let reads = source.take_reads()["g"];
        assert!(reads < 10_000, "{reads} series were read");

        let source = Watched::new(endless(), threads.min(2), |_| Ok(()));
        let options = QueryOptions { samples_max: 50_000, ..options(threads, 1 << 30) };
        let result = ask(&source, "sum(g)", INSTANT, &options, &CancelToken::new()).map(drop);
        assert!(matches!(result, Err(QueryError::Limit { what: "samples", limit: 50_000 })), "{result:?}");
        let reads = source.take_reads()["g"];
        assert!(reads < 6_000, "{reads} series were read");

        let source = Watched::new(endless(), threads.min(2), |_| Ok(()));
        let options = QueryOptions { timeout_ms: 50, samples_max: u64::MAX, ..options };
        let result = ask(&source, "sum(g)", INSTANT, &options, &CancelToken::new()).map(drop);
        assert!(matches!(result, Err(QueryError::Timeout { limit_ms: 50 })), "{result:?}");
    }
}
