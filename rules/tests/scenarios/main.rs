//! Scenarios of alerting by a clock that is turned by hand: what receivers are told is what Prometheus and Alertmanager told theirs.
//!
//! Scripts and records lie in `tests/alerting` of the project, where the installed programs run them, too.

#[path = "../../../tests/alerting/scenario.rs"]
mod scenario;
#[path = "../../../tests/alerting/scenarios.rs"]
mod scenarios;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use model::{FullSample, Labels, LabelsBuilder, Matcher, SampleValue};
use query::QueryOptions;
use query::script::read_labels;
use rules::config::Config;
use rules::config::receivers::{Secret, SecretFiles};
use rules::evaluate::kept::Kept;
use rules::evaluate::{GroupState, Settings};
use rules::event::NoEvents;
use rules::file::RuleFile;
use rules::notify::alerts::Incoming;
use rules::notify::delivery::{Delivered, Notification};
use rules::notify::dispatch::{Dispatcher, Limits};
use rules::notify::silence::Silence;
use rules::receivers::{Outgoing, Templates, render};
use rules::shelf::{MemoryShelf, Shelf as _};
use rules::unit_tests::SeriesWorld;
use scenario::{Scenario, Step, Told, differences, filled};

/// When scenarios begin.
const START_MS: i64 = 1_700_000_000_000;
/// Who the receivers are.
const SINK: &str = "http://127.0.0.1:1";

struct NoFiles;

impl SecretFiles for NoFiles {
    fn read(&self, path: &Path) -> Result<Secret, String> {
        Err(format!("{} is not there", path.display()))
    }
}

fn rule_file(text: &str) -> RuleFile {
    rules::file::read("rules.yml", text).unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn config(text: &str) -> Arc<Config> {
    let text = filled(text, SINK, START_MS);
    Arc::new(rules::config::read("alertmanager.yml", &text).unwrap_or_else(|faults| panic!("{faults:?}")))
}

/// A whole server without its threads.
struct Stage {
    world: SeriesWorld,
    settings: Settings,
    rules: RuleFile,
    states: Vec<GroupState>,
    dispatcher: Dispatcher,
    /// What is kept of rules, and of notifications.
    shelves: [MemoryShelf; 2],
    values: BTreeMap<&'static str, f64>,
    silences: BTreeMap<&'static str, String>,
    told: Vec<Told>,
    /// Whether the process ends and begins again each second: what is on the shelf is all that it knows.
    restarts: bool,
}

impl Stage {
    fn new(scenario: &Scenario, restarts: bool) -> Self {
        let rules = rule_file(scenario.rules);
        let (states, _) = Kept::default().into_groups(std::slice::from_ref(&rules), START_MS);
        let shelves = [MemoryShelf::default(), MemoryShelf::default()];
        let dispatcher =
            Dispatcher::open(config(scenario.routes), Limits::default(), &shelves[1], Arc::new(NoEvents), START_MS);
        Self {
            world: SeriesWorld {
                options: QueryOptions { threads_max: 1, ..QueryOptions::default() },
                ..SeriesWorld::default()
            },
            settings: Settings { interval_ms: 1000, settling_until_ms: i64::MIN, ..Settings::default() },
            rules,
            states,
            dispatcher: dispatcher.expect("in memory"),
            shelves,
            values: BTreeMap::new(),
            silences: BTreeMap::new(),
            told: Vec::new(),
            restarts,
        }
    }

    fn step(&mut self, step: Step, now_ms: i64) {
        match step {
            Step::Set(series, value) => drop(self.values.insert(series, value)),
            Step::End(series) => {
                self.values.remove(series);
                self.put(series, model::sample::stale_marker(), now_ms);
            }
            Step::Silence(name, labels) => {
                let silence = Silence {
                    id: String::new(),
                    sets: vec![labels.iter().map(|&(name, value)| Matcher::equal(name, value)).collect()],
                    starts_ms: now_ms,
                    ends_ms: now_ms + 3_600_000,
                    updated_ms: now_ms,
                    created_by: "somebody".to_owned(),
                    comment: name.to_owned(),
                    recurrence: None,
                };
                let id = self.dispatcher.set_silence(silence, name.to_owned(), now_ms).expect("a silence");
                self.silences.insert(name, id);
            }
            Step::Unsilence(name) => {
                self.dispatcher.expire_silence(&self.silences[name], now_ms).expect("it is there");
            }
            Step::Rules(text) => {
                self.rules = rule_file(text);
                let states = std::mem::take(&mut self.states);
                let (states, _) = Kept::of(states).into_groups(std::slice::from_ref(&self.rules), now_ms);
                self.states = states;
            }
            Step::Routes(text) => self.dispatcher.set_config(config(text), now_ms),
        }
    }

    fn put(&self, series: &str, value: f64, timestamp_ms: i64) {
        let mut labels = LabelsBuilder::from_labels(read_labels(series).expect("a series").as_ref());
        labels.push("job", "world");
        labels.push("instance", "w");
        let labels: Labels = labels.build().expect("labels");
        self.world.series.put(&labels, [FullSample { timestamp_ms, start_ms: 0, value: SampleValue::Float(value) }]);
    }

    /// A second: values are seen, rules evaluated, and whatever is due until the next second happens when it is.
    fn second(&mut self, now_ms: i64) {
        for (series, value) in &self.values {
            self.put(series, *value, now_ms);
        }
        let mut incoming = Vec::new();
        for (group, state) in self.rules.groups.iter().zip(&mut self.states) {
            let made = state.evaluate(group, &self.world, &self.settings, now_ms);
            assert!(made.faults.is_empty(), "{:?}", made.faults);
            self.shelves[0].change(&made.changes).expect("in memory");
            incoming.extend(made.posted.into_iter().map(Incoming::from));
        }
        self.dispatcher.put(incoming, now_ms);
        self.write(now_ms);
        let mut at_ms = now_ms;
        while at_ms < now_ms + 1000 {
            for outgoing in self.dispatcher.due(at_ms) {
                self.deliver(&outgoing.notification);
                let taken = Delivered::Taken { answer: "200".to_owned(), attempts: 1 };
                self.dispatcher.delivered(outgoing.ticket, &taken, at_ms);
            }
            self.write(at_ms);
            at_ms = self.dispatcher.next_due_ms().max(at_ms + 1);
        }
        if self.restarts {
            self.restart(now_ms);
        }
    }

    fn write(&mut self, now_ms: i64) {
        let changes = self.dispatcher.take_changes(now_ms);
        self.shelves[1].change(&changes).expect("in memory");
    }

    fn restart(&mut self, now_ms: i64) {
        let (kept, damaged) = Kept::read(self.shelves[0].load().expect("in memory"));
        assert_eq!(damaged, Vec::<String>::new());
        let (states, _) = kept.into_groups(std::slice::from_ref(&self.rules), now_ms);
        self.states = states;
        let config = Arc::clone(self.dispatcher.config());
        let opened = Dispatcher::open(config, Limits::default(), &self.shelves[1], Arc::new(NoEvents), now_ms);
        self.dispatcher = opened.expect("in memory");
    }

    fn deliver(&mut self, notification: &Notification) {
        let config = Arc::clone(self.dispatcher.config());
        let receiver = config.receivers.iter().find(|one| one.name == notification.receiver).expect("it is there");
        let integration = &receiver.integrations[notification.integration];
        let templates = Templates::new([]).expect("our own templates");
        let sent = render(integration, notification, "", &templates, &NoFiles).expect("a webhook");
        let Outgoing::Http(requests) = sent else { panic!("a webhook is HTTP") };
        let [request] = requests.as_slice() else { panic!("one request") };
        let path = request.url.expose().strip_prefix(SINK).expect("the sink");
        self.told.push(Told::of_webhook(path, &request.body, START_MS, notification.at_ms));
    }
}

fn run(scenario: &Scenario, restarts: bool) -> Vec<Told> {
    let mut stage = Stage::new(scenario, restarts);
    for second in 0..scenario.seconds {
        let now_ms = START_MS + i64::from(second) * 1000;
        for (_, step) in scenario.steps.iter().filter(|(at_s, _)| *at_s == second) {
            stage.step(*step, now_ms);
        }
        stage.second(now_ms);
    }
    stage.told
}

fn recorded(name: &str) -> Vec<Told> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/alerting/recorded/{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let recorded: Vec<Told> = serde_json::from_str(&text).expect("a record");
    assert!(!recorded.is_empty(), "{name}");
    recorded
}

/// Runs in real time begin in the same second of a minute as those by the clock that is turned, so that minutes begin at the same time.
#[test]
fn runs_that_name_minutes_begin_alike() {
    let all = scenarios::all();
    let one = all.iter().find(|one| one.names_minutes()).expect("there is one");
    assert_eq!(one.begins_ms(START_MS), START_MS);
    assert_eq!(one.begins_ms(START_MS + 1), START_MS + 60_000);
    assert_eq!(filled("MINUTE1-MINUTE2", SINK, START_MS), "22:14-22:15");
    let midnight_ms = 1_700_006_400_000;
    assert_eq!(one.begins_ms(midnight_ms - 100_000), midnight_ms + 20_000);
}

#[test]
fn receivers_are_told_what_alertmanager_tells_them() {
    let mut wrong = Vec::new();
    for one in scenarios::all() {
        let (recorded, told) = (recorded(one.name), run(&one, false));
        let is_same = differences(&recorded, &told).is_empty();
        let why: Vec<&str> = one.decided.iter().map(|decided| decided.why).collect();
        assert!(!is_same || why.is_empty(), "{}: there is no difference any more: {why:?}", one.name);
        let found = differences(&one.as_decided(recorded), &told);
        wrong.extend(found.into_iter().map(|found| format!("{}: {found}", one.name)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// By address and group what is news in each notification: alerts that fire, and ends that were not told before.
fn news(all: &[Told]) -> BTreeMap<(&str, &str), Vec<Vec<String>>> {
    let mut ended = std::collections::BTreeSet::new();
    let mut news: BTreeMap<(&str, &str), Vec<Vec<String>>> = BTreeMap::new();
    for one in all {
        let place = (one.path.as_str(), one.group.as_str());
        let told = one.alerts.iter().map(|alert| (alert, format!("{} {:?}", alert.status, alert.labels)));
        let is_news = told.filter(|(alert, text)| {
            let key = (place, text.clone(), format!("{:?}", alert.ends_s));
            alert.status == "firing" || ended.insert(key)
        });
        let is_news = is_news.map(|(_, text)| text).collect();
        news.entry(place).or_default().push(is_news);
    }
    news
}

/// The process ends after every second: no alert begins anew, nothing is told twice, and nothing is left out. An end that was told may be
/// told again beside what is news.
#[test]
fn receivers_are_told_the_same_by_one_that_is_killed_every_second() {
    for one in scenarios::all() {
        let (expected, told) = (recorded(one.name), run(&one, true));
        assert_eq!(news(&told), news(&expected), "{}", one.name);
        let starts = |all: &[Told]| -> Vec<f64> {
            all.iter()
                .flat_map(|one| &one.alerts)
                .filter(|alert| alert.status == "firing")
                .map(|one| one.starts_s)
                .collect()
        };
        let pairs: Vec<(f64, f64)> = starts(&told).into_iter().zip(starts(&run(&one, false))).collect();
        assert!(pairs.iter().all(|(one, other)| (one - other).abs() < 0.1), "{}: {pairs:?}", one.name);
    }
}
