//! What templates of notifications see: receiver, status, alerts, and what they have in common.
//!
//! Names are those of <https://prometheus.io/docs/alerting/latest/notifications/>.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use model::LabelsRef;

use crate::functions::Pairs;
use crate::notify::delivery::{Notification, NotifiedAlert};
use crate::template::{Map, Missing, Object, Value, zero_time};

/// A group of alerts on its way to a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationData {
    /// Name of the receiver.
    pub receiver: String,
    /// What the group is known by.
    pub group_key: String,
    /// Why it is told, for people.
    pub reason: &'static str,
    /// What the alerts were grouped by.
    pub group_labels: BTreeMap<String, String>,
    /// Labels of the route, filled.
    pub route_labels: BTreeMap<String, String>,
    /// Where this server is reached.
    pub external_url: String,
    /// The alerts, in the order in which they are told.
    pub alerts: Vec<NotifiedAlert>,
    /// When it is told.
    pub now_ms: i64,
}

/// Whether something fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// At least one alert does.
    Firing,
    /// None does.
    Resolved,
}

impl Status {
    /// As notifications say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

impl NotificationData {
    /// What `notification` tells, from a server at `external_url`. The labels of the route are as they are written.
    pub fn new(notification: &Notification, external_url: &str) -> Self {
        Self {
            receiver: notification.receiver.clone(),
            group_key: notification.group_key.clone(),
            reason: notification.reason.as_str(),
            group_labels: labels_of(notification.group_labels.as_ref()),
            route_labels: notification.route_labels.clone(),
            external_url: external_url.to_owned(),
            alerts: notification.alerts.clone(),
            now_ms: notification.at_ms,
        }
    }

    /// Whether any of `alerts` fires.
    pub fn status(&self) -> Status {
        if self.alerts.iter().any(|alert| !alert.is_resolved()) { Status::Firing } else { Status::Resolved }
    }

    /// Labels that all alerts have alike.
    pub fn common_labels(&self) -> BTreeMap<String, String> {
        let maps = self.alerts.iter().map(|alert| labels_of(alert.labels.as_ref()));
        common(maps)
    }

    /// Annotations that all alerts have alike.
    pub fn common_annotations(&self) -> BTreeMap<String, String> {
        common(self.alerts.iter().map(|alert| alert.annotations.clone()))
    }

    /// The receiver's name as notifications tell it: what means something in regular expressions has a backslash.
    pub fn quoted_receiver(&self) -> String {
        let mut quoted = String::with_capacity(self.receiver.len());
        for c in self.receiver.chars() {
            if matches!(c, '\\' | '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$') {
                quoted.push('\\');
            }
            quoted.push(c);
        }
        quoted
    }

    /// The same without all but the first `max` alerts, and how many those were; 0 is all of them.
    pub fn truncated(&self, max: usize) -> (Self, usize) {
        let mut short = self.clone();
        let beyond = if max == 0 { 0 } else { short.alerts.len().saturating_sub(max) };
        short.alerts.truncate(short.alerts.len() - beyond);
        (short, beyond)
    }

    /// What templates get as dot.
    pub fn value(&self) -> Value {
        let alerts: Vec<Value> = self.alerts.iter().map(alert_value).collect();
        let firing = self.alerts.iter().map(|alert| !alert.is_resolved()).collect();
        Record::value(
            "template.Data",
            vec![
                ("Receiver", "receiver", self.quoted_receiver().into()),
                ("Status", "status", self.status().as_str().into()),
                ("Alerts", "alerts", Value::Object(Arc::new(Alerts { alerts, firing }))),
                ("GroupLabels", "groupLabels", Pairs(self.group_labels.clone()).value()),
                ("CommonLabels", "commonLabels", Pairs(self.common_labels()).value()),
                ("CommonAnnotations", "commonAnnotations", Pairs(self.common_annotations()).value()),
                ("RouteLabels", "routeLabels", Pairs(self.route_labels.clone()).value()),
                ("ExternalURL", "externalURL", self.external_url.as_str().into()),
                ("NotificationReason", "notificationReason", self.reason.into()),
            ],
        )
    }
}

/// Whether `alert` fires.
pub(super) fn status_of(alert: &NotifiedAlert) -> Status {
    if alert.is_resolved() { Status::Resolved } else { Status::Firing }
}

fn alert_value(alert: &NotifiedAlert) -> Value {
    Record::value(
        "template.Alert",
        vec![
            ("Status", "status", status_of(alert).as_str().into()),
            ("Labels", "labels", Pairs(labels_of(alert.labels.as_ref())).value()),
            ("Annotations", "annotations", Pairs(alert.annotations.clone()).value()),
            ("StartsAt", "startsAt", moment(Some(alert.starts_ms))),
            ("EndsAt", "endsAt", moment(alert.ends_ms)),
            ("GeneratorURL", "generatorURL", alert.generator_url.as_str().into()),
            ("Fingerprint", "fingerprint", format!("{:016x}", alert.fingerprint).into()),
        ],
    )
}

fn moment(ms: Option<i64>) -> Value {
    Value::Time(Arc::new(moment_of(ms)))
}

/// A moment; Go's moment of nothing where there is none.
pub(super) fn moment_of(ms: Option<i64>) -> Zoned {
    let time = ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(zero_time, |time| time.to_zoned(TimeZone::UTC))
}

/// Labels as a map.
pub(super) fn labels_of(labels: LabelsRef<'_>) -> BTreeMap<String, String> {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn common(mut maps: impl Iterator<Item = BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let Some(mut alike) = maps.next() else { return BTreeMap::new() };
    for map in maps {
        alike.retain(|name, value| map.get(name) == Some(value));
        if alike.is_empty() {
            break;
        }
    }
    alike
}

/// Fields under two names: that of templates, and that of JSON.
#[derive(Debug)]
struct Record {
    kind: &'static str,
    fields: Vec<(&'static str, &'static str, Value)>,
}

impl Record {
    fn value(kind: &'static str, fields: Vec<(&'static str, &'static str, Value)>) -> Value {
        Value::Object(Arc::new(Self { kind, fields }))
    }
}

impl Object for Record {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn get(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        let (_, _, value) = self.fields.iter().find(|(field, _, _)| *field == name && args.is_empty())?;
        Some(Ok(value.clone()))
    }

    fn plain(&self) -> Option<Value> {
        let entries = self.fields.iter().map(|(_, json, value)| ((*json).to_owned(), value.clone())).collect();
        Some(Value::Map(Arc::new(Map::new(entries, Missing::Nil))))
    }

    fn print(&self) -> String {
        let told: Vec<String> = self.fields.iter().map(|(_, _, value)| value.to_string()).collect();
        format!("{{{}}}", told.join(" "))
    }
}

/// `.Alerts`: a list that also tells its parts.
#[derive(Debug)]
struct Alerts {
    alerts: Vec<Value>,
    firing: Vec<bool>,
}

impl Alerts {
    fn part(&self, wanted: bool) -> Value {
        let chosen = self.alerts.iter().zip(&self.firing).filter(|(_, firing)| **firing == wanted);
        let (alerts, firing) = chosen.map(|(alert, firing)| (alert.clone(), *firing)).unzip();
        Value::Object(Arc::new(Self { alerts, firing }))
    }
}

impl Object for Alerts {
    fn kind(&self) -> &'static str {
        "template.Alerts"
    }

    fn get(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        match (name, args) {
            ("Firing", []) => Some(Ok(self.part(true))),
            ("Resolved", []) => Some(Ok(self.part(false))),
            _ => None,
        }
    }

    fn plain(&self) -> Option<Value> {
        Some(Value::from(self.alerts.clone()))
    }

    fn print(&self) -> String {
        Value::from(self.alerts.clone()).to_string()
    }
}
