//! An alert of a rule: its times and texts, when it is to be told, and its series.

use std::collections::BTreeMap;

use model::{Labels, LabelsBuilder, METRIC_NAME, SampleValue};

use super::{RESEND_MS, RuleSample, Settings};
use crate::alert::{State, Times};
use crate::posted::Posted;

/// An alert of a rule.
#[derive(Debug, Clone)]
pub struct ActiveAlert {
    /// The labels of the sample that it is of; `None` for one that speaks of its rule as a whole.
    pub source: Option<Labels>,
    /// Text for people.
    pub annotations: BTreeMap<String, String>,
    /// What was captured for it: annotations that stay.
    pub evidence: BTreeMap<String, String>,
    /// The value of its last sample.
    pub value: f64,
    /// When it became what it is.
    pub times: Times,
    /// When it was told last.
    pub(super) told_ms: Option<i64>,
    /// What the shelf has of it, and since when.
    pub(super) stored: Option<(Times, i64)>,
    /// Whether value or texts are others than those on the shelf.
    pub(super) is_dirty: bool,
    /// When a sample of it came last, since this process began.
    pub(super) confirmed_ms: Option<i64>,
    pub(super) series: Option<AlertSeries>,
}

/// The labels of the series that an alert is in.
#[derive(Debug, Clone)]
pub(super) struct AlertSeries {
    state: State,
    alerts: Labels,
    for_state: Labels,
}

impl ActiveAlert {
    pub(super) fn new(source: Option<Labels>, times: Times) -> Self {
        Self {
            source,
            annotations: BTreeMap::new(),
            evidence: BTreeMap::new(),
            value: f64::NAN,
            times,
            told_ms: None,
            stored: None,
            is_dirty: true,
            confirmed_ms: None,
            series: None,
        }
    }

    /// Takes all of its moments back by `by_ms`.
    pub(super) fn set_back(&mut self, by_ms: i64) {
        self.times = self.times.earlier(by_ms);
        for at_ms in [&mut self.told_ms, &mut self.confirmed_ms].into_iter().flatten() {
            *at_ms = at_ms.saturating_sub(by_ms);
        }
    }

    /// Takes over what a sample said at `at_ms`.
    pub(super) fn update(&mut self, value: f64, annotations: BTreeMap<String, String>, at_ms: i64) {
        self.is_dirty |= self.value.to_bits() != value.to_bits() || self.annotations != annotations;
        self.value = value;
        self.annotations = annotations;
        self.confirmed_ms = Some(at_ms);
    }

    /// Everything that is said of it.
    pub fn texts(&self) -> BTreeMap<String, String> {
        let mut texts = self.annotations.clone();
        texts.extend(self.evidence.iter().map(|(name, text)| (name.clone(), text.clone())));
        texts
    }

    /// The alert as it is told, if that is due.
    pub(super) fn told(
        &mut self,
        labels: &Labels,
        url: &str,
        settings: &Settings,
        (at_ms, interval_ms): (i64, i64),
    ) -> Option<Posted> {
        let Times { state, fired_at_ms, resolved_at_ms, active_at_ms, .. } = self.times;
        if state == State::Pending {
            return None;
        }
        let is_news = |told_ms: i64| {
            let since = if state == State::Resolved { resolved_at_ms } else { fired_at_ms };
            since.is_some_and(|since_ms| since_ms > told_ms) || at_ms.saturating_sub(told_ms) >= RESEND_MS
        };
        if self.told_ms.is_some_and(|told_ms| !is_news(told_ms)) {
            return None;
        }
        self.told_ms = Some(at_ms);
        let lasts_ms = interval_ms.max(RESEND_MS).saturating_mul(4);
        Some(Posted {
            labels: outside(labels, settings),
            annotations: self.texts(),
            starts_ms: fired_at_ms.unwrap_or(active_at_ms),
            ends_ms: resolved_at_ms.unwrap_or_else(|| at_ms.saturating_add(lasts_ms)),
            generator_url: url.to_owned(),
        })
    }

    /// The samples that tell that it is pending or firing.
    pub(super) fn samples(&mut self, labels: &Labels, timestamp_ms: i64) -> Result<[RuleSample; 2], String> {
        if self.series.as_ref().is_none_or(|series| series.state != self.times.state) {
            self.series = Some(series_of(labels, self.times.state)?);
        }
        let Some(AlertSeries { alerts, for_state, .. }) = &self.series else { return Err("no series".to_owned()) };
        #[expect(clippy::cast_precision_loss, reason = "seconds are far below 2^53")]
        let since = self.times.active_at_ms.div_euclid(1000) as f64;
        let sample = |labels: &Labels, value| RuleSample {
            labels: labels.clone(),
            timestamp_ms,
            value: SampleValue::Float(value),
        };
        Ok([sample(alerts, 1.0), sample(for_state, since)])
    }

    /// The series of its last samples.
    pub(super) fn series_labels(&self, labels: &Labels) -> Vec<Labels> {
        if !self.times.is_active() {
            return Vec::new();
        }
        let series = series_of(labels, self.times.state);
        series.map(|AlertSeries { alerts, for_state, .. }| vec![alerts, for_state]).unwrap_or_default()
    }
}

/// Labels with those that the outside knows this server by.
fn outside(labels: &Labels, settings: &Settings) -> Labels {
    let missing = settings.external_labels.iter().filter(|(name, _)| labels.get(name).is_none());
    let mut builder = LabelsBuilder::from_labels(labels.as_ref());
    let mut count = 0;
    for (name, value) in missing {
        builder.push(name, value);
        count += 1;
    }
    if count == 0 {
        return labels.clone();
    }
    builder.build().unwrap_or_else(|_| labels.clone())
}

fn series_of(labels: &Labels, state: State) -> Result<AlertSeries, String> {
    let word = match state {
        State::Pending => "pending",
        State::Firing | State::Resolved => "firing",
    };
    let mut builder = LabelsBuilder::from_labels(labels.as_ref());
    builder.set(METRIC_NAME, "ALERTS");
    builder.set("alertstate", word);
    let alerts = builder.build().map_err(|error| error.to_string())?;
    builder.extend(labels.as_ref());
    builder.set(METRIC_NAME, "ALERTS_FOR_STATE");
    let for_state = builder.build().map_err(|error| error.to_string())?;
    Ok(AlertSeries { state, alerts, for_state })
}
