//! `kill -9` at random moments under load: every acknowledged sample, floats and native histograms, is there exactly
//! once, and no other. Meanwhile blocks are written and merged, asked for or not, and samples and whole series become
//! older than the retention; that all of this happened is asked of `/metrics`.
//!
//! `METRICKIT_KILLS` sets how often (a few by default, `make kill-loop` does 200), `METRICKIT_SEED` repeats a run.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers of requests and of milliseconds, and counts, are far below 2^52 and not negative"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use model::remote_write::TimeSeries;
use serde_json::Value;
use support::{REMOTE_WRITE_HEADERS, Server, body, counter_histogram, http, now_ms, request, series, try_post};

/// Writers at the same time; each has its own series and its own clock.
const WRITERS: usize = 4;
/// Series of one writer, all in each of its requests.
const SERIES: usize = 25;
/// Distance of two samples of a series.
const STEP_MS: i64 = 1_000;
/// How long the server keeps samples.
const RETENTION_MS: i64 = 48 * 3_600_000;
/// The setting for that.
const RETENTION: &str = "48h";
/// The time of the first sample that is to stay: far enough from both ends of what the server takes.
static FIRST_MS: LazyLock<i64> = LazyLock::new(|| (now_ms() - 40 * 3_600_000) / STEP_MS * STEP_MS);
/// Most requests of one writer: the next would be of the future.
const REQUESTS_MAX: i64 = 39 * 3_600_000 / STEP_MS;
/// How long the samples live that expire in the course of the loop.
const LIFE_MS: i64 = 4_000;
/// Series in each request of those.
const EXPIRING_SERIES: usize = 5;
/// Pause between two tries while the server has too much under way.
const BUSY_PAUSE: Duration = Duration::from_millis(2);

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

/// Sends one request again until it is neither refused as too much nor cut off; the status, or nothing when the
/// connection died.
fn write(http: &ureq::Agent, url: &str, all: Vec<TimeSeries>) -> Option<u16> {
    let body = body(&request(all));
    loop {
        match try_post(http, &format!("{url}/api/v1/write"), &REMOTE_WRITE_HEADERS, &body) {
            Ok(answer) if answer.status() == 503 => std::thread::sleep(BUSY_PAUSE),
            Ok(answer) => return Some(answer.status().as_u16()),
            Err(_) => return None,
        }
    }
}

/// Writes requests from `first` on until `stop` or a failure; returns the ledger.
fn write_until_killed(url: &str, writer: usize, first: i64, stop: &AtomicBool) -> Ledger {
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

/// Requests whose samples expire soon after they were written, by their time: whether they were acknowledged. Each life
/// of the server has series of its own, which go with their samples.
#[derive(Debug, Default)]
struct Expiring(BTreeMap<i64, (u64, bool)>);

impl Expiring {
    /// Writes until `stop` or a failure, in the life `life`.
    fn write_until_killed(url: &str, life: u64, stop: &AtomicBool) -> Self {
        let http = http();
        let mut written = Self::default();
        while !stop.load(Ordering::Relaxed) {
            let time_ms = now_ms() - RETENTION_MS + LIFE_MS;
            let labels =
                |at: usize| [("__name__", "expiring".to_owned()), ("at", at.to_string()), ("life", life.to_string())];
            let one = |at| {
                let labels = labels(at);
                let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
                series(&labels, &[(time_ms, life as f64)])
            };
            let status = write(&http, url, (0..EXPIRING_SERIES).map(one).collect());
            match status {
                // On a busy machine it may have expired on its way.
                Some(204 | 400) | None => written.0.insert(time_ms, (life, status == Some(204))),
                Some(status) => panic!("the writer of what expires got status {status}"),
            };
            if status.is_none() {
                break;
            }
            // One value a time.
            std::thread::sleep(Duration::from_millis(2));
        }
        written
    }

    /// Compares with what the server holds: everything acknowledged that is young enough, nothing that is too old.
    fn check(&mut self, server: &Server) {
        let before_ms = now_ms() - RETENTION_MS;
        let end_ms = before_ms + 2 * LIFE_MS;
        let result = server.query("expiring[1m]", &format!("{}.{:03}", end_ms / 1000, end_ms % 1000));
        let after_ms = now_ms() - RETENTION_MS;
        let mut found = BTreeMap::<i64, usize>::new();
        for one in result.as_array().expect("a matrix") {
            for (ms, shown) in samples(one) {
                let known = self.0.get(&ms).map(|(life, _)| life.to_string());
                assert_eq!(known.as_deref(), Some(shown.as_str()), "a sample nobody wrote, of {}", one["metric"]);
                assert_eq!(one["metric"]["life"].as_str(), known.as_deref());
                assert!(ms >= before_ms, "a sample is read {} ms after it expired", before_ms - ms);
                *found.entry(ms).or_default() += 1;
            }
        }
        for (ms, (_, acknowledged)) in self.0.range(after_ms + 1..) {
            let count = found.get(ms).copied().unwrap_or(0);
            assert!(
                count == EXPIRING_SERIES || (!acknowledged && count == 0),
                "{count} samples of a request at {ms} ms"
            );
        }
        self.0 = self.0.split_off(&before_ms);
    }
}

/// What servers did besides taking samples, as far as it was seen before they were killed.
#[derive(Debug, Default)]
struct Work {
    flushes: u64,
    merges: u64,
    blocks_dropped: u64,
    series_removed: u64,
}

impl Work {
    /// Adds what this server has done since it started; a server that does not answer adds nothing.
    fn note(&mut self, http: &ureq::Agent, url: &str) {
        let Ok(mut answer) = http.get(format!("{url}/metrics")).call() else { return };
        let Ok(text) = answer.body_mut().read_to_string() else { return };
        let count = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.trim().parse::<f64>().ok()).map_or(0, |value| value as u64)
        };
        self.flushes += count("metrickit_flushes_total");
        self.merges += count("metrickit_merges_total");
        self.blocks_dropped += count("metrickit_blocks_dropped_total");
        self.series_removed += count("metrickit_series_removed_total");
    }
}

/// Ends what may be left to do at the end: what expires has expired, and is flushed, merged and dropped.
fn finish(server: &Server, work: &mut Work) {
    std::thread::sleep(Duration::from_millis(LIFE_MS.unsigned_abs()));
    for path in ["flush", "merge"] {
        let answer = server.post(&format!("/api/v1/admin/{path}"), &[], &[]);
        assert!(answer.status < 300, "{path}: {} {}", answer.status, answer.body);
    }
    work.note(&http(), &server.url);
    assert!(work.flushes > 0 && work.merges > 0 && work.series_removed > 0, "{work:?}");
}

/// Compares what the server holds of every series with the ledgers; an unacknowledged request may be there or not,
/// but whole requests only.
fn check(server: &Server, ledgers: &[Ledger], since: &[i64]) {
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

/// Asks the server, after a moment, for what it does by itself now and then: blocks written, and all merged.
fn ask_for_blocks(url: &str, pause: Duration, merge: bool) {
    std::thread::sleep(pause);
    let path = if merge { "merge" } else { "flush" };
    // It is killed meanwhile, or busy with another.
    drop(try_post(&http(), &format!("{url}/api/v1/admin/{path}"), &[], &[]));
}

#[test]
fn kills_lose_and_double_nothing() {
    let kills = setting("METRICKIT_KILLS", 6);
    let seed = setting("METRICKIT_SEED", std::process::id().into());
    println!("METRICKIT_SEED={seed} METRICKIT_KILLS={kills}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Small enough that flushes and merges are killed too.
    let args = ["--retention", RETENTION, "--flush-log-bytes", "128KiB", "--log-segment-bytes", "32KiB"];
    let mut ledgers = vec![Ledger::default(); WRITERS];
    let mut expiring = Expiring::default();
    let mut work = Work::default();
    let begun = Instant::now();
    for kill in 0..kills {
        let server = Server::start(folder.path(), &args);
        // Everything now and then, else what is recent: the whole would make the loop quadratic.
        let whole = kill.is_power_of_two();
        let since: Vec<i64> = ledgers
            .iter()
            .map(|ledger| if whole { 0 } else { ledger.requests.keys().copied().max().unwrap_or(0) - 300 })
            .collect();
        check(&server, &ledgers, &since);
        expiring.check(&server);
        load_and_kill(server, kill, &mut random, &mut ledgers, &mut expiring, &mut work);
    }
    let cycle_ms = begun.elapsed().as_millis() / u128::from(kills.max(1));
    let server = Server::start(folder.path(), &args);
    check(&server, &ledgers, &[0; WRITERS]);
    expiring.check(&server);
    finish(&server, &mut work);
    check(&server, &ledgers, &[0; WRITERS]);
    let acknowledged: usize = ledgers.iter().map(|l| l.requests.values().filter(|&&a| a).count()).sum();
    println!(
        "{kills} kills, {cycle_ms} ms each, {} samples acknowledged, none lost, none twice; {work:?}",
        acknowledged * SERIES
    );
    assert!(acknowledged > 0, "writers got something through");
    let (status, _) = server.stop();
    assert!(status.success(), "a clean stop exits with 0, not {status}");
}

/// Writes with all writers at the same time, and kills the server at some moment of it.
fn load_and_kill(
    server: Server,
    kill: u64,
    random: &mut fastrand::Rng,
    ledgers: &mut [Ledger],
    expiring: &mut Expiring,
    work: &mut Work,
) {
    let stop = AtomicBool::new(false);
    let url = server.url.clone();
    let pause = Duration::from_millis(random.u64(5..400));
    let blocks = (random.u8(..3) == 0).then(|| (pause.mul_f64(random.f64()), random.bool()));
    std::thread::scope(|scope| {
        let (url, stop) = (&url, &stop);
        let writers: Vec<_> = ledgers
            .iter()
            .enumerate()
            .map(|(writer, ledger)| {
                let first = ledger.requests.keys().copied().max().map_or(0, |newest| newest + 1);
                scope.spawn(move || write_until_killed(url, writer, first, stop))
            })
            .collect();
        let expires = scope.spawn(move || Expiring::write_until_killed(url, kill, stop));
        if let Some((pause, merge)) = blocks {
            scope.spawn(move || ask_for_blocks(url, pause, merge));
        }
        std::thread::sleep(pause);
        work.note(&http(), url);
        server.kill();
        stop.store(true, Ordering::Relaxed);
        for (ledger, writer) in ledgers.iter_mut().zip(writers) {
            ledger.requests.extend(writer.join().expect("a writer ends").requests);
        }
        expiring.0.extend(expires.join().expect("a writer ends").0);
    });
}
