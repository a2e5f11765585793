//! The table of options: key, shape, bounds, default, meaning. Everything else about options is derived from it: the
//! keys of the file, the names in the environment, the flags, `--print-config` and the table in `docs/agent.md`.

use crate::go::leaks::options::RISES_MAX;

/// What the value of an option looks like, and its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Any text.
    Text,
    /// Text that is never shown.
    Secret,
    /// `true` or `false`.
    Switch,
    /// A duration such as `5s`, with its bounds in milliseconds.
    Duration(i64, i64),
    /// Bytes such as `64MiB`, with their bounds.
    Bytes(u64, u64),
    /// A whole number with its bounds.
    Count(u64, u64),
    /// Texts, separated by commas; an array in the file.
    List,
    /// `name=value` separated by commas; a table in the file.
    Pairs,
    /// As `Pairs`, with values that are never shown.
    SecretPairs,
    /// URLs to scrape, each as `URL` or `JOB=URL`; in the file also tables with `url`, `job`, `labels`.
    Targets,
}

/// One option.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// The key in the file; dots are tables. The flag and the environment name are made from it.
    pub key: &'static str,
    /// What values look like.
    pub shape: Shape,
    /// The default, written as in the environment.
    pub default: &'static str,
    /// What it is for, one sentence or two.
    pub doc: &'static str,
}

impl OptionSpec {
    /// The name in the environment: `METRICKIT_AGENT_QUEUE_BYTES_MAX`.
    pub fn env_name(&self) -> String {
        format!("METRICKIT_AGENT_{}", self.key.replace('.', "_").to_ascii_uppercase())
    }

    /// The flag without its dashes: `queue-bytes-max`.
    pub fn flag(&self) -> String {
        self.key.replace(['.', '_'], "-")
    }
}

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const DAY: i64 = 86_400 * SECOND;
const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;

/// How often a collector may run: from every poll to once a day.
const COLLECTOR_INTERVAL: Shape = Shape::Duration(0, DAY);

const fn option(key: &'static str, shape: Shape, default: &'static str, doc: &'static str) -> OptionSpec {
    OptionSpec { key, shape, default, doc }
}

/// Where remote writes go unless told otherwise: a MetricKit server on this host.
pub const PUSH_URL_DEFAULT: &str = "http://127.0.0.1:9595/api/v1/write";

/// The option whose flag is the program's and not the agent's: a program logs in one way, whatever it runs.
pub const LOG_LEVEL: &str = "log_level";

/// Every option, in the order in which people read them.
pub const OPTIONS: &[OptionSpec] = &[
    option("host", Shape::Text, "", "Name of this host in `instance`; empty: the kernel's host name."),
    option(
        "environment",
        Shape::Text,
        "",
        "Value of label `env` on every series, such as `prod`; empty: no such label.",
    ),
    option("labels", Shape::Pairs, "", "Labels on every series that does not have them."),
    option(LOG_LEVEL, Shape::Text, "info", "Log level, or filter such as `agent::send=debug,info`."),
    option(
        "poll.interval",
        Shape::Duration(100, DAY),
        "10s",
        "Time between rounds of the host and process collectors.",
    ),
    option("collect.cpu", Shape::Switch, "true", "Processor seconds by core and mode."),
    option("collect.cpu_interval", COLLECTOR_INTERVAL, "0s", "Least time between two readings; 0s: every poll."),
    option("collect.load", Shape::Switch, "true", "Load averages."),
    option("collect.load_interval", COLLECTOR_INTERVAL, "0s", "Least time between two readings; 0s: every poll."),
    option("collect.memory", Shape::Switch, "true", "Memory and swap."),
    option("collect.memory_interval", COLLECTOR_INTERVAL, "0s", "Least time between two readings; 0s: every poll."),
    option("collect.filesystem", Shape::Switch, "true", "Size and free space of mounted filesystems."),
    option(
        "collect.filesystem_interval",
        COLLECTOR_INTERVAL,
        "30s",
        "Least time between two readings; 0s: every poll.",
    ),
    option(
        "collect.filesystem_ignore",
        Shape::List,
        "/dev,/proc,/run,/sys,/var/lib/containers,/var/lib/docker,/var/lib/kubelet",
        "Mount points left out, with everything below them.",
    ),
    option(
        "collect.disk",
        Shape::Switch,
        "true",
        "Reads, writes and busy time of block devices; partitions are left out.",
    ),
    option("collect.disk_interval", COLLECTOR_INTERVAL, "0s", "Least time between two readings; 0s: every poll."),
    option("collect.network", Shape::Switch, "true", "Traffic of network interfaces."),
    option("collect.network_interval", COLLECTOR_INTERVAL, "0s", "Least time between two readings; 0s: every poll."),
    option("collect.network_ignore", Shape::List, "veth", "Beginnings of the names of interfaces left out."),
    option("collect.system", Shape::Switch, "true", "Boot time, context switches, forks, kernel and system name."),
    option("collect.system_interval", COLLECTOR_INTERVAL, "30s", "Least time between two readings; 0s: every poll."),
    option(
        "go.discover",
        Shape::Switch,
        "true",
        "Finds Go processes by their build information and reads them from outside.",
    ),
    option("go.discover_interval", Shape::Duration(100, DAY), "2s", "Time between two looks for new Go processes."),
    option(
        "go.only",
        Shape::List,
        "",
        "Go processes that are read: patterns with `*` and `?` for the executable's name, or after `cmdline:` for the command \
         line; empty: all.",
    ),
    option("go.ignore", Shape::List, "", "Go processes that are not read, written as for `go.only`."),
    option("go.processes_max", Shape::Count(1, 10_000), "256", "Most Go processes read at once; the oldest are kept."),
    option(
        "go.memory",
        Shape::Switch,
        "true",
        "Reads the Go runtime in the memory of discovered processes: numbers, goroutines, profiles; captures too.",
    ),
    option(
        "go.memory_goroutines_max",
        Shape::Count(1_000, 10_000_000),
        "100000",
        "Most goroutines of a process that are looked at; of more, evenly spread ones are, and counts scaled up.",
    ),
    option(
        "go.goroutines_interval",
        Shape::Duration(SECOND, DAY),
        "30s",
        "Least time between two looks at the goroutines of a process; longer where that takes over 0.2 % of a core.",
    ),
    option(
        "go.profiles_interval",
        Shape::Duration(SECOND, DAY),
        "60s",
        "Least time between two readings of the profiles of a process.",
    ),
    option(
        "go.leak_blocked",
        Shape::Duration(0, 30 * DAY),
        "0s",
        "Goroutines blocked for this long count as blocked for long; 0s: by `environment`, 10m in dev, 30m in staging, else 1h.",
    ),
    option(
        "go.metrics",
        Shape::Switch,
        "true",
        "Looks for `/metrics` on the loopback TCP ports of discovered Go processes.",
    ),
    option("go.expvar", Shape::Switch, "true", "Looks for `/debug/vars` there when no port offers `/metrics`."),
    option(
        "go.scrape_runtime_only",
        Shape::List,
        "alloy,cadvisor,grafana-agent,node_exporter,otelcol,otelcol-contrib,prometheus-node-exporter,telegraf,vmagent",
        "Executable names of other agents: of their pages only `go_*`, `process_*` and `promhttp_*` are kept, so that the \
         host is not reported twice.",
    ),
    option("go.scrape_ignore", Shape::List, "", "Executable names whose ports are never tried."),
    option("go.scrape_ignore_ports", Shape::List, "", "TCP ports that are never tried."),
    option(
        "go.probe_timeout",
        Shape::Duration(10, MINUTE),
        "1s",
        "Longest wait for the answer of a port tried for the first time.",
    ),
    option(
        "go.probe_again",
        Shape::Duration(MINUTE, 30 * DAY),
        "1h",
        "Time after which a port that offered nothing is tried again.",
    ),
    option(
        "go.pprof",
        Shape::Switch,
        "true",
        "Reads goroutines, heap, mutexes and blocking by site from `/debug/pprof` where memory does not tell them: looked \
         for on the same ports, and at the socket of the client library.",
    ),
    option(
        "go.pprof_interval",
        Shape::Duration(5 * SECOND, DAY),
        "1m",
        "Least time between two profiles of a kind; longer where an answer takes more than a 200th of it.",
    ),
    option("go.pprof_timeout", Shape::Duration(100, 10 * MINUTE), "30s", "Longest wait for a profile."),
    option(
        "go.pprof_leaks",
        Shape::Switch,
        "false",
        "Asks for leaked goroutines where Go offers that, every ten minutes at most; each time costs the program a \
         collection.",
    ),
    option(
        "go.signals",
        Shape::Switch,
        "true",
        "Derives `go_signal_*` of each process: what its numbers mean together.",
    ),
    option(
        "go.sites_max",
        Shape::Count(1, 1_000),
        "20",
        "Sites of a process with series of their own by size; half as many by growth. The rest is `site=\"other\"`.",
    ),
    option(
        "targets",
        Shape::Targets,
        "",
        "Pages to scrape: `/metrics` text or `/debug/vars` JSON; `pprof` beside `url` names profiles to read.",
    ),
    option(
        "go.leaks",
        Shape::Switch,
        "true",
        "Judges whether goroutines leak, by site, wherever goroutines can be read.",
    ),
    option(
        "go.leaks_window",
        Shape::Duration(SECOND, DAY),
        "5m",
        "Shortest windows whose floors are compared; others are 4, 16 and 64 times as long.",
    ),
    option(
        "go.leaks_rises",
        Shape::Count(2, RISES_MAX as u64),
        "4",
        "Times in a row that the floor of a site must have risen; twice as often where nothing tells that goroutines are stuck.",
    ),
    option(
        "go.leaks_growth_min",
        Shape::Count(1, 1_000_000),
        "10",
        "Least growth of a site that counts, in goroutines.",
    ),
    option(
        "go.leaks_growth_percent",
        Shape::Count(0, 1_000),
        "5",
        "Least growth of a site that counts, in percent of the goroutines it had.",
    ),
    option(
        "go.leaks_ignore",
        Shape::List,
        "",
        "Functions whose goroutines are not judged by their number: `main.poll`, `main.(*hub).*`, `main.read@IO wait`.",
    ),
    option("go.leaks_sites_max", Shape::Count(1, 10_000), "128", "Most sites of a process that are followed."),
    option("go.leaks_told_max", Shape::Count(1, 100), "10", "Most leaking sites of a process that are told."),
    option("metrics.drop", Shape::List, "", "Metrics that are left out, of whatever source: names with `*` and `?`."),
    option("metrics.keep", Shape::List, "", "Metrics that are kept though `metrics.drop` names them."),
    option(
        "limits.series_per_target",
        Shape::Count(0, 10_000_000),
        "100000",
        "Most series of one target in a round or push; those beyond are left out and counted; 0: no limit.",
    ),
    option(
        "go.capture_on_leak",
        Shape::Switch,
        "true",
        "Captures the goroutines of a process where a site reaches grade 2, once a day for each site.",
    ),
    option("scrape.interval", Shape::Duration(100, DAY), "10s", "Time between two scrapes of each target."),
    option("scrape.timeout", Shape::Duration(10, 10 * MINUTE), "5s", "Longest time for one scrape."),
    option(
        "scrape.body_bytes_max",
        Shape::Bytes(KIB, GIB),
        "16MiB",
        "Longest page, uncompressed; a longer one fails the scrape.",
    ),
    option(
        "scrape.samples_max",
        Shape::Count(1, 10_000_000),
        "50000",
        "Most samples on a page; a page with more fails the scrape.",
    ),
    option("scrape.workers", Shape::Count(1, 64), "4", "Scrapes under way at once."),
    option(
        "receive.socket",
        Shape::Text,
        "/run/metrickit/agent.sock",
        "Unix socket at which Go programs with the client push: a path, or an abstract `@name`; empty: none.",
    ),
    option("push.url", Shape::Text, PUSH_URL_DEFAULT, "Remote-write receiver: MetricKit, or any other."),
    option(
        "push.protocol",
        Shape::Text,
        "auto",
        "Version of remote write: `2.0`, `1.0`, or `auto`: 2.0 where the receiver knows it.",
    ),
    option(
        "push.histograms",
        Shape::Text,
        "native",
        "Exponential histograms for receivers of 1.0: `native`, or `classic` buckets.",
    ),
    option("push.interval", Shape::Duration(10, DAY), "5s", "Time between two pushes."),
    option("push.timeout", Shape::Duration(100, 10 * MINUTE), "30s", "Longest time for one push."),
    option("push.samples_max", Shape::Count(1, 1_000_000), "5000", "Most samples in one request."),
    option("push.body_bytes_max", Shape::Bytes(64 * KIB, GIB), "8MiB", "Largest request before compression."),
    option(
        "push.backoff_min",
        Shape::Duration(10, MINUTE),
        "500ms",
        "First pause after a failed push; doubles each time.",
    ),
    option("push.backoff_max", Shape::Duration(100, 60 * MINUTE), "30s", "Longest pause after failed pushes."),
    option(
        "push.flush_timeout",
        Shape::Duration(0, 10 * MINUTE),
        "5s",
        "Longest time to send what is queued when stopping.",
    ),
    option(
        "push.metadata_interval",
        Shape::Duration(SECOND, DAY),
        "10m",
        "Time between two sendings of kinds and help texts.",
    ),
    option("push.token", Shape::Secret, "", "Bearer token sent with each push."),
    option("push.token_file", Shape::Text, "", "File with the bearer token; read anew for each push."),
    option("push.headers", Shape::SecretPairs, "", "More request headers, `Name=value`."),
    option(
        "control.check_in",
        Shape::Switch,
        "true",
        "Tells the MetricKit server that it pushes to how the agent is, and learns from it what to do.",
    ),
    option(
        "control.url",
        Shape::Text,
        "",
        "Address of that server; empty: that of `push.url`, where this ends in `/api/v1/write`.",
    ),
    option(
        "control.profile",
        Shape::Switch,
        "true",
        "Collects by the profile that the server holds for `environment`; the agent's own file, variables and flags win.",
    ),
    option("control.tasks", Shape::Switch, "true", "Does what people ask for there: bursts of readings, captures."),
    option("queue.folder", Shape::Text, "metrickit-agent-data", "Folder of the queue on disk."),
    option(
        "queue.bytes_max",
        Shape::Bytes(64 * KIB, 1024 * GIB),
        "512MiB",
        "Most bytes on disk; above it the oldest samples are dropped and counted.",
    ),
    option(
        "queue.age_max",
        Shape::Duration(MINUTE, 365 * DAY),
        "3d",
        "Samples that waited longer are dropped and counted.",
    ),
    option(
        "queue.segment_bytes",
        Shape::Bytes(4 * KIB, GIB),
        "1MiB",
        "Size of one file of the queue; space is given back file by file.",
    ),
    option(
        "queue.memory_bytes_max",
        Shape::Bytes(0, GIB),
        "2MiB",
        "Newest queued bytes kept in memory too, so that they are not read back from disk.",
    ),
    option(
        "queue.sync_interval",
        Shape::Duration(0, 60 * MINUTE),
        "30s",
        "Time between forced writes to the device; a killed agent loses nothing, a power cut at most this.",
    ),
    option("profiles.folder", Shape::Text, "", "Folder of captured profiles; empty: `profiles` in the queue's."),
    option(
        "profiles.bytes_max",
        Shape::Bytes(64 * KIB, 1024 * GIB),
        "256MiB",
        "Most bytes of captured profiles; the oldest make room. One may have a quarter.",
    ),
    option("profiles.age_max", Shape::Duration(MINUTE, 365 * DAY), "7d", "Older captured profiles are removed."),
    option(
        "budget.cpu_percent",
        Shape::Count(0, 10_000),
        "5",
        "Processor time of one core the agent may take, in percent; above it the costliest is done less often, then the least missed is left out; 0: no limit.",
    ),
    option(
        "budget.memory",
        Shape::Bytes(0, 64 * GIB),
        "128MiB",
        "Memory the agent may take, 90 % of its control group's limit at most; above it the least missed is left out; 0: only that.",
    ),
    option(
        "budget.window",
        Shape::Duration(SECOND, 10 * MINUTE),
        "30s",
        "Time over which both are measured before anything changes.",
    ),
];

/// Keys and tables that a server's profile may not set: who the agent is, where it sends and listens, what it keeps where, and what
/// it lets a server do.
const LOCAL: [&str; 9] =
    ["host", "environment", LOG_LEVEL, "targets", "receive.", "push.", "control.", "queue.", "profiles."];

/// Keys and tables that a running agent does not change.
const FIXED: [&str; 11] = [
    "host",
    "environment",
    LOG_LEVEL,
    "go.signals",
    "go.sites_max",
    "go.leaks_window",
    "receive.",
    "push.",
    "control.",
    "queue.",
    "profiles.",
];

fn is_among(key: &str, among: &[&str]) -> bool {
    among.iter().any(|of| if of.ends_with('.') { key.starts_with(of) } else { key == *of })
}

/// Whether a server's profile may set the option. It never sets addresses, paths or secrets.
pub fn may_come_from_afar(key: &str) -> bool {
    !is_among(key, &LOCAL)
}

/// Whether a change of the option takes effect at the next start only.
pub fn needs_restart(key: &str) -> bool {
    is_among(key, &FIXED)
}

/// The option with `key`.
pub fn find(key: &str) -> Option<&'static OptionSpec> {
    OPTIONS.iter().find(|option| option.key == key)
}

/// Longest text that is compared for a suggestion.
const COMPARED_CHARS_MAX: usize = 64;

/// The known key most like `key`, if one is near enough to be what was meant.
pub fn nearest(key: &str) -> Option<&'static str> {
    let key: &str = &key.chars().take(COMPARED_CHARS_MAX).collect::<String>();
    let last_part = |key: &'static str| key.rsplit('.').next().unwrap_or(key);
    let near = |option: &&OptionSpec| {
        let whole = strsim::levenshtein(key, option.key);
        if last_part(option.key) == key { whole.min(1) } else { whole }
    };
    let best = OPTIONS.iter().min_by_key(near)?;
    (near(&best) <= 1 + key.chars().count() / 4).then_some(best.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_derived_and_unique() {
        let spec = find("queue.bytes_max").expect("known");
        assert_eq!(spec.env_name(), "METRICKIT_AGENT_QUEUE_BYTES_MAX");
        assert_eq!(spec.flag(), "queue-bytes-max");
        let mut flags: Vec<_> = OPTIONS.iter().map(OptionSpec::flag).collect();
        flags.sort();
        flags.dedup();
        assert_eq!(flags.len(), OPTIONS.len());
    }

    #[test]
    fn what_a_server_may_set_and_what_changes_while_running() {
        for of in LOCAL.iter().chain(&FIXED) {
            assert!(OPTIONS.iter().any(|option| is_among(option.key, &[of])), "{of} is no option");
        }
        for option in OPTIONS {
            let secret = matches!(option.shape, Shape::Secret | Shape::SecretPairs | Shape::Targets);
            let elsewhere = ["url", "socket", "folder", "file"].iter().any(|end| option.key.ends_with(end));
            assert!(!may_come_from_afar(option.key) || !(secret || elsewhere), "{}", option.key);
        }
        assert!(may_come_from_afar("poll.interval") && !may_come_from_afar("push.interval"));
        assert!(needs_restart("queue.bytes_max") && !needs_restart("collect.cpu"));
    }

    #[test]
    fn suggestions() {
        assert_eq!(nearest("pol.interval"), Some("poll.interval"));
        assert_eq!(nearest("push.uri"), Some("push.url"));
        assert_eq!(nearest("bytes_max"), Some("queue.bytes_max"));
        assert_eq!(nearest("zebra"), None);
    }
}
