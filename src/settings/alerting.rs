//! Settings of alerting: lists and labels as texts, and what the server takes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use model::labels::is_label_name;
use server::{AlertingOptions, NotifyOptions, SelfMetricsOptions};

use super::Resolved;

/// Longest time between two writings of the server's own metrics.
const SELF_METRICS_INTERVAL_MS_MAX: u64 = 60_000;

/// The parts of a list, which are separated by `;`.
pub(super) fn list(text: &str) -> Vec<String> {
    text.split(';').map(str::trim).filter(|part| !part.is_empty()).map(ToOwned::to_owned).collect()
}

/// Labels as they are written: `name=value`, separated by commas.
pub(super) fn labels(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut labels = BTreeMap::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) =
            pair.split_once('=').ok_or_else(|| format!("{pair:?} is no label; write it like name=value"))?;
        let (name, value) = (name.trim(), value.trim().trim_matches('"'));
        if !is_label_name(name) || name.starts_with("__") {
            return Err(format!("{name:?} is no name of a label"));
        }
        if labels.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(format!("label {name:?} is there twice"));
        }
    }
    Ok(labels)
}

/// A file, unless the setting is off.
fn file(resolved: &Resolved, key: &str) -> Option<PathBuf> {
    Some(resolved.text(key)).filter(|file| *file != "off").map(PathBuf::from)
}

/// What alerting runs with. An external URL that nobody gave is empty.
pub(super) fn options(resolved: &Resolved) -> AlertingOptions {
    AlertingOptions {
        rule_files: list(resolved.text("rule_files")),
        shipped_rules: resolved.text("shipped_rules") == "on",
        self_metrics: resolved.duration_ms("self_metrics_interval").is_some(),
        interval_ms: resolved.duration_ms("evaluation_interval").unwrap_or(i64::MAX),
        query_offset_ms: resolved.duration_ms("rule_query_offset").unwrap_or(0),
        external_url: Some(resolved.text("external_url")).filter(|url| *url != "auto").unwrap_or_default().to_owned(),
        external_labels: labels(resolved.text("external_labels")).unwrap_or_default(),
        alertmanagers: list(resolved.text("alertmanagers")),
        alertmanagers_file: file(resolved, "alertmanagers_file"),
        ..AlertingOptions::default()
    }
}

/// How the server keeps its own metrics. A shipped rule misses them after five minutes, so they come well within that.
pub(super) fn self_metrics(resolved: &Resolved) -> Result<SelfMetricsOptions, String> {
    let interval_ms = resolved.duration_ms("self_metrics_interval").unwrap_or(0).unsigned_abs();
    if interval_ms > SELF_METRICS_INTERVAL_MS_MAX {
        let text = resolved.text("self_metrics_interval");
        return Err(format!("{text} is more than {} s, the longest allowed", SELF_METRICS_INTERVAL_MS_MAX / 1000));
    }
    // The instance is known once the port is.
    Ok(SelfMetricsOptions { interval_ms, instance: String::new() })
}

/// Whether every text in a list is the address of an Alertmanager.
pub(super) fn check_alertmanagers(resolved: &Resolved) -> Result<(), String> {
    list(resolved.text("alertmanagers")).iter().try_for_each(|url| server::alerting::forward::check_url(url))
}

/// How people are told.
pub(super) fn notify(resolved: &Resolved) -> NotifyOptions {
    NotifyOptions {
        file: file(resolved, "alerting_config"),
        events_dir: Some(PathBuf::from(resolved.text("data")).join("alerting")),
        events_bytes_max: resolved.bytes("alerting_events_bytes_max"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_metrics_come_at_least_once_a_minute() {
        let read = |text: &str| {
            let flags = [("self_metrics_interval", text.to_owned())].into_iter().collect();
            let resolved = super::super::resolve(None, |_| None, &flags).expect("durations");
            self_metrics(&resolved).map(|options| options.interval_ms)
        };
        assert_eq!((read("1m"), read("off")), (Ok(60_000), Ok(0)));
        assert_eq!(read("61s"), Err("61s is more than 60 s, the longest allowed".to_owned()));
    }

    #[test]
    fn lists_and_labels() {
        assert_eq!(list(" a/*.yml; b.yml;;"), ["a/*.yml", "b.yml"]);
        let read = |text: &str| labels(text).map(|labels| labels.into_iter().collect::<Vec<_>>());
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read(r#"site=home, env = "dev""#), Ok(vec![pair("env", "dev"), pair("site", "home")]));
        assert_eq!(read(""), Ok(vec![]));
        for wrong in ["site", "a-b=c", "__a=b", "a=b,a=c"] {
            assert!(labels(wrong).is_err(), "{wrong}");
        }
    }
}
