//! Forwarding alerts to Alertmanagers that run elsewhere, as Prometheus does: every alert to each of them, in batches, by their API v2.
//!
//! They are named by URLs, and in a file with Prometheus's `alerting:` section, which says how they are reached and under which labels.
//! What does not get through is not repeated from here: whoever tells alerts tells those that fire again at least once a minute, and those that ended
//! for a quarter of an hour. Each Alertmanager has a queue and a thread of its own, so that one that hangs holds up no other.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::exposition::Family;
use model::{Labels, MetricKind};
use rules::forward::relabel::relabel;
use rules::forward::{TARGETS_MAX, Target};
use rules::posted::{Posted, Tell};
use rules::receivers::{Outgoing, Verdict, post, shown_url};
use serde::Serialize;

use super::deliver::{DiskSecrets, Sender};

/// Most alerts that wait for one Alertmanager. Beyond them the oldest go.
const QUEUE_MAX: usize = 10_000;
/// Most alerts in one request.
const BATCH_MAX: usize = 256;

/// Alertmanagers that are told of every alert.
#[derive(Debug)]
pub struct Forwarder {
    targets: Vec<Target>,
    ways: Vec<Arc<Way>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// One of them.
#[derive(Debug)]
struct Way {
    target: Target,
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

/// The Alertmanagers at `urls`, and those of the `alerting:` section in `file`.
///
/// # Errors
///
/// What is wrong with an address, or all that is wrong in the file, with places.
pub fn read_targets(urls: &[String], file: Option<&Path>) -> Result<Vec<Target>, String> {
    let mut targets = Vec::new();
    for url in urls {
        check_url(url)?;
        targets.push(Target::plain(url));
    }
    if let Some(file) = file {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
        let told = |faults: Vec<rules::config::FileFault>| {
            faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        targets.extend(rules::forward::read(&name, &text).map_err(told)?);
    }
    if targets.len() > TARGETS_MAX {
        return Err(format!("{} Alertmanagers; {TARGETS_MAX} are allowed", targets.len()));
    }
    Ok(targets)
}

impl Forwarder {
    /// Tells `targets` of alerts from now on.
    ///
    /// # Errors
    ///
    /// When there is no thread for one of them.
    pub fn new(targets: Vec<Target>) -> Result<Self, String> {
        let mut ways = Vec::new();
        let mut threads = Vec::new();
        for target in targets.clone() {
            let way =
                Arc::new(Way { target, state: Mutex::default(), changed: Condvar::new(), counts: Counts::default() });
            let own = Arc::clone(&way);
            let thread = std::thread::Builder::new().name("alerting-forward".to_owned()).spawn(move || own.work());
            threads.push(thread.map_err(|error| format!("no thread to forward alerts: {error}"))?);
            ways.push(way);
        }
        Ok(Self { targets, ways, threads: Mutex::new(threads) })
    }

    /// Who is told.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The addresses that are told, as `/api/v1/alertmanagers` shows them.
    pub fn urls(&self) -> Vec<String> {
        self.targets.iter().map(|target| target.url.clone()).collect()
    }

    /// What the last request to each came to; empty where it was taken.
    pub fn troubles(&self) -> Vec<String> {
        self.ways.iter().map(|way| way.waiting().trouble.clone().unwrap_or_default()).collect()
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
        let changed: Vec<Posted> = alerts.iter().filter_map(|alert| relabelled(&self.target, alert)).collect();
        let mut waiting = self.waiting();
        if waiting.stops_at.is_some() {
            return;
        }
        waiting.alerts.extend(changed);
        let beyond = waiting.alerts.len().saturating_sub(QUEUE_MAX);
        waiting.alerts.drain(..beyond);
        drop(waiting);
        self.counts.dropped.fetch_add(beyond as u64, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// Sends batch after batch until it is stopped.
    fn work(&self) {
        let sender = Sender::default();
        while let Some(batch) = self.next_batch() {
            let count = batch.len() as u64;
            let sent = self.send(&sender, &batch);
            let mut waiting = self.waiting();
            match sent {
                Ok(()) => {
                    self.counts.sent.fetch_add(count, Ordering::Relaxed);
                    if waiting.trouble.take().is_some() {
                        tracing::info!(alertmanager = %shown_url(&self.target.url), "takes alerts again");
                    }
                }
                Err(trouble) => {
                    self.counts.failed.fetch_add(count, Ordering::Relaxed);
                    // Told once, not for each batch.
                    if waiting.trouble.is_none() {
                        tracing::warn!(alertmanager = %shown_url(&self.target.url), "does not take alerts: {trouble}");
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

    fn send(&self, sender: &Sender, batch: &[Posted]) -> Result<(), String> {
        let Target { url, http, timeout_ms, .. } = &self.target;
        let body: Vec<ApiAlert<'_>> = batch.iter().map(api_alert).collect();
        let body = serde_json::to_vec(&body).map_err(|error| error.to_string())?;
        // Secrets in files are read each time, so that they may change.
        let request = post(url, http, *timeout_ms, body, &DiskSecrets).map_err(|error| error.to_string())?;
        let timeout = Duration::from_millis(timeout_ms.unsigned_abs());
        match sender.send(&Outgoing::Http(vec![request]), timeout) {
            Verdict::Taken(_) => Ok(()),
            Verdict::Again { why, .. } | Verdict::Refused(why) => Err(why),
        }
    }
}

/// The alert as `target` is told it; `None`: it is not.
fn relabelled(target: &Target, alert: &Posted) -> Option<Posted> {
    if target.relabel.is_empty() {
        return Some(alert.clone());
    }
    let labels = alert.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let labels = Labels::from_pairs(&relabel(&target.relabel, labels)?).ok()?;
    (!labels.is_empty()).then(|| Posted { labels, ..alert.clone() })
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
