//! Rounds of reading profiles: finds who offers them, at the socket of the client library, at a port, or where
//! configuration says, and reads each in its own time. All of it is one thread: no two programs answer at once, and none
//! is asked two things at once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::Clock;

use super::decode::Limits;
use super::endpoint::Endpoint;
use super::reading::{Context, Reading};
use super::sources::{Source, SourceKey, Sources};
use crate::config::Config;
use crate::go::census::{Census, Way};
use crate::go::discover::Scan;
use crate::go::ways::{Part, ProcessKey, Reason, Ways};
use crate::go::{GoProcess, SharedProcesses, sites};
use crate::http::Client;
use crate::readings::Readings;
use crate::scrape::ports::LoopbackPorts;
use crate::scrape::probe::{Found, Looks, Prober};
use crate::scrape::target::{self, Target, loopback_port};
use crate::stop::StopFlag;

/// Takes each census that a profile tells.
pub type CensusSink = Box<dyn FnMut(&GoProcess, &Census) + Send>;

/// Reads the profiles of all programs, round by round.
pub struct Profiler {
    client: Client,
    clock: Arc<dyn Clock>,
    stop: StopFlag,
    processes: SharedProcesses,
    ways: Ways,
    sources: Sources,
    prober: Prober,
    sockets: HashMap<ProcessKey, Socket>,
    /// The processes of which it is known who offers profiles.
    found: Option<Arc<Scan>>,
    configured: Vec<Configured>,
    readings: BTreeMap<SourceKey, Reading>,
    options: Options,
    census: CensusSink,
}

/// Longest time between two looks at the socket of a process where nobody listens.
const SOCKET_AGAIN_MS: u64 = 10_000;

/// The socket of the client library in a process.
#[derive(Debug, Clone, Copy)]
struct Socket {
    looks: Looks,
    /// Whether somebody listens there.
    is_open: bool,
}

/// A configured URL of profiles.
#[derive(Debug)]
struct Configured {
    key: SourceKey,
    endpoint: Endpoint,
    labels: Vec<(String, String)>,
}

/// What configuration says.
#[derive(Debug, Clone)]
struct Options {
    on: bool,
    leaks: bool,
    interval: Duration,
    timeout: Duration,
    probe: target::Limits,
    sites: sites::Limits,
    /// How long a new program is left to better ways of reading it.
    patience: Duration,
    ignore: Vec<String>,
}

impl Options {
    fn new(config: &Config) -> Self {
        let go = &config.go;
        Self {
            on: go.pprof,
            leaks: go.pprof_leaks,
            interval: go.pprof_interval,
            timeout: go.pprof_timeout,
            probe: target::Limits {
                timeout: go.probe_timeout,
                body_bytes_max: config.scrape.body_bytes_max,
                samples_max: config.scrape.samples_max,
            },
            sites: sites::Limits {
                by_value: go.sites_max,
                by_growth: go.sites_max.div_ceil(2),
                ..sites::Limits::default()
            },
            patience: config.poll_interval.max(config.scrape.interval).saturating_mul(3) / 2,
            ignore: go.scrape_ignore.clone(),
        }
    }
}

fn configured(config: &Config) -> Vec<Configured> {
    let with_profiles = config.targets.iter().filter(|spec| !spec.pprof.is_empty());
    let configured = with_profiles.map(|spec| {
        let (key, endpoint) = (SourceKey::Target(spec.pprof.clone()), Endpoint::url(&spec.pprof));
        Configured { key, endpoint, labels: Target::configured(spec, &config.host).labels }
    });
    configured.collect()
}

fn prober(config: &Config) -> Prober {
    let taken = config.targets.iter().filter_map(|spec| loopback_port(&spec.url));
    Prober::of_profiles(&config.go, taken.chain(loopback_port(&config.push.url)))
}

impl fmt::Debug for Profiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profiler").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Profiler {
    /// Reads the profiles of `processes` and of the targets of `config`, where no better way in `ways` does.
    pub fn new(config: &Config, processes: SharedProcesses, clock: Arc<dyn Clock>, ways: Ways) -> Self {
        Self {
            client: Client::direct(),
            clock,
            stop: StopFlag::new(),
            processes,
            ways,
            sources: Sources::new(),
            prober: prober(config),
            sockets: HashMap::new(),
            found: None,
            configured: configured(config),
            readings: BTreeMap::new(),
            options: Options::new(config),
            census: Box::new(|_, _| ()),
        }
    }

    /// Takes up a changed configuration; sources that stay keep what is known of them.
    pub fn configure(&mut self, before: &Config, now: &Config) {
        self.options = Options::new(now);
        self.found = None;
        if before.targets != now.targets || before.go.looks_elsewhere_than(&now.go) {
            self.configured = configured(now);
            self.prober = prober(now);
        }
    }

    /// The same, whose rounds end early when `stop` is set.
    #[must_use]
    pub fn stopped_by(mut self, stop: StopFlag) -> Self {
        self.stop = stop;
        self
    }

    /// The same, which hands each census to `sink`.
    #[must_use]
    pub fn telling(mut self, sink: CensusSink) -> Self {
        self.census = sink;
        self
    }

    /// The same, which does not leave new programs to other ways first.
    #[must_use]
    pub fn at_once(mut self) -> Self {
        self.options.patience = Duration::ZERO;
        self
    }

    /// Who offers profiles, as of the last round.
    pub fn sources(&self) -> Sources {
        self.sources.clone()
    }

    /// Whether there is nothing to do, whatever may be found.
    pub fn is_off(&self) -> bool {
        !self.options.on && self.configured.is_empty()
    }

    /// Reads what is due and passes the readings of each program to `sink`. Intervals are multiplied by `stretch`.
    pub fn round(&mut self, now: Instant, stretch: u32, sink: &mut dyn FnMut(Readings)) {
        let scan = Arc::clone(&self.processes.lock());
        self.find(&scan);
        let listed = self.sources.list();
        let mut gone = Readings::new(self.clock.now().0);
        self.readings.retain(|key, reading| {
            let kept = listed.iter().any(|(own, source)| own == key && reading.is_of(source));
            if !kept {
                reading.end(&mut gone);
            }
            kept
        });
        if !gone.is_empty() {
            sink(gone);
        }
        let mut context = Context {
            client: &self.client,
            ways: &self.ways,
            stop: &self.stop,
            limits: Limits::default(),
            timeout: self.options.timeout,
            interval: self.options.interval,
            leaks: self.options.leaks,
            stretch,
            census: &mut *self.census,
        };
        for (key, source) in listed {
            if self.stop.is_stopped() {
                return;
            }
            let reading = self.readings.entry(key.clone()).or_insert_with(|| {
                let process = scan.processes.iter().find(|process| key == key_of(process)).cloned();
                let due = now.checked_add(self.options.patience).unwrap_or(now);
                Reading::new(source, process, due, self.options.interval, self.options.sites)
            });
            let told = reading.round(&mut context, now, self.clock.now().0);
            if let (SourceKey::Process(process), true) = (&key, reading.is_lost()) {
                // A library that was closed, or whose socket was never one; or a port that was.
                self.sockets.remove(process);
                self.prober.doubt(*process);
                self.found = None;
            }
            if let Some(readings) = told.filter(|readings| !readings.is_empty()) {
                sink(readings);
            }
        }
    }

    /// Reads nothing, since that costs too much now, and tells so. Who offers profiles is known all the same.
    pub fn leave_out(&mut self, sink: &mut dyn FnMut(Readings)) {
        let scan = Arc::clone(&self.processes.lock());
        self.find(&scan);
        let now_ms = self.clock.now().0;
        let mut gone = Readings::new(now_ms);
        for (_, mut reading) in std::mem::take(&mut self.readings) {
            reading.end(&mut gone);
        }
        for (key, _) in self.sources.list() {
            let SourceKey::Process(process) = key else { continue };
            for part in Part::ALL.into_iter().filter(|part| *part != Part::Runtime) {
                self.ways.cannot(process, part, Way::Pprof, Reason::Budget);
            }
        }
        if !gone.is_empty() {
            sink(gone);
        }
    }

    /// Stale markers for every series: the agent stops.
    pub fn end(&mut self, out: &mut Readings) {
        for reading in self.readings.values_mut() {
            reading.end(out);
        }
    }

    /// Finds out who offers profiles, unless that is known of all processes.
    fn find(&mut self, scan: &Arc<Scan>) {
        let now_ms = self.clock.now().0;
        let same = self.found.as_ref().is_some_and(|found| Arc::ptr_eq(found, scan));
        if same && !self.prober.is_due(now_ms) && !self.sockets.values().any(|socket| socket.is_due(now_ms)) {
            return;
        }
        let source = |own: &Configured| (own.key.clone(), Source::new(own.endpoint.clone(), own.labels.clone()));
        let mut found: Vec<(SourceKey, Source)> = self.configured.iter().map(source).collect();
        if self.options.on {
            let processes = &scan.processes;
            let alive: HashSet<ProcessKey> = processes.iter().map(|process| (&process.life).into()).collect();
            self.sockets.retain(|process, _| alive.contains(process));
            let (with, without): (Vec<GoProcess>, Vec<GoProcess>) =
                processes.iter().cloned().partition(|process| self.has_socket(process, now_ms));
            found.extend(with.iter().map(|process| {
                (key_of(process), Source::new(Endpoint::socket_of(process.life.pid), labels_of(process)))
            }));
            let mut ports = LoopbackPorts::new(&self.client, self.options.probe, &self.stop);
            let pages = self.prober.found(&without, now_ms, &mut ports);
            found.extend(pages.iter().filter(|page| !page.is_closed).map(|page: &Found<'_>| {
                (key_of(page.process), Source::new(Endpoint::Url(page.url()), labels_of(page.process)))
            }));
        }
        self.sources.replace(found);
        self.found = Some(Arc::clone(scan));
    }

    /// Whether the client library listens in `process`. One that does is not asked again.
    fn has_socket(&mut self, process: &GoProcess, now_ms: i64) -> bool {
        if !process.same_network || self.options.ignore.contains(&process.life.name) {
            return false;
        }
        let new = Socket { looks: Looks::new(now_ms), is_open: false };
        let socket = self.sockets.entry((&process.life).into()).or_insert(new);
        if socket.is_due(now_ms) {
            socket.looks.looked(now_ms);
            socket.is_open = Endpoint::socket_of(process.life.pid).is_listening();
        }
        socket.is_open
    }
}

impl Socket {
    fn is_due(&self, now_ms: i64) -> bool {
        !self.is_open && self.looks.is_due(now_ms, SOCKET_AGAIN_MS)
    }
}

fn key_of(process: &GoProcess) -> SourceKey {
    SourceKey::Process((&process.life).into())
}

fn labels_of(process: &GoProcess) -> Vec<(String, String)> {
    vec![("job".to_owned(), process.job.clone()), ("instance".to_owned(), process.instance.clone())]
}
