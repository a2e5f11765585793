//! What was read of a program from outside beside what the program says of itself, metric by metric, and the bounds within
//! which they must agree. Of each release is compared what its own `runtime/metrics` has, all of it.

use std::collections::BTreeMap;
use std::fmt;

use agent::readings::Readings;
use model::METRIC_NAME;
use serde_json::Value;

use super::{number, value};

/// Metrics that grow: what is read lies between what the program says before and after.
const GROWING: [&str; 24] = [
    "/gc/cycles/total:gc-cycles",
    "/gc/cycles/automatic:gc-cycles",
    "/gc/cycles/forced:gc-cycles",
    "/gc/heap/allocs:bytes",
    "/gc/heap/allocs:objects",
    "/gc/heap/frees:bytes",
    "/gc/heap/frees:objects",
    "/gc/heap/tiny/allocs:objects",
    "/gc/finalizers/queued:finalizers",
    "/gc/finalizers/executed:finalizers",
    "/sched/goroutines-created:goroutines",
    "/cpu/classes/gc/mark/assist:cpu-seconds",
    "/cpu/classes/gc/mark/dedicated:cpu-seconds",
    "/cpu/classes/gc/mark/idle:cpu-seconds",
    "/cpu/classes/gc/pause:cpu-seconds",
    "/cpu/classes/gc/total:cpu-seconds",
    "/cpu/classes/idle:cpu-seconds",
    "/cpu/classes/user:cpu-seconds",
    "/cpu/classes/total:cpu-seconds",
    "/cpu/classes/scavenge/assist:cpu-seconds",
    "/cpu/classes/scavenge/background:cpu-seconds",
    "/cpu/classes/scavenge/total:cpu-seconds",
    "/sync/mutex/wait/total:seconds",
    "/cgo/go-to-c-calls:calls",
];

/// Metrics that stay as they are in a program that only answers, and by how much they may differ.
const STILL: [(&str, f64); 34] = [
    ("/sched/threads/total:threads", 0.0),
    ("/sched/gomaxprocs:threads", 0.0),
    ("/sched/goroutines:goroutines", 0.0),
    // Whoever answers is running, and waits while it is read.
    ("/sched/goroutines/running:goroutines", 1.0),
    ("/sched/goroutines/runnable:goroutines", 1.0),
    ("/sched/goroutines/waiting:goroutines", 1.0),
    ("/sched/goroutines/not-in-go:goroutines", 1.0),
    ("/gc/gogc:percent", 0.0),
    ("/gc/gomemlimit:bytes", 0.0),
    ("/gc/heap/goal:bytes", 0.0),
    ("/gc/heap/live:bytes", 0.0),
    ("/gc/scan/heap:bytes", 200_000.0),
    ("/gc/scan/stack:bytes", 0.0),
    ("/gc/scan/globals:bytes", 0.0),
    ("/gc/scan/total:bytes", 200_000.0),
    ("/gc/stack/starting-size:bytes", 0.0),
    ("/gc/limiter/last-enabled:gc-cycle", 0.0),
    ("/gc/heap/objects:objects", 4_000.0),
    ("/memory/classes/heap/free:bytes", 400_000.0),
    ("/memory/classes/heap/objects:bytes", 400_000.0),
    ("/memory/classes/heap/released:bytes", 400_000.0),
    ("/memory/classes/heap/stacks:bytes", 200_000.0),
    ("/memory/classes/heap/unused:bytes", 400_000.0),
    ("/memory/classes/metadata/mcache/free:bytes", 0.0),
    ("/memory/classes/metadata/mcache/inuse:bytes", 0.0),
    ("/memory/classes/metadata/mspan/free:bytes", 20_000.0),
    ("/memory/classes/metadata/mspan/inuse:bytes", 20_000.0),
    ("/memory/classes/metadata/other:bytes", 200_000.0),
    ("/memory/classes/os-stacks:bytes", 0.0),
    ("/memory/classes/other:bytes", 400_000.0),
    ("/memory/classes/profiling/buckets:bytes", 100_000.0),
    ("/memory/classes/total:bytes", 400_000.0),
    ("go_goroutines", 0.0),
    ("go_threads", 0.0),
];

/// What is read of releases too whose own `runtime/metrics` did not have it yet, and what it is in this program.
const EARLIER: [(&str, (f64, f64)); 9] = [
    ("/gc/finalizers/queued:finalizers", (0.0, 0.0)),
    ("/gc/finalizers/executed:finalizers", (0.0, 0.0)),
    ("/gc/gogc:percent", (100.0, 100.0)),
    ("/gc/gomemlimit:bytes", (9_223_372_036_854_775_807.0, 9_223_372_036_854_775_807.0)),
    ("/gc/heap/live:bytes", (1e6, 4e6)),
    ("/sched/goroutines/running:goroutines", (0.0, 1.0)),
    ("/sched/goroutines/runnable:goroutines", (0.0, 1.0)),
    ("/sched/goroutines/waiting:goroutines", (500.0, 510.0)),
    ("/sched/goroutines/not-in-go:goroutines", (0.0, 1.0)),
];

/// Histograms: each bucket lies between what the program says before and after, and their bounds are equal.
const HISTOGRAMS: [&str; 7] = [
    "/sched/latencies:seconds",
    "/sched/pauses/total/gc:seconds",
    "/sched/pauses/total/other:seconds",
    "/sched/pauses/stopping/gc:seconds",
    "/sched/pauses/stopping/other:seconds",
    "/gc/heap/allocs-by-size:bytes",
    "/gc/heap/frees-by-size:bytes",
];

/// What the program says and the agent leaves out, as docs/agent.md tells.
const LEFT_OUT: [&str; 3] = ["/gc/pauses:seconds", "/gc/cleanups/queued:cleanups", "/gc/cleanups/executed:cleanups"];

/// Of `runtime.MemStats`, each by its field: the series, and by how much it may differ; nothing where it grows.
const STATS: [(&str, &str, Option<f64>); 22] = [
    ("LastGC", "go_memstats_last_gc_time_seconds", Some(1e-6)),
    ("NumGC", "go_gc_duration_seconds_count", Some(0.0)),
    ("PauseTotal", "go_gc_duration_seconds_sum", Some(1e-9)),
    ("GCCPUFraction", "go_memstats_gc_cpu_fraction", Some(0.0)),
    ("NextGC", "go_memstats_next_gc_bytes", Some(0.0)),
    ("Alloc", "go_memstats_alloc_bytes", Some(400_000.0)),
    ("TotalAlloc", "go_memstats_alloc_bytes_total", None),
    ("Mallocs", "go_memstats_mallocs_total", None),
    ("Frees", "go_memstats_frees_total", None),
    ("Sys", "go_memstats_sys_bytes", Some(400_000.0)),
    ("HeapSys", "go_memstats_heap_sys_bytes", Some(400_000.0)),
    ("HeapIdle", "go_memstats_heap_idle_bytes", Some(400_000.0)),
    ("HeapInuse", "go_memstats_heap_inuse_bytes", Some(400_000.0)),
    ("HeapReleased", "go_memstats_heap_released_bytes", Some(400_000.0)),
    ("HeapObjects", "go_memstats_heap_objects", Some(4_000.0)),
    ("StackInuse", "go_memstats_stack_inuse_bytes", Some(200_000.0)),
    ("StackSys", "go_memstats_stack_sys_bytes", Some(200_000.0)),
    ("MSpanInuse", "go_memstats_mspan_inuse_bytes", Some(20_000.0)),
    ("MCacheInuse", "go_memstats_mcache_inuse_bytes", Some(0.0)),
    ("BuckHashSys", "go_memstats_buck_hash_sys_bytes", Some(100_000.0)),
    ("GCSys", "go_memstats_gc_sys_bytes", Some(200_000.0)),
    ("OtherSys", "go_memstats_other_sys_bytes", Some(400_000.0)),
];

/// What sums may differ by for the order in which they were added, by their size.
const ROUNDING: f64 = 1e-12;

/// The series of a metric of `runtime/metrics`.
fn series_of(metric: &str) -> String {
    match metric.split_once(':') {
        Some((path, unit)) => format!("go{path}_{unit}").replace(['/', '-'], "_"),
        None => metric.to_owned(),
    }
}

/// How what was read of one part agrees with what the program says of it.
#[derive(Debug, Default)]
pub(crate) struct Agreement {
    /// Numbers that are what the program says, or lie between what it says before and after.
    pub(crate) equal: usize,
    /// The others that are within their bound: by how much they differ, and the bound.
    pub(crate) near: Vec<(String, f64, f64)>,
    /// What must not be.
    pub(crate) faults: Vec<String>,
}

impl Agreement {
    /// Takes `found` for `name`, which is to lie from `low` to `high`, or no further off than `bound`.
    pub(crate) fn take(&mut self, name: &str, found: Option<f64>, (low, high): (f64, f64), bound: f64) {
        let Some(found) = found else { return self.faults.push(format!("{name} is not read")) };
        let off = (low.min(high) - found).max(found - low.max(high));
        // Sums of the same numbers in another order are no other numbers.
        if off <= ROUNDING * low.abs() {
            self.equal += 1;
        } else if off <= bound {
            self.near.push((name.to_owned(), off, bound));
        } else {
            self.faults.push(format!("{name} is {found}, not {low} to {high}, bound {bound}"));
        }
    }

    /// Takes `found`, which is to be `want`.
    pub(crate) fn same<T: PartialEq + fmt::Debug + Copy>(&mut self, name: &str, found: T, want: T) {
        if found == want {
            self.equal += 1;
        } else {
            self.faults.push(format!("{name} is {found:?}, not {want:?}"));
        }
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} equal", self.equal)?;
        if !self.near.is_empty() {
            write!(out, ", {} in bounds", self.near.len())?;
        }
        if !self.faults.is_empty() {
            write!(out, ", {} WRONG", self.faults.len())?;
        }
        Ok(())
    }
}

/// Numbers beside what `runtime/metrics` gave before and after they were read.
pub(crate) fn numbers(before: &Value, after: &Value, readings: &Readings) -> Agreement {
    let mut agreement = Agreement::default();
    let read = |name: &str| value(readings, name, "");
    let growing = GROWING.iter().map(|metric| (*metric, format!("{}_total", series_of(metric)), 0.0));
    let still = STILL.iter().map(|(metric, bound)| (*metric, series_of(metric), *bound));
    for (metric, series, bound) in growing.chain(still) {
        if before.get(metric).is_some() {
            agreement.take(metric, read(&series), (number(before, metric), number(after, metric)), bound);
        } else if let Some((_, usual)) = EARLIER.iter().find(|(earlier, _)| *earlier == metric) {
            let found = read(&series);
            if found.is_some() || !metric.starts_with("/gc/finalizers/") {
                agreement.take(metric, found, *usual, 0.0);
            }
        } else {
            agreement.same(metric, read(&series), None);
        }
    }
    for metric in before.as_object().expect("metrics").keys() {
        let known = GROWING.contains(&metric.as_str()) || STILL.iter().any(|(still, _)| still == metric);
        if !known && !HISTOGRAMS.contains(&metric.as_str()) && !LEFT_OUT.contains(&metric.as_str()) {
            agreement.faults.push(format!("{metric} is compared by nobody"));
        }
    }
    agreement
}

/// Numbers beside what `runtime.ReadMemStats` and `debug.ReadGCStats` gave before and after.
pub(crate) fn memstats(before: &Value, after: &Value, readings: &Readings) -> Agreement {
    let mut agreement = Agreement::default();
    for (key, series, bound) in STATS {
        let told = (number(before, key), number(after, key));
        agreement.take(key, value(readings, series, ""), told, bound.unwrap_or(0.0));
    }
    for (at, quantile) in ["0", "0.25", "0.5", "0.75", "1"].into_iter().enumerate() {
        let found = value(readings, "go_gc_duration_seconds", &format!(r#"quantile="{quantile}""#));
        let want = after["quantiles"][at].as_f64().expect("a number");
        agreement.take(&format!("pause {quantile}"), found, (want, want), 1e-12);
    }
    agreement
}

/// Histograms, bucket by bucket.
pub(crate) fn histograms(before: &Value, after: &Value, readings: &Readings) -> Agreement {
    let mut agreement = Agreement::default();
    for metric in HISTOGRAMS {
        let name = series_of(metric);
        let found = readings.iter().find(|(labels, _)| labels.get(METRIC_NAME) == Some(&name));
        let found = found.and_then(|(_, values)| values.histogram().cloned());
        let (Some(low), Some(high)) = (before.get(metric), after.get(metric)) else {
            agreement.same(metric, found.is_some(), false);
            continue;
        };
        let Some(histogram) = found else {
            agreement.faults.push(format!("{metric} is not read"));
            continue;
        };
        let floats = |told: &Value, key: &str| -> Vec<f64> {
            told[key].as_array().expect("a list").iter().filter_map(Value::as_f64).collect()
        };
        if histogram.custom_bounds != floats(high, "bounds") {
            agreement.faults.push(format!("{metric} has other bounds"));
            continue;
        }
        let mut counts = vec![0.0; histogram.custom_bounds.len() + 1];
        for bucket in &histogram.positive {
            counts[usize::try_from(bucket.index).expect("an index")] = bucket.count;
        }
        let (low, high) = (floats(low, "counts"), floats(high, "counts"));
        agreement.same(metric, (counts.len(), counts.len()), (low.len(), high.len()));
        for (at, (count, told)) in counts.iter().zip(low.into_iter().zip(high)).enumerate() {
            let mut bucket = Agreement::default();
            bucket.take(&format!("{metric}, bucket {at}"), Some(*count), told, 0.0);
            agreement.faults.append(&mut bucket.faults);
        }
    }
    agreement
}

/// Goroutines by what they run, what started them and what they wait for, but for the one that answers.
pub(crate) fn by_site(told: &Value) -> BTreeMap<(String, String, String), u64> {
    let sites = told["sites"].as_object().expect("sites").iter().map(|(site, count)| {
        let mut parts = site.split('|').map(str::to_owned);
        let mut next = || parts.next().expect("three parts");
        ((next(), next(), next()), count.as_u64().expect("a count"))
    });
    sites.filter(|((function, _, _), _)| function != "main.main").collect()
}
