//! Writers whose samples stay for good: which of their requests were acknowledged, and what the server must hold of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use model::remote_write::TimeSeries;

use crate::support::{Server, counter_histogram, http, series};
use crate::{FIRST_MS, STEP_MS, samples, write};

/// Series of one writer, all in each of its requests.
pub(super) const SERIES: usize = 25;
/// Most requests of one writer: the next would be of the future.
const REQUESTS_MAX: i64 = 39 * 3_600_000 / STEP_MS;

/// What one writer knows: how many samples of each of its series were acknowledged, and which were tried.
#[derive(Debug, Default, Clone)]
pub(super) struct Ledger {
    /// Requests by number: true when acknowledged, false when the connection died on it.
    pub(super) requests: BTreeMap<i64, bool>,
}

/// Every other request goes back in time, so that late samples are killed too.
fn timestamp_ms(number: i64) -> i64 {
    let swapped = if number % 16 < 8 { number ^ 1 } else { number };
    *FIRST_MS + swapped * STEP_MS
}

/// A value that tells series and request apart; some have to survive bit by bit.
fn value(writer: usize, at: usize, number: i64) -> f64 {
    match (number + i64::try_from(at).expect("small")) % 11 {
        0 => f64::from_bits(0x7ff8_0000_0000_0000 | u64::try_from(number).expect("not negative")),
        1 => f64::NEG_INFINITY,
        _ => (writer * 1000 + at) as f64 + number as f64 / 8.0,
    }
}

/// What of a writer's request belongs to one of its series. Some series have native histograms, some now and then.
fn one_series(writer: usize, at: usize, number: i64) -> TimeSeries {
    let labels = [("__name__", "kill"), ("at", &*at.to_string()), ("writer", &*writer.to_string())];
    if !is_histogram(at, number) {
        return series(&labels, &[(timestamp_ms(number), value(writer, at, number))]);
    }
    let histogram = counter_histogram(timestamp_ms(number), 0, count(writer, number));
    TimeSeries { histograms: vec![histogram], ..series(&labels, &[]) }
}

fn is_histogram(at: usize, number: i64) -> bool {
    at.is_multiple_of(5) || (at % 5 == 1 && number % 7 < 3)
}

/// The observations of a histogram; the sum is the same.
fn count(writer: usize, number: i64) -> u64 {
    writer as u64 * 1_000_000 + number.unsigned_abs()
}

/// How an answer shows what a request wrote into a series.
fn shown(writer: usize, at: usize, number: i64) -> String {
    if is_histogram(at, number) {
        let count = count(writer, number);
        return format!("{count} observations of {count}");
    }
    match value(writer, at, number) {
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => format!("{value}"),
    }
}

/// Writes requests from `first` on until `stop` or a failure; returns the ledger.
pub(super) fn write_until_killed(url: &str, writer: usize, first: i64, stop: &AtomicBool) -> Ledger {
    let http = http();
    let mut ledger = Ledger::default();
    for number in first..REQUESTS_MAX {
        if stop.load(Ordering::Relaxed) {
            return ledger;
        }
        let all = (0..SERIES).map(|at| one_series(writer, at, number)).collect();
        match write(&http, url, all) {
            Some(204) => ledger.requests.insert(number, true),
            Some(status) => panic!("writer {writer} got status {status}"),
            None => {
                ledger.requests.insert(number, false);
                return ledger;
            }
        };
    }
    panic!("more than {REQUESTS_MAX} requests; take fewer kills")
}

/// Compares what the server holds of every series with the ledgers; an unacknowledged request may be there or not,
/// but whole requests only.
pub(super) fn check(server: &Server, ledgers: &[Ledger], since: &[i64]) {
    for (writer, ledger) in ledgers.iter().enumerate() {
        let newest = ledger.requests.keys().copied().max().unwrap_or(0).max(1) + 16;
        let range_s = (newest - since[writer] + 1).max(1);
        let end_s = (*FIRST_MS + newest * STEP_MS) / 1000;
        let result = server.query(&format!("kill{{writer=\"{writer}\"}}[{range_s}s]"), &end_s.to_string());
        let mut kept_unacknowledged = BTreeMap::<i64, usize>::new();
        let mut series_seen = 0;
        for one in result.as_array().expect("a matrix") {
            series_seen += 1;
            let at: usize = one["metric"]["at"].as_str().and_then(|at| at.parse().ok()).expect("a number");
            let mut got = BTreeMap::new();
            for (ms, shown) in samples(one) {
                let twice = got.insert(ms, shown);
                assert!(twice.is_none(), "writer {writer} series {at}: two samples at {ms} ms");
            }
            let first_ms = *FIRST_MS + (newest - range_s) * STEP_MS;
            for (&number, &acknowledged) in &ledger.requests {
                let ms = timestamp_ms(number);
                if ms <= first_ms {
                    continue;
                }
                match got.remove(&ms) {
                    Some(found) => {
                        assert_eq!(found, shown(writer, at, number), "writer {writer} series {at} at {ms} ms");
                        if !acknowledged {
                            *kept_unacknowledged.entry(number).or_default() += 1;
                        }
                    }
                    None => assert!(!acknowledged, "writer {writer} series {at}: request {number} at {ms} ms is lost"),
                }
            }
            assert!(got.is_empty(), "writer {writer} series {at}: samples nobody wrote: {got:?}");
        }
        let expected = if ledger.requests.values().any(|&acknowledged| acknowledged) { SERIES } else { series_seen };
        assert_eq!(series_seen, expected, "writer {writer}: series");
        for (number, count) in kept_unacknowledged {
            assert_eq!(count, SERIES, "writer {writer}: request {number} is kept in part");
        }
    }
}
