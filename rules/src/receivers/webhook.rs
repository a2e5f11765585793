//! The body of webhooks, version 4: <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>.
//!
//! Programs and files of lines get the same.

use std::collections::BTreeMap;

use serde::Serialize;

use super::data::{NotificationData, labels_of, moment_of, status_of};
use crate::template::format_time;

/// How moments are written: RFC 3339, with as many digits as there are.
const LAYOUT: &str = "2006-01-02T15:04:05.999999999Z07:00";

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'d> {
    receiver: String,
    status: &'static str,
    alerts: Vec<BodyAlert<'d>>,
    group_labels: &'d BTreeMap<String, String>,
    common_labels: BTreeMap<String, String>,
    common_annotations: BTreeMap<String, String>,
    #[serde(rename = "externalURL")]
    external_url: &'d str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    route_labels: &'d BTreeMap<String, String>,
    #[serde(rename = "notification_reason")]
    notification_reason: &'static str,
    version: &'static str,
    group_key: &'d str,
    truncated_alerts: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BodyAlert<'d> {
    status: &'static str,
    labels: BTreeMap<String, String>,
    annotations: &'d BTreeMap<String, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'d str,
    fingerprint: String,
}

/// The body with at most `alerts_max` alerts; 0 is all of them.
pub(super) fn body(data: &NotificationData, alerts_max: usize) -> Vec<u8> {
    let (data, truncated_alerts) = data.truncated(alerts_max);
    let alerts = data.alerts.iter().map(|alert| BodyAlert {
        status: status_of(alert).as_str(),
        labels: labels_of(alert.labels.as_ref()),
        annotations: &alert.annotations,
        starts_at: format_time(&moment_of(Some(alert.starts_ms)), LAYOUT),
        ends_at: format_time(&moment_of(alert.ends_ms), LAYOUT),
        generator_url: &alert.generator_url,
        fingerprint: format!("{:016x}", alert.fingerprint),
    });
    let body = Body {
        receiver: data.quoted_receiver(),
        status: data.status().as_str(),
        alerts: alerts.collect(),
        group_labels: &data.group_labels,
        common_labels: data.common_labels(),
        common_annotations: data.common_annotations(),
        external_url: &data.external_url,
        route_labels: &data.route_labels,
        notification_reason: data.reason,
        version: "4",
        group_key: &data.group_key,
        truncated_alerts,
    };
    let mut written = serde_json::to_vec(&body).unwrap_or_default();
    written.push(b'\n');
    written
}
