//! Explained queries: which nodes there are, what each read and handed on, and that it adds up.

use std::sync::Arc;

use model::Labels;
use query::{Answer, CancelToken, Explain, QueryOptions, QueryTime, Resources};
use storage::memory::MemoryStore;

use crate::watched::ask;

const HOUR: QueryTime = QueryTime::Range { start_ms: 0, end_ms: 3_600_000, step_ms: 60_000 };

/// `many` series of 61 samples called `m_total`, a tenth of which are of the job `a`; five called `n`.
fn store(many: usize) -> MemoryStore {
    let store = MemoryStore::new();
    for (name, series) in [("m_total", many), ("n", 5)] {
        for at in 0..series {
            let job = if at % 10 == 0 { "a" } else { "b" };
            let labels = [("__name__", name), ("i", &at.to_string()), ("job", job)];
            let samples: Vec<(i64, f64)> = (0..=60).map(|minute| (minute * 60_000, 1.0)).collect();
            store.insert(&Labels::from_pairs(labels).expect("valid labels"), &samples);
        }
    }
    store
}

fn explained(query: &str, threads: usize, many: usize) -> (Explain, Answer) {
    let resources = Arc::new(Resources::new(1 << 30, 7));
    let options = QueryOptions { threads_max: threads, resources, ..QueryOptions::default() };
    let mut answer = ask(&store(many), query, HOUR, &options, &CancelToken::new()).expect(query);
    let explain = answer.explain.take().expect("it was asked for");
    (explain, answer)
}

/// One line a node: what it is, its text, series, samples, note.
fn lines(explain: &Explain, query: &str, depth: usize, into: &mut Vec<String>) {
    let Explain { node, position, series, samples, chunks, bytes, time_us, note, children, .. } = explain;
    let text = &query[position.0..position.1];
    let note = note.map(|note| format!(", {note}")).unwrap_or_default();
    into.push(format!("{}{node} [{text}] {series} series, {samples} samples{note}", "  ".repeat(depth)));
    // The store says one chunk a series read, and 16 bytes a sample.
    assert_eq!((*chunks, *bytes), (samples / 61, samples * 16), "{node}");
    assert!(*time_us >= children.iter().map(|child| child.time_us).sum::<u64>(), "times add up: {explain:#?}");
    for child in children {
        lines(child, query, depth + 1, into);
    }
}

#[track_caller]
fn check(query: &str, want: &[&str]) {
    // As many series as are worth threads, so that it is both ways.
    for threads in [1, 2, 8] {
        let (explain, answer) = explained(query, threads, 300);
        let mut found = Vec::new();
        lines(&explain, query, 0, &mut found);
        assert_eq!(found, want, "{query} with {threads} threads");
        assert_eq!((explain.samples, explain.chunks), (answer.cost.read.samples, answer.cost.read.chunks), "{query}");
    }
}

#[test]
fn trees() {
    check(
        "sum by (job) (rate(m_total[5m])) / on (job) group_left () max by (job) (n) > 0",
        &[
            "> [sum by (job) (rate(m_total[5m])) / on (job) group_left () max by (job) (n) > 0] 0 series, 18605 samples",
            "  / [sum by (job) (rate(m_total[5m])) / on (job) group_left () max by (job) (n)] 2 series, 18605 samples",
            "    sum by (job) [sum by (job) (rate(m_total[5m]))] 2 series, 18300 samples",
            "      rate [rate(m_total[5m])] 300 series, 18300 samples",
            "        m_total[5m] [m_total[5m]] 300 series, 18300 samples",
            "    max by (job) [max by (job) (n)] 2 series, 305 samples",
            "      n [n] 5 series, 305 samples",
        ],
    );
    check(
        "-abs((m_total{job=\"a\"})) * 2 + 1",
        &[
            "+ [-abs((m_total{job=\"a\"})) * 2 + 1] 30 series, 1830 samples",
            "  * [-abs((m_total{job=\"a\"})) * 2] 30 series, 1830 samples",
            "    - [-abs((m_total{job=\"a\"}))] 30 series, 1830 samples",
            "      abs [abs((m_total{job=\"a\"}))] 30 series, 1830 samples",
            "        m_total{job=\"a\"} [m_total{job=\"a\"}] 30 series, 1830 samples",
        ],
    );
    check(
        "topk(3, m_total) or vector(time())",
        &[
            "or [topk(3, m_total) or vector(time())] 4 series, 18300 samples",
            "  topk [topk(3, m_total)] 3 series, 18300 samples",
            "    m_total [m_total] 300 series, 18300 samples",
            "  vector [vector(time())] 1 series, 0 samples",
            "    time [time()] 0 series, 0 samples",
        ],
    );
}

#[test]
fn what_is_read_once_is_counted_once() {
    check(
        "m_total / on () group_left () sum(m_total)",
        &[
            "/ [m_total / on () group_left () sum(m_total)] 300 series, 18300 samples",
            "  m_total [m_total] 300 series, 0 samples, kept from its first occurrence",
            "  sum [sum(m_total)] 1 series, 18300 samples",
            "    m_total [m_total] 300 series, 18300 samples, occurs more than once, evaluated once",
        ],
    );
    check(
        "rate(m_total[5m]) > 1 and rate(m_total[5m]) < 5",
        &[
            "and [rate(m_total[5m]) > 1 and rate(m_total[5m]) < 5] 0 series, 18300 samples",
            "  > [rate(m_total[5m]) > 1] 0 series, 0 samples",
            "    rate [rate(m_total[5m])] 300 series, 0 samples, kept from its first occurrence",
            "      m_total[5m] [m_total[5m]] 0 series, 0 samples",
            "  < [rate(m_total[5m]) < 5] 300 series, 18300 samples",
            "    rate [rate(m_total[5m])] 300 series, 18300 samples, occurs more than once, evaluated once",
            "      m_total[5m] [m_total[5m]] 300 series, 18300 samples",
        ],
    );
}

#[test]
fn subqueries() {
    let query = "max_over_time(sum(n)[10m:5m])";
    let (explain, _) = explained(query, 1, 1);
    let mut found = Vec::new();
    lines(&explain, query, 0, &mut found);
    assert_eq!(
        found,
        [
            "max_over_time [max_over_time(sum(n)[10m:5m])] 1 series, 305 samples",
            "  [10m:5m] [sum(n)[10m:5m]] 0 series, 305 samples",
            "    sum [sum(n)] 1 series, 305 samples",
            "      n [n] 5 series, 305 samples",
        ]
    );
}

#[test]
fn nothing_is_explained_unasked() {
    let (options, cancel) = (QueryOptions::default(), CancelToken::new());
    let (query, time) = ("sum(n)", HOUR);
    let request = query::Request {
        query,
        time,
        options: &options,
        lookback_ms: None,
        timeout_ms: None,
        cancel: &cancel,
        explain: false,
    };
    assert_eq!(query::evaluate(&store(1), &request).expect(query).explain, None);
}

#[test]
fn deep_queries_are_explained_within_their_stack() {
    let store = store(1);
    for (open, close, nodes) in [
        ("abs(", ")", 1),
        ("sum(", ")", 1),
        ("-(", ")", 2),
        ("(1 + ", ")", 2),
        ("(n or ", ")", 2),
        ("(n{i=\"1\"} + on () ", ")", 2),
        ("topk(1, ", ")", 1),
        ("max_over_time(", "[2m:1m])", 2),
        ("label_replace(", ", \"a\", \"b\", \"\", \"\")", 1),
    ] {
        let levels = (query::DEPTH_MAX - 2) / nodes;
        let query = format!("{}n{{i=\"1\"}}{}", open.repeat(levels), close.repeat(levels));
        let time = QueryTime::Instant { time_ms: 3_600_000 };
        let answer = ask(&store, &query, time, &QueryOptions::default(), &CancelToken::new());
        let mut node = &answer.unwrap_or_else(|error| panic!("{levels} {open}: {error}")).explain.expect("asked for");
        let mut depth = 1;
        while let Some(below) = node.children.last() {
            (node, depth) = (below, depth + 1);
        }
        assert!(depth > levels, "{open}: {depth} nodes for {levels} levels");
    }
}
