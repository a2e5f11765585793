//! `kill -9` at random moments under load: every acknowledged sample, floats and native histograms, is there exactly
//! once, and no other. Meanwhile blocks are written and merged, asked for or not, samples and whole series become older than
//! the retention, thousands of series among them, series are summarised, and others are deleted and brought back; a file is imported, and
//! backups are taken, restored and compared. Servers are killed while they start, too, as are imports and restores. That all of this
//! happened is counted ([`work`]), and asked for at the end of a run of [`KILLS_FOR_ALL`] or more.
//!
//! `METRICKIT_KILLS` sets how often (a few by default, `make kill-loop` does 200), `METRICKIT_KILL_SECONDS` for how long at most,
//! `METRICKIT_SEED` repeats a run's choices; when what is acknowledged and what there is differ, the folder is kept, and told.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers of requests and of milliseconds, and counts, are far below 2^52 and not negative"
)]

mod backups;
mod bursts;
mod condensed;
mod doomed;
mod expiring;
mod imports;
mod ledger;
mod starts;
#[path = "../support/mod.rs"]
mod support;
mod upkeep;
mod work;

use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use backups::Backups;
use bursts::Bursts;
use condensed::{CONDENSED, Condensed, Count, SQUEEZED};
use doomed::{Doomed, Life};
use expiring::{Expiring, LIFE_MS};
use imports::Imports;
use ledger::{Ledger, SERIES};
use model::remote_write::TimeSeries;
use serde_json::Value;
use support::{KeptOnFailure, REMOTE_WRITE_HEADERS, Server, body, http, lasting_address, now_ms, request, try_post};
use work::Seen;

/// Writers at the same time; each has its own series and its own clock.
const WRITERS: usize = 4;
/// Distance of two samples of a series.
const STEP_MS: i64 = 1_000;
/// How long the server keeps samples. Days apart from each other are those in which samples expire, are summarised, and stay.
const RETENTION_MS: i64 = 100 * 3_600_000;
/// The setting for that.
const RETENTION: &str = "100h";
/// The time of the first sample that is to stay: far enough from both ends of what the server takes.
static FIRST_MS: LazyLock<i64> = LazyLock::new(|| (now_ms() - 40 * 3_600_000) / STEP_MS * STEP_MS);
/// So many of the newest requests of a writer are recent.
const RECENT_REQUESTS: i64 = 300;
/// Pause between two tries while the server has too much under way.
const BUSY_PAUSE: Duration = Duration::from_millis(2);
/// A run of so many kills sees everything happen.
const KILLS_FOR_ALL: u64 = 50;
/// A run tells how far it is after so many.
const KILLS_TOLD: u64 = 100;
/// A start takes so long on a machine that has nothing else to do; on one that is busier all lives are longer, up to so many times.
const QUIET_START: Duration = Duration::from_millis(60);
const LONGER_MAX: f64 = 5.0;
/// Of so many lives one has a backup, and one a burst of series.
const RARE: u64 = 8;
/// Lives under one set of rules.
const PHASE_LIVES: u64 = 6;

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

/// Everything that is written, and what is known of it.
#[derive(Debug)]
struct Written {
    ledgers: Vec<Ledger>,
    expiring: Expiring,
    doomed: Doomed,
    condensed: Condensed,
    squeezed: Condensed,
    bursts: Bursts,
    imports: Imports,
    backups: Backups,
    seen: Seen,
}

impl Written {
    /// Nothing yet; files besides the data go into `place`, and `url` is where servers listen.
    fn new(place: &Path, url: &str) -> Self {
        Self {
            ledgers: vec![Ledger::default(); WRITERS],
            expiring: Expiring::default(),
            doomed: Doomed::default(),
            condensed: Condensed::of(CONDENSED),
            squeezed: Condensed::of(SQUEEZED),
            bursts: Bursts::default(),
            imports: Imports::new(place, url),
            backups: Backups::new(place),
            seen: Seen::default(),
        }
    }

    /// Compares with what the server holds: everything, or of what stays only what is recent.
    fn check(&mut self, server: &Server, whole: bool) {
        let since: Vec<i64> =
            self.ledgers.iter().map(|ledger| if whole { 0 } else { ledger.newest() - RECENT_REQUESTS }).collect();
        ledger::check(server, &self.ledgers, &since);
        self.expiring.check(server);
        self.doomed.check(server, whole);
        self.condensed.check(server);
        self.squeezed.check(server);
        self.bursts.check(server);
        self.imports.check(server);
    }

    fn samples_acknowledged(&self) -> usize {
        let requests = self.ledgers.iter().flat_map(|ledger| ledger.requests.values());
        requests.filter(|acknowledged| **acknowledged).count() * SERIES
    }
}

/// One life of the server, by its number.
#[derive(Debug, Clone, Copy)]
struct Plan(u64);

impl Plan {
    /// Whether the rules let samples go that have summaries, and nothing is written in those days.
    fn is_still(self) -> bool {
        self.0 / PHASE_LIVES % 3 == 2
    }

    fn has_backup(self) -> bool {
        self.0 % RARE == 3
    }

    fn has_burst(self) -> bool {
        self.0 % RARE == 5
    }

    /// The arguments of its server. Blocks are small, so that flushes and merges are killed too; now and then the log is long,
    /// so that replaying it is.
    fn args(self) -> Vec<String> {
        let (log, segment) = if self.0 % 5 == 4 { ("2MiB", "256KiB") } else { ("128KiB", "32KiB") };
        let rules = condensed::rules(self.is_still());
        let pairs = [
            ("--retention", RETENTION),
            ("--flush-log-bytes", log),
            ("--log-segment-bytes", segment),
            ("--retention-rules", &rules),
            ("--delete-undo", doomed::UNDO_SETTING),
        ];
        pairs.iter().flat_map(|(flag, value)| [(*flag).to_owned(), (*value).to_owned()]).collect()
    }
}

#[test]
fn kills_lose_and_double_nothing() {
    let kills = setting("METRICKIT_KILLS", 6);
    let seconds = setting("METRICKIT_KILL_SECONDS", u64::MAX);
    let seed = setting("METRICKIT_SEED", std::process::id().into());
    println!("METRICKIT_SEED={seed} METRICKIT_KILLS={kills}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = KeptOnFailure(tempfile::tempdir().expect("a temporary folder"));
    let data = folder.0.path().join("data");
    let address = lasting_address(&mut random);
    let mut written = Written::new(folder.0.path(), &format!("http://{address}"));
    let (begun, mut ready) = (Instant::now(), Duration::from_millis(50));
    let mut done = 0;
    while done < kills && begun.elapsed().as_secs() < seconds {
        let plan = Plan(done);
        let args = plan.args();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        for _ in 0..random.u32(0..3) {
            starts::start_and_kill(&data, &args, ready, &mut random);
            written.seen.add("starts killed", 1);
        }
        let started = Instant::now();
        let server = Server::start_at("server", &address, &data, &args);
        ready = started.elapsed();
        // Everything now and then: always would make the loop quadratic.
        written.check(&server, done.is_power_of_two());
        load_and_kill(server, plan, ready, &mut random, &mut written);
        written.backups.verify(&args, &written.ledgers, &mut random, &mut written.seen);
        done += 1;
        if done.is_multiple_of(KILLS_TOLD) {
            println!("{done} kills in {} s: {}", begun.elapsed().as_secs(), written.seen);
        }
    }
    let cycle_ms = begun.elapsed().as_millis() / u128::from(done.max(1));
    finish(&address, &data, Plan(done), &mut written);
    println!(
        "{done} kills, {cycle_ms} ms each, {} samples acknowledged, none lost, none twice; {}",
        written.samples_acknowledged(),
        written.seen
    );
    assert!(written.samples_acknowledged() > 0, "writers got something through");
    let missing = written.seen.missing();
    assert!(done < KILLS_FOR_ALL || missing.is_empty(), "in {done} kills there never were: {missing:?}");
}

/// Compares everything, and ends what may be left to do: what expires has expired, and is flushed, merged and dropped.
fn finish(address: &str, data: &Path, plan: Plan, written: &mut Written) {
    let args = plan.args();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let server = Server::start_at("server", address, data, &args);
    written.check(&server, true);
    // What was removed in lives before may not have been counted when they ended.
    written.expiring.write_once(&server.url, plan.0);
    std::thread::sleep(Duration::from_millis(LIFE_MS.unsigned_abs()));
    for path in ["flush", "merge"] {
        let answer = server.post(&format!("/api/v1/admin/{path}"), &[], &[]);
        assert!(answer.status < 300, "{path}: {} {}", answer.status, answer.body);
    }
    written.seen.note(&http(), &server.url);
    for what in ["flushes", "merges", "series removed"] {
        assert!(written.seen.of(what) > 0, "no {what}: {}", written.seen);
    }
    written.doomed.check_names(&server);
    written.check(&server, true);
    let (status, _) = server.stop();
    assert!(status.success(), "a clean stop exits with 0, not {status}");
}

/// Writes with all writers at the same time, and kills the server, which was `ready` after so long, at some moment of it.
fn load_and_kill(server: Server, plan: Plan, ready: Duration, random: &mut fastrand::Rng, written: &mut Written) {
    let Written { ledgers, expiring, doomed, condensed, squeezed, bursts, imports, backups, seen } = written;
    let (stop, url, life) = (AtomicBool::new(false), server.url.clone(), plan.0);
    let newest: Vec<AtomicI64> = ledgers.iter().map(|ledger| ledger.acknowledged().into()).collect();
    let is_kept = random.u8(0..3) > 0;
    let longer = ready.div_duration_f64(QUIET_START).clamp(1.0, LONGER_MAX);
    let pause = Duration::from_millis(random.u64(5..if is_kept { 900 } else { 400 })).mul_f64(longer);
    imports.tend(random, seen);
    let quiet = AtomicBool::new(true);
    let mut choices = [random.fork(), random.fork(), random.fork()];
    std::thread::scope(|scope| {
        let (url, stop, newest) = (&url, &stop, &newest);
        let stop_passing = if plan.is_still() { &quiet } else { stop };
        let writers: Vec<_> = ledgers
            .iter()
            .enumerate()
            .map(|(writer, ledger)| {
                let first = ledger.newest() + 1;
                scope.spawn(move || ledger::write_until_killed(url, writer, first, stop, &newest[writer]))
            })
            .collect();
        let expires = scope.spawn(move || Expiring::write_until_killed(url, life, stop_passing));
        let lives = scope.spawn(move || Life::write_until_killed(url, life, stop));
        let counted = [CONDENSED, SQUEEZED]
            .map(|name| scope.spawn(move || Count::write_until_killed(url, name, life, stop_passing)));
        let [of_doomed, of_upkeep, of_others] = &mut choices;
        let changed = scope.spawn(move || {
            let mut seen = Seen::default();
            doomed.change_until_killed(url, of_doomed, stop, &mut seen);
            (doomed, seen)
        });
        let asked = scope.spawn(move || {
            let mut seen = Seen::default();
            if is_kept {
                upkeep::ask_until_killed(url, of_upkeep, stop, &mut seen);
            }
            seen
        });
        let rare = scope.spawn(move || {
            let mut seen = Seen::default();
            std::thread::sleep(pause.mul_f64(of_others.f64()));
            if plan.has_backup() {
                backups.take(url, newest, of_others.bool(), &mut seen);
            } else if plan.has_burst() {
                bursts.write(url, life);
            } else if of_others.bool() {
                bursts.write_again(url);
            }
            seen
        });
        std::thread::sleep(pause);
        seen.note(&http(), url);
        server.kill();
        stop.store(true, Ordering::Relaxed);
        for (ledger, writer) in ledgers.iter_mut().zip(writers) {
            ledger.requests.extend(writer.join().expect("a writer ends").requests);
        }
        expiring.0.extend(expires.join().expect("a writer ends").0);
        let (doomed, of_doomed) = changed.join().expect("who deletes ends");
        doomed.add(life, lives.join().expect("a writer ends"));
        let [of_condensed, of_squeezed] = counted.map(|counted| counted.join().expect("a writer ends"));
        condensed.add(life, of_condensed);
        squeezed.add(life, of_squeezed);
        seen.add_all(of_doomed);
        seen.add_all(asked.join().expect("who asks ends"));
        seen.add_all(rare.join().expect("backups and bursts end"));
    });
}
