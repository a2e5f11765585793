//! Receivers in Alertmanager's file: every kind that is sent to, with its defaults, what `global` sets for it, and its checks.
//!
//! Keys are those of <https://prometheus.io/docs/alerting/latest/configuration/#general-receiver-related-settings>, and `exec_configs` and `file_configs`
//! beside them. A receiver of a kind that is not sent to is refused with its line: an alert that nobody gets is worse than a file that is not taken.

mod chat;
mod global;
mod http;
mod mail;
mod paging;
mod plain;
mod value;

use std::collections::BTreeSet;
use std::path::Path;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_saphyr::{Location, Spanned};

pub use chat::{Discord, ParseMode, Slack, SlackAction, SlackConfirm, SlackField, Telegram};
pub use global::Global;
pub use http::{Authorization, BasicAuth, HeaderValues, HttpConfig, OAuth2, TlsConfig};
pub(crate) use mail::host_and_port;
pub use mail::{ByDate, Email, Threading};
pub use paging::{Opsgenie, PagerDuty, PagerDutyImage, PagerDutyLink, Responder};
pub use plain::{Exec, File, Payload, Webhook};
pub use value::{HIDDEN, SECRET_FILE_BYTES_MAX, Secret, SecretFiles, SecretSource, TemplateText};

use super::RECEIVERS_MAX;
use super::check::Checker;
use crate::yaml::at;

/// Most integrations of a receiver.
pub const INTEGRATIONS_MAX: usize = 64;

/// Kinds of Alertmanager that are not sent to.
const MISSING_KINDS: &str =
    "not supported; there are discord, email, exec, file, opsgenie, pagerduty, slack, telegram and webhook";

fn yes() -> bool {
    true
}

/// A value that nobody needs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unused;

impl<'de> Deserialize<'de> for Unused {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// The HTTP settings of a receiver, or those of all.
fn http_of(own: &mut Option<Box<HttpConfig>>, global: &Global, folder: &Path) -> Result<(), String> {
    if let Some(own) = own {
        return own.settle(folder).map_err(|wrong| format!("http_config: {wrong}"));
    }
    own.clone_from(&global.http_config);
    Ok(())
}

/// That a URL which is no template has a scheme and a host. The message does not repeat it: it may be a secret.
fn check_url(url: Option<&Secret>, key: &str) -> Result<(), String> {
    check_url_text(url.map(Secret::expose), key)
}

fn check_url_text(url: Option<&str>, key: &str) -> Result<(), String> {
    let Some(url) = url else { return Ok(()) };
    if url.contains("{{") {
        return value::check_template(url).map_err(|_| format!("{key} is no template that can be read"));
    }
    let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    match host {
        Some(rest) if !rest.is_empty() && !rest.starts_with(['/', '?', '#', ':']) => Ok(()),
        _ => Err(format!("{key} needs http:// or https:// and a host")),
    }
}

macro_rules! raw_receiver {
    (known { $($known:ident: $kind:ty,)* } missing { $($missing:ident,)* }) => {
        /// A receiver as the file has it.
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct RawReceiver {
            name: Option<Spanned<String>>,
            $(#[serde(default)] $known: Option<Vec<Spanned<$kind>>>,)*
            $(#[serde(default)] $missing: Option<Vec<Spanned<Unused>>>,)*
        }

        impl RawReceiver {
            /// Kinds that are not sent to, with their first place.
            fn missing(&self) -> Vec<(&'static str, Location)> {
                let mut found = Vec::new();
                $(if let Some(first) = self.$missing.as_deref().and_then(<[_]>::first) {
                    found.push((stringify!($missing), at(first)));
                })*
                found
            }
        }
    };
}

raw_receiver! {
    known {
        webhook_configs: Webhook,
        email_configs: Email,
        pagerduty_configs: PagerDuty,
        opsgenie_configs: Opsgenie,
        slack_configs: Slack,
        telegram_configs: Telegram,
        discord_configs: Discord,
        exec_configs: Exec,
        file_configs: File,
    }
    missing {
        incidentio_configs,
        jira_configs,
        mattermost_configs,
        msteams_configs,
        msteamsv2_configs,
        pushover_configs,
        rocketchat_configs,
        sns_configs,
        victorops_configs,
        webex_configs,
        wechat_configs,
    }
}

/// A receiver: a name, and everything that is told under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// What routes call it.
    pub name: String,
    /// In the order of their kinds, then of the file.
    pub integrations: Vec<Integration>,
}

/// One way of telling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Integration {
    /// Among those of its kind in the receiver, from 0.
    pub number: usize,
    /// How.
    pub settings: Settings,
}

/// How something is told, checked and with all its defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[expect(missing_docs, reason = "the variants are the kinds")]
pub enum Settings {
    Webhook(Box<Webhook>),
    Email(Box<Email>),
    PagerDuty(Box<PagerDuty>),
    Opsgenie(Box<Opsgenie>),
    Slack(Box<Slack>),
    Telegram(Box<Telegram>),
    Discord(Box<Discord>),
    Exec(Box<Exec>),
    File(Box<File>),
}

impl Settings {
    /// The kind, as in the key before `_configs`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Email(_) => "email",
            Self::PagerDuty(_) => "pagerduty",
            Self::Opsgenie(_) => "opsgenie",
            Self::Slack(_) => "slack",
            Self::Telegram(_) => "telegram",
            Self::Discord(_) => "discord",
            Self::Exec(_) => "exec",
            Self::File(_) => "file",
        }
    }

    /// Whether it is told of ends.
    pub fn send_resolved(&self) -> bool {
        match self {
            Self::Webhook(of) => of.send_resolved,
            Self::Email(of) => of.send_resolved,
            Self::PagerDuty(of) => of.send_resolved,
            Self::Opsgenie(of) => of.send_resolved,
            Self::Slack(of) => of.send_resolved,
            Self::Telegram(of) => of.send_resolved,
            Self::Discord(of) => of.send_resolved,
            Self::Exec(of) => of.send_resolved,
            Self::File(of) => of.send_resolved,
        }
    }

    fn settle(&mut self, global: &Global, folder: &Path) -> Result<(), String> {
        match self {
            Self::Webhook(of) => of.settle(global, folder),
            Self::Email(of) => of.settle(global, folder),
            Self::PagerDuty(of) => of.settle(global, folder),
            Self::Opsgenie(of) => of.settle(global, folder),
            Self::Slack(of) => of.settle(global, folder),
            Self::Telegram(of) => of.settle(global, folder),
            Self::Discord(of) => of.settle(global, folder),
            Self::Exec(of) => of.settle(folder),
            Self::File(of) => of.settle(folder),
        }
    }
}

impl Integration {
    /// What people and metrics call it: `webhook[0]`.
    pub fn name(&self) -> String {
        format!("{}[{}]", self.kind(), self.number)
    }

    /// What it is, as Alertmanager calls it: `webhook`, `email`.
    pub fn kind(&self) -> &'static str {
        self.settings.kind()
    }

    /// Whether it is told of ends.
    pub fn send_resolved(&self) -> bool {
        self.settings.send_resolved()
    }
}

impl Receiver {
    /// As the file would have it, with defaults and without secrets.
    pub fn shown(&self) -> serde_json::Value {
        let mut shown = serde_json::Map::new();
        shown.insert("name".to_owned(), self.name.as_str().into());
        for integration in &self.integrations {
            let settings = serde_json::to_value(&integration.settings).unwrap_or_default();
            let key = format!("{}_configs", integration.settings.kind());
            let list = shown.entry(key).or_insert_with(|| serde_json::Value::Array(Vec::new()));
            if let serde_json::Value::Array(list) = list {
                list.push(without_nulls(settings));
            }
        }
        serde_json::Value::Object(shown)
    }
}

fn without_nulls(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(entries) => entries
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name, without_nulls(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        serde_json::Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

/// Checks `global`, whose paths begin at the folder of the file, as those of receivers do. No complaint holds a secret.
pub(super) fn check_global(checker: &mut Checker<'_>, raw: Option<Spanned<Global>>) -> Global {
    let Some(mut raw) = raw else { return Global::default() };
    let folder = checker.folder().to_owned();
    if let Err(wrong) = raw.value.settle(&folder) {
        checker.wrong(at(&raw), format!("global: {wrong}"));
    }
    raw.value
}

/// Checks all receivers.
pub(super) fn check(checker: &mut Checker<'_>, global: &Global, raw: Vec<Spanned<RawReceiver>>) -> Vec<Receiver> {
    let mut names = BTreeSet::new();
    let mut receivers = Vec::new();
    for raw in raw {
        let place = at(&raw);
        if receivers.len() >= RECEIVERS_MAX {
            checker.wrong(place, format!("more than {RECEIVERS_MAX} receivers"));
            break;
        }
        let Some(name) = raw.value.name.clone().filter(|name| !name.value.is_empty()) else {
            checker.wrong(place, "a receiver without a name");
            continue;
        };
        let place = at(&name);
        let name = name.value;
        if !names.insert(name.clone()) {
            checker.wrong(place, format!("receiver {name:?} is in this file twice"));
        }
        for (key, place) in raw.value.missing() {
            checker.wrong(place, format!("receiver {name:?}: {key} are {MISSING_KINDS}"));
        }
        receivers.push(receiver(checker, place, name, raw.value, global));
    }
    receivers
}

type Found = Vec<(Location, usize, Settings)>;

fn listed<T>(found: &mut Found, list: Option<Vec<Spanned<T>>>, of: impl Fn(Box<T>) -> Settings) {
    for (number, settings) in list.unwrap_or_default().into_iter().enumerate() {
        found.push((at(&settings), number, of(Box::new(settings.value))));
    }
}

fn receiver(checker: &mut Checker<'_>, place: Location, name: String, raw: RawReceiver, global: &Global) -> Receiver {
    let mut found = Vec::new();
    listed(&mut found, raw.webhook_configs, Settings::Webhook);
    listed(&mut found, raw.email_configs, Settings::Email);
    listed(&mut found, raw.pagerduty_configs, Settings::PagerDuty);
    listed(&mut found, raw.opsgenie_configs, Settings::Opsgenie);
    listed(&mut found, raw.slack_configs, Settings::Slack);
    listed(&mut found, raw.telegram_configs, Settings::Telegram);
    listed(&mut found, raw.discord_configs, Settings::Discord);
    listed(&mut found, raw.exec_configs, Settings::Exec);
    listed(&mut found, raw.file_configs, Settings::File);
    if found.len() > INTEGRATIONS_MAX {
        let count = found.len();
        checker.wrong(place, format!("receiver {name:?} has {count} integrations; {INTEGRATIONS_MAX} are allowed"));
    }
    let folder = checker.folder().to_owned();
    let mut integrations = Vec::with_capacity(found.len().min(INTEGRATIONS_MAX));
    for (place, number, mut settings) in found.into_iter().take(INTEGRATIONS_MAX) {
        if let Err(message) = settings.settle(global, &folder) {
            checker.wrong(place, format!("receiver {name:?}, {}_configs: {message}", settings.kind()));
        }
        integrations.push(Integration { number, settings });
    }
    Receiver { name, integrations }
}
