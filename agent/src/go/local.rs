//! The Go processes of this host for a program that shows them to a person: the collectors of the agent, called when they are asked, and
//! what they yield put together by process. No queue, no sending, no other agent disturbed.
//!
//! Owns only the putting together: what a process is asked, and how it is read, is `outside`'s and its neighbours'.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use model::{Histogram, METRIC_NAME};
use parking_lot::Mutex;

use super::census::Census;
use super::discover::{Discovery, GoProcess, Scan};
use super::leaks::{Judge, Leaks};
use super::outside::{Outside, SharedCensuses};
use super::process::{GoProcesses, SharedProcesses};
use super::signals::{Signals, SignalsCollector};
use super::ways::{Part, Told, Ways};
use crate::collect::Collector;
use crate::config::{Config, ConfigError, GoMemoryConfig, Settings};
use crate::readings::Readings;

/// A number with labels beside those of its process.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled {
    /// Name of the series.
    pub name: String,
    /// Its labels but `job` and `instance`.
    pub labels: Vec<(String, String)>,
    /// Its value.
    pub value: f64,
}

impl Labelled {
    /// The value of `label`; empty where it has none.
    pub fn label(&self, label: &str) -> &str {
        self.labels.iter().find(|(name, _)| name == label).map_or("", |(_, value)| value)
    }
}

/// One process as it was at one moment.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Which one.
    pub process: GoProcess,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Numbers by the name of their series, those that have no further label.
    pub numbers: BTreeMap<String, f64>,
    /// Those that have some, such as `quantile` or `site`.
    pub labelled: Vec<Labelled>,
    /// Distributions by the name of their series.
    pub histograms: BTreeMap<String, Histogram>,
    /// The last look at its goroutines.
    pub census: Option<Arc<Census>>,
    /// How each part was read, or why not.
    pub parts: Vec<(Part, Told)>,
}

impl Seen {
    /// The number called `name`.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.numbers.get(name).copied()
    }

    /// The number called `name` whose label `label` is `value`.
    pub fn labelled(&self, name: &str, label: &str, value: &str) -> Option<f64> {
        self.all_labelled(name).find(|one| one.label(label) == value).map(|one| one.value)
    }

    /// All numbers called `name` that have labels.
    pub fn all_labelled<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Labelled> + 'a {
        self.labelled.iter().filter(move |one| one.name == name)
    }

    /// How `part` was read, or why not; nothing where it was not tried.
    pub fn part(&self, part: Part) -> Option<Told> {
        self.parts.iter().find(|(of, _)| *of == part).map(|(_, told)| *told)
    }
}

/// How often goroutines and profiles are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// At each reading, whatever it costs.
    AtOnce,
    /// Not more often than this, and less often where it takes more than 0.2 % of a core.
    Every(Duration),
}

/// Looks at the Go processes of this host.
#[derive(Debug)]
pub struct Local {
    discovery: Discovery,
    processes: SharedProcesses,
    ways: Ways,
    censuses: SharedCensuses,
    signals: Signals,
    collectors: Vec<Box<dyn Collector>>,
    derive: SignalsCollector,
}

impl Local {
    /// Looks at goroutines and profiles at this `pace`, and by the agent's defaults otherwise: no files of its configuration are read.
    ///
    /// # Errors
    ///
    /// When the defaults contradict each other, which a test of the configuration rules out.
    pub fn new(pace: Pace) -> Result<Self, ConfigError> {
        let config = Config::from_settings(&Settings::defaults())?;
        let interval_ms = match pace {
            Pace::AtOnce => 0,
            Pace::Every(interval) => u64::try_from(interval.as_millis()).unwrap_or(u64::MAX),
        };
        let memory = GoMemoryConfig {
            goroutines_interval_ms: interval_ms,
            profiles_interval_ms: interval_ms.saturating_mul(PROFILES_ROUNDS),
            ..config.go.memory
        };
        let (processes, ways) = (SharedProcesses::default(), Ways::new());
        let shared = || Arc::clone(&processes);
        let outside = Outside::new(memory, shared(), ways.clone());
        let outside = if pace == Pace::AtOnce { outside.at_once() } else { outside };
        let censuses = outside.censuses();
        let judge = Arc::new(Mutex::new(Judge::new(config.go.leaks.clone().unwrap_or_default())));
        let leaks = Leaks::new(shared(), judge).beside(Arc::clone(&censuses));
        let signals = Signals::default();
        Ok(Self {
            // A person who asks may be answered about all there are.
            discovery: Discovery::new(&config.host, Vec::new(), usize::MAX),
            derive: SignalsCollector::new(signals.clone(), shared()),
            collectors: vec![Box::new(outside), Box::new(leaks), Box::new(GoProcesses::new(shared()))],
            processes,
            ways,
            censuses,
            signals,
        })
    }

    /// Looks for Go processes; the following readings are of those found.
    ///
    /// # Errors
    ///
    /// When `/proc` cannot be listed.
    pub fn scan(&mut self) -> std::io::Result<Arc<Scan>> {
        let scan = Arc::new(self.discovery.scan()?);
        *self.processes.lock() = Arc::clone(&scan);
        Ok(scan)
    }

    /// Reads `process` alone from now on, until the next scan.
    pub fn only(&mut self, process: GoProcess) {
        *self.processes.lock() = Arc::new(Scan { processes: vec![process], ..Scan::default() });
    }

    /// Reads the processes at `now_ms`, oldest first. What cannot be read of one is told in its parts.
    pub fn read(&mut self, now_ms: i64) -> Vec<Seen> {
        let mut out = Readings::new(now_ms);
        for collector in &mut self.collectors {
            if let Err(error) = collector.collect(&mut out) {
                tracing::debug!(collector = collector.name(), %error, "not read");
            }
        }
        self.signals.observe(out.iter());
        if let Err(error) = self.derive.collect(&mut out) {
            tracing::debug!(%error, "signals not derived");
        }
        let scan = Arc::clone(&self.processes.lock());
        let censuses = self.censuses.lock();
        let seen = scan.processes.iter().map(|process| {
            let key = (&process.life).into();
            let told = Part::ALL.into_iter().filter_map(|part| Some((part, self.ways.told(key, part, now_ms)?)));
            Seen {
                process: process.clone(),
                at_ms: now_ms,
                numbers: BTreeMap::new(),
                labelled: Vec::new(),
                histograms: BTreeMap::new(),
                census: censuses.get(&process.life).cloned(),
                parts: told.collect(),
            }
        });
        let mut seen: Vec<Seen> = seen.collect();
        drop(censuses);
        share_out(&out, &mut seen);
        seen
    }
}

/// Profiles are asked about once in so many rounds of goroutines.
const PROFILES_ROUNDS: u64 = 5;

/// Gives each process what `out` says of it. Series that ended are left out.
fn share_out(out: &Readings, seen: &mut [Seen]) {
    let at = seen.iter().enumerate().map(|(at, seen)| ((seen.process.job.clone(), seen.process.instance.clone()), at));
    let at: HashMap<(String, String), usize> = at.collect();
    for (labels, values) in out.iter() {
        let (Some(name), Some(job), Some(instance)) =
            (labels.get(METRIC_NAME), labels.get("job"), labels.get("instance"))
        else {
            continue;
        };
        let Some(of) = at.get(&(job.to_owned(), instance.to_owned())).and_then(|at| seen.get_mut(*at)) else {
            continue;
        };
        if values.is_stale_marker() {
            continue;
        }
        if let Some(histogram) = values.histogram() {
            of.histograms.insert(name.to_owned(), histogram.clone());
            continue;
        }
        let Some(value) = values.value() else { continue };
        let own = labels.iter().filter(|(label, _)| ![METRIC_NAME, "job", "instance"].contains(label));
        let own: Vec<(String, String)> = own.map(|(label, value)| (label.to_owned(), value.to_owned())).collect();
        if own.is_empty() {
            of.numbers.insert(name.to_owned(), value);
        } else {
            of.labelled.push(Labelled { name: name.to_owned(), labels: own, value });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::go::identity::Life;

    #[test]
    fn readings_go_to_their_processes() {
        let seen = |name: &str, slot: u32| Seen {
            process: GoProcess {
                life: Life { start_ticks: 1, pid: 7, name: name.to_owned() },
                job: name.to_owned(),
                instance: format!("h/{slot}"),
                build: Arc::default(),
                same_network: true,
            },
            at_ms: 5,
            numbers: BTreeMap::new(),
            labelled: Vec::new(),
            histograms: BTreeMap::new(),
            census: None,
            parts: Vec::new(),
        };
        let mut all = [seen("api", 0), seen("api", 1), seen("web", 0)];
        let mut out = Readings::new(5);
        out.push_named("up", &[], 1.0);
        out.set_target([("job", "api"), ("instance", "h/1")]);
        out.push_named("go_goroutines", &[], 5.0);
        out.push_named("go_goroutines_by_site", &[("site", "main.f"), ("wait", "select")], 3.0);
        out.push_named("gone", &[], model::sample::stale_marker());
        out.push_histogram(
            &crate::readings::Metric::histogram("waits_seconds", "Waits."),
            &[],
            Histogram { schema: model::histogram::CUSTOM_SCHEMA, custom_bounds: vec![1.0], ..Histogram::default() },
        );
        share_out(&out, &mut all);
        assert!(all[0].numbers.is_empty() && all[2].numbers.is_empty(), "{all:?}");
        assert_eq!(all[1].number("go_goroutines"), Some(5.0));
        assert_eq!(all[1].labelled("go_goroutines_by_site", "site", "main.f"), Some(3.0));
        assert_eq!(all[1].number("gone"), None);
        assert!(all[1].histograms.contains_key("waits_seconds"));
    }

    #[test]
    fn a_host_is_looked_at_without_an_agent() {
        let mut local = Local::new(Pace::AtOnce).expect("defaults");
        let scan = local.scan().expect("/proc is there");
        let seen = local.read(1_000);
        assert_eq!(seen.len(), scan.processes.len());
    }
}
