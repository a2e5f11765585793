//! `pagerduty_configs` and `opsgenie_configs`: receivers that call people.
//!
//! Keys and defaults are those of <https://prometheus.io/docs/alerting/latest/configuration/#pagerduty_config> and `…#opsgenie_config`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::http::HttpConfig;
use super::value::{Secret, SecretSource, TemplateText, anchor, ms, pick, pick_or};
use super::{Global, check_url_text, http_of, yes};

macro_rules! defaults {
    ($($name:ident = $template:literal;)*) => {
        $(fn $name() -> TemplateText { TemplateText::new($template) })*
    };
}

defaults! {
    client = "{{ template \"pagerduty.default.client\" . }}";
    client_url = "{{ template \"pagerduty.default.clientURL\" . }}";
    summary = "{{ template \"pagerduty.default.description\" . }}";
    message = "{{ template \"opsgenie.default.message\" . }}";
    description = "{{ template \"opsgenie.default.description\" . }}";
    source = "{{ template \"opsgenie.default.source\" . }}";
}

/// Details that every PagerDuty event has unless they are set to something else.
const DETAILS: [(&str, &str); 4] = [
    ("firing", "{{ template \"pagerduty.default.instances\" .Alerts.Firing }}"),
    ("resolved", "{{ template \"pagerduty.default.instances\" .Alerts.Resolved }}"),
    ("num_firing", "{{ .Alerts.Firing | len }}"),
    ("num_resolved", "{{ .Alerts.Resolved | len }}"),
];

/// PagerDuty, by its Events API of version 2 (`routing_key`) or 1 (`service_key`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are the documented keys")]
pub struct PagerDuty {
    #[serde(default = "yes")]
    pub send_resolved: bool,
    pub routing_key: Option<Secret>,
    pub routing_key_file: Option<PathBuf>,
    pub service_key: Option<Secret>,
    pub service_key_file: Option<PathBuf>,
    pub url: Option<String>,
    #[serde(default = "client")]
    pub client: TemplateText,
    #[serde(default = "client_url")]
    pub client_url: TemplateText,
    #[serde(default = "summary")]
    pub description: TemplateText,
    #[serde(default)]
    pub severity: TemplateText,
    #[serde(default)]
    pub source: TemplateText,
    #[serde(default)]
    pub details: BTreeMap<String, TemplateText>,
    #[serde(default)]
    pub images: Vec<PagerDutyImage>,
    #[serde(default)]
    pub links: Vec<PagerDutyLink>,
    #[serde(default)]
    pub component: TemplateText,
    #[serde(default)]
    pub group: TemplateText,
    #[serde(default)]
    pub class: TemplateText,
    #[serde(default, with = "ms", rename = "timeout")]
    pub timeout_ms: i64,
    pub http_config: Option<Box<HttpConfig>>,
    /// The key; set once the file is checked.
    #[serde(skip)]
    pub(crate) key: Option<SecretSource>,
}

/// An image beside an event.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are the documented keys")]
pub struct PagerDutyImage {
    #[serde(default)]
    pub href: TemplateText,
    #[serde(default)]
    pub src: TemplateText,
    #[serde(default)]
    pub alt: TemplateText,
}

/// A link beside an event.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are the documented keys")]
pub struct PagerDutyLink {
    #[serde(default)]
    pub href: TemplateText,
    #[serde(default)]
    pub text: TemplateText,
}

impl PagerDuty {
    /// Whether it is reached by version 1 of the API, as integrations of type "Prometheus" are.
    pub(crate) fn is_first_version(&self) -> bool {
        self.service_key.is_some() || self.service_key_file.is_some()
    }

    pub(super) fn settle(&mut self, global: &Global, folder: &Path) -> Result<(), String> {
        anchor(&mut self.routing_key_file, folder);
        anchor(&mut self.service_key_file, folder);
        let routing = pick("routing_key", self.routing_key.as_ref(), self.routing_key_file.as_ref())?;
        let service = pick("service_key", self.service_key.as_ref(), self.service_key_file.as_ref())?;
        self.key = match (routing, service) {
            (Some(_), Some(_)) => return Err("routing_key and service_key exclude each other".to_owned()),
            (None, None) => return Err("routing_key or service_key, or a file of either, is missing".to_owned()),
            (routing, service) => routing.or(service),
        };
        if self.url.is_none() {
            self.url = Some(if self.is_first_version() {
                "https://events.pagerduty.com/generic/2010-04-15/create_event.json".to_owned()
            } else {
                global.pagerduty_url.clone().unwrap_or_else(|| "https://events.pagerduty.com/v2/enqueue".to_owned())
            });
        }
        check_url_text(self.url.as_deref(), "url")?;
        for (name, text) in DETAILS {
            self.details.entry(name.to_owned()).or_insert_with(|| TemplateText::new(text));
        }
        if self.severity.is_empty() {
            self.severity = TemplateText::new("error");
        }
        if self.source.is_empty() {
            self.source = self.client.clone();
        }
        http_of(&mut self.http_config, global, folder)
    }
}

/// Opsgenie, by its Alert API.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are the documented keys")]
pub struct Opsgenie {
    #[serde(default = "yes")]
    pub send_resolved: bool,
    pub api_key: Option<Secret>,
    pub api_key_file: Option<PathBuf>,
    pub api_url: Option<String>,
    #[serde(default = "message")]
    pub message: TemplateText,
    #[serde(default = "description")]
    pub description: TemplateText,
    #[serde(default = "source")]
    pub source: TemplateText,
    #[serde(default)]
    pub details: BTreeMap<String, TemplateText>,
    #[serde(default)]
    pub responders: Vec<Responder>,
    #[serde(default)]
    pub tags: TemplateText,
    #[serde(default)]
    pub note: TemplateText,
    #[serde(default)]
    pub priority: TemplateText,
    #[serde(default)]
    pub update_alerts: bool,
    #[serde(default)]
    pub entity: TemplateText,
    #[serde(default)]
    pub actions: TemplateText,
    pub http_config: Option<Box<HttpConfig>>,
    /// The key; set once the file is checked.
    #[serde(skip)]
    pub(crate) key: Option<SecretSource>,
}

/// Whom Opsgenie calls.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are the documented keys")]
pub struct Responder {
    #[serde(default)]
    pub id: TemplateText,
    #[serde(default)]
    pub name: TemplateText,
    #[serde(default)]
    pub username: TemplateText,
    #[serde(rename = "type", default)]
    pub kind: TemplateText,
}

impl Opsgenie {
    pub(super) fn settle(&mut self, global: &Global, folder: &Path) -> Result<(), String> {
        anchor(&mut self.api_key_file, folder);
        let inherited =
            pick("opsgenie_api_key", global.opsgenie_api_key.as_ref(), global.opsgenie_api_key_file.as_ref())?;
        self.key = pick_or("api_key", self.api_key.as_ref(), self.api_key_file.as_ref(), inherited.as_ref())?;
        if self.key.is_none() {
            return Err("api_key is missing, and global.opsgenie_api_key too".to_owned());
        }
        if self.api_url.is_none() {
            let url = global.opsgenie_api_url.as_deref().unwrap_or("https://api.opsgenie.com/");
            self.api_url = Some(url.to_owned());
        }
        check_url_text(self.api_url.as_deref(), "api_url")?;
        for responder in &self.responders {
            let named = [&responder.id, &responder.name, &responder.username];
            if named.into_iter().filter(|text| !text.is_empty()).count() != 1 {
                return Err("a responder needs one of id, name and username".to_owned());
            }
            let kind = responder.kind.as_str();
            if !kind.contains("{{") && !["team", "teams", "user", "escalation", "schedule"].contains(&kind) {
                return Err(format!(
                    "a responder of type {kind:?}: team, teams, user, escalation and schedule are known"
                ));
            }
        }
        http_of(&mut self.http_config, global, folder)
    }
}
