//! `/api/v2/alerts`: alerts come in, and are told with what keeps them quiet.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use model::{Labels, MatchOp, Matcher};
use rules::notify::alerts::Incoming;
use rules::notify::dispatch::{ALERT_LABELS_BYTES_MAX, ALERT_TEXTS_BYTES_MAX, AlertView, GroupView};
use rules::posted::Posted;
use rules::route::all_match;
use serde::{Deserialize, Deserializer, de};
use serde_json::json;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use super::{BODY_BYTES_MAX, Refused, apart, shapes};
use crate::admin_guard::{AdminAccess, page_of_elsewhere};
use crate::alerting::listed::{Listed, Parts, TooMuch, write_in_list};
use crate::app::App;
use crate::params::{Params, read_body};
use crate::reply::plain;

/// Most alerts in one request.
const ALERTS_MAX: usize = 20_000;
/// Most KiB of bodies at once. What they stand for takes a few times that.
const BODIES_KIB_MAX: usize = 32 << 10;

/// An alert as clients send it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    starts_at: Option<String>,
    ends_at: Option<String>,
    #[serde(rename = "generatorURL", default)]
    generator_url: String,
}

/// The alerts of a request: no more than are allowed, before they take memory.
#[derive(Debug)]
struct SentAlerts(Vec<Sent>);

impl<'de> Deserialize<'de> for SentAlerts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = SentAlerts;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of alerts")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<SentAlerts, A::Error> {
                let mut all = Vec::new();
                while let Some(sent) = list.next_element()? {
                    if all.len() >= ALERTS_MAX {
                        return Err(de::Error::custom(format!("{ALERTS_MAX} alerts are allowed in one request")));
                    }
                    all.push(sent);
                }
                Ok(SentAlerts(all))
            }
        }
        deserializer.deserialize_seq(Visitor)
    }
}

/// Room for the bodies of requests with alerts, so that many at once are bounded too.
#[derive(Debug)]
pub(crate) struct PostedAlerts(Arc<Semaphore>);

/// Room for one body.
#[derive(Debug)]
struct Place {
    bytes_max: usize,
    _kib: OwnedSemaphorePermit,
}

impl Default for PostedAlerts {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BODIES_KIB_MAX)))
    }
}

impl PostedAlerts {
    /// Waits for room for the body that `headers` announce; one of unknown length may have the greatest.
    async fn acquire(&self, headers: &HeaderMap) -> Result<Place, Refused> {
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        let bytes_max = length.unwrap_or(BODY_BYTES_MAX);
        if bytes_max > BODY_BYTES_MAX {
            let message = format!("a body of {bytes_max} bytes; {BODY_BYTES_MAX} are allowed");
            return Err(Refused(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        let kib = u32::try_from(bytes_max.div_ceil(1024).max(1)).expect("a body is at most 16 MiB");
        let acquired = Arc::clone(&self.0).acquire_many_owned(kib).await;
        let closed = |error: AcquireError| Refused(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
        Ok(Place { bytes_max, _kib: acquired.map_err(closed)? })
    }
}

/// Which alerts are asked for.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a parameter of the API")]
struct Wanted {
    active: bool,
    silenced: bool,
    inhibited: bool,
    muted: bool,
    receiver: Option<Matcher>,
    receiver_matchers: Vec<Matcher>,
    matchers: Vec<Matcher>,
}

impl Wanted {
    fn of(params: &Params) -> Result<Self, Refused> {
        let flag = |name: &str| match params.first(name) {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(Refused::bad(format!("{name}: {other:?} is neither true nor false"))),
        };
        let receiver = params.first("receiver").map(|text| Matcher::new("receiver", MatchOp::Regex, text));
        Ok(Self {
            active: flag("active")?,
            silenced: flag("silenced")?,
            inhibited: flag("inhibited")?,
            muted: flag("muted")?,
            receiver: receiver.transpose().map_err(|error| Refused::bad(format!("receiver: {error}")))?,
            receiver_matchers: matchers(params, "receiver_matchers")?,
            matchers: matchers(params, "filter")?,
        })
    }

    fn takes_receiver(&self, name: &str) -> bool {
        self.receiver.as_ref().is_none_or(|receiver| receiver.matches(name))
            && is_receiver(&self.receiver_matchers, name)
    }

    fn takes(&self, view: &AlertView) -> bool {
        (self.active || view.is_quiet())
            && (self.silenced || view.silenced_by.is_empty())
            && (self.inhibited || view.inhibited_by.is_empty())
            && (self.muted || view.muted_by.is_empty())
            && view.receivers.iter().any(|name| self.takes_receiver(name))
            && all_match(&self.matchers, view.kept.posted.labels.as_ref())
    }
}

/// Whether the receiver `name` fulfils `matchers`: its name is the only label that it has.
pub(crate) fn is_receiver(matchers: &[Matcher], name: &str) -> bool {
    matchers.iter().all(|matcher| matcher.matches(if matcher.name() == "name" { name } else { "" }))
}

/// The matchers of every parameter `name`.
pub(crate) fn matchers(params: &Params, name: &str) -> Result<Vec<Matcher>, Refused> {
    let mut matchers = Vec::new();
    for text in params.all(name) {
        matchers.extend(rules::matchers::parse_matchers(text).map_err(Refused::bad)?);
    }
    Ok(matchers)
}

/// Parameters of the URL.
pub(crate) fn params(request: &Request) -> Result<Params, Refused> {
    Params::of_url(request.uri()).map_err(|error| Refused::bad(error.message))
}

pub(crate) async fn list(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refused> {
    let wanted = Wanted::of(&params(&request)?)?;
    let (views, listed) = apart(&app, move |app| {
        let mut listed = Listed::new(app);
        let wanted = |view: &AlertView| listed.takes(wanted.takes(view), || view.bytes());
        let mut views = app.notifier.look(|dispatcher, now_ms| dispatcher.alerts_by(now_ms, wanted))?;
        views.sort_by(|a, b| a.kept.posted.labels.cmp(&b.kept.posted.labels));
        Ok::<_, TooMuch>((views, listed))
    })
    .await??;
    let write = |out: &mut Vec<u8>, view: &AlertView, first| write_in_list(out, &shapes::alert(view), first);
    Ok(plain("application/json", Parts::new(["[", "]"], views, write, listed)))
}

pub(crate) async fn groups(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refused> {
    let wanted = Wanted::of(&params(&request)?)?;
    let (parts, listed) = apart(&app, move |app| {
        let mut listed = Listed::new(app);
        let told = |receiver: &str| wanted.takes_receiver(receiver);
        let taken = |view: &AlertView| listed.takes(wanted.takes(view), || view.bytes());
        let mut groups = app.notifier.look(|dispatcher, now_ms| dispatcher.groups_by(now_ms, told, taken))?;
        groups.sort_by(|a, b| (&a.labels, &a.receiver).cmp(&(&b.labels, &b.receiver)));
        listed.hold(groups.iter().map(GroupPart::bytes).sum())?;
        Ok::<_, TooMuch>((groups.into_iter().flat_map(GroupPart::of).collect::<Vec<_>>(), listed))
    })
    .await??;
    Ok(plain("application/json", Parts::new(["[", "]"], parts, GroupPart::write, listed)))
}

/// An alert of a group in the list of groups: groups are written alert by alert, too.
struct GroupPart {
    /// Labels and receiver, which go before the first alert of its group.
    head: Option<(Labels, String)>,
    alert: AlertView,
    is_last: bool,
}

impl GroupPart {
    fn of(group: GroupView) -> Vec<Self> {
        let GroupView { labels, receiver, mut alerts, .. } = group;
        alerts.sort_by(|a, b| a.kept.posted.labels.cmp(&b.kept.posted.labels));
        let mut head = Some((labels, receiver));
        let mut left = alerts.len();
        let part = |alert| {
            left -= 1;
            Self { head: head.take(), alert, is_last: left == 0 }
        };
        alerts.into_iter().map(part).collect()
    }

    /// What a group's parts take beside what its alerts do, about.
    fn bytes(group: &GroupView) -> usize {
        let place = size_of::<Self>().saturating_sub(size_of::<AlertView>());
        size_of::<GroupView>() + group.labels.packed().len() + group.receiver.len() + place * group.alerts.len()
    }

    fn write(out: &mut Vec<u8>, part: &Self, is_first: bool) {
        if let Some((labels, receiver)) = &part.head {
            let head = json!({ "labels": shapes::labels(labels.as_ref()), "receiver": { "name": receiver } });
            write_in_list(out, &head, is_first);
            // It goes on within the braces.
            out.pop();
            out.extend_from_slice(b",\"alerts\":[");
        }
        write_in_list(out, &shapes::alert(&part.alert), part.head.is_some());
        if part.is_last {
            out.extend_from_slice(b"]}");
        }
    }
}

/// Takes alerts. Good ones are taken also where others of the request are not. They are on disk when this answers.
pub(crate) async fn post(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refused> {
    if let Some(refused) = refusal(app.options.admin, request.headers()) {
        return Err(refused);
    }
    // The place comes first: bodies that wait for one take no memory.
    let place = app.posted_alerts.acquire(request.headers()).await?;
    let body = read_body(request.into_body(), place.bytes_max).await.map_err(|error| Refused::bad(error.message))?;
    let SentAlerts(sent) = serde_json::from_slice(&body).map_err(Refused::bad)?;
    drop(body);
    let wrong = apart(&app, move |app| {
        let (mut good, mut wrong) = (Vec::new(), Vec::new());
        let now_ms = app.clock.now().0;
        let timeout_ms = app.notifier.look(|dispatcher, _| dispatcher.config().resolve_timeout_ms);
        for (number, sent) in sent.into_iter().enumerate() {
            match incoming(sent, now_ms, timeout_ms) {
                Ok(incoming) => good.push(incoming),
                Err(message) => wrong.push(format!("alert {number}: {message}")),
            }
        }
        let written = app.notifier.change(|dispatcher, now_ms| dispatcher.put(good, now_ms));
        written.map(|()| wrong).map_err(|error| Refused(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))
    })
    .await??;
    drop(place);
    if wrong.is_empty() { Ok(StatusCode::OK.into_response()) } else { Err(Refused::bad(wrong.join("; "))) }
}

/// Why a request is not one of a program. A page in somebody's browser reaches this port too; what it may send without asking is never JSON, and names
/// where the page is from.
fn refusal(access: AdminAccess, headers: &HeaderMap) -> Option<Refused> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        let message = format!("alerts are sent as application/json, not as {kind:?}");
        return Some(Refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    page_of_elsewhere(access, headers).map(|reason| Refused(StatusCode::FORBIDDEN, reason))
}

fn incoming(sent: Sent, now_ms: i64, timeout_ms: i64) -> Result<Incoming, String> {
    let Sent { labels, annotations, starts_at, ends_at, generator_url } = sent;
    let names = labels.keys().chain(annotations.keys());
    if let Some(name) = names.into_iter().find(|name| name.is_empty()) {
        return Err(format!("{name:?} is no name of a label"));
    }
    let labels = labels.iter().filter(|(_, value)| !value.is_empty());
    let labels = Labels::from_pairs(labels).map_err(|error| error.to_string())?;
    if labels.is_empty() {
        return Err("it has no label".to_owned());
    }
    let texts: usize = annotations.iter().map(|(name, text)| name.len() + text.len()).sum();
    if labels.packed().len() > ALERT_LABELS_BYTES_MAX || texts + generator_url.len() > ALERT_TEXTS_BYTES_MAX {
        let limits = format!("{ALERT_LABELS_BYTES_MAX} bytes of labels and {ALERT_TEXTS_BYTES_MAX} of annotations");
        return Err(format!("it is too large; {limits} are allowed"));
    }
    let (starts_ms, ends_ms) = (time(starts_at)?, time(ends_at)?);
    let starts_ms = starts_ms.or(ends_ms).unwrap_or(now_ms);
    if ends_ms.is_some_and(|ends_ms| ends_ms < starts_ms) {
        return Err("it ends before it begins".to_owned());
    }
    let posted = Posted {
        labels,
        annotations,
        starts_ms,
        ends_ms: ends_ms.unwrap_or_else(|| now_ms.saturating_add(timeout_ms)),
        generator_url,
    };
    Ok(Incoming { posted, times_out: ends_ms.is_none(), by_rule: false })
}

/// A time; the year 1, which stands for none in Go, is none.
fn time(text: Option<String>) -> Result<Option<i64>, String> {
    let Some(text) = text.filter(|text| !text.is_empty() && !text.starts_with("0001-01-01T00:00:00")) else {
        return Ok(None);
    };
    text.parse::<Timestamp>().map(|time| Some(time.as_millisecond())).map_err(|_| format!("{text:?} is no time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_count_beside_their_alerts() {
        let labels = Labels::from_pairs([("g", "x".repeat(2000).as_str())]).expect("labels");
        let (key, receiver, route_id) = (String::new(), "r".repeat(500), String::new());
        let bytes = GroupPart::bytes(&GroupView { key, labels, receiver, route_id, next_ms: 0, alerts: Vec::new() });
        assert!((2500..3500).contains(&bytes), "{bytes}");
    }

    #[tokio::test]
    async fn bodies_take_places() {
        let posted = PostedAlerts::default();
        let left = || posted.0.available_permits();
        let unknown = HeaderMap::new();
        let one = posted.acquire(&unknown).await.expect("a place");
        let _other = posted.acquire(&unknown).await.expect("a place");
        assert_eq!((one.bytes_max, left()), (BODY_BYTES_MAX, 0));
        drop(one);
        for (length, kib) in [("0", 1), ("1024", 1), ("1025", 2), ("16777216", 16_384)] {
            let headers = HeaderMap::from_iter([(CONTENT_LENGTH, length.parse().expect("a value"))]);
            let before = left();
            let _place = posted.acquire(&headers).await.expect("a place");
            assert_eq!(before - left(), kib, "{length}");
        }
    }
}
