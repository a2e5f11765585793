//! Rounds of scraping: configured targets and the pages of discovered processes, a few at once, each with its own memory
//! of series, so that what vanishes is marked stale: a series, a page that fails, a process that ended.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use model::{Clock, LabelsBuilder};
use parking_lot::Mutex;

use super::listen;
use super::probe::{PageKind, Ports, Probed, Prober};
use super::target::{Limits, ScrapeError, Target, loopback_port};
use crate::config::Config;
use crate::go::SharedProcesses;
use crate::http::Client;
use crate::readings::{Metric, Readings};
use crate::stale::Tracker;
use crate::stats::Stats;

const PAGE_INFO: Metric =
    Metric::gauge("metrickit_go_page_info", "Where the page of a Go process was found; always 1.");

/// Longest time a round spends on trying ports; the rest is left for the next.
const PROBING_MAX: Duration = Duration::from_secs(3);

/// Scrapes all targets, round by round.
#[derive(Debug)]
pub struct Scraper {
    client: Client,
    clock: Arc<dyn Clock>,
    configured: Vec<Target>,
    processes: SharedProcesses,
    prober: Prober,
    limits: Limits,
    probe_limits: Limits,
    workers: usize,
    sources: BTreeMap<String, Source>,
    stats: Arc<Stats>,
}

/// What is kept of a target between rounds.
#[derive(Debug, Default)]
struct Source {
    tracker: Tracker,
    failing: bool,
}

impl Scraper {
    /// A scraper of the targets of `config` and of `processes`.
    pub fn new(config: &Config, processes: SharedProcesses, clock: Arc<dyn Clock>, stats: Arc<Stats>) -> Self {
        let configured: Vec<_> = config.targets.iter().map(|spec| Target::configured(spec, &config.host)).collect();
        let taken = configured.iter().filter_map(Target::loopback_port).chain(loopback_port(&config.push.url));
        let limits = Limits {
            timeout: config.scrape.timeout,
            body_bytes_max: config.scrape.body_bytes_max,
            samples_max: config.scrape.samples_max,
        };
        Self {
            client: Client::direct(),
            clock,
            prober: Prober::new(&config.go, taken),
            configured,
            processes,
            probe_limits: Limits { timeout: config.go.probe_timeout, ..limits },
            limits,
            workers: config.scrape.workers,
            sources: BTreeMap::new(),
            stats,
        }
    }

    /// Scrapes every target once and passes the readings of each to `sink`.
    pub fn round(&mut self, sink: &mut dyn FnMut(Readings)) {
        let targets = self.targets();
        let results = self.scrape_all(&targets);
        let mut reached = HashSet::new();
        for (target, (mut readings, error)) in targets.iter().zip(results) {
            if target.process.is_some() {
                readings.push(&PAGE_INFO, &[("url", &target.url)], 1.0);
            }
            let key = key(target);
            let source = self.sources.entry(key.clone()).or_default();
            source.tracker.observe(&mut readings, 0);
            source.report(target, error.as_ref());
            self.stats.scrapes.add(1);
            self.stats.scrapes_failed.add(u64::from(error.is_some()));
            reached.insert(key);
            sink(readings);
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

    /// Stale markers for every series of every target: the agent stops.
    pub fn end(&mut self, out: &mut Readings) {
        for source in self.sources.values_mut() {
            source.tracker.end(out);
        }
    }

    fn targets(&mut self) -> Vec<Target> {
        let mut targets = self.configured.clone();
        let processes = Arc::clone(&self.processes.lock());
        let mut ports = LoopbackPorts { client: &self.client, limits: self.probe_limits, started: Instant::now() };
        targets.extend(self.prober.targets(&processes, self.clock.now().0, &mut ports));
        let mut seen = HashSet::new();
        targets.retain(|target| seen.insert(key(target)));
        targets
    }

    /// Scrapes `targets`, a few at once; results come in the same order.
    fn scrape_all(&self, targets: &[Target]) -> Vec<(Readings, Option<ScrapeError>)> {
        let results: Vec<Mutex<Option<_>>> = targets.iter().map(|_| Mutex::new(None)).collect();
        let next = AtomicUsize::new(0);
        let work = || {
            while let (Some(target), Some(result)) = {
                let at = next.fetch_add(1, Ordering::Relaxed);
                (targets.get(at), results.get(at))
            } {
                *result.lock() = Some(target.scrape(&self.client, &self.limits, self.clock.now().0));
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.workers.min(targets.len()) {
                scope.spawn(work);
            }
            work();
        });
        results.into_iter().filter_map(Mutex::into_inner).collect()
    }
}

impl Source {
    /// Logs when a target begins to fail and when it recovers, not each time.
    fn report(&mut self, target: &Target, error: Option<&ScrapeError>) {
        match error {
            Some(error) if !self.failing => tracing::warn!(url = target.url, %error, "target cannot be read"),
            None if self.failing => tracing::info!(url = target.url, "target is read again"),
            _ => {}
        }
        self.failing = error.is_some();
    }
}

/// A target's page and labels: two targets may share a page under different labels.
fn key(target: &Target) -> String {
    let mut builder = LabelsBuilder::new();
    for (name, value) in &target.labels {
        builder.set(name, value);
    }
    let labels = builder.build().unwrap_or_default();
    format!("{} {labels}", target.url)
}

/// The real ports of this host.
struct LoopbackPorts<'a> {
    client: &'a Client,
    limits: Limits,
    started: Instant,
}

impl Ports for LoopbackPorts<'_> {
    fn addresses(&mut self, pid: i32) -> Vec<SocketAddr> {
        listen::addresses(pid)
    }

    fn probe(&mut self, address: SocketAddr, kind: PageKind) -> Probed {
        if self.started.elapsed() > PROBING_MAX {
            return Probed::Later;
        }
        let target = Target { url: format!("http://{address}{}", kind.path()), labels: Vec::new(), process: None };
        let (readings, error) = target.scrape(self.client, &self.limits, 0);
        let telling = match kind {
            PageKind::Metrics => readings.value_of("scrape_samples_scraped") > Some(0.0),
            PageKind::Expvar => readings.value_of("go_memstats_sys_bytes").is_some(),
        };
        let offered = error.is_none() && telling;
        tracing::debug!(%address, page = kind.path(), offered, "port tried");
        if offered { Probed::Offered } else { Probed::Nothing }
    }
}
