//! Rules beside queries: telling of them waits for no evaluation, and neither side takes the other's memory.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use ingest::{IngestLimits, IngestState};
use model::{ManualClock, Matcher, SampleSink, SeriesSet, SeriesSource, SourceError, TimeRange, TimestampMs};
use serde_json::Value;
use server::{AlertingOptions, App, ServerOptions};

use crate::fixed::Fixed;
use crate::support::{NOW_MS, block_on};

/// How long something may take that takes no time.
const PATIENCE: Duration = Duration::from_mins(1);

/// A door before the series named `slow`.
#[derive(Debug, Default)]
struct Door {
    /// Whether it is shut, and how many wait before it.
    state: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl Door {
    fn shut(&self) {
        self.state.lock().unwrap().0 = true;
    }

    fn open(&self) {
        self.state.lock().unwrap().0 = false;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.1 += 1;
        self.changed.notify_all();
        state = self.changed.wait_while(state, |state| state.0).unwrap();
        state.1 -= 1;
    }

    fn wait_for_somebody(&self) {
        let state = self.state.lock().unwrap();
        let (_state, waited) = self.changed.wait_timeout_while(state, PATIENCE, |state| state.1 == 0).unwrap();
        assert!(!waited.timed_out(), "nobody comes to the door");
    }
}

#[derive(Debug)]
struct Guarded(Arc<Door>, Fixed);

impl SeriesSource for Guarded {
    fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        series_max: usize,
    ) -> Result<Box<dyn SeriesSet>, SourceError> {
        if matchers.iter().any(|matcher| matcher.matches("slow")) {
            self.0.pass();
        }
        self.1.select(matchers, range, series_max)
    }
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "not so in {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A server that evaluates one group every second of its clock.
struct Bench {
    app: Arc<App>,
    clock: Arc<ManualClock>,
    door: Arc<Door>,
    folder: tempfile::TempDir,
}

const RULES: &str = "
groups:
- name: g
  interval: 1s
  rules:
  - {alert: High, expr: slow > 1, annotations: {summary: 'it is {{ $value }}'}}
";

impl Bench {
    fn start(options: ServerOptions) -> Self {
        let slow = Fixed::default().with(&[("__name__", "slow"), ("a", "b")], &[(NOW_MS, 7.0)], &[]);
        Self::over(slow, RULES, options)
    }

    fn over(fixed: Fixed, rules_text: &str, mut options: ServerOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rules = folder.path().join("r.yml");
        std::fs::write(&rules, rules_text).unwrap();
        let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
        let data = Path::join(folder.path(), "data");
        let engine_options = storage::EngineOptions { disk_reserve_bytes: 0, ..storage::EngineOptions::default() };
        let engine = storage::Engine::open(&data, engine_options, clock.clone()).unwrap();
        let sink = Arc::clone(&engine) as Arc<dyn SampleSink>;
        let ingest = IngestState::new(sink, clock.clone(), IngestLimits::default());
        let rule_files = vec![rules.display().to_string()];
        options.alerting = AlertingOptions { rule_files, threads: 1, ..AlertingOptions::default() };
        let door = Arc::new(Door::default());
        let source = Arc::new(Guarded(Arc::clone(&door), fixed));
        let app = App::over(source, engine, ingest, clock.clone(), options);
        app.alerting().start();
        let bench = Self { app, clock, door, folder };
        until("the group is there", || bench.group().is_some());
        bench
    }

    /// The document of an answer, which must come at once.
    fn get(&self, path: &'static str) -> Value {
        serde_json::from_str(&self.text(path)).unwrap()
    }

    fn text(&self, path: &'static str) -> String {
        use axum::body::Body;
        use http_body_util::BodyExt as _;
        use tower::ServiceExt as _;
        let router = server::router(Arc::clone(&self.app));
        let request = axum::http::Request::get(path).body(Body::empty()).unwrap();
        let asked = async {
            let answer = router.oneshot(request).await.unwrap();
            answer.into_body().collect().await.unwrap().to_bytes()
        };
        let body = block_on(async { tokio::time::timeout(PATIENCE, asked).await });
        let body = body.unwrap_or_else(|_| panic!("{path} is not answered"));
        String::from_utf8(body.to_vec()).unwrap()
    }

    fn group(&self) -> Option<Value> {
        self.get("/api/v1/rules?exclude_alerts=true")["data"]["groups"].get(0).cloned()
    }

    fn rule(&self) -> Value {
        self.get("/api/v1/rules")["data"]["groups"][0]["rules"][0].clone()
    }

    /// The rule as it is told, once it was evaluated.
    fn evaluated(&self) -> Value {
        self.clock.advance_ms(1000);
        let rule = || self.group().unwrap()["rules"][0].clone();
        until("the rule is evaluated", || rule()["health"] != "unknown");
        rule()
    }

    fn stop(self) {
        self.door.open();
        self.app.alerting().stop();
    }
}

#[test]
fn rules_are_told_while_they_are_evaluated() {
    let bench = Bench::start(ServerOptions::default());
    bench.evaluated();
    let known = bench.rule();
    assert_eq!((&known["state"], &known["health"]), (&"firing".into(), &"ok".into()), "{known}");
    bench.door.shut();
    bench.clock.advance_ms(1000);
    bench.door.wait_for_somebody();
    assert_eq!(bench.rule(), known, "as it was");
    let alerts = bench.get("/api/v1/alerts");
    assert_eq!(alerts["data"]["alerts"][0]["annotations"]["summary"], "it is 7", "{alerts}");
    assert_eq!(alerts["data"]["alerts"], known["alerts"]);
    bench.stop();
}

#[test]
fn queries_of_people_leave_memory_to_rules() {
    let mut options = ServerOptions::default();
    let people = Arc::new(query::Resources::new(1 << 20, 0));
    options.query.resources = Arc::clone(&people);
    let bench = Bench::start(options);
    let all = people.bytes_max();
    assert_eq!((people.all_bytes_max(), all), (1 << 20, (1 << 20) / 8 * 7), "the reserve is within the whole");
    people.take_bytes(all).unwrap();
    let refused = bench.get("/api/v1/query?query=slow");
    assert!(refused["error"].as_str().unwrap().contains(&all.to_string()), "{refused}");
    let rule = bench.evaluated();
    assert_eq!(rule["health"], "ok", "{rule}");
    assert_eq!(people.all_bytes(), all, "rules gave back what they took");
    people.give_bytes(all);
    bench.stop();
}

/// Rules with their alerts count among the memory of queries until they are sent, and are whole however they are cut.
#[test]
fn lists_of_rules_are_bounded() {
    let mut options = ServerOptions::default();
    let people = Arc::new(query::Resources::new(1 << 20, 0));
    options.query.resources = Arc::clone(&people);
    let series = |fixed: Fixed, number: usize| {
        let number = number.to_string();
        fixed.with(&[("__name__", "slow"), ("number", &number)], &[(NOW_MS, 7.0)], &[])
    };
    let rules = format!(
        "{RULES}  - {{record: few, expr: vector(1)}}\n- {{name: h, rules: [{{record: other, expr: vector(2)}}]}}\n"
    )
    .replace("it is", &"x".repeat(1000));
    let bench = Bench::over((0..300).fold(Fixed::default(), series), &rules, options);
    bench.evaluated();
    let all = bench.get("/api/v1/rules");
    let groups = &all["data"]["groups"];
    assert_eq!(
        (&groups[0]["name"], &groups[1]["name"], groups.as_array().unwrap().len()),
        (&"g".into(), &"h".into(), 2)
    );
    let [rule, record] = &groups[0]["rules"].as_array().unwrap()[..] else { panic!("{groups}") };
    assert_eq!((&rule["type"], &record["type"]), (&"alerting".into(), &"recording".into()));
    assert_eq!(rule["alerts"].as_array().unwrap().len(), 300);
    assert_eq!(rule["alerts"], bench.get("/api/v1/alerts")["data"]["alerts"]);
    assert_eq!((&record["alerts"], people.all_bytes()), (&Value::Null, 0));
    let page = bench.get("/api/v1/rules?group_limit=1&type=record");
    let token = page["data"]["groupNextToken"].as_str().unwrap();
    assert_eq!((page["data"]["groups"].as_array().unwrap().len(), token.len()), (1, 16), "{page}");
    // Without alerts they are told however much is held.
    people.take_bytes(people.bytes_max() - 1000).unwrap();
    let refused = bench.get("/api/v1/rules");
    assert!(refused["error"].as_str().is_some_and(|error| error.contains("query_all_bytes_max")), "{refused}");
    assert_eq!(bench.group().unwrap()["rules"][0]["alerts"], Value::Array(Vec::new()));
    assert_eq!(people.all_bytes(), people.bytes_max() - 1000);
    bench.stop();
}

#[test]
fn who_asks_about_rules_asks_as_people_do() {
    let mut options = ServerOptions::default();
    let people = Arc::new(query::Resources::new(1 << 20, 0));
    options.query.resources = Arc::clone(&people);
    let bench = Bench::start(options);
    bench.evaluated();
    let explain = || bench.get("/api/v1/rules/explain?name=High")["data"]["rules"][0].clone();
    assert_eq!(explain()["counts"]["firing"], 1);
    bench.door.shut();
    let explained = std::thread::scope(|scope| {
        let asked = scope.spawn(explain);
        bench.door.wait_for_somebody();
        let queries = bench.get("/api/v1/queries");
        bench.door.open();
        assert_eq!(queries["data"][0]["query"], "rules/explain High", "{queries}");
        asked.join().unwrap()
    });
    assert_eq!(explained["fault"], Value::Null, "{explained}");
    let all = people.bytes_max();
    people.take_bytes(all).unwrap();
    let refused = explain();
    assert!(refused["fault"].as_str().is_some_and(|fault| fault.contains(&all.to_string())), "{refused}");
    people.give_bytes(all);
    bench.stop();
}

#[test]
fn an_old_routing_is_not_told_as_the_new_one() {
    let bench = Bench::start(ServerOptions::default());
    let page = || bench.text("/metrics");
    bench.app.reload().unwrap();
    assert!(page().contains("\nmetrickit_routing_last_reload_successful 1\n"), "{}", page());
    std::fs::write(bench.folder.path().join("r.yml"), RULES.replace("slow > 1", "slow >")).unwrap();
    bench.app.reload().unwrap_err();
    assert!(page().contains("\nmetrickit_routing_last_reload_successful 0\n"), "{}", page());
    assert!(page().contains("\nmetrickit_routing_reload_failures_total 0\n"), "{}", page());
    bench.stop();
}
