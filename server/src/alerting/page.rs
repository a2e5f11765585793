//! What fires, as a page for browsers; everybody else is sent on to the API's list.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State as AppState;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};
use jiff::Timestamp;
use model::Labels;
use model::labels::{METRIC_NAME, Quoted};
use model::time::ShowDuration;
use rules::alert::State;
use rules::notify::dispatch::AlertView;

use super::listed::{Listed, TooMuch};
use super::notify_api::apart;
use crate::app::App;
use crate::html::{self, escaped};
use crate::reply::ApiError;

/// Most alerts in a table.
const SHOWN_MAX: usize = 500;

pub(crate) async fn alerts(AppState(app): AppState<Arc<App>>, headers: HeaderMap) -> Result<Response, ApiError> {
    if !html::wanted(&headers) {
        return Ok(html::varies(Redirect::temporary("api/v1/alerts").into_response()));
    }
    let body = apart(&app, |app| {
        let mut listed = Listed::new(app);
        let wanted = |view: &AlertView| listed.takes(true, || view.bytes());
        let firing = app.notifier.look(|dispatcher, now_ms| dispatcher.alerts_by(now_ms, wanted))?;
        let mut firing: Vec<Firing> = firing.iter().map(Firing::of).collect();
        // What somebody has to look at first; of that the newest.
        firing.sort_by_key(|alert| (alert.is_quiet, -alert.since_ms));
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
struct Firing {
    labels: Labels,
    state: String,
    is_quiet: bool,
    since_ms: i64,
    summary: String,
    runbook: Option<String>,
    query: Option<String>,
}

impl Firing {
    fn of(view: &AlertView) -> Self {
        let posted = &view.kept.posted;
        let annotation = |name: &str| posted.annotations.get(name).cloned().filter(|text| !text.is_empty());
        let quiet = [
            (!view.silenced_by.is_empty(), "silenced"),
            (!view.inhibited_by.is_empty(), "inhibited"),
            (!view.muted_by.is_empty(), "muted"),
        ];
        let mut words: Vec<String> = quiet.iter().filter(|(is_so, _)| *is_so).map(|(_, word)| (*word).into()).collect();
        let is_quiet = !words.is_empty();
        if !is_quiet {
            words.push("fires".to_owned());
        }
        words.extend(view.ack.as_ref().map(|ack| format!("taken on by {}", ack.owner)));
        Self {
            labels: posted.labels.clone(),
            state: words.join(", "),
            is_quiet,
            since_ms: posted.starts_ms,
            summary: annotation("summary").or_else(|| annotation("description")).unwrap_or_default(),
            runbook: annotation("runbook_url").filter(|url| is_web(url)),
            query: Some(posted.generator_url.clone()).filter(|url| is_web(url)),
        }
    }

    fn row(&self, now_ms: i64) -> String {
        let name = link(alert_name(&self.labels), self.runbook.as_deref());
        let state = link(&self.state, self.query.as_deref());
        format!(
            "<tr><td>{name}</td><td>{state}</td><td>{}</td><td><code>{}</code></td><td>{}</td></tr>\n",
            ago(self.since_ms, now_ms),
            escaped(&others(&self.labels)),
            escaped(&self.summary),
        )
    }
}

/// The page about alerts that fire and those that wait for their time.
fn body(firing: &[Firing], pending: &[(i64, Labels)], now_ms: i64) -> String {
    let mut out = String::from("<h1>Alerts</h1>\n");
    let at = Timestamp::from_millisecond(now_ms).map(|at| at.strftime("%F %T UTC").to_string()).unwrap_or_default();
    let quiet = firing.iter().filter(|alert| alert.is_quiet).count();
    let _ =
        writeln!(out, "<p>At {at}. Firing: {}, of them quiet: {quiet}. Pending: {}.</p>", firing.len(), pending.len());
    if !firing.is_empty() {
        out.push_str("<table>\n<tr><th>alert</th><th>state</th><th>for</th><th>labels</th><th>summary</th></tr>\n");
        firing.iter().take(SHOWN_MAX).for_each(|alert| out.push_str(&alert.row(now_ms)));
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
                escaped(name),
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

fn alert_name(labels: &Labels) -> &str {
    labels.get("alertname").unwrap_or_default()
}

/// All labels but the alert's name.
fn others(labels: &Labels) -> String {
    let all = labels.iter().filter(|(name, _)| !["alertname", METRIC_NAME].contains(name));
    all.map(|(name, value)| format!("{name}={}", Quoted(value))).collect::<Vec<_>>().join(" ")
}

/// How long ago that was, in whole seconds.
fn ago(since_ms: i64, now_ms: i64) -> String {
    ShowDuration(now_ms.saturating_sub(since_ms).max(0) / 1000 * 1000).to_string()
}

/// Whether a link that somebody wrote may be one of the page.
fn is_web(url: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme))
}

fn link(text: &str, url: Option<&str>) -> String {
    let text = escaped(text);
    match url {
        Some(url) => format!("<a href=\"{}\">{text}</a>", escaped(url)),
        None => text,
    }
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
        assert!(is_web("https://a/b") && is_web("http://a"));
        assert!(!is_web("javascript:alert(1)") && !is_web("//a") && !is_web(""));
        assert_eq!(link("a<b", Some("http://x/?a=\"b")), "<a href=\"http://x/?a=&#34;b\">a&lt;b</a>");
    }
}
