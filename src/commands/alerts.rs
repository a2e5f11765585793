//! `metrickit alerts` and `ack`: what fires, what happened to it, who has it.

use std::collections::HashMap;

use model::time::{Clock, ShowDuration, SystemClock};
use serde_json::Value as Json;

use super::admin::server;
use crate::UsageError;
use crate::cli::{AckArgs, AlertsCommand, AlertsListArgs, AlertsLogArgs};
use crate::output::Output;
use crate::render::text::visible;
use crate::render::{append, table};
use crate::when::{api_seconds, parse_instant_ms, show_instant};

/// The kinds of events.
const EVENTS: [&str; 10] = [
    "alert_state",
    "routed",
    "suppressed",
    "released",
    "delivery",
    "attempt",
    "silence",
    "ack",
    "group_trouble",
    "note",
];
/// How instants are shown.
const TIME_PATTERN: &str = "%Y-%m-%d %H:%M:%S";

/// Tells of alerts.
pub(crate) fn alerts(command: &AlertsCommand, output: &mut Output) -> anyhow::Result<()> {
    match command {
        AlertsCommand::List(args) => list(args, output),
        AlertsCommand::Log(args) => log(args, output),
    }
}

fn list(args: &AlertsListArgs, output: &mut Output) -> anyhow::Result<()> {
    let pairs: Vec<(&str, &str)> = args.matchers.iter().map(|text| ("matcher", text.as_str())).collect();
    let answer = server(args.server.url.as_deref())?.get("/api/v1/alerting/alerts", &pairs)?;
    if args.server.json {
        output.line(&answer.to_string())?;
        return Ok(());
    }
    let text =
        told_alerts(answer.as_array().map_or(&[][..], Vec::as_slice), output.is_terminal.then(|| output.width()));
    output.text(&text)?;
    Ok(())
}

fn log(args: &AlertsLogArgs, output: &mut Output) -> anyhow::Result<()> {
    let now_ms = SystemClock.now().0;
    let mut pairs = vec![("limit".to_owned(), args.limit.to_string())];
    for field in &args.fields {
        let (name, value) = event_field(field)?;
        pairs.push((name.to_owned(), value.to_owned()));
    }
    for (name, text) in [("start", &args.start), ("end", &args.end)] {
        if let Some(text) = text {
            let at_ms = parse_instant_ms(text, now_ms).map_err(|error| UsageError(format!("--{name}: {error}")))?;
            pairs.push((name.to_owned(), api_seconds(at_ms)));
        }
    }
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let answer = server(args.server.url.as_deref())?.get("/api/v1/alerting/events", &pairs)?;
    if args.server.json {
        output.line(&answer.to_string())?;
        return Ok(());
    }
    let events = answer.as_array().map_or(&[][..], Vec::as_slice);
    if events.is_empty() {
        output.line("nothing happened")?;
    }
    for event in events {
        output.line(&told_event(event))?;
    }
    Ok(())
}

/// What events must have. Here nothing but `=` is asked for, unlike with matchers.
fn event_field(text: &str) -> Result<(&str, &str), UsageError> {
    let wrong = || UsageError(format!("{text:?} is no FIELD=VALUE, such as event=delivery"));
    let (name, value) = text.split_once('=').filter(|(name, _)| !name.ends_with('!')).ok_or_else(wrong)?;
    if value.starts_with('~') || name.ends_with('~') {
        return Err(wrong());
    }
    if name == "event" && !EVENTS.contains(&value) {
        return Err(UsageError(format!("there are no events {value:?}; there are: {}", EVENTS.join(", "))));
    }
    Ok((name, value))
}

/// Takes alerts on, or gives them back.
pub(crate) fn ack(args: &AckArgs, output: &mut Output) -> anyhow::Result<()> {
    let mut form: Vec<(&str, &str)> = args.matchers.iter().map(|text| ("matcher", text.as_str())).collect();
    let owner = args.owner.clone().unwrap_or_else(super::deletes::who);
    let path = if args.remove { "/api/v1/alerting/unack" } else { "/api/v1/alerting/ack" };
    form.extend([("owner", owner.as_str()), ("note", args.note.as_str()), ("for", args.duration.as_str())]);
    let answer = server(args.server.url.as_deref())?.post(path, &form)?;
    if args.server.json {
        output.line(&answer.to_string())?;
        return Ok(());
    }
    let count = answer["alerts"].as_array().map_or(0, Vec::len);
    let alerts = if count == 1 { "1 alert".to_owned() } else { format!("{count} alerts") };
    let text = if args.remove {
        format!("{alerts}: nobody has them any more")
    } else {
        format!("{owner} has {alerts} until {} UTC", told_time(&answer["expiresAt"]))
    };
    output.line(&text)?;
    Ok(())
}

/// As it is shown: labels and answers are of others, and may hold what steers a terminal.
fn text_of(value: &Json) -> String {
    visible(&value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

/// A time of the API to the second, as people read it; its zone is UTC.
fn told_time(value: &Json) -> String {
    text_of(value).replace('T', " ").chars().take(19).collect()
}

fn texts(value: &Json) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text_of).collect()
}

/// Labels as `name{a="b"}` without the name, the alert's name first.
pub(super) fn told_labels(labels: &Json) -> String {
    let Some(labels) = labels.as_object() else { return String::new() };
    let name = labels.get("alertname").map(text_of).unwrap_or_default();
    let others = labels.iter().filter(|(name, _)| *name != "alertname");
    let others: Vec<String> = others.map(|(name, value)| format!("{}={}", visible(name), text_of(value))).collect();
    if others.is_empty() { name } else { format!("{name} {}", others.join(" ")).trim_start().to_owned() }
}

fn told_alerts(alerts: &[Json], width: Option<usize>) -> String {
    if alerts.is_empty() {
        return "no alert fires\n".to_owned();
    }
    let by_fingerprint: HashMap<&str, &Json> =
        alerts.iter().filter_map(|alert| Some((alert["fingerprint"].as_str()?, &alert["labels"]))).collect();
    let row = |alert: &Json| {
        let status = &alert["status"];
        let mut quiet = Vec::new();
        quiet.extend(texts(&status["silencedBy"]).into_iter().map(|id| format!("silence {id}")));
        quiet.extend(texts(&status["inhibitedBy"]).into_iter().map(|id| {
            let source = by_fingerprint.get(id.as_str());
            source.map_or_else(|| format!("alert {id}"), |labels| told_labels(labels))
        }));
        quiet.extend(texts(&status["mutedBy"]));
        let receivers = alert["receivers"].as_array().into_iter().flatten().map(|of| text_of(&of["name"]));
        let has = alert["ack"]["owner"].as_str().unwrap_or_default();
        vec![
            told_labels(&alert["labels"]),
            told_time(&alert["startsAt"]),
            receivers.collect::<Vec<_>>().join(", "),
            quiet.join(", "),
            has.to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = alerts.iter().map(row).collect();
    table::fitted(&["alert", "since (UTC)", "told to", "quiet by", "taken on by"], &rows, 0, width, &[])
}

/// An event as one line.
fn told_event(event: &Json) -> String {
    let at = show_instant(event["at_ms"].as_i64().unwrap_or_default(), TIME_PATTERN);
    let of = |name: &str| text_of(&event[name]);
    let labels = told_labels(&event["labels"]);
    let told = match event["event"].as_str().unwrap_or_default() {
        "alert_state" => format!("{labels}: {} → {}", of("from"), of("to")),
        "routed" => format!("{labels} goes to {}", texts(&event["receivers"]).join(", ")),
        "suppressed" => format!("{labels} is not told to {}: {}", of("receiver"), told_why(&event["why"])),
        "released" => format!("{labels} may be told to {} again", of("receiver")),
        "delivery" => {
            let counts = [(texts(&event["firing"]).len(), "firing"), (texts(&event["resolved"]).len(), "resolved")];
            let counts: Vec<String> =
                counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
            let how = match (&event["ok"], &event["superseded"]) {
                (Json::Bool(true), _) => "was told",
                (_, Json::Bool(true)) => "need not be told any more",
                _ => "was NOT told",
            };
            let (receiver, reason, answer) = (of("receiver"), of("reason"), of("answer"));
            let (counts, group) = (counts.join(" and "), told_group(&of("group_key")));
            format!("{receiver} {how} of {counts}{group} ({reason}): {answer}")
        }
        "attempt" => {
            let again = ShowDuration(event["again_after_ms"].as_i64().unwrap_or_default());
            let (receiver, attempt, answer) = (of("receiver"), of("attempt"), of("answer"));
            format!("{receiver} was not reached at attempt {attempt}, the next follows after {again}: {answer}")
        }
        "silence" => {
            format!("silence {} {} by {}: {} {}", of("id"), of("change"), of("by"), of("matchers"), of("comment"))
        }
        "ack" => format!("{labels} acknowledgement {} ({}) {}", of("change"), of("owner"), of("note")),
        "group_trouble" => format!("{} {}: {}", of("group"), of("rule"), of("message")),
        "note" => of("message"),
        _ => visible(&event.to_string()),
    };
    format!("{at}  {}", told.trim_end())
}

/// The labels in a group's key, which stand behind those of its route.
fn told_group(key: &str) -> String {
    let (mut quoted, mut escaped, mut before, mut labels_at) = (false, false, ' ', None);
    for (at, c) in key.char_indices() {
        // What a value says of braces is no border.
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '{' if !quoted && before == ':' => labels_at = Some(at),
            _ => {}
        }
        before = c;
    }
    labels_at.and_then(|at| key.get(at..)).map(|labels| format!(" in group {labels}")).unwrap_or_default()
}

fn told_why(why: &Json) -> String {
    let of = |name: &str| text_of(&why[name]);
    match why["by"].as_str().unwrap_or_default() {
        "inhibition" => format!("alert {} inhibits it ({})", of("source"), of("rule")),
        "silence" => format!("silence {}", texts(&why["ids"]).join(", ")),
        "mute_time" => format!("time interval {}", of("interval")),
        "outside_active_time" => "outside of the route's active time intervals".to_owned(),
        "ack" => format!("{} has it", of("owner")),
        "flapping" => format!("it came and went {} times", of("changes")),
        _ => why.to_string(),
    }
}

/// Where an alert goes, line by line.
pub(super) fn told_route(answer: &Json) -> String {
    let mut text = String::new();
    for step in answer["steps"].as_array().into_iter().flatten() {
        let indent = "  ".repeat(usize::try_from(step["depth"].as_u64().unwrap_or(0)).unwrap_or(0));
        let mark = match (step["matches"] == true, step["takes"] == true) {
            (_, true) => "→",
            (true, false) => "✓",
            (false, false) => "✗",
        };
        let goes_on = if step["continues"] == true { ", siblings too" } else { "" };
        append(&mut text, format_args!("{indent}{mark} {}{goes_on}\n", text_of(&step["matchers"])));
        if step["takes"] != true {
            continue;
        }
        let of = |name: &str| text_of(&step[name]);
        append(&mut text, format_args!("{indent}    receiver {}\n", of("receiver")));
        append(&mut text, format_args!("{indent}    in group {{{}}}\n", told_labels(&step["group"])));
        let (wait, interval, repeat) = (of("groupWait"), of("groupInterval"), of("repeatInterval"));
        append(
            &mut text,
            format_args!("{indent}    first after {wait}, changes every {interval}, again after {repeat}\n"),
        );
        for (name, what) in [("muteTimeIntervals", "mute in"), ("activeTimeIntervals", "active in")] {
            let names = texts(&step[name]);
            if !names.is_empty() {
                append(&mut text, format_args!("{indent}    {what} {}\n", names.join(", ")));
            }
        }
        for step in step["escalate"].as_array().into_iter().flatten() {
            let (receiver, after) = (text_of(&step["receiver"]), text_of(&step["after"]));
            append(&mut text, format_args!("{indent}    {receiver} too when nobody takes it on for {after}\n"));
        }
    }
    let mutes = answer["mutes"].as_array().map_or(&[][..], Vec::as_slice);
    if mutes.is_empty() {
        text.push_str("nothing would keep it quiet now\n");
    }
    for mute in mutes {
        let route = mute["route"].as_str().map_or_else(String::new, |route| format!(" in route {route}"));
        append(&mut text, format_args!("quiet now{route}: {}\n", told_why(&mute["why"])));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_group_is_told_with_all_of_its_labels() {
        for (key, want) in [
            ("{}:{}", " in group {}"),
            (r#"{}/{team="a:{b"}:{alertname="A"}"#, r#" in group {alertname="A"}"#),
            (r#"{}:{alertname="A", path="x:{y}\":{z"}"#, r#" in group {alertname="A", path="x:{y}\":{z"}"#),
            ("another", ""),
        ] {
            assert_eq!(told_group(key), want, "{key}");
        }
    }

    #[test]
    fn what_keeps_an_alert_quiet_is_named() {
        let host = json!({"fingerprint": "f1", "labels": {"alertname": "HostDown", "instance": "web1"}});
        let process =
            json!({"fingerprint": "f2", "labels": {"alertname": "ProcDown"}, "status": {"inhibitedBy": ["f1"]}});
        let all = told_alerts(&[host, process.clone()], None);
        assert_eq!(all.matches("HostDown instance=web1").count(), 2, "{all}");
        // Where it is not among those that are listed.
        let one = told_alerts(&[process], None);
        assert!(one.contains("alert f1"), "{one}");
    }

    #[test]
    fn fields_of_events_are_equal() {
        assert_eq!(event_field("alertname=a!=b").ok(), Some(("alertname", "a!=b")));
        assert_eq!(event_field("event=attempt").ok(), Some(("event", "attempt")));
        for wrong in ["event", "event!=note", "receiver=~o.*", "receiver!~o.*", "event=bla"] {
            assert!(event_field(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn events_are_sentences() {
        for (event, want) in [
            (
                json!({"at_ms": 0, "event": "suppressed", "labels": {"alertname": "A", "job": "x"}, "receiver": "ops", "why": {"by": "ack", "owner": "ann"}}),
                "1970-01-01 00:00:00  A job=x is not told to ops: ann has it",
            ),
            (
                json!({"at_ms": 0, "event": "delivery", "receiver": "ops", "reason": "first notification", "firing": ["1"], "resolved": [], "ok": false, "answer": "500"}),
                "1970-01-01 00:00:00  ops was NOT told of 1 firing (first notification): 500",
            ),
            (
                json!({"at_ms": 0, "event": "delivery", "receiver": "ops", "reason": "some alerts resolved", "firing": ["1", "2"], "resolved": ["3"], "ok": true, "answer": "250 ok", "group_key": "{}/{team=\"web\"}:{alertname=\"A\"}"}),
                "1970-01-01 00:00:00  ops was told of 2 firing and 1 resolved in group {alertname=\"A\"} (some alerts resolved): 250 ok",
            ),
            (
                json!({"at_ms": 0, "event": "delivery", "receiver": "ops", "reason": "first notification", "firing": ["1"], "resolved": [], "ok": false, "superseded": true, "answer": "a newer one"}),
                "1970-01-01 00:00:00  ops need not be told any more of 1 firing (first notification): a newer one",
            ),
            (
                json!({"at_ms": 0, "event": "attempt", "receiver": "ops", "attempt": 2, "answer": "503", "again_after_ms": 4000}),
                "1970-01-01 00:00:00  ops was not reached at attempt 2, the next follows after 4s: 503",
            ),
            (json!({"at_ms": 0, "event": "note", "message": "m"}), "1970-01-01 00:00:00  m"),
            (
                json!({"at_ms": 0, "event": "alert_state", "labels": {"alertname": "A\u{1b}[2J", "job": "x\ny"}, "from": "pending", "to": "firing"}),
                "1970-01-01 00:00:00  A\\u{1b}[2J job=x\\ny: pending → firing",
            ),
        ] {
            assert_eq!(told_event(&event), want);
        }
    }

    #[test]
    fn a_route_is_told_as_a_tree() {
        let answer = json!({
            "steps": [
                {"depth": 0, "matchers": "{}", "matches": true, "takes": false, "continues": false},
                {"depth": 1, "matchers": "{team=\"db\"}", "matches": false, "takes": false, "continues": false},
                {"depth": 1, "matchers": "{team=\"web\"}", "matches": true, "takes": true, "continues": true, "receiver": "web", "group": {"alertname": "A"},
                 "groupWait": "30s", "groupInterval": "5m", "repeatInterval": "4h", "muteTimeIntervals": ["night"], "activeTimeIntervals": [],
                 "escalate": [{"after": "15m", "receiver": "boss"}]},
            ],
            "mutes": [{"route": null, "why": {"by": "silence", "ids": ["s1"]}}],
        });
        let want = "\
✓ {}
  ✗ {team=\"db\"}
  → {team=\"web\"}, siblings too
      receiver web
      in group {A}
      first after 30s, changes every 5m, again after 4h
      mute in night
      boss too when nobody takes it on for 15m
quiet now: silence s1
";
        assert_eq!(told_route(&answer), want);
    }
}
