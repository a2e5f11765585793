//! What receivers are sent: notifications and settings to requests, mails, commands and lines. Nothing is sent here.

mod chat;
pub(crate) mod cut;
pub mod data;
mod hash;
mod mail;
mod outgoing;
mod paging;
mod payload;
mod request;
pub mod templates;
mod verdict;
mod webhook;

pub use cut::cut_bytes;
pub use data::NotificationData;
pub use outgoing::{Api, Command, Hide, Line, Mail, Outgoing, Request, shown_url};
pub use templates::Templates;
pub use verdict::{Answer, RETRY_AFTER_MS_MAX, Verdict, judge};

use crate::config::receivers::{
    Exec, File, HttpConfig, Integration, Secret, SecretFiles, SecretSource, Settings, TemplateText, Webhook,
};
use crate::notify::delivery::Notification;
use crate::template::Fault;
use request::Making;
use templates::Filler;

/// Why a notification cannot be rendered. No message holds a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// A template and the data do not fit: the file of settings must change.
    #[error("template {0}")]
    Template(#[from] Fault),
    /// A secret's file cannot be read: trying again may help.
    #[error("{0}")]
    Secret(String),
    /// A setting came out wrong once it was filled.
    #[error("{0}")]
    Setting(String),
}

/// What a kind of receiver needs to render.
struct Rendering<'a> {
    data: &'a NotificationData,
    filler: Filler<'a>,
    files: &'a dyn SecretFiles,
    default_http: &'a HttpConfig,
}

impl<'a> Rendering<'a> {
    fn text(&self, key: &str, template: &TemplateText) -> Result<String, RenderError> {
        Ok(self.filler.text(key, template)?)
    }

    fn secret(&self, source: Option<&SecretSource>, key: &str) -> Result<Secret, RenderError> {
        let source = source.ok_or_else(|| RenderError::Setting(format!("{key} is missing")))?;
        source.read(self.files).map_err(RenderError::Secret)
    }

    /// A secret that may be a template.
    fn filled_secret(&self, source: Option<&SecretSource>, key: &str) -> Result<Secret, RenderError> {
        let secret = self.secret(source, key)?;
        // What a template's fault quotes could be part of the secret.
        let filled = self.filler.plain(key, secret.expose());
        filled.map(Secret::new).map_err(|_| RenderError::Setting(format!("{key} is a template that cannot be filled")))
    }

    fn http(&self, own: Option<&'a HttpConfig>) -> &'a HttpConfig {
        own.unwrap_or(self.default_http)
    }
}

/// Renders `notification` for `integration`. `external_url` is where this server is reached.
///
/// # Errors
///
/// When a template cannot be filled, or a secret cannot be read.
pub fn render(
    integration: &Integration,
    notification: &Notification,
    external_url: &str,
    templates: &Templates,
    files: &dyn SecretFiles,
) -> Result<Outgoing, RenderError> {
    let mut data = NotificationData::new(notification, external_url);
    templates.fill_route_labels(&mut data)?;
    let default_http = HttpConfig::default();
    let of = Rendering { data: &data, filler: templates.filler(&data), files, default_http: &default_http };
    match &integration.settings {
        Settings::Webhook(settings) => webhook_request(&of, settings, templates),
        Settings::Email(settings) => mail::email(&of, settings),
        Settings::PagerDuty(settings) => paging::pagerduty(&of, settings),
        Settings::Opsgenie(settings) => paging::opsgenie(&of, settings),
        Settings::Slack(settings) => chat::slack(&of, settings),
        Settings::Telegram(settings) => chat::telegram(&of, settings),
        Settings::Discord(settings) => chat::discord(&of, settings),
        Settings::Exec(settings) => command(&of, settings),
        Settings::File(settings) => Ok(line(&of, settings)),
    }
}

/// A POST of `body`, which is JSON, to `url`, with what `http` says of authentication and headers.
///
/// # Errors
///
/// When a secret cannot be read.
pub fn post(
    url: &str,
    http: &HttpConfig,
    timeout_ms: i64,
    body: Vec<u8>,
    files: &dyn SecretFiles,
) -> Result<Request, RenderError> {
    let making = Making { http, files, timeout_ms, api: Api::Plain };
    making.request("POST", Secret::new(url), Vec::new(), body, Hide::default())
}

fn webhook_request(of: &Rendering<'_>, webhook: &Webhook, templates: &Templates) -> Result<Outgoing, RenderError> {
    let url = of.filled_secret(webhook.target.as_ref(), "url")?;
    let http = of.http(webhook.http_config.as_deref());
    let making = Making { http, files: of.files, timeout_ms: webhook.timeout_ms, api: Api::Plain };
    let body = match &webhook.payload {
        Some(payload) => {
            let filler = templates.filler(&of.data.truncated(webhook.max_alerts).0);
            serde_json::to_vec(&payload::filled(&filler, payload.value())?).unwrap_or_default()
        }
        None => webhook::body(of.data, webhook.max_alerts),
    };
    Ok(Outgoing::Http(vec![making.request("POST", url, Vec::new(), body, Hide::default())?]))
}

fn command(of: &Rendering<'_>, exec: &Exec) -> Result<Outgoing, RenderError> {
    let mut env = std::collections::BTreeMap::from(
        [
            ("METRICKIT_STATUS", of.data.status().as_str()),
            ("METRICKIT_RECEIVER", &of.data.receiver),
            ("METRICKIT_GROUP_KEY", &of.data.group_key),
            ("METRICKIT_REASON", of.data.reason),
            ("METRICKIT_EXTERNAL_URL", &of.data.external_url),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    env.insert("METRICKIT_ALERTS".to_owned(), of.data.alerts.len().to_string());
    let mut hide = Hide::default();
    for (name, text) in &exec.env {
        let value = of.text(&format!("env.{name}"), text)?;
        // What comes of a template is of the notification; what is written out may be a token.
        if !text.is_template_alone() {
            hide.add(&Secret::new(value.as_str()));
        }
        env.insert(name.clone(), value);
    }
    for (name, path) in &exec.env_file {
        let value = of.files.read(path).map_err(RenderError::Secret)?;
        hide.add(&value);
        env.insert(name.clone(), value.expose().to_owned());
    }
    for value in env.values_mut() {
        // A process cannot be started with it.
        value.retain(|c| c != '\0');
    }
    Ok(Outgoing::Exec(Command {
        command: exec.command.clone(),
        env,
        working_dir: exec.working_dir.clone(),
        stdin: webhook::body(of.data, 0),
        timeout_ms: exec.timeout_ms,
        hide,
    }))
}

fn line(of: &Rendering<'_>, file: &File) -> Outgoing {
    let line = webhook::body(of.data, 0);
    Outgoing::Line(Line { path: file.path.clone(), line, bytes_max: file.bytes_max, sync: file.sync })
}
