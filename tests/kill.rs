//! `kill -9` at random moments under load: every acknowledged sample, floats and native histograms, is there exactly
//! once, and no other.
//!
//! `METRICKIT_KILLS` sets how often (a few by default, `make kill-loop` does 200), `METRICKIT_SEED` repeats a run.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "numbers of requests and of milliseconds are far below 2^52"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::remote_write::TimeSeries;
use serde_json::Value;
use support::{REMOTE_WRITE_HEADERS, Server, body, counter_histogram, http, request, series, try_post};

/// Writers at the same time; each has its own series and its own clock.
const WRITERS: usize = 4;
/// Series of one writer, all in each of its requests.
const SERIES: usize = 25;
/// Distance of two samples of a series.
const STEP_MS: i64 = 1_000;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// What one writer knows: how many samples of each of its series were acknowledged, and which were tried.
#[derive(Debug, Default, Clone)]
struct Ledger {
    /// Requests by number: true when acknowledged, false when the connection died on it.
    requests: BTreeMap<i64, bool>,
}

/// Every other request goes back in time, so that late samples are killed too.
fn timestamp_ms(number: i64) -> i64 {
    let swapped = if number % 16 < 8 { number ^ 1 } else { number };
    1_000_000 + swapped * STEP_MS
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

/// The samples of both kinds in an element of a matrix: time in milliseconds and how it is [shown].
fn samples(element: &Value) -> impl Iterator<Item = (i64, String)> + '_ {
    let list = |key: &str| element[key].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().expect("a number as text").to_owned();
    let ms = |pair: &Value| (pair[0].as_f64().expect("a time") * 1000.0).round() as i64;
    let floats = list("values").map(move |pair| (ms(pair), text(&pair[1])));
    let histograms = list("histograms").map(move |pair| {
        let (count, sum) = (text(&pair[1]["count"]), text(&pair[1]["sum"]));
        (ms(pair), format!("{count} observations of {sum}"))
    });
    floats.chain(histograms)
}

/// Writes requests from `first` on until `stop` or a failure; returns the ledger.
fn write_until_killed(url: &str, writer: usize, first: i64, stop: &AtomicBool) -> Ledger {
    let http = http();
    let mut ledger = Ledger::default();
    for number in first.. {
        if stop.load(Ordering::Relaxed) {
            return ledger;
        }
        let all = (0..SERIES).map(|at| one_series(writer, at, number)).collect();
        let answer = try_post(&http, &format!("{url}/api/v1/write"), &REMOTE_WRITE_HEADERS, &body(&request(all)));
        match answer {
            Ok(answer) if answer.status() == 204 => ledger.requests.insert(number, true),
            Ok(answer) => panic!("writer {writer} got status {}", answer.status()),
            Err(_) => {
                ledger.requests.insert(number, false);
                return ledger;
            }
        };
    }
    ledger
}

/// Compares what the server holds of every series with the ledgers; an unacknowledged request may be there or not,
/// but whole requests only.
fn check(server: &Server, ledgers: &[Ledger], since: &[i64]) {
    for (writer, ledger) in ledgers.iter().enumerate() {
        let newest = ledger.requests.keys().copied().max().unwrap_or(0).max(1) + 16;
        let range_s = (newest - since[writer] + 1).max(1);
        let end_s = (1_000_000 + newest * STEP_MS) / 1000;
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
            let first_ms = 1_000_000 + (newest - range_s) * STEP_MS;
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

#[test]
fn kills_lose_and_double_nothing() {
    let kills = setting("METRICKIT_KILLS", 6);
    let seed = setting("METRICKIT_SEED", std::process::id().into());
    println!("METRICKIT_SEED={seed} METRICKIT_KILLS={kills}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Small enough that flushes and merges are killed too.
    let args = ["--retention", "off", "--flush-log-bytes", "128KiB", "--log-segment-bytes", "32KiB"];
    let mut ledgers = vec![Ledger::default(); WRITERS];
    for kill in 0..kills {
        let server = Server::start(folder.path(), &args);
        // Everything now and then, else what is recent: the whole would make the loop quadratic.
        let whole = kill % 20 == 0;
        let since: Vec<i64> = ledgers
            .iter()
            .map(|ledger| if whole { 0 } else { ledger.requests.keys().copied().max().unwrap_or(0) - 300 })
            .collect();
        check(&server, &ledgers, &since);
        let stop = AtomicBool::new(false);
        let url = server.url.clone();
        let pause = Duration::from_millis(random.u64(5..400));
        std::thread::scope(|scope| {
            let writers: Vec<_> = ledgers
                .iter()
                .enumerate()
                .map(|(writer, ledger)| {
                    let first = ledger.requests.keys().copied().max().map_or(0, |newest| newest + 1);
                    let (url, stop) = (&url, &stop);
                    scope.spawn(move || write_until_killed(url, writer, first, stop))
                })
                .collect();
            std::thread::sleep(pause);
            server.kill();
            stop.store(true, Ordering::Relaxed);
            for (ledger, writer) in ledgers.iter_mut().zip(writers) {
                ledger.requests.extend(writer.join().expect("a writer ends").requests);
            }
        });
    }
    let server = Server::start(folder.path(), &args);
    check(&server, &ledgers, &[0; WRITERS]);
    let acknowledged: usize = ledgers.iter().map(|l| l.requests.values().filter(|&&a| a).count()).sum();
    println!("{kills} kills, {} samples acknowledged, none lost, none twice", acknowledged * SERIES);
    assert!(acknowledged > 0, "writers got something through");
    let (status, _) = server.stop();
    assert!(status.success(), "a clean stop exits with 0, not {status}");
}
