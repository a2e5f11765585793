//! `kill -9` at random moments under load: every acknowledged sample, floats and native histograms, is there exactly
//! once, and no other. Meanwhile blocks are written and merged, asked for or not, samples and whole series become older than
//! the retention, series are summarised, and others are deleted and brought back; that all of this happened is asked of
//! `/metrics`.
//!
//! `METRICKIT_KILLS` sets how often (a few by default, `make kill-loop` does 200), `METRICKIT_SEED` repeats a run.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers of requests and of milliseconds, and counts, are far below 2^52 and not negative"
)]

mod condensed;
mod doomed;
mod expiring;
mod ledger;
#[path = "../support/mod.rs"]
mod support;

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use condensed::{Condensed, Count};
use doomed::{Doomed, Life};
use expiring::{Expiring, LIFE_MS};
use ledger::{Ledger, SERIES};
use model::remote_write::TimeSeries;
use serde_json::Value;
use support::{REMOTE_WRITE_HEADERS, Server, body, http, now_ms, request, try_post};

/// Writers at the same time; each has its own series and its own clock.
const WRITERS: usize = 4;
/// Distance of two samples of a series.
const STEP_MS: i64 = 1_000;
/// How long the server keeps samples.
const RETENTION_MS: i64 = 48 * 3_600_000;
/// The setting for that.
const RETENTION: &str = "48h";
/// The time of the first sample that is to stay: far enough from both ends of what the server takes.
static FIRST_MS: LazyLock<i64> = LazyLock::new(|| (now_ms() - 40 * 3_600_000) / STEP_MS * STEP_MS);
/// So many of the newest requests of a writer are recent.
const RECENT_REQUESTS: i64 = 300;
/// Pause between two tries while the server has too much under way.
const BUSY_PAUSE: Duration = Duration::from_millis(2);

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
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

/// The samples of both kinds in an element of a matrix: time in milliseconds and how it is shown.
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

/// What servers did besides taking samples, as far as it was seen before they were killed.
#[derive(Debug, Default)]
struct Work {
    flushes: u64,
    merges: u64,
    blocks_dropped: u64,
    series_removed: u64,
    partitions_summarised: u64,
    blocks_rewritten: u64,
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
        self.partitions_summarised += count("metrickit_partitions_summarised_total");
        self.blocks_rewritten += count("metrickit_blocks_rewritten_total");
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
    assert!(work.partitions_summarised > 0, "{work:?}");
}

/// Asks the server, after a moment, for what it does by itself now and then: blocks written, and all merged.
fn ask_for_blocks(url: &str, pause: Duration, merge: bool) {
    std::thread::sleep(pause);
    let path = if merge { "merge" } else { "flush" };
    // It is killed meanwhile, or busy with another.
    drop(try_post(&http(), &format!("{url}/api/v1/admin/{path}"), &[], &[]));
}

/// Everything that is written, and what is known of it.
#[derive(Debug, Default)]
struct Written {
    ledgers: Vec<Ledger>,
    expiring: Expiring,
    doomed: Doomed,
    condensed: Condensed,
    work: Work,
}

impl Written {
    /// Compares with what the server holds: everything, or of what stays only what is recent.
    fn check(&mut self, server: &Server, whole: bool) {
        let newest = |ledger: &Ledger| ledger.requests.keys().copied().max().unwrap_or(0);
        let since: Vec<i64> =
            self.ledgers.iter().map(|ledger| if whole { 0 } else { newest(ledger) - RECENT_REQUESTS }).collect();
        ledger::check(server, &self.ledgers, &since);
        self.expiring.check(server);
        self.doomed.check(server);
        self.condensed.check(server);
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
    let mut args = vec!["--retention", RETENTION, "--flush-log-bytes", "128KiB", "--log-segment-bytes", "32KiB"];
    args.extend(["--retention-rules", condensed::RULE, "--delete-undo", doomed::UNDO]);
    let mut written = Written { ledgers: vec![Ledger::default(); WRITERS], ..Written::default() };
    let begun = Instant::now();
    for kill in 0..kills {
        let server = Server::start(folder.path(), &args);
        // Everything now and then: always would make the loop quadratic.
        written.check(&server, kill.is_power_of_two());
        load_and_kill(server, kill, &mut random, &mut written);
    }
    let cycle_ms = begun.elapsed().as_millis() / u128::from(kills.max(1));
    let server = Server::start(folder.path(), &args);
    written.check(&server, true);
    finish(&server, &mut written.work);
    written.doomed.check_names(&server);
    written.check(&server, true);
    let Written { ledgers, doomed, work, .. } = &written;
    let acknowledged: usize = ledgers.iter().map(|l| l.requests.values().filter(|&&a| a).count()).sum();
    println!(
        "{kills} kills, {cycle_ms} ms each, {} samples acknowledged, none lost, none twice; {} deletes, {} undone; {work:?}",
        acknowledged * SERIES,
        doomed.deletes,
        doomed.undos,
    );
    assert!(acknowledged > 0, "writers got something through");
    let (status, _) = server.stop();
    assert!(status.success(), "a clean stop exits with 0, not {status}");
}

/// Writes with all writers at the same time, and kills the server at some moment of it.
fn load_and_kill(server: Server, kill: u64, random: &mut fastrand::Rng, written: &mut Written) {
    let Written { ledgers, expiring, doomed, condensed, work } = written;
    let stop = AtomicBool::new(false);
    let url = server.url.clone();
    let pause = Duration::from_millis(random.u64(5..400));
    let blocks = (random.u8(..3) == 0).then(|| (pause.mul_f64(random.f64()), random.bool()));
    let mut choices = random.fork();
    std::thread::scope(|scope| {
        let (url, stop) = (&url, &stop);
        let writers: Vec<_> = ledgers
            .iter()
            .enumerate()
            .map(|(writer, ledger)| {
                let first = ledger.requests.keys().copied().max().map_or(0, |newest| newest + 1);
                scope.spawn(move || ledger::write_until_killed(url, writer, first, stop))
            })
            .collect();
        let expires = scope.spawn(move || Expiring::write_until_killed(url, kill, stop));
        let lives = scope.spawn(move || Life::write_until_killed(url, kill, stop));
        let counted = scope.spawn(move || Count::write_until_killed(url, kill, stop));
        let changed = scope.spawn(move || {
            std::thread::sleep(pause.mul_f64(choices.f64()));
            doomed.change_one(url, &mut choices);
            doomed
        });
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
        changed.join().expect("who deletes ends").add(kill, lives.join().expect("a writer ends"));
        condensed.add(kill, counted.join().expect("a writer ends"));
    });
}
