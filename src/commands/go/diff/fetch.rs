//! What the processes of releases showed: range queries over a window, each value given to the life of the process that it is of.

use std::collections::{BTreeMap, BTreeSet};

use model::labels::Quoted;

use super::releases::ReleaseKey;
use crate::client::answer::{LabelMap, Series};
use crate::client::{Client, ClientError, Moment, Value};
use crate::render::unit::{BYTES, PLAIN, SECONDS, Unit};

/// Steps of a window at most; more would tell no more.
const STEPS_MAX: i64 = 120;
/// Shortest step, in milliseconds.
const STEP_MIN_MS: i64 = 15_000;
/// A process is not compared while it starts, nor while rates look back to the one before it.
pub(super) const SETTLES_MS: i64 = 120_000;
/// What rates look back: no farther than processes settle, so that none is of the process before.
const LOOKBACK: &str = "[2m]";

const PER_SECOND: Unit = Unit { per_second: true, ..PLAIN };
const BYTES_PER_SECOND: Unit = Unit { per_second: true, ..BYTES };

/// Something that releases are compared by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Metric {
    /// What it is called, in the table and in JSON.
    pub(super) name: &'static str,
    /// The query: `{}` stands for the matchers, `[r]` for what rates look back, `REQUESTS` for the counter of requests.
    query: &'static str,
    pub(super) unit: Unit,
    /// What is told of B where it has more, and where it has less: `%` stands for by how much.
    more: &'static str,
    less: &'static str,
    /// Least difference that counts.
    pub(super) least: f64,
    /// The largest of a process counts, not the median.
    pub(super) is_worst: bool,
}

impl Metric {
    /// What is told of B where this was `a` and became `b`.
    pub(super) fn words(&self, a: f64, b: f64) -> &'static str {
        match b {
            // Grades begin at a hint, 0; below is none.
            _ if self.is_worst && b < 0.0 => "leaks no more",
            0.0 if self.is_worst && b > a => "has hints of a leak",
            _ if b > a => self.more,
            _ => self.less,
        }
    }
}

const fn metric(name: &'static str, query: &'static str, unit: Unit, least: f64, words: [&'static str; 2]) -> Metric {
    Metric { name, query, unit, more: words[0], less: words[1], least, is_worst: false }
}

/// What is compared, in the order of the table.
pub(super) const METRICS: [Metric; 14] = [
    metric(
        "goroutines",
        "go_goroutines{} or go_sched_goroutines_goroutines{}",
        PLAIN,
        3.0,
        ["has % more goroutines", "has % fewer goroutines"],
    ),
    metric(
        "heap live",
        "go_gc_heap_live_bytes{}",
        BYTES,
        262_144.0,
        ["keeps % more heap alive", "keeps % less heap alive"],
    ),
    metric(
        "allocated/s",
        "rate(go_gc_heap_allocs_bytes_total{}[r]) or rate(go_memstats_alloc_bytes_total{}[r])",
        BYTES_PER_SECOND,
        1024.0,
        ["allocates % more", "allocates % less"],
    ),
    metric(
        "GC CPU %",
        "round(100 * rate(go_cpu_classes_gc_total_cpu_seconds_total{}[r]) / (rate(go_cpu_classes_total_cpu_seconds_total{}[r]) > 0), 0.01)",
        PLAIN,
        0.1,
        ["spends % more on collection", "spends % less on collection"],
    ),
    metric(
        "GC pause p99",
        "histogram_quantile(0.99, rate(go_sched_pauses_total_gc_seconds{}[r]))",
        SECONDS,
        50e-6,
        ["pauses % longer for collection", "pauses % shorter for collection"],
    ),
    metric(
        "sched latency p99",
        "histogram_quantile(0.99, rate(go_sched_latencies_seconds{}[r]))",
        SECONDS,
        20e-6,
        ["waits % longer for processors", "waits % shorter for processors"],
    ),
    metric(
        "mutex waiters",
        "rate(go_sync_mutex_wait_total_seconds_total{}[r])",
        PLAIN,
        0.05,
        ["waits % more for mutexes", "waits % less for mutexes"],
    ),
    metric("CPU cores", "rate(process_cpu_seconds_total{}[r])", PLAIN, 0.01, ["takes % more CPU", "takes % less CPU"]),
    metric(
        "resident",
        "process_resident_memory_bytes{}",
        BYTES,
        1_048_576.0,
        ["takes % more memory", "takes % less memory"],
    ),
    metric("threads", "process_threads{} or go_threads{}", PLAIN, 2.0, ["has % more threads", "has % fewer threads"]),
    Metric {
        is_worst: true,
        ..metric("leak grade", "go_leak_grade{}", PLAIN, 1.0, ["leaks by a higher grade", "leaks by a lower grade"])
    },
    metric(
        "requests/s",
        "sum by (job, instance, env) (rate(REQUESTS{}[r]))",
        PER_SECOND,
        0.1,
        ["serves % more requests", "serves % fewer requests"],
    ),
    metric(
        "CPU/request",
        "rate(process_cpu_seconds_total{}[r]) / on (job, instance, env) (sum by (job, instance, env) (rate(REQUESTS{}[r])) > 0)",
        SECONDS,
        1e-6,
        ["takes % more CPU a request", "takes % less CPU a request"],
    ),
    metric(
        "allocated/request",
        "rate(go_gc_heap_allocs_bytes_total{}[r]) / on (job, instance, env) (sum by (job, instance, env) (rate(REQUESTS{}[r])) > 0)",
        BYTES,
        64.0,
        ["allocates % more a request", "allocates % less a request"],
    ),
];

/// Counters of requests that programs have, the first that is there counts.
const REQUESTS: [&str; 3] =
    ["http_requests_total", "http_server_request_duration_seconds_count", "grpc_server_handled_total"];

/// Numbers by site.
#[derive(Debug, Clone, Copy)]
pub(super) struct SiteMetric {
    pub(super) name: &'static str,
    query: &'static str,
    pub(super) unit: Unit,
    pub(super) least: f64,
}

pub(super) const SITE_METRICS: [SiteMetric; 3] = [
    SiteMetric {
        name: "goroutines",
        query: "sum by (job, instance, env, site, created_by) (go_goroutines_by_site{})",
        unit: PLAIN,
        least: 3.0,
    },
    SiteMetric { name: "heap in use", query: "go_heap_inuse_bytes_by_site{}", unit: BYTES, least: 262_144.0 },
    SiteMetric {
        name: "allocated/s",
        query: "rate(go_heap_allocs_bytes_by_site_total{}[r])",
        unit: BYTES_PER_SECOND,
        least: 16_384.0,
    },
];

/// A site: the function, and who started its goroutines.
pub(super) type SiteKey = (String, String);

/// One life of one process, and what it showed.
#[derive(Debug, Clone, Default)]
pub(super) struct Life {
    pub(super) release: ReleaseKey,
    /// As [`METRICS`].
    pub(super) values: Vec<Vec<f64>>,
    /// As [`SITE_METRICS`].
    pub(super) sites: Vec<BTreeMap<SiteKey, Vec<f64>>>,
}

/// The time looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "names carry units")]
pub(super) struct Window {
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    step_ms: i64,
}

impl Window {
    pub(super) fn ending(end_ms: i64, range_ms: i64) -> Self {
        Self { start_ms: end_ms - range_ms, end_ms, step_ms: (range_ms / STEPS_MAX).max(STEP_MIN_MS) }
    }
}

/// Asks for all of it. `requests` is the counter of requests that was named, if one was.
pub(super) fn lives(
    client: &Client,
    job: &str,
    window: Window,
    requests: Option<&str>,
) -> Result<Vec<Life>, ClientError> {
    let matchers = format!("{{job={}}}", Quoted(job));
    let ask = |query: &str| -> Result<Vec<Series>, ClientError> {
        let Window { start_ms, end_ms, step_ms } = window;
        match client.query(query, Moment::Range { start_ms, end_ms, step_ms })?.value {
            Value::Matrix(series) => Ok(series),
            _ => Ok(Vec::new()),
        }
    };
    let fill = |query: &str, requests: &str| {
        let query = query.replace("{}", &matchers).replace("[r]", LOOKBACK);
        query.replace("REQUESTS", requests)
    };
    let mut table = Lives::of(&ask(&format!("metrickit_go_process_info{matchers}"))?, window);
    let requests = match requests {
        Some(named) => Some(named.to_owned()),
        None => counted(&REQUESTS, |name| Ok(!ask(&format!("count({name}{matchers})"))?.is_empty()))?,
    };
    for (at, metric) in METRICS.iter().enumerate() {
        if metric.query.contains("REQUESTS") && requests.is_none() {
            continue;
        }
        for series in ask(&fill(metric.query, requests.as_deref().unwrap_or_default()))? {
            table.take(&series, |life, value| life.values[at].push(value));
        }
    }
    for (at, metric) in SITE_METRICS.iter().enumerate() {
        for series in ask(&fill(metric.query, ""))? {
            let label = |name: &str| series.labels.get(name).cloned().unwrap_or_default();
            let key = (label("site"), label("created_by"));
            table.take(&series, |life, value| life.sites[at].entry(key.clone()).or_default().push(value));
        }
    }
    Ok(table.lives)
}

/// The first of `names` that is there.
fn counted(
    names: &[&str],
    is_there: impl Fn(&str) -> Result<bool, ClientError>,
) -> Result<Option<String>, ClientError> {
    for name in names {
        if is_there(name)? {
            return Ok(Some((*name).to_owned()));
        }
    }
    Ok(None)
}

type Place = (String, String);

/// Which life is where at which step.
struct Lives {
    lives: Vec<Life>,
    at: BTreeMap<Place, BTreeMap<i64, usize>>,
}

fn place(labels: &LabelMap) -> Place {
    let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
    (label("instance"), label("env"))
}

impl Lives {
    /// Of info series: where two say they are one instance, as when an agent was killed, the one that came last is.
    fn of(infos: &[Series], window: Window) -> Self {
        let mut order: Vec<&Series> = infos.iter().filter(|series| !series.points.is_empty()).collect();
        order.sort_by_key(|series| series.points.first().map(|point| point.timestamp_ms));
        let mut lives = Self { lives: Vec::new(), at: BTreeMap::new() };
        for series in order {
            let first_ms = series.points.first().map_or(0, |point| point.timestamp_ms);
            let starts = first_ms > window.start_ms + window.step_ms;
            let settled_ms = if starts { first_ms + SETTLES_MS } else { first_ms };
            let index = lives.lives.len();
            lives.lives.push(Life {
                release: ReleaseKey::of(&series.labels),
                values: vec![Vec::new(); METRICS.len()],
                sites: vec![BTreeMap::new(); SITE_METRICS.len()],
            });
            let at = lives.at.entry(place(&series.labels)).or_default();
            for point in &series.points {
                at.remove(&point.timestamp_ms);
                if point.timestamp_ms >= settled_ms {
                    at.insert(point.timestamp_ms, index);
                }
            }
        }
        lives
    }

    /// Gives each value of `series` to the life that was there.
    fn take(&mut self, series: &Series, mut give: impl FnMut(&mut Life, f64)) {
        let Some(at) = self.at.get(&place(&series.labels)) else { return };
        for point in &series.points {
            let value = point.number();
            if let Some(life) = at.get(&point.timestamp_ms).and_then(|index| self.lives.get_mut(*index))
                && value.is_finite()
            {
                give(life, value);
            }
        }
    }
}

/// All sites of `lives` by one of [`SITE_METRICS`].
pub(super) fn site_keys(lives: &[Life], metric: usize) -> BTreeSet<SiteKey> {
    lives.iter().flat_map(|life| life.sites[metric].keys().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::series;

    #[test]
    fn values_go_to_the_life_that_was_there() {
        let info = |revision: &str, from: i64, to: i64| {
            let points: Vec<(i64, &str)> = (from..=to).step_by(60).map(|at_s| (at_s, "1")).collect();
            series(&[("instance", "h/0"), ("revision", revision)], &points)
        };
        let window = Window { start_ms: 0, end_ms: 600_000, step_ms: 60_000 };
        // The first is seen for some minutes after its end.
        let mut lives = Lives::of(&[info("new", 240, 600), info("old", 0, 420)], window);
        let points: Vec<(i64, String)> = (0..=10).map(|at| (at * 60, at.to_string())).collect();
        let points: Vec<(i64, &str)> = points.iter().map(|(at_s, text)| (*at_s, text.as_str())).collect();
        lives.take(&series(&[("instance", "h/0")], &points), |life, value| life.values[0].push(value));
        lives.take(&series(&[("instance", "h/1")], &points), |life, value| life.values[0].push(value));
        let told: Vec<(&str, &[f64])> =
            lives.lives.iter().map(|life| (life.release.revision.as_str(), life.values[0].as_slice())).collect();
        assert_eq!(told, [("old", &[0.0, 1.0, 2.0, 3.0][..]), ("new", &[6.0, 7.0, 8.0, 9.0, 10.0][..])]);
    }

    #[test]
    fn grades_of_leaks_are_told_as_what_they_mean() {
        let grade = METRICS.iter().find(|metric| metric.is_worst).expect("the grade");
        for (a, b, told) in [
            (-1.0, 0.0, "has hints of a leak"),
            (-1.0, 2.0, "leaks by a higher grade"),
            (1.0, 3.0, "leaks by a higher grade"),
            (2.0, 0.0, "leaks by a lower grade"),
            (3.0, -1.0, "leaks no more"),
        ] {
            assert_eq!(grade.words(a, b), told, "{a} before, {b} now");
        }
    }

    #[test]
    fn queries_are_promql() {
        for query in METRICS.iter().map(|metric| metric.query).chain(SITE_METRICS.iter().map(|metric| metric.query)) {
            let query = query.replace("{}", "{job=\"a\"}").replace("[r]", LOOKBACK);
            assert!(query::parse(&query.replace("REQUESTS", "http_requests_total")).is_ok(), "{query}");
        }
        assert_eq!(Window::ending(3_600_000, 3_600_000), Window { start_ms: 0, end_ms: 3_600_000, step_ms: 30_000 });
    }
}
