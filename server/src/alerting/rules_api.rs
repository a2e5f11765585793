//! `/api/v1/rules`, `/api/v1/alerts` and `/-/reload`, as Prometheus answers them:
//! <https://prometheus.io/docs/prometheus/latest/querying/api/#rules>. Each group is told as it was after its last evaluation.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State as AppState};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use model::{Labels, Matcher};
use rules::alert::State;
use rules::file::{Kind, Rule};
use rules::template::{Style, format_float};
use serde_json::{Map, Value, json};

use super::listed::{Listed, Parts, write_in_list};
use super::load::Slot;
use super::lock;
use super::run::word;
use super::shown::{Shown, ShownAlert, ShownRule};
use crate::app::App;
use crate::params::Params;
use crate::reply::{Annotations, ApiError, ErrorKind, success};

/// Names as Go writes the zero time.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Which rules are asked for.
#[derive(Debug, Default)]
struct Wanted {
    alerting: bool,
    recording: bool,
    names: Vec<String>,
    groups: Vec<String>,
    files: Vec<String>,
    selectors: Vec<Vec<Matcher>>,
    without_alerts: bool,
    /// Most groups; the next page begins after the token.
    limit: usize,
    token: Option<String>,
}

impl Wanted {
    fn read(params: &Params) -> Result<Self, ApiError> {
        let kind = params.first("type").unwrap_or_default();
        if !matches!(kind, "" | "alert" | "record") {
            return Err(ApiError::parameter("type", format!("not supported value {kind:?}")));
        }
        let limit = match params.first("group_limit") {
            None => 0,
            Some(text) => {
                let number = text.parse().ok().filter(|&number: &usize| number > 0);
                number.ok_or_else(|| ApiError::parameter("group_limit", "group_limit needs to be greater than 0"))?
            }
        };
        let token = params.first("group_next_token").filter(|token| !token.is_empty()).map(ToOwned::to_owned);
        if token.is_some() && limit == 0 {
            let message = "group_limit needs to be present in order to paginate over the groups";
            return Err(ApiError::parameter("group_limit", message));
        }
        Ok(Self {
            alerting: kind != "record",
            recording: kind != "alert",
            names: params.texts("rule_name[]"),
            groups: params.texts("rule_group[]"),
            files: params.texts("file[]"),
            selectors: params.selectors()?,
            without_alerts: params.flag("exclude_alerts")?,
            limit,
            token,
        })
    }

    fn wants_group(&self, slot: &Slot) -> bool {
        let is_in = |all: &[String], name: &str| all.is_empty() || all.iter().any(|one| one == name);
        is_in(&self.groups, &slot.group.name) && is_in(&self.files, &slot.file)
    }

    fn wants(&self, rule: &Rule) -> bool {
        let of_kind = match rule.kind {
            Kind::Alerting(_) => self.alerting,
            Kind::Recording => self.recording,
        };
        let value = |name: &str| rule.labels.get(name).map(String::as_str).unwrap_or_default();
        let matches = |all: &Vec<Matcher>| all.iter().all(|matcher| matcher.matches(value(matcher.name())));
        of_kind
            && (self.names.is_empty() || self.names.contains(&rule.name))
            && (self.selectors.is_empty() || self.selectors.iter().any(matches))
    }
}

pub(crate) async fn rules(AppState(app): AppState<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let params = Params::read(request, app.options.form_body_bytes_max).await?;
    let wanted = Wanted::read(&params)?;
    apart(move || rules_parts(&app, &wanted).map(|data| success(data, &Annotations::default()))).await?
}

/// Runs `work`, which may take a while, where it holds up nobody.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| ApiError::new(ErrorKind::Internal, error.to_string()))
}

/// A part of the list of groups, which is written alert by alert.
enum Part {
    /// What goes before the rules of a group.
    Group { slot: Arc<Slot>, shown: Arc<Shown>, query_offset_ms: i64 },
    /// A rule: all of it, or what goes before its alerts.
    Rule { at: RuleAt, is_first: bool },
    /// An alert of a rule.
    Alert { at: RuleAt, number: usize },
    /// The end of a rule that has alerts.
    RuleEnd,
    /// The end of a group.
    GroupEnd,
    /// The end of all, with the token of the next page.
    End(Option<String>),
}

/// Where a rule is found.
#[derive(Clone)]
struct RuleAt {
    slot: Arc<Slot>,
    shown: Arc<Shown>,
    rule: usize,
}

impl Part {
    fn write(out: &mut Vec<u8>, part: &Self, is_first: bool) {
        match part {
            Self::Group { slot, shown, query_offset_ms } => {
                open(out, &group_json(slot, shown, *query_offset_ms), is_first, "rules");
            }
            Self::Rule { at, is_first } => {
                let rule = &at.slot.group.rules[at.rule];
                let told = rule_json(rule, &at.shown.rules[at.rule]);
                match rule.alerting() {
                    Some(_) => open(out, &told, *is_first, "alerts"),
                    None => write_in_list(out, &told, *is_first),
                }
            }
            Self::Alert { at, number } => {
                write_in_list(out, &alert_json(&at.shown.rules[at.rule].alerts[*number]), *number == 0);
            }
            Self::RuleEnd | Self::GroupEnd => out.extend_from_slice(b"]}"),
            Self::End(next) => {
                out.push(b']');
                if let Some(next) = next {
                    out.extend_from_slice(format!(",\"groupNextToken\":{}", json!(next)).as_bytes());
                }
            }
        }
    }
}

/// Writes `head` of a list and goes on within its braces with the list `name`.
fn open(out: &mut Vec<u8>, head: &Value, is_first: bool, name: &str) {
    write_in_list(out, head, is_first);
    out.pop();
    out.extend_from_slice(format!(",\"{name}\":[").as_bytes());
}

fn rules_parts(app: &App, wanted: &Wanted) -> Result<Parts<Part>, ApiError> {
    let slots = app.alerting.loaded().slots.clone();
    let mut listed = Listed::new(app);
    let mut parts = Vec::new();
    let mut groups = 0;
    let mut next = None;
    let mut reached = wanted.token.is_none();
    for slot in &slots {
        let token = token_of(slot);
        if !reached {
            reached = wanted.token.as_ref() == Some(&token);
            if !reached {
                continue;
            }
        }
        if !wanted.wants_group(slot) {
            continue;
        }
        let shown = slot.shown();
        let known = slot.group.rules.iter().zip(&shown.rules).enumerate().filter(|(_, (rule, _))| wanted.wants(rule));
        let rules: Vec<usize> = known.map(|(number, _)| number).collect();
        if rules.is_empty() {
            continue;
        }
        if wanted.limit > 0 && groups == wanted.limit {
            next = Some(token);
            break;
        }
        groups += 1;
        let query_offset_ms = app.alerting.settings.query_offset_ms(&slot.group);
        parts.push(Part::Group { slot: Arc::clone(slot), shown: Arc::clone(&shown), query_offset_ms });
        for (place, rule) in rules.into_iter().enumerate() {
            let at = RuleAt { slot: Arc::clone(slot), shown: Arc::clone(&shown), rule };
            rule_parts(&at, place == 0, wanted, &mut listed, &mut parts)?;
        }
        parts.push(Part::GroupEnd);
    }
    if !reached {
        return Err(ApiError::parameter("group_next_token", "invalid group_next_token"));
    }
    parts.push(Part::End(next));
    Ok(Parts::new(["{\"groups\":[", "}"], parts, Part::write, listed))
}

/// Adds a rule with its alerts. These are the group's until it is evaluated again, and the list's then; there are no more rules than files have.
fn rule_parts(
    at: &RuleAt,
    is_first: bool,
    wanted: &Wanted,
    listed: &mut Listed,
    parts: &mut Vec<Part>,
) -> Result<(), ApiError> {
    let is_alerting = at.slot.group.rules[at.rule].alerting().is_some();
    let alerts = if wanted.without_alerts { &[][..] } else { &at.shown.rules[at.rule].alerts[..] };
    listed.hold(alerts.iter().map(|alert| alert.bytes() + size_of::<Part>()).sum())?;
    parts.push(Part::Rule { at: at.clone(), is_first });
    parts.extend((0..alerts.len()).map(|number| Part::Alert { at: at.clone(), number }));
    if is_alerting {
        parts.push(Part::RuleEnd);
    }
    Ok(())
}

/// Where the page that begins with a group begins.
fn token_of(slot: &Slot) -> String {
    let labels = Labels::from_pairs([("file", slot.file.as_str()), ("group", &slot.group.name)]).unwrap_or_default();
    format!("{:016x}", rules::posted::fingerprint(labels.as_ref()))
}

/// A group without its rules.
fn group_json(slot: &Slot, shown: &Shown, query_offset_ms: i64) -> Value {
    let counts = *lock(&slot.counts);
    json!({
        "name": slot.group.name,
        "file": slot.file,
        "interval": seconds(slot.interval_ms),
        "limit": slot.group.limit,
        "queryOffset": seconds(query_offset_ms),
        "evaluationTime": counts.last_seconds,
        "lastEvaluation": rfc3339(shown.evaluated_ms),
    })
}

/// A rule without its alerts.
fn rule_json(rule: &Rule, known: &ShownRule) -> Value {
    let report = &known.report;
    let health = match (&report.evaluated_ms, &report.error) {
        (None, _) => "unknown",
        (Some(_), Some(_)) => "err",
        (Some(_), None) => "ok",
    };
    #[expect(clippy::cast_precision_loss, reason = "durations are far below 2^53 µs")]
    let took_seconds = report.took_us as f64 / 1e6;
    let mut all = Map::new();
    let mut put = |name: &str, value: Value| drop(all.insert(name.to_owned(), value));
    put("name", rule.name.as_str().into());
    put("query", rule.shown.as_str().into());
    if !rule.labels.is_empty() || rule.alerting().is_some() {
        put("labels", json!(rule.labels));
    }
    put("health", health.into());
    if let Some(error) = &report.error {
        put("lastError", error.as_str().into());
    }
    put("evaluationTime", took_seconds.into());
    put("lastEvaluation", rfc3339(report.evaluated_ms).into());
    let Some(alerting) = rule.alerting() else {
        put("type", "recording".into());
        return all.into();
    };
    let is_firing = known.alerts.iter().any(|alert| alert.times.state == State::Firing);
    let state = match known.alerts.is_empty() {
        _ if is_firing => "firing",
        false => "pending",
        true => "inactive",
    };
    put("state", state.into());
    put("duration", seconds(alerting.waits.hold_ms));
    put("keepFiringFor", seconds(alerting.waits.keep_firing_ms));
    put("annotations", json!(alerting.annotations));
    put("type", "alerting".into());
    all.into()
}

fn alert_json(alert: &ShownAlert) -> Value {
    let labels: BTreeMap<&str, &str> = alert.labels.iter().collect();
    let mut all = json!({
        "labels": labels,
        "annotations": alert.texts,
        "state": word(Some(alert.times.state)),
        "activeAt": rfc3339(Some(alert.times.active_at_ms)),
        "value": format_float(alert.value, Style::Exponent, None),
    });
    if let (Some(since_ms), Some(all)) = (alert.times.keep_firing_since_ms, all.as_object_mut()) {
        all.insert("keepFiringSince".to_owned(), rfc3339(Some(since_ms)).into());
    }
    all
}

/// The alerts that are pending or firing.
pub(crate) async fn alerts(AppState(app): AppState<Arc<App>>) -> Result<Response, ApiError> {
    apart(move || {
        let mut listed = Listed::new(&app);
        let mut all = Vec::new();
        for slot in &app.alerting.loaded().slots {
            let shown = slot.shown();
            for (rule, known) in shown.rules.iter().enumerate() {
                // What is shown is the group's until it is evaluated again, and this list's then.
                listed.hold(known.alerts.iter().map(ShownAlert::bytes).sum())?;
                all.extend((0..known.alerts.len()).map(|alert| (Arc::clone(&shown), rule, alert)));
            }
        }
        let write = |out: &mut Vec<u8>, (shown, rule, alert): &(Arc<Shown>, usize, usize), first| {
            write_in_list(out, &alert_json(&shown.rules[*rule].alerts[*alert]), first);
        };
        Ok::<_, ApiError>(success(Parts::new(["{\"alerts\":[", "]}"], all, write, listed), &Annotations::default()))
    })
    .await?
}

/// Reads the rule files and the routing file anew.
pub(crate) async fn reload(AppState(app): AppState<Arc<App>>) -> Result<Response, ApiError> {
    match apart(move || app.reload()).await? {
        Ok(()) => Ok(StatusCode::OK.into_response()),
        Err(error) => {
            Ok((StatusCode::INTERNAL_SERVER_ERROR, format!("failed to reload config: {error}\n")).into_response())
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "durations are far below 2^53 ms")]
fn seconds(ms: i64) -> Value {
    if ms % 1000 == 0 { (ms / 1000).into() } else { (ms as f64 / 1000.0).into() }
}

fn rfc3339(at_ms: Option<i64>) -> String {
    let moment = at_ms.and_then(|at_ms| Timestamp::from_millisecond(at_ms).ok());
    moment.map_or_else(|| NEVER.to_owned(), |moment| moment.to_string())
}
