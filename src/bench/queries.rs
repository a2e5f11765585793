//! The fixed list of queries that `bench query` asks.
//!
//! All over the metrics of the generated fleet. Those that a sum over every series needs keep the metric name, because
//! servers before Prometheus 3 refuse to drop it of many metrics at once.

/// What a query is asked of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// One time.
    Instant,
    /// All hours of data, in steps of so many milliseconds.
    Range(i64),
    /// The values of this label, without a query.
    LabelValues(&'static str),
}

/// One query of the list.
#[derive(Debug, Clone, Copy)]
pub(super) struct BenchQuery {
    pub(super) name: &'static str,
    pub(super) text: &'static str,
    pub(super) over: Over,
}

const MINUTE: Over = Over::Range(60_000);

/// The list.
pub(super) const QUERIES: [BenchQuery; 18] = [
    of("one series, raw", "go_goroutines{instance=\"10.0.0.1:8080\"}", Over::Range(10_000)),
    of("rate by host", "sum by (instance) (rate(process_cpu_seconds_total[5m]))", MINUTE),
    of("rate by job", "sum by (job) (rate(http_request_duration_seconds_bucket[5m]))", MINUTE),
    of("sum over everything", "sum by (job) (last_over_time({__name__!=\"\"}[5m]))", MINUTE),
    of("rate over everything", "sum by (job) (rate({__name__!=\"\"}[5m]))", MINUTE),
    of("topk", "topk(5, go_memstats_heap_alloc_bytes)", MINUTE),
    of(
        "histogram_quantile",
        "histogram_quantile(0.99, sum by (job, le) (rate(http_request_duration_seconds_bucket[5m])))",
        MINUTE,
    ),
    of("avg_over_time", "avg_over_time(go_memstats_heap_alloc_bytes[1h])", MINUTE),
    of("max_over_time", "max_over_time(go_memstats_heap_alloc_bytes[1h])", MINUTE),
    of("quantile_over_time", "quantile_over_time(0.9, go_memstats_heap_alloc_bytes[1h])", MINUTE),
    of("regex matchers", "sum by (__name__) ({__name__=~\"go_memstats_.*_bytes\", job=~\"check.*|pay.*\"})", MINUTE),
    of("join", "go_memstats_heap_alloc_bytes / go_memstats_sys_bytes", MINUTE),
    of(
        "join with group_left",
        "sum by (job, version) (rate(process_cpu_seconds_total[5m]) * on (instance) group_left (version) go_info)",
        MINUTE,
    ),
    of("subquery", "max_over_time(sum by (job) (rate(process_cpu_seconds_total[5m]))[1h:1m])", MINUTE),
    of("count over everything", "count by (job) ({__name__!=\"\"})", MINUTE),
    of("count over everything, once", "count by (__name__) ({__name__!=\"\"})", Over::Instant),
    of("instant rate by job", "sum by (job) (rate(go_memstats_mallocs_total[5m]))", Over::Instant),
    of("label values", "", Over::LabelValues("instance")),
];

const fn of(name: &'static str, text: &'static str, over: Over) -> BenchQuery {
    BenchQuery { name, text, over }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_query_parses_and_has_a_name_of_its_own() {
        for (at, query) in QUERIES.iter().enumerate() {
            assert!(matches!(query.over, Over::LabelValues(_)) || query::parse(query.text).is_ok(), "{}", query.text);
            assert!(QUERIES[..at].iter().all(|other| other.name != query.name), "{} twice", query.name);
        }
    }
}
