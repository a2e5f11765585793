//! Events for PagerDuty and requests to Opsgenie.
//!
//! PagerDuty: <https://developer.pagerduty.com/docs/send-alert-event>. Opsgenie: <https://docs.opsgenie.com/docs/alert-api>.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::cut::{cut, cut_bytes};
use super::data::Status;
use super::hash::sha256;
use super::outgoing::{Api, Hide, Outgoing, Request};
use super::request::Making;
use super::{RenderError, Rendering};
use crate::config::receivers::{Opsgenie, PagerDuty, Responder, Secret, TemplateText};
use crate::template::escape_query;

/// Longest summary of a PagerDuty event, characters.
const SUMMARY_CHARS_MAX: usize = 1024;
/// Largest PagerDuty event, bytes.
const EVENT_BYTES_MAX: usize = 512_000;
/// Longest message of an Opsgenie alert, characters.
const MESSAGE_CHARS_MAX: usize = 130;
/// Longest description of an Opsgenie alert, characters.
const DESCRIPTION_CHARS_MAX: usize = 15_000;
/// Longest note of an Opsgenie alert, characters.
const NOTE_CHARS_MAX: usize = 25_000;
/// Longest entity of an Opsgenie alert, characters.
const ENTITY_CHARS_MAX: usize = 512;
/// Longest source of an Opsgenie alert, characters.
const SOURCE_CHARS_MAX: usize = 100;
/// Most characters of all details of an Opsgenie alert.
const DETAILS_CHARS_MAX: usize = 8_000;
/// Most tags of an Opsgenie alert, and the longest, characters.
const TAGS_MAX: (usize, usize) = (20, 50);
/// Most actions of an Opsgenie alert, and the longest, characters.
const ACTIONS_MAX: (usize, usize) = (10, 50);

fn filled(
    of: &Rendering<'_>,
    what: &str,
    texts: &BTreeMap<String, TemplateText>,
) -> Result<Map<String, Value>, RenderError> {
    texts.iter().map(|(name, text)| Ok((name.clone(), of.text(&format!("{what}.{name}"), text)?.into()))).collect()
}

pub(super) fn pagerduty(of: &Rendering<'_>, pager: &PagerDuty) -> Result<Outgoing, RenderError> {
    let key = of.filled_secret(pager.key.as_ref(), "routing_key")?;
    let mut hide = Hide::default();
    hide.add(&key);
    let action = match of.data.status() {
        Status::Firing => "trigger",
        Status::Resolved => "resolve",
    };
    let summary = cut(&of.text("description", &pager.description)?, SUMMARY_CHARS_MAX);
    let details = filled(of, "details", &pager.details)?;
    let dedup_key = sha256(&of.data.group_key);
    let event = |details: Map<String, Value>| -> Result<Value, RenderError> {
        let (client, client_url) = (of.text("client", &pager.client)?, of.text("client_url", &pager.client_url)?);
        if pager.is_first_version() {
            return Ok(json!({
                "service_key": key.expose(), "event_type": action, "incident_key": dedup_key,
                "description": summary, "client": client, "client_url": client_url, "details": details,
            }));
        }
        let mut payload = json!({
            "summary": summary,
            "source": of.text("source", &pager.source)?,
            "severity": of.text("severity", &pager.severity)?.to_lowercase(),
            "custom_details": details,
        });
        for (name, text) in [("component", &pager.component), ("group", &pager.group), ("class", &pager.class)] {
            let text = of.text(name, text)?;
            if !text.is_empty() {
                payload[name] = text.into();
            }
        }
        let mut event = json!({
            "routing_key": key.expose(), "event_action": action, "dedup_key": dedup_key,
            "client": client, "client_url": client_url, "payload": payload,
        });
        attach(of, pager, &mut event)?;
        Ok(event)
    };
    let mut body = event(details)?;
    if serde_json::to_vec(&body).map_or(0, |body| body.len()) > EVENT_BYTES_MAX {
        // Without its details the event is taken; too large it would not be, and nobody would be called.
        let note = format!("left out: the event was larger than {EVENT_BYTES_MAX} bytes");
        body = event([("error".to_owned(), note.into())].into_iter().collect())?;
    }
    let url = Secret::new(pager.url.as_deref().unwrap_or_default());
    let http = of.http(pager.http_config.as_deref());
    let making = Making { http, files: of.files, timeout_ms: pager.timeout_ms, api: Api::Plain };
    Ok(Outgoing::Http(vec![making.post(url, Vec::new(), &body, hide)?]))
}

/// Adds images and links; those without what they show are left out.
fn attach(of: &Rendering<'_>, pager: &PagerDuty, event: &mut Value) -> Result<(), RenderError> {
    let mut images = Vec::new();
    for image in &pager.images {
        let src = of.text("images.src", &image.src)?;
        if !src.is_empty() {
            let (href, alt) = (of.text("images.href", &image.href)?, of.text("images.alt", &image.alt)?);
            images.push(json!({"src": src, "href": href, "alt": alt}));
        }
    }
    let mut links = Vec::new();
    for link in &pager.links {
        let href = of.text("links.href", &link.href)?;
        if !href.is_empty() {
            links.push(json!({"href": href, "text": of.text("links.text", &link.text)?}));
        }
    }
    for (name, list) in [("images", images), ("links", links)] {
        if !list.is_empty() {
            event[name] = list.into();
        }
    }
    Ok(())
}

pub(super) fn opsgenie(of: &Rendering<'_>, ops: &Opsgenie) -> Result<Outgoing, RenderError> {
    let key = of.filled_secret(ops.key.as_ref(), "api_key")?;
    let http = of.http(ops.http_config.as_deref());
    let making = Making { http, files: of.files, timeout_ms: 0, api: Api::Plain };
    let base = ops.api_url.as_deref().unwrap_or_default().trim_end_matches('/');
    let alias = sha256(&of.data.group_key);
    let source = cut(&of.text("source", &ops.source)?, SOURCE_CHARS_MAX);
    let send = |method: &'static str, path: &str, body: &Value| -> Result<Request, RenderError> {
        let mut hide = Hide::default();
        hide.add(&key);
        let authorization = ("Authorization", Secret::new(format!("GenieKey {}", key.expose())));
        let url = Secret::new(format!("{base}/v2/alerts{path}"));
        making.request(method, url, vec![authorization], serde_json::to_vec(body).unwrap_or_default(), hide)
    };
    let by_alias = |what: &str| format!("/{}/{what}?identifierType=alias", escape_query(&alias));
    if of.data.status() == Status::Resolved {
        return Ok(Outgoing::Http(vec![send("POST", &by_alias("close"), &json!({"source": source}))?]));
    }
    let message = cut(&of.text("message", &ops.message)?, MESSAGE_CHARS_MAX);
    let description = cut(&of.text("description", &ops.description)?, DESCRIPTION_CHARS_MAX);
    let mut body = json!({
        "alias": alias, "message": message, "description": description, "source": source, "details": details(of, ops)?,
    });
    for (name, text, chars_max) in [("note", &ops.note, NOTE_CHARS_MAX), ("entity", &ops.entity, ENTITY_CHARS_MAX)] {
        let text = of.text(name, text)?;
        if !text.is_empty() {
            body[name] = cut(&text, chars_max).into();
        }
    }
    let priority = of.text("priority", &ops.priority)?;
    if !priority.is_empty() {
        body["priority"] = priority.into();
    }
    for (name, text, max) in [("tags", &ops.tags, TAGS_MAX), ("actions", &ops.actions, ACTIONS_MAX)] {
        let list = listed(&of.text(name, text)?, max);
        if !list.is_empty() {
            body[name] = list.into();
        }
    }
    let responders = responders(of, &ops.responders)?;
    if !responders.is_empty() {
        body["responders"] = responders.into();
    }
    let mut requests = vec![send("POST", "", &body)?];
    if ops.update_alerts {
        requests.push(send("PUT", &by_alias("message"), &json!({"message": message}))?);
        requests.push(send("PUT", &by_alias("description"), &json!({"description": description}))?);
    }
    Ok(Outgoing::Http(requests))
}

/// Common labels, and what the settings add, as far as there is room.
fn details(of: &Rendering<'_>, ops: &Opsgenie) -> Result<Map<String, Value>, RenderError> {
    let mut all: Map<String, Value> =
        of.data.common_labels().into_iter().map(|(name, value)| (name, Value::from(value))).collect();
    all.extend(filled(of, "details", &ops.details)?);
    let mut room = DETAILS_CHARS_MAX;
    for (name, value) in &mut all {
        let text = value.as_str().unwrap_or_default();
        let short = cut_bytes(text, room.saturating_sub(name.len()));
        room = room.saturating_sub(name.len() + short.len());
        *value = short.into();
    }
    Ok(all)
}

/// What is between commas, without what is empty.
fn listed(text: &str, (count, chars_max): (usize, usize)) -> Vec<Value> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.take(count).map(|part| Value::from(cut(part, chars_max))).collect()
}

fn responders(of: &Rendering<'_>, all: &[Responder]) -> Result<Vec<Value>, RenderError> {
    let mut told = Vec::new();
    for responder in all {
        let kind = of.text("responders.type", &responder.kind)?;
        for (key, text) in [("id", &responder.id), ("name", &responder.name), ("username", &responder.username)] {
            let text = of.text(&format!("responders.{key}"), text)?;
            if text.is_empty() {
                continue;
            }
            if kind == "teams" {
                let teams = text.split(',').map(str::trim).filter(|team| !team.is_empty());
                told.extend(teams.map(|team| json!({key: team, "type": "team"})));
            } else {
                told.push(json!({key: text, "type": kind}));
            }
        }
    }
    Ok(told)
}
