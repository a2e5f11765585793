//! A message at regular times: who waits for it learns from its absence that nobody tells any more.

use model::Labels;

use super::{Dispatcher, Flight};
use crate::config::{Config, Heartbeat};
use crate::notify::decision::{Reason, Told};
use crate::notify::delivery::{Notification, NotifiedAlert};
use crate::notify::log::LogKey;
use crate::posted::fingerprint;

/// The group that heartbeats are told in.
const GROUP_KEY: &str = "heartbeat";

/// When the next one is due.
#[derive(Debug, Default)]
pub(super) struct Beat {
    of: Option<Heartbeat>,
    started_ms: Option<i64>,
    next_ms: Option<i64>,
}

impl Beat {
    /// The first is due at once.
    pub(super) fn new(config: &Config) -> Self {
        let of = config.heartbeat.clone();
        Self { next_ms: of.as_ref().map(|_| i64::MIN), of, started_ms: None }
    }

    /// What it is under another configuration.
    pub(super) fn under(&self, config: &Config) -> Self {
        if self.of == config.heartbeat {
            return Self { of: self.of.clone(), ..*self };
        }
        Self::new(config)
    }

    pub(super) fn next_ms(&self) -> Option<i64> {
        self.next_ms
    }

    /// Takes all of its moments back by `by_ms`.
    pub(super) fn set_back(&mut self, by_ms: i64) {
        for at_ms in [&mut self.started_ms, &mut self.next_ms].into_iter().flatten() {
            *at_ms = at_ms.saturating_sub(by_ms);
        }
    }
}

impl Dispatcher {
    /// Tells that all is well, if it is time.
    pub(super) fn beat(&mut self, now_ms: i64) {
        let Some(of) = self.heartbeat.of.clone() else { return };
        if self.heartbeat.next_ms.is_none_or(|next_ms| next_ms > now_ms) {
            return;
        }
        self.heartbeat.next_ms = Some(now_ms.saturating_add(of.interval_ms));
        let is_first = self.heartbeat.started_ms.is_none();
        let starts_ms = *self.heartbeat.started_ms.get_or_insert(now_ms);
        let Ok(labels) = Labels::from_pairs(&of.labels) else { return };
        let alert = NotifiedAlert {
            fingerprint: fingerprint(labels.as_ref()),
            labels: labels.clone(),
            annotations: [("summary".to_owned(), "Alerts are being told.".to_owned())].into(),
            starts_ms,
            ends_ms: None,
            generator_url: String::new(),
        };
        let integrations = self.config.receiver(&of.receiver).map_or(0, |receiver| receiver.integrations.len());
        for integration in 0..integrations {
            let receiver = of.receiver.clone();
            let target =
                LogKey { group_key: GROUP_KEY.to_owned(), receiver: receiver.clone(), integration, step: None };
            // One that is still on its way is not followed by another.
            if self.flights.values().any(|flight| flight.target == target) {
                continue;
            }
            let notification = Notification {
                group_key: GROUP_KEY.to_owned(),
                receiver,
                integration,
                reason: if is_first { Reason::First } else { Reason::Repeat },
                alerts: vec![alert.clone()],
                group_labels: labels.clone(),
                route_labels: std::collections::BTreeMap::new(),
                at_ms: now_ms,
                deadline_ms: now_ms.saturating_add(of.interval_ms),
            };
            let flight = Flight { group: None, target, told: Told::default(), repeat_ms: 0, notification };
            self.launch(flight);
        }
    }
}
