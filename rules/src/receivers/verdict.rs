//! What an answer means: taken, to be sent again, or refused for good.

use serde_json::Value;

use super::outgoing::Api;

/// Longest time that a receiver may ask for before it is tried again.
pub const RETRY_AFTER_MS_MAX: i64 = 3_600_000;
/// Longest answer that is kept for people, characters.
const TOLD_CHARS_MAX: usize = 400;

/// An answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Header `Retry-After` in milliseconds, if it says a time.
    pub retry_after_ms: Option<i64>,
    /// The beginning of its body.
    pub body: Vec<u8>,
}

/// What follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was taken.
    Taken(String),
    /// It may be taken later: not before `after_ms`, if that is said.
    Again {
        /// The time to wait.
        after_ms: Option<i64>,
        /// Why.
        why: String,
    },
    /// It will not be taken, however often it is sent.
    Refused(String),
}

/// Judges `answer` of `api`: 2xx is taken; 408, 429 and 5xx may be later; everything else is refused.
pub fn judge(api: Api, answer: &Answer) -> Verdict {
    let told = told(answer);
    let json = || serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
    match answer.status {
        200..=299 if api == Api::Slack => slack(&json(), told),
        200..=299 => Verdict::Taken(told),
        408 | 429 | 500..=599 => {
            let said = match api {
                Api::Telegram => json()["parameters"]["retry_after"].as_f64(),
                Api::Discord => json()["retry_after"].as_f64(),
                Api::Plain | Api::Slack => None,
            };
            let after_ms = said.map(seconds_ms).or(answer.retry_after_ms);
            Verdict::Again { after_ms: after_ms.map(|ms| ms.clamp(0, RETRY_AFTER_MS_MAX)), why: told }
        }
        300..=399 => Verdict::Refused(format!("{told}: set the address that this one leads to")),
        _ => Verdict::Refused(told),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "casts saturate, and what is too long is cut")]
fn seconds_ms(seconds: f64) -> i64 {
    (seconds * 1000.0).ceil() as i64
}

/// Slack's web API says in the body whether it took a message.
fn slack(json: &Value, told: String) -> Verdict {
    if json["ok"] != false {
        return Verdict::Taken(told);
    }
    match json["error"].as_str() {
        Some(
            "ratelimited"
            | "rate_limited"
            | "internal_error"
            | "fatal_error"
            | "service_unavailable"
            | "request_timeout",
        ) => Verdict::Again { after_ms: None, why: told },
        _ => Verdict::Refused(told),
    }
}

/// The answer for people.
fn told(answer: &Answer) -> String {
    let body = String::from_utf8_lossy(&answer.body);
    let body: String = body.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(TOLD_CHARS_MAX).collect();
    if body.is_empty() { format!("status {}", answer.status) } else { format!("status {}: {body}", answer.status) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_answers() {
        let again = |after_ms| Verdict::Again { after_ms, why: String::new() };
        let (taken, refused) = (Verdict::Taken(String::new()), Verdict::Refused(String::new()));
        for (api, status, header, body, want) in [
            (Api::Plain, 200, None, "", taken.clone()),
            (Api::Plain, 204, None, "", taken.clone()),
            (Api::Plain, 500, None, "", again(None)),
            (Api::Plain, 503, Some(7000), "", again(Some(7000))),
            (Api::Plain, 429, Some(i64::MAX), "", again(Some(RETRY_AFTER_MS_MAX))),
            (Api::Plain, 408, None, "", again(None)),
            (Api::Plain, 400, None, "", refused.clone()),
            (Api::Plain, 404, None, "", refused.clone()),
            (Api::Plain, 302, None, "", refused.clone()),
            (Api::Plain, 999, None, "", refused.clone()),
            (Api::Slack, 200, None, "ok", taken.clone()),
            (Api::Slack, 200, None, "{\"ok\":true}", taken.clone()),
            (Api::Slack, 200, None, "{\"ok\":false,\"error\":\"ratelimited\"}", again(None)),
            (Api::Slack, 200, None, "{\"ok\":false,\"error\":\"channel_not_found\"}", refused.clone()),
            (Api::Telegram, 429, Some(1), "{\"parameters\":{\"retry_after\":3}}", again(Some(3000))),
            (Api::Discord, 429, None, "{\"retry_after\":0.25}", again(Some(250))),
            (Api::Discord, 429, None, "{\"retry_after\":-1e99}", again(Some(0))),
            (Api::Telegram, 400, None, "{\"parameters\":{\"retry_after\":3}}", refused.clone()),
        ] {
            let answer = Answer { status, retry_after_ms: header, body: body.as_bytes().to_vec() };
            let got = match judge(api, &answer) {
                Verdict::Taken(_) => taken.clone(),
                Verdict::Again { after_ms, .. } => again(after_ms),
                Verdict::Refused(_) => refused.clone(),
            };
            assert_eq!(got, want, "{api:?} {status} {body}");
        }
    }

    #[test]
    fn answers_for_people_are_short_and_plain() {
        let body = format!("a\nb\u{1b}[31m{}", "x".repeat(10_000)).into_bytes();
        let Verdict::Refused(told) = judge(Api::Plain, &Answer { status: 400, retry_after_ms: None, body }) else {
            panic!("refused")
        };
        assert!(told.starts_with("status 400: a b [31mxxx") && told.len() < 500, "{told}");
    }
}
