//! The server keeps its own metrics: what [`metrics_page`] says is written into the engine at intervals, with
//! the labels a scrape would give it, so that rules and queries see this server as they see any other.
//!
//! Samples go straight to the engine, past the limits of the write routes, and are refused where the engine refuses all. A round
//! that fails is left out; that rounds fail is told once, and once that they are taken again.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::exposition::Family;
use model::labels::LabelsBuilder;
use model::sample::stale_marker;
use model::{Labels, METRIC_NAME, SampleSink as _, WriteBatch};
use tokio::time::MissedTickBehavior;

use crate::app::App;
use crate::metrics_page::{self, one_counter, one_gauge};

/// The label `job` of these series.
pub const SELF_JOB: &str = "metrickit";
/// The label of the server's own external labels that these series have, too: rules go by it.
const ENVIRONMENT: &str = "env";
/// Most series of one metric; there are some 150 metrics, nearly all of a few series each.
const FAMILY_SERIES_MAX: usize = 2_000;
/// Pause between two looks at whether the log is replayed.
const REPLAY_LOOK: Duration = Duration::from_millis(50);

/// How the server keeps its own metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SelfMetricsOptions {
    /// Time between two rounds; 0 for none.
    pub interval_ms: u64,
    /// The label `instance`, as `HOST:PORT`.
    pub instance: String,
}

impl SelfMetricsOptions {
    /// The `instance` of a server that listens on `address`: this host's name with the port.
    pub fn instance_of(address: SocketAddr) -> String {
        let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        match name.trim() {
            "" => address.to_string(),
            name => format!("{name}:{}", address.port()),
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct SelfMetrics {
    written: Mutex<Written>,
    failures: AtomicU64,
    left_out: AtomicU64,
}

/// What rounds before wrote.
#[derive(Debug, Default)]
struct Written {
    /// The series of the last round.
    series: BTreeSet<Labels>,
    /// Metrics whose kind and help were written.
    told: BTreeSet<String>,
    is_failing: bool,
    has_ended: bool,
}

/// What a round writes.
#[derive(Debug, Default)]
struct Round {
    batch: WriteBatch,
    series: BTreeSet<Labels>,
    left_out: u64,
}

impl SelfMetrics {
    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `/metrics` tells of this.
    pub(crate) fn families(&self) -> Vec<Family> {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        vec![
            one_counter(
                "metrickit_self_metrics_failures_total",
                "Rounds of the server's own metrics that storage did not take whole.",
                count(&self.failures),
            ),
            one_counter(
                "metrickit_self_metrics_left_out_total",
                "Samples of the server's own metrics that were too many of one metric.",
                count(&self.left_out),
            ),
        ]
    }

    /// Writes `families` as of now; series that they do not have any more end.
    fn write(&self, app: &App, families: &[Family]) {
        let mut written = self.written();
        if written.has_ended {
            return;
        }
        let round = Round::of(families, &written, &target(app), app.clock.now().0);
        self.left_out.fetch_add(round.left_out, Ordering::Relaxed);
        self.append(app, &mut written, &round);
    }

    /// Ends all series; nothing is written after it.
    fn end(&self, app: &App) {
        let mut written = self.written();
        if std::mem::replace(&mut written.has_ended, true) || written.series.is_empty() {
            return;
        }
        let round = Round::of(&[], &written, &target(app), app.clock.now().0);
        self.append(app, &mut written, &round);
    }

    fn append(&self, app: &App, written: &mut Written, round: &Round) {
        let failure = match app.engine.append(&round.batch) {
            Ok(appended) => {
                if appended.samples_rejected == 0 {
                    written.series.clone_from(&round.series);
                } else {
                    // Which of the new ones there are is not known.
                    written.series.retain(|series| round.series.contains(series));
                }
                written.told.extend(round.batch.metadata().iter().map(|(metric, _)| metric.clone()));
                let first = appended.rejections.first();
                first.map(|first| format!("{} samples were not taken; {first}", appended.samples_rejected))
            }
            // The series of the round before are still those to end.
            Err(error) => Some(error.to_string()),
        };
        self.failures.fetch_add(u64::from(failure.is_some()), Ordering::Relaxed);
        match (failure, written.is_failing) {
            (Some(reason), false) => {
                written.is_failing = true;
                tracing::warn!(
                    reason,
                    "the server's own metrics cannot be kept; it is tried again, and not told again"
                );
            }
            (None, true) => {
                written.is_failing = false;
                tracing::info!("the server's own metrics are kept again");
            }
            _ => {}
        }
    }
}

impl Round {
    /// The samples of `families` at `now_ms`, an `up` with them if there are any, and the ends of the series in `written` that are gone.
    fn of(families: &[Family], written: &Written, target: &[(&str, &str)], now_ms: i64) -> Self {
        let mut round = Self::default();
        let up = (!families.is_empty()).then(|| one_gauge("up", "Whether the target could be read.", 1.0));
        for family in families.iter().chain(&up) {
            round.add(family, written, target, now_ms);
        }
        let marker = stale_marker();
        for gone in written.series.difference(&round.series) {
            round.batch.push_series(gone.as_ref());
            round.batch.push_sample(now_ms, marker);
        }
        round
    }

    fn add(&mut self, family: &Family, written: &Written, target: &[(&str, &str)], now_ms: i64) {
        self.left_out += family.samples.len().saturating_sub(FAMILY_SERIES_MAX) as u64;
        for sample in family.samples.iter().take(FAMILY_SERIES_MAX) {
            let labels = as_scraped(&sample.labels, target);
            self.batch.push_series(labels.as_ref());
            self.batch.push_sample(now_ms, sample.value);
            self.series.insert(labels);
        }
        if !family.samples.is_empty() && !written.told.contains(&family.name) {
            self.batch.push_metadata(family.name.clone(), family.metadata.clone());
        }
    }
}

/// The labels that a scrape would add.
fn target(app: &App) -> Vec<(&str, &str)> {
    let environment = app.options.alerting.external_labels.get(ENVIRONMENT).filter(|value| !value.is_empty());
    let mut target = vec![("job", SELF_JOB), ("instance", app.options.self_metrics.instance.as_str())];
    target.extend(environment.map(|value| (ENVIRONMENT, value.as_str())));
    target
}

/// The labels as a scrape of `target` would have them.
fn as_scraped(labels: &Labels, target: &[(&str, &str)]) -> Labels {
    let mut builder = LabelsBuilder::new();
    for (name, value) in labels {
        if target.iter().any(|(of_target, _)| *of_target == name) {
            builder.push(&format!("exported_{name}"), value);
        } else {
            builder.push(name, value);
        }
    }
    for &(name, value) in target {
        builder.push(name, value);
    }
    builder.build().unwrap_or_else(|_| Labels::from_pairs([(METRIC_NAME, labels.metric_name())]).unwrap_or_default())
}

/// Keeps the server's own metrics, for as long as it is polled; without an interval it only waits.
pub async fn keep_self_metrics(app: Arc<App>) {
    let interval_ms = app.options.self_metrics.interval_ms;
    if interval_ms == 0 {
        return;
    }
    while app.engine.replaying().is_some() {
        tokio::time::sleep(REPLAY_LOOK).await;
    }
    let mut ticks = tokio::time::interval(Duration::from_millis(interval_ms));
    // What was missed is missed.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let app = Arc::clone(&app);
        // It fails only when the program ends.
        let _ = tokio::task::spawn_blocking(move || app.write_self_metrics()).await;
    }
}

impl App {
    fn write_self_metrics(&self) {
        self.self_metrics.write(self, &metrics_page::families(self));
    }

    /// Ends the series of the server's own metrics, once nothing else is to be done but to close the engine.
    pub fn end_self_metrics(&self) {
        self.self_metrics.end(self);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use model::{ManualClock, Matcher, SampleSink, Samples, SeriesSource as _, TimeRange, TimestampMs};
    use storage::{Engine, EngineOptions};

    use super::*;
    use crate::app::ServerOptions;
    use crate::metrics_page::gauge;

    const NOW_MS: i64 = 1_700_000_000_000;
    const INSTANCE: &str = "box:9595";

    fn open(data: &Path, series_max: usize) -> (Arc<App>, Arc<ManualClock>) {
        open_with(data, series_max, "")
    }

    /// With `env` among the external labels.
    fn open_with(data: &Path, series_max: usize, env: &str) -> (Arc<App>, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
        let options =
            EngineOptions { disk_reserve_bytes: 0, background: false, series_max, ..EngineOptions::default() };
        let engine = Engine::open(data, options, clock.clone()).expect("opens");
        let sink = Arc::clone(&engine) as Arc<dyn SampleSink>;
        let writes = ingest::IngestState::new(sink, clock.clone(), ingest::IngestLimits::default());
        let self_metrics = SelfMetricsOptions { interval_ms: 15_000, instance: INSTANCE.to_owned() };
        let mut options = ServerOptions { self_metrics, ..ServerOptions::default() };
        options.alerting.external_labels.insert("env".to_owned(), env.to_owned());
        (App::new(engine, writes, clock.clone(), options), clock)
    }

    /// Values by seconds since the beginning; an end is `None`.
    type Values = Vec<(i64, Option<f64>)>;

    /// The samples of every series of `metric`, by its labels.
    fn samples(app: &App, metric: &str) -> Vec<(String, Values)> {
        let range = TimeRange::new(i64::MIN, i64::MAX);
        let matcher = Matcher::equal(METRIC_NAME, metric);
        let set = app.engine.select(&[matcher], range, 100).expect("selected");
        let mut all: Vec<_> = (0..set.len())
            .map(|at| {
                let mut samples = Samples::default();
                set.read(at, &mut samples).expect("readable");
                let value = |value: f64| (!model::sample::is_stale_marker(value)).then_some(value);
                let floats = samples.iter().map(|one| ((one.timestamp.0 - NOW_MS) / 1000, value(one.value)));
                (set.labels(at).to_string(), floats.collect::<Values>())
            })
            .collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    }

    #[test]
    fn what_the_page_says_is_kept_as_a_scrape_would() {
        let folder = tempfile::tempdir().expect("a folder");
        let (app, clock) = open(folder.path(), 1_000_000);
        app.write_self_metrics();
        clock.advance_ms(15_000);
        app.write_self_metrics();
        let want = format!("up{{instance=\"{INSTANCE}\", job=\"metrickit\"}}");
        assert_eq!(samples(&app, "up"), [(want, vec![(0, Some(1.0)), (15, Some(1.0))])]);
        let appended = samples(&app, "metrickit_samples_appended_total");
        assert!(appended[0].1[1].1 > Some(100.0), "the first round counts in the second: {appended:?}");
        let known = app.engine.metadata(Some("metrickit_samples_appended_total")).expect("read");
        assert_eq!(known.len(), 1, "kind and help are kept, too");
    }

    #[test]
    fn they_have_the_environment_of_the_server() {
        let folder = tempfile::tempdir().expect("a folder");
        let (app, _) = open_with(folder.path(), 1_000_000, "dev");
        app.self_metrics.write(&app, &[gauge("x", "Any.").with(&[("env", "of it")], 7.0)]);
        let want = format!("x{{env=\"dev\", exported_env=\"of it\", instance=\"{INSTANCE}\", job=\"metrickit\"}}");
        assert_eq!(samples(&app, "x"), [(want, vec![(0, Some(7.0))])]);
    }

    #[test]
    fn series_end_when_the_page_or_the_server_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let (app, clock) = open(folder.path(), 1_000_000);
        let x = |group: &str| gauge("x", "Any.").with(&[("group", group), ("instance", "of it")], 7.0);
        app.self_metrics.write(&app, &[x("a"), x("b")]);
        clock.advance_ms(1000);
        app.self_metrics.write(&app, &[x("b")]);
        clock.advance_ms(1000);
        app.end_self_metrics();
        clock.advance_ms(1000);
        app.self_metrics.write(&app, &[x("b")]);
        app.end_self_metrics();
        let name = |group: &str| {
            format!("x{{exported_instance=\"of it\", group=\"{group}\", instance=\"{INSTANCE}\", job=\"metrickit\"}}")
        };
        let want = [
            (name("a"), vec![(0, Some(7.0)), (1, None)]),
            (name("b"), vec![(0, Some(7.0)), (1, Some(7.0)), (2, None)]),
        ];
        assert_eq!(samples(&app, "x"), want);
        assert_eq!(samples(&app, "up")[0].1, [(0, Some(1.0)), (1, Some(1.0)), (2, None)]);
    }

    #[test]
    fn a_round_is_bounded_and_failures_are_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        let (app, clock) = open(folder.path(), 3);
        let many = |count: usize| {
            (0..count).fold(gauge("x", "Any."), |family, at| family.with(&[("at", &at.to_string())], 0.0))
        };
        let round = Round::of(&[many(FAMILY_SERIES_MAX + 5)], &Written::default(), &[("instance", INSTANCE)], NOW_MS);
        assert_eq!((round.series.len(), round.left_out), (FAMILY_SERIES_MAX + 1, 5));

        let counted = || app.self_metrics.failures.load(Ordering::Relaxed);
        app.self_metrics.write(&app, &[many(2)]);
        assert_eq!((counted(), app.self_metrics.written().is_failing), (0, false));
        clock.advance_ms(1000);
        // There is room for three series.
        app.self_metrics.write(&app, &[many(9)]);
        assert_eq!((counted(), app.self_metrics.written().is_failing), (1, true));
        clock.advance_ms(1000);
        app.self_metrics.write(&app, &[many(2)]);
        assert!(!app.self_metrics.written().is_failing);
    }
}
