//! One target: its page, its labels, and one scrape of it with `up` and the other series that tell how the scrape went.

use std::time::{Duration, Instant};

use super::{expvar, text};
use crate::collect::float;
use crate::config::TargetSpec;
use crate::go::process::OUTSIDE_NAMES;
use crate::go::ways::{ProcessKey, Taken};
use crate::http::{Client, HttpError};
use crate::readings::{Metric, Readings};

const UP: Metric = Metric::gauge("up", "Whether the target's page was read.");
const SECONDS: Metric = Metric::gauge("scrape_duration_seconds", "Time the scrape took.");
const SAMPLES: Metric = Metric::gauge("scrape_samples_scraped", "Samples on the page.");
const BAD_LINES: Metric =
    Metric::gauge("metrickit_scrape_bad_lines", "Lines of the page that were not understood and left out.");

/// What the agent asks for: either text format.
pub const ACCEPT: &str = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.7,\
                          application/json;q=0.3,*/*;q=0.1";

/// Bounds on one scrape.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest time.
    pub timeout: Duration,
    /// Longest page.
    pub body_bytes_max: u64,
    /// Most samples.
    pub samples_max: usize,
}

/// Why a page was not read; it is tried again in the next round.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum ScrapeError {
    /// No answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Nobody is asked: an answer would be of another process.
    #[error("the process no longer listens there")]
    Closed,
    /// An answer that is no page.
    #[error("status {status}")]
    Status { status: u16 },
    /// More samples than allowed.
    #[error("page has more than {limit} samples")]
    TooManySamples { limit: usize },
    /// Nothing on the page is a sample.
    #[error("page of type {content_type:?} has no samples: {detail}")]
    NoSamples { content_type: String, detail: String },
}

/// One page to read, again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The page.
    pub url: String,
    /// Labels of the target: `job`, `instance`, and those configured.
    pub labels: Vec<(String, String)>,
    /// Set when the page belongs to a process that the agent reads from outside too.
    pub process: Option<OwnProcess>,
}

/// What is known of the process behind a discovered page.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnProcess {
    /// The toolchain, for `go_info` where the page does not tell.
    pub go_version: String,
    /// Whether it is another agent: then only what it says of its own runtime is kept.
    pub runtime_only: bool,
    /// Whether it no longer listens where its page was.
    pub is_closed: bool,
    /// Which process it is.
    pub key: ProcessKey,
    /// Names that better ways of reading it give now.
    pub taken: Taken,
}

/// Beginnings of the names of what the runtime and the client library say of their own process.
const RUNTIME_PREFIXES: [&str; 3] = ["go_", "process_", "promhttp_"];

/// Names that the collectors of Go's runtime give, and what others of theirs begin with. What else begins with `go_` may be of anything.
const RUNTIME_NAMES: [&str; 3] = ["go_goroutines", "go_info", "go_threads"];
const RUNTIME_GROUPS: [&str; 8] = [
    "go_cgo_",
    "go_cpu_classes_",
    "go_gc_",
    "go_godebug_",
    "go_memory_classes_",
    "go_memstats_",
    "go_sched_",
    "go_sync_mutex_",
];

/// Endings of the names of parts of a histogram or summary.
const PART_SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Whether the metric called `name` is one that tells of Go's runtime.
pub(super) fn is_of_runtime(name: &str) -> bool {
    RUNTIME_NAMES.contains(&name) || RUNTIME_GROUPS.iter().any(|group| name.starts_with(group))
}

impl OwnProcess {
    /// Whether the metric called `name` is kept. What the agent reads from outside, or in a better way, never is, so that
    /// no series has two sources.
    pub fn keeps(&self, name: &str) -> bool {
        let runtime = || RUNTIME_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        // The parts of a histogram or summary are names on a page and one metric elsewhere.
        let whole = PART_SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix));
        let taken = || self.taken.contains(name) || whole.is_some_and(|whole| self.taken.contains(whole));
        !OUTSIDE_NAMES.contains(&name) && (!self.runtime_only || runtime()) && !taken()
    }
}

impl Target {
    /// The target that configuration names. A loopback address means nothing to readers elsewhere and is replaced by
    /// `host` in `instance`.
    pub fn configured(spec: &TargetSpec, host: &str) -> Self {
        let url = with_path(&spec.url);
        let (name, port) = authority(&url);
        let shown = if is_loopback(&name) { host } else { &name };
        let job = if spec.job.is_empty() { shown } else { &spec.job };
        let mut labels = vec![("job".to_owned(), job.to_owned()), ("instance".to_owned(), format!("{shown}:{port}"))];
        for (name, value) in &spec.labels {
            labels.retain(|(own, _)| own != name);
            labels.push((name.clone(), value.clone()));
        }
        Self { url, labels, process: None }
    }

    /// The port, when the page is on this host's loopback.
    pub fn loopback_port(&self) -> Option<u16> {
        loopback_port(&self.url)
    }

    /// Fetches and reads the page once. A failure is `up` 0, with the reason beside it.
    pub fn scrape(&self, client: &Client, limits: &Limits, now_ms: i64) -> (Readings, Option<ScrapeError>) {
        let started = Instant::now();
        let mut readings = self.readings(now_ms);
        let result = self.read(client, limits, &mut readings);
        let (samples, bad_lines, error) = match result {
            Ok(bad_lines) => (readings.len(), bad_lines, None),
            Err(error) => {
                readings = self.readings(now_ms);
                (0, 0, Some(error))
            }
        };
        readings.push(&UP, &[], if error.is_some() { 0.0 } else { 1.0 });
        readings.push(&SECONDS, &[], started.elapsed().as_secs_f64());
        readings.push(&SAMPLES, &[], float(samples as u64));
        readings.push(&BAD_LINES, &[], float(bad_lines));
        (readings, error)
    }

    fn readings(&self, now_ms: i64) -> Readings {
        let mut readings = Readings::new(now_ms);
        readings.set_target(self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        readings
    }

    fn read(&self, client: &Client, limits: &Limits, out: &mut Readings) -> Result<u64, ScrapeError> {
        if self.process.as_ref().is_some_and(|process| process.is_closed) {
            return Err(ScrapeError::Closed);
        }
        let page = client.get(&self.url, ACCEPT, limits.timeout, limits.body_bytes_max)?;
        if page.status != 200 {
            return Err(ScrapeError::Status { status: page.status });
        }
        let own = self.process.as_ref();
        let limit = limits.samples_max;
        let (mut bad_lines, mut left_out) = (0, 0);
        let detail = if page.content_type.to_ascii_lowercase().contains("json") {
            expvar::read(&page.body, own, out).map_or_else(|error| error.to_string(), |()| String::new())
        } else {
            let body = String::from_utf8_lossy(&page.body);
            let told = text::read(&body, &page.content_type, own, limit, out);
            (bad_lines, left_out) = (told.bad_lines, told.left_out);
            told.first_error.map_or_else(String::new, |error| error.to_string())
        };
        if out.len() > limit {
            return Err(ScrapeError::TooManySamples { limit });
        }
        let nothing_wanted = left_out > 0 || (detail.is_empty() && own.is_some_and(|process| process.runtime_only));
        if out.is_empty() && !nothing_wanted && !(detail.is_empty() && page.body.is_empty()) {
            return Err(ScrapeError::NoSamples { content_type: page.content_type, detail });
        }
        Ok(bad_lines)
    }
}

/// `url` with the path `/metrics` if it has none.
fn with_path(url: &str) -> String {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    if url[after_scheme..].contains('/') { url.to_owned() } else { format!("{url}/metrics") }
}

/// Host and port of `url`; user information is left out.
fn authority(url: &str) -> (String, String) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    let authority = authority.rsplit('@').next().unwrap_or("");
    let default_port = if scheme == "https" { "443" } else { "80" };
    match authority.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit()) => {
            (name.to_owned(), port.to_owned())
        }
        _ => (authority.to_owned(), default_port.to_owned()),
    }
}

fn is_loopback(name: &str) -> bool {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Port of `url` when it names this host's loopback.
pub fn loopback_port(url: &str) -> Option<u16> {
    let (name, port) = authority(url);
    if is_loopback(&name) { port.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::go::census::Way;
    use crate::go::ways::{Names, Part, Ways};

    #[track_caller]
    fn check(url: &str, job: &str, want_url: &str, want_job: &str, want_instance: &str) {
        let labels = vec![("a".into(), "b".into())];
        let spec = TargetSpec { url: url.into(), job: job.into(), labels, ..TargetSpec::default() };
        let target = Target::configured(&spec, "web1");
        assert_eq!(target.url, want_url);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(target.labels, [pair("job", want_job), pair("instance", want_instance), pair("a", "b")], "{url}");
    }

    #[test]
    fn what_a_better_way_gives_is_left_out() {
        let ways = Ways::new();
        let key = ProcessKey { pid: 1, start_ticks: 1 };
        let names: Names = ["go_goroutines", "go_gc_pauses_seconds"].into_iter().collect();
        ways.works(key, Part::Runtime, Way::Memory, &names, 0, 10);
        let taken = ways.taken(key, Way::Page, 5);
        let own = OwnProcess { key, taken, ..OwnProcess::default() };
        let kept = |name| own.keeps(name);
        assert!(!kept("go_goroutines") && !kept("go_gc_pauses_seconds_bucket") && !kept("go_gc_pauses_seconds_sum"));
        assert!(!kept("process_open_fds"), "read from outside always");
        assert!(kept("go_info") && kept("requests_total") && kept("go_goroutines_by_label"));
    }

    #[test]
    fn names_of_the_runtime() {
        for name in [
            "go_goroutines",
            "go_gc_duration_seconds_sum",
            "go_memstats_sys_bytes",
            "go_sched_latencies_seconds_bucket",
            "go_godebug_non_default_behavior_panicnil_events_total",
        ] {
            assert!(is_of_runtime(name), "{name}");
        }
        for name in ["go_jobs_total", "go_build_info", "go_goroutines_by_customer", "go_sql_open_connections", "gogc"] {
            assert!(!is_of_runtime(name), "{name}");
        }
    }

    #[test]
    fn urls_become_labels() {
        check("http://localhost:8080", "", "http://localhost:8080/metrics", "web1", "web1:8080");
        check("http://127.0.0.1:8080/debug/vars", "api", "http://127.0.0.1:8080/debug/vars", "api", "web1:8080");
        check("http://[::1]:8080/m", "", "http://[::1]:8080/m", "web1", "web1:8080");
        check("https://u:p@db.example/m", "", "https://u:p@db.example/m", "db.example", "db.example:443");
        check("http://db.example:9/m?x=a/b", "", "http://db.example:9/m?x=a/b", "db.example", "db.example:9");
        assert_eq!(loopback_port("http://127.0.0.2:99/x"), Some(99));
        assert_eq!(loopback_port("http://10.0.0.1:99/x"), None);
    }
}
