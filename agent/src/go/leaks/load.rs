//! How much a program had to do: the usual counters of requests served, of whichever page or push they come with. A program with more
//! to do has more goroutines; one that leaks has more whatever it has to do.
//!
//! Of each process one counter is taken, the first of the list that it has, summed over its series, so that nothing is counted twice. Counters
//! that grow by themselves are none of these: what an exporter counts of its own page, what a client sends.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use model::{LabelsRef, METRIC_NAME};
use parking_lot::Mutex;

use crate::readings::Values;

/// The usual counters, best first: of HTTP by name or as a histogram that counts, of gRPC, of RPC.
const USUAL: [&str; 8] = [
    "http_requests_total",
    "http_server_requests_total",
    "http_server_request_duration_seconds",
    "http_request_duration_seconds",
    "grpc_server_handled_total",
    "grpc_server_started_total",
    "rpc_server_duration_milliseconds",
    "requests_total",
];
/// What ends the name of a counter that a program has of its own: `prometheus_http_requests_total`, `caddy_http_requests_total`.
const OWN: &str = "_http_requests_total";
/// Beginnings and parts of names of what grows without a request to the program.
const NOT: [&str; 2] = ["promhttp_", "client"];
/// Most processes that are followed; of others no load is known.
const PROCESSES_MAX: usize = 1_000;
/// Most series that are summed for one process.
const SERIES_MAX: usize = 2_000;

/// Which counter a metric is, lower is better; nothing where it is none.
fn rank(name: &str) -> Option<usize> {
    if NOT.iter().any(|part| name.contains(part)) {
        return None;
    }
    // Classic histograms count in a series of their own.
    let name = name.strip_suffix("_count").unwrap_or(name);
    USUAL.iter().position(|usual| *usual == name).or_else(|| name.ends_with(OWN).then_some(USUAL.len()))
}

/// One process: by rank the last value of each series.
type Counters = BTreeMap<usize, HashMap<u64, f64>>;

/// The load of processes, by `job` and `instance`. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Loads(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    /// Whether nobody asks.
    is_off: bool,
    processes: HashMap<(String, String), Counters>,
}

impl Loads {
    /// Takes what counts requests of what goes out.
    pub fn observe<'r>(&self, rows: impl Iterator<Item = (LabelsRef<'r>, Values<'r>)>) {
        if self.0.lock().is_off {
            return;
        }
        for (labels, values) in rows {
            let Some(rank) = labels.get(METRIC_NAME).and_then(rank) else { continue };
            let (Some(job), Some(instance)) = (labels.get("job"), labels.get("instance")) else { continue };
            // The quantiles of a summary have its name, and count nothing.
            let counts = |name: &str| name.ends_with("_total") || name.ends_with("_count");
            let told = if labels.get(METRIC_NAME).is_some_and(counts) {
                values.value()
            } else {
                values.histogram().map(|histogram| histogram.count)
            };
            // A series that ended keeps what it counted.
            let Some(value) = told.filter(|value| value.is_finite() && *value >= 0.0) else { continue };
            let mut hasher = DefaultHasher::new();
            labels.to_string().hash(&mut hasher);
            let all = &mut self.0.lock().processes;
            let key = (job.to_owned(), instance.to_owned());
            if all.len() >= PROCESSES_MAX && !all.contains_key(&key) {
                continue;
            }
            let series = all.entry(key).or_default().entry(rank).or_default();
            let hash = hasher.finish();
            if series.len() < SERIES_MAX || series.contains_key(&hash) {
                series.insert(hash, value);
            }
        }
    }

    /// Requests that the process served since it began; nothing where it counts none.
    pub fn of(&self, job: &str, instance: &str) -> Option<f64> {
        let book = self.0.lock();
        let (_, best) = book.processes.get(&(job.to_owned(), instance.to_owned()))?.first_key_value()?;
        Some(best.values().sum())
    }

    /// Takes anything in from now on, or else nothing, and forgets all there was.
    pub fn follow(&self, on: bool) {
        let mut book = self.0.lock();
        book.is_off = !on;
        if !on {
            book.processes = HashMap::new();
        }
    }

    /// Forgets all processes but those that `alive` says live.
    pub fn keep(&self, alive: impl Fn(&str, &str) -> bool) {
        self.0.lock().processes.retain(|(job, instance), _| alive(job, instance));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::readings::Readings;

    fn page(at_ms: i64, series: &[(&str, &str, f64)]) -> Readings {
        let mut out = Readings::new(at_ms);
        out.set_target([("job", "api"), ("instance", "h/0")]);
        for (name, code, value) in series {
            out.push_named(name, &[("code", code)], *value);
        }
        out
    }

    #[test]
    fn requests_are_summed_over_series_and_counted_once() {
        let loads = Loads::default();
        assert_eq!(loads.of("api", "h/0"), None);
        let told = [
            ("promhttp_metric_handler_requests_total", "200", 900.0),
            ("http_client_requests_total", "200", 5_000.0),
            ("shop_http_requests_total", "200", 70.0),
            ("go_goroutines", "200", 12.0),
        ];
        loads.observe(page(0, &told).iter());
        assert_eq!(loads.of("api", "h/0"), Some(70.0), "of its own name, as there is none of a usual one");
        loads.observe(page(0, &[("http_requests_total", "200", 60.0), ("http_requests_total", "500", 3.0)]).iter());
        assert_eq!(loads.of("api", "h/0"), Some(63.0));
        // Cut into two requests, as a program may push it.
        loads.observe(page(1, &[("http_requests_total", "200", 65.0)]).iter());
        loads.observe(page(1, &[("http_requests_total", "500", f64::NAN)]).iter());
        assert_eq!(loads.of("api", "h/0"), Some(68.0));
        loads.keep(|_, instance| instance != "h/0");
        assert_eq!(loads.of("api", "h/0"), None);
    }

    #[test]
    fn names_of_what_is_served() {
        for (name, want) in [
            ("http_requests_total", true),
            ("http_request_duration_seconds_count", true),
            ("http_request_duration_seconds_sum", false),
            ("grpc_server_handled_total", true),
            ("grpc_client_handled_total", false),
            ("prometheus_http_requests_total", true),
            ("promhttp_metric_handler_requests_total", false),
            ("requests_totally", false),
        ] {
            assert_eq!(rank(name).is_some(), want, "{name}");
        }
    }

    #[test]
    fn processes_and_series_are_bounded() {
        let loads = Loads::default();
        let many: Vec<String> = (0..SERIES_MAX + 10).map(|code| code.to_string()).collect();
        let series: Vec<_> = many.iter().map(|code| ("http_requests_total", code.as_str(), 1.0)).collect();
        loads.observe(page(0, &series).iter());
        assert_eq!(
            loads.0.lock().processes.values().flat_map(BTreeMap::values).map(HashMap::len).sum::<usize>(),
            SERIES_MAX
        );
    }
}
