//! Rounds of scraping: configured targets and the pages of discovered processes, a few at once, each with its own memory
//! of series, so that what vanishes is marked stale: a series, a page that fails, a process that ended.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::{Clock, LabelsBuilder, METRIC_NAME};
use parking_lot::Mutex;

use super::pool::{Pool, Work};
use super::ports::LoopbackPorts;
use super::probe::Prober;
use super::target::{Limits, OwnProcess, ScrapeError, Target, is_of_runtime, loopback_port};
use crate::budget::{self, CpuMeter};
use crate::config::Config;
use crate::config::value::masked;
use crate::go::SharedProcesses;
use crate::go::census::Way;
use crate::go::discover::Scan;
use crate::go::ways::{Names, Part, Reason, Ways};
use crate::http::Client;
use crate::readings::{Metric, Readings};
use crate::stale::Tracker;
use crate::stats::Stats;
use crate::stop::StopFlag;

const PAGE_INFO: Metric =
    Metric::gauge("metrickit_go_page_info", "Where the page of a Go process was found; always 1.");

/// What a page gives counts as given until it has not been read for this many intervals.
const INTERVALS_VALID: u64 = 3;

/// Scrapes all targets, round by round.
#[derive(Debug)]
pub struct Scraper {
    client: Client,
    clock: Arc<dyn Clock>,
    configured: Vec<Target>,
    processes: SharedProcesses,
    prober: Prober,
    /// The processes whose pages were looked for last.
    looked_at: Option<Arc<Scan>>,
    limits: Limits,
    probe_limits: Limits,
    workers: usize,
    pool: Pool,
    sources: BTreeMap<String, Source>,
    stats: Arc<Stats>,
    stop: StopFlag,
    ways: Ways,
    /// For how long what a page gives counts as given.
    valid_ms: u64,
}

fn configured(config: &Config) -> Vec<Target> {
    config.targets.iter().map(|spec| Target::configured(spec, &config.host)).collect()
}

fn limits(config: &Config) -> Limits {
    Limits {
        timeout: config.scrape.timeout,
        body_bytes_max: config.scrape.body_bytes_max,
        samples_max: config.scrape.samples_max,
    }
}

fn prober(config: &Config, configured: &[Target]) -> Prober {
    let taken = configured.iter().filter_map(Target::loopback_port).chain(loopback_port(&config.push.url));
    Prober::new(&config.go, taken)
}

fn valid_ms(config: &Config) -> u64 {
    u64::try_from(config.scrape.interval.as_millis()).unwrap_or(u64::MAX).saturating_mul(INTERVALS_VALID)
}

/// What is kept of a target between rounds.
#[derive(Debug, Default)]
struct Source {
    tracker: Tracker,
    failing: bool,
    url: String,
}

impl Scraper {
    /// A scraper of the targets of `config` and of `processes`.
    pub fn new(config: &Config, processes: SharedProcesses, clock: Arc<dyn Clock>, stats: Arc<Stats>) -> Self {
        let configured = configured(config);
        let limits = limits(config);
        Self {
            client: Client::direct(),
            clock,
            prober: prober(config, &configured),
            looked_at: None,
            configured,
            processes,
            probe_limits: Limits { timeout: config.go.probe_timeout, ..limits },
            limits,
            workers: config.scrape.workers,
            pool: Pool::new(),
            sources: BTreeMap::new(),
            stats,
            stop: StopFlag::new(),
            ways: Ways::new(),
            valid_ms: valid_ms(config),
        }
    }

    /// Takes up a changed configuration. Targets that stay keep what is known of them, those that go are marked stale in the next round.
    pub fn configure(&mut self, before: &Config, now: &Config) {
        self.configured = configured(now);
        self.limits = limits(now);
        self.probe_limits = Limits { timeout: now.go.probe_timeout, ..self.limits };
        self.workers = now.scrape.workers;
        self.valid_ms = valid_ms(now);
        self.looked_at = None;
        if before.targets != now.targets || before.go.looks_elsewhere_than(&now.go) {
            self.prober = prober(now, &self.configured);
        }
    }

    /// The same, whose rounds end early when `stop` is set: what is under way is finished, the rest left out.
    #[must_use]
    pub fn stopped_by(mut self, stop: StopFlag) -> Self {
        self.stop = stop;
        self
    }

    /// The same, which tells `ways` what the pages of processes give, and leaves out what better ways give.
    #[must_use]
    pub fn telling(mut self, ways: Ways) -> Self {
        self.ways = ways;
        self
    }

    /// Scrapes every target once and passes the readings of each to `sink`.
    pub fn round(&mut self, sink: &mut dyn FnMut(Readings)) {
        let mut targets = self.configured.clone();
        targets.extend(self.discovered());
        let mut reached = HashSet::new();
        targets.retain(|target| reached.insert(key(target)));
        self.scrape(targets, sink);
        if self.stop.is_stopped() {
            return;
        }
        let mut gone = Readings::new(self.clock.now().0);
        self.sources.retain(|key, source| {
            let kept = reached.contains(key);
            if !kept {
                source.tracker.end(&mut gone);
            }
            kept
        });
        if !gone.is_empty() {
            sink(gone);
        }
    }

    /// Scrapes the pages of processes found since the last round, which need not wait for the next.
    pub fn news(&mut self, sink: &mut dyn FnMut(Readings)) {
        let scan = Arc::clone(&self.processes.lock());
        let same = self.looked_at.as_ref().is_some_and(|looked_at| Arc::ptr_eq(looked_at, &scan));
        if same && !self.prober.is_due(self.clock.now().0) {
            return;
        }
        let mut targets = self.discovered();
        targets.retain(|target| self.sources.get(&key(target)).is_none_or(|source| source.url != target.url));
        self.scrape(targets, sink);
    }

    /// Stale markers for every series of every target: the agent stops.
    pub fn end(&mut self, out: &mut Readings) {
        for source in self.sources.values_mut() {
            source.tracker.end(out);
        }
    }

    fn discovered(&mut self) -> Vec<Target> {
        let scan = Arc::clone(&self.processes.lock());
        let now_ms = self.clock.now().0;
        self.looked_at = Some(Arc::clone(&scan));
        if self.stats.is_shed(budget::Part::Pages).is_some() {
            for process in &scan.processes {
                self.ways.cannot((&process.life).into(), Part::Runtime, Way::Page, Reason::Budget);
            }
            return Vec::new();
        }
        let mut ports = LoopbackPorts::new(&self.client, self.probe_limits, &self.stop);
        let mut targets = self.prober.targets(&scan.processes, now_ms, &mut ports);
        for own in targets.iter_mut().filter_map(|target| target.process.as_mut()) {
            own.taken = self.ways.taken(own.key, Way::Page, now_ms);
        }
        targets
    }

    fn scrape(&mut self, targets: Vec<Target>, sink: &mut dyn FnMut(Readings)) {
        let turn = self.scrape_all(targets);
        for (target, result) in turn.targets.iter().zip(&turn.results) {
            let Some((mut readings, error)) = result.lock().take() else { continue };
            if let Some(own) = &target.process {
                if error.is_none() {
                    self.claim(own, &readings);
                } else {
                    self.prober.doubt(own.key);
                }
                readings.push(&PAGE_INFO, &[("url", &target.url)], 1.0);
            }
            let source = self.sources.entry(key(target)).or_default();
            source.url.clone_from(&target.url);
            source.tracker.observe(&mut readings, 0);
            source.report(target, error.as_ref());
            self.stats.scrapes.add(1);
            self.stats.scrapes_failed.add(u64::from(error.is_some()));
            sink(readings);
        }
    }

    /// Takes note that the page of a process gives what it says of the runtime.
    fn claim(&self, own: &OwnProcess, readings: &Readings) {
        let names = readings.iter().filter_map(|(labels, _)| labels.get(METRIC_NAME));
        let names: Names = names.filter(|name| is_of_runtime(name)).collect();
        if !names.is_empty() {
            self.ways.works(own.key, Part::Runtime, Way::Page, &names, readings.timestamp_ms(), self.valid_ms);
        }
    }

    /// Scrapes `targets`, a few at once.
    fn scrape_all(&mut self, targets: Vec<Target>) -> Arc<Turn> {
        let helpers = self.workers.min(targets.len()).saturating_sub(1);
        let turn = Arc::new(Turn {
            results: targets.iter().map(|_| Mutex::new(None)).collect(),
            targets,
            next: AtomicUsize::new(0),
            client: self.client.clone(),
            limits: self.limits,
            clock: Arc::clone(&self.clock),
            stats: Arc::clone(&self.stats),
            stop: self.stop.clone(),
        });
        let helped = Arc::clone(&turn);
        let help: Work = Arc::new(move || {
            let meter = CpuMeter::start();
            helped.work();
            helped.stats.cpu_us.add(meter.elapsed_us());
        });
        // The caller measures its own thread.
        self.pool.run(helpers, &help, || turn.work());
        turn
    }
}

/// Targets that are scraped now, by several threads.
struct Turn {
    targets: Vec<Target>,
    /// What each target gave; nothing where a stop left it out.
    results: Vec<Mutex<Option<Scraped>>>,
    /// The first target that nobody has taken up.
    next: AtomicUsize,
    client: Client,
    limits: Limits,
    clock: Arc<dyn Clock>,
    stats: Arc<Stats>,
    stop: StopFlag,
}

impl Turn {
    /// Scrapes one target after the other until all are taken up, or a stop.
    fn work(&self) {
        while !self.stop.is_stopped() {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let (Some(target), Some(result)) = (self.targets.get(at), self.results.get(at)) else { break };
            let meter = CpuMeter::start();
            *result.lock() = Some(target.scrape(&self.client, &self.limits, self.clock.now().0));
            if target.process.is_some() {
                self.stats.part(budget::Part::Pages).cpu_us.add(meter.elapsed_us());
            }
        }
    }
}

/// What one scrape gave.
type Scraped = (Readings, Option<ScrapeError>);

impl Source {
    /// Logs when a target begins to fail and when it recovers, not each time.
    fn report(&mut self, target: &Target, error: Option<&ScrapeError>) {
        match error {
            Some(error) if !self.failing => tracing::warn!(url = masked(&target.url), %error, "target cannot be read"),
            None if self.failing => tracing::info!(url = masked(&target.url), "target is read again"),
            _ => {}
        }
        self.failing = error.is_some();
    }
}

/// What tells targets apart: their labels, and the page of configured ones, since two may share labels. A discovered
/// process is the same target when its successor offers its page at another port.
fn key(target: &Target) -> String {
    let mut builder = LabelsBuilder::new();
    for (name, value) in &target.labels {
        builder.set(name, value);
    }
    let labels = builder.build().unwrap_or_default();
    let page = if target.process.is_some() { "" } else { &target.url };
    format!("{page} {labels}")
}
