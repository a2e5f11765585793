//! How fast queries are answered over a store that costs nothing: `cargo bench -p query`.
//!
//! 1000 counters, 1000 gauges, 100 classic histograms of ten buckets and 100 native ones, of 360 samples each (an hour at
//! 10 s), and an hour's range query of 61 steps. Prints, in groups, the median of some runs with one thread and with all,
//! and what one sample takes with one. A line has half a second for its runs.

#![expect(clippy::print_stdout, reason = "a benchmark tells on standard output")]
#![expect(clippy::cast_precision_loss, reason = "measurements need no 53 bits")]

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::histogram::Bucket;
use model::{
    Histogram, HistogramSample, Labels, Matcher, ReadCost, Samples, SeriesSet, SeriesSource, SourceError, TimeRange,
};
use query::{CancelToken, Cost, QueryOptions, QueryTime, Request, evaluate, parse};

const SERIES: i64 = 1000;
const SAMPLES: i64 = 360;
const HISTOGRAMS: i64 = 100;
const BUCKETS: i64 = 10;
/// Most runs of one line, and how long they may take together.
const RUNS: usize = 15;
const TIME_MAX: Duration = Duration::from_millis(500);

/// Queries by what they are mostly about.
const GROUPS: [(&str, &[&str]); 6] = [
    (
        "ranges",
        &[
            "requests_total",
            "rate(requests_total[5m])",
            "increase(requests_total[1h])",
            "irate(requests_total[1m])",
            "rate(requests_total[5m] smoothed)",
            "increase(requests_total[5m] anchored)",
            "avg_over_time(load[10m])",
            "max_over_time(load[10m])",
            "stddev_over_time(load[10m])",
            "quantile_over_time(0.9, load[10m])",
            "deriv(load[10m])",
        ],
    ),
    (
        "aggregation",
        &[
            "sum(load)",
            "sum by (zone) (rate(requests_total[5m]))",
            "avg by (zone) (load)",
            "stddev by (zone) (load)",
            "quantile by (zone) (0.9, load)",
            "topk(5, load)",
            "count_values(\"v\", round(load))",
        ],
    ),
    (
        "joins",
        &[
            "load / requests_total",
            "load > requests_total",
            "load * on (pod) group_left (zone) requests_total",
            "load + on (pod) fill (0) requests_total",
            "load and requests_total > 100",
            "load or requests_total",
            "load unless requests_total > 100",
        ],
    ),
    (
        "subqueries",
        &[
            "max_over_time(rate(requests_total[5m])[10m:1m])",
            "avg_over_time(sum(load)[10m:10s])",
            "sum_over_time(max_over_time(load[1m])[30m:5m])",
        ],
    ),
    (
        "classic histograms",
        &[
            "histogram_quantile(0.9, rate(latency_bucket[5m]))",
            "histogram_quantile(0.9, sum by (le) (rate(latency_bucket[5m])))",
            "histogram_fraction(0, 0.5, rate(latency_bucket[5m]))",
        ],
    ),
    (
        "native histograms",
        &[
            "native",
            "histogram_quantile(0.9, rate(native[5m]))",
            "histogram_quantile(0.9, sum(rate(native[5m])))",
            "histogram_count(rate(native[5m]))",
            "sum_over_time(native[5m])",
            "histogram_fraction(0, 0.5, rate(native[5m]))",
        ],
    ),
];

/// Series held as columns; reading one copies the samples in range.
struct Columns(Arc<Vec<(Labels, Samples)>>);

impl fmt::Debug for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} series", self.0.len())
    }
}

struct Selected {
    all: Arc<Vec<(Labels, Samples)>>,
    picked: Vec<usize>,
    range: TimeRange,
}

impl fmt::Debug for Selected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} series", self.picked.len())
    }
}

impl SeriesSource for Columns {
    fn select(&self, matchers: &[Matcher], range: TimeRange, _: usize) -> Result<Box<dyn SeriesSet>, SourceError> {
        let fits = |labels: &Labels| matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or("")));
        let picked = (0..self.0.len()).filter(|&at| fits(&self.0[at].0)).collect();
        Ok(Box::new(Selected { all: self.0.clone(), picked, range }))
    }
}

impl SeriesSet for Selected {
    fn len(&self) -> usize {
        self.picked.len()
    }

    fn labels(&self, at: usize) -> &Labels {
        &self.all[self.picked[at]].0
    }

    fn read(&self, at: usize, into: &mut Samples) -> Result<ReadCost, SourceError> {
        let from = &self.all[self.picked[at]].1;
        let first = from.timestamps_ms.partition_point(|&time| time < self.range.start.0);
        let after = from.timestamps_ms.partition_point(|&time| time <= self.range.end.0);
        into.clear();
        into.timestamps_ms.extend_from_slice(&from.timestamps_ms[first..after]);
        into.values.extend_from_slice(&from.values[first..after]);
        let native = from.histograms.iter().filter(|one| self.range.contains(one.timestamp_ms));
        into.histograms.extend(native.cloned());
        Ok(ReadCost { chunks: 1, bytes: 0, samples: into.len() as u64, ..ReadCost::default() })
    }
}

fn store() -> Columns {
    let mut series = Vec::new();
    let mut add = |name: &str, at: i64, le: &str, samples: Samples| {
        let (pod, zone) = (format!("pod-{at}"), format!("z{}", at % 10));
        let pairs = [("__name__", name), ("pod", &pod), ("zone", &zone), ("job", "api"), ("le", le)];
        series.push((Labels::from_pairs(pairs).expect("valid labels"), samples));
    };
    for at in 0..SERIES {
        // A reset now and then.
        add("requests_total", at, "", floats(|n| ((n + at) % 170) as f64 * 3.0));
        add("load", at, "", floats(|n| ((n * 7919 + at * 31) % 1009) as f64 / 8.0));
    }
    for at in 0..HISTOGRAMS {
        for bucket in 1..=BUCKETS {
            let le = if bucket == BUCKETS { "+Inf".to_owned() } else { (bucket as f64 / 10.0).to_string() };
            add("latency_bucket", at, &le, floats(|n| (n * bucket) as f64));
        }
        let histograms = (0..SAMPLES).map(|n| HistogramSample {
            timestamp_ms: n * 10_000,
            start_ms: 0,
            histogram: Arc::new(native(n as f64)),
        });
        add("native", at, "", Samples { histograms: histograms.collect(), ..Samples::default() });
    }
    series.sort_by(|(a, _), (b, _)| a.cmp(b));
    Columns(Arc::new(series))
}

fn floats(value: impl Fn(i64) -> f64) -> Samples {
    let mut samples = Samples::default();
    (0..SAMPLES).for_each(|n| samples.push(n * 10_000, value(n)));
    samples
}

/// A histogram of forty buckets after `n` rounds of observations.
fn native(n: f64) -> Histogram {
    let positive: Vec<Bucket> =
        (-20..20).map(|index| Bucket { index, count: n * f64::from(21 - index.abs()) }).collect();
    let count = positive.iter().map(|bucket| bucket.count).sum();
    Histogram { schema: 3, count, sum: count * 1.1, positive, ..Histogram::default() }
}

fn median(mut run: impl FnMut()) -> Duration {
    let begun = Instant::now();
    let mut times = Vec::with_capacity(RUNS);
    while times.len() < RUNS && (times.is_empty() || begun.elapsed() < TIME_MAX) {
        let started = Instant::now();
        run();
        times.push(started.elapsed());
    }
    times.sort();
    times[times.len() / 2]
}

fn main() {
    println!("-- parse");
    let long = "sum by (job, zone) (rate(requests_total{env=~\"prod|stage\", code!=\"500\"}[5m] offset 1h)) \
                / on (job) group_left (team) (avg without (pod) (topk(5, up)) > bool 0.5)";
    for (what, query) in [("a selector", "up{job=\"api\"}"), ("a rate", "sum(rate(x[5m]))"), ("160 bytes", long)] {
        let time = median(|| {
            for _ in 0..100 {
                std::hint::black_box(parse(std::hint::black_box(query)).expect("a query"));
            }
        });
        println!("{what:<66} {:>9.2} us", time.as_secs_f64() * 1e4);
    }

    let store = store();
    let many = QueryOptions::default();
    let one = QueryOptions { threads_max: 1, ..QueryOptions::default() };
    for (group, queries) in GROUPS {
        println!("-- {group}");
        for query in queries {
            let (single, cost) = measure(&store, query, &one);
            let (parallel, _) = measure(&store, query, &many);
            println!(
                "{query:<66} {:>8.2} ms {:>8.2} ms {:>7.1} ns/sample {:>8} KiB peak",
                single.as_secs_f64() * 1e3,
                parallel.as_secs_f64() * 1e3,
                single.as_secs_f64() * 1e9 / cost.read.samples as f64,
                cost.bytes_peak / 1024
            );
        }
    }
}

/// How long a query takes, and what it uses.
fn measure(store: &Columns, query: &str, options: &QueryOptions) -> (Duration, Cost) {
    let cancel = CancelToken::new();
    let time = QueryTime::Range { start_ms: 0, end_ms: 3_600_000, step_ms: 60_000 };
    let request =
        Request { query, time, options, lookback_ms: None, timeout_ms: None, cancel: &cancel, explain: false };
    let mut cost = Cost::default();
    let time = median(|| cost = evaluate(store, &request).expect("an answer").cost);
    (time, cost)
}
