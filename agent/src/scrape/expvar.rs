//! `/debug/vars`, the JSON of Go's `expvar`, under the names that the Go client library gives the same facts.
//!
//! `memstats` becomes `go_memstats_*` and `go_gc_duration_seconds`; an application's own numbers become
//! `expvar_PATH` with everything that is no letter or digit as `_`. Asking costs the target a short stop of the world.

use std::collections::HashSet;

use model::{MetricKind, MetricMetadata};
use serde_json::{Map, Value};

use super::target::OwnProcess;
use crate::readings::{Metric, Readings};

/// Most of an application's own numbers that are taken from one page.
pub const OWN_NUMBERS_MAX: usize = 500;
/// How deep in objects an application's own numbers are looked for.
pub const OWN_DEPTH_MAX: usize = 4;
/// Longest name made from a path.
const NAME_BYTES_MAX: usize = 200;
/// Length of the ring of recent pauses.
const PAUSES: u64 = 256;

/// Fields of `memstats` and what they are called.
const FIELDS: [(&str, Metric); 25] = [
    ("Alloc", Metric::gauge("go_memstats_alloc_bytes", "Bytes of heap objects, reachable and not yet swept.")),
    ("TotalAlloc", Metric::counter("go_memstats_alloc_bytes_total", "Bytes allocated for heap objects.")),
    ("Sys", Metric::gauge("go_memstats_sys_bytes", "Bytes obtained from the system.")),
    ("Lookups", Metric::counter("go_memstats_lookups_total", "Pointer lookups by the runtime.")),
    ("Mallocs", Metric::counter("go_memstats_mallocs_total", "Heap objects allocated.")),
    ("Frees", Metric::counter("go_memstats_frees_total", "Heap objects freed.")),
    ("HeapAlloc", Metric::gauge("go_memstats_heap_alloc_bytes", "Bytes of heap objects.")),
    ("HeapSys", Metric::gauge("go_memstats_heap_sys_bytes", "Bytes of heap obtained from the system.")),
    ("HeapIdle", Metric::gauge("go_memstats_heap_idle_bytes", "Bytes in unused spans.")),
    ("HeapInuse", Metric::gauge("go_memstats_heap_inuse_bytes", "Bytes in used spans.")),
    ("HeapReleased", Metric::gauge("go_memstats_heap_released_bytes", "Bytes given back to the system.")),
    ("HeapObjects", Metric::gauge("go_memstats_heap_objects", "Heap objects.")),
    ("StackInuse", Metric::gauge("go_memstats_stack_inuse_bytes", "Bytes in stack spans.")),
    ("StackSys", Metric::gauge("go_memstats_stack_sys_bytes", "Bytes of stack obtained from the system.")),
    ("MSpanInuse", Metric::gauge("go_memstats_mspan_inuse_bytes", "Bytes of used mspan structures.")),
    ("MSpanSys", Metric::gauge("go_memstats_mspan_sys_bytes", "Bytes obtained for mspan structures.")),
    ("MCacheInuse", Metric::gauge("go_memstats_mcache_inuse_bytes", "Bytes of used mcache structures.")),
    ("MCacheSys", Metric::gauge("go_memstats_mcache_sys_bytes", "Bytes obtained for mcache structures.")),
    ("BuckHashSys", Metric::gauge("go_memstats_buck_hash_sys_bytes", "Bytes of profiling tables.")),
    ("GCSys", Metric::gauge("go_memstats_gc_sys_bytes", "Bytes of garbage-collection metadata.")),
    ("OtherSys", Metric::gauge("go_memstats_other_sys_bytes", "Bytes of other runtime structures.")),
    ("NextGC", Metric::gauge("go_memstats_next_gc_bytes", "Heap size at which the next collection ends.")),
    ("GCCPUFraction", Metric::gauge("go_memstats_gc_cpu_fraction", "Share of processor time spent collecting.")),
    ("NumGC", Metric::counter("go_gc_cycles_total_gc_cycles_total", "Completed collections.")),
    ("NumForcedGC", Metric::counter("go_gc_cycles_forced_gc_cycles_total", "Collections the application asked for.")),
];
const LAST_GC: Metric =
    Metric::gauge("go_memstats_last_gc_time_seconds", "When the last collection ended, in seconds since the epoch.");
const GOROUTINES: Metric = Metric::gauge("go_goroutines", "Goroutines that exist.");
const GO_INFO: Metric = Metric::gauge("go_info", "The Go toolchain; always 1.");
const PAUSE: &str = "go_gc_duration_seconds";
const PAUSE_QUANTILES: [(&str, usize); 5] = [("0", 0), ("0.25", 1), ("0.5", 2), ("0.75", 3), ("1", 4)];

/// Names under which applications publish their number of goroutines, lower case.
const GOROUTINE_KEYS: [&str; 5] = ["goroutines", "numgoroutine", "numgoroutines", "num_goroutine", "num_goroutines"];

/// Reads a page into `out`; `own` is the process behind it, where known.
///
/// # Errors
///
/// When the page is no JSON object.
pub fn read(page: &[u8], own: Option<&OwnProcess>, out: &mut Readings) -> Result<(), serde_json::Error> {
    // The parser bounds nesting itself.
    let page: Map<String, Value> = serde_json::from_slice(page)?;
    let keeps = |name: &str| own.is_none_or(|process| process.keeps(name));
    if let Some(Value::Object(memory)) = page.get("memstats") {
        write_memory(memory, &keeps, out);
        if let Some(process) = own.filter(|process| process.keeps(GO_INFO.name)) {
            out.push(&GO_INFO, &[("version", &process.go_version)], 1.0);
        }
    }
    let goroutines = page
        .iter()
        .find(|(key, value)| GOROUTINE_KEYS.contains(&key.to_ascii_lowercase().as_str()) && value.is_number());
    if let Some(count) = goroutines.and_then(|(_, value)| value.as_f64()).filter(|_| keeps(GOROUTINES.name)) {
        out.push(&GOROUTINES, &[], count);
    }
    if own.is_some_and(|process| process.runtime_only) {
        return Ok(());
    }
    let mut own = OwnNumbers { names: HashSet::new(), out };
    for (key, value) in page.iter().filter(|(key, _)| !matches!(key.as_str(), "memstats" | "cmdline")) {
        own.walk("expvar", key, value, 1);
    }
    Ok(())
}

/// Writes `memory`, fields of `runtime.MemStats` under their names there, but for the metrics that are not kept.
pub(crate) fn write_memory(memory: &Map<String, Value>, keeps: &dyn Fn(&str) -> bool, out: &mut Readings) {
    let number = |field: &str| memory.get(field).and_then(Value::as_f64);
    for (field, metric) in FIELDS.iter().filter(|(_, metric)| keeps(metric.name)) {
        if let Some(value) = number(field) {
            out.push(metric, &[], value);
        }
    }
    if let Some(ns) = number("LastGC").filter(|_| keeps(LAST_GC.name)) {
        out.push(&LAST_GC, &[], ns / 1e9);
    }
    let (Some(cycles), Some(total_ns)) = (memory.get("NumGC").and_then(Value::as_u64), number("PauseTotalNs")) else {
        return;
    };
    if !keeps(PAUSE) {
        return;
    }
    out.describe(PAUSE, || MetricMetadata {
        kind: MetricKind::Summary,
        unit: String::new(),
        help: "Pauses of garbage collection; quantiles over the most recent 256.".to_owned(),
    });
    let kept = usize::try_from(cycles.min(PAUSES)).unwrap_or(0);
    let ring = memory.get("PauseNs").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut pauses: Vec<f64> = ring.iter().take(kept).filter_map(Value::as_f64).collect();
    pauses.sort_by(f64::total_cmp);
    if let Some(last) = pauses.len().checked_sub(1) {
        for (quantile, quarter) in PAUSE_QUANTILES {
            out.push_named(PAUSE, &[("quantile", quantile)], pauses[last * quarter / 4] / 1e9);
        }
    }
    out.push_named("go_gc_duration_seconds_sum", &[], total_ns / 1e9);
    out.push_named("go_gc_duration_seconds_count", &[], crate::collect::float(cycles));
}

/// Walks an application's own variables.
struct OwnNumbers<'a> {
    names: HashSet<String>,
    out: &'a mut Readings,
}

impl OwnNumbers<'_> {
    /// Recursion ends at [`OWN_DEPTH_MAX`].
    fn walk(&mut self, parent: &str, key: &str, value: &Value, depth: usize) {
        if self.names.len() >= OWN_NUMBERS_MAX || parent.len() + key.len() >= NAME_BYTES_MAX {
            return;
        }
        let mut name = format!("{parent}_");
        name.extend(key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }));
        match value {
            Value::Number(number) => {
                let Some(number) = number.as_f64() else { return };
                // Two paths can give one name; the first keeps it.
                if self.names.insert(name.clone()) {
                    self.out.push_named(&name, &[], number);
                }
            }
            Value::Object(inner) if depth < OWN_DEPTH_MAX => {
                for (key, value) in inner {
                    self.walk(&name, key, value, depth + 1);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::go::census::Way;
    use crate::go::ways::{Names, Part, ProcessKey, Ways};

    fn readings_of(page: &str, runtime_only: bool) -> Readings {
        let own = OwnProcess { go_version: "go1.26.1".to_owned(), runtime_only, ..OwnProcess::default() };
        let mut out = Readings::new(1);
        read(page.as_bytes(), Some(&own), &mut out).expect("JSON");
        out
    }

    fn readings(page: &str) -> Readings {
        readings_of(page, false)
    }

    #[test]
    fn memstats_have_the_names_of_the_go_client() {
        let out = readings(
            r#"{"cmdline":["x"],"memstats":{"Alloc":10,"TotalAlloc":11,"Mallocs":12,"LastGC":2000000000,"NumGC":3,
                "PauseTotalNs":600,"PauseNs":[300,100,200,0,0],"BySize":[{"Size":8}],"EnableGC":true,"Frees":"x"}}"#,
        );
        let check = |series, want| assert_eq!(out.value_of(series), Some(want), "{series}");
        check("go_memstats_alloc_bytes", 10.0);
        check("go_memstats_alloc_bytes_total", 11.0);
        check("go_memstats_mallocs_total", 12.0);
        check("go_memstats_last_gc_time_seconds", 2.0);
        check("go_gc_duration_seconds_count", 3.0);
        check("go_gc_duration_seconds_sum", 600.0 / 1e9);
        check(r#"go_gc_duration_seconds{quantile="0"}"#, 100.0 / 1e9);
        check(r#"go_gc_duration_seconds{quantile="0.5"}"#, 200.0 / 1e9);
        check(r#"go_gc_duration_seconds{quantile="1"}"#, 300.0 / 1e9);
        check(r#"go_info{version="go1.26.1"}"#, 1.0);
        assert_eq!(out.value_of("go_memstats_frees_total"), None, "a text is no number");
        assert!(out.iter().all(|(labels, _)| !labels.to_string().starts_with("expvar")));
    }

    #[test]
    fn an_applications_own_numbers() {
        let out = readings(
            r#"{"NumGoroutine":7,"req.count":1,"req-count":2,"text":"x","map":{"a b":1.5,"deep":{"x":{"y":{"z":1}}}}}"#,
        );
        let check = |series, want| assert_eq!(out.value_of(series), want, "{series}");
        check("go_goroutines", Some(7.0));
        check("expvar_NumGoroutine", Some(7.0));
        check("expvar_map_a_b", Some(1.5));
        assert!(out.value_of("expvar_req_count").is_some());
        assert_eq!(out.len(), 4, "one name once, nothing too deep");
    }

    #[test]
    fn of_another_agent_only_its_runtime_is_kept() {
        let page = r#"{"memstats":{"Alloc":10},"goroutines":7,"requests":1}"#;
        let with_own = readings(page).len();
        let out = readings_of(page, true);
        assert_eq!(out.value_of("go_memstats_alloc_bytes"), Some(10.0));
        assert_eq!(out.value_of("go_goroutines"), Some(7.0));
        assert_eq!((out.len(), with_own), (3, 5), "expvar_goroutines and expvar_requests are left out");
    }

    #[test]
    fn what_a_better_way_gives_is_left_out() {
        let (ways, key) = (Ways::new(), ProcessKey::default());
        let names: Names = ["go_memstats_alloc_bytes", "go_gc_duration_seconds", "go_goroutines"].into_iter().collect();
        ways.works(key, Part::Runtime, Way::Memory, &names, 0, 1);
        let own = OwnProcess { taken: ways.taken(key, Way::Page, 0), ..OwnProcess::default() };
        let page = r#"{"memstats":{"Alloc":10,"Sys":11,"NumGC":1,"PauseTotalNs":1},"goroutines":7}"#;
        let mut out = Readings::new(1);
        read(page.as_bytes(), Some(&own), &mut out).expect("JSON");
        let mut left: Vec<String> =
            out.iter().map(|(labels, _)| labels.get("__name__").unwrap_or("").to_owned()).collect();
        left.sort();
        let want = ["expvar_goroutines", "go_gc_cycles_total_gc_cycles_total", "go_info", "go_memstats_sys_bytes"];
        assert_eq!(left, want);
    }

    #[test]
    fn bounds() {
        let many: Vec<String> = (0..2000).map(|n| format!("\"k{n}\":{n}")).collect();
        assert_eq!(readings(&format!("{{{}}}", many.join(","))).len(), OWN_NUMBERS_MAX);
        let deep = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
        assert!(read(deep.as_bytes(), None, &mut Readings::new(1)).is_err(), "nesting is bounded");
        for page in ["", "[]", "{", "<html>"] {
            assert!(read(page.as_bytes(), None, &mut Readings::new(1)).is_err(), "{page:?}");
        }
    }
}
