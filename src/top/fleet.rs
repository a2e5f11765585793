//! The Go processes that a server knows, by its query API: any server that has the agent's series.

use std::collections::BTreeMap;

use model::labels::{METRIC_NAME, Quoted};

use super::data::{Detail, Key, Number, Past, Process, Site, Snapshot, Source};
use super::local::{NO_LIMIT_BYTES, SIGNAL, percentile, version};
use crate::client::answer::{LabelMap, Series};
use crate::client::{Client, Moment, Value};

/// Most processes that are shown.
const PROCESSES_MAX: usize = 2_000;
/// How far back growth of sites is told, in seconds and as PromQL has it.
const GROWTH: (f64, &str) = (600.0, "10m");
/// Step of what is asked about the time before, in milliseconds, and how far back that is.
const PAST_STEP_MS: i64 = 15_000;
const PAST_MS: i64 = 600_000;

const INFO: &str = "metrickit_go_process_info";

/// Series that are numbers as they are.
const PLAIN: [(&str, Number); 9] = [
    ("go_goroutines", Number::Goroutines),
    ("go_gc_heap_live_bytes", Number::HeapLive),
    ("go_gc_gomemlimit_bytes", Number::HeapLimit),
    ("go_signal_gc_cpu_ratio", Number::GcCpu),
    ("go_signal_alloc_bytes_per_second", Number::Allocated),
    ("process_resident_memory_bytes", Number::Resident),
    ("process_threads", Number::Threads),
    ("go_leak_grade", Number::Leak),
    // Where nothing tells the number without the runtime's own.
    ("go_sched_goroutines_goroutines", Number::Goroutines),
];

/// Numbers that take a query, `{}` stands for matchers; for those that no agent derives signals of.
const COMPUTED: [(&str, Number); 5] = [
    ("rate(process_cpu_seconds_total{}[1m])", Number::Cpu),
    ("max by (job, instance) (go_signal_sched_latency_seconds{quantile=\"0.99\"})", Number::Latency),
    ("histogram_quantile(0.99, rate(go_sched_latencies_seconds{}[1m]))", Number::Latency),
    (
        "rate(go_cpu_classes_gc_total_cpu_seconds_total{}[2m]) / (rate(go_cpu_classes_total_cpu_seconds_total{}[2m]) > 0)",
        Number::GcCpu,
    ),
    ("rate(go_gc_heap_allocs_bytes_total{}[1m])", Number::Allocated),
];

/// What of the time before is asked.
const PAST: [(&str, Number); 3] = [
    ("go_goroutines", Number::Goroutines),
    ("go_gc_heap_live_bytes", Number::HeapLive),
    ("rate(process_cpu_seconds_total[1m])", Number::Cpu),
];

/// Asks a server.
#[derive(Debug)]
pub(super) struct Fleet {
    client: Client,
    job: Option<String>,
}

impl Fleet {
    /// Asks `client` of the processes of `job`, or of all.
    pub(super) fn new(client: Client, job: Option<String>) -> Self {
        Self { client, job }
    }

    fn ask(&self, query: &str, time_ms: Option<i64>) -> anyhow::Result<Vec<Series>> {
        match self.client.query(query, Moment::Instant { time_ms })?.value {
            Value::Vector(series) => Ok(series),
            _ => Ok(Vec::new()),
        }
    }

    fn matchers(&self) -> String {
        self.job.as_ref().map_or(String::new(), |job| format!("{{job={}}}", Quoted(job)))
    }
}

fn key_of(labels: &LabelMap) -> Key {
    let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
    Key { job: label("job"), instance: label("instance") }
}

fn last(series: &Series) -> Option<f64> {
    series.points.last().map(crate::client::answer::Point::number).filter(|value| value.is_finite())
}

impl Source for Fleet {
    fn name(&self) -> String {
        self.client.url().to_owned()
    }

    fn past(&mut self, now_ms: i64) -> Vec<Past> {
        let moment = Moment::Range { start_ms: now_ms - PAST_MS, end_ms: now_ms, step_ms: PAST_STEP_MS };
        let mut all = Vec::new();
        for (query, which) in PAST {
            // What is not told of the past is seen as it comes.
            let Ok(answer) = self.client.query(query, moment) else { break };
            let Value::Matrix(series) = answer.value else { continue };
            all.extend(series.iter().take(PROCESSES_MAX).map(|series| Past {
                key: key_of(&series.labels),
                which,
                points: series.points.iter().map(|point| (point.timestamp_ms, point.number())).collect(),
            }));
        }
        all
    }

    fn snapshot(&mut self, now_ms: i64) -> anyhow::Result<Snapshot> {
        let names: Vec<&str> = PLAIN.iter().map(|(name, _)| *name).chain([INFO]).collect();
        let job = self.job.as_ref().map_or(String::new(), |job| format!(", job={}", Quoted(job)));
        let plain = self.ask(&format!("{{__name__=~\"{}\"{job}}}", names.join("|")), None)?;
        let mut processes = gathered(&plain);
        let matchers = self.matchers();
        for (query, which) in COMPUTED {
            // What signals told already is not computed again.
            if !processes.values().any(|process| process.number(which).is_none()) {
                continue;
            }
            for series in self.ask(&query.replace("{}", &matchers), None)? {
                let process = processes.get_mut(&key_of(&series.labels));
                if let (Some(process), Some(value)) = (process, last(&series))
                    && process.number(which).is_none()
                {
                    process.set(which, value);
                }
            }
        }
        let processes = processes.into_values().take(PROCESSES_MAX).collect();
        Ok(Snapshot { at_ms: now_ms, processes, hidden: 0 })
    }

    fn detail(&mut self, key: &Key, _: i64) -> anyhow::Result<Detail> {
        let of = format!("job={}, instance={}", Quoted(&key.job), Quoted(&key.instance));
        let sites = self.ask(&format!("go_goroutines_by_site{{{of}}}"), None)?;
        let before = self.ask(&format!("go_goroutines_by_site{{{of}}} offset {}", GROWTH.1), None)?;
        let names = format!("{SIGNAL}.+|go_leak_.+|metrickit_go_reading_info");
        let about = self.ask(&format!("{{__name__=~\"{names}\", {of}}}"), None)?;
        Ok(detail(key, &sites, &before, &about))
    }
}

/// Processes by what is told of them: those with an info series, and those that push goroutines or a heap themselves.
fn gathered(plain: &[Series]) -> BTreeMap<Key, Process> {
    let mut processes: BTreeMap<Key, Process> = BTreeMap::new();
    let name = |series: &Series| series.labels.get(METRIC_NAME).cloned().unwrap_or_default();
    let is_go = |series: &&Series| name(series) == INFO || name(series).starts_with("go_");
    for series in plain.iter().filter(is_go) {
        let key = key_of(&series.labels);
        processes.entry(key.clone()).or_insert_with(|| Process::new(key));
    }
    for series in plain {
        let Some(process) = processes.get_mut(&key_of(&series.labels)) else { continue };
        let name = name(series);
        if name == INFO {
            let label = |name: &str| series.labels.get(name).cloned().unwrap_or_default();
            process.pid = label("pid");
            process.version = version(&label("version"), &label("revision"));
            process.go_version = label("go_version");
            continue;
        }
        let (Some((_, which)), Some(value)) = (PLAIN.iter().find(|(of, _)| *of == name), last(series)) else {
            continue;
        };
        let is_limit = *which == Number::HeapLimit;
        // `go_goroutines` counts without the runtime's own, and goes before.
        let is_second = name == "go_sched_goroutines_goroutines" && process.number(*which).is_some();
        if !(is_second || is_limit && value >= NO_LIMIT_BYTES) {
            process.set(*which, value);
        }
    }
    processes
}

fn detail(key: &Key, sites: &[Series], before: &[Series], about: &[Series]) -> Detail {
    type Place = [String; 3];
    let place = |labels: &LabelMap| -> Place {
        ["site", "created_by", "wait"].map(|name| labels.get(name).cloned().unwrap_or_default())
    };
    let earlier: BTreeMap<Place, f64> =
        before.iter().filter_map(|one| Some((place(&one.labels), last(one)?))).collect();
    let named = |series: &&Series, name: &str| series.labels.get(METRIC_NAME).is_some_and(|of| of == name);
    let of_site = |name: &str, at: &Place| about.iter().find(|one| named(one, name) && place(&one.labels) == *at);
    let told = sites.iter().filter_map(|series| {
        let at = place(&series.labels);
        // What is left of all others is told even where there are none.
        let count = last(series).filter(|count| *count > 0.0)?;
        let info = of_site("go_leak_info", &at);
        let label = |name: &str| info.and_then(|info| info.labels.get(name)).cloned().unwrap_or_default();
        let (file, line) = (label("file"), label("line"));
        Some(Site {
            count,
            // What was not told then may not have been, or not been among the largest.
            growth: (!earlier.is_empty()).then(|| count - earlier.get(&at).copied().unwrap_or(0.0)),
            oldest_seconds: of_site("go_leak_site_longest_blocked_seconds", &at).and_then(last),
            place: if file.is_empty() { String::new() } else { format!("{file}:{line}") },
            grade: of_site("go_leak_site_grade", &at).and_then(last),
            wait: at[2].clone(),
            created_by: at[1].clone(),
            function: at[0].clone(),
        })
    });
    let signal = |series: &Series| {
        let name = series.labels.get(METRIC_NAME)?.strip_prefix(SIGNAL)?.to_owned();
        let quantile =
            series.labels.get("quantile").map_or(String::new(), |quantile| format!(" p{}", percentile(quantile)));
        Some((format!("{name}{quantile}"), last(series)?))
    };
    let mut signals: Vec<(String, f64)> = about.iter().filter_map(signal).collect();
    signals.sort_by(|a, b| a.0.cmp(&b.0));
    let part = |series: &Series| {
        let label = |name: &str| series.labels.get(name).cloned().unwrap_or_default();
        let how = if label("way") == "none" { format!("not read, {}", label("reason")) } else { label("way") };
        (label("part"), how)
    };
    Detail {
        key: key.clone(),
        sites: told.collect(),
        growth_seconds: (!earlier.is_empty()).then_some(GROWTH.0),
        signals,
        parts: about.iter().filter(|one| named(one, "metrickit_go_reading_info")).map(part).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::series;

    fn of(name: &str, more: &[(&str, &str)], value: &str) -> Series {
        let labels: Vec<(&str, &str)> =
            [("__name__", name), ("job", "api"), ("instance", "w/0")].into_iter().chain(more.iter().copied()).collect();
        series(&labels, &[(1, value)])
    }

    #[test]
    fn series_become_processes() {
        let node = series(&[("__name__", "process_threads"), ("job", "node")], &[(1, "5")]);
        let all = [
            of("go_sched_goroutines_goroutines", &[], "12"),
            of("go_goroutines", &[], "8"),
            of("go_gc_gomemlimit_bytes", &[], "9223372036854775807"),
            of("process_threads", &[], "7"),
            of("go_gc_heap_live_bytes", &[], "NaN"),
            of(INFO, &[("pid", "4711"), ("version", "(devel)"), ("revision", "8c5f0123456789")], "1"),
            node,
        ];
        for order in [false, true] {
            let mut all = all.to_vec();
            if order {
                all.swap(0, 1);
            }
            let found: Vec<Process> = gathered(&all).into_values().collect();
            assert_eq!(found.len(), 1, "{found:?}");
            let told = |which| found[0].number(which);
            assert_eq!((told(Number::Threads), told(Number::HeapLimit)), (Some(7.0), None));
            assert_eq!((told(Number::HeapLive), told(Number::Goroutines)), (None, Some(8.0)));
            assert_eq!((found[0].pid.as_str(), found[0].version.as_str()), ("4711", "8c5f012345"));
        }
    }

    #[test]
    fn sites_grow_by_what_was_before() {
        let site = |name: &str, site: &str, value: &str| of(name, &[("site", site), ("wait", "select")], value);
        let sites = [site("go_goroutines_by_site", "main.a", "9"), site("go_goroutines_by_site", "main.b", "4")];
        let before = [site("go_goroutines_by_site", "main.a", "3")];
        let about = [
            site("go_leak_site_grade", "main.a", "3"),
            of("go_leak_info", &[("site", "main.a"), ("wait", "select"), ("file", "/s/a.go"), ("line", "7")], "3"),
            of("go_signal_sched_latency_seconds", &[("quantile", "0.999")], "0.5"),
            of("metrickit_go_reading_info", &[("part", "runtime"), ("way", "none"), ("reason", "no_right")], "1"),
        ];
        let told = detail(&Key::default(), &sites, &before, &about);
        assert_eq!(told.sites.iter().map(|site| site.growth).collect::<Vec<_>>(), [Some(6.0), Some(4.0)]);
        assert_eq!((told.sites[0].grade, told.sites[0].place.as_str()), (Some(3.0), "/s/a.go:7"));
        assert_eq!(told.signals, [("sched_latency_seconds p99.9".to_owned(), 0.5)]);
        assert_eq!(told.parts, [("runtime".to_owned(), "not read, no_right".to_owned())]);
        assert_eq!(detail(&Key::default(), &sites, &[], &[]).sites[0].growth, None, "nothing is known of before");
    }

    #[test]
    fn queries_are_promql() {
        let queries = COMPUTED.iter().map(|(query, _)| *query).chain(PAST.iter().map(|(query, _)| *query));
        for query in queries {
            assert!(query::parse(&query.replace("{}", "{job=\"a\"}")).is_ok(), "{query}");
        }
    }
}
