//! `/api/v2/silences` and `/api/v2/silence/{id}`.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use model::{MatchOp, Matcher};
use rules::notify::silence::{Recurrence, Silence, State as Stage};
use rules::notify::silences::SilenceError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::alerts::{matchers, params};
use super::{BODY_BYTES_MAX, Refused, answer, apart, shapes};
use crate::app::App;
use crate::params::read_body;

/// A silence as clients send it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sent {
    #[serde(default)]
    id: String,
    matchers: Vec<SentMatcher>,
    starts_at: String,
    ends_at: String,
    #[serde(default)]
    created_by: String,
    #[serde(default)]
    comment: String,
    recurrence: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SentMatcher {
    name: String,
    value: String,
    is_regex: bool,
    #[serde(default = "yes")]
    is_equal: bool,
}

fn yes() -> bool {
    true
}

impl Sent {
    fn silence(self) -> Result<Silence, String> {
        let time = |text: &str| {
            let time = text.parse::<Timestamp>();
            time.map(Timestamp::as_millisecond).map_err(|_| format!("{text:?} is no time"))
        };
        let matcher = |sent: &SentMatcher| {
            let op = match (sent.is_regex, sent.is_equal) {
                (false, true) => MatchOp::Equal,
                (false, false) => MatchOp::NotEqual,
                (true, true) => MatchOp::Regex,
                (true, false) => MatchOp::NotRegex,
            };
            if sent.name.is_empty() {
                return Err("a matcher without the name of a label".to_owned());
            }
            Matcher::new(&sent.name, op, &sent.value).map_err(|error| error.to_string())
        };
        let recurrence = self.recurrence.filter(|value| !value.is_null());
        Ok(Silence {
            sets: vec![self.matchers.iter().map(matcher).collect::<Result<_, _>>()?],
            starts_ms: time(&self.starts_at)?,
            ends_ms: time(&self.ends_at)?,
            updated_ms: 0,
            recurrence: recurrence.map(|value| Recurrence::parse(&value.to_string())).transpose()?,
            id: self.id,
            created_by: self.created_by,
            comment: self.comment,
        })
    }
}

impl From<SilenceError> for Refused {
    fn from(error: SilenceError) -> Self {
        let status = match &error {
            SilenceError::Unknown(_) => StatusCode::NOT_FOUND,
            SilenceError::Full(_) => StatusCode::SERVICE_UNAVAILABLE,
            SilenceError::Invalid(_) | SilenceError::Expired(_) | SilenceError::OfFile(_) => StatusCode::BAD_REQUEST,
        };
        Self(status, error.to_string())
    }
}

/// A random id in the form of a UUID of version 4.
pub(crate) fn new_id() -> String {
    let half = || RandomState::new().hash_one(std::time::SystemTime::now());
    let (high, low) = (half(), half());
    let high = (high & !0xf000) | 0x4000;
    let low = (low & !(0b11 << 62)) | (0b10 << 62);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

fn is_same(one: &Matcher, other: &Matcher) -> bool {
    (one.name(), one.op(), one.value()) == (other.name(), other.op(), other.value())
}

pub(crate) async fn list(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refused> {
    let wanted = matchers(&params(&request)?, "filter")?;
    let all = apart(&app, move |app| {
        app.notifier.look(|dispatcher, now_ms| {
            // As in Alertmanager: a silence has each matcher of the filter just so.
            let takes = |silence: &&Silence| {
                let has = |wanted: &Matcher| silence.sets.iter().flatten().any(|own| is_same(own, wanted));
                wanted.iter().all(has)
            };
            let mut all: Vec<&Silence> = dispatcher.silences().filter(takes).collect();
            let order = |silence: &Silence| match silence.state(now_ms) {
                Stage::Active => (0, silence.ends_ms),
                Stage::Pending => (1, silence.starts_ms),
                Stage::Expired => (2, silence.ends_ms.saturating_neg()),
            };
            all.sort_by_key(|silence| order(silence));
            let config = dispatcher.config();
            Value::Array(all.into_iter().map(|silence| shapes::silence(silence, config, now_ms)).collect())
        })
    })
    .await?;
    Ok(answer(&all))
}

pub(crate) async fn one(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Refused> {
    let unknown = Refused::from(SilenceError::Unknown(id.clone()));
    let found = apart(&app, move |app| {
        app.notifier.look(|dispatcher, now_ms| {
            dispatcher.silence(&id).map(|silence| shapes::silence(silence, dispatcher.config(), now_ms))
        })
    })
    .await?;
    found.map(|silence| answer(&silence)).ok_or(unknown)
}

pub(crate) async fn set(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refused> {
    let body = read_body(request.into_body(), BODY_BYTES_MAX).await.map_err(|error| Refused::bad(error.message))?;
    let sent: Sent = serde_json::from_slice(&body).map_err(Refused::bad)?;
    let wanted = sent.silence().map_err(Refused::bad)?;
    let id = apart(&app, move |app| {
        app.notifier.edit(|dispatcher, now_ms| dispatcher.set_silence(wanted, new_id(), now_ms))
    })
    .await?
    .map_err(|error| Refused(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))??;
    Ok(answer(&json!({ "silenceID": id })))
}

pub(crate) async fn expire(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Refused> {
    apart(&app, move |app| app.notifier.edit(|dispatcher, now_ms| dispatcher.expire_silence(&id, now_ms)))
        .await?
        .map_err(|error| Refused(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))??;
    Ok(StatusCode::OK.into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids() {
        let (one, other) = (new_id(), new_id());
        assert_ne!(one, other);
        let parts: Vec<usize> = one.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert!(one.as_bytes()[14] == b'4' && b"89ab".contains(&one.as_bytes()[19]), "{one}");
    }
}
