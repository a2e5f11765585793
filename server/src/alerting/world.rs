//! What rules look at and act on: the engine, and agents for captures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use model::control::{BURST_INTERVAL_MS_MIN, ProcessName, TaskKind};
use model::{FullSample, Labels, LabelsRef, SampleSink as _, SampleValue, WriteBatch};
use query::ast::Expr;
use query::{CancelToken, QueryTime, Request, Value, VectorElement};
use rules::evaluate::{CaptureWish, RuleSample, World};

use super::load::Slot;
use super::places::Lanes;
use super::{Alerting, Means, lock};
use crate::captures::By;

/// See the module.
pub(super) struct ServerWorld<'a> {
    means: &'a Means,
    external_url: &'a str,
    /// Where its queries wait for a place, and how long the whole of them should take; nothing where it is known that they take longer.
    lanes: (&'a Lanes, Duration),
    /// Whether nobody knows yet how long they take.
    is_new: bool,
    /// How long its queries have taken, without waiting.
    computed_us: AtomicU64,
    cancel: Arc<CancelToken>,
    began: Instant,
}

impl<'a> ServerWorld<'a> {
    /// What it is asked for ends when `cancel` is.
    pub(super) fn new(alerting: &'a Alerting, interval_ms: i64, cancel: Arc<CancelToken>) -> Self {
        let Alerting { means, settings, lanes, .. } = alerting;
        let interval = Duration::from_millis(interval_ms.max(0).unsigned_abs());
        let (external_url, computed_us) = (settings.external_url.as_str(), AtomicU64::default());
        Self {
            means,
            external_url,
            lanes: (lanes, interval),
            is_new: false,
            computed_us,
            cancel,
            began: Instant::now(),
        }
    }

    /// For a round of `slot`, whose queries wait apart where they took longer than its interval in the round before.
    pub(super) fn of_slot(alerting: &'a Alerting, slot: &Slot, cancel: Arc<CancelToken>) -> Self {
        let mut world = Self::new(alerting, slot.interval_ms, cancel);
        let counts = *lock(&slot.counts);
        if counts.computed > world.lanes.1 {
            world.lanes.1 = Duration::ZERO;
        }
        world.is_new = counts.iterations == 0;
        world
    }

    /// How long its queries have taken, without waiting.
    pub(super) fn computed(&self) -> Duration {
        Duration::from_micros(self.computed_us.load(Ordering::Relaxed))
    }
}

impl World for ServerWorld<'_> {
    fn vector(&self, text: &str, expr: &Expr, at_ms: i64) -> Result<Vec<VectorElement>, String> {
        let (lanes, interval) = self.lanes;
        let left = interval.saturating_sub(self.computed());
        let place = if self.is_new { lanes.take_new(left, &self.cancel) } else { lanes.take(left, &self.cancel) };
        let _place = place.ok_or("the server stops")?;
        let began_us = self.moment_us();
        let request = Request {
            query: text,
            time: QueryTime::Instant { time_ms: at_ms },
            options: &self.means.query,
            lookback_ms: None,
            timeout_ms: None,
            cancel: &self.cancel,
            explain: false,
        };
        let answer = query::evaluate_expr(self.means.source.as_ref(), expr, &request);
        self.computed_us.fetch_add(self.moment_us().saturating_sub(began_us), Ordering::Relaxed);
        elements(answer.map_err(|error| error.to_string())?.value)
    }

    fn write(&self, samples: Vec<RuleSample>) -> Result<(), String> {
        let mut batch = WriteBatch::new();
        for sample in samples {
            batch.push_series(sample.labels.as_ref());
            match sample.value {
                SampleValue::Float(value) => batch.push_sample(sample.timestamp_ms, value),
                value @ SampleValue::Histogram(_) => {
                    batch.push_full_sample(FullSample { timestamp_ms: sample.timestamp_ms, start_ms: 0, value });
                }
            }
        }
        let appended = self.means.engine.append(&batch).map_err(|error| error.to_string())?;
        match appended.rejections.first() {
            None => Ok(()),
            Some(first) => Err(format!("{} samples were not taken; {first}", appended.samples_rejected)),
        }
    }

    fn capture(&self, wish: &CaptureWish<'_>) -> Option<String> {
        let process = process_of(wish.labels)?;
        let capture = wish.capture;
        let name = wish.labels.get("alertname").unwrap_or_default();
        let reason = format!("alert {name} began to fire");
        let ordered = self.means.captures.order(&process, capture.kind, capture.seconds, (By::Alert, &reason));
        let base = self.external_url.trim_end_matches('/');
        Some(match ordered {
            Ok(id) => format!("{base}/api/v1/captures/orders/{}", id.0),
            // People are told why there is nothing to look at.
            Err(error) => format!("{} was not captured: {error}", capture.kind),
        })
    }

    fn burst(&self, labels: LabelsRef<'_>, seconds: u64) -> Option<String> {
        let process = process_of(labels)?;
        if self.means.bursts.take(&process.instance, self.means.clock.now().0).is_err() {
            return Some("no burst: there were too many of this process in the last hour".to_owned());
        }
        let (agent, instance) = (process.agent().to_owned(), process.instance.clone());
        let task = TaskKind::Burst { process, interval_ms: BURST_INTERVAL_MS_MIN, seconds };
        let base = self.external_url.trim_end_matches('/');
        Some(match self.means.agents.order(&agent, task) {
            Ok(id) => format!("{base}/api/v1/agents/tasks/{}", id.0),
            Err(error) => {
                self.means.bursts.give_back(&instance);
                format!("no burst: {error}")
            }
        })
    }

    fn is_canceled(&self) -> bool {
        self.cancel.is_canceled()
    }

    fn moment_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// What a rule's expression came to: a number is one element without labels.
///
/// # Errors
///
/// When it is neither that nor a vector.
pub(super) fn elements(value: Value) -> Result<Vec<VectorElement>, String> {
    match value {
        Value::Vector(elements) => Ok(elements),
        Value::Scalar { timestamp_ms, value } => {
            Ok(vec![VectorElement { labels: Labels::empty(), timestamp_ms, value: SampleValue::Float(value) }])
        }
        Value::String { .. } | Value::Matrix(_) => Err("rule result is not a vector or scalar".to_owned()),
    }
}

/// The process that an alert is about: its `job` and `instance`.
fn process_of(labels: LabelsRef<'_>) -> Option<ProcessName> {
    let (job, instance) = (labels.get("job")?, labels.get("instance")?);
    Some(ProcessName::new(job, instance))
}
