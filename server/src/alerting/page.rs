//! What fires, as a page for browsers; everybody else is sent on to the API's list.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State as AppState;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};
use model::Labels;
use model::labels::{METRIC_NAME, Quoted};
use model::time::ShowDuration;
use rules::alert::State;
use rules::notify::dispatch::AlertView;
use rules::receivers::cut_bytes;

use super::listed::{Listed, TooMuch};
use super::notify_api::apart;
use crate::app::App;
use crate::html::{self, escaped};
use crate::reply::ApiError;

/// Most alerts in a table.
const SHOWN_MAX: usize = 500;
/// Most bytes of a summary, of an alert's labels, and of a link; with [`SHOWN_MAX`] they bound the page to a few megabytes.
const SUMMARY_BYTES_MAX: usize = 512;
const LABELS_BYTES_MAX: usize = 1024;
const LINK_BYTES_MAX: usize = 2048;

pub(crate) async fn alerts(AppState(app): AppState<Arc<App>>, headers: HeaderMap) -> Result<Response, ApiError> {
    if !html::wanted(&headers) {
        return Ok(html::varies(Redirect::temporary("api/v1/alerts").into_response()));
    }
    let body = apart(&app, |app| {
        let mut listed = Listed::new(app);
        let wanted = |view: &AlertView| listed.takes(true, || view.bytes());
        let mut firing = app.notifier.look(|dispatcher, now_ms| dispatcher.alerts_by(now_ms, wanted))?;
        // What somebody has to look at first; of that the newest.
        firing.sort_by_key(|view| (view.is_quiet(), -view.kept.posted.starts_ms));
        let mut pending = Vec::new();
        for slot in &app.alerting.loaded().slots {
            for alert in slot.shown().rules.iter().flat_map(|rule| &rule.alerts) {
                if alert.times.state == State::Pending {
                    listed.hold(alert.bytes())?;
                    pending.push((alert.times.active_at_ms, alert.labels.clone()));
                }
            }
        }
        pending.sort_by_key(|(since_ms, _)| -since_ms);
        Ok::<_, TooMuch>(body(&firing, &pending, app.clock.now().0))
    })
    .await??;
    Ok(html::varies(html::page("Alerts – MetricKit", &body)))
}

/// A row of the table of what fires.
fn row(view: &AlertView, now_ms: i64) -> String {
    let posted = &view.kept.posted;
    let annotation = |name: &str| posted.annotations.get(name).map_or("", String::as_str);
    let quiet = [
        (!view.silenced_by.is_empty(), "silenced"),
        (!view.inhibited_by.is_empty(), "inhibited"),
        (!view.muted_by.is_empty(), "muted"),
    ];
    let mut words: Vec<String> = quiet.iter().filter(|(is_so, _)| *is_so).map(|(_, word)| (*word).into()).collect();
    if words.is_empty() {
        words.push("fires".to_owned());
    }
    words.extend(view.ack.as_ref().map(|ack| format!("taken on by {}", cut_bytes(&ack.owner, SUMMARY_BYTES_MAX))));
    let summary = [annotation("summary"), annotation("description")].into_iter().find(|text| !text.is_empty());
    format!(
        "<tr><td>{}</td><td>{}</td><td>{}</td><td><code>{}</code></td><td>{}</td></tr>\n",
        link(&alert_name(&posted.labels), annotation("runbook_url")),
        link(&words.join(", "), &posted.generator_url),
        ago(posted.starts_ms, now_ms),
        escaped(&others(&posted.labels)),
        escaped(&cut_bytes(summary.unwrap_or_default(), SUMMARY_BYTES_MAX)),
    )
}

/// The page about alerts that fire and those that wait for their time.
fn body(firing: &[AlertView], pending: &[(i64, Labels)], now_ms: i64) -> String {
    let mut out = String::from("<h1>Alerts</h1>\n");
    let at = html::moment(now_ms);
    let quiet = firing.iter().filter(|view| view.is_quiet()).count();
    let _ =
        writeln!(out, "<p>At {at}. Firing: {}, of them quiet: {quiet}. Pending: {}.</p>", firing.len(), pending.len());
    if !firing.is_empty() {
        out.push_str("<table>\n<tr><th>alert</th><th>state</th><th>for</th><th>labels</th><th>summary</th></tr>\n");
        firing.iter().take(SHOWN_MAX).for_each(|view| out.push_str(&row(view, now_ms)));
        out.push_str("</table>\n");
        rest(&mut out, firing.len());
    }
    if !pending.is_empty() {
        out.push_str("<h2>Pending</h2>\n<table>\n<tr><th>alert</th><th>for</th><th>labels</th></tr>\n");
        for (since_ms, labels) in pending.iter().take(SHOWN_MAX) {
            let (name, since, others) = (alert_name(labels), ago(*since_ms, now_ms), others(labels));
            let _ = writeln!(
                out,
                "<tr><td>{}</td><td>{since}</td><td><code>{}</code></td></tr>",
                escaped(&name),
                escaped(&others)
            );
        }
        out.push_str("</table>\n");
        rest(&mut out, pending.len());
    }
    out.push_str(
        "<p><a href=\"api/v1/alerting/alerts\">As JSON</a> · <a href=\"api/v1/alerting/events?limit=100\">what happened lately</a> · \
         <a href=\"runbooks\">Runbooks</a> · in a terminal: <code>metrickit alerts list</code>, <code>metrickit ack</code>, \
         <code>metrickit silence</code></p>",
    );
    out
}

/// Says how many of `count` are left out.
fn rest(out: &mut String, count: usize) {
    if count > SHOWN_MAX {
        let _ = writeln!(out, "<p>and {} more.</p>", count - SHOWN_MAX);
    }
}

fn alert_name(labels: &Labels) -> String {
    cut_bytes(labels.get("alertname").unwrap_or_default(), LABELS_BYTES_MAX)
}

/// All labels but the alert's name.
fn others(labels: &Labels) -> String {
    let all = labels.iter().filter(|(name, _)| !["alertname", METRIC_NAME].contains(name));
    let all: Vec<String> = all.map(|(name, value)| format!("{name}={}", Quoted(value))).collect();
    cut_bytes(&all.join(" "), LABELS_BYTES_MAX)
}

/// How long ago that was, in whole seconds.
fn ago(since_ms: i64, now_ms: i64) -> String {
    ShowDuration(now_ms.saturating_sub(since_ms).max(0) / 1000 * 1000).to_string()
}

/// `text`, as a link where `url`, which somebody wrote, may be one of the page.
fn link(text: &str, url: &str) -> String {
    let text = escaped(text);
    let is_web = ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme));
    if is_web && url.len() <= LINK_BYTES_MAX { format!("<a href=\"{}\">{text}</a>", escaped(url)) } else { text }
}

#[cfg(test)]
mod tests {
    use model::labels::LabelsBuilder;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(name, value);
        }
        builder.build().expect("labels")
    }

    #[test]
    fn what_waits_is_told_beside_what_fires_and_long_lists_are_cut() {
        let pending = (0..501).map(|at| (at, labels(&[("alertname", "<Slow>"), ("host", "a")]))).collect::<Vec<_>>();
        let page = body(&[], &pending, 90_000);
        assert!(page.contains("At 1970-01-01 00:01:30 UTC. Firing: 0, of them quiet: 0. Pending: 501."), "{page}");
        let row = "<tr><td>&lt;Slow&gt;</td><td>1m30s</td><td><code>host=&#34;a&#34;</code></td></tr>";
        assert!(page.contains(row), "{page}");
        assert_eq!((page.matches("<tr><td>").count(), page.contains("<p>and 1 more.</p>")), (SHOWN_MAX, true));
        assert!(!page.contains("<th>state</th>"), "{page}");
    }

    #[test]
    fn links_lead_to_the_web_alone() {
        assert_eq!(link("a<b", "http://x/?a=\"b"), "<a href=\"http://x/?a=&#34;b\">a&lt;b</a>");
        for url in ["javascript:alert(1)", "//a", "", &format!("http://{}", "x".repeat(LINK_BYTES_MAX))] {
            assert_eq!(link("a", url), "a", "{url}");
        }
    }

    #[test]
    fn long_labels_are_cut() {
        let long = others(&labels(&[("a", &"x".repeat(5000))]));
        assert!(long.len() <= LABELS_BYTES_MAX && long.ends_with('…'), "{}", long.len());
    }
}
