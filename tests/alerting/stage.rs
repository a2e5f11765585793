//! A scenario in real time: whoever runs it is a set of programs that read two files, answer at two addresses and tell a sink.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;

use crate::scenario::{Scenario, Step, Told, filled};
use crate::support::{http, now_ms, read};
use crate::web::Web;

/// How long programs have to become ready where the time that a scenario begins is fixed.
const LEAD_MS: i64 = 30_000;

/// What the programs see of the world: values by series.
#[derive(Debug, Default)]
pub(crate) struct World {
    values: Mutex<BTreeMap<&'static str, f64>>,
    looks: AtomicU64,
}

impl World {
    /// The values there are now, which somebody looks at.
    pub(crate) fn look(&self) -> BTreeMap<&'static str, f64> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.values().clone()
    }

    /// How often somebody looked.
    pub(crate) fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }

    /// As an exporter shows it.
    fn page(&self) -> String {
        self.look().into_iter().fold(String::new(), |mut page, (series, value)| {
            writeln!(page, "{series} {value}").expect("a string takes all");
            page
        })
    }

    fn values(&self) -> MutexGuard<'_, BTreeMap<&'static str, f64>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where programs find what they need.
pub(crate) struct Place<'a> {
    /// It has `rules.yml` and `alertmanager.yml`.
    pub(crate) folder: &'a Path,
    /// Where the world's page is, as `HOST:PORT`.
    pub(crate) exporter: &'a str,
    pub(crate) world: &'a Arc<World>,
}

/// Programs that run; they end when dropped.
pub(crate) struct Programs {
    /// Which reads `rules.yml`.
    pub(crate) rules_url: String,
    /// Which reads `alertmanager.yml` and takes silences.
    pub(crate) alertmanager_url: String,
    /// Ends them.
    pub(crate) _running: Box<dyn std::any::Any>,
}

/// What came to a receiver: when, at which path, what.
type Sent = (i64, String, Vec<u8>);

/// Runs `scenario` through the programs that `start` starts, which must be ready when it returns; what the receivers were told.
pub(crate) fn run(scenario: &Scenario, start: impl FnOnce(&Place<'_>) -> Programs) -> Vec<Told> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let world = Arc::new(World::default());
    let seen = Arc::clone(&world);
    let exporter = Web::start(Arc::new(move |_, _| (200, seen.page())));
    let bodies: Arc<Mutex<Vec<Sent>>> = Arc::default();
    let taken = Arc::clone(&bodies);
    let sink = Web::start(Arc::new(move |path, body| {
        taken.lock().unwrap_or_else(PoisonError::into_inner).push((now_ms(), path.to_owned(), body.to_vec()));
        (200, String::new())
    }));
    let mut start_ms = scenario.begins_ms(now_ms() + LEAD_MS);
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    write("rules.yml", scenario.rules);
    write("alertmanager.yml", &filled(scenario.routes, &format!("http://{}", sink.address), start_ms));
    let programs = start(&Place { folder: folder.path(), exporter: &exporter.address, world: &world });
    if !scenario.names_minutes() {
        start_ms = now_ms();
    }
    assert!(now_ms() <= start_ms + 1000, "{}: the programs are ready too late", scenario.name);

    let mut stage = Stage {
        programs,
        folder: folder.path().to_owned(),
        sink: format!("http://{}", sink.address),
        start_ms,
        http: http(),
        silences: BTreeMap::new(),
    };
    for (at_s, step) in &scenario.steps {
        stage.sleep_until(*at_s);
        stage.step(*step, &world);
    }
    stage.sleep_until(scenario.seconds);
    drop(stage);
    let bodies = bodies.lock().unwrap_or_else(PoisonError::into_inner);
    bodies.iter().map(|(at_ms, path, body)| Told::of_webhook(path, body, start_ms, *at_ms)).collect()
}

struct Stage {
    programs: Programs,
    folder: PathBuf,
    sink: String,
    start_ms: i64,
    http: ureq::Agent,
    silences: BTreeMap<&'static str, String>,
}

impl Stage {
    fn sleep_until(&self, at_s: u32) {
        let left_ms = self.start_ms + i64::from(at_s) * 1000 - now_ms();
        std::thread::sleep(Duration::from_millis(u64::try_from(left_ms).unwrap_or(0)));
    }

    fn step(&mut self, step: Step, world: &World) {
        match step {
            Step::Set(series, value) => drop(world.values().insert(series, value)),
            Step::End(series) => drop(world.values().remove(series)),
            Step::Silence(name, labels) => {
                let matchers: Vec<_> = labels
                    .iter()
                    .map(|(name, value)| json!({"name": name, "value": value, "isRegex": false, "isEqual": true}))
                    .collect();
                let now = jiff::Timestamp::now();
                let end = now + jiff::SignedDuration::from_hours(1);
                let body = json!({
                    "matchers": matchers, "startsAt": now.to_string(), "endsAt": end.to_string(),
                    "createdBy": "somebody", "comment": name,
                });
                let sent = self.http.post(format!("{}/api/v2/silences", self.programs.alertmanager_url));
                let answer = read(sent.header("Content-Type", "application/json").send(body.to_string().as_bytes()));
                assert_eq!(answer.status, 200, "{}", answer.body);
                let id = answer.json()["silenceID"].as_str().expect("an id").to_owned();
                self.silences.insert(name, id);
            }
            Step::Unsilence(name) => {
                let url = format!("{}/api/v2/silence/{}", self.programs.alertmanager_url, self.silences[name]);
                let answer = read(self.http.delete(url).call());
                assert_eq!(answer.status, 200, "{}", answer.body);
            }
            Step::Rules(text) => self.reload(&self.programs.rules_url, "rules.yml", text),
            Step::Routes(text) => {
                let text = filled(text, &self.sink, self.start_ms);
                self.reload(&self.programs.alertmanager_url, "alertmanager.yml", &text);
            }
        }
    }

    fn reload(&self, url: &str, file: &str, text: &str) {
        std::fs::write(self.folder.join(file), text).expect("written");
        let answer = read(self.http.post(format!("{url}/-/reload")).send_empty());
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}
