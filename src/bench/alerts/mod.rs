//! `bench alerts`: what many rules over many series cost, and how soon somebody is told.
//!
//! A server of our own gets the load of agents: a sample of each series every interval. First alone, then started again
//! on the same folder with rules over all of its series; the difference in processor time is what the rules take. Meanwhile single
//! samples arrive at odd moments that make an alert of their own fire, in a group of one second without `group_wait`; told is how
//! long it takes from the acknowledgement of the sample until the whole notification is there.

mod setup;
mod sink;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use indicatif::ProgressBar;
use model::remote_write::{Label, TimeSeries, WireSample, WriteRequest};
use model::time::{Clock, SystemClock};
use prost::Message;
use serde::Serialize;

use super::Latencies;
use super::fleet::{Fleet, SERIES_PER_CLUSTER};
use super::guard::Folder;
use super::ingest::{Outcome, post, progress, write_client};
use super::machine::Machine;
use super::own::{OwnArgs, SeedArgs, print};
use super::paced::{self, Pace};
use super::servers::{Kind, Options};
use super::subject::Subject;
use crate::output::Output;
use crate::render::number::short;
use crate::render::table::aligned;
use crate::render::unit::{BYTES, PLAIN};
use sink::Sink;

/// Pauses between probes, in milliseconds: any part of an evaluation's interval, so that probes meet it at every phase.
const PROBE_PAUSE_MS: std::ops::Range<u64> = 500..1_500;
/// How long a notification may take before it counts as lost.
const PROBE_PATIENCE: Duration = Duration::from_secs(30);
/// The duration of each group's last evaluation.
const LAST_DURATION: &str = "prometheus_rule_group_last_duration_seconds";
/// Evaluations that were skipped.
const MISSED: &str = "prometheus_rule_group_iterations_missed_total";
/// Rules that failed.
const FAILED: &str = "prometheus_rule_evaluation_failures_total";

/// Arguments of `bench alerts`.
#[derive(Debug, Args)]
pub(crate) struct AlertsArgs {
    /// Active series, each with a sample an interval
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    series: u32,
    /// Rules over them, nine in ten of them alerts
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rules: u32,
    /// Rules of one group
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rules_per_group: u32,
    /// Seconds between two samples of a series, and between two evaluations
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    interval: u32,
    /// Intervals that are measured, after as many as fill what rules look back to
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    intervals: u32,
    #[command(flatten)]
    own: OwnArgs,
    #[command(flatten)]
    seed: SeedArgs,
}

/// All figures.
#[derive(Debug, Serialize)]
struct Figures {
    machine: Machine,
    seed: u64,
    series: u32,
    rules: u32,
    groups: u32,
    interval_seconds: u32,
    /// Processor time of the server, in percent of all cores: without rules, and with them.
    alone_percent: f64,
    with_rules_percent: f64,
    /// All groups' last evaluations together, in seconds of the threads that evaluate.
    pass_seconds: f64,
    /// Evaluations that were skipped, rules that failed.
    missed: u64,
    failed: u64,
    alerts: u64,
    resident_peak_bytes: u64,
    /// From the acknowledgement of a sample to its notification.
    probes: usize,
    lost: usize,
    told_p50_ms: f64,
    told_p99_ms: f64,
    told_max_ms: f64,
}

/// Measures and prints.
pub(super) fn run(args: &AlertsArgs, output: &mut Output) -> anyhow::Result<()> {
    let sink = Sink::start()?;
    let files = Folder::make(args.own.data.as_deref())?;
    let rules = files.path().join("rules.yml");
    let groups = args.rules.div_ceil(args.rules_per_group);
    std::fs::write(&rules, setup::rule_file(args.rules, args.rules_per_group, args.interval, args.series))
        .context("cannot write the rules")?;
    let routes = files.path().join("routes.yml");
    std::fs::write(&routes, setup::routing_file(sink.url())).context("cannot write the routes")?;

    let mut fleet = Fleet::new(args.series as usize, args.seed.seed);
    let length = u64::from(args.interval * (2 * args.intervals + setup::LOOK_BACK_INTERVALS)) * 1000;
    let bar = progress(length, "{spinner} {bar:30} {msg}")?;
    let mut subject = Subject::start(Kind::MetricKit, Options::default(), args.own.data.as_deref())?;
    paced::send(subject.client.url(), &mut fleet, pace(args, setup::LOOK_BACK_INTERVALS), &bar)?;
    let alone_percent = processor_percent(&subject, || {
        paced::send(subject.client.url(), &mut fleet, pace(args, args.intervals), &bar).map(drop)
    })?;
    subject.stop()?;
    subject.set_options(Options { settings: settings(&rules, &routes)?, ..Options::default() });
    subject.start_again()?;
    // Each group has been evaluated once before anything is measured.
    paced::send(subject.client.url(), &mut fleet, pace(args, 2), &bar)?;
    let mut probed = Probed::default();
    let with_rules_percent = processor_percent(&subject, || {
        probed = load_and_probe(args, &subject, &mut fleet, &sink, &bar)?;
        Ok(())
    })?;
    let page = Page::of(&subject)?;
    let resident_peak_bytes = subject.usage().context("the server's process can be read")?.resident_peak_bytes;
    bar.finish_and_clear();
    let [told_p50_ms, told_p99_ms, told_max_ms] = probed.latencies.quantiles_ms();
    let figures = Figures {
        machine: Machine::this(),
        seed: args.seed.seed,
        series: args.series,
        rules: args.rules,
        groups,
        interval_seconds: args.interval,
        alone_percent,
        with_rules_percent,
        pass_seconds: page.sum(LAST_DURATION),
        missed: whole(page.sum(MISSED)),
        failed: whole(page.sum(FAILED)),
        alerts: whole(page.sum("metrickit_alerts{state=\"firing\"}")),
        resident_peak_bytes,
        probes: probed.latencies.0.len(),
        lost: probed.lost,
        told_p50_ms,
        told_p99_ms,
        told_max_ms,
    };
    print(output, args.own.json, &figures, show)
}

fn settings(rules: &Path, routes: &Path) -> anyhow::Result<Vec<(&'static str, String)>> {
    let text = |path: &Path| path.to_str().map(str::to_owned).context("the temporary folder's name is not UTF-8");
    Ok(vec![("--rule-files", text(rules)?), ("--alerting-config", text(routes)?)])
}

fn pace(args: &AlertsArgs, intervals: u32) -> Pace {
    let every = Duration::from_secs(args.interval.into());
    Pace { every, wanted: every * intervals, samples_per_request: SERIES_PER_CLUSTER }
}

/// The server's processor time while `work` goes on, in percent of all cores.
fn processor_percent(subject: &Subject, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let used = || subject.usage().context("the server's process can be read");
    let (began, before) = (Instant::now(), used()?);
    work()?;
    let seconds = used()?.cpu_seconds - before.cpu_seconds;
    Ok(100.0 * seconds / began.elapsed().as_secs_f64() / Machine::this().cores as f64)
}

/// What became of single samples.
#[derive(Debug, Default)]
struct Probed {
    latencies: Latencies,
    lost: usize,
}

/// Sends the load, and probes beside it until it is sent.
fn load_and_probe(
    args: &AlertsArgs,
    subject: &Subject,
    fleet: &mut Fleet,
    sink: &Sink,
    bar: &ProgressBar,
) -> anyhow::Result<Probed> {
    let url = subject.client.url();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| probe(url, sink, args.seed.seed, &is_over));
        let sent = paced::send(url, fleet, pace(args, args.intervals), bar);
        is_over.store(true, Ordering::Relaxed);
        let probed = thread.join().map_err(|_| anyhow::anyhow!("the thread that probes panicked"))?;
        sent.and(probed)
    })
}

/// Writes one sample after another that makes an alert fire, and waits until it is told.
fn probe(url: &str, sink: &Sink, seed: u64, is_over: &AtomicBool) -> anyhow::Result<Probed> {
    let mut random = fastrand::Rng::with_seed(seed);
    let (http, url) = (write_client(), format!("{url}/api/v1/write"));
    let mut probed = Probed::default();
    for number in 0_u32.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let outcome = post(&http, &url, &probe_body(number)?)?;
        ensure!(matches!(outcome, Outcome::Taken), "a probe was answered {outcome:?}");
        let acknowledged = Instant::now();
        match sink.wait_for(&setup::probe_name(number), PROBE_PATIENCE) {
            Some(told) => probed.latencies.push(told.saturating_duration_since(acknowledged)),
            None => probed.lost += 1,
        }
        std::thread::sleep(Duration::from_millis(random.u64(PROBE_PAUSE_MS)));
    }
    Ok(probed)
}

fn probe_body(number: u32) -> anyhow::Result<Vec<u8>> {
    let label = |name: &str, value: String| Label { name: name.to_owned(), value };
    let labels = vec![label("__name__", setup::PROBE_METRIC.to_owned()), label("probe", setup::probe_name(number))];
    let samples = vec![WireSample { value: 1.0, timestamp: SystemClock.now().0, start_timestamp: 0 }];
    let series = TimeSeries { labels, samples, ..TimeSeries::default() };
    let body = WriteRequest { timeseries: vec![series], metadata: Vec::new() }.encode_to_vec();
    Ok(snap::raw::Encoder::new().compress_vec(&body)?)
}

/// The server's own metrics at a moment.
struct Page(String);

impl Page {
    fn of(subject: &Subject) -> anyhow::Result<Self> {
        let mut answer = write_client().get(format!("{}/metrics", subject.client.url())).call()?;
        Ok(Self(answer.body_mut().with_config().limit(64 << 20).read_to_string()?))
    }

    /// The sum of all series that begin with `prefix`.
    fn sum(&self, prefix: &str) -> f64 {
        let values = self.0.lines().filter(|line| line.starts_with(prefix));
        values.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
fn whole(value: f64) -> u64 {
    value as u64
}

fn show(figures: &Figures, width: Option<usize>) -> String {
    let header = ["", ""];
    let percent = |value: f64| format!("{value:.1} % of {} cores", figures.machine.cores);
    let rows: Vec<Vec<String>> = [
        ("processor time without rules", percent(figures.alone_percent)),
        ("with rules", percent(figures.with_rules_percent)),
        (
            "evaluating all rules once",
            format!("{:.2} s of each {} s, threads together", figures.pass_seconds, figures.interval_seconds),
        ),
        ("evaluations missed, rules failed", format!("{}, {}", figures.missed, figures.failed)),
        ("alerts firing at the end", figures.alerts.to_string()),
        ("resident at most", short(figures.resident_peak_bytes as f64, BYTES)),
        (
            "sample to notification, ms",
            format!(
                "p50 {:.0}, p99 {:.0}, longest {:.0} of {} probes, {} lost",
                figures.told_p50_ms, figures.told_p99_ms, figures.told_max_ms, figures.probes, figures.lost
            ),
        ),
    ]
    .into_iter()
    .map(|(what, told)| vec![what.to_owned(), told])
    .collect();
    let mut text = format!(
        "{}, seed {}\n{} rules in {} groups over {} series, every {} s\n",
        figures.machine.line(),
        figures.seed,
        short(figures.rules.into(), PLAIN),
        figures.groups,
        short(figures.series.into(), PLAIN),
        figures.interval_seconds
    );
    text.push_str(&aligned(&header, &rows, 0, width));
    text
}
