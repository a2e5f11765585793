//! Writers whose samples stay for good: which of their requests were acknowledged, and what the server must hold of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use model::remote_write::TimeSeries;

use crate::support::{Server, counter_histogram, http, series};
use crate::{FIRST_MS, STEP_MS, samples, write};

/// Series of one writer, all in each of its requests.
pub(super) const SERIES: usize = 25;
/// Most requests of one writer: the next would be of the future.
const REQUESTS_MAX: i64 = 39 * 3_600_000 / STEP_MS;
/// Requests asked for at once.
const REQUESTS_ASKED: i64 = 4_000;
/// Of a copy so many are compared before the first that it may lack.
const COPIED_REQUESTS: i64 = 1_000;

/// What one writer knows: how many samples of each of its series were acknowledged, and which were tried.
#[derive(Debug, Default, Clone)]
pub(super) struct Ledger {
    /// Requests by number: true when acknowledged, false when the connection died on it.
    pub(super) requests: BTreeMap<i64, bool>,
}

impl Ledger {
    /// The number of the last request that was tried; -1 before the first.
    pub(super) fn newest(&self) -> i64 {
        self.requests.last_key_value().map_or(-1, |(&number, _)| number)
    }

    /// The number of the last request that was acknowledged; -1 before the first.
    pub(super) fn acknowledged(&self) -> i64 {
        self.requests.iter().rfind(|(_, acknowledged)| **acknowledged).map_or(-1, |(&number, _)| number)
    }
}

/// Every other request goes back in time, so that late samples are killed too.
fn timestamp_ms(number: i64) -> i64 {
    *FIRST_MS + swapped(number) * STEP_MS
}

/// The request whose samples are of `ms`.
fn number_of(ms: i64) -> i64 {
    swapped((ms - *FIRST_MS) / STEP_MS)
}

fn swapped(number: i64) -> i64 {
    if number % 16 < 8 { number ^ 1 } else { number }
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

/// Writes requests from `first` on until `stop` or a failure, and tells in `newest` what was acknowledged last.
pub(super) fn write_until_killed(
    url: &str,
    writer: usize,
    first: i64,
    stop: &AtomicBool,
    newest: &AtomicI64,
) -> Ledger {
    let http = http();
    let mut ledger = Ledger::default();
    for number in first..REQUESTS_MAX {
        if stop.load(Ordering::Relaxed) {
            return ledger;
        }
        let all = (0..SERIES).map(|at| one_series(writer, at, number)).collect();
        match write(&http, url, all) {
            Some(204) => {
                ledger.requests.insert(number, true);
                newest.store(number, Ordering::Release);
            }
            Some(status) => panic!("writer {writer} got status {status}"),
            None => {
                ledger.requests.insert(number, false);
                return ledger;
            }
        }
    }
    panic!("more than {REQUESTS_MAX} requests; take fewer kills")
}

/// In how many series the server has each of the requests `of` a writer, whose samples are as it wrote them.
fn held(server: &Server, writer: usize, ledger: &Ledger, of: &Range<i64>) -> BTreeMap<i64, usize> {
    // Requests in pairs may have changed places, and one whose answer never came may be there.
    let end_s = (*FIRST_MS + (of.end + 16) * STEP_MS) / 1000;
    let range_s = of.end + 16 - of.start + 2;
    let result = server.query(&format!("kill{{writer=\"{writer}\"}}[{range_s}s]"), &end_s.to_string());
    let mut held = BTreeMap::<i64, usize>::new();
    for one in result.as_array().expect("a matrix") {
        let at: usize = one["metric"]["at"].as_str().and_then(|at| at.parse().ok()).expect("a number");
        let mut seen = BTreeSet::new();
        for (ms, found) in samples(one) {
            let number = number_of(ms);
            assert!(seen.insert(number), "writer {writer} series {at}: two samples at {ms} ms");
            assert!(
                ledger.requests.contains_key(&number),
                "writer {writer} series {at}: nobody wrote {found} at {ms} ms"
            );
            assert_eq!(found, shown(writer, at, number), "writer {writer} series {at} at {ms} ms");
            *held.entry(number).or_default() += 1;
        }
    }
    held
}

/// Compares what the server holds of every series with the ledgers, from request `since` of each on; an unacknowledged
/// request may be there or not, but whole requests only.
pub(super) fn check(server: &Server, ledgers: &[Ledger], since: &[i64]) {
    for (writer, ledger) in ledgers.iter().enumerate() {
        let mut next = since[writer].max(0);
        while next <= ledger.newest() {
            let of = next..next + REQUESTS_ASKED;
            next = of.end;
            let held = held(server, writer, ledger, &of);
            for (&number, &acknowledged) in ledger.requests.range(of) {
                let count = held.get(&number).copied().unwrap_or(0);
                assert!(
                    count == SERIES || (!acknowledged && count == 0),
                    "writer {writer}: {count} of {SERIES} series have request {number}, acknowledged: {acknowledged}"
                );
            }
        }
    }
}

/// Compares a copy that was made beside the writers: of each it has all acknowledged up to the request `certain`, and maybe
/// some that follow, without a gap.
pub(super) fn check_copy(server: &Server, ledgers: &[Ledger], certain: &[i64]) {
    for (writer, ledger) in ledgers.iter().enumerate() {
        let of = (certain[writer] - COPIED_REQUESTS).max(0)..ledger.newest() + 1;
        let held = held(server, writer, ledger, &of);
        let mut ended = false;
        for (&number, &acknowledged) in ledger.requests.range(of) {
            let count = held.get(&number).copied().unwrap_or(0);
            let told =
                || format!("writer {writer}: a copy has request {number} of {} in {count} series", certain[writer]);
            assert!(count == 0 || count == SERIES, "{}, not in all", told());
            if acknowledged {
                ended |= count == 0;
                assert!(number > certain[writer] || !ended, "{}", told());
            }
            assert!(!ended || count == 0, "{}, and not one before it", told());
        }
    }
}
