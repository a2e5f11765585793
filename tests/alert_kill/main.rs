//! `kill -9` at random moments while rules are evaluated and people are told: no alert is lost, none has its time reset, and no notification is
//! sent twice but for those that were on their way, once each ([`verdict`]).
//!
//! Values rise and fall ([`world`]), the rules and routes of [`scenario`] make alerts and notifications of them, a [`sink`] takes these slowly,
//! and the server is killed at any [`moment`] of it, or while it starts.
//!
//! `METRICKIT_ALERT_KILLS` sets how often (a few by default, `make alert-kill-loop` does 100), `METRICKIT_ALERT_KILL_SEED` repeats a run's choices. Where
//! something is wrong the folder is kept, and told.

#![expect(clippy::cast_possible_truncation, reason = "times in milliseconds are far below 2^52")]

mod moment;
mod scenario;
mod sink;
#[path = "../kill/starts.rs"]
mod starts;
#[path = "../support/mod.rs"]
mod support;
mod verdict;
#[path = "../alerting/web.rs"]
mod web;
mod world;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use moment::Moment;
use serde_json::Value;
use sink::Sink;
use support::{PATIENCE, Server, http, now_ms};
use verdict::{Evidence, State, Subject};
use world::World;

/// Time between two samples of a value.
const STEP: Duration = Duration::from_millis(100);
/// So many steps are between two questions to the API.
const STEPS_OF_ANSWERS: u64 = 4;
/// How long all is quiet at the end before it counts as such: longer than any group waits.
const QUIET: Duration = Duration::from_secs(4);
/// A run of so many kills sees something killed while it was on its way.
const KILLS_FOR_ALL: u64 = 50;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// A server's lives.
struct Lives<'a> {
    address: String,
    data: &'a Path,
    args: Vec<String>,
    /// The number of the next.
    next: u64,
}

impl Lives<'_> {
    /// The arguments of the next life, which says its number in what it tells.
    fn args(&mut self) -> (u64, Vec<String>) {
        let life = self.next;
        self.next += 1;
        let url = ["--external-url".to_owned(), format!("http://life-{life}")];
        (life, self.args.iter().cloned().chain(url).collect())
    }

    fn start(&mut self) -> (u64, Server) {
        let (life, args) = self.args();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        (life, Server::start_at("server", &self.address, self.data, &args))
    }

    fn start_and_kill(&mut self, random: &mut fastrand::Rng) {
        let (_, args) = self.args();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        starts::start_and_kill(self.data, &args, Duration::from_millis(500), random);
    }
}

fn time_ms(value: &Value) -> i64 {
    value.as_str().and_then(|text| text.parse::<Timestamp>().ok()).expect("a time").as_millisecond()
}

fn name_of(labels: &Value) -> String {
    let text = |name: &str| labels[name].as_str().unwrap_or_default().to_owned();
    format!("{} {}", text("alertname"), text("host"))
}

/// What the API tells of alerts; nothing where the server has ended.
fn answers(client: &ureq::Agent, url: &str) -> Vec<State> {
    let answer = support::try_read(client.get(format!("{url}/api/v1/alerts")).call());
    let (Some(answer), at_ms) = (answer.filter(|answer| answer.status == 200), now_ms()) else { return Vec::new() };
    let answer = answer.json();
    let alerts = answer["data"]["alerts"].as_array().into_iter().flatten();
    let state = |alert: &Value| {
        let since_ms = time_ms(&alert["activeAt"]);
        State {
            name: name_of(&alert["labels"]),
            at_ms,
            fires: alert["state"] == "firing",
            active_ms: (since_ms, since_ms),
        }
    };
    alerts.map(state).collect()
}

/// The samples of `metric`, by alert and time, with the word of their state.
fn samples(server: &Server, metric: &str) -> BTreeMap<(i64, String), (f64, bool)> {
    let now = format!("{}", now_ms() / 1000 + 5);
    let mut found = BTreeMap::new();
    for series in server.query(&format!("{metric}[3h]"), &now).as_array().into_iter().flatten() {
        let name = name_of(&series["metric"]);
        for pair in series["values"].as_array().into_iter().flatten() {
            let at_ms = (pair[0].as_f64().expect("a time") * 1000.0).round() as i64;
            let value = pair[1].as_str().and_then(|text| text.parse().ok()).expect("a number");
            found.insert((at_ms, name.clone()), (value, series["metric"]["alertstate"] == "firing"));
        }
    }
    found
}

/// What evaluations left behind.
fn series(server: &Server) -> Vec<State> {
    let (states, since) = (samples(server, "ALERTS"), samples(server, "ALERTS_FOR_STATE"));
    let state = |((at_ms, name), (_, fires)): ((i64, String), (f64, bool))| {
        let (seconds, _) = since.get(&(at_ms, name.clone()))?;
        let since_ms = *seconds as i64 * 1000;
        Some(State { name, at_ms, fires, active_ms: (since_ms, since_ms + 999) })
    };
    states.into_iter().filter_map(state).collect()
}

/// Writes values until `stop`, and then until all is over, or [`PATIENCE`] is. What the API told meanwhile.
fn live(world: &mut World, url: &str, sink: &Sink, stop: &AtomicBool) -> Vec<State> {
    let client = http();
    let mut ends: Option<Instant> = None;
    let mut told = Vec::new();
    for step in 0_u64.. {
        if stop.load(Ordering::Relaxed) && ends.is_none() {
            ends = Some(Instant::now());
        }
        let is_over = world.step(&client, url, sink, ends.is_some());
        if is_over || ends.is_some_and(|since| since.elapsed() > PATIENCE) {
            break;
        }
        if step % STEPS_OF_ANSWERS == 0 {
            told.extend(answers(&client, url));
        }
        std::thread::sleep(STEP);
    }
    told
}

/// Ends the world when it is dropped, also where a test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn kills_lose_reset_and_double_nothing() {
    let kills = setting("METRICKIT_ALERT_KILLS", 6);
    let seed = setting("METRICKIT_ALERT_KILL_SEED", std::process::id().into());
    println!("METRICKIT_ALERT_KILL_SEED={seed} METRICKIT_ALERT_KILLS={kills}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = support::KeptOnFailure(tempfile::tempdir().expect("a temporary folder"));
    let sink = Sink::start(random.fork());
    let args = scenario::write(folder.0.path(), sink.address());
    let (address, data) = (support::lasting_address(&mut random), folder.0.path().join("data"));
    let url = format!("http://{address}");
    let mut lives = Lives { address, data: &data, args, next: 0 };
    let mut world = World::new(random.fork());
    let mut evidence = Evidence::default();
    let mut moments: BTreeMap<&str, u64> = BTreeMap::new();
    let (began, stop) = (Instant::now(), AtomicBool::new(false));
    let last = std::thread::scope(|scope| {
        let answered = scope.spawn(|| live(&mut world, &url, &sink, &stop));
        let ending = Stop(&stop);
        for _ in 0..kills {
            if random.u8(0..4) == 0 {
                lives.start_and_kill(&mut random);
                *moments.entry("at a start").or_default() += 1;
            }
            let (life, server) = lives.start();
            let moment = Moment::draw(&mut random);
            let quiet = moment.wait(&server, &sink);
            server.kill();
            evidence.quiet.extend(quiet.map(|asked| (life, asked)));
            *moments.entry(moment.name()).or_default() += 1;
        }
        let (_, server) = lives.start();
        drop(ending);
        evidence.answers = answered.join().expect("the world ends");
        server
    });
    let since = Instant::now();
    while (sink.wait(QUIET) || !moment::is_quiet(&last)) && since.elapsed() < PATIENCE {}
    let known = sink.count();
    evidence.series = series(&last);
    let (status, _) = last.stop();
    assert!(status.success(), "a clean stop exits with 0, not {status}");
    evidence.told = sink.since(0);
    assert_eq!(evidence.told.len(), known, "nothing more is told at the end");
    // Of two lives the later one told later, whoever noted it first.
    evidence.told.sort_by_key(|told| (told.life, told.came));
    let subject = |of: &world::Subject| Subject { name: of.name(), kind: of.kind, episodes: of.episodes.clone() };
    evidence.subjects = world.subjects.iter().map(subject).collect();
    let verdict = evidence.judge();
    let episodes: usize = evidence.subjects.iter().map(|subject| subject.episodes.len()).sum();
    println!(
        "{kills} kills in {} s ({moments:?}): {episodes} alerts, {} notifications and {} refused, {} samples of states; {} said twice, {} lost, {} reset, {} doubled",
        began.elapsed().as_secs(),
        evidence.told.len(),
        sink.refused(),
        evidence.series.len(),
        verdict.duplicates,
        verdict.lost.len(),
        verdict.reset.len(),
        verdict.doubled.len(),
    );
    let wrong: Vec<String> = [&verdict.lost, &verdict.reset, &verdict.doubled].into_iter().flatten().cloned().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let open = world.open();
    assert!(open.is_empty(), "after {PATIENCE:?} of quiet: {}", open.join("\n"));
    assert!(!evidence.series.is_empty() && evidence.subjects.iter().all(|subject| !subject.episodes.is_empty()));
    assert!(kills < KILLS_FOR_ALL || verdict.duplicates > 0, "no kill fell between a receipt and its note");
}
