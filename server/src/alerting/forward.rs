//! Forwarding alerts to Alertmanagers that run elsewhere, as Prometheus does: every alert to each of them, in batches, by their API v2.
//!
//! What does not get through is not repeated from here: whoever tells alerts tells those that fire again at least once a minute, and those that ended
//! for a quarter of an hour. Each Alertmanager has a queue and a thread of its own, so that one that hangs holds up no other.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::MetricKind;
use model::exposition::Family;
use rules::posted::{Posted, Tell};
use rules::receivers::shown_url;
use serde::Serialize;

/// Most alerts that wait for one Alertmanager. Beyond them the oldest go.
const QUEUE_MAX: usize = 10_000;
/// Most alerts in one request.
const BATCH_MAX: usize = 256;
/// Most Alertmanagers.
pub const ALERTMANAGERS_MAX: usize = 32;
/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer that is read for people.
const ANSWER_BYTES_MAX: u64 = 1024;
/// The path of alerts in the API.
const ALERTS_PATH: &str = "/api/v2/alerts";

/// Alertmanagers that are told of every alert.
#[derive(Debug)]
pub struct Forwarder {
    ways: Vec<Arc<Way>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// One of them.
#[derive(Debug)]
struct Way {
    url: String,
    state: Mutex<Waiting>,
    changed: Condvar,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Waiting {
    alerts: VecDeque<Posted>,
    stops_at: Option<Instant>,
    /// What the last request came to, if it failed.
    trouble: Option<String>,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

/// An alert as the API has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ApiAlert<'p> {
    labels: BTreeMap<&'p str, &'p str>,
    annotations: &'p BTreeMap<String, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL", skip_serializing_if = "str::is_empty")]
    generator_url: &'p str,
}

/// Whether `url` is the address of an Alertmanager, as [`Forwarder::new`] takes it.
///
/// # Errors
///
/// What is wrong with it, without what may be secret of it. Settings are shown, so it must not have a user and a password.
pub fn check_url(url: &str) -> Result<(), String> {
    let uri: ureq::http::Uri = url.parse().map_err(|_| format!("{:?} is no URL", shown_url(url)))?;
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(format!("{:?} must not have a user or a password", shown_url(url)));
    }
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some_and(|host| !host.is_empty()) && uri.query().is_none() => Ok(()),
        _ => Err(format!("{:?} needs http:// or https:// and a host, and no query", shown_url(url))),
    }
}

impl Forwarder {
    /// Tells the Alertmanagers at `urls`, such as `http://am:9093`, of alerts from now on.
    ///
    /// # Errors
    ///
    /// When there are too many, one is no URL, or there is no thread for it.
    pub fn new(urls: &[String]) -> Result<Self, String> {
        if urls.len() > ALERTMANAGERS_MAX {
            return Err(format!("{} Alertmanagers; {ALERTMANAGERS_MAX} are allowed", urls.len()));
        }
        let mut ways = Vec::new();
        let mut threads = Vec::new();
        for url in urls {
            check_url(url)?;
            let url = url.trim_end_matches('/').to_owned();
            let way =
                Arc::new(Way { url, state: Mutex::default(), changed: Condvar::new(), counts: Counts::default() });
            let own = Arc::clone(&way);
            let thread = std::thread::Builder::new().name("alerting-forward".to_owned()).spawn(move || own.work());
            threads.push(thread.map_err(|error| format!("no thread to forward alerts: {error}"))?);
            ways.push(way);
        }
        Ok(Self { ways, threads: Mutex::new(threads) })
    }

    /// The addresses that are told, as `/api/v1/alertmanagers` shows them.
    pub fn urls(&self) -> Vec<String> {
        self.ways.iter().map(|way| format!("{}{ALERTS_PATH}", way.url)).collect()
    }

    /// Takes nothing more, and waits until what waits is sent, at most for `within`.
    pub fn stop(&self, within: Duration) {
        let until = Instant::now() + within;
        for way in &self.ways {
            way.waiting().stops_at = Some(until);
            way.changed.notify_all();
        }
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            while !thread.is_finished() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
            if thread.is_finished() {
                // A thread that panicked has said so already.
                let _ = thread.join();
            }
        }
    }

    /// What it says of itself.
    #[expect(clippy::cast_precision_loss, reason = "metrics are floating-point numbers")]
    pub fn families(&self) -> Vec<Family> {
        type Take = fn(&Way) -> u64;
        const FAMILIES: [(&str, MetricKind, &str, Take); 4] = [
            ("metrickit_forwarded_alerts_total", MetricKind::Counter, "Alerts that an Alertmanager took.", |way| {
                way.counts.sent.load(Ordering::Relaxed)
            }),
            (
                "metrickit_forward_errors_total",
                MetricKind::Counter,
                "Alerts that an Alertmanager did not take.",
                |way| way.counts.failed.load(Ordering::Relaxed),
            ),
            (
                "metrickit_forward_dropped_total",
                MetricKind::Counter,
                "Alerts that were not sent: too many waited.",
                |way| way.counts.dropped.load(Ordering::Relaxed),
            ),
            ("metrickit_forward_queue_length", MetricKind::Gauge, "Alerts that wait for an Alertmanager.", |way| {
                way.waiting().alerts.len() as u64
            }),
        ];
        let urls = self.urls();
        let family = |(name, kind, help, take): &(&str, MetricKind, &str, Take)| {
            let ways = self.ways.iter().zip(&urls);
            ways.fold(Family::new(name, *kind, help), |family, (way, url)| {
                family.with(&[("alertmanager", url)], take(way) as f64)
            })
        };
        FAMILIES.iter().map(family).collect()
    }
}

impl Tell for Forwarder {
    fn tell(&self, alerts: Vec<Posted>) {
        for way in &self.ways {
            way.offer(&alerts);
        }
    }
}

impl Way {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn offer(&self, alerts: &[Posted]) {
        let mut waiting = self.waiting();
        if waiting.stops_at.is_some() {
            return;
        }
        waiting.alerts.extend(alerts.iter().cloned());
        let beyond = waiting.alerts.len().saturating_sub(QUEUE_MAX);
        waiting.alerts.drain(..beyond);
        drop(waiting);
        self.counts.dropped.fetch_add(beyond as u64, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// Sends batch after batch until it is stopped.
    fn work(&self) {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("metrickit/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(TIMEOUT));
        let agent = config.build().new_agent();
        while let Some(batch) = self.next_batch() {
            let count = batch.len() as u64;
            let sent = self.send(&agent, &batch);
            let mut waiting = self.waiting();
            match sent {
                Ok(()) => {
                    self.counts.sent.fetch_add(count, Ordering::Relaxed);
                    if waiting.trouble.take().is_some() {
                        tracing::info!(alertmanager = %shown_url(&self.url), "takes alerts again");
                    }
                }
                Err(trouble) => {
                    self.counts.failed.fetch_add(count, Ordering::Relaxed);
                    // Told once, not for each batch.
                    if waiting.trouble.is_none() {
                        tracing::warn!(alertmanager = %shown_url(&self.url), "does not take alerts: {trouble}");
                    }
                    waiting.trouble = Some(trouble);
                }
            }
        }
    }

    /// The next alerts to send; `None` when it is stopped.
    fn next_batch(&self) -> Option<Vec<Posted>> {
        let mut waiting = self.waiting();
        loop {
            if !waiting.alerts.is_empty() && waiting.stops_at.is_none_or(|until| Instant::now() < until) {
                let count = waiting.alerts.len().min(BATCH_MAX);
                return Some(waiting.alerts.drain(..count).collect());
            }
            if waiting.stops_at.is_some() {
                return None;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn send(&self, agent: &ureq::Agent, batch: &[Posted]) -> Result<(), String> {
        let body: Vec<ApiAlert<'_>> = batch.iter().map(api_alert).collect();
        let body = serde_json::to_vec(&body).map_err(|error| error.to_string())?;
        let url = format!("{}{ALERTS_PATH}", self.url);
        let hidden = |text: String| text.replace(&self.url, &shown_url(&self.url));
        let sent = agent.post(&url).header("Content-Type", "application/json").send(&body[..]);
        let mut response = sent.map_err(|error| hidden(error.to_string()))?;
        let status = response.status().as_u16();
        let mut told = Vec::new();
        // Read so that the connection can be used again; the status has said it all.
        let _ = response.body_mut().as_reader().take(ANSWER_BYTES_MAX).read_to_end(&mut told);
        if (200..300).contains(&status) {
            return Ok(());
        }
        let told = String::from_utf8_lossy(&told).replace(char::is_control, " ");
        Err(hidden(format!("status {status}: {}", told.trim())))
    }
}

fn api_alert(alert: &Posted) -> ApiAlert<'_> {
    ApiAlert {
        labels: alert.labels.iter().collect(),
        annotations: &alert.annotations,
        starts_at: rfc3339(alert.starts_ms),
        ends_at: rfc3339(alert.ends_ms),
        generator_url: &alert.generator_url,
    }
}

fn rfc3339(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}
