//! Prometheus and Alertmanager, as they are installed, through a scenario in real time.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::scenario::{Scenario, Step, Told};
use crate::support::{PATIENCE, Running, free_address, http, now_ms, read};
use crate::web::Web;

/// What the programs see of the world: values by series.
#[derive(Debug, Default)]
struct World {
    values: Mutex<BTreeMap<&'static str, f64>>,
    scrapes: AtomicU64,
}

impl World {
    fn page(&self) -> String {
        self.scrapes.fetch_add(1, Ordering::Relaxed);
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        values.iter().fold(String::new(), |mut page, (series, value)| {
            writeln!(page, "{series} {value}").expect("a string takes all");
            page
        })
    }
}

/// What came to a receiver: when, at which path, what.
type Sent = (i64, String, Vec<u8>);

/// Runs `scenario` through both programs; what the receivers were told.
pub(crate) fn run(scenario: &Scenario, (prometheus, alertmanager): (&Path, &Path)) -> Vec<Told> {
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
    let pair = Pair::start(scenario, folder.path(), &exporter.address, &sink.address, (prometheus, alertmanager));
    pair.wait_for(&world);

    let (begun, start_ms) = (Instant::now(), now_ms());
    let mut silences = BTreeMap::new();
    for (at_s, step) in &scenario.steps {
        let at = Duration::from_secs(u64::from(*at_s));
        std::thread::sleep(at.saturating_sub(begun.elapsed()));
        pair.step(*step, &world, &mut silences);
    }
    std::thread::sleep(Duration::from_secs(u64::from(scenario.seconds)).saturating_sub(begun.elapsed()));
    drop(pair);
    let bodies = bodies.lock().unwrap_or_else(PoisonError::into_inner);
    bodies.iter().map(|(at_ms, path, body)| Told::of_webhook(path, body, start_ms, *at_ms)).collect()
}

/// The two programs.
struct Pair {
    prometheus: String,
    alertmanager: String,
    folder: std::path::PathBuf,
    sink: String,
    http: ureq::Agent,
    _running: [Running; 2],
}

impl Pair {
    fn start(scenario: &Scenario, folder: &Path, exporter: &str, sink: &str, programs: (&Path, &Path)) -> Self {
        let (at_prometheus, at_alertmanager) = (free_address(), free_address());
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("written");
        write(
            "prometheus.yml",
            &format!(
                "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [rules.yml]\n\
                 alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{at_alertmanager}']}}]}}]}}\n\
                 scrape_configs:\n- job_name: world\n  honor_labels: true\n  static_configs: [{{targets: ['{exporter}'], labels: {{instance: w}}}}]\n"
            ),
        );
        write("rules.yml", scenario.rules);
        write("alertmanager.yml", &scenario.routes.replace("SINK", &format!("http://{sink}")));
        let spawn = |program: &Path, args: &[String]| {
            let mut command = Command::new(program);
            command.args(args).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            Running(command.spawn().expect("the program starts"))
        };
        let running = [
            spawn(
                programs.0,
                &[
                    "--config.file=prometheus.yml".to_owned(),
                    "--storage.tsdb.path=data".to_owned(),
                    "--web.enable-lifecycle".to_owned(),
                    format!("--web.listen-address={at_prometheus}"),
                ],
            ),
            spawn(
                programs.1,
                &[
                    "--config.file=alertmanager.yml".to_owned(),
                    "--storage.path=kept".to_owned(),
                    "--cluster.listen-address=".to_owned(),
                    format!("--web.listen-address={at_alertmanager}"),
                ],
            ),
        ];
        Self {
            prometheus: format!("http://{at_prometheus}"),
            alertmanager: format!("http://{at_alertmanager}"),
            folder: folder.to_owned(),
            sink: sink.to_owned(),
            http: http(),
            _running: running,
        }
    }

    /// Waits until both answer, and the world has been looked at.
    fn wait_for(&self, world: &World) {
        let until = Instant::now() + PATIENCE;
        let is_ready =
            |url: &str| self.http.get(format!("{url}/-/ready")).call().is_ok_and(|answer| answer.status() == 200);
        while !(is_ready(&self.prometheus) && is_ready(&self.alertmanager) && world.scrapes.load(Ordering::Relaxed) > 1)
        {
            assert!(Instant::now() < until, "the programs are not ready in {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn step(&self, step: Step, world: &World, silences: &mut BTreeMap<&'static str, String>) {
        let values = || world.values.lock().unwrap_or_else(PoisonError::into_inner);
        match step {
            Step::Set(series, value) => drop(values().insert(series, value)),
            Step::End(series) => drop(values().remove(series)),
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
                let sent = self.http.post(format!("{}/api/v2/silences", self.alertmanager));
                let answer = read(sent.header("Content-Type", "application/json").send(body.to_string().as_bytes()));
                assert_eq!(answer.status, 200, "{}", answer.body);
                let id = answer.json()["silenceID"].as_str().expect("an id").to_owned();
                silences.insert(name, id);
            }
            Step::Unsilence(name) => {
                let id = &silences[name];
                let answer = read(self.http.delete(format!("{}/api/v2/silence/{id}", self.alertmanager)).call());
                assert_eq!(answer.status, 200, "{}", answer.body);
            }
            Step::Rules(text) => self.reload(&self.prometheus, "rules.yml", text),
            Step::Routes(text) => {
                let text = text.replace("SINK", &format!("http://{}", self.sink));
                self.reload(&self.alertmanager, "alertmanager.yml", &text);
            }
        }
    }

    fn reload(&self, url: &str, file: &str, text: &str) {
        std::fs::write(self.folder.join(file), text).expect("written");
        let answer = read(self.http.post(format!("{url}/-/reload")).send_empty());
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}
