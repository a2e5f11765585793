//! `/api/v1/alerting/…`: the event log, acknowledgements, and why an alert goes where it goes.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use model::labels::LabelsBuilder;
use model::time::ShowDuration;
use model::{Labels, Matcher};
use rules::event::fingerprint_text;
use rules::matchers::parse_matchers;
use rules::notify::acks::Ack;
use rules::notify::dispatch::{AckError, AlertView, RouteStep};
use rules::notify::silence::{Recurrence, Silence};
use rules::notify::silences::SilenceError;
use rules::shelf::ShelfError;
use serde_json::{Value, json};

use super::events::Wanted;
use super::listed::{Listed, Parts, TooMuch, write_in_list};
use crate::alertmanager_api::{shapes, silences::new_id};
use crate::app::App;
use crate::params::Params;
use crate::reply::{Annotations, ApiError, ErrorKind, success, success_json};

/// Events told unless asked for.
const EVENTS_DEFAULT: usize = 100;
/// Most events told.
const EVENTS_MAX: usize = 10_000;
/// How long an acknowledgement holds unless asked for.
const ACK_MS_DEFAULT: i64 = 24 * 3_600_000;
/// Parameters of the event log that are no fields of events.
const OWN_PARAMS: [&str; 4] = ["start", "end", "limit", "text"];

/// The newest events, the newest first. Parameters besides `start`, `end`, `limit` and `text` are fields or labels that events have: `event=delivery`,
/// `receiver=ops`, `alertname=Leak`.
pub(crate) async fn events(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let params = Params::of_url(request.uri())?;
    let fields = params.pairs().filter(|(name, _)| !OWN_PARAMS.contains(name));
    let wanted = Wanted {
        start_ms: params.time_ms("start")?,
        end_ms: params.time_ms("end")?,
        fields: fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        text: params.first("text").map(str::to_owned),
        limit: params.first("limit").map_or(Ok(EVENTS_DEFAULT), |_| params.limit("limit"))?.min(EVENTS_MAX),
    };
    let found = apart(&app, move |app| app.notifier.events().find(&wanted)).await?;
    let found = found.map_err(|error| ApiError::new(ErrorKind::Internal, format!("the event log: {error}")))?;
    Ok(success_json(&found))
}

/// Runs `work`, which may wait for the dispatcher or a disk, on a thread for such work; few do at a time.
pub(crate) async fn apart<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&App) -> T + Send + 'static,
) -> Result<T, ApiError> {
    let failed = |error: String| ApiError::new(ErrorKind::Internal, error);
    let places = Arc::clone(&app.notifier_places);
    let place = places.acquire_owned().await.map_err(|error| failed(error.to_string()))?;
    let app = Arc::clone(app);
    let done = tokio::task::spawn_blocking(move || {
        let done = work(&app);
        drop(place);
        done
    });
    done.await.map_err(|error| failed(error.to_string()))
}

fn matchers(params: &Params) -> Result<Vec<Matcher>, ApiError> {
    let mut all = Vec::new();
    for text in params.all("matcher") {
        all.extend(parse_matchers(text).map_err(|fault| ApiError::parameter("matcher", fault))?);
    }
    if all.iter().all(Matcher::matches_empty) {
        let reason = "at least one that does not match the empty string is wanted, such as alertname=Leak";
        return Err(ApiError::parameter("matcher", reason));
    }
    Ok(all)
}

fn refused(error: &AckError) -> ApiError {
    let kind = match error {
        AckError::Unknown(_) | AckError::Untaken(_) => ErrorKind::NotFound,
        AckError::Invalid(_) => ErrorKind::BadData,
    };
    ApiError::new(kind, error.to_string())
}

fn unwritten(error: &ShelfError) -> ApiError {
    ApiError::new(ErrorKind::Unavailable, format!("it cannot be written down: {error}"))
}

/// Takes on alerts that fire and fulfil every `matcher`: parameters `owner`, `note`, and `for`, a duration.
pub(crate) async fn acknowledge(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let params = Params::read(request, app.options.form_body_bytes_max).await?;
    let meant = matchers(&params)?;
    let now_ms = app.clock.now().0;
    let ack = Ack {
        owner: params.required("owner")?.to_owned(),
        note: params.first("note").unwrap_or_default().to_owned(),
        at_ms: now_ms,
        expires_ms: now_ms.saturating_add(params.positive_duration_ms("for")?.unwrap_or(ACK_MS_DEFAULT)),
    };
    let until = shapes::rfc3339(ack.expires_ms);
    let all =
        apart(&app, move |app| app.notifier.edit(|dispatcher, now_ms| dispatcher.acknowledge(&meant, &ack, now_ms)))
            .await?
            .map_err(|error| unwritten(&error))?
            .map_err(|error| refused(&error))?;
    let all: Vec<String> = all.into_iter().map(fingerprint_text).collect();
    Ok(success_json(&json!({ "alerts": all, "expiresAt": until })))
}

/// Ends acknowledgements of alerts that fulfil every `matcher`.
pub(crate) async fn unacknowledge(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let params = Params::read(request, app.options.form_body_bytes_max).await?;
    let meant = matchers(&params)?;
    let all = apart(&app, move |app| app.notifier.edit(|dispatcher, now_ms| dispatcher.unacknowledge(&meant, now_ms)))
        .await?
        .map_err(|error| unwritten(&error))?
        .map_err(|error| refused(&error))?;
    let all: Vec<String> = all.into_iter().map(fingerprint_text).collect();
    Ok(success_json(&json!({ "alerts": all })))
}

/// Every alert that fires, as `/api/v2/alerts` has them.
pub(crate) async fn alerts(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let params = Params::of_url(request.uri())?;
    let mut wanted = Vec::new();
    for text in params.all("matcher") {
        wanted.extend(parse_matchers(text).map_err(|fault| ApiError::parameter("matcher", fault))?);
    }
    let (views, listed) = apart(&app, move |app| {
        let mut listed = Listed::new(app);
        let matches = |view: &AlertView| rules::route::all_match(&wanted, view.kept.posted.labels.as_ref());
        let wanted = |view: &AlertView| listed.takes(matches(view), || view.bytes());
        let mut views = app.notifier.look(|dispatcher, now_ms| dispatcher.alerts_by(now_ms, wanted))?;
        views.sort_by_key(|view| view.kept.posted.starts_ms);
        Ok::<_, TooMuch>((views, listed))
    })
    .await??;
    let write = |out: &mut Vec<u8>, view: &AlertView, first| write_in_list(out, &shapes::alert(view), first);
    Ok(success(Parts::new(["[", "]"], views, write, listed), &Annotations::default()))
}

/// Every silence, as `/api/v2/silences` has them.
pub(crate) async fn silences(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let shown: Vec<Value> = apart(&app, move |app| {
        app.notifier.look(|dispatcher, now_ms| {
            let config = dispatcher.config();
            dispatcher.silences().map(|silence| shapes::silence(silence, config, now_ms)).collect()
        })
    })
    .await?;
    Ok(success_json(&shown))
}

fn unsilenced(error: &SilenceError) -> ApiError {
    let kind = match error {
        SilenceError::Unknown(_) => ErrorKind::NotFound,
        SilenceError::Full(_) => ErrorKind::Unavailable,
        _ => ErrorKind::BadData,
    };
    ApiError::new(kind, error.to_string())
}

/// Makes a silence: parameters `matcher`, `start`, `end`, `by`, `comment`, `recurrence`.
pub(crate) async fn silence(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let params = Params::read(request, app.options.form_body_bytes_max).await?;
    let recurrence = params.first("recurrence").map(Recurrence::parse).transpose();
    let wanted = Silence {
        id: String::new(),
        sets: vec![matchers(&params)?],
        starts_ms: params.time_ms("start")?.unwrap_or(app.clock.now().0),
        ends_ms: params.required_time_ms("end")?,
        updated_ms: 0,
        created_by: params.first("by").unwrap_or_default().to_owned(),
        comment: params.first("comment").unwrap_or_default().to_owned(),
        recurrence: recurrence.map_err(|reason| ApiError::parameter("recurrence", reason))?,
    };
    let made = apart(&app, move |app| {
        app.notifier.edit(|dispatcher, now_ms| {
            let id = dispatcher.set_silence(wanted, new_id(), now_ms)?;
            let shown = dispatcher.silence(&id).map(|made| shapes::silence(made, dispatcher.config(), now_ms));
            Ok(shown.unwrap_or_default())
        })
    })
    .await?
    .map_err(|error| unwritten(&error))?
    .map_err(|error| unsilenced(&error))?;
    Ok(success_json(&made))
}

/// Ends a silence.
pub(crate) async fn expire(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let told = json!({ "id": id });
    apart(&app, move |app| app.notifier.edit(|dispatcher, now_ms| dispatcher.expire_silence(&id, now_ms)))
        .await?
        .map_err(|error| unwritten(&error))?
        .map_err(|error| unsilenced(&error))?;
    Ok(success_json(&told))
}

/// The way of an alert that has the labels of every `label`, `name=value`.
pub(crate) async fn route(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let params = Params::of_url(request.uri())?;
    let labels = labels_of(&params)?;
    let shown = apart(&app, move |app| {
        app.notifier.look(|dispatcher, now_ms| {
            let steps: Vec<Value> = dispatcher.explain(labels.as_ref()).iter().map(step).collect();
            let mutes = dispatcher.mutes(labels.as_ref(), now_ms);
            let mutes: Vec<Value> =
                mutes.iter().map(|mute| json!({ "route": mute.route_id, "why": mute.why })).collect();
            json!({ "labels": shapes::labels(labels.as_ref()), "steps": steps, "mutes": mutes })
        })
    })
    .await?;
    Ok(success_json(&shown))
}

/// The labels that every `label`, `name=value`, names.
pub(super) fn labels_of(params: &Params) -> Result<Labels, ApiError> {
    let mut labels = LabelsBuilder::new();
    for pair in params.all("label") {
        let (name, value) =
            pair.split_once('=').ok_or_else(|| ApiError::parameter("label", format!("{pair:?} is no name=value")))?;
        labels.push(name, value);
    }
    labels.build().map_err(|error| ApiError::parameter("label", error))
}

fn step(step: &RouteStep) -> Value {
    let mut shown = json!({
        "depth": step.depth,
        "id": step.id,
        "matchers": step.matchers,
        "matches": step.matches,
        "continues": step.continues,
        "takes": step.takes,
    });
    if let Some((options, group)) = &step.taken {
        let duration = |ms: i64| ShowDuration(ms).to_string();
        let escalation = options.escalation.iter();
        let escalation = escalation.map(|step| json!({ "after": duration(step.after_ms), "receiver": step.receiver }));
        shown["receiver"] = options.receiver.as_str().into();
        shown["group"] = shapes::labels(group.as_ref());
        shown["groupBy"] = options.group_by.names().into();
        shown["groupWait"] = duration(options.wait_ms).into();
        shown["groupInterval"] = duration(options.interval_ms).into();
        shown["repeatInterval"] = duration(options.repeat_ms).into();
        shown["muteTimeIntervals"] = options.mute.clone().into();
        shown["activeTimeIntervals"] = options.active.clone().into();
        shown["escalate"] = escalation.collect::<Vec<_>>().into();
    }
    shown
}
