//! `/api/v1/rules/explain`: how a rule reads, which override holds, and why its alerts are as they are.
//!
//! It asks what rules ask, but for people: within the places, time and memory of their queries, and it ends when its client goes.

use std::sync::{Arc, TryLockError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State as AppState};
use axum::response::Response;
use model::Labels;
use query::ast::Expr;
use query::{QueryTime, VectorElement};
use rules::evaluate::explain::{Explained, Known, Place, nearest};
use rules::evaluate::{RuleSample, World};
use serde_json::{Value, json};

use super::load::Slot;
use super::notify_api::labels_of;
use super::world::elements;
use crate::app::App;
use crate::gate::run_blocking;
use crate::params::Params;
use crate::query_api::query_error;
use crate::reading::{Entered, Reading, enter};
use crate::reply::{ApiError, ErrorKind, success_json};
use crate::running::Client;

/// Instances of a rule that are told unless asked for.
const INSTANCES_DEFAULT: usize = 100;
/// Most of them.
const INSTANCES_MAX: usize = 10_000;
/// How long evaluations under way are waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Time between two looks at whether it is over.
const LOOK: Duration = Duration::from_millis(10);
/// Most rules of one name.
const RULES_MAX: usize = 50;
/// Alerts that speak of another rule, which their label `rule` names.
const OF_ANOTHER: [&str; 2] = ["NoData", "RuleError"];

/// Rules called `name`, for series or alerts with every `label`, `name=value`.
pub(crate) async fn explain(AppState(app): AppState<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let client = Client::of(request.extensions());
    let params = Params::of_url(request.uri())?;
    let name = params.required("name")?.to_owned();
    let labels = labels_of(&params)?;
    let limit = params.first("limit").map_or(Ok(INSTANCES_DEFAULT), |_| params.limit("limit"))?.min(INSTANCES_MAX);
    let Entered { place, ticket, left, reading } = enter(&app, &format!("rules/explain {name}"), client).await?;
    let told = run_blocking(place, left, move || {
        let result = explained(&app, &name, &labels, limit, &reading);
        reading.end(&result);
        result
    })
    .await?;
    drop(ticket);
    Ok(success_json(&told))
}

/// What people ask: it changes nothing.
struct Asked<'a> {
    app: &'a App,
    reading: &'a Reading,
}

impl World for Asked<'_> {
    fn vector(&self, text: &str, expr: &Expr, at_ms: i64) -> Result<Vec<VectorElement>, String> {
        let left = self.reading.deadline().saturating_duration_since(Instant::now());
        let request = query::Request {
            query: text,
            time: QueryTime::Instant { time_ms: at_ms },
            options: &self.app.options.query,
            lookback_ms: None,
            timeout_ms: Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
            cancel: self.reading.cancel_token(),
            explain: false,
        };
        let answer = query::evaluate_expr(self.app.source.as_ref(), expr, &request);
        elements(answer.map_err(|error| error.to_string())?.value)
    }

    fn write(&self, _samples: Vec<RuleSample>) -> Result<(), String> {
        Err("nothing is written for people who ask".to_owned())
    }

    fn is_canceled(&self) -> bool {
        self.reading.cancel_token().is_canceled()
    }
}

fn explained(app: &App, name: &str, labels: &Labels, limit: usize, reading: &Reading) -> Result<Value, ApiError> {
    let slots = app.alerting.loaded().slots.clone();
    let is_known = |name: &str| rules_of(&slots).any(|(_, _, known)| known == name);
    let (name, subject) = match labels.get("rule") {
        Some(rule) if OF_ANOTHER.contains(&name) && !is_known(name) => (rule, without(labels, "rule")),
        _ => (name, without(labels, "alertname")),
    };
    let settings = &app.alerting.settings;
    let now_ms = app.alerting.now_ms();
    let world = Asked { app, reading };
    let began = Instant::now();
    let mut told = Vec::new();
    for (slot, number, _) in rules_of(&slots).filter(|(_, _, known)| *known == name).take(RULES_MAX) {
        if world.is_canceled() {
            return Err(query_error(&query::QueryError::Canceled));
        }
        let Some(rule) = slot.group.rules.get(number) else { continue };
        let place = Place { file: &slot.file, group: &slot.group, rule };
        let mut explained = Explained::new(place, settings, &subject);
        match known(slot, number, began) {
            Ok(Some(known)) => explained.look(place, &known, (&world, settings), now_ms, limit),
            Ok(None) => {}
            Err(fault) => explained.fault = Some(fault),
        }
        told.push(explained);
    }
    if told.is_empty() {
        return Err(ApiError::new(ErrorKind::NotFound, unknown(name, &slots)));
    }
    Ok(json!({ "now_ms": now_ms, "rules": told, "external_labels": settings.external_labels }))
}

/// What is known of a rule; `None` when other rules have taken its place. An evaluation under way is waited for, but not for long: a request
/// that `began` then, for all of its rules together.
fn known(slot: &Slot, number: usize, began: Instant) -> Result<Option<Known>, String> {
    loop {
        match slot.state.try_lock() {
            Ok(state) => return Ok(state.as_ref().and_then(|state| state.rules().get(number).map(Known::from))),
            Err(TryLockError::Poisoned(state)) => {
                let state = state.into_inner();
                return Ok(state.as_ref().and_then(|state| state.rules().get(number).map(Known::from)));
            }
            Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => std::thread::sleep(LOOK),
            Err(TryLockError::WouldBlock) => {
                let seconds = PATIENCE.as_secs();
                return Err(format!("its group has been under evaluation for more than {seconds} s; ask again"));
            }
        }
    }
}

fn rules_of(slots: &[Arc<Slot>]) -> impl Iterator<Item = (&Arc<Slot>, usize, &str)> {
    slots.iter().flat_map(|slot| {
        slot.group.rules.iter().enumerate().map(move |(number, rule)| (slot, number, rule.name.as_str()))
    })
}

fn unknown(name: &str, slots: &[Arc<Slot>]) -> String {
    let hint = if OF_ANOTHER.contains(&name) {
        "; such an alert is about the rule that its label `rule` names: give that label, too".to_owned()
    } else if let Some(near) = nearest(name, rules_of(slots).map(|(_, _, known)| known)) {
        format!("; did you mean {near}?")
    } else {
        format!(", of {} that are evaluated", rules_of(slots).count())
    };
    format!("no rule is called {name:?}{hint}")
}

/// `labels` but for one of them.
fn without(labels: &Labels, name: &str) -> Labels {
    let others = labels.iter().filter(|(label, _)| *label != name);
    Labels::from_pairs(others).unwrap_or_default()
}
