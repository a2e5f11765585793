//! The agent's configuration, typed. `options` is the table of everything that can be set, `value` reads values,
//! `layers` merges defaults, file, environment and flags; here the result becomes the structs that the rest uses.

pub mod layers;
pub mod options;
pub mod profile;
pub mod value;

use std::path::PathBuf;
use std::time::Duration;

use model::labels::is_label_name;
use options::LOG_LEVEL;
use ureq::http::{HeaderName, HeaderValue};

use crate::budget::BudgetConfig;
use crate::control;
use crate::filter::{MetricFilter, ProcessFilter};
use crate::go::leaks::{AllowList, LeakOptions, Pattern};

pub use layers::{ConfigError, Origin, Setting, Settings};
pub use value::{TargetSpec, Value};

use crate::send::protocol::{Histograms, Protocol};

/// Everything the agent needs to run. Each field's meaning, unit and bounds are in [`options::OPTIONS`].
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the table of options documents every field")]
pub struct Config {
    pub host: String,
    pub environment: String,
    pub labels: Vec<(String, String)>,
    pub log_level: String,
    pub poll_interval: Duration,
    pub collect: CollectConfig,
    pub go: GoConfig,
    pub targets: Vec<TargetSpec>,
    pub scrape: ScrapeConfig,
    pub metrics: MetricFilter,
    /// Path or `@name` of the socket that programs push to.
    pub receive_socket: Option<String>,
    pub push: PushConfig,
    pub control: ControlConfig,
    pub queue: QueueConfig,
    pub profiles: ProfilesConfig,
    pub budget: BudgetConfig,
}

/// One collector's switch and least interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table of options documents every field")]
pub struct Switch {
    pub on: bool,
    pub interval_ms: i64,
}

/// The host collectors.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the table of options documents every field")]
pub struct CollectConfig {
    pub cpu: Switch,
    pub load: Switch,
    pub memory: Switch,
    pub filesystem: Switch,
    pub filesystem_ignore: Vec<String>,
    pub disk: Switch,
    pub network: Switch,
    pub network_ignore: Vec<String>,
    pub system: Switch,
}

/// Go processes: finding, reading and trying their ports.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the table of options documents every field")]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in the table of options")]
pub struct GoConfig {
    pub discover: bool,
    pub discover_interval: Duration,
    pub only: ProcessFilter,
    pub ignore: ProcessFilter,
    pub processes_max: usize,
    pub metrics: bool,
    pub expvar: bool,
    pub scrape_runtime_only: Vec<String>,
    pub scrape_ignore: Vec<String>,
    pub scrape_ignore_ports: Vec<u16>,
    pub probe_timeout: Duration,
    pub probe_again_ms: i64,
    pub pprof: bool,
    pub pprof_interval: Duration,
    pub pprof_timeout: Duration,
    pub pprof_leaks: bool,
    pub signals: bool,
    pub capture_on_leak: bool,
    pub sites_max: usize,
    pub memory: GoMemoryConfig,
    /// None: goroutine leaks are not looked for.
    pub leaks: Option<LeakOptions>,
}

impl GoConfig {
    /// Whether pages and profiles are looked for at other places, or in another way.
    pub fn looks_elsewhere_than(&self, other: &Self) -> bool {
        let places = |of: &Self| {
            let switches = [of.metrics, of.expvar, of.pprof];
            let names = (of.scrape_runtime_only.clone(), of.scrape_ignore.clone(), of.scrape_ignore_ports.clone());
            (switches, names, of.probe_again_ms)
        };
        places(self) != places(other)
    }
}

/// Reading of Go processes in their memory.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the table of options documents every field")]
pub struct GoMemoryConfig {
    pub on: bool,
    pub goroutines_interval_ms: u64,
    pub goroutines_max: u64,
    pub profiles_interval_ms: u64,
    pub sites_max: usize,
    pub leak_blocked_ms: u64,
}

/// Scraping of targets.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the table of options documents every field")]
pub struct ScrapeConfig {
    pub interval: Duration,
    pub timeout: Duration,
    pub body_bytes_max: u64,
    pub samples_max: usize,
    pub workers: usize,
}

/// Sending.
#[derive(Clone)]
#[expect(missing_docs, reason = "the table of options documents every field")]
pub struct PushConfig {
    pub url: String,
    pub protocol: Protocol,
    pub histograms: Histograms,
    pub interval: Duration,
    pub timeout: Duration,
    pub samples_max: usize,
    pub body_bytes_max: usize,
    pub backoff_min_ms: u64,
    pub backoff_max_ms: u64,
    pub flush_timeout: Duration,
    pub metadata_interval_ms: i64,
    pub token: String,
    pub token_file: Option<PathBuf>,
    pub headers: Vec<(String, String)>,
}

/// Without the secrets.
impl std::fmt::Debug for PushConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PushConfig")
            .field("url", &value::masked(&self.url))
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

/// What the agent says to a server beside samples, and takes from it.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the table of options documents every field")]
pub struct ControlConfig {
    /// Address of the server; none: the agent keeps to itself.
    pub server: Option<String>,
    pub tasks: bool,
    pub profile: bool,
}

/// The queue on disk.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the table of options documents every field")]
pub struct QueueConfig {
    pub folder: PathBuf,
    pub bytes_max: u64,
    pub age_max_ms: i64,
    pub segment_bytes: u64,
    pub memory_bytes_max: u64,
    pub sync_interval_ms: i64,
}

/// Captured profiles.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the table of options documents every field")]
pub struct ProfilesConfig {
    pub folder: PathBuf,
    pub bytes_max: u64,
    pub age_max_ms: i64,
}

impl Default for Config {
    fn default() -> Self {
        Self::from_settings(&Settings::defaults()).expect("defaults are valid")
    }
}

impl Config {
    /// The configuration that `settings` describe, checked across options.
    ///
    /// # Errors
    ///
    /// When values contradict each other or a label or URL is malformed.
    pub fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        let read = Reader(settings);
        let config = Self {
            host: Some(read.text("host")).filter(|name| !name.is_empty()).unwrap_or_else(system_host_name),
            environment: read.text("environment"),
            labels: read.pairs("labels"),
            log_level: read.text(LOG_LEVEL),
            poll_interval: read.duration("poll.interval"),
            collect: read.collect(),
            go: read.go()?,
            targets: read.targets(),
            scrape: ScrapeConfig {
                interval: read.duration("scrape.interval"),
                timeout: read.duration("scrape.timeout"),
                body_bytes_max: read.number("scrape.body_bytes_max"),
                samples_max: read.size("scrape.samples_max"),
                workers: read.size("scrape.workers"),
            },
            metrics: MetricFilter::new(
                &read.list("metrics.drop"),
                &read.list("metrics.keep"),
                read.size("limits.series_per_target"),
            ),
            receive_socket: Some(read.text("receive.socket")).filter(|socket| !socket.is_empty()),
            push: read.push()?,
            control: ControlConfig {
                server: control::server_of(&read.text("control.url"), &read.text("push.url"))
                    .filter(|_| read.on("control.check_in")),
                tasks: read.on("control.tasks"),
                profile: read.on("control.profile"),
            },
            queue: QueueConfig {
                folder: PathBuf::from(read.text("queue.folder")),
                bytes_max: read.number("queue.bytes_max"),
                age_max_ms: read.ms("queue.age_max"),
                segment_bytes: read.number("queue.segment_bytes"),
                memory_bytes_max: read.number("queue.memory_bytes_max"),
                sync_interval_ms: read.ms("queue.sync_interval"),
            },
            profiles: read.profiles(),
            budget: BudgetConfig {
                cpu_percent: read.number("budget.cpu_percent"),
                memory_bytes: read.number("budget.memory"),
                window: read.duration("budget.window"),
            },
        };
        config.check(&read)?;
        Ok(config)
    }

    /// Labels that every series gets unless it has them: environment and static ones.
    pub fn external_labels(&self) -> Vec<(String, String)> {
        let mut labels = self.labels.clone();
        if !self.environment.is_empty() && labels.iter().all(|(name, _)| name != "env") {
            labels.push(("env".to_owned(), self.environment.clone()));
        }
        labels.sort();
        labels
    }

    /// Whether other series go out than by `other`, or with other labels.
    pub fn is_shaped_otherwise_than(&self, other: &Self) -> bool {
        self.external_labels() != other.external_labels() || self.metrics != other.metrics
    }

    fn check(&self, read: &Reader<'_>) -> Result<(), ConfigError> {
        for (key, labels) in std::iter::once(("labels", &self.labels))
            .chain(self.targets.iter().map(|target| ("targets", &target.labels)))
        {
            if let Some((name, _)) = labels.iter().find(|(name, _)| !is_label_name(name) || name == "__name__") {
                return Err(read.wrong(key, format!("has label {name:?}; names are letters, digits and _")));
            }
        }
        if !(self.push.url.starts_with("http://") || self.push.url.starts_with("https://")) {
            let shown = value::masked(&self.push.url);
            return Err(read.wrong("push.url", format!("is {shown:?}; write http://… or https://…")));
        }
        let control_url = read.text("control.url");
        if !(control_url.is_empty() || control_url.starts_with("http://") || control_url.starts_with("https://")) {
            let shown = value::masked(&control_url);
            return Err(read.wrong("control.url", format!("is {shown:?}; write http://… or https://…")));
        }
        let sendable = |(name, value): &(String, String)| {
            name.parse::<HeaderName>().is_ok() && value.parse::<HeaderValue>().is_ok()
        };
        if let Some((name, _)) = self.push.headers.iter().find(|header| !sendable(header)) {
            return Err(read.wrong("push.headers", format!("has {name:?}, which no header can be called or hold")));
        }
        if self.push.token.parse::<HeaderValue>().is_err() {
            return Err(read.wrong("push.token", "holds characters that no header can".to_owned()));
        }
        if self.push.backoff_max_ms < self.push.backoff_min_ms {
            let least = self.push.backoff_min_ms;
            return Err(read.wrong("push.backoff_max", format!("is below push.backoff_min, which is {least}ms")));
        }
        if self.queue.segment_bytes > self.queue.bytes_max / 2 {
            let most = self.queue.bytes_max / 2;
            return Err(read.wrong("queue.segment_bytes", format!("is more than half of queue.bytes_max, {most}B")));
        }
        if self.scrape.timeout > self.scrape.interval {
            return Err(read.wrong("scrape.timeout", "is longer than scrape.interval".to_owned()));
        }
        Ok(())
    }
}

/// Typed access to settings whose shapes the table of options fixes.
struct Reader<'a>(&'a Settings);

impl Reader<'_> {
    fn text(&self, key: &str) -> String {
        match &self.0.get(key).value {
            Value::Text(text) => text.clone(),
            other => unreachable!("{key} is {other:?}"),
        }
    }

    fn ms(&self, key: &str) -> i64 {
        match self.0.get(key).value {
            Value::DurationMs(ms) => ms,
            ref other => unreachable!("{key} is {other:?}"),
        }
    }

    fn duration(&self, key: &str) -> Duration {
        Duration::from_millis(self.ms(key).unsigned_abs())
    }

    fn number(&self, key: &str) -> u64 {
        match self.0.get(key).value {
            Value::Bytes(number) | Value::Count(number) => number,
            ref other => unreachable!("{key} is {other:?}"),
        }
    }

    fn size(&self, key: &str) -> usize {
        usize::try_from(self.number(key)).unwrap_or(usize::MAX)
    }

    fn on(&self, key: &str) -> bool {
        match self.0.get(key).value {
            Value::Switch(on) => on,
            ref other => unreachable!("{key} is {other:?}"),
        }
    }

    fn switch(&self, key: &str) -> Switch {
        Switch { on: self.on(key), interval_ms: self.ms(&format!("{key}_interval")) }
    }

    fn list(&self, key: &str) -> Vec<String> {
        match &self.0.get(key).value {
            Value::List(items) => items.clone(),
            other => unreachable!("{key} is {other:?}"),
        }
    }

    fn filter(&self, key: &str) -> ProcessFilter {
        ProcessFilter::new(&self.list(key))
    }

    fn pairs(&self, key: &str) -> Vec<(String, String)> {
        match &self.0.get(key).value {
            Value::Pairs(pairs) => pairs.clone(),
            other => unreachable!("{key} is {other:?}"),
        }
    }

    fn targets(&self) -> Vec<TargetSpec> {
        match &self.0.get("targets").value {
            Value::Targets(targets) => targets.clone(),
            other => unreachable!("targets is {other:?}"),
        }
    }

    fn collect(&self) -> CollectConfig {
        CollectConfig {
            cpu: self.switch("collect.cpu"),
            load: self.switch("collect.load"),
            memory: self.switch("collect.memory"),
            filesystem: self.switch("collect.filesystem"),
            filesystem_ignore: self.list("collect.filesystem_ignore"),
            disk: self.switch("collect.disk"),
            network: self.switch("collect.network"),
            network_ignore: self.list("collect.network_ignore"),
            system: self.switch("collect.system"),
        }
    }

    fn go(&self) -> Result<GoConfig, ConfigError> {
        let key = "go.scrape_ignore_ports";
        let port = |text: &String| {
            text.parse::<u16>().map_err(|_| self.wrong(key, format!("holds {text:?}; a port is 0 to 65535")))
        };
        Ok(GoConfig {
            discover: self.on("go.discover"),
            discover_interval: self.duration("go.discover_interval"),
            only: self.filter("go.only"),
            ignore: self.filter("go.ignore"),
            processes_max: self.size("go.processes_max"),
            metrics: self.on("go.metrics"),
            expvar: self.on("go.expvar"),
            scrape_runtime_only: self.list("go.scrape_runtime_only"),
            scrape_ignore: self.list("go.scrape_ignore"),
            scrape_ignore_ports: self.list(key).iter().map(port).collect::<Result<_, _>>()?,
            probe_timeout: self.duration("go.probe_timeout"),
            probe_again_ms: self.ms("go.probe_again"),
            pprof: self.on("go.pprof"),
            pprof_interval: self.duration("go.pprof_interval"),
            pprof_timeout: self.duration("go.pprof_timeout"),
            pprof_leaks: self.on("go.pprof_leaks"),
            signals: self.on("go.signals"),
            capture_on_leak: self.on("go.capture_on_leak"),
            sites_max: self.size("go.sites_max"),
            memory: GoMemoryConfig {
                on: self.on("go.memory"),
                goroutines_interval_ms: self.ms("go.goroutines_interval").unsigned_abs(),
                goroutines_max: self.number("go.memory_goroutines_max"),
                profiles_interval_ms: self.ms("go.profiles_interval").unsigned_abs(),
                sites_max: self.size("go.sites_max"),
                leak_blocked_ms: self.leak_blocked_ms(),
            },
            leaks: Some(self.leaks()?).filter(|_| self.on("go.leaks")),
        })
    }

    /// For how long goroutines are blocked that count as blocked for long: as told, else the shorter the sooner somebody waits for
    /// the verdict.
    fn leak_blocked_ms(&self) -> u64 {
        match (self.ms("go.leak_blocked").unsigned_abs(), self.text("environment").to_lowercase().as_str()) {
            (0, "dev" | "devel" | "development" | "local" | "test" | "testing") => 600_000,
            (0, "stage" | "staging" | "preprod" | "qa") => 1_800_000,
            (0, _) => 3_600_000,
            (told_ms, _) => told_ms,
        }
    }

    fn leaks(&self) -> Result<LeakOptions, ConfigError> {
        let key = "go.leaks_ignore";
        let pattern =
            |text: &String| Pattern::parse(text).map_err(|error| self.wrong(key, format!("is wrong: {error}")));
        let ignored = self.list(key).iter().map(pattern).collect::<Result<Vec<_>, _>>()?;
        Ok(LeakOptions {
            window_ms: self.ms("go.leaks_window"),
            rises: self.size("go.leaks_rises"),
            growth_min: self.number("go.leaks_growth_min"),
            growth_percent: self.number("go.leaks_growth_percent"),
            blocked_ms: self.leak_blocked_ms(),
            sites_max: self.size("go.leaks_sites_max"),
            told_max: self.size("go.leaks_told_max"),
            allow: AllowList::new(ignored),
        })
    }

    fn profiles(&self) -> ProfilesConfig {
        let folder = PathBuf::from(self.text("profiles.folder"));
        let beside_queue = || PathBuf::from(self.text("queue.folder")).join("profiles");
        ProfilesConfig {
            folder: if folder.as_os_str().is_empty() { beside_queue() } else { folder },
            bytes_max: self.number("profiles.bytes_max"),
            age_max_ms: self.ms("profiles.age_max"),
        }
    }

    fn push(&self) -> Result<PushConfig, ConfigError> {
        let one_of = |key: &str, known: &str| {
            let text = self.text(key);
            self.wrong(key, format!("is {text:?}; known are {known}"))
        };
        Ok(PushConfig {
            url: self.text("push.url"),
            protocol: match self.text("push.protocol").as_str() {
                "auto" => Protocol::Auto,
                "1.0" => Protocol::V1,
                "2.0" => Protocol::V2,
                _ => return Err(one_of("push.protocol", "auto, 1.0, 2.0")),
            },
            histograms: match self.text("push.histograms").as_str() {
                "native" => Histograms::Native,
                "classic" => Histograms::Classic,
                _ => return Err(one_of("push.histograms", "native, classic")),
            },
            interval: self.duration("push.interval"),
            timeout: self.duration("push.timeout"),
            samples_max: self.size("push.samples_max"),
            body_bytes_max: self.size("push.body_bytes_max"),
            backoff_min_ms: self.ms("push.backoff_min").unsigned_abs(),
            backoff_max_ms: self.ms("push.backoff_max").unsigned_abs(),
            flush_timeout: self.duration("push.flush_timeout"),
            metadata_interval_ms: self.ms("push.metadata_interval"),
            token: self.text("push.token"),
            token_file: Some(self.text("push.token_file")).filter(|path| !path.is_empty()).map(PathBuf::from),
            headers: self.pairs("push.headers"),
        })
    }

    fn wrong(&self, key: &str, problem: String) -> ConfigError {
        ConfigError::Value { key: key.to_owned(), origin: self.0.get(key).origin.clone(), problem }
    }
}

/// The kernel's host name, or `localhost` where there is none.
pub fn system_host_name() -> String {
    sysinfo::System::host_name().ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".to_owned())
}
