//! JSON of alerts and silences, as Alertmanager's API has it.

use jiff::Timestamp;
use model::{LabelsRef, MatchOp, Matcher};
use rules::config::Config;
use rules::event::fingerprint_text;
use rules::notify::dispatch::AlertView;
use rules::notify::silence::Silence;
use serde_json::{Map, Value, json};

/// What is said for times before and after those that clients can read.
const FIRST: &str = "0001-01-01T00:00:00.000Z";
const LAST: &str = "9999-12-31T23:59:59.000Z";

/// A time as the API writes it, in milliseconds.
pub(crate) fn rfc3339(ms: i64) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(time) if time.as_second() < -62_135_596_800 => FIRST.to_owned(),
        Ok(time) if time.as_second() >= 253_402_300_799 => LAST.to_owned(),
        Ok(time) => format!("{time:.3}"),
        Err(_) if ms < 0 => FIRST.to_owned(),
        Err(_) => LAST.to_owned(),
    }
}

pub(crate) fn labels(labels: LabelsRef<'_>) -> Value {
    labels.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect::<Map<_, _>>().into()
}

/// An alert.
pub(crate) fn alert(view: &AlertView) -> Value {
    let posted = &view.kept.posted;
    let mut shown = json!({
        "labels": labels(posted.labels.as_ref()),
        "annotations": posted.annotations,
        "startsAt": rfc3339(posted.starts_ms),
        "endsAt": rfc3339(posted.ends_ms),
        "updatedAt": rfc3339(view.kept.updated_ms),
        "fingerprint": fingerprint_text(view.fingerprint),
        "receivers": view.receivers.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>(),
        "status": {
            "state": if view.is_quiet() { "suppressed" } else { "active" },
            "silencedBy": view.silenced_by,
            "inhibitedBy": view.inhibited_by.iter().map(|alert| fingerprint_text(*alert)).collect::<Vec<_>>(),
            "mutedBy": view.muted_by,
        },
    });
    if !posted.generator_url.is_empty() {
        shown["generatorURL"] = posted.generator_url.as_str().into();
    }
    if let Some(ack) = &view.ack {
        let (at, until) = (rfc3339(ack.at_ms), rfc3339(ack.expires_ms));
        shown["ack"] = json!({ "owner": ack.owner, "note": ack.note, "at": at, "expiresAt": until });
    }
    shown
}

fn matcher(matcher: &Matcher) -> Value {
    let is_regex = matches!(matcher.op(), MatchOp::Regex | MatchOp::NotRegex);
    json!({ "name": matcher.name(), "value": matcher.value(), "isRegex": is_regex, "isEqual": !matcher.is_negative() })
}

/// A silence. Of several sets of matchers the first stands where clients look for it.
pub(crate) fn silence(silence: &Silence, config: &Config, now_ms: i64) -> Value {
    let set = |set: &Vec<Matcher>| set.iter().map(matcher).collect::<Vec<_>>();
    let mut shown = json!({
        "id": silence.id,
        "status": { "state": silence.state(now_ms).as_str() },
        "matchers": silence.sets.first().map(set).unwrap_or_default(),
        "startsAt": rfc3339(silence.starts_ms),
        "endsAt": rfc3339(silence.ends_ms),
        "updatedAt": rfc3339(silence.updated_ms),
        "createdBy": silence.created_by,
        "comment": silence.comment,
    });
    match &silence.recurrence {
        Some(recurrence) if recurrence.text.is_empty() => {
            let of_file = config.silences.iter().find(|of| silence.id.strip_prefix("file:") == Some(of.name.as_str()));
            shown["recurrence"] = of_file.map(|of| Value::from(of.intervals.clone())).unwrap_or_default();
        }
        Some(recurrence) => {
            let text = recurrence.text.as_str();
            shown["recurrence"] = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
        }
        None => {}
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_that_clients_read() {
        for (ms, want) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_795_424_523_007, "2026-11-23T09:02:03.007Z"),
            (i64::MIN, FIRST),
            (i64::MAX, LAST),
        ] {
            assert_eq!(rfc3339(ms), want);
        }
    }
}
