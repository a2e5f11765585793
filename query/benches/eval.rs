//! How fast queries are answered over a store that costs nothing: `cargo bench -p query`.
//!
//! 1000 counters of 360 samples (an hour at 10 s) and an hour's range query of 61 steps, unless the line says otherwise.
//! Prints the median of some runs, and what one sample, or one value of the result, takes.

#![expect(clippy::print_stdout, reason = "a benchmark tells on standard output")]
#![expect(clippy::cast_precision_loss, reason = "measurements need no 53 bits")]

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{
    Exemplar, Labels, Matcher, MetricMetadata, ReadCost, Samples, SeriesSet, SeriesSource, SourceError, TimeRange,
};
use query::{CancelToken, QueryOptions, QueryTime, Request, evaluate, parse};

const SERIES: usize = 1000;
const SAMPLES: i64 = 360;
const RUNS: usize = 15;

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

    fn series(&self, _: &[Matcher], _: TimeRange, _: usize) -> Result<Vec<Labels>, SourceError> {
        Ok(Vec::new())
    }

    fn label_names(&self, _: &[Matcher], _: TimeRange) -> Result<Vec<String>, SourceError> {
        Ok(Vec::new())
    }

    fn label_values(&self, _: &str, _: &[Matcher], _: TimeRange) -> Result<Vec<String>, SourceError> {
        Ok(Vec::new())
    }

    fn exemplars(&self, _: &[Matcher], _: TimeRange) -> Result<Vec<(Labels, Vec<Exemplar>)>, SourceError> {
        Ok(Vec::new())
    }

    fn metadata(&self, _: Option<&str>) -> Result<Vec<(String, MetricMetadata)>, SourceError> {
        Ok(Vec::new())
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
        Ok(ReadCost { chunks: 1, bytes: 0, samples: (after - first) as u64 })
    }
}

fn store() -> Columns {
    let series = (0..SERIES).flat_map(|at| {
        ["requests_total", "errors_total"].map(|name| {
            let (pod, zone) = (format!("pod-{at}"), format!("z{}", at % 10));
            let pairs = [("__name__", name), ("pod", &pod), ("zone", &zone), ("job", "api")];
            let mut samples = Samples::default();
            for n in 0..SAMPLES {
                // A reset now and then.
                let since = (n + i64::try_from(at).unwrap_or(0)) % 170;
                samples.push(n * 10_000, since as f64 * 3.0);
            }
            (Labels::from_pairs(pairs).expect("valid labels"), samples)
        })
    });
    let mut series: Vec<_> = series.collect();
    series.sort_by(|(a, _), (b, _)| a.cmp(b));
    Columns(Arc::new(series))
}

fn median(mut run: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let started = Instant::now();
            run();
            started.elapsed()
        })
        .collect();
    times.sort();
    times[RUNS / 2]
}

fn main() {
    let long = "sum by (job, zone) (rate(requests_total{env=~\"prod|stage\", code!=\"500\"}[5m] offset 1h)) \
                / on (job) group_left (team) (avg without (pod) (topk(5, up)) > bool 0.5)";
    let time = median(|| {
        for _ in 0..100 {
            std::hint::black_box(parse(std::hint::black_box(long)).expect("a query"));
        }
    });
    println!("{:<52} {:>9.1} us", "parse a query of 160 bytes", time.as_secs_f64() * 1e4);

    let (store, options, cancel) = (store(), QueryOptions::default(), CancelToken::new());
    for query in [
        "requests_total",
        "rate(requests_total[5m])",
        "sum by (zone) (rate(requests_total[5m]))",
        "sum by (zone) (rate(requests_total[1h]))",
        "max_over_time(requests_total[10m])",
        "avg_over_time(requests_total[10m])",
        "quantile by (zone) (0.9, requests_total)",
        "topk(5, rate(requests_total[5m]))",
        "errors_total / requests_total",
        "errors_total / on (pod) group_left (zone) requests_total",
        "requests_total and errors_total > 100",
        "max_over_time(rate(requests_total[5m])[10m:1m])",
    ] {
        let time = QueryTime::Range { start_ms: 0, end_ms: 3_600_000, step_ms: 60_000 };
        let request = Request {
            query,
            time,
            options: &options,
            lookback_ms: None,
            timeout_ms: None,
            cancel: &cancel,
            explain: false,
        };
        let mut cost = query::Cost::default();
        let time = median(|| cost = evaluate(&store, &request).expect("an answer").cost);
        println!(
            "{query:<58} {:>8.2} ms {:>7.1} ns/sample {:>8} KiB peak",
            time.as_secs_f64() * 1e3,
            time.as_secs_f64() * 1e9 / cost.read.samples as f64,
            cost.bytes_peak / 1024
        );
    }
}
